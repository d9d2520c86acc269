"""From a schedule to a tape: rows of (kernel, operands) with all addresses and extents bound.

A tape is made for one set of run-time lengths; the kernels are the same for all. Rows are cut into
*stretches* at barriers: within a stretch every tile runs by itself, and between two stretches one
thread runs the rows that need all tiles (`once`), such as batch statistics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np

from tiedgraph.codegen import driver, kernels
from tiedgraph.ir.graph import Graph, Node
from tiedgraph.ir.types import elements
from tiedgraph.ops import BY_NAME
from tiedgraph.ops.rules import Buffer, Emitter, Kernel, ParamBuffer
from tiedgraph.passes.memory import ALIGNMENT, Memory, Parameters, keeps, plan_memory, shares_memory
from tiedgraph.passes.schedule import Schedule
from tiedgraph.ties.layout import contiguous

LARGE = 1 << 17  # numbers of a gradient that is summed over fewer shards
WORTH = 300_000  # operations of a node that are worth two threads


@dataclass(frozen=True)
class Row:
    """One call: which kernel, for which node, with what."""

    node: str
    kernel: Kernel
    operands: tuple[int, ...]
    lanes: int
    once: bool = False
    update: bool = False
    branch: int = 0


@dataclass(frozen=True)
class Fork:
    """Rows `first` to `cut` and `cut` to `last` (excluded), which two threads may run at once."""

    first: int
    cut: int
    last: int


@dataclass(frozen=True)
class Stretch:
    """Rows `first` to `last` (excluded), run by all tiles, or by one thread when `once`."""

    first: int
    last: int
    once: bool = False


@dataclass(frozen=True)
class Tape:
    """What a program runs for one set of lengths.

    table: [rows, 2] addresses of kernels and offsets into `operands`.
    arena: numbers of activation memory for one tile.
    statistics: for each (node, name), offset and count in the gradient; behind the parameters.
    sums: numbers of all statistics.
    stride: numbers from one shard's gradient to the next.
    shards: how many there are; fewer where gradients are large, since all are summed in each step.
    copies: parameters that kernels read in another order, and where copies in that order lie:
      before the first of all parameters, since no gradient belongs to them.
    before: numbers of all copies.
    """

    rows: tuple[Row, ...]
    table: np.ndarray[Any, np.dtype[np.int64]]
    operands: np.ndarray[Any, np.dtype[np.int64]]
    stretches: tuple[Stretch, ...]
    forks: tuple[Fork, ...]
    arena: int
    memory: Memory
    statistics: Mapping[tuple[str, str], tuple[int, int]]
    sums: int
    stride: int
    shards: int
    copies: Mapping[ParamBuffer, int]
    before: int
    dtype: str
    lanes: int
    lengths: Mapping[str, int] = field(default_factory=dict)


class NodeEmitter(Emitter):
    """Answers one node's questions about addresses and collects its rows."""

    def __init__(self, tape: TapeWriter, node: Node) -> None:
        self._tape = tape
        self._node = node
        self._forward = node.forward or node
        self._scratch = tape.memory.size
        self.attrs = node.attrs
        self.lanes = tape.schedule.lanes
        self.widths = tape.schedule.widths
        self.registers = tape.schedule.registers
        self.epilogue = node.epilogue
        work = operations(tape.schedule.graph, node, tape.memory.shapes)
        self.parts = 2 if self.lanes == 1 and work > WORTH else 1
        self._branch = 0

    def _buffer(self, value: str) -> Buffer:
        memory = self._tape.memory
        return Buffer(memory.values[value] * self.lanes, memory.shapes[value])

    def input(self, i: int) -> Buffer:
        return self._buffer(self._forward.inputs[i])

    def output(self) -> Buffer:
        return self._buffer(self._forward.outputs[0])

    def grad_output(self) -> Buffer:
        return self._buffer(self._node.inputs[-1])

    def grad_input(self, i: int) -> tuple[Buffer, bool] | None:
        value = self._forward.inputs[i]
        for output, before in zip(self._node.outputs, self._node.accumulate, strict=True):
            if gradient_of(output) == value:
                # An op that takes the same value twice adds to what it wrote itself.
                again = value in self._forward.inputs[:i]
                return self._buffer(output), before is not None or again
        return None

    def param(self, i: int) -> ParamBuffer:
        graph = self._tape.schedule.graph
        param = graph.params[self._node.params[i]]
        offset, layout = self._tape.parameters.layouts[param.id]
        trainable = graph.storages[param.view.storage].trainable
        return ParamBuffer(offset, layout.shape, layout.strides, trainable)

    def turned(self, i: int, order: tuple[int, ...]) -> ParamBuffer:
        param = self.param(i)
        shape = tuple(param.shape[axis] for axis in order)
        source = replace(param, shape=shape, strides=tuple(param.strides[axis] for axis in order))
        strides = dict(zip(order, contiguous(shape).strides, strict=True))
        by_axis = tuple(strides[axis] for axis in range(len(order)))
        return ParamBuffer(self._tape.copy(source), param.shape, by_axis, trainable=False)

    def scratch(self, elements: int) -> Buffer:
        result = Buffer(self._scratch * self.lanes, (elements,))
        self._scratch += elements
        self._tape.peak = max(self._tape.peak, self._scratch)
        return result

    def kept(self) -> Buffer:
        return self._buffer(keeps(self._forward))

    def statistic(self, name: str, count: int) -> int:
        return self._tape.statistic((self._forward.id, name), count)

    def sum_statistic(self, name: str, count: int) -> None:
        self._tape.sum_statistic(self._node.id, self.statistic(name, count), count)

    @contextmanager
    def branch(self, number: int) -> Iterator[None]:
        before = self._branch, self.parts
        if self.parts > 1:
            self._branch, self.parts = number, 1
        yield
        self._branch, self.parts = before

    def call(
        self,
        kernel: Kernel,
        *operands: int,
        once: bool = False,
        update: bool = False,
        lanes: int | None = None,
    ) -> None:
        wide = self.lanes if lanes is None else lanes
        told = tuple(int(o) for o in operands)
        self._tape.rows.append(Row(self._node.id, kernel, told, wide, once, update, self._branch))


