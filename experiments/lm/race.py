"""A step of the loop against one of TRL's GRPOTrainer: the same model, task, batch, lengths, loss and optimiser.

``python -m claimlab.experiments.lm.race tiny|smollm2 FILE [--device cuda] [--seeds N]`` in an environment that has TRL
(``pip install trl==1.16.0 transformers==5.17.0``); without it our own steps are timed alone, and there is no ratio.
Both start from the same weights; that the peer computes the same function is checked first.  A step is all from one
loss to the next: descent, metrics, prompts, answers, rewards.  CPU seconds on one thread, or on a GPU seconds between
two points where all its work is done; runs in turn; the first steps of each are left out.  The entries come in pairs of
equal work: without the KL divergence to the start, and with it ("KL"), which our loop measures and the peer has through
a penalty too small to matter.  "seeds" are several at once, as a study trains them: a step of one is its share.

`shares` are those of the device's peak: the operations of a step's products of matrices (answers token by token with a
cache, then one pass forwards and back), over its seconds, over the rate of a large product of float32 matrices there.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from claimlab.checks import integer
from claimlab.experiments import atomic, environment
from claimlab.experiments.errors import WrongUsage
from claimlab.experiments.lm import clipped, peers, running, signals
from claimlab.experiments.lm.batch import Batch
from claimlab.experiments.lm.rollouts import device_of, rollout
from claimlab.experiments.lm.seeds import reinforce_together
from claimlab.experiments.lm.tasks import Task, modes, style
from claimlab.experiments.lm.train import BETAS, Settings, imitate, reinforce
from claimlab.experiments.lm.transformer import Policy, Transformer

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
SEEDS = {"cpu": 4}  # at once; 16 on a GPU
SIDE = {"cpu": 1024}  # of the matrices that measure the peak; 8192 on a GPU
BETA = 1e-6  # too small to matter


def clock(device: torch.device) -> float:
    """Seconds: of the CPU, or where there is a GPU of the clock, when its work is done."""
    if device.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize(device)
    return time.perf_counter()


def ours(race: Race, model: Policy, kl: bool, seeds: int = 1) -> tuple[list[float], float]:
    """Seconds of each step of a seed after the first ones, and the mean length of the answers."""
    times: list[float] = []
    lengths: list[float] = []
    device = device_of(model)

    def dapo(logp: Tensor, batch: Batch) -> Tensor:
        if len(lengths) % seeds == 0:
            times.append(clock(device))
        lengths.append(float(batch.tokens.sum(1).double().mean()))
        return clipped.ppo(logp, batch, signals.standardised(batch), over="token")

    last = race.warm + race.steps + 1
    settings = Settings(
        steps=last, prompts=race.prompts, group=race.group, rate=RATE, evaluate=last, scored=1, measured=int(kl)
    )
    if seeds == 1:
        reinforce(deepcopy(model), race.task, dapo, settings)
    elif isinstance(model, Transformer):
        reinforce_together([deepcopy(model) for _ in range(seeds)], race.task, dapo, settings, range(seeds))
    else:
        raise WrongUsage("seeds are trained at once of a transformer of ours only.")
    return (np.diff(times)[race.warm :] / seeds).tolist(), float(np.mean(lengths))


def operations(race: Race, model: Policy, kl: bool) -> int:
    """Floating-point operations of the products of matrices in a step of `model`, which is on the CPU."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # others are not counted
        data = rollout(model, race.task, race.task.reward, (0, 0), prompts=race.prompts, group=race.group)
        torch.autograd.backward(model.token_logp(data.prompts, data.tokens).sum())
        if kl:
            with torch.no_grad():
                model.token_logp(data.prompts, data.tokens)
    for weight in model.parameters():
        weight.grad = None
    return counter.get_total_flops()


def peak(device: torch.device, side: int) -> float:
    """Floating-point operations a second of the best of ten products of float32 matrices with `side` rows each."""
    a, b = torch.randn(2, side, side, device=device)
    found = []
    for _ in range(10):
        begun = clock(device)
        _ = a @ b
        found.append(clock(device) - begun)
    return 2 * side**3 / min(found)


def shares(rounds: list[dict[str, Any]], work: dict[str, int], most: float) -> dict[str, float]:
    """The share of the peak of each of our entries, at its median step of all rounds."""
    return {entry: n / float(np.median([t for r in rounds for t in r[entry]])) / most for entry, n in work.items()}


