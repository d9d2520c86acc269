"""The lane vector: one number of `LANES` samples in one register, as code for LLVM.

A vector is 64 bytes at most, 16 float32 or 8 float64: one AVX-512 register, which LLVM splits for
narrower machines. `names(dtype, lanes)` gives everything that kernel text may use; each function
takes a builder and LLVM values, and answers a value (or None). Multiply-adds are `llvm.fmuladd`
and no operation is flagged for reassociation, so that a kernel's result depends on its text alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from llvmlite import ir
from llvmlite.ir.instructions import Instruction

INT32 = ir.IntType(32)
WHOLE = ir.IntType(64)
TRUTH = ir.IntType(1)
WHOLE_POINTER = WHOLE.as_pointer()
SINGLE, DOUBLE = ir.FloatType(), ir.DoubleType()
ELEMENT = {"float32": SINGLE, "float64": DOUBLE}
ITEM = {"float32": 4, "float64": 8}


# ---------------------------------------------------------------- kinds of values


def is_float(kind: ir.Type) -> bool:
    return isinstance(kind, ir.FloatType | ir.DoubleType)


def is_lanes(kind: ir.Type) -> bool:
    return isinstance(kind, ir.VectorType) and is_float(kind.element)


def is_whole_lanes(kind: ir.Type) -> bool:
    """Whole numbers of 32 bits; sums and products are modulo 2^32."""
    return isinstance(kind, ir.VectorType) and kind.element == INT32


def is_scalar(kind: ir.Type) -> bool:
    return is_float(kind) or kind in (WHOLE, TRUTH)


def splat(builder: ir.IRBuilder, scalar: ir.Value, kind: ir.VectorType) -> ir.Value:
    """`scalar` (of the element type) in every lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, scalar, INT32(0))
    zeros = ir.Constant(ir.VectorType(INT32, kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, undefined, zeros)


def constant(kind: ir.VectorType, value: float | int) -> ir.Constant:
    """The same literal in every lane."""
    return ir.Constant(kind, [value] * kind.count)


def convert(builder: ir.IRBuilder, value: ir.Value, kind: ir.Type) -> ir.Value:
    """A number as one of another kind; in every lane where that is a vector. Raises TypeError."""
    given = value.type
    if given == kind:
        return value
    if is_lanes(kind) and is_scalar(given):
        return splat(builder, convert(builder, value, kind.element), kind)
    if is_whole_lanes(kind) and given == WHOLE:
        return splat(builder, builder.trunc(value, INT32), kind)
    if given == TRUTH and is_scalar(kind):
        return convert(builder, builder.zext(value, WHOLE), kind)
    if given == WHOLE and is_float(kind):
        return builder.sitofp(value, kind)
    if is_float(given) and is_float(kind):
        return builder.fpext(value, kind) if kind == DOUBLE else builder.fptrunc(value, kind)
    raise TypeError(f"{given} is no {kind}")


def common(a: ir.Type, b: ir.Type) -> ir.Type:
    """The kind in which two numbers are added or compared, as in NumPy. Raises TypeError."""
    if a == b and a != TRUTH:
        return a
    if (is_lanes(a) and is_scalar(b)) or (is_whole_lanes(a) and b == WHOLE):
        return a
    if is_lanes(b) and is_scalar(a):
        return b
    if not is_scalar(a) or not is_scalar(b):
        raise TypeError(f"{a} and {b} do not go together")
    return DOUBLE if is_float(a) or is_float(b) else WHOLE


def call_intrinsic(
    builder: ir.IRBuilder, name: str, arguments: list[ir.Value], result: ir.Type | None = None
) -> ir.Value:
    """Calls `llvm.NAME` overloaded on the type of the first argument."""
    kind = arguments[0].type
    signature = ir.FunctionType(result or kind, [a.type for a in arguments])
    return builder.call(declared(builder, signature, f"llvm.{name}.{_suffix(kind)}"), arguments)


def declared(builder: ir.IRBuilder, signature: ir.FunctionType, name: str) -> ir.Function:
    """A function that LLVM knows, declared once in a module."""
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, signature, name)


