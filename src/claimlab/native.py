"""What the library asks of numba: decorators to compile, and frozen dataclasses that compiled code can read.

A subclass of :class:`Native` is an ordinary frozen dataclass to Python.  Inside a :func:`kernel` its fields are read
as struct members, and its methods (those that an abstract base class declares) are compiled on first use, once per
class.  Nothing is registered by hand, and ``kernel.py_func`` runs the very same code in the interpreter.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import inspect
import os
import sys
from abc import ABC
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from glob import glob
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba import typeof, types
from numba.core import config
from numba.core import event as events
from numba.core.cgutils import create_struct_proxy
from numba.core.imputils import impl_ret_borrowed
from numba.core.typing.templates import AttributeTemplate
from numba.core.utils import _dynamic_modname, _dynamic_module
from numba.extending import (
    NativeValue,
    infer_getattr,
    lower_getattr_generic,
    models,
    overload_method,
    register_jitable,
    register_model,
    typeof_impl,
    unbox,
)

from claimlab import checks
from claimlab.fingerprint import fingerprint

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


@cache
def source_hash() -> str:
    """Hash of every source file of this package, and of numba's version, as they were when the package was imported.

    It names the folder of compiled code, because numba's own cache does not notice an edit in a *called* function's
    file; and it is part of the name of every stored result.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    root = Path(__file__).parent
    for path in sorted(glob(f"{root}/**/*.py", recursive=True)):  # Path.rglob would not enter the linked folders
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:16]


# In it each version of the sources has a folder, for the reason that source_hash gives.
CACHE = Path(
    os.environ.get("NUMBA_CACHE_DIR") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "claimlab")
)


def _compiled(function: F, **options: Any) -> F:
    """numba's decorator; the machine code of `function` is kept in a folder of this version of the sources.

    Where it is kept numba reads from its settings once, here; those of other packages stay as they are.
    """
    settings = cast(Any, config)  # numba makes them at run time
    before, settings.CACHE_DIR = settings.CACHE_DIR, str(CACHE / source_hash())
    try:
        return cast(F, cast(Any, numba).njit(cache=True, nogil=True, no_cfunc_wrapper=True, **options)(function))
    finally:
        settings.CACHE_DIR = before


def kernel(function: F) -> F:
    """Compile `function` on first call, release the GIL in it, and keep the machine code on disk."""
    return _compiled(function)


# Comparisons with NaN and infinities keep their meaning; `np.isfinite` does not, so compare with the largest number.
FAST = {"contract", "reassoc", "nsz", "arcp"}


def fast_kernel(function: F) -> F:
    """A kernel whose sums may be taken in any order and with fused multiply-adds, so that they run in vector registers.

    For kernels whose error bounds count roundings and hold for every order (Higham 2002, Section 3.1).
    """
    return _compiled(function, fastmath=FAST)


def part(function: F) -> F:
    """What kernels of one module call and Python does not: compiled into them, without an entry of its own.

    Making the entries takes as long as compiling a short function.  To Python it stays the function that it is.
    """
    return cast(F, register_jitable(no_cfunc_wrapper=True)(function))


def fast_part(function: F) -> F:
    """A :func:`part` of a :func:`fast_kernel`."""
    return cast(F, register_jitable(no_cfunc_wrapper=True, fastmath=FAST)(function))


class _Uncollected(events.Listener):
    """No garbage is collected while a kernel is compiled.

    What numba builds for one lives until it is done, and looking through it again and again takes a seventh of the
    time.  Kernels are compiled one after the other, so that the outermost of nested events restores what was.
    """

    def __init__(self) -> None:
        self.depth, self.collected = 0, False

    def on_start(self, event: Any) -> None:
        if self.depth == 0:
            self.collected = gc.isenabled()
            gc.disable()
        self.depth += 1

    def on_end(self, event: Any) -> None:
        self.depth -= 1
        if self.depth == 0 and self.collected:
            gc.enable()


events.register("numba:compile", _Uncollected())


def threads_or_default(threads: int | None) -> int:
    """`threads` checked; by default what ``NUMBA_NUM_THREADS`` says, which is every core unless the user set it."""
    return cast(Any, config).NUMBA_NUM_THREADS if threads is None else checks.integer("threads", threads, 1)


