r"""Rewarding Progress (PAV): natural policy gradient on outcome plus a prover's advantage, in decision trees.

One step is :math:`\pi'\propto\pi e^{\gamma(Q^\pi+\alpha A^\mu)}`, with the advantage :math:`A^\mu` of a prover policy
(Section 3, Eq. 5).  Trees of three steps with rewards at the leaves, so that every quantity is a finite sum.
"""

from __future__ import annotations

from functools import partial

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
from claimlab.theory.evidence import Identity, Inequality, Outcome, Rate, rate
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


def step(leaf: Array, policy: Levels, prover: Levels, alpha: Array, gamma: Array) -> Levels:
    """The policy after one natural policy gradient step; alpha and gamma are float[n]."""
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
    r"""Ours: :math:`\frac{d}{d\gamma}V^{\pi'}=E_{d^\pi}[\mathrm{Var}_\pi(A^\pi)+\alpha\langle "
    r"A^\mu,A^\pi\rangle_\pi]` at 0."""
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
    """Two first actions; whatever the child, the policy succeeds with probability eps; the prover solves the first "
    "only."""
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
    """The expected policy gradient with A^mu as a reward of each step, by enumeration of all answers, against (1 + "
    "alpha) grad V."""
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
)
