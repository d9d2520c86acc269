"""Applies `init` and `freeze`, and gives ties the exact paths of their members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tiedgraph.diagnostics import Diagnostics, Span
from tiedgraph.ir.graph import Graph, Init, Param, Tie, TieMember
from tiedgraph.passes import limits
from tiedgraph.passes.selectors import Paths
from tiedgraph.ties.index_map import is_joint

# Inits that draw numbers; of a whole instance, `init` changes these and leaves biases and gains.
RANDOM = frozenset(
    f"{name}_{shape}" for name in ("glorot", "he", "lecun") for shape in ("uniform", "normal")
) | {"normal", "uniform", "orthogonal"}


class _Selection:
    """Matches selectors against one graph, and reports each that matches nothing."""

    def __init__(self, graph: Graph, diagnostics: Diagnostics) -> None:
        unknown = [path for path, instance in graph.instances.items() if instance.op == "?"]
        self.paths = Paths([*graph.instances, *graph.params], unknown)
        self.diagnostics = diagnostics
        self.count = 0

    def match(self, selector: str, span: Span | None) -> list[str]:
        if self.count > limits.SELECTED or self.paths.visits > 10 * limits.SELECTED:
            return []
        found = self.paths.match(selector)
        self.count += len(found)
        if self.count > limits.SELECTED or self.paths.visits > 10 * limits.SELECTED:
            self.diagnostics.error(
                "E0501",
                f"the selectors of this file name more than {limits.SELECTED} parameters",
                span,
                hint="tie whole instances, which counts once for all their parameters",
            )
            return []
        if not found and not self.diagnostics.full and not self.paths.is_unknown(selector):
            self.diagnostics.error(
                "E0206",
                f"'{selector}' matches no parameter and no layer",
                span,
                label="nothing has this name",
                hint=self.paths.hint(selector),
            )
        return found


def apply_overrides(graph: Graph, diagnostics: Diagnostics) -> Graph:
    """`init` and `freeze`, in the order of the file; the last `init` of a parameter counts."""
    params = dict(graph.params)
    selection = _Selection(graph, diagnostics)
    for override in graph.overrides:
        found = selection.match(override.path, override.span)
        changed = 0
        for path in found:
            whole = path in graph.instances
            names: Sequence[str] = graph.instances[path].params if whole else (path,)
            for name in names:
                param = params[name]
                after = _overridden(param, override.init, whole)
                changed += after != param
                params[name] = after
        if found and not changed and not selection.paths.is_unknown(override.path):
            what = "freeze" if override.init is None else "init"
            diagnostics.warn(
                "W0003",
                f"this {what} changes nothing",
                override.span,
                hint="its parameters are so already"
                if what == "freeze"
                else "name the parameter itself, such as c1.bias: of a whole layer, `init` changes "
                "what starts at random",
            )
    return graph.replace(params=params, overrides=())


def _overridden(param: Param, init: Init | None, whole: bool) -> Param:
    if init is None:
        return replace(param, trainable=False)
    if whole and param.init.name not in RANDOM:
        return param
    return replace(param, init=init)


def resolve_selectors(graph: Graph, diagnostics: Diagnostics) -> Graph:
    """Ties with one exact path in each member.

    A tie without a view keeps all its members. With a view, or `by` an index map of one parameter,
    each parameter on the left is tied by itself.
    """
    selection = _Selection(graph, diagnostics)
    ties: list[Tie] = []
    for tie in graph.ties:
        ties.extend(_resolve(tie, selection))
    return graph.replace(ties=tuple(ties))


def _resolve(tie: Tie, selection: _Selection) -> list[Tie]:
    found = [(member, selection.match(member.path, member.span)) for member in tie.members]
    if any(not paths for _, paths in found):
        return []
    alone = tie.kind == "index_map" and not is_joint(dict(tie.settings)["map"])
    if not alone and not tie.members[-1].steps:
        exact = {
            path: TieMember(path, member.steps, member.span)
            for member, paths in found
            for path in paths
        }
        return [replace(tie, members=tuple(exact.values()))]
    right: tuple[TieMember, ...] = ()
    if tie.kind == "hard":
        member, paths = found.pop()
        if len(paths) > 1:
            selection.diagnostics.error(
                "E0206",
                f"'{member.path}' names {len(paths)} things, but a view reads one",
                member.span,
                hint="select one of them, such as " + paths[0],
            )
            return []
        right = (replace(member, path=paths[0]),)
    left = [TieMember(path, (), member.span) for member, paths in found for path in paths]
    if len(left) == 1:
        return [replace(tie, members=(*left, *right))]
    return [replace(tie, id=f"{tie.id}.{i}", members=(one, *right)) for i, one in enumerate(left)]