def spread(work: Callable[[int, int], T], n: int, threads: int, *, least: int = 1) -> list[T]:
    """Call ``work(start, stop)`` on as many blocks of ``range(n)`` as there are `threads`, side by side.

    Kernels release the GIL, so they run at the same time.  Blocks hold at least `least` elements: below some tens of
    microseconds of work a thread costs more than it brings.  What `work` returns comes back in the order of the blocks.
    """
    parts = max(1, min(threads, n // least))
    if parts == 1:
        return [work(0, n)]
    ends = [n * part // parts for part in range(parts + 1)]
    return list(_pool(parts).map(work, ends[:-1], ends[1:]))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="claimlab")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def inlined(declaration: F) -> F:
    """Have the bodies of an abstract method compiled into their callers: for what a loop calls at every step.

    Passing a state of many arrays costs more than a short body does.  For methods that are called at few places, as
    every place has its own copy.
    """
    cast(Any, declaration).inlined = True
    return declaration


def interpreted(function: F) -> F:
    """The Python function behind a kernel: the oracle of the tests, and the way to debug."""
    return cast(Any, function).py_func


class Native(ABC):
    """Base of the frozen dataclasses that kernels take as arguments."""

    def __init_subclass__(cls) -> None:
        for name, method in vars(cls).items():
            if getattr(method, "__isabstractmethod__", False):
                _publish(name, method)
            for base in cls.__mro__[1:]:
                declared = vars(base).get(name)
                if getattr(declared, "__isabstractmethod__", False) and _names(declared) != _names(method):
                    raise TypeError(
                        f"{cls.__name__}.{name} takes {_names(method)}; {base.__name__} declares {_names(declared)}."
                    )

    def _settle(self, **fields: Any) -> None:
        """Replace fields by their checked values; for ``__post_init__`` only."""
        for name, value in fields.items():
            object.__setattr__(self, name, value)


# Code that was compiled for a class of no importable module (a cell that a tool runs, exec) names this module of
# numba's when it is read from disk; numba does not let it be imported.
sys.modules.setdefault(_dynamic_modname, _dynamic_module)

Owner = tuple[str, str, str]  # module, qualified name, and hash of the code of a class
_classes: dict[Owner, type] = {}  # of the types met in this process


class NativeType(types.Type):
    """A Native class by name and code, and the types of its fields.

    The index of compiled code on disk holds types.  It must be readable where the class's module is missing, and code
    compiled for a class that was edited, in its file or in a notebook, must not be found; so the class is looked up in
    what this process has met, and is no part of the type.
    """

    def __init__(self, owner: Owner, members: tuple[tuple[str, types.Type], ...]) -> None:
        self.owner, self.members = owner, members
        super().__init__(f"{owner[1]}({', '.join(f'{name}: {type_}' for name, type_ in members)})")

    @property
    def key(self) -> Any:
        return self.owner, self.members

    @property
    def cls(self) -> type:
        return _classes[self.owner]

    def __reduce__(self) -> Any:
        return NativeType, (self.owner, self.members)


@cache
def _owner(cls: type) -> Owner:
    undecorated = "__dataclass_fields__" not in vars(cls)
    if undecorated and (inspect.get_annotations(cls) or not dataclasses.is_dataclass(cls)):
        raise TypeError(
            f"compiled code reads the fields of a class: decorate {cls.__name__} with @dataclass(frozen=True)."
        )
    owner = cls.__module__, cls.__qualname__, fingerprint(cls)
    _classes[owner] = cls
    return owner


@typeof_impl.register(Native)
def _typeof(value: Native, context: Any) -> NativeType:
    owner, fields = _owner(type(value)), dataclasses.fields(value)  # type: ignore[arg-type]
    return NativeType(owner, tuple((f.name, typeof(getattr(value, f.name))) for f in fields))


@register_model(NativeType)
class _NativeModel(models.StructModel):
    def __init__(self, manager: Any, type_: NativeType) -> None:
        super().__init__(manager, type_, list(type_.members))


@unbox(NativeType)
def _unbox(type_: NativeType, obj: Any, c: Any) -> NativeValue:
    struct = create_struct_proxy(type_)(c.context, c.builder)
    for name, member in type_.members:
        attribute = c.pyapi.object_getattr_string(obj, name)
        setattr(struct, name, c.unbox(member, attribute).value)
        c.pyapi.decref(attribute)
    return NativeValue(struct._getvalue())


@infer_getattr
class _Fields(AttributeTemplate):
    key = NativeType

    def generic_resolve(self, type_: NativeType, name: str) -> types.Type | None:
        return dict(type_.members).get(name)


@lower_getattr_generic(NativeType)
def _read(context: Any, builder: Any, type_: NativeType, value: Any, name: str) -> Any:
    struct = create_struct_proxy(type_)(context, builder, value=value)
    return impl_ret_borrowed(context, builder, dict(type_.members)[name], getattr(struct, name))


def _names(method: Any) -> str:
    return f"({', '.join(inspect.signature(method).parameters)})"


def _publish(name: str, declaration: Any) -> None:
    """Let compiled code call ``value.name(...)`` on any Native value; the value's class supplies the body."""

    def resolve(self: NativeType, *args: Any) -> Any:
        return getattr(self.cls, name, None)

    resolve.__signature__ = inspect.signature(declaration)  # type: ignore[attr-defined]  # numba reads the arity here
    options = {"forceinline": getattr(declaration, "inlined", False), "no_cfunc_wrapper": True}
    overload_method(NativeType, name, strict=False, jit_options=options)(resolve)  # pyright: ignore[reportCallIssue]