def theirs(race: Race, peer: peers.Peer, device: torch.device, kl: bool) -> tuple[list[float], float]:
    """The same of GRPOTrainer."""
    from datasets import Dataset  # pyright: ignore[reportMissingImports]
    from transformers import TrainerCallback  # pyright: ignore[reportMissingImports]
    from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportMissingImports]

    task = race.task
    rng = np.random.default_rng(0)
    examples = [task.draw(rng) for _ in range(1024)]
    data = Dataset.from_dict({"prompt": [peer.before + e.prompt for e in examples], "index": [*range(len(examples))]})
    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            times.append(clock(device))

    def paid(completions: list[str], index: list[int], **_: Any) -> list[float]:
        return [task.reward(examples[i], text.split("$")[0]) for i, text in zip(index, completions)]

    with TemporaryDirectory() as folder:
        options = GRPOConfig(
            output_dir=folder, per_device_train_batch_size=race.prompts * race.group, num_generations=race.group,
            learning_rate=RATE, max_completion_length=task.length, max_steps=race.warm + race.steps + 1,
            logging_steps=race.warm + race.steps, save_strategy="no", beta=BETA if kl else 0.0, report_to=[],
            bf16=False, use_cpu=device.type == "cpu", gradient_checkpointing=False, lr_scheduler_type="constant",
            loss_type="dapo", adam_beta1=BETAS[0], adam_beta2=BETAS[1], disable_tqdm=True,
        )  # fmt: skip
        peer.model.save_pretrained(folder)  # the reference is read from where the model came from
        trained = type(peer.model).from_pretrained(folder, dtype=torch.float32)
        trainer = GRPOTrainer(
            trained, paid, options, data, processing_class=peer.tokenizer, callbacks=[Clock()], peft_config=peer.lora
        )
        trainer.train()
    length = next(row["completions/mean_length"] for row in trainer.state.log_history if "loss" in row)
    return np.diff(times)[race.warm :].tolist(), length


def run(name: str, file: Path, device: str = "cpu", seeds: int | None = None) -> None:
    """All rounds of a race, and its record."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    running.require(device)
    torch.set_num_threads(1)
    where, race, kind = environment.environment(), RACES[name], torch.device(device).type
    known = [library for library in ("torch", "transformers", "trl", "peft") if find_spec(library)]
    policy: Any = race.start(race.task)
    made = race.peer(policy, race.task) if "trl" in known else None  # before the policy goes to the device
    entries: dict[str, Callable[[], tuple[list[float], float]]] = {}
    work = {own: operations(race, policy, "KL" in own) for own in PAIRS.values()}
    start = policy.to(device)
    for peer, own in PAIRS.items():
        entries[own] = partial(ours, race, start, "KL" in own)
        if made:
            entries[peer] = partial(theirs, race, made, torch.device(device), "KL" in own)
    count = (
        integer("seeds", SEEDS.get(kind, 16) if seeds is None else seeds, 1) if isinstance(start, Transformer) else 1
    )
    pairs = [(peer, peer, own) for peer, own in PAIRS.items()]
    for peer, own in PAIRS.items() if count > 1 else ():
        many = f"{own}, {count} seeds"
        entries[many], work[many] = partial(ours, race, start, "KL" in own, count), work[own]
        pairs.append((f"{peer}, {count} seeds", peer, many))
    rounds: list[dict[str, Any]] = []
    most = 0.0
    for _ in range(race.rounds):
        most = max(most, peak(torch.device(device), SIDE.get(kind, 8192)))
        found = {entry: timed() for entry, timed in entries.items()}
        rounds.append({entry: times for entry, (times, _) in found.items()})
        rounds[-1]["lengths"] = {entry: length for entry, (_, length) in found.items()}
        print({entry: round(float(np.median(times)), 5) for entry, (times, _) in found.items()}, flush=True)
        ratios = {
            entry: [float(np.median(r[peer]) / np.median(r[own])) for r in rounds] for entry, peer, own in pairs if made
        }
        record = {  # after every round: a race that is stopped keeps what it has
            "unit": "CPU seconds per step, one thread" if kind == "cpu" else "seconds per step",
            "device": torch.cuda.get_device_name(device) if kind == "cuda" else kind,
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
            "operations": work,
            "peak": most,
            "shares": shares(rounds, work, most),
            "rounds": rounds,
            "environment": where | {"packages": where["packages"] | {library: version(library) for library in known}},
        }
        atomic.write_json(file, record)
    print({entry: f"{share:.2%} of the peak" for entry, share in shares(rounds, work, most).items()})


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m claimlab.experiments.lm.race")
    parser.add_argument("name", choices=list(RACES))
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, help="trained at once: 4 on a CPU, else 16")
    options = parser.parse_args(words)
    try:
        run(options.name, options.file, options.device, options.seeds)
    except (WrongUsage, ValueError, MemoryError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        parser.exit(130, f"\nstopped; the rounds that are done are in {options.file}.\n")


if __name__ == "__main__":
    main()
