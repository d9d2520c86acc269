"""`codebook`: Gaussians that many states share; `ops/weighted.py` has the states' weights."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from math import log, pi

from tiedgraph.ops.gaussian import STATISTICS, log_densities, pull, rows, specs, statistics_of
from tiedgraph.ops.rules import Array, Emitter, Kernel, Op, setting


@dataclass(frozen=True)
class Codebook:
    gaussians: int = setting("size", doc="how many there are")


def _forward(attrs: Codebook, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    return log_densities(inputs[0], params)


def _backward(
    attrs: Codebook, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    of_frames, slopes = pull(inputs[0], params, grad)
    return [of_frames], slopes


# ---------------------------------------------------------------- kernels of a codebook

# Operands of both: frames, densities, steps, size, how many; mean and log variance with their
# strides; and room for the inverse variances, plain numbers, and a vector of each constant.
_BOOK = f"""def kernel(activation, parameter, gradient, operand):
    x, y, steps, size, count = operand[0], operand[1], operand[2], operand[3], operand[4]
    means, mm, md = operand[5], operand[6], operand[7]
    variances, vm, vd = operand[8], operand[9], operand[10]
    inverses, constants = operand[11], operand[12]
    row = steps * LANES
    zero = broadcast(0.0)
    for m in range(count):
        constant = zero - {0.5 * log(2 * pi)!r} * size
        for d in range(size):
            v = broadcast(parameter[variances + m * vm + d * vd])
            constant = constant - 0.5 * v
            store(activation, constants + m * LANES, exp(zero - v))
            activation[inverses + m * size + d] = activation[constants + m * LANES]
        store(activation, constants + m * LANES, constant)
"""


def _densities(count: int) -> str:
    """Densities of all Gaussians at `count` steps from t on."""
    indices = range(count)
    lines = ["for m in range(count):", "    constant = load(activation, constants + m * LANES)"]
    lines += [f"    s{i} = constant" for i in indices]
    lines.append("    for d in range(size):")
    lines.append("        mean = broadcast(parameter[means + m * mm + d * md])")
    lines.append("        half = broadcast(-0.5 * activation[inverses + m * size + d])")
    lines.append("        at = x + d * row + t * LANES")
    for i in indices:
        lines.append(f"        v = load(activation, at + {i} * LANES) - mean")
        lines.append(f"        s{i} = fma(v * v, half, s{i})")
    lines += [f"    store(activation, y + m * row + (t + {i}) * LANES, s{i})" for i in indices]
    return textwrap.indent("\n".join(lines), " " * 12)


DENSITIES = Kernel(
    "codebook",
    _BOOK
    + f"""    t = 0
    while t < steps:
        if t + 4 <= steps:
{_densities(4)}
            t += 4
        else:
{_densities(1)}
            t += 1
""",
)


def _sums(count: int) -> str:
    """Sums over time of g v and g v v for `count` numbers of a frame from d on."""
    indices = range(count)
    lines = ["for m in range(count):"]
    lines += [
        f"    mean{i} = broadcast(parameter[means + m * mm + (d + {i}) * md])" for i in indices
    ]
    lines += [f"    a{i}, b{i} = zero, zero" for i in indices]
    lines.append("    for t in range(steps):")
    lines.append("        r = load(activation, g + m * row + t * LANES)")
    for i in indices:
        lines.append(f"        v = load(activation, x + (d + {i}) * row + t * LANES) - mean{i}")
        lines.append("        w = r * v")
        lines.append(f"        a{i} = a{i} + w")
        lines.append(f"        b{i} = fma(w, v, b{i})")
    for i in indices:
        lines += [
            f"    first, second = sum_lanes(a{i}), sum_lanes(b{i})",
            f"    at = m * size + d + {i}",
            "    gradient[counts + count + at] += first",
            "    gradient[counts + count * (1 + size) + at] += second",
            "    inverse = activation[inverses + at]",
            "    if learns & 1:",
            f"        gradient[means + m * mm + (d + {i}) * md] += first * inverse",
            "    if learns & 2:",
            "        half = (second * inverse - activation[numbers + m]) / 2",
            f"        gradient[variances + m * vm + (d + {i}) * vd] += half",
        ]
    return textwrap.indent("\n".join(lines), " " * 12)


# Then: gradient of the output; the statistics; which parameters learn (1, 2); gradient of the
# frames, whether it is wanted and added to; and room for a number of each Gaussian.
SLOPE = Kernel(
    "codebook_slope",
    _BOOK
    + f"""    g, counts, learns = operand[13], operand[14], operand[15]
    target, wanted, add, numbers = operand[16], operand[17], operand[18], operand[19]
    for m in range(count):
        n = zero
        for t in range(steps):
            n = n + load(activation, g + m * row + t * LANES)
        number = sum_lanes(n)
        activation[numbers + m] = number
        gradient[counts + m] += number
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
            for t in range(steps):
                at = d * row + t * LANES
                sum = zero
                if add:
                    sum = load(activation, target + at)
                for m in range(count):
                    v = broadcast(parameter[means + m * mm + d * md]) - load(activation, x + at)
                    v = v * activation[inverses + m * size + d]
                    sum = fma(v, load(activation, g + m * row + t * LANES), sum)
                store(activation, target + at, sum)
""",
)


def _book(emitter: Emitter) -> list[int]:
    x, y, count = emitter.input(0), emitter.output(), emitter.attrs.gaussians
    size, steps = x.shape
    found = [x.offset, y.offset, steps, size, count]
    for i in range(2):
        found += [emitter.param(i).offset, *emitter.param(i).strides]
    plain = -(-count * size // emitter.lanes)
    room = emitter.scratch(plain + count).offset
    return [*found, room, room + plain * emitter.lanes]


def _emit(emitter: Emitter) -> None:
    emitter.call(DENSITIES, *_book(emitter))


def _emit_backward(emitter: Emitter) -> None:
    count, size = emitter.attrs.gaussians, emitter.input(0).shape[0]
    wanted = emitter.grad_input(0)
    common = _book(emitter)
    learns = sum(emitter.param(i).trainable << i for i in range(2))
    emitter.call(
        SLOPE, *common, emitter.grad_output().offset,
        emitter.statistic(STATISTICS, statistics_of(count, size)), learns,
        wanted[0].offset if wanted else 0, int(wanted is not None), int(bool(wanted and wanted[1])),
        emitter.scratch(-(-count // emitter.lanes)).offset,
    )  # fmt: skip


CODEBOOK = Op(
    name="codebook",
    doc="""The log density of each step under each of several Gaussians with diagonal covariance.

    y[m, t] = sum_d log N(x[d, t]; mean[m, d], exp(log_variance[m, d])). Input float[size, time],
    output float[gaussians, time]. Parameters: mean and log_variance [gaussians, size]. A unit's
    states share it: emission = mixture(book).
    Huang and Jack, Semi-continuous hidden Markov models for speech signals (1989).""",
    category="layer",
    inputs=("x",),
    Attrs=Codebook,
    shape=lambda attrs, types: rows("codebook", attrs.gaussians, types),
    params=lambda attrs, types: specs(attrs.gaussians, types),
    forward=_forward,
    backward=_backward,
    saves=frozenset({"inputs"}),
    emit=_emit,
    emit_backward=_emit_backward,
    flops=lambda attrs, inputs, output: 4 * inputs[0][0] * output[0] * output[1],
    places=lambda inputs, output: output[1],
)
