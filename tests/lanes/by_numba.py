"""Kernel text compiled by Numba, which the project's own translation is held against.

Everything that kernel text may use is a function of a builder and LLVM values; here each becomes a
Numba intrinsic, and lane vectors and masks are types with the operators of arithmetic.
"""

from __future__ import annotations

import ctypes
import inspect
import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import cfunc, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from tiedgraph.lanes import math, vector
from tiedgraph.ops.rules import Kernel

ELEMENT = {"float32": types.float32, "float64": types.float64}


class Lanes(types.Type):
    """A vector of numbers or truths."""

    def __init__(self, kind: ir.VectorType) -> None:
        self.kind = kind
        super().__init__(name=str(kind))


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, given: Lanes) -> None:
        super().__init__(manager, given, given.kind)


SCALARS = {
    types.int64: vector.WHOLE,
    types.int32: vector.INT32,
    types.boolean: vector.TRUTH,
    types.float32: vector.SINGLE,
    types.float64: vector.DOUBLE,
}


def llvm_of(kind: types.Type) -> ir.Type:
    if isinstance(kind, Lanes):
        return kind.kind
    if isinstance(kind, types.CPointer):
        return llvm_of(kind.dtype).as_pointer()
    return SCALARS[kind]


def numba_of(kind: ir.Type) -> types.Type:
    if isinstance(kind, ir.VectorType):
        return Lanes(kind)
    if isinstance(kind, ir.PointerType):
        return types.CPointer(numba_of(kind.pointee))
    return next(numba for numba, known in SCALARS.items() if known == kind)


def _tried(make: Callable[..., Any], given: Sequence[types.Type]) -> types.Type:
    """The type of what a function makes of such arguments."""
    kinds = [llvm_of(kind) for kind in given]
    function = ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), kinds), "tried")
    made = make(ir.IRBuilder(function.append_basic_block()), *function.args)
    return types.void if made is None else numba_of(made.type)


def _intrinsic(name: str, make: Callable[..., Any]) -> Any:
    def typed(given: Sequence[types.Type]) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            made = make(builder, *args)
            return context.get_dummy_value() if made is None else made

        plain = [types.unliteral(kind) for kind in given]
        return _tried(make, plain)(*plain), codegen

    count = len(inspect.signature(make).parameters) - 1
    names = "".join(f"a{i}, " for i in range(count))
    scope: dict[str, Any] = {"typed": typed}
    exec(f"def {name}(typing, {names}):\n    return typed(({names}))", scope)  # noqa: S102
    return intrinsic(scope[name])


# ---------------------------------------------------------------- operators of vectors


def _operator(function: Any, write: Callable[[Any, Any, Any], Any]) -> None:
    """`write` gets a builder and two vectors; either side of the operator may be a scalar."""

    @infer_global(function)
    class Typed(AbstractTemplate):
        def generic(self, given: Any, named: Any) -> Any:
            vectors = [kind for kind in given if isinstance(kind, Lanes)]
            if not vectors:
                return None

            def both(builder: Any, a: Any, b: Any) -> Any:
                kind = vectors[0].kind
                return write(builder, *(vector.convert(builder, x, kind) for x in (a, b)))

            plain = [types.unliteral(kind) for kind in given]
            return signature(_tried(both, plain), *plain)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = next(k.kind for k in sig.args if isinstance(k, Lanes))
        return write(builder, *(vector.convert(builder, x, kind) for x in args))

    for kinds in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(function, *kinds)(lower)


def _plain(name: str) -> Callable[[Any, Any, Any], Any]:
    """An operation of LLVM's, of floats where it is given such."""

    def write(builder: Any, a: Any, b: Any) -> Any:
        return getattr(builder, f"f{name}" if vector.is_lanes(a.type) else name)(a, b)

    return write


def _compared(symbol: str) -> Callable[[Any, Any, Any], Any]:
    how = "fcmp_unordered" if symbol == "!=" else "fcmp_ordered"
    return lambda builder, a, b: getattr(builder, how)(symbol, a, b)


_operator(operator.add, _plain("add"))
_operator(operator.iadd, _plain("add"))
_operator(operator.sub, _plain("sub"))
_operator(operator.isub, _plain("sub"))
_operator(operator.mul, _plain("mul"))
_operator(operator.imul, _plain("mul"))
_operator(operator.truediv, _plain("div"))
_operator(operator.itruediv, _plain("div"))
_operator(operator.xor, _plain("xor"))
_operator(operator.rshift, _plain("lshr"))
_operator(operator.and_, _plain("and_"))
_operator(operator.or_, _plain("or_"))
_operator(operator.lt, _compared("<"))
_operator(operator.le, _compared("<="))
_operator(operator.gt, _compared(">"))
_operator(operator.ge, _compared(">="))
_operator(operator.eq, _compared("=="))
_operator(operator.ne, _compared("!="))


@infer_global(operator.neg)
class _Negative(AbstractTemplate):
    def generic(self, given: Any, named: Any) -> Any:
        return signature(given[0], given[0]) if isinstance(given[0], Lanes) else None


@lower_builtin(operator.neg, Lanes)
def _negative(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fneg(args[0])


# ---------------------------------------------------------------- kernels


def entry(kernel: Kernel, dtype: str, lanes: int) -> Any:
    """A kernel as a function of four addresses, as `tiedgraph.codegen.kernels.entry` gives it."""
    scope: dict[str, Any] = {}
    for name, found in {**vector.names(dtype, lanes), **math.names(dtype)}.items():
        scope[name] = found.constant if isinstance(found, ir.Constant) else _intrinsic(name, found)
    exec(kernel.source, scope)  # noqa: S102
    pointer = types.CPointer(ELEMENT[dtype])
    kinds = types.void(pointer, pointer, pointer, types.CPointer(types.int64))
    made = cfunc(kinds, error_model="numpy")(scope["kernel"])
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(made.address)
    run.keeps = made
    return run
