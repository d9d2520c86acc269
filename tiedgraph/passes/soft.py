"""`tie soft` statements as records, and the mixture that each becomes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import numpy as np

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.ir.graph import Graph, Init, Instance, Mixture, Param, Storage, Tie, TieMember, View
from tiedgraph.ir.types import elements
from tiedgraph.passes.constants import Lookup
from tiedgraph.passes.scope import path_text
from tiedgraph.passes.settings import read_entries, read_plain, read_record
from tiedgraph.passes.ties import statistics
from tiedgraph.syntax import ast
from tiedgraph.ties.layout import contiguous, entries
from tiedgraph.ties.mixture import PARTS, MixtureSettings
from tiedgraph.ties.view import layout

MIXTURE = "mixture"  # the op of a mixture's instance


def read_soft(statement: ast.TieSoft, lookup: Lookup, diagnostics: Diagnostics) -> Tie | None:
    """One record with its `MixtureSettings`; None after a report."""
    table = {item.name: item for item in fields(MixtureSettings)}
    found: dict[str, Any] = {}

    def value_of(entry: ast.Setting) -> Any:
        about = table[entry.name].metadata
        records = about["records"]
        if "kind" not in about or _is_record(entry.value, records):
            also = "a number or " if "kind" in about else ""
            return read_record(entry, records, lookup, diagnostics, also)
        words = frozenset(about["words"])
        return read_plain(entry.name, entry.value, table[entry.name], words, lookup, diagnostics)

    errors = len(diagnostics.errors)
    read_entries(statement.entries, table, "a soft tie", value_of, found, diagnostics)
    settings = MixtureSettings(**{name: item.value for name, item in found.items()})
    if len(diagnostics.errors) == errors:
        _contradictions(settings, found, diagnostics)
    if len(diagnostics.errors) > errors:
        return None
    members = tuple(TieMember(path_text(s.parts), span=s.span) for s in statement.members)
    text = " ".join(statement.span.text.partition("{")[0].split())
    given = (("settings", settings),)
    return Tie(statement.name, "soft", members, given, text, statement.span)


def _is_record(value: ast.Expression, records: Iterable[str]) -> bool:
    if isinstance(value, ast.Call):
        return True
    return isinstance(value, ast.Name) and value.span.text in records


def _contradictions(
    settings: MixtureSettings, found: dict[str, Any], diagnostics: Diagnostics
) -> None:
    if settings.zero is not None and settings.components < 2:
        diagnostics.error(
            "E0602",
            "a soft tie with a zero component needs another one beside it",
            found["zero"].span,
            label="this component and no other",
            hint="write components = 2 or more, or omit zero",
        )
    if settings.zero is None and settings.zero_precision is not None:
        diagnostics.error(
            "E0602",
            "zero_precision is the prior of the zero component, and there is none",
            found["zero_precision"].span,
            hint="add zero = 0.99, or write precision = gamma(...) for all components",
        )


# ---------------------------------------------------------------- mixtures


def resolve_mixtures(graph: Graph, diagnostics: Diagnostics) -> Graph:
    """Gives each soft tie its mixture: which free numbers it draws, and numbers of its own.

    Reports E0409 for statistics, numbers that are drawn twice and members without a free number.
    """
    soft = [tie for tie in graph.ties if tie.kind == "soft"]
    if not soft:
        return graph
    kept = statistics(graph)
    drawn: dict[str, np.ndarray[Any, Any]] = {}  # storage -> which mixture has each number, from 1
    mixtures, params = dict(graph.mixtures), dict(graph.params)
    storages, instances = dict(graph.storages), dict(graph.instances)
    for number, tie in enumerate(soft):
        settings: MixtureSettings = dict(tie.settings)["settings"]
        own: list[str] = []
        for member in tie.members:
            whole = graph.instances.get(member.path)
            for name in whole.params if whole is not None else (member.path,):
                storage = graph.params[name].view.storage
                if name in kept and whole is not None:
                    continue
                if name in kept:
                    _refuse(f"'{name}' is a statistic that its layer keeps", tie, member,
                            "soft ties are for what is trained", diagnostics)  # fmt: skip
                    continue
                if storage not in drawn:
                    size = elements(graph.storages[storage].shape)
                    drawn[storage] = np.zeros(size, np.int32)
                wrong = _draw(graph, name, drawn[storage], number + 1)
                if wrong:
                    other = soft[wrong - 1]
                    diagnostics.error(
                        "E0409",
                        f"numbers of '{name}' are drawn by two soft ties",
                        member.span,
                        label=f"also in '{tie.id}'",
                        others=[(other.span, f"drawn by '{other.id}' already")],
                        hint="name each parameter, or what is tied hard to it, in one of them",
                    )
                elif storage not in own:
                    own.append(storage)
        runs = tuple((name, _runs(drawn[name] == number + 1)) for name in own)
        made = Mixture(tie.id, settings, tuple((n, r) for n, r in runs if r), tie.span)
        if not made.count and not diagnostics.errors:
            _refuse("this soft tie draws no number", tie, tie.members[0],
                    "its members are all fixed at zero by an index map", diagnostics)  # fmt: skip
        mixtures[tie.id] = made
        names = tuple(f"{tie.id}.{part}" for part in PARTS)
        instances[tie.id] = Instance(tie.id, MIXTURE, names, tie.span)
        for name, part in zip(names, PARTS, strict=True):
            shape = (settings.components,)
            zeros = Init("zeros")  # until the numbers are known that it starts from
            params[name] = Param(name, tie.id, part, shape, View(name), zeros, span=tie.span)
            storages[name] = Storage(name, shape, zeros, span=tie.span)
    return graph.replace(mixtures=mixtures, params=params, storages=storages, instances=instances)


def _refuse(message: str, tie: Tie, member: TieMember, hint: str, diagnostics: Diagnostics) -> None:
    diagnostics.error("E0409", message, member.span or tie.span, hint=hint)


def _draw(graph: Graph, name: str, taken: np.ndarray[Any, Any], number: int) -> int:
    """Marks the free numbers that a parameter reads; the other mixture that has some, or 0."""
    param = graph.params[name]
    shape = graph.storages[param.view.storage].shape
    where = layout(param.view.steps, shape)
    if where == contiguous(shape):
        index: Any = slice(None)
    else:
        index = entries(where)[0]
        index = np.unique(index[index >= 0])
    others = taken[index][(taken[index] != 0) & (taken[index] != number)]
    if others.size:
        return int(others[0])
    taken[index] = number
    return 0


def _runs(inside: np.ndarray[Any, Any]) -> tuple[tuple[int, int], ...]:
    """Where the flags hold, as (begin, end)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return tuple((int(a), int(b)) for a, b in edges.reshape(-1, 2))


def without_mixtures(graph: Graph) -> Graph:
    """The same model with its soft ties left out."""
    own = {f"{name}.{part}" for name in graph.mixtures for part in PARTS}
    return graph.replace(
        mixtures={},
        ties=tuple(tie for tie in graph.ties if tie.kind != "soft"),
        params={n: p for n, p in graph.params.items() if n not in own},
        storages={n: s for n, s in graph.storages.items() if n not in own},
        instances={n: i for n, i in graph.instances.items() if n not in graph.mixtures},
    )
