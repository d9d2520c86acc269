"""Chains of states: the oracle by enumeration and hmmlearn, kernels by the oracle."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from test_kernels import compare_model

import tiedgraph.api as tg
from tiedgraph.ops.lattice import lattice

LEXICON = """;;; a comment
tack  t a k
cat   k a t  # and another
tack(2)  t k
tack  t a k
at    a t
"""
MODEL = """
input x: float[4, time]
target word: class from "words.dict"
unit phone from "words.dict" {{
    {more}states = {states}
    duration = {duration}
    emission = {emission}
}}
{silence}
words = chain phone by "words.dict" {between}
loss {loss}(words, word)
output spoken = decode(words)
output scores = word_scores(words)
metric word_error(words, word)
"""
CASES = {
    "likelihood": {},
    "silence": {"between": "silence", "unit": "unit silence"},
    "optional silence": {"between": "silence", "unit": "unit silence optional"},
    "duration": {"duration": 2, "between": "silence", "unit": "unit silence optional"},
    "mixtures": {"emission": "gaussian(x, mixtures=2)"},
    "codebook": {"emission": "mixture(y)", "more": "y = codebook(x, 19)"},
    "network": {"emission": "scores(y)", "more": "y = conv1d(x, 6, window=1)"},
    "over words": {"loss": "discriminate", "between": "silence", "unit": "unit silence optional"},
    "skips": {"states": 3, "entries": "skip = true\n"},
    "skips over words": {
        "states": 4,
        "entries": "skip = true\n",
        "duration": 2,
        "between": "silence",
        "unit": "unit silence optional",
        "loss": "discriminate",
    },
    "network over words": {
        "loss": "discriminate",
        "emission": "scores(y)",
        "more": "y = conv1d(x, 6, window=1)",
    },
}


def write(folder: Path, **case: object) -> Path:
    unit = case.get("unit", "")
    silence = f"{unit} {{ states = 1, emission = gaussian(x) }}" if unit else ""
    text = MODEL.format(
        states=case.get("states", 2),
        more=case.get("entries", ""),
        duration=case.get("duration", 1),
        emission=case.get("emission", "gaussian(x)"),
        silence=silence,
        between=f"between {case['between']}" if unit else "",
        loss=case.get("loss", "likelihood"),
    )
    more = str(case.get("more", ""))
    text = text.replace("unit phone", f"{more}\nunit phone", 1)
    (folder / "words.dict").write_text(LEXICON)
    path = folder / "words.tie"
    path.write_text(text)
    return path


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_kernels_match_the_oracle(case: str, dtype: str, tmp_path: Path) -> None:
    path = write(tmp_path, **CASES[case])
    fixed = path.read_text().replace("time]", "14]")
    for text in (path.read_text(), fixed) if case == "optional silence" else (fixed,):
        path.write_text(text)
        model = tg.compile(path, dtype=dtype, seed=3)
        compare_model(model, dtype, (17,) if dtype == "float32" else (1, 5), least=6)


# ---------------------------------------------------------------- one chain


def draw(states: int, steps: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(states, steps)) * 3, rng.normal(size=states)


@pytest.mark.parametrize(("loose", "over"), [(0, 0), (1, 0), (0, 2), (1, 2), (0, 3)])
def test_the_sum_is_over_all_ways(loose: int, over: int) -> None:
    """Every sequence of positions that holds, goes on by one, or skips, counted out."""
    rows, steps = [0, 1, 2, 3, 1], 7
    scores, odds = draw(4, steps)
    odds = np.append(odds, 0.4)
    p = 1 / (1 + np.exp(-odds[rows]))
    last = len(rows) - 1
    skips = [-1, 4 if over else -1, -1, -1, -1]
    q = np.where(np.array(skips) >= 0, 1 / (1 + np.exp(-odds[skips])), 0.0)
    total, visits, best = 0.0, np.zeros((steps, len(rows))), []
    made = np.zeros((3, len(rows)))
    for begin, end in product({0, loose}, {last, last - loose}):
        for moves in product(range(3 if over else 2), repeat=steps - 1):
            moves = np.array((0, 1, over))[list(moves)]
            way = begin + np.concatenate([[0], np.cumsum(moves)])
            if way[-1] != end or any(q[s] == 0 for s in way[:-1][moves > 1]):
                continue
            weight = np.exp(scores[np.take(rows, way), range(steps)].sum())
            for s, moved in zip(way[:-1], moves, strict=True):
                weight *= (1 - p[s]) * (q[s] if moved > 1 else 1 - q[s]) if moved else p[s]
                weight *= 0.5 if loose and moved == 1 and s == last - loose else 1
            weight *= (1 - p[end]) * (0.25 if loose and end < last else 0.5 if loose else 1)
            total += weight
            visits[range(steps), way] += weight
            for row, by in zip(made, (0, 1, over), strict=True):
                np.add.at(row, way[:-1][moves == by], weight)
            made[1, end] += weight
            best.append(weight)
    made[2] *= over > 0
    found = lattice(scores, odds, rows, loose, skips, over)
    np.testing.assert_allclose([found.held, found.left, found.skipped], made / total, atol=1e-12)
    assert np.log(total) == pytest.approx(found.total, abs=1e-12)
    np.testing.assert_allclose(found.visits, visits / total, atol=1e-12)
    np.testing.assert_allclose(found.visits.sum(axis=1), 1, atol=1e-12)
    assert len(best) >= 10


def test_what_is_added_to_a_step_is_added_to_the_sum() -> None:
    scores, odds = draw(3, 9)
    added = np.linspace(-5, 8, 9)
    first, second = (lattice(x, odds, [0, 2, 1], 0) for x in (scores, scores + added))
    assert second.total - first.total == pytest.approx(added.sum(), abs=1e-10)
    np.testing.assert_allclose(first.visits, second.visits, atol=1e-12)


def test_a_recording_that_is_too_short_cannot_be() -> None:
    scores, odds = draw(3, 2)
    assert lattice(scores, odds, [0, 1, 2], 0).total == -np.inf


def test_a_chain_is_what_hmmlearn_computes() -> None:
    """Which ends in any state: a last state of its own, with one frame, makes it end in ours."""
    hmm = pytest.importorskip("hmmlearn.hmm")
    rng = np.random.default_rng(1)
    size, count, steps = 3, 4, 25
    means, variances = rng.normal(size=(count, size)), rng.uniform(0.5, 2, (count, size))
    odds, x = rng.normal(size=count), rng.normal(size=(steps, size))
    scores = -0.5 * (
        ((x[None] - means[:, None]) ** 2 / variances[:, None]).sum(axis=2)
        + np.log(2 * np.pi * variances).sum(axis=1)[:, None]
    )
    p = 1 / (1 + np.exp(-odds))
    peer = hmm.GaussianHMM(count + 1, "diag")
    peer.startprob_ = np.eye(count + 1)[0]
    moves = np.eye(count + 1)
    for s in range(count):
        moves[s, s : s + 2] = p[s], 1 - p[s]
    peer.transmat_ = moves
    far = np.full((1, size), 1e3)
    peer.means_ = np.concatenate([means, far])
    peer.covars_ = np.concatenate([variances, np.ones((1, size))])
    total, posteriors = peer.score_samples(np.concatenate([x, far]))
    found = lattice(scores, odds, list(range(count)), 0)
    assert found.total == pytest.approx(total + 0.5 * size * np.log(2 * np.pi), abs=1e-9)
    np.testing.assert_allclose(found.visits, posteriors[:-1, :-1], atol=1e-9)


def test_ten_thousand_frames_in_single_precision(tmp_path: Path) -> None:
    path = write(tmp_path)
    rng = np.random.default_rng(2)
    arrays = {
        "x": rng.normal(size=(1, 4, 10_000)).astype(np.float32) * 3,
        "x.length": np.array([10_000]),
        "word": np.array([1]),
    }
    exact, single = (tg.compile(path, dtype=dtype) for dtype in ("float64", "float32"))
    (loss, slopes), (near, found) = (m.value_and_grad(**arrays) for m in (exact, single))
    assert near == pytest.approx(loss, rel=1e-6)
    for name, slope in slopes.items():
        np.testing.assert_allclose(found[name], slope, rtol=0.02, atol=0.02 * np.abs(slope).max())
