"""PROPS as released, on a bandit: a few epochs of minibatches on the clipped objective, every few actions."""

from __future__ import annotations

from functools import lru_cache, partial
from math import log

import numpy as np
from numpy.random import Generator

from claimlab.checks import Array, Ints
from claimlab.draws import sample
from claimlab.experiments.papers.props.common import FOUR, claim
from claimlab.native import kernel
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison, comparison
from claimlab.theory.sampling_error import divergence

EPOCHS, MINIBATCHES, CLIP, STOP = 16, 4, 0.3, 0.01  # as released for discrete actions
RATE = 0.01  # of Adam; released is 0.001, for networks: on a table that is 64 steps of 0.001 from the target
LENGTH = 1_024


@kernel
def refit(target: Array, actions: Ints, rng: Generator, rate: float, law: Array) -> None:
    """Set `law` to the policy that the released optimiser reaches from the `target` on the data `actions`.

    Adam (fresh moments) ascends the mean of min(-rho, -clip(rho)) over minibatches; it stops after an epoch whose last
    minibatch had a mean of (rho - 1) - log rho, the estimate of the KL divergence, above the limit.
    """
    A, n = target.size, actions.size
    theta, first, second, gradient = np.log(target), np.zeros(A), np.zeros(A), np.empty(A)
    order, steps = np.arange(n), 0
    law[:] = target
    for _ in range(EPOCHS):
        for i in range(n - 1, 0, -1):
            j = int(rng.random() * (i + 1))
            order[i], order[j] = order[j], order[i]
        distance = 0.0
        for k in range(MINIBATCHES):
            low, high = k * n // MINIBATCHES, (k + 1) * n // MINIBATCHES
            gradient[:], distance = 0.0, 0.0
            for i in range(low, high):
                a = actions[order[i]]
                rho = law[a] / target[a]
                distance += (rho - 1 - np.log(rho)) / (high - low)
                if rho > 1 - CLIP:
                    gradient[a] -= rho / (high - low)
                    gradient += rho / (high - low) * law
            steps += 1
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            theta += rate * first / (1 - 0.9**steps) / (np.sqrt(second / (1 - 0.999**steps)) + 1e-5)
            theta -= theta.max()
            law[:] = np.exp(theta)
            law /= law.sum()
        if distance > STOP:
            break


@kernel
def _collect(target: Array, n: int, chunk: int, rate: float, rng: Generator) -> Array:
    """The counts after `n` actions, refitted after every `chunk` of them."""
    actions, law, counts = np.empty(n, dtype=np.int64), target.copy(), np.zeros(target.size)
    for t in range(n):
        if t > 0 and t % chunk == 0:
            refit(target, actions[:t], rng, rate, law)
        actions[t] = sample(law, rng.random())
        counts[actions[t]] += 1
    return counts


@lru_cache(maxsize=4)
def released_counts(chunk: int, runs: int, seed: int) -> Array:
    """Counts after `LENGTH` actions, float[runs, A]."""
    children = np.random.SeedSequence(seed).spawn(runs)
    return np.array([_collect(FOUR, LENGTH, chunk, RATE, np.random.default_rng(child)) for child in children])


def _released_check(budget: Budget, chunk: int = 16) -> Comparison:
    """Log KL of on-policy sampling over that of the released optimiser, in means of three runs, against log 2."""
    runs, rng = 60 if budget.name == "smoke" else 600, budget.rng("runs")
    seeds = rng.integers(2**31, size=2).tolist()
    plain, adaptive = (
        np.log(divergence(released_counts(size, runs, seed), FOUR).reshape(-1, 3).mean(axis=1))
        for size, seed in zip((LENGTH, chunk), seeds)
    )
    return comparison(plain, adaptive, effect=log(2), rng=budget.rng("bootstrap"))


CLAIMS = (
    claim(
        id="props/released-optimiser",
        source="Abstract (PROPS decreases sampling error); the released optimiser",
        statement="PROPS as released has less than half the KL divergence of on-policy sampling.",
        kind=Comparison,
        premises=(
            "a bandit, $\\pi=(0.4,0.3,0.2,0.1)$, 1024 actions, refitted every 16 from the target on all data",
            "clip 0.3, 16 epochs of 4 minibatches, stop at KL 0.01, no regulariser, as released; Adam with step 0.01",
            "60 runs (600 beyond the smoke budget), in means of three (200 before a look, too dear)",
        ),
        check=_released_check,
        control=partial(_released_check, chunk=LENGTH),
        control_statement="so it has if it is never refitted.",
    ),
)
