"""Ties inside one parameter: structures that have a name, and symmetries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from tiedgraph.suggestions.chance import (
    Array,
    centred,
    evidence,
    log_chance,
    log_coincidence,
    relative,
)
from tiedgraph.suggestions.family import family
from tiedgraph.suggestions.proposal import FILE, Proposal, Weights
from tiedgraph.suggestions.values import MOST_CLUSTERS, clustered
from tiedgraph.ties.chain import describe
from tiedgraph.ties.index_map import MAP_KINDS, make_map
from tiedgraph.ties.layout import Shape, entries
from tiedgraph.ties.view import IndexMap, ViewError

LARGEST = 2**24  # entries of a parameter that is looked into

# What an argument of an index map may be, by its name, for a shape.
CHOICES: dict[str, Callable[[Shape], Sequence[Any]]] = {
    "blocks": lambda shape: (
        [n for n in range(2, min(shape[:2]) + 1) if shape[0] % n == 0 and shape[1] % n == 0]
        if len(shape) > 1
        else ()
    ),
}


def find_inside(
    weights: Sequence[Weights], tolerance: float, bar: Callable[[int], float]
) -> list[Proposal]:
    """Ties inside single parameters.

    bar: what the logarithm of a chance must stay below when so many ties are tried.
    """
    found: list[Proposal] = []
    kept = [w for w in weights if not w.mapped and 1 < w.numbers.size <= LARGEST]
    by_shape: dict[Shape, list[Weights]] = {}
    for item in kept:
        by_shape.setdefault(item.numbers.shape, []).append(item)
    tried = sum(
        len(group) * (len(_names(shape)) + len(_turns(shape)) + MOST_CLUSTERS)
        for shape, group in by_shape.items()
    )
    limit = bar(tried)
    for shape, group in by_shape.items():
        named = _named(shape)
        for item in group:
            some = [_by_map(item, text, made, tolerance, limit) for text, made in named]
            some += _symmetric(item, [made for _, made in named], tolerance, limit)
            some.append(clustered(item, tolerance, limit))
            found += [proposal for proposal in some if proposal is not None]
    return found


# ---------------------------------------------------------------- structures with a name


def _names(shape: Shape) -> list[tuple[str, dict[str, Any]]]:
    """Index maps with every choice of their arguments, where these are finite."""
    found = []
    for kind in MAP_KINDS:
        names = [name for name, _ in kind.arguments]
        if all(name in CHOICES for name in names):
            for values in product(*(CHOICES[name](shape) for name in names)):
                found.append((kind.name, dict(zip(names, values, strict=True))))
    return found


def _named(shape: Shape) -> list[tuple[str, IndexMap]]:
    """The index maps of a shape that say something, by their text."""
    found = []
    for name, options in _names(shape):
        try:
            made = make_map(name, shape, options, None)
        except ViewError:
            continue
        if prod(made.free) < prod(shape):
            found.append((made.text, made))
    return found


def _fitted(numbers: Array, made: IndexMap) -> Array:
    """The nearest numbers that a map allows."""
    index = made.index.reshape(-1)
    scale = np.ones(index.size) if made.coefficient is None else made.coefficient.reshape(-1)
    inside = index >= 0
    free = int(index.max(initial=-1)) + 1
    flat = numbers.reshape(-1)
    total = np.bincount(index[inside], (flat * scale)[inside], free)
    weight = np.bincount(index[inside], (scale * scale)[inside], free)
    mean = total / np.maximum(weight, 1e-300)
    return np.where(inside, mean[np.maximum(index, 0)] * scale, 0.0).reshape(numbers.shape)


def _by_map(
    item: Weights,
    text: str,
    made: IndexMap,
    tolerance: float,
    limit: float,
    kind: str = "structure",
    about: str = "",
) -> Proposal | None:
    """The proposal that a map's equalities hold, if they do."""
    numbers = item.numbers
    change = _fitted(numbers, made) - numbers
    distance = relative(change, numbers)
    if distance > tolerance:
        return None
    saves = numbers.size - prod(made.free)
    share = evidence(numbers)
    chance = log_chance(distance, saves * share, numbers.size * share)
    # All but the first of each group must meet another number, and what is fixed meets zero.
    index = made.index.reshape(-1)
    follows = np.ones(index.size, bool)
    follows[np.unique(index, return_index=True)[1]] = False
    follows[index < 0] = True
    pool = numbers if made.coefficient is None else np.abs(numbers)
    residual = float(np.sqrt((change**2).mean())) * 2**0.5
    met = np.where(made.index >= 0, pool, 0.0).reshape(-1)[follows]
    chance = max(chance, log_coincidence(met, pool, residual))
    if chance >= limit:
        return None
    content = {} if text else {item.name: made.index}
    return Proposal(
        kind,
        (item.name,),
        f"tie hard {item.name} by {text}" if text else f'tie hard {item.name} by map("{{file}}")',
        {item.name: np.ones(numbers.shape, bool)},
        saves,
        distance,
        chance,
        about,
        content,
        FILE if content else 1.0,
    )


# ---------------------------------------------------------------- symmetries without a name


def _turns(shape: Shape) -> list[tuple[str, Array]]:
    """Ways to read a shape in its own, other than as it is: a text, and the entries read."""
    if len(shape) < 1 or prod(shape) > LARGEST // 8:
        return []
    found = []
    for steps, where in family(shape, shape):
        if len(steps) == 1 and any(size > 1 for size in shape):
            found.append((describe(steps, "it"), entries(where)[0].reshape(-1)))
    return found


def _symmetric(
    item: Weights, named: Sequence[IndexMap], tolerance: float, limit: float
) -> list[Proposal | None]:
    """Views that change nothing: each alone, and all that hold together."""
    flat = item.numbers.reshape(-1)
    own = centred(flat)
    spread = float(own @ own)
    holding = []
    for text, read in _turns(item.numbers.shape):
        gap = flat[read] - flat
        # Half of the gap is what an exchange of pairs would move; longer cycles move no less.
        if spread > 0 and float(gap @ gap) / 4 / spread <= tolerance**2:
            holding.append((text, read))
    if not holding:
        return []
    known = [_partition(made.index) for made in named if made.coefficient is None]
    found: list[Proposal | None] = []
    choices = [[one] for one in holding] + ([holding] if len(holding) > 1 else [])
    for chosen in choices:
        index = _orbits(flat.size, [read for _, read in chosen])
        if any(np.array_equal(index, other) for other in known):
            continue
        known.append(index)
        free = int(index.max()) + 1
        made = IndexMap((free,), index.reshape(item.numbers.shape))
        about = "the same as " + " and ".join(text for text, _ in chosen)
        found.append(_by_map(item, "", made, tolerance, limit, "symmetry", about))
    return found


def _partition(index: Array) -> Array:
    """A map's groups, numbered by their first entries, whatever the map calls them."""
    flat = index.reshape(-1)
    _, first, back = np.unique(flat, return_index=True, return_inverse=True)
    order = np.empty(first.size, np.int64)
    order[np.argsort(first)] = np.arange(first.size)
    return np.asarray(order[back.reshape(-1)])


def _orbits(count: int, ways: Sequence[Array]) -> Array:
    """Groups of entries that the ways lead from one to another, numbered by their first."""
    least = np.arange(count)
    while True:
        before = least
        for way in ways:
            least = np.minimum(least, least[way])
            carried = least.copy()
            np.minimum.at(carried, way, least)
            least = carried
        if np.array_equal(before, least):
            return _partition(least)
