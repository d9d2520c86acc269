"""Steps on batches like the one before, which go a shorter way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tiedgraph as tg
from tiedgraph.diagnostics import DataError, RunError

TEXT = """
input x: float[6]
target t: class[4]
target y: float[3]
h = dense(x, 5) |> tanh
a = dense(h, 4)
b = dense(h, 3)
loss cross_entropy(a, t)
loss mse(b, y)
train { optimizer = sgd(rate=0.1, momentum=0.9), warmup = 3 }
"""
Arrays = dict[str, Any]


def batch(samples: int, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        "x": rng.standard_normal((samples, 6)).astype(np.float32),
        "t": rng.integers(0, 4, samples),
        "y": rng.standard_normal((samples, 3)).astype(np.float32),
    }


def weights(model: tg.Model) -> np.ndarray[Any, Any]:
    return np.concatenate([a.reshape(-1) for a in model.free.values()])


def long_way(model: tg.Model, arrays: Arrays) -> float:
    """The same step as if it were the first of its kind."""
    model.program("train")._known = None
    return model.step(**arrays)


@pytest.mark.parametrize("samples", [1, 16, 100])
def test_a_short_step_is_the_long_one(samples: int) -> None:
    models = [tg.compile_text(TEXT, batch=samples) for _ in range(2)]
    for seed in range(6):
        arrays = batch(samples, seed)
        assert models[0].step(**arrays) == long_way(models[1], arrays)
    assert (weights(models[0]) == weights(models[1])).all()


def test_steps_like_the_one_before_go_the_short_way() -> None:
    model = tg.compile_text(TEXT, batch=4)
    program = model.program("train")
    model.step(**batch(4))
    known = program._known
    model.step(**batch(4, 1))
    assert known is not None
    assert program._known is known
    for other in (batch(3), {**batch(4), "x": batch(4)["x"].astype(np.float64)}):
        model.step(**other)
        assert program._known is not known


def test_contents_that_change_in_place_are_read_anew() -> None:
    models = [tg.compile_text(TEXT, batch=4) for _ in range(2)]
    arrays = batch(4)
    for seed in range(4):
        for name, array in batch(4, seed).items():
            arrays[name][...] = array
        assert models[0].step(**arrays) == long_way(models[1], batch(4, seed))


def _changed(**new: Any) -> Arrays:
    return {**batch(4), **new}


WRONG = {
    "label too large": _changed(t=np.array([0, 1, 2, 4])),
    "label below zero": _changed(t=np.array([0, -1, 2, 3])),
    "sizes": _changed(x=np.zeros((4, 7), np.float32)),
    "samples": _changed(y=np.zeros((3, 3), np.float32)),
    "one number": _changed(y=np.float32(0)),
    "missing": {name: array for name, array in batch(4).items() if name != "y"},
    "too many": _changed(z=np.zeros(4, np.float32)),
    "text": _changed(x=np.full((4, 6), "a")),
}


@pytest.mark.parametrize("arrays", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_as_in_a_first_step(arrays: Arrays) -> None:
    model, fresh = (tg.compile_text(TEXT, batch=4) for _ in range(2))
    for _ in range(2):
        model.step(**batch(4))
    before = weights(model)
    with pytest.raises(DataError) as expected:
        fresh.step(**arrays)
    with pytest.raises(DataError) as found:
        model.step(**arrays)
    assert str(found.value) == str(expected.value)
    assert (weights(model) == before).all()
    model.step(**batch(4))


OTHER = {
    "not contiguous": _changed(x=np.asfortranarray(batch(4)["x"])),
    "doubles": _changed(x=batch(4)["x"].astype(np.float64)),
    "a list": _changed(t=batch(4)["t"].tolist()),
    "other integers": _changed(t=batch(4)["t"].astype(np.uint8)),
    "floats for labels": _changed(t=batch(4)["t"].astype(np.float32)),
    "read only": _changed(x=np.frombuffer(batch(4)["x"].tobytes(), np.float32).reshape(4, 6)),
    "every second label": _changed(t=np.repeat(batch(4)["t"], 2)[::2]),
}


@pytest.mark.parametrize("arrays", OTHER.values(), ids=OTHER)
def test_arrays_of_another_form_give_the_same_step(arrays: Arrays) -> None:
    model, fresh = (tg.compile_text(TEXT, batch=4) for _ in range(2))
    for _ in range(2):
        model.step(**batch(4, 5))
        fresh.step(**batch(4, 5))
    assert model.step(**arrays) == long_way(fresh, batch(4))
    assert (weights(model) == weights(fresh)).all()


@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize("samples", [1, 4])
def test_a_step_that_is_not_finite_moves_nothing_and_leaves_nothing(
    name: str, samples: int
) -> None:
    model, fresh = (tg.compile_text(TEXT, batch=samples) for _ in range(2))
    for each in (model, fresh):
        each.step(**batch(samples))
        each.step(**batch(samples))
    bad = batch(samples)
    bad[name][-1, 1] = np.nan
    before = weights(model)
    with pytest.raises(RunError, match="the loss is"):
        model.step(**bad)
    assert (weights(model) == before).all()
    assert model.step(**batch(samples, 1)) == fresh.step(**batch(samples, 1))
    assert (weights(model) == weights(fresh)).all()


@pytest.mark.parametrize("samples", [1, 4])
def test_a_gradient_that_is_not_finite_is_named(samples: int) -> None:
    text = "input x: float[2]\ny = dense(x, 2)\nloss mse(y, x)\ntrain { optimizer = sgd(rate=1) }"
    model = tg.compile_text(text, batch=samples)
    fine, large = (np.full((samples, 2), size, np.float32) for size in (1.0, 1e15))
    model.step(x=fine)
    before = weights(model)
    with pytest.raises(RunError, match=r"gradient of 'y\.weight' is"):
        model.step(x=large)
    _, gradient = model.value_and_grad(x=0 * fine)
    assert (weights(model) == before).all()
    assert not gradient["y.weight"].any()


@pytest.mark.parametrize("samples", [1, 40])
def test_a_step_moves_by_the_gradient(samples: int) -> None:
    model = tg.compile_text(TEXT.replace("momentum=0.9", "momentum=0"), batch=samples)
    for seed in range(3):
        arrays, before = batch(samples, seed), model.free
        loss, gradient = model.value_and_grad(**arrays)
        rate = np.float32(0.1 * (seed + 1) / 3)
        assert model.step(**arrays) == loss
        for name, array in model.free.items():
            assert (array == before[name] - rate * gradient[name]).all()


def test_memory_that_grew_is_seen() -> None:
    model, fresh = (tg.compile_text(TEXT, batch=4) for _ in range(2))
    model.step(**batch(4))
    model.loss(**batch(300))
    model.value_and_grad(**batch(300))
    fresh.step(**batch(4))
    assert model.step(**batch(4, 1)) == fresh.step(**batch(4, 1))
    assert (weights(model) == weights(fresh)).all()
