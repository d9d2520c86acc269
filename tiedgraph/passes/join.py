"""Joins layers that read the same frames, and whose rows are put together, into one node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.ir.graph import Graph, Node, Value
from tiedgraph.ir.types import Type
from tiedgraph.ops.gaussian import Gaussians


def join(graph: Graph, diagnostics: Diagnostics) -> Graph:
    """`concat` of many `gaussian` of the same frames becomes one `gaussians`.

    The states of a chain are so computed together, each block of frames read once; their
    parameters stay as they are. Only rows that nothing else reads are joined.
    """
    readers = Counter(value for node in graph.nodes.values() for value in node.inputs)
    kept = {term.value for term in (*graph.outputs, *graph.losses, *graph.metrics)}
    nodes, values = dict(graph.nodes), dict(graph.values)

    def row(value: str) -> Node | None:
        node = nodes.get(graph.values[value].producer)
        alone = readers[value] == 1 and value not in kept
        return node if node is not None and node.op == "gaussian" and alone else None

    for name, node in graph.nodes.items():
        if node.op != "concat" or node.role != "forward" or node.attrs.axis != 0:
            continue
        inputs: list[str] = []
        made: list[Node] = []
        for key, group in groupby(node.inputs, lambda value: _kind(row(value))):
            run = list(group)
            if key is None or len(run) < 2:
                inputs += run
                continue
            members = [found for value in run if (found := row(value)) is not None]
            output = f"{name}.rows[{len(made)}]" if len(run) < len(node.inputs) else node.outputs[0]
            made.append(_joined(members, output, node))
            inputs.append(output)
        if not made:
            continue
        for member in (nodes[m] for one in made for m in one.attrs.members):
            del nodes[member.id], values[member.outputs[0]]
        del nodes[name]
        for one in made:
            nodes[one.id] = one
            kind = _rows(graph, node, len(one.attrs.members))
            values[one.outputs[0]] = Value(one.outputs[0], kind, one.id, node.span)
        if inputs != list(node.outputs):
            nodes[name] = replace(node, inputs=tuple(inputs))
    return graph.replace(nodes=_in_order(graph, nodes), values=values)


def _kind(node: Node | None) -> tuple[object, ...] | None:
    """What the members of one node have in common."""
    return None if node is None else (node.inputs, node.attrs, node.task)


def _rows(graph: Graph, node: Node, count: int) -> Type:
    kind = graph.type_of(node.outputs[0])
    return replace(kind, shape=(count, *kind.shape[1:]))


def _joined(members: Sequence[Node], output: str, concat: Node) -> Node:
    first = members[0]
    return Node(
        f"{output}.gaussians",
        "gaussians",
        Gaussians(first.attrs.mixtures, tuple(member.id for member in members)),
        first.inputs,
        tuple(param for member in members for param in member.params),
        (output,),
        task=first.task,
        span=first.span or concat.span,
    )


def _in_order(graph: Graph, nodes: dict[str, Node]) -> dict[str, Node]:
    """The nodes in the order of the graph, each joined one where its first reader stood."""
    place = {name: i for i, name in enumerate(graph.nodes)}
    last = {
        name: max(place[member] for member in node.attrs.members)
        for name, node in nodes.items()
        if name not in place
    }
    return dict(sorted(nodes.items(), key=lambda item: place.get(item[0], last.get(item[0], 0))))
