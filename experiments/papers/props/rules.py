"""The two samplers in closed form: ROS's step, PROPS's gradient, clip and regularised optimum."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.props.common import FULL, ROS_PAPER, TABULAR, Inner, claim
from claimlab.mdps.collection import ROS, props_law
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.spaces import Box, Simplex, Space

STEP = 1e-30  # of complex steps: derivatives exact to rounding
DATA = Space(
    {"S": (1, 3), "A": (2, 4)},
    {"x": Box("SA", -2, 2), "counts": Box("SA", 0, 5, step=1), "step": Box("", 0.1, 50), "to": Box("SA")},
)


def _log_softmax(x: Any) -> Any:
    top = x.real.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x - top).sum(axis=1, keepdims=True)) - top


def _gradient(objective: Any, x: Array) -> Array:
    """The gradient by complex steps, float[S, A]."""
    out = np.empty_like(x)
    for at in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[at] += 1j * STEP
        out[at] = objective(moved).imag / STEP
    return out


def _step(x: Array, counts: Array, step: Array, to: Array, *, coupled: bool) -> Trial | None:
    """The softmax after a gradient step against the closed form at every state."""
    if counts.sum() == 0:
        return None
    size, pi, found = counts.sum(), np.exp(_log_softmax(x)), 0.0
    moved = x - float(step) * _gradient(lambda z: (counts * _log_softmax(z)).sum() / size, x)
    after = np.exp(_log_softmax(moved))
    for s, n in enumerate(counts):
        own, law = np.empty(x.shape[1]), pi[s] / pi[s].sum()
        ROS(float(step)).behave(law, n, size if coupled else max(n.sum(), 1.0), law, own)
        found = max(found, float(abs(own - after[s]).max()))
    return Trial(found, 256 * EPS * (1 + float(step)))


def _step_check(budget: Budget, coupled: bool = True) -> Identity:
    return equate(DATA, partial(_step, coupled=coupled), budget)


def _clipped(log_ratio: Any, clip: float) -> Any:
    """PROPS's objective of one sample, min(-rho, -clip(rho)), with complex numbers kept."""
    rho = np.exp(log_ratio)
    limited: Any = np.where(rho.real < 1 - clip, 1 - clip, np.where(rho.real > 1 + clip, 1 + clip, rho))
    return np.where(-rho.real <= -limited.real, -rho, -limited)


def _direction(x: Array, counts: Array, step: Array, to: Array, *, moved: bool) -> Trial | None:
    """The gradient of PROPS's clipped objective against minus the likelihood's, at the target or away from it."""
    if counts.sum() == 0:
        return None
    target, at = _log_softmax(x), x + 0.1 * to * moved
    found = _gradient(lambda z: (counts * _clipped(_log_softmax(z) - target, 0.3)).sum(), at)
    stated = -_gradient(lambda z: (counts * _log_softmax(z)).sum(), at)
    return Trial(float(abs(found - stated).max()), 64 * EPS * counts.sum())


def _direction_check(budget: Budget, moved: bool = False) -> Identity:
    return equate(DATA, partial(_direction, moved=moved), budget)


def _slope(log_ratio: Array, clip: Array, *, two_sided: bool) -> Trial | None:
    """The derivative of the clipped objective in log rho against -rho inside the interval, or above its lower end."""
    rho, low, high = float(np.exp(log_ratio)), 1 - float(clip), 1 + float(clip)
    if min(abs(rho - low), abs(rho - high)) < 1e-3:
        return None
    found = float(_clipped(log_ratio + 1j * STEP, float(clip)).imag / STEP)
    stated = -rho if rho > low and not (two_sided and rho > high) else 0.0
    return Trial(abs(found - stated), 16 * EPS * rho)


def _slope_check(budget: Budget, two_sided: bool = False) -> Identity:
    space = Space({}, {"log_ratio": Box("", -1, 1), "clip": Box("", 0.1, 0.5)})
    return equate(space, partial(_slope, two_sided=two_sided), budget)


LAWS = Space({"A": (2, 5)}, {"law": Inner("A", 0.01), "data": Simplex("A"), "weight": Box("", 0.01, 10)})
NEVER_TAKEN = {"law": np.array([0.5, 0.3, 0.2]), "data": np.array([0.0, 0.6, 0.4]), "weight": np.array(0.1)}


def _optimum(law: Array, data: Array, weight: Array, *, ratio: bool) -> Trial:
    """What any law can still gain over the closed form: the Frank-Wolfe gap, an upper bound by concavity."""
    lam = float(weight)
    b = props_law(law, data if ratio else data * law / (data @ law), lam)
    slope = data / law - lam * law / b
    scale = float((data / law).max() + lam + (lam * law / b).max())
    return Trial(float(b @ slope - slope.min()), 256 * EPS * scale)


def _optimum_check(budget: Budget, ratio: bool = True) -> Identity:
    return equate(LAWS, partial(_optimum, ratio=ratio), budget, hard=[NEVER_TAKEN])


def _clipped_optimum(law: Array, data: Array, weight: Array, clip: Array, *, clipped: bool) -> Trial:
    """What any law can still gain on the clipped objective over the closed form: the largest slope to the right less
    the least to the left, an upper bound by concavity."""
    lam, floor = float(weight), 1 - float(clip)
    b = props_law(law, data, lam, float(clip) if clipped else 1.0)
    rho, w = b / law, data / law
    on_floor = abs(rho - floor) <= 1e-12
    pull = lam / np.maximum(rho, 1e-300)
    right = pull - w * ((rho > floor) | on_floor)
    left = np.where(b > 0, pull - w * ((rho > floor) & ~on_floor), np.inf)
    scale = float(w.max() + lam + pull.max())
    return Trial(max(float(right.max() - left.min()), 0.0), 1e-11 * scale)


