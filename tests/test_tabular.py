"""What an MDP can be made of, and what each bad ingredient is answered with."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from claimlab.mdps import AverageMDP, EpisodicMDP, TabularMDP, bellman, occupancy, policy_value, solve
from claimlab.theory.strategies import policies, tabular_mdps, values

P = np.array([[[0.5, 0.5], [0, 1]], [[1, 0], [0.25, 0.75]]])
R = np.array([[1.0, 2.0], [0.0, -1.0]])
ONE_MISSING = [[True, True], [True, False]]
STAYS = np.array([[[0.5, 0.5], [0, 1]], [[0, 1], [0, 1]]])  # state 1 absorbs
PAYS_NOTHING = np.array([[1.0, 2.0], [0.0, 0.0]])


def put(array, index, value):
    out = np.array(array, dtype=float)
    out[index] = value
    return out


def sparse(array):
    return csr_array(np.reshape(array, (-1, np.shape(array)[-1])))


def broken_csr():
    good = sparse(P)
    good.indices[2] = 99
    return good


BAD = {
    "sum 0.999": ({"P": put(P, (1, 1), [0.25, 0.749])}, r"P\[1, 1\] sums to 0.999, not to 1 .*1 such rows.*pass P /"),
    "several sums": ({"P": 0.5 * P}, r"P\[0, 0\] sums to 0.5, not to 1 .*4 such rows"),
    "sum off by 2e-9": ({"P": put(P, (0, 1), [0, 1 + 2e-9])}, r"P\[0, 1\] sums to 1.000000002, not to 1"),
    "negative": ({"P": put(P, (1, 1), [-0.25, 1.25])}, r"P\[1, 1, 0\] is -0.25; probabilities cannot be negative"),
    "NaN": ({"P": put(P, (1, 1, 0), np.nan)}, r"P\[1, 1, 0\] is nan; every entry must be finite"),
    "inf": ({"P": put(P, (0, 1, 1), np.inf)}, r"P\[0, 1, 1\] is inf; every entry must be finite"),
    "P of one row": ({"P": [1.0, 0.0]}, r"P must have shape \(S, A, S\), got \(2,\)"),
    "P of two axes": ({"P": P[0]}, r"P must have shape \(S, A, S\), got \(2, 2\)"),
    "P not square": ({"P": P[:1]}, r"P must have shape \(S, A, S\), got \(1, 2, 2\)"),
    "no states": ({"P": np.zeros((0, 2, 0)), "r": np.zeros((0, 2))}, "needs at least one state and one action"),
    "no actions": ({"P": np.zeros((2, 0, 2)), "r": np.zeros((2, 0))}, "needs at least one state and one action"),
    "P None": ({"P": None}, r"P must have shape \(S, A, S\), got \(\)"),
    "P text": ({"P": P.astype(str)}, "P must be an array of real numbers: its type is <U32"),
    "P text, masked": ({"P": P.astype(str), "actions": ONE_MISSING}, "P must be an array of real numbers: its type"),
    "P complex": ({"P": P + 0j}, "P must be an array of real numbers: its type is complex128"),
    "P of objects": ({"P": np.full((2, 2, 2), object())}, "P must be an array of real numbers: float"),
    "P ragged": ({"P": [[[1, 0], [1]], [[1, 0], [0, 1]]]}, "P must be an array of real numbers: .*inhomogeneous"),
    "masked, other row bad": ({"P": put(P, (0, 1), 0.4), "actions": ONE_MISSING}, r"P\[0, 1\] sums to 0.8"),
    "masked, NaN elsewhere": ({"P": put(P, (0, 1), np.nan), "actions": ONE_MISSING}, r"P\[0, 1, 0\] is nan"),
    "sparse rows": (
        {"P": sparse(P)[:3]},
        r"sparse P must have shape \(S\*A, S\), row s\*A \+ a; got \(3, 2\) with A = 2",
    ),
    "sparse columns": ({"P": csr_array(np.eye(4))}, r"sparse P of shape \(4, 4\) needs r of shape \(S, A\)"),
    "sparse, no states": ({"P": csr_array((0, 0)), "r": csr_array((0, 0))}, r"sparse P must have shape \(S\*A, S\)"),
    "sparse negative": ({"P": sparse(put(P, (1, 1), [-0.25, 1.25]))}, r"P\[1, 1, 0\] is -0.25; probabilities"),
    "sparse NaN": ({"P": sparse(put(P, (1, 1, 1), np.nan))}, r"P\[1, 1, 1\] is nan; every entry must be finite"),
    "sparse sum": ({"P": sparse(put(P, (1, 1), [0.25, 0.749]))}, r"P\[1, 1\] sums to 0.999, not to 1"),
    "sparse empty row": ({"P": sparse(put(P, (0, 1), 0))}, r"P\[0, 1\] sums to 0, not to 1"),
    "sparse complex": ({"P": sparse(P + 0j)}, "P must hold real numbers, got complex128"),
    "sparse, index out of bounds": ({"P": broken_csr()}, "P is not a valid sparse matrix: .*must be < 2"),
    "sparse masked sum": ({"P": sparse(put(P, (0, 1), 0.4)), "actions": ONE_MISSING}, r"P\[0, 1\] sums to 0.8"),
    "r of one axis": ({"r": [1, 2]}, r"r must have shape \(S, A\) or \(S, A, S\) .* got P \(2, 2, 2\), r \(2,\)"),
    "r wide": ({"r": np.zeros((2, 3))}, r"got P \(2, 2, 2\), r \(2, 3\)"),
    "r of three axes": ({"r": np.zeros((2, 2, 3))}, r"got P \(2, 2, 2\), r \(2, 2, 3\)"),
    "r transposed": ({"P": np.ones((1, 2, 1)), "r": np.zeros((2, 1))}, r"got P \(1, 2, 1\), r \(2, 1\)"),
    "r NaN": ({"r": put(R, (0, 1), np.nan)}, r"r\[0, 1\] is nan; every entry must be finite"),
    "r inf": ({"r": put(R, (1, 0), -np.inf)}, r"r\[1, 0\] is -inf; every entry must be finite"),
    "r of transitions NaN": ({"r": put(P, (1, 0, 1), np.nan)}, r"r\[1, 0, 1\] is nan; every entry must be finite"),
    "r text": ({"r": [["1", "2"], ["3", "4"]]}, "r must be an array of real numbers: its type is <U1"),
    "r complex": ({"r": R + 0j}, "r must be an array of real numbers: its type is complex128"),
    "r ragged": ({"r": [[1, 2], [3]]}, "r must be an array of real numbers: .*inhomogeneous"),
    "r None": ({"r": None}, r"got P \(2, 2, 2\), r \(\)"),
    "sparse P, r of one axis": ({"P": sparse(P), "r": [1, 2]}, r"needs r of shape \(S, A\) or \(S, A, S\), got \(2,\)"),
    "sparse r, dense P": ({"r": sparse(P)}, r"r must have shape \(S, A\) or \(S, A, S\)"),
    "sparse r, other shape": ({"P": sparse(P), "r": csr_array((4, 3))}, "a sparse r must have the shape of a sparse P"),
    "sparse r NaN": ({"P": sparse(P), "r": sparse(put(P, (1, 1, 1), np.nan))}, r"r\[1, 1, 1\] is nan; every entry"),
    "gamma 1": ({"gamma": 1}, r"gamma must lie in \[0, 1\), got 1"),
    "gamma negative": ({"gamma": -0.1}, r"gamma must lie in \[0, 1\), got -0.1"),
    "gamma NaN": ({"gamma": np.nan}, r"gamma must lie in \[0, 1\), got nan"),
    "gamma inf": ({"gamma": np.inf}, r"gamma must lie in \[0, 1\), got inf"),
    "gamma text": ({"gamma": "0.5"}, "gamma must be a number, got '0.5'"),
    "gamma None": ({"gamma": None}, "gamma must be a number, got None"),
    "gamma list": ({"gamma": [0.5, 0.5]}, r"gamma must be a number, got \[0.5, 0.5\]"),
    "gamma complex": ({"gamma": 0.5j}, "gamma must be a number, got 0.5j"),
    "empty action set": ({"actions": [[1, 1], [0, 0]]}, r"actions\[1\] is empty: every state needs an action"),
    "actions of one axis": ({"actions": [1, 1]}, r"actions must have shape \(S, A\) = \(2, 2\), got \(2,\)"),
    "actions of numbers": ({"actions": [[1, 2], [1, 1]]}, "actions must hold booleans, got int64"),
    "actions NaN": ({"actions": [[1, np.nan], [1, 1]]}, "actions must hold booleans, got float64"),
    "actions text": ({"actions": [["a", "b"], ["a", "b"]]}, "actions must hold booleans, got <U1"),
    "terminal leaves": ({"terminal": [0, 1]}, r"terminal\[1\] is set, but action 0 there leaves the state"),
    "terminal pays": ({"P": STAYS, "terminal": [0, 1]}, r"terminal\[1\] is set, but action 1 .* pays r\[1, 1\] = -1"),
    "terminal nearly stays": (
        {"P": put(STAYS, (1, 0), [1e-8, 1 - 1e-8]), "r": PAYS_NOTHING, "terminal": [0, 1]},
        r"terminal\[1\] is set, but action 0 there leaves the state",
    ),
    "terminal shape": ({"terminal": [0, 1, 0]}, r"terminal must have shape \(S,\) = \(2,\), got \(3,\)"),
    "terminal numbers": ({"terminal": [0, 3]}, "terminal must hold booleans"),
    "initial short": ({"initial": [1.0]}, r"initial must have shape \(S,\) = \(2,\), got \(1,\)"),
    "initial of two axes": ({"initial": [[1.0, 0.0]]}, r"initial must have 1 axes, got shape \(1, 2\)"),
    "initial sum": ({"initial": [0.5, 0.499]}, "initial sums to 0.999, not to 1"),
    "initial negative": ({"initial": [1.5, -0.5]}, r"initial\[1\] is -0.5; probabilities cannot be negative"),
    "initial NaN": ({"initial": [np.nan, 1]}, r"initial\[0\] is nan; every entry must be finite"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_ingredients(arguments, message):
    with pytest.raises(ValueError, match=message):
        TabularMDP(**{"P": P, "r": R, "gamma": 0.9, **arguments})


@pytest.mark.parametrize("cls", [AverageMDP, lambda P, r: EpisodicMDP(P, r, 3)], ids=["average", "episodic"])
def test_the_other_criteria_check_alike(cls):
    with pytest.raises(ValueError, match=r"P\[1, 1\] sums to 0.999"):
        cls(put(P, (1, 1), [0.25, 0.749]), R)


@pytest.mark.parametrize(
    ("horizon", "message"),
    [
        (0, "at least 1, got 0"),
        (-1, "at least 1, got -1"),
        (2.5, "whole number, got 2.5"),
        (True, "whole number, got True"),
        (np.inf, "whole number, got inf"),
        (np.nan, "whole number, got nan"),
        ("3", "whole number, got '3'"),
        (None, "whole number, got None"),
    ],
)
def test_bad_horizons(horizon, message):
    with pytest.raises(ValueError, match=f"horizon must be (a )?{message}"):
        EpisodicMDP(P, R, horizon)


def test_horizons_may_be_any_whole_number():
    assert [EpisodicMDP(P, R, h).horizon for h in (3, 3.0, np.int32(3))] == [3, 3, 3]


@pytest.mark.parametrize(
    ("pi", "message"),
    [
        ([0, 1], r"pi\[1\] is 1, which is not an action of state 1"),
        ([0, 2], r"pi\[1\] is 2, which is not an action of state 1"),
        ([-1, 0], r"pi\[0\] is -1, which is not an action of state 0"),
        ([0, 0, 0], r"pi must have shape \(S,\) = \(2,\), got \(3,\)"),
        ([[1, 0], [0.5, 0.5]], r"pi\[1, 1\] is positive, but that action does not exist"),
        ([[1, 0], [0.9, 0]], r"pi\[1\] sums to 0.9, not to 1"),
        ([[1, 0], [1.5, -0.5]], r"pi\[1, 1\] is -0.5; probabilities cannot be negative"),
        ([[1, 0, 0], [1, 0, 0]], r"pi must have shape \(S, A\) = \(2, 2\), got \(2, 3\)"),
        ([0.0, 0.0], r"pi must have 2 axes, got shape \(2,\)"),
        ([True, False], r"pi must have 2 axes, got shape \(2,\)"),
        (0, r"pi must have 2 axes, got shape \(\)"),
        ("best", "pi must be an array of real numbers"),
    ],
)
def test_bad_policies(pi, message):
    mdp = TabularMDP(P, R, 0.9, actions=ONE_MISSING)
    with pytest.raises(ValueError, match=message):
        policy_value(mdp, pi)


def test_rows_of_missing_actions_are_ignored():
    """What stands in the row of a missing action, NaN or negative, is replaced by zeros, in P and in r."""
    rubbish, paid = put(P, (1, 1), [np.nan, -3]), put(R, (1, 1), np.inf)
    for given_P in (rubbish, sparse(rubbish)):
        mdp = TabularMDP(given_P, paid, 0.9, actions=ONE_MISSING)
        assert not mdp.row(1, 1).any()
        assert mdp.r[1, 1] == 0
        assert bellman(mdp, [1.0, 1.0])[1, 1] == -np.inf


@pytest.mark.parametrize("mask", [None, ONE_MISSING], ids=["all", "masked"])
def test_rewards_of_transitions_become_expectations(mask):
    """r(s, a) = sum_t P(t|s, a) r(s, a, t), by hand: 0.5 * 1 + 0.5 * 3 in the first pair."""
    r = np.array([[[1, 3], [5, 7]], [[9, 11], [13, 17]]])
    expected = np.array([[2.0, 7.0], [9.0, 0.0 if mask else 16.0]])
    for mdp in (
        TabularMDP(P, r, 0.9, actions=mask),
        TabularMDP(sparse(P), r, 0.9, actions=mask),
        TabularMDP(sparse(P), sparse(r), 0.9, actions=mask),
    ):
        assert (mdp.r == expected).all()


def test_rewards_of_missing_transitions_are_ignored():
    r = put(np.ones((2, 2, 2)), (1, 1), np.nan)
    for given_P, given_r in ((P, r), (sparse(P), r), (sparse(P), sparse(r))):
        assert (TabularMDP(given_P, given_r, 0.9, actions=ONE_MISSING).r == [[1, 1], [1, 0]]).all()


def test_unreachable_states_are_fine():
    """State 2 is never entered; the values of the others are those without it."""
    P3 = np.zeros((3, 2, 3))
    P3[:2, :, :2], P3[2, :, 0] = P, 1
    mdp = TabularMDP(P3, [*R, [5, 5]], 0.9, initial=[1, 0, 0])
    two = TabularMDP(P, R, 0.9, initial=[1, 0])
    both = solve(mdp), solve(two)
    assert abs(both[0].v[:2] - both[1].v).max() <= both[0].error + both[1].error
    assert occupancy(mdp, both[0].policy)[2].sum() == 0


def test_nothing_can_be_changed():
    for given_P in (P, sparse(P)):
        mdp = TabularMDP(given_P, R, 0.9)
        with pytest.raises(FrozenInstanceError):
            mdp.gamma = 0.5
        numbers = mdp.P.data if mdp.is_sparse else mdp.P
        for array in (numbers, mdp.r, mdp.actions, mdp.terminal, mdp.initial):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


def test_what_was_given_is_copied():
    for given_P in (P.copy(), sparse(P)):
        r, actions = R.copy(), np.ones((2, 2), bool)
        mdp = TabularMDP(given_P, r, 0.9, actions=actions)
        before = mdp.row(0, 0).copy(), mdp.r.copy()
        (given_P if given_P is not None and not mdp.is_sparse else given_P.data)[...] = 7
        r[...], actions[...] = 7, False
        assert (mdp.row(0, 0) == before[0]).all()
        assert (mdp.r == before[1]).all()
        assert mdp.actions.all()


def test_defaults():
    mdp = TabularMDP(P, R, 0)
    assert mdp.actions.all()
    assert not mdp.terminal.any()
    assert mdp.initial.tolist() == [0.5, 0.5]
    assert mdp.gamma == 0.0


def test_duplicates_of_a_sparse_matrix_add_up():
    doubled = csr_array((np.full(8, 0.5), np.repeat([0, 1, 1, 0], 2), np.arange(0, 9, 2)), shape=(4, 2))
    assert TabularMDP(doubled, R, 0.9).row(0, 0).tolist() == [1, 0]
    assert TabularMDP(doubled, R, 0.9).P.nnz == 4


def test_with_reward_keeps_the_rest():
    mdp = TabularMDP(STAYS, PAYS_NOTHING, 0.9, terminal=[0, 1], initial=[1, 0], actions=ONE_MISSING)
    other = mdp.with_reward([[3, 4], [0, 0]])
    assert other.r.tolist() == [[3, 4], [0, 0]]
    assert (other.gamma, *other.terminal, *other.initial) == (0.9, False, True, 1, 0)
    assert (other.actions == mdp.actions).all()
    with pytest.raises(ValueError, match="a terminal state must stay with reward 0"):
        mdp.with_reward([[3, 4], [1, 0]])


@given(st.data())
def test_sparse_is_dense(data):
    """The two ways of storing P give the same rows, expectations, policies' chains and row errors."""
    dense = data.draw(tabular_mdps(sparse=False, masked=True, terminal=True))
    kept = {"actions": dense.actions, "terminal": dense.terminal, "initial": dense.initial}
    csr = TabularMDP(sparse(dense.P), dense.r, dense.gamma, **kept)
    v, pi = data.draw(values(dense)), data.draw(policies(dense))
    rows = [[mdp.row(s, a) for s in range(mdp.n_states) for a in range(mdp.n_actions)] for mdp in (dense, csr)]
    np.testing.assert_array_equal(*rows)
    slack = 4 * dense.n_states * np.finfo(float).eps  # products of rows in another order
    np.testing.assert_allclose(csr.expect(v), dense.expect(v), rtol=0, atol=slack * 10)  # values are within 10
    for policy in (pi, pi.argmax(axis=1)):
        (P_csr, r_csr), (P_dense, r_dense) = csr.under(policy), dense.under(policy)
        np.testing.assert_allclose(P_csr.toarray(), P_dense, rtol=0, atol=slack)
        np.testing.assert_array_equal(r_csr, r_dense)


