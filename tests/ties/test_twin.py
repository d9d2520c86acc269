"""Tied models beside their untied twins: gradients, training, and what happens only once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tied
from hypothesis import assume, given, settings
from tied import PARTS, SIZES, VIEWS, Statement, by, view

import tiedgraph as tg
from tiedgraph.compiler import check_text
from tiedgraph.gradients import check_gradients
from tiedgraph.ir.graph import Graph
from tiedgraph.model import Model

Array = np.ndarray[Any, np.dtype[Any]]
TRAIN = "\ntrain {{ optimizer = {} }}\n"


def through(child: str, parent: str, text: str) -> Statement:
    return view(child, parent, text, {**VIEWS, **PARTS}[text])


# One of each: strided and indexed views, index maps, parts, and ties in a circle.
MANY = [
    through("b", "a", "rotate90({})"),
    through("d", "a", "scale(transpose({}), -0.5)"),
    by("c", "hash(free=7, seed=2)"),
    through("e", "p", "transpose(slice({}, 4, 8))"),
    through("q", "p", "negate({})"),
]
CIRCLE = [
    through("b", "a", "flip({}, axis=0)"),
    through("b", "a", "flip({}, axis=1)"),
    by("e", "toeplitz"),
    through("c", "p", "slice({}, 0, 4)"),
    through("c", "p", "slice({}, 2, 6)"),
]


def model(ties: list[Statement], settings: str = "sgd(rate=0.1)", more: str = "") -> Model:
    text = tied.source(ties) + TRAIN.format(settings) + more
    return tg.compile_text(text, dtype="float64", seed=3, threads=1)


def batch(samples: int = 6) -> dict[str, Array]:
    rng = np.random.default_rng(5)
    return {"x": rng.standard_normal((samples, 4)), "t": rng.standard_normal((samples, 4))}


def flat(arrays: dict[str, Array]) -> Array:
    """Parameters of `SIZES` in one vector."""
    return np.concatenate([arrays[f"{name}.weight"].reshape(-1) for name in SIZES])


def free(graph: Graph, arrays: dict[str, Array]) -> Array:
    return np.concatenate([arrays[name].reshape(-1) for name in graph.storages])


def twin_of(one: Model) -> Model:
    """The same layers without ties, with the same numbers in them."""
    other = model([])
    other.set(one.parameters)
    return other


def close(found: Array, expected: Array, relative: float = 1e-12) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=relative * np.abs(expected).max())


@settings(max_examples=40)
@given(tied.statements)
def test_tied_gradient_is_the_twins_pulled_back(ties: list[Statement]) -> None:
    checked = check_text(tied.source(ties))
    assume(checked.graph is not None)
    compare(model(ties))


@pytest.mark.parametrize("ties", [MANY, CIRCLE, []])
def test_the_same_for_one_of_each(ties: list[Statement]) -> None:
    compare(model(ties))


def compare(one: Model) -> None:
    twin = twin_of(one)
    loss, gradient = one.value_and_grad(**batch())
    twin_loss, parts = twin.value_and_grad(**batch())
    assert loss == twin_loss
    reading = tied.readings(one.checked)
    close(free(one.checked, gradient), reading.T @ flat(parts))
    close(flat(one.parameters), reading @ free(one.checked, one.free))


@pytest.mark.parametrize("ties", [MANY, CIRCLE])
def test_finite_differences(ties: list[Statement]) -> None:
    for verdict in check_gradients(model(ties).checked):
        assert verdict.verdict == "right"
        assert verdict.difference_error < 1e-7
        assert verdict.twin_error < 1e-12


OPTIMIZERS = [
    "sgd(rate=0.05)",
    "sgd(rate=0.05, momentum=0.9, nesterov=true), decay = 0.01",
    "adam(rate=0.01), clip = 0.1",
    "adamw(rate=0.01, decay=0.1)",
    "rmsprop(rate=0.01, momentum=0.5)",
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("ties", [MANY, CIRCLE])
def test_values_stay_tied(ties: list[Statement], optimizer: str) -> None:
    one = model(ties, optimizer)
    before = flat(one.parameters)
    for _ in range(5):
        one.step(**batch())
    after = flat(one.parameters)
    assert np.all(np.isfinite(after))
    assert np.linalg.norm(after - before) > 1e-3
    solved = tied.solutions(ties)
    close(solved @ (solved.T @ after), after)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_numbers_step_once_however_often_they_are_read(optimizer: str) -> None:
    """Five layers share a matrix: one momentum, one decay, one term in the norm that clip sees."""
    ties = [view(name, "a", "{}", VIEWS["{}"]) for name in "bcde"]
    one = model(ties, optimizer)
    w = np.array(one.free["a.weight"])
    others = {name: one.free[name] for name in ("p.weight", "q.weight")}
    rule = Rule(optimizer, [w, others["p.weight"], others["q.weight"]])
    for _ in range(4):
        _, gradient = one.value_and_grad(**batch())
        expected = rule.step([gradient[name] for name in ("a.weight", "p.weight", "q.weight")])
        one.step(**batch())
        close(one.free["a.weight"], expected[0], 1e-10)
        close(one.free["p.weight"], expected[1], 1e-10)


class Rule:
    """The optimisers of `OPTIMIZERS` on a list of arrays, as their papers write them."""

    def __init__(self, text: str, arrays: list[Array]) -> None:
        self.text = text
        self.arrays = [array.copy() for array in arrays]
        self.first = [np.zeros_like(array) for array in arrays]
        self.second = [np.zeros_like(array) for array in arrays]
        self.count = 0

    def step(self, gradients: list[Array]) -> list[Array]:
        self.count += 1
        norm = np.sqrt(sum(float(np.sum(g * g)) for g in gradients))
        shrink = min(1.0, 0.1 / norm) if "clip" in self.text else 1.0
        for i, gradient in enumerate(gradients):
            self._one(i, gradient * shrink)
        return self.arrays

    def _one(self, i: int, g: Array) -> None:
        w, m, v = self.arrays[i], self.first[i], self.second[i]
        if self.text == OPTIMIZERS[0]:
            w -= 0.05 * g
        elif self.text == OPTIMIZERS[1]:
            g = g + 0.01 * w
            m[:] = 0.9 * m + g
            w -= 0.05 * (g + 0.9 * m)
        elif self.text.startswith("adam"):
            if self.text.startswith("adamw"):
                w *= 1 - 0.01 * 0.1
            m[:] = 0.9 * m + 0.1 * g
            v[:] = 0.999 * v + 0.001 * g * g
            first = m / (1 - 0.9**self.count)
            second = v / (1 - 0.999**self.count)
            w -= 0.01 * first / (np.sqrt(second) + 1e-8)
        else:
            v[:] = 0.9 * v + 0.1 * g * g
            m[:] = 0.5 * m + g / (np.sqrt(v) + 1e-8)
            w -= 0.01 * m


def test_what_no_loss_reaches_stays() -> None:
    text = """
        input x: float[4]
        target t: float[4]
        a = dense(x, 4)
        spare = dense(x, 4)
        other = dense(spare, 4)
        tie hard other.weight = transpose(a.weight)
        loss mse(a, t)
        train { optimizer = adamw(rate=0.1, decay=0.5) }
    """
    told = [item for item in check_text(text).diagnostics if item.code == "W0001"]
    assert [item.message for item in told] == [
        "no loss depends on spare.weight, spare.bias",
        "no loss depends on other.bias",
    ]
    one = tg.compile_text(text, dtype="float64", threads=1)
    before = one.free
    loss, gradient = one.value_and_grad(**batch())
    assert gradient.keys() == {"a.weight", "a.bias"}
    for _ in range(3):
        one.step(**batch())
    after = one.free
    for name in ("spare.weight", "spare.bias", "other.bias"):
        np.testing.assert_array_equal(after[name], before[name])
    assert not np.array_equal(after["a.weight"], before["a.weight"])
    assert one.loss(**batch()) < loss


def test_frozen_members_freeze_the_rest() -> None:
    one = model([through("b", "a", "transpose({})")], more="freeze b.weight")
    before = one.free
    _, gradient = one.value_and_grad(**batch())
    assert "a.weight" not in gradient
    one.step(**batch())
    np.testing.assert_array_equal(one.free["a.weight"], before["a.weight"])
    assert not np.array_equal(one.free["c.weight"], before["c.weight"])


def test_tied_statistics_are_one() -> None:
    text = """
        input x: float[4]
        target t: float[4]
        a = batch_norm(x)
        b = batch_norm(a + x)
        loss mse(b, t)
    """
    one = tg.compile_text(text + "\ntie hard a, b\n", dtype="float64", threads=1)
    twin = tg.compile_text(text, dtype="float64", threads=1)
    twin.set(one.parameters)
    _, gradient = one.value_and_grad(**batch())
    _, parts = twin.value_and_grad(**batch())
    close(gradient["a.gain"], parts["a.gain"] + parts["b.gain"])
    before = one.free
    one.step(**batch())
    assert one.free.keys() == {"a.gain", "a.bias", "a.mean", "a.variance"}
    assert not np.array_equal(one.free["a.mean"], before["a.mean"])
    np.testing.assert_array_equal(one.parameters["a.mean"], one.parameters["b.mean"])


@pytest.mark.parametrize("samples", [1, 9])
def test_recurrent_weights_read_through_views(samples: int) -> None:
    text = """
        input x: float[21, time]
        input z: float[9]
        h = rnn(x, 9)
        d = dense(z, 21)
        loss mean(square(h))
        loss mean(square(d))
    """
    tie = "tie hard h.weight = transpose(d.weight)\n"
    one = tg.compile_text(text + tie, dtype="float64", threads=1)
    twin = tg.compile_text(text, dtype="float64", threads=1)
    twin.set(one.parameters)
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.standard_normal((samples, 21, 70)),
        "x.length": rng.integers(1, 71, samples),
        "z": rng.standard_normal((samples, 9)),
    }
    _, gradient = one.value_and_grad(**arrays)
    _, parts = twin.value_and_grad(**arrays)
    assert "d.weight" in gradient or "h.weight" in gradient
    whole = parts["h.weight"] + parts["d.weight"].T
    close(gradient["h.weight"] if "h.weight" in gradient else gradient["d.weight"].T, whole)
