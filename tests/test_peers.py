"""QuantEcon's and pymdptoolbox's arrays: there and back, and solved by them and by us."""

import mdptoolbox.example
import mdptoolbox.mdp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, csr_matrix

from claimlab.mdps import from_pymdptoolbox, from_quantecon, solve, to_quantecon
from claimlab.theory.strategies import tabular_mdps


@settings(max_examples=40)
@given(tabular_mdps(masked=True))
def test_quantecon_round_trip(mdp):
    back = from_quantecon(*to_quantecon(mdp))
    used = slice(None, back.n_actions)  # actions that exist nowhere have no pairs to be listed
    assert not mdp.actions[:, back.n_actions :].any()
    assert back.is_sparse == mdp.is_sparse
    assert (back.r == mdp.r[:, used]).all()
    assert (back.actions == mdp.actions[:, used]).all()
    assert back.gamma == mdp.gamma
    for s, a in np.argwhere(mdp.actions):
        assert (back.row(s, a) == mdp.row(s, a)).all()


@settings(max_examples=20)
@given(tabular_mdps(masked=True, gammas=st.sampled_from([0.5, 0.9])))
def test_quantecon_solves_what_it_is_given(quantecon, mdp):
    theirs = quantecon.markov.DiscreteDP(*to_quantecon(mdp)).solve(method="policy_iteration")
    ours = solve(mdp)
    assert abs(theirs.v - ours.v).max() <= ours.error + 1e-12 / (1 - mdp.gamma)


def test_quantecon_pairs_by_hand():
    """Puterman's two states (2005, Section 3.1) as in QuantEcon's documentation, in both forms and any order."""
    Q, R, s, a = np.array([[0.5, 0.5], [0, 1], [0, 1]]), np.array([5.0, 10, -1]), [0, 0, 1], [0, 1, 0]
    product = from_quantecon([[5, 10], [-1, -np.inf]], [[[0.5, 0.5], [0, 1]], [[0, 1], [0.5, 0.5]]], 0.95)
    order = [2, 0, 1]
    forms = [
        product,
        from_quantecon(R, Q, 0.95, s, a),
        from_quantecon(R[order], csr_matrix(Q[order]), 0.95, np.take(s, order), np.take(a, order)),
    ]
    for mdp in forms:
        assert mdp.actions.tolist() == [[True, True], [True, False]]
        assert solve(mdp).v == pytest.approx([-8.57142857, -20], abs=1e-8)  # QuantEcon's documentation, ddp.py
    assert [mdp.is_sparse for mdp in forms] == [False, False, True]


Q2, I2 = np.full((1, 2, 1), 1.0), np.ones((2, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1, 2]], Q2, 1.0), r"beta must lie in \[0, 1\), got 1.0"),
        (([1, 2], Q2, 0.9), r"R must have shape \(S, A\) where no indices are given, got \(2,\)"),
        (([[1, np.nan]], Q2, 0.9), r"r\[0, 1\] is nan"),
        (([[-np.inf, -np.inf]], Q2, 0.9), r"actions\[0\] is empty"),
        (([[1, 2]], csr_array(I2), 0.9), "a sparse Q needs s_indices and a_indices"),
        (([1, 2], I2, 0.9, [0, 0]), "s_indices and a_indices must be given together"),
        (([1, 2, 3], I2, 0.9, [0, 0], [0, 1]), r"R must have shape \(L,\) and Q \(L, S\); got R \(3,\), Q \(2, 1\)"),
        (([1, 2], I2, 0.9, [0, 1], [0, 1]), r"s_indices\[1\] is 1, out of range"),
        (([1, 2], I2, 0.9, [0, 0], [0, -1]), r"a_indices\[1\] is -1, out of range"),
        (([1, 2], I2, 0.9, [0, 0], [0.0, 1.0]), r"a_indices must be integers of shape \(L,\) = \(2,\), got float64"),
        (([1, 2], I2, 0.9, [0, 0], [1, 1]), r"the pair \(s, a\) = \(0, 1\) is listed more than once"),
        (([1, 2], 0.5 * I2, 0.9, [0, 0], [0, 1]), r"P\[0, 0\] sums to 0.5, not to 1"),
    ],
)
def test_bad_calls_of_from_quantecon(arguments, message):
    with pytest.raises(ValueError, match=message):
        from_quantecon(*arguments)


