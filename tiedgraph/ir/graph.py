"""The whole intermediate form: what every pass reads and returns.

A `Graph` is immutable; a pass answers `graph.replace(...)`. `Node.inputs` is the truth about
dataflow, and `Graph.digraph` a frozen view of it for order, ancestors and cycles. Backward
computation is made of nodes too (`role = "backward"`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from tiedgraph.diagnostics import Span
from tiedgraph.ir.lexicon import Lexicon
from tiedgraph.ir.types import Extent, Shape, Type

if TYPE_CHECKING:
    import networkx as nx

Role = Literal["input", "target", "implicit", "forward", "loss", "metric", "output", "backward"]


@dataclass(frozen=True)
class Init:
    """How a storage starts: a name of `tiedgraph.runtime.initialise` and its numbers."""

    name: str
    arguments: tuple[float, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Storage:
    """Free numbers: what optimisers walk and files hold.

    id: the id of the parameter that owns it (the first named of its tie).
    fans: fan-in and fan-out that the owner's initialiser scales by.
    trainable: False for frozen ones and for statistics such as running means.
    """

    id: str
    shape: tuple[int, ...]
    init: Init
    trainable: bool = True
    fans: tuple[int, int] = (1, 1)
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Step:
    """One view, `flip` with `{"axis": -1}`; `name` is a key of `tiedgraph.ties.view.VIEWS`."""

    name: str
    arguments: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class View:
    """How a parameter is read off a storage: the steps, first applied first.

    No steps is the storage itself. `tiedgraph.ties.view.layout` turns a view into strides, or
    into an index map where no strides do.
    """

    storage: str
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Param:
    """A parameter as its layer declares it: `c1.weight`.

    id: instance path, a dot, and the parameter's own name.
    """

    id: str
    instance: str
    name: str
    shape: tuple[int, ...]
    view: View
    init: Init
    trainable: bool = True
    fans: tuple[int, int] = (1, 1)
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Node:
    """One operation on values.

    op: a name in `tiedgraph.ops.OPS`; attrs: an instance of that op's `Attrs`.
    inputs, outputs: ids of values; params: ids of parameters, in the op's order.
    accumulate: for backward nodes, one entry per output: the id of the value that this output
      adds to (in the same memory), or None where it is the first to write.
    forward: for backward nodes, the forward node as it was differentiated.
    epilogue: names of pointwise ops that the kernel applies before it stores (pass `fuse`).
    instance: path of the instance whose parameters it has, or "".
    places: where each input (its number) and each setting (its name) is written.
    """

    id: str
    op: str
    attrs: Any
    inputs: tuple[str, ...]
    params: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    role: Role = "forward"
    accumulate: tuple[str | None, ...] = ()
    forward: Node | None = field(default=None, compare=False, repr=False)
    epilogue: tuple[str, ...] = ()
    task: str = ""
    instance: str = ""
    places: tuple[tuple[int | str, Span], ...] = field(default=(), compare=False, repr=False)
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Value:
    """What a node makes, or data that comes in. `type` is None until `infer_shapes` ran."""

    id: str
    type: Type | None
    producer: str = ""  # node id; "" for data
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class DataInput:
    """An array from outside. `implicit` ones are made by the runtime, not by the user:

    `lengths`: how many steps of each sample are valid along the one extent of `extents`;
    `step_weight`: number of samples / valid steps of the batch, multiplied over `extents`;
    `weight`: 1 / number of samples, and 0 for the padding samples of the last tile;
    `key`: a random integer below 2**24 a sample, new in each step.
    """

    value: str
    role: Literal["input", "target", "lengths", "step_weight", "weight", "key"]
    type: Type
    extents: tuple[Extent, ...] = ()
    task: str = ""
    span: Span | None = field(default=None, compare=False, repr=False)


def implicit_id(role: str, extents: tuple[Extent, ...] = (), node: str = "") -> str:
    """The id of a `DataInput` that the runtime makes; no name in a file can hold `$`."""
    parts = [f"{e.symbol}{e.offset:+d}/{e.divisor}" for e in extents]
    return "$" + ":".join([role, *parts, *([node] if node else [])])


@dataclass(frozen=True)
class TieMember:
    """One member of a tie, a parameter or an instance, and the view that reads it.

    path: as written (`layers[*].weight`) until `infer_shapes`; then the id of one parameter or
      the path of one instance.
    """

    path: str
    steps: tuple[Step, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Tie:
    """One `tie` statement after names were resolved.

    kind: a name in `tiedgraph.ties.TIE_KINDS`: hard | index_map | soft | shared.
    members: for `a = view(b)` two members, of which the second has the view's steps.
    settings: `by hash(free=512)` and the entries of soft ties.
    saves: how many numbers fewer the model has through it; `resolve_ties` counts. What several ties
      say alike or together is counted for one of them.
    """

    id: str
    kind: str
    members: tuple[TieMember, ...]
    settings: tuple[tuple[str, Any], ...] = ()
    text: str = ""
    span: Span | None = field(default=None, compare=False, repr=False)
    saves: int = 0


@dataclass(frozen=True)
class Mixture:
    """What the numbers of one soft tie are drawn from; `resolve_mixtures` makes it.

    id: the tie's name. settings: `tiedgraph.ties.mixture.MixtureSettings`.
    numbers: for each storage the runs (begin, end) of its flat numbers that are drawn, each number
      once. The mixture's own numbers are the parameters `ID.mean`, `ID.log_precision`, `ID.logit`.
    """

    id: str
    settings: Any
    numbers: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def count(self) -> int:
        """How many numbers are drawn."""
        return sum(end - begin for _, runs in self.numbers for begin, end in runs)


@dataclass(frozen=True)
class Chain:
    """Words as chains of a unit's phonemes, as recognisers read them.

    name: its path. scores, odds: ids of values, [rows, time] and [rows and more]: states of each
    phoneme, then those of the unit at the ends; and behind the log odds of staying those of leaving
    a state over the next.
    skips: for each row where these stand, -1 where that cannot be, () for none.
    unit, ends_name: paths of the units. duration: least steps in each state.
    ends: states of the unit at the ends, 0 for none; optional: whether these may be left out.
    """

    name: str
    scores: str
    odds: str
    lexicon: Lexicon
    unit: str
    phonemes: tuple[str, ...]
    states: int
    duration: int
    ends: int = 0
    ends_duration: int = 1
    ends_name: str = ""
    optional: bool = False
    skips: tuple[int, ...] = ()

    def path_of(self, phoneme: str) -> str:
        """Of the phoneme's instance."""
        return f"{self.unit}[{phoneme}]"


