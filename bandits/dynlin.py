r"""DynLin-UCB (Mussi, Metelli & Restelli 2023, arXiv 2211.08997, Algorithm 1).

DynLin-UCB keeps an action for a whole epoch, so that the hidden state comes to rest, and takes the last reward only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import e, inf, log, pow, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.dynamical import DynamicalLinear
from claimlab.bandits.linear import Ridge, arm_list, bounded_growth, deviation, longest, observe, optimistic, ridge
from claimlab.bandits.play import Algorithm
from claimlab.checks import Array, Ints
from claimlab.native import kernel

ARM, LEFT, EPOCH, WAIT = range(4)  # what the clock of DynLin-UCB shows


class Epochs(NamedTuple):
    fit: Ridge
    clock: Ints  # [4], arm, rounds left, number from 1, and waiting rounds of the epoch
    bias: Array  # [1], sum of squared bounds rho_bar^(2 H) of the epochs done


@kernel
def waiting_rounds(m: int, rho_bar: float) -> int:
    r""":math:`H_m = \lfloor\log m/\log(1/\bar\rho)\rfloor`, the published wait of epoch `m`; 0 where rho_bar is 0.

    The 1e-12 keeps powers, such as m = 125 for 1/5, on their side of the floor.
    """
    return 0 if rho_bar <= 0.0 else int(log(float(m)) / log(1.0 / rho_bar) + 1e-12)


@dataclass(frozen=True, eq=False)
class DynLinUCB(Algorithm):
    r"""Optimism on the last rewards of epochs of :math:`1 + \lfloor\log m/\log(1/\bar\rho)\rfloor` rounds.

    :math:`\beta_t = \frac{c_1}{\sqrt\lambda}\log(e(t+1)) + c_2\sqrt\lambda +
    \sqrt{2\tilde\sigma^2(\log(1/\delta) + \frac d2\log(1 + tU^2/(d\lambda)))}` after `t` rounds, with
    :math:`c_1 = U\Omega\bar\Phi(UB/(1-\bar\rho) + X)`, :math:`c_2 = \Theta + \Omega B\bar\Phi/(1-\bar\rho)` and
    :math:`\tilde\sigma^2 = \sigma^2(1 + \Omega^2\bar\Phi^2/(1-\bar\rho^2))`.  An epoch costs O(K d + d^2).

    Parameters
    ----------
    arms : float[K, d]
    lam : float
        Regularisation; the paper recommends log T.
    rho_bar : float
        Bound on the spectral radius, in [0, 1).
    phi_bar, theta_norm, omega_norm, B_norm, state_bound : float
        The bounds on Phi(A) and on the norms of theta, omega, B and the state.
    sigma : float
        Subgaussian constant of all noise.
    delta : float
        Error probability of the ellipsoid; the paper takes 1/T.
    sharper : bool
        Whether the first term of the radius is :math:`\frac{c_1}{U}(\sum_k\bar\rho^{2H_k})^{1/2}` over the epochs done:
        ours, see :func:`claimlab.theory.dynamical.sharper_bias`.
    extra : int
        Waiting rounds beyond the published :math:`H_m`; with 1, :math:`\bar\rho^{H_m} \le 1/m` also for small rho_bar.
    random_start : bool
        Whether the first arm is drawn at random and kept for one round more, as in the authors' code.
    """

    arms: Any
    lam: float
    rho_bar: float
    phi_bar: float
    theta_norm: float
    omega_norm: float
    B_norm: float
    state_bound: float
    sigma: float
    delta: float
    sharper: bool = False
    extra: int = 0
    random_start: bool = False
    columns: Array = field(init=False)
    U: float = field(init=False)
    c1: float = field(init=False)
    c2: float = field(init=False)
    variance: float = field(init=False)

    def __post_init__(self) -> None:
        arms = arm_list(self.arms)
        bounds = ("theta_norm", "omega_norm", "B_norm", "state_bound", "sigma")
        Theta, Omega, B, X, sigma = (checks.interval(name, getattr(self, name), 0, inf, "[)") for name in bounds)
        rho = checks.interval("rho_bar", self.rho_bar, 0, 1, "[)")
        phi = checks.interval("phi_bar", self.phi_bar, 1, inf, "[)")
        U = longest(arms)
        self._settle(
            **dict(zip(bounds, (Theta, Omega, B, X, sigma))),
            arms=arms,
            columns=checks.array("arms", arms.T, ndim=2),
            lam=checks.interval("lam", self.lam, 0, inf, "()"),
            rho_bar=rho,
            phi_bar=phi,
            delta=checks.interval("delta", self.delta, 0, 1, "()"),
            sharper=checks.boolean("sharper", self.sharper),
            extra=checks.integer("extra", self.extra, 0),
            random_start=checks.boolean("random_start", self.random_start),
            U=U,
            c1=U * Omega * phi * (U * B / (1 - rho) + X),
            c2=Theta + Omega * B * phi / (1 - rho),
            variance=sigma * sigma * (1 + Omega * Omega * phi * phi / (1 - rho * rho)),
        )

    @classmethod
    def knowing(cls, env: DynamicalLinear, *, lam: float, delta: float, **instead: Any) -> DynLinUCB:
        """The algorithm that is given the system's own constants, except those named in `instead`.

        The state is bounded as without noise; the noise is the larger of the system's two.
        """
        if "phi_bar" not in instead and env.phi == inf:
            raise ValueError("Phi(A) is infinite (a Jordan block, or nilpotent): Assumption 2.1 excludes it.")
        b = env.norms
        own: dict[str, Any] = {"rho_bar": env.rho, "theta_norm": b.theta, "omega_norm": b.omega, "B_norm": b.B}
        own |= {"sigma": max(env.state_noise, env.reward_noise)}
        own |= {} if "phi_bar" in instead else {"phi_bar": env.phi}
        own |= {} if "state_bound" in instead else {"state_bound": env.state_bound()}
        return cls(env.arms, lam=lam, delta=delta, **(own | instead))

    def init(self, n_arms: int, horizon: int) -> Epochs:
        if n_arms != self.columns.shape[1]:
            raise ValueError("DynLinUCB and the environment must have the same number of arms.")
        return Epochs(ridge(self.columns, self.lam), np.zeros(4, dtype=np.int64), np.zeros(1))

    def act(self, state: Epochs, t: int, rng: Generator) -> int:
        clock = state.clock
        if clock[LEFT] == 0:
            clock[EPOCH] += 1
            clock[WAIT] = waiting_rounds(clock[EPOCH], self.rho_bar) + self.extra
            if t == 0 and self.random_start:
                clock[ARM] = rng.integers(0, self.columns.shape[1])
                clock[WAIT] += 1
            else:
                clock[ARM] = optimistic(state.fit, dynlin_radius(self, state, t))
            clock[LEFT] = 1 + clock[WAIT]
        return clock[ARM]

    def learn(self, state: Epochs, t: int, arm: int, reward: float) -> None:
        clock = state.clock
        clock[LEFT] -= 1
        if clock[LEFT] == 0:
            observe(state.fit, self.columns, arm, reward)
            state.bias[0] += pow(self.rho_bar, 2.0 * clock[WAIT])


@kernel
def dynlin_radius(alg: DynLinUCB, state: Epochs, t: int) -> float:
    """The radius of the ellipsoid after `t` rounds."""
    if alg.sharper:
        bias = alg.c1 / alg.U * sqrt(state.bias[0])
    else:
        bias = alg.c1 / sqrt(alg.lam) * log(e * (t + 1.0))
    growth = bounded_growth(float(t), alg.U, alg.columns.shape[0], alg.lam)
    return bias + (sqrt(alg.lam) * alg.c2 + deviation(alg.variance, alg.delta, growth))
