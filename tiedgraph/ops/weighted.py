"""`mixture`: states that share a codebook's Gaussians, each with weights of its own.

The densities are computed once for each step, however many states there are. A state's score is
then a sum of products: with e[m] = exp(book[m] - most), log sum_m w[m] e[m] + most. Where next to
nothing is left of that, it is made of logarithms instead.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np

from tiedgraph.ir.graph import Init
from tiedgraph.ir.types import Type
from tiedgraph.ops.rules import Array, Emitter, Kernel, Op, OpError, ParamSpec, hidden

STATISTICS = "shares"  # name of the statistic: how much of each state each Gaussian had
LEAST = -60.0  # log of a sum of products below which it is made of logarithms


@dataclass(frozen=True)
class Mixture:
    """states: paths of the instances that own the weights."""

    states: tuple[str, ...] = hidden(())


def _mixture_shape(attrs: Mixture, types: Sequence[Type]) -> Type:
    book = types[0]
    if len(book.shape) != 2 or not isinstance(book.shape[0], int):
        raise OpError(
            "E0301",
            f"mixture takes densities float[gaussians, time], but its input is {book}",
            hint="make them by a codebook: book = codebook(frames, 64)",
            argument=0,
        )
    return Type("float", (len(attrs.states), book.shape[1]))


def _mixture_params(attrs: Mixture, types: Sequence[Type]) -> tuple[ParamSpec, ...]:
    count = types[0].shape[0]
    assert isinstance(count, int)
    return tuple(
        ParamSpec("weight", (count,), Init("zeros"), instance=state) for state in attrs.states
    )


def _log_weights(params: Sequence[Array]) -> Array:
    """[states, gaussians]."""
    weights = np.stack(params)
    return np.asarray(weights - np.logaddexp.reduce(weights, axis=1, keepdims=True))


def _mixture_forward(attrs: Mixture, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    parts = _log_weights(params)[:, :, None] + inputs[0][None]
    return np.asarray(np.logaddexp.reduce(parts, axis=1))


def _mixture_backward(
    attrs: Mixture, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    weights = _log_weights(params)
    r = grad[:, None] * np.exp(weights[:, :, None] + inputs[0][None] - output[:, None])
    counts = r.sum(axis=2)
    slopes = counts - np.exp(weights) * counts.sum(axis=1, keepdims=True)
    return [r.sum(axis=0)], list(slopes)


# Operands of both: densities, the output, steps, Gaussians, states; room for the states' weights,
# rows of plain numbers in whole vectors, and a vector of the logarithm of each sum; what is kept:
# exp(density - most) and most; and from FIRST on of each state its weight, the stride, and whether
# it learns.
FIRST = 16
_WEIGHTS = f"""def kernel(activation, parameter, gradient, operand):
    book, y, steps, count, states = operand[0], operand[1], operand[2], operand[3], operand[4]
    shares, norms, scaled, tops = operand[5], operand[6], operand[7], operand[8]
    row = steps * LANES
    width = (count + LANES - 1) // LANES * LANES
    zero = broadcast(0.0)
    one = broadcast(1.0)
    for s in range(states):
        at, by = operand[{FIRST} + 3 * s], operand[{FIRST + 1} + 3 * s]
        own = shares + s * width
        highest = parameter[at]
        for m in range(width):
            activation[own + m] = -1e30
            if m < count:
                activation[own + m] = parameter[at + m * by]
                highest = max(highest, parameter[at + m * by])
        whole = zero
        for m in range(0, width, LANES):
            v = exp(load(activation, own + m) - broadcast(highest))
            whole = whole + v
            store(activation, own + m, v)
        total = broadcast(sum_lanes(whole))
        store(activation, norms + s * LANES, broadcast(highest) + log(total))
        for m in range(0, width, LANES):
            store(activation, own + m, load(activation, own + m) / total)
"""


def _products(states: int, steps: int) -> str:
    """Scores of some states from s on at some steps from t on."""
    pairs = [(i, k) for i in range(states) for k in range(steps)]
    lines = [f"a{i}{k} = zero" for i, k in pairs]
    lines.append("for m in range(count):")
    lines += [
        f"    e{k} = load(activation, scaled + m * row + (t + {k}) * LANES)" for k in range(steps)
    ]
    for i in range(states):
        lines.append(f"    w = broadcast(activation[shares + (s + {i}) * width + m])")
        lines += [f"    a{i}{k} = fma(w, e{k}, a{i}{k})" for k in range(steps)]
    for i, k in pairs:
        lines.append(f"v = load(activation, tops + (t + {k}) * LANES) + log(a{i}{k})")
        lines.append(f"store(activation, y + (s + {i}) * row + (t + {k}) * LANES, v)")
        lines.append(f"low{i} = minimum(low{i}, a{i}{k})")
    return textwrap.indent("\n".join(lines), " " * 20)


def _states(count: int) -> str:
    indices = range(count)
    lines = [f"{', '.join(f'low{i}' for i in indices)} = {', '.join('one' for _ in indices)}"]
    text = textwrap.indent("\n".join(lines), " " * 12)
    text += f"""
            t = 0
            while t < steps:
                if t + 2 <= steps:
{_products(count, 2)}
                    t += 2
                else:
{_products(count, 1)}
                    t += 1
