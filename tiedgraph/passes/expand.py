"""Expressions to nodes: blocks, repeats and pipes are expanded here.

Each layer, block use and repeat that has parameters is an instance with a path of its own: the
statement's name, or the label in `|> name: dense(8)`.
"""

from __future__ import annotations

from collections.abc import Sequence

from tiedgraph.diagnostics import Diagnostics, Span, nearest
from tiedgraph.ir.graph import Instance, Node, Value
from tiedgraph.ops import BY_NAME
from tiedgraph.ops.rules import Op
from tiedgraph.passes import limits, words
from tiedgraph.passes.arguments import (
    REPEAT,
    Arguments,
    Bound,
    Given,
    find_op,
    function_names,
    spelling,
)
from tiedgraph.passes.arithmetic import OPERATORS, binary, negative
from tiedgraph.passes.blocks import repeat, use
from tiedgraph.passes.constants import compute, describe, lookup_in
from tiedgraph.passes.counting import Counter
from tiedgraph.passes.lexicons import Lexicons
from tiedgraph.passes.made import Made, Owner
from tiedgraph.passes.scope import (
    Binding,
    BlockOf,
    ChainOf,
    Constant,
    Failed,
    Ref,
    Result,
    Scope,
    TaskOf,
    UnitOf,
    Word,
    bare_word,
    function_span,
    label_span,
    name_span,
    path_text,
)
from tiedgraph.passes.units import EMISSIONS
from tiedgraph.syntax import ast


