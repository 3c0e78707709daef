r"""What was seen of the transitions, and planning in confidence sets around it.

Visits are counted for each step of a :class:`~claimlab.mdps.staged.StagedMDP`, or, where transitions are known not to
depend on the step, for all steps together.  :func:`plan_optimism` fills the bounds on the optimum;
:func:`lower_bound` and :func:`upper_bound` evaluate any policy in the same sets.
"""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

import numpy as np

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.confidence import Sets, sort_upwards
from claimlab.native import kernel, part


class Visits(NamedTuple):
    """What was seen, for Z = H steps or Z = 1 if steps are pooled."""

    n: Array  # [Z, S, A], visits
    hits: Array  # [Z, S, A, S], of them those followed by each state
    seen: Ints  # [Z, S, A], how many states have followed
    successors: Ints  # [Z, S, A, S], which: the first `seen`


class Beliefs(NamedTuple):
    """Visits, the widths of the sets around their frequencies, and the bounds planned in them."""

    visits: Visits
    widths: Array  # [Z, S, A, 2], what the sets' `width` says
    upper: Array  # [H + 1, S], above v*
    lower: Array  # [H + 1, S], below the value of the greedy policy
    greedy: Ints  # [H, S], maximises the upper bound
    trial: Array  # [H + 1, S], below the value of the policy looked at last
    rising: Ints  # [H + 1, S], sorts `upper`
    falling: Ints  # [2, S], sorts a row of `lower` or of `trial`


@kernel
def no_visits(Z: int, S: int, A: int) -> Visits:
    return Visits(
        np.zeros((Z, S, A)), np.zeros((Z, S, A, S)), np.zeros((Z, S, A), np.int64), np.zeros((Z, S, A, S), np.int64)
    )


@kernel
def add_visits(visits: Visits, z: int, s: int, a: int, t: int, count: float) -> None:
    """Count `count` more transitions from (s, a) to `t`."""
    if visits.hits[z, s, a, t] == 0:
        visits.successors[z, s, a, visits.seen[z, s, a]] = t
        visits.seen[z, s, a] += 1
    visits.n[z, s, a] += count
    visits.hits[z, s, a, t] += count


@kernel
def new_beliefs(sets: Sets, H: int, S: int, A: int, data: Array) -> Beliefs:
    """Beliefs after the transitions counted in `data`, float[Z, S, A, S], which is empty where there are none."""
    Z = 1 if sets.pooled else H
    b = Beliefs(
        no_visits(Z, S, A), np.zeros((Z, S, A, 2)), np.zeros((H + 1, S)), np.zeros((H + 1, S)),
        np.zeros((H, S), np.int64), np.zeros((H + 1, S)), np.zeros((H + 1, S), np.int64), np.zeros((2, S), np.int64),
    )  # fmt: skip
    for s in range(S):
        b.rising[:, s] = s
        b.falling[:, s] = s
    for z in range(Z):
        for s in range(S):
            for a in range(A):
                if data.size > 0:
                    for t in range(S):
                        if data[z, s, a, t] > 0:
                            add_visits(b.visits, z, s, a, t, data[z, s, a, t])
                _set_widths(sets, b, z, s, a)
    return b


@part
def _set_widths(sets: Sets, b: Beliefs, z: int, s: int, a: int) -> None:
    for which in range(2):
        b.widths[z, s, a, which] = sets.width(b.visits.n[z, s, a], b.visits.n.shape, which)


@kernel
def learn_transition(sets: Sets, b: Beliefs, h: int, s: int, a: int, t: int) -> None:
    z = 0 if sets.pooled else h
    add_visits(b.visits, z, s, a, t, 1.0)
    _set_widths(sets, b, z, s, a)