"""
    for i in indices:
        text += f"            store(activation, lows + (s + {i}) * LANES, low{i})\n"
    return text


SCORES = Kernel(
    "mixture",
    _WEIGHTS
    + f"""    lows = operand[9]
    for t in range(steps):
        most = load(activation, book + t * LANES)
        for m in range(1, count):
            most = maximum(most, load(activation, book + m * row + t * LANES))
        store(activation, tops + t * LANES, most)
        for m in range(count):
            v = exp(load(activation, book + m * row + t * LANES) - most)
            store(activation, scaled + m * row + t * LANES, v)
    s = 0
    while s < states:
        if s + 4 <= states:
{_states(4)}
            s += 4
        else:
{_states(1)}
            s += 1
    for s in range(states):
        low = load(activation, lows + s * LANES)
        if sum_lanes(select(low > {exp(LEAST)!r}, zero, one)) > 0:
            at, by = operand[{FIRST} + 3 * s], operand[{FIRST + 1} + 3 * s]
            norm = load(activation, norms + s * LANES)
            for t in range(steps):
                most = load(activation, book + t * LANES) + parameter[at]
                for m in range(1, count):
                    v = load(activation, book + m * row + t * LANES) + parameter[at + m * by]
                    most = maximum(most, v)
                whole = zero
                for m in range(count):
                    v = load(activation, book + m * row + t * LANES) + parameter[at + m * by]
                    whole = whole + exp(v - most)
                store(activation, y + s * row + t * LANES, most + log(whole) - norm)
""",
)


def _shares(count: int, wanted: bool) -> str:
    """What `count` states from s on give to Gaussian m, and with `wanted` to its slope."""
    indices = range(count)
    lines = ["for t in range(begin, end):"]
    lines.append("    e = load(activation, scaled + m * row + t * LANES)")
    if wanted:
        lines.append("    d = load(activation, slopes + m * row + t * LANES)")
    for i in indices:
        lines.append(f"    q = load(activation, pulls + {i} * row + t * LANES)")
        lines.append(f"    a{i} = fma(e, q, a{i})")
        if wanted:
            lines.append(f"    d = fma(w{i}, q, d)")
    if wanted:
        lines.append("    store(activation, slopes + m * row + t * LANES, d)")
    return textwrap.indent("\n".join(lines), " " * 20)


def _pull(count: int) -> str:
    indices = range(count)
    text = f"""            begin, end = steps, 0
            for i in range({count}):
                whole, low = zero, zero
                for t in range(steps):
                    at = (s + i) * row + t * LANES
                    v = load(activation, y + at) - load(activation, tops + t * LANES)
                    slope = load(activation, g + at)
                    whole = whole + slope
                    asked = maximum(slope, zero - slope) > zero
                    if sum_lanes(select(asked, one, zero)) > 0:
                        begin, end = min(begin, t), max(end, t + 1)
                        low = minimum(low, select(asked, v, zero))
                    ahead = minimum(zero - v, zero - {LEAST!r})
                    v = select(v > {LEAST!r}, slope * exp(ahead), zero)
                    store(activation, pulls + i * row + t * LANES, v)
                store(activation, lows + (s + i) * LANES, low)
                activation[wholes + s + i] = sum_lanes(whole)
            for m in range(count if begin < end else 0):
"""
    for i in indices:
        text += f"""                w{i} = broadcast(activation[shares + (s + {i}) * width + m])
                a{i} = zero
"""
    text += f"""                if wanted:
{_shares(count, True)}
                else:
{_shares(count, False)}
"""
    for i in indices:
        text += f"""                share = activation[shares + (s + {i}) * width + m]
                n = sum_lanes(a{i}) * share
                gradient[counts + (s + {i}) * count + m] += n
                if operand[{FIRST + 2} + 3 * (s + {i})]:
                    at = operand[{FIRST} + 3 * (s + {i})] + m * operand[{FIRST + 1} + 3 * (s + {i})]
                    gradient[at] += n - share * activation[wholes + s + {i}]
