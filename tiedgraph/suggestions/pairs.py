"""Parameters that are views of one another, times a constant.

All parameters of one size are compared at once, view by view, by the correlation of a sample of
their entries: one product of matrices. Only pairs that pass are read whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from tiedgraph.ir.graph import Step
from tiedgraph.suggestions.chance import Array, centred, evidence, log_chance, log_coincidence
from tiedgraph.suggestions.family import family
from tiedgraph.suggestions.proposal import Proposal, Weights, groups_by_size
from tiedgraph.ties.chain import describe
from tiedgraph.ties.layout import Shape, Strided, read
from tiedgraph.ties.view import MAX_FACTOR, make_step

SAMPLE = 512  # entries that the first comparison looks at
BLOCK = 1024  # parameters compared at once
MOST_PARENTS = 8  # tried for one parameter, the likeliest first
MOST_WAYS = 6  # views tried for one pair


@dataclass(frozen=True)
class _Hit:
    child: int
    parent: int
    view: int
    likeness: float


def count_pairs(weights: Sequence[Weights]) -> int:
    """How many ties `find_pairs` tries."""
    total = 0
    for group in groups_by_size(weights):
        shapes: dict[Shape, int] = {}
        for item in group:
            shapes[item.numbers.shape] = shapes.get(item.numbers.shape, 0) + 1
        for shape, count in shapes.items():
            for wanted, others in shapes.items():
                pairs = count * (count - 1) // 2 if shape == wanted else count * others
                total += pairs * len(family(shape, wanted))
    return total


def find_pairs(weights: Sequence[Weights], tolerance: float, bar: float) -> list[Proposal]:
    """Each parameter as a view of an earlier one, wherever that holds within `tolerance`."""
    found = []
    for group in groups_by_size(weights):
        hits: dict[int, dict[int, list[_Hit]]] = {}
        for hit in _alike(group, tolerance):
            hits.setdefault(hit.child, {}).setdefault(hit.parent, []).append(hit)
        for child, parents in sorted(hits.items()):
            best = sorted(parents, key=lambda p: (-max(h.likeness for h in parents[p]), p))
            for parent in best[:MOST_PARENTS]:
                proposal = _closest(group[child], group[parent], parents[parent], tolerance, bar)
                if proposal is not None:
                    found.append(proposal)
    return found


def _alike(group: Sequence[Weights], tolerance: float) -> Iterable[_Hit]:
    """Pairs and views whose sampled entries are nearly proportional."""
    size = group[0].numbers.size
    rng = np.random.default_rng(0)
    places = np.arange(size) if size <= SAMPLE else np.sort(rng.choice(size, SAMPLE, replace=False))
    least = max(0.5, 1.0 - 16.0 * tolerance**2)
    shapes: dict[Shape, list[int]] = {}
    for number, item in enumerate(group):
        shapes.setdefault(item.numbers.shape, []).append(number)
    flats = [np.ascontiguousarray(item.numbers).reshape(-1) for item in group]
    for wanted, children in shapes.items():
        entry = np.stack(np.unravel_index(places, wanted), axis=-1)
        for some in _blocks(children):
            left = _normal(np.stack([flats[c][places] for c in some]))
            for shape, parents in shapes.items():
                for others in _blocks(parents):
                    if min(others) >= max(some):
                        continue
                    order = np.asarray(others)[None, :] < np.asarray(some)[:, None]
                    for view, (_, where) in enumerate(family(shape, wanted)):
                        at = where.offset + entry @ np.asarray(where.strides, np.int64)
                        right = _normal(np.stack([flats[p][at] for p in others]))
                        likeness = np.abs(left @ right.T)
                        for i, j in np.argwhere(order & (likeness > least)):
                            yield _Hit(some[i], others[j], view, float(likeness[i, j]))


def _blocks(numbers: Sequence[int]) -> list[Sequence[int]]:
    return [numbers[i : i + BLOCK] for i in range(0, len(numbers), BLOCK)]


def _normal(rows: Array) -> Array:
    """Rows less their means, of length one; zero where all is equal."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, length, out=np.zeros_like(rows), where=length > 0))


def _closest(
    child: Weights, parent: Weights, hits: Sequence[_Hit], tolerance: float, bar: float
) -> Proposal | None:
    """The simplest of the views that fit about as well as the best."""
    ways = family(parent.numbers.shape, child.numbers.shape)
    tried = []
    for hit in sorted(hits, key=lambda h: (-h.likeness, h.view))[:MOST_WAYS]:
        steps, where = ways[hit.view]
        made = _fit(child, parent, steps, where)
        if made is not None and made.distance <= tolerance and made.chance < bar:
            tried.append((hit.view, made))
    if not tried:
        return None
    limit = 1.2 * min(made.distance for _, made in tried) + 1e-7
    return min((t for t in tried if t[1].distance <= limit), key=lambda t: t[0])[1]


def _fit(
    child: Weights, parent: Weights, steps: tuple[Step, ...], where: Strided
) -> Proposal | None:
    """A proposal for one view with the best constant, or with 1 or -1 where that does as well."""
    a, b = read(where, parent.numbers).reshape(-1), child.numbers.reshape(-1)
    square = float(a @ a)
    if square == 0.0 or not b.any():
        return None
    best = float(a @ b) / square
    sign = 1.0 if best > 0 else -1.0
    factor, apart = sign, _apart(a, b, sign)
    if b.size > 1:
        fitted = _apart(a, b, best)
        # A constant must be well told from one before the statement names it.
        if apart > 2.0 * fitted + 1e-6:
            factor, apart = _rounded(a, b, best, fitted)
    if not isfinite(apart) or not 1 / MAX_FACTOR <= abs(factor) <= MAX_FACTOR:
        return None
    equations = b.size - (0 if abs(factor) == 1.0 else 1)
    share = min(evidence(a), evidence(b))
    likely = log_chance(apart, equations * share, 2 * b.size * share)
    gap = b - factor * a
    residual = float(gap @ gap / gap.size) ** 0.5
    likely = max(likely, log_coincidence(b, factor * a, residual) * equations / b.size)
    if factor == -1.0:
        steps = (*steps, make_step("negate"))
    elif factor != 1.0:
        steps = (*steps, make_step("scale", factor=factor))
    if steps:
        statement = f"tie hard {child.name} = {describe(steps, parent.name)}"
    else:
        statement = f"tie hard {parent.name}, {child.name}"
    return Proposal(
        "view" if steps else "equal",
        (child.name, parent.name),
        statement,
        {item.name: np.ones(item.numbers.shape, bool) for item in (child, parent)},
        b.size,
        apart,
        likely,
    )


def _apart(a: Array, b: Array, factor: float) -> float:
    """Distance of the pair from `b = factor a`, after both were brought to one scale."""
    a = factor * a
    both = centred(np.concatenate([a, b]))
    spread = float(both @ both)
    gap = a - b
    return float((gap @ gap) / 2 / spread) ** 0.5 if spread > 0 else np.inf


def _rounded(a: Array, b: Array, factor: float, apart: float) -> tuple[float, float]:
    """The shortest constant that costs next to nothing, and the distance with it."""
    for digits in range(1, 9):
        short = float(f"{factor:.{digits}g}")
        if (found := _apart(a, b, short)) <= 1.02 * apart + 1e-7:
            return short, found
    return factor, apart
