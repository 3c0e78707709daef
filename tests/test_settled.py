"""What claims say has no noise has none: in several runs, of the sizes that a test can afford, nothing differs."""

import numpy as np
import pytest

from claimlab.experiments.papers.classic_bandits.adversarial import INDEX, round_robin
from claimlab.experiments.papers.classic_bandits.common import regrets
from claimlab.experiments.papers.classic_bandits.stochastic import THREE, Always
from claimlab.experiments.papers.dynamical_linear_bandits.regret import RHOS, greedy_regrets
from claimlab.experiments.papers.group_relative_reinforce.staleness import sampled_values
from claimlab.experiments.papers.learning_to_relax.heat import LEARNERS, OMEGAS, on_product
from claimlab.experiments.papers.learning_to_relax.sequences import TSALLIS, TSALLIS_CB, Blind, Play, totals
from claimlab.experiments.papers.learning_to_relax.simulation import Heat, counted, lengths
from claimlab.experiments.papers.loop.common import DELTA, lives
from claimlab.experiments.papers.loop.comparators import two_doors
from claimlab.experiments.papers.props.visits import GREEDY, TIMES, _world, shares, total_variation
from claimlab.mdps.loop_tabular import TabularLOOP
from claimlab.theory.claims import SMOKE
from claimlab.theory.evidence import log_slopes


@pytest.mark.parametrize(("algorithm", "env"), [(INDEX, round_robin(200)), (Always(0), THREE)], ids=["ucb1", "always"])
def test_an_algorithm_that_draws_nothing(algorithm, env):
    found = regrets(algorithm, env, SMOKE.of("it"), horizon=200, runs=8)
    assert np.ptp(found) == 0


def test_the_greedy_regret_is_proportional_to_the_inverse_of_one_minus_rho_in_every_run():
    slopes = log_slopes(1 / (1 - RHOS), greedy_regrets(3, runs=6))
    np.testing.assert_allclose(slopes, 1.0, atol=1e-12)
    assert np.ptp(greedy_regrets(3, runs=6)[:, 0]) > 0  # though the regret itself differs


def test_without_its_context_the_contextual_tsallis_is_the_other():
    game = Play(60, 3, 5)
    blind, plain = (totals(alg, "high", game) for alg in (Blind(TSALLIS_CB), TSALLIS))
    np.testing.assert_array_equal(blind, plain)
    assert (totals(TSALLIS_CB, "high", game) != plain).any()


def test_with_equal_steps_the_product_is_the_coefficient():
    found = [
        counted(alg, Heat(10, OMEGAS, lengths(150), shown=shown), runs=3, seed=2)
        for alg, shown in ((LEARNERS["ChebCB"], False), (on_product(1.0), True))
    ]
    np.testing.assert_array_equal(*found)


def test_on_fresh_data_the_clip_never_acts():
    np.testing.assert_array_equal(sampled_values(1, True, 6, 4), sampled_values(1, False, 6, 4))


@pytest.mark.parametrize("seed", range(5))
def test_in_a_split_world_the_shares_stay(seed):
    P, pi, d = _world(np.random.default_rng(seed), "split")
    found = total_variation(shares(GREEDY, P, pi, TIMES, 2, seed), d)
    np.testing.assert_allclose(log_slopes(TIMES, found), 0.0, atol=1e-12)


def test_behind_a_door_that_stays_shut_nothing_is_drawn():
    there = two_doors(0.0)
    found = lives(TabularLOOP(there.span, DELTA), there, 256, 6, 1).shortfall[:, -1]
    assert np.ptp(found) == 0
    assert found[0] >= 256 / 2 - 1