@given(tabular_mdps(masked=True, terminal=True))
def test_making_it_again_changes_no_bit(mdp):
    again = TabularMDP(mdp.P, mdp.r, mdp.gamma, actions=mdp.actions, terminal=mdp.terminal, initial=mdp.initial)
    for name in ("r", "actions", "terminal", "initial"):
        assert (getattr(again, name) == getattr(mdp, name)).all()
    if mdp.is_sparse:
        for name in ("data", "indices", "indptr"):
            assert (getattr(again.P, name) == getattr(mdp.P, name)).all()
    else:
        assert (again.P == mdp.P).all()


@pytest.mark.parametrize("counts", [[1, 3, 2, 2], [3, 1, 1, 2]])
def test_the_row_length_is_that_of_the_longest_row(counts):
    """Of whatever order, and the bound on rounding grows with it."""
    rows = np.array([[1.0] * n + [0.0] * (4 - n) for n in counts for _ in range(2)]) / np.repeat(counts, 2)[:, None]
    for P in (rows.reshape(4, 2, 4), csr_array(rows)):
        mdp = TabularMDP(P, np.zeros((4, 2)), 0.9)
        assert mdp.row_length == 3
        assert mdp.row_error >= 3 * np.finfo(float).eps


def test_one_state_stored_sparse():
    assert policy_value(TabularMDP(csr_array([[1.0]]), [[3.0]], 0.5), [0]).v == pytest.approx([6.0])


@pytest.mark.parametrize("store", [np.asarray, sparse])
def test_rows_and_rewards_under_a_deterministic_policy(store):
    rng, pi = np.random.default_rng(0), np.array([2, 0, 1, 1])
    mdp = TabularMDP(store(rng.dirichlet(np.ones(4), size=(4, 3))), rng.random((4, 3)), 0.9)
    P_pi, r_pi = mdp.under(pi)
    np.testing.assert_array_equal(P_pi.toarray() if mdp.is_sparse else P_pi, [mdp.row(s, pi[s]) for s in range(4)])
    np.testing.assert_array_equal(r_pi, [mdp.r[s, pi[s]] for s in range(4)])
