"""Gridworlds drawn as text, and Sutton & Barto's cliff."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claimlab import checks
from claimlab.mdps.assemble import ending_actions, transitions
from claimlab.mdps.tabular import TabularMDP

UP, RIGHT, DOWN, LEFT = range(4)
MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])  # by action: clockwise, so a slip turns the action by one
CELLS = ".S#GPC"


def gridworld(
    rows: Sequence[str],
    gamma: float,
    *,
    slip: float = 0.0,
    step: float = 0.0,
    goal: float = 1.0,
    pit: float = -1.0,
    cliff: float = -100.0,
    sparse: bool | None = None,
) -> TabularMDP:
    """A gridworld from its picture, ``rows``, one string for each row of cells.

    ====== =====================================================================================
    ``.``  floor
    ``S``  floor on which one starts; several starts are equally likely, and so are all floor cells if there is none
    ``#``  wall: running into it, or over the edge of the grid, leaves one where one is
    ``G``  goal: entering pays `goal` and ends
    ``P``  pit: entering pays `pit` and ends
    ``C``  cliff: falling in pays `cliff` and sets one back to a start
    ====== =====================================================================================

    Every other move pays `step`.  State ``row * width + column`` is a cell; goals, pits, and the cells that nobody
    stands on (walls and cliffs) are terminal.  Actions 0, 1, 2, 3 move up, right, down, left; with probability `slip`
    the move is turned by a right angle, to either side equally.

    Examples
    --------
    >>> from claimlab.mdps import solve
    >>> solve(gridworld(["S.G"], gamma=0.5)).v
    array([0.5, 1. , 0. ])
    """
    slip = checks.interval("slip", slip, 0, 1)
    cells = _cells(rows)
    height, width = cells.shape
    flat, S = cells.ravel(), cells.size
    stands = np.isin(flat, [".", "S"])
    start = (flat == "S") if (flat == "S").any() else stands
    terminal, starts = ~stands, np.flatnonzero(start)

    s = np.flatnonzero(stands)
    to = np.stack(np.divmod(s, width), axis=1)[:, None, :] + MOVES  # [states, 4, 2]
    inside = ((to >= 0) & (to < (height, width))).all(axis=2)
    target = np.where(inside, to[..., 0] * width + to[..., 1], s[:, None])
    target = np.where(flat[target] == "#", s[:, None], target)
    pays = np.select([flat[target] == mark for mark in "GPC"], [goal, pit, cliff], step)

    moves: list[tuple[Any, ...]] = [(np.flatnonzero(terminal), 0, np.flatnonzero(terminal), 1.0)]
    r = np.zeros((S, 4))
    for turn, p in ((0, 1 - slip), (1, slip / 2), (3, slip / 2)):
        for a in range(4):
            t, paid = target[:, (a + turn) % 4], pays[:, (a + turn) % 4]
            r[s, a] += p * paid
            falls = flat[t] == "C"
            moves.append((s[~falls], a, t[~falls], p))
            moves.append((s[falls].repeat(len(starts)), a, np.tile(starts, falls.sum()), p / len(starts)))
    listed = [np.concatenate(part) for part in zip(*(np.broadcast_arrays(*move) for move in moves))]
    P = transitions(S, 4, *listed, sparse=sparse)
    return TabularMDP(P, r, gamma, actions=ending_actions(terminal, 4), terminal=terminal, initial=start / start.sum())


def _cells(rows: Sequence[str]) -> NDArray[np.str_]:
    """The picture as characters, str[height, width]."""
    if isinstance(rows, str) or not len(rows) or not len(rows[0]):
        raise ValueError(f"rows must be a non-empty list of non-empty strings, got {rows!r}.")
    for i, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ValueError(f"rows[{i}] has {len(row)} cells, rows[0] has {len(rows[0])}; all must have as many.")
        for j, cell in enumerate(row):
            if cell not in CELLS:
                raise ValueError(f"rows[{i}][{j}] is {cell!r}; a cell is one of {', '.join(CELLS)}.")
    cells = np.array([list(row) for row in rows])
    if not np.isin(cells, [".", "S"]).any():
        raise ValueError("rows has no floor (. or S) to stand on.")
    return cells


def cliff_walking(
    gamma: float, *, height: int = 4, width: int = 12, slip: float = 0.0, sparse: bool | None = None
) -> TabularMDP:
    r"""Sutton & Barto's cliff: from the bottom left to the bottom right corner, with a cliff in between.

    Every move costs 1, falling off the cliff 100 and sets one back to the start.  Without slips the best path keeps to
    the brink: with :math:`k = \text{width} + 1` moves, :math:`v^* = -(1-\gamma^k)/(1-\gamma)` at the start, state
    ``(height - 1) * width`` (for a cliff of at least one cell).

    Source: Sutton & Barto (2018), Reinforcement Learning, Example 6.6.
    """
    height, width = checks.integer("height", height, 2), checks.integer("width", width, 3)
    rows = ["." * width] * (height - 1) + ["S" + "C" * (width - 2) + "G"]
    return gridworld(rows, gamma, slip=slip, step=-1.0, goal=-1.0, cliff=-100.0, sparse=sparse)
