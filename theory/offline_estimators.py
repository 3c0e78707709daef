r"""Estimators for :mod:`claimlab.theory.realizability`, and the diagnosis of a log: is my class complete enough?

**Theorem (ours): an interval for LSTD under realizability alone.**  Let :math:`Q = \phi'w^*`, let the n tuples be
independent, and let :math:`r_i + \gamma Q(z'_i)` lie in an interval of length V.  With :math:`\hat\Sigma, \hat A` and
:math:`\hat b` the means of :math:`\phi\phi'`, :math:`\phi(\phi-\gamma\phi')'` and :math:`\phi r`, and
:math:`\hat w = \hat A^{-1}\hat b`, with probability at least :math:`1-\delta`, for all start features
:math:`\nu` at once,

.. math:: |\nu'\hat w - \nu'w^*| \le \sqrt{\nu'(\hat A'\hat\Sigma^{-1}\hat A)^{-1}\nu}\;\cdot
          \frac V{2\sqrt n}\sqrt{d + 2\sqrt{dt} + 2t}, \qquad t = \log\tfrac1\delta .

*Proof.* :math:`\hat b - \hat Aw^*` is the mean of :math:`\phi_i\epsilon_i` with
:math:`\epsilon_i = r_i + \gamma Q(z'_i) - Q(z_i)`.  Given the pairs :math:`z_1..z_n` these are independent, centred,
and V/2-sub-Gaussian (Hoeffding's lemma), so :math:`n\|\hat\Sigma^{-1/2}(\hat b-\hat Aw^*)\|^2` is the squared length of
their projection onto d dimensions that depend on the pairs only: at most
:math:`\frac{V^2}4(d+2\sqrt{dt}+2t)` with probability :math:`1-e^{-t}` (Hsu, Kakade & Zhang 2012).  Then
Cauchy-Schwarz on :math:`\nu'\hat A^{-1}\hat\Sigma^{1/2}\cdot\hat\Sigma^{-1/2}(\hat b-\hat Aw^*)`.

Neither beta nor C nor the law of the data is assumed: they are what makes the first factor large.
"""

from __future__ import annotations

from math import inf, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array
from claimlab.mdps.offline import solve_least_squares
from claimlab.theory.realizability import (
    Moments,
    PairChain,
    amplification,
    concentrability,
    contraction,
    incompleteness,
    projected,
    td_margin,
)

# Finite classes -------------------------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """What the estimators read of n tuples: how often each pair occurred, its mean reward, its next pairs."""

    weight: Array  # [n pairs], frequencies
    r: Array  # [n pairs]
    P: Array  # [n pairs, n pairs]; rows of pairs that did not occur are zero


def draw_sample(problem: PairChain, n: int, rng: Generator, *, bernoulli: bool = False) -> Sample:
    """`n` independent tuples; rewards are the means, or, with `bernoulli`, 0 and 1 with these means."""
    counts = rng.multinomial(checks.integer("n", n, 1), problem.mu)
    moves = rng.multinomial(counts, problem.P)
    seen = np.maximum(counts, 1)
    r = rng.binomial(counts, problem.r) / seen if bernoulli else np.where(counts > 0, problem.r, 0.0)
    return Sample(counts / n, r, moves / seen[:, None])


def criterion(sample: Sample, gamma: float, F: Array) -> Array:
    r"""The empirical minimax criterion of each element of `F`, float[m]:
    :math:`\|f-\hat Tf\|^2 - \min_g\|g-\hat Tf\|^2` in the norm of the sample.

    It equals :math:`L_f(f) - \min_g L_f(g)`: the within-pair scatter of the targets is the same for f and g.
    """
    image = sample.r + gamma * F @ sample.P.T
    distance = ((F[None] - image[:, None]) ** 2) @ sample.weight  # [f, g]
    return np.diagonal(distance) - distance.min(axis=1)


def minimax(sample: Sample, gamma: float, F: Array, loss: Array) -> int:
    """Index of the minimiser of the criterion with the largest `loss`, float[m]: ties are broken by an adversary.

    Ties are frequent (every element that no other one answers better than itself has criterion 0), and an estimator
    that takes the first of them would be told the truth by the order of the class.
    """
    values = criterion(sample, gamma, F)
    tied = values <= values.min() + 1e-12 * max(1.0, float((F**2).max()))  # rounding of a difference of squares
    return int(np.argmax(np.where(tied, loss, -inf)))


