"""From tasks to tensors: characters as tokens, answers of several turns, and batches with rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from claimlab.experiments.lm.batch import Batch, sampled
from claimlab.experiments.lm.decode import END, PAD, Answers, Draws, several
from claimlab.experiments.lm.tasks import Example, Task
from claimlab.experiments.lm.transformer import Speaker

Reward = Callable[[Example, str], float]


class Rollout(NamedTuple):
    """int64[Q, P] prompts and int64[N, T] tokens, neighbours after one prompt, with the `Batch` of what was said."""

    prompts: Tensor
    tokens: Tensor
    batch: Batch


def encode(texts: Sequence[str], task: Task, length: int, *, ends: bool = False) -> Tensor:
    """int64[N, length]: prompts and replies padded on the left; turns (`ends`) closed and padded on the right."""
    index = {c: i for i, c in enumerate(task.alphabet, start=END + 1)}
    rows = []
    for text in texts:
        try:
            row = [index[c] for c in text] + [END] * ends
        except KeyError as error:
            raise ValueError(f"{text!r} has the character {error.args[0]!r}, not in the task's alphabet.") from None
        if len(row) > length:
            raise ValueError(f"{text!r} needs {len(row)} tokens; the task {task.name} has room for {length}.")
        gap = [PAD] * (length - len(row))
        rows.append(row + gap if ends else gap + row)
    return torch.tensor(rows, dtype=torch.int64)


def decode(tokens: Tensor, task: Task) -> list[str]:
    """The characters of each row; padding and end tokens have none."""
    return ["".join(task.alphabet[v - END - 1] for v in row if v > END) for row in tokens.tolist()]


def demonstrations(task: Task, count: int, rng: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """int64[N, P] prompts, int64[N, T] turns and replies, and where the demonstrator speaks, bool[N, T]."""
    examples = [task.draw(rng) for _ in range(count)]
    columns, spoken = [], []
    for k in range(task.turns):
        if k and task.reply is not None:
            heard = [task.reply(e, e.turns[k - 1]) for e in examples]
            columns.append(encode(heard, task, task.reply_length))
            spoken.append(torch.zeros_like(columns[-1], dtype=torch.bool))
        columns.append(encode([e.turns[k] for e in examples], task, task.answer_length, ends=True))
        spoken.append(columns[-1] != PAD)
    prompts = encode([e.prompt for e in examples], task, task.prompt_length)
    return prompts, torch.cat(columns, 1), torch.cat(spoken, 1)


def answers(
    model: Speaker,
    task: Task,
    examples: Sequence[Example],
    generator: Draws,
    *,
    group: int = 1,
    greedy: bool = False,
) -> tuple[Tensor, Answers, list[str]]:
    """Prompts, int64[Q, P], with `group` answers to each, and these as texts; tensors are where the generator is.

    With several generators, for a `stacked` model, the examples are as many equal parts.
    """
    device, draws = several(generator)[0].device, cast(torch.Generator, generator)
    prompts = encode([e.prompt for e in examples], task, task.prompt_length).to(device)
    every = [e for e in examples for _ in range(group)]
    parts, texts, repeat = [], [""] * len(every), group
    context = prompts
    for k in range(task.turns):
        said = _full(model.sample(context, task.answer_length, draws, group=repeat, greedy=greedy), task)
        turn = decode(said.tokens, task)
        texts = [a + b for a, b in zip(texts, turn)]
        parts.append(said)
        context = torch.cat([context.repeat_interleave(repeat, 0), said.tokens], 1)
        repeat = 1
        if k < task.turns - 1 and task.reply is not None:
            heard = [task.reply(e, t) for e, t in zip(every, turn)]
            texts = [a + b for a, b in zip(texts, heard)]
            tokens = encode(heard, task, task.reply_length).to(device)
            parts.append(Answers(tokens, said.logp.new_zeros(tokens.shape), torch.zeros_like(tokens, dtype=torch.bool)))
            context = torch.cat([context, tokens], 1)
    whole = Answers(*(torch.cat(column, 1) for column in zip(*parts)))
    return prompts, whole, texts


def rollout(
    model: Speaker,
    task: Task,
    reward: Reward,
    seed: Sequence[int],
    *,
    prompts: int,
    group: int,
    part: tuple[int, int] = (0, 1),
) -> Rollout:
    """Answers to `prompts` random examples, `group` to each.  Equal seeds give equal prompts whatever the model.

    `part` (r, W) answers the r-th of W equal parts of the prompts alone.
    """
    return rollouts(model, task, reward, [seed], prompts=prompts, group=group, part=part)[0]


def rollouts(
    model: Speaker,
    task: Task,
    reward: Reward,
    seeds: Sequence[Sequence[int]],
    *,
    prompts: int,
    group: int,
    part: tuple[int, int] = (0, 1),
) -> list[Rollout]:
    """`rollout` for each seed; `model` is `stacked` of as many as there are seeds, or the only one."""
    examples: list[Example] = []
    generators, (r, W) = [], part
    for seed in seeds:
        rng = np.random.default_rng([*seed, 0])
        examples += [task.draw(rng) for _ in range(prompts)][r * prompts // W : (r + 1) * prompts // W]
        draws = np.random.default_rng([*seed, 1, r] if r else [*seed, 1])
        generators.append(torch.Generator(device_of(model)).manual_seed(int(draws.integers(2**62))))
    asked, said, texts = answers(model, task, examples, generators if len(seeds) > 1 else generators[0], group=group)
    paid = [reward(examples[i // group], text) for i, text in enumerate(texts)]
    rewards = torch.tensor(paid, dtype=said.logp.dtype, device=said.logp.device)
    groups = torch.arange(len(examples) // len(seeds), device=said.logp.device).repeat_interleave(group)
    parts = zip(*(x.chunk(len(seeds)) for x in (asked, *said, rewards)))
    return [Rollout(q, tokens, sampled(logp, paid_, groups, mask)) for q, tokens, logp, mask, paid_ in parts]


def device_of(model: Speaker) -> torch.device:
    return next(iter(model.parameters())).device


def _full(said: Answers, task: Task) -> Answers:
    """Padded on the right to the full length of a turn."""
    gap = (0, task.answer_length - said.tokens.shape[1])
    return Answers(*(torch.nn.functional.pad(x, gap) for x in said))
