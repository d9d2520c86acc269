"""Metrics: sums of one sample, from which the sums over all samples make a number.

Along run-time axes only valid steps count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tiedgraph.ir.types import Shape, Type, elements
from tiedgraph.ops.cross_entropy import check_classes
from tiedgraph.ops.loss import check_binary
from tiedgraph.ops.rules import Array, Emitter, Kernel, Op, hidden
from tiedgraph.ops.steps import (
    BUFFERS,
    Steps,
    all_elements,
    call,
    lengths_with,
    only_valid,
    same_shapes,
    settle_with,
)


def _sums_kernel(name: str, sums: Sequence[str], body: str) -> Kernel:
    """`body` makes the variables `sums` at position `p`; each is added up over the positions."""
    start = "".join(f"    total_{v} = zero\n" for v in sums)
    add = "".join(f"        total_{v} = total_{v} + {v}\n" for v in sums)
    store = "".join(
        f"    store(activation, result + {i} * LANES, total_{v})\n" for i, v in enumerate(sums)
    )
    return Kernel(
        name,
        f"""def kernel(activation, parameter, gradient, operand):
{BUFFERS}{start}    for p in range(count):
{body}{only_valid(*sums)}{add}{store}""",
    )


def _ratio(above: float, below: float) -> float:
    """NaN where there is nothing to divide by."""
    return float(above) / float(below) if below > 0 else math.nan


# ---------------------------------------------------------------- classes


def _is_binary(types: Sequence[Type]) -> bool:
    """Whether yes or no is decided by the sign of one number."""
    logits, label = types[:2]
    if label.kind != "class" or label.bound != 2:
        return False
    return label.shape == logits.shape or logits.shape[:1] == (1,)


def _class_positions(types: Sequence[Type]) -> Shape:
    return types[0].shape if _is_binary(types) else types[0].shape[1:]


@dataclass(frozen=True)
class Classes(Steps):
    """`binary` is found by `settle`."""

    binary: bool = hidden(False)


def _settle_classes(attrs: Classes, types: Sequence[Type]) -> Classes:
    axes = Type("float", _class_positions(types)).run_time_axes
    return Classes(axes, _is_binary(types))


def _right(attrs: Classes, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    """Number of positions decided right, and of all."""
    logits, label = inputs[:2]
    if attrs.binary:
        decided, label = logits > 0, np.reshape(label, np.shape(logits))
    else:
        decided = np.argmax(logits, axis=0)
        if np.ndim(label) == np.ndim(logits):
            label = np.argmax(label, axis=0)
    right = np.asarray(decided == label)
    return np.array([right.sum(), right.size], np.float64)


_BINARY = _sums_kernel(
    "accuracy_binary",
    ("right", "counted"),
    """\
        counted = broadcast(1.0)
        decided = select(load(activation, x0 + p * LANES) > 0.0, counted, zero)
        right = select(decided == load(activation, x1 + p * LANES), counted, zero)
""",
)


def _chosen(name: str, source: str) -> str:
    """Lines that find the first of the largest numbers at a position."""
    return f"""\
        at = {source} + p * LANES
        most = load(activation, at)
        {name} = zero
        for c in range(1, channels):
            v = load(activation, at + c * stride)
            {name} = select(v > most, broadcast(c), {name})
            most = maximum(most, v)
"""


_COMPARED = """\
        counted = broadcast(1.0)
        right = select(decided == label, counted, zero)
