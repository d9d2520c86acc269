"""Losses on distances between embeddings, whose numbers lie along axis 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tiedgraph.ir.types import Type, elements, shape_text
from tiedgraph.ops.rules import Array, Emitter, Op, OpError, setting
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


@dataclass(frozen=True)
class Margin(Steps):
    margin: float = setting("number", 1.0, minimum=0.0, doc="distance that is far enough")


def _check(name: str, types: Sequence[Type], embeddings: int) -> None:
    first = types[0]
    if not first.shape or not isinstance(first.shape[0], int):
        raise OpError(
            "E0301",
            f"{name} takes embeddings, float[size, ...] with a fixed size, but the first input "
            f"is {first}",
            argument=0,
        )
    same_shapes(name, types[:embeddings])


def _rows(inputs: Sequence[Array]) -> tuple[int, ...]:
    return np.shape(inputs[0])[1:]


def _length(difference: Array) -> Array:
    return np.asarray(np.sqrt(np.square(difference).sum(axis=0)))


def _inverse(length: Array) -> Array:
    """1 / length, and 0 where that is 0: the derivative that a distance of 0 is given."""
    return np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)


_DISTANCES = """\
        {name} = zero
        for c in range(channels):
            at = p * LANES + c * stride
            v = load(activation, x0 + at) - load(activation, {other} + at)
            {name} = fma(v, v, {name})
"""


# ---------------------------------------------------------------- contrastive


def _contrastive_shape(attrs: Margin, types: Sequence[Type]) -> Type:
    _check("contrastive", types, 2)
    label = types[2]
    if label.bound != 2:
        raise OpError(
            "E0301",
            f"contrastive takes labels of 2 classes, 1 for a pair that belongs together, "
            f"but these are {label}",
            argument=2,
        )
    if label.shape != types[0].shape[1:]:
        raise OpError(
            "E0301",
            f"contrastive takes one label for each pair of embeddings: {shape_text(label.shape)} "
            f"of the labels against {shape_text(types[0].shape[1:])} behind axis 0 of {types[0]}",
            argument=2,
        )
    return ONE_NUMBER


def _contrastive(attrs: Margin, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    a, b, same = inputs[:3]
    distance = _length(a - b)
    apart = np.square(np.maximum(attrs.margin - distance, 0.0))
    losses = 0.5 * np.where(same == 1, distance * distance, apart)
    return scalar(losses.sum() * share(attrs, _rows(inputs), inputs))


def _contrastive_backward(
    attrs: Margin, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    a, b, same = inputs[:3]
    distance = _length(a - b)
    apart = -np.maximum(attrs.margin - distance, 0.0) * _inverse(distance)
    pull = np.where(same == 1, 1.0, apart) * (a - b) * grad * share(attrs, _rows(inputs), inputs)
    return [pull, -pull, *[None] * (len(inputs) - 2)], []


CONTRASTIVE_KERNEL = sum_kernel(
    "contrastive",
    f"""{_DISTANCES.format(name="square", other="x1")}\
        apart = maximum(zero, setting - sqrt(square))
        same = load(activation, x2 + p * LANES) == 1.0
        v = 0.5 * select(same, square, apart * apart)
""",
)

# The sign of the gradient stands in `spare`: 1 for the first embedding, -1 for the second.
CONTRASTIVE_SLOPE_KERNEL = slope_kernel(
    "contrastive",
    f"""{_DISTANCES.format(name="square", other="x1")}\
        distance = sqrt(square)
        apart = maximum(zero, setting - distance)
        apart = select(distance > 0.0, -(apart / distance), zero)
        same = load(activation, x2 + p * LANES) == 1.0
        w = w * select(same, broadcast(1.0), apart) * spare
        for c in range(channels):
            at = p * LANES + c * stride
            v = w * (load(activation, x0 + at) - load(activation, x1 + at))
            if add:
                v = v + load(activation, target + at)
            store(activation, target + at, v)
