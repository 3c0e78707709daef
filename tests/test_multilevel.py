"""Policies' equations on several levels, against elimination and other solvers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from claimlab.mdps import TabularMDP, gridworld, krylov_policy_iteration, modified_policy_iteration
from claimlab.mdps.corrections import Pace
from claimlab.mdps.multilevel import LOOSE, Multilevel
from claimlab.mdps.multilevel_kernels import ALONE
from claimlab.mdps.tabular import EPS
from claimlab.mdps.unions import SHORT, union_rows, union_width, unsigned
from claimlab.theory.strategies import seeds


def drawn(seed: int, gamma: float) -> TabularMDP:
    """A small slippery grid with walls and pits, its states numbered at random."""
    rng = np.random.default_rng(seed)
    cells = rng.choice(list(".......#P"), size=(rng.integers(6, 14), rng.integers(6, 14)))
    cells[0, 0], cells[-1, -1] = ".", "G"
    mdp = gridworld(["".join(row) for row in cells], gamma, slip=rng.random(), step=-rng.random(), sparse=True)
    S, A = mdp.r.shape
    order = rng.permutation(S)
    rows = (order[:, None] * A + np.arange(A)).ravel()
    missing = np.flatnonzero(~mdp.actions)  # walls and ends: every action stays
    loops = csr_array((np.ones(len(missing)), (missing, missing // A)), shape=mdp.P.shape)
    return TabularMDP(csr_array((mdp.P + loops)[rows][:, order]), mdp.r[order], gamma)


def prepared(mdp, gamma, rng, shared):
    """The levels of a random policy and its matrix; states of the same rows share a kind, or have one each."""
    S, A = mdp.r.shape
    width = union_width(unsigned(mdp.P.indptr), unsigned(mdp.P.indices), S, A, SHORT)
    policy, levels = rng.integers(A, size=S), Multilevel(*union_rows(mdp.P, A, width, S if shared else None), gamma)
    levels.follow(policy)
    return levels, mdp.under(policy)[0].toarray()


@given(seeds(), st.sampled_from([0.5, 0.99, 0.9999]), st.booleans())
@settings(max_examples=25)
def test_levels_are_groups_of_states_with_their_mean_transitions(seed, gamma, shared):
    mdp = drawn(seed, gamma)
    levels, P = prepared(mdp, gamma, np.random.default_rng(seed), shared)
    for level, grouping in enumerate(levels.groupings, 1):
        kept = grouping.groups != ALONE
        member = np.zeros((len(kept), len(grouping.sizes)))
        member[kept, grouping.groups[kept].astype(int)] = 1
        assert (member.sum(axis=0) == grouping.sizes).all()
        expected = member.T @ P @ member / grouping.sizes[:, None]
        n, b, start = (int(x[level]) for x in (levels.levels.n, levels.levels.b, levels.levels.entries))
        P = np.zeros((n, n))
        weights = levels.levels.weights[start : start + n * b].reshape(n, b)
        np.add.at(P, (np.arange(n)[:, None], grouping.successors.astype(int)), weights)
        np.testing.assert_allclose(P, expected, rtol=0, atol=4 * np.finfo(np.float32).eps)  # levels are in float32


@given(seeds(), st.sampled_from([0.5, 0.9, 0.99, 0.9999]), st.booleans())
@settings(max_examples=25)
def test_corrections_leave_what_they_say(seed, gamma, shared):
    mdp = drawn(seed, gamma)
    rng = np.random.default_rng(seed)
    levels, P = prepared(mdp, gamma, rng, shared)
    e = np.empty(mdp.n_states)
    M, left = np.eye(mdp.n_states) - gamma * P, rng.standard_normal(mdp.n_states)
    for _ in range(4):
        largest = levels.solve(left, e, 0.0)
        rest = left - M @ e
        assert abs(abs(rest).max() - largest) <= 16 * EPS * (abs(e).max() + abs(left).max())
        left = rest
    if gamma <= 0.9:  # nearer to 1, states among which a random policy stays for ever may stall it
        assert abs(left).max() <= 1e-10


@given(seeds(), st.sampled_from([0.9, 0.999, 0.9999]))
@settings(max_examples=20)
def test_the_solver_on_levels_agrees_with_sweeps(seed, gamma):
    mdp = drawn(seed, gamma)
    ours, other = krylov_policy_iteration(mdp, 1e-5), modified_policy_iteration(mdp, 1e-5)
    assert abs(ours.v - other.v).max() <= ours.error + other.error


@pytest.mark.parametrize("gamma", [0.99, 0.999])
def test_a_grid_takes_few_iterations(gamma):
    """The Krylov method alone took more than twice as many; and a solution's own backup proves it again."""
    mdp = gridworld(["." * 100] * 99 + ["." * 99 + "G"], gamma, slip=2 / 3, step=-1.0, goal=-1.0, sparse=True)
    found = krylov_policy_iteration(mdp, 1e-6)
    residual = abs((mdp.r + gamma * mdp.expect(found.v))[mdp.actions.all(axis=1)].max(axis=1) - found.v[:-1]).max()
    assert found.iterations <= 14
    assert residual <= 2e-6


@pytest.mark.parametrize("seed", [3, 6, 12, 14])
def test_values_far_from_every_reward_take_few_corrections(seed):
    """Corrections alone went on without end here, each with errors of its own in every loop of a policy among ties."""
    cells = np.where(np.random.default_rng(seed).random((90, 90)) < 0.3, "#", ".")
    cells[0, 0], cells[-1, -1] = "S", "G"
    mdp = gridworld(["".join(row) for row in cells], 0.9999, slip=0.1, step=-1.0, goal=1.0, sparse=True)
    found = krylov_policy_iteration(mdp, 1e-6, max_iterations=100)
    q = np.where(mdp.actions, mdp.r + mdp.gamma * mdp.expect(found.v), -np.inf)
    assert abs(q.max(axis=1) - found.v).max() <= 2e-10


def test_sweeps_rest_from_corrections_that_do_not_help():
    pace, falling = Pace(), [4.0, 2.0, 3.0, 1.0]
    assert not any(pace.rests(size, first=i == 0) for i, size in enumerate(falling))
    assert pace.loose == LOOSE
    assert [pace.rests(size, first=False) for size in (1.0, 1.5, 1.2, 1.19, 5.0, 0.5)] == [
        False,  # one may fail
        True,
        True,  # sweeps help
        False,
        True,  # again in vain
        True,
    ]
    assert pace.loose == LOOSE / 100


MEMORY = """
from claimlab.experiments.benchmarks.instances import frozen, nbytes, transitions
from claimlab.experiments.benchmarks.solvers.protocol import Timed
from claimlab.mdps import TabularMDP, solve

instance = frozen(200, 0.08, seed=3)
mdp = TabularMDP(transitions(instance), instance["r"], 0.99)
Timed(solve, mdp, 1e-6).forget()  # compiles
peak = Timed(solve, mdp, 1e-6).peak
assert peak is None or peak <= nbytes(instance), peak / nbytes(instance)
"""


def test_a_grid_is_solved_in_twice_its_own_memory():
    """The rise while solving, of a process of its own, whose heap nothing else has cut up; None where none is told."""
    found = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
