"""Eight numbers at a time: the one step of an elimination that the compiler does not turn into vectors by itself.

Rows of small matrices are too short for its loops over vectors, and loops of constant length it unrolls into single
numbers.  Compiled code only.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

BLOCK = 8
_VECTOR = ir.VectorType(ir.DoubleType(), BLOCK)
_FLAGS = ("contract", "reassoc", "nsz", "arcp")  # those of fast_kernel


def _subtract_rows(typing: Any, x: Any, target: Any, f: Any, one: Any, g: Any, other: Any) -> Any:
    """``x[target:] -= f * x[one:] + g * x[other:]`` for `BLOCK` entries of the C-contiguous `x`, float[n]."""
    index = types.uint64
    signature = types.void(x, index, types.float64, index, types.float64, index)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, f, one, g, other = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data

        def block(start: Any) -> Any:
            return builder.bitcast(builder.gep(data, [start]), _VECTOR.as_pointer())

        def times(factor: Any, start: Any) -> Any:
            first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), factor, ir.IntType(32)(0))
            mask = ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK)
            everywhere = builder.shuffle_vector(first, ir.Constant(_VECTOR, ir.Undefined), mask)
            return builder.fmul(everywhere, builder.load(block(start), align=8), flags=_FLAGS)

        found = builder.load(block(target), align=8)
        for part in (times(f, one), times(g, other)):
            found = builder.fsub(found, part, flags=_FLAGS)
        builder.store(found, block(target), align=8)
        return context.get_dummy_value()

    return signature, generate


subtract_rows: Any = intrinsic(_subtract_rows)  # as kernels call it, without the first argument
