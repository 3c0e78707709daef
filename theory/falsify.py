"""The attack on universal statements: random instances, guided search, hard instances, and shrinking.

A statement is a function of named arrays that returns a :class:`Trial`; a :class:`Space` says what the arrays are.
From the space alone follow how to draw an instance, how to change one a little (the guided search climbs the ratio
value / bound), and how to make one smaller (a violation is shrunk until one can check it by hand).

The search works on blocks, instances of one size whose arrays are stacked along a leading axis.  A measure that takes
such a block and returns :class:`Trials` is *batched*: far more instances in the same time.  Any other is
called on one instance after the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab.checks import Array
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality

Case = dict[str, Array]
Block = dict[str, Array]  # cases of one size, stacked: every array has a leading axis [n]


class Trials(NamedTuple):
    """The comparisons of a block, arrays [n]; a number stands for an array of equal ones."""

    value: Any
    bound: Any
    error: Any = 0.0  # certified numerical error of value - bound
    trivial: Any = inf  # what one knows without the theorem: a bound not below it says nothing
    holds: Any = True  # whether the premises do; the other fields are not read where they do not

    @property
    def excess(self) -> Any:
        """Value minus bound; an infinite bound cannot be exceeded."""
        with np.errstate(invalid="ignore"):
            return np.where(np.equal(self.bound, inf), -inf, np.subtract(self.value, self.bound))

    @property
    def ratio(self) -> Any:
        """Value / bound, less what the numerical error may have contributed: rounding is no tightness."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            tightness = np.divide(np.subtract(self.value, self.error), self.bound)
        positive = np.where(np.greater(self.bound, 0), tightness, np.where(self.violated, inf, 0.0))
        return np.where(np.equal(self.bound, inf), 0.0, np.where(np.isnan(self.bound), np.nan, positive))

    @property
    def violated(self) -> Any:
        return self.holds & (self.excess > self.error)

    def arrays(self, n: int) -> Trials:
        """With every field an array [n]."""
        return Trials(*(x if np.shape(x) == (n,) else np.broadcast_to(x, n) for x in self))

    def at(self, i: int) -> Trial:
        value, bound, error, trivial, _ = self
        return Trial(float(value[i]), float(bound[i]), float(error[i]), float(trivial[i]))


class Trial(NamedTuple):
    """One comparison, by the fields of :class:`Trials`.  A measure returns None instead where the premises fail."""

    value: float
    bound: float
    error: float = 0.0
    trivial: float = inf

    @property
    def excess(self) -> float:
        return float(Trials(*self).excess)

    @property
    def ratio(self) -> float:
        return float(Trials(*self).ratio)

    @property
    def violated(self) -> bool:
        return bool(Trials(*self).violated)


Measure = Callable[..., Trial | None]
BatchedMeasure = Callable[..., Trials]
AnyMeasure = Callable[..., Any]  # the one or, where `batched` is set, the other


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
        chosen, out = rng.integers(len(self.fields), size=_length(block)), {}
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


def _block_of(case: Case, n: int = 1) -> Block:
    """The same case `n` times."""
    return {name: np.repeat(x[None], n, axis=0) for name, x in case.items()}


def _length(block: Block) -> int:
    return len(next(iter(block.values())))


def _one_by_one(measure: Measure) -> BatchedMeasure:
    """The batched form of a measure that takes one case."""

    def batched(**block: Array) -> Trials:
        trials = [measure(**case_of(block, i)) for i in range(_length(block))]
        rows = [(0.0, 0.0, 0.0, inf, False) if trial is None else (*trial, True) for trial in trials]
        return Trials(*map(np.array, zip(*rows)))

    return batched


class _Found(NamedTuple):
    case: Case
    trial: Trial
    instances: int
    informative: int
    tried: int


