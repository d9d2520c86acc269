"""Layers that set the scale of a sample: `scale` and `layer_norm`.

Channels are the first axis; a value without axes is one channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tiedgraph.ir.graph import Init
from tiedgraph.ir.types import Type, elements
from tiedgraph.ops.axes import fixed
from tiedgraph.ops.columns import EXTRA, SIZES, Columns, columns
from tiedgraph.ops.linear import add_sums
from tiedgraph.ops.pointwise import apply
from tiedgraph.ops.rules import (
    Array,
    Buffer,
    Emitter,
    Kernel,
    Op,
    OpError,
    ParamBuffer,
    ParamSpec,
    bits,
    put,
    setting,
)

# ---------------------------------------------------------------- scale


@dataclass(frozen=True)
class Scale:
    bias: bool = setting("flag", False, doc="whether a bias of each channel is added")


def channels(what: str, x: Type) -> int:
    return fixed(what, x, 0) if x.shape else 1


def by_channel(numbers: Array, x: Array) -> Array:
    """A number of each channel in a shape that goes with x."""
    return numbers.reshape(-1, *[1] * (x.ndim - 1)) if x.ndim else numbers.reshape(())


def sum_by_channel(x: Array) -> Array:
    """The sum over everything but the channels."""
    return np.asarray(x.reshape(len(x) if x.ndim else 1, -1).sum(axis=1))


def _scale_params(attrs: Scale, types: Sequence[Type]) -> tuple[ParamSpec, ...]:
    count = channels("scale", types[0])
    gain = ParamSpec("gain", (count,), Init("ones"))
    bias = ParamSpec("bias", (count,), Init("zeros"))
    return (gain, bias) if attrs.bias else (gain,)


def _scale(attrs: Scale, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    (x,) = inputs
    result = by_channel(params[0], x) * x
    return np.asarray(result + by_channel(params[1], x) if attrs.bias else result)


def _scale_backward(
    attrs: Scale, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    (x,) = inputs
    grad_params: list[Array | None] = [sum_by_channel(grad * x)]
    if attrs.bias:
        grad_params.append(sum_by_channel(grad))
    return [np.asarray(grad * by_channel(params[0], x))], grad_params


@lru_cache
def scale_kernel(epilogue: tuple[str, ...]) -> Kernel:
    """y = f(g[c] x + b[c]), with b = 0 unless `biased`; added to y where `add`."""
    lines = "\n".join(f"            {line}" for line in apply(epilogue, "v"))
    return Kernel(
        "scale",
        f"""def kernel(activation, parameter, gradient, operand):
    x, y, g, b = operand[0], operand[1], operand[2], operand[3]
    channels, inner, gs, bs = operand[4], operand[5], operand[6], operand[7]
    biased, add = operand[8], operand[9]
    shift = broadcast(0.0)
    for c in range(channels):
        gain = broadcast(parameter[g + c * gs])
        if biased:
            shift = broadcast(parameter[b + c * bs])
        for i in range(c * inner, (c + 1) * inner):
            v = load(activation, x + i * LANES)
            if biased:
                v = fma(gain, v, shift)
            else:
                v = gain * v
            if add:
                v = v + load(activation, y + i * LANES)
{lines}
            store(activation, y + i * LANES, v)
""",
    )


# gradient[c] += the sum of a b over the numbers of a channel and the samples.
PRODUCT_SUMS = Kernel(
    "product_sums",
    """def kernel(activation, parameter, gradient, operand):
    a, b, target = operand[0], operand[1], operand[2]
    channels, inner, stride = operand[3], operand[4], operand[5]
    for c in range(channels):
        s = broadcast(0.0)
        for i in range(c * inner, (c + 1) * inner):
            s = fma(load(activation, a + i * LANES), load(activation, b + i * LANES), s)
        gradient[target + c * stride] += sum_lanes(s)
