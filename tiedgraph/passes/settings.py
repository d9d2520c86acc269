"""`train { ... }` and `data { ... }`: what may stand in them, and the typed result.

Optimisers and schedules are records like an op's `Attrs`: their fields are their arguments, by
position or by name, and a bare `adam` takes all defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

from tiedgraph.diagnostics import Diagnostics, Span, nearest
from tiedgraph.ir.graph import DataInput, Graph, Setting
from tiedgraph.ops.rules import setting
from tiedgraph.passes.arguments import Unfit, convert, settings_of_class
from tiedgraph.passes.constants import Lookup, compute, describe
from tiedgraph.passes.scope import Constant, Failed, Word, name_span
from tiedgraph.syntax import ast

# ---------------------------------------------------------------- optimisers


@dataclass(frozen=True)
class Sgd:
    """Gradient descent: v = momentum * v + g, then w -= rate * v (Nesterov: rate * (g + m v))."""

    rate: float = setting("number", 0.01, minimum=0, doc="learning rate")
    momentum: float = setting("number", 0.0, minimum=0, maximum=1, doc="how much of v is kept")
    nesterov: bool = setting("flag", False, doc="look ahead by one step")


@dataclass(frozen=True)
class Adam:
    """Kingma and Ba 2015: means of g and g^2, corrected for their start."""

    rate: float = setting("number", 0.001, minimum=0, doc="learning rate")
    beta1: float = setting("number", 0.9, minimum=0, maximum=0.999999, doc="kept of the mean of g")
    beta2: float = setting(
        "number", 0.999, minimum=0, maximum=0.999999, doc="kept of the mean of g^2"
    )
    epsilon: float = setting(
        "number", 1e-8, minimum=1e-30, doc="added to the root of the mean of g^2"
    )


@dataclass(frozen=True)
class AdamW(Adam):
    """Loshchilov and Hutter 2019: Adam, and w -= rate * decay * w beside it."""

    decay: float = setting("number", 0.01, minimum=0, doc="weight decay, apart from the gradient")


@dataclass(frozen=True)
class RmsProp:
    """Tieleman and Hinton 2012: g over the root of the running mean of g^2."""

    rate: float = setting("number", 0.001, minimum=0, doc="learning rate")
    rho: float = setting("number", 0.9, minimum=0, maximum=1, doc="kept of the mean of g^2")
    momentum: float = setting("number", 0.0, minimum=0, maximum=1, doc="how much of v is kept")
    epsilon: float = setting(
        "number", 1e-8, minimum=1e-30, doc="added to the root of the mean of g^2"
    )


Optimizer = Sgd | Adam | AdamW | RmsProp
OPTIMIZERS: dict[str, type] = {"sgd": Sgd, "adam": Adam, "adamw": AdamW, "rmsprop": RmsProp}


# ---------------------------------------------------------------- schedules


@dataclass(frozen=True)
class Steady:
    """The same rate always."""


@dataclass(frozen=True)
class Step:
    """The rate times `factor` after each `every` epochs."""

    every: int = setting("size", doc="epochs between two changes")
    factor: float = setting("number", 0.1, minimum=0, doc="what the rate is multiplied by")


@dataclass(frozen=True)
class Cosine:
    """From the rate down to `final` times the rate along half a cosine, over all epochs."""

    final: float = setting("number", 0.0, minimum=0, doc="last rate, as a part of the first")


Schedule = Steady | Step | Cosine
SCHEDULES: dict[str, type] = {"constant": Steady, "step": Step, "cosine": Cosine}


# ---------------------------------------------------------------- tasks


@dataclass(frozen=True)
class Joint:
    """A step adds the losses of all tasks up; an epoch goes once over the largest data."""


@dataclass(frozen=True)
class Alternate:
    """A step is of one task, in turn; an epoch goes once over the largest data, all in turn."""


@dataclass(frozen=True)
class Proportional:
    """A step is of a task drawn with probability samples ** (1 / temperature).

    An epoch has as many steps as all data has batches."""

    temperature: float = setting("number", 1.0, minimum=1e-3, doc="1: by size; larger: more alike")


Turns = Joint | Alternate | Proportional
TURNS: dict[str, type] = {"joint": Joint, "alternate": Alternate, "proportional": Proportional}


# ---------------------------------------------------------------- methods


@dataclass(frozen=True)
class Gradient:
    """Every step of the optimiser follows the gradient of a batch."""


@dataclass(frozen=True)
class Em:
    """Expectation-maximisation for word models: an epoch is one step over all data."""

    epochs: int = setting(
        "integer", 0, minimum=0, doc="so many first epochs, the rest by gradient; 0: all"
    )
    floor: float = setting(
        "number", 0.01, minimum=0.0, maximum=1.0, doc="least variance, of that of all frames"
    )
    split: int = setting("size", 4, doc="epoch before which mixtures, alike till then, are split")
    every: int = setting("size", 2, doc="epochs from there to the next split, which doubles them")
    flat: bool = setting("flag", True, doc="start with all states alike; else as initialised")


Method = Gradient | Em
METHODS: dict[str, type] = {"gradient": Gradient, "em": Em}


# ---------------------------------------------------------------- train


@dataclass(frozen=True)
class TrainSettings:
    """How a model is trained; the fields are the entries of `train { }`."""

    optimizer: Optimizer = field(default=Adam(), metadata={"records": OPTIMIZERS})
    method: Method = field(default=Gradient(), metadata={"records": METHODS})
    schedule: Schedule = field(default=Steady(), metadata={"records": SCHEDULES})
    warmup: int = setting(
        "integer", 0, minimum=0, doc="first steps, in which the rate grows from 0"
    )
    batch: int = setting("size", 32, doc="samples of one step")
    epochs: int = setting("size", 10, doc="passes over the data")
    seed: int = setting("integer", 0, minimum=0, doc="of initial numbers, order and dropout")
    decay: float = setting("number", 0.0, minimum=0, doc="decay * w is added to each gradient")
    clip: float | None = setting(
        "number", None, minimum=1e-30, doc="the gradient's norm over all storages is at most this"
    )
    patience: int | None = setting(
        "size", None, doc="stop when `monitor` did not improve for so many epochs"
    )
    monitor: str = field(default="loss", metadata={"terms": True})
    keep: str = setting("word", "last", words=("last", "best"), doc="epoch whose numbers are kept")
    shuffle: bool = setting("flag", True, doc="a new order of the samples in each epoch")
    tasks: Turns = field(default=Joint(), metadata={"records": TURNS})
    balance: str = setting(
        "word", "given", words=("given", "uncertainty"),
        doc="weights of the losses: as given, or learned by uncertainty (Kendall et al. 2018)",
    )  # fmt: skip


def train_settings(graph: Graph) -> TrainSettings:
    """The file's `train { }`, with defaults for what it leaves out."""
    return TrainSettings(**{item.name: item.value for item in graph.train})


