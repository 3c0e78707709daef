from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog
from scipy.sparse import csr_array

from claimlab.mdps import NotConverged, TabularMDP, solve
from claimlab.mdps.exact import rationals, solve_exactly, solve_linear
from claimlab.mdps.games import (
    MarkovGame,
    _leaving,
    _payoffs,
    _play,
    _stage,
    best_responses,
    shapley_iteration,
    solve_game,
    solve_matrix_game,
)
from claimlab.native import interpreted
from claimlab.theory.strategies import markov_games, rewards, seeds, tabular_mdps

from .oracles import CLOSE_TO_ONE, MODERATE, SCALES

EPS = np.finfo(float).eps


def value_of(M):
    """The value of a matrix game in rationals, from an extreme pair of strategies (Shapley & Snow 1950)."""
    M = rationals(M)
    low = M.min() - 1
    M = M - low  # positive, so that equalising weights have a positive sum
    for k in range(1, min(M.shape) + 1):
        for rows, columns in product(combinations(range(M.shape[0]), k), combinations(range(M.shape[1]), k)):
            part = M[np.ix_(rows, columns)]
            try:
                x, y = solve_linear(part.T, [1] * k), solve_linear(part, [1] * k)
            except ValueError:  # singular
                continue
            v = 1 / sum(x) if min(x) >= 0 and min(y) >= 0 else 0
            if v and min((v * x) @ M[list(rows)]) >= v >= max(M[:, list(columns)] @ (v * y)):
                return v + low
    raise AssertionError("every matrix game has an extreme solution")


def value_by_lp(M):
    """Maximise z subject to x'M >= z, by HiGHS."""
    A, B = M.shape
    program = linprog(
        np.r_[np.zeros(A), -1], np.c_[-M.T, np.ones(B)], np.zeros(B), [np.r_[np.ones(A), 0]], [1],
        bounds=[(0, None)] * A + [(None, None)],
    )  # fmt: skip
    return -program.fun


@st.composite
def matrices(draw, most=4):
    """Small integers with ties, duplicated rows, or anything at all, of every size."""
    shape = draw(st.integers(1, most)), draw(st.integers(1, most))
    if draw(st.booleans()):
        return draw(arrays(np.float64, shape, elements=st.sampled_from([0.0, 1.0, -1.0, 2.0])))
    M = np.random.default_rng(draw(seeds())).normal(size=shape)
    return draw(st.sampled_from(SCALES)) * (M + draw(st.sampled_from([0.0, 100.0])))


def games(gammas, most=2, scales=SCALES):
    return st.sampled_from(scales).flatmap(
        lambda scale: markov_games(max_actions=most, gammas=gammas, rewards=lambda shape: rewards(shape, scale=scale))
    )


def dense(game):
    P = game.P.toarray() if game.joint.is_sparse else game.P
    return np.asarray(P).reshape(*game.r.shape, game.n_states)


@settings(max_examples=200)
@given(matrices())
def test_matrix_games_are_within_their_certificate_of_the_exact_value(M):
    found, size = solve_matrix_game(M), abs(M).max()
    truth = value_of(M)
    assert abs(Fraction(found.value) - truth) <= Fraction(found.error)
    x, y = rationals(found.x) / sum(rationals(found.x)), rationals(found.y) / sum(rationals(found.y))
    assert min(x) >= 0
    assert min(y) >= 0
    assert min(x @ rationals(M)) >= Fraction(found.value) - Fraction(found.error)
    assert max(rationals(M) @ y) <= Fraction(found.value) + Fraction(found.error)
    assert found.error <= 1e-11 * size


def test_the_oracle_knows_matching_pennies():
    assert value_of(np.array([[1.0, -1.0], [-1.0, 1.0]])) == 0
    assert value_of(np.array([[3.0, 0.0], [0.0, 1.0]])) == Fraction(3, 4)


