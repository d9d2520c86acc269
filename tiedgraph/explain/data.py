"""What is shared in a model, what that saves, and what it does not; as data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

from tiedgraph.diagnostics import Span
from tiedgraph.explain.mixtures import MixtureReport, mixtures
from tiedgraph.explain.words import ChainReport, chains
from tiedgraph.ir.graph import Graph, Init, Node, Param, Storage
from tiedgraph.ir.types import Extent, bind, elements
from tiedgraph.ops import BY_NAME
from tiedgraph.passes.settings import train_settings
from tiedgraph.passes.soft import without_mixtures
from tiedgraph.passes.ties import reached, statistics
from tiedgraph.runtime.mixture import MixtureState
from tiedgraph.runtime.optim import METHODS
from tiedgraph.ties.chain import describe
from tiedgraph.ties.layout import Indexed, Strided
from tiedgraph.ties.structure import find_structure
from tiedgraph.ties.view import layout

LENGTH = 16  # steps of run-time sizes, where the model needs no more
FLOAT = 4  # bytes of a number in float32


@dataclass(frozen=True)
class TieReport:
    """One `tie` statement. saves: numbers fewer through it; 0 where other ties say the same."""

    statement: str
    place: str
    kind: str
    members: tuple[str, ...]
    saves: int


@dataclass(frozen=True)
class ParameterReport:
    """One declared parameter.

    view: how it is read off its owner, "" where it is the same; for owners with fewer numbers
      than entries, how these are spread. copied: before each step, as no strides read it.
    training: `trained`, `frozen`, `statistic` (kept by its layer) or `unreached` (by any loss).
    frozen_by: the parameters whose freezing froze the owner, and so all that read it.
    init: the initialiser that fills its owner; own_init: the one it would have alone.
    shared_with: the other parameters of the same owner. structure: facts about its entries.
    """

    name: str
    layer: str
    shape: tuple[int, ...]
    numbers: int
    owner: str
    view: str
    copied: bool
    training: str
    frozen_by: tuple[str, ...]
    init: str
    own_init: str
    shared_with: tuple[str, ...]
    structure: tuple[str, ...]
    ties: tuple[str, ...]
    place: str


@dataclass(frozen=True)
class OwnerReport:
    """Free numbers under the name of the parameter that owns them."""

    name: str
    shape: tuple[int, ...]
    numbers: int
    init: str
    training: str
    readers: tuple[str, ...]


@dataclass(frozen=True)
class Memory:
    """Bytes in float32.

    gradients: for one thread's shard. copies: of parameters that no strides can read.
    activations: of one sample, forwards.
    """

    weights: int
    gradients: int
    optimiser: int
    copies: int
    activations: int


@dataclass(frozen=True)
class WindowReport:
    """A layer that shares by itself: its window's weights serve every place of one sample.

    connections: numbers that the weight would have with a weight of its own at each place.
    """

    parameter: str
    numbers: int
    places: int
    connections: int


@dataclass(frozen=True)
class Explanation:
    """All that `explain` tells. Numbers without unit are counts of numbers.

    declared: of all parameters but statistics; free: what ties leave of them; trained: of those
    what the optimiser walks. untied: the memory of the same model without ties.
    activations, flops: of one sample forwards, at `lengths` steps of the run-time sizes.
    """

    model: str
    declared: int
    free: int
    trained: int
    statistics: int
    ties: tuple[TieReport, ...]
    mixtures: tuple[MixtureReport, ...]
    chains: tuple[ChainReport, ...]
    together: tuple[str, ...]
    windows: tuple[WindowReport, ...]
    for_all_tasks: tuple[str, ...]
    owners: tuple[OwnerReport, ...]
    parameters: tuple[ParameterReport, ...]
    optimizer: str
    memory: Memory
    untied: Memory
    activations: int
    flops: int
    lengths: Mapping[str, int]

    def data(self) -> dict[str, Any]:
        """The same as plain dicts, lists, strings and numbers."""
        return asdict(self)


def explain(graph: Graph, states: Mapping[str, MixtureState] | None = None) -> Explanation:
    """Explains a graph whose ties are resolved; states: of its mixtures, when it is trained.

    Numbers of mixtures do not count as the model's: only their own reports tell of them.
    """
    ties = graph.ties
    soft = mixtures(graph, states)
    graph = without_mixtures(graph)
    work = _Work(graph, soft)
    parameters = tuple(work.parameter(param) for param in graph.params.values())
    owners = tuple(work.owner(storage) for storage in graph.storages.values())
    lengths = _lengths(graph)
    activations, flops = _forward(graph, lengths)
    settings = train_settings(graph)
    slots = METHODS[type(settings.optimizer)].slots(settings.optimizer)
    declared = sum(p.numbers for p in parameters if p.training != "statistic")
    free = sum(o.numbers for o in owners if o.training != "statistic")
    trained = sum(o.numbers for o in owners if o.training == "trained")
    alone = sum(p.numbers for p in parameters if p.training == "trained")
    rest = sum(o.numbers for o in owners if o.training == "statistic")
    untied_rest = sum(p.numbers for p in parameters if p.training == "statistic")
    copied = {p.name for p in parameters if p.copied}
    copies = {p.view: elements(p.shape) for p in graph.params.values() if p.id in copied}
    activation_bytes = activations * FLOAT
    return Explanation(
        model=graph.name,
        declared=declared,
        free=free,
        trained=trained,
        statistics=rest,
        ties=tuple(_tie(tie) for tie in ties if tie.kind != "soft"),
        mixtures=soft,
        chains=chains(graph),
        together=tuple(_together(parameters)),
        windows=tuple(_windows(graph, lengths)),
        for_all_tasks=tuple(_for_all_tasks(graph)),
        owners=owners,
        parameters=parameters,
        optimizer=type(settings.optimizer).__name__.lower(),
        memory=Memory(
            weights=(free + rest) * FLOAT,
            gradients=trained * FLOAT,
            optimiser=trained * slots * FLOAT,
            copies=sum(copies.values()) * FLOAT,
            activations=activation_bytes,
        ),
        untied=Memory(
            weights=(declared + untied_rest) * FLOAT,
            gradients=alone * FLOAT,
            optimiser=alone * slots * FLOAT,
            copies=0,
            activations=activation_bytes,
        ),
        activations=activations,
        flops=flops,
        lengths=lengths,
    )


class _Work:
    """What several parameters' reports need, found once."""

    def __init__(self, graph: Graph, soft: Iterable[MixtureReport] = ()) -> None:
        self.graph = graph
        self.reached = reached(graph) if graph.losses else set(graph.storages)
        self.statistics = statistics(graph)
        self.readers: dict[str, list[str]] = {}
        for param in graph.params.values():
            self.readers.setdefault(param.view.storage, []).append(param.id)
        self.ties: dict[str, list[str]] = {}
        told = [
            ([member.path for member in tie.members], tie.text, _place(tie.span))
            for tie in graph.ties
        ]
        told += [(list(report.members), report.statement, report.place) for report in soft]
        for members, text, place in told:
            for path in members:
                names = [path] if path in graph.params else graph.instances[path].params
                for name in names:
                    self.ties.setdefault(name, []).append(f"{text}  ({place})")

    def parameter(self, param: Param) -> ParameterReport:
        graph = self.graph
        storage = graph.storages[param.view.storage]
        where = layout(param.view.steps, storage.shape)
        return ParameterReport(
            name=param.id,
            layer=graph.instances[param.instance].op if param.instance in graph.instances else "",
            shape=param.shape,
            numbers=elements(param.shape),
            owner=storage.id,
            view=self.view(param),
            copied=isinstance(where, Indexed),
            training=self.training(storage),
            frozen_by=self.frozen_by(storage),
            init=_init(storage.init, storage.fans),
            own_init=_init(param.init, param.fans),
            shared_with=tuple(n for n in self.readers[storage.id] if n != param.id),
            structure=() if isinstance(where, Strided) else find_structure(where),
            ties=tuple(self.ties.get(param.id, ())),
            place=_place(param.span),
        )

    def owner(self, storage: Storage) -> OwnerReport:
        return OwnerReport(
            name=storage.id,
            shape=storage.shape,
            numbers=elements(storage.shape),
            init=_init(storage.init, storage.fans),
            training=self.training(storage),
            readers=tuple(self.readers.get(storage.id, ())),
        )

    def view(self, param: Param) -> str:
        """The owner's view of its own numbers; for others how they read the owner as it is read."""
        owner = self.graph.params[param.view.storage]
        first = len(owner.view.steps)
        if param.id != owner.id and param.view.steps[:first] == owner.view.steps:
            rest = param.view.steps[first:]
            return describe(rest, owner.id) if rest else ""
        return describe(param.view.steps, owner.id) if param.view.steps else ""

    def frozen_by(self, storage: Storage) -> tuple[str, ...]:
        if storage.trainable or storage.id in self.statistics:
            return ()
        readers = self.readers.get(storage.id, ())
        return tuple(name for name in readers if not self.graph.params[name].trainable)

    def training(self, storage: Storage) -> str:
        if storage.id in self.statistics:
            return "statistic"
        if not storage.trainable:
            return "frozen"
        return "trained" if storage.id in self.reached else "unreached"