def bound_shapes(
    node: Node, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
    """Of the inputs and the output of a node forwards; `shapes` are those of a tape's values."""
    # What a function was put behind is no value any more; it was of the same shape.
    made = shapes[node.inputs[-1] if node.role == "backward" else node.outputs[0]]
    return [shapes.get(value, made) for value in (node.forward or node).inputs], made


def operations(graph: Graph, node: Node, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Of one sample, 0 where an op does not count them; shapes as in `bound_shapes`.

    Backwards once for the inputs' gradients and once for the parameters'.
    """
    op = BY_NAME[node.op]
    if op.flops is None:
        return 0
    once = op.flops(node.attrs, *bound_shapes(node, shapes))
    if node.role != "backward":
        return once
    trained = any(graph.storages[graph.params[p].view.storage].trainable for p in node.params)
    return once * (bool(node.outputs) + trained)


def gradient_of(value: str) -> str:
    """The value that a gradient value belongs to: `x` for `d(x)` and `d(x)+`."""
    return value.rstrip("+")[2:-1]


class TapeWriter:
    def __init__(self, schedule: Schedule, memory: Memory, parameters: Parameters) -> None:
        self.schedule = schedule
        self.memory = memory
        self.parameters = parameters
        self.rows: list[Row] = []
        self.statistics: dict[tuple[str, str], tuple[int, int]] = {}
        self.sums = 0
        self.peak = memory.size
        self.copies: dict[ParamBuffer, int] = {}
        self.before = 0

    def copy(self, source: ParamBuffer) -> int:
        """Where a copy of these numbers lies, in their order; the same for all that ask for it."""
        if source not in self.copies:
            self.before += -(-elements(source.shape) // ALIGNMENT) * ALIGNMENT
            self.copies[source] = -self.before
        return self.copies[source]

    def statistic(self, key: tuple[str, str], count: int) -> int:
        if key not in self.statistics:
            self.statistics[key] = (self.parameters.size + self.sums, count)
            self.sums += count
        return self.statistics[key][0]

    def sum_statistic(self, node: str, offset: int, count: int) -> None:
        """One row that sums the shards into the parameter array and clears them."""
        lanes = self.schedule.lanes
        self.rows.append(Row(node, driver.SUM_SHARDS, (offset, count), lanes, once=True))


def write_tape(
    schedule: Schedule, parameters: Parameters, lengths: Mapping[str, int], update: bool = True
) -> Tape:
    """Plans memory and emits every node.

    lengths: the length of each run-time size, in steps.
    update: whether rows that change running statistics are kept.
    """
    memory = plan_memory(schedule, lengths)
    writer = TapeWriter(schedule, memory, parameters)
    for name in schedule.order:
        node = schedule.graph.nodes[name]
        op = BY_NAME[node.op]
        if shares_memory(node):
            continue
        emit = op.emit_backward if node.role == "backward" else op.emit
        if emit is None:
            raise NotImplementedError(f"op {node.op} has no kernels for {node.role}")
        emit(NodeEmitter(writer, node))
    rows = tuple(row for row in writer.rows if update or not row.update)
    lanes = schedule.lanes
    stride = -(-(parameters.size + writer.sums) // ALIGNMENT) * ALIGNMENT
    rows = tuple(
        replace(row, operands=(*row.operands, stride)) if row.kernel is driver.SUM_SHARDS else row
        for row in rows
    )
    # Kernels may read a whole square of lanes from the last vector of a value.
    arena = (writer.peak + lanes) * lanes
    flat: list[int] = []
    starts: list[int] = []
    for row in rows:
        starts.append(len(flat))
        flat.extend(row.operands)
    address = {
        (kernel, wide): kernels.address(kernel, schedule.dtype, wide)
        for kernel, wide in dict.fromkeys((row.kernel, row.lanes) for row in rows)
    }
    table = np.array(
        [[address[row.kernel, row.lanes], at] for row, at in zip(rows, starts, strict=True)],
        np.int64,
    ).reshape(-1, 2)
    return Tape(
        rows,
        table,
        np.array(flat or [0], np.int64),
        _stretches(rows),
        _forks(rows),
        arena,
        memory,
        writer.statistics,
        writer.sums,
        stride,
        driver.SHARDS if stride <= LARGE else driver.SHARDS // 2,
        writer.copies,
        writer.before,
        schedule.dtype,
        lanes,
        dict(lengths),
    )


def _stretches(rows: tuple[Row, ...]) -> tuple[Stretch, ...]:
    stretches: list[Stretch] = []
    for index, row in enumerate(rows):
        if stretches and stretches[-1].once == row.once:
            stretches[-1] = Stretch(stretches[-1].first, index + 1, row.once)
        else:
            stretches.append(Stretch(index, index + 1, row.once))
    return tuple(stretches)


def _forks(rows: tuple[Row, ...]) -> tuple[Fork, ...]:
    """Where rows of branch 1 are followed by some of branch 2."""
    forks: list[Fork] = []
    start, cut, former = 0, 0, ("", 0)
    for (node, branch), same in groupby(rows, key=lambda row: (row.node, row.branch)):
        end = cut + len(list(same))
        if branch == 2 and former == (node, 1):
            forks.append(Fork(start, cut, end))
        start, cut, former = cut, end, (node, branch)
    return tuple(forks)
