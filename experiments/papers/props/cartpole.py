"""CartPole with a linear softmax policy: many poles at once in Gymnasium's vectorised environment."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from claimlab.checks import Array
from claimlab.experiments.papers.props.common import ROS_PAPER, claim
from claimlab.mdps.collection import ROS
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison, Outcome, comparison

WEIGHTS = np.array([0.0, 0.15, 1.2, 0.6])  # of position, velocity, angle, angular velocity: 35 steps an episode
STEPS = 1024


class Poles(NamedTuple):
    """What many runs have seen; all of it for the first of them."""

    features: Array  # [STEPS, shown, 4]
    actions: Array  # [STEPS, shown], 1 for a push to the right
    kept: Array  # [STEPS, shown], 0 where a finished pole was set up again
    lengths: Array  # [runs], steps over episodes: the estimate of an episode's return


@lru_cache(maxsize=8)
def poles(sampler: ROS, runs: int, seed: int, shown: int = 400) -> Poles:
    """ROS with its gradient kept as a sum of scores, for the target does not move; step 0 is on-policy."""
    import gymnasium  # here, so that those who never run it do not pay for its import

    env = gymnasium.make_vec("CartPole-v1", num_envs=runs, vectorization_mode="vector_entry_point")
    rng, score, size, ends = np.random.default_rng(seed), np.zeros((runs, 4)), np.zeros(runs), np.zeros(runs)
    out = Poles(np.empty((STEPS, shown, 4)), np.empty((STEPS, shown)), np.empty((STEPS, shown)), np.empty(runs))
    x, over = np.asarray(env.reset(seed=seed)[0], dtype=float), np.zeros(runs, dtype=bool)
    for t in range(STEPS):
        push = sampler.step * (score / np.maximum(size, 1)[:, None] if sampler.average else score)
        right = (rng.random(runs) < expit(((WEIGHTS - push) * x).sum(axis=1))).astype(int)
        kept = ~over  # the environment sets up a finished pole again in the next step, and ignores the action
        out.features[t], out.actions[t], out.kept[t] = x[:shown], right[:shown], kept[:shown]
        score += (kept * (right - expit(x @ WEIGHTS)))[:, None] * x
        size += kept
        after, _, ended, cut, _ = env.step(right)
        over = ended | cut
        ends += over & kept
        x = np.asarray(after, dtype=float)
    env.close()
    out.lengths[:] = size / np.maximum(ends, 1)
    return out


CHUNK, UPDATES, RATE, CLIP, STOP = 32, 16, 0.01, 0.3, 0.01


def refit(x: Array, a: Array, kept: Array) -> Array:
    """PROPS's weights on the data of many runs, float[runs, 4]: Adam on the clipped objective from the target.

    A run stops when its mean of (rho - 1) - log rho, the estimate of the KL divergence, is above the limit.
    """
    size, signed = np.maximum(kept.sum(axis=0), 1), (2 * a - 1)[..., None] * x
    target = 1 / (1 + np.exp(-signed @ WEIGHTS))
    theta = np.tile(WEIGHTS, (x.shape[1], 1))
    first, second, going = np.zeros_like(theta), np.zeros_like(theta), np.ones(len(theta), dtype=bool)
    for k in range(1, UPDATES + 1):
        law = 1 / (1 + np.exp(-np.einsum("tri,ri->tr", signed, theta)))  # of the actions taken
        rho = law / target
        going &= (kept * (rho - 1 - np.log(rho))).sum(axis=0) / size <= STOP
        gradient = -np.einsum("tr,tri->ri", kept * np.where(rho > 1 - CLIP, rho, 0.0) * (1 - law), signed)
        gradient /= size[:, None]
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        step = RATE * first / (1 - 0.9**k) / (np.sqrt(second / (1 - 0.999**k)) + 1e-5)
        theta = theta + going[:, None] * step
    return theta


@lru_cache(maxsize=2)
def props_poles(runs: int, seed: int) -> Poles:
    """PROPS, refitted from the target on all data after every CHUNK steps."""
    import gymnasium

    env = gymnasium.make_vec("CartPole-v1", num_envs=runs, vectorization_mode="vector_entry_point")
    rng, ends, size = np.random.default_rng(seed), np.zeros(runs), np.zeros(runs)
    out = Poles(np.empty((STEPS, runs, 4)), np.empty((STEPS, runs)), np.empty((STEPS, runs)), np.empty(runs))
    x, over = np.asarray(env.reset(seed=seed)[0], dtype=float), np.zeros(runs, dtype=bool)
    theta = np.tile(WEIGHTS, (runs, 1))
    for t in range(STEPS):
        if t and t % CHUNK == 0:
            theta = refit(out.features[:t], out.actions[:t], out.kept[:t])
        right = (rng.random(runs) < expit((theta * x).sum(axis=1))).astype(int)
        out.features[t], out.actions[t], out.kept[t] = x, right, ~over
        size += ~over
        after, _, ended, cut, _ = env.step(right)
        ends += (ended | cut) & ~over
        over = ended | cut
        x = np.asarray(after, dtype=float)
    env.close()
    out.lengths[:] = size / np.maximum(ends, 1)
    return out


def sampling_error(data: Poles) -> Array:
    """Mean log-likelihood of the data at its maximum minus at the target, of the runs shown, by Newton's method."""
    x, a, kept = data.features, data.actions, data.kept
    theta = np.tile(WEIGHTS, (x.shape[1], 1))

    def likelihood(theta: Array) -> Array:
        z = np.einsum("tri,ri->tr", x, theta)
        return np.asarray((kept * (a * z - np.logaddexp(0, z))).sum(axis=0))

    for _ in range(6):
        p = expit(np.einsum("tri,ri->tr", x, theta))
        gradient = np.einsum("tr,tri->ri", kept * (a - p), x)
        fisher = np.einsum("tr,tri,trj->rij", kept * p * (1 - p), x, x)
        theta = theta + np.linalg.solve(fisher, gradient[..., None])[..., 0]
    gain = likelihood(theta) - likelihood(np.tile(WEIGHTS, (x.shape[1], 1)))
    return np.asarray(gain / kept.sum(axis=0))


