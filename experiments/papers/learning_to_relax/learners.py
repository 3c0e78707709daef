"""Tsallis-INF as the paper states, proves and releases it: Algorithms 2 and 4, Theorems B.1 and B.2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import inf, nan, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab.bandits.environments import Bernoulli
from claimlab.bandits.play import Algorithm, Environment, play
from claimlab.bandits.weights import TsallisINF, tsallis_weights
from claimlab.checks import Array
from claimlab.draws import sample
from claimlab.experiments.papers.learning_to_relax.common import claim
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison, Identity, Outcome, all_of, comparison
from claimlab.theory.relaxation_regret import tsallis_anytime, tsallis_constant_rate, tsallis_printed

EPS = float(np.finfo(np.float64).eps)
LOSSES = "losses in [0, K] fixed beforehand; attacked with K = 1, the case to which the others scale"


class ReleasedState(NamedTuple):
    loss: Array  # [K], summed estimates
    p: Array  # [K], weights of the last draw, as they are
    normal: Array  # [K], the same divided by their sum: what is drawn from
    seen: Array  # [5]: summed loss; rounds with sum p off 1 by 1e-6; the first of them, its sum; largest |sum p - 1|


@dataclass(frozen=True)
class ReleasedTsallis(Algorithm):
    r"""``learners/TsallisINF.m`` of the authors' code: 20 Newton steps for the normaliser, from x = -1 in every round.

    Losses are measured in units of their mean so far, :math:`\eta_t = 2/\sqrt t`.  Weights that do not sum to one
    are drawn from after division by their sum, but importance weights are their reciprocals as they are.  Weights that
    are no numbers are caught there, and a uniform arm is played; its estimate is then no number either, for ever.
    """

    def init(self, n_arms: int, horizon: int) -> ReleasedState:
        return ReleasedState(np.zeros(n_arms), np.zeros(n_arms), np.zeros(n_arms), np.zeros(5))

    def act(self, state: ReleasedState, t: int, rng: Generator) -> int:
        eta, p, seen = 2 / sqrt(t + 1), state.p, state.seen
        unit = seen[0] / t if t > 0 and seen[0] > 0 else 1.0
        x, total = -1.0, 0.0
        for _ in range(20):
            total, cubes = 0.0, 0.0
            for i in range(p.size):
                distance = abs(eta * (state.loss[i] / unit - x))
                root = 2 / distance if distance > 0 else inf
                p[i] = root * root
                total += p[i]
                cubes += p[i] * root
            x -= (total - 1) / (eta * cubes) if eta * cubes > 0 else nan
        valid = abs(total - 1) <= 1e-6  # False where total is no number
        if not valid:
            if seen[1] == 0:
                seen[2], seen[3] = t + 1, total
            seen[1] += 1
        drawable = 0 < total < inf
        seen[4] = max(seen[4], abs(total - 1)) if drawable else inf
        for i in range(p.size):
            state.normal[i] = p[i] / total if drawable else 1 / p.size
        return sample(state.normal, rng.random())

    def learn(self, state: ReleasedState, t: int, arm: int, reward: float) -> None:
        state.loss[arm] += (1 - reward) / state.p[arm] if state.p[arm] > 0 else nan
        state.seen[0] += 1 - reward


@dataclass(frozen=True)
class MeanUnitTsallis(Algorithm):
    """The same with the normaliser of :func:`~claimlab.bandits.weights.tsallis_weights`: only the solver differs."""

    def init(self, n_arms: int, horizon: int) -> ReleasedState:
        return ReleasedState(np.zeros(n_arms), np.zeros(n_arms), np.zeros(1), np.zeros(5))

    def act(self, state: ReleasedState, t: int, rng: Generator) -> int:
        unit = state.seen[0] / t if t > 0 and state.seen[0] > 0 else 1.0
        state.normal[0] = tsallis_weights(state.loss, 2 / sqrt(t + 1) / unit, state.p, state.normal[0])
        state.seen[4] = max(state.seen[4], abs(state.p.sum() - 1))
        return sample(state.p, rng.random())

    def learn(self, state: ReleasedState, t: int, arm: int, reward: float) -> None:
        state.loss[arm] += (1 - reward) / state.p[arm]
        state.seen[0] += 1 - reward


def one_good_arm(d: int) -> Bernoulli:
    """Arm 0 never loses, the other d - 1 always lose 1."""
    return Bernoulli(np.r_[1.0, np.zeros(d - 1)])


def hidden_arm(d: int, T: int) -> Bernoulli:
    r"""Arm 0 is better by :math:`\sqrt{d/T}`, about what T rounds can tell."""
    return Bernoulli(np.r_[0.5 + min(0.5, sqrt(d / T)), np.full(d - 1, 0.5)])


def regrets(alg: Algorithm, env: Environment, T: int, runs: int, budget: Budget) -> Array:
    """Pseudo-regret after T rounds, float[runs], with the claim's seed."""
    seed = int(budget.rng("play").integers(2**31))
    return play(alg, env, horizon=T, runs=runs, seed=seed, checkpoints=1).regret[:, -1]


