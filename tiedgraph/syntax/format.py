"""The one canonical layout of a file, with its comments kept.

Works on tokens, so that nothing but space can change: four spaces in braces and broken brackets,
88 columns, one blank line at most. Text in brackets is broken, one argument a line, only where it
is too long or holds a comment; settings stay on one line if they were and fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tiedgraph.diagnostics import Diagnostics, Source
from tiedgraph.syntax.parser import parse
from tiedgraph.syntax.scan import OPENERS, STARTERS, Token, scan

WIDTH = 88
INDENT = 4

# call: arguments of a call or block; list: [1, 2]; index: behind a name; round: a parenthesis in an
# expression; entries: settings; body: statements.
Kind = Literal["call", "list", "index", "round", "entries", "body"]


@dataclass
class Element:
    """A statement, setting, argument, or part of a parenthesis, and the comments around it.

    operator: what joins it to the element before, in a parenthesis.
    pending: comments on lines of their own after its last piece so far.
    """

    leading: list[str] = field(default_factory=list)
    operator: str = ""
    pieces: list[Token | Group] = field(default_factory=list)
    trailing: str | None = None
    pending: list[str] = field(default_factory=list)
    blank: bool = False  # a blank line before it

    def comment(self, text: str, own_line: bool) -> None:
        if own_line:
            (self.pending if self.pieces else self.leading).append(text)
        else:
            self.not_last()
            self.trailing = text

    def not_last(self) -> None:
        """More follows, so that comments so far stand in its middle: they move above it."""
        self.leading += [self.trailing] if self.trailing is not None else []
        self.leading += self.pending
        self.trailing, self.pending = None, []


@dataclass
class Group:
    """A pair of brackets, or the whole file."""

    kind: Kind
    elements: list[Element] = field(default_factory=list)
    one_line: bool = True  # written on one line

    @property
    def brackets(self) -> tuple[str, str]:
        if self.kind in ("entries", "body"):
            return "{", "}"
        return ("[", "]") if self.kind in ("list", "index") else ("(", ")")

    @property
    def whole(self) -> bool:
        """Whether its length alone is no reason to break it: `[2]`, `[1..3]`, `[name]`."""
        pieces = [piece for element in self.elements for piece in element.pieces]
        return (
            self.kind == "index"
            and len(self.elements) == 1
            and all(isinstance(piece, Token) for piece in pieces)
        )

    @property
    def forced(self) -> bool:
        """Whether it must be broken, whatever its length."""
        if self.kind == "body" or (self.kind == "entries" and not self.one_line):
            return bool(self.elements)
        return any(
            element.leading
            or element.trailing
            or any(isinstance(piece, Group) and piece.forced for piece in element.pieces)
            for element in self.elements
        )


def format_source(source: Source) -> str:
    """The text of a file in canonical layout; it says the same and formats to itself.

    Raises TieError where the text has syntax errors.
    """
    diagnostics = Diagnostics()
    parse(source, diagnostics)
    diagnostics.raise_if_errors()
    scanned = scan(source, diagnostics)
    assert scanned is not None
    writer = _Writer()
    writer.sequence(_Reader(scanned.raw).file(), 0)
    return "".join(f"{line}\n" for line in writer.lines)


# ---------------------------------------------------------------- tokens to groups


class _Reader:
    def __init__(self, raw: list[Token]) -> None:
        self.raw = raw
        self.at = 0

    def file(self) -> Group:
        return self._group("body")

    def _group(self, kind: Kind) -> Group:
        """Everything up to the closing bracket, which is read too."""
        braces = kind in ("entries", "body")
        group, element = Group(kind), Element()
        separators = self._separators(kind)
        newlines = 0  # since the last token or comment

        def end() -> Element:
            """The element is complete; what follows belongs to the next one."""
            group.elements.append(element)
            following = Element(leading=element.pending)
            element.pending = []
            return following

        while self.at < len(self.raw):
            token = self.raw[self.at]
            self.at += 1
            if token.type in ("RPAR", "RSQB", "RBRACE"):
                break
            if token.text == "\n":
                group.one_line = False
                newlines += 1
                if braces and element.pieces:
                    element = end()
                continue
            if braces and newlines > 1:
                element = end() if element.leading else element
                element.blank = True
            if token.type == "COMMENT":
                last = element if element.pieces or not group.elements else group.elements[-1]
                beside = not newlines and bool(last.pieces)
                (last if beside else element).comment(token.text.rstrip(), not beside)
            elif token.type in ("END", "COMMA") and token.type in separators:
                element = end() if element.pieces else element
            elif token.type in separators and _is_operand(element.pieces, len(element.pieces) - 1):
                element = end()
                element.operator = token.text
            else:
                element.not_last()
                opens = token.type in OPENERS
                element.pieces.append(self._group(self._kind(token, element)) if opens else token)
            newlines = 0
        if element.pieces or element.leading:
            element = end()
            if element.leading:
                end()
        return group

    def _separators(self, kind: Kind) -> frozenset[str]:
        """What ends an element; in a parenthesis the loosest operators that stand there."""
        if kind != "round":
            return frozenset({"END"} if kind == "body" else {"END", "COMMA"})
        depth, i = 0, self.at
        found = set()
        while i < len(self.raw) and depth >= 0:
            kind_of_token = self.raw[i].type
            depth += (kind_of_token in OPENERS) - (kind_of_token in ("RPAR", "RSQB", "RBRACE"))
            found |= {kind_of_token} if depth == 0 else set()
            i += 1
        return frozenset({"PIPE"} if "PIPE" in found else {"PLUS", "MINUS"})

    def _kind(self, token: Token, element: Element) -> Kind:
        pieces = element.pieces
        operand = _is_operand(pieces, len(pieces) - 1)
        if token.type == "LBRACE":
            first = pieces[0]
            statements = isinstance(first, Token) and first.type in ("BLOCK", "TASK")
            return "body" if statements else "entries"
        if token.type == "LSQB":
            return "index" if operand else "list"
        return "call" if operand else "round"


def _is_operand(pieces: Sequence[Token | Group], i: int) -> bool:
    """Whether the piece at `i` ends an expression, rather than being a keyword or an operator."""
    if i < 0:
        return False
    piece = pieces[i]
    if isinstance(piece, Group):
        return piece.kind not in ("entries", "body")
    if piece.type in ("INT", "FLOAT", "STRING", "NAME", "TRUE", "FALSE"):
        return True
    previous = pieces[i - 1] if i else None
    if piece.type in STARTERS:
        return isinstance(previous, Token) and previous.type == "DOT"
    if piece.type in ("WEIGHT", "STAR"):  # keyword or name, operator or wildcard
        return not _is_operand(pieces, i - 1)
    return piece.text.isidentifier()


# ---------------------------------------------------------------- groups to lines


class _Writer:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def sequence(self, group: Group, indent: int) -> None:
        """Statements or settings, one a line."""
        for i, element in enumerate(group.elements):
            if element.blank and i:
                self.lines.append("")
            self._element(element, indent, "", tight=False)

    def _element(self, element: Element, indent: int, end: str, tight: bool) -> None:
        space = " " * indent
        self.lines += [space + comment for comment in element.leading]
        if not element.pieces:
            return
        start = f"{space}{element.operator} " if element.operator else space
        line = self._pieces(element.pieces, indent, start, end, tight) + end
        if element.trailing is not None:
            line += f"  {element.trailing}"
        self.lines.append(line)

    def _pieces(
        self, pieces: list[Token | Group], indent: int, line: str, end: str, tight: bool
    ) -> str:
        """Writes all lines but the last, which is returned."""
        for i, piece in enumerate(pieces):
            if i and not _glued(pieces, i, tight):
                line += " "
            if isinstance(piece, Token):
                line += piece.text
                continue
            whole = _flat_group(piece)
            room = WIDTH - len(line) - len(whole) - len(_until_break(pieces, i + 1, end, tight))
            if not piece.elements or (not piece.forced and (piece.whole or room >= 0)):
                line += whole
            else:
                line = self._broken(piece, indent, line)
        return line

    def _broken(self, group: Group, indent: int, line: str) -> str:
        opening, closing = group.brackets
        self.lines.append(line + opening)
        if group.kind in ("body", "entries"):
            self.sequence(group, indent + INDENT)
        else:
            last = max((i for i, e in enumerate(group.elements) if e.pieces), default=-1)
            for i, element in enumerate(group.elements):
                comma = group.kind in ("call", "list") or (group.kind == "index" and i < last)
                self._element(element, indent + INDENT, "," if comma else "", tight=True)
        return " " * indent + closing


def _flat(pieces: Sequence[Token | Group], tight: bool) -> str:
    text = ""
    for i, piece in enumerate(pieces):
        if i and not _glued(pieces, i, tight):
            text += " "
        text += piece.text if isinstance(piece, Token) else _flat_group(piece)
    return text


def _flat_group(group: Group) -> str:
    opening, closing = group.brackets
    braces = group.kind in ("entries", "body")
    between = " " if group.kind == "round" else ", "
    inside = between.join(
        f"{element.operator} {_flat(element.pieces, not braces)}".lstrip()
        for element in group.elements
    )
    if braces and inside:
        inside = f" {inside} "
    return opening + inside + closing


def _until_break(pieces: Sequence[Token | Group], start: int, end: str, tight: bool) -> str:
    """What must follow on the same line: up to the next bracket that could be broken."""
    text = ""
    for i in range(start, len(pieces)):
        piece = pieces[i]
        if not _glued(pieces, i, tight):
            text += " "
        if isinstance(piece, Group):
            if piece.elements and piece.kind != "index":
                return text + piece.brackets[0]
            text += _flat_group(piece)
        else:
            text += piece.text
    return text + end


def _glued(pieces: Sequence[Token | Group], i: int, tight: bool) -> bool:
    """Whether the piece at `i` follows the one before it without a space."""
    before, piece = pieces[i - 1], pieces[i]
    if isinstance(piece, Group):
        if piece.kind in ("call", "index"):
            return True
    elif piece.type in ("COMMA", "COLON", "DOT", "RANGE") or (tight and piece.type == "EQUAL"):
        return True
    if isinstance(before, Group):
        return False
    if before.type == "MINUS":
        return not _is_operand(pieces, i - 2)
    return before.type in ("DOT", "RANGE") or (tight and before.type == "EQUAL")
