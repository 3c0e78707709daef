r"""The workspace of an iterative solver: rows of `P` in the layout that fits them, the greedy policy, its rows.

The layout is chosen from the data (see :mod:`claimlab.mdps.kernels`): dense rows for a dense `P`; union rows where the
actions of a state share successors and few enough that this is no larger than CSR; else CSR rows, of which the greedy
ones are copied out at one width unless they are long.  Nothing here is larger than the MDP itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from claimlab.checks import Array, Ints
from claimlab.mdps import kernels
from claimlab.mdps.kernels import Greedy
from claimlab.mdps.tabular import EPS, FiniteMDP, rounding_at
from claimlab.mdps.unions import SHORT, Union, united, unsigned
from claimlab.native import spread

LONG = 64  # entries from which a row is as fast to read among those of other actions
FEW = 8  # actions up to which the same holds
LITTLE = 100_000  # entries of which any number may be wasted
PART = 8_192  # states of a block in which sums are taken, or a Gauss-Seidel sweep goes on its own
PARTS = 16  # of such a sweep at most: over more, news would take too long
MANY = 300_000  # states from which threads pay in a correction
BLOCK = 8_000  # entries of the greedy rows that are worth a thread
NEAR = 2**23  # bytes of greedy rows that may stay in the cache from one sweep to the next
FEW_LEFT = 5  # where more than a state in so many must be looked at, all are: in order, that takes no longer


class Change(NamedTuple):
    """What a sweep did to `v`."""

    low: float  # least and largest entry of (new - old); NaN if one of them is not finite
    high: float
    changed: int  # states with another greedy action


class Sweeps:
    """Sweeps of the optimality operator, with discount `gamma`, and of the policy that was greedy in the last one.

    Results go to arrays of the caller and do not depend on `threads`.
    """

    def __init__(self, mdp: FiniteMDP, gamma: float, threads: int = 1) -> None:
        self.mdp, self.gamma, self.threads = mdp, gamma, threads
        self.r = mdp.r if mdp.actions.all() else np.where(mdp.actions, mdp.r, -np.inf)
        self.least = 1 + BLOCK // max(mdp.row_length, 1)
        self.union = united(mdp)
        width = self.union.successors.shape[1] if self.union else _copied(mdp)
        self.width = (0,) * (width if width <= SHORT else 0)
        self.each = (0,) * (mdp.n_actions if self.width and mdp.n_actions <= FEW else 0)
        self.greedy = _nothing_chosen(mdp, width, self.union)
        self.ahead = 0 if self.union or 12 * width * mdp.n_states <= NEAR else kernels.AHEAD
        self.drift, self.previous = 0.0, None
        self.slack = np.nan

    drift: float  # how far, at most, two actions of a state may have moved against each other since the first sweep
    previous: Array | None  # [S], the values of the last improvement
    slack: float  # bound on the rounding of that improvement

    @property
    def policy(self) -> Ints:
        return self.greedy.policy.astype(np.int64)

    def vector(self, v: Array) -> Array:
        """`v` as :meth:`improve` and :meth:`evaluate` take it."""
        return v

    def host(self, v: Array) -> Array:
        """The array behind such a vector."""
        return v

    @property
    def fixed_width(self) -> bool:
        """Whether the rows of the greedy policy are at hand at a fixed width."""
        return self.greedy.weights.shape[1] > 0

    def improve(self, v: Array, out: Array) -> Change:
        r"""The optimality operator on `v`; the policy becomes greedy for `v`, the first of tied actions.

        Two actions of a state lead by different amounts at v and at v + x, by :math:`\gamma (P_a - P_b) x` at most.  If
        rows sum to 1 within :math:`\epsilon` that is at most :math:`\gamma (\operatorname{span} x (1 + \epsilon)
        + 2\epsilon \max|x|)`; and each computed lead is off by two roundings at most.
        """
        if self.previous is None:
            self.previous = v.copy()
        low, high, largest = kernels.extremes(v, self.previous)
        off = 2 * self.mdp.row_error + 8 * EPS
        moved = self.gamma * ((high - low) * (1 + off) + off * max(-low, high))
        self.drift = self.drift * (1 + 2 * EPS) + moved if np.isfinite(moved) else np.inf
        self.slack = rounding_at(self.mdp, largest, self.gamma)
        margin = 2 * self.slack + 4 * EPS * (self.drift if np.isfinite(self.drift) else 0.0)
        shared = (self.r, self.gamma, v, out, self.drift, margin, self.greedy)
        if self.union:
            return self._spread(kernels.improve_union, *self.union, *shared, self.width, self.each)
        if self.mdp.is_sparse:
            used = kernels.used_up(self.greedy.lead, self.drift)
            used = len(v) if FEW_LEFT * used > len(v) else used
            return self._spread(kernels.improve_csr, *self._rows(), *shared, used, self.width, self.each)
        return self._spread(kernels.improve_dense, self.mdp.P, *shared)

    def evaluate(self, v: Array, out: Array) -> Change:
        """One sweep of the policy."""
        shared = (self.greedy, self.gamma, v, out)
        if self.fixed_width:
            if self.union:
                return self._spread(kernels.evaluate_union, self.r, *shared, self.width)
            return self._spread(kernels.evaluate_short, *shared, self.width, self.ahead)
        if self.mdp.is_sparse:
            rows = (*self._rows(), self.mdp.n_actions)
            return self._spread(kernels.evaluate_csr, *rows, *shared)
        return self._spread(kernels.evaluate_dense, self.mdp.P, *shared)

    def gauss_seidel(self, v: Array, *, backward: bool) -> None:
        """One sweep of the optimality operator in place, for sparse rows only.

        Large MDPs are swept in blocks, as many whatever `threads` is, which see each other's values of the last sweep.
        """
        if not self.mdp.is_sparse:
            return
        n, count = self.mdp.n_states, max(1, min(self.mdp.n_states // PART, PARTS))
        kernel: Callable[..., None] = kernels.gauss_seidel_union if self.union else kernels.gauss_seidel_csr
        old = v.copy() if count > 1 else v
        shared = (self.r, self.gamma, v, old, backward)
        side = kernels.ABREAST if self.union else 1  # blocks that no threads part

        def work(first: int, last: int) -> None:
            if self.union:
                blocks = count, side * first, min(side * last, count)
                kernel(*self.union, *shared, self.width, self.each, *blocks)
                return
            for part in range(first, last):
                kernel(*self._rows(), *shared, n * part // count, n * (part + 1) // count)

        spread(work, -(-count // side), self.threads)

    def correction(self, d: Array, tol: float, limit: int) -> Array:
        """About the solution of (I - gamma P_pi) e = d, to a residual of `tol` or as far as `limit` products lead."""
        e = np.empty_like(d)
        if len(d) >= MANY:
            left = self._correct(d, e, tol, limit)
        else:
            left = kernels.correct(self.greedy, self.gamma, d, e, tol, limit, False, self.width)
        if not left <= max(tol, float(abs(d).max()) / 2):  # smoothing costs time, so only where plain BiCGSTAB failed
            kernels.correct(self.greedy, self.gamma, d, e, tol, limit, True, self.width)
        return e

    @np.errstate(over="ignore", invalid="ignore")  # of sums, which breakdowns show in
    def _correct(self, d: Array, e: Array, tol: float, limit: int) -> float:
        """:func:`claimlab.mdps.kernels.correct` by several threads; its sums are over blocks of `PART` states."""
        n, sums, of = len(d), np.empty((-(-len(d) // PART), 2)), (self.greedy, self.gamma)
        raw, p, v, t = d.copy(), d.copy(), np.empty_like(d), np.empty_like(d)
        e[:] = 0.0
        rho, products, largest = kernels.dot(d, d), 0, np.inf
        while products < limit:
            spread(partial(kernels.product, *of, p, d, v, self.width, self.ahead, sums), len(sums), self.threads)
            against = float(sums[:, 0].sum())
            if against == 0.0 or rho == 0.0:
                break
            alpha = rho / against
            spread(partial(kernels.subtract, alpha, v, raw), n, self.threads)
            spread(partial(kernels.product, *of, raw, raw, t, self.width, self.ahead, sums), len(sums), self.threads)
            along, square = sums.sum(axis=0).tolist()
            omega = along / square if square > 0.0 else 0.0
            spread(partial(kernels.advance, alpha, p, omega, t, d, e, raw, sums), len(sums), self.threads)
            rho_next, largest = float(sums[:, 0].sum()), float(sums[:, 1].max())
            products += 2
            if not abs(rho_next) <= kernels.LARGEST:  # a breakdown, as there
                return np.inf
            if largest <= tol or omega == 0.0:
                break
            beta, rho = rho_next / rho * (alpha / omega), rho_next
            spread(partial(kernels.turn, beta, omega, v, raw, p), n, self.threads)
        return largest

    @property
    def bandwidth(self) -> int:
        """How far transitions lead at most, in the order of the states (of union rows; the number of states else)."""
        return self.union.bandwidth if self.union else self.mdp.n_states

    def _rows(self) -> tuple[Any, ...]:
        P = self.mdp.P
        return unsigned(P.indptr), unsigned(P.indices), P.data

    def _spread(self, kernel: Callable[..., tuple[float, float, int]], *arguments: Any) -> Change:
        """Run `kernel` on blocks of states."""
        found = spread(partial(kernel, *arguments), self.mdp.n_states, self.threads, least=self.least)
        if len(found) == 1:
            return Change(*found[0])
        lows, highs, changed = zip(*found)
        return Change(float(np.min(lows)), float(np.max(highs)), sum(changed))  # unlike min and max, these keep NaN


def _copied(mdp: FiniteMDP) -> int:
    """The width at which greedy CSR rows are copied out: their largest length, or 0 where that is long or wasteful."""
    width = mdp.row_length if mdp.is_sparse else 0
    return width if width <= LONG and width * mdp.r.size <= max(2 * mdp.n_entries, LITTLE) else 0


def _nothing_chosen(mdp: FiniteMDP, width: int, union: Union | None) -> Greedy:
    S, A = mdp.r.shape
    policy, lead = np.full(S, -1, np.int32), np.full(S, -np.inf)
    if union:
        return Greedy(policy, lead, union.successors, union.weights.reshape(-1, width), np.empty(0), union.kinds, A)
    return Greedy(policy, lead, np.zeros((S, width), np.uint32), np.zeros((S, width)), np.zeros(S), kernels.EACH, A)
