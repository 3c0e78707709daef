r"""MDPs as files, which can be read without trust.

A file is an uncompressed ``.npz``: one ``.npy`` a field and a `header`, JSON with the format, its version, the class
and a SHA-256 checksum of names, types, shapes and bytes of the fields.  :func:`load` parses it itself instead of
calling `numpy.load`: it never unpickles, takes the expected types only, and makes no array whose size is not that of
the bytes that are there.  It gives back every bit that :func:`save` was given, or raises a ValueError.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.lib import format as npy
from scipy.sparse import csr_array

from claimlab.mdps.tabular import AverageMDP, EpisodicMDP, FiniteMDP, TabularMDP

FORMAT, VERSION = "claimlab-mdp", 1
CLASSES: dict[str, tuple[type[FiniteMDP], str | None]] = {
    "TabularMDP": (TabularMDP, "gamma"),
    "EpisodicMDP": (EpisodicMDP, "horizon"),
    "AverageMDP": (AverageMDP, None),
}
Kind = tuple[str, int]  # dtypes that a field may have, ndim
SHARED: dict[str, Kind] = {"r": ("<f8", 2), "actions": ("|b1", 2), "terminal": ("|b1", 1), "initial": ("<f8", 1)}
DENSE: dict[str, Kind] = {"P": ("<f8", 3)}
SPARSE: dict[str, Kind] = {"P.data": ("<f8", 1), "P.indices": ("<i4 <i8", 1), "P.indptr": ("<i4 <i8", 1)}
SCALARS: dict[str, Kind] = {"gamma": ("<f8", 0), "horizon": ("<i8", 0)}

Fields = dict[str, np.ndarray[Any, Any]]


def save(mdp: FiniteMDP, path: str | os.PathLike[str]) -> None:
    """Write `mdp` to `path`; the file appears whole or not at all, and replaces what was there."""
    name = type(mdp).__name__
    if CLASSES.get(name, (None,))[0] is not type(mdp):
        raise TypeError(f"mdp must be one of {', '.join(CLASSES)}, got {name}.")
    fields = _fields(mdp)
    header = {"format": FORMAT, "version": VERSION, "class": name, "sha256": _checksum(name, fields)}
    parts = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8), **fields}
    target = Path(path)
    aside = target.with_name(f".{target.name}.{uuid4().hex}.tmp")
    try:
        with open(aside, "xb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for part, array in parts.items():
                    with archive.open(f"{part}.npy", "w", force_zip64=True) as member:
                        npy.write_array(member, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())  # else a crash may leave the new name with the old bytes
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> FiniteMDP:
    """The MDP that :func:`save` wrote to `path`; for any other file a ValueError naming `path` and what is wrong."""
    raw = Path(path).read_bytes()
    try:
        return _parse(raw)
    except Exception as error:  # parsers fail in many ways on foreign bytes, and all of them mean this
        raise ValueError(f"{os.fspath(path)} is not an intact MDP file: {error}") from None


def _fields(mdp: FiniteMDP) -> Fields:
    fields: Fields = {name: getattr(mdp, name) for name in SHARED}
    if mdp.is_sparse:
        fields |= {name: getattr(mdp.P, name.removeprefix("P.")) for name in SPARSE}
    else:
        fields["P"] = mdp.P
    extra = CLASSES[type(mdp).__name__][1]
    if extra is not None:
        fields[extra] = np.asarray(getattr(mdp, extra))
    return {name: value.astype(value.dtype.newbyteorder("<"), order="C") for name, value in fields.items()}


def _checksum(class_name: str, fields: Fields) -> str:
    digest = hashlib.sha256(f"{FORMAT} {VERSION} {class_name}\n".encode())
    for name, array in sorted(fields.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _parse(raw: bytes) -> FiniteMDP:
    members = _members(raw)
    header = _header(members.pop("header", None))
    cls, extra = CLASSES[header["class"]]
    kinds = {**SHARED, **(SPARSE if "P.data" in members else DENSE)}
    if extra is not None:
        kinds[extra] = SCALARS[extra]
    if set(members) != set(kinds):
        raise ValueError(f"it holds {sorted(members)}, a {header['class']} has {sorted(kinds)}.")
    fields = {name: _array(name, members[name], *kinds[name]) for name in kinds}
    if _checksum(header["class"], fields) != header.get("sha256"):
        raise ValueError("its checksum does not fit its contents.")
    arguments: dict[str, Any] = {name: fields[name] for name in SHARED}
    arguments["P"] = fields["P"] if "P" in fields else _csr(fields)
    if extra is not None:
        arguments[extra] = fields[extra].item()
    return cls(**arguments)


def _members(raw: bytes) -> dict[str, bytes]:
    """The members of the archive by name, whose sizes add up to no more than the file's."""
    with zipfile.ZipFile(BytesIO(raw)) as archive:
        infos = archive.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise ValueError("its members are compressed, which this format does not do.")
        if sum(info.file_size for info in infos) > len(raw):
            raise ValueError("its members claim more bytes than the file has.")
        return {info.filename.removesuffix(".npy"): archive.read(info) for info in infos}


def _header(raw: bytes | None) -> dict[str, Any]:
    if raw is None:
        raise ValueError(f"it has no header: a .npz of something else than a {FORMAT}.")
    try:
        header = json.loads(_array("header", raw, "|u1", 1).tobytes())
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("its header is not JSON.") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}.")
    if header.get("version") != VERSION:
        raise ValueError(f"its version is {header.get('version')!r}; this release reads version {VERSION}.")
    if header.get("class") not in list(CLASSES):
        raise ValueError(f"its class is {header.get('class')!r}, not one of {', '.join(CLASSES)}.")
    return header


def _array(name: str, raw: bytes, dtypes: str, ndim: int) -> np.ndarray[Any, Any]:
    """The array of a ``.npy``, of the expected type, in C order, and of exactly the bytes that follow its header."""
    stream = BytesIO(raw)
    version = npy.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"{name}.npy is of .npy version {version}, not (1, 0).")
    shape, fortran, found = npy.read_array_header_1_0(stream)
    data = raw[stream.tell() :]
    size = int(np.prod([int(n) for n in shape], dtype=object))  # exact, however large the claim
    if found.str not in dtypes.split() or fortran or len(shape) != ndim or min(shape, default=0) < 0:
        raise ValueError(f"{name}.npy holds {found.str} of shape {shape}, not {dtypes} with {ndim} axes in C order.")
    if size * found.itemsize != len(data):
        raise ValueError(f"{name}.npy claims shape {shape} but holds {len(data)} bytes.")
    array: np.ndarray[Any, Any] = np.frombuffer(data, found).reshape(shape)
    return array


def _csr(fields: Fields) -> csr_array:
    S, A = fields["r"].shape
    return csr_array((fields["P.data"], fields["P.indices"], fields["P.indptr"]), shape=(S * A, S))
