r"""Group-relative REINFORCE is secretly an off-policy algorithm (Yao et al.): exactly, on softmax bandits.

K answers to a prompt with rewards :math:`r_i` and group mean :math:`\bar r`.  With
:math:`a_i=r_i-\tau(\log\pi_\theta(y_i)-\log\pi_t(y_i))` the surrogate :math:`\frac1{K^2}\sum_{i<j}(a_i-a_j)^2` asks
for the pairwise consistency of the KL-regularised optimum, whatever law the answers were drawn from; one gradient step
on it at :math:`\pi_t` is REINFORCE with the group mean.  Variants weigh or mask the score terms.

**Flows (ours).**  From data of a fixed law :math:`\pi_b` every variant with weights :math:`c_a` that do not depend on
the policy has logits :math:`\dot\theta=c-p\sum_ac_a`.  If :math:`B=\sum_ac_a=0` they move linearly and end on the
largest :math:`c_a`; if :math:`B>0` they descend a convex function whose infimum has the Euclidean projection of
:math:`c/B` onto the simplex for its law.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache, partial
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array, Ints
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.papers import group_relative_laws, group_relative_runs
from claimlab.experiments.style import PAGE
from claimlab.mdps.tabular import EPS
from claimlab.native import kernel
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.group_relative import masks
from claimlab.theory.spaces import Box, Simplex, Space

PAPER = Paper(
    slug="group-relative-reinforce",
    title="Group-Relative REINFORCE Is Secretly an Off-Policy Algorithm: Demystifying Some Myths About GRPO and Its "
    "Friends",
    authors="Chaorui Yao, Yanxi Chen, Yuchang Sun, Yushuo Chen, Wenhao Zhang, Xuchen Pan, Yaliang Li, Bolin Ding",
    venue="ICLR 2026",
    arxiv="2509.24203",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

BANDIT = "softmax policies on finitely many answers"
GROUP = "a group of K answers from any law"

# Section 2: the surrogate

STEP = 1e-30  # of complex steps: derivatives exact to rounding


def _log_softmax(x: Any) -> Any:
    return x - np.log(np.exp(x - x.real.max()).sum()) - x.real.max()


GROUPS = Space(
    {"Y": (1, 4), "K": (2, 5)},
    {
        "x": Box("Y", -2, 2),
        "r": Box("K", 0, 1),
        "pick": Box("K", 0, 0.999),
        "w": Box("K", 0.1, 2),
        "tau": Box("", 0.05, 3),
    },
)


def _scores(x: Array, y: Ints) -> Array:
    return np.eye(len(x))[y] - np.exp(_log_softmax(x))


def _surrogate(x: Array, r: Array, pick: Array, w: Array, tau: Array, *, weighted: bool, factor: float) -> Trial:
    """The gradient of the surrogate at the current policy against factor tau times (weighted) REINFORCE."""
    y, weight = (pick * len(x)).astype(int), w if weighted else np.ones(len(r))
    old, t, K = _log_softmax(x)[y], float(tau), len(r)

    def loss(theta: Any) -> Any:
        a = r - t * (_log_softmax(theta)[y] - old)
        gaps = np.subtract.outer(a, a) ** 2 * np.multiply.outer(weight, weight)
        return gaps.sum() / 2 / K**2

    gradient = np.array([loss(x + 1j * STEP * e).imag / STEP for e in np.eye(len(x))])
    mean = weight @ r / weight.sum()
    stated = -factor * t * weight.sum() / K**2 * ((weight * (r - mean)) @ _scores(x, y))
    return Trial(float(abs(gradient - stated).max()), 4096 * EPS * (1 + t))


def _surrogate_check(budget: Budget, weighted: bool = False, factor: float = 2.0) -> Identity:
    return equate(GROUPS, partial(_surrogate, weighted=weighted, factor=factor), budget)


def _consistent(start: Array, law: Array, r: Array, tau: Array, *, steps: int, cut: bool) -> Trial | None:
    """The loss in the population of the KL optimum, minimal (zero) for any law; or after `steps` REINFORCE steps."""
    t, base = float(tau), 0.98 * start + 0.02 / len(start)
    data = law * (np.arange(len(law)) > 0) if cut else 0.98 * law + 0.02 / len(law)
    if data.sum() < 1e-6:
        return None
    data = data / data.sum()
    optimum = base * np.exp((r - r.max()) / t)
    optimum /= optimum.sum()
    if steps:
        reached = np.log(base) + steps * data * (r - data @ r) / t
        reached = np.exp(reached - reached.max())
        return Trial(float(abs(reached / reached.sum() - optimum).max()), 64 * EPS)
    # the minimiser by least squares on the pairs' differences, weighted by the law of the data
    seen = np.flatnonzero(data > 0)
    if len(seen) < 2:
        return None
    pairs = [(i, j) for i in seen for j in seen if i < j]
    design = np.array([np.eye(len(r))[i] - np.eye(len(r))[j] for i, j in pairs])
    ratio = np.linalg.lstsq(design, np.array([r[i] - r[j] for i, j in pairs]) / t, rcond=None)[0]
    found = base * np.exp(ratio - ratio.max())
    return Trial(float(abs(found / found.sum() - optimum).max()), 1e-9)


BANDITS = Space(
    {"Y": (2, 4)}, {"start": Simplex("Y"), "law": Simplex("Y"), "r": Box("Y", 0, 1), "tau": Box("", 0.1, 3)}
)


def _consistent_check(budget: Budget, steps: int = 0, cut: bool = False) -> Identity:
    return equate(BANDITS, partial(_consistent, steps=steps, cut=cut), budget)


def _finite(p: Array, r: Array, K: Array, *, biased: bool) -> Trial:
    """E of the group-relative gradient over all groups, in rationals, against (K - 1) / K times the covariance."""
    law = [Fraction(float(v)).limit_denominator(1000) for v in p]
    law = [v / sum(law) for v in law]
    gain, size = [Fraction(float(v)).limit_denominator(1000) for v in r], int(K)
    found = [Fraction(0)] * len(law)
    for group in product(range(len(law)), repeat=size):
        chance = Fraction(1)
        for y in group:
            chance *= law[y]
        mean = sum((gain[y] for y in group), Fraction(0)) / size
        for y in group:  # the score's part e_y: the other part is the same for all and cancels
            found[y] += chance * (gain[y] - mean) / size
    value = sum((v * g for v, g in zip(law, gain)), Fraction(0))
    shrink = Fraction(1) if biased else Fraction(size - 1, size)
    return Trial(float(max(abs(f - shrink * v * (g - value)) for f, v, g in zip(found, law, gain))), 0.0)


def _finite_check(budget: Budget, biased: bool = False) -> Identity:
    space = Space({"Y": (1, 3)}, {"p": Simplex("Y"), "r": Box("Y", 0, 1), "K": Box("", 2, 4, step=1)})
    measure = partial(_finite, biased=biased)
    return equate(space, measure, budget.with_instances(min(budget.instances, 200)), proof="rational")


# Masks and weights


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


def _red_weight(r: Array, T: Array, *, sign: float) -> Trials:
    """The mean weighted by exp(A/T) against the plain mean, shifted by one."""
    A = r - r.mean(axis=1, keepdims=True)
    w = np.exp(sign * A / T[:, None])
    return Trials(1 + r.mean(axis=1), 1 + (w * r).sum(axis=1) / w.sum(axis=1), 64 * EPS)


def _red_weight_check(budget: Budget, sign: float = 1.0) -> Inequality:
    space = Space({"K": (1, 6)}, {"r": Box("K"), "T": Box("", 0.1, 5)})
    return attack(space, partial(_red_weight, sign=sign), budget.with_instances(20 * budget.instances), batched=True)


# Flows from data of a fixed law


def project(v: Array) -> Array:
    """The Euclidean projection onto the simplex (Duchi et al. 2008), float[Y]."""
    u = np.sort(v)[::-1]
    k = np.arange(1, len(v) + 1)
    count = int(k[u - (u.cumsum() - 1) / k > 0][-1])
    return np.maximum(v - (u[:count].sum() - 1) / count, 0.0)


def flow_limit(c: Array) -> Array:
    """Where exact training with constant weights ends (ours, the module's head); ties of the largest are not
    resolved."""
    total = c.sum()
    return project(c / total) if total > 1e-12 else np.eye(len(c))[int(c.argmax())]


@kernel
def _flow(c: Array, theta: Array, steps: int, size: float) -> Array:
    """Plain gradient steps of logits; the step grows while logits move linearly, so that time is long."""
    total = c.sum()
    p = np.exp(theta - theta.max())
    p /= p.sum()
    for _ in range(steps):
        theta += size * (c - p * total)
        p = np.exp(theta - theta.max())
        p /= p.sum()
    return p


FLOWS = Space(
    {"Y": (2, 4)}, {"law": Simplex("Y"), "r": Box("Y", 0, 1), "start": Box("Y", -1, 1), "beta": Box("", 0.1, 2)}
)


def _limit(law: Array, r: Array, start: Array, beta: Array, *, kind: str) -> Trial | None:
    """AsymRE's flow (advantages raised by beta) after a long time against the projection, or against the law itself."""
    data = 0.9 * law + 0.1 / len(law)
    c = data * (r - data @ r + float(beta))
    end = flow_limit(c)
    away = np.where(end > 0, end, np.inf).min()
    edge = np.sort(c / c.sum() - (c / c.sum() - end).max())
    if away < 0.02 or (abs(edge[edge < 0]).min(initial=1.0) < 0.02):
        return None  # close to a face of the simplex the approach is too slow to be seen
    found = _flow(c, start.copy(), 60_000, 1.0)
    return Trial(float(abs(found - (end if kind == "projection" else data)).max()), 2e-3)


def _limit_check(budget: Budget, kind: str = "projection") -> Identity:
    measure = partial(_limit, kind=kind)
    return equate(FLOWS, measure, budget.with_instances(min(budget.instances, 200)))


def _improves(law: Array, r: Array, start: Array, beta: Array, *, sign: float) -> Trial | None:
    """The value of the data's law against that of AsymRE's limit; `sign` -1 takes beta from the advantages."""
    data = 0.98 * law + 0.02 / len(law)
    c = data * (sign * (r - data @ r) + float(beta))
    if c.sum() <= 1e-9:
        return None
    return Trial(float(data @ r), float(flow_limit(c) @ r), 1e-9)


def _improves_check(budget: Budget, sign: float = 1.0) -> Inequality:
    return attack(FLOWS, partial(_improves, sign=sign), budget.with_instances(10 * budget.instances))


# The three arms of the paper

LAW, REWARD = np.array([0.3, 0.6, 0.1]), np.array([0.0, 0.8, 1.0])


def winner(c: Array) -> int:
    return int(c.argmax())


def _three_check(budget: Budget, best: bool = True) -> Inequality:
    """One instance: is the limit of REINFORCE from that data within 0.1 of the best arm (or: of the second)?"""
    c = LAW * (REWARD - LAW @ REWARD)
    got = float(flow_limit(c) @ REWARD)
    wanted = float(REWARD.max()) if best else float(REWARD[1])
    witness = {"law": LAW, "r": REWARD, "c": c, "value of the limit": got}
    return Inequality((wanted - got) / 0.1, wanted - got - 0.1, 1e-9, 1, 1, 1, 1, witness)


def red_threshold(law: Array, r: Array) -> float:
    r"""RED-Weight's temperature below which the best of three arms gets more mass than the second:
    :math:`(r_3-r_2)/\log\frac{\pi_b(2)A_2}{\pi_b(3)A_3}` (ours)."""
    A = r - law @ r
    return float((r[2] - r[1]) / np.log(law[1] * A[1] / (law[2] * A[2])))


def _threshold(share: Array, *, shift: float) -> Trial | None:
    """Whether the sign of the difference of the limit's two masses changes at the threshold times `shift`."""
    T = red_threshold(LAW, REWARD) * (0.3 + 1.4 * float(share))
    A = REWARD - LAW @ REWARD
    end = flow_limit(LAW * np.exp(A / T) * A)
    return Trial(float((end[2] > end[1]) != (shift * red_threshold(LAW, REWARD) > T)), 0.0)


def _threshold_check(budget: Budget, shift: float = 1.0) -> Identity:
    return equate(Space({}, {"share": Box("", 0, 1)}), partial(_threshold, shift=shift), budget)


def _cosine(law: Array, p: Array, r: Array) -> Trials:
    """The cosine of REINFORCE's direction from other data with the true gradient, in the logits; it is to be
    positive."""
    data = 0.99 * law + 0.01 / law.shape[1]
    own = 0.99 * p + 0.01 / p.shape[1]
    c = data * (r - (data * r).sum(axis=1, keepdims=True))
    g = own * (r - (own * r).sum(axis=1, keepdims=True))
    norms = np.linalg.norm(c, axis=1) * np.linalg.norm(g, axis=1)
    holds = norms > 1e-9
    return Trials(-(c * g).sum(axis=1) / np.where(holds, norms, 1.0), 0.0, 1e-9, holds=holds)


def _cosine_check(budget: Budget, arms: int = 2) -> Inequality:
    space = Space({"Y": (arms, arms)}, {"law": Simplex("Y"), "p": Simplex("Y"), "r": Box("Y", 0, 1)})
    return attack(space, _cosine, budget.with_instances(20 * budget.instances), batched=True)


# Staleness: data refreshed every m steps


@kernel
def stale(law: Array, r: Array, sync: int, size: float, clip: bool, low: float, high: float, total: int) -> Array:
    """The policy after `total` exact gradient steps on data refreshed every `sync` steps; REINFORCE or its one-side
    clip."""
    theta = np.log(law)
    old = law.copy()
    p = law.copy()
    for k in range(total):
        if k % sync == 0:
            old[:] = p
        A = r - (old * r).sum()
        c = old * A
        if clip:
            for a in range(c.size):
                ratio = np.exp(np.log(max(p[a], 1e-300)) - np.log(max(old[a], 1e-300)))
                if (A[a] > 0 and ratio > 1 + high) or (A[a] < 0 and ratio < 1 - low):
                    c[a] = 0.0
        theta += size * (c - p * c.sum())
        theta -= theta.max()
        p = np.exp(theta)
        p /= p.sum()
    return p


SYNCS, RATES = (1, 5, 20, 100, 1000), (0.5, 5.0)


@lru_cache(maxsize=4)
def staleness(clip: bool) -> tuple[tuple[int, float, float], ...]:
    """(m, step size, value at the end) over the grid."""
    return tuple(
        (m, lr, float(stale(LAW, REWARD, m, lr, clip, 0.2, 0.2, max(20 * m, 40_000)) @ REWARD))
        for m in SYNCS
        for lr in RATES
    )


def _stale_check(budget: Budget, clip: bool = True) -> Inequality:
    """The least value at the end over the grid: 0.95 is wanted of the best arm's 1."""
    m, lr, value = min(staleness(clip), key=lambda cell: cell[2])
    n = len(SYNCS) * len(RATES)
    witness = {"sync interval": m, "step size": lr, "value": value}
    return Inequality(0.95 / max(value, 1e-9), 0.95 - value, 1e-9, n, n, n, n, witness)


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, axes = plt.subplots(1, 3, figsize=(PAGE, 2.4))
    rows: list[dict[str, Any]] = []
    betas = np.geomspace(0.02, 30, 120)
    c = LAW * (REWARD - LAW @ REWARD)
    ends = np.array([flow_limit(c + b * LAW) for b in betas])
    for k in range(3):
        axes[0].plot(betas, ends[:, k], label=f"arm {k + 1}, r = {REWARD[k]:g}")
        axes[0].axhline(LAW[k], color="0.8", lw=0.8, zorder=0)
    axes[0].set(
        xscale="log", xlabel="β of AsymRE", ylabel="limit of training", ylim=(0, 1.02), title="grey: the data's law"
    )
    axes[0].legend(fontsize=6)
    temperatures, A = np.geomspace(0.05, 3, 120), REWARD - LAW @ REWARD
    ends = np.array([flow_limit(LAW * np.exp(A / t) * A) for t in temperatures])
    for k in range(3):
        axes[1].plot(temperatures, ends[:, k])
    axes[1].axvline(red_threshold(LAW, REWARD), color="black", lw=0.8, ls="--")
    axes[1].set(xscale="log", xlabel="temperature of RED-Weight", ylim=(0, 1.02), title="dashed: the exact threshold")
    syncs, rates = np.unique(np.geomspace(1, 300, 12).astype(int)), np.geomspace(0.3, 10, 9)
    table = np.array(
        [[stale(LAW, REWARD, int(m), float(s), False, 0, 0, 20_000) @ REWARD for m in syncs] for s in rates]
    )
    shown = axes[2].pcolormesh(syncs, rates, table, shading="nearest", vmin=0.6, vmax=1)
    fig.colorbar(shown, ax=axes[2], label="value at the end")
    axes[2].set(xscale="log", yscale="log", xlabel="sync interval", ylabel="step size", title="REINFORCE, stale data")
    rows += [{"m": int(m), "step": s, "value": table[i, j]} for i, s in enumerate(rates) for j, m in enumerate(syncs)]
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "three-arms",
        r"The three-armed bandit of the paper, exactly. Left: where training on data of a fixed law ends for AsymRE. "
        r"Middle: for "
        r"RED-Weight, with the exact temperature below which the best arm leads. Right: REINFORCE on data that are "
        r"refreshed "
        r"every $m$ steps: beyond a product of interval and step size it collapses onto the second arm (0.8).",
        _draw,
    ),
    PaperFigure(
        "laws",
        r"All laws of the data on the three answers of the paper, for $\pi=(0.3,0.6,0.1)$. Left: how fast exact "
        r"REINFORCE "
        r"moves the value; between the line and the edge it falls, and worst of all is half of each of the two "
        r"better answers. Right: "
        r"the answer on which training from that law ends, with the exact boundary.",
        partial(group_relative_laws.draw_laws, LAW, REWARD),
    ),
    *group_relative_runs.FIGURES,
)

