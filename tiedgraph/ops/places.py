"""The weight's gradient of a convolution over one sample, as outer products over its places.

Summed along a plain array, each number of the weight costs a sum over lanes, which for many
channels takes as long as the products. Here the windows are first laid out side by side, so that
vectors lie along the weight's own numbers and need no such sum.
"""

from __future__ import annotations

from functools import lru_cache

from tiedgraph.ops.rules import Emitter, Kernel

LEAST = 12  # outputs that are worth the layout
LARGEST = 1 << 20  # numbers that are laid out at once
VECTORS = 2  # of the weight's numbers, in a register tile
ROWS = (8, 6, 4)  # outputs in a register tile, the most that fit

# Panels of windows: at each place `wide` numbers of the window, from number min(panel * wide,
# numbers - wide) on.
LAY_OUT = Kernel(
    "lay_out",
    """def kernel(activation, parameter, gradient, operand):
    x, target, wide, numbers = operand[0], operand[1], operand[2], operand[3]
    high, across_window, xi, xy, xx = operand[4], operand[5], operand[6], operand[7], operand[8]
    rows, across, xr, xc = operand[9], operand[10], operand[11], operand[12]
    places = rows * across
    for panel in range(0, numbers, wide):
        first = min(panel, numbers - wide)
        for k in range(wide):
            number = first + k
            kx = number % across_window
            ky = number // across_window % high
            i = number // (across_window * high)
            source = x + i * xi + ky * xy + kx * xx
            at = target + k
            for r in range(rows):
                for c in range(across):
                    activation[at] = activation[source + c * xc]
                    at += wide
                source += xr
        target += places * wide
""",
)


# From the gradients of all windows, [numbers, places], that of their input: summed in `whole`, the
# input with its zeros around, of which the inner part is written or added.
FOLD = Kernel(
    "fold",
    """def kernel(activation, parameter, gradient, operand):
    given, whole, into, add = operand[0], operand[1], operand[2], operand[3]
    inputs, tall, broad = operand[4], operand[5], operand[6]
    window_rows, window_columns = operand[7], operand[8]
    high, wide, xy, xx = operand[9], operand[10], operand[11], operand[12]
    rows, across, xr, xc, inner = operand[13], operand[14], operand[15], operand[16], operand[17]
    for i in range(inputs):
        for k in range(high * wide):
            activation[whole + k] = 0
        for ky in range(window_rows):
            for kx in range(window_columns):
                at = whole + ky * xy + kx * xx
                for r in range(rows):
                    for c in range(across):
                        activation[at + c * xc] += activation[given + c]
                    given += across
                    at += xr
        for r in range(tall):
            at = whole + inner + r * wide
            for c in range(broad):
                if add:
                    activation[into + c] += activation[at + c]
                else:
                    activation[into + c] = activation[at + c]
            into += broad
""",
)


def in_order(strides: tuple[int, int, int, int], window: tuple[int, int]) -> bool:
    """Whether the numbers of an output's weight lie side by side, of such strides."""
    (_, channel, row, column), (high, wide) = strides, window
    return (channel, column) == (high * wide, 1) and (high == 1 or row == wide)


@lru_cache
def products_kernel(rows: int) -> Kernel:
    """G[o, n] += sum over places of d[o, place] window[place, n], from panels as LAY_OUT has them.

    There are at least `rows` outputs; the last tile reaches back over the one before and adds only
    what is new, as the last panel does. operand: panels, d, G, outputs, places, numbers, the
    stride of G's outputs, and room for a vector.
    """
    grid = [(o, v) for o in range(rows) for v in range(VECTORS)]
    text = [
        "def kernel(activation, parameter, gradient, operand):",
        "    x, d, g, many, places = operand[0], operand[1], operand[2], operand[3], operand[4]",
        "    numbers, stride, spare = operand[5], operand[6], operand[7]",
        f"    for panel in range(0, numbers, {VECTORS} * LANES):",
        f"        first = min(panel, numbers - {VECTORS} * LANES)",
        "        known = panel - first",
        f"        for begin in range(0, many, {rows}):",
        f"            o = min(begin, many - {rows})",
        *(f"            s{o}_{v} = broadcast(0.0)" for o, v in grid),
        "            source, given = x, d + o * places",
        "            for place in range(places):",
        *(f"                x{v} = load(activation, source + {v} * LANES)" for v in range(VECTORS)),
    ]
    for o in range(rows):
        text.append(f"                w = broadcast(activation[given + {o} * places])")
        text += [f"                s{o}_{v} = fma(w, x{v}, s{o}_{v})" for v in range(VECTORS)]
    text += [f"                source += {VECTORS} * LANES", "                given += 1"]
    for o, v in grid:
        text += [
            f"            if o + {o} >= begin:",
            f"                at = g + (o + {o}) * stride + first + {v} * LANES",
            f"                if known <= {v} * LANES:",
            f"                    store(gradient, at, load(gradient, at) + s{o}_{v})",
            f"                elif known < {v + 1} * LANES:",
            f"                    store(activation, spare, s{o}_{v})",
            f"                    for k in range(known - {v} * LANES, LANES):",
            "                        gradient[at + k] += activation[spare + k]",
        ]
    text.append(f"        x += places * {VECTORS} * LANES")
    return Kernel(f"products_{rows}", "\n".join(text) + "\n")


def add_products(
    emitter: Emitter,
    x: int,
    d: int,
    weight: tuple[int, tuple[int, int, int, int]],
    counts: tuple[int, int, int, int],
    reads: tuple[int, int, int],
    extents: tuple[int, int],
    steps: tuple[int, int],
) -> bool:
    """Rows of the tape for one group; False, and none, where this way does not pay.

    weight: where it lies, and strides of outputs, channels, rows and columns of the window; counts:
    how many there are of these. reads: how far x moves with the latter three. extents, steps: rows
    and columns of d, which lie side by side, and how far x moves with them.
    """
    (at, strides), (many, inputs, high, wide) = weight, counts
    numbers, lanes = inputs * high * wide, emitter.widths[0]
    plain = emitter.lanes == 1 and in_order(strides, (high, wide))
    if not plain or many < LEAST or numbers < VECTORS * lanes:
        return False
    held = emitter.registers
    rows = next(r for r in ROWS if r == ROWS[-1] or held.hold((r + 1) * VECTORS, lanes))
    places = extents[0] * extents[1]
    panels = -(-numbers // (VECTORS * lanes))
    room = emitter.scratch(panels * places * VECTORS * lanes + lanes).offset
    spare = room + panels * places * VECTORS * lanes
    emitter.call(LAY_OUT, x, room, VECTORS * lanes, numbers, high, wide, *reads, *extents, *steps)
    emitter.call(
        products_kernel(rows), room, d, at, many, places, numbers, strides[0], spare, lanes=lanes
    )
    return True
