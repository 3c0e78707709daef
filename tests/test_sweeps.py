"""The workspace of the iterative solvers, in every layout, against plain NumPy on the same numbers."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from claimlab.mdps import (
    TabularMDP,
    backward_induction,
    garnet,
    gridworld,
    kernels,
    krylov_policy_iteration,
    policy_iteration,
    river_swim,
    solve,
)
from claimlab.mdps import sweeps as module
from claimlab.mdps.planning import improve
from claimlab.mdps.sweeps import Sweeps
from claimlab.mdps.tabular import EpisodicMDP, rounding
from claimlab.mdps.unions import union_rows

from .oracles import CLOSE_TO_ONE, hard_mdps

RIVER = river_swim(400, 0.5)
LAYOUTS = ["union", "short rows", "long rows", "longest rows", "dense"]
SUCCESSORS = {"short rows": 4, "long rows": 20, "longest rows": 80}


def random_mdp(layout, seed, gamma=0.9):
    """Rows of a layout's own kind: neighbours on a ring, 4 of many states, 20 of many, 80 of many, all."""
    rng = np.random.default_rng(seed)
    S, A = 150, 3
    if layout == "union":
        successors = (np.arange(S)[:, None, None] + rng.integers(-1, 2, size=(S, A, 3))) % S
    else:
        successors = rng.integers(S, size=(S, A, SUCCESSORS.get(layout, S)))
    weights = rng.exponential(size=successors.shape)
    P = np.zeros((S, A, S))
    np.add.at(P, (*np.indices(successors.shape)[:2], successors), weights / weights.sum(axis=2, keepdims=True))
    r = rng.choice([0.0, 1.0, rng.random()], size=(S, A)) if seed % 2 else rng.random((S, A))
    return TabularMDP(P if layout == "dense" else csr_array(P.reshape(S * A, S)), r, gamma)


def layout_of(sweeps):
    if sweeps.union or not sweeps.mdp.is_sparse:
        return "union" if sweeps.union else "dense"
    return "longest rows" if not sweeps.fixed_width else "short rows" if sweeps.width else "long rows"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_fits_the_rows(layout):
    assert layout_of(Sweeps(random_mdp(layout, 0), 0.9)) == layout


@given(seed=st.integers(0, 1000), several=st.integers(1, 20), limit=st.integers(1, 150))
def test_union_rows_are_those_of_the_mdp_and_their_kinds_differ(seed, several, limit):
    """Rows on a ring of at most so many kinds, on successors in an order of each state's own."""
    rng, (S, A, b) = np.random.default_rng(seed), (150, 3, 3)
    drawn, kinds = rng.dirichlet(np.ones(b), size=(several, A)), rng.integers(several, size=S)
    successors = (np.arange(S)[:, None] + rng.permuted(np.tile([-1, 0, 1], (S, 1)), axis=1)) % S
    columns = np.broadcast_to(successors[:, None], (S, A, b))
    P = csr_array((drawn[kinds].ravel(), columns.ravel(), b * np.arange(S * A + 1)), shape=(S * A, S))
    few = union_rows(P, A, b, limit)
    union = few or union_rows(P, A, b, None)
    to, found, weights = union
    dense = np.zeros((S, A, S))
    np.add.at(dense, (np.arange(S)[:, None, None], np.arange(A)[:, None], to[:, None].astype(int)), weights[found])
    np.testing.assert_array_equal(dense, P.toarray().reshape(S, A, S))
    count = len(np.unique(kinds))
    assert (few is None) == (count > limit)
    assert len(weights) == (count if few else S)
    assert union.bandwidth == S - 1


@pytest.mark.parametrize("layout", LAYOUTS)
@given(seed=st.integers(0, 1000), steps=st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 2)), min_size=1, max_size=8))
def test_lazy_improvements_are_improvements(layout, seed, steps):
    """Values move by constants, which cost no lead, and by spans of the size of the leads, so some are used up."""
    mdp, rng = random_mdp(layout, seed), np.random.default_rng(seed)
    sweeps, v, tv = Sweeps(mdp, mdp.gamma), np.zeros(mdp.n_states), np.empty(mdp.n_states)
    for constant, span in steps:
        v = v + constant + span * rng.choice([1.0, 0.1, 0.01]) * (rng.random(mdp.n_states) - 0.5)
        change = sweeps.improve(v, tv)
        expected, policy = improve(mdp, v, mdp.gamma)
        slack = 2 * rounding(mdp, v, mdp.gamma)
        assert abs(tv - expected).max() <= slack
        values = mdp.r + mdp.gamma * mdp.expect(v)
        assert (values.max(axis=1) - values[np.arange(mdp.n_states), sweeps.policy]).max() <= slack
        assert (change.low, change.high) == ((tv - v).min(), (tv - v).max())
        ahead = np.diff(np.sort(values, axis=1)[:, -2:], axis=1)[:, 0] > slack
        np.testing.assert_array_equal(sweeps.policy[ahead], policy[ahead])


