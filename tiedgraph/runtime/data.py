"""Data for training, evaluation and prediction: checked as a whole, handed out batch by batch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tiedgraph.diagnostics import DataError, nearest
from tiedgraph.ir.graph import DataInput, Graph
from tiedgraph.ir.types import Type
from tiedgraph.passes.settings import Scale, load_settings
from tiedgraph.runtime.batch import measure_lengths, scaled
from tiedgraph.runtime.checks import check_form, check_values
from tiedgraph.runtime.datafile import LENGTH, Array
from tiedgraph.runtime.readers import open_file

Source = Any  # a path, a mapping of arrays, a Dataset, or an iterable of mappings


@dataclass(frozen=True)
class Dataset:
    """Arrays with as many samples each, checked against the model's declarations.

    arrays: by input name, [samples, *shape], and `NAME.length`; as they were given: images may stay
      uint8, and files mapped. scale: what is applied to each batch on its way out.
    origin: where it comes from, for messages.
    """

    arrays: Mapping[str, Array]
    samples: int
    dtype: str = "float32"
    scale: Mapping[str, Scale] = field(default_factory=dict)
    origin: str = "the arrays"

    def steps(self, size: int) -> int:
        """Number of batches in one pass; the last may be smaller."""
        return -(-self.samples // size)

    def batches(
        self, size: int, order: Array | None = None, first: int = 0
    ) -> Iterator[tuple[dict[str, Array], int]]:
        """Batches and their numbers of samples, from batch number `first` on.

        order: which sample comes when, a permutation; None for the order of the file.
        """
        for start in range(first * size, self.samples, size):
            end = min(start + size, self.samples)
            rows = slice(start, end) if order is None else order[start:end]
            yield {name: self._take(name, rows) for name in self.arrays}, end - start

    def _take(self, name: str, rows: Any) -> Array:
        part = np.asarray(self.arrays[name][rows])
        scale = self.scale.get(name)
        return part if scale is None else scaled(part, scale, self.dtype)


def hold_out(data: Dataset | Stream, count: int) -> tuple[Dataset, Dataset]:
    """All but the last `count` samples, and those; nothing is copied. Raises DataError."""
    if not isinstance(data, Dataset):
        raise DataError("batches that come one by one cannot be split; give validation data")
    if not 0 < count < data.samples:
        raise DataError(
            f"{data.origin} has {data.samples} samples; {count} of them cannot be held out"
        )
    parts = (slice(None, data.samples - count), slice(data.samples - count, None))
    first, last = (
        replace(data, arrays={n: a[rows] for n, a in data.arrays.items()}, samples=size)
        for rows, size in zip(parts, (data.samples - count, count), strict=True)
    )
    return first, last


@dataclass(frozen=True)
class Stream:
    """Batches that somebody else makes: any iterable of mappings, iterated again for each pass."""

    source: Iterable[Mapping[str, Any]]
    graph: Graph
    needed: tuple[str, ...]
    dtype: str
    scale: Mapping[str, Scale]

    def batches(
        self, size: int, order: Array | None = None, first: int = 0
    ) -> Iterator[tuple[dict[str, Array], int]]:
        """As `Dataset.batches`; size and order are the maker's."""
        for number, given in enumerate(self.source):
            if number < first:
                continue
            if not isinstance(given, Mapping):
                raise DataError(
                    f"batch {number} is a {type(given).__name__}, not a mapping of names to arrays"
                )
            part = _in_memory(
                given, self.graph, self.needed, self.dtype, self.scale, f"batch {number}"
            )
            yield next(part.batches(part.samples))


def order_of(samples: int, seed: int, epoch: int) -> Array:
    """The order of samples in one epoch: the same for the same seed and epoch, from 0."""
    return np.random.default_rng([seed, epoch, 0x5EED]).permutation(samples)


def mark(data: Dataset | Stream) -> str:
    """A digest by which other data is noticed: sizes, and up to 64 samples of each array."""
    if isinstance(data, Stream):
        return "stream"
    digest = hashlib.sha256()
    rows = np.unique(np.linspace(0, data.samples - 1, 64).astype(np.int64))
    for name, array in data.arrays.items():
        digest.update(repr((name, array.shape, array.dtype.str, data.scale.get(name))).encode())
        digest.update(np.ascontiguousarray(array[rows]).tobytes())
    return digest.hexdigest()


