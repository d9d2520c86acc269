"""Functions that rearrange the numbers of one value: reshape, flatten, transpose, flip.

`reshape` and `flatten` are the same memory under another shape; the other two are strided copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tiedgraph.diagnostics import nearest
from tiedgraph.ir.types import Dim, Extent, Type, elements, shape_text
from tiedgraph.ops.axes import AXIS, check_rank, find_axis, lengths, timed
from tiedgraph.ops.copying import REVERSE_STEPS, blocks, copy, row_major
from tiedgraph.ops.rules import (
    Array,
    Buffer,
    Emitter,
    NoAttrs,
    Op,
    OpError,
    hidden,
    setting,
)


def no_flops(attrs: object, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    return 0


# ---------------------------------------------------------------- reshape and flatten


@dataclass(frozen=True)
class Reshape:
    shape: tuple[int | str, ...] = setting(
        "shape", doc="the new sizes, channels first; one may be -1 for what is left over"
    )
    full: tuple[Dim, ...] = hidden(())
    timed: tuple[int, ...] = hidden(())


def _settle_reshape(attrs: Reshape, types: Sequence[Type]) -> Reshape:
    x = types[0]
    return replace(attrs, full=_new_shape(attrs.shape, x), timed=x.run_time_axes)


def _new_shape(wanted: Sequence[int | str], x: Type) -> tuple[Dim, ...]:
    run_time = [size for size in x.shape if isinstance(size, Extent)]
    count = elements(size for size in x.shape if isinstance(size, int))
    known: list[Dim | None] = []
    waiting = list(run_time)
    for size in wanted:
        if isinstance(size, str):
            known.append(_run_time(size, waiting, x))
        elif size == -1:
            known.append(None)
        elif size < 1:
            raise OpError(
                "E0303", f"a size of reshape is a positive integer or -1, not {size}",
                argument="shape",
            )  # fmt: skip
        else:
            known.append(size)
    if known.count(None) > 1:
        raise OpError("E0204", "only one size of reshape can be -1", argument="shape")
    product = elements(size for size in known if isinstance(size, int))
    if None in known:
        if len(waiting) == 1 and product == count:
            known[known.index(None)] = waiting.pop()
        elif not waiting and product and count % product == 0:
            known[known.index(None)] = count // product
    full = tuple(size for size in known if size is not None)
    same_count = elements(size for size in full if isinstance(size, int)) == count
    if len(full) < len(known) or waiting or not same_count:
        raise OpError(
            "E0304" if waiting else "E0301",
            f"{x} cannot take the shape [{', '.join(str(size) for size in wanted)}]"
            + (f", which leaves out {waiting[0]}" if waiting else ""),
            hint="name the run-time axis, or write -1 in its place"
            if waiting
            else f"{shape_text(x.shape)} has {count} entries, and the new shape needs as many",
            argument="shape",
        )
    if _between(full) != _between(x.shape):
        raise OpError(
            "E0304",
            f"reshape would cut through a run-time axis: {x} to {shape_text(full)}",
            hint="keep the same number of entries before and after each run-time axis, "
            "or transpose first",
            argument="shape",
        )
    check_rank("reshape", Type("float", full), "shape")
    return full


def _run_time(name: str, waiting: list[Extent], x: Type) -> Extent:
    for size in waiting:
        if size.symbol == name:
            waiting.remove(size)
            return size
    raise OpError(
        "E0301",
        f"reshape has no axis '{name}' left: its input is {x}",
        hint=nearest(name, x.symbols),
        argument="shape",
    )


def _between(shape: Sequence[Dim]) -> list[Extent | int]:
    """The run-time sizes in their order, and the numbers of entries before, between and after."""
    result: list[Extent | int] = [1]
    for size in shape:
        last = result[-1]
        if isinstance(size, Extent):
            result += [size, 1]
        else:
            assert isinstance(last, int)
            result[-1] = last * size
    return result


def _reshaped(attrs: Reshape, x: Array) -> Array:
    """One sample under the new shape; its run-time sizes are taken over in their order."""
    lengths_left = iter(x.shape[axis] for axis in attrs.timed)
    return x.reshape([next(lengths_left) if isinstance(s, Extent) else s for s in attrs.full])


def _emit_copy_backward(emitter: Emitter) -> None:
    """Only where the gradient must be added to another; else it is the same memory."""
    wanted = emitter.grad_input(0)
    if wanted is not None:
        into, add = wanted
        line = (into.elements,)
        ones = (emitter.lanes,)
        copy(emitter, emitter.grad_output().offset, into.offset, line, ones, ones, add)


RESHAPE = Op(
    name="reshape",
    doc="""The same entries in the same order under another shape, row-major.

    Input float of any shape, output float of the shape given. One size may be -1 and is worked
    out. Run-time axes are named, or stand as -1, and keep their place in the order: as many
    entries come before, between and after them as did.""",
    category="function",
    inputs=("x",),
    Attrs=Reshape,
    settle=_settle_reshape,
    shape=lambda attrs, types: Type("float", attrs.full),
    forward=lambda attrs, inputs, params: _reshaped(attrs, inputs[0]),
    backward=lambda attrs, inputs, params, output, grad: ([grad.reshape(inputs[0].shape)], []),
    emit_backward=_emit_copy_backward,
    alias=True,
    flops=no_flops,
)


def _flat(attrs: NoAttrs, types: Sequence[Type]) -> Type:
    if types[0].symbols:
        raise OpError(
            "E0304",
            f"flatten needs an input of fixed size, but this one is {types[0]}",
            hint=f"reduce over {', '.join(sorted(types[0].symbols))} first, with mean or max",
            argument=0,
        )
    return Type("float", (elements(s for s in types[0].shape if isinstance(s, int)),))


FLATTEN = Op(
    name="flatten",
    doc="""All entries in a row, row-major.

    Input float of any fixed shape, output float[n].""",
    category="function",
    inputs=("x",),
    shape=_flat,
    forward=lambda attrs, inputs, params: inputs[0].reshape(-1),
    backward=lambda attrs, inputs, params, output, grad: ([grad.reshape(inputs[0].shape)], []),
    emit_backward=_emit_copy_backward,
    alias=True,
    flops=no_flops,
)

# ---------------------------------------------------------------- transpose


@dataclass(frozen=True)
class Transpose:
    axes: int | str | tuple[int | str, ...] | None = setting(
        "axis", None, doc="for each axis of the output the input's axis; without, their reverse"
    )


def _settle_transpose(attrs: Transpose, types: Sequence[Type]) -> Transpose:
    check_rank("transpose", types[0])
    rank = len(types[0].shape)
    if attrs.axes is None:
        return Transpose(tuple(reversed(range(rank))))
    axes = attrs.axes if isinstance(attrs.axes, tuple) else (attrs.axes,)
    if any(isinstance(axis, str) for axis in axes) or sorted(
        axis % rank if rank and -rank <= axis < rank else -1  # type: ignore[operator]
        for axis in axes
    ) != list(range(rank)):
        raise OpError(
            "E0204",
            f"'axes' of transpose names each of the {rank} axes of {types[0]} once",
            hint=f"such as axes=[{', '.join(str(i) for i in reversed(range(rank)))}]",
            argument="axes",
        )
    return Transpose(tuple(axis % rank for axis in axes if isinstance(axis, int)))


def _order(attrs: Transpose) -> tuple[int, ...]:
    assert isinstance(attrs.axes, tuple)
    return tuple(axis for axis in attrs.axes if isinstance(axis, int))


def _turn(
    emitter: Emitter, x: Buffer, y: Buffer, order: Sequence[int], *, back: bool, add: bool
) -> None:
    """Copies x to y with y's axes in `order` of x's; `back` copies y to x instead."""
    strides = row_major(x.shape, emitter.lanes)
    turned = [strides[axis] for axis in order]
    own = row_major(y.shape, emitter.lanes)
    if back:
        copy(emitter, y.offset, x.offset, y.shape, own, turned, add)
    else:
        copy(emitter, x.offset, y.offset, y.shape, turned, own, add)


def _emit_transpose(emitter: Emitter) -> None:
    order = _order(emitter.attrs)
    _turn(emitter, emitter.input(0), emitter.output(), order, back=False, add=False)


def _emit_transpose_backward(emitter: Emitter) -> None:
    wanted = emitter.grad_input(0)
    if wanted is not None:
        order = _order(emitter.attrs)
        _turn(emitter, wanted[0], emitter.grad_output(), order, back=True, add=wanted[1])


TRANSPOSE = Op(
    name="transpose",
    doc="""Axes in another order: y[i, j, ...] = x[..., j, i].

    Input float of any shape, output float with its sizes in the order of `axes`; run-time axes
    may move too.""",
    category="function",
    inputs=("x",),
    Attrs=Transpose,
    settle=_settle_transpose,
    shape=lambda attrs, types: Type("float", tuple(types[0].shape[i] for i in _order(attrs))),
    forward=lambda attrs, inputs, params: inputs[0].transpose(_order(attrs)).copy(),
    backward=lambda attrs, inputs, params, output, grad: (
        [grad.transpose(np.argsort(_order(attrs)))],
        [],
    ),
    emit=_emit_transpose,
    emit_backward=_emit_transpose_backward,
    flops=no_flops,
)

# ---------------------------------------------------------------- flip


@dataclass(frozen=True)
class Flip:
    axis: int | str | tuple[int | str, ...] | None = setting("axis", doc=AXIS)
    timed: tuple[int, ...] = hidden(())


def _settle_flip(attrs: Flip, types: Sequence[Type]) -> Flip:
    axis = find_axis("flip", types[0], attrs.axis, "axis")
    return Flip(axis, timed(types[0], (axis,)))


def _flip_rows(emitter: Emitter, x: Buffer, y: Buffer, add: bool) -> None:
    attrs = emitter.attrs
    if attrs.timed:
        outer, inner = blocks(x.shape, attrs.axis)
        emitter.call(
            REVERSE_STEPS, x.offset, y.offset, emitter.input(1).offset,
            outer, x.shape[attrs.axis], inner, int(add),
        )  # fmt: skip
        return
    own = row_major(x.shape, emitter.lanes)
    backwards = tuple(-s if axis == attrs.axis else s for axis, s in enumerate(own))
    last = x.offset + (x.shape[attrs.axis] - 1) * own[attrs.axis]
    copy(emitter, last, y.offset, y.shape, backwards, own, add)


def _emit_flip(emitter: Emitter) -> None:
    _flip_rows(emitter, emitter.input(0), emitter.output(), False)


def _emit_flip_backward(emitter: Emitter) -> None:
    wanted = emitter.grad_input(0)
    if wanted is not None:
        _flip_rows(emitter, emitter.grad_output(), wanted[0], wanted[1])


FLIP = Op(
    name="flip",
    doc="""Entries along one axis in reverse: y[k] = x[n - 1 - k].

    Input float of any shape, output of the same. Along a run-time axis each sample is reversed
    within its own length.""",
    category="function",
    inputs=("x",),
    Attrs=Flip,
    settle=_settle_flip,
    shape=lambda attrs, types: Type("float", types[0].shape),
    implicit=lambda attrs, types: lengths(types[0], attrs.timed),
    forward=lambda attrs, inputs, params: np.flip(inputs[0], attrs.axis).copy(),
    backward=lambda attrs, inputs, params, output, grad: ([np.flip(grad, attrs.axis)], []),
    emit=_emit_flip,
    emit_backward=_emit_flip_backward,
    flops=no_flops,
)

SHAPES: tuple[Op, ...] = (RESHAPE, FLATTEN, TRANSPOSE, FLIP)
