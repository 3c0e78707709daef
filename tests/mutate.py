"""How many small changes of the code that decides or solves do the tests notice?  Run by hand, not by CI.

``python -m tests.mutate GROUP OUT.json [seconds] [seed]`` draws mutants of the modules of a group of `COVERS` at
random, one change of an operator, a comparison, a constant or a call each, in turn from each module, and runs the tests
of the module on each, interpreted, in a process of its own that imports the mutant in its place; no file is changed.
A mutant is killed if a test fails, or timed out if the tests take more than `PATIENCE` CPU seconds.

``python -m tests.mutate again RECORD.json OUT.json`` runs those that survived again, once tests have been written.
"""

from __future__ import annotations

import ast
import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.machinery import SourceFileLoader
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, settings

SOURCE = Path(__file__).parent.parent / "src" / "claimlab"
COVERS = {
    "deciding": {
        "theory/evidence.py": ["test_evidence.py"],
        "theory/exact_comparisons.py": ["test_exact_comparisons.py"],
        "estimates.py": ["test_estimates.py"],
    },
    "solvers": {  # but the batched ones, which are vectors of the processor and not to be had in the interpreter
        "mdps/tabular.py": ["test_tabular.py", "test_certificates.py"],
        "mdps/certificates.py": ["test_certificates.py"],
        "mdps/planning.py": ["test_planning.py"],
        "mdps/sweeps.py": ["test_sweeps.py"],
        "mdps/kernels.py": ["test_sweeps.py"],
        "mdps/average.py": ["test_average.py"],
        "mdps/exact.py": ["test_exact.py"],
        "mdps/robust.py": ["test_robust.py"],
        "mdps/games.py": ["test_games.py"],
        "mdps/regularized.py": ["test_regularized.py"],
    },
}
PATIENCE = 30
LEFT_OUT = (  # what costs more than all others together: statistics of whole laws, large problems, compilers
    "not false_verdicts and not over_all_laws and not in_the_interpreter and not large and not slow and not threads"
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
        case ast.Call(func=ast.Name(id=name)) if name in CALLS:
            return [("func", ast.Name(CALLS[name], ast.Load()))]
        case ast.Attribute(attr=name) if name in CALLS:
            return [("attr", CALLS[name])]
    return []


class Mutant(NamedTuple):
    line: int
    column: int
    before: str
    after: str
    tree: ast.Module


def changes(source: str) -> list[tuple[int, int]]:
    """All changes of a module, as the number of the node and that of its option."""
    return [(i, j) for i, node in enumerate(_parts(ast.parse(source))) for j in range(len(_options(node)))]


def mutant(source: str, i: int, j: int) -> Mutant:
    tree = ast.parse(source)
    node = list(_parts(tree))[i]
    before = ast.unparse(node)
    setattr(node, *_options(node)[j])
    return Mutant(node.lineno, node.col_offset, before, ast.unparse(node), ast.fix_missing_locations(tree))  # type: ignore[attr-defined]


def _import_instead(name: str, tree: ast.Module) -> None:
    """Forget this package; its module `name` will then be the mutant to all that import it."""
    for other in [n for n in sys.modules if n.split(".")[0] == "claimlab"]:
        del sys.modules[other]
    given = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str) -> Any:
        return compile(tree, self.path, "exec") if fullname == name else given(self, fullname)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign]


def outcome(module: str, tests: list[str], tree: ast.Module) -> str:
    """Of the tests of a module with `tree` in its place, in a child of this process."""
    child = os.fork()
    if child == 0:
        import pytest

        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, PATIENCE + 5))  # which ends the process
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1), os.dup2(sink, 2)
        _import_instead("claimlab." + module.removesuffix(".py").replace("/", "."), tree)
        paths = [str(Path(__file__).parent / name) for name in tests]
        quick = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=mutants", "-k", LEFT_OUT]
        for warning in ("overflow", "invalid value encountered in scalar"):  # of kernels, in the interpreter only
            quick += ["-W", f"ignore:{warning}"]
        quick += ["--assert=plain"]  # pytest would else import this package, which has a plugin, by its own loader
        os._exit(int(pytest.main([*quick, *paths])))
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return "timed out" if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL) else "killed"
    return "killed" if os.WEXITSTATUS(status) else "survived"


def _prepare() -> None:
    os.environ["NUMBA_DISABLE_JIT"] = "1"
    settings.register_profile(
        "mutants",
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        derandomize=True,
        database=None,
        max_examples=30,
        phases=[Phase.explicit, Phase.generate],  # that a mutant fails is enough
        report_multiple_bugs=False,
    )
    for heavy in ("pytest", "scipy.stats", "statsmodels.stats.multitest", "claimlab", "claimlab.experiments"):
        import_module(heavy)  # once, for all children


def main(group: str, out: str, seconds: str = "900", seed: str = "0") -> None:
    _prepare()
    from claimlab.experiments.environment import environment

    covers, draw = COVERS[group], random.Random(int(seed))
    sources = {name: (SOURCE / name).read_text() for name in covers}
    population = {name: changes(source) for name, source in sources.items()}
    for every in population.values():
        draw.shuffle(every)
    in_turn = [(name, x) for row in zip_longest(*population.values()) for name, x in zip(covers, row) if x]
    sound: dict[str, str] = {}
    rows: list[dict[str, object]] = []
    record = {"group": group, "environment": environment(), "seed": int(seed), "patience": PATIENCE}
    record |= {"mutants": {name: len(every) for name, every in population.items()}, "rows": rows}
    end = time.monotonic() + float(seconds)
    for module, change in in_turn:
        if time.monotonic() > end:
            break
        if module not in sound:  # a test that fails anyway would kill every mutant
            sound[module] = outcome(module, covers[module], ast.parse(sources[module]))
            print(module, len(population[module]), "changes; unchanged:", sound[module], flush=True)
        if sound[module] == "survived":
            *what, tree = mutant(sources[module], *change)
            found = outcome(module, covers[module], tree)
            rows.append({"module": module, **dict(zip(Mutant._fields, what)), "outcome": found})
            print(*rows[-1].values(), sep=" | ", flush=True)
            record["unsound"] = [name for name in sound if sound[name] != "survived"]
            record["cpu_seconds"] = round(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]))
            Path(out).write_text(json.dumps(record, indent=1) + "\n")


def again(given: str, out: str) -> None:
    """The survivors of a record."""
    _prepare()
    record = json.loads(Path(given).read_text())
    for row in record["rows"]:
        if row.get("again", row["outcome"]) == "survived":
            row["again"] = again_one(row, record["group"])
            print(*row.values(), sep=" | ", flush=True)
        Path(out).write_text(json.dumps(record, indent=1) + "\n")


def again_one(row: dict[str, Any], group: str) -> str:
    """The outcome of a mutant of a record, which is found by what it changes, wherever that now stands."""
    name, source = row["module"], (SOURCE / row["module"]).read_text()
    every = (mutant(source, *change) for change in changes(source))
    same = [x for x in every if (x.before, x.after) == (row["before"], row["after"])]
    nearest = min(same, key=lambda x: (abs(x.line - row["line"]), abs(x.column - row["column"])))
    return outcome(name, COVERS[group][name], nearest.tree)


if __name__ == "__main__":
    again(*sys.argv[2:]) if sys.argv[1] == "again" else main(*sys.argv[1:])
