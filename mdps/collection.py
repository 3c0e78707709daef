r"""Collecting data that look on-policy: behaviour that corrects what the data so far have too much of.

With counts :math:`n(s,a)`, :math:`n(s)=\sum_a n(s,a)` and the target's :math:`\pi`, the *count error* is
:math:`e_a=n(s,a)-n(s)\pi(a|s)`.  A sampler says with which probabilities to act at a state given the counts there.

* :class:`ROS` (Zhong et al. 2022, arXiv 2111.14552) in closed form for tabular softmax policies: one gradient step that
  makes the data less likely.
* :class:`PROPS` (Corrado & Hanna, arXiv 2311.08290), the regularised objective solved exactly, with clip or without.
* :class:`Systematic` is ours: a binary tree over the actions, each node of which deals its visits out evenly from a
  random offset.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, floor, inf, isinf
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.draws import sample
from claimlab.native import Native, kernel
from claimlab.runs import each_run


class Sampler(Native):
    """How to act in order to collect data for a target policy."""

    @abstractmethod
    def behave(self, law: Array, counts: Array, size: float, offsets: Array, out: Array) -> None:
        """Write the probabilities of the actions at a state into `out`.

        `law` is the target's there, `counts` the data's there; `size` is the number of data in all, `offsets` are
        A - 1 numbers in [0, 1), drawn once for each state and run.
        """


@dataclass(frozen=True)
class ROS(Sampler):
    r"""Robust on-policy sampling: :math:`b(a)\propto\pi(a)\exp(-\alpha e_a/N)`, `N` the number of data in all.

    That is the softmax after a step of size `step` along minus the gradient of the data's log-likelihood; with
    ``average=False`` the gradient is summed, not averaged, and the division by `N` falls away.  ``step=0`` is on-policy
    sampling; ``step=inf`` takes the action with the smallest :math:`e_a` (the first of equal ones, and none that the
    target never takes).  Without data at the state the gradient is zero, and the action is drawn from the target.
    """

    step: float
    average: bool = True

    def __post_init__(self) -> None:
        step = checks.interval("step", self.step, 0, inf)
        self._settle(step=step, average=checks.boolean("average", self.average))

    def behave(self, law: Array, counts: Array, size: float, offsets: Array, out: Array) -> None:
        n = counts.sum()
        out[:] = law
        if n == 0 or self.step == 0:
            return
        least, first = inf, -1
        for a in range(law.size):
            if law[a] > 0 and counts[a] - n * law[a] < least:
                least, first = counts[a] - n * law[a], a
        if isinf(self.step):
            out[:] = 0.0
            out[first] = 1.0
            return
        rate = self.step / size if self.average else self.step
        for a in range(law.size):
            out[a] *= exp(-rate * (counts[a] - n * law[a] - least)) if law[a] > 0 else 0.0
        out /= out.sum()


@dataclass(frozen=True)
class PROPS(Sampler):
    r"""The maximiser of :math:`-\sum_a\pi_D(a)\max(\frac{b(a)}{\pi(a)},1-\epsilon)-\lambda\,KL(\pi\|b)`.

    That is PROPS's clipped objective: see :func:`props_law`.  ``weight=0`` is the limit of small weights, and a large
    weight is on-policy; ``clip=1`` never acts.
    """

    weight: float
    clip: float = 1.0

    def __post_init__(self) -> None:
        weight = checks.interval("weight", self.weight, 0, inf, "[)")
        self._settle(weight=weight, clip=checks.interval("clip", self.clip, 0, 1))

    def behave(self, law: Array, counts: Array, size: float, offsets: Array, out: Array) -> None:
        n = counts.sum()
        if n == 0:
            out[:] = law
        else:
            props_law_(law, counts / n, self.weight, self.clip, out)


@kernel
def props_law_(law: Array, data: Array, weight: float, clip: float, out: Array) -> None:
    """:func:`props_law` into `out`, unchecked."""
    least, first = inf, -1
    for a in range(law.size):
        if law[a] > 0 and data[a] / law[a] < least:
            least, first = data[a] / law[a], a
    out[:] = (1 - clip) * law
    if weight == 0:
        out[first] += clip
        return
    # sum_a pi_a max(weight / (w_a - least + x), 1 - clip) is convex in x and at least 1 at the start: Newton's steps
    # only grow, and as long as the sum is above 1 some action is above its floor
    x = weight * law[first]
    for _ in range(100):
        total, slope = 0.0, 0.0
        for a in range(law.size):
            if law[a] > 0:
                free = weight * law[a] / (data[a] / law[a] - least + x)
                out[a] = max(free, (1 - clip) * law[a])
                total += out[a]
                if out[a] == free:
                    slope += free / (data[a] / law[a] - least + x)
        if total <= 1 + 4e-16 * law.size:
            break
        x += (total - 1) / slope
    out /= out.sum()


def props_law(law: ArrayLike, data: ArrayLike, weight: float, clip: float = 1.0) -> Array:
    r"""PROPS's behaviour at a state: :math:`b(a)=\pi(a)\max(\frac\lambda{w(a)+\nu},1-\epsilon)`, :math:`w=\pi_D/\pi`.

    :math:`\nu>-\min w` makes it sum to one.  It maximises the mean over the data of
    :math:`\min(-\rho,-\mathrm{clip}(\rho,1-\epsilon,1+\epsilon))`, :math:`\rho=b/\pi`, less
    :math:`\lambda\,KL(\pi\|b)`: the first term is :math:`-\max(\rho,1-\epsilon)`, whose supergradients are -w above
    the floor, 0 below it, and all between on it (ours).

    Parameters
    ----------
    law, data : float[A]
        The target's probabilities and the data's shares of the actions.
    weight : float
        The weight of the KL divergence, at least 0; with 0 every action is at its floor :math:`(1-\epsilon)\pi(a)`, and
        the rest goes to the smallest ratio.
    clip : float
        :math:`\epsilon` in [0, 1]; 1 is no clip, 0 is on-policy.

    Examples
    --------
    >>> props_law([0.5, 0.3, 0.2], [0.6, 0.3, 0.1], weight=0.0, clip=0.3)
    array([0.35, 0.21, 0.44])
    """
    p, d = checks.distributions("law", law, ndim=1), checks.distributions("data", data, ndim=1)
    if p.shape != d.shape:
        raise ValueError(f"data must have shape (A,) = {p.shape}, got {d.shape}.")
    out = np.empty_like(p)
    weight, clip = checks.interval("weight", weight, 0, inf, "[)"), checks.interval("clip", clip, 0, 1)
    props_law_(p, d, weight, clip, out)
    return out


@dataclass(frozen=True)
class Systematic(Sampler):
    r"""Deal out the actions evenly from random offsets: unbiased, with count errors of order log A for ever (ours).

    The actions are the leaves of a binary tree.  The `n`-th visit to a node with offset `u` whose left half has
    probability `p` goes left iff :math:`\lfloor np+u\rfloor>\lfloor(n-1)p+u\rfloor`, so that
    :math:`\lfloor np+u\rfloor` of `n` visits have gone left: `np` on average, and never off by one.  Hence
    :math:`E[n(s,a)\mid n(s)]=n(s)\pi(a|s)` at every time if the number of visits does not depend on the offsets of the
    state itself: on bandits, and in finite-horizon problems whose states tell the step.  There the mean return is
    unbiased, and its variance is at most that of on-policy sampling: it is a sum over nodes, in which the variance of
    the left count, :math:`f(1-f)` with `f` the fractional part of `np`, stands for the `np(1-p)` of a binomial one.
    """

    def behave(self, law: Array, counts: Array, size: float, offsets: Array, out: Array) -> None:
        out[:] = 0.0
        low, high = 0, law.size
        while high - low > 1:
            middle = (low + high) // 2
            total = law[low:high].sum()
            p = law[low:middle].sum() / total if total > 0 else 0.0
            n, u = counts[low:high].sum(), offsets[middle - 1]
            if floor((n + 1) * p + u) > floor(n * p + u):
                high = middle
            else:
                low = middle
        out[low] = 1.0


@kernel
def _walk(
    sampler: Sampler, after: Array, pi: Array, start: int, times: Ints, rng: Generator, given: Array, counts: Array
) -> None:
    """Fill ``counts[C, S, A]`` along one trajectory; a step uses up two uniform numbers whatever the sampler."""
    S, A = pi.shape
    offsets, data, law = rng.random((S, max(A - 1, 1))), given.copy(), np.empty(A)
    s, size, checkpoint = start, given.sum(), 0
    for t in range(times[-1]):
        sampler.behave(pi[s], data[s], size, offsets[s], law)
        a = sample(law, rng.random())  # a sure action uses up a number too, so that samplers stay paired
        data[s, a] += 1
        size += 1
        if t + 1 == times[checkpoint]:
            counts[checkpoint] = data
            checkpoint += 1
        y, row, s = rng.random(), after[s, a], 0
        while s < S - 1 and y >= row[s]:
            s += 1


def collect(
    sampler: Sampler,
    P: ArrayLike,
    pi: ArrayLike,
    times: ArrayLike,
    *,
    runs: int,
    seed: int,
    start: int = 0,
    given: ArrayLike | None = None,
    threads: int | None = None,
) -> Array:
    """Counts of the pairs after each of `times` steps of one long trajectory, float[runs, C, S, A].

    Two samplers with the same seed meet the same random numbers.  A bandit has a single state; an episode's end is a
    transition to the start.

    Parameters
    ----------
    P : float[S, A, S]
        Transition probabilities.
    pi : float[S, A]
        The target policy.
    times : int[C]
        Increasing numbers of steps, from 1 on.
    given : float[S, A], optional
        Counts of earlier data, which the sampler sees and which are part of the result.

    Examples
    --------
    >>> collect(ROS(inf), np.ones((1, 2, 1)), [[0.5, 0.5]], [10], runs=1, seed=0)[0, 0]
    array([[5., 5.]])
    """
    if not isinstance(sampler, Sampler):
        raise TypeError(f"sampler must be a Sampler, got {type(sampler).__name__}.")
    P, pi = checks.distributions("P", P, ndim=3), checks.distributions("pi", pi, ndim=2)
    if P.shape != (*pi.shape, pi.shape[0]):
        raise ValueError(f"P must have shape (S, A, S) for pi of shape (S, A); got P {P.shape}, pi {pi.shape}.")
    marks = _increasing(times)
    start = checks.integer("start", start, 0, len(pi) - 1)
    data = np.zeros(pi.shape) if given is None else checks.shaped("given", given, pi.shape, "(S, A)")
    if data.min() < 0:
        bad = np.argwhere(data < 0)[0].tolist()
        raise ValueError(f"given{bad} is {data[tuple(bad)]:.6g}; counts cannot be negative.")
    counts, after = np.zeros((checks.integer("runs", runs, 1), marks.size, *pi.shape)), P.cumsum(axis=2)
    each_run(
        lambda i, rng: _walk(sampler, after, pi, start, marks, rng, data, counts[i]),
        len(counts),
        seed,
        threads=threads,
        keep_states=False,
    )
    return counts


def _increasing(times: ArrayLike) -> Ints:
    given = checks.numbers("times", times)
    if given.ndim != 1 or not given.size or given[0] < 1 or (np.diff(given) <= 0).any() or (given % 1 != 0).any():
        raise ValueError(f"times must be increasing whole numbers from 1 on, got {given.tolist()}.")
    return given.astype(np.int64)


@kernel
def _count_law(sampler: Sampler, law: Array, n: int) -> Array:
    A = law.size
    last = n if A == 3 else 0
    here, counts, b = np.zeros((n + 1, last + 1)), np.zeros(A), np.empty(A)
    here[0, 0] = 1.0
    for t in range(n):
        after = np.zeros_like(here)
        for i in range(t + 1):
            for j in range(min(t - i, last) + 1):
                if here[i, j] == 0:
                    continue
                counts[0], counts[1], counts[A - 1] = i, j, t - i - j
                sampler.behave(law, counts, float(t), law, b)
                after[i + 1, j] += here[i, j] * b[0]
                if A == 3:
                    after[i, j + 1] += here[i, j] * b[1]
                after[i, j] += here[i, j] * b[A - 1]
        here = after
    return here


def count_law(sampler: Sampler, law: ArrayLike, n: int) -> tuple[Array, Array]:
    """Every possible vector of counts after `n` rounds on a bandit, and its probability.

    Exact up to rounding: for :class:`ROS` and :class:`PROPS` with two or three actions a recursion over the counts, all
    that they depend on; for :class:`Systematic` the two possible splits at every node, up to 16 actions.

    Returns
    -------
    counts : float[N, A]
    probabilities : float[N]

    Examples
    --------
    >>> counts, p = count_law(ROS(0.0), [0.5, 0.5], 2)
    >>> [(c.tolist(), float(x)) for c, x in zip(counts, p)]
    [([0.0, 2.0], 0.25), ([1.0, 1.0], 0.5), ([2.0, 0.0], 0.25)]
    """
    if not isinstance(sampler, (ROS, PROPS, Systematic)):
        raise TypeError(f"sampler must be ROS, PROPS or Systematic, got {type(sampler).__name__}.")
    p, n = checks.distributions("law", law, ndim=1), checks.integer("n", n, 1)
    most = 16 if isinstance(sampler, Systematic) else 3
    if not 2 <= p.size <= most:
        raise ValueError(f"law must have 2..{most} actions for {type(sampler).__name__}, got {p.size}.")
    if isinstance(sampler, Systematic):
        counts, chances = zip(*dealt(p.tolist(), n))
        return np.array(counts, dtype=float), np.array(chances, dtype=float)
    table = _count_law(sampler, p, n)
    at = np.argwhere(table > 0)
    return np.column_stack([at[:, : p.size - 1], n - at.sum(axis=1)]).astype(float), table[tuple(at.T)]


def dealt(law: Sequence[Any], n: int) -> list[tuple[tuple[int, ...], Any]]:
    """The counts that :class:`Systematic` may have after `n` rounds, with their probabilities; Fractions stay exact."""
    if len(law) == 1 or n == 0:
        return [((n,) if len(law) == 1 else (0,) * len(law), 1)]
    middle, total = len(law) // 2, sum(law)
    left = n * (sum(law[:middle]) / total if total > 0 else 0 * total)
    k = floor(left)
    return [
        (a + b, chance * p * q)
        for m, chance in ((k, 1 - (left - k)), (k + 1, left - k))
        if chance > 0
        for a, p in dealt(law[:middle], m)
        for b, q in dealt(law[middle:], n - m)
    ]
