"""Uses of blocks and repeats: each is an instance whose inside is expanded anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tiedgraph.diagnostics import Span, nearest
from tiedgraph.ir.graph import Instance
from tiedgraph.passes import limits
from tiedgraph.passes.arguments import WORDS, Given, Unfit, find_op, size
from tiedgraph.passes.constants import compute, describe, lookup_in
from tiedgraph.passes.counting import repeat_parts
from tiedgraph.passes.made import Owner
from tiedgraph.passes.scope import (
    Binding,
    BlockOf,
    Constant,
    Failed,
    Ref,
    Result,
    Scope,
    Word,
    bare_word,
    name_span,
)
from tiedgraph.syntax import ast

if TYPE_CHECKING:
    from tiedgraph.passes.expand import Expander


def use(
    expander: Expander,
    found: BlockOf,
    call: ast.Call,
    scope: Scope,
    owner: Owner,
    given: Sequence[Given],
    result: str | None,
    path: str | None,
) -> Result:
    """A use of a block: a new instance with its own parameters."""
    block = found.block
    names = _block_arguments(expander, found, call, scope, owner, given)
    if isinstance(names, Failed):
        return names
    if path is None:
        parametric = expander.counter.has_parameters(call, len(given), scope)
        path = _block_path(expander, call, parametric, scope, owner, result)
        if path is None:
            return Failed()
    if expander.blocks >= limits.BLOCK_DEPTH:
        expander.diagnostics.error(
            "E0501",
            f"blocks nest more than {limits.BLOCK_DEPTH} deep",
            call.span,
            hint="write the inner blocks' values out",
        )
        return Failed()
    expander.blocks += 1
    expander.made.instances[path] = Instance(path, "", span=call.span)
    inner = Scope(found.module, path, names, block=block, symbols=expander.symbols)
    inner.places = {a.name: a.span for a in block.arguments}
    for statement in block.body:
        if isinstance(statement, ast.Const):
            lookup = lookup_in(inner, expander.diagnostics)
            number = compute(statement.value, lookup, expander.diagnostics)
            place = name_span(statement, statement.name)
            if inner.is_free(statement.name, place, expander.diagnostics):
                inner.define(statement.name, number, place)
        elif isinstance(statement, ast.Let):
            expander.let(statement, inner)
    answer = expander.evaluate(block.result, inner, Owner("value", path, path), result)
    expander.blocks -= 1
    if isinstance(answer, Constant):
        expander.diagnostics.error(
            "E0209",
            f"block '{block.name}' returns {describe(answer.value)}, not a value",
            block.result.span,
            others=[(call.span, "used here")],
            hint="a number that only settings depend on is a `const`",
        )
        return Failed()
    return answer if isinstance(answer, Failed) else Ref(answer.id, call.span)


def _block_path(
    expander: Expander,
    call: ast.Call,
    parametric: bool,
    scope: Scope,
    owner: Owner,
    result: str | None,
) -> str | None:
    """Path of a block use or repeat; one without parameters needs no name."""
    if parametric:
        return expander.claim(call, scope, owner)
    if owner.path is not None and owner.claimed is None and result == owner.path:
        return owner.path
    return expander.made.fresh(owner.stem, call.function)


def _block_arguments(
    expander: Expander,
    found: BlockOf,
    call: ast.Call,
    scope: Scope,
    owner: Owner,
    given: Sequence[Given],
) -> dict[str, Binding] | Failed:
    """What each argument of a block is in this use, in their order."""
    block = found.block
    arguments = {argument.name: argument for argument in block.arguments}
    inside = ", ".join(
        a.name if a.default is None else f"{a.name}={a.default.span.text}" for a in block.arguments
    )
    write = f"write {block.name}({inside})"
    places: dict[str, Span] = {}
    names: dict[str, Binding] = {}
    failed: Failed | None = None
    every = [*given, *(Given(a.span, a) for a in call.arguments)]
    if len(every) > len(arguments):
        expander.diagnostics.error(
            "E0204",
            f"block '{block.name}' takes {len(arguments)} arguments, not {len(every)}",
            every[len(arguments)].span,
            label="one too many",
            others=[(name_span(block, block.name), "defined here")],
            hint=write,
        )
        failed = Failed()
    pairs = [(name, item, item.span) for name, item in zip(arguments, every)]  # noqa: B905
    pairs += [(k.name, Given(k.value.span, k.value), k.span) for k in call.keywords]
    for name, item, span in pairs:
        if name not in arguments:
            expander.diagnostics.error(
                "E0204",
                f"block '{block.name}' has no argument '{name}'",
                span,
                others=[(name_span(block, block.name), "defined here")],
                hint=nearest(name, arguments) or write,
            )
            failed = failed or Failed()
        elif name in places:
            expander.diagnostics.error(
                "E0204",
                f"'{name}' of block '{block.name}' is given twice",
                span,
                others=[(places[name], "given here already")],
                hint=write,
            )
            failed = failed or Failed()
        else:
            places[name] = span
            result = _block_argument(expander, item, scope, owner)
            names[name] = result
            if isinstance(result, Failed):
                failed = result
    inner = Scope(found.module, "", names, block=block, symbols=expander.symbols)
    ordered: dict[str, Binding] = {}
    for name, argument in arguments.items():
        if name in names:
            ordered[name] = names[name]
        elif argument.default is not None:
            inner.names = ordered
            default = _default(argument.default, inner, expander)
            ordered[name] = default
            if isinstance(default, Failed):
                failed = failed or default
        elif failed is None:
            expander.diagnostics.error(
                "E0204",
                f"block '{block.name}' needs '{name}'",
                call.span,
                others=[(name_span(block, block.name), "defined here")],
                hint=write,
            )
            failed = Failed()
    return failed if failed is not None else ordered


def _block_argument(expander: Expander, item: Given, scope: Scope, owner: Owner) -> Result:
    if item.result is not None:
        return item.result
    assert item.expression is not None
    word = bare_word(item.expression)
    known = word is not None and (word in WORDS or word in expander.symbols)
    if word is not None and known and scope.find(word) is None:
        return Constant(Word(word), item.span)
    return expander.evaluate(item.expression, scope, owner)


def _default(expression: ast.Expression, scope: Scope, expander: Expander) -> Constant | Failed:
    """What an argument is where a use does not give it; may refer to arguments before it."""
    word = bare_word(expression)
    if word is not None and word in WORDS and scope.find(word) is None:
        return Constant(Word(word), expression.span)
    lookup = lookup_in(scope, expander.diagnostics)
    return compute(expression, lookup, expander.diagnostics, "E0204")


# ---------------------------------------------------------------- repeats


def repeat(
    expander: Expander,
    call: ast.Call,
    scope: Scope,
    owner: Owner,
    given: list[Given],
    result: str | None,
    path: str | None,
) -> Result:
    """`repeat(x, 6, block)`: instances in a row, each fed the one before."""
    parts = repeat_parts(call, len(given))
    if parts is None:
        expander.diagnostics.error(
            "E0204",
            "repeat takes a value, how many times, and a block or layer",
            call.span,
            hint="write repeat(x, 6, block) or repeat(x, 6, block(n=8))",
        )
        return Failed()
    start, count, body = parts
    current = given[0].result if start is None else expander.evaluate(start, scope, owner)
    times = _times(expander, count, scope)
    if isinstance(current, Constant):
        expander.diagnostics.error(
            "E0302",
            f"repeat starts from a value, not {describe(current.value)}",
            call.span,
            hint="write repeat(x, 6, block)",
        )
        return Failed()
    if not isinstance(current, Ref) or times is None:
        return current if isinstance(current, Failed) else Failed()
    op, found = find_op(body.function, metric=False), scope.find(body.function)
    if op is None and not isinstance(found, BlockOf):
        return expander.no_function(body, scope, owner, [Given(call.span, result=current)], found)
    if path is None:
        parametric = expander.counter.has_parameters(body, 1, scope)
        path = _block_path(expander, call, parametric, scope, owner, result)
        if path is None:
            return Failed()
    expander.made.instances[path] = Instance(path, "", span=call.span)
    expander.made.repeats[path] = times
    for i in range(times):
        part = f"{path}[{i}]"
        own = Owner(owner.statement, part, part)
        items = [Given(call.span, result=current)]
        if op is not None:
            current = expander.apply(op, body, scope, own, items, part, False, part)
        else:
            assert isinstance(found, BlockOf)
            current = use(expander, found, body, scope, own, items, part, part)
        if not isinstance(current, Ref):
            expander.made.repeats[path] = i
            return current
        expander.made.named[part] = current
    return Ref(current.id, call.span)


def _times(expander: Expander, count: ast.Expression, scope: Scope) -> int | None:
    lookup = lookup_in(scope, expander.diagnostics)
    number = compute(count, lookup, expander.diagnostics, "E0204")
    if isinstance(number, Failed):
        return None
    try:
        return size(number.value)
    except Unfit as error:
        expander.diagnostics.error(
            error.code,
            f"the number of repeats {error}",
            count.span,
            hint=error.hint or "write repeat(x, 6, block)",
        )
        return None
