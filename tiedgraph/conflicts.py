"""Which tie fights: the gradient of each use of a tied parameter apart, and of each loss.

A tie adds the gradients of its uses up. Where two of them point away from each other, their sum is
small although each is large: the uses would rather have numbers of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from tiedgraph.diagnostics import DataError
from tiedgraph.gradients import untie
from tiedgraph.ir.graph import Graph
from tiedgraph.model import Model
from tiedgraph.passes.soft import without_mixtures
from tiedgraph.passes.ties import reached
from tiedgraph.runtime.data import load
from tiedgraph.runtime.identity import Origin
from tiedgraph.ties.layout import pull_back
from tiedgraph.ties.view import layout

Array = np.ndarray[Any, np.dtype[Any]]
BATCHES = 16  # of the data, at most
AGAINST = -0.1  # mean cosine below which two uses fight, if it is so beyond its spread


@dataclass(frozen=True)
class Pair:
    """Two uses of one owner. cosine: mean over batches of that of their gradients; spread: its
    standard deviation. fights: whether it is clearly negative."""

    first: str
    second: str
    cosine: float
    spread: float
    fights: bool


@dataclass(frozen=True)
class Conflict:
    """One owner of free numbers.

    uses: mean norms of the gradients of the parameters that read it, pulled back through their
    views; losses: of each loss term's gradient, where several reach it. total: of the sum.
    pairs: of uses; loss_pairs: of losses.
    """

    owner: str
    uses: Mapping[str, float]
    losses: Mapping[str, float]
    total: float
    pairs: tuple[Pair, ...]
    loss_pairs: tuple[Pair, ...]

    @property
    def fights(self) -> bool:
        """Whether any two uses or losses do."""
        return any(pair.fights for pair in (*self.pairs, *self.loss_pairs))


def find_conflicts(model: Model, data: Any, batch: int | None = None) -> list[Conflict]:
    """Measures every owner with several uses, or that several losses reach; on up to 16 batches.

    data: as `Model.evaluate` takes it. The windows of one convolution are one use. Soft ties are
    left out. Nothing of the model changes. Raises DataError.
    """
    graph = without_mixtures(model.checked)
    if not graph.losses:
        raise DataError("the model declares no loss, so it has no gradients")
    source = load(data, model.checked, model.dtype)
    twin = _twin(model, graph)
    single = _by_loss(model, graph)
    found: dict[str, _Sums] = {}
    for number, (arrays, _) in enumerate(source.batches(batch or model.settings.batch)):
        if number == BATCHES:
            break
        _, apart = twin.value_and_grad(**arrays)
        by_use: dict[str, dict[str, Array]] = {}
        for name, gradient in apart.items():
            storage = graph.storages[graph.params[name].view.storage]
            where = layout(graph.params[name].view.steps, storage.shape)
            part = pull_back(where, gradient.astype(np.float64), storage.shape).reshape(-1)
            by_use.setdefault(storage.id, {})[name] = part
        by_loss: dict[str, dict[str, Array]] = {name: {} for name in by_use}
        for term, one in single.items():
            tasks = {task for task in arrays if task in {t.name for t in graph.tasks}}
            task = next(t.task for t in graph.losses if t.name == term)
            if tasks and task not in tasks:
                continue
            _, gradients = one.value_and_grad(**arrays)
            for name, gradient in gradients.items():
                by_loss.setdefault(name, {})[term] = gradient.astype(np.float64).reshape(-1)
        for name, uses in by_use.items():
            found.setdefault(name, _Sums()).add(uses, by_loss[name])
    return [
        sums.conflict(name)
        for name, sums in found.items()
        if len(sums.uses) > 1 or len(sums.losses) > 1
    ]


class _Sums:
    """Norms and cosines of one owner, batch by batch."""

    def __init__(self) -> None:
        self.uses: dict[str, list[float]] = {}
        self.losses: dict[str, list[float]] = {}
        self.total: list[float] = []
        self.cosines: dict[tuple[str, str], list[float]] = {}
        self.loss_cosines: dict[tuple[str, str], list[float]] = {}

    def add(self, uses: Mapping[str, Array], losses: Mapping[str, Array]) -> None:
        self.total.append(float(np.linalg.norm(np.sum(list(uses.values()), axis=0))))
        for parts, norms, cosines in (
            (uses, self.uses, self.cosines),
            (losses, self.losses, self.loss_cosines),
        ):
            for name, part in parts.items():
                norms.setdefault(name, []).append(float(np.linalg.norm(part)))
            for a, b in combinations(parts, 2):
                both = np.linalg.norm(parts[a]) * np.linalg.norm(parts[b])
                if both > 0:
                    cosines.setdefault((a, b), []).append(float(parts[a] @ parts[b] / both))

    def conflict(self, owner: str) -> Conflict:
        return Conflict(
            owner,
            {name: float(np.mean(norms)) for name, norms in self.uses.items()},
            {name: float(np.mean(norms)) for name, norms in self.losses.items()},
            float(np.mean(self.total)),
            _pairs(self.cosines),
            _pairs(self.loss_cosines),
        )


def _pairs(cosines: Mapping[tuple[str, str], list[float]]) -> tuple[Pair, ...]:
    found = []
    for (first, second), values in cosines.items():
        mean, spread = float(np.mean(values)), float(np.std(values))
        error = spread / np.sqrt(len(values))
        found.append(Pair(first, second, mean, spread, mean < AGAINST and mean + 2 * error < 0))
    return tuple(sorted(found, key=lambda pair: pair.cosine))


def _twin(model: Model, graph: Graph) -> Model:
    """The same function with numbers of its own for every parameter."""
    twin = Model(untie(graph), Origin({}, {}, model.dtype, model.seed), threads=model.threads)
    parameters = model.parameters
    for name in graph.params:
        twin.numbers.storage(name)[:] = parameters[name].reshape(-1)
    return twin


def _by_loss(model: Model, graph: Graph) -> dict[str, Model]:
    """For each loss a model with this one alone, where there are several."""
    if len(graph.losses) < 2:
        return {}
    free = model.free
    found = {}
    for term in graph.losses:
        one = graph.replace(losses=(term,), metrics=())
        single = Model(one, Origin({}, {}, model.dtype, model.seed), threads=model.threads)
        for name in reached(one):
            single.numbers.storage(name)[:] = free[name].reshape(-1)
        found[term.name] = single
    return found


def conflicts_text(found: list[Conflict]) -> str:
    """Tables of norms and cosines, those that fight first."""
    if not found:
        return "no numbers have several uses, and there is one loss: nothing can fight"
    parts = []
    for conflict in sorted(found, key=lambda one: not one.fights):
        lines = [f"{conflict.owner}: gradient {conflict.total:.3g}" + _marked(conflict.fights)]
        for title, norms, pairs in (
            ("use", conflict.uses, conflict.pairs),
            ("loss", conflict.losses, conflict.loss_pairs),
        ):
            if len(norms) < 2:
                continue
            wide = max(len(name) for name in norms)
            lines += [f"  {title} {name:<{wide}}  {norm:.3g}" for name, norm in norms.items()]
            lines += [
                f"  cosine of {p.first} and {p.second}: {p.cosine:+.2f} (spread {p.spread:.2f})"
                + _marked(p.fights)
                for p in pairs[:10]
            ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _marked(fights: bool) -> str:
    return "  fights" if fights else ""
