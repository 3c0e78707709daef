"""Eight numbers at a time, for what the compiler does not turn into vectors by itself.

Rows of small matrices are too short for its loops over vectors, and loops of constant length it unrolls into single
numbers.  A block is a variable of compiled code only.  Its products may be fused with the sums that they are part of;
nothing is reordered.
"""

from __future__ import annotations

from operator import add, mul, sub, truediv
from typing import Any, ClassVar, cast

from llvmlite import ir
from numba import types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

BLOCK = 8
_VECTOR = ir.VectorType(ir.DoubleType(), BLOCK)


class BlockType(types.Type):
    """`BLOCK` float64 numbers in a vector register, with ``+ - * /`` entry by entry."""

    def __init__(self) -> None:
        super().__init__("Block")


BLOCK_TYPE = BlockType()


@register_model(BlockType)
class _BlockModel(models.PrimitiveModel):
    def __init__(self, manager: Any, type_: BlockType) -> None:
        super().__init__(manager, type_, _VECTOR)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, start: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [start]), _VECTOR.as_pointer())


def _load(typing: Any, x: Any, start: Any) -> Any:
    """The entries of `x`, a contiguous float[n], from `start` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(context, builder, signature.args[0], *arguments), align=8)

    return BLOCK_TYPE(x, types.int64), generate


def _store(typing: Any, x: Any, start: Any, block: Any) -> Any:
    """Put `block` into `x`, a contiguous float[n], from `start` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _pointer(context, builder, signature.args[0], *arguments[:2]), align=8)
        return context.get_dummy_value()

    return types.void(x, types.int64, BLOCK_TYPE), generate


def _shuffle(builder: Any, x: Any, y: Any, entries: list[int]) -> Any:
    """Entries of `x` followed by those of `y`, by their places."""
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), entries))


def _full(typing: Any, number: Any) -> Any:
    """A block of one number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        unknown = ir.Constant(_VECTOR, ir.Undefined)
        first = builder.insert_element(unknown, arguments[0], ir.IntType(32)(0))
        return _shuffle(builder, first, unknown, [0] * BLOCK)

    return BLOCK_TYPE(types.float64), generate


def _where(comparison: str) -> Any:
    def where(typing: Any, x: Any, y: Any, then: Any, otherwise: Any) -> Any:
        """`then` where the comparison of `x` and `y` holds, else `otherwise`; it does not hold with a NaN."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x, y, then, otherwise = arguments
            return builder.select(builder.fcmp_ordered(comparison, x, y), then, otherwise)

        return BLOCK_TYPE(BLOCK_TYPE, BLOCK_TYPE, BLOCK_TYPE, BLOCK_TYPE), generate

    return where


def _transpose(typing: Any, x: Any, start: Any, step: Any, last: Any, out: Any, to: Any) -> Any:
    """Transpose `BLOCK` rows of as many entries, row `i` from ``start + min(i, last) * step`` of `x`, to `out`.

    There one row follows the other from `to` on.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, start, step, last, out, to = arguments
        rows = []
        for i in range(BLOCK):
            index = ir.IntType(64)(i)
            row = builder.select(builder.icmp_signed("<", index, last), index, last)
            at = builder.add(start, builder.mul(row, step))
            rows.append(builder.load(_pointer(context, builder, signature.args[0], x, at), align=8))
        for half in (1, 2, 4):  # swap the blocks off the diagonal, of all blocks of twice the size
            upper = [c if not c & half else BLOCK + (c ^ half) for c in range(BLOCK)]
            lower = [c | half if not c & half else BLOCK + c for c in range(BLOCK)]
            for i in range(BLOCK):
                if not i & half:
                    pair = rows[i], rows[i | half]
                    rows[i], rows[i | half] = (_shuffle(builder, *pair, entries) for entries in (upper, lower))
        for j in range(BLOCK):
            at = builder.add(to, ir.IntType(64)(j * BLOCK))
            builder.store(rows[j], _pointer(context, builder, signature.args[4], out, at), align=8)
        return context.get_dummy_value()

    i = types.int64
    return types.void(x, i, i, i, out, i), generate


def _prefetch(typing: Any, x: Any, at: Any) -> Any:
    """Have the cache line of entry `at` of `x`, a contiguous array of one axis, in the cache of second level soon.

    Nothing happens beyond the end of `x`.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), (byte, word, word, word))
        function = builder.module.declare_intrinsic("llvm.prefetch", (byte,), kind)
        place = builder.bitcast(_pointer(context, builder, signature.args[0], *arguments), byte)
        builder.call(function, (place, word(0), word(2), word(1)))  # to read; what will be read soon; data
        return context.get_dummy_value()

    return types.void(x, types.int64), generate


class _Arithmetic(ConcreteTemplate):
    cases: ClassVar = [signature(BLOCK_TYPE, BLOCK_TYPE, BLOCK_TYPE)]


def _arithmetic(operation: Any, name: str) -> None:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, name)(*arguments, flags=("contract",))

    cast(Any, infer_global)(operation)(_Arithmetic)
    lower_builtin(operation, BlockType, BlockType)(generate)


for _operation, _name in ((add, "fadd"), (sub, "fsub"), (mul, "fmul"), (truediv, "fdiv")):
    _arithmetic(_operation, _name)

# As compiled code calls them, without the first argument.
load: Any = intrinsic(_load)
store: Any = intrinsic(_store)
full: Any = intrinsic(_full)
prefetch: Any = intrinsic(_prefetch)
transpose: Any = intrinsic(_transpose)
where_greater: Any = intrinsic(_where(">"))
where_at_least: Any = intrinsic(_where(">="))
where_equal: Any = intrinsic(_where("=="))
