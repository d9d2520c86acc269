"""`suggest`: which of the ties that nearly hold go together, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tiedgraph.diagnostics import DataError, RunError
from tiedgraph.model import Model
from tiedgraph.rewrite.text import Rewritten
from tiedgraph.runtime.data import load
from tiedgraph.suggestions.chance import bar
from tiedgraph.suggestions.copies import find_copies
from tiedgraph.suggestions.inside import find_inside
from tiedgraph.suggestions.pairs import count_pairs, find_pairs
from tiedgraph.suggestions.proposal import Proposal, weights_of
from tiedgraph.suggestions.trial import Outcome, Trial, appended, free_numbers, packed

TOLERANCE = 0.05


@dataclass(frozen=True, eq=False)
class Chosen:
    """One accepted tie.

    saves: numbers that the model has fewer with this tie alone. distance: how far the tie alone
    moves the numbers that it ties, relative to their spread. measured: loss and metrics with this
    tie alone; empty without data.
    """

    proposal: Proposal
    saves: int
    distance: float
    measured: Mapping[str, float]

    @property
    def log10_chance(self) -> float:
        """Of a match as close among random numbers, for one try."""
        return self.proposal.chance / float(np.log(10))


@dataclass(frozen=True, eq=False)
class Suggestions:
    """What `suggest` found.

    free: numbers of the model as it is; together: with all ties. before, after: loss and metrics
    without and with all ties; empty without data. source: the model that they are of.
    """

    model: str
    tolerance: float
    ties: tuple[Chosen, ...]
    free: int
    together: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    source: Model

    def statements(self, stem: str | None = None) -> list[str]:
        """The ties as statements of the model `stem`.tie."""
        return [tie.proposal.text(stem or self.model) for tie in self.ties]

    def rewritten(self, stem: str | None = None, note: str = "") -> Rewritten:
        """The model's text with the ties at its end, and the files that they read."""
        stem = stem or self.model
        origin = self.source.origin
        text = origin.files[origin.main].decode("utf-8-sig")
        files = {name: body for name, body in origin.files.items() if name != origin.main}
        for tie in self.ties:
            if tie.proposal.content:
                files[tie.proposal.file(stem)] = packed(tie.proposal)
        told = note or f"suggested for the numbers of a run, tolerance {self.tolerance:g}"
        return Rewritten(appended(text, self.statements(stem), told), files)

    def write(self, path: str | Path, *, replace: bool = False, note: str = "") -> list[Path]:
        """Writes the model with the ties as a `.tie` file, and what it reads beside it.

        Raises RunError where something else is there, or it cannot be written.
        """
        place = Path(path)
        return self.rewritten(place.stem, note).write(place, replace)

    def data(self, stem: str | None = None) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "model": self.model,
            "tolerance": self.tolerance,
            "free": self.free,
            "free_with_all": self.together,
            "before": dict(self.before),
            "with_all": dict(self.after),
            "ties": [
                {
                    "statement": statement,
                    "kind": tie.proposal.kind,
                    "about": tie.proposal.about,
                    "members": list(tie.proposal.members),
                    "saves": tie.saves,
                    "distance": tie.distance,
                    "log10_chance": tie.log10_chance,
                    "measured": dict(tie.measured),
                }
                for tie, statement in zip(self.ties, self.statements(stem), strict=True)
            ],
        }


