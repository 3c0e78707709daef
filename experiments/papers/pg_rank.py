r"""Neural PG-RANK: policy gradient on rankings drawn from a Plackett-Luce law.

:math:`\pi(\sigma)=\prod_i\frac{e^{s_{\sigma_i}}}{\sum_{j\ge i}e^{s_{\sigma_j}}}`, and the utility is a discounted gain
:math:`\Delta(\sigma)=\sum_i d_i\,g_{\sigma_i}`.  Estimators of :math:`\nabla_s E\Delta`: REINFORCE,
:math:`\Delta\nabla\log\pi`, with a leave-one-out baseline, and with reward-to-go (the choice at position k is credited
with the gains from k on).  All rankings of up to four documents are enumerated.  Ranking by an encoder against InfoNCE
needs a model; a character model that orders digits gains too little for its arms to differ (``claimlab lm run
pg-rank``: 0.01 NDCG).
"""

from __future__ import annotations

from functools import lru_cache, partial
from itertools import permutations
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array, Ints
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.lm import records
from claimlab.experiments.style import PAGE
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Identity, Inequality, Probability, probability
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.spaces import Box, Space

PAPER = Paper(
    slug="pg-rank",
    title="Policy-Gradient Training of Language Models for Ranking",
    authors="Ge Gao, Jonathan D. Chang, Claire Cardie, Kiante Brantley, Thorsten Joachims",
    venue="arXiv, 2023",
    arxiv="2310.04407",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

LAW = "Plackett-Luce law of rankings of up to four documents, enumerated"
GAIN = r"utility $\sum_i d_i g_{\sigma_i}$ with $d_i=1/\log_2(i+1)$, gains in [0, 1]"

SPACE = Space({"D": (1, 4)}, {"s": Box("D", -3, 3), "g": Box("D", 0, 1)})
COMPLEX_STEP = 1e-30


def discounts(D: int) -> Array:
    return 1 / np.log2(np.arange(2, D + 2))


@lru_cache(maxsize=8)
def rankings(D: int) -> Ints:
    return np.array(list(permutations(range(D))))


def law(s: Any) -> Array:
    """The probability of each ranking, in the order of :func:`rankings`; also of complex scores."""
    weights = np.exp(s - s.real.max())[rankings(len(s))]
    tails = weights[:, ::-1].cumsum(axis=1)[:, ::-1]
    out: Array = (weights / tails).prod(axis=1)
    return out


def scores(s: Array) -> Array:
    """The gradient of the log-probability of each choice, float[rankings, positions, documents]."""
    D, order = len(s), rankings(len(s))
    chosen = np.eye(D)[order]
    left = chosen[:, ::-1].cumsum(axis=1)[:, ::-1]  # who is left at each position
    weights = left * np.exp(s - s.max())
    return chosen - weights / weights.sum(axis=2, keepdims=True)


def gradient(s: Array, g: Array, d: Array) -> Array:
    """The gradient of the expected utility by complex steps: exact to rounding."""
    utility = (g[rankings(len(s))] * d).sum(axis=1)
    steps = [(law(s + 1j * COMPLEX_STEP * e) * utility).sum().imag / COMPLEX_STEP for e in np.eye(len(s))]
    return np.array(steps)


def estimates(s: Array, g: Array, d: Array, kind: str, *, late: int = 0) -> Array:
    """The estimate that each ranking gives, float[rankings, documents]."""
    gains = g[rankings(len(s))] * d
    if kind == "to-go":
        to_go = gains[:, ::-1].cumsum(axis=1)[:, ::-1]
        credit = np.roll(to_go, -late, axis=1) * (np.arange(len(s)) < len(s) - late)
    else:
        credit = np.repeat(gains.sum(axis=1, keepdims=True), len(s), axis=1)
    return np.asarray((credit[:, :, None] * scores(s)).sum(axis=1))


def _unbiased(s: Array, g: Array, *, kind: str, late: int) -> Trial:
    d = discounts(len(s))
    found = (law(s)[:, None] * estimates(s, g, d, kind, late=late)).sum(axis=0)
    return Trial(float(abs(found - gradient(s, g, d)).max()), 4096 * EPS)


def _unbiased_check(budget: Budget, kind: str, late: int = 0) -> Identity:
    return equate(SPACE, partial(_unbiased, kind=kind, late=late), budget)


def _leave_one_out(s: Array, g: Array, *, own: bool) -> Trial:
    """Two rankings, each with the other's utility as its baseline; `own` has the mean of both."""
    d, p = discounts(len(s)), law(s)
    utility, total = (g[rankings(len(s))] * d).sum(axis=1), scores(s).sum(axis=1)
    mean = p @ utility
    # the expectation over the other ranking is explicit: E[(u - u') score] = E[u score] - E[u'] E[score]
    paired = np.einsum("i,j,ij,ik->k", p, p, (utility[:, None] - utility[None, :]) * (0.5 if own else 1.0), total)
    return Trial(float(abs(paired - gradient(s, g, d)).max()), 4096 * EPS * (1 + mean))


def _leave_one_out_check(budget: Budget, own: bool = False) -> Identity:
    return equate(SPACE, partial(_leave_one_out, own=own), budget)


def _truncated(s: Array, g: Array, k: Array, *, keep: bool) -> Trial | None:
    """With gains at the first k positions only, choices beyond k can be dropped, or (`not keep`) one too many are."""
    D, cut = len(s), int(k)
    if cut > D:
        return None
    d = discounts(D) * (np.arange(D) < cut)
    utility, parts = (g[rankings(D)] * d).sum(axis=1), scores(s)
    kept = parts[:, : cut if keep else cut - 1].sum(axis=1)
    found = (law(s)[:, None] * utility[:, None] * kept).sum(axis=0)
    return Trial(float(abs(found - gradient(s, g, d)).max()), 4096 * EPS)


def _truncated_check(budget: Budget, keep: bool = True) -> Identity:
    space = Space({"D": (1, 4)}, {"s": Box("D", -3, 3), "g": Box("D", 0, 1), "k": Box("", 1, 4, step=1)})
    return equate(space, partial(_truncated, keep=keep), budget)


def variance(s: Array, g: Array, kind: str, centred: bool = False) -> float:
    """The trace of the covariance of an estimate; `centred` subtracts the expected utility first."""
    d, p = discounts(len(s)), law(s)
    found = estimates(s, g, d, kind)
    if centred:
        utility = (g[rankings(len(s))] * d).sum(axis=1)
        found = (utility - p @ utility)[:, None] * scores(s).sum(axis=1)
    return float((p[:, None] * (found - p @ found) ** 2).sum())


def _variance(s: Array, g: Array) -> Trial:
    return Trial(variance(s, g, "to-go"), variance(s, g, "plain"), 4096 * EPS)


def _variance_check(budget: Budget, least: float = 0.0) -> Inequality:
    space = Space({"D": (1, 4)}, {"s": Box("D", -6, 6), "g": Box("D", least, 1)})
    return attack(space, _variance, budget.with_instances(4 * budget.instances))


def _best_order(s: Array, g: Array, *, reverse: bool) -> Trial:
    """Expected gain of the order of the scores' own best ranking against that of any law: sorted gains are best."""
    d, order = discounts(len(s)), np.argsort(g if reverse else -g, kind="stable")
    return Trial(float(law(s) @ (g[rankings(len(s))] * d).sum(axis=1)), float(g[order] @ d), 64 * EPS)


def _best_order_check(budget: Budget, reverse: bool = False) -> Inequality:
    return attack(SPACE, partial(_best_order, reverse=reverse), budget.with_instances(4 * budget.instances))


def _gumbel_check(budget: Budget, scale: float = 1.0) -> Probability:
    """Sorting scores plus Gumbel noise: a chi-square test of its frequencies at level 1e-3, over random scores."""
    from scipy.stats import chisquare

    runs, samples, rng = {"smoke": 200, "standard": 600}.get(budget.name, 2_000), 20_000, budget.rng("gumbel")
    failures, level = 0, 0.1
    index = {tuple(order): i for i, order in enumerate(rankings(3).tolist())}
    for _ in range(runs):
        s = rng.uniform(-1, 1, size=3)
        drawn = np.argsort(-(s + scale * rng.gumbel(size=(samples, 3))), axis=1)
        codes = drawn @ np.array([9, 3, 1])
        counts = np.array([(codes == np.array(order) @ np.array([9, 3, 1])).sum() for order in index])
        failures += chisquare(counts, samples * law(s)).pvalue < 1e-3
    return probability(int(failures), runs, level)


def paired_variance(s: Array, g: Array, loo: bool) -> float:
    """The trace of the covariance of the mean of two estimates, with each other's utility as baseline or without."""
    d, p = discounts(len(s)), law(s)
    utility, total = (g[rankings(len(s))] * d).sum(axis=1), scores(s).sum(axis=1)
    weighted = utility[:, None] * total
    if not loo:
        return float((p[:, None] * (weighted - p @ weighted) ** 2).sum() / 2)
    # the mean of the pair is (u - u')(t - t')/2
    gap, apart = np.subtract.outer(utility, utility), total[:, None, :] - total[None]
    square = (np.multiply.outer(p, p) * gap**2 * (apart**2).sum(axis=2)).sum() / 4
    return float(square - ((p @ weighted) ** 2).sum())


def _paired(s: Array, g: Array) -> Trial:
    return Trial(paired_variance(s, g, True), paired_variance(s, g, False), 4096 * EPS)


def _paired_check(budget: Budget, least: float = 0.0) -> Inequality:
    space = Space({"D": (1, 4)}, {"s": Box("D", -3, 3), "g": Box("D", least, 1)})
    rare = {"s": np.array([3.0, -3.0]), "g": np.array([0.0, 1.0])}
    return attack(space, _paired, budget, hard=[rare])


def _shifted(s: Array, g: Array, c: Array, *, scale: bool) -> Trial:
    """The law after a constant was added to all scores, or after they were all multiplied."""
    moved = s * (1 + abs(float(c))) if scale else s + float(c)
    return Trial(float(abs(law(moved) - law(s)).max()), 256 * EPS)


def _shifted_check(budget: Budget, scale: bool = False) -> Identity:
    space = Space({"D": (1, 4)}, {"s": Box("D", -3, 3), "g": Box("D", 0, 1), "c": Box("", -5, 5)})
    return equate(space, partial(_shifted, scale=scale), budget)


def _total(s: Array, g: Array, *, tails: bool) -> Trial:
    """The sum of the law over all rankings; without `tails` every choice is normalised over all documents."""
    weights = np.exp(s - s.max())[rankings(len(s))]
    p = law(s) if tails else (weights / weights.sum(axis=1, keepdims=True)).prod(axis=1)
    return Trial(abs(float(p.sum()) - 1), 256 * EPS)


def _total_check(budget: Budget, tails: bool = True) -> Identity:
    return equate(SPACE, partial(_total, tails=tails), budget)


def _draw() -> tuple[Figure, pd.DataFrame]:
    rng, rows = np.random.default_rng(0), []
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.4))
    for _ in range(400):
        s, g = rng.normal(size=4), rng.random(4)
        plain = variance(s, g, "plain")
        rows.append(
            {"plain": plain, "to-go": variance(s, g, "to-go"), "baseline": variance(s, g, "plain", centred=True)}
        )
    data = pd.DataFrame(rows)
    ends = np.array([1e-4, data["plain"].max() * 1.5])
    for ax, column, title in ((left, "to-go", "reward-to-go"), (right, "baseline", "baseline: the expected utility")):
        ax.plot(data["plain"], data[column], ".", ms=2)
        ax.plot(ends, ends, color="black", lw=0.8, ls="--")
        ax.set(
            xlabel="variance of REINFORCE",
            ylabel="variance",
            title=title,
            xscale="log",
            yscale="log",
            xlim=(0.05, ends[1]),
            ylim=ends,
        )
    return fig, data


