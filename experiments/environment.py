"""Where a number came from: interpreter, machine, package versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import claimlab
from claimlab.native import source_hash

NUMERICAL = ("numpy", "scipy", "numba", "statsmodels", "cvxpy", "sympy")  # what a result may depend on


@cache
def packages() -> dict[str, str]:
    """Versions of the numerical packages."""
    return {name: version(name) for name in NUMERICAL}


@cache
def environment() -> dict[str, Any]:
    """The provenance of what this process computes, in JSON values."""
    return {
        "claimlab": _version("claimlab"),
        "source": source_hash(),
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.system(),  # no more: a record is published
        "machine": platform.machine(),
        "cpus": cpus(),
        "packages": packages(),
    }


def cpus() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # the sources on a path, not installed
        return None


def _commit() -> str | None:
    """The commit of the package's checkout, "-dirty" if edited; None for an installed copy or without git."""
    folder = Path(claimlab.__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "checks.py")  # else an environment inside a user's repository names theirs
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None
