r"""The average-reward generalised eluder coefficient (AGEC), measured on sequences of Bellman errors.

A sequence has errors :math:`e_t = E(f_t)(s_t, a_t)` and in-sample errors :math:`A_t = \sum_{i<t} E(f_t)(s_i, a_i)^2`.
The coefficient is the least (d, kappa) with

.. math:: \sum_t e_t \le \sqrt{d \textstyle\sum_t A_t} + B \min\{d, T\}, \qquad
          \sum_t e_t^2 \le \kappa\, \max_t A_t\, (1 + \log T) + B^2 \min\{\kappa, T\}

(Bellman dominance and transferability).  The paper has :math:`O(\cdot)` in place of the second terms, which no sequence
could contradict; the constants here are ours, and :mod:`claimlab.theory.loop` bounds d and kappa.

Source: He, Zhong & Yang (2024), Sample-efficient learning of infinite-horizon average-reward MDPs with general function
approximation, Definition 3.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array, Ints


class Sequence(NamedTuple):
    """Bellman errors along a sequence of hypotheses and pairs."""

    errors: Array  # [T], e_t
    in_sample: Array  # [T], A_t


def tabular_sequence(errors: ArrayLike, pairs: ArrayLike) -> Sequence:
    """The sequence of error tables `errors`, float[T, K], at the visited `pairs`, int[T] in 0..K-1."""
    table, visited = checks.array("errors", errors, ndim=2), np.asarray(pairs)
    T, K = table.shape
    if visited.shape != (T,) or visited.dtype.kind not in "iu" or not ((visited >= 0) & (visited < K)).all():
        raise ValueError(f"pairs must be int[T] in 0..{K - 1} with T = {T}, got {visited.dtype} {visited.shape}.")
    before = np.cumsum(np.eye(K)[visited], axis=0) - np.eye(K)[visited]
    return Sequence(table[np.arange(T), visited], (before * table**2).sum(axis=1))


def linear_sequence(weights: ArrayLike, features: ArrayLike) -> Sequence:
    """The sequence of linear errors ``weights[t] @ x`` at the features ``features[t]``, float[T, d] each."""
    w, x = checks.array("weights", weights, ndim=2), checks.array("features", features, ndim=2)
    if w.shape != x.shape:
        raise ValueError(f"weights and features must have one shape (T, d), got {w.shape} and {x.shape}.")
    squares = np.tril((w @ x.T) ** 2, -1)
    return Sequence((w * x).sum(axis=1), squares.sum(axis=1))


def class_sequence(errors: ArrayLike, used: ArrayLike) -> Sequence:
    """The sequence of a finite class: `errors`, float[T, M], of every hypothesis at every step, and the one in use,
    int[T]."""
    table, f = checks.array("errors", errors, ndim=2), np.asarray(used)
    T, M = table.shape
    if f.shape != (T,) or f.dtype.kind not in "iu" or not ((f >= 0) & (f < M)).all():
        raise ValueError(f"used must be int[T] in 0..{M - 1} with T = {T}, got {f.dtype} {f.shape}.")
    squares, at = table**2, np.arange(T)
    return Sequence(table[at, f], (squares.cumsum(axis=0) - squares)[at, f])


def dominance(sequence: Sequence, scale: float) -> float:
    """The least d with which the sequence obeys Bellman dominance, B = `scale`; infinite if none does."""
    total, inside, T = float(sequence.errors.sum()), float(sequence.in_sample.sum()), len(sequence.errors)
    return _least(lambda d: sqrt(d * inside) + scale * min(d, T), total)


def transferability(sequence: Sequence, scale: float) -> float:
    """The least kappa with which the sequence obeys transferability, B = `scale`; infinite if none does."""
    total, T = float((sequence.errors**2).sum()), len(sequence.errors)
    beta = float(sequence.in_sample.max())
    return _least(lambda kappa: kappa * beta * (1 + log(T)) + scale**2 * min(kappa, T), total)


def _least(bound: Callable[[float], float], total: float) -> float:
    """The least x >= 0 with bound(x) >= total, for an increasing bound, to the last bits and from above."""
    if total <= bound(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while bound(high) < total:
        low, high = high, 2 * high
        if high > 1e300:
            return inf
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (low, middle) if bound(middle) >= total else (middle, high)
    return high


def tabular_adversary(n_pairs: int, horizon: int, beta: float, scale: float) -> tuple[Array, Ints]:
    """The worst sequence for `n_pairs` pairs: visits in turn, each with the largest error that A_t <= `beta` allows.

    Returns the tables float[T, K] and the pairs int[T], for :func:`tabular_sequence`.
    """
    K, T = checks.integer("n_pairs", n_pairs, 1), checks.integer("horizon", horizon, 1)
    pairs = np.arange(T) % K
    visits = np.arange(T) // K
    with np.errstate(divide="ignore"):
        size = np.minimum(scale, np.sqrt(beta / visits))
    return size[:, None] * np.eye(K)[pairs], pairs


def linear_adversary(dim: int, horizon: int, beta: float, scale: float) -> tuple[Array, Array]:
    """Greedy: the unit feature least seen so far, and the weights along it as large as A_t <= `beta` allows.

    Returns weights and features, float[T, d] each, for :func:`linear_sequence`.
    """
    d, T = checks.integer("dim", dim, 1), checks.integer("horizon", horizon, 1)
    gram, weights, features = np.zeros((d, d)), np.zeros((T, d)), np.zeros((T, d))
    for t in range(T):
        values, vectors = np.linalg.eigh(gram)
        x, seen = vectors[:, 0], max(float(values[0]), 0.0)
        weights[t] = x * min(scale, sqrt(beta / seen) if seen > beta / scale**2 else scale)
        features[t] = x
        gram += np.outer(x, x)
    return weights, features
