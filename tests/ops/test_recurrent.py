"""Recurrent layers go back in blocks of steps; where these end changes sums by rounding alone."""

from __future__ import annotations

import numpy as np
import pytest

import tiedgraph as tg
from tiedgraph.ops import recurrent_rows

TEXT = """
input x: float[3, time]
h = {layer}
loss mean(square(h))
"""


@pytest.mark.parametrize("samples", [1, 9])
@pytest.mark.parametrize(
    "layer", ["lstm(x, 5)", "gru(x, 5, reverse=true)", "gru(x, 4, last=true)", "rnn(x, 5)"]
)
def test_blocks(layer: str, samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.normal(size=(samples, 3, 11)),
        "x.length": np.array([11, 1, 2, 3, 4, 6, 8, 9, 10][:samples]),
    }
    found = []
    for near in (recurrent_rows.NEAR, 4 * 3 * 5 * 8, 1):
        monkeypatch.setattr(recurrent_rows, "NEAR", near)
        model = tg.compile_text(TEXT.format(layer=layer), dtype="float64", seed=1, threads=1)
        _, gradients = model.value_and_grad(**arrays)
        found.append(np.concatenate([g.reshape(-1) for g in gradients.values()]))
    assert np.abs(found[0]).max() > 0
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-9, atol=1e-15)
