"""How much a statement expands to, found before anything is expanded.

A block is measured once for each set of compile-time arguments, so that forty blocks which each use
the next one twice cost forty steps, and the answer is a Python integer of any size.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.passes import limits
from tiedgraph.passes.arguments import REPEAT, find_op
from tiedgraph.passes.constants import compute, lookup_in
from tiedgraph.passes.scope import Binding, BlockOf, Constant, Ref, Scope
from tiedgraph.syntax import ast


class _Silent(Diagnostics):
    """Measuring reports nothing; expansion will."""

    def _add(self, *finding: object) -> None:
        pass


SILENT = _Silent()


@dataclass(frozen=True)
class Size:
    """Nodes and instances of an expanded expression, and whether it has parameters."""

    instances: int = 0
    parametric: bool = False

    def __add__(self, other: Size) -> Size:
        return Size(self.instances + other.instances, self.parametric or other.parametric)


class TooLarge(Exception):
    """A limit is exceeded; the text names it."""


class Counter:
    """Measures expressions; remembers blocks, and what it has measured so far."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Size] = {}
        self.visits = 0
        self._depth = 0
        self._blocks: list[str] = []

    def measure(self, expression: ast.Expression, scope: Scope) -> Size:
        """Raises TooLarge."""
        self.visits, self._depth, self._blocks = 0, 0, []
        return self._measure(expression, scope)

    def _block(self, found: BlockOf, call: ast.Call, skip: int, scope: Scope) -> Size:
        block = found.block
        inner = Scope(found.module, block=block)
        inner.names = self._arguments(found, call, skip, scope)
        constants = ((n, b.value, type(b.value)) for n, b in inner.names.items()
                     if isinstance(b, Constant))  # fmt: skip
        key = (id(block), *constants)
        if key not in self._known:
            if len(self._blocks) >= limits.BLOCK_DEPTH:
                raise TooLarge(f"blocks nest more than {limits.BLOCK_DEPTH} deep")
            self._visit()
            self._blocks.append(block.name)
            self._known[key] = self._body(block, inner)
            self._blocks.pop()
        return self._known[key]

    def has_parameters(self, call: ast.Call, skip: int, scope: Scope) -> bool:
        """Whether one use of a layer or block has parameters.

        skip: leading arguments that the text of the call does not show.
        """
        self.visits, self._depth, self._blocks = 0, 0, []
        try:
            return self._one(call, skip, scope).parametric
        except TooLarge:
            return True  # what is too large was refused before

    # ------------------------------------------------------------ expressions

    def _measure(self, expression: ast.Expression, scope: Scope) -> Size:
        self._depth += 1
        if self._depth > limits.EXPRESSION_DEPTH:
            raise TooLarge(f"expressions nest more than {limits.EXPRESSION_DEPTH} deep")
        total = Size()
        while True:
            if isinstance(expression, ast.Pipe):
                total += self._call(expression.right, 1, scope)
                expression = expression.left
            elif isinstance(expression, ast.Binary):
                self._visit()
                if not isinstance(expression.right, ast.Name | ast.Number):
                    total += self._measure(expression.right, scope)
                total += Size(1)
                expression = expression.left
            elif isinstance(expression, ast.Negative):
                total += Size(1)
                expression = expression.operand
            elif isinstance(expression, ast.Call):
                total += self._call(expression, 0, scope)
                break
            else:
                break
        self._depth -= 1
        return total

    def _visit(self) -> None:
        """Counts what is looked at, of which each becomes at least one node or instance."""
        self.visits += 1
        if self.visits > limits.INSTANCES:
            raise TooLarge(f"this expands to more than {limits.INSTANCES} layers and functions")

    def _call(self, call: ast.Call, skip: int, scope: Scope) -> Size:
        self._visit()
        if call.function == REPEAT:
            return self._repeat(call, skip, scope)
        total = Size()
        for argument in (*call.arguments, *(keyword.value for keyword in call.keywords)):
            if isinstance(argument, ast.Call | ast.Pipe | ast.Binary | ast.Negative):
                total += self._measure(argument, scope)
        return total + self._one(call, skip, scope)

    def _one(self, call: ast.Call, skip: int, scope: Scope) -> Size:
        op = find_op(call.function, metric=False)
        if op is not None:
            # Where the settings decide, the keywords are read; they can only say true or false.
            parametric = op.params is not None
            if parametric and op.parametric is not None:
                parametric = any(
                    keyword.value == ast.Boolean(True, span=keyword.span)
                    for keyword in call.keywords
                )
            return Size(1, parametric)
        found = scope.find(call.function)
        if isinstance(found, BlockOf):
            return self._block(found, call, skip, scope) + Size(1)
        return Size(1)

    def _repeat(self, call: ast.Call, skip: int, scope: Scope) -> Size:
        parts = repeat_parts(call, skip)
        if parts is None:
            return Size(1)
        start, count, body = parts
        total = Size(1) if start is None else Size(1) + self._measure(start, scope)
        number = compute(count, lookup_in(scope, SILENT), SILENT)
        times = number.value if isinstance(number, Constant) else 1
        if not isinstance(times, int) or times < 1:
            return total
        each = self._one(body, 1, scope)
        return total + Size(times * (each.instances + 1), each.parametric)

    # ------------------------------------------------------------ blocks

    def _arguments(
        self, found: BlockOf, call: ast.Call, skip: int, scope: Scope
    ) -> dict[str, Binding]:
        given = dict(zip([a.name for a in found.block.arguments][skip:], call.arguments))  # noqa: B905
        given |= {keyword.name: keyword.value for keyword in call.keywords}
        bound: dict[str, Binding] = {}
        inner = Scope(found.module, names=bound, block=found.block)
        for argument in found.block.arguments:
            value: Binding = Ref("")
            if argument.name in given:
                text, where = given[argument.name], scope
            elif argument.default is not None:
                text, where = argument.default, inner
            else:
                bound[argument.name] = value
                continue
            if not isinstance(text, ast.Call | ast.Pipe):
                known = compute(text, lookup_in(where, SILENT), SILENT)
                value = known if isinstance(known, Constant) else value
            bound[argument.name] = value
        return bound

    def _body(self, block: ast.Block, scope: Scope) -> Size:
        total = Size()
        for statement in block.body:
            if isinstance(statement, ast.Let):
                total += self._measure(statement.value, scope)
                scope.names[statement.name] = Ref("")
            elif isinstance(statement, ast.Const):
                known = compute(statement.value, lookup_in(scope, SILENT), SILENT)
                scope.names[statement.name] = known
        return total + self._measure(block.result, scope)


def repeat_parts(
    call: ast.Call, skip: int
) -> tuple[ast.Expression | None, ast.Expression, ast.Call] | None:
    """Start, count and body of `repeat(x, 6, block)`; start is None behind a `|>`.

    None where the call is not of that form.
    """
    given = list(call.arguments)
    start = given.pop(0) if not skip and given else None
    if len(given) != 2 or call.keywords or (start is None and not skip):
        return None
    count, body = given
    if isinstance(body, ast.Name) and len(body.path) == 1 and not body.path[0].indices:
        body = ast.Call(body.path[0].name, span=body.span)
    return (start, count, body) if isinstance(body, ast.Call) else None
