"""Theorems 2.2 and 3.2: how regret grows in T, d and the spectral radius, from above and from below."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.dynamical import DynamicalLinear
from claimlab.bandits.linear import Growth, LinUCB
from claimlab.bandits.play import Algorithm
from claimlab.checks import Array, Ints
from claimlab.experiments.papers.dynamical_linear_bandits.common import (
    BOUNDED,
    GAUSSIAN,
    KNOWN,
    RUNS,
    STABLE,
    claim,
    dynlin,
    lever,
    regrets,
)
from claimlab.theory.claims import Budget
from claimlab.theory.dynamical import hypercube, lower_bound, regret_bound
from claimlab.theory.evidence import (
    Comparison,
    Inequality,
    Rate,
    comparison,
    rate,
)
from claimlab.theory.exact_comparisons import settled_rate
from claimlab.theory.falsify import Trial, attack
from claimlab.theory.spaces import Box, Space


def seeds(budget: Budget) -> int:
    """Of a rate."""
    return RUNS if budget.name == "smoke" else 50


# an explicit upper bound ---------------------------------------------------------------------------------------------

MILD = Space(
    {},
    {
        "rho": Box("", 0.0, 0.3, step=0.1),
        "b": Box("", -0.1, 0.1, step=0.05),
        "theta": Box("", 0.4, 1.0, step=0.2),
        "log_T": Box("", 4.5, 5.0, step=0.5),
    },
)


def _explicit(rho: Array, b: Array, theta: Array, log_T: Array, *, factor: float) -> Trial:
    """The noise-free regret on two actions, the second worth nothing, under dynamics mild enough for the bound."""
    env = DynamicalLinear([[float(rho)]], [[float(b), 0.0]], [1.0], [float(theta), 0.0], np.eye(2))
    horizon = int(10**log_T)
    alg, gap = dynlin(env, horizon), float(env.gaps.max())
    regret = regrets(alg, env, horizon, 0, 1)[0]
    return Trial(float(regret), factor * regret_bound(alg, horizon, gap), 1e-9 * horizon, trivial=horizon * gap)


def _explicit_check(budget: Budget, factor: float = 1.0) -> Inequality:
    few = budget.with_instances(max(15, budget.instances // 10))
    return attack(MILD, partial(_explicit, factor=factor), few)


# growth --------------------------------------------------------------------------------------------------------------


@cache  # here and below: a claim and its control look at the same runs
def _lever_regrets(rho: float, rho_bar: float, seed: int, runs: int) -> tuple[Array, Array]:
    """Horizons float[4] and regrets float[runs, 4] of DynLin-UCB on the lever."""
    env, horizons = lever(rho), (2_000, 6_000, 20_000, 60_000)
    y = [regrets(dynlin(env, T, rho_bar=rho_bar), env, T, seed, runs) for T in horizons]
    return np.array(horizons, dtype=np.float64), np.stack(y, axis=1)


def _in_T(budget: Budget, rho: float, rho_bar: float, *, side: str = "at most", logs: int = 2) -> Rate:
    r"""Regret over :math:`(\log T)^2`, which Theorem 3.2 bounds by a multiple of :math:`\sqrt T`."""
    horizons, y = _lever_regrets(rho, rho_bar, budget.seed, seeds(budget))
    exponent = 0.5 if side == "at most" else 1.0
    normed = y / np.log(horizons) ** logs
    return rate(horizons, normed, exponent=exponent, side=side, rng=budget.rng("bootstrap"))


def _square(rho: float, sigma: float) -> DynamicalLinear:
    """Actions (+-1, +-1) / sqrt 2 and h = (1, 1) / sqrt 8, whatever rho."""
    arms = np.array(list(product([-1.0, 1.0], repeat=2))) / np.sqrt(2)
    return DynamicalLinear(
        [[rho]], (1 - rho) / np.sqrt(8) * np.ones((1, 2)), [1.0], [0, 0], arms, (1 - rho) * sigma, sigma
    )


@cache
def _square_regrets(rhos: tuple[float, ...], seed: int, runs: int) -> Array:
    horizon, systems = 20_000, [_square(rho, 0.1) for rho in rhos]
    return np.stack([regrets(dynlin(env, horizon), env, horizon, seed, runs) for env in systems], axis=1)


def _in_rho(budget: Budget, exponent: float) -> Rate:
    rhos = np.array([0.5, 0.75, 0.9, 0.95])
    y = _square_regrets(tuple(rhos.tolist()), budget.seed, seeds(budget))
    return rate(1 / (1 - rhos), y, exponent=exponent, side="at most", rng=budget.rng("bootstrap"))


def _late_coordinate(d: int, gap: float) -> DynamicalLinear:
    """The actions e_1, ..., e_d, of which the last brings `gap` through the state and the others nothing; noise 1."""
    B = np.zeros((1, d))
    B[0, -1] = gap / 2
    return DynamicalLinear([[0.5]], B, [1.0], np.zeros(d), np.eye(d), 0.5, 1.0)


@cache
def _worst_regret(d: int, seed: int, runs: int) -> Array:
    r"""The largest over gaps up to 1, as the theorem is about the worst system with :math:`|J| \le 1`; float[runs]."""
    horizon, systems = 10_000, [_late_coordinate(d, gap) for gap in (0.1, 0.3, 0.6, 1.0)]
    return np.max([regrets(dynlin(env, horizon), env, horizon, seed, runs) for env in systems], axis=0)


def _in_d(budget: Budget, exponent: float) -> Rate:
    dims = (2, 4, 8, 16)
    y = np.stack([_worst_regret(d, budget.seed, seeds(budget)) for d in dims], axis=1)
    return rate(dims, y, exponent=exponent, side="at most", rng=budget.rng("bootstrap"))


# lower bounds --------------------------------------------------------------------------------------------------------


class Memory(NamedTuple):
    base: Any
    reward: Array  # [1], of the round before
    arm: Ints  # [1], of the round before


@dataclass(frozen=True, eq=False)
class Innovations(Algorithm):
    r"""Give `base` the innovations :math:`z_t = y_{t+1} - \rho y_t` as rewards of a plain linear bandit.

    For systems whose reward is their one state: it knows rho, which no learner of the paper does.
    """

    base: LinUCB
    rho: float

    def __post_init__(self) -> None:
        self._settle(rho=checks.interval("rho", self.rho, 0, 1, "[)"))

    def init(self, n_arms: int, horizon: int) -> Memory:
        return Memory(self.base.init(n_arms, horizon), np.zeros(1), np.zeros(1, dtype=np.int64))

    def act(self, state: Memory, t: int, rng: Generator) -> int:
        return self.base.act(state.base, max(t - 1, 0), rng)

    def learn(self, state: Memory, t: int, arm: int, reward: float) -> None:
        if t > 0:
            self.base.learn(state.base, t - 1, state.arm[0], reward - self.rho * state.reward[0])
        state.reward[0], state.arm[0] = reward, arm


def _contenders(env: DynamicalLinear, horizon: int, scale: float) -> dict[str, Algorithm]:
    """Bayes' greedy rule and LinUCB on the innovations, and DynLin-UCB on what it is given."""
    d = len(env.theta)
    greedy = LinUCB(env.arms, lam=horizon / scale**2, sigma=0.0, norm=0.0)
    cautious = LinUCB(env.arms, lam=1.0, sigma=1.0, norm=scale * np.sqrt(d / horizon), growth=Growth.DETERMINANT)
    return {
        "greedy on innovations": Innovations(greedy, env.rho),
        "LinUCB on innovations": Innovations(cautious, env.rho),
        "DynLin-UCB": dynlin(env, horizon),
    }


