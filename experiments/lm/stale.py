"""Group-relative REINFORCE on fresh, stale and fixed data (Yao et al. 2025, their experiments in small).

``python -m claimlab.experiments.lm.stale FILE`` runs all of it and writes the record.  Stated beforehand: the metric is
that of `compare`; 10 paired seeds; the smallest effect is 0.02.  Each arm has the best of five rates; the
record names the arms whose rate is the lowest or highest of these (`edges`).  On fresh data
(one step a batch) arms with and without clip are provably the same run, which `sanity` demands.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from claimlab.experiments import atomic, environment
from claimlab.experiments.lm import surrogates
from claimlab.experiments.lm.compare import compare, metric
from claimlab.experiments.lm.tasks import Task, modes
from claimlab.experiments.lm.train import Settings, Surrogate, imitate
from claimlab.theory.evidence import comparison, to_json

SEEDS, EFFECT, RATES = 10, 0.02, (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
DATA = {"fresh": 1, "stale": 20, "fixed": 0}  # how often the answering policy is refreshed
ARMS: dict[str, Surrogate] = {
    "REINFORCE": surrogates.reinforce,
    "one-side clip": surrogates.rec,
    "one-side clip, IS": partial(surrogates.rec, importance=True),
    "two-side clip": partial(surrogates.rec, mask="two-side"),
}
PAIRS = (  # the first is claimed to be better
    ("one-side clip", "REINFORCE"),
    ("one-side clip", "two-side clip"),
    ("one-side clip", "one-side clip, IS"),
)


def run(task: Task, settings: Settings, *, seeds: int, rates: tuple[float, ...] = RATES) -> pd.DataFrame:
    """All arms on all data: the table of `compare` with the column `data`."""
    start = imitate(task)
    tables = []
    for data, sync in DATA.items():
        set_up = Settings(**{**vars(settings), "sync": sync})
        tables.append(compare(start, task, ARMS, set_up, seeds=seeds, rates=rates).assign(data=data))
    return pd.concat(tables, ignore_index=True)


def sanity(table: pd.DataFrame) -> bool:
    """On fresh data, arms that are provably the same and had the same rate have the same scores, to the last bit."""
    fresh = table[table["data"] == "fresh"]
    groups: Any = list(fresh.groupby(["rate", "seed", "arm"], sort=True))
    runs, keys = [group["score"].to_numpy() for _, group in groups], [key[:2] for key, _ in groups]
    return all(np.array_equal(a, b) for a, b, s, t in zip(runs, runs[1:], keys, keys[1:]) if s == t)


def findings(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The gain of every arm over its start and the stated comparisons, each as `theory.evidence.Comparison`."""
    found = []
    for data, part in table.groupby("data", sort=False):
        scores, start = metric(part), float(part.loc[part["step"] == 0, "score"].iloc[0])
        sides = [(a, "start", scores[a], np.full(len(scores), start)) for a in scores]
        sides += [(a, b, scores[a], scores[b]) for a, b in PAIRS]
        for better, worse, x, y in sides:
            x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
            if np.ptp(x - y) == 0:  # the same run twice: there is nothing to test
                found.append({"data": data, "better": better, "worse": worse, "difference": float((x - y).mean())})
                continue
            evidence = comparison(x, y, effect=EFFECT, rng=np.random.default_rng(0))
            found.append({"data": data, "better": better, "worse": worse, **to_json(evidence)})
    return found


def edges(table: pd.DataFrame, rates: tuple[float, ...] = RATES) -> list[dict[str, Any]]:
    """The arms whose chosen rate is the lowest or highest of the grid: a wider one might serve them better."""
    chosen: Any = table[["data", "arm", "rate"]].drop_duplicates()
    return [row for row in chosen.to_dict("records") if row["rate"] in (min(rates), max(rates))]


def draw(table: pd.DataFrame) -> Figure:
    """Learning curves: mean over seeds with its standard error."""
    fig, axes = plt.subplots(1, len(DATA), figsize=(7, 2.4), sharey=True, layout="constrained")
    for ax, (data, part) in zip(axes, table.groupby("data", sort=False)):
        for arm, curve in part.groupby("arm", sort=False):
            by_step: Any = curve.groupby("step")["score"]
            ax.errorbar(by_step.mean().index, by_step.mean(), by_step.sem(), label=arm, lw=1, capsize=1.5)
        ax.set(title=f"{data} data", xlabel="gradient steps")
    axes[0].set_ylabel("share of right answers")
    axes[-1].legend(fontsize="x-small")
    return fig


def main(file: Path) -> None:
    torch.set_num_threads(1)
    where = environment.environment()  # of the code that runs, not of edits made meanwhile
    settings = Settings(steps=60, prompts=16, group=8, evaluate=20)
    table = run(modes(), settings, seeds=SEEDS)
    if not sanity(table):
        raise RuntimeError("arms that are provably the same differ on fresh data: a fault of the loop.")
    record = {"settings": vars(settings), "rates": RATES, "effect": EFFECT, "findings": findings(table)}
    record["edges"] = edges(table)
    rows = table.to_dict("records")
    atomic.write_json(file, record | {"rows": rows, "environment": where})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