"""

_HARD = _sums_kernel(
    "accuracy",
    ("right", "counted"),
    f"{_chosen('decided', 'x0')}        label = load(activation, x1 + p * LANES)\n{_COMPARED}",
)

_SOFT = _sums_kernel(
    "accuracy_soft",
    ("right", "counted"),
    f"{_chosen('decided', 'x0')}{_chosen('label', 'x1')}{_COMPARED}",
)


def _emit_classes(emitter: Emitter) -> None:
    shape, place = emitter.input(0).shape, emitter.output().offset
    if emitter.attrs.binary:
        call(emitter, _BINARY, place, 2, shape, weighted=False)
        return
    kernel = _SOFT if len(emitter.input(1).shape) == len(shape) else _HARD
    call(emitter, kernel, place, 2, shape[1:], channels=shape[0], weighted=False)


def _classes(name: str, doc: str, finish: Callable[[Array], float]) -> Op:
    def shape(attrs: Classes, types: Sequence[Type]) -> Type:
        if _is_binary(types):
            check_binary(name, types)
        else:
            check_classes(name, types)
        return Type("float", (2,))

    return Op(
        name=name,
        doc=doc,
        category="metric",
        inputs=("logits", "label"),
        kinds=(("float",), ("class", "float")),
        Attrs=Classes,
        settle=_settle_classes,
        shape=shape,
        implicit=lengths_with(_class_positions),
        forward=_right,
        emit=_emit_classes,
        finish=finish,
        larger_is_better=name == "accuracy",
        flops=lambda attrs, inputs, output: elements(inputs[0]),
    )


_WHAT = """

    Scores float[classes, ...] with a label class[classes, ...] for each position behind axis 0, or
    with a float target of the same shape, whose largest number counts; the first of equals wins.
    With class[2, ...] and one logit for each label, yes is a logit above 0."""

ACCURACY = _classes(
    "accuracy",
    f"The part of all positions whose largest score is the label's.{_WHAT}",
    lambda sums: _ratio(sums[0], sums[1]),
)
ERROR = _classes(
    "error",
    f"The part of all positions whose largest score is not the label's: 1 - accuracy.{_WHAT}",
    lambda sums: _ratio(sums[1] - sums[0], sums[1]),
)


# ---------------------------------------------------------------- number by number


@dataclass(frozen=True)
class Sums:
    """What is added up over all numbers a (predicted) and b (given): kernel text, and NumPy."""

    texts: tuple[str, ...]
    formula: Callable[[Array, Array], Sequence[Array]]


_SQUARES = Sums(
    ("(a - b) * (a - b)", "broadcast(1.0)"),
    lambda a, b: [np.square(a - b), np.ones_like(a)],
)
_ABSOLUTES = Sums(
    ("absolute(a - b)", "broadcast(1.0)"),
    lambda a, b: [np.abs(a - b), np.ones_like(a)],
)
_MOMENTS = Sums(
    ("(a - b) * (a - b)", "broadcast(1.0)", "b", "b * b"),
    lambda a, b: [np.square(a - b), np.ones_like(a), b, np.square(b)],
)


def _numbers(
    name: str, doc: str, sums: Sums, finish: Callable[[Array], float], spelling: str
) -> Op:
    made = [f"v{i}" for i in range(len(sums.texts))]
    kernel = _sums_kernel(
        f"sums_{len(made)}",
        made,
        """\
        a = load(activation, x0 + p * LANES)
        b = load(activation, x1 + p * LANES)
"""
        + "".join(
            f"        {variable} = {text}\n"
            for variable, text in zip(made, sums.texts, strict=True)
        ),
    )

    def shape(attrs: Steps, types: Sequence[Type]) -> Type:
        same_shapes(spelling, types[:2])
        return Type("float", (len(made),))

    def forward(attrs: Steps, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
        parts = sums.formula(np.asarray(inputs[0]), np.asarray(inputs[1]))
        return np.array([part.sum() for part in parts], np.float64)

    def emit(emitter: Emitter) -> None:
        call(emitter, kernel, emitter.output().offset, 2, emitter.input(0).shape, weighted=False)

    return Op(
        name=name,
        doc=f"{doc}\n\n    Two float inputs of the same shape.",
        category="metric",
        inputs=("prediction", "target"),
        Attrs=Steps,
        settle=settle_with(all_elements),
        shape=shape,
        implicit=lengths_with(all_elements),
        forward=forward,
        emit=emit,
        finish=finish,
        flops=lambda attrs, inputs, output: len(made) * elements(inputs[0]),
        spelling=spelling,
    )


def _relative(sums: Array) -> float:
    errors, count, given, squares = (float(number) for number in sums)
    return _ratio(errors, squares - given * given / count) if count else math.nan


MSE_METRIC = _numbers(
    "mse_metric",
    "The mean squared error, the mean of (prediction - target)^2 over all numbers of all samples.",
    _SQUARES,
    lambda sums: _ratio(sums[0], sums[1]),
    "mse",
)
RMSE = _numbers(
    "rmse",
    "The root of the mean squared error.",
    _SQUARES,
    lambda sums: math.sqrt(_ratio(sums[0], sums[1])),
    "rmse",
)
MAE_METRIC = _numbers(
    "mae_metric",
    "The mean absolute error, the mean of |prediction - target| over all numbers of all samples.",
    _ABSOLUTES,
    lambda sums: _ratio(sums[0], sums[1]),
    "mae",
)
ARV = _numbers(
    "arv",
    "The average relative variance, the mean squared error divided by the variance of the targets "
    "(Weigend, Huberman and Rumelhart 1990): 1 for predicting their mean. NaN when all targets are "
    "equal.",
    _MOMENTS,
    _relative,
    "arv",
)

METRICS = (ACCURACY, ERROR, MSE_METRIC, RMSE, MAE_METRIC, ARV)
