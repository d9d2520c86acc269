"""Blocks and windows two columns wide, for one sample: vectors along the columns.

Two vectors of a row are taken apart into even and odd columns, and put together again on the way
back. The last vector of a row reaches back over the one before; where it adds, its first lanes add
nothing.
"""

from __future__ import annotations

from functools import lru_cache

from tiedgraph.ops.pointwise import apply
from tiedgraph.ops.rules import Emitter, Kernel


def width_of(emitter: Emitter, across: int, wide: int, right: int = 2) -> int:
    """Numbers in a vector for `across` blocks of a row; 0 where these kernels do not fit."""
    if emitter.lanes > 1 or wide != 2 or right != 2:
        return 0
    return next((width for width in emitter.widths if 1 < width <= across), 0)


_ROWS = """    for c in range(channels):
CHANNEL
        for r in range(rows):
            for left in range(0, across, LANES):
                k = min(left, across - LANES)
                new = lanes_from(left - k)
                at = c * plane + r * high * row + 2 * k
                place = (c * rows + r) * across + k
"""

_SUM = """                s = zero
                for i in range(high):
                    a = load(activation, x + at)
                    b = load(activation, x + at + LANES)
                    s = s + (evens(a, b) + odds(a, b))
                    at += row
"""


def _rows(*channel: str) -> str:
    """Loops over the vectors of all rows, with lines that are run first in each channel."""
    return _ROWS.replace("CHANNEL", "\n".join(f"        {line}" for line in channel))


@lru_cache
def sums_kernel(epilogue: tuple[str, ...]) -> Kernel:
    """As `subsample_kernel`, with the same operands."""
    text = [
        "def kernel(activation, parameter, gradient, operand):",
        "    x, y, weight, bias = operand[0], operand[1], operand[2], operand[3]",
        "    channels, rows, across, high = operand[4], operand[5], operand[6], operand[7]",
        "    plane, row, weight_stride, bias_stride = "
        "operand[9], operand[10], operand[11], operand[12]",
        "    trained = operand[13]",
        "    zero = broadcast(0.0)",
        "    count = broadcast(2 * high)",
        "    w = broadcast(1.0)",
        "    start = zero",
        _rows(
            "if trained:",
            "    w = broadcast(parameter[weight + c * weight_stride])",
            "    start = broadcast(parameter[bias + c * bias_stride])",
        )
        + _SUM.rstrip("\n"),
        "                if trained:",
        "                    s = fma(w, s, start)",
        "                else:",
        "                    s = s / count",
        *(f"                {line}" for line in apply(epilogue, "s")),
        "                store(activation, y + place, s)",
    ]
    return Kernel("_".join(["pair_sums", *epilogue]), "\n".join(text) + "\n")


# As SUBSAMPLE_BACKWARD, with the same operands.
SPREAD = Kernel(
    "pair_spread",
    """def kernel(activation, parameter, gradient, operand):
    into, given, weight, add = operand[0], operand[1], operand[2], operand[3]
    channels, rows, across = operand[4], operand[5], operand[6]
    high, plane, row = operand[7], operand[9], operand[10]
    weight_stride, trained = operand[11], operand[12]
    zero = broadcast(0.0)
    w = broadcast(1.0) / broadcast(2 * high)
"""
    + _rows("if trained:", "    w = broadcast(parameter[weight + c * weight_stride])")
    + """                g = load(activation, given + place) * w
                if add:
                    g = select(new, g, zero)
                a, b = zip_low(g, g), zip_high(g, g)
                at += into
                for i in range(high):
                    if add:
                        store(activation, at, a + load(activation, at))
                        store(activation, at + LANES, b + load(activation, at + LANES))
                    else:
                        store(activation, at, a)
                        store(activation, at + LANES, b)
                    at += row
""",
)

# As SUBSAMPLE_WEIGHT, with the same operands.
WEIGHT = Kernel(
    "pair_weight",
    """def kernel(activation, parameter, gradient, operand):
    x, given, weight = operand[0], operand[1], operand[2]
    channels, rows, across = operand[3], operand[4], operand[5]
    high, plane, row = operand[6], operand[8], operand[9]
    weight_stride = operand[10]
    zero = broadcast(0.0)
"""
    + _rows("total = zero")
    + _SUM
    + """                total = fma(select(new, load(activation, given + place), zero), s, total)
        gradient[weight + c * weight_stride] += sum_lanes(total)
""",
)

_POOL_HEAD = """def kernel(activation, parameter, gradient, operand):
    x, y = operand[0], operand[1]
    channels, rows, across = operand[2], operand[3], operand[4]
    high, down = operand[5], operand[7]
    plane, row = operand[9], operand[10]
    zero = broadcast(0.0)
"""
_POOL_ROWS = _rows("top = zero").replace("r * high * row", "r * down * row")

# As MAX_POOL_KERNEL and MAX_POOL_BACKWARD, with the same operands.
LARGEST = Kernel(
    "pair_largest",
    _POOL_HEAD
    + _POOL_ROWS
    + """                a = load(activation, x + at)
                b = load(activation, x + at + LANES)
                best = evens(a, b)
                for i in range(high):
                    a = load(activation, x + at)
                    b = load(activation, x + at + LANES)
                    v = evens(a, b)
                    best = select(best == best, maximum(best, v), best)
                    v = odds(a, b)
                    best = select(best == best, maximum(best, v), best)
                    at += row
                store(activation, y + place, best)
""",
)

LARGEST_BACKWARD = Kernel(
    "pair_largest_backward",
    _POOL_HEAD
    + "    given, into = operand[11], operand[12]\n"
    + _POOL_ROWS
    + """                best = load(activation, y + place)
                rest = select(new, load(activation, given + place), zero)
                for i in range(high):
                    a = load(activation, x + at)
                    b = load(activation, x + at + LANES)
                    hit = evens(a, b) == best
                    first = select(hit, rest, zero)
                    rest = select(hit, zero, rest)
                    hit = odds(a, b) == best
                    second = select(hit, rest, zero)
                    rest = select(hit, zero, rest)
                    goal = into + at
                    v = load(activation, goal) + zip_low(first, second)
                    store(activation, goal, v)
                    v = load(activation, goal + LANES) + zip_high(first, second)
                    store(activation, goal + LANES, v)
                    at += row
""",
)
