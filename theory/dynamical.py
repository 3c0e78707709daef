r"""Bounds for dynamical linear bandits (Mussi, Metelli & Restelli 2023, arXiv 2211.08997), published and ours.

Notation as in :mod:`claimlab.bandits.dynamical`; :math:`\Theta, \Omega, B, U, X` are the bounds of Assumption 2.2.
"""

from __future__ import annotations

from math import e, log, sqrt

import numpy as np
from numpy.random import Generator
from scipy.integrate import quad
from scipy.special import ndtr

from claimlab import checks
from claimlab.bandits.dynamical import DynamicalLinear
from claimlab.bandits.dynlin import DynLinUCB, dynlin_radius, waiting_rounds
from claimlab.bandits.linear import bounded_growth
from claimlab.checks import Array
from claimlab.native import kernel

# the system ----------------------------------------------------------------------------------------------------------


def truncation_error(env: DynamicalLinear, last: int) -> float:
    r"""Upper bound :math:`\Omega B\Phi\rho^H/(1-\rho)` on :math:`\|h - h^{[0,H]}\|_2`, `H` = `last`.

    :math:`h - h^{[0,H]} = \sum_{s>H} B^T(A^{s-1})^T\omega` and :math:`\|A^s\| \le \Phi\rho^s`.
    """
    b = env.norms
    return b.omega * b.B * env.phi * env.rho**last / (1 - env.rho)


def constant_action_slack(env: DynamicalLinear, start: float = 0.0) -> float:
    r"""What any policy gains on :math:`T J^*`, at most, in any `T`: :math:`\Omega\Phi(BU/(1-\rho)^2+X/(1-\rho))`.

    Theorem 2.1 made quantitative (ours).  By linearity the expected rewards of inputs :math:`u_1,\dots,u_T`, adaptive
    or not, sum to :math:`\sum_s E\langle h^{[0,T-s]},u_s\rangle + \sum_t\omega^TA^{t-1}x_1`.  Against
    :math:`\sum_s E\langle h,u_s\rangle \le TJ^*` the first sum lacks at most
    :math:`U\sum_s\|h-h^{[0,T-s]}\| \le U\Omega B\Phi/(1-\rho)^2` (:func:`truncation_error`), and the second is at most
    :math:`\Omega\Phi X/(1-\rho)` with :math:`X = \|x_1\|` = `start`.  The same bounds the distance of regret from
    pseudo-regret, in either direction.
    """
    b = env.norms
    return b.omega * env.phi * (b.B * b.U / (1 - env.rho) ** 2 + start / (1 - env.rho))


def horizon_gain(env: DynamicalLinear) -> float:
    r"""What the optimum of a finite horizon gains on the constant optimum, at most: :math:`2U\Omega B\Phi/(1-\rho)^2`.

    Ours: both differ from :math:`TJ^*` by at most half of it, :func:`constant_action_slack` from the state 0.
    """
    return 2 * constant_action_slack(env)


def epoch_bias(env: DynamicalLinear, state: float, wait: int) -> float:
    r"""Bound on :math:`|E y - \langle h,u\rangle|` after `wait` rounds of `u` from a state of norm `state`.

    :math:`\Omega\Phi(UB/(1-\rho)+X)\rho^H = (c_1/U)\rho^H`: the error is :math:`\omega^TA^H(x-(I-A)^{-1}Bu)`, and
    :math:`\|A^H(I-A)^{-1}\| \le \sum_{s\ge H}\Phi\rho^s`.
    """
    b = env.norms
    return b.omega * env.phi * (b.U * b.B / (1 - env.rho) + state) * env.rho**wait


# DynLin-UCB ----------------------------------------------------------------------------------------------------------


@kernel
def schedule(rho_bar: float, extra: int, epochs: int) -> tuple[int, float, float]:
    r"""Rounds, :math:`\sum_k\bar\rho^{H_k}` and :math:`\sum_k\bar\rho^{2H_k}` of the first `epochs` epochs."""
    rounds, once, twice = 0, 0.0, 0.0
    for m in range(1, epochs + 1):
        wait = waiting_rounds(m, rho_bar) + extra
        rounds += 1 + wait
        decay = rho_bar**wait
        once += decay
        twice += decay * decay
    return rounds, once, twice