# Linear classes -------------------------------------------------------------------------------------------------------


def sample_moments(problem: PairChain, features: Array, sample: Sample) -> tuple[Moments, Array]:
    r"""The moments of a sample as a log would give them, and :math:`\hat b`, float[d]."""
    next_features, weighted = sample.P @ features, sample.weight[:, None] * features
    A = weighted.T @ (features - problem.gamma * next_features)
    second = (sample.weight @ sample.P * features.T) @ features
    G = A + A.T - weighted.T @ features + problem.gamma**2 * second
    return Moments(weighted.T @ features, A, G, problem.start @ features, problem.gamma), weighted.T @ sample.r


def lstd_radius(m: Moments, n: int, span: float, delta: float) -> float:
    """Half-width of the interval of the theorem above, in units of value."""
    d, t = len(m.start), -log(checks.interval("delta", delta, 0, 1, "()"))
    noise = checks.interval("span", span, 0, inf, "()") / 2 * sqrt((d + 2 * sqrt(d * t) + 2 * t) / n)
    return amplification(m) * noise


class Diagnosis(NamedTuple):
    """How far a linear class and a law of data carry, and, from a log, what the policy is worth."""

    beta: float  # incompleteness; of a log, an estimate of an upper bound
    concentrability: tuple[float, float]  # lower and upper; equal if the model is known
    amplification: float  # of the projected Bellman error in the value
    td_margin: float  # temporal differences converge where positive
    contraction: float  # of the projected operator; fitted evaluation converges where below 1
    value: float  # LSTD's estimate of the policy's value; NaN if the model is known
    radius: float  # its error with probability 1 - delta under realizability; NaN if the model is known


def diagnose(m: Moments) -> Diagnosis:
    """Of a known problem; see :func:`claimlab.theory.realizability.moments`."""
    C = concentrability(m)
    return Diagnosis(incompleteness(m), (C, C), amplification(m), td_margin(m), contraction(m), np.nan, np.nan)


def diagnose_log(
    features: ArrayLike,
    next_features: ArrayLike,
    rewards: ArrayLike,
    start_features: ArrayLike,
    gamma: float,
    *,
    span: float,
    delta: float = 0.05,
) -> Diagnosis:
    r"""How incomplete is my class on my log, and what is my policy worth if the class holds its values?

    Parameters
    ----------
    features : float[n, d]
        :math:`\phi(s_i, a_i)` of independent tuples.
    next_features : float[n, d]
        :math:`\phi(s'_i, \pi)`, averaged over the actions of the policy to be evaluated; zeros after a terminal step.
    rewards : float[n]
    start_features : float[d] or float[k, d]
        :math:`\phi(s, \pi)` in the first state; of several, the mean is taken.
    gamma : float
        In [0, 1).
    span : float
        Length of an interval that holds :math:`r + \gamma Q(s', \pi)`: 1/(1 - gamma) for rewards in [0, 1].
    delta : float
        The radius fails with at most this probability.

    Returns
    -------
    Diagnosis
        `beta` tends to an upper bound on the true one and the concentrability lies, in the limit, between the two
        numbers given: the log cannot tell the Bellman error from the variance of the next features.  `radius` is
        rigorous for every n.
    """
    phi = checks.array("features", features, ndim=2)
    n, d = phi.shape
    if n < 1 or d < 1:
        raise ValueError(f"features must have shape (n, d) with n, d >= 1, got {phi.shape}.")
    after = checks.shaped("next_features", next_features, (n, d), "(n, d)")
    r = checks.shaped("rewards", rewards, (n,), "(n,)")
    start = checks.numbers("start_features", start_features)
    start = checks.array("start_features", np.atleast_2d(start), ndim=2)
    if start.shape[1] != d or not len(start):
        raise ValueError(f"start_features must have shape (d,) or (k, d) with d = {d}, got {start.shape}.")
    gamma = checks.interval("gamma", gamma, 0, 1, "[)")
    x = phi - gamma * after
    m = Moments(phi.T @ phi / n, phi.T @ x / n, x.T @ x / n, start.mean(axis=0), gamma)
    weights = solve_least_squares(m.A, phi.T @ r / n)  # LSTD
    C = (concentrability(m), concentrability(m._replace(G=projected(m))))
    return Diagnosis(
        incompleteness(m),
        C,
        amplification(m),
        td_margin(m),
        contraction(m),
        float(m.start @ weights),
        lstd_radius(m, n, span, delta),
    )
