"""From tasks to tensors: characters as tokens, answers of several turns, and batches with rewards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from claimlab.checks import integer
from claimlab.experiments.lm.batch import Batch, Steps, sampled
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


class Piece(NamedTuple):
    """A segment of an answer: its longest length, and whether the turn ends with it."""

    length: int
    closes: bool


def pieces_of(task: Task, cuts: Sequence[int] = ()) -> list[Piece]:
    """The segments of an answer whose every turn is cut after `cuts` tokens, ascending."""
    edges = [0, *cuts, task.answer_length]
    if any(a >= b for a, b in pairwise(edges)):
        raise ValueError(f"cuts must ascend within a turn of {task.answer_length} tokens, got {tuple(cuts)}.")
    return [Piece(b - a, b == task.answer_length) for a, b in pairwise(edges)] * task.turns


class Prefix(NamedTuple):
    """Of R rows, the examples; the prompt and what was said and heard, int64[R, P + t]; and whether the turn has ended,
    bool[R]."""

    examples: list[Example]
    tokens: Tensor
    ended: Tensor


def begin(task: Task, examples: Sequence[Example], device: torch.device) -> Prefix:
    """Before the first word."""
    prompts = encode([e.prompt for e in examples], task, task.prompt_length).to(device)
    return Prefix(list(examples), prompts, torch.zeros(len(prompts), dtype=torch.bool, device=device))


@torch.no_grad()
def go_on(
    model: Speaker,
    task: Task,
    prefix: Prefix,
    pieces: Sequence[Piece],
    widths: Sequence[int],
    generator: Draws,
    *,
    greedy: bool = False,
) -> Iterator[tuple[Answers, Prefix]]:
    """Says `pieces`, the last ones of the answer, after `prefix`: each as often as `widths` has it, from every row.

    After each, what was said in it and heard after it, and all so far; rows that come from one are neighbours.
    """
    draws = cast(torch.Generator, generator)
    for k, (piece, width) in enumerate(zip(pieces, widths)):
        said = _full(model.sample(prefix.tokens, piece.length, draws, group=width, greedy=greedy), piece.length)
        every = [e for e in prefix.examples for _ in range(width)]
        ended = prefix.ended.repeat_interleave(width)
        if ended.any():
            said = Answers(*(x.masked_fill(ended[:, None], 0) for x in said))
        context = torch.cat([prefix.tokens.repeat_interleave(width, 0), said.tokens], 1)
        ended = ended | (said.tokens == END).any(1)
        if piece.closes and k < len(pieces) - 1 and task.reply is not None:
            turn = decode(context[:, -task.answer_length :], task)
            heard = encode([task.reply(e, t) for e, t in zip(every, turn)], task, task.reply_length).to(context.device)
            silent = Answers(heard, said.logp.new_zeros(heard.shape), torch.zeros_like(heard, dtype=torch.bool))
            said = Answers(*(torch.cat(column, 1) for column in zip(said, silent)))
            context = torch.cat([context, heard], 1)
        prefix = Prefix(every, context, torch.zeros_like(ended) if piece.closes else ended)
        yield said, prefix


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
    start, pieces = begin(task, examples, several(generator)[0].device), pieces_of(task)
    widths = [group] + [1] * (len(pieces) - 1)
    whole = _joined([said for said, _ in go_on(model, task, start, pieces, widths, generator, greedy=greedy)])
    return start.tokens, whole, decode(whole.tokens, task)


def _joined(parts: Sequence[Answers]) -> Answers:
    """The segments of answers in one, each repeated for all answers that have it."""
    rows = len(parts[-1].tokens)
    return Answers(*(torch.cat([x.repeat_interleave(rows // len(x), 0) for x in column], 1) for column in zip(*parts)))


class Policies(NamedTuple):
    """Who answers, and who answered before the first step."""

    behind: Speaker
    start: Speaker


Judge = Callable[[Policies, Task, Reward, Prefix, Sequence[Piece], Draws], Tensor]


@dataclass(frozen=True)
class MonteCarlo:
    """The mean over `tries` of the best reward of `best` continuations by the answering policy, or by the start's."""

    tries: int = 4
    best: int = 1
    prover: Literal["behind", "start"] = "behind"

    def __post_init__(self) -> None:
        integer("tries", self.tries, 1)
        integer("best", self.best, 1)
        if self.prover not in Policies._fields:
            raise ValueError(f"prover must be one of {', '.join(Policies._fields)}; got {self.prover!r}.")

    def __call__(
        self, policies: Policies, task: Task, reward: Reward, prefix: Prefix, rest: Sequence[Piece], draws: Draws
    ) -> Tensor:
        model: Speaker = getattr(policies, self.prover)
        widths = [self.tries * self.best] + [1] * (len(rest) - 1)
        *_, (_, last) = go_on(model, task, prefix, rest, widths, draws)
        paid = _paid(task, reward, last)
        return torch.tensor(paid).view(-1, self.tries, self.best).amax(2).mean(1)


@dataclass(frozen=True)
class Belief:
    """The mean log-probability of a character of the right last turn, said now; or its exponential."""

    logarithmic: bool = True

    def __call__(
        self, policies: Policies, task: Task, reward: Reward, prefix: Prefix, rest: Sequence[Piece], draws: Draws
    ) -> Tensor:
        if task.right is None:
            raise ValueError(f"the task {task.name} has no right last turn; a belief in it needs one.")
        right = encode([task.right(e) for e in prefix.examples], task, task.answer_length, ends=True)
        right = right.to(prefix.tokens.device)
        with torch.no_grad():
            logp = policies.behind.token_logp(prefix.tokens, right)
        mean = torch.where(right > END, logp, 0.0).sum(1) / (right > END).sum(1)
        return mean if self.logarithmic else mean.exp()


