r"""REFUEL: regress the relative future of two answers at a turn, on policy (Gao et al. 2024).

With pairs :math:`y,y'\sim\pi_t` at a prefix and their returns, it fits
:math:`\frac1\eta(\log\frac{\pi(y)}{\pi_t(y)}-\log\frac{\pi(y')}{\pi_t(y')})` to :math:`R-R'`.  Dialogues of three turns
are leaves of a tree; exact regressions make :math:`\pi_{t+1}\propto\pi_te^{\eta Q^{\pi_t}}`.  The published theorem's
constants were not at hand: the bound under test is ours, from multiplicative weights in every node.  Two turns of a
small model are in the study `refuel` (``claimlab lm run refuel``); dialogues of words need a larger one.
"""

from __future__ import annotations

from functools import partial
from math import log, sqrt
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.lm import records
from claimlab.experiments.papers import sppo
from claimlab.experiments.style import PAGE
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.decision_trees import action_values, optimal_value, value
from claimlab.theory.evidence import Comparison, Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Simplex, Space

PAPER = Paper(
    slug="refuel",
    title="Regressing the Relative Future: Efficient Policy Optimization for Multi-turn RLHF",
    authors="Zhaolin Gao, Wenhao Zhan, Jonathan D. Chang, Gokul Swamy, Kiante Brantley, Jason D. Lee, Wen Sun",
    venue="ICLR 2025",
    arxiv="2410.04612",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

TREE = "dialogues of three turns in a finite tree, return in [0, 1] at its end, tabular policy"
EXACT = "every regression is exact"
TURNS = 3


def updated(leaf: Array, policy: list[Array], eta: Array) -> list[Array]:
    r"""One round in every node: :math:`\pi\propto\pi_te^{\eta Q^{\pi_t}}`; eta is float[n]."""
    out = []
    for p, q in zip(policy, action_values(leaf, policy)):
        weights = p * np.exp(eta.reshape(-1, *(1,) * (q.ndim - 1)) * (q - q.max(axis=-1, keepdims=True)))
        out.append(weights / weights.sum(axis=-1, keepdims=True))
    return out


def _regression(pi: Array, q: Array, eta: Array, *, factor: float) -> Trial:
    """The gradient of the regression's expected loss at the stated update, in the logits, by complex steps."""
    step, law = 1e-30, 0.99 * pi + 0.01 / len(pi)
    logits = np.log(law) + factor * float(eta) * q

    def loss(x: Any) -> Any:
        ratio = x - np.log(np.exp(x).sum()) - np.log(law)
        gap = np.subtract.outer(ratio, ratio) / float(eta) - np.subtract.outer(q, q)
        return (law[:, None] * law * gap**2).sum()

    gradient = [loss(logits + 1j * step * e).imag / step for e in np.eye(len(pi))]
    return Trial(float(abs(np.array(gradient)).max()), 4096 * EPS * (1 + 1 / float(eta) ** 2))


def _regression_check(budget: Budget, factor: float = 1.0) -> Identity:
    space = Space({"Y": (1, 4)}, {"pi": Simplex("Y"), "q": Box("Y"), "eta": Box("", 0.1, 5)})
    return equate(space, partial(_regression, factor=factor), budget)


def _regret(leaf: Array, *, rounds: int, share: float) -> Trials:
    r"""Ours: :math:`\frac1T\sum_t(V^*-V^{\pi_t})\le H\sqrt{\log|Y|/(2T)}` from uniform,
    :math:`\eta=\sqrt{8\log|Y|/T}`."""
    sizes = leaf.shape[1:]
    largest = max(sizes)
    eta = np.full(len(leaf), sqrt(8 * log(max(largest, 2)) / rounds))
    policy = [np.full((len(leaf), *sizes[: d + 1]), 1 / sizes[d]) for d in range(TURNS)]
    exists = [np.ones(p.shape) for p in policy]
    best, total = optimal_value(leaf, exists), np.zeros(len(leaf))
    for _ in range(rounds):
        total += best - value(leaf, policy)
        policy = updated(leaf, policy, eta)
    bound = share * TURNS * sqrt(log(max(largest, 2)) / (2 * rounds))
    return Trials(total / rounds, bound, 256 * EPS * rounds, trivial=1.0)


def _regret_check(budget: Budget, share: float = 1.0, rounds: int = 16) -> Inequality:
    space = Space({"A": (2, 4), "B": (2, 4), "C": (2, 4)}, {"leaf": Box("ABC", 0, 1)})
    needle = np.zeros((4, 4, 4))
    needle[3, 3, 3] = 1
    measure = partial(_regret, rounds=rounds, share=share)
    many = budget.with_instances(10 * budget.instances)
    return attack(space, measure, many, batched=True, hard=[{"leaf": needle}])


def _coverage(leaf: Array, *, covered: bool) -> Trials:
    """The best answer's probability after 60 rounds, where the start never gives it (or gives it a thousandth)."""
    n, sizes = len(leaf), leaf.shape[1:]
    policy = [np.full((n, *sizes[: d + 1]), 1 / sizes[d]) for d in range(TURNS)]
    first = np.full(sizes[0], 1.0)
    first[-1] = 1e-3 if covered else 0.0
    policy[0] = np.broadcast_to(first / first.sum(), (n, sizes[0])).copy()
    exists = [np.ones(p.shape) for p in policy]
    best = optimal_value(leaf, exists)
    for _ in range(60):
        policy = updated(leaf, policy, np.full(n, 12.0))
    holds = best - optimal_value(leaf[:, :-1], [e[:, :-1] for e in exists]) > 0.3
    return Trials(best - value(leaf, policy), 0.05, 1e-9, trivial=1.0, holds=holds)


def _coverage_check(budget: Budget, covered: bool = False) -> Inequality:
    space = Space({"A": (2, 3), "B": (2, 2), "C": (2, 2)}, {"leaf": Box("ABC", 0, 1, step=1)})
    fewer = budget.with_instances(max(50, budget.instances // 4))
    return attack(space, partial(_coverage, covered=covered), fewer, batched=True)


def aliased(visits: float) -> tuple[float, float]:
    """A first turn of two prefixes, A with probability `visits` in the log, that the second turn cannot tell apart.

    Rewards of its two answers are (0.5, 0.4) after A and (0.6, 1) after B.  Regressing on the log's prefixes ends at
    the better of their mixture; on-policy, the first turn learns to go where the second does well.  Values of the end.
    """
    after = np.array([[0.5, 0.4], [0.6, 1.0]])
    results = []
    for on_policy in (False, True):
        first, second = np.array([visits, 1 - visits]), np.array([0.5, 0.5])
        for _ in range(4_000):
            reach = first if on_policy else np.array([visits, 1 - visits])
            second = second * np.exp(0.05 * (reach @ after))
            second /= second.sum()
            if on_policy:
                first = first * np.exp(0.05 * (after @ second))
                first /= first.sum()
        if not on_policy:  # the first turn then goes where this second turn does best
            first = np.eye(2)[int((after @ second).argmax())]
        results.append(float(first @ after @ second))
    return results[0], results[1]


def _shift_check(budget: Budget, visits: float = 0.9) -> Inequality:
    """One instance: does regression on the log's prefixes come within a tenth of on-policy regression?"""
    offline, online = aliased(visits)
    witness = {"share of A in the log": visits, "offline prefixes": offline, "on policy": online}
    return Inequality((online - offline) / 0.1, online - offline - 0.1, 1e-6, 1, 1, 1, 1, witness)


def _noisy(leaf: Array, error: Array, s1: Array, s2: Array, s3: Array, *, rounds: int, factor: float) -> Trials:
    r"""Ours: average regret where every regressed action value is off by `error`, the same in all rounds,

    against :math:`H(\frac{\log|Y|}{\eta T}+\frac{\eta(1+2\delta)^2}{8}+2\delta)`: multiplicative weights on values of
    that range in every node, whose regret differs by twice the error.
    """
    largest = max(*leaf.shape[1:], 2)
    eta = sqrt(8 * log(largest) / rounds)
    policy = [np.full((len(leaf), *leaf.shape[1 : d + 2]), 1 / leaf.shape[d + 1]) for d in range(TURNS)]
    best, total = optimal_value(leaf, [np.ones(p.shape) for p in policy]), np.zeros(len(leaf))
    for _ in range(rounds):
        total += best - value(leaf, policy)
        found = zip(policy, action_values(leaf, policy), (s1, s2, s3))
        policy = [_tilted(p, q + error.reshape(-1, *(1,) * (q.ndim - 1)) * np.sign(s), eta) for p, q, s in found]
    bound = TURNS * (log(largest) / (eta * rounds) + eta * (1 + 2 * error) ** 2 / 8 + factor * 2 * error)
    return Trials(total / rounds, bound, 256 * EPS * rounds, trivial=1.0)


def _noisy_check(budget: Budget, factor: float = 1.0) -> Inequality:
    signs = {"s1": Box("A"), "s2": Box("AB"), "s3": Box("ABC")}
    fields = {"leaf": Box("ABC", 0, 1), "error": Box("", 0, 0.3)} | signs
    first = np.array([1.0, 0.0])  # each turn's first answer is worth a third, and the error favours the second
    third = (first[:, None, None] + first[:, None] + first) / 3
    flip = {name: np.broadcast_to(1 - 2 * first, (2,) * (d + 1)).copy() for d, name in enumerate(signs)}
    space = Space({"A": (2, 3), "B": (1, 3), "C": (1, 3)}, fields)
    measure = partial(_noisy, rounds=64, factor=factor)
    hard = [{"leaf": third, "error": np.array(0.3)} | flip]
    return attack(space, measure, budget.with_instances(3 * budget.instances), batched=True, hard=hard)


def _tilted(p: Array, q: Array, eta: float) -> Array:
    weights = p * np.exp(eta * (q - q.max(axis=-1, keepdims=True)))
    out: Array = weights / weights.sum(axis=-1, keepdims=True)
    return out


def _myopic_check(budget: Budget, future: bool = False) -> Inequality:
    """One instance: first turns that pay 0.1 and then 0, or 0 and then 1; is the end within 0.05 of the best?"""
    now, then = np.array([0.1, 0.0]), np.array([0.0, 1.0])
    policy = np.array([0.5, 0.5])
    for _ in range(400):
        policy = _tilted(policy, now + then * future, 0.5)
    got, best = float(policy @ (now + then)), 1.0
    witness = {"paid now": now, "paid later": then, "policy at the end": policy, "return": got}
    return Inequality((best - got) / 0.05, best - got - 0.05, 1e-9, 1, 1, 1, 1, witness)


def _one_turn(x: Array, pi: Array, eta: Array, *, wins: bool) -> Trial:
    """One turn whose return is the win rate against the own policy: against SPPO's Hedge, for another return too."""
    law = 0.98 * pi + 0.02 / len(pi)
    P = sppo.preferences(x)
    q = P @ law if wins else (P @ law) ** 2
    policy = [law[None], np.ones((1, len(law), 1)), np.ones((1, len(law), 1, 1))]
    found = updated(q.reshape(1, -1, 1, 1), policy, np.array([float(eta)]))[0][0]
    _, stated = sppo.hedge(P[None], law[None], np.array([float(eta)]), 2)
    return Trial(float(abs(found - stated[0]).max()), 256 * EPS * (1 + float(eta)))


def _one_turn_check(budget: Budget, wins: bool = True) -> Identity:
    space = Space({"Y": (1, 5)}, {"x": Box("YY"), "pi": Simplex("Y"), "eta": Box("", 0.1, 5)})
    return equate(space, partial(_one_turn, wins=wins), budget)


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.3))
    rng, rows = np.random.default_rng(0), []
    lengths = np.array([4, 8, 16, 32, 64, 128, 256])
    leaf = rng.random((60, 4, 4, 4))
    regrets = np.array([np.asarray(_regret(leaf, rounds=int(T), share=1.0).value) for T in lengths])
    left.fill_between(lengths, *np.quantile(regrets, (0.1, 0.9), axis=1), alpha=0.25, lw=0)
    left.plot(lengths, regrets.mean(axis=1), marker="o", label="average regret")
    left.plot(lengths, TURNS * np.sqrt(log(4) / (2 * lengths)), color="black", ls="--", lw=0.8, label="bound")
    left.set(xscale="log", yscale="log", xlabel="rounds", ylabel="regret", title="random trees, exact regressions")
    left.legend()
    rows += [{"panel": "regret", "x": int(T), "y": y} for T, y in zip(lengths, regrets.mean(axis=1))]
    shares = np.linspace(0.02, 0.98, 49)
    ends = np.array([aliased(float(s)) for s in shares])
    right.plot(shares, ends[:, 1], label="on policy")
    right.plot(shares, ends[:, 0], label="the log's prefixes")
    right.set(xlabel="share of prefix A in the log", ylabel="value at the end", ylim=(0.5, 1.03))
    right.set_title("a turn that cannot tell prefixes apart")
    right.legend(loc="lower left")
    rows += [{"panel": "shift", "x": s, "y": y} for s, y in zip(shares, ends[:, 0])]
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "regret-and-shift",
        r"Left: average regret of exact REFUEL over random trees of three turns (mean and 10-90 % band) against our "
        r"bound. Right: "
        r"covariate shift: regression on a log's prefixes against on-policy prefixes.",
        _draw,
    ),
    PaperFigure(
        "small-model",
        "A small transformer that asks a hidden table in two turns: the share right, mean over ten seeds with 95 % "
        "intervals.  The first two arms are provably one.",
        partial(records.drawn, "refuel"),
    ),
)

