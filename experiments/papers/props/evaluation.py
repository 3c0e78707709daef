"""Monte Carlo estimates from adaptive data: bias, mean squared error, gradients; on bandits exactly, on a gridworld."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache, partial
from math import inf

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.props.common import FULL, ROS_PAPER, TABULAR, Inner, claim, path
from claimlab.mdps.collection import ROS, Sampler, Systematic, collect, count_law, dealt
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison, Identity, Inequality, Outcome, comparison
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.sampling_error import fundamental
from claimlab.theory.spaces import Box, Space

GREEDY, ON_POLICY, DEALT = ROS(inf), ROS(0.0), Systematic()
BANDIT = "a bandit; the estimate is the mean reward of the data"

# Bias, in rationals

RATIONAL = Space(
    {"A": (2, 4)},
    {"parts": Box("A", 1, 6, step=1), "q": Box("A", 0, 2, step=1), "n": Box("", 1, 12, step=1)},
)


def greedy_counts(law: list[Fraction], n: int) -> list[tuple[tuple[int, ...], Fraction]]:
    """The counts that ROS with an infinite step may have after `n` rounds: all chance is in the first action."""
    out = []
    for first, chance in enumerate(law):
        counts = [int(a == first) for a in range(len(law))]
        for m in range(1, n):
            errors = [c - m * p for c, p in zip(counts, law)]
            counts[errors.index(min(errors))] += 1
        out.append((tuple(counts), chance))
    return out


def bias(law: list[Fraction], q: list[Fraction], n: int, sampler: str) -> Fraction:
    """E of the mean reward minus the value, exactly."""
    counts = greedy_counts(law, n) if sampler == "greedy" else dealt(law, n)
    mean = sum((chance * c * r / n for row, chance in counts for c, r in zip(row, q)), Fraction(0))
    return mean - sum((p * r for p, r in zip(law, q)), Fraction(0))


def _rational(parts: Array, q: Array, n: Array) -> tuple[list[Fraction], list[Fraction], int]:
    return [Fraction(int(x), int(parts.sum())) for x in parts], [Fraction(int(x)) for x in q], int(n)


def _unbiased(parts: Array, q: Array, n: Array, *, sampler: str) -> Trial:
    return Trial(float(abs(bias(*_rational(parts, q, n), sampler))), 0.0)


def _unbiased_check(budget: Budget, sampler: str = "greedy") -> Identity:
    return equate(RATIONAL, partial(_unbiased, sampler=sampler), budget, proof="rational")


def _bias_order(parts: Array, q: Array, n: Array, *, power: int) -> Trial:
    law, gain, rounds = _rational(parts, q, n)
    limit = (max(gain) - min(gain)) * (len(law) - 1) / Fraction(rounds) ** power
    return Trial(float(abs(bias(law, gain, rounds, "greedy"))), float(limit), 4 * EPS)


def _bias_order_check(budget: Budget, power: int = 1) -> Inequality:
    return attack(RATIONAL, partial(_bias_order, power=power), budget.with_instances(3 * budget.instances))


# Mean squared error, exactly


def bandit_mse(sampler: Sampler, law: Array, q: Array, variance: Array, n: int) -> float:
    """E of the squared error of the mean reward of `n` rounds, exactly."""
    counts, p = count_law(sampler, law, n)
    return float(p @ ((counts / n - law) @ q) ** 2 + p @ (counts @ variance) / n**2)


def on_policy_mse(law: Array, q: Array, variance: Array, n: int) -> float:
    return float(law @ (q - law @ q) ** 2 + law @ variance) / n


MSE = Space(
    {"A": (2, 3)},
    {"law": Inner("A", 0.01), "q": Box("A", 0, 1), "variance": Box("A", 0, 1), "n": Box("", 1, 20, step=1)},
)
FOUR_AND_MORE = Space({"A": (2, 6)}, MSE.fields)


def _never_worse(law: Array, q: Array, variance: Array, n: Array, *, sampler: Sampler) -> Trial:
    found, stated = bandit_mse(sampler, law, q, variance, int(n)), on_policy_mse(law, q, variance, int(n))
    return Trial(found, stated, 256 * EPS * int(n))


def _never_worse_check(budget: Budget, sampler: Sampler = GREEDY) -> Inequality:
    space = FOUR_AND_MORE if isinstance(sampler, Systematic) else MSE
    return attack(space, partial(_never_worse, sampler=sampler), budget.with_instances(3 * budget.instances))


def _noise(law: Array, q: Array, variance: Array, n: Array, *, sampler: Sampler) -> Trial:
    """n times the MSE against the reward noise and what is of order 1/n."""
    rounds, A = 10 * int(n), len(law)
    limit = law @ variance + ((A - 1) ** 2 * np.ptp(q) ** 2 + (A - 1) * np.ptp(variance)) / rounds
    return Trial(rounds * bandit_mse(sampler, law, q, variance, rounds), float(limit), 256 * EPS * rounds)


def _noise_check(budget: Budget, sampler: Sampler = GREEDY) -> Inequality:
    space = Space(MSE.sizes, {**MSE.fields, "law": Inner("A", 0.1)})
    return attack(space, partial(_noise, sampler=sampler), budget)


def _gradient(law: Array, q: Array, *, sampler: Sampler) -> Trial:
    """The largest n times the L1 error of the policy gradient in the logits, from exact action values."""
    n = np.arange(1, 301)
    off = path(sampler, tuple(law.tolist()), 300) - n[:, None] * law
    error = off * q - (off @ q)[:, None] * law
    return Trial(float(abs(error).sum(axis=1).max()), 4 * (len(law) - 1) * float(abs(q).max()), 1e5 * EPS)


def _gradient_check(budget: Budget, sampler: Sampler = GREEDY) -> Inequality:
    space = Space({"A": (2, 5)}, {"law": Inner("A", 0.01), "q": Box("A")})
    return attack(space, partial(_gradient, sampler=sampler), budget.with_instances(2 * budget.instances))


# The gridworld of ROS: 4 x 4, trap in its middle, +10 in the corner; an end leads back to the start

SIDE, STEPS = 4, 1024
RELEASED = ROS(1e4)


@lru_cache(maxsize=1)
def grid() -> tuple[Array, Array, Array, Array]:
    """Transitions, rewards, whether a move ends the episode, and the target: right or down, 0.4 each."""
    moves, S = ((-1, 0), (0, 1), (1, 0), (0, -1)), SIDE * SIDE
    P, r, ends = np.zeros((S, 4, S)), np.full((S, 4), -1.0), np.zeros((S, 4))
    for s in range(S):
        for a, (down, right) in enumerate(moves):
            row, column = s // SIDE + down, s % SIDE + right
            to = row * SIDE + column if 0 <= row < SIDE and 0 <= column < SIDE else s
            r[s, a] = {5: -10.0, 7: 1.0, 15: 10.0}.get(to, -1.0)
            ends[s, a] = to == 15
            P[s, a, 0 if to == 15 else to] = 1.0
    return P, r, ends, np.tile([0.1, 0.4, 0.4, 0.1], (S, 1))


def grid_value() -> float:
    """The target's expected return of an episode."""
    P, r, ends, pi = grid()
    d, _ = fundamental(np.einsum("sa,sat->st", pi, P))
    return float(np.einsum("s,sa,sa->", d, pi, r) / np.einsum("s,sa,sa->", d, pi, ends))


