"""The figures: regret beside its bounds, both worlds at once, and what implicit exploration is for."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from claimlab.bandits import (
    KLUCB,
    MOSS,
    UCB1,
    Algorithm,
    Bernoulli,
    BetaThompson,
    Environment,
    Exp3,
    Exp3IX,
    Record,
    TsallisINF,
    anytime_rate,
    exp3_rate,
    play,
)
from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.papers.classic_bandits.adversarial import CONSTRAINED, FIXED, round_robin, trap
from claimlab.experiments.style import COLUMN, OKABE_ITO, PAGE
from claimlab.theory import regret

HORIZON = 100_000
RUNS = 30
COLOURS = {
    "UCB1": "blue",
    "KL-UCB": "vermillion",
    "MOSS": "green",
    "Thompson": "purple",
    "Exp3": "orange",
    "Exp3-IX": "sky",
    "Tsallis-INF": "black",
    "Tsallis-INF, reduced variance": "sky",
}


def _curve(ax: Axes, name: str, record: Record) -> pd.DataFrame:
    """The mean over games, and the band that holds nine of ten."""
    seen = record.times >= 10
    times, found = record.times[seen], record.regret[:, seen]
    low, high = np.quantile(found, [0.05, 0.95], axis=0)
    ax.plot(times, found.mean(axis=0), color=OKABE_ITO[COLOURS[name]], label=name)
    ax.fill_between(times, low, high, color=OKABE_ITO[COLOURS[name]], alpha=0.18, lw=0)
    return pd.DataFrame({"algorithm": name, "round": times, "mean": found.mean(axis=0), "q05": low, "q95": high})


def _curves(ax: Axes, algorithms: Mapping[str, Algorithm], env: Environment) -> pd.DataFrame:
    records = {name: play(alg, env, horizon=HORIZON, runs=RUNS, seed=0) for name, alg in algorithms.items()}
    return pd.concat([_curve(ax, name, record) for name, record in records.items()])


def _line(ax: Axes, name: str, times: Array, bound: Array, colour: str, style: str = "--") -> pd.DataFrame:
    ax.plot(times, bound, color=colour, ls=style, lw=0.9, label=name)
    return pd.DataFrame({"algorithm": name, "round": times, "mean": bound})


def regret_and_bounds() -> tuple[Figure, pd.DataFrame]:
    env = Bernoulli(np.array([0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05]))
    times = np.geomspace(10, HORIZON, 40).astype(int)
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.7), sharex=True)
    algorithms = {
        "UCB1": UCB1(),
        "KL-UCB": KLUCB(),
        "MOSS": MOSS(),
        "Thompson": BetaThompson(),
        "Exp3": Exp3(anytime_rate(10), anytime=True),
        "Tsallis-INF": TsallisINF(),
    }
    parts = [_curves(left, algorithms, env)]
    constant = regret.lai_robbins(env.means)
    parts.append(_line(left, "Lai-Robbins", times, constant * np.log(times), "0.4", ":"))
    left.set(xscale="log", xlabel="round", ylabel="pseudo-regret", ylim=(0, 1300))
    left.legend(loc="upper left")
    bounded = {"UCB1": UCB1(), "KL-UCB": KLUCB(2.0), "MOSS": MOSS()}  # c=2 is what the theorem is about
    parts.append(_curves(right, bounded, env).assign(panel="bounds"))
    for name, bound in (
        ("UCB1", np.array([regret.ucb1(env.gaps, T) for T in times])),
        ("KL-UCB", np.array([regret.kl_ucb(env.means, T) for T in times])),
        ("MOSS", np.array([regret.moss(env.gaps, T) for T in times])),
    ):
        parts.append(_line(right, f"{name}, bound", times, bound, OKABE_ITO[COLOURS[name]]))
    right.plot(times, times * env.gaps.max(), color="0.7", lw=0.8, label="always the worst arm")
    right.set(xscale="log", yscale="log", xlabel="round", ylim=(1, 4e4))
    handles, labels = right.get_legend_handles_labels()
    right.legend(handles[3:], labels[3:], loc="lower right")
    return fig, pd.concat(parts)


def both_worlds() -> tuple[Figure, pd.DataFrame]:
    fig, axes = plt.subplots(1, 3, figsize=(PAGE, 2.6))
    algorithms = {
        "UCB1": UCB1(),
        "Thompson": BetaThompson(),
        "Tsallis-INF": TsallisINF(),
        "Tsallis-INF, reduced variance": TsallisINF(rate=4.0, reduced_variance=True),
    }
    worlds: dict[str, Environment] = {
        "fixed means": FIXED,
        "fixed gaps, moving means": CONSTRAINED,
        "adversary (3 arms)": round_robin(HORIZON),
    }
    parts, times = [], np.geomspace(10, HORIZON, 40).astype(int)
    for ax, (title, env) in zip(axes, worlds.items()):
        exp3 = {"Exp3": Exp3(anytime_rate(env.n_arms), anytime=True)}
        parts.append(_curves(ax, algorithms | exp3, env).assign(panel=title))
        bound = np.array([regret.tsallis_inf(env.n_arms, T) for T in times])
        parts.append(_line(ax, r"$4\sqrt{KT}+1$", times, bound, "0.4"))
        ax.set(title=title, xscale="log", yscale="log", xlabel="round", ylim=(1, 1e5))
    axes[2].set_yscale("symlog", linthresh=100)  # below, it is noise around zero
    axes[2].set_ylim(-150, 1e5)
    axes[0].set_ylabel("pseudo-regret")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3)
    return fig, pd.concat(parts)


def high_probability() -> tuple[Figure, pd.DataFrame]:
    horizon, runs = 8_000, 3_000
    env, eta = trap(horizon), exp3_rate(2, 8_000)
    fig, ax = plt.subplots(figsize=(COLUMN, 2.5))
    parts = []
    for name, alg in (("Exp3", Exp3(eta)), ("Exp3-IX", Exp3IX(eta))):
        record = play(alg, env, horizon=horizon, runs=runs, seed=0, checkpoints=1)
        found, share = np.sort(record.regret[:, -1]), 1 - np.arange(runs) / runs
        ax.step(found, share, where="pre", color=OKABE_ITO[COLOURS[name]], label=name)
        parts.append(pd.DataFrame({"algorithm": name, "regret": found, "share above": share}))
    deltas = np.geomspace(1 / runs, 1, 60)[:-1]
    bounds = np.array([regret.exp3_ix(2, horizon, delta) for delta in deltas])
    ax.plot(bounds, deltas, color="0.4", ls="--", lw=0.9, label="bound of Exp3-IX")
    parts.append(pd.DataFrame({"algorithm": "bound of Exp3-IX", "regret": bounds, "share above": deltas}))
    ax.set(yscale="log", xlabel="regret $r$ after 8000 rounds", ylabel="share of games with regret above $r$")
    ax.set_ylim(1 / runs, 1.3)
    ax.legend(loc="lower center")
    return fig, pd.concat(parts)


FIGURES = (
    PaperFigure(
        "regret-and-bounds",
        (
            "Regret on ten Bernoulli arms with means 0.5, 0.45, ..., 0.05: means of 30 games, bands that hold nine of "
            r"ten. Left: against the constant of Lai and Robbins times $\log t$. Right: against the bounds of the "
            "theorems, KL-UCB with $c = 2$."
        ),
        regret_and_bounds,
    ),
    PaperFigure(
        "both-worlds",
        (
            "One algorithm for both worlds: eight arms with gaps 0 and 0.125 under fixed means and under means that "
            "move in growing phases, and the table that pays 0 on arm $t$ mod 3. Means of 30 games, bands that hold "
            "nine of ten."
        ),
        both_worlds,
    ),
    PaperFigure(
        "high-probability",
        (
            "A table that traps Exp3: its expected regret is small, but in one game of five it never returns to the "
            "arm that has become the best. Exp3-IX with the same learning rate stays far below its bound."
        ),
        high_probability,
    ),
)
