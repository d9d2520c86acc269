"""Expectation-maximisation of word models, with shared numbers re-estimated once.

A batch leaves the statistics of each state beside its gradients: how often it was visited, and the
sums of v and v v over its frames, v = x - mean. Here they are summed in float64 over the data; then
each *storage* gets the numbers that fit all its uses, whichever states and views these are: for a
mean the precision-weighted, for a variance the plain average over everything that reads it (Juang
1985; Young et al., The HTK book, on tied parameters).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiedgraph.diagnostics import RunError
from tiedgraph.ir.graph import Graph, Node
from tiedgraph.ops import chain, gaussian
from tiedgraph.runtime.program import Numbers
from tiedgraph.ties.layout import read
from tiedgraph.ties.view import layout

Array = np.ndarray[Any, np.dtype[Any]]
LEAST = 1e-3  # visits below which a component keeps its numbers
MOST_ODDS = 12.0  # log odds of staying stay within


@dataclass(frozen=True)
class _Use:
    """Where the entries of a parameter lie in the storages, flat, and the sign they are read with.

    place: places in one array of all storages; sign: 1 or -1, in the parameter's shape.
    """

    place: Array
    sign: Array
    trainable: bool


@dataclass
class _State:
    """A `gaussian` node. counts: its statistics so far."""

    node: str
    mean: _Use
    log_variance: _Use
    weight: _Use | None
    counts: Array


@dataclass
class _Moves:
    """A chain's node. stays: for each of its states where its log odds lie, -1 where fixed."""

    node: str
    stays: Array
    counts: Array


