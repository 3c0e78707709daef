"""From measurements to records: a library's best right answer to each case beside ours, and what that says over all."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any, NamedTuple

from claimlab.experiments.benchmarks.race import GATHER, MACHINE, OURS, Measurement, right

TARGET = 10.0  # how many times faster than the best other library ours means to be

Document = dict[str, Any]


class Entry(NamedTuple):
    """A library's showing in a case: its figure, or why it has none."""

    figure: float | None  # seconds of the best method; of a wrong answer if no method's is right
    measurement: Measurement | None  # that figure's
    remark: str | None  # why there is no right answer

    @property
    def right(self) -> bool:
        return self.figure is not None and self.remark is None

    @property
    def differs(self) -> bool:
        """Whether something else was solved."""
        return self.measurement is not None and self.measurement["differs"] is not None


def figure(measurement: Measurement) -> float:
    """The least CPU seconds with one thread, the least wall seconds with more, for one unit of work.

    Of a batch, for one instance, building its model included: with so little to solve, that is part of the work.
    """
    clock = "cpu" if measurement["threads"] == 1 else "wall"
    building = measurement[f"ingest_{clock}"] if measurement["batched"] else 0.0
    return (min(measurement[clock]) + building) / measurement["count"]


def entry(measurements: list[Measurement]) -> Entry:
    """The best of a library's `measurements` of one case."""
    answers = [m for m in measurements if m["failure"] is None]
    if correct := [m for m in answers if right(m)]:
        best = min(correct, key=figure)
        return Entry(figure(best), best, None)
    if answers:
        best = min(answers, key=figure)
        return Entry(figure(best), best, _remark(best))
    reasons = [m["failure"] for m in measurements]
    return Entry(None, None, max(reasons, key=reasons.count) if reasons else "not measured")


def _remark(wrong: Measurement) -> str:
    return wrong["shown"] or ("not finite" if wrong["error"] is None else f"error {wrong['error']:.1e}")


def entries(document: Document, case: str, threads: int) -> dict[str, Entry]:
    """Every library's showing in a case with up to so many `threads`: with more than one, the wall clock decides."""

    def among(solver: str) -> list[Measurement]:
        return [
            m | {"threads": threads}
            for m in document["measurements"]
            if m["case"] == case and m["solver"] == solver and m["threads"] <= threads
        ]

    return {solver: entry(among(solver)) for solver in document["solvers"]}


def wrong_answers(document: Document) -> list[Measurement]:
    """All answers, of whatever method, that miss the error asked for; with the fewest threads measured."""
    return [
        m
        for m in document["measurements"]
        if m["failure"] is None and m["wrong"] and m["threads"] == min(document["threads"])
    ]


def records(document: Document) -> list[dict[str, Any]]:
    """One record a case and number of threads; `null` where a library has no right answer."""
    out = []
    for threads in document["threads"]:
        for case in document["cases"]:
            found = entries(document, case["name"], threads)
            ours = found[OURS]
            ratios = {
                name: other.figure / ours.figure
                for name, other in found.items()
                if name != OURS and other.right and not other.differs and ours.right and other.figure and ours.figure
            }
            out.append(
                {
                    "case": case["name"],
                    "unit": f"{'CPU' if threads == 1 else 'wall'} {case['unit']}, threads: {threads}",
                    "threads": threads,
                    "ours": ours.figure if ours.right else None,
                    "peers": {name: other.figure if other.right else None for name, other in _others(found)},
                    "remarks": {name: other.remark for name, other in found.items() if other.remark},
                    "ratios": ratios,
                    "ratio_best": min(ratios.values(), default=None),
                    "ratio_median": median(ratios.values()) if ratios else None,
                    "limit_share": limit_share(document, case, threads),
                    "gather_share": gather_share(document, case, threads),
                    "environment": document["environment"],
                }
            )
    return out


def _others(found: Mapping[str, Entry]) -> list[tuple[str, Entry]]:
    return [(name, other) for name, other in found.items() if name != OURS]


def limit_share(document: Document, case: Mapping[str, Any], threads: int) -> float | None:
    """What the machine needs for the least that must be done, as a share of what ours takes.

    The least is the longest of the case's surveys; ours is a sweep, surveyed, or what was measured.
    """
    times = _surveys(document, case, threads)
    times.pop(GATHER, None)
    ours = times.pop("sweep", None) if "sweep" in times else piece(entries(document, case["name"], threads)[OURS])
    if not times or None in times.values() or not ours:
        return None
    return float(max(times.values()) / ours)


def gather_share(document: Document, case: Mapping[str, Any], threads: int) -> float | None:
    """What fetching a value for every entry of a sparse matrix takes and nothing else, as a share of a sweep of ours.

    None where that was not surveyed.
    """
    times = _surveys(document, case, threads)
    least, ours = times.get(GATHER), times.get("sweep")
    return least / ours if least and ours else None


def _surveys(document: Document, case: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """Seconds of the case's surveys, None where one failed."""
    return {
        m["what"]: m["seconds"]
        for m in document[MACHINE]
        if m["instance"] == case["instances"][0] and m["threads"] == threads
    }


def piece(found: Entry) -> float | None:
    """Seconds of one iteration, or of the whole where none are counted; None without a right answer."""
    if not found.right or found.measurement is None or found.figure is None:
        return None
    return found.figure / (found.measurement["iterations"] or 1)


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over libraries and cases of how many times as long as ours they take, with the fewest threads measured.

    Wrong answers, unfinished ones and those to something else are in no median; `remarks` lists them.
    """
    single = [record for record in found if record["threads"] == min(record["threads"] for record in found)]
    best = {record["case"]: record["ratio_best"] for record in single if record["ratio_best"] is not None}
    ratios = [ratio for record in single for ratio in record["ratios"].values()]
    by_library = {
        name: median(record["ratios"][name] for record in single if name in record["ratios"])
        for name in dict.fromkeys(name for record in single for name in record["ratios"])
    }
    return {
        "median_over_libraries_and_cases": median(ratios) if ratios else None,
        "median_of_best_over_cases": median(best.values()) if best else None,
        "medians": by_library,
        "target": TARGET,
        "below_target": {case: ratio for case, ratio in best.items() if ratio < TARGET},
        "remarks": [
            {"case": record["case"], "solver": name, "remark": remark}
            for record in single
            for name, remark in record["remarks"].items()
        ],
    }


def ours_failed(found: list[dict[str, Any]]) -> list[str]:
    """Cases in which ours has no right answer, with the reason."""
    return [f"{record['case']}: {record['remarks'][OURS]}" for record in found if OURS in record["remarks"]]
