"""Words as chains of states, and their oracle: the sum over all ways through a word's states.

At each step a state is held with probability p or left with 1 - p. Where its unit has skips, it is
then left over the next state with probability q, and for the next one with 1 - q. p and q are the
sigmoids of their log odds. What cannot be is -inf here, and `NEVER` in kernels.

A chain may have states at both ends that are taken or left out, each with probability 1/2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

import numpy as np

from tiedgraph.ops.rules import Array, hidden

NEVER = -1e30
HALF = log(0.5)


@dataclass(frozen=True)
class Chains:
    """states: of each pronunciation in order, as rows of the scores; word: which word it is of.

    prior: log probability of a pronunciation among those of its word. loose: how many states at
    either end may be left out. skips: for each row of the scores where the log odds of leaving it
    over the next state stand, behind those of staying; -1 where that cannot be; () for none at all.
    over: how many positions such a move goes on by.
    """

    states: tuple[tuple[int, ...], ...] = hidden(())
    word: tuple[int, ...] = hidden(())
    prior: tuple[float, ...] = hidden(())
    words: int = hidden(0)
    loose: int = hidden(0)
    skips: tuple[int, ...] = hidden(())
    over: int = hidden(0)
    timed: bool = hidden(False)

    @property
    def longest(self) -> int:
        return max(map(len, self.states))

    @property
    def variants(self) -> int:
        """Pronunciations of the word that has most."""
        return int(np.bincount(self.word).max())

    @property
    def moves(self) -> int:
        """How many log odds there are."""
        return len(self.skips) + sum(place >= 0 for place in self.skips)

    def skips_of(self, which: int) -> tuple[int, ...]:
        """For each position of a pronunciation the place of its log odds of skipping, or -1.

        A state that is repeated for its duration is left from its last place.
        """
        states = self.states[which]
        if not self.skips:
            return (-1,) * len(states)
        found = [self.skips[u] if u != then else -1 for u, then in pairwise(states)]
        return (*found, -1)


@dataclass(frozen=True)
class Lattice:
    """One pronunciation beside one recording.

    total: log probability; visits [time, positions]; held, left, skipped: expected moves
    [positions], where left counts those to the next state, and out of the last.
    """

    total: float
    visits: Array
    held: Array
    left: Array
    skipped: Array


@dataclass(frozen=True)
class _Moves:
    """Log probabilities: of each move at each position, of beginning there and of ending there."""

    held: Array
    left: Array
    skipped: Array
    begin: Array
    end: Array


def _moves(odds: Array, states: Array, loose: int, skips: Array) -> _Moves:
    count = len(states)
    held = -np.logaddexp(0, -odds[states])
    leaving = -np.logaddexp(0, odds[states])
    left, skipped = leaving.copy(), np.full(count, -np.inf)
    can = skips >= 0
    left[can] -= np.logaddexp(0, odds[skips[can]])
    skipped[can] = leaving[can] - np.logaddexp(0, -odds[skips[can]])
    begin, end = np.full(count, -np.inf), np.full(count, -np.inf)
    begin[0], end[-1] = 0.0, left[-1]
    if loose:
        begin[[0, loose]] = HALF
        left[count - loose - 1] += HALF
        end[count - loose - 1] = left[count - loose - 1]
    return _Moves(held, left, skipped, begin, end)


def lattice(
    scores: Array,
    odds: Array,
    states: Sequence[int],
    loose: int,
    skips: Sequence[int] = (),
    over: int = 0,
) -> Lattice:
    """Forward and backward in logarithms (Rabiner 1989, equations 19 to 37).

    scores: [states, time], log density of each state at each step; odds: of staying in each, and
    of skipping behind them; skips: for each position where its odds of skipping stand, or -1.
    """
    u = np.asarray(states)
    count, steps = len(u), scores.shape[1]
    e = scores[u].T
    move = _moves(odds, u, loose, np.asarray(skips or [-1] * count))
    ways = ((0, move.held), (1, move.left), (over, move.skipped))[: 3 if over else 2]
    to, rest = np.full((2, steps, count), -np.inf)
    to[0], rest[-1] = move.begin + e[0], move.end
    for t in range(1, steps):
        for by, way in ways:
            came = to[t - 1, : count - by] + way[: count - by]
            to[t, by:] = np.logaddexp(to[t, by:], came)
        to[t] += e[t]
    for t in reversed(range(steps - 1)):
        ahead = rest[t + 1] + e[t + 1]
        for by, way in ways:
            goes = way[: count - by] + ahead[by:]
            rest[t, : count - by] = np.logaddexp(rest[t, : count - by], goes)
    total = float(np.logaddexp.reduce(to[-1] + move.end))
    counts = np.zeros((3, count))
    if not np.isfinite(total):
        return Lattice(-np.inf, np.zeros((steps, count)), *counts)
    counts[1] = np.exp(to[-1] + move.end - total)
    for t in range(steps - 1):
        ahead = rest[t + 1] + e[t + 1] - total
        for row, (by, way) in zip(counts, ways, strict=False):
            row[: count - by] += np.exp(to[t, : count - by] + way[: count - by] + ahead[by:])
    return Lattice(total, np.exp(to + rest - total), *counts)


def _lattice(attrs: Chains, inputs: Sequence[Array], which: int) -> Lattice:
    states, skips = attrs.states[which], attrs.skips_of(which)
    return lattice(inputs[0], inputs[1], states, attrs.loose, skips, attrs.over)


def _of_word(attrs: Chains, word: int) -> list[int]:
    return [i for i, found in enumerate(attrs.word) if found == word]


def word_sum(attrs: Chains, inputs: Sequence[Array], word: int) -> float:
    """The log probability of a word, over all its pronunciations. inputs: scores, log odds."""
    totals = [_lattice(attrs, inputs, i).total + attrs.prior[i] for i in _of_word(attrs, word)]
    return float(np.logaddexp.reduce(totals))


def add_word_slopes(
    attrs: Chains, inputs: Sequence[Array], word: int, grad: float, slopes: list[Array]
) -> None:
    """Adds the gradients of one word's log probability to those of scores and of log odds."""
    whole = word_sum(attrs, inputs, word)
    if not np.isfinite(whole):
        return
    p = 1 / (1 + np.exp(-inputs[1]))
    for i in _of_word(attrs, word):
        states, skips = np.array(attrs.states[i]), np.array(attrs.skips_of(i))
        found = _lattice(attrs, inputs, i)
        share = grad * np.exp(found.total + attrs.prior[i] - whole)
        np.add.at(slopes[0], states, share * found.visits.T)
        gone = found.left + found.skipped
        np.add.at(slopes[1], states, share * (found.held - p[states] * (found.held + gone)))
        can = skips >= 0
        jumps = found.skipped[can] - p[skips[can]] * gone[can]
        np.add.at(slopes[1], skips[can], share * jumps)
