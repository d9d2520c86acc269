"""Losses that compare values number by number.

Their value is that of one sample: see `steps` for what is averaged over. The mean over the batch
and the weight of the term are taken later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tiedgraph.ir.types import Type, elements
from tiedgraph.ops.pointwise import sigmoid
from tiedgraph.ops.rules import Array, Emitter, Kernel, Op, OpError, called, setting
from tiedgraph.ops.steps import (
    ONE_NUMBER,
    Steps,
    all_elements,
    call,
    same_shapes,
    scalar,
    settle_with,
    share,
    slope_kernel,
    sum_kernel,
    weights_with,
)

# ---------------------------------------------------------------- number by number


@dataclass(frozen=True)
class Huber(Steps):
    delta: float = setting("number", 1.0, minimum=1e-12, doc="where the parabola turns into a line")


@dataclass(frozen=True)
class GaussianNll(Steps):
    full: bool = setting("flag", False, doc="whether the constant log(2 pi) / 2 is added")


@dataclass(frozen=True)
class Comparison:
    """A loss that is a function of one number of each input.

    value, slopes: kernel text of the loss and of its derivative by each input, in the inputs
      `x0`, `x1`, `x2` and the `setting`.
    formula, slope: the same in NumPy.
    """

    value: str
    slopes: tuple[str, ...]
    formula: Callable[[Sequence[Array], float], Array]
    slope: Callable[[Sequence[Array], float], Sequence[Array]]

    def body(self, indent: str) -> str:
        """Lines that read the inputs; their offsets get other names first."""
        names = ("a", "b", "c")[: len(self.slopes)]
        return "".join(
            f"{indent}{name} = load(activation, x{i} + p * LANES)\n" for i, name in enumerate(names)
        )


@lru_cache
def comparison_kernel(name: str) -> Kernel:
    row = COMPARISONS[name]
    return sum_kernel(name, f"{row.body(' ' * 8)}        v = {row.value}\n")


@lru_cache
def comparison_slope_kernel(name: str, side: int) -> Kernel:
    row = COMPARISONS[name]
    body = f"""{row.body(" " * 8)}        v = {row.slopes[side]}
        v = select(w == 0.0, zero, w * v)
        at = target + p * LANES
        if add:
            v = v + load(activation, at)
        store(activation, at, v)
