"""Files of MDPs: every bit comes back, and no other file gets in."""

import io
import json
import os
import pickle
import random
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy
from scipy.sparse import csr_array

from claimlab.mdps import AverageMDP, EpisodicMDP, TabularMDP, deep_sea, garnet, load, river_swim, save, storage
from claimlab.mdps.convert import long_run, time_limited
from claimlab.theory.strategies import tabular_mdps

FIELDS = ("r", "actions", "terminal", "initial")


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def identical(one, two):
    """Same class and the same bits in every field."""
    assert type(one) is type(two)
    assert one.is_sparse == two.is_sparse
    parts = ("data", "indices", "indptr") if one.is_sparse else ()
    pairs = [(getattr(one.P, p), getattr(two.P, p)) for p in parts] or [(one.P, two.P)]
    pairs += [(getattr(one, name), getattr(two, name)) for name in FIELDS]
    assert all(same_bits(a, b) for a, b in pairs)
    for extra in ("gamma", "horizon"):
        assert getattr(one, extra, None) == getattr(two, extra, None)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example writes the file anew
@given(tabular_mdps(masked=True, terminal=True), st.integers(1, 2**62))
def test_round_trip(tmp_path, mdp, horizon):
    for given_mdp in (mdp, time_limited(mdp, horizon), long_run(mdp)):
        save(given_mdp, tmp_path / "mdp.npz")
        identical(load(tmp_path / "mdp.npz"), given_mdp)


def test_round_trip_of_larger_ones(tmp_path):
    for k, mdp in enumerate(
        (garnet(300, 3, 5, 0.99, np.random.default_rng(0), sparse=True), deep_sea(8, sparse=False))
    ):
        save(mdp, tmp_path / str(k))
        identical(load(tmp_path / str(k)), mdp)


def test_what_is_loaded_cannot_be_changed(tmp_path):
    save(river_swim(4, 0.9), tmp_path / "mdp")
    mdp = load(str(tmp_path / "mdp"))
    for array in (mdp.P, mdp.r, mdp.initial):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_numpy_reads_it_too(tmp_path):
    """The file is an ordinary .npz without pickles."""
    mdp = river_swim(4, 0.9)
    save(mdp, tmp_path / "mdp.npz")
    with np.load(tmp_path / "mdp.npz", allow_pickle=False) as file:
        assert (file["P"] == mdp.P).all()
        assert file["gamma"] == 0.9
        header = json.loads(file["header"].tobytes())
    assert (header["format"], header["version"], header["class"]) == ("claimlab-mdp", 1, "TabularMDP")


def test_saving_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "mdp.npz"
    for gamma in (0.5, 0.9):
        save(river_swim(4, gamma), path)
    assert load(path).gamma == 0.9
    assert os.listdir(tmp_path) == ["mdp.npz"]


def test_failing_to_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "mdp.npz"
    save(river_swim(4, 0.5), path)

    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(npy, "write_array", full)
    with pytest.raises(OSError, match="no space left"):
        save(river_swim(4, 0.9), path)
    assert load(path).gamma == 0.5
    assert os.listdir(tmp_path) == ["mdp.npz"]


def test_same_mdp_same_bytes(tmp_path):
    for name in "ab":
        save(river_swim(4, 0.9), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_only_mdps_are_saved(tmp_path):
    class Own(TabularMDP):
        pass

    for thing in (3, Own([[[1.0]]], [[0.0]], 0.5)):
        with pytest.raises(TypeError, match=r"mdp must be one of TabularMDP, EpisodicMDP, AverageMDP, got (int|Own)"):
            save(thing, tmp_path / "mdp")
    assert os.listdir(tmp_path) == []


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")


# --- damage ----------------------------------------------------------------------------------------------------------


def refused(path, message=""):
    """Loading gives the one ValueError, which names the path."""
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} is not an intact MDP file: .*{message}") as caught:
        load(path)
    return str(caught.value)


def refused_or_same(path, mdp):
    """Whether loading gave the one ValueError; if it gave an MDP, that is `mdp` to the bit."""
    try:
        again = load(path)
    except ValueError:
        refused(path)
        return True
    identical(again, mdp)
    return False


MDPS = {
    "dense": river_swim(3, 0.9),
    "sparse": TabularMDP(csr_array(np.tile(np.eye(3), 2).reshape(6, 3)), np.arange(6.0).reshape(3, 2), 0.9),
    "episodic": EpisodicMDP([[[1.0]]], [[2.0]], 3),
    "average": AverageMDP([[[1.0]]], [[2.0]]),
}


