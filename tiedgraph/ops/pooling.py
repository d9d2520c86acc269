"""`subsample` and `max_pool`: one number for each block or window, over time or images.

A sequence [channels, time] is walked as an image of height 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from tiedgraph.ir.graph import Init
from tiedgraph.ir.types import Dim, Extent, Type, elements
from tiedgraph.ops import pairs
from tiedgraph.ops.axes import fixed
from tiedgraph.ops.copying import FILL_ZERO
from tiedgraph.ops.linear import add_sums
from tiedgraph.ops.pointwise import apply
from tiedgraph.ops.rules import (
    Array,
    Buffer,
    Emitter,
    Kernel,
    Op,
    OpError,
    ParamSpec,
    each_number,
    setting,
)

# ---------------------------------------------------------------- shapes


def _spatial(what: str, x: Type) -> int:
    """Number of axes behind the channels: 1 for time, 2 for images."""
    if len(x.shape) not in (2, 3):
        raise OpError(
            "E0301",
            f"{what} takes float[channels, time] or float[channels, rows, columns], "
            f"but this input is {x}",
            argument=0,
        )
    fixed(what, x, 0)
    return len(x.shape) - 1


def _sizes(what: str, given: tuple[int, ...], rank: int, name: str) -> tuple[int, ...]:
    """One size for each axis behind the channels."""
    if len(given) not in (1, rank):
        axes = "one axis" if rank == 1 else f"{rank} axes"
        raise OpError(
            "E0204",
            f"'{name}' of {what} has {len(given)} sizes, but its input has {axes} to go over",
            hint="give one number for all axes, or one for each behind the channels",
            argument=name,
        )
    return given * rank if len(given) == 1 else given


def _outputs(what: str, size: Dim, window: int, stride: int, axis: int, name: str) -> Dim:
    """Number of windows along one axis; what is left over at its end is not read."""
    if isinstance(size, Extent):
        return size.plus(stride - window).over(stride)
    if window > size:
        raise OpError(
            "E0301",
            f"{what} goes over {window} entries at once, but axis {axis} has only {size}",
            hint=f"use a smaller '{name}'",
            argument=name,
        )
    return (size - window) // stride + 1


def _image(x: Buffer) -> tuple[int, int, int]:
    """Channels, rows and columns; one row for a sequence."""
    channels, *rest = x.shape
    rows, columns = [1] * (2 - len(rest)) + rest
    return channels, rows, columns


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    rows, columns = (1,) * (2 - len(sizes)) + sizes
    return rows, columns


# ---------------------------------------------------------------- subsample


@dataclass(frozen=True)
class Subsample:
    r: tuple[int, ...] = setting(
        "sizes", doc="size of a block: one number, or rows and columns of an image's"
    )
    trainable: bool = setting(
        "flag", False, doc="whether a weight and a bias of each channel stand in place of the mean"
    )


def _settle_subsample(attrs: Subsample, types: Sequence[Type]) -> Subsample:
    rank = _spatial("subsample", types[0])
    return replace(attrs, r=_sizes("subsample", attrs.r, rank, "r"))


def _subsample_shape(attrs: Subsample, types: Sequence[Type]) -> Type:
    channels, *sizes = types[0].shape
    pairs = enumerate(zip(sizes, attrs.r, strict=True), 1)
    blocks = [_outputs("subsample", size, r, r, axis, "r") for axis, (size, r) in pairs]
    return Type("float", (channels, *blocks))


def _subsample_params(attrs: Subsample, types: Sequence[Type]) -> tuple[ParamSpec, ...]:
    if not attrs.trainable:
        return ()
    channels, size = fixed("subsample", types[0], 0), elements(attrs.r)
    return (
        ParamSpec("weight", (channels,), Init("constant", (1.0 / size,)), fans=(size, 1)),
        ParamSpec("bias", (channels,), Init("zeros")),
    )


def _by_channel(numbers: Array, rank: int) -> Array:
    """A number of each channel, to be multiplied with [channels, ...] of `rank` axes."""
    return numbers.reshape(-1, *[1] * (rank - 1))


def _block_sums(attrs: Subsample, x: Array) -> Array:
    """The sum over each block; the remainder at the end of an axis is dropped."""
    channels, *sizes = x.shape
    counts = [size // r for size, r in zip(sizes, attrs.r, strict=True)]
    whole = tuple(slice(0, n * r) for n, r in zip(counts, attrs.r, strict=True))
    split = [part for n, r in zip(counts, attrs.r, strict=True) for part in (n, r)]
    blocks = x[(slice(None), *whole)].reshape(channels, *split)
    return np.asarray(blocks.sum(axis=tuple(range(2, blocks.ndim, 2))))


def _subsample_forward(attrs: Subsample, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    sums = _block_sums(attrs, inputs[0])
    if not attrs.trainable:
        return sums / elements(attrs.r)
    weight, bias = (_by_channel(p, sums.ndim) for p in params)
    return weight * sums + bias


def _subsample_backward(
    attrs: Subsample, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    (x,) = inputs
    grad_params: list[Array | None] = []
    share = grad / elements(attrs.r)
    if attrs.trainable:
        share = grad * _by_channel(params[0], grad.ndim)
        positions = tuple(range(1, grad.ndim))
        grad_params = [
            (grad * _block_sums(attrs, x)).sum(axis=positions),
            grad.sum(axis=positions),
        ]
    for axis, r in enumerate(attrs.r, 1):
        share = share.repeat(r, axis=axis)
    result = np.zeros_like(x)
    result[tuple(slice(0, size) for size in share.shape)] = share
    return [result], grad_params


_UNROLLED = 4  # columns of a block up to which its kernel is written out


@lru_cache
def subsample_kernel(columns: int, epilogue: tuple[str, ...]) -> Kernel:
    """y = f(w s + b) or f(s / n) with s the sum of each block.

    columns: of a block, written out; 0 for any number in a loop.
    """
    row = "                    "
    reads = [f"{row}s = s + load(activation, at + {j} * LANES)" for j in range(columns)] or [
        f"{row}for j in range(wide):",
        f"{row}    s = s + load(activation, at + j * LANES)",
    ]
    text = [
        "def kernel(activation, parameter, gradient, operand):",
        "    x, y, weight, bias = operand[0], operand[1], operand[2], operand[3]",
        "    channels, rows, across, high, wide = "
        "operand[4], operand[5], operand[6], operand[7], operand[8]",
        "    plane, row, weight_stride, bias_stride = "
        "operand[9], operand[10], operand[11], operand[12]",
        "    trained = operand[13]",
        "    count = broadcast(high * wide)",
        "    w = broadcast(1.0)",
        "    b = broadcast(0.0)",
        "    for c in range(channels):",
        "        if trained:",
        "            w = broadcast(parameter[weight + c * weight_stride])",
        "            b = broadcast(parameter[bias + c * bias_stride])",
        "        for r in range(rows):",
        "            for k in range(across):",
        "                at = x + c * plane + r * high * row + k * wide * LANES",
        "                s = broadcast(0.0)",
        "                for i in range(high):",
        *reads,
        f"{row}at += row",
        "                if trained:",
        "                    s = fma(w, s, b)",
        "                else:",
        "                    s = s / count",
        *(f"                {line}" for line in apply(epilogue, "s")),
        "                store(activation, y, s)",
        "                y += LANES",
    ]
    return Kernel(f"subsample_{columns}", "\n".join(text) + "\n")


# dx = w dy or dy / n in each block.
SUBSAMPLE_BACKWARD = Kernel(
    "subsample_backward",
    """def kernel(activation, parameter, gradient, operand):
    into, given, weight, add = operand[0], operand[1], operand[2], operand[3]
    channels, rows, across = operand[4], operand[5], operand[6]
    high, wide, plane, row = operand[7], operand[8], operand[9], operand[10]
    weight_stride, trained = operand[11], operand[12]
    count = broadcast(high * wide)
    w = broadcast(1.0)
    for c in range(channels):
        if trained:
            w = broadcast(parameter[weight + c * weight_stride])
        for r in range(rows):
            for k in range(across):
                at = into + c * plane + r * high * row + k * wide * LANES
                g = load(activation, given)
                given += LANES
                if trained:
                    g = g * w
                else:
                    g = g / count
                for i in range(high):
                    for j in range(wide):
                        v = g
                        if add:
                            v = v + load(activation, at + j * LANES)
                        store(activation, at + j * LANES, v)
                    at += row
