"""`embedding`: a row of numbers for each index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tiedgraph.ir.graph import Init
from tiedgraph.ir.types import Type, elements
from tiedgraph.ops.axes import RANK
from tiedgraph.ops.rules import (
    Array,
    Buffer,
    Emitter,
    Kernel,
    Op,
    OpError,
    ParamBuffer,
    ParamSpec,
    setting,
)

LARGEST = 2**24  # whole numbers up to here are exact in float32, which carries indices


@dataclass(frozen=True)
class Embedding:
    size: int = setting("size", doc="numbers for each index")


def _shape(attrs: Embedding, types: Sequence[Type]) -> Type:
    x = types[0]
    if x.bound > LARGEST:
        raise OpError(
            "E0501",
            f"embedding takes indices below {LARGEST}, but these are {x}",
            hint="number rare indices together, so that fewer are left",
            argument=0,
        )
    if len(x.shape) >= RANK:
        raise OpError(
            "E0301", f"embedding adds an axis to {x}, and {RANK} is the limit", argument=0
        )
    return Type("float", (attrs.size, *x.shape))


def _params(attrs: Embedding, types: Sequence[Type]) -> tuple[ParamSpec, ...]:
    size = (types[0].bound, attrs.size)
    return (ParamSpec("weight", size, Init("normal", (0.0, 1.0)), fans=size),)


def _forward(attrs: Embedding, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    return np.moveaxis(params[0][inputs[0].astype(np.int64)], -1, 0).copy()


def _backward(
    attrs: Embedding, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    result = np.zeros_like(params[0])
    np.add.at(result, inputs[0].astype(np.int64), np.moveaxis(grad, 0, -1))
    return [None], [result]


# Each sample has its own indices. Where a row of the table lies in order, its numbers are moved a
# vector at a time, and a square of samples and numbers is turned over; the rest goes lane by lane.
# An index outside of the table, which checked data cannot hold, reads its first or last row.
def _text(gather: list[str], before: list[str], after: list[str], single: str) -> str:
    lines = [
        "def kernel(activation, parameter, gradient, operand):",
        "    x, y, w, rows = operand[0], operand[1], operand[2], operand[3]",
        "    size, positions, row_stride = operand[4], operand[5], operand[6]",
        "    column_stride, spare = operand[7], operand[8]",
        "    step = positions * LANES",
        "    whole = 0",
        "    if column_stride == 1:",
        "        whole = size // LANES * LANES",
        "    for p in range(positions):",
        "        at = y + p * LANES",
        "        for d in range(0, whole, LANES):",
        *(f"            {line}" for line in before),
        "            for lane in range(LANES):",
        "                k = min(max(int(activation[x + p * LANES + lane]), 0), rows - 1)",
        "                row = w + k * row_stride + d",
        *(f"                {line}" for line in gather),
        *(f"            {line}" for line in after),
        "        for lane in range(LANES):",
        "            k = min(max(int(activation[x + p * LANES + lane]), 0), rows - 1)",
        "            row = w + k * row_stride",
        "            for d in range(whole, size):",
        f"                {single}",
    ]
    return "\n".join(lines) + "\n"


EMBEDDING_KERNEL = Kernel(
    "embedding",
    _text(
        ["store(activation, spare + lane * LANES, load(parameter, row))"],
        [],
        ["transpose(activation, spare, LANES, activation, at + d * step, step)"],
        "activation[at + d * step + lane] = parameter[row + d * column_stride]",
    ),
)

EMBEDDING_BACKWARD = Kernel(
    "embedding_backward",
    _text(
        [
            "more = load(activation, spare + lane * LANES)",
            "store(gradient, row, load(gradient, row) + more)",
        ],
        ["transpose(activation, at + d * step, step, activation, spare, LANES)"],
        [],
        "gradient[row + d * column_stride] += activation[at + d * step + lane]",
    ),
)


def _row(emitter: Emitter, kernel: Kernel, x: Buffer, y: Buffer, weight: ParamBuffer) -> None:
    rows, size = weight.shape
    spare = emitter.scratch(emitter.lanes).offset
    places = (x.offset, y.offset, weight.offset)
    emitter.call(kernel, *places, rows, size, x.elements, *weight.strides, spare)


def _emit(emitter: Emitter) -> None:
    _row(emitter, EMBEDDING_KERNEL, emitter.input(0), emitter.output(), emitter.param(0))


def _emit_backward(emitter: Emitter) -> None:
    weight = emitter.param(0)
    if weight.trainable:
        _row(emitter, EMBEDDING_BACKWARD, emitter.input(0), emitter.grad_output(), weight)


EMBEDDING = Op(
    name="embedding",
    doc="""A learned vector for each index: y[:, t] = w[x[t], :].

    Input index[n, ...], output float[size, ...], channels first. Parameter: weight [n, size],
    which starts as N(0, 1). Bengio, Ducharme, Vincent, Jauvin, A neural probabilistic language
    model (2003).""",
    category="layer",
    inputs=("x",),
    kinds=(("index",),),
    Attrs=Embedding,
    shape=_shape,
    params=_params,
    forward=_forward,
    backward=_backward,
    saves=frozenset({"inputs"}),
    emit=_emit,
    emit_backward=_emit_backward,
    flops=lambda attrs, inputs, output: elements(output),
)
