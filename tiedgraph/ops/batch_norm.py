"""`batch_norm`: statistics over the whole batch, so all samples meet twice forwards, once back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tiedgraph.ir.graph import Init
from tiedgraph.ir.types import Type, elements
from tiedgraph.ops.axes import check_rank, fixed, lengths, timed
from tiedgraph.ops.rules import (
    Array,
    Emitter,
    Implicit,
    Kernel,
    Op,
    OpError,
    ParamSpec,
    bits,
    hidden,
    put,
    setting,
)
from tiedgraph.ops.walk import EXTRA, Nest, Walk, walk

Samples = Sequence[Array]


@dataclass(frozen=True)
class BatchNorm:
    epsilon: float = setting("number", 1e-5, minimum=0.0, doc="added to the variance")
    momentum: float = setting(
        "number", 0.1, minimum=0.0, maximum=1.0, doc="share of a batch in the running statistics"
    )
    timed: tuple[int, ...] = hidden(())
    training: bool = hidden(True)


GAIN, BIAS, MEAN, VARIANCE = range(4)


def _settle(attrs: BatchNorm, types: Sequence[Type]) -> BatchNorm:
    x = types[0]
    check_rank("batch_norm", x)
    if not x.shape:
        raise OpError(
            "E0301", "batch_norm needs an axis of channels, but its input is float", argument=0
        )
    fixed("batch_norm", x, 0)
    return replace(attrs, timed=timed(x, range(1, len(x.shape))))


def _params(attrs: BatchNorm, types: Sequence[Type]) -> tuple[ParamSpec, ...]:
    count = fixed("batch_norm", types[0], 0)
    return (
        ParamSpec("gain", (count,), Init("ones")),
        ParamSpec("bias", (count,), Init("zeros")),
        ParamSpec("mean", (count,), Init("zeros"), trainable=False),
        ParamSpec("variance", (count,), Init("ones"), trainable=False),
    )


def _implicit(attrs: BatchNorm, types: Sequence[Type]) -> tuple[Implicit, ...]:
    return (Implicit("weight"), *lengths(types[0], attrs.timed))


# ---------------------------------------------------------------- the oracle


def _rows(samples: Samples) -> Array:
    """All positions of all samples side by side, [channels, positions]."""
    return np.concatenate([x.reshape(len(x), -1) for x in samples], axis=1)


def _apart(rows: Array, samples: Samples) -> list[Array]:
    """The reverse of `_rows`."""
    ends = np.cumsum([x[0].size for x in samples])
    pieces = np.split(rows, ends[:-1], axis=1)
    return [piece.reshape(x.shape) for piece, x in zip(pieces, samples, strict=True)]


def _standard(attrs: BatchNorm, x: Array, params: Sequence[Array]) -> tuple[Array, Array]:
    """Standardised positions, and what they were divided by."""
    mean, variance = params[MEAN], params[VARIANCE]
    if attrs.training:
        mean, variance = x.mean(axis=1), x.var(axis=1)
    deviation = np.sqrt(variance + attrs.epsilon)[:, None]
    return (x - mean[:, None]) / deviation, deviation


def _forward(attrs: BatchNorm, inputs: Sequence[Samples], params: Sequence[Array]) -> list[Array]:
    standard, _ = _standard(attrs, _rows(inputs[0]), params)
    return _apart(params[GAIN][:, None] * standard + params[BIAS][:, None], inputs[0])


def _backward(
    attrs: BatchNorm,
    inputs: Sequence[Samples],
    params: Sequence[Array],
    output: Samples,
    grad: Samples,
) -> tuple[list[list[Array]], list[Array | None]]:
    given = _rows(grad)
    standard, deviation = _standard(attrs, _rows(inputs[0]), params)
    inner = params[GAIN][:, None] * given
    if attrs.training:
        inner = inner - inner.mean(axis=1, keepdims=True)
        inner = inner - standard * (inner * standard).mean(axis=1, keepdims=True)
    grad_params = [(given * standard).sum(axis=1), given.sum(axis=1), None, None]
    return [_apart(inner / deviation, inputs[0])], grad_params


# ---------------------------------------------------------------- kernels

# z: the samples' weights, of which those of padding samples are 0. `statistics` is a place in the
# gradient of this shard and, once summed over the shards, in the parameters: [channels] sums, then
# for the first of them the count.
_C = "c = o // LANES"

SUMS = Nest(
    "batch_sums",
    (
        f"statistics, channels = operand[{EXTRA}], operand[{EXTRA} + 1]",
        "real = load(activation, z) > 0.0",
        "if o == 0:",
        "    gradient[statistics + channels] += sum_lanes(select(real, steps, zero))",
        "s = zero",
    ),
    ("s = s + select(valid, load(activation, x + at), zero)",),
    (_C, "gradient[statistics + c] += sum_lanes(select(real, s, zero))"),
)

SQUARES = Nest(
    "batch_squares",
    (
        f"statistics, means = operand[{EXTRA}], operand[{EXTRA} + 1]",
        "real = load(activation, z) > 0.0",
        _C,
        "mean = broadcast(parameter[means + c])",
        "s = zero",
    ),
    (
        "v = load(activation, x + at) - mean",
        "s = s + select(valid, v * v, zero)",
    ),
    ("gradient[statistics + c] += sum_lanes(select(real, s, zero))",),
)

# Once for the batch: sums become means.
DIVIDE = Kernel(
    "batch_divide",
    """def kernel(activation, parameter, gradient, operand):
    sums, count, channels = operand[0], operand[1], operand[2]
    for c in range(channels):
        parameter[sums + c] = parameter[sums + c] / max(parameter[count], 1)
