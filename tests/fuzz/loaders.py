"""Fuzzing of all that reads files and names: anything but an object or the one clear error is a bug.

By hand, in an environment with atheris (``pip install atheris``), not in CI::

    python -m tests.fuzz.loaders TARGET FOLDER [options of libFuzzer, such as -max_total_time=300]

TARGET is one of `TARGETS`, or "all", whose first byte chooses among those without torch.  FOLDER keeps the corpus,
which starts with valid files.  Where a checksum guards the content, the input is what comes under it, so that the
fuzzer gets past.  Texts in JSON are changed as such, so that most inputs can be read.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["claimlab"]):
    from claimlab import mdps
    from claimlab.experiments import catalogue, ledger
    from claimlab.experiments.benchmarks import document
    from claimlab.experiments.errors import WrongUsage
    from claimlab.experiments.store import Damaged, Key, Result, Store, sha256
    from claimlab.mdps import storage
    from claimlab.theory import evidence
    from claimlab.theory.claims import SMOKE

HERE = Path(tempfile.mkdtemp())
FILE = HERE / "file"
RECORDS = Path(catalogue.__file__).parent / "records"


def _written(data: bytes) -> Path:
    FILE.write_bytes(data)
    return FILE


def read_ledger(data: bytes) -> None:
    with suppress(WrongUsage):
        ledger.read(_written(data))


def read_race(data: bytes) -> None:
    with suppress(WrongUsage):
        document.read(_written(data))


def read_mdp(data: bytes) -> None:
    with suppress(ValueError):
        mdps.load(_written(data))


def read_array(data: bytes) -> None:
    """An archive, one array of which is the input: it is read before the checksum is compared."""
    with zipfile.ZipFile(FILE, "w") as archive:
        for name, content in _members().items():
            archive.writestr(f"{name}.npy", data if name == "r" else content)
    with suppress(ValueError):
        mdps.load(FILE)


@cache
def _members() -> dict[str, bytes]:
    return storage._members(_mdp())


def read_evidence(data: bytes) -> None:
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return
    with suppress(ValueError, TypeError):
        found = evidence.from_json(record)
        found.rule(0.05)
        evidence.judge({"it": found})
        evidence.to_json(found)


def read_result(data: bytes) -> None:
    store, key = Store(HERE), Key("a/b", "check", SMOKE, "code")
    path = store.path(key)
    try:
        body = {"key": asdict(key), "result": json.loads(data)}
        path.write_text(json.dumps(body | {"checksum": sha256(body)}))
    except (ValueError, RecursionError):
        path.write_bytes(data)
    with suppress(Damaged):
        store.get(key)


def read_state(data: bytes) -> None:
    (HERE / "state.safetensors").write_bytes(data)
    with suppress(ValueError):
        _trained()(HERE)


def read_words(data: bytes) -> None:
    """The words before the tensors are the input, and their length is right."""
    state = _state()
    read_state(len(data).to_bytes(8, "little") + data + state[8 + len(_words(state)) :])


def _words(state: bytes) -> bytes:
    return state[8 : 8 + int.from_bytes(state[:8], "little")]


@cache
def _trained() -> Callable[[Path], Any]:
    """What `reinforce` does with a folder, without the steps."""
    import pandas as pd
    import torch

    with atheris.instrument_imports(include=["claimlab"]):
        from claimlab.experiments.lm import surrogates, tasks, train, vocabulary

    model, names = train.imitate(tasks.modes(2), width=8, steps=1, size=2), vocabulary.roles(surrogates.reinforce)
    parts = {name: deepcopy(model) for name in names}
    optimiser = torch.optim.AdamW(model.parameters(), 0.1)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimiser.step()
    states = {name: of.state_dict() for name, of in parts.items()}
    train.keep(HERE, "run", states | {"moments": train.moments(optimiser)}, [{"step": 0}])

    def go_on(folder: Path) -> None:
        rows, states = train.restored(folder, "run", model, names)
        for name, of in parts.items():
            of.load_state_dict(states[name])
        train.set_moments(optimiser, states["moments"])
        pd.DataFrame([*rows, {"step": rows[-1]["step"] + 1}])

    return go_on


def select_names(data: bytes) -> None:
    name = data.decode("utf-8", "surrogateescape")
    if name.endswith(".py"):
        return  # a file of claims is code: it is run where it is named
    with suppress(WrongUsage):
        catalogue.select([name])


def file_names(data: bytes) -> None:
    words = data.decode("utf-8", "replace").split("\n", 2)
    if len(words) == 3:
        name = Key(words[0], words[1], SMOKE, words[2]).name
        assert Path(name).name == name, name
        assert name not in (".", ".."), name
        assert len(name.encode()) < 250, name


def _small_ledger() -> bytes:
    record = json.loads((RECORDS / "ledger-standard.json").read_bytes())
    record["claims"] = record["claims"][:2]
    record["papers"] = record["papers"][:1]
    return json.dumps(record).encode()


def _mdp() -> bytes:
    mdps.save(mdps.TabularMDP([[[0.5, 0.5]] * 2] * 2, [[1.0, 0.0]] * 2, 0.9), FILE)
    return FILE.read_bytes()


@cache
def _state() -> bytes:
    _trained()
    return (HERE / "state.safetensors").read_bytes()


FOUND = evidence.probability(3, 100, 0.1, {"seed": 7})
TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], bytes]]] = {
    "ledger": (read_ledger, _small_ledger),
    "race": (read_race, lambda: (RECORDS / "bench-episodes.json").read_bytes()),
    "mdp": (read_mdp, _mdp),
    "array": (read_array, lambda: _members()["r"]),
    "evidence": (read_evidence, lambda: json.dumps(evidence.to_json(FOUND)).encode()),
    "result": (read_result, lambda: json.dumps(asdict(Result(evidence.to_json(FOUND), None, 1.0, {}))).encode()),
    "state": (read_state, _state),
    "words": (read_words, lambda: _words(_state())),
    "select": (select_names, lambda: b"policy-cliff/*"),
    "names": (file_names, lambda: b"paper/claim\ncheck\ncode"),
}


TOGETHER = [name for name in TARGETS if name not in ("state", "words")]  # which load torch


IN_JSON = ("ledger", "race", "evidence", "result", "words")
ODD = [None, True, False, 0, -1, 2**63, 10**400, 0.5, 1e308, float("nan"), float("inf"), "", "x", "\ud800", "1", [], {}]


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield node, key
        yield from _places(node[key])


def changed(data: bytes, most: int, seed: int) -> bytes:
    """Another text in JSON: with an odd value, a part gone, or one in another's place; now and then any bytes."""
    draw = random.Random(seed)
    try:
        root = {"": json.loads(data)}
    except (ValueError, RecursionError):
        return bytes(atheris.Mutate(data, most))
    if draw.random() < 0.1:
        return bytes(atheris.Mutate(data, most))
    for _ in range(draw.choice([1, 1, 2, 4])):
        places = list(_places(root))
        (of, key), (other, there) = draw.choice(places), draw.choice(places)
        of[key] = deepcopy(draw.choice([draw.choice(ODD), other[there]]))
        if draw.random() < 0.3 and of is not root:
            del of[key]
    return json.dumps(root[""]).encode()[:most]


def read_any(data: bytes) -> None:
    if data:
        TARGETS[TOGETHER[data[0] % len(TOGETHER)]][0](data[1:])


def main() -> None:
    name, corpus = sys.argv[1], Path(sys.argv[2])
    corpus.mkdir(parents=True, exist_ok=True)
    names = TOGETHER if name == "all" else [name]
    for i, each in enumerate(names):
        valid = TARGETS[each][1]()
        TARGETS[each][0](valid)
        (corpus / each).write_bytes(bytes([i]) + valid if name == "all" else valid)
    how = {"custom_mutator": changed} if name in IN_JSON else {}
    atheris.Setup([sys.argv[0], str(corpus), *sys.argv[3:]], read_any if name == "all" else TARGETS[name][0], **how)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
