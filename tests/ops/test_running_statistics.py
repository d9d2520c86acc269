"""The running mean and variance of batch_norm: moved by training steps, read everywhere else."""

from __future__ import annotations

import numpy as np
import pytest

import tiedgraph as tg

MODEL = """
input x: float[3, time]
target y: class[2]
n = batch_norm(x, momentum=0.25)
logits = dense(mean(n, over=time), 2)
output normal = n
loss cross_entropy(logits, y)
train { optimizer = sgd(rate=0.1) }
"""
LENGTHS = np.array([4, 2, 5] * 7)


@pytest.fixture
def batch() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(2.0, 3.0, size=(len(LENGTHS), 3, 5))
    for sample, length in zip(x, LENGTHS, strict=True):
        sample[:, length:] = 0.0
    y = random.integers(2, size=len(LENGTHS))
    return {"x": x, "x.length": LENGTHS, "y": y}


def test_a_step_moves_them_by_momentum(batch: dict[str, np.ndarray]) -> None:
    model = tg.compile_text(MODEL, dtype="float64")
    model.step(**batch)
    valid = np.concatenate([x[:, :n] for x, n in zip(batch["x"], LENGTHS, strict=True)], axis=1)
    np.testing.assert_allclose(model.parameters["n.mean"], 0.25 * valid.mean(axis=1), rtol=1e-12)
    expected = 0.75 + 0.25 * valid.var(axis=1, ddof=1)
    np.testing.assert_allclose(model.parameters["n.variance"], expected, rtol=1e-12)


def test_only_a_step_moves_them(batch: dict[str, np.ndarray]) -> None:
    model = tg.compile_text(MODEL, dtype="float64")
    model.value_and_grad(**batch)
    model.loss(**batch)
    model.predict(**{name: array for name, array in batch.items() if name != "y"})
    np.testing.assert_array_equal(model.parameters["n.mean"], np.zeros(3))
    np.testing.assert_array_equal(model.parameters["n.variance"], np.ones(3))


def test_prediction_reads_them(batch: dict[str, np.ndarray]) -> None:
    model = tg.compile_text(MODEL, dtype="float64")
    for _ in range(3):
        model.step(**batch)
    given = {name: array for name, array in batch.items() if name != "y"}
    found = model.predict(**given)["normal"]
    read = {name: model.parameters[f"n.{name}"][:, None] for name in ("mean", "variance")}
    read |= {name: model.parameters[f"n.{name}"][:, None] for name in ("gain", "bias")}
    for x, y, length in zip(batch["x"], found, LENGTHS, strict=True):
        standard = (x[:, :length] - read["mean"]) / np.sqrt(read["variance"] + 1e-5)
        expected = read["gain"] * standard + read["bias"]
        np.testing.assert_allclose(y[:, :length], expected, rtol=1e-11, atol=1e-11)
