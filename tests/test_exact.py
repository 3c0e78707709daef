from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from claimlab.mdps import TabularMDP
from claimlab.mdps.exact import (
    exact,
    optimal_actions_exactly,
    policy_value_exactly,
    rational_mdp,
    rationals,
    solve_exactly,
    solve_linear,
)
from claimlab.theory.strategies import tabular_mdps, tied_mdps

fractions = st.fractions(-3, 3, max_denominator=7)


@given(
    st.integers(1, 4).flatmap(lambda n: st.tuples(arrays(object, (n, n), elements=fractions), st.just(n))), st.data()
)
def test_linear_systems_agree_with_sympy(pair, data):
    A, n = pair
    b = data.draw(arrays(object, (n, 2), elements=fractions))
    matrix = sympy.Matrix(n, n, [sympy.Rational(a.numerator, a.denominator) for a in A.flat])
    if matrix.det() == 0:
        with pytest.raises(ValueError, match=r"A is singular: its column \d depends on the columns before it"):
            solve_linear(A, b)
    else:
        x = solve_linear(A, b)
        assert (A @ x == b).all()
        assert (solve_linear(A, b[:, 0]) == x[:, 0]).all()


def test_thirty_floats_by_thirty():
    rng = np.random.default_rng(0)
    A, b = rationals(rng.normal(size=(30, 30))), rationals(rng.normal(size=30))
    x = solve_linear(A, b)
    assert (A @ x == b).all()


@given(tabular_mdps(masked=True, terminal=True))
def test_solutions_satisfy_the_optimality_equation_exactly(mdp):
    P, r, gamma, actions = rational_mdp(mdp)
    v, q, policy, optimal = exact(mdp)
    states = np.arange(mdp.n_states)
    backup = r + gamma * (P * v).sum(axis=2)
    assert (q[actions] == backup[actions]).all()
    assert (q[~actions] == -np.inf).all()
    assert (v == q.max(axis=1)).all()
    assert (optimal == (q == v[:, None])).all()
    assert (policy == optimal.argmax(axis=1)).all()
    assert (policy_value_exactly(P, r, gamma, policy, actions) == v).all()
    assert (policy_value_exactly(P, r, gamma, np.eye(mdp.n_actions)[policy], actions) == v).all()
    assert v[states].tolist() == v.tolist()


@given(tabular_mdps(max_states=2, max_actions=2, masked=True))
def test_optimum_is_the_best_of_all_policies(mdp):
    P, r, gamma, actions = rational_mdp(mdp)
    choices = product(*(np.flatnonzero(row) for row in actions))
    best = np.stack([policy_value_exactly(P, r, gamma, np.array(pi), actions) for pi in choices]).max(axis=0)
    assert (exact(mdp).v == best).all()


@given(tied_mdps(masked=True))
def test_known_action_values_and_ties_come_out(pair):
    mdp, q = pair
    assert (exact(mdp).q == q).all()
    assert (optimal_actions_exactly(*rational_mdp(mdp)) == (q == q.max(axis=1, keepdims=True))).all()


def test_thirds_have_a_closed_form():
    """v0 = 1 + (1/2)(v0/3) with an absorbing worthless state: v0 = 6/5."""
    solution = solve_exactly([[["1/3", "2/3"]], [[0, 1]]], [[1], [0]], "1/2")
    assert solution.v.tolist() == [Fraction(6, 5), 0]


def test_normalise_makes_rows_of_floats_sum_to_one():
    mdp = TabularMDP(P=[[[0.1, 0.2, 0.7]]] * 3, r=[[1.0]] * 3, gamma=0.5)
    assert sum(rational_mdp(mdp).P[0, 0]) != 1  # 0.1 + 0.2 + 0.7 in binary
    assert sum(rational_mdp(mdp, normalise=True).P[0, 0]) == 1
    assert exact(mdp, normalise=True).v.tolist() == [2, 2, 2]
    assert exact(mdp).v.tolist() != [2, 2, 2]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, Fraction(1, 2)),
        ("1/3", Fraction(1, 3)),
        ("0.1", Fraction(1, 10)),
        (np.int64(2**62), Fraction(2**62)),
        (np.float32(0.25), Fraction(1, 4)),
        (True, Fraction(1)),
        (Fraction(2, 7), Fraction(2, 7)),
    ],
)
def test_conversion_is_exact(value, expected):
    assert rationals([value]).tolist() == [expected]
    assert type(rationals([value])[0].numerator) is int
    assert rationals([value])[0] * 2**10 / 2**10 == expected  # numpy integers would overflow


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rationals([[0, np.nan]], "r"), r"r\[0, 1\] is nan; only finite numbers"),
        (lambda: rationals(["x"]), r"x\[0\] is 'x'; only finite numbers and strings like '1/3'"),
        (lambda: rationals(np.inf), "x is inf"),
        (lambda: rationals(["1/0"]), r"x\[0\] is '1/0'"),
        (lambda: solve_linear([[1, 2]], [1]), r"A must be square, got shape \(1, 2\)"),
        (lambda: solve_linear([[1]], [1, 2]), r"b must have shape \(1,\) or \(1, k\), got \(2,\)"),
        (lambda: solve_linear([[1, 1], [1, 1]], [1, 2]), "A is singular: its column 1"),
        (lambda: solve_exactly([[[1]]], [[1, 2]], 0), r"P must have shape \(S, A, S\)"),
        (lambda: solve_exactly([[["1/2"]]], [[1]], 0), r"P\[0, 0\] sums to 0.5, not to 1"),
        (lambda: solve_exactly([[[-1, 2]], [[0, 1]]], [[1], [1]], 0), r"P\[0, 0, 0\] is -1; probabilities"),
        (lambda: solve_exactly([[[1]]], [[1]], 1), r"gamma must lie in \[0, 1\), got 1"),
        (lambda: solve_exactly([[[1 + 1e-10]]], [[1]], 1 - 1e-12), "times the largest row sum of P"),
        (lambda: solve_exactly([[[1]]], [[1]], 0, [[False]]), r"actions\[0\] is empty"),
        (lambda: policy_value_exactly([[[1]]], [[1]], 0, [1]), r"pi\[0\] is 1, which is not an action of state 0"),
        (lambda: policy_value_exactly([[[1]]], [[1]], 0, [["1/2"]]), r"pi\[0\] sums to 0.5"),
        (lambda: policy_value_exactly([[[1]]], [[1]], 0, [0, 0]), r"pi must be int\[S\] = int\[1\]"),
        (
            lambda: policy_value_exactly([[[1], [1]]], [[1, 1]], 0, [[0.5, 0.5]], [[True, False]]),
            r"pi\[0, 1\] is positive, but that action does not exist",
        ),
    ],
)
def test_bad_calls_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