class Expander:
    """Evaluates expressions and adds what they need to `made`."""

    def __init__(
        self, diagnostics: Diagnostics, symbols: dict[str, Span], lexicons: Lexicons
    ) -> None:
        self.diagnostics = diagnostics
        self.symbols = symbols
        self.lexicons = lexicons
        self.made = Made()
        self.counter = Counter()
        self._depth = 0
        self.blocks = 0

    # ------------------------------------------------------------ expressions

    def evaluate(
        self,
        expression: ast.Expression,
        scope: Scope,
        owner: Owner,
        result: str | None = None,
        top: bool = False,
    ) -> Result:
        """What an expression is.

        result: the id of the value, if this expression makes one.
        top: whether this is all of a `metric` statement, where a metric may stand.
        """
        if self._depth >= limits.EXPRESSION_DEPTH:
            self.diagnostics.error(
                "E0501",
                f"expressions nest more than {limits.EXPRESSION_DEPTH} deep",
                expression.span,
                hint="give parts of it names of their own",
            )
            return Failed()
        self._depth += 1
        # Pipes and sums lean to the left: walk down that side in a loop.
        stages: list[ast.Pipe | ast.Binary] = []
        while isinstance(expression, ast.Pipe | ast.Binary):
            stages.append(expression)
            expression = expression.left
        last = not stages
        current = self._leaf(expression, scope, owner, result if last else None, top and last)
        left = expression.span
        for stage in reversed(stages):
            last = stage is stages[0]
            name = result if last else None
            if isinstance(stage, ast.Pipe):
                first = Given(left, result=current)
                current = self.call(stage.right, scope, owner, [first], name, top and last)
            else:
                right = self.evaluate(stage.right, scope, owner)
                current = binary(self, stage, current, right, owner, name)
            left = stage.span
        self._depth -= 1
        return current

    def _leaf(
        self,
        expression: ast.Expression,
        scope: Scope,
        owner: Owner,
        result: str | None,
        top: bool,
    ) -> Result:
        if isinstance(expression, ast.Call):
            return self.call(expression, scope, owner, [], result, top)
        if isinstance(expression, ast.Name):
            return self.name(expression, scope)
        if isinstance(expression, ast.Negative):
            return negative(self, expression, scope, owner, result)
        if isinstance(expression, ast.Chain):
            self.diagnostics.error(
                "E0302",
                "a chain of units is not a value",
                expression.span,
                hint="give it a name, words = chain ..., and use that: likelihood(words, word)",
            )
            return Failed()
        return compute(expression, lookup_in(scope, self.diagnostics), self.diagnostics)

    def name(self, expression: ast.Name, scope: Scope) -> Result:
        """A value, constant or argument by its name or dotted path."""
        root = expression.path[0]
        found = scope.look_up(root.name, expression.span, self.diagnostics)
        if isinstance(found, BlockOf):
            self.diagnostics.error(
                "E0209",
                f"'{root.name}' is a block, not a value",
                expression.span,
                hint=f"use it: {root.name}(...)",
            )
            return Failed()
        if isinstance(found, UnitOf | ChainOf):
            what = "unit" if isinstance(found, UnitOf) else "chain"
            self.diagnostics.error(
                "E0302",
                f"'{root.name}' is a {what}, not a value",
                expression.span,
                hint=f"what is asked of a chain: {', '.join(words.FUNCTIONS)}",
            )
            return Failed()
        if isinstance(found, Failed):
            return found
        home = scope.home(root.name)
        if home is not None:
            self.made.used.add(home.path(root.name))
        if len(expression.path) > 1 or root.indices:
            return self._path(expression, home or scope)
        if isinstance(found, TaskOf):
            inside = [name for name in self.made.named if name.startswith(f"{root.name}.")]
            self.diagnostics.error(
                "E0302",
                f"'{root.name}' is a task, not a value",
                expression.span,
                hint=f"name a value of it: {', '.join(inside[:6])}" if inside else "",
            )
            return Failed()
        return Ref(found.id, expression.span) if isinstance(found, Ref) else found

    def _path(self, expression: ast.Name, scope: Scope) -> Result:
        path = scope.path(path_text(expression.path))
        found = self.made.named.get(path)
        if isinstance(found, Ref):
            self.made.used.add(path)
            return Ref(found.id, expression.span)
        if found is not None:
            return found
        root = scope.path(expression.path[0].name)
        owner, _, last = path.rpartition(".")
        several = "*" in path or ".." in path
        message, hint = f"there is no value '{path_text(expression.path)}'", ""
        if several:
            message = f"'{path_text(expression.path)}' selects several values; one is needed here"
            hint = "selectors with [*] and [1..3] stand in tie, init and freeze"
        elif path.partition("[")[0] in self.made.repeats and path.endswith("]"):
            count = self.made.repeats[path.partition("[")[0]]
            hint = f"the repeat has {count} instances, [0] to [{count - 1}]"
        elif owner in self.made.instances and self.made.instances[owner].op:
            message = f"'{last}' of '{owner}' is not a value"
            hint = "parameters are no values; they are named in tie, init and freeze"
        elif not self.diagnostics.full:
            inside = [name for name in self.made.named if name.startswith((root + ".", root + "["))]
            hint = nearest(path, inside) or f"there are: {', '.join(inside[:6]) or 'none'}"
        self.diagnostics.error("E0201", message, expression.span, hint=hint)
        return Failed()

    # ------------------------------------------------------------ calls

    def call(
        self,
        call: ast.Call,
        scope: Scope,
        owner: Owner,
        given: list[Given],
        result: str | None,
        top: bool,
    ) -> Result:
        """A layer, function, block or repeat; `given` is what stands left of a `|>`."""
        if call.label is not None:
            return self._labelled(call, scope, owner, given, top)
        if call.function in words.FUNCTIONS:
            return words.ask(self, call, scope, owner, result, top)
        op = find_op(call.function, metric=top and owner.statement == "metric")
        if op is not None:
            return self.apply(op, call, scope, owner, given, result, top, None)
        if call.function == REPEAT:
            return repeat(self, call, scope, owner, given, result, None)
        found = scope.find(call.function)
        if isinstance(found, BlockOf):
            return use(self, found, call, scope, owner, given, result, None)
        return self.no_function(call, scope, owner, given, found)

    def _labelled(
        self, call: ast.Call, scope: Scope, owner: Owner, given: list[Given], top: bool
    ) -> Result:
        assert call.label is not None
        path = scope.path(call.label)
        if not scope.is_free(call.label, label_span(call), self.diagnostics):
            return Failed()
        own = Owner(owner.statement, path, path)
        plain = ast.Call(call.function, call.arguments, call.keywords, span=call.span)
        found = self.call(plain, scope, own, given, path, top)
        self.define(call.label, found, label_span(call), scope)
        return found

    def define(self, name: str, found: Result, span: Span, scope: Scope) -> None:
        """Makes a value known under a name of the scope."""
        if isinstance(found, Failed):
            self.made.instances[scope.path(name)] = Instance(scope.path(name), "?", span=span)
        scope.define(name, found, span)
        self.made.named[scope.path(name)] = found

    def no_function(
        self,
        call: ast.Call,
        scope: Scope,
        owner: Owner,
        given: list[Given],
        found: Binding | None,
    ) -> Result:
        for argument in call.arguments:
            if isinstance(argument, ast.Name | ast.Call | ast.Pipe):
                self.evaluate(argument, scope, Owner("value", owner.stem, owner.stem))
        if isinstance(found, Failed) or self.diagnostics.full:
            return Failed()
        hint = ""
        message = f"there is no layer, function or block '{call.function}'"
        if found is not None:
            message = f"'{call.function}' is a value, not a function"
            hint = f"write {call.function} alone, or {call.function} * (...) for a product"
        else:
            blocks = [name for name, b in scope.module.names.items() if isinstance(b, BlockOf)]
            hint = nearest(call.function, [*function_names(), *blocks])
            if call.function in OPERATORS.values():
                signs = {word: sign for sign, word in OPERATORS.items()}
                hint = f"write a {signs[call.function]} b"
            hint = EMISSIONS.get(call.function, hint)
            hint = hint or f"define it, block {call.function}(x) {{ ... return ... }}, or import it"
        self.diagnostics.error("E0203", message, function_span(call), hint=hint)
        return Failed()

    # ------------------------------------------------------------ ops

    def apply(
        self,
        op: Op,
        call: ast.Call,
        scope: Scope,
        owner: Owner,
        given: Sequence[Given],
        result: str | None,
        top: bool,
        path: str | None,
    ) -> Result:
        """One node. `path`: of its instance, where the caller has one ready (a repeat)."""
        if op.category == "metric" and not (top and owner.statement == "metric"):
            self.diagnostics.error(
                "E0207",
                f"'{spelling(op)}' is a metric, which stands alone in a `metric` statement",
                function_span(call),
                label="not a value",
                hint=f"write: metric {spelling(op)}({', '.join(op.inputs)})",
            )
            return Failed()
        arguments = [*given, *(Given(a.span, a) for a in call.arguments)]
        binding = Arguments(op, call, arguments, self.diagnostics)
        for name, item in binding.values():
            found = item.result
            if item.expression is not None:
                found = self.evaluate(item.expression, scope, owner)
            assert found is not None
            binding.take(name, item, found)
        bound = binding.finish(lambda item, words: self.setting(item, scope, words))
        if isinstance(bound, Failed):
            return bound
        instance = ""
        if op.params is not None and (op.parametric is None or op.parametric(bound.attrs)):
            claimed = path or self.claim(call, scope, owner)
            if claimed is None:
                return Failed()
            instance = claimed
            # The layer that a block returns belongs to the block's own instance.
            made = Instance(instance, op.name, span=call.span)
            self.made.instances.setdefault(instance, made)
        return self.add(op, bound, owner, call.span, result, instance)

    def setting(self, item: Given, scope: Scope, words: frozenset[str]) -> Constant | Failed:
        if item.expression is None:
            if isinstance(item.result, Ref):
                self.diagnostics.error(
                    "E0204",
                    "a setting must be known when the file is compiled",
                    item.span,
                    hint="a value goes left of |> only as the first input",
                )
                return Failed()
            assert item.result is not None
            return item.result
        if isinstance(item.expression, ast.Tuple):
            # Names of run-time sizes may stand in a list too: reshape(x, [2, 3, time]).
            parts = [self.setting(Given(e.span, e), scope, words) for e in item.expression.items]
            found = [part for part in parts if isinstance(part, Constant)]
            if len(found) < len(parts):
                return Failed()
            return Constant(tuple(part.value for part in found), item.span)
        word = bare_word(item.expression)
        unknown = words and word is not None and scope.find(word) is None  # a word misspelt
        if word is not None and (word in words or unknown or self._is_symbol(word, scope)):
            return Constant(Word(word), item.span)
        return compute(
            item.expression, lookup_in(scope, self.diagnostics), self.diagnostics, "E0204"
        )

    def _is_symbol(self, word: str, scope: Scope) -> bool:
        return word in self.symbols and not isinstance(scope.find(word), Constant)

    def claim(self, call: ast.Call, scope: Scope, owner: Owner) -> str | None:
        """The path of an instance without a label: the statement's name, once."""
        word = call.function
        if owner.path is None:
            self.diagnostics.error(
                "E0205",
                f"this {word} has parameters and needs a name",
                call.span,
                label=f"in a {owner.statement} statement nothing names it",
                hint=f"put it on a line of its own, h = {word}(...), and use h here",
            )
            return None
        if owner.claimed is not None:
            self.diagnostics.error(
                "E0205",
                f"two layers with parameters in one expression: both would be '{owner.path}'",
                call.span,
                label="this one needs a name of its own",
                others=[(owner.claimed, f"this one is '{owner.path}'")],
                hint=f"label it: |> a: {word}(...), or put it on a line of its own",
            )
            return None
        owner.claimed = call.span
        return owner.path

    # ------------------------------------------------------------ nodes

    def node(
        self,
        op: str,
        attrs: dict[str, float],
        inputs: Sequence[Ref],
        owner: Owner,
        span: Span,
        result: str | None,
    ) -> Result:
        record = BY_NAME[op]
        places = tuple((i, item.span) for i, item in enumerate(inputs) if item.span is not None)
        bound = Bound(tuple(item.id for item in inputs), record.Attrs(**attrs), places)
        return self.add(record, bound, owner, span, result, "")

    def add(
        self, op: Op, bound: Bound, owner: Owner, span: Span, result: str | None, instance: str
    ) -> Ref:
        node = self.made.fresh(owner.stem, spelling(op))
        value = result if result is not None else node
        self.made.nodes[node] = Node(
            node,
            op.name,
            bound.attrs,
            bound.inputs,
            outputs=(value,),
            instance=instance,
            places=bound.places,
            span=span,
        )
        self.made.values[value] = Value(value, None, node, span)
        return Ref(value, span)

    # ------------------------------------------------------------ definitions

    def let(self, statement: ast.Let, scope: Scope) -> None:
        """`NAME = expression`, in a file or a block."""
        place = name_span(statement, statement.name)
        path = scope.path(statement.name)
        if not scope.is_free(statement.name, place, self.diagnostics):
            return
        owner = Owner("value", path, path)
        if isinstance(statement.value, ast.Chain):
            chain = words.read_chain(self, statement.value, scope, owner)
            scope.define(statement.name, chain, place)
            return
        found = self.evaluate(statement.value, scope, owner, path)
        if isinstance(found, Constant):
            self.diagnostics.error(
                "E0302",
                f"'{statement.name}' would be {describe(found.value)}, not a value of the model",
                statement.value.span,
                label="known when the file is compiled",
                hint=f"write const {statement.name} = ...",
            )
            found = Failed()
        self.define(statement.name, found, place, scope)
        self.made.places[path] = (statement.name, place)
