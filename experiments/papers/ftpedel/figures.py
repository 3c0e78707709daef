"""The figures of FTPedel, each with the data that it draws."""

from __future__ import annotations

from claimlab.experiments.figures import PaperFigure

FIGURES: tuple[PaperFigure, ...] = ()
