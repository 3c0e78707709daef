"""Finite samples: bounds with their constants, rates, and what incompleteness costs."""

from __future__ import annotations

from functools import lru_cache, partial
from math import ceil, log

import numpy as np
from scipy.optimize import root_scalar

from claimlab.checks import Array
from claimlab.experiments.papers.realizability.common import FINITE, LINEAR, SINGULAR, claim, two_states
from claimlab.mdps.offline import solve_least_squares
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Probability, Rate, probability, rate
from claimlab.theory.exact_comparisons import settled_rate
from claimlab.theory.offline_estimators import draw_sample, lstd_radius, minimax, sample_moments
from claimlab.theory.realizability import (
    PairChain,
    bellman_chain,
    bellman_error_bound,
    chain_length,
    convex_bellman_error_bound,
    finite_incompleteness,
    incompleteness,
    moments,
    opposite_chain,
)

# Finite classes


@lru_cache(maxsize=8)
def chain_class(beta: float, length: int) -> tuple[PairChain, Array]:
    """A chain of four pairs, and the class {Q} with `length` iterates from a far start."""
    rng = np.random.default_rng(20230711)
    gamma, n = GAMMA, 4
    P, r = rng.dirichlet(np.ones(n), size=n), rng.random(n)
    chain = PairChain(P, r, gamma, np.full(n, 1 / n), np.eye(n)[0])
    return chain, bellman_chain(chain, np.full(n, 5.0), beta, length)


@lru_cache(maxsize=16)
def worst_errors(beta: float, length: int, n: int, runs: int, seed: int) -> Array:
    """Bellman errors of the worst minimiser, adversary among ties, float[runs]."""
    chain, F = chain_class(beta, length)
    losses = chain.norm(F - chain.image(F))
    rng = np.random.default_rng(np.random.SeedSequence([seed, n]))
    return np.array([
        losses[minimax(draw_sample(chain, n, rng, bernoulli=True), chain.gamma, F, losses)] for _ in range(runs)
    ])  # fmt: skip


BETA, GAMMA, DELTA, FLOOR = 0.5, 0.8, 0.1, 1e-6
LENGTH = chain_length(BETA, GAMMA, 5.0, FLOOR / 10)


def _bound_check(budget: Budget, share: float = 1.0, n: int = 2_000) -> Probability:
    """Data sets on which the worst minimiser is above the bound with the class's own incompleteness."""
    runs = {"smoke": 200, "standard": 1_000}.get(budget.name, 5_000)
    chain, F = chain_class(BETA, LENGTH)
    beta = finite_incompleteness(chain, F, floor=FLOOR).beta
    bound = share * bellman_error_bound(5.0, n, len(F), beta, DELTA)
    return probability(int((worst_errors(BETA, LENGTH, n, runs, budget.seed) > bound).sum()), runs, DELTA)


SIZES = (250, 1_000, 4_000, 16_000)


def _floor_check(budget: Budget, length: int = LENGTH) -> Probability:
    """Data sets of 16 000 tuples whose worst minimiser is above a twentieth of the largest Bellman error."""
    runs = {"smoke": 200, "standard": 400}.get(budget.name, 2_000)
    chain, F = chain_class(BETA, length)
    limit = float(chain.norm(F - chain.image(F)).max()) / 20
    failures = (worst_errors(BETA, length, SIZES[-1], runs, budget.seed) > limit).sum()
    return probability(int(failures), runs, DELTA)


def _amplified_check(budget: Budget, exponent: float = 1.0) -> Rate:
    r"""Bellman error of the worst minimiser over :math:`1/(1-\beta)`, one state, the answer beyond the image.

    A mean reward that errs by eps = 0.01; the class reaches as far as the theorem allows.  Nothing is drawn.
    """
    eps, gamma, x, found = 0.01, 0.6, np.array([2.0, 4.0, 8.0, 16.0]), []
    for beta in 1 - 1 / x:
        top = 2 * eps / ((1 - beta) * (1 - gamma))
        F = opposite_chain(gamma, beta, top, 400)[:, 0]
        image = gamma * F + eps  # the empirical one; the true one is gamma F
        criterion = (F - image) ** 2 - ((F[None] - image[:, None]) ** 2).min(axis=1)
        tied = criterion <= criterion.min() + 1e-12
        found.append(abs(F - gamma * F)[tied].max())
    return settled_rate(x, found, exponent=exponent, side="at least", resolution=0.1)


