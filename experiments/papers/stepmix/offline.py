"""Theorem 3: the baseline is not given but learned from data of an unknown policy."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.stepmix.audit import expected_widths
from claimlab.experiments.papers.stepmix.certificates import BALLS
from claimlab.experiments.papers.stepmix.common import (
    EVENT,
    RUNS,
    SETS,
    TABULAR,
    around,
    claim,
    knowledge,
)
from claimlab.experiments.papers.stepmix.instances import DELTA, sparse_task
from claimlab.mdps.confidence import L1Sets
from claimlab.mdps.conservative import StepMix, pessimistic_value_iteration, plan_pessimism
from claimlab.mdps.episodes import play_episodes
from claimlab.mdps.staged import StagedMDP, staged_optimum, staged_value, transition_data
from claimlab.theory.claims import Budget
from claimlab.theory.conservative import offline_episodes, union_log
from claimlab.theory.evidence import Inequality, Probability, Rate, probability, rate
from claimlab.theory.falsify import Trial, attack


def _shortfall(P: Array, Q: Array, r: Array, pi: Array, mix: Array, extra: Array, *, factor: float) -> Trial:
    """What a policy is worth beyond pessimism's certificate, against the widths that it meets."""
    mdp = StagedMDP(P, r)
    b, _, _, _ = knowledge(*around(P, Q, mix, extra), r)
    lower, policy, v = np.zeros((len(r) + 1, r.shape[1])), np.zeros(r.shape), np.zeros((len(r) + 1, r.shape[1]))
    plan_pessimism(L1Sets(), b, r, lower, policy)
    b.widths[:] = b.widths / 2  # the sum below has min(2 rad, 1)
    widths = expected_widths(b, mdp, pi, v)
    return Trial(staged_value(mdp, pi) - lower[0, 0], factor * widths, 8 * mdp.rounding, trivial=float(len(r)))


def _shortfall_check(budget: Budget, factor: float = 1.0) -> Inequality:
    return attack(BALLS, partial(_shortfall, factor=factor), budget)


def _learned_baseline(budget: Budget, size: int = 20_000, scale: float = 1.0) -> Probability:
    """Runs in which StepMix with the learned baseline falls below nine tenths of its certificate."""
    instance, rng, failures = sparse_task(), budget.rng("data"), 0
    sets = L1Sets(DELTA, scale)
    for run in range(RUNS):
        data = transition_data(instance.mdp, instance.baseline, size, rng)
        learned = pessimistic_value_iteration(instance.mdp, data, sets)
        threshold = 0.9 * learned.value
        record = play_episodes(
            StepMix(learned.policy, threshold, sets, data=data), instance.mdp, episodes=500, runs=1,
            seed=budget.seed + run, threshold=threshold, checkpoints=1, threads=1,
        )  # fmt: skip
        failures += int(record.violations[0, -1] > 0)
    return probability(failures, RUNS, DELTA)


SHORTFALLS = (0.4, 0.2, 0.1, 0.05)


