"""Seeds trained at once are the single runs, and fixed shapes draw what growing ones draw."""

from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from claimlab.experiments.lm import surrogates  # noqa: E402
from claimlab.experiments.lm.decode import END, Fixed, draw_answers, draw_fixed  # noqa: E402
from claimlab.experiments.lm.seeds import reinforce_together  # noqa: E402
from claimlab.experiments.lm.tasks import lookup, modes  # noqa: E402
from claimlab.experiments.lm.train import Diverged, OutOfMemory, Settings, imitate, reinforce  # noqa: E402
from claimlab.experiments.lm.transformer import Shape, Transformer, stacked  # noqa: E402

torch.set_num_threads(1)
TASK = replace(modes(2), reward=lambda _, answer: answer.count("1") - 0.5 * len(answer))  # never all alike
TINY = Settings(steps=4, prompts=4, group=4, evaluate=2, scored=32)
SHAPE = Shape(6, 9, width=16, layers=2, heads=2)
SEEDS = (3, 5, 8)


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def sharp(seed):
    """A transformer of uneven laws, in double precision."""
    model = Transformer(SHAPE, seed).double()
    with torch.no_grad():
        model.embedding.weight *= 40
    return model


@given(
    seed=st.integers(0, 2**31),
    prompts=st.integers(1, 3),
    length=st.integers(1, 5),
    group=st.integers(1, 4),
    greedy=st.booleans(),
    models=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_fixed_shapes_draw_what_growing_ones_draw(seed, prompts, length, group, greedy, models):
    """Token for token, of one model and of stacked ones; log-probabilities are those of a pass without a cache."""
    own = [sharp(seed % 1000 + k) for k in range(models)]
    model = own[0] if models == 1 else stacked(own)
    asked = torch.randint(2, 6, (prompts * models, 4), generator=torch.Generator().manual_seed(seed))
    seeds = range(seed, seed + models)
    grown = model.sample(asked, length, generators(*seeds), group=group, greedy=greedy)
    fixed = draw_fixed(model, asked, length, generators(*seeds), group=group, greedy=greedy)
    stop = grown.tokens.shape[1]
    assert fixed.tokens.shape == (len(asked) * group, length)
    assert torch.equal(grown.tokens, fixed.tokens[:, :stop])
    assert torch.equal(grown.mask, fixed.mask[:, :stop])
    assert not fixed.mask[:, stop:].any()
    torch.testing.assert_close(grown.logp, fixed.logp[:, :stop], rtol=0, atol=1e-12)
    again = model.token_logp(asked, fixed.tokens).detach()
    torch.testing.assert_close(torch.where(fixed.mask, again, 0.0), fixed.logp, rtol=0, atol=1e-12)


def test_fixed_shapes_in_half_precision():
    """Buffers have the precisions of autocast; what is said is what a pass in half precision says, to its rounding."""
    model = stacked([Transformer(SHAPE, seed) for seed in SEEDS])
    asked = torch.randint(2, 6, (6, 4), generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        said = draw_fixed(model, asked, 5, generators(*SEEDS), group=4)
        again = model.token_logp(asked, said.tokens).detach()
        grown = model.sample(asked, 5, generators(*SEEDS), group=4)
    assert said.logp.dtype == grown.logp.dtype
    torch.testing.assert_close(torch.where(said.mask, again, 0.0), said.logp.float(), rtol=0, atol=0.05)


def test_a_capture_leaves_no_trace(monkeypatch):
    """With stand-ins for torch's streams and graphs: what warm-up and capture write is gone when answers are drawn."""
    told, waits = [], SimpleNamespace(wait_stream=lambda _: told.append("wait"))
    monkeypatch.setattr(torch.cuda, "Stream", lambda: waits)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: waits)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", lambda _: nullcontext(told.append("capture")))
    model, asked = sharp(1), torch.randint(2, 6, (3, 4), generator=torch.Generator().manual_seed(0))
    logits, cache = model.read(asked, 2, 1)
    with torch.no_grad():
        fixed = Fixed(model, logits, cache, 2, greedy=False)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=fixed._step))
        fixed.replay = fixed._captured(torch.device("cpu"))
        assert told == ["wait", "wait", "capture"]
        for seed in range(5):
            found = fixed.sample(logits, cache, 4, generators(seed)[0])
            expected = model.sample(asked, 2, generators(seed)[0])
            assert torch.equal(found.tokens[:, : expected.tokens.shape[1]], expected.tokens)
            torch.testing.assert_close(found.logp[:, : expected.logp.shape[1]], expected.logp, rtol=0, atol=1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("models", [1, 3])
def test_a_captured_step_is_the_step(models, half):
    """Replayed for new prompts, and after the weights have changed where they lie or have been moved."""
    own = [Transformer(SHAPE, seed) for seed in SEEDS[:models]]
    model = (own[0] if models == 1 else stacked(own)).cuda()
    for turn in range(4):
        asked = torch.randint(2, 6, (2 * models, 4), device="cuda")
        draws = [[torch.Generator("cuda").manual_seed(10 * turn + k) for k in range(models)] for _ in range(2)]
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            said = draw_fixed(model, asked, 5, draws[0], group=4)
            again = model.token_logp(asked, said.tokens).detach()
            with torch.no_grad():
                logits, cache = model.read(asked, 5, 4)
                fixed = Fixed(model, logits, cache, 1, greedy=False).sample(logits, cache, 4, draws[1])
        assert torch.equal(said.tokens[:, :1], fixed.tokens)
        torch.testing.assert_close(torch.where(said.mask, again, 0.0), said.logp, rtol=0, atol=0.05 if half else 1e-4)
        with torch.no_grad():
            for weight in model.parameters():
                weight += 0.1 * torch.randn_like(weight)
        model = model.cpu().cuda() if turn == 2 else model


@given(seed=st.integers(0, 2**31), length=st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_draws_are_those_of_multinomial(seed, length):
    """With logits that do not depend on what was said, and against torch's own function, bit for bit."""
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
    said = draw_answers(logits, lambda *_: logits, length, *generators(seed))
    (generator,) = generators(seed)
    done = torch.zeros(4, dtype=torch.bool)
    for t in range(said.tokens.shape[1]):
        chosen = torch.multinomial(logits.log_softmax(-1).exp(), 1, generator=generator)[:, 0]
        assert torch.equal(said.mask[:, t], ~done)
        assert torch.equal(said.tokens[:, t], torch.where(done, 0, chosen))
        done |= chosen == END


def test_a_stack_is_each_of_its_models():
    """Log-probabilities, gradients and answers, also where a seed's answers end early and others' do not."""
    own = [sharp(seed) for seed in SEEDS]
    whole = stacked(own)
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(6, (6, 4), generator=generator)
    tokens = torch.randint(6, (18, 5), generator=generator)
    weights = torch.randn(18, 5, generator=generator, dtype=torch.float64)
    found = whole.token_logp(prompts, tokens)
    slopes = torch.autograd.grad((weights * found).sum(), list(whole.parameters()))
    both = zip(own, prompts.chunk(3), tokens.chunk(3), weights.chunk(3), found.detach().chunk(3))
    for k, (model, asked, said, factor, part) in enumerate(both):
        alone = model.token_logp(asked, said)
        torch.testing.assert_close(part, alone.detach(), rtol=0, atol=1e-12)
        for a, b in zip(slopes, torch.autograd.grad((factor * alone).sum(), list(model.parameters()))):
            torch.testing.assert_close(a[k], b, rtol=0, atol=1e-10)
    with torch.no_grad():
        own[1].embedding.weight[END] *= 30  # the second ends at once, or never
    draws, single = generators(*SEEDS), generators(*SEEDS)
    for _ in range(2):  # a second turn: where the generators stand
        said = stacked(own).sample(prompts, 5, draws, group=2)
        for model, asked, draw, part in zip(own, prompts.chunk(3), single, said.tokens.chunk(3)):
            alone = model.sample(asked, 5, draw, group=2).tokens
            assert torch.equal(part[:, : alone.shape[1]], alone)
            assert not part[:, alone.shape[1] :].any()


def test_only_one_shape_is_stacked():
    with pytest.raises(ValueError, match="models must be one or more of one shape"):
        stacked([Transformer(SHAPE), Transformer(replace(SHAPE, layers=1))])


@pytest.fixture(scope="module")
def start():
    return imitate(TASK, width=16, steps=20, size=32)


def alone(start, task, surrogate, plan):
    models = [deepcopy(start) for _ in SEEDS]
    return models, [reinforce(m, task, surrogate, replace(plan, seed=s)) for m, s in zip(models, SEEDS)]


def together(start, task, surrogate, plan, **options):
    models = [deepcopy(start) for _ in SEEDS]
    return models, reinforce_together(models, task, surrogate, plan, SEEDS, **options)


def assert_same(found, expected):
    """Single precision, and Adam divides by small numbers."""
    for model, other, table, its in zip(*found[:1], expected[0], found[1], expected[1]):
        for a, b in zip(model.parameters(), other.parameters()):
            torch.testing.assert_close(a, b, rtol=0, atol=2e-5)
        assert list(table.columns) == list(its.columns)
        assert table.to_numpy() == pytest.approx(its.to_numpy(), abs=1e-4, nan_ok=True)
    assert not all(torch.equal(a, b) for a, b in zip(*(m.parameters() for m in found[0][:2])))


@pytest.mark.parametrize(
    "plan",
    [TINY, replace(TINY, sync=2, clip_norm=0.05, measured=2), replace(TINY, sync=0)],
    ids=["fresh", "stale, clipped", "offline"],
)
def test_each_seed_has_its_own_trajectory(start, plan):
    """Also a surrogate with chance of its own, and gradients that are cut."""
    heard = []
    surrogate = surrogates.red_drop if plan.sync == 2 else surrogates.rec
    found = together(start, TASK, surrogate, plan, progress=lambda k, row: heard.append((k, row["step"])))
    assert_same(found, alone(start, TASK, surrogate, plan))
    assert heard == [(k, step) for step in range(1, 5) for k in range(3)]


def test_two_turns(start):
    task = lookup()
    start = imitate(task, width=16, steps=8, size=16)
    plan = replace(TINY, steps=2)
    assert_same(together(start, task, surrogates.rec, plan), alone(start, task, surrogates.rec, plan))


class Killed(Exception):
    pass


def killed_at(call):
    calls = []

    def surrogate(logp, batch):
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return surrogates.rec(logp, batch)

    return surrogate


def test_a_killed_run_goes_on_together_or_alone(start, tmp_path):
    """From where each seed stands, bit for bit; one may be a step behind, if the kill came between two files."""
    folders = [tmp_path / str(seed) for seed in SEEDS]
    whole = together(start, TASK, surrogates.rec, TINY)
    with pytest.raises(Killed):
        together(start, TASK, killed_at(11), TINY, folders=folders)
    single = deepcopy(start)
    table = reinforce(single, TASK, surrogates.rec, replace(TINY, seed=SEEDS[1]), folder=tmp_path / "5")
    assert table["step"].tolist() == whole[1][1]["step"].tolist()
    (tmp_path / "3" / "state.safetensors").unlink()  # as if it had not been written
    again = together(start, TASK, surrogates.rec, TINY, folders=folders)
    assert_same(again, whole)
    assert_same(([single, *again[0]], [table, *again[1]]), ([whole[0][1], *whole[0]], [whole[1][1], *whole[1]]))
    with pytest.raises(ValueError, match="of another run"):
        together(start, TASK, surrogates.rec, replace(TINY, steps=5), folders=folders)


def test_a_resumed_stack_ends_as_the_whole_one(start, tmp_path):
    folders = [tmp_path / str(seed) for seed in SEEDS]
    whole = together(start, TASK, surrogates.rec, TINY)
    with pytest.raises(Killed):
        together(start, TASK, killed_at(11), TINY, folders=folders)
    again = together(start, TASK, surrogates.rec, TINY, folders=folders)
    for a, b in zip(whole[0], again[0]):
        assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters()))
    assert all(a.equals(b) for a, b in zip(whole[1], again[1]))


