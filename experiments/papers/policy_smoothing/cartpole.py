r"""CartPole with noisy observations, a linear policy on its last five noisy frames, and a searched attack.

The agent pushes right if :math:`\langle w, \bar z_t\rangle>0`, where :math:`\bar z_t` averages the last five noisy
frames with geometric weights; each frame is noised once.  The attack moves the current frame along `w`, the gradient of
the score, within a total l2 budget: what is not used is carried over, and it strikes only where its rule says.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from itertools import product
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from claimlab.checks import Array, Bools
from claimlab.experiments.papers.policy_smoothing.common import ADAPTIVE, SMOOTHED, claim
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison, comparison
from claimlab.theory.smoothing import certify_grid

HORIZON = 200  # as CartPole-v0
SIGMA = 0.2
GAINS = np.array([0.05, 0.1, 1.0, 0.3])  # of position, velocity, angle, angular velocity
MEMORY = 0.6 ** np.arange(5)  # weight of a frame by its age
DIRECTION = GAINS / np.sqrt((GAINS**2).sum())


class Attack(NamedTuple):
    """When and how an adversary spends its budget; each a number, or an array with an entry for each episode."""

    size: Any  # norm of a perturbation, while the budget lasts
    patience: Any  # it waits until the clean score is that far from 0 ...
    against: Any  # ... and then moves the frame against its sign, or else always in one direction


def returns(
    episodes: int, attack: Attack | None, budget: float, rng: np.random.Generator, sigma: float = SIGMA
) -> Array:
    """Returns of so many episodes at once, float[episodes], in 0..200."""
    env = gymnasium.make_vec("CartPole-v1", episodes, "vector_entry_point", max_episode_steps=HORIZON)
    observation, _ = env.reset(seed=int(rng.integers(2**31)))
    frames, alive = np.zeros((len(MEMORY), episodes, 4)), np.ones(episodes, dtype=bool)
    total, spent, weights = np.zeros(episodes), np.zeros(episodes), MEMORY / MEMORY.sum()
    for _ in range(HORIZON):
        frames = np.roll(frames, 1, axis=0)
        shift = _perturbation(observation @ GAINS, attack, budget, spent, alive)
        frames[0] = observation + shift[:, None] * DIRECTION + sigma * rng.normal(size=(episodes, 4))
        action = (np.tensordot(weights, frames, axes=1) @ GAINS > 0).astype(np.int64)
        observation, reward, ended, _, _ = env.step(action)
        total += reward * alive
        alive &= ~ended
        if not alive.any():
            break
    env.close()
    return total


def _perturbation(score: Array, attack: Attack | None, budget: float, spent: Array, alive: Bools) -> Array:
    """What is added along the gradient, float[episodes]; counts the squares in `spent`."""
    if attack is None:
        return np.zeros(len(score))
    left = np.sqrt(np.maximum(budget**2 - spent, 0.0))
    strikes = alive & (abs(score) >= attack.patience)
    size = np.where(strikes, np.minimum(attack.size, left), 0.0)
    spent += size**2
    return np.where(attack.against, -np.sign(score), 1.0) * size


def search(budget: float, episodes: int, rng: np.random.Generator, sigma: float = SIGMA) -> Attack:
    """The worst of 40 attacks on episodes of its own, so that what it does on others is not chosen."""
    grid = product((1, 2, 4, 16, 64), (0.0, 0.1, 0.2, 0.3), (True, False))
    tried = [Attack(budget / np.sqrt(strikes), patience, against) for strikes, patience, against in grid]
    at_once = Attack(*(np.repeat(field, episodes) for field in zip(*tried)))
    found = returns(len(tried) * episodes, at_once, budget, rng, sigma).reshape(len(tried), episodes)
    return tried[int(found.mean(axis=1).argmin())]


TOTAL = 2 * SIGMA  # the budget B of the claim


@lru_cache(maxsize=2)
def _measured(budget: Budget) -> tuple[Array, Array, Attack]:
    """Returns without attack, returns under the attack that the search chose, and that attack."""
    attack = search(TOTAL, 400, budget.rng("search"))
    clean = returns(10_000, None, 0.0, budget.rng("clean"))
    return clean, returns(budget.runs // 4, attack, TOTAL, budget.rng("attacked")), attack


def _check(budget: Budget, factor: float = 1.0) -> Comparison:
    """Attacked returns against what is certified, at error 1e-6, from independent episodes without attack."""
    clean, attacked, attack = _measured(budget)
    certified = float(certify_grid(clean, np.arange(HORIZON + 1.0), factor * TOTAL, SIGMA, level=1e-6))
    found = comparison(attacked, np.full(len(attacked), certified), effect=0.0, rng=budget.rng("bootstrap"))
    witness = {"certified": certified, "attacked": float(attacked.mean()), "clean": float(clean.mean())}
    return replace(found, witness=witness | attack._asdict())


CLAIMS = (
    claim(
        id="policy-smoothing/cartpole",
        source="experiments on CartPole, with a linear policy",
        statement="The mean return of CartPole under attack stays above its certificate.",
        kind=Comparison,
        premises=(
            SMOOTHED,
            ADAPTIVE,
            r"200 steps; a linear policy on five frames; $\sigma=0.2$, $B=0.4$; 10 000 clean episodes",
            "the worst of 40 attacks along the gradient, chosen on other episodes",
        ),
        check=_check,
        control=partial(_check, factor=0.25),
        control_statement=r"it stays above the certificate for $B/4$.",
    ),
)
