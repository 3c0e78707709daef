"""Validation at the border: what a constructor calls so that kernels need not check anything."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, issparse

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Sparse: TypeAlias = Any  # a scipy csr_array, which has no type stubs

SUM_TOLERANCE = 1e-9  # how far a row of probabilities may sum from 1; solvers' certificates account for it


def numbers(name: str, value: ArrayLike) -> Array:
    """`value` as a new C-contiguous float64 array, whatever its shape and entries; text and complex are refused."""
    try:
        given = np.asarray(value)
        if given.dtype.kind not in "biufO":  # NumPy would read numbers out of text and drop imaginary parts
            raise TypeError(f"its type is {given.dtype}")
        return np.array(given, dtype=np.float64, order="C")
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be an array of real numbers: {str(error).rstrip('.')}.") from None


def ragless(name: str, value: ArrayLike) -> NDArray[Any]:
    """`value` as an array of whatever it holds; lists of unequal lengths are refused."""
    try:
        return np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be an array: its rows have different lengths.") from None


def array(name: str, value: ArrayLike, *, ndim: int) -> Array:
    """`value` as a read-only C-contiguous float64 array of `ndim` axes with finite entries.

    It is copied, unless it is such an array already and no view of another: who gives that away means to keep it so.
    """
    out = value if isinstance(value, np.ndarray) and _settled(value) else numbers(name, value)
    if out.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes, got shape {out.shape}.")
    if not (finite := np.isfinite(out)).all():
        bad = np.argwhere(~finite)
        raise ValueError(f"{name}{bad[0].tolist()} is {out[tuple(bad[0])]}; every entry must be finite.")
    out.flags.writeable = False
    return out


def _settled(x: Array) -> bool:
    return not x.flags.writeable and x.base is None and x.flags.c_contiguous and x.dtype == np.float64


def unit(name: str, value: ArrayLike, *, ndim: int) -> Array:
    """`value` as `array`, of numbers in [0, 1]."""
    out = array(name, value, ndim=ndim)
    bad = np.argwhere((out < 0) | (out > 1))
    if len(bad):
        raise ValueError(f"{name}{bad[0].tolist()} must lie in [0, 1], got {out[tuple(bad[0])]:.6g}.")
    return out


def shaped(name: str, value: ArrayLike, shape: tuple[int, ...], what: str) -> Array:
    """`value` as `array`, of exactly `shape`; `what` names that shape, as in "(S, A)"."""
    out = array(name, value, ndim=len(shape))
    if out.shape != shape:
        raise ValueError(f"{name} must have shape {what} = {shape}, got {out.shape}.")
    return out


def distributions(name: str, value: ArrayLike, *, ndim: int, atol: float = SUM_TOLERANCE) -> Array:
    """`value` as an array whose last axis holds probability vectors."""
    out = array(name, value, ndim=ndim)
    if out.shape[-1] == 0:
        raise ValueError(f"{name} has shape {out.shape}: a distribution needs at least one outcome.")
    if out.size and out.min() < 0:
        bad = np.argwhere(out < 0)
        raise ValueError(f"{name}{bad[0].tolist()} is {out[tuple(bad[0])]:.6g}; probabilities cannot be negative.")
    _sum_to_one(name, out.sum(axis=-1), atol)
    return out


def _sum_to_one(name: str, sums: Array, atol: float) -> None:
    bad = np.argwhere(abs(sums - 1) > atol)
    if len(bad):
        where = bad[0].tolist() if sums.ndim else ""
        raise ValueError(
            f"{name}{where} sums to {sums[tuple(bad[0])]:.12g}, not to 1 (tolerance {atol:g}; "
            f"{len(bad)} such rows). If that is rounding, pass {name} / {name}.sum(-1, keepdims=True)."
        )


def csr(name: str, value: Any) -> Sparse:
    """`value`, a scipy sparse matrix of real numbers, as a new float64 CSR array whose indices are within bounds."""
    if not issparse(value):
        raise ValueError(f"{name} must be a scipy sparse matrix, got {type(value).__name__}.")
    if value.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got {value.dtype}.")
    out = csr_array(value, dtype=np.float64, copy=True)
    try:
        out.check_format(full_check=True)  # compiled code trusts the indices
    except ValueError as error:
        raise ValueError(f"{name} is not a valid sparse matrix: {error}.") from None
    return out


def sparse_distributions(name: str, value: Any, n_actions: int, *, atol: float = SUM_TOLERANCE) -> Sparse:
    """`value`, a scipy sparse matrix with row ``s * A + a`` for each pair, as a CSR array of probability rows.

    Entries are copied, duplicates summed and explicit zeros dropped.  Messages name rows as ``[s, a]``.
    """
    out = csr(name, value)
    if n_actions < 1 or out.shape[0] != n_actions * out.shape[1]:
        raise ValueError(f"sparse {name} must have shape (S*A, S), row s*A + a; got {out.shape} with A = {n_actions}.")
    out.sum_duplicates()
    sparse_entries(name, out, n_actions, ~np.isfinite(out.data), "every entry must be finite")
    sparse_entries(name, out, n_actions, out.data < 0, "probabilities cannot be negative")
    out.eliminate_zeros()
    _sum_to_one(name, np.asarray(out.sum(axis=1)).reshape(-1, n_actions), atol)
    return out


def sparse_entries(name: str, P: Sparse, n_actions: int, bad: Bools, why: str) -> None:
    """Refuse `P`, of shape (S*A, S), if any of its stored entries is marked in `bad`."""
    if bad.any():
        k = int(np.argmax(bad))
        row = int(np.searchsorted(P.indptr, k, side="right")) - 1
        index = [row // n_actions, row % n_actions, int(P.indices[k])]
        raise ValueError(f"{name}{index} is {P.data[k]:.6g}; {why}.")


def indices(name: str, value: ArrayLike, shape: tuple[int, ...], what: str, size: int, *, least: int = 0) -> Ints:
    """`value` as a read-only int64 array of exactly `shape` with entries in `least` .. `size` - 1; 3.0 is taken."""
    given = numbers(name, value)
    if given.shape != shape:
        raise ValueError(f"{name} must have shape {what} = {shape}, got {given.shape}.")
    if not (good := (given >= least) & (given < size) & (given == np.floor(given))).all():
        bad = np.argwhere(~good)
        raise ValueError(
            f"{name}{bad[0].tolist()} is {given[tuple(bad[0])]:.6g}; entries must be whole numbers in "
            f"{least}..{size - 1}."
        )
    out = given.astype(np.int64)
    out.flags.writeable = False
    return out


def booleans(name: str, value: ArrayLike, shape: tuple[int, ...], what: str) -> Bools:
    """`value` as a read-only bool array of exactly `shape`; only booleans and the numbers 0 and 1 are taken."""
    given = ragless(name, value)
    if given.shape != shape:
        raise ValueError(f"{name} must have shape {what} = {shape}, got {given.shape}.")
    if given.dtype != np.bool_ and (given.dtype.kind not in "iufO" or not np.isin(given, (0, 1)).all()):
        raise ValueError(f"{name} must hold booleans, got {given.dtype} with other values than 0 and 1.")
    out = given.astype(np.bool_)
    out.flags.writeable = False
    return out


def real(name: str, value: float) -> float:
    """`value` as a float; infinities and NaN are taken, numbers in texts and arrays with axes are not."""
    try:
        if isinstance(value, (str, bytes, bytearray)) or np.ndim(value):
            raise TypeError("float() would read some of them")
        return float(value)
    except (TypeError, ValueError, OverflowError, AttributeError):
        raise ValueError(f"{name} must be a number, got {shown(value)}.") from None


def interval(name: str, value: float, low: float, high: float, closed: str = "[]") -> float:
    """`value` as a float in the interval from `low` to `high`; `closed` is one of "[]", "[)", "(]", "()"."""
    x = real(name, value)
    above = x >= low if closed[0] == "[" else x > low
    below = x <= high if closed[1] == "]" else x < high
    if not (above and below):
        raise ValueError(f"{name} must lie in {closed[0]}{low:g}, {high:g}{closed[1]}, got {shown(value)}.")
    return x


def integer(name: str, value: int, low: int, high: int | None = None) -> int:
    """`value` as an int of at least `low` and, where given, at most `high`; 3.0 is taken, 3.5 and True are not."""
    if (
        isinstance(value, (bool, np.bool_))
        or not isinstance(value, (int, float, np.integer, np.floating))
        or not (isinstance(value, int) or (np.isfinite(value) and value == np.floor(value)))
    ):
        raise ValueError(f"{name} must be a whole number, got {shown(value)}.")
    if value < low or (high is not None and value > high):
        span = f"at least {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"{name} must be {span}, got {shown(value)}.")
    return int(value)


def boolean(name: str, value: bool) -> bool:
    """`value` as a bool; numbers are not taken, for a misplaced argument would pass as true."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, got {shown(value)}.")
    return bool(value)


def text(name: str, value: str) -> str:
    """`value`, if it is a text."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, got {shown(value)}.")
    return value


def shown(value: object) -> str:
    """`value` as an error message quotes it: on one line, and short."""
    words = " ".join(repr(value).split())
    return words if len(words) <= 80 else f"{words[:77]}..."


def nearest(word: str, known: list[str]) -> str:
    """The end of an error message about an unknown name: the known names that look like it."""
    close = get_close_matches(word, known, n=3, cutoff=0.4)
    return f" Did you mean {' or '.join(close)}?" if close else ""