def test_one_that_diverges_leaves_the_others(start):
    """Its error is that of the single run; its weights are those before the step."""
    calls = []

    def wild(logp, batch):
        calls.append(1)
        loss = surrogates.rec(logp, batch)
        return loss * float("nan") if len(calls) == 2 else loss  # the second seed, in the first step

    models, tables = together(start, TASK, wild, TINY)
    expected = alone(start, TASK, surrogates.rec, TINY)
    assert isinstance(tables[1], Diverged)
    assert "loss nan" in str(tables[1])
    assert "step 0, seed 5: lower the rate" in str(tables[1])
    assert all(torch.equal(a, b) for a, b in zip(models[1].parameters(), start.parameters()))
    assert_same((models[::2], tables[::2]), (expected[0][::2], expected[1][::2]))


def test_what_goes_wrong_is_said(start, tmp_path):
    def greedy(logp, batch):
        torch.empty(2**60)

    folders = [tmp_path / str(seed) for seed in SEEDS]
    said = r"prompts \(4\), group \(4\) or the number of seeds at once \(3\); the last good states are in"
    with pytest.raises(OutOfMemory, match=said):
        together(start, TASK, greedy, TINY, folders=folders)
    with pytest.raises(ValueError, match="seeds must be as many as models, 2, got 3"):
        reinforce_together([start, start], TASK, surrogates.rec, TINY, SEEDS)
    with pytest.raises(ValueError, match="folders must be as many as models, 3, got 1"):
        together(start, TASK, surrogates.rec, TINY, folders=folders[:1])


def test_memory_that_ends_within_a_capture_is_known(start):
    """The capture, cut short, raises an error of its own."""

    def cut(logp, batch):
        try:
            raise torch.OutOfMemoryError("full")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    with pytest.raises(OutOfMemory, match="lower prompts"):
        reinforce(deepcopy(start), TASK, cut, TINY)