ON_POLICY, RELEASED, SUMMED = ROS(0.0), ROS(10.0), ROS(10.0, average=False)
RUNS = 4000


def _seeds(budget: Budget) -> list[int]:
    return [int(x) for x in budget.of("cartpole").rng("runs").integers(2**31, size=2)]


def _means(x: Array) -> Array:
    return np.asarray(x.reshape(100, -1).mean(axis=1))


def _error_check(budget: Budget, sampler: ROS = RELEASED, most: float = 1.0) -> Comparison:
    """`most` times the sampling error of on-policy sampling above that of `sampler`, in units of on-policy's."""
    seed, _ = _seeds(budget)
    base, other = (sampling_error(poles(kind, RUNS, seed)) for kind in (ON_POLICY, sampler))
    unit = base.mean()
    return comparison(_means(most * base / unit), _means(other / unit), effect=0.0, rng=budget.rng("bootstrap"))


def _mse_check(budget: Budget, sampler: ROS = RELEASED) -> Comparison:
    """Squared errors of the mean length; the truth is the mean of four thousand on-policy runs of their own."""
    seed, other_seed = _seeds(budget)
    truth = 1 / (1 / poles(ON_POLICY, RUNS, other_seed).lengths).mean()  # episodes over steps, of equally many steps
    base, other = ((poles(kind, RUNS, seed).lengths - truth) ** 2 for kind in (ON_POLICY, sampler))
    unit = base.mean()
    return comparison(_means(base / unit), _means(other / unit), effect=0.0, rng=budget.rng("bootstrap"))


def _props_check(budget: Budget, most: float = 1.0) -> Comparison:
    """As `_error_check`, on 400 runs."""
    seed, _ = _seeds(budget)
    base, other = (sampling_error(data) for data in (poles(ON_POLICY, RUNS, seed), props_poles(400, seed)))
    unit = base.mean()
    return comparison(_means(most * base / unit), _means(other / unit), effect=0.0, rng=budget.rng("bootstrap"))


POLE = (
    "CartPole-v1, linear softmax target with 35 steps an episode",
    f"{STEPS} steps; 100 means of as many runs each",
)

CLAIMS = (
    claim(
        id="props/cartpole-error",
        source=f"{ROS_PAPER}, CartPole (lower sampling error)",
        statement=r"On CartPole ROS with averaged gradients and $\alpha=10$ has less sampling error than on-policy "
        "sampling.",
        kind=Comparison,
        premises=(*POLE, "error: mean log-likelihood at its maximum minus at the target; 400 runs"),
        check=_error_check,
        control=partial(_error_check, most=0.25),
        control_statement="it has less than a quarter.",
    ),
    claim(
        id="props/cartpole-error-summed",
        source=f"ours, on {ROS_PAPER}",
        statement="So has ROS with summed gradients and step 10.",
        kind=Comparison,
        premises=(*POLE, "error: mean log-likelihood at its maximum minus at the target; 400 runs"),
        check=partial(_error_check, sampler=SUMMED),
        control=partial(_error_check, sampler=SUMMED, most=0.25),
        control_statement="it has less than a quarter.",
    ),
    claim(
        id="props/cartpole-error-props",
        source="Abstract (PROPS decreases sampling error), CartPole",
        statement="So has PROPS with a clip of 0.3.",
        kind=Comparison,
        premises=(
            *POLE,
            "error: mean log-likelihood at its maximum minus at the target; 400 runs (200 had not decided)",
            "every 32 steps 16 steps of Adam of size 0.01 on all data, from the target, which stop at KL 0.01",
        ),
        check=_props_check,
        control=partial(_props_check, most=0.1),
        control_statement="it has less than a tenth.",
    ),
    claim(
        id="props/cartpole-mse",
        source=f"{ROS_PAPER}, abstract and CartPole (lower mean squared error)",
        statement="Its estimate of the return has a lower mean squared error.",
        kind=Comparison,
        premises=(*POLE, f"{RUNS} runs; total reward over episodes"),
        check=_mse_check,
        control=partial(_mse_check, sampler=SUMMED),
        control_statement="with summed gradients and step 10, which have less sampling error as well, it is lower, "
        "too.",
    ),
    claim(
        id="props/less-error-less-mse",
        source=f"{ROS_PAPER}, abstract (faster convergence leads to lower mean squared error), as if always",
        statement="ROS with summed gradients and step 10, whose sampling error is smaller as well, has a lower mean "
        "squared error than on-policy sampling.",
        kind=Comparison,
        premises=(*POLE, f"{RUNS} runs; total reward over episodes"),
        check=partial(_mse_check, sampler=SUMMED),
        control=_mse_check,
        control_statement=r"with averaged gradients and $\alpha=10$ it has.",
        expected=Outcome.REFUTED,
    ),
)
