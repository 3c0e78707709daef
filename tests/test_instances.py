"""Instances against their closed forms, their sources' numbers, and each other."""

from collections import Counter
from itertools import combinations, product
from math import comb, log, sqrt

import numpy as np
import pytest
from gymnasium.envs.registration import find_highest_version
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from claimlab.mdps import (
    TokenTree,
    action_values,
    average_river_swim,
    backward_induction,
    chain,
    cliff_walking,
    combination_lock,
    corridor,
    deep_sea,
    episodic_policy_value,
    episodic_river_swim,
    from_gymnasium,
    garnet,
    gridworld,
    inverse_bellman,
    jao,
    relative_value_iteration,
    river_swim,
    solve,
    token_tree,
    two_states,
    with_optimal_values,
)
from claimlab.theory.strategies import rewards, tabular_mdps, tied_mdps

EPS = np.finfo(float).eps
GAMMAS = [0.0, 0.5, 0.9, 0.99]
OSBAND = {"up": 0.35, "down": 0.05, "first": 0.6, "last": 0.6, "small": 0.005}


def close(solution, v):
    """Whether a certified solution agrees with a closed form that is right to a few roundings."""
    return abs(solution.v - v).max() <= solution.error + 100 * EPS * (1 + abs(np.asarray(v)).max())


def latest(name):
    """The newest version of an environment; Gymnasium refuses the older ones."""
    return f"{name}-v{find_highest_version(None, name)}"


def uniform(mdp):
    return mdp.actions / mdp.actions.sum(axis=1, keepdims=True)


def from_start(mdp):
    return float(mdp.initial @ backward_induction(mdp).v[0])


# --- rivers, chains, locks -------------------------------------------------------------------------------------------


def test_river_swim_rows():
    """The arrows of Strehl & Littman (2008), Figure 5."""
    mdp = river_swim(6, 0.95)
    against = {0: {0: 0.7, 1: 0.3}, 5: {4: 0.7, 5: 0.3}} | {s: {s - 1: 0.1, s: 0.6, s + 1: 0.3} for s in range(1, 5)}
    for s in range(6):
        assert np.flatnonzero(mdp.row(s, 0)).tolist() == [max(s - 1, 0)]
        np.testing.assert_allclose(mdp.row(s, 1), [against[s].get(t, 0) for t in range(6)], rtol=0, atol=EPS)
    assert {(s, a): mdp.r[s, a] for s, a in np.argwhere(mdp.r)} == {(0, 0): 5 / 10_000, (5, 1): 1}
    assert mdp.initial.tolist() == [0, 0.5, 0.5, 0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "gain"),
    [
        ({"n": 6}, 243 / 1090),  # by hand: mu is proportional to 1, 3, 9, 27, 81, 243/7
        ({"n": 3}, 9 / 37),  # 1, 3, 9/7
        ({"n": 6, "small": 0.3}, 0.3),
        # 1, 12, 84, 588, 4116, then 4116 * 0.35 / 0.4 = 3601.5
        ({"n": 6, **OSBAND}, 3601.5 / (1 + 12 + 84 + 588 + 4116 + 3601.5)),
    ],
)
def test_river_swim_gain(arguments, gain):
    solution = relative_value_iteration(average_river_swim(**arguments), 1e-10)
    assert abs(solution.gain - gain) <= solution.error + 1e-15


def test_rivers_are_one():
    rivers = river_swim(5, 0.9, **OSBAND), average_river_swim(5, **OSBAND), episodic_river_swim(5, 7, **OSBAND)
    assert all((river.P == rivers[0].P).all() and (river.r == rivers[0].r).all() for river in rivers)
    assert rivers[2].horizon == 7


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize(("n", "small"), [(1, 2.0), (2, 9.0), (5, 2.0), (5, 0.0)])
def test_chain_without_slips(n, small, gamma):
    large, s = 10.0, np.arange(n)
    v0 = max(gamma ** (n - 1) * large, small) / (1 - gamma)
    v = np.maximum(gamma ** (n - 1.0 - s) * large / (1 - gamma), small + gamma * v0)
    assert close(solve(chain(n, gamma, slip=0, small=small)), v)


