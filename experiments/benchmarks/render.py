"""A race as tables and as a figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from claimlab.experiments.benchmarks.aggregate import Document, Entry, entries, entry, piece, wrong_answers
from claimlab.experiments.benchmarks.aggregate import figure as least
from claimlab.experiments.benchmarks.race import MACHINE, OURS, Measurement
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.style import COLUMN, OKABE_ITO

MARKERS = "osD^vP*"
ROW = 0.27  # inches
FAINT = 0.35  # of what solves something else


def seconds(value: float) -> str:
    """Three digits in a readable unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * scale >= 1:
            return f"{value * scale:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def rate(value: float) -> str:
    """How often in a second that is done which takes `value` seconds, in a readable unit."""
    for unit, scale in (("M", 1e6), ("k", 1e3)):
        if value * scale <= 1:
            return f"{1 / (value * scale):.3g} {unit}/s"
    return f"{1 / value:.3g} /s"


def amount(words: Mapping[str, str], value: float) -> str:
    """A figure as the race tells it."""
    return rate(value) if words["rate"] else seconds(value)


def times(ratio: float | None) -> str:
    """A ratio as a multiple; nothing for None."""
    return "" if ratio is None else f"{ratio:.3g}×" if ratio < 1000 else f"{ratio:,.0f}×"


def line(measurement: Measurement, words: Mapping[str, str]) -> str:
    """One measurement, for those who wait."""
    names = (measurement["case"], measurement["solver"], measurement["method"] or "")
    found = entry([measurement])
    shown = found.remark if found.figure is None else amount(words, found.figure)
    wrong = f" ({found.remark})" if found.figure is not None and found.remark else ""
    return " ".join(filter(None, names)) + f", threads {measurement['threads']}: {shown}{wrong}"


def header(document: Document) -> list[str]:
    """The heads of :func:`rows`."""
    head = ["case", *document["solvers"], "best / ours", "median / ours", "share of the limit"]
    return [*head, "share of the gather limit"] if _gathers(document) else head


def _gathers(document: Document) -> bool:
    """Whether single numbers from anywhere were surveyed; older documents have none."""
    return any(record["gather_share"] is not None for record in document["records"])


def rows(document: Document, threads: int) -> list[list[str]]:
    """A row a case: each library's figure and how many times ours it is, or why it has none."""
    out = []
    for record in document["records"]:
        if record["threads"] != threads:
            continue
        found = entries(document, record["case"], threads)
        cells = [_cell(other, found[OURS], document["words"]) for other in found.values()]
        shares = [record["limit_share"], *([record["gather_share"]] if _gathers(document) else [])]
        told = ["" if share is None else f"{share:.0%}" for share in shares]
        out.append([record["case"], *cells, times(record["ratio_best"]), times(record["ratio_median"]), *told])
    return out


def _cell(found: Entry, ours: Entry, words: Mapping[str, str]) -> str:
    if found.figure is None:
        return (found.remark or "").split(":")[0]
    if not found.right:
        return f"! {amount(words, found.figure)}, {found.remark}"
    ratio = found.figure / ours.figure if ours.right and ours.figure and found is not ours else None
    shown = f"{amount(words, found.figure)} ({times(ratio)})" if ratio else amount(words, found.figure)
    return f"≈ {shown}" if found.differs else shown


def unit(document: Document, threads: int) -> str:
    """What the figures of a table are."""
    words = document["words"]
    if words["rate"]:
        what = f"{words['rate']} a CPU second, one" if threads == 1 else f"{words['rate']} a second, at most {threads}"
        ratio = "ours is so many times as fast"
    else:
        what = "CPU seconds, one" if threads == 1 else f"wall seconds, at most {threads}"
        ratio = "times ours"
    legend = f"(n×): {ratio}.  !: {words['wrong']}."
    if any(m["differs"] for m in document["measurements"]):
        legend += "  ≈: something else, told below, and in no median."
    return f"{document['title']}: {what} thread{'s' if threads > 1 else ''}; {words['aside']}.  {legend}"


def pieces(document: Document, threads: int) -> list[list[str]]:
    """A row a case: seconds of each library for a piece of an iteration, and of the machine for the least of it."""
    out = []
    for case in document["cases"]:
        found = entries(document, case["name"], threads).values()
        took = [piece(x) if x.measurement and x.measurement["iterations"] else None for x in found]
        least = [m for m in document[MACHINE] if m["instance"] == case["instances"][0] and m["threads"] == threads]
        told = [f"{m['what']} {seconds(m['seconds'] / case['rows'])}" for m in least if m["seconds"]]
        cells = ["" if value is None else seconds(value / case["rows"]) for value in took]
        out.append([case["name"], *cells, ", ".join(told)])
    return out


