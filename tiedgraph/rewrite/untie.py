"""Ties taken away: each use of some parameters gets numbers of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiedgraph.diagnostics import RunError, Span
from tiedgraph.ir.graph import Graph, Tie
from tiedgraph.passes.selectors import Paths
from tiedgraph.rewrite.text import Rewritten, replaced, statements_of
from tiedgraph.runtime.identity import Origin
from tiedgraph.syntax import ast
from tiedgraph.ties.edge import parameters_of


@dataclass(frozen=True)
class Untied:
    """The text without the ties, and the parameters that are on their own then."""

    text: Rewritten
    parameters: tuple[str, ...]


def untie(graph: Graph, origin: Origin, selectors: Sequence[str]) -> Untied:
    """The model's text with some parameters taken out of its hard ties.

    selectors: parameters or layers, `right` or `layers[1..3].weight`. Statements lose these
    members, and go when none are left to tie. The others stay tied to each other. Raises RunError
    where a selector names nothing, or nothing that is tied.
    """
    wanted = _selected(graph, selectors)
    text, statements = statements_of(origin)
    changes: dict[Span, str] = {}
    loose: dict[str, None] = {}
    dropped: set[str] = set()
    for item in statements:
        if not isinstance(item, ast.TieHard | ast.TieShared):
            continue
        ties = [
            tie
            for tie in graph.ties
            if tie.span is not None
            and (tie.span.start, tie.span.end) == (item.span.start, item.span.end)
        ]
        gone = [name for tie in ties for name in _members(graph, tie) if name in wanted]
        if not gone:
            continue
        lines = _rest(graph, item, ties, wanted)
        loose |= dict.fromkeys(gone)
        told = ", ".join(dict.fromkeys(gone))
        changes[item.span] = "\n".join([f"# untied: {told}", *lines])
        if isinstance(item, ast.TieHard) and item.by is not None and not lines:
            dropped |= {a.value for a in item.by.arguments if isinstance(a, ast.String)}
    if not changes:
        names = ", ".join(sorted(wanted)[:4])
        raise RunError(f"no hard tie names {names}, so there is nothing to untie")
    files = {
        name: content
        for name, content in origin.files.items()
        if name != origin.main and name not in dropped
    }
    return Untied(Rewritten(replaced(text, changes), files), tuple(loose))


def _selected(graph: Graph, selectors: Sequence[str]) -> set[str]:
    """Ids of the parameters that selectors name."""
    paths = Paths([*graph.instances, *graph.params])
    wanted: set[str] = set()
    for selector in selectors:
        found = paths.match(selector)
        if not found:
            hint = paths.hint(selector)
            raise RunError(
                f"'{selector}' matches no parameter and no layer" + (f"; {hint}" if hint else "")
            )
        for path in found:
            wanted.update(parameters_of(graph, path).values())
    return wanted


def _members(graph: Graph, tie: Tie) -> list[str]:
    return [name for m in tie.members for name in parameters_of(graph, m.path).values()]


def _rest(
    graph: Graph,
    item: ast.TieHard | ast.TieShared,
    ties: Sequence[Tie],
    wanted: set[str],
) -> list[str]:
    """What is left of a statement."""
    if isinstance(item, ast.TieHard) and item.by is not None:
        left = [name for tie in ties for name in _members(graph, tie) if name not in wanted]
        return [f"tie hard {', '.join(left)} by {item.by.span.text}"] if left else []
    if any(member.steps for tie in ties for member in tie.members):
        return []  # a view has two sides
    lines = []
    for tie in ties:
        inside = {m.path: parameters_of(graph, m.path) for m in tie.members}
        whole = [path for path, own in inside.items() if not wanted.intersection(own.values())]
        cut = [path for path, own in inside.items() if set(own.values()) - wanted]
        if whole == cut:  # every member goes as a whole or stays as one
            lines += [f"tie hard {', '.join(whole)}"] if len(whole) > 1 else []
            continue
        for name in next(iter(inside.values())):
            left = [own[name] for own in inside.values() if own[name] not in wanted]
            lines += [f"tie hard {', '.join(left)}"] if len(left) > 1 else []
    return lines
