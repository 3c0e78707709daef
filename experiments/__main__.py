"""The command line: ``claimlab`` or ``python -m claimlab.experiments``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from enum import StrEnum
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from claimlab.experiments import atomic, benchmarks, catalogue, environment, figures, ledger, report, runner
from claimlab.experiments.benchmarks import document, machine, race, render
from claimlab.experiments.benchmarks.aggregate import Document, ours_failed
from claimlab.experiments.benchmarks.race import Measurement, Race, Track
from claimlab.experiments.catalogue import Selection
from claimlab.experiments.errors import WrongUsage
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.ledger import Ledger
from claimlab.experiments.lm import records
from claimlab.experiments.runner import Done
from claimlab.experiments.store import Store
from claimlab.theory.claims import BUDGETS

lm = typer.Typer(help="Train small language models: comparisons with fixed designs.", no_args_is_help=True)
app = typer.Typer(
    help="Find out whether a theorem is true, false as printed, or loose.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

app.add_typer(lm, name="lm")

Patterns = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PATTERN]...", help="Paper slugs, claim ids, globs, or your own .py files with CLAIMS."),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Where results, ledger, figures and report are.")]
OUT = Path("claimlab-out")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "claimlab"


class BudgetName(StrEnum):
    SMOKE = "smoke"
    STANDARD = "standard"
    FULL = "full"


STYLES = {"supported": "green", "refuted": "magenta", "inconclusive": "yellow", "vacuous": "yellow", "error": "red"}


def main() -> None:
    app()


@app.command("list")
def list_claims(
    patterns: Patterns = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Out = OUT,
) -> None:
    """Papers, claims, and their verdicts of the last run in DIR."""
    with _one_line_errors():
        selection = catalogue.select(patterns or [])
        last = {row.id: row for row in ledger.read(out / "ledger.json").rows} if (out / "ledger.json").exists() else {}
        if as_json:
            print(json.dumps([_entry(claim, last.get(claim.id)) for claim in selection.claims], indent=1))
            return
        table = _table("claim", "source", "kind", "expected", "last verdict")
        for claim in selection.claims:
            verdict = last[claim.id].verdict if claim.id in last else ""
            row = (claim.id, claim.source, claim.kind.__name__, str(claim.expected), verdict)
            table.add_row(*map(_coloured, row))
        _console().print(table)


@app.command()
def verify(
    patterns: Patterns = None,
    *,
    budget: Annotated[BudgetName, typer.Option(help="How much work.")] = BudgetName.STANDARD,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of all randomness.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, metavar="N", help="Processes; default: one a core.")] = None,
    dask: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Use a Dask cluster instead.")] = None,
    out: Out = OUT,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the ledger here too.")] = None,
    with_report: Annotated[bool, typer.Option("--report", help="Draw the figures and write the HTML report.")] = False,
) -> None:
    """Attack claims and their controls, and judge them.

    Results are stored as they come: a run that was stopped goes on where it was.  Exit status: 0 all as expected, 1 a
    verdict or control departs, 2 wrong usage.
    """
    with _one_line_errors(interrupted=f"the results so far are in {out / 'results'}; the same command goes on."):
        selection = _nonempty(patterns)
        atomic.require_writable(out)
        if json_file:
            _require_file(json_file)
        with (
            runner.dask(dask) if dask else runner.pool(workers or environment.cpus()) as executor,
            _progress(2 * len(selection.claims)) as progress,
        ):
            verdicts = runner.verify(
                selection.claims,
                BUDGETS[budget].seeded(seed),
                executor=executor,
                store=Store(out / "results"),
                progress=progress,
                files=selection.files,
            )
        verdicts.write(out / "ledger.json")
        if json_file:
            verdicts.write(json_file)
        _show(verdicts)
        print(f"results: {out / 'ledger.json'}")
        drawn = not with_report or _report(verdicts, selection.figures, out, workers or environment.cpus())
        if not (verdicts.as_expected and drawn):
            raise typer.Exit(1)


@app.command("figures")
def draw_figures(patterns: Patterns = None, *, out: Out = OUT) -> None:
    """Draw the papers' figures as PDF and PNG, with their data as CSV, into DIR/figures."""
    with _one_line_errors():
        selection = _nonempty(patterns)
        if not selection.figures:
            raise WrongUsage("the selected papers have no figures.")
        atomic.require_writable(out)
        failed = False
        for slug, figure in selection.figures:
            try:
                print(figures.save(figure, out / "figures" / slug).pdf)
            except OSError:
                raise
            except Exception as error:  # one figure must not keep the others from being drawn
                failed = True
                _complain(f"{slug}/{figure.name} could not be drawn: {type(error).__name__}: {error}")
        if failed:
            raise typer.Exit(1)


