"""From text to the syntax tree, with as many errors as can be told apart in one run.

The LALR tables of `grammar/tie.lark` are fed token by token. Before each statement the parser's
stacks are kept; where a token does not fit, the statement is dropped and reading goes on behind it.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lark.exceptions import UnexpectedToken

from tiedgraph.diagnostics import Diagnostics, Source, Span
from tiedgraph.syntax import ast
from tiedgraph.syntax.expected import explain
from tiedgraph.syntax.scan import FILE_SIZE, MISTAKES, Scanned, Token, language, scan, too_large
from tiedgraph.syntax.tree import OpenBlock, Return

# Operators, calls and brackets inside one another; passes may walk an expression recursively.
DEPTH = 200


def read_source(path: str | Path, diagnostics: Diagnostics) -> Source | None:
    """The text of a file; None after a report.

    E0502: there is no such file, it is not an ordinary one, or not UTF-8. E0501: above 1 MiB.
    """
    shown = str(path)

    def refuse(message: str, hint: str) -> None:
        diagnostics.error("E0502", message, hint=hint)

    try:
        about = Path(path).stat()
        if not stat.S_ISREG(about.st_mode):
            refuse(f"'{shown}' is not an ordinary file", "name a .tie file")
            return None
        with Path(path).open("rb") as file:
            content = file.read(FILE_SIZE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        refuse(f"'{shown}' cannot be read: {reason.lower()}", "check the path and its permissions")
        return None
    if len(content) > FILE_SIZE:
        too_large(Source(shown, ""), diagnostics)
        return None
    try:
        return Source(shown, content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        refuse(
            f"'{shown}' is not UTF-8 text: byte 0x{content[error.start]:02x} "
            f"at line {line}, byte {column} of the line",
            "save it as UTF-8",
        )
        return None


def parse(source: Source, diagnostics: Diagnostics) -> ast.File | None:
    """The tree of a text, without the statements that have errors; those are reported.

    None if a limit is exceeded (E0501) or there are too many mistakes to go on. Never raises.
    """
    found = Diagnostics()
    scanned = scan(source, found)
    statements = _Reader(scanned, found).read() if scanned is not None else None
    file = None
    if scanned is not None and statements is not None:
        finished = tuple(_finish_all(statements, scanned, found))
        file = ast.File(finished, span=Span(source, 0, len(source.text)))
    for item in sorted(found, key=lambda item: item.span.start if item.span else 0):
        diagnostics.error(
            item.code, item.message, item.span, label=item.label, others=item.others, hint=item.hint
        )
    return file


class _Reader:
    """Feeds tokens to the LALR parser."""

    def __init__(self, scanned: Scanned, diagnostics: Diagnostics) -> None:
        self.scanned = scanned
        self.tokens = scanned.tokens
        self.diagnostics = diagnostics
        self.mistakes = len(scanned.repairs)

    def read(self) -> tuple[Any, ...] | None:
        """Statements as `tree` makes them; None after too many mistakes."""
        tokens = self.tokens
        parser: Any = language().parse_interactive("")
        kept, start, i = parser.copy(deepcopy_values=False), 0, 0
        while i < len(tokens):
            token = tokens[i]
            try:
                parser.feed_token(token)
            except UnexpectedToken:
                if not self._report(kept, start, i):
                    return None
                # The statement's end, or a `}` around it, always fits at its start.
                start = i = self._end(start)
                parser = kept.copy(deepcopy_values=False)
                continue
            i += 1
            if token.type in ("END", "LBRACE", "RBRACE"):
                kept, start = parser.copy(deepcopy_values=False), i
        if not tokens:
            return ()
        end_of_text = Token("$END", tokens[-1].span)
        found: tuple[Any, ...] = parser.feed_token(end_of_text)
        return found

    def _end(self, start: int) -> int:
        """Where the statement at `start` ends: at its END, or at the `}` around it."""
        depth = 0
        for i in range(start, len(self.tokens)):
            kind = self.tokens[i].type
            if kind == "LBRACE":
                depth += 1
            elif kind == "RBRACE":
                depth -= 1
                if depth < 0:
                    return i
            elif kind == "END" and depth == 0:
                following = self.tokens[i + 1] if i + 1 < len(self.tokens) else None
                if following is None or following.type != "LBRACE":  # a `{` on the next line
                    return i
        return len(self.tokens)

    def _report(self, kept: Any, start: int, i: int) -> bool:
        """Reports the token at `i`; False if that was one mistake too many."""
        found, before = self.tokens[i], self.tokens[start:i]
        first = before[0] if before else found
        last = self.tokens[min(self._end(start), len(self.tokens) - 1)]
        if self.scanned.repaired(first.span.start, last.span.end):
            return True
        probe = kept.copy(deepcopy_values=False)
        for token in before:
            probe.feed_token(token)
        closed = not before and start > 0 and self.tokens[start - 1].type == "RBRACE"
        words = explain(before, found, probe.accepts(), closed)
        place = (words.at or found).span
        if place.text in ("", "\n") and before:
            end = before[-1].span.end
            place = Span(place.source, end, end)
        self.diagnostics.error("E0101", words.message, place, label=words.label, hint=words.hint)
        self.mistakes += 1
        return self.mistakes < MISTAKES


# ---------------------------------------------------------------- what the grammar cannot say


def _finish_all(
    statements: tuple[Any, ...], scanned: Scanned, diagnostics: Diagnostics
) -> Iterator[ast.Statement]:
    for statement in statements:
        if isinstance(statement, Return):
            diagnostics.error(
                "E0101", "`return` stands outside of a block", statement.span,
                hint="what `predict` returns is declared by output NAME = EXPRESSION",
            )  # fmt: skip
        elif isinstance(statement, OpenBlock):
            block = _block(statement, scanned, diagnostics)
            if block is not None:
                yield block
        elif isinstance(statement, ast.Task):
            body = tuple(_finish_all(statement.body, scanned, diagnostics))
            yield ast.Task(statement.name, body, span=statement.span)
        elif _fits(statement, diagnostics):
            yield statement


def _block(statement: OpenBlock, scanned: Scanned, diagnostics: Diagnostics) -> ast.Block | None:
    """A block with its `return` in place."""
    returns = [item for item in statement.body if isinstance(item, Return)]
    rest = tuple(item for item in statement.body if not isinstance(item, Return))
    body = tuple(_finish_all(rest, scanned, diagnostics))
    defaults = all(_fits(item, diagnostics) for item in statement.arguments)
    hint = f"end it with the value of the block: return {_last_name(rest)}"
    if not returns:
        if not scanned.repaired(statement.span.start, statement.span.end):
            diagnostics.error(
                "E0101", f"block '{statement.name}' returns nothing",
                Span(statement.span.source, statement.span.end - 1, statement.span.end),
                label="expected `return` before this", hint=hint,
            )  # fmt: skip
        return None
    if len(returns) > 1:
        diagnostics.error(
            "E0101", f"block '{statement.name}' returns twice", returns[1].span, label="again here",
            others=[(returns[0].span, "first here")], hint="a block returns one value, at its end",
        )  # fmt: skip
    elif statement.body[-1] is not returns[0]:
        diagnostics.error(
            "E0101", f"`return` is not the last statement of block '{statement.name}'",
            returns[0].span, hint="nothing can follow it: move it to the end",
        )  # fmt: skip
    if not _fits(returns[0], diagnostics) or not defaults:
        return None
    return ast.Block(
        statement.name, statement.arguments, body, returns[0].value, span=statement.span
    )


def _last_name(body: tuple[Any, ...]) -> str:
    names = [item.name for item in body if isinstance(item, ast.Let)]
    return names[-1] if names else "EXPRESSION"


_NESTING = (ast.Number, ast.String, ast.Boolean, ast.Name, ast.Tuple, ast.Call, ast.Pipe,
            ast.Binary, ast.Negative, ast.ViewCall)  # fmt: skip


def _fits(statement: ast.Node, diagnostics: Diagnostics) -> bool:
    """Depth of expressions and order of arguments; walks in a loop, however deep they are."""
    waiting: list[tuple[ast.Node, int]] = [(statement, 0)]
    outermost: ast.Node = statement
    good = True
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, _NESTING):
            depth += 1
            if depth == 1:
                outermost = node
            if depth > DEPTH:
                diagnostics.error(
                    "E0501", f"an expression is more than {DEPTH} operators, calls and brackets "
                    "deep", outermost.span, label="too deep", hint="give parts of it names of "
                    "their own",
                )  # fmt: skip
                return False
        if isinstance(node, ast.Call | ast.ViewCall):
            good = _in_order(node, diagnostics) and good
        for name, value in vars(node).items():
            if isinstance(value, ast.Node):
                waiting.append((value, depth))
            elif isinstance(value, tuple) and name != "path":
                waiting.extend((item, depth) for item in value if isinstance(item, ast.Node))
    return good


def _in_order(call: ast.Call | ast.ViewCall, diagnostics: Diagnostics) -> bool:
    if not call.keywords or not call.arguments:
        return True
    first, last = call.keywords[0], call.arguments[-1]
    if last.span.start < first.span.start:
        return True
    diagnostics.error(
        "E0101", "an argument without a name stands behind one with a name", last.span,
        label="needs a name here", others=[(first.span, "has a name")],
        hint="put arguments without names first, or give it its name",
    )  # fmt: skip
    return False
