"""Trained models recognise and align recordings, from Python and from the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tiedgraph.api as tg
from tiedgraph.cli.main import app
from tiedgraph.diagnostics import DataError
from tiedgraph.recognition import arpa, recogniser, textgrid
from tiedgraph.recognition.parts import Clock, Part, Parts
from tiedgraph.recognition.recogniser import Recogniser
from tiedgraph.recognition.transcripts import WordErrors, read, word_errors

LEXICON = "cat  k a t\ntack  t a k\nat  a t\nact  a k t\n"
SPELT = {"cat": "kat", "tack": "tak", "at": "at", "act": "akt", "take": "tak"}
MODEL = """
input x: float[3, time]
target word: class from "words.dict"
unit phone from "words.dict" { states = 2, emission = gaussian(x) }
unit silence optional { states = 1, emission = gaussian(x) }
words = chain phone by "words.dict" between silence
loss likelihood(words, word)
output heard = decode(words)
train { method = em, epochs = 8 }
"""


def said(*strings: str, seed: int = 0) -> tuple[dict[str, np.ndarray], list[list[tuple]]]:
    """Recordings of strings of words, in which each state has a place of its own and lasts a few
    frames; and of each the runs of its states: phoneme, number, first frame, frames."""
    rng = np.random.default_rng(seed)
    centres = {
        (phone, s): np.random.default_rng((7, ord(phone), s)).normal(size=3) * 4
        for phone in "kat"
        for s in range(2)
    }
    x = np.zeros((len(strings), 3, 120), np.float32)
    lengths, truth = [], []
    for n, string in enumerate(strings):
        runs, t = [], 0
        states: list[tuple] = [("silence", 0)]
        for word in string.split():
            states += [(phone, s) for phone in SPELT[word] for s in range(2)]
        for state in [*states, ("silence", 0)]:
            frames = int(rng.integers(1, 4))
            middle = centres.get(state, np.zeros(3))
            x[n, :, t : t + frames] = (middle + rng.normal(size=(frames, 3)) * 0.5).T
            runs.append((*state, t, frames))
            t += frames
        lengths.append(t)
        truth.append(runs)
    return {"x": x, "x.length": np.array(lengths)}, truth


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained model, with its lexicon beside."""
    folder = tmp_path_factory.mktemp("words")
    (folder / "words.dict").write_text(LEXICON)
    (folder / "words.tie").write_text(MODEL)
    words = np.random.default_rng(1).permutation(["cat", "tack", "at", "act"] * 15)
    data, _ = said(*words, seed=1)
    data["word"] = np.array([list(SPELT).index(word) for word in words])
    model = tg.compile(folder / "words.tie")
    model.fit(data)
    model.save(folder / "run")
    np.savez(folder / "train.npz", **data)
    return folder


@pytest.fixture(scope="module")
def model(trained: Path) -> tg.Model:
    return tg.load(trained / "run")