CLAIMS = (
    claim(
        id="group-relative-reinforce/one-step",
        source="Section 2 (third step)",
        statement=r"At $\theta=\theta_t$ the gradient of $\frac1{K^2}\sum_{i<j}(a_i-a_j)^2$ is "
        r"$-\frac{2\tau}{K}\sum_i(r_i-\bar r)\nabla\log\pi_\theta(y_i)$, without an assumption on where the answers "
        r"came from.",
        kind=Identity,
        premises=(BANDIT, GROUP),
        check=_surrogate_check,
        control=partial(_surrogate_check, factor=1.0),
        control_statement=r"it is $-\frac{\tau}{K}\sum_i(r_i-\bar r)\nabla\log\pi_\theta(y_i)$.",
    ),
    claim(
        id="group-relative-reinforce/one-step-weighted",
        source="Section 3 (weighted pairs)",
        statement=r"With weights $w_iw_j$ of the pairs it is REINFORCE with weights $w_i$ and the weighted mean.",
        kind=Identity,
        premises=(BANDIT, GROUP, "positive weights"),
        check=partial(_surrogate_check, weighted=True),
        control=partial(_surrogate_check, weighted=True, factor=1.9),
        control_statement="the same with 1.9 for the factor 2.",
    ),
    claim(
        id="group-relative-reinforce/any-law",
        source="Section 2 (pairwise consistency)",
        statement=r"Minimising the surrogate whole gives the KL-regularised optimum from data of any law with full "
        r"support.",
        kind=Identity,
        premises=(BANDIT, "full support", "exact expectations"),
        check=_consistent_check,
        control=partial(_consistent_check, cut=True),
        control_statement="the same from data that never show the first answer.",
    ),
    claim(
        id="group-relative-reinforce/one-step-is-no-optimum",
        source="ours, on Section 2",
        statement="So does a single step of the matched size.",
        kind=Identity,
        premises=(BANDIT, "full support", "exact expectations"),
        check=partial(_consistent_check, steps=1),
        control=_consistent_check,
        control_statement="minimising the surrogate whole does.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="group-relative-reinforce/finite-groups",
        source="ours, on Eq. 1 (groups of K)",
        statement=r"The expected gradient of a group is $\frac{K-1}{K}\mathrm{Cov}_{\pi_b}(r,\nabla\log\pi)$.",
        kind=Identity,
        premises=(BANDIT, "K independent answers from $\\pi_b$"),
        check=_finite_check,
        control=partial(_finite_check, biased=True),
        control_statement=r"it is the covariance.",
    ),
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
        id="group-relative-reinforce/red-weight-imitates",
        source="Section 5 (RED-Weight)",
        statement=r"The mean weighted by $e^{A/T}$ is at least the plain one, so that RED-Weight adds imitation of "
        r"what it "
        "up-weights.",
        kind=Inequality,
        premises=("any rewards, $T>0$",),
        check=_red_weight_check,
        control=partial(_red_weight_check, sign=-1.0),
        control_statement=r"the same with $e^{-A/T}$.",
    ),
    claim(
        id="group-relative-reinforce/three-arms",
        source="Section on the myths (three-armed bandit), as if off-policy data were harmless",
        statement="REINFORCE with the group mean from data of a fixed law ends within 0.1 of the best arm.",
        kind=Inequality,
        premises=(r"$\pi_b=(0.3,0.6,0.1)$, $r=(0,0.8,1)$", "exact gradients"),
        check=_three_check,
        control=partial(_three_check, best=False),
        control_statement="it ends within 0.1 of the second one's reward.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="group-relative-reinforce/limit-is-a-projection",
        source="ours, on AsymRE",
        statement=r"AsymRE from data of a fixed law ends at the projection of $c/\sum c$, $c_a=\pi_b(a)(A_a+\beta)$, "
        r"onto the simplex.",
        kind=Identity,
        premises=(BANDIT, r"$\beta>0$", "60 000 steps; limits at least 0.02 from a change of face; equal to 0.002"),
        check=_limit_check,
        control=partial(_limit_check, kind="law"),
        control_statement="it ends at the law of the data.",
    ),
    claim(
        id="group-relative-reinforce/asymre-improves",
        source="Section 5 (AsymRE)",
        statement=r"For every $\beta>0$ the limit of AsymRE is worth at least as much as the law of the data.",
        kind=Inequality,
        premises=(BANDIT, "exact gradients"),
        check=_improves_check,
        control=partial(_improves_check, sign=-1.0),
        control_statement="the same with the advantages reversed.",
    ),
    claim(
        id="group-relative-reinforce/red-weight-threshold",
        source="ours, on RED-Weight",
        statement=r"On the three arms the best one gets more mass than the second iff "
        r"$T<(r_3-r_2)/\log\frac{\pi_b(2)A_2}{\pi_b(3)A_3}=0.175$.",
        kind=Identity,
        premises=(r"$\pi_b=(0.3,0.6,0.1)$, $r=(0,0.8,1)$", "exact gradients"),
        check=_threshold_check,
        control=partial(_threshold_check, shift=1.2),
        control_statement="iff the temperature is below 1.2 times that.",
    ),
    claim(
        id="group-relative-reinforce/two-arms-never-fail",
        source="ours, on off-policy data",
        statement="With two answers the direction from data of any law never opposes the true gradient.",
        kind=Inequality,
        premises=(BANDIT, "full support"),
        check=_cosine_check,
        control=partial(_cosine_check, arms=3),
        control_statement="with three answers it never does.",
    ),
    claim(
        id="group-relative-reinforce/clipping-stands-staleness",
        source="Section 4 (clipping, not importance sampling, stabilises)",
        statement="Clipped without importance weights it reaches 0.95 of the best arm for every sync interval up to "
        "1000 and step "
        "sizes 0.5 and 5.",
        kind=Inequality,
        premises=(r"$\pi_b=(0.3,0.6,0.1)$, $r=(0,0.8,1)$", "clip 0.2, exact gradients"),
        check=_stale_check,
        control=partial(_stale_check, clip=False),
        control_statement="so does REINFORCE without a clip.",
    ),
    *group_relative_laws.claims(claim),
    *group_relative_runs.claims(claim),
)
