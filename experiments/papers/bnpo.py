r"""Beta Normalization Policy Optimization (BNPO): advantages divided by a Beta density of the success probability.

:math:`A=(R-p)/f(p;\alpha,\beta)` with the Beta density f, where success probabilities of questions are taken as
:math:`p\sim\mathrm{Beta}(a,b)`.  The theorem's text was not at hand; it is reconstructed from the reviews and the
code, which sets :math:`\alpha=1+a/3`, :math:`\beta=1+b/3`.  Its criterion is :math:`V=E[(R-p)^2/f(p)^2]`.  The
variation of gradient norms and accuracy on tasks need a model.  A small one was trained (``claimlab lm run losses``):
ten seeds put BNPO 0.002 below GRPO, [-0.011, 0.007], which alone would refute that it beats GRPO by 0.02, but not among
all statements of the ledger.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from math import comb

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import betaln, hyp2f1

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.lm import records
from claimlab.experiments.style import PAGE
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Space

PAPER = Paper(
    slug="bnpo",
    title="BNPO: Beta Normalization Policy Optimization",
    authors="Changyi Xiao, Mengdi Zhang, Yixin Cao",
    venue="arXiv, 2025",
    arxiv="2506.02864",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

BETA = r"$p\sim\mathrm{Beta}(a,b)$ over questions, $R|p$ Bernoulli"
SCORE = "one parameter with score $R-p$ (a logistic bandit)"

WITHIN = r"$0.2\le a\le 8$, and $b$ is within a factor of 6 of $a$"

SHAPES = {"a": Box("", 0.2, 12), "b": Box("", 0.2, 12)}
# betaln of arguments below 60 is right to some tens of ulps of its largest term, log-gamma of at most 200
LOG_ERROR = 256 * EPS * 200


def log_variance(a: Array, b: Array, alpha: Array, beta: Array) -> Array:
    r""":math:`\log V=2\log B(\alpha,\beta)+\log B(a+3-2\alpha,b+3-2\beta)-\log B(a,b)`; infinite where V is."""
    first, second = a + 3 - 2 * alpha, b + 3 - 2 * beta
    finite = (first > 0) & (second > 0)
    inner = betaln(np.where(finite, first, 1.0), np.where(finite, second, 1.0))
    return np.where(finite, 2 * betaln(alpha, beta) + inner - betaln(a, b), np.inf)


def _beta_exactly(x: int, y: int) -> Fraction:
    """B(x, y) for whole numbers by expanding (1 - p)^(y-1) and integrating term by term."""
    return sum((Fraction(comb(y - 1, k) * (-1) ** k, x + k) for k in range(y)), Fraction(0))


def _closed_form(a: Array, b: Array, alpha: Array, beta: Array, *, excess: int) -> Trial | None:
    """The closed form against the integral of p(1-p)/f^2 against the law of p, for whole parameters, in logarithms."""
    A, B, x, y = (int(v) for v in (a, b, alpha, beta))
    if A + 3 - 2 * x <= 0 or B + 3 - 2 * y <= 0:
        return None
    integral = _beta_exactly(A + 3 - 2 * x, B + 3 - 2 * y) * _beta_exactly(x, y) ** 2 / _beta_exactly(A, B)
    stated = float(log_variance(*(np.array(float(v)) for v in (A + excess, B, x, y))))
    return Trial(abs(stated - float(np.log(float(integral)))), LOG_ERROR)


def _closed_form_check(budget: Budget, excess: int = 0) -> Identity:
    whole = {name: Box("", 1, 12, step=1) for name in ("a", "b")} | {
        n: Box("", 1, 6, step=1) for n in ("alpha", "beta")
    }
    return equate(Space({}, whole), partial(_closed_form, excess=excess), budget)


def _minimum(a: Array, b: Array, alpha: Array, beta: Array, *, share: float) -> Trials:
    """Logarithms, shifted by 20 so that ratios mean something: V at the stated parameters against V at any other."""
    stated = log_variance(a, b, 1 + a * share, 1 + b * share)
    other = log_variance(a, b, alpha, beta)
    return Trials(stated + 20, other + 20, 2 * LOG_ERROR)


def _minimum_check(budget: Budget, share: float = 1 / 3) -> Inequality:
    space = Space({}, SHAPES | {"alpha": Box("", 0.1, 8), "beta": Box("", 0.1, 8)})
    near = {"a": np.array(1.0), "b": np.array(1.0), "alpha": np.array(4 / 3), "beta": np.array(4 / 3)}
    many = budget.with_instances(50 * budget.instances)
    return attack(space, partial(_minimum, share=share), many, batched=True, hard=[near])


def _special(p: Array, *, root: float) -> Trial:
    r"""alpha = beta = 3/2 divides by :math:`\frac8\pi\sqrt{p(1-p)}`: GRPO up to the factor pi/8."""
    x = float(p)
    density = np.exp(0.5 * (np.log(x) + np.log1p(-x)) - betaln(1.5, 1.5))
    return Trial(abs(density - 8 / np.pi * (x * (1 - x)) ** root), 64 * EPS)


def _special_check(budget: Budget, root: float = 0.5) -> Identity:
    return equate(Space({}, {"p": Box("", 0.001, 0.999)}), partial(_special, root=root), budget)


def signal_to_noise(a: Array, b: Array, alpha: Array, beta: Array, power: float = 1.0) -> Array:
    r""":math:`(E[As])^2/E[(As)^2]` in closed form, where p has the slope :math:`p'=(p(1-p))^k` in the parameter.

    The score is :math:`s=(R-p)p'/(p(1-p))`, so :math:`E[As]=E[p'/f]` and, with :math:`v=p(1-p)`,
    :math:`E[(As)^2]=E[v^{2k-1}(1-3v)/f^2]`, all Beta integrals; `power` is k, one in a logistic bandit.
    """
    scale, k = betaln(alpha, beta), power
    first, second = a + 2 * k + 1 - 2 * alpha, b + 2 * k + 1 - 2 * beta
    finite = (first > 0) & (second > 0)
    first, second = np.where(finite, first, 1.0), np.where(finite, second, 1.0)
    mean = scale + betaln(*(np.where(finite, x + k + 1 - y, 1.0) for x, y in ((a, alpha), (b, beta)))) - betaln(a, b)
    moment = np.exp(betaln(first, second)) - 3 * np.exp(betaln(first + 1, second + 1))
    ratio = np.exp(2 * (mean - scale) + betaln(a, b)) / moment
    return np.where(finite, ratio, 0.0)


FACTOR = 6.0  # on a fine grid REINFORCE wins up to 6.4, and loses by at most 9 % beyond


def _precision(a: Array, skew: Array, *, reverse: bool) -> Trials:
    ones, b = np.ones_like(a), a * np.exp(skew)
    plain, bnpo = signal_to_noise(a, b, ones, ones), signal_to_noise(a, b, 1 + a / 3, 1 + b / 3)
    value, bound = (bnpo, plain) if reverse else (plain, bnpo)
    return Trials(value, bound, 1e-9)  # twelve betaln of error below 1e-11 each, and ratios of at most 1


def _precision_check(budget: Budget, reverse: bool = False, factor: float = FACTOR) -> Inequality:
    space = Space({}, {"a": Box("", 0.2, 8), "skew": Box("", -np.log(factor), np.log(factor))})
    hard = [{"a": np.array(x), "skew": np.log(y / x)} for x, y in ((1.0, 1.0), (5.0, 5.0), (1.0, 4.0), (0.5, 0.5))]
    many = budget.with_instances(50 * budget.instances)
    return attack(space, partial(_precision, reverse=reverse), many, batched=True, hard=hard)


def _slopes(a: Array, skew: Array, flat: Array, *, reverse: bool) -> Trials:
    ones, b = np.ones_like(a), a * np.exp(skew)
    pair = []
    for alpha, beta in ((ones, ones), (1 + a / 3, 1 + b / 3)):
        both = (signal_to_noise(a, b, alpha, beta, k) for k in (0.5, 0.0))
        pair.append(np.where(flat > 0.5, *reversed(list(both))))
    plain, bnpo = pair
    return Trials(*((plain, bnpo) if reverse else (bnpo, plain)), 1e-9)


def _slopes_check(budget: Budget, reverse: bool = False) -> Inequality:
    fields = {"a": Box("", 0.2, 8), "skew": Box("", -np.log(FACTOR), np.log(FACTOR)), "flat": Box("", 0, 1, step=1)}
    many = budget.with_instances(20 * budget.instances)
    return attack(Space({}, fields), partial(_slopes, reverse=reverse), many, batched=True)


def matched(mean: Fraction, variance: Fraction) -> tuple[Fraction, Fraction]:
    """The method of moments of the released code: a and b of a Beta law with this mean and variance."""
    total = mean * (1 - mean) / variance - 1
    return total * mean, total * (1 - mean)


def _shrinkage(a: Array, b: Array, G: Array, *, exact: bool) -> Trial:
    """What moment matching makes of the law of the *means of G rewards*, in rationals."""
    x, y, size = (Fraction(float(v)).limit_denominator(1000) for v in (a, b, G))
    total = x + y
    mean, variance = x / total, x * y / (total**2 * (total + 1))
    noise = (mean * (1 - mean) - variance) / size  # E p(1-p)/G
    found = sum(matched(mean, variance + noise))
    stated = total if exact else total * (1 - 1 / size) / (1 + total / size)
    return Trial(float(abs(found - stated)), 0.0)


def _shrinkage_check(budget: Budget, exact: bool = False) -> Identity:
    space = Space({}, SHAPES | {"G": Box("", 2, 64, step=1)})
    return equate(space, partial(_shrinkage, exact=exact), budget, proof="rational")


def _convex(a: Array, b: Array, alpha: Array, beta: Array, other: Array, more: Array, *, sign: float) -> Trials:
    """log V at the middle of two points against the mean of log V there, shifted by 40; infinite ends say nothing."""
    ends = log_variance(a, b, alpha, beta), log_variance(a, b, other, more)
    middle = log_variance(a, b, (alpha + other) / 2, (beta + more) / 2)
    finite = np.isfinite(ends[0]) & np.isfinite(ends[1])
    pair = np.where(finite, middle, 0), np.where(finite, (ends[0] + ends[1]) / 2, 0)
    return Trials(40 + sign * pair[0], 40 + sign * pair[1], 4 * LOG_ERROR, holds=finite)


def _convex_check(budget: Budget, sign: float = 1.0) -> Inequality:
    points = {name: Box("", 0.1, 8) for name in ("alpha", "beta", "other", "more")}
    many = budget.with_instances(20 * budget.instances)
    return attack(Space({}, SHAPES | points), partial(_convex, sign=sign), many, batched=True)


def _plain(p: Array, r: Array, alpha: Array, *, normalised: bool) -> Trial:
    """BNPO's advantage with a flat density (or alpha = beta) against the reward less its mean."""
    x, shape = float(p), float(alpha) if normalised else 1.0
    density = np.exp((shape - 1) * (np.log(x) + np.log1p(-x)) - betaln(shape, shape))
    return Trial(abs((float(r) - x) / density - (float(r) - x)), 64 * EPS)


