r"""Small discounted MDPs in rational arithmetic: no rounding, so ties are ties.

Rational arrays are object arrays of :class:`fractions.Fraction`.  A float stands for the dyadic rational that it
stores: ``rationals(0.1)`` is not 1/10, ``rationals("1/10")`` and ``rationals("0.1")`` are.  The rest of the library
works in float64 with proved errors; this is what its tests compare with, and what re-checks a counterexample.
"""

from __future__ import annotations

from fractions import Fraction
from math import inf, lcm
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimlab import checks
from claimlab.checks import Bools, Ints
from claimlab.mdps.tabular import TabularMDP

Rationals = NDArray[np.object_]  # of Fraction


class ExactSolution(NamedTuple):
    """The solution of a discounted MDP without any error."""

    v: Rationals  # [S], optimal values
    q: Rationals  # [S, A], optimal action values; the float minus infinity for missing actions
    policy: Ints  # [S], the first optimal action of each state
    actions: Bools  # [S, A], all optimal actions


class RationalMDP(NamedTuple):
    """The numbers of a discounted MDP as rationals, in the order in which :func:`solve_exactly` takes them."""

    P: Rationals  # [S, A, S]
    r: Rationals  # [S, A]
    gamma: Fraction
    actions: Bools  # [S, A]


def rationals(x: Any, name: str = "x") -> Rationals:
    """`x`, nested sequences or an array of ints, floats, Fractions or strings like "1/3", as an array of Fractions.

    >>> rationals([0.5, "1/3", 2]).tolist()
    [Fraction(1, 2), Fraction(1, 3), Fraction(2, 1)]
    """
    given = np.array(x, dtype=object)
    out = np.empty(given.shape, dtype=object)
    for index, value in np.ndenumerate(given):
        out[index] = _rational(name, list(index), value)
    return out


def _rational(name: str, index: list[int], value: Any) -> Fraction:
    try:
        if isinstance(value, (int, np.integer)):
            return Fraction(int(value))  # Fraction would keep a numpy integer, and that overflows
        return Fraction(*value.as_integer_ratio()) if isinstance(value, np.floating) else Fraction(value)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        where = f"{name}{index}" if index else name
        raise ValueError(f"{where} is {value!r}; only finite numbers and strings like '1/3' are rational.") from None


def solve_linear(A: Any, b: Any) -> Rationals:
    r"""The solution of :math:`A x = b`, exactly; `A` is (n, n), `b` (n,) or (n, k).

    Fraction-free Gauss–Jordan elimination (Bareiss 1968): rows are scaled to integers, every division is exact, and
    numbers grow no longer than the minors of `A`.

    >>> solve_linear([[2, 1], [1, 3]], ["1/2", 0]).tolist()
    [Fraction(3, 10), Fraction(-1, 10)]
    """
    A, b = rationals(A, "A"), rationals(b, "b")
    n = len(A) if A.ndim else 0
    if A.shape != (n, n) or n == 0:
        raise ValueError(f"A must be square, got shape {A.shape}.")
    if b.ndim not in (1, 2) or len(b) != n:
        raise ValueError(f"b must have shape ({n},) or ({n}, k), got {b.shape}.")
    M = np.stack([_integers(row)[0] for row in np.concatenate([A, b.reshape(n, -1)], axis=1)])
    last = 1
    for k in range(n):
        pivot = next((i for i in range(k, n) if M[i, k]), None)
        if pivot is None:
            raise ValueError(f"A is singular: its column {k} depends on the columns before it.")
        M[[k, pivot]] = M[[pivot, k]]
        others = np.arange(n) != k
        M[others] = (M[k, k] * M[others] - M[others, k, None] * M[k]) // last
        last = M[k, k]
    return _over(M[:, n:], last).reshape(b.shape)


def solve_exactly(P: Any, r: Any, gamma: Any, actions: Any = None) -> ExactSolution:
    """Policy iteration in rationals (Howard 1960): an action is changed only for a strictly better one.

    Parameters
    ----------
    P : (S, A, S)
        Transitions in anything that :func:`rationals` takes.
    r : (S, A)
    gamma : rational in [0, 1)
    actions : bool[S, A], optional
        Which actions exist; all by default.

    Examples
    --------
    >>> solve_exactly([[["1/3", "2/3"]], [[0, 1]]], [[1], [0]], "1/2").v.tolist()
    [Fraction(6, 5), Fraction(0, 1)]
    """
    mdp = _checked(P, r, gamma, actions)
    policy = _greedy(mdp, mdp.r)[0]
    states = np.arange(len(policy))
    while True:
        v = _evaluate(mdp, *_chosen(mdp, policy))
        q = _backup(mdp, v)
        first, optimal = _greedy(mdp, q)
        if optimal[states, policy].all():
            return ExactSolution(v, np.where(mdp.actions, q, -inf), first, optimal)
        policy = np.where(optimal[states, policy], policy, first)


def exact(mdp: TabularMDP, *, normalise: bool = False) -> ExactSolution:
    """The exact solution for the numbers that `mdp` stores; see :func:`rational_mdp` for `normalise`."""
    return solve_exactly(*rational_mdp(mdp, normalise=normalise))


def rational_mdp(mdp: TabularMDP, *, normalise: bool = False) -> RationalMDP:
    """The stored floats of `mdp` as rationals; with `normalise`, rows of `P` divided by their sum, which makes it 1."""
    S, A = mdp.r.shape
    P = rationals(mdp.P.toarray().reshape(S, A, S) if mdp.is_sparse else mdp.P)
    if normalise:
        P[mdp.actions] = P[mdp.actions] / P[mdp.actions].sum(axis=1, keepdims=True)
    return RationalMDP(P, rationals(mdp.r), Fraction(mdp.gamma), mdp.actions)