@given(st.lists(st.floats(allow_nan=False), max_size=50), st.floats(allow_nan=False), st.integers(0, 20))
def test_states_to_be_looked_at_come_first(leads, drift, start):
    start, lead = min(start, len(leads)), np.array(leads)
    order, looked = kernels._looked_at_first(lead, drift, start, len(lead))
    at = start + np.flatnonzero(lead[start:] <= drift)
    np.testing.assert_array_equal(order[:looked], at)
    np.testing.assert_array_equal(np.sort(order), np.arange(start, len(lead)))
    assert kernels.used_up(lead[start:], drift) == len(at)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_settled_states_are_not_looked_at_again_and_moved_ones_are(layout):
    """A lead of 1 outlasts spans below 1 / gamma, and no longer; other rewards show which states are looked at."""
    mdp = random_mdp(layout, 1)
    r = np.zeros(mdp.r.shape)
    r[:, 2] = 1
    mdp = mdp.with_reward(r)
    sweeps, tv = Sweeps(mdp, mdp.gamma), np.empty(mdp.n_states)
    v = np.zeros(mdp.n_states)
    sweeps.improve(v, tv)
    sweeps.r = np.where(np.arange(3) == 0, 7.0, r)  # what a state would choose if it looked
    v[0] = 0.99 / mdp.gamma
    sweeps.improve(v, tv)
    np.testing.assert_array_equal(sweeps.policy, 2)
    v[0] += 0.02 / mdp.gamma
    sweeps.improve(v, tv)
    np.testing.assert_array_equal(sweeps.policy, 0)


@pytest.mark.parametrize("many", [module.MANY, 0])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_evaluation_sweeps_and_corrections_are_those_of_the_policy(monkeypatch, layout, many):
    """With many states corrections are made in blocks, and rows are asked for before they are needed."""
    monkeypatch.setattr(module, "MANY", many)
    monkeypatch.setattr(module, "PART", 40)
    monkeypatch.setattr(module, "NEAR", many)
    mdp, rng = random_mdp(layout, 2), np.random.default_rng(0)
    sweeps, v, out = Sweeps(mdp, mdp.gamma), rng.random(mdp.n_states), np.empty(mdp.n_states)
    sweeps.improve(v, out)
    P_pi, r_pi = mdp.under(sweeps.policy)
    change = sweeps.evaluate(v, out)
    np.testing.assert_allclose(out, r_pi + mdp.gamma * (P_pi @ v), rtol=0, atol=rounding(mdp, v))
    assert (change.low, change.high) == ((out - v).min(), (out - v).max())
    if sweeps.fixed_width:
        d = rng.normal(size=mdp.n_states)
        e = sweeps.correction(d, 1e-9, 1000)
        assert abs(e - mdp.gamma * (P_pi @ e) - d).max() <= 2e-9
        alone = partial(kernels.correct, sweeps.greedy, mdp.gamma)  # each way by itself, as another mends what one does
        ways = [sweeps._correct, *(lambda *to, i=i: alone(*to, i, sweeps.width) for i in (False, True))]
        for way in ways:
            assert way(d, e, 1e-9, 1000) <= 1e-9
            assert abs(e - mdp.gamma * (P_pi @ e) - d).max() <= 2e-9
        assert (sweeps.correction(d, 0.0, 0) == 0).all()  # no products, no step
        assert np.isfinite(sweeps.correction(1e300 * d, 0.0, 1000)).all()  # products overflow
        point = (np.arange(mdp.n_states) == 0).astype(float)  # a residual whose products soon vanish
        assert np.isfinite(sweeps.correction(point, 0.0, 1000)).all()
        short = sweeps.correction(d, 0.0, 2)  # cut short, it is a step ahead all the same
        assert np.linalg.norm(short - mdp.gamma * (P_pi @ short) - d) < np.linalg.norm(d)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("part", [module.PART, 40])
