"""Codebooks: states far from the likeliest Gaussian, and the same model written with ties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiedgraph.api as tg

LEXICON = "cat  k a t\ntack  t a k\nat  a t\n"
MODEL = """
input x: float[4, time]
target word: class from "words.dict"
{book}
unit phone from "words.dict" {{ states = 2, emission = {emission} }}
words = chain phone by "words.dict"
{more}
loss likelihood(words, word)
metric word_error(words, word)
train {{ method = em(flat=false, floor=0, split=90), epochs = 4 }}
"""
BOOK = {"book": "book = codebook(x, 19)", "emission": "mixture(book)", "more": ""}
TIED = {
    "book": "",
    "emission": "gaussian(x, mixtures=19)",
    "more": "tie hard phone[*].state[*].mean\ntie hard phone[*].state[*].log_variance",
}


def compile_model(folder: Path, case: dict[str, str], dtype: str = "float64") -> tg.Model:
    (folder / "words.dict").write_text(LEXICON)
    path = folder / "words.tie"
    path.write_text(MODEL.format(**case))
    return tg.compile(path, dtype=dtype)


def numbers(scale: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    found = {"mean": rng.normal(size=(19, 4)) * 2, "log_variance": rng.normal(size=(19, 4)) / 4}
    for phoneme in "akt":
        for state in range(2):
            found[f"phone[{phoneme}].state[{state}].weight"] = scale * rng.normal(size=19)
        found[f"phone[{phoneme}].stay"] = rng.normal(size=2)
    return found


def give(model: tg.Model, found: dict[str, np.ndarray], owner: str) -> None:
    shared = {f"{owner}.{name}": found[name] for name in ("mean", "log_variance")}
    rest = {name: array for name, array in found.items() if "[" in name}
    model.set(shared | rest)


def spoken(samples: int = 11) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(6)
    return {
        "x": rng.normal(size=(samples, 4, 13)) * 2,
        "x.length": rng.integers(7, 14, samples),
        "word": rng.integers(0, 3, samples),
    }


@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_a_codebook_is_a_mixture_with_tied_gaussians(scale: float, tmp_path: Path) -> None:
    """At the larger scale some states have next to nothing of the likeliest Gaussians."""
    data, found = spoken(), numbers(scale)
    owner = "phone[a].state[0]"
    book, tied = compile_model(tmp_path, BOOK), compile_model(tmp_path, TIED)
    give(book, found, "book")
    give(tied, found, owner)
    (loss, slopes), (other, expected) = (m.value_and_grad(**data) for m in (book, tied))
    assert loss == pytest.approx(other, rel=1e-10)
    for name in found:
        first, second = (name, name) if "[" in name else (f"book.{name}", f"{owner}.{name}")
        size = np.abs(expected[second]).max()
        np.testing.assert_allclose(
            slopes[first], expected[second], rtol=1e-8, atol=1e-9 * size + 1e-14
        )
    single = compile_model(tmp_path, BOOK, "float32")
    give(single, found, "book")
    near, slopes32 = single.value_and_grad(**data)
    assert near == pytest.approx(loss, rel=1e-5)
    for name, slope in slopes.items():
        size = np.abs(slope).max()
        np.testing.assert_allclose(slopes32[name], slope, rtol=1e-2, atol=1e-3 * size + 1e-6)


def test_a_codebook_is_estimated_as_tied_gaussians_are(tmp_path: Path) -> None:
    book, tied = compile_model(tmp_path, BOOK), compile_model(tmp_path, TIED)
    owner = "phone[a].state[0]"
    give(book, numbers(), "book")
    give(tied, numbers(), owner)
    losses = [[row["loss"] for row in model.fit(spoken())] for model in (book, tied)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)
    for name in ("mean", "log_variance"):
        np.testing.assert_allclose(
            book.parameters[f"book.{name}"], tied.parameters[f"{owner}.{name}"], rtol=1e-6
        )