""",
)

# Gradient of the weights: dy times the block's sum, over all blocks of a channel and all samples.
SUBSAMPLE_WEIGHT = Kernel(
    "subsample_weight",
    """def kernel(activation, parameter, gradient, operand):
    x, given, weight = operand[0], operand[1], operand[2]
    channels, rows, across = operand[3], operand[4], operand[5]
    high, wide, plane, row = operand[6], operand[7], operand[8], operand[9]
    weight_stride = operand[10]
    for c in range(channels):
        total = broadcast(0.0)
        for r in range(rows):
            for k in range(across):
                at = x + c * plane + r * high * row + k * wide * LANES
                s = broadcast(0.0)
                for i in range(high):
                    for j in range(wide):
                        s = s + load(activation, at + j * LANES)
                    at += row
                total = fma(load(activation, given), s, total)
                given += LANES
        gradient[weight + c * weight_stride] += sum_lanes(total)
""",
)


def _emit_subsample(emitter: Emitter) -> None:
    attrs, x, y = emitter.attrs, emitter.input(0), emitter.output()
    _, rows, columns = _image(x)
    high, wide = _pair(attrs.r)
    weight = emitter.param(0) if attrs.trainable else None
    bias = emitter.param(1) if attrs.trainable else None
    width = pairs.width_of(emitter, _image(y)[2], wide)
    plain = subsample_kernel(wide if wide <= _UNROLLED else 0, emitter.epilogue)
    emitter.call(
        pairs.sums_kernel(emitter.epilogue) if width else plain,
        x.offset,
        y.offset,
        weight.offset if weight else 0,
        bias.offset if bias else 0,
        *_image(y),
        high,
        wide,
        rows * columns * emitter.lanes,
        columns * emitter.lanes,
        weight.strides[0] if weight else 0,
        bias.strides[0] if bias else 0,
        int(attrs.trainable),
        lanes=width or None,
    )


def _emit_subsample_backward(emitter: Emitter) -> None:
    attrs, grad = emitter.attrs, emitter.grad_output()
    high, wide = _pair(attrs.r)
    width = pairs.width_of(emitter, _image(grad)[2], wide)
    weight = emitter.param(0) if attrs.trainable else None
    if weight is not None and weight.trainable:
        x = emitter.input(0)
        _, rows, columns = _image(x)
        emitter.call(
            pairs.WEIGHT if width else SUBSAMPLE_WEIGHT,
            x.offset,
            grad.offset,
            weight.offset,
            *_image(grad),
            high,
            wide,
            rows * columns * emitter.lanes,
            columns * emitter.lanes,
            weight.strides[0],
            lanes=width or None,
        )
    if attrs.trainable and emitter.param(1).trainable:
        add_sums(emitter, grad, emitter.param(1))
    wanted = emitter.grad_input(0)
    if wanted is None:
        return
    into, add = wanted
    _, rows, columns = _image(into)
    covered = grad.elements * high * wide == into.elements
    if not add and not covered:
        each_number(emitter, FILL_ZERO, (into.offset,), into.elements)
    emitter.call(
        pairs.SPREAD if width else SUBSAMPLE_BACKWARD,
        into.offset,
        grad.offset,
        weight.offset if weight else 0,
        int(add),
        *_image(grad),
        high,
        wide,
        rows * columns * emitter.lanes,
        columns * emitter.lanes,
        weight.strides[0] if weight else 0,
        int(attrs.trainable),
        lanes=width or None,
    )


SUBSAMPLE = Op(
    name="subsample",
    doc="""The mean over non-overlapping blocks: y[c, t] = (sum_k x[c, t r + k]) / r.

    Input float[channels, time] or float[channels, rows, columns], output with every size divided
    by r; what is left over at the end is dropped. With trainable=true
    y[c, t] = w[c] (sum_k x[c, t r + k]) + b[c], parameters weight [channels], which starts as the
    mean, and bias [channels].
    LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document recognition (1998).
    """,
    category="layer",
    inputs=("x",),
    Attrs=Subsample,
    settle=_settle_subsample,
    shape=_subsample_shape,
    params=_subsample_params,
    parametric=lambda attrs: bool(attrs.trainable),
    forward=_subsample_forward,
    backward=_subsample_backward,
    saves=frozenset({"inputs"}),
    emit=_emit_subsample,
    emit_backward=_emit_subsample_backward,
    epilogue=True,
    places=lambda inputs, output: elements(output[1:]),
    flops=lambda attrs, inputs, output: elements(inputs[0]) + 2 * elements(output),
)

# ---------------------------------------------------------------- max_pool


@dataclass(frozen=True)
class MaxPool:
    window: tuple[int, ...] = setting(
        "sizes", doc="entries seen at once: one number, or rows and columns of an image's window"
    )
    stride: tuple[int, ...] | None = setting(
        "sizes", None, doc="entries between two windows; as many as a window has"
    )


def _settle_pool(attrs: MaxPool, types: Sequence[Type]) -> MaxPool:
    rank = _spatial("max_pool", types[0])
    window = _sizes("max_pool", attrs.window, rank, "window")
    given = window if attrs.stride is None else attrs.stride
    return MaxPool(window, _sizes("max_pool", given, rank, "stride"))


def _strides(attrs: MaxPool) -> tuple[int, ...]:
    assert attrs.stride is not None
    return attrs.stride


def _pool_shape(attrs: MaxPool, types: Sequence[Type]) -> Type:
    channels, *sizes = types[0].shape
    rows = enumerate(zip(sizes, attrs.window, _strides(attrs), strict=True), 1)
    found = [_outputs("max_pool", n, w, s, axis, "window") for axis, (n, w, s) in rows]
    return Type("float", (channels, *found))


def _windows(attrs: MaxPool, x: Array) -> Array:
    """A view [channels, outputs ..., window ...]."""
    axes = tuple(range(1, x.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(x, attrs.window, axis=axes)
    steps = tuple(slice(None, None, step) for step in _strides(attrs))
    return np.asarray(windows[(slice(None), *steps)])


def _pool_forward(attrs: MaxPool, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    rank = len(attrs.window)
    return np.asarray(_windows(attrs, inputs[0]).max(axis=tuple(range(-rank, 0))))


def _pool_backward(
    attrs: MaxPool, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    (x,) = inputs
    result = np.zeros_like(x)
    windows = _windows(attrs, x)
    for place in np.ndindex(*output.shape):
        entry = np.unravel_index(windows[place].argmax(), attrs.window)
        starts = [p * s for p, s in zip(place[1:], _strides(attrs), strict=True)]
        at = tuple(int(start + e) for start, e in zip(starts, entry, strict=True))
        result[(place[0], *at)] += grad[place]
    return [result], []


_POOL_LOOPS = """    x, y = operand[0], operand[1]
    channels, rows, across = operand[2], operand[3], operand[4]
    high, wide, down, right = operand[5], operand[6], operand[7], operand[8]
    plane, row = operand[9], operand[10]
