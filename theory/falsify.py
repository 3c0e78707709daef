"""The attack on universal statements: random instances, guided search, hard instances, and shrinking.

A statement is a function of named arrays that returns a :class:`Trial`; a :class:`Space` says what the arrays are.
From the space alone follow how to draw an instance, how to change one a little (the guided search climbs the ratio
value / bound), and how to make one smaller (a violation is shrunk until one can check it by hand).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf, isfinite, isnan
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab.checks import Array
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality

Case = dict[str, Array]


class Trial(NamedTuple):
    """One comparison.  A measure returns None instead where the premises fail."""

    value: float
    bound: float
    error: float = 0.0  # certified numerical error of value - bound
    trivial: float = inf  # what one knows without the theorem: a bound not below it says nothing

    @property
    def excess(self) -> float:
        """Value minus bound; an infinite bound cannot be exceeded."""
        return -inf if self.bound == inf else self.value - self.bound

    @property
    def ratio(self) -> float:
        """Value / bound, less what the numerical error may have contributed: rounding is no tightness."""
        if self.bound == inf:
            return 0.0
        if self.bound > 0:
            return (self.value - self.error) / self.bound
        return inf if self.violated else 0.0

    @property
    def violated(self) -> bool:
        return self.excess > self.error


Measure = Callable[..., Trial | None]


@dataclass(frozen=True)
class Field(ABC):
    """A named array of a space; `axes` names its sizes, a letter an axis: "SAS", "SA", "" for a number."""

    axes: str

    @abstractmethod
    def draw(self, rng: Generator, shape: tuple[int, ...]) -> Array: ...

    @abstractmethod
    def change(self, rng: Generator, x: Array) -> Array:
        """A neighbour of `x`: one row or entry drawn anew, moved a little, or set to an extreme."""

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
        style = rng.integers(3)
        if style == 0:
            return np.eye(shape[-1])[rng.integers(shape[-1], size=shape[:-1])]
        return _normalised(rng.gamma(1.0 if style == 1 else 0.15, size=shape))

    def change(self, rng: Generator, x: Array) -> Array:
        out, row = x.copy(), tuple(rng.integers(n) for n in x.shape[:-1])
        vertex = np.eye(x.shape[-1])[rng.integers(x.shape[-1])]
        step = rng.choice([1.0, rng.random(), 0.1 * rng.random()])
        out[row] = (1 - step) * out[row] + step * vertex
        return out

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
        style = rng.integers(3)
        if style == 0:
            ends = np.unique(np.clip([self.low, 0.0, self.high], self.low, self.high))
            return np.asarray(rng.choice(ends, size=shape))
        x = np.asarray(rng.uniform(self.low, self.high, size=shape))
        return self._settle(x if style == 1 else np.round(x * 10) / 10)

    def change(self, rng: Generator, x: Array) -> Array:
        out, at = np.array(x), tuple(rng.integers(n) for n in x.shape)
        width = self.high - self.low
        moves = [self.low, self.high, 0.0, rng.uniform(self.low, self.high), out[at] + 0.05 * width * rng.normal()]
        out[at] = moves[rng.integers(5)]
        return self._settle(out)

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
        sizes = {letter: int(rng.integers(low, high + 1)) for letter, (low, high) in self.sizes.items()}
        fixed = {name: np.asarray(x, dtype=np.float64) for name, x in given.items()}
        for name, x in fixed.items():
            sizes |= dict(zip(self.fields[name].axes, x.shape))
        return {
            name: fixed[name] if name in fixed else field.draw(rng, tuple(sizes[letter] for letter in field.axes))
            for name, field in self.fields.items()
        }

    def change(self, rng: Generator, case: Case) -> Case:
        name = list(self.fields)[rng.integers(len(self.fields))]
        return case | {name: self.fields[name].change(rng, case[name])}

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


class _Found(NamedTuple):
    case: Case
    trial: Trial
    instances: int
    informative: int
    tried: int


def _search(space: Space, measure: Measure, budget: Budget, hard: Iterable[Case]) -> _Found:
    """Hard instances, then random ones, then ascent from the best three; stops at the first violation."""
    rng = budget.rng("search")
    best: list[tuple[float, int, Case, Trial]] = []
    counts = np.zeros(3, dtype=np.int64)  # instances, informative, tried

    def look(case: Case) -> Trial | None:
        trial = measure(**case)
        counts[2] += 1
        if trial is not None:
            if isnan(trial.ratio):  # it compares as false with everything: no violation, and no place in a ranking
                raise ArithmeticError(f"{budget.stream}: the measure computed no number, {trial}, at {case}.")
            counts[0] += 1
            counts[1] += trial.bound < trial.trivial
            best.append((trial.ratio, int(counts[2]), case, trial))
            best.sort(key=lambda entry: (-entry[0], entry[1]))
            del best[3:]
        return trial

    def violated() -> bool:
        return bool(best) and any(entry[3].violated for entry in best)

    for case in hard:
        look(case)
    for _ in range(50 * budget.instances):
        if violated() or counts[0] >= budget.instances:
            break
        look(space.draw(rng))
    for ratio, _, case, _ in list(best):
        for _ in range(budget.instances // 3):
            if violated():
                break
            trial = look(candidate := space.change(rng, case))
            if trial is not None and trial.ratio > ratio:
                case, ratio = candidate, trial.ratio
    if not best:
        return _Found({}, Trial(0.0, 0.0), 0, 0, int(counts[2]))
    worst = next((entry for entry in best if entry[3].violated), best[0])
    return _Found(worst[2], worst[3], *map(int, counts))


def shrink(space: Space, measure: Measure, case: Case, *, attempts: int = 2_000) -> Case:
    """The smallest and simplest case found that still violates the statement, by greedy descent.

    A candidate must keep a tenth of the relative violation, so that what is left can be seen without a computer.
    """
    trial = measure(**case)
    if trial is None or not trial.violated:
        raise ValueError("shrink needs a case that violates the statement.")
    needed = min(0.1 * (trial.ratio - 1), 0.05) if isfinite(trial.ratio) else 0.0

    def keeps(candidate: Case) -> bool:
        t = measure(**candidate)
        return t is not None and t.violated and t.ratio >= 1 + needed

    progress = True
    while progress and attempts > 0:
        progress = False
        for candidates in (space.smaller, space.simpler):
            for candidate in candidates(case):
                attempts -= 1
                if keeps(candidate):
                    case, progress = candidate, True
                    break
                if attempts <= 0:
                    break
            if progress:
                break
    return case


def attack(
    space: Space,
    measure: Measure,
    budget: Budget,
    *,
    hard: Iterable[Case] = (),
    recheck: Callable[..., tuple[Any, Any]] | None = None,
) -> Inequality:
    """Evidence on "value <= bound for all instances of `space`".

    Parameters
    ----------
    measure : callable
        Takes the space's arrays by name, returns a Trial, or None where the premises fail.
    hard : iterable of cases
        Instances that the literature or the proof says are extreme; they are tried first.
    recheck : callable, optional
        Takes the arrays of a shrunk violation, returns value and bound in exact rationals; a float violation that
        rationals do not confirm is a bug of the measure and raises.
    """
    found = _search(space, measure, budget, hard)
    case, trial = found.case, found.trial
    witness: dict[str, Any] = {}
    if trial.violated:
        case = shrink(space, measure, case)
        trial = measure(**case) or trial
        if recheck is not None:
            value, bound = recheck(**case)
            if not value > bound:
                raise ArithmeticError(f"{budget.stream}: violation {trial} not confirmed in rationals at {case}.")
            witness = {"exact value": str(value), "exact bound": str(bound)}
    witness |= {"value": trial.value, "bound": trial.bound, **case}
    return Inequality(
        ratio=trial.ratio,
        excess=trial.excess,
        error=trial.error,
        instances=found.instances,
        informative=found.informative,
        tried=found.tried,
        power=budget.instances,
        witness=witness if case else None,
    )


def equate(
    space: Space, measure: Measure, budget: Budget, *, hard: Iterable[Case] = (), proof: str = "float"
) -> Identity:
    """Evidence on "two sides agree on all instances": `measure` returns their distance as value, rounding as bound."""
    found = _search(space, measure, budget, hard)
    case, trial = found.case, found.trial
    if trial.violated:
        case = shrink(space, measure, case)
        trial = measure(**case) or trial
    witness = {"residual": trial.value, "rounding": trial.bound, **case} if case else None
    return Identity(trial.value, trial.bound, found.instances, proof, witness)
