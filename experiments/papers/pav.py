r"""Rewarding Progress (PAV): natural policy gradient on outcome plus a prover's advantage, in decision trees.

One step is :math:`\pi'\propto\pi e^{\gamma(Q^\pi+\alpha A^\mu)}`, with the advantage :math:`A^\mu` of a prover policy
(Section 3, Eq. 5).  Trees of three steps with rewards at the leaves, so that every quantity is a finite sum.  A
Monte-Carlo prover of a small model is in the study `pav` (``claimlab lm run pav``).
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.style import PAGE
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.decision_trees import action_values, value, visits
from claimlab.theory.evidence import Comparison, Identity, Inequality, Outcome, Rate, comparison, rate
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Case, Simplex, Space

PAPER = Paper(
    slug="pav",
    title="Rewarding Progress: Scaling Automated Process Verifiers for LLM Reasoning",
    authors="Amrith Setlur, Chirag Nagpal, Adam Fisch, Xinyang Geng, Jacob Eisenstein, Rishabh Agarwal, Alekh Agarwal, "
    "Jonathan Berant, Aviral Kumar",
    venue="ICLR 2025",
    arxiv="2410.08146",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

TREE = "a finite tree of three steps, rewards in [0, 1] at its leaves"
NPG = r"one exact natural policy gradient step, $\pi'\propto\pi\,e^{\gamma(Q^\pi+\alpha A^\mu)}$"

LAWS = {"p1": Simplex("A"), "p2": Simplex("AB"), "p3": Simplex("ABC")}
PROVER = {"m1": Simplex("A"), "m2": Simplex("AB"), "m3": Simplex("ABC")}
SIZES = {"A": (1, 3), "B": (1, 3), "C": (1, 3)}
TREES = Space(SIZES, LAWS | PROVER | {"leaf": Box("ABC", 0, 1), "alpha": Box("", 0, 5), "gamma": Box("", 0.05, 2)})
Levels = list[Array]


def advantages(leaf: Array, policy: Levels) -> Levels:
    """Action values less their mean under the policy, a level."""
    return [q - (p * q).sum(axis=-1, keepdims=True) for q, p in zip(action_values(leaf, policy), policy)]


def step(leaf: Array, policy: Levels, prover: Levels, alpha: Array, gamma: Any) -> Levels:
    """The policy after one natural policy gradient step; alpha and gamma are [n], gamma also complex."""
    out = []
    for p, q, a in zip(policy, action_values(leaf, policy), advantages(leaf, prover)):
        over = (len(alpha),) + (1,) * (p.ndim - 1)
        weights = p * np.exp(gamma.reshape(over) * (q + alpha.reshape(over) * a))
        out.append(weights / weights.sum(axis=-1, keepdims=True))
    return out


def _expected(policy: Levels, terms: Levels) -> Array:
    """The sum over levels of the mean of node quantities under the visits of a policy."""
    return np.sum([(d * x).reshape(len(d), -1).sum(axis=1) for d, x in zip(visits(policy), terms)], axis=0)


def _inner(p: Levels, f: Levels, g: Levels) -> Levels:
    return [(law * x * y).sum(axis=-1) for law, x, y in zip(p, f, g)]


def _variance(p: Levels, f: Levels) -> Levels:
    return [(law * x**2).sum(axis=-1) - (law * x).sum(axis=-1) ** 2 for law, x in zip(p, f)]


def slope(leaf: Array, policy: Levels, prover: Levels, alpha: Array) -> Array:
    r"""Ours: :math:`\frac{d}{d\gamma}V^{\pi'}=E_{d^\pi}[\mathrm{Var}_\pi(A^\pi)+\alpha\langle
    A^\mu,A^\pi\rangle_\pi]` at 0."""
    own, its = advantages(leaf, policy), advantages(leaf, prover)
    aligned = _inner(policy, its, own)
    return _expected(policy, _variance(policy, own)) + alpha * _expected(policy, aligned)


# The first-order gain

STEPS = np.array([1e-3, 2e-3, 4e-3, 8e-3])


def _first_order_check(budget: Budget, printed: bool = False) -> Rate:
    """What is left of the gain of one step after the first-order term, over step sizes."""
    runs, rng = {"smoke": 40, "standard": 400}.get(budget.name, 4_000), budget.rng("trees")
    shapes = {name: (runs, *(3,) * len(field.axes)) for name, field in (LAWS | PROVER).items()}
    block = {name: rng.dirichlet(np.ones(3), size=shape[:-1]) for name, shape in shapes.items()}
    policy, prover = [block[n] for n in LAWS], [block[n] for n in PROVER]
    leaf, alpha = rng.random((runs, 3, 3, 3)), np.ones(runs)
    first = _printed(leaf, policy, prover, policy) if printed else slope(leaf, policy, prover, alpha)
    before = value(leaf, policy)
    left = [value(leaf, step(leaf, policy, prover, alpha, np.full(runs, g))) - before - g * first for g in STEPS]
    return rate(STEPS, np.maximum(abs(np.array(left).T), 1e-300), exponent=2, side="at least", resolution=0.1,
                rng=budget.rng("bootstrap"))  # fmt: skip


def _printed(leaf: Array, policy: Levels, prover: Levels, weights: Levels) -> Array:
    """E Var(A^mu) + E <A^mu, A^pi> as printed in Theorem 3.1, nodes weighted by the visits of `weights`."""
    own, its = advantages(leaf, policy), advantages(leaf, prover)
    return _expected(weights, _variance(policy, its)) + _expected(weights, _inner(policy, its, own))


def _theorem(leaf: Array, *, share: float, **laws: Array) -> Trials:
    """Theorem 3.1 in the limit of small steps, alpha = 1, times a constant `share` for its unknown one."""
    policy, prover = [laws[n] for n in LAWS], [laws[n] for n in PROVER]
    gain = slope(leaf, policy, prover, np.ones(len(leaf)))
    return Trials(share * _printed(leaf, policy, prover, policy), gain, 256 * EPS)


def _repaired(leaf: Array, *, share: float, **laws: Array) -> Trials:
    """With the variance of the *policy's* advantage in its place."""
    policy, prover = [laws[n] for n in LAWS], [laws[n] for n in PROVER]
    own, its = advantages(leaf, policy), advantages(leaf, prover)
    stated = _expected(policy, _variance(policy, own)) + _expected(policy, _inner(policy, its, own))
    alpha, gamma = np.ones(len(leaf)), np.full(len(leaf), 1e-6)
    # the second-order term is below 2 * 3^2 * (1 + alpha)^2 gamma^2 / 2 for values in [0, 1]; rounding is over gamma
    gain = (value(leaf, step(leaf, policy, prover, alpha, gamma)) - value(leaf, policy)) / gamma
    error = 36e-6 + 64 * EPS / 1e-6
    return Trials(share * stated, gain, error)