# ---------------------------------------------------------------- data


@dataclass(frozen=True)
class Scale:
    """Raw numbers of an input become `raw * factor + offset` when they are read."""

    factor: float = setting("number", doc="what each number is multiplied by")
    offset: float = setting("number", 0.0, doc="what is added then")


SCALES: dict[str, type] = {"scale": Scale}


@dataclass(frozen=True)
class LoadSettings:
    """Where data comes from and how it is read.

    train, validate: files, relative to the `.tie` file. scale: by the name of the input. tasks:
    files of tasks that have their own, (train, validate).
    """

    train: str | None = None
    validate: str | None = None
    scale: Mapping[str, Scale] = field(default_factory=dict)
    tasks: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)


def load_settings(graph: Graph) -> LoadSettings:
    """The file's `data { }`."""
    files = {item.name: item.value for item in graph.loading if isinstance(item.value, str)}
    scale = {item.name: item.value for item in graph.loading if isinstance(item.value, Scale)}
    tasks = {
        task.name: (files.get(f"{task.name}.train"), files.get(f"{task.name}.validate"))
        for task in graph.tasks
        if task.name and any(f"{task.name}.{use}" in files for use in ("train", "validate"))
    }
    return LoadSettings(files.get("train"), files.get("validate"), scale, tasks)


# ---------------------------------------------------------------- reading


