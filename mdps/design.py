r"""Experiment design by Frank-Wolfe: visit step `h` so that the expected features of all policies become known.

The design problem (Wagenmaker & Jamieson 2022, Section 5) is

.. math:: \min_{\Lambda\in\Omega_h} \max_{\varphi\in\Phi} \|\varphi\|^2_{A(\Lambda)^{-1}}, \qquad
          A(\Lambda) = \Lambda + \Lambda_{off} ,

over the covariances :math:`\Omega_h` of policies.  The maximum is smoothed to
:math:`f_\eta = \eta^{-1}\log\sum_\varphi e^{\eta\|\varphi\|^2}`, above it by at most :math:`\log|\Phi|/\eta`.  With the
softmax weights p, minus the gradient in the direction :math:`\phi(s,a)\phi(s,a)^\top` is the *price*

.. math:: \nu(s,a) = \sum_\varphi p_\varphi\, (\phi(s,a)^\top A^{-1} \varphi)^2 ,

so the linear oracle is an RL problem with reward :math:`\nu` at step h: backward induction where transitions are known,
a learner with low regret where they are not.

**Certificate.**  :math:`g = \max_\pi E_\pi\nu - \langle\Lambda,\nu\rangle` is the Frank-Wolfe gap of f.  For fixed p,
:math:`\sum_\varphi p_\varphi\|\varphi\|^2` is convex in :math:`\Lambda`, below the maximum, and has the same gradient:
:math:`\sum_\varphi p_\varphi\|\varphi\|^2_{A^{-1}} - g` is below the optimum of the unsmoothed problem.

**How smooth.**  Let :math:`m_k` be the least maximum so far and :math:`\eta_k = \log(|\Phi|+1)/(\alpha m_k)`, so that
:math:`f_{\eta_k}` falls with k.  As :math:`f_\eta - g` exceeds the optimum by at most :math:`\log|\Phi|/\eta`, steps of
1 / (k + 2) leave an excess :math:`h_K` of f over it with

.. math:: (K+1)\,h_K \le h_0 + \sum_{k<K}\Bigl(\alpha m_k + \frac{C_k}{2(k+2)}\Bigr) ,

:math:`C_k` the largest second derivative of :math:`f_{\eta_k}` along step k (Frank & Wolfe 1956; Jaggi 2013).  With
:math:`\rho` a bound on :math:`\|A^{-1/2}DA^{-1/2}\|` for the directions D it is of the order
:math:`\rho^2 m_k(2 + \eta_k m_k)`: a sharp softmax, of small :math:`\alpha`, is still far from its limit after
:math:`\rho^2\log|\Phi|/\alpha` steps.  Up to :math:`\rho` and the logarithm of K both terms are of one order for
:math:`\alpha = \min\{1, \sqrt{\log(|\Phi|+1)/K}\}`, which is used here.
"""

from __future__ import annotations

from math import exp, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array, Bools, Ints
from claimlab.factor import cholesky, solve_factored
from claimlab.mdps.staged import StagedMDP, staged_occupancy
from claimlab.native import kernel, part

SPAN = 1e-10  # relative eigenvalues below which a direction counts as never seen


class Goals(NamedTuple):
    """What the covariance is to make known, in coordinates in which nothing is seen for sure."""

    targets: Array  # [N, d]
    phi: Array  # [S, A, d] features; [S, A, 0] in the tabular case, where d = S * A and covariances are diagonal
    offline: Array  # [d, d]; [d, 1] in the tabular case


class Scratch(NamedTuple):
    norms: Array  # [N], squared, of the targets
    p: Array  # [N], softmax weights
    prices: Array  # [S, A]
    known: Array  # [d, d] or [d, 1], A
    factor: Array  # of the same shape
    spread: Array  # [d, d] or [d, 1], sum of p A^-1 phi phi' A^-1
    z: Array  # [d]


def new_scratch(goals: Goals) -> Scratch:
    (n, d), (S, A, _), width = goals.targets.shape, goals.phi.shape, goals.offline.shape[1]
    square = (d, width)
    return Scratch(
        np.zeros(n), np.zeros(n), np.zeros((S, A)), np.zeros(square), np.zeros(square), np.zeros(square), np.zeros(d)
    )


