"""What compiled code is made from, as a hash: so that code kept on disk is never served after an edit."""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

INSTALLED = tuple({os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")})


def fingerprint(cls: type) -> str:
    """Hash of the methods of `cls` and of all that they reach by name, as far as the user may edit it.

    Followed are functions and compiled functions, by name or through a module, and constants; not those of installed
    packages, nor of this one, whose sources :func:`claimlab.native.source_hash` covers.
    """
    digest, seen = hashlib.sha256(), set[int]()
    for base in cls.__mro__:
        for name, value in sorted(vars(base).items()):
            if name.startswith("__"):
                continue  # made by dataclass, with addresses in it
            for part in _parts(value, seen):
                digest.update(f"{name}:".encode() + part)
    return digest.hexdigest()[:16]


def _parts(value: Any, seen: set[int]) -> Iterator[bytes]:
    function = getattr(value, "py_func", value)  # of a compiled function
    if isinstance(function, FunctionType):
        if id(function) not in seen and _editable(function.__module__):
            seen.add(id(function))
            yield from _code(function.__code__)
            for reached in _reached(function):
                yield from _parts(reached, seen)
    elif isinstance(value, np.ndarray):
        yield value.tobytes() + str((value.shape, value.dtype)).encode()
    elif isinstance(value, (bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset, np.generic)):
        yield repr(value).encode()


def _code(code: CodeType) -> Iterator[bytes]:
    yield code.co_code + repr((code.co_names, code.co_varnames)).encode()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)
        else:
            yield repr(constant).encode()


def _reached(function: FunctionType) -> Iterator[Any]:
    """What the function's names stand for: globals, attributes of modules, closed-over variables."""
    names = list(_names(function.__code__))
    for name in names:
        value = function.__globals__.get(name)
        yield value
        if isinstance(value, ModuleType) and _editable(value.__name__):
            yield from (getattr(value, attribute, None) for attribute in names)
    for cell in function.__closure__ or ():
        yield cell.cell_contents


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _editable(module: str) -> bool:
    """Whether the module belongs to the user: it is neither ours nor installed."""
    if module.split(".")[0] == "claimlab":
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is None or not os.path.realpath(file).startswith(INSTALLED)
