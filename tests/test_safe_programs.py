"""The linear programs against enumeration over policies, and their certificates against exact values."""

import numpy as np
import pytest
from hypothesis import given, settings

from claimlab.mdps import L1Sets, StagedMDP, softened, staged_optimum, staged_value
from claimlab.mdps.safe_programs import dope_program, optpess_program, play_program
from claimlab.theory.strategies import seeds

PROGRAMS = [optpess_program, dope_program]


def drawn(seed, n):
    rng = np.random.default_rng(seed)
    mdp = StagedMDP(rng.dirichlet(np.ones(2), size=(2, 2, 2)), rng.random((2, 2, 2)))
    return mdp, rng.multinomial(np.full((2, 2, 2), n), mdp.P).astype(float)


@pytest.mark.parametrize("program", PROGRAMS)
@given(seed=seeds())
@settings(max_examples=20)
def test_certificates_hold_for_the_true_transitions(program, seed):
    mdp, data = drawn(seed, 300)
    threshold = 0.5 * staged_optimum(mdp).value
    found = program(mdp, data, threshold, 0.2, L1Sets())
    if found is None:
        return
    assert found.certificate >= threshold - 1e-7
    assert staged_value(mdp, found.policy) >= found.certificate - 1e-7


@pytest.mark.parametrize("program", PROGRAMS)
@given(seed=seeds())
@settings(max_examples=20)
def test_without_uncertainty_both_are_the_optimum(program, seed):
    mdp, _ = drawn(seed, 1)
    found = program(mdp, np.round(1e9 * mdp.P), 0.1, 0.5, L1Sets(scale=0.0))
    best = staged_optimum(mdp).value
    assert found.optimum == pytest.approx(best, abs=1e-6)
    assert staged_value(mdp, found.policy) == pytest.approx(best, abs=1e-6)


@given(seed=seeds())
@settings(max_examples=20)
def test_optpess_is_the_best_mixture_of_deterministic_policies(seed):
    """The extreme points of the occupancies are the deterministic policies: with the constraint slack, one is best."""
    mdp, data = drawn(seed, 200)
    found = optpess_program(mdp, data, 0.0, 1.0, L1Sets(scale=0.2))
    p = StagedMDP(data / data.sum(axis=3, keepdims=True), mdp.r)
    n, H = data.sum(axis=3), 2
    rad = np.array([L1Sets(scale=0.2).width(x, (2, 2, 2), 0) for x in n.ravel()]).reshape(n.shape)
    b = 0.5 * np.array([1.0, 0.0])[:, None, None] * rad
    values = []
    for code in np.ndindex(2, 2, 2, 2):
        policy, v, low = np.eye(2)[np.array(code).reshape(2, 2)], np.zeros(2), np.zeros(2)
        for h in (1, 0):
            v = (policy[h] * (mdp.r[h] + (1 + 4 * H) * b[h] + p.P[h] @ v)).sum(axis=1)
            low = (policy[h] * (mdp.r[h] - b[h] + p.P[h] @ low)).sum(axis=1)
        values.append(v[0] if low[0] >= 0 else -np.inf)
    assert found is not None
    assert found.optimum == pytest.approx(max(values), abs=1e-6)


@given(seed=seeds())
@settings(max_examples=15)
def test_dope_is_at_least_as_optimistic_as_any_model_of_the_set(seed):
    """It may choose the transitions: the frequencies themselves among others."""
    mdp, data = drawn(seed, 100)
    found = dope_program(mdp, data, 0.0, 1.0, L1Sets())
    if found is None:
        return
    n = data.sum(axis=3)
    rad = np.array([L1Sets().width(x, (2, 2, 2), 0) for x in n.ravel()]).reshape(n.shape)
    bonus = 4 * np.array([1.0, 0.0])[:, None, None] * np.minimum(rad, 1.0)
    b = bonus / 4
    p, v, low = data / n[..., None], np.zeros(2), np.zeros(2)
    for h in (1, 0):
        q = mdp.r[h] + bonus[h] + p[h] @ v
        low = np.take_along_axis(mdp.r[h] - b[h] + p[h] @ low, q.argmax(axis=1)[:, None], axis=1)[:, 0]
        v = q.max(axis=1)
    if low[0] >= 0:
        assert found.optimum >= v[0] - 1e-6


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_play_the_baseline_until_they_are_sure(program):
    mdp, _ = drawn(5, 1)
    baseline = softened(mdp, 0.2)
    worth = staged_value(mdp, baseline)
    record = play_program(program, mdp, baseline, 0.6 * worth, episodes=5000, runs=2, seed=1)
    again = play_program(program, mdp, baseline, 0.6 * worth, episodes=5000, runs=1, seed=1)
    assert list(record.times[:4]) == [1, 2, 4, 8]
    assert record.times[-1] == 5000
    assert not record.certified[:, 0].any()
    assert record.certified[:, -1].all()
    assert (record.least >= 0.6 * worth - mdp.rounding).all()
    np.testing.assert_allclose(record.regret[:, 0], staged_optimum(mdp).value - worth, atol=1e-12)
    np.testing.assert_array_equal(record.certified[:1], again.certified)


@pytest.mark.parametrize("program", PROGRAMS)
def test_impossible_thresholds_have_no_policy(program):
    mdp, data = drawn(5, 1000)
    assert program(mdp, data, 1.01 * staged_optimum(mdp).value, 0.1, L1Sets(scale=0.0)) is None


@pytest.mark.parametrize("program", PROGRAMS)
def test_bad_input(program):
    mdp, data = drawn(0, 3)
    with pytest.raises(ValueError, match=r"data must have shape \(H, S, A, S\) = \(2, 2, 2, 2\)"):
        program(mdp, data[:1], 0.1, 0.1, L1Sets())
    with pytest.raises(ValueError, match="slack must lie in"):
        program(mdp, data, 0.1, 0.0, L1Sets())
    with pytest.raises(ValueError, match="sets must not be pooled"):
        program(mdp, data, 0.1, 0.1, L1Sets(pooled=True))
