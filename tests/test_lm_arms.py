"""Arms of the studies against loops, formulas and other fits; reward models; other rewards than the task's."""

from dataclasses import replace
from math import exp

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from claimlab.experiments.lm import arms, clipped, reward_models, studies, surrogates, tasks  # noqa: E402
from claimlab.experiments.lm.batch import sampled  # noqa: E402
from claimlab.experiments.lm.compare import compare  # noqa: E402
from claimlab.experiments.lm.train import Settings, imitate, score  # noqa: E402

torch.set_num_threads(1)


def made(seed=0, groups=4, size=5, rewards=None, moved=0.0):
    """A batch of random answers of up to three tokens, and the trained policy's log-probabilities."""
    rng = torch.Generator().manual_seed(seed)
    n = groups * size
    old = -torch.rand(n, 3, generator=rng, dtype=torch.float64) - 0.1
    paid = torch.rand(n, generator=rng, dtype=torch.float64) if rewards is None else torch.as_tensor(rewards)
    tokens = torch.arange(3) < torch.randint(1, 4, (n, 1), generator=rng)
    batch = sampled(old, paid.double(), torch.arange(groups).repeat_interleave(size), tokens)
    shift = moved * torch.randn(n, 3, generator=rng, dtype=torch.float64)
    return (old + shift).requires_grad_(), batch


def slope(loss, logp, batch):
    return torch.autograd.grad(loss(logp, batch), logp)[0]


