r"""From one criterion to another, and from Gymnasium's toy-text environments to exact MDPs.

Such an environment has ``env.unwrapped.P[s][a]``, a list of ``(probability, successor, reward, done)``.  What `done`
says is that the episode ends; the successor's own row says what a simulator would do if one went on, and in
CliffWalking and Taxi it does go on.  The MDP here ends where `done` says so:

- a state that is entered through `done` alone, and is not a first state, becomes terminal itself (FrozenLake's holes
  and goals, CliffWalking's goal, Blackjack's busts); its own row is dropped;
- where the successor of `done` is also entered without it (Taxi's destinations, Blackjack's sticking), the transition
  leads to an extra terminal state instead.

States keep their numbers 0..n-1; the extra state, if one is needed, is n.  Terminal states have action 0 only.

Wrappers are ignored, `TimeLimit` above all: the table is the untruncated MDP.  :func:`episodic_from_gymnasium` takes
the limit as its horizon.

Arrays of QuantEcon and pymdptoolbox are converted in :mod:`claimlab.mdps.peers`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array, Bools
from claimlab.mdps.assemble import ending_actions, transitions
from claimlab.mdps.blackjack import blackjack_table
from claimlab.mdps.tabular import AverageMDP, EpisodicMDP, FiniteMDP, TabularMDP

RESETS = 32  # resets that must agree before a first state is believed to be the only one


def time_limited(mdp: FiniteMDP, horizon: int) -> EpisodicMDP:
    """The same process stopped after `horizon` steps, its reward undiscounted: Gymnasium's `TimeLimit`."""
    return EpisodicMDP(horizon=horizon, **_process(mdp))


def discounted(mdp: FiniteMDP, gamma: float) -> TabularMDP:
    """The same process without end, under discount `gamma`."""
    return TabularMDP(gamma=gamma, **_process(mdp))


def long_run(mdp: FiniteMDP) -> AverageMDP:
    """The same process without end, under the average reward."""
    return AverageMDP(**_process(mdp))


def _process(mdp: FiniteMDP) -> dict[str, Any]:
    return {name: getattr(mdp, name) for name in ("P", "r", "actions", "terminal", "initial")}


def from_gymnasium(
    env_or_id: Any, gamma: float, *, initial: ArrayLike | None = None, sparse: bool | None = None, **make_kwargs: Any
) -> TabularMDP:
    """The discounted MDP of a toy-text environment, without its time limit; see the module for states and endings.

    Parameters
    ----------
    env_or_id : gymnasium.Env or str
        An environment whose ``unwrapped`` has a table `P`, or a `BlackjackEnv`, whose table is
        :func:`claimlab.mdps.blackjack.blackjack_table`; or what to call ``gymnasium.make`` with.
    gamma : float
    initial : float[n], optional
        Law of the first state; by default the environment's `initial_state_distrib` or, where it has none, the one
        state that it resets to.
    sparse : bool, optional
        CSR transitions; by default for tables of more than 2**19 entries (Taxi's, not FrozenLake's).
    **make_kwargs
        For ``gymnasium.make``: ``desc``, ``map_name``, ``is_slippery``, ``sab``, ...

    Examples
    --------
    >>> from claimlab.mdps import solve
    >>> lake = from_gymnasium("FrozenLake-v1", gamma=0.5, desc=["SFG"], is_slippery=False)
    >>> lake.n_states, lake.terminal.tolist(), solve(lake).v.tolist()
    (3, [False, False, True], [0.5, 1.0, 0.0])
    """
    env = _made(env_or_id, make_kwargs)
    try:
        return _from_table(env.unwrapped, gamma, initial, sparse)
    finally:
        if isinstance(env_or_id, str):
            env.close()


def episodic_from_gymnasium(
    env_or_id: Any,
    horizon: int | None = None,
    *,
    initial: ArrayLike | None = None,
    sparse: bool | None = None,
    **make_kwargs: Any,
) -> EpisodicMDP:
    """The environment with its time limit as the horizon, undiscounted; see :func:`from_gymnasium`.

    `horizon` is by default ``env.spec.max_episode_steps``, which is what Gymnasium's `TimeLimit` enforces.
    """
    env = _made(env_or_id, make_kwargs)
    try:
        limit = env.spec.max_episode_steps if horizon is None and env.spec is not None else horizon
        if limit is None:
            raise ValueError("horizon must be given: the environment has no time limit (spec.max_episode_steps).")
        return time_limited(_from_table(env.unwrapped, 0.0, initial, sparse), limit)
    finally:
        if isinstance(env_or_id, str):
            env.close()


