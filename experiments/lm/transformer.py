"""A character transformer from scratch (RMSNorm, RoPE, SwiGLU, tied head): 1e4 to 1e6 parameters, for one core."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import sqrt
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claimlab.checks import integer
from claimlab.experiments.lm.decode import END, PAD, Answers, Cache, Draws, draw_answers, draw_fixed


@dataclass(frozen=True)
class Shape:
    """Sizes of a transformer; `context` is the longest sequence."""

    vocabulary: int
    context: int
    width: int = 64
    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        for name, least in (("vocabulary", 3), ("context", 2), ("width", 2), ("layers", 1), ("heads", 1)):
            integer(name, getattr(self, name), least)
        if self.width % (2 * self.heads):
            raise ValueError(f"width must be a multiple of 2 * heads = {2 * self.heads}, got {self.width}.")


class Speaker(Protocol):
    """What answers, and knows how likely its answers were."""

    def token_logp(self, prompts: Tensor, answers: Tensor) -> Tensor:
        """float[N, T] of int64[N, T] `answers` to int64[Q, P] `prompts`; N / Q neighbours answer one prompt."""
        ...

    def sample(
        self, prompts: Tensor, length: int, generator: torch.Generator, *, group: int = 1, greedy: bool = False
    ) -> Answers: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


class Policy(Speaker, Protocol):
    """What the loop trains: `Transformer`, `pretrained.Pretrained` or your own; `shape` is a dataclass, for records."""

    @property
    def shape(self) -> Any: ...

    def token_laws(self, prompts: Tensor, answers: Tensor) -> Tensor:
        """float[N, T, V]: as `token_logp`, of every token of the vocabulary at these places."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


class Block(nn.Module):
    """Attention and a gated layer, each added to what came in."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d, self.heads = shape.width, shape.heads
        self.before_attention, self.before_gate = nn.RMSNorm(d, eps=1e-5), nn.RMSNorm(d, eps=1e-5)
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.up, self.down = nn.Linear(d, 4 * d, bias=False), nn.Linear(2 * d, d, bias=False)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        cache: tuple[Tensor, Tensor] | None,
        start: int | Tensor,
        visible: Tensor | None,
    ) -> Tensor:
        """`start` as a tensor is the place of a single token that looks at the whole cache, as far as `visible`."""
        N, T, d = x.shape
        q, k, v = self.qkv(self.before_attention(x)).view(N, T, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        if cache is not None:
            keys, values = cache
            if isinstance(start, Tensor):
                k, v = keys.index_copy_(2, start, k.to(keys.dtype)), values.index_copy_(2, start, v.to(values.dtype))
            else:
                keys[:, :, start : start + T], values[:, :, start : start + T] = k, v
                k, v = keys[:, :, : start + T], values[:, :, : start + T]
        k, v = k.to(q.dtype), v.to(q.dtype)  # under autocast they may differ
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=visible is None and T > 1)
        x = x + self.out(mixed.transpose(1, 2).reshape(N, T, d))
        gate, linear = self.up(self.before_gate(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * linear)


class Transformer(nn.Module):
    """A causal language model over characters; equal `seed` gives equal weights."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=1e-5)
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if weight.ndim > 1:
                scale = 0.02 if "embedding" in name else 1 / sqrt(weight.shape[1])
                last = name.endswith(("out.weight", "down.weight"))  # of a branch: keeps the sum's variance at one
                nn.init.normal_(weight, 0, scale / (sqrt(2 * shape.layers) if last else 1), generator=generator)
        half = shape.width // shape.heads // 2
        angles = torch.outer(torch.arange(shape.context).double(), 1e4 ** -(torch.arange(half).double() / half))
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, tokens: Tensor, cache: Cache | None = None, start: int = 0) -> Tensor:
        """Logits, float[N, T, V], of the tokens after `tokens`, int64[N, T], whose first stands at place `start`."""
        stop = start + tokens.shape[1]
        if stop > self.shape.context:
            raise ValueError(f"sequences of {stop} tokens do not fit into a context of {self.shape.context}.")
        x, visible = self.embedding(tokens), None
        if start and stop - start > 1:
            visible = torch.ones(stop - start, stop, dtype=torch.bool, device=tokens.device).tril(start)
        for i, block in enumerate(self.blocks):
            near = None if cache is None else cache[i]
            x = block(x, self.cos[start:stop], self.sin[start:stop], near, start, visible)
        return _product(self.norm(x), self.embedding.weight)

    def step(self, tokens: Tensor, cache: Cache, place: Tensor) -> Tensor:
        """Logits, float[N, V], after int64[N] `tokens` at int64[1] `place`, in operations whose shapes never change."""
        x, cos, sin = self.embedding(tokens[:, None]), self.cos[place], self.sin[place]
        visible = (torch.arange(cache[0][0].shape[2], device=place.device) <= place)[None]
        for block, near in zip(self.blocks, cache):
            x = block(x, cos, sin, near, place, visible)
        return _product(self.norm(x), self.embedding.weight)[:, -1]

    def read(self, prompts: Tensor, length: int, group: int) -> tuple[Tensor, Cache]:
        """Logits, float[N, V], of what follows each of int64[Q, P] prompts, and a cache with `length` places more.

        N is Q times `group`: every prompt is read once, for all of its answers.
        """
        places, hidden = prompts.shape[1] + length, self.shape.width // self.shape.heads
        empty = self.embedding.weight.new_zeros(len(prompts), self.shape.heads, places, hidden)
        cache = [(empty.clone(), empty.clone()) for _ in self.blocks]
        logits = self(prompts, cache)[:, -1].repeat_interleave(group, 0)
        return logits, [(k.repeat_interleave(group, 0), v.repeat_interleave(group, 0)) for k, v in cache]

    def token_logp(self, prompts: Tensor, answers: Tensor) -> Tensor:
        """float[N, T]: log-probability of every token of `answers`, int64[N, T], after int64[Q, P] `prompts`.

        N is a multiple of Q; the answers to one prompt are neighbours.
        """
        return chosen_logp(self._before(prompts, answers), answers)

    def token_laws(self, prompts: Tensor, answers: Tensor) -> Tensor:
        """float[N, T, V]: the same pass, with the log-probability of every token of the vocabulary."""
        return self._before(prompts, answers).log_softmax(-1)

    def _before(self, prompts: Tensor, answers: Tensor) -> Tensor:
        """Logits, float[N, T, V], from which the tokens of `answers` are chosen."""
        length, group = answers.shape[1], group_size(prompts, answers)
        if group == 1:  # nothing to share
            return self(torch.cat([prompts, answers[:, :-1]], 1))[:, prompts.shape[1] - 1 :]
        first, cache = self.read(prompts, length - 1, group)
        logits = first[:, None]
        if length > 1:
            logits = torch.cat([logits, self(answers[:, :-1], cache, prompts.shape[1])], 1)
        return logits

    @torch.no_grad()
    def sample(
        self, prompts: Tensor, length: int, generator: Draws, *, group: int = 1, greedy: bool = False
    ) -> Answers:
        """`group` answers of at most `length` tokens to each of int64[Q, P] prompts; those to one are neighbours.

        On a GPU a step is a captured graph (`decode.Fixed`).
        """
        if prompts.device.type == "cuda":
            return draw_fixed(self, prompts, length, generator, group=group, greedy=greedy)
        logits, cache = self.read(prompts, length, group)

        def following(tokens: Tensor, t: int) -> Tensor:
            return self(tokens[:, None], cache, prompts.shape[1] + t)[:, -1]

        return draw_answers(logits, following, length, generator, greedy=greedy)


