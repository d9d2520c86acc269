"""`softmax` and `log_softmax` along one axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tiedgraph.ir.types import Type, elements
from tiedgraph.ops.axes import AXIS, find_axis, lengths, timed
from tiedgraph.ops.columns import EXTRA, SIZES, Columns, columns
from tiedgraph.ops.copying import blocks
from tiedgraph.ops.rules import Array, Buffer, Emitter, Kernel, Op, hidden, put, setting


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

_HEAD = [
    *SIZES,
    f"x, y, kept, given = {', '.join(f'operand[{EXTRA + i}]' for i in range(4))}",
    f"add = operand[{EXTRA + 4}]",
    "shares = kept + outer * steps * inner * LANES",
]
_LIMIT = f"limit = load(activation, operand[{EXTRA + 5}])"


def _valid(timed: bool, value: str, otherwise: str) -> str:
    """What stands in steps of a sample, and in those that it lacks."""
    return f"select(limit > k, {value}, {otherwise})" if timed else value


def _source(text: Columns, timed: bool) -> str:
    return text.source([*_HEAD, _LIMIT] if timed else _HEAD)


@lru_cache
def softmax_kernel(log: bool, timed: bool, single: bool) -> Kernel:
    """y = exp(x - m) / s, or x - m - log s, with m the maximum and s the sum of exp(x - m).

    In place of y, the logarithm keeps exp(x - m), and 1 / s in `shares`.
    """
    text = Columns(single)
    text.once(["best, total = load(activation, x + at), zero"], made=["best", "total"])
    text.along(
        [
            "v = load(activation, x + at)",
            f"best = maximum(best, {_valid(timed, 'v', 'best')})",
        ],
        carried=["best"],
        first=1,
    )
    text.along(
        [
            "v = decay(load(activation, x + at) - best)",
            f"v = {_valid(timed, 'v', 'zero')}",
            f"store(activation, {'kept' if log else 'y'} + at, v)",
            "total = total + v",
        ],
        read=["best"],
        carried=["total"],
    )
    if log:
        made = ["store(activation, shares + place, 1.0 / total)", "total = log(total)"]
        result = "load(activation, x + at) - best - total"
    else:
        made = ["total = 1.0 / total"]
        result = "load(activation, y + at) * total"
    text.once(made, read=["total"], made=["total"])
    text.along(
        [f"v = {result}", f"store(activation, y + at, {_valid(timed, 'v', 'zero')})"],
        read=["best", "total"] if log else ["total"],
    )
    return Kernel("log_softmax" if log else "softmax", _source(text, timed))


@lru_cache
def softmax_backward_kernel(log: bool, timed: bool, single: bool) -> Kernel:
    """dx = y (dy - sum of dy y), or dy - exp(y) (sum of dy); `x` is where it goes."""
    text = Columns(single)
    text.once(["total = zero"], made=["total"])
    term = "d" if log else "d * load(activation, y + at)"
    text.along(
        [
            "d = load(activation, given + at)",
            f"v = {term}",
            f"total = total + {_valid(timed, 'v', 'zero')}",
        ],
        carried=["total"],
    )
    if log:
        text.once(
            ["total = total * load(activation, shares + place)"], read=["total"], made=["total"]
        )
    kept = "fma(load(activation, kept + at), -total, d)"
    text.along(
        [
            "d = load(activation, given + at)",
            f"v = {kept if log else 'load(activation, y + at) * (d - total)'}",
            f"v = {_valid(timed, 'v', 'zero')}",
            *put("v", "x"),
        ],
        read=["total"],
    )
    return Kernel("log_softmax_backward" if log else "softmax_backward", _source(text, timed))


def _emitters(log: bool) -> tuple[Callable[[Emitter], None], Callable[[Emitter], None]]:
    def row(
        emitter: Emitter, kernel: Callable[..., Kernel], x: Buffer, given: int, add: bool
    ) -> None:
        attrs, axis = emitter.attrs, emitter.attrs.over
        outer, inner = blocks(x.shape, axis)
        emitter.call(
            kernel(log, bool(attrs.timed), inner == 1),
            *columns(emitter, outer, x.shape[axis], inner),
            x.offset,
            emitter.output().offset,
            emitter.kept().offset if log else 0,
            given,
            int(add),
            *([emitter.input(1).offset] if attrs.timed else []),
        )

    def emit(emitter: Emitter) -> None:
        row(emitter, softmax_kernel, emitter.input(0), 0, False)

    def emit_backward(emitter: Emitter) -> None:
        wanted = emitter.grad_input(0)
        if wanted is not None:
            into, add = wanted
            row(emitter, softmax_backward_kernel, into, emitter.grad_output().offset, add)

    return emit, emit_backward


def _keeps(attrs: Softmax, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    """The exponentials, and one number for each row of them."""
    outer, inner = blocks(output, _axis(attrs))
    return elements(output) + outer * inner


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
        saves=frozenset(() if name == "log_softmax" else {"output"}),
        emit=emit,
        emit_backward=emit_backward,
        flops=_flops,
        functions=(("decay",), ()),
        keeps=_keeps if name == "log_softmax" else None,
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
