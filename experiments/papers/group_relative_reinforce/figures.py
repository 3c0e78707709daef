"""The figures: ends of training and staleness on the three arms, and all laws of the data."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.papers.group_relative_reinforce.common import LAW, REWARD
from claimlab.experiments.papers.group_relative_reinforce.staleness import boundary, stale
from claimlab.experiments.style import OKABE_ITO, PAGE
from claimlab.theory.data_laws import slope, worst_law
from claimlab.theory.group_relative import flow_limit, red_threshold, train

ADVANTAGE = REWARD - LAW @ REWARD


def three_arms() -> tuple[Figure, pd.DataFrame]:
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.4))
    rows: list[dict[str, Any]] = []
    betas, temperatures = np.geomspace(0.02, 30, 120), np.geomspace(0.05, 3, 120)
    panels = {
        "AsymRE": (betas, [flow_limit(LAW * (ADVANTAGE + b)) for b in betas]),
        "RED-Weight": (temperatures, [flow_limit(LAW * np.exp(ADVANTAGE / t) * ADVANTAGE) for t in temperatures]),
    }
    for ax, (name, (x, found)) in zip(axes, panels.items()):
        ends = np.array(found)
        for k in range(3):
            ax.plot(x, ends[:, k], label=f"arm {k + 1}, r = {REWARD[k]:g}")
        rows += [{"method": name, "parameter": a, **dict(zip(("p1", "p2", "p3"), p))} for a, p in zip(x, ends)]
        ax.set(xscale="log", ylim=(0, 1.02))
    for share in LAW:
        axes[0].axhline(share, color="0.8", lw=0.8, zorder=0)
    axes[0].set(xlabel="β of AsymRE", ylabel="limit of training", title="grey: the data's law")
    axes[0].legend(fontsize=6)
    axes[1].axvline(red_threshold(LAW, REWARD), color="black", lw=0.8, ls="--")
    axes[1].set(xlabel="temperature of RED-Weight", title="dashed: the exact threshold")
    return fig, pd.DataFrame(rows)


def on_triangle(p: Array) -> tuple[Array, Array]:
    """Coordinates of laws on three answers, float[..., 3], in an equilateral triangle."""
    return p[..., 1] + p[..., 2] / 2, np.sqrt(3) / 2 * p[..., 2]


def _triangle(ax: Axes, names: tuple[str, str, str]) -> None:
    x, y = on_triangle(np.eye(3)[[0, 1, 2, 0]])
    ax.plot(x, y, color="0.4", lw=0.8)
    for at, name, where in zip(np.eye(3), names, ((-8, -9), (8, -9), (0, 3))):
        ax.annotate(name, on_triangle(at), xytext=where, textcoords="offset points", ha="center", fontsize=6.5)
    ax.set(aspect="equal", xlim=(-0.15, 1.15), ylim=(-0.13, 1.0))
    ax.axis("off")


STARTS = np.array([[0.3, 0.6, 0.1], [0.8, 0.1, 0.1], [0.05, 0.05, 0.9], [0.45, 0.1, 0.45], [0.1, 0.85, 0.05]])


def flows() -> tuple[Figure, pd.DataFrame]:
    """Training from data of a fixed law, simulated from five starts, and where the limit theorem says it ends."""
    kinds = {
        "REINFORCE: a vertex": ADVANTAGE,
        "AsymRE, β = 0.3: a side": ADVANTAGE + 0.3,
        "AsymRE, β = 1: inside": ADVANTAGE + 1.0,
        "RED-Weight, T = 0.1: a side": np.exp(ADVANTAGE / 0.1) * ADVANTAGE,
    }
    fig, axes = plt.subplots(1, 4, figsize=(PAGE, 1.9))
    rows: list[dict[str, Any]] = []
    for ax, (name, g) in zip(axes, kinds.items()):
        _triangle(ax, ("arm 1", "arm 2", "arm 3"))
        size = 0.25 / float((LAW * abs(g)).max())
        for i, start in enumerate(STARTS):
            path = train(LAW, REWARD, lambda ratio, A, g=g: g, size=size, steps=2_000, start=start)  # type: ignore[misc]
            shown = path[np.unique(np.geomspace(1, 2_000, 150).astype(int)) - 1]
            ax.plot(*on_triangle(shown), color=OKABE_ITO["sky"], lw=0.9)
            ax.plot(*on_triangle(start), "o", color=OKABE_ITO["blue"], ms=2.5)
            rows += [{"method": name, "start": i, **dict(zip(("p1", "p2", "p3"), p))} for p in shown]
        end = flow_limit(LAW * g)
        ax.plot(*on_triangle(end), "*", color=OKABE_ITO["vermillion"], ms=8, zorder=3)
        ax.set_title(name, fontsize=7)
        rows.append({"method": name, "start": -1, **dict(zip(("p1", "p2", "p3"), end))})
    return fig, pd.DataFrame(rows)


SYNCS = np.unique(np.geomspace(1, 400, 13).astype(int))
RATES = np.geomspace(0.2, 20, 13)
STEPS, LEVEL = 10_000, 0.9  # gradient steps, and the value half way between the second arm's and the best


def staleness_map() -> tuple[Figure, pd.DataFrame]:
    """Value at the end over sync interval and step size, simulated; the boundary from the closed form."""
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.5), sharey=True)
    rows: list[dict[str, Any]] = []
    for ax, clip in zip(axes, (False, True)):
        table = np.array(
            [[stale(LAW, REWARD, int(m), float(s), clip, 0.2, 0.2, STEPS) @ REWARD for m in SYNCS] for s in RATES]
        )
        shown = ax.pcolormesh(SYNCS, RATES, table, shading="nearest", vmin=0.7, vmax=1, rasterized=True)
        rows += [
            {"clip": clip, "m": int(m), "step": s, "value": table[i, j]}
            for i, s in enumerate(RATES)
            for j, m in enumerate(SYNCS)
        ]
        ax.set(xscale="log", yscale="log", xlabel="sync interval m", ylim=(RATES[0], RATES[-1]))
    fig.colorbar(shown, ax=axes, label="value at the end")
    fine = np.unique(np.geomspace(1, 400, 60).astype(int))
    edge = np.array([boundary(LAW, REWARD, int(m), STEPS, LEVEL, RATES[0], 1e3) for m in fine])
    kept = (edge > RATES[0]) & (edge < RATES[-1])
    for colour, width in (("white", 2.4), ("black", 1.2)):
        axes[0].plot(fine[kept], edge[kept], color=colour, lw=width)
    axes[0].set(ylabel="step size", title="REINFORCE; line: exact boundary of 0.9")
    axes[1].set_title("the same with the clip 0.2")
    rows += [{"clip": False, "m": int(m), "step": s, "value": LEVEL} for m, s in zip(fine[kept], edge[kept])]
    return fig, pd.DataFrame(rows)


def data_laws() -> tuple[Figure, pd.DataFrame]:
    """All laws on three answers: how fast they move the policy's value, and the answer on which training ends."""
    policy, r, steps = LAW, REWARD, 80
    grid = [np.array([i, j, steps - i - j]) / steps for i in range(steps + 1) for j in range(steps + 1 - i)]
    rows = [
        {"b2": b[1], "b3": b[2], "slope": slope(b, policy, r), "limit": int((b * (r - b @ r)).argmax()) + 1}
        for b in grid
    ]
    data = pd.DataFrame(rows)
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.6))
    worst = worst_law(policy, r)
    scale = TwoSlopeNorm(0.0, worst.slope, max(row["slope"] for row in rows))  # the falls are small beside the rises
    shown = axes[0].tripcolor(
        data["b2"], data["b3"], data["slope"], cmap="RdBu", norm=scale, shading="gouraud", rasterized=True
    )
    axes[0].tricontour(data["b2"], data["b3"], data["slope"], levels=[0.0], colors="black", linewidths=1)
    fig.colorbar(shown, ax=axes[0], label="slope of the value", ticks=[worst.slope, 0, 0.02, 0.04, 0.06])
    axes[0].plot(*worst.law[1:], "k*", ms=7, clip_on=False, label="worst law")
    axes[0].plot(*policy[1:], "ko", ms=4, label="the policy's own")
    inside = (data["b2"] > 0) & (data["b3"] > 0) & (data["b2"] + data["b3"] < 1 - 1e-9)
    for k, colour in ((2, "#E69F00"), (3, "#0072B2")):
        part = data[(data["limit"] == k) & inside]
        axes[1].plot(part["b2"], part["b3"], "s", ms=2.7, color=colour, mew=0, label=f"ends on answer {k}")
    m = np.linspace(0, 1, 200)[1:-1] * (r[1] - r[0]) + r[0]  # b2 (r2 - m) = b3 (r3 - m) at the mean m: exact
    b3 = (m - r[0]) / ((r[1] - r[0]) * (r[2] - m) / (r[1] - m) + r[2] - r[0])
    b2 = b3 * (r[2] - m) / (r[1] - m)
    axes[1].plot(b2[b2 + b3 <= 1], b3[b2 + b3 <= 1], color="black", lw=1)
    axes[1].plot(*policy[1:], "ko", ms=4, label="the policy's own")
    for ax in axes:
        ax.set(xlabel=f"share of answer 2, r = {r[1]:g}", ylabel=f"share of answer 3, r = {r[2]:g}")
        ax.set(xlim=(0, 1), ylim=(0, 1))
        ax.legend(loc="upper right", fontsize=6, markerscale=1.2)
    return fig, data


