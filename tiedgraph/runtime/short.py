"""Recordings that are shorter than the chain of their word, which have no probability."""

from __future__ import annotations

from typing import Any

import numpy as np

from tiedgraph.diagnostics import DataError
from tiedgraph.ir.graph import Graph
from tiedgraph.ir.types import Extent
from tiedgraph.ops.lattice import Chains
from tiedgraph.runtime.data import Data, Dataset, TaskData

Array = np.ndarray[Any, np.dtype[Any]]


def least_steps(attrs: Chains) -> Array:
    """For each word the steps of its shortest way, which leaves out and passes over what it can."""
    found = np.full(attrs.words, np.iinfo(np.int64).max)
    for which, word in enumerate(attrs.word):
        skips = attrs.skips_of(which)
        last = len(attrs.states[which]) - 1
        ways = np.full(last + 1 + max(attrs.over, 1), last + 2)  # steps up to each position
        ways[[0, attrs.loose]] = 1
        for s in range(last):
            ways[s + 1] = min(ways[s + 1], ways[s] + 1)
            if skips and skips[s] >= 0:
                ways[s + attrs.over] = min(ways[s + attrs.over], ways[s] + 1)
        found[word] = min(found[word], ways[last], ways[last - attrs.loose])
    return found


def short(graph: Graph, data: Data) -> str:
    """The first sample that is shorter than the chain of its word, as a sentence; "" for none.

    Batches that come one by one are not looked at.
    """
    parts = data.parts.values() if isinstance(data, TaskData) else [data]
    return next((text for part in parts if (text := _short(graph, part))), "")


def refuse_short(graph: Graph, data: Data) -> None:
    """Raises DataError for data that would make a likelihood infinite."""
    if text := short(graph, data):
        raise DataError(
            f"{text}; leave it out, or give units fewer states, a shorter duration or skip = true"
        )


def _short(graph: Graph, data: Any) -> str:
    if not isinstance(data, Dataset):
        return ""
    chains = {(c.scores, c.odds): c for c in graph.chains.values()}
    for node in graph.nodes.values():
        if node.op != "likelihood":
            continue
        chain = chains.get((node.inputs[0], node.inputs[1]))
        if chain is None or node.inputs[2] not in data.arrays:
            continue
        words = np.asarray(data.arrays[node.inputs[2]]).astype(np.int64)
        steps = _steps(graph, data, graph.shape_of(chain.scores)[1])
        least = least_steps(node.attrs)[words]
        if steps is None:
            continue
        steps = np.broadcast_to(steps, words.shape)
        few = np.flatnonzero(steps < least)
        if few.size:
            row = int(few[0])
            more = f" ({len(few)} samples are so)" if len(few) > 1 else ""
            word = chain.lexicon.words[words[row]]
            return (
                f"sample {row} of {data.origin} has {steps[row]} steps, "
                f"and its word '{word}' is a chain of at least {least[row]} states{more}"
            )
    return ""


def _steps(graph: Graph, data: Dataset, size: int | Extent) -> Array | None:
    """How many steps of scores each sample has; None where that is not told."""
    if not isinstance(size, Extent):
        return np.asarray(size)
    for name, item in graph.data.items():
        for axis, own in enumerate(item.type.shape):
            if isinstance(own, Extent) and own.symbol == size.symbol and name in data.arrays:
                told = data.arrays.get(f"{name}.length")
                whole = np.asarray(data.arrays[name].shape[axis + 1])
                lengths = whole if told is None else np.asarray(told).astype(np.int64)
                return np.asarray((lengths + size.offset) // size.divisor)
    return None
