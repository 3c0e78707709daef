r"""EXPO: the best by the critic of several sampled and edited actions is played, and is the target of the critic.

No theorem is printed.  What the abstract says of this on-the-fly policy, that it maximises value stably, is taken
apart exactly: with the base policy's own values it improves on it, in any finite MDP and for any number of candidates;
with a critic that errs, its target is too high by the mean of the largest error, and the more candidates, the more.
Sample efficiency is a matter of experiments with robots and networks, and not judged.
"""

from __future__ import annotations

from functools import partial
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.style import COLUMN
from claimlab.mdps import TabularMDP, policy_value
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.spaces import Box, Simplex, Space

PAPER = Paper(
    slug="expo",
    title="EXPO: Stable Reinforcement Learning with Expressive Policies",
    authors="Perry Dong, Qiyang Li, Dorsa Sadigh, Chelsea Finn",
    venue="ICLR 2026",
    arxiv="2507.07986",
    tier="core-named / mechanism-checkable",
)

claim = partial(Claim, paper=PAPER)

FINITE = "finite MDPs, independent candidates from the base policy, no edits (an edit is a candidate more)"
ERRORS = "one state whose actions are worth the same; critics that are off by ±σ, independently at each candidate"

MDPS = Space(
    {"S": (1, 3), "A": (2, 4)},
    {
        "P": Simplex("SAS"), "r": Box("SA", 0, 1), "base": Simplex("SA"), "error": Box("SA", -5, 5),
        "gamma": Box("", 0, 0.9), "n": Box("", 1, 5, step=1),
    },
)  # fmt: skip


def best_of(base: Array, q: Array, n: int) -> Array:
    """The law of the action of largest q among n candidates, the first of equals, float[S, A]."""
    out = np.zeros_like(base)
    for s, (p, values) in enumerate(zip(base, q)):
        order = np.argsort(-values, kind="stable")
        beaten = np.concatenate([[0.0], np.cumsum(p[order])])  # the chance that one candidate is among the first k
        out[s, order] = np.diff(1 - (1 - np.minimum(beaten, 1)) ** n)
    return out


def _improves(P: Array, r: Array, base: Array, error: Array, gamma: Array, n: Array, *, erring: bool) -> Trial:
    """By how much the played policy falls short of the base policy, in some state."""
    mdp = TabularMDP(P, r, float(gamma))
    before = policy_value(mdp, base)
    q = r + float(gamma) * P @ before.v
    played = best_of(base, q + error if erring else q, int(n))
    after = policy_value(mdp, played / played.sum(axis=1, keepdims=True))
    rounding = before.error + after.error + 64 * EPS / (1 - float(gamma)) ** 2
    return Trial(float((before.v - after.v).max()), 0.0, rounding)


def _improves_check(budget: Budget, erring: bool = False) -> Inequality:
    return attack(MDPS, partial(_improves, erring=erring), budget)


CRITICS = Space({}, {"sigma": Box("", 0, 1), "n": Box("", 1, 8, step=1)})


def excess(sigma: float, n: int) -> float:
    """How far the largest of n critics' values, each off by ±sigma with even odds, is above the truth in the mean."""
    return sigma * (1 - 2.0 ** (1 - n))  # all n are low with probability 2^-n


def _target(sigma: Array, n: Array, *, right: bool, alone: bool) -> Trial:
    """The mean of the target's error by going through all signs, against what is stated: none, or :func:`excess`."""
    count = 1 if alone else int(n)
    mean = float(np.mean([sigma * max(signs) for signs in product((-1, 1), repeat=count)]))
    return Trial(abs(mean - (0.0 if right else excess(float(sigma), count))), 64 * EPS)


def _target_check(budget: Budget, right: bool = False, alone: bool = False) -> Identity:
    return equate(CRITICS, partial(_target, right=right, alone=alone), budget)


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, rows, rng = plt.figure(figsize=(COLUMN, 2.4), layout="constrained"), [], np.random.default_rng(0)
    ax, counts = fig.subplots(), np.array([2, 4, 8, 16, 32, 64])
    draws = rng.normal(size=(20_000, counts.max()))
    for gamma, marker in ((0.0, "o"), (0.9, "s"), (0.99, "^")):
        bias = np.array([draws[:, :n].max(axis=1).mean() for n in counts]) * (gamma / (1 - gamma) if gamma else 1)
        ax.loglog(counts, bias, marker + "-", ms=4, label=f"γ = {gamma:g}" if gamma else "one target")
        rows += [{"gamma": gamma, "candidates": n, "bias": x} for n, x in zip(counts, bias)]
    ax.set(xlabel="candidates", ylabel="target too high by (σ)")
    ax.legend()
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "target",
        "How far the target is too high, in deviations of a normal critic error, for one backup and at the fixed point "
        "of many; actions of equal worth, 20 000 draws.",
        _draw,
    ),
)

CLAIMS = (
    claim(
        id="expo/improves",
        source="ours, on the on-the-fly policy, which is to maximise value (abstract)",
        statement=r"With $Q=Q^{\pi_b}$, the best of $n$ candidates of $\pi_b$ has $V\ge V^{\pi_b}$ in all states.",
        kind=Inequality,
        premises=(FINITE,),
        check=_improves_check,
        control=partial(_improves_check, erring=True),
        control_statement="the same with a critic that errs.",
    ),
    claim(
        id="expo/stable-target",
        source="abstract: stable value maximisation, where the critic's errors have mean 0",
        statement="The target, the critic's value of the best of $n$ candidates, is right in the mean.",
        kind=Identity,
        premises=(ERRORS,),
        check=partial(_target_check, right=True),
        control=partial(_target_check, right=True, alone=True),
        control_statement="the same with one candidate.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="expo/target-too-high",
        source="ours, corrects the last",
        statement=r"It is too high by $\sigma(1-2^{1-n})$ in the mean.",
        kind=Identity,
        premises=(ERRORS,),
        check=_target_check,
        control=partial(_target_check, right=True),
        control_statement="it is right in the mean.",
    ),
)
