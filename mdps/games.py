r"""Zero-sum Markov games: the maximiser picks `a`, the minimiser `b`, both at once, and the discounted sum is at stake.

.. math:: (Tv)(s) = \max_{x \in \Delta_A} \min_{y \in \Delta_B}
          \sum_{a,b} x(a)\,y(b) \Bigl( r(s,a,b) + \gamma \sum_t P(t|s,a,b)\,v(t) \Bigr)

has one fixed point, the value of the game, and strategies that are optimal in its matrix games are optimal at all times
(Shapley 1953).  `T` is monotone and shifts constants, so the certificate of :mod:`claimlab.mdps.certificates` holds:
with the strategies x, y of the matrix games at v, what x guarantees and what y concedes lie between the same two ends.

The matrix games are solved by a simplex method of their own, since a general solver needs a millisecond for each;
whatever the rounding in its pivots, the strategies that it ends with prove a lower and an upper bound.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, issparse

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.certificates import NotConverged, contraction
from claimlab.mdps.fixed_point import Backup, fixed_point
from claimlab.mdps.planning import finest, solve
from claimlab.mdps.resolvent import resolvent
from claimlab.mdps.tabular import EPS, TabularMDP, rounding
from claimlab.native import kernel, part, spread, threads_or_default

LEAST = 64  # matrix games that are worth a thread
PIVOT = 1e-11  # entries below are rounding, where those of the game are scaled to [1, 2]


@dataclass(frozen=True, eq=False)
class MarkovGame:
    r"""A zero-sum Markov game with finitely many states and actions, :math:`(S, A, B, P, r, \gamma)`.

    A state in which one player has no say, as in turn-based games, repeats rows for that player's actions.

    Parameters
    ----------
    P : float[S, A, B, S] or CSR (S*A*B, S)
        ``P[s, a, b, t]`` is the probability of moving from `s` to `t` under `a` and `b`; sparse, in row
        ``(s*A + a)*B + b``.
    r : float[S, A, B]
        Expected immediate payment to the maximiser.
    gamma : float
        Discount factor in [0, 1).
    """

    P: Any
    r: Any
    gamma: float
    joint: TabularMDP = field(init=False, repr=False)  # both players as one, with action a*B + b

    def __post_init__(self) -> None:
        r = checks.array("r", self.r, ndim=3)
        S, A, B = r.shape
        if r.size == 0:
            raise ValueError(f"r has shape {r.shape}: a game needs a state and an action for each player.")
        if issparse(self.P):
            P = self.P
            if P.shape != (r.size, S):
                raise ValueError(f"sparse P must have shape (S*A*B, S) = {(r.size, S)}, got {P.shape}.")
        else:
            P = checks.distributions("P", self.P, ndim=4)
            if P.shape != (*r.shape, S):
                raise ValueError(
                    f"P must have shape (S, A, B, S) for r of shape (S, A, B); got P {P.shape}, r {r.shape}."
                )
            P = P.reshape(S, A * B, S)
        joint = TabularMDP(P, r.reshape(S, A * B), self.gamma)
        P = joint.P if joint.is_sparse else joint.P.reshape(S, A, B, S)
        for name, value in {"P": P, "r": r, "gamma": joint.gamma, "joint": joint}.items():
            object.__setattr__(self, name, value)

    @property
    def n_states(self) -> int:
        return int(self.r.shape[0])


class GameSolution(NamedTuple):
    """The value of a game and stationary strategies of both players, with their certificate."""

    v: Array  # [S]
    x: Array  # [S, A], of the maximiser
    y: Array  # [S, B], of the minimiser
    error: float  # certified bound on max |v - v*|
    exploitability: float  # certified bound on what y concedes minus what x guarantees, in any state
    iterations: int


class MatrixSolution(NamedTuple):
    """The value of a matrix game and optimal strategies, with their certificate."""

    value: float
    x: Array  # [A], of the maximiser
    y: Array  # [B], of the minimiser
    error: float  # certified: value lies within it of the game's, and x and y guarantee value -/+ error


class BestResponses(NamedTuple):
    """What two strategies are worth against the best responses to them."""

    guaranteed: Array  # [S], of x: the least value against it, up to error
    conceded: Array  # [S], of y: the largest value against it, up to error
    error: float  # certified bound on the error of both
    exploitability: float  # certified bound on max (conceded - guaranteed)


def solve_game(
    game: MarkovGame, tol: float = 1e-9, *, max_iterations: int = 10_000, threads: int | None = None
) -> GameSolution:
    r"""Solve `game` so that ``max |v - v*| <= tol``, proved.

    Newton's method on :math:`v = Tv` (Pollatschek & Avi-Itzhak 1969): the next `v` is the value of the strategies that
    are optimal in the last one's matrix games.  It may cycle (van der Wal 1978), so once it does not narrow the
    certificate, policy iteration takes over, in which the minimiser responds to the maximiser's strategy (Hoffman &
    Karp 1966): its values increase to the game's.

    Parameters
    ----------
    game : MarkovGame
    tol : float
    threads : int, optional
        Every core by default; the result does not depend on it.

    Raises
    ------
    NotConverged
        If `tol` is below what float64 can certify.

    Examples
    --------
    >>> pennies = MarkovGame(P=np.ones((1, 2, 2, 1)), r=[[[1, -1], [-1, 1]]], gamma=0.5)
    >>> solve_game(pennies).x
    array([[0.5, 0.5]])
    """
    return _solution(game, tol, True, max_iterations, threads)


def shapley_iteration(
    game: MarkovGame, tol: float = 1e-9, *, max_sweeps: int = 1_000_000, threads: int | None = None
) -> GameSolution:
    """Apply the operator (Shapley 1953) until the span certificate falls to `tol`; see :func:`solve_game`."""
    return _solution(game, tol, False, max_sweeps, threads)


def solve_matrix_game(M: ArrayLike) -> MatrixSolution:
    r"""The value :math:`\max_x \min_y x^\top M y` of a matrix game, float[A, B], and strategies that prove it.

    >>> rock_paper_scissors = [[0, -1, 1], [1, 0, -1], [-1, 1, 0]]
    >>> solve_matrix_game(rock_paper_scissors).x.round(12)
    array([0.33333333, 0.33333333, 0.33333333])
    """
    matrix = checks.array("M", M, ndim=2)
    if matrix.size == 0:
        raise ValueError(f"M has shape {matrix.shape}: a game needs an action for each player.")
    stage = _stage(matrix[None].copy(), 1)  # writable, as the solvers' are: compiled once
    return MatrixSolution(float(stage.value[0]), stage.x[0], stage.y[0], stage.gap)


def best_responses(game: MarkovGame, x: ArrayLike, y: ArrayLike) -> BestResponses:
    """What stationary strategies `x`, float[S, A], and `y`, float[S, B], are worth, each against a best response.

    Against a fixed strategy the other player has an MDP, which :func:`claimlab.mdps.planning.solve` solves.
    """
    guaranteed, error = _guaranteed(game, _strategy("x", x, game, 1))
    conceded, other = _conceded(game, _strategy("y", y, game, 2))
    error = max(error, other)
    widest = float((conceded - guaranteed).max())
    return BestResponses(guaranteed, conceded, error, widest + 2 * error + EPS * abs(widest))


class _Stage(NamedTuple):
    value: Array  # [S]
    x: Array  # [S, A]
    y: Array  # [S, B]
    gap: float  # certified bound on the error of any value, and on what x and y lose


def _solution(game: MarkovGame, tol: float, jumps: bool, limit: int, threads: int | None) -> GameSolution:
    if not isinstance(game, MarkovGame):
        raise TypeError(f"game must be a MarkovGame, got {type(game).__name__}.")
    n = threads_or_default(threads)
    found = fixed_point(game.joint, lambda v: _backup(game, v, n), tol, jumps=jumps, limit=limit)
    stage = _stage(_payoffs(game, found.at), n)
    solution = GameSolution(found.v, stage.x, stage.y, found.error, 2 * found.error, found.iterations)
    if not found.error <= tol:
        raise NotConverged(
            f"tolerance {tol:g} asked, {found.error:.3g} certified after {found.iterations} iterations.", solution
        )
    return solution


def _payoffs(game: MarkovGame, v: Array) -> Array:
    """The matrix games at `v`, float[S, A, B]."""
    return (game.joint.r + game.gamma * game.joint.expect(v)).reshape(game.r.shape)


def _backup(game: MarkovGame, v: Array, threads: int) -> Backup:
    stage = _stage(_payoffs(game, v), threads)

    def jump(proved: bool) -> Array:
        if proved:
            return _guaranteed(game, stage.x)[0]
        both = (stage.x[:, :, None] * stage.y[:, None, :]).reshape(game.n_states, -1)
        return v + resolvent(game.joint, game.joint.under(both)[0], stage.value - v)

    return Backup(stage.value, rounding(game.joint, v, game.gamma) + stage.gap, jump)


def _strategy(name: str, given: ArrayLike, game: MarkovGame, axis: int) -> Array:
    shape = (game.n_states, game.r.shape[axis])
    weights = checks.distributions(name, given, ndim=2)
    if weights.shape != shape:
        raise ValueError(f"{name} must have shape (S, {'_AB'[axis]}) = {shape}, got {weights.shape}.")
    return weights / weights.sum(axis=1, keepdims=True)


def _guaranteed(game: MarkovGame, x: Array) -> tuple[Array, float]:
    """The least value against `x`, and a bound on its error."""
    response = _against(game, x, 1, -1.0)
    solution = solve(response, finest(response))
    return -solution.v, solution.error + _mixed(game, solution.v, x.shape[1])


def _conceded(game: MarkovGame, y: Array) -> tuple[Array, float]:
    """The largest value against `y`, and a bound on its error."""
    response = _against(game, y, 2, 1.0)
    solution = solve(response, finest(response))
    return solution.v, solution.error + _mixed(game, solution.v, y.shape[1])


def _against(game: MarkovGame, strategy: Array, axis: int, sign: float) -> TabularMDP:
    """The MDP of the player who faces `strategy` on `axis`, with rewards times `sign`."""
    S, A, B = game.r.shape
    letters = "sa,sab->sb" if axis == 1 else "sb,sab->sa"
    r = sign * np.einsum(letters, strategy, game.r)
    n, s = r.shape[1], np.arange(S)[:, None, None]
    a, b = np.arange(A)[None, :, None], np.arange(B)[None, None, :]
    pairs = ((s * A + a) * B + b).reshape(-1)
    rows = np.broadcast_to(s * n + (b if axis == 1 else a), game.r.shape).reshape(-1)
    shares = np.broadcast_to(np.expand_dims(strategy, 3 - axis), game.r.shape).reshape(-1)
    mix = csr_array((shares, (rows, pairs)), shape=(S * n, S * A * B))
    P = mix @ game.joint.P if game.joint.is_sparse else np.asarray(mix @ game.joint.P.reshape(-1, S)).reshape(S, n, S)
    return TabularMDP(P, r, game.gamma)


def _mixed(game: MarkovGame, v: Array, terms: int) -> float:
    """What the rounding of mixed rewards and transitions, and of a strategy's sum, may do to a value."""
    size = float(abs(game.r).max() + game.gamma * abs(v).max())
    return 2 * (terms + 4) * EPS * size / (1 - contraction(game.joint)[1])


