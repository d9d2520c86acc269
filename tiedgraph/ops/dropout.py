"""`dropout`: numbers left out at random, chosen by a hash of a sample's key and their place.

No random state is kept: forward, backward and the oracle compute the same choice. Run-time axes
enter the place in a way that does not depend on the batch's longest sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tiedgraph.ir.types import Type, elements
from tiedgraph.ops.axes import RANK, check_rank
from tiedgraph.ops.copying import merged, row_major
from tiedgraph.ops.rules import (
    Array,
    Emitter,
    Implicit,
    Kernel,
    Op,
    OpError,
    bits,
    hidden,
    setting,
)

RESOLUTION = 24  # bits of the hash that are compared with the rate
_WORD = 2**32


@dataclass(frozen=True)
class Dropout:
    rate: float = setting("number", 0.5, minimum=0.0, maximum=1.0, doc="share that is left out")
    places: tuple[int, ...] = hidden(())
    active: bool = hidden(True)


def _settle(attrs: Dropout, types: Sequence[Type]) -> Dropout:
    check_rank("dropout", types[0])
    if attrs.rate >= 1.0:
        raise OpError(
            "E0204",
            f"'rate' of dropout is below 1, but this is {attrs.rate:g}: nothing would be left",
            argument="rate",
        )
    return replace(attrs, places=_places(types[0]))


def _places(x: Type) -> tuple[int, ...]:
    """What one step along each axis adds to the place of a number, modulo 2^32.

    Fixed axes count row-major among themselves, run-time ones lie outside of them all and 2^16
    steps apart from one another.
    """
    inside = row_major([size if isinstance(size, int) else 1 for size in x.shape], 1)
    count = elements(size for size in x.shape if isinstance(size, int))
    places = list(inside)
    for axis in x.run_time_axes:
        places[axis] = count % _WORD
        count <<= 16
    return tuple(places)


def _mix(h: Array) -> Array:
    """A bijection of 32-bit integers that scatters them (xor-shift and multiply, twice)."""
    h = h ^ (h >> np.uint64(16))
    h = (h * np.uint64(0x21F0AAAD)) & np.uint64(_WORD - 1)
    h = h ^ (h >> np.uint64(15))
    h = (h * np.uint64(0x735A2D97)) & np.uint64(_WORD - 1)
    return np.asarray(h ^ (h >> np.uint64(15)))


def _threshold(attrs: Dropout) -> int:
    return round(attrs.rate * (1 << RESOLUTION))


def _kept(attrs: Dropout, key: Array, shape: tuple[int, ...]) -> Array:
    """1 / (1 - rate) where a number is kept, else 0."""
    place = np.zeros(shape, np.uint64)
    for axis, step in enumerate(attrs.places):
        along = np.arange(shape[axis], dtype=np.uint64) * np.uint64(step)
        place = place + along.reshape(-1, *[1] * (len(shape) - axis - 1))
    start = _mix(np.asarray(key).astype(np.uint64))
    drawn = _mix((place & np.uint64(_WORD - 1)) ^ start) >> np.uint64(32 - RESOLUTION)
    return np.asarray(np.where(drawn >= _threshold(attrs), 1.0 / (1.0 - attrs.rate), 0.0))


def _forward(attrs: Dropout, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    x, key = inputs
    return np.asarray(x * _kept(attrs, key, x.shape)) if attrs.active else x


def _backward(
    attrs: Dropout, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    x, key = inputs
    return [np.asarray(grad * _kept(attrs, key, x.shape)) if attrs.active else grad], []


# ---------------------------------------------------------------- kernels


# `h` is a vector of whole numbers of 32 bits.
_MIX = (
    "h = h ^ (h >> 16)",
    f"h = h * {0x21F0AAAD}",
    "h = h ^ (h >> 15)",
    f"h = h * {0x735A2D97}",
    "h = h ^ (h >> 15)",
)


def _text() -> str:
    text = [
        "x, y, key, add = operand[0], operand[1], operand[2], operand[3]",
        "threshold, scale = broadcast(operand[4]), broadcast(number(operand, 5))",
        "zero = broadcast(0.0)",
        "h = whole(load(activation, key))",
        *_MIX,
        "start = h",
    ]
    for k in range(RANK):
        text.append(f"n{k}, p{k} = operand[{6 + 2 * k}], operand[{7 + 2 * k}]")
    indent, place = "", "0"
    for k in range(RANK):
        text.append(f"{indent}for i{k} in range(n{k}):")
        indent += "    "
        text.append(f"{indent}q{k} = {place} + i{k} * p{k}")
        place = f"q{k}"
    text += [
        f"{indent}h = start ^ {place}",
        *(f"{indent}{line}" for line in _MIX),
        f"{indent}kept = numbers(h >> {32 - RESOLUTION}) >= threshold",
        f"{indent}v = select(kept, load(activation, x) * scale, zero)",
        f"{indent}if add:",
        f"{indent}    v = v + load(activation, y)",
        f"{indent}store(activation, y, v)",
        f"{indent}x += LANES",
        f"{indent}y += LANES",
    ]
    head = "def kernel(activation, parameter, gradient, operand):\n"
    return head + "".join(f"    {line}\n" for line in text)


# y = x / (1 - rate) where kept, else 0; or added to y.
DROPOUT_KERNEL = Kernel("dropout", _text())


def _row(emitter: Emitter, x: int, y: int, shape: tuple[int, ...], add: bool) -> None:
    attrs = emitter.attrs
    axes = merged([(size, (step,)) for size, step in zip(shape, attrs.places, strict=True)])
    padded = [(1, (0,))] * (RANK - len(axes)) + axes
    emitter.call(
        DROPOUT_KERNEL,
        x,
        y,
        emitter.input(1).offset,
        int(add),
        _threshold(attrs) if attrs.active else 0,
        bits(1.0 / (1.0 - attrs.rate) if attrs.active else 1.0),
        *(number for size, (step,) in padded for number in (size, step)),
    )


def _emit(emitter: Emitter) -> None:
    x, y = emitter.input(0), emitter.output()
    _row(emitter, x.offset, y.offset, x.shape, False)


def _emit_backward(emitter: Emitter) -> None:
    wanted = emitter.grad_input(0)
    if wanted is not None:
        into, add = wanted
        _row(emitter, emitter.grad_output().offset, into.offset, into.shape, add)


DROPOUT = Op(
    name="dropout",
    doc="""Leaves numbers out at random: y = x / (1 - rate) with probability 1 - rate, else 0.

    Only in training; evaluation and prediction pass x through. Input float of any shape, output of
    the same. The choice is a hash of the run's seed, the step, the layer, the sample and the place
    of the number, so the same seed drops the same numbers.
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, Dropout (2014).""",
    category="function",
    inputs=("x",),
    Attrs=Dropout,
    settle=_settle,
    shape=lambda attrs, types: Type("float", types[0].shape),
    implicit=lambda attrs, types: (Implicit("key"),),
    forward=_forward,
    backward=_backward,
    emit=_emit,
    emit_backward=_emit_backward,
    inference=lambda attrs: replace(attrs, active=False),
    flops=lambda attrs, inputs, output: elements(output),
)
