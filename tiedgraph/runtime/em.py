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
from tiedgraph.ops import chain, gaussian, odds, weighted
from tiedgraph.runtime.clusters import clusters
from tiedgraph.runtime.program import Numbers
from tiedgraph.ties.layout import read
from tiedgraph.ties.view import layout

Array = np.ndarray[Any, np.dtype[Any]]
LEAST = 1e-3  # visits below which a component keeps its numbers
MOST_ODDS = 12.0  # log odds of moves stay within


@dataclass(frozen=True)
class _Use:
    """Where the entries of a parameter lie in the storages, flat, and the sign they are read with.

    place: places in one array of all storages; sign: 1 or -1; trained: whether they may move. All
    in the parameter's shape.
    """

    place: Array
    sign: Array
    trained: Array


@dataclass(frozen=True)
class _States:
    """`gaussian` nodes of one kind; uses are [states, mixtures, size], weights [states, mixtures].

    A codebook is one state without weights. counts: where in what is gathered their statistics
    lie, [states, numbers].
    """

    nodes: tuple[str, ...]
    mean: _Use
    log_variance: _Use
    weight: _Use | None
    counts: Array

    def parts(self, gathered: Array) -> tuple[Array, Array, Array]:
        """N [states, mixtures, 1], sums of v and of v v [states, mixtures, size]."""
        shape = self.mean.place.shape
        found = gathered[self.counts]
        cut = shape[1], shape[1] * (1 + shape[2])
        return (
            found[:, : cut[0], None],
            found[:, cut[0] : cut[1]].reshape(shape),
            found[:, cut[1] :].reshape(shape),
        )


@dataclass(frozen=True)
class _Weights:
    """The weights of states over one codebook, [states, Gaussians], and where their counts lie."""

    states: tuple[str, ...]
    weight: _Use
    counts: Array


def halves(count: int, stage: int) -> tuple[Array, Array]:
    """Of each Gaussian its part after so many splits, and which half of it, -1 or 1; 0 if alone."""
    part = np.arange(count) * (1 << stage) // count
    half = np.arange(count) * (2 << stage) // count
    sides = np.where(half % 2, 1.0, -1.0)
    alone = np.bincount(part)[part] == 1
    return part, np.where(alone, 0.0, sides)


