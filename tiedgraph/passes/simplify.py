"""The graph of one program: what is wanted, in training or not, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.ir.graph import DataInput, Graph, Node, Value, implicit_id
from tiedgraph.ir.types import Extent, Type
from tiedgraph.ops import BY_NAME
from tiedgraph.ops.internal import COLLECT, MASK, TOTAL, Collect, Mask, Total

Mode = Literal["train", "evaluate", "predict"]


def simplify(
    graph: Graph, diagnostics: Diagnostics, mode: Mode, outputs: Iterable[str] | None = None
) -> Graph:
    """Adds the sums over the batch, masks where short samples need them, and drops the rest.

    mode: `train` keeps losses and metrics; `evaluate` the same with dropout off and batch
      statistics frozen; `predict` keeps the outputs (or those named).
    """
    if mode != "train":
        graph = _inference(graph)
    if mode == "predict":
        wanted = [t.value for t in graph.outputs if outputs is None or t.name in set(outputs)]
    else:
        graph = _totals(graph)
        wanted = [name for name, node in graph.nodes.items() if node.op in ("total", "collect")]
    return _mask(_prune(graph, wanted))


def _inference(graph: Graph) -> Graph:
    nodes = {}
    for name, node in graph.nodes.items():
        inference = BY_NAME[node.op].inference
        nodes[name] = replace(node, attrs=inference(node.attrs)) if inference else node
    return graph.replace(nodes=nodes)


def _totals(graph: Graph) -> Graph:
    """One `total` for each loss and one `collect` for each metric."""
    nodes, values, data = dict(graph.nodes), dict(graph.values), dict(graph.data)
    weight = implicit_id("weight")
    for op, terms in ((TOTAL, graph.losses), (COLLECT, graph.metrics)):
        for term in terms:
            name = f"{op.name}:{term.name}"
            _implicit(values, data, DataInput(weight, "weight", Type("float", ())))
            attrs = Total(term.weight) if op is TOTAL else Collect()
            nodes[name] = Node(
                name,
                op.name,
                attrs,
                (term.value, weight),
                outputs=(name,),
                role="loss" if op is TOTAL else "metric",
                task=term.task,
                span=term.span,
            )
            values[name] = Value(name, op.shape(attrs, [graph.type_of(term.value)]), name)
    return graph.replace(nodes=nodes, values=values, data=data)


def _implicit(values: dict[str, Value], data: dict[str, DataInput], item: DataInput) -> str:
    if item.value not in data:
        data[item.value] = item
        values[item.value] = Value(item.value, item.type)
    return item.value


def _prune(graph: Graph, wanted: Iterable[str]) -> Graph:
    """Keeps what the wanted values and nodes are computed from."""
    needed = set(wanted)
    for name, node in reversed(list(graph.nodes.items())):
        if name in needed or needed.intersection(node.outputs):
            needed.add(name)
            needed.update(node.inputs)
    nodes = {name: node for name, node in graph.nodes.items() if name in needed}
    data = {name: item for name, item in graph.data.items() if name in needed}
    kept = {value for node in nodes.values() for value in (*node.inputs, *node.outputs)}
    values = {n: v for n, v in graph.values.items() if n in kept or n in data or n in needed}
    return graph.replace(nodes=nodes, data=data, values=values)


def _mask(graph: Graph) -> Graph:
    """Puts a mask before every op that cares what stands in invalid steps."""
    nodes: dict[str, Node] = {}
    values, data = dict(graph.values), dict(graph.data)
    for name, node in graph.nodes.items():
        op = BY_NAME[node.op]
        fill = op.padding(node.attrs) if callable(op.padding) else op.padding
        if fill is None:
            nodes[name] = node
            continue
        inputs = list(node.inputs)
        for i, value in enumerate(node.inputs):
            kind = graph.type_of(value)
            if not kind.run_time_axes or kind.kind != "float":
                continue
            masked = f"{value}.mask({fill:g})"
            if masked not in nodes:
                sizes = [kind.shape[axis] for axis in kind.run_time_axes]
                lengths = [
                    _implicit(values, data, lengths_input(size))
                    for size in sizes
                    if isinstance(size, Extent)
                ]
                attrs = Mask(fill, kind.run_time_axes)
                nodes[masked] = Node(
                    masked,
                    MASK.name,
                    attrs,
                    (value, *lengths),
                    outputs=(masked,),
                    task=node.task,
                    span=node.span,
                )
                values[masked] = Value(masked, kind, masked, node.span)
            inputs[i] = masked
        nodes[name] = replace(node, inputs=tuple(inputs))
    return graph.replace(nodes=nodes, values=values, data=data)


def lengths_input(size: Extent) -> DataInput:
    """The implicit input that holds each sample's valid extent of one run-time size."""
    return DataInput(implicit_id("lengths", (size,)), "lengths", Type("float", ()), extents=(size,))
