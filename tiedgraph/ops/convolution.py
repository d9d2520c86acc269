"""`conv1d` and `conv2d`: the frameworks' correlation, with stride, padding, dilation and groups.

A one-dimensional convolution is a two-dimensional one of height 1. The gradient of the inputs is
the forward kernel over a padded output gradient, with the window read backwards and its channels
exchanged; only strides of the weight change, so tied views cost nothing here either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from tiedgraph.ir.graph import Init
from tiedgraph.ir.types import Dim, Extent, Type
from tiedgraph.lanes.machine import Registers
from tiedgraph.ops.linear import ADD, BIAS, ZERO, add_sums, covered, crowded, finish, reaching
from tiedgraph.ops.places import FOLD, LARGEST, LEAST, add_products, in_order, lay_out
from tiedgraph.ops.rules import (
    Array,
    Buffer,
    Emitter,
    Kernel,
    Op,
    OpError,
    ParamBuffer,
    ParamSpec,
    hidden,
    setting,
    split,
)

_PAD = "zeros added: a number on both sides, `same` (output as long as input / stride) or `causal` (all before the first step)"  # noqa: E501


@dataclass(frozen=True)
class Conv1d:
    channels: int = setting("size", doc="number of output channels")
    window: tuple[int, ...] = setting("sizes", rank=1, doc="steps seen at once")
    stride: tuple[int, ...] = setting("sizes", (1,), rank=1, doc="steps between two outputs")
    pad: tuple[int, ...] | str = setting("pad", (0,), rank=1, doc=_PAD)
    dilation: tuple[int, ...] = setting("sizes", (1,), rank=1, doc="steps between window entries")
    groups: int = setting("size", 1, doc="channels are cut into so many independent groups")
    bias: bool = setting("flag", True, doc="whether a bias is added")
    timed: bool = hidden(False)


@dataclass(frozen=True)
class Conv2d:
    channels: int = setting("size", doc="number of output channels")
    window: tuple[int, ...] = setting("sizes", rank=2, doc="rows and columns seen at once")
    stride: tuple[int, ...] = setting("sizes", (1, 1), rank=2, doc="steps between two outputs")
    pad: tuple[int, ...] | str = setting("pad", (0, 0), rank=2, doc=_PAD)
    dilation: tuple[int, ...] = setting("sizes", (1, 1), rank=2, doc="steps between window entries")
    groups: int = setting("size", 1, doc="channels are cut into so many independent groups")
    bias: bool = setting("flag", True, doc="whether a bias is added")
    timed: bool = hidden(False)


Conv = Conv1d | Conv2d


# ---------------------------------------------------------------- shapes


def settle(attrs: Conv, types: Sequence[Type]) -> Conv:
    """Notes whether there is a run-time size."""
    return replace(attrs, timed=bool(types[0].symbols))


def reach(attrs: Conv, axis: int) -> int:
    """Steps from the first to the last entry of the window."""
    return (attrs.window[axis] - 1) * attrs.dilation[axis]


def padding(attrs: Conv, axis: int) -> int:
    """Zeros before the first step."""
    if attrs.pad == "same":
        return reach(attrs, axis) // 2
    if attrs.pad == "causal":
        return reach(attrs, axis)
    return int(attrs.pad[axis])


def _length(attrs: Conv, axis: int, size: Dim, rank: int) -> Dim:
    stride = attrs.stride[axis]
    if isinstance(attrs.pad, str):
        grown = stride - 1
    else:
        grown = 2 * int(attrs.pad[axis]) - reach(attrs, axis) - 1 + stride
    if isinstance(size, Extent):
        return size.plus(grown).over(stride)
    length = (size + grown) // stride
    if length < 1:
        raise OpError(
            "E0301",
            f"the window reaches over {reach(attrs, axis) + 1} steps, but the input has "
            f"{size} along axis {axis + 1} and {padding(attrs, axis)} of padding",
            hint="use a smaller window or dilation, or pad=same",
            argument="window",
        )
    return length


def shape(attrs: Conv, types: Sequence[Type]) -> Type:
    (x,), rank = types, len(attrs.window)
    name = f"conv{rank}d"
    if len(x.shape) != rank + 1:
        axes = "[channels, time]" if rank == 1 else "[channels, rows, columns]"
        raise OpError("E0301", f"{name} takes float{axes}, but this input is {x}", argument=0)
    channels = x.shape[0]
    if isinstance(channels, Extent):
        raise OpError(
            "E0304", f"the channels of {name} must be a fixed size, not {channels}", argument=0
        )
    for what, count in (("input", channels), ("output", attrs.channels)):
        if count % attrs.groups:
            raise OpError(
                "E0301",
                f"{count} {what} channels cannot be cut into {attrs.groups} equal groups",
                argument="groups",
            )
    sizes = [_length(attrs, axis, size, rank) for axis, size in enumerate(x.shape[1:])]
    return Type("float", (attrs.channels, *sizes))


def params(attrs: Conv, types: Sequence[Type]) -> tuple[ParamSpec, ...]:
    channels = types[0].shape[0]
    assert isinstance(channels, int)
    window = int(np.prod(attrs.window))
    fans = (channels // attrs.groups * window, attrs.channels // attrs.groups * window)
    sizes = (attrs.channels, channels // attrs.groups, *attrs.window)
    weight = ParamSpec("weight", sizes, fans=fans)
    bias = ParamSpec("bias", (attrs.channels,), Init("zeros"))
    return (weight, bias) if attrs.bias else (weight,)


# ---------------------------------------------------------------- the oracle


def _window_sums(attrs: Conv, x: Array, weight: Array) -> tuple[Array, list[tuple[int, ...]]]:
    """Zero-padded input and, for each window entry, nothing else: the pieces of both directions."""
    rank = len(attrs.window)
    before = [padding(attrs, a) for a in range(rank)]
    after = [
        before[a] + reach(attrs, a) + attrs.stride[a] for a in range(rank)
    ]  # more than is read
    padded = np.pad(x, [(0, 0), *zip(before, after, strict=True)])
    return padded, list(np.ndindex(*attrs.window))


def _seen(attrs: Conv, padded: Array, entry: tuple[int, ...], sizes: tuple[int, ...]) -> Array:
    """The inputs that one window entry meets, one for each output position (a view)."""
    slices = [
        slice(start, start + (size - 1) * stride + 1, stride)
        for start, size, stride in zip(
            [e * d for e, d in zip(entry, attrs.dilation, strict=True)],
            sizes,
            attrs.stride,
            strict=True,
        )
    ]
    where: tuple[Any, ...] = (slice(None), *slices)
    return np.asarray(padded[where])


def forward(attrs: Conv, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    (x,), weight = inputs, params[0]
    sizes = tuple(
        int(size) if isinstance(size, int) else 0
        for size in shape(attrs, [Type("float", x.shape)]).shape[1:]
    )
    padded, entries = _window_sums(attrs, x, weight)
    result = np.zeros((attrs.channels, *sizes), x.dtype)
    per_in, per_out = x.shape[0] // attrs.groups, attrs.channels // attrs.groups
    for group in range(attrs.groups):
        outs = slice(group * per_out, (group + 1) * per_out)
        ins = slice(group * per_in, (group + 1) * per_in)
        for entry in entries:
            seen = _seen(attrs, padded[ins], entry, sizes)
            where: tuple[Any, ...] = (outs, slice(None), *entry)
            result[outs] += np.tensordot(weight[where], seen, 1)
    if attrs.bias:
        result += params[1].reshape(-1, *[1] * len(sizes))
    return result


def backward(
    attrs: Conv, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    (x,), weight = inputs, params[0]
    padded, entries = _window_sums(attrs, x, weight)
    grad_padded, grad_weight = np.zeros_like(padded), np.zeros_like(weight)
    per_in, per_out = x.shape[0] // attrs.groups, attrs.channels // attrs.groups
    positions = tuple(range(1, grad.ndim))
    for group in range(attrs.groups):
        outs = slice(group * per_out, (group + 1) * per_out)
        ins = slice(group * per_in, (group + 1) * per_in)
        for entry in entries:
            at: tuple[Any, ...] = (outs, slice(None), *entry)
            seen = _seen(attrs, padded[ins], entry, grad.shape[1:])
            grad_weight[at] = np.tensordot(grad[outs], seen, (positions, positions))
            into = _seen(attrs, grad_padded[ins], entry, grad.shape[1:])
            into += np.tensordot(weight[at].T, grad[outs], 1)
    inner = tuple(
        slice(padding(attrs, a), padding(attrs, a) + x.shape[a + 1]) for a in range(len(positions))
    )
    grad_params: list[Array | None] = [grad_weight]
    if attrs.bias:
        grad_params.append(grad.sum(axis=positions))
    return [grad_padded[(slice(None), *inner)]], grad_params


# ---------------------------------------------------------------- kernels


@lru_cache
def window_kernel(outputs: int, columns: int, epilogue: tuple[str, ...]) -> Kernel:
    """y[o, r, c] = f(start + sum of w[o, i, ky, kx] x[i, r sy + ky dy, c sx + kx dx]).

    Register tile outputs x columns, and there are at least as many. The last tile in each direction
    reaches back over the one before and computes some sums again, unless they are added to what is
    there (`ADD`): then both counts are multiples. All strides and extents are operands.
    """
    grid = [(o, c) for o in range(outputs) for c in range(columns)]
    text = [
        "def kernel(activation, parameter, gradient, operand):",
        "    x, y, w, b = operand[0], operand[1], operand[2], operand[3]",
        "    many, rows, across = operand[4], operand[5], operand[6]",
        "    inputs, high, wide = operand[7], operand[8], operand[9]",
        "    wo, wi, wy, wx = operand[10], operand[11], operand[12], operand[13]",
        "    xi, xr, xy, xc, xx = operand[14], operand[15], operand[16], operand[17], operand[18]",
        "    yo, yr, bias_stride, start = operand[19], operand[20], operand[21], operand[22]",
        "    yc = operand[23]",
        f"    for first in range(0, many, {outputs}):",
        f"        o = min(first, many - {outputs})",
        "        for r in range(rows):",
        f"            for left in range(0, across, {columns}):",
        f"                c = min(left, across - {columns})",
        "                at = y + o * yo + r * yr + c * yc",
        *(f"                s{o}_{c} = broadcast(0.0)" for o, c in grid),
        f"                if start == {BIAS}:",
    ]
    for o in range(outputs):
        text.append(f"                    b{o} = broadcast(parameter[b + (o + {o}) * bias_stride])")
        text += [f"                    s{o}_{c} = b{o}" for c in range(columns)]
    text += [
        f"                elif start == {ADD}:",
        *(
            f"                    s{o}_{c} = load(activation, at + {o} * yo + {c} * yc)"
            for o, c in grid
        ),
        "                for i in range(inputs):",
        "                    for ky in range(high):",
        "                        source = x + i * xi + r * xr + ky * xy + c * xc",
        "                        weight = w + o * wo + i * wi + ky * wy",
        "                        for kx in range(wide):",
    ]
    inner = " " * 28
    text += [f"{inner}x{c} = load(activation, source + {c} * xc)" for c in range(columns)]
    for o in range(outputs):
        text.append(f"{inner}w{o} = broadcast(parameter[weight + {o} * wo])")
        text += [f"{inner}s{o}_{c} = fma(w{o}, x{c}, s{o}_{c})" for c in range(columns)]
    text += [f"{inner}source += xx", f"{inner}weight += wx"]
    text += [
        f"                store(activation, at + {o} * yo + {c} * yc, s{o}_{c})" for o, c in grid
    ]
    if epilogue:
        text.append(f"            for k in range({outputs}):")
        text += finish(epilogue, " " * 16, "y + (o + k) * yo + r * yr", "across", "yc")
    name = "_".join(["window", str(outputs), str(columns), *epilogue])
    return Kernel(name, "\n".join(text) + "\n")


@lru_cache
def window_gradient_kernel(outputs: int, channels: int, wide: int) -> Kernel:
    """g[o, i, ky, kx] += sum of d[o, r, c] x[i, r sy + ky dy, c sx + kx dx], over samples too.

    Register tile outputs x channels x window columns, summed over all positions of the tile. There
    are at least as many outputs and channels; the last tile of each reaches back over the one
    before and adds only what is new. So does one vector more in each row, at column `rest`, where
    its first lanes are `known`; 0 where there is none.
    """
    grid = [(o, i, k) for o in range(outputs) for i in range(channels) for k in range(wide)]
    text = [
        "def kernel(activation, parameter, gradient, operand):",
        "    x, d, g = operand[0], operand[1], operand[2]",
        "    many, inputs, high, width = operand[3], operand[4], operand[5], operand[6]",
        "    rows, across = operand[7], operand[8]",
        "    go, gi, gy, gx = operand[9], operand[10], operand[11], operand[12]",
        "    xi, xr, xy, xc, xx = operand[13], operand[14], operand[15], operand[16], operand[17]",
        "    do, dr, rest, known = operand[18], operand[19], operand[20], operand[21]",
        "    zero = broadcast(0.0)",
        "    new = lanes_from(known)",
        f"    for first in range(0, many, {outputs}):",
        f"        o = min(first, many - {outputs})",
        f"        for start in range(0, inputs, {channels}):",
        f"            i = min(start, inputs - {channels})",
        "            for ky in range(high):",
        f"                for kx in range(0, width, {wide}):",
        *(f"                    s{o}_{i}_{k} = broadcast(0.0)" for o, i, k in grid),
        "                    for r in range(rows):",
        "                        source = x + i * xi + r * xr + ky * xy + kx * xx",
        "                        given = d + o * do + r * dr",
    ]
    inner = " " * 28

    def add(source: str, given: str) -> list[str]:
        lines = [
            f"{inner}x{i}_{k} = load(activation, {source} + {i} * xi + {k} * xx)"
            for i in range(channels)
            for k in range(wide)
        ]
        for o in range(outputs):
            lines.append(f"{inner}d{o} = {given.format(f'load(activation, given + {o} * do)')}")
            lines += [
                f"{inner}s{o}_{i}_{k} = fma(d{o}, x{i}_{k}, s{o}_{i}_{k})"
                for i in range(channels)
                for k in range(wide)
            ]
        return lines

    text += [
        "                        if known:",
        f"{inner}given += rest",
        *add("source + rest", "select(new, {}, zero)"),
        f"{inner}given -= rest",
        "                        for c in range(across):",
        *add("source", "{}"),
        f"{inner}source += xc",
        f"{inner}given += LANES",
        "                    at = g + o * go + i * gi + ky * gy + kx * gx",
    ]
    for o in range(outputs):
        for i in range(channels):
            text.append(f"                    if o + {o} >= first and i + {i} >= start:")
            text += [
                f"                        gradient[at + {o} * go + {i} * gi + {k} * gx] += "
                f"sum_lanes(s{o}_{i}_{k})"
                for k in range(wide)
            ]
    return Kernel(f"window_gradient_{outputs}_{channels}_{wide}", "\n".join(text) + "\n")


@lru_cache
def input_gradient_kernel(channels: int, columns: int, wide: int) -> Kernel:
    """dx[i, r, c + kx] += sum of w[o, i, ky, kx] d[o, r - ky, c], without a zero around d.

    Register tile channels x columns of d, each with its whole window of `wide` numbers; both counts
    are multiples. Sums of inputs that the next columns reach too stay in registers. Operands behind
    the strides: rows of d, for the first wide - 1 inputs whether they are added to what is there,
    for the others likewise, and how far columns are apart.
    """
    each, late, made = range(channels), range(wide - 1), range(columns)
    text = [
        "def kernel(activation, parameter, gradient, operand):",
        "    x, d, w = operand[0], operand[1], operand[2]",
        "    inputs, rows, across = operand[3], operand[4], operand[5]",
        "    outputs, high = operand[6], operand[7]",
        "    wo, wi, wy, wx = operand[8], operand[9], operand[10], operand[11]",
        "    xi, xr, do, dr = operand[12], operand[13], operand[14], operand[15]",
        "    made, add_first, add_rest, step = operand[16], operand[17], operand[18], operand[19]",
        f"    for i in range(0, inputs, {channels}):",
        "        for r in range(rows):",
        "            at = x + i * xi + r * xr",
        *(f"            s{i}_{c} = broadcast(0.0)" for i in each for c in late),
        "            if add_first:",
        *(
            f"                s{i}_{c} = load(activation, at + {i} * xi + {c} * step)"
            for i in each
            for c in late
        ),
        f"            for c in range(0, across, {columns}):",
    ]
    inner = " " * 16
    ahead = [(i, c + wide - 1) for i in each for c in made]
    text += [f"{inner}s{i}_{c} = broadcast(0.0)" for i, c in ahead]
    text.append(f"{inner}if add_rest:")
    text += [
        f"{inner}    s{i}_{c} = load(activation, at + {i} * xi + {c} * step)" for i, c in ahead
    ]
    text += [
        f"{inner}for ky in range(max(0, r - made + 1), min(high, r + 1)):",
        f"{inner}    given = d + (r - ky) * dr + c * step",
        f"{inner}    weight = w + i * wi + ky * wy",
        f"{inner}    for o in range(outputs):",
        *(f"{inner}        v{c} = load(activation, given + {c} * step)" for c in made),
    ]
    for i in each:
        for k in range(wide):
            text.append(f"{inner}        u = broadcast(parameter[weight + {i} * wi + {k} * wx])")
            text += [f"{inner}        s{i}_{c + k} = fma(v{c}, u, s{i}_{c + k})" for c in made]
    text += [f"{inner}        given += do", f"{inner}        weight += wo"]
    text += [
        f"{inner}store(activation, at + {i} * xi + {c} * step, s{i}_{c})"
        for i in each
        for c in made
    ]
    text += [f"{inner}s{i}_{c} = s{i}_{c + columns}" for i in each for c in late]
    text += [f"{inner}at += {columns} * step"]
    text += [
        f"            store(activation, at + {i} * xi + {c} * step, s{i}_{c})"
        for i in each
        for c in late
    ]
    return Kernel(f"input_gradient_{channels}_{columns}_{wide}", "\n".join(text) + "\n")


# Copies x[c, r, k] to y[c, top + r * down, left + k * right], zeros elsewhere; what falls outside
# of y is left out.
SPREAD = Kernel(
    "spread",
    """def kernel(activation, parameter, gradient, operand):
    x, y, channels, rows, columns = operand[0], operand[1], operand[2], operand[3], operand[4]
    high, wide, top, left = operand[5], operand[6], operand[7], operand[8]
    down, right = operand[9], operand[10]
    zero = broadcast(0.0)
    for i in range(channels * high * wide):
        store(activation, y + i * LANES, zero)
    for c in range(channels):
        for r in range(rows):
            row = top + r * down
            if row >= 0 and row < high:
                for k in range(columns):
                    column = left + k * right
                    if column >= 0 and column < wide:
                        v = load(activation, x + ((c * rows + r) * columns + k) * LANES)
                        store(activation, y + ((c * high + row) * wide + column) * LANES, v)