SLOPES = Space(SIZES, LAWS | PROVER | {"leaf": Box("ABC", 0, 1)})


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
    stated = sign * alpha * _expected(new, moved)
    gain = value(leaf, new) - value(leaf, policy)
    # shifted by what neither side can fall below, so that ratios mean something
    shift = 1 + 2 * 3 * alpha
    return Trials(stated + shift, gain + shift, 256 * EPS * (1 + alpha) * (1 + gamma * (1 + alpha)))


def _progress_check(budget: Budget, sign: float) -> Inequality:
    many = budget.with_instances(20 * budget.instances)
    return attack(TREES, partial(_progress, sign=sign), many, batched=True)


# Dense rewards and reward-to-go


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


# Best-of-K provers


def _best_of(q: Array, pi: Array, K: Array, *, factor: float, side: str) -> Trials:
    """One node: 0 <= <A^mu, A^pi> <= K Var(A^pi) for the prover that takes the best of K of the policy's answers."""
    n = K[:, None]
    better = 1 - (1 - q) ** n
    own, its = q - (pi * q).sum(axis=1, keepdims=True), better - (pi * better).sum(axis=1, keepdims=True)
    aligned, variance = (pi * own * its).sum(axis=1), (pi * own**2).sum(axis=1)
    if side == "lower":
        return Trials(-aligned, 0.0, 64 * EPS)
    return Trials(aligned, factor * K * variance, 64 * EPS * K)


