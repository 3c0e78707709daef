"""Papers as claims and figures, and what runs, stores and reports them."""

from claimlab.experiments.figures import PaperFigure, save
from claimlab.experiments.ledger import Ledger, Row, load
from claimlab.experiments.runner import dask, pool, verify
from claimlab.experiments.store import Store

__all__ = ["Ledger", "PaperFigure", "Row", "Store", "dask", "load", "pool", "save", "verify"]

assert __name__ == "claimlab.experiments", (
    "write `import claimlab.experiments`: `experiments` alone would load a second copy"
)
