"""Off-policy estimators of bandit logs against plain formulas and peers' values; what a log must be."""

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimlab.bandits import BanditLog, evaluate_log, least_squares_model, minimum_variance_model
from claimlab.bandits import off_policy as module
from claimlab.experiments.benchmarks.off_policy import rounds
from claimlab.native import interpreted
from claimlab.theory.off_policy import bernstein_interval, value_interval
from claimlab.theory.strategies import seeds


def random_log(rng, n, K, *, shift=0.0, modelled=True):
    logging = rng.dirichlet(np.ones(K), n) * 0.9 + 0.1 / K
    target = rng.dirichlet(np.full(K, 0.3), n)
    actions = np.array([rng.choice(K, p=p) for p in logging])
    rewards = shift + rng.normal(size=n)
    model = shift + rng.normal(size=(n, K)) if modelled else None
    return BanditLog(actions, rewards, logging[np.arange(n), actions], target, model, logging)


def by_hand(log, clip=inf):
    """Values and standard errors, term by term."""
    n, out = log.n, {}
    w = [log.target[i, log.actions[i]] / log.propensities[i] for i in range(n)]
    ips = [w[i] * log.rewards[i] for i in range(n)]
    terms = {"ips": ips, "clipped": [min(w[i], clip) * log.rewards[i] for i in range(n)], "mean_weight": w}
    if log.model is not None:
        dm = [sum(p * q for p, q in zip(log.target[i], log.model[i])) for i in range(n)]
        error = [w[i] * (log.rewards[i] - log.model[i, log.actions[i]]) for i in range(n)]
        terms |= {"dm": dm, "dr": [a + b for a, b in zip(dm, error)]}
        terms["switch"] = [dm[i] + (error[i] if w[i] <= clip else 0) for i in range(n)]
    for name, x in terms.items():
        out[name] = (np.mean(x), np.std(x, ddof=1) / np.sqrt(n))
    snips = sum(ips) / sum(w)
    out["snips"] = (snips, np.sqrt(sum((w[i] * (log.rewards[i] - snips)) ** 2 for i in range(n))) / sum(w))
    return out


@settings(deadline=None, max_examples=40)
@given(seeds(), st.integers(2, 40), st.integers(1, 4), st.booleans(), st.sampled_from([inf, 1.0, 0.3]))
def test_one_pass_is_the_formulas(seed, n, K, modelled, clip):
    log = random_log(np.random.default_rng(seed), n, K, modelled=modelled)
    found = evaluate_log(log, clip=clip)
    for name, (value, error) in by_hand(log, clip).items():
        assert getattr(found, name).value == pytest.approx(value, rel=1e-10, abs=1e-10)
        assert getattr(found, name).stderr == pytest.approx(error, rel=1e-7, abs=1e-10)
    w = log.weights
    assert found.effective_size == pytest.approx(w.sum() ** 2 / (w**2).sum(), rel=1e-10)
    assert found.max_weight == w.max()
    assert np.isnan(found.dr.value) != modelled


def test_large_offsets_do_not_cancel():
    """Rewards near 1e6 with spread 1: one-pass sums of squares about zero would keep no digit of SNIPS's error."""
    log = random_log(np.random.default_rng(0), 500, 3, shift=1e6)
    found, expected = evaluate_log(log), by_hand(log)
    for name in ("snips", "dm", "dr"):
        assert getattr(found, name).value == pytest.approx(expected[name][0], rel=1e-12)
        assert getattr(found, name).stderr == pytest.approx(expected[name][1], rel=1e-6)


def test_small_weights_count():
    """The target hardly ever takes what was logged: SNIPS and the effective size see ratios of weights alone."""
    target = [[3e-14, 1 - 3e-14], [1e-14, 1 - 1e-14]]
    found = evaluate_log(BanditLog([0, 0], [1.0, 5.0], [1.0, 1.0], target))
    assert found.snips.value == pytest.approx(2.0, rel=1e-12)
    assert found.effective_size == pytest.approx(1.6, rel=1e-12)