@pytest.mark.parametrize("shape", [(2, 7), (9, 3), (20, 20), (60, 40)])
def test_matrix_games_against_highs(shape):
    rng = np.random.default_rng(sum(shape))
    for M in (rng.normal(size=shape), rng.integers(0, 3, size=shape).astype(float), rng.random(shape) < 0.5):
        found = solve_matrix_game(M)
        assert abs(found.value - value_by_lp(np.asarray(M, dtype=float))) <= 1e-8
        assert found.error <= 1e-11


GOLDEN = {  # name: (matrix, value, x, y), each from the textbooks: Owen (1995), Game Theory, Chapter II
    "rock paper scissors": ([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], 0, [1 / 3] * 3, [1 / 3] * 3),
    "matching pennies": ([[1, -1], [-1, 1]], 0, [0.5, 0.5], [0.5, 0.5]),
    "two by two": ([[3, 0], [0, 1]], 0.75, [0.25, 0.75], [0.25, 0.75]),
    "saddle": ([[4, 2, 3], [1, 0, 5]], 2, [1, 0], [0, 1, 0]),
    "one row": ([[3, 1, 2]], 1, [1], [0, 1, 0]),
    "one column": ([[3], [1]], 3, [1, 0], [1]),
    "all equal": ([[5, 5], [5, 5]], 5, None, None),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_matrix_games_of_the_textbooks(name):
    M, value, x, y = GOLDEN[name]
    found = solve_matrix_game(M)
    assert abs(found.value - value) <= found.error
    assert x is None or np.allclose(found.x, x, rtol=0, atol=1e-12)
    assert y is None or np.allclose(found.y, y, rtol=0, atol=1e-12)


def test_a_degenerate_game_does_not_cycle():
    """Blocks of equal rows and columns and a vertex with many bases."""
    M = np.kron(np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]), np.ones((10, 10)))
    found = solve_matrix_game(M)
    assert abs(found.value) <= found.error <= 1e-12


def test_the_gap_of_several_games_is_that_of_the_worst():
    M = np.array([1.0, 1e-3, 30.0])[:, None, None] * np.random.default_rng(0).normal(size=(3, 3, 4))
    each = [_stage(M[i : i + 1], 1).gap for i in range(3)]
    assert min(each) < max(each) == _stage(M, 1).gap


def test_among_rows_that_reach_zero_together_the_least_variable_leaves():
    """Bland's rule, by which the simplex method ends; the last row is the objective, the last column the values."""
    T = np.array([[2.0, 4.0], [1.0, 2.0], [1.0, 2.0], [-1.0, 0.0]])
    for rows in ([5, 2, 7], [2, 7, 5], [7, 5, 2]):
        assert _leaving(T, np.array(rows), 0) == rows.index(2)
    assert _leaving(np.array([[1.0, 3.0], [1.0, 2.0], [-1.0, 0.0]]), np.array([0, 1]), 0) == 1
    assert _leaving(np.array([[-1.0, 3.0], [0.0, 2.0], [-1.0, 0.0]]), np.array([0, 1]), 0) == -1


def exact_bounds(game, x, y):
    """What x guarantees and y concedes, in rationals: the optimum of the other player's MDP."""
    P, r, gamma = rationals(dense(game)), rationals(game.r), Fraction(game.gamma)
    x, y = (w / w.sum(axis=1, keepdims=True) for w in (rationals(x), rationals(y)))
    P_x, r_x = (x[:, :, None, None] * P).sum(axis=1), (x[:, :, None] * r).sum(axis=1)
    P_y, r_y = (y[:, None, :, None] * P).sum(axis=2), (y[:, None, :] * r).sum(axis=2)
    return -solve_exactly(P_x, -r_x, gamma).v, solve_exactly(P_y, r_y, gamma).v


def tolerance(game, relative=1e-7):
    return max(relative * game.joint.value_bound, 1e-300)


SOLVERS = {"solve_game": (solve_game, CLOSE_TO_ONE), "shapley_iteration": (shapley_iteration, MODERATE)}


