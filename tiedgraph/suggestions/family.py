"""All views that lead from one shape to another, by the records of `tiedgraph.ties.view`.

Every view whose arguments have a finite choice is taken, alone and after another; so a new record
is tried without a word here. Views that only multiply are left to a fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import islice, permutations, product
from math import prod
from typing import Any

from tiedgraph.ir.graph import Step
from tiedgraph.ties.layout import Shape, Strided
from tiedgraph.ties.view import VIEW_KINDS, ViewError, check_step, make_step, strides

MOST_AXES = 5  # permutations of more are not tried
MOST_VIEWS = 4096  # from one shape

# What an argument may be, by its name: from the shape that is read and the shape that is wanted.
CHOICES: dict[str, Callable[[Shape, Shape], Sequence[Any]]] = {
    "axis": lambda shape, wanted: range(len(shape)),
    "k": lambda shape, wanted: (1, 2, 3),
    "axes": lambda shape, wanted: (
        list(islice(permutations(range(len(shape))), 1, None)) if len(shape) <= MOST_AXES else ()
    ),
    "shape": lambda shape, wanted: () if shape == wanted else (wanted,),
}


def _single(shape: Shape, wanted: Shape) -> list[Step]:
    """Every view with every choice of its arguments that fits a shape."""
    found = []
    for view in VIEW_KINDS:
        names = [name for name, _ in view.arguments]
        if not view.strided or any(name not in CHOICES for name in names):
            continue
        for values in product(*(CHOICES[name](shape, wanted) for name in names)):
            step = make_step(view.name, **dict(zip(names, values, strict=True)))
            try:
                check_step(step, shape)
            except ViewError:
                continue
            found.append(step)
    return found


@lru_cache(maxsize=256)
def family(shape: Shape, wanted: Shape) -> tuple[tuple[tuple[Step, ...], Strided], ...]:
    """Different views of `shape` that make `wanted`, the simplest first, each with its strides."""
    if prod(shape) != prod(wanted):
        return ()
    everything: dict[Strided, tuple[Step, ...]] = {}
    start = strides((), shape)
    assert start is not None
    everything[_plain(start)] = ()
    level: list[tuple[Step, ...]] = [()]
    for _ in range(2):
        following = []
        for steps in level:
            here = strides(steps, shape)
            assert here is not None
            for step in _single(here.shape, wanted):
                found = strides((*steps, step), shape)
                if found is None or len(everything) >= MOST_VIEWS:
                    continue
                key = _plain(found)
                if key not in everything:
                    everything[key] = (*steps, step)
                    following.append((*steps, step))
        level = following
    return tuple((steps, key) for key, steps in everything.items() if key.shape == wanted)


def _plain(found: Strided) -> Strided:
    """The same entries, with no stride for axes of one."""
    kept = tuple(
        0 if size == 1 else stride for size, stride in zip(found.shape, found.strides, strict=True)
    )
    return Strided(found.offset, found.shape, kept)