"""


def _in_row(columns: int, lines: Sequence[str]) -> str:
    """Text for each column `j` of a window's row: written out, or in a loop where `columns` is 0.

    `place` in the lines is where the number lies behind `at`.
    """
    indent = " " * 20
    if not columns:
        text = [f"{indent}for j in range(wide):"]
        return "\n".join(text + [f"{indent}    {line}" for line in ["place = j * LANES", *lines]])
    texts = (line.replace("place", f"{j} * LANES") for j in range(columns) for line in lines)
    return "\n".join(indent + line for line in texts)


@lru_cache
def max_pool_kernel(columns: int) -> Kernel:
    """The largest of each window; NaN wins, as in NumPy."""
    lines = [
        "v = load(activation, at + place)",
        "best = select(best == best, maximum(best, v), best)",
    ]
    return Kernel(
        f"max_pool_{columns}",
        f"""def kernel(activation, parameter, gradient, operand):
{_POOL_LOOPS}
    for c in range(channels):
        for r in range(rows):
            for k in range(across):
                at = x + c * plane + r * down * row + k * right * LANES
                best = load(activation, at)
                for i in range(high):
{_in_row(columns, lines)}
                    at += row
                store(activation, y, best)
                y += LANES
""",
    )


@lru_cache
def max_pool_backward_kernel(columns: int, alone: bool) -> Kernel:
    """The gradient goes to the first entry of the window that holds the largest number.

    alone: whether windows share no entries and the gradient has nothing else in it.
    """
    value = "select(hit, rest, zero)"
    lines = [
        "hit = load(activation, x + at + place) == best",
        f"v = {value}" if alone else f"v = load(activation, into + at + place) + {value}",
        "store(activation, into + at + place, v)",
        "rest = select(hit, zero, rest)",
    ]
    return Kernel(
        f"max_pool_backward_{columns}",
        f"""def kernel(activation, parameter, gradient, operand):
{_POOL_LOOPS}
    given, into = operand[11], operand[12]
    zero = broadcast(0.0)
    for c in range(channels):
        for r in range(rows):
            for k in range(across):
                at = c * plane + r * down * row + k * right * LANES
                best = load(activation, y)
                rest = load(activation, given)
                for i in range(high):
{_in_row(columns, lines)}
                    at += row
                y += LANES
                given += LANES