@dataclass(frozen=True)
class Override:
    """An `init` or a `freeze` (no `init`) statement; `infer_shapes` applies and drops it."""

    path: str
    init: Init | None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Term:
    """A loss, metric or output: the value that holds it, its weight and its name for users."""

    name: str
    value: str
    weight: float = 1.0
    task: str = ""
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Task:
    """A named set of inputs, losses and outputs; the unnamed task `""` is the file itself."""

    name: str
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Setting:
    name: str
    value: Any
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Instance:
    """A layer or block use: `encoder.h`, `layers[3]`.

    op: "" for blocks and repeats, "?" for one whose statement has an error.
    params: ids of the parameters of everything inside.
    part: for a part of another instance, what its parameters' paths begin with: `phone[aa].state`
      for `phone[aa].emission`. Its parameters are named as the other's are.
    """

    path: str
    op: str = ""
    params: tuple[str, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)
    part: str = ""


@dataclass(frozen=True)
class Graph:
    """One model between two passes. Mappings keep the order of the file."""

    name: str
    data: Mapping[str, DataInput] = field(default_factory=dict)
    values: Mapping[str, Value] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    instances: Mapping[str, Instance] = field(default_factory=dict)
    params: Mapping[str, Param] = field(default_factory=dict)
    storages: Mapping[str, Storage] = field(default_factory=dict)
    ties: tuple[Tie, ...] = ()
    mixtures: Mapping[str, Mixture] = field(default_factory=dict)
    chains: Mapping[str, Chain] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()
    tasks: tuple[Task, ...] = (Task(""),)
    losses: tuple[Term, ...] = ()
    metrics: tuple[Term, ...] = ()
    outputs: tuple[Term, ...] = ()
    train: tuple[Setting, ...] = ()
    loading: tuple[Setting, ...] = ()
    constants: Mapping[str, float] = field(default_factory=dict)

    def replace(self, **changes: Any) -> Graph:
        return replace(self, **changes)

    @cached_property
    def digraph(self) -> nx.DiGraph:
        """Frozen bipartite view: data and nodes, an edge for each value that flows."""
        import networkx as nx

        view = nx.DiGraph(name=self.name)
        for name, item in self.data.items():
            view.add_node(name, role=item.role, type=item.type)
        for name, node in self.nodes.items():
            view.add_node(name, op=node.op, role=node.role, params=node.params)
        for name, node in self.nodes.items():
            for value in node.inputs:
                producer = self.values[value].producer or value
                view.add_edge(producer, name, value=value, type=self.values[value].type)
        return nx.freeze(view)

    @cached_property
    def shortest(self) -> Mapping[str, tuple[int, str]]:
        """For each run-time size the least length that leaves every value a step, and the value
        that needs it."""
        least: dict[str, tuple[int, str]] = {}
        for name, value in self.values.items():
            if value.type is None or name.startswith("$"):
                continue
            for size in value.type.shape:
                if isinstance(size, Extent):
                    needed = size.smallest()
                    if needed > least.get(size.symbol, (0, ""))[0]:
                        least[size.symbol] = (needed, name)
        return least

    def type_of(self, value: str) -> Type:
        """The type of a value; `infer_shapes` must have run."""
        found = self.values[value].type
        if found is None:
            raise ValueError(f"value {value} has no type yet")
        return found

    def shape_of(self, value: str) -> Shape:
        return self.type_of(value).shape
