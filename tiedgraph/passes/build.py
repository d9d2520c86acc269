"""The first pass: from the syntax tree to a graph without types.

Statement by statement: data, values, outputs, losses and metrics become nodes (`expand`), imports,
constants and blocks are read before (`modules`), ties, `init` and `freeze` are recorded as they are
written and find their parameters in `infer_shapes`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tiedgraph.diagnostics import Diagnostics, Source, Span
from tiedgraph.ir.graph import DataInput, Graph, Override, Task, Term, Value
from tiedgraph.passes import limits
from tiedgraph.passes.constants import Lookup, compute, describe, is_number, lookup_in
from tiedgraph.passes.counting import TooLarge
from tiedgraph.passes.declare import read_type
from tiedgraph.passes.expand import Expander
from tiedgraph.passes.lexicons import Lexicons, read_lexicon_type
from tiedgraph.passes.made import Owner
from tiedgraph.passes.modules import load, names_inside_blocks
from tiedgraph.passes.scope import (
    Constant,
    Failed,
    Module,
    Ref,
    Result,
    Scope,
    TaskOf,
    name_span,
    path_text,
)
from tiedgraph.passes.settings import read_data, read_train
from tiedgraph.passes.sharing import read_init, read_tie
from tiedgraph.passes.soft import read_soft
from tiedgraph.passes.tasks import claim_for_task, fits_inside, read_shared
from tiedgraph.passes.units import read_unit
from tiedgraph.syntax import ast

MODEL = "model"


def build(
    file: ast.File,
    diagnostics: Diagnostics,
    define: Mapping[str, float] | None = None,
    root: Path | None = None,
    lexicon: Source | None = None,
) -> Graph:
    """The graph of a file, with every block expanded and every name resolved.

    define: numbers that replace constants of the file or of its imports.
    root: the folder of the file, for imports; None for a text without one.
    lexicon: what stands for the lexicons of chains and targets.

    After errors the graph holds what could be read, so that later passes can find more.
    """
    main, *imported = load(file, diagnostics, define or {}, root)
    lexicons = Lexicons(root, diagnostics, lexicon)
    return _Build(main, imported, diagnostics, lexicons).graph()


class _Build:
    def __init__(
        self,
        module: Module,
        imported: Sequence[Module],
        diagnostics: Diagnostics,
        lexicons: Lexicons,
    ) -> None:
        self.module = module
        self.diagnostics = diagnostics
        self.symbols: dict[str, Span] = {}
        self.expander = Expander(diagnostics, self.symbols, lexicons)
        for one in (module, *imported):
            self.expander.made.reserved |= names_inside_blocks(one.file)
        self.scope = Scope(module, symbols=self.symbols)
        self.name = ""
        self.named: Span | None = None
        self.losses: list[Term] = []
        self.metrics: list[Term] = []
        self.outputs: list[Term] = []
        self.loss_names, self.metric_names = _Names(), _Names()
        self.overrides: list[Override] = []
        self.settings: dict[str, list[ast.Setting]] = {"train": [], "data": []}
        self.data_of_tasks: dict[str, list[ast.Setting]] = {}
        self.tasks: dict[str, Span] = {}
        self.expanded = 0
        self.ended = False

    def graph(self) -> Graph:
        statements = self.module.file.statements
        for statement in statements:
            self.statement(statement)
        hard = [s for s in statements if isinstance(s, ast.TieHard)]
        soft = [s for s in statements if isinstance(s, ast.TieSoft)]
        ties = [
            tie
            for i, statement in enumerate(hard)
            for tie in read_tie(statement, i, self.lookup(), self.diagnostics)
        ]
        ties += filter(None, (read_soft(s, self.lookup(), self.diagnostics) for s in soft))
        for i, shared in enumerate(s for s in statements if isinstance(s, ast.TieShared)):
            ties += read_shared(shared, i, self.tasks, self.diagnostics)
        made = self.expander.made
        terms = [term.name for term in (*self.losses, *self.metrics)]
        terms += [f"{term.task}.loss" for term in self.losses if term.task]
        train = read_train(self.settings["train"], terms, self.lookup(), self.diagnostics)
        loading = read_data(self.settings["data"], made.data, self.lookup(), self.diagnostics)
        for task, entries in self.data_of_tasks.items():
            lookup = self.lookup()
            loading += read_data(entries, made.data, lookup, self.diagnostics, task)
        self.is_complete(statements)
        if not self.diagnostics.errors:
            self.unused()
        constants = {
            name: float(found.value)
            for name, found in self.module.names.items()
            if isinstance(found, Constant) and isinstance(found.value, int | float)
        }
        return Graph(
            self.name or _stem(self.module.file),
            data=made.data,
            values=made.values,
            nodes=made.nodes,
            instances=made.instances,
            chains=made.chains,
            ties=tuple(ties),
            tasks=(Task(""), *(Task(name, span) for name, span in self.tasks.items())),
            overrides=tuple(self.overrides),
            losses=tuple(self.losses),
            metrics=tuple(self.metrics),
            outputs=tuple(self.outputs),
            train=train,
            loading=loading,
            constants=constants,
        )

    def lookup(self) -> Lookup:
        return lookup_in(self.scope, self.diagnostics)

    # ------------------------------------------------------------ statements

    def statement(self, statement: ast.Statement) -> None:
        if isinstance(statement, ast.Model):
            self.model(statement)
        elif isinstance(statement, ast.Data):
            self.data(statement)
        elif isinstance(statement, ast.Let):
            if self.fits(statement.value, statement.name):
                self.expander.let(statement, self.scope)
        elif isinstance(statement, ast.Output):
            self.output(statement)
        elif isinstance(statement, ast.Loss):
            self.loss(statement)
        elif isinstance(statement, ast.Metric):
            self.metric(statement)
        elif isinstance(statement, ast.Settings) and self.scope.prefix:
            own = self.data_of_tasks.setdefault(self.scope.prefix, [])
            own.extend(statement.entries)
        elif isinstance(statement, ast.Settings):
            self.settings[statement.role].extend(statement.entries)
        elif isinstance(statement, ast.Initialise):
            override = read_init(statement, self.lookup(), self.diagnostics)
            if override is not None:
                self.overrides.append(replace(override, path=self.scope.path(override.path)))
        elif isinstance(statement, ast.Freeze):
            for selector in statement.selectors:
                path = self.scope.path(path_text(selector.parts))
                self.overrides.append(Override(path, None, selector.span))
        elif isinstance(statement, ast.TieSoft):
            self.soft(statement)
        elif isinstance(statement, ast.Task):
            self.task(statement)
        elif isinstance(statement, ast.Unit):
            read_unit(self.expander, statement, self.scope)

    def soft(self, statement: ast.TieSoft) -> None:
        """Its name is one of the file's: the history tells its cost, `NAME.mean` its means."""
        place = name_span(statement, statement.name)
        if self.scope.is_free(statement.name, place, self.diagnostics):
            self.scope.places[statement.name] = place
            self.loss_names.unique(statement.name)
            self.metric_names.unique(statement.name)

    def task(self, statement: ast.Task) -> None:
        """Its statements in a scope of their own, which sees the file's values too."""
        name, place = statement.name, name_span(statement, statement.name)
        if not self.scope.is_free(name, place, self.diagnostics):
            return
        self.scope.define(name, TaskOf(name), place)
        self.tasks[name] = place
        made, outer = self.expander.made, self.scope
        before = {*made.nodes, *made.data}
        self.scope = Scope(self.module, name, symbols=self.symbols, outer=outer)
        for inner in statement.body:
            if fits_inside(inner, statement, self.diagnostics):
                self.statement(inner)
        self.scope = outer
        claim_for_task(made, before, name)

    def model(self, statement: ast.Model) -> None:
        if self.named is not None:
            self.diagnostics.error(
                "E0202",
                "the model is named twice",
                statement.span,
                label="named again here",
                others=[(self.named, "first named here")],
                hint="a file holds one model",
            )
            return
        self.name, self.named = statement.name, statement.span

    def data(self, statement: ast.Data) -> None:
        place = name_span(statement, statement.name)
        if statement.type.lexicon is not None:
            found = read_lexicon_type(statement, self.expander.lexicons, self.diagnostics)
        else:
            found = read_type(statement, self.scope, self.symbols, self.diagnostics)
        if not self.scope.is_free(statement.name, place, self.diagnostics):
            return
        name, path = statement.name, self.scope.path(statement.name)
        if found is None:
            self.expander.define(name, Failed(), place, self.scope)
            return
        made = self.expander.made
        role = "input" if statement.role == "input" else "target"
        made.data[path] = DataInput(path, role, found, span=statement.span)  # type: ignore[arg-type]
        made.values[path] = Value(path, found, "", statement.span)
        made.places[path] = (name, place)
        self.expander.define(name, Ref(path, place), place, self.scope)

    def fits(self, expression: ast.Expression, name: str = "") -> bool:
        """Whether an expression's expansion stays below the limit; reports it otherwise."""
        try:
            self.expanded += self.expander.counter.measure(expression, self.scope).instances
            if self.expanded > limits.INSTANCES:
                raise TooLarge(
                    f"the file expands to {_rounded(self.expanded)} layers and functions"
                )
        except TooLarge as error:
            self.expanded = 0
            if not self.ended:
                self.diagnostics.error(
                    "E0501",
                    f"{error}",
                    expression.span,
                    label="too large once blocks and repeats are expanded",
                    hint=f"the limit of a file is {limits.INSTANCES} layers and functions, "
                    f"blocks {limits.BLOCK_DEPTH} deep, expressions {limits.EXPRESSION_DEPTH} deep",
                )
            self.ended = True
        if self.ended and name and self.scope.find(name) is None:
            self.expander.define(name, Failed(), expression.span, self.scope)
        return not self.ended

    # ------------------------------------------------------------ terms

    def output(self, statement: ast.Output) -> None:
        name = statement.name
        place = name_span(statement, name)
        same = isinstance(statement.value, ast.Name) and statement.value.span.text == name
        if same:
            assert isinstance(statement.value, ast.Name)
            found: Result | None = self.expander.name(statement.value, self.scope)
            path = self.scope.path(name)
            first = next((term for term in self.outputs if term.name == path), None)
            if first is not None:
                self.diagnostics.error(
                    "E0202", f"'{name}' is an output already", place,
                    label="again here", others=[(first.span, "first here")],
                    hint="once is enough",
                )  # fmt: skip
        elif self.fits(statement.value, name):
            before = self.scope.places.get(name)
            self.expander.let(ast.Let(name, statement.value, span=statement.span), self.scope)
            found = None if before else self.scope.names.get(name)  # type: ignore[assignment]
        else:
            return
        if isinstance(found, Constant):
            self.not_a_value(found, statement.value.span, "an output")
        if isinstance(found, Ref):
            path = self.scope.path(name)
            self.expander.made.used.add(path)
            self.outputs.append(Term(path, found.id, task=self.scope.prefix, span=statement.span))

    def not_a_value(self, found: Constant, span: Span, what: str) -> None:
        self.diagnostics.error(
            "E0302",
            f"{what} is a value of the model, but this is {describe(found.value)}",
            span,
            label="known when the file is compiled",
            hint="compute it from inputs and targets",
        )

    def loss(self, statement: ast.Loss) -> None:
        if not self.fits(statement.value):
            return
        owner = Owner("loss", self.scope.path("loss"), None)
        found = self.expander.evaluate(statement.value, self.scope, owner)
        weight = 1.0 if statement.weight is None else self.weight(statement.weight)
        if isinstance(found, Constant):
            self.not_a_value(found, statement.value.span, "a loss")
        if isinstance(found, Ref) and weight is not None:
            self.mark(found, "loss")
            name = self.loss_names.unique(self.scope.path(_term_name(statement.value)))
            task = self.scope.prefix
            self.losses.append(Term(name, found.id, weight, task, statement.span))

    def weight(self, expression: ast.Expression) -> float | None:
        found = compute(expression, self.lookup(), self.diagnostics, "E0204")
        if isinstance(found, Failed):
            return None
        if not is_number(found.value):
            self.diagnostics.error(
                "E0204",
                f"the weight of a loss is a number, not {describe(found.value)}",
                expression.span,
                hint="write: loss mse(a, b) weight 0.5",
            )
            return None
        assert isinstance(found.value, int | float)
        if found.value == 0:
            self.diagnostics.warn(
                "W0003",
                "a loss with weight 0 has no effect",
                expression.span,
                hint="remove the statement, or measure it: metric ...",
            )
        return float(found.value)

    def metric(self, statement: ast.Metric) -> None:
        if not self.fits(statement.value):
            return
        owner = Owner("metric", self.scope.path("metric"), None)
        found = self.expander.evaluate(statement.value, self.scope, owner, top=True)
        if isinstance(found, Constant):
            self.not_a_value(found, statement.value.span, "a metric")
        if isinstance(found, Ref):
            self.mark(found, "metric")
            name = self.metric_names.unique(self.scope.path(_term_name(statement.value)))
            task = self.scope.prefix
            self.metrics.append(Term(name, found.id, task=task, span=statement.span))

    def mark(self, found: Ref, role: str) -> None:
        """Gives the node that a `loss` or `metric` statement made its role."""
        made = self.expander.made
        producer = made.values[found.id].producer
        if producer.startswith(f"{self.scope.path(role)}."):
            made.nodes[producer] = replace(made.nodes[producer], role=role)  # type: ignore[arg-type]

    # ------------------------------------------------------------ the whole file

    def is_complete(self, statements: tuple[ast.Statement, ...]) -> None:
        """A model needs data and something to compute from it."""
        place = self.named or _start(self.module.file)
        inside = [s for task in statements if isinstance(task, ast.Task) for s in task.body]
        statements = (*statements, *inside)
        if not any(isinstance(s, ast.Data) and s.role == "input" for s in statements):
            self.diagnostics.error(
                "E0305",
                "this file has no input",
                place,
                hint="declare one: input image: float[1, 28, 28]",
            )
        elif not any(isinstance(s, ast.Loss | ast.Output) for s in statements):
            self.diagnostics.error(
                "E0305",
                "this file has neither a loss nor an output",
                place,
                hint="say what is trained, loss mse(y, target), or what is predicted, "
                "output y = ...",
            )

    def unused(self) -> None:
        """Names that nothing refers to; a value inside a block counts if any use refers to it."""
        made = self.expander.made
        used = {place for path, (_, place) in made.places.items() if path in made.used}
        used_ids = {ref.id for path, ref in made.named.items()
                    if path in made.used and isinstance(ref, Ref)}  # fmt: skip
        told: set[Span] = set()
        for path, (name, place) in made.places.items():
            found = made.named[path]
            if place in used or place in told or (isinstance(found, Ref) and found.id in used_ids):
                continue
            told.add(place)
            hint = "remove it, or use it in an output, a loss or a metric"
            self.diagnostics.warn(
                "W0002", f"'{name}' is not used", place, label="nothing uses it", hint=hint
            )


