"""In what order, and how samples lie in registers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.ir.graph import Graph

LANES = {"float32": 16, "float64": 8}  # numbers in 64 bytes


@dataclass(frozen=True)
class Schedule:
    """A graph with everything decided but addresses.

    order: node ids, each after what it reads.
    lanes: numbers in a vector. lane_axis: what lies along it; with `samples` a tile has `lanes` of
      them.
    """

    graph: Graph
    order: tuple[str, ...]
    dtype: str
    lanes: int
    lane_axis: str = "samples"

    @property
    def single_below(self) -> int:
        """The largest batch that runs with one sample a tile."""
        return self.lanes // 2

    def single(self) -> Schedule:
        """The same for one sample a tile, whose own axes go along the lanes."""
        return replace(self, lanes=1, lane_axis="each value's last axis")

    @property
    def widths(self) -> tuple[int, ...]:
        """Vectors that a plain array may be read with, the widest first."""
        if self.lanes > 1:
            return (self.lanes,)
        return tuple(LANES[self.dtype] >> k for k in range(3)) + (1,)


def schedule(graph: Graph, diagnostics: Diagnostics, dtype: str) -> Schedule:
    """Keeps the graph's order, which is the file's, with backward nodes last to first behind."""
    return Schedule(graph, tuple(graph.nodes), dtype, LANES[dtype])
