"""`concat` and `slice`: values joined and cut along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tiedgraph.ir.types import Dim, Extent, Type
from tiedgraph.ops.axes import AXIS, find_axis, lengths, timed
from tiedgraph.ops.copying import FILL_ZERO, GIVE_STEPS, TAKE_STEPS, blocks, copy, row_major
from tiedgraph.ops.rules import Array, Emitter, Op, OpError, hidden, setting
from tiedgraph.ops.shape import no_flops

# ---------------------------------------------------------------- concat


@dataclass(frozen=True)
class Concat:
    axis: int | str | tuple[int | str, ...] | None = setting("axis", 0, doc=AXIS)


def _settle_concat(attrs: Concat, types: Sequence[Type]) -> Concat:
    return Concat(find_axis("concat", types[0], attrs.axis, "axis"))


def _concat_shape(attrs: Concat, types: Sequence[Type]) -> Type:
    axis = attrs.axis
    assert isinstance(axis, int)
    first = types[0]
    total = 0
    for i, other in enumerate(types):
        rest = [(s, t) for k, (s, t) in enumerate(zip(first.shape, other.shape)) if k != axis]  # noqa: B905
        if len(other.shape) != len(first.shape) or any(s != t for s, t in rest):
            raise OpError(
                "E0301",
                f"concat along axis {axis} takes values that agree in all other axes, "
                f"but these are {first} and {other}",
                argument=i,
            )
        size = other.shape[axis]
        if isinstance(size, Extent):
            raise OpError(
                "E0304",
                f"concat cannot join run-time lengths: axis {axis} of {other} is {size}",
                hint="join along another axis, or reduce the run-time axis first",
                argument=i,
            )
        total += size
    return Type("float", (*first.shape[:axis], total, *first.shape[axis + 1 :]))


def _concat_backward(
    attrs: Concat, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    assert isinstance(attrs.axis, int)
    ends = np.cumsum([x.shape[attrs.axis] for x in inputs])
    return list(np.split(grad, ends[:-1], axis=attrs.axis)), []


def _emit_concat(emitter: Emitter) -> None:
    y, axis = emitter.output(), emitter.attrs.axis
    strides = row_major(y.shape, emitter.lanes)
    at, i = y.offset, 0
    end = y.offset + (y.shape[axis] * strides[axis])
    while at < end:
        x = emitter.input(i)
        copy(emitter, x.offset, at, x.shape, row_major(x.shape, emitter.lanes), strides)
        at += x.shape[axis] * strides[axis]
        i += 1


def _emit_concat_backward(emitter: Emitter) -> None:
    grad, axis = emitter.grad_output(), emitter.attrs.axis
    strides = row_major(grad.shape, emitter.lanes)
    at, i = grad.offset, 0
    end = grad.offset + (grad.shape[axis] * strides[axis])
    while at < end:
        size = emitter.input(i).shape[axis]
        wanted = emitter.grad_input(i)
        if wanted is not None:
            into, add = wanted
            own = row_major(into.shape, emitter.lanes)
            copy(emitter, at, into.offset, into.shape, strides, own, add)
        at += size * strides[axis]
        i += 1


CONCAT = Op(
    name="concat",
    doc="""Values one after the other along an axis.

    Inputs float of shapes that agree but for `axis`, output with the sum of their sizes there.
    A run-time axis cannot be the one that is joined.""",
    category="function",
    inputs=("x*",),
    Attrs=Concat,
    settle=_settle_concat,
    shape=_concat_shape,
    forward=lambda attrs, inputs, params: np.concatenate(list(inputs), axis=attrs.axis),
    backward=_concat_backward,
    emit=_emit_concat,
    emit_backward=_emit_concat_backward,
    flops=no_flops,
)

# ---------------------------------------------------------------- slice


@dataclass(frozen=True)
class Slice:
    start: int = setting("integer", doc="first entry taken; negative counts from the end")
    stop: int | None = setting(
        "integer", None, doc="first entry no longer taken; negative counts from the end; the end"
    )
    axis: int | str | tuple[int | str, ...] | None = setting("axis", 0, doc=AXIS)
    timed: tuple[int, ...] = hidden(())


def _settle_slice(attrs: Slice, types: Sequence[Type]) -> Slice:
    """Fixed axes get 0 <= start < stop; run-time ones keep what counts from the end."""
    axis = find_axis("slice", types[0], attrs.axis, "axis")
    size = types[0].shape[axis]
    if isinstance(size, Extent):
        by_length = timed(types[0], (axis,)) if _taken(attrs) is not None else ()
        return replace(attrs, axis=axis, timed=by_length)
    start, stop, _ = slice(attrs.start, attrs.stop).indices(size)
    for name, given in (("start", attrs.start), ("stop", attrs.stop)):
        if given is not None and not -size <= given <= size:
            raise OpError(
                "E0301",
                f"'{name}' of slice is {given}, but axis {axis} of {types[0]} has {size} entries",
                argument=name,
            )
    if stop <= start:
        raise OpError(
            "E0301",
            f"slice takes nothing: entries {start} to {stop} of the {size} along axis {axis}",
            hint="stop is the first entry no longer taken",
            argument="start" if attrs.stop is None else "stop",
        )
    return replace(attrs, axis=axis, start=start, stop=stop, timed=())


def _taken(attrs: Slice) -> int | None:
    """How many steps a slice of a run-time axis takes; None where that depends on the length."""
    from_end = attrs.stop is None or attrs.stop < 0
    if (attrs.start < 0) != from_end:
        return None
    return (attrs.stop or 0) - attrs.start


def _slice_shape(attrs: Slice, types: Sequence[Type]) -> Type:
    axis = attrs.axis
    assert isinstance(axis, int)
    size = types[0].shape[axis]
    taken: Dim
    if not isinstance(size, Extent):
        assert attrs.stop is not None
        taken = attrs.stop - attrs.start
    else:
        count = _taken(attrs)
        if attrs.start < 0 and count is None:
            raise OpError(
                "E0304",
                f"how many steps slice takes from {attrs.start} to {attrs.stop} depends on the "
                f"length of each sample: axis {axis} of {types[0]} is {size}",
                hint="count both from the start, or both from the end",
                argument="stop",
            )
        if count is not None and count < 1:
            raise OpError(
                "E0301",
                f"slice takes nothing: steps {attrs.start} to {attrs.stop or 'the end'}",
                hint="stop is the first step no longer taken",
                argument="start" if attrs.stop is None else "stop",
            )
        taken = size.plus((attrs.stop or 0) - attrs.start) if count is None else count
    return Type("float", (*types[0].shape[:axis], taken, *types[0].shape[axis + 1 :]))


def _span(attrs: Slice, length: int) -> tuple[int, int, int]:
    """First and last (excluded) entry of one sample, and how many entries are missing before."""
    count = _taken(attrs) if attrs.timed else None
    if count is None:
        first, last, _ = slice(attrs.start, attrs.stop).indices(length)
        return first, max(first, last), 0
    first = length + attrs.start if attrs.start < 0 else attrs.start
    begin, end = min(max(first, 0), length), min(max(first + count, 0), length)
    return begin, max(begin, end), begin - first if begin < end else 0


def _slice_forward(attrs: Slice, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    assert isinstance(attrs.axis, int)
    x = np.moveaxis(inputs[0], attrs.axis, 0)
    first, last, missing = _span(attrs, len(x))
    result = x[first:last]
    if attrs.timed:
        count = _taken(attrs) or 0
        result = np.zeros((count, *x.shape[1:]), x.dtype)
        result[missing : missing + last - first] = x[first:last]
    return np.moveaxis(result, 0, attrs.axis).copy()


def _slice_backward(
    attrs: Slice, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    assert isinstance(attrs.axis, int)
    result = np.zeros_like(inputs[0])
    into, given = np.moveaxis(result, attrs.axis, 0), np.moveaxis(grad, attrs.axis, 0)
    first, last, missing = _span(attrs, len(into))
    into[first:last] = given[missing : missing + last - first]
    return [result], []


def _emit_slice(emitter: Emitter) -> None:
    attrs, x, y = emitter.attrs, emitter.input(0), emitter.output()
    axis = attrs.axis
    if attrs.timed:
        outer, inner = blocks(x.shape, axis)
        emitter.call(
            TAKE_STEPS, x.offset, y.offset, emitter.input(1).offset, attrs.start,
            outer, x.shape[axis], y.shape[axis], inner,
        )  # fmt: skip
        return
    strides = row_major(x.shape, emitter.lanes)
    start = x.offset + attrs.start * strides[axis]
    copy(emitter, start, y.offset, y.shape, strides, row_major(y.shape, emitter.lanes))


def _emit_slice_backward(emitter: Emitter) -> None:
    attrs, grad, wanted = emitter.attrs, emitter.grad_output(), emitter.grad_input(0)
    if wanted is None:
        return
    into, add = wanted
    axis = attrs.axis
    if not add:
        emitter.call(FILL_ZERO, into.offset, into.elements)
    if attrs.timed:
        outer, inner = blocks(into.shape, axis)
        emitter.call(
            GIVE_STEPS, into.offset, grad.offset, emitter.input(1).offset, attrs.start,
            outer, into.shape[axis], grad.shape[axis], inner,
        )  # fmt: skip
        return
    strides = row_major(into.shape, emitter.lanes)
    start = into.offset + attrs.start * strides[axis]
    own = row_major(grad.shape, emitter.lanes)
    copy(emitter, grad.offset, start, grad.shape, own, strides, add)


SLICE = Op(
    name="slice",
    doc="""Entries `start` to `stop` (excluded) along an axis.

    Input float of any shape, output the same with stop - start entries along `axis`. Negative
    numbers count from the end, without `stop` it goes to the end. Along a run-time axis,
    slice(x, 2, axis=time) leaves each sample's length less 2, and slice(x, -1, axis=time) is the
    last valid step of each; where both ends count from one side, the number of steps is fixed, and
    steps that a short sample does not have are zeros.""",
    category="function",
    inputs=("x",),
    Attrs=Slice,
    settle=_settle_slice,
    shape=_slice_shape,
    implicit=lambda attrs, types: lengths(types[0], attrs.timed),
    forward=_slice_forward,
    backward=_slice_backward,
    emit=_emit_slice,
    emit_backward=_emit_slice_backward,
    flops=no_flops,
)

SLICING: tuple[Op, ...] = (CONCAT, SLICE)
