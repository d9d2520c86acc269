"""Where a codebook's Gaussians start: at the centres of clusters of all frames."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
MOST = 50_000  # frames that are looked at
ROUNDS = 30


class Frames:
    """Frames of the training data, evenly spread over it, at most about `MOST`."""

    def __init__(self) -> None:
        self._parts: list[Array] = []
        self._count = self._seen = 0
        self._every = 1

    def add(self, x: Array, lengths: Array) -> None:
        """x: [samples, size, time], of which sample n has `lengths[n]` steps."""
        inside = np.arange(x.shape[2]) < lengths[:, None]
        found = x.transpose(0, 2, 1)[inside].astype(np.float64)
        begin = -self._seen % self._every
        self._seen += len(found)
        self._parts.append(found[begin :: self._every])
        self._count += len(self._parts[-1])
        while self._count > MOST:
            self._every *= 2
            whole = np.concatenate(self._parts)[::2]
            self._parts, self._count = [whole], len(whole)

    def all(self) -> Array:
        """[frames, size]."""
        return np.concatenate(self._parts)


def clusters(x: Array, count: int, seed: int) -> tuple[Array, Array, Array]:
    """Centres and variances [count, size], and how many frames each cluster has.

    Lloyd's rounds on frames of unit variance, from centres that are drawn far apart (Arthur and
    Vassilvitskii, k-means++, 2007). A cluster of few frames has the variance of all, in part.
    """
    rng = np.random.default_rng((seed, 0xC1))
    spread = np.maximum(x.var(axis=0), 1e-30)
    scaled = (x - x.mean(axis=0)) / np.sqrt(spread)
    centres = _far_apart(scaled, count, rng)
    owner = np.full(len(x), -1)
    for _ in range(ROUNDS):
        before, owner = owner, _nearest(scaled, centres)
        if (owner == before).all():
            break
        held = np.bincount(owner, minlength=count)
        sums = np.zeros_like(centres)
        np.add.at(sums, owner, scaled)
        centres = np.where(held[:, None] > 0, sums / np.maximum(held, 1)[:, None], centres)
    held = np.bincount(owner, minlength=count)
    sums, squares = np.zeros((2, count, x.shape[1]))
    np.add.at(sums, owner, x)
    np.add.at(squares, owner, x * x)
    n = np.maximum(held, 1)[:, None]
    means = np.where(held[:, None] > 0, sums / n, x.mean(axis=0) + centres * np.sqrt(spread))
    within = np.maximum(squares / n - (sums / n) ** 2, 0.0) * held[:, None]
    return means, (within + spread) / (held[:, None] + 1), held


def _far_apart(x: Array, count: int, rng: np.random.Generator) -> Array:
    """Frames, each drawn by its squared distance to those before."""
    chosen = [x[rng.integers(len(x))]]
    distance = np.full(len(x), np.inf)
    for _ in range(count - 1):
        distance = np.minimum(distance, ((x - chosen[-1]) ** 2).sum(axis=1))
        whole = distance.sum()
        even = np.full(len(x), 1 / len(x))
        chosen.append(x[rng.choice(len(x), p=distance / whole if whole > 0 else even)])
    return np.array(chosen)


def _nearest(x: Array, centres: Array) -> Array:
    distance = (centres * centres).sum(axis=1) - 2 * x @ centres.T
    return np.asarray(distance.argmin(axis=1))
