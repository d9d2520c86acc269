"""Kernels of recurrent layers: one step there and back, and products over a block of steps.

What a cell does in a step is text that its `Cell` brings, see `tiedgraph.ops.recurrent_rows`.
"""

from __future__ import annotations

from functools import lru_cache

from tiedgraph.ops.rules import Kernel

_LASTS = {
    False: "            lasts = load(activation, length) > step",
    True: "            lasts = broadcast(activation[length]) > step",
}


@lru_cache
def step_kernel(
    name: str, lines: tuple[str, ...], gates: int, apart: int, memory: bool, along: bool
) -> Kernel:
    """One step: gates `g0`, `g1`, ... and products `a` of one unit, its state `h` and memory `c`.

    The lines make the gates' values of the same names, and the new `h` and `c`. Rows of gates are
    `row` apart. Where the sample has ended, state and memory stay what they were. along: whether
    units lie along the lanes, all of one sample.
    """
    body = [
        "    gate, product, before, after = operand[0], operand[1], operand[2], operand[3]",
        "    old, new, units, row = operand[4], operand[5], operand[6], operand[7]",
        "    length, step = operand[8], operand[9]",
        "    zero = broadcast(0.0)",
        "    for unit in range(units):",
        "        i = unit * LANES",
        *(f"        g{k} = load(activation, gate + {k} * row + i)" for k in range(gates)),
        *(["        a = load(activation, product + i)"] if apart else []),
        "        h_before = load(activation, before + i)",
        *(["        c_before = load(activation, old + i)"] if memory else []),
        *(f"        {line}" for line in lines),
        "        if length >= 0:",
        _LASTS[along],
        "            h = select(lasts, h, h_before)",
        *(["            c = select(lasts, c, c_before)"] if memory else []),
        *(f"        store(activation, gate + {k} * row + i, g{k})" for k in range(gates)),
        "        store(activation, after + i, h)",
        *(["        store(activation, new + i, c)"] if memory else []),
    ]
    head = "def kernel(activation, parameter, gradient, operand):\n"
    return Kernel(f"{name}_step", head + "\n".join(body) + "\n")


@lru_cache
def back_kernel(
    name: str, lines: tuple[str, ...], gates: int, apart: int, memory: bool, along: bool
) -> Kernel:
    """One step back: from `dh` and `dc` of a unit the gradients of all that made them.

    The lines make `d0`, `d1`, ... of the gates, `da` of the products, and the new `dh` and `dc` of
    state and memory before, as far as they do not go through the gates. They may use the gates'
    values, `a`, `h_before`, `c` and `c_before`. Where the sample has ended nothing is taken from
    the output's gradient and all of `dh` and `dc` goes on.
    """
    made = [*(f"d{k}" for k in range(gates)), *(["da"] if apart else [])]
    body = [
        "    gate, product, before, given = operand[0], operand[1], operand[2], operand[3]",
        "    old, new, units, row = operand[4], operand[5], operand[6], operand[7]",
        "    length, step = operand[8], operand[9]",
        "    d_gate, d_product, d_state, d_memory = "
        "operand[10], operand[11], operand[12], operand[13]",
        "    zero = broadcast(0.0)",
        "    for unit in range(units):",
        "        i = unit * LANES",
        *(f"        g{k} = load(activation, gate + {k} * row + i)" for k in range(gates)),
        *(["        a = load(activation, product + i)"] if apart else []),
        "        h_before = load(activation, before + i)",
        "        dh = load(activation, d_state + i)",
        "        dh_after = dh",
        "        if given >= 0:",
        "            dh = dh + load(activation, given + i)",
    ]
    if memory:
        body += [
            "        c = load(activation, new + i)",
            "        c_before = load(activation, old + i)",
            "        dc = load(activation, d_memory + i)",
            "        dc_after = dc",
        ]
    body += [*(f"        {line}" for line in lines), "        if length >= 0:", _LASTS[along]]
    body += [f"            {one} = select(lasts, {one}, zero)" for one in made]
    body += ["            dh = select(lasts, dh, dh_after)"]
    if memory:
        body += ["            dc = select(lasts, dc, dc_after)"]
    body += [f"        store(activation, d_gate + {k} * row + i, d{k})" for k in range(gates)]
    body += ["        store(activation, d_product + i, da)"] if apart else []
    body += ["        store(activation, d_state + i, dh)"]
    body += ["        store(activation, d_memory + i, dc)"] if memory else []
    head = "def kernel(activation, parameter, gradient, operand):\n"
    return Kernel(f"{name}_back", head + "\n".join(body) + "\n")


