"""Ops that passes put in and users cannot write: masks, and the sums over a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tiedgraph.ir.types import Type
from tiedgraph.ops.rules import Array, Emitter, Implicit, Kernel, Op, bits

# ---------------------------------------------------------------- mask


@dataclass(frozen=True)
class Mask:
    """`axes` are the run-time axes, found by `settle`."""

    fill: float
    axes: tuple[int, ...] = ()


def _run_time(attrs: Mask, types: Sequence[Type]) -> tuple[Implicit, ...]:
    sizes = [types[0].shape[axis] for axis in types[0].run_time_axes]
    return tuple(Implicit("lengths", (size,)) for size in sizes if not isinstance(size, int))


# x is seen as [outer, steps, inner]; one row of the tape for each run-time axis.
MASK_KERNEL = Kernel(
    "mask",
    """def kernel(activation, parameter, gradient, operand):
    x, y, length = operand[0], operand[1], operand[2]
    outer, steps, inner, add = operand[3], operand[4], operand[5], operand[6]
    fill = broadcast(number(operand, 7))
    valid = load(activation, length)
    for o in range(outer):
        for t in range(steps):
            inside = valid > t
            for i in range(inner):
                at = ((o * steps + t) * inner + i) * LANES
                v = select(inside, load(activation, x + at), fill)
                if add:
                    v = v + load(activation, y + at)
                store(activation, y + at, v)
""",
)


def _mask_rows(
    emitter: Emitter, source: int, target: int, axes: Sequence[int], fill: float, add: bool
) -> None:
    shape = emitter.input(0).shape
    for index, axis in enumerate(axes):
        outer, inner = int(np.prod(shape[:axis])), int(np.prod(shape[axis + 1 :]))
        emitter.call(
            MASK_KERNEL,
            source if index == 0 else target,
            target,
            emitter.input(1 + index).offset,
            outer,
            shape[axis],
            inner,
            int(add),
            bits(fill),
        )


def _settle_mask(attrs: Mask, types: Sequence[Type]) -> Mask:
    return Mask(attrs.fill, types[0].run_time_axes)


def _emit_mask(emitter: Emitter) -> None:
    attrs = emitter.attrs
    _mask_rows(
        emitter, emitter.input(0).offset, emitter.output().offset, attrs.axes, attrs.fill, False
    )


def _emit_mask_backward(emitter: Emitter) -> None:
    wanted = emitter.grad_input(0)
    if wanted is None:
        return
    into, add = wanted
    axes = emitter.attrs.axes
    source = emitter.grad_output().offset
    if add and len(axes) > 1:
        spare = emitter.scratch(into.elements).offset
        _mask_rows(emitter, source, spare, axes[1:], 0.0, False)
        source, axes = spare, axes[:1]
    _mask_rows(emitter, source, into.offset, axes, 0.0, add)


MASK = Op(
    name="mask",
    doc="""Puts `fill` into the steps of each sample that are not valid.

    Samples of one batch have different lengths; what reads beyond the end of a short one, or could
    make NaN of what stands there, reads through a mask.""",
    category="internal",
    inputs=("x",),
    Attrs=Mask,
    settle=_settle_mask,
    shape=lambda attrs, types: types[0],
    implicit=_run_time,
    forward=lambda attrs, inputs, params: inputs[0],
    backward=lambda attrs, inputs, params, output, grad: (
        [grad, *[None] * (len(inputs) - 1)],
        [],
    ),
    emit=_emit_mask,
    emit_backward=_emit_mask_backward,
)


# ---------------------------------------------------------------- totals


@dataclass(frozen=True)
class Total:
    weight: float


TOTAL_KERNEL = Kernel(
    "total",
    """def kernel(activation, parameter, gradient, operand):
    value, weight, sum = operand[0], operand[1], operand[2]
    share = load(activation, weight) * number(operand, 3)
    zero = broadcast(0.0)
    # A lane without a sample adds nothing, also where what stands in it is infinite.
    v = select(load(activation, weight) > zero, load(activation, value) * share, zero)
    gradient[sum] += sum_lanes(v)
""",
)

TOTAL_BACKWARD_KERNEL = Kernel(
    "total_backward",
    """def kernel(activation, parameter, gradient, operand):
    target, weight, add = operand[0], operand[1], operand[2]
    v = load(activation, weight) * number(operand, 3)
    if add:
        v = v + load(activation, target)
    store(activation, target, v)
""",
)


def _emit_total(emitter: Emitter) -> None:
    place = emitter.statistic("total", 1)
    value, weight = emitter.input(0), emitter.input(1)
    emitter.call(TOTAL_KERNEL, value.offset, weight.offset, place, bits(emitter.attrs.weight))


def _emit_total_backward(emitter: Emitter) -> None:
    wanted = emitter.grad_input(0)
    if wanted is not None:
        target, add = wanted
        emitter.call(
            TOTAL_BACKWARD_KERNEL,
            target.offset,
            emitter.input(1).offset,
            int(add),
            bits(emitter.attrs.weight),
        )


TOTAL = Op(
    name="total",
    doc="""The mean over the batch of one loss, times its weight: what is differentiated.""",
    category="internal",
    inputs=("x",),
    Attrs=Total,
    shape=lambda attrs, types: Type("float", ()),
    implicit=lambda attrs, types: (Implicit("weight"),),
    forward=lambda attrs, inputs, params: np.asarray(attrs.weight * inputs[1] * inputs[0]),
    backward=lambda attrs, inputs, params, output, grad: (
        [grad * attrs.weight * inputs[1], None],
        [],
    ),
    emit=_emit_total,
    emit_backward=_emit_total_backward,
)


@dataclass(frozen=True)
class Collect:
    size: int = 1


COLLECT_KERNEL = Kernel(
    "collect",
    """def kernel(activation, parameter, gradient, operand):
    value, weight, sums, count = operand[0], operand[1], operand[2], operand[3]
    real = load(activation, weight) > 0.0
    for i in range(count):
        v = select(real, load(activation, value + i * LANES), broadcast(0.0))
        gradient[sums + i] += sum_lanes(v)
""",
)


def _emit_collect(emitter: Emitter) -> None:
    value = emitter.input(0)
    place = emitter.statistic("collect", value.elements)
    emitter.call(COLLECT_KERNEL, value.offset, emitter.input(1).offset, place, value.elements)


def _collect(attrs: Collect, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    return inputs[0]


COLLECT = Op(
    name="collect",
    doc="""Sums over the batch of what a metric counts.""",
    category="internal",
    inputs=("x",),
    Attrs=Collect,
    shape=lambda attrs, types: types[0],
    implicit=lambda attrs, types: (Implicit("weight"),),
    forward=_collect,
    emit=_emit_collect,
)
