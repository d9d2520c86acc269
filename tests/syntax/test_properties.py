"""Properties of the parser and of `fmt` over generated, damaged and random texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import PROGRAMS, damaged, programs, token_soup

from tiedgraph.diagnostics import Diagnostics, Source, TieError
from tiedgraph.render import render_json, render_text
from tiedgraph.syntax import ast
from tiedgraph.syntax.format import WIDTH, format_source
from tiedgraph.syntax.parser import parse, read_source
from tiedgraph.syntax.scan import scan


def comments(text: str) -> list[str]:
    scanned = scan(Source("t.tie", text), Diagnostics())
    assert scanned is not None
    return sorted(token.text.rstrip() for token in scanned.raw if token.type == "COMMENT")


def tree(text: str) -> ast.File:
    diagnostics = Diagnostics()
    file = parse(Source("t.tie", text), diagnostics)
    assert file is not None
    assert not len(diagnostics), f"{text}\n{render_text(diagnostics)}"
    return file


def formats_well(text: str) -> None:
    once = format_source(Source("t.tie", text))
    assert format_source(Source("t.tie", once)) == once
    assert tree(once) == tree(text)
    assert comments(once) == comments(text)
    assert "\n\n\n" not in once
    assert not once.startswith("\n")
    assert not once or once.endswith("\n")
    assert not once.endswith("\n\n")
    assert all(line == line.rstrip() for line in once.split("\n"))


def survives(text: str) -> None:
    """Any text gives a tree or errors whose places lie in it, and both can be shown."""
    diagnostics = Diagnostics()
    file = parse(Source("t.tie", text), diagnostics)
    assert file is not None or diagnostics.errors
    for item in diagnostics:
        assert item.span is None or 0 <= item.span.start <= item.span.end <= len(text)
    shown = render_text(diagnostics)
    assert all(c.isprintable() or c == "\n" for c in shown if ord(c) < 0x300)
    shown.encode("utf-8")
    assert len(render_json(diagnostics)) == len(diagnostics)
    if diagnostics.errors:
        with pytest.raises(TieError):
            format_source(Source("t.tie", text))
    else:
        formats_well(text)


@pytest.mark.parametrize("text", PROGRAMS, ids=lambda text: text.strip()[:20])
def test_golden_files_format_well(text: str) -> None:
    formats_well(text)


@pytest.mark.parametrize("text", PROGRAMS, ids=lambda text: text.strip()[:20])
def test_every_prefix_gives_diagnostics(text: str) -> None:
    for end in range(0, len(text), max(1, len(text) // 40)):
        survives(text[:end])


@settings(max_examples=150)
@given(programs())
def test_programs_format_well(text: str) -> None:
    formats_well(text)


@settings(max_examples=150)
@given(damaged())
def test_damaged_programs_give_diagnostics(text: str) -> None:
    survives(text)


@settings(max_examples=150)
@given(token_soup)
def test_token_soup_gives_diagnostics(text: str) -> None:
    survives(text)


@settings(max_examples=150)
@given(st.text(max_size=200))
def test_random_text_gives_diagnostics(text: str) -> None:
    survives(text)


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_random_bytes_give_diagnostics(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = Path(tmp_path_factory.getbasetemp()) / "bytes.tie"
    path.write_bytes(data)
    diagnostics = Diagnostics()
    source = read_source(path, diagnostics)
    if source is None:
        assert [item.code for item in diagnostics] == ["E0502"]
    else:
        survives(source.text)


def test_lines_are_broken_at_the_width() -> None:
    for text in PROGRAMS:
        for line in format_source(Source("t.tie", text)).split("\n"):
            code = line.split("  #")[0]
            assert len(code) <= WIDTH or "(" not in code.strip("()"), line