def _best_of_check(budget: Budget, side: str, factor: float = 1.0, any_prover: bool = False) -> Inequality:
    fields = {"q": Box("A", 0, 1), "pi": Simplex("A"), "K": Box("", 1, 16, step=1)}
    small = {"q": np.array([1e-4, 2e-4]), "pi": np.array([0.5, 0.5]), "K": np.array(4.0)}
    many = budget.with_instances(20 * budget.instances)
    if any_prover:
        return attack(Space({"A": (1, 4)}, fields | {"m": Box("A", 0, 1)}), _misaligned, many, batched=True)
    measure = partial(_best_of, factor=factor, side=side)
    return attack(Space({"A": (1, 4)}, fields), measure, many, batched=True, hard=[small])


def _misaligned(q: Array, pi: Array, K: Array, m: Array) -> Trials:
    """The same with any values for the prover's."""
    own, its = q - (pi * q).sum(axis=1, keepdims=True), m - (pi * m).sum(axis=1, keepdims=True)
    return Trials(-(pi * own * its).sum(axis=1), 0.0, 64 * EPS)


# Provers


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


def _harmless(leaf: Array, *, own: bool, **laws: Array) -> Trials:
    """Minus the first-order gain at alpha = 5, the paper's."""
    policy, prover = [laws[n] for n in LAWS], [laws[n] for n in (LAWS if own else PROVER)]
    return Trials(-slope(leaf, policy, prover, np.full(len(leaf), 5.0)), 0.0, 256 * EPS)


def opposite() -> Case:
    """The policy succeeds for certain after the first action and never after the second, the prover the other way."""
    leaf, half = np.zeros((2, 2, 2)), np.array([0.5, 0.5])
    leaf[:, 0, 0] = 1  # success: the first action in the second and third step
    rows = np.array([[1.0, 0.0], [0.0, 1.0]])
    third = np.broadcast_to(np.array([1.0, 0.0]), (2, 2, 2)).copy()
    return {"p1": half, "p2": rows, "p3": third, "m1": half, "m2": rows[::-1].copy(), "m3": third, "leaf": leaf}


def _harmless_check(budget: Budget, own: bool = False) -> Inequality:
    many = budget.with_instances(10 * budget.instances)
    return attack(SLOPES, partial(_harmless, own=own), many, batched=True, hard=[opposite()])


def _best_of_variance(q: Array, pi: Array, K: Array, *, factor: float) -> Trials:
    n = K[:, None]
    its = 1 - (1 - q) ** n
    spread = [(pi * x**2).sum(axis=1) - (pi * x).sum(axis=1) ** 2 for x in (its, q)]
    return Trials(spread[0], factor * K**2 * spread[1], 64 * EPS * K**2)


def _best_of_alignment(q: Array, pi: Array, K: Array, *, factor: float) -> Trials:
    r"""Ours: both differences of :math:`1-(1-q)^K` and of q have one sign and a ratio of at least
    :math:`K(1-q_{max})^{K-1}`, the least slope; so has the covariance."""
    n = K[:, None]
    its = 1 - (1 - q) ** n
    own, other = (x - (pi * x).sum(axis=1, keepdims=True) for x in (q, its))
    least = K * (1 - q.max(axis=1)) ** (K - 1)
    return Trials(factor * least * (pi * own**2).sum(axis=1), (pi * own * other).sum(axis=1), 64 * EPS * K)