def read_train(
    entries: Sequence[ast.Setting], terms: Iterable[str], lookup: Lookup, diagnostics: Diagnostics
) -> tuple[Setting, ...]:
    """Checks the entries of all `train { }`. `terms`: what `monitor` may name."""
    table = {item.name: item for item in fields(TrainSettings)}
    found: dict[str, Setting] = {}

    def value_of(entry: ast.Setting) -> Any:
        about = table[entry.name].metadata
        if "records" in about and "kind" not in about:
            return read_record(entry, about["records"], lookup, diagnostics)
        if "terms" in about:
            return _word(entry, [*terms, "loss"], diagnostics)
        words = frozenset(about["words"])
        return read_plain(entry.name, entry.value, table[entry.name], words, lookup, diagnostics)

    read_entries(entries, table, "train", value_of, found, diagnostics)
    _contradictions(found, diagnostics)
    return tuple(found.values())


def read_data(
    entries: Sequence[ast.Setting],
    data: Mapping[str, DataInput],
    lookup: Lookup,
    diagnostics: Diagnostics,
    task: str = "",
) -> tuple[Setting, ...]:
    """Checks the entries of all `data { }`, or of those in a task, whose names get its name."""
    before = f"{task}." if task else ""
    data = {
        name.removeprefix(before): item
        for name, item in data.items()
        if not task or name.startswith(before)
    }
    found: dict[str, Setting] = {}

    def value_of(entry: ast.Setting) -> Any:
        if entry.name in ("train", "validate"):
            if isinstance(entry.value, ast.String):
                return entry.value.value
            _bad(f"'{entry.name}' is the name of a file", entry.value.span,
                 f'write {entry.name} = "digits.npz"', diagnostics)  # fmt: skip
            return None
        kind = data[entry.name].type.kind
        if kind != "float":
            _bad(f"'{entry.name}' holds {kind} numbers, which are not scaled", entry.span,
                 "only float inputs and targets are scaled", diagnostics)  # fmt: skip
            return None
        return read_record(entry, SCALES, lookup, diagnostics)

    read_entries(entries, ["train", "validate", *data], "data", value_of, found, diagnostics)
    return tuple(replace(item, name=f"{before}{item.name}") for item in found.values())


def read_entries(
    entries: Sequence[ast.Setting],
    known: Iterable[str],
    role: str,
    value_of: Callable[[ast.Setting], Any],
    found: dict[str, Setting],
    diagnostics: Diagnostics,
) -> None:
    """Fills `found` with the value of each entry; reports unknown names and those set twice."""
    names = list(known)
    seen: dict[str, Span] = {}
    for entry in entries:
        if diagnostics.full:
            return
        place = name_span(entry, entry.name)
        if entry.name not in names:
            diagnostics.error(
                "E0601",
                f"{role} has no setting '{entry.name}'",
                place,
                label="unknown setting",
                hint=nearest(entry.name, names) or f"there are: {', '.join(names[:14])}",
            )
        elif entry.name in seen:
            diagnostics.error(
                "E0601",
                f"'{entry.name}' is set twice",
                place,
                label="set again here",
                others=[(seen[entry.name], "first set here")],
                hint="keep one of them",
            )
        else:
            seen[entry.name] = place
            value = value_of(entry)
            if value is not None:
                found[entry.name] = Setting(entry.name, value, entry.span)


def _bad(message: str, span: Span, hint: str, diagnostics: Diagnostics) -> None:
    diagnostics.error("E0602", message, span, label="not a value of this setting", hint=hint)


def read_plain(
    name: str,
    expression: ast.Expression,
    about: Any,
    words: frozenset[str],
    lookup: Lookup,
    diagnostics: Diagnostics,
) -> Any:
    """One number, flag or word; None after a report."""
    constant: Constant | Failed
    bare = isinstance(expression, ast.Name) and expression.span.text
    if bare and bare in words:
        constant = Constant(Word(bare), expression.span)
    elif words:
        listed = " or ".join(sorted(words))
        _bad(f"'{name}' is {listed}", expression.span, f"write {name} = {listed}", diagnostics)
        return None
    else:
        constant = compute(expression, lookup, diagnostics, "E0602")
    if isinstance(constant, Failed):
        return None
    try:
        return convert(constant.value, about)
    except Unfit as error:
        hint = error.hint or f"for example {name} = {_example(about)}"
        _bad(f"'{name}' {error}", expression.span, hint, diagnostics)
        return None


