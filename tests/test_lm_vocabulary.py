"""Surrogates of the whole vocabulary: identities on trees and on the transformer, by hand, and in the loops."""

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from claimlab.experiments.lm import arms, clipped, signals, surrogates  # noqa: E402
from claimlab.experiments.lm.batch import Batch, sampled  # noqa: E402
from claimlab.experiments.lm.rollouts import rollout  # noqa: E402
from claimlab.experiments.lm.tasks import lookup  # noqa: E402
from claimlab.experiments.lm.train import _backward, imitate, reinforce  # noqa: E402
from claimlab.experiments.lm.transformer import every_answer, stacked  # noqa: E402
from claimlab.experiments.lm.vocabulary import Laws, Masked, OfLaws, TopP, constants, top_p  # noqa: E402
from claimlab.experiments.papers import epo, nlpo  # noqa: E402
from claimlab.experiments.papers.rover import loss as rover  # noqa: E402

from .test_lm import POLICIES, SEEDS, Tree, flat, transformer  # noqa: E402
from .test_lm_seeds import SEEDS as RUNS  # noqa: E402
from .test_lm_seeds import Killed, alone, assert_same, generators, sharp, together  # noqa: E402
from .test_lm_train import TASK, TINY, team  # noqa: E402

torch.set_num_threads(1)
EVERY = every_answer(4, 3)
MASK = EVERY.mask.numpy()
ASKED = torch.full((len(EVERY.tokens), 2), 2)
DOUBLE = torch.float64


def laws(model):
    return model.token_laws(ASKED, EVERY.tokens)


def known(model):
    """Laws as an array, float[N, T, V]."""
    return laws(model).detach().numpy()


