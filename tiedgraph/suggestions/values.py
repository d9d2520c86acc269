"""Clusters: a parameter whose entries take few values, or nearly.

Found in the sorted numbers in two ways: as groups with clear gaps between them, and, where many
numbers are spread about their values as after soft tying, as groups that are much narrower than the
space that each has.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, lgamma, log, pi

import numpy as np

from tiedgraph.suggestions.chance import Array, evidence, relative
from tiedgraph.suggestions.proposal import VALUES, Proposal, Weights

MOST_CLUSTERS = 256
MOST_SPREAD = 64  # clusters without clear gaps
CLEAR = 3.0  # gaps between clusters are so many times the widest of them
NARROW = 0.25  # of the variance of even numbers, for clusters without clear gaps
NEAR = 3  # numbers of clusters that are weighed, from the least within the tolerance on
ROUNDS = 3  # of moving centres, after each cut


@dataclass(frozen=True, eq=False)
class _Groups:
    """Runs of sorted numbers: where each begins and ends, and what a match like it is by chance."""

    starts: Array
    ends: Array
    distance: float
    chance: float


def clustered(item: Weights, tolerance: float, limit: float) -> Proposal | None:
    """The proposal that a parameter takes few values, if it does."""
    flat = item.numbers.reshape(-1)
    if flat.size < 4:
        return None
    order = np.argsort(flat, kind="stable")
    values = flat[order]
    for groups in (_apart(values, item.even_start), _narrow(values, tolerance)):
        if groups is None or groups.distance > tolerance or groups.chance >= limit:
            continue
        size = groups.starts.size
        index = np.empty(flat.size, np.int64)
        index[order] = np.repeat(np.arange(size), groups.ends - groups.starts)
        return Proposal(
            "values",
            (item.name,),
            f'tie hard {item.name} by map("{{file}}")',
            {item.name: np.ones(item.numbers.shape, bool)},
            flat.size - size,
            groups.distance,
            groups.chance,
            f"{size} values" if size > 1 else "one value",
            {item.name: index.reshape(item.numbers.shape)},
            VALUES,
        )
    return None


def _moved(values: Array, starts: Array, ends: Array) -> Array:
    """What means in place of the numbers change."""
    count = ends - starts
    means = np.add.reduceat(values, starts) / count
    return np.asarray(np.repeat(means, count) - values)


# ---------------------------------------------------------------- with clear gaps


def _apart(values: Array, even_start: bool) -> _Groups | None:
    """Groups of two or more with gaps much wider than any of them; one group where all is equal."""
    count = values.size
    gaps = np.diff(values)
    size = _clear_cuts(gaps, count)
    if size == 0 or (size == 1 and even_start):
        return None
    cut = np.sort(np.argsort(-gaps, kind="stable")[: size - 1]) + 1
    starts, ends = np.r_[0, cut], np.r_[cut, count]
    widths = values[ends - 1] - values[starts]
    change = _moved(values, starts, ends)
    widest = float(widths.max())
    if size == 1:
        length = float(np.abs(values).max())
        distance = float(np.sqrt((change**2).mean())) / length if length else inf
        share = max(2 * widest / max(length, 1e-300), 1e-7)
        return _Groups(starts, ends, distance, (count - 1) * log(share))
    gap = float(gaps[cut - 1].min())
    if (ends - starts).min() < 2 or gap < CLEAR * widest:
        return None
    # All but one of each cluster fall by chance where the gaps are only as wide as the least.
    # That numbers were pruned to zero says nothing of the others.
    other = int(np.count_nonzero(values))
    kinds = size if other == count else size - 1
    total = float(widths.sum())
    share = max(total / (total + size * gap), 1e-7)
    chance = min(0.0, _ways(other, kinds) + (other - kinds) * log(share))
    return _Groups(starts, ends, relative(change, values), chance)


def _clear_cuts(gaps: Array, count: int) -> int:
    """How many clusters leave the largest step between gaps outside and inside of them."""
    most = min(count // 2, MOST_CLUSTERS)
    largest = np.sort(gaps)[::-1][:most]
    if largest.size == 0:
        return 0
    floor = max(float(largest[0]) * 1e-9, 1e-300)
    if largest[0] == 0.0:
        return 1
    ratio = (largest[:-1] + floor) / (largest[1:] + floor)
    return int(np.argmax(ratio)) + 2 if ratio.size else 0


def _ways(count: int, chosen: int) -> float:
    return lgamma(count + 1) - lgamma(chosen + 1) - lgamma(count - chosen + 1)


# ---------------------------------------------------------------- without


def _narrow(values: Array, tolerance: float) -> _Groups | None:
    """Few groups by means, within the tolerance and narrow for their space: the least by chance."""
    count = values.size
    spread = float(((values - values.mean()) ** 2).sum())
    if spread == 0.0:
        return None
    totals = np.r_[0.0, np.cumsum(values)]
    squares = np.r_[0.0, np.cumsum(values**2)]
    bounds = np.array([0, count])
    found: list[_Groups] = []
    near = 0
    for size in range(2, min(MOST_SPREAD, count // 8) + 1):
        bounds = _moved_bounds(values, totals, _cut(totals, squares, bounds))
        if bounds.size <= size:
            break
        within = _within(totals, squares, bounds)
        if within.sum() <= tolerance**2 * spread:
            groups = _if_narrow(values, bounds, within)
            found += [] if groups is None else [groups]
            near += 1
        if near == NEAR:
            break
    return min(found, key=lambda groups: groups.chance, default=None)


def _within(totals: Array, squares: Array, bounds: Array) -> Array:
    """Sum of squares about the mean of each group."""
    number = bounds[1:] - bounds[:-1]
    sums, powers = totals[bounds], squares[bounds]
    within = powers[1:] - powers[:-1] - (sums[1:] - sums[:-1]) ** 2 / number
    return np.asarray(np.maximum(within, 0.0))


def _cut(totals: Array, squares: Array, bounds: Array) -> Array:
    """The widest group cut where that leaves least."""
    worst = int(np.argmax(_within(totals, squares, bounds)))
    start, end = int(bounds[worst]), int(bounds[worst + 1])
    if end - start < 2:
        return bounds
    at = np.arange(start + 1, end)
    left, right = totals[at] - totals[start], totals[end] - totals[at]
    gain = left**2 / (at - start) + right**2 / (end - at)
    return np.insert(bounds, worst + 1, at[int(np.argmax(gain))])


def _moved_bounds(values: Array, totals: Array, bounds: Array) -> Array:
    """Each number goes to the nearest mean, some times over (Lloyd 1982)."""
    for _ in range(ROUNDS):
        sums = totals[bounds]
        means = (sums[1:] - sums[:-1]) / (bounds[1:] - bounds[:-1])
        moved = bounds.copy()
        moved[1:-1] = np.searchsorted(values, (means[1:] + means[:-1]) / 2)
        if (moved == bounds).all():
            break
        bounds = moved[np.concatenate(([True], moved[1:] > moved[:-1]))]
    return bounds


def _if_narrow(values: Array, bounds: Array, within: Array) -> _Groups | None:
    """Groups that even numbers, each in the space up to half-way to the next mean, would not make.

    Even numbers fill their space: their variance is its width squared / 12. That n of them have a
    variance r times as large is a ball in a cube, of volume (pi e r / 6)^(n/2) at most.
    """
    number = np.diff(bounds)
    if number.min() < 2:
        return None
    starts, ends = bounds[:-1], bounds[1:]
    means = np.add.reduceat(values, starts) / number
    middles = (means[1:] + means[:-1]) / 2
    # Outermost spaces reach as far outward as inward.
    width = np.diff(np.r_[2 * means[0] - middles[0], middles, 2 * means[-1] - middles[-1]])
    ratio = 12 * within / number / width**2
    # The largest group proves nothing: many numbers lie near zero for reasons of their own.
    others = np.arange(number.size) != int(np.argmax(number))
    if float((number * ratio)[others].sum()) > NARROW * number[others].sum():
        return None
    volume = np.log(np.clip(pi * np.e / 6 * ratio, 1e-7, None))
    count = int(number[others].sum())
    proof = float(((number - 1) / 2 * volume)[others].sum()) * evidence(values)
    chance = min(0.0, _ways(count, number.size - 1) + proof)
    change = _moved(values, starts, ends)
    return _Groups(starts, ends, relative(change, values), chance)
