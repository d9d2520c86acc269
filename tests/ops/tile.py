"""Runs the kernels of one op on bare tiles, without any pass: the op's own rows and nothing else.

Everything around the op is made as unkind as its contract allows: parameters lie with odd strides,
steps beyond a sample's length hold garbage, memory to be written holds NaN, and gradients are added
to something.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from cases import Array, Lengths, Prepared

from tiedgraph.codegen import driver, kernels
from tiedgraph.ir.types import bind
from tiedgraph.lanes.machine import registers
from tiedgraph.ops.rules import Buffer, Emitter, Kernel, ParamBuffer
from tiedgraph.runtime.turned import matrices

Row = tuple[Kernel | None, tuple[int, ...], bool, int]


@dataclass
class Result:
    """What came out, one array a sample: padded to the longest of the batch."""

    output: list[Array]
    grad_inputs: dict[int, list[Array]]
    grad_params: list[Array | None]


class Tiles(Emitter):
    """All tiles of one batch, each with its own memory; rows run on all before the next row."""

    def __init__(
        self,
        prepared: Prepared,
        dtype: str,
        longest: Lengths,
        accumulate: bool,
        single: bool = False,
    ) -> None:
        self.attrs = prepared.attrs
        lanes = 64 // np.dtype(dtype).itemsize
        self.lanes = 1 if single else lanes
        self.widths = (lanes, lanes // 2, lanes // 4, 1) if single else (lanes,)
        self.registers = registers(np.dtype(dtype).itemsize)
        self.parts = 2 if single else 1
        self.epilogue = ()
        self.dtype = dtype
        self.accumulate = accumulate
        self.rows: list[Row] = []
        self.op = prepared.op
        self.keeping: Buffer | None = None
        self.size = 0
        self.numbers = 0
        self.statistics: dict[str, int] = {}
        implicit = [()] * len(prepared.implicit)
        shapes = [*(bind(t.shape, longest) for t in prepared.case.types), *implicit]
        self.inputs = [self._place(shape) for shape in shapes]
        self.made = self._place(prepared.bound(longest))
        self.given = self._place(prepared.bound(longest))
        floats = [i for i, t in enumerate(prepared.case.types) if t.kind == "float"]
        self.grads = {i: self._place(self.inputs[i].shape) for i in floats}
        self.params = [self._place_param(spec.shape, spec.trainable) for spec in prepared.specs]

    def _place(self, shape: tuple[int, ...]) -> Buffer:
        buffer = Buffer(self.size * self.lanes, shape)
        self.size += buffer.elements
        return buffer

    def _place_param(self, shape: tuple[int, ...], trainable: bool) -> ParamBuffer:
        """Last axis slowest, with a gap between numbers."""
        strides = [2 * prod(shape[:axis]) for axis in range(len(shape))]
        buffer = ParamBuffer(self.numbers + 3, shape, tuple(strides), trainable)
        self.numbers += 2 * prod(shape) + 3
        return buffer

    def input(self, i: int) -> Buffer:
        return self.inputs[i]

    def output(self) -> Buffer:
        return self.made

    def grad_output(self) -> Buffer:
        return self.given

    def grad_input(self, i: int) -> tuple[Buffer, bool] | None:
        return (self.grads[i], self.accumulate) if i in self.grads else None

    def param(self, i: int) -> ParamBuffer:
        return self.params[i]

    def turned(self, i: int, order: tuple[int, ...]) -> ParamBuffer:
        param = self.params[i]
        shape = tuple(param.shape[axis] for axis in order)
        source = replace(param, shape=shape, strides=tuple(param.strides[a] for a in order))
        copy = self.numbers + 3
        self.numbers = copy + prod(shape)
        rows = matrices(source, copy)
        operands = (len(rows), *(n for row in rows for n in row))
        self.call(driver.REORDER, *operands, once=True)
        strides = [prod(shape[order.index(axis) + 1 :]) for axis in range(len(order))]
        return ParamBuffer(copy, param.shape, tuple(strides), trainable=False)

    def scratch(self, elements: int) -> Buffer:
        return self._place((elements,))

    def kept(self) -> Buffer:
        if self.keeping is None:
            assert self.op.keeps is not None
            shapes = [buffer.shape for buffer in self.inputs]
            self.keeping = self._place((self.op.keeps(self.attrs, shapes, self.made.shape),))
        return self.keeping

    def statistic(self, name: str, count: int) -> int:
        if name not in self.statistics:
            self.statistics[name] = self.numbers
            self.numbers += count
        return self.statistics[name]

    def sum_statistic(self, name: str, count: int) -> None:
        self.rows.append((None, (self.statistic(name, count), count), True, self.lanes))

    @contextmanager
    def branch(self, number: int) -> Iterator[None]:
        before, self.parts = self.parts, 1
        yield
        self.parts = before

    def call(
        self,
        kernel: Kernel,
        *operands: int,
        once: bool = False,
        update: bool = False,
        lanes: int | None = None,
    ) -> None:
        assert all(isinstance(o, int) for o in operands)
        if not update:
            self.rows.append((kernel, operands, once, lanes or self.lanes))


def run(
    prepared: Prepared,
    dtype: str,
    samples: Sequence[Sequence[Array]],
    lengths: Sequence[Lengths],
    params: Sequence[Array],
    given: Sequence[Array] | None,
    accumulate: bool = False,
    longest: Lengths | None = None,
    single: bool = False,
) -> Result:
    """Forwards, and backwards from `given`, over a batch of samples with their implicit inputs.

    longest: what run-time sizes are padded to; the longest of the batch where None.
    single: with one sample a tile.
    """
    if longest is None:
        longest = {name: max(n[name] for n in lengths) for name in lengths[0]}
    random = np.random.default_rng(9)
    tiles = Tiles(prepared, dtype, longest, accumulate, single)
    op = prepared.op
    assert op.emit is not None
    op.emit(tiles)
    forward_rows = len(tiles.rows)
    if given is not None and op.emit_backward is not None:
        op.emit_backward(tiles)
    lanes = tiles.lanes
    count = -(-len(samples) // lanes)
    memory = [np.full((tiles.size + lanes) * lanes, np.nan, dtype) for _ in range(count)]
    parameter = np.full(tiles.numbers + lanes, np.nan, dtype)
    gradient = np.zeros(tiles.numbers + lanes, dtype)
    for buffer, param in zip(tiles.params, params, strict=True):
        _strided(parameter, buffer)[...] = param
    fill = fill_of(prepared)
    weights = [item.role == "weight" for item in prepared.implicit]
    declared = len(prepared.case.types)
    kinds = [*prepared.case.types, *[None] * len(prepared.implicit)]
    for tile, arena in enumerate(memory):
        for lane in range(lanes):
            real = tile * lanes + lane < len(samples)
            number = min(tile * lanes + lane, len(samples) - 1)
            for buffer, kind, value in zip(tiles.inputs, kinds, samples[number], strict=True):
                if kind is None or kind.kind != "float":
                    junk = np.zeros(buffer.shape)
                elif fill is None:
                    junk = random.normal(size=buffer.shape) * 3.0
                else:
                    junk = np.full(buffer.shape, fill)
                _lane(arena, buffer, lane, lanes)[...] = _padded(value, junk)
            for buffer, weight in zip(tiles.inputs[declared:], weights, strict=True):
                if weight and not real:
                    _lane(arena, buffer, lane, lanes)[...] = 0.0
            if given is not None:
                value = given[number] * real
                zeros = np.zeros(tiles.given.shape)
                _lane(arena, tiles.given, lane, lanes)[...] = _padded(value, zeros)
            for i, buffer in tiles.grads.items():
                if accumulate:
                    _lane(arena, buffer, lane, lanes)[...] = float(i + 1)
    entries = [k and kernels.entry(k, dtype, lanes) for k, _, _, lanes in tiles.rows]
    output: list[Array] = []
    for index, ((kernel, operands, once, _), entry) in enumerate(
        zip(tiles.rows, entries, strict=True)
    ):
        if index == forward_rows:
            output = _unpack(memory, tiles.made, lanes, len(samples))
        if kernel is None:
            place = slice(operands[0], operands[0] + operands[1])
            parameter[place] = gradient[place]
            gradient[place] = 0.0
            continue
        row = np.array(operands, np.int64)
        for arena in memory[:1] if once else memory:
            entry(arena.ctypes.data, parameter.ctypes.data, gradient.ctypes.data, row.ctypes.data)
    if not output:
        output = _unpack(memory, tiles.made, lanes, len(samples))
    return Result(
        output,
        {i: _unpack(memory, buffer, lanes, len(samples)) for i, buffer in tiles.grads.items()},
        [
            _strided(gradient, buffer).copy() if buffer.trainable else None
            for buffer in tiles.params
        ],
    )


def fill_of(prepared: Prepared) -> float | None:
    """What a mask puts beyond the end of this op's inputs, if there is one."""
    padding = prepared.op.padding
    return padding(prepared.attrs) if callable(padding) else padding


def cut(array: Array, shape: tuple[int, ...]) -> Array:
    """The valid part of a padded array."""
    return array[(*(slice(0, size) for size in shape), ...)]


def outside(array: Array, shape: tuple[int, ...]) -> Array:
    """The rest of it, flat."""
    mask = np.ones(array.shape, bool)
    cut(mask, shape)[...] = False
    return array[mask]


def _padded(value: Array, junk: Array) -> Array:
    result = np.array(junk)
    cut(result, np.shape(value))[...] = value
    return result


def _lane(arena: Array, buffer: Buffer, lane: int, lanes: int) -> Array:
    stop = buffer.offset + buffer.elements * lanes
    return arena[buffer.offset : stop].reshape(*buffer.shape, lanes)[..., lane]


def _unpack(memory: Sequence[Array], buffer: Buffer, lanes: int, samples: int) -> list[Array]:
    return [_lane(memory[n // lanes], buffer, n % lanes, lanes).copy() for n in range(samples)]


def _strided(numbers: Array, buffer: ParamBuffer) -> Array:
    item = numbers.itemsize
    return np.lib.stride_tricks.as_strided(
        numbers[buffer.offset :], buffer.shape, [item * step for step in buffer.strides]
    )