def test_words_are_those_of_the_models_own_output(model: tg.Model, trained: Path) -> None:
    with np.load(trained / "train.npz") as file:
        data = {name: file[name] for name in ("x", "x.length")}
    found = Recogniser(model).decode(data, best=4)
    words = Recogniser(model).vocabulary.words
    heard = model.predict(**data)["heard"].astype(int)
    assert [item.words for item in found] == [(words[i],) for i in heard]
    for item in found:
        scores = [hypothesis.score for hypothesis in item.hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert len({hypothesis.words for hypothesis in item.hypotheses}) == len(scores)
    # A batch's size and the number of threads change nothing.
    alone = tg.load(trained / "run", threads=1)
    assert Recogniser(alone).decode(data, best=4, batch=20) == found


def test_alignments_find_where_states_were_put(model: tg.Model) -> None:
    strings = ("cat at", "act", "tack tack cat")
    data, truth = said(*strings)
    found = Recogniser(model).align(data, [string.split() for string in strings])
    for item, runs, string in zip(found, truth, strings, strict=True):
        parts = item.hypotheses[0].parts
        assert [part.name for part in parts.words] == string.split()
        wanted = [Part(f"{name}.{s}", t, t + frames) for name, s, t, frames in runs]
        assert list(parts.states) == wanted
        assert parts.phones[0] == Part("silence", 0, wanted[0].end)
        assert [part.name for part in parts.phones[1:-1]] == list(
            "".join(SPELT[word] for word in string.split())
        )
        assert parts.phones[-1].end == item.frames


def test_strings_are_recognised_and_their_scores_are_those_of_their_alignment(
    model: tg.Model, tmp_path: Path
) -> None:
    strings = ("cat at", "act", "tack tack cat at", "at at act")
    data, _ = said(*strings)
    recogniser = Recogniser(model)
    found = recogniser.decode(data, loop=True, best=5, insertion_penalty=2.0)
    assert [" ".join(item.words) for item in found] == list(strings)
    for n, item in enumerate(found):
        for hypothesis in item.hypotheses:
            one = {"x": data["x"][n : n + 1], "x.length": data["x.length"][n : n + 1]}
            (again,) = recogniser.align(one, [hypothesis.words])
            score = hypothesis.score + 2.0 * len(hypothesis.words)
            assert again.hypotheses[0].score == pytest.approx(score, abs=1e-8)
            assert again.hypotheses[0].parts == hypothesis.parts
    # A bigram that never lets "at" follow "cat" is obeyed.
    (tmp_path / "two.arpa").write_text(
        "\\data\\\nngram 1=4\nngram 2=2\n\n\\1-grams:\n-1 <s> 0\n-1 cat -99\n-1 at\n-1 </s>\n\n"
        "\\2-grams:\n-0.3 cat cat\n-0.3 cat </s>\n\n\\end\\\n"
    )
    ruled = recogniser.decode(data, bigram=tmp_path / "two.arpa", best=2)
    assert recogniser.unknown == ("tack", "act")
    assert ruled[0].words != ("cat", "at")
    for item in ruled:
        assert {"cat", "at"} >= set(item.words)
        assert ("cat", "at") not in set(zip(item.words, item.words[1:], strict=False))


def test_short_recordings_are_told_and_the_others_recognised(model: tg.Model) -> None:
    data, _ = said("cat", "at")
    data["x.length"][1] = 3
    first, short = Recogniser(model).decode(data)
    assert first.words == ("cat",)
    assert (short.words, short.problem) == (
        (), "too few frames, 3: the shortest word needs 4",
    )  # fmt: skip
    _, short = Recogniser(model).decode(data, loop=True, beam=5.0)
    assert short.problem
    _, short = Recogniser(model).align(data, ["cat", "at at"])
    assert short.problem == "too few frames, 3: these words need 8"


def test_a_beam_that_loses_all_is_widened(model: tg.Model) -> None:
    data, _ = said("act", "cat")
    for how in ({}, {"loop": True}):
        exact = Recogniser(model).decode(data, **how)
        narrow = Recogniser(model).decode(data, beam=1e-3, **how)
        assert all(item.words for item in narrow)
        assert any(item.beam > 1e-3 for item in narrow)
        wide = Recogniser(model).decode(data, beam=1e4, **how)
        assert [replace(item, beam=inf) for item in wide] == exact


def test_other_lexicons_need_no_training(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "new.dict").write_text("take  t a k\nkat  k a t\n")
    new = Recogniser(tg.load(trained / "run", lexicon=tmp_path / "new.dict"))
    data, _ = said("take")
    data["word"] = np.array([3])  # of another lexicon; not needed
    assert new.decode(data)[0].words == ("take",)


@pytest.mark.parametrize(
    ("said_words", "heard", "wanted"),
    [
        ("a b c", "a b c", (0, 0, 0, 3)),
        ("a b c", "a x c", (1, 0, 0, 3)),
        ("a b c", "a c", (0, 0, 1, 3)),
        ("a b c", "a b b c", (0, 1, 0, 3)),
        ("a b", "", (0, 0, 2, 2)),
        ("", "a", (0, 1, 0, 0)),
        ("a b c d", "x c d e", (1, 1, 1, 4)),
    ],
)
def test_word_errors(said_words: str, heard: str, wanted: tuple) -> None:
    assert word_errors(said_words.split(), heard.split()) == WordErrors(*wanted)


def test_seconds_of_frames() -> None:
    clock = Clock()
    assert [clock.at(t, 10) for t in (0, 1, 9, 10)] == [0.0, 0.0175, 0.0975, 0.115]
    assert clock.whole(10) == 0.115


@pytest.mark.parametrize(
    ("layer", "first", "whole"),
    [("window=5", 2, 13), ("window=5, stride=2", 2, 13), ("window=3, stride=2, pad=same", 0, 13)],
)
def test_seconds_of_frames_behind_layers(
    layer: str, first: int, whole: int, tmp_path: Path
) -> None:
    """first: the middle input frame of the first row."""
    (tmp_path / "words.dict").write_text(LEXICON)
    text = MODEL.replace("target", f"z = conv1d(x, 2, {layer}) |> tanh\ntarget")
    (tmp_path / "words.tie").write_text(text.replace("gaussian(x)", "gaussian(z)"))
    recogniser = Recogniser(tg.compile(tmp_path / "words.tie"))
    _, (scores,) = recogniser.score({"x": np.zeros((1, 3, 13))})
    clock, rows = recogniser.clock(), len(scores)
    middles = [0.0125 + 0.01 * (first + clock.every * row) for row in range(rows)]
    borders = [clock.at(row, rows) for row in range(1, rows)]
    np.testing.assert_allclose(borders, np.add(middles[1:], middles[:-1]) / 2, atol=1e-6)
    assert clock.whole(rows) == pytest.approx(0.025 + 0.01 * (whole - 1))


HEAD = "\\data\\\nngram 1=2\n\n\\1-grams:\n"
WRONG = {
    "no head": ("-1 a\n", "is no language model in the ARPA format"),
    "no counts": ("\\data\\\n\n\\1-grams:\n", ":3: 'ngram 1=', the number of words, is missing"),
    "order": ("\\data\\\nngram 2=1\n", ":2: 'ngram 1=' is expected here"),
    "section": ("\\data\\\nngram 1=2\n\n-1 a\n", r":4: \1-grams: is expected here, not '-1 a'"),
    "few": (f"{HEAD}-1 a\n\\end\\\n", ":6: there are 1 1-grams, but the head says 2"),
    "number": (f"{HEAD}-1 a\nx b\n\\end\\\n", ":6: 'x' is not a number"),
    "sign": (f"{HEAD}0.5 a\n", ":5: 0.5 is not the logarithm of a probability"),
    "not a number": (f"{HEAD}nan a\n", ":5: nan is not the logarithm of a probability"),
    "columns": (f"{HEAD}-1 a b c\n", ":5: a line of the 1-grams is a logarithm, 1 words"),
    "twice": (f"{HEAD}-1 a\n-1 a\n\\end\\\n", ":6: 'a' stands twice"),
    "cut": (f"{HEAD}-1 a\n-1 b\n", r":6: \end\ is missing"),
    "unknown": (
        "\\data\\\nngram 1=1\nngram 2=1\n\\1-grams:\n-1 a\n\\2-grams:\n-1 a b\n\\end\\\n",
        ":7: 'b' is not among the 1-grams",
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_language_models(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.arpa"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        arpa.read(path)
    assert message in str(caught.value)


def test_language_models_of_three_words_lend_their_bigrams(tmp_path: Path) -> None:
    path = tmp_path / "three.arpa"
    path.write_bytes(
        b"\xef\xbb\xbftext before\r\n\\data\\\r\nngram 1=2\r\nngram 2=1\r\nngram 3=1\r\n\r\n"
        b"\\1-grams:\r\n-1\ta\t-0.5\r\n-2\tb\r\n\r\n\\2-grams:\r\n-0.25\ta b\t-0.1\r\n\r\n"
        b"\\3-grams:\r\n-0.1\ta b a\r\n\r\n\\end\\\r\n"
    )
    found = arpa.read(path)
    ten = np.log(10)
    assert found.words["a"] == pytest.approx((-ten, -0.5 * ten))
    assert found.pairs["a", "b"] == pytest.approx(-0.25 * ten)
    assert found.order == 3


# ---------------------------------------------------------------- the command line


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with recordings of strings and what was said in them."""
    data, _ = said("cat at", "act", "tack")
    np.savez(tmp_path / "said.npz", **data)
    (tmp_path / "said.txt").write_text("cat at\nact\ntack\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, code: int = 0) -> tuple[str, str]:
    done = CliRunner().invoke(app, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        assert isinstance(done.exception, DataError | tg.TieError | OSError), done.exception
        assert code == 1
        return done.stdout, str(done.exception)
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def test_decode_tells_words_and_errors(trained: Path, place: Path) -> None:
    common = ["decode", str(trained / "run"), "--data", "said.npz", "--loop"]
    out, _ = run(*common, "--reference", "said.txt")
    lines = out.splitlines()
    assert lines[0].startswith("0  cat 0.")
    assert ", at 0." in lines[0]
    assert lines[3] == "word error 0: 0 substituted, 0 inserted, 0 deleted, of 4 words"
    out, told = run(*common, "--best", "2", "-o", "heard.json", "--beam", "0.001")
    assert out == ""
    assert "it was widened" in told
    heard = json.loads((place / "heard.json").read_text())
    assert len(heard["recordings"]) == 3
    assert [w["word"] for w in heard["recordings"][0]["hypotheses"][0]["words"]] == ["cat", "at"]
    out, _ = run(*common, "--format", "json")
    assert json.loads(out)["recordings"][1]["hypotheses"][0]["words"][0]["word"] == "act"


def test_longer_ngrams_are_told(trained: Path, place: Path) -> None:
    text = "\\data\\\nngram 1=4\n{0}\n\\1-grams:\n-1 <s>\n-1 cat\n-1 at\n-1 </s>\n{1}\\end\\\n"
    told = {}
    for order in (1, 3):
        heads = "".join(f"ngram {n}=0\n" for n in range(2, order + 1))
        sections = "".join(f"\\{n}-grams:\n" for n in range(2, order + 1))
        (place / "model.arpa").write_text(text.format(heads, sections))
        words = ["decode", str(trained / "run"), "--data", "said.npz", "--bigram", "model.arpa"]
        _, told[order] = run(*words)
    assert "n-grams of more than two words are not used; the file has up to 3" in told[3]
    assert "n-grams" not in told[1]


def test_align_writes_json_and_textgrids(trained: Path, place: Path) -> None:
    praat = pytest.importorskip("praatio.textgrid")
    common = ["align", str(trained / "run"), "--data", "said.npz", "--words", "said.txt"]
    out, _ = run(*common, "--format", "json")
    told = json.loads(out)["recordings"][0]
    grids = ["--textgrid", "grids", "-o", "aligned.json"]
    run(*common, *grids)
    assert json.loads((place / "aligned.json").read_text())["recordings"][0] == told
    assert sorted(path.name for path in (place / "grids").iterdir()) == [
        f"{i}.TextGrid" for i in range(3)
    ]
    grid = praat.openTextgrid(str(place / "grids/0.TextGrid"), includeEmptyIntervals=False)
    assert grid.tierNames == textgrid.TIERS
    assert grid.maxTimestamp == told["seconds"]
    for tier, rows in (("word", "words"), ("phone", "phones"), ("state", "states")):
        entries = [tuple(entry) for entry in grid.getTier(tier).entries]
        assert entries == [(row["start"], row["end"], row[tier]) for row in told[rows]]
    out, _ = run(*common)
    assert out.startswith("0  cat 0.")


def test_targets_are_aligned_without_a_file(trained: Path) -> None:
    out, _ = run("align", str(trained / "run"), "--data", str(trained / "train.npz"))
    assert len(out.splitlines()) == 60


MISTAKES = {
    "words": ("align --words other.txt", "other.txt:2: 'atc' is not in the lexicon; did you mean"),
    "empty line": ("align --words gap.txt", "gap.txt:2: there are no words"),
    "count": ("align --words short.txt", "short.txt: 1 lines for 3 recordings"),
    "no words": ("align", "is missing"),
    "reference": ("decode --reference short.txt", "short.txt: 1 lines for 3 recordings"),
    "binary": ("align --words said.npz", "said.npz is no text in UTF-8"),
    "arpa": ("decode --bigram said.txt", "is no language model in the ARPA format"),
    "other words": ("decode --bigram else.arpa", "none of the 4 words of the lexicon, such as"),
    "chain": ("decode --chain word", "no chain 'word'; did you mean 'words'?"),
    "phoneme": ("decode --lexicon bad.dict", "has the phoneme 'x', of which there is no unit"),
    "folder": ("decode -o nowhere/heard.json", "No such file or directory"),
    "file": ("align --words said.txt --textgrid said.txt", "File exists"),
}


@pytest.mark.parametrize(("words", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_told_and_nothing_is_written(
    words: str, message: str, trained: Path, place: Path
) -> None:
    (place / "other.txt").write_text("cat\natc\nact\n")
    (place / "gap.txt").write_text("cat\n\nact\n")
    (place / "short.txt").write_text("cat\n")
    (place / "bad.dict").write_text("axe  a x\n")
    (place / "else.arpa").write_text(f"{HEAD}-1 dog\n-1 cow\n\n\\end\\\n")
    before = sorted(place.rglob("*"))
    command, *more = words.split()
    _, told = run(command, str(trained / "run"), "--data", "said.npz", *more, code=1)
    assert message in told
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        ["decode", "--loop", "--bigram", "x.arpa"],
        ["decode", "--insertion-penalty", "1"],
        ["decode", "--lm-weight", "2"],
        ["decode", "--loop", "--insertion-penalty", "nan"],
        ["decode", "--bigram", "x.arpa", "--lm-weight", "inf"],
        ["decode", "--beam", "0"],
        ["decode", "--beam", "nan"],
        ["decode", "-o", "heard.txt"],
        ["align", "-o", "heard.csv"],
    ],
    ids=" ".join,
)
def test_wrong_usage(words: list[str], trained: Path, place: Path) -> None:
    run(words[0], str(trained / "run"), "--data", "said.npz", *words[1:], code=2)


def test_models_without_words_and_with_several_chains(trained: Path, tmp_path: Path) -> None:
    plain = tg.compile_text("input x: float[2]\noutput y = dense(x, 1)")
    with pytest.raises(DataError, match="has no chain of words"):
        Recogniser(plain)
    (tmp_path / "words.dict").write_text(LEXICON)
    (tmp_path / "two.tie").write_text(MODEL + 'more = chain phone by "words.dict"\n')
    two = tg.compile(tmp_path / "two.tie")
    with pytest.raises(DataError, match="several chains; choose one of: words, more"):
        Recogniser(two)
    assert Recogniser(two, "more").vocabulary.quiet == 0


def test_transcripts_may_have_other_line_ends(tmp_path: Path) -> None:
    (tmp_path / "said.txt").write_bytes(b"\xef\xbb\xbfcat at\r\nact\r\n")
    assert read(tmp_path / "said.txt").lines == (("cat", "at"), ("act",))
    assert recogniser.Recognised(3, ()).words == ()


def test_textgrids_take_any_word(tmp_path: Path) -> None:
    praat = pytest.importorskip("praatio.textgrid")
    word = 'say"öffnet"'
    parts = Parts((Part(word, 1, 3),), (Part("a", 0, 2), Part("b", 2, 4)), ())
    path = tmp_path / "one.TextGrid"
    path.write_bytes(textgrid.textgrid(parts, 4, Clock()))
    tier = praat.openTextgrid(str(path), includeEmptyIntervals=False).getTier("word")
    assert [tuple(entry) for entry in tier.entries] == [(0.0175, 0.0375, word)]
