"""What the sections share: the paper's entry in the catalogue, spaces of systems, and the algorithms of its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil, inf, log, pow, sqrt
from typing import Any

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.dynamical import DynamicalLinear, budget_vertices
from claimlab.bandits.dynlin import DynLinUCB
from claimlab.bandits.linear import (
    DLinUCB,
    Growth,
    LinUCB,
    Ridge,
    bounded_growth,
    deviation,
    longest,
    optimistic,
)
from claimlab.bandits.memory import AR2, BatchedExp3
from claimlab.bandits.play import Algorithm, play
from claimlab.checks import Array
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Claim, Paper
from claimlab.theory.dynamical import epochs_within
from claimlab.theory.spaces import Box, Field

PAPER = Paper(
    slug="dynamical-linear-bandits",
    title="Dynamical Linear Bandits",
    authors="Marco Mussi, Alberto Maria Metelli, Marcello Restelli",
    venue="ICML 2023",
    arxiv="2211.08997",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

RUNS = 12  # seeds of a comparison: the curves hardly differ between seeds

STABLE = r"$\rho(A) < 1$ and $\Phi(A) < \infty$ (Assumption 2.1)"
BOUNDED = r"bounded $\theta, \omega, B$, actions and states (Assumption 2.2)"
KNOWN = r"the learner knows $\bar\rho \ge \rho(A)$, $\bar\Phi \ge \Phi(A)$ and the bounds of Assumption 2.2"
GAUSSIAN = "independent Gaussian noise, which is subgaussian"
SECONDARY = (
    "the wording is known to us from a published implementation guide and the authors' code, not from the paper's text"
)

SIZES = {"N": (1, 3), "D": (1, 2), "K": (2, 3)}
SYSTEMS: Mapping[str, Field] = {
    "M": Box("NN"),
    "rho": Box("", 0.05, 0.97),
    "B": Box("ND"),
    "omega": Box("N"),
    "theta": Box("D"),
    "arms": Box("KD"),
}


def system(M: Array, rho: Array, B: Array, omega: Array, theta: Array, arms: Array) -> DynamicalLinear | None:
    r"""The system with the matrix `M` scaled to spectral radius `rho`; None where :math:`\Phi` is not finite."""
    radius = abs(np.linalg.eigvals(M)).max()
    if radius <= 1e-3 * abs(M).max():
        return None
    env = DynamicalLinear(M * (float(rho) / radius), B, omega, theta, arms)
    return env if env.phi < inf and longest(env.arms) > 0 else None


def scalar(rho: float, b: float = 1.0, theta: float = 0.0) -> dict[str, Array]:
    """One state, one dimension, the actions 1 and -1: where constants show undisturbed."""
    one = np.ones(1)
    arms = np.array([[1.0], [-1.0]])
    return {"M": one[None], "rho": np.array(rho), "B": b * one[None], "omega": one, "theta": theta * one, "arms": arms}


def rounding(env: DynamicalLinear, size: float) -> float:
    r"""What arithmetic may change in a sum of at most `size`, to first order, and in :math:`\Phi`, known to 1e-9."""
    n = len(env.omega)
    return (64 * n * EPS * float(np.linalg.cond(np.eye(n) - env.A)) + 2e-9) * size


def lever(rho: float = 0.5, sigma: float = 0.1) -> DynamicalLinear:
    """Two actions: what the first brings comes a little later, what the second brings comes at once.

    h = (1.5, 0.6), but the myopic values are (-0.5, 0.6).
    """
    return DynamicalLinear([[rho]], [[2 * (1 - rho), 0.0]], [1.0], [-0.5, 0.6], np.eye(2), sigma, sigma)


def one_round_late(rho: float, sigma: float = 0.0) -> DynamicalLinear:
    """Two actions, e1 pays 1 in the *next* round and e2 pays 1/2 at once; a spectral radius that hardly matters."""
    return DynamicalLinear([[rho]], [[1.0, 0.0]], [1.0], [0.0, 0.5], np.eye(2), sigma, sigma)


def nearly_memoryless(rho: float, sigma: float = 0.01) -> DynamicalLinear:
    """The synthetic system with its spectral radius lowered to `rho` and its cumulative Markov parameter kept."""
    A, B = np.diag([rho, 0, rho]), np.diag([0.5625 * (1 - rho), 0, 0.1])
    return DynamicalLinear(A, B, [1.0, 0, 0.1], [0, 0.5, 0.1], budget_vertices(), sigma, sigma)


def dynlin(env: DynamicalLinear, horizon: int, lam: float | None = None, **instead: Any) -> DynLinUCB:
    r"""DynLin-UCB with the paper's :math:`\delta = 1/T` and, unless said otherwise, :math:`\lambda = \log T`."""
    return DynLinUCB.knowing(env, lam=lam or log(horizon), delta=1 / horizon, **instead)


def regrets(alg: Algorithm, env: DynamicalLinear, horizon: int, seed: int, runs: int = RUNS) -> Array:
    """Pseudo-regret after `horizon` rounds, float[runs]."""
    return play(alg, env, horizon=horizon, runs=runs, seed=seed, checkpoints=1).regret[:, -1]


# as the authors' program has them ------------------------------------------------------------------------------------


