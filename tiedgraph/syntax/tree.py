"""Called for each rule that the parser completes: tokens and nodes in, one node out.

The parser may go back to the start of a statement and read it again, so that nothing made before
may be changed later: lists that grow across statements are linked cells, not Python lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tiedgraph.diagnostics import Span
from tiedgraph.syntax import ast

if TYPE_CHECKING:
    from tiedgraph.syntax.scan import Token

Child = Any  # a Token, an ast node, or what a method below returns


@dataclass(frozen=True)
class Cell:
    """A list that ends with `item`."""

    before: Cell | None
    item: Any


@dataclass(frozen=True)
class Return(ast.Node):
    """`return expr`, before it has found its block."""

    value: ast.Expression


@dataclass(frozen=True)
class OpenBlock(ast.Node):
    """A block whose body still holds its `return`, or none, or several."""

    name: str
    arguments: tuple[ast.Argument, ...]
    body: tuple[ast.Statement | Return | OpenBlock, ...]


@dataclass(frozen=True)
class Body(ast.Node):
    """What stands between braces."""

    items: tuple[Any, ...]


@dataclass(frozen=True)
class Callee(ast.Node):
    """`dense(8)` or `tanh` where only a function can stand."""

    function: str
    arguments: tuple[ast.Expression, ...] = ()
    keywords: tuple[ast.Keyword, ...] = ()


def around(children: Sequence[Child]) -> Span:
    """From the start of the first child to the end of the last."""
    first, last = children[0].span, children[-1].span
    return Span(first.source, first.start, last.end)


def listed(cell: Cell | None) -> tuple[Any, ...]:
    """The items of linked cells, in order."""
    items = []
    while cell is not None:
        items.append(cell.item)
        cell = cell.before
    return tuple(reversed(items))


def nodes(children: Sequence[Child]) -> list[Any]:
    """Only the nodes, without tokens."""
    return [child for child in children if isinstance(child, ast.Node)]


def string(token: Token) -> str:
    return token.text.strip('"')


class TreeBuilder:
    """One method a rule of the grammar (or alternative with a name of its own)."""

    # ------------------------------------------------------------ lists of statements

    def file(self, c: list[Child]) -> tuple[Any, ...]:
        return listed(c[0]) + tuple(c[1:])

    def none(self, c: list[Child]) -> Cell | None:
        return None

    def same(self, c: list[Child]) -> Cell | None:
        found: Cell | None = c[0]
        return found

    def more(self, c: list[Child]) -> Cell | None:
        return Cell(c[0], c[1])

    def body(self, c: list[Child]) -> Body:
        return Body(listed(c[1]) + tuple(c[2:-1]), span=around((c[0], c[-1])))

    entries = body
    settings_list = body  # never called: each alternative has a name

    # ------------------------------------------------------------ statements

    def model(self, c: list[Child]) -> ast.Model:
        return ast.Model(c[1].text, span=around(c))

    def import_(self, c: list[Child]) -> ast.Import:
        return ast.Import(string(c[1]), span=around(c))

    def const(self, c: list[Child]) -> ast.Const:
        return ast.Const(c[1].text, c[3], span=around(c))

    def data(self, c: list[Child]) -> ast.Data:
        return ast.Data(c[0].text, c[1].text, c[3], span=around(c))

    def let(self, c: list[Child]) -> ast.Let:
        return ast.Let(c[0].text, c[2], span=around(c))

    def parameter(self, c: list[Child]) -> ast.Argument:
        return ast.Argument(c[0].text, c[2] if len(c) > 1 else None, span=around(c))

    def block(self, c: list[Child]) -> OpenBlock:
        parameters = tuple(child for child in c if isinstance(child, ast.Argument))
        return OpenBlock(c[1].text, parameters, c[-1].items, span=around(c))

    def return_(self, c: list[Child]) -> Return:
        return Return(c[1], span=around(c))

    def settings(self, c: list[Child]) -> ast.Settings:
        return ast.Settings(c[0].text, c[1].items, span=around(c))

    def entry(self, c: list[Child]) -> ast.Setting:
        return ast.Setting(c[0].text, c[2], span=around(c))

    def task(self, c: list[Child]) -> ast.Task:
        return ast.Task(c[1].text, c[2].items, span=around(c))

    def output(self, c: list[Child]) -> ast.Output:
        return ast.Output(c[1].text, c[3], span=around(c))

    def loss(self, c: list[Child]) -> ast.Loss:
        return ast.Loss(c[1], c[3] if len(c) > 2 else None, span=around(c))

    def metric(self, c: list[Child]) -> ast.Metric:
        return ast.Metric(c[1], span=around(c))

    def init(self, c: list[Child]) -> ast.Initialise:
        return ast.Initialise(c[1], self.stage([c[3]]), span=around(c))

    def freeze(self, c: list[Child]) -> ast.Freeze:
        return ast.Freeze(c[1].items, span=around(c))

    def unit(self, c: list[Child]) -> ast.Unit:
        options = {child.type: string(child) for child in c[2:-1]}
        lexicon, optional = options.get("STRING"), "OPTIONAL" in options
        return ast.Unit(c[1].text, lexicon, optional, c[-1].items, span=around(c))

    # ------------------------------------------------------------ ties

    def tie_hard(self, c: list[Child]) -> ast.TieHard:
        return ast.TieHard(c[2].items, span=around(c))

    def tie_view(self, c: list[Child]) -> ast.TieHard:
        return ast.TieHard((c[2],), view=c[4], span=around(c))

    def tie_by(self, c: list[Child]) -> ast.TieHard:
        return ast.TieHard(c[2].items, by=self.stage([c[4]]), span=around(c))

    def tie_soft(self, c: list[Child]) -> ast.TieSoft:
        entries = c[5].items if len(c) > 5 else ()
        return ast.TieSoft(c[2].text, c[4].items, entries, span=around(c))

    def tie_shared(self, c: list[Child]) -> ast.TieShared:
        return ast.TieShared(c[2].items, tuple(task.text for task in c[4::2]), span=around(c))

    def view(self, c: list[Child]) -> ast.Selector:
        found: ast.Selector = c[0]
        return found

    def view_call(self, c: list[Child]) -> ast.ViewCall:
        arguments, keywords = split(nodes(c[3:]))
        return ast.ViewCall(c[0].text, c[2], arguments, keywords, span=around(c))

    # ------------------------------------------------------------ selectors

    def selectors(self, c: list[Child]) -> Body:
        return Body(tuple(nodes(c)), span=around(c))

    def selector(self, c: list[Child]) -> ast.Selector:
        return ast.Selector(tuple(nodes(c)), span=around(c))

    def path(self, c: list[Child]) -> Body:
        return Body(tuple(nodes(c)), span=around(c))

    def part(self, c: list[Child]) -> ast.Part:
        return ast.Part(c[0].text, tuple(c[1:]), span=around(c))

    any_part = part
    member = part

    def index(self, c: list[Child]) -> ast.Index:
        inner, span = c[1:-1], around(c)
        if inner[0].type == "INT":
            return ast.Index(inner[0].value, inner[-1].value, span=span)
        if inner[0].type == "STAR":
            return ast.Index(None, None, span=span)
        return ast.Index(None, None, inner[0].text, span=span)

    # ------------------------------------------------------------ types

    def type_(self, c: list[Child]) -> ast.TypeExpression:
        return ast.TypeExpression(c[0].text, tuple(nodes(c)), span=around(c))

    def lexicon_type(self, c: list[Child]) -> ast.TypeExpression:
        return ast.TypeExpression(c[0].text, (), string(c[2]), span=around(c))

    # ------------------------------------------------------------ expressions

    def chain(self, c: list[Child]) -> ast.Chain:
        between = c[5].text if len(c) > 4 else None
        return ast.Chain(c[1].text, string(c[3]), between, span=around(c))

    def pipe(self, c: list[Child]) -> ast.Pipe:
        return ast.Pipe(c[0], c[2], span=around(c))

    def stage(self, c: list[Child]) -> ast.Call:
        callee: Callee = c[-1]
        label = c[0].text if len(c) > 1 else None
        return ast.Call(callee.function, callee.arguments, callee.keywords, label, span=around(c))

    def callee(self, c: list[Child]) -> Callee:
        arguments, keywords = split(c[2].items) if len(c) > 3 else ((), ())
        return Callee(c[0].text, arguments, keywords, span=around(c))

    def call(self, c: list[Child]) -> ast.Call:
        return self.stage([self.callee(c)])

    def arguments(self, c: list[Child]) -> Body:
        return Body(tuple(nodes(c)), span=around(c))

    def argument(self, c: list[Child]) -> ast.Expression:
        found: ast.Expression = c[0]
        return found

    def keyword(self, c: list[Child]) -> ast.Keyword:
        return ast.Keyword(c[0].text, c[2], span=around(c))

    def binary(self, c: list[Child]) -> ast.Binary:
        return ast.Binary(c[1].text, c[0], c[2], span=around(c))

    def negative(self, c: list[Child]) -> ast.Negative:
        return ast.Negative(c[1], span=around(c))

    def number(self, c: list[Child]) -> ast.Number:
        return ast.Number(c[0].value, span=around(c))

    def string(self, c: list[Child]) -> ast.String:
        return ast.String(string(c[0]), span=around(c))

    def boolean(self, c: list[Child]) -> ast.Boolean:
        return ast.Boolean(c[0].type == "TRUE", span=around(c))

    def bracketed(self, c: list[Child]) -> ast.Tuple:
        return ast.Tuple(tuple(nodes(c)), span=around(c))

    def group(self, c: list[Child]) -> ast.Expression:
        inner: ast.Expression = c[1]
        if isinstance(inner, ast.Binary | ast.Pipe | ast.Negative | ast.Chain):
            return replace(inner, span=around(c))
        return inner

    def reference(self, c: list[Child]) -> ast.Name:
        return ast.Name(c[0].items, span=c[0].span)

    # ------------------------------------------------------------ words

    def name(self, c: list[Child]) -> Token:
        found: Token = c[0]
        return found

    any_word = name


def split(
    arguments: Sequence[Any],
) -> tuple[tuple[ast.Expression, ...], tuple[ast.Keyword, ...]]:
    """Arguments by position and by name."""
    keywords = tuple(item for item in arguments if isinstance(item, ast.Keyword))
    return tuple(item for item in arguments if not isinstance(item, ast.Keyword)), keywords
