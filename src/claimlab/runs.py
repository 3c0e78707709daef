"""What the loops of bandits, episodes and trajectories share: when results are kept, and independent runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.checks import Ints
from claimlab.native import spread, threads_or_default


def log_times(name: str, last: int, checkpoints: int) -> Ints:
    """At most `checkpoints` whole numbers from 1 to `last`, both included, evenly spaced in the logarithm.

    `name` is what the caller's user calls `last`.
    """
    last, checkpoints = checks.integer(name, last, 1), checks.integer("checkpoints", checkpoints, 1)
    spaced = np.geomspace(1, last, min(checkpoints, last)).round().astype(np.int64)
    spaced[-1] = last
    return np.unique(spaced)


def each_run(
    game: Callable[[int, Generator], Any], runs: int, seed: int, *, threads: int | None, keep_states: bool
) -> tuple[Any, ...]:
    """Call ``game(i, rng)`` for each of `runs`, with the `i`-th child of ``SeedSequence(seed)``.

    What it returns comes back in order if it is to be kept; results do not depend on `threads`.
    """
    children = np.random.SeedSequence(checks.integer("seed", seed, 0)).spawn(runs)

    def block(start: int, stop: int) -> list[Any]:
        kept = []
        for i in range(start, stop):
            state = game(i, np.random.default_rng(children[i]))
            if keep_states:
                kept.append(state)
        return kept

    return tuple(state for part in spread(block, runs, threads_or_default(threads)) for state in part)
