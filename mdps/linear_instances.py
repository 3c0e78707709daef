r"""Linear MDPs by name: random ones on the simplex, embedded tabular ones, and the hard ones of the literature."""

from __future__ import annotations

from itertools import product
from math import sqrt

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array
from claimlab.mdps.linear import LinearMDP
from claimlab.mdps.staged import StagedMDP


def simplex_linear_mdp(
    dim: int, states: int, actions: int, horizon: int, rng: Generator, *, concentration: float = 0.5
) -> LinearMDP:
    """Features and measures drawn from Dirichlet laws, rewards from [0, 1]^d: valid whatever is drawn.

    >>> simplex_linear_mdp(3, 5, 2, 4, np.random.default_rng(0)).staged.P.shape
    (4, 5, 2, 5)
    """
    d, S = checks.integer("dim", dim, 1), checks.integer("states", states, 1)
    A, H = checks.integer("actions", actions, 1), checks.integer("horizon", horizon, 1)
    alpha = checks.interval("concentration", concentration, 0, np.inf, "()")
    phi, mu = rng.dirichlet(np.full(d, alpha), size=(S, A)), rng.dirichlet(np.full(S, alpha), size=(H, d))
    return LinearMDP(phi, mu, rng.random((H, d)))


def one_hot(mdp: StagedMDP) -> LinearMDP:
    """A tabular MDP as a linear one: feature ``s * A + a`` is 1 in the pair (s, a), so d = S A."""
    H, S, A = mdp.r.shape
    return LinearMDP(
        np.eye(S * A).reshape(S, A, S * A), mdp.P.reshape(H, S * A, S), mdp.r.reshape(H, S * A), mdp.initial
    )


def linear_bandit(arms: ArrayLike, theta: ArrayLike) -> LinearMDP:
    """One state and one step: `arms` are float[K, d], their mean rewards ``arms @ theta``.

    Its transitions are linear in the features only where a vector has the product 1 with every arm; a constant feature
    sees to that.
    """
    x, w = checks.array("arms", arms, ndim=2), checks.array("theta", theta, ndim=1)
    mu: Array = np.asarray(np.linalg.lstsq(x, np.ones(len(x)), rcond=None)[0], np.float64)
    return LinearMDP(x[None], mu[None, :, None], w[None])


def hard_linear_mdp(dim: int, horizon: int, delta: float, gap: float, rng: Generator) -> LinearMDP:
    r"""The linear MDP behind the lower bound :math:`\Omega(dH\sqrt T)`: a hidden vertex at every step.

    Actions are the vertices of :math:`\{-1,1\}^m`, m = `dim` - 2.  State 0 pays 0 and is left for state 1, which pays 1
    ever after, with probability :math:`\delta + \langle a, \vartheta_h\rangle`,
    :math:`\vartheta_h \in \{\pm\mathrm{gap}/m\}^m`.  It is a linear mixture and a linear MDP:
    :math:`\phi(0,a) = (\sqrt u, \sqrt{(1-u)/m}\,a, 0)`, :math:`\phi(1,a) = e_d`; the u of the least norm of the
    measures, :math:`u = 1/(1 + 2\sqrt2\,\mathrm{gap})`, meets the bound :math:`\sqrt d` for
    :math:`\mathrm{gap} \le (\sqrt{d-1}-1)/(2\sqrt2)`.

    Source: Zhou, Gu & Szepesvari (2021), Nearly minimax optimal reinforcement learning for linear mixture Markov
    decision processes, Section 5 and its remark on linear MDPs; the choice of u is ours.
    """
    m, H = checks.integer("dim", dim, 3, 14) - 2, checks.integer("horizon", horizon, 1)
    delta = checks.interval("delta", delta, 0, 1, "()")
    most = min(delta, 1 - delta, (sqrt(m + 1) - 1) / (2 * sqrt(2)))
    gap = checks.interval("gap", gap, 0, most)
    u, vertices = 1 / (1 + 2 * sqrt(2) * gap), np.array(list(product([1.0, -1.0], repeat=m)))
    phi = np.zeros((2, len(vertices), m + 2))
    phi[0, :, 0], phi[0, :, 1:-1], phi[1, :, -1] = sqrt(u), sqrt((1 - u) / m) * vertices, 1.0
    mu = np.zeros((H, m + 2, 2))
    mu[:, 0] = np.array([1 - delta, delta]) / sqrt(u)
    if gap > 0:  # without it the actions do not differ, and neither do their features
        hidden = rng.choice([-1.0, 1.0], size=(H, m)) * gap / m
        mu[:, 1:-1] = hidden[..., None] * np.array([-1.0, 1.0]) / sqrt((1 - u) / m)
    mu[:, -1, 1] = 1.0
    return LinearMDP(phi, mu, np.tile(np.eye(m + 2)[-1], (H, 1)))


def informative_detour(arms: int, gap: float = 0.4) -> LinearMDP:
    r"""Two steps, `n` = `arms` nearly parallel good actions, and a detour on which their differences are seen at once.

    In state 1, behind action 0 of the first step, action i has the feature
    :math:`x_i = (1-\gamma)e_0 + \gamma e_i`, :math:`\gamma = 1/\sqrt n`; in state 2, behind every other action, it has
    :math:`e_i` alone.  The last reward is :math:`\theta = (1, \tfrac12, \tfrac12 - \mathrm{gap}, \dots)`, so that the
    detour costs :math:`\tfrac12(1 - \gamma)` and the good actions differ by :math:`\gamma\,\mathrm{gap}`.  The features
    of the first step are the last two coordinates.

    On the good actions alone every design has :math:`\max_i \|x_i\|^2_{\Lambda^{-1}} \ge n`: their covariance has rank
    n, and :math:`\sum_i \lambda_i \|x_i\|^2_{\Lambda^{-1}} = n`.  Half of them, half the detour, both uniform, have at
    most 8: with the mean :math:`\bar x`, :math:`\Lambda \succeq \tfrac12 \bar x \bar x^\top` gives
    :math:`\|\bar x\|^2 \le 2`, and :math:`\Lambda \succeq \tfrac1{2n}\sum_i e_i e_i^\top` gives
    :math:`\|x_i - \bar x\|^2 = \gamma^2\|e_i - \tfrac1n \mathbf 1\|^2 \le 2`.

    Ours, after the idea of Wagenmaker & Jamieson (2022), Propositions 3 and 4 (H = 2, an informative suboptimal
    action).

    >>> informative_detour(4).staged.r[1, 1:]
    array([[0.75, 0.55, 0.55, 0.55],
           [0.5 , 0.1 , 0.1 , 0.1 ]])
    """
    n, gap = checks.integer("arms", arms, 2), checks.interval("gap", gap, 0, 0.5)
    share, d = 1 / sqrt(n), n + 3
    phi = np.zeros((3, n, d))
    phi[0, 0, n + 1], phi[0, 1:, n + 2] = 1.0, 1.0
    phi[1, :, 0], phi[1, :, 1 : n + 1] = 1 - share, share * np.eye(n)
    phi[2, :, 1 : n + 1] = np.eye(n)
    mu = np.zeros((2, d, 3))
    mu[..., 0] = 1.0
    mu[0, n + 1], mu[0, n + 2] = np.eye(3)[1], np.eye(3)[2]
    theta = np.zeros((2, d))
    theta[1, 0], theta[1, 1], theta[1, 2 : n + 1] = 1.0, 0.5, 0.5 - gap
    return LinearMDP(phi, mu, theta)
