"""Kernel text as code for LLVM.

The text is a small part of Python, read by Python's own parser and never run: assignments, `for`
over a `range` upwards, `while`, `if`, `break`, `return`, arithmetic, comparisons, and calls of what
`tiedgraph.lanes.vector` and `math` give. Values are whole numbers of 64 bits, floats, truths,
vectors, masks and pointers; arithmetic between kinds follows NumPy, and literals with a point are
float64. Whole numbers in memory may have 32 bits, and so have those of vectors. A variable keeps
the kind that it has first.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from llvmlite import ir

from tiedgraph.lanes import math, vector
from tiedgraph.lanes.vector import (
    DOUBLE,
    ELEMENT,
    INT32,
    TRUTH,
    WHOLE,
    WHOLE_POINTER,
    common,
    convert,
    is_float,
    is_lanes,
    is_whole_lanes,
)

SYMBOLS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
ARITHMETIC = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul"}
BITWISE = {
    ast.BitAnd: "and_",
    ast.BitOr: "or_",
    ast.BitXor: "xor",
    ast.LShift: "shl",
    ast.RShift: "ashr",
}


class TextError(ValueError):
    """Kernel text that is not of the language; tells the line."""


def module_text(source: str, name: str, dtype: str, lanes: int, triple: str) -> str:
    """LLVM's text of a module with one function `name` of four pointers.

    source: `def kernel(activation, parameter, gradient, operand): ...`. Raises TextError.
    """
    [definition] = ast.parse(source).body
    assert isinstance(definition, ast.FunctionDef)
    module = ir.Module(name)
    module.triple = triple
    element = ELEMENT[dtype].as_pointer()
    kinds = [element, element, element, WHOLE_POINTER]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    scope = {**vector.names(dtype, lanes), **math.names(dtype)}
    scope |= zip((a.arg for a in definition.args.args), function.args, strict=True)
    _Writer(function, scope).write(definition.body)
    return str(module)


class _Writer:
    """Writes the statements of one function.

    scope: what names mean that are not variables: values, and functions of a builder and values.
    """

    def __init__(self, function: ir.Function, scope: dict[str, Any]) -> None:
        self.function = function
        self.builder: Any = ir.IRBuilder(function.append_basic_block("entry"))
        self.scope = scope
        self.variables: dict[str, Any] = {}
        self.ends: list[Any] = []  # where `break` goes, of the loops around

    def write(self, body: Sequence[ast.stmt]) -> None:
        start = self._block("start")
        self.builder.position_at_end(start)
        self._all(body)
        if not self.builder.block.is_terminated:
            self.builder.ret_void()
        self.builder.position_at_end(self.function.entry_basic_block)
        self.builder.branch(start)  # behind the variables' places

    def _block(self, name: str) -> Any:
        return self.function.append_basic_block(name)

    # ------------------------------------------------------------ statements

    def _all(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            if self.builder.block.is_terminated:  # behind a `break` or `return`
                return
            try:
                self._statement(statement)
            except (TypeError, KeyError, AttributeError) as error:
                raise TextError(f"line {statement.lineno}: {error}") from error

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[target], value=value):
                self._assign(target, value)
            case ast.AugAssign(target=target, op=op, value=value):
                self._put(target, self._binary(op, self.value(target), self.value(value)))
            case ast.Expr(value=ast.Call(func=ast.Name(id=name), args=parts, keywords=[])):
                self._call(name, parts)
            case ast.If(test=test, body=body, orelse=orelse):
                self._if(test, body, orelse)
            case ast.While(test=test, body=body, orelse=[]):
                self._while(test, body)
            case ast.For(
                target=ast.Name(id=name),
                iter=ast.Call(func=ast.Name(id="range"), args=bounds),
                body=body,
                orelse=[],
            ):
                self._for(name, [self.value(bound) for bound in bounds], body)
            case ast.Break():
                self.builder.branch(self.ends[-1])
            case ast.Return(value=None):
                self.builder.ret_void()
            case _:
                raise TypeError(f"{type(node).__name__} is not part of the language")

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            found = [self.value(part) for part in value.elts]
            for part, made in zip(target.elts, found, strict=True):
                self._put(part, made)
        else:
            self._put(target, self.value(value))

    def _put(self, target: ast.expr, value: Any) -> None:
        match target:
            case ast.Name(id=name):
                self._set(name, value)
            case ast.Subscript():
                place = self._place(target)
                self.builder.store(convert(self.builder, value, place.type.pointee), place)
            case _:
                raise TypeError(f"nothing is assigned to {type(target).__name__}")

    def _set(self, name: str, value: Any) -> None:
        if name not in self.variables:
            self.variables[name] = vector.on_stack(self.builder, value.type)
        place = self.variables[name]
        if value.type != place.type.pointee:
            raise TypeError(f"{name} is {place.type.pointee}, and cannot become {value.type}")
        self.builder.store(value, place)

    def _if(self, test: ast.expr, body: Sequence[ast.stmt], orelse: Sequence[ast.stmt]) -> None:
        yes, end = self._block("then"), self._block("end")
        no = self._block("else") if orelse else end
        self.builder.cbranch(self._truth(test), yes, no)
        for block, part in ((yes, body), (no, orelse)):
            if block is not end:
                self.builder.position_at_end(block)
                self._all(part)
                self._go(end)
        self.builder.position_at_end(end)

    def _go(self, block: Any) -> None:
        if not self.builder.block.is_terminated:
            self.builder.branch(block)

    def _while(self, test: ast.expr, body: Sequence[ast.stmt]) -> None:
        again, inside, end = self._block("while"), self._block("body"), self._block("end")
        self.builder.branch(again)
        self.builder.position_at_end(again)
        self.builder.cbranch(self._truth(test), inside, end)
        self._inside(inside, body, end)
        self._go(again)
        self.builder.position_at_end(end)

    def _inside(self, block: Any, body: Sequence[ast.stmt], end: Any) -> None:
        self.builder.position_at_end(block)
        self.ends.append(end)
        self._all(body)
        self.ends.pop()

    def _for(self, name: str, bounds: Sequence[Any], body: Sequence[ast.stmt]) -> None:
        """A counter of its own goes on, whatever the text does to the variable."""
        first, last = bounds[:2] if len(bounds) > 1 else (WHOLE(0), bounds[0])
        step = bounds[2] if len(bounds) > 2 else WHOLE(1)
        if isinstance(step, ir.Constant) and step.constant <= 0:
            raise TypeError("a range goes upwards")
        again, inside, end = self._block("for"), self._block("body"), self._block("end")
        counter = vector.on_stack(self.builder, WHOLE)
        self.builder.store(first, counter)
        self.builder.branch(again)
        self.builder.position_at_end(again)
        at = self.builder.load(counter)
        self.builder.cbranch(self.builder.icmp_signed("<", at, last), inside, end)
        self.builder.position_at_end(inside)
        self._set(name, at)
        self._inside(inside, body, end)
        if not self.builder.block.is_terminated:
            self.builder.store(self.builder.add(at, step, flags=["nsw"]), counter)
            self.builder.branch(again)
        self.builder.position_at_end(end)

    # ------------------------------------------------------------ expressions

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=bool() as literal):
                return TRUTH(int(literal))
            case ast.Constant(value=int() as literal):
                return WHOLE(literal)
            case ast.Constant(value=float() as literal):
                return DOUBLE(literal)
            case ast.Name(id=name):
                place = self.variables.get(name)
                return self.scope[name] if place is None else self.builder.load(place)
            case ast.Subscript():
                found = self.builder.load(self._place(node))
                return found if found.type != INT32 else self.builder.sext(found, WHOLE)
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(op, self.value(left), self.value(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._negative(self.value(operand))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._compare(SYMBOLS[type(op)], self.value(left), self.value(right))
            case ast.BoolOp(op=op, values=parts):
                return self._both(isinstance(op, ast.And), parts)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                both = (partial(self.value, body), partial(self.value, orelse))
                return self._either(self._truth(test), *both)
            case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]):
                return self._call(name, parts)
        raise TypeError(f"{type(node).__name__} is not part of the language")

    def _place(self, node: ast.Subscript) -> Any:
        return self.builder.gep(self.value(node.value), [self.value(node.slice)])

    def _call(self, name: str, parts: Sequence[ast.expr]) -> Any:
        return self.scope[name](self.builder, *map(self.value, parts))

    def _binary(self, op: ast.operator, a: Any, b: Any) -> Any:
        builder, how = self.builder, type(op)
        if how in BITWISE and is_whole_lanes(a.type):
            b = convert(builder, b, a.type)
            return getattr(builder, {**BITWISE, ast.RShift: "lshr"}[how])(a, b)
        if how in BITWISE:
            if a.type != b.type or is_float(a.type) or is_lanes(a.type):
                raise TypeError(f"no bits of {a.type} and {b.type}")
            return getattr(builder, BITWISE[how])(a, b)
        kind = common(a.type, b.type)
        if kind == WHOLE and how is ast.Div:
            kind = DOUBLE
        literal = isinstance(a, ir.Constant) and isinstance(b, ir.Constant)
        if kind == WHOLE and literal and how in ARITHMETIC:
            return WHOLE(_folded(how, a.constant, b.constant))
        a, b = convert(builder, a, kind), convert(builder, b, kind)
        if how in ARITHMETIC:
            plain = kind == WHOLE or is_whole_lanes(kind)
            return getattr(builder, ("" if plain else "f") + ARITHMETIC[how])(a, b)
        if how is ast.Div:
            return builder.fdiv(a, b)
        if kind != WHOLE or how not in (ast.FloorDiv, ast.Mod):
            raise TypeError(f"no {how.__name__} of {kind}")
        return self._divide(a, b)[how is ast.Mod]

    def _divide(self, a: Any, b: Any) -> tuple[Any, Any]:
        """The quotient towards minus infinity and the rest; both 0 where `b` is."""
        builder = self.builder
        none = builder.icmp_signed("==", b, WHOLE(0))
        by = builder.select(none, WHOLE(1), b)
        quotient, rest = builder.sdiv(a, by), builder.srem(a, by)
        apart = builder.icmp_signed("<", builder.xor(rest, by), WHOLE(0))
        down = builder.and_(apart, builder.icmp_signed("!=", rest, WHOLE(0)))
        quotient = builder.sub(quotient, builder.zext(down, WHOLE))
        rest = builder.add(rest, builder.select(down, by, WHOLE(0)))
        return builder.select(none, WHOLE(0), quotient), builder.select(none, WHOLE(0), rest)

    def _negative(self, x: Any) -> Any:
        if isinstance(x, ir.Constant):
            return x.type(-x.constant)
        if is_float(x.type) or is_lanes(x.type):
            return self.builder.fneg(x)
        return self.builder.neg(convert(self.builder, x, WHOLE))

    def _compare(self, symbol: str, a: Any, b: Any) -> Any:
        kind = common(a.type, b.type)
        a, b = convert(self.builder, a, kind), convert(self.builder, b, kind)
        if kind == WHOLE:
            return self.builder.icmp_signed(symbol, a, b)
        ordered = symbol != "!="  # NaN is unlike everything
        compare = self.builder.fcmp_ordered if ordered else self.builder.fcmp_unordered
        return compare(symbol, a, b)

    def _truth(self, node: ast.expr) -> Any:
        found = self.value(node)
        return found if found.type == TRUTH else self._compare("!=", found, WHOLE(0))

    def _both(self, every: bool, parts: Sequence[ast.expr]) -> Any:
        """`and` or `or`; what follows is not looked at once the answer is known."""
        found = self._truth(parts[0])
        for part in parts[1:]:
            made = [partial(self._truth, part), partial(TRUTH, int(not every))]
            found = self._either(found, *(made if every else made[::-1]))
        return found

    def _either(self, test: Any, *made: Callable[[], Any]) -> Any:
        """What the first function writes where the test holds, else what the second does."""
        blocks = [self._block("then"), self._block("else")]
        end = self._block("end")
        self.builder.cbranch(test, *blocks)
        found = []
        for block, make in zip(blocks, made, strict=True):
            self.builder.position_at_end(block)
            found.append((make(), self.builder.block))
        kind = TRUTH
        if any(value.type != TRUTH for value, _ in found):
            kind = common(*(value.type for value, _ in found))
        result = ir.IRBuilder(end).phi(kind)
        for value, block in found:
            self.builder.position_at_end(block)
            result.add_incoming(convert(self.builder, value, kind), block)
            self.builder.branch(end)
        self.builder.position_at_end(end)
        return result


def _folded(how: type[ast.operator], a: int, b: int) -> int:
    """Whole literals, in 64 bits."""
    sums: dict[type[ast.operator], int] = {ast.Add: a + b, ast.Sub: a - b, ast.Mult: a * b}
    return (sums[how] + (1 << 63)) % (1 << 64) - (1 << 63)
