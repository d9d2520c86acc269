"""Parameters that are read through index maps: copies, filled before a step, summed back after it.

A map's entries are cut into segments. Where the free numbers of neighbours are neighbours too, as
in circulant matrices, whole vectors move; elsewhere each entry's free number is looked up.

On the way back a block's entries are first summed over the shards, while they stay in the nearest
cache, and then into a few accumulators, each for a fixed share of the blocks. How many there are
does not depend on how many threads there are, so bits do not either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tiedgraph.codegen import driver, kernels
from tiedgraph.passes.memory import ALIGNMENT, Parameters, Region
from tiedgraph.runtime import team

Array = np.ndarray[Any, np.dtype[Any]]
Row = tuple[int, ...]  # operands of a kernel
BLOCK = driver.ENTRIES
STRETCH = 16  # blocks that one thread fills at a time
RUN = 16  # neighbours that are worth a segment of their own
MANY = 1 << 15  # entries of a storage that are worth accumulators
MOST = 8  # accumulators


@dataclass(frozen=True)
class _Map:
    """One copy: where it and its storage lie, and what kernels read.

    segments: rows of first entry, entries, first free number and its step, 1 or -1 from entry to
      entry, or 0 where `index` has the free numbers (-1: a fixed zero). No row goes beyond a block.
    starts: the first segment of each block, and the end of the last one.
    """

    source: int
    target: int
    segments: Array
    starts: Array
    index: Array
    coefficient: Array | None

    @property
    def blocks(self) -> int:
        return len(self.starts) - 1

    @property
    def places(self) -> Row:
        """Where segments, their starts, the index and coefficients (or 0) lie."""
        scale = self.coefficient.ctypes.data if self.coefficient is not None else 0
        return (self.segments.ctypes.data, self.starts.ctypes.data, self.index.ctypes.data, scale)


def _map(source: int, target: int, found: Any, dtype: str) -> _Map:
    index = np.ascontiguousarray(found.index, np.int32).reshape(-1)
    segments = _segments(index)
    cuts = np.arange(0, index.size + BLOCK, BLOCK)
    starts = np.searchsorted(segments[:, 0], cuts).astype(np.int64)
    scale = found.coefficient
    if scale is not None:
        scale = np.ascontiguousarray(scale, dtype).reshape(-1)
    return _Map(source, target, segments, starts, index, scale)


def _segments(index: Array) -> Array:
    """Rows of `_Map.segments`; entries that are zero are in none, or among others."""
    steps = np.diff(index)
    near = (np.abs(steps) == 1) & (index[1:] >= 0) & (index[:-1] >= 0)
    steps = np.where(near, steps, 0)
    # Entries between which the step changes begin another segment, and so do blocks.
    change = np.flatnonzero(np.diff(steps)) + 1
    begins = np.unique(np.concatenate([[0], change, np.arange(0, index.size, BLOCK)]))
    ends = np.append(begins[1:], index.size)
    step = np.append(steps, 0)[begins] if index.size > 1 else np.zeros(1, np.int64)
    runs = (step != 0) & (ends - begins >= RUN)
    step = np.where(runs, step, 0)
    # What lies between runs is one segment in each block, without the zeros around it.
    joined = np.flatnonzero(runs | np.append(True, runs[:-1]) | (begins % BLOCK == 0))
    begins, step = begins[joined], step[joined]
    ends = np.append(begins[1:], index.size)
    used = np.append(0, np.cumsum(index >= 0))
    first = np.searchsorted(used, used[begins], side="right") - 1
    last = np.searchsorted(used, used[ends], side="left")
    kept = used[ends] > used[begins]
    rows = [first, last - first, index[np.minimum(first, index.size - 1)], step]
    return np.ascontiguousarray(np.stack(rows, axis=1)[kept], np.int64)


@dataclass(frozen=True)
class _Onto:
    """All maps onto one storage. sums: accumulators besides the storage's own gradient."""

    region: Region
    maps: list[_Map]
    sums: Array

    def pieces(self, own: int) -> list[list[Row]]:
        """Operands of `driver.contract` for each accumulator, of which the first lies at `own`."""
        count = len(self.sums) + 1
        places = [own, *(row.ctypes.data for row in self.sums)]
        return [
            [
                (*m.places, _whole(len(m.index)), m.target)
                + (m.blocks * p // count, m.blocks * (p + 1) // count, place)
                for m in self.maps
            ]
            for p, place in enumerate(places)
        ]


def _onto(region: Region, maps: list[_Map], dtype: str) -> _Onto:
    entries = sum(len(item.index) for item in maps)
    count = min(MOST, max(2, entries // (4 * region.size))) if entries >= MANY else 1
    return _Onto(region, maps, np.zeros((count - 1, _whole(region.size)), dtype))


def _whole(count: int) -> int:
    """In whole vectors."""
    return -(-count // ALIGNMENT) * ALIGNMENT


class Maps:
    """All index maps of a model."""

    def __init__(self, plan: Parameters, dtype: str) -> None:
        self.dtype = dtype
        onto: dict[str, list[_Map]] = {}
        for name, (storage, found) in plan.maps.items():
            made = _map(plan.storages[storage].offset, plan.expanded[name].offset, found, dtype)
            onto.setdefault(storage, []).append(made)
        self._onto = [_onto(plan.storages[name], maps, dtype) for name, maps in onto.items()]
        # Copies lie side by side.
        self.begin = min((r.offset for r in plan.expanded.values()), default=plan.size)
        self.end = plan.size

        self._seen: list[Array] = []

    def changed(self, numbers: Array) -> bool:
        """Whether storages are not what the copies were last filled from.

        If so, they are taken to be filled from `numbers` next.
        """
        kind = f"u{numbers.itemsize}"  # -0 is not 0 here, and NaN is NaN
        regions = [onto.region for onto in self._onto]
        found = [numbers[r.offset : r.offset + r.size].view(kind) for r in regions]
        if len(self._seen) == len(found) and all(map(np.array_equal, self._seen, found)):
            return False
        self._seen = [array.copy() for array in found]
        return True

    def forget(self) -> None:
        """The copies are filled from numbers that are about to change."""
        self._seen = []

    def expand(self, parameter: int, threads: int, kept: list[Array]) -> list[list[team.Job]]:
        """Phases that fill the copies in the numbers at `parameter`; `kept` gets what they read."""
        rows = [
            (*item.places, item.source, item.target, begin, min(begin + STRETCH, item.blocks))
            for onto in self._onto
            for item in onto.maps
            for begin in range(0, item.blocks, STRETCH)
        ]
        places = (0, parameter, 0)
        return deal(driver.EXPAND, self.dtype, places, [[r] for r in rows], threads, kept)

    def contract(
        self, total: int, shards: int, stride: int, used: int, threads: int, kept: list[Array]
    ) -> list[list[team.Job]]:
        """Phases that add the copies' gradients to those of their storages, at `total`.

        shards: where the copies' gradients lie, which are left zero; stride: numbers between two of
        them; used: how many are not zero.
        """
        item = np.dtype(self.dtype).itemsize
        pieces = [
            [(*row, stride) for row in piece]
            for onto in self._onto
            for piece in onto.pieces(total + onto.region.offset * item)
        ]
        sums = [
            [(onto.sums.ctypes.data, *onto.sums.shape, begin, end, onto.region.offset)]
            for onto in self._onto
            if len(onto.sums)
            for begin, end in _shares(onto.sums.shape[1], threads)
        ]
        return [
            *deal(driver.contract(used), self.dtype, (total, 0, shards), pieces, threads, kept),
            *deal(driver.COLLECT, self.dtype, (total, 0, 0), sums, threads, kept),
        ]


def _shares(count: int, parts: int) -> list[tuple[int, int]]:
    """`count` numbers cut into stretches of whole vectors."""
    vectors = count // ALIGNMENT
    cuts = [vectors * i // parts * ALIGNMENT for i in range(parts + 1)]
    return list(pairwise(cuts))


def deal(
    kernel: Any,
    dtype: str,
    places: tuple[int, int, int],
    pieces: Sequence[Sequence[Row]],
    threads: int,
    kept: list[Array],
) -> list[list[team.Job]]:
    """At most one phase: each piece's rows are run by one thread, one after another.

    places: the addresses of activations, parameters and gradients. kept: gets what the jobs read.
    """
    if not pieces:
        return []
    entry = kernels.address(kernel, dtype)
    workers = min(threads, len(pieces))
    dealt = [[row for piece in pieces[w::workers] for row in piece] for w in range(workers)]
    tables = [np.array([len(rows), *(n for row in rows for n in row)], np.int64) for rows in dealt]
    kept += tables
    return [[team.Job(entry, *places, table.ctypes.data) for table in tables]]