def _plain_check(budget: Budget, normalised: bool = False) -> Identity:
    fields = {"p": Box("", 0.001, 0.999), "r": Box("", 0, 1, step=1), "alpha": Box("", 1.2, 2)}
    return equate(Space({}, fields), partial(_plain, normalised=normalised), budget)


def _objective(theta: Array, alpha: Array, beta: Array, *, power: float) -> Trial:
    r"""The expected direction in a logistic bandit against the derivative of F(p), both over B(alpha, beta).

    :math:`\int_0^pt^{c-1}(1-t)^{d-1}dt=\frac{p^c}c{}_2F_1(c,1-d;c+1;p)` with :math:`c=2-\alpha`, :math:`d=2-\beta`, by
    a complex step.
    """
    x, step = float(theta), 1e-20
    p = 1 / (1 + np.exp(-(x + 1j * step)))
    c, d = 2 - float(alpha), 2 - float(beta)
    F = p**c / c * hyp2f1(c, 1 - d, c + 1, p)
    q = p.real
    found = sum(w * (r - q) * q ** (c - 1) * (1 - q) ** (d - 1) * (r - q) for r, w in ((1, q), (0, 1 - q)))
    return Trial(abs(found - power * F.imag / step), 1e-10)


def _objective_check(budget: Budget, power: float = 1.0) -> Identity:
    space = Space({}, {"theta": Box("", -3, 2), "alpha": Box("", 1, 1.9), "beta": Box("", 1, 1.9)})
    return equate(space, partial(_objective, power=power), budget)


