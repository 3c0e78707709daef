"""The comparisons that can be run with one command: questions, arms and designs, fixed before the run.

`stale` and `variants` ask what Yao et al. (2025) ask of fresh, stale and fixed data, in small.  The metric is the mean
score over the evaluations of a run, the smallest effect 0.02, seeds are paired, and each arm has the best of five rates
on another seed.  The studies named after a paper ask what it says of its method, on tasks of a few characters, with the
best of three or five rates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from claimlab.checks import nearest
from claimlab.experiments.errors import WrongUsage
from claimlab.experiments.lm import arms, clipped, reward_models, signals, surrogates, tasks
from claimlab.experiments.lm.compare import Paid
from claimlab.experiments.lm.rollouts import Belief, Branching, MonteCarlo
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
        paid: the arms that learn from other rewards than the task's, by the seed; the task always scores.
        branched: the arms whose answers are drawn as trees.
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
    paid: Mapping[str, Paid] = field(default_factory=dict)
    branched: Mapping[str, Branching] = field(default_factory=dict)
    threads: int = 1

    def __post_init__(self) -> None:
        for arm in (*self.alike, *self.paid, *self.branched, *(arm for pair in self.pairs for arm in pair)):
            if arm not in self.arms:
                raise ValueError(f"{self.name} has no arm {arm!r}{nearest(arm, list(self.arms))}.")

    @property
    def runs(self) -> int:
        """How many trainings it takes."""
        tried = len(self.rates) if len(self.rates) > 1 else 0
        return len(self.data) * len(self.arms) * (tried + self.seeds)


ARMS: dict[str, Surrogate] = {
    "REINFORCE": surrogates.reinforce,
    "one-side clip": surrogates.rec,
    "one-side clip, IS": partial(surrogates.rec, importance=True),
    "two-side clip": partial(surrogates.rec, mask="two-side"),
    "GRPO": arms.grpo,
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
LOSSES_ARMS: dict[str, Surrogate] = {
    "REINFORCE": surrogates.reinforce,
    "BNPO, a = b = 0": arms.clip(arms.uniform, over="total"),
    "BNPO": arms.bnpo,
    "GRPO": arms.grpo,
    "GSPO": lambda logp, batch: clipped.gspo(logp, batch, signals.standardised(batch)),
}
RATES = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
THREE = (3e-4, 1e-3, 3e-3)

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
    question="Do BNPO and GSPO beat GRPO, and does BNPO beat REINFORCE?",
    arms=LOSSES_ARMS,
    data={"fresh": 1},
    pairs=(
        ("BNPO", "REINFORCE"),
        *((arm, "GRPO") for arm in ("BNPO", "GSPO")),
    ),
    alike=("REINFORCE", "BNPO, a = b = 0"),
    rates=THREE,
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
OFFLINE = replace(
    STALE,
    name="a-lol",
    question="On answers of the start: does A-LoL beat imitation of the right ones?",
    arms={
        "A-LoL": arms.a_lol(clip=0.9),
        "A-LoL, no ratio": arms.a_lol(clip=0.0),
        "weighted cloning": arms.weighted_cloning,
    },
    data={"fresh": 1, "fixed": 0},
    pairs=(
        ("A-LoL", "weighted cloning"),
        ("A-LoL", "A-LoL, no ratio"),
    ),
    alike=("A-LoL", "A-LoL, no ratio"),
    rates=THREE,
)
PREFERENCES = replace(
    STALE,
    name="sppo",
    question="In three rounds of twenty steps, does SPPO beat DPO on the best and worst of eight answers?",
    task=tasks.style(),
    start=partial(imitate, tasks.style()),
    arms={
        "REINFORCE": arms.won,
        "one-side clip": arms.clipped_won,
        "SPPO": arms.sppo(eta=1000.0),
        "DPO": arms.of_best_and_worst(beta=0.1),
    },
    data={"fresh": 1, "rounds": 20},
    pairs=(("SPPO", "DPO"), ("SPPO", "REINFORCE")),
    # Two runs are not recorded, since arms that must agree differed: REINFORCE and SPPO, which are one up to rounding,
    # and rounding grows; most so at 3e-3, which the first had for 1e-4 and where arms collapse.
    alike=("REINFORCE", "one-side clip"),
    rates=RATES[1:4],
)
ENSEMBLES = replace(
    STALE,
    name="reward-ensembles",
    question="Does a conservative ensemble of reward models earn more gold than one model, or than their mean?",
    task=tasks.style(),
    start=partial(imitate, tasks.style()),
    arms=dict.fromkeys(reward_models.MERGES, surrogates.reinforce),
    paid=reward_models.PAID,
    data={"fresh": 1},
    pairs=(("mean", "one"), ("WCO", "one"), ("UWO", "one"), ("WCO", "mean"), ("UWO", "mean")),
    alike=("mean", "UWO, weight 0"),
    rates=THREE,
)
RANKING = replace(
    STALE,
    name="pg-rank",
    question="Does a leave-one-out baseline help a policy that is trained on the NDCG of its rankings?",
    task=tasks.ranking(),
    start=partial(imitate, tasks.ranking()),
    arms={
        "leave one out": arms.clip(signals.leave_one_out, over="total"),
        "leave one out, no clip": lambda logp, batch: clipped.cispo(
            logp, batch, signals.leave_one_out(batch), over="total"
        ),
        "no baseline": arms.clip(lambda batch: batch.rewards, over="total"),
    },
    data={"fresh": 1},
    pairs=(("leave one out", "no baseline"),),
    alike=("leave one out", "leave one out, no clip"),
)
# Rewards of steps, and answers drawn as trees.  Tokens are counted at full length; shared ones once.  Arms that must
# agree do the same arithmetic: in a first run of `spo` a regression of the same gradient was an arm, and rounding grew.
SEGMENTS = replace(
    STALE,
    name="spo",
    question="At equal generated tokens, do Monte-Carlo advantages of segments (Segment PO) beat GRPO's of answers?",
    settings=Settings(steps=60, prompts=8, group=11, evaluate=20),  # 44 tokens a prompt
    arms={
        "GRPO": arms.grpo,
        "REINFORCE": arms.clip(signals.centred, over="total"),
        "SPO of one segment": arms.clip(signals.segments, over="total"),
        "SPO, tree": arms.clip(signals.segments, over="total"),
        "SPO, chain": arms.clip(signals.progress, over="total"),
    },
    branched={
        "SPO of one segment": Branching((11,)),
        "SPO, tree": Branching((4, 2, 2), cuts=(1, 2)),  # 4 + 8 + 32 tokens
        "SPO, chain": Branching((4, 1, 1), cuts=(1, 2), judge=MonteCarlo(tries=1)),  # 16 + 4 + 12 + 8 tokens
    },
    data={"fresh": 1},
    pairs=(("SPO, tree", "GRPO"), ("SPO, tree", "REINFORCE"), ("SPO, chain", "GRPO")),
    alike=("REINFORCE", "SPO of one segment"),
    rates=THREE,
)
TREES = replace(
    SEGMENTS,
    name="treepo",
    question="At equal generated tokens, do trees, and TreePO's advantages in them, beat independent answers?",
    arms={
        "independent": arms.clip(signals.standardised, high=0.28, over="token"),
        "TreePO of one segment": arms.clip(signals.tree, high=0.28, over="token"),
        "tree": arms.clip(signals.standardised, high=0.28, over="token"),
        "TreePO": arms.clip(signals.tree, high=0.28, over="token"),
    },
    branched={
        "TreePO of one segment": Branching((11,)),
        "tree": Branching((4, 2, 2), cuts=(1, 2)),
        "TreePO": Branching((4, 2, 2), cuts=(1, 2)),
    },
    pairs=(("tree", "independent"), ("TreePO", "tree"), ("TreePO", "independent")),
    alike=("independent", "TreePO of one segment"),
)
PROVER = Branching((8, 1, 1), cuts=(1, 2), judge=MonteCarlo(tries=1, best=4, prover="start"))
PROGRESS = replace(
    SEGMENTS,
    name="pav",
    question="Does the progress that a prover sees (the start, best of four, its tokens free) help beside the outcome?",
    settings=Settings(steps=60, prompts=8, group=8, evaluate=20),
    arms={
        "outcome": arms.clip(signals.centred, over="total"),
        "PAV of weight 0": arms.outcome_and_progress(0.0),
        "PAV": arms.outcome_and_progress(3.0),
        "PAV, to go": arms.outcome_and_progress(3.0, to_go=True),
    },
    branched=dict.fromkeys(("PAV of weight 0", "PAV", "PAV, to go"), PROVER),
    pairs=(("PAV", "outcome"), ("PAV", "PAV, to go")),
    alike=("outcome", "PAV of weight 0"),
)
TURNS = replace(
    STALE,
    name="igpo",
    question="Does the information that a turn gains (IGPO) help beside the outcome of two turns?",
    task=tasks.lookup(),
    start=partial(imitate, tasks.lookup(), steps=700),  # it adds, and asks for the wrong keys
    arms={
        "GRPO": arms.grpo,
        "IGPO of weight 0": arms.clip(partial(signals.information, weight=0.0)),
        "IGPO": arms.clip(signals.information),
        "IGPO, probability, joint": arms.clip(partial(signals.information, joint=True)),
    },
    branched={
        "IGPO of weight 0": Branching((8, 1), judge=Belief()),
        "IGPO": Branching((8, 1), judge=Belief()),
        "IGPO, probability, joint": Branching((8, 1), judge=Belief(logarithmic=False)),
    },
    data={"fresh": 1},
    pairs=(("IGPO", "GRPO"), ("IGPO, probability, joint", "GRPO"), ("IGPO", "IGPO, probability, joint")),
    alike=("GRPO", "IGPO of weight 0"),
    rates=RATES[1:],
)
FUTURES = replace(
    TURNS,
    name="refuel",
    question="At equal generated tokens, does REFUEL (turns, by their futures) beat whole answers, or last turns?",
    settings=Settings(steps=60, prompts=16, group=3, evaluate=20),  # 18 tokens a prompt
    arms={
        "REBEL": arms.rebel(tau=0.1),
        "REBEL, drawn as a tree": arms.rebel(tau=0.1),
        "REFUEL": arms.refuel(tau=0.1),
        "last turns": arms.refuel(tau=0.1),
    },
    branched={
        "REBEL, drawn as a tree": Branching((3, 1)),
        "REFUEL": Branching((2, 2)),  # 6 + 12 tokens
        "last turns": Branching((1, 5)),  # 3 + 15 tokens
    },
    pairs=(("REFUEL", "REBEL"), ("REFUEL", "last turns")),
    alike=("REBEL", "REBEL, drawn as a tree"),
    rates=THREE,
)
SHOTS = "2*3=6\n7*8=56\n4*4=16\n9*5=45\n"


def _smollm2() -> Policy:
    from claimlab.experiments.lm.pretrained import smollm2

    return smollm2(tasks.product(), prefix=SHOTS, end="\n")


# Sized for one core and some ten minutes.  A run's metric is over 3 x 81 answers: their chance alone is a standard
# deviation of up to 0.03 of a run, 0.042 of a difference.  A t-test on five pairs (one-sided, 5 %) finds 1.36 standard
# deviations in four cases of five: 0.06, were there no other chance.  The 0.02 of the other studies is out of reach.
SMOLLM2 = Study(
    "smollm2",
    "Does SmolLM2-135M with LoRA learn products of digits, and does clipping help it on stale data?  "
    "(five seeds: it shows differences of 0.06 or more)",
    tasks.product(),
    _smollm2,
    {arm: ARMS[arm] for arm in ALIKE[:2]},
    {"stale": 8},
    PAIRS[:1],
    (),  # that the two are one on fresh data is checked by `smollm2-smoke`
    Settings(steps=24, prompts=4, group=8, evaluate=8, scored=81, measured=8),
    seeds=5,
    rates=(3e-4, 1e-3),
)
SMOLLM2_LONG = replace(
    SMOLLM2,
    name="smollm2-long",
    question="The same on fresh and on stale data, with GRPO and ten seeds: some hours of a GPU.",
    arms={arm: ARMS[arm] for arm in ("REINFORCE", "one-side clip", "GRPO")},
    data={"fresh": 1, "stale": 10},
    alike=ALIKE[:2],
    settings=Settings(steps=30, prompts=8, group=8, evaluate=10, scored=81),
    seeds=10,
    rates=(1e-4, 3e-4, 1e-3),
    threads=0,
)
SMOLLM2_SMOKE = replace(
    SMOLLM2,
    name="smollm2-smoke",
    question="Does a step of SmolLM2-135M with LoRA run here, and do two arms that are one agree?  (some minutes)",
    data={"fresh": 1},
    alike=ALIKE[:2],
    settings=Settings(steps=4, prompts=2, group=8, evaluate=4, scored=20),
    seeds=1,
    rates=(3e-4,),
)

# Of the whole vocabulary

ROVER = replace(
    STALE,
    name="rover",
    question="Does ROVER beat GRPO with four steps to each policy that answers, and does its bootstrap help?",
    arms={
        "clip, centred": arms.clip(signals.centred),
        "ROVER, rho = 1/2": arms.rover(0.5),
        "GRPO": arms.grpo,
        "ROVER": arms.rover(),
        "ROVER, no bootstrap": arms.rover(bootstrap=0.0),
        "ROVER, released": arms.rover(signal=signals.standardised, over="token"),
    },
    data={"fresh": 1, "stale": 4},
    pairs=(
        ("ROVER", "GRPO"),
        ("ROVER", "clip, centred"),
        ("ROVER", "ROVER, no bootstrap"),
        ("ROVER, released", "GRPO"),
    ),
    alike=("clip, centred", "ROVER, rho = 1/2"),
    rates=THREE,
)
BONUS, TURN = 0.01, 5  # the weight of the entropy is ours; a turn of `lookup` and what it hears are five tokens
EPO = replace(
    STALE,
    name="epo",
    question="In two turns, does EPO's corridor help beyond an entropy bonus, and either beyond GRPO?",
    task=tasks.lookup(),
    start=partial(imitate, tasks.lookup()),
    arms={
        "GRPO": arms.grpo,
        "entropy bonus": arms.with_entropy(arms.grpo, BONUS, TURN),
        "EPO": arms.epo(arms.grpo, BONUS, 60, turn_length=TURN),
        "EPO, released": arms.epo(arms.grpo, BONUS, 60, low=0.0, high=2.0, turn_length=TURN, constant=True),
    },
    data={"fresh": 1},
    pairs=(("EPO", "entropy bonus"), ("EPO", "GRPO"), ("entropy bonus", "GRPO")),
    alike=("entropy bonus", "EPO, released"),
    rates=THREE,
)
_PPO = arms.clip(signals.centred, over="token")
NLPO = replace(
    STALE,
    name="nlpo",
    question="Does NLPO, trained inside a top-p mask, beat PPO that is scored in the same way?",
    arms={
        "PPO": _PPO,
        "NLPO, p = 1": arms.nlpo(_PPO, 1.0, 20),
        "PPO, scored inside": arms.nlpo(_PPO, 0.9, 20, answers=False),
        "NLPO": arms.nlpo(_PPO, 0.9, 20),
        "NLPO, p = 1/2": arms.nlpo(_PPO, 0.5, 20),
    },
    data={"fresh": 1},
    pairs=(("NLPO", "PPO, scored inside"), ("NLPO", "PPO"), ("NLPO", "NLPO, p = 1/2")),
    alike=("PPO", "NLPO, p = 1"),
    rates=THREE,
)

STUDIES = (
    SMOKE,
    STALE,
    VARIANTS,
    LOSSES,
    OFFLINE,
    PREFERENCES,
    ENSEMBLES,
    RANKING,
    SEGMENTS,
    TREES,
    PROGRESS,
    TURNS,
    FUTURES,
    ROVER,
    EPO,
    NLPO,
    LONG,
    SMOLLM2_SMOKE,
    SMOLLM2,
    SMOLLM2_LONG,
)


def named(name: str) -> Study:
    """The study called `name`."""
    for study in STUDIES:
        if study.name == name:
            return study
    raise WrongUsage(f"unknown study {name!r}.{nearest(name, [study.name for study in STUDIES])}")