def test_chain_with_slips():
    """Strens (2000): with 0.2 the other action's effect, so action 1 pays 0.8 * 2, and 0.2 * 10 more at the end."""
    mdp = chain(5, 0.9)
    np.testing.assert_allclose(mdp.row(2, 0), [0.2, 0, 0, 0.8, 0], rtol=0, atol=EPS)
    np.testing.assert_allclose(mdp.row(4, 1), [0.8, 0, 0, 0, 0.2], rtol=0, atol=EPS)
    np.testing.assert_allclose(mdp.r, [[0.4, 1.6]] * 4 + [[8.4, 3.6]], rtol=0, atol=10 * EPS)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("n", [2, 3, 10])
def test_corridor(n, gamma):
    assert close(solve(corridor(n, gamma, reward=3)), [*(3 * gamma ** np.arange(n - 2.0, -1, -1)), 0])


@pytest.mark.parametrize("gamma", [*GAMMAS, 10 / 11])
def test_two_states(gamma):
    """Puterman (2005), Section 3.1; the better action in state 0 changes at 10/11."""
    solution = solve(two_states(gamma))
    wait = (5 - 5.5 * gamma) / ((1 - gamma / 2) * (1 - gamma))
    assert close(solution, [max(wait, 10 - gamma / (1 - gamma)), -1 / (1 - gamma)])
    if gamma != 10 / 11:
        assert solution.policy[0] == (gamma < 10 / 11)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("n", "A", "slip"), [(1, 1, 0.0), (4, 3, 0.0), (5, 2, 0.1), (3, 2, 1.0)])
def test_combination_lock(n, A, slip, reset):
    lock = combination_lock(n, A, slip=slip, reset=reset, rng=np.random.default_rng(n))
    assert from_start(lock) == pytest.approx((1 - slip) ** n, rel=10 * n * EPS)
    assert episodic_policy_value(lock, uniform(lock)).v[0, 0] == pytest.approx(((1 - slip) / A) ** n, rel=10 * n * EPS)


def test_lock_without_generator_opens_with_zeros():
    lock = combination_lock(3, 4)
    assert [lock.row(s, 0)[s + 1] for s in range(3)] == [1, 1, 1]
    assert lock.row(1, 3)[3] == 1
    assert combination_lock(3, 4, reset=True).row(1, 3)[0] == 1
    codes = {tuple(combination_lock(6, 4, rng=np.random.default_rng(k)).P.argmax(axis=1)[:, 1]) for k in range(5)}
    assert len(codes) > 1


# --- DeepSea ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("n", "slip", "cost"), [(1, 0.0, 0.01), (2, 0.0, 2.0), (5, 0.0, 0.01), (6, 1 / 6, 0.01), (6, 0.5, 0.3)]
)
def test_deep_sea(n, slip, cost, sparse):
    """Osband et al. (2019): the optimum dives right throughout, or left where that costs more than the chest."""
    mdp = deep_sea(n, slip=slip, cost=cost, rng=np.random.default_rng(n), sparse=sparse)
    right = (1 - slip) ** (n - 1) - cost / n * sum((1 - slip) ** k for k in range(n))
    assert mdp.is_sparse == sparse
    assert from_start(mdp) == pytest.approx(max(0, right), abs=100 * EPS)
    if slip == 0:
        chance = episodic_policy_value(mdp, uniform(mdp)).v[0, 0]
        assert chance == pytest.approx(2.0**-n - cost / 2, abs=100 * EPS)


def test_deep_sea_generator_hides_the_direction():
    plain, hidden = deep_sea(5), deep_sea(5, rng=np.random.default_rng(0))
    turned = (plain.r[:25] != hidden.r[:25]).any(axis=1)
    assert 0 < turned.sum() < 25
    for s in range(25):
        order = [1, 0] if turned[s] else [0, 1]
        assert (plain.P[s][order] == hidden.P[s]).all()
        assert (plain.r[s][order] == hidden.r[s]).all()


