"""A soft tie made hard: each number becomes that of its cluster, or zero.

The steps of Ullrich, Meeds and Welling (ICLR 2017) after training: components that lie upon each
other are merged, the mean nearest zero becomes zero, and each number goes to the component that is
most responsible for it, found in logarithms.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiedgraph.diagnostics import RunError, Span, nearest
from tiedgraph.ir.graph import Graph, Mixture
from tiedgraph.ir.types import elements
from tiedgraph.model import Model
from tiedgraph.rewrite.text import Rewritten, replaced, statements_of
from tiedgraph.syntax import ast
from tiedgraph.ties.layout import entries
from tiedgraph.ties.mixture import LOG_PRECISION, LOGIT, MEAN, assigned, log_proportions
from tiedgraph.ties.view import layout

Array = np.ndarray[Any, np.dtype[Any]]
MERGE = 1e-10  # Kullback-Leibler divergence below which two components are one (Ullrich et al.)


@dataclass(frozen=True)
class Clusters:
    """What a soft tie became.

    codes: for each parameter of the tie that stands for the others the number of its cluster, or -1
      for zero, in the parameter's shape. values: of the clusters, float64.
    """

    tie: str
    codes: Mapping[str, Array]
    values: Array

    def numbers(self, name: str) -> Array:
        """A parameter with each number replaced by its cluster's value."""
        code = self.codes[name]
        return np.where(code >= 0, self.values[np.maximum(code, 0)], 0.0)

    @property
    def kept(self) -> int:
        """Numbers that are not zero."""
        return sum(int((code >= 0).sum()) for code in self.codes.values())


def find_clusters(model: Model, tie: str | None = None, merge: float = MERGE) -> Clusters:
    """The clusters of a soft tie, the only one where none is named; raises RunError."""
    mixture = _mixture(model.checked, tie)
    parts = {part: model.free[f"{mixture.id}.{part}"].astype(np.float64) for part in
             (MEAN, LOG_PRECISION, LOGIT)}  # fmt: skip
    mean, gamma, logs = merged(
        parts[MEAN], parts[LOG_PRECISION], log_proportions(mixture.settings, parts[LOGIT]), merge
    )
    zero = int(np.abs(mean).argmin()) if mixture.settings.zero is not None else -1
    parameters = model.parameters
    codes: dict[str, Array] = {}
    for name in _readers(model.checked, mixture):
        numbers = parameters[name]
        found = assigned(numbers, mean, gamma, logs).reshape(numbers.shape)
        index = _index(model.checked, name)
        codes[name] = np.where((found == zero) | (index < 0), -1, found)
    used = np.unique(np.concatenate([code[code >= 0] for code in codes.values()]))
    if not used.size:
        raise RunError(
            f"all numbers of soft tie '{mixture.id}' are nearest to zero, so nothing would be "
            "left; train it with less strength or a smaller zero component"
        )
    place = np.full(mean.size + 1, -1)
    place[used] = np.arange(used.size)
    return Clusters(mixture.id, {n: place[code] for n, code in codes.items()}, mean[used])


def merged(
    mean: Array, log_precision: Array, log_proportion: Array, most: float
) -> tuple[Array, Array, Array]:
    """Components with those merged whose divergence, the smaller way, is below `most`.

    Means and variances are weighted by proportions.
    """
    mean, variance = mean.copy(), np.exp(-log_precision)
    weight = np.exp(log_proportion)
    alive = np.ones(mean.size, bool)
    while alive.sum() > 1:
        where = np.flatnonzero(alive)
        ratio = variance[where, None] / variance[where]
        apart = (mean[where, None] - mean[where]) ** 2 / variance[where]
        divergence = 0.5 * (ratio + apart - 1 - np.log(ratio))
        divergence[np.arange(where.size), np.arange(where.size)] = np.inf
        first, second = np.unravel_index(int(divergence.argmin()), divergence.shape)
        if not divergence[first, second] < most:
            break
        a, b = sorted((int(where[first]), int(where[second])))
        total = weight[a] + weight[b]
        mean[a] = (weight[a] * mean[a] + weight[b] * mean[b]) / total
        variance[a] = (weight[a] * variance[a] + weight[b] * variance[b]) / total
        weight[a], alive[b] = total, False
    return mean[alive], -np.log(variance[alive]), np.log(weight[alive])


def _mixture(graph: Graph, tie: str | None) -> Mixture:
    known = list(graph.mixtures)
    if not known:
        raise RunError("the model has no soft tie; write tie soft NAME = ... and train it")
    if tie is None and len(known) > 1:
        raise RunError(f"the model has several soft ties; name one of {', '.join(known)}")
    name = known[0] if tie is None else tie
    if name not in graph.mixtures:
        hint = nearest(name, known) or f"there are {', '.join(known)}"
        raise RunError(f"the model has no soft tie '{name}'; {hint}")
    return graph.mixtures[name]