@dataclass(frozen=True)
class Branching:
    """How answers are drawn as a tree: in segments, `widths` children of every node, the group's size their product.

    Turns are segments; `cuts` cut every turn after so many tokens besides.  A `judge` values every prefix, the prompt
    among them, float[R] of a `Prefix` of R rows (`MonteCarlo`, `Belief` or your own); a whole answer is worth its
    reward.
    """

    widths: tuple[int, ...]
    cuts: tuple[int, ...] = ()
    judge: Judge | None = None

    def __post_init__(self) -> None:
        for k, width in enumerate(self.widths):
            integer(f"widths[{k}]", width, 1)


def _paid(task: Task, reward: Reward, whole: Prefix) -> list[float]:
    texts = decode(whole.tokens[:, task.prompt_length :], task)
    return [reward(e, text) for e, text in zip(whole.examples, texts)]


def rollout(
    model: Speaker,
    task: Task,
    reward: Reward,
    seed: Sequence[int],
    *,
    prompts: int,
    group: int,
    part: tuple[int, int] = (0, 1),
    branching: Branching | None = None,
    start: Speaker | None = None,
) -> Rollout:
    """Answers to `prompts` random examples, `group` to each.  Equal seeds give equal prompts whatever the model.

    `part` (r, W) answers the r-th of W equal parts of the prompts alone.  With a `branching`, its group is the size,
    and the batch has `Steps`; `start` is the policy that a judge may ask, `model` if there is none.
    """
    return rollouts(
        model, task, reward, [seed], prompts=prompts, group=group, part=part, branching=branching, start=start
    )[0]


def rollouts(
    model: Speaker,
    task: Task,
    reward: Reward,
    seeds: Sequence[Sequence[int]],
    *,
    prompts: int,
    group: int,
    part: tuple[int, int] = (0, 1),
    branching: Branching | None = None,
    start: Speaker | None = None,
) -> list[Rollout]:
    """`rollout` for each seed; `model` is `stacked` of as many as there are seeds, or the only one."""
    examples: list[Example] = []
    generators, others, (r, W) = [], [], part
    for seed in seeds:
        rng = np.random.default_rng([*seed, 0])
        examples += [task.draw(rng) for _ in range(prompts)][r * prompts // W : (r + 1) * prompts // W]
        generators.append(_generator([*seed, 1, r] if r else [*seed, 1], model))
        others.append(_generator([*seed, 3, r], model))
    parts = len(seeds)
    draws, judging = (generators, others) if parts > 1 else (generators[0], others[0])
    begun, pieces = begin(task, examples, device_of(model)), pieces_of(task, branching.cuts if branching else ())
    widths = branching.widths if branching else (group, *[1] * (len(pieces) - 1))
    if len(widths) != len(pieces):
        raise ValueError(f"widths must be one for each of {len(pieces)} segments, got {widths}.")
    levels = list(go_on(model, task, begun, pieces, widths, draws))
    parts_said, prefixes = [new for new, _ in levels], [begun, *(prefix for _, prefix in levels)]
    said = _joined(parts_said)
    rewards = torch.tensor(_paid(task, reward, prefixes[-1]), dtype=said.logp.dtype, device=said.logp.device)
    groups = torch.arange(len(examples) // parts, device=rewards.device)
    groups = groups.repeat_interleave(len(rewards) // len(examples))
    steps: list[Steps | None] = [None] * parts
    if branching:
        worth = None
        if judge := branching.judge:
            policies = Policies(model, start or model)
            held = [judge(policies, task, reward, p, pieces[k:], judging) for k, p in enumerate(prefixes[:-1])]
            every = [x.to(rewards).repeat_interleave(len(rewards) // len(x)) for x in held]
            worth = torch.stack([*every, rewards], 1)
        steps = _steps(parts_said, parts, worth)
    chunks = zip(*(x.chunk(parts) for x in (begun.tokens, *said, rewards)))
    return [
        Rollout(q, tokens, sampled(logp, paid, groups, mask, step))
        for (q, tokens, logp, mask, paid), step in zip(chunks, steps)
    ]


def _generator(seed: Sequence[int], model: Speaker) -> torch.Generator:
    return torch.Generator(device_of(model)).manual_seed(int(np.random.default_rng(seed).integers(2**62)))


def _steps(levels: Sequence[Answers], parts: int, worth: Tensor | None) -> list[Steps | None]:
    """Of each part, which all have the same tree."""
    device, rows = levels[0].tokens.device, [len(level.tokens) // parts for level in levels]
    places = torch.arange(rows[-1], device=device)
    nodes = torch.stack([places // (rows[-1] // n) for n in rows], 1)
    of = torch.cat([torch.full_like(level.tokens[0], k) for k, level in enumerate(levels)]).expand(rows[-1], -1)
    own = [None] * parts if worth is None else worth.chunk(parts)
    return [Steps(of, nodes, held) for held in own]


def device_of(model: Speaker) -> torch.device:
    return next(iter(model.parameters())).device


def _full(said: Answers, length: int) -> Answers:
    """Padded on the right to the full length."""
    gap = (0, length - said.tokens.shape[1])
    return Answers(*(torch.nn.functional.pad(x, gap) for x in said))
