"""Diagnostics as text and as data."""

from __future__ import annotations

import json

import pytest

from tiedgraph.diagnostics import Diagnostics, Source, Span
from tiedgraph.render import LINE, printable, render_json, render_text


def place(source: Source, word: str) -> Span:
    start = source.text.index(word)
    return Span(source, start, start + len(word))


def error(text: str, word: str, **more: str) -> str:
    diagnostics = Diagnostics()
    diagnostics.error("E0301", "shapes disagree", place(Source("a.tie", text), word), **more)
    return render_text(diagnostics)


def lines(*rows: str) -> str:
    return "\n".join(rows)


def test_a_place_with_label_and_hint() -> None:
    text = "a = 1\n" * 9 + "h = dense(x)\n"
    assert error(text, "dense", label="this one", hint="another") == lines(
        "error[E0301]: shapes disagree",
        "  --> a.tie:10:5",
        "   |",
        "10 | h = dense(x)",
        "   |     ^^^^^ this one",
        "   = hint: another",
    )


def test_several_places_in_two_files() -> None:
    first = Source("a.tie", "one = 1\ntwo = 2\nthree = 3\nfour = 4\n")
    second = Source("b.tie", "five = 5")
    diagnostics = Diagnostics()
    diagnostics.warn(
        "W0002",
        "too many",
        place(first, "four"),
        label="this",
        others=[(place(second, "five"), "there"), (place(first, "one"), "here"),
                (place(first, "4"), "beside")],
    )  # fmt: skip
    assert render_text(diagnostics) == lines(
        "warning[W0002]: too many",
        " --> a.tie:4:1",
        "  |",
        "1 | one = 1",
        "  | --- here",
        "...",
        "4 | four = 4",
        "  | ^^^^ this",
        "  |        - beside",
        " ::: b.tie:1:1",
        "  |",
        "1 | five = 5",
        "  | ---- there",
    )


def test_without_a_place() -> None:
    diagnostics = Diagnostics()
    diagnostics.error("E0502", "'a.tie' cannot be read", hint="look there")
    diagnostics.error("E0502", "'b.tie' cannot be read")
    assert render_text(diagnostics) == lines(
        "error[E0502]: 'a.tie' cannot be read",
        "  = hint: look there",
        "",
        "error[E0502]: 'b.tie' cannot be read",
    )
    assert render_text(Diagnostics()) == ""


@pytest.mark.parametrize(
    ("text", "word", "shown", "marks"),
    [
        ("\ta\tbb", "bb", "    a   bb", "        ^^"),
        ("中文 = ü x", "ü", "中文 = ü x", "       ^"),
        ("a = 中文", "中文", "a = 中文", "    ^^^^"),
        ("a\u0301 = x", "x", "a\u0301 = x", "    ^"),
        ("a \x1b[31m b", "b", "a \\x1b[31m b", "           ^"),
        ("a\u202e b", "b", "a\\u202e b", "         ^".removeprefix(" ")),
        ("a = b\r\nc", "b", "a = b", "    ^"),
        ("block f {\n  a\n}", "block f {\n  a\n}", "block f {", "^^^^^^^^^"),
    ],
    ids=["tabs", "before", "wide", "combining", "escape", "override", "windows", "lines"],
)
def test_columns(text: str, word: str, shown: str, marks: str) -> None:
    rows = error(text, word).split("\n")
    assert rows[3] == f"1 | {shown}"
    assert rows[4] == f"  | {marks}"


def test_an_empty_place_at_the_end_is_marked() -> None:
    source = Source("a.tie", "a =\nb")
    diagnostics = Diagnostics()
    diagnostics.error("E0101", "no value", Span(source, 3, 3), label="here")
    diagnostics.error("E0101", "no end", Span(source, 5, 5))
    text = render_text(diagnostics)
    assert "1 | a =\n  |    ^ here" in text
    assert "2 | b\n  |  ^" in text


def test_long_lines_are_cut_around_the_place() -> None:
    for text in ("x" * 500 + " here " + "y" * 500, "here " + "y" * 500, "x" * 500 + " here"):
        rows = error(text, "here").split("\n")
        assert len(rows[3]) <= LINE + len("1 | ... ") + len(" ...")
        start = rows[4].index("^")
        assert rows[3][start : start + 4] == "here"
        assert rows[4].count("^") == 4


def test_a_huge_line_is_quick_to_show() -> None:
    text = error("x" * 1_000_000 + " here", "here")
    assert len(text) < 1000


def test_nothing_reaches_the_terminal_but_printable_characters() -> None:
    nasty = "".join(chr(code) for code in (*range(32), 127, 0x85, 0x9B, 0x2028, 0x202E, 0xD800))
    source = Source(f"dir{nasty}.tie", f"a {nasty.replace(chr(10), '')} b")
    diagnostics = Diagnostics()
    diagnostics.error("E0101", f"m{nasty}", place(source, "b"), label=nasty, hint=nasty)
    text = render_text(diagnostics)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert len(text.split("\n")) == 6
    assert printable("a\n\x1b\u202eü") == "a\\x0a\\x1b\\u202eü"


def test_colour_only_where_it_is_wanted() -> None:
    source = Source("a.tie", "a = 1")
    diagnostics = Diagnostics()
    diagnostics.error("E0101", "bad", place(source, "a"), label="l", hint="h")
    coloured = render_text(diagnostics, colour=True)
    assert "\x1b[1;31merror[E0101]\x1b[0m" in coloured
    assert "\x1b" not in render_text(diagnostics, colour=False)
    plain = coloured
    for code in ("\x1b[1;31m", "\x1b[1;34m", "\x1b[1;36m", "\x1b[1m", "\x1b[0m"):
        plain = plain.replace(code, "")
    assert plain == render_text(diagnostics)


def test_data() -> None:
    source = Source("a.tie", "one = 1\ntwo = 2\n")
    diagnostics = Diagnostics()
    span = Span(source, 8, 11)
    diagnostics.warn("W0002", "bad", span, label="l", others=[(Span(source, 0, 9), "o")], hint="h")
    diagnostics.error("E0502", "no place")
    first, second = json.loads(json.dumps(render_json(diagnostics)))
    assert first == {
        "code": "W0002", "severity": "warning", "message": "bad", "file": "a.tie",
        "line": 2, "column": 1, "end_line": 2, "end_column": 4, "label": "l",
        "others": [{"file": "a.tie", "line": 1, "column": 1, "end_line": 2, "end_column": 2,
                    "label": "o"}],
        "hint": "h",
    }  # fmt: skip
    assert second["file"] is None
    assert second["line"] is None
    assert first.keys() == second.keys()
