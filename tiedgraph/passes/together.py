"""What ties say together, where their views do not simply follow from each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tiedgraph.diagnostics import Diagnostics, Span
from tiedgraph.ir.graph import Graph, Step
from tiedgraph.ir.types import elements
from tiedgraph.ties.chain import describe
from tiedgraph.ties.classes import Classes, Equations, alike, merge
from tiedgraph.ties.edge import Edge
from tiedgraph.ties.index_map import make_map
from tiedgraph.ties.layout import Indexed, Shape, entries
from tiedgraph.ties.structure import find_structure, named_structures
from tiedgraph.ties.view import IndexMap, layout, step_map

MAX_COMPARED = 2**24  # entries of one storage whose equality is worked out one by one
TOGETHER = "its ties together"


@dataclass(frozen=True)
class Known:
    """Parameters that were reached from an owner.

    shape: of the storage. steps: the view of each. through: the edge by which each was reached, for
    the owner its index map if it has one.
    """

    owner: str
    shape: Shape
    steps: dict[str, tuple[Step, ...]]
    through: dict[str, Edge]


def report_unreached(edges: Iterable[Edge], known: Known, diagnostics: Diagnostics) -> None:
    """A parameter is part of two things of which neither is part of the other."""
    edge = next(e for e in edges if e.child in known.steps and e.parent not in known.steps)
    _unlike(edge, known, diagnostics)


def report_maps(wrong: Iterable[Edge], known: Known, diagnostics: Diagnostics) -> None:
    """A parameter has an index map whose groups are not those of its other ties."""
    for edge in wrong:
        if not edge.parent:
            _unlike(edge, known, diagnostics)


def _unlike(edge: Edge, known: Known, diagnostics: Diagnostics) -> None:
    before = known.through.get(edge.child)
    others = [(_place(before), "tied to this")] if before is not None else []
    first = f"{_said(before, edge.child)} and " if before is not None else ""
    diagnostics.error(
        "E0402",
        f"'{edge.child}' is tied to two unlike things: {first}{_said(edge, edge.child)}",
        _place(edge),
        label="and to this",
        others=others,
        hint="keep one of the two ties; numbers that several parameters are parts of belong to one "
        "parameter that is larger than all"
        if edge.parent
        else 'keep one of the two ties, or say both as one map in a file: by map("groups.npy")',
    )


def _place(edge: Edge) -> Span | None:
    return edge.parent_span if edge.parent else edge.tie.span


def _said(edge: Edge, child: str) -> str:
    """What an edge ties a parameter to."""
    if not edge.parent:
        return f"numbers by {step_map(edge.steps[0]).text}"
    if edge.child != child:
        return f"'{edge.child}'"
    return describe(edge.steps, edge.parent) if edge.steps else f"'{edge.parent}'"


# ---------------------------------------------------------------- entry by entry


def merge_entries(
    graph: Graph, known: Known, wrong: Sequence[Edge], diagnostics: Diagnostics
) -> IndexMap | None:
    """The numbers that are left when edges hold that do not follow from the views found.

    None after an error: E0406 where entries must be zero, E0403 where one statement ties a
    parameter to a view of itself, E0501. Else a warning says what the ties amount to.
    """
    edge = wrong[0]
    count = elements(known.shape)
    if count > MAX_COMPARED:
        diagnostics.error(
            "E0501",
            f"the views that tie '{edge.child}' go in a circle and disagree, and {count:,} numbers "
            "are too many to compare one by one",
            _place(edge),
            others=_circle(edge, known),
            hint=f"the limit is {MAX_COMPARED:,}; take one of the ties away",
        )
        return None
    found = merge(count, _equations(wrong, known))
    if found.forced.any():
        _report_zero(known, wrong, found, diagnostics)
        return None
    scale = found.coefficient.reshape(known.shape)
    index = found.index.reshape(known.shape)
    itself = next((e for e in wrong if e.child == e.parent), None)
    if itself is not None:
        diagnostics.error(
            "E0403",
            f"'{itself.child}' is tied to a view of itself that disagrees, "
            f"{describe(itself.steps, itself.parent)}: "
            f"only {found.free:,} of its {count:,} numbers would be free",
            itself.tie.span,
            hint=_way_out(graph, known, index, scale),
        )
        return None
    facts = find_structure(Indexed(known.shape, index, scale))
    diagnostics.warn(
        "W0004",
        f"the ties of '{edge.child}' go in a circle; together they leave {found.free:,} of the "
        f"{count:,} numbers of '{known.owner}'" + (f" ({facts[0]})" if facts else ""),
        edge.tie.span,
        label="disagrees with the others unless numbers are equal",
        others=_circle(edge, known),
        hint=_way_out(graph, known, index, scale) + ", or take one of the ties away",
    )
    return IndexMap((found.free,), index, None if np.all(scale == 1) else scale, TOGETHER)


def _equations(edges: Iterable[Edge], known: Known) -> Equations:
    """Entries of the storage that edges make equal."""
    parts = []
    for edge in edges:
        left = entries(layout(known.steps[edge.child], known.shape))
        right = entries(layout((*known.steps[edge.parent], *edge.steps), known.shape))
        parts.append([array.reshape(-1) for array in (*left, *right)])
    return Equations(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _report_zero(
    known: Known, wrong: Sequence[Edge], found: Classes, diagnostics: Diagnostics
) -> None:
    count = len(found.index)
    zeros = int(found.forced.sum())
    alone = (e for e in wrong if merge(count, _equations([e], known)).forced.any())
    edge = next(alone, wrong[-1])
    what = f"all numbers of '{edge.child}'"
    if zeros < count:
        what = f"{zeros:,} of the {count:,} numbers of '{known.owner}'"
    diagnostics.error(
        "E0406",
        f"the ties force {what} to be zero",
        edge.tie.span,
        label="a number would be another multiple of itself",
        others=_circle(edge, known) if edge.child != edge.parent else (),
        hint="take one of the ties away; entries that shall be zero are -1 in by map(...)",
    )


def _circle(edge: Edge, known: Known) -> list[tuple[Span | None, str]]:
    """The ties by which both ends of an edge were reached from the owner."""
    places: dict[Span | None, str] = {}
    for name in (edge.child, edge.parent):
        seen: set[str] = set()
        while name in known.through and name not in seen and len(places) < 4:
            seen.add(name)
            step = known.through[name]
            if step.tie is not edge.tie:
                places[step.tie.span] = "with this tie"
            name = step.parent if step.child == name else step.child
    return list(places.items())


def _way_out(graph: Graph, known: Known, index: np.ndarray, scale: np.ndarray) -> str:
    """How to say in the file what the ties amount to."""
    if known.steps[known.owner] == ():
        for name in named_structures(index, scale):
            made = make_map(name, graph.params[known.owner].shape, {}, None)
            factor = np.ones(index.shape) if made.coefficient is None else made.coefficient
            if alike(index, scale, made.index, factor):
                return f"if that is meant say: tie hard {known.owner} by {name}"
    return (
        f'if that is meant say which numbers are equal: tie hard {known.owner} by map("groups.npy")'
    )
