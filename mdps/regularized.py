r"""Soft planning: discounted MDPs regularised by the entropy of the policy or its divergence from a base policy.

.. math:: (Tv)(s) = \alpha \log \sum_a b(a|s) \exp\bigl(q(s,a)/\alpha\bigr), \qquad
          q(s,a) = r(s,a) + \gamma \sum_t P(t|s,a) v(t), \qquad \pi(a|s) \propto b(a|s) \exp(q(s,a)/\alpha)

with :math:`b = 1` (entropy) or a policy (Kullback–Leibler); missing actions have :math:`b = 0`.  `T` is monotone and
shifts constants as the hard operator does, so the certificate of :mod:`claimlab.mdps.certificates` holds with the
rounding of the logarithm added; its derivative is :math:`\gamma P_\pi`, so Newton's method on :math:`v = Tv` is soft
policy iteration.  Terminal states have ended: they are worth 0 and earn no entropy.

Sources: Haarnoja et al. (2017), Theorem 1; Geist, Scherrer & Pietquin (2019), Propositions 1–2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import log
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array
from claimlab.mdps import kernels
from claimlab.mdps.certificates import NotConverged, contraction, series
from claimlab.mdps.corrections import CHAIN, FRUITLESS, KRYLOV
from claimlab.mdps.devices import DeviceSweeps, elsewhere
from claimlab.mdps.multilevel import LOOSE
from claimlab.mdps.planning import SMALL
from claimlab.mdps.resolvent import resolvent
from claimlab.mdps.soft_maximum import log_sum_exp
from claimlab.mdps.sweeps import Sweeps
from claimlab.mdps.tabular import EPS, SUBNORMAL, TabularMDP, rounding
from claimlab.native import kernel, spread, threads_or_default

LOOK = 8  # sweeps from whose certificates the rate is taken
PATIENCE = 100  # sweeps still to come, at that rate, at which Newton steps take over
BLOCK = 2_000  # entries of q that are worth a thread


class SoftSolution(NamedTuple):
    """A solution of the regularised MDP with its own certificate."""

    v: Array  # [S]
    q: Array  # [S, A]; minus infinity for missing actions
    pi: Array  # [S, A]; its log-ratios are within 2 * error / alpha of the optimum's, up to rounding
    error: float  # certified bound on max |v - v*| and on max |q - q*|
    iterations: int


class SoftMaximum(NamedTuple):
    """The regularised maximum over the actions of each state."""

    v: Array  # [S]
    pi: Array  # [S, A], where it is attained
    error: float  # bound on the rounding of `v`


class _Regulariser(NamedTuple):
    """Temperature, base weights that sum to 1 with their logarithms, and what is added to each soft maximum."""

    alpha: float
    b: Array  # [S, A]
    log_b: Array  # [S, A]
    offset: Array  # [S]


def soft_solve(
    mdp: TabularMDP,
    alpha: float,
    tol: float = 1e-9,
    *,
    base: ArrayLike | None = None,
    threads: int | None = None,
    device: str | None = None,
) -> SoftSolution:
    """Solve the regularised `mdp` so that ``max |v - v*| <= tol`` and ``max |q - q*| <= tol``, proved.

    The method is chosen from the problem: Newton steps where there are few states.  Else sweeps, and Newton steps from
    where the sweeps turn out to need many more.

    Parameters
    ----------
    mdp : TabularMDP
    alpha : float
        Temperature, above 0.
    tol : float
    base : policy, optional
        The regulariser is `alpha` times KL(pi, base), rows of `base` normalised; the entropy by default.
    threads : int, optional
        How many to use; by default ``NUMBA_NUM_THREADS``, or every core.  The solution does not depend on it.
    device : str, optional
        "cpu", or a device of torch such as "cuda" for the sweeps, of which the last is made here and proves the
        tolerance.  The default is that of :func:`claimlab.mdps.solve`.

    Examples
    --------
    >>> coin = TabularMDP(P=[[[1.0], [1.0]]], r=[[0.0, 0.0]], gamma=0.5)
    >>> float(soft_solve(coin, alpha=1.0).v[0] / np.log(2))  # two equal actions: log 2 a step
    2.0
    """
    small, there = mdp.n_states <= SMALL, elsewhere(device, mdp.n_entries)
    slow = _always if small else partial(_slow, tol)
    return _iterate(mdp, alpha, tol, base, threads, slow, 1_000_000, None if small else there)


def soft_value_iteration(
    mdp: TabularMDP,
    alpha: float,
    tol: float = 1e-9,
    *,
    base: ArrayLike | None = None,
    max_sweeps: int = 1_000_000,
    threads: int | None = None,
) -> SoftSolution:
    """Apply the soft operator until the certificate falls to `tol`."""
    return _iterate(mdp, alpha, tol, base, threads, _never, max_sweeps)


def soft_policy_iteration(
    mdp: TabularMDP,
    alpha: float,
    tol: float = 1e-9,
    *,
    base: ArrayLike | None = None,
    max_iterations: int = 10_000,
    threads: int | None = None,
) -> SoftSolution:
    r"""Newton's method, :math:`v \leftarrow v + (I - \gamma P_\pi)^{-1}(Tv - v)`: a few steps to the floor of float64.

    That is the regularised value of :math:`\pi`, so the iterates increase and each is at least as good as a sweep.
    """
    return _iterate(mdp, alpha, tol, base, threads, _always, max_iterations)


def soft_maximum(
    mdp: TabularMDP, q: ArrayLike, alpha: float, *, base: ArrayLike | None = None, threads: int | None = None
) -> SoftMaximum:
    r""":math:`\alpha \log \sum_a b(a|s) \exp(q(s,a)/\alpha)` for each state, and the policy that attains it."""
    alpha, given = checks.interval("alpha", alpha, 0, np.inf, "()"), np.asarray(q)
    if given.shape == mdp.r.shape:
        given = np.where(mdp.actions, given, 0.0)  # missing actions may have minus infinity, as in a solution
    q = checks.shaped("q", given, mdp.r.shape, "(S, A)")
    return _soft_maximum(q, _regulariser(mdp, alpha, base), threads_or_default(threads))


def _regulariser(mdp: TabularMDP, alpha: float, base: ArrayLike | None) -> _Regulariser:
    """For entropy the base is uniform, and alpha log(number of actions) is added."""
    if base is None:
        count = mdp.actions.sum(axis=1)
        b, offset = mdp.actions / count[:, None], np.where(mdp.terminal, 0.0, alpha * np.log(count))
    else:
        given = mdp.policy(base, "base")
        weights = np.eye(mdp.n_actions)[given.astype(np.int64)] if given.ndim == 1 else given
        b, offset = weights / weights.sum(axis=1, keepdims=True), np.zeros(mdp.n_states)
    with np.errstate(divide="ignore"):
        return _Regulariser(alpha, b, np.log(b), offset)


@kernel
def _soft_maxima(
    q: Array, alpha: float, b: Array, log_b: Array, offset: Array, v: Array, pi: Array, start: int, stop: int
) -> float:
    """:func:`log_sum_exp` in the states from `start` to `stop - 1`; the largest rounding."""
    most = 0.0
    for s in range(start, stop):
        v[s], lost = log_sum_exp(q[s], alpha, b[s], log_b[s], offset[s], pi[s])
        most = max(most, lost)
    return most


def _soft_maximum(q: Array, soft: _Regulariser, threads: int) -> SoftMaximum:
    (S, A), v, pi = q.shape, np.empty(len(q)), np.empty(q.shape)

    def work(start: int, stop: int) -> float:
        return _soft_maxima(q, *soft, v, pi, start, stop)

    most = max(spread(work, S, threads, least=1 + BLOCK // A))
    return SoftMaximum(v, pi, EPS * most + (A + 4) * max(soft.alpha, 1.0) * SUBNORMAL)


def _ahead(mdp: TabularMDP, v: Array, threads: int) -> Array:
    r"""One step ahead, :math:`r + \gamma P v`, float[S, A]; zero for missing actions."""
    if not mdp.is_sparse:
        return np.asarray(mdp.r + mdp.gamma * mdp.expect(v))
    q, rows = np.empty(mdp.r.shape), (mdp.P.indptr, mdp.P.indices, mdp.P.data)

    def work(start: int, stop: int) -> None:
        kernels.ahead_csr(*rows, mdp.r, mdp.gamma, v, q, start, stop)

    spread(work, mdp.n_states, threads, least=1 + BLOCK // mdp.n_actions)
    return q


def _always(widths: list[float]) -> bool:
    return True


def _never(widths: list[float]) -> bool:
    return False


def _slow(tol: float, widths: list[float]) -> bool:
    """Whether the certificates, at the rate of the last `LOOK` of them, need more than `PATIENCE` sweeps to `tol`."""
    if len(widths) <= LOOK:
        return False
    before, now = widths[-1 - LOOK], widths[-1]
    return LOOK * log(now / tol) > PATIENCE * log(before / now)


def _iterate(
    mdp: TabularMDP,
    alpha: float,
    tol: float,
    base: ArrayLike | None,
    threads: int | None,
    slow: Callable[[list[float]], bool],
    limit: int,
    device: str | None = None,
) -> SoftSolution:
    """Sweeps until they are `slow`, which is asked the widths of their certificates; from then on Newton steps.

    With a `device` of torch they are made there as far as they lead.
    """
    alpha = checks.interval("alpha", alpha, 0, np.inf, "()")
    tol = checks.interval("tol", tol, 0, np.inf, "()")
    soft, threads = _regulariser(mdp, alpha, base), threads_or_default(threads)
    v, widths = _swept_on_device(mdp, soft, tol, slow, device) if device else (np.zeros(mdp.n_states), [])
    newton, best, stalled = None, np.inf, 0
    while True:
        tv, pi, loss = _soft_maximum(_ahead(mdp, v, threads), soft, threads)
        slack = rounding(mdp, v, mdp.gamma) + loss
        low, high = series(mdp, tv - v, slack)
        floor = float(np.ptp(series(mdp, np.zeros(1), slack)))
        stalled = stalled + 1 if best <= high - low <= 100 * floor else 0
        widths.append(high - low)
        # half a tolerance, since the bound on q adds the rounding of one more backup
        reached = high - low <= tol or high - low <= 2 * floor
        if reached or len(widths) >= limit or stalled > 50 or not np.isfinite(high - low):
            break
        if newton is None and slow(widths):
            newton = _Newton(mdp, tol)
        v = newton.step(v, tv, pi, high - low) if newton else tv + (low + high) / 2
        best = min(best, high - low)
    solution = _conclude(mdp, soft, tv, low, high, len(widths), threads)
    if not solution.error <= tol:
        raise NotConverged(
            f"tolerance {tol:g} asked, {solution.error:.3g} certified after {len(widths)} iterations.", solution
        )
    return solution


def _swept_on_device(
    mdp: TabularMDP, soft: _Regulariser, tol: float, slow: Callable[[list[float]], bool], device: str
) -> tuple[Array, list[float]]:
    """Values after sweeps on a device until those are `slow` or arrive, and the widths that they might certify."""
    sweeps = DeviceSweeps(mdp, mdp.gamma, device)
    v, tv, log_b, offset = (sweeps.vector(x) for x in (np.zeros(mdp.n_states), soft.offset, soft.log_b, soft.offset))
    widths: list[float] = []
    while True:
        change = sweeps.soften(v, tv, soft.alpha, log_b, offset)
        low, high = series(mdp, np.array([change.low, change.high]), sweeps.slack)
        if not np.isfinite(high - low):  # what is not finite is for the compiled sweeps to tell
            return np.zeros(mdp.n_states), widths
        widths.append(high - low)
        v, tv = tv + (low + high) / 2, v
        floor = float(np.ptp(series(mdp, np.zeros(1), sweeps.slack)))
        if high - low <= max(tol, 100 * floor) or slow(widths):
            return sweeps.host(v), widths


def _conclude(
    mdp: TabularMDP, soft: _Regulariser, tv: Array, low: float, high: float, iterations: int, threads: int
) -> SoftSolution:
    v = tv + (low + high) / 2
    error = (high - low) / 2 + EPS * float(abs(v).max() + abs(low) + abs(high))
    q = _ahead(mdp, v, threads)
    error = max(error, contraction(mdp)[1] * error + rounding(mdp, v, mdp.gamma))
    pi = _soft_maximum(q, soft, threads).pi
    return SoftSolution(v, np.where(mdp.actions, q, -np.inf), pi, error, iterations)


class _Newton:
    r"""Newton steps: to rounding, or loosely by BiCGSTAB where the actions of a state share their successors (grids).

    Loose steps end where a few of them in turn do not narrow the certificate.
    """

    def __init__(self, mdp: TabularMDP, tol: float) -> None:
        self.mdp, self.steps, self.best, self.fruitless = mdp, 0, np.inf, 0
        self.sweeps = Sweeps(mdp, mdp.gamma)
        self.loose = mdp.n_states > SMALL and self.sweeps.union is not None and self.sweeps.bandwidth > CHAIN
        self.enough = 0.3 * tol * (1 - mdp.gamma)

    def step(self, v: Array, tv: Array, pi: Array, width: float) -> Array:
        """The values after a step from `v` with backup `tv`, policy `pi` and a certificate of `width`."""
        d = tv - v
        self.steps += 1
        self.fruitless = 0 if width < self.best else self.fruitless + 1
        self.best = min(self.best, width) if self.steps > 1 else np.inf  # the first step may carry values far
        if self.fruitless > FRUITLESS or not self.loose:
            return v + resolvent(self.mdp, self.mdp.under(pi)[0], d)
        union, greedy = self.sweeps.union, self.sweeps.greedy
        assert union is not None
        mixed = np.empty(union.successors.shape) if greedy.kinds.size else greedy.weights
        kernels.mixed_rows(pi, union.kinds, union.weights, mixed)
        self.sweeps.greedy = greedy._replace(weights=mixed, kinds=kernels.EACH)
        return v + self.sweeps.correction(d, max(LOOSE * float(abs(d).max()), self.enough), KRYLOV)
