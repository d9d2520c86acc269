"""Numbers from outside onto storages: the inverse of reading parameters through views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiedgraph.diagnostics import nearest
from tiedgraph.ir.graph import Graph
from tiedgraph.ties.layout import Array, entries
from tiedgraph.ties.view import layout


def assign(graph: Graph, free: Mapping[str, Array], given: Mapping[str, Any]) -> dict[str, Array]:
    """New numbers of the storages that `given` touches.

    free: present numbers by owner. given: by owner in the storage's shape, or by parameter in the
    parameter's. Raises ValueError for unknown names, wrong shapes, numbers that are not finite, and
    members of a tie whose numbers disagree. Nothing is changed in place.
    """
    result: dict[str, Array] = {}
    written: dict[str, tuple[Array, Array]] = {}  # storage -> which entries were set, and by whom
    names: list[str] = []
    for name, value in given.items():
        array = np.asarray(value, np.float64)
        if name not in graph.params and name not in graph.storages:
            hint = nearest(name, [*graph.params, *graph.storages])
            raise ValueError(f"the model has no parameter '{name}'" + (f"; {hint}" if hint else ""))
        if not np.isfinite(array).all():
            raise ValueError(f"'{name}' holds numbers that are not finite")
        index, scale, storage = _target(graph, name, array)
        before = result.setdefault(storage, np.array(free[storage], np.float64).reshape(-1))
        mark, owner = written.setdefault(
            storage, (np.zeros(before.size, bool), np.full(before.size, -1))
        )
        names.append(name)
        inside = index >= 0
        if np.any(array.reshape(-1)[~inside]):
            raise ValueError(f"'{name}' is tied to zero where the numbers given are not")
        at, new = index[inside], array.reshape(-1)[inside] / scale[inside]
        order = np.argsort(at, kind="stable")
        at, new = at[order], new[order]
        first = np.r_[True, at[1:] != at[:-1]]
        values = new[first]
        if not _close(new, np.repeat(values, np.diff(np.r_[np.flatnonzero(first), len(at)]))):
            raise ValueError(f"entries of '{name}' that are tied to each other are given unlike")
        places = at[first]
        known = mark[places]
        if not _close(before[places][known], values[known]):
            other = names[int(owner[places][known][0])]
            raise ValueError(f"'{name}' and '{other}' are tied, but the numbers given disagree")
        before[places], mark[places], owner[places] = values, True, len(names) - 1
    return {name: array.reshape(graph.storages[name].shape) for name, array in result.items()}


@dataclass(frozen=True)
class Projection:
    """How another model's parameters fit this one.

    storages: new numbers by owner, those that nothing was given for as before.
    taken: parameters that were there. averaged: for those whose numbers are tied here and differed,
    the largest distance to what was made of them. missing: parameters of this model that were not
    given. unlike: given in another shape, with both shapes. unused: given, but not of this model.
    """

    storages: Mapping[str, Array]
    taken: tuple[str, ...]
    averaged: Mapping[str, float]
    missing: tuple[str, ...]
    unlike: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    unused: tuple[str, ...]


def project(graph: Graph, free: Mapping[str, Array], given: Mapping[str, Any]) -> Projection:
    """Parameters of another model, by name, onto this one's storages.

    Numbers that are tied here become the least-squares fit to what is given for their entries: the
    mean, where no view scales. free: present numbers by owner. Nothing is changed in place.
    """
    taken: list[str] = []
    missing: list[str] = []
    unlike: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    sums = {name: np.zeros(np.size(array)) for name, array in free.items()}
    weights = {name: np.zeros(np.size(array)) for name, array in free.items()}
    places: dict[str, tuple[Array, Array]] = {}
    for name, param in graph.params.items():
        if name not in given:
            missing.append(name)
            continue
        array = np.asarray(given[name], np.float64)
        if array.shape != param.shape:
            unlike[name] = (array.shape, param.shape)
            continue
        storage = param.view.storage
        index, scale = entries(layout(param.view.steps, graph.storages[storage].shape))
        inside = index >= 0
        np.add.at(sums[storage], index[inside], array[inside] * scale[inside])
        np.add.at(weights[storage], index[inside], scale[inside] ** 2)
        places[name] = index, scale
        taken.append(name)
    storages = {}
    for name, array in free.items():
        before = np.array(array, np.float64).reshape(-1)
        known = weights[name] > 0
        before[known] = sums[name][known] / weights[name][known]
        storages[name] = before.reshape(graph.storages[name].shape)
    averaged = {}
    for name, (index, scale) in places.items():
        flat = storages[graph.params[name].view.storage].reshape(-1)
        made = np.where(index >= 0, flat[np.maximum(index, 0)] * scale, 0.0)
        array = np.asarray(given[name], np.float64)
        if not _close(made, array):
            averaged[name] = float(np.abs(made - array).max())
    unused = tuple(name for name in given if name not in graph.params)
    return Projection(storages, tuple(taken), averaged, tuple(missing), unlike, unused)


def _target(graph: Graph, name: str, array: Array) -> tuple[Array, Array, str]:
    """Storage entries and factors that an array of numbers is for, by name and shape."""
    param = graph.params.get(name)
    storage = graph.storages.get(name)
    if param is not None and array.shape == param.shape:
        owner = param.view.storage
        index, scale = entries(layout(param.view.steps, graph.storages[owner].shape))
        return index.reshape(-1), scale.reshape(-1), owner
    if storage is not None and array.shape == storage.shape:
        return np.arange(array.size), np.ones(array.size), name
    shapes = [list(item.shape) for item in (param, storage) if item is not None]
    known = " or ".join(map(str, [shapes[0], *(s for s in shapes[1:] if s != shapes[0])]))
    raise ValueError(f"'{name}' is {known}, but the array given is {list(array.shape)}")


def _close(a: Array, b: Array) -> bool:
    return bool(np.allclose(a, b, rtol=1e-6, atol=0.0))
