"""What must be true of a graph after each stage; tests and the compiler call it between passes."""

from __future__ import annotations

from tiedgraph.ir.graph import Graph, Node

# Stages after which every value has a type and every parameter a storage.
TYPED = ("shapes", "ties", "program")


class InternalError(Exception):
    """A pass broke a rule of the graph. Never the fault of a `.tie` file."""


def verify(graph: Graph, stage: str) -> None:
    """Checks ids, order, references and, where they must be there, types.

    stage: the last one that ran: `build`, `shapes`, `ties` or `program`.
    Raises InternalError with everything that is wrong.
    """
    wrong = [*_ids(graph), *_dataflow(graph), *_params(graph)]
    if stage != "program":  # which keeps what one mode needs
        wrong += _terms(graph)
    if stage in TYPED:
        wrong += _types(graph)
    if stage in ("ties", "program"):
        wrong += _members(graph)
    if wrong:
        raise InternalError(f"after {stage}: " + "; ".join(wrong[:20]))


def _ids(graph: Graph) -> list[str]:
    tables = (
        ("value", {key: item.id for key, item in graph.values.items()}),
        ("node", {key: item.id for key, item in graph.nodes.items()}),
        ("data", {key: item.value for key, item in graph.data.items()}),
        ("instance", {key: item.path for key, item in graph.instances.items()}),
        ("parameter", {key: item.id for key, item in graph.params.items()}),
        ("storage", {key: item.id for key, item in graph.storages.items()}),
    )
    return [
        f"{what} '{own}' is filed under '{key}'"
        for what, table in tables
        for key, own in table.items()
        if key != own
    ]


def _dataflow(graph: Graph) -> list[str]:
    """Every value that is read is data or was made by an earlier node, once."""
    wrong = []
    made = set(graph.data)
    for name in graph.data:
        if name not in graph.values:
            wrong.append(f"data '{name}' has no value")
    for name, node in graph.nodes.items():
        for value in node.inputs:
            if value not in graph.values:
                wrong.append(f"node '{name}' reads '{value}', which does not exist")
            elif value not in made:
                wrong.append(f"node '{name}' reads '{value}' before it is made")
        for value in node.outputs:
            if value in made:
                wrong.append(f"'{value}' is made twice, the second time by '{name}'")
            made.add(value)
            if value not in graph.values:
                wrong.append(f"node '{name}' makes '{value}', which does not exist")
            elif graph.values[value].producer != name:
                wrong.append(f"'{value}' does not know that '{name}' makes it")
        if node.role == "backward" and len(node.accumulate) != len(node.outputs):
            wrong.append(f"node '{name}' does not say where its outputs add to")
    return wrong


def _params(graph: Graph) -> list[str]:
    wrong = []
    owners: dict[str, Node] = {}
    for name, node in graph.nodes.items():
        for param in node.params:
            if param not in graph.params:
                wrong.append(f"node '{name}' has parameter '{param}', which does not exist")
            elif node.role != "backward" and owners.setdefault(param, node) is not node:
                wrong.append(f"parameter '{param}' belongs to '{owners[param].id}' and '{name}'")
        if node.instance and node.instance not in graph.instances:
            wrong.append(f"node '{name}' has instance '{node.instance}', which does not exist")
    for path, instance in graph.instances.items():
        wrong += [f"instance '{path}' has '{p}'" for p in instance.params if p not in graph.params]
    return wrong


def _terms(graph: Graph) -> list[str]:
    terms = (*graph.losses, *graph.metrics, *graph.outputs)
    return [
        f"'{term.name}' is '{term.value}', which does not exist"
        for term in terms
        if term.value not in graph.values
    ]


def _types(graph: Graph) -> list[str]:
    wrong = [f"value '{name}' has no type" for name, v in graph.values.items() if v.type is None]
    for name, param in graph.params.items():
        if param.view.storage not in graph.storages:
            wrong.append(f"parameter '{name}' views '{param.view.storage}', which does not exist")
        if param.init.name == "default":
            wrong.append(f"parameter '{name}' has no initialiser")
    return wrong


def _members(graph: Graph) -> list[str]:
    return [
        f"tie '{tie.id}' has member '{member.path}', which does not exist"
        for tie in graph.ties
        for member in tie.members
        if member.path not in graph.params and member.path not in graph.instances
    ]
