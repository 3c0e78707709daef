"""Arrays that a race's processes share, in files written once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from claimlab.experiments import atomic

Instance = dict[str, Any]


def once(folder: Path, name: str, make: Callable[[], Instance], sources: tuple[Path, ...]) -> Path:
    """The file of the arrays that `make` returns, written unless the same `sources` wrote it before."""
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    path = folder / f"{name}-{version}.npz"
    if not path.exists():
        buffer = BytesIO()
        np.savez(buffer, **make())
        atomic.write(path, buffer.getvalue())
    return path


def read(path: Path) -> Instance:
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}
