"""The interaction loop of a contextual bandit, and the two interfaces that meet in it."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Any

from numpy.random import Generator

from claimlab.bandits.play import Record, repeat
from claimlab.checks import Array, Ints
from claimlab.lending import held, lent
from claimlab.native import Native, interpreted, kernel


class ContextualAlgorithm(Native):
    """Hyper-parameters as fields; three methods that both Python and numba can run.

    Contexts are vectors, float[d], that the environment may overwrite in the next round.
    """

    @abstractmethod
    def start(self, n_arms: int, dim: int, horizon: int) -> Any:
        """Fresh state for contexts of `dim` numbers."""

    @abstractmethod
    def choose(self, state: Any, t: int, context: Array, rng: Generator) -> int:
        """Arm to pull in round `t` (counted from 0)."""

    @abstractmethod
    def update(self, state: Any, t: int, context: Array, arm: int, reward: float) -> None:
        """Take notice of the reward of round `t`."""


class ContextualEnvironment(Native):
    """What a contextual algorithm plays against; `n_arms` and `dim` are fields or properties."""

    n_arms: int
    dim: int

    @abstractmethod
    def begin(self, horizon: int, rng: Generator) -> Any:
        """The state in which a run starts."""

    @abstractmethod
    def observe(self, state: Any, t: int, rng: Generator) -> Array:
        """The context of round `t`, float[dim]."""

    @abstractmethod
    def shortfall(self, state: Any, t: int, context: Array, arm: int) -> float:
        """Expected loss of pulling `arm` in round `t` against the best arm for this context."""

    @abstractmethod
    def respond(self, state: Any, t: int, context: Array, arm: int, rng: Generator) -> float:
        """Reward of `arm` in round `t`; changes `state` in place."""


@kernel
def _run(
    alg: ContextualAlgorithm,
    env: ContextualEnvironment,
    dim: int,
    times: Ints,
    rng: Generator,
    pulls: Ints,
    reward: Array,
    regret: Array,
) -> Any:
    horizon, n_arms = times[-1], pulls.shape[1]
    state, world = alg.start(n_arms, dim, horizon), env.begin(horizon, rng)
    alg, env, rng, known, hidden = lent(alg), lent(env), lent(rng), lent(state), lent(world)
    checkpoint, earned, lost = 0, 0.0, 0.0
    for t in range(horizon):
        context = env.observe(hidden, t, rng)
        if context.size != dim:
            raise ValueError("observe gave a context whose length is not the environment's dim.")
        arm = alg.choose(known, t, context, rng)
        if arm < 0 or arm >= n_arms:
            raise ValueError("choose gave an arm outside 0..n_arms - 1.")
        lost += env.shortfall(hidden, t, context, arm)
        x = env.respond(hidden, t, context, arm, rng)
        alg.update(known, t, context, arm, x)
        pulls[checkpoint, arm] += 1
        earned += x
        if t + 1 == times[checkpoint]:
            reward[checkpoint], regret[checkpoint] = earned, lost
            checkpoint += 1
            if checkpoint < times.size:
                pulls[checkpoint] = pulls[checkpoint - 1]
    held(world)
    return state


def play_contextual(
    alg: ContextualAlgorithm,
    env: ContextualEnvironment,
    *,
    horizon: int,
    runs: int,
    seed: int,
    checkpoints: int = 50,
    threads: int | None = None,
    keep_states: bool = False,
    compiled: bool = True,
) -> Record:
    """:func:`claimlab.bandits.play` for bandits whose environment shows a context before each round."""
    if not isinstance(alg, ContextualAlgorithm) or not isinstance(env, ContextualEnvironment):
        raise TypeError(
            "play_contextual takes a ContextualAlgorithm and a ContextualEnvironment, "
            f"got {type(alg).__name__}, {type(env).__name__}."
        )
    run = _run if compiled else interpreted(_run)
    return repeat(
        partial(run, alg, env, env.dim),
        env.n_arms,
        horizon=horizon,
        runs=runs,
        seed=seed,
        checkpoints=checkpoints,
        threads=threads if compiled else 1,
        keep_states=keep_states,
    )
