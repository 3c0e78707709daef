"""Surrogates, signals and the transformer: one set of functions, checked exactly on enumerated answers and by hand."""

import sys
from copy import deepcopy
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from scipy.stats import beta as beta_law  # noqa: E402

from claimlab.experiments.lm import clipped, records, regressions, signals, surrogates, tasks  # noqa: E402
from claimlab.experiments.lm.batch import Batch, enumerated, sampled  # noqa: E402
from claimlab.experiments.lm.compare import compare  # noqa: E402
from claimlab.experiments.lm.decode import END  # noqa: E402
from claimlab.experiments.lm.rollouts import decode, encode, rollout  # noqa: E402
from claimlab.experiments.lm.tasks import Example  # noqa: E402
from claimlab.experiments.lm.train import Diverged, Settings, imitate, reinforce  # noqa: E402
from claimlab.experiments.lm.transformer import Shape, Transformer, every_answer  # noqa: E402

torch.set_num_threads(1)  # tensors are tiny: threads only wait for each other
SEEDS = st.integers(0, 2**32 - 1)
TINY = Settings(steps=4, prompts=3, group=4, evaluate=2)


def transformer(seed=0, vocabulary=4, context=5):
    return Transformer(Shape(vocabulary, context, width=8, layers=1, heads=2), seed).double()


def flat(loss, model):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


class Tree(torch.nn.Module):
    """A softmax of free logits at every prefix, with the transformer's interface for a single prompt."""

    def __init__(self, seed, vocabulary=4, length=3):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.levels = torch.nn.ParameterList(
            torch.randn(vocabulary**d, vocabulary, generator=generator, dtype=torch.float64) for d in range(length)
        )

    def token_laws(self, prompts, answers):
        prefix, found = torch.zeros(len(answers), dtype=torch.int64), []
        for level, token in zip(self.levels, answers.T):
            found.append(level[prefix].log_softmax(-1))
            prefix = prefix * level.shape[1] + token
        return torch.stack(found, 1)

    def token_logp(self, prompts, answers):
        return self.token_laws(prompts, answers).gather(2, answers[..., None])[..., 0]


