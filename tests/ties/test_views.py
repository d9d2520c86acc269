"""Views against NumPy, layouts against each other, and adjoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiedgraph.ir.graph import Step
from tiedgraph.ties.chain import compact, describe
from tiedgraph.ties.index_map import make_map
from tiedgraph.ties.layout import Indexed, Strided, entries, pull_back, read, same
from tiedgraph.ties.view import VIEWS, ViewError, check_step, inverse, layout, map_step

Array = np.ndarray[Any, np.dtype[Any]]


def step(name: str, *given: Any, **named: Any) -> Step:
    return Step(name, (*((str(i), v) for i, v in enumerate(given)), *named.items()))


# Shape, steps, the same in NumPy, whether strides do.
CASES: list[tuple[tuple[int, ...], list[Step], Callable[[Array], Array], bool]] = [
    ((3, 4), [], lambda a: a, True),
    ((3, 4), [step("transpose")], lambda a: a.T, True),
    ((2, 3, 4), [step("transpose")], lambda a: a.transpose(2, 1, 0), True),
    ((5,), [step("flip")], lambda a: a[::-1], True),
    ((3, 4), [step("flip")], lambda a: a[:, ::-1], True),
    ((3, 4), [step("flip", axis=0)], lambda a: a[::-1], True),
    ((3, 4), [step("flip", 0)], lambda a: a[::-1], True),
    ((2, 1, 3, 3), [step("rotate90")], lambda a: np.rot90(a, 1, (2, 3)), True),
    ((3, 3), [step("rotate90", k=2)], lambda a: a[::-1, ::-1], True),
    ((3, 3), [step("rotate90", k=-1)], lambda a: a.T[:, ::-1], True),
    ((2, 5), [step("rotate90", 3)], lambda a: np.rot90(a, 3), True),
    ((2, 3, 4), [step("permute", (1, 2, 0))], lambda a: a.transpose(1, 2, 0), True),
    ((2, 3, 4), [step("permute", axes=(-1, 0, 1))], lambda a: a.transpose(2, 0, 1), True),
    ((2, 6), [step("reshape", (3, 4))], lambda a: a.reshape(3, 4), True),
    ((6, 4), [step("slice", 1, 5)], lambda a: a[1:5], True),
    ((6, 4), [step("slice", 1, 3, 1)], lambda a: a[:, 1:3], True),
    ((6, 4), [step("slice", start=0, step=2)], lambda a: a[::2], True),
    ((6, 4), [step("slice", start=-2)], lambda a: a[-2:], True),
    ((6, 4), [step("slice", stop=-1, axis=-1)], lambda a: a[:, :-1], True),
    ((3,), [step("negate")], lambda a: -a, False),
    ((3, 2), [step("scale", 2)], lambda a: 2 * a, False),
    ((3, 2), [step("scale", factor=-0.25)], lambda a: -0.25 * a, False),
    ((4, 6), [step("transpose"), step("slice", 2, 5), step("flip", axis=1)],
     lambda a: a.T[2:5, ::-1], True),
    ((2, 6), [step("transpose"), step("reshape", (3, 4))], lambda a: a.T.reshape(3, 4), False),
    ((2, 6), [step("reshape", (12,)), step("slice", 1, 12, 0, 3)],
     lambda a: a.reshape(12)[1::3], True),
    ((3, 3), [step("negate"), step("transpose"), step("scale", 3)], lambda a: -3 * a.T, False),
]  # fmt: skip


def numbers(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(7).standard_normal(shape)


def _name(part: object) -> str:
    """The same in every process, whereas a function's text has its address."""
    return "numpy" if callable(part) else str(part)


@pytest.mark.parametrize(("shape", "steps", "expected", "strided"), CASES, ids=_name)
def test_view_is_what_numpy_makes(
    shape: tuple[int, ...], steps: list[Step], expected: Callable[[Array], Array], strided: bool
) -> None:
    storage = numbers(shape)
    found = layout(steps, shape)
    assert isinstance(found, Strided) == strided
    assert found.shape == expected(storage).shape
    np.testing.assert_array_equal(read(found, storage), expected(storage))
    made = shape
    for one in steps:
        made = check_step(one, made)
    assert made == found.shape


@pytest.mark.parametrize(("shape", "steps"), [case[:2] for case in CASES], ids=str)
def test_entries_are_what_is_read(shape: tuple[int, ...], steps: list[Step]) -> None:
    storage = numbers(shape)
    found = layout(steps, shape)
    index, factor = entries(found)
    np.testing.assert_array_equal(storage.reshape(-1)[index] * factor, read(found, storage))


@pytest.mark.parametrize(("shape", "steps"), [case[:2] for case in CASES], ids=str)
def test_pull_back_is_the_adjoint(shape: tuple[int, ...], steps: list[Step]) -> None:
    storage = numbers(shape)
    found = layout(steps, shape)
    gradient = np.random.default_rng(8).standard_normal(found.shape)
    back = pull_back(found, gradient, shape)
    assert back.shape == shape
    assert np.vdot(back, storage) == pytest.approx(np.vdot(gradient, read(found, storage)))