def _tie(tie: Any) -> TieReport:
    members = tuple(member.path for member in tie.members)
    return TieReport(tie.text, _place(tie.span), tie.kind, members, tie.saves)


def _together(parameters: Iterable[ParameterReport]) -> list[str]:
    """What holds for entries of parameters through all ties that reach them."""
    facts: dict[tuple[str, ...], list[str]] = {}
    for param in parameters:
        if param.structure:
            facts.setdefault(param.structure, []).append(param.name)
    return [f"{listed(names)}: {'; '.join(fact)}" for fact, names in facts.items()]


def _for_all_tasks(graph: Graph) -> list[str]:
    """Instances with parameters that stand outside every task, where there are tasks."""
    if all(not task.name for task in graph.tasks):
        return []
    outside = (node.instance for node in graph.nodes.values() if node.params and not node.task)
    return list(dict.fromkeys(outside))


def _lengths(graph: Graph) -> dict[str, int]:
    """`LENGTH` steps of each run-time size, or as many as every value of the model needs."""
    found: dict[str, int] = {}
    for value in graph.values.values():
        for size in value.type.shape if value.type else ():
            if isinstance(size, Extent):
                before = found.get(size.symbol, LENGTH)
                found[size.symbol] = max(before, size.smallest())
    return found


def _forward(graph: Graph, lengths: Mapping[str, int]) -> tuple[int, int]:
    """Numbers that nodes make, and operations, of one sample in training."""
    numbers = flops = 0
    for node in graph.nodes.values():
        op = BY_NAME[node.op]
        if _is_metric(node):
            continue
        inputs = [bind(graph.shape_of(name), lengths) for name in node.inputs]
        output = bind(graph.shape_of(node.outputs[0]), lengths)
        if not op.alias:
            numbers += elements(output)
        if op.flops is not None:
            flops += op.flops(node.attrs, inputs, output)
    return numbers, flops


