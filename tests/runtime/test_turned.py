"""Copies of parameters in another order: what they hold, and that steps read them anew."""

from __future__ import annotations

import numpy as np
import pytest

import tiedgraph as tg
from tiedgraph.codegen import kernels
from tiedgraph.ops import convolution, linear
from tiedgraph.ops.rules import ParamBuffer
from tiedgraph.runtime.program import address_of, aligned
from tiedgraph.runtime.turned import turn

DENSE = """
input x: float[256]
a = dense(x, 256) |> tanh
b = dense(a, 256) |> tanh
c = dense(b, 256)
tie hard c.weight = transpose(b.weight)
loss mse(c, x)
train { optimizer = sgd(rate=0.5, momentum=0.9) }
"""
WINDOWS = """
input x: float[2, 70]
h = conv1d(x, 128, window=3) |> relu
y = conv1d(h, 128, window=2, dilation=2) |> relu
z = conv1d(y, 2, window=3, pad=same)
tie hard y.weight by circulant
loss mse(sum(z, over=1), sum(x, over=1))
train { optimizer = sgd(rate=0.001) }
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((40, 37), (1, 40), 5),  # squares of lanes, and what is left beside them
        ((3, 5, 33), (5, 1, 15), 0),  # axes that one stride passes
        ((4, 3, 20), (3, -1, 12), 2),  # a window read backwards
        ((1, 7), (0, 2), 1),
        ((60, 400), (1, 60), 0),  # several pieces
    ],
)
def test_a_copy_in_another_order(
    shape: tuple[int, ...], strides: tuple[int, ...], offset: int, threads: int, dtype: str
) -> None:
    count = int(np.prod(shape))
    whole = aligned(2 * count + 64, dtype)
    whole[:] = np.arange(len(whole))
    before = -(-count // 16) * 16
    source, numbers = ParamBuffer(offset, shape, strides), whole[before:]
    item = whole.itemsize
    expected = np.lib.stride_tricks.as_strided(
        numbers[offset:], shape, [step * item for step in strides]
    ).copy()
    kept: list[np.ndarray] = []
    for jobs in turn({source: -before}, dtype, address_of(whole) + before * item, threads, kept):
        for entry, *arguments in reversed(jobs):
            kernels.at(entry)(*arguments)
    np.testing.assert_array_equal(whole[:count].reshape(shape), expected)


@pytest.mark.parametrize("text", [DENSE, WINDOWS], ids=["dense", "windows"])
@pytest.mark.parametrize("samples", [3, 40])
def test_steps_have_the_same_bits_with_and_without(
    text: str, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = (samples, 256) if text is DENSE else (samples, 2, 70)
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    found, copied = [], []
    for threads in (1, 2, 3, 0):
        if not threads:
            for module in (linear, convolution):
                monkeypatch.setattr(module, "crowded", lambda *told: False)
        made = tg.compile_text(text, threads=threads or 1, seed=1)
        for _ in range(3):
            made.step(x=x)
        found.append(made.numbers.array[: made.numbers.plan.size].tobytes())
        copied.append(made.program("train").latest.before)
    assert found == found[:1] * 4
    assert copied[0]
    assert not copied[-1]
