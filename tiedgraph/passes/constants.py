"""Compile-time numbers: constants, sizes, settings."""

from __future__ import annotations

import math
from collections.abc import Callable

from tiedgraph.diagnostics import Diagnostics, Span
from tiedgraph.passes import limits
from tiedgraph.passes.scope import Binding, Constant, Failed, Plain, Ref, Scope, Word
from tiedgraph.syntax import ast

Lookup = Callable[[ast.Name], Binding]


class NotComputable(Exception):
    """A constant expression without a value; the text says why."""


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def describe(value: Plain) -> str:
    """A constant in the words of a message."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Word):
        return f"the word '{value}'"
    if isinstance(value, str):
        return f'the text "{value[:40]}"'
    if isinstance(value, tuple):
        return f"[{', '.join(describe(item) for item in value[:4])}{', ...' * (len(value) > 4)}]"
    return f"{value:g}" if isinstance(value, float) or value < 10**9 else str(value)[:24]


def fold(operator: str, left: Plain, right: Plain) -> int | float:
    """`left operator right`. Whole numbers stay whole; a division that leaves a rest is a float.

    Raises NotComputable for what is not a number, a division by zero, and numbers too large.
    """
    for side in (left, right):
        if not is_number(side):
            raise NotComputable(f"{describe(side)} is not a number")
    assert isinstance(left, int | float)
    assert isinstance(right, int | float)
    result: int | float
    try:
        if operator == "+":
            result = left + right
        elif operator == "-":
            result = left - right
        elif operator == "*":
            result = left * right
        elif isinstance(left, int) and isinstance(right, int) and left % right == 0:
            result = left // right
        else:
            result = left / right
    except ZeroDivisionError:
        raise NotComputable("this divides by zero") from None
    except OverflowError:
        raise NotComputable("the result is too large") from None
    return bounded(result)


def bounded(number: int | float) -> int | float:
    if isinstance(number, int) and abs(number) >= limits.INTEGER:
        raise NotComputable("the result is beyond 2**63, the limit of whole numbers")
    if isinstance(number, float) and not math.isfinite(number):
        raise NotComputable("the result is not a finite number")
    return number


def compute(
    expression: ast.Expression, lookup: Lookup, diagnostics: Diagnostics, code: str = "E0208"
) -> Constant | Failed:
    """The value of an expression that must be known when the file is compiled.

    code: what a value of the graph in its place is reported as.
    """
    # Long sums lean to the left: walk down that side in a loop.
    rights: list[ast.Binary] = []
    while isinstance(expression, ast.Binary):
        rights.append(expression)
        expression = expression.left
    result = _leaf(expression, lookup, diagnostics, code)
    for node in reversed(rights):
        right = compute(node.right, lookup, diagnostics, code)
        if isinstance(result, Failed):
            continue
        if isinstance(right, Failed):
            result = right
            continue
        try:
            result = Constant(fold(node.operator, result.value, right.value), node.span)
        except NotComputable as error:
            not_computable(error, node.span, diagnostics)
            result = Failed()
    return result


def _leaf(
    expression: ast.Expression, lookup: Lookup, diagnostics: Diagnostics, code: str
) -> Constant | Failed:
    sign = 1
    outer = expression
    while isinstance(expression, ast.Negative):
        sign, expression = -sign, expression.operand
    if isinstance(expression, ast.Binary):
        result = compute(expression, lookup, diagnostics, code)
    elif isinstance(expression, ast.Number):
        result = _literal(expression, diagnostics)
    elif isinstance(expression, ast.String | ast.Boolean):
        result = Constant(expression.value, expression.span)
    elif isinstance(expression, ast.Tuple):
        items = [compute(item, lookup, diagnostics, code) for item in expression.items]
        constants = [item for item in items if isinstance(item, Constant)]
        if len(constants) < len(items):
            return Failed()
        result = Constant(tuple(item.value for item in constants), expression.span)
    elif isinstance(expression, ast.Name):
        found = lookup(expression)
        if isinstance(found, Failed):
            return found
        if not isinstance(found, Constant):
            _not_constant(expression, diagnostics, code)
            return Failed()
        result = Constant(found.value, expression.span)
    else:
        _not_constant(expression, diagnostics, code)
        return Failed()
    if sign < 0 and isinstance(result, Constant):
        try:
            return Constant(fold("*", result.value, -1), outer.span)
        except NotComputable as error:
            not_computable(error, outer.span, diagnostics)
            return Failed()
    return result


def _literal(expression: ast.Number, diagnostics: Diagnostics) -> Constant | Failed:
    try:
        return Constant(bounded(expression.value), expression.span)
    except NotComputable as error:
        not_computable(error, expression.span, diagnostics)
        return Failed()


def not_computable(error: NotComputable, span: Span, diagnostics: Diagnostics) -> None:
    diagnostics.error(
        "E0208",
        f"{error}",
        span,
        label="cannot be computed",
        hint="numbers are whole and below 2**63, or floating-point and finite",
    )


def _not_constant(expression: ast.Expression, diagnostics: Diagnostics, code: str) -> None:
    what = f"'{expression.span.text[:40]}'" if isinstance(expression, ast.Name) else "this"
    diagnostics.error(
        code,
        f"a number known when the file is compiled is needed, but {what} is computed by the model",
        expression.span,
        hint="write a number, or the name of a `const`",
    )


def lookup_in(scope: Scope, diagnostics: Diagnostics) -> Lookup:
    """Looks plain names up in a scope."""

    def lookup(name: ast.Name) -> Binding:
        first = name.path[0]
        found = scope.look_up(first.name, name.span, diagnostics)
        if len(name.path) == 1 and not first.indices:
            return found
        # A dotted path names a value, which `compute` reports as such.
        return found if isinstance(found, Failed) else _VALUE

    return lookup


_VALUE = Ref("")
