"""Few samples: other tiles, the same results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tiedgraph as tg

TEXT = """
input x: float[3, time]
target y: class[4]
a = conv1d(x, 6, window=3) |> tanh
b = lstm(a, 5)
o = dense(mean(b, over=time), 4)
output made = o
loss cross_entropy(o, y)
train { optimizer = sgd(rate=0.1, momentum=0.9) }
"""


def batch(samples: int) -> dict[str, Any]:
    rng = np.random.default_rng(samples)
    return {
        "x": rng.normal(size=(samples, 3, 9)).astype(np.float32),
        "x.length": rng.integers(3, 10, samples),
        "y": rng.integers(0, 4, samples),
    }


@pytest.mark.parametrize("samples", [1, 2, 5, 8, 12, 16, 20])
def test_the_same_bits_for_any_number_of_threads(samples: int) -> None:
    found = []
    for threads in (1, 2, 3):
        model = tg.compile_text(TEXT, threads=threads, seed=1)
        losses = [model.step(**batch(samples)) for _ in range(3)]
        found.append((losses, {n: a.tobytes() for n, a in model.free.items()}))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("samples", [1, 3, 8, 12])
def test_as_in_a_whole_batch(samples: int) -> None:
    model = tg.compile_text(TEXT, seed=1)
    given = batch(samples)
    inputs = {n: a for n, a in given.items() if n != "y"}
    few = model.predict(**inputs)["made"]
    again = {n: np.concatenate([a] * 40) for n, a in inputs.items()}
    many = model.predict(**again)["made"][:samples]
    assert few == pytest.approx(many, abs=1e-6)


def test_the_last_batch_runs_like_the_others() -> None:
    model = tg.compile_text(TEXT, seed=1)
    model.train_batch(batch(64), 0.1, 0.0, 64)
    tapes = []
    for like in (0, 64):
        model.train_batch(batch(3), 0.1, 0.0, like)
        tapes.append(model.program("train").latest.lanes)
    assert tapes == [8, 16]


def test_few_samples_along_time_have_tiles_of_their_own() -> None:
    text = TEXT.replace("b = lstm(a, 5)", "b = a")
    model = tg.compile_text(text, seed=1)
    lanes = {}
    for samples in (1, 8, 9, 17):
        model.step(**batch(samples))
        lanes[samples] = model.program("train").latest.lanes
    assert lanes == {1: 1, 8: 1, 9: 8, 17: 16}


LARGER = """
input x: float[3, 20, 20]
target y: class[4]
a = conv2d(x, 13, window=5, pad=2) |> tanh
b = conv2d(a, 8, window=3, stride=2) |> tanh
c = dense(b, 150) |> relu
o = dense(c, 4)
loss cross_entropy(o, y)
train { optimizer = sgd(rate=0.1, momentum=0.9) }
"""


def test_two_threads_share_the_rows_of_one_sample() -> None:
    rng = np.random.default_rng(0)
    given = {"x": rng.normal(size=(1, 3, 20, 20)).astype(np.float32), "y": np.array([2])}
    found = []
    for threads in (1, 2, 3):
        model = tg.compile_text(LARGER, threads=threads, seed=1)
        losses = [model.step(**given) for _ in range(3)]
        found.append((losses, {n: a.tobytes() for n, a in model.free.items()}))
    assert found[0] == found[1] == found[2]
    tape = model.program("train").latest
    shared = [{row.node for row in tape.rows[fork.first : fork.last]} for fork in tape.forks]
    assert all(len(nodes) == 1 for nodes in shared)
    assert {"a.conv2d", "d(b.conv2d)"} <= set().union(*shared)
    for fork in tape.forks:
        branches = [row.branch for row in tape.rows[fork.first : fork.last]]
        assert branches == [1] * (fork.cut - fork.first) + [2] * (fork.last - fork.cut)
