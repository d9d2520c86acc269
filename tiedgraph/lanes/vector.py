"""The lane vector: one number of `LANES` samples in one register, as a Numba type.

A vector is 64 bytes at most, 16 float32 or 8 float64: one AVX-512 register, which LLVM splits for
narrower machines. `names(dtype, lanes)` gives everything that kernel text may use. Multiply-adds
are `llvm.fmuladd` and no operation is flagged for reassociation, so that a kernel's result
depends on its text alone.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from llvmlite import ir
from llvmlite.ir.instructions import Instruction
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

INT32 = ir.IntType(32)
INT64 = ir.IntType(64)
INT64_POINTER = types.CPointer(types.int64)


class LaneType(types.Type):
    """`lanes` numbers of one element type in one register."""

    def __init__(self, element: types.Float, lanes: int) -> None:
        self.element = element
        self.lanes = lanes
        super().__init__(name=f"lane{self.lanes}x{element}")


class MaskType(types.Type):
    """One truth value a lane, from comparing lane vectors."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"mask{lanes}")


class WholeType(types.Type):
    """A whole number of 32 bits a lane; sums and products are modulo 2^32."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"whole{lanes}")


def element_ir(lane: LaneType) -> ir.Type:
    return ir.FloatType() if lane.element == types.float32 else ir.DoubleType()


def vector_ir(lane: LaneType) -> ir.VectorType:
    return ir.VectorType(element_ir(lane), lane.lanes)


@register_model(LaneType)
class LaneModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: LaneType) -> None:
        super().__init__(manager, fe_type, vector_ir(fe_type))


@register_model(MaskType)
class MaskModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: MaskType) -> None:
        super().__init__(manager, fe_type, ir.VectorType(ir.IntType(1), fe_type.lanes))


@register_model(WholeType)
class WholeModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: WholeType) -> None:
        super().__init__(manager, fe_type, ir.VectorType(INT32, fe_type.lanes))


ELEMENT: dict[str, Any] = {"float32": types.float32, "float64": types.float64}


# ---------------------------------------------------------------- building blocks of code


def splat(builder: ir.IRBuilder, scalar: ir.Value, kind: ir.VectorType) -> ir.Value:
    """`scalar` (of the element type) in every lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, scalar, INT32(0))
    zeros = ir.Constant(ir.VectorType(INT32, kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, undefined, zeros)


def constant(kind: ir.VectorType, value: float | int) -> ir.Constant:
    """The same literal in every lane."""
    return ir.Constant(kind, [value] * kind.count)


def to_element(
    builder: ir.IRBuilder, value: ir.Value, given: types.Type, lane: LaneType
) -> ir.Value:
    """A scalar of Numba type `given` as the lane's element type."""
    target = element_ir(lane)
    if isinstance(given, types.Integer | types.Boolean | types.IntegerLiteral):
        return builder.sitofp(value, target)
    if given == lane.element:
        return value
    narrower = given == types.float64
    return builder.fptrunc(value, target) if narrower else builder.fpext(value, target)


def call_intrinsic(
    builder: ir.IRBuilder, name: str, arguments: list[ir.Value], result: ir.Type | None = None
) -> ir.Value:
    """Calls `llvm.NAME` overloaded on the type of the first argument."""
    kind = arguments[0].type
    result = result or kind
    suffix = _suffix(kind)
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(result, [a.type for a in arguments]),
        f"llvm.{name}.{suffix}",
    )
    return builder.call(function, arguments)


def _suffix(kind: ir.Type) -> str:
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{_suffix(kind.element)}"
    if isinstance(kind, ir.FloatType):
        return "f32"
    return "f64" if isinstance(kind, ir.DoubleType) else f"i{kind.width}"


def _address(builder: ir.IRBuilder, pointer: ir.Value, offset: ir.Value, kind: ir.Type) -> ir.Value:
    return builder.bitcast(builder.gep(pointer, [offset]), kind.as_pointer())


# ---------------------------------------------------------------- memory