""",
    )


def _pool_operands(emitter: Emitter) -> tuple[int, ...]:
    attrs, x, y = emitter.attrs, emitter.input(0), emitter.output()
    _, rows, columns = _image(x)
    return (
        x.offset,
        y.offset,
        *_image(y),
        *_pair(attrs.window),
        *_pair(_strides(attrs)),
        rows * columns * emitter.lanes,
        columns * emitter.lanes,
    )


def _pool_width(emitter: Emitter) -> int:
    (_, wide), (_, right) = _pair(emitter.attrs.window), _pair(_strides(emitter.attrs))
    return pairs.width_of(emitter, _image(emitter.output())[2], wide, right)


def _columns(emitter: Emitter) -> int:
    """Columns of a window that are written out, or 0."""
    _, wide = _pair(emitter.attrs.window)
    return wide if wide <= _UNROLLED else 0


def _emit_pool(emitter: Emitter) -> None:
    width = _pool_width(emitter)
    kernel = pairs.LARGEST if width else max_pool_kernel(_columns(emitter))
    emitter.call(kernel, *_pool_operands(emitter), lanes=width or None)


def _emit_pool_backward(emitter: Emitter) -> None:
    wanted = emitter.grad_input(0)
    if wanted is None:
        return
    into, add = wanted
    grad, width = emitter.grad_output(), _pool_width(emitter)
    window, strides = _pair(emitter.attrs.window), _pair(_strides(emitter.attrs))
    apart = all(w <= s for w, s in zip(window, strides, strict=True))
    alone = apart and not add and not width
    covered = grad.elements * elements(window) == into.elements
    if not add and not (alone and covered):
        each_number(emitter, FILL_ZERO, (into.offset,), into.elements)
    kernel = pairs.LARGEST_BACKWARD if width else max_pool_backward_kernel(_columns(emitter), alone)
    operands = (*_pool_operands(emitter), grad.offset, into.offset)
    emitter.call(kernel, *operands, lanes=width or None)


MAX_POOL = Op(
    name="max_pool",
    doc="""The largest number of each window: y[c, t] = max_k x[c, t stride + k].

    Input float[channels, time] or float[channels, rows, columns], output sizes
    (size - window) // stride + 1. The gradient goes to the largest entry of each window, where
    several are equal to the first of them.""",
    category="function",
    inputs=("x",),
    Attrs=MaxPool,
    settle=_settle_pool,
    shape=_pool_shape,
    forward=_pool_forward,
    backward=_pool_backward,
    saves=frozenset({"inputs", "output"}),
    emit=_emit_pool,
    emit_backward=_emit_pool_backward,
    flops=lambda attrs, inputs, output: elements(output) * elements(attrs.window),
)

POOLING: tuple[Op, ...] = (SUBSAMPLE, MAX_POOL)