def _made(env_or_id: Any, make_kwargs: dict[str, Any]) -> Any:
    import gymnasium  # here, so that those who only plan do not pay for its import

    if isinstance(env_or_id, str):
        return gymnasium.make(env_or_id, **make_kwargs)
    if not isinstance(env_or_id, gymnasium.Env):
        raise TypeError(f"env_or_id must be an environment or an id, got {type(env_or_id).__name__}.")
    if make_kwargs:
        raise ValueError(f"{', '.join(make_kwargs)}: options go with an id; the environment given is already made.")
    return env_or_id


def _from_table(env: Any, gamma: float, initial: ArrayLike | None, sparse: bool | None) -> TabularMDP:
    from gymnasium.envs.toy_text.blackjack import BlackjackEnv

    table: Any = getattr(env, "P", None)
    start = None
    if isinstance(env, BlackjackEnv):
        table, start = blackjack_table(natural=env.natural, sab=env.sab)
    if table is None:
        raise ValueError(f"{type(env).__name__} has no transition table P, and only Blackjack's is known without one.")
    if getattr(env, "fickle_passenger", False):
        raise ValueError("fickle_passenger=True: Taxi then changes destinations outside its transition table P.")
    entries = _entries(table)
    n, A = len(table), 1 + int(entries["a"].max())
    if initial is not None:
        first = checks.shaped("initial", initial, (n,), "(n,)")
    else:
        first = _first(env, n) if start is None else start
    return _ending(entries, n, A, first, gamma, sparse)


def _entries(table: Any) -> Any:
    """The table as a structured array with fields s, a, p, t, r, done; entries of probability 0 are left out."""
    n, rows = len(table), []
    for s in range(n):
        if isinstance(table, dict) and s not in table:
            raise ValueError(f"P has {n} states but no P[{s}]; states must be numbered 0..{n - 1}.")
        actions = table[s].items() if isinstance(table[s], dict) else enumerate(table[s])
        for a, outcomes in actions:
            for p, t, r, done in outcomes:
                if not 0 <= t < n:
                    raise ValueError(f"P[{s}][{a}] leads to state {t}; states are 0..{n - 1}.")
                if p != 0:
                    rows.append((s, a, p, t, r, done))
    if not rows:
        raise ValueError("P has no transitions.")
    kinds = [
        ("s", np.int64),
        ("a", np.int64),
        ("p", np.float64),
        ("t", np.int64),
        ("r", np.float64),
        ("done", np.bool_),
    ]
    return np.array(rows, dtype=kinds)


def _first(env: Any, n: int) -> Array:
    """The environment's law of the first state."""
    law = getattr(env, "initial_state_distrib", None)
    if law is not None:
        return checks.shaped("initial_state_distrib", law, (n,), "(n,)")
    starts = {int(env.reset(seed=seed)[0]) for seed in range(RESETS)}
    if len(starts) > 1:
        raise ValueError(f"initial must be given: the environment resets to several states, {sorted(starts)[:5]} ...")
    return np.eye(n)[starts.pop()]


def _terminal(entries: Any, n: int, first: Array) -> Bools:
    """The largest set of non-first states that are entered from outside it through `done` alone, bool[n]."""
    terminal = np.zeros(n, bool)
    terminal[entries["t"][entries["done"]]] = True
    terminal &= first == 0
    live = entries[~entries["done"]]
    while True:
        entered = live["t"][~terminal[live["s"]]]
        if not terminal[entered].any():
            return terminal
        terminal[entered] = False


def _ending(entries: Any, n: int, A: int, first: Array, gamma: float, sparse: bool | None) -> TabularMDP:
    """The MDP in which every `done` transition leads to a terminal state."""
    terminal = _terminal(entries, n, first)
    entries = entries[~terminal[entries["s"]]]
    s, a, p = entries["s"], entries["a"], entries["p"]
    t = np.where(entries["done"] & ~terminal[entries["t"]], n, entries["t"])
    S = n + int((t == n).any())
    terminal, first = np.append(terminal, np.ones(S - n, bool)), np.append(first, np.zeros(S - n))
    ends, r, available = np.flatnonzero(terminal), np.zeros((S, A)), np.zeros((S, A), bool)
    np.add.at(r, (s, a), p * entries["r"])
    available[s, a] = True
    available[terminal] = ending_actions(terminal, A)[terminal]
    P = transitions(
        S,
        A,
        np.append(s, ends),
        np.append(a, np.zeros_like(ends)),
        np.append(t, ends),
        np.append(p, np.ones(len(ends))),
        sparse=sparse,
    )
    return TabularMDP(P, r, gamma, actions=available, terminal=terminal, initial=first)