@kernel
def plan_optimism(sets: Sets, b: Beliefs, r: Array) -> None:
    """Fill `upper`, `greedy`, the first of the maximisers, and `lower`, for rewards float[H, S, A] in [0, 1]."""
    H, S, A = r.shape
    for h in range(H - 1, -1, -1):
        z, order = 0 if sets.pooled else h, b.rising[h + 1]
        sort_upwards(b.upper[h + 1], order)
        sort_upwards(b.lower[h + 1], b.falling[0])
        for s in range(S):
            best, chosen = -inf, 0
            for a in range(A):
                more = sets.most(
                    b.visits.n[z, s, a], b.visits.hits[z, s, a], b.widths[z, s, a], b.upper[h + 1], b.lower[h + 1],
                    order, H,
                )  # fmt: skip
                q = min(r[h, s, a] + more, 1.0 * (H - h))
                if q > best:
                    best, chosen = q, a
            b.upper[h, s], b.greedy[h, s] = best, chosen
            b.lower[h, s] = pessimistic(sets, b, r, h, s, chosen, b.lower[h + 1], b.falling[0])


@kernel
def pessimistic(sets: Sets, b: Beliefs, r: Array, h: int, s: int, a: int, lower: Array, order: Ints) -> float:
    """Lower bound on the value of taking `a` at step `h` and going on with a policy of values at least `lower`."""
    z = 0 if sets.pooled else h
    fewer = sets.fewest(
        b.visits.n[z, s, a], b.visits.hits[z, s, a], b.widths[z, s, a], b.upper[h + 1], lower, order, r.shape[0]
    )
    return max(0.0, r[h, s, a] + fewer)


@kernel
def lower_bound(sets: Sets, b: Beliefs, r: Array, initial: Array, policy: Array, steps: int) -> float:
    """Lower bound on the value of following `policy`, float[H, S, A], for `steps` steps and the greedy policy after.

    Needs :func:`plan_optimism` first.  Fills ``trial[0..steps]``.
    """
    S, A = r.shape[1], r.shape[2]
    b.trial[steps] = b.lower[steps]
    for h in range(steps - 1, -1, -1):
        sort_upwards(b.trial[h + 1], b.falling[1])
        for s in range(S):
            total = 0.0
            for a in range(A):
                if policy[h, s, a] > 0:
                    total += policy[h, s, a] * pessimistic(sets, b, r, h, s, a, b.trial[h + 1], b.falling[1])
            b.trial[h, s] = total
    return mean(initial, b.trial[0])


@kernel
def upper_bound(sets: Sets, b: Beliefs, r: Array, initial: Array, policy: Array, steps: int) -> float:
    """Upper bound on the value of the policy of :func:`lower_bound`; for ``L1Sets``, whose sets bound any value.

    Fills ``trial[0..steps]``.
    """
    S, A, H = r.shape[1], r.shape[2], r.shape[0]
    b.trial[steps] = b.upper[steps]
    for h in range(steps - 1, -1, -1):
        z, order = 0 if sets.pooled else h, b.falling[1]
        sort_upwards(b.trial[h + 1], order)
        for s in range(S):
            total = 0.0
            for a in range(A):
                if policy[h, s, a] > 0:
                    more = sets.most(
                        b.visits.n[z, s, a], b.visits.hits[z, s, a], b.widths[z, s, a], b.trial[h + 1], b.lower[h + 1],
                        order, H,
                    )  # fmt: skip
                    total += policy[h, s, a] * (r[h, s, a] + more)
            b.trial[h, s] = total
    return mean(initial, b.trial[0])


@kernel
def mean(law: Array, v: Array) -> float:
    total = 0.0
    for s in range(v.size):
        total += law[s] * v[s]
    return total


def transition_counts(data: Any, name: str = "data") -> Array:
    """`data` checked: how often each transition was seen, float[Z, S, A, S]; None is an empty array, for no data."""
    counts = checks.array(name, np.zeros((0, 0, 0, 0)) if data is None else data, ndim=4)
    bad = np.argwhere((counts < 0) | (counts != np.floor(counts)))
    if len(bad):
        raise ValueError(f"{name}{bad[0].tolist()} is {counts[tuple(bad[0])]:.6g}; counts are whole numbers from 0 on.")
    return counts
