"""Losses and metrics by value: numbers worked out by hand, extreme inputs, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from cases import TIME, Case, Type, c, f, over_time, prepare
from tile import run

from tiedgraph.ops import BY_NAME
from tiedgraph.ops.rules import OpError

ROOT2 = math.sqrt(2.0)


def _value(name: str, *inputs: object, labels: int = 0, **attrs: object) -> float:
    """The oracle on one sample; `labels` is the number of classes of the last input, if any."""
    arrays = [np.asarray(x, np.float64) for x in inputs]
    types = [f(*x.shape) for x in arrays]
    if labels:
        types[-1] = c(labels, *arrays[-1].shape)
    prepared = prepare(name, Case(tuple(types), attrs))
    result = prepared.op.forward(prepared.attrs, arrays, [])
    return prepared.op.finish(result) if prepared.op.finish else float(result)


@pytest.mark.parametrize(
    ("found", "right"),
    [
        (_value("mse", [1.0, 2.0, 3.0], [1.0, 0.0, 4.0]), 5 / 3),
        (_value("mae", [1.0, 2.0, 3.0], [1.0, 0.0, 4.0]), 1.0),
        (_value("huber", [1.0, 2.0, 3.5], [1.0, 0.0, 4.0]), (0 + 1.5 + 0.125) / 3),
        (_value("huber", [2.0], [0.0], delta=0.5), 0.5 * (2.0 - 0.25)),
        (_value("cross_entropy", [0.0, math.log(3.0)], 1, labels=2), math.log(4 / 3)),
        (_value("cross_entropy", [[0.0, 0.0], [0.0, 0.0]], [0, 1], labels=2), math.log(2.0)),
        (_value("cross_entropy", [0.0, 0.0], [0.25, 0.75]), math.log(2.0)),
        (_value("binary_cross_entropy", 0.0, 1, labels=2), math.log(2.0)),
        (_value("binary_cross_entropy", math.log(3.0), 1, labels=2), math.log(4 / 3)),
        (_value("binary_cross_entropy", math.log(3.0), 0, labels=2), math.log(4.0)),
        (_value("binary_cross_entropy", [math.log(3.0)], [0.5]), 0.5 * math.log(16 / 3)),
        (_value("contrastive", [0.0, 0.0], [3.0, 4.0], 1, labels=2), 12.5),
        (_value("contrastive", [0.0, 0.0], [3.0, 4.0], 0, labels=2), 0.0),
        (_value("contrastive", [0.0, 0.0], [3.0, 4.0], 0, labels=2, margin=7.0), 2.0),
        (_value("triplet", [0.0, 0.0], [3.0, 4.0], [1.0, 0.0]), 5.0),
        (_value("triplet", [0.0, 0.0], [1.0, 1.0], [3.0, 4.0], margin=4.0), ROOT2 - 1.0),
        (_value("triplet", [0.0, 0.0], [1.0, 0.0], [3.0, 4.0]), 0.0),
        (_value("gaussian_nll", 0.0, math.log(4.0), 2.0), 0.5 * (math.log(4.0) + 1.0)),
        (_value("gaussian_nll", 0.0, 0.0, 0.0, full=True), 0.5 * math.log(2 * math.pi)),
        (_value("accuracy", [[1.0, 5.0, 0.0], [2.0, 0.0, 0.0]], [1, 0, 1], labels=2), 2 / 3),
        (_value("error", [[1.0, 5.0, 0.0], [2.0, 0.0, 0.0]], [1, 0, 1], labels=2), 1 / 3),
        (_value("accuracy", [1.0, 3.0, 2.0], [0.1, 0.2, 0.7]), 0.0),
        (_value("accuracy", [0.5, -0.5, 0.0], [1, 0, 1], labels=2), 2 / 3),
        (_value("mse_metric", [1.0, 2.0, 3.0], [1.0, 0.0, 4.0]), 5 / 3),
        (_value("rmse", [1.0, 2.0, 3.0], [1.0, 0.0, 4.0]), math.sqrt(5 / 3)),
        (_value("mae_metric", [1.0, 2.0, 3.0], [1.0, 0.0, 4.0]), 1.0),
        (_value("arv", [1.0, 2.0, 3.0], [1.0, 2.0, 6.0]), 9.0 / 14.0),
        (_value("arv", [3.0, 3.0, 3.0], [1.0, 2.0, 6.0]), 1.0),
    ],
)
def test_value(found: float, right: float) -> None:
    assert found == pytest.approx(right, rel=1e-14, abs=1e-14)


def test_relative_variance_of_equal_targets_is_not_a_number() -> None:
    assert math.isnan(_value("arv", [1.0, 2.0], [3.0, 3.0]))


def test_metrics_of_nothing_are_not_a_number() -> None:
    for name in ("accuracy", "error", "mse_metric", "rmse", "mae_metric", "arv"):
        finish = BY_NAME[name].finish
        assert finish is not None
        assert math.isnan(finish(np.zeros(4)))


def test_steps_are_summed_and_weighted() -> None:
    """Two samples of 2 and 4 steps: the batch mean of their losses is the mean over 6 steps."""
    prepared = prepare("mse", over_time(f(3, TIME), f(3, TIME)))
    random = np.random.default_rng(0)
    samples = [(random.normal(size=(3, n)), random.normal(size=(3, n))) for n in (2, 4)]
    weight = np.asarray(2 / 6)
    losses = [
        float(prepared.op.forward(prepared.attrs, [x, t, np.asarray(x.shape[1]), weight], []))
        for x, t in samples
    ]
    squares = np.concatenate([np.square(x - t) for x, t in samples], axis=1)
    assert np.mean(losses) == pytest.approx(squares.mean(), rel=1e-14)


# ---------------------------------------------------------------- extreme inputs, in kernels


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "types", "inputs"),
    [
        ("cross_entropy", (f(3), c(3)), ([1e4, -1e4, 0.0], 1)),
        ("cross_entropy", (f(3), c(3)), ([1e4, -1e4, 0.0], 0)),
        ("cross_entropy", (f(2), f(2)), ([-1e4, 1e4], [0.5, 0.5])),
        ("binary_cross_entropy", (f(), c(2)), (1e4, 0)),
        ("binary_cross_entropy", (f(), c(2)), (-1e4, 0)),
        ("binary_cross_entropy", (f(), c(2)), (60.0, 1)),
        ("contrastive", (f(2), f(2), c(2)), ([1.0, 2.0], [1.0, 2.0], 0)),
        ("contrastive", (f(2), f(2), c(2)), ([1.0, 2.0], [1.0, 2.0], 1)),
        ("triplet", (f(2), f(2), f(2)), ([1.0, 2.0], [1.0, 2.0], [1.0, 2.0])),
        ("mae", (f(2), f(2)), ([1.0, 2.0], [1.0, 3.0])),
        ("huber", (f(2), f(2)), ([1.0, 2.0], [1.0, 3e8])),
    ],
)
def test_extremes_stay_finite_and_right(
    name: str, types: tuple[Type, ...], inputs: Sequence[object], dtype: str
) -> None:
    prepared = prepare(name, Case(types))
    sample = [np.asarray(x, np.float64) for x in inputs]
    one = np.asarray(1.0)
    found = run(prepared, dtype, [sample], [{}], [], [one])
    right = prepared.op.forward(prepared.attrs, sample, [])
    assert prepared.op.backward is not None
    slopes, _ = prepared.op.backward(prepared.attrs, sample, [], right, one)
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(found.output[0], right, rtol=tolerance)
    for index, gradients in found.grad_inputs.items():
        assert np.isfinite(gradients[0]).all()
        np.testing.assert_allclose(gradients[0], slopes[index], rtol=tolerance, atol=tolerance)


def test_garbage_beyond_the_end_does_not_matter() -> None:
    """Numbers whose exponential overflows, in steps that a short sample lacks."""
    case = over_time(f(2, TIME), f(2, TIME), f(2, TIME), lengths=(3,))
    prepared = prepare("gaussian_nll", case)
    random = np.random.default_rng(0)
    clean = [random.normal(size=(2, 3)) for _ in range(3)]
    wild = [np.concatenate([x, np.full((2, 2), -1e5)], axis=1) for x in clean]
    implicit = [np.asarray(3.0), np.asarray(0.5)]
    given = [np.asarray(1.0)]
    alone = run(prepared, "float64", [[*clean, *implicit]], [{"time": 3}], [], given)
    padded = run(prepared, "float64", [[*wild, *implicit]], [{"time": 5}], [], given)
    np.testing.assert_array_equal(alone.output[0], padded.output[0])
    for index, gradients in padded.grad_inputs.items():
        np.testing.assert_array_equal(gradients[0][:, :3], alone.grad_inputs[index][0])
        assert (gradients[0][:, 3:] == 0.0).all()


@pytest.mark.parametrize("name", ["relu", "tanh", "abs", "mse", "mae", "huber", "cross_entropy"])
def test_nan_comes_through(name: str) -> None:
    count = len(BY_NAME[name].inputs)
    types = (f(2), c(2)) if name == "cross_entropy" else (f(2),) * count
    prepared = prepare(name, Case(types))
    labels = np.asarray(0.0) if name == "cross_entropy" else np.asarray([0.5, 0.5])
    sample = [np.asarray([0.25, np.nan]), labels][:count]
    found = run(prepared, "float32", [sample], [{}], [], None)
    assert np.isnan(found.output[0]).any()


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("name", "types", "code", "argument", "words"),
    [
        ("mse", (f(3), f(4)), "E0301", 1, "[3] and [4]"),
        ("mse", (f(3, TIME), f(3, TIME.plus(-2))), "E0301", 1, "time - 2"),
        ("gaussian_nll", (f(3), f(3), f()), "E0301", 2, "[3] and []"),
        ("cross_entropy", (f(10), c(12)), "E0301", 0, "12 classes"),
        ("cross_entropy", (f(10, TIME), c(10)), "E0301", 1, "one label for each position"),
        ("cross_entropy", (f(), c(2)), "E0301", 0, "must be the classes"),
        ("cross_entropy", (f(TIME), c(2)), "E0301", 0, "must be the classes"),
        ("cross_entropy", (f(10), f(12)), "E0301", 1, "[10] and [12]"),
        ("binary_cross_entropy", (f(2), c(2)), "E0301", 0, "one number for each label"),
        ("binary_cross_entropy", (f(), c(3)), "E0301", 1, "2 classes"),
        ("contrastive", (f(3), f(4), c(2)), "E0301", 1, "[3] and [4]"),
        ("contrastive", (f(3), f(3), c(3)), "E0301", 2, "2 classes"),
        ("contrastive", (f(3, TIME), f(3, TIME), c(2)), "E0301", 2, "for each pair"),
        ("contrastive", (f(TIME), f(TIME), c(2)), "E0301", 0, "embeddings"),
        ("triplet", (f(3), f(3), f(2)), "E0301", 2, "[3] and [2]"),
        ("accuracy", (f(10), c(12)), "E0301", 0, "12 classes"),
        ("accuracy", (f(1, 3), c(2, 4)), "E0301", 0, "one number for each label"),
        ("rmse", (f(3), f(4)), "E0301", 1, "rmse"),
        ("mse_metric", (f(3), f(4)), "E0301", 1, "mse compares"),
        ("add", (f(3), f(4)), "E0301", 1, "3 against 4"),
        ("divide", (f(2, TIME), f(2, TIME.over(2))), "E0301", 1, "time against time / 2"),
        ("multiply", (f(1, 1, 1), f(2, 2, 2, 2, 2, 2)), "E0301", None, "at most 5"),
    ],
)
def test_refused(
    name: str, types: tuple[Type, ...], code: str, argument: int | None, words: str
) -> None:
    with pytest.raises(OpError) as caught:
        prepare(name, Case(types))
    assert (caught.value.code, caught.value.argument) == (code, argument)
    assert words in caught.value.message


def test_kinds_are_declared() -> None:
    """Labels where labels go: the checker reads this from the records."""
    for name in ("cross_entropy", "binary_cross_entropy", "accuracy", "error"):
        assert BY_NAME[name].kinds == (("float",), ("class", "float"))
    assert BY_NAME["contrastive"].kinds[2] == ("class",)
