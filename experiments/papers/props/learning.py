"""Buffers of older data under a moving target, and REINFORCE on a gridworld with a lesser goal as near."""

from __future__ import annotations

from functools import lru_cache, partial
from math import inf, log

import numpy as np
from numpy.random import Generator

from claimlab.checks import Array, Ints
from claimlab.draws import sample
from claimlab.experiments.papers.props.common import FULL, TABULAR, Inner, claim
from claimlab.mdps.collection import PROPS, ROS, Sampler, Systematic, collect
from claimlab.mdps.tabular import EPS
from claimlab.native import kernel
from claimlab.runs import each_run
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison, Inequality, Outcome, comparison
from claimlab.theory.falsify import Trial, attack
from claimlab.theory.sampling_error import divergence
from claimlab.theory.spaces import Box, Space

GREEDY, ON_POLICY, REGULARISED, CLIPPED = ROS(inf), ROS(0.0), PROPS(0.1), PROPS(0.0, clip=0.3)

# Filling up a buffer

BUFFER = Space({"A": (2, 5)}, {"old": Box("A", 0, 20, step=1), "law": Inner("A", 0.02), "n": Box("", 1, 40, step=1)})


def fill(sampler: Sampler, old: Array, law: Array, n: int, seed: int = 0) -> Array:
    """The buffer's counts after `n` actions for the target `law` on top of the `old` counts."""
    return np.asarray(
        collect(sampler, np.ones((1, len(law), 1)), law[None], [n], runs=1, seed=seed, given=old[None], threads=1)[
            0, 0, 0
        ]
    )


def _filled(old: Array, law: Array, n: Array, *, sampler: Sampler, slow: bool) -> Trial | None:
    """The largest excess of a count after filling against 1; `slow` asks that no old count exceed its final quota."""
    size = old.sum() + int(n)
    if slow and (old > size * law).any():
        return None
    return Trial(float((fill(sampler, old, law, int(n)) - size * law).max()), 1.0, 64 * EPS * size)


def _filled_check(budget: Budget, sampler: Sampler = GREEDY, slow: bool = True) -> Inequality:
    return attack(BUFFER, partial(_filled, sampler=sampler, slow=slow), budget)


N, UPDATES = 64, 16


@lru_cache(maxsize=16)
def buffer_errors(sampler: Sampler, kept: int, drift: float, runs: int, seed: int) -> Array:
    """KL of the buffer's shares to the current target after each update, float[runs, UPDATES].

    Four actions; the target's logits take Gaussian steps of size `drift`; `N` actions an update, of which the last
    `kept` updates stay.
    """
    out = np.empty((runs, UPDATES))
    for i, child in enumerate(np.random.SeedSequence(seed).spawn(runs)):
        rng = np.random.default_rng(child)
        logits = np.zeros(4)
        blocks: list[Array] = []
        for k in range(UPDATES):
            pi = np.exp(logits - logits.max())
            pi /= pi.sum()
            old = np.sum([np.zeros(4), *blocks], axis=0)
            new = fill(sampler, old, pi, N, seed=int(rng.integers(2**31)))
            out[i, k] = divergence(new, pi)
            blocks = [*blocks, new - old][-(kept - 1) :] if kept > 1 else []
            logits = logits + drift * rng.normal(size=4)
    return out


