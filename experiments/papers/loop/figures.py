"""The figures: regret against its bound, switches, the size of the class, LOOP beside its comparators, the span."""

from __future__ import annotations

from collections.abc import Callable
from math import log, sqrt

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
from claimlab.experiments.papers.loop.growth import crowded
from claimlab.experiments.papers.loop.regret import small_class
from claimlab.experiments.papers.loop.switching import far_apart
from claimlab.experiments.papers.loop.variants import linear_loop, mixture, mixture_loop, one_hot
from claimlab.experiments.style import COLUMN, OKABE_ITO, PAGE
from claimlab.mdps.average_discounted import UCLKC, GammaLSCVI
from claimlab.mdps.average_learning import AverageLearner, world
from claimlab.mdps.average_optimism import KLUCRL, UCRL2
from claimlab.mdps.instances import average_river_swim
from claimlab.mdps.loop import MLELOOP, ModelLOOP, published_width
from claimlab.mdps.loop_tabular import TabularLOOP
from claimlab.theory.loop import likelihood_width, model_regret, model_width

Bounds = dict[str, Callable[[Array], Array]]  # by label, of the steps


def interval(runs: Array) -> tuple[Array, Array, Array]:
    """Mean over seeds, and two standard errors to either side."""
    mean, error = runs.mean(axis=0), runs.std(axis=0, ddof=1) / sqrt(len(runs))
    return mean - 2 * error, mean, mean + 2 * error


def band(ax: Axes, times: Ints | Array, runs: Array, label: str, colour: str) -> None:
    low, mean, high = interval(runs)
    ax.plot(times, mean, color=OKABE_ITO[colour], label=label)
    ax.fill_between(times, np.maximum(low, 1e-3), high, color=OKABE_ITO[colour], alpha=0.2, lw=0)


def rows(times: Ints | Array, runs: Array, **columns: str) -> pd.DataFrame:
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
    ax.axhline(bound, color=OKABE_ITO["black"], label=r"bound at $\beta$")
    ax.plot([1, 1e3], [1, 1e3], "--", color="0.5", label="trivial, $t$")
    ax.axvspan(1, bound, color="0.93", lw=0)
    ax.text(bound * 0.8, bound * 1.2, "bound vacuous", ha="right", fontsize=7, color="0.4")
    ax.set(xscale="log", yscale="log", xlabel="steps $t$", ylabel="hypotheses chosen", xlim=(1, T), ylim=(0.9, 3e4))
    ax.legend(loc="upper right", ncols=2)
    return fig, pd.concat(tables).assign(bound=bound)


def class_size() -> tuple[Figure, pd.DataFrame]:
    sizes, T, runs = np.array([10, 30, 100, 300, 1000]), 2**15, 40
    lost, chosen, tables, there = [], [], [], crowded(int(sizes[0]))  # span and gain are those of all sizes
    for size in sizes:
        given = crowded(int(size))
        record = lives(ModelLOOP(given.models, given.width(T)), given.world, T, runs, 0)
        lost.append(record.shortfall[:, -1])
        chosen.append(record.switches[:, -1].astype(float))
    fine = np.geomspace(sizes[0], sizes[-1], 61).round().astype(int)
    bounds = [model_regret(T, there.span, int(size), 2 * DELTA) for size in fine]
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.4))
    for ax, y, name, bound, trivial in (
        (axes[0], np.array(lost).T, "sum of gaps", np.array([b.total for b in bounds]), T * there.world.gain),
        (axes[1], np.array(chosen).T, "hypotheses chosen", np.array([b.epochs for b in bounds]), float(T)),
    ):
        band(ax, sizes, y, name, "blue")
        ax.plot(fine, bound, color=OKABE_ITO["black"], label=r"explicit bound of any class")
        ax.axhline(trivial, ls="--", color="0.5", label="trivial")
        if (bound >= trivial).any():
            vacuous = int(fine[bound >= trivial].min())
            ax.axvspan(vacuous, sizes[-1], color="0.93", lw=0)
            ax.text(vacuous * 1.1, trivial / 6, "bound vacuous", fontsize=7, color="0.4")
        ax.set(xscale="log", yscale="log", xlabel=r"models $|\mathcal{H}|$", ylabel=name, xlim=(sizes[0], sizes[-1]))
        ax.legend(loc="upper left")
        tables.append(rows(sizes, y, curve=name).rename(columns={"t": "models"}))
    axes[0].set_ylim(1e2, 1e7)
    axes[1].set_ylim(1, 1e7)
    return fig, pd.concat(tables)


