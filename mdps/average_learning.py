"""Learning an average-reward MDP on one trajectory: the loop, and the interface of its learners.

There is no reset and no discount.  A learner is told the reward function, which is deterministic, and the horizon; the
transitions it has to find out.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.lending import lent
from claimlab.mdps.average import gain_and_bias, relative_value_iteration
from claimlab.mdps.tabular import AverageMDP
from claimlab.native import Native, interpreted, kernel
from claimlab.runs import each_run, log_times


class AverageLearner(Native):
    """Hyper-parameters as fields; four methods that both Python and numba can run.

    The state is a NamedTuple of arrays made by `fresh` and changed in place by `decide` and `absorb`.  All randomness
    comes from `rng`.
    """

    @abstractmethod
    def fresh(self, r: Array, horizon: int) -> Any:
        """The state before the first step; `r` is float[S, A]."""

    @abstractmethod
    def decide(self, state: Any, t: int, s: int, rng: Generator) -> int:
        """Action in state `s` at step `t` (counted from 0); asked for once a step."""

    @abstractmethod
    def absorb(self, state: Any, t: int, s: int, a: int, successor: int) -> None:
        """Take notice of the transition of step `t`."""

    @abstractmethod
    def switches(self, state: Any) -> int:
        """How many policies have been planned so far, the first included."""


class World(NamedTuple):
    """An average-reward MDP as the loop plays it, with what regret is measured against."""

    cumulative: Array  # [S, A, S], of the transition probabilities; the last is 1
    r: Array  # [S, A]
    gap: Array  # [S, A], J* + V*(s) - r(s, a) - P V*(s, a)
    first: Array  # [S], cumulative law of the first state
    gain: float  # J*
    span: float  # max V* - min V*


class AverageRecord(NamedTuple):
    """What is kept of many independent runs, after `times` steps."""

    times: Ints  # [C]
    regret: Array  # [runs, C], sum of J* - r(s_t, a_t); may be negative
    shortfall: Array  # [runs, C], sum of the gaps: the same in expectation, up to the span, and far less noisy
    switches: Ints  # [runs, C], policies planned
    states: tuple[Any, ...]  # of the learner after each run; empty unless asked for


def world(mdp: AverageMDP) -> World:
    """`mdp` with its optimal gain and gaps; a ValueError where actions are missing or the gain depends on the state.

    The bias is that of an optimal policy, solved directly, so that the gaps are right to rounding.
    """
    P = transitions(mdp)
    found = gain_and_bias(mdp, relative_value_iteration(mdp).policy)
    cumulative = P.cumsum(axis=2)
    first = np.cumsum(mdp.initial)
    cumulative[..., -1] = first[-1] = 1.0
    gap = np.maximum(found.gain + found.bias[:, None] - mdp.r - mdp.expect(found.bias), 0.0)
    return World(cumulative, np.array(mdp.r), gap, first, found.gain, float(np.ptp(found.bias)))


def transitions(mdp: AverageMDP) -> Array:
    """P as float[S, A, S], every action available in every state."""
    if not mdp.actions.all():
        s, a = np.argwhere(~mdp.actions)[0]
        raise ValueError(f"action {a} is missing in state {s}: learners expect every action in every state.")
    return mdp.P.toarray().reshape(*mdp.r.shape, -1) if mdp.is_sparse else np.array(mdp.P)


@kernel
def draw(cumulative: Array, rng: Generator) -> int:
    """An outcome of the law with these cumulative probabilities."""
    u, outcome = rng.random(), 0
    while u >= cumulative[outcome]:
        outcome += 1
    return outcome


@kernel
def _live(
    learner: AverageLearner,
    world: World,
    times: Ints,
    rng: Generator,
    regret: Array,
    shortfall: Array,
    switches: Ints,
) -> Any:
    state = learner.fresh(world.r, times[-1])
    learner, world, rng, known = lent(learner), lent(world), lent(rng), lent(state)
    s, checkpoint, lost, short = draw(world.first, rng), 0, 0.0, 0.0
    for t in range(times[-1]):
        a = learner.decide(known, t, s, rng)
        successor = draw(world.cumulative[s, a], rng)
        learner.absorb(known, t, s, a, successor)
        lost += world.gain - world.r[s, a]
        short += world.gap[s, a]
        s = successor
        if t + 1 == times[checkpoint]:
            regret[checkpoint], shortfall[checkpoint] = lost, short
            switches[checkpoint] = learner.switches(state)
            checkpoint += 1
    return state


def learn_average(
    learner: AverageLearner,
    mdp: AverageMDP | World,
    *,
    horizon: int,
    runs: int,
    seed: int,
    checkpoints: int = 50,
    threads: int | None = None,
    keep_states: bool = False,
    compiled: bool = True,
) -> AverageRecord:
    """Let `learner` live `runs` independent lives of `horizon` steps, each one trajectory without resets.

    Run `i` draws from the `i`-th child of ``SeedSequence(seed)``: it is the same for any `runs` and `threads`, and in
    the interpreter.

    Parameters
    ----------
    mdp : AverageMDP or World
        With every action in every state; a :func:`world` is solved once and can be used again.
    horizon : int
        Steps of a run.
    runs : int
        Independent runs.
    seed : int
        Of all randomness.
    checkpoints : int
        At how many steps results are kept, evenly spaced in the logarithm.
    threads : int, optional
        Default: every core.
    keep_states : bool
        Whether to return the learner's final state of each run.
    compiled : bool
        With False everything runs in the Python interpreter.
    """
    if not isinstance(learner, AverageLearner):
        raise TypeError(f"learn_average takes an AverageLearner, got {type(learner).__name__}.")
    if not isinstance(mdp, (AverageMDP, World)):
        raise TypeError(f"learn_average takes an AverageMDP or a World, got {type(mdp).__name__}.")
    there = mdp if isinstance(mdp, World) else world(mdp)
    times, runs = log_times("horizon", horizon, checkpoints), checks.integer("runs", runs, 1)
    regret, shortfall = np.zeros((runs, times.size)), np.zeros((runs, times.size))
    switches = np.zeros((runs, times.size), dtype=np.int64)
    live = _live if compiled else interpreted(_live)

    def game(i: int, rng: Generator) -> Any:
        return live(learner, there, times, rng, regret[i], shortfall[i], switches[i])

    states = each_run(game, runs, seed, threads=threads if compiled else 1, keep_states=keep_states)
    return AverageRecord(times, regret, shortfall, switches, states)