def _example(about: Any) -> str:
    if about.default is MISSING or about.default is None:
        least, most = about.metadata["minimum"] or 0.0, about.metadata["maximum"] or 2.0
        samples = {"size": "5", "interval": "[-1, 1]"}
        return samples.get(about.metadata["kind"], f"{(least + most) / 2:.3g}")
    return describe(about.default)


def _word(entry: ast.Setting, words: Sequence[str], diagnostics: Diagnostics) -> str | None:
    text = entry.value.span.text if isinstance(entry.value, ast.Name) else ""
    if text in words:
        return text
    _bad(
        f"'{entry.name}' is a loss or metric of this file, or `loss` for their sum",
        entry.value.span,
        nearest(text, words) or f"there are: {', '.join(dict.fromkeys(words))}",
        diagnostics,
    )
    return None


def read_record(
    entry: ast.Setting,
    records: Mapping[str, type],
    lookup: Lookup,
    diagnostics: Diagnostics,
    also: str = "",
) -> Any:
    """`sgd(rate=0.1)`, or `adam` alone; None after a report. also: what else may stand there."""
    call = entry.value
    if isinstance(call, ast.Name) and len(call.path) == 1:
        call = ast.Call(call.path[0].name, span=call.span)
    if not isinstance(call, ast.Call) or call.function not in records:
        name = call.function if isinstance(call, ast.Call) else ""
        listed = ", ".join(f"{word}({_inside(record)})" for word, record in records.items())
        _bad(f"'{entry.name}' is {also}one of {', '.join(records)}", entry.value.span,
             nearest(name, records) or f"write {listed}", diagnostics)  # fmt: skip
        return None
    record = records[call.function]
    table = {item.name: item for item in settings_of_class(record)}
    given: dict[str, ast.Expression] = {}
    extra = call.arguments[len(table) :]
    pairs = [(name, item, item.span) for name, item in zip(table, call.arguments)]  # noqa: B905
    pairs += [(k.name, k.value, k.span) for k in call.keywords]
    hint = f"write {call.function}({_inside(record)})"
    good = not extra
    if extra:
        _bad(f"{call.function} takes {len(table)} numbers", extra[0].span, hint, diagnostics)
    for name, value, span in pairs:
        if name not in table:
            diagnostics.error(
                "E0601",
                f"{call.function} has no setting '{name}'",
                span,
                hint=nearest(name, table) or hint,
            )
            good = False
        elif name in given:
            _bad(f"'{name}' is given twice", value.span, hint, diagnostics)
            good = False
        else:
            given[name] = value
    numbers: dict[str, Any] = {}
    for name, value in given.items():
        number = read_plain(name, value, table[name], frozenset(), lookup, diagnostics)
        good = good and number is not None
        numbers[name] = number
    missing = [n for n, f in table.items() if f.default is MISSING and n not in given]
    if missing:
        _bad(f"{call.function} needs '{missing[0]}'", call.span, hint, diagnostics)
    return record(**numbers) if good and not missing else None


def _inside(record: type) -> str:
    parts = []
    for item in settings_of_class(record):
        default = item.default
        parts.append(item.name if default is MISSING else f"{item.name}={describe(default)}")
    return ", ".join(parts)


def _contradictions(found: Mapping[str, Setting], diagnostics: Diagnostics) -> None:
    optimizer = found["optimizer"].value if "optimizer" in found else Adam()
    if isinstance(optimizer, Sgd) and optimizer.nesterov and not optimizer.momentum:
        _bad("nesterov needs a momentum", _span(found["optimizer"]),
             "write sgd(rate=0.05, momentum=0.9, nesterov=true)", diagnostics)  # fmt: skip
    if isinstance(optimizer, AdamW) and "decay" in found:
        _bad("adamw has a decay of its own", _span(found["decay"]),
             "write optimizer = adamw(decay=0.01) alone", diagnostics)  # fmt: skip


def _span(item: Setting) -> Span:
    assert item.span is not None
    return item.span
