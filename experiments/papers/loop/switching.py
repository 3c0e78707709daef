"""The lazy update: how often the hypothesis changes, and why it must not change more often."""

from __future__ import annotations

from functools import partial

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.loop.common import (
    DELTA,
    FINITE,
    OPTIMALITY,
    OURS,
    REALIZABLE,
    WIDTH,
    Class,
    claim,
    jao_class,
    lives,
    quarter,
    seed_of,
    watched,
)
from claimlab.mdps.average_learning import World
from claimlab.mdps.hypotheses import Hypotheses, Models
from claimlab.mdps.loop import TRIGGER, ModelLOOP, ValueLOOP
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Inequality, Probability, Rate, probability, rate
from claimlab.theory.falsify import Trial, attack
from claimlab.theory.loop import model_regret, value_width
from claimlab.theory.spaces import Box, Case, Space

HORIZONS = tuple(2**k for k in range(14, 21, 2))  # up to 10^6


def far_apart() -> Class:
    """Three actions and epsilons up to 0.7: the first switches come early, so that growth shows."""
    return jao_class(3, 0.2, (0.1, 0.3, 0.5, 0.7))


def _with_twin(given: Class) -> Class:
    """The class with the truth twice: two hypotheses that no data tell apart."""
    return given._replace(models=Models(np.concatenate([given.models.P, given.models.P[:1]]), given.models.r))


def _growth(budget: Budget, trigger: float = TRIGGER) -> Rate:
    """Hypotheses chosen against the horizon, each horizon with runs and a width of its own."""
    given, runs = _with_twin(far_apart()), max(12, budget.runs // 1000)
    counts = []
    for T in HORIZONS:
        learner = ModelLOOP(given.models, given.width(T), trigger)
        counts.append(lives(learner, given.world, T, runs, seed_of(budget, T)).switches[:, -1])
    y = np.array(counts, dtype=float).T
    return rate(np.log(HORIZONS), y, exponent=1.0, side="at most", rng=budget.rng("bootstrap"), resolution=0.0)


def _per_epoch(budget: Budget, share: float = 1.0) -> Probability:
    """Epochs beyond the first against the squared errors of the run in units of beta, and against the explicit
    bound."""
    given, horizon, runs = far_apart(), 2**13, max(200, quarter(budget) // 4)
    a, _ = watched(given, horizon, runs, seed_of(budget))
    beta = given.width(horizon)
    explicit = model_regret(horizon, given.span, given.models.size, 2 * DELTA).epochs
    bound = np.minimum(share * a.squared / beta, share * explicit)
    witness = {"most switches": a.distinct.max(), "worst ratio": ((a.distinct - 1) / bound).max(), "explicit": explicit}
    return probability(int((a.distinct - 1 > bound).sum()), runs, DELTA, witness)


# two rooms ------------------------------------------------------------------------------------------------------------

ROOMS = Space({}, {"cost": Box("", 0.1, 1.0), "T": Box("", 50, 500, step=1), "seed": Box("", 0, 1e6, step=1)})


def two_rooms(cost: float) -> tuple[World, Hypotheses]:
    """Two rooms that both pay 1; changing room pays 1 - cost.

    The gain is 1, and the bias is not unique: V(0) - V(1) may be anything between -cost and cost.  The two extremes are
    the hypotheses; both solve the Bellman equation, so their errors are zero everywhere.
    """
    r = np.array([[1.0 - cost, 1.0]] * 2)  # action 0 goes, action 1 stays
    P = np.array([[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    values = np.array([[cost / 2, -cost / 2], [-cost / 2, cost / 2]])
    q = r + np.einsum("sat,mt->msa", P, values) - 1.0
    gap = np.zeros((2, 2))
    gap[:, 0] = cost  # against the bias V = 0
    return World(P.cumsum(axis=2), r, gap, np.array([1.0, 1.0]), 1.0, cost), Hypotheses(q, np.ones(2))


def _rooms(cost: Array, T: Array, seed: Array, *, trigger: float) -> Trial:
    """Regret, all of which is the third sum of the decomposition, against the span times one epoch."""
    there, H = two_rooms(float(cost))
    beta = value_width(H.span, H.size, len(H.q), int(T), DELTA)
    record = lives(ValueLOOP(H, H.q, beta, trigger), there, int(T), 1, int(seed))
    regret = float(record.regret[0, -1])
    return Trial(regret, H.span, 8 * float(T) ** 2 * float(np.finfo(float).eps), trivial=float(T * cost))


def _rooms_check(budget: Budget, trigger: float = TRIGGER) -> Inequality:
    hard: list[Case] = [{"cost": np.array(1.0), "T": np.array(100.0), "seed": np.array(0.0)}]
    return attack(ROOMS, partial(_rooms, trigger=trigger), budget, hard=hard)


CLAIMS = (
    claim(
        id="loop/switches-per-epoch",
        source=OURS,
        statement=(
            r"With probability at least $1-\delta$, LOOP changes its hypothesis at most $\beta^{-1}\sum_t "
            r"\mathcal{E}(f_t)(s_t,a_t)^2$ times, and at most $(|\mathcal{H}|-1)(10 + \mathrm{sp}^2/\beta)$ times."
        ),
        kind=Probability,
        premises=(OPTIMALITY, REALIZABLE, FINITE, WIDTH),
        check=_per_epoch,
        control=partial(_per_epoch, share=0.1),
        control_statement="a tenth as often.",
    ),
    claim(
        id="loop/switches-logarithmic",
        source="low switching cost of Algorithm 1",
        statement=(r"The number of switches grows at most like $\log T$, up to $T = 2^{20}$, beyond a million steps."),
        kind=Rate,
        premises=(OPTIMALITY, REALIZABLE, FINITE, WIDTH),
        check=_growth,
        control=partial(_growth, trigger=0.0),
        control_statement="so it does where the hypothesis is chosen anew at every step, ties broken at random.",
    ),
    claim(
        id="loop/lazy-update-needed",
        source="ours, why Algorithm 1 updates lazily",
        statement=(
            r"Where two biases solve the Bellman equation (two rooms, each paying 1, a cost to change), LOOP loses at "
            r"most one span, $\mathrm{sp}(V)$, whatever $T$."
        ),
        kind=Inequality,
        premises=("both hypotheses have zero Bellman error", "ties in the gain are broken at random"),
        check=_rooms_check,
        control=partial(_rooms_check, trigger=0.0),
        control_statement="so does the same algorithm without the trigger, which optimises at every step.",
    ),
)
