"""What dropout leaves out: the share asked for, anew for each sample, whatever the padding."""

from __future__ import annotations

import numpy as np
import pytest

from tiedgraph.ir.types import Extent, Type
from tiedgraph.ops.dropout import DROPOUT, Dropout

TIME, WIDTH = Extent("time"), Extent("width")


def kept(rate: float, key: int, kind: Type, shape: tuple[int, ...]) -> np.ndarray:
    attrs = DROPOUT.settle(Dropout(rate), [kind])  # type: ignore[misc]
    return DROPOUT.forward(attrs, [np.ones(shape), np.asarray(float(key))], [])


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("key", [0, 1, 2**24 - 1])
def test_share_and_scale(rate: float, key: int) -> None:
    count = 20_000
    y = kept(rate, key, Type("float", (count,)), (count,))
    assert set(np.unique(y)) <= {0.0, 1.0 / (1.0 - rate)}
    deviation = np.sqrt(rate * (1 - rate) / count)
    assert abs(np.mean(y == 0) - rate) <= 4 * deviation


def test_samples_and_places_are_independent() -> None:
    kind = Type("float", (64, 64))
    masks = np.stack([kept(0.5, key, kind, (64, 64)) > 0 for key in range(200)])
    correlation = np.corrcoef(masks.reshape(200, -1))
    np.fill_diagonal(correlation, 0.0)
    assert np.abs(correlation).max() < 6 / 64
    everywhere = masks.mean(axis=0)  # each place, over the samples
    assert np.abs(everywhere - 0.5).max() < 6 * np.sqrt(0.25 / 200)


@pytest.mark.parametrize(
    ("kind", "short", "long"),
    [
        (Type("float", (3, TIME)), (3, 5), (3, 9)),
        (Type("float", (TIME, 3)), (5, 3), (9, 3)),
        (Type("float", (2, TIME, 2, WIDTH)), (2, 5, 2, 4), (2, 9, 2, 7)),
    ],
)
def test_longer_neighbours_change_nothing(
    kind: Type, short: tuple[int, ...], long: tuple[int, ...]
) -> None:
    region = tuple(slice(0, size) for size in short)
    alone, padded = kept(0.5, 11, kind, short), kept(0.5, 11, kind, long)
    np.testing.assert_array_equal(alone, padded[region])


def test_off_in_evaluation() -> None:
    kind = Type("float", (5,))
    attrs = DROPOUT.inference(DROPOUT.settle(Dropout(0.5), [kind]))  # type: ignore[misc]
    x = np.arange(5.0)
    np.testing.assert_array_equal(DROPOUT.forward(attrs, [x, np.asarray(7.0)], []), x)
