"""The figures of learning: Figures 2 and 5 (sequences of systems), Figure 6 (heat), and Theorem B.1 refuted."""

from __future__ import annotations

from math import sqrt
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.bandits.contextual import play_contextual
from claimlab.bandits.play import play
from claimlab.bandits.relaxation.environment import iterations
from claimlab.bandits.weights import TsallisINF
from claimlab.checks import Array, Ints
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.papers.learning_to_relax.heat import SAMPLED, SPREAD, on_product
from claimlab.experiments.papers.learning_to_relax.heat_record import LEARNT, learnt, recorded, sampled
from claimlab.experiments.papers.learning_to_relax.learners import one_good_arm
from claimlab.experiments.papers.learning_to_relax.sequences import (
    CHEB_CB,
    FINE,
    OMEGAS,
    TSALLIS,
    TSALLIS_CB,
    InstanceOptimal,
    Noting,
    Play,
    counts,
    totals,
    tried,
)
from claimlab.experiments.papers.learning_to_relax.sequences import fixed as fixed_sor
from claimlab.experiments.papers.learning_to_relax.simulation import CAP, LEARNERS, Heat, instances, lengths
from claimlab.experiments.papers.learning_to_relax.time_record import timed
from claimlab.experiments.style import COLUMN, OKABE_ITO, PAGE
from claimlab.theory.relaxation_regret import tsallis_constant_rate, tsallis_fluid, tsallis_printed

COLOURS = {"Tsallis-INF": "blue", "Tsallis-INF-CB": "sky", "ChebCB": "vermillion"}
OTHERS = {"CG": "black", "best of each system": OKABE_ITO["green"]}
SYSTEMS, TRIALS = 2_000, 8


def cumulative_iterations() -> tuple[Figure, pd.DataFrame]:
    game, rows = Play(SYSTEMS, TRIALS, 1, 30), []
    times = np.unique(np.geomspace(1, SYSTEMS, 30).round().astype(np.int64))
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.7), sharey=True)
    for ax, law, omegas in zip(axes, ("low", "high"), ((1.4, 1.65, 1.8), (1.6, 1.8, 1.9))):
        curves = {rf"$\omega = {omega:g}$": fixed_sor(omega, law, game) for omega in omegas}
        curves |= {name: totals(alg, law, game) for name, alg in zip(COLOURS, (TSALLIS, TSALLIS_CB, CHEB_CB))}
        curves[r"$\omega^*(c)$"] = totals(InstanceOptimal(FINE), law, game, FINE)
        greys = iter(("0.75", "0.55", "0.35"))
        for name, total in curves.items():
            each = total / times
            colour = OKABE_ITO[COLOURS[name]] if name in COLOURS else "black" if "*" in name else next(greys)
            mean, (low, high) = each.mean(axis=0), np.quantile(each, [0.1, 0.9], axis=0)
            ax.plot(times, mean, color=colour, ls="-" if name in COLOURS else "--", label=name)
            if name in COLOURS:
                ax.fill_between(times, low, high, color=colour, alpha=0.2, lw=0)
            rows += [
                {"variance": law, "method": name, "systems": t, "mean": m, "low": a, "high": b}
                for t, m, a, b in zip(times, mean, low, high)
            ]
        ax.set(xscale="log", yscale="log", xlim=(20, SYSTEMS), ylim=(35, 1_100), xlabel="systems solved")
        ax.set_title(f"{law} variance of the shift")
        ax.set_yticks([50, 100, 200, 400, 800], ["50", "100", "200", "400", "800"])
        ax.minorticks_off()
        ax.legend(ncols=2, loc="upper right")
    axes[0].set_ylabel("iterations a system so far")
    return fig, pd.DataFrame(rows)


def _running_means(found: Array, times: Ints) -> Array:
    """Of float[runs, T], at `times`."""
    return np.cumsum(found, axis=1)[:, times - 1] / times


def other_families() -> tuple[Figure, pd.DataFrame]:
    """What `learning-to-relax/chebcb-elsewhere` speaks of, and the least of every system by trying all."""
    T, runs, rows = 1_000, 5, []
    game = Play(T, runs, 2)
    times = np.unique(np.geomspace(10, T, 40).round().astype(np.int64))
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.7))
    for ax, (family, title) in zip(axes, (("graph", "random geometric graph"), ("elements", "finite elements"))):
        best, fixed, least = tried(family, game)
        shown = {rf"best fixed, $\omega = {OMEGAS[best]:g}$": fixed, "best of each system": least}
        for name, alg in zip(COLOURS, (TSALLIS, TSALLIS_CB, CHEB_CB)):
            shown[name] = counts(alg, family, game)
        for name, found in shown.items():
            means = _running_means(found, times)
            colour = OKABE_ITO[COLOURS[name]] if name in COLOURS else OTHERS.get(name, "0.5")
            ax.plot(times, means.mean(axis=0), color=colour, ls="-" if name in COLOURS else "--", label=name)
            low, high = means.min(axis=0), means.max(axis=0)
            if name in COLOURS:
                ax.fill_between(times, low, high, color=colour, alpha=0.2, lw=0)
            rows.append(pd.DataFrame({"family": family, "method": name, "systems": times, "mean": means.mean(axis=0)}))
            rows[-1] = rows[-1].assign(low=low, high=high)
        ax.set(xscale="log", xlim=(10, T), ylim=(0, None), xlabel="systems solved", title=title)
        ax.set_xticks([10, 100, 1_000], ["10", "100", "1000"])
        ax.minorticks_off()
    axes[0].set_ylabel("iterations a system so far")
    axes[1].legend(loc="upper right")
    return fig, pd.concat(rows)


