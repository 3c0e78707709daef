"""The figures: certificate and exact adversary, where it strikes, and CartPole under a searched attack."""

from __future__ import annotations

from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.papers.policy_smoothing.cartpole import HORIZON, SIGMA, returns, search
from claimlab.experiments.papers.policy_smoothing.common import surviving
from claimlab.experiments.style import COLUMN, OKABE_ITO, PAGE
from claimlab.mdps.smoothed_games import SmoothedGame, best_attack, middle_game, tree_game
from claimlab.theory.smoothing import certified_probability, certify_grid

BUDGETS = np.linspace(0, 2.5, 51)


def _games() -> dict[str, SmoothedGame]:
    return {
        "XOR game, two steps": tree_game([[0.0], [1.0], [-1.0]], [1, 0, 0, 1]),
        "a walk kept in the middle, 20 steps": surviving(middle_game(20)),
    }


def _plans(game: SmoothedGame, b: float) -> float:
    """The best perturbations fixed in advance for the XOR game, on a grid of the circle."""
    return min(game.value(b * np.array([[np.cos(t)], [np.sin(t)]])) for t in np.linspace(0, np.pi, 91))


def adversary() -> tuple[Figure, pd.DataFrame]:
    """The certificate below the exact optimum of the adaptive adversary, and below a plan made in advance."""
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.3), sharey=True)
    rows = []
    for ax, (name, game) in zip(axes, _games().items()):
        attacks = [best_attack(game, b, 48) for b in BUDGETS]
        curves = {
            "certificate": np.asarray(certified_probability(game.value(), BUDGETS, 1.0)),
            "exact adaptive adversary": np.array([a.value for a in attacks]),
        }
        if game.mdp.horizon == 2:
            curves["best plan made in advance"] = np.array([_plans(game, b) for b in BUDGETS])
        looks = (("blue", "-"), ("vermillion", "--"), ("green", ":"))
        for (label, y), (colour, style) in zip(curves.items(), looks):
            ax.plot(BUDGETS, y, style, color=OKABE_ITO[colour], label=label)
            rows += [{"game": name, "curve": label, "budget": b, "probability": p} for b, p in zip(BUDGETS, y)]
        ax.fill_between(BUDGETS, 0, curves["certificate"], color=OKABE_ITO["blue"], alpha=0.1, lw=0)
        ax.set(xlabel=r"budget $B/\sigma$", title=name, xlim=(0, BUDGETS[-1]), ylim=(0, 1))
    axes[0].set_ylabel("probability of success")
    axes[0].legend(loc="lower left")
    return fig, pd.DataFrame(rows)


def spending() -> tuple[Figure, pd.DataFrame]:
    """What the optimal adversary adds while it has its whole budget, by step and position."""
    game = surviving(middle_game(20))
    shift = abs(best_attack(game, 1.0, 100).shift[:, 1:-1, -1])
    fig, ax = plt.subplots(figsize=(COLUMN, 2.1))
    image = ax.imshow(shift.T, origin="lower", aspect="auto", vmin=0, extent=(0.5, 20.5, -2.5, 2.5))
    ax.grid(False)
    ax.set(xlabel="step", ylabel="position", yticks=range(-2, 3), xticks=(1, 5, 10, 15, 20))
    fig.colorbar(image, ax=ax, label=r"perturbation$/\sigma$")
    rows = [
        {"step": h + 1, "position": s - 2, "perturbation": shift[h, s]}
        for h in range(shift.shape[0])
        for s in range(shift.shape[1])
    ]
    return fig, pd.DataFrame(rows)


SEEDS, ATTACKED = 3, np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
CERTIFIED = np.linspace(0, 0.6, 61)


@cache
def _cartpole() -> tuple[Array, Array, Array]:
    """Certificates float[seeds, 61], means under the searched attack, without attack at budget 0, float[seeds, 7]."""
    certified, attacked, unsmoothed = [], [], []
    for seed in range(SEEDS):
        rng = np.random.default_rng([7, seed])
        clean = returns(10_000, None, 0.0, rng)
        certified.append(certify_grid(clean, np.arange(HORIZON + 1.0), CERTIFIED, SIGMA))
        attacked.append([clean.mean(), *(_attacked(b, SIGMA, rng) for b in ATTACKED)])
        unsmoothed.append([returns(1000, None, 0, rng, 0.0).mean(), *(_attacked(b, 0.0, rng) for b in ATTACKED)])
    return np.array(certified), np.array(attacked), np.array(unsmoothed)


def _attacked(budget: float, sigma: float, rng: np.random.Generator) -> float:
    return float(returns(1000, search(budget, 100, rng, sigma), budget, rng, sigma).mean())


def cartpole() -> tuple[Figure, pd.DataFrame]:
    """Certified mean return of CartPole, and the mean under the searched attack; bands are the range over seeds."""
    certified, attacked, unsmoothed = _cartpole()
    budgets = np.append(0.0, ATTACKED)
    fig, ax = plt.subplots(figsize=(COLUMN, 2.4))
    rows = []
    for label, x, y, colour, style in (
        ("attacked, no noise", budgets, unsmoothed, "orange", ":"),
        ("attacked, smoothed", budgets, attacked, "vermillion", "--"),
        ("certified, smoothed", CERTIFIED, certified, "blue", "-"),
    ):
        ax.fill_between(x, y.min(axis=0), y.max(axis=0), color=OKABE_ITO[colour], alpha=0.25, lw=0)
        ax.plot(x, y.mean(axis=0), style, color=OKABE_ITO[colour], label=label)
        rows += [
            {"curve": label, "seed": seed, "budget": b, "mean return": y[seed, i]}
            for seed in range(SEEDS)
            for i, b in enumerate(x)
        ]
    ax.set(xlabel=r"total budget $B$ ($\sigma=0.2$)", ylabel="mean return", xlim=(0, 0.6), ylim=(0, 205))
    ax.legend(loc="lower left")
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "adversary",
        "Certificate and exact optimum of the adaptive adversary. On the XOR game the two coincide, and no plan made "
        "in "
        "advance comes near; on the walk the certificate is loose, more so at large budgets.",
        adversary,
    ),
    PaperFigure(
        "spending",
        r"What the optimal adversary adds to the view of a walk that is to be kept in the middle, while it still has "
        r"its "
        r"whole budget $B=\sigma$: it waits for the edge, and strikes sooner when time runs out.",
        spending,
    ),
    PaperFigure(
        "cartpole",
        "CartPole with a linear policy: the certified mean return (95 % confidence, 10 000 episodes) and the mean "
        "under "
        "the worst of 40 attacks along the gradient, chosen on other episodes. Bands are the range over three seeds. "
        "Without noise the same policy loses less to these attacks: the noise buys a proof, not a better score.",
        cartpole,
    ),
)