@pytest.mark.parametrize("name", SOLVERS)
def test_values_lie_between_what_both_strategies_prove_exactly(name):
    """v_x <= v* <= v_y in exact arithmetic, and v is within its certificate of both ends."""
    solver, gammas = SOLVERS[name]

    @settings(max_examples=60)
    @given(games(gammas, most=3))
    def check(game):
        solution = solver(game, tolerance(game))
        lower, upper = exact_bounds(game, solution.x, solution.y)
        v, error = rationals(solution.v), Fraction(solution.error)
        assert solution.error <= tolerance(game)
        assert (lower <= upper).all()
        assert max(upper - lower) <= Fraction(solution.exploitability)
        assert (v - error <= upper).all()
        assert (lower <= v + error).all()

    check()


@settings(max_examples=40)
@given(games(CLOSE_TO_ONE, most=3))
def test_the_exact_operator_has_its_fixed_point_within_the_certificate(game):
    """|Tv - v| <= (1 + gamma) error, T in rationals."""
    solution = solve_game(game, tolerance(game))
    P, r, v = rationals(dense(game)), rationals(game.r), rationals(solution.v)
    M = r + Fraction(game.gamma) * (P @ v)
    largest = max(P.sum(axis=3).reshape(-1))
    for s in range(game.n_states):
        assert abs(value_of(M[s]) - v[s]) <= (1 + Fraction(game.gamma) * largest) * Fraction(solution.error)


@settings(max_examples=8)
@given(games(st.sampled_from([0.0, 0.5]), scales=[1.0]))
def test_values_against_linear_programs(game):
    """Value iteration in which HiGHS solves each matrix game."""
    P, v = dense(game), np.zeros(game.n_states)
    for _ in range(30):
        v = np.array([value_by_lp(M) for M in game.r + game.gamma * P @ v])
    solution = solve_game(game, 1e-9)
    assert abs(solution.v - v).max() <= 1e-6


@settings(max_examples=60)
@given(tabular_mdps(gammas=CLOSE_TO_ONE), st.booleans())
def test_one_player_is_an_mdp(mdp, maximiser):
    S, A = mdp.r.shape
    P = mdp.P if mdp.is_sparse else mdp.P.reshape((S, A, 1, S) if maximiser else (S, 1, A, S))
    sign = 1 if maximiser else -1
    game = MarkovGame(P, sign * mdp.r.reshape((S, A, 1) if maximiser else (S, 1, A)), mdp.gamma)
    one, other = solve_game(game, tolerance(game)), solve(mdp, tolerance(game))
    assert abs(sign * one.v - other.v).max() <= one.error + other.error


@settings(max_examples=40)
@given(games(MODERATE, most=3))
def test_best_responses_are_within_their_error_of_the_exact_ones(game):
    S, A, B = game.r.shape
    x, y = np.full((S, A), 1 / A), np.full((S, B), 1 / B)
    found, (lower, upper) = best_responses(game, x, y), exact_bounds(game, x, y)
    assert max(abs(rationals(found.guaranteed) - lower)) <= Fraction(found.error)
    assert max(abs(rationals(found.conceded) - upper)) <= Fraction(found.error)
    assert max(upper - lower) <= Fraction(found.exploitability)
    assert found.error <= tolerance(game, 1e-6)
    value = solve_game(game, tolerance(game))
    assert (found.guaranteed <= value.v + value.error + found.error).all()
    assert (value.v <= found.conceded + value.error + found.error).all()


@settings(max_examples=40)
@given(games(MODERATE), st.data())
def test_roles_can_be_exchanged(game, data):
    """The minimiser's game is the maximiser's with the sign and the sides changed."""
    mirrored = MarkovGame(dense(game).swapaxes(1, 2), -game.r.swapaxes(1, 2), game.gamma)
    one, other = solve_game(game, tolerance(game)), solve_game(mirrored, tolerance(game))
    assert abs(one.v + other.v).max() <= one.error + other.error


def stopped(r, stay, gamma):
    """One state that is left for good with probability 1 - stay, depending on both actions."""
    stay = np.array(stay)
    P = np.zeros((2, 2, 2, 2))
    P[0, ..., 0], P[0, ..., 1], P[1, ..., 1] = stay, 1 - stay, 1
    return MarkovGame(P, [r, np.zeros((2, 2))], gamma)