def _heat_iterations() -> pd.DataFrame:
    """Iterations a step; the finest grids from the record, as a simulation there takes minutes."""
    rows = recorded()
    for cells, every in SAMPLED.items():
        rows += sampled(cells, every)
        if cells not in LEARNT:
            rows += [learnt(name, cells) for name in LEARNERS]
    return pd.DataFrame(rows, columns=["method", "cells", "iterations"]).sort_values("cells", kind="stable")


def heat() -> tuple[Figure, pd.DataFrame]:
    data = _heat_iterations()
    cells = sorted(set(data["cells"]))
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.7), width_ratios=(1.35, 1))
    greys = iter(("0.8", "0.68", "0.55", "0.4", "0.25"))
    for name, part in ((str(name), part) for name, part in data.groupby("method", sort=False)):
        known = COLOURS.get(str(name))
        colour = OKABE_ITO[known] if known else OTHERS[name] if name in OTHERS else next(greys)
        style = "o-" if known else ":" if name in OTHERS else "--"
        left.plot((part["cells"] - 1) ** 2, part["iterations"], style, color=colour, label=name)
    left.set(xscale="log", yscale="log", xlabel="unknowns", ylabel="iterations a time step")
    left.set_xticks([(n - 1) ** 2 for n in cells], [str((n - 1) ** 2) for n in cells])
    left.set_yticks([5, 10, 20, 40, 80, 160], ["5", "10", "20", "40", "80", "160"])
    left.minorticks_off()
    left.legend(fontsize=6, ncols=2, loc="upper left")
    left.set_ylim(3.2, 1_000)
    found = pd.DataFrame(timed())
    one = {row.cells: row.seconds for row in timed() if row.method == r"$\omega = 1$"}
    found["gain"] = [one[row.cells] / row.seconds for row in timed()]
    sides, methods = sorted(set(found["cells"])), found["method"].drop_duplicates().tolist()[1:]
    for k, side in enumerate(sides):
        here = found[found["cells"] == side].set_index("method").loc[methods]
        colours = [OKABE_ITO[COLOURS[name]] if name in COLOURS else OTHERS.get(name, "0.5") for name in methods]
        at, alpha = np.arange(len(methods)) + 0.4 * k, 0.5 + 0.5 * k / max(len(sides) - 1, 1)
        bars = right.barh(at, here["gain"], 0.36, color=colours, alpha=alpha)
        right.bar_label(bars, [f"{gain:.2f}, {side} cells" for gain in here["gain"]], padding=2, fontsize=6)
    right.axvline(1, color="black", lw=0.8, ls="--")
    right.set_yticks(np.arange(len(methods)) + 0.2, methods)
    right.set(xlabel=r"gain in processor time over $\omega = 1$", xlim=(0, 1.5 * found["gain"].max()))
    right.invert_yaxis()
    return fig, pd.concat([data, found])


def varying_steps() -> tuple[Figure, pd.DataFrame]:
    """What `learning-to-relax/heat-varying-step` and `heat-step-shown` speak of."""
    T, runs, cells = 2_000, 6, 25
    found, step = instances(cells, T, spread=SPREAD), lengths(T, SPREAD)
    times = np.unique(np.geomspace(20, T, 40).round().astype(np.int64))
    totals = found.counts.sum(axis=0)
    best = int(totals.argmin())
    shown: dict[str, tuple[Any, str, str]] = {
        r"$\omega = 1$": (found.counts[:, 0][None], "0.75", "--"),
        rf"best fixed, $\omega = {OMEGAS[best]:g}$": (found.counts[:, best][None], "0.5", "--"),
        "best of each system": (found.optimum[None], OTHERS["best of each system"], ":"),
    }
    learners = {
        "Tsallis-INF": (LEARNERS["Tsallis-INF"], True, OKABE_ITO["blue"]),
        r"ChebCB, shown $\kappa$": (LEARNERS["ChebCB"], False, OKABE_ITO["orange"]),
        r"ChebCB, shown $\kappa\,\Delta t$": (on_product(SPREAD), True, OKABE_ITO["vermillion"]),
    }
    for name, (alg, product, colour) in learners.items():
        env = Heat(cells, OMEGAS, step, shown=product)
        record = play_contextual(Noting(alg), env, horizon=T, runs=runs, seed=3, checkpoints=1, keep_states=True)
        shown[name] = (np.round(iterations([state.reward for state in record.states], CAP)), colour, "-")
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.7))
    left.scatter(
        found.context, OMEGAS[found.counts.argmin(axis=1)], s=4, color=OTHERS["best of each system"], alpha=0.3
    )
    left.set(xscale="symlog", xlabel=r"$\kappa(t)\,\Delta t\,/\,10^{-3}$", ylabel=r"best $\omega$ of the system")
    rows = []
    for name, (each, colour, style) in shown.items():
        means = _running_means(each, times)
        right.plot(times, means.mean(axis=0), style, color=colour, label=name)
        rows.append(pd.DataFrame({"method": name, "steps": times, "mean": means.mean(axis=0)}))
        rows[-1] = rows[-1].assign(low=means.min(axis=0), high=means.max(axis=0))
    right.set(xscale="log", xlabel="time steps", ylabel="iterations a time step so far")
    right.legend(fontsize=6)
    return fig, pd.concat(rows)


