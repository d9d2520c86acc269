"""`+ - * /` between values, numbers and both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiedgraph.diagnostics import Span
from tiedgraph.passes.constants import NotComputable, describe, fold, is_number, not_computable
from tiedgraph.passes.made import Owner
from tiedgraph.passes.scope import Constant, Failed, Ref, Result, Scope
from tiedgraph.syntax import ast

if TYPE_CHECKING:
    from tiedgraph.passes.expand import Expander

OPERATORS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}


def negative(
    expander: Expander, expression: ast.Negative, scope: Scope, owner: Owner, result: str | None
) -> Result:
    """`-x`; several signs are one or none."""
    sign: ast.Expression = expression
    turn = False
    while isinstance(sign, ast.Negative):
        turn, sign = not turn, sign.operand
    operand = expander.evaluate(sign, scope, owner, None if turn else result)
    if not turn or isinstance(operand, Failed):
        return operand
    if isinstance(operand, Constant):
        return fold_constants(expander, "*", operand, Constant(-1), expression.span)
    return expander.node("negate", {}, [operand], owner, expression.span, result)


def fold_constants(
    expander: Expander, operator: str, left: Constant, right: Constant, span: Span
) -> Result:
    try:
        return Constant(fold(operator, left.value, right.value), span)
    except NotComputable as error:
        not_computable(error, span, expander.diagnostics)
        return Failed()


def binary(
    expander: Expander,
    stage: ast.Binary,
    left: Result,
    right: Result,
    owner: Owner,
    result: str | None,
) -> Result:
    """`left op right`; a number beside a value becomes a setting of the op."""
    if isinstance(left, Failed) or isinstance(right, Failed):
        return Failed()
    span = stage.span
    if isinstance(left, Constant) and isinstance(right, Constant):
        return fold_constants(expander, stage.operator, left, right, span)
    if isinstance(left, Ref) and isinstance(right, Ref):
        return expander.node(OPERATORS[stage.operator], {}, [left, right], owner, span, result)
    constant = left if isinstance(left, Constant) else right
    value = left if isinstance(left, Ref) else right
    assert isinstance(constant, Constant)
    assert isinstance(value, Ref)
    if not is_number(constant.value):
        expander.diagnostics.error(
            "E0302",
            f"{describe(constant.value)} cannot be part of arithmetic",
            constant.span,
            hint="arithmetic is between values and numbers",
        )
        return Failed()
    assert isinstance(constant.value, int | float)
    number = float(constant.value)

    def with_number(op: str, x: Ref, c: float, last: bool = True) -> Result:
        return expander.node(op, {"number": c}, [x], owner, span, result if last else None)

    if stage.operator == "+":
        return with_number("add_number", value, number)
    if stage.operator == "*":
        return with_number("multiply_number", value, number)
    if stage.operator == "-":
        if value is left:
            return with_number("add_number", value, -number)
        turned = with_number("multiply_number", value, -1.0, last=False)
        return with_number("add_number", turned, number) if isinstance(turned, Ref) else turned
    if value is right:
        return with_number("divide_number", value, number)
    inverse = fold_constants(expander, "/", Constant(1.0), constant, span)
    if isinstance(inverse, Constant):
        assert isinstance(inverse.value, int | float)
        return with_number("multiply_number", value, float(inverse.value))
    return inverse
