r"""What regret an algorithm has: each once more in plain NumPy, over all runs at once, without any code of ours.

Every function takes the arrays of an instance and returns the pseudo-regret of each of `runs` games, float[runs].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.benchmarks.stored import Instance

HALVINGS = 50


def ucb1(instance: Instance, rounds: int, runs: int, seed: int) -> Array:
    r""":math:`\hat\mu_a + \sqrt{2\log t/N_a}` (Auer, Cesa-Bianchi & Fischer 2002), every arm once before."""

    def index(mean: Array, pulls: Array, t: int) -> Array:
        return mean + np.sqrt(2 * np.log(t) / pulls)

    return _optimism(index, instance, rounds, runs, seed)


def kl_ucb(instance: Instance, rounds: int, runs: int, seed: int) -> Array:
    r""":math:`\max\{q : N_a \mathrm{kl}(\hat\mu_a, q) \le \log t\}` (Garivier & Cappe 2011, c = 0)."""

    def index(mean: Array, pulls: Array, t: int) -> Array:
        low, high = mean, np.ones_like(mean)
        for _ in range(HALVINGS):
            q = (low + high) / 2
            with np.errstate(divide="ignore", invalid="ignore"):
                kl = np.where(mean > 0, mean * np.log(mean / q), 0)
                kl += np.where(mean < 1, (1 - mean) * np.log((1 - mean) / (1 - q)), 0)
            inside = pulls * kl <= np.log(t)
            low, high = np.where(inside, q, low), np.where(inside, high, q)
        return low

    return _optimism(index, instance, rounds, runs, seed)


def _optimism(index: Any, instance: Instance, rounds: int, runs: int, seed: int) -> Array:
    rng, means, every = np.random.default_rng(seed), instance["means"], np.arange(runs)
    pulls, total = np.zeros((runs, means.size)), np.zeros((runs, means.size))
    for t in range(rounds):
        arm = np.full(runs, t) if t < means.size else index(total / pulls, pulls, t).argmax(axis=1)
        pulls[every, arm] += 1
        total[every, arm] += rng.random(runs) < means[arm]
    return pulls @ (means.max() - means)


def exp3(instance: Instance, rounds: int, runs: int, seed: int) -> Array:
    r""":math:`p_a = (1-\gamma) w_a/\sum_b w_b + \gamma/K`, :math:`w_a = e^{\gamma \hat G_a/K}` (Auer et al. 2002,
    Figure 1)."""
    gamma, K = instance["gamma"], instance["means"].size

    def weights(loss: Array, t: int) -> Array:
        w = np.exp(-gamma / K * (loss - loss.min(axis=1, keepdims=True)))
        return (1 - gamma) * w / w.sum(axis=1, keepdims=True) + gamma / K

    return _weights(weights, 0, instance, rounds, runs, seed)


def tsallis_inf(instance: Instance, rounds: int, runs: int, seed: int) -> Array:
    r""":math:`p_a = 4(\eta_t(\hat L_a - x))^{-2}`, :math:`\eta_t = 2/\sqrt t` (Zimmert & Seldin 2021); by bisection."""

    def weights(loss: Array, t: int) -> Array:
        distance = loss - loss.min(axis=1, keepdims=True)
        low, high = np.full((len(loss), 1), np.sqrt(t)), np.full((len(loss), 1), np.sqrt(t * loss.shape[1]))
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            above = (t / (distance + middle) ** 2).sum(axis=1, keepdims=True) > 1
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return t / (distance + low) ** 2

    return _weights(weights, 1, instance, rounds, runs, seed)


def _weights(weights: Any, best: float, instance: Instance, rounds: int, runs: int, seed: int) -> Array:
    """Draws by weights of the importance-weighted losses, which are what rewards lack to `best`."""
    rng, means, every = np.random.default_rng(seed), instance["means"], np.arange(runs)
    loss, pulls = np.zeros((runs, means.size)), np.zeros((runs, means.size))
    for t in range(1, rounds + 1):
        p = weights(loss, t)
        p /= p.sum(axis=1, keepdims=True)
        arm = (p.cumsum(axis=1) <= rng.random((runs, 1))).sum(axis=1).clip(max=means.size - 1)
        pulls[every, arm] += 1
        loss[every, arm] += (best - (rng.random(runs) < means[arm])) / p[every, arm]
    return pulls @ (means.max() - means)


def linucb(instance: Instance, rounds: int, runs: int, seed: int) -> Array:
    r""":math:`\hat\theta_a^\top x + \sqrt{x^\top A_a^{-1}x}` with a ridge of 1 (Li et al. 2010, Algorithm 1)."""
    rng, theta, every = np.random.default_rng(seed), instance["theta"], np.arange(runs)
    K, d = theta.shape
    inverse, b = np.tile(np.eye(d), (runs, K, 1, 1)), np.zeros((runs, K, d))
    regret = np.zeros(runs)
    for _ in range(rounds):
        x = rng.standard_normal((runs, d)) / np.sqrt(d)
        scaled = (inverse @ x[:, None, :, None])[..., 0]
        arm = ((b * scaled).sum(axis=2) + np.sqrt((scaled @ x[:, :, None])[..., 0])).argmax(axis=1)
        means = x @ theta.T
        regret += means.max(axis=1) - means[every, arm]
        reward = means[every, arm] + instance["noise"] * rng.standard_normal(runs)
        A = np.linalg.inv(inverse[every, arm]) + x[:, :, None] * x[:, None, :]
        inverse[every, arm] = np.linalg.inv(A)
        b[every, arm] += reward[:, None] * x
    return regret


def dynlin_ucb(instance: Instance, rounds: int, runs: int, seed: int) -> Array:
    r"""DynLin-UCB with regularisation log T, as its authors' program has it (Mussi, Metelli & Restelli 2023).

    The first arm is drawn at random and kept for one round more; the state is bounded by :math:`U/(1-\bar\rho)`; each
    of the outputs, whose sum is the reward, has noise of its own.  A is normal.
    """
    rng, every, arms = np.random.default_rng(seed), np.arange(runs), instance["arms"]
    A, B, C, D, sigma = (instance[name] for name in ("A", "B", "C", "D", "sigma"))
    omega, theta, d = C.sum(axis=0), D.sum(axis=0), arms.shape[1]
    values = (theta + omega @ np.linalg.inv(np.eye(len(A)) - A) @ B) @ arms.T
    lam, rho = np.log(rounds), abs(np.linalg.eigvals(A)).max()
    U, reach = np.linalg.norm(arms, axis=1).max(), np.linalg.norm(omega) / (1 - rho)
    bias = U * reach * (U * np.linalg.norm(B, 2) + U) / np.sqrt(lam)
    centre = (np.linalg.norm(theta) + reach * np.linalg.norm(B, 2)) * np.sqrt(lam)
    variance = sigma**2 * (1 + omega @ omega / (1 - rho**2))
    V, b = np.tile(lam * np.eye(d), (runs, 1, 1)), np.zeros((runs, d))
    x, pulls = np.zeros((runs, len(A))), np.zeros((runs, len(arms)))
    arm, t, m = rng.integers(0, len(arms), runs), 0, 0
    while t < rounds:
        m += 1
        if m > 1:
            inverse = np.linalg.inv(V)
            noise = np.sqrt(2 * variance * (np.log(rounds) + d / 2 * np.log(1 + t * U**2 / (d * lam))))
            width = np.sqrt(np.einsum("ki,nij,kj->nk", arms, inverse, arms))
            estimate = np.einsum("ki,nij,nj->nk", arms, inverse, b)
            arm = (estimate + (bias * (1 + np.log(t + 1)) + centre + noise) * width).argmax(axis=1)
        u, reward = arms[arm], np.zeros(runs)
        for _ in range(min(1 + int(np.log(m) / np.log(1 / rho) + 1e-12) + (m == 1), rounds - t)):
            reward = x @ omega + u @ theta + sigma * rng.standard_normal((runs, len(C))).sum(axis=1)
            x = x @ A.T + u @ B.T + sigma * rng.standard_normal(x.shape)
            pulls[every, arm] += 1
            t += 1
        V += u[:, :, None] * u[:, None, :]
        b += reward[:, None] * u
    return pulls @ (values.max() - values)
