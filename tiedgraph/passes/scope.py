"""Names: what each stands for, and where it is visible.

A file's constants and blocks are visible in all of it, whatever their order. Values are visible
after their line. A block sees its arguments, its own values, and its file's constants and blocks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tiedgraph.diagnostics import Diagnostics, Span, nearest
from tiedgraph.ir.lexicon import Lexicon
from tiedgraph.ops.lattice import Chains
from tiedgraph.syntax import ast

Plain = int | float | bool | str | tuple["Plain", ...]


class Word(str):
    """A bare word that is not a name of the file: `same`, or a run-time size."""


@dataclass(frozen=True)
class Constant:
    """Known when the file is compiled."""

    value: Plain
    span: Span | None = None


@dataclass(frozen=True)
class Ref:
    """A value of the graph, by id."""

    id: str
    span: Span | None = None


@dataclass(frozen=True)
class Failed:
    """Its own error was reported; whatever uses it fails without a word."""


@dataclass(frozen=True)
class BlockOf:
    block: ast.Block
    module: Module


@dataclass(frozen=True)
class TaskOf:
    """A task, whose values are `name.value` from outside."""

    name: str


@dataclass(frozen=True)
class UnitOf:
    """A unit of word models: rows of scores, its phonemes' states in order.

    phonemes: () for one without a lexicon. scores, stay, skip: ids of values that are [rows, time],
    [rows] and [rows that may be left over the next] one below the other; skip may be ().
    """

    name: str
    phonemes: tuple[str, ...]
    scores: tuple[str, ...]
    stay: tuple[str, ...]
    skip: tuple[str, ...]
    states: int
    duration: int
    optional: bool
    span: Span


@dataclass(frozen=True)
class ChainOf:
    """A chain of units by a lexicon. stem: its path. scores, odds: ids of values."""

    stem: str
    scores: str
    odds: str
    attrs: Chains
    lexicon: Lexicon


Result = Constant | Ref | Failed
Binding = Result | BlockOf | TaskOf | UnitOf | ChainOf


@dataclass(eq=False)
class Module:
    """One file that was read.

    names: the constants and blocks that its text may use; places: where each is defined.
    own: those of them that it defines itself, which importers get.
    later: where its values are defined, for messages.
    incomplete: an import failed, so that names which nothing defines are not reported.
    """

    file: ast.File
    path: Path | None = None
    names: dict[str, Binding] = field(default_factory=dict)
    places: dict[str, Span] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)
    later: dict[str, Span] = field(default_factory=dict)
    incomplete: bool = False


@dataclass(eq=False)
class Scope:
    """Where a name is looked up: the file itself, a task, or one use of a block.

    prefix: "" for the file, else the path of the block's use or the task's name.
    outer: the file around a task, whose values it sees too.
    names, places: values (and a block's arguments) defined so far.
    symbols: names of run-time sizes, shared by all scopes of a compilation.
    constants: whether only constants are visible, as for the expression of a `const`.
    """

    module: Module
    prefix: str = ""
    names: dict[str, Binding] = field(default_factory=dict)
    places: dict[str, Span] = field(default_factory=dict)
    block: ast.Block | None = None
    symbols: Mapping[str, Span] = field(default_factory=dict)
    constants: bool = False
    outer: Scope | None = None

    def home(self, name: str) -> Scope | None:
        """The scope of a value or argument: this one, or the one around it."""
        if name in self.names:
            return self
        return self.outer.home(name) if self.outer is not None else None

    def find(self, name: str) -> Binding | None:
        home = self.home(name)
        found = home.names[name] if home is not None else self.module.names.get(name)
        return Failed() if found is None and self.module.incomplete else found

    def path(self, name: str) -> str:
        """The dotted path of a name that is defined here."""
        return f"{self.prefix}.{name}" if self.prefix else name

    def is_free(self, name: str, span: Span, diagnostics: Diagnostics) -> bool:
        """Whether a name can be defined here; reports where it is taken."""
        first = self.places.get(name)
        if first is None and self.block is None and self.outer is None:
            first = self.module.places.get(name)
        if first is None:
            return True
        # Constants and blocks are known before any value: what stands first in the file stays.
        stays = first.source is span.source and first.start > span.start
        report_twice(name, *((span, first) if stays else (first, span)), diagnostics)
        return stays

    def define(self, name: str, binding: Binding, span: Span) -> None:
        self.names[name] = binding
        self.places[name] = span

    def look_up(self, name: str, span: Span, diagnostics: Diagnostics) -> Binding:
        """What a name stands for; reports and answers `Failed` where nothing does."""
        found = self.find(name)
        if found is not None:
            return found
        later = self.module.later.get(name)
        if later is None and self.constants:
            later = self.module.places.get(name)
        if self.constants and name in self.module.later:
            diagnostics.error(
                "E0208",
                f"a constant cannot depend on the value '{name}'",
                span,
                label="computed by the model",
                others=[(self.module.later[name], "defined here")],
                hint="a constant is made of numbers and other constants",
            )
        elif later is not None and self.block is not None:
            diagnostics.error(
                "E0201",
                f"'{name}' is not visible inside block '{self.block.name}'",
                span,
                label="defined outside the block",
                others=[(later, "defined here")],
                hint="a block sees its own arguments, constants and other blocks: "
                f"add an argument, block {self.block.name}(..., {name})",
            )
        elif later is not None and later.start >= span.start:
            diagnostics.error(
                "E0201",
                f"'{name}' is used before it is defined",
                span,
                label="used here",
                others=[(later, "defined here")],
                hint="a file is read from top to bottom: move the definition up",
            )
        elif later is not None:
            return Failed()
        elif name in self.symbols:
            diagnostics.error(
                "E0304",
                f"a fixed size is needed, but '{name}' is known only at run time",
                span,
                others=[(self.symbols[name], "a run-time size by this declaration")],
                hint="write a number or the name of a `const`",
            )
        elif not diagnostics.full:
            around = self.outer.names if self.outer is not None else {}
            known = [*self.names, *around, *self.module.names, *self.symbols]
            diagnostics.error(
                "E0201",
                f"'{name}' is not defined",
                span,
                label="unknown name",
                hint=nearest(name, known) or "define it first, or declare it as an input",
            )
        return Failed()


def report_twice(name: str, first: Span, again: Span, diagnostics: Diagnostics) -> None:
    diagnostics.error(
        "E0202",
        f"'{name}' is defined twice",
        again,
        label="defined again here",
        others=[(first, "first defined here")],
        hint="give one of them another name",
    )


def name_span(statement: ast.Statement | ast.Argument | ast.Setting, name: str) -> Span:
    """The place of a statement's own name, which starts the statement or follows its keyword."""
    span = statement.span
    found = re.compile(rf"\b{re.escape(name)}\b").search(span.source.text, span.start, span.end)
    return Span(span.source, found.start(), found.end()) if found else span


def path_text(parts: tuple[ast.Part, ...]) -> str:
    """A dotted path or selector as it is written: `layers[*].c1.weight`."""
    return ".".join(part.name + "".join(_index_text(i) for i in part.indices) for part in parts)


def _index_text(index: ast.Index) -> str:
    if index.name is not None:
        return f"[{index.name}]"
    if index.first is None:
        return "[*]"
    return f"[{index.first}]" if index.first == index.last else f"[{index.first}..{index.last}]"


def bare_word(expression: ast.Expression) -> str | None:
    """The text of an expression that is a single plain name."""
    if isinstance(expression, ast.Name) and len(expression.path) == 1:
        part = expression.path[0]
        return None if part.indices else part.name
    return None


def function_span(call: ast.Call) -> Span:
    """The place of the function's name in a call."""
    text, start = call.span.source.text, call.span.start
    if call.label is not None or not text.startswith(call.function, start):
        found = text.find(call.function, start, call.span.end)
        start = found if found >= 0 else start
    return Span(call.span.source, start, start + len(call.function))


def label_span(call: ast.Call) -> Span:
    """The place of the label in `|> a: dense(8)`."""
    assert call.label is not None
    source, at = call.span.source, call.span.start
    if not source.text.startswith(call.label, at):
        at = max(source.text.rfind(call.label, 0, at), 0)
    return Span(source, at, at + len(call.label))
