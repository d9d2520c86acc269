"""Layouts: where the entries of a parameter lie in its storage.

Strides where there are any, which cost nothing; else an index map with coefficients, which is a
gather before a step and a scatter-add after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Strided:
    """Entry (i, j, ...) of the parameter is number `offset + i strides[0] + ...` of the storage."""

    offset: int
    shape: Shape
    strides: Shape


@dataclass(frozen=True, eq=False)
class Indexed:
    """Entry e of the parameter is `coefficient[e] * storage[index[e]]`, zero where index is -1.

    index: int64 in the parameter's shape. coefficient: float64 likewise, or None for all ones.
    """

    shape: Shape
    index: Array
    coefficient: Array | None = None


Layout = Strided | Indexed


def contiguous(shape: Sequence[int]) -> Strided:
    """The layout of a storage itself, in C order."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return Strided(0, tuple(shape), tuple(reversed(strides)))


def read(where: Layout, storage: Array) -> Array:
    """The parameter's values, in the dtype of its storage's (given in any shape, C order)."""
    flat = np.ascontiguousarray(storage).reshape(-1)
    if isinstance(where, Strided):
        item = flat.itemsize
        found: Array = np.lib.stride_tricks.as_strided(
            flat[where.offset :], where.shape, [s * item for s in where.strides], writeable=False
        )
        return found
    result: Array = np.where(where.index >= 0, flat[np.maximum(where.index, 0)], flat.dtype.type(0))
    if where.coefficient is None:
        return result
    kind = np.result_type(flat.dtype, np.float32)
    return np.asarray(result * where.coefficient.astype(kind, copy=False))


def entries(where: Layout) -> tuple[Array, Array]:
    """Index (-1 for fixed zeros) and coefficient of every entry, in the parameter's shape."""
    if isinstance(where, Indexed):
        scale = where.coefficient
        return where.index, np.ones(where.shape) if scale is None else scale
    grid = np.full(where.shape, where.offset, np.int64)
    for axis, (size, stride) in enumerate(zip(where.shape, where.strides, strict=True)):
        steps = np.arange(size, dtype=np.int64) * stride
        grid += steps.reshape([-1 if a == axis else 1 for a in range(len(where.shape))])
    return grid, np.ones(where.shape)


def pull_back(where: Layout, gradient: Array, shape: Sequence[int]) -> Array:
    """The adjoint of `read`: a parameter's gradient summed into the storage's shape."""
    index, scale = entries(where)
    flat = np.zeros(prod(shape), np.asarray(gradient).dtype)
    inside = index >= 0
    np.add.at(flat, index[inside], (gradient * scale)[inside])
    return flat.reshape(tuple(shape))


def same(a: Layout, b: Layout) -> bool:
    """Whether two layouts of one storage read the same numbers."""
    if isinstance(a, Strided) and isinstance(b, Strided):
        used = [axis for axis, size in enumerate(a.shape) if size > 1]
        return (
            a.shape == b.shape
            and a.offset == b.offset
            and all(a.strides[axis] == b.strides[axis] for axis in used)
        )
    if a.shape != b.shape:
        return False
    (index, scale), (other, factor) = entries(a), entries(b)
    zero = index < 0
    return bool(np.array_equal(index, other) and np.array_equal(scale[~zero], factor[~zero]))
