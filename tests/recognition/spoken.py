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
    rows = len(words.phonemes) * states + quiet
    able = [s + 2 < states for _ in words.phonemes for s in range(states)] + [False] * quiet
    places = [rows + sum(able[:row]) if can else -1 for row, can in enumerate(able)]
    chain = Chain(
        "words", "scores", "odds", words, "phone", words.phonemes, states, duration, quiet, 1,
        "silence" if quiet else "", optional and quiet > 0, tuple(places) if skips else (),
    )  # fmt: skip
    found = vocabulary(chain)
    return found, found.moves(odds_of(chain, seed))


def odds_of(chain: Chain, seed: int = 0) -> np.ndarray:
    count = rows_of(chain) + sum(place >= 0 for place in chain.skips)
    return np.random.default_rng(seed).normal(size=count)


def rows_of(chain: Chain) -> int:
    return len(chain.phonemes) * chain.states + chain.ends


def scores_of(found: Vocabulary, steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, steps)).normal(size=(steps, rows_of(found.chain))) * 3


def ways(count: int, steps: int, jumps: Sequence[bool], over: int) -> Iterator[tuple[int, ...]]:
    """All ways through `count` positions; jumps: from which one may go `over` of them on."""

    def on(way: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(way) == steps:
            if way[-1] == count - 1:
                yield way
            return
        at = way[-1]
        for to in (at, at + 1, *([at + over] if jumps[at] else [])):
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


def all_ways(
    found: Vocabulary, moves: Moves, words: Sequence[int], scores: np.ndarray
) -> Iterator[tuple[float, list[int]]]:
    """All ways to say these words: the log probability of each, and its places."""
    for places, likely in sentences(found, moves, words):
        jumps = [moves.jump[place] > -1e9 for place in places]
        for way in ways(len(places), len(scores), jumps, moves.over):
            v = likely + moves.left[places[way[-1]]]
            for t, s in enumerate(way):
                v += scores[t, moves.rows[places[s]]]
                if t > 0:
                    before = way[t - 1]
                    odds = {0: moves.held, 1: moves.left}.get(s - before, moves.jump)
                    v += odds[places[before]]
            yield float(v), [places[s] for s in way]


def best_way(
    found: Vocabulary, moves: Moves, words: Sequence[int], scores: np.ndarray
) -> tuple[float, list[int]]:
    """The most probable way to say these words, and its places."""
    found_ways = all_ways(found, moves, words, scores)
    return max(found_ways, key=lambda item: item[0], default=(-np.inf, []))