def whole(model, behind, seed):
    """Every answer of up to 3 tokens, weighted by the law of `behind`, randomly paid; and log-probabilities."""
    said = every_answer(4, 3)
    prompts = torch.full((len(said.tokens), 2), 2)
    old = torch.where(said.mask, behind.token_logp(prompts, said.tokens).detach(), 0.0)
    rewards = torch.rand(len(old), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    groups = torch.zeros(len(old), dtype=torch.int64)
    batch = Batch(old, rewards, groups, old.sum(1).exp(), said.mask)
    return batch, model.token_logp(prompts, said.tokens)


POLICIES = pytest.mark.parametrize("kind", [Tree, transformer])


@POLICIES
@given(seed=SEEDS)
@settings(max_examples=3, deadline=None)
def test_reinforce_is_the_gradient_of_the_enumerated_value(kind, seed):
    model = kind(seed)
    batch, logp = whole(model, model, seed)
    law = torch.where(batch.tokens, logp, 0.0).sum(1).exp()
    assert float(law.sum().detach()) == pytest.approx(1, abs=1e-12)
    expected = flat((law * batch.rewards).sum(), model)
    batch, logp = whole(model, model, seed)
    torch.testing.assert_close(flat(-surrogates.reinforce(logp, batch), model), expected, rtol=0, atol=1e-10)


def same_on_policy(batch):
    A = signals.centred(batch)
    k = batch.tokens.sum(1).double()
    return {
        "opmd": surrogates.opmd,
        "pairwise": lambda x, b: surrogates.pairwise(x, b, 0.7) / 1.4,
        "trinity": lambda x, b: 1.7 * surrogates.trinity(x, b, 0.7),
        "red-weight, hot": partial(surrogates.red_weight, temperature=1e12),
        "ppo": lambda x, b: clipped.ppo(x, b, A, over="total"),
        "dr-grpo": lambda x, b: 3 * clipped.ppo(x, b, A, over="constant", budget=3),
        "cispo": lambda x, b: clipped.cispo(x, b, A, over="total"),
        "gspo of longer weight": lambda x, b: clipped.gspo(x, b, A * k),
        "a-lol and its mirror": lambda x, b: (
            regressions.a_lol(x, b, b.rewards - A) - regressions.a_lol(x, b, b.rewards + A)
        ),
        "sppo": lambda x, b: regressions.sppo(x, Batch(b.old, A + 0.5, b.groups, b.weights, b.tokens), 1.0) / 2,
        "asymre": surrogates.asymre,  # a constant times the mean of the score, which is zero
        **{
            f"rec {mask} {importance}": partial(surrogates.rec, mask=mask, importance=importance)
            for mask in surrogates.MASKS
            for importance in (False, True)
        },
    }


@POLICIES
@given(seed=SEEDS)
@settings(max_examples=2, deadline=None)
def test_on_policy_all_are_reinforce(kind, seed):
    """At ratio one, with matched constants, seventeen losses have one gradient (GR15 and the like)."""
    model = kind(seed)
    batch, logp = whole(model, model, seed)
    expected = flat(surrogates.reinforce(logp, batch), model)
    for name, loss in same_on_policy(batch).items():
        batch, logp = whole(model, model, seed)
        torch.testing.assert_close(flat(loss(logp, batch), model), expected, rtol=0, atol=1e-10, msg=name)


@POLICIES
@given(seed=SEEDS, rho=st.floats(0.2, 3))
@settings(max_examples=3, deadline=None)
def test_rover_on_policy_is_reinforce_over_the_length(kind, seed, rho):
    r"""With all answers of three tokens its gradient is :math:`2\rho/3` times REINFORCE's: log-ratios are zero."""
    model = kind(seed)
    batch, _ = whole(model, model, seed)
    full = batch.tokens.all(1)
    mass = batch.weights[full]
    said = every_answer(4, 3).tokens[full]
    batch = Batch(batch.old[full], batch.rewards[full], batch.groups[full], mass / mass.sum(), batch.tokens[full])
    found = []
    for loss in (partial(regressions.rover, following=torch.zeros(len(said), 3), rho=rho), surrogates.reinforce):
        found.append(flat(loss(model.token_logp(torch.full((len(said), 2), 2), said), batch), model))
    torch.testing.assert_close(found[0], 2 * rho / 3 * found[1], rtol=0, atol=1e-10)
    assert float(found[1].abs().max()) > 1e-6


@POLICIES
@given(seed=SEEDS, beta=st.floats(0.01, 2))
@settings(max_examples=3, deadline=None)
def test_asymre_off_policy_adds_imitation(kind, seed, beta):
    r"""Its gradient less REINFORCE's is :math:`\beta\nabla KL(\pi_{old}\|\pi_\theta)`."""
    model, behind = kind(seed), kind(seed + 1)
    found = []
    for loss in (partial(surrogates.asymre, beta=beta), surrogates.reinforce):
        batch, logp = whole(model, behind, seed)
        found.append(flat(loss(logp, batch), model))
    batch, logp = whole(model, behind, seed)
    law, old = torch.where(batch.tokens, logp, 0.0).sum(1), batch.old.sum(1)
    kl = flat((old.exp() * (old - law)).sum(), model)
    torch.testing.assert_close(found[0] - found[1], beta * kl, rtol=0, atol=1e-10)
    assert float(kl.abs().max()) > 1e-6


@POLICIES
@given(seed=SEEDS)
@settings(max_examples=3, deadline=None)
def test_the_penalty_is_the_divergence_of_whole_answers(kind, seed):
    model, other = kind(seed), kind(seed + 1)
    batch, logp = whole(model, model, seed)
    reference = whole(other, model, seed)[1].detach()
    law, far = (torch.where(batch.tokens, x, 0.0).sum(1).detach() for x in (logp, reference))
    found = clipped.penalty(logp, batch, reference, over="total")
    assert float(found.detach()) == pytest.approx(float((law.exp() * (law - far)).sum()), abs=1e-10)


@given(seed=SEEDS)
def test_the_penaltys_gradient_is_that_of_the_other_divergence(seed):
    r"""As a loss on answers of one token, k3 descends :math:`KL(\pi_{ref}\|\pi)`, not what it estimates."""
    generator = torch.Generator().manual_seed(seed)
    logits, other = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    logits.requires_grad_()
    reference, logp = other.log_softmax(0), logits.log_softmax(0)
    batch = enumerated(logp.detach().exp(), torch.zeros(5, dtype=torch.float64))
    (found,) = torch.autograd.grad(clipped.penalty(logp[:, None], batch, reference[:, None], over="total"), logits)
    torch.testing.assert_close(found, logits.detach().softmax(0) - reference.exp(), rtol=0, atol=1e-12)


@given(rewards=st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=7), min_size=1, max_size=3))
def test_red_drop_keeps_as_many_below_the_mean_as_above(rewards):
    """Whom it drops, and its gradient, against a count by hand."""
    flat_rewards = torch.tensor([r for group in rewards for r in group], dtype=torch.float64)
    groups = torch.tensor([g for g, group in enumerate(rewards) for _ in group])
    batch = sampled(torch.full((len(groups), 2), -1.0, dtype=torch.float64), flat_rewards, groups)
    kept = surrogates.balanced(batch, torch.Generator().manual_seed(3))
    logp = batch.old.clone().requires_grad_()
    (slope,) = torch.autograd.grad(surrogates.red_drop(logp, batch, torch.Generator().manual_seed(3)), logp)
    start = 0
    for group in rewards:
        here = kept[start : start + len(group)].tolist()
        above = [sum(group) <= r * len(group) for r in group]
        low, high = len(group) - sum(above), sum(above)
        assert all(k for k, a in zip(here, above) if a)
        assert sum(here) == high + min(low, high)
        mean = np.mean([r for r, k in zip(group, here) if k])
        expected = [-(r - mean) * k / len(groups) for r, k in zip(group, here)]
        assert slope[start : start + len(group)].tolist() == [pytest.approx([e, e], abs=1e-12) for e in expected]
        start += len(group)


