"""From events to the total reward, and from samples to certificates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import log, sqrt

import numpy as np
from numpy.random import Generator
from scipy.special import ndtri
from scipy.stats import binom

from claimlab.checks import Array
from claimlab.experiments.papers.policy_smoothing.common import ADAPTIVE, SMOOTHED, certificate, claim
from claimlab.mdps.smoothed_games import best_attack, tree_game
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality, Outcome, Probability, probability
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.smoothing import (
    certified_mean,
    certified_mean_from_mean,
    certify_grid,
    certify_range,
    clopper_pearson_lower,
    shifted,
)
from claimlab.theory.spaces import Box, Simplex, Space

SHIFT = Box("", 0.05, 3)
INTEGRAL = r"\int_0^\infty\Phi(\Phi^{-1}(P(R>y))-B/\sigma)\,dy"


# The exact law of the return


def _slack(law: Array, values: Array, b: float, error: float) -> float:
    """Bound on the float64 error of the certified mean if each survival probability is off by `error`."""
    survival = np.clip(law[::-1].cumsum()[::-1][1:], 0, 1)
    return float(certificate(survival, b, error)[1] @ np.diff(values)) + 64 * EPS


def _law(returns: Array, weights: Array) -> tuple[Array, Array]:
    """The distinct returns, increasing, and their probabilities."""
    values, at = np.unique(returns, return_inverse=True)
    law = np.zeros(len(values))
    np.add.at(law, at.ravel(), weights)
    return values, law / law.sum()


def _total(cuts: Array, leaves: Array, b: float, *, factor: float) -> Trial:
    """Two steps, three actions, returns at the leaves: the integral against the best adaptive adversary."""
    game = tree_game(np.sort(cuts, axis=1), leaves)
    policy, b = game.policy(), factor * float(b)
    reached = (policy[0, 0][:, None] * policy[1, 1:]).ravel()
    values, law = _law(leaves, reached)
    stated = float(certified_mean(values, law, b, 1.0))
    slack = _slack(law, values, b, 64 * EPS) + game.rounding
    return Trial(stated, best_attack(game, b / factor, 16).value, slack, float(law @ values))


def _total_check(budget: Budget, factor: float = 1.0) -> Inequality:
    fields = {"cuts": Box("NC", -3, 3), "leaves": Box("L", 0, 1), "b": SHIFT}
    space = Space({"N": (4, 4), "C": (2, 2), "L": (9, 9)}, fields)
    stairs = {"cuts": np.tile([-1.0, 1.0], (4, 1)), "leaves": np.repeat([0.0, 0.5, 1.0], 3), "b": np.array(1.0)}
    return attack(space, partial(_total, factor=factor), budget, hard=[stairs])


def _attained(cuts: Array, leaves: Array, b: float, *, ordered: bool) -> Trial:
    """One step whose return grows with the noisy number, shifted by -b, against the integral."""
    leaves = np.sort(leaves) if ordered else leaves
    game, b = tree_game(np.sort(cuts)[None], leaves), float(b)
    values, law = _law(leaves, game.policy()[0, 0])
    stated = float(certified_mean(values, law, b, 1.0))
    return Trial(abs(game.value(-b) - stated), _slack(law, values, b, 16 * EPS) + game.rounding)


def _attained_check(budget: Budget, ordered: bool = True) -> Identity:
    space = Space({"C": (4, 4), "L": (5, 5)}, {"cuts": Box("C", -3, 3), "leaves": Box("L", 0, 1), "b": SHIFT})
    return equate(space, partial(_attained, ordered=ordered), budget)


def _jensen(law: Array, returns: Array, b: float, *, weaker: bool) -> Trial:
    """What the mean certifies against what the whole law does."""
    values, weights = _law(np.concatenate([[0.0], returns, [1.0]]), np.concatenate([[0.0], law, [0.0]]))
    mean, b = min(float(weights @ values), 1.0), float(b)
    from_law = float(certified_mean(values, weights, b, 1.0))
    from_mean = float(certified_mean_from_mean(mean, 0, 1, b, 1.0))
    error = _slack(weights, values, b, 16 * EPS) + float(certificate(mean, b, 16 * EPS)[1])
    return Trial(from_mean, from_law, error, mean) if weaker else Trial(from_law, from_mean, error, mean)


def _jensen_check(budget: Budget, weaker: bool = True) -> Inequality:
    space = Space({"R": (2, 6)}, {"law": Simplex("R"), "returns": Box("R", 0, 1), "b": SHIFT})
    return attack(space, partial(_jensen, weaker=weaker), budget.with_instances(5 * budget.instances))


# Samples


def _misses(n: float, p: float, level: float, *, exact: bool) -> Trial:
    """Probability, summed over all counts, that the lower bound lies above p."""
    size, p, level = int(n), float(p), float(level)
    k = np.arange(size + 1)
    if exact:
        low = clopper_pearson_lower(k, size, level)
    else:
        low = k / size - float(ndtri(1 - level)) * np.sqrt(k / size * (1 - k / size) / size)
    above = low > p * (1 + 1e-9)  # the bounds are inverted to about 1e-12; a tie is no miss
    return Trial(float(binom.pmf(k, size, p)[above].sum()), level, 1e-12 * size)


def _misses_check(budget: Budget, exact: bool = True) -> Inequality:
    space = Space({}, {"n": Box("", 1, 200, step=1), "p": Box("", 0.01, 0.999), "level": Box("", 0.001, 0.3)})
    at = float(clopper_pearson_lower(100, 100, 0.05)) - 1e-6  # just below the bound of a sample without failures
    hard = [{"n": np.array(100.0), "p": np.array(at), "level": np.array(0.05)}]
    return attack(space, partial(_misses, exact=exact), budget.with_instances(5 * budget.instances), hard=hard)


EPISODES, SMOOTHING = 500, 0.5  # of a sample; B / sigma
GRID = np.arange(21.0)


def _falls() -> Array:
    """A return that counts steps until a failure, of probability 1 % at each, up to 20: a heavy atom on top."""
    law = 0.01 * 0.99**GRID
    law[-1] = 0.99 ** GRID[-1]
    return law


FINE = np.linspace(0, 1, 1001)
SPREAD = np.append(np.full(1000, 0.3 / 1000), 0.7)  # of returns on FINE: uniform, and an atom of 0.7 on top


def _coverage(budget: Budget, values: Array, law: Array, construct: Callable[[Array], float]) -> Probability:
    """How often a construction from 500 episodes certifies more than the exact law of the return does."""
    rng: Generator = budget.rng("samples")
    truth, failures = float(certified_mean(values, law, SMOOTHING, 1.0)), 0
    for _ in range(budget.runs):
        sample = values[rng.choice(len(values), size=EPISODES, p=law)]
        failures += construct(sample) > truth + 1e-9
    witness = {"episodes": EPISODES, "B / sigma": SMOOTHING, "exact certificate": truth}
    return probability(failures, budget.runs, 0.05, witness)


def _plug_in(sample: Array) -> float:
    """The empirical law in place of the law: no confidence at all."""
    values, counts = np.unique(np.append(sample, 0.0), return_counts=True)
    counts[0] -= 1
    return float(certified_mean(values, counts / counts.sum(), SMOOTHING, 1.0))


def _with_grid(sample: Array) -> float:
    return float(certify_grid(sample, GRID, SMOOTHING, 1.0))


def _from(low: float, sample: Array) -> float:
    return float(certify_range(sample, low, SMOOTHING, 1.0))


def _grid_check(budget: Budget, certified: bool = True) -> Probability:
    return _coverage(budget, GRID, _falls(), _with_grid if certified else _plug_in)


def _range_check(budget: Budget, certified: bool = True) -> Probability:
    return _coverage(budget, FINE, SPREAD, partial(_from, 0.0) if certified else _plug_in)


LOSSES, LOSS_LAW = np.array([-1.0, 0.0]), np.array([0.9, 0.1])


def released_sum(sample: Array, b: float, level: float = 0.05) -> float:
    """The sum of the released script for returns that are not on a grid: it starts at 0, whatever the returns are."""
    n, total, last = len(sample), 0.0, 0.0
    radius = sqrt(log(2 / level) / (2 * n))
    for i, value in enumerate(np.sort(sample)):
        if value != last:
            total += float(shifted(max((n - i) / n - radius, 0.0), b)) * (value - last)
            last = value
    return total


def _negative_check(budget: Budget, released: bool = True) -> Probability:
    construct = partial(released_sum, b=SMOOTHING) if released else partial(_from, -1.0)
    return _coverage(budget, LOSSES, LOSS_LAW, construct)


CLAIMS = (
    claim(
        id="policy-smoothing/total-reward",
        source="certified total reward (abstract)",
        statement=rf"The mean return in $[0,R_{{max}}]$ under every adaptive adversary is at least ${INTEGRAL}$.",
        kind=Inequality,
        premises=(SMOOTHED, ADAPTIVE, "two steps, three actions, returns in [0, 1] at the leaves; exact optimum"),
        check=_total_check,
        control=partial(_total_check, factor=0.5),
        control_statement=r"the same with $B/2$.",
    ),
    claim(
        id="policy-smoothing/total-reward-attained",
        source="ours, sharpening the certified total reward",
        statement=rf"Where the return grows with one noisy number, shifting it by $-B$ attains ${INTEGRAL}$.",
        kind=Identity,
        premises=("one step, five returns",),
        check=_attained_check,
        control=partial(_attained_check, ordered=False),
        control_statement="it is attained for returns in any order.",
    ),
    claim(
        id="policy-smoothing/law-beats-mean",
        source="ours, on the certified total reward (the distribution in place of the mean)",
        statement=rf"$R_{{max}}\Phi(\Phi^{{-1}}(ER/R_{{max}})-B/\sigma)\le{INTEGRAL}$.",
        kind=Inequality,
        premises=("returns in [0, 1]",),
        check=_jensen_check,
        control=partial(_jensen_check, weaker=False),
        control_statement="the other way round.",
    ),
    claim(
        id="policy-smoothing/clopper-pearson",
        source="experiments (confidence bounds of the probabilities)",
        statement=r"The one-sided Clopper-Pearson bound of a probability fails with probability $\alpha$ at most.",
        kind=Inequality,
        premises=("1 to 200 episodes; misses summed over all counts",),
        check=_misses_check,
        control=partial(_misses_check, exact=False),
        control_statement="so does that of the normal approximation.",
    ),
    claim(
        id="policy-smoothing/coverage-grid",
        source="experiments (95 % confidence), as for CartPole",
        statement="Clopper-Pearson bounds at level 0.05 over the number of thresholds certify at most what the exact "
        "law "
        "does, with probability 95 %.",
        kind=Probability,
        premises=("500 clean episodes, returns 0..20 with an atom on top; $B/\\sigma=0.5$",),
        check=_grid_check,
        control=partial(_grid_check, certified=False),
        control_statement="so does the empirical law itself.",
    ),
    claim(
        id="policy-smoothing/coverage-range",
        source="experiments (95 % confidence), as for Freeway",
        statement="A DKW band certifies at most what the exact law does, with probability 95 %; the one-sided "
        r"$\sqrt{\ln(1/\alpha)/(2N)}$ suffices.",
        kind=Probability,
        premises=("500 clean episodes, returns in [0, 1] with an atom on top; $B/\\sigma=0.5$",),
        check=_range_check,
        control=partial(_range_check, certified=False),
        control_statement="so does the empirical law itself.",
    ),
    claim(
        id="policy-smoothing/released-sum-negative",
        source="ours, on the released script (its sum, used outside nonnegative returns)",
        statement="The released sum over a DKW band, which starts at 0, certifies returns of either sign.",
        kind=Probability,
        premises=("500 clean episodes, return -1 with probability 0.9, else 0; $B/\\sigma=0.5$",),
        check=_negative_check,
        control=partial(_negative_check, released=False),
        control_statement="so does a sum that starts at the stated lower bound of the return.",
        expected=Outcome.REFUTED,
    ),
)
