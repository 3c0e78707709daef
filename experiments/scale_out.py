"""What a unit of work costs beside the work: claims that do nothing, by the thousand and by the million.

``python -m claimlab.experiments.scale_out FILE UNITS [WAY...]`` measures ways to run so many units, all by default, and
puts them into the record FILE; a million units take some minutes, and gigabytes where results are stored.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import pandas as pd

from claimlab.experiments import atomic, catalogue, runner
from claimlab.experiments.environment import environment
from claimlab.experiments.runner import dask, pool, verify
from claimlab.experiments.store import Store
from claimlab.theory.claims import SMOKE

RECORD = files("claimlab.experiments").joinpath("records", "scale-out.json")
WORKERS = 2
WAYS = ("one process", "one process, stored", "pool, stored", "Dask", "Dask, stored", "all stored before")
SOURCE = '''"""Claims that cost nothing."""

from claimlab.theory.claims import Claim, Paper
from claimlab.theory.evidence import Identity

PAPER = Paper("trivial", "Nothing", "Nobody", "Nowhere", "", "C")


def check(budget):
    return Identity(0.0, 0.0, 1, "rational")


def control(budget):
    return Identity(1.0, 0.0, 1, "rational")


WORDS = ("$0 = 0$", Identity, (), check, control, "$0 = 1$")
CLAIMS = [Claim(f"trivial/c{{i}}", PAPER, "ours", *WORDS) for i in range({n})]
'''


def trivial(folder: Path, units: int) -> Path:
    """A file of claims with so many units, two a claim."""
    file = folder / f"trivial_{units}.py"
    file.write_text(SOURCE.format(n=units // 2))
    return file


@contextmanager
def cluster() -> Iterator[str]:
    """The address of a scheduler in a process of its own, with `WORKERS` worker processes of one thread."""
    distributed: Any = import_module("distributed")
    with distributed.LocalCluster(WORKERS, threads_per_worker=1, dashboard_address=None) as local:
        yield local.scheduler_address


def measure(way: str, units: int, folder: Path) -> dict[str, Any]:
    """From the claims to their ledger, without reading the file of claims or starting workers.

    Seconds are the clock's, and say little where others use the machine; processor seconds are those of the process
    that gives the work out and collects it, which is what bounds a cluster.
    """
    selection = catalogue.select([str(trivial(folder, units))])
    store = Store(folder / "results") if "stored" in way else None

    def timed(**options: Any) -> tuple[float, float]:
        start, used = perf_counter(), process_time()
        found = verify(selection.claims, SMOKE, store=store, files=selection.files, **options)
        spent = perf_counter() - start, process_time() - used
        if not found.as_expected or len(found.rows) != units // 2:
            raise AssertionError(f"{way}: {len(found.rows)} claims, as expected: {found.as_expected}.")
        return spent

    if way.startswith("Dask"):
        with cluster() as address, dask(address) as executor:
            _warm(executor, selection)
            spent = timed(executor=executor)
    elif way.startswith("pool"):
        with pool(WORKERS) as executor:
            _warm(executor, selection)
            spent = timed(executor=executor)
    else:
        spent = timed()
        if way == "all stored before":
            spent = timed()
    seconds, used = spent
    written = sum(path.stat().st_size for path in store.folder.iterdir()) if store else 0
    return {
        "way": way,
        "claims": units // 2,
        "units": units,
        "seconds": round(seconds, 4),
        "units a second": round(units / seconds, 1),
        "microseconds a unit": round(1e6 * seconds / units, 1),
        "processor microseconds a unit": round(1e6 * used / units, 1),
        "load": round(os.getloadavg()[0], 1),
        "gigabytes of memory": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "gigabytes of files": round(written / 1e9, 3),
    }


def _warm(executor: Any, selection: catalogue.Selection) -> None:
    """Every worker has imported the package and read the claims before the clock starts."""
    few = selection.claims[: 8 * WORKERS]
    verify(few, SMOKE.seeded(1), executor=executor, files=selection.files)


def record(path: Path, units: int, ways: tuple[str, ...]) -> None:
    """Measure each way in a process of its own, and put it into the record at `path`."""
    for way in ways:
        with tempfile.TemporaryDirectory() as folder:
            words = [sys.executable, "-m", "claimlab.experiments.scale_out", "--one", way, str(units), folder]
            row = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(row, flush=True)
        before = json.loads(path.read_text())["rows"] if path.exists() else []
        rows = [other for other in before if (other["way"], other["units"]) != (way, units)]
        rows = sorted([*rows, row], key=lambda row: (row["units"], WAYS.index(row["way"])))
        what = f"units of work that do nothing, {WORKERS} workers of one thread on one machine, with the client"
        atomic.write_json(path, {"what": what, "tasks": runner.TASKS, "environment": environment(), "rows": rows})


def recorded() -> pd.DataFrame:
    """The rows of the record."""
    return pd.DataFrame(json.loads(RECORD.read_text())["rows"])


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))))
    else:
        record(Path(sys.argv[1]), int(sys.argv[2]), tuple(sys.argv[3:]) or WAYS)
