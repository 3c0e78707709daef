"""What adaptive sampling does to the distribution of the states: transitions keep their noise, actions lose theirs."""

from __future__ import annotations

from functools import lru_cache, partial
from math import inf

import numpy as np
from numpy.typing import ArrayLike

from claimlab.checks import Array
from claimlab.experiments.papers.props.common import FULL, ROS_PAPER, Inner, claim, mixed
from claimlab.mdps.collection import ROS, Sampler, collect
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison, Inequality, Rate, comparison, rate
from claimlab.theory.exact_comparisons import settled_rate
from claimlab.theory.falsify import Trial, attack
from claimlab.theory.sampling_error import fundamental, total_variation, visitation_bound, visitation_covariance
from claimlab.theory.spaces import Box, Space

GREEDY, ON_POLICY = ROS(inf), ROS(0.0)
LENGTH = 300


def chain_of(P: Array, pi: Array) -> Array:
    return np.asarray(np.einsum("sa,sat->st", pi, P))


def shares(sampler: Sampler, P: Array, pi: Array, times: ArrayLike, runs: int, seed: int) -> Array:
    """Shares of the states after each of `times`, float[runs, C, S]."""
    counts = collect(sampler, P, pi, times, runs=runs, seed=seed, threads=1)
    return np.asarray(counts.sum(axis=3) / np.asarray(times)[:, None])


def _deterministic(to: Array, law: Array, *, sampler: Sampler) -> Trial | None:
    """The largest ratio over time of TV to the bound, on a chain whose transitions are functions of state and
    action."""
    S = len(law)
    P, pi = np.eye(S)[np.minimum((to * S).astype(int), S - 1)], law
    try:
        d, _ = fundamental(chain_of(P, pi))
    except ValueError:  # more than one recurrent class
        return None
    n = np.arange(1, LENGTH + 1)
    found = total_variation(shares(sampler, P, pi, n, 1, 0)[0], d)
    return Trial(float((n * found).max()), visitation_bound(P, pi, 1), 1e6 * EPS, trivial=float(LENGTH))


def _deterministic_check(budget: Budget, sampler: Sampler = GREEDY) -> Inequality:
    space = Space({"S": (2, 5), "A": (2, 3)}, {"to": Box("SA", 0, 0.999), "law": Inner("SA", 0.02)})
    cycle = {"to": np.tile([[0.3], [0.5], [0.7], [0.9], [0.1]], 2), "law": np.full((5, 2), 0.5)}  # periodic
    return attack(
        space, partial(_deterministic, sampler=sampler), budget.with_instances(2 * budget.instances), hard=[cycle]
    )


# Rates, on random MDPs

TIMES = 2 ** np.arange(6, 15)
S, A = 5, 3


def _world(rng: np.random.Generator, kind: str) -> tuple[Array, Array, Array]:
    """Transitions, policy and the long-run shares."""
    pi = np.array([mixed(row, 0.05) for row in rng.dirichlet(np.ones(A), S)])
    if kind == "split":  # from the first state to one of the others, where one stays
        P = np.tile(np.eye(S)[:, None], (1, A, 1))
        P[0] = np.eye(S)[1 : A + 1]
        return P, pi, np.r_[0, pi[0], np.zeros(S - A - 1)]
    P = rng.dirichlet(np.ones(S), (S, A))
    if kind == "deterministic":  # a ring: the first action goes on, the others stay
        P = np.tile(np.eye(S)[:, None], (1, A, 1))
        P[:, 0] = np.roll(np.eye(S), 1, axis=1)
    return P, pi, fundamental(chain_of(P, pi))[0]


