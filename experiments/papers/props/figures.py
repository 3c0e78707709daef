"""The figures: sampling error and its laws; what becomes of estimates and of learning."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.papers.props import cartpole, evaluation, learning, visits
from claimlab.experiments.papers.props.common import FOUR, bandit_counts
from claimlab.experiments.papers.props.discrepancy import expected_divergence
from claimlab.experiments.style import OKABE_ITO, PAGE
from claimlab.mdps.collection import PROPS, ROS, Sampler, Systematic
from claimlab.theory.sampling_error import (
    divergence,
    fundamental,
    greedy_divergence,
    props_factor,
    ros_factor,
    ros_sum_factor,
    visitation_covariance,
)

GREEDY, ON_POLICY, DEALT = ROS(inf), ROS(0.0), Systematic()
TIMES = 2 ** np.arange(3, 13)
COLOURS = {"on-policy": "black", "ROS, averaged": "vermillion", "ROS, summed": "purple", "ROS, infinite step": "blue",
           "systematic": "green", "PROPS": "orange"}  # fmt: skip


def sampling_error() -> tuple[Figure, pd.DataFrame]:
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(PAGE, 2.5))
    rows: list[dict[str, Any]] = []
    n = TIMES.astype(float)
    laws: dict[str, tuple[Sampler, Any]] = {
        "on-policy": (ON_POLICY, 3 / (2 * n)),
        "ROS, averaged": (ROS(10.0), ros_factor(FOUR, 10.0) / (2 * n)),
        "PROPS": (PROPS(0.1), props_factor(4, 0.1) / (2 * n)),
        "ROS, summed": (ROS(0.1, average=False), ros_sum_factor(FOUR, 0.1) / n**2),
        "systematic": (DEALT, [expected_divergence(DEALT, FOUR, int(x)) for x in n]),
        "ROS, infinite step": (GREEDY, [greedy_divergence(FOUR, float(x)) for x in n]),
    }
    for label, (sampler, law) in laws.items():
        y = divergence(bandit_counts(sampler, FOUR, TIMES, 200, 0), FOUR).mean(axis=0)
        colour = OKABE_ITO[COLOURS[label]]
        left.plot(n, np.where(y > 0, y, np.nan), "o", color=colour, label=label)
        rows += [{"panel": "KL", "series": label, "x": a, "y": b} for a, b in zip(n, y)]
        left.plot(n, law, color=colour, lw=0.9)
        rows += [{"panel": "KL, law or bound", "series": label, "x": a, "y": b} for a, b in zip(n, law)]
    left.set(xscale="log", yscale="log", xlabel="actions n", ylabel=r"$E\,KL(\pi_D\|\pi)$", ylim=(1e-8, 5))
    left.legend(fontsize=5.5, loc="lower left", handletextpad=0.1, borderpad=0.1, labelspacing=0.2)

    steps, weights = np.geomspace(0.1, 300, 60), np.geomspace(0.01, 100, 60)
    curves: tuple[tuple[str, str, Array, Callable[[float], float], Callable[[float], Sampler]], ...] = (
        ("ROS, averaged", r"ROS, averaged: step $\alpha$", steps, partial(ros_factor, FOUR), ROS),
        ("PROPS", r"PROPS: weight $\lambda$", weights, partial(props_factor, 4), PROPS),
    )
    for label, name, grid, factor, make in curves:
        colour, shown = OKABE_ITO[COLOURS[label]], grid[::8].tolist()
        middle.plot(grid, [factor(x) for x in grid.tolist()], color=colour, label=name)
        y = [2048 * divergence(bandit_counts(make(x), FOUR, [1024], 400, 1), FOUR).mean() for x in shown]
        middle.plot(shown, y, "o", color=colour)
        rows += [{"panel": "factor", "series": label, "x": a, "y": b} for a, b in zip(shown, y)]
    middle.set(xscale="log", yscale="log", ylabel=r"$2n\,E\,KL$ at $n=1024$", xlabel=r"$\alpha$ or $\lambda$")
    middle.axhline(3, color="black", lw=0.8, ls="--")
    middle.legend(fontsize=6, loc="lower center")

    P, pi = visits.RING, visits.RING_POLICY
    d, _ = fundamental(visits.chain_of(P, pi))
    for label, sampler, greedy in (("on-policy", ON_POLICY, False), ("ROS, infinite step", GREEDY, True)):
        found = visits.shares(sampler, P, pi, TIMES, 400, 2)
        y, colour = ((found - d) ** 2).sum(axis=2).mean(axis=0), OKABE_ITO[COLOURS[label]]
        right.plot(n, y, "o", color=colour, label=label)
        right.plot(n, np.trace(visitation_covariance(P, pi, greedy=greedy)) / n, color=colour, lw=0.9)
        rows += [{"panel": "states", "series": label, "x": a, "y": b} for a, b in zip(n, y)]
    right.set(xscale="log", yscale="log", xlabel="steps n", ylabel=r"$E\,\|d_D-d_\pi\|^2$")
    right.legend(fontsize=6)
    return fig, pd.DataFrame(rows)


def estimates() -> tuple[Figure, pd.DataFrame]:
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(PAGE, 2.4))
    rows: list[dict[str, Any]] = []
    times = tuple(int(t) for t in 2 ** np.arange(6, 13))
    samplers: dict[str, Sampler] = {"on-policy": ON_POLICY, "ROS, infinite step": GREEDY, "systematic": DEALT}
    for label, sampler in samplers.items():
        errors, _ = evaluation.grid_errors(sampler, 300, 3, times)
        y = (errors**2).mean(axis=0)
        left.plot(times, y, "o-", color=OKABE_ITO[COLOURS[label]], label=label)
        rows += [{"panel": "gridworld", "series": label, "x": a, "y": b} for a, b in zip(times, y)]
    left.plot(times, [rows[0]["y"] * times[0] / t for t in times], color="0.5", lw=0.8, ls="--")
    left.set(xscale="log", yscale="log", xlabel="steps", ylabel="mean squared error", title="gridworld: return")
    left.legend(fontsize=6)

    truth = 1 / (1 / cartpole.poles(ON_POLICY, 2000, 5).lengths).mean()
    sizes = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    runs = [cartpole.poles(ROS(size, average=False), 1000, 6) for size in sizes]
    pieces = {
        "bias squared": [float((run.lengths.mean() - truth) ** 2) for run in runs],
        "variance": [float(run.lengths.var()) for run in runs],
    }
    at = np.arange(len(sizes))
    bottom = np.zeros(len(sizes))
    for (label, y), colour in zip(pieces.items(), ("vermillion", "sky")):
        middle.bar(at, y, bottom=bottom, color=OKABE_ITO[colour], label=label, width=0.7)
        bottom += y
        rows += [{"panel": "CartPole", "series": label, "x": a, "y": b} for a, b in zip(sizes, y)]
    middle.set_xticks(at, [f"{size:g}" for size in sizes], fontsize=6)
    middle.set(xlabel="step of ROS, summed gradients", title="CartPole: length of an episode", ylim=(0, 60))
    middle.legend(fontsize=6, loc="upper left")
    for i, run in enumerate(runs):
        error = float(cartpole.sampling_error(run).mean()) * 1e3
        middle.annotate(f"{error:.1f}", (i, min(bottom[i] + 1, 54)), ha="center", fontsize=5.5)
        rows.append({"panel": "CartPole", "series": "sampling error (1e-3)", "x": sizes[i], "y": error})

    shown = (
        ("on-policy", ON_POLICY),
        ("PROPS", learning.REGULARISED),
        ("ROS, infinite step", GREEDY),
        ("systematic", DEALT),
    )
    for label, sampler in shown:
        y = learning.learned(sampler, 200, 7).mean(axis=0)
        right.plot(learning.MARKS, y, color=OKABE_ITO[COLOURS[label]], label=label)
        rows += [{"panel": "REINFORCE", "series": label, "x": a, "y": b} for a, b in zip(learning.MARKS, y)]
    right.set(xlabel="batches of five episodes", title="REINFORCE: reaches the goal", ylim=(0.45, 1))
    right.legend(fontsize=6, loc="lower right")
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "sampling-error",
        r"Left: sampling error on the law (0.4, 0.3, 0.2, 0.1), simulated (dots), with the laws ($\alpha=10$ averaged, "
        r"$\alpha=0.1$ summed, $\lambda=0.1$) and, for the infinite step, the bound for every sequence (lines; "
        "systematic sampling's is exact). Middle: the constant that a finite step gains, law and simulation; dashed, "
        "on-policy. Right: states of a disturbed ring; lines are the asymptotic covariances, with and without the "
        "actions' part.",
        sampling_error,
    ),
    PaperFigure(
        "estimates",
        "Left: mean squared error of the return on the 4 x 4 gridworld; dashed, $1/n$. Middle: CartPole, squared bias "
        "and variance of the mean length (35 steps) after 1024 steps; above the bars the sampling error in $10^{-3}$ "
        "nats (the last bar is cut). Right: REINFORCE on the 5 x 5 gridworld, exact probability of the better goal.",
        estimates,
    ),
)
