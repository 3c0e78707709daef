r"""What regret a learner of an MDP has: each once more in plain NumPy, over all runs at once, without any code of ours.

Every function takes the arrays of an instance and returns the pseudo-regret of each of `runs` games after each of the
:func:`points`, float[runs, C].
"""

from __future__ import annotations

import numpy as np

from claimlab.checks import Array, Ints
from claimlab.experiments.benchmarks.stored import Instance
from claimlab.runs import log_times

POINTS = 8


def points(rounds: int) -> Ints:
    """After how many rounds regrets are compared."""
    return log_times("rounds", rounds, POINTS)


def ucbvi(instance: Instance, rounds: int, runs: int, seed: int) -> Array:
    r"""UCBVI with the bonus :math:`\min\{1/\sqrt n + (H-h)/n, H-h\}`, as rlberry-scool's ``UCBVIAgent`` has it.

    Steps share the transitions and the rewards seen, 1/S and 0 where nothing was; the bonus of a step is that of the
    last visit *at that step*; only values are clipped, at H; the first episode takes action 0 throughout.
    """
    P, r, H = instance["P"], instance["r"], int(instance["horizon"])
    (S, A), every, left = r.shape, np.arange(runs), np.arange(H, 0, -1.0)
    rng, best = np.random.default_rng(seed), optimum(np.tile(P, (H, 1, 1, 1)), np.tile(r, (H, 1, 1)))[0]
    n, hits, seen = np.zeros((runs, S, A)), np.zeros((runs, S, A, S)), np.zeros((runs, S, A))
    bonus = np.tile(left[:, None, None], (runs, 1, S, A))
    q, lost, curve = np.zeros((runs, H, S, A)), np.zeros(runs), []
    for k in range(1, rounds + 1):
        policy = q.argmax(axis=3)
        lost += best - values(P, r, policy)
        s = np.zeros(runs, np.int64)
        for h in range(H):
            a = policy[every, h, s]
            t = _draw(P[s, a], rng)
            n[every, s, a] += 1
            hits[every, s, a, t] += 1
            seen[every, s, a] = r[s, a]
            count = n[every, s, a]
            bonus[every, h, s, a] = np.minimum(1 / np.sqrt(count) + left[h] / count, left[h])
            s = t
        model = np.where(n[..., None] > 0, hits / np.maximum(n, 1)[..., None], 1 / S)
        v = np.zeros((runs, S))
        for h in reversed(range(H)):
            q[:, h] = seen + bonus[:, h] + (model @ v[:, None, :, None])[..., 0]
            v = np.minimum(q[:, h].max(axis=2), H)
        if k in points(rounds):
            curve.append(lost.copy())
    return np.array(curve).T


def values(P: Array, r: Array, policy: Ints) -> Array:
    """Of deterministic policies, int[runs, H, S], from state 0: float[runs]."""
    v, states = np.zeros((len(policy), r.shape[0])), np.arange(r.shape[0])
    for h in reversed(range(policy.shape[1])):
        a = policy[:, h]
        v = r[states, a] + (P[states, a] @ v[..., None])[..., 0]
    return np.asarray(v[:, 0])


def optimum(P: Array, r: Array) -> tuple[float, Array]:
    """The optimal value from state 0 and the optimal action values, for `P` float[H, S, A, S]."""
    q, v = np.zeros(r.shape), np.zeros(r.shape[1])
    for h in reversed(range(len(r))):
        q[h] = r[h] + P[h] @ v
        v = q[h].max(axis=1)
    return float(v[0]), q


def step_mix(instance: Instance, rounds: int, runs: int, seed: int) -> Array:
    """StepMix with L1 balls (Weissman et al. 2003), the baseline first (Li, Huang, Shen & Yang 2023, Algorithm 1)."""
    P, r, baseline = instance["P"], instance["r"], instance["baseline"]
    threshold, delta = float(instance["threshold"]), float(instance["delta"])
    (H, S, A), every = r.shape, np.arange(runs)
    rng, best = np.random.default_rng(seed), optimum(P, r)[0]
    n, hits, lost, curve = np.zeros((runs, H, S, A)), np.zeros((runs, H, S, A, S)), np.zeros(runs), []
    for k in range(1, rounds + 1):
        seen = np.maximum(n, 1)
        logs = np.log(2.0**S - 2) + np.log(H * S * A * seen * (seen + 1) / delta)
        radius = np.where(n > 0, np.minimum(2, np.sqrt(2 * logs / seen)), 2.0)
        model = np.where(n[..., None] > 0, hits / seen[..., None], 1 / S)
        upper, lower = np.zeros((runs, S)), np.zeros((runs, H + 1, S))
        greedy = np.zeros((runs, H, S), np.int64)
        for h in reversed(range(H)):
            q = np.minimum(r[h] - _least(model[:, h], radius[:, h], -upper), H - h)
            greedy[:, h], upper = q.argmax(axis=2), q.max(axis=2)
            safe = np.maximum(0, r[h] + _least(model[:, h], radius[:, h], lower[:, h + 1]))
            lower[:, h] = np.take_along_axis(safe, greedy[:, h, :, None], axis=2)[..., 0]
        ends = np.zeros((runs, H + 1))  # the certificates of the candidates
        for steps in range(H + 1):
            v = lower[:, steps]
            for h in reversed(range(steps)):
                v = (baseline[h] * np.maximum(0, r[h] + _least(model[:, h], radius[:, h], v))).sum(axis=2)
            ends[:, steps] = v[:, 0]
        policy = np.eye(A)[greedy]
        for run in every[ends[:, 0] < threshold]:
            if ends[run, H] < threshold:
                policy[run] = baseline
                continue
            steps = 1 + int((ends[run, 1:] >= threshold).argmax())
            rho = (threshold - ends[run, steps - 1]) / (ends[run, steps] - ends[run, steps - 1])
            policy[run, : steps - 1] = baseline[: steps - 1]
            policy[run, steps - 1] = (1 - rho) * policy[run, steps - 1] + rho * baseline[steps - 1]
        v = np.zeros((runs, S))
        for h in reversed(range(H)):
            v = (policy[:, h] * (r[h] + (P[h] @ v[:, None, :, None])[..., 0])).sum(axis=2)
        lost += best - v[:, 0]
        s = np.zeros(runs, np.int64)
        for h in range(H):
            a = _draw(policy[every, h, s], rng)
            t = _draw(P[h, s, a], rng)
            n[every, h, s, a] += 1
            hits[every, h, s, a, t] += 1
            s = t
        if k in points(rounds):
            curve.append(lost.copy())
    return np.array(curve).T


