"""Definition 3 on LOOP's own runs: the generalised eluder coefficient that a run had, against its bound.

The inequalities of `discrepancies` hold for every sequence; here the sequences are those that LOOP makes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from math import log
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab.checks import Array, Ints
from claimlab.experiments.papers.loop.common import (
    CLASSES,
    FINITE,
    OPTIMALITY,
    OURS,
    REALIZABLE,
    Class,
    claim,
    lives,
    seed_of,
)
from claimlab.mdps.agec import Sequence, dominance, tabular_sequence, transferability
from claimlab.mdps.average_learning import AverageLearner
from claimlab.mdps.hypotheses import bellman_targets
from claimlab.mdps.loop import ModelLOOP
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Inequality
from claimlab.theory.loop import tabular_potential

HORIZON, RUNS = 2**14, 8
SCALES = (1.0, 0.1, 0.01)  # of the width: the inequalities do not depend on it, the number of switches does


class TracedState(NamedTuple):
    base: Any
    used: Ints  # [T], the hypothesis in use
    pairs: Ints  # [T], s A + a


@dataclass(frozen=True, eq=False)
class Traced(AverageLearner):
    """Plays as `base`, a LOOP, and writes its sequence down."""

    base: ModelLOOP

    def fresh(self, r: Array, horizon: int) -> TracedState:
        return TracedState(self.base.fresh(r, horizon), np.zeros(horizon, np.int64), np.zeros(horizon, np.int64))

    def decide(self, state: TracedState, t: int, s: int, rng: Generator) -> int:
        a = self.base.decide(state.base, t, s, rng)
        state.used[t] = state.base.chosen.used[0]
        state.pairs[t] = s * state.base.backed.shape[1] + a
        return a

    def absorb(self, state: TracedState, t: int, s: int, a: int, successor: int) -> None:
        self.base.absorb(state.base, t, s, a, successor)

    def switches(self, state: TracedState) -> int:
        return self.base.switches(state.base)


def value_sequence(given: Class, state: TracedState) -> Sequence:
    """E(f_t)(s_t, a_t), and its squares summed over the pairs so far."""
    H = given.models.optimal
    errors = (H.q - bellman_targets(given.models.P[0], given.models.r, H)).reshape(H.size, -1)
    return tabular_sequence(errors[state.used], state.pairs)


def model_sequence(given: Class, state: TracedState) -> Sequence:
    """d_t(f_t) = ((P_{f_t} - P*) V_{f_t})(s_t, a_t), and the sum of d_i(f_t)^2, each with the f_i of its step."""
    P, v, T = given.models.P, given.models.optimal.v, np.arange(len(state.used))
    d = np.einsum("gks,fs->gfk", (P - P[:1]).reshape(len(P), -1, P.shape[3]), v)
    past = d[:, state.used, state.pairs] ** 2
    before = past.cumsum(axis=1) - past
    return Sequence(d[state.used, state.used, state.pairs], before[state.used, T])


class Coefficient(NamedTuple):
    name: str
    value: float  # least coefficient that the run obeys
    bound: float


@lru_cache(maxsize=2)
def coefficients(seed: int, discrepancy: str, part: str) -> tuple[Coefficient, ...]:
    """Of every class, width and run."""
    found = []
    for (name, make), scale in ((c, s) for c in CLASSES.items() for s in SCALES):
        given = make()
        learner = Traced(ModelLOOP(given.models, scale * given.width(HORIZON)))
        record = lives(learner, given.world, HORIZON, RUNS, seed, keep_states=True)
        largest, K, others = given.span, given.models.r.size, given.models.size - 1
        for state in record.states:
            sequence = (value_sequence if discrepancy == "value" else model_sequence)(given, state)
            if part == "dominance":
                value = dominance(sequence, largest)
                value_bound, model_bound = tabular_potential(K, HORIZON), 2 * others * log(1 + HORIZON**2 / others)
            else:
                value = transferability(sequence, largest)
                value_bound, model_bound = float(K), float(others)
            bound = value_bound if discrepancy == "value" else model_bound
            found.append(Coefficient(f"{name}, {scale:g} beta", value, bound))
    return tuple(found)


def _own_runs(budget: Budget, discrepancy: str, part: str, share: float = 1.0) -> Inequality:
    found = coefficients(seed_of(budget), discrepancy, part)
    ratio = np.array([c.value / c.bound for c in found])
    worst = found[int(ratio.argmax())]
    bound, informative = share * worst.bound, sum(c.bound < HORIZON for c in found)  # d = T is trivial
    return Inequality(
        ratio=worst.value / bound, excess=worst.value - bound, error=1e-9 * (1 + bound), instances=len(found),
        informative=informative, tried=len(found), power=len(found),
        witness={"run": worst.name, "measured": worst.value, "bound": worst.bound, "median": float(np.median(ratio))},
    )  # fmt: skip


SETTING = (
    OPTIMALITY,
    REALIZABLE,
    FINITE,
    r"JAO's MDP and RiverSwim, $T = 2^{14}$, widths $\beta$, $\beta/10$, $\beta/100$",
)

CLAIMS = tuple(
    claim(
        id=f"loop/{discrepancy}-{part}-of-runs",
        source=f"Definition 3 ({name}), {OURS}",
        statement=f"On every run of LOOP the {discrepancy}-based coefficient of {name} is ${symbol} \\le {bound}$.",
        kind=Inequality,
        premises=SETTING,
        check=partial(_own_runs, discrepancy=discrepancy, part=part),
        control=partial(_own_runs, discrepancy=discrepancy, part=part, share=share),
        control_statement=f"it is at most {share:g} times that.",
    )
    for discrepancy, part, name, symbol, bound, share in (
        ("value", "dominance", "Bellman dominance", r"d_{\mathcal{G}}", r"k(1+\log(T/k)),\ k = SA", 0.001),
        ("value", "transfer", "transferability", r"\kappa_{\mathcal{G}}", "SA", 0.001),
        (
            "model",
            "dominance",
            "Bellman dominance",
            r"d_{\mathcal{G}}",
            r"2m\log(1+T^2/m),\ m = |\mathcal{H}|-1",
            0.001,
        ),
        ("model", "transfer", "transferability", r"\kappa_{\mathcal{G}}", r"|\mathcal{H}|-1", 0.001),
    )
)
