"""The figure: laws of the data on three pairs, and the error of the worst minimiser."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.papers.realizability.samples import DELTA, FLOOR, LENGTH, chain_class, worst_errors
from claimlab.experiments.style import PAGE
from claimlab.theory.realizability import (
    PairChain,
    bellman_error_bound,
    concentrability,
    contraction,
    finite_incompleteness,
    incompleteness,
    moments,
    td_margin,
)


def _simplex_maps() -> tuple[Figure, pd.DataFrame]:
    P, phi = np.array([[0.0, 0.3, 0.7], [0.1, 0.0, 0.9], [0.0, 0.0, 1.0]]), np.array([[1.0], [1.5], [2.0]])
    gamma, steps = 0.95, 60
    fig, axes = plt.subplots(1, 3, figsize=(PAGE, 2.4))
    rows = []
    for i in range(1, steps):
        for j in range(1, steps - i):
            mu = np.array([i, j, steps - i - j]) / steps
            m = moments(PairChain(P, np.zeros(3), gamma, mu, np.eye(3)[0]), phi)
            rows.append({"mu1": mu[0], "mu2": mu[1], "beta": incompleteness(m), "A": float(m.A[0, 0]),
                         "TD": td_margin(m) > 0, "contraction": contraction(m) < 1,
                         "C": concentrability(m)})  # fmt: skip
    data = pd.DataFrame(rows)
    shown = axes[0].scatter(data["mu1"], data["mu2"], c=data["beta"], s=6, marker="s", lw=0, vmin=0, vmax=1)
    fig.colorbar(shown, ax=axes[0], label="β")
    # one feature: A is linear in mu, and vanishes on a line
    slopes = phi[:, 0] * (phi[:, 0] - gamma * P @ phi[:, 0])
    x = np.linspace(0, 1, 200)
    y = -(slopes[2] + x * (slopes[0] - slopes[2])) / (slopes[1] - slopes[2])
    inside = (y >= 0) & (x + y <= 1)
    state = np.where(data["contraction"], 2, np.where(data["TD"], 1, 0))
    for value, label, colour in (
        (2, "contraction", "#0072B2"),
        (1, "TD converges", "#56B4E9"),
        (0, "TD diverges", "#E69F00"),
    ):
        part = data[state == value]
        if part.empty:
            continue
        axes[1].plot(part["mu1"], part["mu2"], "s", ms=2.2, color=colour, label=label, mew=0)
    axes[1].legend(loc="upper right", fontsize=6, markerscale=2)
    for ax in axes[:2]:
        ax.plot(x[inside], y[inside], color="white", lw=2.2)
        ax.plot(x[inside], y[inside], color="black", lw=1)
        ax.set(xlabel="share of pair 1", ylabel="share of pair 2", xlim=(0, 1), ylim=(0, 1))
    axes[0].set_title("incompleteness; line: A = 0")
    n = np.array([250, 1_000, 4_000, 16_000])
    for beta, colour in ((0.0, "#0072B2"), (0.5, "#D55E00")):
        errors = np.array([worst_errors(beta, LENGTH, int(k), 60, 0) for k in n])
        axes[2].plot(n, errors.mean(axis=1), marker="o", color=colour, label=f"chain b = {beta:g}")
        chain, F = chain_class(beta, LENGTH)
        own = finite_incompleteness(chain, F, floor=FLOOR).beta
        axes[2].plot(n, [bellman_error_bound(5.0, int(k), len(F), own, DELTA) for k in n], ls="--", color=colour)
    short = np.array([worst_errors(0.5, 12, int(k), 60, 0) for k in n])
    axes[2].plot(n, short.mean(axis=1), marker="x", color="0.4", label="chain too short")
    axes[2].set(xscale="log", yscale="log", xlabel="tuples", ylabel="Bellman error", title="dashed: bound")
    axes[2].legend(fontsize=6, loc="center right", bbox_to_anchor=(1.0, 0.6))
    return fig, data


FIGURES = (
    PaperFigure(
        "sampling-laws",
        r"Left and middle: one feature, three pairs, $\gamma=0.95$, over all laws of the data: incompleteness, with "
        r"the exact line "
        r"on which LSTD's matrix is singular and $\beta=1$; where temporal differences and the projected operator "
        r"converge. "
        r"Right: Bellman error of the worst minimiser of the minimax criterion (mean of 60 data sets) and the bound "
        r"with "
        r"constant 5.",
        _simplex_maps,
    ),
)