@app.command("report")
def write_report(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="Your own .py files whose figures to draw.")
    ] = None,
    *,
    out: Out = OUT,
) -> None:
    """Write the last run in DIR, with its figures, as a static page DIR/report/index.html.

    A file that the ledger names is code, and whoever wrote the ledger chose it: only those given here are run.
    """
    with _one_line_errors():
        verdicts = ledger.read(out / "ledger.json")
        atomic.require_writable(out)
        ours = sorted({row.paper for row in verdicts.rows if not row.file})
        drawings = catalogue.select([*ours, *(files or [])]).figures if ours or files else ()
        if not _report(verdicts, drawings, out, environment.cpus()):
            raise typer.Exit(1)


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Races; default: all.")] = None,
    *,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the records here too.")
    ] = None,
    out: Out = OUT,
    peers: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The libraries' environments; default: in the user's cache.")
    ] = None,
    install: Annotated[bool, typer.Option("--prepare", help="Only make the environments that are missing.")] = False,
    threads: Annotated[str, typer.Option(metavar="N,...", help="Numbers of threads.")] = "1",
    reps: Annotated[int, typer.Option(min=1, metavar="N", help="Repetitions of a measurement.")] = 5,
    limit: Annotated[float, typer.Option(min=1, metavar="S", help="CPU seconds of a library for a case.")] = 60,
    only: Annotated[list[str] | None, typer.Option(metavar="CASE", help="Only this case; repeat for more.")] = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Measure nothing: show a race that was written.")
    ] = None,
) -> None:
    """Race ours against other libraries, on the same instances at the same certified error.

    Writes DIR/bench.json, and the tables and the figure of each race into DIR/bench.  Exit status: 0 ours was right
    everywhere, 1 it was not, 2 wrong usage.
    """
    file = out / "bench.json"
    with _one_line_errors(interrupted=f"the measurements so far are in {file}."):
        if source and (names or only or install):
            raise WrongUsage("--from measures nothing: leave out races, --only and --prepare.")
        races = benchmarks.choose(names or [], only or [])
        track = Track(peers or CACHE / "peers", CACHE / "instances", _numbers("--threads", threads), reps, limit)
        if install:
            _install(races, track)
            return
        atomic.require_writable(out)
        if json_file:
            _require_file(json_file)
        documents = document.read(source) if source else _raced(races, track, file)
        for path in (file, json_file):
            if path:
                document.write(path, documents)
        if not _show_races(document.read(file), out / "bench"):
            raise typer.Exit(1)


@lm.command("list")
def list_studies(*, out: Out = OUT) -> None:
    """The comparisons that there are, what they take, and how far they are in DIR."""
    with _one_line_errors():
        running, studies = _language_models()
        table = _table("study", "question", "arms", "data", "trainings", "in DIR", "recorded")
        for study in studies.STUDIES:
            done = "done" if (out / "lm" / f"{study.name}.json").exists() else str(running.stored(study, out) or "")
            recorded = "yes" if records.is_packaged(study.name) else ""
            counts = (str(len(study.arms)), ", ".join(study.data), str(study.runs), done, recorded)
            table.add_row(study.name, study.question, *counts)
        _console().print(table)