def _stage(M: Array, threads: int) -> _Stage:
    """Solve the matrix games float[S, A, B]."""
    S, A, B = M.shape
    value, gap, x, y = np.empty(S), np.empty(S), np.zeros((S, A)), np.zeros((S, B))
    spread(lambda start, stop: _play(M, start, stop, value, gap, x, y), S, threads, least=LEAST)
    return _Stage(value, x, y, float(gap.max()))


@kernel
def _play(M: Array, start: int, stop: int, value: Array, gap: Array, x: Array, y: Array) -> None:
    """Values and strategies of matrix games, and bounds on their error from the strategies themselves."""
    _, A, B = M.shape
    T, rows, columns = np.empty((A + 1, B + 1)), np.empty(A, np.int64), np.empty(B, np.int64)
    for s in range(start, stop):
        game, largest = M[s], 0.0
        if not _saddle(game, x[s], y[s]):
            _simplex(game, T, rows, columns, x[s], y[s])
        lower, upper = np.inf, -np.inf
        for b in range(B):
            total = 0.0
            for a in range(A):
                total += x[s, a] * game[a, b]
                largest = max(largest, abs(game[a, b]))
            lower = min(lower, total)
        for a in range(A):
            total = 0.0
            for b in range(B):
                total += game[a, b] * y[s, b]
            upper = max(upper, total)
        value[s] = lower / 2 + upper / 2
        gap[s] = max(upper - lower, 0.0) / 2 + 2 * (max(A, B) + 4) * EPS * largest


