"""Puts pointwise functions into the kernel that makes their input, before it stores."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.ir.graph import Graph, Node
from tiedgraph.ops import BY_NAME


def fuse(graph: Graph, diagnostics: Diagnostics) -> Graph:
    """`conv2d |> tanh` becomes one node where nothing else reads the value in between.

    In training that holds for functions whose derivative is written in their result (tanh, relu,
    sigmoid), since then the backward pass does not read their input either.
    """
    readers = Counter(value for node in graph.nodes.values() for value in node.inputs)
    kept = {term.value for term in (*graph.outputs, *graph.losses, *graph.metrics)}
    makers: dict[str, Node] = {}
    nodes: dict[str, Node] = {}
    for name, node in graph.nodes.items():
        maker = makers.get(node.inputs[0]) if node.inputs else None
        if (
            maker is not None
            and node.role == "forward"
            and BY_NAME[node.op].pointwise is not None
            and readers[node.inputs[0]] == 1
            and node.inputs[0] not in kept
        ):
            node = replace(maker, outputs=node.outputs, epilogue=(*maker.epilogue, node.op))
            name = maker.id
        nodes[name] = node
        if node.role == "forward" and BY_NAME[node.op].epilogue and len(node.outputs) == 1:
            makers[node.outputs[0]] = node
    ordered = _in_order(graph, nodes)
    used = {v for node in ordered.values() for v in (*node.inputs, *node.outputs)} | set(graph.data)
    values = {
        name: replace(value, producer=_producer(ordered, name, value.producer))
        for name, value in graph.values.items()
        if name in used
    }
    return graph.replace(nodes=ordered, values=values)


def _producer(nodes: dict[str, Node], value: str, before: str) -> str:
    if before in nodes or not before:
        return before
    return next(name for name, node in nodes.items() if value in node.outputs)


def _in_order(graph: Graph, nodes: dict[str, Node]) -> dict[str, Node]:
    """The nodes in the order of the graph, each where the file made its (unfused) result."""
    return {name: nodes[name] for name in graph.nodes if name in nodes}
