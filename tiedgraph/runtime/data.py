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
from tiedgraph.passes.settings import (
    Alternate,
    Joint,
    Proportional,
    Scale,
    TrainSettings,
    Turns,
    load_settings,
)
from tiedgraph.passes.tasks import inputs_of_tasks, losing_tasks
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


def hold_out(data: Data, count: int) -> tuple[Data, Data]:
    """All but the last `count` samples, of each task, and those; nothing is copied.

    Raises DataError.
    """
    if isinstance(data, TaskData):
        both = {task: hold_out(part, count) for task, part in data.parts.items()}
        first = {task: pair[0] for task, pair in both.items()}
        last = {task: pair[1] for task, pair in both.items()}
        return TaskData(first), TaskData(last)  # type: ignore[arg-type]
    if not isinstance(data, Dataset):
        raise DataError("batches that come one by one cannot be split; give validation data")
    if not 0 < count < data.samples:
        raise DataError(
            f"{data.origin} has {data.samples} samples; {count} of them cannot be held out"
        )
    parts = (slice(None, data.samples - count), slice(data.samples - count, None))
    begin, end = (
        replace(data, arrays={n: a[rows] for n, a in data.arrays.items()}, samples=size)
        for rows, size in zip(parts, (data.samples - count, count), strict=True)
    )
    return begin, end


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


@dataclass(frozen=True)
class TaskData:
    """Data of several tasks, each with its own. Batches are mappings of tasks to arrays."""

    parts: Mapping[str, Dataset]

    @property
    def samples(self) -> int:
        """Of all tasks together."""
        return sum(part.samples for part in self.parts.values())

    def steps(self, size: int, turns: Turns) -> int:
        """Number of steps in one epoch."""
        counts = [part.steps(size) for part in self.parts.values()]
        if isinstance(turns, Proportional):
            return sum(counts)
        return max(counts) * (len(counts) if isinstance(turns, Alternate) else 1)

    def batches(
        self, size: int, order: Array | None = None, first: int = 0
    ) -> Iterator[tuple[dict[str, Any], int]]:
        """All of each task, one task after another; for measuring."""
        for task, part in self.parts.items():
            for arrays, samples in part.batches(size):
                yield {task: arrays}, samples

    def turns(
        self, settings: TrainSettings, epoch: int, first: int = 0
    ) -> Iterator[tuple[dict[str, Any], int]]:
        """The steps of one training epoch, from step `first` on; the same for the same seed.

        Tasks with less data begin again, in a new order, while others go on.
        """
        names = list(self.parts)
        rng = np.random.default_rng([settings.seed, epoch, 0x7A5C])
        places = [_Place(part, settings, epoch, i) for i, part in enumerate(self.parts.values())]
        chances = np.array([float(part.samples) for part in self.parts.values()])
        if isinstance(settings.tasks, Proportional):
            chances = (chances / chances.max()) ** (1.0 / settings.tasks.temperature)
        for step in range(self.steps(settings.batch, settings.tasks)):
            if isinstance(settings.tasks, Alternate):
                chosen = [step % len(names)]
            elif isinstance(settings.tasks, Proportional):
                chosen = [int(rng.choice(len(names), p=chances / chances.sum()))]
            else:
                chosen = list(range(len(names)))
            rows = {names[i]: places[i].advance() for i in chosen}
            if step >= first:
                arrays = {
                    task: {name: self.parts[task]._take(name, found) for name in
                           self.parts[task].arrays}
                    for task, found in rows.items()
                }  # fmt: skip
                yield arrays, sum(len(found) for found in rows.values())


class _Place:
    """How far one task is in its data."""

    def __init__(self, part: Dataset, settings: TrainSettings, epoch: int, number: int) -> None:
        self.part = part
        self.settings = settings
        self.seeds = [settings.seed, epoch, number]
        self.round = self.at = 0
        self.order = self._order()

    def _order(self) -> Array:
        if not self.settings.shuffle:
            return np.arange(self.part.samples)
        if self.seeds[2] == 0 and self.round == 0:  # as for one task alone
            return order_of(self.part.samples, self.seeds[0], self.seeds[1])
        rng = np.random.default_rng([*self.seeds, self.round, 0x5EED])
        return rng.permutation(self.part.samples)

    def advance(self) -> Array:
        """The samples of the next batch."""
        if self.at >= self.part.samples:
            self.round, self.at = self.round + 1, 0
            self.order = self._order()
        rows = self.order[self.at : self.at + self.settings.batch]
        self.at += self.settings.batch
        return rows


Data = Dataset | Stream | TaskData


