"""The cross-entropy over classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tiedgraph.ir.types import Type, elements, shape_text
from tiedgraph.ops.rules import Array, Emitter, Op, OpError
from tiedgraph.ops.steps import (
    ONE_NUMBER,
    Steps,
    after_first_axis,
    call,
    same_shapes,
    scalar,
    settle_with,
    share,
    slope_kernel,
    sum_kernel,
    weights_with,
)


def check_classes(name: str, types: Sequence[Type]) -> None:
    """An error unless the label fits logits whose axis 0 is the classes."""
    logits, label = types[:2]
    if not logits.shape or not isinstance(logits.shape[0], int):
        raise OpError(
            "E0301",
            f"axis 0 of the logits must be the classes, but the logits are {logits}",
            hint="a yes or no decided by one number is for binary_cross_entropy"
            if not logits.shape
            else "put the classes first: float[classes, time]",
            argument=0,
        )
    if label.kind == "float":
        same_shapes(name, types[:2])
    elif label.bound != logits.shape[0]:
        raise OpError(
            "E0301",
            f"the logits are for {logits.shape[0]} classes, but the labels are {label}, "
            f"of {label.bound} classes",
            hint=f"give the last layer {label.bound} outputs",
            argument=0,
        )
    elif label.shape != logits.shape[1:]:
        raise OpError(
            "E0301",
            f"{name} takes one label for each position of the logits: {shape_text(label.shape)} "
            f"of the labels against {shape_text(logits.shape[1:])} behind the classes of {logits}",
            hint="reduce the logits over the axes that the labels lack, or declare labels per step",
            argument=1,
        )


def _cross_entropy_shape(attrs: Steps, types: Sequence[Type]) -> Type:
    check_classes("cross_entropy", types)
    return ONE_NUMBER


def _targets(logits: Array, label: Array) -> Array:
    """Labels as ones and zeros along axis 0; soft ones as they are."""
    if np.shape(label) == logits.shape:
        return np.asarray(label, np.float64)
    classes = np.arange(len(logits)).reshape(-1, *[1] * np.ndim(label))
    return np.asarray(classes == label, np.float64)


def _log_sum(logits: Array) -> Array:
    most = logits.max(axis=0)
    return np.asarray(most + np.log(np.exp(logits - most).sum(axis=0)))


def _cross_entropy(attrs: Steps, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    logits, label = inputs[:2]
    losses = (_targets(logits, label) * (_log_sum(logits) - logits)).sum(axis=0)
    return scalar(losses.sum() * share(attrs, losses.shape, inputs))


def _cross_entropy_backward(
    attrs: Steps, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    logits, label = inputs[:2]
    targets, total = _targets(logits, label), _log_sum(logits)
    scale = grad * share(attrs, logits.shape[1:], inputs)
    found: list[Array | None] = [None] * len(inputs)
    found[0] = scale * (np.exp(logits - total) * targets.sum(axis=0) - targets)
    if np.shape(label) == logits.shape:
        found[1] = scale * (total - logits)
    return found, []


_MOST = """\
        at = x0 + p * LANES
        most = load(activation, at)
        for c in range(1, channels):
            most = maximum(most, load(activation, at + c * stride))
        sum = zero
"""

CROSS_ENTROPY_KERNEL = sum_kernel(
    "cross_entropy",
    f"""{_MOST}        label = load(activation, x1 + p * LANES)
        own = zero
        for c in range(channels):
            v = load(activation, at + c * stride)
            sum = sum + exp(v - most)
            own = select(label == c, v, own)
        v = (most - own) + log(sum)
""",
)

_EXPONENTIALS = f"""\
{_MOST}        for c in range(channels):
            v = exp(load(activation, at + c * stride) - most)
            store(activation, spare + c * LANES, v)
            sum = sum + v
