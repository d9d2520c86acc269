"""What losses and metrics share: positions, of which some are steps that a short sample lacks.

A loss is made at each *position* and averaged. Within the sample the average is over positions
along axes of fixed size; those along run-time axes are summed and weighted with the implicit
`step_weight`, so that the mean over the batch is the mean over its valid steps. Kernels of this
kind have a common row of operands:

    0           the result (the loss's gradient in backward kernels)
    1, 2, 3     the inputs
    4           a setting, as the bits of a float
    5           channels, for ops with a row of numbers at each position
    6           positions
    7           the step weight, or -1
    8           1 / positions along fixed axes, as the bits of a float
    9           run-time axes
    10, 11      backwards: the gradient to write, and whether to add to it
    12, 13      scratch memory, and what the op keeps
    14 ...      for each run-time axis: positions from step to step, steps, lengths
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from tiedgraph.ir.types import Extent, Shape, Type, shape_text
from tiedgraph.ops.rules import Array, Emitter, Implicit, Kernel, OpError, bits, hidden


@dataclass(frozen=True)
class Steps:
    """`axes` are the run-time axes of the positions, found by `settle`."""

    axes: tuple[int, ...] = hidden(())


ONE_NUMBER = Type("float", ())

Positions = Callable[[Sequence[Type]], Shape]


def all_elements(types: Sequence[Type]) -> Shape:
    """Each element of the first input is a position."""
    return types[0].shape


def after_first_axis(types: Sequence[Type]) -> Shape:
    """Axis 0 of the first input is the row of numbers at each position."""
    return types[0].shape[1:]


def settle_with(positions: Positions) -> Callable[[Any, Sequence[Type]], Any]:
    def settle(attrs: Any, types: Sequence[Type]) -> Any:
        return replace(attrs, axes=Type("float", positions(types)).run_time_axes)

    return settle


def lengths_with(positions: Positions) -> Callable[[Any, Sequence[Type]], tuple[Implicit, ...]]:
    """The lengths along each run-time axis (for metrics)."""

    def implicit(attrs: Any, types: Sequence[Type]) -> tuple[Implicit, ...]:
        return tuple(Implicit("lengths", (size,)) for size in run_time(positions(types)))

    return implicit


def weights_with(positions: Positions) -> Callable[[Any, Sequence[Type]], tuple[Implicit, ...]]:
    """The lengths, and behind them the step weight (for losses)."""

    def implicit(attrs: Any, types: Sequence[Type]) -> tuple[Implicit, ...]:
        sizes = run_time(positions(types))
        lengths = tuple(Implicit("lengths", (size,)) for size in sizes)
        return (*lengths, Implicit("step_weight", sizes)) if sizes else ()

    return implicit


def run_time(shape: Shape) -> tuple[Extent, ...]:
    return tuple(size for size in shape if isinstance(size, Extent))


def same_shapes(name: str, types: Sequence[Type]) -> None:
    """An error unless all inputs have the shape of the first."""
    for index, other in enumerate(types[1:], 1):
        if other.shape != types[0].shape:
            raise OpError(
                "E0301",
                f"{name} compares numbers one by one, but its inputs have the shapes "
                f"{shape_text(types[0].shape)} and {shape_text(other.shape)}",
                hint="reshape one of them, or take the mean over the axes that only one has",
                argument=index,
            )


# ---------------------------------------------------------------- the oracle


def share(attrs: Steps, shape: Sequence[int], inputs: Sequence[Array]) -> float:
    """What the loss at each position is multiplied by. The step weight is the last input."""
    fixed = prod(size for axis, size in enumerate(shape) if axis not in attrs.axes)
    return (float(inputs[-1]) if attrs.axes else 1.0) / fixed


# ---------------------------------------------------------------- kernels

BUFFERS = """\
    result, x0, x1, x2 = operand[0], operand[1], operand[2], operand[3]
    setting = broadcast(number(operand, 4))
    channels, count, weight, axes = operand[5], operand[6], operand[7], operand[9]
    spare, kept = operand[12], operand[13]
    share = broadcast(number(operand, 8))
    zero = broadcast(0.0)
    stride = count * LANES
    if weight >= 0:
        share = share * load(activation, weight)
"""

BACKWARD = """\
    target, add = operand[10], operand[11]
    share = share * load(activation, result)
"""


def valid_steps(*names: str) -> list[str]:
    """Lines that make the variables zero where position `p` is a step that a sample lacks."""
    return [
        "for k in range(axes):",
        "    step = p // operand[14 + 3 * k] % operand[15 + 3 * k]",
        "    inside = load(activation, operand[16 + 3 * k]) > step",
        *(f"    {name} = select(inside, {name}, zero)" for name in names),
    ]


def only_valid(*names: str) -> str:
    """The same in a loop over positions."""
    return "".join(f"        {line}\n" for line in valid_steps(*names))


def sum_kernel(name: str, body: str) -> Kernel:
    """The loss: `body` makes `v` at position `p`, in a loop; all are added up in order."""
    return Kernel(
        name,
        f"""def kernel(activation, parameter, gradient, operand):
{BUFFERS}    total = zero
    for p in range(count):
{body}{only_valid("v")}        total = total + v
    store(activation, result, total * share)
""",
    )


def slope_kernel(name: str, body: str) -> Kernel:
    """Its gradient: `body` writes all that belongs to position `p`, scaled by `w`."""
    return Kernel(
        f"{name}_backward",
        f"""def kernel(activation, parameter, gradient, operand):
{BUFFERS}{BACKWARD}    for p in range(count):
        w = share
{only_valid("w")}{body}""",
    )


def call(
    emitter: Emitter,
    kernel: Kernel,
    result: int,
    inputs: int,
    shape: Sequence[int],
    *,
    setting: float = 0.0,
    channels: int = 0,
    weighted: bool = True,
    target: int = 0,
    add: bool = False,
    spare: int = 0,
    kept: int = 0,
) -> None:
    """One row with the operands above.

    inputs: how many the file declares. shape: the positions. weighted: whether there is a step
    weight behind the lengths.
    """
    axes = emitter.attrs.axes
    fixed = prod(size for axis, size in enumerate(shape) if axis not in axes)
    weight = emitter.input(inputs + len(axes)).offset if axes and weighted else -1
    given = [emitter.input(i).offset for i in range(inputs)]
    steps: list[int] = []
    for index, axis in enumerate(axes):
        length = emitter.input(inputs + index).offset
        steps += [prod(shape[axis + 1 :]), shape[axis], length]
    emitter.call(
        kernel,
        result,
        *given,
        *[0] * (3 - inputs),
        bits(setting),
        channels,
        prod(shape),
        weight,
        bits(1.0 / max(fixed, 1)),
        len(axes),
        target,
        int(add),
        spare,
        kept,
        *steps,
    )


def scalar(value: Any) -> Array:
    return np.asarray(value, np.float64)
