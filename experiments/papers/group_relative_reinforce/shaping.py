"""RED: the law of the data is shaped, by dropping answers or by weighing them."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from itertools import combinations

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.group_relative_reinforce.common import (
    GROUP,
    LAW,
    REWARD,
    THREE_ARMS,
    claim,
)
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.group_relative import flow_limit, red_threshold
from claimlab.theory.spaces import Box, Space

# RED-Drop


def dropped(rewards: list[Fraction]) -> list[Fraction]:
    """The expected factor of each answer of a group: over all ways to drop, advantages over the mean of what is
    kept."""
    K, mean = len(rewards), sum(rewards, Fraction(0)) / len(rewards)
    below = [i for i, r in enumerate(rewards) if r < mean]
    ways = list(combinations(below, max(2 * len(below) - K, 0)))
    out = [Fraction(0)] * K
    for gone in ways:
        kept = [i for i in range(K) if i not in gone]
        level = sum((rewards[i] for i in kept), Fraction(0)) / len(kept)
        for i in kept:
            out[i] += (rewards[i] - level) / len(ways)
    return out


def _drop(r: Array) -> Trial:
    """The expected factors against REINFORCE's times 1 / (2 (1 - mean)) where the mean is below a half."""
    rewards = [Fraction(float(x)) for x in r]
    mean = sum(rewards, Fraction(0)) / len(rewards)
    scale = 1 / (2 * (1 - mean)) if 0 < mean < Fraction(1, 2) else Fraction(1)
    return Trial(float(max(abs(f - scale * (x - mean)) for f, x in zip(dropped(rewards), rewards))), 0.0)


def _drop_check(budget: Budget, level: float = 1.0) -> Identity:
    space = Space({"K": (1, 7)}, {"r": Box("K", 0, 1, step=level)})
    return equate(space, _drop, budget.with_instances(min(budget.instances, 500)), proof="rational")


def drop_weights(law: Array, r: Array) -> Array:
    """RED-Drop's weights c of infinitely large groups from data of a fixed law."""
    above = r >= law @ r
    share = min(law[above].sum() / law[~above].sum(), 1.0) if (~above).any() else 1.0
    kept = law * np.where(above, 1.0, share)
    return np.asarray(kept * (r - kept @ r / kept.sum()))


def _red_check(budget: Budget, weight: bool = False) -> Inequality:
    """One instance: is the limit of RED-Drop (or: of RED-Weight at temperature 0.1) within 0.1 of the best arm?"""
    A = REWARD - LAW @ REWARD
    c = LAW * np.exp(A / 0.1) * A if weight else drop_weights(LAW, REWARD)
    lost = float(REWARD.max() - flow_limit(c) @ REWARD)
    witness = {"law": LAW, "r": REWARD, "c": c, "share at or above the mean": float(LAW[A >= 0].sum())}
    return Inequality(lost / 0.1, lost - 0.1, 1e-9, 1, 1, 1, 1, witness)


# RED-Weight


def _red_weight(r: Array, T: Array, *, sign: float) -> Trials:
    """The mean weighted by exp(A/T) against the plain mean, shifted by one."""
    A = r - r.mean(axis=1, keepdims=True)
    w = np.exp(sign * A / T[:, None])
    return Trials(1 + r.mean(axis=1), 1 + (w * r).sum(axis=1) / w.sum(axis=1), 64 * EPS)


def _red_weight_check(budget: Budget, sign: float = 1.0) -> Inequality:
    space = Space({"K": (1, 6)}, {"r": Box("K"), "T": Box("", 0.1, 5)})
    return attack(space, partial(_red_weight, sign=sign), budget.with_instances(20 * budget.instances), batched=True)


def _decomposed(r: Array, T: Array, scores: Array, *, share: float) -> Trial:
    """RED-Weight's direction against pairwise-weighted REINFORCE and imitation, for any scores."""
    A = r - r.mean()
    w = np.exp(A / float(T))
    level = w @ r / w.sum()
    stated = (w * (r - level)) @ scores + share * (level - r.mean()) * (w @ scores)
    return Trial(float(abs((w * A) @ scores - stated).max()), 256 * EPS * len(r) * float(w.max()))


