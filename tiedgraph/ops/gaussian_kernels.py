"""Kernels of Gaussian mixtures: densities of all states at all steps, and their slopes."""

from __future__ import annotations

from math import log, pi

from tiedgraph.ops.rules import Kernel

# Operands of all: frames, the output [states, steps], steps, size, mixtures, states, numbers from
# one row of a value to the next, room, and densities of the components [states, mixtures, steps],
# which are the output for one. Then for each state mean and log variance with their strides, the
# weight with its (-1: none), and which of the three learn (1, 2, 4).
# Room: means, inverse variances, constants and weights of all components c, as plain numbers.
EACH = 9
_GIVEN = f"""def kernel(activation, parameter, gradient, operand):
    x, y, steps, size, mixtures = operand[0], operand[1], operand[2], operand[3], operand[4]
    states, row, room, parts = operand[5], operand[6], operand[7], operand[8]
    components = states * mixtures
    first, last = 9, 9 + {EACH} * states
    inverses = room + components * size
    constants = inverses + components * size
    shares = constants + components
    zero = broadcast(0.0)
"""

# Brings the numbers of all components into order. Variances are read a vector at a time; what is
# written behind them is written over by the next.
NUMBERS = Kernel(
    "gaussian_numbers",
    _GIVEN
    + f"""    spare = shares + components
    for u in range(states):
        at = first + {EACH} * u
        weights = operand[at + 6]
        norm = zero
        if weights >= 0:
            norm = broadcast(parameter[weights])
            for m in range(1, mixtures):
                norm = log_add(norm, broadcast(parameter[weights + m * operand[at + 7]]))
        for m in range(mixtures):
            c = u * mixtures + m
            constant = zero - 0.5 * {log(2 * pi)!r} * size
            for d in range(size):
                place = operand[at] + m * operand[at + 1] + d * operand[at + 2]
                activation[room + c * size + d] = parameter[place]
                place = operand[at + 3] + m * operand[at + 4] + d * operand[at + 5]
                activation[inverses + c * size + d] = parameter[place]
                constant = constant - 0.5 * broadcast(parameter[place])
            if weights >= 0:
                share = broadcast(parameter[weights + m * operand[at + 7]]) - norm
                constant = constant + share
                store(activation, spare, exp(share))
                activation[shares + c] = activation[spare]
            store(activation, spare, constant)
            activation[constants + c] = activation[spare]
    whole = components * size // LANES * LANES
    for i in range(0, whole, LANES):
        store(activation, inverses + i, exp(-load(activation, inverses + i)))
    for i in range(whole, components * size):
        store(activation, spare, exp(zero - activation[inverses + i]))
        activation[inverses + i] = activation[spare]
""",
)


def _block(count: int) -> str:
    """Densities of component c at `count` vectors from t on."""
    indices = range(count)
    lines = [f"s{i} = constant" for i in indices]
    lines.append("for d in range(size):")
    lines.append("    mean = broadcast(activation[room + c * size + d])")
    lines.append("    half = broadcast(-0.5 * activation[inverses + c * size + d])")
    lines.append("    at = x + d * row + place")
    for i in indices:
        lines.append(f"    v = load(activation, at + {i} * LANES) - mean")
        lines.append(f"    s{i} = fma(v * v, half, s{i})")
    lines += [f"store(activation, parts + c * row + place + {i} * LANES, s{i})" for i in indices]
    return "\n".join(f"                {line}" for line in lines)


# Then: the first step and how many vectors from there. All components take a block of frames
# before the next one is read.
DENSITIES = Kernel(
    "gaussian",
    _GIVEN
    + f"""    begin, count = operand[last], operand[last + 1]
    t = 0
    while t < count:
        place = begin + t * LANES
        wide = 1
        if t + 4 <= count:
            wide = 4
        for c in range(components):
            constant = broadcast(activation[constants + c])
            if wide == 4:
{_block(4)}
            else:
{_block(1)}
        if mixtures > 1:
            for u in range(states):
                for i in range(wide):
                    at = u * mixtures * row + place + i * LANES
                    v = load(activation, parts + at)
                    for m in range(1, mixtures):
                        v = log_add(v, load(activation, parts + at + m * row))
                    store(activation, y + u * row + place + i * LANES, v)
        t += wide
""",
)


