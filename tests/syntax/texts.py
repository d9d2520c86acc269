"""Texts for properties: good programs with odd layout, damaged ones, and soup."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

GOLDEN = Path(__file__).parent.parent / "golden"
PROGRAMS = [
    path.read_text(encoding="utf-8")
    for folder in ("ok", "syntax", "fmt")
    for path in sorted((GOLDEN / folder).glob("*.tie"))
]
Draw = Callable[[st.SearchStrategy[str]], str]

# ---------------------------------------------------------------- good programs

words = st.sampled_from(["a", "b2", "_x", "weight", "chain", "by", "long_name_of_a_value" * 2])
numbers = st.sampled_from(["0", "12", "1.5", ".5", "3.", "1e-3", "2E+6"])
strings = st.sampled_from(['""', '"a.dict"', '"# ü"'])
indices = st.sampled_from(["", "", "[ 2 ]", "[1 .. 3]", "[*]", "[aa]", "[loss]"])
paths = st.tuples(words, indices, st.sampled_from(["", " . loss", ".b2[0].c"])).map("".join)
comments = st.sampled_from(["#", "# one", "#two ", "# ü // \" ' ("])
# What may stand between two tokens inside brackets: `\1` becomes a comment, see `program`.
GAP, LINE = "\x01", "\x02"


def _joined(items: list[str]) -> str:
    return f",{GAP}".join(items)


def _extended(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    argument = st.one_of(inner, st.tuples(words, inner).map(lambda p: f"{p[0]} ={GAP}{p[1]}"))
    arguments = st.tuples(st.lists(inner, max_size=2), st.lists(argument, max_size=2)).map(
        lambda p: _joined([*p[0], *[a for a in p[1] if "=" not in a],
                           *[a for a in p[1] if "=" in a]])
    )  # fmt: skip
    call = st.tuples(words, arguments).map(lambda p: f"{p[0]}({GAP}{p[1]}{GAP})")
    stage = st.tuples(st.sampled_from(["", "s1 : "]), st.one_of(words, call)).map("".join)
    operator = st.sampled_from(["+", "-", "*", "/"])
    return st.one_of(
        call,
        st.lists(inner, max_size=3).map(lambda items: f"[{GAP}{_joined(items)}{GAP}]"),
        st.tuples(inner, operator, inner).map(
            lambda p: f"({GAP}{p[0]}{GAP}{p[1]}{GAP}{p[2]}{GAP})"
        ),
        st.tuples(inner, stage, stage).map(
            lambda p: f"({GAP}{p[0]}{GAP}|>{GAP}{p[1]}{GAP}|> {p[2]}{GAP})"
        ),
        inner.map(lambda x: f"-{x}"),
    )


expressions = st.recursive(
    st.one_of(numbers, strings, paths, st.sampled_from(["true", "false"])), _extended, max_leaves=8
)
calls = st.tuples(words, expressions).map(lambda p: f"{p[0]}({GAP}{p[1]}{GAP})")
entries = st.lists(
    st.tuples(words, expressions).map(lambda p: f"{p[0]}={p[1]}"), max_size=3
).flatmap(
    lambda items: st.sampled_from([", ", LINE, f" ,{LINE}"]).map(
        lambda between: "{" + between.join(items) + "}"
    )
)
views = st.tuples(words, paths).map(lambda p: f"{p[0]}({GAP}flip({GAP}{p[1]}{GAP}), 2{GAP})")
statements = st.recursive(
    st.one_of(
        words.map(lambda x: f"model  {x}"),
        strings.map(lambda x: f"import {x}"),
        st.tuples(words, expressions).map(lambda p: f"{p[0]}={p[1]}"),
        st.tuples(words, expressions).map(lambda p: f"const {p[0]}= {p[1]}"),
        st.tuples(words, expressions).map(lambda p: f"input {p[0]} :float[{GAP}{p[1]}{GAP}]"),
        st.tuples(words, strings).map(lambda p: f"target {p[0]}: class  from {p[1]}"),
        st.tuples(expressions, expressions).map(lambda p: f"loss {p[0]} weight {p[1]}"),
        expressions.map(lambda x: f"metric {x}"),
        st.tuples(words, expressions).map(lambda p: f"output {p[0]} = {p[1]}"),
        st.tuples(paths, calls).map(lambda p: f"init {p[0]}={p[1]}"),
        st.tuples(paths, views).map(lambda p: f"tie  hard {p[0]} ={p[1]}"),
        st.tuples(paths, paths).map(lambda p: f"tie hard {p[0]} ,*.{p[1]}"),
        st.tuples(paths, calls).map(lambda p: f"tie hard {p[0]} by {p[1]}"),
        st.tuples(words, paths, entries).map(lambda p: f"tie soft {p[0]}={p[1]}{p[2]}"),
        st.tuples(paths, words).map(lambda p: f"tie shared {p[0]} across {p[1]}"),
        st.tuples(words, entries).map(lambda p: f"unit {p[0]} optional{p[1]}"),
        entries.map(lambda x: f"train{x}"),
        st.tuples(words, words, strings).map(lambda p: f"{p[0]} = chain {p[1]} by {p[2]}"),
    ),
    lambda inner: st.one_of(
        st.tuples(words, st.lists(inner, max_size=2)).map(
            lambda p: f"block {p[0]}({GAP}v{GAP}){{{LINE}" + LINE.join([*p[1], f"return v{LINE}}}"])
        ),
        st.tuples(words, st.lists(inner, max_size=2)).map(
            lambda p: f"task {p[0]} {{{LINE}" + LINE.join([*p[1], "}"])
        ),
    ),
    max_leaves=6,
)  # fmt: skip


@st.composite
def programs(draw: Draw) -> str:
    """A text that parses, with comments and line breaks wherever they may stand."""
    text = LINE.join(draw(st.lists(statements, max_size=5)) or [""]) + LINE
    pieces = []
    for character in text:
        if character == GAP:
            gap = draw(st.sampled_from(["", "", "", " ", "\n", "#\n", "\n \n#\n"]))
            pieces.append(gap.replace("#", f"  {draw(comments)}"))
        elif character == LINE:
            end = draw(st.sampled_from(["\n", "\n", ";", "\n\n\n", "#\n", "\n\n#\n#\n", "\n#\n\n"]))
            pieces.append(end.replace("#", draw(comments)))
        else:
            pieces.append(character)
    return "".join(pieces)


# ---------------------------------------------------------------- damaged programs and soup

_SNIPPETS = ["(", ")", "[", "]", "{", "}", "=", ",", ":", ".", "..", "|>", "-", "*", ";", "\n", "#",
             '"', "'", "é", "\0", "\r", "\u2028", "\ud800", "\ufeff", "1e999", "9" * 70, "x" * 201,
             "loss ", "return ", "tie ", "block f(", "{\n", "weight "]  # fmt: skip


@st.composite
def damaged(draw: Draw) -> str:
    """A golden file with some pieces lost, doubled, moved or put in."""
    text = draw(st.sampled_from(PROGRAMS))
    for _ in range(draw(st.integers(1, 6))):  # type: ignore[arg-type]
        i = draw(st.integers(0, len(text)))  # type: ignore[arg-type]
        j = min(len(text), i + draw(st.integers(0, 12)))  # type: ignore[arg-type]
        new = draw(st.sampled_from([*_SNIPPETS, "", "", text[i:j] * 2, text[:20]]))
        text = text[:i] + new + text[j:]
    return text


token_soup = st.lists(
    st.sampled_from(
        [*_SNIPPETS, " ", "a", "3", "hard ", "soft ", "input ", "train ", "true", "by "]
    ),
    max_size=60,
).map("".join)
