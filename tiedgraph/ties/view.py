"""Views: how a tied parameter is read off the numbers of another.

Every view is linear, and each entry of what it makes is one entry of what it reads times a constant
(or zero). So a chain of views is either strides, which cost nothing, or an index map with
coefficients, which is a gather before a step and a scatter-add after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from tiedgraph.ir.graph import Step

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]


class ViewError(Exception):
    """A view does not fit what it reads; the message names both, `hint` a way out."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


# ---------------------------------------------------------------- layouts


@dataclass(frozen=True)
class Strided:
    """Entry (i, j, ...) of the parameter is number `offset + i strides[0] + ...` of the storage."""

    offset: int
    shape: Shape
    strides: Shape


@dataclass(frozen=True, eq=False)
class Indexed:
    """Entry e of the parameter is `coefficient[e] * storage[index[e]]`, zero where index is -1.

    index: int64 in the parameter's shape. coefficient: float64 likewise, or None for all ones.
    """

    shape: Shape
    index: Array
    coefficient: Array | None = None


Layout = Strided | Indexed


@dataclass(frozen=True, eq=False)
class IndexMap:
    """A step that is an index map already: `by hash(...)`, `by symmetric`, a file."""

    free: Shape
    index: Array
    coefficient: Array | None = None


def layout(steps: Sequence[Step], shape: Sequence[int]) -> Layout:
    """Where the entries of a view lie in its storage, by strides where there are any.

    steps: first applied first. shape: of the storage.
    """
    return _layout(tuple(steps), tuple(shape))


@lru_cache(maxsize=4096)
def _layout(steps: tuple[Step, ...], shape: Shape) -> Layout:
    if all(VIEWS[step.name].strided for step in steps if step.name in VIEWS) and not any(
        step.name == "map" for step in steps
    ):
        found = _strides(steps, shape)
        if found is not None:
            return found
    index = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    scale: Array | None = None
    for step in steps:
        if step.name == "map":
            chosen: IndexMap = dict(step.arguments)["map"]
            inside = chosen.index >= 0
            flat = index.reshape(-1)
            picked = np.where(inside, flat[np.where(inside, chosen.index, 0)], -1)
            if scale is not None:
                scale = scale.reshape(-1)[np.where(inside, chosen.index, 0)]
            if chosen.coefficient is not None:
                scale = chosen.coefficient if scale is None else scale * chosen.coefficient
            index = picked
            continue
        view = VIEWS[step.name]
        options = _options(view, step)
        factor = view.factor(options)
        index = view.apply(index, options)
        if scale is not None:
            scale = view.apply(scale, options)
        if factor != 1.0:
            scale = np.full(index.shape, factor) if scale is None else scale * factor
    index = np.ascontiguousarray(index)
    if scale is not None:
        scale = np.ascontiguousarray(scale, np.float64)
    return Indexed(index.shape, index, scale)


def _strides(steps: tuple[Step, ...], shape: Shape) -> Strided | None:
    """Lets NumPy take the views of an array that nobody fills; None where it would copy."""
    base = np.empty(shape, np.int8)
    array = base
    for step in steps:
        view = VIEWS[step.name]
        options = _options(view, step)
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


def read(where: Layout, storage: Array) -> Array:
    """The parameter's values, given its storage's (any shape, C order)."""
    flat = np.ascontiguousarray(storage).reshape(-1)
    if isinstance(where, Strided):
        item = flat.itemsize
        return np.lib.stride_tricks.as_strided(
            flat[where.offset :], where.shape, [s * item for s in where.strides], writeable=False
        )
    result = np.where(where.index >= 0, flat[np.maximum(where.index, 0)], 0)
    return result if where.coefficient is None else result * where.coefficient


def entries(where: Layout) -> tuple[Array, Array]:
    """Index (-1 for fixed zeros) and coefficient of every entry, in the parameter's shape."""
    if isinstance(where, Indexed):
        scale = where.coefficient
        return where.index, np.ones(where.shape) if scale is None else scale
    grid = np.full(where.shape, where.offset, np.int64)
    for axis, (size, stride) in enumerate(zip(where.shape, where.strides, strict=True)):
        steps = np.arange(size, dtype=np.int64) * stride
        grid += steps.reshape([-1 if a == axis else 1 for a in range(len(where.shape))])
    return grid, np.ones(where.shape)


def pull_back(where: Layout, gradient: Array, shape: Sequence[int]) -> Array:
    """The adjoint of `read`: a parameter's gradient, summed into an array of the storage's shape."""
    index, scale = entries(where)
    flat = np.zeros(int(np.prod(tuple(shape))), np.asarray(gradient).dtype)
    inside = index >= 0
    np.add.at(flat, index[inside], (gradient * scale)[inside])
    return flat.reshape(tuple(shape))


