"""`softmax` and `log_softmax` along one axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tiedgraph.ir.types import Type, elements
from tiedgraph.ops.axes import AXIS, find_axis, lengths, timed
from tiedgraph.ops.copying import blocks
from tiedgraph.ops.rules import Array, Emitter, Kernel, Op, hidden, setting


@dataclass(frozen=True)
class Softmax:
    over: int | str | tuple[int | str, ...] | None = setting("axis", 0, doc=AXIS)
    timed: tuple[int, ...] = hidden(())


def _settle(name: str) -> Callable[[Softmax, Sequence[Type]], Softmax]:
    def settle(attrs: Softmax, types: Sequence[Type]) -> Softmax:
        axis = find_axis(name, types[0], attrs.over, "over")
        return Softmax(axis, timed(types[0], (axis,)))

    return settle


def _axis(attrs: Softmax) -> int:
    assert isinstance(attrs.over, int)
    return attrs.over


# ---------------------------------------------------------------- the oracle


def _exponentials(attrs: Softmax, x: Array) -> tuple[Array, Array]:
    """x less its maximum, and the sum of the exponentials of that."""
    shifted = x - x.max(axis=_axis(attrs), keepdims=True)
    return shifted, np.exp(shifted).sum(axis=_axis(attrs), keepdims=True)


def _softmax(attrs: Softmax, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    shifted, total = _exponentials(attrs, inputs[0])
    return np.asarray(np.exp(shifted) / total)


def _softmax_backward(
    attrs: Softmax, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    mean = (grad * output).sum(axis=_axis(attrs), keepdims=True)
    return [output * (grad - mean)], []


def _log_softmax(attrs: Softmax, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    shifted, total = _exponentials(attrs, inputs[0])
    return np.asarray(shifted - np.log(total))


def _log_softmax_backward(
    attrs: Softmax, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    total = grad.sum(axis=_axis(attrs), keepdims=True)
    return [grad - np.exp(output) * total], []


# ---------------------------------------------------------------- kernels

# The value is seen as [outer, steps, inner]; steps that are not valid hold zero.
_HEAD = """def kernel(activation, parameter, gradient, operand):
    x, y, length, outer = operand[0], operand[1], operand[2], operand[3]
    steps, inner, given, add = operand[4], operand[5], operand[6], operand[7]
    zero = broadcast(0.0)
    step = inner * LANES
    limit = broadcast(steps)
    if length >= 0:
        limit = load(activation, length)
    for o in range(outer):
        for i in range(inner):
            place = (o * steps * inner + i) * LANES
"""


@lru_cache
def softmax_kernel(log: bool) -> Kernel:
    """y = exp(x - m) / s, or x - m - log s, with m the maximum and s the sum of exp(x - m)."""
    keep = "" if log else "                store(activation, y + place + k * step, v)\n"
    share = "log(total)" if log else "total"
    result = (
        "load(activation, x + at) - best - share" if log else "load(activation, y + at) / share"
    )
    return Kernel(
        "log_softmax" if log else "softmax",
        f"""{_HEAD}
            best = load(activation, x + place)
            for k in range(1, steps):
                v = load(activation, x + place + k * step)
                best = select(limit > k, maximum(best, v), best)
            total = zero
            for k in range(steps):
                v = exp(load(activation, x + place + k * step) - best)
                v = select(limit > k, v, zero)
{keep}                total = total + v
            share = {share}
            for k in range(steps):
                at = place + k * step
                v = {result}
                store(activation, y + at, select(limit > k, v, zero))
""",
    )


@lru_cache
def softmax_backward_kernel(log: bool) -> Kernel:
    """dx = y (dy - sum of dy y), or dy - exp(y) (sum of dy); `x` is where it goes."""
    term = "d" if log else "d * load(activation, y + at)"
    result = (
        "d - exp(load(activation, y + at)) * total"
        if log
        else "load(activation, y + at) * (d - total)"
    )
    return Kernel(
        "log_softmax_backward" if log else "softmax_backward",
        f"""{_HEAD}
            total = zero
            for k in range(steps):
                at = place + k * step
                d = load(activation, given + at)
                total = total + select(limit > k, {term}, zero)
            for k in range(steps):
                at = place + k * step
                d = load(activation, given + at)
                v = select(limit > k, {result}, zero)
                if add:
                    v = v + load(activation, x + at)
                store(activation, x + at, v)
""",
    )


def _loops(emitter: Emitter, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Place of the lengths (-1: all valid), numbers before, along and after the axis."""
    attrs = emitter.attrs
    outer, inner = blocks(shape, attrs.over)
    length = emitter.input(1).offset if attrs.timed else -1
    return length, outer, shape[attrs.over], inner


def _emitters(log: bool) -> tuple[Callable[[Emitter], None], Callable[[Emitter], None]]:
    def emit(emitter: Emitter) -> None:
        x, y = emitter.input(0), emitter.output()
        emitter.call(softmax_kernel(log), x.offset, y.offset, *_loops(emitter, x.shape), 0, 0)

    def emit_backward(emitter: Emitter) -> None:
        wanted = emitter.grad_input(0)
        if wanted is not None:
            into, add = wanted
            emitter.call(
                softmax_backward_kernel(log),
                into.offset,
                emitter.output().offset,
                *_loops(emitter, into.shape),
                emitter.grad_output().offset,
                int(add),
            )

    return emit, emit_backward


def _flops(attrs: Softmax, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    return 4 * elements(output)


def _record(
    name: str,
    doc: str,
    forward: Callable[..., Array],
    backward: Callable[..., tuple[Sequence[Array | None], Sequence[Array | None]]],
) -> Op:
    emit, emit_backward = _emitters(name == "log_softmax")
    return Op(
        name=name,
        doc=doc
        + """

    Input float of any shape, output of the same. Along a run-time axis each sample's own steps
    count, and the output is 0 at the others.""",
        category="function",
        inputs=("x",),
        Attrs=Softmax,
        settle=_settle(name),
        shape=lambda attrs, types: Type("float", types[0].shape),
        implicit=lambda attrs, types: lengths(types[0], attrs.timed),
        forward=forward,
        backward=backward,
        saves=frozenset({"output"}),
        emit=emit,
        emit_backward=emit_backward,
        flops=_flops,
    )


SOFTMAX = _record(
    "softmax",
    """Positive numbers that sum to 1 along an axis: y_i = exp(x_i) / sum_k exp(x_k).

    Computed from x less its maximum (Bridle 1990).""",
    _softmax,
    _softmax_backward,
)

LOG_SOFTMAX = _record(
    "log_softmax",
    """The logarithm of softmax along an axis: y_i = x_i - log sum_k exp(x_k).

    Computed from x less its maximum.""",
    _log_softmax,
    _log_softmax_backward,
)

SOFTMAXES: tuple[Op, ...] = (SOFTMAX, LOG_SOFTMAX)
