"""A paper's figure: drawn anew from a function, saved with the data behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from claimlab.experiments import atomic
from claimlab.experiments.style import style


@dataclass(frozen=True)
class PaperFigure:
    """A figure of a paper.

    Parameters
    ----------
    name : str
        File name without ending: letters, digits, hyphens and underscores.
    caption : str
        In words, with formulas in LaTeX between dollar signs.
    draw : () -> (Figure, DataFrame)
        Makes the figure and the table of the numbers in it.
    """

    name: str
    caption: str
    draw: Callable[[], tuple[Figure, pd.DataFrame]]

    def __post_init__(self) -> None:
        if not self.name.replace("-", "").replace("_", "").isalnum() or not self.name.isascii():
            raise ValueError(f"name must consist of letters, digits, hyphens and underscores, got {self.name!r}.")


class Saved(NamedTuple):
    pdf: Path
    png: Path
    csv: Path


def save(figure: PaperFigure, folder: Path) -> Saved:
    """Draw `figure` in the project's style and write name.pdf, name.png and name.csv into `folder`."""
    with style():
        drawn = figure.draw()
        if not (isinstance(drawn, tuple) and len(drawn) == 2 and isinstance(drawn[0], Figure)):
            raise TypeError(f"draw of {figure.name} must return (Figure, DataFrame), got {type(drawn).__name__}.")
        canvas, data = drawn
        try:
            contents = {
                "pdf": _rendered(canvas, "pdf", {"CreationDate": None}),  # no clock: same data, same file
                "png": _rendered(canvas, "png", {"Software": None}),
                "csv": data.to_csv(index=False).encode(),
            }
        finally:
            plt.close(canvas)
    paths = Saved(*(folder / f"{figure.name}.{ending}" for ending in Saved._fields))
    for path in paths:
        atomic.write(path, contents[path.suffix[1:]])
    return paths


def _rendered(canvas: Figure, ending: str, metadata: dict[str, None]) -> bytes:
    buffer = BytesIO()
    canvas.savefig(buffer, format=ending, metadata=metadata)
    return buffer.getvalue()
