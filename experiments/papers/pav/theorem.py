"""Theorem 3.1: the gain of one step, to first order and of any size."""

from __future__ import annotations

from functools import partial

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.pav.common import (
    LAWS,
    NPG,
    PROVER,
    SLOPES,
    TREE,
    TREES,
    Levels,
    advantages,
    claim,
    expected,
    inner,
    slope,
    step,
    variance,
)
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.decision_trees import value
from claimlab.theory.evidence import Inequality, Outcome, Rate, rate
from claimlab.theory.falsify import Trials, attack
from claimlab.theory.spaces import Case

STEPS = np.array([1e-3, 2e-3, 4e-3, 8e-3])


def _first_order_check(budget: Budget, printed: bool = False) -> Rate:
    """What is left of the gain of one step after the first-order term, over step sizes."""
    runs, rng = {"smoke": 40, "standard": 400}.get(budget.name, 4_000), budget.rng("trees")
    shapes = {name: (runs, *(3,) * len(field.axes)) for name, field in (LAWS | PROVER).items()}
    block = {name: rng.dirichlet(np.ones(3), size=shape[:-1]) for name, shape in shapes.items()}
    policy, prover = [block[n] for n in LAWS], [block[n] for n in PROVER]
    leaf, alpha = rng.random((runs, 3, 3, 3)), np.ones(runs)
    first = printed_gain(leaf, policy, prover, policy) if printed else slope(leaf, policy, prover, alpha)
    before = value(leaf, policy)
    left = [value(leaf, step(leaf, policy, prover, alpha, np.full(runs, g))) - before - g * first for g in STEPS]
    return rate(STEPS, np.maximum(abs(np.array(left).T), 1e-300), exponent=2, side="at least", resolution=0.1,
                rng=budget.rng("bootstrap"))  # fmt: skip


def printed_gain(leaf: Array, policy: Levels, prover: Levels, weights: Levels) -> Array:
    """E Var(A^mu) + E <A^mu, A^pi> as printed in Theorem 3.1, nodes weighted by the visits of `weights`."""
    own, its = advantages(leaf, policy), advantages(leaf, prover)
    return expected(weights, variance(policy, its)) + expected(weights, inner(policy, its, own))


def _theorem(leaf: Array, *, share: float, **laws: Array) -> Trials:
    """Theorem 3.1 in the limit of small steps, alpha = 1, times a constant `share` for its unknown one."""
    policy, prover = [laws[n] for n in LAWS], [laws[n] for n in PROVER]
    gain = slope(leaf, policy, prover, np.ones(len(leaf)))
    return Trials(share * printed_gain(leaf, policy, prover, policy), gain, 256 * EPS)


def _repaired(leaf: Array, *, share: float, **laws: Array) -> Trials:
    """With the variance of the *policy's* advantage in its place."""
    policy, prover = [laws[n] for n in LAWS], [laws[n] for n in PROVER]
    own, its = advantages(leaf, policy), advantages(leaf, prover)
    stated = expected(policy, variance(policy, own)) + expected(policy, inner(policy, its, own))
    alpha, gamma = np.ones(len(leaf)), np.full(len(leaf), 1e-6)
    # the second-order term is below 2 * 3^2 * (1 + alpha)^2 gamma^2 / 2 for values in [0, 1]; rounding is over gamma
    gain = (value(leaf, step(leaf, policy, prover, alpha, gamma)) - value(leaf, policy)) / gamma
    error = 36e-6 + 64 * EPS / 1e-6
    return Trials(share * stated, gain, error)


def two_children(eps: float) -> Case:
    """Two first actions; whatever the child, the policy succeeds with probability eps; the prover solves the first
    only."""
    leaf = np.zeros((2, 2, 1))
    leaf[:, 0, 0] = 1
    law = np.array([[eps, 1 - eps], [eps, 1 - eps]])
    sure = np.array([[1.0, 0.0], [0.0, 1.0]])
    ones = np.ones((2, 2, 1))
    half = np.array([0.5, 0.5])
    return {"p1": half, "p2": law, "p3": ones, "m1": half, "m2": sure, "m3": ones, "leaf": leaf}


def _theorem_check(budget: Budget, repaired: bool = False, share: float = 0.01) -> Inequality:
    measure = partial(_repaired if repaired else _theorem, share=share)
    many = budget.with_instances(10 * budget.instances)
    return attack(SLOPES, measure, many, batched=True, hard=[two_children(1e-3)])


# Eq. 22 and 23


