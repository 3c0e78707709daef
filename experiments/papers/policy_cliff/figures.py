"""The figures: the reward plane and its cliffs, stability on Gymnasium's tables, radius against gap, data mixtures."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy.special import softmax

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.papers.policy_cliff.alignment import STRATEGIES
from claimlab.experiments.papers.policy_cliff.common import bandit, least_gap, two_sinks
from claimlab.experiments.style import COLUMN, OKABE_ITO, PAGE
from claimlab.mdps.convert import from_gymnasium
from claimlab.mdps.instances import garnet
from claimlab.mdps.tabular import TabularMDP
from claimlab.theory.cells import PlaneMap, mixture_map, reward_plane_map
from claimlab.theory.stability import cliff_radius, facet_distances

CORNERS = [to_rgb(OKABE_ITO[name]) for name in ("blue", "yellow", "vermillion", "green")]


class Palette:
    """Colours for policies, hard or soft: two principal components of the policies, blended between four colours.

    Linear in the policy, so a soft policy has a colour between those of the policies that it mixes.
    """

    def __init__(self, policies: Array) -> None:
        flat = policies.reshape(len(policies), -1)
        self.mean = flat.mean(axis=0)
        self.axes = np.linalg.svd(flat - self.mean, full_matrices=False)[2][:2].T
        at = (flat - self.mean) @ self.axes
        self.low, self.high = at.min(axis=0), at.max(axis=0)

    def __call__(self, policies: Array) -> Array:
        at = (policies.reshape(len(policies), -1) - self.mean) @ self.axes
        x, y = np.clip((at - self.low) / np.maximum(self.high - self.low, 1e-12), 0, 1).T[:, :, None]
        a, b, c, d = (np.array(corner) for corner in CORNERS)
        return (1 - x) * (1 - y) * a + x * (1 - y) * b + x * y * c + (1 - x) * y * d


def _one_hot(cells: PlaneMap) -> Array:
    return np.stack([np.eye(cells.mdp.n_actions)[cell.policy] for cell in cells.cells])


def _borders(ax: Axes, cells: PlaneMap, colour: str = "white") -> None:
    outlines = [cell.polygon for cell in cells.cells]
    ax.add_collection(PolyCollection(outlines, facecolors="none", edgecolors=colour, linewidths=0.6))


def _tiles(ax: Axes, cells: PlaneMap, colours: Array) -> None:
    outlines = [cell.polygon for cell in cells.cells]
    ax.add_collection(PolyCollection(outlines, facecolors=colours, edgecolors="white", linewidths=0.6))


def _soft_policies(mdp: TabularMDP, rewards: Array, alpha: float) -> Array:
    """Soft optimal policies of many rewards at once, float[B, S, A], to the width of a colour."""
    flat, q = mdp.P.reshape(-1, mdp.n_states).T, rewards
    for _ in range(int(np.log(1e-6) / np.log(mdp.gamma))):
        v = alpha * np.logaddexp.reduce(q / alpha, axis=2)
        q = rewards + mdp.gamma * (v @ flat).reshape(rewards.shape)
    return softmax(q / alpha, axis=2)


def _table(cells: PlaneMap) -> pd.DataFrame:
    rows = [
        {"cell": i, "policy": "".join(map(str, cell.policy)), "area": cell.area, "x": x, "y": y}
        for i, cell in enumerate(cells.cells)
        for x, y in cell.polygon
    ]
    return pd.DataFrame(rows)


def reward_map() -> tuple[Figure, pd.DataFrame]:
    rng = np.random.default_rng(7)
    mdp = garnet(5, 3, 2, 0.8, rng)
    cells = reward_plane_map(mdp, rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), ((-2.0, 2.0), (-2.0, 2.0)))
    palette, side = Palette(_one_hot(cells)), np.linspace(-1.99, 1.99, 160)
    grid = np.stack(np.meshgrid(side, side), axis=2).reshape(-1, 2)
    rewards = np.einsum("jn,jsa->nsa", np.c_[np.ones(len(grid)), grid].T, cells.rewards)
    fig, axes = plt.subplots(1, 4, figsize=(PAGE, 1.95), sharey=True)
    _tiles(axes[0], cells, palette(_one_hot(cells)))
    axes[0].set_title("optimal policy")
    extent = (-2.0, 2.0, -2.0, 2.0)
    distance = cells.distance(grid).reshape(len(side), -1)
    image = axes[1].imshow(distance, origin="lower", extent=extent, interpolation="bilinear")
    _borders(axes[1], cells)
    axes[1].set_title("distance to the cliff")
    fig.colorbar(image, ax=axes[1], shrink=0.75, pad=0.02)
    for ax, alpha in zip(axes[2:], (0.1, 1.0)):
        colours = palette(_soft_policies(mdp, rewards, alpha)).reshape(len(side), len(side), 3)
        ax.imshow(colours, origin="lower", extent=extent)
        ax.set_title(rf"soft policy, $\alpha={alpha:g}$")
    for ax in axes:
        ax.set(xlim=(-2, 2), ylim=(-2, 2), xlabel="$x$", aspect="equal")
        ax.grid(False)
    axes[0].set_ylabel("$y$")
    return fig, _table(cells)


def stability_on_gymnasium() -> tuple[Figure, pd.DataFrame]:
    lake, taxi = from_gymnasium("FrozenLake8x8-v1", 0.99), from_gymnasium("Taxi-v4", 0.99)
    near = [facet_distances(mdp).min(axis=1) for mdp in (lake, taxi)]
    near = [np.where(distance > 1e-12, distance, 0.0) for distance in near]  # ties, up to rounding
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.6), width_ratios=(1, 1.15))
    field = np.where(lake.terminal[:64], np.nan, near[0][:64]).reshape(8, 8)
    positive = np.where(field > 0, field, np.nan)
    shades = plt.get_cmap("cividis").copy()
    shades.set_bad("0.85")
    image = left.imshow(np.log10(positive), cmap=shades)
    for (row, column), value in np.ndenumerate(field):
        if np.isnan(value):
            left.text(column, row, "end", ha="center", va="center", fontsize=5, color="0.4")
        elif value == 0:
            left.text(column, row, "tie", ha="center", va="center", fontsize=5)
    fig.colorbar(image, ax=left, label=r"$\log_{10}$ distance")
    left.set(title="FrozenLake 8x8: nearest facet of each state", xticks=[], yticks=[])
    left.grid(False)
    live = ~taxi.terminal
    order = np.sort(near[1][live])
    shown = order[np.isfinite(order)]
    right.step(shown, np.arange(1, len(shown) + 1) / len(shown), where="post", color=OKABE_ITO["blue"])
    right.set(xscale="symlog", xlabel="distance to the nearest facet", ylabel="share of states")
    right.set_xscale("symlog", linthresh=1e-3)
    right.set_title(f"Taxi: {np.mean(shown == 0):.0%} of the states have tied actions")
    data = pd.concat(
        pd.DataFrame({"environment": name, "state": np.arange(len(distance)), "distance": distance})
        for name, distance in zip(("FrozenLake8x8-v1", "Taxi-v4"), near)
    )
    return fig, data


def radius_against_gap() -> tuple[Figure, pd.DataFrame]:
    rng, gamma, rows = np.random.default_rng(0), 0.9, []
    for _ in range(3_000):
        S, A = int(rng.integers(1, 7)), int(rng.integers(2, 5))
        P = rng.dirichlet(np.full(S, rng.choice([0.05, 1.0])), size=(S, A))
        rows.append(("random", TabularMDP(P, rng.normal(size=(S, A)), gamma)))
    for gap in np.logspace(-3, 0.3, 12):
        for name, case in (("one state", bandit(gap)), ("two sinks", two_sinks(gamma, gap))):
            rows.append((name, TabularMDP(case["P"], case["R"], gamma)))
    found = [(name, cliff_radius(mdp), mdp) for name, mdp in rows]
    data = pd.DataFrame(
        {"instance": name, "states": mdp.n_states, "gap": least_gap(mdp, c.policy), "radius": c.radius}
        for name, c, mdp in found
        if c.unique
    )
    fig, ax = plt.subplots(figsize=(COLUMN, 2.6))
    line = np.array([1e-4, 10])
    ax.fill_between(line, (1 - gamma) * line / 2, line / 2, color="0.9", lw=0, label="the sandwich")
    ax.plot(line, line / 2, color="0.4", lw=0.8)
    ax.plot(line, (1 - gamma) * line / 2, color="0.4", lw=0.8, ls="--")
    for name, marker, colour, size in (
        ("random", ".", "blue", 3),
        ("one state", "^", "vermillion", 14),
        ("two sinks", "v", "green", 14),
    ):
        part = data[data["instance"] == name]
        ax.scatter(part["gap"], part["radius"], s=size, marker=marker, color=OKABE_ITO[colour], lw=0, label=name)
    ax.set(xscale="log", yscale="log", xlim=(3e-4, 4), ylim=(1e-5, 3))
    ax.set(xlabel=r"least gap $\Delta_{\min}$", ylabel="cliff radius", title=r"$\gamma = 0.9$")
    ax.legend(loc="upper left")
    return fig, data


def mixture_triangle() -> tuple[Figure, pd.DataFrame]:
    rng = np.random.default_rng(3)
    mdp = garnet(5, 3, 2, 0.8, rng)
    cells = mixture_map(mdp, rng.normal(size=(3, 5, 3)))
    palette = Palette(_one_hot(cells))
    corners = np.array([[0.5, np.sqrt(3) / 2], [1.0, 0.0], [0.0, 0.0]])  # of R1, R2, R3

    def place(xy: Array) -> Array:
        return np.c_[xy, 1 - xy.sum(axis=1)] @ corners

    outlines = [place(cell.polygon) for cell in cells.cells]
    weights = rng.dirichlet(np.ones(3), 40_000)
    weights = weights[weights.min(axis=1) > 1e-6]
    fig, axes = plt.subplots(1, 2, figsize=(PAGE * 0.75, 2.3))
    colours = palette(_one_hot(cells))
    axes[0].add_collection(PolyCollection(outlines, facecolors=colours, edgecolors="white", linewidths=0.6))
    at, distance = weights @ corners, cells.distance(weights[:, :2])
    image = axes[1].tripcolor(*at.T, distance, shading="gouraud", rasterized=True)
    axes[1].add_collection(PolyCollection(outlines, facecolors="none", edgecolors="white", linewidths=0.6))
    fig.colorbar(image, ax=axes[1], shrink=0.8)
    for ax, title in zip(axes, (f"optimal policy: {len(cells.cells)} cells", "distance to the cliff")):
        for (x, y), label, below in zip(corners, ("$R_1$", "$R_2$", "$R_3$"), (False, True, True)):
            ax.text(x, y + (-0.03 if below else 0.03), label, ha="center", va="top" if below else "bottom")
        ax.set(title=title, aspect="equal", xlim=(-0.06, 1.06), ylim=(-0.12, 0.98))
        ax.axis("off")
    return fig, _table(cells)


def monitor_map() -> tuple[Figure, pd.DataFrame]:
    disguise, leak = 0.25, 0.4
    mdp = TabularMDP(np.ones((1, 3, 1)), [[0.0, 1.0, 1 - disguise]], 0.0)
    cells = reward_plane_map(mdp, [[0.0, -1.0, -leak]], [[1.0, 0.0, 0.0]], ((0.0, 1.5), (0.0, 1.0)))
    colours = [OKABE_ITO[("green", "sky", "orange")[cell.policy[0]]] for cell in cells.cells]
    fig, ax = plt.subplots(figsize=(COLUMN, 2.3))
    _tiles(ax, cells, np.array([to_rgb(colour) for colour in colours]))
    for cell in cells.cells:
        x, y = cell.polygon.mean(axis=0)
        ax.text(x, y, STRATEGIES[cell.policy[0]].replace(" ", "\n"), ha="center", va="center")
    ax.set(xlim=(0, 1.5), ylim=(0, 1), xlabel="fine $c$ of the monitor", ylabel="success $q$ of honest work")
    ax.grid(False)
    return fig, _table(cells)


FIGURES = (
    PaperFigure(
        "reward-map",
        r"A plane of rewards $R_0 + xR_1 + yR_2$ of a random MDP (5 states, 3 actions, $\gamma = 0.8$), exactly: the "
        "cells on which each policy is optimal, the supremum-norm distance to the nearest reward with another optimal "
        "policy, and the entropy-regularised policy at two temperatures. Colours are linear in the policy, so a soft "
        "policy's lies "
        "between those of the policies that it mixes.",
        reward_map,
    ),
    PaperFigure(
        "stability-on-gymnasium",
        r"How large a reward error must be before a deviation in a state pays, on Gymnasium's tables ($\gamma = 0.99$, "
        "rewards of terminal states exact). States with tied actions are on the cliff.",
        stability_on_gymnasium,
    ),
    PaperFigure(
        "radius-against-gap",
        r"Cliff radius against the least gap for 3000 random MDPs and the two extreme families, with the bounds "
        r"$(1-\gamma)\Delta_{\min}/2$ (dashed) and $\Delta_{\min}/2$, both attained.",
        radius_against_gap,
    ),
    PaperFigure(
        "mixture-triangle",
        r"Three reward models mixed by weights: every mixture $w_1R_1 + w_2R_2 + w_3R_3$ of a random MDP (5 states, 3 "
        r"actions, $\gamma = 0.8$), coloured by its optimal policy, and the distance to the data-mixture cliff.",
        mixture_triangle,
    ),
    PaperFigure(
        "monitor-map",
        "Illustration: a weak grader that hacks always pass, and a monitor that fines a transparent hack by $c$ and "
        "sees through a disguise (cost 0.25) with probability 0.4. For moderate honest success, raising the fine leads "
        "to "
        "obfuscation before it leads to honesty.",
        monitor_map,
    ),
)
