"""Lexicons: words and their pronunciations, in the format of the CMU Pronouncing Dictionary.

A line is a word and its phonemes, `HELLO  HH AH0 L OW1`; `WORD(2)` is another pronunciation of
WORD. Lines that begin with `;;;` or `#` are comments, as is what follows ` #`. A pronunciation that
stands several times is so many times as probable among those of its word.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from tiedgraph.diagnostics import Diagnostics, Source, Span

WORDS = 200_000  # most words of a lexicon
LONGEST = 200  # most phonemes of a word
_VARIANT = re.compile(r"(.+)\(\d+\)")
_PHONEME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Pronunciation:
    """word: its place in `Lexicon.words`; prior: among the pronunciations of that word."""

    word: int
    phonemes: tuple[str, ...]
    prior: float
    span: Span


@dataclass(frozen=True)
class Lexicon:
    """words: in the order in which they first stand; phonemes: all that occur, sorted."""

    words: tuple[str, ...]
    pronunciations: tuple[Pronunciation, ...]
    phonemes: tuple[str, ...]


def read(source: Source, diagnostics: Diagnostics) -> Lexicon | None:
    """The lexicon of a text; None after reports (E0505, E0501)."""
    words: dict[str, int] = {}
    found: Counter[tuple[int, tuple[str, ...]]] = Counter()
    places: dict[tuple[int, tuple[str, ...]], Span] = {}
    before = len(diagnostics.errors)
    for number, start in enumerate(source.line_starts, 1):
        line = source.line(number).split(" #")[0].split("\t#")[0]
        parts = line.split()
        if not parts or parts[0].startswith((";;;", "#")):
            continue
        span = Span(source, start, start + len(line.rstrip()))
        if _refused(parts, span, line, diagnostics):
            continue
        variant = _VARIANT.fullmatch(parts[0])
        word = words.setdefault(variant[1] if variant else parts[0], len(words))
        key = (word, tuple(parts[1:]))
        found[key] += 1
        places.setdefault(key, span)
        if len(words) > WORDS:
            diagnostics.error(
                "E0501", f"'{source.path}' has more than {WORDS} words", span,
                hint="take out what will not be said",
            )  # fmt: skip
            return None
    if not words and len(diagnostics.errors) == before:
        diagnostics.error(
            "E0505",
            f"'{source.path}' has no words",
            hint="a line is a word and its phonemes: hello  HH AH L OW",
        )
    if len(diagnostics.errors) > before:
        return None
    lines: Counter[int] = Counter()
    for (word, _), times in found.items():
        lines[word] += times
    pronunciations = sorted(found.items(), key=lambda item: item[0][0])
    return Lexicon(
        tuple(words),
        tuple(
            Pronunciation(word, phonemes, times / lines[word], places[word, phonemes])
            for (word, phonemes), times in pronunciations
        ),
        tuple(sorted({name for _, phonemes in found for name in phonemes})),
    )


def _refused(parts: list[str], span: Span, line: str, diagnostics: Diagnostics) -> bool:
    """Whether a line is no pronunciation; says why."""
    if len(parts) == 1 or len(parts) > 1 + LONGEST:
        diagnostics.error(
            "E0505" if len(parts) == 1 else "E0501",
            f"'{parts[0][:60]}' has {'no' if len(parts) == 1 else len(parts) - 1} phonemes",
            span,
            hint=f"write its phonemes behind it, at most {LONGEST}: hello  HH AH L OW",
        )
        return True
    for name in parts[1:]:
        if _PHONEME.fullmatch(name) is None:
            start = span.start + line.index(name, len(parts[0]))
            diagnostics.error(
                "E0505",
                f"'{name[:60]}' is not the name of a phoneme",
                Span(span.source, start, start + len(name)),
                hint="letters, digits and _, such as HH or AH0",
            )
            return True
    return False
