"""Rows, columns and channels that are copies of one another, in one parameter or in several.

Slices of one length are compared by the correlation of a sample of their entries; where there are
many, only those that fall together under some hash of signs, so that no step takes the square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tiedgraph.suggestions.chance import (
    Array,
    centred,
    evidence,
    log_chance,
    log_coincidence,
    relative,
)
from tiedgraph.suggestions.proposal import FILE, Proposal, Weights

SAMPLE = 128  # entries of a slice that the first comparison looks at
ALL_PAIRS = 4096  # slices that are compared each with each
BLOCK = 512
TABLES = 8  # hashes; copies at 5 % fall together under one of them in all but 1 of 1,000 cases
SHOWN = 6  # groups that are told in words


@dataclass(frozen=True, eq=False)
class _Slices:
    """All slices of a parameter along one axis, as rows."""

    weights: Weights
    axis: int

    @property
    def rows(self) -> Array:
        moved = np.moveaxis(self.weights.numbers, self.axis, 0)
        return moved.reshape(moved.shape[0], -1)


def find_copies(
    weights: Sequence[Weights],
    tolerance: float,
    bar: Callable[[int], float],
    across: bool,
) -> list[Proposal]:
    """Ties of slices that are equal.

    across: also propose one list of numbers for several parameters.
    """
    pools: dict[int, list[_Slices]] = {}
    for item in weights:
        if item.mapped or item.numbers.ndim < 2:
            continue
        for axis, size in enumerate(item.numbers.shape):
            length = item.numbers.size // size
            if size > 1 and length > 1:
                pools.setdefault(length, []).append(_Slices(item, axis))
    counts = {
        length: sum(s.weights.numbers.shape[s.axis] for s in pool) for length, pool in pools.items()
    }
    limit = bar(sum(n * (n - 1) // 2 for n in counts.values()))
    found: list[Proposal] = []
    for pool in pools.values():
        found += _in_pool(pool, tolerance, limit, across)
    return found + _both_axes(found, weights)


def _in_pool(
    pool: Sequence[_Slices], tolerance: float, limit: float, across: bool
) -> list[Proposal]:
    """Proposals among slices of one length."""
    rows = [part.rows for part in pool]
    starts = np.cumsum([0, *(len(r) for r in rows)])
    source = np.repeat(np.arange(len(pool)), np.diff(starts))

    def row(number: int) -> Array:
        part = int(source[number])
        return np.asarray(rows[part][number - starts[part]])

    parent = np.arange(int(starts[-1]))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = int(parent[number])
        return number

    for i, j in _likely(rows, tolerance):
        a, b = root(i), root(j)
        # Slices of one parameter along two axes share an entry, and say nothing.
        mixed = source[i] != source[j]
        if mixed and pool[source[i]].weights is pool[source[j]].weights:
            continue
        if a != b and (across or not mixed) and _copies(row(a), row(b), tolerance, limit):
            parent[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = {}
    for number in range(parent.size):
        groups.setdefault(root(number), []).append(number)
    tied = [group for group in groups.values() if len(group) > 1]
    found = []
    for part in range(len(pool)):
        inner = [[int(n - starts[part]) for n in group if source[n] == part] for group in tied]
        inner = [group for group in inner if len(group) > 1]
        if inner:
            found.append(_inside(pool[part], inner, limit))
    crossing = [group for group in tied if len({int(source[n]) for n in group}) > 1]
    if crossing:
        found += _crossing(pool, source, starts, tied, crossing, limit)
    return found


def _copies(a: Array, b: Array, tolerance: float, limit: float) -> bool:
    both = centred(np.concatenate([a, b]))
    spread = float(both @ both)
    if spread == 0.0:
        return False
    distance = float((a - b) @ (a - b) / 2 / spread) ** 0.5
    share = min(evidence(a), evidence(b))
    if distance > tolerance or log_chance(distance, a.size * share, 2 * a.size * share) >= limit:
        return False
    residual = float((a - b) @ (a - b) / a.size) ** 0.5
    return log_coincidence(b, a, residual) < limit


def _likely(rows: Sequence[Array], tolerance: float) -> Iterable[tuple[int, int]]:
    """Pairs of slices, in the order of all, whose samples are nearly in proportion."""
    length = rows[0].shape[1]
    rng = np.random.default_rng(0)
    places = np.arange(length)
    if length > SAMPLE:
        places = np.sort(rng.choice(length, SAMPLE, replace=False))
    sample = np.concatenate([part[:, places] for part in rows])
    size = np.linalg.norm(sample, axis=1)
    alive = size > tolerance * np.median(size)  # dead slices are all alike
    sample = sample - sample.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(sample, axis=1, keepdims=True)
    sample = np.divide(sample, norm, out=np.zeros_like(sample), where=norm > 0)
    sample[~alive] = 0.0
    least = max(0.5, 1.0 - 16.0 * tolerance**2)
    count = len(sample)
    if count <= ALL_PAIRS:
        for start in range(0, count, BLOCK):
            likeness = sample[start : start + BLOCK] @ sample.T
            for i, j in np.argwhere(likeness > least):
                if start + i < j:
                    yield int(start + i), int(j)
        return
    bits = int(np.ceil(np.log2(count))) + 2
    for _ in range(TABLES):
        signs = sample @ rng.standard_normal((sample.shape[1], bits)) > 0
        key = signs @ (1 << np.arange(bits, dtype=np.int64))
        order = np.argsort(key, kind="stable")
        fresh = np.r_[True, key[order][1:] != key[order][:-1]]
        leader = order[np.maximum.accumulate(np.where(fresh, np.arange(count), 0))]
        near = np.einsum("ij,ij->i", sample[order], sample[leader]) > least
        for i, j in zip(leader[near & ~fresh], order[near & ~fresh], strict=True):
            yield int(i), int(j)


# ---------------------------------------------------------------- as proposals


def _inside(part: _Slices, groups: Sequence[Sequence[int]], limit: float) -> Proposal:
    """Copies along one axis of one parameter, as an index map."""
    numbers = part.weights.numbers
    stands = np.arange(numbers.shape[part.axis])
    for group in groups:
        stands[list(group)] = group[0]
    grid = np.arange(numbers.size).reshape(numbers.shape)
    first = np.take(grid, stands, part.axis)
    touched = np.zeros(numbers.shape, bool)
    np.moveaxis(touched, part.axis, 0)[[n for group in groups for n in group]] = True
    told = "; ".join(", ".join(map(str, group)) for group in groups[:SHOWN])
    more = f"; and {len(groups) - SHOWN} more groups" if len(groups) > SHOWN else ""
    about = f"copies along axis {part.axis}: {told}{more}"
    return _map_proposal(part.weights, first, touched, about, limit)


def _map_proposal(
    weights: Weights, first: Array, touched: Array, about: str, chance: float
) -> Proposal:
    """first: for each entry the one, in C order, that stands for it."""
    numbers = weights.numbers
    kept, index = np.unique(first, return_inverse=True)
    index = index.reshape(numbers.shape)
    flat = numbers.reshape(-1)
    mean = np.bincount(index.reshape(-1), flat) / np.bincount(index.reshape(-1))
    change = (mean[index] - numbers)[touched]
    return Proposal(
        "copies",
        (weights.name,),
        f'tie hard {weights.name} by map("{{file}}")',
        {weights.name: touched},
        numbers.size - kept.size,
        relative(change, numbers[touched]),
        chance,
        about,
        {weights.name: index},
        FILE,
    )


def _both_axes(found: Sequence[Proposal], weights: Sequence[Weights]) -> list[Proposal]:
    """Copies along several axes of one parameter at once."""
    by_name = {item.name: item for item in weights}
    inner: dict[str, list[Proposal]] = {}
    for proposal in found:
        if len(proposal.members) == 1:
            inner.setdefault(proposal.members[0], []).append(proposal)
    more = []
    for name, several in inner.items():
        if len(several) < 2:
            continue
        shape = by_name[name].numbers.shape
        first = np.arange(int(np.prod(shape)))
        touched = np.zeros(shape, bool)
        for proposal in several:
            index = proposal.content[name].reshape(-1)
            start = np.unique(index, return_index=True)[1]
            touched |= proposal.touched[name]
            # Axes commute: an entry's stand-in along one axis has its own along the next.
            first = start[index[first]]
        about = "; ".join(p.about for p in several)
        chance = max(p.chance for p in several)
        more.append(_map_proposal(by_name[name], first.reshape(shape), touched, about, chance))
    return more


def _crossing(
    pool: Sequence[_Slices],
    source: Array,
    starts: Array,
    tied: Sequence[Sequence[int]],
    crossing: Sequence[Sequence[int]],
    limit: float,
) -> list[Proposal]:
    """Copies between parameters, as one list of numbers for each set that hangs together."""
    clusters: list[set[int]] = []
    for group in crossing:
        new = {int(source[n]) for n in group}
        for other in [c for c in clusters if c & new]:
            clusters.remove(other)
            new |= other
        clusters.append(new)
    found = []
    for cluster in clusters:
        parts = sorted(cluster)
        if len({id(pool[p].weights) for p in parts}) < len(parts):
            continue  # one parameter along two axes: no one list of slices fits
        found.append(_book(pool, parts, source, starts, tied, limit))
    return found


def _book(
    pool: Sequence[_Slices],
    parts: Sequence[int],
    source: Array,
    starts: Array,
    tied: Sequence[Sequence[int]],
    limit: float,
) -> Proposal:
    stands: dict[int, int] = {}
    for group in tied:
        inside = [n for n in group if int(source[n]) in parts]
        if len(inside) > 1:
            stands |= dict.fromkeys(inside, inside[0])
    length = pool[parts[0]].rows.shape[1]
    numbers: dict[int, int] = {}
    content, touched = {}, {}
    total = 0
    for p in parts:
        item = pool[p].weights
        count = item.numbers.shape[pool[p].axis]
        ids = []
        for n in range(int(starts[p]), int(starts[p]) + count):
            ids.append(numbers.setdefault(stands.get(n, n), len(numbers)))
        moved = (np.asarray(ids)[:, None] * length + np.arange(length)).reshape(
            np.moveaxis(item.numbers, pool[p].axis, 0).shape
        )
        content[item.name] = np.ascontiguousarray(np.moveaxis(moved, 0, pool[p].axis))
        mask = np.zeros(item.numbers.shape, bool)
        inside = [n - int(starts[p]) for n in stands if int(source[n]) == p]
        np.moveaxis(mask, pool[p].axis, 0)[inside] = True
        touched[item.name] = mask
        total += item.numbers.size
    flat = np.concatenate([pool[p].weights.numbers.reshape(-1) for p in parts])
    index = np.concatenate([content[pool[p].weights.name].reshape(-1) for p in parts])
    where = np.concatenate([touched[pool[p].weights.name].reshape(-1) for p in parts])
    mean = np.bincount(index, flat) / np.bincount(index)
    names = tuple(pool[p].weights.name for p in parts)
    shared = len(set(stands.values()))
    return Proposal(
        "copies",
        names,
        f'tie hard {", ".join(names)} by codebook("{{file}}")',
        touched,
        total - len(numbers) * length,
        relative((mean[index] - flat)[where], flat[where]),
        limit,
        f"{len(stands)} slices of {length} numbers are {shared}",
        content,
        FILE,
    )
