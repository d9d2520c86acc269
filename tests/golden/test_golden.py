"""Files with an expected answer.

ok      compiles without a word
bad     NAME.tie gives the diagnostics in NAME.txt; parts/ holds what they import
syntax  every form of every statement: parses and formats
fmt     NAME.tie formats to NAME.out
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tiedgraph.compiler import check
from tiedgraph.diagnostics import CODES, Diagnostics, Source
from tiedgraph.render import render_text
from tiedgraph.syntax.format import format_source
from tiedgraph.syntax.parser import parse, read_source

HERE = Path(__file__).parent
Golden = Callable[[Path, str], None]


def files(folder: str) -> list[Path]:
    found = sorted((HERE / folder).glob("*.tie"))
    assert found
    return found


def named(path: Path) -> str:
    return path.stem


def source_of(path: Path) -> Source:
    diagnostics = Diagnostics()
    source = read_source(path, diagnostics)
    assert source is not None, render_text(diagnostics)
    return source


@pytest.mark.parametrize("path", files("ok"), ids=named)
def test_ok(path: Path) -> None:
    checked = check(path)
    assert render_text(checked.diagnostics) == ""
    assert checked.graph is not None


@pytest.mark.parametrize("path", files("bad"), ids=named)
def test_bad(path: Path, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    text = render_text(check(path.name).diagnostics)
    assert text, f"{path.name} has nothing wrong"
    golden(path.with_suffix(".txt"), text + "\n")


def test_every_code_has_a_bad_file() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (HERE / "bad").glob("*.txt")]
    shown = set(re.findall(r"^(?:error|warning)\[(\w+)\]", "\n".join(texts), re.MULTILINE))
    missing = sorted(CODES.keys() - shown)
    assert not missing, f"no file in tests/golden/bad gives {', '.join(missing)}"


def test_every_answer_has_its_file() -> None:
    for folder, suffix in (("bad", ".txt"), ("fmt", ".out")):
        answers = (HERE / folder).glob(f"*{suffix}")
        alone = [path.name for path in answers if not path.with_suffix(".tie").is_file()]
        assert not alone, f"expected texts without a file: {alone}"


@pytest.mark.parametrize("path", files("syntax") + files("ok"), ids=named)
def test_syntax(path: Path) -> None:
    diagnostics = Diagnostics()
    parse(source_of(path), diagnostics)
    assert render_text(diagnostics) == ""


@pytest.mark.parametrize("path", files("fmt"), ids=named)
def test_format(path: Path, golden: Golden) -> None:
    golden(path.with_suffix(".out"), format_source(source_of(path)))
