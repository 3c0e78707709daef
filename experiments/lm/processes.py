"""Several processes that train one model, each on its part of the prompts.

What they share is not a wrapped model but the batch: log-probabilities, rewards and masks are gathered, every process
takes the loss of the whole and its derivative by its own answers' log-probabilities, and gradients of weights are
summed.  So the step is that of one process for every surrogate, also where it couples answers (lengths in all, groups).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from claimlab.experiments.lm.batch import Batch, Steps, sampled
from claimlab.experiments.lm.transformer import Policy


class Team(Protocol):
    """What is needed of `accelerate.Accelerator`: gather concatenates along the first axis, in the processes' order."""

    @property
    def num_processes(self) -> int: ...

    @property
    def process_index(self) -> int: ...

    def gather(self, tensor: Tensor) -> Tensor: ...

    def reduce(self, tensor: Tensor, reduction: str) -> Tensor: ...


def part(team: Team | None, prompts: int) -> tuple[int, int]:
    """This process's number and how many there are."""
    r, W = (0, 1) if team is None else (team.process_index, team.num_processes)
    if prompts % W:
        raise ValueError(f"prompts must be a multiple of the number of processes, {W}, got {prompts}.")
    return r, W


def gathered(team: Team | None, rows: Tensor) -> Tensor:
    """The rows of all processes."""
    return rows if team is None or team.num_processes == 1 else team.gather(rows)


def together(team: Team | None, logp: Tensor, batch: Batch) -> tuple[Tensor, Batch, slice]:
    """float[W N, T] or [W N, T, V] log-probabilities and the batch of all processes, and which rows are this one's."""
    if team is None or team.num_processes == 1:
        return logp, batch, slice(None)
    n, r = len(logp), team.process_index
    every, old, rewards, tokens = (team.gather(x) for x in (logp, batch.old, batch.rewards, batch.tokens))
    groups = team.gather(batch.groups + r * len(batch.mass))
    steps = None
    if batch.steps is not None:
        worth = None if batch.steps.worth is None else team.gather(batch.steps.worth)
        steps = Steps(team.gather(batch.steps.of), team.gather(batch.steps.nodes + r * n), worth)
    return every, sampled(old, rewards, groups, tokens, steps), slice(r * n, (r + 1) * n)


def summed(team: Team | None, model: Policy) -> None:
    """Every gradient becomes the sum of all processes' ones."""
    if team is None or team.num_processes == 1:
        return
    with torch.no_grad():
        for weight in model.parameters():
            if weight.grad is not None:
                weight.grad = team.reduce(weight.grad, "sum")
