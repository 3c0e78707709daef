"""Offline and expressive policies: laws of best-of-n by enumeration, nearest pairs by a tree, and cases by hand."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import KDTree

from claimlab.experiments.papers import expo, prdc

seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(1, 4))
def test_best_of_n_is_the_law_over_all_candidates(seed, n):
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.ones(3)), np.round(rng.random(3), 1)  # ties
    expected = np.zeros(3)
    for candidates in product(range(3), repeat=n):
        expected[min(candidates, key=lambda a: (-q[a], a))] += np.prod(p[list(candidates)])
    np.testing.assert_allclose(expo.best_of(p[None], q[None], n)[0], expected, atol=1e-12)


def test_two_candidates_by_hand():
    """Signs of two critics: ++, +-, -+ give +1 and -- gives -1, so the target is too high by a half."""
    assert expo.excess(1.0, 2) == 0.5
    assert expo.excess(1.0, 1) == 0.0


@given(seeds)
def test_the_nearest_pair_is_that_of_a_tree(seed):
    rng = np.random.default_rng(seed)
    states, actions = rng.uniform(-1, 1, (2, 20))
    s, a, beta = rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0.1, 3)
    distance, at = KDTree(np.stack([beta * states, actions], axis=1)).query([beta * s, a])
    found, gap = prdc.nearest(states, actions, np.array(s), np.array(a), np.array(beta))
    assert found == at
    assert gap == pytest.approx(distance)


def test_the_far_cluster_is_chosen_by_hand():
    """From state 0 and action 1, (1, 1) is at distance β and (0, -1) at distance 2: the far state wins for β < 2."""
    pairs = prdc.CLUSTERS["states"], prdc.CLUSTERS["actions"], np.array(0.0), np.array(1.0)
    assert [int(prdc.nearest(*pairs, np.array(beta))[0]) for beta in (1.9, 2.1)] == [1, 0]
