"""Linear bandits: the ellipsoid of Abbasi-Yadkori, Pal & Szepesvari that optimism rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from itertools import product
from math import sqrt

import numpy as np
from numpy.random import Generator

from claimlab.bandits.linear import Growth, LinearArms, LinUCB, deviation
from claimlab.checks import Array
from claimlab.experiments.papers.classic_bandits.common import claim
from claimlab.native import kernel
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Probability, probability

ROUNDS, DELTA = 300, 0.1


@kernel
def _largest_ratio(alg: LinUCB, env: LinearArms, horizon: int, rng: Generator) -> float:
    r"""The largest :math:`\|\hat\theta_t - \theta\|_{V_t}` over the radius, in the rounds of one game."""
    n_arms, d = env.arms.shape
    state, world, largest = alg.init(n_arms, horizon), env.begin(horizon, rng), 0.0
    fit = state[0]
    for t in range(horizon):
        arm = alg.act(state, t, rng)
        alg.learn(state, t, arm, env.pull(world, t, arm, rng))
        square = 0.0
        for i in range(d):
            square += alg.lam * (fit.theta[i] - env.theta[i]) ** 2
        for k in range(n_arms):
            square += fit.samples[k] * (fit.mean[k] - env.means[k]) ** 2
        radius = sqrt(alg.lam) * alg.norm + deviation(alg.sigma * alg.sigma, alg.delta, fit.log_det[0])
        largest = max(largest, sqrt(square) / radius)
    return largest


@kernel
def _largest_ratios(alg: LinUCB, env: LinearArms, horizon: int, rng: Generator, out: Array) -> None:
    for run in range(out.size):
        out[run] = _largest_ratio(alg, env, horizon, rng)


def _systems() -> dict[str, LinearArms]:
    """Few arms in the plane, a cube's corners (all equally good but for one coordinate), and arms on a sphere."""
    rng = np.random.default_rng(11)
    sphere = rng.standard_normal((20, 8))
    corners = np.array(list(product([-1.0, 1.0], repeat=4))) / 2
    return {
        "6 arms, d = 2": LinearArms([[np.cos(a), np.sin(a)] for a in np.arange(6)], [0.3, 0.7], 0.5),
        "corners, d = 4": LinearArms(corners, [0.1, 0.0, 0.0, 0.0], 1.0),
        "20 arms, d = 8": LinearArms(sphere / np.linalg.norm(sphere, axis=1, keepdims=True), np.full(8, 0.2), 0.1),
    }


@cache  # a claim and its control look at the same runs
def _ratios(budget: Budget) -> Mapping[str, Array]:
    found = {}
    for name, env in _systems().items():
        norm = float(np.linalg.norm(env.theta))
        alg = LinUCB(env.arms, lam=1.0, sigma=env.sigma, norm=norm, delta=DELTA, growth=Growth.DETERMINANT)
        found[name] = np.empty(min(10_000, budget.runs // 2))
        _largest_ratios(alg, env, ROUNDS, budget.rng(name), found[name])
    return found


def _coverage_check(budget: Budget, share: float = 1.0) -> Probability:
    """From the system that fails most often; `p_refute` is corrected for having looked at all of them."""
    ratios = _ratios(budget)
    worst = max(ratios, key=lambda name: (int((ratios[name] > share).sum()), float(ratios[name].max())))
    failures, runs = int((ratios[worst] > share).sum()), len(ratios[worst])
    witness = {"system": worst, "largest error over radius": float(ratios[worst].max()), "radius times": share}
    found = probability(failures, runs, DELTA, witness)
    return replace(found, p_refute=min(1.0, len(ratios) * found.p_refute))


CLAIMS = (
    claim(
        id="classic-bandits/oful-coverage",
        source="Abbasi-Yadkori, Pal & Szepesvari (2011), Theorem 2",
        statement=(
            r"$P(\exists t: \|\hat\theta_t - \theta\|_{V_t} > \sqrt\lambda S + "
            r"\sigma\sqrt{2\log(1/\delta) + \log(\det V_t/\lambda^d)}) \le \delta$ while LinUCB plays."
        ),
        kind=Probability,
        premises=(
            r"Gaussian noise, which is $\sigma$-subgaussian; $S = \|\theta\|_2$",
            rf"$\delta = {DELTA}$, {ROUNDS} rounds, 10 000 games on each of three systems (smoke: 1000)",
        ),
        check=_coverage_check,
        control=partial(_coverage_check, share=0.5),
        control_statement="half of that radius covers as often.",
    ),
)
