"""The figures: the value of each episode's policy, the price against the slack, the mixture over time."""

from __future__ import annotations

from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Ints
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.papers.stepmix.common import learner
from claimlab.experiments.papers.stepmix.instances import Task, lock_task, sparse_task
from claimlab.experiments.style import COLUMN, OKABE_ITO, PAGE
from claimlab.mdps.episodes import EpisodeRecord, play_episodes
from claimlab.mdps.staged import staged_optimum

NAMES = {"UCB": "optimism, no constraint", "Budget": "cumulative budget", "EpsMix": "EpsMix", "StepMix": "StepMix"}
COLOURS = {"UCB": "orange", "Budget": "purple", "EpsMix": "vermillion", "StepMix": "blue"}
EPISODES, RUNS = 2**14, 16


@cache
def _record(name: str) -> EpisodeRecord:
    instance = sparse_task()
    return play_episodes(
        learner(name, instance), instance.mdp, episodes=EPISODES, runs=RUNS, seed=0, threshold=instance.threshold,
        checkpoints=60,
    )  # fmt: skip


def values() -> tuple[Figure, pd.DataFrame]:
    instance = sparse_task()
    best = staged_optimum(instance.mdp).value
    fig, axes = plt.subplots(1, 4, figsize=(PAGE, 2.0), sharey=True)
    rows = []
    for ax, (name, title) in zip(axes, NAMES.items()):
        record = _record(name)
        steps = np.diff(record.times, prepend=0)
        mean = best - np.diff(record.regret, axis=1, prepend=0) / steps  # over the episodes since the last checkpoint
        ax.fill_between(
            record.times, mean.min(axis=0), mean.max(axis=0), color=OKABE_ITO[COLOURS[name]], alpha=0.25, lw=0
        )
        ax.plot(record.times, mean.mean(axis=0), color=OKABE_ITO[COLOURS[name]])
        ax.plot(record.times, record.least.min(axis=0), color=OKABE_ITO[COLOURS[name]], lw=0.8, ls=":")
        ax.axhline(instance.threshold, color="black", lw=0.8, ls="--")
        ax.axhline(best, color="0.6", lw=0.8)
        ax.set(xscale="log", xlabel="episode", title=title, xlim=(1, EPISODES))
        rows += [
            {"learner": name, "run": run, "episode": int(t), "mean value": mean[run, i], "least": record.least[run, i]}
            for run in range(RUNS)
            for i, t in enumerate(record.times)
        ]
    axes[0].set_ylabel("value of the policy played")
    axes[0].text(EPISODES, instance.threshold, r"$\gamma$ ", ha="right", va="bottom")
    axes[0].text(1.3, best, "$v^*$", va="bottom", color="0.4")
    axes[0].set_ylim(0, 1.14 * best)
    return fig, pd.DataFrame(rows)


SLACKS = 0.4 * 2.0 ** -np.arange(0, 2.5, 0.5)


def price_against_slack() -> tuple[Figure, pd.DataFrame]:
    fig, ax = plt.subplots(figsize=(COLUMN, 2.4))
    rows, anchor = [], 1.0
    for label, instance, colour, marker in (
        ("sparse rewards", sparse_task(), "blue", "o"),
        ("lock", lock_task(), "vermillion", "s"),
    ):
        spent = np.array([_price(instance.with_slack(float(slack))) for slack in SLACKS])
        ax.fill_between(SLACKS, spent.min(axis=1), spent.max(axis=1), color=OKABE_ITO[colour], alpha=0.25, lw=0)
        ax.plot(SLACKS, spent.mean(axis=1), marker=marker, color=OKABE_ITO[colour], label=label)
        anchor = 0.6 * float(spent[0].mean())
        rows += [
            {"instance": label, "slack": SLACKS[i], "run": run, "episodes": n} for (i, run), n in np.ndenumerate(spent)
        ]
    ax.plot(SLACKS, anchor * (SLACKS[0] / SLACKS) ** 2, color="0.4", ls="--", lw=0.8, label=r"$\kappa^{-2}$")
    ax.set(xscale="log", yscale="log", ylabel="episodes not plainly optimistic")
    ax.set_xlabel(r"slack $\kappa$ of the baseline")
    ax.set_xticks([0.1, 0.2, 0.4], ["0.1", "0.2", "0.4"])
    ax.minorticks_off()
    ax.legend()
    return fig, pd.DataFrame(rows)


def _price(instance: Task) -> Ints:
    """Episodes that are not plainly optimistic, of each run."""
    record = play_episodes(learner("StepMix", instance), instance.mdp, episodes=EPISODES, runs=8, seed=0, checkpoints=1)
    return EPISODES - record.kinds[:, -1, 0]


def composition() -> tuple[Figure, pd.DataFrame]:
    rows = []
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.3), sharey=True)
    for ax, (label, instance) in zip(axes, (("sparse rewards", sparse_task()), ("lock", lock_task().with_slack(0.1)))):
        record = play_episodes(
            learner("StepMix", instance), instance.mdp, episodes=EPISODES, runs=RUNS, seed=0, checkpoints=80
        )
        H, steps = instance.mdp.horizon, np.diff(record.times)
        shares = np.diff(record.kinds, axis=1).mean(axis=0) / steps[:, None]
        order = [H + 1, *range(H, 0, -1), 0]
        names = ["baseline", *(f"mixed at step {h}" for h in range(H, 0, -1)), "optimistic"]
        shades = plt.get_cmap("cividis")(np.linspace(0.05, 0.95, H + 2))
        ax.stackplot(record.times[1:], shares[:, order].T, labels=names, colors=shades, lw=0, step="pre")
        ax.set(xscale="log", xlim=(100, EPISODES), ylim=(0, 1), xlabel="episode", title=label)
        ax.grid(False)
        rows += [
            {"instance": label, "episode": int(t), "kind": name, "share": shares[i, kind]}
            for i, t in enumerate(record.times[1:])
            for kind, name in zip(order, names)
        ]
    axes[0].set_ylabel("share of the episodes")
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].legend(handles[::-1], labels[::-1], loc="lower left", frameon=True, framealpha=0.9)
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "value-of-episodes",
        r"Exact value of the policies played on the sparse-terminal instance (S = 3, A = 2, H = 3), mean and range "
        r"over 16 runs; the lowest policy of any run so far is dotted, the threshold $\gamma = 0.7 v^{\pi^b}$ dashed. "
        "Only StepMix never falls below it. EpsMix and the cumulative budget do in single episodes, though their means "
        "do not show it.",
        values,
    ),
    PaperFigure(
        "price-against-slack",
        r"How many episodes StepMix does not play the optimistic policy as it is, against the slack $\kappa$ (mean and "
        r"range over 8 runs). The proved bound is far above the axes and vacuous at 16384 episodes: $9 \cdot 10^5$ at "
        r"$\kappa = 0.4$, $1.7 \cdot 10^7$ at $0.1$ (sparse rewards). The dashed line shows the order alone.",
        price_against_slack,
    ),
    PaperFigure(
        "composition",
        "What StepMix plays over time: the baseline, a mixture at one step (baseline before it, optimism after), the "
        r"optimistic policy; left $\kappa = 0.19$, right $\kappa = 0.1$ (16 runs).",
        composition,
    ),
)
