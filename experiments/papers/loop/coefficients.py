"""Definition 3 on LOOP's own runs: the generalised eluder coefficient that a run had, against its bound.

The inequalities of `discrepancies` hold for every sequence; here the sequences are those that LOOP makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from math import log
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab.checks import Array, Ints
from claimlab.experiments.papers.loop.common import (
    CLASSES,
    DELTA,
    FINITE,
    OPTIMALITY,
    OURS,
    REALIZABLE,
    claim,
    lives,
    seed_of,
)
from claimlab.experiments.papers.loop.variants import errors_of, linear_loop, mixture, mixture_loop, one_hot
from claimlab.mdps.agec import Sequence, class_sequence, dominance, tabular_sequence, transferability
from claimlab.mdps.average_learning import AverageLearner, World
from claimlab.mdps.loop import FiniteLOOP, ModelLOOP
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Inequality
from claimlab.theory.loop import dominance_coefficient, linear_potential, tabular_potential

HORIZON, RUNS = 2**14, 8
SCALES = (1.0, 0.1, 0.01)  # of the width: the inequalities do not depend on it, the number of switches does


class TracedState(NamedTuple):
    base: Any
    r: Array  # [S, A]
    used: Ints  # [T], the hypothesis in use
    pairs: Ints  # [T], s A + a


@dataclass(frozen=True, eq=False)
class Traced(AverageLearner):
    """Plays as `base` and writes its sequence down."""

    base: FiniteLOOP

    def fresh(self, r: Array, horizon: int) -> TracedState:
        return TracedState(self.base.fresh(r, horizon), r, np.zeros(horizon, np.int64), np.zeros(horizon, np.int64))

    def decide(self, state: TracedState, t: int, s: int, rng: Generator) -> int:
        a = self.base.decide(state.base, t, s, rng)
        state.used[t] = state.base.chosen.used[0]
        state.pairs[t] = s * state.r.shape[1] + a
        return a

    def absorb(self, state: TracedState, t: int, s: int, a: int, successor: int) -> None:
        self.base.absorb(state.base, t, s, a, successor)

    def switches(self, state: TracedState) -> int:
        return self.base.switches(state.base)


class Setting(NamedTuple):
    """A learner, what its runs are measured by, and the bounds on both coefficients."""

    name: str
    learner: FiniteLOOP
    there: World
    sequence: Callable[[TracedState], Sequence]
    scale: float  # B of the second terms
    dominance: float
    transfer: float


def by_pair(errors: Array) -> Callable[[TracedState], Sequence]:
    """E(f_t)(s_t, a_t), and its squares summed over the pairs so far; `errors` is float[M, S, A]."""
    table = errors.reshape(len(errors), -1)
    return lambda state: tabular_sequence(table[state.used], state.pairs)


def by_step(errors: Array) -> Callable[[TracedState], Sequence]:
    """d_t(f_t), and the sum of d_i(f_t)^2, each with the f_i of its step; `errors` is float[F, M, S, A]."""
    table = errors.reshape(*errors.shape[:2], -1)
    return lambda state: class_sequence(table[state.used, :, state.pairs], state.used)


def settings(discrepancy: str) -> Iterator[Setting]:
    learner: FiniteLOOP
    if discrepancy == "mixture":
        m = mixture(4, 0.2, 0.1, truth=5)
        errors, d = np.einsum("fsak,gk->fgsa", m.features, m.theta - m.theta[0]), m.theta.shape[1]
        scale = m.feature * float(np.linalg.norm(m.theta - m.theta[0], axis=1).max())
        for share in SCALES:
            learner = mixture_loop(m, HORIZON, DELTA, share)
            yield Setting(f"{share:g} beta", learner, m.given.world, by_step(errors), scale, *linear_bounds(d))
        return
    for (name, make), share in ((c, s) for c in CLASSES.items() for s in SCALES):
        given, label = make(), f"{name}, {share:g} beta"
        P, r, v = given.models.P, given.models.r, given.models.optimal.v
        model_based = ModelLOOP(given.models, share * given.width(HORIZON))
        if discrepancy == "linear":
            errors, scale = errors_of(given), float(np.linalg.norm(errors_of(given), axis=(1, 2)).max())
            learner = linear_loop(given, one_hot(r.shape), HORIZON, DELTA, share)
            yield Setting(label, learner, given.world, by_pair(errors), scale, *linear_bounds(r.size))
        elif discrepancy == "value":
            bounds = tabular_potential(r.size, HORIZON), float(r.size)
            yield Setting(label, model_based, given.world, by_pair(errors_of(given)), given.span, *bounds)
        else:
            others, errors = given.models.size - 1, np.einsum("gsat,ft->fgsa", P - P[:1], v)
            bounds = dominance_coefficient(linear_potential(others, HORIZON)), float(others)
            yield Setting(label, model_based, given.world, by_step(errors), given.span, *bounds)


def linear_bounds(dim: int) -> tuple[float, float]:
    return dominance_coefficient(linear_potential(dim, HORIZON)), dim * log(1 + HORIZON / dim) / log(2)


class Coefficient(NamedTuple):
    name: str
    value: float  # least coefficient that the run obeys
    bound: float


@lru_cache(maxsize=2)
def coefficients(seed: int, discrepancy: str, part: str) -> tuple[Coefficient, ...]:
    """Of every class, width and run."""
    found = []
    for given in settings(discrepancy):
        record = lives(Traced(given.learner), given.there, HORIZON, RUNS, seed, keep_states=True)
        measure, bound = (dominance, given.dominance) if part == "dominance" else (transferability, given.transfer)
        found += [Coefficient(given.name, measure(given.sequence(s), given.scale), bound) for s in record.states]
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


DOMINANCE, TRANSFER = (
    ("dominance", "Bellman dominance", r"d_{\mathcal{G}}"),
    (
        "transfer",
        "transferability",
        r"\kappa_{\mathcal{G}}",
    ),
)
WIDTHS = r"$T = 2^{14}$, widths $\beta$, $\beta/10$, $\beta/100$"
RIVERS, MIXTURES = f"JAO's MDP and RiverSwim, {WIDTHS}", f"hard linear mixtures, {WIDTHS}"

CLAIMS = tuple(
    claim(
        id=f"loop/{discrepancy}-{part}-of-runs",
        source=f"Definition 3 ({name}), {OURS}",
        statement=(
            f"On every run of {learner} the {discrepancy}-based coefficient of {name} is ${symbol} \\le {bound}$."
        ),
        kind=Inequality,
        premises=(OPTIMALITY, REALIZABLE, FINITE, instances),
        check=partial(_own_runs, discrepancy=discrepancy, part=part),
        control=partial(_own_runs, discrepancy=discrepancy, part=part, share=0.001),
        control_statement="it is at most 0.001 times that.",
    )
    for discrepancy, (part, name, symbol), bound, learner, instances in (
        ("value", DOMINANCE, r"k(1+\log(T/k)),\ k = SA", "LOOP", RIVERS),
        ("value", TRANSFER, "SA", "LOOP", RIVERS),
        ("model", DOMINANCE, r"K + \sqrt{K},\ K = m\log_2(1+T^2/m),\ m = |\mathcal{H}|-1", "LOOP", RIVERS),
        ("model", TRANSFER, r"|\mathcal{H}|-1", "LOOP", RIVERS),
        ("linear", DOMINANCE, r"K + \sqrt{K},\ K = d\log_2(1+T^2/d),\ d = SA", "LinearLOOP", RIVERS),
        ("linear", TRANSFER, r"d\log_2(1+T/d),\ d = SA", "LinearLOOP", RIVERS),
        ("mixture", DOMINANCE, r"K + \sqrt{K},\ K = d\log_2(1+T^2/d)", "MixtureLOOP", MIXTURES),
        ("mixture", TRANSFER, r"d\log_2(1+T/d)", "MixtureLOOP", MIXTURES),
    )
)
