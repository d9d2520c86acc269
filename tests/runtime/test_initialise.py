"""Initial numbers: their distributions, and that each storage has a stream of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tiedgraph.ir.graph import Init, Storage
from tiedgraph.passes.sharing import INITS
from tiedgraph.runtime.initialise import INITIALISERS, initial

FANS = (300, 100)
SHAPE = (200, 300)

# Name and arguments, then mean, deviation and the largest distance from the mean.
EXPECTED = {
    ("zeros", ()): (0, 0, 0),
    ("ones", ()): (1, 0, 0),
    ("constant", (0.25,)): (0.25, 0, 0),
    ("normal", (2.0, 0.5)): (2, 0.5, math.inf),
    ("uniform", (-1.0, 3.0)): (1, 4 / math.sqrt(12), 2),
    ("glorot_uniform", ()): (0, math.sqrt(2 / 400), math.sqrt(6 / 400)),
    ("glorot_normal", ()): (0, math.sqrt(2 / 400), math.inf),
    ("he_uniform", ()): (0, math.sqrt(2 / 300), math.sqrt(6 / 300)),
    ("he_normal", ()): (0, math.sqrt(2 / 300), math.inf),
    ("lecun_uniform", ()): (0, math.sqrt(1 / 300), math.sqrt(3 / 300)),
    ("lecun_normal", ()): (0, math.sqrt(1 / 300), math.inf),
    ("orthogonal", ()): (0, math.sqrt(1 / 300), math.inf),
}


@pytest.mark.parametrize(("name", "arguments"), EXPECTED)
def test_distributions(name: str, arguments: tuple[float, ...]) -> None:
    mean, deviation, most = EXPECTED[name, arguments]
    found = initial(Storage("c1.weight", SHAPE, Init(name, arguments), fans=FANS), 0)
    assert found.shape == SHAPE
    assert found.dtype == np.float64
    assert found.mean() == pytest.approx(mean, abs=5 * deviation / math.sqrt(found.size))
    assert found.std() == pytest.approx(deviation, rel=0.02)
    assert np.abs(found - mean).max() <= most


def test_the_language_knows_the_same_names() -> None:
    assert set(INITIALISERS) == set(INITS) == {name for name, _ in EXPECTED}


def test_the_stream_belongs_to_seed_and_name() -> None:
    def draw(name: str, seed: int) -> np.ndarray:
        return initial(Storage(name, (4, 3), Init("normal", (0.0, 1.0))), seed)

    assert np.array_equal(draw("a.weight", 1), draw("a.weight", 1))
    assert not np.array_equal(draw("a.weight", 1), draw("b.weight", 1))
    assert not np.array_equal(draw("a.weight", 1), draw("a.weight", 2))
    # Runs of one seed stay comparable between versions.
    assert draw("a.weight", 1)[0, 0] == pytest.approx(STREAM)


STREAM = -0.49646120848695274


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 2, 3), (7,), (1, 1), (6, 6)])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...]) -> None:
    found = initial(Storage("w", shape, Init("orthogonal")), 3)
    assert found.shape == shape
    flat = found.reshape(shape[0], -1)
    product = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    assert np.allclose(product, np.eye(len(product)), atol=1e-12)
