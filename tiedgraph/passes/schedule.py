"""In what order, and how samples lie in registers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.ir.graph import Graph
from tiedgraph.ir.types import Extent, Shape
from tiedgraph.lanes.machine import Registers, registers
from tiedgraph.ops import BY_NAME

LANES = {"float32": 16, "float64": 8}  # numbers in 64 bytes
BYTES = {"float32": 4, "float64": 8}


@dataclass(frozen=True)
class Schedule:
    """A graph with everything decided but addresses.

    order: node ids, each after what it reads.
    lanes: numbers in a vector. lane_axis: what lies along it; with `samples` a tile has `lanes` of
      them. long: whether nearly all multiplications are along axes of several vectors.
    registers: the processor's; a vector may take several of them.
    """

    graph: Graph
    order: tuple[str, ...]
    dtype: str
    lanes: int
    registers: Registers
    lane_axis: str = "samples"
    long: bool = False

    def lanes_for(self, samples: int) -> int:
        """How many samples of a batch of so many make a tile, whatever the number of threads.

        Up to one tile's samples are cut into tiles of half the lanes, so that two threads have
        work; cores that do two vectors of half the length at once are as fast with them. A single
        sample, and few of a model whose work lies along long axes, have tiles of their own, and
        these axes go along the lanes.
        """
        if samples > self.lanes:
            return self.lanes
        if samples == 1 or (self.long and samples <= self.lanes // 2):
            return 1
        return self.lanes // 2

    def form(self, samples: int) -> Schedule:
        """The same for a batch of so many samples."""
        lanes = self.lanes_for(samples)
        axis = "each value's last axis" if lanes == 1 else self.lane_axis
        return replace(self, lanes=lanes, lane_axis=axis)

    @property
    def widths(self) -> tuple[int, ...]:
        """Vectors that a plain array may be read with, the widest first: of a register or less."""
        if self.lanes > 1:
            return (self.lanes,)
        widest = min(LANES[self.dtype], self.registers.width)
        return (widest, *(n for n in (widest // 2, widest // 4) if n > 1), 1)


def schedule(graph: Graph, diagnostics: Diagnostics, dtype: str) -> Schedule:
    """Keeps the graph's order, which is the file's, with backward nodes last to first behind."""
    lanes = LANES[dtype]
    long = _is_long(graph, 3 * lanes)
    return Schedule(graph, tuple(graph.nodes), dtype, lanes, registers(BYTES[dtype]), long=long)


def _is_long(graph: Graph, steps: int) -> bool:
    """Whether windows over at least so many steps side by side do nearly all of the work.

    Run-time sizes count as long.
    """
    every = long = 0
    for node in graph.nodes.values():
        op = BY_NAME[node.op]
        if node.role != "forward" or op.flops is None:
            continue
        output = graph.shape_of(node.outputs[0])
        last = output[-1] if output else 1
        far = isinstance(last, Extent)

        def bound(shape: Shape) -> tuple[int, ...]:
            return tuple(size if isinstance(size, int) else 10 * steps for size in shape)

        work = op.flops(node.attrs, [bound(graph.shape_of(v)) for v in node.inputs], bound(output))
        every += work
        if node.op in ("conv1d", "conv2d") and node.attrs.stride[-1] == 1:
            long += work if far or (isinstance(last, int) and last >= steps) else 0
    return long > 0.9 * every
