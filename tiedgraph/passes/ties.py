"""Resolves ties: which numbers each parameter reads, and through which view.

Ties are edges between parameters with a view on each. A connected set of parameters gets one
storage; from its owner every other parameter's view follows along the edges, backwards through
views that can be undone. Every edge must then agree with what was found. Where edges disagree, the
numbers themselves are compared: ties may imply together that entries of the storage are equal (a
symmetric matrix, say), which makes fewer free numbers, or that they are zero, which is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tiedgraph.diagnostics import Diagnostics, Span
from tiedgraph.ir.graph import Graph, Init, Param, Step, Storage, Tie, View
from tiedgraph.passes.reach import ancestors
from tiedgraph.ties.index_map import make_map
from tiedgraph.ties.view import (
    Array,
    IndexMap,
    ViewError,
    check_step,
    entries,
    inverse,
    layout,
    same,
)

MAX_COMPARED = 2**22  # entries of one storage whose equality is worked out one by one


@dataclass(frozen=True)
class Edge:
    """One parameter defined through another: `child = steps(parent)`.

    parent: "" for an index map, whose free numbers no other parameter declares.
    """

    child: str
    parent: str
    steps: tuple[Step, ...]
    tie: Tie
    span: Span | None


def resolve_ties(graph: Graph, diagnostics: Diagnostics, root: Path | None = None) -> Graph:
    """Gives the graph its storages and every parameter its view.

    root: the folder that `map("file")` may read from. The owner of a storage is the parameter that a
    view reads, or the first named of a list; its initialiser fills the storage.
    """
    edges: list[Edge] = []
    for tie in graph.ties:
        if tie.kind == "hard":
            edges += _hard(graph, tie, diagnostics)
        elif tie.kind == "index_map":
            edges += _map(graph, tie, diagnostics, root)
    found = _Resolution(graph, diagnostics)
    for component in _components(graph, edges):
        found.resolve(component)
    params = {name: replace(p, view=found.views[name]) for name, p in graph.params.items()}
    graph = graph.replace(params=params)
    return graph.replace(storages=_storages(graph, found.shapes, found.owners))


def reached(graph: Graph) -> set[str]:
    """Storages that some loss depends on; the others get no update and no decay."""
    needed = ancestors(graph, [term.value for term in graph.losses])
    return {
        graph.params[param].view.storage
        for name, node in graph.nodes.items()
        if name in needed
        for param in node.params
    }


# ---------------------------------------------------------------- statements to edges


def _hard(graph: Graph, tie: Tie, diagnostics: Diagnostics) -> list[Edge]:
    """`tie hard a, b, ...` and `tie hard a = view(b)`, instances member by member."""
    if len(tie.members) < 2:
        only = tie.members[0].path if tie.members else ""
        diagnostics.error(
            "E0405",
            f"the tie has one member, '{only}', and so ties nothing",
            tie.members[0].span if tie.members else tie.span,
            label="the only member",
            hint="name a second one, select more such as layers[*], or remove the tie",
        )
        return []
    first, *others = tie.members
    if tie.members[-1].steps:
        return _edge(graph, tie, first.path, first.span, tie.members[-1], diagnostics)
    edges: list[Edge] = []
    for member in others:
        edges += _edge(graph, tie, member.path, member.span, first, diagnostics)
    return edges


def _edge(
    graph: Graph, tie: Tie, child: str, span: Span | None, parent: object, diagnostics: Diagnostics
) -> list[Edge]:
    path, steps = parent.path, parent.steps  # type: ignore[attr-defined]
    where: Span | None = parent.span  # type: ignore[attr-defined]
    left, right = _members(graph, child), _members(graph, path)
    if set(left) != set(right):
        missing = sorted(set(right) - set(left)) or sorted(set(left) - set(right))
        lacks, has = (child, path) if set(right) - set(left) else (path, child)
        diagnostics.error(
            "E0407",
            f"'{lacks}' has no parameter like '{has}{'.' + missing[0] if missing[0] else ''}', "
            "so the two cannot be tied as a whole",
            span,
            others=[(where, f"has {len(right)} parameters")],
            hint="tie the parameters that both have one by one",
        )
        return []
    edges = []
    for name, param in left.items():
        other = right[name]
        shape = graph.params[other].shape
        try:
            for step in steps:
                shape = check_step(step, shape)
        except ViewError as error:
            diagnostics.error(error.code, error.message, where or tie.span, hint=error.hint)
            continue
        if shape != graph.params[param].shape:
            _shapes_differ(graph, param, other, shape, steps, span, where, diagnostics)
            continue
        edges.append(Edge(param, other, steps, tie, tie.span))
    return edges


def _members(graph: Graph, path: str) -> dict[str, str]:
    """Parameters of an instance by their names in it; a parameter is its own, named ""."""
    if path in graph.params:
        return {"": path}
    return {name[len(path) + 1 :]: name for name in graph.instances[path].params}


def _shapes_differ(
    graph: Graph,
    child: str,
    parent: str,
    made: tuple[int, ...],
    steps: tuple[Step, ...],
    span: Span | None,
    where: Span | None,
    diagnostics: Diagnostics,
) -> None:
    shape = graph.params[child].shape
    view = f"{steps[-1].name} of '{parent}' is" if steps else f"'{parent}' is"
    hint = "tied parameters have one shape; change a layer's size, or read one through a view"
    if made == shape[::-1] and len(shape) > 1:
        hint = f"say: tie hard {child} = transpose({parent})"
    elif np.prod(made) == np.prod(shape):
        hint = f"say: tie hard {child} = reshape({parent}, {list(shape)})"
    diagnostics.error(
        "E0401",
        f"'{child}' is {list(shape)}, but {view} {list(made)}",
        span,
        label=str(list(shape)),
        others=[
            (where, str(list(made))),
            (graph.params[child].span, f"'{child}' is made here"),
            (graph.params[parent].span, f"'{parent}' is made here"),
        ],
        hint=hint,
    )


def _map(graph: Graph, tie: Tie, diagnostics: Diagnostics, root: Path | None) -> list[Edge]:
    settings = dict(tie.settings)
    name = str(settings.pop("map"))
    edges = []
    for member in tie.members:
        if member.path not in graph.params:
            several = ", ".join(graph.instances[member.path].params)
            diagnostics.error(
                "E0408",
                f"an index map is for one parameter, and '{member.path}' is a layer or block",
                member.span,
                hint=f"name a parameter: {several}",
            )
            continue
        try:
            found = make_map(name, graph.params[member.path].shape, settings, root)
        except ViewError as error:
            diagnostics.error(error.code, error.message, tie.span, hint=error.hint)
            continue
        steps = (Step("map", (("name", name), ("map", found))),)
        edges.append(Edge(member.path, "", steps, tie, tie.span))
    return edges


# ---------------------------------------------------------------- components


@dataclass(frozen=True)
class Component:
    params: tuple[str, ...]
    edges: tuple[Edge, ...]


def _components(graph: Graph, edges: list[Edge]) -> list[Component]:
    """Union-find over parameters; each with its edges, in the order of the file."""
    parent = {name: name for name in graph.params}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for edge in edges:
        if edge.parent:
            a, b = root(edge.child), root(edge.parent)
            parent[a] = b
    members: dict[str, list[str]] = {}
    for name in graph.params:
        members.setdefault(root(name), []).append(name)
    own: dict[str, list[Edge]] = {}
    for edge in edges:
        own.setdefault(root(edge.child), []).append(edge)
    return [Component(tuple(names), tuple(own.get(r, ()))) for r, names in members.items()]


class _Resolution:
    """Views of all parameters, and the shape and owner of each storage."""

    def __init__(self, graph: Graph, diagnostics: Diagnostics) -> None:
        self.graph = graph
        self.diagnostics = diagnostics
        self.views: dict[str, View] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.owners: dict[str, str] = {}

    def resolve(self, component: Component) -> None:
        if not component.edges:
            for name in component.params:
                self._settle(name, self.graph.params[name].shape, {name: ()})
            return
        owner, shape, known = self._spread(component)
        missing = [name for name in component.params if name not in known]
        if missing:
            self._unlike(component, missing[0])
            known.update((name, ()) for name in missing)
            for name in missing:
                self._settle(name, self.graph.params[name].shape, {name: ()})
            known = {name: steps for name, steps in known.items() if name not in missing}
            self._settle(owner, shape, known)
            return
        wrong = [edge for edge in component.edges if not self._agrees(edge, shape, known)]
        if wrong:
            shape, known = self._imply(owner, shape, known, wrong)
        self._settle(owner, shape, known)

    def _settle(
        self, owner: str, shape: tuple[int, ...], known: Mapping[str, tuple[Step, ...]]
    ) -> None:
        self.shapes[owner] = shape
        self.owners[owner] = owner
        for name, steps in known.items():
            self.views[name] = View(owner, steps)

    def _spread(
        self, component: Component
    ) -> tuple[str, tuple[int, ...], dict[str, tuple[Step, ...]]]:
        """Tries owners in their order until one reaches all; else the one that reaches most."""
        maps = [edge for edge in component.edges if not edge.parent]
        best: tuple[str, tuple[int, ...], dict[str, tuple[Step, ...]]] | None = None
        for owner in self._candidates(component, maps):
            start = next((edge for edge in maps if edge.child == owner), None)
            shape, steps = self.graph.params[owner].shape, ()
            if start is not None:
                shape, steps = dict(start.steps[0].arguments)["map"].free, start.steps
            known = self._reach(component, owner, steps)
            if best is None or len(known) > len(best[2]):
                best = (owner, shape, known)
            if len(known) == len(component.params):
                break
        assert best is not None
        return best

    def _candidates(self, component: Component, maps: list[Edge]) -> list[str]:
        """Owners by preference: under an index map, then what is read by others, then the rest."""
        if maps:
            return list(dict.fromkeys(edge.child for edge in maps))
        read = [edge.parent for edge in component.edges]
        defined = {edge.child for edge in component.edges}
        first = [name for name in read if name not in defined]
        return list(dict.fromkeys([*first, *read, *component.params]))

    def _reach(
        self, component: Component, owner: str, start: tuple[Step, ...]
    ) -> dict[str, tuple[Step, ...]]:
        known = {owner: start}
        again = True
        neighbours: dict[str, list[Edge]] = {}
        for edge in component.edges:
            if edge.parent:
                neighbours.setdefault(edge.parent, []).append(edge)
                neighbours.setdefault(edge.child, []).append(edge)
        waiting = [owner]
        while waiting and again:
            name = waiting.pop(0)
            for edge in neighbours.get(name, ()):
                if edge.parent == name and edge.child not in known:
                    known[edge.child] = _short((*known[name], *edge.steps))
                    waiting.append(edge.child)
                elif edge.child == name and edge.parent not in known:
                    back = self._undo(edge)
                    if back is not None:
                        known[edge.parent] = _short((*known[name], *back))
                        waiting.append(edge.parent)
        return known

    def _undo(self, edge: Edge) -> tuple[Step, ...] | None:
        """Steps that read the parent off the child, where every view can be undone."""
        shape = self.graph.params[edge.parent].shape
        back: list[Step] = []
        for step in edge.steps:
            undone = inverse(step, shape)
            if undone is None:
                return None
            back.insert(0, undone)
            shape = check_step(step, shape)
        return tuple(back)

    def _agrees(
        self, edge: Edge, shape: tuple[int, ...], known: Mapping[str, tuple[Step, ...]]
    ) -> bool:
        if not edge.parent:
            first = known[edge.child][:1]
            return first == edge.steps or self._same_map(edge, shape, known)
        child, parent = known[edge.child], (*known[edge.parent], *edge.steps)
        return child == parent or same(layout(child, shape), layout(parent, shape))

    def _same_map(
        self, edge: Edge, shape: tuple[int, ...], known: Mapping[str, tuple[Step, ...]]
    ) -> bool:
        """A second map in the set: it must name the same groups as the views found."""
        chosen: IndexMap = dict(edge.steps[0].arguments)["map"]
        if chosen.free != shape:
            return False
        there, scale = entries(layout(known[edge.child], shape))
        factor = np.ones(there.shape) if chosen.coefficient is None else chosen.coefficient
        inside = there >= 0
        return bool(
            np.array_equal(there, chosen.index) and np.array_equal(scale[inside], factor[inside])
        )

    def _unlike(self, component: Component, name: str) -> None:
        """Some parameter is part of two things, and neither is part of the other."""
        edges = [edge for edge in component.edges if name in (edge.child, edge.parent)]
        edge = edges[0]
        rivals = [e for e in component.edges if e.child == edge.child and e is not edge]
        self.diagnostics.error(
            "E0402",
            f"'{edge.child}' is tied to two unlike things"
            + (f": '{rivals[0].parent}' and '{edge.parent}'" if rivals else f" through '{name}'"),
            edge.span,
            others=[(e.span, "tied here too") for e in rivals],
            hint="keep one of the ties, or tie the larger parameters to each other",
        )

    # ------------------------------------------------------------ ties that disagree

    def _imply(
        self,
        owner: str,
        shape: tuple[int, ...],
        known: dict[str, tuple[Step, ...]],
        wrong: list[Edge],
    ) -> tuple[tuple[int, ...], dict[str, tuple[Step, ...]]]:
        """Works out which entries of the storage become equal, or reports why that is an error."""
        edge = wrong[0]
        if not edge.parent:
            self.diagnostics.error(
                "E0402",
                f"'{edge.child}' is tied to two unlike things: by two index maps, or by one and "
                "by a view that does not keep it",
                edge.span,
                others=[(e.span, "and here") for e in wrong[1:2]],
                hint="keep one of the two ties",
            )
            return shape, known
        count = int(np.prod(shape))
        if count > MAX_COMPARED:
            self.diagnostics.error(
                "E0501",
                f"ties of '{owner}' disagree, and its {count} numbers are more than the "
                f"{MAX_COMPARED} that are compared one by one",
                edge.span,
            )
            return shape, known
        pairs = [self._pairs(e, shape, known) for e in wrong if e.parent]
        classes, signs, zero = _classes(count, pairs)
        if zero.any():
            self.diagnostics.error(
                "E0406",
                f"the ties force {'all' if zero.all() else int(zero.sum())} of the {count} numbers "
                f"of '{owner}' to be zero",
                edge.span,
                label="an entry equals another multiple of itself",
                others=[(e.span, "together with this tie") for e in wrong[1:2]],
                hint="take one of the ties away; to fix entries at zero use by map(...)",
            )
            return shape, known
        if edge.child == edge.parent or len(wrong) == 1 and self._only(edge, known):
            self.diagnostics.error(
                "E0403",
                f"'{edge.child}' cannot be {_steps_text(edge)} of itself"
                if edge.child == edge.parent
                else f"the ties of '{edge.child}' go in a circle, and the views disagree",
                edge.span,
                hint=_structure_hint(owner, shape, classes, signs),
            )
            return shape, known
        free = int(classes.max()) + 1
        chosen = IndexMap(
            (free,), classes.reshape(shape), None if (signs == 1).all() else signs.reshape(shape)
        )
        step = Step("map", (("name", "implied"), ("map", chosen)))
        return (free,), {name: (step, *steps) for name, steps in known.items()}

    def _only(self, edge: Edge, known: Mapping[str, tuple[Step, ...]]) -> bool:
        return False

    def _pairs(
        self, edge: Edge, shape: tuple[int, ...], known: Mapping[str, tuple[Step, ...]]
    ) -> tuple[Array, Array, Array, Array]:
        """Entries of the storage that one edge makes equal: i, its factor, j, its factor."""
        i, a = entries(layout(known[edge.child], shape))
        j, b = entries(layout((*known[edge.parent], *edge.steps), shape))
        return i.reshape(-1), a.reshape(-1), j.reshape(-1), b.reshape(-1)


def _classes(
    count: int, pairs: list[tuple[Array, Array, Array, Array]]
) -> tuple[Array, Array, Array]:
    """Classes of equal entries with each entry's multiple of its class, and which must be zero.

    A weighted union-find: value[x] = weight[x] * value[root of x].
    """
    root = list(range(count))
    weight = [1.0] * count
    zero = np.zeros(count, bool)

    def find(x: int) -> tuple[int, float]:
        factor = 1.0
        while root[x] != x:
            factor *= weight[x]
            x = root[x]
        return x, factor

    for i, a, j, b in pairs:
        for x, p, y, q in zip(i.tolist(), a.tolist(), j.tolist(), b.tolist(), strict=True):
            if x < 0 or y < 0:
                if x != y:
                    zero[max(x, y)] = True
                continue
            (rx, wx), (ry, wy) = find(x), find(y)
            if rx == ry:
                if abs(p * wx - q * wy) > 1e-12 * abs(p * wx):
                    zero[rx] = True
            else:
                low, high = min(rx, ry), max(rx, ry)
                ratio = (q * wy) / (p * wx) if high == rx else (p * wx) / (q * wy)
                root[high], weight[high] = low, ratio
    found = [find(x) for x in range(count)]
    roots = np.array([r for r, _ in found], np.int64)
    zero_roots = set(roots[zero].tolist())
    forced = np.array([r in zero_roots for r in roots.tolist()], bool)
    _, classes = np.unique(roots, return_inverse=True)
    return classes.astype(np.int64), np.array([w for _, w in found]), forced


def _structure_hint(owner: str, shape: tuple[int, ...], classes: Array, signs: Array) -> str:
    """The way to say what the circle amounts to, where there is a word for it."""
    if len(shape) >= 2 and shape[0] == shape[1]:
        grid = classes.reshape(shape)
        turned = np.swapaxes(grid, 0, 1)
        free = int(classes.max()) + 1
        rest = int(np.prod(shape[2:]))
        if np.array_equal(grid, turned) and free == shape[0] * (shape[0] + 1) // 2 * rest:
            return f"for a symmetric matrix say: tie hard {owner} by symmetric"
    free = int(classes.max()) + 1
    return f"that would leave {free} of {classes.size} numbers; say which with by map(...)"


def _steps_text(edge: Edge) -> str:
    return "the " + " of the ".join(step.name for step in reversed(edge.steps))


def _short(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Without neighbours that undo each other, so that twice transposed is not a view at all."""
    result: list[Step] = []
    for step in steps:
        twice = step.name in ("transpose", "negate") and not step.arguments
        if result and twice and result[-1] == step:
            result.pop()
        else:
            result.append(step)
    return tuple(result)


# ---------------------------------------------------------------- storages


def _storages(
    graph: Graph, shapes: Mapping[str, tuple[int, ...]], owners: Mapping[str, str]
) -> dict[str, Storage]:
    """One storage for each owner, in the order of the file; frozen when any of its readers is."""
    readers: dict[str, list[Param]] = {}
    for param in graph.params.values():
        readers.setdefault(param.view.storage, []).append(param)
    storages = {}
    for name, param in graph.params.items():
        if name in owners:
            init: Init = param.init
            trainable = all(reader.trainable for reader in readers[name])
            storages[name] = Storage(
                name, shapes[name], init, trainable, param.fans, param.span
            )
    return storages
