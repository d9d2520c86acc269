"""Small vocabularies with scores drawn at random, and every way through them, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from tiedgraph.diagnostics import Diagnostics, Source
from tiedgraph.ir import lexicon
from tiedgraph.ir.graph import Chain
from tiedgraph.recognition.vocabulary import HALF, Moves, Vocabulary, vocabulary

LEXICON = "at  a t\ncat  k a t\ncat(2)  k t\nact  a k t\na  a\n"


def spoken(
    text: str = LEXICON,
    states: int = 2,
    duration: int = 1,
    quiet: int = 1,
    optional: bool = True,
    skips: bool = False,
    seed: int = 0,
) -> tuple[Vocabulary, Moves]:
    """A vocabulary and its moves, of stay odds drawn at random."""
    words = lexicon.read(Source("words.dict", text), Diagnostics())
    assert words is not None
    chain = Chain(
        "words", "scores", "stay", words, "phone", words.phonemes, states, duration, quiet, 1,
        "silence" if quiet else "", optional and quiet > 0,
    )  # fmt: skip
    found = vocabulary(chain)
    moves = found.moves(np.random.default_rng(seed).normal(size=rows_of(chain)))
    if skips:
        for phone in range(len(chain.phonemes)):
            moves.jump[list(found.places(phone))[:-2]] = -1.5
    return found, moves


def rows_of(chain: Chain) -> int:
    return len(chain.phonemes) * chain.states + chain.ends


def scores_of(found: Vocabulary, steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, steps)).normal(size=(steps, rows_of(found.chain))) * 3


def ways(count: int, steps: int, jumps: Sequence[bool]) -> Iterator[tuple[int, ...]]:
    """All ways through `count` positions; jumps: from which the next may be passed over."""

    def on(way: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(way) == steps:
            if way[-1] == count - 1:
                yield way
            return
        at = way[-1]
        for to in (at, at + 1, *([at + 2] if jumps[at] else [])):
            if to < count:
                yield from on((*way, to))

    if count and steps:
        yield from on((0,))


def sentences(
    found: Vocabulary, moves: Moves, words: Sequence[int]
) -> Iterator[tuple[list[int], float]]:
    """The places of each way to pronounce words, with and without the unit at the ends, and its
    log probability."""
    quiet = list(range(found.silence, found.silence + found.quiet))
    between = [(quiet, HALF), ([], HALF)] if found.optional else [(quiet, 0.0)]
    for items in product(*(found.variants[word] for word in words)):
        for gaps in product(between, repeat=len(words) + 1):
            places = list(gaps[0][0])
            likely = gaps[0][1]
            for item, (gap, chance) in zip(items, gaps[1:], strict=True):
                for phone in item.phones:
                    places += found.places(phone)
                places += gap
                likely += item.prior + chance
            yield places, likely


def best_way(
    found: Vocabulary, moves: Moves, words: Sequence[int], scores: np.ndarray
) -> tuple[float, list[int]]:
    """The most probable of all ways to say these words, and its places; by trying each."""
    best, at = -np.inf, []
    for places, likely in sentences(found, moves, words):
        jumps = [moves.jump[place] > -1e9 for place in places]
        for way in ways(len(places), len(scores), jumps):
            v = likely + moves.left[places[way[-1]]]
            for t, s in enumerate(way):
                v += scores[t, moves.rows[places[s]]]
                if t > 0:
                    before = way[t - 1]
                    odds = (moves.held, moves.left, moves.jump)[s - before]
                    v += odds[places[before]]
            if v > best:
                best, at = v, [places[s] for s in way]
    return float(best), at