@pytest.fixture(params=MDPS)
def saved(request, tmp_path):
    path = tmp_path / "mdp.npz"
    save(MDPS[request.param], path)
    return path, MDPS[request.param], path.read_bytes()


def test_truncated(saved):
    path, _, raw = saved
    for size in sorted({*range(0, len(raw), 97), 1, 4, 30, len(raw) // 2, *range(len(raw) - 23, len(raw))}):
        path.write_bytes(raw[:size])
        refused(path)


def test_flipped_bytes(saved):
    """A file with a wrong byte is refused, or (dates and the like in the archive's directory) still the same MDP."""
    path, mdp, raw = saved
    where, refusals = random.Random(0).sample(range(len(raw)), min(400, len(raw))), 0
    for k in where:
        damaged = bytearray(raw)
        damaged[k] ^= 1 << k % 8
        path.write_bytes(damaged)
        refusals += refused_or_same(path, mdp)
    assert refusals > len(where) / 2


def test_every_byte_of_the_numbers_counts(tmp_path):
    """Even with the archive's own CRC set right, so that the checksum alone stands against it."""
    path = tmp_path / "mdp.npz"
    save(MDPS["dense"], path)
    parts = members(path)
    for name in ("P", "r", "initial", "gamma", "actions", "terminal"):
        for position in {-1, -len(npy_data(parts[f"{name}.npy"]))}:
            damaged = bytearray(parts[f"{name}.npy"])
            damaged[position] ^= 1
            write(path, {**parts, f"{name}.npy": bytes(damaged)})
            refused(path, "its checksum does not fit its contents")


def test_garbage_in_every_shape(tmp_path):
    """Random bytes, alone, behind a zip's magic number, and within a good file: a ValueError and nothing else."""
    rng, path = random.Random(1), tmp_path / "mdp.npz"
    save(MDPS["sparse"], path)
    raw = path.read_bytes()
    for _ in range(300):
        noise = rng.randbytes(rng.randrange(1, 200))
        at = rng.randrange(len(raw))
        path.write_bytes(rng.choice([noise, b"PK\x03\x04" + noise, raw[:at] + noise + raw[at + len(noise) :]]))
        refused_or_same(path, MDPS["sparse"])


# --- foreign files ---------------------------------------------------------------------------------------------------


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, parts, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def as_npy(array):
    out = io.BytesIO()
    npy.write_array(out, np.asarray(array))
    return out.getvalue()


def npy_data(raw):
    return raw[10 + int.from_bytes(raw[8:10], "little") :]


def forged(path, header=None, **fields):
    """The dense MDP's file with other fields and header entries, and the checksum that fits them: a clever forgery."""
    save(MDPS["dense"], path)
    parts = members(path)
    arrays = {name.removesuffix(".npy"): npy.read_array(io.BytesIO(raw)) for name, raw in parts.items()}
    top = json.loads(arrays.pop("header").tobytes())
    arrays = {name: array for name, array in {**arrays, **fields}.items() if array is not None}
    top |= {"sha256": storage._checksum(top["class"], arrays), **(header or {})}
    top = np.frombuffer(json.dumps(top).encode(), np.uint8)
    write(path, {f"{name}.npy": as_npy(array) for name, array in {"header": top, **arrays}.items()})


class Bomb:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (Path(self.mark),)


def test_pickles_are_never_opened(tmp_path):
    """A pickle as the file, as a member, and as an object array in each field."""
    path, mark = tmp_path / "mdp.npz", tmp_path / "mark"
    bomb = Bomb(str(mark))
    path.write_bytes(pickle.dumps(bomb))
    refused(path, "not a zip file")
    save(MDPS["dense"], path)
    parts, objects = members(path), io.BytesIO()
    npy.write_array(objects, np.array([bomb], dtype=object), allow_pickle=True)
    for name in parts:
        for payload in (pickle.dumps(bomb), objects.getvalue()):
            write(path, {**parts, name: payload})
            refused(path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(bomb))
    assert mark.exists()  # the bomb was live


def test_foreign_files(tmp_path):
    path = tmp_path / "file"
    path.write_text("state,action\n0,1\n")
    refused(path, "not a zip file")
    path.write_bytes(b"")
    refused(path, "not a zip file")
    with open(path, "wb") as file:
        np.save(file, np.eye(3))
    refused(path, "not a zip file")
    with open(path, "wb") as file:
        np.savez(file, P=np.eye(3), r=np.zeros(3))
    refused(path, "it has no header: a .npz of something else")
    with open(path, "wb") as file:
        np.savez(file, header=np.zeros(3))
    refused(path, r"header.npy holds <f8 of shape \(3,\), not \|u1")
    with open(path, "wb") as file:
        np.savez(file, header=np.frombuffer(b"{]", np.uint8))
    refused(path, "its header is not JSON")
    with open(path, "wb") as file:
        np.savez(file, header=np.frombuffer(b"[" * 100_000, np.uint8))
    refused(path, "its header is not JSON")
    with open(path, "wb") as file:
        np.savez(file, header=np.frombuffer(b"[1]", np.uint8))
    refused(path, "its format is not claimlab-mdp")
    write(path, {"readme.txt": b"hello"})
    refused(path, "it has no header")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"version": 2}, "its version is 2; this release reads version 1"),
        ({"version": None}, "its version is None"),
        ({"format": "other"}, "its format is not claimlab-mdp"),
        ({"class": "LinearMDP"}, "its class is 'LinearMDP', not one of TabularMDP, EpisodicMDP, AverageMDP"),
        ({"class": ["TabularMDP"]}, r"its class is \['TabularMDP'\], not one of"),
        ({"class": "AverageMDP"}, "it holds .*'gamma'.*, a AverageMDP has"),
        ({"sha256": "0" * 64}, "its checksum does not fit its contents"),
        ({"sha256": None}, "its checksum does not fit its contents"),
    ],
)
def test_wrong_headers(tmp_path, header, message):
    forged(tmp_path / "mdp", header)
    refused(tmp_path / "mdp", message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"r": None}, "it holds .*, a TabularMDP has"),
        ({"extra": np.zeros(1)}, "it holds .*'extra'.*, a TabularMDP has"),
        ({"P": np.ones((3, 2, 3))}, r"P\[0, 0\] sums to 3, not to 1"),
        ({"r": np.full((3, 2), np.nan)}, r"r\[0, 0\] is nan"),
        ({"r": np.zeros((2, 2))}, "r must have shape"),
        ({"r": np.zeros(3)}, r"r.npy holds <f8 of shape \(3,\), not <f8 with 2 axes"),
        ({"r": np.zeros((3, 2), np.float32)}, "r.npy holds <f4"),
        ({"r": np.asfortranarray(np.ones((3, 2)))}, "r.npy holds <f8 .*not <f8 with 2 axes in C order"),
        ({"gamma": np.array(1.0)}, r"gamma must lie in \[0, 1\), got 1.0"),
        ({"gamma": np.array("0.5")}, "gamma.npy holds <U3"),
        ({"initial": np.array([1.0, 1, 1])}, "initial sums to 3, not to 1"),
    ],
    ids=str,
)
def test_forgeries_are_checked_like_any_mdp(tmp_path, fields, message):
    forged(tmp_path / "mdp", None, **fields)
    refused(tmp_path / "mdp", message)