def constant_rate() -> tuple[Figure, pd.DataFrame]:
    T, rows = 2_000, []
    for d in (2, 3, 5, 8, 12, 20, 30, 50, 80):
        alg = TsallisINF(rate=1 / sqrt(T), anytime=False)
        regret = play(alg, one_good_arm(d), horizon=T, runs=50, seed=0, checkpoints=1).regret[:, -1]
        bounds = (tsallis_printed(d, T), tsallis_constant_rate(d, T, 1 / sqrt(T)), tsallis_fluid(d, T))
        rows.append((d, regret.mean(), *np.quantile(regret, [0.05, 0.95]), *bounds))
    columns = ["d", "regret", "low", "high", "printed", "repaired", "fluid"]
    data = pd.DataFrame(rows, columns=columns) / [1, *[sqrt(T)] * 6]
    fig, ax = plt.subplots(figsize=(COLUMN, 2.5))
    ax.plot(data["d"], data["repaired"], color=OKABE_ITO["green"], label=r"repaired, $4.5\sqrt{d} - 4$")
    ax.plot(data["d"], data["printed"], color=OKABE_ITO["vermillion"], label=r"printed, $2\sqrt{2d}$")
    ax.plot(data["d"], data["fluid"], color="0.6", ls=":", label=r"limit $T \to \infty$, $4\sqrt{d} - 4$")
    error = abs(data[["low", "high"]].T.to_numpy() - data["regret"].to_numpy())
    ax.errorbar(data["d"], data["regret"], error, fmt="o", color="black", label=f"$T = {T}$, 90 % of 50 runs")
    ax.set(xscale="log", yscale="log", xlabel="arms $d$", ylabel=r"regret $/ \sqrt{T}$")
    ax.set_xticks([2, 5, 12, 30, 80], ["2", "5", "12", "30", "80"])
    ax.set_yticks([2, 5, 10, 20, 40], ["2", "5", "10", "20", "40"])
    ax.minorticks_off()
    ax.legend(loc="lower right")
    return fig, data


FIGURES = (
    PaperFigure(
        "learning-sequences",
        r"Figures 2 and 5: iterations a system of SOR on shifted Laplacians of 100 points, for fixed $\omega$, the "
        r"learners (mean and 80 % of 8 runs on the same systems) and the asymptotically optimal $\omega^*(c)$ of each "
        "system. Shorter than in the paper: 2000 systems for 5000.",
        cumulative_iterations,
    ),
    PaperFigure(
        "learning-elsewhere",
        r"SOR beyond the paper: shifted Laplacians of a random geometric graph of 100 vertices, and shifted stiffness "
        r"matrices of linear finite elements on 120 random points. Mean and range of 5 runs on the same systems; the "
        r"best of 20 fixed $\omega$ and, for every system, of all 20 are found by trying all.",
        other_families,
    ),
    PaperFigure(
        "learning-heat",
        "Figure 6: the heat equation with a changing coefficient, 25 to 400 cells along a side, one period of 1000 "
        "steps (the paper: 5000). Left: iterations of preconditioned conjugate gradients a step; the best of 20 values "
        "for each system, by trying all, is what no learner can beat. The learners solve every step, the others all, "
        "every 5th, 20th and 50th; learners from 200 cells on, and all of 400, from a record. Right: gain in processor "
        r"time over $\omega = 1$ of whole simulations, learning included, from another record; the best fixed "
        r"$\omega$ and the best of each system were found beforehand.",
        heat,
    ),
    PaperFigure(
        "learning-heat-steps",
        r"The heat equation where the time step varies too, from $10^{-3}/4$ to $4 \cdot 10^{-3}$; 25 cells along a "
        r"side. Left: the best of 20 values of $\omega$ for each of 2000 systems. Right: iterations a time step; "
        r"learners are means of 6 runs. The matrix depends on $\kappa\,\Delta t$, and $\kappa$ alone does not tell "
        r"which $\omega$ is best.",
        varying_steps,
    ),
    PaperFigure(
        "tsallis-constant-rate",
        r"Theorem B.1 with its step size $\eta = 1/\sqrt{T}$, on losses $(0, 1, \dots, 1)$: the regret passes the "
        "printed bound from about 20 arms on, and stays below the repaired one.",
        constant_rate,
    ),
)