def test_threads_and_the_interpreter_agree(monkeypatch):
    monkeypatch.setattr(module, "LEAST", 10)
    log = random_log(np.random.default_rng(1), 101, 3)
    one, three = evaluate_log(log, threads=1), evaluate_log(log, threads=3)
    monkeypatch.setattr(module, "_modelled", interpreted(module._modelled))
    plain = evaluate_log(log, threads=1)
    for x, y, z in zip(one[:6], three[:6], plain[:6]):
        assert x == pytest.approx(y, rel=1e-12)
        assert x == pytest.approx(z, rel=1e-12)
    assert one.max_weight == three.max_weight == plain.max_weight


def test_the_values_of_open_bandit_pipeline():
    """obp 0.5.7 on the million rounds of the race, whose values it gave to six digits."""
    given_ = rounds(1_000_000)
    log = BanditLog(given_["actions"], given_["rewards"], given_["propensities"], given_["target"], given_["model"])
    found = evaluate_log(log)
    values = [found.ips.value, found.snips.value, found.dm.value, found.dr.value]
    assert values == pytest.approx([0.499173, 0.499290, 0.499884, 0.499318], abs=6e-7)


def test_a_log_of_one_round():
    found = evaluate_log(BanditLog([0], [3.0], [0.5], [[0.25, 0.75]]))
    assert (found.ips.value, found.snips.value) == (1.5, 3.0)  # SNIPS of a round is its reward: biased
    assert np.isnan(found.ips.stderr)


def test_the_target_that_was_never_taken():
    found = evaluate_log(BanditLog([0, 0], [1.0, 1.0], None, [[0.0, 1.0]] * 2, logging=[[1.0, 0.0]] * 2))
    assert (found.ips.value, found.effective_size, found.uncovered) == (0.0, 0.0, 1.0)
    assert np.isnan(found.snips.value)
    assert found.mean_weight.value == 0.0


@settings(deadline=None, max_examples=20)
@given(seeds())
def test_evaluating_the_logging_policy_is_averaging(seed):
    rng = np.random.default_rng(seed)
    log = random_log(rng, 30, 3)
    same = BanditLog(log.actions, log.rewards, log.propensities, log.logging, log.model)
    found = evaluate_log(same)
    assert found.ips.value == pytest.approx(log.rewards.mean(), abs=1e-12)
    assert found.snips == pytest.approx((log.rewards.mean(), log.rewards.std() / np.sqrt(30)), abs=1e-12)


# Models.


def contextual(rng, n=600):
    """Rewards linear in a context; logging and target depend on it."""
    x = rng.random((n, 1))
    logging = np.hstack([0.2 + 0.6 * x, 0.8 - 0.6 * x])
    actions = (rng.random(n) >= logging[:, 0]).astype(int)
    rewards = np.where(actions == 0, 1 + 2 * x[:, 0], 3 - x[:, 0])
    target = np.tile([0.9, 0.1], (n, 1))
    return BanditLog(actions, rewards, None, target, logging=logging), x


def test_models_find_what_is_linear():
    """Least squares the rewards, MRDR what DR makes of them: this logging policy leaves it a direction to choose."""
    log, x = contextual(np.random.default_rng(0))
    truth = np.hstack([1 + 2 * x, 3 - x])
    np.testing.assert_allclose(least_squares_model(log, x), truth, rtol=0, atol=1e-9)
    q, rows = minimum_variance_model(log, x), np.arange(log.n)
    terms = (log.target * q).sum(axis=1) + log.weights * (log.rewards - q[rows, log.actions])
    np.testing.assert_allclose(terms, (log.target * truth).sum(axis=1), rtol=0, atol=1e-9)


def test_mrdr_is_the_minimiser():
    """On the rounds it was fitted on, no other constants give the terms of DR less variance."""
    rng = np.random.default_rng(3)
    log, _ = contextual(rng)
    log = BanditLog(log.actions, log.rewards + rng.normal(size=log.n), None, log.target, logging=log.logging)
    even = np.arange(log.n) % 2 == 0

    def variance(q):
        terms = (log.target * q).sum(axis=1) + log.weights * (log.rewards - q[log.actions])
        return terms[even].var()

    none = np.zeros((log.n, 0))
    fitted = minimum_variance_model(log, none)[1]  # of an odd round: from the even ones
    best = variance(fitted)
    for _ in range(50):
        assert variance(fitted + 0.1 * rng.normal(size=2)) >= best - 1e-12
    assert best < variance(least_squares_model(log, none)[1]) - 1e-3


