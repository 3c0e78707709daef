"""What a statement ranges over: named arrays of named sizes; how to draw them, change them a little, make them less."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from claimlab.checks import Array

Case = dict[str, Array]
Block = dict[str, Array]  # cases of one size, stacked: every array has a leading axis [n]


@dataclass(frozen=True)
class Field(ABC):
    """A named array of a space; `axes` names its sizes, a letter an axis: "SAS", "SA", "" for a number."""

    axes: str

    @abstractmethod
    def draw(self, rng: Generator, shape: tuple[int, ...]) -> Array:
        """A block of ``shape[0]`` arrays of shape ``shape[1:]``."""

    @abstractmethod
    def change(self, rng: Generator, x: Array) -> Array:
        """A neighbour of each array of a block: a row or entry drawn anew, moved a little, or set to an extreme."""

    @abstractmethod
    def repair(self, x: Array) -> Array:
        """`x` made valid again after an index was dropped."""

    @abstractmethod
    def simpler(self, x: Array) -> Iterator[Array]:
        """Simpler arrays, boldest first."""


@dataclass(frozen=True)
class Simplex(Field):
    """Probability vectors along the last axis: dense, sparse and deterministic ones."""

    def draw(self, rng: Generator, shape: tuple[int, ...]) -> Array:
        out, style = np.empty(shape), rng.integers(3, size=shape[0])
        for k, concentration in enumerate((0.0, 1.0, 0.15)):
            at = np.flatnonzero(style == k)
            if concentration == 0:
                out[at] = np.eye(shape[-1])[rng.integers(shape[-1], size=(at.size, *shape[1:-1]))]
            else:
                out[at] = _normalised(rng.gamma(concentration, size=(at.size, *shape[1:])))
        return out

    def change(self, rng: Generator, x: Array) -> Array:
        n, outcomes = len(x), x.shape[-1]
        out = x.reshape(n, -1, outcomes).copy()
        at = np.arange(n), rng.integers(out.shape[1], size=n)
        step = np.array([np.ones(n), rng.random(n), 0.1 * rng.random(n)])[rng.integers(3, size=n), np.arange(n), None]
        out[at] = (1 - step) * out[at] + step * np.eye(outcomes)[rng.integers(outcomes, size=n)]
        return out.reshape(x.shape)

    def repair(self, x: Array) -> Array:
        return _normalised(x)

    def simpler(self, x: Array) -> Iterator[Array]:
        yield np.eye(x.shape[-1])[x.argmax(axis=-1)]
        for row in np.ndindex(x.shape[:-1]):
            out = x.copy()
            out[row] = np.eye(x.shape[-1])[x[row].argmax()]
            yield out
        for parts in (2, 4, 10):
            yield _normalised(np.round(x * parts))


@dataclass(frozen=True)
class Box(Field):
    """Numbers between `low` and `high`; a third of the draws are ends, a third tenths, so ties are common.

    With a `step`, only its multiples: ``Box("SA", -2, 2, step=1)`` holds whole numbers.
    """

    low: float = -1.0
    high: float = 1.0
    step: float = 0.0

    def draw(self, rng: Generator, shape: tuple[int, ...]) -> Array:
        style = rng.integers(3, size=(shape[0], *(1 for _ in shape[1:])))
        ends = np.unique(np.clip([self.low, 0.0, self.high], self.low, self.high))
        x = rng.uniform(self.low, self.high, size=shape)
        x = np.where(style == 0, ends[rng.integers(ends.size, size=shape)], x)
        return self._settle(np.where(style == 2, np.round(x * 10) / 10, x))

    def change(self, rng: Generator, x: Array) -> Array:
        n, width = len(x), self.high - self.low
        out = x.reshape(n, -1).copy()
        at = np.arange(n), rng.integers(out.shape[1], size=n)
        anew, near = rng.uniform(self.low, self.high, size=n), out[at] + 0.05 * width * rng.normal(size=n)
        moves = np.array([np.full(n, self.low), np.full(n, self.high), np.zeros(n), anew, near])
        out[at] = moves[rng.integers(5, size=n), np.arange(n)]
        return self._settle(out.reshape(x.shape))

    def repair(self, x: Array) -> Array:
        return x

    def simpler(self, x: Array) -> Iterator[Array]:
        for grid in (1, 2, 10, 100):
            yield self._settle(np.round(x * grid) / grid)
        for at in np.ndindex(x.shape):
            for to in (0.0, np.round(x[at]), np.round(x[at] * 10) / 10):
                out = np.array(x)
                out[at] = to
                yield self._settle(out)

    def _settle(self, x: Array) -> Array:
        stepped = np.round(x / self.step) * self.step if self.step else x
        return np.asarray(np.clip(stepped, self.low, self.high))


def _normalised(x: Array) -> Array:
    """Rows divided by their sums; rows of zeros become uniform."""
    total = x.sum(axis=-1, keepdims=True)
    return np.where(total > 0, x / np.where(total > 0, total, 1.0), 1.0 / x.shape[-1])


@dataclass(frozen=True)
class Space:
    """Named arrays over named sizes.

    Parameters
    ----------
    sizes : mapping from letter to (least, most)
        For instance ``{"S": (1, 4), "A": (2, 3)}``.
    fields : mapping from name to Field
        The keyword arguments of a measure.
    """

    sizes: Mapping[str, tuple[int, int]]
    fields: Mapping[str, Field]

    def __post_init__(self) -> None:
        for name, field in self.fields.items():
            unknown = sorted(set(field.axes) - set(self.sizes))
            if unknown:
                raise ValueError(f"fields[{name!r}] has the axis {unknown[0]!r}, which sizes does not name.")
        for letter, (least, most) in self.sizes.items():
            if not 1 <= least <= most:
                raise ValueError(f"sizes[{letter!r}] must be 1 <= least <= most, got {(least, most)}.")

    def draw(self, rng: Generator, **given: Any) -> Case:
        """An instance; arrays in `given` are taken as they are and fix the sizes of their axes."""
        fixed = {name: np.asarray(x, dtype=np.float64) for name, x in given.items()}
        sizes = self._sizes(rng)
        for name, x in fixed.items():
            sizes |= dict(zip(self.fields[name].axes, x.shape))
        return case_of(self._drawn(rng, 1, sizes, fixed), 0)

    def draw_block(self, rng: Generator, n: int) -> Block:
        """`n` instances of one size, which is drawn as well."""
        return self._drawn(rng, n, self._sizes(rng), {})

    def _sizes(self, rng: Generator) -> dict[str, int]:
        return {letter: int(rng.integers(low, high + 1)) for letter, (low, high) in self.sizes.items()}

    def _drawn(self, rng: Generator, n: int, sizes: Mapping[str, int], fixed: Case) -> Block:
        return {
            name: fixed[name][None]
            if name in fixed
            else field.draw(rng, (n, *(sizes[letter] for letter in field.axes)))
            for name, field in self.fields.items()
        }

    def change(self, rng: Generator, block: Block) -> Block:
        """A neighbour of each instance of `block`: one of its arrays is changed."""
        chosen, out = rng.integers(len(self.fields), size=length(block)), {}
        for k, (name, field) in enumerate(self.fields.items()):
            at, out[name] = np.flatnonzero(chosen == k), block[name].copy()
            if at.size:
                out[name][at] = field.change(rng, block[name][at])
        return out

    def smaller(self, case: Case) -> Iterator[Case]:
        """The case without one index of one size, largest index first."""
        for letter, (least, _) in self.sizes.items():
            size = next(x.shape[f.axes.index(letter)] for f, x in self._arrays(case) if letter in f.axes)
            for index in reversed(range(size if size > least else 0)):
                yield {name: self._without(name, case[name], letter, index) for name in self.fields}

    def simpler(self, case: Case) -> Iterator[Case]:
        for name, field in self.fields.items():
            for x in field.simpler(case[name]):
                if not np.array_equal(x, case[name]):
                    yield case | {name: x}

    def _arrays(self, case: Case) -> Iterator[tuple[Field, Array]]:
        return ((field, case[name]) for name, field in self.fields.items())

    def _without(self, name: str, x: Array, letter: str, index: int) -> Array:
        field = self.fields[name]
        for axis, axis_letter in enumerate(field.axes):
            if axis_letter == letter:
                x = np.delete(x, index, axis=axis)
        return field.repair(x)


def case_of(block: Block, i: int) -> Case:
    """The case at place `i`."""
    return {name: np.array(x[i]) for name, x in block.items()}


def block_of(case: Case, n: int = 1) -> Block:
    """The same case `n` times."""
    return {name: np.repeat(x[None], n, axis=0) for name, x in case.items()}


def length(block: Block) -> int:
    return len(next(iter(block.values())))