@pytest.mark.parametrize("layout", LAYOUTS[:4])
def test_gauss_seidel_uses_what_it_has_just_computed(monkeypatch, layout, part, backward):
    """In its own block of states, of which there are three or one."""
    monkeypatch.setattr(module, "PART", part)
    mdp, rng = random_mdp(layout, 3), np.random.default_rng(0)
    v = rng.random(mdp.n_states)
    old, expected, block = v.copy(), v.copy(), np.arange(mdp.n_states) // (50 if part == 40 else mdp.n_states)
    for s in reversed(range(mdp.n_states)) if backward else range(mdp.n_states):
        seen = np.where(block == block[s], expected, old)
        expected[s] = max(mdp.r[s, a] + mdp.gamma * (mdp.row(s, a) @ seen) for a in range(mdp.n_actions))
    Sweeps(mdp, mdp.gamma).gauss_seidel(v, backward=backward)
    np.testing.assert_allclose(v, expected, rtol=0, atol=mdp.n_states * rounding(mdp, v))


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS[:4])
def test_a_block_sees_its_own_new_values_and_the_old_ones_of_all_others(layout, backward):
    """The values elsewhere are being written by others, so they may not be read."""
    mdp, rng, block = random_mdp(layout, 5), np.random.default_rng(1), range(50, 100)
    old, v = rng.random(mdp.n_states), rng.random(mdp.n_states)
    v[block] = old[block]
    seen, before, sweeps = old.copy(), v.copy(), Sweeps(mdp, mdp.gamma)
    for s in reversed(block) if backward else block:
        seen[s] = max(mdp.r[s, a] + mdp.gamma * (mdp.row(s, a) @ seen) for a in range(mdp.n_actions))
    if sweeps.union:
        args = (*sweeps.union, mdp.r, mdp.gamma, v, old, backward, sweeps.width, sweeps.each)
        kernels.gauss_seidel_union(*args, mdp.n_states // 50, 1, 2)
    else:
        kernels.gauss_seidel_csr(*sweeps._rows(), mdp.r, mdp.gamma, v, old, backward, 50, 100)
    np.testing.assert_allclose(v[block], seen[block], rtol=0, atol=mdp.n_states * rounding(mdp, v))
    elsewhere = np.delete(np.arange(mdp.n_states), block)
    np.testing.assert_array_equal(v[elsewhere], before[elsewhere])


@pytest.mark.parametrize("threads", [2, 5])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_results_do_not_depend_on_threads(monkeypatch, layout, threads):
    monkeypatch.setattr(module, "BLOCK", 0)  # a thread for every state that asks for one
    monkeypatch.setattr("claimlab.mdps.planning.SMALL", 0)
    mdp = random_mdp(layout, 4, gamma=0.99)
    monkeypatch.setattr(module, "PART", 10)
    monkeypatch.setattr(module, "MANY", 0)
    for method in (solve, krylov_policy_iteration):
        one, many = method(mdp, 1e-8, threads=1), method(mdp, 1e-8, threads=threads)
        np.testing.assert_array_equal(one.v, many.v)
        np.testing.assert_array_equal(one.policy, many.policy)
        assert one[2:] == many[2:]
    episodic = EpisodicMDP(mdp.P, mdp.r, 30)
    a, b = backward_induction(episodic, threads=1), backward_induction(episodic, threads=threads)
    np.testing.assert_array_equal(a.v, b.v)
    np.testing.assert_array_equal(a.policy, b.policy)


@given(hard_mdps(CLOSE_TO_ONE), st.booleans())
def test_values_that_are_not_finite_are_seen(mdp, nan):
    sweeps, out = Sweeps(mdp, mdp.gamma), np.empty(mdp.n_states)
    v = np.full(mdp.n_states, np.nan if nan else np.inf)
    assert np.isnan(sweeps.improve(v, out).low)


def slippery_maze(gamma):
    """A step costs 1 until the goal, in the far corner, is reached: news travels some 50 steps."""
    rng = np.random.default_rng(0)
    cells = np.where(rng.random((25, 25)) < 0.1, "#", ".")
    cells[0, 0], cells[-1, -1] = "S", "G"
    return gridworld(["".join(row) for row in cells], gamma, slip=0.3, step=-1.0, goal=0.0, sparse=True)


def lazy_ring(gamma):
    """500 states in a ring that is left with probability 1e-6 only, on long rows: sweeping alone would never end."""
    rng, S, A = np.random.default_rng(1), 500, 2
    away = rng.dirichlet(np.ones(S), size=(S, A))
    P = (1 - 1e-6) * np.eye(S)[:, None, :] + 1e-6 * away
    return TabularMDP(csr_array(P.reshape(S * A, S)), rng.normal(size=(S, A)), gamma)


def alternating(gamma):
    """Period 2 with ties: half of the states lead to the other half only."""
    rng, S, A = np.random.default_rng(2), 400, 3
    other = (S // 2) * (np.arange(S) < S // 2)[:, None, None] + rng.integers(S // 2, size=(S, A, 3))
    P = np.zeros((S, A, S))
    np.add.at(P, (*np.indices(other.shape)[:2], other), 1 / 3)
    return TabularMDP(csr_array(P.reshape(S * A, S)), rng.integers(2, size=(S, A)) * 1e12, gamma)


LARGE = {
    "garnet": lambda gamma: garnet(500, 3, 4, gamma, np.random.default_rng(0)),
    "slippery maze": slippery_maze,
    "chain": lambda gamma: TabularMDP(csr_array(RIVER.P.reshape(-1, 400)), RIVER.r, gamma),
    "chain, stored dense": lambda gamma: river_swim(400, gamma),
    "lazy ring": lazy_ring,
    "alternating": alternating,
}


@pytest.mark.parametrize("gamma", [0.99, 0.9999])
@pytest.mark.parametrize("name", LARGE)
def test_large_mdps_are_within_their_certificates_of_policy_iteration_with_direct_solves(name, gamma):
    mdp = LARGE[name](gamma)
    tol = 1e-8 * mdp.value_bound
    reference = policy_iteration(mdp)
    for solution in (solve(mdp, tol), krylov_policy_iteration(mdp, tol)):
        assert solution.error <= tol
        assert abs(solution.v - reference.v).max() <= solution.error + reference.error