@cache
def bayes_regrets(d: int, rho: float, horizon: int, runs: int, seed: int, only: str = "") -> dict[str, Array]:
    """Pseudo-regret of every contender (or one), float[signs * runs], over all signs of the hard family (noise 1)."""
    scale = 1.25
    found: dict[str, list[Array]] = {}
    for k, signs in enumerate(product([-1.0, 1.0], repeat=d)):
        env = hypercube(np.array(signs), rho, scale, 1.0, horizon)
        for name, alg in _contenders(env, horizon, scale).items():
            if only in name:
                found.setdefault(name, []).append(regrets(alg, env, horizon, seed + k, runs))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _lower_check(budget: Budget, factor: float = 1.0) -> Comparison:
    d, rho, horizon = 3, 0.9, 1_000
    found = bayes_regrets(d, rho, horizon, max(40, budget.runs // 200), budget.seed)
    best = min(found, key=lambda name: float(found[name].mean()))
    bound = np.full(len(found[best]), factor * lower_bound(d, rho, 1.0, horizon))
    return comparison(found[best], bound, effect=0.0, rng=budget.rng("bootstrap"))


RHOS = np.array([0.5, 0.8, 0.9, 0.95])


def greedy_regrets(seed: int, runs: int = 1) -> Array:
    """Regret of Bayes' greedy rule over `RHOS`, float[runs, 4], the mean over all signs of the hard family.

    The innovations do not depend on rho, so neither do the arms that it pulls on them, and a wrong sign costs a
    multiple of 1 / (1 - rho): in every run the regret is proportional to it, and the slope has no noise.
    """
    greedy = "greedy on innovations"
    found = [bayes_regrets(2, rho, 1_000, runs, seed, greedy)[greedy] for rho in RHOS]
    return np.asarray(np.stack(found, axis=1).reshape(4, runs, 4).mean(axis=0))


def _lower_rate(budget: Budget, exponent: float) -> Rate:
    return settled_rate(1 / (1 - RHOS), greedy_regrets(budget.seed)[0], exponent=exponent, side="at least")


CLAIMS = (
    claim(
        id="dynamical-linear-bandits/regret-explicit",
        source="Theorem 3.2, with our constants",
        statement=(
            r"Expected pseudo-regret of DynLin-UCB is at most $2(1+H_M)\beta_T\sqrt{2\max(1,U^2/\lambda)Md"
            r"\log(1+MU^2/(d\lambda))} + \delta T\Delta_{\max}$."
        ),
        kind=Inequality,
        premises=(STABLE, BOUNDED, KNOWN, "mild dynamics, without noise: elsewhere the bound is vacuous at these $T$"),
        check=_explicit_check,
        control=partial(_explicit_check, factor=0.005),
        control_statement="it is at most a two-hundredth of that.",
    ),
    claim(
        id="dynamical-linear-bandits/rate-T",
        source="Theorem 3.2, abstract",
        statement=r"The regret of DynLin-UCB is $O(\sqrt T(\log T)^2)$.",
        kind=Rate,
        premises=(STABLE, KNOWN, GAUSSIAN, "two actions, the better of which pays late"),
        check=partial(_in_T, rho=0.5, rho_bar=0.5),
        control=partial(_in_T, rho=0.5, rho_bar=0.0),
        control_statement=r"so it is with $\bar\rho = 0$, that is, without waiting.",
    ),
    claim(
        id="dynamical-linear-bandits/waiting-needed",
        source="Figure 2",
        statement=r"With $\bar\rho = 0$, that is, without waiting, regret is linear.",
        kind=Rate,
        premises=(STABLE, GAUSSIAN, "two actions, the better of which pays late"),
        check=partial(_in_T, rho=0.5, rho_bar=0.0, side="at least", logs=0),
        control=partial(_in_T, rho=0.5, rho_bar=0.5, side="at least", logs=0),
        control_statement=r"so it is with $\bar\rho = \rho(A)$.",
    ),
    claim(
        id="dynamical-linear-bandits/overestimated-rho-bar",
        source="Figure 2",
        statement=r"With $\bar\rho = 2\rho(A) = 0.6$ regret is still $O(\sqrt T(\log T)^2)$.",
        kind=Rate,
        premises=(STABLE, KNOWN, GAUSSIAN, "two actions, the better of which pays late"),
        check=partial(_in_T, rho=0.3, rho_bar=0.6),
        control=partial(_in_T, rho=0.3, rho_bar=0.0),
        control_statement=r"so it is with $\bar\rho = 0$.",
    ),
    claim(
        id="dynamical-linear-bandits/rate-rho",
        source="Theorem 3.2, abstract",
        statement=r"The regret of DynLin-UCB grows at most like $(1-\bar\rho)^{-3/2}$.",
        kind=Rate,
        premises=(STABLE, KNOWN, GAUSSIAN, r"$h$ and all norms but $B = O(1-\rho)$ fixed"),
        check=partial(_in_rho, exponent=1.5),
        control=partial(_in_rho, exponent=0.25),
        control_statement=r"it grows at most like $(1-\bar\rho)^{-1/4}$.",
    ),
    claim(
        id="dynamical-linear-bandits/rate-d",
        source="Theorem 3.2, abstract",
        statement="The regret of DynLin-UCB grows at most like $d$.",
        kind=Rate,
        premises=(STABLE, KNOWN, GAUSSIAN, "the worst of four gaps for each $d$"),
        check=partial(_in_d, exponent=1.0),
        control=partial(_in_d, exponent=0.5),
        control_statement=r"it grows at most like $\sqrt d$.",
    ),
    claim(
        id="dynamical-linear-bandits/lower-bound",
        source="ours, sharpens Theorem 2.2",
        statement=(
            r"For every policy there is a system with $E R(T) \ge 0.529\,d\sigma\sqrt T/(1-\rho)$: no contender has "
            "less, averaged over the hard family."
        ),
        kind=Comparison,
        premises=(GAUSSIAN, r"$T \ge (1.25\,d\sigma/(1-\rho))^2$"),
        check=_lower_check,
        control=partial(_lower_check, factor=2.0),
        control_statement="so it is with twice the constant.",
    ),
    claim(
        id="dynamical-linear-bandits/lower-bound-rho",
        source="ours, sharpens Theorem 2.2",
        statement=(
            r"Regret must grow like $1/(1-\rho)$, not only like the published $(1-\rho)^{-1/2}$: so does that of "
            r"Bayes' greedy rule, which knows $\rho$."
        ),
        kind=Rate,
        premises=(GAUSSIAN, "the hard family"),
        check=partial(_lower_rate, exponent=1.0),
        control=partial(_lower_rate, exponent=1.5),
        control_statement=r"it must grow like $(1-\rho)^{-3/2}$.",
    ),
)
