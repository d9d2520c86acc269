"""Diagnostics as text for people and as data for programs; tables.

error[E0203]: there is no layer, function or block 'dens'
  --> lenet5.tie:12:6
   |
12 | f6 = dens(f5, 84)
   |      ^^^^ unknown
   = hint: did you mean 'dense'?
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

from tiedgraph.diagnostics import Diagnostic, Span

LINE = 100  # characters of a source line that are shown
LEAD = 30  # of them before the place, in longer lines
TAB = 4

_STYLES = {
    "error": "\x1b[1;31m",
    "warning": "\x1b[1;33m",
    "frame": "\x1b[1;34m",
    "hint": "\x1b[1;36m",
    "title": "\x1b[1m",
}


def render_text(diagnostics: Iterable[Diagnostic], colour: bool = False) -> str:
    """Each diagnostic with its places underlined, with an empty line between two.

    colour: with ANSI escapes. Whatever the source holds, nothing else of it reaches the terminal
    but printable characters.
    """
    return "\n\n".join(_one(item, colour) for item in diagnostics)


def render_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, Any]]:
    """The same as plain data: dicts, lists, strings, whole numbers and None.

    Lines and columns count from 1, in characters; `end_column` is the first one behind the place.
    """
    return [
        {
            "code": item.code,
            "severity": item.severity,
            "message": item.message,
            **_place(item.span),
            "label": item.label,
            "others": [{**_place(span), "label": label} for span, label in item.others],
            "hint": item.hint,
        }
        for item in diagnostics
    ]


def _place(span: Span | None) -> dict[str, Any]:
    keys = ("file", "line", "column", "end_line", "end_column")
    if span is None:
        return dict.fromkeys(keys)
    end_line, end_column = span.source.locate(span.end)
    return dict(
        zip(keys, (span.source.path, span.line, span.column, end_line, end_column), strict=True)
    )


# ---------------------------------------------------------------- text


def _one(item: Diagnostic, colour: bool) -> str:
    def paint(text: str, style: str) -> str:
        return f"{_STYLES[style]}{text}\x1b[0m" if colour else text

    places = [(item.span, item.label, True)] if item.span is not None else []
    places += [(span, label, False) for span, label in item.others]
    digits = max((len(str(span.line)) for span, _, _ in places), default=1)
    edge = " " * digits
    lines = [
        paint(f"{item.severity}[{item.code}]", item.severity)
        + paint(f": {printable(item.message)}", "title")
    ]
    for group in _by_file(places):
        first = next((span for span, _, main in group if main), group[0][0])
        arrow = "-->" if first.source is places[0][0].source else ":::"
        lines.append(f"{edge}{paint(arrow, 'frame')} {printable(str(first))}")
        lines.append(f"{edge} {paint('|', 'frame')}")
        previous = 0
        for span, label, main in sorted(group, key=lambda place: (place[0].start, not place[2])):
            number = span.line
            if previous and number > previous + 1:
                lines.append(paint("...", "frame"))
            shown, before, width = _excerpt(span)
            if number != previous:
                bar = paint(f"{number:>{digits}} |", "frame")
                lines.append(f"{bar} {shown}".rstrip())
            style = item.severity if main else "frame"
            marks = ("^" if main else "-") * width
            text = paint(f"{marks} {printable(label)}".rstrip(), style)
            lines.append(f"{edge} {paint('|', 'frame')} {' ' * before}{text}")
            previous = number
    if item.hint:
        lines.append(f"{edge} {paint('= hint:', 'hint')} {printable(item.hint)}")
    return "\n".join(lines)


Places = list[tuple[Span, str, bool]]


def _by_file(places: Places) -> list[Places]:
    """Places of one source together, the main one's source first."""
    found: list[Places] = []
    for place in places:
        for group in found:
            if group[0][0].source is place[0].source:
                group.append(place)
                break
        else:
            found.append([place])
    return found


def _excerpt(span: Span) -> tuple[str, int, int]:
    """The line where a span starts as it is shown; columns before the underline; its width."""
    line = span.source.line(span.line)
    start = min(span.column - 1, len(line))
    end = min(start + max(span.end - span.start, 1), len(line))
    first, last = 0, len(line)
    if last > LINE:
        first = max(0, min(start - LEAD, last - LINE))
        last = first + LINE
    front, back = "... " if first else "", " ..." if last < len(line) else ""
    before = _columns(line[first:start])
    inside = _columns(line[first : min(end, last)]) - before
    shown = front + _shown(line[first:last]) + back
    return shown, len(front) + before, max(inside, 1)


def printable(text: str) -> str:
    """One line in which every character can be seen; others as `\\x1b` or `\\u202e`."""
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) in ("Mn", "Mc", "Me"):
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _shown(text: str) -> str:
    column, shown = 0, []
    for character in text:
        piece = " " * (TAB - column % TAB) if character == "\t" else _visible(character)
        column += _width(piece)
        shown.append(piece)
    return "".join(shown)


def _columns(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return _width(_shown(text))


def _width(shown: str) -> int:
    """Columns of a visible text: wide characters take two, combining ones none."""
    if shown.isascii():
        return len(shown)
    total = 0
    for character in shown:
        if unicodedata.category(character) in ("Mn", "Me"):
            continue
        total += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return total


def table(rows: list[list[str]], right: Iterable[int] = (), indent: str = "  ") -> str:
    """Columns two spaces apart, those of `right` flush right; every line indented."""
    columns = range(max(len(row) for row in rows))
    wide = [max(len(row[i]) for row in rows if i < len(row)) for i in columns]
    ends = set(right)
    lines = []
    for row in rows:
        cells = [
            f"{cell:>{wide[i]}}" if i in ends else f"{cell:<{wide[i]}}"
            for i, cell in enumerate(row)
        ]
        lines.append((indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)
