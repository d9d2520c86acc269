"""Units of word models: states whose scores, and odds of moving on, words are made of.

A unit becomes one instance for each phoneme, `phone[aa]`, with the parameter `stay`, and in it one
for each state, `phone[aa].state[0]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.ir.graph import Instance, Setting
from tiedgraph.ops import BY_NAME
from tiedgraph.ops.rules import setting
from tiedgraph.passes.arguments import Bound
from tiedgraph.passes.constants import lookup_in
from tiedgraph.passes.made import Owner
from tiedgraph.passes.scope import Constant, Failed, Ref, Result, Scope, UnitOf, name_span
from tiedgraph.passes.settings import read_entries, read_plain
from tiedgraph.syntax import ast

if TYPE_CHECKING:
    from tiedgraph.passes.expand import Expander

# What stands in a unit only, and how.
EMISSIONS = {
    "mixture": "it stands in a unit: unit phone ... { emission = mixture(book) }",
    "scores": "it stands in a unit: unit phone ... { emission = scores(y) }",
}


@dataclass(frozen=True)
class UnitSettings:
    """Entries of a unit beside `emission`."""

    states: int = setting("size", 3, doc="from left to right, each with a loop to itself")
    duration: int = setting("size", 1, doc="least number of steps in each state")
    skip: bool = setting("flag", False, doc="a state may be left over the next one of its unit")


def read_unit(expander: Expander, statement: ast.Unit, scope: Scope) -> None:
    """`unit NAME from "..." { ... }`: nodes for all states, and the unit's name."""
    place = name_span(statement, statement.name)
    if not scope.is_free(statement.name, place, expander.diagnostics):
        return
    found = _unit(expander, statement, scope)
    if isinstance(found, Failed):
        path = scope.path(statement.name)
        expander.made.instances[path] = Instance(path, "?", span=statement.span)
    scope.define(statement.name, found, place)


def _unit(expander: Expander, statement: ast.Unit, scope: Scope) -> UnitOf | Failed:
    diagnostics = expander.diagnostics
    entries = [entry for entry in statement.entries if entry.name != "emission"]
    emissions = [entry for entry in statement.entries if entry.name == "emission"]
    settings = _settings(entries, scope, diagnostics)
    lexicon = None
    if statement.lexicon is not None:
        lexicon = expander.lexicons.of_unit(statement.lexicon, statement.span)
    if settings is None or (statement.lexicon is not None and lexicon is None):
        return Failed()
    if len(emissions) != 1:
        diagnostics.error(
            "E0204",
            f"unit '{statement.name}' needs one emission, and has {len(emissions)}",
            emissions[-1].span if emissions else statement.span,
            hint="write emission = gaussian(frames), or scores(...) of a network",
        )
        return Failed()
    phonemes = lexicon.phonemes if lexicon is not None else ("",)
    path = scope.path(statement.name)
    members = [f"{path}[{name}]" if name else path for name in phonemes]
    for member in dict.fromkeys((path, *members)):
        expander.made.instances[member] = Instance(member, "", span=statement.span)
    for member in members:
        whole = f"{member}.emission"
        part = f"{member}.state"
        expander.made.instances[whole] = Instance(whole, "", span=statement.span, part=part)
    call = emissions[0].value
    if isinstance(call, ast.Call) and call.function == "scores":
        scores = _given(expander, call, scope, path)
    else:
        scores = _made(expander, call, scope, path, members, settings.states)
    if isinstance(scores, Failed):
        return scores

    def odds(name: str, states: int) -> tuple[str, ...]:
        found = []
        for member in members:
            bound = Bound((), BY_NAME[name].Attrs(states=states), ())
            owner = Owner("value", f"{member}.{name}", None)
            found.append(expander.add(BY_NAME[name], bound, owner, statement.span, None, member).id)
        return tuple(found)

    return UnitOf(
        statement.name,
        path,
        tuple(phonemes) if lexicon is not None else (),
        tuple(row.id for row in scores),
        odds("stay", settings.states),
        odds("skip", settings.states - 2) if settings.skip else (),
        settings.states,
        settings.duration,
        statement.optional,
        statement.span,
    )


