"""One batch on its way in: checks, lengths, and the arrays that the runtime adds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from tiedgraph.diagnostics import DataError, nearest
from tiedgraph.ir.graph import DataInput, Graph
from tiedgraph.ir.types import Extent
from tiedgraph.passes.settings import Scale, load_settings

Array = np.ndarray[Any, np.dtype[Any]]
FEW = 64


@dataclass(frozen=True)
class Batch:
    """Arrays as a program takes them: C-contiguous, of its dtype, [samples, *shape].

    lengths: length of each run-time size in this batch; valid: that of each sample. plain: whether
    the arrays needed no conversion.
    """

    arrays: Mapping[str, Array]
    samples: int
    lengths: Mapping[str, int]
    valid: Mapping[str, Array]
    plain: bool = False


@dataclass(frozen=True)
class Plain:
    """Inputs of fixed sizes, as most batches bring them.

    inputs: name, sizes of a sample, and the classes there are, 0 for floats. weights: names of what
    each sample counts for.
    """

    inputs: tuple[tuple[str, tuple[int, ...], int], ...]
    weights: tuple[str, ...]
    dtype: np.dtype[Any]


def plain_inputs(graph: Graph, dtype: str) -> Plain | None:
    """What `quick` needs to know of a graph; None where some input is not so plain."""
    inputs, weights = [], []
    for name, item in graph.data.items():
        if item.role == "weight":
            weights.append(name)
        elif item.role not in ("input", "target") or item.type.symbols:
            return None
        else:
            sizes = tuple(size for size in item.type.shape if isinstance(size, int))
            inputs.append((name, sizes, 0 if item.type.kind == "float" else item.type.bound))
    return Plain(tuple(inputs), tuple(weights), np.dtype(dtype))


def quick(plain: Plain, arrays: Mapping[str, Any]) -> Batch | None:
    """What `prepare` answers, for arrays that need no conversion; None where some may."""
    if len(arrays) != len(plain.inputs):
        return None
    ready: dict[str, Array] = {}
    samples = 0
    for name, sizes, classes in plain.inputs:
        array = arrays.get(name)
        if type(array) is not np.ndarray or array.ndim == 0 or array.shape[1:] != sizes:
            return None
        samples = samples or len(array)
        if len(array) != samples or not samples:
            return None
        if classes:
            if not in_range(array, classes):
                return None
            ready[name] = np.ascontiguousarray(array, plain.dtype)
        elif array.dtype == plain.dtype and array.flags.c_contiguous:
            ready[name] = array
        else:
            return None
    for name in plain.weights:
        ready[name] = shares(samples, plain.dtype.name)
    return Batch(ready, samples, {}, {}, plain=True)


def in_range(array: Array, classes: int) -> bool:
    """Whether an array holds integers from 0 to below `classes`."""
    if array.dtype.kind not in "iu" or not array.size:
        return False
    low, high = _range(array)
    return bool(low >= 0 and high < classes)


def prepare(
    graph: Graph,
    arrays: Mapping[str, Any],
    dtype: str,
    key: tuple[int, int] = (0, 0),
    declared: Collection[str] | None = None,
) -> Batch:
    """Checks the arrays that a program needs and converts them.

    graph: the program's, with its implicit inputs. arrays: by input name, batch first, zero-padded
    along run-time axes, with `NAME.length` beside NAME where samples differ in length.
    key: seed and step, for random keys. Integers are scaled where the file's `data { }` says how.
    Raises DataError.
    """
    wanted = {n: item for n, item in graph.data.items() if item.role in ("input", "target")}
    _check_names(wanted, arrays, wanted if declared is None else declared)
    found = {name: np.asarray(arrays[name]) for name in wanted}
    samples = _count_samples(found)
    lengths, valid = measure_lengths(graph, found, arrays, samples)
    # Integers are raw numbers for certain; floats are taken as they are.
    raw = [n for n in found if found[n].dtype.kind in "bui" and wanted[n].type.kind == "float"]
    if raw and graph.loading:
        scale = load_settings(graph).scale
        for name in raw:
            if name in scale:
                found[name] = scaled(found[name], scale[name], dtype)
    ready = {
        name: _convert(name, wanted[name], array, lengths, dtype) for name, array in found.items()
    }
    for name, item in graph.data.items():
        if name not in wanted:
            ready[name] = _implicit(item, samples, valid, dtype, key)
    return Batch(ready, samples, lengths, valid)


def full_names(arrays: Mapping[str, Any], declared: Collection[str]) -> dict[str, Any]:
    """The arrays under the names of the model: `words` is also `tagging.words`."""
    if all(name in declared for name in arrays):
        return dict(arrays)
    found: dict[str, Any] = {}
    for name, array in arrays.items():
        base = name.removesuffix(".length")
        meant = [full for full in declared if full.endswith(f".{base}")]
        names = [base] if base in declared or not meant else meant
        found |= {f"{full}{name[len(base) :]}": array for full in names}
    return found


def _check_names(
    wanted: Mapping[str, DataInput], arrays: Mapping[str, Any], declared: Collection[str]
) -> None:
    for name in wanted:
        if name not in arrays:
            hint = nearest(name, arrays)
            raise DataError(
                f"{wanted[name].role} '{name}' ({wanted[name].type}) is missing"
                + (f"; {hint}" if hint else f"; given are {', '.join(arrays) or 'no arrays'}")
            )
    for name in arrays:
        if name.removesuffix(".length") not in declared:
            hint = nearest(name, declared)
            raise DataError(
                f"the model has no input or target '{name}'"
                + (f"; {hint}" if hint else f"; it has {', '.join(declared)}")
            )


def _count_samples(found: Mapping[str, Array]) -> int:
    counts = {}
    for name, array in found.items():
        if array.ndim == 0:
            raise DataError(f"array '{name}' is one number; its first axis must be the batch")
        counts[name] = len(array)
    if len(set(counts.values())) > 1:
        told = ", ".join(f"'{name}' has {count}" for name, count in counts.items())
        raise DataError(f"arrays differ in their number of samples: {told}")
    samples = next(iter(counts.values()), 0)
    if not samples:
        raise DataError("a batch needs at least one sample")
    return samples


def measure_lengths(
    graph: Graph, found: Mapping[str, Array], arrays: Mapping[str, Any], samples: int
) -> tuple[dict[str, int], dict[str, Array]]:
    """The length of each run-time size: the longest sample's, and of each sample.

    found: arrays by input name; arrays: those and `NAME.length`. Raises DataError where arrays of
    one run-time size disagree, and where a sample is too short for some layer or too long.
    """
    padded: dict[str, tuple[int, str]] = {}
    valid: dict[str, tuple[Array, str]] = {}
    for name, array in found.items():
        kind = graph.data[name].type
        if array.ndim != len(kind.shape) + 1:
            raise DataError(_shape_message(name, kind, array))
        for axis in kind.run_time_axes:
            size = kind.shape[axis]
            assert isinstance(size, Extent)
            length = array.shape[axis + 1]
            before = padded.setdefault(size.symbol, (length, name))
            if before[0] != length:
                raise DataError(
                    f"'{before[1]}' and '{name}' have the same run-time size {size.symbol}, "
                    f"but {before[0]} and {length} steps in this batch"
                )
            if f"{name}.length" in arrays:
                own = np.asarray(arrays[f"{name}.length"])
                _check_length(name, own, samples, length)
                known = valid.setdefault(size.symbol, (own.astype(np.int64), name))
                if not np.array_equal(known[0], own):
                    raise DataError(f"'{known[1]}.length' and '{name}.length' differ")
    least = graph.shortest if padded else {}
    lengths, each = {}, {}
    for symbol, (length, name) in padded.items():
        own = valid.get(symbol, (np.full(samples, length, np.int64), name))[0]
        smallest, layer = least.get(symbol, (1, ""))
        if own.min() < smallest:
            row = int(own.argmin())
            raise DataError(
                f"sample {row} of '{name}' has {own[row]} steps along {symbol}, but {layer or name}"
                f" needs at least {smallest}"
            )
        lengths[symbol], each[symbol] = int(own.max()), own
    return lengths, each


def _check_length(name: str, own: Array, samples: int, length: int) -> None:
    if own.shape != (samples,) or own.dtype.kind not in "iu":
        raise DataError(f"'{name}.length' must hold one integer for each of {samples} samples")
    if own.min() < 1 or own.max() > length:
        row = int(np.flatnonzero((own < 1) | (own > length))[0])
        raise DataError(
            f"'{name}.length' of sample {row} is {own[row]}, but '{name}' has {length} steps"
        )


def _shape_message(name: str, kind: Any, array: Array) -> str:
    return (
        f"array '{name}' has shape {list(array.shape)}, but {kind} is declared, "
        f"which is [batch, {', '.join(str(size) for size in kind.shape)}]"
    )


def _convert(
    name: str, item: DataInput, array: Array, lengths: Mapping[str, int], dtype: str
) -> Array:
    expected = tuple(size if isinstance(size, int) else None for size in item.type.shape)
    if any(e is not None and e != n for e, n in zip(expected, array.shape[1:], strict=True)):
        raise DataError(_shape_message(name, item.type, array))
    if None in expected:
        cut = tuple(
            slice(None) if isinstance(size, int) else slice(0, lengths[size.symbol])
            for size in item.type.shape
        )
        array = array[(slice(None), *cut)]
    if array.dtype.kind not in "biuf":
        raise DataError(f"array '{name}' holds {array.dtype}, not numbers")
    if item.type.kind != "float" and array.size:
        low, high = _range(array)
        if not (low >= 0 and high < item.type.bound):
            bad = np.argwhere(~((array >= 0) & (array < item.type.bound)))[0]
            raise DataError(
                f"array '{name}' holds {array[tuple(bad)]} in sample {bad[0]}, "
                f"but {item.type} takes 0 to {item.type.bound - 1}"
            )
        if array.dtype.kind == "f" and np.any(array != np.floor(array)):
            raise DataError(f"array '{name}' ({item.type}) holds numbers that are not integers")
    return np.ascontiguousarray(array, dtype)


def _range(array: Array) -> tuple[Any, Any]:
    """The least and the largest number; of a few integers without NumPy's way in and out."""
    if array.size <= FEW and array.dtype.kind != "f":
        numbers = array.reshape(-1).tolist()
        return min(numbers), max(numbers)
    return array.min(), array.max()