def suggest(
    model: Model, data: Any = None, *, tolerance: float = TOLERANCE, batch: int = 256
) -> Suggestions:
    """Hard ties that hold in a trained model within a tolerance, and that hold together.

    data: a path, a mapping of arrays or batches, to measure what each tie costs. tolerance: root
    mean square of what a tie moves its numbers by, relative to their spread, below 0.5. The model
    is as before afterwards. Raises ValueError for another tolerance, RunError for a model without
    text, DataError for data that do not fit.
    """
    if not 0.0 < tolerance < 0.5:
        raise ValueError(f"tolerance must lie between 0 and 0.5 (50%), not {tolerance:g}")
    if not model.origin.files:
        raise RunError("a model that was made without its text has no file to suggest ties for")
    if hasattr(data, "__next__"):
        raise DataError("an iterator gives its batches once, and several passes are needed: a list")
    if isinstance(data, str | Path | Mapping):
        data = load(data, model.checked, model.dtype)
    with Trial(model) as trial:
        start = trial.outcome([])
        if start is None:
            raise RunError(
                "the model's text does not make its parameters; is it of another version?"
            )
        search = _Search(trial, tolerance, start)
        # Whole parameters first: then copies and structures are looked for once in what is one.
        for stage in (_pairs, _inside, _across):
            search.accept(stage(search.outcome, tolerance))
        before = trial.measure(data, batch) if data is not None else {}
        ties = []
        for proposal in search.accepted:
            alone = trial.outcome([proposal])
            assert alone is not None
            told = trial.measure(data, batch, alone) if data is not None else {}
            ties.append(
                Chosen(
                    proposal,
                    start.free - alone.free,
                    trial.distance(proposal, alone),
                    told,
                )
            )
        after: Mapping[str, float] = {}
        if data is not None:
            after = trial.measure(data, batch, search.outcome) if ties else before
    free = free_numbers(model.checked)
    name = Path(model.origin.main).stem
    return Suggestions(
        name, tolerance, tuple(ties), free, search.outcome.free, before, after, model
    )


def _pairs(now: Outcome, tolerance: float) -> list[Proposal]:
    weights = weights_of(now.graph, now.parameters)
    return find_pairs(weights, tolerance, bar(count_pairs(weights)))


def _inside(now: Outcome, tolerance: float) -> list[Proposal]:
    weights = weights_of(now.graph, now.parameters)
    found = find_inside(weights, tolerance, bar)
    return found + find_copies(weights, tolerance, bar, across=False)


def _across(now: Outcome, tolerance: float) -> list[Proposal]:
    weights = weights_of(now.graph, now.parameters)
    crossing = find_copies(weights, tolerance, bar, across=True)
    return [proposal for proposal in crossing if len(proposal.members) > 1]


class _Search:
    """Ties that were accepted so far, and the model with them."""

    def __init__(self, trial: Trial, tolerance: float, start: Outcome) -> None:
        self.trial = trial
        self.tolerance = tolerance
        self.accepted: list[Proposal] = []
        self.outcome = start

    def accept(self, proposals: Sequence[Proposal]) -> None:
        """Takes what saves most for its distance first, and leaves what contradicts it."""
        order = sorted(proposals, key=lambda p: (-p.score, p.statement))
        self._take(self._fresh(order))
        # What was left out as following from others is tried again where one of these was refused.
        missing = self._fresh(order)
        known = {id(p) for p in self.accepted}
        self._take([p for p in missing if id(p) not in known])

    def _fresh(self, order: Sequence[Proposal]) -> list[Proposal]:
        """Proposals that tie what is not tied yet."""
        root: dict[str, str] = {}

        def find(name: str) -> str:
            while root.setdefault(name, name) != name:
                name = root[name]
            return name

        for name, param in self.outcome.graph.params.items():
            root[find(name)] = find(param.view.storage)
        single = {
            name for p in self.accepted if p.content or len(p.members) == 1 for name in p.members
        }
        found = []
        for proposal in order:
            if len(proposal.members) > 1 and proposal.kind in ("equal", "view"):
                a, b = (find(name) for name in proposal.members)
                if a == b:
                    continue
                root[a] = b
            else:
                if any(name in single for name in proposal.members):
                    continue
                single.update(proposal.members)
            found.append(proposal)
        return found

    def _take(self, proposals: Sequence[Proposal]) -> None:
        """All of them if they go together with what was accepted, else by halves."""
        if not proposals:
            return
        both = [*self.accepted, *proposals]
        outcome = self.trial.outcome(both)
        if (
            outcome is not None
            and outcome.free < self.outcome.free
            and all(self.trial.distance(p, outcome) <= self.tolerance for p in both)
        ):
            self.accepted, self.outcome = both, outcome
        elif len(proposals) > 1:
            half = len(proposals) // 2
            self._take(proposals[:half])
            self._take(proposals[half:])