def _windows(graph: Graph, lengths: Mapping[str, int]) -> Iterator[WindowReport]:
    """Layers that read their weight at more than one place."""
    for node in graph.nodes.values():
        op = BY_NAME[node.op]
        if op.places is None or not node.params:
            continue
        places = op.places(
            [bind(graph.shape_of(value), lengths) for value in node.inputs],
            bind(graph.shape_of(node.outputs[0]), lengths),
        )
        numbers = elements(graph.params[node.params[0]].shape)
        if places > 1:
            yield WindowReport(node.params[0], numbers, places, numbers * places)


def _is_metric(node: Node) -> bool:
    return node.role == "metric" or BY_NAME[node.op].category == "metric"


def _init(init: Init, fans: tuple[int, int]) -> str:
    if init.arguments:
        return f"{init.name}({', '.join(f'{n:g}' for n in init.arguments)})"
    if "_" in init.name:
        return f"{init.name}, fans {fans[0]} and {fans[1]}"
    return init.name


def _place(span: Span | None) -> str:
    return f"{PurePath(span.source.path).name}:{span.line}" if span is not None else ""


def listed(names: Iterable[str], most: int = 6) -> str:
    """`a, b and c`; of more than `most` names the first, and how many follow."""
    found = list(names)
    if len(found) > most:
        return f"{', '.join(found[:most])} and {len(found) - most} more"
    return " and ".join(filter(None, [", ".join(found[:-1]), found[-1]]))