"""
    return slope_kernel(f"{name}_{side}", body)


def _absolute_error(x: Sequence[Array], c: float) -> Array:
    return np.asarray(np.abs(x[0] - x[1]))


def _huber(x: Sequence[Array], c: float) -> Array:
    error = np.abs(x[0] - x[1])
    return np.asarray(np.where(error <= c, 0.5 * error * error, c * (error - 0.5 * c)))


def _both(slope: Array) -> Sequence[Array]:
    return [slope, -slope]


def _cross(x: Sequence[Array], c: float) -> Array:
    logit, target = x
    return np.asarray((np.maximum(logit, 0.0) - logit * target) + np.log1p(np.exp(-np.abs(logit))))


def _gaussian(x: Sequence[Array], c: float) -> Array:
    error = x[2] - x[0]
    return np.asarray(0.5 * (x[1] + error * error * np.exp(-x[1])) + c)


def _gaussian_slope(x: Sequence[Array], c: float) -> Sequence[Array]:
    error, precision = x[2] - x[0], np.exp(-x[1])
    pull = error * precision
    return [-pull, 0.5 - 0.5 * error * pull, pull]


# Equal numbers, and NaN, come out of the difference itself.
_ERROR_SIGN = "select(a > b, broadcast(1.0), select(a < b, broadcast(-1.0), a - b))"

COMPARISONS = {
    "mse": Comparison(
        "(a - b) * (a - b)",
        ("2.0 * (a - b)", "2.0 * (b - a)"),
        lambda x, c: np.square(x[0] - x[1]),
        lambda x, c: _both(2.0 * (x[0] - x[1])),
    ),
    "mae": Comparison(
        "absolute(a - b)",
        (_ERROR_SIGN, f"-{_ERROR_SIGN}"),
        _absolute_error,
        lambda x, c: _both(np.sign(x[0] - x[1])),
    ),
    "huber": Comparison(
        "select(absolute(a - b) > setting, setting * (absolute(a - b) - 0.5 * setting), "
        "0.5 * (a - b) * (a - b))",
        (
            "minimum(setting, maximum(-setting, a - b))",
            "minimum(setting, maximum(-setting, b - a))",
        ),
        _huber,
        lambda x, c: _both(np.clip(x[0] - x[1], -c, c)),
    ),
    "binary_cross_entropy": Comparison(
        "(maximum(zero, a) - a * b) + softplus(-absolute(a))",
        ("sigmoid(a) - b", "-a"),
        _cross,
        lambda x, c: [sigmoid(x[0]) - x[1], -x[0]],
    ),
    "gaussian_nll": Comparison(
        "fma((c - a) * (c - a) * exp(-b) + b, broadcast(0.5), setting)",
        (
            "(a - c) * exp(-b)",
            "0.5 - 0.5 * ((c - a) * (c - a) * exp(-b))",
            "(c - a) * exp(-b)",
        ),
        _gaussian,
        _gaussian_slope,
    ),
}


def _setting(attrs: Steps) -> float:
    if isinstance(attrs, Huber):
        return attrs.delta
    if isinstance(attrs, GaussianNll) and attrs.full:
        return 0.5 * math.log(2.0 * math.pi)
    return 0.0


def _comparison(
    name: str,
    doc: str,
    inputs: tuple[str, ...],
    attrs_type: type = Steps,
    labels: bool = False,
) -> Op:
    row, count = COMPARISONS[name], len(inputs)

    def shape(attrs: Steps, types: Sequence[Type]) -> Type:
        if labels and types[1].kind == "class":
            check_binary(name, types)
        else:
            same_shapes(name, types[:count])
        return ONE_NUMBER

    def numbers(given: Sequence[Array]) -> list[Array]:
        return [np.asarray(x, np.float64).reshape(np.shape(given[0])) for x in given[:count]]

    def forward(attrs: Steps, given: Sequence[Array], params: Sequence[Array]) -> Array:
        losses = row.formula(numbers(given), _setting(attrs))
        return scalar(np.sum(losses) * share(attrs, np.shape(given[0]), given))

    def backward(
        attrs: Steps, given: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
    ) -> tuple[list[Array | None], list[Array | None]]:
        scale = grad * share(attrs, np.shape(given[0]), given)
        slopes = row.slope(numbers(given), _setting(attrs))
        found: list[Array | None] = [
            (scale * slope).reshape(np.shape(x)) for slope, x in zip(slopes, given, strict=False)
        ]
        return found + [None] * (len(given) - count), []

    def emit(emitter: Emitter) -> None:
        place, number = emitter.output().offset, _setting(emitter.attrs)
        shape = emitter.input(0).shape
        call(emitter, comparison_kernel(name), place, count, shape, setting=number)

    def emit_backward(emitter: Emitter) -> None:
        for side in range(count):
            wanted = emitter.grad_input(side)
            if wanted is not None:
                call(
                    emitter,
                    comparison_slope_kernel(name, side),
                    emitter.grad_output().offset,
                    count,
                    emitter.input(0).shape,
                    setting=_setting(emitter.attrs),
                    target=wanted[0].offset,
                    add=wanted[1],
                )

    float_only: tuple[str, ...] = ("float",)
    return Op(
        name=name,
        doc=doc,
        category="loss",
        inputs=inputs,
        kinds=(float_only, ("class", "float")) if labels else (float_only,) * count,
        Attrs=attrs_type,
        settle=settle_with(all_elements),
        shape=shape,
        implicit=weights_with(all_elements),
        forward=forward,
        backward=backward,
        saves=frozenset({"inputs"}),
        emit=emit,
        emit_backward=emit_backward,
        flops=lambda attrs, inputs, output: 3 * elements(inputs[0]),
        functions=(called(row.value), called(row.slopes[0])),
    )


def check_binary(name: str, types: Sequence[Type]) -> None:
    logits, label = types[:2]
    if label.bound != 2:
        raise OpError(
            "E0301",
            f"{name} decides between 2 classes, but the labels are {label}",
            hint="use cross_entropy for more classes",
            argument=1,
        )
    if label.shape not in (logits.shape, logits.shape[1:] if logits.shape[:1] == (1,) else None):
        raise OpError(
            "E0301",
            f"{name} takes one number for each label, but the logits are {logits} "
            f"and the labels {label}",
            hint="two logits for each label are for cross_entropy",
            argument=0,
        )


MSE = _comparison(
    "mse",
    """The mean squared error, the mean of (prediction - target)^2.

    Two float inputs of the same shape. Along run-time axes the mean is over valid steps.""",
    ("prediction", "target"),
)
MAE = _comparison(
    "mae",
    """The mean absolute error, the mean of |prediction - target|; derivative 0 where they agree.

    Two float inputs of the same shape. Along run-time axes the mean is over valid steps.""",
    ("prediction", "target"),
)
HUBER = _comparison(
    "huber",
    """Squared for small errors, linear for large ones: with e = |prediction - target|, the mean of
    e^2 / 2 where e <= delta and of delta (e - delta / 2) elsewhere (Huber 1964).

    Two float inputs of the same shape. Along run-time axes the mean is over valid steps.""",
    ("prediction", "target"),
    Huber,
)
BINARY_CROSS_ENTROPY = _comparison(
    "binary_cross_entropy",
    """The cross-entropy of yes or no: the mean of log(1 + exp(x)) - x t, with the logit x.

    Takes logits, like cross_entropy: no sigmoid before it. The label is class[2, ...], 1 for yes,
    for logits of its own shape or with one more axis of size 1 in front; or a float target of the
    shape of the logits, a probability. Along run-time axes the mean is over valid steps.""",
    ("logits", "label"),
    labels=True,
)
GAUSSIAN_NLL = _comparison(
    "gaussian_nll",
    """The negative log-likelihood of a Gaussian whose mean and variance are both predicted: the
    mean of (v + (target - mean)^2 exp(-v)) / 2 with v the logarithm of the variance (Nix and
    Weigend 1994). `full=true` adds log(2 pi) / 2.

    Three float inputs of the same shape. Along run-time axes the mean is over valid steps.""",
    ("mean", "log_variance", "target"),
    GaussianNll,
)

COMPARING = (MSE, MAE, HUBER, BINARY_CROSS_ENTROPY, GAUSSIAN_NLL)
