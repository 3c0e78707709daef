"""Our policies as models of transformers, with the same weights, for the race against TRL."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor

from claimlab.experiments.lm.decode import END, PAD
from claimlab.experiments.lm.pretrained import Pretrained
from claimlab.experiments.lm.tasks import Task
from claimlab.experiments.lm.transformer import Transformer

START = "^"  # stands before every prompt of a pretrained model, for its own start token


class Peer(NamedTuple):
    """A causal model of transformers, its tokenizer of single characters, text before prompts, and what LoRA adds."""

    model: Any
    tokenizer: Any
    before: str = ""
    lora: Any = None


def llama(model: Transformer, task: Task) -> Peer:
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
    tokens = _some(s.vocabulary, s.context)
    with torch.no_grad():
        torch.testing.assert_close(peer(tokens).logits, model(tokens), rtol=0, atol=1e-4)
    return Peer(peer, _tokenizer(task.alphabet))


def smollm2(model: Pretrained, task: Task) -> Peer:
    """The same layers over the task's characters and the start: embedding and head have no other rows; ours use none.

    Padding has a row of zeros, whose chance is negligible.
    """
    from peft import LoraConfig  # pyright: ignore[reportMissingImports]
    from transformers import LlamaForCausalLM  # pyright: ignore[reportMissingImports]

    ids = [*model.ids.tolist(), int(model.prefix[0])]
    config = deepcopy(model.model.config)
    config.vocab_size, config.pad_token_id, config.eos_token_id, config.bos_token_id = len(ids), PAD, END, None
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # it says how the file was packed
    peer = LlamaForCausalLM(config)
    own = {name.replace(".base_layer", ""): weight for name, weight in model.model.state_dict().items()}
    rows = own["model.embed_tokens.weight"][ids].clone()
    rows[PAD] = 0
    weights = {name: own[name] for name in peer.state_dict()}
    peer.load_state_dict(weights | {"model.embed_tokens.weight": rows, "lm_head.weight": rows})
    tokens = _some(len(ids) - 1, 6)
    with torch.no_grad():
        before = torch.full((len(tokens), 1), len(ids) - 1)
        found = peer(torch.cat([before, tokens], 1)).logits[:, 1:, END : len(ids) - 1]
        torch.testing.assert_close(found, model(tokens)[0][:, :, END:], rtol=0, atol=1e-2)
    shape = model.shape
    lora = LoraConfig(
        r=shape.rank, lora_alpha=shape.scale * shape.rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return Peer(peer, _tokenizer(task.alphabet + START), START, lora)


def _some(vocabulary: int, length: int) -> Tensor:
    """Characters at random, none of them padding or end."""
    return torch.randint(END + 1, vocabulary, (8, length), generator=torch.Generator().manual_seed(0))


def _tokenizer(alphabet: str) -> Any:
    """A token for each character, after padding "#" and the end "$"."""
    from tokenizers import (  # pyright: ignore[reportMissingImports]
        Regex,
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
    )
    from transformers import PreTrainedTokenizerFast  # pyright: ignore[reportMissingImports]

    words = Tokenizer(models.WordLevel({c: i for i, c in enumerate(f"#${alphabet}")}, unk_token="#"))
    words.pre_tokenizer, words.decoder = pre_tokenizers.Split(Regex("."), "isolated"), decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="$", pad_token="#", padding_side="left")
