"""Imitation and reinforcement: a loop that takes any surrogate and any reward, and goes on after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import cos, pi
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load, save
from torch import Tensor

from claimlab.checks import integer, interval, nearest
from claimlab.experiments import atomic
from claimlab.experiments.lm.batch import Batch
from claimlab.experiments.lm.decode import END
from claimlab.experiments.lm.processes import Team, gathered, part, summed, together
from claimlab.experiments.lm.rollouts import Branching, Reward, Rollout, answers, demonstrations, device_of, rollouts
from claimlab.experiments.lm.tasks import Task
from claimlab.experiments.lm.transformer import Policy, Shape, Speaker, Transformer
from claimlab.experiments.lm.vocabulary import (
    OfLaws,
    Plain,
    constants,
    noted,
    refreshed,
    roles,
    speaker,
    spoken,
    tied,
)

Surrogate = Plain | OfLaws  # of the log-probabilities of what was said, or of the whole vocabulary at every token
BETAS = (0.9, 0.95)
CLIP = 0.2  # ratios further from one than this count as clipped in the metrics
PRECISIONS = ("float32", "bfloat16")


class Diverged(RuntimeError):
    """The loss is no number any more; the message says where the last good state is."""


class OutOfMemory(MemoryError):
    """The step did not fit; the message says what to lower, and where the last good state is."""


@dataclass(frozen=True)
class Settings:
    """Of a run of reinforcement; two runs with equal settings and seed see equal prompts.

    `sync` is how many steps the answering policy stays behind: it is refreshed every so many steps, 0 never (offline);
    `scored` how many examples an evaluation has; the divergence from the start, a pass of its own, is measured every
    `measured` steps, 0 never.  With `precision` "bfloat16" the passes are autocast, the weights stay
    as they are, and the answering policy's log-probabilities are those of a training pass, since a sampler's differ;
    `compiled` passes the training pass through `torch.compile`.
    """

    steps: int = 60
    prompts: int = 32
    group: int = 8
    rate: float = 1e-3
    sync: int = 1
    seed: int = 0
    evaluate: int = 20
    scored: int = 512
    measured: int = 1
    clip_norm: float = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    compiled: bool = False

    def __post_init__(self) -> None:
        for name, least in (
            ("steps", 1),
            ("prompts", 1),
            ("group", 1),
            ("sync", 0),
            ("seed", 0),
            ("evaluate", 1),
            ("scored", 1),
            ("measured", 0),
        ):
            integer(name, getattr(self, name), least)
        interval("rate", self.rate, 0, 1, "(]")  # a step moves a weight by some rates at most
        interval("clip_norm", self.clip_norm, 0, float("inf"), "(]")
        if self.precision not in PRECISIONS:
            hint = nearest(self.precision, list(PRECISIONS))
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}{hint}; got {self.precision!r}.")

    def evaluated(self, step: int) -> bool:
        """Whether the policy is evaluated after `step` steps."""
        return step % self.evaluate == 0 or step == self.steps


def imitate(
    task: Task, *, width: int = 64, steps: int = 250, size: int = 128, rate: float = 6e-3, seed: int = 0, heads: int = 4
) -> Transformer:
    """A new transformer, trained on demonstrations (AdamW, 20 steps of warm-up, then a cosine)."""
    shape = Shape(len(task.alphabet) + END + 1, task.prompt_length + task.length, width=width, heads=heads)
    model, rng = Transformer(shape, seed), np.random.default_rng([seed, 2])
    optimiser = torch.optim.AdamW(model.parameters(), rate, betas=BETAS, weight_decay=0.01)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * min(1, (step + 1) / 20) * (0.02 + 0.49 * (1 + cos(pi * step / steps)))
        prompts, tokens, spoken = demonstrations(task, size, rng)
        loss = -model.token_logp(prompts, tokens)[spoken].mean()
        torch.autograd.backward(loss)
        _descend(loss.detach(), model, optimiser, 1.0, f"imitating {task.name}, step {step}: lower the rate")
    return model


def reinforce(
    model: Policy,
    task: Task,
    surrogate: Surrogate,
    settings: Settings,
    *,
    reward: Reward | None = None,
    gold: Reward | None = None,
    branching: Branching | None = None,
    folder: Path | None = None,
    progress: Callable[[Mapping[str, float]], None] | None = None,
    team: Team | None = None,
) -> pd.DataFrame:
    """Train `model` in place; a row of metrics for every step.

    `reward` of the batch; `kl` to the start (k3) and `nll` a token; `clip`, the share of ratios outside 1 -+ 0.2; and
    where it was evaluated, `score` (see `score`) and `entropy`, of the policy's own answers, a token.  Answers are paid
    by `reward`, that of the task if there is none, and scored by `gold`, what pays if there is none.  With a
    `branching` they are drawn as a tree, whose group is the size, and the batch has `Steps`.  `progress` is called with
    every new row.

    With a `folder` the whole state is written there at every evaluation, and a stopped run goes on from it; its
    result is bit for bit that of an uninterrupted one.  With a `team` (an `accelerate.Accelerator`) every process
    answers its part of the prompts, and all take the step of the whole batch; metrics of a batch are those of a part.
    A surrogate may draw from torch's own generator, which is seeded at every step.  What one of laws notes stands in
    the rows as `noted`; inside a mask, `score`, `entropy` and `clip` are of the law in it.

    Raises:
        Diverged: the loss or its gradient became infinite or NaN.
        OutOfMemory: a step did not fit.
        ValueError: `folder` holds another run, or the prompts do not divide among the processes.
    """
    paid, mine = task.reward if reward is None else reward, part(team, settings.prompts)
    gold = paid if gold is None else gold
    optimiser = torch.optim.AdamW(model.parameters(), settings.rate, betas=BETAS, weight_decay=0.0, fused=True)
    optimiser.zero_grad()  # whatever was left there
    parts = {name: deepcopy(model) for name in roles(surrogate)} | {"model": model}
    evaluate = partial(evaluated, speaker(surrogate, model, parts, scored=True), task, gold, settings)
    run = described(settings, task, model, branching)
    rows: list[dict[str, Any]] = []
    states: State = {}
    if folder:
        rows, states = restored(folder, run, model, tuple(parts))
    if rows:
        for name, of in parts.items():
            of.load_state_dict(states[name])
        set_moments(optimiser, states["moments"])
    else:
        rows = [{"step": 0} | evaluate()[0]]
    forward = passing(model, surrogate, settings)
    for step in range(rows[-1]["step"], settings.steps):
        where = f"{task.name}, step {step}"
        kept = f"; the last good state is in {folder}" if folder else ""
        if settings.sync and step % settings.sync == 0:
            parts["behind"].load_state_dict(model.state_dict())
        if refreshed(surrogate, step):
            parts["masking"].load_state_dict(model.state_dict())
        with memory(f"in {where}: lower prompts ({settings.prompts}) or group ({settings.group}){kept}."):
            answering, before = speaker(surrogate, parts["behind"], parts), parts["start"]
            (data,) = asked(answering, task, paid, [settings], step, mine, branching, before)
            with precise(model, settings):
                known = constants(surrogate, data.prompts, data.tokens, parts)
                logp = forward(data.prompts, data.tokens)
            loss, note = _backward(logp, data.batch, surrogate, known, past(rows), chance(settings, step), team)
            summed(team, model)
            _descend(loss, model, optimiser, settings.clip_norm, f"{where}: lower the rate{kept}")
            with precise(model, settings):
                own, unmasked = spoken(logp.detach(), known)
                rows.append({"step": step + 1} | metrics(own, data) | note)
                if settings.measured and (step + 1) % settings.measured == 0:
                    with torch.no_grad():
                        far = parts["start"].token_logp(data.prompts, data.tokens)
                    rows[-1] |= {"kl": divergence(far, unmasked, data)}
            last = settings.evaluated(step + 1)
            if last:
                rows[-1] |= evaluate()[0]
        if last and folder and mine[0] == 0:
            state = {name: of.state_dict() for name, of in parts.items()}
            keep(folder, run, state | {"moments": moments(optimiser)}, rows)
        if progress:
            progress(rows[-1])
    return pd.DataFrame(rows)


def score(model: Speaker, task: Task, reward: Reward, *, count: int = 512, greedy: bool = False) -> float:
    """The mean reward of one answer to each of `count` examples, the same for every model."""
    return _scored(model, task, reward, count, greedy)[0][0]


def _scored(
    model: Speaker, task: Task, reward: Reward, count: int, greedy: bool = False, parts: int = 1
) -> list[tuple[float, float]]:
    """`score`, and the mean of minus the log-probability of the tokens that were said, for each part of a stack."""
    rng = np.random.default_rng([77, count])
    examples = [task.draw(rng) for _ in range(count)] * parts
    draws = [torch.Generator(device_of(model)).manual_seed(5) for _ in range(parts)]
    _, said, texts = answers(model, task, examples, draws if parts > 1 else draws[0], greedy=greedy)
    paid = np.reshape([reward(e, text) for e, text in zip(examples, texts)], (parts, count)).mean(1)
    spoken = zip(said.logp.chunk(parts), said.mask.chunk(parts))
    return [(float(p), float(-logp[mask].mean())) for p, (logp, mask) in zip(paid, spoken)]


def evaluated(model: Speaker, task: Task, reward: Reward, settings: Settings, parts: int = 1) -> list[dict[str, float]]:
    """`score` and `entropy` of each part of a stack."""
    with precise(model, settings):
        found = _scored(model, task, reward, settings.scored, parts=parts)
    return [{"score": paid, "entropy": entropy} for paid, entropy in found]


def asked(
    behind: Speaker,
    task: Task,
    reward: Reward,
    plans: Sequence[Settings],
    step: int,
    mine: tuple[int, int] = (0, 1),
    branching: Branching | None = None,
    start: Speaker | None = None,
) -> list[Rollout]:
    """What the answering policy says to this process's prompts; for each of `plans`, which differ in the seed."""
    first = plans[0]
    with precise(behind, first):
        seeds, size = [(plan.seed, step) for plan in plans], {"prompts": first.prompts, "group": first.group}
        every = rollouts(behind, task, reward, seeds, **size, part=mine, branching=branching, start=start)
        if first.precision == "float32":
            return every
        with torch.no_grad():
            old = behind.token_logp(*joined(every)).chunk(len(every))
    return [
        data._replace(batch=replace(data.batch, old=torch.where(data.batch.tokens, seen, 0.0)))
        for data, seen in zip(every, old)
    ]


