"""Word models: chains of a unit's states by a lexicon, and what is asked of a chain.

All states' scores are rows of one value, and a chain is a table of rows for each pronunciation, so
that a phoneme is shared by all words that have it. Units are read in `tiedgraph.passes.units`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import TYPE_CHECKING

from tiedgraph.diagnostics import Diagnostics, Span, nearest
from tiedgraph.ir.graph import Chain
from tiedgraph.ir.lexicon import Lexicon
from tiedgraph.ops import BY_NAME
from tiedgraph.ops.lattice import Chains
from tiedgraph.passes.arguments import Bound
from tiedgraph.passes.made import Owner
from tiedgraph.passes.scope import ChainOf, Failed, Ref, Result, Scope, UnitOf
from tiedgraph.syntax import ast

if TYPE_CHECKING:
    from tiedgraph.passes.expand import Expander

FUNCTIONS = ("likelihood", "discriminate", "word_scores", "decode", "word_error")


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
    if scope.block is not None:
        diagnostics.error(
            "E0209",
            f"a chain cannot stand inside block '{scope.block.name}'",
            chain.span,
            hint="units and chains stand in the file, and chains in tasks; a block may make what a "
            "unit scores: emission = scores(...)",
        )
        return Failed()
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
        unit.path,
        unit.phonemes,
        unit.states,
        unit.duration,
        ends.states if ends is not None else 0,
        ends.duration if ends is not None else 1,
        ends.path if ends is not None else "",
        ends is not None and ends.optional,
        skips,
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
