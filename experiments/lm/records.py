"""What a comparison found: its metric, the stated differences, the arms that must agree, and the learning curves.

Nothing here needs torch: recorded runs are judged and drawn without the extra.  A record is a table with a row for each
data, arm, seed and evaluated step, beside the design that was fixed before the run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from claimlab.checks import Array
from claimlab.experiments.style import PAGE
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison, comparison, to_json

Pairs = Sequence[Sequence[str]]  # the first of each is claimed to be better
FEWEST = 10  # pairs of a comparison


def packaged(name: str) -> dict[str, Any]:
    """The record of a study that came with the package."""
    record: dict[str, Any] = json.loads(
        files("claimlab.experiments").joinpath("records", f"lm-{name}.json").read_text()
    )
    return record


def is_packaged(name: str) -> bool:
    return files("claimlab.experiments").joinpath("records", f"lm-{name}.json").is_file()


def table_of(record: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(record["rows"])


def metric(table: pd.DataFrame) -> pd.DataFrame:
    """float[seeds, arms]: the mean score after the start; rows are paired."""
    return table[table["step"] > 0].pivot_table(index="seed", columns="arm", values="score", sort=False)


def difference(table: pd.DataFrame, data: str, better: str, worse: str, effect: float) -> Comparison:
    """Evidence on "`better` has the larger metric than `worse` on `data`"; one of them may be "start"."""
    part: Any = table[table["data"] == data]
    a, b = _sides(part, better, worse)
    return comparison(a, b, effect=effect, rng=np.random.default_rng(0))


def judged(_: Budget, study: str, data: str, better: str, worse: str) -> Comparison:
    """`difference` of the packaged record of `study`, whatever the budget: a claim's check.

    With the sides reversed it is the control.
    """
    record = packaged(study)
    return difference(table_of(record), data, better, worse, record["effect"])


def premises(task: str, rates: str = "three", size: str = "16 prompts with 8 answers") -> tuple[str, ...]:
    """Of a claim on a study with the settings of `stale`; `task` says what the transformer does, `size` how much."""
    return (
        f"recorded runs: a transformer of 8e4 parameters {task}",
        f"60 steps of {size}, AdamW, each arm at the best of {rates} rates on another seed, 10 paired seeds",
        "metric: the mean score over the evaluations after the start; smallest effect 0.02",
    )


def findings(table: pd.DataFrame, pairs: Pairs, effect: float) -> list[dict[str, Any]]:
    """The gain of every arm over its start and the stated comparisons, each as `theory.evidence.Comparison`.

    Where there are fewer than ten seeds, or two arms are the same run, there is the difference of the means alone.
    """
    found = []
    for data, part in table.groupby("data", sort=False):
        sides = [(arm, "start") for arm in part["arm"].unique()]
        for better, worse in [*sides, *pairs]:
            a, b = _sides(part, better, worse)
            what = {"data": data, "better": better, "worse": worse}
            if len(a) < FEWEST or np.ptp(a - b) == 0:
                found.append(what | {"difference": float((a - b).mean())})
                continue
            found.append(what | to_json(comparison(a, b, effect=effect, rng=np.random.default_rng(0))))
    return found


def sane(table: pd.DataFrame, alike: Sequence[str]) -> bool:
    """Whether the arms that are provably the same on fresh data have the same scores there, at the same rate."""
    fresh = table[(table["data"] == "fresh") & table["arm"].isin(alike)]
    groups: Any = list(fresh.groupby(["rate", "seed", "arm"], sort=True))
    runs, keys = [group["score"].to_numpy() for _, group in groups], [key[:2] for key, _ in groups]
    return all(np.array_equal(a, b) for a, b, s, t in zip(runs, runs[1:], keys, keys[1:]) if s == t)


def edges(table: pd.DataFrame, rates: Sequence[float]) -> list[dict[str, Any]]:
    """The arms whose chosen rate is the lowest or highest of several: a wider grid might serve them better."""
    chosen: Any = table[["data", "arm", "rate"]].drop_duplicates()
    return [row for row in chosen.to_dict("records") if len(rates) > 1 and row["rate"] in (min(rates), max(rates))]


def draw(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Learning curves: the mean over seeds with 95 % intervals (t), a panel for each kind of data."""
    kinds, parts = list(table["data"].unique()), []
    fig, axes = plt.subplots(1, len(kinds), figsize=(PAGE, 2.9), sharey=True, squeeze=False)
    for ax, data in zip(axes[0], kinds):
        part: Any = table[table["data"] == data]
        arms = list(part["arm"].unique())
        for k, arm in enumerate(arms):
            curve = _interval(part[part["arm"] == arm]).assign(data=data, arm=arm)
            parts.append(curve)
            near = curve["step"] + (k / len(arms) - 0.5) * 0.03 * curve["step"].max()  # side by side
            error = np.stack([curve["score"] - curve["low"], curve["high"] - curve["score"]])
            ax.errorbar(near, curve["score"], error, label=arm, lw=0.9, ls="-" if k < 8 else "--", capsize=1)
        ax.set(title=f"{data} data", xlabel="gradient steps")
    axes[0, 0].set_ylabel("mean score")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=5)
    return fig, pd.concat(parts, ignore_index=True)


def drawn(study: str) -> tuple[Figure, pd.DataFrame]:
    """The learning curves of the packaged record of `study`."""
    return draw(table_of(packaged(study)))


def _interval(curve: pd.DataFrame) -> pd.DataFrame:
    by_step: Any = curve.groupby("step")["score"]
    mean, count = by_step.mean(), by_step.count()
    half = stats.t.ppf(0.975, np.maximum(count - 1, 1)) * by_step.sem().fillna(0.0)
    return pd.DataFrame({"step": mean.index, "score": mean, "low": mean - half, "high": mean + half, "seeds": count})


def _sides(part: pd.DataFrame, better: str, worse: str) -> tuple[Array, Array]:
    scores, first = metric(part), part[part["step"] == 0]
    same = first[first["arm"].isin([better, worse])]  # an arm may be scored in a way of its own
    scores["start"] = same["score"].max() or first["score"].max()  # zero for runs that diverged
    return scores[better].to_numpy(dtype=float), scores[worse].to_numpy(dtype=float)
