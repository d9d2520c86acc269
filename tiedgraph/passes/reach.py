"""What depends on what: outputs on targets, losses on parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.ir.graph import Graph

NAMED = 4  # parameters of one layer or unit that a warning names


def ancestors(graph: Graph, values: Iterable[str]) -> set[str]:
    """Ids of all values and nodes that the given values are computed from."""
    needed = set(values)
    for name, node in reversed(list(graph.nodes.items())):
        if needed.intersection(node.outputs):
            needed.add(name)
            needed.update(node.inputs)
    return needed


def check_outputs(graph: Graph, diagnostics: Diagnostics) -> None:
    """An output is computed from inputs alone, for `predict` has no targets."""
    source = {name: name for name, item in graph.data.items() if item.role == "target"}
    for node in graph.nodes.values():
        for name in node.inputs:
            if name in source:
                source.update((output, source[name]) for output in node.outputs)
                break
    for term in graph.outputs:
        target = source.get(term.value)
        if target is not None:
            diagnostics.error(
                "E0207",
                f"output '{term.name}' depends on the target '{target}', which is not known "
                "when the model predicts",
                term.span,
                others=[(graph.data[target].span, "declared here")],
                hint="compute outputs from inputs; what compares with a target is a metric",
            )


def tied_names(graph: Graph) -> set[str]:
    """Parameters that some tie names, by themselves or within an instance."""
    found: set[str] = set()
    for tie in graph.ties:
        for member in tie.members:
            instance = graph.instances.get(member.path)
            found.update(instance.params if instance is not None else [member.path])
    return found


def _unit_of(graph: Graph, instance: str) -> str:
    """The unit that a phoneme or state is of; other instances are their own."""
    member = instance.partition(".state[")[0]
    return member.partition("[")[0] if f"{member}.emission" in graph.instances else instance


def warn_unreached(graph: Graph, among: Collection[str], diagnostics: Diagnostics) -> None:
    """Parameters that no loss depends on are never trained.

    among: those to look at; tied ones may be trained through others, so they wait for their ties.
    """
    if not graph.losses:
        return
    needed = ancestors(graph, [term.value for term in graph.losses])
    lost: dict[str, list[str]] = {}
    for name, node in graph.nodes.items():
        if name not in needed:
            names = [p for p in node.params if p in among and graph.params[p].trainable]
            if names:
                lost.setdefault(_unit_of(graph, node.instance), []).extend(names)
    for instance, names in lost.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED + 2 else ""
        diagnostics.warn(
            "W0001",
            f"no loss depends on {', '.join(names[:NAMED] if more else names)}{more}",
            graph.instances[instance].span,
            label="never trained",
            hint=f"use '{instance}' in a loss, remove it, or say so: freeze {instance}",
        )
