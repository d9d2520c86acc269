"""`normalize`: vectors of length 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from tiedgraph.ir.types import Type, elements
from tiedgraph.ops.axes import AXIS, find_axis, lengths, timed
from tiedgraph.ops.columns import EXTRA, SIZES, Columns, columns
from tiedgraph.ops.copying import blocks
from tiedgraph.ops.rules import Array, Buffer, Emitter, Kernel, Op, bits, hidden, put, setting


@dataclass(frozen=True)
class Normalize:
    over: int | str | tuple[int | str, ...] | None = setting("axis", 0, doc=AXIS)
    epsilon: float = setting("number", 1e-12, minimum=0.0, doc="added to the squared length")
    timed: tuple[int, ...] = hidden(())


def _settle_unit(attrs: Normalize, types: Sequence[Type]) -> Normalize:
    axis = find_axis("normalize", types[0], attrs.over, "over")
    return replace(attrs, over=axis, timed=timed(types[0], (axis,)))


def _inverse(attrs: Normalize, x: Array) -> Array:
    """1 / length, with the axis kept."""
    assert isinstance(attrs.over, int)
    squares = np.square(x).sum(axis=attrs.over, keepdims=True)
    return np.asarray(1.0 / np.sqrt(squares + attrs.epsilon))


def _unit_backward(
    attrs: Normalize, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    assert isinstance(attrs.over, int)
    along = (grad * output).sum(axis=attrs.over, keepdims=True)
    return [(grad - output * along) * _inverse(attrs, inputs[0])], []


# 1 / length of each position is kept. Along a run-time axis samples have lengths (`timed`).
_HEAD = [
    *SIZES,
    f"x, y, kept, given = {', '.join(f'operand[{EXTRA + i}]' for i in range(4))}",
    f"add, epsilon = operand[{EXTRA + 4}], broadcast(number(operand, {EXTRA + 5}))",
]
_LIMIT = f"limit = load(activation, operand[{EXTRA + 6}])"


def _source(text: Columns, timed: bool) -> str:
    return text.source([*_HEAD, _LIMIT] if timed else _HEAD)


@lru_cache
def normalize_kernel(timed: bool, single: bool) -> Kernel:
    """y = x / length; 0 in steps that a sample lacks."""
    valid = ["v = select(limit > k, v, zero)"] if timed else []
    text = Columns(single)
    text.once(["square = zero"], made=["square"])
    text.along(
        ["v = load(activation, x + at)", *valid, "square = fma(v, v, square)"], carried=["square"]
    )
    text.once(
        ["inverse = 1.0 / sqrt(square + epsilon)", "store(activation, kept + place, inverse)"],
        read=["square"],
        made=["inverse"],
    )
    text.along(
        ["v = load(activation, x + at) * inverse", *valid, "store(activation, y + at, v)"],
        read=["inverse"],
    )
    return Kernel("normalize", _source(text, timed))


@lru_cache
def normalize_backward_kernel(timed: bool, single: bool) -> Kernel:
    """dx = (dy - y sum of dy y) / length; `x` is where it goes."""
    valid = ["v = select(limit > k, v, zero)"] if timed else []
    text = Columns(single)
    text.once(["total = zero"], made=["total"])
    text.along(
        ["v = load(activation, given + at) * load(activation, y + at)", *valid]
        + ["total = total + v"],
        carried=["total"],
    )
    text.along(
        [
            "v = fma(-total, load(activation, y + at), load(activation, given + at))",
            "v = v * load(activation, kept + place)",
            *valid,
            *put("v", "x"),
        ],
        read=["total"],
    )
    return Kernel("normalize_backward", _source(text, timed))


def _row(emitter: Emitter, kernel: Callable[..., Kernel], x: Buffer, given: int, add: bool) -> None:
    attrs, axis = emitter.attrs, emitter.attrs.over
    outer, inner = blocks(x.shape, axis)
    emitter.call(
        kernel(bool(attrs.timed), inner == 1),
        *columns(emitter, outer, x.shape[axis], inner),
        x.offset,
        emitter.output().offset,
        emitter.kept().offset,
        given,
        int(add),
        bits(attrs.epsilon),
        *([emitter.input(1).offset] if attrs.timed else []),
    )


def _emit_unit(emitter: Emitter) -> None:
    _row(emitter, normalize_kernel, emitter.input(0), 0, False)


def _emit_unit_backward(emitter: Emitter) -> None:
    wanted = emitter.grad_input(0)
    if wanted is not None:
        into, add = wanted
        _row(emitter, normalize_backward_kernel, into, emitter.grad_output().offset, add)


def _keeps(attrs: Normalize, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    assert isinstance(attrs.over, int)
    outer, inner = blocks(output, attrs.over)
    return outer * inner


NORMALIZE = Op(
    name="normalize",
    doc="""Length 1 along an axis: y = x / sqrt(sum_i x_i^2 + epsilon).

    Input float of any shape, output of the same. `over` is an axis, by default the channels; along
    a run-time axis each sample's own steps count.""",
    category="function",
    inputs=("x",),
    Attrs=Normalize,
    settle=_settle_unit,
    shape=lambda attrs, types: Type("float", types[0].shape),
    implicit=lambda attrs, types: lengths(types[0], attrs.timed),
    forward=lambda attrs, inputs, params: inputs[0] * _inverse(attrs, inputs[0]),
    backward=_unit_backward,
    saves=frozenset({"output"}),
    emit=_emit_unit,
    emit_backward=_emit_unit_backward,
    flops=lambda attrs, inputs, output: 3 * elements(output),
    keeps=_keeps,
)
