r"""Dynamical linear bandits (Mussi, Metelli & Restelli 2023, arXiv 2211.08997, Section 2): rewards with a hidden state.

.. math::
    x_{t+1} = A x_t + B u_t + \epsilon_t, \qquad y_t = \langle\omega, x_t\rangle + \langle\theta, u_t\rangle + \eta_t .

The learner chooses :math:`u_t` from a finite list and sees :math:`y_t` alone, *before* the state advances.  Keeping `u`
forever brings :math:`J(u) = \langle h, u\rangle` a round, `h` the cumulative Markov parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, log, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.linear import arm_list, longest
from claimlab.bandits.play import Environment
from claimlab.checks import Array, Ints
from claimlab.native import kernel


class Hidden(NamedTuple):
    x: Array  # [n], the state
    moved: Array  # [n], work space


@dataclass(frozen=True, eq=False)
class DynamicalLinear(Environment):
    r"""A stable linear system with Gaussian noise that starts in the state 0.

    Every round draws the same number of normals, so two algorithms that draw none themselves meet, under one seed, the
    same noise.  The comparator of the pseudo-regret is the constant optimal action: :math:`J^* - J(u_t)`.

    Parameters
    ----------
    A : float[n, n]
        Spectral radius below 1.
    B : float[n, d]
    omega : float[n]
    theta : float[d]
    arms : float[K, d]
    state_noise, reward_noise : float
        Standard deviations of every entry of :math:`\epsilon_t`, and of :math:`\eta_t`; 0 for none.
    """

    A: Any
    B: Any
    omega: Any
    theta: Any
    arms: Any
    state_noise: float = 0.0
    reward_noise: float = 0.0
    h: Array = field(init=False)  # [d], theta + B^T (I - A)^-T omega
    values: Array = field(init=False)  # [K], J of each arm
    gaps: Array = field(init=False)  # [K], largest value minus values
    drive: Array = field(init=False)  # [K, n], B u
    direct: Array = field(init=False)  # [K], <theta, u>

    def __post_init__(self) -> None:
        A, arms = checks.array("A", self.A, ndim=2), arm_list(self.arms)
        n, d = A.shape[0], arms.shape[1]
        if n == 0 or A.shape != (n, n):
            raise ValueError(f"A must be square with one state at least, got shape {A.shape}.")
        B = checks.shaped("B", self.B, (n, d), "(states of A, dimensions of arms)")
        omega = checks.shaped("omega", self.omega, (n,), "(states of A,)")
        theta = checks.shaped("theta", self.theta, (d,), "(dimensions of arms,)")
        radius = float(abs(np.linalg.eigvals(A)).max())
        if not radius < 1:
            raise ValueError(f"A has spectral radius {radius:.6g}, the largest |eigenvalue|; it must be below 1.")
        h = theta + B.T @ np.linalg.solve((np.eye(n) - A).T, omega)
        values = arms @ h
        self._settle(
            **{"A": A, "B": B, "omega": omega, "theta": theta, "arms": arms},
            state_noise=checks.interval("state_noise", self.state_noise, 0, inf, "[)"),
            reward_noise=checks.interval("reward_noise", self.reward_noise, 0, inf, "[)"),
            h=checks.array("h", h, ndim=1),
            values=checks.array("values", values, ndim=1),
            gaps=checks.array("gaps", values.max() - values, ndim=1),
            drive=checks.array("B u", arms @ B.T, ndim=2),
            direct=checks.array("<theta, u>", arms @ theta, ndim=1),
        )

    @property
    def n_arms(self) -> int:  # type: ignore[override]
        return self.arms.shape[0]

    @property
    def best(self) -> int:
        """The arm whose constant repetition is optimal in the long run, the first of them if several are."""
        return int(self.values.argmax())

    @cached_property
    def rho(self) -> float:
        """The spectral radius of A."""
        return float(abs(np.linalg.eigvals(self.A)).max())

    @cached_property
    def phi(self) -> float:
        r""":math:`\Phi(A) = \sup_\tau \|A^\tau\|_2/\rho(A)^\tau`; see :func:`transient_growth`."""
        return transient_growth(self.A)

    @property
    def norms(self) -> Bounds:
        """The norms that Assumption 2.2 bounds."""
        size = np.linalg.norm
        return Bounds(float(size(self.theta)), float(size(self.omega)), float(size(self.B, 2)), longest(self.arms))

    def state_bound(self, rounds: int = 1, delta: float = 1.0) -> float:
        r"""`X`: with probability 1 - `delta`, no state of the first `rounds` is longer.

        :math:`\|x_t\| \le \sum_k \Phi\rho^k(BU + \|\epsilon_{t-k}\|)`, and the norm of `n` normals exceeds
        :math:`\sigma(\sqrt n + \sqrt{2\log(T/\delta)})` in one of `T` rounds with probability at most `delta`
        (Boucheron, Lugosi & Massart 2013, Theorem 5.6).  Without noise it always holds.
        """
        b = self.norms
        noise = self.state_noise * (sqrt(self.A.shape[0]) + sqrt(2 * log(rounds / delta)))
        return self.phi * (b.B * b.U + noise) / (1 - self.rho)

    def begin(self, horizon: int, rng: Generator) -> Hidden:
        n = self.omega.size
        return Hidden(np.zeros(n), np.zeros(n))

    def gap(self, state: Hidden, t: int, arm: int) -> float:
        return self.gaps[arm]

    def pull(self, state: Hidden, t: int, arm: int, rng: Generator) -> float:
        x, moved, n = state.x, state.moved, self.omega.size
        y = self.direct[arm]
        for i in range(n):
            y += self.omega[i] * x[i]
        if self.reward_noise > 0:
            y += self.reward_noise * rng.standard_normal()
        for i in range(n):
            total = self.drive[arm, i]
            for j in range(n):
                total += self.A[i, j] * x[j]
            if self.state_noise > 0:
                total += self.state_noise * rng.standard_normal()
            moved[i] = total
        x[:] = moved
        return y


class Bounds(NamedTuple):
    """Norms: of theta, of omega, of B (spectral), and the largest of an action."""

    theta: float
    omega: float
    B: float
    U: float


def transient_growth(A: Array) -> float:
    r""":math:`\Phi(A) = \sup_{\tau\ge0} \|A^\tau\|_2/\rho(A)^\tau` (Assumption 2.1), from powers of :math:`A/\rho(A)`.

    :math:`\rho^\tau` itself would underflow.  The number of powers doubles from 1024 on until a doubling raises the
    supremum by less than 1e-9 of it, or to 65536.  Infinite where A is nilpotent but not 0, or where a dominant
    eigenvalue is defective (a Jordan block): there the norms grow without end, which is taken to be so if the last
    doubling still raised them by a tenth.  A matrix of spectral radius 0 that is 0 has :math:`\Phi = 1`.
    """
    A = checks.array("A", A, ndim=2)
    rho = abs(np.linalg.eigvals(A)).max()
    if rho == 0:
        return inf if A.any() else 1.0
    scaled = A / rho
    powers = np.eye(A.shape[0])[None]
    leap, before, largest = scaled, 1.0, 1.0
    while len(powers) < 1 << 16:
        ahead = powers @ leap  # the next as many powers
        if not np.isfinite(ahead).all():
            return inf
        before, largest = largest, max(largest, float(np.linalg.norm(ahead, 2, axis=(1, 2)).max()))
        powers, leap = np.concatenate([powers, ahead]), leap @ leap
        if len(powers) > 1024 and largest <= before * (1 + 1e-9):
            return largest
    return largest if largest <= 1.1 * before else inf


def from_outputs(
    A: Array, B: Array, C: Array, D: Array, arms: Array, *, state_noise: float = 0.0, output_noise: float = 0.0
) -> DynamicalLinear:
    r"""The system whose reward is the sum of the `m` outputs :math:`Cx + Du`, each with noise of its own.

    So in the paper's experiments: :math:`\omega = C^T 1`, :math:`\theta = D^T 1`, and a reward noise of
    :math:`\sqrt m` times `output_noise`.
    """
    C, D = checks.array("C", C, ndim=2), checks.array("D", D, ndim=2)
    if len(C) != len(D):
        raise ValueError(f"C and D must have one row an output, got {len(C)} and {len(D)}.")
    noise = checks.interval("output_noise", output_noise, 0, inf, "[)") * sqrt(len(C))
    return DynamicalLinear(A, B, C.sum(axis=0), D.sum(axis=0), arms, state_noise, noise)


# without noise -------------------------------------------------------------------------------------------------------


def markov_parameters(env: DynamicalLinear, last: int) -> Array:
    r""":math:`h^{(0)} = \theta` and :math:`h^{(s)} = B^T(A^{s-1})^T\omega` up to `s` = `last`, float[last + 1, d]."""
    out, w = np.empty((checks.integer("last", last, 0) + 1, env.theta.size)), env.omega
    out[0] = env.theta
    for s in range(1, last + 1):
        out[s], w = env.B.T @ w, env.A.T @ w
    return out


@kernel
def _respond(env: DynamicalLinear, actions: Ints, x: Array, rng: Generator) -> Array:
    state, y = env.begin(actions.size, rng), np.empty(actions.size)
    state.x[:] = x
    for t in range(actions.size):
        y[t] = env.pull(state, t, actions[t], rng)
    return y


def expected_rewards(
    env: DynamicalLinear, policy: Ints | Callable[[int, Array], int], horizon: int, x: Array | None = None
) -> Array:
    """The noise-free rewards, float[horizon], from the state `x` (0 by default).

    `policy` is a sequence of arms, int[horizon], or a function of the round (from 0) and the hidden state, so an
    omniscient one.  By linearity these are the expected rewards of any policy that does not react to the noise.
    """
    horizon = checks.integer("horizon", horizon, 1)
    start = checks.shaped("x", np.zeros(env.omega.size) if x is None else x, env.omega.shape, "(states,)")
    still = DynamicalLinear(env.A, env.B, env.omega, env.theta, env.arms)
    if not callable(policy):
        actions = np.asarray(policy, dtype=np.int64)
        if actions.shape != (horizon,) or not ((actions >= 0) & (actions < env.n_arms)).all():
            raise ValueError(f"policy must hold {horizon} arms in 0..{env.n_arms - 1}, got {policy!r}.")
        return _respond(still, actions, start, np.random.default_rng())
    rewards, state = np.empty(horizon), np.array(start)
    for t in range(horizon):
        arm = checks.integer("the policy's arm", policy(t, state.copy()), 0, env.n_arms - 1)
        rewards[t] = env.omega @ state + env.direct[arm]
        state = env.A @ state + env.drive[arm]
    return rewards


def finite_horizon_optimum(env: DynamicalLinear, horizon: int) -> tuple[float, Ints]:
    r"""The largest expected sum of `horizon` rewards from the state 0, and the arms int[horizon] that bring it.

    :math:`\sum_t E y_t = \sum_s \langle h^{[0,T-s]}, u_s\rangle` is maximised round by round: the optimum needs no
    feedback, but unlike that of an infinite horizon it is not constant.
    """
    ahead = np.cumsum(markov_parameters(env, checks.integer("horizon", horizon, 1) - 1), axis=0)[::-1]
    worth = ahead @ env.arms.T  # [horizon, K]
    return float(worth.max(axis=1).sum()), worth.argmax(axis=1)


# the paper's two systems ---------------------------------------------------------------------------------------------


def budget_vertices() -> Array:
    """The vertices (1, 1/2, 0) in every order, float[6, 3]: a budget of 1.5 over three platforms, at most 1 each."""
    return np.array([[0, 0.5, 1], [0, 1, 0.5], [0.5, 0, 1], [0.5, 1, 0], [1, 0, 0.5], [1, 0.5, 0]])


def synthetic(sigma: float = 0.01) -> DynamicalLinear:
    """The synthetic system of Section 5.1, with the numbers of the authors' configuration files."""
    A, B = np.diag([0.2, 0, 0.1]), np.diag([0.45, 0, 0.1])
    C, D = np.diag([1, 0, 0.1]), np.diag([0, 0.5, 0.1])
    return from_outputs(A, B, C, D, budget_vertices(), state_noise=sigma, output_noise=sigma)


def real_data(sigma: float = 0.01) -> DynamicalLinear:
    """The system of Section 5.2, identified by the authors from advertising data; numbers of their configuration."""
    return from_outputs(
        np.array([[0.38, 0.33, 0.6], [0.07, 0.76, -0.54], [0.18, 0.34, 0.05]]),
        np.array([[0.14, 0.34, -0.05], [-0.17, 0.03, -0.01], [0.04, -0.09, 0.17]]),
        np.array([[0.25, -0.14, 0.01], [-0.55, 0.2, -0.13], [-0.31, -0.1, -0.01]]),
        np.array([[0.11, 0.1, 0.01], [0.01, 0.36, 0.01], [0.01, -0.05, 0]]),
        budget_vertices(),
        state_noise=sigma,
        output_noise=sigma,
    )


def expert_action() -> Array:
    """The manual split of Section 5.2, float[3]: budgets in proportion to past spending, at most 1 a platform."""
    spent = np.array([1641952.0, 259591273.0, 716354611.0])
    free = spent[:2] / spent[:2].sum()
    return np.array([*(0.5 * free), 1.0])
