"""Word bigrams in the ARPA format, in which SRILM, KenLM and others write language models.

    \\data\\
    ngram 1=3
    ngram 2=1

    \\1-grams:
    -0.5  cat  -0.3
    ...

Numbers are logarithms to base 10: of a word's probability behind the one before it, and of the
weight that words get which no bigram names (Katz 1987). `<s>` and `</s>` are the begin and the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import log
from pathlib import Path

from tiedgraph.diagnostics import DataError
from tiedgraph.recognition.vocabulary import NEVER
from tiedgraph.runtime.datafile import read_text

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
_COUNT = re.compile(r"ngram\s+(\d+)\s*=\s*(\d+)")
_SECTION = re.compile(r"\\(\d+)-grams:")
TEN = log(10.0)
ZERO = -99.0  # stands for the logarithm of nothing


@dataclass(frozen=True)
class Arpa:
    """Natural logarithms. words: of each its probability and its weight of what is not named;
    pairs: of the bigrams that are named. order: of the file; only two words are used."""

    path: Path
    words: dict[str, tuple[float, float]]
    pairs: dict[tuple[str, str], float]
    order: int


def read(path: Path) -> Arpa:
    """Reads a file. Raises DataError, with its name and the line."""
    lines = _Lines(path, read_text(path))
    counts = _counts(lines)
    words: dict[str, tuple[float, float]] = {}
    pairs: dict[tuple[str, str], float] = {}
    for order, size in counts.items():
        _section(lines, order)
        found = 0
        for parts in lines.entries():
            found += 1
            if order > 2:
                continue
            likely, gram, weight = _entry(lines, parts, order)
            if (gram[0] in words) if order == 1 else ((gram[0], gram[1]) in pairs):
                lines.refuse(f"'{' '.join(gram)}' stands twice")
            if order == 1:
                words[gram[0]] = (likely, weight)
                continue
            for word in gram:
                if word not in words:
                    lines.refuse(f"'{word}' is not among the 1-grams")
            pairs[gram[0], gram[1]] = likely
        if found != size:
            lines.refuse(f"there are {found} {order}-grams, but the head says {size}")
    if lines.line != "\\end\\":
        lines.refuse("\\end\\ is missing")
    return Arpa(path, words, pairs, max(counts))


class _Lines:
    """The lines of a file, and which one is at hand."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.number = 0
        self.line = ""
        self._rest = iter(text.splitlines())

    def next(self) -> bool:
        """Goes on to the next line that is not empty."""
        for line in self._rest:
            self.number += 1
            self.line = line.strip()
            if self.line:
                return True
        self.line = ""
        return False

    def entries(self) -> Iterator[list[str]]:
        """Lines up to the next that begins with a backslash and a name."""
        while self.next() and not (_SECTION.fullmatch(self.line) or self.line == "\\end\\"):
            yield self.line.split()

    def refuse(self, message: str) -> None:
        raise DataError(f"{self.path}:{max(self.number, 1)}: {message}")


def _counts(lines: _Lines) -> dict[int, int]:
    """The head: how many there are of each length."""
    while lines.next() and lines.line != "\\data\\":
        pass
    if lines.line != "\\data\\":
        raise DataError(
            f"{lines.path} is no language model in the ARPA format: \\data\\ is missing"
        )
    counts: dict[int, int] = {}
    while lines.next() and (found := _COUNT.fullmatch(lines.line)):
        if int(found[1]) != len(counts) + 1:
            lines.refuse(f"'ngram {len(counts) + 1}=' is expected here")
        counts[int(found[1])] = int(found[2])
    if not counts:
        lines.refuse("'ngram 1=', the number of words, is missing")
    return counts


def _section(lines: _Lines, order: int) -> None:
    found = _SECTION.fullmatch(lines.line)
    if found is None or int(found[1]) != order:
        lines.refuse(f"\\{order}-grams: is expected here, not '{lines.line[:60]}'")


def _entry(lines: _Lines, parts: list[str], order: int) -> tuple[float, list[str], float]:
    """Log probability, words and weight of one line."""
    if len(parts) not in (1 + order, 2 + order):
        lines.refuse(f"a line of the {order}-grams is a logarithm, {order} words and a weight")
    numbers = [parts[0], *parts[1 + order :]]
    found = []
    for text in numbers:
        try:
            found.append(float(text))
        except ValueError:
            lines.refuse(f"'{text[:60]}' is not a number")
    if not found[0] <= 1e-3 or not found[-1] < 100:
        lines.refuse(f"{numbers[0]} is not the logarithm of a probability")
    logs = [NEVER if value <= ZERO else value * TEN for value in found]
    return logs[0], parts[1 : 1 + order], logs[1] if len(logs) > 1 else 0.0
