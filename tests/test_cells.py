"""The exact maps: every point in the cell that solving says, areas that add up, breakpoints that are roots."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimlab.mdps import TabularMDP, from_gymnasium, gaps, solve
from claimlab.mdps.exact import policy_value_exactly, rationals, solve_exactly
from claimlab.mdps.instances import garnet
from claimlab.theory.cells import mixture_map, reward_plane_map, sweep
from claimlab.theory.stability import cliff_radius
from claimlab.theory.strategies import seeds, tabular_mdps

WINDOW = ((-3.0, 3.0), (-2.0, 2.0))


def directions(mdp, rng):
    return (np.where(mdp.actions & ~mdp.terminal[:, None], rng.normal(size=mdp.r.shape), 0.0) for _ in range(2))


def loss(mdp, policy):
    """How much worse the worst of the policy's actions is than the best in its state."""
    gap, _ = gaps(mdp)
    return gap[np.arange(mdp.n_states), policy].max()


def tie(mdp, directions):
    """The gap that the maps take for a tie, for rewards of the size met in these tests."""
    return 1e-8 * (abs(mdp.r).max() + 5 * abs(directions).max()) / (1 - mdp.gamma)


@given(mdp=tabular_mdps(masked=True, terminal=True), seed=seeds())
@settings(max_examples=40)
def test_the_cells_tile_the_window_and_are_right(mdp, seed):
    rng = np.random.default_rng(seed)
    cells = reward_plane_map(mdp, *directions(mdp, rng), WINDOW)
    assert abs(sum(cell.area for cell in cells.cells) / 24 - 1) <= 1e-12
    points = rng.uniform((-3, -2), (3, 2), (10, 2))
    for (x, y), where, distance in zip(points, cells.locate(points), cells.distance(points)):
        here = mdp.with_reward(cells.reward(x, y))
        radius = cliff_radius(here)
        assert loss(here, cells.cells[where].policy) <= tie(mdp, cells.rewards)
        if radius.unique and radius.radius < np.inf:
            assert abs(radius.radius - distance) <= radius.error + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_five_states_three_actions_tile_exactly(seed):
    rng = np.random.default_rng(seed)
    mdp = garnet(5, 3, 3, 0.9, rng)
    cells = reward_plane_map(mdp, *directions(mdp, rng), WINDOW)
    assert abs(sum(cell.area for cell in cells.cells) / 24 - 1) <= 1e-12
    assert len({cell.policy.tobytes() for cell in cells.cells}) == len(cells.cells) > 5
    points = rng.uniform((-3, -2), (3, 2), (300, 2))
    for (x, y), where in zip(points, cells.locate(points)):
        assert np.array_equal(solve(mdp.with_reward(cells.reward(x, y))).policy, cells.cells[where].policy)


def test_a_bandit_by_hand():
    """Three actions paying x, y and 0: three cells that meet in the origin, of areas 3/2, 3/2 and 1."""
    mdp = TabularMDP(np.ones((1, 3, 1)), [[0, 0, 0]], 0.0)
    cells = reward_plane_map(mdp, [[1, 0, 0]], [[0, 1, 0]])
    areas = {int(cell.policy[0]): cell.area for cell in cells.cells}
    assert areas == {0: 1.5, 1: 1.5, 2: 1.0}
    np.testing.assert_allclose(cells.distance([[0.5, 0.0], [-0.5, -0.2]]), [0.25, 0.1])
    np.testing.assert_array_equal(cells.locate([[2.0, 0.0]]), [-1])
    assert np.isnan(cells.distance([[2.0, 0.0]])[0])


def test_directions_that_change_nothing_give_one_cell():
    mdp = garnet(3, 2, 2, 0.9, np.random.default_rng(0))
    cells = reward_plane_map(mdp, np.zeros((3, 2)), np.ones((3, 2)))
    assert len(cells.cells) == 1
    assert cells.cells[0].area == 4


def test_duplicate_actions_do_not_tile_twice():
    mdp = garnet(2, 2, 2, 0.9, np.random.default_rng(0))
    double = TabularMDP(np.repeat(mdp.P, 2, axis=1), np.repeat(mdp.r, 2, axis=1), 0.9)
    rng = np.random.default_rng(1)
    R1, R2 = rng.normal(size=(2, 2, 2))
    once = reward_plane_map(mdp, R1, R2, WINDOW)
    twice = reward_plane_map(double, np.repeat(R1, 2, axis=1), np.repeat(R2, 2, axis=1), WINDOW)
    np.testing.assert_allclose(
        sorted(cell.area for cell in once.cells), sorted(cell.area for cell in twice.cells), rtol=1e-9
    )