def conclusion(document: Document) -> list[str]:
    """The medians, and what has no part in them."""
    found = document["summary"]
    missing = found["remarks"]
    lines = [
        f"Median over libraries and cases: {times(found['median_over_libraries_and_cases']) or 'none'} ours; "
        f"of the best library over cases: {times(found['median_of_best_over_cases']) or 'none'}.",
        "By library: " + (", ".join(f"{name} {times(x)}" for name, x in found["medians"].items()) or "none") + ".",
    ]
    if found["below_target"]:
        below = ", ".join(f"{case} {times(x)}" for case, x in found["below_target"].items())
        lines.append(f"Best library less than {times(found['target'])} ours: {below}.")
    by_method: dict[str, list[Measurement]] = {}
    for m in wrong_answers(document):
        by_method.setdefault(f"{m['solver']} {m['method']}", []).append(m)
    for (name, what), cases in _differing(document).items():
        among = "all cases" if len(cases) == len(document["cases"]) else ", ".join(cases)
        lines.append(f"≈ {name} in {among}: {what}.")
    for name, ms in by_method.items():
        worst = max((m["error"] for m in ms if m["error"] is not None), default=float("inf"))
        lines.append(f"Wrong: {name}, in {len(ms)} of the cases by up to {worst:.1e}.")
    if missing:
        lines.append(f"Without a right answer, and in no median: {len(missing)} of the pairs of library and case.")
    return lines


def _differing(document: Document) -> dict[tuple[str, str], list[str]]:
    """The cases of each library that solves something else, by that."""
    found: dict[tuple[str, str], list[str]] = {}
    for m in document["measurements"]:
        if m["differs"] and m["failure"] is None and m["threads"] == min(document["threads"]):
            found.setdefault((m["solver"], m["differs"]), []).append(m["case"])
    return found


def markdown(document: Document) -> str:
    """All tables."""
    parts = [
        f"# {document['title']}",
        "",
        summary_table(document),
        "## Cases",
        "",
        document["words"]["cases"],
        "",
        *_table(*_cases(document)),
    ]
    parts += ["", "## How", "", document["words"]["how"], "", *_table(*_details(document)), ""]
    parts += ["## Wrong answers", "", *_table(*_wrong(document)), ""]
    parts += ["## The machine", "", *_table(*_machine(document)), "", "## Without a right answer", ""]
    parts += [f"- {m['case']}, {m['solver']}: {m['remark']}" for m in document["summary"]["remarks"]]
    return "\n".join(parts).rstrip() + "\n"


def summary_table(document: Document) -> str:
    """The figures of every library, a table for each number of threads, and what they come to."""
    parts = []
    for threads in document["threads"]:
        bold = [[_bold(cell) for cell in row] for row in rows(document, threads)]
        parts += [unit(document, threads), "", *_table(header(document), bold), ""]
        if what := document["words"]["piece"]:
            head = ["case", *document["solvers"], "the machine"]
            parts += [f"The same for a {what}.", "", *_table(head, pieces(document, threads)), ""]
    return "\n".join([*parts, *(f"{line}  " for line in conclusion(document)), ""])


def _bold(cell: str) -> str:
    return f"**{cell}**" if cell.startswith("!") else cell


def _table(head: list[str], body: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *body]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _details(document: Document) -> tuple[list[str], list[list[str]]]:
    """Of the best measurement of each library and case, with the fewest threads."""
    head = ["case", "library", "method", "min", "median", "wall", "first call", "building the model"]
    head += ["memory", "of the input", "iterations", document["words"]["answer"] or "error"]
    body = []
    for case in document["cases"]:
        for name, found in entries(document, case["name"], document["threads"][0]).items():
            if m := found.measurement:
                detail = _detail(m, case, document["words"]["each"])
                body.append([case["name"], f"{name} {m['version']}", *detail])
    return head, body


def _detail(m: Measurement, case: Mapping[str, Any], each: str) -> list[str]:
    count = m["count"]
    cpu, wall = pd.Series(m["cpu"]) / count, pd.Series(m["wall"]) / count
    peak, given = m["peak_bytes"], case["input_bytes"]
    return [
        m["method"] if count == 1 else f"{m['method']}, {count:,} {each}",
        seconds(cpu.min()),
        seconds(cpu.median()),
        seconds(wall.min()),
        seconds(m["first_cpu"] / count),
        seconds(m["ingest_cpu"] / count),
        "" if peak is None else f"{peak / 2**20:.1f} MiB",
        "" if peak is None or given is None or count > 1 else f"{peak / given:.0%}",
        "" if m["iterations"] is None else str(m["iterations"]),
        m["shown"] or _error(m),
    ]


