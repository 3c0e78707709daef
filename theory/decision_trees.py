r"""Deterministic decision trees as nested arrays: what a language model faces when only the complete answer is judged.

A tree of depth D has the rewards of its leaves, float[..., A_1, ..., A_D]; leading axes stack trees.  A policy is one
array a level: level `d` is float[..., A_1, ..., A_d], normalised along its last axis, and is the law of the d-th action
given the ones before.  An action that does not exist in a node has probability zero in every policy.  Shorter answers
are leaves whose continuations all pay the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from claimlab.checks import Array, Bools


def action_values(leaf: Array, policy: Sequence[Array]) -> list[Array]:
    r"""The action values of each level, the root's first: :math:`Q(x_{1:d})=\sum_a\pi(a|x_{1:d})Q(x_{1:d}a)`."""
    q = [leaf]
    for level in reversed(policy[1:]):
        q.append((level * q[-1]).sum(axis=-1))
    return q[::-1]


def value(leaf: Array, policy: Sequence[Array]) -> Array:
    """The expected reward of a policy, float[...]."""
    first: Array = (policy[0] * action_values(leaf, policy)[0]).sum(axis=-1)
    return first


def uniform(exists: Sequence[Array]) -> list[Array]:
    """The policy that takes every existing action with the same probability; `exists` holds a mask a level."""
    return [mask / mask.sum(axis=-1, keepdims=True) for mask in exists]


def optimal_value(leaf: Array, exists: Sequence[Array]) -> Array:
    """The largest reward of a leaf that can be reached, float[...]."""
    best = leaf
    for mask in reversed(exists):
        best = np.where(mask > 0, best, -np.inf).max(axis=-1)
    return best


def greedy(q: Sequence[Array], exists: Sequence[Array]) -> list[Bools]:
    """Where the existing actions of highest value are, ties included: a mask a level."""
    masked = [np.where(mask > 0, values, -np.inf) for values, mask in zip(q, exists)]
    return [values >= values.max(axis=-1, keepdims=True) for values in masked]


def worst_value(leaf: Array, allowed: Sequence[Bools]) -> Array:
    """The value of a policy that breaks all ties among the `allowed` actions in the worst way, float[...]."""
    worst = leaf
    for mask in reversed(allowed):
        worst = np.where(mask, worst, np.inf).min(axis=-1)
    return worst


def softmax(q: Sequence[Array], exists: Sequence[Array], temperature: Array | float) -> list[Array]:
    r"""The policy :math:`\pi(a|x)\propto e^{Q(xa)/\rho}` over existing actions; `temperature` is float[...]."""
    out = []
    for values, mask in zip(q, exists):
        rho = np.reshape(temperature, np.shape(temperature) + (1,) * (values.ndim - np.ndim(temperature)))
        scaled = np.where(mask > 0, values / rho, -np.inf)
        weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        out.append(weights / weights.sum(axis=-1, keepdims=True))
    return out


def visits(policy: Sequence[Array]) -> list[Array]:
    """The probability of each node that acts, a level: level `d` is float[..., A_1, ..., A_{d-1}], one at the root."""
    out = [np.ones(policy[0].shape[:-1])]
    for level in policy[:-1]:
        out.append(out[-1][..., None] * level)
    return out
