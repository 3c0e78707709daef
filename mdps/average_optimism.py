r"""Optimism over rectangular sets of transitions: UCRL2 and KL-UCRL.

Both plan by extended value iteration, :math:`u \leftarrow \max_a r + \max_{q \in C(s,a)} q \cdot u`, at the start of an
epoch, which ends when some pair has been visited as often within it as before.  The inner maximum is that of a robust
MDP (:mod:`claimlab.mdps.balls`) with nature on our side.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import e, exp, inf, log, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.average import DAMPING
from claimlab.mdps.average_learning import AverageLearner
from claimlab.mdps.balls import L1, Ball
from claimlab.mdps.beliefs import mean
from claimlab.mdps.tabular import EPS
from claimlab.native import kernel

SWEEPS = 100_000  # of an extended value iteration, at most
STEPS = 60  # of the search for a multiplier


@dataclass(frozen=True)
class ReverseKL(Ball):
    r""":math:`\sum_t p(t) \log\frac{p(t)}{q(t)} \le \rho`: q may put mass where `p` has none.

    The minimiser is proportional to :math:`p/(v - \nu)`, or has mass in a lowest state that `p` does not reach besides
    (Filippi, Cappe & Garivier 2010, Algorithm 2).
    """

    radius: Any = 0.0

    def answer(self, p: Array, v: Array, order: Ints, radius: float, q: Array) -> float:
        return _lean(p, v, order, radius, q)


@kernel
def _lean(p: Array, v: Array, order: Ints, radius: float, q: Array) -> float:
    """Find log(y), y the distance of nu below the lowest state of the support, by the Illinois method.

    With x the values scaled to [0, 1] and :math:`f(y) = KL(p, q_y)`, decreasing in y, a bracket f(outside) > radius
    >= f(inside) holds the minimum between the values at its ends.
    """
    n, lowest = order.size, order[order.size - 1]
    bottom = float(v[lowest])
    span = float(v[order[0]]) - bottom
    if span <= 0 or radius <= 0:
        return 0.0
    floor, unit = inf, 8 * (n + 8) * EPS * max(abs(float(v[order[0]])), abs(bottom))
    for i in range(n):
        if p[i] > 0:
            floor = min(floor, (v[i] - bottom) / span)
    if floor > 0:
        at_floor = _divergence(p, v, bottom, span, floor, floor, q)
        if at_floor <= radius:  # the multiplier of a lowest state outside the support is zero
            moved = 1 - exp(at_floor - radius)
            for i in range(n):
                q[i] *= 1 - moved
            q[lowest] += moved
            return unit
    deepest = log(floor) if floor > 0 else -700.0
    high, low = max(deepest, -27.0), 2.0
    far = _divergence(p, v, bottom, span, floor, exp(high), q) - radius
    while far <= 0 and high > deepest:  # a lowest state of next to no probability
        low, high = high, max(deepest, 2 * high)
        far = _divergence(p, v, bottom, span, floor, exp(high), q) - radius
    if far <= 0:
        return mean(q, v) - bottom + unit
    near = _divergence(p, v, bottom, span, floor, exp(low), q) - radius
    while near > 0 and low < 40:
        high, far = low, near
        low += 4.0
        near = _divergence(p, v, bottom, span, floor, exp(low), q) - radius
    for _ in range(STEPS):
        middle = (high * near - low * far) / (near - far)
        if not high < middle < low:
            middle = (high + low) / 2
        found = _divergence(p, v, bottom, span, floor, exp(middle), q) - radius
        if found > 0:
            high, far, near = middle, found, near / 2
        else:
            low, near, far = middle, found, far / 2
        if low - high < 1e-12 or -1e-12 * radius <= found <= 0:
            break
    _divergence(p, v, bottom, span, floor, exp(high), q)
    least = mean(q, v)
    _divergence(p, v, bottom, span, floor, exp(low), q)
    return float(max(mean(q, v) - least, 0.0) + unit)


@kernel
def _divergence(p: Array, v: Array, lowest: float, span: float, floor: float, y: float, q: Array) -> float:
    """Write p / (x - floor + y), normalised to the sum of p, to `q`; KL(p, q)."""
    mass, total, logs = 0.0, 0.0, 0.0
    for i in range(p.size):
        q[i] = 0.0
        if p[i] > 0:
            distance = (v[i] - lowest) / span - floor + y
            q[i] = p[i] / distance
            mass += p[i]
            total += q[i]
            logs += p[i] * log(distance)
    for i in range(p.size):
        q[i] *= mass / total
    return logs + mass * log(total / mass)


NEAR, LIKELY = L1(0.0), ReverseKL()  # the radius of each pair goes with the data


class CountState(NamedTuple):
    r: Array  # [S, A]
    before: Array  # [S, A], visits before the epoch
    visits: Array  # [S, A]
    moves: Array  # [S, A, S]
    u: Array  # [S], relative optimistic values
    policy: Ints  # [S]
    epoch: Ints  # [2], epochs begun, and whether the next is due


@kernel
def counts(r: Array) -> CountState:
    S, A = r.shape
    zero = np.zeros((S, A))
    return CountState(
        r, zero, np.zeros((S, A)), np.zeros((S, A, S)), np.zeros(S), np.zeros(S, np.int64), np.array([0, 1])
    )


@kernel
def count(state: CountState, s: int, a: int, successor: int) -> None:
    """Take notice of a transition; the epoch is over when visits within it reach those before it, at least one."""
    state.visits[s, a] += 1
    state.moves[s, a, successor] += 1
    if state.visits[s, a] - state.before[s, a] >= max(1.0, state.before[s, a]):
        state.epoch[1] = 1


@kernel
def begin_epoch(state: CountState, ball: Ball, radius: Array, tol: float) -> None:
    """Extended value iteration until the span of a sweep's change is at most `tol`, and its greedy policy."""
    S, A = state.r.shape
    p, q, costs, order, ahead = np.zeros((S, A, S)), np.zeros(S), np.zeros(S), np.arange(S), np.zeros(S)
    for s in range(S):
        for a in range(A):
            for i in range(S):
                p[s, a, i] = state.moves[s, a, i] / state.visits[s, a] if state.visits[s, a] > 0 else 1 / S
    state.before[:] = state.visits
    state.epoch[0] += 1
    state.epoch[1] = 0
    for _ in range(SWEEPS):
        for s in range(S):
            costs[s] = -state.u[s]
        sort_downwards(costs, order)
        low, high = inf, -inf
        for s in range(S):
            ahead[s] = -inf
            for a in range(A):
                for i in range(S):
                    q[i] = p[s, a, i]
                ball.answer(p[s, a], costs, order, radius[s, a], q)
                value = state.r[s, a]
                for i in range(S):
                    value += q[i] * state.u[i]
                if value > ahead[s]:
                    ahead[s] = value
                    state.policy[s] = a
            low, high = min(low, ahead[s] - state.u[s]), max(high, ahead[s] - state.u[s])
        if high - low <= tol:
            break
        for s in range(S):  # damped, so that periodic chains converge; only differences matter
            state.u[s] += DAMPING * (ahead[s] - state.u[s] - low)
    least = state.u.min()
    for s in range(S):
        state.u[s] -= least


