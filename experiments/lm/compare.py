"""The comparison of training arms: one start, the same prompts, tokens and steps, a learning rate chosen for each arm.

The metric is the mean score over the evaluations of a run; it, the smallest effect and the seeds are set before
the run.  Rates are chosen on seeds of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from claimlab.experiments.lm.rollouts import Branching, Reward
from claimlab.experiments.lm.seeds import Progress, reinforce_together
from claimlab.experiments.lm.tasks import Task
from claimlab.experiments.lm.train import Diverged, Settings, Surrogate, reinforce
from claimlab.experiments.lm.transformer import Policy, Transformer

TUNING = 1_000_000  # seeds of the choice of rates start here


class Cell(NamedTuple):
    """One run of a comparison."""

    arm: str
    settings: Settings


Solve = Callable[[Sequence[Cell]], Iterable[pd.DataFrame]]
Paid = Callable[[int], Reward]  # by the seed of a run


def compare(
    start: Policy,
    task: Task,
    arms: Mapping[str, Surrogate],
    settings: Settings,
    *,
    seeds: int,
    rates: Sequence[float] = (),
    tuning: int = 1,
    paid: Mapping[str, Paid] | None = None,
    branched: Mapping[str, Branching] | None = None,
    solve: Solve | None = None,
) -> pd.DataFrame:
    """A row for each arm, seed and evaluated step: `arm`, `rate`, `seed`, and what `curve` tells.

    Every arm has the best of `rates` (that of the settings if there are none) by its mean metric over `tuning` seeds of
    their own.  A run that diverges scores zero.  `paid` are arms that learn from other rewards than the task's, which
    always scores; `branched` those whose answers are drawn as trees.  `solve` runs cells, in their order, elsewhere or
    from what is stored.
    """
    work: Solve = solve or (
        lambda cells: [
            curves(
                start,
                task,
                arms[c.arm],
                [c.settings],
                paid=(paid or {}).get(c.arm),
                branching=(branched or {}).get(c.arm),
            )[0]
            for c in cells
        ]
    )
    best = dict.fromkeys(arms, rates[0] if rates else settings.rate)
    if len(rates) > 1:
        trials = [
            Cell(arm, replace(settings, rate=rate, seed=TUNING + k))
            for arm in arms
            for rate in rates
            for k in range(tuning)
        ]
        found: dict[tuple[str, float], list[float]] = {}
        for cell, table in zip(trials, work(trials)):
            found.setdefault((cell.arm, cell.settings.rate), []).append(float(table["score"].to_numpy()[1:].mean()))
        best = {arm: max(rates, key=lambda rate, arm=arm: np.mean(found[arm, rate])) for arm in arms}  # type: ignore[misc]
    cells = [Cell(arm, replace(settings, rate=best[arm], seed=seed)) for arm in arms for seed in range(seeds)]
    tables = [
        table.assign(arm=cell.arm, rate=cell.settings.rate, seed=cell.settings.seed)
        for cell, table in zip(cells, work(cells))
    ]
    return pd.concat(tables, ignore_index=True)


def curves(
    start: Policy,
    task: Task,
    surrogate: Surrogate,
    plans: Sequence[Settings],
    *,
    paid: Paid | None = None,
    branching: Branching | None = None,
    folders: Sequence[Path] = (),
    progress: Progress | None = None,
) -> list[pd.DataFrame]:
    """The rows of `reinforce` where the policy was evaluated; all scores are zero if a run diverges.

    For each of `plans`, which differ in the seed; several, of a `Transformer`, are trained at once, but those `paid` by
    their seed one after the other.  `folders` are as many, or none; `progress` is told the number of the plan and its
    new row.
    """
    models = [deepcopy(start) for _ in plans]
    if len(plans) > 1 and paid is None:
        stack, seeds = cast(list[Transformer], models), [plan.seed for plan in plans]
        found = reinforce_together(
            stack, task, surrogate, plans[0], seeds, branching=branching, folders=folders, progress=progress
        )
        return [_evaluated(table, plans[0]) for table in found]
    tables: list[pd.DataFrame] = []
    for k, (model, plan) in enumerate(zip(models, plans)):
        reward, tell = paid(plan.seed) if paid else task.reward, partial(progress, k) if progress else None
        folder = folders[k] if folders else None
        try:
            table: pd.DataFrame | Diverged = reinforce(
                model,
                task,
                surrogate,
                plan,
                reward=reward,
                gold=task.reward,
                branching=branching,
                folder=folder,
                progress=tell,
            )
        except Diverged as error:
            table = error
        tables.append(_evaluated(table, plan))
    return tables


def _evaluated(table: pd.DataFrame | Diverged, plan: Settings) -> pd.DataFrame:
    if isinstance(table, Diverged):
        steps = [step for step in range(plan.steps + 1) if plan.evaluated(step)]
        return pd.DataFrame({"step": steps, "score": np.zeros(len(steps))})
    rows: Any = table[table["score"].notna()]
    return rows.reset_index(drop=True)
