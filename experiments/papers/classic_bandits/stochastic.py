"""Fixed means: optimism, posterior sampling and greed, against each other and against Lai and Robbins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import log

import numpy as np
from numpy.random import Generator

from claimlab.bandits import (
    KLUCB,
    MOSS,
    UCB1,
    Algorithm,
    Bernoulli,
    BetaThompson,
    DecreasingEpsilonGreedy,
    Delayed,
    EpsilonGreedy,
    Exp3,
    GaussianThompson,
    Switching,
    exp3_rate,
    play,
)
from claimlab.checks import Array
from claimlab.experiments.papers.classic_bandits.common import (
    BERNOULLI,
    LARGE,
    MEANS,
    Promise,
    above,
    bernoulli,
    claim,
    games,
    hard_means,
    logarithmic,
    regrets,
    seed,
)
from claimlab.theory import regret
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison, Rate, rate

TWO = Bernoulli(np.array([0.5, 0.25]))
THREE = Bernoulli(np.array([0.6, 0.4, 0.2]))
DELAY = 2_000

# UCB1 and its relatives ----------------------------------------------------------------------------------------------

UCB1_BOUND = Promise(
    MEANS, bernoulli, lambda env: UCB1(), lambda env: regret.ucb1(env.gaps, 10_000), 10_000, hard_means(10_000)
)
KLUCB_BOUND = Promise(
    MEANS, bernoulli, lambda env: KLUCB(2.0), lambda env: regret.kl_ucb(env.means, 10_000), 10_000, hard_means(10_000)
)
MOSS_BOUND = Promise(
    MEANS, bernoulli, lambda env: MOSS(), lambda env: regret.moss(env.gaps, 10_000), 10_000, hard_means(10_000)
)


def _delay_check(budget: Budget, delay: int = DELAY) -> Comparison:
    env, horizon = Bernoulli(np.array([0.9, *[0.5] * 5])), 20_000
    found = regrets(Delayed(UCB1(), DELAY), env, budget, horizon=horizon, runs=games(budget))
    limit = regret.delayed_ucb1(env.gaps, horizon, delay)
    return above(np.full(len(found), limit), found, budget, witness={"mean regret": found.mean(), "bound": limit})


# Lai and Robbins -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Always(Algorithm):
    """Pulls `arm`, whatever comes: without regret where it is the best, linear elsewhere, so not consistent."""

    arm: int

    def init(self, n_arms: int, horizon: int) -> Array:
        return np.zeros(0)

    def act(self, state: Array, t: int, rng: Generator) -> int:
        return self.arm

    def learn(self, state: Array, t: int, arm: int, reward: float) -> None:
        return


def _optimal_check(budget: Budget, alg: Algorithm) -> Comparison:
    horizon = 100_000
    found = regrets(alg, THREE, budget, horizon=horizon, runs=games(budget)) / log(horizon)
    constant = regret.lai_robbins(THREE.means)
    witness = {"means": THREE.means, "regret / log T": found.mean(), "constant": constant}
    return above(np.full(len(found), 1.25 * constant), found, budget, witness=witness)


def _lower_check(budget: Budget, alg: Algorithm) -> Comparison:
    """An algorithm that always pulls one arm has a pseudo-regret without noise."""
    record = play(alg, THREE, horizon=100_000, runs=games(budget), seed=seed(budget, "play"), checkpoints=6)
    slope = np.diff(record.regret[:, -2:])[:, 0] / log(10)
    constant = regret.lai_robbins(THREE.means)
    witness = {"means": THREE.means, "regret for each unit of log T": slope.mean(), "constant": constant}
    certain = isinstance(alg, Always)
    return above(slope, np.full(len(slope), 0.6 * constant), budget, witness=witness, certain=certain)


# What is linear ------------------------------------------------------------------------------------------------------

LINEAR_HORIZONS = (3_000, 10_000, 30_000, 100_000)


def _linear_check(budget: Budget, algorithm: Algorithm, env: Callable[[int], Bernoulli | Switching]) -> Rate:
    runs = games(budget, 200)
    found = [regrets(algorithm, env(T), budget, T, horizon=T, runs=runs) for T in LINEAR_HORIZONS]
    return rate(
        LINEAR_HORIZONS,
        np.stack(found, axis=1),
        exponent=1.0,
        side="at least",
        resolution=0.1,
        rng=budget.rng("bootstrap"),
    )


def _swapped(horizon: int) -> Switching:
    """Arm 1 pays 0.6 in the first half and 0.2 in the second: its mean over the game so far never falls below 0.4."""
    return Switching(np.array([[0.4, 0.6], [0.4, 0.2]]), np.array([0, horizon // 2]))


CLAIMS = (
    claim(
        id="classic-bandits/ucb1-bound",
        source="Auer, Cesa-Bianchi & Fischer (2002), Theorem 1",
        statement=(
            r"The regret of UCB1 after $T$ rounds is at most $8 \sum_{\Delta_i>0} \frac{\log T}{\Delta_i} + "
            r"\left(1 + \frac{\pi^2}{3}\right) \sum_i \Delta_i$."
        ),
        kind=Comparison,
        premises=(BERNOULLI,),
        check=UCB1_BOUND.check,
        control=partial(UCB1_BOUND.check, share=0.1),
        control_statement="a tenth of the bound suffices.",
    ),
    claim(
        id="classic-bandits/ucb1-logarithmic",
        source="Auer, Cesa-Bianchi & Fischer (2002), Theorem 1",
        statement=(
            "The regret of UCB1 grows like a logarithm: the rounds from $10^4$ to $10^5$ cost at most twice what those "
            "from $10^3$ to $10^4$ do."
        ),
        kind=Comparison,
        premises=(BERNOULLI, "means 0.5 and 0.25", LARGE),
        check=lambda budget: logarithmic(budget, algorithm=lambda T: UCB1(), env=TWO, runs=games(budget)),
        control=lambda budget: logarithmic(
            budget, algorithm=lambda T: Exp3(exp3_rate(2, T)), env=TWO, runs=games(budget)
        ),
        control_statement="the same for Exp3 with its rate for each horizon, whose regret grows like a square root.",
    ),
    claim(
        id="classic-bandits/kl-ucb-bound",
        source="Lattimore & Szepesvari (2020), Theorem 10.6, after Garivier & Cappe (2011), Theorem 2",
        statement=(
            r"The regret of KL-UCB with level $f(t) = 1 + t \log^2 t$ is at most $\sum_{\Delta_i>0} "
            r"\inf_{\epsilon_1+\epsilon_2<\Delta_i} \Delta_i \left(\frac{\log f(T)}{\mathrm{kl}(\mu_i+\epsilon_1, "
            r"\mu^*-\epsilon_2)} + \frac{1}{2\epsilon_1^2} + \frac{2}{\epsilon_2^2}\right)$."
        ),
        kind=Comparison,
        premises=(BERNOULLI,),
        check=KLUCB_BOUND.check,
        control=partial(KLUCB_BOUND.check, share=0.05),
        control_statement="a twentieth of the bound suffices.",
    ),
    claim(
        id="classic-bandits/kl-ucb-optimal",
        source="Garivier & Cappe (2011), Corollary to Theorem 2",
        statement=(
            r"KL-UCB attains the lower bound of Lai and Robbins: $\limsup R_T / \log T \le \sum_i \Delta_i / "
            r"\mathrm{kl}(\mu_i, \mu^*)$, up to a quarter at $T = 10^5$."
        ),
        kind=Comparison,
        premises=(BERNOULLI, "means 0.6, 0.4 and 0.2", LARGE),
        check=partial(_optimal_check, alg=KLUCB()),
        control=partial(_optimal_check, alg=UCB1()),
        control_statement="UCB1 attains it.",
    ),
    claim(
        id="classic-bandits/thompson-optimal",
        source="Kaufmann, Korda & Munos (2012); Agrawal & Goyal (2013)",
        statement=(
            r"Thompson sampling with uniform priors attains the lower bound of Lai and Robbins, up to a quarter at "
            r"$T = 10^5$."
        ),
        kind=Comparison,
        premises=(BERNOULLI, "means 0.6, 0.4 and 0.2", LARGE),
        check=partial(_optimal_check, alg=BetaThompson()),
        control=partial(_optimal_check, alg=GaussianThompson(1.0)),
        control_statement="so does Thompson sampling for Gaussian rewards of variance 1.",
    ),
    claim(
        id="classic-bandits/lai-robbins",
        source="Lai & Robbins (1985), Theorem 2",
        statement=(
            r"A consistent algorithm pays at least $\sum_i \Delta_i/\mathrm{kl}(\mu_i, \mu^*)$ for each unit of "
            r"$\log T$ in the limit: Thompson sampling, which of ours pays least, pays 0.6 of it between $10^4$ and "
            "$10^5$ rounds."
        ),
        kind=Comparison,
        premises=(
            BERNOULLI,
            "means 0.6, 0.4 and 0.2",
            LARGE,
            "consistent: regret $o(T^a)$ for all $a > 0$, everywhere",
        ),
        check=partial(_lower_check, alg=BetaThompson()),
        control=partial(_lower_check, alg=Always(0)),
        control_statement="the same for an algorithm that is not consistent: it always pulls the first arm.",
    ),
    claim(
        id="classic-bandits/moss-minimax",
        source="Lattimore & Szepesvari (2020), Theorem 9.1, after Audibert & Bubeck (2009)",
        statement=(
            r"The regret of MOSS is at most $\frac{39}{2}\sqrt{KT} + \sum_i \Delta_i$ for rewards in $[0, 1]$, "
            "whatever the gaps."
        ),
        kind=Comparison,
        premises=(BERNOULLI,),
        check=MOSS_BOUND.check,
        control=partial(MOSS_BOUND.check, share=0.01),
        control_statement="a hundredth of the bound suffices.",
    ),
    claim(
        id="classic-bandits/epsilon-greedy-linear",
        source="Auer, Cesa-Bianchi & Fischer (2002), Section 1",
        statement=r"With a constant $\epsilon = 0.1$ the regret of epsilon-greedy is linear in $T$.",
        kind=Rate,
        premises=(BERNOULLI, "means 0.6, 0.4 and 0.2"),
        check=partial(_linear_check, algorithm=EpsilonGreedy(0.1), env=lambda T: THREE),
        control=partial(_linear_check, algorithm=DecreasingEpsilonGreedy(0.2), env=lambda T: THREE),
        control_statement=r"so it is with $\epsilon_t = \min(1, 5K/(d^2 t))$ and $d = 0.2$.",
    ),
    claim(
        id="classic-bandits/delays-add",
        source="Joulani, Gyorgy & Szepesvari (2013), for UCB1",
        statement=(
            r"Rewards that arrive $D$ rounds late add at most $D \sum_i \Delta_i$ to the bound on the regret of UCB1."
        ),
        kind=Comparison,
        premises=(BERNOULLI, "means 0.9 and five times 0.5, $D = 2000$, $T = 20\\,000$"),
        check=_delay_check,
        control=partial(_delay_check, delay=0),
        control_statement="they add nothing.",
    ),
    claim(
        id="classic-bandits/switching-breaks-ucb1",
        source="Garivier & Moulines (2011), Section 2",
        statement=(
            "One change of the means costs UCB1, which never forgets, a regret linear in $T$: the better arm becomes "
            "the worse at half-time."
        ),
        kind=Rate,
        premises=("Bernoulli arms with means (0.4, 0.6), from half-time on (0.4, 0.2)",),
        check=partial(_linear_check, algorithm=UCB1(), env=_swapped),
        control=partial(_linear_check, algorithm=UCB1(), env=lambda T: Bernoulli(np.array([0.4, 0.6]))),
        control_statement="the same without the change.",
    ),
)
