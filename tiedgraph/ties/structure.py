"""Facts about a parameter whose entries are not all free, in words."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from tiedgraph.ties.classes import follows
from tiedgraph.ties.index_map import MAP_KINDS, MapKind
from tiedgraph.ties.layout import Array, Layout, Shape, Strided, entries
from tiedgraph.ties.view import ViewError

LARGEST = 2**22  # entries beyond which only zeros and uses are counted


@dataclass(frozen=True)
class _Symmetry:
    """A way to read a parameter that may change nothing."""

    text: str
    index: Array


def find_structure(where: Layout) -> tuple[str, ...]:
    """Facts about the entries that a layout makes equal or zero; none for strides.

    Such as `symmetric`, `12 of 36 entries are fixed at zero`, `10 free numbers, each in 1 or 2
    entries`.
    """
    if isinstance(where, Strided):
        return ()
    index, factor = entries(where)
    facts: list[str] = []
    if index.size <= LARGEST:
        facts += named_structures(index, factor)
        facts += _symmetries(index, factor, bool(facts))
    zeros = int(np.count_nonzero(index < 0))
    if zeros:
        facts.append(f"{zeros:,} of {index.size:,} entries are fixed at zero")
    used = np.unique(index[index >= 0], return_counts=True)[1]
    if used.size and int(used.max()) > 1:
        low, high = int(used.min()), int(used.max())
        each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        facts.append(f"{used.size:,} free numbers, each in {each} entries")
    return tuple(facts)


def named_structures(index: Array, factor: Array) -> list[str]:
    """Index maps without settings whose equalities all hold; the narrowest of them only."""
    if not np.any(index >= 0):
        return []
    holding: list[tuple[MapKind, Array, Array]] = []
    for kind in MAP_KINDS:
        if kind.arguments or kind.make is None:
            continue
        try:
            made = kind.make(index.shape, {}, None)
        except ViewError:
            continue
        scale = np.ones(index.shape) if made.coefficient is None else made.coefficient
        if follows(index, factor, made.index, scale):
            holding.append((kind, made.index, scale))
    return [
        kind.name
        for kind, own, scale in holding
        if not any(
            other is not kind and follows(there, there_scale, own, scale)
            for other, there, there_scale in holding
        )
    ]


def _symmetries(index: Array, factor: Array, named: bool) -> list[str]:
    shape = index.shape
    found = []
    for way in _ways(shape, named):
        signs = factor.reshape(-1)[way.index]
        if np.array_equal(index.reshape(-1)[way.index], index) and np.allclose(
            signs[index >= 0], factor[index >= 0]
        ):
            found.append(way.text)
    return found


def _ways(shape: Shape, named: bool) -> list[_Symmetry]:
    """Flips of each axis, and turns of the last two."""
    grid = np.arange(prod(shape)).reshape(shape)
    ways = [
        _Symmetry(f"the same when axis {axis} is flipped", np.flip(grid, axis))
        for axis, size in enumerate(shape)
        if size > 1
    ]
    if len(shape) > 1 and shape[-1] == shape[-2] > 1:
        ways.append(_Symmetry("the same when turned by a quarter", np.rot90(grid, 1, (-2, -1))))
        if not named or len(shape) > 2:
            ways.append(
                _Symmetry("the same when its last two axes are exchanged", grid.swapaxes(-1, -2))
            )
    return ways