class Estimator:
    """Statistics of all states of a graph, and the step that makes numbers of them.

    alone: whether no epochs by gradient follow, so that all that is trained must be estimated.
    Raises RunError for parameters that cannot be estimated so.
    """

    def __init__(self, graph: Graph, numbers: Numbers, alone: bool = True) -> None:
        self.graph = graph
        self.numbers = numbers
        self.offsets: dict[str, int] = {}
        self.size = 0
        for name, storage in graph.storages.items():
            self.offsets[name] = self.size
            self.size += int(np.prod(storage.shape, dtype=np.int64))
        gaussians = [n for n in graph.nodes.values() if n.op in ("gaussian", "codebook")]
        chains = [node for node in graph.nodes.values() if node.op == "likelihood"]
        if not gaussians or not chains:
            raise RunError(
                "method = em trains word models of Gaussians: the model needs "
                "loss likelihood(words, word) and units with emission = gaussian(...) or "
                "mixture(...) of a codebook"
            )
        self._check_losses()
        self._keys: list[tuple[str, str]] = []
        self._numbers = 0
        kinds: dict[tuple[str, tuple[int, ...]], list[Node]] = {}
        for node in gaussians:
            kinds.setdefault((node.op, graph.params[node.params[0]].shape), []).append(node)
        self.states = [self._states(nodes) for nodes in kinds.values()]
        mixtures = [node for node in graph.nodes.values() if node.op == "mixture"]
        self.weights = [self._weights_of(node) for node in mixtures]
        # Of each chain where its log odds lie, -1 where fixed, their counts, and where they begin.
        self.moves = [self._moves(node) for node in chains]
        self._gathered = np.zeros(self._numbers)
        self._places: Mapping[tuple[str, str], tuple[int, int]] = {}
        self._index = np.zeros(0, np.int64)
        if alone:
            self._check()

    def _check_losses(self) -> None:
        """What any other loss adds to the gradients would be taken for visits of states."""
        for loss in self.graph.losses:
            waiting, seen = [loss.value], set[str]()
            while waiting:
                node = self.graph.nodes.get(self.graph.values[waiting.pop()].producer or "")
                if node is None or node.id in seen or node.op == "likelihood":
                    continue
                seen.add(node.id)
                waiting += node.inputs
                if node.op in ("gaussian", "codebook"):
                    raise RunError(
                        f"method = em re-estimates by loss likelihood(...), but the loss "
                        f"'{loss.name}' reads the units too; train without it first, and with it "
                        "by gradient in another file that begins with those numbers: --start-from"
                    )

    def _check(self) -> None:
        """Nothing else may be trained."""
        reached = np.zeros(self.size, bool)
        for states in self.states:
            for use in (states.mean, states.log_variance, states.weight):
                if use is not None:
                    reached[use.place] = True
        for weights in self.weights:
            reached[weights.weight.place] = True
        for stays, *_ in self.moves:
            reached[stays[stays >= 0]] = True
        for name, storage in self.graph.storages.items():
            first = self.offsets[name]
            if storage.trainable and self.graph.params[name].instance in self.graph.mixtures:
                raise RunError(
                    f"method = em has no soft ties such as '{name.rpartition('.')[0]}', which need "
                    "gradients; let em make the first epochs only: method = em(epochs=5)"
                )
            if storage.trainable and not reached[first]:
                raise RunError(
                    f"method = em cannot train '{name}', which is no number of a unit; freeze it, "
                    "or let em make the first epochs only: method = em(epochs=5)"
                )

    # ------------------------------------------------------------ what is read how

    def _use(self, params: list[str]) -> _Use:
        """One parameter of several nodes, stacked."""
        places, signs, trained = [], [], []
        for name in params:
            found = self.graph.params[name]
            storage = self.graph.storages[found.view.storage]
            count = int(np.prod(storage.shape, dtype=np.int64))
            told = np.arange(1.0, count + 1).reshape(storage.shape)
            entries = read(layout(found.view.steps, storage.shape), told)
            place = np.rint(np.abs(entries)).astype(np.int64)
            if (place < 1).any() or (np.abs(entries) != place).any():
                raise RunError(
                    f"method = em cannot train '{name}', which is read through a scaled tie"
                )
            if (entries < 0).any() and found.name != "mean":
                raise RunError(f"method = em cannot train '{name}', which is read with a minus")
            places.append(place - 1 + self.offsets[storage.id])
            signs.append(np.sign(entries))
            trained.append(np.full(place.shape, storage.trainable))
        return _Use(np.stack(places), np.stack(signs), np.stack(trained))

    def _states(self, nodes: list[Node]) -> _States:
        uses = [self._use([node.params[i] for node in nodes]) for i in range(len(nodes[0].params))]
        count = gaussian.statistics_of(*uses[0].place.shape[1:])
        rows = [self._reserve(node.id, gaussian.STATISTICS, count) for node in nodes]
        weight = uses[2] if len(uses) > 2 else None
        names = tuple(node.id for node in nodes)
        return _States(names, uses[0], uses[1], weight, np.stack(rows))

    def _weights_of(self, node: Node) -> _Weights:
        use = self._use(list(node.params))
        rows = self._reserve(node.id, weighted.STATISTICS, use.place.size)
        return _Weights(node.attrs.states, use, rows.reshape(use.place.shape))

    def _reserve(self, node: str, name: str, count: int) -> Array:
        """Where a node's statistics are gathered."""
        self._keys.append((node, name))
        self._numbers += count
        return np.arange(self._numbers - count, self._numbers)

    def _moves(self, node: Node) -> tuple[Array, Array, Array]:
        rows: list[Array] = []
        starts: list[Array] = []
        waiting = [node.inputs[1]]
        while waiting:
            made = self.graph.nodes[self.graph.values[waiting.pop(0)].producer]
            if made.op == "concat":
                waiting = [*made.inputs, *waiting]
                continue
            use = self._use([made.params[0]])
            rows.append(np.where(use.trained, use.place, -1).reshape(-1))
            starts.append(np.full(len(rows[-1]), odds.SKIPPING if made.op == "skip" else 0.0))
        places = np.concatenate(rows)
        counts = self._reserve(node.id, chain.STATISTICS, 2 * len(places))
        return places, counts.reshape(-1, 2), np.concatenate(starts)

    # ------------------------------------------------------------ statistics

    def clear(self) -> None:
        """Forgets what was gathered."""
        self._gathered[:] = 0.0

    def gather(
        self, total: Array, places: Mapping[tuple[str, str], tuple[int, int]], samples: int
    ) -> None:
        """Adds the statistics of a batch, which are those of its mean loss, so negative."""
        if self._places != places:
            self._places, self._index = places, self._found(places)
        self._gathered -= samples * total[self._index].astype(np.float64)

    def _found(self, places: Mapping[tuple[str, str], tuple[int, int]]) -> Array:
        """Where a tape has the statistics; those of nodes that were joined go by their names."""
        joined = {name: place for (_, name), place in places.items()}
        found = [places.get(key) or joined[key[0]] for key in self._keys]
        return np.concatenate([np.arange(first, first + count) for first, count in found])

    # ------------------------------------------------------------ the step

    def maximise(self, floor: float) -> list[str]:
        """Re-estimates every number; answers the states that were hardly visited.

        floor: least variance, as a part of that of all frames, by dimension.
        """
        flat = self._flat()
        new = flat.copy()
        unseen = self._means(flat, new)
        unseen += self._unweighted()
        self._variances(flat, new, floor)
        self._weights(new)
        self._stays(new)
        self._put(new)
        return unseen

    def _means(self, flat: Array, new: Array) -> list[str]:
        """m += sum of (v / variance) / sum of (N / variance), over all uses."""
        above, below, seen = np.zeros((3, self.size))
        unseen: list[str] = []
        for states in self.states:
            n, first, _ = states.parts(self._gathered)
            few = n.sum(axis=(1, 2)) < LEAST
            unseen += [name for name, rare in zip(states.nodes, few, strict=True) if rare]
            precision = np.exp(-flat[states.log_variance.place])
            use = states.mean
            np.add.at(above, use.place, use.sign * first * precision)
            np.add.at(below, use.place, n * precision)
            np.add.at(seen, use.place, np.where(use.trained, n, 0.0))
        fit = seen > LEAST
        new[fit] += above[fit] / below[fit]
        return unseen

    def _variances(self, flat: Array, new: Array, floor: float) -> None:
        """The mean square of x - m with the new means, over all uses, and at least its floor."""
        above, below, least = np.zeros((3, self.size))
        for states in self.states:
            n, first, second = states.parts(self._gathered)
            use = states.log_variance
            moved = states.mean.sign * (new - flat)[states.mean.place]
            np.add.at(above, use.place, second - 2 * moved * first + n * moved * moved)
            np.add.at(below, use.place, np.where(use.trained, n, 0.0))
            whole = floor * self._spread(flat, states)
            np.maximum.at(least, use.place, np.broadcast_to(whole, use.place.shape))
        fit = below > LEAST
        found = np.maximum(above[fit] / below[fit], np.maximum(least[fit], 1e-30))
        new[fit] = np.log(found)

    def _spread(self, flat: Array, states: _States) -> Array:
        """The variance of all frames that these states saw, by dimension."""
        n, first, second = states.parts(self._gathered)
        mean = states.mean.sign * flat[states.mean.place]
        count = max(float(n.sum()), 1e-30)
        centre = (first + n * mean).sum(axis=(0, 1)) / count
        square = (second + 2 * mean * first + n * mean * mean).sum(axis=(0, 1)) / count
        return np.asarray(np.maximum(square - centre * centre, 0.0))

    def _unweighted(self) -> list[str]:
        """States over codebooks that were hardly visited."""
        return [
            state
            for weights in self.weights
            for state, n in zip(
                weights.states, self._gathered[weights.counts].sum(axis=1), strict=True
            )
            if n < LEAST
        ]

    def _weights(self, new: Array) -> None:
        above, below = np.zeros((2, self.size))
        found = [
            (states.weight, states.parts(self._gathered)[0][:, :, 0])
            for states in self.states
            if states.weight is not None
        ]
        found += [(weights.weight, self._gathered[weights.counts]) for weights in self.weights]
        for use, n in found:
            np.add.at(above, use.place, n)
            whole = np.broadcast_to(n.sum(axis=1, keepdims=True), n.shape)
            np.add.at(below, use.place, np.where(use.trained, whole, 0.0))
        fit = below > LEAST
        new[fit] = np.log(np.maximum(above[fit] / below[fit], 1e-8))

    def _stays(self, new: Array) -> None:
        held, left = np.zeros((2, self.size))
        for places, counts, _ in self.moves:
            known = places >= 0
            found = self._gathered[counts]
            np.add.at(held, places[known], found[known, 0])
            np.add.at(left, places[known], found[known, 1])
        fit = left > LEAST
        found = np.log(np.maximum(held[fit], 1e-30)) - np.log(left[fit])
        new[fit] = np.clip(found, -MOST_ODDS, MOST_ODDS)

    def split(self, seed: int, stage: int, by: float = 0.2) -> None:
        """Doubles the unlike Gaussians of mixtures, where there are some to double.

        Those that are alike before stage 0, 1, ... lie side by side. Each half of them moves one
        way, by a part of the deviation (Young et al., The HTK book, on mixture splitting).
        """
        rng = np.random.default_rng((seed, 0x5917, stage))
        flat = self._flat()
        for states in self.states:
            count = states.mean.place.shape[1]
            if states.weight is None or count <= 1 << stage:
                continue
            use = states.mean
            deviation = np.exp(0.5 * flat[states.log_variance.place])
            ways = rng.choice([-1.0, 1.0], (len(deviation), 1 << stage, deviation.shape[2]))
            part, half = halves(count, stage)
            step = by * deviation * ways[:, part] * half[:, None]
            flat[use.place] += use.sign * np.where(use.trained, step, 0.0)
        self._put(flat)

    def flatten(self) -> None:
        """The flat start: all Gaussians alike, so that the first step is made of moves alone."""
        flat = self._flat()
        for states in self.states:
            for use in (states.mean, states.log_variance, states.weight):
                if use is not None:
                    flat[use.place[use.trained]] = 0.0
        for places, _, start in self.moves:
            flat[places[places >= 0]] = start[places >= 0]
        self._put(flat)

    @property
    def books(self) -> dict[str, str]:
        """Codebooks that may move, and the values that they are given."""
        return {
            node.id: node.inputs[0]
            for node in self.graph.nodes.values()
            if node.op == "codebook"
            and any(self._use([name]).trained.any() for name in node.params)
        }

    def place(self, book: str, frames: Array, seed: int, floor: float) -> None:
        """Puts a codebook's Gaussians where the frames [frames, size] are; see `clusters`."""
        mean, log_variance = (self._use([name]) for name in self.graph.nodes[book].params)
        flat = self._flat()
        centres, variances, _ = clusters(frames, mean.place.shape[1], seed)
        variances = np.log(np.maximum(variances, np.maximum(floor * frames.var(axis=0), 1e-30)))
        for use, found in ((mean, centres), (log_variance, variances)):
            moves = use.trained[0]
            flat[use.place[0][moves]] = (use.sign[0] * found)[moves]
        self._put(flat)

    def _flat(self) -> Array:
        """All storages in one float64 array, where `offsets` tells."""
        parts = [self.numbers.storage(name) for name in self.offsets]
        return np.concatenate(parts).astype(np.float64)

    def _put(self, flat: Array) -> None:
        for name, first in self.offsets.items():
            part = self.numbers.storage(name)
            part[:] = flat[first : first + part.size]