def test_red_drop_drops_at_random():
    batch = sampled(torch.full((4, 1), -1.0), torch.tensor([1.0, 0, 0, 0]), torch.zeros(4, dtype=torch.int64))
    generator = torch.Generator().manual_seed(0)
    seen = torch.stack([surrogates.balanced(batch, generator) for _ in range(900)]).double().mean(0)
    assert float(seen[0]) == 1
    assert (seen[1:] - 1 / 3).abs().max() < 5 * (2 / 9 / 900) ** 0.5


@POLICIES
@given(seed=SEEDS)
@settings(max_examples=3, deadline=None)
def test_one_side_with_importance_is_ppo_off_policy(kind, seed):
    model = kind(seed)
    found = []
    for loss in (
        partial(surrogates.rec, importance=True),
        lambda x, b: clipped.ppo(x, b, signals.centred(b), over="total"),
    ):
        batch, logp = whole(model, kind(seed + 1), seed)
        found.append(flat(loss(logp, batch), model))
    torch.testing.assert_close(*found, rtol=0, atol=1e-10)
    assert float(found[0].abs().max()) > 1e-6


@given(seed=SEEDS, tau=st.floats(0.1, 3))
def test_sequence_losses_vanish_at_the_optimum_of_their_theory(seed, tau):
    r"""SPPO, REFUEL and pairwise consistency have log-ratios :math:`r/\tau` up to a constant as minimiser."""
    rng = np.random.default_rng(seed)
    law = torch.tensor(rng.dirichlet(np.ones(2)))
    batch = enumerated(law, torch.tensor(rng.random(2)))
    at = (batch.old[:, 0] + batch.rewards / tau).log_softmax(0)[:, None]
    assert float(surrogates.pairwise(at, batch, tau)) == pytest.approx(0, abs=1e-12)
    assert float(regressions.refuel(at, batch, 1 / tau)) == pytest.approx(0, abs=1e-12)
    raised = batch.old + (batch.rewards / tau)[:, None] - 0.5 / tau
    assert float(regressions.sppo(raised, batch, 1 / tau)) == pytest.approx(0, abs=1e-12)


