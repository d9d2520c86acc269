"""From text to tokens: characters, literals, brackets, and where statements end.

Everything that could cost memory or recursion later is refused here, on counts: the size of the
text, the number of tokens, the nesting of brackets. Mistakes are repaired (a bracket is closed, a
literal replaced) so that the parser can go on; `Scanned.repairs` tells it where.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from lark import Lark

from tiedgraph.diagnostics import Diagnostics, Source, Span
from tiedgraph.syntax.grammar import grammar_text
from tiedgraph.syntax.tree import TreeBuilder

FILE_SIZE = 2**20  # bytes
TOKENS = 50_000
NESTING = 64
DIGITS = 60  # of a number
NAME_LENGTH = 200
MISTAKES = 20  # reported of one file, then reading stops

STARTERS = frozenset({
    "MODEL", "IMPORT", "CONST", "INPUT", "TARGET", "BLOCK", "RETURN", "TIE", "TASK", "OUTPUT",
    "LOSS", "METRIC", "INIT", "FREEZE", "TRAIN", "DATA", "UNIT",
})  # fmt: skip
OPENERS = {"LPAR": ("(", "RPAR", ")"), "LSQB": ("[", "RSQB", "]"), "LBRACE": ("{", "RBRACE", "}")}
CLOSERS = {closer: opener for opener, (_, closer, _) in OPENERS.items()}
# After these, a line inside brackets goes on; `NAME =` behind them is a keyword argument.
_CONTINUES = frozenset({
    "COMMA", "LPAR", "LSQB", "PLUS", "MINUS", "STAR", "SLASH", "PIPE", "EQUAL", "COLON", "DOT",
})  # fmt: skip
# Control characters, lone carriage returns, line separators that are no newline, marks that
# reorder what is shown, halves of surrogate pairs.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
    "|\r(?!\n)"
)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text and the terminal of the grammar that it is; `value` of numbers."""

    type: str
    span: Span
    value: int | float = 0

    @property
    def text(self) -> str:
        return self.span.text


@dataclass
class Scanned:
    """What `scan` found.

    raw: every token in order, with comments and all newlines.
    tokens: what the parser reads; closed brackets, newlines only where they end something.
    repairs: offsets of mistakes that were reported and repaired, sorted.
    """

    raw: list[Token]
    tokens: list[Token] = field(default_factory=list)
    repairs: list[int] = field(default_factory=list)

    def repaired(self, start: int, end: int) -> bool:
        """Whether there is a repair at `start <= offset <= end`."""
        i = bisect_left(self.repairs, start)
        return i < len(self.repairs) and self.repairs[i] <= end


class Postlex:
    """Keeps the terminals that no rule uses."""

    always_accept = ("COMMENT", "BAD_STRING", "QUOTED", "BAD_WORD", "UNKNOWN")

    def process(self, stream: Iterator[Any]) -> Iterator[Any]:
        return stream


@cache
def language() -> Lark:
    """The lexer and the LALR tables, made once a process."""
    return Lark(
        grammar_text(),
        start="file",
        parser="lalr",
        lexer="basic",
        keep_all_tokens=True,
        maybe_placeholders=False,
        postlex=Postlex(),
        transformer=TreeBuilder(),
    )


class Refused(Exception):
    """A limit was reported; nothing more can be read."""


def scan(source: Source, diagnostics: Diagnostics) -> Scanned | None:
    """The tokens of a text; None if a limit is exceeded (E0501, reported)."""
    try:
        return _Scanner(source, diagnostics).scan()
    except Refused:
        return None


