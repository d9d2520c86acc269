"""What is proposed, and the numbers that proposals are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tiedgraph.ir.graph import Graph, Param, Storage
from tiedgraph.passes.ties import reached, statistics
from tiedgraph.ties.view import MAP

Array = np.ndarray[Any, np.dtype[Any]]

PLAIN, FILE, VALUES = (
    1.0,
    0.7,
    0.5,
)  # worth of a statement: without a file, with one, of values only


@dataclass(frozen=True, eq=False)
class Weights:
    """One trained parameter that stands for all that share its numbers.

    numbers: float64, in the parameter's shape. even_start: it began with all numbers equal.
    mapped: an index map says already which of its entries are equal.
    """

    name: str
    numbers: Array
    even_start: bool
    mapped: bool


@dataclass(frozen=True, eq=False)
class Proposal:
    """One tie that nearly holds.

    kind: `equal`, `view`, `structure`, `symmetry`, `copies` or `values`. members: parameters in
    it, the tied one first. statement: in the language; `{file}` stands for the name of `content`,
    index arrays by parameter. about: in words, where the statement does not tell. touched: entries
    that it moves, by parameter. saves: numbers fewer by this tie alone. distance: see `relative`,
    over the touched entries. chance: natural logarithm, for one try. worth: of its form.
    """

    kind: str
    members: tuple[str, ...]
    statement: str
    touched: Mapping[str, Array]
    saves: int
    distance: float
    chance: float
    about: str = ""
    content: Mapping[str, Array] = field(default_factory=dict)
    worth: float = PLAIN

    @property
    def score(self) -> float:
        """Numbers saved for the distance; what is rounding counts as one thousandth."""
        return self.worth * self.saves / max(self.distance, 1e-3)

    def file(self, stem: str) -> str:
        """Name of the index file beside the model `stem`.tie."""
        names = "-".join(self.members[:2]).replace("[", "_").replace("]", "")
        return f"{stem}.{names}.{'npz' if 'codebook' in self.statement else 'npy'}"

    def text(self, stem: str) -> str:
        """The statement for the model `stem`.tie."""
        return self.statement.replace("{file}", self.file(stem))


def weights_of(graph: Graph, parameters: Mapping[str, Array]) -> list[Weights]:
    """Trained parameters, one for each storage; none that are still as they began.

    What no loss reaches, statistics, frozen parameters and the numbers of soft ties are left out.
    """
    passed = statistics(graph)
    trained = reached(graph)
    found: dict[str, Weights] = {}
    for name, param in graph.params.items():
        storage = graph.storages[param.view.storage]
        if (
            name in passed
            or storage.id in found
            or storage.id not in trained
            or not storage.trainable
            or param.instance in graph.mixtures
            or not _whole(param, storage)
        ):
            continue
        numbers = np.asarray(parameters[name], np.float64)
        if not np.isfinite(numbers).all():
            continue
        even = storage.init.name in ("zeros", "ones", "constant")
        if even and numbers.size > 1 and np.ptp(numbers) == 0.0:
            continue
        mapped = any(step.name == MAP for step in param.view.steps)
        found[storage.id] = Weights(name, numbers, even, mapped)
    return list(found.values())


def _whole(param: Param, storage: Storage) -> bool:
    """Whether the parameter reads all of its storage."""
    if any(step.name == MAP for step in param.view.steps):
        return True
    return int(np.prod(param.shape)) == int(np.prod(storage.shape))


def groups_by_size(weights: Sequence[Weights]) -> list[list[Weights]]:
    """Parameters with as many numbers, where there are two or more."""
    by_size: dict[int, list[Weights]] = {}
    for item in weights:
        by_size.setdefault(item.numbers.size, []).append(item)
    return [group for group in by_size.values() if len(group) > 1]
