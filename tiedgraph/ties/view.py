"""Views: how a tied parameter is read off the numbers of another.

Every view is linear, and each entry of what it makes is one entry of what it reads times a constant
(or zero). So a chain of views has a layout: strides or an index map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, prod
from typing import Any

import numpy as np

from tiedgraph.diagnostics import nearest
from tiedgraph.ir.graph import Step
from tiedgraph.ties.layout import Array, Indexed, Layout, Shape, Strided


class ViewError(Exception):
    """A view does not fit what it reads; the message names both, `hint` a way out."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


# ---------------------------------------------------------------- index maps as steps


@dataclass(frozen=True, eq=False)
class IndexMap:
    """Entries of a parameter from free numbers: `by hash(...)`, `by symmetric`, a file.

    free: shape of the free numbers. index: for each entry of the parameter the place in them, in C
    order, or -1 for a fixed zero. text: as the file says it.
    """

    free: Shape
    index: Array
    coefficient: Array | None = None
    text: str = ""


MAP = "map"  # the step that reads through an index map; users write it as `by`


def map_step(chosen: IndexMap) -> Step:
    """An index map as the first step of a view; its operand is the free numbers."""
    return Step(MAP, ((MAP, chosen),))


def step_map(step: Step) -> IndexMap:
    """The index map of a `map` step."""
    chosen = dict(step.arguments)[MAP]
    assert isinstance(chosen, IndexMap)
    return chosen


# ---------------------------------------------------------------- the views

Options = Mapping[str, Any]
MAX_FACTOR = 1e6


@dataclass(frozen=True)
class ViewKind:
    """One view that users may write.

    arguments: names with defaults, in order; `...` for required ones.
    check: raises ViewError where it does not fit a shape. apply: on an array of entries.
    inverse: the view that undoes it for a given shape of its operand; None where none does.
    factor: what it multiplies every entry by.
    strided: whether it only changes offset and strides.
    """

    name: str
    doc: str
    arguments: tuple[tuple[str, Any], ...]
    check: Callable[[Shape, Options], None]
    apply: Callable[[Array, Options], Array]
    inverse: Callable[[Shape, Options], Step | None]
    factor: Callable[[Options], float] = lambda options: 1.0
    strided: bool = True


