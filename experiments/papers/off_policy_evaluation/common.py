"""What the sections share: the entry of the catalogue, and instances small enough for every log to be written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from claimlab.checks import Array
from claimlab.theory.claims import Claim, Paper
from claimlab.theory.off_policy import Tables
from claimlab.theory.spaces import Box, Simplex

PAPER = Paper(
    slug="off-policy-evaluation",
    title="The classic statements on off-policy evaluation",
    authors="Horvitz & Thompson 1952; Dudik et al. 2011; Jiang & Li 2016; Farajtabar et al. 2018; and others",
    venue="JASA, ICML, COLT, NeurIPS, JRSS B",
    arxiv="",
    tier="theory-checkable",
)

claim = partial(Claim, paper=PAPER)

BANDIT = "independent rounds, finitely many contexts and actions, rewards in {0, 1}"
COVERED = "the logging policy takes every action"
PROPENSITIES = "known propensities"
STAGED = "finite horizon, states and actions; deterministic rewards"
RATIONAL = "probabilities are fractions with denominators of at most 40; expectations are sums over all logs, exact"

PARTS, MARKS = 24, 12  # of a probability law and of a number in [0, 1], as fractions


def law(p: Array, floor: int = 0) -> Any:
    """Fractions near the rows of `p`, float[..., K], each with at least `floor` parts: readable, and exactly a law."""
    counts = np.rint(PARTS * p).astype(int) + floor
    counts[..., 0] += counts.sum(axis=-1) == 0
    total = counts.sum(axis=-1, keepdims=True)
    return _fractions(counts, np.broadcast_to(total, counts.shape))


def marks(x: Array) -> Any:
    """Fractions near numbers in [0, 1]."""
    counts = np.rint(MARKS * x).astype(int)
    return _fractions(counts, np.full(counts.shape, MARKS))


def _fractions(over: Any, under: Any) -> Any:
    out = np.empty(np.shape(over), dtype=object)
    for index, value in np.ndenumerate(over):
        out[index] = Fraction(int(value), int(under[index]))
    return out


class Problem(NamedTuple):
    """A contextual bandit with two policies, in Fractions."""

    context: Any  # [X]
    mu: Any  # [X, A]
    pi: Any  # [X, A]
    means: Any  # [X, A], of rewards 0 and 1

    @property
    def value(self) -> Fraction:
        return Fraction((self.context[:, None] * self.pi * self.means).sum())

    def rounds(self) -> Iterator[tuple[Fraction, int, int, int]]:
        """Every round that can be logged, with its probability."""
        for (x, a), r in product(np.ndindex(self.mu.shape), (0, 1)):
            p = self.context[x] * self.mu[x, a] * (self.means[x, a] if r else 1 - self.means[x, a])
            if p > 0:
                yield p, x, a, r

    def moments(self, term: Callable[[int, int, int], Any]) -> tuple[Fraction, Fraction]:
        """Mean and variance of a term of one round: those of an estimator that is a mean, times n for the latter."""
        first = second = Fraction(0)
        for p, x, a, r in self.rounds():
            t = term(x, a, r)
            first, second = first + p * t, second + p * t * t
        return first, second - first * first

    def ips(self, x: int, a: int, r: int) -> Any:
        return self.pi[x, a] / self.mu[x, a] * r

    def dr(self, x: int, a: int, r: int, *, q: Any, believed: Any = None) -> Any:
        mu = self.mu if believed is None else believed
        return (self.pi[x] * q[x]).sum() + self.pi[x, a] / mu[x, a] * (r - q[x, a])


SIZES = {"X": (1, 2), "A": (2, 3)}
FIELDS = {"context": Simplex("X"), "mu": Simplex("XA"), "pi": Simplex("XA"), "means": Box("XA", 0, 1)}


def problem(context: Array, mu: Array, pi: Array, means: Array) -> Problem:
    """With a logging policy that takes every action."""
    return Problem(law(context), law(mu, 1), law(pi), marks(means))


def uncovering(context: Array, mu: Array, pi: Array, means: Array) -> Problem:
    """With one that may leave out some."""
    return Problem(law(context), law(mu), law(pi), marks(means))


EPISODES = {"H": (1, 3), "S": (1, 2), "A": (2, 2)}
STAGES = {
    "P": Simplex("HSAS"),
    "r": Box("HSA", 0, 1),
    "initial": Simplex("S"),
    "pi": Simplex("HSA"),
    "mu": Simplex("HSA"),
}


def stages(P: Array, r: Array, initial: Array, pi: Array, mu: Array) -> Tables:
    """A staged MDP and two policies in Fractions, the logging policy positive."""
    return Tables(law(P), marks(r), law(initial), law(pi), law(mu, 1))


def inner_stages(P: Array, r: Array, initial: Array, pi: Array, mu: Array) -> Tables:
    """The same with every transition of positive probability."""
    return Tables(law(P, 1), marks(r), law(initial, 1), law(pi), law(mu, 1))


Trajectory = list[tuple[int, int]]


def trajectories(t: Tables) -> Iterator[tuple[Any, Trajectory]]:
    """Every trajectory of the logging policy, as pairs of state and action, with its probability."""

    def grow(p: Any, past: Trajectory, s: int) -> Iterator[tuple[Any, Trajectory]]:
        h = len(past)
        for a in range(t.r.shape[2]):
            q = p * t.mu[h, s, a]
            if h + 1 == len(t.r):
                yield q, [*past, (s, a)]
                continue
            for nxt in range(t.r.shape[1]):
                if t.P[h, s, a, nxt] > 0:
                    yield from grow(q * t.P[h, s, a, nxt], [*past, (s, a)], nxt)

    for s in range(t.r.shape[1]):
        if t.initial[s] > 0:
            yield from grow(t.initial[s], [], s)


def trajectory_moments(t: Tables, term: Callable[[Trajectory], Any]) -> tuple[Any, Any]:
    """Mean and variance of a term of one episode."""
    first = second = Fraction(0)
    for p, path in trajectories(t):
        x = term(path)
        first, second = first + p * x, second + p * x * x
    return first, second - first * first


def weights(t: Tables, path: Trajectory) -> list[Any]:
    r""":math:`\rho_{0:h}` for each step."""
    out, rho = [], Fraction(1)
    for h, (s, a) in enumerate(path):
        rho = rho * t.pi[h, s, a] / t.mu[h, s, a]
        out.append(rho)
    return out
