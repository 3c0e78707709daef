"""The physical limit: how fast this machine reads memory in order or here and there, moves it, adds up and draws."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from claimlab.checks import Array
from claimlab.experiments.benchmarks import race
from claimlab.experiments.benchmarks.race import MACHINE, Prepared, Probe, Race, Track, start
from claimlab.mdps.blocks import BLOCK, prefetch
from claimlab.native import fast_kernel, kernel, spread

LARGE = 3 * 2**27  # bytes: beyond every cache
LEAST = 2**15  # elements a thread should get
AHEAD = 512  # entries of a matrix that are asked for before they are needed


@fast_kernel
def _total(x: Array, times: int) -> float:
    total = 0.0
    for _ in range(times):
        for i in range(x.size):
            total += x[i]
    return total


@fast_kernel
def _triad(a: Array, b: Array, c: Array) -> None:
    for i in range(a.size):
        a[i] = b[i] + 3.0 * c[i]


def read(x: Array, threads: int, times: int = 1) -> float:
    """The sum of `x`, float[n], so many times: 8 n bytes are read each time, after the first from where they fit."""
    return sum(spread(lambda start, stop: _total(x[start:stop], times), len(x), threads, least=LEAST))


def triad(a: Array, b: Array, c: Array, threads: int) -> None:
    """STREAM's triad, ``a = b + 3 c``: 24 n bytes are moved."""

    def work(start: int, stop: int) -> None:
        _triad(a[start:stop], b[start:stop], c[start:stop])

    spread(work, len(a), threads, least=LEAST)


@fast_kernel
def _gather(indices: Any, data: Array, v: Array, out: Array) -> None:
    for i in range(out.size):
        prefetch(data, BLOCK * i + AHEAD)
        prefetch(indices, BLOCK * i + AHEAD)
        total = 0.0
        for k in range(BLOCK):
            total += data[BLOCK * i + k] * v[indices[BLOCK * i + k]]
        out[i] = total


def gather(indices: Any, data: Array, v: Array, out: Array, threads: int) -> None:
    """The sums of ``data * v[indices]``, eight entries each, out[n // 8]: a product with a sparse matrix, and no more.

    The best of the loops that were tried; indices are unsigned.  No sweep that fetches a value for every entry of `P`
    can be faster.
    """

    def work(start: int, stop: int) -> None:
        entries = slice(BLOCK * start, BLOCK * stop)
        _gather(indices[entries], data[entries], v, out[start:stop])

    spread(work, len(out), threads, least=LEAST // BLOCK)


@fast_kernel
def chain(x: Array, times: int) -> float:
    """``y = x[i] + y / 4`` through `x`, so many times: each step waits for the one before, as a point waits for its
    neighbour in a sweep in order."""
    y = 0.0
    for _ in range(times):
        for i in range(x.size):
            y = x[i] + 0.25 * y
    return y


@kernel
def _draws(rounds: int, uniforms: int, normals: int, rng: Generator) -> float:
    total = 0.0
    for _ in range(rounds):
        for _ in range(uniforms):
            total += rng.random()
        for _ in range(normals):
            total += rng.standard_normal()
    return total


def draws(rounds: int, uniforms: int, normals: int, threads: int) -> float:
    """The sum of so many random numbers in each of the `rounds`: what no simulation escapes."""

    def work(start: int, stop: int) -> float:
        return _draws(stop - start, uniforms, normals, np.random.default_rng(start))

    return sum(spread(work, rounds, threads, least=LEAST))


def survey(entered: Race, prepared: list[Prepared], track: Track) -> Iterator[dict[str, Any]]:
    """Seconds and bytes of each of the probes of a race and of its cases, with so many threads."""
    probes = dict.fromkeys([*entered.probes, *(probe for ready in prepared for probe in ready.probes)])
    with race.empty_kernel_cache() as compiled:
        for threads, probe in product(track.threads, probes):
            yield _survey(probe, threads, track, compiled)


def _survey(probe: Probe, threads: int, track: Track, compiled: Path) -> dict[str, Any]:
    task: dict[str, Any] = {"instances": [str(file) for file in probe.files], "method": probe.what}
    task |= {"bytes": probe.bytes, "sample": 0, "count": probe.count, "compiles": True, "threads": threads}
    task |= dict(probe.settings)
    report, _ = start(MACHINE, MACHINE, task, track, compiled, track.limit)
    seconds = None if report["failure"] else min(report["cpu" if threads == 1 else "wall"]) / probe.count
    described = {"what": probe.what, "instance": probe.instance, "threads": threads}
    return described | {"bytes": probe.bytes, "seconds": seconds}