def test_signals_by_hand():
    old = torch.full((5, 2), -1.0, dtype=torch.float64)
    rewards, groups = torch.tensor([1.0, 0, 0, 1, 1], dtype=torch.float64), torch.tensor([0, 0, 0, 1, 1])
    batch = sampled(old, rewards, groups)
    third = 1 / 3
    assert signals.centred(batch).tolist() == pytest.approx([2 * third, -third, -third, 0, 0])
    assert signals.leave_one_out(batch).tolist() == pytest.approx([1, -0.5, -0.5, 0, 0])
    found = signals.standardised(batch, eps=0).nan_to_num()
    assert found.tolist() == pytest.approx([2 * third / third**0.5, *[-third / third**0.5] * 2, 0, 0])
    beta = signals.beta_normalised(batch, torch.tensor(2.0), torch.tensor(3.0))
    assert beta.tolist() == pytest.approx(
        [*(np.array([2, -1, -1]) / 3 / beta_law.pdf(third, 1 + 2 / 3, 2)), 0, 0], rel=1e-6
    )
    ancestors = torch.tensor([[0, 2], [0, 2], [0, 3], [1, 4], [1, 5]])
    assert signals.subtrees(batch, ancestors).tolist() == pytest.approx(
        [(2 * third + 0.5) / 2, (-third - 0.5) / 2, -third / 2, 0, 0]
    )
    turn = torch.tensor([[0, 0, 1]])
    assert signals.turns(torch.tensor([[1.0, 4.0]]), turn, 0.5).tolist() == [[3, 3, 4]]


def test_preferences_by_hand():
    batch = sampled(torch.full((2, 1), -1.0), torch.tensor([0.0, 1.0]), torch.tensor([0, 0]))
    logp = torch.tensor([[-1.5], [-0.5]])  # the winner's log-ratio exceeds the loser's by 1
    assert float(regressions.preference(logp, batch, 2.0)) == pytest.approx(np.log1p(np.exp(-2)))
    assert float(regressions.preference(logp, batch, 0.25, "ipo")) == pytest.approx(1)
    assert float(regressions.preference(logp, batch, 0.25, "hinge")) == pytest.approx(0.75)
    scores = torch.tensor([[1.0, 2.0, 3.0]]).log()
    assert float(regressions.plackett_luce(scores, torch.tensor([[2, 0]]))) == pytest.approx(np.log(1 / 2 * 1 / 3))


@POLICIES
@given(seed=SEEDS, beta=st.floats(0.1, 3), temperature=st.sampled_from([0.0, 0.3, 2.0]))
@settings(max_examples=4, deadline=None)
def test_dpo_at_the_reference_is_reinforce_with_chances_to_win(kind, seed, beta, temperature):
    r"""Its gradient there is :math:`2\beta/(1-\sum_iv_i^2)` times that of the exact chance to beat the policy."""
    model = kind(seed)
    batch, logp = whole(model, model, seed)
    found = flat(regressions.bradley_terry(logp, batch, beta, temperature), model)
    gap = batch.rewards[:, None] - batch.rewards
    wins = (gap.sign() + 1) / 2 if temperature == 0 else 1 / (1 + (-gap / temperature).exp())
    law = torch.where(batch.tokens, model.token_logp(torch.full((len(gap), 2), 2), _said()), 0.0).sum(1).exp()
    expected = flat((law * (wins @ law.detach())).sum(), model)  # minus the gradient of the chance to beat it
    scale = 2 * beta / (1 - (batch.weights**2).sum())
    torch.testing.assert_close(-found, scale * expected, rtol=0, atol=1e-10)
    assert float(expected.abs().max()) > 1e-6


@POLICIES
@given(seed=SEEDS, beta=st.floats(0.1, 3))
@settings(max_examples=3, deadline=None)
def test_dpo_off_the_reference_is_the_derivative_of_its_definition(kind, seed, beta):
    """The gradient of the sum over all pairs of answers, written out, of a policy that is not the reference."""
    model = kind(seed)
    batch, logp = whole(model, kind(seed + 1), seed)
    found = flat(regressions.bradley_terry(logp, batch, beta), model)
    batch, logp = whole(model, kind(seed + 1), seed)
    h = (torch.where(batch.tokens, logp, 0.0) - batch.old).sum(1)
    i, j = torch.triu_indices(len(h), len(h), 1)
    p = 1 / (1 + (batch.rewards[j] - batch.rewards[i]).exp())
    m, v = beta * (h[i] - h[j]), batch.weights[i] * batch.weights[j]
    loss = p * (1 + (-m).exp()).log() + (1 - p) * (1 + m.exp()).log()
    torch.testing.assert_close(found, flat((v * loss).sum() / v.sum(), model), rtol=0, atol=1e-10)
    assert float(found.abs().max()) > 1e-6