def load(
    source: Source, graph: Graph, dtype: str = "float32", needed: Iterable[str] | None = None
) -> Dataset | Stream:
    """Opens data and checks all of it against what a model declares.

    source: a path (see `tiedgraph.runtime.readers`), a mapping of arrays, a Dataset, or an iterable
      of mappings, one a batch. needed: names of the inputs and targets that must be there; all by
      default. Further arrays are left alone.

    Numbers from files become `raw * factor + offset` where the file's `data { }` has a scale; of
    arrays in memory only those of integers, so that what was scaled before stays.
    Raises DataError, which names array, sample (from 0) and value.
    """
    names = tuple(needed if needed is not None else declared(graph))
    scale = load_settings(graph).scale
    if isinstance(source, Dataset):
        return _in_memory(source.arrays, graph, names, dtype, source.scale, source.origin, True)
    if isinstance(source, str | Path):
        return _from_file(Path(source), graph, names, dtype, scale)
    if isinstance(source, Mapping):
        return _in_memory(source, graph, names, dtype, scale, "the arrays")
    if isinstance(source, Iterable) and not isinstance(source, np.ndarray | bytes):
        return Stream(source, graph, names, dtype, scale)
    raise DataError(
        f"data is a path, a mapping of arrays or an iterable of such, not {type(source).__name__}"
    )


def declared(graph: Graph) -> list[str]:
    """Names of the inputs and targets of a model."""
    return [name for name, item in graph.data.items() if item.role in ("input", "target")]


def _from_file(
    path: Path, graph: Graph, needed: tuple[str, ...], dtype: str, scale: Mapping[str, Scale]
) -> Dataset:
    try:
        only = needed[0] if len(needed) == 1 else None
        file = open_file(path, only)
        wanted = _choose(graph, needed, file.names)
        arrays = file.read(wanted)
        samples = _check(graph, wanted, arrays, dtype)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    applied = {name: scale[name] for name in wanted if name in scale}
    return Dataset(arrays, samples, dtype, applied, str(path))


def _in_memory(
    given: Mapping[str, Any],
    graph: Graph,
    needed: tuple[str, ...],
    dtype: str,
    scale: Mapping[str, Scale],
    origin: str,
    always: bool = False,
) -> Dataset:
    """always: apply the scale to arrays of floats, too."""
    try:
        wanted = _choose(graph, needed, tuple(given))
        arrays = {name: _as_array(name, given[name]) for name in wanted}
        for name, kind in wanted.items():
            check_form(name, kind, arrays[name].shape, arrays[name].dtype)
        samples = _check(graph, wanted, arrays, dtype)
    except DataError as error:
        raise DataError(f"{origin}: {error}") from None
    applied = {
        name: scale[name]
        for name in wanted
        if name in scale and (always or arrays[name].dtype.kind in "bui")
    }
    return Dataset(arrays, samples, dtype, applied, origin)


def _as_array(name: str, value: Any) -> Array:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise DataError(f"'{name}' is no array: {error}") from None


# ---------------------------------------------------------------- names


def _choose(
    graph: Graph, needed: tuple[str, ...], names: tuple[str, ...]
) -> dict[str, Type | None]:
    """What to read of the arrays there are."""
    wanted: dict[str, Type | None] = {}
    for name in declared(graph):
        item = graph.data[name]
        if name not in names:
            if name in needed:
                raise DataError(_missing(name, item, names, graph))
            continue
        wanted[name] = item.type
        if not item.type.run_time_axes:
            continue
        if f"{name}{LENGTH}" in names:
            wanted[f"{name}{LENGTH}"] = None
        else:
            _refuse_misspelt_lengths(name, names, graph)
    return wanted


def _missing(name: str, item: DataInput, names: tuple[str, ...], graph: Graph) -> str:
    left = [other for other in names if other not in graph.data]
    listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    hint = nearest(name, left) or (f"there are: {listed}" if names else "there are no arrays")
    return f"{item.role} '{name}' ({item.type}) is missing; {hint}"


def _refuse_misspelt_lengths(name: str, names: tuple[str, ...], graph: Graph) -> None:
    """Lengths under another name would be passed over, and padding taken for data."""
    for other in names:
        base = other.removesuffix(LENGTH)
        if base in graph.data or not other.startswith(name) or other == name:
            continue
        rest = other[len(name) :].lower().strip("._- ")
        if rest in ("length", "lengths", "len", "lens"):
            raise DataError(
                f"array '{other}' looks like the lengths of '{name}', which are named "
                f"'{name}{LENGTH}'; rename it"
            )


# ---------------------------------------------------------------- all arrays together


def _check(
    graph: Graph, wanted: Mapping[str, Type | None], arrays: dict[str, Array], dtype: str
) -> int:
    """Numbers of samples, lengths and values; `check_form` has passed. Returns the samples."""
    for name in wanted:
        check_form(name, wanted[name], arrays[name].shape, arrays[name].dtype)
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"'{name}' has {count}" for name, count in counts.items())
        raise DataError(f"arrays differ in their number of samples: {told}")
    samples = next(iter(counts.values()), 0)
    if not samples:
        raise DataError("there are no samples")
    found = {name: arrays[name] for name, kind in wanted.items() if kind is not None}
    measure_lengths(graph, found, arrays, samples)
    for name, kind in wanted.items():
        if kind is not None:
            check_values(name, kind, arrays[name], dtype)
    return samples