def _size_check(budget: Budget, exponent: float = -0.5) -> Rate:
    """Bellman error of the worst minimiser over the number of tuples, in means of ten data sets."""
    runs, seed, sizes = 1_000, int(budget.rng("data").integers(2**31)), (250, 4_000, 64_000)
    y = np.array([worst_errors(BETA, LENGTH, n, runs, seed).reshape(-1, 10).mean(axis=1) for n in sizes]).T
    return rate(sizes, y, exponent=exponent, side="at most", rng=budget.rng("bootstrap"), resolution=0.1)


# One feature


def _weight_errors(share: float, n: int, runs: int, rng: np.random.Generator) -> Array:
    """Errors of LSTD's weight on the two states, with rewards that are -1 or 1 by a fair coin, float[runs]."""
    first = rng.binomial(n, share, size=runs)
    noise = 2 * rng.binomial(first, 0.5) - first + 2 * (2 * rng.binomial(n - first, 0.5) - (n - first))
    return np.asarray(noise / (first * (1 - 1.9) + (n - first) * 2 * (2 - 1.9)))


def _beta_gap(share: float, beta: float) -> float:
    return incompleteness(moments(*two_states(share))) - beta


def _linear_check(budget: Budget, exponent: float = 0.5) -> Rate:
    r"""LSTD's Bellman error over :math:`1/(1-\beta)`: laws of the data on the side where A is negative."""
    x, rng, columns = np.array([2.0, 4.0, 8.0, 16.0]), budget.rng("logs"), []
    for target in (1 - 1 / x).tolist():
        share = float(root_scalar(_beta_gap, args=(target,), bracket=(SINGULAR + 1e-6, 1 - 1e-9)).root)
        scale = float(np.sqrt(moments(*two_states(share)).G[0, 0]))
        errors = scale * _weight_errors(share, 4_000, 2_000, rng)
        columns.append(np.sqrt((errors**2).reshape(20, -1).mean(axis=1)))
    y = np.array(columns).T
    return rate(x, y, exponent=exponent, side="at most", rng=budget.rng("bootstrap"), resolution=0.1)


SHARE, TUPLES = 0.02, 10_000_000  # A is positive: the weights of the best answers stay in [-1, 1]


def _convex_check(budget: Budget, share: float = 1.0) -> Probability:
    """Data sets on which LSTD, a minimiser if its weight lies in [-1, 1], is above the bound for convex classes."""
    runs = {"smoke": 400, "standard": 2_000}.get(budget.name, 20_000)
    m, span = moments(*two_states(SHARE)), 2 * (1 + 1.9)  # f and r + 0.95 f(z') lie in [-2.9, 2.9]
    entropy = log(ceil(2 / (span / (10 * TUPLES))))  # weights in steps of the scale, as features are at most 2
    bound = share * convex_bellman_error_bound(span, TUPLES, entropy, incompleteness(m), DELTA)
    weights = np.clip(_weight_errors(SHARE, TUPLES, runs, budget.rng("logs")), -1, 1)
    errors = abs(weights) * float(np.sqrt(m.G[0, 0]))
    return probability(int((errors > bound).sum()), runs, DELTA)


def _interval_check(budget: Budget, share: float = 1.0) -> Probability:
    """Logs of 400 tuples whose interval misses the value of the two states, Bernoulli rewards, beta 0.94."""
    runs = {"smoke": 400, "standard": 2_000}.get(budget.name, 20_000)
    gamma, phi = 0.5, np.array([[1.0], [2.0]])
    P, q = np.array([[0.0, 1.0], [0.0, 1.0]]), 0.6 * phi[:, 0]
    chain = PairChain(P, q - gamma * P @ q, gamma, np.array([0.5, 0.5]), np.array([1.0, 0.0]))
    rng, failures = budget.rng("logs"), 0
    for _ in range(runs):
        m, b = sample_moments(chain, phi, draw_sample(chain, 400, rng, bernoulli=True))
        value, radius = float(m.start @ solve_least_squares(m.A, b)), lstd_radius(m, 400, 2.0, DELTA)
        failures += abs(value - float(chain.start @ chain.q)) > share * radius
    return probability(int(failures), runs, DELTA)