def test_predictions_do_not_see_their_own_fold():
    rng = np.random.default_rng(4)
    log, x = contextual(rng, 40)
    changed = log.rewards.copy()
    changed[0] += 100.0
    other = BanditLog(log.actions, changed, None, log.target, logging=log.logging)
    for fit in (least_squares_model, minimum_variance_model):
        before, after = fit(log, x), fit(other, x)
        assert np.array_equal(before[::2], after[::2])
        assert not np.allclose(before[1::2], after[1::2])


# What is no log.


GOOD = {"actions": [0, 1], "rewards": [0.0, 1.0], "propensities": [0.5, 0.5], "target": [[0.5, 0.5], [0.2, 0.8]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"propensities": [0.5, 0.0]}, r"propensities\[1\] is 0: it says that the action taken cannot be taken"),
        ({"propensities": [np.nan, 0.5]}, r"propensities\[0\] is nan: it is missing"),
        ({"propensities": [0.5, 1.5]}, r"propensities\[1\] is 1.5: it is no probability"),
        ({"propensities": [-0.5, 0.5]}, r"propensities\[0\] is -0.5"),
        ({"propensities": [0.5, 1e-320]}, r"propensities\[1\] is 9.99989e-321: it makes a weight that no float holds"),
        ({"propensities": None}, "propensities are missing"),
        ({"propensities": [0.5]}, r"propensities must have shape \(n,\) = \(2,\), got \(1,\)"),
        ({"rewards": [0.0, np.inf]}, r"rewards\[1\] is inf; every entry must be finite"),
        ({"rewards": [0.0, 2.0], "reward_range": (0, 1)}, r"rewards\[1\] is 2: it lies outside reward_range \[0, 1\]"),
        ({"reward_range": (1, 0)}, "reward_range must be"),
        ({"actions": [0, 2]}, r"actions\[1\] is 2; entries must be whole numbers in 0..1"),
        ({"actions": [0.5, 1]}, r"actions\[0\] is 0.5"),
        ({"actions": [np.nan, 1]}, r"actions\[0\] is nan"),
        ({"target": [[0.5, 0.5], [0.2, 0.7]]}, r"target\[1\] sums to 0.9"),
        ({"target": np.zeros((0, 2))}, "at least one round"),
        ({"model": [[0.0, 0.0]]}, r"model must have shape \(n, K\)"),
        ({"logging": [[0.5, 0.5], [0.6, 0.4]]}, r"propensities\[1\] is 0.5: it differs from logging"),
        ({"weight_bound": 1.5}, r"propensities\[1\] is 0.5: it makes a weight above weight_bound = 1.5"),
        ({"weight_bound": 0}, "weight_bound must lie in"),
    ],
)
def test_a_bad_log_is_told(change, message):
    BanditLog(**GOOD)
    with pytest.raises(ValueError, match=message):
        BanditLog(**{**GOOD, **change})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda log: evaluate_log(log, clip=0), "clip must lie in"),
        (lambda log: evaluate_log(log, threads=0), "threads must be"),
        (value_interval, "reward_range is not known"),
        (bernstein_interval, "reward_range is not known"),
        (lambda log: least_squares_model(log, [[1.0]]), r"contexts must have shape \(n, d\) with n = 2"),
        (lambda log: least_squares_model(log, [[1.0]] * 2, folds=3), r"folds must be in 2..2"),
    ],
)
def test_a_bad_call_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call(BanditLog(**GOOD))


def test_a_log_cannot_be_changed():
    log = BanditLog(**GOOD, model=np.zeros((2, 2)))
    for name in ("actions", "rewards", "propensities", "target", "model", "weights"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(log, name)[0] = 1


def test_only_what_is_given_away_is_not_copied():
    mine = np.array([[0.5, 0.5], [0.2, 0.8]])
    assert not np.shares_memory(BanditLog(**GOOD | {"target": mine}).target, mine)
    view = mine[:]
    view.flags.writeable = False  # its base can still be written to
    assert not np.shares_memory(BanditLog(**GOOD | {"target": view}).target, mine)
    given_away = mine.copy()
    given_away.flags.writeable = False
    assert BanditLog(**GOOD | {"target": given_away}).target is given_away
