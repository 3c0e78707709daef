"""Gymnasium's tables: their values against exact, foreign and simulated ones; and changes of criterion."""

from functools import cache
from math import log, sqrt
from types import SimpleNamespace

import gymnasium
import mdptoolbox.mdp
import numpy as np
import pytest
from gymnasium.envs.registration import find_highest_version
from gymnasium.envs.toy_text import blackjack as game
from hypothesis import given
from hypothesis import strategies as st

from claimlab.mdps import (
    TabularMDP,
    backward_induction,
    blackjack_state,
    discounted,
    episodic_from_gymnasium,
    episodic_policy_value,
    from_gymnasium,
    long_run,
    policy_value,
    solve,
    solve_exactly,
    time_limited,
)
from claimlab.mdps.exact import rationals
from claimlab.theory.strategies import tabular_mdps

THIRD = "1/3"


def latest(name):
    """The newest version of an environment; Gymnasium refuses the older ones."""
    return f"{name}-v{find_highest_version(None, name)}"


def own_table(P, **others):
    """An environment with a table of our own."""
    env = gymnasium.Env()
    env.__dict__.update(P=P, **others)
    return env


# --- the meaning of done ---------------------------------------------------------------------------------------------


def test_a_state_entered_by_done_alone_becomes_terminal():
    """State 1's own row, which goes on and pays, is dropped: the episode is over there."""
    P = {0: {0: [(1.0, 1, 5.0, True)], 1: [(1.0, 0, 1.0, False)]}, 1: {0: [(1.0, 0, 9.0, False)], 1: []}}
    mdp = from_gymnasium(own_table(P, initial_state_distrib=np.array([1.0, 0.0])), 0.5)
    assert mdp.n_states == 2
    assert mdp.terminal.tolist() == [False, True]
    assert mdp.actions.tolist() == [[True, True], [True, False]]
    assert mdp.r.tolist() == [[5, 1], [0, 0]]
    assert solve(mdp).v == pytest.approx([5, 0])


def test_a_state_also_entered_alive_stays_alive():
    """Both actions lead to state 1, one of them ends there: that one goes to the extra state 2."""
    P = {0: {0: [(0.5, 1, 4.0, True), (0.5, 1, 2.0, False)]}, 1: {0: [(1.0, 1, 1.0, False)]}}
    mdp = from_gymnasium(own_table(P, initial_state_distrib=np.array([1.0, 0.0])), 0.5)
    assert mdp.terminal.tolist() == [False, False, True]
    assert mdp.row(0, 0).tolist() == [0, 0.5, 0.5]
    assert solve(mdp).v == pytest.approx([3 + 0.25 * 2, 2, 0])  # state 1 is worth 1/(1 - 0.5)


def test_a_first_state_stays_alive():
    P = {0: {0: [(1.0, 1, 1.0, True)]}, 1: {0: [(1.0, 0, 2.0, False)]}}
    mdp = from_gymnasium(own_table(P), 0.5, initial=[0.5, 0.5])
    assert mdp.terminal.tolist() == [False, False, True]
    assert solve(mdp).v == pytest.approx([1, 2.5, 0])


def test_ended_states_do_not_keep_each_other_alive():
    """1 and 2 are entered from outside by done alone; that 1's row would go on to 2 does not matter."""
    P = [[[(0.5, 1, 0, True), (0.5, 2, 0, True)]], [[(1.0, 2, 7.0, False)]], [[(1.0, 1, 7.0, False)]]]
    mdp = from_gymnasium(own_table(P, initial_state_distrib=np.eye(3)[0]), 0.5)
    assert mdp.terminal.tolist() == [False, True, True]
    assert not mdp.r.any()


def test_a_state_kept_alive_keeps_its_successors_alive():
    """3 is entered alive from 2 only, and 2 ends by done alone except from 1: all of 1, 2, 3 are passed through."""
    P = {
        0: {0: [(1.0, 1, 0, False)], 1: [(1.0, 2, 0, True)], 2: [(1.0, 3, 0, True)]},
        1: {0: [(1.0, 2, 0, False)]},
        2: {0: [(1.0, 3, 0, False)]},
        3: {0: [(1.0, 3, 1.0, False)]},
    }
    mdp = from_gymnasium(own_table(P, initial_state_distrib=np.eye(4)[0]), 0.5)
    assert mdp.terminal.tolist() == [False] * 4 + [True]
    assert solve(mdp).v[0] == pytest.approx(0.5**3 * 2)