# --- JAO and Garnet --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("A", "delta", "epsilon", "best"), [(1, 0.1, 0.05, 0), (4, 0.05, 0.02, 3), (2, 0.3, 0.0, 1)])
def test_jao(A, delta, epsilon, best):
    """Jaksch, Ortner & Auer (2010): gain and span by hand, from the two equations of a two-state chain."""
    mdp = jao(A, delta, epsilon, best=best)
    solution = relative_value_iteration(mdp, 1e-10)
    assert abs(solution.gain - (delta + epsilon) / (2 * delta + epsilon)) <= solution.error + 10 * EPS
    gain, bias = (delta + epsilon) / (2 * delta + epsilon), np.array([0, 1 / (2 * delta + epsilon)])
    q = mdp.r + mdp.expect(bias) - gain
    np.testing.assert_allclose(q.max(axis=1), bias, rtol=0, atol=1e-13)
    if epsilon:
        assert np.argmax(q[0]) == best


@pytest.mark.parametrize(("S", "A", "b"), [(7, 3, 1), (7, 3, 3), (5, 2, 5), (1, 1, 1)])
def test_garnet_rows(S, A, b):
    dense = garnet(S, A, b, 0.9, np.random.default_rng(1))
    csr = garnet(S, A, b, 0.9, np.random.default_rng(1), sparse=True)
    assert (csr.P.toarray().reshape(S, A, S) == dense.P).all()
    assert (csr.r == dense.r).all()
    assert ((dense.P > 0).sum(axis=2) == b).all()
    assert np.diff(csr.P.indptr).tolist() == [b] * (S * A)
    assert (garnet(S, A, b, 0.9, np.random.default_rng(2)).r != dense.r).any()