CLAIMS = (
    claim(
        id="realizability/finite-sample-bound",
        source="Theorem 1 (finite classes; constant 5 ours)",
        statement=r"With probability $1-\delta$ every minimiser has $\|\hat f-T\hat "
        r"f\|_\mu\le\frac{5V}{1-\beta}\sqrt{\log(2|F|/\delta)/n}$.",
        kind=Probability,
        premises=(FINITE, f"{LENGTH + 1} functions, 2000 tuples, ties broken by an adversary", f"$\\delta={DELTA}$"),
        check=_bound_check,
        control=partial(_bound_check, share=0.005),
        control_statement="the same with 1/200 of it: the bound is loose by more than a hundred.",
    ),
    claim(
        id="realizability/no-floor",
        source="abstract (free of inherent Bellman error)",
        statement="No floor remains: after 16 000 tuples the worst minimiser has a Bellman error below a "
        "twentieth of the largest in the class, with probability 0.9.",
        kind=Probability,
        premises=(FINITE, "an incomplete class, beta below 1 down to a Bellman error of 1e-6"),
        check=_floor_check,
        control=partial(_floor_check, length=12),
        control_statement="the same for a chain that ends early, whose last element has no better answer (beta 1).",
    ),
    claim(
        id="realizability/rate-in-tuples",
        source="Theorem 1 (the rate in n)",
        statement=r"The Bellman error of the worst minimiser falls as $n^{-1/2}$ at least.",
        kind=Rate,
        premises=(
            FINITE,
            "ties broken by an adversary",
            "n from 250 to 64 000, 1000 data sets each (400 had not decided; the claim then held at three new seeds)",
        ),
        check=_size_check,
        control=partial(_size_check, exponent=-1.0),
        control_statement="it falls as $n^{-1}$ at least.",
    ),
    claim(
        id="realizability/amplification-is-real",
        source="Theorem 1 (the factor $1/(1-\\beta)$)",
        statement=r"Finite classes can pay the whole factor $\frac{1}{1-\beta}$.",
        kind=Rate,
        premises=("one state, a class whose answers lie beyond the images", "beta from 1/2 to 15/16"),
        check=_amplified_check,
        control=partial(_amplified_check, exponent=1.5),
        control_statement=r"they can pay $(1-\beta)^{-1.5}$.",
    ),
    claim(
        id="realizability/square-root-for-linear",
        source="ours, on Theorem 1 for linear classes",
        statement=r"Linear classes pay at most $(1-\beta)^{-1/2}$.",
        kind=Rate,
        premises=("two states, one feature; beta from 1/2 to 15/16", "20 means of 100 logs of 4000 tuples"),
        check=_linear_check,
        control=partial(_linear_check, exponent=0.2),
        control_statement=r"they pay at most $(1-\beta)^{-0.2}$.",
    ),
    claim(
        id="realizability/convex-bound",
        source="Theorem 1, for convex classes (ours)",
        statement=r"With probability $1-\delta$ the minimisers of a convex class with covering number $N$ have "
        r"$\|\hat f-T\hat f\|_\mu\le\frac{5V}{\sqrt{1-\beta^2}}\sqrt{\log(2N^2/\delta)/n}$.",
        kind=Probability,
        premises=("two states, one feature, weights in [-1, 1]; ten million tuples", f"$\\delta={DELTA}$"),
        check=_convex_check,
        control=partial(_convex_check, share=0.002),
        control_statement="the same with 1/500 of it: the bound is loose by more than a hundred.",
    ),
    claim(
        id="realizability/lstd-interval",
        source="ours, for users' logs",
        statement=r"With probability $1-\delta$ LSTD's value is within "
        r"$\sqrt{\nu'(\hat A'\hat\Sigma^{-1}\hat A)^{-1}\nu}\,\frac{V}{2\sqrt n}\sqrt{d+2\sqrt{dt}+2t}$, "
        r"$t=\log\frac1\delta$.",
        kind=Probability,
        premises=(LINEAR, "independent tuples", "two states, 400 tuples, Bernoulli rewards"),
        check=_interval_check,
        control=partial(_interval_check, share=0.15),
        control_statement="within 0.15 of that.",
    ),
)
