"""`dense`: every number of a sample to every output.

Its three products are two kernels. The forward one multiplies a matrix of any strides by a tile of
samples; given the matrix's strides exchanged, it is also the gradient of the inputs. So a weight
that is the transpose of another costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tiedgraph.ir.graph import Init
from tiedgraph.ir.types import Type, elements
from tiedgraph.ops.pointwise import apply, forward_kernel
from tiedgraph.ops.rules import (
    Array,
    Buffer,
    Emitter,
    Kernel,
    Op,
    OpError,
    ParamBuffer,
    ParamSpec,
    along,
    each_number,
    pieces,
    setting,
    split,
)


@dataclass(frozen=True)
class Dense:
    units: int = setting("size", doc="number of outputs")
    bias: bool = setting("flag", True, doc="whether a bias is added")


def fixed_size(types: Sequence[Type], what: str) -> int:
    """Number of elements of the first input; an error where a size is known only at run time."""
    (first, *_) = types
    if first.symbols:
        raise OpError(
            "E0304",
            f"{what} needs an input of fixed size, but this one is {first}",
            hint=f"reduce over {', '.join(sorted(first.symbols))} first, with mean or max, "
            "or use conv1d(..., window=1) for a map at each step",
            argument=0,
        )
    return elements(size for size in first.shape if isinstance(size, int))


def shape(attrs: Dense, types: Sequence[Type]) -> Type:
    fixed_size(types, "dense")
    return Type("float", (attrs.units,))


def params(attrs: Dense, types: Sequence[Type]) -> tuple[ParamSpec, ...]:
    size = fixed_size(types, "dense")
    weight = ParamSpec("weight", (attrs.units, size), fans=(size, attrs.units))
    bias = ParamSpec("bias", (attrs.units,), Init("zeros"))
    return (weight, bias) if attrs.bias else (weight,)


def forward(attrs: Dense, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    result: Array = params[0] @ inputs[0].reshape(-1)
    return result + params[1] if attrs.bias else result


def backward(
    attrs: Dense, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    (x,) = inputs
    grad_params: list[Array | None] = [np.outer(grad, x.reshape(-1))]
    if attrs.bias:
        grad_params.append(grad)
    return [(params[0].T @ grad).reshape(x.shape)], grad_params


# ---------------------------------------------------------------- kernels

ZERO, BIAS, ADD = 0, 1, 2  # what the sums of `matrix_kernel` start from


@lru_cache
def matrix_kernel(rows: int, epilogue: tuple[str, ...]) -> Kernel:
    """y = f(start + M x), `rows` rows at a time, and there are at least so many.

    The last stretch of rows reaches back over the one before and computes some rows again, unless
    sums are added to what is there (`ADD`): then the number of rows is a multiple.
    """
    every = range(rows)
    text = [
        "def kernel(activation, parameter, gradient, operand):",
        "    x, y, m, b = operand[0], operand[1], operand[2], operand[3]",
        "    rows, columns, row_stride = operand[4], operand[5], operand[6]",
        "    column_stride = operand[7]",
        "    bias_stride, start = operand[8], operand[9]",
        f"    for first in range(0, rows, {rows}):",
        f"        row = min(first, rows - {rows})",
        *(f"        s{r} = broadcast(0.0)" for r in every),
        f"        if start == {BIAS}:",
        *(f"            s{r} = broadcast(parameter[b + (row + {r}) * bias_stride])" for r in every),
        f"        elif start == {ADD}:",
        *(f"            s{r} = load(activation, y + (row + {r}) * LANES)" for r in every),
        "        w = m + row * row_stride",
        "        for column in range(columns):",
        "            v = load(activation, x + column * LANES)",
        *(
            f"            s{r} = fma(broadcast(parameter[w + {r} * row_stride]), v, s{r})"
            for r in every
        ),
        "            w += column_stride",
    ]
    text += [f"        store(activation, y + (row + {r}) * LANES, s{r})" for r in every]
    text += finish(epilogue, "        ", "y + row * LANES", f"{rows}")
    return Kernel("_".join(["matrix", str(rows), *epilogue]), "\n".join(text) + "\n")


def finish(
    epilogue: tuple[str, ...], pad: str, start: str, count: str, step: str = "LANES"
) -> list[str]:
    """Lines that apply pointwise functions to vectors, `step` apart, that were just stored.

    A loop of its own keeps kernels small, and quick to compile; the vectors are still in the
    nearest cache.
    """
    if not epilogue:
        return []
    return [
        f"{pad}for done in range({count}):",
        f"{pad}    at = {start} + done * {step}",
        f"{pad}    v = load(activation, at)",
        *(f"{pad}    {line}" for line in apply(epilogue, "v")),
        f"{pad}    store(activation, at, v)",
    ]


@lru_cache
def outer_kernel(rows: int) -> Kernel:
    """G += a b^T summed over the samples of the tile, where one stride of G is 1.

    `b` is turned over first, so that lanes run along the columns of G; leftover columns, and all
    where that stride is not 1, are added one number at a time.
    """
    every = range(rows)
    text = [
        "def kernel(activation, parameter, gradient, operand):",
        "    a, b, turned, g = operand[0], operand[1], operand[2], operand[3]",
        "    rows, columns, row_stride = operand[4], operand[5], operand[6]",
        "    column_stride = operand[7]",
        "    width = (columns + LANES - 1) // LANES * LANES",
        "    for c in range(0, columns, LANES):",
        "        transpose(activation, b + c * LANES, LANES, activation, turned + c, width)",
        "    spare = turned + width * LANES",
        f"    for first in range(0, rows, {rows}):",
        f"        row = min(first, rows - {rows})",
        "        known = first - row",
        "        for c in range(0, columns, LANES):",
        *(f"            s{r} = broadcast(0.0)" for r in every),
        "            for lane in range(LANES):",
        "                v = load(activation, turned + lane * width + c)",
        *(
            f"                s{r} = fma("
            f"broadcast(activation[a + (row + {r}) * LANES + lane]), v, s{r})"
            for r in every
        ),
        "            if column_stride == 1 and c + LANES <= columns:",
        "                at = g + row * row_stride + c",
    ]
    for r in every:
        text += [
            f"                if {r} >= known:",
            f"                    store(gradient, at + {r} * row_stride, "
            f"load(gradient, at + {r} * row_stride) + s{r})",
        ]
    text += [
        "            else:",
        *(f"                store(activation, spare + {r} * LANES, s{r})" for r in every),
        f"                for r in range(known, {rows}):",
        "                    at = g + (row + r) * row_stride + c * column_stride",
        "                    for k in range(min(LANES, columns - c)):",
        "                        gradient[at + k * column_stride] += "
        "activation[spare + r * LANES + k]",
    ]
    return Kernel(f"outer_{rows}", "\n".join(text) + "\n")


# The same product for one sample, whose numbers lie in order: of rows that do, of columns that do,
# and of two vectors.


@lru_cache
def dot_kernel(rows: int) -> Kernel:
    """y = start + M x for one sample, where each row of M lies in order; `rows` rows at a time."""
    every = range(rows)
    text = [
        "def kernel(activation, parameter, gradient, operand):",
        "    x, y, m, b = operand[0], operand[1], operand[2], operand[3]",
        "    rows, columns, row_stride, start = operand[4], operand[5], operand[6], operand[7]",
        "    whole = columns // LANES * LANES",
        f"    for first in range(0, rows, {rows}):",
        f"        row = min(first, rows - {rows})",
        "        w = m + row * row_stride",
        *(f"        s{r} = broadcast(0.0)" for r in every),
        "        for c in range(0, whole, LANES):",
        "            v = load(activation, x + c)",
        *(
            f"            s{r} = fma(load(parameter, w + {r} * row_stride + c), v, s{r})"
            for r in every
        ),
        *(f"        t{r} = sum_lanes(s{r})" for r in every),
        "        for c in range(whole, columns):",
        "            v1 = activation[x + c]",
        *(f"            t{r} += parameter[w + {r} * row_stride + c] * v1" for r in every),
        f"        if start == {BIAS}:",
        *(f"            t{r} += parameter[b + row + {r}]" for r in every),
        f"        elif start == {ADD}:",
        *(f"            t{r} += activation[y + row + {r}]" for r in every),
        *(f"        activation[y + row + {r}] = t{r}" for r in every),
    ]
    return Kernel(f"dot_{rows}", "\n".join(text) + "\n")


@lru_cache
def columns_kernel(vectors: int) -> Kernel:
    """The same where each column of M lies in order; `vectors` vectors of rows at a time."""
    every = range(vectors)
    text = [
        "def kernel(activation, parameter, gradient, operand):",
        "    x, y, m, b = operand[0], operand[1], operand[2], operand[3]",
        "    vectors, columns, column_stride, start = "
        "operand[4], operand[5], operand[6], operand[7]",
        f"    for first in range(0, vectors, {vectors}):",
        f"        row = min(first, vectors - {vectors}) * LANES",
        *(f"        s{k} = broadcast(0.0)" for k in every),
        f"        if start == {BIAS}:",
        *(f"            s{k} = load(parameter, b + row + {k} * LANES)" for k in every),
        f"        elif start == {ADD}:",
        *(f"            s{k} = load(activation, y + row + {k} * LANES)" for k in every),
        "        w = m + row",
        "        for c in range(columns):",
        "            v = broadcast(activation[x + c])",
        *(f"            s{k} = fma(load(parameter, w + {k} * LANES), v, s{k})" for k in every),
        "            w += column_stride",
        *(f"        store(activation, y + row + {k} * LANES, s{k})" for k in every),
    ]
    return Kernel(f"columns_{vectors}", "\n".join(text) + "\n")


RANK_ONE = Kernel(
    "rank_one",
    """def kernel(activation, parameter, gradient, operand):
    a, b, g, rows, vectors, row_stride = (
        operand[0], operand[1], operand[2], operand[3], operand[4], operand[5])
    for row in range(rows):
        v = broadcast(activation[a + row])
        at = g + row * row_stride
        for c in range(vectors):
            s = load(gradient, at + c * LANES)
            store(gradient, at + c * LANES, fma(v, load(activation, b + c * LANES), s))
