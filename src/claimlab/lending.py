"""Arrays, and what holds arrays, as compiled code may read and change them without counting references.

Each mention of an array inside a named tuple or a :class:`~claimlab.native.Native` value calls a function that counts a
reference up, and another that counts it down: in the loop of a simulation most of the time.  What is lent has types of
its own for which numba makes no such calls.  To compiled code they are arrays and generators as all others.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from numba import types
from numba.core.cgutils import create_struct_proxy, get_null_value
from numba.core.imputils import lower_cast
from numba.extending import intrinsic, models, overload, register_model

from claimlab.native import NativeType

T = TypeVar("T")


def lent(value: T) -> T:
    """`value` with its arrays and generators lent; any other part as it is.

    The owner must outlive every use: lend in the function that got it as an argument, or that returns it or mentions it
    in a call of :func:`held` afterwards.
    """
    return value


def held(value: Any) -> None:
    """Do nothing: compiled code frees what is not mentioned any more, and this mentions it."""


class _LentArray(types.Array):
    """An array whose owner's reference is no part of the value."""

    def __init__(self, array: types.Array) -> None:
        super().__init__(
            array.dtype, array.ndim, array.layout, not array.mutable, name=f"lent {array}", aligned=array.aligned
        )


class _LentGenerator(types.NumPyRandomGeneratorType):
    """The same of a generator."""

    def __init__(self) -> None:
        super().__init__("lent generator")
        self.name = "lent generator"  # the base class sets its own


@register_model(_LentArray)
class _LentArrayModel(models.StructModel):
    def __init__(self, manager: Any, type_: _LentArray) -> None:
        super().__init__(manager, type_, _unowned(models.ArrayModel(manager, type_)))


@register_model(_LentGenerator)
class _LentGeneratorModel(models.StructModel):
    def __init__(self, manager: Any, type_: _LentGenerator) -> None:
        super().__init__(manager, type_, _unowned(manager.lookup(types.npy_rng)))


def _unowned(model: Any) -> list[tuple[str, types.Type]]:
    """The members of a model, with a pointer that numba does not follow in place of the owner's reference."""
    fields = zip(model._fields, model._members)
    return [(name, types.voidptr if name == "meminfo" else member) for name, member in fields]


def _lent_type(type_: Any) -> Any:
    if isinstance(type_, types.BaseTuple):
        members = [_lent_type(member) for member in cast(Any, type_)]
        return types.BaseTuple.from_types(members, getattr(type_, "instance_class", None))
    if isinstance(type_, NativeType):
        return NativeType(type_.owner, tuple((name, _lent_type(member)) for name, member in type_.members))
    if isinstance(type_, types.NumPyRandomGeneratorType):
        return _LentGenerator()
    return _LentArray(type_) if type(type_) is types.Array else type_


@overload(lent)
def _lent(value):  # type: ignore[no-untyped-def]  # numba compares annotations too
    return lambda value: _uncounted(value)  # pyright: ignore[reportCallIssue]  # numba passes the context


@overload(held)
def _held(value):  # type: ignore[no-untyped-def]
    return lambda value: None


@intrinsic
def _uncounted(context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _without_owner(context, builder, value, arguments[0])

    return _lent_type(value)(value), generate


def _without_owner(context: Any, builder: Any, type_: Any, value: Any) -> Any:
    """The same value of the lent type, whose arrays name no owner."""
    if isinstance(type_, types.BaseTuple):
        items = [
            _without_owner(context, builder, member, builder.extract_value(value, i))
            for i, member in enumerate(cast(Any, type_))
        ]
        return context.make_tuple(builder, _lent_type(type_), items)
    if not isinstance(type_, (types.Array, types.NumPyRandomGeneratorType, NativeType)):
        return value
    old = create_struct_proxy(type_)(context, builder, value=value)
    new = create_struct_proxy(_lent_type(type_))(context, builder)
    if isinstance(type_, NativeType):
        for name, member in type_.members:
            setattr(new, name, _without_owner(context, builder, member, getattr(old, name)))
        return new._getvalue()
    for name in old._datamodel._fields:
        setattr(new, name, getattr(old, name))
    new.meminfo = get_null_value(new.meminfo.type)
    return new._getvalue()


@lower_cast(_LentArray, types.Array)
def _as_array(context: Any, builder: Any, from_type: Any, to_type: Any, value: Any) -> Any:
    """Where a variable may be a lent array or another: the same bits, and still no owner."""
    return value