def group_size(prompts: Tensor, answers: Tensor) -> int:
    """How many answers there are to each prompt."""
    if len(prompts) == 0 or len(answers) % len(prompts):
        raise ValueError(f"{len(answers)} answers are no multiple of {len(prompts)} prompts.")
    return len(answers) // len(prompts)


def chosen_logp(logits: Tensor, tokens: Tensor) -> Tensor:
    """float[N, T], the log-probabilities of int64[N, T] `tokens` under float[N, T, V] `logits`."""
    return -F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none").view(tokens.shape)


def every_answer(vocabulary: int, length: int) -> Answers:
    """All answers of at most `length` tokens that end, or have full length: for exact expectations; `logp` is zero."""
    rows: list[list[int]] = [[]]
    for _ in range(length):
        rows = [r if r and r[-1] == END else [*r, v] for r in rows for v in range(vocabulary) if not (END in r and v)]
    tokens = torch.tensor([[*r, *[PAD] * (length - len(r))] for r in rows])
    mask = torch.tensor([[t < len(r) for t in range(length)] for r in rows])
    return Answers(tokens, torch.zeros(tokens.shape), mask)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """float[N, T, o] from float[N, T, i] and float[o, i]; from float[S, o, i] where the rows are S equal parts."""
    if weight.ndim == 2:
        return F.linear(x, weight)
    return torch.bmm(x.reshape(len(weight), -1, x.shape[-1]), weight.mT).view(*x.shape[:-1], weight.shape[1])


class _Embeddings(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, tokens: Tensor) -> Tensor:
        S, V, d = self.weight.shape
        rows = tokens.reshape(S, -1) + V * torch.arange(S, device=tokens.device)[:, None]
        return F.embedding(rows, self.weight.view(S * V, d)).view(*tokens.shape, d)


class _Linears(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return _product(x, self.weight)


class _Norms(nn.Module):
    def __init__(self, weight: Tensor, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(weight), eps

    def forward(self, x: Tensor) -> Tensor:
        S, d = self.weight.shape
        flat = F.rms_norm(x, (d,), None, self.eps).view(S, -1, d)
        return (flat * self.weight[:, None]).view(x.shape)


def stacked(models: Sequence[Transformer]) -> Transformer:
    """One transformer whose weights are those of S `models` of one shape, with a leading axis, [S, ...].

    Its rows are S equal parts, each for one of the models, and results are theirs to rounding; generators are S.
    """
    if not models or any(model.shape != models[0].shape for model in models):
        raise ValueError(f"models must be one or more of one shape, got {[model.shape for model in models]}.")
    whole = deepcopy(models[0])
    for name, module in list(whole.named_modules()):
        if not isinstance(module, (nn.Embedding, nn.Linear, nn.RMSNorm)):
            continue
        weight = torch.stack([cast(Tensor, model.get_submodule(name).weight).detach() for model in models])
        made = {nn.Embedding: _Embeddings, nn.Linear: _Linears}.get(type(module))
        whole.set_submodule(name, made(weight) if made else _Norms(weight, 1e-5))
    return whole
