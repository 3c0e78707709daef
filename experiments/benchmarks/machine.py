"""The physical limit: how fast this machine reads memory, moves it, and multiplies by a matrix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from claimlab.checks import Array
from claimlab.experiments.benchmarks import race
from claimlab.experiments.benchmarks.race import MACHINE, Prepared, Track, start
from claimlab.native import fast_kernel, spread

LARGE = 3 * 2**27  # bytes: beyond every cache
LEAST = 2**15  # elements a thread should get


@fast_kernel
def _total(x: Array) -> float:
    total = 0.0
    for i in range(x.size):
        total += x[i]
    return total


@fast_kernel
def _triad(a: Array, b: Array, c: Array) -> None:
    for i in range(a.size):
        a[i] = b[i] + 3.0 * c[i]


def read(x: Array, threads: int) -> float:
    """The sum of `x`, float[n]: 8 n bytes are read."""
    return sum(spread(lambda start, stop: _total(x[start:stop]), len(x), threads, least=LEAST))


def triad(a: Array, b: Array, c: Array, threads: int) -> None:
    """STREAM's triad, ``a = b + 3 c``: 24 n bytes are moved."""

    def work(start: int, stop: int) -> None:
        _triad(a[start:stop], b[start:stop], c[start:stop])

    spread(work, len(a), threads, least=LEAST)


def survey(prepared: list[Prepared], track: Track) -> Iterator[dict[str, Any]]:
    """Seconds and bytes of reading, triad and BLAS gemv; and of a sweep of ours over each instance, beside reading as
    many bytes."""
    swept = {}
    for ready in prepared:
        described = ready.description
        if described["sweep_bytes"]:
            swept[described["instances"][0]] = (ready.files[0], described["sweep_bytes"])
    with race.empty_kernel_cache() as compiled:
        for threads in track.threads:
            for method in ("read", "triad", "gemv"):
                yield _survey(method, None, LARGE, (), threads, track, compiled)
            for name, (file, moved) in swept.items():
                yield _survey("read", name, moved, (), threads, track, compiled)
                yield _survey("sweep", name, moved, (file,), threads, track, compiled)


def _survey(
    method: str, instance: str | None, moved: int, files: tuple[Path, ...], threads: int, track: Track, compiled: Path
) -> dict[str, Any]:
    task: dict[str, Any] = {"instances": [str(file) for file in files], "method": method, "bytes": moved}
    task |= {"sample": 0, "compiles": True, "threads": threads}
    report, _ = start(MACHINE, task, track, compiled, track.limit)
    seconds = None if report["failure"] else min(report["cpu" if threads == 1 else "wall"])
    return {"what": method, "instance": instance, "threads": threads, "bytes": moved, "seconds": seconds}