def published_bias(alg: DynLinUCB, t: int) -> float:
    r"""First term of the published radius after `t` rounds: :math:`(c_1/\sqrt\lambda)\log(e(t+1))`.

    It rests on :math:`\sum_{k\le m}\bar\rho^{H_k} \le \log(e(t+1))`.  The floor in :math:`H_k` gives
    :math:`\bar\rho^{H_k} \le 1/(k\bar\rho)` only, and the sum does exceed the logarithm for small :math:`\bar\rho`;
    with one waiting round more, :math:`\bar\rho^{H_k+1} \le 1/k`, and the sum is at most :math:`1 + \log m`.
    """
    return alg.c1 / sqrt(alg.lam) * log(e * (t + 1))


def sharper_bias(alg: DynLinUCB, epochs: int) -> float:
    r"""Ours, in its place: :math:`(c_1/U)\big(\sum_{k\le m}\bar\rho^{2H_k}\big)^{1/2}`, no logarithm and no
    :math:`1/\sqrt\lambda`.

    The epochs' biases :math:`b_k` enter the estimate as :math:`V^{-1}\sum_k b_ku_k`, whose norm in `V` is that of
    :math:`\sum_kb_ku_k` in :math:`V^{-1}`.  With the actions as the rows of `M`, :math:`V = \lambda I + M^TM`, its
    square is :math:`b^TM V^{-1}M^Tb \le \|b\|^2`, for :math:`MV^{-1}M^T \preceq I`; and
    :math:`|b_k| \le (c_1/U)\rho^{H_k}` (:func:`epoch_bias`).  It needs no lower bound on the wait, so it covers with
    the published floor as well.
    """
    return alg.c1 / alg.U * sqrt(schedule(alg.rho_bar, alg.extra, epochs)[2])


def epochs_within(rho_bar: float, extra: int, horizon: int) -> int:
    """How many epochs begin within `horizon` rounds."""
    m = rounds = 0
    while rounds < horizon:
        m += 1
        rounds += 1 + waiting_rounds(m, rho_bar) + extra
    return m


def regret_bound(alg: DynLinUCB, horizon: int, largest_gap: float) -> float:
    r"""Upper bound on the expected pseudo-regret of DynLin-UCB, in rewards; Theorem 3.2 with explicit constants, ours.

    .. math:: 2(1+H_M)\,\beta_T\sqrt{2\max(1, U^2/\lambda)\,M d\log(1+MU^2/(d\lambda))} + \delta\,T\,\Delta_{\max},

    `M` the epochs begun.  While the ellipsoid covers, optimism bounds the gap of epoch `m` by twice the radius times
    :math:`\|u_m\|_{V^{-1}}`; epochs last at most :math:`1+H_M` rounds; radii grow; and
    :math:`\sum_m\|u_m\|^2_{V^{-1}} \le \max(1,U^2/\lambda)\,2\log(\det V/\lambda^d)` (Abbasi-Yadkori et al. 2011,
    Lemma 11) with Cauchy & Schwarz.  Where it does not cover, a round costs the largest gap at most.
    """
    d, U = alg.arms.shape[1], alg.U
    M = epochs_within(alg.rho_bar, alg.extra, horizon)
    spread = sqrt(2 * max(1.0, U * U / alg.lam) * M * bounded_growth(float(M), U, d, alg.lam))
    bias = sharper_bias(alg, M) if alg.sharper else published_bias(alg, horizon)
    noise = 2 * alg.variance * (log(1 / alg.delta) + bounded_growth(float(horizon), U, d, alg.lam) / 2)
    radius = bias + alg.c2 * sqrt(alg.lam) + sqrt(noise)
    longest = 1 + waiting_rounds(M, alg.rho_bar) + alg.extra
    return float(2 * longest * radius * spread + alg.delta * horizon * largest_gap)


@kernel
def _largest_ratio(alg: DynLinUCB, env: DynamicalLinear, horizon: int, rng: Generator) -> float:
    state, world, largest = alg.init(env.values.size, horizon), env.begin(horizon, rng), 0.0
    fit, h = state.fit, env.h
    for t in range(horizon):
        arm = alg.act(state, t, rng)
        alg.learn(state, t, arm, env.pull(world, t, arm, rng))
        if state.clock[1] == 0:  # the epoch is over: the ellipsoid has moved
            square = 0.0
            for i in range(h.size):
                square += alg.lam * (fit.theta[i] - h[i]) ** 2
            for k in range(fit.mean.size):
                square += fit.samples[k] * (fit.mean[k] - env.values[k]) ** 2
            largest = max(largest, sqrt(square) / dynlin_radius(alg, state, t + 1))
    return largest