@lm.command("run")
def run_study(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="See `claimlab lm list`.")],
    *,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Processes; 1 shows every step.")] = 1,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="Of torch: cpu, cuda, cuda:1.")] = "cpu",
    bf16: Annotated[bool, typer.Option("--bf16", help="Passes in bfloat16.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Training passes through torch.compile.")] = False,
    together: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Seeds trained at once: 4 on a CPU, else all.")
    ] = None,
    out: Out = OUT,
) -> None:
    """Train all arms of a study, compare them, and draw the learning curves.

    Every training is stored as it ends, and goes on from its last evaluation if it was stopped: the same command goes
    on.  Exit status: 0 done, 1 arms that are provably the same differ, 2 wrong usage, or it did not fit into memory.
    """
    with _one_line_errors(interrupted=f"what is done is in {out / 'lm'}; the same command goes on."):
        running, studies = _language_models()
        study = studies.named(name)
        if bf16 or compiled:
            precision = "bfloat16" if bf16 else study.settings.precision
            study = replace(study, settings=replace(study.settings, precision=precision, compiled=compiled))
        steps = _console().is_terminal or study.threads == 0
        with nullcontext() if workers == 1 else runner.pool(workers) as executor, _bar(study.runs) as show:
            tell = partial(_tell, show)
            try:
                record = running.run(
                    study, out, executor=executor, device=device, tell=tell, steps=steps, together=together
                )
            except (ModuleNotFoundError, MemoryError) as error:
                raise WrongUsage(str(error)) from None
        _show_study(record)
        caption = "Mean over seeds, with 95 % intervals."
        drawn = PaperFigure(study.name, caption, lambda: records.draw(records.table_of(record)))
        print(f"record: {out / 'lm' / f'{study.name}.json'}")
        print(f"figure: {figures.save(drawn, out / 'figures' / 'lm').pdf}")
        if not record["sane"]:
            _complain(f"{', '.join(record['alike'])} are provably the same on fresh data, and differ.")
            raise typer.Exit(1)


def _language_models() -> tuple[Any, Any]:
    """What needs torch, imported when it is asked for."""
    try:
        return import_module("claimlab.experiments.lm.running"), import_module("claimlab.experiments.lm.studies")
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "safetensors"):
            raise
        raise WrongUsage(f"language models need the package {error.name}: pip install 'claimlab[lm]'.") from None


def _tell(show: Callable[[int, str, str], None], news: Any) -> None:
    cell, shown = news.cell, ("score", "reward", "kl", "entropy", "nll", "clip")
    run = f"{news.data} data, {cell.arm}, rate {cell.settings.rate:g}, seed {cell.settings.seed}"
    numbers = " ".join(f"{name} {news.row[name]:.3f}" for name in shown if name in news.row)
    show(news.done, f"{run} {news.note} {numbers}", f"[{news.done}/{news.total}] {run}: {numbers} ({news.note})")


def _show_study(record: dict[str, Any]) -> None:
    table = _table("data", "better", "worse", "difference", "95 % interval", "p")
    for found in record["findings"]:
        interval = f"[{float(found['low']):+.3f}, {float(found['high']):+.3f}]" if "low" in found else ""
        p = f"{found['p_support']:.1g}" if "p_support" in found else ""
        table.add_row(found["data"], found["better"], found["worse"], f"{found['difference']:+.3f}", interval, p)
    _console().print(table)
    print(f"p against the contrary of: better by more than {record['effect']:g} in {record['metric']}.")
    for edge in record["edges"]:
        print(f"{edge['arm']} on {edge['data']} data has the rate {edge['rate']:g}, at an end of those tried.")
    if record["diverged"]:
        print(f"{record['diverged']} trainings diverged, and score zero.")


def _install(races: list[Race], track: Track) -> None:
    """Make what environments can be had; what only its authors offer may be out of reach, and the race goes on."""
    failures = []
    for solver in race.missing(races, track):
        print(f"installing {solver.library}", flush=True)
        try:
            race.install(solver, track)
        except WrongUsage as error:
            if solver.source:
                _complain(f"{error} The race calls it not available.")
            else:
                failures.append(str(error))
    if failures:
        raise WrongUsage(" ".join(failures))


def _require_file(path: Path) -> None:
    """An error before any work if `path`, what --json says, cannot be written."""
    atomic.require_writable(path.parent)
    if path.is_dir():
        raise WrongUsage(f"--json takes a file, got the folder {path}.")


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers between commas, ascending."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise WrongUsage(f"{option} takes whole numbers of at least 1 between commas, got {text!r}.")
    return tuple(sorted({int(part) for part in parts}))


def _raced(races: list[Race], track: Track, file: Path) -> list[Document]:
    """Measure all; what there is so far is always in `file`."""
    documents: list[Document] = []
    for entered in races:
        print("instances, reference values, and the machine", flush=True)
        prepared = [case.prepare(track.instances) for case in entered.cases]
        cases, surveyed = [ready.describe() for ready in prepared], list(machine.survey(entered, prepared, track))
        found: list[Measurement] = []
        with _bar(total := len(entered.cases) * len(entered.solvers)) as show:
            for measurement in race.run(entered, prepared, track):
                found.append(measurement)
                document.write(file, [*documents, document.compose(entered, cases, track, surveyed, found)])
                number = len({(m["case"], m["solver"]) for m in found})
                line = render.line(measurement, asdict(entered.words))
                show(number, line, f"[{number}/{total}] {line}")
        documents.append(document.compose(entered, cases, track, surveyed, found))
    return documents