class _Scanner:
    def __init__(self, source: Source, diagnostics: Diagnostics) -> None:
        self.source = source
        self.diagnostics = diagnostics
        self.repairs: list[int] = []
        self.out: list[Token] = []
        self.open: list[Token] = []
        self.calls: set[int] = set()  # offsets of brackets that hold arguments
        self.unknown_end = -1

    def scan(self) -> Scanned:
        self._size()
        for found in _FORBIDDEN.finditer(self.source.text):
            self._forbidden(found.start(), found.group())
        raw = self._tokens()
        self._layout(raw)
        return Scanned(raw, self.out, sorted(self.repairs))

    def _report(self, code: str, message: str, span: Span, **more: Any) -> None:
        if len(self.repairs) >= MISTAKES:
            raise Refused
        self.repairs.append(span.start)
        self.diagnostics.error(code, message, span, **more)

    def _refuse(self, message: str, span: Span | None, hint: str) -> None:
        self.diagnostics.error("E0501", message, span, hint=hint)
        raise Refused

    def _size(self) -> None:
        text = self.source.text
        if len(text) > FILE_SIZE or len(text.encode("utf-8", "replace")) > FILE_SIZE:
            too_large(self.source, self.diagnostics)
            raise Refused

    def _forbidden(self, offset: int, character: str) -> None:
        span = Span(self.source, offset, offset + 1)
        hint = "remove it"
        if character == "\r":
            what, hint = "a carriage return alone", "end lines with a newline"
        elif character == "\0":
            what = "a NUL byte"
        else:
            what = f"the invisible character U+{ord(character):04X}"
        self._report("E0102", f"{what} cannot stand in a file", span, label="here", hint=hint)

    # ------------------------------------------------------------ tokens

    def _tokens(self) -> list[Token]:
        source, found = self.source, []
        text = source.text
        for count, item in enumerate(language().lex(text)):
            start = item.start_pos or 0
            end = start + len(item)
            token = Token(item.type, Span(source, start, end))
            if count >= TOKENS:
                self._refuse(
                    f"the text has more than {TOKENS} words, numbers and signs",
                    token.span,
                    "put parts of it into files of their own and import them",
                )
            if item.type in ("INT", "FLOAT"):
                token = self._number(token)
            elif item.type == "NAME":
                if end - start > NAME_LENGTH:
                    hint = "choose a shorter name"
                    message = f"a name is longer than {NAME_LENGTH} characters"
                    self._refuse(message, token.span, hint)
            elif item.type in ("BAD_STRING", "QUOTED", "BAD_WORD"):
                token = self._mended(token)
            elif item.type == "UNKNOWN":
                self._unknown(token)
                continue
            found.append(token)
        return found

    def _number(self, token: Token) -> Token:
        text = token.text
        if len(text) > DIGITS:
            self._report(
                "E0102", f"a number has more than {DIGITS} digits", token.span, label="too long",
                hint="write it shorter, with an exponent: 1e30",
            )  # fmt: skip
            return Token(token.type, token.span, 1)
        if token.type == "INT":
            return Token(token.type, token.span, int(text))
        value = float(text)
        if math.isinf(value):
            self._report(
                "E0102", f"{text} is too large for a number", token.span, label="too large",
                hint="the largest number is about 1.8e308",
            )  # fmt: skip
        elif value == 0 and re.search("[1-9]", re.split("[eE]", text)[0]):
            self._report(
                "E0102", f"{text} is too small for a number, it would be 0", token.span,
                label="too small", hint="the smallest number is about 5e-324",
            )  # fmt: skip
        return Token(token.type, token.span, value)

    def _mended(self, token: Token) -> Token:
        """Strings and words that are not what they should be, as if they were."""
        text = token.text
        if token.type == "QUOTED":
            self._report(
                "E0102", "a text stands between single quotes", token.span,
                hint=f'write "{text[1:-1]}"',
            )  # fmt: skip
            return Token("STRING", token.span)
        if token.type == "BAD_STRING":
            end = token.span.start + len(text.rstrip("\r"))
            self._report(
                "E0102", "a text is not closed on its line",
                Span(self.source, token.span.start, end),
                label="starts here", hint='end it with a second `"`',
            )  # fmt: skip
            return Token("STRING", token.span)
        if text[0].isdigit() and text[0].isascii():
            self._report(
                "E0102", f"'{text[:40]}' is neither a number nor a name", token.span,
                hint="numbers are written 12, 0.5 or 1e-3; names do not start with a digit",
            )  # fmt: skip
            return Token("INT", token.span, 1)
        odd = next(c for c in text if not (c.isascii() and (c.isalnum() or c == "_")))
        self._report(
            "E0102", f"'{odd}' cannot be part of a name", token.span,
            label="names are made of ASCII letters, digits and _",
            hint="other letters may stand in comments and between double quotes",
        )  # fmt: skip
        return Token("NAME", token.span)

    def _unknown(self, token: Token) -> None:
        text = token.text
        if token.span.start == 0 and text == "\ufeff":  # a byte order mark
            return
        if _FORBIDDEN.match(text):
            return
        again = token.span.start == self.unknown_end
        self.unknown_end = token.span.end
        if again:
            return
        hint = _INSTEAD.get(text, "")
        shown = f"'{text}'" if text.isprintable() else f"the character U+{ord(text):04X}"
        self._report(
            "E0102", f"{shown} is not a sign of the language", token.span, label="here", hint=hint
        )

    # ------------------------------------------------------------ brackets and lines

    def _layout(self, raw: list[Token]) -> None:
        code = [token for token in raw if token.type != "COMMENT"]
        for i, token in enumerate(code):
            if token.type in OPENERS:
                self.open.append(token)
                if token.type == "LPAR" and self._called():
                    self.calls.add(token.span.start)
                if len(self.open) > NESTING:
                    hint = "give inner parts names of their own"
                    self._refuse(f"brackets nest more than {NESTING} deep", token.span, hint)
            elif token.type in CLOSERS:
                if not self._closes(token):
                    continue
            elif token.type == "END" and self.open and self.open[-1].type != "LBRACE":
                if token.text == "\n" and not self._next_starts(code, i + 1):
                    continue
                self._close_round(token.span.start)
            if token.type == "END" and (not self.out or self.out[-1].type == "END"):
                continue
            self.out.append(token)
        end = len(self.source.text)
        while self.open:
            self._unclosed(end)
        if self.out and self.out[-1].type != "END":
            self.out.append(self._virtual("END", end))

    def _virtual(self, kind: str, offset: int) -> Token:
        return Token(kind, Span(self.source, offset, offset))

    def _next_starts(self, code: list[Token], i: int) -> bool:
        """Whether a new statement starts at `i`, inside brackets that then were left open."""
        while i < len(code) and code[i].type == "END":
            i += 1
        if i + 1 >= len(code):
            return False
        first, second = code[i].type, code[i + 1].type
        if first in STARTERS:
            return second not in ("EQUAL", "RSQB", "DOT", "COMMA", "RPAR", "END")
        named = first == "NAME" and second == "EQUAL"
        in_call = self.open[-1].span.start in self.calls
        return named and not (in_call and self.out[-1].type in _CONTINUES)

    def _called(self) -> bool:
        """Whether a function's name was read last."""
        last = self.out[-1] if self.out else None
        return last is not None and last.text.isidentifier() and last.type not in STARTERS

    def _unclosed(self, offset: int) -> None:
        """Reports the innermost open bracket and closes it at `offset`."""
        token = self.open.pop()
        sign, closer, close = OPENERS[token.type]
        self._report(
            "E0103", f"`{sign}` is not closed", token.span, label="opened here",
            hint=f"add `{close}`",
        )  # fmt: skip
        if closer == "RBRACE" and self.out[-1].type != "END":
            self.out.append(self._virtual("END", offset))
        self.out.append(self._virtual(closer, offset))

    def _close_round(self, offset: int) -> None:
        while self.open and self.open[-1].type != "LBRACE":
            self._unclosed(offset)

    def _closes(self, token: Token) -> bool:
        """Pops the bracket that `token` closes; False if there is none."""
        opener = CLOSERS[token.type]
        kinds = [item.type for item in self.open]
        if opener not in kinds:
            self._mismatch(token)
            return False
        # `)` does not close across `{`: there the block is older than the mistake.
        while kinds[-1] != opener:
            if kinds[-1] == "LBRACE":
                self._report(
                    "E0103", f"`{token.text}` closes nothing inside these braces", token.span,
                    label="without an opening one",
                    others=[(self.open[-1].span, "the braces start here")], hint="remove it",
                )  # fmt: skip
                return False
            kinds.pop()
            self._unclosed(token.span.start)
        self.open.pop()
        return True

    def _mismatch(self, token: Token) -> None:
        """A bracket that closes another kind is read as the right one; one of none is dropped."""
        if not self.open or self.open[-1].type == "LBRACE":
            self._report(
                "E0103", f"`{token.text}` closes nothing", token.span,
                label="without an opening one", hint="remove it, or open it before",
            )  # fmt: skip
            return
        opened = self.open.pop()
        sign, closer, close = OPENERS[opened.type]
        self._report(
            "E0103", f"`{sign}` is closed by `{token.text}`", token.span, label="closed here",
            others=[(opened.span, "opened here")], hint=f"write `{close}`",
        )  # fmt: skip
        self.out.append(Token(closer, token.span))


def too_large(source: Source, diagnostics: Diagnostics) -> None:
    """Reports a text beyond the limit of its size."""
    diagnostics.error(
        "E0501",
        f"'{source.path}' is larger than 1 MiB, the limit of a file",
        hint="put parts of it into files of their own and import them",
    )


_INSTEAD = {
    "\u201c": 'texts stand between straight double quotes: "a"',
    "\u201d": 'texts stand between straight double quotes: "a"',
    "'": "texts stand between double quotes",
    "|": "values are passed on with `|>`",
    "@": "matrix products are layers: dense, conv1d",
    "^": "powers are functions: square(x), sqrt(x)",
    "%": "there are + - * /",
    "!": "comments start with #",
    "<": "nothing is compared in a model",
    ">": "nothing is compared in a model; values are passed on with `|>`",
    "\\": "inside ( ) lines go on by themselves",
}
