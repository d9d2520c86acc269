"""`gaussian`: how likely each step is under a mixture of Gaussians with diagonal covariance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, pi

import numpy as np

from tiedgraph.ir.graph import Init
from tiedgraph.ir.types import Type
from tiedgraph.ops.rules import (
    Array,
    Emitter,
    Kernel,
    Op,
    OpError,
    ParamSpec,
    setting,
)

MEAN, LOG_VARIANCE, WEIGHT = range(3)
STATISTICS = "counts"  # name of the statistic: see `statistics_of`


@dataclass(frozen=True)
class Gaussian:
    mixtures: int = setting("size", 1, doc="Gaussians of the mixture")


def _shape(attrs: Gaussian, types: Sequence[Type]) -> Type:
    x = types[0]
    if len(x.shape) != 2 or not isinstance(x.shape[0], int):
        raise OpError(
            "E0301",
            f"gaussian takes frames float[size, time], but its input is {x}",
            hint="give a sequence another axis: reshape(x, [1, time])",
            argument=0,
        )
    return Type("float", (1, x.shape[1]))


def _params(attrs: Gaussian, types: Sequence[Type]) -> tuple[ParamSpec, ...]:
    size = types[0].shape[0]
    assert isinstance(size, int)
    both = (attrs.mixtures, size)
    specs = [
        ParamSpec("mean", both, Init("normal", (0.0, 1.0))),
        ParamSpec("log_variance", both, Init("zeros")),
    ]
    if attrs.mixtures > 1:
        specs.append(ParamSpec("weight", (attrs.mixtures,), Init("zeros")))
    return tuple(specs)


# ---------------------------------------------------------------- the oracle


def _weights(params: Sequence[Array]) -> Array:
    """Log weights of the mixture."""
    if len(params) <= WEIGHT:
        return np.zeros(len(params[MEAN]))
    shifted = params[WEIGHT] - params[WEIGHT].max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def log_densities(x: Array, params: Sequence[Array]) -> Array:
    """log(weight) + log density of each component at each step, [mixtures, time]."""
    v = x[None] - params[MEAN][:, :, None]
    squares = (v * v * np.exp(-params[LOG_VARIANCE])[:, :, None]).sum(axis=1)
    scale = params[LOG_VARIANCE].sum(axis=1) + len(x) * np.log(2 * np.pi)
    return np.asarray(_weights(params)[:, None] - 0.5 * (scale[:, None] + squares))


def _forward(attrs: Gaussian, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    return np.asarray(np.logaddexp.reduce(log_densities(inputs[0], params), axis=0)[None])


def _backward(
    attrs: Gaussian, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    r = grad * np.exp(log_densities(inputs[0], params) - output)
    v = inputs[0][None] - params[MEAN][:, :, None]
    inverse = np.exp(-params[LOG_VARIANCE])
    pulled = r[:, None] * v * inverse[:, :, None]
    counts = r.sum(axis=1)
    slopes: list[Array | None] = [
        pulled.sum(axis=2),
        0.5 * ((pulled * v).sum(axis=2) - counts[:, None]),
    ]
    if attrs.mixtures > 1:
        slopes.append(counts - np.exp(_weights(params)) * counts.sum())
    return [-pulled.sum(axis=0)], slopes


# ---------------------------------------------------------------- kernels

# Operands of both: frames, the output, steps, size, mixtures; mean, log variance and weight with
# their strides (no weight: -1); room for a vector of each number of the inverse variances, one of
# each weight, and densities of the components [mixtures, steps], which are the output for one.
_HEAD = """def kernel(activation, parameter, gradient, operand):
    x, y, steps, size, mixtures = operand[0], operand[1], operand[2], operand[3], operand[4]
    means, mm, md = operand[5], operand[6], operand[7]
    variances, vm, vd = operand[8], operand[9], operand[10]
    weights, ws = operand[11], operand[12]
    inverses, shares, parts = operand[13], operand[14], operand[15]
    row = steps * LANES
    zero = broadcast(0.0)
    norm = zero
    if weights >= 0:
        most = broadcast(parameter[weights])
        for m in range(1, mixtures):
            most = maximum(most, broadcast(parameter[weights + m * ws]))
        for m in range(mixtures):
            norm = norm + exp(broadcast(parameter[weights + m * ws]) - most)
        norm = most + log(norm)
    for m in range(mixtures):
        share = zero
        if weights >= 0:
            share = broadcast(parameter[weights + m * ws]) - norm
        store(activation, shares + m * LANES, share)
        for d in range(size):
            v = exp(zero - broadcast(parameter[variances + m * vm + d * vd]))
            store(activation, inverses + (m * size + d) * LANES, v)