""",
)

# Once for the batch: r += momentum (s - r), with s scaled by n / (n - 1) where `unbiased`.
RUNNING = Kernel(
    "batch_running",
    """def kernel(activation, parameter, gradient, operand):
    running, stride, batch = operand[0], operand[1], operand[2]
    count, channels, unbiased = operand[3], operand[4], operand[5]
    momentum = number(operand, 6)
    n = parameter[count]
    for c in range(channels):
        scale = 1.0
        if unbiased and n > 1:
            scale = n / (n - 1)
        at = running + c * stride
        parameter[at] += momentum * (scale * parameter[batch + c] - parameter[at])
""",
)

# Places of mean, variance, gain and bias, each with its stride, and epsilon.
_PLACES = (
    f"means, ms = operand[{EXTRA}], operand[{EXTRA} + 1]",
    f"variances, vs = operand[{EXTRA} + 2], operand[{EXTRA} + 3]",
    f"gains, gs = operand[{EXTRA} + 4], operand[{EXTRA} + 5]",
    f"biases, bs = operand[{EXTRA} + 6], operand[{EXTRA} + 7]",
    f"epsilon = broadcast(number(operand, {EXTRA} + 8))",
    _C,
    "mean = broadcast(parameter[means + c * ms])",
    "inverse = 1.0 / sqrt(broadcast(parameter[variances + c * vs]) + epsilon)",
    "gain = broadcast(parameter[gains + c * gs])",
)

NORMALISE = Nest(
    "batch_normalise",
    (*_PLACES, "shift = broadcast(parameter[biases + c * bs])"),
    (
        "v = (load(activation, x + at) - mean) * inverse",
        "v = fma(gain, v, shift)",
        "store(activation, y + at, v)",
    ),
)

# Gradients of bias and gain, into the statistics where there are any and the parameters' where
# these are trained (else their places are -1). Invalid steps have gradient 0.
GRADIENT_SUMS = Nest(
    "batch_gradient_sums",
    (
        *_PLACES,
        f"statistics, channels = operand[{EXTRA} + 9], operand[{EXTRA} + 10]",
        f"gain_wanted, bias_wanted = operand[{EXTRA} + 11], operand[{EXTRA} + 12]",
        "a, b = zero, zero",
    ),
    (
        "d = select(valid, load(activation, y + at), zero)",
        "a = a + d",
        "b = fma(d, (load(activation, x + at) - mean) * inverse, b)",
    ),
    (
        "total, along = sum_lanes(a), sum_lanes(b)",
        "if statistics >= 0:",
        "    gradient[statistics + c] += total",
        "    gradient[statistics + channels + c] += along",
        "if gain_wanted:",
        "    gradient[gains + c * gs] += along",
        "if bias_wanted:",
        "    gradient[biases + c * bs] += total",
    ),
)

# dx = g / s (dy - mean of dy - xhat mean of dy xhat), the means only with batch statistics;
# zero at steps and samples that were not counted.
INPUT_GRADIENT = Nest(
    "batch_input_gradient",
    (
        *_PLACES,
        f"statistics, channels = operand[{EXTRA} + 9], operand[{EXTRA} + 10]",
        f"counted = operand[{EXTRA} + 11]",
        "real = load(activation, z) > 0.0",
        "total, along = zero, zero",
        "if statistics >= 0:",
        "    n = broadcast(parameter[counted])",
        "    total = broadcast(parameter[statistics + c]) / n",
        "    along = broadcast(parameter[statistics + channels + c]) / n",
    ),
    (
        "v = (load(activation, x + at) - mean) * inverse",
        "v = (load(activation, y + at) - total - v * along) * inverse * gain",
        "v = select(valid & real, v, zero)",
        *put("v", "target"),
    ),
)


def _loops(emitter: Emitter, shape: tuple[int, ...]) -> Walk:
    return walk(emitter, shape, range(1, len(shape)), emitter.attrs.timed, 2)


def _places(emitter: Emitter) -> tuple[int, ...]:
    """The operands of `_PLACES`."""
    attrs = emitter.attrs
    found: list[int] = []
    for i, name in ((MEAN, "mean"), (VARIANCE, "variance"), (GAIN, ""), (BIAS, "")):
        param = emitter.param(i)
        if attrs.training and name:
            channels = param.shape[0]
            found += [emitter.statistic(name, channels + (name == "mean")), 1]
        else:
            found += [param.offset, param.strides[0]]
    return (*found, bits(attrs.epsilon))


def _emit(emitter: Emitter) -> None:
    attrs, x, y = emitter.attrs, emitter.input(0), emitter.output()
    channels, loops = x.shape[0], _loops(emitter, x.shape)
    if attrs.training:
        weight = emitter.input(1).offset
        mean = emitter.statistic("mean", channels + 1)
        variance = emitter.statistic("variance", channels)
        count = mean + channels
        SUMS.call(emitter, loops, (x.offset, 0, weight), mean, channels)
        emitter.sum_statistic("mean", channels + 1)
        emitter.call(DIVIDE, mean, count, channels, once=True)
        SQUARES.call(emitter, loops, (x.offset, 0, weight), variance, mean)
        emitter.sum_statistic("variance", channels)
        emitter.call(DIVIDE, variance, count, channels, once=True)
        for i, batch in ((MEAN, mean), (VARIANCE, variance)):
            running = emitter.param(i)
            emitter.call(
                RUNNING, running.offset, running.strides[0], batch, count, channels,
                int(i == VARIANCE), bits(attrs.momentum), once=True, update=True,
            )  # fmt: skip
    NORMALISE.call(emitter, loops, (x.offset, y.offset), *_places(emitter))


def _emit_backward(emitter: Emitter) -> None:
    attrs, x, grad = emitter.attrs, emitter.input(0), emitter.grad_output()
    channels, loops, wanted = x.shape[0], _loops(emitter, x.shape), emitter.grad_input(0)
    places = _places(emitter)
    gain, bias = emitter.param(GAIN).trainable, emitter.param(BIAS).trainable
    sums = -1
    if attrs.training and wanted is not None:
        sums = emitter.statistic("gradients", 2 * channels)
    if sums >= 0 or gain or bias:
        given = (x.offset, grad.offset)
        GRADIENT_SUMS.call(emitter, loops, given, *places, sums, channels, int(gain), int(bias))
    if wanted is None:
        return
    if sums >= 0:
        emitter.sum_statistic("gradients", 2 * channels)
    into, add = wanted
    counted = emitter.statistic("mean", channels + 1) + channels if attrs.training else 0
    read = (x.offset, grad.offset, emitter.input(1).offset, into.offset, int(add))
    INPUT_GRADIENT.call(emitter, loops, read, *places, sums, channels, counted)


BATCH_NORM = Op(
    name="batch_norm",
    doc="""Mean 0 and variance 1 of each channel over the batch, then a learned gain and bias.

    y[c, t] = g[c] (x[c, t] - m[c]) / sqrt(v[c] + epsilon) + b[c], where m[c] and v[c] are the mean
    and the (biased) variance over all valid positions of all samples of the batch. Each training
    step moves the running mean and variance (this one unbiased) by `momentum` towards the batch's;
    evaluation and prediction use these.
    Input float[channels, ...], output of the same shape. Parameters: gain [channels], which starts
    at 1, bias [channels], and the untrained mean and variance [channels].
    Ioffe, Szegedy, Batch normalization (2015).""",
    category="layer",
    inputs=("x",),
    Attrs=BatchNorm,
    settle=_settle,
    shape=lambda attrs, types: types[0],
    params=_params,
    implicit=_implicit,
    forward=_forward,  # type: ignore[arg-type]
    backward=_backward,  # type: ignore[arg-type]
    batch=True,
    saves=frozenset({"inputs"}),
    emit=_emit,
    emit_backward=_emit_backward,
    inference=lambda attrs: replace(attrs, training=False),
    flops=lambda attrs, inputs, output: 8 * elements(output),
)
