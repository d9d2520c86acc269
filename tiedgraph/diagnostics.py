"""Errors as data: where in which file, what is wrong, what disagrees with it, and a way out.

Nothing here prints; `tiedgraph.render` turns a diagnostic into text or JSON. This module uses the
standard library only, so that every floor above may report through it.
"""

from __future__ import annotations

import difflib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Source:
    """One text that was read: a `.tie` file, or a string given to the API.

    `path` is what messages show; it need not exist (`<text>` for strings).
    """

    path: str
    text: str = field(repr=False)

    @cached_property
    def line_starts(self) -> list[int]:
        """Offset of the first character of each line."""
        return [0] + [i + 1 for i, c in enumerate(self.text) if c == "\n"]

    def locate(self, offset: int) -> tuple[int, int]:
        """Line and column of a character offset, both from 1."""
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """Text of line `number` (from 1) without its end."""
        start = self.line_starts[number - 1]
        end = self.line_starts[number] if number < len(self.line_starts) else len(self.text)
        return self.text[start:end].rstrip("\r\n")


@dataclass(frozen=True)
class Span:
    """A stretch `start <= offset < end` of a source."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.locate(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.locate(self.start)[1]

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def __str__(self) -> str:
        return f"{self.source.path}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Diagnostic:
    """One finding.

    code: stable, such as `E0203`; it is a key of `CODES`.
    message: one sentence that names both sides of a disagreement.
    span: the place, or None where no file has one (a data file, say).
    label: a few words under the underlined place.
    others: further places with a few words each.
    hint: a way out.
    """

    code: str
    message: str
    span: Span | None = None
    label: str = ""
    others: tuple[tuple[Span, str], ...] = ()
    hint: str = ""
    severity: Severity = "error"


class Diagnostics:
    """Collects findings; a pass reports into it and goes on.

    At most `LIMIT` errors and as many warnings are kept: more help nobody, and a text of nothing
    but mistakes must not take long either.
    """

    LIMIT = 200

    def __init__(self) -> None:
        self._items: list[Diagnostic] = []
        self._known: set[Diagnostic] = set()
        self._left = {"error": self.LIMIT, "warning": self.LIMIT}

    @property
    def full(self) -> bool:
        """Whether further errors are dropped, so that their hints need no search."""
        return not self._left["error"]

    def error(
        self,
        code: str,
        message: str,
        span: Span | None = None,
        *,
        label: str = "",
        others: Iterable[tuple[Span | None, str]] = (),
        hint: str = "",
    ) -> None:
        """Adds an error; one that says the same of the same place is added once."""
        self._add("error", code, message, span, label, others, hint)

    def warn(
        self,
        code: str,
        message: str,
        span: Span | None = None,
        *,
        label: str = "",
        others: Iterable[tuple[Span | None, str]] = (),
        hint: str = "",
    ) -> None:
        """Adds a warning; one that says the same of the same place is added once."""
        self._add("warning", code, message, span, label, others, hint)

    def _add(
        self,
        severity: Severity,
        code: str,
        message: str,
        span: Span | None,
        label: str,
        others: Iterable[tuple[Span | None, str]],
        hint: str,
    ) -> None:
        if code not in CODES:
            raise KeyError(f"diagnostic code {code} is not declared in CODES")
        places = tuple((place, words) for place, words in others if place is not None)
        item = Diagnostic(code, message, span, label, places, hint, severity)
        if item not in self._known and self._left[severity]:
            self._left[severity] -= 1
            self._known.add(item)
            self._items.append(item)

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def errors(self) -> list[Diagnostic]:
        return [item for item in self._items if item.severity == "error"]

    @property
    def warnings(self) -> list[Diagnostic]:
        return [item for item in self._items if item.severity == "warning"]

    def raise_if_errors(self) -> None:
        """Raises `TieError` with everything found so far if any of it is an error."""
        if self.errors:
            raise TieError(self._items)


class TieError(Exception):
    """A `.tie` file is wrong; `.diagnostics` lists everything found, in the order found."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        return "\n".join(
            (f"{item.span}: " if item.span is not None else "")
            + f"{item.severity}[{item.code}]: {item.message}"
            + (f"\n  hint: {item.hint}" if item.hint else "")
            for item in self.diagnostics
        )


class DataError(Exception):
    """Arrays or a data file do not fit the model; the message names array, row and value."""


class RunError(Exception):
    """A saved run is damaged, locked, or of another model."""


def nearest(name: str, candidates: Iterable[str]) -> str:
    """`did you mean ...?` with the candidate closest to `name`, or the empty string."""
    known = list(candidates)
    found = [other for other in known if other.lower() == name.lower()]
    found = found or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{found[0]}'?" if found else ""


# What each code stands for. Every code owns at least one file in tests/golden/bad.
# E01 text, E02 names and calls, E03 shapes and types, E04 ties, E05 limits and files,
# E06 settings, E07 data files and runs; W the warnings.
CODES: dict[str, str] = {
    "E0101": "the text cannot be read as tiedgraph's language",
    "E0102": "a character or a literal that the language does not have",
    "E0103": "brackets or blocks that are not closed",
    "E0201": "a name is used but not defined",
    "E0202": "a name is defined twice",
    "E0203": "no such layer, function, loss or metric",
    "E0204": "no such argument, or one that is missing, given twice or of the wrong kind",
    "E0205": "a parametric layer has no name of its own",
    "E0206": "a selector matches nothing",
    "E0207": "a loss, metric or layer stands where it cannot",
    "E0208": "a constant is not a number, or its expression cannot be computed",
    "E0209": "a block is used wrongly",
    "E0301": "shapes disagree",
    "E0302": "a type does not fit the operation",
    "E0303": "a size is not a positive integer",
    "E0304": "a run-time length is used where a fixed size is needed",
    "E0305": "the model has no loss, output or input that the task needs",
    "E0401": "tied parameters have different shapes",
    "E0402": "a parameter is tied to two unlike things",
    "E0403": "a cycle of ties whose views disagree",
    "E0404": "a view that is not linear in the parameter, or does not exist",
    "E0405": "a tie with a single member",
    "E0406": "a tie forces a parameter to zero",
    "E0407": "tied instances do not have the same parameters",
    "E0408": "an index map does not fit its parameter",
    "E0409": "a soft tie cannot draw these numbers",
    "E0501": "a limit is exceeded",
    "E0502": "a file cannot be read",
    "E0503": "a path leaves the folder of the compiled file",
    "E0504": "imports form a cycle",
    "E0505": "a lexicon cannot be read",
    "E0506": "a word has a phoneme of which there is no unit",
    "E0601": "no such setting, or one that is given twice",
    "E0602": "a setting has a value that it cannot take",
    "W0001": "a parameter that no loss reaches",
    "W0002": "a value that nothing uses",
    "W0003": "a setting or statement that has no effect",
    "W0004": "ties that together make numbers of one parameter equal",
}
