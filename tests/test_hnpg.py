"""Hybrid policy gradients: exponential weights step by step, the lemma's numbers by hand, and the verdicts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimlab.experiments.papers import hnpg


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.5))
def test_mirror_steps_are_multiplicative_updates(seed, eta):
    f = np.random.default_rng(seed).random((7, 3))
    policy, earned = np.ones(3) / 3, 0.0
    for values in f:
        earned += policy @ values
        policy = policy * np.exp(eta * values)
        policy /= policy.sum()
    assert hnpg.mirror_regret(f, eta) == pytest.approx(f.sum(axis=0).max() - earned, abs=1e-12)


def test_two_rounds_by_hand():
    """Even odds, then e^eta to 1: of two ones for the first action, 1/2 and 1/(1 + e^-eta) are earned."""
    f = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert hnpg.mirror_regret(f, np.log(3)) == pytest.approx(2 - 0.5 - 0.75)


def test_errors_of_the_critic_by_hand():
    """At γ = 9/10, T = 10^6 and λ = 1 the noise is 256/10^6: 12 and 40 times it over 1 - γ; a Bellman error of 1 adds
    12/(1-γ)^2 and 40/(1-γ)^2."""
    on, off = hnpg.critic_errors(np.array(1.0), np.array(1e6), np.array(0.9), np.array([0.0, 1.0]))
    np.testing.assert_allclose(on, [0.03072, 1200.03072])
    np.testing.assert_allclose(off, [0.1024, 4000.1024])
