r"""Simulation of finite MDPs: roll-outs, Monte-Carlo returns, and populations of which only the counts matter.

Every run draws from a stream of its own.  With ``key = SeedSequence(seed).generate_state(2, np.uint64)``, run `i` reads
the raw output of ``numpy.random.Philox(key=key, counter=[0, i, 0, 0])``: one word for the first state, then for each
step one for the action, if the policy is stochastic, and one for the next state.  So a run depends neither on the
number of runs nor on that of threads, no generator is ever made for it, and no two runs overlap: the generator is a
bijection of the counter, of which each run has :math:`2^{64}` values to itself.  Philox4x64-10 passes every test of
BigCrush, streams interleaved as well (Salmon, Moraes, Dror & Shaw 2011, Parallel random numbers: as easy as 1, 2, 3).

Draws take constant time whatever the number of successors, by alias tables (Walker 1977; Vose 1991); these are built
once a call.  Rows of `P` are normalised, and rewards are the expected ones that an MDP keeps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from claimlab import checks
from claimlab.checks import Array, Bools, Ints
from claimlab.mdps.episodic import episodic_policy
from claimlab.mdps.tabular import EPS, EpisodicMDP, FiniteMDP, TabularMDP
from claimlab.native import kernel, spread, threads_or_default

LEAST = 2_000  # transitions that are worth a thread
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
UNIFORM_SHIFT, UNIFORM = np.uint64(11), 2.0**-53  # the upper 53 bits of a word as a number in [0, 1)
MULTIPLIERS = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
WEYL = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)


class Rollouts(NamedTuple):
    """Trajectories of independent runs; a run that ends in a terminal state stays there without acting."""

    states: Ints  # [runs, horizon + 1]
    actions: Ints  # [runs, horizon]; -1 after the end
    rewards: Array  # [runs, horizon]; 0 after the end
    lengths: Ints  # [runs], actions taken


class Returns(NamedTuple):
    """The return of each run."""

    values: Array  # [runs]
    truncation: float  # bound on what rewards beyond the horizon add to the expectation; 0 unless discounted


def rollouts(
    mdp: FiniteMDP,
    pi: ArrayLike,
    *,
    runs: int,
    seed: int,
    horizon: int | None = None,
    start: int | ArrayLike | None = None,
    threads: int | None = None,
) -> Rollouts:
    """Play `runs` independent runs of `horizon` steps and keep them.

    Parameters
    ----------
    mdp : TabularMDP, EpisodicMDP or AverageMDP
    pi : policy
        int[S] or float[S, A]; of an episodic MDP int[H, S] or float[H, S, A] as well.
    runs : int
    seed : int
    horizon : int
        Steps of a run; of an episodic MDP at most its own horizon, which is the default.
    start : int or float[S], optional
        The first state, or its law; ``mdp.initial`` by default.
    threads : int, optional
        Every core by default; the result does not depend on it.

    Examples
    --------
    >>> cycle = TabularMDP(P=[[[0, 1]], [[1, 0]]], r=[[0], [1]], gamma=0.5)
    >>> rollouts(cycle, [0, 0], runs=1, horizon=4, seed=0, start=0).states
    array([[0, 1, 0, 1, 0]])
    """
    game = _prepare(mdp, pi, horizon, start)
    runs = checks.integer("runs", runs, 1)
    kept = Rollouts(
        np.empty((runs, game.horizon + 1), np.int64), np.full((runs, game.horizon), -1), np.zeros((runs, game.horizon)),
        np.empty(runs, np.int64),
    )  # fmt: skip
    _simulate(game, runs, seed, threads, kept)
    return kept


def monte_carlo_returns(
    mdp: FiniteMDP,
    pi: ArrayLike,
    *,
    runs: int,
    seed: int,
    horizon: int | None = None,
    start: int | ArrayLike | None = None,
    threads: int | None = None,
) -> Returns:
    r"""The sum of rewards of each run, discounted in a discounted MDP; parameters and runs as in :func:`rollouts`.

    Nothing else is kept, so that memory does not depend on the horizon.  In a discounted MDP the expectation of the
    returns is within :math:`\gamma^H \max|r| / (1 - \gamma)` of the value.

    >>> coin = TabularMDP(P=[[[0.5, 0.5]], [[0, 1]]], r=[[1], [0]], gamma=0.9)
    >>> returns = monte_carlo_returns(coin, [0, 0], runs=100_000, horizon=300, seed=0, start=0)
    >>> bool(abs(returns.values.mean() - 1 / 0.55) < 0.01)
    True
    """
    game = _prepare(mdp, pi, horizon, start)
    runs = checks.integer("runs", runs, 1)
    nothing = Rollouts(np.empty((0, 0), np.int64), np.empty((0, 0), np.int64), np.empty((0, 0)), np.empty(0, np.int64))
    values = _simulate(game, runs, seed, threads, nothing)
    if not isinstance(mdp, TabularMDP):
        return Returns(values, 0.0)
    return Returns(values, (1 + 8 * EPS) * mdp.gamma**game.horizon * mdp.value_bound)


def propagate_counts(mdp: FiniteMDP, pi: ArrayLike, counts: ArrayLike, steps: int, seed: int) -> Ints:
    """How many of a population are in each state after 0, 1, ..., `steps` steps, int[steps + 1, S].

    Everybody follows `pi` independently, starting from `counts`, int[S].  The counts after a step are sums of
    multinomials, drawn as chains of binomials, so the cost does not depend on the size of the population.

    >>> coin = TabularMDP(P=[[[0.5, 0.5]], [[0, 1]]], r=[[1], [0]], gamma=0.9)
    >>> propagate_counts(coin, [0, 0], [1000, 0], 2, seed=0).sum(axis=1)
    array([1000, 1000, 1000])
    """
    steps = _within(mdp, checks.integer("steps", steps, 0), "steps")
    chains = [_conditional(mdp, pi_h) for pi_h in _policies(mdp, pi)]
    out = np.zeros((steps + 1, mdp.n_states), np.int64)
    out[0] = _population(mdp, counts)
    rng = np.random.default_rng(checks.integer("seed", seed, 0))
    for t in range(steps):
        _propagate(*chains[t % len(chains)], out[t], out[t + 1], rng)
    return out


class _Game(NamedTuple):
    """What a run needs, for the kernel.  Alias tables: entry j stays with probability `keep`, else becomes `other`."""

    horizon: int
    discount: float
    first_keep: Array  # [S]
    first_other: Ints
    choice: Ints  # [K, S], K = 1 for a stationary policy; K = 0 for a stochastic one
    act_keep: Array  # [K, S, A]; K = 0 for a deterministic policy
    act_other: Ints
    indptr: Ints  # [S*A + 1]
    here: Ints  # [nnz], successors
    keep: Array
    other: Ints
    r: Array  # [S, A]
    terminal: Bools  # [S]


def _prepare(mdp: FiniteMDP, pi: ArrayLike, horizon: int | None, start: Any) -> _Game:
    policies = _policies(mdp, pi)
    S, A = mdp.r.shape
    stochastic = policies[0].ndim == 2
    weights = np.stack(policies).astype(np.float64) if stochastic else np.zeros((0, S, A))
    P: Any = mdp.P if mdp.is_sparse else csr_array(mdp.P.reshape(-1, S))
    indptr, here = P.indptr.astype(np.int64), P.indices.astype(np.int64)
    first_keep, first_other = _alias(np.array([0, S]), _first(mdp, start))
    act_keep, act_other = _alias(np.arange(0, weights.size + 1, A), weights.reshape(-1))
    keep, alias = _alias(indptr, P.data)
    return _Game(
        horizon=_horizon(mdp, horizon),
        discount=mdp.gamma if isinstance(mdp, TabularMDP) else 1.0,
        first_keep=first_keep,
        first_other=first_other,
        choice=np.zeros((0, S), np.int64) if stochastic else np.stack(policies).astype(np.int64),
        act_keep=act_keep.reshape(weights.shape),
        act_other=act_other.reshape(weights.shape),
        indptr=indptr,
        here=here,
        keep=keep,
        other=here[np.repeat(indptr[:-1], np.diff(indptr)) + alias],
        r=mdp.r,
        terminal=mdp.terminal,
    )


def _horizon(mdp: FiniteMDP, horizon: int | None) -> int:
    if horizon is not None:
        return _within(mdp, checks.integer("horizon", horizon, 1), "horizon")
    if not isinstance(mdp, EpisodicMDP):
        raise ValueError(f"horizon must be given for {type(mdp).__name__}, whose runs do not end by themselves.")
    return mdp.horizon


def _within(mdp: FiniteMDP, steps: int, name: str) -> int:
    if isinstance(mdp, EpisodicMDP) and steps > mdp.horizon:
        raise ValueError(f"{name} must be at most the horizon {mdp.horizon} of the MDP, got {steps}.")
    return steps


def _policies(mdp: FiniteMDP, pi: ArrayLike) -> list[Array | Ints]:
    """The policy of each step, or a single one where they are all the same."""
    if not isinstance(mdp, FiniteMDP):
        raise TypeError(f"mdp must be a TabularMDP, EpisodicMDP or AverageMDP, got {type(mdp).__name__}.")
    if not isinstance(mdp, EpisodicMDP):
        return [mdp.policy(pi)]
    policies = episodic_policy(mdp, pi)
    return policies[:1] if all(pi_h is policies[0] for pi_h in policies) else policies


def _first(mdp: FiniteMDP, start: Any) -> Array:
    """The law of the first state."""
    if start is not None and np.ndim(start) == 0:
        return (np.arange(mdp.n_states) == checks.integer("start", start, 0, mdp.n_states - 1)).astype(np.float64)
    law = mdp.initial if start is None else checks.distributions("start", start, ndim=1)
    if law.shape != (mdp.n_states,):
        raise ValueError(f"start must have shape (S,) = ({mdp.n_states},), got {law.shape}.")
    return np.array(law)


def _population(mdp: FiniteMDP, counts: ArrayLike) -> Ints:
    given = checks.shaped("counts", counts, (mdp.n_states,), "(S,)")
    bad = np.flatnonzero((given < 0) | (given != np.floor(given)))
    if len(bad):
        raise ValueError(f"counts[{bad[0]}] is {given[bad[0]]:g}, which is no whole number of at least 0.")
    if given.sum() >= 2**53:
        raise ValueError(f"counts sum to {given.sum():g}; beyond 2**53 float64 does not count.")
    return given.astype(np.int64)


def _simulate(game: _Game, runs: int, seed: int, threads: int | None, kept: Rollouts) -> Array:
    key, values = SeedSequence(checks.integer("seed", seed, 0)).generate_state(2, np.uint64), np.empty(runs)
    spread(
        lambda start, stop: _play(start, stop, key, game, values, kept),
        runs,
        threads_or_default(threads),
        least=1 + LEAST // game.horizon,
    )
    return values


@kernel
def _play(start: int, stop: int, key: Any, game: _Game, values: Array, kept: Rollouts) -> None:
    """Runs ``start..stop-1``: their returns and, where there is room for them, their trajectories."""
    # once, since reading a field counts a reference
    horizon, gamma, first_keep, first_other, choice, act_keep, act_other, indptr, here, keep, other, r, terminal = game
    (n_states, n_actions), stream, stored = r.shape, np.empty(9, np.uint64), len(kept.lengths) > 0
    for run in range(start, stop):
        _open(stream, key, run)
        x = _uniform(stream) * n_states
        j = int(x)
        s = j if x - j < first_keep[j] else first_other[j]
        total, weight, t = 0.0, 1.0, 0
        while t < horizon and not terminal[s]:
            if len(choice):
                a = choice[t if len(choice) > 1 else 0, s]
            else:
                x = _uniform(stream) * n_actions
                j, h = int(x), t if len(act_keep) > 1 else 0
                a = j if x - j < act_keep[h, s, j] else act_other[h, s, j]
            total += weight * r[s, a]
            weight *= gamma
            if stored:
                kept.states[run, t], kept.actions[run, t], kept.rewards[run, t] = s, a, r[s, a]
            row = s * n_actions + a
            begin = indptr[row]
            x = _uniform(stream) * (indptr[row + 1] - begin)
            j = int(x)
            s = here[begin + j] if x - j < keep[begin + j] else other[begin + j]
            t += 1
        values[run] = total
        if stored:
            kept.states[run, t:] = s
            kept.lengths[run] = t


@kernel
def _open(stream: Any, key: Any, run: int) -> None:
    """Begin the stream of a run: four words of output, how many of them are used, the block, the run, and the key."""
    stream[4], stream[5], stream[6], stream[7], stream[8] = np.uint64(4), np.uint64(0), np.uint64(run), key[0], key[1]


@kernel
def _uniform(stream: Any) -> float:
    """The next number of a stream in [0, 1), a multiple of 2**-53, as NumPy's generators draw it."""
    if stream[4] == np.uint64(4):
        stream[4], stream[5] = np.uint64(0), stream[5] + np.uint64(1)
        _philox(stream)
    word = stream[stream[4]]
    stream[4] += np.uint64(1)
    return (word >> UNIFORM_SHIFT) * UNIFORM


