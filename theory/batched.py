r"""Cliff radii and mixing of thousands to millions of small MDPs at once (:mod:`claimlab.mdps.batched`)."""

from __future__ import annotations

from math import inf, sqrt
from typing import Any, NamedTuple

import numpy as np

from claimlab.checks import Array, Bools, Ints
from claimlab.mdps.batched import MDPBatch, gaps, solve
from claimlab.mdps.batched_kernels import contraction, eliminate, tableau
from claimlab.mdps.kernels import LARGEST
from claimlab.mdps.tabular import EPS
from claimlab.native import fast_kernel, spread, threads_or_default


class CliffRadii(NamedTuple):
    """The distance from each reward to the nearest one under which another policy is optimal, and its certificate."""

    radius: Array  # [N]; infinite where no reward change matters
    error: Array  # [N], certified bounds on the numerical error of `radius`
    state: Ints  # [N], the nearest facet: here ...
    action: Ints  # [N] ... this action becomes as good as the policy's; -1 where the radius is infinite
    gap: Array  # [N], of that action
    multiplier: Array  # [N], 1 / ||g||_*: the dual solution; radius = gap * multiplier
    least_gap: Array  # [N], of an action that the policy does not take; infinite where there is none
    gap_error: Array  # [N], certified bounds on the error of every gap
    policy: Ints  # [N, S], the optimal policy
    unique: Bools  # [N], False: actions are tied, the radius is 0


def cliff_radii(batch: MDPBatch, *, ord: float = inf, threads: int | None = None) -> CliffRadii:
    """:func:`claimlab.theory.stability.cliff_radius` of each instance, with every reward free to move.

    Parameters
    ----------
    ord : {inf, 2, 1}
        The norm in which a reward change is measured.

    Examples
    --------
    >>> bandits = MDPBatch(P=np.ones((2, 1, 2, 1)), r=[[[1, 0]], [[0, 3]]], gamma=0.5)
    >>> cliff_radii(bandits).radius
    array([0.5, 1.5])
    """
    if ord not in (1, 2, inf):
        raise ValueError(f"ord must be 1, 2 or inf, got {ord!r}.")
    solutions = solve(batch, inf, threads=threads)
    policy, (gap, gap_error) = solutions.policy, gaps(batch, solutions, threads=threads)
    N, S, A = batch.r.shape
    free = batch.actions & (policy[..., None] != np.arange(A))
    tied = free & (gap <= gap_error[:, None, None])
    unique = ~tied.any(axis=(1, 2))
    # a true gap below the error, and one more
    gap, gap_error = np.where(free, np.where(tied, 0.0, gap), inf), np.where(unique, 1.0, 2.0) * gap_error
    radius, error, multiplier = np.empty(N), np.empty(N), np.empty(N)
    state, action = np.empty(N, np.int64), np.empty(N, np.int64)

    def work(start: int, stop: int) -> None:
        _nearest(batch, float(ord), policy, gap, gap_error, start, stop, radius, error, state, action, multiplier)

    spread(work, N, threads_or_default(threads), least=1 + 20_000 // (S * S * (S + A)))
    of_nearest = gap[np.arange(N), state, action]  # state and action are -1 at the end where there is none
    of_nearest = np.where(state >= 0, of_nearest, inf)
    least = gap.min(axis=(1, 2))
    return CliffRadii(radius, error, state, action, of_nearest, multiplier, least, gap_error, policy, unique)


@fast_kernel
def _nearest(
    batch: Any,
    ord: float,
    policy: Ints,
    gap: Array,
    gap_error: Array,
    start: int,
    stop: int,
    radius: Array,
    error: Array,
    state: Ints,
    action: Ints,
    multiplier: Array,
) -> None:
    r"""The facet of least distance, and the least norm in reach, for each instance.

    Rows of :math:`X \approx (I - \gamma P_\pi)^{-1}` are off in L1 by their residual over 1 - factor.  The entries of a
    residual and of a normal are sums of S + 2 products, a norm is one of S + 1 numbers, all of them within twice the
    largest mass of a row.
    """
    P = batch.P
    _, S, A = gap.shape
    M, flow = tableau(S, S), np.empty(S)
    for n in range(start, stop):
        g = batch.gamma[n]
        for s in range(S):
            for t in range(S):
                M[s, t] = -g * P[n, s, policy[n, s], t]
                M[s, S + t] = 0.0
            M[s, s] += 1.0
            M[s, S + s] = 1.0
        eliminate(M, S)
        residual, mass, all_mass = 0.0, 0.0, 0.0
        for s in range(S):
            off, total = 0.0, 1.0
            for t in range(S):
                flow[t] = -M[s, S + t]
            flow[s] += 1.0
            for u in range(S):
                visits = g * M[s, S + u]
                for t in range(S):
                    flow[t] += visits * P[n, u, policy[n, u], t]
            for t in range(S):
                off += abs(flow[t])
                total += abs(M[s, S + t])
            residual, mass, all_mass = max(residual, off), max(mass, total), all_mass + total
        rounded = 2 * (S + 4) * EPS * mass
        off = 2 * (residual + rounded) / (1 - contraction(g, batch.row_error[n])[1]) + 2 * rounded
        off = off if all_mass <= LARGEST else inf
        radius[n], state[n], action[n], multiplier[n], least = inf, -1, -1, 0.0, inf
        for s in range(S):
            for a in range(A):
                if gap[n, s, a] < inf:
                    for t in range(S):
                        flow[t] = M[s, S + t]
                    for u in range(S):
                        chance = g * P[n, s, a, u]
                        for t in range(S):
                            flow[t] -= chance * M[u, S + t]
                    norm = 1.0  # the entry of (s, a) itself
                    for t in range(S):
                        if ord == 1:
                            norm = max(norm, abs(flow[t]))
                        else:
                            norm += abs(flow[t]) if ord == inf else flow[t] * flow[t]
                    norm = sqrt(norm) if ord == 2 else norm
                    if norm > 2 * off:
                        least = min(least, norm)
                        if gap[n, s, a] / norm < radius[n]:
                            radius[n], state[n], action[n] = gap[n, s, a] / norm, s, a
                            multiplier[n] = 1 / norm
        error[n] = (gap_error[n] + radius[n] * off) / (least - off) + 4 * EPS * radius[n]
        if state[n] < 0:  # no facet is in reach, unless the elimination broke down
            error[n] = 0.0 if off < inf else inf


def dobrushin(batch: MDPBatch) -> Array:
    r"""Ergodicity coefficients of :func:`claimlab.theory.soft.dobrushin`, float[N], from (S*A)^2 * S numbers each."""
    rows, exists = batch.P.reshape(len(batch), -1, batch.P.shape[3]), batch.actions.reshape(len(batch), -1)
    distance = abs(rows[:, :, None] - rows[:, None]).sum(axis=3) / 2
    return np.asarray(np.where(exists[:, :, None] & exists[:, None], distance, 0.0).max(axis=(1, 2)))
