"""A character transformer from scratch (RMSNorm, RoPE, SwiGLU, tied head): 1e4 to 1e6 parameters, for one core."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claimlab.checks import integer

PAD, END = 0, 1  # the first two tokens of every vocabulary; a padded place of a prompt is read like any other


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


class Answers(NamedTuple):
    """What was drawn: int64 `tokens`, `logp` under the law that drew them and bool `mask`, each [N, T].

    The mask ends with the first end token; what follows is padding.
    """

    tokens: Tensor
    logp: Tensor
    mask: Tensor


class Policy(Protocol):
    """What the loop trains: `Transformer`, `pretrained.Pretrained` or your own; `shape` is a dataclass, for records."""

    @property
    def shape(self) -> Any: ...

    def token_logp(self, prompts: Tensor, answers: Tensor) -> Tensor:
        """float[N, T] of int64[N, T] `answers` to int64[Q, P] `prompts`; N / Q neighbours answer one prompt."""
        ...

    def sample(
        self, prompts: Tensor, length: int, generator: torch.Generator, *, group: int = 1, greedy: bool = False
    ) -> Answers: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


Cache = list[tuple[Tensor, Tensor]]  # keys and values of every block, [N, heads, context, width / heads]


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
        start: int,
        visible: Tensor | None,
    ) -> Tensor:
        N, T, d = x.shape
        q, k, v = self.qkv(self.before_attention(x)).view(N, T, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        if cache is not None:
            keys, values = cache
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
        return F.linear(self.norm(x), self.embedding.weight)

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
        length, group = answers.shape[1], group_size(prompts, answers)
        if group == 1:  # nothing to share
            return chosen_logp(self(torch.cat([prompts, answers[:, :-1]], 1))[:, prompts.shape[1] - 1 :], answers)
        first, cache = self.read(prompts, length - 1, group)
        logits = first[:, None]
        if length > 1:
            logits = torch.cat([logits, self(answers[:, :-1], cache, prompts.shape[1])], 1)
        return chosen_logp(logits, answers)

    @torch.no_grad()
    def sample(
        self, prompts: Tensor, length: int, generator: torch.Generator, *, group: int = 1, greedy: bool = False
    ) -> Answers:
        """`group` answers of at most `length` tokens to each of int64[Q, P] prompts; those to one are neighbours."""
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


def draw_answers(
    logits: Tensor,
    following: Callable[[Tensor, int], Tensor],
    length: int,
    generator: torch.Generator,
    *,
    greedy: bool = False,
) -> Answers:
    """Answers of at most `length` tokens from float[N, V] `logits` of the first and those `following` token t."""
    done, drawn = torch.zeros(len(logits), dtype=torch.bool, device=logits.device), []
    for t in range(length):
        law = logits.log_softmax(-1)
        chosen = law.argmax(-1) if greedy else torch.multinomial(law.exp(), 1, generator=generator)[:, 0]
        drawn.append((torch.where(done, PAD, chosen), law.gather(1, chosen[:, None])[:, 0], ~done))
        done = done | (chosen == END)
        if t == length - 1 or bool(done.all()):
            break
        logits = following(drawn[-1][0], t)
    tokens, logp, mask = (torch.stack(column, 1) for column in zip(*drawn))
    return Answers(tokens, torch.where(mask, logp, 0.0), mask)


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
