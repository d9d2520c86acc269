"""Every example of the language's documents is the language."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tiedgraph.diagnostics import CODES, Diagnostics, Source
from tiedgraph.passes import limits
from tiedgraph.render import render_text
from tiedgraph.syntax import scan
from tiedgraph.syntax.expected import FORMS
from tiedgraph.syntax.format import format_source
from tiedgraph.syntax.parser import DEPTH, parse

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")


def blocks(text: str) -> list[str]:
    return re.findall(r"^```tie\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_parse(page: Path) -> None:
    for text in blocks(page.read_text(encoding="utf-8")):
        diagnostics = Diagnostics()
        parse(Source(page.name, text), diagnostics)
        assert render_text(diagnostics) == ""


def test_examples_of_the_language_are_formatted() -> None:
    found = blocks(LANGUAGE)
    assert len(found) > 10
    for text in found:
        assert format_source(Source("language.md", text)) == text


def test_every_statement_is_described() -> None:
    for word in FORMS:
        assert re.search(rf"`[^`]*\b{word}\b", LANGUAGE), word


def test_the_limits_are_the_real_ones() -> None:
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", LANGUAGE, re.MULTILINE))
    assert rows["words, numbers and signs in a file"] == f"{scan.TOKENS:,}"
    assert rows["size of a file"] == f"{scan.FILE_SIZE // 2**20} MiB"
    assert rows["brackets inside one another"] == str(scan.NESTING)
    assert rows["operators, calls and brackets inside one another in an expression"] == str(DEPTH)
    assert rows["characters of a name; digits of a number"] == f"{scan.NAME_LENGTH}; {scan.DIGITS}"
    assert rows["layers and functions after blocks and repeats are expanded"] == (
        f"{limits.INSTANCES:,}"
    )
    assert rows["blocks inside blocks"] == str(limits.BLOCK_DEPTH)
    assert rows["expressions inside one another, through blocks too"] == (
        str(limits.EXPRESSION_DEPTH)
    )
    assert 2 ** int(rows["numbers in one value or parameter"][2:]) == limits.ELEMENTS
    assert 2 ** int(rows["numbers in all parameters"][2:]) == limits.PARAMETERS
    assert rows["names of run-time sizes"] == str(limits.SYMBOLS)
    assert rows["imported files; how deep imports nest"] == (
        f"{limits.IMPORTS}; {limits.IMPORT_DEPTH}"
    )


def test_codes_that_are_named_exist() -> None:
    assert set(re.findall(r"\b[EW]\d{4}\b", LANGUAGE)) <= CODES.keys()