def arranged(data: Data, graph: Graph, settings: TrainSettings) -> Data:
    """Data as training steps through it: task by task where the schedule asks for that."""
    tasks = losing_tasks(graph)
    if isinstance(data, TaskData) or len(tasks) < 2 or isinstance(settings.tasks, Joint):
        return data
    if isinstance(data, Stream):
        raise DataError("tasks in turn need data that can be read again; give a file or arrays")
    parts = {}
    for task in tasks:
        needed = inputs_of_tasks(graph, [task])
        kept = {n: a for n, a in data.arrays.items() if n.removesuffix(LENGTH) in needed}
        parts[task] = replace(data, arrays=kept)
    return TaskData(parts)


def order_of(samples: int, seed: int, epoch: int) -> Array:
    """The order of samples in one epoch: the same for the same seed and epoch, from 0."""
    return np.random.default_rng([seed, epoch, 0x5EED]).permutation(samples)


def by_length(data: Dataset) -> Array | None:
    """The order from the shortest sample to the longest, for passes whose sums do not depend on it:
    a batch takes as long as its longest sample. None where all are of one length."""
    found = [array for name, array in data.arrays.items() if name.endswith(".length")]
    return np.argsort(np.max(found, axis=0), kind="stable") if found else None


def mark(data: Data) -> str:
    """A digest by which other data is noticed: sizes, and up to 64 samples of each array."""
    if isinstance(data, TaskData):
        return " ".join(f"{task}:{mark(part)}" for task, part in data.parts.items())
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
) -> Data:
    """Opens data and checks all of it against what a model declares.

    source: a path (see `tiedgraph.runtime.readers`), a mapping of arrays, a Dataset, or an iterable
      of mappings, one a batch; or a mapping of tasks to such, for tasks with data of their own.
    needed: names of the inputs and targets that must be there; all by default. Further arrays are
      left alone.

    Numbers from files become `raw * factor + offset` where the file's `data { }` has a scale; of
    arrays in memory only those of integers, so that what was scaled before stays.
    Raises DataError, which names array, sample (from 0) and value.
    """
    if isinstance(source, TaskData):
        return TaskData(
            {task: _whole(part, graph, dtype, task) for task, part in source.parts.items()}
        )
    if is_by_task(source, graph):
        return TaskData({task: _whole(part, graph, dtype, task) for task, part in source.items()})
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


def is_by_task(source: object, graph: Graph) -> bool:
    """Whether data, or a batch of it, is given task by task."""
    tasks = {task.name for task in graph.tasks if task.name}
    if not tasks:
        return False
    return isinstance(source, Mapping) and bool(source) and tasks.issuperset(source)


def _whole(source: Any, graph: Graph, dtype: str, task: str) -> Dataset:
    """The data of one task."""
    needed = inputs_of_tasks(graph, [task])
    try:
        found = load(source, graph, dtype, needed)
    except DataError as error:
        raise DataError(f"task '{task}': {error}") from None
    if not isinstance(found, Dataset):
        raise DataError(f"task '{task}': data of a task is a file or arrays, not batches")
    return found


def declared(graph: Graph) -> list[str]:
    """Names of the inputs and targets of a model."""
    return [name for name, item in graph.data.items() if item.role in ("input", "target")]


def _from_file(
    path: Path, graph: Graph, needed: tuple[str, ...], dtype: str, scale: Mapping[str, Scale]
) -> Dataset:
    try:
        only = needed[0] if len(needed) == 1 else None
        file = open_file(path, only)
        wanted, there = _choose(graph, needed, file.names)
        read = file.read({there[name]: kind for name, kind in wanted.items()})
        arrays = {name: read[there[name]] for name in wanted}
        for name in wanted:  # tables of lists tell lengths that nobody asked for
            if f"{there[name]}{LENGTH}" in read:
                arrays[f"{name}{LENGTH}"] = read[f"{there[name]}{LENGTH}"]
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
        wanted, there = _choose(graph, needed, tuple(given))
        arrays = {name: _as_array(name, given[there[name]]) for name in wanted}
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
) -> tuple[dict[str, Type | None], dict[str, str]]:
    """What to read of the arrays there are, and what each is called there.

    The input of a task is called by its full name, `tagging.words`, or by the last part.
    """
    wanted: dict[str, Type | None] = {}
    there: dict[str, str] = {}
    for name in declared(graph):
        item = graph.data[name]
        found = name if name in names else name.removeprefix(f"{item.task}.")
        if found not in names:
            if name in needed:
                raise DataError(_missing(name, item, names, graph))
            continue
        if item.task and name not in needed:
            continue
        wanted[name], there[name] = item.type, found
        if not item.type.run_time_axes:
            continue
        if f"{found}{LENGTH}" in names:
            wanted[f"{name}{LENGTH}"], there[f"{name}{LENGTH}"] = None, f"{found}{LENGTH}"
        else:
            _refuse_misspelt_lengths(found, names, graph)
    return wanted, there


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
