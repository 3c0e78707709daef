"""Where training from data of a fixed law ends: vertices, projections, the three arms; directions that oppose."""

from __future__ import annotations

from functools import partial

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.group_relative_reinforce.common import (
    BANDIT,
    FIXED,
    LAW,
    REWARD,
    THREE_ARMS,
    claim,
    flow,
    full,
)
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.group_relative import flow_limit, least_cosine
from claimlab.theory.spaces import Box, Case, Simplex, Space

FLOWS = Space(
    {"Y": (2, 4)}, {"law": Simplex("Y"), "r": Box("Y", 0, 1), "start": Box("Y", -1, 1), "beta": Box("", 0.1, 2)}
)


def _linear(law: Array, r: Array, start: Array, beta: Array, *, asymmetric: bool) -> Trial:
    """The policy after 200 steps of size 0.5 against that of logits that have moved linearly, 100 c."""
    data = full(law, 0.02)
    c = data * (r - data @ r + asymmetric * float(beta))
    x = start + 100 * c
    stated = np.exp(x - x.max())
    return Trial(float(abs(flow(c, start.copy(), 200, 0.5) - stated / stated.sum()).max()), 200 * 256 * EPS)


def _linear_check(budget: Budget, asymmetric: bool = False) -> Identity:
    return equate(FLOWS, partial(_linear, asymmetric=asymmetric), budget)


def _limit(law: Array, r: Array, start: Array, beta: Array, *, kind: str) -> Trial | None:
    """AsymRE's flow (advantages raised by beta) after a long time against the projection, or against the law itself."""
    data = full(law, 0.1)
    c = data * (r - data @ r + float(beta))
    end = flow_limit(c)
    away = np.where(end > 0, end, np.inf).min()
    edge = np.sort(c / c.sum() - (c / c.sum() - end).max())
    if away < 0.02 or (abs(edge[edge < 0]).min(initial=1.0) < 0.02):
        return None  # close to a face of the simplex the approach is too slow to be seen
    found = flow(c, start.copy(), 60_000, 1.0)
    return Trial(float(abs(found - (end if kind == "projection" else data)).max()), 2e-3)


def _limit_check(budget: Budget, kind: str = "projection") -> Identity:
    measure = partial(_limit, kind=kind)
    return equate(FLOWS, measure, budget.with_instances(min(budget.instances, 200)))


def _three_check(budget: Budget, best: bool = True) -> Inequality:
    """One instance: is the limit of REINFORCE from that data within 0.1 of the best arm (or: of the second)?"""
    c = LAW * (REWARD - LAW @ REWARD)
    got = float(flow_limit(c) @ REWARD)
    wanted = float(REWARD.max()) if best else float(REWARD[1])
    witness = {"law": LAW, "r": REWARD, "c": c, "value of the limit": got}
    return Inequality((wanted - got) / 0.1, wanted - got - 0.1, 1e-9, 1, 1, 1, 1, witness)


# Directions


def _cosines(law: Array, p: Array, r: Array) -> tuple[Array, Array]:
    """Cosines of REINFORCE's direction from other data with the true gradient, in the logits, and where neither is
    zero."""
    c = law * (r - (law * r).sum(axis=1, keepdims=True))
    g = p * (r - (p * r).sum(axis=1, keepdims=True))
    norms = np.linalg.norm(c, axis=1) * np.linalg.norm(g, axis=1)
    holds = norms > 1e-9
    return (c * g).sum(axis=1) / np.where(holds, norms, 1.0), holds


def _cosine(law: Array, p: Array, r: Array) -> Trials:
    """The cosine, which is to be positive."""
    found, holds = _cosines(full(law, 0.01), full(p, 0.01), r)
    return Trials(-found, 0.0, 1e-9, holds=holds)


def _cosine_check(budget: Budget, arms: int = 2) -> Inequality:
    space = Space({"Y": (arms, arms)}, {"law": Simplex("Y"), "p": Simplex("Y"), "r": Box("Y", 0, 1)})
    return attack(space, _cosine, budget.with_instances(20 * budget.instances), batched=True)


