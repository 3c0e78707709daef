r"""Theorems 2.2 and 3.2, and the conclusions drawn from the figures: how regret grows, and against whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.dynamical import DynamicalLinear, real_data, synthetic
from claimlab.bandits.linear import Growth, LinUCB
from claimlab.bandits.memory import BatchedExp3
from claimlab.bandits.play import Algorithm, play
from claimlab.checks import Array, Ints
from claimlab.experiments.papers.dynamical_linear_bandits.common import (
    BOUNDED,
    GAUSSIAN,
    KNOWN,
    STABLE,
    claim,
    dynlin,
    exp3_batch,
    exp3_scale,
    figure_algorithms,
    lever,
    released_dlinucb,
    released_dynlin,
    released_linucb,
    undiscounted_dlinucb,
)
from claimlab.theory.claims import Budget
from claimlab.theory.dynamical import hypercube, lower_bound, regret_bound
from claimlab.theory.evidence import (
    Comparison,
    Identity,
    Inequality,
    Outcome,
    Probability,
    Rate,
    comparison,
    probability,
    rate,
)
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.spaces import Box, Space

RUNS = 12  # seeds of a comparison: the curves hardly differ between seeds


def seeds(budget: Budget) -> int:
    """Of a rate."""
    return RUNS if budget.name == "smoke" else 50


def regrets(alg: Algorithm, env: DynamicalLinear, horizon: int, seed: int, runs: int = RUNS) -> Array:
    """Pseudo-regret after `horizon` rounds, float[runs]."""
    return play(alg, env, horizon=horizon, runs=runs, seed=seed, checkpoints=1).regret[:, -1]


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


def _lower_rate(budget: Budget, exponent: float) -> Rate:
    rhos = np.array([0.5, 0.8, 0.9, 0.95])
    greedy = "greedy on innovations"
    runs = seeds(budget)
    found = [bayes_regrets(2, rho, 1_000, runs, budget.seed, greedy)[greedy] for rho in rhos]
    y = np.stack(found, axis=1).reshape(4, runs, 4).mean(axis=0)  # over signs; a run is a seed
    return rate(1 / (1 - rhos), y, exponent=exponent, side="at least", rng=budget.rng("bootstrap"))


# special cases and figures -------------------------------------------------------------------------------------------

LINEAR = Space(
    {"D": (1, 3), "K": (1, 4)},
    {"arms": Box("KD"), "theta": Box("D"), "lam": Box("", 0.1, 10.0), "sigma": Box("", 0, 1)},
)


def _same(arms: Array, theta: Array, lam: Array, sigma: Array, *, rho_bar: float) -> Trial | None:
    """After how many of 200 rounds LinUCB and DynLin-UCB differ, where the state does not reach the rewards."""
    if not arms.any():
        return None
    env = DynamicalLinear([[0.5]], np.ones((1, len(theta))), [0.0], theta, arms, 0.1, float(sigma))
    norm = float(np.linalg.norm(theta))
    ours = dynlin(env, 200, float(lam), rho_bar=rho_bar, sigma=float(sigma))
    plain = LinUCB(arms, float(lam), float(sigma), norm, 1 / 200, Growth.ROUNDS)
    records = [play(alg, env, horizon=200, runs=1, seed=0, checkpoints=200, keep_states=True) for alg in (ours, plain)]
    fit, (ridge, _) = records[0].states[0].fit, records[1].states[0]
    differ = (records[0].pulls != records[1].pulls).any(axis=2).sum() + (fit.theta != ridge.theta).any()
    return Trial(float(differ), 0.0)


def _same_check(budget: Budget, rho_bar: float = 0.0) -> Identity:
    return equate(LINEAR, partial(_same, rho_bar=rho_bar), budget, proof="float")


def _lock_in(budget: Budget, preset: Callable[[DynamicalLinear, int], Algorithm]) -> Probability:
    """A released baseline on the synthetic system: a run is not linear if its last half costs at most 0.003 a round.

    Every constant action but the best costs ten times that.
    """
    env, horizon, delta, runs = synthetic(), 30_000, 0.12, {"smoke": 300}.get(budget.name, 600)
    record = play(preset(env, horizon), env, horizon=horizon, runs=runs, seed=budget.seed, checkpoints=400)
    half = int(np.searchsorted(record.times, horizon // 2))
    late = (record.regret[:, -1] - record.regret[:, half]) / (horizon - record.times[half])
    witness = {"share locked in": float((late <= 0.003).mean()), "median cost a round": float(np.median(late))}
    return probability(int((late <= 0.003).sum()), runs, delta, witness)


def _crossover(budget: Budget, horizon: int) -> Comparison:
    """Lin-UCB minus DynLin-UCB, both as released with lambda = 1."""
    env = synthetic()
    a = regrets(released_linucb(env, horizon, 1.0), env, horizon, budget.seed, 10)
    b = regrets(released_dynlin(env, horizon, 1.0), env, horizon, budget.seed, 10)
    return comparison(a, b, effect=0.0, rng=budget.rng("bootstrap"))


@cache
def _real_data_regrets(seed: int) -> dict[str, Array]:
    env, horizon = real_data(), 20_000
    return {name: regrets(alg, env, horizon, seed) for name, alg in figure_algorithms(env, horizon).items()}


def _real_data(budget: Budget, share: float) -> Comparison:
    """`share` times the least regret of a baseline, run by run, against DynLin-UCB with lambda = log T."""
    found = _real_data_regrets(budget.seed)
    ours = found[r"DynLin-UCB, $\lambda=\log T$"]
    rivals = np.min([y for name, y in found.items() if not name.startswith("DynLin")], axis=0)
    return comparison(share * rivals, ours, effect=0.0, rng=budget.rng("bootstrap"))


def _noise(budget: Budget, sigma: float) -> Comparison:
    """1.05 times the regret with noise 0.001 against that with noise `sigma`."""
    low, high = (regrets(dynlin(env, 50_000), env, 50_000, budget.seed) for env in (synthetic(0.001), synthetic(sigma)))
    return comparison(1.05 * low, high, effect=0.0, rng=budget.rng("bootstrap"))


@cache
def _batched_regrets(released: bool, seed: int) -> Array:
    env, horizon = synthetic(), 100_000
    alg = BatchedExp3.tuned(6, horizon, exp3_scale(env), exp3_batch(env, horizon), released)
    return regrets(alg, env, horizon, seed, 20)


def _credit(budget: Budget, swapped: bool = False) -> Comparison:
    """Exp3-k as released minus 1.25 times that with every batch credited to its own arm."""
    late, own = (_batched_regrets(released, budget.seed) for released in (not swapped, swapped))
    return comparison(late, 1.25 * own, effect=0.0, rng=budget.rng("bootstrap"))


SYNTHETIC = "synthetic system, constants of the authors' code"

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
    claim(
        id="dynamical-linear-bandits/linear-special-case",
        source="Section 3",
        statement=r"Where $\omega = 0$, DynLin-UCB with $\bar\rho = 0$ is LinUCB, bit for bit.",
        kind=Identity,
        premises=("finitely many actions", "200 rounds"),
        check=_same_check,
        control=partial(_same_check, rho_bar=0.2),
        control_statement=r"so it is with $\bar\rho = 0.2$.",
    ),
    claim(
        id="dynamical-linear-bandits/figure-1-lin-ucb",
        source="Figure 1",
        statement=r"Lin-UCB with $\lambda = \log T$ suffers linear regret, with probability 0.88 or more.",
        kind=Probability,
        premises=(SYNTHETIC, "30,000 rounds"),
        check=partial(_lock_in, preset=partial(released_linucb, lam=None)),
        control=partial(_lock_in, preset=partial(released_linucb, lam=1.0)),
        control_statement=r"so it does with $\lambda = 1$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="dynamical-linear-bandits/figure-1-d-lin-ucb",
        source="Figure 1",
        statement=r"D-Lin-UCB with $\lambda = \log T$ suffers linear regret, with probability 0.88 or more.",
        kind=Probability,
        premises=(SYNTHETIC, "30,000 rounds", "as released: no discount of the data, the radius alone knows gamma"),
        check=partial(_lock_in, preset=undiscounted_dlinucb),
        control=partial(_lock_in, preset=released_dlinucb),
        control_statement=r"so it does with $\lambda = 1$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="dynamical-linear-bandits/figure-1-crossover",
        source="Figure 1",
        statement=r"With $\lambda = 1$ DynLin-UCB has less regret than Lin-UCB after 450,000 rounds.",
        kind=Comparison,
        premises=(SYNTHETIC,),
        check=partial(_crossover, horizon=450_000),
        control=partial(_crossover, horizon=50_000),
        control_statement="it has less after 50,000 rounds already.",
    ),
    claim(
        id="dynamical-linear-bandits/real-data",
        source="Section 5.2",
        statement="DynLin-UCB has less regret than every baseline on the system identified from advertising data.",
        kind=Comparison,
        premises=("constants of the authors' code", "20,000 rounds"),
        check=partial(_real_data, share=1.0),
        control=partial(_real_data, share=0.5),
        control_statement="it has less than half of theirs.",
    ),
    claim(
        id="dynamical-linear-bandits/noise-sweep",
        source="Figure 4",
        statement=r"On the synthetic system, noise of 0.01 in place of 0.001 costs less than 5 %.",
        kind=Comparison,
        premises=(KNOWN, GAUSSIAN, "50,000 rounds"),
        check=partial(_noise, sigma=0.01),
        control=partial(_noise, sigma=0.1),
        control_statement="so does noise of 0.1.",
    ),
    claim(
        id="dynamical-linear-bandits/figure-1-exp3-k",
        source="Figure 1, ours on the authors' code",
        statement=(
            "The released Exp3-k, which credits a batch's mean to the next batch's action, has at least 1.25 times the "
            "regret of the algorithm that credits its own."
        ),
        kind=Comparison,
        premises=("synthetic system", "100,000 rounds"),
        check=_credit,
        control=partial(_credit, swapped=True),
        control_statement="it is the other way round.",
    ),
)