def below(bound: float, regret: Array, budget: Budget, **witness: Any) -> Comparison:
    """Evidence on "the expected regret is at most `bound`"."""
    found = comparison(np.full(len(regret), bound), regret, effect=0.0, rng=budget.rng("bootstrap"))
    known = {
        "bound": bound,
        "mean regret": float(regret.mean()),
        "standard error": float(regret.std() / sqrt(len(regret))),
    }
    return replace(found, witness={**witness, **known, "regret / bound": float(regret.mean() / bound)})


# Algorithm 4: the weights -------------------------------------------------------------------------------------------


def safe_weights(k: Array, eta: float) -> Array:
    p = np.empty(k.size)
    tsallis_weights(k, eta, p, 0.0)
    return p


def released_weights(k: Array, eta: float) -> Array:
    x, p = -1.0, np.zeros(k.size)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        for _ in range(20):
            p = 4 / (eta * (k - x)) ** 2
            x -= (p.sum() - 1) / (eta * (p**1.5).sum())
    return np.asarray(p)


def _duality_gap(k: Array, eta: float, p: Array) -> float:
    r"""Primal value minus dual value :math:`x - \frac4{\eta^2}\sum_i\frac1{k_i-x}`, in units of their terms, plus
    the distance of the sum of `p` from 1; x is taken from the weight of the least k."""
    heaviest = int(k.argmin())
    x = k[heaviest] - 2 / (eta * sqrt(p[heaviest]))
    terms = np.r_[k * p, -4 / eta * np.sqrt(p), -x, 4 / eta**2 / (k - x)]
    return float(abs(terms.sum()) / abs(terms).sum() + abs(p.sum() - 1))


def _weights_check(budget: Budget, weights: Callable[[Array, float], Array] = safe_weights) -> Identity:
    """Weak duality: the gap is 0 at the minimiser and nowhere else, up to a rounding of each term."""
    rng, worst, witness = budget.rng("instances"), -1.0, None
    count = 5 * budget.instances
    for _ in range(count):
        d, t = int(rng.integers(2, 60)), 10 ** rng.uniform(0, 5)
        k, eta = rng.exponential(10 ** rng.uniform(-3, 6), d), 2 / sqrt(t)
        k -= k.min()
        p = weights(k, eta)
        residual = inf if not p.min() > 0 else _duality_gap(k, eta, p) / d
        if residual > worst:
            worst, witness = residual, {"k": k, "t": t, "sum p": p.sum()}
    return Identity(worst, 16 * EPS, count, "float", witness)


