"""Soft ties in an explanation: what is drawn from which mixture, and where it has come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import Any

from tiedgraph.ir.graph import Graph, Mixture, Tie
from tiedgraph.render import table
from tiedgraph.runtime.mixture import MixtureState
from tiedgraph.ties.mixture import PARTS, Learned, MixtureSettings


@dataclass(frozen=True)
class ComponentReport:
    """One Gaussian. held: numbers that it is most responsible for; zero: whether it is at zero."""

    proportion: float
    mean: float
    width: float
    held: int
    zero: bool


@dataclass(frozen=True)
class MixtureReport:
    """One `tie soft`.

    numbers: free numbers that it draws; own: those of the mixture itself. settings: as text, what
    is not the default. state: components by their means, for a trained model.
    """

    name: str
    statement: str
    place: str
    members: tuple[str, ...]
    numbers: int
    components: int
    own: int
    settings: Mapping[str, str]
    state: tuple[ComponentReport, ...] = ()


def mixtures(
    graph: Graph, states: Mapping[str, MixtureState] | None = None
) -> tuple[MixtureReport, ...]:
    """A report for each soft tie; with its components where `states` has them."""
    ties = {tie.id: tie for tie in graph.ties if tie.kind == "soft"}
    return tuple(
        _report(mixture, ties[name], (states or {}).get(name))
        for name, mixture in graph.mixtures.items()
    )


def _report(mixture: Mixture, tie: Tie, state: MixtureState | None) -> MixtureReport:
    settings: MixtureSettings = mixture.settings
    span = mixture.span
    return MixtureReport(
        mixture.id,
        tie.text,
        f"{PurePath(span.source.path).name}:{span.line}" if span is not None else "",
        tuple(member.path for member in tie.members),
        mixture.count,
        settings.components,
        len(PARTS) * settings.components,
        {
            item.name: _text(getattr(settings, item.name))
            for item in fields(MixtureSettings)
            if item.name != "components" and getattr(settings, item.name) != item.default
        },
        () if state is None else _components(settings, state),
    )


def _text(value: Any) -> str:
    if hasattr(value, "__dataclass_fields__"):
        inside = ", ".join(f"{getattr(value, item.name):g}" for item in fields(value))
        return f"{type(value).__name__.lower()}({inside})"
    if isinstance(value, tuple):
        return f"[{', '.join(f'{number:g}' for number in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _components(settings: MixtureSettings, state: MixtureState) -> tuple[ComponentReport, ...]:
    found = [
        ComponentReport(
            float(state.proportions[i]),
            float(state.means[i]),
            float(state.widths[i]),
            int(state.held[i]),
            settings.zero is not None and i == 0,
        )
        for i in range(settings.components)
    ]
    return tuple(sorted(found, key=lambda component: component.mean))


# ---------------------------------------------------------------- as text


def mixture_rows(report: MixtureReport) -> list[list[str]]:
    """What it draws, and how."""
    settings = [f"{name} = {value}" for name, value in report.settings.items()]
    rows = [
        [report.name, f"{report.statement}  ({report.place})"],
        ["", f"{report.numbers:,} numbers drawn from {_gaussians(report.components)}, which "
             f"{'has' if report.components == 1 else 'have'} {report.own} of their own"],
    ]  # fmt: skip
    return rows + ([["", ", ".join(settings)]] if settings else [])


def _gaussians(count: int) -> str:
    return "one Gaussian" if count == 1 else f"{count} Gaussians"


def components_text(report: MixtureReport, indent: str = "  ") -> str:
    """A table of its components, with a heading."""
    rows = [["", "mean", "width", "proportion", "holds"]]
    for component in report.state:
        rows.append(
            [
                "zero" if component.zero else "",
                f"{component.mean:.4f}",
                f"{component.width:.4f}",
                f"{component.proportion:.4g}",
                f"{component.held:,}",
            ]
        )
    return table(rows, {1, 2, 3, 4}, indent)


def brief(settings: MixtureSettings, state: MixtureState) -> str:
    """A mixture in a few words, for the line of an epoch: `97.3 % at 0, 12 of 17 hold numbers`."""
    total = max(1, int(state.held.sum()))
    used = int((state.held > 0).sum())
    told = f"{used} of {settings.components} hold numbers"
    if settings.zero is None:
        return told
    learned = f", {state.proportions[0]:.3g} expected" if isinstance(settings.zero, Learned) else ""
    return f"{100 * int(state.held[0]) / total:.1f} % at zero{learned}, {told}"