def joined(every: Sequence[Rollout]) -> tuple[Tensor, Tensor]:
    """Prompts and tokens of all, one after the other."""
    return torch.cat([data.prompts for data in every]), torch.cat([data.tokens for data in every])


def passing(model: Policy, surrogate: Surrogate, settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """The pass that gives what `surrogate` sees: float[N, T] of what was said, or float[N, T, V]."""
    forward = model.token_laws if isinstance(surrogate, OfLaws) else model.token_logp
    return torch.compile(forward) if settings.compiled else forward


def past(rows: Sequence[Mapping[str, float]]) -> list[float]:
    """What was noted in each step so far."""
    return [row["noted"] for row in rows if "noted" in row]


def _backward(
    logp: Tensor,
    batch: Batch,
    surrogate: Surrogate,
    known: Mapping[str, Tensor],
    before: Sequence[float],
    seed: int,
    team: Team | None,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of all processes' answers, and its note; its gradient by this process's ones goes to the weights."""
    all_logp, whole, own = together(team, logp.detach(), batch)
    all_known = {name: gathered(team, rows) for name, rows in known.items()}
    loss, slope = slope_of(all_logp, whole, tied(surrogate, all_known, before), seed)
    torch.autograd.backward(logp, slope[own])
    return loss, noted(surrogate, all_logp, all_known, before, whole)


def slope_of(logp: Tensor, batch: Batch, surrogate: Plain, seed: int) -> tuple[Tensor, Tensor]:
    """The loss, and its derivative by `logp`, float[N, T] or float[N, T, V]."""
    leaf = logp.detach().requires_grad_()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loss = surrogate(leaf, batch)
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


def metrics(logp: Tensor, data: Rollout) -> dict[str, float]:
    said, batch = data.batch.tokens, data.batch
    ratio = (logp - batch.old)[said].exp()
    return {
        "reward": float((batch.weights * batch.rewards).sum()),
        "nll": float(-logp[said].mean()),
        "clip": float(((ratio - 1).abs() > CLIP).float().mean()),
    }


def divergence(start: Tensor, logp: Tensor, data: Rollout) -> float:
    """k3 a token, from log-probabilities under the start and under the policy."""
    gap = (start - logp)[data.batch.tokens]
    return float((gap.exp() - 1 - gap).mean())


def described(settings: Settings, task: Task, model: Policy, branching: Branching | None = None) -> str:
    """What a kept state belongs to."""
    drawn = {"branching": repr(branching)} if branching else {}
    return json.dumps(asdict(settings) | {"task": task.name, "shape": asdict(model.shape)} | drawn)


def chance(settings: Settings, step: int) -> int:
    """The seed of a surrogate's own chance."""
    return int(np.random.default_rng([settings.seed, step, 2]).integers(2**62))


def precise(model: Speaker, settings: Settings) -> Any:
    return torch.autocast(device_of(model).type, torch.bfloat16, enabled=settings.precision == "bfloat16")


@contextmanager
def memory(where: str) -> Iterator[None]:
    """Out of memory, which torch calls by several names, becomes `OutOfMemory`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        cause: BaseException | None = error
        while cause is not None and not _is_full(cause):  # a capture that is cut short complains about itself
            cause = cause.__context__
        if cause is None:
            raise
        raise OutOfMemory(f"out of memory {where}") from error


def _is_full(error: BaseException) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error)


def _descend(loss: Tensor, model: Policy, optimiser: torch.optim.Optimizer, norm: float, where: str) -> None:
    """A step along the gradients that there are, which then are none."""
    length = torch.nn.utils.clip_grad_norm_(model.parameters(), norm)
    if not (bool(loss.isfinite()) and bool(length.isfinite())):
        optimiser.zero_grad()
        raise lost(loss, length, where)
    optimiser.step()
    optimiser.zero_grad()


def lost(loss: Tensor, length: Tensor, where: str) -> Diverged:
    return Diverged(f"loss {float(loss):g} with gradient {float(length):g} in {where}.")


State = Mapping[str, Mapping[str, Tensor]]  # of the policies and the optimiser, by their names


def moments(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of `optimiser`, by "number of the weight/name"."""
    return {f"{i}/{key}": v for i, of in optimiser.state_dict()["state"].items() for key, v in of.items()}


def set_moments(optimiser: torch.optim.Optimizer, found: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in found.items():
        i, what = key.split("/")
        state.setdefault(int(i), {})[what] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def keep(folder: Path, run: str, state: State, rows: list[dict[str, Any]]) -> None:
    """All of the state in one file, so that it cannot be half of one step and half of another."""
    tensors = {f"{name}/{key}": v for name, of in state.items() for key, v in of.items()}
    atomic.write(folder / "state.safetensors", save(tensors, {"run": run, "rows": json.dumps(rows)}))


def restored(folder: Path, run: str, model: Policy, names: Sequence[str]) -> tuple[list[dict[str, Any]], State]:
    """Rows and state, of policies with `names`, of a run of `model` that was stopped; none of one that was not begun.

    Raises:
        ValueError: the file is not what :func:`keep` wrote, or of another run.
    """
    atomic.require_writable(folder)
    path = folder / "state.safetensors"
    if not path.exists():
        return [], {}
    try:
        found, rows, state = _parsed(path.read_bytes())
        if found == run:
            _require_fit(rows, state, model, names)
    except Exception as error:  # parsers fail in many ways on foreign bytes, and all of them mean this
        raise ValueError(f"{path} is not an intact state: {error}; remove it to start anew.") from None
    if found != run:
        raise ValueError(f"{path} is of another run: {found}; choose another folder for {run}.")
    return rows, state


def _parsed(content: bytes) -> tuple[str, list[dict[str, Any]], State]:
    head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    state: dict[str, dict[str, Tensor]] = {}
    for name, tensor in load(content).items():
        part, key = name.split("/", 1)
        state.setdefault(part, {})[key] = tensor
    return head["run"], json.loads(head["rows"]), state


def _require_fit(rows: list[dict[str, Any]], state: State, model: Policy, names: Sequence[str]) -> None:
    """All that is loaded and gone on from is of the expected kinds and shapes, before anything is changed."""
    for row in rows:
        integer("a row's step", row["step"], 0)
    if not rows:
        raise ValueError("it has no rows")
    if set(state) != {*names, "moments"}:
        raise ValueError(f"it has {', '.join(sorted(state))}, not {', '.join(sorted({*names, 'moments'}))}")
    for name in names:
        _require_alike(name, state[name], model.state_dict())
    touched = {key.split("/")[0] for key in state["moments"]}
    numbered = {str(i): weight.detach() for i, weight in enumerate(model.parameters()) if str(i) in touched}
    each = {
        f"{i}/{what}": x
        for i, w in numbered.items()
        for what, x in (("step", torch.zeros(())), ("exp_avg", w), ("exp_avg_sq", w))
    }
    _require_alike("moments", state["moments"], each)


def _require_alike(name: str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    if set(found) != set(expected):
        raise ValueError(f"{name} lacks or has besides {sorted(set(found) ^ set(expected))}")
    for key, value in expected.items():
        if (found[key].shape, found[key].dtype) != (value.shape, value.dtype):
            kinds = [f"{tuple(x.shape)} of {x.dtype}" for x in (found[key], value)]
            raise ValueError(f"{name}/{key} is {kinds[0]}, not {kinds[1]}")
