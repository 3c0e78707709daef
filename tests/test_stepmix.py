"""StepMix as a whole: a claim for every result, smaller falsehoods than the controls are caught, worked instances."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimlab.experiments.papers import stepmix
from claimlab.experiments.papers.stepmix import certificates, mixtures, offline, price
from claimlab.experiments.papers.stepmix.audit import COIN, EPISODES, OUTSIDE, Audit, expected_widths
from claimlab.experiments.papers.stepmix.instances import (
    cliff_edge,
    entrance_lock,
    minimax_tree,
    published_random,
    sparse_task,
    sparse_terminal,
    suite,
)
from claimlab.mdps import EpsMix, StepMix, play_episodes, staged_optimum, staged_value
from claimlab.mdps.beliefs import new_beliefs
from claimlab.theory.claims import SMOKE
from claimlab.theory.evidence import Outcome

BUDGET = replace(SMOKE, seed=20_26)


def test_every_result_of_the_paper_has_a_claim():
    sources = " | ".join(claim.source for claim in stepmix.CLAIMS)
    for result in ("Theorem 1", "Theorem 2", "Theorem 3", "Section on experiments", "abstract", "Weissman"):
        assert result in sources


@pytest.mark.parametrize(
    "wrong",
    [
        lambda budget: certificates._every_policy_check(budget, scale=0.99),
        lambda budget: mixtures._floor_check(budget, share=0.97),
        lambda budget: offline._shortfall_check(budget, factor=0.99),
        lambda budget: price._price_check(budget, factor=0.4),
    ],
)
def test_smaller_falsehoods_than_the_controls_are_caught(wrong):
    assert wrong(BUDGET.of("wrong")).rule(0.05)[0] is Outcome.REFUTED


def test_the_two_traps_by_hand():
    """Half and half at two steps stays with probability 1/4: 1/2 * 1/4 + 0.1 * 1/2 = 0.175, below 0.3."""
    trial = mixtures._floor(**mixtures._two_traps(), share=1.0, where="all steps")
    assert trial.value == pytest.approx(0.3, abs=1e-12)
    assert trial.bound == pytest.approx(0.175, abs=1e-12)
    step = mixtures._floor(**mixtures._two_traps(), share=1.0, where="step")
    assert step.bound == pytest.approx(0.3, abs=1e-12)


def test_a_certificate_is_passed_over_by_hand():
    case = mixtures._passed_over()
    moment = mixtures._ledge(case["risk"], case["gain"])
    np.testing.assert_allclose(moment.certificates, [0.425, 0.75, 0.65, 1, 1], rtol=0, atol=1e-12)
    (one, rho, _), (two, _, _) = (moment.mixture(moment.threshold(case[x])) for x in ("low", "high"))
    assert (one, two) == (1, 3)
    assert rho == pytest.approx(0.315 / 0.325)
    trial = mixtures._continuous(**case, rising=False)
    assert (trial.value, trial.bound) == (pytest.approx(1.0), pytest.approx(0.2))
    assert mixtures._continuous(**case, rising=True) is None


def test_the_minimax_tree_is_worth_its_advantage():
    """Half the paid steps without the advantage; its place is found once in wait * leaves * actions by chance."""
    mdp = minimax_tree(2, 3, 2, 3, 0.25, (1, 2, 1))
    assert mdp.r.shape == (8, 10, 2)
    assert staged_optimum(mdp).value == pytest.approx(3 * 0.75)
    uniform = staged_value(mdp, np.full(mdp.r.shape, 0.5))
    assert uniform == pytest.approx(3 * (0.5 + 0.25 / (2 * 4 * 2)))


def test_the_wrong_door_by_hand():
    trial = certificates._candidates(**certificates._wrong_door(), baseline_first=False)
    assert (trial.value, trial.bound) == (0.5, 0.0)
    assert certificates._candidates(**certificates._wrong_door(), baseline_first=True).bound >= 0.5


@pytest.mark.parametrize("compiled", [True, False])
def test_the_audit_plays_as_its_base(compiled):
    instance = sparse_task().with_scale(0.1)
    for base in (
        StepMix(instance.baseline, instance.threshold, instance.sets),
        EpsMix(instance.baseline, instance.threshold, instance.sets),
    ):
        arguments = {"episodes": 60, "runs": 1, "seed": 3, "threshold": instance.threshold}
        plain = play_episodes(base, instance.mdp, **arguments)
        audited = play_episodes(
            Audit(base, instance.mdp), instance.mdp, compiled=compiled, keep_states=True, **arguments
        )
        for one, two in zip(plain[:-1], audited[:-1]):
            np.testing.assert_array_equal(one, two)
        sums = audited.states[0].sums
        assert sums[EPISODES] == 60 - plain.kinds[0, -1, 0]
        assert sums[COIN] <= staged_optimum(instance.mdp).value
        assert np.isfinite(sums[OUTSIDE])


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_expected_widths_are_the_value_of_the_widths(seed):
    """As a reward, H - h - 1 everywhere: without data each width is that."""
    rng = np.random.default_rng(seed)
    mdp = sparse_terminal(3, 2, 4, rng)
    b = new_beliefs(sparse_task().sets, 4, 3, 2, np.zeros((0, 0, 0, 0)))
    pi = rng.dirichlet(np.ones(2), size=(4, 3))
    assert expected_widths(b, mdp, pi, np.zeros((5, 3))) == pytest.approx(3 + 2 + 1)


def test_instances_have_their_closed_forms():
    lock = entrance_lock(3, 2, room=0.5)
    assert staged_optimum(lock).value == 1.0
    assert staged_value(lock, np.eye(2)[np.zeros((4, 6), int)]) == 0.5
    cliff = cliff_edge(2, success=0.9, safe=0.3)  # a prize after one step, or twice the safe pay
    assert staged_optimum(cliff).value == pytest.approx(0.9)
    assert staged_optimum(cliff_edge(2, success=0.5, safe=0.3)).value == pytest.approx(0.6)
    mdp = published_random(np.random.default_rng(0))
    assert mdp.r.shape == (3, 5, 5)
    for instance in suite().values():
        assert 0 < instance.threshold < instance.baseline_value <= staged_optimum(instance.mdp).value + 1e-12
        assert instance.slack == pytest.approx(instance.baseline_value - instance.threshold)