@kernel
def _largest_ratios(alg: DynLinUCB, env: DynamicalLinear, horizon: int, rng: Generator, out: Array) -> None:
    for run in range(out.size):
        out[run] = _largest_ratio(alg, env, horizon, rng)


def coverage_ratios(alg: DynLinUCB, env: DynamicalLinear, horizon: int, runs: int, rng: Generator) -> Array:
    r"""Largest :math:`\|\hat h_t-h\|_{V_t}/\beta_t` over the rounds of each of `runs` games, float[runs].

    The ellipsoid fails to cover in a game where it exceeds 1.
    """
    out = np.empty(checks.integer("runs", runs, 1))
    _largest_ratios(alg, env, checks.integer("horizon", horizon, 1), rng, out)
    return out


# lower bounds --------------------------------------------------------------------------------------------------------


def hypercube(signs: Array, rho: float, scale: float, sigma: float, horizon: int) -> DynamicalLinear:
    r"""The hard family of :func:`lower_bound`, with one state that is the reward.

    :math:`x_{t+1} = \rho x_t + \langle b,u_t\rangle + \epsilon_t`, :math:`y_t = x_t`, actions :math:`\{-1,1\}^d`, and
    :math:`b_i = \pm c\sigma/\sqrt T` with the given `signs`, float[d].
    """
    signs = checks.array("signs", signs, ndim=1)
    d = len(signs)
    arms = np.array(np.meshgrid(*[[-1.0, 1.0]] * d, indexing="ij")).reshape(d, -1).T
    b = scale * sigma / sqrt(horizon) * signs
    return DynamicalLinear(np.array([[rho]]), b[None], np.ones(1), np.zeros(d), arms, state_noise=sigma)


def lower_bound(d: int, rho: float, sigma: float, horizon: int, scale: float = 1.25) -> float:
    r"""No policy has less expected pseudo-regret, averaged over the signs of :func:`hypercube`: ours, in rewards.

    .. math:: \frac{2dc\sigma}{(1-\rho)\sqrt T}\sum_{t=0}^{T-1} Q\Big(c\sqrt{t/T}\Big)
       \ge \frac{0.529\,d\sigma\sqrt T}{1-\rho} \quad (c = 1.25),

    `Q` the upper tail of the standard normal.  So the published :math:`\Omega(d\sqrt T/(1-\rho)^{1/2})` (Theorem 2.2)
    can be sharpened by :math:`(1-\rho)^{-1/2}`; :math:`|J| \le 1` holds for :math:`T \ge (cd\sigma/(1-\rho))^2`.

    *Proof.* :math:`h = b/(1-\rho)`, so a round in which :math:`u_{t,i}` misses the sign of :math:`b_i` costs
    :math:`2c\sigma/(\sqrt T(1-\rho))`.  Rewards up to round `t` and :math:`z_s = y_{s+1}-\rho y_s =
    \langle b,u_s\rangle + \epsilon_s`, `s < t`, determine each other, as :math:`y_1 = 0`.  Tell the policy rho and all
    signs but that of :math:`b_i`: it then knows :math:`u_{s,i}(z_s-\sum_{j\ne i}b_ju_{s,j}) = b_i+u_{s,i}\epsilon_s`,
    which are independent :math:`\mathcal N(b_i,\sigma^2)` whatever it plays, since :math:`u_{s,i} = \pm1` is chosen
    before :math:`\epsilon_s` is drawn.  From `t` of them no rule errs on the sign, average over both, with probability
    below :math:`Q(|b_i|\sqrt t/\sigma)` (Neyman & Pearson).  Sum over rounds and coordinates.
    """
    t = np.arange(checks.integer("horizon", horizon, 1))
    errors = ndtr(-scale * np.sqrt(t / horizon)).sum()
    return float(2 * d * scale * sigma * errors / (sqrt(horizon) * (1 - checks.interval("rho", rho, 0, 1, "[)"))))


def lower_bound_constant(scale: float = 1.25) -> float:
    r"""The constant of :func:`lower_bound` for long horizons, :math:`2c\int_0^1Q(c\sqrt s)\,ds`."""
    return float(2 * scale * quad(lambda s: ndtr(-scale * sqrt(s)), 0, 1)[0])
