"""What is shared in a model, what that saves, and what it does not; as data and as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import PurePath
from typing import Any

from tiedgraph.diagnostics import Span, nearest
from tiedgraph.ir.graph import Graph, Init, Node, Param, Storage
from tiedgraph.ir.types import Extent, bind, elements
from tiedgraph.ops import BY_NAME
from tiedgraph.passes.settings import train_settings
from tiedgraph.passes.ties import reached, statistics
from tiedgraph.runtime.optim import METHODS
from tiedgraph.ties.chain import describe
from tiedgraph.ties.layout import Indexed, Strided
from tiedgraph.ties.structure import find_structure
from tiedgraph.ties.view import layout

LENGTH = 16  # steps of run-time sizes, where the model needs no more
FLOAT = 4  # bytes of a number in float32


# ---------------------------------------------------------------- as data


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
    together: tuple[str, ...]
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


def explain(graph: Graph) -> Explanation:
    """Explains a graph whose ties are resolved."""
    work = _Work(graph)
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
        ties=tuple(_tie(tie) for tie in graph.ties),
        together=tuple(_together(parameters)),
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

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.reached = reached(graph) if graph.losses else set(graph.storages)
        self.statistics = statistics(graph)
        self.readers: dict[str, list[str]] = {}
        for param in graph.params.values():
            self.readers.setdefault(param.view.storage, []).append(param.id)
        self.ties: dict[str, list[str]] = {}
        for tie in graph.ties:
            for member in tie.members:
                names = (
                    [member.path]
                    if member.path in graph.params
                    else graph.instances[member.path].params
                )
                for name in names:
                    self.ties.setdefault(name, []).append(f"{tie.text}  ({_place(tie.span)})")

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
    return [f"{_list(names)}: {'; '.join(fact)}" for fact, names in facts.items()]


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


# ---------------------------------------------------------------- as text


def explain_text(explanation: Explanation, name: str | None = None) -> str:
    """The explanation in columns; with `name` that of one parameter, or of a layer's or block's.

    Raises ValueError when nothing has this name.
    """
    if name is not None:
        return _named_text(explanation, name)
    parts = [f"model {explanation.model}", _numbers_text(explanation)]
    if explanation.ties:
        parts.append(_ties_text(explanation))
    if explanation.together:
        parts.append("what the ties imply together\n" + _lines(explanation.together))
    if explanation.for_all_tasks:
        names = _list(explanation.for_all_tasks)
        parts.append(f"shared by all tasks, being outside of each\n{_lines([names])}")
    parts += [_owners_text(explanation), _memory_text(explanation)]
    return "\n\n".join(parts) + "\n"


def explain_parameter(graph: Graph, name: str) -> str:
    """Everything about one parameter; of a layer or block, about each of its parameters.

    Raises ValueError when nothing has this name.
    """
    return explain_text(explain(graph), name)


def _numbers_text(e: Explanation) -> str:
    rows = [
        ["declared", f"{e.declared:,}", "numbers in all parameters"],
        ["free", f"{e.free:,}", f"{_share(e.free, e.declared)} of them, after all ties"],
        ["trained", f"{e.trained:,}", "of the free ones"],
    ]
    if e.statistics:
        rows.append(["statistics", f"{e.statistics:,}", "besides, kept by their layers"])
    return "numbers\n" + _table(rows, right={1})


def _ties_text(e: Explanation) -> str:
    rows = [
        [tie.statement, tie.place, f"saves {tie.saves:,}" if tie.saves else "says nothing new"]
        for tie in e.ties
    ]
    return "ties\n" + _table(rows)


def _owners_text(e: Explanation) -> str:
    views = {p.name: p for p in e.parameters}
    rows = [["owner", "shape", "numbers", "starts as", "", "read by"]]
    for owner in e.owners:
        others = [name for name in owner.readers if name != owner.name or views[name].view]
        plain = [name for name in others if not views[name].view]
        shown = [_read(views[name]) for name in others if views[name].view]
        shown = textwrap.wrap(", ".join(plain), 60, break_on_hyphens=False) + shown
        training = "" if owner.training == "trained" else owner.training
        rows.append(
            [owner.name, _shape(owner.shape), f"{owner.numbers:,}", owner.init, training]
            + [shown[0] if shown else ""]
        )
        rows += [["", "", "", "", "", more] for more in shown[1:]]
    return "who owns what\n" + _table(rows, right={2})


def _read(param: ParameterReport) -> str:
    """`b = transpose(a)`, and of the owner itself how its numbers are spread."""
    if param.name == param.owner:
        return param.view
    return f"{param.name} = {param.view}"


def _memory_text(e: Explanation) -> str:
    rows = [["in float32", "with ties", "without", ""]]
    pairs = (
        ("weights", e.memory.weights, e.untied.weights, ""),
        ("gradients", e.memory.gradients, e.untied.gradients, "one shard"),
        (f"optimiser ({e.optimizer})", e.memory.optimiser, e.untied.optimiser, ""),
        ("copies for index maps", e.memory.copies, e.untied.copies, ""),
    )
    rows += [[what, _bytes(a), _bytes(b), note] for what, a, b, note in pairs if a or b]
    lengths = ", ".join(f"{name} = {count}" for name, count in e.lengths.items())
    at = f" at {lengths}" if lengths else ""
    rest = [
        ["activations", f"{e.activations:,} numbers", _bytes(e.memory.activations)],
        ["operations", f"{e.flops:,}", f"{_human(e.flops)}flop"],
    ]
    return (
        "memory\n"
        + _table(rows, right={1, 2})
        + f"\n\nwhat ties do not shrink: one sample forwards{at}\n"
        + _table(rest, right={1, 2})
    )


def _named_text(e: Explanation, name: str) -> str:
    found = [
        p for p in e.parameters if p.name == name or p.name.startswith((f"{name}.", f"{name}["))
    ]
    if not found:
        known = [p.name for p in e.parameters]
        known += list(dict.fromkeys(p.name.rpartition(".")[0] for p in e.parameters))
        hint = nearest(name, known)
        raise ValueError(f"there is no parameter or layer '{name}'" + (f"; {hint}" if hint else ""))
    return "\n\n".join(_parameter_text(param) for param in found) + "\n"


def _parameter_text(p: ParameterReport) -> str:
    rows = [
        ["layer", f"{p.layer}, {p.place}" if p.place else p.layer],
        ["shape", f"{_shape(p.shape)}, {p.numbers:,} numbers"],
        ["owner", "itself" if p.owner == p.name and not p.view else p.owner],
    ]
    if p.view:
        how = "copied before each step, summed back after it" if p.copied else "read where it lies"
        rows.append(["read as", f"{p.view}; {how}"])
    elif p.copied:
        rows.append(["", "copied before each step, summed back after it"])
    rows.append(["starts as", p.init])
    if p.own_init != p.init:
        rows.append(["", f"its own would be {p.own_init}; the owner's counts"])
    others = [name for name in p.frozen_by if name != p.name]
    by = f", since {_list(others)} is" if others and p.name not in p.frozen_by else ""
    rows.append(["training", p.training + by])
    rows += _titled("shared with", p.shared_with)
    rows += _titled("entries", p.structure)
    rows += _titled("ties", p.ties)
    return f"{p.name}\n" + _table(rows)


def _titled(title: str, items: Iterable[str]) -> list[list[str]]:
    return [[title if i == 0 else "", item] for i, item in enumerate(items)]


def _table(rows: list[list[str]], right: Iterable[int] = ()) -> str:
    """Columns two spaces apart, those of `right` flush right, indented by two."""
    columns = range(max(len(row) for row in rows))
    wide = [max(len(row[i]) for row in rows if i < len(row)) for i in columns]
    ends = set(right)
    lines = []
    for row in rows:
        cells = [
            f"{cell:>{wide[i]}}" if i in ends else f"{cell:<{wide[i]}}"
            for i, cell in enumerate(row)
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def _lines(items: Iterable[str]) -> str:
    return "\n".join(f"  {item}" for item in items)


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]" if prod(shape) != 1 or shape else "[]"


def _list(names: Iterable[str], most: int = 6) -> str:
    found = list(names)
    if len(found) > most:
        return f"{', '.join(found[:most])} and {len(found) - most} more"
    return " and ".join(filter(None, [", ".join(found[:-1]), found[-1]]))


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.4g} %" if whole else "0 %"


def _human(number: float) -> str:
    for unit in ("", "k", "M", "G", "T"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} P"


def _bytes(number: int) -> str:
    return f"{number:,} B" if number < 1000 else f"{number:,} B ({_human(number)}B)"