class Estimator:
    """Statistics of all states of a graph, and the step that makes numbers of them.

    Raises RunError for parameters that cannot be estimated so.
    """

    def __init__(self, graph: Graph, numbers: Numbers) -> None:
        self.graph = graph
        self.numbers = numbers
        self.offsets: dict[str, int] = {}
        self.size = 0
        for name, storage in graph.storages.items():
            self.offsets[name] = self.size
            self.size += int(np.prod(storage.shape, dtype=np.int64))
        self.states: list[_State] = []
        self.moves: list[_Moves] = []
        for node in graph.nodes.values():
            if node.op == "gaussian":
                self.states.append(self._state(node))
            elif node.op == "likelihood":
                self.moves.append(self._chain(node))
        self._gathered = self._one_array()
        if not self.states or not self.moves:
            raise RunError(
                "method = em trains word models of Gaussians: the model needs "
                "loss likelihood(words, word) and units with emission = gaussian(...)"
            )
        reached = {
            int(i)
            for state in self.states
            for use in (state.mean, state.log_variance, state.weight)
            if use is not None
            for i in use.place.reshape(-1)
        } | {int(i) for item in self.moves for i in item.stays}
        for name, storage in graph.storages.items():
            first = self.offsets[name]
            if storage.trainable and first not in reached:
                raise RunError(
                    f"method = em cannot train '{name}', which is no number of a unit; freeze it, "
                    "or let em make the first epochs only: method = em(epochs=5)"
                )

    # ------------------------------------------------------------ what is read how

    def _use(self, param: str) -> _Use:
        found = self.graph.params[param]
        storage = self.graph.storages[found.view.storage]
        first = self.offsets[storage.id]
        count = int(np.prod(storage.shape, dtype=np.int64))
        told = np.arange(1.0, count + 1).reshape(storage.shape)
        entries = read(layout(found.view.steps, storage.shape), told)
        place = np.rint(np.abs(entries)).astype(np.int64)
        if (place < 1).any() or (np.abs(entries) != place).any():
            raise RunError(
                f"method = em cannot train '{param}', which is read through a scaled tie"
            )
        return _Use(place - 1 + first, np.sign(entries), storage.trainable)

    def _state(self, node: Node) -> _State:
        uses = [self._use(name) for name in node.params]
        for use, name in zip(uses[1:], node.params[1:], strict=True):
            if (use.sign < 0).any():
                raise RunError(f"method = em cannot train '{name}', which is read with a minus")
        mixtures, size = uses[0].place.shape
        counts = np.zeros(gaussian.statistics_of(mixtures, size))
        return _State(node.id, uses[0], uses[1], uses[2] if len(uses) > 2 else None, counts)

    def _chain(self, node: Node) -> _Moves:
        stays: list[int] = []
        waiting = [node.inputs[1]]
        while waiting:
            made = self.graph.nodes[self.graph.values[waiting.pop(0)].producer]
            if made.op == "concat":
                waiting = [*made.inputs, *waiting]
                continue
            use = self._use(made.params[0])
            stays += [int(i) if use.trainable else -1 for i in use.place.reshape(-1)]
        return _Moves(node.id, np.array(stays, np.int64), np.zeros((len(stays), 2)))

    # ------------------------------------------------------------ statistics

    def _one_array(self) -> Array:
        """Lays the counts of all nodes into one array, and answers it."""
        items: list[_State | _Moves] = [*self.states, *self.moves]
        whole = np.zeros(sum(item.counts.size for item in items))
        first = 0
        for item in items:
            part = whole[first : first + item.counts.size].reshape(item.counts.shape)
            item.counts = part
            first += part.size
        return whole

    def clear(self) -> None:
        """Forgets what was gathered."""
        self._gathered[:] = 0.0

    def gather(
        self, total: Array, places: Mapping[tuple[str, str], tuple[int, int]], samples: int
    ) -> None:
        """Adds the statistics of a batch, which are those of its mean loss, so negative."""
        keys = [(state.node, gaussian.STATISTICS) for state in self.states]
        keys += [(item.node, chain.STATISTICS) for item in self.moves]
        index = np.concatenate(
            [np.arange(first, first + n) for first, n in (places[key] for key in keys)]
        )
        self._gathered -= samples * total[index].astype(np.float64)

    # ------------------------------------------------------------ the step

    def maximise(self, floor: float) -> list[str]:
        """Re-estimates every number; answers the states that were hardly visited.

        floor: least variance, as a part of that of all frames, by dimension.
        """
        flat = self._flat()
        new = flat.copy()
        unseen = self._means(flat, new)
        self._variances(flat, new, floor)
        self._weights(new)
        self._stays(new)
        self._put(new)
        return unseen

    def _parts(self, state: _State) -> tuple[Array, Array, Array]:
        """N [mixtures, 1], sums of v and of v v [mixtures, size]."""
        mixtures, size = state.mean.place.shape
        counts = state.counts
        return (
            counts[:mixtures, None],
            counts[mixtures : mixtures * (1 + size)].reshape(mixtures, size),
            counts[mixtures * (1 + size) :].reshape(mixtures, size),
        )

    def _means(self, flat: Array, new: Array) -> list[str]:
        """m += sum of (v / variance) / sum of (N / variance), over all uses."""
        above, below, seen = np.zeros(self.size), np.zeros(self.size), np.zeros(self.size)
        unseen = []
        for state in self.states:
            n, first, _ = self._parts(state)
            if n.sum() < LEAST:
                unseen.append(state.node)
            precision = np.exp(-flat[state.log_variance.place])
            np.add.at(above, state.mean.place, state.mean.sign * first * precision)
            np.add.at(below, state.mean.place, n * precision)
            np.add.at(seen, state.mean.place, n)
        fit = (seen > LEAST) & self._trained("mean")
        new[fit] += above[fit] / below[fit]
        return unseen

    def _variances(self, flat: Array, new: Array, floor: float) -> None:
        above, below = np.zeros(self.size), np.zeros(self.size)
        least = self._floors(flat) * floor
        floors = np.zeros(self.size)
        for state in self.states:
            n, first, second = self._parts(state)
            moved = state.mean.sign * (new - flat)[state.mean.place]
            spread = second - 2 * moved * first + n * moved * moved
            np.add.at(above, state.log_variance.place, spread)
            np.add.at(below, state.log_variance.place, np.broadcast_to(n, spread.shape))
            size = state.mean.place.shape[1]
            np.maximum.at(
                floors, state.log_variance.place,
                np.broadcast_to(least[size], spread.shape),
            )  # fmt: skip
        fit = (below > LEAST) & self._trained("log_variance")
        new[fit] = np.log(np.maximum(above[fit] / below[fit], np.maximum(floors[fit], 1e-30)))

    def _floors(self, flat: Array) -> _BySize:
        """The variance of all frames that states of one size see, by dimension."""
        sums: dict[int, list[Array]] = {}
        for state in self.states:
            n, first, second = self._parts(state)
            mean = state.mean.sign * flat[state.mean.place]
            size = mean.shape[1]
            own = sums.setdefault(size, [np.zeros(1), np.zeros(size), np.zeros(size)])
            own[0] += n.sum()
            own[1] += (first + n * mean).sum(axis=0)
            own[2] += (second + 2 * mean * first + n * mean * mean).sum(axis=0)
        return _BySize(
            {
                size: np.maximum(s / np.maximum(n, 1e-30) - (f / np.maximum(n, 1e-30)) ** 2, 0.0)
                for size, (n, f, s) in sums.items()
            }
        )

    def _weights(self, new: Array) -> None:
        above, below = np.zeros(self.size), np.zeros(self.size)
        for state in self.states:
            if state.weight is not None:
                n, _, _ = self._parts(state)
                np.add.at(above, state.weight.place, n[:, 0])
                np.add.at(below, state.weight.place, n.sum())
        fit = (below > LEAST) & self._trained("weight")
        new[fit] = np.log(np.maximum(above[fit] / below[fit], 1e-8))

    def _stays(self, new: Array) -> None:
        held, left = np.zeros(self.size), np.zeros(self.size)
        for item in self.moves:
            known = item.stays >= 0
            np.add.at(held, item.stays[known], item.counts[known, 0])
            np.add.at(left, item.stays[known], item.counts[known, 1])
        fit = left > LEAST
        odds = np.log(np.maximum(held[fit], 1e-30)) - np.log(left[fit])
        new[fit] = np.clip(odds, -MOST_ODDS, MOST_ODDS)

    def _trained(self, part: str) -> Array:
        found = np.zeros(self.size, bool)
        for state in self.states:
            use = getattr(state, part)
            if use is not None and use.trainable:
                found[use.place] = True
        return found

    def split(self, seed: int, by: float = 0.2) -> None:
        """Moves the means of each mixture's Gaussians apart, by a part of their deviation."""
        rng = np.random.default_rng((seed, 0x5917))
        flat = self._flat()
        for state in self.states:
            if state.weight is not None and state.mean.trainable:
                deviation = np.exp(0.5 * flat[state.log_variance.place])
                step = by * deviation * rng.choice([-1.0, 1.0], deviation.shape)
                flat[state.mean.place] += state.mean.sign * step
        self._put(flat)

    def flatten(self) -> None:
        """The flat start: all Gaussians alike, so that the first step is made of moves alone."""
        flat = self._flat()
        for state in self.states:
            for use in (state.mean, state.log_variance, state.weight):
                if use is not None and use.trainable:
                    flat[use.place] = 0.0
        for item in self.moves:
            flat[item.stays[item.stays >= 0]] = 0.0
        self._put(flat)

    def _flat(self) -> Array:
        """All storages in one float64 array, where `offsets` tells."""
        parts = [self.numbers.storage(name) for name in self.offsets]
        return np.concatenate(parts).astype(np.float64)

    def _put(self, flat: Array) -> None:
        for name, first in self.offsets.items():
            part = self.numbers.storage(name)
            part[:] = flat[first : first + part.size]


@dataclass(frozen=True)
class _BySize:
    """Variances by dimension, for frames of each size."""

    found: Mapping[int, Array]

    def __mul__(self, factor: float) -> _BySize:
        return _BySize({size: factor * value for size, value in self.found.items()})

    def __getitem__(self, size: int) -> Array:
        return self.found[size]