def _size(budget: Budget, divisor: int = 1) -> Probability:
    """Data sets after which the certificate lacks more than the shortfall to the value of the policy behind them."""
    instance, rng, failures = sparse_task(), budget.rng("data"), 0
    H, S, A = instance.mdp.r.shape
    sizes = [offline_episodes(S, A, H, shortfall, DELTA) // divisor for shortfall in SHORTFALLS]
    for run in range(RUNS):
        shortfall, n = SHORTFALLS[run % len(sizes)], sizes[run % len(sizes)]
        data = transition_data(instance.mdp, instance.baseline, n, rng)
        found = pessimistic_value_iteration(instance.mdp, data, L1Sets(DELTA))
        failures += int(found.value < instance.baseline_value - shortfall)
    return probability(failures, RUNS, 2 * DELTA, {"episodes of data": sizes})


GRID = 2**0.25  # of the sizes of data sets


@lru_cache(maxsize=2)
def _needed(slacks: tuple[float, ...], seed: int) -> Array:
    """The least sizes on the grid after which the certificate lacks at most each slack to the optimum: [150, slacks].

    The data are those of one optimal policy, one stream a row: every size begins with the episodes of the one before.
    """
    mdp, behaviour, rng = sparse_task().mdp, _expert(), np.random.default_rng([seed, 15])
    best, sizes = staged_optimum(mdp).value, np.zeros((150, len(slacks)))
    for row in sizes:
        n, data, met = 4096, transition_data(mdp, behaviour, 4096, rng), 0
        while met < len(slacks):
            if best - pessimistic_value_iteration(mdp, data, L1Sets(DELTA)).value <= slacks[met]:
                row[met], met = n, met + 1
            else:
                more = int(n * (GRID - 1)) + 1
                data, n = data + transition_data(mdp, behaviour, more, rng), n + more
    return sizes


def _size_in_slack(budget: Budget, exponent: float = 2.0) -> Rate:
    """Growth of n / L_n in 1 / kappa."""
    slacks = 0.1 / 2.0 ** np.arange(2, 7)
    n, (H, S, A) = _needed(tuple(slacks), budget.seed), sparse_task().mdp.r.shape
    logs = np.vectorize(lambda size: union_log(S, A, H, size, DELTA))(n)
    return rate(1 / slacks, n / logs, exponent=exponent, side="at most", rng=budget.rng("bootstrap"))


def _fixed_floor(budget: Budget, size: int | None = None) -> Probability:
    """Runs in which StepMix falls below a floor that was fixed before the data: kappa = 0.2 below what they came from.

    Their policy is deterministic, so that most pairs are never seen.
    """
    instance, rng, failures, slack = sparse_task(), budget.rng("data"), 0, 0.2
    behaviour, sets = _expert(), L1Sets(DELTA)
    threshold = staged_value(instance.mdp, behaviour) - slack
    n = offline_episodes(instance.mdp.n_states, instance.mdp.n_actions, instance.mdp.horizon, slack, DELTA)
    for run in range(RUNS):
        data = transition_data(instance.mdp, behaviour, n if size is None else size, rng)
        learned = pessimistic_value_iteration(instance.mdp, data, sets)
        record = play_episodes(
            StepMix(learned.policy, threshold, sets, data=data), instance.mdp, episodes=200, runs=1,
            seed=budget.seed + run, threshold=threshold, checkpoints=1, threads=1,
        )  # fmt: skip
        failures += int(record.violations[0, -1] > 0)
    return probability(failures, RUNS, 2 * DELTA, {"episodes of data": n if size is None else size})


def _expert() -> Array:
    return staged_optimum(sparse_task().mdp).policy


CLAIMS = (
    claim(
        id="stepmix/pessimism-shortfall",
        source="Theorem 3, the learned baseline (ours for L1 sets)",
        statement=(
            r"On the event, for every policy, $v^\pi - \underline v \le E_\pi\sum_h (H-h-1)\min\{\mathrm{rad}_h, 1\}$, "
            r"where $\underline v \le v^{\hat\pi}$ is the certificate of pessimistic value iteration."
        ),
        kind=Inequality,
        premises=(TABULAR, EVENT),
        check=_shortfall_check,
        control=partial(_shortfall_check, factor=0.9),
        control_statement="the same with nine tenths of the right-hand side.",
    ),
    claim(
        id="stepmix/learned-baseline-safe",
        source="Theorem 3, the constraint",
        statement=(
            r"StepMix with a baseline learned by pessimism from 20000 episodes and the same data to start with keeps "
            r"every episode above nine tenths of the baseline's certificate with probability at least $1-\delta$."
        ),
        kind=Probability,
        premises=(TABULAR, SETS, "data of a policy that the learner does not know; the sparse-terminal instance"),
        check=_learned_baseline,
        control=partial(_learned_baseline, size=30, scale=0.05),
        control_statement="the same with 30 episodes and radii a twentieth as wide.",
    ),
    claim(
        id="stepmix/offline-size",
        source="Theorem 3, its sufficiently large data set, with our constants",
        statement=(
            r"With $n = \tilde O(H^4S^2A/\epsilon^2)$ episodes of a policy $\mu$, the explicit number, "
            r"$v^\mu - \underline v \le \epsilon$ with probability at least $1-2\delta$ ($\epsilon$ from 0.4 to 0.05)."
        ),
        kind=Probability,
        premises=(TABULAR, SETS, "the sparse-terminal instance"),
        check=_size,
        control=partial(_size, divisor=1000),
        control_statement="the same with a thousandth of the episodes.",
    ),
    claim(
        id="stepmix/offline-threshold",
        source="Theorem 3, how large its data set has to be",
        statement=(
            r"The least number $n$ of episodes of an optimal policy after which $v^* - \underline v \le \kappa$ grows "
            r"at most like $\kappa^{-2}$ but for its logarithm: $n / L_n$ does ($\kappa$ from 0.025 to 0.0016)."
        ),
        kind=Rate,
        premises=(
            TABULAR,
            SETS,
            "the sparse-terminal instance; most pairs are never seen",
            r"$\kappa$ was from 0.2 to 0.0125 before a first look, where rows seldom met are not known at all; it "
            "then held at new seeds",
        ),
        check=_size_in_slack,
        control=partial(_size_in_slack, exponent=1.0),
        control_statement=r"it grows at most like $\kappa^{-1}$.",
    ),
    claim(
        id="stepmix/learned-baseline-fixed-floor",
        source="Theorem 3, the constraint once the data set is large enough, with our constants",
        statement=(
            r"With a baseline learned from the explicit number $n = \tilde O(H^4S^2A/\kappa^2)$ of episodes of a "
            r"policy worth $\gamma + \kappa$, StepMix keeps every episode above $\gamma$ with probability at least "
            r"$1-2\delta$ ($\kappa = 0.2$, fixed before the data)."
        ),
        kind=Probability,
        premises=(TABULAR, SETS, "the sparse-terminal instance", "the data cover only the pairs of one policy"),
        check=_fixed_floor,
        control=partial(_fixed_floor, size=10),
        control_statement="the same with 10 episodes.",
    ),
)
