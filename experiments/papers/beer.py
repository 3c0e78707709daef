r"""BEER: a bound on the cosine of consecutive features, implied by the Bellman equation, is to regularise their rank.

A critic :math:`Q=\phi\cdot w` with :math:`Q(s,a)=r+\gamma E\,Q(s',a')` has, with :math:`\bar\phi'=E\,\phi(s',a')`,

.. math:: \cos(\phi,\bar\phi')\le B=
   \frac{\|\phi\|^2+\gamma^2\|\bar\phi'\|^2-r^2/\|w\|^2}{2\gamma\|\phi\|\|\bar\phi'\|},

for :math:`r=(\phi-\gamma\bar\phi')\cdot w`, by Cauchy and Schwarz.  The regulariser is the mean of
:math:`\max(\cos-B,0)`.  Both are compared below without their common denominator.  The formula is that of the released
program, whose last layer has a bias and which takes one sampled successor for the mean.  That training with it changes
ranks or returns is a matter of experiments with networks, and not judged here.
"""

from __future__ import annotations

from functools import partial

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
from claimlab.theory.falsify import Trials, attack, equate
from claimlab.theory.spaces import Box, Case, Simplex, Space

PAPER = Paper(
    slug="beer",
    title="Adaptive Regularization of Representation Rank as an Implicit Constraint of Bellman Equation",
    authors="Qiang He, Tianyi Zhou, Meng Fang, Setareh Maghsudi",
    venue="ICLR 2024",
    arxiv="2404.12754",
    tier="core-named / mechanism-checkable",
)

claim = partial(Claim, paper=PAPER)

CRITIC = "linear critics whose Bellman equation holds exactly at the pair"
RELEASED = "one published version of the program"
ROUNDING = 64 * EPS  # of sums of products of numbers up to 1, over up to 3 coordinates; the norm of w is at least 0.1

SPACE = Space(
    {"D": (1, 3), "K": (1, 3)},
    {
        "phi": Box("D", -1, 1), "successors": Box("KD", -1, 1), "p": Simplex("K"), "w": Box("D", -1, 1),
        "gamma": Box("", 0, 1), "bias": Box("", -1, 1), "reward": Box("", -1, 1),
    },
)  # fmt: skip


def dot(x: Array, y: Array) -> Array:
    """Inner products along the last axis."""
    return np.asarray((x * y).sum(axis=-1))


def slack(phi: Array, following: Array, w: Array, gamma: Array, r: Array) -> tuple[Array, Array]:
    r"""The two sides of :math:`\cos\le B`, both times :math:`2\gamma\|\phi\|\|\bar\phi'\|`."""
    bound = dot(phi, phi) + gamma**2 * dot(following, following) - r**2 / np.maximum(dot(w, w), 0.01)
    return 2 * gamma * dot(phi, following), np.asarray(bound)


def _bound(
    phi: Array, successors: Array, p: Array, w: Array, gamma: Array, bias: Array, reward: Array,
    *, biased: bool, sampled: bool,
) -> Trials:  # fmt: skip
    """The bound at one pair where the equation holds; with a bias of the last layer, or with one sampled successor."""
    mean = (p[..., None] * successors).sum(axis=-2)
    at = np.argmax(p > 0, axis=-1)
    one = np.take_along_axis(successors, at[..., None, None], axis=-2)[..., 0, :]
    b = bias if biased else 0.0
    following = one if sampled else mean
    value, bound = slack(phi, following, w, gamma, dot(phi - gamma[..., None] * mean, w) + (1 - gamma) * b)
    known = 2 * gamma * np.sqrt(dot(phi, phi) * dot(following, following))  # a cosine is at most 1
    return Trials(value, bound, ROUNDING * 100, trivial=known, holds=dot(w, w) >= 0.01)


SUCCESSORS: Case = {  # two successors, equally likely, that cancel
    "phi": np.array([1.0]), "successors": np.array([[1.0], [-1.0]]), "p": np.array([0.5, 0.5]), "w": np.array([1.0]),
    "gamma": np.array(1.0), "bias": np.array(0.0), "reward": np.array(0.0),
}  # fmt: skip


def _bound_check(budget: Budget, biased: bool = False, sampled: bool = False) -> Inequality:
    many = budget.with_instances(20 * budget.instances)
    return attack(SPACE, partial(_bound, biased=biased, sampled=sampled), many, batched=True, hard=[SUCCESSORS])


def _active(
    phi: Array, successors: Array, p: Array, w: Array, gamma: Array, bias: Array, reward: Array, *, sign: float
) -> Trials:
    r""":math:`2\gamma\|\phi\|\|\bar\phi'\|(1-B)` against the reward's square less that of the norms' difference."""
    mean = (p[..., None] * successors).sum(axis=-2)
    _, bound = slack(phi, mean, w, gamma, reward)  # any reward: this is algebra
    norms = np.sqrt(dot(phi, phi)), gamma * np.sqrt(dot(mean, mean))
    stated = reward**2 / np.maximum(dot(w, w), 0.01) - (norms[0] + sign * norms[1]) ** 2
    return Trials(abs(2 * norms[0] * norms[1] - bound - stated), ROUNDING * 100)


def _active_check(budget: Budget, sign: float = -1.0) -> Identity:
    return equate(SPACE, partial(_active, sign=sign), budget.with_instances(20 * budget.instances), batched=True)


