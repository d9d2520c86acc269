"""Expectation-maximisation: no step is worse, and what is shared is estimated from all its uses."""

from __future__ import annotations

import os
import signal
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import tiedgraph.api as tg
from tiedgraph.cli.main import app
from tiedgraph.diagnostics import DataError, RunError, TieError
from tiedgraph.passes.spoken import untrained
from tiedgraph.runtime.data import load
from tiedgraph.runtime.train import Interrupted, Position, Snapshot, fit

LEXICON = "cat  k a t\ntack  t a k\nat  a t\nact  a k t\n"
MODEL = """
input x: float[3, time]
target word: class from "words.dict"
unit phone from "words.dict" { states = 2, emission = gaussian(x, mixtures=MIXTURES) }
unit silence optional { states = 1, emission = gaussian(x) }
words = chain phone by "words.dict" between silence
loss likelihood(words, word)
metric word_error(words, word)
train {
    method = em(floor=0)
    epochs = 9
    batch = 7
}
"""


def model_of(folder: Path, mixtures: int = 1, more: str = "", lexicon: str = LEXICON) -> tg.Model:
    folder.mkdir(exist_ok=True)
    (folder / "words.dict").write_text(lexicon)
    path = folder / "words.tie"
    path.write_text(MODEL.replace("MIXTURES", str(mixtures)) + more)
    return tg.compile(path, dtype="float64")