""",
)


SUM_LANES = Kernel(
    "sum_lanes",
    """def kernel(activation, parameter, gradient, operand):
    x, g, rows, count, stride = operand[0], operand[1], operand[2], operand[3], operand[4]
    step = operand[5]
    for row in range(rows):
        s = broadcast(0.0)
        for i in range(count):
            s = s + load(activation, x + row * step + i * LANES)
        gradient[g + row * stride] += sum_lanes(s)
""",
)


ROW_TILES = (8, 6, 4, 2, 1)
DOT_TILES = (4, 1)
SUM_TILES = (8, 4, 2, 1)


def fitting(emitter: Emitter, tiles: Sequence[int], lanes: int) -> tuple[int, ...]:
    """Tiles whose sums fit the registers beside an input and a weight."""
    held = emitter.registers
    return tuple(tile for tile in tiles if tile == 1 or held.hold(tile + 1, lanes))


def reaching(count: int, widths: Sequence[int], add: bool) -> list[tuple[int, int, int]]:
    """`pieces`, or the widest that fits with a last one that reaches back."""
    if add:
        return pieces(count, widths)
    width = next(width for width in widths if width <= count)
    whole, rest = divmod(count, width)
    return [(0, whole, width), *([(count - width, 1, width)] if rest else [])]


LINE, SETS, WAYS = 16, 64, 8  # of the nearest cache: numbers of a line, sets, lines in each


def crowded(count: int, stride: int) -> bool:
    """Whether so many numbers, so far apart, push each other out of the nearest cache by far.

    What lies a large power of two apart falls into few of its sets.
    """
    sets = {abs(i * stride) // LINE % SETS for i in range(count)}
    return abs(stride) >= LINE and count >= 4 * WAYS * len(sets)


def covered(count: int, tiles: Sequence[int], add: bool) -> list[tuple[int, int, int]]:
    """Stretches as `split` makes them, or one of the largest tile that fits where rows may be
    computed twice."""
    if add:
        return split(count, tiles)
    return [(0, count, next(tile for tile in tiles if tile <= count))]


def multiply(
    emitter: Emitter,
    x: Buffer,
    y: Buffer,
    matrix: ParamBuffer,
    *,
    turned: bool = False,
    bias: ParamBuffer | None = None,
    add: bool = False,
) -> None:
    """Rows of the tape for y = M x, or M^T x when `turned`."""
    rows, columns = matrix.shape[::-1] if turned else matrix.shape
    row_stride, column_stride = matrix.strides[::-1] if turned else matrix.strides
    start = ADD if add else BIAS if bias is not None else ZERO
    bias_stride = bias.strides[0] if bias is not None else 0
    epilogue = () if turned else emitter.epilogue
    if emitter.lanes == 1 and 1 in (row_stride, column_stride) and bias_stride in (0, 1):
        at = bias.offset if bias is not None else 0
        strides = (row_stride, column_stride)
        _multiply_one(emitter, x.offset, y.offset, matrix.offset, at, rows, columns, strides, start)
        if epilogue:
            each_number(emitter, forward_kernel(epilogue), (y.offset, y.offset), rows)
        return
    for first, length, tile in covered(rows, fitting(emitter, ROW_TILES, emitter.lanes), add):
        emitter.call(
            matrix_kernel(tile, epilogue),
            x.offset,
            y.offset + first * emitter.lanes,
            matrix.offset + first * row_stride,
            bias.offset + first * bias_stride if bias is not None else 0,
            length,
            columns,
            row_stride,
            column_stride,
            bias_stride,
            start,
        )


def _multiply_one(
    emitter: Emitter,
    x: int,
    y: int,
    matrix: int,
    bias: int,
    rows: int,
    columns: int,
    strides: tuple[int, int],
    start: int,
) -> None:
    """The same for one sample, of whose matrix rows or columns lie in order; x, ... are places."""
    row_stride, column_stride = strides
    add = start == ADD
    if column_stride == 1:
        for first, length, tile in covered(rows, DOT_TILES, add):
            emitter.call(
                dot_kernel(tile),
                *(x, y + first, matrix + first * row_stride, bias + first),
                *(length, columns, row_stride, start),
                lanes=emitter.widths[0],
            )
        return
    for first, vectors, width in reaching(rows, emitter.widths, add):
        for v, length, tile in covered(vectors, fitting(emitter, SUM_TILES, width), add):
            here = first + v * width
            emitter.call(
                columns_kernel(tile),
                *(x, y + here, matrix + here, bias + here),
                *(length, columns, column_stride, start),
                lanes=width,
            )


def add_outer(emitter: Emitter, a: Buffer, b: Buffer, target: ParamBuffer) -> None:
    """Rows of the tape for target += a b^T."""
    row_stride, column_stride = target.strides
    if row_stride == 1 and column_stride != 1:
        a, b, row_stride, column_stride = b, a, column_stride, row_stride
    rows, columns = a.elements, b.elements
    if emitter.lanes == 1 and column_stride == 1:
        for first, vectors, width in pieces(columns, emitter.widths):
            place = target.offset + first
            emitter.call(
                RANK_ONE,
                *(a.offset, b.offset + first, place, rows, vectors, row_stride),
                lanes=width,
            )
        return
    width = -(-columns // emitter.lanes) * emitter.lanes
    turned = emitter.scratch(width + max(ROW_TILES))
    tile = next(tile for tile in fitting(emitter, ROW_TILES, emitter.lanes) if tile <= rows)
    emitter.call(
        outer_kernel(tile),
        a.offset,
        b.offset,
        turned.offset,
        target.offset,
        rows,
        columns,
        row_stride,
        column_stride,
    )


def add_sums(emitter: Emitter, x: Buffer, target: ParamBuffer) -> None:
    """target[c] += sum of x[c, ...] over everything but its first axis, and over the samples."""
    rows = x.shape[0]
    count, step = x.elements // max(rows, 1), target.strides[0]
    for first, vectors, width in along(emitter, count):
        place, row = x.offset + first, count * emitter.lanes
        emitter.call(SUM_LANES, place, target.offset, rows, vectors, step, row, lanes=width)


def emit(emitter: Emitter) -> None:
    bias = emitter.param(1) if emitter.attrs.bias else None
    multiply(emitter, emitter.input(0), emitter.output(), emitter.param(0), bias=bias)


def emit_backward(emitter: Emitter) -> None:
    grad, weight = emitter.grad_output(), emitter.param(0)
    with emitter.branch(1):
        if weight.trainable:
            add_outer(emitter, grad, emitter.input(0), weight)
        if emitter.attrs.bias and emitter.param(1).trainable:
            add_sums(emitter, grad, emitter.param(1))
    wanted = emitter.grad_input(0)
    if wanted is not None:
        with emitter.branch(2):
            if emitter.lanes > 1 and crowded(emitter.attrs.units, weight.strides[0]):
                weight = emitter.turned(0, (1, 0))
            multiply(emitter, grad, wanted[0], weight, turned=True, add=wanted[1])


def flops(attrs: Dense, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    return 2 * attrs.units * elements(inputs[0])


DENSE = Op(
    name="dense",
    doc="""Every number of a sample to every output: y = W x + b, with x flattened.

    Input float[...] of fixed size n, output float[units]. Parameters: weight [units, n],
    bias [units]. For a map at each step of a sequence use conv1d with window 1.
    """,
    category="layer",
    inputs=("x",),
    Attrs=Dense,
    shape=shape,
    params=params,
    forward=forward,
    backward=backward,
    saves=frozenset({"inputs"}),
    emit=emit,
    emit_backward=emit_backward,
    epilogue=True,
    flops=flops,
)