@kernel
def _philox(stream: Any) -> None:
    """Philox4x64-10 of the counter (block, run, 0, 0) (Salmon et al. 2011)."""
    a, b, c, d = stream[5], stream[6], np.uint64(0), np.uint64(0)
    key, other_key = stream[7], stream[8]
    for _ in range(10):
        a, b, c, d = (
            _upper(MULTIPLIERS[1], c) ^ b ^ key,
            MULTIPLIERS[1] * c,
            _upper(MULTIPLIERS[0], a) ^ d ^ other_key,
            MULTIPLIERS[0] * a,
        )
        key, other_key = key + WEYL[0], other_key + WEYL[1]
    stream[0], stream[1], stream[2], stream[3] = a, b, c, d


@kernel
def _upper(x: Any, y: Any) -> Any:
    """The upper 64 bits of the product of two 64-bit words, by schoolbook multiplication of their halves."""
    x_low, x_high, y_low, y_high = x & LOW, x >> HALF, y & LOW, y >> HALF
    one, other = x_high * y_low, x_low * y_high
    carry = ((x_low * y_low) >> HALF) + (one & LOW) + (other & LOW)
    return x_high * y_high + (one >> HALF) + (other >> HALF) + (carry >> HALF)


def _alias(indptr: Ints, p: Array) -> tuple[Array, Ints]:
    """Alias tables of the rows of `p`: entry j of a row stays with probability `keep`, else becomes entry `other`."""
    keep, other = np.ones(len(p)), np.empty(len(p), np.int64)
    _fill(indptr.astype(np.int64), np.array(p), keep, other)
    return keep, other