def scaled(array: Array, scale: Scale, dtype: str) -> Array:
    """array * factor + offset, computed in `dtype`."""
    number = np.dtype(dtype).type
    result = np.multiply(array, number(scale.factor), dtype=dtype)
    if scale.offset:
        result += number(scale.offset)
    return np.asarray(result)


def _implicit(
    item: DataInput, samples: int, valid: Mapping[str, Array], dtype: str, key: tuple[int, int]
) -> Array:
    if item.role == "weight":
        return shares(samples, dtype)
    if item.role == "lengths":
        (extent,) = item.extents
        return np.ascontiguousarray(_extent(extent, valid), dtype)
    if item.role == "step_weight":
        steps = np.ones(samples, np.int64)
        for extent in item.extents:
            steps = steps * _extent(extent, valid)
        return np.full(samples, samples / max(1, int(steps.sum())), dtype)
    words = [*key, *item.value.encode()]
    return np.random.default_rng(words).integers(0, 2**24, samples).astype(dtype)


@lru_cache(64)
def shares(samples: int, dtype: str) -> Array:
    """What each sample of a batch counts for its mean."""
    shares = np.full(samples, 1.0 / samples, dtype)
    shares.flags.writeable = False
    return shares


def _extent(extent: Extent, valid: Mapping[str, Array]) -> Array:
    steps: Array = np.maximum(0, (valid[extent.symbol] + extent.offset) // extent.divisor)
    return steps