def _progress(leaf: Array, alpha: Array, gamma: Array, *, sign: float, **laws: Array) -> Trials:
    r"""The gain of a step of any size against :math:`\pm\alpha E_{d^{\pi'}}\langle\pi'-\pi,A^\mu\rangle`.

    With the minus sign it is true: :math:`KL(\pi'\|\pi)\ge 0` and Jensen's inequality give
    :math:`E_{\pi'}A^\pi\ge\alpha\langle\pi-\pi',A^\mu\rangle` in every node; the performance difference
    does the rest.
    """
    policy, prover = [laws[n] for n in LAWS], [laws[n] for n in PROVER]
    new = step(leaf, policy, prover, alpha, gamma)
    moved = [((n - p) * a).sum(axis=-1) for n, p, a in zip(new, policy, advantages(leaf, prover))]
    stated = sign * alpha * expected(new, moved)
    gain = value(leaf, new) - value(leaf, policy)
    # shifted by what neither side can fall below, so that ratios mean something
    shift = 1 + 2 * 3 * alpha
    return Trials(stated + shift, gain + shift, 256 * EPS * (1 + alpha) * (1 + gamma * (1 + alpha)))


def _progress_check(budget: Budget, sign: float) -> Inequality:
    many = budget.with_instances(20 * budget.instances)
    return attack(TREES, partial(_progress, sign=sign), many, batched=True)


CLAIMS = (
    claim(
        id="pav/first-order-gain",
        source="ours, corrects Theorem 3.1",
        statement=r"$E[V^{\pi'}-V^\pi]=\gamma E_{d^\pi}[\mathrm{Var}_\pi(A^\pi)+\alpha\langle "
        r"A^\mu,A^\pi\rangle_\pi]+O(\gamma^2)$.",
        kind=Rate,
        premises=(TREE, NPG, r"$\alpha=1$", "random trees of 27 leaves, full support"),
        check=_first_order_check,
        control=partial(_first_order_check, printed=True),
        control_statement=r"the same with the printed $\mathrm{Var}_\pi(A^\mu)+\langle A^\mu,A^\pi\rangle_\pi$.",
    ),
    claim(
        id="pav/theorem-3.1",
        source="Theorem 3.1",
        statement=r"$E[V^{\pi'}-V^\pi]\gtrsim\gamma E\,\mathrm{Var}_\pi(A^\mu)+\gamma E\langle A^\mu,A^\pi\rangle_\pi$ "
        r"(to first order in $\gamma$, with $\frac{1}{100}$ for the constant).",
        kind=Inequality,
        premises=(TREE, NPG, r"$\alpha=1$"),
        check=_theorem_check,
        control=partial(_theorem_check, repaired=True, share=1.0),
        control_statement=r"the same with $\mathrm{Var}_\pi(A^\pi)$ for $\mathrm{Var}_\pi(A^\mu)$, and constant 1.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="pav/theorem-3.1-repaired",
        source="ours, corrects Theorem 3.1",
        statement=r"$E[V^{\pi'}-V^\pi]\ge\gamma E\,\mathrm{Var}_\pi(A^\pi)+\gamma E\langle A^\mu,A^\pi\rangle_\pi$ "
        r"to first order.",
        kind=Inequality,
        premises=(TREE, NPG, r"$\alpha=1$", r"measured at $\gamma=10^{-6}$, the second order bounded"),
        check=partial(_theorem_check, repaired=True, share=1.0),
        control=partial(_theorem_check, repaired=True, share=1.1),
        control_statement="the same with a constant of 1.1.",
    ),
    claim(
        id="pav/eq-23",
        source="Eq. 23 (proof of Theorem 3.1)",
        statement=r"$V^{\pi'}-V^\pi\ge\alpha E_{d^{\pi'}}\langle\pi'-\pi,A^\mu\rangle$.",
        kind=Inequality,
        premises=(TREE, NPG, "a step of any size"),
        check=partial(_progress_check, sign=1.0),
        control=partial(_progress_check, sign=-1.0),
        control_statement=r"the same with the sign of Eq. 22, $\langle\pi-\pi',A^\mu\rangle$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="pav/eq-22",
        source="Eq. 22 (proof of Theorem 3.1)",
        statement=r"$V^{\pi'}-V^\pi\ge\alpha E_{d^{\pi'}}\langle\pi-\pi',A^\mu\rangle$.",
        kind=Inequality,
        premises=(TREE, NPG, "a step of any size"),
        check=partial(_progress_check, sign=-1.0),
        control=partial(_progress_check, sign=1.0),
        control_statement="the same with the sign of Eq. 23.",
    ),
)