@part
def _saddle(M: Array, x: Array, y: Array) -> bool:
    """Look for a saddle point in pure actions; if there is one, write it to `x` and `y`."""
    A, B = M.shape
    best_a, best_b, maximin, minimax = 0, 0, -np.inf, np.inf
    for a in range(A):
        worst = M[a].min()
        if worst > maximin:
            best_a, maximin = a, worst
    for b in range(B):
        worst = M[:, b].max()
        if worst < minimax:
            best_b, minimax = b, worst
    if maximin < minimax:
        return False
    x[best_a], y[best_b] = 1.0, 1.0
    return True


@part
def _simplex(M: Array, T: Array, rows: Ints, columns: Ints, x: Array, y: Array) -> None:
    r"""Maximise :math:`\sum_b w_b` subject to :math:`M' w \le 1, w \ge 0`, M' being M scaled to [1, 2] (Dantzig 1951).

    The value of M' is 1 / sum w, `w` and the dual solution are proportional to the strategies.  `T` is the condensed
    tableau; `rows` and `columns` say which variable a line belongs to: b for w_b, B + a for the slack of row a.  The
    steepest column enters first; after A + B pivots it is the variable of least index, which cannot cycle (Bland 1977).
    """
    A, B = M.shape
    low = M.min()
    span = M.max() - low
    for a in range(A):
        rows[a] = B + a
        for b in range(B):
            T[a, b] = 1 + (M[a, b] - low) / span
        T[a, B] = 1.0
    for b in range(B):
        columns[b] = b
        T[A, b] = -1.0
    T[A, B] = 0.0
    for pivots in range(100 * (A + B)):
        enter = _entering(T, columns, pivots > A + B)
        if enter < 0:
            break
        leave = _leaving(T, rows, enter)
        if leave < 0:
            break
        _pivot(T, leave, enter)
        rows[leave], columns[enter] = columns[enter], rows[leave]
    for a in range(A):
        if rows[a] < B:
            y[rows[a]] = max(T[a, B], 0.0)
    for b in range(B):
        if columns[b] >= B:
            x[columns[b] - B] = max(T[A, b], 0.0)
    x /= x.sum()
    y /= y.sum()


