"""What recurrent layers write on the tape; their kernels are in `recurrent_kernels`.

Inside, everything lies step by step in the order in which steps are read, so that what one step
needs is side by side: `[steps, rows]` of lane vectors. Row 0 of the states is before the first step
and zero. Backwards, steps are taken in blocks whose gradients of the gates stay in a near cache
until they are multiplied by inputs and states; those sums run over steps and samples at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tiedgraph.ops.copying import FILL_ZERO, copy
from tiedgraph.ops.linear import ADD, BIAS, ZERO, fitting, matrix_kernel, multiply
from tiedgraph.ops.recurrent_kernels import (
    STEP_SUMS,
    TURN,
    back_kernel,
    products_kernel,
    step_kernel,
)
from tiedgraph.ops.rules import Array, Buffer, Emitter, Kernel, ParamBuffer, pieces, split


@dataclass(frozen=True)
class Cell:
    """What one step does.

    gates: rows of the parameters for each unit. apart: how many of them, the last ones, multiply
      the state by itself and keep that product (and its bias) to be used by the cell.
    memory: whether there is a state beside the output (the lstm's).
    step(attrs, gates, apart, state, memory): (gates, state, memory) after a step; arrays [units],
      gates in rows before and after their functions.
    back(attrs, gates, apart, before, memory, memory_before, d_state, d_memory): gradients
      (gates, apart, state before by another way than the gates, memory before).
    forward, backward: kernel text of the same at one unit; see `step_kernel` and `back_kernel`.
    """

    gates: int
    apart: int
    memory: bool
    step: Callable[..., tuple[Array, Array, Array]]
    back: Callable[..., tuple[Array, Array, Array, Array]]
    forward: Callable[[Any], tuple[str, ...]]
    backward: Callable[[Any], tuple[str, ...]]


def steps_of(attrs: Any, steps: int) -> range:
    """Which steps are read, in order."""
    return range(steps - 1, -1, -1) if attrs.reverse else range(steps)


# ---------------------------------------------------------------- products on the tape

ROW_TILES = (12, 8, 6, 4, 2, 1)
PRODUCT_TILES = (6, 4, 2, 1)  # rows of `products_kernel`, of two vectors where they fit
NEAR = 1 << 15  # numbers of a block's gradients


def part(param: ParamBuffer, first: int, rows: int) -> ParamBuffer:
    """Some rows of a matrix, or numbers of a vector."""
    offset = param.offset + first * param.strides[0]
    return replace(param, offset=offset, shape=(rows, *param.shape[1:]))


def product(
    emitter: Emitter,
    matrix: ParamBuffer,
    x: int,
    y: int,
    start: int,
    bias: ParamBuffer | None = None,
    turned: bool = False,
) -> None:
    """y = start + M x, or M^T x, of one step."""
    rows, columns = matrix.shape[::-1] if turned else matrix.shape
    if emitter.lanes == 1:
        source, target = Buffer(x, (columns,)), Buffer(y, (rows,))
        own = bias if start == BIAS else None
        multiply(emitter, source, target, matrix, turned=turned, bias=own, add=start == ADD)
        return
    strides = matrix.strides[::-1] if turned else matrix.strides
    at, step = (bias.offset, bias.strides[0]) if bias is not None else (0, 0)
    for first, length, tile in split(rows, fitting(emitter, ROW_TILES, emitter.lanes)):
        emitter.call(
            matrix_kernel(tile, ()),
            *(x, y + first * emitter.lanes, matrix.offset + first * strides[0], at + first * step),
            *(length, columns, *strides, step, start),
        )


@dataclass(frozen=True)
class Rows:
    """Some steps of a sequence, `rows` lane vectors each, that lie `step` numbers apart."""

    offset: int
    rows: int
    step: int

    def at(self, k: int) -> int:
        return self.offset + k * self.step

    def part(self, lanes: int, first: int, rows: int) -> Rows:
        return Rows(self.offset + first * lanes, rows, self.step)

    def since(self, k: int) -> Rows:
        return replace(self, offset=self.at(k))


class Products:
    """Writes the parameters' gradients of one block of steps after another."""

    def __init__(self, emitter: Emitter, most: int, steps: int) -> None:
        """most: rows that are turned over; steps: of a block."""
        self.emitter = emitter
        lanes = emitter.lanes
        self.wide = emitter.widths[0] if lanes == 1 else lanes
        most_rows = PRODUCT_TILES[0]
        self.vectors = 2 if emitter.registers.hold(2 * most_rows + 2, self.wide) else 1
        slack = self.wide * self.vectors * most_rows
        self.spare = emitter.scratch(slack).offset
        wanted = 0 if lanes == 1 else (steps * (-(-most // lanes)) * lanes + slack)
        self.turned = emitter.scratch(wanted).offset

    def add(self, a: Rows, b: Rows, steps: int, target: ParamBuffer) -> None:
        """target += a b^T, summed over so many steps."""
        emitter, lanes = self.emitter, self.emitter.lanes
        row_stride, column_stride = target.strides
        if row_stride == 1 and column_stride != 1:
            a, b, row_stride, column_stride = b, a, column_stride, row_stride
        right, step, row = b.offset, b.step, 0
        if lanes > 1:
            width = -(-b.rows // lanes) * lanes
            emitter.call(TURN, b.offset, self.turned, steps, b.rows, b.step, width)
            right, step, row = self.turned, lanes * width, width
        tile = next(tile for tile in PRODUCT_TILES if tile <= a.rows)
        emitter.call(
            products_kernel(tile, self.vectors),
            *(a.offset, right, target.offset, self.spare),
            *(a.rows, b.rows, row_stride, column_stride),
            *(steps, lanes, a.step, lanes, step, row),
            lanes=self.wide,
        )

    def add_sums(self, x: Rows, steps: int, target: ParamBuffer) -> None:
        """target += x, summed over so many steps."""
        stride = target.strides[0]
        self.emitter.call(STEP_SUMS, x.offset, target.offset, steps, x.rows, x.step, stride)


# ---------------------------------------------------------------- a sequence on the tape


@dataclass(frozen=True)
class _Sequence:
    """Where everything lies that is kept, by the number of a step in the order of reading.

    States and memory have one row more, which is before the first step.
    """

    steps: int
    gates: Rows
    product: Rows
    states: Rows
    memory: Rows
    length: int


def keeps(cell: Cell) -> Callable[[Any, Sequence[tuple[int, ...]], tuple[int, ...]], int]:
    """Vectors that the way back needs: gates, products, states and memory."""

    def count(attrs: Any, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
        steps = inputs[0][1]
        rows = (cell.gates + cell.apart) * steps + (1 + cell.memory) * (steps + 1)
        return int(rows * attrs.units)

    return count


def _sequence(emitter: Emitter, cell: Cell) -> _Sequence:
    attrs, steps = emitter.attrs, emitter.input(0).shape[1]
    top = emitter.kept().offset

    def take(rows: int, count: int) -> Rows:
        nonlocal top
        found = Rows(top, rows * attrs.units, rows * attrs.units * emitter.lanes)
        top += count * found.step
        return found

    return _Sequence(
        steps,
        take(cell.gates, steps),
        take(cell.apart, steps),
        take(1, steps + 1),
        take(int(cell.memory), steps + 1),
        emitter.input(1).offset if attrs.timed else -1,
    )


def _step_rows(
    emitter: Emitter,
    kernel: Kernel,
    places: Sequence[int],
    rest: Sequence[int],
    more: Sequence[int],
) -> None:
    """Rows of a step's kernel: its places, how many units, rest and further places."""
    lanes, units = emitter.lanes, emitter.attrs.units
    width = [(0, units, lanes)] if lanes > 1 else pieces(units, (emitter.widths[0], 1))
    for first, vectors, wide in width:
        emitter.call(
            kernel,
            *(at + first if at >= 0 else at for at in places),
            *(vectors, units * lanes, *rest),
            *(at + first for at in more),
            lanes=wide,
        )


def _copy_steps(
    emitter: Emitter, value: Buffer, rows: Rows, order: range, back: bool = False, add: bool = False
) -> None:
    """Copies steps of a value [rows, time] into rows in the order of reading, or back."""
    lanes, steps = emitter.lanes, value.shape[1]
    place = value.offset + order[0] * lanes
    shape = (len(order), rows.rows)
    outside, inside = (order.step * lanes, steps * lanes), (rows.step, lanes)
    if back:
        copy(emitter, rows.offset, place, shape, inside, outside, add)
    else:
        copy(emitter, place, rows.offset, shape, outside, inside)


def _scratch_rows(emitter: Emitter, rows: int, steps: int) -> Rows:
    return Rows(emitter.scratch(rows * steps).offset, rows, rows * emitter.lanes)


def emit(cell: Cell, name: str) -> Callable[[Emitter], None]:
    def write(emitter: Emitter) -> None:
        attrs, lanes, units = emitter.attrs, emitter.lanes, emitter.attrs.units
        x, made = emitter.input(0), emitter.output()
        s = _sequence(emitter, cell)
        order = steps_of(attrs, s.steps)
        cut = (cell.gates - cell.apart) * units
        weight, recurrent = emitter.param(0), emitter.param(1)
        main, apart = part(recurrent, 0, cut), part(recurrent, cut, cell.apart * units)
        bias, own = _biases(emitter, cell)
        start = BIAS if attrs.bias else ZERO
        given = _scratch_rows(emitter, x.shape[0], s.steps)
        if order:
            _copy_steps(emitter, x, given, order)
        emitter.call(FILL_ZERO, s.states.offset, units)
        if cell.memory:
            emitter.call(FILL_ZERO, s.memory.offset, units)
        kernel = step_kernel(
            name, cell.forward(attrs), cell.gates, cell.apart, cell.memory, lanes == 1
        )
        for k, t in enumerate(order):
            product(emitter, weight, given.at(k), s.gates.at(k), start, bias)
            if k and cut:
                product(emitter, main, s.states.at(k), s.gates.at(k), ADD)
            if cell.apart:
                product(emitter, apart, s.states.at(k), s.product.at(k), start, own)
            _step_rows(
                emitter,
                kernel,
                (s.gates.at(k), s.product.at(k), s.states.at(k), s.states.at(k + 1))
                + (s.memory.at(k), s.memory.at(k + 1)),
                (s.length, t),
                (),
            )
        if attrs.last:
            copy(emitter, s.states.at(s.steps), made.offset, (units,), (lanes,), (lanes,))
        elif order:
            _copy_steps(emitter, made, s.states.since(1), order, back=True)

    return write


def _biases(emitter: Emitter, cell: Cell) -> tuple[ParamBuffer | None, ParamBuffer | None]:
    if not emitter.attrs.bias:
        return None, None
    return emitter.param(2), emitter.param(3) if cell.apart else None


def emit_backward(cell: Cell, name: str) -> Callable[[Emitter], None]:
    def write(emitter: Emitter) -> None:
        attrs, lanes, units = emitter.attrs, emitter.lanes, emitter.attrs.units
        x, grad, wanted = emitter.input(0), emitter.grad_output(), emitter.grad_input(0)
        s = _sequence(emitter, cell)
        order = steps_of(attrs, s.steps)
        cut, channels = (cell.gates - cell.apart) * units, x.shape[0]
        weight, recurrent = emitter.param(0), emitter.param(1)
        main, apart = part(recurrent, 0, cut), part(recurrent, cut, cell.apart * units)
        bias, own = _biases(emitter, cell)
        block = max(1, min(s.steps, NEAR // (cell.gates * units * lanes)))
        d_gates = _scratch_rows(emitter, cell.gates * units, block)
        d_product = _scratch_rows(emitter, cell.apart * units, block)
        given = _scratch_rows(emitter, channels, block)
        d_given = _scratch_rows(emitter, channels if wanted else 0, block)
        d_made = _scratch_rows(emitter, 0 if attrs.last else units, block)
        d_state, d_memory = emitter.scratch(units).offset, emitter.scratch(units).offset
        products = Products(emitter, max(cell.gates * units, channels), block)
        kernel = back_kernel(
            name, cell.backward(attrs), cell.gates, cell.apart, cell.memory, lanes == 1
        )
        if attrs.last:
            copy(emitter, grad.offset, d_state, (units,), (lanes,), (lanes,))
        else:
            emitter.call(FILL_ZERO, d_state, units)
        emitter.call(FILL_ZERO, d_memory, units)
        for end in range(s.steps, 0, -block):
            first = max(0, end - block)
            count, these = end - first, order[first:end]
            if not attrs.last:
                _copy_steps(emitter, grad, d_made, these)
            for k in reversed(range(first, end)):
                here = k - first
                _step_rows(
                    emitter,
                    kernel,
                    (s.gates.at(k), s.product.at(k), s.states.at(k))
                    + (-1 if attrs.last else d_made.at(here), s.memory.at(k), s.memory.at(k + 1)),
                    (s.length, order[k]),
                    (d_gates.at(here), d_product.at(here), d_state, d_memory),
                )
                if k and cut:
                    product(emitter, main, d_gates.at(here), d_state, ADD, turned=True)
                if k and cell.apart:
                    product(emitter, apart, d_product.at(here), d_state, ADD, turned=True)
                if wanted:
                    through = (d_gates.at(here), d_given.at(here))
                    product(emitter, weight, *through, ZERO, turned=True)
            if wanted:
                into, add = wanted
                _copy_steps(emitter, into, d_given, these, back=True, add=add)
            before = s.states.since(first)
            if weight.trainable:
                _copy_steps(emitter, x, given, these)
                products.add(d_gates, given, count, weight)
            if recurrent.trainable and cut:
                products.add(d_gates.part(lanes, 0, cut), before, count, main)
            if recurrent.trainable and cell.apart:
                products.add(d_product, before, count, apart)
            if bias is not None and bias.trainable:
                products.add_sums(d_gates, count, bias)
            if own is not None and own.trainable:
                products.add_sums(d_product, count, own)

    return write
