r"""C-MORL: policies for several objectives, found by raising one while the others keep a share of their value.

Mixtures of policies achieve every convex combination of their returns, so an achievable set is the hull of the returns
of finitely many policies; two objectives, x and y, suffice for what follows.  The extension step from a policy of
returns :math:`G^r` maximises x subject to :math:`y\ge\beta G^r_y`; an interior-point method maximises
:math:`x+\frac1t\log(y-\beta G^r_y)` instead.  The released program was read; the statements are those of the method's
description, and the classical ones of constrained and of interior-point optimisation.  Its experiments are not judged.
"""

from __future__ import annotations

from functools import partial
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.style import COLUMN
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Case, Simplex, Space

PAPER = Paper(
    slug="c-morl",
    title="C-MORL: Multi-Objective Reinforcement Learning through Efficient Discovery of Pareto Front",
    authors="Ruohong Liu, Yuxin Pan, Linjie Xu, Lei Song, Jiang Bian, Pengcheng You, Yize Chen",
    venue="ICLR 2025",
    arxiv="2410.02236",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

HULL = "two objectives, all mixtures of up to five policies"

SPACE = Space(
    {"K": (1, 5), "o": (2, 2)},
    {"G": Box("Ko", 0, 1), "start": Simplex("K"), "beta": Box("", 0, 1), "sharpness": Box("", 1, 50)},
)


def extension(G: Array, least: float) -> Array:
    """All corners of the solutions of "maximise x with y >= least" over the hull of G[K, 2], float[n, 2]."""
    corners = [g for g in G if g[1] >= least]
    for a, b in combinations(G, 2):
        if min(a[1], b[1]) < least < max(a[1], b[1]):
            corners.append(a + (least - a[1]) / (b[1] - a[1]) * (b - a))
    found = np.array(corners)
    return np.asarray(found[found[:, 0] >= found[:, 0].max() - 1e-12])


def _least(G: Array, start: Array, beta: Array) -> float:
    return min(float(beta * (start @ G)[1]), float(G[:, 1].max()))  # rounding may not take it out of reach


def _worst(G: Array, start: Array, beta: Array) -> Array:
    """The solution of the extension step with the least y."""
    ends = extension(G, _least(G, start, beta))
    return np.asarray(ends[ends[:, 1].argmin()])


def _pareto(
    G: Array, start: Array, beta: Array, sharpness: Array, *, weakly: bool, alone: bool = False
) -> Trial | None:
    """How much both objectives of a solution can be raised at once; or the second without loss of the first."""
    found = _worst(G, start, beta)
    ends = extension(G, _least(G, start, beta))
    if alone and np.ptp(ends[:, 1]) > 1e-9:
        return None
    if not weakly:
        return Trial(float(ends[:, 1].max() - found[1]), 0.0, 1e-9)
    raised = -np.inf
    for a, b in combinations([*G, G[0]], 2):  # the least of two linear functions, along each segment
        slope, (p, q) = b - a, a - found
        cross = np.clip((q - p) / (slope[0] - slope[1]), 0, 1) if abs(slope[0] - slope[1]) > 1e-12 else 0.0
        raised = max(raised, *(float((a + s * slope - found).min()) for s in (0.0, float(cross), 1.0)))
    return Trial(raised, 0.0, 1e-9)


LEVEL: Case = {  # the best x is that of two policies
    "G": np.array([[1.0, 0.0], [1.0, 1.0]]), "start": np.array([1.0, 0.0]), "beta": np.array(0.5),
    "sharpness": np.array(1.0),
}  # fmt: skip


def _pareto_check(budget: Budget, weakly: bool = False, alone: bool = False) -> Inequality:
    return attack(SPACE, partial(_pareto, weakly=weakly, alone=alone), budget, hard=[LEVEL])


def barrier(G: Array, least: float, t: float) -> Array:
    r"""A maximiser of :math:`x+\frac1t\log(y-\text{least})` over the hull, float[2]; on a segment in closed form."""
    best, found = -np.inf, np.full(2, np.nan)
    for a, b in combinations([*G, G[0]], 2):
        dx, dy = b - a
        inner = (least - dy / (t * dx) - a[1]) / dy if dx * dy < 0 else 0.0  # where the derivative vanishes
        for s in (0.0, 1.0, float(np.clip(inner, 0, 1))):
            x, y = a + s * (b - a)
            worth = x + np.log(y - least) / t if y > least else -np.inf
            if worth > best:
                best, found = worth, np.array([x, y])
    return found


def _barrier(G: Array, start: Array, beta: Array, sharpness: Array, *, share: float) -> Trial | None:
    least, t = _least(G, start, beta), float(sharpness)
    if G[:, 1].max() <= least + 1e-6:
        return None
    gap = float(_worst(G, start, beta)[0] - barrier(G, least, t)[0])
    return Trial(gap, share / t, 1e-9, trivial=float(np.ptp(G[:, 0])) or np.inf)


SLOPE: Case = {  # x and y are exchanged one for one
    "G": np.array([[1.0, 0.0], [0.0, 1.0]]), "start": np.array([0.5, 0.5]), "beta": np.array(0.5),
    "sharpness": np.array(10.0),
}  # fmt: skip


def _barrier_check(budget: Budget, share: float = 1.0) -> Inequality:
    return attack(SPACE, partial(_barrier, share=share), budget, hard=[SLOPE])


LOSSES = Space({"o": (1, 3)}, {"G": Box("o", -1, 1), "beta": Box("", 0, 1)})


def _feasible(G: Array, beta: Array, *, positive: bool) -> Trials:
    """By how much the policy that is to be extended misses its own constraints."""
    value = abs(G) if positive else G
    return Trials((beta[..., None] * value - value).max(axis=-1), 0.0)


def _feasible_check(budget: Budget, positive: bool = False) -> Inequality:
    return attack(LOSSES, partial(_feasible, positive=positive), budget, batched=True)


ARMS = Space({"K": (2, 4), "o": (1, 3)}, {"p": Simplex("K"), "R": Box("Ko", 0.1, 1), "beta": Box("", 0, 0.9)})


def _released(p: Array, R: Array, beta: Array, *, each: bool) -> Trials:
    r"""The mean gradient of the released constraint term at the old policy, against that of the barrier on returns.

    The term is the mean of :math:`\log(\rho_a\bar R_j-\beta\bar R_j)`, ρ the ratio of the sampled action, so its mean
    gradient is :math:`E\nabla\log\pi/(1-\beta)`; `each` has the sampled action's return for the first mean, outside of
    the logarithm's denominator.  Softmax policies with the logits as parameters.
    """
    means = (p[..., None] * R).sum(axis=-2)
    weights = (R / means[..., None, :] if each else np.ones(R.shape)).sum(axis=-1)
    score = p * (weights - (p * weights).sum(axis=-1, keepdims=True)) / (1 - beta[..., None])
    gradient = p[..., None] * (R - means[..., None, :])
    stated = (gradient / ((1 - beta)[..., None, None] * means[..., None, :])).sum(axis=-1)
    return Trials(abs(score - stated).max(axis=-1), 4096 * EPS)


def _released_check(budget: Budget, each: bool = False) -> Identity:
    return equate(ARMS, partial(_released, each=each), budget, batched=True)


def _utility(G: Array, start: Array, beta: Array, sharpness: Array, *, area: bool) -> Trial:
    """What a mixture of the policies adds to the best weighted return over preferences, or to the dominated area."""
    more = np.vstack([G, start @ G])
    if area:
        return Trial(dominated_area(more) - dominated_area(G), 0.0, 1e-9)
    w = np.linspace(0, 1, 21)
    preferences = np.stack([w, 1 - w])
    return Trial(float(((more @ preferences).max(axis=0) - (G @ preferences).max(axis=0)).max()), 0.0, 1e-12)


def dominated_area(G: Array) -> float:
    """The area between the origin and the rows of G[K, 2], in [0, 1]^2."""
    area, height = 0.0, 0.0
    for x, y in sorted(G.tolist(), reverse=True):
        area, height = area + x * max(y - height, 0.0), max(height, y)
    return area


def _utility_check(budget: Budget, area: bool = False) -> Inequality:
    return attack(SPACE, partial(_utility, area=area), budget, hard=[SLOPE])


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, rows = plt.figure(figsize=(COLUMN, 2.4), layout="constrained"), []
    ax, t, rng = fig.subplots(), np.geomspace(1, 100, 25), np.random.default_rng(0)
    ax.plot(t, 1 / t, color="black", ls="--", label="1 / t")
    for run in range(30):
        G = rng.random((5, 2))
        least = 0.9 * float(rng.dirichlet(np.ones(5)) @ G[:, 1])
        best = extension(G, least)[0, 0]
        gap = np.array([best - barrier(G, least, x)[0] for x in t])
        ax.plot(t, np.maximum(gap, 1e-4), color="C0", lw=0.6, alpha=0.6)
        rows += [{"run": run, "t": x, "gap": y} for x, y in zip(t, gap)]
    ax.set(xscale="log", yscale="log", xlabel="sharpness t", ylabel="return lost to the barrier")
    ax.legend()
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "barrier",
        "What the logarithmic barrier loses of the objective that is raised, hulls of five random policies, β = 0.9; "
        "the bound is attained.",
        _draw,
    ),
)