class _Effort(NamedTuple):
    """How a search deals out its instances."""

    length: int  # of a block of random instances
    climbers: int  # that start together from each of the best

    @staticmethod
    def of(batched: bool, budget: Budget) -> _Effort:
        """Blocks long enough to be fast, but at least 64 of them, as each has one size, and climbs of 100 steps."""
        length = max(1, min(4096 if batched else 8, budget.instances // 64))
        return _Effort(length, max(1, min(64, budget.instances // 300)) if batched else 1)


def _search(space: Space, measure: BatchedMeasure, budget: Budget, effort: _Effort, hard: Iterable[Case]) -> _Found:
    """Hard instances, then random ones, then ascent from the best three; stops at the first violation."""
    rng = budget.rng("search")
    best: list[tuple[float, int, Case, Trial, bool]] = []  # the last says whether it violates the statement
    counts = np.zeros(3, dtype=np.int64)  # instances, informative, tried

    def look(block: Block) -> Array:
        """The ratio of each instance; minus infinity where the premises fail."""
        trials = measure(**block).arrays(_length(block))
        ratio = np.where(trials.holds, trials.ratio, -inf)
        if np.isnan(ratio).any():  # it compares as false with everything: no violation, and no place in a ranking
            i = int(np.isnan(ratio).argmax())
            raise ArithmeticError(
                f"{budget.stream}: the measure computed no number, {trials.at(i)}, at {case_of(block, i)}."
            )
        refutes = trials.violated
        for i in np.argsort(-ratio, kind="stable")[:3]:
            if trials.holds[i]:
                best.append((float(ratio[i]), int(counts[2] + i), case_of(block, i), trials.at(i), bool(refutes[i])))
        best.sort(key=lambda entry: (-entry[0], entry[1]))
        del best[3:]
        counts[:] += trials.holds.sum(), (trials.holds & (trials.bound < trials.trivial)).sum(), ratio.size
        return ratio

    def violated() -> bool:
        return any(entry[4] for entry in best)

    for case in hard:
        look(_block_of(case))
    for _ in range(50 * budget.instances // effort.length):
        if violated() or counts[0] >= budget.instances:
            break
        look(space.draw_block(rng, effort.length))
    for ratio, _, case, _, _ in list(best):
        block, ratios = _block_of(case, effort.climbers), np.full(effort.climbers, ratio)
        for _ in range(budget.instances // 3 // effort.climbers):
            if violated():
                break
            found = look(candidates := space.change(rng, block))
            for name, x in block.items():
                x[found > ratios] = candidates[name][found > ratios]
            ratios = np.maximum(ratios, found)
    if not best:
        return _Found({}, Trial(0.0, 0.0), 0, 0, int(counts[2]))
    worst = next((entry for entry in best if entry[4]), best[0])
    return _Found(worst[2], worst[3], *map(int, counts))


def _compare(measure: BatchedMeasure, case: Case) -> Trial | None:
    trials = measure(**_block_of(case)).arrays(1)
    return trials.at(0) if trials.holds[0] else None


def shrink(space: Space, measure: AnyMeasure, case: Case, *, batched: bool = False, attempts: int = 2_000) -> Case:
    """The smallest and simplest case found that still violates the statement, by greedy descent.

    A candidate must keep a tenth of the relative violation, so that what is left can be seen without a computer.
    `measure` and `batched` are as for :func:`attack`.
    """
    measure = measure if batched else _one_by_one(measure)
    trial = _compare(measure, case)
    if trial is None or not trial.violated:
        raise ValueError("shrink needs a case that violates the statement.")
    needed = min(0.1 * (trial.ratio - 1), 0.05) if isfinite(trial.ratio) else 0.0

    def keeps(candidate: Case) -> bool:
        t = _compare(measure, candidate)
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


def _worst(
    space: Space, measure: AnyMeasure, budget: Budget, batched: bool, hard: Iterable[Case]
) -> tuple[_Found, Case, Trial]:
    """What the search found, and its worst case and trial, shrunk if they violate the statement."""
    measure = measure if batched else _one_by_one(measure)
    found = _search(space, measure, budget, _Effort.of(batched, budget), hard)
    if not found.trial.violated:
        return found, found.case, found.trial
    case = shrink(space, measure, found.case, batched=True)
    return found, case, _compare(measure, case) or found.trial


def attack(
    space: Space,
    measure: AnyMeasure,
    budget: Budget,
    *,
    batched: bool = False,
    hard: Iterable[Case] = (),
    recheck: Callable[..., tuple[Any, Any]] | None = None,
) -> Inequality:
    """Evidence on "value <= bound for all instances of `space`".

    Parameters
    ----------
    measure : callable
        Takes the space's arrays by name, returns a Trial, or None where the premises fail.
    batched : bool
        Whether `measure` takes arrays of n instances, stacked along a leading axis, and returns Trials instead.
    hard : iterable of cases
        Instances that the literature or the proof says are extreme; they are tried first.
    recheck : callable, optional
        Takes the arrays of a shrunk violation, returns value and bound in exact rationals; a float violation that
        rationals do not confirm is a bug of the measure and raises.
    """
    found, case, trial = _worst(space, measure, budget, batched, hard)
    witness: dict[str, Any] = {}
    if trial.violated and recheck is not None:
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
    space: Space,
    measure: AnyMeasure,
    budget: Budget,
    *,
    batched: bool = False,
    hard: Iterable[Case] = (),
    proof: str = "float",
) -> Identity:
    """Evidence on "two sides agree on all instances": `measure` returns their distance as value, rounding as bound."""
    found, case, trial = _worst(space, measure, budget, batched, hard)
    witness = {"residual": trial.value, "rounding": trial.bound, **case} if case else None
    return Identity(trial.value, trial.bound, found.instances, proof, witness)