"""


def _block(count: int) -> str:
    """Densities of component m at `count` steps from t on."""
    indices = range(count)
    lines = [f"s{i} = constant" for i in indices]
    lines.append("for d in range(size):")
    lines.append("    mean = broadcast(parameter[means + m * mm + d * md])")
    lines.append("    half = -0.5 * load(activation, inverses + (m * size + d) * LANES)")
    lines.append("    at = x + d * row + t * LANES")
    for i in indices:
        lines.append(f"    v = load(activation, at + {i} * LANES) - mean")
        lines.append(f"    s{i} = fma(v * v, half, s{i})")
    lines += [f"store(activation, part + (t + {i}) * LANES, s{i})" for i in indices]
    return "\n".join(f"                {line}" for line in lines)


DENSITIES = Kernel(
    "gaussian",
    _HEAD
    + f"""
    for m in range(mixtures):
        part = parts + m * row
        constant = load(activation, shares + m * LANES) - 0.5 * {log(2 * pi)!r} * size
        for d in range(size):
            constant = constant - 0.5 * broadcast(parameter[variances + m * vm + d * vd])
        t = 0
        while t < steps:
            if t + 4 <= steps:
{_block(4)}
                t += 4
            else:
{_block(1)}
                t += 1
    if mixtures > 1:
        for t in range(steps):
            most = load(activation, parts + t * LANES)
            for m in range(1, mixtures):
                most = maximum(most, load(activation, parts + m * row + t * LANES))
            v = zero
            for m in range(mixtures):
                v = v + exp(load(activation, parts + m * row + t * LANES) - most)
            store(activation, y + t * LANES, most + log(v))
""",
)


def _sums(count: int) -> str:
    """Sums over time of r v and r v v for `count` numbers of a frame from d on."""
    indices = range(count)
    lines = []
    for i in indices:
        lines.append(f"mean{i} = broadcast(parameter[means + m * mm + (d + {i}) * md])")
        lines.append(f"a{i}, b{i} = zero, zero")
    lines.append("for t in range(steps):")
    lines.append("    r = load(activation, shared + t * LANES)")
    for i in indices:
        lines.append(f"    v = load(activation, x + (d + {i}) * row + t * LANES) - mean{i}")
        lines.append("    w = r * v")
        lines.append(f"    a{i} = a{i} + w")
        lines.append(f"    b{i} = fma(w, v, b{i})")
    for i in indices:
        lines += [
            f"first, second = sum_lanes(a{i}), sum_lanes(b{i})",
            f"at = m * size + d + {i}",
            "gradient[counts + mixtures + at] += first",
            "gradient[counts + mixtures * (1 + size) + at] += second",
            "inverse = activation[inverses + at * LANES]",
            "if learns & 1:",
            f"    gradient[means + m * mm + (d + {i}) * md] += first * inverse",
            "if learns & 2:",
            "    half = (second * inverse - number) / 2",
            f"    gradient[variances + m * vm + (d + {i}) * vd] += half",
        ]
    return "\n".join(f"                {line}" for line in lines)


# Then: gradient of the output; where its shares in the components go; the statistics; which
# parameters learn (1, 2, 4); and the gradient of the frames, whether it is wanted and added to.
SLOPE = Kernel(
    "gaussian_slope",
    _HEAD
    + f"""
    g, share, counts, learns = operand[16], operand[17], operand[18], operand[19]
    target, wanted, add = operand[20], operand[21], operand[22]
    whole = zero
    for t in range(steps):
        whole = whole + load(activation, g + t * LANES)
    every = sum_lanes(whole)
    for m in range(mixtures):
        shared = g
        n = whole
        if mixtures > 1:
            shared = share
            n = zero
            for t in range(steps):
                part = load(activation, parts + m * row + t * LANES)
                r = exp(part - load(activation, y + t * LANES)) * load(activation, g + t * LANES)
                store(activation, shared + t * LANES, r)
                n = n + r
        number = sum_lanes(n)
        gradient[counts + m] += number
        if learns & 4:
            v = number - every * exp(load(activation, shares + m * LANES))
            store(activation, shares + m * LANES, v)
            gradient[weights + m * ws] += activation[shares + m * LANES]
        d = 0
        while d < size:
            if d + 4 <= size:
{_sums(4)}
                d += 4
            else:
{_sums(1)}
                d += 1
        if wanted:
            for d in range(size):
                mean = broadcast(parameter[means + m * mm + d * md])
                inverse = load(activation, inverses + (m * size + d) * LANES)
                for t in range(steps):
                    at = d * row + t * LANES
                    v = (mean - load(activation, x + at)) * inverse
                    v = v * load(activation, shared + t * LANES)
                    if add or m > 0:
                        v = v + load(activation, target + at)
                    store(activation, target + at, v)