def _make_load(lane: LaneType) -> Any:
    @intrinsic
    def load(typing: Any, pointer: Any, offset: Any) -> Any:
        """The lane vector at `pointer[offset]`, of any alignment."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            value = builder.load(_address(builder, args[0], args[1], vector_ir(lane)))
            value.align = lane.element.bitwidth // 8
            return value

        return lane(pointer, types.intp), codegen

    return load


@intrinsic
def store(typing: Any, pointer: Any, offset: Any, value: Any) -> Any:
    """Writes a lane vector to `pointer[offset]`."""
    lane = value

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        instruction = builder.store(args[2], _address(builder, args[0], args[1], vector_ir(lane)))
        instruction.align = lane.element.bitwidth // 8
        return context.get_dummy_value()

    return types.void(pointer, types.intp, lane), codegen


@intrinsic
def prefetch(typing: Any, pointer: Any, offset: Any) -> Any:
    """Asks for `pointer[offset]`, which will be read and written, and does not wait for it."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte, whole = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, whole, whole, whole])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        place = builder.bitcast(builder.gep(args[0], [args[1]]), byte)
        # To be written, to stay in the nearest cache, data.
        builder.call(function, [place, whole(1), whole(3), whole(1)])
        return context.get_dummy_value()

    return types.void(pointer, types.intp), codegen


@intrinsic
def number(typing: Any, pointer: Any, index: Any) -> Any:
    """`operand[index]` read as the 64 bits of a float64 (see `tiedgraph.ops.rules.bits`)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_address(builder, args[0], args[1], ir.DoubleType()))

    return types.float64(pointer, types.intp), codegen


def _make_broadcast(lane: LaneType) -> Any:
    @intrinsic
    def broadcast(typing: Any, scalar: Any) -> Any:
        """A scalar in every lane."""
        given = types.unliteral(scalar)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return splat(builder, to_element(builder, args[0], given, lane), vector_ir(lane))

        return lane(given), codegen

    return broadcast


# ---------------------------------------------------------------- arithmetic


@intrinsic
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """`a * b + c` with one rounding where the machine has it."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return call_intrinsic(builder, "fmuladd", list(args))

    return a(a, a, a), codegen


