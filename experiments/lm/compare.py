"""The comparison of training arms: one start, the same prompts, tokens and steps, a learning rate chosen for each arm.

The metric is the mean score over the evaluations of a run; it, the smallest effect and the seeds are set before
the run.  Rates are chosen on seeds of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pandas as pd

from claimlab.experiments.lm.tasks import Task
from claimlab.experiments.lm.train import Diverged, Settings, Surrogate, reinforce
from claimlab.experiments.lm.transformer import Policy

TUNING = 1_000_000  # seeds of the choice of rates start here


def compare(
    start: Policy,
    task: Task,
    arms: Mapping[str, Surrogate],
    settings: Settings,
    *,
    seeds: int,
    rates: Sequence[float] = (),
    tuning: int = 1,
) -> pd.DataFrame:
    """A row for each arm, seed and evaluated step: `arm`, `rate`, `seed`, `step`, `score`.

    Every arm has the best of `rates` (that of the settings if there are none) by its mean metric over `tuning` seeds of
    their own.  A run that diverges scores zero.
    """
    rows = []
    for name, surrogate in arms.items():
        rate = _best(start, task, surrogate, settings, rates, tuning)
        for seed in range(seeds):
            curve = _curve(start, task, surrogate, replace(settings, rate=rate, seed=seed))
            rows.append(curve.assign(arm=name, rate=rate, seed=seed))
    return pd.concat(rows, ignore_index=True)


def metric(table: pd.DataFrame) -> pd.DataFrame:
    """float[seeds, arms]: the mean score after the start; rows are paired."""
    return table[table["step"] > 0].pivot_table(index="seed", columns="arm", values="score", sort=False)


def _best(
    start: Policy, task: Task, surrogate: Surrogate, settings: Settings, rates: Sequence[float], tuning: int
) -> float:
    if len(rates) < 2:
        return rates[0] if rates else settings.rate
    found = [
        np.mean(
            [
                _curve(start, task, surrogate, replace(settings, rate=rate, seed=TUNING + k))["score"][1:].mean()
                for k in range(tuning)
            ]
        )
        for rate in rates
    ]
    return rates[int(np.argmax(found))]


def _curve(start: Policy, task: Task, surrogate: Surrogate, settings: Settings) -> pd.DataFrame:
    try:
        table = reinforce(deepcopy(start), task, surrogate, settings)
    except Diverged:
        steps = [*range(0, settings.steps + 1, settings.evaluate)]
        return pd.DataFrame({"step": steps, "score": np.zeros(len(steps))})
    return table.loc[table["score"].notna(), ["step", "score"]]