@settings(max_examples=30)
@given(tabular_mdps(sparse=False))
def test_pymdptoolbox_forms(mdp):
    """Its forms of one MDP give ours: rewards of states, pairs and transitions; arrays and lists; dense and CSR."""
    P = mdp.P.transpose(1, 0, 2)
    A, S, _ = P.shape
    of_moves = np.arange(A * S * S).reshape(A, S, S) / 8
    expected = (P * of_moves).sum(axis=2).T
    csr = [csr_matrix(matrix) for matrix in P]
    for transitions in (P, list(P), csr, tuple(csr)):
        pairs = from_pymdptoolbox(transitions, mdp.r, mdp.gamma)
        assert (pairs.r == mdp.r).all()
        assert pairs.is_sparse == (not isinstance(transitions[0], np.ndarray))
        rows = [pairs.row(s, a) for s in range(S) for a in range(A)]
        np.testing.assert_array_equal(np.reshape(rows, mdp.P.shape), mdp.P)
        for moves in (of_moves, list(of_moves), [csr_matrix(matrix) for matrix in of_moves]):
            found = from_pymdptoolbox(transitions, moves, mdp.gamma).r
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14 * (1 + of_moves.max()))
    assert (from_pymdptoolbox(P, mdp.r[:, 0], mdp.gamma).r == mdp.r[:, :1]).all()


def test_pymdptoolbox_forest():
    """Its own example, the forest: both libraries find the same values."""
    P, R = mdptoolbox.example.forest(S=5)
    theirs = mdptoolbox.mdp.PolicyIteration(P, R, 0.96)
    theirs.run()
    ours = solve(from_pymdptoolbox(P, R, 0.96))
    assert abs(ours.v - theirs.V).max() <= ours.error + 1e-10
    sparse_P, sparse_R = mdptoolbox.example.forest(S=5, is_sparse=True)
    assert (from_pymdptoolbox(sparse_P, sparse_R, 0.96).r == R).all()


EYES = np.stack([np.eye(2)] * 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((EYES, np.zeros(2), 1), r"discount must lie in \[0, 1\), got 1"),
        (
            (EYES, np.zeros((3, 2)), 0.9),
            r"reward must have shape \(S,\) = \(2,\), \(S, A\) = \(2, 3\) or .*got \(3, 2\)",
        ),
        ((csr_array(np.eye(2)), np.zeros(2), 0.9), r"transitions must be an array \(A, S, S\) or a sequence"),
        (([], np.zeros(2), 0.9), "transitions is empty: an MDP needs at least one action"),
        (([np.eye(2), np.eye(3)], np.zeros(2), 0.9), r"transitions\[1\] has shape \(3, 3\), not \(S, S\)"),
        ((EYES[:, :1], np.zeros(2), 0.9), r"transitions\[0\] has shape \(1, 2\), not \(S, S\)"),
        ((np.eye(2), np.zeros(2), 0.9), r"transitions\[0\] must have 2 axes, got shape \(2,\)"),
        ((0.5 * EYES, np.zeros(2), 0.9), r"P\[0, 0\] sums to 0.5, not to 1"),
        ((EYES, [csr_matrix((2, 2))], 0.9), r"reward has 1 matrices \(2, 2\), transitions 3 of \(2, 2\)"),
    ],
)
def test_bad_calls_of_from_pymdptoolbox(arguments, message):
    with pytest.raises(ValueError, match=message):
        from_pymdptoolbox(*arguments)
