"""Recurrent layers and ctc give what PyTorch gives, where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tiedgraph as tg
from tiedgraph.gradients import random_batch

CHANNELS, UNITS, STEPS, SAMPLES = 3, 5, 8, 4
LENGTHS = np.array([8, 3, 1, 6])
TEXT = """
input x: float[3, time]
h = {layer}
output made = h
loss mean(square(h))
"""
BLANK_LAST = """
input x: float[4, time]
target spelt: class[5, letters]
scores = conv1d(x, 6, window=1)
loss ctc(scores, spelt)
"""


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("layer", "name"), [("rnn(x, 5)", "RNN"), ("gru(x, 5)", "GRU"), ("lstm(x, 5)", "LSTM")]
)
def test_recurrent(torch: Any, layer: str, name: str, reverse: bool) -> None:
    if reverse:
        layer = layer.replace(")", ", reverse=true)")
    model = tg.compile_text(TEXT.format(layer=layer), dtype="float64", seed=1)
    rng = np.random.default_rng(0)
    model.set({n: rng.normal(0, 0.4, a.shape) for n, a in model.free.items()})
    x = rng.normal(size=(SAMPLES, CHANNELS, STEPS))
    p = {n.removeprefix("h."): torch.tensor(a) for n, a in model.parameters.items()}
    net = getattr(torch.nn, name)(CHANNELS, UNITS, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        net.weight_ih_l0.copy_(p["weight"])
        net.weight_hh_l0.copy_(p["recurrent"])
        net.bias_ih_l0.copy_(p["bias"])
        net.bias_hh_l0.zero_()
        if name == "GRU":
            net.bias_hh_l0[2 * UNITS :] = p["recurrent_bias"]
    made = model.predict(x=x, **{"x.length": LENGTHS})["made"]
    loss, gradients = model.value_and_grad(x=x, **{"x.length": LENGTHS})
    total = 0
    for n, steps in enumerate(LENGTHS):
        given = torch.tensor(x[n, :, :steps].T)
        out, _ = net((given.flip(0) if reverse else given)[None])
        out = out[0].flip(0) if reverse else out[0]
        assert made[n, :, :steps] == pytest.approx(out.T.detach().numpy(), abs=1e-12)
        total = total + out.square().mean() / SAMPLES
    total.backward()
    assert loss == pytest.approx(float(total.detach()))
    for mine, theirs in (("weight", net.weight_ih_l0), ("recurrent", net.weight_hh_l0)):
        assert gradients[f"h.{mine}"] == pytest.approx(theirs.grad.numpy(), abs=1e-12)


def test_ctc(torch: Any) -> None:
    model = tg.compile_text(BLANK_LAST, dtype="float64", seed=1)
    rng = np.random.default_rng(0)
    x, spelt = rng.normal(size=(SAMPLES, 4, STEPS)), rng.integers(0, 5, (SAMPLES, 3))
    spelt[0] = 2, 2, 2
    steps, letters = np.array([8, 7, 4, 6]), np.array([3, 2, 1, 3])
    arrays = {"x": x, "x.length": steps, "spelt": spelt, "spelt.length": letters}
    loss, gradients = model.value_and_grad(**arrays)
    weight = torch.tensor(model.parameters["scores.weight"], requires_grad=True)
    scores = torch.nn.functional.conv1d(torch.tensor(x), weight)
    logs = scores.permute(2, 0, 1).log_softmax(2)
    found = torch.nn.functional.ctc_loss(
        logs,
        torch.tensor(spelt),
        torch.tensor(steps),
        torch.tensor(letters),
        blank=5,
        reduction="sum",
    )
    (found / SAMPLES).backward()
    assert loss == pytest.approx(float(found.detach()) / SAMPLES)
    assert gradients["scores.weight"] == pytest.approx(weight.grad.numpy(), abs=1e-10)


def test_labels_that_do_not_fit_have_an_infinite_loss() -> None:
    model = tg.compile_text(BLANK_LAST, seed=1)
    x = np.zeros((3, 4, 3), np.float32)
    spelt = np.array([[1, 2, 3], [1, 2, 3], [1, 1, 0]])
    letters = {"x.length": np.array([3, 3, 2]), "spelt.length": np.array([3, 3, 2])}
    loss, gradients = model.value_and_grad(x=x, spelt=spelt, **letters)
    assert loss == np.inf
    assert all(np.isfinite(g).all() for g in gradients.values())


def test_random_labels_fit() -> None:
    model = tg.compile_text(BLANK_LAST, dtype="float64", seed=1)
    assert np.isfinite(model.loss(**random_batch(model.checked, 0, 9)))