@lru_cache(maxsize=8)
def _curves(kind: str, seed: int) -> Array:
    """TV to the long-run shares over time under greedy sampling, each of 100 runs in a random MDP of its own."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(100):
        P, pi, d = _world(rng, kind)
        rows.append(total_variation(shares(GREEDY, P, pi, TIMES, 1, i)[0], d))
    return np.array(rows)


def _rate_check(budget: Budget, kind: str = "stochastic", side: str = "at most") -> Rate:
    """In a split world the shares stay as they are after the first step, so that there is no noise in the slope, 0."""
    y = _curves(kind, int(budget.rng("worlds").integers(2**31)))
    if kind == "split":
        return settled_rate(TIMES, y[0], exponent=-0.5, side=side, resolution=0.1)
    return rate(TIMES, y, exponent=-0.5, side=side, rng=budget.rng("bootstrap"), resolution=0.1)


RING = np.zeros((4, 2, 4))  # the first action goes on, the second stays; both are disturbed
for s in range(4):
    RING[s, 0] = 0.8 * np.eye(4)[(s + 1) % 4] + 0.05
    RING[s, 1] = 0.8 * np.eye(4)[s] + 0.05
RING_POLICY = np.array([[0.5, 0.5], [0.3, 0.7], [0.6, 0.4], [0.8, 0.2]])


MEANS = 100  # of as many runs each are compared: the bootstrap's cost grows with its samples


def _covariance_check(budget: Budget, factor: float = 1.1) -> Comparison:
    """n times the squared distance of the shares on the ring, below `factor` times the trace of the covariance's
    law."""
    n, runs = 1024, 4 * min(budget.runs, 10_000)
    d, _ = fundamental(chain_of(RING, RING_POLICY))
    found = shares(GREEDY, RING, RING_POLICY, np.array([n]), runs, int(budget.rng("runs").integers(2**31)))
    squares = (n * ((found[:, 0] - d) ** 2).sum(axis=1)).reshape(MEANS, -1).mean(axis=1)
    stated = factor * float(np.trace(visitation_covariance(RING, RING_POLICY, greedy=True)))
    return comparison(np.full(len(squares), stated), squares, effect=0.0, rng=budget.rng("bootstrap"))


CLAIMS = (
    claim(
        id="props/visits-converge",
        source="Proposition on tabular state visitation (greedy sampling), and its rate (ours)",
        statement=r"Under greedy sampling the states' shares converge to $d_\pi$, as $n^{-1/2}$ at least.",
        kind=Rate,
        premises=("finite MDPs with one recurrent class", FULL, "100 random MDPs, n from 64 to 16384"),
        check=_rate_check,
        control=partial(_rate_check, kind="split"),
        control_statement="the same with several recurrent classes.",
    ),
    claim(
        id="props/visits-no-faster",
        source=f"ours, on {ROS_PAPER} (the data converge faster)",
        statement=r"With random transitions greedy sampling brings them no faster than $n^{-1/2}$.",
        kind=Rate,
        premises=("finite MDPs with one recurrent class", FULL, "100 random MDPs, n from 64 to 16384"),
        check=partial(_rate_check, side="at least"),
        control=partial(_rate_check, kind="deterministic", side="at least"),
        control_statement="nor with deterministic transitions.",
    ),
    claim(
        id="props/visits-deterministic",
        source="ours, on the proposition on state visitation",
        statement=r"With deterministic transitions $TV(d_D,d_\pi)\le\frac{(1+S(A-1))\tau}{n}$ at all times, for "
        r"certain, $\tau=\max_{s,t}\frac12\|Z_s-Z_t\|_1$, $Z=(I-P_\pi+1d_\pi^\top)^{-1}$.",
        kind=Inequality,
        premises=("one recurrent class", FULL, f"greedy sampling; n up to {LENGTH}"),
        check=_deterministic_check,
        control=partial(_deterministic_check, sampler=ON_POLICY),
        control_statement="the same for on-policy sampling.",
    ),
    claim(
        id="props/visits-covariance",
        source="ours, on the proposition on state visitation",
        statement=r"Under greedy sampling $n\,\mathrm{Cov}(d_D)\to Z^\top E[\mathrm{Cov}(P(\cdot|s,a))]Z$: what the "
        "actions add is gone, what the transitions do is all there.",
        kind=Comparison,
        premises=(
            "a disturbed ring of four states",
            "its trace at n = 1024, from above within 10 %",
            "a hundred means of runs",
        ),
        check=_covariance_check,
        control=partial(_covariance_check, factor=0.9),
        control_statement="within 10 % from below: it is less than 0.9 times that.",
    ),
)