def _buffer_check(budget: Budget, drift: float = 0.1, kept: int = 4) -> Comparison:
    """Log KL, averaged over the second half of the updates: on-policy buffer over PROPS's, against log 2."""
    runs, seed = 50, int(budget.rng("runs").integers(2**31))
    logs = [
        np.log(buffer_errors(kind, kept, drift, runs, seed)[:, UPDATES // 2 :]).mean(axis=1)
        for kind in (ON_POLICY, REGULARISED)
    ]
    return comparison(*logs, effect=log(2), rng=budget.rng("bootstrap"))


def _growth_check(budget: Budget, drift: float = 0.3) -> Comparison:
    """Log KL of an on-policy buffer of eight updates over that of a single one."""
    runs, seed = 50, int(budget.rng("runs").integers(2**31))
    logs = [
        np.log(buffer_errors(ON_POLICY, kept, drift, runs, seed)[:, UPDATES // 2 :]).mean(axis=1) for kept in (8, 1)
    ]
    return comparison(*logs, effect=0.0, rng=budget.rng("bootstrap"))


# REINFORCE on the 5 x 5 gridworld of PROPS: start in the centre, 0.5 at the top left, 1 at the bottom right

SIDE, START, LURE, GOAL = 5, 12, 0, 24
EPISODES, HORIZON, RATE, BATCHES = 5, 30, 0.5, 100


def _moves() -> Ints:
    """Where each action leads, int[S, 4]; running into the edge leaves one where one is."""
    to = np.empty((SIDE * SIDE, 4), dtype=np.int64)
    for s, a in np.ndindex(to.shape):
        row, column = s // SIDE + (-1, 0, 1, 0)[a], s % SIDE + (0, 1, 0, -1)[a]
        to[s, a] = row * SIDE + column if 0 <= row < SIDE and 0 <= column < SIDE else s
    return to


TO = _moves()


@kernel
def _reinforce(sampler: Sampler, to: Ints, rng: Generator, marks: Ints, policies: Array) -> None:
    """Gradient ascent on the returns of batches of EPISODES; the target policies after `marks` batches are kept."""
    S, A = to.shape
    theta, pi, law = np.zeros((S, A)), np.full((S, A), 1 / A), np.empty(A)
    states, actions = np.empty(HORIZON, dtype=np.int64), np.empty(HORIZON, dtype=np.int64)
    kept = 0
    for k in range(marks[-1]):
        counts, gradient, size = np.zeros((S, A)), np.zeros((S, A)), 0.0
        offsets = rng.random((S, A - 1))
        for _ in range(EPISODES):
            s, t = START, 0
            while t < HORIZON and s != LURE and s != GOAL:
                sampler.behave(pi[s], counts[s], size, offsets[s], law)
                a = sample(law, rng.random())
                counts[s, a] += 1
                size += 1
                states[t], actions[t] = s, a
                s = to[s, a]
                t += 1
            end = 1.0 if s == GOAL else 0.5 if s == LURE else 0.0
            for i in range(t):
                gain = end - 0.01 * (t - i)  # what is still to come
                gradient[states[i]] -= gain * pi[states[i]]
                gradient[states[i], actions[i]] += gain
        theta += RATE / EPISODES * gradient
        for s in range(S):
            pi[s] = np.exp(theta[s] - theta[s].max())
            pi[s] /= pi[s].sum()
        if k + 1 == marks[kept]:
            policies[kept] = pi
            kept += 1


MARKS = np.arange(10, BATCHES + 1, 10)


@lru_cache(maxsize=8)
def learned(sampler: Sampler, runs: int, seed: int) -> Array:
    """The probability with which the target policies reach the better goal in time, exactly, float[runs, MARKS]."""
    policies = np.empty((runs, MARKS.size, SIDE * SIDE, 4))
    each_run(lambda i, rng: _reinforce(sampler, TO, rng, MARKS, policies[i]), runs, seed, threads=1, keep_states=False)
    policies[:, :, [LURE, GOAL]] = 0.0  # there episodes end
    here, reached = np.zeros(policies.shape[:3]), np.zeros(policies.shape[:2])
    here[..., START] = 1.0
    for _ in range(HORIZON):
        moved = np.zeros_like(here)
        for s, a in np.ndindex(TO.shape):
            moved[..., TO[s, a]] += here[..., s] * policies[..., s, a]
        here = moved
        reached += here[..., GOAL]
    return reached


def _learning_check(budget: Budget, sampler: Sampler = REGULARISED) -> Comparison:
    """The final policies' probability of the better goal above on-policy sampling's; a hundred means of runs."""
    runs, seed = 400 if budget.name == "smoke" else 4000, int(budget.of("reinforce").rng("runs").integers(2**31))
    ends = [learned(kind, runs, seed)[:, -1].reshape(100, -1).mean(axis=1) for kind in (sampler, ON_POLICY)]
    return comparison(*ends, effect=0.0, rng=budget.rng("bootstrap"))


DRIFT = (
    f"four actions; Gaussian steps of the logits; {N} actions an update; 50 runs, the second half of {UPDATES} updates"
)
GRID = (
    "5 x 5 gridworld: -0.01 a step, 0.5 at one corner, 1 at the other; exact probabilities of the final policies",
    f"tabular softmax, {BATCHES} batches of {EPISODES} episodes, returns without baseline, step {RATE}",
    "400 runs (4000 beyond the smoke budget), in a hundred means",
)

CLAIMS = (
    claim(
        id="props/buffer-filled",
        source="Abstract (PROPS adjusts previously collected data to be approximately on-policy); bound ours",
        statement=r"If no old action exceeds its quota $M\pi(a)$ in the full buffer of $M$, filling it up greedily "
        "leaves no action more than one above it.",
        kind=Inequality,
        premises=(TABULAR, FULL, "old counts below the quota"),
        check=_filled_check,
        control=partial(_filled_check, sampler=ON_POLICY),
        control_statement="so does filling it up on-policy.",
    ),
    claim(
        id="props/buffer-always-repaired",
        source="Abstract (the same), as if for every change of the policy",
        statement="Filling up the buffer greedily leaves no action more than one above its quota.",
        kind=Inequality,
        premises=(TABULAR, FULL),
        check=partial(_filled_check, slow=False),
        control=_filled_check,
        control_statement="if none of the old data exceed it.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="props/buffer-error",
        source="Abstract (PROPS decreases sampling error throughout training)",
        statement="With a slowly moving target and a buffer of four updates the KL divergence of PROPS's data is less "
        "than half of that of on-policy data.",
        kind=Comparison,
        premises=(DRIFT, "geometric mean of KL", r"steps of size 0.1; closed form, $\lambda=0.1$"),
        check=_buffer_check,
        control=partial(_buffer_check, drift=1.5),
        control_statement="so it is with steps of size 1.5.",
    ),
    claim(
        id="props/on-policy-buffer-grows",
        source="Section on re-used data (older data raise the sampling error of PPO's buffer)",
        statement="A buffer of eight updates of on-policy data has a larger KL divergence than that of the last one.",
        kind=Comparison,
        premises=(DRIFT, "geometric mean of KL", "steps of size 0.3"),
        check=_growth_check,
        control=partial(_growth_check, drift=0.02),
        control_statement="so it has with steps of size 0.02.",
    ),
    claim(
        id="props/reinforce-strong",
        source="Abstract (PROPS improves data efficiency), gridworld; closed form in place of the released optimiser",
        statement=r"REINFORCE reaches the better goal with higher probability from PROPS's data, $\lambda=0.1$, than "
        "from as many on-policy episodes.",
        kind=Comparison,
        premises=GRID,
        check=_learning_check,
        control=partial(_learning_check, sampler=Systematic()),
        control_statement="from systematic sampling's it does.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="props/reinforce-clipped",
        source="Abstract (PROPS improves data efficiency), gridworld; the clipped objective solved at every step",
        statement="REINFORCE reaches the better goal with higher probability from the data of PROPS with a clip of "
        "0.3, the released one, than from as many on-policy episodes.",
        kind=Comparison,
        premises=GRID,
        check=partial(_learning_check, sampler=CLIPPED),
        control=partial(_learning_check, sampler=Systematic()),
        control_statement="from systematic sampling's it does.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="props/reinforce-systematic",
        source="ours, on the abstract (data efficiency)",
        statement="REINFORCE reaches the better goal with higher probability from systematic sampling's data.",
        kind=Comparison,
        premises=GRID,
        check=partial(_learning_check, sampler=Systematic()),
        control=_learning_check,
        control_statement=r"from PROPS's data, $\lambda=0.1$, it does.",
    ),
)