def _start(file: ast.File) -> Span:
    """The first statement's place, or the whole of an empty file."""
    return file.statements[0].span if file.statements else file.span


def _stem(file: ast.File) -> str:
    stem = Path(file.span.source.path).stem
    return re.sub(r"[^A-Za-z0-9_]", "_", stem).strip("_") or MODEL


def _rounded(count: int) -> str:
    return str(count) if count < 10**9 else f"about 10^{math.floor(math.log10(count))}"


def _term_name(expression: ast.Expression) -> str:
    """What users call a loss or metric: its function, else its value."""
    while isinstance(expression, ast.Binary | ast.Negative):
        if isinstance(expression, ast.Negative):
            expression = expression.operand
        elif isinstance(expression.left, ast.Number):
            expression = expression.right
        else:
            expression = expression.left
    if isinstance(expression, ast.Pipe):
        return expression.right.label or expression.right.function
    if isinstance(expression, ast.Call):
        return expression.label or expression.function
    return path_text(expression.path) if isinstance(expression, ast.Name) else "value"


class _Names:
    """Names for terms: the first `mse`, then `mse_2`."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}

    def unique(self, name: str) -> str:
        found = name
        while found in self._taken:
            self._last[name] = self._last.get(name, 1) + 1
            found = f"{name}_{self._last[name]}"
        self._taken.add(found)
        return found
