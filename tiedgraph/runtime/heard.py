"""Which phonemes of word models were said in what a model was trained on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tiedgraph.ir.graph import Graph
from tiedgraph.passes.spoken import labels, phonemes_of
from tiedgraph.runtime.batch import full_names
from tiedgraph.runtime.data import is_by_task


class Heard:
    """Words are noted batch by batch; phonemes that came with a saved model count, too.

    declared: names of inputs and targets. False where no labels tell which words are said.
    """

    def __init__(self, graph: Graph, declared: Sequence[str]) -> None:
        self.graph = graph
        self.declared = declared
        self._targets = {name: found for name, found in labels(graph).items() if found}
        self._words: dict[str, set[int]] = {}
        self._before: frozenset[str] = frozenset()
        self._unvisited: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._targets)

    def listen(self, arrays: Mapping[str, Any]) -> None:
        """Notes which words are said in a batch."""
        for name, targets in self._targets.items():
            parts = arrays.values() if is_by_task(arrays, self.graph) else [arrays]
            for part in parts:
                own = full_names(part, self.declared)
                for target in targets & own.keys():
                    self._words.setdefault(name, set()).update(np.unique(own[target]).tolist())

    def pass_over(self, states: Collection[str]) -> None:
        """These states were hardly visited, though their words were said."""
        self._unvisited = {path.rpartition(".state[")[0] for path in states}

    def start_from(self, paths: frozenset[str]) -> None:
        """What was heard is that alone."""
        self._before, self._words = paths, {}

    def add(self, paths: frozenset[str]) -> None:
        """Phonemes that another model heard."""
        self._before |= paths

    @property
    def paths(self) -> frozenset[str]:
        """Of the phonemes."""
        found = set(self._before)
        for name, words in self._words.items():
            found |= phonemes_of(self.graph.chains[name], words) - self._unvisited
        return frozenset(found)
