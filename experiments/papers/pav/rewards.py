"""Eq. 5: how the prover's advantage enters the gradient."""

from __future__ import annotations

from functools import partial

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.pav.common import (
    LAWS,
    NPG,
    PROVER,
    SIZES,
    TREE,
    TREES,
    Levels,
    advantages,
    claim,
    step,
)
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.decision_trees import action_values, value
from claimlab.theory.evidence import Identity
from claimlab.theory.falsify import Trial, equate
from claimlab.theory.spaces import Box, Space


def _telescoping(leaf: Array, alpha: Array, *, to_go: bool, **laws: Array) -> Trial:
    """The expected policy gradient with A^mu as a reward of each step, by enumeration of all answers, against (1 +
    alpha) grad V."""
    policy, prover = [laws[n][None] for n in LAWS], [laws[n][None] for n in PROVER]
    its = [a[0] for a in advantages(leaf[None], prover)]
    q = [x[0] for x in action_values(leaf[None], policy)]
    p = [x[0] for x in policy]
    reach, worst = 1.0, 0.0
    gradients = [np.zeros(x.shape) for x in p]
    for answer in np.ndindex(leaf.shape):
        weight = float(np.prod([p[d][answer[: d + 1]] for d in range(3)]))
        dense = [float(alpha) * its[d][answer[: d + 1]] for d in range(3)]
        for d in range(3):
            reward = leaf[answer] + (sum(dense[d:]) if to_go else dense[d])
            node = answer[:d]
            score = np.eye(p[d].shape[-1])[answer[d]] - p[d][node]
            gradients[d][node] += weight * reward * score
    for d in range(3):
        for node in np.ndindex(p[d].shape[:-1]):
            reach = float(np.prod([p[k][node[: k + 1]] for k in range(d)]))
            exact = (1 + float(alpha)) * reach * p[d][node] * (q[d][node] - p[d][node] @ q[d][node])
            worst = max(worst, abs(gradients[d][node] - exact).max())
    return Trial(worst, 1024 * EPS * (1 + float(alpha)))


def _telescoping_check(budget: Budget, to_go: bool = True) -> Identity:
    space = Space(SIZES, LAWS | PROVER | {"leaf": Box("ABC", 0, 1), "alpha": Box("", 0, 5)})
    measure = partial(_telescoping, to_go=to_go)
    return equate(space, measure, budget.with_instances(min(budget.instances, 300)))


def _own_prover(leaf: Array, alpha: Array, *, own: bool, **laws: Array) -> Trial:
    """The derivative of the gain of a step, by a complex step, with the policy as its own prover, against (1 + alpha)
    times that of the outcome alone."""
    policy, prover = [laws[n][None] for n in LAWS], [laws[n][None] for n in PROVER]
    h, one = 1j * 1e-30, np.ones(1)

    def derivative(its: Levels, weight: Array) -> float:
        return float(value(leaf[None], step(leaf[None], policy, its, weight, h * one))[0].imag / 1e-30)

    found = derivative(policy if own else prover, alpha * one)
    return Trial(abs(found - (1 + float(alpha)) * derivative(policy, 0 * one)), 256 * EPS * (1 + float(alpha)))


def _own_prover_check(budget: Budget, own: bool = True) -> Identity:
    space = Space(SIZES, LAWS | PROVER | {"leaf": Box("ABC", 0, 1), "alpha": Box("", 0, 5)})
    return equate(space, partial(_own_prover, own=own), budget)


def _values_or_advantages(leaf: Array, alpha: Array, gamma: Array, *, sampled: bool, **laws: Array) -> Trial:
    """The step with Q^mu for A^mu, or the sampled estimate's mean square at the root with either."""
    policy, prover = [laws[n][None] for n in LAWS], [laws[n][None] for n in PROVER]
    a, g = float(alpha), float(gamma)
    q, values, its = (
        action_values(leaf[None], policy),
        action_values(leaf[None], prover),
        advantages(leaf[None], prover),
    )
    if sampled:
        norms = 1 - 2 * policy[0] + (policy[0] ** 2).sum()
        squares = [float((policy[0] * norms * (q[0] + a * x[0]) ** 2).sum()) for x in (values, its)]
        return Trial(abs(squares[0] - squares[1]), 256 * EPS * (1 + a) ** 2)
    worst = 0.0
    for p, own, v, new in zip(policy, q, values, step(leaf[None], policy, prover, np.array([a]), np.array([g]))):
        weights = p * np.exp(g * (own + a * v))
        worst = max(worst, float(abs(weights / weights.sum(axis=-1, keepdims=True) - new).max()))
    return Trial(worst, 256 * EPS * (1 + g * (1 + a)))


def _values_or_advantages_check(budget: Budget, sampled: bool = False) -> Identity:
    return equate(TREES, partial(_values_or_advantages, sampled=sampled), budget)


CLAIMS = (
    claim(
        id="pav/reward-to-go-forgets-the-prover",
        source="ours, on Eq. 5",
        statement=r"With $A^\mu$ as a dense reward and reward-to-go the expected gradient is $(1+\alpha)\nabla V$ "
        r"for every prover: "
        r"the paper's effect needs the weight of the step alone.",
        kind=Identity,
        premises=(TREE, "deterministic moves", "softmax policies, enumerated"),
        check=_telescoping_check,
        control=partial(_telescoping_check, to_go=False),
        control_statement="the same with the weight of the step alone, as in Eq. 5.",
    ),
    claim(
        id="pav/own-prover-only-scales",
        source="Section 3 (base policy as prover)",
        statement=r"With $\mu=\pi$ the gradient is $1+\alpha$ times that of the outcome alone.",
        kind=Identity,
        premises=(TREE, NPG),
        check=_own_prover_check,
        control=partial(_own_prover_check, own=False),
        control_statement="the same for any prover.",
    ),
    claim(
        id="pav/values-or-advantages",
        source="Section 3 (advantages instead of values), in the exact step",
        statement=r"$Q^\mu$ in the place of $A^\mu$ gives the same natural policy gradient step.",
        kind=Identity,
        premises=(TREE, NPG),
        check=_values_or_advantages_check,
        control=partial(_values_or_advantages_check, sampled=True),
        control_statement="a sampled estimate of the gradient has the same mean square with the one and the other.",
    ),
)
