"""Axes as users name them, and what the lengths of samples mean for them."""

from __future__ import annotations

from collections.abc import Sequence

from tiedgraph.diagnostics import nearest
from tiedgraph.ir.types import Extent, Type
from tiedgraph.ops.rules import Implicit, OpError

RANK = 5  # axes that kernels walk over
AXIS = "the axis, by number (negative from the end) or by the name of a run-time size"
Axis = int | str | tuple[int | str, ...] | None


def find_axis(what: str, type: Type, axis: Axis, setting: str) -> int:
    """One axis of `type`, counted from 0; `axis` may count from the end or name a run-time size.

    what, setting: the op and its setting, for messages.
    """
    found = find_axes(what, type, axis, setting)
    if len(found) != 1:
        raise OpError(
            "E0204",
            f"'{setting}' of {what} is a single axis",
            hint="give one number or one name, without brackets",
            argument=setting,
        )
    return found[0]


def find_axes(what: str, type: Type, axes: Axis, setting: str) -> tuple[int, ...]:
    """Axes of `type` in rising order, counted from 0; None is all of them."""
    check_rank(what, type)
    rank = len(type.shape)
    if axes is None:
        return tuple(range(rank))
    wanted = axes if isinstance(axes, tuple) else (axes,)
    numbers = [_named(what, type, a, setting) if isinstance(a, str) else a for a in wanted]
    for axis in numbers:
        if not -rank <= axis < rank:
            last = f"axes 0 to {rank - 1}" if rank > 1 else "axis 0 only" if rank else "no axes"
            raise OpError(
                "E0301",
                f"{what} has no axis {axis}: its input {type} has {last}",
                hint="axes count from 0, negative ones from the end; the batch is none of them",
                argument=setting,
            )
    found = sorted({axis % rank for axis in numbers})
    if len(found) < len(wanted):
        raise OpError(
            "E0204",
            f"'{setting}' of {what} names an axis twice",
            hint="name each axis once",
            argument=setting,
        )
    return tuple(found)


def _named(what: str, type: Type, name: str, setting: str) -> int:
    sizes = type.shape
    found = [i for i, size in enumerate(sizes) if isinstance(size, Extent) and size.symbol == name]
    if len(found) > 1:
        raise OpError(
            "E0204",
            f"{what} cannot tell which axis '{name}' is: {type} has {len(found)} of them",
            hint=f"give its number, such as {setting}={found[0]}",
            argument=setting,
        )
    if not found:
        hint = nearest(name, type.symbols) or "give the number of the axis, counted from 0"
        raise OpError("E0301", f"{what} has no axis '{name}': its input is {type}", hint=hint,
                      argument=setting)  # fmt: skip
    return found[0]


def check_rank(what: str, type: Type, argument: int | str | None = 0) -> None:
    """Refuses values with more axes than kernels walk over."""
    if len(type.shape) > RANK:
        raise OpError(
            "E0301",
            f"{what} takes values of at most {RANK} axes, but this one is {type}",
            hint="flatten or reshape some of its axes together first",
            argument=argument,
        )


def same_types(what: str, types: Sequence[Type]) -> None:
    """Refuses inputs whose shapes differ."""
    for i, other in enumerate(types[1:], 1):
        if other.shape != types[0].shape:
            raise OpError(
                "E0301",
                f"{what} takes values of one shape, but these are {types[0]} and {other}",
                argument=i,
            )


def fixed(what: str, type: Type, axis: int) -> int:
    """The size of an axis; an error where it is known only at run time."""
    size = type.shape[axis]
    if isinstance(size, Extent):
        raise OpError(
            "E0304",
            f"axis {axis} of the input of {what} must be a fixed size, but it is {size} of {type}",
            hint="axes are channels first, as in float[12, time]",
            argument=0,
        )
    return size


def timed(type: Type, axes: Sequence[int]) -> tuple[int, ...]:
    """Those of the axes whose size is known only at run time."""
    return tuple(axis for axis in axes if isinstance(type.shape[axis], Extent))


def lengths(type: Type, axes: Sequence[int]) -> tuple[Implicit, ...]:
    """The implicit inputs that tell each sample's valid extent along these axes, in their order."""
    sizes = [type.shape[axis] for axis in axes]
    return tuple(Implicit("lengths", (size,)) for size in sizes if isinstance(size, Extent))
