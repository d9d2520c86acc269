"""Where every value and parameter lies.

A tile's activations share one arena, planned by liveness: a value's place is free again after its
last reader. Sizes are bound here, so a plan belongs to one set of run-time lengths.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass

from tiedgraph.ir.graph import Graph, Node
from tiedgraph.ir.types import bind, elements
from tiedgraph.ops import BY_NAME
from tiedgraph.passes.schedule import Schedule
from tiedgraph.ties.layout import Indexed, Strided, contiguous
from tiedgraph.ties.view import layout


@dataclass(frozen=True)
class Memory:
    """Offsets in an arena, in vectors (one number of each lane).

    values: offset of each value; values that share a place (aliases, sums in place) share it here.
      What a node leaves to its backward node is one more (`keeps`).
    size: vectors of the arena without scratch.
    lives: first and last step at which each place is in use, for printing.
    """

    values: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]
    size: int
    lives: Mapping[str, tuple[int, int]]


def plan_memory(schedule: Schedule, lengths: Mapping[str, int]) -> Memory:
    """First fit over the lives of values, in the order of the schedule."""
    graph = schedule.graph
    shapes = {name: bind(graph.shape_of(name), lengths) for name in graph.values}
    home = _homes(graph)
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    end = len(schedule.order)
    for name in graph.data:
        first[home[name]] = -1
        last[home[name]] = -1
    for step, name in enumerate(schedule.order):
        node = graph.nodes[name]
        for value in (*node.outputs, *node.inputs):
            place = home[value]
            first.setdefault(place, step)
            last[place] = step
        op = BY_NAME[node.op]
        if op.keeps is not None:
            maker = node.forward or node
            place = home[keeps(maker)] = keeps(maker)
            given = [shapes[value] for value in maker.inputs]
            shapes[place] = (op.keeps(node.attrs, given, shapes[maker.outputs[0]]),)
            first.setdefault(place, step)
            last[place] = step
    for term in graph.outputs:
        if term.value in home:
            last[home[term.value]] = end
    sizes: dict[str, int] = {}
    for value, place in home.items():
        if place in first:
            sizes[place] = max(sizes.get(place, 0), elements(shapes[value]))
    offsets, size = _first_fit(first, last, sizes)
    values = {value: offsets[place] for value, place in home.items() if place in offsets}
    lives = {place: (first[place], last[place]) for place in first}
    return Memory(values, shapes, size, lives)


def keeps(node: Node) -> str:
    """The name of the place of what a forward node keeps for its backward node."""
    return f"{node.id}, kept"


def _homes(graph: Graph) -> dict[str, str]:
    """For each value the one whose memory it lies in."""
    home = {name: name for name in graph.values}
    for node in graph.nodes.values():
        if shares_memory(node):
            given = node.inputs[-1] if node.role == "backward" else node.inputs[0]
            for value in node.outputs:
                home[value] = home[given]
        for value, before in zip(node.outputs, node.accumulate, strict=False):
            if before is not None:
                home[value] = home[before]
    return home


def shares_memory(node: Node) -> bool:
    """Whether the node makes nothing: its output is its input under another shape."""
    return BY_NAME[node.op].alias and all(before is None for before in node.accumulate)


def _first_fit(
    first: Mapping[str, int], last: Mapping[str, int], sizes: Mapping[str, int]
) -> tuple[dict[str, int], int]:
    offsets: dict[str, int] = {}
    free: list[tuple[int, int]] = []  # (offset, size), by offset, never adjacent
    ends: dict[int, list[str]] = {}
    top = 0
    step = -2
    for place in sorted(first, key=lambda name: (first[name], name)):
        while step < first[place]:
            for done in ends.pop(step, ()):
                if sizes[done]:
                    _release(free, offsets[done], sizes[done])
            step += 1
        size = sizes[place]
        for index, (offset, room) in enumerate(free):
            if room >= size:
                free[index : index + 1] = [(offset + size, room - size)] if room > size else []
                offsets[place] = offset
                break
        else:
            if free and sum(free[-1]) == top:
                top = free.pop()[0]
            offsets[place] = top
            top += size
        ends.setdefault(last[place], []).append(place)
    return offsets, top


def _release(free: list[tuple[int, int]], offset: int, size: int) -> None:
    insort(free, (offset, size))
    index = free.index((offset, size))
    if index + 1 < len(free) and offset + size == free[index + 1][0]:
        size += free.pop(index + 1)[1]
        free[index] = (offset, size)
    if index and sum(free[index - 1]) == offset:
        before, room = free[index - 1]
        free[index - 1 : index + 1] = [(before, room + size)]


# ---------------------------------------------------------------- parameters

ALIGNMENT = 16  # numbers; regions start and end on whole vectors of either dtype


@dataclass(frozen=True)
class Region:
    offset: int
    size: int


@dataclass(frozen=True)
class Parameters:
    """Where numbers lie in the parameter array, and in gradients and optimiser slots alike.

    storages: trained ones first, so that an optimiser walks `trained` numbers from 0 on; of those
      `weights` are the model's, and mixtures of soft ties lie behind them.
    expanded: parameters read through an index map, which no strides can express: copies, filled
      before a step and summed back after it; `maps` has each one's storage and map.
    layouts: each parameter's strides, relative to its storage or its copy.
    size: all of it; statistics of a step come behind.
    """

    storages: Mapping[str, Region]
    weights: int
    trained: int
    expanded: Mapping[str, Region]
    maps: Mapping[str, tuple[str, Indexed]]
    layouts: Mapping[str, tuple[int, Strided]]
    size: int


def plan_parameters(graph: Graph, reached: frozenset[str]) -> Parameters:
    """Lays storages out: trained by some loss, then the rest, then copies.

    reached: storages that a loss depends on; others get no update and no decay.
    """
    trained = [s for s in graph.storages.values() if s.trainable and s.id in reached]
    mixed = {p.id for p in graph.params.values() if p.instance in graph.mixtures}
    trained.sort(key=lambda storage: storage.id in mixed)
    others = [s for s in graph.storages.values() if not (s.trainable and s.id in reached)]
    storages: dict[str, Region] = {}
    top = 0

    def place(count: int) -> Region:
        nonlocal top
        region = Region(top, count)
        top += -(-count // ALIGNMENT) * ALIGNMENT
        return region

    weights = 0
    for storage in trained:
        storages[storage.id] = place(elements(storage.shape))
        weights = weights if storage.id in mixed else top
    end = top
    for storage in others:
        storages[storage.id] = place(elements(storage.shape))
    expanded: dict[str, Region] = {}
    maps: dict[str, tuple[str, Indexed]] = {}
    layouts: dict[str, tuple[int, Strided]] = {}
    shared: dict[object, str] = {}
    for param in graph.params.values():
        found = layout(param.view.steps, graph.storages[param.view.storage].shape)
        if isinstance(found, Strided):
            layouts[param.id] = (storages[param.view.storage].offset + found.offset, found)
            continue
        first = shared.setdefault((param.view, param.shape), param.id)
        if first == param.id:
            expanded[param.id] = place(elements(param.shape))
            maps[param.id] = (param.view.storage, found)
        layouts[param.id] = (expanded[first].offset, contiguous(param.shape))
    return Parameters(storages, weights, end, expanded, maps, layouts, top)
