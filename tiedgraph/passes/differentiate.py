"""Reverse-mode differentiation: a backward node for each forward node that a parameter reaches.

Gradients of parameters are not values: backward kernels add them into the gradient of the storage,
through the parameter's view, so that ties need nothing here. Gradients of values are values; where
several nodes contribute, each adds to what the one before wrote, in the same memory.
"""

from __future__ import annotations

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.ir.graph import Graph, Node, Value
from tiedgraph.ops import BY_NAME


def differentiate(graph: Graph, diagnostics: Diagnostics) -> Graph:
    """Appends the backward nodes of all losses, last forward node first."""
    wanted = _reached_by_parameters(graph)
    nodes, values = dict(graph.nodes), dict(graph.values)
    latest: dict[str, str] = {}  # value -> id of its gradient so far
    for name, node in reversed(list(graph.nodes.items())):
        op = BY_NAME[node.op]
        is_loss = node.role == "loss" and node.op == "total"
        given = [latest[v] for v in node.outputs if v in latest]
        if op.backward is None or not (given or is_loss):
            continue
        targets = [value for value in _declared(node, len(op.inputs)) if value in wanted]
        trains = any(_trainable(graph, param) for param in node.params)
        if not targets and not trains:
            continue
        saved = list(node.inputs) if "inputs" in op.saves else _implicit(graph, node)
        saved += list(node.outputs) if "output" in op.saves else []
        outputs, accumulate = [], []
        for value in dict.fromkeys(targets):
            before = latest.get(value)
            after = f"d({value})" if before is None else f"{before}+"
            latest[value] = after
            outputs.append(after)
            accumulate.append(before)
            values[after] = Value(after, graph.values[value].type, f"d({name})", node.span)
        nodes[f"d({name})"] = Node(
            f"d({name})",
            node.op,
            node.attrs,
            (*saved, *given),
            node.params,
            tuple(outputs),
            role="backward",
            accumulate=tuple(accumulate),
            forward=node,
            task=node.task,
            span=node.span,
        )
    return graph.replace(nodes=nodes, values=values)


def _trainable(graph: Graph, param: str) -> bool:
    return graph.storages[graph.params[param].view.storage].trainable


def _declared(node: Node, count: int) -> tuple[str, ...]:
    """The node's inputs that stand in the file: all but implicit ones."""
    return tuple(value for value in node.inputs if not value.startswith("$"))


def _implicit(graph: Graph, node: Node) -> list[str]:
    return [value for value in node.inputs if value.startswith("$")]


def _reached_by_parameters(graph: Graph) -> set[str]:
    """Values that depend on something trained, through ops that have gradients."""
    reached: set[str] = set()
    for node in graph.nodes.values():
        if BY_NAME[node.op].backward is None:
            continue
        trains = any(_trainable(graph, param) for param in node.params)
        if trains or any(value in reached for value in node.inputs):
            reached.update(node.outputs)
    return reached
