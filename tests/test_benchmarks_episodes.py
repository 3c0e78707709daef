"""The race of the learners: expected regrets against ours step by step, the twin against rlberry's formulas, and what
is shown."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from claimlab.experiments.benchmarks import learning, race
from claimlab.experiments.benchmarks.algorithms import OFF
from claimlab.experiments.benchmarks.episodes import CASES, EPISODES, STATES, river, river_swim, rivers, sparse_terminal
from claimlab.experiments.benchmarks.race import OURS, SCRIPTS, Race, Track
from claimlab.experiments.benchmarks.twin import RlberryUCBVI
from claimlab.mdps import (
    L1Sets,
    SimplifiedBonus,
    StagedMDP,
    StepMix,
    average_river_swim,
    play_episodes,
    staged_optimum,
    staged_value,
)
from claimlab.mdps.average_learning import learn_average, world
from claimlab.mdps.hypotheses import Models
from claimlab.mdps.loop import ModelLOOP
from claimlab.mdps.optimistic import UCBVI
from claimlab.native import CACHE
from claimlab.theory.loop import model_width

ROOT = Path(__file__).parent.parent
SOLVERS = {solver.name: solver for solver in EPISODES.solvers}


def staged_river(n, horizon=20):
    P, r = river(n)
    return StagedMDP(np.tile(P, (horizon, 1, 1, 1)), np.tile(r, (horizon, 1, 1)))


# Expected regrets.


def gap_in_errors(a, b):
    """The largest difference of two mean curves, float[runs, C], in standard errors; equal constants differ by 0."""
    error = np.sqrt(a.var(axis=0, ddof=1) / len(a) + b.var(axis=0, ddof=1) / len(b))
    return float((abs(a.mean(axis=0) - b.mean(axis=0)) / (error + 1e-9)).max())


def test_the_river_is_ours():
    P, r = river(6)
    ours = average_river_swim(6, up=0.35, down=0.05, first=0.6, last=0.6, small=0.005)
    np.testing.assert_allclose(P, ours.P, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(r, ours.r)


def test_ucbvi_has_the_regret_of_the_twin_and_not_that_of_current_bonuses():
    """The same work is not the same algorithm: with bonuses of the current counts, clipped, the regret is another."""
    expected = learning.ucbvi(river_swim(6), 100, 200, seed=0)
    arguments = {"episodes": 100, "runs": 200, "seed": 1, "checkpoints": learning.POINTS, "threads": 1}
    twin = play_episodes(RlberryUCBVI(), staged_river(6), **arguments)
    np.testing.assert_array_equal(twin.times, learning.points(100))
    assert gap_in_errors(twin.regret, expected) <= 4
    other = play_episodes(UCBVI(SimplifiedBonus(), pooled=True, monotone=False), staged_river(6), **arguments)
    assert gap_in_errors(other.regret, expected) > 20


def test_the_twin_plans_as_rlberry_writes_it_down():
    """Its running means, its stale bonuses and its clipping, on random transitions."""
    S, A, H = 4, 3, 5
    rng, twin = np.random.default_rng(0), RlberryUCBVI()
    r = rng.random((S, A))
    state = twin.ready(np.tile(r, (H, 1, 1)), np.eye(S)[0], 20)
    N, R, P = np.zeros((S, A)), np.zeros((S, A)), np.full((S, A, S), 1 / S)
    B, policy = np.tile(np.arange(H, 0, -1.0)[:, None, None], (1, S, A)), np.zeros((H, S, A))
    twin.plan(state, 0, rng, policy)
    assert policy[..., 0].all()
    for k in range(1, 20):
        for h in range(H):
            s, a, t = (int(rng.integers(n)) for n in (S, A, S))
            twin.watch(state, h, s, a, t)
            N[s, a] += 1
            n = N[s, a]
            R[s, a] = (1 - 1 / n) * R[s, a] + r[s, a] / n
            P[s, a] = (1 - 1 / n) * P[s, a]
            P[s, a, t] += 1 / n
            B[h, s, a] = min(np.sqrt(1 / n) + (H - h) / n, H - h)
        twin.plan(state, k, rng, policy)
        V, Q = np.zeros((H + 1, S)), np.zeros((H, S, A))
        for h in reversed(range(H)):
            Q[h] = R + B[h] + P @ V[h + 1]
            V[h] = np.minimum(Q[h].max(axis=1), H)
        np.testing.assert_allclose(state.v, V, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(policy.argmax(axis=2), Q.argmax(axis=2))


def test_step_mix_has_the_regret_of_ours():
    """Where all three kinds of episodes occur."""
    game = sparse_terminal()
    game = {"P": game["P"][:, :3, :2, :3], "r": np.zeros((3, 3, 2)), "delta": game["delta"]}
    game["P"] = game["P"] / game["P"].sum(axis=3, keepdims=True)
    game["r"][-1] = np.array([0, 0.5, 1])[:, None]
    mdp = StagedMDP(game["P"], game["r"])
    game["baseline"] = np.where(staged_optimum(mdp).policy > 0, 0.9, 0.1)
    game["threshold"] = 0.3 * staged_value(mdp, game["baseline"])
    learner = StepMix(game["baseline"], game["threshold"], L1Sets(0.1))
    ours = play_episodes(learner, mdp, episodes=600, runs=100, seed=1, checkpoints=learning.POINTS, threads=1)
    assert (ours.kinds[:, -1].mean(axis=0)[[0, 2, 4]] > 20).all()
    assert gap_in_errors(ours.regret, learning.step_mix(game, 600, 50, seed=0)) <= 4


def test_the_baseline_and_the_optimum_of_the_game_of_step_mix():
    game = sparse_terminal()
    mdp = StagedMDP(game["P"], game["r"])
    assert learning.optimum(game["P"], game["r"])[0] == pytest.approx(staged_optimum(mdp).value, abs=1e-12)
    assert game["threshold"] == pytest.approx(0.4 * staged_value(mdp, game["baseline"]), abs=1e-12)


def test_loop_has_the_gaps_of_ours():
    game, steps = rivers(), 3000
    models = Models(game["P"], game["r"])
    gain, v = learning.relative_values(game["P"], game["r"])
    np.testing.assert_allclose(gain, models.optimal.gain, rtol=0, atol=1e-9)
    np.testing.assert_allclose(v, models.optimal.v, rtol=0, atol=1e-6)
    assert models.size == 54
    learner = ModelLOOP(models, model_width(models.optimal.span, 54, steps, 0.1))
    ours = learn_average(
        learner, world(models.mdp(0)), horizon=steps, runs=200, seed=1, checkpoints=learning.POINTS, threads=1
    )
    assert gap_in_errors(ours.shortfall, learning.loop(game, steps, 200, seed=0)) <= 4


# Processes.


@pytest.fixture(autouse=True)
def _kernels_of_earlier_tests(monkeypatch):
    """Compiling anew is a race's measurement, and here a waste."""
    monkeypatch.setattr(race, "empty_kernel_cache", lambda: nullcontext(CACHE))


