"""Optimisers against their formulas in NumPy; for a tie, one number makes one step."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tiedgraph as tg
from tiedgraph.compiler import check_text
from tiedgraph.gradients import random_batch
from tiedgraph.runtime.optim import rate_at

MODEL = """
input x: float[6]
target t: float[6]
a = dense(x, 6) |> tanh
b = dense(a, 6) |> tanh
c = dense(b, 6) |> tanh
spare = dense(x, 3)
tie hard b.weight = transpose(a.weight)
tie hard b.bias = negate(a.bias)
tie hard c.weight by circulant
freeze c.bias
y = c + b
output extra = spare
loss mse(y, t)
train { optimizer = OPTIMIZER, decay = DECAY, clip = CLIP }
"""


def sgd(w, g, s, t, rate=0.1, momentum=0.0, nesterov=False):
    if not momentum:
        return w - rate * g
    s["v"] = momentum * s.get("v", 0.0) + g
    return w - rate * (g + momentum * s["v"] if nesterov else s["v"])


def adam(w, g, s, t, rate=0.1, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.0):
    w = w * (1 - rate * decay)
    s["m"] = beta1 * s.get("m", 0.0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0.0) + (1 - beta2) * g * g
    mean, square = s["m"] / (1 - beta1**t), s["v"] / (1 - beta2**t)
    return w - rate * mean / (np.sqrt(square) + epsilon)


def rmsprop(w, g, s, t, rate=0.1, rho=0.9, momentum=0.0, epsilon=1e-8):
    s["v"] = rho * s.get("v", 0.0) + (1 - rho) * g * g
    move = g / (np.sqrt(s["v"]) + epsilon)
    if not momentum:
        return w - rate * move
    s["b"] = momentum * s.get("b", 0.0) + move
    return w - rate * s["b"]


CASES = {
    "sgd(rate=0.1)": (sgd, {}),
    "sgd(rate=0.1, momentum=0.9)": (sgd, {"momentum": 0.9}),
    "sgd(rate=0.1, momentum=0.9, nesterov=true)": (sgd, {"momentum": 0.9, "nesterov": True}),
    "adam(rate=0.1)": (adam, {}),
    "adam(rate=0.1, beta1=0.8, beta2=0.99, epsilon=0.001)": (
        adam,
        {"beta1": 0.8, "beta2": 0.99, "epsilon": 1e-3},
    ),
    "adamw(rate=0.1, decay=0.2)": (adam, {"decay": 0.2}),
    "rmsprop(rate=0.1)": (rmsprop, {}),
    "rmsprop(rate=0.1, momentum=0.5)": (rmsprop, {"momentum": 0.5}),
}


def compiled(optimizer: str, decay: float = 0.0, clip: float = 1e9, **options) -> tg.Model:
    text = MODEL.replace("OPTIMIZER", optimizer).replace("decay = DECAY", f"decay = {decay!r}")
    if "adamw" in optimizer:
        text = text.replace("decay = 0.0, ", "")
    return tg.compile_text(text.replace("CLIP", f"{clip!r}"), seed=4, **options)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("optimizer", CASES)
def test_ten_steps_follow_the_formula(optimizer: str, dtype: str) -> None:
    """Also with decay and clipping: each owner counts once in both, however often it is used."""
    formula, options = CASES[optimizer]
    decay = 0.0 if "decay" in options else 0.01  # adamw has one of its own
    model = compiled(optimizer, decay=decay, clip=0.3, dtype=dtype)
    frozen = {"c.bias", "spare.weight", "spare.bias"}
    expected = {name: array.astype(np.float64) for name, array in model.free.items()}
    slots: dict[str, dict] = {name: {} for name in expected}
    for t in range(1, 11):
        batch = random_batch(model.checked, seed=t, samples=20)
        _, gradients = model.value_and_grad(**batch)
        assert set(gradients) == set(expected) - frozen
        norm = math.sqrt(sum(float(np.sum(g.astype(np.float64) ** 2)) for g in gradients.values()))
        shrink = min(1.0, 0.3 / norm)
        model.step(**batch)
        for name, gradient in gradients.items():
            w = expected[name]
            total = gradient.astype(np.float64) * shrink + decay * w
            expected[name] = formula(w, total, slots[name], t, **options)
        for name, array in model.free.items():
            tolerance = 1e-10 if dtype == "float64" else 2e-5
            assert np.allclose(array, expected[name], rtol=tolerance, atol=tolerance), (name, t)
            expected[name] = array.astype(np.float64)


@pytest.mark.parametrize("optimizer", CASES)
def test_members_stay_tied_bit_for_bit(optimizer: str) -> None:
    model = compiled(optimizer)
    for t in range(25):
        model.step(**random_batch(model.checked, seed=t, samples=7))
    found = model.parameters
    assert np.array_equal(found["b.weight"], found["a.weight"].T)
    assert np.array_equal(found["b.bias"], -found["a.bias"])
    rows = found["c.weight"]
    assert all(np.array_equal(rows[i], np.roll(rows[0], i)) for i in range(6)) or all(
        np.array_equal(rows[:, i], np.roll(rows[:, 0], i)) for i in range(6)
    )
    assert model.free["c.weight"].shape == (6,)


def test_what_no_loss_reaches_gets_no_update_and_no_decay() -> None:
    model = compiled("adamw(rate=0.1, decay=0.5)")
    before = model.free
    for t in range(3):
        model.step(**random_batch(model.checked, seed=t, samples=7))
    after = model.free
    for name in ("spare.weight", "spare.bias", "c.bias"):
        assert np.array_equal(before[name], after[name])
    assert not np.array_equal(before["a.weight"], after["a.weight"])
    text = MODEL.replace("OPTIMIZER", "adam").replace("DECAY", "0").replace("CLIP", "1")
    told = [d for d in check_text(text).diagnostics.warnings if d.code == "W0001"]
    assert "spare.weight" in told[0].message


def test_as_torch_does() -> None:
    torch = pytest.importorskip("torch")
    made = {
        "sgd(rate=0.1, momentum=0.9, nesterov=true)": lambda p: torch.optim.SGD(
            p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01
        ),
        "adam(rate=0.1)": lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.01),
        "rmsprop(rate=0.1, momentum=0.5)": lambda p: torch.optim.RMSprop(
            p, 0.1, alpha=0.9, momentum=0.5, weight_decay=0.01
        ),
    }
    for optimizer, make in made.items():
        model = compiled(optimizer, decay=0.01, dtype="float64")
        owned = {
            name: torch.tensor(array, requires_grad=True)
            for name, array in model.free.items()
            if name in model.value_and_grad(**random_batch(model.checked, seed=0))[1]
        }
        peer = make(list(owned.values()))
        for t in range(5):
            batch = random_batch(model.checked, seed=t)
            for name, gradient in model.value_and_grad(**batch)[1].items():
                owned[name].grad = torch.tensor(gradient)
            model.step(**batch)
            peer.step()
        for name, tensor in owned.items():
            assert np.allclose(model.free[name], tensor.detach().numpy(), rtol=1e-9), optimizer


@pytest.mark.parametrize(
    ("train", "rates"),
    [
        ("optimizer = sgd(1)", [1, 1, 1, 1]),
        ("optimizer = sgd(1), warmup = 2", [0.5, 1, 1, 1]),
        ("optimizer = sgd(1), schedule = step(1, 0.5)", [1, 1, 0.5, 0.5]),
        ("optimizer = sgd(1), schedule = cosine(final=0.1), epochs = 2", [1, 0.775, 0.325, 0.1]),
        ("optimizer = sgd(1), schedule = cosine, warmup = 1, epochs = 2", [1, 1, 0.5, 0]),
    ],
)
def test_schedules(train: str, rates: list[float]) -> None:
    text = f"input x: float[2]\ny = dense(x, 2)\nloss mean(y)\ntrain {{ {train} }}"
    settings = tg.compile_text(text).settings
    found = [rate_at(settings, step, steps_per_epoch=2) for step in range(4)]
    assert found == pytest.approx(rates)


NORMED = """
input x: float[3]
target t: float[4]
a = dense(x, 4) |> norm: batch_norm()
y = a * a * a * a
loss mse(y, t)
train { optimizer = adam(rate=0.1) }
"""


@pytest.mark.parametrize(
    ("value", "told"),
    [(math.nan, "the loss is nan in step 1"), (math.inf, "the loss is nan in step 1")],
)
def test_a_loss_that_is_not_finite_changes_nothing(value: float, told: str) -> None:
    """Neither parameters nor running means nor the optimiser."""
    model = tg.compile_text(NORMED)
    x, t = np.ones((5, 3), np.float32), np.zeros((5, 4), np.float32)
    x[0] = 2
    model.step(x=x, t=t)
    before = model.snapshot()
    bad = x.copy()
    bad[3, 1] = value
    with pytest.raises(tg.RunError) as caught:
        model.step(x=bad, t=t)
    assert told in str(caught.value)
    after = model.snapshot()
    assert (before.steps, before.updates) == (after.steps, after.updates)
    for part in ("numbers", "slots"):
        kept, found = getattr(before, part), getattr(after, part)
        assert all(np.array_equal(kept[name], found[name]) for name in kept)


def test_a_gradient_that_is_not_finite_is_named_and_changes_nothing() -> None:
    text = """
        input x: float[1]
        a = dense(x, 1) |> sqrt
        loss mean(a)
        train { optimizer = sgd(1) }
    """
    model = tg.compile_text(text)
    model.set({"a.weight": [[1.0]], "a.bias": [0.0]})
    before = model.free
    with pytest.raises(tg.RunError, match=r"gradient of 'a\.\w+' is (inf|nan) in step 0"):
        model.step(x=[[0.0]])
    assert all(np.array_equal(before[name], array) for name, array in model.free.items())
    assert math.isfinite(model.step(x=[[1.0]]))