""",
)


def _emit_contrastive(emitter: Emitter) -> None:
    size, *positions = emitter.input(0).shape
    place, margin = emitter.output().offset, emitter.attrs.margin
    call(emitter, CONTRASTIVE_KERNEL, place, 3, positions, channels=size, setting=margin)


def _emit_contrastive_backward(emitter: Emitter) -> None:
    size, *positions = emitter.input(0).shape
    for side, sign in enumerate((1, -1)):
        wanted = emitter.grad_input(side)
        if wanted is not None:
            call(
                emitter,
                CONTRASTIVE_SLOPE_KERNEL,
                emitter.grad_output().offset,
                3,
                positions,
                channels=size,
                setting=emitter.attrs.margin,
                target=wanted[0].offset,
                add=wanted[1],
                spare=sign,
            )


CONTRASTIVE = Op(
    name="contrastive",
    doc="""Pulls embeddings that belong together towards each other and pushes others apart until
    their distance is the margin: with D = |a - b|, the mean over positions of D^2 / 2 where the
    label is 1 (same), and of max(0, margin - D)^2 / 2 where it is 0 (Hadsell, Chopra and LeCun
    2006, who write Y = 0 for same).

    Two embeddings float[size, ...] and a label class[2, ...] for each position behind axis 0. A
    distance of 0 pushes nowhere. Along run-time axes the mean is over valid steps.""",
    category="loss",
    inputs=("a", "b", "same"),
    kinds=(("float",), ("float",), ("class",)),
    Attrs=Margin,
    settle=settle_with(after_first_axis),
    shape=_contrastive_shape,
    implicit=weights_with(after_first_axis),
    forward=_contrastive,
    backward=_contrastive_backward,
    saves=frozenset({"inputs"}),
    emit=_emit_contrastive,
    emit_backward=_emit_contrastive_backward,
    flops=lambda attrs, inputs, output: 3 * elements(inputs[0]),
)


# ---------------------------------------------------------------- triplet


def _triplet_shape(attrs: Margin, types: Sequence[Type]) -> Type:
    _check("triplet", types, 3)
    return ONE_NUMBER


def _triplet(attrs: Margin, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    anchor, positive, negative = inputs[:3]
    gap = _length(anchor - positive) - _length(anchor - negative) + attrs.margin
    return scalar(np.maximum(gap, 0.0).sum() * share(attrs, _rows(inputs), inputs))


def _triplet_backward(
    attrs: Margin, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    anchor, positive, negative = inputs[:3]
    near, far = _length(anchor - positive), _length(anchor - negative)
    scale = (near - far + attrs.margin > 0) * grad * share(attrs, _rows(inputs), inputs)
    towards = scale * _inverse(near) * (anchor - positive)
    away = scale * _inverse(far) * (anchor - negative)
    return [towards - away, -towards, away, *[None] * (len(inputs) - 3)], []


_BOTH_DISTANCES = f"""\
{_DISTANCES.format(name="near", other="x1")}{_DISTANCES.format(name="far", other="x2")}\
        near = sqrt(near)
        far = sqrt(far)
        gap = near - far + setting
"""

TRIPLET_KERNEL = sum_kernel("triplet", f"{_BOTH_DISTANCES}        v = maximum(zero, gap)\n")

# Which input the gradient belongs to stands in `spare`.
TRIPLET_SLOPE_KERNEL = slope_kernel(
    "triplet",
    f"""{_BOTH_DISTANCES}\
        w = select(gap > 0.0, w, zero)
        near = select(near > 0.0, w / near, zero)
        far = select(far > 0.0, w / far, zero)
        if spare == 1:
            near = -near
            far = zero
        elif spare == 2:
            near = zero
        else:
            far = -far
        for c in range(channels):
            at = p * LANES + c * stride
            anchor = load(activation, x0 + at)
            v = near * (anchor - load(activation, x1 + at))
            v = fma(far, anchor - load(activation, x2 + at), v)
            if add:
                v = v + load(activation, target + at)
            store(activation, target + at, v)
""",
)


def _emit_triplet(emitter: Emitter) -> None:
    size, *positions = emitter.input(0).shape
    place, margin = emitter.output().offset, emitter.attrs.margin
    call(emitter, TRIPLET_KERNEL, place, 3, positions, channels=size, setting=margin)


def _emit_triplet_backward(emitter: Emitter) -> None:
    size, *positions = emitter.input(0).shape
    for side in range(3):
        wanted = emitter.grad_input(side)
        if wanted is not None:
            call(
                emitter,
                TRIPLET_SLOPE_KERNEL,
                emitter.grad_output().offset,
                3,
                positions,
                channels=size,
                setting=emitter.attrs.margin,
                target=wanted[0].offset,
                add=wanted[1],
                spare=side,
            )


TRIPLET = Op(
    name="triplet",
    doc="""An anchor shall be nearer to the positive than to the negative by a margin: the mean over
    positions of max(0, |anchor - positive| - |anchor - negative| + margin), with Euclidean
    distances (Balntas et al. 2016).

    Three embeddings float[size, ...]; each position behind axis 0 is a triplet. Distances of 0 have
    derivative 0. Along run-time axes the mean is over valid steps.""",
    category="loss",
    inputs=("anchor", "positive", "negative"),
    Attrs=Margin,
    settle=settle_with(after_first_axis),
    shape=_triplet_shape,
    implicit=weights_with(after_first_axis),
    forward=_triplet,
    backward=_triplet_backward,
    saves=frozenset({"inputs"}),
    emit=_emit_triplet,
    emit_backward=_emit_triplet_backward,
    flops=lambda attrs, inputs, output: 6 * elements(inputs[0]),
)

CONTRASTING = (CONTRASTIVE, TRIPLET)
