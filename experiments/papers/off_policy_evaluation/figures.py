"""The figures: what a skewed logging policy costs, which intervals hold, the horizon's curse, uncovered targets."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.random import Generator

from claimlab.bandits.off_policy import BanditLog, evaluate_log, least_squares_model, minimum_variance_model
from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.papers.off_policy_evaluation.episodes import N_EPISODES, errors, walk
from claimlab.experiments.papers.off_policy_evaluation.intervals import LEVEL, rare_log
from claimlab.experiments.style import COLUMN, OKABE_ITO, PAGE
from claimlab.theory.concentration import Interval, empirical_bernstein, normal_interval
from claimlab.theory.off_policy import cramer_rao, tables, trajectory_variance, tree_bound, value_interval

# What a skewed logging policy costs ----------------------------------------------------------------------------------

PROPENSITY = np.geomspace(0.02, 0.5, 9)  # of the target's action, in the first context; elsewhere one half
PAYS = np.array([[0.9, 0.1], [0.2, 0.8]])  # [context, action]


def _law(p: float) -> Array:
    return np.array([[p, 1 - p], [0.5, 0.5]])


def _skewed_log(p: float, n: int, rng: Generator) -> tuple[BanditLog, Array]:
    """The target always takes the first action; the contexts given are constant, so no model is right in both."""
    x = rng.integers(2, size=n)
    a = (rng.random(n) >= _law(p)[x, 0]).astype(np.int64)
    r = (rng.random(n) < PAYS[x, a]).astype(np.float64)
    return BanditLog(a, r, _law(p)[x, a], np.tile([1.0, 0.0], (n, 1))), np.zeros((n, 0))


def _exact_variances(p: float) -> dict[str, float]:
    """n times the variance of IPS, of SNIPS to first order, and of DR with two constants as models."""
    mu, m = _law(p)[:, 0], PAYS[:, 0]
    value = m.mean()

    def dr(q: float) -> float:
        """Theorem 2 of Dudik, Langford & Li (2011)."""
        return float(m.var() + (m * (1 - m) / mu).mean() + ((1 / mu - 1) * (m - q) ** 2).mean())

    fitted = float((mu * m).sum() / mu.sum())
    best = float(((1 / mu - 1) * m).sum() / (1 / mu - 1).sum())
    ips = float((m / mu).mean() - value**2)
    snips = float(((m * (1 - value) ** 2 + (1 - m) * value**2) / mu).mean())
    return {"IPS": ips, "SNIPS": snips, "DR, least squares": dr(fitted), "MRDR": dr(best)}


LOOKS = {"IPS": "blue", "SNIPS": "orange", "DR, least squares": "green", "MRDR": "vermillion"}


def variances() -> tuple[Figure, pd.DataFrame]:
    rng, n, logs, rows = np.random.default_rng(0), 2_000, 300, []
    for p in PROPENSITY:
        seen: dict[str, list[float]] = {name: [] for name in LOOKS}
        for _ in range(logs):
            log, contexts = _skewed_log(p, n, rng)
            plain = evaluate_log(log, threads=1)
            seen["IPS"].append(plain.ips.value)
            seen["SNIPS"].append(plain.snips.value)
            for name, fit in (("DR, least squares", least_squares_model), ("MRDR", minimum_variance_model)):
                model = fit(log, contexts)
                whole = BanditLog(log.actions, log.rewards, log.propensities, log.target, model)
                seen[name].append(evaluate_log(whole, threads=1).dr.value)
        for name, exact in _exact_variances(p).items():
            rows.append({"estimator": name, "propensity": p, "exact": exact, "simulated": n * np.var(seen[name])})
    data = pd.DataFrame(rows)
    fig, ax = plt.subplots(figsize=(COLUMN, 2.5))
    for name, colour in LOOKS.items():
        part = data[data["estimator"] == name]
        ax.plot(part["propensity"], part["exact"], color=OKABE_ITO[colour], label=name)
        ax.plot(part["propensity"], part["simulated"], "o", color=OKABE_ITO[colour])
    ax.set(xscale="log", yscale="log", xlabel="propensity of the target's action", ylabel="$n$ × variance")
    ax.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5], ["0.02", "0.05", "0.1", "0.2", "0.5"])
    ax.minorticks_off()
    ax.legend()
    return fig, data


# Which intervals hold ------------------------------------------------------------------------------------------------

SIZES = (25, 50, 100, 200, 400, 800, 1600)


def _of_terms(log: BanditLog) -> Interval:
    return empirical_bernstein(log.weights * log.rewards, 0.0, 100.0, LEVEL)


INTERVALS: dict[str, tuple[str, str, Callable[[BanditLog], Interval]]] = {
    "normal": ("vermillion", "o", lambda log: normal_interval(*evaluate_log(log, threads=1).ips, LEVEL)),
    "empirical Bernstein": ("green", "s", _of_terms),
    "betting": ("blue", "^", lambda log: value_interval(log, LEVEL)),
}


def coverage() -> tuple[Figure, pd.DataFrame]:
    rng, logs, rows = np.random.default_rng(1), 400, []
    for n in SIZES:
        samples = [rare_log(rng, n) for _ in range(logs)]
        for name, (_, _, interval) in INTERVALS.items():
            found = [interval(log) for log in samples]
            rows.append({
                "interval": name,
                "rounds": n,
                "missed": np.mean([not x.holds(1.0) for x in found]),
                "width": np.mean([min(x.high, 1.0) - max(x.low, 0.0) for x in found]),
            })  # fmt: skip
    data = pd.DataFrame(rows)
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.3))
    for name, (colour, marker, _) in INTERVALS.items():
        part = data[data["interval"] == name]
        for ax, what in zip(axes, ("missed", "width")):
            ax.plot(part["rounds"], part[what], marker=marker, color=OKABE_ITO[colour], label=name)
    axes[0].axhline(LEVEL, color="0.4", ls="--", lw=0.8)
    axes[0].text(SIZES[0], LEVEL, f"promised: {LEVEL:g}", ha="left", va="bottom", color="0.4", fontsize=7)
    axes[0].set(xscale="log", xlabel="rounds", ylabel="share of logs that miss the value", ylim=(-0.02, 1))
    axes[1].set(xscale="log", xlabel="rounds", ylabel="mean width within [0, 1]", ylim=(-0.02, 1.02))
    for ax in axes:
        ax.set_xticks(SIZES, [str(n) for n in SIZES])
        ax.minorticks_off()
    axes[0].legend()
    return fig, data


# The curse of the horizon --------------------------------------------------------------------------------------------

HORIZONS = (2, 4, 8, 16, 32, 64)
ESTIMATORS = {
    "trajectory-wise IS": ("is", "vermillion", "o"),
    "per-decision IS": ("pdis", "orange", "s"),
    "marginalised IS": ("mis", "green", "D"),
    "fitted Q": ("fitted q", "blue", "^"),
}


def horizon() -> tuple[Figure, pd.DataFrame]:
    fine, rows = range(2, 65), []
    lines = {
        "variance of trajectory-wise IS": ([trajectory_variance(tables(*walk(H))) for H in fine], "vermillion", "-"),
        "bound of trees": ([tree_bound(tables(*walk(H))) for H in fine], "black", ":"),
        "Cramer-Rao, states known": ([cramer_rao(tables(*walk(H))) for H in fine], "black", "-"),
    }
    fig, ax = plt.subplots(figsize=(PAGE, 2.8))
    for name, (values, colour, style) in lines.items():
        ax.plot(fine, values, ls=style, color=OKABE_ITO[colour], label=name, lw=1.0)
        rows += [{"what": name, "horizon": int(H), "value": float(y)} for H, y in zip(fine, values)]
    for name, (key, colour, marker) in ESTIMATORS.items():
        seen = [N_EPISODES * errors(H, 100, N_EPISODES, 0)[key].mean() for H in HORIZONS]
        ax.plot(HORIZONS, seen, marker, color=OKABE_ITO[colour], label=f"{name}, simulated")
        rows += [{"what": f"{name}, simulated", "horizon": H, "value": float(y)} for H, y in zip(HORIZONS, seen)]
    ax.set(xscale="log", yscale="log", xlabel="horizon $H$", ylabel="episodes × mean squared error", ylim=(0.1, 1e9))
    ax.set_xticks(HORIZONS, [str(H) for H in HORIZONS])
    ax.minorticks_off()
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig, pd.DataFrame(rows)


# Uncovered targets ---------------------------------------------------------------------------------------------------

UNCOVERED = np.linspace(0, 0.5, 11)


def uncovered() -> tuple[Figure, pd.DataFrame]:
    """Two logged actions that pay 0.7 and 0.3, and one that is never logged."""
    rng, n, rows = np.random.default_rng(2), 4_000, []
    a = rng.integers(2, size=n)
    r = (rng.random(n) < np.array([0.7, 0.3])[a]).astype(np.float64)
    logging = np.tile([0.5, 0.5, 0.0], (n, 1))
    for u in UNCOVERED:
        target = np.tile([(1 - u) * 0.8, (1 - u) * 0.2, u], (n, 1))
        log = BanditLog(a, r, None, target, logging=logging, reward_range=(0.0, 1.0))
        seen, found = evaluate_log(log, threads=1), value_interval(log, LEVEL)
        low = (1 - u) * (0.8 * 0.7 + 0.2 * 0.3)
        normal = normal_interval(*seen.snips, LEVEL)
        rows.append({
            "uncovered": u, "least value": low, "largest value": low + u, "betting low": found.low,
            "betting high": found.high, "snips low": normal.low, "snips high": normal.high,
        })  # fmt: skip
    data = pd.DataFrame(rows)
    fig, ax = plt.subplots(figsize=(COLUMN, 2.4))
    ax.fill_between(
        UNCOVERED, data["least value"], data["largest value"], color="0.85", lw=0, label="values that fit the log"
    )
    for column in ("betting low", "betting high"):
        ax.plot(UNCOVERED, data[column], color=OKABE_ITO["blue"], label="betting" if column.endswith("low") else None)
    for column in ("snips low", "snips high"):
        label = "SNIPS, normal" if column.endswith("low") else None
        ax.plot(UNCOVERED, data[column], color=OKABE_ITO["vermillion"], ls="--", label=label)
    ax.set(xlabel="share $u$ of the target that is never logged", ylabel="value", ylim=(0, 1), xlim=(0, 0.5))
    ax.legend(loc="lower left")
    return fig, data


FIGURES = (
    PaperFigure(
        "variances",
        "What a skewed logging policy costs: $n$ times the variance of four estimators against the propensity of the "
        "target's action in one of two contexts; lines exact (SNIPS to first order), dots simulated (300 logs of 2000 "
        "rounds). The model is a constant for each action: MRDR chooses the one that matters where weights are large.",
        variances,
    ),
    PaperFigure(
        "coverage",
        "Which intervals hold: the target's only action is logged with probability 0.01 and pays 1. Up to a few "
        "hundred rounds the normal interval misses the value far more often than one in twenty times (400 logs each).",
        coverage,
    ),
    PaperFigure(
        "curse-of-horizon",
        "The curse of the horizon: two states, $1 + \\chi^2 = 1.36$ a step. Exact variances and bounds as lines, 100 "
        "logs of 128 episodes as dots (beyond $H = 16$ a simulation no longer sees the rare episodes that make the "
        "variance of trajectory-wise importance sampling).",
        horizon,
    ),
    PaperFigure(
        "uncovered",
        "A target that leaves the support of the logging policy: the values that fit the law of the log, the interval "
        "by betting (4000 rounds), which encloses them all, and that of SNIPS, which encloses neither end.",
        uncovered,
    ),
)
