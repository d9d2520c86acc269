"""What a tie statement says, parameter by parameter: `child = steps(parent)`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiedgraph.diagnostics import Diagnostics, Span
from tiedgraph.ir.graph import Graph, Step, Tie
from tiedgraph.ties.layout import Shape
from tiedgraph.ties.view import ViewError, check_step, inverse


@dataclass(frozen=True)
class Edge:
    """One parameter defined through another: `child = steps(parent)`.

    parent: "" for an index map, whose free numbers no parameter declares; `steps` is then the map.
    joint: for index maps of several parameters onto the same free numbers, a name for these.
    span, parent_span: where the file names them.
    """

    child: str
    parent: str
    steps: tuple[Step, ...]
    tie: Tie
    span: Span | None = None
    parent_span: Span | None = None
    joint: str = ""


def parameters_of(graph: Graph, path: str) -> dict[str, str]:
    """Ids of an instance's parameters by their names in it; a parameter is its own, named ""."""
    if path in graph.params:
        return {"": path}
    part = graph.instances[path].part
    begin = len(part.rpartition(".")[0] if part else path)
    return {name[begin:]: name for name in graph.instances[path].params}


def view_shape(
    steps: Sequence[Step], shape: Shape, span: Span | None, diagnostics: Diagnostics
) -> Shape | None:
    """The shape that a view makes; None after a report."""
    try:
        for step in steps:
            shape = check_step(step, shape)
    except ViewError as error:
        diagnostics.error(error.code, error.message, span, hint=error.hint)
        return None
    return shape


def undo(steps: Sequence[Step], shape: Shape) -> tuple[Step, ...] | None:
    """Steps that read the operand, of `shape`, off the result; None where a view loses numbers."""
    back: list[Step] = []
    for step in steps:
        undone = inverse(step, shape)
        if undone is None:
            return None
        back.insert(0, undone)
        shape = check_step(step, shape)
    return tuple(back)
