r"""LOOP where G is linear: the infimum over g is a ridge regression, and the excess loss a distance in its Gram matrix.

With :math:`\Lambda = \lambda I + \sum x x^\top`, b the sum of features times targets and
:math:`\hat w = \Lambda^{-1} b`, the excess loss of a hypothesis with weights w is
:math:`\|w - \hat w\|^2_\Lambda = \|\Lambda w - b\|^2_{\Lambda^{-1}}`
(the ridge term counts in the loss of every g).

Source: He, Zhong & Yang (2024), Sample-efficient learning of infinite-horizon average-reward MDPs with general function
approximation, Section 5 (linear and linear-mixture average-reward MDPs); H is finite here, so the planning is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array
from claimlab.mdps.hypotheses import Hypotheses, Models
from claimlab.mdps.instances import jao
from claimlab.mdps.loop import Chosen, FiniteLOOP, choose, nobody, optimist, same_reward
from claimlab.native import kernel

TRIGGER = 16.0  # with ellipsoids: see theory.loop.linear_width


class Regression(NamedTuple):
    gram: Array  # [d, d], Lambda
    inverse: Array  # [d, d]
    solved: Array  # [d], inverse times the last feature: scratch


@kernel
def regression(d: int, ridge: float) -> Regression:
    return Regression(ridge * np.eye(d), np.eye(d) / ridge, np.zeros(d))


@kernel
def rank_one(fit: Regression, x: Array) -> None:
    """Add x x' to the Gram matrix, and to its inverse (Sherman & Morrison 1950)."""
    d, leverage = x.size, 1.0
    for i in range(d):
        fit.solved[i] = 0.0
        for j in range(d):
            fit.solved[i] += fit.inverse[i, j] * x[j]
        leverage += fit.solved[i] * x[i]
    for i in range(d):
        for j in range(d):
            fit.gram[i, j] += x[i] * x[j]
            fit.inverse[i, j] -= fit.solved[i] * fit.solved[j] / leverage


@kernel
def distance(fit: Regression, w: Array, b: Array) -> float:
    """The squared distance of w from the ridge estimate, in the Gram matrix."""
    d, total = b.size, 0.0
    for i in range(d):
        fit.solved[i] = -b[i]
        for j in range(d):
            fit.solved[i] += fit.gram[i, j] * w[j]
    for i in range(d):
        for j in range(d):
            total += fit.solved[i] * fit.inverse[i, j] * fit.solved[j]
    return total


class LinearState(NamedTuple):
    chosen: Chosen
    fit: Regression
    b: Array  # [M, d], sums of features times targets r + V_f(s') - J_f
    r: Array  # [S, A]


@dataclass(frozen=True, eq=False)
class LinearLOOP(FiniteLOOP):
    """Value-based LOOP on a linear average-reward MDP: G = all linear functions of `features`.

    Parameters
    ----------
    hypotheses : Hypotheses
        H, whose Q_f are linear in the features.
    features : float[S, A, d]
    beta : float
        Width: ``theory.loop.linear_width``.
    ridge : float
    trigger : float
        In units of `beta`.
    """

    hypotheses: Hypotheses
    features: Array
    beta: float
    ridge: float = 1.0
    trigger: float = TRIGGER
    weights: Array = field(init=False)  # [M, d], Q_f = features @ w_f

    def __post_init__(self) -> None:
        features = checks.array("features", self.features, ndim=3)
        if features.shape[:2] != self.hypotheses.q.shape[1:]:
            raise ValueError(f"features must have shape (S, A, d), got {features.shape}.")
        phi, q = features.reshape(-1, features.shape[2]), self.hypotheses.q.reshape(self.hypotheses.size, -1)
        weights = np.linalg.lstsq(phi, q.T, rcond=None)[0].T
        off = abs(weights @ phi.T - q).max(axis=1)
        if off.max() > 1e-8 * (1 + abs(q).max()):
            raise ValueError(f"q[{int(off.argmax())}] is not linear in the features: it is off by {off.max():.3g}.")
        self._settle(features=features, weights=checks.array("weights", weights, ndim=2), **_widths(self))

    def fresh(self, r: Array, horizon: int) -> LinearState:
        d = self.features.shape[2]
        return LinearState(nobody(), regression(d, self.ridge), np.zeros((self.weights.shape[0], d)), r)

    def decide(self, state: LinearState, t: int, s: int, rng: Generator) -> int:
        if state.chosen.excess[0] >= self.trigger * self.beta:
            excess = np.zeros(self.weights.shape[0])
            for f in range(excess.size):
                excess[f] = self.excess(state, f)
            choose(state.chosen, optimist(excess, self.hypotheses.gain, self.beta, rng))
        return self.hypotheses.policy[state.chosen.used[0], s]

    def absorb(self, state: LinearState, t: int, s: int, a: int, successor: int) -> None:
        x = self.features[s, a]
        rank_one(state.fit, x)
        for f in range(self.weights.shape[0]):
            seen = state.r[s, a] + self.hypotheses.v[f, successor] - self.hypotheses.gain[f]
            for i in range(x.size):
                state.b[f, i] += x[i] * seen
        state.chosen.excess[0] = self.excess(state, state.chosen.used[0])

    def excess(self, state: LinearState, f: int) -> float:
        return distance(state.fit, self.weights[f], state.b[f])


class MixtureState(NamedTuple):
    chosen: Chosen
    fit: Regression
    b: Array  # [d]
    x: Array  # [S, A, d], features of V_f with f the hypothesis in use


