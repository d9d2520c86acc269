"""Chains of views: shortened, and as text."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tiedgraph.ir.graph import Step
from tiedgraph.ties.layout import Shape, contiguous, same
from tiedgraph.ties.view import (
    MAP,
    VIEWS,
    check_step,
    make_step,
    options_of,
    step_map,
    strides,
    value_text,
)

LONG = 8  # steps beyond which a chain is written anew


def compact(steps: Sequence[Step], shape: Sequence[int]) -> tuple[Step, ...]:
    """The same view in fewer steps: factors multiplied, and what undoes itself left out.

    shape: of the storage. A long chain of turns and flips becomes one `permute` and its flips.
    """
    chain: list[tuple[Step, Shape]] = []  # each with the shape that it reads
    size = tuple(shape)
    factor = 1.0
    for step in steps:
        if step.name == MAP:
            chain.append((step, size))
            size = step_map(step).index.shape
            continue
        view = VIEWS[step.name]
        if not view.strided:
            factor *= view.factor(options_of(view, step))
            continue
        made = check_step(step, size)
        if chain and chain[-1][0].name != MAP and made == chain[-1][1]:
            found = strides((chain[-1][0], step), made)
            if found is not None and same(found, contiguous(made)):
                chain.pop()
                size = made
                continue
        if made != size or not _changes_nothing(step, size):
            chain.append((step, size))
        size = made
    start = next((i + 1 for i, (s, _) in reversed(list(enumerate(chain))) if s.name == MAP), 0)
    found_steps = [step for step, _ in chain]
    if len(chain) - start > LONG:
        found_steps[start:] = _turned(found_steps[start:], chain[start][1])
    if factor == -1.0:
        found_steps.append(Step("negate"))
    elif factor != 1.0:
        found_steps.append(make_step("scale", factor=factor))
    return tuple(found_steps)


def _changes_nothing(step: Step, shape: Shape) -> bool:
    found = strides((step,), shape)
    return found is not None and same(found, contiguous(shape))


def _turned(steps: list[Step], shape: Shape) -> list[Step]:
    """Transposes, turns and flips as one `permute` and flips; other chains as they are."""
    found = strides(tuple(steps), shape)
    if found is None or prod(found.shape) != prod(shape):
        return steps
    own = contiguous(shape).strides
    axes: list[int] = []
    for size, stride in zip(found.shape, found.strides, strict=True):
        fits = [
            axis
            for axis, other in enumerate(own)
            if axis not in axes and shape[axis] == size and (other == abs(stride) or size == 1)
        ]
        if not fits:
            return steps
        axes.append(fits[0])
    result = [] if axes == sorted(axes) else [make_step("permute", axes=tuple(axes))]
    return result + [
        make_step("flip", axis=axis)
        for axis, (size, stride) in enumerate(zip(found.shape, found.strides, strict=True))
        if size > 1 and stride < 0
    ]


def describe(steps: Sequence[Step], operand: str) -> str:
    """A view as the language writes it: `flip(transpose(w), axis=0)`."""
    text = operand
    for step in steps:
        if step.name == MAP:
            text = f"{text} by {step_map(step).text}"
            continue
        view = VIEWS[step.name]
        given = options_of(view, step)
        changed = [
            f"{name}={value_text(given[name])}"
            for name, default in view.arguments
            if given[name] != default or type(given[name]) is not type(default)
        ]
        text = f"{step.name}({', '.join([text, *changed])})"
    return text
