"""An explanation as text in columns."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable
from math import prod

from tiedgraph.diagnostics import nearest
from tiedgraph.explain.data import Explanation, OwnerReport, ParameterReport, explain, listed
from tiedgraph.explain.mixtures import MixtureReport, components_text, mixture_rows
from tiedgraph.explain.words import chain_text, phoneme_text
from tiedgraph.ir.graph import Graph
from tiedgraph.render import table
from tiedgraph.ties.mixture import PARTS


def explain_text(explanation: Explanation, name: str | None = None) -> str:
    """The explanation in columns; with `name` that of one parameter, or of a layer's or block's.

    Raises ValueError when nothing has this name.
    """
    if name is not None:
        return _named_text(explanation, name)
    parts = [f"model {explanation.model}", _numbers_text(explanation)]
    if explanation.ties:
        parts.append(_ties_text(explanation))
    for report in explanation.mixtures:
        parts.append(_mixture_text(report))
    parts += [chain_text(report) for report in explanation.chains]
    if explanation.together:
        parts.append("what the ties imply together\n" + _lines(explanation.together))
    if explanation.windows:
        parts.append(_windows_text(explanation))
    if explanation.for_all_tasks:
        names = listed(explanation.for_all_tasks)
        parts.append(f"shared by all tasks, being outside of each\n{_lines([names])}")
    parts += [_owners_text(explanation), _memory_text(explanation)]
    return "\n\n".join(parts) + "\n"


def _mixture_text(report: MixtureReport) -> str:
    """A soft tie, and its components when it is trained."""
    text = "drawn softly\n" + table(mixture_rows(report))
    if report.state:
        text += "\n\n" + components_text(report)
    return text


def _windows_text(e: Explanation) -> str:
    """What windows share without any tie."""
    lengths = ", ".join(f"{name} = {count}" for name, count in e.lengths.items())
    rows = [["parameter", "numbers", "places", "connections"]]
    sums: dict[tuple[str, int], list[int]] = {}
    for w in e.windows:
        found = sums.setdefault((_pattern(e, w.parameter), w.places), [0, 0])
        found[0] += w.numbers
        found[1] += w.connections
    rows += [
        [name, f"{numbers:,}", f"{places:,}", f"{connections:,}"]
        for (name, places), (numbers, connections) in sums.items()
    ]
    told = f" at {lengths}" if lengths else ""
    return f"what windows share, one sample{told}\n" + table(rows, right={1, 2, 3})


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
    return "numbers\n" + table(rows, right={1})


def _ties_text(e: Explanation) -> str:
    rows = [
        [tie.statement, tie.place, f"saves {tie.saves:,}" if tie.saves else "says nothing new"]
        for tie in e.ties
    ]
    return "ties\n" + table(rows)


def _owners_text(e: Explanation) -> str:
    views = {p.name: p for p in e.parameters}
    rows = [["owner", "shape", "numbers", "starts as", "", "read by"]]
    alike = Counter(_kind(e, owner) for owner in e.owners)
    told: set[tuple[str, ...]] = set()
    for owner in e.owners:
        kind = _kind(e, owner)
        if alike[kind] > 1:
            if kind not in told:
                numbers = f"{alike[kind] * owner.numbers:,}"
                rows.append([kind[0], kind[1], numbers, kind[2], kind[3], f"{alike[kind]} alike"])
            told.add(kind)
            continue
        others = [name for name in owner.readers if name != owner.name or views[name].view]
        plain = [name for name in others if not views[name].view]
        shown = [_read(views[name]) for name in others if views[name].view]
        shown = textwrap.wrap(", ".join(plain), 60, break_on_hyphens=False) + shown
        rows.append(
            [owner.name, _shape(owner.shape), f"{owner.numbers:,}", owner.init, kind[3]]
            + [shown[0] if shown else ""]
        )
        rows += [["", "", "", "", "", more] for more in shown[1:]]
    return "who owns what\n" + table(rows, right={2})


def _pattern(e: Explanation, name: str) -> str:
    """`phone[*].state[*].mean` for a parameter of a unit; others as they are."""
    units = tuple(f"{unit}{end}" for c in e.chains for unit in (c.unit, c.between) for end in ".[")
    return re.sub(r"\[\w+\]", "[*]", name) if name.startswith(units) else name


def _kind(e: Explanation, owner: OwnerReport) -> tuple[str, ...]:
    """What owners must have in common to be told in one row: those of a unit that nothing else
    reads."""
    name = owner.name if len(owner.readers) > 1 else _pattern(e, owner.name)
    training = "" if owner.training == "trained" else owner.training
    return name, _shape(owner.shape), owner.init, training


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
        + table(rows, right={1, 2})
        + f"\n\nwhat ties do not shrink: one sample forwards{at}\n"
        + table(rest, right={1, 2})
    )


def _named_text(e: Explanation, name: str) -> str:
    mixture = next((m for m in e.mixtures if name in (m.name, *_own(m))), None)
    if mixture is not None:
        return _mixture_text(mixture) + "\n"
    phonemes = [(c, p) for c in e.chains for p in c.phonemes if f"{name}.".startswith(f"{p.path}.")]
    found = [
        p for p in e.parameters if p.name == name or p.name.startswith((f"{name}.", f"{name}["))
    ]
    if not found:
        known = [p.name for p in e.parameters]
        known += [mixture.name for mixture in e.mixtures]
        known += list(dict.fromkeys(p.name.rpartition(".")[0] for p in e.parameters))
        hint = nearest(name, known)
        raise ValueError(f"there is no parameter or layer '{name}'" + (f"; {hint}" if hint else ""))
    parts = [phoneme_text(chain, phoneme) for chain, phoneme in phonemes]
    return "\n\n".join([*parts, *(_parameter_text(param) for param in found)]) + "\n"


def _own(report: MixtureReport) -> list[str]:
    return [f"{report.name}.{part}" for part in PARTS]


def _parameter_text(p: ParameterReport) -> str:
    rows = [
        ["layer", ", ".join(part for part in (p.layer, p.place) if part)],
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
    by = f", since {listed(others)} is" if others and p.name not in p.frozen_by else ""
    rows.append(["training", p.training + by])
    rows += _titled("shared with", p.shared_with)
    rows += _titled("entries", p.structure)
    rows += _titled("ties", p.ties)
    return f"{p.name}\n" + table(rows)


def _titled(title: str, items: Iterable[str]) -> list[list[str]]:
    return [[title if i == 0 else "", item] for i, item in enumerate(items)]


def _lines(items: Iterable[str]) -> str:
    return "\n".join(f"  {item}" for item in items)


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]" if prod(shape) != 1 or shape else "[]"


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