def opposed(answers: int, rare: float = 1e-4) -> Case:
    """The extremal case of :func:`least_cosine`: data on the lower half and the middle, a policy on the middle and the
    upper half; `rare` is what the others get."""
    low = (answers - 1) // 2
    high = answers - 1 - low
    r = np.repeat([0.0, 0.5, 1.0], [low, 1, high])
    law = np.repeat([0.5 / max(low, 1), 0.5, rare / high], [low, 1, high])
    p = np.repeat([rare / max(low, 1), 0.5, 0.5 / high], [low, 1, high])
    return {"law": law / law.sum(), "p": p / p.sum(), "r": r}


def _reversal(law: Array, p: Array, r: Array, *, share: float) -> Trials:
    found, holds = _cosines(law, p, r)
    return Trials(-found, -share * least_cosine(law.shape[1]), 1e-6, holds=holds, trivial=1.0)


def _reversal_check(budget: Budget, share: float = 1.0) -> Inequality:
    space = Space({"Y": (3, 7)}, {"law": Simplex("Y"), "p": Simplex("Y"), "r": Box("Y", 0, 1)})
    hard = [opposed(n) for n in range(3, 8)]
    many = budget.with_instances(20 * budget.instances)
    return attack(space, partial(_reversal, share=share), many, batched=True, hard=hard)


CLAIMS = (
    claim(
        id="group-relative-reinforce/logits-move-linearly",
        source="ours, on the three-armed bandit",
        statement=r"REINFORCE from data of a fixed law moves the logits linearly, along $c_a=\pi_b(a)(r_a-\bar r)$: "
        "it ends on the largest, wherever it started.",
        kind=Identity,
        premises=(BANDIT, FIXED),
        check=_linear_check,
        control=partial(_linear_check, asymmetric=True),
        control_statement=r"so does AsymRE, along $c_a=\pi_b(a)(A_a+\beta)$.",
    ),
    claim(
        id="group-relative-reinforce/three-arms",
        source="Section on the myths (three-armed bandit), as if off-policy data were harmless",
        statement="REINFORCE with the group mean from data of a fixed law ends within 0.1 of the best arm.",
        kind=Inequality,
        premises=(THREE_ARMS, "exact gradients"),
        check=_three_check,
        control=partial(_three_check, best=False),
        control_statement="it ends within 0.1 of the second one's reward.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="group-relative-reinforce/limit-is-a-projection",
        source="ours, on AsymRE",
        statement=r"AsymRE from data of a fixed law ends at the projection of $c/\sum c$, $c_a=\pi_b(a)(A_a+\beta)$, "
        r"onto the simplex.",
        kind=Identity,
        premises=(BANDIT, r"$\beta>0$", "60 000 steps; limits at least 0.02 from a change of face; equal to 0.002"),
        check=_limit_check,
        control=partial(_limit_check, kind="law"),
        control_statement="it ends at the law of the data.",
    ),
    claim(
        id="group-relative-reinforce/two-arms-never-fail",
        source="ours, on off-policy data",
        statement="With two answers the direction from data of any law never opposes the true gradient.",
        kind=Inequality,
        premises=(BANDIT, "full support"),
        check=_cosine_check,
        control=partial(_cosine_check, arms=3),
        control_statement="with three answers it never does.",
    ),
    claim(
        id="group-relative-reinforce/reversal-is-never-complete",
        source="ours, on off-policy data",
        statement=r"With n answers the cosine of the two directions is at least $-1/\sqrt{(1+\frac1l)(1+\frac1h)}$, "
        r"$l=\lfloor\frac{n-1}2\rfloor$, $h=\lceil\frac{n-1}2\rceil$, and no better: $-\frac12$ for three.",
        kind=Inequality,
        premises=(BANDIT, "three to seven answers"),
        check=_reversal_check,
        control=partial(_reversal_check, share=0.99),
        control_statement="it is at least 0.99 times that.",
    ),
)
