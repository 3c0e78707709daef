r"""The parameter of a solver as a bandit: an arm is an :math:`\omega`, its cost the number of iterations of a solve.

Khodak, Chow, Balcan & Talwalkar (2024), Sections 2.2 and 2.3.  In each round a shift `c` and a right-hand side are
drawn, and :math:`(A + cI)x = b` is solved, for real, with the arm's :math:`\omega`, from zero.  The reward is
:math:`1 - (k - 1)/K` for `k` iterations; `K` is the theory's bound on :math:`k - 1`, and a solve is stopped after
:math:`K + 1` iterations.  :func:`iterations` recovers `k`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from math import inf, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from claimlab import checks
from claimlab.bandits.contextual import ContextualEnvironment
from claimlab.bandits.play import Environment
from claimlab.bandits.relaxation.matrices import Grid, SPDMatrix
from claimlab.bandits.relaxation.sweeps import grid_sor, sor, ssor, ssor_cg
from claimlab.bandits.relaxation.systems import truncated_normal
from claimlab.checks import Array, Ints
from claimlab.native import Native, kernel


class Solver(Native):
    """A solver with one parameter for the family :math:`A + cI`; `A` is a field."""

    A: Any  # SPDMatrix or Grid

    @abstractmethod
    def scratch(self) -> Array:
        """What :meth:`iterate` works on."""

    @abstractmethod
    def iterate(self, b: Array, shift: float, omega: float, tol: float, cap: int, work: Array) -> int:
        r"""Iterations from zero until :math:`\|b - (A + cI)x\|_2` is at most `tol`, or `cap`."""


@dataclass(frozen=True, eq=False)
class SOR(Solver):
    """Successive over-relaxation in the order of the rows."""

    A: SPDMatrix

    def scratch(self) -> Array:
        return np.zeros((4, self.A.diagonal.size))

    def iterate(self, b: Array, shift: float, omega: float, tol: float, cap: int, work: Array) -> int:
        work[0] = 0.0
        return sor(self.A, shift, b, omega, tol, cap, work[0], work[1:]).iterations


@dataclass(frozen=True, eq=False)
class SSOR(Solver):
    """Symmetric successive over-relaxation."""

    A: SPDMatrix

    def scratch(self) -> Array:
        return np.zeros((4, self.A.diagonal.size))

    def iterate(self, b: Array, shift: float, omega: float, tol: float, cap: int, work: Array) -> int:
        work[0] = 0.0
        return ssor(self.A, shift, b, omega, tol, cap, work[0], work[1:]).iterations


@dataclass(frozen=True, eq=False)
class SSORCG(Solver):
    """Conjugate gradients preconditioned by symmetric SOR."""

    A: SPDMatrix

    def scratch(self) -> Array:
        return np.zeros((5, self.A.diagonal.size))

    def iterate(self, b: Array, shift: float, omega: float, tol: float, cap: int, work: Array) -> int:
        work[0] = 0.0
        return ssor_cg(self.A, shift, b, omega, tol, cap, work[0], work[1:]).iterations


@dataclass(frozen=True, eq=False)
class GridSOR(Solver):
    """Successive over-relaxation on a 5-point stencil, row after row: :class:`SOR` without the matrix."""

    A: Grid

    def scratch(self) -> Array:
        return np.zeros((3 * self.A.rows + 8, self.A.columns + 2))

    def iterate(self, b: Array, shift: float, omega: float, tol: float, cap: int, work: Array) -> int:
        frame, columns = self.A.rows + 2, self.A.columns
        rhs, x = work[:frame], work[frame : 2 * frame]
        for i in range(self.A.rows):
            for j in range(columns):
                rhs[i + 1, j + 1] = b[i * columns + j]
        x[:] = 0.0
        return grid_sor(self.A, shift, rhs, omega, tol, cap, x, work[2 * frame :]).iterations


class World(NamedTuple):
    """What a run carries along."""

    b: Array  # [n], right-hand side of the round
    work: Array
    shift: Array  # [1], of the round


@dataclass(frozen=True, eq=False)
class Systems(Native):
    r"""Independent random systems :math:`(A + cI)x = b`: what a solver meets, one a round.

    Parameters
    ----------
    solver : Solver
        With its matrix `A`.
    low, width : float
        The shift is ``c = low + width * z``.
    alpha, beta : float
        `z` is Beta(alpha, beta) distributed.  The paper's experiments have -0.15, 0.6 and (2, 6) or (0.5, 1.5).
    tol : float
        Stops a solve, in units of the right-hand side's norm (Section 2), or absolute unless `relative` (Section 3).
        Right-hand sides are standard normal given :math:`\|b\|_2 \le \sqrt n`.
    """

    solver: Solver
    low: float
    width: float
    alpha: float = 2.0
    beta: float = 6.0
    tol: float = 1e-8
    relative: bool = True
    n: int = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.solver, Solver):
            raise TypeError(f"solver must be a Solver, got {type(self.solver).__name__}.")
        low = checks.interval("low", self.low, -inf, inf, "()")
        if low <= -self.solver.A.least_eigenvalue:
            raise ValueError(
                f"low must exceed {-self.solver.A.least_eigenvalue:.6g}, minus the least eigenvalue of A, got {low:g}."
            )
        self._settle(
            low=low,
            width=checks.interval("width", self.width, 0, inf, "[)"),
            alpha=checks.interval("alpha", self.alpha, 0, inf, "()"),
            beta=checks.interval("beta", self.beta, 0, inf, "()"),
            tol=checks.interval("tol", self.tol, 0, 1, "()"),
            relative=bool(self.relative),
            n=self.solver.A.n,
        )

    def quantiles(self, count: int) -> Array:
        """`count` shifts in the middle of as many equally likely intervals, float[count]."""
        z = betaincinv(self.alpha, self.beta, (np.arange(count) + 0.5) / count)
        return np.asarray(self.low + self.width * z)


@kernel
def _world(systems: Systems) -> World:
    return World(np.zeros(systems.n), systems.solver.scratch(), np.zeros(1))


@kernel
def _draw_shift(systems: Systems, state: World, rng: Generator) -> None:
    state.shift[0] = systems.low
    if systems.width > 0:
        state.shift[0] += systems.width * rng.beta(systems.alpha, systems.beta)


@kernel
def _solve(systems: Systems, state: World, shift: float, omega: float, cap: int) -> int:
    """Iterations for the right-hand side at hand, `cap` at most."""
    tol, total = systems.tol, 0.0
    if systems.relative:
        for i in range(state.b.size):
            total += state.b[i] * state.b[i]
        tol *= sqrt(total)
    return systems.solver.iterate(state.b, shift, omega, tol, cap, state.work)


@kernel
def _reward(systems: Systems, state: World, omega: float, cap: int, rng: Generator) -> float:
    truncated_normal(state.b, rng)
    return 1.0 - (_solve(systems, state, state.shift[0], omega, cap + 1) - 1.0) / cap


def iterations(reward: ArrayLike, cap: int, rounds: ArrayLike = 1) -> Array:
    """The iterations behind a sum of rewards over `rounds` rounds: ``rounds + cap (rounds - reward)``."""
    n = np.asarray(rounds, dtype=np.float64)
    return np.asarray(n + cap * (n - np.asarray(reward, dtype=np.float64)))


class Costs(NamedTuple):
    """Expected iterations, estimated with the same right-hand sides for all shifts and arms."""

    shifts: Array  # [S], growing
    mean: Array  # [S, K]
    error: Array  # [S, K], standard error


@kernel
def _tabulate(systems: Systems, shifts: Array, omegas: Array, cap: int, rng: Generator, counts: Ints) -> None:
    state = _world(systems)
    for draw in range(counts.shape[0]):
        truncated_normal(state.b, rng)
        for s in range(shifts.size):
            for arm in range(omegas.size):
                counts[draw, s, arm] = _solve(systems, state, shifts[s], omegas[arm], cap + 1)


def count_iterations(
    systems: Systems, shifts: ArrayLike, omegas: ArrayLike, *, cap: int, draws: int, seed: int
) -> Ints:
    """Iterations, int[draws, S, K], of each shift and omega, at most ``cap + 1``; a draw is a right-hand side."""
    nodes, arms = checks.array("shifts", shifts, ndim=1), _checked_omegas(omegas)
    cap, draws = checks.integer("cap", cap, 1), checks.integer("draws", draws, 1)
    counts = np.zeros((draws, nodes.size, arms.size), dtype=np.int64)
    _tabulate(systems, nodes, arms, cap, np.random.default_rng(checks.integer("seed", seed, 0)), counts)
    return counts


def expected_costs(
    systems: Systems, omegas: ArrayLike, *, cap: int, nodes: int = 50, draws: int = 100, seed: int = 0
) -> Costs:
    """The table that regret is reckoned with: `draws` right-hand sides for each of `nodes` shifts.

    The nodes are both ends and quantiles of the shift: costs rise steeply where the matrix becomes singular, and a
    Beta law that has its mass there has its nodes there too.
    """
    inner = systems.quantiles(checks.integer("nodes", nodes, 3) - 2)
    shifts = np.unique(np.r_[systems.low, inner, systems.low + systems.width])
    counts = count_iterations(systems, shifts, omegas, cap=cap, draws=checks.integer("draws", draws, 2), seed=seed)
    return Costs(shifts, counts.mean(axis=0), counts.std(axis=0, ddof=1) / np.sqrt(draws))


def average_costs(systems: Systems, costs: Costs, count: int = 2_000) -> Array:
    """Expected iterations of each arm over the distribution of the shift, float[K]."""
    at = systems.quantiles(count)
    return np.array([np.interp(at, costs.shifts, arm).mean() for arm in costs.mean.T])


def _checked_omegas(value: ArrayLike) -> Array:
    omegas = checks.array("omegas", value, ndim=1)
    if not omegas.size:
        raise ValueError("omegas must hold one arm at least.")
    for arm, omega in enumerate(omegas):
        checks.interval(f"omegas[{arm}]", omega, 0, 2, "()")
    return omegas


@dataclass(frozen=True, eq=False)
class RelaxationBandit(Environment):
    r"""The shift is hidden: the comparator is the fixed :math:`\omega` with the least expected cost.

    Parameters
    ----------
    systems : Systems
    omegas : float[K]
        The arms, in (0, 2).
    cap : int
        The theory's `K`; rewards are :math:`1 - (k - 1)/K`.
    costs : float[K]
        Expected iterations of each arm, from :func:`average_costs`: pseudo-regret is reckoned with them, in units of
        the reward, and the learner never sees them.
    """

    systems: Systems
    omegas: Array
    cap: int
    costs: Array
    gaps: Array = field(init=False)  # [K], of rewards

    def __post_init__(self) -> None:
        omegas, cap = _checked_omegas(self.omegas), checks.integer("cap", self.cap, 1)
        costs = checks.shaped("costs", self.costs, omegas.shape, "(K,)")
        gaps = checks.array("gaps", (costs - costs.min()) / cap, ndim=1)
        self._settle(omegas=omegas, cap=cap, costs=costs, gaps=gaps)

    @property
    def n_arms(self) -> int:  # type: ignore[override]
        return self.omegas.size

    def begin(self, horizon: int, rng: Generator) -> World:
        return _world(self.systems)

    def gap(self, state: World, t: int, arm: int) -> float:
        return self.gaps[arm]

    def pull(self, state: World, t: int, arm: int, rng: Generator) -> float:
        _draw_shift(self.systems, state, rng)
        return _reward(self.systems, state, self.omegas[arm], self.cap, rng)


class Tuning(ContextualEnvironment):
    r"""The arms are values of :math:`\omega`, the context is one number."""

    omegas: Array

    @property
    def n_arms(self) -> int:  # type: ignore[override]
        return self.omegas.size

    @property
    def dim(self) -> int:  # type: ignore[override]
        return 1


@dataclass(frozen=True, eq=False)
class ShiftedRelaxationBandit(Tuning):
    r"""The shift is the context, float[1].

    Parameters
    ----------
    systems, omegas, cap
        As for :class:`RelaxationBandit`.
    shifts, costs : float[S], float[S, K]
        Of :func:`expected_costs`: expected iterations at these shifts, between them linear.
    rival : int
        The comparator: an arm, or -1 for the best arm of each context.  Against an arm a round's shortfall can be
        negative.
    """

    systems: Systems
    omegas: Array
    cap: int
    shifts: Array
    costs: Array
    rival: int = -1

    def __post_init__(self) -> None:
        omegas, shifts = _checked_omegas(self.omegas), checks.array("shifts", self.shifts, ndim=1)
        if not shifts.size or (np.diff(shifts) <= 0).any():
            raise ValueError("shifts must hold one number at least, and grow.")
        self._settle(
            omegas=omegas,
            cap=checks.integer("cap", self.cap, 1),
            shifts=shifts,
            costs=checks.shaped("costs", self.costs, (shifts.size, omegas.size), "(S, K)"),
            rival=checks.integer("rival", self.rival, -1, omegas.size - 1),
        )

    def begin(self, horizon: int, rng: Generator) -> World:
        return _world(self.systems)

    def observe(self, state: World, t: int, rng: Generator) -> Array:
        _draw_shift(self.systems, state, rng)
        return state.shift

    def shortfall(self, state: World, t: int, context: Array, arm: int) -> float:
        last, c = self.shifts.size - 1, context[0]
        above = 0
        while above < last and self.shifts[above] < c:
            above += 1
        node, weight = max(above - 1, 0), 1.0
        if above > 0:
            weight = min((c - self.shifts[node]) / (self.shifts[above] - self.shifts[node]), 1.0)
        best = inf
        for other in range(self.omegas.size):
            cost = (1 - weight) * self.costs[node, other] + weight * self.costs[above, other]
            if other == self.rival or (self.rival < 0 and cost < best):
                best = cost
        return ((1 - weight) * self.costs[node, arm] + weight * self.costs[above, arm] - best) / self.cap

    def respond(self, state: World, t: int, context: Array, arm: int, rng: Generator) -> float:
        return _reward(self.systems, state, self.omegas[arm], self.cap, rng)
