"""Batches on torch's CPU device, with the same code as on a GPU, against rationals and the compiled solver."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimlab.mdps import NotConverged, batched, batched_devices
from claimlab.mdps.batched import MDPBatch
from claimlab.mdps.exact import policy_value_exactly

from .oracles import CLOSE_TO_ONE, exact, hard_mdps, rational_mdp, tolerance, within
from .test_batched import batches, dense_batch, each

pytest.importorskip("torch")

TORCH = "cpu:0"  # "cpu" means the compiled kernels


@settings(max_examples=60)
@given(batches(hard_mdps(CLOSE_TO_ONE)))
def test_solutions_are_within_their_certificates(batch):
    """Exact rationals: values, what the policy is worth; and the certificates are narrow."""
    solutions = batched.solve(batch, np.inf, device=TORCH)
    for n, mdp in each(batch):
        true = exact(mdp)
        assert solutions.error[n] <= tolerance(mdp)
        assert within(solutions.v[n], true.v, solutions.error[n])
        worth = policy_value_exactly(*rational_mdp(mdp)[:3], solutions.policy[n], mdp.actions)
        assert max(true.v - worth) <= 2 * Fraction(solutions.error[n])


@pytest.mark.parametrize("chunk", [1, 700, 10**9])
@given(seed=st.integers(0, 1000))
@settings(max_examples=5)
def test_solutions_are_those_of_the_compiled_kernel_whatever_the_chunks(chunk, seed):
    batch = dense_batch(40, 5, 3, gamma=np.random.default_rng(seed).uniform(0, 0.999, 40), seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batched_devices, "CHUNK", chunk)
        there = batched.solve(batch, np.inf, device=TORCH)
    here = batched.solve(batch, np.inf, device="cpu")
    np.testing.assert_array_equal(there.policy, here.policy)
    np.testing.assert_array_equal(there.iterations, here.iterations)
    assert (abs(there.v - here.v).max(axis=1) <= there.error + here.error).all()
    assert (there.error <= 2 * here.error).all()


def nonsense(kind):
    def policy_iteration(batch, device):
        rng, (N, S, _) = np.random.default_rng(0), batch.r.shape
        v = np.full((N, S), np.nan) if kind == "NaN" else 100 * rng.normal(size=(N, S))
        return v, np.zeros((N, S), np.int64), np.ones(N, np.int64)

    return policy_iteration


@pytest.mark.parametrize("kind", ["NaN", "noise"])
def test_whatever_a_device_returns_is_certified_or_solved_again(kind, monkeypatch):
    batch = dense_batch(20, 4, 3)
    here = batched.solve(batch, 1e-9, device="cpu")
    monkeypatch.setattr(batched_devices, "policy_iteration", nonsense(kind))
    for x, y in zip(batched.solve(batch, 1e-9, device=TORCH), here, strict=True):
        np.testing.assert_array_equal(x, y)
    loose = batched.solve(batch, np.inf, device=TORCH)
    assert (abs(loose.v - here.v).max(axis=1) <= loose.error + here.error).all()


def test_improvements_too_small_to_prove_are_tried():
    """As in test_batched: state 0 leads to a state worth nothing or, better by a hair, to one worth a hair more."""
    P, r = np.zeros((1, 4, 2, 4)), np.zeros((1, 4, 2))
    P[0, 0, 0, 1] = P[0, 0, 1, 2] = P[0, 1, :, 1] = P[0, 2, :, 2] = P[0, 3, :, 3] = 1
    r[0, 2], r[0, 3] = 1e-13, 1
    batch = MDPBatch(P, r, 0.9999)
    there, here = batched.solve(batch, np.inf, device=TORCH), batched.solve(batch, np.inf, device="cpu")
    assert there.policy[0, 0] == 1
    assert there.iterations[0] == here.iterations[0]
    assert there.error[0] <= 1.01 * here.error[0]


@pytest.mark.filterwarnings("ignore:overflow")
def test_overflow_is_no_success():
    batch = MDPBatch(np.ones((1, 1, 1, 1)), [[[1e308]]], 0.999)
    with pytest.raises(NotConverged, match="instance 0"):
        batched.solve(batch, device=TORCH)


def test_a_gpu_is_looked_for_where_a_batch_is_large(monkeypatch):
    monkeypatch.setattr(batched_devices, "gpu", lambda: TORCH)
    assert batched_devices.worth_a_gpu((10**4, 64, 4)) == TORCH
    assert batched_devices.worth_a_gpu((10**9, 8, 4)) is None  # copying it takes as long as solving it
    assert batched_devices.worth_a_gpu((100, 64, 4)) is None
    monkeypatch.setattr(batched_devices, "LARGE", 1)
    monkeypatch.setattr(batched_devices, "WORTH_A_GPU", 0)
    batch, calls = dense_batch(3, 2, 2), []
    real = batched_devices.policy_iteration
    monkeypatch.setattr(batched_devices, "policy_iteration", lambda *call: calls.append(call) or real(*call))
    batched.solve(batch)
    assert [device for _, device in calls] == [TORCH]


def test_a_device_that_cannot_be_used_is_named():
    with pytest.raises(ValueError, match=r"device = 'nonsense' cannot be used by torch"):
        batched.solve(dense_batch(1, 1, 1), device="nonsense")