def _cases(document: Document) -> tuple[list[str], list[list[str]]]:
    head, body = ["case", "what"], []
    for case in document["cases"]:
        ours = entries(document, case["name"], document["threads"][0])[OURS].measurement
        iterations = "" if ours is None or ours["iterations"] is None else str(ours["iterations"])
        body.append([case["name"], case["title"], *case["facts"].values(), iterations])
        head = ["case", "what", *case["facts"], "iterations of ours"]
    return head, body


def _wrong(document: Document) -> tuple[list[str], list[list[str]]]:
    asked = {case["name"]: case["tol"] for case in document["cases"]}
    body = [
        [m["case"], m["solver"], m["method"], seconds(least(m)), f"{asked[m['case']]:.0e}", f"**{_error(m)}**"]
        for m in wrong_answers(document)
    ]
    return ["case", "library", "method", "min", "error asked for", "error"], body


def _error(m: Measurement) -> str:
    return "not finite" if m["error"] is None else f"{m['error']:.1e}"


def _machine(document: Document) -> tuple[list[str], list[list[str]]]:
    body = [
        [
            f"{m['what']}, {m['instance']}" if m["instance"] else m["what"],
            str(m["threads"]),
            f"{m['bytes'] / 1e6:.3g} MB" if m["bytes"] else "",
            seconds(m["seconds"]),
            f"{m['bytes'] / m['seconds'] / 1e9:.1f} GB/s" if m["bytes"] else "",
        ]
        for m in document[MACHINE]
        if m["seconds"]
    ]
    return ["what", "threads", "moved", "time", "rate"], body


def figure(document: Document) -> PaperFigure:
    """A row of dots a case, a colour and a shape a library; wrong answers are hollow."""
    return PaperFigure(document["race"], unit(document, document["threads"][0]), lambda: _draw(document))


def _draw(document: Document) -> tuple[Figure, pd.DataFrame]:
    data = _points(document)
    names, cases = document["solvers"], [case["title"].replace(", ", "\n", 1) for case in document["cases"]]
    looks = {name: (marker, colour) for name, marker, colour in zip(names, MARKERS, OKABE_ITO.values())}
    canvas, axes = plt.subplots(figsize=(COLUMN, 0.85 + ROW * len(cases)))
    for name, y, value, correct, same in data[["library", "row", "seconds", "right", "same"]].itertuples(index=False):
        marker, colour = looks[name]
        look: dict[str, Any] = {"markerfacecolor": colour if correct else "none", "alpha": 0.9 if same else FAINT}
        axes.plot(value, y, marker, color=colour, markersize=4.5, markeredgewidth=0.7, **look)
    clock = "CPU" if document["threads"][0] == 1 else "wall"
    axes.set(xscale="log", xlabel=f"{clock} {document['words']['axis']}", ylim=(len(cases) - 0.5, -0.5))
    axes.set_yticks(range(len(cases)), cases, fontsize=6)
    handles = [
        Line2D([], [], marker=marker, color=colour, linestyle="", label=name)
        for name, (marker, colour) in looks.items()
    ]
    grey: dict[str, Any] = {"marker": "o", "color": "#555555", "linestyle": ""}
    handles.append(Line2D([], [], markerfacecolor="none", label="wrong", **grey))
    if others := not all(data["same"]):
        handles.append(Line2D([], [], alpha=FAINT, label="something else", **grey))
    canvas.legend(
        handles=handles,
        loc="outside upper center",
        ncols=3 if others else 4,
        fontsize=6,
        columnspacing=1,
        handletextpad=0.2,
    )
    return canvas, data


def _points(document: Document) -> pd.DataFrame:
    """The best right answer of each library and case, and all wrong ones."""
    points = []
    for row, case in enumerate(document["cases"]):
        found = entries(document, case["name"], document["threads"][0])
        dots = [x.measurement for x in found.values() if x.right and x.measurement]
        dots += [m for m in wrong_answers(document) if m["case"] == case["name"]]
        points += [
            (case["name"], row, m["solver"], m["method"], least(m), not m["wrong"], m["error"], not m["differs"])
            for m in dots
        ]
    return pd.DataFrame(points, columns=["case", "row", "library", "method", "seconds", "right", "error", "same"])
