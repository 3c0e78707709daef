"""Drawing answers token by token; on a GPU with fixed shapes, the step captured as a CUDA graph and replayed.

A step is some hundred operations, each launched by Python; the captured step is one launch.  On a CPU fixed shapes cost
more than growing ones, since attention is over all places of the cache, filled or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary, proxy

import torch
from torch import Tensor

PAD, END = 0, 1  # the first two tokens of every vocabulary; a padded place of a prompt is read like any other
WARM = 3  # steps before a capture: libraries set themselves up in the first ones

Draws = torch.Generator | Sequence[torch.Generator]  # several answer an equal part of the rows each, in their order
Cache = list[tuple[Tensor, Tensor]]  # keys and values of every block, [N, heads, places, width / heads]


class Answers(NamedTuple):
    """What was drawn: int64 `tokens`, `logp` under the law that drew them and bool `mask`, each [N, T].

    The mask ends with the first end token; what follows is padding.
    """

    tokens: Tensor
    logp: Tensor
    mask: Tensor


def several(draws: Draws) -> Sequence[torch.Generator]:
    return [draws] if isinstance(draws, torch.Generator) else draws


def draw_answers(
    logits: Tensor, following: Callable[[Tensor, int], Tensor], length: int, draws: Draws, *, greedy: bool = False
) -> Answers:
    """Answers of at most `length` tokens from float[N, V] `logits` of the first and those `following` token t.

    A generator whose rows have all ended is not drawn from again: several draw what each would draw alone.
    """
    generators, drawn = several(draws), []
    done = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
    noise, open_ = torch.ones_like(logits.log_softmax(-1)), [True] * len(generators)  # autocast: in single precision
    for t in range(length):
        if not greedy:
            _fill(noise, generators, open_)
        law, chosen = _choose(logits, noise, greedy)
        drawn.append((torch.where(done, PAD, chosen), law, ~done))
        done = done | (chosen == END)
        open_ = (~done.view(len(generators), -1).all(1)).tolist()
        if t == length - 1 or not any(open_):
            break
        logits = following(drawn[-1][0], t)
    tokens, logp, mask = (torch.stack(column, 1) for column in zip(*drawn))
    return Answers(tokens, torch.where(mask, logp, 0.0), mask)


def _fill(noise: Tensor, generators: Sequence[torch.Generator], open_: Sequence[bool]) -> None:
    for rows, generator, wanted in zip(noise.chunk(len(generators)), generators, open_):
        if wanted:
            rows.exponential_(generator=generator)


def _choose(logits: Tensor, noise: Tensor, greedy: bool) -> tuple[Tensor, Tensor]:
    """Log-probability and token of each row: the first of exponential clocks, as `torch.multinomial` draws one."""
    law = logits.log_softmax(-1)
    chosen = law.argmax(-1) if greedy else (law.exp() / noise).argmax(-1)
    return law.gather(1, chosen[:, None])[:, 0], chosen


class Stepping(Protocol):
    """A model that reads prompts into a cache, and then one token for every row, at a place that is a tensor."""

    def read(self, prompts: Tensor, length: int, group: int) -> tuple[Tensor, Cache]: ...

    def step(self, tokens: Tensor, cache: Cache, place: Tensor) -> Tensor: ...

    def parameters(self) -> Any: ...


class Fixed:
    """Buffers of one shape, and the step that reads the token last drawn and draws the next; all that changes is in it.

    On CUDA the step is captured when the object is made, and `sample` replays it: no answer ends early, and nothing is
    copied to the CPU before the last token.  Elsewhere the same step runs as it stands.  The captured path is written
    from torch's documentation and has not run on a GPU yet.

    Args:
        model: whose weights are read where they lie: they may change, but not move.
        logits, cache: as `Stepping.read` returns them; buffers are made like them.
        length: tokens of an answer.
        greedy: whether the likeliest token is taken.
    """

    def __init__(self, model: Stepping, logits: Tensor, cache: Cache, length: int, greedy: bool) -> None:
        rows, device = len(logits), logits.device
        self.model, self.greedy, self.length = model, greedy, length
        self.logits, self.noise = torch.zeros_like(logits), torch.ones_like(logits.log_softmax(-1))
        self.cache = [(torch.zeros_like(k), torch.zeros_like(v)) for k, v in cache]
        self.place, self.t = torch.zeros(2, 1, dtype=torch.int64, device=device)
        self.done = torch.zeros(rows, dtype=torch.bool, device=device)
        self.chosen = torch.zeros(rows, dtype=torch.int64, device=device)
        self.said = Answers(
            torch.zeros(rows, length, dtype=torch.int64, device=device),
            torch.zeros(rows, length, dtype=self.noise.dtype, device=device),
            torch.zeros(rows, length, dtype=torch.bool, device=device),
        )
        self.replay: Callable[[], None] = self._step
        if device.type == "cuda" and length > 1:
            self.replay = self._captured(device)

    def sample(self, logits: Tensor, cache: Cache, place: int, draws: Draws) -> Answers:
        """Answers after prompts of `place` tokens; what is returned is overwritten by the next call."""
        generators = several(draws)
        self.logits.copy_(logits)
        for (k, v), (read_k, read_v) in zip(self.cache, cache):
            k.copy_(read_k)
            v.copy_(read_v)
        self._start(place)
        for t in range(self.length):
            if not self.greedy:
                _fill(self.noise, generators, [True] * len(generators))
            if t == 0:
                self._draw()
            else:
                self.replay()
        return self.said

    def _start(self, place: int) -> None:
        self.done.zero_()
        self.t.zero_()
        self.place.fill_(place)

    def _draw(self) -> None:
        logp, chosen = _choose(self.logits, self.noise, self.greedy)
        self.chosen.copy_(chosen.masked_fill(self.done, PAD))
        now = (self.chosen, logp.masked_fill(self.done, 0.0), ~self.done)
        for whole, column in zip(self.said, now):
            whole.index_copy_(1, self.t, column[:, None])
        self.done.logical_or_(chosen == END)

    def _step(self) -> None:
        kind = self.logits.device.type  # casts of weights are not cached: a graph would keep the old ones
        with torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind), cache_enabled=False):
            self.logits.copy_(self.model.step(self.chosen, self.cache, self.place))
        self.place.add_(1)
        self.t.add_(1)
        self._draw()

    def _captured(self, device: torch.device) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device):
            aside: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM):
                    self._start(0)
                    self._step()
            torch.cuda.current_stream().wait_stream(aside)
            self._start(0)
            with torch.cuda.graph(graph):
                self._step()
        return graph.replay


_FIXED: WeakKeyDictionary[Any, dict[Any, Fixed]] = WeakKeyDictionary()  # captured steps of each model


@torch.no_grad()
def draw_fixed(
    model: Stepping, prompts: Tensor, length: int, draws: Draws, *, group: int = 1, greedy: bool = False
) -> Answers:
    """What `draw_answers` draws, to rounding, with a cache and buffers of one shape; see `Fixed`.

    Rows draw until the last token, also where all have ended: where a generator is used again, it stands elsewhere.
    """
    logits, cache = model.read(prompts, length, group)
    if logits.device.type != "cuda":
        return Fixed(model, logits, cache, length, greedy).sample(logits, cache, prompts.shape[1], draws)
    places = tuple(weight.data_ptr() for weight in model.parameters())
    key = (logits.shape, cache[0][0].shape, length, greedy, torch.is_autocast_enabled("cuda"), places)
    steps = _FIXED.setdefault(model, {})
    if any(old[-1] != places for old in steps):
        steps.clear()  # the model was moved, and its graphs read where it no longer is
    if key not in steps:
        steps[key] = Fixed(proxy(model), logits, cache, length, greedy)
    return Answers(*(x.clone() for x in steps[key].sample(logits, cache, prompts.shape[1], draws)))
