"""`normalize`: vectors of length 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tiedgraph.ir.types import Type, elements
from tiedgraph.ops.axes import AXIS, find_axis, lengths, timed
from tiedgraph.ops.reduction import sum_kernel
from tiedgraph.ops.rules import Array, Buffer, Emitter, Kernel, Op, bits, hidden, setting
from tiedgraph.ops.walk import EXTRA, PUT, nest, walk


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


INVERSE_LENGTH = Kernel(
    "inverse_length",
    nest(
        [f"epsilon = broadcast(number(operand, {EXTRA}))", "s = zero"],
        ["v = load(activation, x + at)", "s = s + select(valid, v * v, zero)"],
        ["store(activation, y + o, 1.0 / sqrt(s + epsilon))"],
    ),
)

NORMALIZE_KERNEL = Kernel(
    "normalize",
    nest(
        ["inverse = load(activation, y + o)"],
        ["v = select(valid, load(activation, x + at) * inverse, zero)", *PUT],
        [],
    ),
)

# x is the output here, z its gradient and y the inverse length.
NORMALIZE_BACKWARD = Kernel(
    "normalize_backward",
    nest(
        ["inverse, along = load(activation, y + o), load(activation, choice + o)"],
        [
            "v = (load(activation, z + at) - load(activation, x + at) * along) * inverse",
            "v = select(valid, v, zero)",
            *PUT,
        ],
        [],
    ),
)


def _lengths_row(emitter: Emitter, x: Buffer) -> tuple[Buffer, tuple[int, ...]]:
    """Writes 1 / length into scratch memory; answers that and the walk."""
    attrs = emitter.attrs
    loops = walk(emitter, x.shape, (attrs.over,), attrs.timed, 1).operands
    inverse = emitter.scratch(elements(x.shape[: attrs.over]) * elements(x.shape[attrs.over + 1 :]))
    emitter.call(INVERSE_LENGTH, x.offset, inverse.offset, 0, 0, 0, 0, *loops, bits(attrs.epsilon))
    return inverse, loops


def _emit_unit(emitter: Emitter) -> None:
    x, y = emitter.input(0), emitter.output()
    inverse, loops = _lengths_row(emitter, x)
    emitter.call(NORMALIZE_KERNEL, x.offset, inverse.offset, 0, y.offset, 0, 0, *loops)


def _emit_unit_backward(emitter: Emitter) -> None:
    wanted = emitter.grad_input(0)
    if wanted is None:
        return
    into, add = wanted
    y, grad = emitter.output(), emitter.grad_output()
    inverse, loops = _lengths_row(emitter, emitter.input(0))
    along = emitter.scratch(inverse.elements)
    emitter.call(sum_kernel("dot"), y.offset, along.offset, grad.offset, 0, 0, 0, *loops)
    emitter.call(
        NORMALIZE_BACKWARD,
        y.offset,
        inverse.offset,
        grad.offset,
        into.offset,
        int(add),
        along.offset,
        *loops,
    )


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
    saves=frozenset({"inputs", "output"}),
    emit=_emit_unit,
    emit_backward=_emit_unit_backward,
    flops=lambda attrs, inputs, output: 3 * elements(output),
)
