"""Ensembles of reward models for `tasks.style`: Bradley-Terry fits to noisy comparisons, and three ways to merge them.

The members see resamples of one set of comparisons; in the paper (Coste et al. 2024) they differ in their seed, which a
convex fit does not have.  A member is linear in how often each letter and each pair of neighbours occurs, and has mean
zero and deviation one on demonstrations: comparisons leave offset and scale open.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
from scipy.special import expit

from claimlab.checks import Array, nearest
from claimlab.experiments.lm.rollouts import Reward
from claimlab.experiments.lm.tasks import Example, Task, style

LETTERS = "abcd"
TERMS = [*LETTERS, *(a + b for a in LETTERS for b in LETTERS)]
MERGES: dict[str, Callable[[Array], float]] = {
    "one": lambda r: float(r[0]),
    "mean": lambda r: float(r.mean()),
    "WCO": lambda r: float(r.min()),
    "UWO": lambda r: float(r.mean() - 0.1 * r.var(ddof=1)),  # the paper's weight for PPO
    "UWO, weight 0": lambda r: float(r.mean() - 0 * r.var(ddof=1)),
}


def counts(text: str) -> Array:
    """float[20]: how often each of `TERMS` occurs."""
    parts = [*text, *(a + b for a, b in pairwise(text))]
    return np.array([parts.count(term) for term in TERMS], dtype=float)


def ensemble(
    seed: int, *, task: Task | None = None, members: int = 5, comparisons: int = 200, flipped: float = 0.25
) -> Callable[[str], Array]:
    """What the members say of an answer, float[members]; labels of `comparisons` are by the task's reward, a share
    `flipped` of them reversed, ties by a coin."""
    rng, task = np.random.default_rng([seed, 11]), task or style()
    examples = [task.draw(rng) for _ in range(2 * comparisons)]
    said = np.array([counts(e.turns[0]) for e in examples])
    gold = np.array([task.reward(e, e.turns[0]) for e in examples]).reshape(-1, 2)
    gap = gold[:, 0] - gold[:, 1] + rng.uniform(-1e-9, 1e-9, comparisons)
    sign = np.where(rng.random(comparisons) < flipped, -1, 1) * np.sign(gap)
    pairs = sign[:, None] * (said[::2] - said[1::2])  # the one called better, less the other
    fits = np.array([bradley_terry(pairs[rng.integers(0, comparisons, comparisons)]) for _ in range(members)])
    found = said @ fits.T
    mean, scale = found.mean(axis=0), found.std(axis=0)
    return lambda text: (fits @ counts(text) - mean) / scale


def bradley_terry(pairs: Array, ridge: float = 1.0, steps: int = 12) -> Array:
    """float[d] w that minimises ``-sum(log(sigmoid(pairs @ w))) + ridge / 2 * w @ w``, by Newton's method."""
    w = np.zeros(pairs.shape[1])
    for _ in range(steps):
        lost = expit(-pairs @ w)
        slope = ridge * w - pairs.T @ lost
        curved = ridge * np.eye(len(w)) + (pairs * (lost * (1 - lost))[:, None]).T @ pairs
        w = w - np.linalg.solve(curved, slope)
    return w


def paid(merge: str, seed: int) -> Reward:
    """A reward for `style`: the ensemble of the seed, merged by one of `MERGES`."""
    if merge not in MERGES:
        raise ValueError(f"merge must be one of {', '.join(MERGES)}{nearest(merge, list(MERGES))}; got {merge!r}.")
    say, known = ensemble(seed), dict[str, float]()

    def reward(_: Example, answer: str) -> float:
        if answer not in known:
            known[answer] = MERGES[merge](say(answer))
        return known[answer]

    return reward


PAID = {merge: partial(paid, merge) for merge in MERGES}
