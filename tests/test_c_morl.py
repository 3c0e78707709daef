"""Extension steps of two objectives, against linear programs and dense grids, and by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from claimlab.experiments.papers import c_morl

seeds = st.integers(0, 2**32 - 1)


@given(seeds)
def test_the_extension_step_is_a_linear_program(seed):
    rng = np.random.default_rng(seed)
    G = np.round(rng.random((rng.integers(1, 6), 2)), 1)
    least = 0.9 * G[:, 1].max()
    program = linprog(-G[:, 0], -G[None, :, 1], [-least], np.ones((1, len(G))), [1.0])
    found = c_morl.extension(G, least)
    assert found[0, 0] == pytest.approx(-program.fun, abs=1e-9)
    assert (found[:, 1] >= least - 1e-12).all()


@given(seeds)
def test_the_barrier_is_at_its_best_over_a_grid_of_mixtures(seed):
    rng = np.random.default_rng(seed)
    G, t = rng.random((3, 2)), rng.uniform(1, 30)
    least = 0.9 * G[:, 1].max()
    x, y = c_morl.barrier(G, least, t)
    weights = np.array([(i, j, 60 - i - j) for i in range(61) for j in range(61 - i)]) / 60
    mixed = weights @ G
    mixed = mixed[mixed[:, 1] > least]
    assert (mixed[:, 0] + np.log(mixed[:, 1] - least) / t).max() <= x + np.log(y - least) / t + 1e-12
    program = linprog(np.zeros(3), A_eq=np.vstack([G.T, np.ones(3)]), b_eq=[x, y, 1.0])
    assert program.success  # it is a mixture


@given(seeds)
def test_dominated_areas_are_sums_over_the_cells_of_all_coordinates(seed):
    G = np.round(np.random.default_rng(seed).random((4, 2)), 1)
    xs, ys = (np.unique(np.concatenate([[0.0], G[:, i]])) for i in (0, 1))
    cells = sum(
        (x1 - x0) * (y1 - y0)
        for x0, x1 in itertools.pairwise(xs)
        for y0, y1 in itertools.pairwise(ys)
        if ((G[:, 0] >= x1) & (G[:, 1] >= y1)).any()
    )
    assert c_morl.dominated_area(G) == pytest.approx(cells, abs=1e-12)


def test_by_hand():
    """Where x and y are exchanged one for one, 1 - y + log(y - 1/4)/10 is largest at y = 1/4 + 1/10."""
    G = c_morl.SLOPE["G"]
    np.testing.assert_allclose(c_morl.extension(G, 0.25), [[0.75, 0.25]])
    np.testing.assert_allclose(c_morl.barrier(G, 0.25, 10.0), [0.65, 0.35])
    level = c_morl.extension(c_morl.LEVEL["G"], 0.0)  # (1, 0) is a solution, and (1, 1) is better
    assert sorted(level.tolist()) == [[1.0, 0.0], [1.0, 1.0]]
    assert c_morl.dominated_area(np.array([[1.0, 0.5], [0.5, 1.0]])) == pytest.approx(0.75)