def _best_of_factors_check(budget: Budget, measure: str, factor: float = 1.0) -> Inequality:
    fields = {"q": Box("A", 0, 1), "pi": Simplex("A"), "K": Box("", 1, 16, step=1)}
    small = {"q": np.array([1e-4, 2e-4]), "pi": np.array([0.5, 0.5]), "K": np.array(4.0)}
    chosen = {"variance": _best_of_variance, "alignment": _best_of_alignment}[measure]
    many = budget.with_instances(20 * budget.instances)
    return attack(Space({"A": (1, 4)}, fields), partial(chosen, factor=factor), many, batched=True, hard=[small])


def _certain(leaf: Array, share: Array, *, leaves: bool) -> Trial | None:
    """The largest action value of a policy of full support, at 0/1 outcomes, against 1/K with K = 2."""
    if leaf.max() == 0:
        return None
    policy = [np.full((1, *leaf.shape[: d + 1]), 1 / leaf.shape[d]) for d in range(3)]
    q = action_values(leaf[None], policy)
    return Trial(float(max(x.max() for x in (q if leaves else q[:1]))), 0.5, 0.0)


def _certain_check(budget: Budget, leaves: bool = True) -> Inequality:
    """`leaves` False keeps the root's actions of trees in which at most half of all leaves below each succeed."""
    space = Space({"A": (1, 3), "B": (1, 3), "C": (2, 3)}, {"leaf": Box("ABC", 0, 1, step=1), "share": Box("", 0, 1)})
    if leaves:
        return attack(space, partial(_certain, leaves=True), budget)

    def sparse(leaf: Array, share: Array) -> Trial | None:
        thin = leaf * (np.arange(leaf.shape[2]) == 0)
        return _certain(thin, share, leaves=False)

    return attack(space, sparse, budget)


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


def best_of_gains(K: int, runs: int, scale: float, rng: np.random.Generator) -> Array:
    """The gain of a small step with the best-of-K prover, alpha = 1, over that of the outcome alone, float[runs].

    Uniform policies on trees of 27 leaves, 0 or `scale` with equal chances, and at least one gap at the root.
    """
    leaf = scale * rng.integers(2, size=(runs, 3, 3, 3)).astype(float)
    leaf[:, 0, 0, :] = np.array([scale, 0.0, 0.0])  # some signal in every tree
    policy = [np.full((runs, *(3,) * (d + 1)), 1 / 3) for d in range(3)]
    q, own = action_values(leaf, policy), advantages(leaf, policy)
    its = [x - x.mean(axis=-1, keepdims=True) for x in (1 - (1 - y) ** K for y in q)]
    alone = _expected(policy, _variance(policy, own))
    return np.asarray(1 + _expected(policy, _inner(policy, its, own)) / alone)


def _saturates_check(budget: Budget, scale: float = 1.0) -> Comparison:
    """The ratio at K = 64 less that at K = 1, which is two; `scale` makes all values small."""
    runs = {"smoke": 200, "standard": 1_000}.get(budget.name, 5_000)
    many, one = (best_of_gains(K, runs, scale, budget.rng("trees")) for K in (64, 1))
    return comparison(many, one, effect=2.0, rng=budget.rng("bootstrap"))


# Beam search


def beam(q: Levels, score: Levels, width: int = 2) -> float:
    """How likely the policy finishes the best of the prefixes that a beam of two steps keeps; ties by index."""
    first = np.argsort(-score[0], kind="stable")[:width]
    pairs = [(a, b) for a in first for b in range(score[1].shape[1])]
    kept = sorted(pairs, key=lambda x: -score[1][x])[:width]
    return float(max(q[1][x] for x in kept))


def _beam(leaf: Array, *, better: str, worse: str, **laws: Array) -> Trial:
    """What the beam by one score reaches against what that by the other does; "best" looks a step ahead."""
    policy, prover = [laws[n][None] for n in LAWS], [laws[n][None] for n in PROVER]
    q, a = ([x[0] for x in levels] for levels in (action_values(leaf[None], policy), advantages(leaf[None], prover)))
    scores = {"outcome": q, "pav": [x + 5 * y for x, y in zip(q, a)], "best": [q[1].max(axis=1), q[1]]}
    return Trial(beam(q, scores[worse]), beam(q, scores[better]), 64 * EPS)


