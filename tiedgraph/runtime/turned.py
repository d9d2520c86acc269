"""Copies of parameters in another order, for kernels that would read them far apart.

Numbers a large power of two apart share few sets of the nearest cache, and are lost there before
they are read again. Tiles share the copies; gradients go to the parameters themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from tiedgraph.codegen import driver
from tiedgraph.ops.copying import merged
from tiedgraph.ops.rules import ParamBuffer
from tiedgraph.runtime import team
from tiedgraph.runtime.maps import deal

Array = np.ndarray[Any, np.dtype[Any]]
STRETCH = 1 << 14  # numbers that one thread copies at a time


def turn(
    copies: Mapping[ParamBuffer, int], dtype: str, parameter: int, threads: int, kept: list[Array]
) -> list[list[team.Job]]:
    """Phases that fill copies, each at its offset, in the numbers at `parameter`.

    `kept` gets what they read.
    """
    rows = [row for source, target in copies.items() for row in matrices(source, target)]
    return deal(driver.REORDER, dtype, (0, parameter, 0), [[row] for row in rows], threads, kept)


def matrices(source: ParamBuffer, target: int) -> list[tuple[int, ...]]:
    """The matrices that make up one copy, as operands: source, target, rows, columns, strides."""
    *others, (columns, right) = zip(source.shape, source.strides, strict=True)
    axes = merged([(count, (step,)) for count, step in others]) or [(1, (0,))]
    *outer, (rows, (down,)) = axes
    counts, steps = [count for count, _ in outer], [step for _, (step,) in outer]
    many = max(1, STRETCH // columns)
    found: list[tuple[int, ...]] = []
    for index in product(*map(range, counts)):
        begin = source.offset + sum(i * step for i, step in zip(index, steps, strict=True))
        for row in range(0, rows, many):
            length = min(many, rows - row)
            found.append((begin + row * down, target, length, columns, down, right))
            target += length * columns
    return found