def _index(graph: Graph, name: str) -> Array:
    param = graph.params[name]
    return entries(layout(param.view.steps, graph.storages[param.view.storage].shape))[0]


def _readers(graph: Graph, mixture: Mixture) -> list[str]:
    """Parameters that together read each number of a mixture, and nothing else; raises RunError."""
    chosen: list[str] = []
    for storage, runs in mixture.numbers:
        drawn = np.zeros(elements(graph.storages[storage].shape), bool)
        for begin, end in runs:
            drawn[begin:end] = True
        left = drawn.copy()
        # The owner reads all of a storage; others are needed where only a part is drawn.
        readers = [storage, *(p.id for p in graph.params.values() if p.view.storage == storage)]
        for name in dict.fromkeys(readers):
            view = graph.params[name].view
            index, scale = entries(layout(view.steps, graph.storages[storage].shape))
            inside = index[index >= 0]
            if drawn[inside].all() and left[inside].any() and (scale[index >= 0] == 1.0).all():
                chosen.append(name)
                left[inside] = False
        if left.any():
            raise RunError(
                f"soft tie '{mixture.id}' draws a part of '{storage}' that no parameter reads by "
                "itself, so it cannot be made an index map"
            )
    return chosen


# ---------------------------------------------------------------- as text


def harden(model: Model, clusters: Clusters) -> Rewritten:
    """The model's text with the soft tie as `tie hard ... by codebook(...)`, and its files."""
    name = f"{clusters.tie}.npz"
    names = ", ".join(clusters.codes)
    files = {name: book_file(clusters.codes)}
    return _instead(model, clusters, f'tie hard {names} by codebook("{name}")', files)


def thin(model: Model, clusters: Clusters, entries: str) -> Rewritten:
    """The model's text with what the clusters have at zero fixed there, and the rest drawn softly.

    entries: the settings of the soft tie from then on. A parameter of which nothing is left is
    frozen at zero.
    """
    lines, files, left = [], {}, []
    for param, code in clusters.codes.items():
        index = np.full(code.shape, -1)
        kept = code >= 0
        if not kept.any():
            lines += [f"init {param} = zeros", f"freeze {param}"]
            continue
        left.append(param)
        index[kept] = np.arange(int(kept.sum()))
        name = f"{clusters.tie}.{param}.npy".replace("[", "_").replace("]", "")
        buffer = io.BytesIO()
        np.save(buffer, index.astype(np.int32))
        files[name] = buffer.getvalue()
        lines.append(f'tie hard {param} by map("{name}")')
    lines.append(f"tie soft {clusters.tie} = {', '.join(left)} {{ {entries} }}")
    return _instead(model, clusters, "\n".join(lines), files)


def book_file(codes: Mapping[str, Array]) -> bytes:
    """The `.npz` file of a codebook; the same bytes for the same codes."""
    most = max(int(code.max(initial=0)) for code in codes.values())
    kind = np.int8 if most < 2**7 else np.int16 if most < 2**15 else np.int32
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: code.astype(kind) for name, code in codes.items()})  # type: ignore[arg-type]
    return buffer.getvalue()


def _instead(
    model: Model, clusters: Clusters, statement: str, files: Mapping[str, bytes]
) -> Rewritten:
    """The text with a statement in the soft tie's place, and without maps that it replaces."""
    text, statements = statements_of(model.origin)
    changes: dict[Span, str] = {}
    dropped: set[str] = set()
    for item in statements:
        if isinstance(item, ast.TieSoft) and item.name == clusters.tie:
            changes[item.span] = statement
        elif isinstance(item, ast.TieHard) and item.by is not None:
            at = (item.span.start, item.span.end)
            names = {
                member.path
                for tie in model.checked.ties
                if tie.span is not None and (tie.span.start, tie.span.end) == at
                for member in tie.members
            }
            if names & set(clusters.codes):
                if not names <= set(clusters.codes):
                    other = sorted(names - set(clusters.codes))[0]
                    raise RunError(
                        f"'{other}' shares an index map with a member of soft tie "
                        f"'{clusters.tie}' and is not drawn by it; name it in the tie, too"
                    )
                changes[item.span] = ""
                dropped |= {str(argument.value) for argument in item.by.arguments
                            if isinstance(argument, ast.String)}  # fmt: skip
    kept = {
        n: content for n, content in model.origin.files.items()
        if n != model.origin.main and n not in dropped
    }  # fmt: skip
    return Rewritten(replaced(text, changes), {**kept, **files})