def _clipped_optimum_check(budget: Budget, clipped: bool = True) -> Identity:
    space = Space(LAWS.sizes, {**LAWS.fields, "clip": Box("", 0.05, 0.95)})
    hard = [NEVER_TAKEN | {"clip": np.array(0.3)}, NEVER_TAKEN | {"clip": np.array(0.3), "weight": np.array(0.0)}]
    return equate(space, partial(_clipped_optimum, clipped=clipped), budget, hard=hard)


def _same_limit(law: Array, data: Array, weight: Array, *, ratio: bool) -> Trial:
    """The mass that PROPS without regulariser leaves off ROS's action (or: the action of the smallest ratio)."""
    wanted = data / law if ratio else data - law
    ties = np.sort(wanted)
    return Trial(1 - float(props_law(law, data, 0.0)[wanted.argmin()]), 0.0 if ties[1] - ties[0] > 1e-9 else 1.0)


def _same_limit_check(budget: Budget, ratio: bool = False) -> Inequality:
    return attack(LAWS, partial(_same_limit, ratio=ratio), budget.with_instances(5 * budget.instances))


CLAIMS = (
    claim(
        id="props/ros-step",
        source=f"{ROS_PAPER}, ROS's update; closed form ours",
        statement=r"A gradient step of size $\alpha$ that lowers the data's mean log-likelihood gives "
        r"$b(a|s)\propto\pi(a|s)\exp(\alpha\frac{n(s)}{|D|}(\pi-\pi_D)(a|s))$.",
        kind=Identity,
        premises=(TABULAR,),
        check=_step_check,
        control=partial(_step_check, coupled=False),
        control_statement=r"the same without the factor $\frac{n(s)}{|D|}$, which couples the states.",
    ),
    claim(
        id="props/same-direction",
        source="Section on PROPS (it starts from ROS's gradient)",
        statement="At the target's parameters the gradient of PROPS's clipped objective is ROS's.",
        kind=Identity,
        premises=(TABULAR, "clip 0.3, the released value; no regulariser"),
        check=_direction_check,
        control=partial(_direction_check, moved=True),
        control_statement="so it is at parameters nearby.",
    ),
    claim(
        id="props/clip-is-two-sided",
        source="Section on PROPS (clipping keeps updates proximal), as if it did on both sides",
        statement=r"The clipped objective has no gradient for ratios outside $[1-\epsilon,1+\epsilon]$.",
        kind=Identity,
        premises=("a single sample",),
        check=partial(_slope_check, two_sided=True),
        control=_slope_check,
        control_statement=r"it has none for ratios below $1-\epsilon$, and $-\nabla\rho$ for all above.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="props/clip-is-lower-only",
        source="ours, on PROPS's objective",
        statement=r"Its gradient is $0$ for ratios below $1-\epsilon$ and $-\nabla\rho$ for all above: actions seen "
        r"too often are pushed down to $(1-\epsilon)\pi$, and nothing limits how far others are raised.",
        kind=Identity,
        premises=("a single sample",),
        check=_slope_check,
        control=partial(_slope_check, two_sided=True),
        control_statement=r"it is $0$ outside $[1-\epsilon,1+\epsilon]$.",
    ),
    claim(
        id="props/closed-form",
        source="ours, on PROPS's objective with KL regulariser, without clip",
        statement=r"Its maximiser at a state is $b(a)=\frac{\lambda\pi(a)}{w(a)+\nu}$, $w=\pi_D/\pi$, with $\nu$ the "
        "root that makes it sum to one.",
        kind=Identity,
        premises=(TABULAR, FULL, "actions that the data lack included"),
        check=_optimum_check,
        control=partial(_optimum_check, ratio=False),
        control_statement=r"the same with $w\propto\pi_D$.",
    ),
    claim(
        id="props/clipped-closed-form",
        source="ours, on PROPS's objective with KL regulariser and clip, as printed",
        statement=r"Its maximiser at a state is $b(a)=\pi(a)\max(\frac\lambda{w(a)+\nu},1-\epsilon)$; without "
        r"regulariser, $(1-\epsilon)\pi$ and the rest $\epsilon$ on the action with the smallest $w=\pi_D/\pi$.",
        kind=Identity,
        premises=(TABULAR, FULL, "actions that the data lack included"),
        check=_clipped_optimum_check,
        control=partial(_clipped_optimum_check, clipped=False),
        control_statement=r"it is the same as without the clip.",
    ),
    claim(
        id="props/same-limit",
        source="ours, on the abstract (actions under-sampled with respect to the current policy)",
        statement="Without regulariser PROPS takes the action that ROS takes with an infinite step, the largest "
        r"$\pi-\pi_D$.",
        kind=Inequality,
        premises=(TABULAR, FULL, "no ties"),
        check=_same_limit_check,
        control=partial(_same_limit_check, ratio=True),
        control_statement=r"it takes the smallest $\pi_D/\pi$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="props/ratio-limit",
        source="ours, on PROPS's objective",
        statement=r"Without regulariser and clip PROPS takes the action with the smallest ratio $\pi_D/\pi$.",
        kind=Inequality,
        premises=(TABULAR, FULL, "no ties"),
        check=partial(_same_limit_check, ratio=True),
        control=_same_limit_check,
        control_statement=r"it takes the action with the largest difference $\pi-\pi_D$.",
    ),
)
