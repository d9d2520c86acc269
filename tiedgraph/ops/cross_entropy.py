"""The cross-entropy over classes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tiedgraph.ir.types import Type, elements, shape_text
from tiedgraph.ops.columns import Columns, room
from tiedgraph.ops.rules import Array, Emitter, Kernel, Op, OpError, put
from tiedgraph.ops.steps import (
    BACKWARD,
    BUFFERS,
    ONE_NUMBER,
    Steps,
    after_first_axis,
    call,
    same_shapes,
    scalar,
    settle_with,
    share,
    valid_steps,
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


# Kept are the exponentials of all logits less the largest, and for each position 1 / their sum and
# the logarithm of the sum of the logits' own.
_HEAD = [
    *textwrap.dedent(BUFFERS).splitlines(),
    "outer, steps, inner, waiting = 1, channels, count, spare",
    "inverses = kept + steps * stride",
    "sums = inverses + stride",
]
_BACKWARD_HEAD = [*_HEAD, *textwrap.dedent(BACKWARD).splitlines()]


@lru_cache
def cross_entropy_kernel(soft: bool, single: bool) -> Kernel:
    """The loss: the sum over positions of log(sum of exp(x)) - x of the label."""
    text = Columns(single)
    names = ["best", "total", "own", "whole"] if soft else ["best", "total", "own"]
    start = ["best, total = load(activation, x0 + at), zero", "own, whole = zero, zero"]
    text.once(start, made=names)
    largest = ["v = load(activation, x0 + at)", "best = maximum(best, v)"]
    text.along(largest, carried=["best"], first=1)
    text.along(
        [
            "x = load(activation, x0 + at)",
            "v = decay(x - best)",
            "store(activation, kept + at, v)",
            "total = total + v",
            *(
                [
                    "t = load(activation, x1 + at)",
                    "own = fma(t, x - best, own)",
                    "whole = whole + t",
                ]
                if soft
                else ["own = own + select(load(activation, x1 + place) == k, x, zero)"]
            ),
        ],
        read=["best"],
        carried=names[1:],
    )
    text.once(
        [
            "p = place // LANES",
            "store(activation, inverses + place, 1.0 / total)",
            "total = log(total)",
            "store(activation, sums + place, best + total)",
            "v = whole * total - own" if soft else "v = (best - own) + total",
            *valid_steps("v"),
            "losses = losses + v",
        ],
        read=names,
    )
    source = text.source([*_HEAD, "losses = zero"], ["store(activation, result, losses * share)"])
    return Kernel("cross_entropy_soft" if soft else "cross_entropy", source)


@lru_cache
def logit_gradient(soft: bool, single: bool) -> Kernel:
    """softmax(x) less the label, by weight; times the sum of a soft one."""
    text = Columns(single)
    if soft:
        text.once(["scale = zero"], made=["scale"])
        text.along(["scale = scale + load(activation, x1 + at)"], carried=["scale"])
    text.once(
        [
            "p, w = place // LANES, share",
            *valid_steps("w"),
            f"{'scale = scale * w' if soft else 'scale = w'}",
            "scale = scale * load(activation, inverses + place)",
        ],
        read=["scale"] if soft else [],
        made=["scale", "w"],
    )
    taken = (
        "w * load(activation, x1 + at)"
        if soft
        else "select(load(activation, x1 + place) == k, w, zero)"
    )
    text.along(
        [f"v = scale * load(activation, kept + at) - {taken}", *put("v", "target")],
        read=["scale", "w"],
    )
    name = "cross_entropy_soft_backward" if soft else "cross_entropy_backward"
    return Kernel(name, text.source(_BACKWARD_HEAD))


@lru_cache
def target_gradient(single: bool) -> Kernel:
    """log(sum of exp(x)) - x, by weight."""
    text = Columns(single)
    text.once(
        [
            "p, w = place // LANES, share",
            *valid_steps("w"),
            "total = load(activation, sums + place)",
        ],
        made=["w", "total"],
    )
    text.along(
        ["v = w * (total - load(activation, x0 + at))", *put("v", "target")], read=["w", "total"]
    )
    return Kernel("cross_entropy_target", text.source(_BACKWARD_HEAD))


def _is_soft(emitter: Emitter) -> bool:
    return len(emitter.input(1).shape) == len(emitter.input(0).shape)


def _keeps(attrs: Steps, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    return elements(inputs[0]) + 2 * elements(inputs[0][1:])


def _emit_cross_entropy(emitter: Emitter) -> None:
    classes, *positions = emitter.input(0).shape
    count = elements(positions)
    call(
        emitter,
        cross_entropy_kernel(_is_soft(emitter), count == 1),
        emitter.output().offset,
        2,
        positions,
        channels=classes,
        spare=room(emitter, count),
        kept=emitter.kept().offset,
    )


def _emit_cross_entropy_backward(emitter: Emitter) -> None:
    classes, *positions = emitter.input(0).shape
    soft, count = _is_soft(emitter), elements(positions)
    kernels = (logit_gradient(soft, count == 1), target_gradient(count == 1))
    for side, kernel in enumerate(kernels[: 1 + soft]):
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
                spare=room(emitter, count),
                kept=emitter.kept().offset,
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
    functions=(("decay",), ()),
    keeps=_keeps,
)
