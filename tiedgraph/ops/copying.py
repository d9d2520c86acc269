"""Kernels that move numbers without changing them: strided copies, zeros, steps by length."""

from __future__ import annotations

from collections.abc import Sequence

from tiedgraph.ir.types import elements
from tiedgraph.ops.axes import RANK
from tiedgraph.ops.rules import Emitter, Kernel


def _copy_text() -> str:
    text = ["    x, y, add = operand[0], operand[1], operand[2]"]
    indent = "    "
    x, y = "x", "y"
    for k in range(RANK):
        place = 3 + 3 * k
        names = ", ".join(f"operand[{place + i}]" for i in range(3))
        text.append(f"    n{k}, s{k}, t{k} = {names}")
    for k in range(RANK):
        text.append(f"{indent}for i{k} in range(n{k}):")
        indent += "    "
        text += [f"{indent}x{k} = {x} + i{k} * s{k}", f"{indent}y{k} = {y} + i{k} * t{k}"]
        x, y = f"x{k}", f"y{k}"
    text += [
        f"{indent}v = load(activation, {x})",
        f"{indent}if add:",
        f"{indent}    v = v + load(activation, {y})",
        f"{indent}store(activation, {y}, v)",
    ]
    return "def kernel(activation, parameter, gradient, operand):\n" + "\n".join(text) + "\n"


# y[...] = x[...], or added to it, over any strides.
COPY = Kernel("copy", _copy_text())

FILL_ZERO = Kernel(
    "fill_zero",
    """def kernel(activation, parameter, gradient, operand):
    x, count = operand[0], operand[1]
    zero = broadcast(0.0)
    for i in range(count):
        store(activation, x + i * LANES, zero)
""",
)

# Values are seen as [outer, steps, inner]. Each sample has its own length n, so this goes lane by
# lane. y[k] = x[n - 1 - k] for k < n; later steps stay where they are.
REVERSE_STEPS = Kernel(
    "reverse_steps",
    """def kernel(activation, parameter, gradient, operand):
    x, y, length = operand[0], operand[1], operand[2]
    outer, steps, inner, add = operand[3], operand[4], operand[5], operand[6]
    for o in range(outer):
        for lane in range(LANES):
            n = min(int(activation[length + lane]), steps)
            for k in range(steps):
                source = k
                if k < n:
                    source = n - 1 - k
                to = y + ((o * steps + k) * inner) * LANES + lane
                at = x + ((o * steps + source) * inner) * LANES + lane
                for i in range(inner):
                    v = activation[at + i * LANES]
                    if add:
                        v += activation[to + i * LANES]
                    activation[to + i * LANES] = v
""",
)

# y[k] = x[start + k] for `many` steps k, counted from a sample's end where start < 0; zero where
# the sample has no such step.
TAKE_STEPS = Kernel(
    "take_steps",
    """def kernel(activation, parameter, gradient, operand):
    x, y, length, start = operand[0], operand[1], operand[2], operand[3]
    outer, steps, many, inner = operand[4], operand[5], operand[6], operand[7]
    for o in range(outer):
        for lane in range(LANES):
            n = min(int(activation[length + lane]), steps)
            first = start
            if start < 0:
                first = n + start
            for k in range(many):
                to = y + ((o * many + k) * inner) * LANES + lane
                at = x + ((o * steps + first + k) * inner) * LANES + lane
                if first + k >= 0 and first + k < n:
                    for i in range(inner):
                        activation[to + i * LANES] = activation[at + i * LANES]
                else:
                    for i in range(inner):
                        activation[to + i * LANES] = 0
""",
)

# Its adjoint: dx[start + k] += dy[k] where there is such a step.
GIVE_STEPS = Kernel(
    "give_steps",
    """def kernel(activation, parameter, gradient, operand):
    x, y, length, start = operand[0], operand[1], operand[2], operand[3]
    outer, steps, many, inner = operand[4], operand[5], operand[6], operand[7]
    for o in range(outer):
        for lane in range(LANES):
            n = min(int(activation[length + lane]), steps)
            first = start
            if start < 0:
                first = n + start
            for k in range(many):
                if first + k >= 0 and first + k < n:
                    to = y + ((o * many + k) * inner) * LANES + lane
                    at = x + ((o * steps + first + k) * inner) * LANES + lane
                    for i in range(inner):
                        activation[at + i * LANES] += activation[to + i * LANES]
""",
)


def row_major(shape: Sequence[int], lanes: int) -> tuple[int, ...]:
    """Strides of a value of this shape, in numbers."""
    strides, step = [], lanes
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def blocks(shape: tuple[int, ...], axis: int) -> tuple[int, int]:
    """Numbers before and after an axis."""
    return elements(shape[:axis]), elements(shape[axis + 1 :])


Axis = tuple[int, tuple[int, ...]]  # the size, and the stride of each operand


def merged(axes: Sequence[Axis]) -> list[Axis]:
    """The same walk with as few axes as possible."""
    result: list[Axis] = []
    for size, steps in axes:
        if size == 1:
            continue
        if result and all(
            outer == size * inner for outer, inner in zip(result[-1][1], steps, strict=True)
        ):
            result[-1] = (result[-1][0] * size, steps)
        else:
            result.append((size, steps))
    return result


def copy(
    emitter: Emitter,
    source: int,
    target: int,
    shape: Sequence[int],
    source_strides: Sequence[int],
    target_strides: Sequence[int],
    add: bool = False,
) -> None:
    """One row of the tape that copies `shape` numbers from `source` to `target`, or adds them.

    Axes that both sides walk as one are merged, so that a plain copy is a single loop.
    """
    steps = zip(source_strides, target_strides, strict=True)
    axes = merged(list(zip(shape, steps, strict=True)))
    padded = [(1, (0, 0))] * (RANK - len(axes)) + axes
    loops = [number for size, strides in padded for number in (size, *strides)]
    emitter.call(COPY, source, target, int(add), *loops)
