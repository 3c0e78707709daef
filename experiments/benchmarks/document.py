"""A race on disk: what was measured and where, with the records that follow from it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from claimlab.experiments import atomic
from claimlab.experiments.benchmarks.aggregate import Document, records, summary
from claimlab.experiments.benchmarks.mdps import MDPS
from claimlab.experiments.benchmarks.planning import facts
from claimlab.experiments.benchmarks.race import MACHINE, Measurement, Race, Track
from claimlab.experiments.environment import environment
from claimlab.experiments.errors import WrongUsage

FORMAT = 2


def compose(
    race: Race,
    cases: list[dict[str, Any]],
    track: Track,
    machine: list[dict[str, Any]],
    measurements: list[Measurement],
) -> Document:
    """Everything that was measured so far, in JSON values; `cases` as they describe themselves."""
    return {
        "format": FORMAT,
        "race": race.name,
        "title": race.title,
        "words": asdict(race.words),
        "environment": environment(),
        "threads": list(track.threads),
        "limit": track.limit,
        "cases": cases,
        "solvers": [solver.name for solver in race.solvers],
        MACHINE: machine,
        "measurements": measurements,
    }


def write(path: Path, documents: list[Document]) -> None:
    """Write the documents, each with its records and their summary."""
    atomic.write_json(path, [_derived(document) for document in documents])


def _derived(document: Document) -> Document:
    found = records(document)
    return document | {"records": found, "summary": summary(found)}


def read(path: Path) -> list[Document]:
    """The documents of a file that :func:`write` wrote; records are derived anew."""
    try:
        documents = json.loads(path.read_bytes())
        if not documents or any(document["format"] not in (1, FORMAT) for document in documents):
            raise ValueError(f"its format is not {FORMAT}")
        return [_derived(_planned(document) if document["format"] == 1 else document) for document in documents]
    except OSError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError, RecursionError) as error:
        raise WrongUsage(f"{path} does not hold a race ({type(error).__name__}: {error}).") from None


def _planned(document: Document) -> Document:
    """A document of format 1, in which there was only the planners' race, in today's."""
    return document | {
        "format": FORMAT,
        "words": asdict(MDPS.words),
        "cases": [case | {"rows": None, "facts": facts(case)} for case in document["cases"]],
        "measurements": [{"differs": None, "shown": None} | measurement for measurement in document["measurements"]],
    }