def _sums(count: int) -> str:
    """Sums over the steps of r v and r v v for `count` numbers of a frame from d on."""
    indices = range(count)
    lines = []
    for i in indices:
        lines.append(f"mean{i} = broadcast(activation[room + c * size + d + {i}])")
        lines.append(f"a{i}, b{i} = zero, zero")
    lines.append("for k in range(found):")
    lines.append("    r = load(activation, share + k * LANES)")
    lines.append("    at = x + d * row + int(activation[known + k])")
    for i in indices:
        lines.append(f"    v = load(activation, at + {i} * row) - mean{i}")
        lines.append("    w = r * v")
        lines.append(f"    a{i} = a{i} + w")
        lines.append(f"    b{i} = fma(w, v, b{i})")
    for i in indices:
        lines += [
            f"one, two = sum_lanes(a{i}), sum_lanes(b{i})",
            f"at = m * size + d + {i}",
            "gradient[counts + mixtures + at] += one",
            "gradient[counts + mixtures * (1 + size) + at] += two",
            f"scale = activation[inverses + c * size + d + {i}]",
            "if learns & 1:",
            f"    gradient[means + m * mm + (d + {i}) * md] += one * scale",
            "if learns & 2:",
            "    half = (two * scale - number) / 2",
            f"    gradient[variances + m * vm + (d + {i}) * vd] += half",
        ]
    return "\n".join(f"                        {line}" for line in lines)


# Then: gradient of the output; room for the shares of the steps that have any, and for where they
# lie; the statistics of all states; and the gradient of the frames, which is added to, or -1.
SLOPE = Kernel(
    "gaussian_slope",
    _GIVEN
    + f"""    g, share, counts = operand[last], operand[last + 1], operand[last + 2]
    target = operand[last + 3]
    known = share + steps * LANES
    for u in range(states):
        at = first + {EACH} * u
        means, mm, md = operand[at], operand[at + 1], operand[at + 2]
        variances, vm, vd = operand[at + 3], operand[at + 4], operand[at + 5]
        weights, ws, learns = operand[at + 6], operand[at + 7], operand[at + 8]
        found = 0
        whole = zero
        for t in range(steps):
            r = load(activation, g + u * row + t * LANES)
            if sum_lanes(absolute(r)) != 0:
                activation[known + found] = t * LANES
                whole = whole + r
                found += 1
        every = sum_lanes(whole)
        if found > 0:
            for m in range(mixtures):
                c = u * mixtures + m
                n = zero
                for k in range(found):
                    place = u * row + int(activation[known + k])
                    r = load(activation, g + place)
                    if mixtures > 1:
                        part = load(activation, parts + c * row + place - u * row)
                        r = r * exp(part - load(activation, y + place))
                    store(activation, share + k * LANES, r)
                    n = n + r
                number = sum_lanes(n)
                gradient[counts + m] += number
                if learns & 4:
                    gradient[weights + m * ws] += number - every * activation[shares + c]
                d = 0
                while d < size:
                    if d + 4 <= size:
{_sums(4)}
                        d += 4
                    else:
{_sums(1)}
                        d += 1
                if target >= 0:
                    for d in range(size):
                        mean = broadcast(activation[room + c * size + d])
                        inverse = broadcast(activation[inverses + c * size + d])
                        for k in range(found):
                            at = d * row + int(activation[known + k])
                            v = (mean - load(activation, x + at)) * inverse
                            r = load(activation, share + k * LANES)
                            v = fma(v, r, load(activation, target + at))
                            store(activation, target + at, v)
        counts += mixtures * (1 + 2 * size)
""",
)
