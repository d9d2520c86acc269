"""Convolutions over one sample whose windows are first laid out side by side.

Then vectors lie along all places, however short rows are and however far apart windows; and for the
gradient of the weight along its own numbers. Summed along places, each of these would cost a sum
over lanes, which for many channels takes as long as the products.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

from tiedgraph.ops.rules import Buffer, Emitter, Kernel

LEAST = 12  # outputs that are worth the layout
LARGEST = 1 << 20  # numbers that are laid out at once
VECTORS = 2  # of the weight's numbers, in a register tile
ROWS = (8, 6, 4)  # outputs in a register tile, the most that fit

# All places of each number of the window side by side, [numbers, places].
LAY_OUT = Kernel(
    "lay_out",
    """def kernel(activation, parameter, gradient, operand):
    x, target, inputs, high, wide = operand[0], operand[1], operand[2], operand[3], operand[4]
    xi, xy, xx = operand[5], operand[6], operand[7]
    rows, across, xr, xc = operand[8], operand[9], operand[10], operand[11]
    for i in range(inputs):
        for ky in range(high):
            for kx in range(wide):
                source = x + i * xi + ky * xy + kx * xx
                for r in range(rows):
                    if xc == 1:
                        for left in range(0, across, LANES):
                            c = min(left, across - LANES)
                            store(activation, target + c, load(activation, source + c))
                    else:
                        for c in range(across):
                            activation[target + c] = activation[source + c * xc]
                    target += across
                    source += xr
""",
)

# The same turned over, in panels: at each place `wide` numbers of the window, from number
# min(panel * wide, numbers - wide) on.
TURN = Kernel(
    "turn",
    """def kernel(activation, parameter, gradient, operand):
    source, target, numbers, places = operand[0], operand[1], operand[2], operand[3]
    wide = operand[4]
    for panel in range(0, numbers, wide):
        first = min(panel, numbers - wide)
        for v in range(0, wide, LANES):
            for left in range(0, places, LANES):
                place = min(left, places - LANES)
                at = source + (first + v) * places + place
                transpose(activation, at, places, activation, target + place * wide + v, wide)
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
    """G[o, n] += sum over places of d[o, place] window[place, n], from panels as TURN makes them.

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
        # Rows of G are far apart; they come while the products are summed.
        *(f"            prefetch(gradient, g + (o + {o}) * stride + first)" for o in range(rows)),
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


def lay_out(
    emitter: Emitter,
    x: int,
    counts: tuple[int, int, int],
    reads: tuple[int, int, int],
    extents: tuple[int, int],
    steps: tuple[int, int],
) -> Buffer:
    """A row of the tape that lays windows out, as [numbers, 1, places].

    counts: channels, rows and columns of the window, and reads: how far x moves with these.
    extents, steps: rows and columns of places, and how far x moves with them.
    """
    shape = (prod(counts), 1, prod(extents))
    room = emitter.scratch(prod(shape)).offset
    width = next(width for width in emitter.widths if width <= extents[1])
    emitter.call(LAY_OUT, x, room, *counts, *reads, *extents, *steps, lanes=width)
    return Buffer(room, shape)


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
    how many there are of these. The rest as in `lay_out`; d lies in the order of the places.
    """
    (at, strides), (many, *window) = weight, counts
    numbers, lanes, places = prod(window), emitter.widths[0], prod(extents)
    plain = emitter.lanes == 1 and in_order(strides, (window[1], window[2]))
    panel = VECTORS * lanes
    if not plain or many < LEAST or not panel <= numbers <= LARGEST // places:
        return False
    held = emitter.registers
    rows = next(r for r in ROWS if r == ROWS[-1] or held.hold((r + 1) * VECTORS, lanes))
    flat = lay_out(emitter, x, (window[0], window[1], window[2]), reads, extents, steps)
    room = emitter.scratch(-(-numbers // panel) * places * panel + lanes).offset
    width = next(width for width in emitter.widths if width <= places)
    emitter.call(TURN, flat.offset, room, numbers, places, panel, lanes=width)
    spare = room + -(-numbers // panel) * places * panel
    emitter.call(
        products_kernel(rows), room, d, at, many, places, numbers, strides[0], spare, lanes=lanes
    )
    return True