@given(seed=SEEDS, beta=st.floats(0.1, 2), temperature=st.floats(0.2, 2))
def test_dpo_rests_at_the_optimum_of_the_reward_with_a_divergence(seed, beta, temperature):
    rng = np.random.default_rng(seed)
    law, rewards = torch.tensor(rng.dirichlet(np.full(6, 3.0))), torch.tensor(rng.random(6))
    batch = enumerated(law, rewards)
    logits = (law.log() + rewards / (beta * temperature)).requires_grad_()
    loss = regressions.bradley_terry(logits.log_softmax(0)[:, None], batch, beta, temperature)
    (slope,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(slope, torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-12)
    away = regressions.bradley_terry((logits.detach() * 1.1).log_softmax(0)[:, None], batch, beta, temperature)
    assert float(away) > float(loss.detach())


def test_labels_of_pairs_are_drawn_by_their_rewards():
    """Frequencies; their mean loss is the exact one; at temperature 0 the better answer wins."""
    task = tasks.style()
    paid = [task.reward(Example("1:", ()), said) for said in ("cdcd", "abab", "cdab", "dcdc")]
    assert paid == [1, 0, 0.5, 1]
    groups = torch.tensor([0, 1, 2, 0, 1, 2])
    rewards = torch.tensor([paid[0], paid[1], paid[0], paid[2], paid[2], paid[3]], dtype=torch.float64)
    logp = -torch.rand(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    batch = sampled(torch.full((6, 2), -0.5, dtype=torch.float64), rewards, groups)
    generator = torch.Generator().manual_seed(0)
    drawn = [regressions.labelled(batch, 0.5, generator).rewards for _ in range(1000)]
    chance = 1 / (1 + np.exp(-np.array([0.5, -0.5, 0]) / 0.5))
    seen = torch.stack(drawn).mean(0).numpy()
    assert (np.abs(seen[:3] - chance) < 5 * np.sqrt(chance * (1 - chance) / 1000)).all()
    assert (seen[:3] + seen[3:]).tolist() == [1, 1, 1]
    law = {}
    for labels in np.ndindex(2, 2, 2):
        first = torch.tensor(labels, dtype=torch.float64)
        made = Batch(batch.old, torch.cat([first, 1 - first]), groups, batch.weights, batch.tokens)
        p = np.where(np.array(labels) == 1, chance, 1 - chance).prod()
        law[labels] = p * float(regressions.preference(logp, made, 0.7))
    assert sum(law.values()) == pytest.approx(float(regressions.bradley_terry(logp, batch, 0.7, 0.5)), abs=1e-12)
    sure = regressions.labelled(batch, 0.0).rewards.tolist()
    assert (sure[0], sure[3], sure[1], sure[4]) == (1, 0, 0, 1)
    assert {sure[2], sure[5]} == {0, 1}
    lonely = sampled(torch.zeros(3, 1), torch.tensor([1.0, 0, 1]), torch.tensor([0, 0, 1]))
    assert float(regressions.bradley_terry(lonely.old, lonely)) == pytest.approx(np.log(2) * 2 / 3)


def test_preferences_of_a_style_are_learnt_offline():
    """DPO against the start, on the start's own pairs; the gold reward must grow."""
    task = tasks.style(2)
    model = imitate(task, width=16, steps=60, size=32)
    plan = Settings(steps=30, prompts=32, group=2, rate=1e-2, sync=0, evaluate=30, scored=256, measured=0)
    scores = reinforce(model, task, partial(regressions.dpo, temperature=0.3), plan)["score"].dropna().tolist()
    assert scores[-1] > scores[0] + 0.1


def _said():
    return every_answer(4, 3).tokens


def test_what_the_sampler_says_is_what_the_loss_sees():
    """Cached log-probabilities are those of a pass over all; frequencies are those of the enumeration."""
    model, prompts = transformer(3), torch.tensor([[2, 3], [3, 3]])
    said = model.sample(prompts, 3, torch.Generator().manual_seed(0), group=4000)
    again = model.token_logp(prompts.repeat_interleave(4000, 0), said.tokens).detach()
    torch.testing.assert_close(torch.where(said.mask, again, 0.0), said.logp, rtol=0, atol=1e-12)
    ends = (said.tokens == END) & said.mask
    assert bool((ends.sum(1) <= 1).all())
    every = every_answer(4, 3)
    logp = model.token_logp(prompts[:1].expand(len(every.tokens), 2), every.tokens).detach()
    law = torch.where(every.mask, logp, 0.0).sum(1).exp()
    code = torch.tensor([16, 4, 1])
    seen = torch.bincount((said.tokens[:4000] * code).sum(1), minlength=64)[(every.tokens * code).sum(1)] / 4000
    assert float(((seen - law).abs() / (law * (1 - law) / 4000).sqrt()).max()) < 5


EVERY = [tasks.addition(), tasks.modes(), tasks.countdown(), tasks.lookup(), tasks.style(), tasks.ranking()]


@pytest.mark.parametrize("task", EVERY, ids=lambda task: task.name)
def test_demonstrations_are_paid_in_part_and_fit(task):
    rng, paid = np.random.default_rng(0), []
    for _ in range(400):
        example = task.draw(rng)
        text = example.turns[0]
        for said, following in zip(example.turns, example.turns[1:]):
            text += task.reply(example, said) + following
        paid.append(task.reward(example, text))
        assert decode(encode([example.prompt], task, task.prompt_length), task) == [example.prompt]
    assert 0.1 < np.mean(paid) < 0.9
    assert min(paid) >= 0
    assert max(paid) == 1


def test_products_are_demonstrated_right():
    task, rng = tasks.product(), np.random.default_rng(0)
    for example in (task.draw(rng) for _ in range(50)):
        a, b = example.prompt.rstrip("=").split("*")
        assert task.reward(example, str(int(a) * int(b))) == task.reward(example, *example.turns) == 1
        assert task.reward(example, str(int(a) * int(b) + 1)) == 0


def test_reasoning_gym_asks_draws_and_pays(monkeypatch):
    """With a stand-in for the package: questions, answers and its own verifier, by the number of the entry."""

    class Sums:
        def __getitem__(self, i):
            return {"question": f"{i % 10}+1=", "answer": i % 10 + 1}

        def score_answer(self, answer, entry):
            return 1.0 if answer == str(entry["answer"]) else 0.01

    made = {}

    def create_dataset(name, **options):
        made.update(options, name=name)
        return Sums()

    monkeypatch.setitem(sys.modules, "reasoning_gym", SimpleNamespace(create_dataset=create_dataset))
    task = tasks.reasoning_gym("chain_sum", prompt_length=4, answer_length=3, max_digits=1)
    assert (made["name"], made["max_digits"]) == ("chain_sum", 1)
    example = task.draw(np.random.default_rng(0))
    assert int(example.turns[0]) == int(example.prompt[0]) + 1
    assert task.reward(example, example.turns[0]) == 1
    assert task.reward(example, "x") == 0.01
    assert decode(encode([example.prompt], task, 4), task) == [example.prompt]
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ModuleNotFoundError, match="pip install reasoning-gym"):
        tasks.reasoning_gym("chain_sum", prompt_length=4, answer_length=3)


@pytest.mark.parametrize(
    ("text", "value"), [("3*4-2", 10), ("2-9", -7), ("2**3", None), ("abs(2)", None), ("2+", None), ("", None)]
)
def test_expressions(text, value):
    assert tasks.evaluate(text) == value


def test_two_turns_are_learnt_from_what_the_model_said_alone():
    task = tasks.lookup()
    model = imitate(task, width=16, steps=3, size=8)
    data = rollout(model, task, task.reward, (1, 2), prompts=3, group=4)
    assert data.tokens.shape == (12, task.length)
    assert not data.batch.tokens[:, 3:5].any()  # the reply
    again = model.token_logp(data.prompts, data.tokens).detach()
    torch.testing.assert_close(again[data.batch.tokens], data.batch.old[data.batch.tokens], rtol=0, atol=1e-5)


def test_a_killed_run_ends_as_the_whole_one(tmp_path):
    task, start = tasks.modes(2), imitate(tasks.modes(2), width=16, steps=5, size=16)
    one, two, calls = deepcopy(start), deepcopy(start), []
    table = reinforce(one, task, surrogates.rec, TINY)

    def killed(logp, batch):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return surrogates.rec(logp, batch)

    with pytest.raises(KeyboardInterrupt):
        reinforce(two, task, killed, TINY, folder=tmp_path)
    two = deepcopy(start)
    again = reinforce(two, task, surrogates.rec, TINY, folder=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))
    assert again.equals(table)
    with pytest.raises(ValueError, match="of another run"):
        reinforce(two, task, surrogates.rec, Settings(steps=5), folder=tmp_path)