def _settings(
    entries: Sequence[ast.Setting], scope: Scope, diagnostics: Diagnostics
) -> UnitSettings | None:
    table = {item.name: item for item in fields(UnitSettings)}
    lookup = lookup_in(scope, diagnostics)
    before = len(diagnostics.errors)
    found: dict[str, Setting] = {}

    def value_of(entry: ast.Setting) -> object:
        return read_plain(
            entry.name, entry.value, table[entry.name], frozenset(), lookup, diagnostics
        )

    read_entries(entries, table, "unit", value_of, found, diagnostics)
    if len(diagnostics.errors) > before:
        return None
    settings = UnitSettings(**{name: item.value for name, item in found.items()})
    if settings.skip and settings.states < 3:
        diagnostics.error(
            "E0303",
            f"a unit with skips has at least 3 states, the second of which may be passed over, "
            f"not {settings.states}",
            next(entry.span for entry in entries if entry.name == "skip"),
            hint="leave skip out, or give the unit more states",
        )
        return None
    return settings


def _given(expander: Expander, call: ast.Call, scope: Scope, path: str) -> list[Ref] | Failed:
    """`scores(value)`: a row for each state, in the order of the phonemes."""
    about = (
        "scores takes one value, float[states, time]",
        "write emission = scores(y), with y the output of a layer",
    )
    found = _only(expander, call, scope, Owner("value", f"{path}.scores", path), *about)
    return [found] if isinstance(found, Ref) else found


def _weighted(
    expander: Expander,
    call: ast.Call,
    scope: Scope,
    path: str,
    members: Sequence[str],
    states: int,
) -> list[Ref] | Failed:
    """`mixture(book)`: one node for all states, and an instance with a weight for each."""
    about = (
        "mixture takes one value, the densities of a codebook",
        "write book = codebook(frames, 64) above, and here emission = mixture(book)",
    )
    found = _only(expander, call, scope, Owner("value", f"{path}.book", path), *about)
    if not isinstance(found, Ref):
        return found
    names = tuple(f"{member}.state[{i}]" for member in members for i in range(states))
    for name in names:
        expander.made.instances[name] = Instance(name, "mixture", span=call.span)
    places = ((0, found.span),) if found.span is not None else ()
    bound = Bound((found.id,), BY_NAME["mixture"].Attrs(names), places)
    owner = Owner("value", f"{path}.states", None)
    return [expander.add(BY_NAME["mixture"], bound, owner, call.span, None, path)]


def _only(
    expander: Expander, call: ast.Call, scope: Scope, owner: Owner, message: str, hint: str
) -> Ref | Failed:
    """The one argument of an emission, a value."""
    found: Result = Failed()
    right = len(call.arguments) == 1 and not call.keywords
    if right:
        found = expander.evaluate(call.arguments[0], scope, owner)
    if isinstance(found, Constant) or not right:
        expander.diagnostics.error("E0204", message, call.span, hint=hint)
        return Failed()
    return found


def _made(
    expander: Expander,
    call: ast.Expression,
    scope: Scope,
    path: str,
    members: Sequence[str],
    states: int,
) -> list[Ref] | Failed:
    """`gaussian(frames)`: a layer for each state; `mixture(book)`: weights for each state."""
    if isinstance(call, ast.Call) and call.function == "mixture":
        return _weighted(expander, call, scope, path, members, states)
    if not isinstance(call, ast.Call) or call.function != "gaussian":
        expander.diagnostics.error(
            "E0204",
            "an emission is gaussian(frames), mixture(codebook) or scores(value)",
            call.span,
            hint="write emission = gaussian(frames, mixtures=2), mixture(...) of a codebook, or "
            "scores(...) of a network",
        )
        return Failed()
    rows: list[Ref] = []
    for member in members:
        for i in range(states):
            state = f"{member}.state[{i}]"
            owner = Owner("value", state, state)
            found = expander.apply(BY_NAME["gaussian"], call, scope, owner, (), state, False, state)
            if not isinstance(found, Ref):
                return found if isinstance(found, Failed) else Failed()
            rows.append(found)
    return rows
