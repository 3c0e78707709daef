r"""The heat equation with a diffusion coefficient that changes: the simulation of Section 4.

.. math:: \partial_tu = \kappa(t)\Delta u + f(t, x) \text{ on } [0,1]^2, \qquad
          \kappa(t) = \max\{0.1\sin 2\pi t, -10\sin 2\pi t\}

with zero boundary, in steps of Crank and Nicolson's method, of :math:`\Delta t = 10^{-3}` as in the authors' code
(which differs from the paper's text, 0.01 for 0.1 there) or of lengths that vary.  Every step is a linear system,
:math:`(I - \tfrac12\kappa\,\Delta t\,\Delta_h)u = b`, solved by conjugate gradients with SSOR from the last step's
solution; :math:`\kappa(t)\,\Delta t/10^{-3}` is the context, :math:`\omega` the arm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from math import cos, exp, inf, nan, pi, sin, sqrt
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from scipy.fft import dstn

from claimlab import checks
from claimlab.bandits.contextual import ContextualAlgorithm, play_contextual
from claimlab.bandits.interval_contextual import AdaptiveChebCB, TsallisCB
from claimlab.bandits.relaxation.environment import Tuning, iterations
from claimlab.bandits.relaxation.matrices import SPDMatrix
from claimlab.bandits.relaxation.sweeps import ssor_cg
from claimlab.bandits.relaxation.systems import laplacian
from claimlab.checks import Array, Ints
from claimlab.native import kernel

STEP, PERIOD, CAP = 1e-3, 1_000, 10_000
OMEGAS = np.linspace(1, 1.95, 20)
GRID = tuple(OMEGAS.round(2).tolist())
LEARNERS = {
    "Tsallis-INF": TsallisCB(0, 10, 1, adaptive=True),
    "Tsallis-INF-CB": TsallisCB(0, 10, 6, adaptive=True),
    "ChebCB": AdaptiveChebCB(0, 10),
}
FIVE = (1.0, 1.3, 1.5, 1.75, 1.95)  # the fixed parameters of the paper's experiment


@kernel
def diffusion(t: float) -> float:
    r""":math:`\kappa(t)`, from 0 to 10 with period 1."""
    wave = sin(2 * pi * t)
    return max(0.1 * wave, -10 * wave)


@kernel
def bump(x: float, y: float, radius: float) -> float:
    """A smooth function of the distance to the origin that is 1 there and 0 from `radius` on."""
    inside = 1 - (x * x + y * y) / (radius * radius)
    return exp(1 - 1 / inside) if inside > 0 else 0.0


def lengths(steps: int, spread: float = 1.0) -> Array:
    r"""Lengths of time steps in units of `STEP`, float[steps]: ``spread ** sin(2 pi i / 89)`` for step i.

    89 steps are no simple fraction of a period of :math:`\kappa`, so that long and short steps meet large and small
    coefficients.
    """
    count = checks.integer("steps", steps, 1)
    return np.asarray(checks.interval("spread", spread, 1, inf, "[)") ** np.sin(2 * pi * np.arange(count) / 89))


class Field(NamedTuple):
    u: Array  # [n], the solution now
    b: Array  # [n], right-hand side of the step
    work: Array  # [4, n]
    context: Array  # [1]


@dataclass(frozen=True, eq=False)
class Heat(Tuning):
    r"""A simulation of the heat equation; the reward of a step is :math:`1 - (k-1)/10^4` for `k` iterations.

    Regret is not reckoned: the next system depends on the last solution, up to its tolerance.

    Parameters
    ----------
    cells : int
        Cells along a side; the unknowns are the ``(cells - 1)**2`` inner points.
    omegas : float[K]
        The arms, in (0, 2), or 0 for no preconditioner.
    lengths : float[T]
        Of the time steps, in units of `STEP`, positive; a run has T rounds at most.
    tol : float
        In units of the right-hand side's norm.
    shown : bool
        Whether the context is :math:`\kappa(t)` times the step's length, on which the matrix depends, or
        :math:`\kappa(t)` alone.
    """

    cells: int
    omegas: Array
    lengths: Array
    tol: float = 1e-8
    shown: bool = True
    A: SPDMatrix = field(init=False)  # the 5-point Laplacian
    times: Array = field(init=False)  # [T], when the steps begin

    def __post_init__(self) -> None:
        omegas, steps = checks.array("omegas", self.omegas, ndim=1), checks.array("lengths", self.lengths, ndim=1)
        for arm, omega in enumerate(omegas):
            checks.interval(f"omegas[{arm}]", omega, 0, 2, "[)")
        if not steps.size:
            raise ValueError("lengths must hold one time step at least.")
        if steps.min() <= 0:
            raise ValueError(f"lengths[{int(steps.argmin())}] is {steps.min():.6g}; time steps are positive.")
        side = checks.integer("cells", self.cells, 3) - 1
        self._settle(
            cells=side + 1,
            omegas=omegas,
            lengths=steps,
            tol=checks.interval("tol", self.tol, 0, 1, "()"),
            shown=checks.boolean("shown", self.shown),
            A=SPDMatrix(laplacian(np.ones((side, side), dtype=np.bool_))),
            times=checks.array("times", STEP * np.r_[0, np.cumsum(steps)[:-1]], ndim=1),
        )

    def begin(self, horizon: int, rng: Generator) -> Field:
        if horizon > self.lengths.size:
            raise ValueError("horizon exceeds the time steps of lengths.")
        side, n = self.cells - 1, (self.cells - 1) ** 2
        u = np.zeros(n)
        for i in range(side):
            for j in range(side):
                u[i * side + j] = bump((i + 1) / self.cells - 0.5, (j + 1) / self.cells - 0.5, 0.25)
        return Field(u, np.zeros(n), np.zeros((4, n)), np.zeros(1))

    def observe(self, state: Field, t: int, rng: Generator) -> Array:
        state.context[0] = diffusion(self.times[t]) * (self.lengths[t] if self.shown else 1.0)
        return state.context

    def shortfall(self, state: Field, t: int, context: Array, arm: int) -> float:
        return nan

    def respond(self, state: Field, t: int, context: Array, arm: int, rng: Generator) -> float:
        step = STEP * self.lengths[t]
        weight = right_hand_side(state, self.cells, self.times[t] + 0.5 * step, step)
        norm = 0.0
        for i in range(state.b.size):
            norm += state.b[i] * state.b[i]
        shift = 1 / max(weight, 1e-300)  # A + I / weight: the system divided by weight
        stop = ssor_cg(self.A, shift, state.b, self.omegas[arm], self.tol * sqrt(norm), CAP, state.u, state.work)
        return 1 - (stop.iterations - 1) / CAP


@kernel
def right_hand_side(state: Field, cells: int, t: float, step: float) -> float:
    r"""Fill `state.b` with :math:`((I - wA)u + \Delta t f)/w`; w is :math:`\tfrac12\kappa\,\Delta t/h^2`.

    `t` is the middle of the step, `step` its length :math:`\Delta t`.
    """
    side, u = cells - 1, state.u
    weight = max(0.5 * diffusion(t) * step * cells * cells, 1e-300)
    x, y = 0.5 + cos(16 * pi * t) / 4, 0.5 + sin(16 * pi * t) / 4
    for i in range(side):
        for j in range(side):
            k = i * side + j
            around = 0.0
            if i > 0:
                around += u[k - side]
            if i < side - 1:
                around += u[k + side]
            if j > 0:
                around += u[k - 1]
            if j < side - 1:
                around += u[k + 1]
            force = 32 * bump((i + 1) / cells - x, (j + 1) / cells - y, 0.125)
            state.b[k] = around - 4 * u[k] + (u[k] + step * force) / weight
    return weight


def counted(alg: ContextualAlgorithm, env: Heat, *, runs: int = 1, seed: int = 0) -> Array:
    """Iterations of `runs` simulations over all steps of `env`, float[runs]."""
    steps = env.lengths.size
    record = play_contextual(alg, env, horizon=steps, runs=runs, seed=seed, checkpoints=1, threads=1)
    return np.asarray(np.round(iterations(record.reward[:, -1], CAP, steps)))


def simulate(
    alg: ContextualAlgorithm, cells: int, steps: int, *, omegas: Array = OMEGAS, runs: int = 1, seed: int = 0
) -> Array:
    """Iterations of `runs` simulations of `steps` equal time steps, float[runs]."""
    return counted(alg, Heat(cells, omegas, lengths(steps)), runs=runs, seed=seed)


@cache
def fixed(omega: float, cells: int, steps: int, spread: float = 1.0) -> float:
    """Iterations with one omega, or 0 for conjugate gradients alone; no randomness is involved."""
    return float(counted(LEARNERS["Tsallis-INF"], Heat(cells, np.array([omega]), lengths(steps, spread)))[0])


class Instances(NamedTuple):
    """Some of the systems of a simulation, each solved with every arm from the solution before it."""

    context: Array  # [m]
    counts: Ints  # [m, K], iterations

    @property
    def optimum(self) -> Ints:
        """The least count of each system, int[m]: no policy over these arms, whatever it sees, needs fewer."""
        return np.asarray(self.counts.min(axis=1))


def trajectory(env: Heat, every: int) -> Array:
    """The method's solution before steps 0, `every`, ..., without the solver's error, float[m, n].

    Sine waves are eigenvectors of the 5-point Laplacian, so that a step is a division (a fast sine transform).
    """
    cells, side = env.cells, env.cells - 1
    wave = 4 * np.sin(np.pi * np.arange(1, cells) / (2 * cells)) ** 2
    spectrum, kept = wave[:, None] + wave, []
    state = env.begin(env.lengths.size, np.random.default_rng())
    for t, (start, step) in enumerate(zip(env.times, STEP * env.lengths)):
        if t % every == 0:
            kept.append(state.u.copy())
        weight = right_hand_side(state, cells, start + 0.5 * step, step)
        rhs = np.asarray(dstn(state.b.reshape(side, side), type=1))
        state.u[:] = np.asarray(dstn(rhs / (spectrum + 1 / weight), type=1)).ravel() / (4 * cells * cells)
    return np.array(kept)


@kernel
def _count(env: Heat, starts: Array, every: int, rng: Generator, contexts: Array, counts: Ints) -> None:
    state = env.begin(1, rng)
    for i in range(starts.shape[0]):
        for arm in range(env.omegas.size):
            state.u[:] = starts[i]
            context = env.observe(state, i * every, rng)
            reward = env.respond(state, i * every, context, arm, rng)
            counts[i, arm] = round(1 + CAP * (1 - reward))
        contexts[i] = state.context[0]


@cache
def instances(
    cells: int, steps: int = PERIOD, every: int = 1, omegas: tuple[float, ...] = GRID, spread: float = 1.0
) -> Instances:
    """Every `every`-th system of the first `steps`, by trying all of `omegas`: what is least there needs no search."""
    env = Heat(cells, np.array(omegas), lengths(steps, spread))
    starts = trajectory(env, every)
    contexts, counts = np.zeros(len(starts)), np.zeros((len(starts), len(omegas)), dtype=np.int64)
    _count(env, starts, every, np.random.default_rng(), contexts, counts)
    return Instances(contexts, counts)
