"""The gain of a step against Theorem 3.1, drawn."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.papers.pav.common import LAWS, PROVER, SLOPES, slope
from claimlab.experiments.papers.pav.theorem import printed_gain, two_children
from claimlab.experiments.style import PAGE


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.4))
    eps = np.geomspace(1e-3, 0.5, 40)
    gain, printed = [], []
    for e in eps:
        case = {name: x[None] for name, x in two_children(float(e)).items()}
        policy, prover = [case[n] for n in LAWS], [case[n] for n in PROVER]
        gain.append(float(slope(case["leaf"], policy, prover, np.ones(1))[0]))
        printed.append(float(printed_gain(case["leaf"], policy, prover, policy)[0]))
    left.plot(eps, printed, ls="--", label="Theorem 3.1 as printed")
    left.plot(eps, gain, label="exact gain of a small step")
    left.set(xscale="log", yscale="log", xlabel="success of the policy in either child", ylabel="gain / γ")
    left.legend()
    rows = [{"panel": "two children", "x": e, "gain": g, "printed": p} for e, g, p in zip(eps, gain, printed)]
    rng = np.random.default_rng(0)
    blocks = [SLOPES.draw_block(rng, 40) for _ in range(40)]
    for block in blocks:
        policy, prover = [block[n] for n in LAWS], [block[n] for n in PROVER]
        g = slope(block["leaf"], policy, prover, np.ones(40))
        b = printed_gain(block["leaf"], policy, prover, policy)
        right.plot(b, g, ".", ms=2, color="#0072B2", alpha=0.5)
        rows += [{"panel": "random trees", "x": np.nan, "gain": x, "printed": y} for x, y in zip(g, b)]
    ends = np.array([-0.3, 0.8])
    right.plot(ends, ends, color="black", lw=0.8, ls="--")
    right.annotate("violated below the line", (0.35, 0.05), fontsize=6, color="0.3")
    right.set(xlabel="as printed", ylabel="exact gain / γ", title="random trees", xlim=ends, ylim=ends)
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "gain-against-theorem",
        r"The gain of a small natural policy gradient step with a prover's advantage, over the step size, against "
        r"the lower "
        r"bound of Theorem 3.1 as printed. Left: a policy that succeeds with probability $\epsilon$ whatever the "
        r"first action, "
        r"and a prover that solves one child only: no constant saves the bound. Right: random trees.",
        _draw,
    ),
)
