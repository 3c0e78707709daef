"""A user's claim file: claims of each kind, one of them refuted as expected, and a figure.  Fast and deterministic."""

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.experiments.figures import PaperFigure
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import (
    Comparison,
    Identity,
    Inequality,
    Outcome,
    Probability,
    Rate,
    comparison,
    probability,
    rate,
)

PAPER = Paper("sample", "On & about <samples>", "A. Author, B. Béla", "Venue 2025", "2501.00001", "A")


def square(budget: Budget, shift: float = 0.0) -> Identity:
    x = budget.rng().integers(0, 1000, budget.instances)
    residual = abs((x + 1) ** 2 - (x**2 + 2 * x + 1 + shift))
    return Identity(float(residual.max()), 0.0, len(x), "rational", {"x": int(x[residual.argmax()])})


def triangle(budget: Budget, scale: float = 1.0) -> Inequality:
    x = budget.rng().normal(size=(budget.instances, 3))
    ratio = np.linalg.norm(x, axis=1) / (scale * abs(x).sum(axis=1))
    worst = x[ratio.argmax()]
    bound = scale * abs(worst).sum()
    excess = float(np.linalg.norm(worst) - bound)
    witness = {"x": worst, "norm": np.linalg.norm(worst), "bound": bound}
    return Inequality(float(ratio.max()), excess, 1e-12, len(x), len(x), len(x), budget.instances, witness)


def linear(budget: Budget, exponent: float = 1.0) -> Rate:
    rng = budget.rng()
    sizes = np.array([10.0, 20.0, 40.0, 80.0])
    return rate(sizes, sizes * rng.lognormal(0, 0.03, (20, 4)), exponent=exponent, side="at most", rng=rng)


def rare(budget: Budget, delta: float = 0.05) -> Probability:
    return probability(int(budget.rng().binomial(2000, 0.02)), 2000, delta)


def better(budget: Budget, sign: float = 1.0) -> Comparison:
    rng = budget.rng()
    return comparison(sign * rng.normal(1, 1, 60), np.zeros(60), effect=0.1, rng=rng)


CLAIMS = (
    Claim("sample/square", PAPER, "Eq. 1", "$(x+1)^2 = x^2+2x+1$ for whole $x$.", Identity, ("$x \\in \\mathbb{N}$",),
          square, partial(square, shift=1.0), "the same plus 1"),
    Claim("sample/norms", PAPER, "Lemma 2", r"$\|x\|_2 \le \|x\|_1$ for $x \in \mathbb{R}^3$.", Inequality, (),
          triangle, partial(triangle, scale=0.5), "with half the bound"),
    Claim("sample/half", PAPER, "Lemma 3", r"$\|x\|_2 \le \frac12 \|x\|_1$.", Inequality, (),
          partial(triangle, scale=0.5), triangle, "with the whole bound", Outcome.REFUTED),
    Claim("sample/linear", PAPER, "Theorem 4", "$y$ grows as $O(n)$.", Rate, (),
          linear, partial(linear, exponent=0.5), r"$O(\sqrt n)$"),
    Claim("sample/rare", PAPER, "Theorem 5", r"fails with probability at most $\delta$.", Probability, (),
          rare, partial(rare, delta=0.001), r"$\delta = 0.001$"),
    Claim("sample/better", PAPER, "Figure 6", "A beats B.", Comparison, (),
          better, partial(better, sign=-1.0), "B beats A"),
)  # fmt: skip


def draw() -> tuple[Figure, pd.DataFrame]:
    data = pd.DataFrame({"x": [1, 2, 3], "y": [1.0, 4.0, 9.0]})
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot(data.x, data.y)
    axes.set(xlabel="$x$", ylabel="$x^2$")
    return figure, data


FIGURES = (PaperFigure("squares", "The function $x^2$ & its values.", draw),)
