"""What must be true of kernels of chains, whatever the numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiedgraph.api as tg
from tiedgraph.ops.lattice import lattice

LEXICON = "cat  k a t\ntack  t a k\nat  a t\n"
MODEL = """
input x: float[3, time]
target word: class from "words.dict"
{network}
unit phone from "words.dict" {{ states = 3, skip = {skip}, emission = {emission} }}
{silence}
words = chain phone by "words.dict" {between}
loss {loss}(words, word)
output scores = word_scores(words)
train {{ method = em, epochs = 3, batch = 32 }}
"""
SAMPLES = 20


def model_of(
    folder: Path,
    network: bool = False,
    loss: str = "likelihood",
    skip: bool = False,
    silence: bool = True,
    lexicon: str = LEXICON,
    **rest: object,
) -> tg.Model:
    folder.mkdir(exist_ok=True)
    (folder / "words.dict").write_text(lexicon)
    quiet = "scores(q)" if network else "gaussian(x)"
    text = MODEL.format(
        network="y = conv1d(x, 9, window=1)\nq = conv1d(x, 1, window=1)" if network else "",
        emission="scores(y)" if network else "gaussian(x)",
        silence=f"unit silence optional {{ states = 1, emission = {quiet} }}" if silence else "",
        between="between silence" if silence else "",
        loss=loss,
        skip=str(skip).lower(),
    )
    (folder / "words.tie").write_text(text)
    return tg.compile(folder / "words.tie", **{"dtype": "float64", "seed": 1, **rest})


def batch(samples: int = SAMPLES, size: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=(samples, 3, 19)) * size,
        "x.length": rng.integers(9, 20, samples),
        "word": rng.integers(0, 3, samples),
    }


@pytest.mark.parametrize("skip", [False, True])
def test_posteriors_sum_to_one(skip: bool, tmp_path: Path) -> None:
    """What is added to all scores is added to the sum of each step."""
    data = batch()
    model = model_of(tmp_path, network=True, skip=skip)
    found = model.value_and_grad(**data)[1]
    visits = -found["y.bias"].sum() - found["q.bias"].sum()
    assert visits == pytest.approx(data["x.length"].mean(), rel=1e-12)


def test_telling_words_apart_moves_visits_and_makes_none(tmp_path: Path) -> None:
    model = model_of(tmp_path, network=True, loss="discriminate")
    found = model.value_and_grad(**batch())[1]
    assert np.abs(found["y.bias"]).max() > 0.1
    assert abs(found["y.bias"].sum() + found["q.bias"].sum()) < 1e-10


@pytest.mark.parametrize("over", [0, 2])
def test_what_cannot_be_reached_is_not_visited(over: int) -> None:
    rng = np.random.default_rng(3)
    states, steps = list(range(9)), 6
    odds = rng.normal(size=9 + (over > 0))
    skips = [-1] + [9 if over else -1] + [-1] * 7
    found = lattice(rng.normal(size=(9, steps)), odds, states, 2, skips, over)
    for t in range(steps):
        far = 2 + t + (over > 0)
        assert (found.visits[t, far + 1 :] == 0).all()
        assert (found.visits[t, : max(0, 6 - (steps - 1 - t) - (over > 0))] == 0).all()
    assert found.held[0] == pytest.approx(found.visits[:-1, 0].sum() - found.left[0], abs=1e-12)


def test_the_order_of_recordings_does_not_matter(tmp_path: Path) -> None:
    data, order = batch(), np.random.default_rng(1).permutation(SAMPLES)
    model = model_of(tmp_path)
    first, second = (
        model.value_and_grad(**{n: a[way] for n, a in data.items()})
        for way in (np.arange(SAMPLES), order)
    )
    assert first[0] == pytest.approx(second[0], rel=1e-13)
    for name, slope in first[1].items():
        np.testing.assert_allclose(slope, second[1][name], rtol=1e-10, atol=1e-12)


def test_a_shared_slope_is_the_sum_over_the_places(tmp_path: Path) -> None:
    """Each occurrence with parameters of its own, of the same numbers."""
    own = "cat  k1 a1 t1\ntack  t2 a2 k2\nat  a3 t3\n"
    tied = model_of(tmp_path / "tied", silence=False)
    apart = model_of(tmp_path / "apart", silence=False, lexicon=own)
    apart.set({name: tied.parameters[_phone(name)] for name in apart.parameters})
    data = batch()
    (loss, slopes), (same, parts) = (m.value_and_grad(**data) for m in (tied, apart))
    assert loss == pytest.approx(same, rel=1e-12)
    for name, slope in slopes.items():
        found = sum(part for place, part in parts.items() if _phone(place) == name)
        np.testing.assert_allclose(found, slope, rtol=1e-9, atol=1e-12)


def _phone(name: str) -> str:
    """`phone[k1].stay` as `phone[k].stay`."""
    head, _, rest = name.partition("]")
    return head.rstrip("123") + "]" + rest


def test_words_that_are_much_worse_are_still_right(tmp_path: Path) -> None:
    """Thousands of nats lie between words, more than single precision has between its numbers."""
    data = batch(size=40.0)
    exact, single = (model_of(tmp_path, dtype=dtype) for dtype in ("float64", "float32"))
    inputs = {name: data[name] for name in ("x", "x.length")}
    right, found = exact.predict(**inputs)["scores"], single.predict(**inputs)["scores"]
    assert np.ptp(right, axis=1).max() > 500
    np.testing.assert_allclose(found, right, rtol=2e-6)
    assert single.loss(**data) == pytest.approx(exact.loss(**data), rel=1e-6)


def test_recordings_that_are_too_short_beside_others(tmp_path: Path) -> None:
    data = batch()
    data["x.length"][::3] = 4
    model = model_of(tmp_path)
    inputs = {name: data[name] for name in ("x", "x.length")}
    found = model.predict(**inputs)["scores"]
    whole = model.predict(x=data["x"])["scores"]
    short = data["x.length"] == 4
    assert (found[short] < -1e29).all()
    assert (found[~short] > -1e4).all()
    full = data["x.length"] == 19
    np.testing.assert_array_equal(found[full], whole[full])
    assert model.loss(**data) == np.inf
    loss = model.loss(**{name: array[~short] for name, array in data.items()})
    spelt = found[~short, data["word"][~short]]
    assert loss == pytest.approx(-spelt.mean(), rel=1e-12)


def test_the_same_bits_for_any_number_of_threads(tmp_path: Path) -> None:
    found = []
    for threads in (1, 2, 3):
        model = model_of(tmp_path, dtype="float32", threads=threads)
        losses = [row["loss"] for row in model.fit(batch(80))]
        found.append((losses, {n: a.tobytes() for n, a in model.free.items()}))
    assert found[0] == found[1] == found[2]
