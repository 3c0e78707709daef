"""The race of the learners of MDPs: UCBVI beside rlberry-scool; StepMix and LOOP beside speeds that were asked for."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.benchmarks import algorithms, learning
from claimlab.experiments.benchmarks.race import OURS, Race, Solver, Words
from claimlab.experiments.benchmarks.stored import Instance

STATES = (6, 12, 20)
UCBVI = tuple(f"ucbvi-{n}" for n in STATES)


class Case(algorithms.Case):
    sources = tuple(Path(__file__).with_name(name) for name in ("learning.py", "episodes.py"))


def river(n: int, up: float = 0.35, down: float = 0.05, ends: float = 0.6, small: float = 0.005) -> tuple[Array, Array]:
    """RiverSwim (Strehl & Littman 2008): action 0 swims with the current, action 1 against it."""
    P, r = np.zeros((n, 2, n)), np.zeros((n, 2))
    for s in range(n):
        P[s, 0, max(s - 1, 0)] = 1
        if 0 < s < n - 1:
            P[s, 1, s - 1 : s + 2] = down, 1 - up - down, up
    P[0, 1, :2], P[-1, 1, -2:] = (1 - ends, ends), (1 - ends, ends)
    r[0, 0], r[-1, 1] = small, 1
    return P, r


def river_swim(n: int) -> Instance:
    """From the first state, 20 steps."""
    P, r = river(n)
    return {"P": P, "r": r, "horizon": np.int64(20)}


def sparse_terminal() -> Instance:
    """S = A = 5, H = 3: transitions Dirichlet(0.4), rewards from 0 to 1 by state at the last step; a Boltzmann baseline
    of temperature 0.1, and 40 % of its value for a threshold."""
    rng = np.random.default_rng(0)
    P, r = rng.dirichlet(np.full(5, 0.4), size=(3, 5, 5)), np.zeros((3, 5, 5))
    r[-1] = np.linspace(0, 1, 5)[:, None]
    _, q = learning.optimum(P, r)
    baseline = np.exp((q - q.max(axis=2, keepdims=True)) / 0.1)
    baseline /= baseline.sum(axis=2, keepdims=True)
    v = np.zeros(5)
    for h in reversed(range(3)):
        v = (baseline[h] * (r[h] + P[h] @ v)).sum(axis=1)
    return {"P": P, "r": r, "baseline": baseline, "threshold": np.float64(0.4 * v[0]), "delta": np.float64(0.1)}


def rivers() -> Instance:
    """54 rivers of 6 states that differ in the strength of swimmer and current; in the first, the truth, it is best to
    stay at the lower end, which pays 0.2."""
    ups, downs = np.linspace(0.1, 0.5, 9), np.linspace(0.02, 0.3, 6)
    strengths = sorted(product(ups, downs), key=lambda both: both != (ups[0], downs[2]))
    P = np.stack([river(6, up, down, small=0.2)[0] for up, down in strengths])
    return {"P": P, "r": river(6, small=0.2)[1], "delta": np.float64(0.1)}


CASES = (
    *(
        Case(
            f"ucbvi-{n}", f"UCBVI, RiverSwim, S = {n}, H = 20", partial(river_swim, n), learning.ucbvi, 200,
            (10, 10_000), each="episode",
        )
        for n in STATES
    ),
    Case(
        "stepmix", "StepMix, S = A = 5, H = 3", sparse_terminal, learning.step_mix, 2000, (10, 10_000), each="episode"
    ),
    Case("loop", "LOOP, 54 models, S = 6", rivers, learning.loop, 10_000, (10, 100_000), each="step"),
)  # fmt: skip

SOLVERS = (
    Solver(
        OURS,
        {case.name: ("play_episodes",) for case in CASES[:-1]} | {"loop": ("learn_average",)},
        threads=True,
        sample=50,
        compiles=True,
        script="claimlab_episodes",
    ),
    Solver("rlberry", dict.fromkeys(UCBVI, ("UCBVIAgent",)), sample=5, script="rlberry_episodes"),
)

WORDS = Words(
    aside="the other in shorter games, as an episode costs the same; LOOP: steps",
    wrong="another regret than the algorithm has, beyond chance",
    axis="seconds an episode or step",
    cases="Expected: the mean regret of the same algorithm in plain NumPy, in games as long as the other library is "
    "timed in; regrets are compared after eight numbers of episodes up to there.  UCBVI is that of rlberry-scool, "
    "whose clipping and whose bonuses, stale ones included, ours copies here.",
    how="Min and median are CPU times of an episode (a step) over the repetitions; the first call compiles what no "
    "earlier case did.  Ours evaluates every episode's policy exactly besides.  The regret is that of the games that "
    "all are judged by, with its standard error.",
    each="episodes or steps",
    rate="episodes",
    answer="answer",
)

EPISODES = Race("episodes", "Learning MDPs", CASES, SOLVERS, WORDS)