def _suffix(kind: ir.Type) -> str:
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{_suffix(kind.element)}"
    return "f32" if kind == SINGLE else "f64"


def _address(builder: ir.IRBuilder, pointer: ir.Value, offset: ir.Value, kind: ir.Type) -> ir.Value:
    return builder.bitcast(builder.gep(pointer, [offset]), kind.as_pointer())


def on_stack(builder: ir.IRBuilder, kind: ir.Type, size: int | None = None) -> ir.Value:
    """Memory of the present call, the same one however often this place is reached."""
    with builder.goto_entry_block():
        return builder.alloca(kind, size=size)


# ---------------------------------------------------------------- memory

# The first argument of those that depend on it is the kind of a vector.


def load(kind: Any, builder: Any, pointer: Any, offset: Any) -> Any:
    """The lane vector at `pointer[offset]`, of any alignment."""
    value = builder.load(_address(builder, pointer, offset, kind))
    value.align = _alignment(kind)
    return value


def store(builder: Any, pointer: Any, offset: Any, value: Any) -> None:
    """Writes a lane vector to `pointer[offset]`."""
    written = builder.store(value, _address(builder, pointer, offset, value.type))
    written.align = _alignment(value.type)


def _alignment(kind: Any) -> int:
    return 4 if kind.element == SINGLE else 8


def prefetch(builder: Any, pointer: Any, offset: Any) -> None:
    """Asks for `pointer[offset]`, which will be read and written, and does not wait for it."""
    byte = ir.IntType(8).as_pointer()
    signature = ir.FunctionType(ir.VoidType(), [byte, INT32, INT32, INT32])
    place = builder.bitcast(builder.gep(pointer, [offset]), byte)
    # To be written, to stay in the nearest cache, data.
    arguments = [place, INT32(1), INT32(3), INT32(1)]
    builder.call(declared(builder, signature, "llvm.prefetch.p0i8"), arguments)


def number(builder: Any, pointer: Any, index: Any) -> Any:
    """`operand[index]` read as the 64 bits of a float64 (see `tiedgraph.ops.rules.bits`)."""
    return builder.load(_address(builder, pointer, index, DOUBLE))


def broadcast(kind: Any, builder: Any, scalar: Any) -> Any:
    """A scalar in every lane."""
    return convert(builder, scalar, kind)


# ---------------------------------------------------------------- arithmetic


def fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """`a * b + c` with one rounding where the machine has it."""
    return call_intrinsic(builder, "fmuladd", [a, b, c])


def sqrt(builder: Any, x: Any) -> Any:
    """Square root."""
    return call_intrinsic(builder, "sqrt", [x])


def absolute(builder: Any, x: Any) -> Any:
    """Absolute value."""
    return call_intrinsic(builder, "fabs", [x])


def floor(builder: Any, x: Any) -> Any:
    """Largest integer not above."""
    return call_intrinsic(builder, "floor", [x])


def round_even(builder: Any, x: Any) -> Any:
    """Nearest integer, ties to even."""
    return call_intrinsic(builder, "rint", [x])