FIGURES = (
    PaperFigure(
        "variances",
        r"Variance (trace of the covariance) of gradient estimates of the expected discounted gain over 400 random "
        r"scores and "
        r"gains of four documents, exactly: a baseline brings more than reward-to-go.",
        _draw,
    ),
    PaperFigure(
        "small-model",
        "NDCG of a small transformer that orders four digits, all arms at the highest rate tried: mean over ten seeds "
        "with 95 % intervals.  Without its clip the loss is provably the same here.",
        partial(records.drawn, "pg-rank"),
    ),
)

CLAIMS = (
    claim(
        id="pg-rank/reinforce-is-unbiased",
        source="abstract; Section 3",
        statement=r"$E[\Delta(\sigma)\nabla\log\pi(\sigma)]=\nabla E\Delta$.",
        kind=Identity,
        premises=(LAW, GAIN),
        check=partial(_unbiased_check, kind="plain"),
        control=partial(_unbiased_check, kind="to-go", late=1),
        control_statement="the same when each choice is credited with the gains after it only.",
    ),
    claim(
        id="pg-rank/reward-to-go-is-unbiased",
        source="Section 3 (reward-to-go)",
        statement=r"Crediting the choice at each position with the gains from there on is unbiased.",
        kind=Identity,
        premises=(LAW, GAIN),
        check=partial(_unbiased_check, kind="to-go"),
        control=partial(_unbiased_check, kind="to-go", late=1),
        control_statement="the same with the gains after it only.",
    ),
    claim(
        id="pg-rank/leave-one-out-is-unbiased",
        source="Section 3 (baseline)",
        statement=r"With the utility of the other of two rankings as baseline the estimate is unbiased.",
        kind=Identity,
        premises=(LAW, GAIN),
        check=_leave_one_out_check,
        control=partial(_leave_one_out_check, own=True),
        control_statement="the same with the mean of both rankings, the own one included.",
    ),
    claim(
        id="pg-rank/truncation",
        source="Section 3 (utilities at k)",
        statement=r"If only the first $k$ positions pay, choices beyond them can be left out of the gradient.",
        kind=Identity,
        premises=(LAW, GAIN),
        check=_truncated_check,
        control=partial(_truncated_check, keep=False),
        control_statement=r"the choice at position $k$ can be left out too.",
    ),
    claim(
        id="pg-rank/reward-to-go-lowers-variance",
        source="Section 3 (reward-to-go)",
        statement=r"Reward-to-go never has a larger variance than REINFORCE.",
        kind=Inequality,
        premises=(LAW, GAIN, "trace of the covariance"),
        check=_variance_check,
        control=partial(_variance_check, least=-1.0),
        control_statement="the same for gains of either sign.",
    ),
    claim(
        id="pg-rank/best-order",
        source="Section 3 (utility)",
        statement=r"No law of rankings has a larger expected gain than the order of the gains.",
        kind=Inequality,
        premises=(LAW, GAIN),
        check=_best_order_check,
        control=partial(_best_order_check, reverse=True),
        control_statement="than the reverse order.",
    ),
    claim(
        id="pg-rank/gumbel-sort",
        source="Section 3 (sampling)",
        statement=r"Sorting scores plus Gumbel noise draws from the Plackett-Luce law: a chi-square test at level "
        r"$10^{-3}$ on "
        r"20000 rankings rejects with probability at most 0.1.",
        kind=Probability,
        premises=("three documents, random scores",),
        check=_gumbel_check,
        control=partial(_gumbel_check, scale=1.2),
        control_statement="the same with noise that is a fifth too large.",
    ),
    claim(
        id="pg-rank/law-sums-to-one",
        source="Section 3 (the ranking policy)",
        statement="The probabilities of all rankings sum to one.",
        kind=Identity,
        premises=(LAW,),
        check=_total_check,
        control=partial(_total_check, tails=False),
        control_statement="the same when each choice is normalised over all documents.",
    ),
    claim(
        id="pg-rank/scores-up-to-a-constant",
        source="ours, on Section 3 (the ranking policy)",
        statement="A constant added to all scores does not change the law.",
        kind=Identity,
        premises=(LAW,),
        check=_shifted_check,
        control=partial(_shifted_check, scale=True),
        control_statement="a common factor does not.",
    ),
    claim(
        id="pg-rank/leave-one-out-lowers-variance",
        source="Section 3 (baseline)",
        statement="The mean of two leave-one-out estimates never has a larger variance than that of two of REINFORCE.",
        kind=Inequality,
        premises=(LAW, GAIN, "trace of the covariance, all pairs of rankings"),
        check=_paired_check,
        control=partial(_paired_check, least=-1.0),
        control_statement="the same for gains of either sign.",
    ),
)
