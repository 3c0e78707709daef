r"""The field's small instances, as plain functions.

Each docstring has the construction, its source and, where there is one, the closed form of the optimal value.

Gridworlds are in :mod:`claimlab.mdps.gridworlds`, token trees in :mod:`claimlab.mdps.trees`, rewards made to measure in
:mod:`claimlab.mdps.inverse`; `discounted`, `time_limited` and `long_run` of :mod:`claimlab.mdps.convert` change the
criterion of any of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.sparse import csr_array

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.assemble import ending_actions, transitions
from claimlab.mdps.tabular import AverageMDP, EpisodicMDP, TabularMDP


def river_swim(n: int, gamma: float, **river: float) -> TabularMDP:
    r"""RiverSwim: against the current to a large reward, or with it to a small one.

    States 0..n-1 lie along a river.  Action 0 swims with the current, from `s` to ``max(s - 1, 0)`` for sure, and pays
    `small` in state 0.  Action 1 swims against it:

    ========== ============= ================= =============
    state      back          stays             ahead
    ========== ============= ================= =============
    0                        1 - `first`       `first`
    1..n-2     `down`        1 - `up` - `down` `up`
    n-1        1 - `last`    `last`
    ========== ============= ================= =============

    and pays `large` in state n-1.  The first state is 1 or 2 with equal chance.

    Parameters
    ----------
    n : int
        Number of states, at least 3; 6 in the source.
    gamma : float
    up, down, first, last : float
        By default 0.3, 0.1, 0.3, 0.3, as in Strehl & Littman (2008), Figure 5.  Osband, Russo & Van Roy (2013) take
        ``up=0.35, down=0.05, first=0.6, last=0.6, small=0.005``.
    small, large : float
        By default 0.0005 and 1: the source's 5 and 10000, scaled to [0, 1].

    Notes
    -----
    Always swimming ahead is a birth-and-death chain, so its stationary law satisfies
    :math:`\mu_{s+1} P(s|s{+}1) = \mu_s P(s{+}1|s)`, and its gain is :math:`\mu_{n-1}` times `large`.

    Source: Strehl & Littman (2008), An analysis of model-based interval estimation for Markov decision processes.
    """
    return TabularMDP(gamma=gamma, **_river(n, **river))


def average_river_swim(n: int, **river: float) -> AverageMDP:
    r"""RiverSwim under the average reward; see :func:`river_swim`.

    The optimal gain is that of always swimming ahead, :math:`\mu_{n-1}` times `large`, or `small`, whichever is larger:
    turning round in between only wastes the way.
    """
    return AverageMDP(**_river(n, **river))


def episodic_river_swim(n: int, horizon: int, **river: float) -> EpisodicMDP:
    """RiverSwim stopped after `horizon` steps; see :func:`river_swim`."""
    return EpisodicMDP(horizon=horizon, **_river(n, **river))


def _river(
    n: int,
    *,
    up: float = 0.3,
    down: float = 0.1,
    first: float = 0.3,
    last: float = 0.3,
    small: float = 0.0005,
    large: float = 1.0,
) -> dict[str, Any]:
    n = checks.integer("n", n, 3)
    first, last = checks.interval("first", first, 0, 1), checks.interval("last", last, 0, 1)
    up, down = checks.interval("up", up, 0, 1), checks.interval("down", down, 0, 1)
    if up + down > 1:
        raise ValueError(f"up + down must be at most 1, got {up:g} + {down:g}.")
    s, middle, P, r, initial = np.arange(n), np.arange(1, n - 1), np.zeros((n, 2, n)), np.zeros((n, 2)), np.zeros(n)
    P[s, 0, np.maximum(s - 1, 0)] = 1
    P[0, 1, [0, 1]] = 1 - first, first
    for step, p in ((-1, down), (0, max(1 - up - down, 0.0)), (1, up)):
        P[middle, 1, middle + step] = p
    P[n - 1, 1, [n - 2, n - 1]] = 1 - last, last
    r[0, 0], r[n - 1, 1] = small, large
    initial[1:3] = 0.5
    return {"P": P, "r": r, "initial": initial}


def chain(n: int, gamma: float, *, slip: float = 0.2, small: float = 2.0, large: float = 10.0) -> TabularMDP:
    r"""Strens's chain: patience is rewarded at its end, impatience at once.

    Action 0 moves from `s` to `s` + 1 and pays 0, in state n-1 it stays and pays `large`; action 1 goes back to state 0
    and pays `small`.  With probability `slip` the other action's effect and reward come about.  The start is state 0.

    Without slips and for :math:`0 \le` `small` = :math:`l \le` `large` = :math:`L`,

    .. math:: v^*(0) = \frac{\max\{\gamma^{n-1} L,\ l\}}{1-\gamma}, \qquad
              v^*(s) = \max\left\{\frac{\gamma^{n-1-s} L}{1-\gamma},\ l + \gamma v^*(0)\right\}.

    Source: Strens (2000), A Bayesian framework for reinforcement learning; there n = 5 and the rewards are these.
    """
    n, slip = checks.integer("n", n, 1), checks.interval("slip", slip, 0, 1)
    s = np.arange(n)
    ahead = np.minimum(s + 1, n - 1)
    P, r = np.zeros((n, 2, n)), np.zeros((n, 2))
    pays = np.where(s == n - 1, large, 0.0)
    for a, p in ((0, 1 - slip), (1, slip)):
        P[s, a, ahead] += p
        P[s, a, 0] += 1 - p
        r[:, a] = p * pays + (1 - p) * small
    return TabularMDP(P, r, gamma, initial=_point(n, 0))


def corridor(n: int, gamma: float, *, reward: float = 1.0) -> TabularMDP:
    r"""A corridor of `n` cells whose last is the goal: action 0 steps back, action 1 steps ahead.

    Stepping onto the goal, state n-1, pays `reward` and ends; all else pays nothing, and state 0 is the start.  For
    `reward` :math:`\ge 0`, :math:`v^*(s) = \gamma^{n-2-s}` times `reward` for :math:`s < n-1`.
    """
    n = checks.integer("n", n, 2)
    s, terminal = np.arange(n - 1), np.arange(n) == n - 1
    P, r = np.zeros((n, 2, n)), np.zeros((n, 2))
    P[s, 0, np.maximum(s - 1, 0)] = P[s, 1, s + 1] = 1
    P[n - 1, 0, n - 1] = 1
    r[n - 2, 1] = reward
    return TabularMDP(P, r, gamma, actions=ending_actions(terminal, 2), terminal=terminal, initial=_point(n, 0))


def two_states(gamma: float) -> TabularMDP:
    r"""Puterman's two-state example, in which state 1 has one action only.

    In state 0, action 0 pays 5 and then stays or moves to state 1 with equal chance; action 1 pays 10 and moves to
    state 1.  There, action 0 costs 1 and stays.  Hence :math:`v^*(1) = -1/(1-\gamma)` and

    .. math:: v^*(0) = \max\left\{\frac{5 - 5.5\,\gamma}{(1-\gamma/2)(1-\gamma)},\ 10 - \frac{\gamma}{1-\gamma}\right\},

    the first being the larger from :math:`\gamma = 10/11` on.

    Source: Puterman (2005), Markov Decision Processes, Section 3.1.
    """
    P = [[[0.5, 0.5], [0, 1]], [[0, 1], [0, 0]]]
    return TabularMDP(P, [[5, 10], [-1, 0]], gamma, actions=[[True, True], [True, False]], initial=[1, 0])


def combination_lock(
    n: int, n_actions: int = 2, *, slip: float = 0.0, reset: bool = False, rng: Generator | None = None
) -> EpisodicMDP:
    r"""A lock with `n` dials: one action a state is right, and only all `n` in a row pay, with 1.

    States 0..n-1 count the right actions so far.  The right action moves on, but with probability `slip` it counts as
    wrong; a wrong action jams the lock for good or, with `reset`, sends it back to state 0.  State n is the end, both
    of an opened lock and of a jammed one.  The horizon is `n`, so that with :math:`p` = `slip` the optimum is
    :math:`v^*_1(0) = (1-p)^n`, while acting at random gets :math:`((1-p)/A)^n`.

    The right actions are 0 everywhere, or drawn from `rng` where given; the transitions show them.

    Source: the locks of Whitehead (1991) and Koenig & Simmons (1993, "reset state space"); the name is Kakade's (2003).
    """
    n, A = checks.integer("n", n, 1), checks.integer("n_actions", n_actions, 1)
    slip = checks.interval("slip", slip, 0, 1)
    code = np.zeros(n, np.int64) if rng is None else rng.integers(A, size=n)
    s = np.arange(n)
    right = np.zeros((n, A))
    right[s, code] = 1 - slip
    wrong = 0 if reset else n
    P, r, terminal = np.zeros((n + 1, A, n + 1)), np.zeros((n + 1, A)), np.arange(n + 1) == n
    P[s[:, None], np.arange(A), s[:, None] + 1] += right
    P[s, :, wrong] += 1 - right
    P[n, 0, n] = 1
    r[n - 1] = right[n - 1]
    return EpisodicMDP(P, r, n, actions=ending_actions(terminal, A), terminal=terminal, initial=_point(n + 1, 0))


def deep_sea(
    n: int, *, slip: float = 0.0, cost: float = 0.01, rng: Generator | None = None, sparse: bool | None = None
) -> EpisodicMDP:
    r"""DeepSea: a diver sinks through an n-by-n grid, and a chest lies in the far corner.

    State ``row * n + column``; each step sinks one row, and state ``n * n`` is the sea floor, where the episode ends.
    One action dives left, the other right.  Right costs ``cost / n``, fails to move with probability `slip`, and pays 1
    on top if chosen in the last column, that is, in the last row after n - 1 rights.  Right is action 1, or is drawn
    for each cell from `rng` where given.  The horizon is `n`.

    With :math:`c` = `cost`, :math:`p` = `slip` the optimum is

    .. math:: v^*_1(0) = \max\Bigl\{0,\ (1-p)^{n-1} - \tfrac{c}{n} \sum_{k=0}^{n-1} (1-p)^k\Bigr\},

    that is :math:`1 - c` without slips; acting at random finds the chest with probability :math:`2^{-n}`.

    Source: Osband, Van Roy, Russo & Wen (2019), Deep exploration via randomized value functions, Section 4;
    bsuite's `deep_sea` (slip 0) and, but for its reward noise of mean zero, `deep_sea_stochastic` (slip 1/n).
    """
    n, slip = checks.integer("n", n, 1), checks.interval("slip", slip, 0, 1)
    cost = checks.interval("cost", cost, 0, np.inf, "[)")
    end, cells = n * n, np.arange(n * n)
    row, column = np.divmod(cells, n)
    right = np.ones(end, np.int64) if rng is None else rng.integers(2, size=end)

    def below(to: Ints) -> Ints:
        return np.where(row == n - 1, end, cells + n + np.clip(to, 0, n - 1) - column)

    moves = [  # (states, actions, successors, probabilities)
        (cells, right, below(column + 1), np.full(end, 1 - slip)),
        (cells, right, below(column), np.full(end, slip)),
        (cells, 1 - right, below(column - 1), np.ones(end)),
        ([end], [0], [end], [1.0]),
    ]
    P = transitions(end + 1, 2, *(np.concatenate(part) for part in zip(*moves)), sparse=sparse)
    r, terminal = np.zeros((end + 1, 2)), np.arange(end + 1) == end
    r[cells, right] = (column == n - 1) - cost / n
    return EpisodicMDP(P, r, n, actions=ending_actions(terminal, 2), terminal=terminal, initial=_point(end + 1, 0))


def jao(n_actions: int, delta: float, epsilon: float, *, best: int = 0) -> AverageMDP:
    r"""The two-state MDP behind the lower bound on regret: one of many actions leaves the poor state a little faster.

    State 1 pays 1 and is left with probability `delta` under every action; state 0 pays 0 and is left with probability
    `delta`, under action `best` with `delta` + `epsilon`.  The optimal gain is
    :math:`\frac{\delta+\epsilon}{2\delta+\epsilon}`, the span of the optimal bias :math:`\frac{1}{2\delta+\epsilon}`,
    and the diameter :math:`1/\delta`.

    Source: Jaksch, Ortner & Auer (2010), Near-optimal regret bounds for reinforcement learning, Figure 3 and Section 6.
    """
    A = checks.integer("n_actions", n_actions, 1)
    delta, best = checks.interval("delta", delta, 0, 1, "(]"), checks.integer("best", best, 0, A - 1)
    epsilon = checks.interval("epsilon", epsilon, 0, 1 - delta)
    leave = np.full((2, A), delta)
    leave[0, best] += epsilon
    P = np.stack([np.stack([1 - leave[0], leave[0]], axis=1), np.stack([leave[1], 1 - leave[1]], axis=1)])
    return AverageMDP(P, [[0.0] * A, [1.0] * A], initial=[1, 0])


def garnet(
    n_states: int, n_actions: int, branching: int, gamma: float, rng: Generator, *, sparse: bool = False
) -> TabularMDP:
    r"""Garnet, a random MDP with `branching` successors for each pair.

    The successors are a uniformly drawn set, their probabilities the lengths of the pieces into which `branching` - 1
    uniform points cut [0, 1], the rewards standard normal.  Dense and `sparse` results are the same MDP for the same
    `rng`.

    Source: Archibald, McKinnon & Thomas (1995), On the generation of Markov decision processes; rewards as in
    Bhatnagar, Sutton, Ghavamzadeh & Lee (2009), Natural actor-critic algorithms.
    """
    S, A = checks.integer("n_states", n_states, 1), checks.integer("n_actions", n_actions, 1)
    b, rows = checks.integer("branching", branching, 1, S), S * A
    successors = _subsets(rows, S, b, rng)
    cuts = np.sort(rng.random((rows, b - 1)), axis=1)
    p = np.diff(cuts, axis=1, prepend=0.0, append=1.0)
    r = rng.standard_normal((S, A))
    if sparse:
        return TabularMDP(
            csr_array((p.ravel(), successors.ravel(), np.arange(0, rows * b + 1, b)), (rows, S)), r, gamma
        )
    P = np.zeros((rows, S))
    np.put_along_axis(P, successors, p, axis=1)
    return TabularMDP(P.reshape(S, A, S), r, gamma)


def _subsets(rows: int, n: int, size: int, rng: Generator) -> Ints:
    """`rows` uniformly random subsets of 0..n-1 of the given size, sorted, int[rows, size].

    Floyd's algorithm (Bentley & Floyd 1987), all rows at once: to a set of k - 1 of the first m - 1 numbers add a
    uniform one of the first m, or the m-th itself where that one is taken.
    """
    chosen = np.empty((rows, size), np.int64)
    for k in range(size):
        m = n - size + k
        pick = rng.integers(m + 1, size=rows)
        taken = (chosen[:, :k] == pick[:, None]).any(axis=1)
        chosen[:, k] = np.where(taken, m, pick)
    return np.sort(chosen, axis=1)


def _point(n: int, at: int) -> Array:
    law = np.zeros(n)
    law[at] = 1
    return law