@kernel
def sort_downwards(x: Array, order: Ints) -> None:
    """Insertion sort of `order`, which is nearly sorted from the sweep before."""
    for i in range(1, order.size):
        k, j = order[i], i
        while j > 0 and x[order[j - 1]] < x[k]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = k


@dataclass(frozen=True)
class UCRL2(AverageLearner):
    r"""Optimism over :math:`\|q - \hat P\|_1 \le \sqrt{14 S \log(2 A t/\delta) / \max(1, N)}`, rewards known.

    Source: Jaksch, Ortner & Auer (2010), Near-optimal regret bounds for reinforcement learning, Figures 1 and 2.
    """

    delta: float = 0.1
    ball: L1 = NEAR

    def __post_init__(self) -> None:
        self._settle(delta=checks.interval("delta", self.delta, 0, 1, "()"))

    def fresh(self, r: Array, horizon: int) -> CountState:
        return counts(r)

    def decide(self, state: CountState, t: int, s: int, rng: Generator) -> int:
        if state.epoch[1]:
            S, A = state.r.shape
            radius = np.zeros((S, A))
            for i in range(S):
                for a in range(A):
                    n = max(1.0, state.visits[i, a])
                    radius[i, a] = min(2.0, sqrt(14 * S * log(2 * A * (t + 1) / self.delta) / n))
            begin_epoch(state, self.ball, radius, 1 / sqrt(t + 1))
        return state.policy[s]

    def absorb(self, state: CountState, t: int, s: int, a: int, successor: int) -> None:
        count(state, s, a, successor)

    def switches(self, state: CountState) -> int:
        return state.epoch[0]


@dataclass(frozen=True)
class KLUCRL(AverageLearner):
    r"""Optimism over :math:`KL(\hat P, q) \le C_P / N`, rewards known.

    :math:`C_P = S (B + \log(B + 1/\log T)(1 + 1/(B + 1/\log T)))`, :math:`B = \log(2 e S^2 A \log(T) / \delta)`.

    Source: Filippi, Cappe & Garivier (2010), Optimism in reinforcement learning and Kullback-Leibler divergence.
    """

    delta: float = 0.1
    ball: ReverseKL = LIKELY

    def __post_init__(self) -> None:
        self._settle(delta=checks.interval("delta", self.delta, 0, 1, "()"))

    def fresh(self, r: Array, horizon: int) -> KLState:
        return KLState(counts(r), np.full(1, kl_width(r.shape[0], r.shape[1], max(horizon, 3), self.delta)))

    def decide(self, state: KLState, t: int, s: int, rng: Generator) -> int:
        known = state.known
        if known.epoch[1]:
            S, A = known.r.shape
            radius = np.zeros((S, A))
            for i in range(S):
                for a in range(A):
                    radius[i, a] = state.width[0] / known.visits[i, a] if known.visits[i, a] > 0 else 1e3
            begin_epoch(known, self.ball, radius, 1 / sqrt(t + 1))
        return known.policy[s]

    def absorb(self, state: KLState, t: int, s: int, a: int, successor: int) -> None:
        count(state.known, s, a, successor)

    def switches(self, state: KLState) -> int:
        return state.known.epoch[0]


class KLState(NamedTuple):
    known: CountState
    width: Array  # [1], C_P


@kernel
def kl_width(S: int, A: int, horizon: int, delta: float) -> float:
    B, loglog = log(2 * e * S * S * A * log(horizon) / delta), 1 / log(horizon)
    return S * (B + log(B + loglog) * (1 + 1 / (B + loglog)))
