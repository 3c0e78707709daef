"""One matplotlib style for all figures: column widths of a paper, colours that colour-blind readers tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib.style
from cycler import cycler

COLUMN = 3.25  # inches: one column of a two-column page
PAGE = 6.75  # inches: both columns
DPI = 300  # of a PNG

OKABE_ITO = {  # Okabe & Ito (2008), darkest contrast first; yellow last, as it is faint on white
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "orange": "#E69F00",
    "black": "#000000",
    "yellow": "#F0E442",
}

STYLE = {
    "axes.grid": True,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.prop_cycle": cycler(color=list(OKABE_ITO.values())),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "figure.constrained_layout.use": True,
    "figure.figsize": (COLUMN, 2.3),
    "font.size": 8,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.4,
    "image.cmap": "cividis",
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
    "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
    "ps.fonttype": 42,
    "savefig.dpi": DPI,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the project's style, whatever the user's matplotlibrc says, and leave their settings as they were."""
    with matplotlib.style.context(["default", STYLE]):
        yield
