"""Pointwise functions that a kernel applies before it stores: every op that offers it, does it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tile
from cases import Case, each_case, prepare

from tiedgraph.ops import BY_NAME, OPS

FUNCTIONS = ("tanh", "square")
TOLERANCE = {"float32": 3e-5, "float64": 1e-12}
FUSED = [item for item in each_case() if BY_NAME[item.values[0]].epilogue]


class Fused(tile.Tiles):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.epilogue = FUNCTIONS


def test_some_ops_take_part() -> None:
    with_cases = {item.values[0] for item in FUSED}
    assert {op.name for op in OPS if op.epilogue} == with_cases
    assert {"subsample", "scale", "tanh"} <= with_cases


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "case"), FUSED)
def test_epilogue(name: str, case: Case, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile, "Tiles", Fused)
    prepared, random = prepare(name, case), np.random.default_rng(4)
    params = [p.astype(dtype).astype(float) for p in prepared.draw_params(random)]
    samples = [
        [x.astype(dtype).astype(float) for x in prepared.draw(random, lengths)]
        + prepared.draw_implicit(random, lengths, len(case.lengths))
        for lengths in case.lengths
    ]
    found = tile.run(prepared, dtype, samples, case.lengths, params, None).output
    for sample, lengths, output in zip(samples, case.lengths, found, strict=True):
        expected = np.asarray(prepared.op.forward(prepared.attrs, sample, params))
        for function in FUNCTIONS:
            expected = BY_NAME[function].forward(None, [expected], [])
        valid = tile.cut(output, prepared.bound(lengths))
        np.testing.assert_allclose(valid, expected, rtol=0, atol=TOLERANCE[dtype])