def exact(behind, seed):
    """Every answer to a prompt, by the law of `behind`."""
    old = laws(behind).detach().gather(2, EVERY.tokens[..., None])[..., 0]
    old = torch.where(EVERY.mask, old, 0.0)
    rewards = torch.rand(len(old), generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    return Batch(old, rewards, torch.zeros(len(old), dtype=torch.int64), old.sum(1).exp(), EVERY.mask)


def slope(surrogate, model, batch, **more):
    return flat(surrogate.loss(Laws(laws(model), EVERY.tokens, **more), batch), model)


def moved_by(model, factor):
    """The gradient of constants, float[N, T, V], times the log-probabilities."""
    return flat((torch.as_tensor(factor) * laws(model)).sum(), model)


def at_said(factor):
    """float[N, T] at the tokens that were said, float[N, T, V]."""
    return np.where(np.arange(4) == EVERY.tokens.numpy()[..., None], (factor * MASK)[..., None], 0.0)


def divergence_from_uniform(logp):
    return (0.25 * (np.log(0.25) - logp)).sum(-1)


def same(found, expected, least=1e-6):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    assert float(expected.abs().max()) > least


@POLICIES
@given(seed=SEEDS, rho=st.floats(0.2, 3), share=st.sampled_from([0.0, 0.4, 1.0]))
@settings(max_examples=3, deadline=None)
def test_rovers_gradient_is_that_of_proposition_1_corrected(kind, seed, rho, share):
    r"""The mean over tokens of :math:`2\rho(\rho\log\rho_t-\hat r-Q')\nabla\log\pi`, Q' by divergences from uniform."""
    model, behind = kind(seed), kind(seed + 1)
    batch, (new, old) = exact(behind, seed), (known(of) for of in (model, behind))
    weights, rewards = batch.weights.numpy(), batch.rewards.numpy()
    centred = rewards - weights @ rewards
    ratio = np.take_along_axis(new - old, EVERY.tokens.numpy()[..., None], 2)[..., 0]
    following = np.zeros(ratio.shape)
    following[:, :-1] = (divergence_from_uniform(old) - divergence_from_uniform(new))[:, 1:] * MASK[:, 1:]
    error = rho * ratio - centred[:, None] - share * rho * following
    factor = 2 * rho * error * (weights / MASK.sum(1))[:, None]
    found = slope(arms.rover(rho, bootstrap=share), model, batch, old=laws(behind).detach())
    same(found, moved_by(model, at_said(factor)))


@given(seed=st.integers(0, 1000), rho=st.floats(0.2, 3))
@settings(max_examples=5, deadline=None)
def test_rover_on_a_tree_is_the_paper_modules(seed, rho):
    """Two tokens of sampled answers: the gradient in the logits by the complex steps of `papers.rover`."""
    rng = np.random.default_rng(seed)
    x, y, dx, dy = rng.normal(size=4), rng.normal(size=(4, 4)), rng.normal(size=4), rng.normal(size=(4, 4))
    one = rover._Sampled(x, y, rng.random(6), rng.random(6), rng.random(6))
    said = torch.tensor(np.stack([one.a, one.b], 1))
    trees = [Tree(0, length=2) for _ in range(2)]
    for tree, (first, second) in zip(trees, ((x, y), (x + dx, y + dy))):
        tree.levels[0].data, tree.levels[1].data = torch.tensor(first[None]), torch.tensor(second)
    old, new = (tree.token_laws(None, said) for tree in trees)
    behind = old.detach().gather(2, said[..., None])[..., 0]
    batch = sampled(behind, torch.tensor(one.centred), torch.zeros(6, dtype=torch.int64))
    loss = arms.rover(rho).loss(Laws(new, said, old=old.detach()), batch)
    expected = rover._loss_gradient(one, x + dx, y + dy, rho)
    assert flat(loss, trees[1]).numpy() == pytest.approx(expected, abs=1e-10)


def test_rover_as_released():
    """Over the group's deviation, and a mean over all tokens, in loops."""
    model, behind = Tree(1), Tree(2)
    batch = exact(behind, 0)
    new, old, r, v = known(model), known(behind), batch.rewards.numpy(), batch.weights.numpy()
    n = len(r)
    deviation = np.sqrt((v * (r - v @ r) ** 2).sum() * n / (n - 1))
    total = count = 0.0
    for i, said in enumerate(EVERY.tokens.numpy()):
        for t in range(MASK[i].sum()):
            after = (new - old)[i, t + 1].mean() if t + 1 < MASK[i].sum() else 0.0
            total += v[i] * ((new - old)[i, t, said[t]] - (r[i] - v @ r) / (deviation + 1e-4) - after) ** 2
            count += v[i]
    released = arms.rover(signal=signals.standardised, over="token")
    found = released.loss(Laws(laws(model), EVERY.tokens, old=laws(behind).detach()), batch)
    assert float(found.detach()) == pytest.approx(total / count, abs=1e-10)


def shares(turns):
    """In loops: of each token in the mean over answers, turns and tokens."""
    out = np.zeros(MASK.shape)
    for i in range(len(MASK)):
        own = [[t for t in range(3) if MASK[i, t] and t // turns == k] for k in range(3)]
        for turn in (turn for turn in own if turn):
            out[i, turn] = 1 / len(turn) / sum(1 for other in own if other)
    return out


@POLICIES
@given(seed=SEEDS, turns=st.sampled_from([1, 2, 3]))
@settings(max_examples=3, deadline=None)
def test_the_entropy_bonus_has_the_gradient_of_its_entropies(kind, seed, turns):
    model = kind(seed)
    batch, logp = exact(kind(seed + 1), seed), known(model)
    factor = -(batch.weights.numpy()[:, None] * shares(turns))[..., None] * np.exp(logp) * logp
    found = slope(arms.with_entropy(lambda x, b: 0 * x.sum(), 0.3, turns), model, batch)
    same(found, -0.3 * moved_by(model, factor))


@POLICIES
@given(seed=SEEDS, past=st.lists(st.floats(0.3, 1.3), min_size=1, max_size=3))
@settings(max_examples=3, deadline=None)
def test_epos_force_is_larger_below_the_corridor_and_smaller_above(kind, seed, past):
    r"""Its objective is that of `papers.epo` at each token, and its forces are :math:`\lambda(1+s)`, 1 and 1 - s."""
    model = kind(seed)
    batch, logp = exact(kind(seed + 1), seed), known(model)
    surrogate = arms.epo(lambda x, b: 0 * x.sum(), 0.2, 10, low=0.9, high=1.1, turn_length=2)
    entropy, mean = -(np.exp(logp) * logp).sum(-1), np.mean(past)
    s = 0.1 * float(epo.strength(np.array(len(past)), np.array(5), np.array(1.0)))
    share = batch.weights.numpy()[:, None] * shares(2)
    now = Laws(laws(model), EVERY.tokens, history=torch.tensor(past, dtype=DOUBLE))
    stated = (share * epo.objective(entropy, mean, 0.9, 1.1, np.array(0.2), np.array(s))).sum()
    assert float(surrogate.loss(now, batch).detach()) == pytest.approx(-stated, abs=1e-10)
    assert float(surrogate.noted(now, batch).detach()) == pytest.approx((share * entropy).sum(), abs=1e-10)
    force = 0.2 * np.where(entropy < 0.9 * mean, 1 + s, np.where(entropy > 1.1 * mean, 1 - s, 1.0))
    expected = moved_by(model, (share * force)[..., None] * np.exp(logp) * logp)
    same(slope(surrogate, model, batch, history=now.history), expected)


def test_epo_as_released_is_the_bonus():
    """To the last bit, whatever is outside; in the first step the printed one is, too."""
    model, batch = Tree(3), exact(Tree(4), 0)
    bonus = slope(arms.with_entropy(arms.grpo, 0.2), model, batch)
    history = torch.tensor([0.1], dtype=DOUBLE)
    released, printed = (arms.epo(arms.grpo, 0.2, 10, constant=constant) for constant in (True, False))
    assert torch.equal(slope(released, model, batch, history=history), bonus)
    assert torch.equal(slope(printed, model, batch, history=history[:0]), bonus)
    assert not torch.equal(slope(printed, model, batch, history=history), bonus)


@POLICIES
@given(seed=SEEDS)
@settings(max_examples=3, deadline=None)
def test_the_divergence_from_the_start_is_exact(kind, seed):
    """On answers of the policy itself, summed over tokens, it is that of whole answers; and its slope in the laws."""
    model, begin = kind(seed), kind(seed + 1)
    batch, (new, old) = exact(model, seed), (known(of) for of in (model, begin))
    now = Laws(laws(model), EVERY.tokens, start=laws(begin).detach())
    found = clipped.add_up(now.divergence(), batch, "total")
    law, far = (
        np.where(MASK, np.take_along_axis(x, EVERY.tokens.numpy()[..., None], 2)[..., 0], 0) for x in (new, old)
    )
    assert float(found.detach()) == pytest.approx((np.exp(law.sum(1)) * (law - far).sum(1)).sum(), abs=1e-10)
    surrogate = arms.with_divergence(lambda x, b: 0 * x.sum(), 0.7)
    factor = (batch.weights.numpy() / MASK.sum(1))[:, None, None] * MASK[..., None] * np.exp(new) * (new - old)
    same(slope(surrogate, model, batch, start=now.start), 0.7 * moved_by(model, factor))


@given(seed=SEEDS, p=st.one_of(st.floats(0.05, 1), st.just(1.0)), tie=st.booleans())
def test_masks_are_those_of_the_paper_module(seed, p, tie):
    rng = np.random.default_rng(seed)
    law = rng.dirichlet(np.ones(6), size=3)
    if tie:
        law[0] = 1 / 6
    found = top_p(torch.tensor(law).log(), p)
    expected = [nlpo.top_p(row, p) for row in torch.tensor(law).log().exp().numpy()]
    assert found.tolist() == [row.tolist() for row in expected]


@POLICIES
@given(seed=SEEDS, p=st.floats(0.6, 0.95))
@settings(max_examples=3, deadline=None)
def test_nlpo_on_policy_ascends_the_reward_of_the_masked_policy(kind, seed, p):
    """Its gradient is that of the enumerated value, written out; of logits outside there is none."""
    model, other = kind(seed), kind(seed + 1)
    allowed = torch.tensor(np.apply_along_axis(lambda x: nlpo.top_p(x, p), 2, np.exp(known(other))))
    kept = torch.where(EVERY.mask, allowed.gather(2, EVERY.tokens[..., None])[..., 0], True).all(1)
    weighed = torch.where(allowed, laws(model).exp(), 0.0)
    steps = weighed.gather(2, EVERY.tokens[..., None])[..., 0] / weighed.sum(2)
    law = torch.where(EVERY.mask, steps, 1.0).prod(1)[kept]
    assert float(law.detach().sum()) == pytest.approx(1, abs=1e-12)
    whole, said = exact(model, seed), EVERY.tokens[kept]
    old = torch.where(EVERY.mask, steps.detach(), 1.0).log()[kept]
    batch = Batch(old, whole.rewards[kept], whole.groups[kept], law.detach(), EVERY.mask[kept])
    inside = allowed[kept].scatter(2, said[..., None], True)  # where an answer has ended, anything may stand
    surrogate = arms.nlpo(arms.clip(signals.centred, over="total"), p, 1)
    found = flat(surrogate.loss(Laws(laws(model)[kept], said, allowed=inside), batch), model)
    same(-found, flat((law * batch.rewards).sum(), model), -1)  # all zero where one token is allowed everywhere
    if kind is Tree:
        off = ~allowed[0, 0]  # of the first token
        assert found[: len(off)][off].tolist() == pytest.approx([0] * int(off.sum()), abs=1e-15)


def test_entropies_inside_a_mask():
    """Of the renormalised law; what is outside has no gradient, and no NaN."""
    logits = torch.tensor([[[1.0, 2.0, 0.0, -3.0]]], dtype=DOUBLE).requires_grad_()
    allowed, said = torch.tensor([[[True, True, False, False]]]), torch.tensor([[0]])
    entropy = Laws(logits.log_softmax(-1), said, allowed=allowed).entropy
    q = 1 / (1 + np.exp(-1))
    assert entropy.item() == pytest.approx(-q * np.log(q) - (1 - q) * np.log(1 - q))
    (found,) = torch.autograd.grad(entropy.sum(), logits)
    force = q * (1 - q)  # the derivative of H by the difference of the two logits is -q (1 - q) times it
    assert found.flatten().tolist() == pytest.approx([force, -force, 0, 0])


PPO = arms.clip(signals.centred, over="token")
SURROGATES = {
    "rover": arms.rover(),
    "epo": arms.epo(PPO, 0.5, 4, low=0.9, high=1.1, turn_length=2),
    "nlpo": arms.nlpo(PPO, 0.8, 3),
    "scored inside": arms.nlpo(PPO, 0.8, 3, answers=False),
    "divergence": arms.with_divergence(surrogates.opmd, 0.5),
}
NAMES = pytest.mark.parametrize("name", SURROGATES)
STALE = replace(TINY, sync=2)


@pytest.fixture(scope="module")
def start():
    return imitate(TASK, width=16, steps=20, size=32)


@NAMES
def test_seeds_at_once_and_a_kill_change_nothing(start, tmp_path, name):
    """Alone and at once; stopped in the middle and gone on with, bit for bit, with masks and what was noted."""
    surrogate, calls = SURROGATES[name], []
    folders = [tmp_path / str(seed) for seed in RUNS]
    whole = together(start, TASK, surrogate, STALE)
    assert_same(whole, alone(start, TASK, surrogate, STALE))

    def killed(laws, batch):
        calls.append(1)
        if len(calls) == 11:
            raise Killed
        return surrogate.loss(laws, batch)

    with pytest.raises(Killed):
        together(start, TASK, replace(surrogate, loss=killed), STALE, folders=folders)
    again = together(start, TASK, surrogate, STALE, folders=folders)
    for a, b in zip(whole[0], again[0]):
        assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters()))
    assert all(a.equals(b) for a, b in zip(whole[1], again[1]))
    assert ("noted" in whole[1][0]) == (name == "epo")


def test_a_single_run_goes_on_too(start, tmp_path):
    both = OfLaws(SURROGATES["epo"].loss, noted=SURROGATES["epo"].noted, mask=TopP(0.8, 3))
    one, calls = deepcopy(start), []
    table = reinforce(one, TASK, both, STALE)

    def killed(laws, batch):
        calls.append(1)
        if len(calls) == 4:
            raise Killed
        return both.loss(laws, batch)

    with pytest.raises(Killed):
        reinforce(deepcopy(start), TASK, replace(both, loss=killed), STALE, folder=tmp_path)
    with pytest.raises(ValueError, match="it has behind, masking, model, moments, start, not behind"):
        reinforce(deepcopy(start), TASK, PPO, STALE, folder=tmp_path)
    two = deepcopy(start)
    assert reinforce(two, TASK, both, STALE, folder=tmp_path).equals(table)
    assert all(torch.equal(x, y) for x, y in zip(one.parameters(), two.parameters()))


def test_a_plain_surrogate_sees_the_same_through_laws(start):
    """And inside a mask that lets everything pass: to the last bit, alone and at once."""
    fast = replace(STALE, rate=3e-2)
    single, (several, tables) = deepcopy(start), together(start, TASK, PPO, fast)
    table = reinforce(single, TASK, PPO, fast)
    for wrapped in (OfLaws(lambda laws, batch: PPO(laws.chosen, batch)), arms.nlpo(PPO, 1.0, 1)):
        model = deepcopy(start)
        assert reinforce(model, TASK, wrapped, fast).equals(table)
        models, found = together(start, TASK, wrapped, fast)
        assert all(a.equals(b) for a, b in zip(found, tables))
        for one, other in zip((model, *models), (single, *several)):
            assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters()))


