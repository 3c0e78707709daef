"""How many small changes of the code that decides do the tests notice?  Run by hand, not by CI.

``python -m tests.mutate OUT.json [seconds] [seed]`` draws mutants of `COVERS` at random, one change of an operator, a
comparison, a constant or a call each, and runs the tests of the module on each, interpreted, in a process of its own.
The module is replaced in memory; no file is.  A mutant is killed if a test fails or if the tests take more than
`PATIENCE` CPU seconds.
"""

from __future__ import annotations

import ast
import json
import os
import random
import resource
import sys
import time
from collections.abc import Iterator
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from types import ModuleType

SOURCE = Path(__file__).parent.parent / "src" / "claimlab"
COVERS = {
    "theory/evidence.py": ["test_evidence.py"],
    "theory/exact_comparisons.py": ["test_exact_comparisons.py"],
    "estimates.py": ["test_estimates.py"],
}
PATIENCE = 90
LEFT_OUT = (
    "not false_verdicts and not over_all_laws"  # statistics of whole laws, which cost more than all others together
)
SWAPS: dict[type, list[type]] = {
    ast.Lt: [ast.LtE, ast.GtE], ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.LtE], ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div],
    ast.Div: [ast.Mult], ast.Pow: [ast.Mult], ast.FloorDiv: [ast.Mult], ast.And: [ast.Or], ast.Or: [ast.And],
    ast.BitAnd: [ast.BitOr], ast.BitOr: [ast.BitAnd],
}  # fmt: skip
CALLS = {"max": "min", "min": "max", "any": "all", "all": "any", "argmax": "argmin", "argmin": "argmax"}
CALLS |= {"maximum": "minimum", "minimum": "maximum", "floor": "ceil", "ceil": "floor"}


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """Of a module, what computes: no annotations, no docstrings, no texts of messages."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, (ast.JoinedStr, ast.Raise, ast.ImportFrom)):
                yield child
                yield from _parts(child)


def _options(node: ast.AST) -> list[tuple[str, object]]:
    """The changes of one node, as (field, new value)."""
    match node:
        case ast.Compare(ops=ops):
            return [
                ("ops", [*ops[:k], other(), *ops[k + 1 :]])
                for k, op in enumerate(ops)
                for other in SWAPS.get(type(op), [])
            ]
        case ast.BinOp(op=op) | ast.BoolOp(op=op) | ast.AugAssign(op=op) if type(op) in SWAPS:
            return [("op", other()) for other in SWAPS[type(op)]]
        case ast.UnaryOp(op=ast.USub()):
            return [("op", ast.UAdd())]
        case ast.UnaryOp(op=ast.Not()):
            return [("operand", ast.UnaryOp(ast.Not(), node.operand))]
        case ast.Constant(value=bool(value)):
            return [("value", not value)]
        case ast.Constant(value=int(value)):
            return [("value", value + 1)]
        case ast.Constant(value=float(value)):
            return [("value", 2 * value or 1.0)]
        case ast.Name(id=name) if name in CALLS and isinstance(node.ctx, ast.Load):
            return [("id", CALLS[name])]
        case ast.Attribute(attr=name) if name in CALLS:
            return [("attr", CALLS[name])]
    return []


def mutants(source: str) -> Iterator[tuple[int, str, str, ast.Module]]:
    """Line, expression before and after, and the tree of each mutant."""
    tree = ast.parse(source)
    for i, node in enumerate(_parts(tree)):
        for j, (field, _) in enumerate(_options(node)):
            other = deepcopy(tree)
            changed = list(_parts(other))[i]
            before = ast.unparse(changed)
            setattr(changed, field, _options(changed)[j][1])
            yield getattr(node, "lineno", 0), before, ast.unparse(changed), ast.fix_missing_locations(other)


def _replace(name: str, tree: ast.Module) -> None:
    """Run the mutant in the module's place, and put its names where other modules have imported them."""
    module = sys.modules[name]
    before = {id(value): key for key, value in vars(module).items() if not key.startswith("__")}
    kept = list(vars(module).values())  # so that no id is used twice
    exec(compile(tree, str(module.__file__), "exec"), vars(module))
    for other in [m for n, m in sys.modules.items() if n.startswith("claimlab.") and m is not module]:
        for key, value in list(vars(other).items()):
            if id(value) in before and not isinstance(value, ModuleType | int | float | str):
                setattr(other, key, getattr(module, before[id(value)]))
    del kept


def survives(module: str, tree: ast.Module | None) -> bool:
    """Whether all tests of the module pass on a mutant, or on the module itself, in a child of this process."""
    child = os.fork()
    if child == 0:
        import pytest

        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, PATIENCE))  # which ends the process
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1), os.dup2(sink, 2)
        if tree is not None:
            _replace("claimlab." + module.removesuffix(".py").replace("/", "."), tree)
        tests = [str(Path(__file__).parent / name) for name in COVERS[module]]
        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-k", LEFT_OUT, *tests])))
    return os.waitpid(child, 0)[1] == 0


def main(out: str, seconds: str = "900", seed: str = "0") -> None:
    os.environ["NUMBA_DISABLE_JIT"] = "1"
    for heavy in (
        "hypothesis",
        "pytest",
        "scipy.stats",
        "statsmodels.stats.multitest",
        "claimlab",
        "claimlab.experiments",
    ):
        import_module(heavy)  # once, for all children
    for name in COVERS:
        import_module("claimlab." + name.removesuffix(".py").replace("/", "."))
    drawn = [(name, mutant) for name in COVERS for mutant in mutants((SOURCE / name).read_text())]
    population = {name: sum(module == name for module, _ in drawn) for name in COVERS}
    random.Random(int(seed)).shuffle(drawn)
    sound: dict[str, bool] = {}
    rows: list[dict[str, object]] = []
    end = time.monotonic() + float(seconds)
    for module, (line, before, after, tree) in drawn:
        if time.monotonic() > end:
            break
        if module not in sound:
            sound[module] = survives(module, None)  # a test that fails anyway would kill every mutant
        if sound[module]:
            lived = survives(module, tree)
            rows.append({"module": module, "line": line, "before": before, "after": after, "survived": lived})
            if lived:
                print(rows[-1], flush=True)
            unsound = [name for name in sound if not sound[name]]
            record = {"seed": int(seed), "mutants": population, "unsound": unsound, "rows": rows}
            Path(out).write_text(json.dumps(record, indent=1) + "\n")
    print(len(rows), "mutants,", sum(not row["survived"] for row in rows), "killed")


if __name__ == "__main__":
    main(*sys.argv[1:])