@kernel
def largest(x: Array) -> float:
    """The maximum; numba takes a quarter of a second to compile the method of arrays."""
    top = x[0]
    for n in range(1, x.size):
        top = max(top, x[n])
    return top


@kernel
def softmax(norms: Array, eta: float, p: Array) -> float:
    r"""Fill `p` with the weights :math:`\propto e^{\eta\,\mathrm{norms}}`; the smoothed maximum."""
    top, total = largest(norms), 0.0
    for n in range(p.size):
        p[n] = exp(eta * (norms[n] - top))
        total += p[n]
    for n in range(p.size):
        p[n] /= total
    return top + log(total) / eta


@kernel
def sharpness(targets: int, steps: int, least: float) -> float:
    r"""The :math:`\eta` of the module's head for so many targets and steps, `least` being the least maximum so far."""
    spread = log(targets + 1.0)
    return spread / (min(1.0, sqrt(spread / steps)) * least)


@kernel
def measure(goals: Goals, x: Array, at: Scratch) -> float:
    """Fill the norms at the occupancy `x`, float[S, A], and what they are made of; the largest norm."""
    if goals.phi.shape[2] > 0:
        _measure_linear(goals, x, at)
    else:
        _measure_tabular(goals, x, at)
    return largest(at.norms)


@kernel
def price(goals: Goals, eta: float, at: Scratch) -> float:
    """Fill p and prices where :func:`measure` was called last; the smoothed maximum."""
    value = softmax(at.norms, eta, at.p)
    if goals.phi.shape[2] > 0:
        _price_linear(goals, at)
    else:
        _price_tabular(goals, at)
    return value