@pytest.mark.parametrize("name", ["ucbvi-6", "stepmix", "loop"])
def test_ours_is_judged_right_in_the_race(name, tmp_path):
    track = Track(tmp_path / "peers", tmp_path / "instances", reps=1)
    case = replace({case.name: case for case in CASES}[name], rounds=40, own=(2, 10))
    prepared = case.prepare(track.instances)
    entered = Race("r", "r", (case,), (replace(SOLVERS[OURS], threads=False),), EPISODES.words)
    (done,) = race.run(entered, [prepared], track)
    assert (done["failure"], done["wrong"], done["count"]) == (None, False, 20)
    assert prepared.probes == ()  # planning, not drawing, is the work


def test_a_curve_that_is_off_early_is_wrong(tmp_path):
    prepared = replace(CASES[0], rounds=40).prepare(tmp_path)
    task = {"judged": [4, 40], "differs": False}
    curves = np.tile(prepared.expected.mean(axis=0), (4, 1))
    assert not prepared.judge(curves.ravel(), task)["wrong"]
    curves[:, 2] *= 1.5  # right again at the end
    found = prepared.judge(curves.ravel(), task)
    assert found["wrong"]
    assert found["error"] > OFF
    assert "failure" in prepared.judge(curves[:, :3].ravel(), task)


# The race itself.


def test_the_cases_are_those_that_speeds_are_asked_for():
    names = [case.name for case in CASES]
    assert names == [*(f"ucbvi-{n}" for n in STATES), "stepmix", "loop"]
    assert all(case.own == (10, 10_000) for case in CASES[:4])
    assert set(SOLVERS[OURS].methods) == set(names)
    assert set(SOLVERS["rlberry"].methods) == set(names[:3])
    assert all((SCRIPTS / f"run_{solver.script}.py").exists() for solver in EPISODES.solvers)
    assert river_swim(20)["horizon"] == 20
