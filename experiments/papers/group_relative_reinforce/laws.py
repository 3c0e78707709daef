"""Data of other laws: the worst ones, in general and near the policy, exactly."""

from __future__ import annotations

from functools import partial

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.group_relative_reinforce.common import STEP, claim
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.data_laws import slope, worst_law, worst_law_within, worst_limit
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.spaces import Box, Simplex, Space

LAWS = Space({"Y": (2, 4)}, {"law": Simplex("Y"), "p": Simplex("Y"), "r": Box("Y", 0, 1)})
ERROR = 64 * EPS
BANDIT = "softmax policies on finitely many answers, exact gradients"


def _covariance(law: Array, p: Array, r: Array, *, own: bool) -> Trial | None:
    """The derivative of the softmax policy's value along REINFORCE's direction, by a complex step."""
    if p.min() <= 0:
        return None
    moved = np.exp(np.log(p) + 1j * STEP * law * (r - law @ r))
    derivative = float(((moved / moved.sum()) @ r).imag / STEP)
    return Trial(abs(derivative - slope(p if own else law, p, r)), ERROR)


def _covariance_check(budget: Budget, own: bool = False) -> Identity:
    return equate(LAWS, partial(_covariance, own=own), budget)


def _worst(law: Array, p: Array, r: Array, *, share: float) -> Trial:
    return Trial(-slope(law, p, r), -share * worst_law(p, r).slope, ERROR)


def _worst_check(budget: Budget, share: float = 1.0) -> Inequality:
    hard = [{"law": np.array([0, 0.5, 0.5]), "p": np.array([0.3, 0.6, 0.1]), "r": np.array([0, 0.8, 1.0])}]
    return attack(LAWS, partial(_worst, share=share), budget, hard=hard)


def _ordered(law: Array, p: Array, r: Array, *, premise: bool) -> Trial | None:
    """How far the value falls; with the premise that p_a (r_a - J) is ordered as the rewards are."""
    g = p * (r - p @ r)
    if premise and (np.subtract.outer(r, r) * np.subtract.outer(g, g)).min() < 0:
        return None
    return Trial(-slope(law, p, r), 0.0, ERROR)


def _ordered_check(budget: Budget, premise: bool = True) -> Inequality:
    return attack(LAWS, partial(_ordered, premise=premise), budget)


def _within(law: Array, p: Array, r: Array, ratio: float, *, power: float) -> Trial | None:
    """A random law within the ratio, on the segment from the policy, against the worst one found by enumeration."""
    ratio = float(ratio)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(law > p, (ratio - 1) * p / (law - p), np.where(law < p, (1 - 1 / ratio) * p / (p - law), 1.0))
    near = p + min(1.0, float(reach.min())) * (law - p)
    least = worst_law_within(p, r, ratio**power).slope
    return Trial(1 - slope(near / near.sum(), p, r), 1 - least, ERROR)  # plus 1, so that the search sees a ratio


def _within_check(budget: Budget, power: float = 1.0) -> Inequality:
    space = Space(LAWS.sizes, {**LAWS.fields, "ratio": Box("", 1, 50)})
    return attack(space, partial(_within, power=power), budget)


def crowd(copies: int, mass: float, tilt: float, up: float, down: float) -> tuple[Array, Array, Array]:
    """One likely answer and `copies` unlikely ones of each of two kinds, of rewards 1 and 0: law, policy, rewards.

    The unlikely ones have `mass` together, and the policy has a little too many bad ones; the data have the good ones
    `up` times as often as the policy and the bad ones `down` times.
    """
    good, bad = (1 - tilt) * mass / 2, (1 + tilt) * mass / 2
    p = np.concatenate([[1 - mass], np.full(copies, good / copies), np.full(copies, bad / copies)])
    law = p * np.repeat([0.0, up, down], [1, copies, copies])
    law[0] = 1 - law[1:].sum()
    return law, p, np.repeat([0.5, 1.0, 0.0], [1, copies, copies])


def _clip(copies: float, mass: float, tilt: float, *, clip: float) -> Trial:
    """How far the value falls if all ratios of the policy to the data lie in [1 - clip, 1 + clip]."""
    law, p, r = crowd(int(copies), float(mass), float(tilt), 1 / (1 - clip), 1 / (1 + clip))
    return Trial(-slope(law, p, r), 0.0, ERROR)


