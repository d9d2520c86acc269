"""What was said, as text: a line of words for each recording; and how wrong a recogniser is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tiedgraph.diagnostics import DataError, nearest
from tiedgraph.recognition.vocabulary import Vocabulary
from tiedgraph.runtime.datafile import read_text


@dataclass(frozen=True)
class Transcripts:
    """lines: the words of each recording; origin: the file, or "" for words given in Python."""

    lines: tuple[tuple[str, ...], ...]
    origin: str = ""

    def where(self, recording: int) -> str:
        """The place that a message begins with."""
        return f"{self.origin}:{recording + 1}" if self.origin else f"recording {recording}"

    def check_count(self, recordings: int) -> None:
        """Raises DataError unless there is a line for each recording."""
        if len(self.lines) != recordings:
            raise DataError(
                f"{self.origin or 'the words'}: {len(self.lines)} lines for {recordings} "
                "recordings; one line is the words of one recording"
            )

    def numbers(self, vocabulary: Vocabulary) -> list[tuple[int, ...]]:
        """The words as numbers of the lexicon. Raises DataError for one that it does not have."""
        known = vocabulary.numbers
        for i, words in enumerate(self.lines):
            if not words:
                raise DataError(f"{self.where(i)}: there are no words")
            for word in words:
                if word not in known:
                    hint = nearest(word, known)
                    raise DataError(
                        f"{self.where(i)}: '{word[:60]}' is not in the lexicon"
                        + (f"; {hint}" if hint else f" of {len(known)} words")
                    )
        return [tuple(known[word] for word in words) for words in self.lines]


def read(path: Path) -> Transcripts:
    """Reads a file of one line a recording. Raises DataError."""
    lines = read_text(path).splitlines()
    return Transcripts(tuple(tuple(line.split()) for line in lines), str(path))


def given(words: Sequence[str | Sequence[str]]) -> Transcripts:
    """Words of each recording, as one text or one by one."""
    lines = (item.split() if isinstance(item, str) else item for item in words)
    return Transcripts(tuple(tuple(line) for line in lines))


@dataclass(frozen=True)
class WordErrors:
    """How many words were taken for others, put in and left out, of how many that were said."""

    substituted: int = 0
    inserted: int = 0
    deleted: int = 0
    words: int = 0

    @property
    def rate(self) -> float:
        """Errors for each word that was said."""
        return (self.substituted + self.inserted + self.deleted) / max(1, self.words)

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(
            self.substituted + other.substituted,
            self.inserted + other.inserted,
            self.deleted + other.deleted,
            self.words + other.words,
        )


def word_errors(said: Sequence[str], heard: Sequence[str]) -> WordErrors:
    """The fewest changes that make `heard` of `said` (Levenshtein 1966)."""
    # Of each beginning of `heard`: changes, and among them substituted, inserted and deleted.
    row = [(j, 0, j, 0) for j in range(len(heard) + 1)]
    for i, word in enumerate(said, 1):
        above, row = row, [(i, 0, 0, i)]
        for j, other in enumerate(heard, 1):
            n, s, a, d = above[j - 1]
            ways = [(n, s, a, d) if word == other else (n + 1, s + 1, a, d)]
            n, s, a, d = row[j - 1]
            ways.append((n + 1, s, a + 1, d))
            n, s, a, d = above[j]
            ways.append((n + 1, s, a, d + 1))
            row.append(min(ways, key=lambda way: way[0]))
    _, substituted, inserted, deleted = row[-1]
    return WordErrors(substituted, inserted, deleted, len(said))