def test_divergence_is_said_and_leaves_the_weights():
    model = imitate(tasks.modes(2), width=16, steps=2, size=8)
    before = deepcopy(model)
    with pytest.raises(Diverged, match="step 0: lower the rate"):
        reinforce(model, tasks.modes(2), lambda logp, batch: logp.sum() * float("nan"), TINY)
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), model.parameters()))


def test_arms_are_paired_and_equal_ones_are_equal():
    task = tasks.modes(2)
    start = imitate(task, width=16, steps=20, size=32)
    arms = {"a": surrogates.reinforce, "b": partial(surrogates.rec, mask="ring")}
    table = compare(start, task, arms, TINY, seeds=2, rates=(1e-3, 3e-3))
    scores = records.metric(table)
    assert list(scores.columns) == ["a", "b"]
    assert scores["a"].tolist() == scores["b"].tolist()
    assert records.sane(table.assign(data="fresh"), ("a", "b"))
    spoilt = table.assign(data="fresh")
    spoilt.loc[1, "score"] += 1e-3
    assert not records.sane(spoilt, ("a", "b"))
    assert records.sane(spoilt, ("a",))


def test_a_reward_and_a_surrogate_of_ones_own_are_learnt():
    """Reward the digit 7 with plain REINFORCE: its share must grow beyond what chance allows (start 0.1)."""
    task = tasks.modes(2)

    def sevens(example: Example, answer: str) -> float:
        return answer.count("7") / 2

    def own(logp, batch):
        return -(batch.weights[:, None] * batch.advantages()[:, None] * logp * batch.tokens).sum()

    table = reinforce(
        imitate(task, width=16, steps=30, size=32), task, own, Settings(steps=25, rate=1e-2), reward=sevens
    )
    assert table["score"].dropna().iloc[-1] > 0.3


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: Shape(10, 5, width=10, heads=4), "width must be a multiple of 2 \\* heads = 8, got 10"),
        (lambda: Settings(steps=0), "steps must be at least 1"),
        (lambda: Settings(rate=0.0), "rate must lie in"),
        (lambda: transformer()(torch.zeros(1, 6, dtype=torch.int64)), "6 tokens do not fit into a context of 5"),
        (lambda: encode(["x"], tasks.modes(), 4), "'x' has the character 'x'"),
        (lambda: encode(["12345"], tasks.modes(), 4), "needs 5 tokens"),
        (lambda: tasks.Task("t", "aa", 1, 1, None, None), "different characters"),
        (lambda: clipped.add_up(torch.zeros(1, 1), _one(), "mean"), "over must be one of"),
        (lambda: clipped.add_up(torch.zeros(1, 1), _one(), "constant"), "budget must be"),
        (lambda: regressions.pairs(_one()), "groups\\[0\\] has 1 answers"),
        (lambda: regressions.labelled(_one()), "groups\\[0\\] has 1 answers"),
        (lambda: regressions.bradley_terry(torch.zeros(1, 1), _one(), temperature=-1.0), "temperature must lie in"),
        (lambda: surrogates.balanced(_unequal()), "equal weight, group 0 has \\[0.25, 0.75\\]"),
        (lambda: signals.leave_one_out(_one()), "groups\\[0\\] has one answer"),
        (lambda: surrogates.reinforce(torch.zeros(2, 1), _one()), "logp must have shape \\(1, 1\\)"),
    ],
)
def test_bad_calls(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def _one():
    return sampled(torch.zeros(1, 1), torch.ones(1), torch.tensor([0]))


def _unequal():
    return Batch(
        torch.zeros(2, 1),
        torch.tensor([0.0, 1.0]),
        torch.tensor([0, 0]),
        torch.tensor([0.25, 0.75]),
        torch.ones(2, 1, dtype=torch.bool),
    )
