"""Plain NumPy, as one would write it in a notebook; values, then their standard errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from protocol import Instance, Task, serve


def build(log: Instance, task: Task) -> Any:
    return log


def solve(log: Any, task: Task) -> Any:
    names, at, a, r = task["estimators"], np.arange(len(log["rewards"])), log["actions"], log["rewards"]
    values, errors, root = [], [], np.sqrt(len(r))
    w: Any = log["target"][at, a] / log["propensities"] if names != ["dm"] else None
    direct: Any = np.einsum("nk,nk->n", log["target"], log["model"]) if {"dm", "dr"} & set(names) else None
    if "ips" in names:
        terms = w * r
        values.append(terms.mean())
        errors.append(terms.std(ddof=1) / root)
    if "snips" in names:
        total, terms = w.sum(), w * r
        values.append(terms.sum() / total)
        errors.append(np.sqrt(((terms - values[-1] * w) ** 2).sum()) / total)
    if "dm" in names:
        values.append(direct.mean())
        errors.append(direct.std(ddof=1) / root)
    if "dr" in names:
        terms = direct + w * (r - log["model"][at, a])
        values.append(terms.mean())
        errors.append(terms.std(ddof=1) / root)
    return values + errors


if __name__ == "__main__":
    serve("numpy", build, solve, lambda model, solved, task: (solved, None))
