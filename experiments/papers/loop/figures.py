"""The figures: regret against its explicit bound, switches, LOOP beside its comparators, the power of the span."""

from __future__ import annotations

from math import sqrt

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from claimlab.checks import Array, Ints
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.papers.loop.common import DELTA, hub_class, jao_class, lives, watched
from claimlab.experiments.papers.loop.confidence import EPSILONS, WIDE
from claimlab.experiments.papers.loop.regret import small_class
from claimlab.experiments.papers.loop.switching import far_apart
from claimlab.experiments.style import COLUMN, OKABE_ITO, PAGE
from claimlab.mdps.average_discounted import UCLKC, GammaLSCVI
from claimlab.mdps.average_learning import AverageLearner, world
from claimlab.mdps.average_optimism import KLUCRL, UCRL2
from claimlab.mdps.instances import average_river_swim
from claimlab.mdps.loop import MLELOOP, ModelLOOP, published_width
from claimlab.mdps.loop_linear import LinearLOOP, MixtureLOOP, hard_linear_mixture, mixture_models
from claimlab.mdps.loop_tabular import TabularLOOP
from claimlab.theory.loop import likelihood_width, linear_width, model_regret, model_width


def interval(runs: Array) -> tuple[Array, Array, Array]:
    """Mean over seeds, and two standard errors to either side."""
    mean, error = runs.mean(axis=0), runs.std(axis=0, ddof=1) / sqrt(len(runs))
    return mean - 2 * error, mean, mean + 2 * error


def band(ax: Axes, times: Ints, runs: Array, label: str, colour: str) -> None:
    low, mean, high = interval(runs)
    ax.plot(times, mean, color=OKABE_ITO[colour], label=label)
    ax.fill_between(times, np.maximum(low, 1e-3), high, color=OKABE_ITO[colour], alpha=0.2, lw=0)


def rows(times: Ints, runs: Array, **columns: str) -> pd.DataFrame:
    """The numbers of a band."""
    low, mean, high = interval(runs)
    return pd.DataFrame({**columns, "t": times, "low": low, "mean": mean, "high": high})


def bound_and_regret() -> tuple[Figure, pd.DataFrame]:
    given, T = small_class(), 10**6
    span, M = given.span, given.models.size
    record = lives(ModelLOOP(given.models, model_width(span, M, T, DELTA / 2)), given.world, T, 20, 0)
    whole, t = model_regret(T, span, M, DELTA), record.times
    bound = np.array([whole.errors * sqrt(k / T) + whole.martingale + whole.telescoping for k in t])
    trivial = given.world.gain * t
    fig, ax = plt.subplots(figsize=(COLUMN, 2.5))
    vacuous = int(t[bound >= trivial].max())
    ax.axvspan(1, vacuous, color="0.93", lw=0)
    ax.text(vacuous * 0.8, 1.4, "bound vacuous", ha="right", fontsize=7, color="0.4")
    ax.plot(t, bound, color=OKABE_ITO["black"], label="explicit bound")
    ax.plot(t, trivial, "--", color="0.5", label="trivial, $J^* t$")
    band(ax, t, record.regret, "regret", "blue")
    band(ax, t, record.shortfall, "sum of gaps", "vermillion")
    ax.set(xscale="log", yscale="log", xlabel="steps $t$", ylabel="regret", xlim=(1, T), ylim=(1, 1e6))
    ax.legend(loc="upper left")
    data = pd.concat([rows(t, record.regret, curve="regret"), rows(t, record.shortfall, curve="sum of gaps")])
    return fig, data.merge(pd.DataFrame({"t": t, "bound": bound, "trivial": trivial}), on="t")


def switches() -> tuple[Figure, pd.DataFrame]:
    given, T, tables = far_apart(), 10**6, []
    fig, ax = plt.subplots(figsize=(COLUMN, 2.3))
    for scale, colour in ((1.0, "blue"), (0.1, "vermillion"), (0.01, "green")):
        learner = ModelLOOP(given.models, scale * given.width(T))
        record = lives(learner, given.world, T, 20, 0)
        counts = record.switches.astype(float)
        label = r"$\beta$" if scale == 1 else rf"$\beta/{round(1 / scale)}$"
        band(ax, record.times, counts, label, colour)
        tables.append(rows(record.times, counts, scale=str(scale)))
    bound = model_regret(T, given.span, given.models.size, 2 * DELTA).epochs
    ax.set(xscale="log", xlabel="steps $t$", ylabel="hypotheses chosen", xlim=(10, T), ylim=(0, None))
    ax.set_title(rf"12 models; the theorem allows {bound:.0f} at $\beta$")
    ax.legend(loc="upper left")
    return fig, pd.concat(tables)