def test_forged_indices_do_not_reach_compiled_code(tmp_path):
    r = np.zeros((3, 2))
    good = {"P.data": np.ones(6), "P.indices": np.zeros(6, np.int64), "P.indptr": np.arange(7), "P": None, "r": r}
    forged(tmp_path / "mdp", None, **good)
    assert load(tmp_path / "mdp").is_sparse
    for name, bad in (
        ("P.indices", np.full(6, 10**9)),
        ("P.indices", np.full(6, -1)),
        ("P.indptr", np.array([0, 1, 2, 3, 4, 5, 10**6])),
        ("P.indptr", np.array([0, 5, 2, 3, 4, 5, 6])),
        ("P.indptr", np.arange(3)),
        ("P.data", np.ones(2)),
    ):
        forged(tmp_path / "mdp", None, **{**good, name: bad})
        refused(tmp_path / "mdp")


def test_sizes_are_not_believed(tmp_path):
    """A .npy that claims 8 TB, or fewer or more numbers than its bytes hold; a zip bomb; a lying directory."""
    path = tmp_path / "mdp"
    save(MDPS["dense"], path)
    parts = members(path)
    for shape in ("(3, 1000000000000)", "(3, 1)", "(3, 3)", "(-3, -2)", "(3, 2.0)", "('3', 2)"):
        head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        raw = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + npy_data(parts["r.npy"])
        write(path, {**parts, "r.npy": raw})
        refused(path, "r.npy (claims shape|holds)|shape is not valid")
    write(path, parts, zipfile.ZIP_DEFLATED)
    refused(path, "its members are compressed")
    write(path, {**parts, "r.npy": b"\x93NUMPY\x02\x00" + parts["r.npy"][8:]})
    refused(path, r"r.npy is of .npy version \(2, 0\), not \(1, 0\)")
    write(path, parts)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02") + 20  # sizes of the first member in the directory
    raw[at : at + 8] = (2**31).to_bytes(4, "little") * 2
    path.write_bytes(raw)
    refused(path, "its members claim more bytes than the file has")