@NAMES
def test_two_processes_take_the_step_of_one_and_note_the_same(name):
    surrogate, task = SURROGATES[name], lookup()
    model = imitate(task, width=16, steps=8, size=16)
    other = imitate(task, width=16, steps=12, size=16)
    parts = {"model": model, "behind": other, "start": other, "masking": other}
    answering = Masked(other, other, 0.8) if name == "nlpo" else other
    halves = [rollout(answering, task, TASK.reward, (1,), prompts=4, group=3, part=(r, 2)) for r in range(2)]

    def step(mate, prompts, tokens, batch):
        own = deepcopy(model)
        known = constants(surrogate, prompts, tokens, parts)
        loss, note = _backward(own.token_laws(prompts, tokens), batch, surrogate, known, [0.5], 1, mate)
        return loss, note, torch.cat([weight.grad.flatten() for weight in own.parameters()])

    columns = [torch.cat([getattr(half.batch, field) for half in halves]) for field in ("old", "rewards", "tokens")]
    old, rewards, said = columns
    batch = sampled(old, rewards, torch.cat([half.batch.groups + 2 * r for r, half in enumerate(halves)]), said)
    prompts, tokens = (torch.cat([half[k] for half in halves]) for k in (0, 1))
    loss, note, expected = step(None, prompts, tokens, batch)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda mate, half: step(mate, *half), team(2), halves))
    assert [loss_ for loss_, _, _ in found] == [pytest.approx(float(loss), abs=1e-5)] * 2
    assert [note_ for _, note_, _ in found] == [pytest.approx(note, abs=1e-6)] * 2
    torch.testing.assert_close(found[0][2] + found[1][2], expected, rtol=1e-4, atol=1e-6)
    assert float(expected.abs().max()) > 1e-3