""",
)


class Frame(NamedTuple):
    """A convolution in two dimensions, whatever its own rank."""

    window: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    sizes: tuple[int, int, int]  # input channels, rows, columns
    output: tuple[int, int, int]
    groups: int


def _frame(attrs: Conv, given: Buffer, made: Buffer) -> Frame:
    rank = len(attrs.window)

    def two(values: Sequence[int], fill: int) -> tuple[int, int]:
        first, second = [fill] * (2 - rank) + list(values)
        return first, second

    return Frame(
        two(attrs.window, 1),
        two(attrs.stride, 1),
        two(attrs.dilation, 1),
        two([padding(attrs, a) for a in range(rank)], 0),
        (given.shape[0], *two(given.shape[1:], 1)),
        (made.shape[0], *two(made.shape[1:], 1)),
        attrs.groups,
    )


def _four(weight: ParamBuffer) -> tuple[int, int, int, int]:
    """Strides of output, input, window row and window column."""
    o, i, *window = weight.strides
    y, x = [0] * (2 - len(window)) + list(window)
    return o, i, y, x


def _spread(
    emitter: Emitter,
    source: Buffer,
    sizes: tuple[int, int, int],
    target: tuple[int, int],
    before: tuple[int, int],
    stride: tuple[int, int],
) -> Buffer:
    """`source` in a larger frame of zeros, `stride` apart."""
    channels, rows, columns = sizes
    if target == (rows, columns) and before == (0, 0) and stride == (1, 1):
        return source
    result = emitter.scratch(channels * target[0] * target[1])
    emitter.call(
        SPREAD, source.offset, result.offset, channels, rows, columns, *target, *before, *stride
    )
    return Buffer(result.offset, (channels, *target))


def _padded(emitter: Emitter, frame: Frame, given: Buffer) -> Buffer:
    """The input with its zeros around, as the window kernels read it."""
    return _spread(emitter, given, frame.sizes, _around(frame), frame.before, (1, 1))


def _around(frame: Frame) -> tuple[int, int]:
    """Rows and columns of the input with the zeros that windows read."""
    target = [frame.sizes[1], frame.sizes[2]]
    for axis in range(2):
        read = (frame.output[axis + 1] - 1) * frame.stride[axis] + 1
        read += (frame.window[axis] - 1) * frame.dilation[axis]
        if frame.before[axis] or read > target[axis]:
            target[axis] = max(read, frame.before[axis] + frame.sizes[axis + 1])
    return target[0], target[1]


# Register tiles (outputs, columns): few, so that another model finds them compiled. Those count
# whose sums, inputs and one weight fit the registers.
TILES = (
    (4, 5),
    (5, 5),
    (2, 10),
    (2, 7),
    (4, 4),
    (8, 2),
    (8, 1),
    (6, 2),
    (5, 2),
    (4, 3),
    (6, 1),
    (5, 1),
    (2, 4),
    (4, 1),
    (2, 2),
    (1, 8),
    (1, 4),
    (2, 1),
    (1, 1),
)


LATENCY = 8  # multiply-adds of registers that a core begins before the first is done


def choose_tile(outputs: int, columns: int, registers: Registers, lanes: int) -> tuple[int, int]:
    """The tile that fits and covers the plane most cheaply.

    A register tile costs its multiply-adds, but at least their latency, and a little for its loads.
    """
    each = registers.each(lanes)
    least = LATENCY if each > 1 else LATENCY + 2  # short of work sooner

    def fits(tile: tuple[int, int]) -> bool:
        o, c = tile
        room = registers.hold(o * c + c, lanes) or tile == (1, 1)
        return o <= outputs and c <= columns and room

    def cost(tile: tuple[int, int]) -> float:
        o, c = tile
        return (max(each * o * c, least) + (o + each * c) / 4) * -(-outputs // o) * -(-columns // c)

    return min(filter(fits, TILES), key=cost)


def vectors_along(
    emitter: Emitter, count: int, stride: int, disjoint: bool
) -> list[tuple[int, int, int]]:
    """How `count` columns are made: (first, vectors, numbers in each).

    Where lanes are samples, a vector a column. Else columns lie along the lanes, unless they read
    columns that are a stride apart; the last vector reaches back unless all must be `disjoint`.
    """
    if emitter.lanes > 1 or stride > 1:
        return [(0, count, emitter.lanes)]
    return reaching(count, emitter.widths, disjoint)


def windows(
    emitter: Emitter,
    x: Buffer,
    y: Buffer,
    extents: tuple[int, int, int],
    inputs: int,
    window: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    weight: tuple[int, tuple[int, int, int, int]],
    bias: tuple[int, int] | None,
    start: int,
    epilogue: tuple[str, ...],
    made: tuple[int, int, int] | None = None,
) -> None:
    """Rows of the tape for one group: y = f(start + windows of x).

    made: in numbers, how far channels, rows and columns of y are apart; side by side by default.
    """
    lanes = emitter.lanes
    many, rows, across = extents
    yo, yr, yc = made = made or (rows * across * lanes, across * lanes, lanes)
    high, wide = x.shape[1], x.shape[2]
    at, strides = weight
    add = start == ADD
    row = wide * lanes
    if emitter.parts > 1 and many > 1:
        # Two threads share the rows of an image, or the outputs.
        by_rows = rows > 3
        count = rows if by_rows else many
        for part, begin, end in ((1, 0, count // 2), (2, count // 2, count)):
            r, o, some = (begin, 0, end - begin) if by_rows else (0, begin, end - begin)
            with emitter.branch(part):
                windows(
                    emitter,
                    Buffer(x.offset + r * stride[0] * row, x.shape),
                    Buffer(y.offset + r * yr + o * yo, y.shape),
                    (many, some, across) if by_rows else (some, rows, across),
                    *(inputs, window, stride, dilation),
                    (at + o * strides[0], strides),
                    (bias[0] + o * bias[1], bias[1]) if bias else None,
                    *(start, epilogue, made),
                )
        return
    # Channels, rows and columns of the window, with the strides of w and x: the most go innermost.
    reads = [
        (inputs, strides[1], high * row),
        (window[0], strides[2], dilation[0] * row),
        (window[1], strides[3], dilation[1] * lanes),
    ]
    counts, by_weight, by_input = zip(*sorted(reads, key=lambda r: r[0]), strict=True)
    for first, vectors, width in vectors_along(emitter, across, max(stride[1], yc // lanes), add):
        # Where one vector holds all columns, rows are what a register tile has several of.
        along = [(vectors, stride[1] * width, width * (yc // lanes)), (rows, stride[0] * row, yr)]
        tiled, (looped, xr, step) = along if vectors > 1 else along[::-1]
        o_best, c_best = choose_tile(many, tiled[0], emitter.registers, width)
        for o, o_length, o_tile in covered(many, (o_best, 1), add):
            for c, c_length, c_tile in covered(tiled[0], (c_best, 1), add):
                emitter.call(
                    window_kernel(o_tile, c_tile, epilogue),
                    x.offset + first * stride[1] + c * tiled[1],
                    y.offset + first + o * yo + c * tiled[2],
                    at + o * strides[0],
                    bias[0] + o * bias[1] if bias else 0,
                    o_length,
                    looped,
                    c_length,
                    *counts,
                    *(strides[0], *by_weight),
                    *(by_input[0], xr, by_input[1], tiled[1], by_input[2]),
                    yo,
                    step,
                    bias[1] if bias else 0,
                    start,
                    tiled[2],
                    lanes=width,
                )


def emit(emitter: Emitter) -> None:
    attrs = emitter.attrs
    given, made, weight = emitter.input(0), emitter.output(), emitter.param(0)
    frame = _frame(attrs, given, made)
    x, strides = _padded(emitter, frame, given), _four(weight)
    bias = emitter.param(1) if attrs.bias else None
    starts = BIAS if bias else ZERO
    biases = (bias.offset, bias.strides[0]) if bias else None
    if _unfolds(emitter, frame, strides):
        laid, places = _unfolded(emitter, frame, x.offset), prod(frame.output[1:])
        windows(
            emitter,
            laid,
            Buffer(made.offset, (frame.output[0], 1, places)),
            (frame.output[0], 1, places),
            laid.shape[0],
            *((1, 1), (1, 1), (1, 1)),
            (weight.offset, (strides[0], 1, 0, 0)),
            biases,
            starts,
            emitter.epilogue,
        )
        return
    per_in, per_out = frame.sizes[0] // attrs.groups, frame.output[0] // attrs.groups
    plane_in = x.elements // frame.sizes[0] * emitter.lanes
    plane_out = made.elements // frame.output[0] * emitter.lanes
    x = Buffer(x.offset, (frame.sizes[0], *_plane(x)))
    for group in range(attrs.groups):
        first = group * per_out
        windows(
            emitter,
            Buffer(x.offset + group * per_in * plane_in, x.shape),
            Buffer(made.offset + first * plane_out, made.shape),
            (per_out, *frame.output[1:]),
            per_in,
            frame.window,
            frame.stride,
            frame.dilation,
            (weight.offset + first * strides[0], strides),
            (biases[0] + first * biases[1], biases[1]) if biases else None,
            starts,
            emitter.epilogue,
        )


def _unfolds(emitter: Emitter, frame: Frame, strides: tuple[int, int, int, int]) -> bool:
    """Whether windows of one sample are first laid out, all places of each of their numbers side by
    side: where vectors along the columns would read columns apart, or be half empty. The order of
    sums differs, so rows of a run-time length do not decide.
    """
    numbers, (outputs, rows, across) = prod((frame.sizes[0], *frame.window)), frame.output
    short = rows > 1 and across < 2 * emitter.widths[0] and outputs >= LEAST
    short = short and not emitter.attrs.timed
    plain = emitter.lanes == 1 and frame.groups == 1 and in_order(strides, frame.window)
    few = 1 < numbers * rows * across <= LARGEST
    return plain and few and (frame.stride[1] > 1 or short)


def _unfolded(emitter: Emitter, frame: Frame, x: int) -> Buffer:
    """The windows of x, zeros around included, as [numbers, 1, places]."""
    high, wide = _around(frame)
    reads = (high * wide, frame.dilation[0] * wide, frame.dilation[1])
    steps = (frame.stride[0] * wide, frame.stride[1])
    counts = (frame.sizes[0], *frame.window)
    return lay_out(emitter, x, counts, reads, (frame.output[1], frame.output[2]), steps)


def _fold_gradient(
    emitter: Emitter,
    frame: Frame,
    grad: Buffer,
    into: Buffer,
    weight: tuple[int, tuple[int, int, int, int]],
    add: bool,
) -> None:
    """The gradient of all windows, and then their sum where they overlap."""
    (outputs, *_), places = frame.output, prod(frame.output[1:])
    numbers = prod((frame.sizes[0], *frame.window))
    room = Buffer(emitter.scratch(numbers * places).offset, (numbers, 1, places))
    windows(
        emitter,
        Buffer(grad.offset, (outputs, 1, places)),
        room,
        (numbers, 1, places),
        outputs,
        *((1, 1), (1, 1), (1, 1)),
        (weight[0], (weight[1][3], weight[1][0], 0, 0)),
        None,
        ZERO,
        (),
    )
    high, wide = _around(frame)
    whole = emitter.scratch(high * wide)
    emitter.call(
        FOLD,
        *(room.offset, whole.offset, into.offset, int(add)),
        *(*frame.sizes, *frame.window, high, wide),
        *(frame.dilation[0] * wide, frame.dilation[1]),
        *(*frame.output[1:], frame.stride[0] * wide, frame.stride[1]),
        frame.before[0] * wide + frame.before[1],
    )


def _plane(x: Buffer) -> tuple[int, int]:
    rows, columns = [1] * (3 - len(x.shape)) + list(x.shape[1:])
    return rows, columns


def emit_backward(emitter: Emitter) -> None:
    attrs = emitter.attrs
    grad, weight = emitter.grad_output(), emitter.param(0)
    with emitter.branch(1):
        if weight.trainable:
            _emit_weight_gradient(emitter, grad, weight)
        if attrs.bias and emitter.param(1).trainable:
            add_sums(emitter, grad, emitter.param(1))
    wanted = emitter.grad_input(0)
    if wanted is not None:
        with emitter.branch(2):
            _emit_input_gradient(emitter, grad, weight, *wanted)


def _emit_input_gradient(
    emitter: Emitter, grad: Buffer, weight: ParamBuffer, into: Buffer, add: bool
) -> None:
    attrs = emitter.attrs
    frame = _frame(attrs, into, grad)
    folds = _unfolds(emitter, frame, _four(weight))
    again = prod(frame.output[1:]) * emitter.lanes >= TURNING
    if again and crowded(frame.output[0] // attrs.groups, weight.strides[0]):
        weight = emitter.turned(0, (*range(1, len(weight.shape)), 0))
    strides = _four(weight)
    if folds:
        _fold_gradient(emitter, frame, grad, into, (weight.offset, strides), add)
        return
    if _scatters(emitter, frame):
        for group in range(attrs.groups):
            _scatter(emitter, frame, group, grad, into, (weight.offset, strides), add)
        return
    if frame.stride != (1, 1) and frame.dilation == (1, 1):
        _phases(emitter, frame, grad, into, (weight.offset, strides), add)
        return
    # The output gradient, `stride` apart, in a frame in which every window of the input fits.
    spans = [(frame.window[a] - 1) * frame.dilation[a] for a in range(2)]
    target = (frame.sizes[1] + spans[0], frame.sizes[2] + spans[1])
    before = (spans[0] - frame.before[0], spans[1] - frame.before[1])
    per_in, per_out = frame.sizes[0] // attrs.groups, frame.output[0] // attrs.groups
    spread = _spread(emitter, grad, frame.output, target, before, frame.stride)
    last = (frame.window[0] - 1) * strides[2] + (frame.window[1] - 1) * strides[3]
    plane_in = into.elements // frame.sizes[0] * emitter.lanes
    spread = Buffer(spread.offset, (frame.output[0], *target))
    for group in range(attrs.groups):
        first = group * per_out
        windows(
            emitter,
            Buffer(spread.offset + first * target[0] * target[1] * emitter.lanes, spread.shape),
            Buffer(into.offset + group * per_in * plane_in, into.shape),
            (per_in, *frame.sizes[1:]),
            per_out,
            frame.window,
            (1, 1),
            frame.dilation,
            (
                weight.offset + first * strides[0] + last,
                (strides[1], strides[0], -strides[2], -strides[3]),
            ),
            None,
            ADD if add else ZERO,
            (),
        )


TURNING = 64  # places, times samples in lanes, that are worth a turned copy of the weight
MANY = 1.1  # times as many products with zeros around
WIDEST = 7  # windows whose sums, with four columns, stay in registers


def _scatters(emitter: Emitter, frame: Frame) -> bool:
    """Whether windows of outputs are spread over inputs, rather than gathered from zeros around.

    For samples in lanes, and images without padding whose windows are next to each other, where
    the zeros would be many. The order of its sums depends on the width, which therefore must not
    depend on the batch.
    """
    plain = frame.stride == frame.dilation == (1, 1) and frame.before == (0, 0)
    fits = frame.sizes[2] == frame.output[2] + frame.window[1] - 1
    fits = fits and frame.sizes[1] == frame.output[1] + frame.window[0] - 1
    fits = fits and not emitter.attrs.timed
    many = prod(frame.sizes[1:]) > MANY * prod(frame.output[1:])
    return emitter.lanes > 1 and plain and fits and many and 1 < frame.window[1] <= WIDEST


def _scatter(
    emitter: Emitter,
    frame: Frame,
    group: int,
    grad: Buffer,
    into: Buffer,
    weight: tuple[int, tuple[int, int, int, int]],
    add: bool,
) -> None:
    lanes, groups = emitter.lanes, frame.groups
    per_in, per_out = frame.sizes[0] // groups, frame.output[0] // groups
    (_, rows, columns_in), (_, made, across) = frame.sizes, frame.output
    x = into.offset + group * per_in * rows * columns_in * lanes
    d = grad.offset + group * per_out * made * across * lanes
    # A tile's lanes are taken by as many as a register holds.
    width = min(lanes, emitter.registers.width)
    channels, columns = scatter_tile(per_in, across, frame.window[1], emitter.registers, width)
    for i, i_length, i_tile in split(per_in, (channels, 1)):
        for begin, length, tile in split(across, (columns, 1)):
            for first in range(begin * lanes, (begin + 1) * lanes, width):
                emitter.call(
                    input_gradient_kernel(i_tile, tile, frame.window[1]),
                    *(x + i * rows * columns_in * lanes + first, d + first),
                    weight[0] + group * per_out * weight[1][0] + i * weight[1][1],
                    *(i_length, rows, length, per_out, frame.window[0]),
                    *weight[1],
                    *(rows * columns_in * lanes, columns_in * lanes),
                    *(made * across * lanes, across * lanes, made),
                    *(int(add or begin > 0), int(add), lanes),
                    lanes=width,
                )


def scatter_tile(
    inputs: int, across: int, wide: int, registers: Registers, lanes: int
) -> tuple[int, int]:
    """Tile of channels and columns of outputs that keeps its sums in registers most cheaply.

    Its multiply-adds take at least the latency of those that go to the same sum, and its loads a
    little.
    """

    def cost(tile: tuple[int, int]) -> float:
        i, c = tile
        products = i * c * wide
        spent = max(products, LATENCY * min(c, wide)) + (i * wide + c) / 4
        return spent / products * (-(-inputs // i) * i) * (-(-across // c) * c)

    tiles = [(i, c) for i in (1, 2, 4) for c in range(1, 11) if i <= inputs and c <= across]
    held = [(i, c) for i, c in tiles if registers.hold(i * (c + wide - 1) + c, lanes)]
    return min(held or [(1, 1)], key=cost)


class _Phase(NamedTuple):
    """Along one axis, the inputs `first`, `first` + stride, ...: which window entries meet them.

    inputs: how many. entries: how many window entries, of which `last` is the last; each is
    a stride from the next. start: the output that the last entry meets at the first input.
    """

    first: int
    inputs: int
    entries: int
    last: int
    start: int


def _phases_along(frame: Frame, axis: int) -> list[_Phase]:
    stride, before, window = frame.stride[axis], frame.before[axis], frame.window[axis]
    found = []
    for first in range(min(stride, frame.sizes[axis + 1])):
        count = -(-(frame.sizes[axis + 1] - first) // stride)
        least = (first + before) % stride
        entries = max(0, -(-(window - least) // stride))
        last = least + stride * (entries - 1)
        start = (first + before - least) // stride - max(0, entries - 1)
        found.append(_Phase(first, count, entries, last, start))
    return found


def _phases(
    emitter: Emitter,
    frame: Frame,
    grad: Buffer,
    into: Buffer,
    weight: tuple[int, tuple[int, int, int, int]],
    add: bool,
) -> None:
    """The gradient of a strided convolution's inputs, without the zeros between outputs.

    Inputs that are a stride apart meet the same entries of the window; for each such phase it is a
    window of its own over the outputs.
    """
    lanes, strides = emitter.lanes, weight[1]
    along = [_phases_along(frame, axis) for axis in range(2)]
    before = [max(0, *(-p.start for p in phases)) for phases in along]
    after = [max(p.start + p.inputs + max(0, p.entries - 1) for p in phases) for phases in along]
    high, wide = (before[a] + max(after[a], frame.output[a + 1]) for a in range(2))
    spread = _spread(emitter, grad, frame.output, (high, wide), (before[0], before[1]), (1, 1))
    per_in, per_out = frame.sizes[0] // frame.groups, frame.output[0] // frame.groups
    _, rows, columns = frame.sizes
    made = (
        rows * columns * lanes,
        frame.stride[0] * columns * lanes,
        frame.stride[1] * lanes,
    )
    for group in range(frame.groups):
        d = spread.offset + group * per_out * high * wide * lanes
        y = into.offset + group * per_in * rows * columns * lanes
        w = weight[0] + group * per_out * strides[0]
        for r in along[0]:
            for c in along[1]:
                some = r.entries > 0 and c.entries > 0
                top, left = before[0] + r.start, before[1] + c.start
                windows(
                    emitter,
                    Buffer(d + (top * wide + left) * lanes, (frame.output[0], high, wide)),
                    Buffer(y + (r.first * columns + c.first) * lanes, into.shape),
                    (per_in, r.inputs, c.inputs),
                    per_out if some else 0,
                    (r.entries, c.entries),
                    (1, 1),
                    (1, 1),
                    (
                        w + r.last * strides[2] + c.last * strides[3] if some else w,
                        (
                            strides[1],
                            strides[0],
                            -frame.stride[0] * strides[2],
                            -frame.stride[1] * strides[3],
                        ),
                    ),
                    None,
                    ADD if add else ZERO,
                    (),
                    made,
                )


def gradient_tile(
    outputs: int, channels: int, wide: int, registers: Registers, lanes: int
) -> tuple[int, int, int]:
    """Tile of outputs, channels and window columns, whose sums and inputs fit the registers."""
    few = 6 if registers.hold(24, lanes) else 4  # inputs, where several outputs are to fit too
    k = next(k for k in (7, 5, 4, 3, 2, 1) if wide % k == 0)
    i = next(i for i in (4, 2, 1) if i == 1 or (i * k <= few and i <= channels))
    room = registers.each(lanes)
    fitting = [
        o for o in (4, 3, 2, 1) if registers.hold((o + 1) * i * k, lanes, room) and o <= outputs
    ] or [1]
    return min(fitting, key=lambda o: (-(-outputs // o) * (o + 0.5), -o)), i, k


def _emit_weight_gradient(emitter: Emitter, grad: Buffer, weight: ParamBuffer) -> None:
    attrs, lanes = emitter.attrs, emitter.lanes
    given = emitter.input(0)
    frame, strides = _frame(attrs, given, grad), _four(weight)
    x = _padded(emitter, frame, given)
    rows, columns = _plane(x)
    per_in, per_out = frame.sizes[0] // attrs.groups, frame.output[0] // attrs.groups
    _, out_rows, out_columns = frame.output
    plane = rows * columns * lanes
    for group in range(attrs.groups):
        first = group * per_out
        add_window_products(
            emitter,
            Buffer(x.offset + group * per_in * plane, (per_in, rows, columns)),
            Buffer(grad.offset + first * out_rows * out_columns * lanes, frame.output),
            (per_out, out_rows, out_columns),
            frame.window,
            frame.stride,
            frame.dilation,
            (weight.offset + first * strides[0], strides),
        )


def add_window_products(
    emitter: Emitter,
    x: Buffer,
    d: Buffer,
    extents: tuple[int, int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    weight: tuple[int, tuple[int, int, int, int]],
) -> None:
    """Rows of the tape for one group: the weight's gradient from windows of x and all of d.

    extents: how many channels, rows and columns of d there are; its shape tells how it lies.
    """
    lanes = emitter.lanes
    many, out_rows, out_columns = extents
    inputs, rows, columns = x.shape
    at, strides = weight
    row = columns * lanes
    reads = (rows * row, dilation[0] * row, dilation[1] * lanes)
    if add_products(
        emitter,
        x.offset,
        d.offset,
        weight,
        (many, inputs, *window),
        reads,
        (out_rows, out_columns),
        (stride[0] * row, stride[1]),
    ):
        return
    vectors, width, rest, numbers = out_columns, lanes, 0, out_columns * lanes
    if stride[1] == 1:
        # Numbers of neighbouring columns lie in order; so many are summed as a register holds.
        width = next(w for w in emitter.widths if w <= numbers)
        width = min(width, emitter.registers.width)
        vectors, rest = divmod(numbers, width)
    tile = gradient_tile(many, inputs, window[1], emitter.registers, width)
    emitter.call(
        window_gradient_kernel(*tile),
        *(x.offset, d.offset, at),
        *(many, inputs, *window),
        *(out_rows, vectors),
        *strides,
        *(reads[0], stride[0] * row, reads[1], stride[1] * width, reads[2]),
        *(d.shape[1] * d.shape[2] * lanes, d.shape[2] * lanes),
        *((numbers - width, width - rest) if rest else (0, 0)),
        lanes=width,
    )


def flops(attrs: Conv, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    per_output = 2 * inputs[0][0] // attrs.groups * int(np.prod(attrs.window))
    return per_output * int(np.prod(output))


def reads_past_the_end(attrs: Conv) -> float | None:
    """Padded windows read beyond the last step, where short samples of a batch must hold zeros."""
    past = attrs.pad == "same" or (attrs.pad != "causal" and any(attrs.pad))
    return 0.0 if past else None


_DOC = """

    This is the frameworks' correlation. Bengio's convolution over t - k is the same layer with the
    window read backwards (and pad=causal for his time index). `same` puts (window - 1) * dilation
    // 2 zeros before the first step whatever the length, and gives ceil(length / stride) outputs.
    LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document recognition (1998);
    over time: Lang, Waibel, Hinton, A time-delay neural network architecture (1990).
    """


def _record(name: str, attrs: type, doc: str) -> Op:
    return Op(
        name=name,
        doc=doc + _DOC,
        category="layer",
        inputs=("x",),
        Attrs=attrs,
        settle=settle,
        shape=shape,
        params=params,
        forward=forward,
        backward=backward,
        saves=frozenset({"inputs"}),
        emit=emit,
        emit_backward=emit_backward,
        epilogue=True,
        padding=reads_past_the_end,
        flops=flops,
        places=lambda inputs, output: int(np.prod(output[1:])),
    )


CONV1D = _record(
    "conv1d",
    Conv1d,
    """Convolution over time: y[o,t] = b[o] + sum_ck w[o,c,k] x[c, t stride + k dilation - pad].

    Input float[channels in, time], output float[channels, time out], where time out = (time +
    2 pad - (window - 1) dilation - 1) // stride + 1. Parameters: weight [channels, channels in /
    groups, window], bias [channels].""",
)

CONV2D = _record(
    "conv2d",
    Conv2d,
    """Convolution over images: as conv1d, over rows and columns at once.

    Input float[channels in, rows, columns], output float[channels, rows out, columns out].
    Parameters: weight [channels, channels in / groups, window rows, window columns],
    bias [channels].""",
)