def _axis(value: Any, rank: int, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -rank <= value < rank:
        raise ViewError(
            "E0404",
            f"{what} has no axis {value}: the parameter has {rank} axes",
            f"axes are 0 to {rank - 1}, or -{rank} to -1 from the end",
        )
    return value % rank


def _axes(value: Any, rank: int, what: str) -> tuple[int, ...]:
    if not isinstance(value, tuple) or sorted(_axis(v, rank, what) for v in value) != list(
        range(rank)
    ):
        raise ViewError(
            "E0404",
            f"{what} needs each of the {rank} axes once, not {value_text(value)}",
            f"such as [{', '.join(str(i) for i in reversed(range(rank)))}]",
        )
    return tuple(v % rank for v in value)


def value_text(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def _check_transpose(shape: Shape, options: Options) -> None:
    if len(shape) < 2:
        raise ViewError(
            "E0404", f"transpose needs two axes, and {value_text(shape)} has {len(shape)}"
        )


def _check_flip(shape: Shape, options: Options) -> None:
    _axis(options["axis"], len(shape), "flip")


def _check_rotate(shape: Shape, options: Options) -> None:
    if not isinstance(options["k"], int):
        raise ViewError("E0404", f"rotate90 turns k quarters, an integer, not {options['k']}")
    if len(shape) < 2:
        raise ViewError(
            "E0404", f"rotate90 needs two axes, and {value_text(shape)} has {len(shape)}"
        )


def _check_permute(shape: Shape, options: Options) -> None:
    _axes(options["axes"], len(shape), "permute")


def _check_reshape(shape: Shape, options: Options) -> None:
    target = options["shape"]
    good = isinstance(target, tuple) and all(isinstance(n, int) and n > 0 for n in target)
    if not good or prod(target) != prod(shape):
        raise ViewError(
            "E0404",
            f"{value_text(shape)} cannot be reshaped to {value_text(target)}",
            f"the new sizes must multiply to {prod(shape)}",
        )


def _slice(shape: Shape, options: Options) -> tuple[int, slice]:
    axis = _axis(options["axis"], len(shape), "slice")
    size = shape[axis]
    start, stop, step = options["start"], options["stop"], options["step"]
    stop = size if stop is None else stop
    if not all(isinstance(n, int) for n in (start, stop, step)) or step < 1:
        raise ViewError("E0404", "slice takes integers start, stop and a positive step")
    start, stop = (n + size if n < 0 else n for n in (start, stop))
    if not 0 <= start < stop <= size:
        raise ViewError(
            "E0404",
            f"slice {options['start']} to {options['stop']} does not lie in axis {axis}, "
            f"which has {size}",
        )
    return axis, slice(start, stop, step)


def _apply_slice(array: Array, options: Options) -> Array:
    axis, part = _slice(array.shape, options)
    return array[(slice(None),) * axis + (part,)]


def _check_scale(shape: Shape, options: Options) -> None:
    number = options["factor"]
    good = isinstance(number, int | float) and not isinstance(number, bool) and isfinite(number)
    if not good or not 1 / MAX_FACTOR <= abs(number) <= MAX_FACTOR:
        raise ViewError(
            "E0404",
            f"scale multiplies by a number, not by {value_text(number)}",
            f"its size must lie between {1 / MAX_FACTOR:g} and {MAX_FACTOR:g}",
        )


def make_step(name: str, **arguments: Any) -> Step:
    return Step(name, tuple(arguments.items()))


VIEW_KINDS = (
    ViewKind(
        "transpose",
        "Axes in reverse order: rows become columns, as in an autoencoder's decoder.",
        (),
        _check_transpose,
        lambda array, options: array.transpose(),
        lambda shape, options: make_step("transpose"),
    ),
    ViewKind(
        "flip",
        "One axis read backwards: a window from right to left.",
        (("axis", -1),),
        _check_flip,
        lambda array, options: np.flip(array, options["axis"]),
        lambda shape, options: make_step("flip", axis=options["axis"]),
    ),
    ViewKind(
        "rotate90",
        "The last two axes turned by k quarters against the clock.",
        (("k", 1),),
        _check_rotate,
        lambda array, options: np.rot90(array, options["k"], axes=(-2, -1)),
        lambda shape, options: make_step("rotate90", k=-options["k"]),
    ),
    ViewKind(
        "permute",
        "Axes in a given order, as NumPy's transpose.",
        (("axes", ...),),
        _check_permute,
        lambda array, options: array.transpose(options["axes"]),
        lambda shape, options: make_step(
            "permute",
            axes=tuple(int(i) for i in np.argsort(_axes(options["axes"], len(shape), ""))),
        ),
    ),
    ViewKind(
        "reshape",
        "The same numbers in C order under another shape.",
        (("shape", ...),),
        _check_reshape,
        lambda array, options: array.reshape(options["shape"]),
        lambda shape, options: make_step("reshape", shape=tuple(shape)),
    ),
    ViewKind(
        "slice",
        "Part of one axis, start <= i < stop in steps.",
        (("start", 0), ("stop", None), ("axis", 0), ("step", 1)),
        lambda shape, options: _slice(shape, options) and None,
        _apply_slice,
        lambda shape, options: None,
    ),
    ViewKind(
        "negate",
        "Every number times -1: an off-centre cell beside an on-centre one.",
        (),
        lambda shape, options: None,
        lambda array, options: array,
        lambda shape, options: make_step("negate"),
        factor=lambda options: -1.0,
        strided=False,
    ),
    ViewKind(
        "scale",
        "Every number times a constant other than zero.",
        (("factor", ...),),
        _check_scale,
        lambda array, options: array,
        lambda shape, options: make_step("scale", factor=1.0 / options["factor"]),
        factor=lambda options: float(options["factor"]),
        strided=False,
    ),
)

VIEWS: dict[str, ViewKind] = {view.name: view for view in VIEW_KINDS}


def options_of(view: ViewKind, step: Step) -> dict[str, Any]:
    """The view's arguments with defaults; those by position are named "0", "1", ..."""
    names = [name for name, _ in view.arguments]
    found: dict[str, Any] = {}
    for name, value in step.arguments:
        if name.isdigit():
            if int(name) >= len(names):
                raise ViewError(
                    "E0404", f"{view.name} takes {len(names)} arguments, not {int(name) + 1}"
                )
            name = names[int(name)]
        if name not in names:
            raise ViewError(
                "E0404",
                f"{view.name} has no argument '{name}'",
                f"it has {', '.join(names)}" if names else "it has none",
            )
        if name in found:
            raise ViewError("E0404", f"argument '{name}' of {view.name} is given twice")
        found[name] = value
    for name, default in view.arguments:
        if name not in found:
            if default is ...:
                raise ViewError("E0404", f"{view.name} needs its argument '{name}'")
            found[name] = default
    return found


def check_step(step: Step, shape: Shape) -> Shape:
    """The shape that a step makes of a shape; raises ViewError."""
    view = VIEWS.get(step.name)
    if view is None:
        known = ", ".join(VIEWS)
        raise ViewError(
            "E0404",
            f"there is no view '{step.name}' that is linear in the parameter",
            nearest(step.name, VIEWS) or f"views are {known}",
        )
    options = options_of(view, step)
    view.check(shape, options)
    made: Shape = view.apply(np.empty(shape, np.int8), options).shape
    return made


def inverse(step: Step, shape: Shape) -> Step | None:
    """The step that undoes `step` on an operand of `shape`; None where none does."""
    view = VIEWS[step.name]
    return view.inverse(shape, options_of(view, step))


# ---------------------------------------------------------------- layouts of views


def layout(steps: Sequence[Step], shape: Sequence[int]) -> Layout:
    """Where the entries of a view lie in its storage, by strides where there are any.

    steps: first applied first. shape: of the storage. Nothing is allocated for strides; an index
    map takes 8 bytes an entry, and 8 more where there are coefficients.
    """
    steps, start = tuple(steps), tuple(shape)
    if is_strided(steps, start):
        found = strides(steps, start)
        assert found is not None
        return found
    index = np.arange(prod(start), dtype=np.int64).reshape(start)
    scale: Array | None = None
    factor = 1.0
    for step in steps:
        if step.name == MAP:
            index, scale = _through_map(step_map(step), index, scale)
            continue
        view = VIEWS[step.name]
        options = options_of(view, step)
        index = view.apply(index, options)
        if scale is not None:
            scale = view.apply(scale, options)
        factor *= view.factor(options)
    index = np.ascontiguousarray(index)
    if scale is not None:
        scale = np.ascontiguousarray(scale * factor, np.float64)
    elif factor != 1.0:
        scale = np.full(index.shape, factor)
    return Indexed(index.shape, index, scale)


def is_strided(steps: Sequence[Step], shape: Sequence[int]) -> bool:
    """Whether strides read the view, so that it costs no memory."""
    plain = all(step.name in VIEWS and VIEWS[step.name].strided for step in steps)
    return plain and strides(tuple(steps), tuple(shape)) is not None


def _through_map(chosen: IndexMap, index: Array, scale: Array | None) -> tuple[Array, Array | None]:
    """Entries that an index map picks out of those found so far."""
    inside = chosen.index >= 0
    at = np.where(inside, chosen.index, 0)
    picked = np.where(inside, index.reshape(-1)[at], -1)
    if scale is not None:
        scale = scale.reshape(-1)[at]
    if chosen.coefficient is not None:
        scale = chosen.coefficient if scale is None else scale * chosen.coefficient
    return picked, scale


@lru_cache(maxsize=4096)
def strides(steps: tuple[Step, ...], shape: Shape) -> Strided | None:
    """Lets NumPy take the views of an array that nobody fills; None where it would copy."""
    base = np.empty(shape, np.int8)
    array = base
    for step in steps:
        view = VIEWS[step.name]
        options = options_of(view, step)
        if view.name == "reshape":
            try:
                array = np.reshape(array, options["shape"], copy=False)
            except ValueError:
                return None
        else:
            array = view.apply(array, options)
    start = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    if array.size == 0:
        start = 0
    return Strided(int(start), array.shape, tuple(int(s) for s in array.strides))