def test_answers_inside_a_mask():
    """Every token is in the top-p set of a pass without a cache, likelihoods are those of it; stacked, and at p = 1."""
    models, others = [sharp(seed) for seed in RUNS], [sharp(seed + 10) for seed in RUNS]
    prompts = torch.randint(2, 6, (6, 4), generator=torch.Generator().manual_seed(0))
    both = Masked(stacked(models), stacked(others), 0.7).sample(prompts, 5, generators(*RUNS), group=4)
    outside = 0
    for k, (model, other, seed) in enumerate(zip(models, others, RUNS)):
        asked, masked = prompts[2 * k : 2 * k + 2], Masked(model, other, 0.7)
        said = masked.sample(asked, 5, *generators(seed), group=4)
        T = said.tokens.shape[1]
        assert torch.equal(said.tokens, both.tokens[8 * k : 8 * k + 8, :T])
        allowed = top_p(other.token_laws(asked, said.tokens).detach(), 0.7)
        assert allowed.gather(2, said.tokens[..., None])[..., 0][said.mask].all()
        again = masked.token_logp(asked, said.tokens).detach()
        torch.testing.assert_close(again[said.mask], said.logp[said.mask], rtol=0, atol=1e-12)
        outside += int((~allowed[said.mask]).sum())
        plain = model.sample(asked, 5, *generators(seed), group=4)
        whole = Masked(model, other, 1.0).sample(asked, 5, *generators(seed), group=4)
        assert all(torch.equal(a, b) for a, b in zip(plain, whole))
    assert outside > 0


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: Laws(torch.zeros(2, 3), torch.zeros(2, 3)), r"logp must have shape \(N, T, V\), got \(2, 3\)"),
        (lambda: Laws(torch.zeros(2, 3, 4), torch.zeros(2, 2)), r"said must have shape \(2, 3\), got \(2, 2\)"),
        (lambda: _laws(old=torch.zeros(2, 3, 5)), r"old must have shape \(2, 3, 4\), got \(2, 3, 5\)"),
        (lambda: _laws(allowed=torch.arange(4).expand(2, 3, 4) != 1), r"said\[0, 0\] is 1, which is not allowed"),
        (lambda: _laws().following(torch.ones(2, 3, dtype=torch.bool)), "old was not asked for"),
        (lambda: _laws().divergence(), "start was not asked for"),
        (lambda: TopP(0.0, 1), "p must lie in"),
        (lambda: TopP(0.5, -1), "every must be at least 0"),
        (lambda: OfLaws(lambda laws, batch: 0, needs=("odl",)), "among old, start Did you mean old.; got 'odl'"),
    ],
)
def test_bad_calls(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def _laws(**more):
    return Laws(torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.int64), **more)


def test_a_mask_needs_transformers_of_ours():
    with pytest.raises(TypeError, match="a mask needs transformers of ours, got Tree and Transformer"):
        Masked(Tree(0), transformer(0), 0.5)
