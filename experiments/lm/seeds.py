"""Several seeds of one run trained at once: weights with a leading axis, prompts and chance of each seed its own.

The smaller the model, the more of a step is the cost of single operations, which S seeds share here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from claimlab.experiments.lm.rollouts import Branching, Reward, Rollout
from claimlab.experiments.lm.tasks import Task
from claimlab.experiments.lm.train import (
    BETAS,
    Diverged,
    Settings,
    State,
    Surrogate,
    asked,
    chance,
    described,
    divergence,
    evaluated,
    joined,
    keep,
    lost,
    memory,
    metrics,
    moments,
    passing,
    past,
    precise,
    restored,
    set_moments,
    slope_of,
)
from claimlab.experiments.lm.transformer import Transformer, stacked
from claimlab.experiments.lm.vocabulary import constants, noted, refreshed, roles, speaker, spoken, tied

Row = dict[str, Any]
Known = Mapping[str, Tensor]
Progress = Callable[[int, Mapping[str, float]], None]


def reinforce_together(
    models: Sequence[Transformer],
    task: Task,
    surrogate: Surrogate,
    settings: Settings,
    seeds: Sequence[int],
    *,
    reward: Reward | None = None,
    branching: Branching | None = None,
    folders: Sequence[Path] = (),
    progress: Progress | None = None,
) -> list[pd.DataFrame | Diverged]:
    """`train.reinforce` of each of `models`, of one shape, with its own seed; what that would return, to rounding.

    A seed that diverges has the error in the place of its table, and keeps the weights that it had; the others go on.
    `folders`, one for each seed, are those of single runs, which go on from what was kept here and the other way round.
    `progress` is told the number of the seed and its new row.

    Raises:
        OutOfMemory: a step did not fit.
        ValueError: there are not as many models, seeds and folders, or a folder holds another run.
    """
    counts = {"seeds": len(seeds), "folders": len(folders)}
    for name, count in counts.items():
        if count != len(models) and (name == "seeds" or count):
            raise ValueError(f"{name} must be as many as models, {len(models)}, got {count}.")
    plans = [replace(settings, seed=seed) for seed in seeds]
    names = roles(surrogate)
    found = [
        restored(f, described(plan, task, model, branching), model, names)
        for f, plan, model in zip(folders, plans, models)
    ]
    found = found or [([], {}) for _ in models]
    starts = [rows[-1]["step"] if rows else 0 for rows, _ in found]
    tables: list[pd.DataFrame | Diverged] = [Diverged()] * len(models)
    for at in sorted(set(starts)):  # a kill may have come when some seeds were kept and others not yet
        own = [i for i, start in enumerate(starts) if start == at]
        run = _Run([models[i] for i in own], task, surrogate, [plans[i] for i in own], [found[i] for i in own])
        run.folders, run.paid = [folders[i] for i in own] if folders else [], reward or task.reward
        run.branching = branching
        if progress:
            run.tell = partial(_numbered, progress, own)
        for i, table in zip(own, run.train(at)):
            tables[i] = table
    return tables


def _numbered(progress: Progress, own: Sequence[int], k: int, row: Mapping[str, float]) -> None:
    progress(own[k], row)


class _Run:
    """The seeds that stand at one step."""

    def __init__(
        self,
        models: Sequence[Transformer],
        task: Task,
        surrogate: Surrogate,
        plans: Sequence[Settings],
        found: Sequence[tuple[list[Row], State]],
    ) -> None:
        self.models, self.task, self.surrogate, self.plans = models, task, surrogate, plans
        self.folders: Sequence[Path] = []
        self.paid: Reward = task.reward
        self.branching: Branching | None = None
        self.tell: Progress = lambda k, row: None
        self.rows = [rows for rows, _ in found]
        self.lost: dict[int, Diverged] = {}
        self.parts = {name: _stack(name, models, found) for name in roles(surrogate)}
        self.model, self.first = self.parts["model"], plans[0]
        self.scored = speaker(surrogate, self.model, self.parts, scored=True)
        self.weights = list(self.model.parameters())
        self.optimiser = torch.optim.AdamW(self.weights, self.first.rate, betas=BETAS, weight_decay=0.0, fused=True)
        if found[0][0]:
            kept = [state["moments"] for _, state in found]
            every = {key: v if v.ndim == 0 else torch.stack([one[key] for one in kept]) for key, v in kept[0].items()}
            set_moments(self.optimiser, every)

    def train(self, at: int) -> list[pd.DataFrame | Diverged]:
        first, S = self.first, len(self.plans)
        if not self.rows[0]:
            begun = evaluated(self.scored, self.task, self.paid, first, S)
            self.rows = [[{"step": 0} | row] for row in begun]
        forward = passing(self.model, self.surrogate, first)
        for step in range(at, first.steps):
            if first.sync and step % first.sync == 0:
                self.parts["behind"].load_state_dict(self.model.state_dict())
            if refreshed(self.surrogate, step):
                self.parts["masking"].load_state_dict(self.model.state_dict())
            where, kept = f"{self.task.name}, step {step}", self._kept()
            lower = f"prompts ({first.prompts}), group ({first.group}) or the number of seeds at once ({S})"
            with memory(f"in {where}: lower {lower}{kept}."):
                answering, before = speaker(self.surrogate, self.parts["behind"], self.parts), self.parts["start"]
                every = asked(answering, self.task, self.paid, self.plans, step, branching=self.branching, start=before)
                with precise(self.model, first):
                    all_known = constants(self.surrogate, *joined(every), self.parts)
                    logp = forward(*joined(every))
                known = [{name: rows.chunk(S)[k] for name, rows in all_known.items()} for k in range(S)]
                self._descend(logp, every, known, step, f"{where}: lower the rate{kept}")
                self._note(logp.detach().chunk(S), every, known, step + 1)
            if first.evaluated(step + 1):
                self._keep()
            for k, rows in enumerate(self.rows):
                if k not in self.lost:
                    self.tell(k, rows[-1])
        for k, model in enumerate(self.models):
            model.load_state_dict({name: of[k] for name, of in self.model.state_dict().items()})
        return [self.lost.get(k) or pd.DataFrame(rows) for k, rows in enumerate(self.rows)]

    def _kept(self) -> str:
        return f"; the last good states are in {self.folders[0].parent}" if self.folders else ""

    def _descend(self, logp: Tensor, every: Sequence[Rollout], known: Sequence[Known], step: int, where: str) -> None:
        """A step of every seed, its gradient clipped by its own length."""
        found = [
            slope_of(part, data.batch, tied(self.surrogate, own, past(rows)), chance(plan, step))
            for part, data, own, rows, plan in zip(logp.detach().chunk(len(every)), every, known, self.rows, self.plans)
        ]
        losses = torch.stack([loss for loss, _ in found])
        torch.autograd.backward(logp, torch.cat([slope for _, slope in found]))
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        lengths = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
        shrink = (self.first.clip_norm / (lengths + 1e-6)).clamp(max=1)
        sound = (losses.isfinite() & lengths.isfinite()).tolist()
        for k in (k for k, fine in enumerate(sound) if not fine and k not in self.lost):
            self.lost[k] = lost(losses[k], lengths[k], where.replace(":", f", seed {self.plans[k].seed}:", 1))
        still = [k for k in range(len(every)) if k in self.lost]
        before = [weight.detach()[still].clone() for weight in self.weights]
        for g in gradients:
            g.mul_(shrink.view(-1, *[1] * (g.ndim - 1)))
            g[still] = 0
        self.optimiser.step()
        self.optimiser.zero_grad()
        with torch.no_grad():
            for weight, old in zip(self.weights, before):
                weight[still] = old

    def _note(self, logp: Sequence[Tensor], every: Sequence[Rollout], known: Sequence[Known], step: int) -> None:
        """A new row for each seed."""
        first, S = self.first, len(every)
        with precise(self.model, first):
            said = [spoken(x, own) for x, own in zip(logp, known)]
            new = [
                {"step": step}
                | metrics(said[k][0], data)
                | noted(self.surrogate, logp[k], known[k], past(self.rows[k]), data.batch)
                for k, data in enumerate(every)
            ]
            if first.measured and step % first.measured == 0:
                with torch.no_grad():
                    far = self.parts["start"].token_logp(*joined(every)).chunk(S)
                new = [row | {"kl": divergence(a, b, data)} for row, a, (_, b), data in zip(new, far, said, every)]
        if first.evaluated(step):
            new = [row | more for row, more in zip(new, evaluated(self.scored, self.task, self.paid, first, S))]
        for rows, row in zip(self.rows, new):
            rows.append(row)

    def _keep(self) -> None:
        """The state of each seed, as a single run keeps it."""
        whole = {name: part.state_dict() for name, part in self.parts.items()} | {"moments": moments(self.optimiser)}
        for k, folder in enumerate(self.folders):
            if k not in self.lost:
                state = {
                    name: {key: v if v.ndim == 0 else v[k].clone() for key, v in of.items()}
                    for name, of in whole.items()
                }
                run = described(self.plans[k], self.task, self.models[k], self.branching)
                keep(folder, run, state, self.rows[k])


def _stack(name: str, models: Sequence[Transformer], found: Sequence[tuple[list[Row], State]]) -> Transformer:
    """One of the policies of all seeds, as they were kept or else as they are."""
    own = list(models)
    if found[0][0]:
        own = [deepcopy(model) for model in models]
        for model, (_, state) in zip(own, found):
            model.load_state_dict(state[name])
    return stacked(own)
