"""The ledger: what came of each claim and of its control, with the verdicts of the whole family."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from html import escape
from pathlib import Path
from types import NoneType
from typing import Any

import pandas as pd

from claimlab import checks
from claimlab.experiments import atomic
from claimlab.experiments.errors import WrongUsage
from claimlab.experiments.store import Result
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import LEVEL, Evidence, Identity, Inequality, Outcome, Verdict, judge, to_json

ERROR = "error"  # stands where a verdict would if the check or the control raised
ROLES = ("check", "control")
TEXTS = (
    *("id", "paper", "source", "kind", "verdict", "reason", "expected", "control", "control_reason"),
    *("control_expected", "statement", "control_statement"),
)
COLOURS = {"supported": "#1a7f37", "refuted": "#0969da", "inconclusive": "#9a6700", "vacuous": "#9a6700"}


@dataclass(frozen=True)
class Row:
    """One claim of a ledger, in JSON values.

    Parameters
    ----------
    verdict, control : str
        An `Outcome`, or "error" with the error as reason.
    tightness : float or str, optional
        Worst ratio value / bound of an inequality ("inf" if the bound is 0).
    vacuous_share : float, optional
        Share of the instances on which an inequality says nothing.
    instances : int, optional
        Instances compared, or independent runs.
    counterexample : optional
        The instance that refutes the claim.
    worst_instance : optional
        The instance that comes closest, where none refutes it.
    level : float, optional
        Error probability of the whole ledger; None for deterministic evidence.
    seconds : float
        Of check and control.
    file : str, optional
        The user's file that the claim comes from.
    """

    id: str
    paper: str
    source: str
    kind: str
    verdict: str
    reason: str
    expected: str
    control: str
    control_reason: str
    control_expected: str
    tightness: float | str | None
    vacuous_share: float | None
    instances: int | None
    seconds: float
    counterexample: Any
    worst_instance: Any
    control_instance: Any
    level: float | None
    statement: str
    premises: Sequence[str]
    control_statement: str
    file: str | None

    def __post_init__(self) -> None:
        """Types only: a ledger may be read from a file that somebody else wrote."""
        premises = self.premises if isinstance(self.premises, (list, tuple)) else [None]
        texts: dict[str, Any] = {name: getattr(self, name) for name in TEXTS} | {
            f"premises[{i}]": p for i, p in enumerate(premises)
        }
        for name, value in texts.items():
            checks.text(name, value)
        if self.file is not None:
            checks.text("file", self.file)
        for name in ("verdict", "expected", "control", "control_expected"):
            if getattr(self, name) not in (*Outcome, ERROR):
                raise ValueError(f"{name} of {self.id!r} is {getattr(self, name)!r}, which is no verdict.")
        for name in ("tightness", "vacuous_share", "instances", "seconds", "level"):
            value = getattr(self, name)
            if isinstance(value, str) and name == "tightness":
                value = float(value)
            if isinstance(value, bool) or not isinstance(
                value, (int, float) if name == "seconds" else (int, float, NoneType)
            ):
                raise TypeError(f"{name} of {self.id!r} must be a number, got {checks.shown(value)}.")

    @property
    def name(self) -> str:
        """The id without the paper."""
        return self.id.partition("/")[2]

    @property
    def as_expected(self) -> bool:
        return self.verdict == self.expected and self.control == self.control_expected

    @property
    def departure(self) -> str:
        """What is not as expected, in a line; empty if all is."""
        parts = [
            f"{what} {outcome}, expected {expected} ({reason.rstrip('.')})"
            for what, outcome, expected, reason in (
                ("verdict", self.verdict, self.expected, self.reason),
                ("control", self.control, self.control_expected, self.control_reason),
            )
            if outcome != expected
        ]
        return f"{self.id}: {'; '.join(parts)}." if parts else ""


@dataclass(frozen=True)
class Ledger:
    """Verdicts on claims, with the error of all statistical ones together at most `claimlab.theory.evidence.LEVEL`."""

    rows: tuple[Row, ...]
    papers: tuple[Paper, ...]
    budget: Budget
    environment: Mapping[str, Any]

    @property
    def as_expected(self) -> bool:
        return all(row.as_expected for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """JSON values: one object per claim, and where they were computed."""
        return {
            "environment": dict(self.environment),
            "budget": {"name": self.budget.name, **{k: getattr(self.budget, k) for k in ("instances", "runs", "seed")}},
            "level": LEVEL,
            "as_expected": self.as_expected,
            "papers": [asdict(paper) for paper in self.papers],
            "claims": [asdict(row) for row in self.rows],
        }

    def to_frame(self) -> pd.DataFrame:
        """A row per claim, indexed by its id."""
        names = [field.name for field in fields(Row)]
        frame = pd.DataFrame([asdict(row) for row in self.rows], columns=names)
        return frame.assign(as_expected=[row.as_expected for row in self.rows]).set_index("id")

    def write(self, path: Path) -> None:
        atomic.write_json(path, self.to_json())

    def _repr_html_(self) -> str:
        def cell(outcome: str, expected: str) -> str:
            mark = "" if outcome == expected else f" (expected {escape(expected)})"
            return f'<td><b style="color: {COLOURS.get(outcome, "#cf222e")}">{escape(outcome)}</b>{mark}</td>'

        lines = [
            f"<tr><td>{escape(row.id)}</td><td>{escape(row.source)}</td>{cell(row.verdict, row.expected)}"
            f"{cell(row.control, row.control_expected)}<td>{number(row.tightness)}</td>"
            f'<td style="text-align: left">{escape(row.reason)}</td><td>{row.seconds:.1f}</td></tr>'
            for row in self.rows
        ]
        head = "".join(f"<th>{w}</th>" for w in ("claim", "source", "verdict", "control", "tightness", "reason", "s"))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def number(value: float | str | None) -> str:
    """A ratio or a share, short; a dash where there is none."""
    return "–" if value is None else f"{float(value):.4g}"


def read(path: Path) -> Ledger:
    """The ledger that `Ledger.write` wrote; a WrongUsage names a file that does not hold one."""
    try:
        record = json.loads(path.read_bytes())
        return Ledger(
            tuple(Row(**row) for row in record["claims"]),
            tuple(Paper(**paper) for paper in record["papers"]),
            Budget(**record["budget"]),
            _environment(record["environment"]),
        )
    except FileNotFoundError:
        raise WrongUsage(f"there is no {path}: run `claimlab verify` first.") from None
    except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
        raise WrongUsage(f"{path} does not hold a ledger ({type(error).__name__}: {error}).") from None


def _environment(found: Any) -> Mapping[str, Any]:
    """What `claimlab.experiments.environment.environment` returns, checked as far as a page shows it."""
    texts = [
        *(found[name] for name in ("python", "platform", "machine")),
        *found["packages"],
        *found["packages"].values(),
    ]
    texts += [found[name] for name in ("claimlab", "commit") if found[name] is not None]
    if not all(isinstance(text, str) for text in texts) or not isinstance(found["cpus"], int):
        raise TypeError("its environment is none")
    return dict(found)


def load(folder: str | Path) -> pd.DataFrame:
    """The last ledger that was written into `folder`, a row per claim."""
    return read(Path(folder) / "ledger.json").to_frame()


def assemble(
    claims: Sequence[Claim],
    results: Mapping[tuple[str, str], Result],
    budget: Budget,
    environment: Mapping[str, Any],
    files: Mapping[str, Path],
) -> Ledger:
    """Judge all evidence as one family."""
    found = {unit: result.read() for unit, result in results.items()}
    family = {f"{id} {role}": evidence for (id, role), evidence in found.items() if evidence is not None}
    verdicts = judge(family)
    rows = tuple(_row(claim, results, found, verdicts, files.get(claim.id)) for claim in claims)
    return Ledger(rows, tuple(dict.fromkeys(claim.paper for claim in claims)), budget, environment)


def _row(
    claim: Claim,
    results: Mapping[tuple[str, str], Result],
    found: Mapping[tuple[str, str], Evidence | None],
    verdicts: Mapping[str, Verdict],
    file: Path | None,
) -> Row:
    def outcome(role: str) -> tuple[str, str]:
        error = results[claim.id, role].error
        if error is not None:
            return ERROR, error
        verdict = verdicts[f"{claim.id} {role}"]
        return str(verdict.outcome), verdict.reason

    evidence = found[claim.id, "check"]
    verdict, reason = outcome("check")
    control, control_reason = outcome("control")
    record, control_record = (results[claim.id, role].evidence or {} for role in ROLES)
    witness, refuted = record.get("witness"), verdict == Outcome.REFUTED
    return Row(
        id=claim.id,
        paper=claim.paper.slug,
        source=claim.source,
        kind=claim.kind.__name__,
        verdict=verdict,
        reason=reason,
        expected=str(claim.expected),
        control=control,
        control_reason=control_reason,
        control_expected=str(claim.control_expected),
        tightness=to_json(evidence)["ratio"] if isinstance(evidence, Inequality) else None,
        vacuous_share=evidence.vacuous_share if isinstance(evidence, Inequality) else None,
        instances=_instances(evidence),
        seconds=sum(results[claim.id, role].seconds for role in ROLES),
        counterexample=witness if refuted else None,
        worst_instance=None if refuted else witness,
        control_instance=control_record.get("witness"),
        level=verdicts[f"{claim.id} check"].level if evidence is not None else None,
        statement=claim.statement,
        premises=list(claim.premises),
        control_statement=claim.control_statement,
        file=None if file is None else str(file),
    )


def _instances(evidence: Evidence | None) -> int | None:
    if isinstance(evidence, (Identity, Inequality)):
        return evidence.instances
    return getattr(evidence, "runs", None)
