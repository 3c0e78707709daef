"""Imitation and reinforcement: a loop that takes any surrogate and any reward, and goes on after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from math import cos, pi
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load, save
from torch import Tensor

from claimlab.checks import integer, interval, nearest
from claimlab.experiments import atomic
from claimlab.experiments.lm.batch import Batch
from claimlab.experiments.lm.processes import Team, part, summed, together
from claimlab.experiments.lm.rollouts import Reward, Rollout, answers, demonstrations, device_of, rollout
from claimlab.experiments.lm.tasks import Task
from claimlab.experiments.lm.transformer import END, Policy, Shape, Transformer

Surrogate = Callable[[Tensor, Batch], Tensor]
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
        interval("rate", self.rate, 0, float("inf"), "()")
        interval("clip_norm", self.clip_norm, 0, float("inf"), "(]")
        if self.precision not in PRECISIONS:
            hint = nearest(self.precision, list(PRECISIONS))
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}{hint}; got {self.precision!r}.")


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
        _descend(loss, model, optimiser, 1.0, f"imitating {task.name}, step {step}: lower the rate")
    return model


class _Parts(NamedTuple):
    """The trained policy, the one that answers, and the start."""

    model: Policy
    behind: Policy
    start: Policy


def reinforce(
    model: Policy,
    task: Task,
    surrogate: Surrogate,
    settings: Settings,
    *,
    reward: Reward | None = None,
    gold: Reward | None = None,
    folder: Path | None = None,
    progress: Callable[[Mapping[str, float]], None] | None = None,
    team: Team | None = None,
) -> pd.DataFrame:
    """Train `model` in place; a row of metrics for every step.

    `reward` of the batch; `kl` to the start (k3) and `nll` a token; `clip`, the share of ratios outside 1 -+ 0.2; and
    where it was evaluated, `score` (see `score`) and `entropy`, of the policy's own answers, a token.  Answers are paid
    by `reward`, that of the task if there is none, and scored by `gold`, what pays if there is none.  `progress` is
    called with every new row.

    With a `folder` the whole state is written there at every evaluation, and a stopped run goes on from it; its
    result is bit for bit that of an uninterrupted one.  With a `team` (an `accelerate.Accelerator`) every process
    answers its part of the prompts, and all take the step of the whole batch; metrics of a batch are those of a part.
    A surrogate may draw from torch's own generator, which is seeded at every step.

    Raises:
        Diverged: the loss or its gradient became infinite or NaN.
        OutOfMemory: a step did not fit.
        ValueError: `folder` holds another run, or the prompts do not divide among the processes.
    """
    paid, mine = task.reward if reward is None else reward, part(team, settings.prompts)
    gold = paid if gold is None else gold
    optimiser = torch.optim.AdamW(model.parameters(), settings.rate, betas=BETAS, weight_decay=0.0, fused=True)
    optimiser.zero_grad()  # whatever was left there
    parts = _Parts(model, deepcopy(model), deepcopy(model))
    run = json.dumps(asdict(settings) | {"task": task.name, "shape": asdict(model.shape)})
    rows: list[dict[str, Any]] = _restore(folder, run, parts, optimiser) if folder else []
    if not rows:
        rows = [{"step": 0} | _evaluated(model, task, gold, settings)]
    token_logp = torch.compile(model.token_logp) if settings.compiled else model.token_logp
    for step in range(rows[-1]["step"], settings.steps):
        where = f"{task.name}, step {step}"
        kept = f"; the last good state is in {folder}" if folder else ""
        if settings.sync and step % settings.sync == 0:
            parts.behind.load_state_dict(model.state_dict())
        with _memory(f"in {where}: lower prompts ({settings.prompts}) or group ({settings.group}){kept}."):
            data = _asked(parts.behind, task, paid, settings, step, mine)
            with _precise(model, settings):
                logp = token_logp(data.prompts, data.tokens)
            loss = _backward(logp, data.batch, surrogate, _seed(settings, step), team)
            summed(team, model)
            _descend(loss, model, optimiser, settings.clip_norm, f"{where}: lower the rate{kept}")
            with _precise(model, settings):
                rows.append({"step": step + 1} | _metrics(logp.detach(), data))
                if settings.measured and (step + 1) % settings.measured == 0:
                    rows[-1] |= {"kl": _divergence(logp.detach(), data, parts.start)}
            last = (step + 1) % settings.evaluate == 0 or step + 1 == settings.steps
            if last:
                rows[-1] |= _evaluated(model, task, gold, settings)
        if last and folder and mine[0] == 0:
            _keep(folder, run, parts, optimiser, rows)
        if progress:
            progress(rows[-1])
    return pd.DataFrame(rows)


def score(model: Policy, task: Task, reward: Reward, *, count: int = 512, greedy: bool = False) -> float:
    """The mean reward of one answer to each of `count` examples, the same for every model."""
    return _scored(model, task, reward, count, greedy)[0]


def _scored(model: Policy, task: Task, reward: Reward, count: int, greedy: bool = False) -> tuple[float, float]:
    """`score`, and the mean of minus the log-probability of the tokens that were said."""
    rng = np.random.default_rng([77, count])
    examples = [task.draw(rng) for _ in range(count)]
    generator = torch.Generator(device_of(model)).manual_seed(5)
    _, said, texts = answers(model, task, examples, generator, greedy=greedy)
    paid = float(np.mean([reward(e, text) for e, text in zip(examples, texts)]))
    return paid, float(-said.logp[said.mask].mean())


def _evaluated(model: Policy, task: Task, reward: Reward, settings: Settings) -> dict[str, float]:
    with _precise(model, settings):
        paid, entropy = _scored(model, task, reward, settings.scored)
    return {"score": paid, "entropy": entropy}


def _asked(behind: Policy, task: Task, reward: Reward, settings: Settings, step: int, mine: tuple[int, int]) -> Rollout:
    """What the answering policy says to this process's prompts."""
    with _precise(behind, settings):
        data = rollout(
            behind, task, reward, (settings.seed, step), prompts=settings.prompts, group=settings.group, part=mine
        )
        if settings.precision == "float32":
            return data
        with torch.no_grad():
            old = torch.where(data.batch.tokens, behind.token_logp(data.prompts, data.tokens), 0.0)
    return data._replace(batch=replace(data.batch, old=old))


