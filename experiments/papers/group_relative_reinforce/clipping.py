"""REC: masks on ratios, with and without importance weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.group_relative_reinforce.common import BANDIT, STEP, claim, full
from claimlab.mdps.tabular import EPS
from claimlab.native import kernel
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality, Rate, rate
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.group_relative import logit_direction, masks
from claimlab.theory.spaces import Box, Simplex, Space


def _nested(ratio: Array, A: Array, low: Array, high: Array, far: Array, *, reverse: bool) -> Trials:
    """How many samples are in a smaller mask and not in the larger one, or the other way round."""
    low, high, beyond = low[:, None], high[:, None], 1 + far[:, None]
    two, ring, one = masks(ratio, A, low, high, np.minimum(beyond * low, 0.99), beyond * high)
    outside = (ring & ~two) | (one & ~ring) if reverse else (two & ~ring) | (ring & ~one)
    return Trials(outside.sum(axis=1), 0.5, 0.0, trivial=1.0)


def _nested_check(budget: Budget, reverse: bool = False) -> Inequality:
    clip = {"low": Box("", 0.05, 0.9), "high": Box("", 0.05, 1.5)}
    fields = {"ratio": Box("K", 0, 3), "A": Box("K"), "far": Box("", 0, 2), **clip}
    space = Space({"K": (1, 6)}, fields)
    return attack(space, partial(_nested, reverse=reverse), budget.with_instances(20 * budget.instances), batched=True)


def _ppo(log_ratio: Array, A: Array, low: Array, high: Array, *, mask: str) -> Trial | None:
    """The derivative of min(rho A, clip(rho) A) in log rho against rho A on a mask, away from the kinks."""
    rho = np.exp(log_ratio)
    limits = 1 - float(low), 1 + float(high)
    if min(abs(rho - limit).min() for limit in limits) < 1e-3:
        return None

    def objective(x: Any) -> Any:
        ratio = np.exp(x)
        clipped = np.where(ratio.real < limits[0], limits[0], np.where(ratio.real > limits[1], limits[1], ratio))
        first, second = ratio * A, clipped * A
        return np.where(first.real <= second.real, first, second)

    derivative = objective(log_ratio + 1j * STEP).imag / STEP
    two, _, one = masks(rho, A, float(low), float(high), float(low), float(high))
    kept = one if mask == "one" else two
    return Trial(float(abs(derivative - rho * A * kept).max()), 64 * EPS * (1 + float(rho.max())))


def _ppo_check(budget: Budget, mask: str = "one") -> Identity:
    space = Space(
        {"K": (1, 4)},
        {"log_ratio": Box("K", -2, 2), "A": Box("K"), "low": Box("", 0.05, 0.9), "high": Box("", 0.05, 1.5)},
    )
    return equate(space, partial(_ppo, mask=mask), budget)


def _fresh(law: Array, r: Array, to: Array, *, moved: bool) -> Trial:
    """The directions of the six variants on data of `law` against REINFORCE's, at that law or away from it."""
    old = full(law, 0.02)
    p = old * np.exp(to * moved)
    p, A = p / p.sum(), r - old @ r
    ratio = p / old if moved else np.ones(len(r))
    plain = logit_direction(old, p, A)
    found = [
        logit_direction(old, p, A * kept * weight)
        for kept in masks(ratio, A, 0.2, 0.2, 0.6, 2.0)
        for weight in (1.0, ratio)
    ]
    return Trial(float(abs(np.array(found) - plain).max()), 64 * EPS)


def _fresh_check(budget: Budget, moved: bool = False) -> Identity:
    space = Space({"Y": (2, 5)}, {"law": Simplex("Y"), "r": Box("Y", 0, 1), "to": Box("Y")})
    return equate(space, partial(_fresh, moved=moved), budget)


@kernel
def offline_end(law: Array, r: Array, importance: bool, clip: float, size: float, steps: int) -> Array:
    """Where one-side clipping stops from data of a fixed law, with importance weights or without."""
    A, theta, p = r - (law * r).sum(), np.log(law), law.copy()
    c = np.empty(law.size)
    for _ in range(steps):
        for a in range(c.size):
            ratio = p[a] / law[a]
            out = (A[a] > 0 and ratio > 1 + clip) or (A[a] < 0 and ratio < 1 - clip)
            c[a] = 0.0 if out else law[a] * A[a] * (ratio if importance else 1.0)
        if (c == 0).all():
            break
        theta += size * (c - p * c.sum())
        theta -= theta.max()
        p = np.exp(theta)
        p /= p.sum()
    return p


CLIPS = np.array([0.05, 0.1, 0.2])


def _apart(law: Array, r: Array, clip: float) -> float:
    plain, weighted = (offline_end(law, r, importance, clip, clip**2 / 40, 100_000) for importance in (False, True))
    return float(abs(plain - weighted).sum()) / 2


def _importance_check(budget: Budget, exponent: float = 1.0) -> Rate:
    """TV between the two ends over the clip, on random bandits with two answers above the mean and two below."""
    rng, rows = budget.rng("bandits"), list[list[float]]()
    while len(rows) < 30:
        law, r = full(rng.dirichlet(np.ones(4)), 0.4), rng.random(4)
        A = r - law @ r
        if abs(A).min() < 0.1 or (A > 0).sum() != 2:
            continue
        rows.append([_apart(law, r, clip) for clip in CLIPS.tolist()])
    return rate(CLIPS, np.array(rows), exponent=exponent, side="at least", rng=budget.rng("bootstrap"), resolution=0.1)


CLAIMS = (
    claim(
        id="group-relative-reinforce/masks-are-nested",
        source="Section 4 (REC masks)",
        statement="Two-side masks keep fewer samples than ring masks, and these fewer than one-side masks.",
        kind=Inequality,
        premises=("the ring's limits lie beyond the clip's",),
        check=_nested_check,
        control=partial(_nested_check, reverse=True),
        control_statement="they keep more.",
    ),
    claim(
        id="group-relative-reinforce/one-side-is-ppo",
        source="Section 4 (REC-OneSide-IS)",
        statement="The gradient of PPO's clipped objective is the ratio times the advantage on the one-side mask.",
        kind=Identity,
        premises=("ratios away from the kinks",),
        check=_ppo_check,
        control=partial(_ppo_check, mask="two"),
        control_statement="on the two-side mask.",
    ),
    claim(
        id="group-relative-reinforce/fresh-data",
        source="Section 4 (REC on policy)",
        statement="With one step a batch on fresh data all masks, with importance weights or without, give REINFORCE.",
        kind=Identity,
        premises=(BANDIT, "exact expectations"),
        check=_fresh_check,
        control=partial(_fresh_check, moved=True),
        control_statement="so they do away from the policy that answered.",
    ),
    claim(
        id="group-relative-reinforce/importance-weights-matter-little",
        source="Section 4 (importance sampling is not essential); order ours",
        statement=r"Offline, one-side clipping at $\epsilon$ stops at policies with and without importance weights "
        r"whose distance is $O(\epsilon)$.",
        kind=Rate,
        premises=(
            "30 random bandits, two answers above the mean and two below; exact gradients",
            r"total variation; $\epsilon$ from 0.05 to 0.2 (20 bandits and clips up to 0.4 had not decided)",
        ),
        check=_importance_check,
        control=partial(_importance_check, exponent=3.0),
        control_statement=r"it is $O(\epsilon^3)$.",
    ),
)
