"""The makers of the examples' data: what they draw is what their pages say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def script(path: str) -> ModuleType:
    """The script as a module; others of its folder can be imported by it."""
    sys.path.insert(0, str((EXAMPLES / path).parent))
    try:
        return _script(path)
    finally:
        del sys.path[0]


def _script(path: str) -> ModuleType:
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


def test_words_of_training_and_of_tests_have_other_voices() -> None:
    make = script("words/pick.py")
    found = np.load(EXAMPLES / "words/speech.npz")
    assert (found["length"].astype(int).sum(), 13) == found["frames"].shape
    known, new = make.words("words.dict"), make.words("new.dict")
    assert (len(known), len(new), len({*known, *new})) == (68, 41, 109)
    rows = {}
    for seed in (0, 1):
        parts = make.pick(2, seed)
        assert (np.bincount(parts["train"]["word"]) == 2).all()
        assert (np.bincount(parts["test"]["word"]) == 6).all()
        assert (np.bincount(parts["new"]["word"]) == 6).all()
        rows[seed] = {x.tobytes() for x in parts["train"]["mfcc"][:, :, :30]}
        for name in ("test", "new"):
            assert not rows[seed] & {x.tobytes() for x in parts[name]["mfcc"][:, :, :30]}
    assert rows[0] != rows[1]


def test_every_phoneme_of_new_words_is_in_trained_ones() -> None:
    phonemes = [
        {p for x in (EXAMPLES / "words" / name).read_text().splitlines() if x[:1] != "#"
         for p in x.split()[1:]}
        for name in ("words.dict", "new.dict")
    ]  # fmt: skip
    assert len(phonemes[0]) == 39
    assert phonemes[1] <= phonemes[0]


def test_scores_of_whole_words_are_hmmlearns() -> None:
    pytest.importorskip("hmmlearn")
    whole = script("words/whole_words.py")
    rng = np.random.default_rng(0)
    part = {
        "mfcc": rng.standard_normal((8, 3, 20)) + 3 * np.repeat([0, 1], 4)[:, None, None],
        "mfcc.length": np.array([20, 18, 15, 20, 19, 20, 12, 20]),
        "word": np.repeat([0, 1], 4),
    }
    models = whole.train(part, [4, 6], 3)
    for x, n in zip(part["mfcc"], part["mfcc.length"], strict=True):
        frames = x[:, :n].T
        told = [model.score(frames) for model in models]
        np.testing.assert_allclose(whole.Scorer(models).scores(frames), told, rtol=1e-9)
    assert whole.accuracy(models, part) == 1.0


def test_the_table_of_words_is_of_what_was_measured(tmp_path: Path) -> None:
    rows = "model,recordings,seed,known,new,seconds"
    rows += "\ngaussian,2,0,0.8,0.6,1\ngaussian,2,1,0.9,0.7,1\nwhole,2,0,0.5,,1\n"
    (tmp_path / "measured.csv").write_text(rows)
    show = script("words/table.py")
    found = show.read(tmp_path / "measured.csv")
    assert found[("gaussian", "known")] == {2: [0.8, 0.9]}
    assert ("whole", "new") not in found
    told = show.table(found)
    assert "| tied, 1 Gaussian | known | 85.0 ± 5.0 |" in told
    assert "| whole words (hmmlearn) | known | 50.0 ± 0.0 (1) |" in told
    show.draw(found, tmp_path / "accuracy.svg")
    assert "<svg" in (tmp_path / "accuracy.svg").read_text()
