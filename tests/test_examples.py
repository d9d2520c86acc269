"""The makers of the examples' data: what they draw is what their pages say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np

EXAMPLES = Path(__file__).parent.parent / "examples"


def script(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, EXAMPLES / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_cases_of_shift_are_turned_as_they_say() -> None:
    for part in script("shift/make_cases.py").cases(3).values():
        string, turned = part["bits"][:, :10], part["bits"][:, 10:]
        right = part["right"][:, 0] > 0.5
        assert set(np.unique(string)) == {-1, 1}
        for place in range(10):
            assert (turned[right, (place + 1) % 10] == string[right, place]).all()
            assert (turned[~right, (place - 1) % 10] == string[~right, place]).all()


def test_no_case_of_shift_is_in_two_sets() -> None:
    make = script("shift/make_cases.py")
    sets = make.cases(0)
    assert {name: len(part["right"]) for name, part in sets.items()} == make.SIZES
    rows = np.concatenate([part["bits"] for part in sets.values()])
    assert len(np.unique(rows, axis=0)) == len(rows) == 2040
    sides = np.concatenate([part["right"] for part in sets.values()])
    assert sides.sum() == 1020


def test_seeds_of_shift_differ_and_repeat() -> None:
    make = script("shift/make_cases.py")
    first, again, other = (make.cases(seed)["train"]["bits"] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_fields_of_shift_are_what_is_shipped() -> None:
    index = script("shift/make_cases.py").fields()
    assert np.array_equal(np.load(EXAMPLES / "shift/fields.npy"), index)
    assert sorted(index[index >= 0]) == list(range(80))
    assert ((index[:, :10] >= 0) == (index[:, 10:] >= 0)).all()
    assert ((index >= 0).sum(axis=1) == 8).all()
    assert ((index >= 0).sum(axis=0) == 4).all()


def test_spans_of_sunspots() -> None:
    make = script("sunspots/make_years.py")
    spots = dict(np.loadtxt(EXAMPLES / "sunspots/sunspots.csv", delimiter=",", skiprows=1))
    years = [year for span in make.SPANS.values() for year in range(span[0], span[1] + 1)]
    assert years == list(range(1712, 1980))
    for first, last in make.SPANS.values():
        part = make.span(first, last)
        for row, year in enumerate(range(first, last + 1)):
            past = [spots[year - back] / 100 for back in range(12, 0, -1)]
            np.testing.assert_allclose(part["past"][row], past, rtol=1e-6)
            np.testing.assert_allclose(part["next"][row], [spots[year] / 100], rtol=1e-6)