def released_dynlin(env: DynamicalLinear, horizon: int, lam: float, sigma: float = 0.01, **instead: Any) -> DynLinUCB:
    r"""DynLin-UCB as released: :math:`X = U/(1-\bar\rho)`, the noise of a single output, a first arm at random."""
    rho_bar = instead.get("rho_bar", env.rho)
    own = {"sigma": sigma, "state_bound": env.norms.U / (1 - rho_bar), "random_start": True}
    return dynlin(env, horizon, lam, **(own | instead))


def released_linucb(env: DynamicalLinear, horizon: int, lam: float | None, sigma: float = 0.01) -> LinUCB:
    r"""Lin-UCB as released: with :math:`\lambda = \log T` (None) the noise part of DynLin-UCB's radius; with a number,
    the constant radius for a noise of 1 and a parameter of norm :math:`\Theta`.
    """
    if lam is not None:
        return LinUCB(env.arms, lam, 1.0, env.norms.theta, 1 / horizon, Growth.HORIZON, 1.5, random_start=True)
    twin = released_dynlin(env, horizon, log(horizon), sigma)
    return LinUCB(env.arms, twin.lam, sqrt(twin.variance), twin.c2, twin.delta, Growth.ROUNDS, random_start=True)


def released_dlinucb(env: DynamicalLinear, horizon: int, sigma: float = 0.01) -> DLinUCB:
    r"""D-LinUCB as released for :math:`\lambda = 1`: next to no discount, and a regulariser that grows."""
    norm = env.norms.theta
    return DLinUCB(env.arms, 1 - 1e-9, 1.0, sigma, norm, 1 / horizon, 1.5, growing=True, random_start=True)


@dataclass(frozen=True, eq=False)
class UndiscountedDLinUCB(Algorithm):
    r"""D-LinUCB as released for :math:`\lambda = \log T`: Lin-UCB on all data alike, and only its radius knows gamma.

    The radius has :math:`1 + \frac{tU^2}{d\lambda}\frac{1-\gamma^{2t}}{1-\gamma^2}` where `base` has
    :math:`1 + \frac{tU^2}{d\lambda}`, that is, about :math:`t^2` for t; Russac, Vernade & Cappe (2019) have the
    fraction without the t, and discount the data.
    """

    base: LinUCB
    gamma: float

    def __post_init__(self) -> None:
        self._settle(gamma=checks.interval("gamma", self.gamma, 0, 1, "()"))

    def init(self, n_arms: int, horizon: int) -> tuple[Ridge, Array]:
        return self.base.init(n_arms, horizon)

    def act(self, state: tuple[Ridge, Array], t: int, rng: Generator) -> int:
        base = self.base
        if t == 0 and base.random_start:
            return int(rng.integers(0, base.columns.shape[1]))
        weight = (1.0 - pow(self.gamma, 2.0 * t)) / (1.0 - self.gamma * self.gamma)
        growth = bounded_growth(t * weight, base.bound, base.columns.shape[0], base.lam)
        return optimistic(state[0], sqrt(base.lam) * base.norm + deviation(base.sigma**2, base.delta, growth))

    def learn(self, state: tuple[Ridge, Array], t: int, arm: int, reward: float) -> None:
        self.base.learn(state, t, arm, reward)


def undiscounted_dlinucb(env: DynamicalLinear, horizon: int, sigma: float = 0.01) -> UndiscountedDLinUCB:
    r"""With the authors' :math:`\gamma = 1 - 10^{-6}`."""
    return UndiscountedDLinUCB(released_linucb(env, horizon, None, sigma), 1 - 1e-6)


def exp3_scale(env: DynamicalLinear) -> float:
    """Half the bound on rewards of the experiments."""
    b = env.norms
    return (b.theta + b.omega * b.B / (1 - env.rho)) * b.U


def exp3_batch(env: DynamicalLinear, horizon: int) -> int:
    """Rounds after which the influence of an action has faded below one part in as many as DynLin-UCB has epochs."""
    return ceil(log(epochs_within(env.rho, 0, horizon)) / log(1 / env.rho))


def figure_algorithms(env: DynamicalLinear, horizon: int, sigma: float = 0.01) -> dict[str, Algorithm]:
    """The algorithms of the paper's Figure 1 as released, by the names of its legend."""
    M, K = exp3_scale(env), env.n_arms
    batch = exp3_batch(env, horizon)
    return {
        r"DynLin-UCB, $\lambda=\log T$": released_dynlin(env, horizon, log(horizon), sigma),
        r"DynLin-UCB, $\lambda=1$": released_dynlin(env, horizon, 1.0, sigma),
        r"Lin-UCB, $\lambda=\log T$": released_linucb(env, horizon, None, sigma),
        r"Lin-UCB, $\lambda=1$": released_linucb(env, horizon, 1.0, sigma),
        r"D-Lin-UCB, $\lambda=\log T$": undiscounted_dlinucb(env, horizon, sigma),
        r"D-Lin-UCB, $\lambda=1$": released_dlinucb(env, horizon, sigma),
        "AR2": AR2.tuned(K, env.rho, sigma, released=True),
        "Exp3": BatchedExp3.tuned(K, horizon, M),
        "Exp3-k": BatchedExp3.tuned(K, horizon, M, batch, released=True),
    }