def test_garnet_law():
    """All sets of successors are equally likely, and for two successors the first share is uniform on [0, 1].

    Hoeffding: the chance of any of the statements below failing is at most 1e-9 (and the seed is fixed).
    """
    S, b, rows = 4, 2, 40_000
    mdp = garnet(S * rows // S, 1, b, 0.9, np.random.default_rng(3), sparse=True)
    sets = Counter(map(tuple, garnet_subsets(rows, S, b)))
    radius = sqrt(log(2 * 100 / 1e-9) / (2 * rows))
    assert set(sets) == set(combinations(range(S), b))
    assert max(abs(count / rows - 1 / comb(S, b)) for count in sets.values()) <= radius
    share = mdp.P.data.reshape(-1, 2)[:, 0]
    for x in (0.1, 0.25, 0.5, 0.9):
        assert abs((share <= x).mean() - x) <= radius


def garnet_subsets(rows, S, b):
    """The successor sets of many small Garnets' pairs: S states with rows / S actions each."""
    mdp = garnet(S, rows // S, b, 0.9, np.random.default_rng(4), sparse=True)
    return mdp.P.indices.reshape(-1, b).tolist()


def test_large_garnet():
    mdp = garnet(100_000, 4, 8, 0.99, np.random.default_rng(0), sparse=True)
    assert mdp.P.nnz == 100_000 * 4 * 8


# --- gridworlds ------------------------------------------------------------------------------------------------------


def test_gridworld_by_hand():
    """Around the wall it takes three steps to the goal; entering the pit is never better."""
    mdp = gridworld([".G", "#.", "SP"], 0.5, step=-1, goal=8, pit=-5)
    assert mdp.initial.tolist() == [0, 0, 0, 0, 1, 0]
    assert mdp.terminal.tolist() == [False, True, True, False, False, True]
    assert close(solve(mdp), [8, 0, 0, 8, -2, 0])  # walled in: -1 for ever, or -5 once
    assert mdp.r[3].tolist() == [8, -1, -5, -1]


def test_gridworld_slips():
    """From the middle: ahead with 0.8, to each side with 0.1; against a wall or the edge one stays."""
    mdp = gridworld(["...", ".S.", "#.."], 0.9, slip=0.2)
    np.testing.assert_allclose(mdp.row(4, 0), [0, 0.8, 0, 0.1, 0, 0.1, 0, 0, 0], rtol=0, atol=EPS)
    np.testing.assert_allclose(mdp.row(0, 0), [0.9, 0.1, 0, 0, 0, 0, 0, 0, 0], rtol=0, atol=EPS)
    np.testing.assert_allclose(mdp.row(7, 3), [0, 0, 0, 0, 0.1, 0, 0, 0.9, 0], rtol=0, atol=EPS)


def test_gridworld_cliff_leads_to_the_starts():
    mdp = gridworld(["SCS"], 0.9, cliff=-7)
    assert mdp.row(0, 1).tolist() == [0.5, 0, 0.5]
    assert mdp.r[0].tolist() == [0, -7, 0, 0]
    assert gridworld(["..G"], 0.9).initial.tolist() == [0.5, 0.5, 0]


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(("height", "width"), [(4, 12), (2, 3), (3, 5)])
def test_cliff_walking(height, width, gamma):
    """Sutton & Barto (2018), Example 6.6: up, along the brink, down; width + 1 moves."""
    solution = solve(cliff_walking(gamma, height=height, width=width))
    assert abs(solution.v[(height - 1) * width] + sum(gamma**k for k in range(width + 1))) <= solution.error + 1e-12


@pytest.mark.parametrize("slip", [0, 2 / 3])
def test_cliff_walking_is_gymnasiums(slip):
    """On every cell that one can stand on; Gymnasium also lets one stand on the cliff."""
    ours, theirs = cliff_walking(0.9, slip=slip), from_gymnasium(latest("CliffWalking"), 0.9, is_slippery=slip > 0)
    stand = ~ours.terminal
    np.testing.assert_allclose(ours.P[stand], theirs.P[stand], rtol=0, atol=1e-15)
    np.testing.assert_allclose(ours.r[stand], theirs.r[stand], rtol=0, atol=1e-13)
    assert (ours.initial == theirs.initial).all()


@pytest.mark.parametrize("slip", [0, 2 / 3])
def test_gridworld_is_frozen_lake(slip):
    """Gymnasium's 4x4 map, whose actions go left, down, right, up."""
    lake = from_gymnasium("FrozenLake-v1", 0.9, is_slippery=slip > 0)
    rows = ["S...", ".P.P", "...P", "P..G"]
    ours, order = gridworld(rows, 0.9, slip=slip, pit=0), [3, 2, 1, 0]
    stand = ~lake.terminal
    assert (ours.terminal == lake.terminal).all()
    np.testing.assert_allclose(ours.P[stand][:, order], lake.P[stand], rtol=0, atol=1e-15)
    np.testing.assert_allclose(ours.r[stand][:, order], lake.r[stand], rtol=0, atol=1e-15)


# --- token trees -----------------------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(1, 4), st.data())
def test_token_tree_numbering(V, D, data):
    """States are numbered by length and then in order, and each move appends its token."""
    tree = TokenTree(V, D)
    prefixes = [sequence for length in range(D) for sequence in product(range(V), repeat=length)]
    assert tree.end == len(prefixes) == tree.n_states - 1
    assert [tree.state(sequence) for sequence in prefixes] == list(range(tree.end))
    assert [tree.sequence(s) for s in range(tree.end)] == prefixes
    assert [tuple(leaf) for leaf in tree.leaves.tolist()] == list(product(range(V), repeat=D))
    assert [tree.leaf(leaf) for leaf in tree.leaves.tolist()] == list(range(tree.n_leaves))

    mdp = token_tree(V, D, np.zeros(tree.n_leaves), sparse=data.draw(st.booleans()))
    prefix, token = data.draw(st.sampled_from(prefixes)), data.draw(st.integers(0, V - 1))
    successor = tree.state((*prefix, token)) if len(prefix) < D - 1 else tree.end
    assert mdp.row(tree.state(prefix), token)[successor] == 1


@given(st.integers(1, 3), st.integers(1, 4), st.data())
def test_token_tree_values(V, D, data):
    """With the steps left, a prefix is worth the best leaf below it."""
    tree = TokenTree(V, D)
    reward = data.draw(rewards(tree.n_leaves))
    mdp = token_tree(V, D, reward)
    v = backward_induction(mdp).v
    for s in range(tree.end):
        prefix = tree.sequence(s)
        below = [reward[tree.leaf(leaf)] for leaf in product(range(V), repeat=D) if leaf[: len(prefix)] == prefix]
        assert v[len(prefix), s] == max(below)
    assert v[0, 0] == reward.max()


def test_token_tree_rewards_come_in_three_forms():
    flat = np.arange(8.0)
    mdps = [token_tree(2, 3, form) for form in (flat, flat.reshape(2, 2, 2), lambda x: x @ [4, 2, 1])]
    assert all((mdp.r == mdps[0].r).all() for mdp in mdps)
    assert mdps[0].r[3:7].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert not mdps[0].r[[0, 1, 2, 7]].any()


def test_large_token_tree():
    mdp = token_tree(4, 6, lambda x: (x == 3).mean(axis=1))
    assert (mdp.n_states, mdp.horizon, mdp.is_sparse) == (1366, 6, True)  # 1 + 4 + ... + 4**5, and the end
    assert backward_induction(mdp).v[0, 0] == 1


# --- rewards made to measure -----------------------------------------------------------------------------------------


@given(st.data())
def test_inverse_bellman(data):
    """Solving gives q back, within the certificate and the rounding of r, which the horizon 1/(1-gamma) multiplies."""
    mdp = data.draw(tabular_mdps(masked=True))
    q = data.draw(rewards(mdp.r.shape, scale=10))
    with_q = with_optimal_values(mdp.P, q, mdp.gamma, mdp.actions)
    found, error = action_values(with_q)
    rounding = (mdp.row_length + 4) * EPS * 20 / (1 - mdp.gamma)
    rows = mdp.row_error * 10 / (1 - mdp.gamma)  # q is exact for the stored rows, whatever their sums; certificates err
    assert abs(found - q)[mdp.actions].max() <= error + rounding + rows
    assert (found[~mdp.actions] == -np.inf).all()
    assert (with_q.actions == mdp.actions).all()


@given(tied_mdps(masked=True))
def test_inverse_bellman_is_exact_without_rounding(pair):
    """Dyadic P, integer q: r comes out to the bit, and missing actions (q = -inf) are not read."""
    mdp, q = pair
    np.testing.assert_array_equal(inverse_bellman(mdp.P, q, mdp.gamma, mdp.actions), mdp.r * mdp.actions)


# --- bad parameters --------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
P1 = np.ones((1, 2, 1))
BAD = [
    (lambda: river_swim(2, 0.9), "n must be at least 3, got 2"),
    (lambda: river_swim(6, 1.0), r"gamma must lie in \[0, 1\), got 1.0"),
    (lambda: river_swim(6, 0.9, up=0.7, down=0.4), r"up \+ down must be at most 1, got 0.7 \+ 0.4"),
    (lambda: river_swim(6, 0.9, first=1.5), r"first must lie in \[0, 1\], got 1.5"),
    (lambda: average_river_swim(6, last=-0.1), r"last must lie in \[0, 1\], got -0.1"),
    (lambda: average_river_swim(6, large=np.inf), r"r\[5, 1\] is inf"),
    (lambda: episodic_river_swim(6, 0), "horizon must be at least 1, got 0"),
    (lambda: chain(0, 0.9), "n must be at least 1, got 0"),
    (lambda: chain(5, 0.9, slip=-1), r"slip must lie in \[0, 1\], got -1"),
    (lambda: corridor(1, 0.9), "n must be at least 2, got 1"),
    (lambda: corridor(2.5, 0.9), "n must be a whole number, got 2.5"),
    (lambda: two_states(-0.5), r"gamma must lie in \[0, 1\), got -0.5"),
    (lambda: combination_lock(0), "n must be at least 1, got 0"),
    (lambda: combination_lock(3, 0), "n_actions must be at least 1, got 0"),
    (lambda: combination_lock(3, slip=2), r"slip must lie in \[0, 1\], got 2"),
    (lambda: deep_sea(0), "n must be at least 1, got 0"),
    (lambda: deep_sea(3, slip=np.nan), r"slip must lie in \[0, 1\], got nan"),
    (lambda: deep_sea(3, cost=-1), r"cost must lie in \[0, inf\), got -1"),
    (lambda: jao(0, 0.1, 0.1), "n_actions must be at least 1, got 0"),
    (lambda: jao(2, 0, 0.1), r"delta must lie in \(0, 1\], got 0"),
    (lambda: jao(2, 0.6, 0.5), r"epsilon must lie in \[0, 0.4\], got 0.5"),
    (lambda: jao(2, 0.1, 0.1, best=2), r"best must be in 0\.\.1, got 2"),
    (lambda: garnet(0, 1, 1, 0.9, RNG), "n_states must be at least 1, got 0"),
    (lambda: garnet(3, 1, 4, 0.9, RNG), r"branching must be in 1\.\.3, got 4"),
    (lambda: garnet(3, 1, 0, 0.9, RNG), r"branching must be in 1\.\.3, got 0"),
    (lambda: garnet(3, 1, 1, 1, RNG), r"gamma must lie in \[0, 1\), got 1"),
    (lambda: gridworld([], 0.9), r"rows must be a non-empty list of non-empty strings, got \[\]"),
    (lambda: gridworld("S.G", 0.9), "rows must be a non-empty list of non-empty strings, got 'S.G'"),
    (lambda: gridworld([""], 0.9), r"rows must be a non-empty list of non-empty strings, got \[''\]"),
    (lambda: gridworld(["S.", "G"], 0.9), r"rows\[1\] has 1 cells, rows\[0\] has 2"),
    (lambda: gridworld(["S.", ".x"], 0.9), r"rows\[1\]\[1\] is 'x'; a cell is one of \., S, #, G, P, C"),
    (lambda: gridworld(["#G"], 0.9), "rows has no floor"),
    (lambda: gridworld(["S"], 0.9, slip=1.1), r"slip must lie in \[0, 1\], got 1.1"),
    (lambda: cliff_walking(0.9, width=2), "width must be at least 3, got 2"),
    (lambda: cliff_walking(0.9, height=1), "height must be at least 2, got 1"),
    (lambda: TokenTree(0, 2), "vocabulary must be at least 1, got 0"),
    (lambda: TokenTree(2, 0), "depth must be at least 1, got 0"),
    (lambda: TokenTree(2, 2).state([0, 1]), "sequence has 2 tokens; a state has fewer than depth = 2"),
    (lambda: TokenTree(2, 2).state([2]), r"sequence\[0\] must be in 0\.\.1, got 2"),
    (lambda: TokenTree(2, 2).leaf([1]), "sequence has 1 tokens; a leaf has depth = 2"),
    (lambda: TokenTree(2, 2).sequence(3), r"state must be in 0\.\.2, got 3"),
    (lambda: token_tree(2, 2, np.zeros(3)), r"reward must have shape \(V\*\*D,\) = \(4,\) or .*got \(3,\)"),
    (lambda: token_tree(2, 2, lambda x: x), r"a function of all leaves, int\[4, 2\], with such a result; got \(4, 2\)"),
    (lambda: token_tree(2, 2, [0, 1, np.nan, 0]), r"reward\[2\] is nan"),
    (lambda: inverse_bellman(P1, [1, 2], 0.9), r"q must have shape \(S, A\), got \(2,\)"),
    (lambda: inverse_bellman(P1, [[1, np.nan]], 0.9), r"q\[0, 1\] is nan"),
    (lambda: inverse_bellman(P1, [[1, 2, 3]], 0.9), r"P must have shape \(1, 3, 1\) for q of shape \(1, 3\), got"),
    (
        lambda: inverse_bellman(csr_array(P1[0]), [[1, 2, 3]], 0.9),
        r"P must have shape \(3, 1\) for q of shape \(1, 3\)",
    ),
    (lambda: inverse_bellman(P1, [[1, 2]], 1), r"gamma must lie in \[0, 1\), got 1"),
    (lambda: inverse_bellman(P1, [[1, 2]], 0.9, [[0, 0]]), r"actions\[0\] is empty"),
    (lambda: with_optimal_values(0.5 * P1, [[1, 2]], 0.9), r"P\[0, 0\] sums to 0.5, not to 1"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_parameters(call, message):
    with pytest.raises(ValueError, match=message):
        call()
