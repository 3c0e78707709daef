"""Mutation testing of the verdict rules and of some solvers: small errors are planted, and the tests must see them.

``nice python tests/mutate.py FILE [MODULE...]`` writes which mutants survived; ``FILE`` keeps what was said of the
survivors of an earlier run.  Each mutant is one change of one place (see `mutants`): a comparison, an operator, a
number, a condition, an extremum, or a statement left out.  Texts, annotations and defaults of types are left alone.  It
runs in a fork of a process that has loaded everything but claimlab, so that a mutant costs its tests and little else.
"""

from __future__ import annotations

import ast
import copy
import gc
import importlib
import importlib.util
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
TARGETS: dict[str, tuple[str, list[str]]] = {
    "claimlab.theory.evidence": ("theory/evidence.py", ["tests/test_evidence.py", "-k", "not false_verdicts"]),
    "claimlab.experiments.ledger": ("experiments/ledger.py", ["tests/test_ledger.py"]),
    "claimlab.theory.concentration": ("theory/concentration.py", ["tests/test_concentration.py"]),
    "claimlab.mdps.certificates": ("mdps/certificates.py", ["tests/test_certificates.py"]),
    "claimlab.mdps.episodic": ("mdps/episodic.py", ["tests/test_episodic.py"]),
}
PRELOAD = (
    *("numpy", "scipy.stats", "scipy.sparse.linalg", "scipy.optimize", "pandas", "statsmodels.stats.multitest"),
    *("numba", "hypothesis", "pytest", "matplotlib.pyplot", "typer", "rich.progress", "jinja2", "cvxpy", "sympy"),
)
MOST = 50  # mutants of a module; of more, so many are drawn
FLIPS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "argmin": "argmax", "argmax": "argmin"}

Change = tuple[str, Callable[[], None]]  # what is changed, and what changes it in place


def _changes(node: ast.AST) -> Iterator[Change]:
    """The mutations of one node."""

    def to(what: str, name: str, value: Any, index: int | None = None) -> Change:
        def change() -> None:
            if index is None:
                setattr(node, name, value)
            else:
                getattr(node, name)[index] = value

        return what, change

    match node:
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                for other in FLIPS.get(type(op), ()):
                    yield to(f"{type(op).__name__} -> {other.__name__}", "ops", other(), i)
        case ast.BinOp(op=op) | ast.AugAssign(op=op) | ast.BoolOp(op=op):
            for other in FLIPS.get(type(op), ()):
                yield to(f"{type(op).__name__} -> {other.__name__}", "op", other())
        case ast.Constant(value=bool(value)):
            yield to(f"{value} -> {not value}", "value", not value)
        case ast.Constant(value=int(value)) | ast.Constant(value=float(value)):
            yield to(f"{value} -> {value + 1}", "value", value + 1)
        case ast.Name(id=name) if name in NAMES:
            yield to(f"{name} -> {NAMES[name]}", "id", NAMES[name])
        case ast.Attribute(attr=name) if name in NAMES:
            yield to(f"{name} -> {NAMES[name]}", "attr", NAMES[name])
        case ast.If() | ast.IfExp() | ast.While():
            yield to("condition negated", "test", ast.UnaryOp(ast.Not(), node.test))
    for name, block in ast.iter_fields(node):
        if isinstance(block, list):
            for i, statement in enumerate(block):
                if isinstance(statement, (ast.Raise, ast.AugAssign, ast.Return)) or (
                    isinstance(statement, ast.Expr) and isinstance(statement.value, (ast.Call, ast.Yield))
                ):
                    left_out = ast.copy_location(ast.Pass(), statement)
                    yield to(f"left out: {ast.unparse(statement)[:60]}", name, left_out, i)


def _places(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that may be changed: no annotations, decorators, texts or imports."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_params") or isinstance(tree, ast.JoinedStr):
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST) and not isinstance(
                node, (ast.JoinedStr, ast.Import, ast.ImportFrom, ast.Assert)
            ):
                yield node
                yield from _places(node)


def mutants(source: str) -> list[tuple[int, str, str]]:
    """Line, what is changed, and the changed source; each unlike the original and unlike the others."""
    tree = ast.parse(source)
    found: dict[str, tuple[int, str, str]] = {}
    plain = ast.unparse(tree)
    for i, place in enumerate(_places(tree)):
        for j, (what, _) in enumerate(_changes(place)):
            other = copy.deepcopy(tree)
            node = next(node for k, node in enumerate(_places(other)) if k == i)
            list(_changes(node))[j][1]()
            text = ast.unparse(ast.fix_missing_locations(other))
            if text != plain:
                found.setdefault(text, (getattr(place, "lineno", 0), what, text))
    return list(found.values())


def _killed(module: str, text: str, tests: list[str], seconds: int) -> str:
    """How the tests end on the module with this text: "survived", "failed", or "hung"."""
    with tempfile.TemporaryDirectory() as folder:
        # A path of its own, so that numba does not take the compiled code of the true source from its cache.
        file = Path(folder, f"{module.rpartition('.')[2]}.py")
        file.write_text(text)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            status = 99
            try:
                sys.meta_path.insert(0, _Finder(module, file))
                import pytest

                words = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
                status = int(pytest.main(words))
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return "hung"
    return "survived" if os.waitstatus_to_exitcode(status) == 0 else "failed"


class _Finder:
    def __init__(self, module: str, file: Path) -> None:
        self.module, self.file = module, file

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> Any:
        return importlib.util.spec_from_file_location(name, self.file) if name == self.module else None


def examine(module: str) -> dict[str, Any]:
    path, tests = TARGETS[module]
    source = (ROOT / path).read_text()
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    if _killed(module, source, tests, 600) != "survived":
        raise SystemExit(f"the tests of {module} fail without any mutation")
    limit = int(3 * (resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)) + 10
    every = mutants(source)
    chosen = every
    if len(every) > MOST:
        kept = np.random.default_rng(0).choice(len(every), MOST, replace=False)
        chosen = [every[i] for i in sorted(kept)]
    survivors, fates = [], []
    for line, what, text in chosen:
        fates.append(_killed(module, text, tests, limit))
        if fates[-1] == "survived":
            survivors.append({"line": line, "source": source.splitlines()[line - 1].strip(), "change": what})
            print(module, survivors[-1], flush=True)
    return {
        "module": module,
        "tests": tests,
        "possible": len(every),
        "tried": len(chosen),
        "killed": len(chosen) - len(survivors),
        "hung": fates.count("hung"),
        "score": round(1 - len(survivors) / len(chosen), 4),
        "survivors": survivors,
    }


def main(file: Path, modules: list[str]) -> None:
    for name in PRELOAD:
        importlib.import_module(name)
    gc.freeze()  # `judge` collects garbage, and need not look at what was loaded here
    known = json.loads(file.read_text())["modules"] if file.exists() else []
    said = {(m["module"], s["source"], s["change"]): s.get("why", "") for m in known for s in m["survivors"]}
    rows = {m["module"]: m for m in known}
    for module in modules or list(TARGETS):
        rows[module] = examine(module)
        for survivor in rows[module]["survivors"]:
            survivor["why"] = said.get((module, survivor["source"], survivor["change"]), "")
        print(module, rows[module]["score"], flush=True)
        file.write_text(json.dumps({"modules": list(rows.values())}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    os.chdir(ROOT)
    os.environ["CI"] = "true"
    main(Path(sys.argv[1]).absolute(), sys.argv[2:])