def _beam_check(budget: Budget, better: str, worse: str) -> Inequality:
    space = Space({"A": (3, 4), "B": (2, 3), "C": (2, 3)}, LAWS | PROVER | {"leaf": Box("ABC", 0, 1, step=1)})
    return attack(space, partial(_beam, better=better, worse=worse), budget.with_instances(5 * budget.instances))


# The planted subsequence, exactly

SYMBOLS, LENGTH, HORIZON, ALPHA, SIZE = 15, 5, 10, 3.0, 20.0


def _planted_values(right: Array) -> tuple[float, Array]:
    """Value of the start and how much better the next symbol of the plan is than another, float[time, matched]."""
    v, gap = np.append(np.zeros(LENGTH), 1.0), np.empty((HORIZON, LENGTH))
    for t in range(HORIZON - 1, -1, -1):
        gap[t] = v[1:] - v[:-1]
        v = np.append(v[:-1] + right[t] * gap[t], 1.0)
    return float(v[0]), gap


def planted_gradient(x: Array, bonus: Array) -> tuple[float, Array]:
    """Success, and the policy gradient in the right symbol's logits, `bonus` added to how much better it is."""
    right = 1 / (1 + np.exp(-x))
    success, gap = _planted_values(right)
    reached, direction = np.eye(LENGTH)[0], np.empty(x.shape)
    for t in range(HORIZON):
        direction[t] = reached * right[t] * (1 - right[t]) * (gap[t] + bonus[t])
        moved = reached * right[t]
        reached = reached - moved + np.append(0.0, moved[:-1])
    return success, direction


@lru_cache(maxsize=32)
def planted_steps(strength: float, alpha: float = ALPHA, most: int = 2_000) -> int:
    r"""Exact policy gradient steps until the planted subsequence is found with probability 0.95.

    The policy knows time and how much is matched, starts uniform over 15 symbols, and has one logit for the right one;
    the prover gives it with probability ``strength / 15``.  Each step is weighted by visits, with Q + alpha A^mu.
    """
    x = np.full((HORIZON, LENGTH), -np.log(SYMBOLS - 1.0))
    _, its = _planted_values(np.full((HORIZON, LENGTH), strength / SYMBOLS))
    for steps in range(most):
        success, direction = planted_gradient(x, alpha * its)
        if success >= 0.95:
            return steps
        x = x + SIZE * direction
    return most


def _planted_check(budget: Budget, first: tuple[float, float], second: tuple[float, float], share: float) -> Inequality:
    """One instance: steps with (strength, alpha) `first` against a share of those with `second`."""
    fast, slow = planted_steps(*first), planted_steps(*second)
    witness = {"steps": fast, "against": slow, "strength and alpha": [first, second]}
    return Inequality(fast / (share * slow), fast - share * slow, 0.0, 1, 1, 1, 1, witness)


