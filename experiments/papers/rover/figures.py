"""Temperature and depth, drawn."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.papers.rover.sampler import sampler_success
from claimlab.experiments.style import PAGE


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.3))
    rhos = np.geomspace(0.02, 5, 120)
    success = np.array([sampler_success(rho) for rho in rhos])
    key = np.exp(-0.25 / rhos), np.exp(-1 / rhos)
    reached = 1 / (1 + 3 * key[0])
    bound = 1 - 3 * key[0] / (1 + 3 * key[0]) - reached * 3 * key[1] / (1 + 3 * key[1])
    left.plot(rhos, success, label="success of the sampler")
    left.plot(rhos, bound, ls="--", label="bound of Theorem 3.2")
    left.plot([1], [sampler_success(1.0)], "o", color="black", ms=4)
    left.annotate(
        f"ρ = 1: {sampler_success(1.0):.3f}", (1, sampler_success(1.0)), (0.5, 0.42), arrowprops={"arrowstyle": "-"}
    )
    left.set(xscale="log", xlabel="temperature ρ", ylabel="success", ylim=(0, 1.03), title="the didactic tree, 4 of 64")
    left.legend(loc="upper right")
    rows = [{"panel": "sampler", "x": rho, "success": s, "bound": b} for rho, s, b in zip(rhos, success, bound)]
    n = np.unique(np.geomspace(1, 1e6, 60).astype(int))
    for depth in (2, 4, 6, 8):
        chance = 1 - (1 - 4.0 ** -(depth - 1)) ** n
        right.plot(n, chance, label=f"depth {depth}")
        rows += [{"panel": f"depth {depth}", "x": k, "success": c, "bound": np.nan} for k, c in zip(n, chance)]
    right.set(
        xscale="log", xlabel="uniform roll-outs of each first action", ylabel="chance to see it",
        title="four actions a step, one correct answer", ylim=(0, 1.03),
    )  # fmt: skip
    right.legend(loc="lower right")
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "temperature-and-depth",
        r"Left: success of $\pi_s\propto e^{Q^u/\rho}$ in the didactic example of four modes, with the lower bound of "
        r"Theorem 3.2; at the paper's $\rho=1$ it is 0.142. Right: how many uniform roll-outs it takes before the "
        r"value "
        r"of the uniform policy can tell the right first action from the others at all, exactly.",
        _draw,
    ),
)
