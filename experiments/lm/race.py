"""A step of the loop against one of TRL's GRPOTrainer: the same model, task, batch, lengths, loss and optimiser.

``python -m claimlab.experiments.lm.race tiny|smollm2 FILE`` in an environment that has TRL (``pip install trl==1.16.0
transformers==5.17.0``).  Both start from the same weights; that the peer computes the same function is checked first.
A step is all from one loss to the next: descent, metrics, prompts, answers, rewards.  CPU seconds on one thread, runs
in turn; the first steps of each are left out.  The entries come in pairs of equal work: without the KL divergence to
the start, and with it ("KL"), which our loop measures and the peer has through a penalty too small to matter.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from claimlab.experiments import atomic, environment
from claimlab.experiments.errors import WrongUsage
from claimlab.experiments.lm import clipped, peers, signals
from claimlab.experiments.lm.batch import Batch
from claimlab.experiments.lm.tasks import Task, modes, style
from claimlab.experiments.lm.train import BETAS, Settings, imitate, reinforce
from claimlab.experiments.lm.transformer import Policy

RATE = 1e-4


@dataclass(frozen=True)
class Race:
    """`steps` are timed after `warm` ones, in each of `rounds`."""

    task: Task
    start: Callable[[Task], Policy]
    peer: Callable[[Any, Task], peers.Peer]
    prompts: int
    group: int
    rounds: int
    steps: int
    warm: int


def _tiny(task: Task) -> Policy:
    return imitate(task, width=96, heads=6, steps=60)


def _smollm2(task: Task) -> Policy:
    from claimlab.experiments.lm.pretrained import smollm2

    return smollm2(task)


RACES = {
    "tiny": Race(modes(4), _tiny, peers.llama, 32, 8, rounds=5, steps=16, warm=4),
    "smollm2": Race(style(7), _smollm2, peers.smollm2, 2, 8, rounds=3, steps=2, warm=1),
}  # fmt: skip
PAIRS = {"trl": "ours", "trl, KL": "ours, KL"}
BETA = 1e-6  # too small to matter


def ours(race: Race, model: Policy, kl: bool) -> tuple[list[float], float]:
    """CPU seconds of each step after the first ones, and the mean length of the answers."""
    times: list[float] = []
    lengths: list[float] = []

    def dapo(logp: Tensor, batch: Batch) -> Tensor:
        times.append(time.process_time())
        lengths.append(float(batch.tokens.sum(1).double().mean()))
        return clipped.ppo(logp, batch, signals.standardised(batch), over="token")

    last = race.warm + race.steps + 1
    settings = Settings(
        steps=last, prompts=race.prompts, group=race.group, rate=RATE, evaluate=last, scored=1, measured=int(kl)
    )
    reinforce(deepcopy(model), race.task, dapo, settings)
    return np.diff(times)[race.warm :].tolist(), float(np.mean(lengths))


def theirs(race: Race, model: Policy, kl: bool) -> tuple[list[float], float]:
    """The same of GRPOTrainer."""
    from datasets import Dataset  # pyright: ignore[reportMissingImports]
    from transformers import TrainerCallback  # pyright: ignore[reportMissingImports]
    from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportMissingImports]

    peer, task = race.peer(model, race.task), race.task
    rng = np.random.default_rng(0)
    examples = [task.draw(rng) for _ in range(1024)]
    data = Dataset.from_dict({"prompt": [peer.before + e.prompt for e in examples], "index": [*range(len(examples))]})
    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            times.append(time.process_time())

    def paid(completions: list[str], index: list[int], **_: Any) -> list[float]:
        return [task.reward(examples[i], text.split("$")[0]) for i, text in zip(index, completions)]

    with TemporaryDirectory() as folder:
        options = GRPOConfig(
            output_dir=folder, per_device_train_batch_size=race.prompts * race.group, num_generations=race.group,
            learning_rate=RATE, max_completion_length=task.length, max_steps=race.warm + race.steps + 1,
            logging_steps=race.warm + race.steps, save_strategy="no", beta=BETA if kl else 0.0, report_to=[],
            bf16=False, use_cpu=True, gradient_checkpointing=False, lr_scheduler_type="constant", loss_type="dapo",
            adam_beta1=BETAS[0], adam_beta2=BETAS[1], disable_tqdm=True,
        )  # fmt: skip
        peer.model.save_pretrained(folder)  # the reference is read from where the model came from
        trained = type(peer.model).from_pretrained(folder, dtype=torch.float32)
        trainer = GRPOTrainer(
            trained, paid, options, data, processing_class=peer.tokenizer, callbacks=[Clock()], peft_config=peer.lora
        )
        trainer.train()
    length = next(row["completions/mean_length"] for row in trainer.state.log_history if "loss" in row)
    return np.diff(times)[race.warm :].tolist(), length


def run(name: str, file: Path) -> None:
    """All rounds of a race, and its record."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(1)
    where, race = environment.environment(), RACES[name]
    versions = {library: version(library) for library in ("torch", "transformers", "trl", "peft")}
    start = race.start(race.task)
    rounds: list[dict[str, Any]] = []
    for _ in range(race.rounds):
        found: dict[str, tuple[list[float], float]] = {}
        for kl, (peer, own) in zip((False, True), PAIRS.items()):
            found |= {own: ours(race, start, kl), peer: theirs(race, start, kl)}
        rounds.append({entry: times for entry, (times, _) in found.items()})
        rounds[-1]["lengths"] = {entry: length for entry, (_, length) in found.items()}
        print({entry: round(float(np.median(times)), 4) for entry, (times, _) in found.items()}, flush=True)
        ratios = {peer: [float(np.median(r[peer]) / np.median(r[own])) for r in rounds] for peer, own in PAIRS.items()}
        record = {  # after every round: a race that is stopped keeps what it has
            "unit": "CPU seconds per step, one thread",
            "task": race.task.name,
            "parameters": sum(weight.numel() for weight in start.parameters()),
            "trained": sum(weight.numel() for weight in start.parameters() if weight.requires_grad),
            "batch": [race.prompts, race.group],
            "length": race.task.length,
            "ratios": {
                entry: {"median": float(np.median(x)), "least": min(x), "largest": max(x)}
                for entry, x in ratios.items()
            },
            "fastest": {entry: min(min(r[entry]) for r in rounds) for entry in found},
            "rounds": rounds,
            "environment": where | {"packages": where["packages"] | versions},
        }
        atomic.write_json(file, record)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in RACES:
        raise WrongUsage(f"python -m claimlab.experiments.lm.race {'|'.join(RACES)} FILE")
    run(sys.argv[1], Path(sys.argv[2]))