@part
def _measure_tabular(goals: Goals, x: Array, at: Scratch) -> None:
    n_targets, d = goals.targets.shape
    A = x.shape[1]
    for i in range(d):
        at.known[i, 0] = goals.offline[i, 0] + x[i // A, i % A]
        at.spread[i, 0] = 1 / at.known[i, 0] if at.known[i, 0] > 0 else np.inf
    for n in range(n_targets):
        at.norms[n] = 0.0
        for i in range(d):
            if goals.targets[n, i] != 0:
                at.norms[n] += goals.targets[n, i] * goals.targets[n, i] * at.spread[i, 0]


@part
def _price_tabular(goals: Goals, at: Scratch) -> None:
    n_targets, d = goals.targets.shape
    S, A = at.prices.shape
    for s in range(S):
        for a in range(A):
            at.prices[s, a] = 0.0
    for n in range(n_targets):
        if at.p[n] > 0:
            for i in range(d):
                if goals.targets[n, i] != 0:
                    at.prices[i // A, i % A] += at.p[n] * (goals.targets[n, i] * at.spread[i, 0]) ** 2


@part
def _measure_linear(goals: Goals, x: Array, at: Scratch) -> None:
    n_targets, d = goals.targets.shape
    S, A = x.shape
    for i in range(d):
        for j in range(d):
            at.known[i, j] = goals.offline[i, j]
    for s in range(S):
        for a in range(A):
            if x[s, a] > 0:
                for i in range(d):
                    for j in range(i + 1):
                        at.known[i, j] += x[s, a] * goals.phi[s, a, i] * goals.phi[s, a, j]
    cholesky(at.known, at.factor)  # reads the lower half
    for n in range(n_targets):
        solve_factored(at.factor, goals.targets[n], at.z)
        at.norms[n] = 0.0
        for i in range(d):
            at.norms[n] += goals.targets[n, i] * at.z[i]


@part
def _price_linear(goals: Goals, at: Scratch) -> None:
    n_targets, d = goals.targets.shape
    S, A = at.prices.shape
    for i in range(d):
        for j in range(d):
            at.spread[i, j] = 0.0
    for n in range(n_targets):
        if at.p[n] > 1e-12:
            solve_factored(at.factor, goals.targets[n], at.z)
            for i in range(d):
                for j in range(d):
                    at.spread[i, j] += at.p[n] * at.z[i] * at.z[j]
    for s in range(S):
        for a in range(A):
            at.prices[s, a] = 0.0
            for i in range(d):
                for j in range(d):
                    at.prices[s, a] += goals.phi[s, a, i] * at.spread[i, j] * goals.phi[s, a, j]


@kernel
def collect(mdp: StagedMDP, step: int, prices: Array, v: Array, rule: Ints) -> float:
    """The most that can be collected at `step`; fills the rule, int[step + 1, S], and v, float[step + 2, S]."""
    S, A = prices.shape
    for h in range(step, -1, -1):
        for s in range(S):
            best = -1.0
            for a in range(A):
                q = prices[s, a] if h == step else 0.0
                if h < step:
                    for j in range(mdp.degree[h, s, a]):
                        q += mdp.weights[h, s, a, j] * v[h + 1, mdp.targets[h, s, a, j]]
                if q > best:
                    best, rule[h, s] = q, a
            v[h, s] = best
    value = 0.0
    for s in range(S):
        value += mdp.initial[s] * v[0, s]
    return value


@kernel
def _move(mdp: StagedMDP, rule: Ints, share: float, flow: Array, law: Array) -> None:
    """Mix `share` of the occupancies of `rule` into `flow`, float[step + 1, S, A]; `law`, float[2, S], is scratch.

    Entry by entry: numba takes two seconds to compile the assignment of a row, for the message of its errors.
    """
    steps, S, A = flow.shape
    for s in range(S):
        law[0, s] = mdp.initial[s]
    for h in range(steps):
        for s in range(S):
            law[1, s] = 0.0
        for s in range(S):
            for a in range(A):
                flow[h, s, a] *= 1 - share
            a = rule[h, s]
            if law[0, s] > 0:
                flow[h, s, a] += share * law[0, s]
                for j in range(mdp.degree[h, s, a]):
                    law[1, mdp.targets[h, s, a, j]] += law[0, s] * mdp.weights[h, s, a, j]
        for s in range(S):
            law[0, s] = law[1, s]


@kernel
def _frank_wolfe(mdp: StagedMDP, goals: Goals, at: Scratch, flow: Array, best: Array, trace: Array) -> None:
    """Rows of `trace`: largest norm, smoothed, gap, lower bound; `best` is the flow of the least largest norm."""
    step, S, A = flow.shape[0] - 1, flow.shape[1], flow.shape[2]
    rule, v, law, least = np.zeros((step + 1, S), np.int64), np.zeros((step + 2, S)), np.zeros((2, S)), np.inf
    for k in range(len(trace)):
        now = measure(goals, flow[step], at)
        if now < least:
            least = now
            for h in range(step + 1):
                for s in range(S):
                    for a in range(A):
                        best[h, s, a] = flow[h, s, a]
        trace[k, 1] = price(goals, sharpness(len(goals.targets), len(trace), least), at)
        most, has, mean = collect(mdp, step, at.prices, v, rule), 0.0, 0.0
        for s in range(S):
            for a in range(A):
                has += flow[step, s, a] * at.prices[s, a]
        for n in range(at.p.size):
            mean += at.p[n] * at.norms[n]
        trace[k, 0], trace[k, 2], trace[k, 3] = now, most - has, mean - (most - has)
        _move(mdp, rule, 1 / (k + 2), flow, law)


class FrankWolfe(NamedTuple):
    """A design with its certificate: `lower` <= optimum <= `value`, up to rounding."""

    value: float  # largest squared norm under `occupancy`
    lower: float
    occupancy: Array  # [S, A], of the step
    policy: Array  # [H, S, A], which has it; uniform where it does not go and after the step
    trace: Array  # [iterations, 4]: largest norm, smoothed maximum, Frank-Wolfe gap, lower bound

    @property
    def gap(self) -> float:
        return self.value - self.lower


def frank_wolfe(
    mdp: StagedMDP,
    step: int,
    targets: ArrayLike,
    offline: ArrayLike | None = None,
    *,
    features: ArrayLike | None = None,
    iterations: int = 1000,
) -> FrankWolfe:
    r"""The design for `step` by Frank-Wolfe on the smoothed maximum, transitions known, step sizes 1 / (k + 2).

    Parameters
    ----------
    mdp : StagedMDP
    step : int
        0..H-1.
    targets : float[N, d]
        :math:`\Phi`: expected features of policies at the step, or these over :math:`\mathrm{gap}\vee\epsilon`.  In the
        tabular case occupancies, float[N, S * A].
    offline : float[S, A], or float[d, d] for `features`; optional
        What offline data add to the covariance of one online episode: visits, or covariance, over the episodes.
    features : float[S, A, d], optional
        One-hot by default: the tabular case.
    iterations : int

    Examples
    --------
    >>> bandit = StagedMDP(P=[[[[1.0]] * 3]], r=[[[0.9, 0.7, 0.4]]])
    >>> design = frank_wolfe(bandit, 0, np.diag([1.0, 1.0, 2.0]))  # x proportional to 1, 1, 4 makes all norms 6
    >>> round(design.value, 3), design.lower <= 6.0
    (6.0, True)
    """
    step = checks.integer("step", step, 0, mdp.horizon - 1)
    uniform = staged_occupancy(mdp, np.full(mdp.r.shape, 1 / mdp.n_actions))[: step + 1]
    goals = design_goals(uniform[step] > 0, targets, offline, features)
    count = checks.integer("iterations", iterations, 1)
    best, trace = np.empty(uniform.shape), np.empty((count, 4))
    _frank_wolfe(mdp, goals, new_scratch(goals), uniform.copy(), best, trace)
    if not np.isfinite(trace).all():
        raise ValueError("targets must be expected features of policies: one of them lies where no policy goes.")
    policy = np.full(mdp.r.shape, 1 / mdp.n_actions)
    there = best.sum(axis=2) > 0
    policy[: step + 1][there] = best[there] / best[there].sum(axis=1, keepdims=True)
    return FrankWolfe(float(trace[:, 0].min()), float(trace[:, 3].max()), best[step], policy, trace)


def design_goals(reached: Bools, targets: ArrayLike, offline: ArrayLike | None, features: ArrayLike | None) -> Goals:
    """The arguments of :func:`frank_wolfe`, checked; `reached`, bool[S, A], marks the pairs that policies can visit.

    Features are written in a basis of the span of what can be seen, where the covariances are invertible.
    """
    S, A = reached.shape
    wanted = checks.array("targets", targets, ndim=2)
    if features is None:
        known = checks.shaped("offline", np.zeros((S, A)) if offline is None else offline, (S, A), "(S, A)")
        if known.min() < 0:
            raise ValueError(f"offline holds {known.min():.6g}; visits cannot be negative.")
        _dimension(wanted, S * A)
        return read_only_goals(wanted, np.zeros((S, A, 0)), known.reshape(-1, 1))
    phi = checks.array("features", features, ndim=3)
    if phi.shape[:2] != (S, A) or not phi.size:
        raise ValueError(f"features must have shape (S, A, d) with (S, A) = {(S, A)}, got {phi.shape}.")
    d = phi.shape[2]
    known = checks.shaped("offline", np.zeros((d, d)) if offline is None else offline, (d, d), "(d, d)")
    _dimension(wanted, d)
    seen = phi[reached]
    size, axes = np.linalg.eigh(seen.T @ seen + known / max(float(abs(known).max()), 1.0))
    basis = axes[:, size > SPAN * size[-1]]
    lost = abs(wanted - wanted @ basis @ basis.T).max()
    if lost > 1e-7 * abs(wanted).max():
        raise ValueError(
            "targets must be expected features of policies: one of them is no mixture of what can be seen."
        )
    return read_only_goals(wanted @ basis, phi @ basis, basis.T @ known @ basis)


def read_only_goals(targets: Array, phi: Array, offline: Array) -> Goals:
    """Read-only all of them, tabular or not: numba compiles the kernels anew for each mixture of kinds of arrays."""
    return Goals(*(checks.array(name, x, ndim=x.ndim) for name, x in zip(Goals._fields, (targets, phi, offline))))


def _dimension(targets: Array, d: int) -> None:
    if targets.shape[1] != d or not len(targets):
        raise ValueError(f"targets must have shape (N, {d}) with N >= 1, got {targets.shape}.")
