"""Joins layers that read the same, and whose rows are put together, into one node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.ir.graph import Graph, Node, Value
from tiedgraph.ops.gaussian import Gaussians
from tiedgraph.ops.odds import Odds


def join(graph: Graph, diagnostics: Diagnostics) -> Graph:
    """`concat` of many `gaussian` of the same frames becomes one `gaussians`; of `stay`, `odds`.

    The states of a chain are so computed together, each block of frames read once; their
    parameters stay as they are. Only rows that nothing else reads are joined.
    """
    readers = Counter(value for node in graph.nodes.values() for value in node.inputs)
    kept = {term.value for term in (*graph.outputs, *graph.losses, *graph.metrics)}
    makers = {
        value: node
        for node in graph.nodes.values()
        for value in node.outputs
        if readers[value] == 1 and value not in kept
    }
    nodes: dict[str, Node] = {}
    values = dict(graph.values)
    for name, node in graph.nodes.items():
        nodes[name] = node
        if node.op != "concat" or node.role != "forward" or node.attrs.axis != 0:
            continue
        inputs: list[str] = []
        del nodes[name]
        for kind, group in groupby(node.inputs, lambda value: _kind(makers.get(value))):
            run = list(group)
            if kind is None or len(run) < 2:
                inputs += run
                continue
            members = [makers[value] for value in run]
            whole = len(run) == len(node.inputs)
            output = node.outputs[0] if whole else f"{name}.rows[{len(inputs)}]"
            one = _joined(members, output)
            nodes[one.id] = one
            values[output] = _made(graph, members, output, node, one)
            inputs.append(output)
            for member in members:
                del nodes[member.id], values[member.outputs[0]]
        if inputs != list(node.outputs):
            nodes[name] = replace(node, inputs=tuple(inputs))
    return graph.replace(nodes=nodes, values=values)


def _kind(node: Node | None) -> tuple[object, ...] | None:
    """What the members of one node have in common; None for what is not joined."""
    if node is None:
        return None
    if node.op == "gaussian":
        return (node.inputs, node.attrs, node.task)
    return ("odds", node.task) if node.op in ("stay", "skip") else None


def _joined(members: Sequence[Node], output: str) -> Node:
    first = members[0]
    params = tuple(param for member in members for param in member.params)
    attrs: Gaussians | Odds
    if first.op == "gaussian":
        op, attrs = "gaussians", Gaussians(first.attrs.mixtures, tuple(m.id for m in members))
    else:
        op, attrs = "odds", Odds(tuple(member.attrs.states for member in members))
    return Node(
        f"{output}.{op}",
        op,
        attrs,
        first.inputs,
        params,
        (output,),
        task=first.task,
        span=first.span,
    )


def _made(graph: Graph, members: Sequence[Node], output: str, concat: Node, one: Node) -> Value:
    kind = graph.type_of(concat.outputs[0])
    rows = 0
    for member in members:
        size = graph.type_of(member.outputs[0]).shape[0]
        assert isinstance(size, int)
        rows += size
    return Value(output, replace(kind, shape=(rows, *kind.shape[1:])), one.id, concat.span)
