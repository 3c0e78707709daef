"""Batches of answers for the surrogates: sampled, or enumerated with their probabilities as weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Steps:
    """Where answers are cut into K segments (steps, turns), and which prefixes they share: paths through a tree.

    Args:
        of: int64[N, T], the segment of each token, 0 to K - 1.
        nodes: int64[N, K], the node at the end of every segment: in a column, equal for the same prefix.
        worth: float[N, K + 1], what a judge values the prompt and the prefix at each node at; None: nobody does.
    """

    of: Tensor
    nodes: Tensor
    worth: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """Answers to one or several prompts, with what the surrogates need besides the trained policy.

    The advantages of a group (the answers to one prompt) are its rewards less their mean, weighted by `weights`.  Of a
    sampled batch all weights are alike; of an enumerated one they are the probabilities of prompt and answer together,
    and every loss is then exact.

    Args:
        old: float[N, T], log-probabilities of the tokens under the policy that answered.
        rewards: float[N].
        groups: int[N], the group of each answer, 0, 1, ...; every number up to the largest occurs.
        weights: float[N], non-negative, total one, positive in total for every group.
        tokens: bool[N, T], which places hold tokens; the others count for nothing.
        steps: the segments, for signals that credit them one by one.

    Raises:
        ValueError: what is not so, with its place.
    """

    old: Tensor
    rewards: Tensor
    groups: Tensor
    weights: Tensor
    tokens: Tensor
    steps: Steps | None = None

    def __post_init__(self) -> None:
        if self.old.ndim != 2 or 0 in self.old.shape:
            raise ValueError(f"old must have shape (N, T), both at least 1, got {tuple(self.old.shape)}.")
        _of_shape("tokens", self.tokens, self.old.shape)
        if self.tokens.dtype != torch.bool:
            raise ValueError(f"tokens must be boolean, got {self.tokens.dtype}.")
        for name in ("rewards", "groups", "weights"):
            _of_shape(name, getattr(self, name), self.old.shape[:1])
        for name, values in (("rewards", self.rewards), ("weights", self.weights), ("old", self.old)):
            if not values.is_floating_point():
                raise ValueError(f"{name} must be floating-point numbers, got {values.dtype}.")
            bad = ~values.isfinite() & (self.tokens if name == "old" else True)
            _none("must be finite", name, values, bad)
        _none("must not be positive", "old", self.old, (self.old > 0) & self.tokens)
        _none("must not be negative", "weights", self.weights, self.weights < 0)
        if abs(total := float(self.weights.sum(dtype=torch.float64)) - 1) > 1e-6:
            raise ValueError(f"weights must sum to 1, got {1 + total:.9g}.")
        if self.groups.dtype != torch.int64:
            raise ValueError(f"groups must be int64, got {self.groups.dtype}.")
        _none("must not be negative", "groups", self.groups, self.groups < 0)
        _none("must have a positive weight in total", "groups", torch.arange(len(self.mass)), self.mass <= 0)
        if self.steps is not None:
            N, K = len(self.old), self.steps.nodes.shape[-1]
            _of_shape("steps.of", self.steps.of, self.old.shape)
            _of_shape("steps.nodes", self.steps.nodes, torch.Size((N, K)))
            _none("must be a segment", "steps.of", self.steps.of, (self.steps.of < 0) | (self.steps.of >= K))
            if self.steps.worth is not None:
                _of_shape("steps.worth", self.steps.worth, torch.Size((N, K + 1)))
                _none("must be finite", "steps.worth", self.steps.worth, ~self.steps.worth.isfinite())

    @property
    def mass(self) -> Tensor:
        """float[G], the weight of each group."""
        return self.total(self.weights)

    def total(self, values: Tensor) -> Tensor:
        """float[G], the sum of `values`, float[N], over each group."""
        sums = values.new_zeros(int(self.groups.max()) + 1)
        return sums.index_add(0, self.groups, values)

    def mean(self, values: Tensor) -> Tensor:
        """float[G], the weighted mean of `values`, float[N], in each group."""
        return self.total(self.weights * values) / self.mass

    def advantages(self) -> Tensor:
        """float[N], the rewards less the mean of their group."""
        return self.rewards - self.mean(self.rewards)[self.groups]


def sampled(
    old: Tensor, rewards: Tensor, groups: Tensor, tokens: Tensor | None = None, steps: Steps | None = None
) -> Batch:
    """A batch of answers that were drawn: all weigh the same."""
    weights = torch.full_like(rewards, 1 / max(len(rewards), 1))
    return Batch(old, rewards, groups, weights, _everywhere(old) if tokens is None else tokens, steps)


def enumerated(law: Tensor, rewards: Tensor, old: Tensor | None = None) -> Batch:
    """All answers to a single prompt: float[Y] `law` of the data, and `old` where another policy is the reference."""
    reference = law.log() if old is None else old
    return Batch(
        reference[:, None], rewards, torch.zeros(len(law), dtype=torch.int64), law, _everywhere(reference[:, None])
    )


def _everywhere(old: Tensor) -> Tensor:
    return torch.ones_like(old, dtype=torch.bool)


def _of_shape(name: str, values: Tensor, shape: torch.Size) -> None:
    if values.shape != shape:
        raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(values.shape)}.")


def _none(rule: str, name: str, values: Tensor, bad: Tensor) -> None:
    if bad.any():
        place = bad.nonzero()[0].tolist()
        raise ValueError(f"{name}{place} is {values[tuple(place)].item():.6g}; every entry {rule}.")