@pytest.mark.parametrize(("shape", "steps"), [case[:2] for case in CASES], ids=str)
def test_read_keeps_the_dtype(shape: tuple[int, ...], steps: list[Step]) -> None:
    assert read(layout(steps, shape), numbers(shape).astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("name", VIEWS)
def test_inverse_undoes(name: str) -> None:
    given = {
        "rotate90": {"k": 3},
        "permute": {"axes": (2, 0, 1)},
        "reshape": {"shape": (6, 4)},
        "slice": {"start": 1},
        "scale": {"factor": 4.0},
    }
    shape = (2, 3, 4)
    there = step(name, **given.get(name, {}))
    back = inverse(there, shape)
    if name == "slice":
        assert back is None
        return
    assert back is not None
    storage = numbers(shape)
    twice = layout((there, back), shape)
    np.testing.assert_array_equal(read(twice, storage), storage)


BAD = [
    ((3,), step("transpose"), "needs two axes"),
    ((3,), step("flip", axis=1), "no axis 1"),
    ((3, 3), step("flip", axis=0.5), "no axis 0.5"),
    ((3, 3), step("flip", sideways=1), "no argument 'sideways'"),
    ((3, 3), step("flip", 0, axis=0), "given twice"),
    ((3, 3), step("rotate90", k=1.5), "an integer"),
    ((3, 3), step("permute", (0,)), "each of the 2 axes"),
    ((3, 3), step("permute"), "needs its argument"),
    ((3, 3), step("reshape", (3, 4)), "cannot be reshaped"),
    ((3, 3), step("reshape", (-3, -3)), "cannot be reshaped"),
    ((3, 3), step("slice", 2, 2), "does not lie"),
    ((3, 3), step("slice", 0, 2, 2), "no axis 2"),
    ((3, 3), step("slice", 0, 2, 0, 0), "positive step"),
    ((3, 3), step("scale", 0), "by a number"),
    ((3, 3), step("scale", float("nan")), "by a number"),
    ((3, 3), step("negate", 1), "takes 0 arguments"),
    ((3, 3), step("square"), "linear"),
]


@pytest.mark.parametrize(("shape", "one", "words"), BAD, ids=str)
def test_unfit_views(shape: tuple[int, ...], one: Step, words: str) -> None:
    with pytest.raises(ViewError, match=words) as caught:
        check_step(one, shape)
    assert caught.value.code == "E0404"


# ---------------------------------------------------------------- chains

SQUARE = [
    step("transpose"),
    step("flip", axis=0),
    step("flip", axis=1),
    step("rotate90"),
    step("rotate90", k=2),
    step("permute", (1, 0)),
    step("negate"),
    step("scale", 2.0),
    step("scale", 0.5),
]


@given(st.lists(st.sampled_from(SQUARE), max_size=24))
def test_compact_reads_the_same_in_few_steps(steps: list[Step]) -> None:
    short = compact(steps, (3, 3))
    storage = numbers((3, 3))
    expected = read(layout(steps, (3, 3)), storage)
    np.testing.assert_array_equal(read(layout(short, (3, 3)), storage), expected)
    assert len(short) <= 9


def test_compact_behind_a_map() -> None:
    first = map_step(make_map("symmetric", (3, 3), {}, None))
    steps = (first, step("transpose"), step("negate"), step("transpose"), step("negate"))
    assert compact(steps, (6,)) == (first,)


def test_strides_of_huge_parameters_allocate_nothing() -> None:
    found = layout([step("transpose"), step("flip", axis=0)], (2**15, 2**15))
    assert isinstance(found, Strided)
    assert found.strides == (-1, 2**15)


def test_same_looks_at_numbers() -> None:
    assert same(layout([step("rotate90", k=4)], (2, 3)), layout([], (2, 3)))
    assert not same(layout([step("rotate90")], (3, 3)), layout([], (3, 3)))
    assert same(layout([step("negate")], (3,)), layout([step("scale", -1)], (3,)))
    assert not same(layout([step("negate")], (3,)), layout([], (3,)))
    turned = layout([step("transpose"), step("reshape", (2, 6))], (4, 3))
    assert isinstance(turned, Indexed)
    assert not same(turned, layout([step("reshape", (2, 6))], (4, 3)))


def test_describe() -> None:
    steps = (step("transpose"), step("slice", 0, 4), step("scale", 2))
    assert describe(steps, "w") == "scale(slice(transpose(w), stop=4), factor=2)"
    hashed = map_step(make_map("hash", (3, 3), {"0": 4}, None))
    assert describe((hashed,), "w") == "w by hash(free=4, seed=0)"