CYCLES = [  # Newton's method alternates between two values in each of these
    ([[4, 5], [5, 0]], [[0.25, 0], [0.5, 1]]),
    ([[3, 2], [3, 6]], [[0.5, 0.5], [0.75, 0]]),
    ([[6, 6], [3, 0]], [[1, 0.25], [0.75, 0.75]]),
    ([[6, 3], [0, 5]], [[0, 1], [0.75, 0.25]]),
]


@pytest.mark.parametrize(("r", "stay"), CYCLES)
@pytest.mark.parametrize("gamma", [0.96, 0.9999])
def test_games_in_which_newtons_method_cycles(r, stay, gamma):
    """van der Wal (1978) on Pollatschek & Avi-Itzhak's method; policy iteration must take over and end soon."""
    game = stopped(r, stay, gamma)
    solution = solve_game(game, 1e-8)
    assert solution.iterations <= 20
    lower, upper = exact_bounds(game, solution.x, solution.y)
    assert max(upper - lower) <= Fraction(solution.exploitability) <= Fraction(1, 10**7)
    slow = shapley_iteration(game, 1e-6)
    assert abs(slow.v - solution.v).max() <= slow.error + solution.error


def test_shapleys_recursion_in_closed_form():
    """Matching pennies for 1 that goes on with probability 1/2 when heads meet: v = (1 + v/2)(1) - 1 over the sum.

    M = [[1 + g v, -1], [-1, 1]] with g = gamma / 2 has value g v / (4 + g v), so v = 0 or v = 1 - 4 / g < 0: v = 0.
    M = [[3 + g v, 0], [0, 1]] has value (3 + g v) / (4 + g v): g v^2 + (4 - g) v - 3 = 0.
    """
    g = 0.45
    game = stopped([[3, 0], [0, 1]], [[0.5, 0], [0, 0]], 2 * g)
    solution = solve_game(game, 1e-10)
    v = (-(4 - g) + np.sqrt((4 - g) ** 2 + 12 * g)) / (2 * g)
    assert abs(solution.v - [v, 0]).max() <= solution.error + 1e-14
    share = 1 / (4 + g * v)
    np.testing.assert_allclose(solution.x[0], [share, 1 - share], rtol=0, atol=1e-9)


def test_turn_based_games_have_pure_strategies():
    """State 0 is the maximiser's, state 1 the minimiser's; the other one's rows are repeated."""
    P = np.zeros((2, 2, 2, 2))
    P[0, 0, :, 0] = P[0, 1, :, 1] = 1  # stay for 1, or hand over for 3
    P[1, :, 0, 0] = P[1, :, 1, 1] = 1  # hand back at 2, or stay at 1.5
    r = np.zeros((2, 2, 2))
    r[0, 0], r[0, 1], r[1, :, 0], r[1, :, 1] = 1, 3, 2, 1.5
    solution = solve_game(MarkovGame(P, r, 0.5), 1e-10)
    # staying costs 1.5 / (1 - 0.5) = 3 in state 1; handing over is worth 3 + 1.5, handing back would cost 2 + 2.25
    assert abs(solution.v - [4.5, 3]).max() <= solution.error
    assert solution.x[0].tolist() == [0, 1]
    assert solution.y[1].tolist() == [0, 1]


def random_game(S, A, B, gamma, seed=0):
    rng = np.random.default_rng(seed)
    return MarkovGame(rng.dirichlet(np.full(S, 0.2), size=(S, A, B)), rng.normal(size=(S, A, B)), gamma)


def test_larger_games_take_few_iterations_and_agree_dense_sparse_and_on_threads():
    game = random_game(200, 3, 4, 0.999)
    twin = MarkovGame(csr_array(game.joint.P.reshape(-1, 200)), game.r, game.gamma)
    one, other, three = solve_game(game, 1e-6), solve_game(twin, 1e-6), solve_game(game, 1e-6, threads=3)
    assert one.iterations <= 15
    assert abs(one.v - other.v).max() <= one.error + other.error
    assert one.v.tobytes() == three.v.tobytes()
    assert one.x.tobytes() == three.x.tobytes()
    found = best_responses(game, one.x, one.y)
    assert found.exploitability <= one.exploitability + 2 * found.error


