"""Imitation and reinforcement: a loop that takes any surrogate and any reward, and goes on after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.progress import Progress
from safetensors.torch import load, save
from torch import Tensor

from claimlab.checks import integer, interval
from claimlab.experiments import atomic
from claimlab.experiments.lm.batch import Batch
from claimlab.experiments.lm.rollouts import Reward, Rollout, answers, demonstrations, rollout
from claimlab.experiments.lm.tasks import Task
from claimlab.experiments.lm.transformer import END, Policy, Shape, Transformer

Surrogate = Callable[[Tensor, Batch], Tensor]
BETAS = (0.9, 0.95)


class Diverged(RuntimeError):
    """The loss is no number any more; the message says where the last good state is."""


@dataclass(frozen=True)
class Settings:
    """Of a run of reinforcement; two runs with equal settings and seed see equal prompts.

    `sync` is how many steps the answering policy stays behind: it is refreshed every so many steps, 0 never (offline);
    `scored` how many examples an evaluation has.
    """

    steps: int = 60
    prompts: int = 32
    group: int = 8
    rate: float = 1e-3
    sync: int = 1
    seed: int = 0
    evaluate: int = 20
    scored: int = 512
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (
            ("steps", 1),
            ("prompts", 1),
            ("group", 1),
            ("sync", 0),
            ("seed", 0),
            ("evaluate", 1),
            ("scored", 1),
        ):
            integer(name, getattr(self, name), least)
        interval("rate", self.rate, 0, float("inf"), "()")
        interval("clip_norm", self.clip_norm, 0, float("inf"), "(]")


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
        _descend(loss, model, optimiser, 1.0, f"imitating {task.name}, step {step}: lower the rate")
    return model


def reinforce(
    model: Policy,
    task: Task,
    surrogate: Surrogate,
    settings: Settings,
    *,
    reward: Reward | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Train `model` in place; a row of metrics for every step, `score` (see `score`) where it was evaluated.

    With a `folder` the whole state is written there at every evaluation, and a stopped run goes on from it; its
    result is bit for bit that of an uninterrupted one.

    Raises:
        Diverged: the loss or its gradient became infinite or NaN.
        ValueError: `folder` holds another run.
    """
    paid = task.reward if reward is None else reward
    optimiser = torch.optim.AdamW(model.parameters(), settings.rate, betas=BETAS, weight_decay=0.0)
    start, behind = deepcopy(model), deepcopy(model)
    run = json.dumps(asdict(settings) | {"task": task.name, "shape": asdict(model.shape)})
    parts = {"model": model, "behind": behind, "start": start}
    rows = _restore(folder, run, parts, optimiser) if folder else []
    if not rows:
        rows = [{"step": 0, "score": score(model, task, paid, count=settings.scored)}]
    bar = progress.add_task(task.name, total=settings.steps, completed=rows[-1]["step"]) if progress else None
    for step in range(rows[-1]["step"], settings.steps):
        if settings.sync and step % settings.sync == 0:
            behind.load_state_dict(model.state_dict())
        data = rollout(behind, task, paid, (settings.seed, step), prompts=settings.prompts, group=settings.group)
        logp = model.token_logp(data.prompts, data.tokens)
        where = f"{task.name}, step {step}: lower the rate" + (
            f"; the last good state is in {folder}" if folder else ""
        )
        _descend(surrogate(logp, data.batch), model, optimiser, settings.clip_norm, where)
        rows.append({"step": step + 1} | _metrics(logp.detach(), data, start))
        if (step + 1) % settings.evaluate == 0 or step + 1 == settings.steps:
            rows[-1]["score"] = score(model, task, paid, count=settings.scored)
            if folder:
                _keep(folder, run, parts, optimiser, rows)
        if progress and bar is not None:
            shown = "reward {reward:.2f} kl {kl:.3f} nll {nll:.2f} far {far:.2f}".format(**rows[-1])
            progress.update(bar, advance=1, description=f"{task.name} {shown}")
    return pd.DataFrame(rows)


def score(model: Policy, task: Task, reward: Reward, *, count: int = 512, greedy: bool = False) -> float:
    """The mean reward of one answer to each of `count` examples, the same for every model."""
    rng = np.random.default_rng([77, count])
    examples = [task.draw(rng) for _ in range(count)]
    texts = answers(model, task, examples, torch.Generator().manual_seed(5), greedy=greedy)[2]
    return float(np.mean([reward(e, text) for e, text in zip(examples, texts)]))


def _metrics(logp: Tensor, data: Rollout, start: Policy) -> dict[str, float]:
    """`reward` of the batch; `kl` to the start (k3) and `nll` a token; `far`, the share of ratios outside 1 -+ 0.2."""
    said, batch = data.batch.tokens, data.batch
    with torch.no_grad():
        gap = (start.token_logp(data.prompts, data.tokens) - logp)[said]
    ratio = (logp - batch.old)[said].exp()
    return {
        "reward": float((batch.weights * batch.rewards).sum()),
        "kl": float((gap.exp() - 1 - gap).mean()),
        "nll": float(-logp[said].mean()),
        "far": float(((ratio - 1).abs() > 0.2).float().mean()),
    }


def _descend(loss: Tensor, model: Policy, optimiser: torch.optim.Optimizer, norm: float, where: str) -> None:
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    length = torch.nn.utils.clip_grad_norm_(model.parameters(), norm)
    if not (bool(loss.isfinite()) and bool(length.isfinite())):
        raise Diverged(f"loss {float(loss.detach()):g} with gradient {float(length):g} in {where}.")
    optimiser.step()


def _keep(folder: Path, run: str, parts: dict[str, Policy], optimiser: Any, rows: list[dict[str, Any]]) -> None:
    """All of the state in one file, so that it cannot be half of one step and half of another."""
    tensors = {f"{name}/{key}": v for name, part in parts.items() for key, v in part.state_dict().items()}
    for i, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"moments/{i}/{key}": v for key, v in moments.items()}
    atomic.write(folder / "state.safetensors", save(tensors, {"run": run, "rows": json.dumps(rows)}))


def _restore(folder: Path, run: str, parts: dict[str, Policy], optimiser: Any) -> list[dict[str, Any]]:
    atomic.require_writable(folder)
    path = folder / "state.safetensors"
    if not path.exists():
        return []
    content = path.read_bytes()
    head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    if head["run"] != run:
        raise ValueError(f"{path} is of another run: {head['run']}; choose another folder for {run}.")
    tensors = load(content)
    for name, part in parts.items():
        part.load_state_dict({k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")})
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("moments/"):
            _, i, what = key.split("/")
            state.setdefault(int(i), {})[what] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    rows: list[dict[str, Any]] = json.loads(head["rows"])
    return rows