@kernel
def _fill(indptr: Ints, p: Array, keep: Array, other: Ints) -> None:
    """Vose (1991): entries that are short of 1 / n are filled up, each from one that has more."""
    work = np.empty(p.size, np.int64)
    for row in range(indptr.size - 1):
        begin, n = indptr[row], indptr[row + 1] - indptr[row]
        total, short, long = 0.0, 0, n
        for j in range(n):
            total += p[begin + j]
            other[begin + j] = j
        for j in range(n):
            p[begin + j] *= n / total
            if p[begin + j] < 1:
                work[short] = j
                short += 1
            else:
                long -= 1
                work[long] = j
        while short > 0 and long < n:
            short -= 1
            j, more = work[short], work[long]
            keep[begin + j], other[begin + j] = p[begin + j], more
            p[begin + more] -= 1 - p[begin + j]
            if p[begin + more] < 1:
                work[short] = more
                short += 1
                long += 1


def _conditional(mdp: FiniteMDP, pi: Array | Ints) -> tuple[Ints, Ints, Array]:
    """The chain of `pi` as CSR, each entry as a share of what the entries before it have left over."""
    P_pi: Any = csr_array(mdp.under(pi)[0])
    P_pi.eliminate_zeros()
    indptr, share = P_pi.indptr.astype(np.int64), np.array(P_pi.data)
    _shares(indptr, share)
    return indptr, P_pi.indices.astype(np.int64), share


@kernel
def _shares(indptr: Ints, p: Array) -> None:
    for row in range(indptr.size - 1):
        rest = 0.0
        for k in range(indptr[row + 1] - 1, indptr[row] - 1, -1):  # from the end, so that small tails keep their digits
            rest += p[k]
            p[k] /= rest


@kernel
def _propagate(indptr: Ints, indices: Ints, share: Array, counts: Ints, out: Ints, rng: Generator) -> None:
    for s in range(counts.size):
        left = counts[s]
        for k in range(indptr[s], indptr[s + 1]):
            if left == 0:
                break
            moved = left if share[k] >= 1 else rng.binomial(left, share[k])
            out[indices[k]] += moved
            left -= moved