def test_the_triangle_has_the_pure_rewards_at_its_corners():
    rng = np.random.default_rng(3)
    mdp = garnet(4, 2, 2, 0.8, rng)
    R = rng.normal(size=(3, 4, 2))
    cells = mixture_map(mdp, R)
    assert abs(sum(cell.area for cell in cells.cells) / 0.5 - 1) <= 1e-12
    for corner, reward in zip([[1.0, 0], [0, 1], [0, 0]], R):
        policy = cells.cells[cells.locate([corner])[0]].policy
        assert np.array_equal(policy, solve(mdp.with_reward(reward)).policy)


@given(mdp=tabular_mdps(masked=True), seed=seeds())
@settings(max_examples=40)
def test_a_sweep_names_the_optimal_policy_everywhere(mdp, seed):
    rng = np.random.default_rng(seed)
    D = 3 * next(directions(mdp, rng))
    path = sweep(mdp, D)
    assert len(path.policies) == len(path.breakpoints) + 1
    ends = np.concatenate([[0.0], path.breakpoints, [1.0]])
    assert (np.diff(ends) > 0).all()
    for low, high, policy in zip(ends, ends[1:], path.policies):
        for t in rng.uniform(low, high, 3):
            assert loss(mdp.with_reward(mdp.r + t * D), policy) <= tie(mdp, D)


def test_breakpoints_are_roots_in_rationals():
    """Dyadic data: at a breakpoint the two policies' values are equal somewhere, and a step to either side they
    differ."""
    rng = np.random.default_rng(4)
    P = rng.multinomial(4, [0.4, 0.3, 0.3], size=(3, 2)) / 4
    r, D = rng.integers(-8, 9, (2, 3, 2)) / 8
    path = sweep(TabularMDP(P, r, 0.5), D, low=-20, high=20)
    assert len(path.breakpoints) >= 2
    for t, before, after in zip(path.breakpoints, path.policies, path.policies[1:]):
        v = [policy_value_exactly(P, r, "1/2", pi) for pi in (before, after)]
        w = [policy_value_exactly(P, D, "1/2", pi) for pi in (before, after)]
        s = int(np.argmax(abs((w[0] - w[1]).astype(float))))
        root = (v[1][s] - v[0][s]) / (w[0][s] - w[1][s])
        assert abs(float(root) - t) <= 1e-12 * (1 + abs(t))
        best = solve_exactly(P, rationals(r) + root * rationals(D), "1/2").actions
        assert best[np.arange(3), before].all()
        assert best[np.arange(3), after].all()


@given(st.floats(0.1, 5))
def test_a_penalty_on_one_arm_by_hand(gap):
    mdp = TabularMDP([[[1], [1]]], [[gap, 0]], 0.5)
    path = sweep(mdp, [[-1, 0]], high=10)
    np.testing.assert_allclose(path.breakpoints, [gap])
    np.testing.assert_array_equal(path.policies, [[0], [1]])


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e9, 1e12])
def test_a_sweep_does_not_depend_on_the_unit(unit):
    arms = TabularMDP(np.ones((1, 3, 1)), [[0, -1, -3]], 0.5)
    path = sweep(arms, unit * np.array([[0, 1, 2]]), high=5 / unit)
    np.testing.assert_allclose(unit * path.breakpoints, [1, 2], rtol=1e-12)
    np.testing.assert_array_equal(path.policies, [[0], [1], [2]])


@pytest.mark.parametrize("apart", [1e-8, 1e-10, 1e-12])
def test_close_breakpoints_are_told_apart(apart):
    """0, t - 1 and 2t - 2 - apart: the middle arm is best from 1 to 1 + apart."""
    path = sweep(TabularMDP(np.ones((1, 3, 1)), [[0, -1, -2 - apart]], 0.5), [[0, 1, 2]], high=5)
    np.testing.assert_array_equal(path.policies, [[0], [1], [2]])
    assert (abs(path.breakpoints - [1, 1 + apart]) <= path.errors).all()


def test_a_large_base_reward_hides_no_direction():
    """Rewards of 1e12 that tie: the rounding of their gaps says nothing about that of the direction's."""
    cells = reward_plane_map(TabularMDP(np.ones((1, 2, 1)), [[1e12, 1e12]], 0.99), [[1, 0]], [[0, 0]])
    assert sorted((int(cell.policy[0]), cell.area) for cell in cells.cells) == [(0, 2.0), (1, 2.0)]


