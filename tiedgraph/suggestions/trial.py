"""A model's text with proposals appended, checked, and the model's numbers fitted to it."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType

import numpy as np

from tiedgraph.compiler import check_text
from tiedgraph.ir.graph import Graph
from tiedgraph.model import Model
from tiedgraph.suggestions.chance import Array, relative
from tiedgraph.suggestions.proposal import Proposal
from tiedgraph.ties.assign import project
from tiedgraph.ties.layout import read
from tiedgraph.ties.view import layout


@dataclass(frozen=True, eq=False)
class Outcome:
    """What ties make of a model: its graph, and every parameter at the nearest numbers."""

    graph: Graph
    parameters: Mapping[str, Array]

    @property
    def free(self) -> int:
        return free_numbers(self.graph)


def free_numbers(graph: Graph) -> int:
    """Numbers in all storages."""
    return sum(prod(storage.shape) for storage in graph.storages.values())


class Trial:
    """A folder with the model's files, in which texts with more ties are checked."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.before = {n: np.asarray(a, np.float64) for n, a in model.parameters.items()}
        self.text = model.origin.files[model.origin.main].decode("utf-8-sig")
        self._folder = tempfile.TemporaryDirectory()
        self._root = Path(self._folder.name).resolve()
        self._written: dict[int, tuple[int, Proposal]] = {}
        for name, content in model.origin.files.items():
            place = self._root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)

    def __enter__(self) -> Trial:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    def graph(self, proposals: Sequence[Proposal]) -> Graph | None:
        """The checked graph with these ties, None where the checker finds an error."""
        lines = [proposal.text(self._stem(proposal)) for proposal in proposals]
        return check_text(appended(self.text, lines), self.model.origin.define, self._root).graph

    def _stem(self, proposal: Proposal) -> str:
        """A name for the proposal's file alone, which is written when first asked for."""
        if not proposal.content:
            return "try"
        known = self._written.setdefault(id(proposal), (len(self._written), proposal))
        stem = f"try{known[0]}"
        place = self._root / proposal.file(stem)
        if not place.exists():
            place.write_bytes(packed(proposal))
        return stem

    def outcome(self, proposals: Sequence[Proposal]) -> Outcome | None:
        """The graph with these ties and the numbers fitted; None where it cannot be."""
        graph = self.graph(proposals)
        if graph is None or graph.params.keys() != self.before.keys():
            return None
        zeros = {name: np.zeros(s.shape) for name, s in graph.storages.items()}
        free = project(graph, zeros, self.before).storages
        made = {}
        for name, param in graph.params.items():
            storage = free[param.view.storage]
            made[name] = np.asarray(read(layout(param.view.steps, storage.shape), storage))
        return Outcome(graph, made)

    def distance(self, proposal: Proposal, outcome: Outcome) -> float:
        """How far an outcome moves the entries that a proposal touches: the most of its parameters.

        Relative to their spread about their mean; about zero where all become one value.
        """
        most = 0.0
        for name, mask in proposal.touched.items():
            before, after = self.before[name][mask], outcome.parameters[name][mask]
            if np.ptp(after) == 0.0 and before.size > 1:
                top = float(np.sqrt((before**2).mean()))
                moved = float(np.sqrt(((after - before) ** 2).mean()))
                most = max(most, moved / top if top else np.inf)
            else:
                most = max(most, relative(after - before, before))
        return most

    def measure(self, data: object, batch: int, outcome: Outcome | None = None) -> dict[str, float]:
        """Loss and metrics of the model, or of the model with the outcome's numbers."""
        model = self.model
        if outcome is None:
            return model.evaluate(data, batch)
        kept = model.snapshot()
        try:
            # The twin computes the same function as the tied model, and needs no new kernels.
            model.set({name: outcome.parameters[name] for name in self.before})
            return model.evaluate(data, batch)
        finally:
            model.restore(kept)


def appended(text: str, lines: Sequence[str], note: str = "") -> str:
    """A model's text with statements at its end."""
    if not lines:
        return text
    newline = "\r\n" if "\r\n" in text else "\n"
    rest = [f"# {note}"] if note else []
    return newline.join([text.rstrip(), "", *rest, *lines, ""])


def packed(proposal: Proposal) -> bytes:
    """The index file of a proposal: `.npy` for one parameter, `.npz` for several."""
    buffer = io.BytesIO()
    arrays = {name: _narrow(index) for name, index in proposal.content.items()}
    if "codebook" in proposal.statement:
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    else:
        np.save(buffer, next(iter(arrays.values())))
    return buffer.getvalue()


def _narrow(index: Array) -> Array:
    most = int(index.max(initial=0))
    kind = np.int8 if most < 2**7 else np.int16 if most < 2**15 else np.int32
    return np.ascontiguousarray(index, dtype=kind)
