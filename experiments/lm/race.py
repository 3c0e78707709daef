"""A step of the loop against one of TRL's GRPOTrainer: the same model, task, batch, lengths, loss and optimiser.

``python -m claimlab.experiments.lm.race FILE`` in an environment that has TRL (``pip install trl==1.16.0
transformers==5.17.0``).  Both start from the same imitated weights; the peer's Llama computes the same function, which
is checked first.  A step is all from one loss to the next: descent, metrics, prompts, answers, rewards.  CPU seconds
on one thread, runs in turn; the first steps of each are left out.  Our loop measures the KL divergence to its start at
every step; "trl" does not, "trl, KL" does, through a penalty too small to matter.
"""

from __future__ import annotations

import os
import sys
import time
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from claimlab.experiments import atomic, environment
from claimlab.experiments.lm import clipped, signals
from claimlab.experiments.lm.batch import Batch
from claimlab.experiments.lm.tasks import Task, modes
from claimlab.experiments.lm.train import BETAS, Settings, imitate, reinforce
from claimlab.experiments.lm.transformer import END, PAD, Transformer

ROUNDS, STEPS, WARM, RATE = 5, 20, 4, 1e-4
PEERS = ("trl", "trl, KL")
PROMPTS, GROUP, WIDTH, HEADS = 32, 8, 96, 6


def ours(model: Transformer, task: Task) -> list[float]:
    """CPU seconds of each step after the first ones."""
    times: list[float] = []

    def dapo(logp: Tensor, batch: Batch) -> Tensor:
        times.append(time.process_time())
        return clipped.ppo(logp, batch, signals.standardised(batch), over="token")

    settings = Settings(steps=STEPS + 1, prompts=PROMPTS, group=GROUP, rate=RATE, evaluate=STEPS + 1, scored=1)
    reinforce(deepcopy(model), task, dapo, settings)
    return np.diff(times)[WARM:].tolist()


def llama(model: Transformer) -> Any:
    """transformers' Llama with the weights of `model`."""
    from transformers import LlamaConfig, LlamaForCausalLM  # pyright: ignore[reportMissingImports]

    s = model.shape
    config = LlamaConfig(
        vocab_size=s.vocabulary, hidden_size=s.width, intermediate_size=2 * s.width, num_hidden_layers=s.layers,
        num_attention_heads=s.heads, max_position_embeddings=s.context, tie_word_embeddings=True, rms_norm_eps=1e-5,
        bos_token_id=None, eos_token_id=END, pad_token_id=PAD,
    )  # fmt: skip
    peer = LlamaForCausalLM(config)
    own = model.state_dict()
    weights = {"model.embed_tokens.weight": own["embedding.weight"], "lm_head.weight": own["embedding.weight"]}
    weights["model.norm.weight"] = own["norm.weight"]
    for i in range(s.layers):
        mine, theirs = f"blocks.{i}.", f"model.layers.{i}."
        weights[theirs + "input_layernorm.weight"] = own[mine + "before_attention.weight"]
        weights[theirs + "post_attention_layernorm.weight"] = own[mine + "before_gate.weight"]
        for name, part in zip("qkv", own[mine + "qkv.weight"].chunk(3)):
            weights[f"{theirs}self_attn.{name}_proj.weight"] = part
        weights[theirs + "self_attn.o_proj.weight"] = own[mine + "out.weight"]
        for name, part in zip(("gate", "up"), own[mine + "up.weight"].chunk(2)):
            weights[f"{theirs}mlp.{name}_proj.weight"] = part
        weights[theirs + "mlp.down_proj.weight"] = own[mine + "down.weight"]
    peer.load_state_dict(weights)
    tokens = torch.randint(2, s.vocabulary, (8, s.context), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(peer(tokens).logits, model(tokens), rtol=0, atol=1e-4)
    return peer


def theirs(model: Transformer, task: Task, beta: float = 0.0) -> tuple[list[float], float]:
    """The same of GRPOTrainer, and the mean length of its answers."""
    from datasets import Dataset  # pyright: ignore[reportMissingImports]
    from tokenizers import (  # pyright: ignore[reportMissingImports]
        Regex,
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
    )
    from transformers import (  # pyright: ignore[reportMissingImports]
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        TrainerCallback,
    )
    from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportMissingImports]

    words = Tokenizer(models.WordLevel({c: i for i, c in enumerate(f"#${task.alphabet}")}, unk_token="#"))
    words.pre_tokenizer, words.decoder = pre_tokenizers.Split(Regex("."), "isolated"), decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="$", pad_token="#", padding_side="left")
    rng = np.random.default_rng(0)
    examples = [task.draw(rng) for _ in range(1024)]
    data = Dataset.from_dict({"prompt": [e.prompt for e in examples], "index": [*range(len(examples))]})
    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            times.append(time.process_time())

    def paid(completions: list[str], index: list[int], **_: Any) -> list[float]:
        return [task.reward(examples[i], text.split("$")[0]) for i, text in zip(index, completions)]

    with TemporaryDirectory() as folder:
        options = GRPOConfig(
            output_dir=folder, per_device_train_batch_size=PROMPTS * GROUP, num_generations=GROUP, learning_rate=RATE,
            max_completion_length=task.length, max_steps=STEPS + 1, logging_steps=STEPS, save_strategy="no", beta=beta,
            report_to=[], bf16=False, use_cpu=True, gradient_checkpointing=False, lr_scheduler_type="constant",
            loss_type="dapo", adam_beta1=BETAS[0], adam_beta2=BETAS[1], disable_tqdm=True,
        )  # fmt: skip
        llama(model).save_pretrained(folder)  # the reference is read from where the model came from
        peer = LlamaForCausalLM.from_pretrained(folder)
        trainer = GRPOTrainer(peer, paid, options, data, processing_class=tokenizer, callbacks=[Clock()])
        trainer.train()
    length = next(row["completions/mean_length"] for row in trainer.state.log_history if "loss" in row)
    return np.diff(times)[WARM:].tolist(), length


def main(file: Path) -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(1)
    where = environment.environment()
    versions = {name: version(name) for name in ("torch", "transformers", "trl")}
    task = modes(4)
    start = imitate(task, width=WIDTH, heads=HEADS, steps=60)
    rounds: list[dict[str, Any]] = []
    for _ in range(ROUNDS):
        mine, (peer, length), (measured, _) = ours(start, task), theirs(start, task), theirs(start, task, 1e-6)
        rounds.append({"ours": mine, "trl": peer, "trl, KL": measured, "length": length})
        print({name: round(float(np.median(of)), 4) for name, of in rounds[-1].items()}, flush=True)
    ratios = {name: [float(np.median(r[name]) / np.median(r["ours"])) for r in rounds] for name in PEERS}
    record = {
        "unit": "CPU seconds per step, one thread",
        "parameters": sum(weight.numel() for weight in start.parameters()),
        "batch": [PROMPTS, GROUP],
        "length": task.length,
        "ratios": {n: {"median": float(np.median(x)), "least": min(x), "largest": max(x)} for n, x in ratios.items()},
        "fastest": {name: min(min(r[name]) for r in rounds) for name in ("ours", *PEERS)},
        "rounds": rounds,
        "environment": where | {"packages": where["packages"] | versions},
    }
    atomic.write_json(file, record)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
