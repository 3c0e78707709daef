"""Stored results: read back as written, never half, never for another key."""

import json
from dataclasses import replace
from errno import ENOSPC
from multiprocessing import get_context

import pytest

from claimlab.experiments import atomic
from claimlab.experiments.store import Damaged, Key, Result, Store
from claimlab.theory.claims import SMOKE
from claimlab.theory.evidence import Identity, to_json

KEY = Key("sample/square", "check", SMOKE, "abc")
RESULT = Result(to_json(Identity(0.25, 0.5, 7, "float", {"x": [1, 2]})), None, 1.5, {"python": "3"})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def test_what_is_put_is_got(store):
    assert store.get(KEY) is None
    store.put(KEY, RESULT)
    assert store.get(KEY) == RESULT
    assert store.get(KEY).read() == Identity(0.25, 0.5, 7, "float", {"x": [1, 2]})
    assert [path.name for path in store.folder.iterdir()] == [f"{KEY.name}.json"]


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, claim="sample/norms"),
        replace(KEY, role="control"),
        replace(KEY, code="abd"),
        *(
            replace(KEY, budget=replace(SMOKE, **change))
            for change in ({"name": "full"}, {"seed": 1}, {"instances": 301}, {"runs": 1})
        ),
    ],
)
def test_a_key_holds_all_that_a_result_depends_on(store, other):
    store.put(KEY, RESULT)
    assert store.get(other) is None


def corrupt(old, new):
    return lambda path: path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (corrupt('"residual": 0.25', '"residual": 0.75'), "fails its checksum"),
        (corrupt('"seconds": 1.5', '"seconds": 2.5'), "fails its checksum"),
        (corrupt('"role": "check"', '"role": "control"'), "fails its checksum"),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "cannot be read"),
        (lambda path: path.write_text("[]"), "cannot be read"),
        (lambda path: path.write_text("{}"), "cannot be read"),
    ],
)
def test_a_damaged_file_is_named(store, damage, message):
    store.put(KEY, RESULT)
    path = store.path(KEY)
    damage(path)
    with pytest.raises(Damaged, match=message) as raised:
        store.get(KEY)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_renamed_file_is_not_taken_for_another_result(store):
    store.put(KEY, RESULT)
    other = replace(KEY, role="control")
    store.path(KEY).rename(store.path(other))
    with pytest.raises(Damaged, match="holds the result of sample/square, check"):
        store.get(other)


def test_strict_json_only(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "x.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x"
    atomic.write(path, b"old")

    def full(descriptor):
        raise OSError(ENOSPC, "disk full")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match=f"disk full: {str(path)!r}"):
        atomic.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def scribble(path, letter):
    for _ in range(60):
        atomic.write(path, letter * 100_000)


def test_readers_see_whole_files_while_writers_compete(tmp_path):
    path, context = tmp_path / "x", get_context("fork")
    atomic.write(path, b"a" * 100_000)
    writers = [context.Process(target=scribble, args=(path, letter)) for letter in (b"a", b"b")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        content = path.read_bytes()
        assert content in (b"a" * 100_000, b"b" * 100_000)
    assert [writer.exitcode for writer in writers] == [0, 0]


def test_a_stored_file_is_plain_json(store):
    store.put(KEY, RESULT)
    record = json.loads(store.path(KEY).read_text())
    assert set(record) == {"key", "result", "checksum"}
    assert record["key"]["budget"]["seed"] == 0
