r"""LOOP on all value functions of a tabular MDP: a planning problem in closed form.

With G all functions of (s, a), the infimum over g is attained at the means of the data, and the excess loss of
:math:`f = (Q, J)` is :math:`\sum_{s,a} N(s,a)\,(Q - r + J - \hat P V)^2(s,a)`: the confidence set is an ellipsoid of
Bellman errors e.  Optimism over it is the largest gain of :math:`(\hat P, r + e)`,

.. math:: \max_{\sum N e^2 \le \beta} J^*(\hat P, r + e) = \max_\pi\; d_\pi \cdot r + \sqrt{\beta}\,\|d_\pi\|_{N^{-1}},

with :math:`d_\pi` the stationary law of :math:`\pi` under :math:`\hat P`.  The function of d is convex, so it is
largest at a vertex, that is, a deterministic policy: all of them are tried.  Dropping the coupling between pairs gives
the rectangular bonus :math:`\sqrt{\beta / N}` of each, which is never smaller.

The derivation is ours; the algorithm is that of He, Zhong & Yang (2024), Algorithm 1, value-based.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.average import relative_value_iteration
from claimlab.mdps.average_learning import AverageLearner, transitions
from claimlab.mdps.loop import TRIGGER
from claimlab.mdps.tabular import AverageMDP
from claimlab.native import kernel

POLICIES = 100_000  # how many are enumerated at most


class Plan(NamedTuple):
    """The largest gain within an ellipsoid of Bellman errors."""

    gain: float
    policy: Ints  # [S], deterministic
    errors: Array  # [S, A], e, with sum of weight * e^2 = beta
    law: Array  # [S], stationary under the policy


def ellipsoidal_plan(mdp: AverageMDP, weight: ArrayLike, beta: float) -> Plan:
    r""":math:`\max_\pi d_\pi \cdot r + \sqrt\beta \|d_\pi\|_{w^{-1}}`, exactly, over all deterministic policies.

    Parameters
    ----------
    mdp : AverageMDP
        The empirical model; every policy must have one recurrent class.
    weight : float[S, A]
        Positive: (regularised) visits.
    beta : float
        Width of the ellipsoid.
    """
    P, beta = transitions(mdp), checks.interval("beta", beta, 0, inf, "[)")
    w = _weights(weight, mdp.r.shape)
    S, A = mdp.r.shape
    if A**S > POLICIES:
        raise ValueError(f"{A}**{S} policies are too many to be tried (at most {POLICIES}).")
    policy, law, scratch = np.zeros(S, np.int64), np.zeros(S), np.zeros((S, S))
    gain = best_policy(P, mdp.r, w, beta, policy, law, scratch)
    if not np.isfinite(gain):
        raise ValueError("a policy has several recurrent classes, so its gain depends on the first state.")
    errors = np.zeros((S, A))
    perturbation(w, beta, policy, law, errors)
    return Plan(gain, policy, errors, law)


def rectangular_gain(mdp: AverageMDP, weight: ArrayLike, beta: float) -> tuple[float, float]:
    """The optimal gain with a bonus sqrt(beta / weight) for every pair by itself, and the error of that gain."""
    w, beta = _weights(weight, mdp.r.shape), checks.interval("beta", beta, 0, inf, "[)")
    found = relative_value_iteration(AverageMDP(mdp.P, mdp.r + np.sqrt(beta / w)), 1e-9)
    return found.gain, found.error


def _weights(weight: ArrayLike, shape: tuple[int, ...]) -> Array:
    w = checks.shaped("weight", weight, shape, "(S, A)")
    if not (w > 0).all():
        raise ValueError(f"weight{np.argwhere(w <= 0)[0].tolist()} is {w.min():g}; weights must be positive.")
    return w


@kernel
def stationary(P: Array, policy: Ints, W: Array, law: Array) -> bool:
    """Write the stationary law of `policy` to `law`, by elimination without subtraction (Grassmann, Taksar & Heyman
    1985); False if state 0 cannot be reached from everywhere."""
    S = law.size
    for i in range(S):
        for j in range(S):
            W[i, j] = P[i, policy[i], j]
    for k in range(S - 1, 0, -1):
        leave = 0.0
        for j in range(k):
            leave += W[k, j]
        if leave <= 0:
            return False
        for i in range(k):
            W[i, k] /= leave
            for j in range(k):
                W[i, j] += W[i, k] * W[k, j]
    law[0], total = 1.0, 1.0
    for k in range(1, S):
        law[k] = 0.0
        for i in range(k):
            law[k] += law[i] * W[i, k]
        total += law[k]
    for k in range(S):
        law[k] /= total
    return True


@kernel
def best_policy(P: Array, r: Array, weight: Array, beta: float, best: Ints, law: Array, W: Array) -> float:
    """Fill in the best policy and its stationary law; the gain, or NaN if some chain does not return to state 0."""
    S, A = r.shape
    policy, trial, gain = np.zeros(S, np.int64), np.zeros(S), -inf
    while True:
        if not stationary(P, policy, W, trial):
            return np.nan
        mean, norm = 0.0, 0.0
        for s in range(S):
            mean += trial[s] * r[s, policy[s]]
            norm += trial[s] * trial[s] / weight[s, policy[s]]
        if mean + sqrt(beta * norm) > gain:
            gain = mean + sqrt(beta * norm)
            best[:] = policy
            law[:] = trial
        s = 0
        while s < S and policy[s] == A - 1:
            policy[s] = 0
            s += 1
        if s == S:
            return gain
        policy[s] += 1


@kernel
def perturbation(weight: Array, beta: float, policy: Ints, law: Array, errors: Array) -> None:
    """The errors that attain the gain: ``sqrt(beta) (d / w) / |d|_{1/w}``."""
    norm = 0.0
    for s in range(law.size):
        norm += law[s] * law[s] / weight[s, policy[s]]
    errors[:] = 0.0
    for s in range(law.size):
        errors[s, policy[s]] = sqrt(beta / norm) * law[s] / weight[s, policy[s]]


class TabularState(NamedTuple):
    r: Array  # [S, A]
    visits: Array  # [S, A]
    moves: Array  # [S, A, S]
    claimed: Array  # [S, A], Q_f + J_f - r of the hypothesis in use
    v: Array  # [S], V_f
    width: Array  # [beta when it was chosen, its excess loss]
    policy: Ints  # [S]
    plans: Ints  # [1], hypotheses chosen


@dataclass(frozen=True)
class TabularLOOP(AverageLearner):
    r"""LOOP over all value functions, by enumeration of the deterministic policies.

    Every pair starts with `ridge` ghost visits that led to a uniform state.  With
    :math:`W = N + \lambda` and :math:`\tilde P` the mean over visits and ghosts, w.p. at least 1 - `delta`, for all t,

    .. math:: \sqrt{\textstyle\sum_{s,a} W ((P - \tilde P) V^*)^2} \le \sqrt{\beta_t} :=
        \tfrac{\mathrm{sp}}{\sqrt 2} \sqrt{\tfrac12 \textstyle\sum \log(1 + N/\lambda) + \log\tfrac1\delta}
        + \lambda\, \mathrm{sp} \sqrt{\textstyle\sum 1/W}.

    *Proof (ours).*  For a pair, :math:`W (P - \tilde P) V^* = \lambda (P - u) V^* - \sum \eta` with noise
    :math:`\eta = V^*(s') - P V^*` of range sp, that is, sub-Gaussian with variance proxy :math:`\mathrm{sp}^2/4`.  The
    vector of the sums of noise is a martingale with diagonal covariation N, so its norm in :math:`W^{-1}` obeys the
    self-normalised bound of Abbasi-Yadkori, Pal & Szepesvari (2011, Theorem 1); the rest is the triangle inequality and
    :math:`|(P - u) V^*| \le \mathrm{sp}`.

    So :math:`f^*` is in the set and every plan is optimistic.  A regret bound would need the span of the plans, which
    nothing bounds here.

    Parameters
    ----------
    span : float
        sp(V*), or an upper bound.
    delta : float
        Probability with which the set may fail.
    ridge : float
        Ghost visits of each pair.
    scale : float
        Factor on beta; below 1 nothing is proved.
    trigger : float
        Excess, in units of beta, at which the plan is made anew.
    """

    span: float
    delta: float = 0.1
    ridge: float = 1.0
    scale: float = 1.0
    trigger: float = TRIGGER

    def __post_init__(self) -> None:
        for name, low, closed in (("span", 0, "()"), ("ridge", 0, "()"), ("scale", 0, "()"), ("trigger", 0, "[)")):
            self._settle(**{name: checks.interval(name, getattr(self, name), low, inf, closed)})
        self._settle(delta=checks.interval("delta", self.delta, 0, 1, "()"))

    def fresh(self, r: Array, horizon: int) -> TabularState:
        S, A = r.shape
        if float(A) ** S > POLICIES:
            raise ValueError("TabularLOOP tries every deterministic policy: these are too many.")
        unplanned = np.array([1.0, inf])
        return TabularState(
            r,
            np.zeros((S, A)),
            np.zeros((S, A, S)),
            np.zeros((S, A)),
            np.zeros(S),
            unplanned,
            np.zeros(S, np.int64),
            np.zeros(1, np.int64),
        )

    def decide(self, state: TabularState, t: int, s: int, rng: Generator) -> int:
        if state.width[1] >= self.trigger * state.width[0]:
            state.width[0] = self.scale * coverage_width(state.visits, self.span, self.delta, self.ridge)
            replan(state, self.ridge)
            state.width[1] = excess(state, self.ridge)
            state.plans[0] += 1
        return state.policy[s]

    def absorb(self, state: TabularState, t: int, s: int, a: int, successor: int) -> None:
        state.visits[s, a] += 1
        state.moves[s, a, successor] += 1
        state.width[1] = excess(state, self.ridge)

    def switches(self, state: TabularState) -> int:
        return state.plans[0]


@kernel
def coverage_width(visits: Array, span: float, delta: float, ridge: float) -> float:
    """beta_t of :class:`TabularLOOP`."""
    logs, inverse = 0.0, 0.0
    for s in range(visits.shape[0]):
        for a in range(visits.shape[1]):
            logs += log(1 + visits[s, a] / ridge)
            inverse += 1 / (visits[s, a] + ridge)
    root = span * sqrt((logs / 2 + log(1 / delta)) / 2) + ridge * span * sqrt(inverse)
    return root * root


@kernel
def expected(state: TabularState, ridge: float, s: int, a: int) -> float:
    """Mean of V_f over the visits of a pair and its ghosts."""
    S, total = state.v.size, 0.0
    for i in range(S):
        total += (state.moves[s, a, i] + ridge / S) * state.v[i]
    return total / (state.visits[s, a] + ridge)


@kernel
def excess(state: TabularState, ridge: float) -> float:
    """Excess loss of the hypothesis in use."""
    total = 0.0
    for s in range(state.r.shape[0]):
        for a in range(state.r.shape[1]):
            error = state.claimed[s, a] - expected(state, ridge, s, a)
            total += (state.visits[s, a] + ridge) * error * error
    return total


@kernel
def replan(state: TabularState, ridge: float) -> None:
    """The optimistic policy, and its values under the reward with which it is optimal."""
    S, A = state.r.shape
    P, W, law, bonus = np.zeros((S, A, S)), np.zeros((S, S)), np.zeros(S), np.zeros((S, A))
    weight = np.zeros((S, A))
    for s in range(S):
        for a in range(A):
            weight[s, a] = state.visits[s, a] + ridge
            for i in range(S):
                P[s, a, i] = (state.moves[s, a, i] + ridge / S) / weight[s, a]
    gain = best_policy(P, state.r, weight, state.width[0], state.policy, law, W)
    perturbation(weight, state.width[0], state.policy, law, bonus)
    relative_bias(P, state.r + bonus, state.policy, gain, W, state.v)
    for s in range(S):
        for a in range(A):
            state.claimed[s, a] = bonus[s, a] + expected(state, ridge, s, a)


@kernel
def relative_bias(P: Array, r: Array, policy: Ints, gain: float, W: Array, h: Array) -> None:
    """The solution of h = r - gain + P h under `policy` with h(0) = 0, by the elimination of :func:`stationary`."""
    S = h.size
    for i in range(S):
        h[i] = r[i, policy[i]] - gain
        for j in range(S):
            W[i, j] = P[i, policy[i], j]
    for k in range(S - 1, 0, -1):
        leave = 0.0
        for j in range(k):
            leave += W[k, j]
        for i in range(k):
            factor = W[i, k] / leave
            h[i] += factor * h[k]
            for j in range(k):
                W[i, j] += factor * W[k, j]
        h[k] /= leave
        for j in range(k):
            W[k, j] /= leave
    h[0] = 0.0
    for k in range(1, S):
        for j in range(k):
            h[k] += W[k, j] * h[j]
