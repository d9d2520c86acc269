"""Resolves ties: which numbers each parameter reads, and through which view.

Ties are edges between parameters with a view on each. A connected set of parameters gets one
storage; from its owner every other parameter's view follows along the edges, backwards through
views that can be undone. Every edge must then agree with what was found. Where some do not, entries
of the storage are compared one by one: ties may say together that entries are equal (that a matrix
is symmetric, say), which leaves fewer free numbers, or that they are zero, which is an error.

The owner is the parameter that others are views of; among equals the first that a tie names. Its
initialiser fills the storage. A storage is frozen when any of its readers is.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.ir.graph import Graph, Param, Storage, View
from tiedgraph.ir.types import elements
from tiedgraph.ops import BY_NAME
from tiedgraph.passes.reach import ancestors, tied_names, warn_unreached
from tiedgraph.passes.together import Known, merge_entries, report_maps, report_unreached
from tiedgraph.ties import KINDS_BY_NAME
from tiedgraph.ties.chain import compact
from tiedgraph.ties.classes import alike
from tiedgraph.ties.edge import Edge, undo
from tiedgraph.ties.layout import Shape, entries, same
from tiedgraph.ties.view import is_strided, layout, map_step, step_map

MAX_INDEXED = 2**26  # entries of a parameter that no strides read; each takes 8 to 16 bytes


def resolve_ties(graph: Graph, diagnostics: Diagnostics, root: Path | None = None) -> Graph:
    """Gives the graph its storages, every parameter its view, and every tie what it saves.

    root: the folder that `map("file")` may read from; None where there is none. Reports E0401 to
    E0408, E0501 and the codes of files.
    """
    edges = [
        edge
        for tie in graph.ties
        for edge in KINDS_BY_NAME[tie.kind].edges(graph, tie, diagnostics, root)
    ]
    edges = _without_mixtures(graph, edges, diagnostics)
    work = _Resolution(graph, diagnostics)
    for component in _components(graph, edges):
        work.resolve(component)
    params = {name: replace(p, view=work.views[name]) for name, p in graph.params.items()}
    ties = tuple(replace(tie, saves=work.saves.get(tie.id, 0)) for tie in graph.ties)
    graph = graph.replace(params=params, ties=ties)
    graph = graph.replace(storages=_storages(graph, work.shapes))
    if not diagnostics.errors:
        _warn_inits(graph, diagnostics)
        trained = reached(graph)
        lost = {n for n in tied_names(graph) if graph.params[n].view.storage not in trained}
        warn_unreached(graph, lost, diagnostics)
    return graph


def reached(graph: Graph) -> set[str]:
    """Storages that some loss or soft tie depends on; the others get no update and no decay."""
    needed = ancestors(graph, [term.value for term in graph.losses])
    drawn = {name for mixture in graph.mixtures.values() for name, _ in mixture.numbers}
    drawn |= {param.id for param in graph.params.values() if param.instance in graph.mixtures}
    return drawn | {
        graph.params[param].view.storage
        for name, node in graph.nodes.items()
        if name in needed
        for param in node.params
    }


def statistics(graph: Graph) -> set[str]:
    """Parameters that their layers keep and no optimiser trains, such as running means."""
    found: set[str] = set()
    for node in graph.nodes.values():
        op = BY_NAME[node.op]
        if node.params and op.params is not None and node.role != "backward":
            specs = op.params(node.attrs, [graph.type_of(name) for name in node.inputs])
            found.update(
                name for name, spec in zip(node.params, specs, strict=True) if not spec.trainable
            )
    return found


def _without_mixtures(graph: Graph, edges: list[Edge], diagnostics: Diagnostics) -> list[Edge]:
    """Drops ties between statistics and what is trained, and views of statistics."""
    kept = statistics(graph)
    if not kept:
        return edges
    good = []
    for edge in edges:
        names = [name for name in (edge.child, edge.parent) if name]
        inside = [name for name in names if name in kept]
        if len(inside) == 1 and len(names) == 2:
            other = edge.parent if edge.child in kept else edge.child
            diagnostics.error(
                "E0402",
                f"'{inside[0]}' is a statistic that its layer keeps, and '{other}' is trained",
                edge.span,
                others=[(edge.parent_span, "tied to this")],
                hint="tie statistics to statistics only",
            )
        elif inside and edge.steps:
            diagnostics.error(
                "E0404" if edge.parent else "E0408",
                f"'{edge.child}' is a statistic that its layer keeps; it cannot be a view",
                edge.span,
                hint="statistics are tied as they are: tie hard a, b",
            )
        else:
            good.append(edge)
    return good


# ---------------------------------------------------------------- components


@dataclass(frozen=True)
class Component:
    """Parameters that ties connect, and the edges, in the order of the file."""

    params: tuple[str, ...]
    edges: tuple[Edge, ...]

    @property
    def maps(self) -> list[Edge]:
        return [edge for edge in self.edges if not edge.parent]


def _components(graph: Graph, edges: list[Edge]) -> list[Component]:
    """Union-find over parameters."""
    parent = {name: name for name in graph.params}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    together: dict[str, str] = {}  # one member of each joint index map
    for edge in edges:
        other = edge.parent or together.setdefault(edge.joint or edge.child, edge.child)
        parent[root(edge.child)] = root(other)
    members: dict[str, list[str]] = {}
    for name in graph.params:
        members.setdefault(root(name), []).append(name)
    own: dict[str, list[Edge]] = {}
    for edge in edges:
        own.setdefault(root(edge.child), []).append(edge)
    return [Component(tuple(names), tuple(own.get(r, ()))) for r, names in members.items()]


class _Resolution:
    """Views of all parameters, shapes of storages by owner, and what each tie saves."""

    def __init__(self, graph: Graph, diagnostics: Diagnostics) -> None:
        self.graph = graph
        self.diagnostics = diagnostics
        self.views: dict[str, View] = {}
        self.shapes: dict[str, Shape] = {}
        self.saves: dict[str, int] = {}

    def resolve(self, component: Component) -> None:
        """One storage for all, or after a report each its own."""
        if not component.edges:
            self._alone(component.params)
            return
        known = self._spread(component)
        if self._too_large(known):
            self._alone(component.params)
            return
        missing = [name for name in component.params if name not in known.steps]
        if missing:
            report_unreached(component.edges, known, self.diagnostics)
            self._alone(missing)
        else:
            known = self._together(component, known)
        self._settle(known)

    def _alone(self, names: Sequence[str]) -> None:
        for name in names:
            self._settle(Known(name, self.graph.params[name].shape, {name: ()}, {}))

    def _settle(self, known: Known) -> None:
        self.shapes[known.owner] = known.shape
        for name, steps in known.steps.items():
            self.views[name] = View(known.owner, steps)
        for name, edge in known.through.items():
            count = elements(self.graph.params[name].shape)
            if not edge.parent and name == known.owner:
                count -= elements(step_map(edge.steps[0]).free)
            self.saves[edge.tie.id] = self.saves.get(edge.tie.id, 0) + count

    def _too_large(self, known: Known) -> bool:
        """Whether an index of all entries is needed for a parameter that has too many."""
        for name, steps in known.steps.items():
            count = elements(self.graph.params[name].shape)
            if count > MAX_INDEXED and not is_strided(steps, known.shape):
                edge = known.through.get(name) or next(iter(known.through.values()))
                self.diagnostics.error(
                    "E0501",
                    f"'{name}' has {count:,} numbers, and its view needs a list of them",
                    edge.span,
                    hint=f"the limit is {MAX_INDEXED:,}; transpose, flip and slice have none",
                )
                return True
        return False

    def _together(self, component: Component, known: Known) -> Known:
        """Holds every edge to the views found; merges entries where some edges say more."""
        wrong = [edge for edge in component.edges if not self._agrees(edge, known)]
        if any(not edge.parent for edge in wrong):
            report_maps(wrong, known, self.diagnostics)
        elif wrong:
            merged = merge_entries(self.graph, known, wrong, self.diagnostics)
            if merged is not None:
                tie = wrong[0].tie.id
                less = elements(known.shape) - elements(merged.free)
                self.saves[tie] = self.saves.get(tie, 0) + less
                steps = {
                    name: compact((map_step(merged), *old), merged.free)
                    for name, old in known.steps.items()
                }
                return replace(known, shape=merged.free, steps=steps)
        return known

    def _agrees(self, edge: Edge, known: Known) -> bool:
        """Whether the edge follows from the views found."""
        child = known.steps[edge.child]
        if not edge.parent:
            return child[:1] == edge.steps or self._same_groups(edge, known)
        parent = compact((*known.steps[edge.parent], *edge.steps), known.shape)
        return child == parent or same(layout(child, known.shape), layout(parent, known.shape))

    def _same_groups(self, edge: Edge, known: Known) -> bool:
        """Whether a further index map makes the same entries equal as the views do."""
        made = step_map(edge.steps[0])
        scale = np.ones(made.index.shape) if made.coefficient is None else made.coefficient
        return alike(*entries(layout(known.steps[edge.child], known.shape)), made.index, scale)

    # ------------------------------------------------------------ views from an owner

    def _spread(self, component: Component) -> Known:
        """Tries owners in their order until one reaches all; else the one that reaches most."""
        best: Known | None = None
        for owner, start in self._candidates(component):
            known = self._reach(component, owner, start)
            if best is None or len(known.steps) > len(best.steps):
                best = known
            if len(known.steps) == len(component.params):
                break
        assert best is not None
        return best

    def _candidates(self, component: Component) -> list[tuple[str, Edge | None]]:
        """Owners by preference: under an index map, what others are views of, then the rest."""
        if component.maps:
            first: dict[str, Edge | None] = {}
            for edge in component.maps:
                first.setdefault(edge.child, edge)
            return list(first.items())
        read = [edge.parent for edge in component.edges]
        defined = {edge.child for edge in component.edges}
        roots = [name for name in read if name not in defined]
        return [(name, None) for name in dict.fromkeys([*roots, *read, *component.params])]

    def _reach(self, component: Component, owner: str, start: Edge | None) -> Known:
        """Views of all that can be reached from an owner, by the earliest edges of the file."""
        shape = self.graph.params[owner].shape
        known = Known(owner, shape, {owner: ()}, {})
        if start is not None:
            shape = step_map(start.steps[0]).free
            known = Known(owner, shape, {owner: start.steps}, {owner: start})
            for edge in component.edges:
                if edge.joint and edge.joint == start.joint and edge.child not in known.steps:
                    known.steps[edge.child], known.through[edge.child] = edge.steps, edge
        ends: dict[str, list[int]] = {}
        for number, edge in enumerate(component.edges):
            if edge.parent and edge.parent != edge.child:
                ends.setdefault(edge.parent, []).append(number)
                ends.setdefault(edge.child, []).append(number)
        waiting = [number for name in known.steps for number in ends.get(name, ())]
        heapq.heapify(waiting)
        while waiting:
            edge = component.edges[heapq.heappop(waiting)]
            if edge.child not in known.steps and edge.parent in known.steps:
                name, before, steps = edge.child, edge.parent, edge.steps
            elif edge.parent not in known.steps and edge.child in known.steps:
                back = undo(edge.steps, self.graph.params[edge.parent].shape)
                if back is None:
                    continue
                name, before, steps = edge.parent, edge.child, back
            else:
                continue
            known.steps[name] = compact((*known.steps[before], *steps), shape)
            known.through[name] = edge
            for number in ends[name]:
                heapq.heappush(waiting, number)
        return known


# ---------------------------------------------------------------- storages


def _storages(graph: Graph, shapes: Mapping[str, Shape]) -> dict[str, Storage]:
    """One storage for each owner, in the order of the file."""
    readers: dict[str, list[Param]] = {}
    for param in graph.params.values():
        readers.setdefault(param.view.storage, []).append(param)
    return {
        name: Storage(
            name,
            shapes[name],
            param.init,
            all(reader.trainable for reader in readers[name]),
            param.fans,
            param.span,
        )
        for name, param in graph.params.items()
        if name in shapes
    }


def _warn_inits(graph: Graph, diagnostics: Diagnostics) -> None:
    """An `init` of a parameter whose numbers belong to another has no effect."""
    for param in graph.params.values():
        owner = graph.storages[param.view.storage]
        if param.init.span is not None and param.init != owner.init:
            diagnostics.warn(
                "W0003",
                f"this init does not reach '{param.id}', whose numbers are those of '{owner.id}'",
                param.init.span,
                hint=f"initialise the owner: init {owner.id} = ...",
            )