"""
    return text


# Then: room for a vector of each state, the gradient of the output, the statistics, gradient of the
# densities, how it is wanted (0: not, 1, 2: added to), and room for slopes, pulls and sums.
PULL = Kernel(
    "mixture_slope",
    _WEIGHTS
    + f"""    lows, g, counts, target = operand[9], operand[10], operand[11], operand[12]
    wanted, slopes, wholes = operand[13], operand[14], operand[15]
    pulls = slopes + count * row
    if wanted:
        for i in range(count * steps):
            store(activation, slopes + i * LANES, zero)
            if wanted == 1:
                store(activation, target + i * LANES, zero)
    s = 0
    while s < states:
        if s + 4 <= states:
{_pull(4)}
            s += 4
        else:
{_pull(1)}
            s += 1
    if wanted:
        for i in range(count * steps):
            v = load(activation, target + i * LANES)
            e = load(activation, scaled + i * LANES)
            store(activation, target + i * LANES, fma(e, load(activation, slopes + i * LANES), v))
    for s in range(states):
        low = load(activation, lows + s * LANES)
        if sum_lanes(select(low > {LEAST!r}, zero, one)) > 0:
            at, by = operand[{FIRST} + 3 * s], operand[{FIRST + 1} + 3 * s]
            norm = load(activation, norms + s * LANES)
            for m in range(count):
                weight = broadcast(parameter[at + m * by]) - norm
                whole = zero
                for t in range(steps):
                    place = s * row + t * LANES
                    v = load(activation, y + place)
                    small = v - load(activation, tops + t * LANES) > {LEAST!r}
                    r = weight + load(activation, book + m * row + t * LANES) - v
                    r = load(activation, g + place) * exp(minimum(r, zero))
                    r = select(small, zero, r)
                    whole = whole + r
                    if wanted:
                        place = target + m * row + t * LANES
                        store(activation, place, load(activation, place) + r)
                n = sum_lanes(whole)
                gradient[counts + s * count + m] += n
                if operand[{FIRST + 2} + 3 * s]:
                    gradient[at + m * by] += n
""",
)


def _weights(emitter: Emitter) -> tuple[list[int], list[int]]:
    """Operands 0 to 9, and those from FIRST on."""
    book, y, states = emitter.input(0), emitter.output(), len(emitter.attrs.states)
    count, steps = book.shape
    lanes = emitter.lanes
    plain = states * -(-count // lanes)
    shares = emitter.scratch(plain + 2 * states).offset
    norms = shares + plain * lanes
    scaled = emitter.kept().offset
    common = [book.offset, y.offset, steps, count, states, shares, norms, scaled]
    common += [scaled + count * steps * lanes, norms + states * lanes]
    rest = []
    for i in range(states):
        weight = emitter.param(i)
        rest += [weight.offset, weight.strides[0], int(weight.trainable)]
    return common, rest


def _emit_mixture(emitter: Emitter) -> None:
    common, rest = _weights(emitter)
    emitter.call(SCORES, *common, *[0] * (FIRST - len(common)), *rest)


def _emit_mixture_backward(emitter: Emitter) -> None:
    common, rest = _weights(emitter)
    count, steps = emitter.input(0).shape
    states = len(emitter.attrs.states)
    wanted = emitter.grad_input(0)
    slopes = emitter.scratch((count + 4) * steps).offset
    wholes = emitter.scratch(-(-states // emitter.lanes)).offset
    emitter.call(
        PULL, *common, emitter.grad_output().offset,
        emitter.statistic(STATISTICS, states * count), wanted[0].offset if wanted else 0,
        1 + wanted[1] if wanted else 0, slopes, wholes, *rest,
    )  # fmt: skip


MIXTURE = Op(
    name="mixture",
    doc="""The log density of each step in each state of a unit, over a codebook's Gaussians.

    y[s, t] = log sum_m w[s, m] exp(book[m, t]), where w[s] is the softmax of the state's weight.
    Input float[gaussians, time], output float[states, time]. Parameters: a weight [gaussians] for
    each state.""",
    category="internal",
    inputs=("book",),
    Attrs=Mixture,
    shape=_mixture_shape,
    params=_mixture_params,
    forward=_mixture_forward,
    backward=_mixture_backward,
    saves=frozenset({"inputs", "output"}),
    keeps=lambda attrs, inputs, output: (inputs[0][0] + 1) * inputs[0][1],
    emit=_emit_mixture,
    emit_backward=_emit_mixture_backward,
    flops=lambda attrs, inputs, output: 2 * output[0] * output[1] * inputs[0][0],
)
