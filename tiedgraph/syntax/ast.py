"""The syntax tree: frozen nodes, each with the span it was read from.

Spans take no part in comparison, so two trees are equal when they say the same. Comments and
layout are not in the tree; `tiedgraph.syntax.format` finds them by position.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tiedgraph.diagnostics import Span


@dataclass(frozen=True)
class Node:
    span: Span = field(compare=False, repr=False, kw_only=True)


# ---------------------------------------------------------------- names that select


@dataclass(frozen=True)
class Index(Node):
    """`[2]`, `[1..3]` (both ends included), `[*]` (both None) or `[aa]` (name)."""

    first: int | None
    last: int | None
    name: str | None = None


@dataclass(frozen=True)
class Part(Node):
    """One step of a dotted path: a name with any indices behind it, or `*`."""

    name: str
    indices: tuple[Index, ...] = ()


@dataclass(frozen=True)
class Selector(Node):
    """`layers[*].c1.weight`: what `tie`, `init` and `freeze` point at."""

    parts: tuple[Part, ...]


# ---------------------------------------------------------------- expressions


@dataclass(frozen=True)
class Number(Node):
    value: int | float


@dataclass(frozen=True)
class String(Node):
    value: str


@dataclass(frozen=True)
class Boolean(Node):
    value: bool


@dataclass(frozen=True)
class Name(Node):
    """A reference. `path` has one part for a plain name: `x`; more for `task.value`, `r[2].h`."""

    path: tuple[Part, ...]


@dataclass(frozen=True)
class Tuple(Node):
    """`[1, 2]`: sizes, windows, lists of settings."""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Keyword(Node):
    name: str
    value: Expression


@dataclass(frozen=True)
class Call(Node):
    """`conv2d(image, 6, window=5)`; `label` is the name in `|> a: dense(8)`."""

    function: str
    arguments: tuple[Expression, ...] = ()
    keywords: tuple[Keyword, ...] = ()
    label: str | None = None


@dataclass(frozen=True)
class Pipe(Node):
    """`left |> right`: `right` is a Call or a Name (a call without arguments), `label` its name."""

    left: Expression
    right: Call


@dataclass(frozen=True)
class Binary(Node):
    operator: str  # + - * /
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Negative(Node):
    operand: Expression


@dataclass(frozen=True)
class Chain(Node):
    """`chain phone by "words.dict" between silence`."""

    unit: str
    lexicon: str
    between: str | None


Expression = Number | String | Boolean | Name | Tuple | Call | Pipe | Binary | Negative | Chain


# ---------------------------------------------------------------- types


@dataclass(frozen=True)
class TypeExpression(Node):
    """`float[1, 28, time]`, `class[10]`, `index[n, time]`, `class from "words.dict"`.

    `sizes` holds what stands in the brackets, in order: for index and class the bound is first.
    """

    kind: str  # float | index | class
    sizes: tuple[Expression, ...]
    lexicon: str | None = None


# ---------------------------------------------------------------- statements


@dataclass(frozen=True)
class Model(Node):
    name: str


@dataclass(frozen=True)
class Import(Node):
    path: str


@dataclass(frozen=True)
class Const(Node):
    name: str
    value: Expression


@dataclass(frozen=True)
class Data(Node):
    """`input NAME: type` or `target NAME: type`."""

    role: str  # input | target
    name: str
    type: TypeExpression


@dataclass(frozen=True)
class Let(Node):
    name: str
    value: Expression


@dataclass(frozen=True)
class Argument(Node):
    """One parameter of a block; `default` None for values and for required settings."""

    name: str
    default: Expression | None = None


@dataclass(frozen=True)
class Block(Node):
    name: str
    arguments: tuple[Argument, ...]
    body: tuple[Statement, ...]
    result: Expression


@dataclass(frozen=True)
class Setting(Node):
    """`name = value` inside `train { }`, `data { }`, a soft tie or a unit."""

    name: str
    value: Expression


@dataclass(frozen=True)
class Settings(Node):
    """`train { ... }` or `data { ... }`."""

    role: str  # train | data
    entries: tuple[Setting, ...]


@dataclass(frozen=True)
class ViewCall(Node):
    """`transpose(encoder.weight)`, `flip(west.weight, axis=-1)`; views nest."""

    function: str
    operand: Selector | ViewCall
    arguments: tuple[Expression, ...] = ()
    keywords: tuple[Keyword, ...] = ()


@dataclass(frozen=True)
class TieHard(Node):
    """`tie hard a, b`, `tie hard a = view(b)` or `tie hard a by map(...)`: one of the last two."""

    members: tuple[Selector, ...]
    view: Selector | ViewCall | None = None
    by: Call | None = None


@dataclass(frozen=True)
class TieSoft(Node):
    name: str
    members: tuple[Selector, ...]
    entries: tuple[Setting, ...] = ()


@dataclass(frozen=True)
class TieShared(Node):
    members: tuple[Selector, ...]
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Task(Node):
    name: str
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Output(Node):
    name: str
    value: Expression


@dataclass(frozen=True)
class Loss(Node):
    value: Expression
    weight: Expression | None = None


@dataclass(frozen=True)
class Metric(Node):
    value: Expression


@dataclass(frozen=True)
class Initialise(Node):
    selector: Selector
    value: Call


@dataclass(frozen=True)
class Freeze(Node):
    selectors: tuple[Selector, ...]


@dataclass(frozen=True)
class Unit(Node):
    """`unit phone from "words.dict" { ... }`, `unit silence optional { ... }`."""

    name: str
    lexicon: str | None
    optional: bool
    entries: tuple[Setting, ...]


Statement = (
    Model | Import | Const | Data | Let | Block | Settings | TieHard | TieSoft | TieShared
    | Task | Output | Loss | Metric | Initialise | Freeze | Unit
)  # fmt: skip


@dataclass(frozen=True)
class File(Node):
    statements: tuple[Statement, ...]
