"""`tie hard` and `init` statements as records; selectors are matched once shapes are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tiedgraph.diagnostics import Diagnostics, Span, nearest
from tiedgraph.ir.graph import Init, Override, Step, Tie, TieMember
from tiedgraph.ops.rules import setting
from tiedgraph.passes import limits
from tiedgraph.passes.arguments import Unfit, convert, settings_of_class
from tiedgraph.passes.constants import Lookup, compute
from tiedgraph.passes.scope import Failed, path_text
from tiedgraph.syntax import ast

# ---------------------------------------------------------------- initialisers


@dataclass(frozen=True)
class _None:
    """No numbers."""


@dataclass(frozen=True)
class _Constant:
    value: float = setting("number", doc="every entry")


@dataclass(frozen=True)
class _Normal:
    mean: float = setting("number", 0.0, doc="mean")
    deviation: float = setting("number", 1.0, minimum=0, doc="standard deviation")


@dataclass(frozen=True)
class _Uniform:
    low: float = setting("number", doc="least value")
    high: float = setting("number", doc="largest value")


# Names that `init SELECTOR = ...` takes; `tiedgraph.runtime.initialise` draws the numbers.
INITS: dict[str, type] = {
    "zeros": _None,
    "ones": _None,
    "constant": _Constant,
    "normal": _Normal,
    "uniform": _Uniform,
    "glorot_uniform": _None,
    "glorot_normal": _None,
    "he_uniform": _None,
    "he_normal": _None,
    "lecun_uniform": _None,
    "lecun_normal": _None,
    "orthogonal": _None,
}


def read_init(
    statement: ast.Initialise, lookup: Lookup, diagnostics: Diagnostics
) -> Override | None:
    """`init SELECTOR = normal(0, 0.1)`; None after a report."""
    call = statement.value
    if call.function not in INITS:
        diagnostics.error(
            "E0203",
            f"there is no initialiser '{call.function}'",
            call.span,
            hint=nearest(call.function, INITS) or f"there are: {', '.join(INITS)}",
        )
        return None
    table = {item.name: item for item in settings_of_class(INITS[call.function])}
    write = f"write {call.function}({', '.join(table)})"
    found: dict[str, float] = {}
    good = True
    named = arguments(call.arguments, call.keywords, tuple(table), lookup, diagnostics)
    if named is None:
        return None
    for name, value, span in named:
        try:
            if name not in table or name in found:
                raise Unfit("E0204", "is one number too many" if name.isdigit() else "has no place")
            found[name] = convert(value, table[name])
        except Unfit as error:
            message = f"'{name}' of {call.function} {error}"
            diagnostics.error(error.code, message, span, hint=write)
            good = False
    missing = [n for n, f in table.items() if n not in found and not isinstance(f.default, float)]
    if missing and good:
        diagnostics.error("E0204", f"{call.function} needs '{missing[0]}'", call.span, hint=write)
        good = False
    if call.function == "uniform" and good and found["low"] >= found["high"]:
        diagnostics.error("E0204", "'low' of uniform is below 'high'", call.span, hint=write)
        good = False
    if not good:
        return None
    numbers = tuple(
        found[name] if name in found else float(item.default)  # type: ignore[arg-type]
        for name, item in table.items()
    )
    init = Init(call.function, numbers, statement.span)
    path = path_text(statement.selector.parts)
    return Override(path, init, statement.selector.span)


# ---------------------------------------------------------------- hard ties


def read_tie(
    statement: ast.TieHard, number: int, lookup: Lookup, diagnostics: Diagnostics
) -> list[Tie]:
    """One record, or none after a report. Paths and views stay as they are written."""
    name = f"tie{number}"
    text = " ".join(statement.span.text.split())
    members = tuple(
        TieMember(path_text(selector.parts), span=selector.span) for selector in statement.members
    )
    if statement.by is not None:
        call = statement.by
        given = arguments(call.arguments, call.keywords, (), lookup, diagnostics)
        if given is None:
            return []
        settings = (("map", call.function), *((name, value) for name, value, _ in given))
        return [Tie(name, "index_map", members, settings, text, statement.span)]
    if statement.view is None:
        return [Tie(name, "hard", members, (), text, statement.span)]
    read = _read_view(statement.view, lookup, diagnostics)
    if read is None:
        return []
    # What is read owns the numbers: it comes last behind a view and first where all are equal.
    members = (*members, read) if read.steps else (read, *members)
    return [Tie(name, "hard", members, (), text, statement.span)]


def _read_view(
    view: ast.Selector | ast.ViewCall, lookup: Lookup, diagnostics: Diagnostics
) -> TieMember | None:
    """The right side of `a = flip(transpose(b), axis=0)`: b, and the steps from inside out."""
    steps: list[Step] = []
    span = view.span
    while isinstance(view, ast.ViewCall):
        given = arguments(view.arguments, view.keywords, (), lookup, diagnostics)
        if given is None:
            return None
        steps.append(Step(view.function, tuple((name, value) for name, value, _ in given)))
        view = view.operand
    if len(steps) > limits.BLOCK_DEPTH:
        diagnostics.error(
            "E0501",
            f"more than {limits.BLOCK_DEPTH} views in one tie",
            span,
            hint="many views of views are one permute, reshape or index map",
        )
        return None
    return TieMember(path_text(view.parts), tuple(reversed(steps)), span)


def arguments(
    positional: Sequence[ast.Expression],
    keywords: Sequence[ast.Keyword],
    names: tuple[str, ...],
    lookup: Lookup,
    diagnostics: Diagnostics,
) -> list[tuple[str, Any, Span]] | None:
    """Name, value and place of each argument; one by position beyond `names` is "0", "1", ..."""
    found: list[tuple[str, Any, Span]] = []
    pairs = [
        (names[i] if i < len(names) else str(i), item) for i, item in enumerate(positional)
    ] + [(keyword.name, keyword.value) for keyword in keywords]
    for name, expression in pairs:
        constant = compute(expression, lookup, diagnostics, "E0204")
        if isinstance(constant, Failed):
            return None
        found.append((name, constant.value, expression.span))
    return found
