"""The most probable way through a network of places: which frame lies where (Viterbi 1967).

A network is made of the pronunciations of given words one after the other, with the unit at the
ends before, between and behind them where it is or may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tiedgraph.diagnostics import DataError
from tiedgraph.ops.rules import Kernel
from tiedgraph.recognition.machine import run
from tiedgraph.recognition.vocabulary import HALF, IMPOSSIBLE, NEVER, Array, Moves, Vocabulary

MOST_ARCS = 254  # into one position: which was taken is kept in a byte


@dataclass(frozen=True)
class Position:
    """One step of a network: its place; its phoneme, -1 for the unit at the ends; and the order of
    that phoneme and its word in the whole."""

    place: int
    phone: int
    segment: int
    word: int


@dataclass
class Network:
    """Positions in order, and arcs that only lead forwards.

    begin, end: log probabilities of a way that begins or ends at a position; arcs: (from, to, log
    probability).
    """

    moves: Moves
    positions: list[Position] = field(default_factory=list)
    begin: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)
    arcs: list[tuple[int, int, float]] = field(default_factory=list)

    def add(self, places: Sequence[int], phone: int, word: int, enter: Sequence[_Open]) -> int:
        """A phoneme's places, entered from those ways; answers its last position."""
        segment = self.positions[-1].segment + 1 if self.positions else 0
        first = len(self.positions)
        for i, place in enumerate(places):
            at = first + i
            self.positions.append(Position(place, phone, segment, word))
            self.begin.append(NEVER)
            self.end.append(NEVER)
            if i > 0:
                self.arcs.append((at - 1, at, float(self.moves.left[place - 1])))
            over = self.moves.over
            if i >= over and self.moves.jump[place - over] > IMPOSSIBLE:
                self.arcs.append((at - over, at, float(self.moves.jump[place - over])))
        for source, likely in enter:
            if source < 0:
                self.begin[first] = likely
            else:
                self.arcs.append((source, first, likely + self.leaving(source)))
        return len(self.positions) - 1

    def leaving(self, at: int) -> float:
        """Of a phoneme's last position, to go out."""
        return float(self.moves.left[self.positions[at].place])


_Open = tuple[int, float]  # a way that waits to be continued: its last position or -1, and more


def network(vocabulary: Vocabulary, moves: Moves, words: Sequence[int]) -> Network:
    """All ways to say these words one after the other. Raises DataError for too many."""
    found = Network(moves)
    ways = _quiet(vocabulary, found, [(-1, 0.0)])
    for order, word in enumerate(words):
        variants = vocabulary.variants[word]
        # All of them lead to what follows, and so does the unit at the ends.
        if len(variants) >= MOST_ARCS:
            raise DataError(
                f"'{vocabulary.words[word]}' has {len(variants)} pronunciations; where words lie "
                f"is told for fewer than {MOST_ARCS}"
            )
        ends: list[_Open] = []
        for item in variants:
            enter = [(at, likely + item.prior) for at, likely in ways]
            for phone in item.phones:
                last = found.add(vocabulary.places(phone), phone, order, enter)
                enter = [(last, 0.0)]
            ends += enter
        ways = _quiet(vocabulary, found, ends)
    for at, likely in ways:
        found.end[at] = likely + found.leaving(at)
    return found


def _quiet(vocabulary: Vocabulary, found: Network, ways: list[_Open]) -> list[_Open]:
    """The unit at the ends, where there is one, or both with and without it."""
    if not vocabulary.quiet:
        return ways
    chance = HALF if vocabulary.optional else 0.0
    halved = [(at, likely + chance) for at, likely in ways]
    places = range(vocabulary.silence, vocabulary.silence + vocabulary.quiet)
    last = found.add(places, -1, -1, halved)
    return [*(halved if vocabulary.optional else []), (last, 0.0)]


# Operands: steps, positions, rows of scores; scores [steps, rows]; begin, end and held [positions];
# the row of each position; arcs into each, as a first one, their sources and log probabilities;
# which arc was taken, a byte each [steps, positions / 8]; the way [steps]; room for two rows, in
# which the log probability is answered.
VITERBI = Kernel(
    "viterbi",
    f"""def kernel(activation, parameter, gradient, operand):
    steps, count, rows = operand[0], operand[1], operand[2]
    scores, begin, end = address(operand[3]), address(operand[4]), address(operand[5])
    held, row = address(operand[6]), integers(operand[7])
    first, source, weight = integers(operand[8]), integers(operand[9]), address(operand[10])
    back, way, room = integers(operand[11]), integers(operand[12]), address(operand[13])
    cells = (count + 7) // 8
    past, now = 0, count
    for s in range(count):
        room[now + s] = begin[s] + scores[row[s]]
    for t in range(1, steps):
        past, now = now, past
        for cell in range(cells):
            packed = 0
            for i in range(min(8, count - 8 * cell)):
                s = 8 * cell + i
                best = room[past + s] + held[s]
                choice = 0
                for a in range(first[s], first[s + 1]):
                    v = room[past + source[a]] + weight[a]
                    if v > best:
                        best = v
                        choice = a - first[s] + 1
                room[now + s] = max(best, {NEVER!r}) + scores[t * rows + row[s]]
                packed = packed | (choice << (8 * i))
            back[t * cells + cell] = packed
    at, best = 0, {NEVER!r}
    for s in range(count):
        v = room[now + s] + end[s]
        if v > best:
            at, best = s, v
    room[0] = best
    for k in range(steps):
        t = steps - 1 - k
        way[t] = at
        if t > 0:
            choice = (back[t * cells + at // 8] >> (8 * (at % 8))) & 255
            if choice > 0:
                at = source[first[at] + choice - 1]
""",
)


@dataclass(frozen=True)
class Alignment:
    """The best way: its log probability, and the position of each frame; None where there is no
    way, since the recording is too short."""

    score: float
    way: Array | None


def align(network: Network, scores: Array) -> Alignment:
    """scores: log densities, float64 [steps, rows]."""
    count, steps = len(network.positions), len(scores)
    if not count or not steps:
        return Alignment(-np.inf, None)
    order = sorted(range(len(network.arcs)), key=lambda i: network.arcs[i][1])
    source = np.array([network.arcs[i][0] for i in order], np.int64)
    weight = np.array([network.arcs[i][2] for i in order], np.float64)
    into = np.bincount([arc[1] for arc in network.arcs], minlength=count)
    first = np.concatenate([[0], np.cumsum(into)]).astype(np.int64)
    places = np.array([position.place for position in network.positions])
    moves = network.moves
    back = np.zeros(steps * ((count + 7) // 8), np.int64)
    way, room = np.zeros(steps, np.int64), np.empty(2 * count)
    run(
        VITERBI, steps, count, scores.shape[1], scores, np.array(network.begin),
        np.array(network.end), moves.held[places], moves.rows[places], first, source, weight, back,
        way, room,
    )  # fmt: skip
    if room[0] < IMPOSSIBLE:
        return Alignment(-np.inf, None)
    return Alignment(float(room[0]), way)
