"""Strings of words: Viterbi over all pronunciations at once, with the best few histories in each
place and a beam.

Two ways are the same string when their words are, so histories are numbered by their words. What
follows depends on a place and the last word alone, so the best few strings of the whole are among
the best few that are kept in each place: without a beam the answer is exact (Young, Russell and
Thornton, Token passing, 1989; Schwartz and Chow, The N-best algorithm, 1990).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from tiedgraph.ops.rules import bits
from tiedgraph.recognition.grammar import Grammar
from tiedgraph.recognition.machine import run
from tiedgraph.recognition.string_kernel import SEARCH, TOLD
from tiedgraph.recognition.vocabulary import HALF, IMPOSSIBLE, NEVER, Array, Moves, Vocabulary

HISTORIES = 2**14  # room to begin with


@dataclass(frozen=True)
class Rows:
    """Pronunciations one behind the other, each with the unit at the ends behind it, and last that
    unit alone, with which a recording may begin.

    first [rows + 1]; place of each position; spoken: positions of a word before the unit; word;
    prior.
    """

    first: Array
    place: Array
    spoken: Array
    word: Array
    prior: Array


def rows(vocabulary: Vocabulary) -> Rows:
    """The pronunciations of a vocabulary as rows."""
    quiet = list(range(vocabulary.silence, vocabulary.silence + vocabulary.quiet))
    places: list[int] = []
    first, spoken, word, prior = [0], [], [], []
    for item in vocabulary.pronunciations:
        for phone in item.phones:
            places += vocabulary.places(phone)
        spoken.append(len(item.phones) * vocabulary.width)
        places += quiet
        first.append(len(places))
        word.append(item.word)
        prior.append(item.prior)
    if quiet:
        places += quiet
        first.append(len(places))
        spoken.append(0)
        word.append(len(vocabulary.words))
        prior.append(HALF if vocabulary.optional else 0.0)
    return Rows(
        np.array(first, np.int64),
        np.array(places, np.int64),
        np.array(spoken, np.int64),
        np.array(word, np.int64),
        np.array(prior, np.float64),
    )


@dataclass(frozen=True)
class String:
    """Words by number, and the log probability of the best way to say them, language included."""

    words: tuple[int, ...]
    score: float


def search(
    found: Rows,
    vocabulary: Vocabulary,
    moves: Moves,
    grammar: Grammar,
    scores: Array,
    best: int = 1,
    beam: float = inf,
) -> tuple[list[String], int]:
    """The best few strings of at least one word, the best first, and how many positions were
    computed; no string where the beam lost all ways or there is none.

    scores: float64 [steps, rows]. beam: ways are given up that are so much less likely than the
      best one.
    """
    capacity = HISTORIES
    while True:
        answer = _search(found, vocabulary, moves, grammar, scores, best, beam, capacity)
        if answer is not None:
            return answer
        capacity *= 4


def _search(
    found: Rows,
    vocabulary: Vocabulary,
    moves: Moves,
    grammar: Grammar,
    scores: Array,
    best: int,
    beam: float,
    capacity: int,
) -> tuple[list[String], int] | None:
    """The same with room for so many histories; None where these are too few."""
    chains, words, positions = len(found.word), len(vocabulary.words), len(found.place)
    ends = 2 * chains * best + 1
    before, last = np.zeros((2, capacity), np.int64)
    result, result_past = np.empty(best), np.empty(best, np.int64)

    def room(count: int) -> Array:
        return np.zeros(count, np.int64)

    told = run(
        SEARCH, *scores.shape, chains, words, best, scores, moves.rows, moves.held, moves.left,
        moves.jump, found.first, found.place, found.spoken, found.word, found.prior,
        int(grammar.bigram), grammar.unigram, grammar.backoff, grammar.end, grammar.first,
        grammar.follow, grammar.likely, bits(HALF if vocabulary.optional else 0.0),
        vocabulary.quiet, int(vocabulary.optional), bits(beam),
        1 + int(bool((moves.jump > IMPOSSIBLE).any())),
        np.full(positions * best, NEVER), room(positions * best), room(chains), room(chains),
        room(chains), room(chains), np.empty(best), room(best), np.empty(ends), room(ends),
        np.empty(ends), room(ends), np.empty((words + 1) * best), room((words + 1) * best),
        room(words + 1), room(2 * capacity), 2 * capacity - 1, before, last, room(capacity),
        room(capacity), capacity, result, result_past, 0, 0, 0,
    )  # fmt: skip
    if told[TOLD]:
        return None
    strings = []
    for i in range(told[TOLD + 1]):
        said: list[int] = []
        at = int(result_past[i])
        while at:
            said.append(int(last[at]))
            at = int(before[at])
        strings.append(String(tuple(reversed(said)), float(result[i])))
    return strings, int(told[TOLD + 2])
