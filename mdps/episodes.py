"""The loop over episodes of a finite-horizon MDP, and the interface of the learners that run in it.

A learner plans a policy before each episode, the loop follows it, and the learner watches each transition.  The loop
evaluates the policy exactly, whatever the learner believes, so that regret and violations carry no sampling noise.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.lending import held, lent
from claimlab.mdps.staged import StagedMDP, draw, evaluate_again, staged_optimum
from claimlab.native import Native, inlined, interpreted, kernel, part
from claimlab.runs import each_run, log_times


class Learner(Native):
    """Hyper-parameters as fields; three methods that both Python and numba can run.

    The state is a NamedTuple of arrays made by `ready` and changed in place.  All randomness comes from `rng`.
    Rewards are known; what is learned are the transitions.
    """

    @abstractmethod
    def ready(self, r: Array, initial: Array, episodes: int) -> Any:
        """Fresh state for rewards float[H, S, A], a law of the first state float[S] and a number of episodes."""

    @abstractmethod
    def plan(self, state: Any, k: int, rng: Generator, policy: Array) -> int:
        """Write the policy of episode `k` (counted from 0) to `policy`, float[H, S, A]; return its kind, 0..H+1.

        `policy` comes as the last episode left it.
        """

    @inlined
    @abstractmethod
    def watch(self, state: Any, h: int, s: int, a: int, t: int) -> None:
        """Take notice of the transition from `s` under `a` to `t` at step `h`."""


class EpisodeRecord(NamedTuple):
    """What is kept of many independent runs, at the episodes `times`."""

    times: Ints  # [C], episodes played so far
    value: Array  # [runs, C], exact value of the policy of the last of them
    least: Array  # [runs, C], least value of a policy so far
    regret: Array  # [runs, C], sum of optimum minus value
    violations: Ints  # [runs, C], policies so far whose value is below the threshold beyond rounding
    kinds: Ints  # [runs, C, H + 2], episodes so far of each kind that the learner tells
    reward: Array  # [runs, C], sum of the rewards collected
    states: tuple[Any, ...]  # of the learner after each run; empty unless asked for


class _Trace(NamedTuple):
    """The rows of one run."""

    value: Array
    least: Array
    regret: Array
    violations: Ints
    kinds: Ints
    reward: Array


@part
def _changed(x: Array, y: Array) -> int:
    """How many leading entries of `x` must be read until nothing differs from `y` any more, float[any] both."""
    different = 0
    for i in range(x.size):  # to the end: without a way out it runs in vector registers
        different += x[i] != y[i]
    if different == 0:
        return 0
    last = x.size
    while x[last - 1] == y[last - 1]:
        last -= 1
    return last


@kernel
def _run(
    learner: Learner, mdp: StagedMDP, times: Ints, optimum: float, threshold: float, rng: Generator, trace: _Trace
) -> Any:
    H, S, A = mdp.r.shape
    state = learner.ready(mdp.r, mdp.initial, times[-1])
    played, evaluated, v, D = np.zeros((H, S, A)), np.zeros(H * S * A), np.zeros((H + 1, S)), mdp.weights.shape[3]
    # Views, as all are contiguous: a single index is checked and computed faster than four.
    degree: Any = mdp.degree.ravel()
    targets: Any = mdp.targets.ravel()
    weights, r = mdp.weights.ravel(), mdp.r.ravel()
    checkpoint, value, least, lost, earned, below = 0, 0.0, np.inf, 0.0, 0.0, 0
    learner, mdp, rng, shown = lent(learner), lent(mdp), lent(rng), lent(state)
    policy, laws = lent(played), lent(played.ravel())
    for k in range(times[-1]):
        kind = learner.plan(shown, k, rng, policy)
        changed = _changed(laws, evaluated)
        if changed > 0:
            value = evaluate_again(mdp, policy, v, (changed - 1) // (S * A) + 1)
            for i in range(changed):  # numba takes a second to compile the assignment of a slice
                evaluated[i] = laws[i]
        s = draw(mdp.initial, 0, S, rng)
        for h in range(H):
            row = (h * S + s) * A
            a = draw(laws, row, A, rng)
            j = draw(weights, (row + a) * D, degree[row + a], rng)
            t = targets[(row + a) * D + j]
            earned += r[row + a]
            learner.watch(shown, h, s, a, t)
            s = t
        lost += optimum - value
        least = min(least, value)
        below += value < threshold
        trace.kinds[checkpoint, kind] += 1
        if k + 1 == times[checkpoint]:
            trace.value[checkpoint], trace.least[checkpoint], trace.regret[checkpoint] = value, least, lost
            trace.violations[checkpoint], trace.reward[checkpoint] = below, earned
            checkpoint += 1
            if checkpoint < times.size:
                for i in range(H + 2):
                    trace.kinds[checkpoint, i] = trace.kinds[checkpoint - 1, i]
    held(played)
    return state


def play_episodes(
    learner: Learner,
    mdp: StagedMDP,
    *,
    episodes: int,
    runs: int,
    seed: int,
    threshold: float = -np.inf,
    checkpoints: int = 50,
    threads: int | None = None,
    keep_states: bool = False,
    compiled: bool = True,
) -> EpisodeRecord:
    """Play `runs` independent runs of `episodes` episodes.

    Run `i` draws from the `i`-th child of ``SeedSequence(seed)``: it is the same for any `runs` and `threads`, and in
    the interpreter.

    Parameters
    ----------
    learner : Learner
    mdp : StagedMDP
    episodes, runs, seed : int
    threshold : float
        What the value of each policy should not fall below; below it beyond the rounding of values is a violation.
    checkpoints : int
        After how many episodes results are kept, evenly spaced in the logarithm; memory does not grow with `episodes`.
    threads : int, optional
        Default: every core.
    keep_states : bool
        Whether to return the learner's final state of each run.
    compiled : bool
        With False everything runs in the Python interpreter: for debuggers and for code that numba refuses.

    Examples
    --------
    >>> from claimlab.mdps import UCBVI, SimplifiedBonus, combination_lock, staged
    >>> lock = staged(combination_lock(3, rng=np.random.default_rng(0)))
    >>> record = play_episodes(UCBVI(SimplifiedBonus()), lock, episodes=1000, runs=2, seed=0)
    >>> record.value[:, -1]
    array([1., 1.])
    """
    if not isinstance(learner, Learner) or not isinstance(mdp, StagedMDP):
        raise TypeError(
            f"play_episodes takes a Learner and a StagedMDP, got {type(learner).__name__}, {type(mdp).__name__}."
        )
    times, runs = log_times("episodes", episodes, checkpoints), checks.integer("runs", runs, 1)
    threshold = checks.interval("threshold", threshold, -np.inf, np.inf)
    shape, optimum = (runs, times.size), staged_optimum(mdp).value
    kinds = np.zeros((*shape, mdp.horizon + 2), np.int64)
    record = _Trace(
        np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int64), kinds, np.zeros(shape)
    )
    run = _run if compiled else interpreted(_run)

    def game(i: int, rng: Generator) -> Any:
        return run(learner, mdp, times, optimum, threshold - mdp.rounding, rng, _Trace(*(rows[i] for rows in record)))

    states = each_run(game, runs, seed, threads=threads if compiled else 1, keep_states=keep_states)
    return EpisodeRecord(times, *record, states)