def _decomposed_check(budget: Budget, share: float = 1.0) -> Identity:
    space = Space({"K": (2, 6), "D": (1, 3)}, {"r": Box("K"), "T": Box("", 0.2, 5), "scores": Box("KD")})
    return equate(space, partial(_decomposed, share=share), budget)


def _threshold(share: Array, *, shift: float) -> Trial | None:
    """Whether the sign of the difference of the limit's two masses changes at the threshold times `shift`."""
    T = red_threshold(LAW, REWARD) * (0.3 + 1.4 * float(share))
    A = REWARD - LAW @ REWARD
    end = flow_limit(LAW * np.exp(A / T) * A)
    return Trial(float((end[2] > end[1]) != (shift * red_threshold(LAW, REWARD) > T)), 0.0)


def _threshold_check(budget: Budget, shift: float = 1.0) -> Identity:
    return equate(Space({}, {"share": Box("", 0, 1)}), partial(_threshold, shift=shift), budget)


CLAIMS = (
    claim(
        id="group-relative-reinforce/red-drop-rescales",
        source="ours, on Section 5 (RED-Drop) with rewards 0 and 1",
        statement=r"With rewards 0 and 1 RED-Drop's expected direction is REINFORCE's over $2(1-\bar r)$ where "
        r"$\bar r<\frac12$, and REINFORCE's elsewhere: hard prompts count less, and nothing else changes.",
        kind=Identity,
        premises=(GROUP, "up to seven answers; expectation over what is dropped, by enumeration"),
        check=_drop_check,
        control=partial(_drop_check, level=0.5),
        control_statement=r"so it is with rewards 0, $\frac12$ and 1.",
    ),
    claim(
        id="group-relative-reinforce/red-drop-three-arms",
        source="Section 5 (RED-Drop), as if balance mended the failure on the three arms",
        statement="RED-Drop from data of the same fixed law ends within 0.1 of the best arm.",
        kind=Inequality,
        premises=(THREE_ARMS, "exact gradients, infinitely large groups"),
        check=_red_check,
        control=partial(_red_check, weight=True),
        control_statement="RED-Weight at temperature 0.1 does.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="group-relative-reinforce/red-weight-decomposes",
        source="Section 5 (RED-Weight)",
        statement=r"RED-Weight is REINFORCE with weighted pairs and imitation: $\sum_iw_i(r_i-\bar r)\nabla_i="
        r"\sum_iw_i(r_i-\bar r_w)\nabla_i+(\bar r_w-\bar r)\sum_iw_i\nabla_i$.",
        kind=Identity,
        premises=(GROUP, r"$w_i=e^{A_i/T}$; any scores"),
        check=_decomposed_check,
        control=partial(_decomposed_check, share=0.9),
        control_statement="the same with nine tenths of the imitation.",
    ),
    claim(
        id="group-relative-reinforce/red-weight-imitates",
        source="Section 5 (RED-Weight)",
        statement=r"The mean weighted by $e^{A/T}$ is at least the plain one, so that RED-Weight adds imitation of "
        r"what it up-weights.",
        kind=Inequality,
        premises=("any rewards, $T>0$",),
        check=_red_weight_check,
        control=partial(_red_weight_check, sign=-1.0),
        control_statement=r"the same with $e^{-A/T}$.",
    ),
    claim(
        id="group-relative-reinforce/red-weight-threshold",
        source="ours, on RED-Weight",
        statement=r"On the three arms the best one gets more mass than the second iff "
        r"$T<(r_3-r_2)/\log\frac{\pi_b(2)A_2}{\pi_b(3)A_3}=0.175$.",
        kind=Identity,
        premises=(THREE_ARMS, "exact gradients"),
        check=_threshold_check,
        control=partial(_threshold_check, shift=1.2),
        control_statement="iff the temperature is below 1.2 times that.",
    ),
)