""",
)


def _planes(x: Buffer) -> tuple[int, int]:
    """Channels, and numbers in each."""
    count = x.shape[0] if x.shape else 1
    return count, elements(x.shape[1:])


def _emit_scale(emitter: Emitter) -> None:
    x, gain = emitter.input(0), emitter.param(0)
    bias = emitter.param(1) if emitter.attrs.bias else None
    emitter.call(
        scale_kernel(emitter.epilogue),
        x.offset,
        emitter.output().offset,
        gain.offset,
        bias.offset if bias else 0,
        *_planes(x),
        gain.strides[0],
        bias.strides[0] if bias else 0,
        int(bias is not None),
        0,
    )


def _emit_scale_backward(emitter: Emitter) -> None:
    grad, gain = emitter.grad_output(), emitter.param(0)
    if gain.trainable:
        x = emitter.input(0)
        emitter.call(PRODUCT_SUMS, grad.offset, x.offset, gain.offset, *_planes(x), gain.strides[0])
    if emitter.attrs.bias and emitter.param(1).trainable:
        _add_bias(emitter, grad, emitter.param(1))
    wanted = emitter.grad_input(0)
    if wanted is not None:
        into, add = wanted
        emitter.call(
            scale_kernel(()),
            grad.offset,
            into.offset,
            gain.offset,
            0,
            *_planes(into),
            gain.strides[0],
            0,
            0,
            int(add),
        )


def _add_bias(emitter: Emitter, grad: Buffer, bias: ParamBuffer) -> None:
    add_sums(emitter, Buffer(grad.offset, _planes(grad)), bias)


SCALE = Op(
    name="scale",
    doc="""A learned gain of each channel: y[c, ...] = g[c] x[c, ...], plus b[c] with bias=true.

    Input float of any shape whose first axis is channels (float[] is one channel), output of the
    same. Parameters: gain [channels], which starts at 1, and bias [channels].""",
    category="layer",
    inputs=("x",),
    Attrs=Scale,
    shape=lambda attrs, types: types[0],
    params=_scale_params,
    forward=_scale,
    backward=_scale_backward,
    saves=frozenset({"inputs"}),
    emit=_emit_scale,
    emit_backward=_emit_scale_backward,
    epilogue=True,
    flops=lambda attrs, inputs, output: 2 * elements(output),
)

# ---------------------------------------------------------------- layer_norm


@dataclass(frozen=True)
class LayerNorm:
    epsilon: float = setting("number", 1e-5, minimum=0.0, doc="added to the variance")


def _norm_params(attrs: LayerNorm, types: Sequence[Type]) -> tuple[ParamSpec, ...]:
    count = fixed("layer_norm", types[0], 0)
    return (
        ParamSpec("gain", (count,), Init("ones")),
        ParamSpec("bias", (count,), Init("zeros")),
    )


def _norm_shape(attrs: LayerNorm, types: Sequence[Type]) -> Type:
    if not types[0].shape:
        raise OpError("E0301", "layer_norm needs an axis of channels, but its input is float[]",
                      argument=0)  # fmt: skip
    fixed("layer_norm", types[0], 0)
    return types[0]


def _standard(attrs: LayerNorm, x: Array) -> tuple[Array, Array]:
    """x with mean 0 and variance 1 over the channels, and what it was divided by."""
    deviation = np.sqrt(x.var(axis=0) + attrs.epsilon)
    return np.asarray((x - x.mean(axis=0)) / deviation), np.asarray(deviation)


def _norm(attrs: LayerNorm, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    standard, _ = _standard(attrs, inputs[0])
    return np.asarray(by_channel(params[0], standard) * standard + by_channel(params[1], standard))


def _norm_backward(
    attrs: LayerNorm, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    standard, deviation = _standard(attrs, inputs[0])
    inner = grad * by_channel(params[0], grad)
    inner = inner - inner.mean(axis=0) - standard * (inner * standard).mean(axis=0)
    return [inner / deviation], [sum_by_channel(grad * standard), sum_by_channel(grad)]


# Kept are the mean of each position, and 1 / deviation.
_HEAD = [
    *SIZES,
    f"x, y, kept = operand[{EXTRA}], operand[{EXTRA + 1}], operand[{EXTRA + 2}]",
    f"g, gs = operand[{EXTRA + 3}], operand[{EXTRA + 4}]",
    f"b, bs = operand[{EXTRA + 5}], operand[{EXTRA + 6}]",
    "inverses = kept + outer * inner * LANES",
    "each = broadcast(1.0 / steps)",
]


@lru_cache
def layer_norm_kernel(single: bool) -> Kernel:
    """y = g[c] (x - mean) / deviation + b[c], with both over the channels of a position."""
    text = Columns(single)
    text.once(["mean = zero"], made=["mean"])
    text.along(["mean = mean + load(activation, x + at)"], carried=["mean"])
    text.once(["mean, square = mean * each, zero"], read=["mean"], made=["mean", "square"])
    text.along(
        ["v = load(activation, x + at) - mean", "square = fma(v, v, square)"],
        read=["mean"],
        carried=["square"],
    )
    text.once(
        [
            "inverse = 1.0 / sqrt(fma(square, each, epsilon))",
            "store(activation, kept + place, mean)",
            "store(activation, inverses + place, inverse)",
        ],
        read=["mean", "square"],
        made=["inverse"],
    )
    text.along(
        [
            "v = (load(activation, x + at) - mean) * inverse",
            "store(activation, y + at, fma(gain, v, shift))",
        ],
        read=["mean", "inverse"],
        before=[
            "gain = broadcast(parameter[g + k * gs])",
            "shift = broadcast(parameter[b + k * bs])",
        ],
    )
    head = [*_HEAD, f"epsilon = broadcast(number(operand, {EXTRA + 7}))"]
    return Kernel("layer_norm", text.source(head))


@lru_cache
def layer_norm_backward_kernel(single: bool) -> Kernel:
    """Gradients of gain and bias where `trained` says so, and behind `y` that of the input."""
    text = Columns(single)
    text.once(
        [
            "mean, inverse = load(activation, kept + place), load(activation, inverses + place)",
            "total, across = zero, zero",
        ],
        made=["mean", "inverse", "total", "across"],
    )
    standard = "v = (load(activation, x + at) - mean) * inverse"
    text.along(
        [
            standard,
            "d = load(activation, given + at)",
            "of_gain, of_bias = fma(d, v, of_gain), of_bias + d",
            "d = d * gain",
            "total, across = total + d, fma(d, v, across)",
        ],
        read=["mean", "inverse"],
        carried=["total", "across"],
        before=["gain = broadcast(parameter[g + k * gs])", "of_gain, of_bias = zero, zero"],
        after=[
            "if trained & 1:",
            "    gradient[g + k * gs] += sum_lanes(of_gain)",
            "if trained & 2:",
            "    gradient[b + k * bs] += sum_lanes(of_bias)",
        ],
    )
    text.along(
        [
            standard,
            "d = gain * load(activation, given + at)",
            "d = (d - total * each - v * (across * each)) * inverse",
            *put("d", "y"),
        ],
        read=["mean", "inverse", "total", "across"],
        before=["gain = broadcast(parameter[g + k * gs])"],
    )
    more = [f"given, add, trained = {', '.join(f'operand[{EXTRA + i}]' for i in (7, 8, 9))}"]
    return Kernel("layer_norm_backward", text.source([*_HEAD, *more]))


def _norm_places(emitter: Emitter, y: int) -> tuple[int, ...]:
    """The operands of `_HEAD`."""
    x, gain, bias = emitter.input(0), emitter.param(0), emitter.param(1)
    loops = columns(emitter, 1, *_planes(x))
    rest = (gain.offset, gain.strides[0], bias.offset, bias.strides[0])
    return (*loops, x.offset, y, emitter.kept().offset, *rest)


def _emit_norm(emitter: Emitter) -> None:
    _, inner = _planes(emitter.input(0))
    places = _norm_places(emitter, emitter.output().offset)
    emitter.call(layer_norm_kernel(inner == 1), *places, bits(emitter.attrs.epsilon))


def _emit_norm_backward(emitter: Emitter) -> None:
    _, inner = _planes(emitter.input(0))
    trained = emitter.param(0).trainable + 2 * emitter.param(1).trainable
    # Where nobody needs the gradient of the input it goes to scratch memory.
    into, add = emitter.grad_input(0) or (emitter.scratch(emitter.input(0).elements), False)
    emitter.call(
        layer_norm_backward_kernel(inner == 1),
        *_norm_places(emitter, into.offset),
        emitter.grad_output().offset,
        int(add),
        trained,
    )


LAYER_NORM = Op(
    name="layer_norm",
    doc="""Mean 0 and variance 1 over the channels of each position, then a learned gain and bias.

    y[c, t] = g[c] (x[c, t] - m[t]) / sqrt(v[t] + epsilon) + b[c], where m[t] and v[t] are the mean
    and the (biased) variance of x[:, t]. So float[n] is normalised over its n numbers, and a
    sequence or image at each step or pixel by itself, as with channels last elsewhere.
    Input float[channels, ...], output of the same shape. Parameters: gain [channels], which starts
    at 1, and bias [channels]. Ba, Kiros, Hinton, Layer normalization (2016).""",
    category="layer",
    inputs=("x",),
    Attrs=LayerNorm,
    shape=_norm_shape,
    params=_norm_params,
    forward=_norm,
    backward=_norm_backward,
    saves=frozenset({"inputs"}),
    emit=_emit_norm,
    emit_backward=_emit_norm_backward,
    flops=lambda attrs, inputs, output: 8 * elements(output),
    keeps=lambda attrs, inputs, output: 2 * elements(output[1:]),
)

NORMALISING: tuple[Op, ...] = (SCALE, LAYER_NORM)
