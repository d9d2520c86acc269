"""Parameters that are read through index maps: copies, filled before a step, summed back after it.

Threads take stretches of entries on the way there. On the way back the free numbers of a storage
are cut into stretches that stay in the nearest cache, and one thread sums all entries of a stretch;
where there is only one, entries are summed into a few accumulators. Neither depends on how many
threads there are, so bits do not either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiedgraph.codegen import driver, kernels
from tiedgraph.passes.memory import ALIGNMENT, Parameters
from tiedgraph.runtime import team

Array = np.ndarray[Any, np.dtype[Any]]
Row = tuple[int, ...]  # operands of a kernel
STRETCH = 1 << 14  # entries that one thread fills at a time
NEAR = 1 << 12  # free numbers whose sums stay in the nearest cache
MANY = 1 << 15  # entries of a storage that are worth accumulators


@dataclass(frozen=True)
class _Map:
    """One copy: where it and its storage lie, and what kernels read.

    index: free number of each entry. pairs: free number and entry, two halves of an integer, by
    stretches of free numbers, which begin at `cuts`.
    """

    source: int
    target: int
    count: int
    index: Array
    pairs: Array
    cuts: list[int]
    coefficient: Array | None

    @property
    def scale(self) -> int:
        """Where coefficients lie, or 0."""
        return self.coefficient.ctypes.data if self.coefficient is not None else 0


def _map(source: int, target: int, found: Any, free: int, dtype: str) -> _Map:
    index = np.ascontiguousarray(found.index, np.int64).reshape(-1)
    entries = np.flatnonzero(index >= 0)
    used = index[entries]
    order = np.argsort(used // NEAR, kind="stable")
    pairs = ((entries << 32) | used)[order]
    starts = np.arange(-(-free // NEAR) + 1)
    cuts = np.searchsorted((used // NEAR)[order], starts).tolist()
    scale = found.coefficient
    if scale is not None:
        scale = np.ascontiguousarray(scale, dtype).reshape(-1)
    return _Map(source, target, index.size, index, pairs, cuts, scale)


class Maps:
    """All index maps of a model."""

    def __init__(self, plan: Parameters, dtype: str) -> None:
        self.dtype = dtype
        # The maps onto each storage, by where it lies; accumulators where they are worth it.
        self._onto: dict[int, list[_Map]] = {}
        self._sums: dict[int, Array] = {}
        for name, (storage, found) in plan.maps.items():
            region = plan.storages[storage]
            made = _map(region.offset, plan.expanded[name].offset, found, region.size, dtype)
            maps = self._onto.setdefault(region.offset, [])
            maps.append(made)
            if region.size <= NEAR and sum(item.count for item in maps) >= MANY:
                free = -(-region.size // ALIGNMENT) * ALIGNMENT
                self._sums[region.offset] = np.zeros((driver.ACCUMULATORS, free), dtype)

    def expand(self, parameter: int, threads: int, kept: list[Array]) -> list[list[team.Job]]:
        """Phases that fill the copies in the numbers at `parameter`; `kept` gets what they read."""
        rows = [
            (item.index.ctypes.data, item.scale, item.source, item.target)
            + (begin, min(begin + STRETCH, item.count))
            for maps in self._onto.values()
            for item in maps
            for begin in range(0, item.count, STRETCH)
        ]
        return deal(driver.EXPAND, self.dtype, (parameter, 0), [[r] for r in rows], threads, kept)

    def contract(self, gradient: int, threads: int, kept: list[Array]) -> list[list[team.Job]]:
        """Phases that add the gradients of the copies to those of their storages."""
        pieces: list[list[Row]] = []
        sums: list[list[Row]] = []
        for offset, maps in self._onto.items():
            accumulators = self._sums.get(offset)
            if accumulators is None:
                place = gradient + offset * np.dtype(self.dtype).itemsize
                for stretch in range(len(maps[0].cuts) - 1):
                    pieces.append(
                        [_row(m, m.cuts[stretch], m.cuts[stretch + 1], place) for m in maps]
                    )
                continue
            count, free = accumulators.shape
            for p, own in enumerate(accumulators):
                row: list[Row] = []
                for m in maps:
                    cuts = (len(m.pairs) * p // count, len(m.pairs) * (p + 1) // count)
                    row.append(_row(m, *cuts, own.ctypes.data))
                pieces.append(row)
            sums.append([(accumulators.ctypes.data, free, 0, free, offset)])
        places = (0, gradient)
        return [
            *deal(driver.CONTRACT, self.dtype, places, pieces, threads, kept),
            *deal(driver.COLLECT, self.dtype, places, sums, threads, kept),
        ]


def _row(item: _Map, begin: int, end: int, sums: int) -> Row:
    return (item.pairs.ctypes.data, item.scale, item.target, begin, end, sums)


def deal(
    kernel: Any,
    dtype: str,
    places: tuple[int, int],
    pieces: Sequence[Sequence[Row]],
    threads: int,
    kept: list[Array],
) -> list[list[team.Job]]:
    """At most one phase: each piece's rows are run by one thread, one after another.

    places: the addresses of parameters and gradients. kept: gets what the jobs read.
    """
    if not pieces:
        return []
    entry = kernels.address(kernel, dtype)
    workers = min(threads, len(pieces))
    dealt = [[row for piece in pieces[w::workers] for row in piece] for w in range(workers)]
    tables = [np.array([len(rows), *(n for row in rows for n in row)], np.int64) for rows in dealt]
    kept += tables
    return [[team.Job(entry, 0, *places, table.ctypes.data) for table in tables]]