CLAIMS = (
    claim(
        id="refuel/regression-is-the-softmax-update",
        source="Section 3 (the population minimiser)",
        statement=r"$\pi\propto\pi_te^{\eta Q}$ is stationary for the regression of relative futures, for every "
        r"$\eta$: no "
        r"normaliser is left.",
        kind=Identity,
        premises=("one turn, full support, exact expectations",),
        check=_regression_check,
        control=partial(_regression_check, factor=0.9),
        control_statement=r"$\pi\propto\pi_te^{0.9\,\eta Q}$ is.",
    ),
    claim(
        id="refuel/average-regret",
        source="Theorem 1 (exact regressions; constants ours)",
        statement=r"$\frac1T\sum_t(V^*-V^{\pi_t})\le H\sqrt{\log|Y|/(2T)}$.",
        kind=Inequality,
        premises=(TREE, EXACT, r"uniform start, $\eta=\sqrt{8\log|Y|/T}$, $T=16$"),
        check=_regret_check,
        control=partial(_regret_check, share=0.3),
        control_statement=r"the same with $0.3\,H$.",
    ),
    claim(
        id="refuel/without-coverage",
        source="abstract (matches any policy covered by the training set), without the premise",
        statement="After 60 exact rounds the policy is within 0.05 of the best answer, whatever the start covers.",
        kind=Inequality,
        premises=(TREE, EXACT, "the best answer begins with a first turn that the start never takes"),
        check=_coverage_check,
        control=partial(_coverage_check, covered=True),
        control_statement="the same where the start takes it once in a thousand.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="refuel/offline-prefixes-suffice",
        source="Section 1 (covariate shift), the opposite of what is claimed",
        statement="Regression on the prefixes of a log comes within 0.1 of on-policy regression.",
        kind=Inequality,
        premises=("two prefixes that the second turn cannot tell apart; nine tenths of the log at the worse",),
        check=_shift_check,
        control=partial(_shift_check, visits=0.1),
        control_statement="the same with a tenth of the log there.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="refuel/error-of-the-regression",
        source="Theorem 1 (the term of the regression's error; constants ours)",
        statement=r"With action values off by at most $\delta$ the average regret is at most "
        r"$H\bigl(\frac{\log|Y|}{\eta T}+\frac{\eta(1+2\delta)^2}{8}+2\delta\bigr)$: under coverage $C$ and a mean "
        r"squared error $\epsilon$, $\delta\le\sqrt{C\epsilon}$.",
        kind=Inequality,
        premises=(TREE, r"errors of size $\delta\le0.3$, the same in all rounds", r"$T=64$, uniform start"),
        check=_noisy_check,
        control=partial(_noisy_check, factor=0.0),
        control_statement=r"the same without $2\delta$.",
    ),
    claim(
        id="refuel/own-turn-suffices",
        source="Section 1 (multi-turn against single-turn), the opposite of what is claimed",
        statement="Regressing what a turn pays itself ends within 0.05 of the best return.",
        kind=Inequality,
        premises=("first turns that pay 0.1 and then 0, or 0 and then 1", "exact regressions"),
        check=_myopic_check,
        control=partial(_myopic_check, future=True),
        control_statement="regressing the relative future does.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="refuel/one-turn-of-wins-is-hedge",
        source="ours, on Section 3 (one turn is REBEL)",
        statement=r"With one turn and the win rate $P(y\succ\pi_t)$ as return the update is SPPO's Hedge.",
        kind=Identity,
        premises=(EXACT, "finitely many answers"),
        check=_one_turn_check,
        control=partial(_one_turn_check, wins=False),
        control_statement="the same with the square of the win rate.",
    ),
    claim(
        id="refuel/small-model",
        source="ours, on the multi-turn data of Section 3 (recorded runs of a small model)",
        statement="At equal generated tokens REFUEL in every turn beats REFUEL in the last turn alone.",
        kind=Comparison,
        premises=records.premises("asks a table twice and adds", size="16 prompts with 18 tokens each"),
        check=partial(records.judged, study="refuel", data="fresh", better="REFUEL", worse="last turns"),
        control=partial(records.judged, study="refuel", data="fresh", better="last turns", worse="REFUEL"),
        control_statement="the last turn alone beats all.",
    ),
)