"""

CROSS_ENTROPY_SLOPE_KERNEL = slope_kernel(
    "cross_entropy",
    f"""{_EXPONENTIALS}        label = load(activation, x1 + p * LANES)
        scale = w / sum
        for c in range(channels):
            v = scale * load(activation, spare + c * LANES) - select(label == c, w, zero)
            at = target + p * LANES + c * stride
            if add:
                v = v + load(activation, at)
            store(activation, at, v)
""",
)

SOFT_KERNEL = sum_kernel(
    "cross_entropy_soft",
    f"""{_MOST}        for c in range(channels):
            sum = sum + exp(load(activation, at + c * stride) - most)
        sum = most + log(sum)
        v = zero
        for c in range(channels):
            t = load(activation, x1 + p * LANES + c * stride)
            v = fma(t, sum - load(activation, at + c * stride), v)
""",
)

SOFT_SLOPE_KERNEL = slope_kernel(
    "cross_entropy_soft",
    f"""{_EXPONENTIALS}        whole = zero
        for c in range(channels):
            whole = whole + load(activation, x1 + p * LANES + c * stride)
        scale = w * whole / sum
        for c in range(channels):
            v = scale * load(activation, spare + c * LANES)
            v = v - w * load(activation, x1 + p * LANES + c * stride)
            at = target + p * LANES + c * stride
            if add:
                v = v + load(activation, at)
            store(activation, at, v)
""",
)

SOFT_TARGET_KERNEL = slope_kernel(
    "cross_entropy_target",
    f"""{_MOST}        for c in range(channels):
            sum = sum + exp(load(activation, at + c * stride) - most)
        sum = most + log(sum)
        for c in range(channels):
            v = w * (sum - load(activation, at + c * stride))
            goal = target + p * LANES + c * stride
            if add:
                v = v + load(activation, goal)
            store(activation, goal, v)
""",
)


def _is_soft(emitter: Emitter) -> bool:
    return len(emitter.input(1).shape) == len(emitter.input(0).shape)


def _emit_cross_entropy(emitter: Emitter) -> None:
    classes, *positions = emitter.input(0).shape
    kernel = SOFT_KERNEL if _is_soft(emitter) else CROSS_ENTROPY_KERNEL
    call(emitter, kernel, emitter.output().offset, 2, positions, channels=classes)


def _emit_cross_entropy_backward(emitter: Emitter) -> None:
    classes, *positions = emitter.input(0).shape
    soft = _is_soft(emitter)
    spare = emitter.scratch(classes).offset
    by_logits = SOFT_SLOPE_KERNEL if soft else CROSS_ENTROPY_SLOPE_KERNEL
    for side, kernel in enumerate((by_logits, SOFT_TARGET_KERNEL)[: 1 + soft]):
        wanted = emitter.grad_input(side)
        if wanted is not None:
            call(
                emitter,
                kernel,
                emitter.grad_output().offset,
                2,
                positions,
                channels=classes,
                target=wanted[0].offset,
                add=wanted[1],
                spare=spare,
            )


CROSS_ENTROPY = Op(
    name="cross_entropy",
    doc="""The cross-entropy between a label and the softmax of the logits, which it takes itself:
    the mean over positions of log(sum_c exp(x_c)) - x_label.

    Logits float[classes, ...], label class[classes, ...] with one label for each position behind
    axis 0; or a float target t of the logits' shape, for which the loss is
    sum_c t_c (log(sum_d exp(x_d)) - x_c). Along run-time axes the mean is over valid steps.""",
    category="loss",
    inputs=("logits", "label"),
    kinds=(("float",), ("class", "float")),
    Attrs=Steps,
    settle=settle_with(after_first_axis),
    shape=_cross_entropy_shape,
    implicit=weights_with(after_first_axis),
    forward=_cross_entropy,
    backward=_cross_entropy_backward,
    saves=frozenset({"inputs"}),
    emit=_emit_cross_entropy,
    emit_backward=_emit_cross_entropy_backward,
    flops=lambda attrs, inputs, output: 4 * elements(inputs[0]),
)
