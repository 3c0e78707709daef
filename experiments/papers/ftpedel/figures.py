"""The figures of FTPedel, each with the data that it draws."""

from __future__ import annotations

from functools import lru_cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.papers.ftpedel.coefficient import bandit_episodes
from claimlab.experiments.papers.ftpedel.learning import complexity, play, tasks, uniform
from claimlab.experiments.papers.ftpedel.separation import verifiable_pulls
from claimlab.experiments.style import COLUMN, OKABE_ITO, PAGE
from claimlab.mdps.coverage import o2o_episodes
from claimlab.mdps.logs import Log
from claimlab.mdps.offline_to_online import OnlineNeeds, offline_to_online
from claimlab.mdps.staged import StagedMDP, staged_occupancy

BETA = 8.0
SIDE, STEPS = 4, 7  # of the grid, and its horizon


def phases() -> tuple[Figure, pd.DataFrame]:
    """Online episodes over the size of a uniform log and the accuracy, for the random MDP of 81 policies."""
    mdp = tasks()[0].mdp
    sizes, accuracies = np.geomspace(100, 1e5, 17), np.geomspace(0.05, 1.0, 13)
    w = staged_occupancy(mdp, uniform(mdp))
    table = np.array(
        [
            [sum(o2o_episodes(mdp, h, float(eps), BETA, n * w[h], tol=1e-3).value for h in range(2)) for n in sizes]
            for eps in accuracies
        ]
    )
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.5))
    shown = left.pcolormesh(
        sizes, accuracies, np.where(table > 0, np.log10(np.maximum(table, 1)), np.nan), shading="nearest"
    )
    fig.colorbar(shown, ax=left, label="online episodes, log10")
    edge = np.array([offline_to_online(mdp, _expected(mdp, n * w), 1.0, beta=BETA).verifiable for n in sizes])
    left.plot(sizes, edge, color="white", lw=2.5)
    left.plot(sizes, edge, color="black", lw=1.2)
    left.annotate("verifiable\noffline", (2.5e4, 0.45), ha="center", fontsize=7)
    left.set(xscale="log", yscale="log", xlabel="offline episodes", ylabel="accuracy ε", ylim=(0.05, 1.0))
    left.set_title("what the definition asks for")
    offline = np.array([0, 2_000, 8_000, 30_000, 60_000, 120_000])
    found = np.array([play(0, 20, 0, offline=int(n)).episodes for n in offline])
    right.plot(offline / 1e3, found.mean(axis=1), marker="o", label="FTPedel (mean of 20 runs)")
    right.fill_between(offline / 1e3, found.min(axis=1), found.max(axis=1), alpha=0.25, lw=0)
    bound = [complexity(tasks()[0], int(n)) for n in offline]
    right.plot(offline / 1e3, bound, ls="--", color="black", lw=0.8, label="bound")
    right.set(xlabel="offline episodes, thousands", ylabel="online episodes", title="ε = 0.2", yscale="log")
    right.legend()
    rows = [
        {"panel": "definition", "offline": n, "eps": eps, "online": table[i, j]}
        for i, eps in enumerate(accuracies)
        for j, n in enumerate(sizes)
    ]
    rows += [{"panel": "FTPedel", "offline": n, "eps": 0.2, "online": x} for n, row in zip(offline, found) for x in row]
    return fig, pd.DataFrame(rows)


def _expected(mdp: StagedMDP, visits: Array) -> Log:
    """A log with the counts that are expected, to whole numbers."""
    hits = np.round(visits[..., None] * mdp.P)
    return Log(hits, hits.sum(axis=3) * mdp.r)


