"""Groups against a single stream, drawn."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.papers.spo.population import errors
from claimlab.experiments.style import PAGE


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, axes = plt.subplots(1, 3, figsize=(PAGE, 2.2))
    sizes, rows = np.arange(2, 33), []
    for label, y, style in (
        ("own mean: 1 − 1/G", 1 - 1 / sizes, "-"),
        ("as printed: 1 + 1/G", 1 + 1 / sizes, "--"),
        ("others' mean: 1 + 1/(G − 1)", 1 + 1 / (sizes - 1), "-."),
    ):
        axes[0].plot(sizes, y, style, label=label)
        rows += [{"panel": "variance of r - b", "series": label, "x": x, "y": v} for x, v in zip(sizes, y)]
    axes[0].set(xlabel="group size G", ylabel="variance, over that of r − p", ylim=(0.4, 2.6))
    axes[0].legend(loc="upper right", fontsize=6)
    p = np.linspace(0.01, 0.99, 99)
    for G in (4, 8, 16):
        y = p**G + (1 - p) ** G
        axes[1].plot(p, y, label=f"G = {G}")
        rows += [{"panel": "degenerate groups", "series": f"G = {G}", "x": x, "y": v} for x, v in zip(p, y)]
    axes[1].set(xlabel="success probability p", ylabel="share of groups without signal", ylim=(0, 1))
    axes[1].legend()
    drifts = np.array([0.0, 1.0, 2.0, 4.0, 8.0])
    ratio = np.array([np.divide(*errors(40, 1, float(d))[::-1]) for d in drifts])
    axes[2].fill_between(drifts, *np.quantile(ratio, (0.1, 0.9), axis=1), alpha=0.25, lw=0)
    axes[2].plot(drifts, ratio.mean(axis=1), marker="o")
    axes[2].axhline(1, color="black", lw=0.8, ls="--")
    axes[2].set(xlabel="drift of the logits over the run", ylabel="squared error: groups / SPO", ylim=(0, None))
    rows += [{"panel": "errors", "series": "mean", "x": d, "y": y} for d, y in zip(drifts, ratio.mean(axis=1))]
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "group-against-stream",
        r"Left: the variance of $r-b$ for three baselines of $G$ answers; Appendix C takes the second for the first. "
        r"Middle: groups without signal. Right: squared error of the gradient estimate at equal samples, groups of 8 "
        r"over "
        r"a single stream with the tracker, in a population of 256 drifting prompts (mean and 10-90 % band of 40 "
        r"runs).",
        _draw,
    ),
)
