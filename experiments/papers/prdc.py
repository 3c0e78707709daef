r"""PRDC: a policy is kept near the nearest pair of state and action in a log, at a distance that weighs states by β.

The penalty is the distance of :math:`(\beta s,\pi(s))` to the log's nearest :math:`(\beta\hat s,\hat a)`.  The
theorems' constants were not at hand; the bound on overestimation here is ours and follows from the triangle inequality:
a function that is :math:`L_s`-Lipschitz in states and :math:`L_a` in actions differs between the two pairs by at most
:math:`(L_s/\beta+L_a)\varepsilon` if their distance is ε.  One state and one action dimension.
"""

from __future__ import annotations

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array, Ints
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.style import COLUMN
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trials, attack, equate
from claimlab.theory.spaces import Box, Case, Space

PAPER = Paper(
    slug="prdc",
    title="Policy Regularization with Dataset Constraint for Offline Reinforcement Learning",
    authors="Yuhang Ran, Yi-Chen Li, Fuxiang Zhang, Zongzhang Zhang, Yang Yu",
    venue="ICML 2023",
    arxiv="2306.06569",
    tier="core-named / mechanism-checkable",
)

claim = partial(Claim, paper=PAPER)

LOG = "logs of up to four pairs, one dimension each"
SPACE = Space(
    {"K": (1, 4)},
    {
        "states": Box("K", -1, 1), "actions": Box("K", -1, 1), "level": Box("K", -1, 1), "s": Box("", -1, 1),
        "a": Box("", -1, 1), "beta": Box("", 0.1, 3), "in_s": Box("", 0, 2), "in_a": Box("", 0, 2),
    },
)  # fmt: skip


def nearest(states: Array, actions: Array, s: Array, a: Array, beta: Array) -> tuple[Ints, Array]:
    """The nearest pair of each log, and its distance."""
    gaps = np.hypot(beta[..., None] * (states - s[..., None]), actions - a[..., None])
    at = gaps.argmin(axis=-1)
    return at, np.take_along_axis(gaps, at[..., None], axis=-1)[..., 0]


def _value(states: Array, actions: Array, level: Array, in_s: Array, in_a: Array, s: Array, a: Array) -> Array:
    """The largest function with the given Lipschitz constants that is at most `level` at the pairs of the log."""
    far = in_s[..., None] * abs(states - s[..., None]) + in_a[..., None] * abs(actions - a[..., None])
    return np.asarray((level + far).min(axis=-1))


def _lipschitz(
    states: Array, actions: Array, level: Array, s: Array, a: Array, beta: Array, in_s: Array, in_a: Array,
    *, weighed: bool,
) -> Trials:  # fmt: skip
    at, distance = nearest(states, actions, s, a, beta)
    near = [np.take_along_axis(x, at[..., None], axis=-1)[..., 0] for x in (states, actions)]
    there = partial(_value, states, actions, level, in_s, in_a)
    bound = (in_s / beta if weighed else in_s) * distance + in_a * distance
    return Trials(abs(there(s, a) - there(*near)), bound, 64 * EPS, trivial=2 * (in_s + in_a) + 2)


FAR: Case = {  # the nearest pair is one in the state alone, and states count little
    "states": np.array([0.0]), "actions": np.array([0.0]), "level": np.array([0.0]), "s": np.array(1.0),
    "a": np.array(0.0), "beta": np.array(0.5), "in_s": np.array(1.0), "in_a": np.array(0.0),
}  # fmt: skip


def _lipschitz_check(budget: Budget, weighed: bool = True) -> Inequality:
    many = budget.with_instances(10 * budget.instances)
    return attack(SPACE, partial(_lipschitz, weighed=weighed), many, batched=True, hard=[FAR])


def _own_state(
    states: Array, actions: Array, level: Array, s: Array, a: Array, beta: Array, in_s: Array, in_a: Array,
    *, heavy: bool,
) -> Trials:  # fmt: skip
    """How much farther the state of the nearest pair is than the log's nearest state; a heavy β is 10^4."""
    at, _ = nearest(states, actions, s, a, np.full_like(beta, 1e4) if heavy else beta)
    gaps = abs(states - s[..., None])
    found = np.take_along_axis(gaps, at[..., None], axis=-1)[..., 0]
    return Trials(found - gaps.min(axis=-1), 0.0, 3e-4)  # a heavy β may exchange an action's 2 for a state's 2e-4


CLUSTERS: Case = {  # the log has the action at the other end of the states only
    "states": np.array([0.0, 1.0]), "actions": np.array([-1.0, 1.0]), "level": np.zeros(2), "s": np.array(0.0),
    "a": np.array(1.0), "beta": np.array(1.0), "in_s": np.array(1.0), "in_a": np.array(1.0),
}  # fmt: skip