@dataclass(frozen=True, eq=False)
class MixtureLOOP(FiniteLOOP):
    r"""Model-based LOOP on a linear mixture :math:`P_\theta(s'|s,a) = \langle \theta, \phi(s'|s,a) \rangle`.

    H holds finitely many parameters, G all of R^d: value-targeted regression of V_f(s') on
    :math:`\phi_V(s,a) = \sum_{s'} \phi(s'|s,a) V(s')`.

    Parameters
    ----------
    theta : float[M, d]
    basis : float[S, A, S, d]
        :math:`\phi`; ``basis @ theta[m]`` must be transition probabilities.
    r : float[S, A]
    beta, ridge, trigger
        As for :class:`LinearLOOP`.
    """

    theta: Array
    basis: Array
    r: Array
    beta: float
    ridge: float = 1.0
    trigger: float = TRIGGER
    models: Models = field(init=False)

    def __post_init__(self) -> None:
        theta, basis = checks.array("theta", self.theta, ndim=2), checks.array("basis", self.basis, ndim=4)
        r = checks.array("r", self.r, ndim=2)
        self._settle(theta=theta, basis=basis, r=r, models=mixture_models(theta, basis, r), **_widths(self))

    def fresh(self, r: Array, horizon: int) -> MixtureState:
        same_reward(r, self.r)
        S, A, _, d = self.basis.shape
        return MixtureState(nobody(), regression(d, self.ridge), np.zeros(d), np.zeros((S, A, d)))

    def decide(self, state: MixtureState, t: int, s: int, rng: Generator) -> int:
        if state.chosen.excess[0] >= self.trigger * self.beta:
            excess = np.zeros(self.theta.shape[0])
            for f in range(excess.size):
                excess[f] = self.excess(state, f)
            f = optimist(excess, self.models.optimal.gain, self.beta, rng)
            if choose(state.chosen, f):
                mixed_features(self.basis, self.models.optimal.v[f], state.x)
        return self.models.optimal.policy[state.chosen.used[0], s]

    def absorb(self, state: MixtureState, t: int, s: int, a: int, successor: int) -> None:
        x, f = state.x[s, a], state.chosen.used[0]
        rank_one(state.fit, x)
        for i in range(x.size):
            state.b[i] += x[i] * self.models.optimal.v[f, successor]
        state.chosen.excess[0] = self.excess(state, f)

    def excess(self, state: MixtureState, f: int) -> float:
        return distance(state.fit, self.theta[f], state.b)


@kernel
def mixed_features(basis: Array, v: Array, out: Array) -> None:
    """phi_V(s, a), the sum over s' of ``phi(s'|s, a) V(s')``."""
    S, A, _, d = basis.shape
    for s in range(S):
        for a in range(A):
            for k in range(d):
                total = 0.0
                for i in range(S):
                    total += basis[s, a, i, k] * v[i]
                out[s, a, k] = total


def mixture_models(theta: ArrayLike, basis: ArrayLike, r: Array) -> Models:
    """The models of the parameters `theta`, float[M, d]."""
    given, phi = checks.array("theta", theta, ndim=2), checks.array("basis", basis, ndim=4)
    if given.shape[1] != phi.shape[3]:
        raise ValueError(f"theta must have shape (M, d) for basis of shape (S, A, S, d), got {given.shape}.")
    P = np.einsum("satk,mk->msat", phi, given)
    return Models(np.where(abs(P) < 1e-15, 0.0, P), r)


def hard_linear_mixture(d: int, delta: float, gap: float) -> tuple[Array, Array, Array]:
    r"""The two-state linear mixtures behind the lower bound in d: all :math:`2^{d-1}` parameters, basis, reward.

    Actions are the vertices a of :math:`\{-1, 1\}^{d-1}`.  State 0 pays 0 and is left with probability
    :math:`\delta + \langle a, \vartheta \rangle`, :math:`\vartheta \in \{\pm\mathrm{gap}/(d-1)\}^{d-1}`; state 1 pays 1
    and is left with probability :math:`\delta`.  The last entry of each parameter is 1.

    Returns theta, float[2^(d-1), d]; basis, float[2, 2^(d-1), 2, d]; r, float[2, 2^(d-1)].

    Source: Wu, Zhou & Gu (2022), Nearly minimax optimal regret for learning infinite-horizon average-reward MDPs with
    linear function approximation, Section 5.
    """
    d, delta = checks.integer("d", d, 2), checks.interval("delta", delta, 0, 1, "()")
    gap = checks.interval("gap", gap, 0, min(delta, 1 - delta), "(]")
    signs = np.array(np.meshgrid(*[[1.0, -1.0]] * (d - 1), indexing="ij")).reshape(d - 1, -1).T
    A = len(signs)
    basis = np.zeros((2, A, 2, d))
    basis[0, :, 1, :-1], basis[0, :, 0, :-1] = signs, -signs
    basis[:, :, :, -1] = jao(A, delta, 0.0).P
    return np.c_[signs * gap / (d - 1), np.ones(A)], basis, np.repeat([[0.0], [1.0]], A, axis=1)


def _widths(learner: LinearLOOP | MixtureLOOP) -> dict[str, float]:
    return {
        "beta": checks.interval("beta", learner.beta, 0, inf, "()"),
        "ridge": checks.interval("ridge", learner.ridge, 0, inf, "()"),
        "trigger": checks.interval("trigger", learner.trigger, 0, inf),
    }
