"""What a recogniser may hear: pronunciations over places, and the odds of moving between them.

A *place* is one step of a phoneme's chain: its states from left to right, each so many times as its
least duration. Places of all phonemes follow one another, and behind them those of the unit at the
ends (silence). All pronunciations are made of the same places, so that frames are scored once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tiedgraph.ir.graph import Chain
from tiedgraph.ops import lattice

Array = np.ndarray[Any, np.dtype[Any]]
NEVER = -1e300  # log probability of what cannot be; sums of it stay below IMPOSSIBLE
IMPOSSIBLE = -1e290
HALF = lattice.HALF


@dataclass(frozen=True)
class Moves:
    """By place: the row of its score, and log probabilities of the ways on.

    rows: int64. held: to stay; left: to go to the next place, or out of the last; jump: to go
    `over` places on, inside a phoneme.
    """

    rows: Array
    held: Array
    left: Array
    jump: Array
    over: int = 2


@dataclass(frozen=True)
class Pronunciation:
    """word, phones: by number; prior: log probability among those of its word."""

    word: int
    phones: tuple[int, ...]
    prior: float


@dataclass(frozen=True)
class Vocabulary:
    """The words of a chain.

    width: places of a phoneme; quiet: places of the unit at the ends, 0 where there is none.
    """

    chain: Chain
    words: tuple[str, ...]
    pronunciations: tuple[Pronunciation, ...]
    width: int
    quiet: int

    @property
    def optional(self) -> bool:
        """Whether the unit at the ends may be left out, each time with probability 1/2."""
        return self.chain.optional and self.quiet > 0

    @property
    def silence(self) -> int:
        """The first place of the unit at the ends."""
        return self.width * len(self.chain.phonemes)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Words by name."""
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def variants(self) -> list[list[Pronunciation]]:
        """Pronunciations of each word."""
        found: list[list[Pronunciation]] = [[] for _ in self.words]
        for item in self.pronunciations:
            found[item.word].append(item)
        return found

    def places(self, phone: int) -> range:
        """Those of a phoneme."""
        return range(phone * self.width, (phone + 1) * self.width)

    def shortest(self, words: Sequence[int]) -> int:
        """Frames that these words need at least, one after the other."""
        chain = self.chain
        phones = sum(min(len(item.phones) for item in self.variants[word]) for word in words)
        inside = phones * self._least(0, chain.states, chain.duration)
        if not self.quiet or self.optional:
            return inside
        row = len(chain.phonemes) * chain.states
        return inside + (len(words) + 1) * self._least(row, chain.ends, chain.ends_duration)

    def _least(self, row: int, states: int, duration: int) -> int:
        """Frames that a phoneme needs whose first state has this row: every other one may be passed
        over where it has skips, but for the first and the last."""
        skips = bool(self.chain.skips) and self.chain.skips[row] >= 0
        return (states // 2 + 1 if skips else states) * duration

    def moves(self, odds: Array) -> Moves:
        """odds: log odds of staying, by row of the scores, and behind them those of skipping."""
        chain = self.chain
        first = len(chain.phonemes) * chain.states
        rows = np.repeat(np.arange(first), chain.duration)
        ends = np.repeat(np.arange(first, first + chain.ends), chain.ends_duration)
        rows = np.concatenate([rows, ends]).astype(np.int64)
        odds = np.asarray(odds, np.float64)
        held, left = -np.logaddexp(0.0, -odds[rows]), -np.logaddexp(0.0, odds[rows])
        jump = np.full(len(rows), NEVER)
        if not chain.skips:
            return Moves(rows, held, left, jump)
        # A state that is repeated for its duration is left from its last place.
        last = np.append(rows[1:] != rows[:-1], True)
        skips = np.where(last, np.array(chain.skips)[rows], -1)
        can = skips >= 0
        skip = odds[skips[can]]
        jump[can] = left[can] - np.logaddexp(0.0, -skip)
        left[can] -= np.logaddexp(0.0, skip)
        # Units that skip have one duration.
        inside = int(can.argmax()) < self.silence
        duration = chain.duration if inside else chain.ends_duration
        return Moves(rows, held, left, jump, 1 + duration)


def vocabulary(chain: Chain) -> Vocabulary:
    """The words of a chain, with the phonemes by number."""
    number = {name: i for i, name in enumerate(chain.phonemes)}
    return Vocabulary(
        chain,
        chain.lexicon.words,
        tuple(
            Pronunciation(
                item.word,
                tuple(number[name] for name in item.phonemes),
                float(np.log(item.prior)),
            )
            for item in chain.lexicon.pronunciations
        ),
        chain.states * chain.duration,
        chain.ends * chain.ends_duration,
    )