@lru_cache(maxsize=16)
def grid_errors(sampler: Sampler, runs: int, seed: int, times: tuple[int, ...] = (STEPS,)) -> tuple[Array, Array]:
    """Errors of the return, total reward over episodes, float[runs, C], and episodes."""
    P, r, ends, pi = grid()
    counts = collect(sampler, P, pi, times, runs=runs, seed=seed, threads=1)
    episodes = (counts * ends).sum(axis=(2, 3))
    return (counts * r).sum(axis=(2, 3)) / np.maximum(episodes, 1) - grid_value(), episodes


def _grid_check(budget: Budget, sampler: Sampler = RELEASED, noise: float = 0.0) -> Comparison:
    """Half the squared error of on-policy sampling above that of the sampler, in units of on-policy sampling's."""
    runs, rng = min(budget.runs // 4, 2000), budget.rng("runs")
    seed, draws = int(rng.integers(2**31)), rng.normal(size=(2, runs))

    def squares(kind: Sampler, draw: Array) -> Array:
        errors, episodes = (x[:, 0] for x in grid_errors(kind, runs, seed))
        noisy = errors + noise * np.sqrt(STEPS) / np.maximum(episodes, 1) * draw
        return np.asarray((noisy**2).reshape(100, -1).mean(axis=1))

    base, other = squares(ON_POLICY, draws[0]), squares(sampler, draws[1])
    return comparison(base / 2 / base.mean(), other / base.mean(), effect=0.0, rng=budget.rng("bootstrap"))


GRIDWORLD = (
    "the 4 x 4 gridworld with a fixed stochastic target",
    f"{STEPS} steps; paired seeds; a hundred means of runs",
)
CLAIMS = (
    claim(
        id="props/mse-never-larger",
        source=f"{ROS_PAPER}, abstract (lower mean squared error), as if for every problem",
        statement="Monte Carlo estimates from ROS with an infinite step have no larger mean squared error than from "
        "on-policy sampling.",
        kind=Inequality,
        premises=(BANDIT, FULL, "two or three actions, rewards of any variance up to 1"),
        check=_never_worse_check,
        control=partial(_never_worse_check, sampler=DEALT),
        control_statement="from systematic sampling they have not.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="props/systematic-never-worse",
        source=f"ours, on {ROS_PAPER}",
        statement="From systematic sampling they have no larger mean squared error than from on-policy sampling, on "
        "every bandit and at every n.",
        kind=Inequality,
        premises=(BANDIT, "up to six actions"),
        check=partial(_never_worse_check, sampler=DEALT),
        control=_never_worse_check,
        control_statement="from ROS with an infinite step they have not.",
    ),
    claim(
        id="props/unbiased",
        source=f"ours, on {ROS_PAPER} (the data are taken for on-policy)",
        statement="The Monte Carlo estimate from ROS with an infinite step is unbiased, as on-policy sampling's is.",
        kind=Identity,
        premises=(BANDIT, FULL),
        check=_unbiased_check,
        control=partial(_unbiased_check, sampler="systematic"),
        control_statement="from systematic sampling it is.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="props/bias-of-order-one-over-n",
        source=f"ours, on {ROS_PAPER}",
        statement=r"Its bias is at most $\frac{A-1}{n}(\max q-\min q)$.",
        kind=Inequality,
        premises=(BANDIT, FULL),
        check=_bias_order_check,
        control=partial(_bias_order_check, power=2),
        control_statement=r"it is at most $\frac{A-1}{n^2}(\max q-\min q)$.",
    ),
    claim(
        id="props/systematic-unbiased",
        source=f"ours, on {ROS_PAPER}",
        statement="Systematic sampling over a binary tree of the actions is unbiased at every n.",
        kind=Identity,
        premises=(BANDIT,),
        check=partial(_unbiased_check, sampler="systematic"),
        control=_unbiased_check,
        control_statement="so is ROS with an infinite step.",
    ),
    claim(
        id="props/noise-remains",
        source=f"ours, on {ROS_PAPER}",
        statement=r"From ROS with an infinite step $n\,\mathrm{MSE}\le E_\pi\sigma^2+O(1/n)$: what is saved is "
        r"$\mathrm{Var}_\pi(q)$ of $\mathrm{Var}_\pi(q)+E_\pi\sigma^2$, and nothing of the rewards' noise.",
        kind=Inequality,
        premises=(BANDIT, "two or three actions, each with probability 0.1 at least"),
        check=_noise_check,
        control=partial(_noise_check, sampler=ON_POLICY),
        control_statement="so it is from on-policy sampling.",
    ),
    claim(
        id="props/gradient-error",
        source="Section on PROPS (noisy gradients); the bound is ours",
        statement=r"With exact action values the policy gradient from greedy data is off by $\frac{4(A-1)\max|q|}{n}$ "
        "at most (L1), for certain.",
        kind=Inequality,
        premises=(TABULAR, FULL, "n up to 300"),
        check=_gradient_check,
        control=partial(_gradient_check, sampler=ON_POLICY),
        control_statement="so it is from on-policy data.",
    ),
    claim(
        id="props/gridworld-mse",
        source=f"{ROS_PAPER}, abstract and gridworld (lower mean squared error)",
        statement="On the gridworld the released ROS saves more than half of the mean squared error.",
        kind=Comparison,
        premises=(*GRIDWORLD, r"averaged gradients, $\alpha=10^4$"),
        check=_grid_check,
        control=partial(_grid_check, noise=30.0),
        control_statement="so it does when every reward has noise of standard deviation 30.",
    ),
    claim(
        id="props/gridworld-systematic",
        source=f"ours, on {ROS_PAPER}",
        statement="So does systematic sampling with an offset for every state.",
        kind=Comparison,
        premises=GRIDWORLD,
        check=partial(_grid_check, sampler=DEALT),
        control=partial(_grid_check, sampler=DEALT, noise=30.0),
        control_statement="so it does when every reward has noise of standard deviation 30.",
    ),
)
