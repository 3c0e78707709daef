"""The comparisons that can be run with one command: questions, arms and designs, fixed before the run.

`stale` and `variants` ask what Yao et al. (2025) ask of fresh, stale and fixed data, in small.  The metric is the mean
score over the evaluations of a run, the smallest effect 0.02, seeds are paired, and each arm has the best of five rates
on another seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from claimlab.checks import nearest
from claimlab.experiments.errors import WrongUsage
from claimlab.experiments.lm import clipped, signals, surrogates, tasks
from claimlab.experiments.lm.batch import Batch
from claimlab.experiments.lm.tasks import Task
from claimlab.experiments.lm.train import Settings, Surrogate, imitate
from claimlab.experiments.lm.transformer import Policy


@dataclass(frozen=True)
class Study:
    """A comparison, and what is claimed of it.

    Args:
        name, question: for people.
        task: what is trained.
        start: makes the policy that all arms start from.
        arms: their surrogates.
        data: how often the answering policy is refreshed (`Settings.sync`), for each kind of data.
        pairs: of arms, the first claimed to be better.
        alike: the arms that are provably one on fresh data, at one step a batch.
        settings: of a run; rate, seed and sync are the comparison's.
        seeds, rates: paired seeds, and the rates among which each arm has the best.
        effect: the smallest difference of interest.
        threads: of a process; a small model is fastest on one, 0 is all.
    """

    name: str
    question: str
    task: Task
    start: Callable[[], Policy]
    arms: Mapping[str, Surrogate]
    data: Mapping[str, int]
    pairs: tuple[tuple[str, str], ...]
    alike: tuple[str, ...]
    settings: Settings
    seeds: int
    rates: tuple[float, ...]
    effect: float = 0.02
    threads: int = 1

    def __post_init__(self) -> None:
        for arm in (*self.alike, *(arm for pair in self.pairs for arm in pair)):
            if arm not in self.arms:
                raise ValueError(f"{self.name} has no arm {arm!r}{nearest(arm, list(self.arms))}.")

    @property
    def runs(self) -> int:
        """How many trainings it takes."""
        tried = len(self.rates) if len(self.rates) > 1 else 0
        return len(self.data) * len(self.arms) * (tried + self.seeds)


def grpo(logp: Tensor, batch: Batch) -> Tensor:
    """GRPO: standardised advantages, clipped ratios, the mean over answers of their tokens' means."""
    return clipped.ppo(logp, batch, signals.standardised(batch))


ARMS: dict[str, Surrogate] = {
    "REINFORCE": surrogates.reinforce,
    "one-side clip": surrogates.rec,
    "one-side clip, IS": partial(surrogates.rec, importance=True),
    "two-side clip": partial(surrogates.rec, mask="two-side"),
    "GRPO": grpo,
    "OPMD": surrogates.opmd,
    "AsymRE": surrogates.asymre,
    "RED-Drop": surrogates.red_drop,
    "RED-Weight": surrogates.red_weight,
}
ALIKE = ("REINFORCE", "one-side clip", "one-side clip, IS", "two-side clip")
PAIRS = (
    ("one-side clip", "REINFORCE"),
    ("one-side clip", "two-side clip"),
    ("one-side clip", "one-side clip, IS"),
    ("OPMD", "REINFORCE"),
    ("AsymRE", "REINFORCE"),
    ("RED-Drop", "REINFORCE"),
    ("RED-Weight", "REINFORCE"),
    ("RED-Drop", "GRPO"),
    ("RED-Weight", "GRPO"),
)


def bnpo(logp: Tensor, batch: Batch) -> Tensor:
    """BNPO as released: the law of a prompt's mean by its moments over the batch, plain where all means are alike."""
    p = batch.mean(batch.rewards)
    m, v = p.mean(), p.var()
    size = torch.where(v > 0, m * (1 - m) / v - 1, 0.0).clamp(min=0)  # a + b; the released clamp is at zero too
    return clipped.ppo(logp, batch, signals.beta_normalised(batch, size * m, size * (1 - m)), high=0.28, over="total")


def _clip(signal: Callable[[Batch], Tensor], **options: Any) -> Surrogate:
    return lambda logp, batch: clipped.ppo(logp, batch, signal(batch), **options)


