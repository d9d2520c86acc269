"""The oracle: a slow, obvious NumPy interpreter of a graph, one sample at a time, in float64.

Every sample has its own lengths here, so there is no padding and nothing to mask. It walks the
nodes of a simplified graph forwards and back, and reads parameters and pulls gradients back through
their views. Compiled programs are held to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tiedgraph.ir.graph import Graph, Node
from tiedgraph.ops import BY_NAME
from tiedgraph.ties.layout import pull_back, read
from tiedgraph.ties.view import layout

Array = np.ndarray[Any, np.dtype[Any]]
Samples = list[Array]  # one array a sample


@dataclass
class Result:
    """Sums over the batch by node, outputs by name, gradients by storage."""

    sums: dict[str, Array] = field(default_factory=dict)
    outputs: dict[str, Samples] = field(default_factory=dict)
    gradients: dict[str, Array] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        return float(sum(v for name, v in self.sums.items() if name.startswith("total:")))


def read_parameters(graph: Graph, storages: Mapping[str, Array]) -> dict[str, Array]:
    """Every parameter as its layer sees it."""
    return {
        param.id: read(
            layout(param.view.steps, graph.storages[param.view.storage].shape),
            storages[param.view.storage],
        )
        for param in graph.params.values()
    }


def interpret(
    graph: Graph,
    storages: Mapping[str, Array],
    batch: Mapping[str, Sequence[Array]],
    differentiate: bool = False,
) -> Result:
    """Runs a simplified graph.

    storages: float64 arrays by storage id. batch: for each data input, implicit ones too, a list of
    arrays, one a sample, without padding.
    """
    params = read_parameters(graph, storages)
    values: dict[str, Samples] = {name: list(batch[name]) for name in graph.data}
    samples = len(next(iter(values.values()), []))
    for node in graph.nodes.values():
        values[node.outputs[0]] = _forward(node, values, params, samples)
    result = Result()
    for name, node in graph.nodes.items():
        if node.op in ("total", "collect"):
            result.sums[name] = np.sum(values[node.outputs[0]], axis=0)
    for term in graph.outputs:
        if term.value in values:
            result.outputs[term.name] = values[term.value]
    if differentiate:
        result.gradients = _backward(graph, values, params)
    return result


def _by_sample(inputs: Sequence[Samples], samples: int) -> list[tuple[Array, ...]]:
    """The inputs of each sample; an op may have none."""
    return list(zip(*inputs, strict=True)) if inputs else [()] * samples


def _forward(
    node: Node, values: Mapping[str, Samples], params: Mapping[str, Array], samples: int
) -> Samples:
    op = BY_NAME[node.op]
    given = [params[name] for name in node.params]
    inputs = [values[name] for name in node.inputs]
    if op.batch:
        return list(op.forward(node.attrs, inputs, given))  # type: ignore[arg-type]
    return [
        np.asarray(op.forward(node.attrs, list(sample), given))
        for sample in _by_sample(inputs, samples)
    ]


def _backward(
    graph: Graph,
    values: Mapping[str, Samples],
    params: Mapping[str, Array],
) -> dict[str, Array]:
    gradients: dict[str, Samples] = {}
    grad_params = {name: np.zeros_like(array) for name, array in params.items()}
    for node in reversed(list(graph.nodes.values())):
        op = BY_NAME[node.op]
        output = values[node.outputs[0]]
        if node.op == "total":
            given = [np.ones_like(sample) for sample in output]
        elif node.outputs[0] in gradients:
            given = gradients[node.outputs[0]]
        else:
            continue
        if op.backward is None:
            continue
        own = [params[name] for name in node.params]
        inputs = [values[name] for name in node.inputs]
        if op.batch:
            found = op.backward(node.attrs, inputs, own, output, given)  # type: ignore[arg-type]
            batched: Any = found[0]
            _add(node, gradients, grad_params, list(batched), found[1])
            continue
        parts = [
            op.backward(node.attrs, list(sample), own, out, grad)
            for sample, out, grad in zip(
                _by_sample(inputs, len(output)), output, given, strict=True
            )
        ]
        columns: list[Any] = []
        for i in range(len(parts[0][0])):
            column = [part[0][i] for part in parts]
            columns.append(None if column[0] is None else column)
        _add(node, gradients, grad_params, columns, ())
        for part in parts:
            for name, gradient in zip(node.params, part[1], strict=True):
                if gradient is not None:
                    grad_params[name] = grad_params[name] + gradient
    return gather_gradients(graph, grad_params)


def gather_gradients(graph: Graph, gradients: Mapping[str, Array]) -> dict[str, Array]:
    """Gradients of parameters pulled back through their views and summed for each storage.

    gradients: by parameter id, in the parameter's shape; those of frozen ones may be missing.
    """
    result = {name: np.zeros(storage.shape) for name, storage in graph.storages.items()}
    for param in graph.params.values():
        if param.id in gradients:
            storage = graph.storages[param.view.storage]
            found = layout(param.view.steps, storage.shape)
            result[storage.id] += pull_back(found, gradients[param.id], storage.shape)
    return result


def _add(
    node: Node,
    gradients: dict[str, Samples],
    grad_params: dict[str, Array],
    columns: Sequence[Samples | None],
    own: Sequence[Array | None],
) -> None:
    for name, column in zip(node.inputs, columns, strict=False):
        if column is None:
            continue
        before = gradients.get(name)
        gradients[name] = (
            list(column) if before is None else [a + b for a, b in zip(before, column, strict=True)]
        )
    for name, gradient in zip(node.params, own, strict=False):
        if gradient is not None:
            grad_params[name] = grad_params[name] + gradient