def _least(p: Array, radius: Array, v: Array) -> Array:
    """The least mean of `v`, float[runs, S], over L1 balls around `p`, float[runs, S, A, S]: float[runs, S, A]."""
    order = (-v).argsort(axis=1)  # half the radius moves from the largest values, which come first, to the least
    high = np.take_along_axis(v, order, axis=1)[:, None, None]
    mass = np.take_along_axis(p, order[:, None, None], axis=3)
    kept = mass - np.diff(np.minimum(mass.cumsum(axis=3), radius[..., None] / 2), axis=3, prepend=0)
    kept[..., -1] = 0
    return np.asarray((kept * high).sum(axis=3) + (1 - kept.sum(axis=3)) * v.min(axis=1)[:, None, None])


def loop(instance: Instance, rounds: int, runs: int, seed: int) -> Array:
    r"""LOOP on a finite class of models whose first is the truth (He, Zhong & Yang 2024, Algorithm 1).

    :math:`\beta = \mathrm{sp}^2 \log((2M + T)/\delta)`, the trigger is :math:`4\beta`, and what is counted are the gaps
    :math:`J^* + V^*(s) - r(s,a) - (PV^*)(s,a)`.
    """
    P, r, delta = instance["P"], instance["r"], float(instance["delta"])
    M, every, rng = len(P), np.arange(runs), np.random.default_rng(seed)
    gain, v = relative_values(P, r)
    q = r + (P @ v[:, None, :, None])[..., 0]
    policy, gap = q.argmax(axis=2), gain[0] + v[0][:, None] - q[0]
    beta = np.ptp(v, axis=1).max() ** 2 * np.log((2 * M + rounds) / delta)
    backed = r[..., None] + np.einsum("gsat,ft->fsag", P, v)  # [f, S, A, g], r + P_g V_f
    loss, used, excess = np.zeros((runs, M)), np.full(runs, -1), np.full(runs, np.inf)
    s, lost, curve = np.zeros(runs, np.int64), np.zeros(runs), []
    for t in range(1, rounds + 1):
        if (due := every[excess >= 4 * beta]).size:
            inside = loss[due] - loss[due].min(axis=1, keepdims=True) <= beta
            claimed = np.where(inside, gain, -np.inf)
            ties = claimed == claimed.max(axis=1, keepdims=True)
            used[due] = (ties * rng.random(ties.shape)).argmax(axis=1)
        a = policy[used, s]
        successor = _draw(P[0, s, a], rng)
        lost += gap[s, a]
        loss += (backed[used, s, a] - (r[s, a] + v[used, successor])[:, None]) ** 2
        excess = loss[every, used] - loss.min(axis=1)
        s = successor
        if t in points(rounds):
            curve.append(lost.copy())
    return np.array(curve).T


def relative_values(P: Array, r: Array) -> tuple[Array, Array]:
    """Gains float[M] and centred relative values float[M, S] of the models `P`, by damped value iteration."""
    v, change = np.zeros((len(P), r.shape[0])), np.full((len(P), 2), [0.0, 1.0])
    while np.ptp(change, axis=1).max() > 1e-13:
        change = (r + (P @ v[:, None, :, None])[..., 0]).max(axis=2) - v
        v = v + change / 2
        v -= (v.max(axis=1, keepdims=True) + v.min(axis=1, keepdims=True)) / 2
    return change.mean(axis=1), v


def _draw(laws: Array, rng: np.random.Generator) -> Ints:
    """An outcome of each of the laws, float[runs, n]."""
    drawn = (laws.cumsum(axis=1) <= rng.random((len(laws), 1))).sum(axis=1)
    return np.asarray(drawn.clip(max=laws.shape[1] - 1))