@part
def _entering(T: Array, columns: Ints, bland: bool) -> int:
    """The column to enter: steepest, or of least index; -1 at the optimum."""
    A, B = T.shape[0] - 1, T.shape[1] - 1
    enter = -1
    for b in range(B):
        if T[A, b] < -PIVOT and (enter < 0 or (columns[b] < columns[enter] if bland else T[A, b] < T[A, enter])):
            enter = b
    return enter


@kernel
def _leaving(T: Array, rows: Ints, enter: int) -> int:
    """The row whose variable reaches 0 first; the one of least index among equals; -1 if there is none."""
    A, B = T.shape[0] - 1, T.shape[1] - 1
    leave, least = -1, np.inf
    for a in range(A):
        if T[a, enter] > PIVOT:
            ratio = max(T[a, B], 0.0) / T[a, enter]
            if ratio < least or (ratio == least and rows[a] < rows[leave]):
                leave, least = a, ratio
    return leave


@part
def _pivot(T: Array, i: int, j: int) -> None:
    """Exchange the variables of row `i` and column `j`."""
    m, n = T.shape
    inverse = 1 / T[i, j]
    for l in range(n):
        if l != j:
            T[i, l] *= inverse
    for k in range(m):
        if k != i and T[k, j] != 0:
            factor = T[k, j]
            for l in range(n):
                if l != j:
                    T[k, l] -= factor * T[i, l]
            T[k, j] = -factor * inverse
    T[i, j] = inverse
