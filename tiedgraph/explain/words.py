"""What the words of a chain share: how often each phoneme stands, and what words alone have."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from tiedgraph.ir.graph import Chain, Graph
from tiedgraph.ir.types import elements
from tiedgraph.render import table

ENDS = 4  # phonemes that are named as the most and the least used


@dataclass(frozen=True)
class PhonemeReport:
    """A phoneme of a chain. numbers: in its unit's parameters; times: over all pronunciations."""

    name: str
    path: str
    numbers: int
    times: int
    words: tuple[str, ...]


@dataclass(frozen=True)
class ChainReport:
    """One chain. states: of all its units, each counted once; positions: of all pronunciations.

    phonemes: the most used first, those of no word last. numbers: in the units' parameters, tied
    ones once; whole_words: the same if each word had states of its own, one chain a word.
    """

    name: str
    place: str
    unit: str
    between: str
    words: int
    pronunciations: int
    states: int
    positions: int
    numbers: int
    whole_words: int
    phonemes: tuple[PhonemeReport, ...]


def chains(graph: Graph) -> tuple[ChainReport, ...]:
    """A report for each chain of a graph whose ties are resolved."""
    return tuple(_chain(graph, chain) for chain in graph.chains.values())


def _chain(graph: Graph, chain: Chain) -> ChainReport:
    lexicon = chain.lexicon
    times: Counter[str] = Counter()
    inside: dict[str, dict[str, None]] = {}
    first: dict[int, Sequence[str]] = {}
    for item in lexicon.pronunciations:
        first.setdefault(item.word, item.phonemes)
        times.update(item.phonemes)
        for name in item.phonemes:
            inside.setdefault(name, {})[lexicon.words[item.word]] = None
    found = [
        PhonemeReport(
            name,
            chain.path_of(name),
            _numbers(graph, chain.path_of(name)),
            times[name],
            tuple(inside.get(name, ())),
        )
        for name in chain.phonemes
    ]
    numbers_of = {phoneme.name: phoneme.numbers for phoneme in found}
    ends = 2 * _numbers(graph, chain.ends_name)
    alone = sum(ends + sum(numbers_of[name] for name in names) for names in first.values())
    owners = {
        graph.params[name].view.storage
        for path in (chain.unit, chain.ends_name)
        for name in (graph.instances[path].params if path else ())
    }
    positions = sum(
        len(item.phonemes) * chain.states + 2 * chain.ends for item in lexicon.pronunciations
    )
    places = [item.span for item in lexicon.pronunciations]
    return ChainReport(
        chain.name,
        PurePath(places[0].source.path).name if places else "",
        chain.unit,
        chain.ends_name,
        len(lexicon.words),
        len(lexicon.pronunciations),
        len(chain.phonemes) * chain.states + chain.ends,
        positions,
        sum(elements(graph.storages[owner].shape) for owner in owners),
        alone,
        tuple(sorted(found, key=lambda phoneme: -len(phoneme.words))),
    )


def _numbers(graph: Graph, path: str) -> int:
    params = graph.instances[path].params if path in graph.instances else ()
    return sum(elements(graph.params[name].shape) for name in params)


def chain_text(report: ChainReport) -> str:
    """A chain in columns."""
    used = [phoneme for phoneme in report.phonemes if phoneme.words]
    unused = [phoneme.path for phoneme in report.phonemes if not phoneme.words]
    several = f", {report.pronunciations:,} pronunciations" * (report.pronunciations > report.words)
    rows = [
        ["words", f"{report.words:,}", f"of {report.place}{several}"],
        ["phonemes", f"{len(used):,}", f"of {len(report.phonemes):,} in {report.unit}"],
        ["states", f"{report.states:,}", f"stand at {report.positions:,} places in the words"],
        ["numbers", f"{report.numbers:,}", "in the units, tied ones once"],
        ["", f"{report.whole_words:,}", "if each word had states of its own"],
        ["most used", "", _uses(used[:ENDS])],
        ["least used", "", _uses(used[: -ENDS - 1 : -1])],
    ]
    if unused:
        rows.append(["in no word", "", ", ".join(unused)])
    return f"words of the chain {report.name}\n" + table(rows, right={1})


def _uses(phonemes: Iterable[PhonemeReport]) -> str:
    return ", ".join(f"{p.name} in {_counted(len(p.words))}" for p in phonemes)


def _counted(words: int) -> str:
    return f"{words:,} word{'' if words == 1 else 's'}"


def phoneme_text(report: ChainReport, phoneme: PhonemeReport) -> str:
    """One phoneme: which words have it."""
    told = f"{_counted(len(phoneme.words))} of the chain {report.name}, {phoneme.times:,} times"
    rows = [
        ["numbers", f"{phoneme.numbers:,}"],
        ["stands in", told if phoneme.words else "no word"],
    ]
    lines = textwrap.wrap(", ".join(phoneme.words), 70, break_on_hyphens=False)
    rows += [["", line] for line in lines]
    return f"{phoneme.path}\n" + table(rows)