def comparators() -> tuple[Figure, pd.DataFrame]:
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.6))
    T, tables = 300_000, []
    river = world(average_river_swim(6, up=0.35, down=0.05, last=0.35, small=0.005))
    d, delta, gap = 4, 0.2, 0.1
    theta, basis, r = hard_linear_mixture(d, delta, gap)
    models = mixture_models(theta, basis, r)
    span, M, pairs = models.optimal.span, models.size, r.size
    one_hot = np.eye(pairs).reshape(*r.shape, pairs)
    weight = float(np.linalg.norm(models.optimal.q.reshape(M, -1), axis=1).max())
    theta_norm, feature = float(np.linalg.norm(theta[0])), span * 3
    mixture_width = linear_width(span, 1, d, T, DELTA, weight=theta_norm, feature=feature, ridge=1.0)
    value_based = linear_width(span, M, pairs, T, DELTA, weight=weight, ridge=1.0)
    panels = (
        (
            "RiverSwim, 6 states",
            river,
            {
                "LOOP, ellipsoid": TabularLOOP(river.span, DELTA),
                r"LOOP, $\beta/10$": TabularLOOP(river.span, DELTA, scale=0.1),
                "UCRL2": UCRL2(DELTA),
                "KL-UCRL": KLUCRL(DELTA),
            },
        ),
        (
            "hard linear mixture, $d = 4$",
            world(models.mdp(5)),
            {
                "LOOP, finite class": ModelLOOP(models, model_width(span, M, T, DELTA)),
                "MLE-LOOP": MLELOOP(models, likelihood_width(M, DELTA)),
                "LOOP, ridge": MixtureLOOP(theta, basis, r, mixture_width),
                "LOOP, value-based": LinearLOOP(models.optimal, one_hot, value_based),
                "UCLK-C": UCLKC(basis, span, DELTA),
                r"$\gamma$-LSCVI-UCB, bonus/20": GammaLSCVI(one_hot, span, DELTA, scale=0.05),
            },
        ),
    )
    for ax, (title, there, learners) in zip(axes, panels):
        learner: AverageLearner
        for (name, learner), colour in zip(learners.items(), OKABE_ITO):
            record = lives(learner, there, T, 10, 0)
            band(ax, record.times, record.shortfall, name, colour)
            tables.append(rows(record.times, record.shortfall, instance=title, learner=name))
        ends = np.array([10, T])
        ax.plot(ends, ends * there.gain, "--", color="0.5", label="trivial, $J^* t$")
        ax.set(xscale="log", yscale="log", xlim=(10, T), ylim=(1, 1e6), xlabel="steps $t$", title=title)
        ax.legend(loc="upper left")
    axes[0].set_ylabel("sum of gaps")
    return fig, pd.concat(tables)


def span_powers() -> tuple[Figure, pd.DataFrame]:
    families = {
        "hub: a coin for the whole span": [hub_class(2, d, EPSILONS) for d in (0.2, 0.1, 0.05, 0.025, 0.0125)],
        "JAO: rare steps of the span": [
            jao_class(2, d, (0.5 * d, 0.25 * d, 0.75 * d, d)) for d in (0.2, 0.1, 0.05, 0.025, 0.0125)
        ],
    }
    fig, ax = plt.subplots(figsize=(COLUMN, 2.5))
    table = []
    for (name, classes), colour, delta0 in zip(families.items(), ("blue", "vermillion"), (50, 400)):
        spans, excess = [], []
        for given, delta in zip(classes, (0.2, 0.1, 0.05, 0.025, 0.0125)):
            a, _ = watched(given, int(delta0 / delta), 100, 0, scale=WIDE)
            spans.append(given.span)
            excess.append(float(a.excess.mean()))
            table.append({"family": name, "span": given.span, "mean excess": excess[-1], "runs": 100})
        ax.plot(spans, excess, "o-", color=OKABE_ITO[colour], label=name)
    x = np.array([2.0, 80.0])
    for power, exponent, style in ((2, "^2", "-"), (1, r"\,", "--")):
        width = [published_width(s, 16_000, 10, DELTA, power=power) for s in x]
        ax.plot(x, width, style, color="0.5", lw=0.8, label=rf"$\mathrm{{sp}}{exponent}\log(TN^2/\delta)$")
    ax.set(xscale="log", yscale="log", xlabel=r"span $\mathrm{sp}$", ylabel="excess loss of $f^*$")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.legend(loc="upper left")
    return fig, pd.DataFrame(table)


FIGURES = (
    PaperFigure(
        "bound-and-regret",
        r"Regret of LOOP (JAO's MDP and two decoys, mean of 20 seeds and two standard errors) against the explicit "
        r"bound that holds with probability 0.9. The bound says nothing where it exceeds the trivial $J^*t$ (shaded).",
        bound_and_regret,
    ),
    PaperFigure(
        "switches",
        r"Hypotheses chosen against steps on a logarithmic axis (mean of 20 seeds and two standard errors), at the "
        r"theorem's width and at smaller ones, for which nothing is proved.",
        switches,
    ),
    PaperFigure(
        "comparators",
        "LOOP beside algorithms for the special cases (mean of 10 seeds and two standard errors): tabular, and linear "
        "mixtures. The finite classes know the candidate models, the others only the features.",
        comparators,
    ),
    PaperFigure(
        "span-powers",
        r"How wide the confidence set must be: the mean of $\max_t L_t(f^*) - \min_g L_t(g)$ over 100 runs grows like "
        r"$\mathrm{sp}^2$ where a fair coin decides about the whole span, like $\mathrm{sp}$ on JAO's MDP. Widths "
        r"$\propto \mathrm{sp}$ are too small on the first family.",
        span_powers,
    ),
)
