"""Which numbers equations between entries make equal, and which they force to zero.

A union-find with a factor on each link, done on whole arrays: in every round each root takes the
smallest root that it equals a multiple of, so that chains are short after a few rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tiedgraph.ties.layout import Array

CLOSE = 1e-9  # relative difference of factors that counts as none


@dataclass(frozen=True, eq=False)
class Equations:
    """`left_factor * v[left] = right_factor * v[right]`, entry by entry; an index of -1 is zero."""

    left: Array
    left_factor: Array
    right: Array
    right_factor: Array


@dataclass(frozen=True, eq=False)
class Classes:
    """What is left of `v`: `v[i] = coefficient[i] * free[index[i]]`, zero where index is -1.

    free: how many numbers are left, in the order of their first entries.
    forced: entries that an equation makes zero.
    """

    free: int
    index: Array
    coefficient: Array
    forced: Array


def merge(count: int, equations: Equations) -> Classes:
    """Solves equations over `count` numbers."""
    inside = (equations.left >= 0) & (equations.right >= 0)
    left, right = equations.left[inside], equations.right[inside]
    ratio = equations.right_factor[inside] / equations.left_factor[inside]
    root = np.arange(count)
    weight = np.ones(count)  # v[i] = weight[i] * v[root[i]]
    while True:
        a, b = root[left], root[right]
        apart = np.flatnonzero(a != b)
        if not apart.size:
            break
        a, b = a[apart], b[apart]
        # v[a] = step * v[b]
        step = ratio[apart] * weight[right[apart]] / weight[left[apart]]
        low, high = np.minimum(a, b), np.maximum(a, b)
        factor = np.where(a > b, step, 1.0 / step)  # v[high] = factor * v[low]
        order = np.lexsort((low, high))
        first = order[np.r_[True, np.diff(high[order]) != 0]]
        parent, link = np.arange(count), np.ones(count)
        parent[high[first]], link[high[first]] = low[first], factor[first]
        while True:  # links go to smaller roots, so they end
            further = parent[parent]
            if np.array_equal(further, parent):
                break
            link, parent = link * link[parent], further
        weight, root = weight * link[root], parent[root]
    here, there = weight[left], ratio * weight[right]
    clash = np.abs(here - there) > CLOSE * np.abs(here)
    zero = np.zeros(count, bool)
    zero[root[left[clash]]] = True
    alone = equations.left[~inside & (equations.left >= 0)]
    zero[root[alone]] = True
    alone = equations.right[~inside & (equations.right >= 0)]
    zero[root[alone]] = True
    forced = zero[root]
    index = np.full(count, -1, np.int64)
    kept, place = np.unique(root[~forced], return_inverse=True)
    index[~forced] = place
    return Classes(len(kept), index, np.where(forced, 0.0, weight), forced)


def follows(index: Array, factor: Array, known: Array, known_factor: Array) -> bool:
    """Whether what is equal by `known` is equal by `index` as well, with the same factors.

    Each pair says of every entry which number it is (-1 for zero) and times what.
    """
    zero = known < 0
    if np.any(index[zero] >= 0):
        return False
    index, factor = index[~zero].reshape(-1), factor[~zero].reshape(-1)
    known, known_factor = known[~zero].reshape(-1), known_factor[~zero].reshape(-1)
    if not index.size:
        return True
    first = np.zeros(int(known.max()) + 1, np.int64)
    first[known[::-1]] = np.arange(len(known))[::-1]
    example = first[known]
    if not np.array_equal(index, index[example]):
        return False
    inside = index >= 0
    here = factor * known_factor[example]
    there = factor[example] * known_factor
    return bool(np.all(np.abs(here - there)[inside] <= CLOSE * np.abs(here[inside])))


def alike(index: Array, factor: Array, other: Array, other_factor: Array) -> bool:
    """Whether two numberings make the same entries equal and the same ones zero."""
    return follows(index, factor, other, other_factor) and follows(
        other, other_factor, index, factor
    )
