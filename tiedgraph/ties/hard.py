"""Hard ties, `tie hard a, b` and `tie hard a = view(b)`: the same numbers under several names."""

from __future__ import annotations

import difflib
from math import prod
from pathlib import Path

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.ir.graph import Graph, Tie, TieMember
from tiedgraph.ir.types import shape_text
from tiedgraph.ties.chain import describe
from tiedgraph.ties.edge import Edge, parameters_of, view_shape
from tiedgraph.ties.layout import Shape


def hard_edges(
    graph: Graph, tie: Tie, diagnostics: Diagnostics, root: Path | None = None
) -> list[Edge]:
    """Every member through the first; with a view the first through the other.

    Instances are tied member by member, by name.
    """
    if len(tie.members) < 2:
        only = tie.members[0].path if tie.members else ""
        diagnostics.error(
            "E0405",
            f"the tie has one member, '{only}', and so ties nothing",
            tie.members[0].span if tie.members else tie.span,
            label="the only member",
            hint=_second(graph, only),
        )
        return []
    first, *others = tie.members
    if tie.members[-1].steps:
        return _viewed(graph, tie, first, others[-1], diagnostics)
    return [edge for other in others for edge in _pair(graph, tie, other, first, diagnostics)]


def _second(graph: Graph, only: str) -> str:
    """A way out for a tie with one member: the name most like it of what it could be tied to."""
    if only in graph.params:
        shape = graph.params[only].shape
        fitting = [name for name, param in graph.params.items() if param.shape == shape]
    else:
        names = parameters_of(graph, only).keys() if only else ()
        fitting = [p for p in graph.instances if parameters_of(graph, p).keys() == names]
    others = [name for name in fitting if name != only]
    nearest = difflib.get_close_matches(only, others, n=1, cutoff=0.0)
    if not nearest:
        return "nothing else has its shape; remove the tie"
    return f"name a second one, such as '{nearest[0]}', or remove the tie"


def _viewed(
    graph: Graph, tie: Tie, child: TieMember, parent: TieMember, diagnostics: Diagnostics
) -> list[Edge]:
    for member in (child, parent):
        if member.path not in graph.params:
            inside = graph.instances[member.path].params
            diagnostics.error(
                "E0404",
                f"a view reads one parameter, and '{member.path}' is a layer or block",
                member.span,
                hint=f"name one of its parameters: {', '.join(inside[:4])}" if inside else "",
            )
            return []
    return _edge(graph, tie, child, parent, child.path, parent.path, diagnostics)


def _pair(
    graph: Graph, tie: Tie, child: TieMember, parent: TieMember, diagnostics: Diagnostics
) -> list[Edge]:
    """`child` as `parent`, both parameters or both instances."""
    left, right = parameters_of(graph, child.path), parameters_of(graph, parent.path)
    for member, names in ((child, left), (parent, right)):
        if not names:
            diagnostics.error(
                "E0407",
                f"'{member.path}' has no parameters to tie",
                member.span,
                hint="tie something that has, or remove the tie",
            )
            return []
    if left.keys() != right.keys():
        _unlike_members(child, parent, left, right, diagnostics)
        return []
    return [
        edge
        for name, own in left.items()
        for edge in _edge(graph, tie, child, parent, own, right[name], diagnostics)
    ]


def _unlike_members(
    child: TieMember,
    parent: TieMember,
    left: dict[str, str],
    right: dict[str, str],
    diagnostics: Diagnostics,
) -> None:
    if "" in left or "" in right:
        single, whole = (child, parent) if "" in left else (parent, child)
        message = f"'{single.path}' is a parameter, but '{whole.path}' is a layer or block"
        names = sorted({*left.values(), *right.values()} - {single.path})
        hint = f"name a parameter of it, such as {names[0]}"
    else:
        only_right = right.keys() - left.keys()
        lacking, having = (child, parent) if only_right else (parent, child)
        name = min(only_right or left.keys() - right.keys())
        message = (
            f"'{having.path}' has a parameter '{name[1:]}', but '{lacking.path}' has none such"
        )
        both = sorted(left.keys() & right.keys())
        hint = (
            f"tie what both have: tie hard {parent.path}{both[0]}, {child.path}{both[0]}"
            if both
            else "make both by the same block, or tie parameters one by one"
        )
    diagnostics.error(
        "E0407",
        message,
        child.span,
        label=_count(left),
        others=[(parent.span, _count(right))],
        hint=hint,
    )


def _count(names: dict[str, str]) -> str:
    if "" in names:
        return "one parameter"
    shown = ", ".join(name[1:] for name in list(names)[:4])
    return f"has {shown}" + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _edge(
    graph: Graph,
    tie: Tie,
    child: TieMember,
    parent: TieMember,
    own: str,
    other: str,
    diagnostics: Diagnostics,
) -> list[Edge]:
    """One parameter through another, when the shapes agree."""
    steps = parent.steps if tie.members[-1] is parent else ()
    made = view_shape(steps, graph.params[other].shape, parent.span, diagnostics)
    if made is None:
        return []
    edge = Edge(own, other, steps, tie, child.span, parent.span)
    if made != graph.params[own].shape:
        _shapes_differ(graph, edge, made, diagnostics)
        return []
    return [edge]


def _is_first(edge: Edge) -> bool:
    """Whether the file names the child before the parent."""
    if edge.span is None or edge.parent_span is None:
        return False
    return edge.span.start < edge.parent_span.start


def _shapes_differ(graph: Graph, edge: Edge, made: Shape, diagnostics: Diagnostics) -> None:
    child, parent = graph.params[edge.child], graph.params[edge.parent]
    view = describe(edge.steps, parent.id) if edge.steps else f"'{parent.id}'"
    hint = "tied parameters have one shape: change a layer's size, or read one through a view"
    left, right = (child, parent) if edge.steps or _is_first(edge) else (parent, child)
    whole = describe(edge.steps, right.id)
    if len(made) > 1 and made == child.shape[::-1]:
        hint = f"say: tie hard {left.id} = transpose({whole})"
    elif prod(made) == prod(child.shape):
        hint = f"say: tie hard {left.id} = reshape({whole}, {shape_text(left.shape)})"
    diagnostics.error(
        "E0401",
        f"'{child.id}' is {shape_text(child.shape)}, but {view} is {shape_text(made)}",
        edge.span,
        label=shape_text(child.shape),
        others=[
            (edge.parent_span, shape_text(made)),
            (child.span, f"makes '{child.id}'"),
            (parent.span, f"makes '{parent.id}'"),
        ],
        hint=hint,
    )