def _backward(logp: Tensor, batch: Batch, surrogate: Surrogate, seed: int, team: Team | None) -> Tensor:
    """The loss of all processes' answers, with its gradient by this process's ones added to the weights'."""
    all_logp, whole, own = together(team, logp.detach(), batch)
    leaf = all_logp.requires_grad_()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loss = surrogate(leaf, whole)
    (slope,) = torch.autograd.grad(loss, leaf)
    torch.autograd.backward(logp, slope[own])
    return loss.detach()


def _metrics(logp: Tensor, data: Rollout) -> dict[str, float]:
    said, batch = data.batch.tokens, data.batch
    ratio = (logp - batch.old)[said].exp()
    return {
        "reward": float((batch.weights * batch.rewards).sum()),
        "nll": float(-logp[said].mean()),
        "clip": float(((ratio - 1).abs() > CLIP).float().mean()),
    }


def _divergence(logp: Tensor, data: Rollout, start: Policy) -> float:
    with torch.no_grad():
        gap = (start.token_logp(data.prompts, data.tokens) - logp)[data.batch.tokens]
    return float((gap.exp() - 1 - gap).mean())


def _seed(settings: Settings, step: int) -> int:
    return int(np.random.default_rng([settings.seed, step, 2]).integers(2**62))


def _precise(model: Policy, settings: Settings) -> Any:
    return torch.autocast(device_of(model).type, torch.bfloat16, enabled=settings.precision == "bfloat16")


@contextmanager
def _memory(where: str) -> Iterator[None]:
    """Out of memory, which torch calls by several names, becomes `OutOfMemory`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error)
        if not known:
            raise
        raise OutOfMemory(f"out of memory {where}") from error


def _descend(loss: Tensor, model: Policy, optimiser: torch.optim.Optimizer, norm: float, where: str) -> None:
    """A step along the gradients that there are, which then are none."""
    length = torch.nn.utils.clip_grad_norm_(model.parameters(), norm)
    if not (bool(loss.isfinite()) and bool(length.isfinite())):
        optimiser.zero_grad()
        raise Diverged(f"loss {float(loss.detach()):g} with gradient {float(length):g} in {where}.")
    optimiser.step()
    optimiser.zero_grad()


def _keep(folder: Path, run: str, parts: _Parts, optimiser: Any, rows: list[dict[str, Any]]) -> None:
    """All of the state in one file, so that it cannot be half of one step and half of another."""
    tensors = {f"{name}/{key}": v for name, of in parts._asdict().items() for key, v in of.state_dict().items()}
    for i, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"moments/{i}/{key}": v for key, v in moments.items()}
    atomic.write(folder / "state.safetensors", save(tensors, {"run": run, "rows": json.dumps(rows)}))


def _restore(folder: Path, run: str, parts: _Parts, optimiser: Any) -> list[dict[str, Any]]:
    atomic.require_writable(folder)
    path = folder / "state.safetensors"
    if not path.exists():
        return []
    content = path.read_bytes()
    head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    if head["run"] != run:
        raise ValueError(f"{path} is of another run: {head['run']}; choose another folder for {run}.")
    tensors = load(content)
    for name, of in parts._asdict().items():
        of.load_state_dict({k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")})
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("moments/"):
            _, i, what = key.split("/")
            state.setdefault(int(i), {})[what] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    rows: list[dict[str, Any]] = json.loads(head["rows"])
    return rows