FIGURES = (
    PaperFigure(
        "three-arms",
        r"The three-armed bandit of the paper, exactly: where training on data of a fixed law ends. Left: for AsymRE. "
        r"Right: for RED-Weight, with the exact temperature below which the best arm leads.",
        three_arms,
    ),
    PaperFigure(
        "flows",
        r"Training from data of the law $(0.3,0.6,0.1)$ on the three arms, simulated from five starts (dots); stars: "
        r"the limits, the largest $c_a$ where $\sum_ac_a=0$ and the projection of $c/\sum_ac_a$ onto the simplex where "
        r"it is positive.",
        flows,
    ),
    PaperFigure(
        "staleness",
        r"The three arms after 10 000 exact gradient steps on data that are refreshed every $m$ steps. Left: REINFORCE "
        r"collapses onto the second arm (0.8) beyond a product of interval and step size; the line, where the value is "
        r"0.9, is computed from the closed form of a whole interval, not from the simulation. Right: with the clip.",
        staleness_map,
    ),
    PaperFigure(
        "laws",
        r"All laws of the data on the three answers of the paper, for $\pi=(0.3,0.6,0.1)$. Left: how fast exact "
        r"REINFORCE moves the value; between the line and the edge it falls, and worst of all is half of each of the "
        r"two better answers. Right: the answer on which training from that law ends, with the exact boundary.",
        data_laws,
    ),
)
