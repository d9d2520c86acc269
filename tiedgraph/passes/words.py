"""Word models: units of states, chains of them by a lexicon, and what is asked of a chain.

A unit becomes one instance for each phoneme, `phone[aa]`, with the parameter `stay`, and in it one
for each state, `phone[aa].state[0]`. All states' scores are rows of one value, and a chain is a
table of rows for each pronunciation, so that a phoneme is shared by all words that have it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import log
from pathlib import Path
from typing import TYPE_CHECKING

from tiedgraph.diagnostics import Diagnostics, Source, Span, nearest
from tiedgraph.ir import lexicon as lexicons
from tiedgraph.ir.graph import Chain, Instance, Setting
from tiedgraph.ir.lexicon import Lexicon
from tiedgraph.ir.types import Type
from tiedgraph.ops import BY_NAME
from tiedgraph.ops.lattice import Chains
from tiedgraph.ops.rules import setting
from tiedgraph.passes.arguments import Bound
from tiedgraph.passes.constants import lookup_in
from tiedgraph.passes.made import Owner
from tiedgraph.passes.scope import ChainOf, Constant, Failed, Ref, Result, Scope, UnitOf, name_span
from tiedgraph.passes.settings import read_entries, read_plain
from tiedgraph.syntax import ast
from tiedgraph.syntax.parser import read_source

if TYPE_CHECKING:
    from tiedgraph.passes.expand import Expander

FUNCTIONS = ("likelihood", "discriminate", "word_scores", "decode", "word_error")


@dataclass(frozen=True)
class UnitSettings:
    """Entries of a unit beside `emission`."""

    states: int = setting("size", 3, doc="from left to right, each with a loop to itself")
    duration: int = setting("size", 1, doc="least number of steps in each state")
    skip: bool = setting("flag", False, doc="a state may be left over the next one of its unit")


class Lexicons:
    """The lexicons of a file, each read once. replaced: what stands for those of chains."""

    def __init__(
        self, root: Path | None, diagnostics: Diagnostics, replaced: Source | None = None
    ) -> None:
        self.root = root
        self.diagnostics = diagnostics
        self.replaced = replaced
        self._read: dict[str, Lexicon | None] = {}

    def of_chain(self, name: str, span: Span) -> Lexicon | None:
        """The words that a chain knows: those of the file, or what was given in its place."""
        if self.replaced is None:
            return self.of_unit(name, span)
        if "" not in self._read:
            self._read[""] = lexicons.read(self.replaced, self.diagnostics)
        return self._read[""]

    def of_unit(self, name: str, span: Span) -> Lexicon | None:
        if name not in self._read:
            self._read[name] = self._open(name, span)
        return self._read[name]

    def _open(self, name: str, span: Span) -> Lexicon | None:
        def refuse(code: str, message: str, hint: str) -> None:
            self.diagnostics.error(code, message, span, hint=hint)

        if self.root is None:
            refuse("E0502", "a text without a file has no folder to read from", "compile a file")
            return None
        stay = "a lexicon lies in the folder of the compiled file or below"
        if not name or "\0" in name or "\\" in name or Path(name).is_absolute():
            refuse("E0503", f"'{name[:80]}' is not a relative path", stay)
            return None
        root = self.root.resolve()
        plain = Path(os.path.normpath(root / name))
        try:
            path = plain.resolve(strict=True)
            about = path.stat()
        except (OSError, RuntimeError, ValueError):
            near = nearest(plain.name, [p.name for p in root.glob("*.dict")])
            refuse("E0502", f"the lexicon '{name}' cannot be read", near or stay)
            return None
        if not path.is_relative_to(root):
            refuse("E0503", f"'{name}' leaves the folder of the compiled file", stay)
            return None
        if not stat.S_ISREG(about.st_mode):
            refuse("E0502", f"'{name}' is not an ordinary file", stay)
            return None
        source = read_source(path, self.diagnostics)
        if source is None:
            return None
        return lexicons.read(Source(name, source.text), self.diagnostics)


def read_lexicon_type(
    statement: ast.Data, known: Lexicons, diagnostics: Diagnostics
) -> Type | None:
    """`class from "words.dict"`: one class a word; None after a report."""
    written = statement.type
    assert written.lexicon is not None
    if written.kind != "class":
        diagnostics.error(
            "E0302",
            f"the words of a lexicon are classes, not '{written.kind}'",
            written.span,
            hint=f'write class from "{written.lexicon}"',
        )
        return None
    found = known.of_chain(written.lexicon, written.span)
    return Type("class", (), len(found.words)) if found is not None else None


# ---------------------------------------------------------------- units


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


def _joined(expander: Expander, parts: Sequence[Ref], stem: str, span: Span) -> Ref:
    """Values one below the other."""
    if len(parts) == 1:
        return parts[0]
    bound = Bound(tuple(part.id for part in parts), BY_NAME["concat"].Attrs(axis=0), ())
    return expander.add(BY_NAME["concat"], bound, Owner("value", stem, None), span, None, "")


# ---------------------------------------------------------------- chains


def read_chain(
    expander: Expander, chain: ast.Chain, scope: Scope, owner: Owner
) -> ChainOf | Failed:
    """`chain phone by "words.dict" between silence`."""
    diagnostics = expander.diagnostics
    unit = _unit_named(chain.unit, chain, scope, diagnostics)
    ends = _unit_named(chain.between, chain, scope, diagnostics) if chain.between else None
    lexicon = expander.lexicons.of_chain(chain.lexicon, chain.span)
    if lexicon is None or isinstance(unit, Failed) or isinstance(ends, Failed):
        return Failed()
    for one, alone in ((unit, False), (ends, True)):
        if one is not None and bool(one.phonemes) == alone:
            wanted = "has no lexicon" if not alone else "has one"
            diagnostics.error(
                "E0302",
                f"a chain is made of a unit with a lexicon, between one without; "
                f"'{one.name}' {wanted}",
                chain.span,
                others=[(one.span, "declared here")],
                hint='unit phone from "words.dict" { ... }  unit silence optional { ... }',
            )
            return Failed()
    states = _rows(unit, ends, lexicon, diagnostics)
    if states is None:
        return Failed()
    if ends is not None and unit.skip and ends.skip and unit.duration != ends.duration:
        diagnostics.error(
            "E0303",
            f"units of one chain that have skips have one duration, but '{unit.name}' has "
            f"{unit.duration} and '{ends.name}' has {ends.duration}",
            chain.span,
            others=[(unit.span, "declared here"), (ends.span, "and here")],
            hint="give both the same duration, or one of them no skips",
        )
        return Failed()
    both = [unit] if ends is None else [unit, ends]
    rows = [Ref(name) for one in both for name in one.scores]
    scores = _joined(expander, rows, f"{owner.stem}.states", chain.span)
    moves = [Ref(name) for one in both for name in one.stay]
    moves += [Ref(name) for one in both for name in one.skip]
    odds = _joined(expander, moves, f"{owner.stem}.odds", chain.span)
    loose = ends.states * ends.duration if ends is not None and ends.optional else 0
    skips = _skips(both)
    attrs = Chains(
        states,
        tuple(item.word for item in lexicon.pronunciations),
        tuple(log(item.prior) for item in lexicon.pronunciations),
        len(lexicon.words),
        loose,
        skips,
        1 + max((one.duration for one in both if one.skip), default=0) if skips else 0,
    )
    expander.made.chains[owner.stem] = Chain(
        owner.stem,
        scores.id,
        odds.id,
        lexicon,
        unit.name,
        unit.phonemes,
        unit.states,
        unit.duration,
        ends.states if ends is not None else 0,
        ends.duration if ends is not None else 1,
        ends.name if ends is not None else "",
        ends is not None and ends.optional,
    )
    return ChainOf(owner.stem, scores.id, odds.id, attrs, lexicon)


def _unit_named(
    name: str, chain: ast.Chain, scope: Scope, diagnostics: Diagnostics
) -> UnitOf | Failed:
    found = scope.look_up(name, chain.span, diagnostics)
    if isinstance(found, UnitOf | Failed):
        return found
    diagnostics.error("E0302", f"'{name}' is not a unit", chain.span, hint="declare it: unit ...")
    return Failed()


def _rows(
    unit: UnitOf, ends: UnitOf | None, lexicon: Lexicon, diagnostics: Diagnostics
) -> tuple[tuple[int, ...], ...] | None:
    """For each pronunciation the rows of its states; None after a report."""
    number = {name: i for i, name in enumerate(unit.phonemes)}
    ends_of: tuple[int, ...] = ()
    if ends is not None:
        first = len(unit.phonemes) * unit.states
        ends_of = _held(range(first, first + ends.states), ends.duration)
    rows = []
    for item in lexicon.pronunciations:
        unknown = [name for name in item.phonemes if name not in number]
        if unknown:
            diagnostics.error(
                "E0506",
                f"'{lexicon.words[item.word]}' has the phoneme '{unknown[0]}', of which there is "
                f"no unit '{unit.name}[{unknown[0]}]'",
                item.span,
                others=[(unit.span, f"has {len(number)} phonemes")],
                hint=nearest(unknown[0], number)
                or "units are those of the lexicon that the unit statement names",
            )
            return None
        inside = [
            row
            for name in item.phonemes
            for row in range(number[name] * unit.states, (number[name] + 1) * unit.states)
        ]
        rows.append((*ends_of, *_held(inside, unit.duration), *ends_of))
    return tuple(rows)


def _skips(units: Sequence[UnitOf]) -> tuple[int, ...]:
    """For each state where its log odds of skipping stand, behind those of staying of all."""
    if not any(unit.skip for unit in units):
        return ()
    rows: list[int] = []
    place = sum(len(unit.stay) * unit.states for unit in units)
    for unit in units:
        for _ in unit.stay:
            able = unit.states - 2 if unit.skip else 0
            rows += [*range(place, place + able), *[-1] * (unit.states - able)]
            place += able
    return tuple(rows)


def _held(rows: Sequence[int], duration: int) -> tuple[int, ...]:
    return tuple(row for row in rows for _ in range(duration))


# ---------------------------------------------------------------- what is asked of a chain


def ask(
    expander: Expander, call: ast.Call, scope: Scope, owner: Owner, result: str | None, top: bool
) -> Result:
    """`likelihood(words, word)` and its like."""
    diagnostics = expander.diagnostics
    alone = call.function in ("decode", "word_scores")
    wanted = f"{call.function}(words{'' if alone else ', word'})"
    if len(call.arguments) != 2 - alone or call.keywords:
        diagnostics.error(
            "E0204",
            f"{call.function} takes a chain{'' if alone else ' and the target'}",
            call.span,
            hint=f"write {wanted}",
        )
        return Failed()
    first = call.arguments[0]
    chain = None
    if isinstance(first, ast.Name) and len(first.path) == 1:
        chain = scope.look_up(first.path[0].name, first.span, diagnostics)
        home = scope.home(first.path[0].name)
        if home is not None:
            expander.made.used.add(home.path(first.path[0].name))
    if isinstance(chain, Failed):
        return chain
    if not isinstance(chain, ChainOf):
        diagnostics.error(
            "E0302",
            f"the first argument of {call.function} is a chain",
            first.span,
            hint='words = chain phone by "words.dict"',
        )
        return Failed()
    inputs = [Ref(chain.scores, first.span), Ref(chain.odds, first.span)]
    if not alone:
        label = expander.evaluate(call.arguments[1], scope, owner)
        if isinstance(label, Failed):
            return label
        if not isinstance(label, Ref):
            diagnostics.error("E0302", "the target is a value", call.arguments[1].span)
            return Failed()
        inputs.append(label)
    if call.function == "word_error" and not (top and owner.statement == "metric"):
        diagnostics.error(
            "E0207", "'word_error' is a metric, which stands alone in a `metric` statement",
            call.span, hint=f"write: metric {wanted}",
        )  # fmt: skip
        return Failed()
    if call.function == "likelihood":
        return _add(expander, "likelihood", chain.attrs, inputs, owner, call.span, result)
    scores = _word_scores(expander, chain, inputs[:2], call.span)
    if call.function == "word_scores":
        return scores
    op, then = {
        "discriminate": ("cross_entropy", [scores, *inputs[2:]]),
        "word_error": ("error", [scores, *inputs[2:]]),
        "decode": ("best", [scores]),
    }[call.function]
    return _add(expander, op, BY_NAME[op].Attrs(), then, owner, call.span, result)


def _word_scores(expander: Expander, chain: ChainOf, inputs: Sequence[Ref], span: Span) -> Ref:
    """The chain's scores of all words, made once."""
    path = f"{chain.stem}.scores"
    if path not in expander.made.values:
        owner = Owner("value", chain.stem, None)
        _add(expander, "word_scores", chain.attrs, inputs, owner, span, path)
    return Ref(path, span)


def _add(
    expander: Expander,
    op: str,
    attrs: object,
    inputs: Sequence[Ref],
    owner: Owner,
    span: Span,
    result: str | None,
) -> Ref:
    places = tuple((i, item.span) for i, item in enumerate(inputs) if item.span is not None)
    bound = Bound(tuple(item.id for item in inputs), attrs, places)
    return expander.add(BY_NAME[op], bound, owner, span, result, "")