def said(samples: int = 24) -> dict[str, np.ndarray]:
    """Words of states that each have a place of their own."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 2, 3)) * 3
    spelt = [[1, 0, 2], [2, 0, 1], [0, 2], [0, 1, 2]]
    x, lengths, word = np.zeros((samples, 3, 40)), [], rng.integers(0, 4, samples)
    for n in range(samples):
        frames = [rng.normal(size=(2, 3)) * 0.2]
        for phone in spelt[word[n]]:
            for state in range(2):
                noise = rng.normal(size=(rng.integers(1, 4), 3)) * 0.6
                frames.append(centres[phone, state] + noise)
        whole = np.concatenate([*frames, rng.normal(size=(1, 3)) * 0.2]).T
        lengths.append(whole.shape[1])
        x[n, :, : whole.shape[1]] = whole
    return {"x": x, "x.length": np.array(lengths), "word": word}


@pytest.mark.parametrize("mixtures", [1, 2])
def test_the_likelihood_never_falls(mixtures: int, tmp_path: Path) -> None:
    model = model_of(tmp_path, mixtures)
    losses = [row["loss"] for row in model.fit(said())]
    before_split = 3  # the row of epoch 4 is of the numbers after the split
    for i in range(len(losses) - 1):
        if mixtures == 1 or i + 1 != before_split:
            assert losses[i + 1] <= losses[i] + 1e-8 * abs(losses[i]), (i, losses)
    assert losses[-1] < losses[0] - 10
    assert model.evaluate(said())["word_error"] < 0.1


CODEBOOK = "book = codebook(x, 8)\nunit phone"


def with_codebook(folder: Path, more: str = "", lexicon: str = LEXICON) -> tg.Model:
    model_of(folder, more=more, lexicon=lexicon)
    path = folder / "words.tie"
    text = path.read_text().replace("gaussian(x, mixtures=1)", "mixture(book)")
    path.write_text(text.replace("unit phone", CODEBOOK))
    return tg.compile(path, dtype="float64")


def test_the_likelihood_never_falls_over_a_codebook(tmp_path: Path) -> None:
    model = with_codebook(tmp_path)
    losses = [row["loss"] for row in model.fit(said(), epochs=14)]
    after = losses[1:]  # the first epoch is of Gaussians that are all alike
    assert (np.diff(after) <= 1e-8 * np.abs(after[:-1])).all()
    assert model.evaluate(said())["word_error"] < 0.1


def test_tied_weights_over_a_codebook_are_pooled(tmp_path: Path) -> None:
    more = "tie hard phone[k], phone[t]\n"
    tied = with_codebook(tmp_path / "tied", more=more)
    one = with_codebook(tmp_path / "one", lexicon=LEXICON.replace("k", "t"))
    histories = [[row["loss"] for row in model.fit(said())] for model in (tied, one)]
    np.testing.assert_allclose(histories[0], histories[1], rtol=1e-10)


def test_skips_are_learnt(tmp_path: Path) -> None:
    """Two states were said where the units have three: the one in between is passed over."""
    model = model_of(tmp_path)
    path = tmp_path / "words.tie"
    path.write_text(path.read_text().replace("{ states = 2", "{ states = 3, skip = true"))
    model = tg.compile(path, dtype="float64")
    before = model.parameters["phone[a].skip"].copy()
    losses = [row["loss"] for row in model.fit(said())]
    assert (np.diff(losses) <= 1e-8 * abs(losses[0])).all()
    after = np.concatenate([model.parameters[f"phone[{name}].skip"] for name in "akt"])
    assert before.shape == (1,)
    assert (after > before).any()


def test_what_is_tied_is_what_is_pooled(tmp_path: Path) -> None:
    """Two phonemes tied are one phoneme in the lexicon."""
    tied = model_of(tmp_path / "tied", more="tie hard phone[k], phone[t]\n")
    one = model_of(tmp_path / "one", lexicon=LEXICON.replace("k", "t"))
    data = said()
    histories = [[row["loss"] for row in model.fit(data)] for model in (tied, one)]
    np.testing.assert_allclose(histories[0], histories[1], rtol=1e-10)
    np.testing.assert_allclose(
        tied.parameters["phone[k].state[1].mean"], one.parameters["phone[t].state[1].mean"],
        rtol=1e-8,
    )  # fmt: skip


def test_ties_of_parts_hold(tmp_path: Path) -> None:
    more = "tie hard phone[*].stay\ntie hard phone[*].state[*].log_variance\n"
    more += "tie hard phone[k].state[0].mean = negate(phone[t].state[1].mean)\n"
    model = model_of(tmp_path, more=more)
    losses = [row["loss"] for row in model.fit(said())]
    assert (np.diff(losses) <= 1e-8 * abs(losses[0])).all()
    found = model.parameters
    assert (found["phone[a].stay"] == found["phone[k].stay"]).all()
    same = found["phone[a].state[0].log_variance"] == found["phone[t].state[1].log_variance"]
    assert same.all()
    opposite = found["phone[k].state[0].mean"] == -found["phone[t].state[1].mean"]
    assert opposite.all()


def test_a_frozen_number_stays(tmp_path: Path) -> None:
    more = "freeze phone[a].state[0].mean\ninit phone[a].state[0].mean = constant(0.25)\n"
    model = model_of(tmp_path, more=more)
    model.fit(said())
    assert (model.parameters["phone[a].state[0].mean"] == 0.25).all()


def test_renaming_the_words_and_batches_change_nothing(tmp_path: Path) -> None:
    data = said()
    renamed = LEXICON.replace("cat ", "x1 ").replace("tack ", "x2 ")
    models = [model_of(tmp_path / "a"), model_of(tmp_path / "b", lexicon=renamed)]
    models.append(model_of(tmp_path / "c", more="train { }\n"))
    losses = [models[0].fit(data), models[1].fit(data), models[2].fit(data, batch=24)]
    rows = [[row["loss"] for row in history] for history in losses]
    assert rows[0] == rows[1]
    np.testing.assert_allclose(rows[0], rows[2], rtol=1e-9)


def test_a_phoneme_that_is_not_said_keeps_its_numbers(tmp_path: Path) -> None:
    model = model_of(tmp_path, lexicon=LEXICON + "zoo  z u\n")
    model.fit(said())
    assert np.isfinite(model.loss(**said()))
    assert (model.parameters["phone[z].state[0].mean"] == 0).all()


@pytest.mark.parametrize("least", [2, 3])
def test_recordings_shorter_than_their_word_are_refused(least: int, tmp_path: Path) -> None:
    """`at` has two phonemes of two states; units of three states with skips need two each, too."""
    model_of(tmp_path)
    path = tmp_path / "words.tie"
    if least == 3:
        path.write_text(path.read_text().replace("{ states = 2", "{ states = 3, skip = true"))
    model = tg.compile(path, dtype="float64")
    data = said()
    row = int(np.flatnonzero(data["word"] == 2)[0])
    data["x.length"][row] = 3
    with pytest.raises(DataError, match=f"sample {row} .* 3 steps.*'at' .* least 4 states"):
        model.fit(data)
    assert model.loss(**data) == np.inf
    assert np.isfinite(model.evaluate(data)["word_error"])
    data["x.length"][row] = 4
    assert np.isfinite(model.loss(**data))
    model.fit(data, epochs=1)


def test_phonemes_without_training_are_told(tmp_path: Path) -> None:
    """After training, in the run, and where a later lexicon has one, by its line."""
    np.savez(tmp_path / "data.npz", **said())
    output = "output spoken = decode(words)\n"
    model_of(tmp_path, more=output, lexicon=LEXICON + "zoo  z u\ntoo  t u\n")
    run, command = str(tmp_path / "run"), CliRunner()
    file = str(tmp_path / "words.tie")
    data = ["--data", str(tmp_path / "data.npz")]
    done = command.invoke(app, ["train", file, *data, "-o", run, "--epochs", "2"])
    assert done.exit_code == 0, done.output
    assert "W0005" in done.stderr
    assert "began with: 'u' and 'z'" in done.stderr
    new = tmp_path / "new.dict"
    new.write_text("tat  t a t\nuk   u k\nkat  k a t\nat  a t\n")
    for asked in (["evaluate", run, *data], ["predict", run, *data, "-o", str(tmp_path / "p.npz")]):
        done = command.invoke(app, [*asked, "--lexicon", str(new)])
        assert done.exit_code == 0, done.output
        assert "phoneme 'u', which had no training data" in done.stderr
        assert "new.dict:2:1" in done.stderr
        assert done.stderr.count("warning") == 1
    with pytest.warns(UserWarning, match="phoneme 'u'"):
        tg.load(run, lexicon=new)
    new.write_text("tat  t a t\nokay  o k\n")
    done = command.invoke(app, ["evaluate", run, *data, "--lexicon", str(new)])
    assert isinstance(done.exception, TieError)
    assert "E0506" in str(done.exception)
    assert "new.dict:2:1" in str(done.exception)


def test_what_is_tied_to_what_was_heard_is_trained(tmp_path: Path) -> None:
    more = "tie hard phone[z].emission, phone[t].emission\n"
    model = model_of(tmp_path, more=more, lexicon=LEXICON + "zoo  z u\n")
    model.fit(said(), epochs=1)
    assert untrained(model.checked, model.heard) == {"words": ("u",)}
    model.save(tmp_path / "run")
    again = tg.load(tmp_path / "run")
    assert again.heard == model.heard == {"phone[a]", "phone[k]", "phone[t]"}


def test_new_words_need_no_training(tmp_path: Path) -> None:
    model = model_of(tmp_path)
    model.fit(said())
    model.save(tmp_path / "run")
    (tmp_path / "new.dict").write_text("tat  t a t\nack  a k\ntack  t a k\n")
    other = tg.load(tmp_path / "run", lexicon=tmp_path / "new.dict")
    assert sum(a.size for a in other.free.values()) == sum(a.size for a in model.free.values())
    data = said()
    known = data["word"] == 1
    arrays = {name: array[known] for name, array in data.items()} | {
        "word": np.full(known.sum(), 2)
    }
    assert other.evaluate(arrays)["word_error"] == 0
    (tmp_path / "bad.dict").write_text("toe  t o\n")
    with pytest.raises(TieError, match="phoneme 'o'"):
        tg.load(tmp_path / "run", lexicon=tmp_path / "bad.dict")


def test_em_needs_numbers_of_units(tmp_path: Path) -> None:
    model = tg.compile_text(
        "input x: float[3]\ntarget t: float[3]\ny = scale(x)\nloss mse(y, t)\n"
        "train { method = em }\n"
    )
    with pytest.raises(RunError, match="needs loss likelihood"):
        model.fit({"x": np.zeros((4, 3)), "t": np.zeros((4, 3))})


def test_em_has_no_loss_but_the_likelihood(tmp_path: Path) -> None:
    model = model_of(tmp_path, more="loss discriminate(words, word)\n")
    with pytest.raises(RunError, match="'discriminate' reads the units too"):
        model.fit(said())


def test_what_em_cannot_train_waits_for_the_gradient(tmp_path: Path) -> None:
    """A layer before the frames, and soft ties."""
    soft = "tie soft drawn = phone[*].state[*].mean { components = 2 }\n"
    for old, new, more in (
        ("unit phone", "y = conv1d(x, 3, window=1)\nunit phone", ""),
        ("", "", soft),
    ):
        model_of(tmp_path, more=more)
        path = tmp_path / "words.tie"
        text = path.read_text().replace(old, new, 1).replace("gaussian(x, m", "gaussian(y, m")
        path.write_text(text if old else path.read_text())
        with pytest.raises(RunError, match=r"cannot train 'y.weight'|no soft ties such as 'drawn'"):
            tg.compile(path).fit(said(), epochs=1)
        path.write_text(path.read_text().replace("em(floor=0)", "em(floor=0, epochs=2)"))
        losses = [row["loss"] for row in tg.compile(path, dtype="float64").fit(said(), epochs=3)]
        assert losses[2] < losses[0]


def test_em_then_gradient(tmp_path: Path) -> None:
    model = model_of(tmp_path)
    path = tmp_path / "words.tie"
    settings = "method = em(epochs=5, floor=0)\n    optimizer = adam(rate=0.02)"
    path.write_text(path.read_text().replace("method = em(floor=0)", settings))
    model = tg.compile(path, dtype="float64")
    losses = [row["loss"] for row in model.fit(said())]
    assert losses[-1] < losses[5]


# ---------------------------------------------------------------- interruption


class Kept:
    """The last checkpoint."""

    place = "a run"

    def save(self, now: Snapshot, best: Snapshot | None, position: Position) -> None:
        self.last = now, deepcopy(position)


@pytest.mark.parametrize(
    ("calls", "where"),
    [(2, "train"), (14, "train"), (4, "measure")],
    ids=["the flat start", "an epoch with a split", "after the step"],
)
def test_what_was_stopped_goes_on_to_the_same_bits(
    calls: int, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped, other = (model_of(tmp_path, 2) for _ in range(3))
    held_out = load(said(8), whole.checked, "float64")
    data = load(said(), whole.checked, "float64")
    expected = fit(whole, data, held_out, whole.settings)
    name = "gather_batch" if where == "train" else "evaluate_batch"
    method, left = getattr(stopped, name), iter(range(calls))

    def stopping(*args: Any, **named: Any) -> Any:
        if next(left, None) == calls - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return method(*args, **named)

    monkeypatch.setattr(stopped, name, stopping)
    store = Kept()
    with pytest.raises(Interrupted):
        fit(stopped, data, held_out, stopped.settings, store=store)
    now, position = store.last
    assert position.batch == 0
    other.restore(now)
    found = fit(other, data, held_out, other.settings, store=store, start=position)
    for name, numbers in whole.free.items():
        assert (numbers == other.free[name]).all(), name
    assert [row["validate_loss"] for row in found] == [row["validate_loss"] for row in expected]
