"""Intervals: which hold at every sample size, which do not, and what betting gains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from math import log, sqrt
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.stats import binom

from claimlab.bandits.off_policy import BanditLog, evaluate_log
from claimlab.checks import Array
from claimlab.experiments.papers.off_policy_evaluation.common import PROPENSITIES, claim
from claimlab.theory.claims import Budget
from claimlab.theory.concentration import (
    Interval,
    bernstein_radius,
    betting_interval,
    betting_lower,
    empirical_bernstein,
    normal_interval,
)
from claimlab.theory.evidence import Comparison, Inequality, Outcome, Probability, comparison, probability
from claimlab.theory.falsify import Trial, attack
from claimlab.theory.off_policy import bernstein_interval, value_interval
from claimlab.theory.spaces import Box, Space

LEVEL, ROUNDS = 0.05, 200
Radius = Callable[[float, int, float], float]

# Bernoulli observations: every outcome -------------------------------------------------------------------------------


def _normal_part(variance: float, n: int, delta: float) -> float:
    return sqrt(2 * variance * log(2 / delta) / n)


def _bernstein(radius: Radius, p: Array, size: Array, delta: Array) -> Trial:
    n, k = 2 + int(size * 98), np.arange(2 + int(size * 98) + 1)
    means = k / n
    exceeded = np.array([p > m + radius(m * (1 - m) * n / (n - 1), n, float(delta)) for m in means])
    return Trial(float(binom.pmf(k, n, float(p))[exceeded].sum()), float(delta), 1e-12, trivial=1.0)


def _bernstein_check(budget: Budget, radius: Radius = bernstein_radius) -> Inequality:
    space = Space({}, {"p": Box("", 0.0, 1.0), "size": Box("", 0.0, 1.0), "delta": Box("", 0.01, 0.5)})
    hard = [{"p": np.array(p), "size": np.array(0.5), "delta": np.array(0.05)} for p in (0.01, 0.03, 0.06, 0.2)]
    return attack(space, partial(_bernstein, radius), budget, hard=hard)


SEQUENCES = 8  # observations


def _betting(generous: float, p: Array, delta: Array) -> Trial:
    """How likely the lower bound exceeds the mean, over all sequences of observations."""
    p_, level, failed = float(p), min(generous * float(delta), 0.99), 0.0
    for bits in product((0.0, 1.0), repeat=SEQUENCES):
        if betting_lower(np.array(bits), level) > p_:
            ones = sum(bits)
            failed += p_**ones * (1 - p_) ** (SEQUENCES - ones)
    return Trial(failed, float(delta), 1e-12, trivial=1.0)


def _betting_check(budget: Budget, generous: float = 1.0) -> Inequality:
    space = Space({}, {"p": Box("", 0.0, 1.0), "delta": Box("", 0.01, 0.5)})
    fewer = budget.with_instances(min(budget.instances, 400))
    hard = [{"p": np.array(p), "delta": np.array(d)} for p, d in ((0.02, 0.1), (0.1, 0.3), (0.3, 0.3))]
    return attack(space, partial(_betting, generous), fewer, hard=hard)


# Samples -------------------------------------------------------------------------------------------------------------


def skewed(rng: Generator, n: int = ROUNDS) -> Array:
    """Observations in [0, 1] of mean 1/20: mostly near 0."""
    return rng.beta(0.25, 4.75, n)


def shrunk(interval: Interval, share: float) -> Interval:
    """The middle part of an interval."""
    middle, half = (interval.low + interval.high) / 2, share * interval.width / 2
    return Interval(middle - half, middle + half)


def _runs(budget: Budget) -> int:
    return min(budget.runs, 20_000) // 2


def _misses(budget: Budget, interval: Callable[[Generator], Interval], value: float, share: float) -> Probability:
    rng, runs, failures, widths = budget.rng("samples"), _runs(budget), 0, []
    for _ in range(runs):
        found = interval(rng)
        widths.append(found.width)
        failures += not shrunk(found, share).holds(value)
    witness = {"mean width": float(np.mean(widths)), "value": value}
    return probability(failures, runs, LEVEL, witness)


def _hedged_check(budget: Budget, share: float = 1.0) -> Probability:
    return _misses(budget, lambda rng: betting_interval(skewed(rng), 0, 1, LEVEL), 0.05, share)


def _narrower_check(budget: Budget, exchanged: bool = False) -> Comparison:
    rng, widths = budget.rng("samples"), []
    for _ in range(_runs(budget) // 4):
        x = skewed(rng)
        widths.append((empirical_bernstein(x, 0, 1, LEVEL).width, betting_interval(x, 0, 1, LEVEL).width))
    bernstein, betting = np.array(widths).T
    a, b = (betting, bernstein) if exchanged else (bernstein, betting)
    witness = {"empirical Bernstein": bernstein.mean(), "betting": betting.mean()}
    return replace(comparison(a, b, effect=0.0, rng=budget.rng("bootstrap")), witness=witness)


# Logs ----------------------------------------------------------------------------------------------------------------

LOGGING = np.array([[0.02, 0.98, 0.0], [0.5, 0.3, 0.2]])  # [context, action]
TARGET = np.array([[0.5, 0.4, 0.1], [0.2, 0.2, 0.6]])
MEANS = np.array([[0.6, 0.3, 1.0], [0.1, 0.5, 0.9]])
COVERED_TARGET = np.array([[0.5, 0.5, 0.0], [0.2, 0.2, 0.6]])
ABSENT_TARGET = np.array([[0.1, 0.1, 0.8], [0.2, 0.2, 0.6]])
BOUND = 25.0  # on the weights of both


def sampled_log(rng: Generator, target: Array, n: int = ROUNDS, *, modelled: bool = False) -> BanditLog:
    """Two contexts, equally likely, three actions, rewards 0 and 1."""
    x, u = rng.integers(2, size=n), rng.random(n)
    a = (u[:, None] >= np.cumsum(LOGGING[x], axis=1)).sum(axis=1)
    r = (rng.random(n) < MEANS[x, a]).astype(np.float64)
    model = np.full((n, 3), 0.5) if modelled else None
    return BanditLog(a, r, LOGGING[x, a], target[x], model, LOGGING[x], (0.0, 1.0), BOUND)


def true_value(target: Array) -> float:
    return float((target * MEANS).sum() / 2)


def _log_check(budget: Budget, share: float = 1.0) -> Probability:
    return _misses(budget, lambda rng: value_interval(sampled_log(rng, TARGET), LEVEL), true_value(TARGET), share)


def _dr_check(budget: Budget, target: Array = COVERED_TARGET) -> Probability:
    """With many rounds, for the interval is wide where weights may be 25."""
    return _misses(
        budget,
        lambda rng: bernstein_interval(sampled_log(rng, target, 40 * ROUNDS, modelled=True), LEVEL),
        true_value(target), 1.0,
    )  # fmt: skip


RARE = 0.01  # the propensity of the only action of the target


def rare_log(rng: Generator, n: int = 100) -> BanditLog:
    """The target takes an action that pays 1 and is logged once in a hundred rounds; the other one pays 0."""
    a = (rng.random(n) < RARE).astype(np.int64)
    return BanditLog(
        a, a.astype(np.float64), np.where(a == 1, RARE, 1 - RARE), np.tile([0.0, 1.0], (n, 1)), reward_range=(0.0, 1.0)
    )


def _normal(rng: Generator) -> Interval:
    return normal_interval(*evaluate_log(rare_log(rng), threads=1).ips, LEVEL)


def _rare_check(budget: Budget, interval: Callable[[Generator], Interval] = _normal) -> Probability:
    evidence = _misses(budget, interval, 1.0, 1.0)
    by_hand = {"probability of a log without the target's action": (1 - RARE) ** 100}
    witness: dict[str, Any] = dict(evidence.witness or {}) | by_hand
    return replace(evidence, witness=witness)


CLAIMS = (
    claim(
        id="off-policy-evaluation/empirical-bernstein",
        source="Maurer & Pontil (2009), Theorem 4",
        statement=(
            r"For independent observations in $[0, 1]$ the mean exceeds the sample mean by more than $\sqrt{2 V_n "
            r"\ln(2/\delta)/n} + \frac{7\ln(2/\delta)}{3(n-1)}$ with probability at most $\delta$; summed over all "
            "outcomes."
        ),
        kind=Inequality,
        premises=("Bernoulli observations, up to 100 of them",),
        check=_bernstein_check,
        control=partial(_bernstein_check, radius=_normal_part),
        control_statement="the first term suffices.",
    ),
    claim(
        id="off-policy-evaluation/betting-exact",
        source="Waudby-Smith & Ramdas (2024), Theorem 3, one side",
        statement=(
            r"The lower bound of the hedged capital with predictable plug-in bets exceeds the mean with probability at "
            r"most $\alpha$; summed over all sequences of 8 observations."
        ),
        kind=Inequality,
        premises=("Bernoulli observations",),
        check=_betting_check,
        control=partial(_betting_check, generous=4.0),
        control_statement=r"so does the bound that stops at a capital of $\frac{1}{4\alpha}$.",
    ),
    claim(
        id="off-policy-evaluation/betting-covers",
        source="Waudby-Smith & Ramdas (2024), Theorem 3",
        statement=r"The hedged-capital interval misses the mean with probability at most $\alpha = 0.05$.",
        kind=Probability,
        premises=("200 observations of the beta law with parameters 1/4 and 19/4",),
        check=_hedged_check,
        control=partial(_hedged_check, share=0.5),
        control_statement="so does its middle half.",
    ),
    claim(
        id="off-policy-evaluation/betting-narrower",
        source="Waudby-Smith & Ramdas (2024), abstract",
        statement="The hedged-capital interval is narrower on average than the empirical Bernstein interval.",
        kind=Comparison,
        premises=("200 observations of the beta law with parameters 1/4 and 19/4, level 0.05",),
        check=_narrower_check,
        control=partial(_narrower_check, exchanged=True),
        control_statement="the empirical Bernstein interval is narrower.",
    ),
    claim(
        id="off-policy-evaluation/value-interval",
        source="Waudby-Smith, Wu, Ramdas, Karampatziakis & Mineiro (2024); uncovered targets ours",
        statement=(
            r"Betting on $w r$ and on $w(1 - r)$ encloses the value with probability 0.95, with no bound on the "
            "weights and although the target leaves the support of the logging policy."
        ),
        kind=Probability,
        premises=(
            PROPENSITIES,
            "rewards in [0, 1]",
            "200 rounds, weights up to 25, a twentieth of the target uncovered",
        ),
        check=_log_check,
        control=partial(_log_check, share=0.5),
        control_statement="so does the middle half of the interval.",
    ),
    claim(
        id="off-policy-evaluation/bernstein-of-dr",
        source="Maurer & Pontil (2009), Theorem 4, on the terms of DR",
        statement="The empirical Bernstein interval of the terms of DR misses the value with probability at most 0.05.",
        kind=Probability,
        premises=(PROPENSITIES, "a bound on all weights", "the logging policy covers the target", "8000 rounds"),
        check=_dr_check,
        control=partial(_dr_check, target=ABSENT_TARGET),
        control_statement="so it does where two fifths of the target are never logged.",
    ),
    claim(
        id="off-policy-evaluation/normal-interval",
        source="common practice",
        statement="The interval of IPS from the central limit theorem misses the value with probability at most 0.05.",
        kind=Probability,
        premises=("100 rounds; the target's only action is logged with probability 0.01",),
        check=_rare_check,
        control=partial(_rare_check, interval=lambda rng: value_interval(rare_log(rng), LEVEL)),
        control_statement="the interval by betting does so.",
        expected=Outcome.REFUTED,
    ),
)
