"""Sums where samples have no lengths of their own and the axes that go are one loop.

Four sums at a time do not wait for each other. operand: places of the larger and the smaller value,
whether to divide by the count, whether to add to what is there, then extents and strides.
"""

from __future__ import annotations

from tiedgraph.ops.rules import Kernel

_PLAIN = """def kernel(activation, parameter, gradient, operand):
    x, y, divide, add = operand[0], operand[1], operand[2], operand[3]
    k0, s0, k1, s1 = operand[4], operand[5], operand[6], operand[7]
    k2, s2, count, step = operand[8], operand[9], operand[10], operand[11]
    o = y
    for i0 in range(k0):
        for i1 in range(k1):
            for i2 in range(k2):
                at = x + i0 * s0 + i1 * s1 + i2 * s2
"""
_WAYS = 4

PLAIN_SUM = Kernel(
    "plain_sum",
    _PLAIN
    + f"""                a = broadcast(0.0)
                b, c, d = a, a, a
                whole = count // {_WAYS} * {_WAYS}
                for j in range(0, whole, {_WAYS}):
                    a = a + load(activation, at)
                    b = b + load(activation, at + step)
                    c = c + load(activation, at + 2 * step)
                    d = d + load(activation, at + 3 * step)
                    at += {_WAYS} * step
                for j in range(whole, count):
                    a = a + load(activation, at)
                    at += step
                v = (a + b) + (c + d)
                if divide:
                    v = v / broadcast(count)
                store(activation, o, v)
                o += LANES
""",
)

PLAIN_SPREAD = Kernel(
    "plain_spread",
    _PLAIN
    + """                g = load(activation, o)
                if divide:
                    g = g / broadcast(count)
                if add:
                    for j in range(count):
                        store(activation, at + j * step, g + load(activation, at + j * step))
                else:
                    for j in range(count):
                        store(activation, at + j * step, g)
                o += LANES
""",
)