def comparators() -> tuple[Figure, pd.DataFrame]:
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 3.0))
    T, tables = 300_000, []
    river = world(average_river_swim(6, up=0.35, down=0.05, last=0.35, small=0.005))
    m = mixture(4, 0.2, 0.1, truth=5)
    given, r = m.given, m.given.models.r
    span, M = given.span, given.models.size
    ucrl2: Bounds = {"UCRL2's bound, at least": lambda t: 34 * river.span * 6 * np.sqrt(2 * t * log(T / DELTA))}
    whole = model_regret(T, span, M, 2 * DELTA)  # with the width that is played
    finite: Bounds = {
        "finite class's bound": lambda t: whole.errors * np.sqrt(t / T) + whole.martingale + whole.telescoping
    }
    panels = (
        (
            "RiverSwim, 6 states",
            river,
            ucrl2,
            {
                "LOOP, ellipsoid": TabularLOOP(river.span, DELTA),
                r"LOOP, $\beta/10$": TabularLOOP(river.span, DELTA, scale=0.1),
                "UCRL2": UCRL2(DELTA),
                "KL-UCRL": KLUCRL(DELTA),
            },
        ),
        (
            "hard linear mixture, $d = 4$",
            given.world,
            finite,
            {
                "LOOP, finite class": ModelLOOP(given.models, model_width(span, M, T, DELTA)),
                "MLE-LOOP": MLELOOP(given.models, likelihood_width(M, DELTA)),
                "LOOP, ridge": mixture_loop(m, T, DELTA),
                "LOOP, value-based": linear_loop(given, one_hot(r.shape), T, DELTA),
                "UCLK-C": UCLKC(m.basis, span, DELTA),
                r"$\gamma$-LSCVI-UCB, bonus/20": GammaLSCVI(one_hot(r.shape), span, DELTA, scale=0.05),
            },
        ),
    )
    for ax, (title, there, bounds, learners) in zip(axes, panels):
        learner: AverageLearner
        for (name, learner), colour in zip(learners.items(), OKABE_ITO):
            record = lives(learner, there, T, 10, 0)
            band(ax, record.times, record.shortfall, name, colour)
            tables.append(rows(record.times, record.shortfall, instance=title, learner=name))
        t = np.geomspace(10, T, 200)
        ax.plot(t, t * there.gain, "--", color="0.5", label="trivial, $J^* t$")
        for name, bound in bounds.items():
            ax.plot(t, bound(t), color="black", lw=0.8, label=name)
            vacuous = t[bound(t) >= there.gain * t].max()
            ax.axvspan(10, vacuous, color="0.93", lw=0, zorder=0)
            ax.text(vacuous * 0.8, 1.4, "bound vacuous", ha="right", fontsize=7, color="0.4")
        ax.set(xscale="log", yscale="log", xlim=(10, T), ylim=(1, 3e8), xlabel="steps $t$", title=title)
        ax.set_yticks([1, 1e2, 1e4, 1e6])
        ax.legend(loc="upper left", ncols=2)
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
            excess.append(a.excess)
        band(ax, np.array(spans), np.array(excess).T, name, colour)
        table.append(rows(np.array(spans), np.array(excess).T, family=name).rename(columns={"t": "span"}))
    x = np.array([2.0, 80.0])
    for power, exponent, style in ((2, "^2", "-"), (1, r"\,", "--")):
        width = [published_width(s, 16_000, 10, DELTA, power=power) for s in x]
        ax.plot(x, width, style, color="0.5", lw=0.8, label=rf"$\mathrm{{sp}}{exponent}\log(TN^2/\delta)$")
    ax.set(xscale="log", yscale="log", xlabel=r"span $\mathrm{sp}$", ylabel="excess loss of $f^*$")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.legend(loc="upper left")
    return fig, pd.concat(table)


FIGURES = (
    PaperFigure(
        "bound-and-regret",
        r"Regret of LOOP (JAO's MDP and two decoys, mean of 20 seeds and two standard errors) against the explicit "
        r"bound that holds with probability 0.9. The bound says nothing where it exceeds the trivial $J^*t$ (shaded).",
        bound_and_regret,
    ),
    PaperFigure(
        "switches",
        r"Hypotheses chosen against steps (mean of 20 seeds and two standard errors), at the theorem's width, with the "
        r"bound for it (vacuous where it exceeds the number of steps), and at smaller widths, for which nothing is "
        r"proved.",
        switches,
    ),
    PaperFigure(
        "class-size",
        r"Regret and hypotheses chosen after $2^{15}$ steps against the number of models, 10 to 1000 (mean of 40 seeds "
        r"and two standard errors): more models between the hardest ones cost next to nothing. The explicit bound for "
        r"finite classes, which knows nothing of their structure, is vacuous above the trivial one (shaded).",
        class_size,
    ),
    PaperFigure(
        "comparators",
        "LOOP beside algorithms for the special cases (mean of 10 seeds and two standard errors): tabular, and linear "
        "mixtures. The finite classes know the candidate models, the others only the features. UCRL2's bound is drawn "
        "with the span in place of the diameter, which is larger; bounds above the dashed line are vacuous (shaded).",
        comparators,
    ),
    PaperFigure(
        "span-powers",
        r"How wide the confidence set must be: $\max_t L_t(f^*) - \min_g L_t(g)$ (mean of 100 runs and two standard "
        r"errors) grows like $\mathrm{sp}^2$ where a fair coin decides about the whole span, like $\mathrm{sp}$ on "
        r"JAO's MDP. Widths $\propto \mathrm{sp}$ are too small on the first family.",
        span_powers,
    ),
)
