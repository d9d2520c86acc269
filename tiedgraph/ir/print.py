"""A graph as text: one line for each thing, with its type and where it stands in the file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

from tiedgraph.diagnostics import Span
from tiedgraph.ir.graph import Graph, Node, Param, Tie, TieMember
from tiedgraph.ir.types import shape_text

LISTED = 12  # longer lists are told by their first


def print_graph(graph: Graph) -> str:
    """Data, nodes, parameters, storages, ties and terms; settings that differ from defaults.

    c1.conv2d   c1.conv2d : float[6, 28, 28] = conv2d(image) {channels=6, ...} c1.weight  net.tie:5
    """
    parts = [f"model {graph.name}"]
    parts += _section("data", (_data(graph, name) for name in graph.data))
    parts += _section("nodes", (_node(graph, node) for node in graph.nodes.values()))
    parts += _section("parameters", (_param(param) for param in graph.params.values()))
    shared = [s for s in graph.storages.values() if s.id not in graph.params or _users(graph, s.id)]
    parts += _section(
        "storages",
        (
            (f"{s.id} : {shape_text(s.shape)}", ", ".join(_users(graph, s.id)), s.span)
            for s in shared
        ),
    )
    parts += _section("ties", (_tie(tie) for tie in graph.ties))
    terms = [("loss", graph.losses), ("metric", graph.metrics), ("output", graph.outputs)]
    parts += _section(
        "terms",
        (
            (f"{what} {term.name}", f"{term.value} weight {term.weight:g}"
             if term.weight != 1 else term.value, term.span)
            for what, group in terms
            for term in group
        ),
    )  # fmt: skip
    parts += _section("train", ((s.name, f"= {s.value}", s.span) for s in graph.train))
    parts += _section("data settings", ((s.name, f"= {s.value}", s.span) for s in graph.loading))
    return "\n".join(parts) + "\n"


Row = tuple[str, str, Span | None]


def _section(title: str, rows: Iterable[Row]) -> list[str]:
    """A titled table of three columns; nothing if it is empty."""
    table = [(left, middle, _place(span)) for left, middle, span in rows]
    if not table:
        return []
    first = min(max(len(left) for left, _, _ in table), 44)
    second = min(max(len(middle) for _, middle, _ in table), 72)
    lines = [f"  {a:<{first}}  {b:<{second}}  {c}".rstrip() for a, b, c in table]
    return ["", title, *lines]


def _place(span: Span | None) -> str:
    return f"{Path(span.source.path).name}:{span.line}" if span is not None else ""


def _type(graph: Graph, value: str) -> str:
    kind = graph.values[value].type
    return f"{value} : {kind}" if kind is not None else f"{value} : ?"


def _data(graph: Graph, name: str) -> Row:
    item = graph.data[name]
    extents = f" of {', '.join(map(str, item.extents))}" if item.extents else ""
    return _type(graph, name), item.role + extents, item.span


def _node(graph: Graph, node: Node) -> Row:
    made = ", ".join(_type(graph, value) for value in node.outputs) or "()"
    text = f"= {node.op}({', '.join(node.inputs)})"
    settings = _settings(node.attrs)
    if settings:
        text += f" {{{settings}}}"
    if node.params:
        text += f" [{_some(node.params)}]"
    if node.epilogue:
        text += f" |> {' |> '.join(node.epilogue)}"
    added = [value for value in node.accumulate if value is not None]
    if added:
        text += f" adds to {', '.join(added)}"
    if node.role not in ("forward", "backward"):
        text += f" {node.role}"
    return made, text, node.span


def _settings(attrs: object) -> str:
    """The settings of a node that are not as the op has them by default."""
    if not is_dataclass(attrs):
        return ""
    shown = []
    for item in fields(attrs):
        value = getattr(attrs, item.name)
        if item.default is MISSING or value != item.default:
            shown.append(f"{item.name}={_value(value)}")
    return ", ".join(shown)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{_some([_value(item) for item in value])}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _some(items: Sequence[str]) -> str:
    """All of a short list; the first of a long one, and how many there are."""
    if len(items) <= LISTED:
        return ", ".join(items)
    return f"{', '.join(items[:2])}, ... {len(items)} in all"


def _param(param: Param) -> Row:
    numbers = ", ".join(f"{number:g}" for number in param.init.arguments)
    text = f"starts {param.init.name}{f'({numbers})' if numbers else ''}"
    if not param.trainable:
        text += ", frozen"
    if param.view.storage != param.id or param.view.steps:
        steps = "".join(f" |> {step.name}" for step in param.view.steps)
        text += f", reads {param.view.storage}{steps}"
    return f"{param.id} : {shape_text(param.shape)}", text, param.span


def _users(graph: Graph, storage: str) -> list[str]:
    """Other parameters that read a storage."""
    return [p.id for p in graph.params.values() if p.view.storage == storage and p.id != storage]


def _tie(tie: Tie) -> Row:
    settings = ", ".join(
        _settings(value) if is_dataclass(value) else f"{name}={value}"
        for name, value in tie.settings
    )
    soft = tie.kind == "soft"
    members = (", " if soft else " = ").join(_member(member) for member in tie.members)
    told = (f" {{{settings}}}" if soft else f" by {settings}") if settings else ""
    return f"{tie.id} {tie.kind}", members + told, tie.span


def _member(member: TieMember) -> str:
    text = member.path
    for step in member.steps:
        inside = [text, *(f"{name}={_value(value)}" for name, value in step.arguments)]
        text = f"{step.name}({', '.join(inside)})"
    return text
