"""Random problem instances for property-based tests, for ours and for yours.

Small on purpose: a counterexample should fit in one's head.  Exact zeros, ties and repeated values are likely, for that
is where bugs live, and everything shrinks towards one state, one action and rewards 0 and 1.  What to compare a solver
of yours with is in :mod:`claimlab.theory.oracles`.

>>> from hypothesis import given, settings
>>> from claimlab.mdps import solve
>>> @settings(deadline=None)
... @given(tabular_mdps(rewards=lambda shape: rewards(shape, low=0.0)))
... def test_rewards_in_the_unit_interval_have_small_values(mdp):
...     assert abs(solve(mdp).v).max() <= 1 / (1 - mdp.gamma) + 1e-8
>>> test_rewards_in_the_unit_interval_have_small_values()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array

from claimlab.bandits.changing import AutoRegressive, Drifting, StochasticallyConstrained, Switching, Table
from claimlab.bandits.contextual_environments import DisjointLinear, PiecewiseLinear
from claimlab.bandits.environments import Bernoulli, Gaussian
from claimlab.bandits.off_policy import BanditLog
from claimlab.checks import Array, Bools, Ints
from claimlab.mdps.games import MarkovGame
from claimlab.mdps.inverse import with_optimal_values
from claimlab.mdps.staged import StagedMDP
from claimlab.mdps.tabular import AverageMDP, EpisodicMDP, FiniteMDP, TabularMDP
from claimlab.mdps.trees import token_tree

Rewards = Callable[[Any], st.SearchStrategy[Array]]  # of a shape

UNIT = st.floats(0, 1, allow_subnormal=False)
DISCOUNTS = st.sampled_from([0.0, 0.5, 0.9, 0.99]) | st.floats(0, 0.99, allow_subnormal=False)
DYADIC_DISCOUNTS = st.sampled_from([0.0, 0.5, 0.25, 0.75, 0.875])


def seeds() -> st.SearchStrategy[int]:
    """Seeds of a generator: 0, 1, ..., 2**32 - 1.

    >>> from hypothesis import find
    >>> find(seeds(), lambda seed: seed > 2)
    3
    """
    return st.integers(0, 2**32 - 1)


def bernoullis(*, max_arms: int = 5) -> st.SearchStrategy[Bernoulli]:
    """Bernoulli bandits; means of 0 and 1 and ties are likely.

    >>> from hypothesis import find
    >>> find(bernoullis(), lambda env: env.means.size == 2).means
    array([0., 0.])
    """
    means = st.lists(st.sampled_from([0.0, 1.0, 0.5]) | UNIT, min_size=1, max_size=max_arms)
    return means.map(lambda m: Bernoulli(np.array(m)))


def gaussians(*, max_arms: int = 5) -> st.SearchStrategy[Gaussian]:
    """Gaussian bandits with means within 10 of 0 and standard deviations from 1/4 to 4; ties are likely.

    >>> from hypothesis import find
    >>> find(gaussians(), lambda env: env.means.size == 2).means
    array([0., 0.])
    """
    sizes = st.integers(1, max_arms)
    means = sizes.flatmap(lambda k: rewards(k, scale=10.0))
    return st.builds(Gaussian, means, st.sampled_from([1.0, 0.25, 4.0]))


def reward_tables(*, max_rounds: int = 60, max_arms: int = 5, min_rounds: int = 1) -> st.SearchStrategy[Table]:
    """Oblivious adversaries: rewards in [0, 1], of which 0, 1/2 and 1 are likely.

    >>> from hypothesis import find
    >>> find(reward_tables(), lambda env: env.rewards.max() == 1).rewards
    array([[1.]])
    """
    shapes = st.tuples(st.integers(min_rounds, max_rounds), st.integers(1, max_arms))
    return shapes.flatmap(lambda shape: rewards(shape, low=0.0)).map(Table)


@st.composite
def switching_bandits(draw: st.DrawFn, *, max_pieces: int = 4, max_arms: int = 4, max_rounds: int = 60) -> Switching:
    """Bernoulli bandits whose means change at up to ``max_pieces - 1`` rounds.

    >>> from hypothesis import find
    >>> find(switching_bandits(), lambda env: len(env.starts) == 2).starts
    array([0, 1])
    """
    changes = draw(st.lists(st.integers(1, max_rounds), max_size=max_pieces - 1, unique=True))
    means = draw(rewards((len(changes) + 1, draw(st.integers(1, max_arms))), low=0.0))
    return Switching(means, np.array([0, *sorted(changes)]))


def drifting_bandits(*, max_arms: int = 4) -> st.SearchStrategy[Drifting]:
    """Bernoulli bandits whose means walk in [0, 1], by steps of 0 to 1.

    >>> from hypothesis import find
    >>> find(drifting_bandits(), lambda env: env.step > 0).start
    array([0.])
    """
    start = st.integers(1, max_arms).flatmap(lambda k: rewards(k, low=0.0))
    return st.builds(Drifting, start, st.sampled_from([0.0, 1.0, 0.1]) | UNIT)


def constrained_adversaries(*, max_arms: int = 4) -> st.SearchStrategy[StochasticallyConstrained]:
    """Fixed gaps, one of them 0, under means that move in growing phases.

    >>> from hypothesis import find
    >>> find(constrained_adversaries(), lambda env: env.gaps.max() == 1).gaps
    array([1., 0.])
    """
    others = st.integers(0, max_arms - 1).flatmap(lambda k: rewards(k, low=0.0))
    growths = st.sampled_from([1.6, 2.0]) | st.floats(1.1, 4)
    return st.builds(lambda gaps, growth: StochasticallyConstrained(np.append(gaps, 0.0), growth), others, growths)


def auto_regressive_bandits(*, max_arms: int = 4) -> st.SearchStrategy[AutoRegressive]:
    """Rewards that remember, from not at all to nearly for ever.

    >>> from hypothesis import find
    >>> find(auto_regressive_bandits(), lambda env: True).n_arms
    1
    """
    memories = st.sampled_from([0.0, 0.5, 0.9]) | st.floats(0, 0.99, allow_subnormal=False)
    return st.builds(AutoRegressive, st.integers(1, max_arms), memories, st.sampled_from([0.5, 0.01, 3.0]))


@st.composite
def cost_functions(draw: st.DrawFn, *, max_arms: int = 4, max_knots: int = 5) -> PiecewiseLinear:
    """Costs that are piecewise linear functions of a context in [0, 1], paid as they are or drawn.

    >>> from hypothesis import find
    >>> find(cost_functions(), lambda env: env.n_arms == 2).costs
    array([[0., 0.],
           [0., 0.]])
    """
    shape = draw(st.integers(1, max_arms)), draw(st.integers(2, max_knots))
    costs = draw(arrays(np.float64, shape, elements=st.sampled_from([0.0, 1.0, 0.5]) | UNIT))
    return PiecewiseLinear(np.linspace(0, 1, shape[1]), costs, bernoulli=draw(st.booleans()))


@st.composite
def linear_contextuals(draw: st.DrawFn, *, max_arms: int = 4, max_dim: int = 3) -> DisjointLinear:
    """Contextual bandits with a linear model for each arm.

    >>> from hypothesis import find
    >>> find(linear_contextuals(), lambda env: env.n_arms == 2).theta
    array([[0.],
           [0.]])
    """
    shape = draw(st.integers(1, max_arms)), draw(st.integers(1, max_dim))
    theta = draw(arrays(np.float64, shape, elements=st.floats(-2, 2, allow_subnormal=False)))
    return DisjointLinear(theta, noise=draw(st.sampled_from([0.0, 0.1, 1.0])))


@st.composite
def bandit_logs(draw: st.DrawFn, *, max_rounds: int = 8, max_arms: int = 3) -> BanditLog:
    """Logs of rewards in [0, 1] with the logging policy of each round and any target: it may be uncovered.

    Propensities are at least 1/1000.

    >>> from hypothesis import find
    >>> log = find(bandit_logs(), lambda log: log.uncovered.any())
    >>> log.logging, log.target
    (array([[1., 0.]]), array([[0.5, 0.5]]))
    """
    shape = draw(st.integers(1, max_rounds)), draw(st.integers(1, max_arms))
    logging, target, paid = draw(simplices(shape)), draw(simplices(shape)), draw(rewards(shape[0], low=0.0))
    logging = np.where(logging < 1e-3, 0.0, logging)
    logging /= logging.sum(axis=1, keepdims=True)
    actions = np.array([draw(st.sampled_from(np.flatnonzero(row).tolist())) for row in logging])
    return BanditLog(actions, paid, None, target, logging=logging, reward_range=(0, 1))


@st.composite
def simplices(draw: st.DrawFn, shape: int | tuple[int, ...]) -> Array:
    """Arrays of `shape` whose last axis is a probability vector; many exact zeros.

    >>> from hypothesis import find
    >>> find(simplices((2, 3)), lambda p: True)
    array([[1., 0., 0.],
           [1., 0., 0.]])
    """
    weights = draw(arrays(np.float64, shape, elements=st.sampled_from([0.0, 1.0]) | UNIT))
    return _normalised(weights, np.ones(weights.shape, bool))


def rewards(
    shape: int | tuple[int, ...], *, low: float = -1.0, high: float = 1.0, scale: float = 1.0
) -> st.SearchStrategy[Array]:
    """Rewards in `scale` times [low, high]; 0, the ends and the middle are likely, so ties are.

    >>> from hypothesis import find
    >>> find(rewards((1, 2)), lambda r: r.sum() == 2)
    array([[1., 1.]])
    """
    common = sorted({min(max(0.0, low), high), high, low, (low + high) / 2}, key=abs)
    elements = st.sampled_from(common) | st.floats(low, high, allow_subnormal=False)
    return arrays(np.float64, shape, elements=elements).map(lambda r: scale * (r + 0.0))  # + 0.0: no minus zeros


@st.composite
def tabular_mdps(
    draw: st.DrawFn,
    *,
    max_states: int = 4,
    max_actions: int = 3,
    gammas: st.SearchStrategy[float] = DISCOUNTS,
    sparse: bool | None = None,
    masked: bool = False,
    terminal: bool = False,
    rewards: Rewards = rewards,
) -> TabularMDP:
    """Discounted MDPs.

    Parameters
    ----------
    max_states, max_actions : int
    gammas : strategy of floats
    sparse : bool, optional
        CSR transitions, dense ones, or (by default) either.
    masked : bool
        Whether some actions may be missing.
    terminal : bool
        Whether some states may be terminal.
    rewards : (S, A) -> strategy of float[S, A]

    Examples
    --------
    >>> from hypothesis import find
    >>> mdp = find(tabular_mdps(gammas=st.just(0.5)), lambda mdp: mdp.r.max() > 0)
    >>> mdp.P, mdp.r
    (array([[[1.]]]), array([[1.]]))
    """
    arguments = _finite(draw, max_states, max_actions, sparse, masked, terminal, rewards)
    return TabularMDP(gamma=draw(gammas), **arguments)


@st.composite
def episodic_mdps(
    draw: st.DrawFn,
    *,
    max_states: int = 4,
    max_actions: int = 3,
    max_horizon: int = 4,
    sparse: bool | None = None,
    masked: bool = False,
    terminal: bool = False,
    rewards: Rewards = rewards,
) -> EpisodicMDP:
    """Finite-horizon MDPs; parameters as for :func:`tabular_mdps`.

    >>> from hypothesis import find
    >>> find(episodic_mdps(sparse=False), lambda mdp: mdp.horizon == 2).P
    array([[[1.]]])
    """
    arguments = _finite(draw, max_states, max_actions, sparse, masked, terminal, rewards)
    return EpisodicMDP(horizon=draw(st.integers(1, max_horizon)), **arguments)


@st.composite
def average_mdps(
    draw: st.DrawFn,
    *,
    max_states: int = 4,
    max_actions: int = 3,
    sparse: bool | None = None,
    masked: bool = False,
    rewards: Rewards = rewards,
) -> AverageMDP:
    """Average-reward MDPs in which every policy is unichain and aperiodic: each row gives state 0 at least 1/16.

    >>> from hypothesis import find
    >>> find(average_mdps(), lambda mdp: mdp.n_states == 2).P[:, 0, 0]
    array([1., 1.])
    """
    arguments = _finite(draw, max_states, max_actions, False, masked, False, rewards)
    share = draw(st.sampled_from([0.5, 0.25, 0.0625]))
    pulled = (1 - share) * arguments["P"]
    pulled[..., 0] += share
    return AverageMDP(**{**arguments, "P": _stored(draw, pulled, sparse)})


@st.composite
def periodic_mdps(
    draw: st.DrawFn,
    *,
    max_period: int = 3,
    max_width: int = 2,
    max_actions: int = 2,
    sparse: bool | None = None,
    rewards: Rewards = rewards,
) -> AverageMDP:
    """Average-reward MDPs in which every policy is unichain with period of at least 2.

    States come in classes of equal width, every action moves on to the next class, and gives that class's first state
    at least a quarter.

    >>> from hypothesis import find
    >>> find(periodic_mdps(sparse=False), lambda mdp: True).P
    array([[[0., 1.]],
    <BLANKLINE>
           [[1., 0.]]])
    """
    period, width = draw(st.integers(2, max_period)), draw(st.integers(1, max_width))
    n_actions, n_states = draw(st.integers(1, max_actions)), period * width
    inner = 0.75 * draw(simplices((n_states, n_actions, width)))
    inner[..., 0] += 0.25
    P = np.zeros((n_states, n_actions, period, width))
    for s in range(n_states):
        P[s, :, (s // width + 1) % period] = inner[s]
    r = draw(rewards((n_states, n_actions)))
    return AverageMDP(_stored(draw, P.reshape(n_states, n_actions, n_states), sparse), r)


@st.composite
def tied_mdps(
    draw: st.DrawFn,
    *,
    max_states: int = 4,
    max_actions: int = 3,
    gammas: st.SearchStrategy[float] = DYADIC_DISCOUNTS,
    sparse: bool | None = None,
    masked: bool = False,
) -> tuple[TabularMDP, Array]:
    r"""Discounted MDPs with their optimal action values `q`, float[S, A], exact in float64 and with many ties.

    `P` and `gamma` are dyadic and `q` holds small integers, so
    :math:`r(s,a) = q(s,a) - \gamma \sum_t P(t|s,a) \max_b q(t,b)` is computed without rounding.  Missing actions have
    `q` minus infinity.

    >>> from hypothesis import find
    >>> mdp, q = find(tied_mdps(), lambda pair: pair[1].shape == (1, 2))
    >>> q
    array([[0., 0.]])
    """
    S, A = draw(st.integers(1, max_states)), draw(st.integers(1, max_actions))
    quarters = draw(arrays(np.int64, (S, A, 4), elements=st.integers(0, S - 1)))
    P = (quarters[..., None] == np.arange(S)).mean(axis=2)
    actions, gamma = _mask(draw, (S, A), masked), draw(gammas)
    q = draw(arrays(np.float64, (S, A), elements=st.sampled_from([0.0, 1.0, -1.0, 2.0])))
    return with_optimal_values(_stored(draw, P, sparse), q, gamma, actions), np.where(actions, q, -np.inf)


@st.composite
def markov_games(
    draw: st.DrawFn,
    *,
    max_states: int = 3,
    max_actions: int = 2,
    gammas: st.SearchStrategy[float] = DISCOUNTS,
    sparse: bool | None = None,
    rewards: Rewards = rewards,
) -> MarkovGame:
    """Zero-sum Markov games; `max_actions` is that of each player, the rest as for :func:`tabular_mdps`.

    >>> from hypothesis import find
    >>> find(markov_games(), lambda game: game.r.max() > 0).r
    array([[[1.]]])
    """
    S, A, B = (draw(st.integers(1, most)) for most in (max_states, max_actions, max_actions))
    P, r = draw(simplices((S, A, B, S))), draw(rewards((S, A, B)))
    return MarkovGame(_stored(draw, P, sparse), r, draw(gammas))


@st.composite
def token_trees(
    draw: st.DrawFn, *, max_vocabulary: int = 3, max_depth: int = 2, sparse: bool | None = None
) -> EpisodicMDP:
    """The MDPs of small token trees (:func:`claimlab.mdps.trees.token_tree`), with rewards of leaves in [0, 1].

    >>> from hypothesis import find
    >>> find(token_trees(), lambda mdp: mdp.n_actions == 2).horizon
    1
    """
    vocabulary, depth = draw(st.integers(1, max_vocabulary)), draw(st.integers(1, max_depth))
    leaves = draw(rewards(vocabulary**depth, low=0.0))
    return token_tree(vocabulary, depth, leaves, sparse=draw(st.booleans()) if sparse is None else sparse)


@st.composite
def policies(draw: st.DrawFn, mdp: FiniteMDP) -> Array:
    """Stochastic policies float[S, A] that use available actions alone.

    >>> from hypothesis import find
    >>> mdp = TabularMDP(P=[[[1.0], [1.0]]], r=[[0.0, 0.0]], gamma=0.5)
    >>> find(policies(mdp), lambda pi: True)
    array([[1., 0.]])
    """
    weights = draw(arrays(np.float64, mdp.r.shape, elements=st.sampled_from([0.0, 1.0]) | UNIT))
    return _normalised(weights, mdp.actions)


@st.composite
def deterministic_policies(draw: st.DrawFn, mdp: FiniteMDP) -> Ints:
    """Deterministic policies int[S] of available actions.

    >>> from hypothesis import find
    >>> mdp = TabularMDP(P=[[[1.0], [1.0]]], r=[[0.0, 0.0]], gamma=0.5)
    >>> find(deterministic_policies(mdp), lambda pi: True)
    array([0])
    """
    return np.array([draw(st.sampled_from(np.flatnonzero(row).tolist())) for row in mdp.actions], dtype=np.int64)


def values(mdp: FiniteMDP, *, bound: float = 10.0) -> st.SearchStrategy[Array]:
    """Arbitrary value functions float[S] within `bound`.

    >>> from hypothesis import find
    >>> mdp = TabularMDP(P=[[[1.0], [1.0]]], r=[[0.0, 0.0]], gamma=0.5)
    >>> find(values(mdp, bound=2), lambda v: v[0] > 0)
    array([2.])
    """
    return rewards(mdp.n_states, low=-1.0, high=1.0, scale=bound)


def _finite(
    draw: st.DrawFn, max_states: int, max_actions: int, sparse: bool | None, masked: bool, terminal: bool, law: Rewards
) -> dict[str, Any]:
    """Arguments that the three classes of MDPs share."""
    S, A = draw(st.integers(1, max_states)), draw(st.integers(1, max_actions))
    P, r = draw(simplices((S, A, S))), draw(law((S, A)))
    ended = draw(arrays(np.bool_, S)) if terminal else np.zeros(S, bool)
    P[ended], r = np.eye(S)[ended][:, None, :], np.where(ended[:, None], 0.0, r)
    initial = draw(st.none() | simplices(S))
    actions = _mask(draw, (S, A), masked)
    return {"P": _stored(draw, P, sparse), "r": r, "actions": actions, "terminal": ended, "initial": initial}


def _mask(draw: st.DrawFn, shape: tuple[int, int], masked: bool) -> Bools:
    """Which actions exist: all of them, or (if masked) any set with at least one in each state."""
    missing = draw(arrays(np.bool_, shape)) if masked else np.zeros(shape, bool)
    missing[missing.all(axis=1), 0] = False
    return ~missing


def _stored(draw: st.DrawFn, P: Array, sparse: bool | None) -> Any:
    """`P` as it is or as CSR of shape (S*A, S)."""
    chosen = draw(st.booleans()) if sparse is None else sparse
    return csr_array(P.reshape(-1, P.shape[-1])) if chosen else P


def _normalised(weights: Array, allowed: Bools) -> Array:
    """Rows of `weights` over the `allowed` entries as distributions; point masses where no weight is left."""
    weights = np.where(allowed, weights, 0.0)
    empty = weights.sum(axis=-1) == 0
    first = np.eye(weights.shape[-1])[allowed.argmax(axis=-1)]
    weights = np.where(empty[..., None], first, weights)
    return weights / weights.sum(axis=-1, keepdims=True)


@st.composite
def staged_mdps(draw: st.DrawFn, *, max_states: int = 3, max_actions: int = 3, max_horizon: int = 3) -> StagedMDP:
    """Finite-horizon MDPs whose transitions and rewards, in [0, 1], change from step to step.

    >>> from hypothesis import find
    >>> find(staged_mdps(), lambda mdp: mdp.horizon == 2).P.shape
    (2, 1, 1, 1)
    """
    H, S, A = (draw(st.integers(1, most)) for most in (max_horizon, max_states, max_actions))
    unit = st.sampled_from([0.0, 1.0, 0.5]) | UNIT
    return StagedMDP(draw(simplices((H, S, A, S))), draw(arrays(np.float64, (H, S, A), elements=unit)))