def test_chances_to_win_are_means_over_the_group():
    _, batch = made()
    found, r = arms.wins(batch, scale=3.0).rewards.tolist(), batch.rewards.tolist()
    for i in range(len(r)):
        rivals = range(i // 5 * 5, i // 5 * 5 + 5)
        assert found[i] == pytest.approx(np.mean([1 / (1 + exp(-3 * (r[i] - r[j]))) for j in rivals]), abs=1e-12)
    assert torch.allclose(batch.mean(arms.wins(batch).rewards), torch.full((4,), 0.5, dtype=torch.float64))


def test_arms_that_are_one_on_fresh_data():
    """And are not, where the policy has moved."""
    binary = [1.0, 0, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    pairs = {
        "sppo": (None, arms.won, arms.sppo(eta=1000.0)),
        "sppo, small": (None, arms.won, arms.sppo(eta=0.1)),
        "bnpo": (binary, surrogates.reinforce, arms.clip(arms.uniform, over="total")),
        "a-lol": (binary, arms.a_lol(0.9), arms.a_lol(0.0)),
    }
    for name, (rewards, one, two) in pairs.items():
        logp, batch = made(rewards=rewards)
        assert torch.allclose(slope(one, logp, batch), slope(two, logp, batch), atol=1e-12), name
        if name != "sppo":  # its pull to the old policy is a thousandth there
            logp, batch = made(rewards=rewards, moved=1.0)
            assert not torch.allclose(slope(one, logp, batch), slope(two, logp, batch), atol=1e-3), name


def test_bnpo_divides_by_the_density_of_matched_moments():
    rewards = [1.0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    logp, batch = made(rewards=rewards)
    p = np.array(rewards).reshape(4, 5).mean(1)
    size = p.mean() * (1 - p.mean()) / p.var(ddof=1) - 1
    assert size > 0
    density = stats.beta(1 + size * p.mean() / 3, 1 + size * (1 - p.mean()) / 3).pdf(p)
    A = np.where(np.repeat(density, 5) > 0, (rewards - np.repeat(p, 5)) / np.maximum(np.repeat(density, 5), 1e-300), 0)
    expected = slope(lambda x, b: clipped.ppo(x, b, torch.tensor(A), over="total"), logp, batch)
    assert torch.allclose(slope(arms.bnpo, logp, batch), expected, atol=1e-9)
    logp, batch = made(rewards=[1.0, 0, 0, 0, 0] * 4)  # all means alike: plain
    assert torch.allclose(slope(arms.bnpo, logp, batch), slope(surrogates.reinforce, logp, batch), atol=1e-12)


def test_weighted_cloning_is_the_likelihood_of_what_is_paid():
    logp, batch = made(rewards=[1.0, 0, 0, 1, 0] * 4)
    known = logp.detach()
    right = -sum(float(known[i][batch.tokens[i]].sum()) for i in range(20) if batch.rewards[i]) / 20
    assert float(arms.weighted_cloning(known, batch)) == pytest.approx(right)


def test_best_and_worst_of_each_group():
    logp, batch = made(moved=0.5)
    h = torch.where(batch.tokens, logp - batch.old, 0.0).sum(1).detach().numpy().reshape(4, 5)
    r = batch.rewards.numpy().reshape(4, 5)
    margins = [h[g, r[g].argmax()] - h[g, r[g].argmin()] for g in range(4)]
    loss = arms.of_best_and_worst(beta=0.1)
    assert float(loss(logp.detach(), batch)) == pytest.approx(np.mean(np.log1p(np.exp(-0.1 * np.array(margins)))))
    logp, batch = made(rewards=[1.0] * 20)
    assert (slope(loss, logp, batch) == 0).all()


def test_reward_models_are_the_penalised_likelihood():
    rng = np.random.default_rng(3)
    pairs = rng.normal(size=(40, 6))
    best = minimize(lambda w: np.logaddexp(0, -pairs @ w).sum() + w @ w / 2, np.zeros(6), tol=1e-12).x
    assert reward_models.bradley_terry(pairs) == pytest.approx(best, abs=1e-5)


def test_reward_models_learn_what_they_are_told():
    """With right labels they order answers as gold does; with half of them reversed they do not."""
    task, rng = tasks.style(), np.random.default_rng(0)
    examples = [task.draw(rng) for _ in range(300)]
    gold = [task.reward(e, e.turns[0]) for e in examples]
    for flipped, low, high in ((0.0, 0.8, 1.0), (0.5, -0.6, 0.6)):
        say = reward_models.ensemble(1, comparisons=400, flipped=flipped)
        found = np.array([say(e.turns[0]) for e in examples])
        order = stats.spearmanr(found.mean(1), gold).statistic
        assert low < order < high
    assert found.shape == (300, 5)
    assert len(set(found[0])) == 5


def test_merges():
    r = np.array([0.5, -1.0, 2.0, 0.0, 1.0])
    found = {merge: of(r) for merge, of in reward_models.MERGES.items()}
    assert found == pytest.approx({"one": 0.5, "mean": 0.5, "WCO": -1.0, "UWO": 0.5 - 0.125, "UWO, weight 0": 0.5})
    with pytest.raises(ValueError, match=r"merge must be one of .*; got 'min'"):
        reward_models.paid("min", 0)
    one, other = (reward_models.paid("WCO", seed) for seed in (0, 1))
    assert one(None, "abcd") == min(reward_models.ensemble(0)("abcd")) != other(None, "abcd")


def test_an_arm_is_paid_by_its_own_reward_and_scored_by_the_task():
    """One is paid for a's by the seed's sign: it goes up for one seed and down for the other, and gold sees it."""
    task = replace(tasks.style(2), reward=lambda _, answer: answer.count("a") / 2)
    start = imitate(task, width=16, steps=10, size=32)
    plan = Settings(steps=12, prompts=8, group=8, rate=3e-2, evaluate=12, scored=64)
    paid = {"told": lambda seed: lambda _, answer: (1 - 2 * seed) * answer.count("a")}
    found = compare(start, task, {"told": surrogates.reinforce}, plan, seeds=2, paid=paid)
    end = found[found["step"] == 12].set_index("seed")["score"]
    before = score(start, task, task.reward, count=64)
    assert end[1] < before < end[0]
    assert found[(found["seed"] == 1) & (found["step"] == 12)]["reward"].item() <= 0 <= end[1]
    with pytest.raises(ValueError, match="has no arm 'tald'"):
        replace(studies.STALE, paid={"tald": paid["told"]})