def unary(name: str, make: Callable[[Any, Any], Any], doc: str) -> Any:
    @intrinsic
    def function(typing: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return make(builder, args[0])

        return x(x), codegen

    function.__doc__ = doc
    function._name = name  # type: ignore[misc]
    return function


def _intrinsic_call(name: str) -> Callable[[Any, Any], Any]:
    return lambda builder, x: call_intrinsic(builder, name, [x])


sqrt = unary("sqrt", _intrinsic_call("sqrt"), "Square root.")
absolute = unary("absolute", _intrinsic_call("fabs"), "Absolute value.")
floor = unary("floor", _intrinsic_call("floor"), "Largest integer not above.")
round_even = unary("round_even", _intrinsic_call("rint"), "Nearest integer, ties to even.")


def frozen(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The same value, which LLVM keeps in a register of its own.

    A choice between a number and what is to be overwritten would become a masked store, which some
    processors take a hundred times as long for as for a plain one.
    """
    instruction = Instruction(builder.block, value.type, "freeze", (value,))
    builder._insert(instruction)
    return instruction


def _extreme(predicate: str) -> Any:
    @intrinsic
    def function(typing: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            found = builder.select(builder.fcmp_ordered(predicate, *args), *args)
            return frozen(builder, found)

        return a(a, a), codegen

    return function


maximum = _extreme(">")
minimum = _extreme("<")


@intrinsic
def select(typing: Any, mask: Any, a: Any, b: Any) -> Any:
    """`a` where the mask holds, else `b`, lane by lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(*args)

    return a(mask, a, a), codegen


def _make_lanes_from(lane: LaneType) -> Any:
    kind = ir.VectorType(INT32, lane.lanes)

    @intrinsic
    def lanes_from(typing: Any, first: Any) -> Any:
        """The mask that holds in the lanes from `first` on."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            numbers = ir.Constant(kind, list(range(lane.lanes)))
            least = splat(builder, builder.trunc(args[0], INT32), kind)
            return builder.icmp_signed(">=", numbers, least)

        return MaskType(lane.lanes)(types.int64), codegen

    return lanes_from


def _shuffled(doc: str, pick: Callable[[int], list[int]]) -> Any:
    """Some numbers of two vectors; `pick` tells which of both behind each other, of so many."""

    @intrinsic
    def function(typing: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kind = ir.VectorType(INT32, a.lanes)
            return builder.shuffle_vector(*args, ir.Constant(kind, pick(a.lanes)))

        return a(a, a), codegen

    function.__doc__ = doc
    return function


evens = _shuffled("Every second number, from the first on.", lambda n: list(range(0, 2 * n, 2)))
odds = _shuffled("Every second number, from the second on.", lambda n: list(range(1, 2 * n, 2)))
backwards = _shuffled(
    "The first vector's numbers, the last one first.", lambda n: list(reversed(range(n)))
)
zip_low = _shuffled(
    "The first half of a0, b0, a1, b1, ...", lambda n: [k // 2 + k % 2 * n for k in range(n)]
)
zip_high = _shuffled(
    "The second half of a0, b0, a1, b1, ...",
    lambda n: [k // 2 + k % 2 * n for k in range(n, 2 * n)],
)


@intrinsic
def sum_lanes(typing: Any, x: Any) -> Any:
    """The sum over the lanes by a fixed pairwise tree, a scalar."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector, count = args[0], x.lanes
        while count > 1:
            half = count // 2
            undefined = ir.Constant(vector.type, ir.Undefined)
            parts = [
                builder.shuffle_vector(
                    vector,
                    undefined,
                    ir.Constant(ir.VectorType(INT32, half), list(range(start, start + half))),
                )
                for start in (0, half)
            ]
            vector, count = builder.fadd(*parts), half
        return builder.extract_element(vector, INT32(0))

    return x.element(x), codegen


def _make_transpose(lane: LaneType) -> Any:
    @intrinsic
    def transpose(
        typing: Any, source: Any, start: Any, stride: Any, target: Any, place: Any, step: Any
    ) -> Any:
        """Turns a square of LANES x LANES numbers over.

        Row r is read at `source[start + r * stride]`, column c written at
        `target[place + c * step]`.
        """

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer, first, row_stride, goal, goal_first, goal_stride = args
            count, kind = lane.lanes, vector_ir(lane)
            rows = []
            for r in range(count):
                offset = builder.add(first, builder.mul(row_stride, INT64(r)))
                value = builder.load(_address(builder, pointer, offset, kind))
                value.align = lane.element.bitwidth // 8
                rows.append(value)
            # Blocks of `half` change places between the rows of each pair, from single numbers up.
            half = 1
            while half < count:
                for r in range(count):
                    if not r & half:
                        a, b = rows[r], rows[r + half]
                        low = [k if not k & half else count + k - half for k in range(count)]
                        high = [k + half if not k & half else count + k for k in range(count)]
                        mask = ir.VectorType(INT32, count)
                        rows[r] = builder.shuffle_vector(a, b, ir.Constant(mask, low))
                        rows[r + half] = builder.shuffle_vector(a, b, ir.Constant(mask, high))
                half *= 2
            for c, value in enumerate(rows):
                offset = builder.add(goal_first, builder.mul(goal_stride, INT64(c)))
                written = builder.store(value, _address(builder, goal, offset, kind))
                written.align = lane.element.bitwidth // 8
            return context.get_dummy_value()

        whole = types.intp
        return types.void(source, whole, whole, target, whole, whole), codegen

    return transpose


# ---------------------------------------------------------------- operators


def _operands(args: tuple[Any, ...]) -> LaneType | None:
    lanes = [a for a in args if isinstance(a, LaneType)]
    numbers = all(isinstance(a, LaneType | types.Float | types.Integer) for a in args)
    return lanes[0] if lanes and numbers else None


def _widen(builder: Any, sig: Any, args: Any, lane: LaneType) -> list[Any]:
    return [
        arg
        if isinstance(kind, LaneType)
        else splat(builder, to_element(builder, arg, kind, lane), vector_ir(lane))
        for kind, arg in zip(sig.args, args, strict=True)
    ]


def _register_binary(symbol: Any, make: Callable[[Any, Any, Any], Any], compares: bool) -> None:
    @infer_global(symbol)
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            lane = _operands(args)
            if lane is None or len(args) != 2:
                return None
            result = MaskType(lane.lanes) if compares else lane
            return signature(result, *(types.unliteral(a) for a in args))

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lane = _operands(sig.args)
        assert lane is not None
        return make(builder, *_widen(builder, sig, args, lane))

    for pair in (
        (LaneType, LaneType),
        (LaneType, types.Number),
        (types.Number, LaneType),
    ):
        lower_builtin(symbol, *pair)(lower)


_register_binary(operator.add, lambda b, x, y: b.fadd(x, y), False)
_register_binary(operator.sub, lambda b, x, y: b.fsub(x, y), False)
_register_binary(operator.mul, lambda b, x, y: b.fmul(x, y), False)
_register_binary(operator.truediv, lambda b, x, y: b.fdiv(x, y), False)
for _symbol, _text in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
):
    _register_binary(_symbol, lambda b, x, y, text=_text: b.fcmp_ordered(text, x, y), True)  # type: ignore[misc]


@infer_global(operator.neg)
class _Negative(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        return signature(args[0], args[0]) if isinstance(args[0], LaneType) else None


@lower_builtin(operator.neg, LaneType)
def _lower_negative(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fneg(args[0])


def _register_mask(symbol: Any, make: Callable[[Any, Any, Any], Any]) -> None:
    @infer_global(symbol)
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and all(isinstance(a, MaskType) for a in args):
                return signature(args[0], *args)
            return None

    @lower_builtin(symbol, MaskType, MaskType)
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return make(builder, *args)


_register_mask(operator.and_, lambda b, x, y: b.and_(x, y))
_register_mask(operator.or_, lambda b, x, y: b.or_(x, y))


# ---------------------------------------------------------------- whole numbers


@intrinsic
def whole(typing: Any, x: Any) -> Any:
    """The numbers of a lane vector, from 0 to 2^31 and without fractions, as whole numbers."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fptosi(args[0], ir.VectorType(INT32, x.lanes))

    return WholeType(x.lanes)(x), codegen


def _make_numbers(lane: LaneType) -> Any:
    @intrinsic
    def numbers(typing: Any, h: Any) -> Any:
        """Whole numbers below 2^31 as a lane vector."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.sitofp(args[0], vector_ir(lane))

        return lane(h), codegen

    return numbers


def _register_whole(symbol: Any, make: Callable[[Any, Any, Any], Any]) -> None:
    @infer_global(symbol)
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and isinstance(args[0], WholeType):
                other = types.unliteral(args[1])
                if isinstance(other, WholeType | types.Integer):
                    return signature(args[0], args[0], other)
            return None

    @lower_builtin(symbol, WholeType, WholeType)
    @lower_builtin(symbol, WholeType, types.Integer)
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        one, other = args
        if isinstance(sig.args[1], types.Integer):
            other = splat(builder, builder.trunc(other, INT32), one.type)
        return make(builder, one, other)


_register_whole(operator.xor, lambda b, x, y: b.xor(x, y))
_register_whole(operator.mul, lambda b, x, y: b.mul(x, y))
_register_whole(operator.rshift, lambda b, x, y: b.lshr(x, y))


# ---------------------------------------------------------------- raw addresses and calls


def _make_address(lane: LaneType) -> Any:
    @intrinsic
    def address(typing: Any, integer: Any) -> Any:
        """A 64-bit integer as a pointer to elements."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], element_ir(lane).as_pointer())

        return types.CPointer(lane.element)(types.int64), codegen

    return address


@intrinsic
def addressed(typing: Any, pointer: Any) -> Any:
    """A pointer as a 64-bit integer."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], INT64)

    return types.int64(pointer), codegen


@intrinsic
def integers(typing: Any, integer: Any) -> Any:
    """A 64-bit integer as a pointer to 64-bit integers."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], INT64.as_pointer())

    return INT64_POINTER(types.int64), codegen


@intrinsic
def halves(typing: Any, integer: Any) -> Any:
    """A 64-bit integer as a pointer to 32-bit integers."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], INT32.as_pointer())

    return types.CPointer(types.int32)(types.int64), codegen


@intrinsic
def load_acquire(typing: Any, pointer: Any, index: Any) -> Any:
    """`pointer[index]` of 64-bit integers, with all that was written before it was stored."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(builder.gep(args[0], [args[1]]), "acquire", 8)

    return types.int64(pointer, types.intp), codegen


@intrinsic
def store_release(typing: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Stores `pointer[index]`, seen by other threads only after all that was written before."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[2], builder.gep(args[0], [args[1]]), "release", 8)
        return context.get_dummy_value()

    return types.void(pointer, types.intp, types.int64), codegen


@intrinsic
def fetch_add(typing: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Adds to `pointer[index]` in one step with other threads; answers what was there before."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", builder.gep(args[0], [args[1]]), args[2], "seq_cst")

    return types.int64(pointer, types.intp, types.int64), codegen


@intrinsic
def compare_and_swap(typing: Any, pointer: Any, index: Any, known: Any, value: Any) -> Any:
    """Stores `pointer[index]` if it holds `known`; answers whether it did."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = builder.gep(args[0], [args[1]])
        return builder.extract_value(builder.cmpxchg(place, args[2], args[3], "seq_cst"), 1)

    return types.boolean(pointer, types.intp, types.int64, types.int64), codegen


@intrinsic
def pause(typing: Any) -> Any:
    """Tells the processor that this is a loop that waits."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if builder.module.triple.startswith(("x86_64", "i686")):
            kind = ir.FunctionType(ir.VoidType(), [])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause")
            builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def square_root(typing: Any, x: Any) -> Any:
    """Of one number, in float64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return call_intrinsic(builder, "sqrt", [args[0]])

    return types.float64(types.float64), codegen


@intrinsic
def words(typing: Any, count: Any) -> Any:
    """Eight 64-bit integers on the stack."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return cgutils.alloca_once(builder, INT64, size=8)

    return INT64_POINTER(types.int64), codegen


@intrinsic
def call(
    typing: Any, entry: Any, activation: Any, parameter: Any, gradient: Any, operand: Any
) -> Any:
    """Runs the kernel at a machine address; nothing of it is compiled into the caller."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        kinds = [byte.as_pointer(), byte.as_pointer(), *(value.type for value in args[1:])]
        function = builder.inttoptr(args[0], ir.FunctionType(INT32, kinds).as_pointer())
        ignored = [cgutils.alloca_once(builder, byte) for _ in range(2)]
        builder.call(function, [*ignored, *args[1:]])
        return context.get_dummy_value()

    return types.void(types.int64, activation, parameter, gradient, operand), codegen


def pointer_to(dtype: str) -> types.CPointer:
    return types.CPointer(types.float32 if dtype == "float32" else types.float64)


@lru_cache
def names(dtype: str, lanes: int) -> dict[str, Any]:
    """Everything kernel text may use for vectors of `lanes` numbers, by name."""
    lane = LaneType(ELEMENT[dtype], lanes)
    return {
        "LANES": lane.lanes,
        "load": _make_load(lane),
        "store": store,
        "prefetch": prefetch,
        "number": number,
        "broadcast": _make_broadcast(lane),
        "fma": fma,
        "sqrt": sqrt,
        "square_root": square_root,
        "absolute": absolute,
        "floor": floor,
        "round_even": round_even,
        "maximum": maximum,
        "minimum": minimum,
        "select": select,
        "lanes_from": _make_lanes_from(lane),
        "sum_lanes": sum_lanes,
        "evens": evens,
        "odds": odds,
        "backwards": backwards,
        "whole": whole,
        "numbers": _make_numbers(lane),
        "zip_low": zip_low,
        "zip_high": zip_high,
        "transpose": _make_transpose(lane),
        "ITEM": lane.element.bitwidth // 8,
        "addressed": addressed,
        "address": _make_address(lane),
        "integers": integers,
        "halves": halves,
        "words": words,
        "load_acquire": load_acquire,
        "store_release": store_release,
        "fetch_add": fetch_add,
        "compare_and_swap": compare_and_swap,
        "pause": pause,
        "call": call,
    }
