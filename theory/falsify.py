"""The attack on universal statements: random instances, guided search, hard instances, and shrinking.

A statement is a function of named arrays that returns a :class:`Trial`; a :class:`~claimlab.theory.spaces.Space` says
what the arrays are.  From the space alone follow how to draw an instance, how to change one a little (the guided search
climbs the ratio value / bound), and how to make one smaller (a violation is shrunk until one can check it by hand).

The search works on blocks, instances of one size whose arrays are stacked along a leading axis.  A measure that takes
such a block and returns :class:`Trials` is *batched*: far more instances in the same time.  Any other is
called on one instance after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf, isfinite
from typing import Any, NamedTuple

import numpy as np

from claimlab.checks import Array
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality
from claimlab.theory.spaces import Block, Case, Space, block_of, case_of, length


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


def _one_by_one(measure: Measure) -> BatchedMeasure:
    """The batched form of a measure that takes one case."""

    def batched(**block: Array) -> Trials:
        trials = [measure(**case_of(block, i)) for i in range(length(block))]
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
        trials = measure(**block).arrays(length(block))
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
        look(block_of(case))
    for _ in range(50 * budget.instances // effort.length):
        if violated() or counts[0] >= budget.instances:
            break
        look(space.draw_block(rng, effort.length))
    for ratio, _, case, _, _ in list(best):
        block, ratios = block_of(case, effort.climbers), np.full(effort.climbers, ratio)
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
    trials = measure(**block_of(case)).arrays(1)
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