def _rewarded(
    phi: Array, successors: Array, p: Array, w: Array, gamma: Array, bias: Array, reward: Array, *, rewarded: bool
) -> Trials:
    """The largest value that a cosine could have, against the bound, whatever the features are."""
    mean = (p[..., None] * successors).sum(axis=-2)
    _, bound = slack(phi, mean, w, gamma, reward if rewarded else 0 * reward)
    largest = 2 * gamma * np.sqrt(dot(phi, phi) * dot(mean, mean))
    return Trials(largest, bound, ROUNDING * 100)


def _rewarded_check(budget: Budget, rewarded: bool = False) -> Inequality:
    many = budget.with_instances(20 * budget.instances)
    return attack(SPACE, partial(_rewarded, rewarded=rewarded), many, batched=True)


RANKS = Space(
    {"S": (1, 4)}, {"P": Simplex("SS"), "r": Box("S", -1, 1), "gamma": Box("", 0, 0.95), "error": Box("S", -1, 1)}
)


def _collinear(P: Array, r: Array, gamma: Array, error: Array, *, solved: bool) -> Trials:
    """The regulariser's largest term with features of rank one, the values themselves; or values that are off."""
    eye = np.eye(P.shape[-1])
    solution = np.linalg.solve(eye - gamma[..., None, None] * P, r[..., None])[..., 0]
    v: Array = np.asarray(solution + (0 if solved else error), float)
    mean = (P @ v[..., None])[..., 0]
    value, bound = slack(v[..., None], mean[..., None], np.ones((1,)), gamma[..., None], r)
    size = 1 + abs(v).max(axis=-1)
    return Trials((value - bound).max(axis=-1), 0.0, 4096 * EPS * size**2)


def _collinear_check(budget: Budget, solved: bool = True) -> Inequality:
    return attack(RANKS, partial(_collinear, solved=solved), budget.with_instances(5 * budget.instances), batched=True)


def _draw() -> tuple[Figure, pd.DataFrame]:
    rng, fig = np.random.default_rng(0), plt.figure(figsize=(COLUMN, 2.4))
    ax, rows, gamma = fig.subplots(), [], np.array(0.99)
    for dim, marker in ((2, "."), (8, "x")):
        phi, following, w = rng.normal(size=(3, 400, dim))
        value, bound = slack(phi, following, w, gamma, dot(phi - gamma * following, w))
        scale = 2 * gamma * np.sqrt(dot(phi, phi) * dot(following, following))
        ax.plot(bound / scale, value / scale, marker, ms=3, label=f"{dim} features")
        rows += [{"features": dim, "bound": x, "cosine": y} for x, y in zip(bound / scale, value / scale)]
    ends = np.array([-1.0, 1.0])
    ax.plot(ends, ends, color="black", lw=0.8, ls="--")
    ax.axvline(1, color="black", lw=0.8, ls=":")
    ax.set(xlabel="bound B", ylabel="cosine of consecutive features", xlim=(-1, 3), ylim=(-1, 1))
    ax.legend(loc="lower right")
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "cosine-bound",
        "Cosine of consecutive features against the bound, random critics whose Bellman equation holds: to the right "
        "of the dotted line the bound is above 1 and says nothing.",
        _draw,
    ),
)

CLAIMS = (
    claim(
        id="beer/bound",
        source="upper bound on the cosine similarity of consecutive representations (abstract; formula as released)",
        statement=r"$\cos(\phi,\bar\phi')\le B$.",
        kind=Inequality,
        premises=(CRITIC, "mean successor features, no bias"),
        check=_bound_check,
        control=partial(_bound_check, biased=True),
        control_statement="the same with a bias in the last layer, as the released program has.",
    ),
    claim(
        id="beer/bound-with-one-successor",
        source="released program (BEER.py), which has one sampled successor in the place of the mean",
        statement=r"$\cos(\phi,\phi')\le B$ with a sampled $\phi'$.",
        kind=Inequality,
        premises=(CRITIC, "no bias", RELEASED),
        check=partial(_bound_check, sampled=True),
        control=_bound_check,
        control_statement="the same with the mean of the successors' features.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="beer/when-it-binds",
        source="ours, on the bound",
        statement=r"$2\gamma\|\phi\|\|\bar\phi'\|(1-B)=r^2/\|w\|^2-(\|\phi\|-\gamma\|\bar\phi'\|)^2$: $B<1$ only if "
        r"$|r|/\|w\|>|\|\phi\|-\gamma\|\bar\phi'\||$.",
        kind=Identity,
        premises=("any reward, features and weights",),
        check=_active_check,
        control=partial(_active_check, sign=1.0),
        control_statement="the same with the sum of the norms.",
    ),
    claim(
        id="beer/no-reward-no-bound",
        source="ours, on the bound",
        statement="Without a reward $B$ is at least 1, so the regulariser is inactive whatever the features' rank.",
        kind=Inequality,
        premises=("any features and weights",),
        check=_rewarded_check,
        control=partial(_rewarded_check, rewarded=True),
        control_statement="the same with any reward.",
    ),
    claim(
        id="beer/rank-one-goes-unpunished",
        source="ours, against the control of the rank (abstract) where the Bellman equation holds",
        statement="Features of rank one that solve the Bellman equation in all states have no penalty.",
        kind=Inequality,
        premises=("the values of a policy as the only feature",),
        check=_collinear_check,
        control=partial(_collinear_check, solved=False),
        control_statement="features of rank one have none, solutions or not.",
    ),
)
