"""`input` and `target` statements: from a written type to a `Type`."""

from __future__ import annotations

import re

from tiedgraph.diagnostics import Diagnostics, Span
from tiedgraph.ir.types import Dim, Extent, Kind, Type, elements
from tiedgraph.passes import limits
from tiedgraph.passes.arguments import Unfit, size
from tiedgraph.passes.constants import compute, lookup_in
from tiedgraph.passes.scope import Constant, Failed, Scope
from tiedgraph.syntax import ast

KINDS: dict[str, Kind] = {"float": "float", "index": "index", "class": "class"}
_SYMBOL = re.compile(r"[a-z][a-z0-9_]*")


def read_type(
    statement: ast.Data, scope: Scope, symbols: dict[str, Span], diagnostics: Diagnostics
) -> Type | None:
    """The declared type; None after a report. Adds new names of run-time sizes to `symbols`."""
    written = statement.type
    kind = KINDS.get(written.kind)
    if kind is None:
        diagnostics.error(
            "E0302",
            f"there is no type '{written.kind}'",
            written.span,
            hint="write float[...], index[n, ...] or class[n]",
        )
        return None
    sizes = list(written.sizes)
    bound: int | None = 0
    if written.kind != "float":
        if not sizes:
            diagnostics.error(
                "E0303",
                f"{written.kind} needs the number of different labels",
                written.span,
                hint=f"write {written.kind}[10]",
            )
            return None
        bound = _fixed(sizes.pop(0), f"the bound of {written.kind}", scope, diagnostics)
    dims = [_dim(item, scope, symbols, diagnostics) for item in sizes]
    if bound is None or any(dim is None for dim in dims):
        return None
    shape = tuple(dim for dim in dims if dim is not None)
    if elements(dim for dim in shape if isinstance(dim, int)) > limits.ELEMENTS:
        diagnostics.error(
            "E0501",
            f"'{statement.name}' has more than {limits.ELEMENTS} numbers in one sample",
            written.span,
            label="too large",
            hint="the limit of one value is 2**31 numbers",
        )
        return None
    return Type(kind, shape, bound)


def _fixed(
    expression: ast.Expression, what: str, scope: Scope, diagnostics: Diagnostics
) -> int | None:
    found = compute(expression, lookup_in(scope, diagnostics), diagnostics, "E0303")
    if isinstance(found, Failed):
        return None
    try:
        return size(found.value)
    except Unfit as error:
        code = "E0501" if error.code == "E0501" else "E0303"
        diagnostics.error(code, f"{what} {error}", expression.span, hint="write a size such as 28")
        return None


def _dim(
    expression: ast.Expression, scope: Scope, symbols: dict[str, Span], diagnostics: Diagnostics
) -> Dim | None:
    word = expression.span.text if isinstance(expression, ast.Name) else ""
    known = scope.find(word)
    if not _SYMBOL.fullmatch(word) or isinstance(known, Constant):
        return _fixed(expression, "a size", scope, diagnostics)
    if isinstance(known, Failed) and word not in scope.names:
        return None
    if word not in symbols and len(symbols) == limits.SYMBOLS:
        diagnostics.error(
            "E0501",
            f"'{word}' would be run-time size number {limits.SYMBOLS + 1}",
            expression.span,
            label="one too many",
            hint=f"a file has at most {limits.SYMBOLS} names of run-time sizes; "
            "sizes that are always equal can share one name",
        )
    symbols.setdefault(word, expression.span)
    return Extent(word)
