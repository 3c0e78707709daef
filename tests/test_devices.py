"""The torch path on torch's CPU device: the same code as on a GPU."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimlab.mdps import devices, planning, policy_value, resolvent, soft_maximum, soft_solve, solve
from claimlab.mdps.devices import DeviceSweeps
from claimlab.mdps.exact import exact
from claimlab.mdps.planning import improve
from claimlab.mdps.tabular import rounding

from .oracles import MODERATE, hard_mdps, within
from .test_sweeps import LARGE, LAYOUTS, random_mdp

pytest.importorskip("torch")

TORCH = "cpu:0"  # "cpu" means the compiled sweeps


@pytest.mark.parametrize("layout", LAYOUTS)
@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_sweeps_are_those_of_numpy(layout, seed):
    mdp, rng = random_mdp(layout, seed), np.random.default_rng(seed)
    sweeps, v = DeviceSweeps(mdp, mdp.gamma, TORCH), rng.normal(size=mdp.n_states)
    x, out = sweeps.vector(v), sweeps.vector(v)
    change, (tv, policy) = sweeps.improve(x, out), improve(mdp, v, mdp.gamma)
    np.testing.assert_allclose(sweeps.host(out), tv, rtol=0, atol=2 * rounding(mdp, v))
    lead = np.diff(np.sort(mdp.r + mdp.gamma * mdp.expect(v), axis=1)[:, -2:], axis=1)[:, 0]
    settled = (lead > 4 * rounding(mdp, v)) | (lead == 0)
    np.testing.assert_array_equal(sweeps.policy[settled], policy[settled])
    assert (change.low, change.high) == ((sweeps.host(out) - v).min(), (sweeps.host(out) - v).max())
    P_pi, r_pi = mdp.under(sweeps.policy)
    sweeps.evaluate(x, out)
    np.testing.assert_allclose(sweeps.host(out), r_pi + mdp.gamma * (P_pi @ v), rtol=0, atol=2 * rounding(mdp, v))


@given(hard_mdps(MODERATE))
@settings(max_examples=30)
def test_solutions_are_within_their_certificate_of_the_exact_one(mdp):
    tol = max(1e-7 * mdp.value_bound, 1e-300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "SMALL", 0)
        solution = solve(mdp, tol, device=TORCH)
    assert solution.error <= tol
    assert within(solution.v, exact(mdp).v, solution.error)


@pytest.mark.parametrize("name", ["garnet", "slippery maze"])
def test_slow_problems_go_back_to_the_cpu(name):
    mdp = LARGE[name](0.99)
    there = solve(mdp, 1e-7, device=TORCH)
    here = solve(mdp, 1e-7, device="cpu")
    assert abs(there.v - here.v).max() <= there.error + here.error <= 2e-7


def drawn_policy(mdp):
    weights = np.random.default_rng(0).exponential(size=mdp.r.shape) * mdp.actions
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["garnet", "slippery maze", "lazy ring"])
@pytest.mark.parametrize("stochastic", [False, True])
def test_values_of_policies_are_those_of_the_cpu(monkeypatch, name, stochastic):
    """On the device alone: no other method is called, and its residual is at the floor of float64."""
    mdp = LARGE[name](0.99)
    pi = drawn_policy(mdp) if stochastic else drawn_policy(mdp).argmax(axis=1)
    here = policy_value(mdp, pi, device="cpu")
    monkeypatch.setattr(resolvent, "DIRECT", 0)
    monkeypatch.setattr(resolvent, "FILL", 0)
    monkeypatch.setattr(resolvent, "METHODS", (lambda *_, **__: pytest.fail("another method was called"),))
    there = policy_value(mdp, pi, device=TORCH)
    assert abs(there.v - here.v).max() <= there.error + here.error <= 1e-9 * mdp.value_bound


@pytest.mark.parametrize("gamma", [0.9, 0.999])
@pytest.mark.parametrize("alpha", [1e-3, 1.0])
@pytest.mark.parametrize("name", ["garnet", "slippery maze"])
@pytest.mark.parametrize("base", [False, True])
def test_soft_solutions_are_those_of_the_cpu(name, alpha, gamma, base):
    mdp = LARGE[name](gamma)
    weights = drawn_policy(mdp) if base else None
    tol = 1e-9 * (mdp.value_bound + alpha / (1 - gamma))
    there = soft_solve(mdp, alpha, tol, base=weights, device=TORCH)
    here = soft_solve(mdp, alpha, tol, base=weights, device="cpu")
    assert abs(there.v - here.v).max() <= there.error + here.error <= 2 * tol
    assert abs(there.pi - here.pi).max() <= 4 * tol / alpha


@pytest.mark.parametrize("layout", LAYOUTS)
@given(seed=st.integers(0, 1000), alpha=st.sampled_from([1e-4, 0.1, 10.0]))
@settings(max_examples=10)
def test_soft_sweeps_are_soft_maxima(layout, seed, alpha):
    mdp, rng = random_mdp(layout, seed), np.random.default_rng(seed)
    sweeps, v = DeviceSweeps(mdp, mdp.gamma, TORCH), rng.normal(size=mdp.n_states)
    b = rng.dirichlet(np.ones(mdp.n_actions), size=mdp.n_states) * (rng.random(mdp.r.shape) < 0.7)
    b[:, 0] += 0.1
    b /= b.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        x, out, log_b = sweeps.vector(v), sweeps.vector(v), sweeps.vector(np.log(b))
    change = sweeps.soften(x, out, alpha, log_b, sweeps.vector(np.zeros(mdp.n_states)))
    expected = soft_maximum(mdp, mdp.r + mdp.gamma * mdp.expect(v), alpha, base=b)
    slack = 2 * rounding(mdp, v) + 2 * expected.error
    np.testing.assert_allclose(sweeps.host(out), expected.v, rtol=0, atol=slack)
    assert (change.low, change.high) == ((sweeps.host(out) - v).min(), (sweeps.host(out) - v).max())


def test_a_gpu_is_looked_for_only_where_there_is_a_driver(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(devices, "DRIVERS", ())
    monkeypatch.setattr(devices, "find_spec", lambda name: pytest.fail("torch was looked for"))
    assert devices.gpu() is None


@pytest.mark.parametrize("device", ["cuda:99", "nonsense"])
@pytest.mark.parametrize(
    "call",
    [
        lambda mdp, device: solve(mdp, device=device),
        lambda mdp, device: policy_value(mdp, [0] * mdp.n_states, device=device),
        lambda mdp, device: soft_solve(mdp, 1.0, device=device),
    ],
)
def test_a_device_that_cannot_be_used_is_named(device, call):
    with pytest.raises(ValueError, match=f"device = '{device}' cannot be used by torch"):
        call(LARGE["garnet"](0.9), device)


def test_without_torch_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs torch: pip install 'claimlab\[gpu\]'"):
        solve(LARGE["garnet"](0.9), device="cuda")