def released_parameters(means: Array) -> tuple[float, float]:
    """alpha and beta of a batch from the groups' means, as released: moments, a third of them, at least one."""
    mean, variance = means.mean(), means.var(ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = mean * (1 - mean) / variance - 1
        alpha, beta = (float(np.maximum(1 + total * share / 3, 1.0)) for share in (mean, 1 - mean))
    return alpha, beta


def _finite(means: Array, *, spread: bool) -> Trial | None:
    """How many of alpha and beta are no numbers; `spread` leaves out batches whose groups are all alike."""
    if spread and np.ptp(means) == 0:
        return None
    return Trial(float(sum(not np.isfinite(x) for x in released_parameters(means))), 0.0)


def _finite_check(budget: Budget, spread: bool = False) -> Identity:
    space = Space({"Q": (2, 5)}, {"means": Box("Q", 0, 1)})
    return equate(space, partial(_finite, spread=spread), budget, hard=[{"means": np.array([0.5, 0.5])}])


def _degenerate(right: Array, *, mixed: bool) -> Trial | None:
    """alpha and beta of a batch of all-right and all-wrong groups against one and one; not `mixed`: one in between."""
    means = right.copy() if mixed else np.append(right, 0.5)
    if np.ptp(means) == 0 or len(means) < 2:
        return None
    alpha, beta = released_parameters(means)
    return Trial(max(abs(alpha - 1), abs(beta - 1)), 64 * EPS)


def _degenerate_check(budget: Budget, mixed: bool = True) -> Identity:
    return equate(Space({"Q": (2, 8)}, {"right": Box("Q", 0, 1, step=1)}), partial(_degenerate, mixed=mixed), budget)


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.4))
    grid = np.linspace(0.3, 2.4, 141)
    alpha, beta = np.meshgrid(grid, grid, indexing="ij")
    a, b = np.array(2.0), np.array(1.0)
    surface = log_variance(a, b, alpha, beta)
    shown = left.contourf(
        grid, grid, np.where(np.isfinite(surface), surface, np.nan).T, levels=np.arange(-2.4, 2.1, 0.4)
    )
    fig.colorbar(shown, ax=left, label=r"$\log V$")
    left.plot([1 + 2 / 3], [1 + 1 / 3], "*", color="white", ms=9)
    left.plot([1], [1], "o", color="white", ms=4)
    left.plot([1.5], [1.5], "s", color="white", ms=4)
    for text, at in (("BNPO", (1.67, 1.41)), ("REINFORCE", (0.72, 0.82)), ("GRPO", (1.53, 1.56))):
        left.annotate(text, at, color="white", fontsize=6)
    left.set(xlabel="α", ylabel="β", title="a = 2, b = 1; blank: V is infinite")
    shapes = np.geomspace(0.2, 12, 80)
    rows = [{"panel": "log V", "x": x, "y": y, "value": surface[i, j]} for i, x in enumerate(grid[::10])
            for j, y in enumerate(grid[::10])]  # fmt: skip
    one = np.ones_like(shapes)
    for label, parameters in (
        ("REINFORCE with baseline", (one, one)),
        ("BNPO", (1 + shapes / 3, 1 + shapes / 3)),
        ("GRPO", (1.5 * one, 1.5 * one)),
    ):
        y = signal_to_noise(shapes, shapes, *parameters)
        right.plot(shapes, y, label=label)
        rows += [{"panel": label, "x": x, "y": np.nan, "value": v} for x, v in zip(shapes, y)]
    right.set(xscale="log", xlabel="a = b", ylabel="signal-to-noise ratio", ylim=(0, 1), title="a logistic bandit")
    right.legend()
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "variance-and-precision",
        r"Left: the criterion $\log V$ of the theorem, least at $\alpha=1+a/3$, $\beta=1+b/3$. Right: but the signal "
        r"shrinks "
        r"with the noise: in a logistic bandit plain REINFORCE with a baseline has the higher signal-to-noise ratio.",
        _draw,
    ),
    PaperFigure(
        "small-model",
        "A small transformer that is paid for sorting three digits: mean score over ten seeds with 95 % "
        'intervals.  "BNPO, a = b = 0" is provably REINFORCE here.',
        partial(records.drawn, "losses"),
    ),
)