# Figure


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.4))
    eps = np.geomspace(1e-3, 0.5, 40)
    gain, printed = [], []
    for e in eps:
        case = {name: x[None] for name, x in two_children(float(e)).items()}
        policy, prover = [case[n] for n in LAWS], [case[n] for n in PROVER]
        gain.append(float(slope(case["leaf"], policy, prover, np.ones(1))[0]))
        printed.append(float(_printed(case["leaf"], policy, prover, policy)[0]))
    left.plot(eps, printed, ls="--", label="Theorem 3.1 as printed")
    left.plot(eps, gain, label="exact gain of a small step")
    left.set(xscale="log", yscale="log", xlabel="success of the policy in either child", ylabel="gain / γ")
    left.legend()
    rows = [{"panel": "two children", "x": e, "gain": g, "printed": p} for e, g, p in zip(eps, gain, printed)]
    rng = np.random.default_rng(0)
    blocks = [SLOPES.draw_block(rng, 40) for _ in range(40)]
    for block in blocks:
        policy, prover = [block[n] for n in LAWS], [block[n] for n in PROVER]
        g = slope(block["leaf"], policy, prover, np.ones(40))
        b = _printed(block["leaf"], policy, prover, policy)
        right.plot(b, g, ".", ms=2, color="#0072B2", alpha=0.5)
        rows += [{"panel": "random trees", "x": np.nan, "gain": x, "printed": y} for x, y in zip(g, b)]
    ends = np.array([-0.3, 0.8])
    right.plot(ends, ends, color="black", lw=0.8, ls="--")
    right.annotate("violated below the line", (0.35, 0.05), fontsize=6, color="0.3")
    right.set(xlabel="as printed", ylabel="exact gain / γ", title="random trees", xlim=ends, ylim=ends)
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "gain-against-theorem",
        r"The gain of a small natural policy gradient step with a prover's advantage, over the step size, against "
        r"the lower "
        r"bound of Theorem 3.1 as printed. Left: a policy that succeeds with probability $\epsilon$ whatever the "
        r"first action, "
        r"and a prover that solves one child only: no constant saves the bound. Right: random trees.",
        _draw,
    ),
)

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
        id="pav/best-of-k-is-aligned",
        source="ours, on Remark 3.1",
        statement=r"Best-of-$K$ provers are never misaligned: $\langle A^\mu,A^\pi\rangle_\pi\ge0$ in every node.",
        kind=Inequality,
        premises=(r"$Q^\mu=1-(1-Q^\pi)^K$",),
        check=partial(_best_of_check, side="lower"),
        control=partial(_best_of_check, side="lower", any_prover=True),
        control_statement="the same for any prover.",
    ),
    claim(
        id="pav/best-of-k-gain",
        source="ours, on Remark 3.1",
        statement=r"Best of $K$ multiplies the gain of a node by at most $1+\alpha K$: "
        r"$\langle A^\mu,A^\pi\rangle_\pi\le K\,\mathrm{Var}_\pi(A^\pi)$, reached for small $Q^\pi$.",
        kind=Inequality,
        premises=(r"$Q^\mu=1-(1-Q^\pi)^K$",),
        check=partial(_best_of_check, side="upper"),
        control=partial(_best_of_check, side="upper", factor=0.95),
        control_statement=r"the same with $0.95\,K$.",
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
        id="pav/no-prover-harms",
        source="Section 3 (which provers help), its contrary",
        statement="No prover makes a small step lower the value.",
        kind=Inequality,
        premises=(TREE, NPG, r"$\alpha=5$, to first order"),
        check=_harmless_check,
        control=partial(_harmless_check, own=True),
        control_statement=r"the same for $\mu=\pi$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="pav/best-of-k-variance",
        source="Remark 3.1 (constants ours)",
        statement=r"$\mathrm{Var}_\pi(A^\mu)\le K^2\,\mathrm{Var}_\pi(A^\pi)$, reached for small $Q^\pi$.",
        kind=Inequality,
        premises=(r"$Q^\mu=1-(1-Q^\pi)^K$",),
        check=partial(_best_of_factors_check, measure="variance"),
        control=partial(_best_of_factors_check, measure="variance", factor=0.95),
        control_statement=r"the same with $0.95\,K^2$.",
    ),
    claim(
        id="pav/best-of-k-alignment-grows",
        source="ours, on Remark 3.1 (where alignment is said to get worse)",
        statement=r"$\langle A^\mu,A^\pi\rangle_\pi\ge K(1-\max Q^\pi)^{K-1}\,\mathrm{Var}_\pi(A^\pi)$: where "
        r"$Q^\pi\ll1/K$ alignment gets better, by a factor of $K$.",
        kind=Inequality,
        premises=(r"$Q^\mu=1-(1-Q^\pi)^K$",),
        check=partial(_best_of_factors_check, measure="alignment"),
        control=partial(_best_of_factors_check, measure="alignment", factor=1.1),
        control_statement=r"the same with $1.1\,K$.",
    ),
    claim(
        id="pav/small-values-everywhere",
        source=r"Remark 3.1 (its premise $Q^\pi=O(1/K)$ for all states and actions)",
        statement=r"$Q^\pi\le\frac12$ for every state and action of a tree that can be solved.",
        kind=Inequality,
        premises=("three steps, outcomes 0 or 1", "uniform policy, $K=2$"),
        check=_certain_check,
        control=partial(_certain_check, leaves=False),
        control_statement="the same at the root, where at most half of the last actions succeed: at the last step "
        r"$Q^\pi$ is 0 or 1.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="pav/beam-search-never-loses",
        source="Figure 2 and Section 4 (beam search)",
        statement=r"A beam of two by $Q^\pi+5A^\mu$ keeps a prefix at least as sure to be finished as one by $Q^\pi$.",
        kind=Inequality,
        premises=("three steps, outcomes 0 or 1", "any prover"),
        check=partial(_beam_check, better="pav", worse="outcome"),
        control=partial(_beam_check, better="best", worse="outcome"),
        control_statement=r"one whose first step is scored by the best second one does.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="pav/beam-search-never-gains",
        source="Figure 2 and Section 4 (beam search), the contrary of what is claimed",
        statement=r"A beam of two by $Q^\pi$ keeps a prefix at least as sure to be finished as one by $Q^\pi+5A^\mu$.",
        kind=Inequality,
        premises=("three steps, outcomes 0 or 1", "any prover"),
        check=partial(_beam_check, better="outcome", worse="pav"),
        control=partial(_beam_check, better="best", worse="pav"),
        control_statement=r"one whose first step is scored by the best second one does.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="pav/provers-save-steps",
        source="Section 5 (the didactic task), with exact gradients",
        statement="With a prover of strength 8 policy gradient finds the planted subsequence in half of the steps "
        "that the outcome alone takes.",
        kind=Inequality,
        premises=(
            f"{SYMBOLS} symbols, {LENGTH} planted in {HORIZON} steps, $\\alpha={ALPHA:g}$, steps of size {SIZE:g}",
            "exact gradients: nothing is sampled",
        ),
        check=partial(_planted_check, first=(8.0, ALPHA), second=(1.0, 0.0), share=0.5),
        control=partial(_planted_check, first=(1.0, ALPHA), second=(8.0, ALPHA), share=0.5),
        control_statement="with the uniform prover in half of those with strength 8.",
    ),
    claim(
        id="pav/perfect-provers-are-slower",
        source="Section 5 (provers of middling strength are best), with exact gradients",
        statement="A prover that is always right takes more steps than one of strength 8.",
        kind=Inequality,
        premises=(
            f"{SYMBOLS} symbols, {LENGTH} planted in {HORIZON} steps, $\\alpha={ALPHA:g}$, steps of size {SIZE:g}",
            "exact gradients: nothing is sampled, and late states, where time is short, are seen from the start",
        ),
        check=partial(_planted_check, first=(8.0, ALPHA), second=(15.0, ALPHA), share=1.0),
        control=partial(_planted_check, first=(8.0, ALPHA), second=(1.0, ALPHA), share=1.0),
        control_statement="the uniform prover does.",
        expected=Outcome.REFUTED,
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
    claim(
        id="pav/best-of-k-keeps-growing",
        source="Remark 3.1 (strength grows with $K$), on full trees",
        statement="On average the prover with $K=64$ multiplies the gain of the outcome by 2 more than that with $K=1$ "
        "does.",
        kind=Comparison,
        premises=("random trees of 27 leaves with outcomes 0 or 1, uniform policy", r"$\alpha=1$"),
        check=_saturates_check,
        control=partial(_saturates_check, scale=1e-3),
        control_statement="the same where all values are below 0.001.",
        expected=Outcome.REFUTED,
    ),
)