def _uniform(batch: Batch) -> Tensor:
    """BNPO's advantages where the law of a prompt's mean is not known: those of REINFORCE."""
    return signals.beta_normalised(batch, torch.zeros(()), torch.zeros(()))


LOSSES_ARMS: dict[str, Surrogate] = {
    "REINFORCE": surrogates.reinforce,
    "BNPO, a = b = 0": _clip(_uniform, over="total"),
    "BNPO": bnpo,
    "GRPO": grpo,
    "Dr. GRPO": _clip(signals.centred, over="constant", budget=tasks.modes().answer_length),
    "RLOO": _clip(signals.leave_one_out, over="constant", budget=tasks.modes().answer_length),
    "DAPO": _clip(signals.standardised, high=0.28, over="token"),
    "CISPO": lambda logp, batch: clipped.cispo(logp, batch, signals.standardised(batch)),
    "GSPO": lambda logp, batch: clipped.gspo(logp, batch, signals.standardised(batch)),
}
RATES = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)

STALE = Study(
    "stale",
    "Does clipping, or importance weighting, help REINFORCE on data of older policies?",
    tasks.modes(),
    partial(imitate, tasks.modes()),
    {arm: ARMS[arm] for arm in ALIKE},
    {"fresh": 1, "stale": 20, "fixed": 0},
    PAIRS[:3],
    ALIKE,
    Settings(steps=60, prompts=16, group=8, evaluate=20),
    seeds=10,
    rates=RATES,
)
VARIANTS = replace(
    STALE,
    name="variants",
    question="Which variants of group-relative REINFORCE stand stale data?  (beside two arms of `stale`)",
    arms={arm: ARMS[arm] for arm in ARMS if arm not in ALIKE[2:]},
    data={"fresh": 1, "stale": 20},
    pairs=tuple(pair for pair in PAIRS if not {*pair} & {*ALIKE[2:]}),
    alike=ALIKE[:2],
)
SMOKE = replace(
    STALE,
    name="stale-smoke",
    question="Does one-side clipping help on stale data?  (one comparison, some minutes)",
    arms={arm: ARMS[arm] for arm in ("REINFORCE", "one-side clip")},
    data={"stale": 20},
    pairs=PAIRS[:1],
    alike=(),
)
LOSSES = replace(
    STALE,
    name="losses",
    question="Do the losses that came after GRPO beat it, and does BNPO beat REINFORCE?",
    arms=LOSSES_ARMS,
    data={"fresh": 1},
    pairs=(
        ("BNPO", "REINFORCE"),
        *((arm, "GRPO") for arm in ("BNPO", "Dr. GRPO", "RLOO", "DAPO", "CISPO", "GSPO")),
    ),
    alike=("REINFORCE", "BNPO, a = b = 0"),
)
LONG = replace(
    STALE,
    name="variants-long",
    question="All variants on all data: two-digit sums, 240 steps, twenty seeds.",
    arms=ARMS,
    pairs=PAIRS,
    task=tasks.addition(),
    start=partial(imitate, tasks.addition(), width=96, heads=6, size=256, rate=3e-3),
    settings=Settings(steps=240, prompts=24, group=8, evaluate=40),
    seeds=20,
)
SHOTS = "2*3=6\n7*8=56\n4*4=16\n9*5=45\n"


def _smollm2() -> Policy:
    from claimlab.experiments.lm.pretrained import smollm2

    return smollm2(tasks.product(), prefix=SHOTS, end="\n")


SMOLLM2 = Study(
    "smollm2",
    "Does SmolLM2-135M with LoRA learn products of digits, and does clipping help it on stale data?",
    tasks.product(),
    _smollm2,
    {arm: ARMS[arm] for arm in ("REINFORCE", "one-side clip", "GRPO")},
    {"fresh": 1, "stale": 10},
    PAIRS[:1],
    ALIKE[:2],
    Settings(steps=30, prompts=8, group=8, evaluate=10, scored=81),
    seeds=10,
    rates=(1e-4, 3e-4, 1e-3),
    threads=0,
)
STUDIES = (SMOKE, STALE, VARIANTS, LOSSES, LONG, SMOLLM2)


def named(name: str) -> Study:
    """The study called `name`."""
    for study in STUDIES:
        if study.name == name:
            return study
    raise WrongUsage(f"unknown study {name!r}.{nearest(name, [study.name for study in STUDIES])}")