def _released_check(budget: Budget, alg: Algorithm = ReleasedTsallis()) -> Identity:
    """Largest distance of the sum of the weights from 1, on ten arms with a gap of a tenth."""
    seed = int(budget.rng("play").integers(2**31))
    env, T, runs = Bernoulli(np.r_[0.6, np.full(9, 0.5)]), 5_000, max(10, budget.runs // 200)
    record = play(alg, env, horizon=T, runs=runs, seed=seed, checkpoints=1, keep_states=True)
    seen = np.array([state.seen for state in record.states])
    first = int(np.argmin(np.where(seen[:, 2] > 0, seen[:, 2], np.inf)))
    witness = {
        "arms": 10,
        "rounds": T,
        "share of invalid rounds": float(seen[:, 1].mean() / T),
        "first invalid round": float(seen[first, 2]),
        "its sum of weights": float(seen[first, 3]),
    }
    return Identity(float(seen[:, 4].max()), 16 * 10 * EPS, runs * T, "float", witness)


# Theorems B.1 and B.2 -----------------------------------------------------------------------------------------------


def _constant_check(budget: Budget, rate: float = 1.0, bound: Callable[..., float] = tsallis_printed) -> Comparison:
    """The instance that costs most for its size, with the learning rate `rate` / sqrt(T)."""
    runs = max(20, budget.runs // 50)

    def case(d: int, T: int) -> Comparison:
        alg = TsallisINF(rate=rate / sqrt(T), anytime=False)
        regret = regrets(alg, one_good_arm(d), T, runs, budget)
        return below(bound(d, T), regret, budget, losses=[0, 1, "...", 1], d=d, T=T, eta=rate / sqrt(T))

    return all_of([case(d, T) for d, T in ((30, 2_000), (50, 2_000), (10, 500), (2, 200))])


def _repaired(d: int, T: int, factor: float = 1.0) -> float:
    return factor * tsallis_constant_rate(d, T, 1 / sqrt(T))


def _anytime_check(budget: Budget, factor: float = 1.0) -> Comparison:
    runs = max(20, budget.runs // 50)

    def case(env: Bernoulli, d: int, T: int) -> Comparison:
        regret = regrets(TsallisINF(), env, T, runs, budget)
        return below(factor * tsallis_anytime(d, T), regret, budget, means=env.means[:3], d=d, T=T)

    sizes = ((30, 2_000), (10, 1_000), (2, 500))
    hidden = [case(hidden_arm(d, T), d, T) for d, T in sizes]
    return all_of([*(case(one_good_arm(d), d, T) for d, T in sizes), *hidden])


def _released_regret_check(budget: Budget, alg: Algorithm = ReleasedTsallis()) -> Comparison:
    T, runs, env = 20_000, max(100, budget.runs // 40), Bernoulli(np.r_[0.6, np.full(9, 0.5)])
    stated, released = (regrets(each, env, T, runs, budget) for each in (TsallisINF(), alg))
    found = comparison(1.1 * stated, released, effect=0.0, rng=budget.rng("bootstrap"))
    known = {
        "Tsallis-INF": float(stated.mean()),
        "implementation": float(released.mean()),
        "bound": tsallis_anytime(10, T),
    }
    return replace(found, witness={"arms": 10, "gap": 0.1, "T": T, "mean regret": known})


CLAIMS = (
    claim(
        id="learning-to-relax/tsallis-weights",
        source="Algorithms 2 and 4",
        statement=(
            r"$p_i = 4/(\eta(k_i - x))^2$ with the $x < \min_i k_i$ for which $\sum_i p_i = 1$ minimises "
            r"$\langle k, p\rangle - \frac4\eta\sum_i\sqrt{p_i}$ over the simplex."
        ),
        kind=Identity,
        premises=(r"$\eta > 0$; attacked with $k$ up to $10^7$ and $\eta$ down to $2/\sqrt{10^5}$",),
        check=_weights_check,
        control=partial(_weights_check, weights=released_weights),
        control_statement="the same weights, with $x$ from 20 Newton steps that start at $x = -1$ (the authors' code).",
    ),
    claim(
        id="learning-to-relax/released-weights",
        source="authors' code, learners/TsallisINF.m",
        statement=(
            "The released implementation draws from the weights of Algorithm 2: they sum to one in every round, up to "
            "rounding."
        ),
        kind=Identity,
        premises=(r"$d$ arms, losses in units of their running mean, $\eta_t = 2/\sqrt t$",),
        check=_released_check,
        control=partial(_released_check, alg=MeanUnitTsallis()),
        control_statement="the same algorithm with a bracketed solver for the normaliser.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="learning-to-relax/released-regret",
        source="authors' code, learners/TsallisINF.m, second statement",
        statement="The released implementation has at most 1.1 times the expected regret of Tsallis-INF.",
        kind=Comparison,
        premises=("losses 0 or 1, independent; 10 arms, of mean loss 0.4 and 0.5, 20 000 rounds",),
        check=_released_regret_check,
        control=partial(_released_regret_check, alg=MeanUnitTsallis()),
        control_statement="the same algorithm with a bracketed solver for the normaliser.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="learning-to-relax/tsallis-constant-rate",
        source="Theorem B.1",
        statement=r"Tsallis-INF with $\eta = 1/\sqrt T$ has expected regret at most $2K\sqrt{2dT}$.",
        kind=Comparison,
        premises=(LOSSES,),
        check=_constant_check,
        control=partial(_constant_check, rate=2 * sqrt(2)),
        control_statement=r"the same with $\eta = 2\sqrt{2/T}$, the step size for which the proof gives this constant.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="learning-to-relax/tsallis-constant-rate-repaired",
        source="ours, repairs Theorem B.1",
        statement=(
            r"Tsallis-INF with a constant $\eta$ has expected regret at most $K\big(\frac{4(\sqrt d - 1)}\eta + "
            r"\frac{\eta T\sqrt d}2\big)$, which is $K(4.5\sqrt d - 4)\sqrt T$ for $\eta = 1/\sqrt T$."
        ),
        kind=Comparison,
        premises=(LOSSES,),
        check=partial(_constant_check, bound=_repaired),
        control=partial(_constant_check, bound=partial(_repaired, factor=0.75)),
        control_statement="three quarters of it are enough.",
    ),
    claim(
        id="learning-to-relax/tsallis-anytime",
        source="Theorem B.2",
        statement=(
            r"Tsallis-INF with $\eta_t = 2/\sqrt t$ has expected regret at most $4K\sqrt{dT} + K$ (printed $+1$, which "
            "is the same for $K = 1$)."
        ),
        kind=Comparison,
        premises=(LOSSES,),
        check=_anytime_check,
        control=partial(_anytime_check, factor=0.2),
        control_statement=r"a fifth of it is enough.",
    ),
)