def _clip_check(budget: Budget, clip: float = 0.2) -> Inequality:
    space = Space({}, {"copies": Box("", 1, 400, step=1), "mass": Box("", 0.01, 0.3), "tilt": Box("", 0, 0.5)})
    hard = [{"copies": np.array(200.0), "mass": np.array(0.1), "tilt": np.array(0.1)}]
    return attack(space, partial(_clip, clip=clip), budget, hard=hard)


def _limit(law: Array, r: Array, *, skip: int) -> Trial | None:
    """What the limit of training lacks, against all but the `skip` + 1 lowest of the distinct rewards."""
    c = law * (r - law @ r)
    distinct = np.unique(r)
    if law.min() < 1e-6 or c.max() < 1e-9 or len(distinct) < 3:
        return None
    bound = worst_limit(r) if skip == 0 else float(distinct[-1] - distinct[1 + skip])
    return Trial(float(r.max() - r[c.argmax()]), bound, ERROR)


def _limit_check(budget: Budget, skip: int = 0) -> Inequality:
    space = Space({"Y": (3, 5)}, {"law": Simplex("Y"), "r": Box("Y", 0, 1)})
    hard = [{"law": np.array([0.49, 0.49, 0.02]), "r": np.array([0.0, 0.5, 1.0])}]
    return attack(space, partial(_limit, skip=skip), budget, hard=hard)


CLAIMS = (
    claim(
        id="group-relative-reinforce/slope-is-a-covariance",
        source="ours, on off-policy data",
        statement=r"Data of the law $b$ move the value at the rate $\mathrm{Cov}_b(r,g)$, $g_a=\pi_a(r_a-J)$.",
        kind=Identity,
        premises=(BANDIT, "full support of the policy"),
        check=_covariance_check,
        control=partial(_covariance_check, own=True),
        control_statement=r"at the rate $\mathrm{Cov}_\pi(r,g)$.",
    ),
    claim(
        id="group-relative-reinforce/worst-law",
        source="ours, on off-policy data",
        statement=r"No law of the data lowers the value faster than $\frac14\max_{i,j}(r_i-r_j)(g_j-g_i)$, which "
        r"half "
        "of each of two answers attains.",
        kind=Inequality,
        premises=(BANDIT,),
        check=_worst_check,
        control=partial(_worst_check, share=0.5),
        control_statement=r"faster than $\frac18\max_{i,j}(r_i-r_j)(g_j-g_i)$.",
    ),
    claim(
        id="group-relative-reinforce/ordered-never-fails",
        source="ours, on off-policy data",
        statement=r"Where $\pi_a(r_a-J)$ is ordered as the rewards are, data of every law raise the value.",
        kind=Inequality,
        premises=(BANDIT,),
        check=_ordered_check,
        control=partial(_ordered_check, premise=False),
        control_statement="they do for every policy.",
    ),
    claim(
        id="group-relative-reinforce/worst-law-near-the-policy",
        source="ours, on off-policy data",
        statement=r"Among laws with $1/\kappa\le b_a/\pi_a\le\kappa$ the worst has all but two ratios at an end.",
        kind=Inequality,
        premises=(BANDIT, r"$\kappa$ up to 50"),
        check=_within_check,
        control=partial(_within_check, power=0.5),
        control_statement=r"and its ratios lie within $\sqrt\kappa$.",
    ),
    claim(
        id="group-relative-reinforce/data-within-the-clip-range",
        source="ours, on the clip range (0.2, 0.2)",
        statement="If all ratios of the policy to the data lie within the clip range 0.8 to 1.2, REINFORCE's "
        "direction "
        "does not lower the value.",
        kind=Inequality,
        premises=(BANDIT, "one likely answer and up to 400 unlikely ones of each of two kinds"),
        check=_clip_check,
        control=partial(_clip_check, clip=0.0),
        control_statement="if all ratios are 1.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="group-relative-reinforce/limit-is-not-the-worst",
        source="ours, on the three-armed bandit",
        statement="From data of any law of full support training never ends on the worst answer: it loses at "
        "most the "
        "distance of the best from the second-worst reward.",
        kind=Inequality,
        premises=(BANDIT, "group mean as baseline, three distinct rewards at least"),
        check=_limit_check,
        control=partial(_limit_check, skip=1),
        control_statement="nor on the second-worst.",
    ),
)