def frozen(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The same value, which LLVM keeps in a register of its own.

    A choice between a number and what is to be overwritten would become a masked store, which some
    processors take a hundred times as long for as for a plain one.
    """
    instruction = Instruction(builder.block, value.type, "freeze", (value,))
    builder._insert(instruction)
    return instruction


def maximum(builder: Any, a: Any, b: Any) -> Any:
    """The larger one, lane by lane; the second where either is NaN."""
    return frozen(builder, builder.select(builder.fcmp_ordered(">", a, b), a, b))


def minimum(builder: Any, a: Any, b: Any) -> Any:
    """The smaller one, lane by lane; the second where either is NaN."""
    return frozen(builder, builder.select(builder.fcmp_ordered("<", a, b), a, b))


def select(builder: Any, mask: Any, a: Any, b: Any) -> Any:
    """`a` where the mask holds, else `b`, lane by lane."""
    return builder.select(mask, a, b)


def lanes_from(kind: Any, builder: Any, first: Any) -> Any:
    """The mask that holds in the lanes from `first` on."""
    whole = ir.VectorType(INT32, kind.count)
    numbers = ir.Constant(whole, list(range(kind.count)))
    return builder.icmp_signed(">=", numbers, splat(builder, builder.trunc(first, INT32), whole))


def _shuffled(doc: str, pick: Callable[[int], list[int]]) -> Any:
    """Some numbers of two vectors; `pick` tells which of both behind each other, of so many."""

    def function(builder: Any, a: Any, b: Any) -> Any:
        return _picked(builder, a, b, pick(a.type.count))

    function.__doc__ = doc
    return function


def _picked(builder: Any, a: Any, b: Any, which: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(INT32, len(which)), which)
    return builder.shuffle_vector(a, b, mask)


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


def sum_lanes(builder: Any, x: Any) -> Any:
    """The sum over the lanes by a fixed pairwise tree, a scalar."""
    count = x.type.count
    while count > 1:
        half = count // 2
        undefined = ir.Constant(x.type, ir.Undefined)
        low = _picked(builder, x, undefined, list(range(half)))
        high = _picked(builder, x, undefined, list(range(half, count)))
        x, count = builder.fadd(low, high), half
    return builder.extract_element(x, INT32(0))


def transpose(
    kind: Any,
    builder: Any,
    source: Any,
    start: Any,
    stride: Any,
    target: Any,
    place: Any,
    step: Any,
) -> None:
    """Turns a square of LANES x LANES numbers over.

    Row r is read at `source[start + r * stride]`, column c written at `target[place + c * step]`.
    """
    count = kind.count
    rows = [
        load(kind, builder, source, builder.add(start, builder.mul(stride, WHOLE(r))))
        for r in range(count)
    ]
    # Blocks of `half` change places between the rows of each pair, from single numbers up.
    half = 1
    while half < count:
        for r in range(count):
            if not r & half:
                a, b = rows[r], rows[r + half]
                low = [k if not k & half else count + k - half for k in range(count)]
                high = [k + half if not k & half else count + k for k in range(count)]
                rows[r] = _picked(builder, a, b, low)
                rows[r + half] = _picked(builder, a, b, high)
        half *= 2
    for c, value in enumerate(rows):
        store(builder, target, builder.add(place, builder.mul(step, WHOLE(c))), value)


# ---------------------------------------------------------------- whole numbers


def whole(builder: Any, x: Any) -> Any:
    """The numbers of a lane vector, from 0 to 2^31 and without fractions, as whole numbers."""
    return builder.fptosi(x, ir.VectorType(INT32, x.type.count))


def numbers(kind: Any, builder: Any, h: Any) -> Any:
    """Whole numbers below 2^31 as a lane vector."""
    return builder.sitofp(h, kind)


# ---------------------------------------------------------------- raw addresses and calls


def address(kind: Any, builder: Any, integer: Any) -> Any:
    """A 64-bit integer as a pointer to elements."""
    return builder.inttoptr(integer, kind.element.as_pointer())


def addressed(builder: Any, pointer: Any) -> Any:
    """A pointer as a 64-bit integer."""
    return builder.ptrtoint(pointer, WHOLE)


def integers(builder: Any, integer: Any) -> Any:
    """A 64-bit integer as a pointer to 64-bit integers."""
    return builder.inttoptr(integer, WHOLE_POINTER)


def halves(builder: Any, integer: Any) -> Any:
    """A 64-bit integer as a pointer to 32-bit integers."""
    return builder.inttoptr(integer, INT32.as_pointer())


def load_acquire(builder: Any, pointer: Any, index: Any) -> Any:
    """`pointer[index]` of 64-bit integers, with all that was written before it was stored."""
    return builder.load_atomic(builder.gep(pointer, [index]), "acquire", 8)


def store_release(builder: Any, pointer: Any, index: Any, value: Any) -> None:
    """Stores `pointer[index]`, seen by other threads only after all that was written before."""
    builder.store_atomic(value, builder.gep(pointer, [index]), "release", 8)


def fetch_add(builder: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Adds to `pointer[index]` in one step with other threads; answers what was there before."""
    return builder.atomic_rmw("add", builder.gep(pointer, [index]), value, "seq_cst")


def compare_and_swap(builder: Any, pointer: Any, index: Any, known: Any, value: Any) -> Any:
    """Stores `pointer[index]` if it holds `known`; answers whether it did."""
    swapped = builder.cmpxchg(builder.gep(pointer, [index]), known, value, "seq_cst")
    return builder.extract_value(swapped, 1)


def pause(builder: Any) -> None:
    """Tells the processor that this is a loop that waits."""
    if builder.module.triple.startswith(("x86_64", "i686")):
        signature = ir.FunctionType(ir.VoidType(), [])
        builder.call(declared(builder, signature, "llvm.x86.sse2.pause"), [])


def square_root(builder: Any, x: Any) -> Any:
    """Of one number, in float64."""
    return call_intrinsic(builder, "sqrt", [convert(builder, x, DOUBLE)])


def words(builder: Any, count: Any) -> Any:
    """So many 64-bit integers on the stack, a literal."""
    return on_stack(builder, WHOLE, count.constant)


def call(
    builder: Any, entry: Any, activation: Any, parameter: Any, gradient: Any, operand: Any
) -> None:
    """Runs the kernel at a machine address; nothing of it is compiled into the caller."""
    arguments = [activation, parameter, gradient, operand]
    signature = ir.FunctionType(ir.VoidType(), [value.type for value in arguments])
    builder.call(builder.inttoptr(entry, signature.as_pointer()), arguments)


# ---------------------------------------------------------------- scalars


def minimum_of(builder: Any, a: Any, b: Any) -> Any:
    """The smaller of two scalars."""
    return _first_if("<", builder, b, a)


def maximum_of(builder: Any, a: Any, b: Any) -> Any:
    """The larger of two scalars."""
    return _first_if(">", builder, b, a)


def _first_if(relation: str, builder: Any, a: Any, b: Any) -> Any:
    kind = common(a.type, b.type)
    a, b = convert(builder, a, kind), convert(builder, b, kind)
    compare = builder.fcmp_ordered if is_float(kind) else builder.icmp_signed
    return builder.select(compare(relation, a, b), a, b)


def integer_part(builder: Any, x: Any) -> Any:
    """The integer part of a number."""
    return builder.fptosi(x, WHOLE) if is_float(x.type) else convert(builder, x, WHOLE)


@lru_cache
def names(dtype: str, lanes: int) -> dict[str, Any]:
    """Everything kernel text may use for vectors of `lanes` numbers, by name."""
    kind = ir.VectorType(ELEMENT[dtype], lanes)
    of_kind = (load, broadcast, lanes_from, transpose, address, numbers)
    of_any = (
        *(
            store,
            prefetch,
            number,
            fma,
            sqrt,
            square_root,
            absolute,
            floor,
            round_even,
            maximum,
            minimum,
        ),
        *(
            select,
            sum_lanes,
            addressed,
            integers,
            halves,
            words,
            whole,
            load_acquire,
            store_release,
            fetch_add,
        ),
        *(compare_and_swap, pause, call),
    )
    return {
        "LANES": WHOLE(lanes),
        "ITEM": WHOLE(ITEM[dtype]),
        **{function.__name__: partial(function, kind) for function in of_kind},
        **{function.__name__: function for function in of_any},
        "evens": evens,
        "odds": odds,
        "backwards": backwards,
        "zip_low": zip_low,
        "zip_high": zip_high,
        "min": minimum_of,
        "max": maximum_of,
        "int": integer_part,
    }
