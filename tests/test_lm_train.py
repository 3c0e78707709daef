"""The loop: prompts are read once, several processes take one step; half precision, memory, chance in surrogates."""

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from functools import partial
from threading import Barrier

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from claimlab.experiments.lm import clipped, signals, surrogates, train  # noqa: E402
from claimlab.experiments.lm.processes import part, summed, together  # noqa: E402
from claimlab.experiments.lm.rollouts import rollout  # noqa: E402
from claimlab.experiments.lm.tasks import lookup, modes  # noqa: E402
from claimlab.experiments.lm.train import OutOfMemory, Settings, imitate, reinforce  # noqa: E402
from claimlab.experiments.lm.transformer import Shape, Transformer  # noqa: E402

torch.set_num_threads(1)
TASK = replace(modes(2), reward=lambda _, answer: answer.count("1") - 0.5 * len(answer))  # never all alike
TINY = Settings(steps=4, prompts=4, group=4, evaluate=2, scored=64)


@pytest.fixture(scope="module")
def start():
    return imitate(TASK, width=16, steps=20, size=32)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_prompt_read_once_is_as_good_as_read_for_every_answer(length):
    """Log-probabilities and gradients, against whole sequences without a cache."""
    model = Transformer(Shape(7, 9, width=16, layers=2, heads=2), 1).double()
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(7, (3, 4), generator=generator)
    tokens = torch.randint(7, (12, length), generator=generator)
    weights = torch.randn(12, length, generator=generator, dtype=torch.float64)
    shared = model.token_logp(prompts, tokens)
    sequences = torch.cat([prompts.repeat_interleave(4, 0), tokens], 1)
    whole = model(sequences).log_softmax(-1)[:, 3:-1].gather(2, tokens[..., None])[..., 0]
    torch.testing.assert_close(shared, whole, rtol=0, atol=1e-12)
    found, expected = (torch.autograd.grad((weights * x).sum(), list(model.parameters())) for x in (shared, whole))
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
    assert max(float(g.abs().max()) for g in found) > 0.1


def test_answers_that_belong_to_no_prompt():
    model = Transformer(Shape(7, 9, width=8, layers=1, heads=2))
    with pytest.raises(ValueError, match="5 answers are no multiple of 2 prompts"):
        model.token_logp(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(5, 2, dtype=torch.int64))


class Threads:
    """Processes as threads: gather and reduce wait for each other."""

    def __init__(self, number, count, slots, barrier):
        self.process_index, self.num_processes, self.slots, self.barrier = number, count, slots, barrier

    def gather(self, tensor):
        self.slots[self.process_index] = tensor
        self.barrier.wait(20)
        found = torch.cat(self.slots)
        self.barrier.wait(20)
        return found

    def reduce(self, tensor, reduction):
        assert reduction == "sum"
        return self.gather(tensor[None]).sum(0)


def team(count):
    slots, barrier = [None] * count, Barrier(count)
    return [Threads(r, count, slots, barrier) for r in range(count)]


SURROGATES = {
    "a mean over all tokens": lambda x, b: clipped.ppo(x, b, signals.standardised(b), over="token"),
    "penalty": surrogates.opmd,
    "chance": surrogates.red_drop,
}


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("task", [TASK, lookup()], ids=["one turn", "two turns"])
def test_two_processes_take_the_step_of_one(name, task):
    """The gradient of both parts together, against the batch of both in one process, of answers of unlike length."""
    model = imitate(task, width=16, steps=8, size=16)
    whole = [rollout(model, task, TASK.reward, (1,), prompts=6, group=4, part=(r, 2)) for r in range(2)]
    plain = deepcopy(model)
    logp = [plain.token_logp(data.prompts, data.tokens) for data in whole]
    columns = zip(
        *((d.batch.old, d.batch.rewards, d.batch.groups + 3 * r, d.batch.tokens) for r, d in enumerate(whole))
    )
    old, rewards, groups, tokens = (torch.cat(column) for column in columns)
    torch.manual_seed(9)
    SURROGATES[name](torch.cat(logp), train_batch(old, rewards, groups, tokens)).backward()

    def step(mate):
        own, data = deepcopy(model), whole[mate.process_index]
        found = own.token_logp(data.prompts, data.tokens)
        every, batch, mine = together(mate, found.detach(), data.batch)
        leaf = every.clone().requires_grad_()
        generator = torch.Generator().manual_seed(9)  # threads share torch's own
        surrogate = partial(surrogates.red_drop, generator=generator) if name == "chance" else SURROGATES[name]
        (slope,) = torch.autograd.grad(surrogate(leaf, batch), leaf)
        found.backward(slope[mine])
        summed(mate, own)
        return [weight.grad for weight in own.parameters()]

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(step, team(2)))
    for a, b, c in zip(*both, (weight.grad for weight in plain.parameters())):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
        torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-6)
    assert max(float(weight.grad.abs().max()) for weight in plain.parameters()) > 1e-3