def policy_value_exactly(P: Any, r: Any, gamma: Any, pi: Any, actions: Any = None) -> Rationals:
    r"""The value :math:`(I-\gamma P_\pi)^{-1} r_\pi` of `pi`, int[S] or rationals (S, A) with rows summing to 1."""
    mdp = _checked(P, r, gamma, actions)
    S, A = mdp.r.shape
    given = np.asarray(pi)
    if given.ndim == 1:
        if given.shape != (S,) or given.dtype.kind not in "iu":
            raise ValueError(f"pi must be int[S] = int[{S}] or rationals (S, A) = {(S, A)}, got {given.shape}.")
        bad = [s for s, a in enumerate(given) if not (0 <= a < A and mdp.actions[s, a])]
        if bad:
            raise ValueError(f"pi[{bad[0]}] is {given[bad[0]]}, which is not an action of state {bad[0]}.")
        return _evaluate(mdp, *_chosen(mdp, given))
    weights = rationals(pi, "pi")
    if weights.shape != (S, A):
        raise ValueError(f"pi must be int[S] = int[{S}] or rationals (S, A) = {(S, A)}, got {weights.shape}.")
    _check_rows("pi", weights, np.ones(S, bool))
    missing = np.argwhere((weights != 0) & ~mdp.actions)
    if len(missing):
        raise ValueError(f"pi{missing[0].tolist()} is positive, but that action does not exist.")
    return _evaluate(mdp, (weights[..., None] * mdp.P).sum(axis=1), (weights * mdp.r).sum(axis=1))


def optimal_actions_exactly(P: Any, r: Any, gamma: Any, actions: Any = None) -> Bools:
    """Which actions are optimal, bool[S, A], every tie decided exactly."""
    return solve_exactly(P, r, gamma, actions).actions


def _checked(P: Any, r: Any, gamma: Any, actions: Any) -> RationalMDP:
    P, r = rationals(P, "P"), rationals(r, "r")
    if r.ndim != 2 or P.shape != (*r.shape, len(r)) or r.size == 0:
        raise ValueError(f"P must have shape (S, A, S) for r of shape (S, A); got P {P.shape}, r {r.shape}.")
    available = checks.booleans("actions", np.ones(r.shape, bool) if actions is None else actions, r.shape, "(S, A)")
    if not available.any(axis=1).all():
        raise ValueError(f"actions[{int(np.argmin(available.any(axis=1)))}] is empty: every state needs an action.")
    g = rationals(gamma, "gamma").item()
    if not 0 <= g < 1:
        raise ValueError(f"gamma must lie in [0, 1), got {gamma!r}.")
    _check_rows("P", P, available)
    most = max(P[available].sum(axis=1))
    if g * most >= 1:
        raise ValueError(f"gamma = {gamma!r} times the largest row sum of P, {float(most)!r}, is not below 1.")
    return RationalMDP(P, r, g, available)


def _check_rows(name: str, rows: Rationals, available: Bools) -> None:
    bad = np.argwhere((rows < 0) & available[..., None])
    if len(bad):
        raise ValueError(f"{name}{bad[0].tolist()} is {rows[tuple(bad[0])]}; probabilities cannot be negative.")
    sums = rows.sum(axis=-1)
    bad = np.argwhere((abs(sums - 1) > Fraction(checks.SUM_TOLERANCE)) & available)
    if len(bad):
        raise ValueError(
            f"{name}{bad[0].tolist()} sums to {float(sums[tuple(bad[0])]):.12g}, not to 1 "
            f"(tolerance {checks.SUM_TOLERANCE:g}; {len(bad)} such rows)."
        )


def _greedy(mdp: RationalMDP, q: Rationals) -> tuple[Ints, Bools]:
    """The first best available action of each state, and all of them."""
    masked = np.where(mdp.actions, q, -inf)
    best = masked == masked.max(axis=1, keepdims=True)
    return best.argmax(axis=1), best.astype(np.bool_)


def _chosen(mdp: RationalMDP, policy: Ints) -> tuple[Rationals, Rationals]:
    states = np.arange(len(policy))
    return mdp.P[states, policy], mdp.r[states, policy]


def _evaluate(mdp: RationalMDP, P_pi: Rationals, r_pi: Rationals) -> Rationals:
    return solve_linear(np.eye(len(r_pi), dtype=object) - mdp.gamma * P_pi, r_pi)


def _backup(mdp: RationalMDP, v: Rationals) -> Rationals:
    """One step ahead over common denominators: one reduction a pair, where Fractions would reduce at every sum."""
    (P, p), (r, d), (w, e) = _integers(mdp.P), _integers(mdp.r), _integers(v)
    up, down = mdp.gamma.numerator, mdp.gamma.denominator
    return _over(r * (down * p * e) + (P @ w) * (up * d), d * down * p * e)


def _integers(x: Rationals) -> tuple[Rationals, int]:
    """Integers `n` and a common denominator `d` with ``x = n / d``."""
    d = lcm(*(value.denominator for value in x.ravel().tolist()))
    return np.frompyfunc(lambda value: value.numerator * (d // value.denominator), 1, 1)(x), d


def _over(n: Rationals, d: int) -> Rationals:
    return np.asarray(np.frompyfunc(lambda value: Fraction(value, d), 1, 1)(n), dtype=object)
