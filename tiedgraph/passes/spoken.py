"""Phonemes that no word trains: by the lexicon, by the data, and in words that come later."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tiedgraph.diagnostics import Diagnostics, Span
from tiedgraph.ir.graph import Chain, Graph

NAMED = 6  # phonemes that a message names


def labels(graph: Graph) -> dict[str, set[str]]:
    """For each chain the targets that a loss compares its words with."""
    found: dict[str, set[str]] = {name: set() for name in graph.chains}
    chains = {(c.scores, c.odds): name for name, c in graph.chains.items()}
    asked: dict[str, str] = {}  # values that are a chain's scores of all words
    for node in graph.nodes.values():
        name = chains.get((node.inputs[0], node.inputs[1])) if len(node.inputs) > 1 else None
        if name is not None and node.op == "word_scores":
            asked[node.outputs[0]] = name
        elif name is not None and node.op == "likelihood":
            found[name].add(node.inputs[2])
        elif node.op == "cross_entropy" and node.inputs[0] in asked:
            found[asked[node.inputs[0]]].add(node.inputs[1])
    return found


def phonemes_of(chain: Chain, words: Collection[int]) -> set[str]:
    """Paths of all phonemes of these words."""
    return {
        chain.path_of(phoneme)
        for item in chain.lexicon.pronunciations
        if item.word in words
        for phoneme in item.phonemes
    }


def untrained(graph: Graph, seen: Collection[str]) -> dict[str, tuple[str, ...]]:
    """For each chain the phonemes that were never trained.

    seen: paths of phonemes that were; those that are tied to nothing but these are trained, too.
    """
    known = {owner for path in seen for owner in _owners(graph, path)}
    found = {}
    for name, chain in graph.chains.items():
        left = [p for p in chain.phonemes if chain.path_of(p) not in seen]
        found[name] = tuple(
            p for p in left if not (own := _owners(graph, chain.path_of(p))) or not own <= known
        )
    return found


def _owners(graph: Graph, path: str) -> set[str]:
    """Owners of the numbers of a phoneme's states."""
    instance = graph.instances.get(f"{path}.emission")
    names = instance.params if instance is not None else ()
    return {graph.params[name].view.storage for name in names}


def warn_of_lexicon(graph: Graph, diagnostics: Diagnostics) -> None:
    """Phonemes of a unit that no word of a trained chain has."""
    trained = [graph.chains[name] for name, targets in labels(graph).items() if targets]
    seen = {
        chain.path_of(phoneme)
        for chain in trained
        for item in chain.lexicon.pronunciations
        for phoneme in item.phonemes
    }
    for name, phonemes in untrained(graph, seen).items():
        chain = graph.chains[name]
        if phonemes and chain in trained:
            diagnostics.warn(
                "W0005",
                f"phonemes of '{chain.unit}' that no word of the chain '{name}' has are not "
                f"trained: {_listed(phonemes)}",
                graph.instances[chain.unit].span,
                hint="add words that have them to its lexicon, or tie each to another phoneme: "
                f"tie hard {chain.path_of(phonemes[0])}, {chain.path_of('OTHER')}",
            )


def warn_of_data(graph: Graph, seen: Collection[str], diagnostics: Diagnostics) -> None:
    """After training: phonemes that were never said."""
    for name, phonemes in untrained(graph, seen).items():
        chain = graph.chains[name]
        if phonemes:
            diagnostics.warn(
                "W0005",
                f"phonemes of '{chain.unit}' that were never said in the training data keep the "
                f"numbers they began with: {_listed(phonemes)}",
                _first_use(chain, phonemes[0]) or graph.instances[chain.unit].span,
                hint="record words that have them, or tie each to another phoneme: "
                f"tie hard {chain.path_of(phonemes[0])}, {chain.path_of('OTHER')}",
            )


def warn_of_words(graph: Graph, seen: Collection[str], diagnostics: Diagnostics) -> None:
    """Words of lexicons that came after training, with phonemes that were never trained."""
    for name, phonemes in untrained(graph, seen).items():
        chain = graph.chains[name]
        for phoneme in phonemes:
            place = _first_use(chain, phoneme)
            if place is not None:
                diagnostics.warn(
                    "W0005",
                    f"this word has the phoneme '{phoneme}', which had no training data",
                    place,
                    hint="the word will hardly be recognised; train with words that have the "
                    "phoneme",
                )


def _first_use(chain: Chain, phoneme: str) -> Span | None:
    """The line of the lexicon that has a phoneme first."""
    spans = [item.span for item in chain.lexicon.pronunciations if phoneme in item.phonemes]
    return min(spans, key=lambda span: span.start) if spans else None


def _listed(phonemes: Sequence[str]) -> str:
    """`'AH', 'L' and 'OW'`; of many the first, and how many more."""
    named = [f"'{name}'" for name in phonemes[:NAMED]]
    if len(phonemes) > NAMED:
        named.append(f"{len(phonemes) - NAMED} more")
    return " and ".join(filter(None, [", ".join(named[:-1]), named[-1]]))
