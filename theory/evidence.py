r"""The five kinds of evidence, and the fixed rules by which each turns into a verdict.

A rule sees numbers only, never who wrote the claim.  Deterministic evidence (`Identity`, `Inequality`) is judged by
itself.  Statistical evidence (`Rate`, `Probability`, `Comparison`) carries two one-sided p-values: `p_support`, the
probability of such data if the claim were false, and `p_refute`, if it were true; :func:`judge` corrects all of a
ledger's p-values together (Holm 1979) before it decides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from fractions import Fraction
from math import inf, isfinite, isnan, nan, sqrt
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike
from scipy import stats

from claimlab import checks
from claimlab.checks import Array
from claimlab.theory.concentration import betting_p_value

LEVEL = 0.05  # familywise error of a ledger
RESAMPLES = 99_999  # of a bootstrap: p-values down to 1e-5 survive Holm over a few thousand hypotheses
EQUAL = 1e-9  # runs closer than that, relative to the numbers compared, are equal: sums of floats leave such distances

Range = tuple[float, float]


class Outcome(StrEnum):
    SUPPORTED = "supported"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"
    VACUOUS = "vacuous"  # no instance met the premises with a non-trivial bound: nothing was tested


class Verdict(NamedTuple):
    outcome: Outcome
    reason: str  # in numbers; for an inconclusive verdict, what it would take
    level: float | None  # the error probability of a statistical verdict; None for a deterministic one


@dataclass(frozen=True)
class Evidence(ABC):
    """What a check found.  `witness` is the worst instance, in JSON values, that a reader can recompute by hand."""

    @abstractmethod
    def rule(self, level: float) -> tuple[Outcome, str]:
        """The verdict at the given error level (which deterministic evidence ignores) and its reason."""

    @property
    def p_values(self) -> tuple[float, float] | None:
        """`p_support` and `p_refute` of statistical evidence."""
        return None

    def _reject_nan(self, *names: str) -> None:
        """NaN compares as false with everything, so a rule would read it as one outcome or the other."""
        for name in names:
            if isnan(checks.real(name, getattr(self, name))):
                raise ValueError(f"{name} of {type(self).__name__} is NaN: the check computed no number.")


@dataclass(frozen=True)
class Identity(Evidence):
    """An equality, or a statement decided exactly on each instance.

    Parameters
    ----------
    residual : float
        Largest distance between the two sides; in exact arithmetic, the number of instances on which they differ.
    rounding : float
        A *certified* bound on what arithmetic alone can make of an exact equality at that instance; 0 if exact.
    instances : int
        How many instances were compared.
    proof : str
        "sympy", "rational" or "float".
    """

    residual: float
    rounding: float
    instances: int
    proof: str
    witness: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        self._reject_nan("residual", "rounding")
        checks.integer("instances", self.instances, 0)
        checks.text("proof", self.proof)

    def rule(self, level: float) -> tuple[Outcome, str]:
        if self.instances == 0:
            return Outcome.VACUOUS, "no instance met the premises."
        if not isfinite(self.rounding):
            return Outcome.INCONCLUSIVE, "the rounding error has no certified bound: exact arithmetic would decide."
        over = f"over {self.instances} instance{'s' if self.instances != 1 else ''} ({self.proof})."
        if self.rounding == self.residual == 0:
            return Outcome.SUPPORTED, f"exact {over}"
        found = f"residual {self.residual:.3g}, certified rounding {self.rounding:.3g}, {over}"
        return (Outcome.SUPPORTED if self.residual <= self.rounding else Outcome.REFUTED), found


@dataclass(frozen=True)
class Inequality(Evidence):
    """ "For all instances, value <= bound", attacked by a search.

    Parameters
    ----------
    ratio : float
        Largest value / bound found: the tightness of a true statement, the size of a violation of a false one.
    excess : float
        Value minus bound at the worst violation, or at the instance with the largest ratio.
    error : float
        Certified numerical error of that excess.
    instances : int
        Instances on which the premises held and value and bound were compared.
    informative : int
        Those of them on which the bound was below the trivial one.
    tried : int
        All instances, those outside the premises included.
    power : int
        Comparisons that the search was asked for; with fewer, no violation means little.
    """

    ratio: float
    excess: float
    error: float
    instances: int
    informative: int
    tried: int
    power: int
    witness: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        self._reject_nan("ratio", "excess", "error")
        for name in ("informative", "instances", "tried", "power"):
            checks.integer(name, getattr(self, name), 0)
        if not 0 <= self.informative <= self.instances <= self.tried:
            raise ValueError(
                "informative, instances and tried must grow from 0 on, "
                f"got {self.informative}, {self.instances}, {self.tried}."
            )

    @property
    def vacuous_share(self) -> float:
        """The share of the tried instances on which the statement says nothing."""
        return 1 - self.informative / self.tried if self.tried else 1.0

    def rule(self, level: float) -> tuple[Outcome, str]:
        if self.excess > self.error:
            return Outcome.REFUTED, (
                f"value exceeds bound by {self.excess:.6g} (certified error {self.error:.3g}), ratio {self.ratio:.6g}."
            )
        if self.informative == 0:
            return Outcome.VACUOUS, f"none of {self.tried} instances met the premises with a non-trivial bound."
        if not isfinite(self.error):
            return Outcome.INCONCLUSIVE, "the numerical error has no certified bound: exact arithmetic would decide."
        if self.instances < self.power:
            return Outcome.INCONCLUSIVE, (
                f"no violation on {self.instances} instances; the search was to make {self.power}."
            )
        return Outcome.SUPPORTED, (
            f"no violation on {self.instances} instances; worst ratio {self.ratio:.6g}, "
            f"{100 * self.vacuous_share:.3g} % vacuous."
        )


@dataclass(frozen=True)
class Statistical(Evidence):
    """What the three statistical kinds share: two p-values, and the rule on them."""

    p_support: float
    p_refute: float

    def __post_init__(self) -> None:
        checks.interval("p_support", self.p_support, 0, 1)
        checks.interval("p_refute", self.p_refute, 0, 1)
        for name in {f.name for f in fields(self)} - {"witness"}:
            value = getattr(self, name)
            if name in ("runs", "failures"):
                checks.integer(name, value, 0)
            else:
                checks.text(name, value) if name in ("side", "statistic") else checks.real(name, value)

    @property
    def p_values(self) -> tuple[float, float]:
        return self.p_support, self.p_refute

    @abstractmethod
    def describe(self) -> str:
        """The estimate in words."""

    def rule(self, level: float) -> tuple[Outcome, str]:
        if self.p_support <= level:
            return Outcome.SUPPORTED, f"{self.describe()}; p = {self.p_support:.2g} against the contrary."
        if self.p_refute <= level:
            return Outcome.REFUTED, f"{self.describe()}; p = {self.p_refute:.2g} against the claim."
        return Outcome.INCONCLUSIVE, f"{self.describe()}; {self.lacking(level)}"

    def lacking(self, level: float) -> str:
        """What a verdict would take."""
        return f"neither side is excluded at level {level:.2g}: more runs would decide."


S = TypeVar("S", bound=Statistical)


@dataclass(frozen=True)
class Rate(Statistical):
    """Growth: the log-log slope is at most (or at least) an exponent, up to a resolution fixed beforehand."""

    slope: float = nan
    low: float = nan  # 95 % bootstrap-t interval, for the figure
    high: float = nan
    exponent: float = nan
    side: str = "at most"
    resolution: float = 0.0
    runs: int = 0
    witness: Mapping[str, Any] | None = None

    def describe(self) -> str:
        return (
            f"slope {self.slope:.4g} [{self.low:.4g}, {self.high:.4g}] over {self.runs} runs, "
            f"claimed {self.side} {self.exponent:g} (resolution {self.resolution:g})"
        )

    def lacking(self, level: float) -> str:
        return _unseen(self.low, self.high, self.runs, level) or super().lacking(level)


@dataclass(frozen=True)
class Probability(Statistical):
    """A failure has probability at most `delta` (binomial test, that is, Clopper-Pearson bounds)."""

    failures: int = 0
    runs: int = 0
    delta: float = nan
    low: float = nan  # 95 % Clopper-Pearson interval
    high: float = nan
    witness: Mapping[str, Any] | None = None

    def describe(self) -> str:
        return f"{self.failures} failures in {self.runs} runs [{self.low:.3g}, {self.high:.3g}], claimed {self.delta:g}"


@dataclass(frozen=True)
class Comparison(Statistical):
    """A beats B by more than `effect`, the smallest effect of interest, on paired runs."""

    difference: float = nan
    low: float = nan
    high: float = nan
    effect: float = 0.0
    runs: int = 0
    witness: Mapping[str, Any] | None = None
    statistic: str = "mean"  # of the differences: or "median"

    def describe(self) -> str:
        return (
            f"{self.statistic} paired difference {self.difference:.4g} [{self.low:.4g}, {self.high:.4g}] over "
            f"{self.runs} pairs, smallest effect of interest {self.effect:g}"
        )

    def lacking(self, level: float) -> str:
        return _unseen(self.low, self.high, self.runs, level) or super().lacking(level)


def _unseen(low: float, high: float, runs: int, level: float) -> str:
    """What a verdict would take where so many runs are equal that :func:`_bootstrap` has no interval."""
    if not runs or low != -inf or high != inf:
        return ""
    return (
        f"nearly all runs are equal, and nothing excludes an event of probability {1 - level ** (1 / runs):.2g} that "
        "they missed: a known range, a count of the event or a proof that there is no noise would decide."
    )


def _bootstrap(samples: Array, threshold: float, rng: Generator, scale: float) -> tuple[float, float, float, float]:
    r"""Bootstrap-t 95 % interval of the mean, and p-values against mean <= and >= `threshold` (Efron 1981).

    Resampled are the means divided by their own standard errors.  The plain percentile bootstrap forgets the error of
    the standard error: from ten normal runs it errs in 10 % of the cases at a level of 5 %.  The p-values count the
    resamples beyond the observed ratio, with the usual one added so that none is zero.

    A resample of equal runs has no standard error and tells nothing of the error of its mean, so no p-value is below
    their probability, :math:`(m/n)^n` where m of the n runs are equal (up to `EQUAL` times `scale`, the largest number
    compared).  A verdict at level :math:`\alpha` then needs :math:`(m/n)^n \le \alpha`: the share of the runs that
    differ is at least :math:`1 - \alpha^{1/n}`, the largest probability of an event that n runs miss with probability
    :math:`\alpha`.  This only ever raises p-values.  What it promises: of a law that takes one value with probability
    1 - q and is whatever it likes otherwise, a verdict, right or wrong, comes with probability at most
    :math:`P(\mathrm{Bin}(n, q) \ge n(1 - \alpha^{1/n}))`: 1.3 % for n = 10, q = 0.1 and :math:`\alpha = 0.025`, 5 % for
    both sides.  Of laws of two values, whatever q, 10, 20 and 40 runs err in 0.6, 4.3 and 5.8 % of the cases at
    5 % (enumerated in the tests); without this they err in nearly all cases as q falls to 0.  A law of many values may
    still hide a rare large one: no test of a mean without a known range has a level over all laws (Bahadur & Savage
    1956).
    """
    n, mean = len(samples), float(samples.mean())
    ratios = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, block := max(1, 4_000_000 // n)):
        stop = min(start + block, RESAMPLES)
        ratios[start:stop] = _studentized(samples[rng.integers(0, n, (stop - start, n))], mean)
    left, right = np.quantile(ratios, [0.025, 0.975], method="nearest")  # interpolation would subtract infinities
    observed = float(_studentized(samples[None], threshold)[0])
    above = (1 + int((ratios >= observed).sum())) / (RESAMPLES + 1)
    below = (1 + int((ratios <= observed).sum())) / (RESAMPLES + 1)
    error = float(samples.std(ddof=1)) / sqrt(n)
    low, high = (mean - right * error, mean - left * error) if error > 0 else (mean, mean)
    blind = (_most_equal(samples, EQUAL * scale) / n) ** n
    if blind > 0.025:
        low, high = -inf, inf
    return float(low), float(high), max(above, blind), max(below, blind)


def _tested(samples: Array, threshold: float, rng: Generator, scale: float, within: Range | None) -> tuple[Any, ...]:
    """What :func:`_bootstrap` finds; against an end of a known range also bets, and each p-value is twice the less."""
    low, high, above, below = _bootstrap(samples, threshold, rng, scale)
    least, most = within or (-inf, inf)
    if not least < threshold < most:
        raise ValueError(f"the range {within} of the runs alone decides about {threshold:g}; no run is needed.")
    bad = np.flatnonzero((samples < least - EQUAL * scale) | (samples > most + EQUAL * scale))
    if len(bad):
        raise ValueError(f"run {bad[0]} is {samples[bad[0]]:.6g}, outside the range {within} that was proved.")
    if least > -inf:
        above = min(1.0, 2 * min(above, betting_p_value(np.maximum(samples, least), threshold, least)))
    if most < inf:
        below = min(1.0, 2 * min(below, betting_p_value(-np.minimum(samples, most), -threshold, -most)))
    return low, high, above, below


def _most_equal(samples: Array, tolerance: float) -> int:
    """How many samples lie within the tolerance of each other."""
    ordered = np.sort(samples)
    return int((np.searchsorted(ordered, ordered + tolerance, side="right") - np.arange(len(ordered))).max())


def _studentized(samples: Array, centre: float) -> Array:
    """Mean minus `centre` over its standard error, of each row; constant rows lie at infinity, or at 0 on `centre`."""
    difference = samples.mean(axis=1) - centre
    error = samples.std(axis=1, ddof=1) / sqrt(samples.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(difference == 0, 0.0, difference / error)


def rate(
    x: ArrayLike,
    y: Array,
    *,
    exponent: float,
    side: str,
    rng: Generator,
    resolution: float = 0.05,
    within: Range | None = None,
) -> Rate:
    """Evidence on the growth of `y` in `x`.

    Parameters
    ----------
    x : float[K]
        Positive sizes: horizons, dimensions, inverse gaps.
    y : float[runs, K]
        Positive measurements, a row for each seed (paired over sizes).
    exponent : float
        The claimed exponent.
    side : {"at most", "at least"}
    resolution : float
        How far the slope may lie beyond `exponent` and still agree; fixed before the run.
    within : (float, float), optional
        Between which the slope of a run lies by proof: from 0 on where `y` cannot fall.  Runs that are nearly all equal
        decide with it alone.
    """
    slopes, threshold = log_slopes(x, y), growth_threshold(exponent, side, resolution)
    if len(slopes) < 10:
        raise ValueError(f"a rate needs 3 sizes and 10 runs at least; got {len(slopes)} runs.")
    low, high, above, below = _tested(slopes, threshold, rng, max(1.0, float(abs(slopes).max())), within)
    p_support, p_refute = (below, above) if side == "at most" else (above, below)
    return Rate(p_support, p_refute, float(slopes.mean()), low, high, exponent, side, resolution, len(slopes))


def log_slopes(x: ArrayLike, y: ArrayLike) -> Array:
    """The least-squares slope of log `y`, float[runs, K], against log `x`, float[K], of each run."""
    x_checked, y_checked = checks.array("x", x, ndim=1), checks.array("y", y, ndim=2)
    if len(x_checked) < 3 or y_checked.shape[1] != len(x_checked):
        raise ValueError(f"a rate needs 3 sizes and 10 runs at least; got x {x_checked.shape}, y {y_checked.shape}.")
    if min(x_checked.min(), y_checked.min(initial=inf)) <= 0:
        raise ValueError("a rate needs positive sizes x and measurements y: logarithms are taken.")
    log_x = np.log(x_checked) - np.log(x_checked).mean()
    return np.asarray(np.log(y_checked) @ log_x / (log_x @ log_x))


def growth_threshold(exponent: float, side: str, resolution: float) -> float:
    """The slope beyond which growth does not agree with the claimed exponent."""
    if not isinstance(side, str) or side not in ("at most", "at least"):
        raise ValueError(f'side must be "at most" or "at least", got {checks.shown(side)}.')
    exponent = checks.interval("exponent", exponent, -inf, inf, "()")
    resolution = checks.interval("resolution", resolution, 0, inf, "[)")
    return exponent + resolution if side == "at most" else exponent - resolution


def probability(failures: int, runs: int, delta: float, witness: Mapping[str, Any] | None = None) -> Probability:
    """Evidence on "the probability of failure is at most `delta`" from independent runs."""
    runs = checks.integer("runs", runs, 1, 2**53)
    failures = checks.integer("failures", failures, 0, runs)
    delta = checks.interval("delta", delta, 0, 1)
    test_less = stats.binomtest(failures, runs, delta, alternative="less")
    test_more = stats.binomtest(failures, runs, delta, alternative="greater")
    ci = stats.binomtest(failures, runs).proportion_ci(0.95, method="exact")
    return Probability(
        float(test_less.pvalue), float(test_more.pvalue), failures, runs, delta, float(ci.low), float(ci.high), witness
    )


def comparison(a: Array, b: Array, *, effect: float, rng: Generator, within: Range | None = None) -> Comparison:
    """Evidence on "the mean of `a` exceeds that of `b` by more than `effect`" from paired runs, float[n] each.

    `within` are the ends, maybe infinite, between which each difference lies by proof; differences that are nearly all
    equal decide with it alone.
    """
    a_checked, b_checked = checks.array("a", a, ndim=1), checks.array("b", b, ndim=1)
    if a_checked.shape != b_checked.shape or len(a_checked) < 10:
        raise ValueError(f"a and b must be paired, with 10 pairs at least; got {a_checked.shape}, {b_checked.shape}.")
    effect = checks.interval("effect", effect, -inf, inf, "()")
    differences, largest = a_checked - b_checked, float(np.max(abs(np.array([a_checked, b_checked]))))
    low, high, above, below = _tested(differences, effect, rng, largest, within)
    return Comparison(above, below, float(differences.mean()), low, high, effect, len(differences))


def all_of(pieces: Sequence[S]) -> S:
    """Evidence on a statement that each of `pieces` is a case of.

    It holds only if its least supported case does; it is refuted by its first case alone, the hardest one, which is
    thus fixed before the run.
    """
    worst = max(pieces, key=lambda piece: piece.p_support)
    shown = pieces[0] if pieces[0].p_support == worst.p_support else worst
    return replace(shown, p_refute=pieces[0].p_refute)


def judge(ledger: Mapping[str, Evidence], level: float = LEVEL) -> dict[str, Verdict]:
    """The verdict on each piece of evidence, with the error of all statistical ones together at most `level`.

    Every statistical piece contributes its two one-sided hypotheses to one family, which Holm's procedure corrects.
    """
    statistical = [name for name, evidence in ledger.items() if isinstance(evidence, Statistical)]
    judged = dict(ledger)
    if statistical:
        from statsmodels.stats.multitest import multipletests  # loads pandas, which most importers never need

        raw = [p for name in statistical for p in ledger[name].p_values or ()]
        corrected = np.asarray(multipletests(raw, alpha=level, method="holm")[1]).tolist()
        for i, name in enumerate(statistical):
            judged[name] = replace(ledger[name], p_support=corrected[2 * i], p_refute=corrected[2 * i + 1])  # type: ignore[call-arg]
    return {
        name: Verdict(*evidence.rule(level), level if evidence.p_values else None) for name, evidence in judged.items()
    }


KINDS: dict[str, type[Evidence]] = {k.__name__: k for k in (Identity, Inequality, Rate, Probability, Comparison)}


def to_json(evidence: Evidence) -> dict[str, Any]:
    """The evidence as JSON values, with its kind; infinities and NaN as strings."""
    values = {f.name: getattr(evidence, f.name) for f in fields(evidence)}
    return {"kind": type(evidence).__name__} | {name: _plain(value) for name, value in values.items()}


def from_json(record: Mapping[str, Any]) -> Evidence:
    """The inverse of :func:`to_json`; a ValueError names what does not fit."""
    kind = KINDS.get(str(record.get("kind"))) if isinstance(record, Mapping) else None
    if kind is None:
        raise ValueError(f"kind {checks.shown(record)} is not one of {', '.join(KINDS)}.")
    names = {f.name for f in fields(kind)}
    if names != set(record) - {"kind"}:
        raise ValueError(f"a {kind.__name__} has the fields {sorted(names)}, got {sorted(set(record) - {'kind'})}.")
    numbers = {"inf": inf, "-inf": -inf, "nan": nan}
    return kind(**{name: numbers.get(v, v) if isinstance(v, str) else v for name, v in record.items() if name in names})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if isfinite(value) else str(float(value))
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"a witness holds numbers, strings, lists and mappings of them; got {type(value).__name__}.")
