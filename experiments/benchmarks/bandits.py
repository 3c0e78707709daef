"""The race of the bandits: games, the regret that each algorithm should have, and the libraries."""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path

import numpy as np

from claimlab.experiments.benchmarks import algorithms, regrets
from claimlab.experiments.benchmarks.race import OURS, Race, Solver, Source, Words
from claimlab.experiments.benchmarks.stored import Instance


class Case(algorithms.Case):
    sources = tuple(Path(__file__).with_name(name) for name in ("regrets.py", "bandits.py"))


def bernoulli(n_arms: int = 10) -> Instance:
    """Arms 0.50, 0.45, ..., and Exp3's gamma for 2000 rounds (Auer et al. 2002, Corollary 3.2)."""
    gamma = np.sqrt(n_arms * np.log(n_arms) / ((math.e - 1) * 2000))
    return {"means": 0.5 - 0.05 * np.arange(n_arms), "gamma": np.float64(gamma)}


def linear(n_arms: int = 50, dim: int = 10) -> Instance:
    """Parameters uniform on the unit sphere."""
    theta = np.random.default_rng(5).standard_normal((n_arms, dim))
    return {"theta": theta / np.linalg.norm(theta, axis=1, keepdims=True), "noise": np.float64(0.1)}


def dynamical() -> Instance:
    """The synthetic system of Mussi, Metelli & Restelli (2023), sigma = 0.01; outputs are summed."""
    return {
        "A": np.diag([0.2, 0.0, 0.1]),
        "B": np.diag([0.45, 0.0, 0.1]),
        "C": np.diag([1.0, 0.0, 0.1]),
        "D": np.diag([0.0, 0.5, 0.1]),
        "arms": np.array(sorted(set(permutations((0.0, 0.5, 1.0))))),
        "sigma": np.float64(0.01),
    }


PLAYED = (100, 100_000)
CASES = (
    Case("ucb1", "UCB1, 10 arms", bernoulli, regrets.ucb1, 2000, PLAYED, 1),
    Case("kl-ucb", "KL-UCB, 10 arms", bernoulli, regrets.kl_ucb, 2000, PLAYED, 1),
    Case("exp3", "Exp3, 10 arms", bernoulli, regrets.exp3, 2000, PLAYED, 2),
    Case("tsallis-inf", "1/2-Tsallis-INF, 10 arms", bernoulli, regrets.tsallis_inf, 2000, PLAYED, 2),
    Case("linucb", "Disjoint LinUCB, d = 10, 50 arms", linear, regrets.linucb, 200, (100, 10_000), 0, 11),
    Case("dynlin-ucb", "DynLin-UCB, d = 3, 6 arms", dynamical, regrets.dynlin_ucb, 100_000, (20, 100_000), 0, 4),
)

SOLVERS = (
    Solver(
        OURS,
        {case.name: ("play",) for case in CASES},
        threads=True,
        sample=50,
        compiles=True,
        script="claimlab_bandits",
    ),
    Solver(
        "smpybandits",
        {"ucb1": ("UCB",), "kl-ucb": ("klUCB",), "exp3": ("Exp3",), "tsallis-inf": ("TsallisInf",)},
        sample=10,
    ),
    Solver("mabwiser", {"ucb1": ("UCB1",), "linucb": ("LinUCB",)}, sample=3),
    Solver(
        "coba",
        {"ucb1": ("BanditUCBLearner",), "linucb": ("LinUCBLearner",)},
        sample=3,
        differs={"ucb1": "UCB1-Tuned (Auer, Cesa-Bianchi & Fischer 2002, Section 4)"},
    ),
    Solver("contextualbandits", {"linucb": ("LinUCB",)}, sample=2),
    Solver(
        "dlb",
        {"dynlin-ucb": ("DynLinUCBAgent",)},
        sample=2,
        source=Source("https://github.com/marcomussi/DLB", "7fb103e"),
    ),
)

WORDS = Words(
    aside="others in shorter games, as a round costs the same",
    wrong="another regret than the algorithm has, beyond chance",
    axis="seconds a round",
    cases="Expected: the mean regret of the same algorithm in plain NumPy, in games as long as the others are timed "
    "in.  The machine draws the random numbers of a round, the reward's among them, and adds them up: the share of the "
    "limit is what that takes of a round of ours.",
    how="Min and median are CPU times of a round over the repetitions; the first call compiles what no earlier case "
    "did.  The regret is that of the games that all are judged by, with its standard error.",
    each="rounds",
    rate="rounds",
    answer="answer",
)

BANDITS = Race("bandits", "Playing bandits", CASES, SOLVERS, WORDS)