@pytest.mark.parametrize("size", [1e-12, 1e-9, 1e-6, 1e6, 1e12])
def test_windows_of_any_size(size):
    """1 + x, 1 - size/3 + y and 1 - size/4, around (0, 0)."""
    mdp = TabularMDP(np.ones((1, 3, 1)), [[1, 1 - size / 3, 1 - size / 4]], 0.5)
    cells = reward_plane_map(mdp, [[1, 0, 0]], [[0, 1, 0]], ((-size, size), (-size, size)))
    areas = {int(cell.policy[0]): cell.area / size**2 for cell in cells.cells}
    true = {1: 143 / 288 + 11 / 18, 2: 13 / 16}
    rounded = 4 * np.finfo(float).eps / size  # of the reward, in units of the window
    assert all(abs(areas[action] - true[action]) <= rounded + 1e-9 for action in true)
    assert abs(sum(areas.values()) - 4) <= 1e-8


def test_flat_and_far_windows():
    arms = TabularMDP(np.ones((1, 3, 1)), [[0, 0, 0]], 0.0)
    flat = reward_plane_map(arms, [[1, 0, 0]], [[0, 1, 0]], ((-1e6, 1e6), (-1e-6, 1e-6)))
    assert len(flat.cells) == 3
    far = reward_plane_map(arms, [[1, 0, 0]], [[0, 1, 0]], ((1e6, 1e6 + 1e-3), (0, 1e-3)))
    np.testing.assert_array_equal(far.locate([[1e6 - 5e-4, 0], [1e6 + 5e-4, 5e-4], [1e6, 0]]), [-1, 0, 0])


def test_corners_far_from_an_edge_do_not_spoil_its_middle():
    """The edge from (1, -1e6) to (1, 1e6): its corners are rounded to 1e-10, so is its middle (1, 0)."""
    arms = TabularMDP(np.ones((1, 2, 1)), [[0, 1]], 0.75)
    cells = reward_plane_map(arms, [[1, 0]], [[1e-6, 0]], ((-1e6, 1e6), (-1e6, 1e6)))
    assert len(cells.cells) == 2


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (((1, 0), (0, 1)), "window must have low < high"),
        ([[0, 0], [1, 0]], "low < high"),
        ([[0, 0], [1, 0], [2, 0]], "convex polygon"),
        ([[0, 0, 0]] * 3, "corners float"),
        ([[0, 0], [1, 1], [1, 0], [0, 1]], "convex polygon"),
    ],
)
def test_bad_windows_are_named(window, message):
    mdp = TabularMDP([[[1], [1]]], [[1, 0]], 0.5)
    with pytest.raises(ValueError, match=message):
        reward_plane_map(mdp, [[1, 0]], [[0, 1]], window)


def test_doubled_corners_hide_no_point():
    """Nine edges meet in the origin up to rounding; edges of length 1e-17 between them must not count as sides."""
    P, r = np.zeros((3, 3, 3)), np.zeros((3, 3))
    P[:, :, 0], r[0, 1] = 1, 0.25
    rng = np.random.default_rng(0)
    R1, R2 = rng.normal(size=(2, 3, 3))
    plane = reward_plane_map(TabularMDP(P, r, 0.0), R1, R2, WINDOW)
    points = rng.uniform([-3, -2], [3, 2], (300, 2))
    where = plane.locate(points)
    assert where.min() >= 0
    for xy, i in zip(points, where):
        np.testing.assert_array_equal(plane.cells[i].policy, plane.reward(*xy).argmax(axis=1))


def test_directions_in_terminal_states_do_not_matter():
    """A lake's hole pays nothing whatever the reward model says of it."""
    lake = from_gymnasium("FrozenLake-v1", gamma=0.9, desc=["SFH", "FFG"])
    R1, R2 = np.random.default_rng(3).normal(size=(2, *lake.r.shape))
    outside = np.where(lake.terminal[:, None], 0.0, [R1, R2])
    assert [c.policy.tolist() for c in reward_plane_map(lake, R1, R2).cells] == [
        c.policy.tolist() for c in reward_plane_map(lake, *outside).cells
    ]
    np.testing.assert_array_equal(sweep(lake, R1).breakpoints, sweep(lake, outside[0]).breakpoints)
    assert len(mixture_map(lake, [R1, R2, -R1]).cells) == len(mixture_map(lake, [*outside, -outside[0]]).cells)


def test_bad_directions_are_named():
    mdp = TabularMDP([[[1], [1]]], [[1, 0]], 0.5)
    with pytest.raises(ValueError, match=r"R2 must have shape \(S, A\)"):
        reward_plane_map(mdp, [[1, 0]], [[0, 1, 0]])
    with pytest.raises(ValueError, match=r"rewards must have shape \(3, S, A\)"):
        mixture_map(mdp, np.ones((2, 1, 2)))
    with pytest.raises(ValueError, match="high must lie in"):
        sweep(mdp, [[1, 0]], low=1, high=0)
