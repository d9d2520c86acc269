"""Soft ties in training: what their mixtures cost, and the gradients of it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, exp
from typing import Any

import numpy as np

from tiedgraph.codegen import kernels
from tiedgraph.codegen import mixture as text
from tiedgraph.ir.graph import Mixture
from tiedgraph.ops.rules import Kernel, bits
from tiedgraph.runtime import team
from tiedgraph.runtime.program import BLOCK, Numbers, aligned
from tiedgraph.ties import mixture as math
from tiedgraph.ties.mixture import LOG_PRECISION, LOGIT, MEAN, PARTS, MixtureSettings, Sums

Array = np.ndarray[Any, np.dtype[Any]]

NODES_A_WIDTH = 16  # nodes of the table within the least width: errors below 1e-4
MOST_NODES = 2**14
FEWEST = 2**14  # numbers below which the exact pass is as quick
SPREADING = 3.0  # what one number costs with the table, in terms of the exact pass


@dataclass(frozen=True)
class MixtureState:
    """A mixture as it stands, component by component; number 0 is the zero component if there is.

    proportions, means, widths (standard deviations): float64 [K]. held: how many of the numbers
    each component is most responsible for, int64 [K].
    """

    proportions: Array
    means: Array
    widths: Array
    held: Array


class MixturePass:
    """One mixture of a model: reads the numbers where they lie, adds to their gradient.

    Sums over numbers have the same bits for any number of threads.
    """

    def __init__(self, mixture: Mixture, numbers: Numbers, threads: int) -> None:
        self.mixture = mixture
        self.settings: MixtureSettings = mixture.settings
        self.numbers = numbers
        self.threads = threads
        runs = [
            (numbers.plan.storages[name].offset + begin, numbers.plan.storages[name].offset + end)
            for name, found in mixture.numbers
            for begin, end in found
        ]
        self._runs = runs
        self._rows = _blocks(runs)
        self._lanes = 64 // np.dtype(numbers.dtype).itemsize
        size = text.scratch(self.settings.components, self._lanes)
        self._scratch = aligned(size * threads, numbers.dtype).reshape(threads, size)
        self._scratch[:, : self._lanes] = np.arange(self._lanes)

    # ------------------------------------------------------------ its own numbers

    def parts(self) -> dict[str, Array]:
        """`mean`, `log_precision` and `logit` in float64; copies."""
        found = {
            part: self.numbers.storage(f"{self.mixture.id}.{part}").astype(np.float64)
            for part in PARTS
        }
        return math.pinned(self.settings, found)

    def _put(self, parts: dict[str, Array]) -> None:
        for part, array in parts.items():
            self.numbers.storage(f"{self.mixture.id}.{part}")[:] = array

    def drawn(self) -> Array:
        """The numbers that it draws, [N]; a copy."""
        array = self.numbers.array
        return np.concatenate([array[begin:end] for begin, end in self._runs])

    def start(self) -> None:
        """Begins with the numbers as they are now."""
        self._put(math.start(self.settings, self.drawn().astype(np.float64)))

    def bound(self) -> None:
        """Keeps widths and proportions within their bounds; after each step."""
        parts = self.parts()
        gamma, logit = math.clipped(self.settings, parts[LOG_PRECISION], parts[LOGIT])
        self._put({LOG_PRECISION: gamma, LOGIT: logit})

    def state(self) -> MixtureState:
        """What the mixture is now."""
        parts = self.parts()
        logs = math.log_proportions(self.settings, parts[LOGIT])
        w = self.drawn()
        held = np.zeros(self.settings.components, np.int64)
        for begin in range(0, w.size, 2**16):
            found = math.assigned(w[begin : begin + 2**16], parts[MEAN], parts[LOG_PRECISION], logs)
            held += np.bincount(found, minlength=self.settings.components)
        return MixtureState(np.exp(logs), parts[MEAN], np.exp(-0.5 * parts[LOG_PRECISION]), held)

    # ------------------------------------------------------------ cost and gradients

    def cost(self, factor: float, gradient: Array | None) -> float:
        """`factor` times the complexity cost; its gradients are added to `gradient`.

        gradient: laid out as the model's numbers, or None where it is not wanted.
        """
        if factor == 0.0:
            return 0.0
        parts = self.parts()
        table = self._table(parts)
        found = self._exact(parts, factor, gradient) if table is None else self._interpolated(
            parts, factor, gradient, *table
        )  # fmt: skip
        sums, total = found
        if gradient is not None:
            for part, array in math.part_gradients(self.settings, sums, parts).items():
                region = self.numbers.plan.storages[f"{self.mixture.id}.{part}"]
                gradient[region.offset : region.offset + region.size] += factor * array
        return factor * (total + math.prior_cost(self.settings, parts))

    def _table(self, parts: dict[str, Array]) -> tuple[float, float, int] | None:
        """Least and largest number and how many nodes to lay between them; None for exact."""
        method = self.settings.method
        if method == "exact" or (method == "auto" and self.mixture.count < FEWEST):
            return None
        array = self.numbers.array
        low = min(float(array[begin:end].min()) for begin, end in self._runs)
        high = max(float(array[begin:end].max()) for begin, end in self._runs)
        width = exp(-0.5 * float(parts[LOG_PRECISION].max()))
        wanted = (high - low) / width * NODES_A_WIDTH
        if not wanted < MOST_NODES or high == low:
            return None
        nodes = max(2, ceil(wanted) + 1)
        components, count = self.settings.components, self.mixture.count
        slower = 2 * nodes * components + SPREADING * count > components * count
        return None if method == "auto" and slower else (low, high, nodes)

    def _exact(
        self, parts: dict[str, Array], factor: float, gradient: Array | None
    ) -> tuple[Sums, float]:
        self._constants(parts)
        scale = factor if gradient is not None else 0.0
        address = gradient.ctypes.data if gradient is not None else 0
        partial = self._density(text.EXACT, self._rows, self.numbers.array, address, None, 0, scale)
        return self._sums(partial)

    def _interpolated(
        self,
        parts: dict[str, Array],
        factor: float,
        gradient: Array | None,
        low: float,
        high: float,
        nodes: int,
    ) -> tuple[Sums, float]:
        self._constants(parts)
        dtype = self.numbers.dtype
        stride = -(-nodes // self._lanes) * self._lanes
        places = aligned(stride, dtype)
        places[:nodes] = np.linspace(low, high, nodes)
        tables = aligned(2 * stride, dtype)
        rows = _blocks([(0, nodes)])
        self._density(text.TABLE, rows, places, 0, tables, stride, 0.0)
        # Each thread counts for itself; integers add up the same in any order.
        address = gradient if gradient is not None else np.zeros(len(self.numbers.array), dtype)
        cuts = _cuts(len(self._rows), self.threads)
        counts = np.zeros((len(cuts), nodes), np.int64)
        operands = [
            np.array(
                [self._rows.ctypes.data, first, last, nodes, stride, counts[i].ctypes.data,
                 bits(factor if gradient is not None else 0.0), bits(low),
                 bits((nodes - 1) / (high - low))],
                np.int64,
            )
            for i, (first, last) in enumerate(cuts)
        ]  # fmt: skip
        spread = kernels.address(text.SPREAD, dtype)
        numbers = self.numbers.array.ctypes.data
        team.run(
            [
                team.Job(spread, tables.ctypes.data, numbers, address.ctypes.data, row.ctypes.data)
                for row in operands
            ]
        )
        held = aligned(stride, dtype)
        held[:nodes] = counts.sum(axis=0) / text.ONE
        return self._sums(self._density(text.COUNTED, rows, places, 0, held, stride, 0.0))

    def _constants(self, parts: dict[str, Array]) -> None:
        """What the kernels read of the mixture, into every thread's scratch."""
        logs = math.log_proportions(self.settings, parts[LOGIT])
        precision = np.exp(parts[LOG_PRECISION])
        level = logs + 0.5 * parts[LOG_PRECISION] - math.LOG_ROOT_TWO_PI
        row = np.concatenate([level, 0.5 * precision, precision, parts[MEAN]])
        self._scratch[:, self._lanes : self._lanes + row.size] = row

    def _density(
        self,
        kernel: Kernel,
        rows: Array,
        numbers: Array,
        gradient: int,
        other: Array | None,
        stride: int,
        scale: float,
    ) -> Array:
        """Runs one kernel over rows of numbers; the sums of each row."""
        partial = np.zeros((len(rows), 3 * self.settings.components + 1), self.numbers.dtype)
        address = kernels.address(kernel, self.numbers.dtype)
        operands = [
            np.array(
                [rows.ctypes.data, first, last, self.settings.components,
                 other.ctypes.data if other is not None else 0, stride, partial.ctypes.data,
                 bits(scale)],
                np.int64,
            )
            for first, last in _cuts(len(rows), self.threads)
        ]  # fmt: skip
        team.run(
            [
                team.Job(address, self._scratch[i].ctypes.data, numbers.ctypes.data, gradient,
                         row.ctypes.data)
                for i, row in enumerate(operands)
            ]
        )  # fmt: skip
        return partial

    def _sums(self, partial: Array) -> tuple[Sums, float]:
        total = partial.sum(axis=0, dtype=np.float64)
        held, away, spread = total[:-1].reshape(-1, 3).T
        return Sums(held, away, spread), float(total[-1])


def _blocks(runs: list[tuple[int, int]]) -> Array:
    """Runs of numbers in blocks, as rows (begin, end)."""
    rows = [(at, min(at + BLOCK, end)) for begin, end in runs for at in range(begin, end, BLOCK)]
    return np.array(rows, np.int64).reshape(-1, 2)


def _cuts(rows: int, threads: int) -> list[tuple[int, int]]:
    """Rows for each thread; few rows stay with one."""
    parts = max(1, min(threads, rows // 4))
    return list(pairwise(rows * i // parts for i in range(parts + 1)))