def train_batch(old, rewards, groups, tokens):
    from claimlab.experiments.lm.batch import sampled

    return sampled(old, rewards, groups, tokens)


def test_parts_are_equal_and_no_prompt_is_asked_twice(start):
    assert part(None, 5) == (0, 1)
    with pytest.raises(ValueError, match="multiple of the number of processes, 2, got 5"):
        part(team(2)[0], 5)
    whole = rollout(start, TASK, TASK.reward, (3,), prompts=6, group=2)
    halves = [rollout(start, TASK, TASK.reward, (3,), prompts=6, group=2, part=(r, 2)) for r in range(2)]
    assert torch.cat([half.prompts for half in halves]).equal(whole.prompts)
    assert not halves[0].tokens.equal(halves[1].tokens)


def test_the_loop_of_two_ends_with_the_same_weights(start):
    """All processes hold one policy afterwards, and it is not what one alone would have."""

    def loop(mate):
        model = deepcopy(start)
        reinforce(model, TASK, surrogates.rec, replace(TINY, steps=2), team=mate)
        return torch.cat([weight.detach().flatten() for weight in model.parameters()])

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(loop, team(2))
    assert one.equal(two)
    before = torch.cat([weight.detach().flatten() for weight in start.parameters()])
    assert not one.equal(before)


def test_chance_in_a_surrogate_belongs_to_the_step(start, tmp_path):
    """Random drops are the same after a kill, whatever else has drawn from torch's generator meanwhile."""
    one, calls = deepcopy(start), []
    table = reinforce(one, TASK, surrogates.red_drop, TINY)
    torch.manual_seed(123)

    def killed(logp, batch):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return surrogates.red_drop(logp, batch)

    with pytest.raises(KeyboardInterrupt):
        reinforce(deepcopy(start), TASK, killed, TINY, folder=tmp_path)
    before, two = torch.get_rng_state(), deepcopy(start)
    assert reinforce(two, TASK, surrogates.red_drop, TINY, folder=tmp_path).equals(table)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))
    assert torch.get_rng_state().equal(before)


def test_half_precision_sees_ratios_of_one_on_fresh_data(start):
    """And the weights stay in single precision, near those of a run in it."""
    seen = []

    def watching(logp, batch):
        seen.append(float((logp.detach() - batch.old)[batch.tokens].abs().max()))
        return surrogates.rec(logp, batch)

    half, whole = deepcopy(start), deepcopy(start)
    reinforce(half, TASK, watching, replace(TINY, precision="bfloat16"))
    assert max(seen) == 0
    prompts = torch.full((1, TASK.prompt_length), 3)
    with torch.no_grad():
        exact = whole.token_logp(prompts, prompts[:, :2])
        with torch.autocast("cpu", torch.bfloat16):
            rough = whole.token_logp(prompts, prompts[:, :2])
    assert rough.dtype == torch.float32
    assert 0 < float((exact - rough).abs().max()) < 0.2  # 8 bits
    assert {weight.dtype for weight in half.parameters()} == {torch.float32}


def test_a_compiled_pass_is_the_same_pass(start, monkeypatch):
    """With torch's tracer alone: a compiler would take minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    plain, traced = deepcopy(start), deepcopy(start)
    reinforce(plain, TASK, surrogates.rec, replace(TINY, steps=2))
    reinforce(traced, TASK, surrogates.rec, replace(TINY, steps=2, compiled=True))
    for a, b in zip(plain.parameters(), traced.parameters()):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_out_of_memory_says_what_to_lower(start, tmp_path):
    def greedy(logp, batch):
        torch.empty(2**60)

    with pytest.raises(OutOfMemory, match=r"step 0: lower prompts \(4\) or group \(4\); the last good state is in"):
        reinforce(deepcopy(start), TASK, greedy, TINY, folder=tmp_path)
    with pytest.raises(RuntimeError, match="a fault of its own"):
        reinforce(deepcopy(start), TASK, lambda *_: (_ for _ in ()).throw(RuntimeError("a fault of its own")), TINY)


def test_rows_tell_what_happened(start):
    """KL and clipped share are zero on fresh data at the start, entropy is that of the policy's own answers."""
    heard = []
    table = reinforce(deepcopy(start), TASK, surrogates.rec, replace(TINY, rate=1e-9), progress=heard.append)
    assert [row["step"] for row in heard] == [1, 2, 3, 4]
    assert table["kl"].abs().max() < 1e-6
    assert table["clip"].max() == 0
    assert table["score"].dropna().tolist() == [train.score(start, TASK, TASK.reward, count=64)] * 3
    assert table["entropy"].dropna().between(0.3, 2.6).all()  # ln 13 = 2.56 is the most
    with pytest.raises(ValueError, match="precision must be one of float32, bfloat16"):
        Settings(precision="bfloat")