def _show_races(documents: list[Document], folder: Path) -> bool:
    """Print and write tables and figures; False if ours has failed somewhere."""
    failures = []
    for found in documents:
        for threads in found["threads"]:
            print(render.unit(found, threads))
            table = _table(*render.header(found))
            table.columns[0].no_wrap = True
            for row in render.rows(found, threads):
                table.add_row(*row)
            _console().print(table)
        print("\n".join(render.conclusion(found)))
        atomic.write(folder / f"{found['race']}.md", render.markdown(found).encode())
        print(figures.save(render.figure(found), folder).pdf)
        failures += ours_failed(found["records"])
    for failure in failures:
        _complain(f"ours failed: {failure}")
    return not failures


def _report(verdicts: Ledger, drawings: Sequence[tuple[str, PaperFigure]], out: Path, workers: int) -> bool:
    """Write the report and print where; False if a figure is missing."""
    with runner.pool(workers) as executor:
        written = report.write(verdicts, drawings, out / "report", executor=executor)
    for failure in written.failures:
        _complain(f"figure {failure}")
    print(f"report: {written.path}")
    return not written.failures


def _nonempty(patterns: list[str] | None) -> Selection:
    selection = catalogue.select(patterns or [])
    if not selection.claims and not selection.figures:
        raise WrongUsage("there are no claims to look at.")
    return selection


def _show(verdicts: Ledger) -> None:
    table = _table("claim", "verdict", "control", "tightness", "s")
    for row in verdicts.rows:
        tightness, seconds = ledger.number(row.tightness), f"{row.seconds:.1f}"
        table.add_row(*map(_coloured, (row.id, row.verdict, row.control, tightness, seconds)))
    _console().print(table)
    departures = [row.departure for row in verdicts.rows if not row.as_expected]
    print(f"{len(verdicts.rows) - len(departures)} of {len(verdicts.rows)} claims as expected.")
    for line in departures:
        print(f"departs: {line}")


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Done], None]]:
    with _bar(total) as show:
        yield lambda done: show(done.number, _name(done), _line(done))


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int, str, str], None]]:
    """What shows a number, its description and its line: a bar on a terminal, a line for each otherwise."""
    console = _console()
    if not console.is_terminal:
        yield lambda number, description, line: print(line, flush=True)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=total)
        yield lambda number, description, line: bar.update(task, completed=number, description=description)


def _line(done: Done) -> str:
    spent = "stored" if done.stored else f"{done.seconds:.1f} s"
    return f"[{done.number}/{done.total}] {_name(done)} {done.outcome} {spent}"


def _name(done: Done) -> str:
    return done.claim if done.role == "check" else f"{done.claim} (control)"


def _entry(claim: Any, last: ledger.Row | None) -> dict[str, Any]:
    return {
        "id": claim.id,
        "paper": claim.paper.slug,
        "source": claim.source,
        "kind": claim.kind.__name__,
        "statement": claim.statement,
        "expected": str(claim.expected),
        "verdict": last.verdict if last else None,
        "control": last.control if last else None,
    }


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in ("tightness", "s") else "left")
    return table


def _coloured(word: str) -> Text:
    return Text(word, style=STYLES.get(word, ""))


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=140)  # a file has no width: do not fold at 80


def _complain(message: str) -> None:
    typer.echo(f"claimlab: {' '.join(message.split())}", err=True)


@contextmanager
def _one_line_errors(interrupted: str = "") -> Iterator[None]:
    """Wrong usage ends with one line and status 2, Ctrl-C with one line and 130, a closed pipe in silence with 141."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # `claimlab list | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains once more at exit
        raise typer.Exit(141) from None
    except (WrongUsage, OSError) as error:
        _complain(str(error))
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        _complain(f"interrupted; {interrupted}" if interrupted else "interrupted.")
        raise typer.Exit(130) from None


if __name__ == "__main__":
    main()
