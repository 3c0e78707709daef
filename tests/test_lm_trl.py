"""TRL's losses are ours, for the variants that it has: where TRL is installed (an environment of its own)."""

import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from copy import deepcopy  # noqa: E402

from datasets import Dataset  # noqa: E402
from tokenizers import Tokenizer, models  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: E402
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer  # noqa: E402

from claimlab.experiments.lm import clipped, regressions  # noqa: E402
from claimlab.experiments.lm.batch import sampled  # noqa: E402

N, P, T = 16, 5, 6
LOSSES = {
    "grpo": lambda logp, batch, A: clipped.ppo(logp, batch, A),
    "dr_grpo": lambda logp, batch, A: clipped.ppo(logp, batch, A, over="constant", budget=T),
    "dapo": lambda logp, batch, A: clipped.ppo(logp, batch, A, over="token"),
    "bnpo": lambda logp, batch, A: clipped.ppo(logp, batch, A, over="token"),  # no Beta: the mean over all tokens
    "cispo": lambda logp, batch, A: clipped.cispo(logp, batch, A),
}


def small():
    """A model of random weights, and a tokenizer of numbers."""
    torch.manual_seed(1)
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=15, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    )
    words = Tokenizer(models.WordLevel({str(i): i for i in range(15)}, unk_token="0"))
    return model, PreTrainedTokenizerFast(tokenizer_object=words, eos_token="1", pad_token="0", padding_side="left")


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient(name, tmp_path):
    model, tokenizer = small()
    options = GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=N, num_generations=4, max_completion_length=T,
        epsilon_high=1.2 if name == "cispo" else 0.2,  # there the cap itself, not its distance from one
        loss_type=name, beta=0.0, bf16=False, use_cpu=True, report_to=[], gradient_checkpointing=False, max_steps=1,
    )  # fmt: skip
    data = Dataset.from_dict({"prompt": ["1 2"]})
    trainer = GRPOTrainer(model, lambda completions, **_: [0.0] * len(completions), options, data,
                          processing_class=tokenizer)  # fmt: skip
    trainer.current_gradient_accumulation_steps, trainer._step = 1, 0
    prompts, tokens = torch.randint(2, 15, (N, P)), torch.randint(2, 15, (N, T))
    mask = torch.arange(T)[None] < torch.randint(1, T + 1, (N, 1))
    A, noise = torch.randn(N), 0.3 * torch.randn(N, T)

    def own():
        logits = model(torch.cat([prompts, tokens], 1)).logits[:, P - 1 : -1]
        return logits.log_softmax(-1).gather(2, tokens[..., None])[..., 0]

    old = (own().detach() + noise).clamp(max=0)
    inputs = {
        "prompt_ids": prompts, "prompt_mask": torch.ones_like(prompts), "completion_ids": tokens,
        "completion_mask": mask.long(), "advantages": A, "old_per_token_logps": old, "num_items_in_batch": mask.sum(),
    }  # fmt: skip
    model.train()
    theirs = trainer._compute_loss(model, inputs)
    ours = LOSSES[name](own(), sampled(old, torch.zeros(N), torch.arange(N) // 4, mask), A)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-6)
    weights = list(model.parameters())
    for a, b in zip(torch.autograd.grad(ours, weights), torch.autograd.grad(theirs, weights)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("theirs", "ours"), [("sigmoid", "dpo"), ("hinge", "hinge")])
def test_preferences(theirs, ours, tmp_path):
    """DPOTrainer's loss of pairs of unlike length, and its gradient."""
    model, tokenizer = small()
    reference = deepcopy(model)
    with torch.no_grad():
        for weight in reference.parameters():
            weight += 0.1 * torch.randn_like(weight)
    options = DPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=N, beta=0.7, loss_type=theirs, bf16=False, use_cpu=True,
        report_to=[], gradient_checkpointing=False, max_steps=1,
    )  # fmt: skip
    data = Dataset.from_dict({"prompt": ["1 2"], "chosen": ["3"], "rejected": ["4"]})
    trainer = DPOTrainer(model, reference, options, train_dataset=data, processing_class=tokenizer)
    prompts, tokens = torch.randint(2, 15, (N, P)), torch.randint(2, 15, (2 * N, T))
    mask = torch.arange(T)[None] < torch.randint(1, T + 1, (2 * N, 1))
    ids = torch.cat([prompts.repeat(2, 1), tokens], 1)
    said = torch.cat([torch.zeros(2 * N, P, dtype=torch.bool), mask], 1)
    seen = torch.cat([torch.ones(2 * N, P, dtype=torch.bool), mask], 1)
    inputs = {"input_ids": ids, "attention_mask": seen.long(), "completion_mask": said.long()}

    def own(of):
        logits = of(ids, attention_mask=seen.long()).logits[:, P - 1 : -1]
        return logits.log_softmax(-1).gather(2, tokens[..., None])[..., 0]

    model.train()
    expected = trainer._compute_loss(model, inputs, return_outputs=False)
    rewards = torch.arange(2.0).repeat_interleave(N).flip(0)  # the chosen ones come first
    batch = sampled(own(reference).detach().clamp(max=0), rewards, torch.arange(N).repeat(2), mask)
    found = regressions.preference(own(model), batch, 0.7, ours)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), abs=1e-6)
    sure = regressions.bradley_terry(own(model), batch, 0.7, temperature=0.0)
    assert ours == "hinge" or float(sure.detach()) == pytest.approx(float(expected.detach()), abs=1e-6)
    weights = list(model.parameters())
    for a, b in zip(torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