CLAIMS = (
    claim(
        id="c-morl/extends-the-front",
        source="the extension stage, which is to fill the Pareto front",
        statement="Each solution of the extension step is Pareto optimal.",
        kind=Inequality,
        premises=(HULL,),
        check=_pareto_check,
        control=partial(_pareto_check, alone=True),
        control_statement="the same where the solution is the only one.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="c-morl/extends-it-weakly",
        source="ours (the classical method of constraints), corrects the last",
        statement="Each solution of the extension step is weakly Pareto optimal.",
        kind=Inequality,
        premises=(HULL,),
        check=partial(_pareto_check, weakly=True),
        control=_pareto_check,
        control_statement="each is Pareto optimal.",
    ),
    claim(
        id="c-morl/barrier",
        source="the interior-point form of the extension step; its classical bound (n - 1)/t",
        statement=r"The barrier of sharpness $t$ loses at most $1/t$ of the objective that is raised.",
        kind=Inequality,
        premises=(HULL, "some mixture meets the constraint strictly"),
        check=_barrier_check,
        control=partial(_barrier_check, share=0.9),
        control_statement="it loses at most 90 % of that.",
    ),
    claim(
        id="c-morl/starts-feasible",
        source=r"the extension step's thresholds $\beta G^r_j$, $\beta\in(0,1)$",
        statement="The policy that is extended meets its own constraints.",
        kind=Inequality,
        premises=("returns of either sign",),
        check=_feasible_check,
        control=partial(_feasible_check, positive=True),
        control_statement="the same where no return is negative.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="c-morl/released-barrier",
        source="released program (ppo.py, ipo_update): the ratio times the mean return of the batch",
        statement=r"At the old policy its mean gradient is that of $\sum_j\log(G_j-\beta G^r_j)$.",
        kind=Identity,
        premises=(
            "bandits, softmax policies, positive returns",
            "one published version; no clipping at the old policy",
        ),
        check=_released_check,
        control=partial(_released_check, each=True),
        control_statement="the same with the ratio times the sampled return: the released term's mean gradient is 0.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="c-morl/filling-adds-no-utility",
        source="ours, on expected utility, the measure by linear preferences",
        statement="A mixture of policies at hand raises the best weighted return for no preference.",
        kind=Inequality,
        premises=(HULL,),
        check=_utility_check,
        control=partial(_utility_check, area=True),
        control_statement="it does not raise the hypervolume either.",
    ),
)