def test_kernels_say_the_same_in_the_interpreter():
    M = np.random.default_rng(0).normal(size=(3, 3, 4))
    outputs = [(np.empty(3), np.empty(3), np.zeros((3, 3)), np.zeros((3, 4))) for _ in range(2)]
    _play(M, 0, 3, *outputs[0])
    interpreted(_play)(M, 0, 3, *outputs[1])
    for one, other in zip(*outputs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_stage_games_are_the_backup():
    game = random_game(4, 2, 3, 0.9)
    v = np.arange(4.0)
    stage = _stage(_payoffs(game, v), 1)
    for s in range(4):
        truth = value_of(game.r[s] + 0.9 * game.P[s] @ v)
        assert abs(float(truth) - stage.value[s]) <= stage.gap + 1e-14


def test_a_tolerance_below_rounding_is_refused_with_the_best_solution():
    for solver in (solve_game, shapley_iteration):
        with pytest.raises(NotConverged, match=r"tolerance 1e-18 asked, .* certified") as refusal:
            solver(random_game(5, 2, 2, 0.9), 1e-18)
        assert 1e-18 < refusal.value.solution.error < 1e-10


ONE = MarkovGame(np.ones((1, 2, 2, 1)), [[[1, 0], [0, 1]]], 0.5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: MarkovGame([[[[0.5], [1]]]], [[[0, 0]]], 0.5), ValueError, r"P\[0, 0, 0\] sums to 0.5, not to 1"),
        (lambda: MarkovGame([[[[np.nan]]]], [[[0]]], 0.5), ValueError, r"P\[0, 0, 0, 0\] is nan"),
        (lambda: MarkovGame(np.ones((1, 2, 1, 1)), [[[0]]], 0.5), ValueError, r"P must have shape \(S, A, B, S\)"),
        (lambda: MarkovGame(csr_array(np.ones((2, 1))), [[[0]]], 0.5), ValueError, r"sparse P must have shape"),
        (lambda: MarkovGame([[[[1]]]], [[0]], 0.5), ValueError, r"r must have 3 axes"),
        (lambda: MarkovGame([[[[1]]]], [[[np.inf]]], 0.5), ValueError, r"r\[0, 0, 0\] is inf"),
        (lambda: MarkovGame(np.ones((1, 0, 1, 1)), np.ones((1, 0, 1)), 0.5), ValueError, r"r has shape \(1, 0, 1\)"),
        (lambda: MarkovGame([[[[1]]]], [[[0]]], 1), ValueError, r"gamma must lie in \[0, 1\), got 1"),
        (lambda: solve_game(ONE.joint), TypeError, r"game must be a MarkovGame, got TabularMDP"),
        (lambda: solve_game(ONE, -1), ValueError, r"tol must lie in \(0, inf\), got -1"),
        (lambda: solve_game(ONE, threads=0), ValueError, r"threads must be at least 1, got 0"),
        (lambda: solve_matrix_game([1, 2]), ValueError, r"M must have 2 axes"),
        (lambda: solve_matrix_game(np.ones((0, 2))), ValueError, r"M has shape \(0, 2\)"),
        (lambda: best_responses(ONE, [[1.0]], [[1, 0]]), ValueError, r"x must have shape \(S, A\) = \(1, 2\)"),
        (lambda: best_responses(ONE, [[1, 0]], [[1, 1]]), ValueError, r"y\[0\] sums to 2, not to 1"),
    ],
)
def test_bad_calls_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_game_owns_its_numbers():
    P, r = np.ones((1, 1, 1, 1)), np.zeros((1, 1, 1))
    game = MarkovGame(P, r, 0.5)
    P[:], r[:] = 7, 7
    assert game.P.item() == 1
    assert game.r.item() == 0
    assert isinstance(game.joint, TabularMDP)