# Turns the lane vectors of each step over: rows of numbers, one row a sample.
TURN = Kernel(
    "turn_steps",
    """def kernel(activation, parameter, gradient, operand):
    x, y, steps, rows, step, width = (
        operand[0], operand[1], operand[2], operand[3], operand[4], operand[5])
    for t in range(steps):
        for r in range(0, rows, LANES):
            transpose(
                activation, x + t * step + r * LANES, LANES,
                activation, y + t * LANES * width + r, width,
            )
""",
)


@lru_cache
def products_kernel(rows: int, vectors: int) -> Kernel:
    """G += sum over steps and samples of a b^T, where one stride of G is 1.

    a: its rows lie `a_row` apart, samples side by side. b: its numbers lie side by side, samples
    `b_row` apart. Register tile of rows x vectors along the columns of G; the last stretch of rows
    reaches back and adds only what is new. Columns beyond the last whole vector, and all where
    their stride is not 1, are added one number at a time.
    """
    grid = [(r, v) for r in range(rows) for v in range(vectors)]
    text = [
        "def kernel(activation, parameter, gradient, operand):",
        "    a, b, g, spare = operand[0], operand[1], operand[2], operand[3]",
        "    rows, columns, row_stride, column_stride = "
        "operand[4], operand[5], operand[6], operand[7]",
        "    steps, samples, a_step, a_row = operand[8], operand[9], operand[10], operand[11]",
        "    b_step, b_row = operand[12], operand[13]",
        f"    for first in range(0, rows, {rows}):",
        f"        row = min(first, rows - {rows})",
        "        known = first - row",
        f"        for c in range(0, columns, {vectors} * LANES):",
        *(f"            s{r}_{v} = broadcast(0.0)" for r, v in grid),
        "            for t in range(steps):",
        "                left = a + t * a_step + row * a_row",
        "                right = b + t * b_step + c",
        "                for sample in range(samples):",
        *(f"                    v{v} = load(activation, right + {v} * LANES)"
          for v in range(vectors)),
    ]  # fmt: skip
    for r in range(rows):
        text.append(f"                    w = broadcast(activation[left + {r} * a_row])")
        text += [f"                    s{r}_{v} = fma(w, v{v}, s{r}_{v})" for v in range(vectors)]
    text += ["                    left += 1", "                    right += b_row"]
    for v in range(vectors):
        text += [
            f"            if column_stride == 1 and c + {v + 1} * LANES <= columns:",
            f"                at = g + row * row_stride + c + {v} * LANES",
        ]
        for r in range(rows):
            place = f"at + {r} * row_stride"
            text += [
                f"                if {r} >= known:",
                f"                    store(gradient, {place}, load(gradient, {place}) + s{r}_{v})",
            ]
        text += [
            "            else:",
            *(f"                store(activation, spare + {r} * LANES, s{r}_{v})"
              for r in range(rows)),
            f"                for r in range(known, {rows}):",
            f"                    at = g + (row + r) * row_stride + (c + {v} * LANES) * "
            "column_stride",
            f"                    for k in range(min(LANES, columns - c - {v} * LANES)):",
            "                        gradient[at + k * column_stride] += "
            "activation[spare + r * LANES + k]",
        ]  # fmt: skip
    return Kernel(f"step_products_{rows}_{vectors}", "\n".join(text) + "\n")


# g[r] += sum over steps and samples of x[step, r].
STEP_SUMS = Kernel(
    "step_sums",
    """def kernel(activation, parameter, gradient, operand):
    x, g, steps, rows, step, stride = (
        operand[0], operand[1], operand[2], operand[3], operand[4], operand[5])
    for r in range(rows):
        s = broadcast(0.0)
        for t in range(steps):
            s = s + load(activation, x + t * step + r * LANES)
        gradient[g + r * stride] += sum_lanes(s)
""",
)