def separation() -> tuple[Figure, pd.DataFrame]:
    """Ten equal arms, nine of them covered; and the price of verification in two arms."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.3))
    arms, eps, rows = 10, 0.1, []
    r, need = np.full(arms, 0.5), BETA / eps**2
    n = np.linspace(0, 1.2 * need, 61)
    only = [bandit_episodes(r, np.r_[np.full(arms - 1, x), 0.0], eps, BETA) for x in n]
    left.plot(n, only, label="with the log")
    left.axhline(arms * need, color="0.5", ls=":", label="online only")
    left.axhline(need, color="black", ls="--", lw=0.8, label="the arm that nobody tried")
    left.set(xlabel="offline pulls of each of nine arms", ylabel="online pulls", ylim=(0, 1.1 * arms * need))
    left.legend(loc="upper right", bbox_to_anchor=(1.0, 0.9))
    rows += [{"panel": "ten arms", "x": x, "y": y} for x, y in zip(n, only)]
    deltas = np.geomspace(1e-8, 0.2, 60)
    price = [verifiable_pulls(np.array([0.7, 0.5]), np.array([1e6, 0.0]), 0.1, float(d)) for d in deltas]
    right.plot(deltas, price, label="verifiable: at least")
    right.axhline(0, color=OKABE_ITO["vermillion"], label="unverifiable: pessimism's output")
    right.set(
        xscale="log", xlabel="error probability δ", ylabel="online pulls", title="two arms, the better one covered"
    )
    right.legend()
    rows += [{"panel": "verification", "x": d, "y": y} for d, y in zip(deltas, price)]
    return fig, pd.DataFrame(rows)


@lru_cache(maxsize=1)
def grid() -> tuple[StagedMDP, Log]:
    """A grid whose goal pays at the last step, and the log of somebody who always took the same way there."""
    S, A = SIDE * SIDE, 4
    P = np.zeros((STEPS, S, A, S))
    for s in range(S):
        for a, (dy, dx) in enumerate(((0, 1), (1, 0), (0, -1), (-1, 0))):
            y, x = np.clip([s // SIDE + dy, s % SIDE + dx], 0, SIDE - 1)
            P[:, s, a, y * SIDE + x] = 1.0
    r = np.zeros((STEPS, S, A))
    r[-1, S - 1], r[-1, SIDE - 1] = 1.0, 0.8  # the far corner, and a nearer one that the log knows
    mdp = StagedMDP(P, r)
    usual = np.zeros((STEPS, S, A))
    usual[..., 0] = 1.0  # to the right, and stay
    w = 0.9 * staged_occupancy(mdp, usual) + 0.1 * staged_occupancy(mdp, uniform(mdp))
    return mdp, _expected(mdp, np.round(2_000 * w))


def draw_design(axes: list[Axes], needs: OnlineNeeds, log: Log, side: int) -> None:
    """Where a grid's log went and where exploration goes, summed over the steps; arrows for the actions explored
    most."""
    for ax, visits, title in zip(axes, (log.visits, needs.explore), ("where the log went", "where to explore")):
        total = visits.sum(axis=(0, 2)).reshape(side, side)
        ax.imshow(np.where(total > 0.5, np.log10(np.maximum(total, 1)), np.nan), cmap="cividis")
        for s in range(side * side):
            flow = visits.sum(axis=0)[s]
            for a, (dx, dy) in enumerate(((1, 0), (0, 1), (-1, 0), (0, -1))):
                if flow[a] > 0.05 * max(flow.sum(), 1):
                    share = 0.35 * flow[a] / flow.sum()
                    ax.arrow(s % side, s // side, dx * share, dy * share, color="white", width=0.03, head_width=0.12)
            count = total.flat[s]
            if count > 0.5:
                label = ax.text(s % side, s // side - 0.36, f"{count:.0f}", color="white", ha="center", fontsize=5)
                label.set_path_effects([withStroke(linewidth=1, foreground="black")])
        ax.set(xticks=[], yticks=[], title=title, xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)


def exploration(needs: OnlineNeeds, dataset: Log) -> Figure:
    """Where a log went and where exploration goes, for any MDP: a table of states and actions for each step.

    Crosses mark pairs that the log never saw.  Draw it for the answer of
    :func:`~claimlab.mdps.offline_to_online.offline_to_online` and the log that was asked about.
    """
    H, S, A = needs.explore.shape
    fig, axes = plt.subplots(
        2, H, squeeze=False, sharex=True, sharey=True, layout="constrained",
        figsize=(max(COLUMN, 0.9 + H * (0.5 + 0.22 * A)), 1.4 + 0.36 * S),
    )  # fmt: skip
    norm = LogNorm(1, max(float(dataset.visits.max()), float(needs.explore.max()), 10.0))
    for row, visits, title in zip(axes, (dataset.visits, needs.explore), ("the log", "to explore")):
        row[0].set_ylabel(f"{title}\nstate")
        for h, ax in enumerate(row):
            ax.imshow(np.where(visits[h] > 0.5, visits[h], np.nan), norm=norm, aspect="auto")
            for s, a in np.argwhere(needs.unseen[h]).tolist():
                ax.plot(a, s, color=OKABE_ITO["vermillion"], marker="x", ms=3, ls="")
            ax.set(xticks=range(A), yticks=range(S))
            ax.grid(visible=False)
    for h in range(H):
        axes[0, h].set_title(f"step {h}")
        axes[1, h].set_xlabel("action")
    fig.colorbar(ScalarMappable(norm), ax=axes, label="visits")
    alone = f"{needs.verifiable:.3g} and more" if needs.verifiable < H else "none"  # H is the largest return
    fig.suptitle(
        f"{needs.episodes:.0f} online episodes for ε = {needs.eps:g}\nε that the log alone verifies: {alone}",
        fontsize=8,
    )
    return fig


def design() -> tuple[Figure, pd.DataFrame]:
    mdp, log = grid()
    needs = offline_to_online(mdp, log, eps=0.25, beta=BETA)
    fig, axes = plt.subplots(1, 2, figsize=(PAGE * 0.7, 2.5))
    draw_design(list(axes), needs, log, SIDE)
    rows = [
        {"step": h, "state": s, "action": a, "offline": log.visits[h, s, a], "online": needs.explore[h, s, a]}
        for h, s, a in np.ndindex(log.visits.shape)
    ]
    return fig, pd.DataFrame(rows)


FIGURES: tuple[PaperFigure, ...] = (
    PaperFigure(
        "phases",
        r"Left: online episodes that the definition asks for, over the size of a uniform log and the accuracy "
        r"($\beta=8$); beyond "
        r"the exact line the log alone verifies. Right: what FTPedel plays (mean and range of 20 runs) against "
        r"the bound $\lceil\log_2\frac4\epsilon\rceil\sum_hT_{o2o}(64\beta)$.",
        phases,
    ),
    PaperFigure(
        "separation",
        r"Left: ten equal arms, a log of nine: both kinds of data need a tenth of online data alone. Right: a log of "
        r"the better arm "
        r"lets pessimism output it without any online pull, but verifying it costs at least "
        r"$\log\frac1{2.4\delta}/kl$.",
        separation,
    ),
    PaperFigure(
        "grid",
        r"A grid of deterministic moves, horizon 7; the far corner pays 1, the near one, where the log always went, "
        r"0.8. Right: the "
        r"optimal online design, in visits summed over the steps.",
        design,
    ),
)
