"""The numbers a storage starts with.

Every storage draws from a stream of its own, made from the seed and the storage's name, so that
adding or reordering layers changes no other layer's start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tiedgraph.ir.graph import Storage

Array = np.ndarray[Any, np.dtype[Any]]
Draw = Callable[[np.random.Generator, Storage], Array]


def _uniform(limit: float, rng: np.random.Generator, storage: Storage) -> Array:
    return rng.uniform(-limit, limit, storage.shape)


def _normal(deviation: float, rng: np.random.Generator, storage: Storage) -> Array:
    return rng.normal(0.0, deviation, storage.shape)


def _orthogonal(rng: np.random.Generator, storage: Storage) -> Array:
    """Orthonormal rows, or columns where there are more rows; the first axis is the rows."""
    rows = storage.shape[0] if storage.shape else 1
    drawn = rng.normal(size=(rows, max(1, int(np.prod(storage.shape[1:], dtype=np.int64)))))
    wide = drawn.shape[0] < drawn.shape[1]
    basis, triangle = np.linalg.qr(drawn.T if wide else drawn)
    # Signs from the triangle make the draw uniform over all such matrices (Mezzadri 2007).
    basis = basis * np.where(np.diag(triangle) < 0, -1.0, 1.0)
    return np.asarray(basis.T if wide else basis).reshape(storage.shape)


INITIALISERS: dict[str, tuple[str, Draw]] = {
    "zeros": ("all 0", lambda rng, s: np.zeros(s.shape)),
    "ones": ("all 1", lambda rng, s: np.ones(s.shape)),
    "constant": ("all the given number", lambda rng, s: np.full(s.shape, s.init.arguments[0])),
    "normal": (
        "normal with given mean and deviation",
        lambda rng, s: rng.normal(s.init.arguments[0], s.init.arguments[1], s.shape),
    ),
    "uniform": (
        "uniform between two numbers",
        lambda rng, s: rng.uniform(s.init.arguments[0], s.init.arguments[1], s.shape),
    ),
    "glorot_uniform": (
        "uniform, variance 2 / (fan in + fan out) (Glorot and Bengio 2010)",
        lambda rng, s: _uniform(np.sqrt(6.0 / sum(s.fans)), rng, s),
    ),
    "glorot_normal": (
        "normal, variance 2 / (fan in + fan out) (Glorot and Bengio 2010)",
        lambda rng, s: _normal(np.sqrt(2.0 / sum(s.fans)), rng, s),
    ),
    "he_uniform": (
        "uniform, variance 2 / fan in (He et al. 2015)",
        lambda rng, s: _uniform(np.sqrt(6.0 / s.fans[0]), rng, s),
    ),
    "he_normal": (
        "normal, variance 2 / fan in (He et al. 2015)",
        lambda rng, s: _normal(np.sqrt(2.0 / s.fans[0]), rng, s),
    ),
    "lecun_uniform": (
        "uniform, variance 1 / fan in (LeCun et al. 1998)",
        lambda rng, s: _uniform(np.sqrt(3.0 / s.fans[0]), rng, s),
    ),
    "lecun_normal": (
        "normal, variance 1 / fan in (LeCun et al. 1998)",
        lambda rng, s: _normal(np.sqrt(1.0 / s.fans[0]), rng, s),
    ),
    "orthogonal": ("orthonormal rows or columns (Saxe et al. 2014)", _orthogonal),
}


def initial(storage: Storage, seed: int) -> Array:
    """float64 numbers in the storage's shape, the same for the same seed and name."""
    digest = hashlib.sha256(storage.id.encode()).digest()
    words = np.frombuffer(digest, "<u4").tolist()
    rng = np.random.default_rng([seed, *words])
    return np.asarray(INITIALISERS[storage.init.name][1](rng, storage), np.float64)
