"""Kernels of soft ties: the density of numbers under a mixture, its gradients and sums.

Numbers lie in lanes, and components follow one another in a loop, so that one pass over the numbers
gives everything: for each number K exponentials and one logarithm, for each component three sums,
which stay in lanes within a block and are added up in float64 over blocks.

`TABLE`, `SPREAD` and `COUNTED` are the same with fewer exponentials: density and score are computed
at nodes, interpolated linearly for each number, and each number is counted at its two nodes.
Counting is the adjoint of interpolating, so that the gradients of the mixture are those of the
interpolated cost.
"""

from __future__ import annotations

from tiedgraph.ops.rules import Kernel

# Scratch of one thread, in numbers: lane numbers, four constants a component (level, half its
# precision, precision, mean), a vector a component for its term, three a component for its sums
# (and one for the cost), and one to spare.
FLOOR = -1e37  # of a term's logarithm; lower ones would overflow for far outliers


def scratch(components: int, lanes: int) -> int:
    """How many numbers one thread's scratch has."""
    constants = -(-4 * components // lanes) * lanes
    return lanes + constants + (4 * components + 3) * lanes


_HEAD = f"""def kernel(activation, parameter, gradient, operand):
    rows = integers(operand[0])
    first, last = operand[1], operand[2]
    K = operand[3]
    other = address(operand[4])
    stride = operand[5]
    partial = address(operand[6])
    scale = broadcast(number(operand, 7))
    level = LANES
    half = level + K
    precision = half + K
    mean = precision + K
    terms = LANES + (4 * K + LANES - 1) // LANES * LANES
    sums = terms + K * LANES
    spare = sums + (3 * K + 1) * LANES
    lane = load(activation, 0)
    for row in range(first, last):
        begin, end = rows[2 * row], rows[2 * row + 1]
        for j in range(3 * K + 1):
            store(activation, sums + j * LANES, broadcast(0.0))
        for i in range(begin, end, LANES):
            left = end - i
            inside = lane < left
            w = select(inside, load(parameter, i), broadcast(0.0))
            top = broadcast({FLOOR})
            for j in range(K):
                away = w - activation[mean + j]
                term = activation[level + j] - activation[half + j] * (away * away)
                term = maximum(term, broadcast({FLOOR}))
                store(activation, terms + j * LANES, term)
                top = maximum(top, term)
            total = broadcast(0.0)
            pull = broadcast(0.0)
            for j in range(K):
                part = exp(load(activation, terms + j * LANES) - top)
                store(activation, terms + j * LANES, part)
                total = total + part
                away = w - activation[mean + j]
                pull = fma(part * activation[precision + j], away, pull)
            density = top + log(total)
            pull = pull / total
"""

_SUMS = """
            for j in range(K):
                r = load(activation, terms + j * LANES) * share
                away = w - activation[mean + j]
                moved = r * away
                at = sums + 3 * j * LANES
                store(activation, at, load(activation, at) + r)
                store(activation, at + LANES, load(activation, at + LANES) + moved)
                spread = fma(moved, away, load(activation, at + 2 * LANES))
                store(activation, at + 2 * LANES, spread)
            at = sums + 3 * K * LANES
            store(activation, at, load(activation, at) - density * count)
"""

_PARTIAL = """
        for j in range(3 * K + 1):
            partial[row * (3 * K + 1) + j] = sum_lanes(load(activation, sums + j * LANES))
"""

# The numbers begin <= i < end of each row: their gradients, times the scale, are added to
# `gradient`, unless the scale is 0; each row's sums go to `partial`.
EXACT = Kernel(
    "mixture",
    _HEAD
    + """
            count = select(inside, broadcast(1.0), broadcast(0.0))
            share = count / total
"""
    + _SUMS
    + """
            if number(operand, 7) != 0.0:
                if left >= LANES:
                    store(gradient, i, fma(pull, scale, load(gradient, i)))
                else:
                    store(activation, spare, pull * scale)
                    for k in range(left):
                        gradient[i + k] += activation[spare + k]
"""
    + _PARTIAL,
)

# Log density and score (its gradient, negative) at nodes, into `other` and behind it.
TABLE = Kernel(
    "mixture_table",
    _HEAD
    + """
            store(other, i, density)
            store(other, stride + i, pull)
""",
)

# The sums of `EXACT` over nodes that stand for so many numbers each.
COUNTED = Kernel(
    "mixture_counted",
    _HEAD
    + """
            count = select(inside, load(other, i), broadcast(0.0))
            share = count / total
"""
    + _SUMS
    + _PARTIAL,
)

ONE = 2**32  # one number, in the integers that nodes count in; so sums have no order

SPREAD = Kernel(
    "mixture_spread",
    f"""def kernel(activation, parameter, gradient, operand):
    rows = integers(operand[0])
    first, last = operand[1], operand[2]
    nodes = operand[3]
    score = operand[4]
    counts = integers(operand[5])
    scale = number(operand, 6)
    low = number(operand, 7)
    inverse = number(operand, 8)
    for row in range(first, last):
        for i in range(rows[2 * row], rows[2 * row + 1]):
            place = (parameter[i] - low) * inverse
            k = int(place)
            if k > nodes - 2:
                k = nodes - 2
            if k < 0:
                k = 0
            part = place - k
            after = int(part * {ONE}.0)
            counts[k] += {ONE} - after
            counts[k + 1] += after
            left = activation[score + k]
            slope = activation[score + k + 1] - left
            gradient[i] += scale * (left + part * slope)
""",
)