def _own_state_check(budget: Budget, heavy: bool = False) -> Inequality:
    many = budget.with_instances(10 * budget.instances)
    return attack(SPACE, partial(_own_state, heavy=heavy), many, batched=True, hard=[CLUSTERS])


def _units(
    states: Array, actions: Array, level: Array, s: Array, a: Array, beta: Array, in_s: Array, in_a: Array,
    *, adjusted: bool,
) -> Trials:  # fmt: skip
    """The distance of the nearest actions where states are written in other units, ten to one."""
    first, _ = nearest(states, actions, s, a, beta)
    second, _ = nearest(10 * states, actions, 10 * s, a, beta / 10 if adjusted else beta)
    pair = [np.take_along_axis(actions, at[..., None], axis=-1)[..., 0] for at in (first, second)]
    tied = np.sort(np.hypot(beta[..., None] * (states - s[..., None]), actions - a[..., None]), axis=-1)
    clear = (tied[..., 1] - tied[..., 0] > 1e-9) if tied.shape[-1] > 1 else np.ones(tied.shape[:-1], bool)
    return Trials(abs(pair[0] - pair[1]), 0.0, holds=clear)


def _units_check(budget: Budget, adjusted: bool = False) -> Identity:
    many = budget.with_instances(10 * budget.instances)
    return equate(SPACE, partial(_units, adjusted=adjusted), many, batched=True, hard=[CLUSTERS])


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, rows = plt.figure(figsize=(COLUMN, 2.4), layout="constrained"), []
    ax, betas, rng = fig.subplots(), np.geomspace(0.05, 20, 60), np.random.default_rng(0)
    states = rng.uniform(-1, 1, 200)
    actions = np.where(states < 0, -0.8, 0.8) + 0.1 * rng.normal(size=200)  # the best action changes sign at 0
    query, wanted = rng.uniform(-1, 1, 400), rng.uniform(-1, 1, 400)
    for name, a in (("policy at random", wanted), ("policy of the wrong sign", np.where(query < 0, 0.8, -0.8))):
        wrong = []
        for beta in betas:
            at = [nearest(states, actions, s, x, np.array(beta))[0] for s, x in zip(query, a)]
            wrong.append(float((np.sign(actions[np.array(at)]) != np.where(query < 0, -1, 1)).mean()))
        ax.semilogx(betas, wrong, label=name)
        rows += [{"policy": name, "beta": b, "wrong": x} for b, x in zip(betas, wrong)]
    ax.axvline(2, color="black", lw=0.8, ls="--")
    ax.set(xlabel="β (dashed: the program's default)", ylabel="pulled to the wrong sign", ylim=(0, 1.05))
    ax.legend(fontsize="small")
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "weight-of-states",
        "Share of states in which the nearest pair of the log has an action of the wrong sign, where the right sign "
        "changes at state 0: small β looks for the policy's action anywhere.",
        _draw,
    ),
)

CLAIMS = (
    claim(
        id="prdc/overestimation",
        source="abstract: overestimation is alleviated; the theorem's constant was not at hand, this is ours",
        statement=r"At distance $\varepsilon$ from the log, "
        r"$|Q(s,\pi(s))-Q(\hat s,\hat a)|\le(L_s/\beta+L_a)\varepsilon$.",
        kind=Inequality,
        premises=(LOG, r"$Q$ Lipschitz by $L_s$ and $L_a$"),
        check=_lipschitz_check,
        control=partial(_lipschitz_check, weighed=False),
        control_statement=r"the same with $L_s+L_a$.",
    ),
    claim(
        id="prdc/proper-behaviour",
        source="abstract: the policy is guided by the actions of the nearest sample, proper for its state",
        statement="The nearest pair's state is the log's nearest state.",
        kind=Inequality,
        premises=(LOG, r"$\beta$ from 0.1 to 3, the program has 2"),
        check=_own_state_check,
        control=partial(_own_state_check, heavy=True),
        control_statement=r"the same with $\beta=10^4$, to a ten-thousandth: imitation of the nearest state.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="prdc/units",
        source=r"ours, on one $\beta$ for all tasks",
        statement="The action of the nearest pair does not depend on the units of the states.",
        kind=Identity,
        premises=(LOG, "units ten times smaller", "no tied pairs"),
        check=_units_check,
        control=partial(_units_check, adjusted=True),
        control_statement=r"the same with a tenth of $\beta$.",
        expected=Outcome.REFUTED,
    ),
)
