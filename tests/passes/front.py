"""The checker's front: parse, build and infer_shapes, with the graph verified in between."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tiedgraph.diagnostics import Diagnostics, Source
from tiedgraph.ir.graph import Graph
from tiedgraph.ir.verify import verify
from tiedgraph.passes.build import build
from tiedgraph.passes.shapes import infer_shapes
from tiedgraph.syntax.parser import parse

INPUTS = """\
input  x: float[4]
input  image: float[1, 28, 28]
input  frames: float[12, time]
input  words: index[100, time]
target t: float[4]
target label: class[10]
"""


def front(
    text: str,
    define: Mapping[str, float] | None = None,
    root: Path | None = None,
    path: str = "<text>",
) -> tuple[Graph, Diagnostics]:
    """The graph of a text and what was found wrong with it."""
    diagnostics = Diagnostics()
    file = parse(Source(path, text), diagnostics)
    assert file is not None, [item.message for item in diagnostics]
    graph = build(file, diagnostics, define, root)
    if not diagnostics.errors:
        verify(graph, "build")
    graph = infer_shapes(graph, diagnostics)
    if not diagnostics.errors:
        verify(graph, "shapes")
    return graph, diagnostics


def good(text: str, **options: object) -> Graph:
    """The graph of a text that must have no errors; warnings are let through."""
    graph, diagnostics = front(text, **options)  # type: ignore[arg-type]
    assert [f"{e.code} {e.message}" for e in diagnostics.errors] == []
    return graph


def found(text: str, **options: object) -> list[str]:
    """`CODE LINE the underlined text` of each error and warning, in the order found."""
    _, diagnostics = front(text, **options)  # type: ignore[arg-type]
    return [
        f"{item.code} {item.span.line} {item.span.text}" if item.span else item.code
        for item in diagnostics
    ]
