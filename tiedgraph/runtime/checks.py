"""Whether an array is what a type declares: its numbers, its shape, its values, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tiedgraph.diagnostics import DataError
from tiedgraph.ir.types import Extent, Type

Array = np.ndarray[Any, np.dtype[Any]]
CHUNK = 2**22  # numbers looked at together, so that mapped files are never whole in memory


def check_form(name: str, kind: Type | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Kind of numbers and shape, from a header alone. `kind` None: lengths, one for each sample.

    shape: with the batch axis first. Raises DataError.
    """
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        held = {"O": "objects", "U": "texts", "S": "texts", "c": "complex numbers"}
        raise DataError(
            f"array '{name}' holds {held.get(dtype.kind, dtype.name)}, not real numbers of at most "
            "64 bits"
        )
    if not shape:
        raise DataError(f"array '{name}' is one number; its first axis must be the samples")
    if kind is None:
        if len(shape) != 1 or dtype.kind not in "iu":
            raise DataError(
                f"array '{name}' must hold one integer for each sample; it has shape {list(shape)} "
                f"and type {dtype.name}"
            )
        return
    fits = len(shape) == len(kind.shape) + 1 and all(
        isinstance(size, Extent) or size == given
        for size, given in zip(kind.shape, shape[1:], strict=True)
    )
    if not fits:
        raise DataError(_shape_message(name, kind, shape))


def _shape_message(name: str, kind: Type, shape: tuple[int, ...]) -> str:
    message = (
        f"array '{name}' has shape {list(shape)}, but {kind} is declared, "
        f"which is {list_shape(kind)}"
    )
    fixed = [size for size in kind.shape if isinstance(size, int)]
    if len(fixed) == len(kind.shape):
        count = int(np.prod(shape[1:], dtype=object)) if len(shape) > 1 else 1
        if count == int(np.prod(fixed, dtype=object)):
            sizes = ", ".join(str(size) for size in (-1, *fixed))
            message += f"; reshape({sizes}) makes it fit"
    return message


def list_shape(kind: Type) -> str:
    """`[samples, 12, time]`."""
    return f"[{', '.join(['samples', *(str(size) for size in kind.shape)])}]"


def check_values(name: str, kind: Type, array: Array, dtype: str) -> None:
    """Every number: finite and within `dtype`, or an integer of the declared range.

    Raises DataError with the sample (row of the first axis, from 0) and the value.
    """
    for first, part in _parts(array):
        good = _good(kind, part, dtype)
        if good is None or good.all():
            continue
        at = tuple(int(i) for i in np.argwhere(~good)[0])
        value = part[at]
        inside = f", entry {list(at[1:])}" if len(at) > 1 else ""
        raise DataError(
            f"array '{name}' holds {value} in sample {first + at[0]}{inside}"
            + _reason(kind, value, dtype)
        )


def _parts(array: Array) -> Iterator[tuple[int, Array]]:
    size = max(1, int(np.prod(array.shape[1:], dtype=np.int64)))
    rows = max(1, CHUNK // size)
    for first in range(0, len(array), rows):
        yield first, np.asarray(array[first : first + rows])


def _good(kind: Type, part: Array, dtype: str) -> Array | None:
    """Which numbers may stay; None for all, where the array's own type says so."""
    if kind.kind != "float":
        with np.errstate(invalid="ignore"):
            inside = (part >= 0) & (part < kind.bound)
            if part.dtype.kind == "f":
                inside &= part == np.floor(part)
        return np.asarray(inside)
    if part.dtype.kind != "f":
        return None
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(part) <= np.finfo(dtype).max)


def _reason(kind: Type, value: Any, dtype: str) -> str:
    if kind.kind != "float":
        if np.isfinite(value) and 0 <= value < kind.bound:
            return f", which is not an integer; {kind} takes 0 to {kind.bound - 1}"
        return f"; {kind} takes 0 to {kind.bound - 1}"
    if np.isfinite(value):
        return f", which is too large for {dtype}"
    return "; only finite numbers can be used"