def same(a: Layout, b: Layout) -> bool:
    """Whether two layouts of one storage read the same numbers."""
    if isinstance(a, Strided) and isinstance(b, Strided):
        used = [axis for axis, size in enumerate(a.shape) if size > 1]
        return (
            a.shape == b.shape
            and a.offset == b.offset
            and all(a.strides[axis] == b.strides[axis] for axis in used)
        )
    if a.shape != b.shape:
        return False
    (index, scale), (other, factor) = entries(a), entries(b)
    zero = index < 0
    return bool(np.array_equal(index, other) and np.array_equal(scale[~zero], factor[~zero]))


# ---------------------------------------------------------------- the views

Options = Mapping[str, Any]


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
            f"{what} needs each of the {rank} axes once, not {_text(value)}",
            f"such as [{', '.join(str(i) for i in reversed(range(rank)))}]",
        )
    return tuple(v % rank for v in value)


def _text(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def _check_transpose(shape: Shape, options: Options) -> None:
    if len(shape) < 2:
        raise ViewError("E0404", f"transpose needs two axes, and {_text(shape)} has {len(shape)}")


def _check_flip(shape: Shape, options: Options) -> None:
    _axis(options["axis"], len(shape), "flip")


def _check_rotate(shape: Shape, options: Options) -> None:
    if not isinstance(options["k"], int):
        raise ViewError("E0404", f"rotate90 turns k quarters, an integer, not {options['k']}")
    if len(shape) < 2:
        raise ViewError("E0404", f"rotate90 needs two axes, and {_text(shape)} has {len(shape)}")


def _check_permute(shape: Shape, options: Options) -> None:
    _axes(options["axes"], len(shape), "permute")


def _check_reshape(shape: Shape, options: Options) -> None:
    target = options["shape"]
    good = isinstance(target, tuple) and all(isinstance(n, int) and n > 0 for n in target)
    if not good or int(np.prod(target)) != int(np.prod(shape)):
        raise ViewError(
            "E0404",
            f"{_text(shape)} cannot be reshaped to {_text(target)}",
            f"the new sizes must multiply to {int(np.prod(shape))}",
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
    if not isinstance(number, int | float) or number == 0 or not np.isfinite(number):
        raise ViewError("E0404", f"scale multiplies by a number other than 0, not {number}")


def _step(name: str, **arguments: Any) -> Step:
    return Step(name, tuple(arguments.items()))


VIEW_KINDS = (
    ViewKind(
        "transpose",
        "Axes in reverse order: rows become columns, as in an autoencoder's decoder.",
        (),
        _check_transpose,
        lambda array, options: array.transpose(),
        lambda shape, options: _step("transpose"),
    ),
    ViewKind(
        "flip",
        "One axis read backwards: a window from right to left.",
        (("axis", -1),),
        _check_flip,
        lambda array, options: np.flip(array, options["axis"]),
        lambda shape, options: _step("flip", axis=options["axis"]),
    ),
    ViewKind(
        "rotate90",
        "The last two axes turned by k quarters against the clock.",
        (("k", 1),),
        _check_rotate,
        lambda array, options: np.rot90(array, options["k"], axes=(-2, -1)),
        lambda shape, options: _step("rotate90", k=-options["k"]),
    ),
    ViewKind(
        "permute",
        "Axes in a given order, as NumPy's transpose.",
        (("axes", ...),),
        _check_permute,
        lambda array, options: array.transpose(options["axes"]),
        lambda shape, options: _step(
            "permute", axes=tuple(int(i) for i in np.argsort(_axes(options["axes"], len(shape), "")))
        ),
    ),
    ViewKind(
        "reshape",
        "The same numbers in C order under another shape.",
        (("shape", ...),),
        _check_reshape,
        lambda array, options: array.reshape(options["shape"]),
        lambda shape, options: _step("reshape", shape=tuple(shape)),
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
        lambda shape, options: _step("negate"),
        factor=lambda options: -1.0,
        strided=False,
    ),
    ViewKind(
        "scale",
        "Every number times a constant other than zero.",
        (("factor", ...),),
        _check_scale,
        lambda array, options: array,
        lambda shape, options: _step("scale", factor=1.0 / options["factor"]),
        factor=lambda options: float(options["factor"]),
        strided=False,
    ),
)

VIEWS: dict[str, ViewKind] = {view.name: view for view in VIEW_KINDS}


def _options(view: ViewKind, step: Step) -> dict[str, Any]:
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
        from tiedgraph.diagnostics import nearest

        known = ", ".join(VIEWS)
        raise ViewError(
            "E0404",
            f"there is no view '{step.name}' that is linear in the parameter",
            nearest(step.name, VIEWS) or f"views are {known}",
        )
    options = _options(view, step)
    view.check(shape, options)
    made: Shape = view.apply(np.empty(shape, np.int8), options).shape
    return made


def inverse(step: Step, shape: Shape) -> Step | None:
    """The step that undoes `step` on an operand of `shape`; None where none does."""
    view = VIEWS[step.name]
    return view.inverse(shape, _options(view, step))