CLAIMS = (
    claim(
        id="bnpo/variance-closed-form",
        source="the theorem on the variance, reconstructed",
        statement=r"$E[(R-p)^2/f(p;\alpha,\beta)^2]=B(\alpha,\beta)^2\,B(a+3-2\alpha,b+3-2\beta)/B(a,b)$, finite iff "
        r"$\alpha<\frac{a+3}{2}$ and $\beta<\frac{b+3}{2}$.",
        kind=Identity,
        premises=(BETA, "whole parameters, where the integral is a polynomial's"),
        check=_closed_form_check,
        control=partial(_closed_form_check, excess=1),
        control_statement=r"the same with $a+1$ for $a$.",
    ),
    claim(
        id="bnpo/minimal-variance",
        source="the theorem on the variance, reconstructed",
        statement=r"The variance is least at $\alpha=1+\frac a3$, $\beta=1+\frac b3$.",
        kind=Inequality,
        premises=(BETA, "the score is uncorrelated with the normalised reward, as the theorem supposes"),
        check=_minimum_check,
        control=partial(_minimum_check, share=0.3),
        control_statement=r"the same at $\alpha=1+0.3a$, $\beta=1+0.3b$.",
    ),
    claim(
        id="bnpo/contains-grpo",
        source="abstract",
        statement=r"$\alpha=\beta=\frac32$ is GRPO up to the factor $\pi/8$: $f(p)=\frac8\pi\sqrt{p(1-p)}$.",
        kind=Identity,
        premises=("population standard deviation, no epsilon",),
        check=_special_check,
        control=partial(_special_check, root=0.51),
        control_statement=r"the same with the power $0.51$ for the root.",
    ),
    claim(
        id="bnpo/more-precise",
        source="abstract (more precise and stable gradient estimation), in a logistic bandit",
        statement=r"BNPO's gradient estimate has at least the signal-to-noise ratio of REINFORCE with the baseline "
        r"$p$.",
        kind=Inequality,
        premises=(BETA, SCORE, r"$\alpha=1+a/3$, $\beta=1+b/3$ with $a,b$ known", WITHIN),
        check=_precision_check,
        control=partial(_precision_check, reverse=True),
        control_statement="REINFORCE with the baseline has at least BNPO's.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="bnpo/less-precise",
        source="ours, on the abstract",
        statement=r"REINFORCE with the baseline $p$ has at least BNPO's signal-to-noise ratio unless questions are "
        r"very "
        r"lopsided: the criterion of the theorem is not free of scale.",
        kind=Inequality,
        premises=(BETA, SCORE, WITHIN),
        check=partial(_precision_check, reverse=True),
        control=partial(_precision_check, reverse=True, factor=40.0),
        control_statement="the same where $a$ and $b$ differ by up to a factor of 40 (there BNPO gains up to 9 "
        "percent).",
    ),
    claim(
        id="bnpo/moments-shrink",
        source="ours, on the released code",
        statement=r"Matching moments of the group means finds $a+b$ too small: $(a+b)\frac{1-1/G}{1+(a+b)/G}$.",
        kind=Identity,
        premises=(BETA, "groups of $G$ answers, infinitely many questions"),
        check=_shrinkage_check,
        control=partial(_shrinkage_check, exact=True),
        control_statement=r"it finds $a+b$.",
    ),
    claim(
        id="bnpo/variance-is-log-convex",
        source="ours, on the theorem on the variance",
        statement=r"$\log V$ is convex in $(\alpha,\beta)$: the stationary point is the only minimum.",
        kind=Inequality,
        premises=(BETA, "midpoints of parameters with finite variance"),
        check=_convex_check,
        control=partial(_convex_check, sign=-1.0),
        control_statement="it is concave.",
    ),
    claim(
        id="bnpo/contains-reinforce",
        source="abstract",
        statement=r"$\alpha=\beta=1$ is REINFORCE with the baseline $p$.",
        kind=Identity,
        premises=("one reward in {0, 1}",),
        check=_plain_check,
        control=partial(_plain_check, normalised=True),
        control_statement=r"$\alpha=\beta>1$ is.",
    ),
    claim(
        id="bnpo/less-precise-for-other-scores",
        source="ours, on the abstract",
        statement=r"REINFORCE with the baseline has at least BNPO's signal-to-noise ratio too where $p$ has the slope "
        r"$\sqrt{p(1-p)}$ or constant.",
        kind=Inequality,
        premises=(BETA, r"one parameter with score $(R-p)\,p'/(p(1-p))$", WITHIN),
        check=_slopes_check,
        control=partial(_slopes_check, reverse=True),
        control_statement="BNPO has at least that of REINFORCE.",
    ),
    claim(
        id="bnpo/ascends-another-objective",
        source="ours, on the advantage",
        statement=r"The expected direction is that of $F(p)=B(\alpha,\beta)\int_0^pt^{1-\alpha}(1-t)^{1-\beta}dt$ and "
        r"not that of $p$: every batch, with its $\alpha$ and $\beta$, has an objective of its own.",
        kind=Identity,
        premises=("a logistic bandit, exact $p$", r"$1\le\alpha,\beta<2$"),
        check=_objective_check,
        control=partial(_objective_check, power=1.01),
        control_statement=r"it is that of $1.01\,F$.",
    ),
    claim(
        id="bnpo/released-parameters-are-finite",
        source="the released code (moments of a batch)",
        statement=r"$\alpha$ and $\beta$ of every batch are numbers.",
        kind=Identity,
        premises=("at least two prompts", r"$\alpha=\max(1,1+\frac13(\frac{m(1-m)}{v}-1)m)$, $v$ unbiased"),
        check=_finite_check,
        control=partial(_finite_check, spread=True),
        control_statement="the same where the groups' means are not all equal.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="bnpo/finite-with-spread",
        source="ours, corrects the last",
        statement="They are where the groups' means are not all equal.",
        kind=Identity,
        premises=("at least two prompts",),
        check=partial(_finite_check, spread=True),
        control=_finite_check,
        control_statement="they always are.",
    ),
    claim(
        id="bnpo/degenerate-batches-are-plain",
        source="ours, on the released code",
        statement=r"If all groups are all right or all wrong, some of each, then $\alpha=\beta=1$: plain REINFORCE.",
        kind=Identity,
        premises=("two to eight prompts",),
        check=_degenerate_check,
        control=partial(_degenerate_check, mixed=False),
        control_statement="the same with one more group, half right.",
    ),
)