def test_entries_of_probability_zero_are_no_transitions():
    P = {0: {0: [(1.0, 1, 1.0, True), (0.0, 1, 0.0, False)]}, 1: {0: [(1.0, 1, 0.0, False)]}}
    assert from_gymnasium(own_table(P), 0.5, initial=[1, 0]).terminal.tolist() == [False, True]


# --- FrozenLake ------------------------------------------------------------------------------------------------------


def lake_by_hand(rows, *, slippery):
    """FrozenLake's rules from its documentation, in rationals: transitions, rewards, available actions."""
    cells, height, width = "".join(rows), len(rows), len(rows[0])
    n, moves = height * width, [(0, -1), (1, 0), (0, 1), (-1, 0)]
    P, r = rationals(np.zeros((n, 4, n))), rationals(np.zeros((n, 4)))
    available = np.ones((n, 4), bool)
    for s, cell in enumerate(cells):
        if cell in "GH":
            available[s, 1:], P[s, 0, s] = False, 1
            continue
        for a in range(4):
            for turn in (-1, 0, 1) if slippery else (0,):
                down, right = moves[(a + turn) % 4]
                row, column = min(max(s // width + down, 0), height - 1), min(max(s % width + right, 0), width - 1)
                p = rationals([THIRD])[0] if slippery else 1
                P[s, a, row * width + column] += p
                r[s, a] += p * (cells[row * width + column] == "G")
    return P, r, available


@pytest.mark.parametrize("slippery", [True, False])
@pytest.mark.parametrize(
    "rows", [["SFFF", "FHFH", "FFFH", "HFFG"], ["SG"], ["SFH", "FFG"], ["SFFG", "HFFH"]], ids="/".join
)
def test_frozen_lake_against_exact_rationals(rows, slippery):
    """Policy iteration in rationals on the rules as documented; Gymnasium's thirds are rounded."""
    gamma = "9/10"
    P, r, available = lake_by_hand(rows, slippery=slippery)
    exact = solve_exactly(P, r, gamma, available)
    mdp = from_gymnasium("FrozenLake-v1", 0.9, desc=rows, is_slippery=slippery)
    assert (mdp.terminal == [cell in "GH" for cell in "".join(rows)]).all()
    assert (mdp.actions == available).all()
    solution = solve(mdp)
    thirds = 1e-14  # rows of rounded thirds, and gamma 0.9, over 1 - gamma
    assert abs(solution.v - exact.v.astype(float)).max() <= solution.error + thirds


def test_frozen_lake_golden_numbers():
    """Without slips six moves lead to the goal, and the last one pays: gamma ** 5."""
    assert solve(from_gymnasium("FrozenLake-v1", 0.99, is_slippery=False)).v[0] == pytest.approx(0.99**5, abs=1e-9)
    mdp = from_gymnasium("FrozenLake-v1", 0.99)
    assert (mdp.n_states, np.flatnonzero(mdp.terminal).tolist()) == (16, [5, 7, 11, 12, 15])
    assert mdp.initial.tolist() == np.eye(16)[0].tolist()


# --- peers on the larger tables --------------------------------------------------------------------------------------

TABLES = {
    "FrozenLake8x8": ("FrozenLake8x8-v1", {}),
    "CliffWalking": (latest("CliffWalking"), {}),
    "CliffWalkingSlippery": (latest("CliffWalking"), {"is_slippery": True}),
    "Taxi": (latest("Taxi"), {}),
    "TaxiRainy": (latest("Taxi"), {"is_rainy": True}),
}


def naive(name, kwargs):
    """A table as dense arrays in which every done leads to one extra state, without our reading of it; -inf for none.

    This is independent of the code under test: it makes no state terminal, only the extra one.
    """
    env = gymnasium.make(name, **kwargs).unwrapped
    n, A = len(env.P), len(env.P[0])
    P, r = np.zeros((n + 1, A, n + 1)), np.zeros((n + 1, A))
    P[n, :, n] = 1
    for s, rows in env.P.items():
        for a, outcomes in rows.items():
            for p, t, reward, done in outcomes:
                P[s, a, n if done else t] += p
                r[s, a] += p * reward
    return P, r, np.append(env.initial_state_distrib, 0)


@pytest.mark.parametrize(("name", "kwargs"), TABLES.values(), ids=TABLES)
def test_tables_against_peers(name, kwargs, quantecon):
    """QuantEcon's and pymdptoolbox's policy iteration on the naive reading agree on all states that one can be in."""
    gamma = 0.95
    P, r, initial = naive(name, kwargs)
    mdp = from_gymnasium(name, gamma, **kwargs)
    solution = solve(mdp, 1e-8)
    peers = [quantecon.markov.DiscreteDP(r, P, gamma).solve(method="policy_iteration").v]
    if mdp.n_states < 100:  # its evaluation is a dense solve a step
        theirs = mdptoolbox.mdp.PolicyIteration(P.transpose(1, 0, 2), r, gamma)
        theirs.run()
        peers.append(np.array(theirs.V))
    alive = np.flatnonzero(~mdp.terminal)
    for v in peers:
        assert abs(solution.v[alive] - v[alive]).max() <= solution.error + 1e-9 * (1 + abs(v).max())
    assert (mdp.initial == initial[: mdp.n_states]).all()


@pytest.mark.parametrize("gamma", [0.9, 0.99])
def test_cliff_walking_golden_number(gamma):
    """Thirteen moves of -1: -(1 - gamma^13) / (1 - gamma) at the start, 36; the goal, 47, is the end."""
    mdp = from_gymnasium(latest("CliffWalking"), gamma)
    solution = solve(mdp)
    assert abs(solution.v[36] + (1 - gamma**13) / (1 - gamma)) <= solution.error + 1e-12
    assert (mdp.n_states, np.flatnonzero(mdp.terminal).tolist()) == (48, [47])
    assert mdp.initial.tolist() == np.eye(48)[36].tolist()


def test_taxi_golden_numbers():
    """Undiscounted, Taxi is 20 for the drop, and -1 for each move and the pick-up.

    The number of moves is that of shortest paths through the walls of the map, by breadth-first search here.
    """
    mdp = episodic_from_gymnasium(latest("Taxi"))
    assert (mdp.horizon, mdp.n_states, mdp.n_actions, mdp.is_sparse) == (200, 501, 6, True)
    assert np.flatnonzero(mdp.terminal).tolist() == [500]
    v, places, distance = backward_induction(mdp).v[0], [(0, 0), (0, 4), (4, 0), (4, 3)], taxi_distances()
    for s in np.flatnonzero(mdp.initial):
        rest, destination = divmod(int(s), 4)
        rest, passenger = divmod(rest, 5)
        here, there, last = divmod(rest, 5), places[passenger], places[destination]
        assert v[s] == 20 - distance[here, there] - 1 - distance[there, last]


def taxi_distances():
    """Steps between the cells of Taxi's map: walls right of (0,1), (1,1), (3,0), (4,0), (3,2), (4,2)."""
    walls = {(0, 1), (1, 1), (3, 0), (4, 0), (3, 2), (4, 2)}
    cells = [(row, column) for row in range(5) for column in range(5)]
    steps = {(x, x): 0 for x in cells}
    edges = [((i, j), (i + 1, j)) for i, j in cells if i < 4]
    edges += [((i, j), (i, j + 1)) for i, j in cells if j < 4 and (i, j) not in walls]
    while len(steps) < 625:
        for (x, y), k in list(steps.items()):
            for a, b in edges:
                for here, there in ((a, b), (b, a)):
                    if y == here:
                        steps.setdefault((x, there), k + 1)
    return steps


def test_taxi_whose_passengers_change_their_mind_is_refused():
    with pytest.raises(ValueError, match="fickle_passenger=True: Taxi then changes destinations outside its"):
        from_gymnasium(latest("Taxi"), 0.9, fickle_passenger=True)


# --- Blackjack -------------------------------------------------------------------------------------------------------

CARDS = [(card, (4 if card == 10 else 1) / 13) for card in range(1, 11)]
RULES = [{"sab": True, "natural": False}, {"sab": False, "natural": False}, {"sab": False, "natural": True}]


@cache
def dealer_law(hand):
    """Law of the dealer's (score, natural), by Gymnasium's own functions on whole hands."""
    if game.sum_hand(hand) >= 17:
        return {(game.score(hand), game.is_natural(hand)): 1.0}
    law = {}
    for card, p in CARDS:
        for outcome, q in dealer_law((*hand, card)).items():
            law[outcome] = law.get(outcome, 0) + p * q
    return law


@cache
def stick_value(player, dealt, dealer, sab, natural):
    """Expected reward of sticking with the score `player`, `dealt` telling a natural, as in Gymnasium's `step`."""
    value = 0.0
    for card, p in CARDS:
        for (score, dealers), q in dealer_law((dealer, card)).items():
            reward = game.cmp(player, score)
            if sab and dealt and not dealers:
                reward = 1.0
            elif not sab and natural and dealt and reward == 1.0:
                reward = 1.5
            value += p * q * reward
    return value


@cache
def hand_value(hand, dealer, sab, natural):
    """Best expected reward with whole hands, by Gymnasium's own functions."""
    if game.is_bust(hand):
        return -1.0
    stick = stick_value(game.score(hand), game.is_natural(hand), dealer, sab, natural)
    return max(stick, sum(p * hand_value(tuple(sorted((*hand, card))), dealer, sab, natural) for card, p in CARDS))


@pytest.mark.parametrize(
    ("rules", "known"), list(zip(RULES, [-0.0431131054, -0.0465559771, -0.0257291828], strict=True)), ids=str
)
def test_blackjack_value(rules, known):
    """The table's optimum is that of a recursion over whole hands, whose values are the golden numbers."""
    whole = sum(
        p * q * d * hand_value(tuple(sorted((x, y))), dealer, **rules)
        for x, p in CARDS
        for y, q in CARDS
        for dealer, d in CARDS
    )
    mdp = episodic_from_gymnasium("Blackjack-v1", 22, **rules)  # a hand holds at most 21 cards
    assert mdp.initial @ backward_induction(mdp).v[0] == pytest.approx(whole, abs=1e-12)
    assert whole == pytest.approx(known, abs=1e-10)


def test_blackjack_states():
    mdp = from_gymnasium("Blackjack-v1", 0.9)
    assert mdp.n_states == 32 * 11 * 2 + 11 + 1
    assert mdp.initial.sum() == pytest.approx(1, abs=1e-15)
    natural, soft = blackjack_state((21, 10, 1), natural=True), blackjack_state((21, 10, 1))
    assert soft == (21 * 11 + 10) * 2 + 1
    assert mdp.initial[natural] == pytest.approx(2 * 4 / 13**2 * 4 / 13)
    assert mdp.initial[soft] == 0
    assert mdp.r[natural, 0] == pytest.approx(1 - 1 / 13)  # draws only against an ace below the ten
    assert mdp.r[soft, 0] < mdp.r[natural, 0]
    assert mdp.terminal[blackjack_state((25, 3, 0))]


# --- simulation ------------------------------------------------------------------------------------------------------


def simulate(env, policy, episodes, gamma, state=lambda observation, step: observation):
    """Discounted returns of `policy` in the real environment, its time limit removed."""
    returns = np.zeros(episodes)
    for k in range(episodes):
        observation, _ = env.reset(seed=0 if k == 0 else None)
        done, step = False, 0
        while not done and gamma**step > 1e-12:
            observation, reward, done, _, _ = env.step(int(policy[state(observation, step)]))
            returns[k] += gamma**step * reward
            step += 1
    return returns


def hoeffding(episodes, width, delta=1e-6):
    """Deviation of a mean of `episodes` numbers in an interval of `width` that chance exceeds with `delta` at most."""
    return width * sqrt(log(2 / delta) / (2 * episodes))


@pytest.mark.parametrize(("gamma", "episodes"), [(0.95, 3000)])
def test_frozen_lake_simulated(gamma, episodes):
    """Returns lie in [0, 1]; the radius is Hoeffding's at 1e-6, 0.05."""
    mdp = from_gymnasium("FrozenLake-v1", gamma)
    solution = solve(mdp)
    with gymnasium.make("FrozenLake-v1") as env:
        mean = simulate(env.unwrapped, solution.policy, episodes, gamma).mean()
    assert abs(mean - solution.v[0]) <= hoeffding(episodes, 1)


def test_slippery_cliff_simulated():
    """At gamma = 0.8 returns lie in [-500, 0]; the mean of 3000 is within Hoeffding's 25 at 1e-6."""
    mdp = from_gymnasium(latest("CliffWalking"), 0.8, is_slippery=True)
    solution = solve(mdp)
    with gymnasium.make(latest("CliffWalking"), is_slippery=True) as env:
        mean = simulate(env.unwrapped, solution.policy, 3000, 0.8).mean()
    assert abs(mean - solution.v[36]) <= hoeffding(3000, 500)


def test_taxi_simulated():
    """Taxi's law of first states by simulation, and the return of each is the value exactly: nothing else is random."""
    mdp = from_gymnasium(latest("Taxi"), 0.99)
    solution = solve(mdp)
    with gymnasium.make(latest("Taxi")) as env:
        firsts, taxi = [], env.unwrapped
        for k in range(300):
            first, _ = taxi.reset(seed=k)
            firsts.append(first)
            total, done, step, s = 0.0, False, 0, first
            while not done:
                s, reward, done, _, _ = taxi.step(int(solution.policy[s]))
                total, step = total + 0.99**step * reward, step + 1
            assert abs(total - solution.v[first]) <= 3 * solution.error + 1e-10
    assert (mdp.initial[firsts] > 0).all()


def test_blackjack_simulated():
    """Rewards lie in [-1, 1]; the mean of 20000 hands is within Hoeffding's 0.039 at 1e-6."""
    mdp = episodic_from_gymnasium("Blackjack-v1", 22)
    solution = backward_induction(mdp)

    def state(observation, step):
        return blackjack_state(observation, natural=step == 0 and observation[0] == 21)

    with gymnasium.make("Blackjack-v1") as env:
        mean = simulate(env.unwrapped, solution.policy[0], 20_000, 1, state).mean()
    assert abs(mean - mdp.initial @ solution.v[0]) <= hoeffding(20_000, 2)


# --- horizons and criteria -------------------------------------------------------------------------------------------


def test_time_limits():
    assert episodic_from_gymnasium("FrozenLake-v1").horizon == 100
    assert episodic_from_gymnasium("FrozenLake8x8-v1").horizon == 200
    assert episodic_from_gymnasium("FrozenLake-v1", 7).horizon == 7
    with gymnasium.make("FrozenLake-v1", max_episode_steps=9) as env:
        assert episodic_from_gymnasium(env).horizon == 9
    with pytest.raises(ValueError, match="horizon must be given: the environment has no time limit"):
        episodic_from_gymnasium("Blackjack-v1")


def test_time_limit_by_hand():
    """Six moves are needed without slips: worthless with a limit of five, 1 with six."""
    for horizon, value in ((5, 0), (6, 1)):
        lake = episodic_from_gymnasium("FrozenLake-v1", horizon, is_slippery=False)
        assert backward_induction(lake).v[0, 0] == value


@given(tabular_mdps(masked=True, terminal=True), st.integers(1, 5))
def test_criteria_change_nothing_else(mdp, horizon):
    limited, endless, again = time_limited(mdp, horizon), long_run(mdp), discounted(time_limited(mdp, horizon), 0.25)
    assert (limited.horizon, again.gamma) == (horizon, 0.25)
    for other in (limited, endless, again):
        assert (other.r == mdp.r).all()
        assert (other.actions == mdp.actions).all()
        assert (other.terminal == mdp.terminal).all()
        assert (other.initial == mdp.initial).all()
        assert (other.P != mdp.P).sum() == 0
        assert other.is_sparse == mdp.is_sparse


def test_time_limited_is_the_truncated_sum():
    """A policy's value within H steps is the sum of H expected rewards."""
    mdp = from_gymnasium("FrozenLake-v1", 0.9)
    pi = np.zeros(16, np.int64)
    P, r = mdp.under(pi)
    total = sum(np.linalg.matrix_power(P, k) @ r for k in range(10))
    np.testing.assert_allclose(episodic_policy_value(time_limited(mdp, 10), pi).v[0], total, rtol=0, atol=1e-14)


# --- ways to call from_gymnasium -------------------------------------------------------------------------------------


def test_environment_or_id_dense_or_sparse():
    with gymnasium.make("FrozenLake-v1", is_slippery=False) as env:
        by_env = from_gymnasium(env, 0.9)
    by_id = from_gymnasium("FrozenLake-v1", 0.9, is_slippery=False, sparse=True)
    assert (by_id.is_sparse, by_env.is_sparse) == (True, False)
    assert (by_id.P.toarray().reshape(by_env.P.shape) == by_env.P).all()
    assert not from_gymnasium(latest("Taxi"), 0.9, sparse=False).is_sparse


def test_first_state_from_reset():
    P = {0: {0: [(1.0, 1, 1.0, True)]}, 1: {0: [(1.0, 1, 0, True)]}}
    env = own_table(P, reset=lambda seed=None: (0, {}))
    assert from_gymnasium(env, 0.9).initial.tolist() == [1, 0]
    wavering = own_table(P, reset=lambda seed=None: (seed % 2, {}))
    with pytest.raises(ValueError, match=r"initial must be given: the environment resets to several states, \[0, 1\]"):
        from_gymnasium(wavering, 0.9)
    assert from_gymnasium(wavering, 0.9, initial=[0.5, 0.5]).initial.tolist() == [0.5, 0.5, 0]  # and the end


LOOP = {0: {0: [(1.0, 0, 0.0, False)]}}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: from_gymnasium("CartPole-v1", 0.9), ValueError, "CartPoleEnv has no transition table P, and only"),
        (
            lambda: from_gymnasium(SimpleNamespace(P=LOOP), 0.9),
            TypeError,
            "must be an environment or an id, got Simple",
        ),
        (lambda: from_gymnasium(own_table(LOOP), 0.9, desc=["SG"]), ValueError, "desc: options go with an id"),
        (lambda: from_gymnasium(own_table(LOOP), 1.0, initial=[1]), ValueError, r"gamma must lie in \[0, 1\), got 1.0"),
        (lambda: from_gymnasium(own_table({}), 0.9, initial=[]), ValueError, "P has no transitions"),
        (lambda: from_gymnasium(own_table({1: LOOP[0]}), 0.9, initial=[1]), ValueError, r"1 states but no P\[0\]"),
        (
            lambda: from_gymnasium(own_table({0: {0: [(1.0, 3, 0.0, False)]}}), 0.9, initial=[1]),
            ValueError,
            r"P\[0\]\[0\] leads to state 3; states are 0\.\.0",
        ),
        (
            lambda: from_gymnasium(own_table({0: {0: [(0.5, 0, 0.0, False)]}}), 0.9, initial=[1]),
            ValueError,
            r"P\[0, 0\] sums to 0.5, not to 1",
        ),
        (lambda: from_gymnasium(own_table(LOOP), 0.9, initial=[1, 0]), ValueError, r"initial must have shape \(n,\)"),
        (lambda: episodic_from_gymnasium("FrozenLake-v1", 0), ValueError, "horizon must be at least 1, got 0"),
    ],
)
def test_bad_calls_of_from_gymnasium(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_policies_carry_over():
    """A policy of the table is a policy of the MDP: same numbers for states and actions."""
    mdp = from_gymnasium(latest("CliffWalking"), 0.5)
    up = policy_value(mdp, np.zeros(48, np.int64)).v
    assert up[36] == pytest.approx(-2)  # bumping into the top for ever: -1 / (1 - 0.5)
    assert isinstance(mdp, TabularMDP)
