"""Exact expectations of randomised algorithms on small tables, by looking at every sequence of draws."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.changing import Table
from claimlab.bandits.play import Algorithm
from claimlab.bandits.weights import Exp3, Exp3IX, Exp3Mixing, TsallisINF
from claimlab.checks import Array
from claimlab.native import kernel

MOST_SEQUENCES = 2**24


def expected_regret(alg: Exp3 | Exp3IX | Exp3Mixing | TsallisINF, env: Table) -> float:
    r"""The pseudo-regret of `alg` on the whole table, :math:`\max_a \sum_t x_{t,a} - E \sum_t x_{t,A_t}`.

    All :math:`K^T` sequences of arms are played and weighted by their probabilities, :math:`\prod_t p_{t,A_t}` with the
    distribution that the algorithm keeps as ``state.p``.  Rounding is of the order of T units in the last place of the
    reward of a sequence, and of the algorithm's error in `p` (:func:`claimlab.bandits.tsallis_weights`).
    """
    if not isinstance(alg, (Exp3, Exp3IX, Exp3Mixing, TsallisINF)):
        raise TypeError(f"alg must keep the distribution it draws from, got {type(alg).__name__}.")
    T, K = env.rewards.shape
    checks.integer("K ** T", K**T, 1, MOST_SEQUENCES)
    return float(env.rewards.sum(axis=0).max()) - _expected_reward(alg, env.rewards, np.random.default_rng(0))


@kernel
def _expected_reward(alg: Algorithm, rewards: Array, rng: Generator) -> float:
    T, K = rewards.shape
    total = 0.0
    for code in range(K**T):
        state, rest, probability, earned = alg.init(K, T), code, 1.0, 0.0
        for t in range(T):
            alg.act(state, t, rng)  # what it draws is replaced by the sequence's arm
            arm, rest = rest % K, rest // K
            probability *= state.p[arm]
            if probability == 0:
                break
            earned += rewards[t, arm]
            alg.learn(state, t, arm, rewards[t, arm])
        total += probability * earned
    return total