""",
)


def _keeps(attrs: Gaussian, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    return attrs.mixtures * inputs[0][1] if attrs.mixtures > 1 else 0


def _common(emitter: Emitter) -> list[int]:
    x, y, attrs = emitter.input(0), emitter.output(), emitter.attrs
    size, steps = x.shape
    found = [x.offset, y.offset, steps, size, attrs.mixtures]
    for i in (MEAN, LOG_VARIANCE):
        found += [emitter.param(i).offset, *emitter.param(i).strides]
    if attrs.mixtures > 1:
        found += [emitter.param(WEIGHT).offset, *emitter.param(WEIGHT).strides]
    else:
        found += [-1, 0]
    room = emitter.scratch(attrs.mixtures * (size + 1)).offset
    shares = room + attrs.mixtures * size * emitter.lanes
    parts = emitter.kept().offset if attrs.mixtures > 1 else y.offset
    return [*found, room, shares, parts]


def statistics_of(mixtures: int, size: int) -> int:
    """How many numbers a node's statistics are: N [mixtures], then sums of r v and of r v v
    [mixtures, size], where r is a component's share in the gradient of a step and v = x - mean."""
    return mixtures * (1 + 2 * size)


def _emit(emitter: Emitter) -> None:
    emitter.call(DENSITIES, *_common(emitter))


def _emit_backward(emitter: Emitter) -> None:
    attrs = emitter.attrs
    size, steps = emitter.input(0).shape
    wanted = emitter.grad_input(0)
    common = _common(emitter)
    share = emitter.scratch(steps).offset if attrs.mixtures > 1 else 0
    learns = sum(emitter.param(i).trainable << i for i in range(WEIGHT + (attrs.mixtures > 1)))
    emitter.call(
        SLOPE, *common, emitter.grad_output().offset, share,
        emitter.statistic(STATISTICS, statistics_of(attrs.mixtures, size)), learns,
        wanted[0].offset if wanted else 0, int(wanted is not None), int(bool(wanted and wanted[1])),
    )  # fmt: skip


def _flops(attrs: Gaussian, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    size, steps = inputs[0]
    return attrs.mixtures * steps * (4 * size + 10)


GAUSSIAN = Op(
    name="gaussian",
    doc="""The log density of each step under a mixture of Gaussians with diagonal covariance.

    y[t] = log sum_m w[m] prod_d N(x[d, t]; mean[m, d], exp(log_variance[m, d])), where w is the
    softmax of weight. Input float[size, time], output float[1, time]. Parameters: mean and
    log_variance [mixtures, size] and, for several Gaussians, weight [mixtures].
    Juang, Maximum-likelihood estimation for mixture multivariate stochastic observations of Markov
    chains (1985).""",
    category="layer",
    inputs=("x",),
    Attrs=Gaussian,
    shape=_shape,
    params=_params,
    forward=_forward,
    backward=_backward,
    saves=frozenset({"inputs", "output"}),
    keeps=_keeps,
    emit=_emit,
    emit_backward=_emit_backward,
    flops=_flops,
    places=lambda inputs, output: output[1],
)
