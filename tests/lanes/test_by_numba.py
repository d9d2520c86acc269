"""All rows of some programs, by the project's machine code and by Numba's: the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from by_numba import entry

import tiedgraph as tg
from tiedgraph.codegen import kernels
from tiedgraph.runtime.program import address_of, aligned

LENET = Path(__file__).parents[2] / "examples/lenet5/lenet5.tie"
SEQUENCES = """
input x: float[6, time]
target y: class[4]
a = conv1d(x, 8, window=3, pad=same) |> relu
b = dropout(a, 0.25)
c = gru(b, 5)
d = softmax(layer_norm(max(c, over=time)))
e = dense(d, 4)
loss cross_entropy(e, y)
train { optimizer = sgd(rate=0.1) }
"""


def lenet(samples: int) -> tuple[tg.Model, dict[str, Any]]:
    rng = np.random.default_rng(samples)
    image = rng.random((samples, 1, 28, 28), np.float32)
    return tg.compile(LENET), {"image": image, "label": rng.integers(0, 10, samples)}


def sequences(samples: int) -> tuple[tg.Model, dict[str, Any]]:
    rng = np.random.default_rng(samples)
    x = rng.normal(size=(samples, 6, 20)).astype(np.float32)
    lengths = rng.integers(5, 21, samples)
    return tg.compile_text(SEQUENCES), {
        "x": x,
        "x.length": lengths,
        "y": rng.integers(0, 4, samples),
    }


@pytest.mark.parametrize("samples", [1, 20])
@pytest.mark.parametrize("made", [lenet, sequences])
def test_the_same_bits_as_by_numba(made: Any, samples: int) -> None:
    model, batch = made(samples)
    model.step(**batch)
    program = model.program("train")
    tape = program.latest
    found = {}
    memory = [program.arena_of(tape), program.numbers.array, np.zeros(tape.stride, np.float32)]
    for row, (_, at) in zip(tape.rows, tape.table, strict=True):
        key = (row.kernel, row.lanes)
        found[key] = found.get(key) or entry(row.kernel, "float32", row.lanes)
        results = []
        for run in (found[key], kernels.entry(row.kernel, "float32", row.lanes)):
            own = [aligned(part.size, "float32") for part in memory]
            for place, part in zip(own, memory, strict=True):
                place[:] = part
            run(*map(address_of, own), address_of(tape.operands) + 8 * int(at))
            results.append(own)
        for ours, theirs in zip(*results, strict=True):
            assert ours.tobytes() == theirs.tobytes(), (row.node, row.kernel.name, row.lanes)
        memory = results[0]
