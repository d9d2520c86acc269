"""Word models as users see them: what is explained and drawn, names in selectors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tiedgraph.cli.main import app
from tiedgraph.compiler import check
from tiedgraph.explain import explain, explain_text
from tiedgraph.export.picture import picture
from tiedgraph.export.words import UnknownWord, words_svg
from tiedgraph.ir.graph import Graph
from tiedgraph.render import render_text

LEXICON = "tack  t a k\ncat   k a t\ntack(2)  t k\nat  a t\n"
MODEL = """input x: float[4, time]
target word: class from "words.dict"
BOOK
unit phone from "words.dict" { states = 2, emission = EMISSION }
unit silence optional { states = 1, emission = gaussian(x) }
words = chain phone by "words.dict" between silence
loss likelihood(words, word)
output spoken = decode(words)
metric word_error(words, word)
"""
EMISSIONS = {
    "gaussian": ("gaussian(x)", "", 16),
    "codebook": ("mixture(book)", "book = codebook(x, 5)", 10),
}


def write(folder: Path, more: str = "", kind: str = "gaussian", lexicon: str = LEXICON) -> Path:
    (folder / "words.dict").write_text(lexicon)
    emission, book, _ = EMISSIONS[kind]
    path = folder / "words.tie"
    path.write_text(MODEL.replace("BOOK", book).replace("EMISSION", emission) + more)
    return path


def graph_of(path: Path) -> Graph:
    found = check(path)
    assert found.graph is not None, render_text(found.diagnostics)
    return found.graph


def told(folder: Path, more: str) -> str:
    return render_text(check(write(folder, more)).diagnostics)


# ---------------------------------------------------------------- explain


@pytest.mark.parametrize("kind", EMISSIONS)
def test_uses_and_numbers_are_counted(kind: str, tmp_path: Path) -> None:
    found = explain(graph_of(write(tmp_path, "tie hard phone[t], phone[k]\n", kind)))
    (chain,) = found.chains
    assert (chain.words, chain.pronunciations, chain.states) == (3, 4, 7)
    each = EMISSIONS[kind][2] + 2  # two states and their log odds
    ends = 8 + 1
    assert chain.numbers == 2 * each + ends  # two of three phonemes are one
    assert chain.whole_words == (3 + 3 + 2) * each + 3 * 2 * ends
    uses = {p.name: (p.times, p.words) for p in chain.phonemes}
    assert uses["k"] == (3, ("tack", "cat"))
    assert uses["t"] == (4, ("tack", "cat", "at"))
    assert chain.phonemes[0].name == "a"
    assert len(chain.phonemes[0].words) == 3


def test_states_that_are_alike_are_one_row(tmp_path: Path) -> None:
    found = explain(graph_of(write(tmp_path)))
    text = explain_text(found)
    assert "phone[*].state[*].mean" in text
    assert "6 alike" in text
    assert len(text.splitlines()) < 45
    one = explain_text(found, "phone[k]")
    assert "tack, cat" in one
    assert "phone[k].state[1].mean" in one
    assert "tack, cat" in explain_text(found, "phone[k].state[1].mean")
    assert "layer      words.tie:" in explain_text(found, "phone[k].stay")


def test_explain_as_json(tmp_path: Path) -> None:
    path = str(write(tmp_path))
    done = CliRunner().invoke(app, ["explain", path, "phone[k]", "--format", "json"])
    (phoneme,) = json.loads(done.stdout)["phonemes"]
    assert phoneme["words"] == ["tack", "cat"]
    assert phoneme["chain"] == "words"
    done = CliRunner().invoke(app, ["explain", path, "phone[K]"])
    assert done.exit_code == 2
    assert "phone[k]" in done.output


@pytest.mark.parametrize("path", ["phone[*]", "phone[k]"])
def test_a_number_of_a_phoneme_is_that_of_each_of_its_states(path: str, tmp_path: Path) -> None:
    graphs = [
        check(write(tmp_path, more=f"freeze {path}{states}.mean\n")).graph
        for states in ("", ".state[*]")
    ]
    frozen = [{n for n, s in g.storages.items() if not s.trainable} for g in graphs if g]
    assert len(frozen) == 2
    assert frozen[0] == frozen[1] != set()


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize("kind", EMISSIONS)
def test_units_and_chains_are_one_box(kind: str, tmp_path: Path) -> None:
    what = picture(graph_of(write(tmp_path, kind=kind)))
    assert {"unit phone", "unit silence", "chain words"} <= set(what.boxes)
    assert len(what.boxes) <= 10
    assert ("unit phone", "chain words") in what.arrows
    assert all(box in what.boxes for arrow in what.arrows for box in arrow)


def test_words_are_drawn_with_what_they_share(tmp_path: Path) -> None:
    graph = graph_of(write(tmp_path))
    text = words_svg(graph, ["tack", "at"])
    states = (2 * 3 + 2) + (2 * 2 + 2) + (2 * 2 + 2)
    assert text.count("<circle") == states
    assert "tack (2)" in text
    assert f"{states} places" in text
    assert "7 sets of numbers" in text
    tied = graph_of(write(tmp_path, "tie hard phone[t].emission, phone[k].emission\n"))
    assert "5 sets of numbers" in words_svg(tied, ["tack", "at"])
    with pytest.raises(UnknownWord, match="did you mean 'tack'"):
        words_svg(graph, ["tacks"])


def test_graph_of_words_by_command(tmp_path: Path) -> None:
    path, out = str(write(tmp_path)), tmp_path / "w.svg"
    done = CliRunner().invoke(app, ["graph", path, "--word", "cat", "-o", str(out)])
    assert done.exit_code == 0
    assert out.read_text().startswith("<svg")
    done = CliRunner().invoke(app, ["graph", path, "--word", "cta", "-o", str(out)])
    assert done.exit_code == 2
    assert "did you mean 'cat'" in done.output


# ---------------------------------------------------------------- selectors


@pytest.mark.parametrize(
    "statement",
    [
        "tie hard phone[*].stay",
        "tie hard phone[k].state[1].mean, phone[t].state[0].mean",
        "tie hard phone[k].emission, phone[t].emission",
        "tie hard phone[k], phone[t]",
        "tie hard phone[*].emission",
        "tie hard phone[k].state[0].mean = negate(phone[t].state[0].mean)",
        "tie soft s = phone[*].state[*].mean { components = 3 }",
        "freeze phone[k].emission",
        "init phone[*].state[*].mean = normal(0, 0.5)",
    ],
)
def test_selectors_reach_into_units(statement: str, tmp_path: Path) -> None:
    assert told(tmp_path, statement + "\n") == ""


def test_the_emission_of_a_phoneme_is_all_but_its_moves(tmp_path: Path) -> None:
    graph = graph_of(write(tmp_path, "tie hard phone[k].emission, phone[t].emission\n"))
    views = {name: param.view.storage for name, param in graph.params.items()}
    assert views["phone[t].state[1].mean"] == "phone[k].state[1].mean"
    assert views["phone[t].stay"] == "phone[t].stay"
    assert views["phone[k].state[0].mean"] != views["phone[k].state[1].mean"]


@pytest.mark.parametrize(
    ("selector", "hint"),
    [
        ("phone[K].stay", "'phone[k].stay'"),
        ("phone[k].state[2].mean", "phone[k].state has 2 instances"),
        ("phone[k].emision", "'phone[k].emission'"),
        ("phone[*].state[*].meen", "'phone[*].state[*].mean'"),
        ("fone[k].stay", "'phone[k].stay'"),
    ],
)
def test_what_is_misspelt_is_told(selector: str, hint: str, tmp_path: Path) -> None:
    assert hint in told(tmp_path, f"freeze {selector}\n")


def test_units_of_unlike_states_cannot_be_tied(tmp_path: Path) -> None:
    text = told(tmp_path, "tie hard phone[k].emission, silence.emission\n")
    assert "E0407" in text
    assert "'state[1].mean'" in text.replace("log_variance", "mean")
