"""One word of a lexicon: Viterbi over a prefix tree of its pronunciations, with a beam.

Beginnings that pronunciations have in common are computed once (Ney, Haeb-Umbach, Tran and Oerder,
Improvements in beam search for 10,000-word continuous speech recognition, 1992). The unit at the
ends is the same for all words, so how likely it is before and behind each frame is computed once,
and every word takes the best frame to begin and to end.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from tiedgraph.ops.rules import Kernel, bits
from tiedgraph.recognition.machine import run
from tiedgraph.recognition.vocabulary import HALF, IMPOSSIBLE, NEVER, Array, Moves, Vocabulary


@dataclass(frozen=True)
class Tree:
    """A node is a phoneme behind those of its parent; parents come first.

    place: its first place [nodes]; children: of each node and, last, of the root, as a first one
    [nodes + 2] and `child`; ends: of each node [nodes + 1] the pronunciations that end there, their
    `word` and `prior`.
    """

    place: Array
    children: Array
    child: Array
    ends: Array
    word: Array
    prior: Array

    @property
    def nodes(self) -> int:
        return len(self.place)


def tree(vocabulary: Vocabulary) -> Tree:
    """The pronunciations of a vocabulary, common beginnings once."""
    known: dict[tuple[int, int], int] = {}  # parent (-1: the root) and phoneme
    phones: list[int] = []
    parents: list[int] = []
    last = []
    for item in vocabulary.pronunciations:
        at = -1
        for phone in item.phones:
            key = (at, phone)
            if key not in known:
                known[key] = len(phones)
                phones.append(phone)
                parents.append(at)
            at = known[key]
        last.append(at)
    count = len(phones)
    parent = np.array(parents, np.int64)
    parent[parent < 0] = count
    ended = np.array(last, np.int64)
    order = np.argsort(ended, kind="stable")
    return Tree(
        np.array(phones, np.int64) * vocabulary.width,
        _starts(parent, count + 1),
        np.argsort(parent, kind="stable").astype(np.int64),
        _starts(ended, count),
        np.array([vocabulary.pronunciations[i].word for i in order], np.int64),
        np.array([vocabulary.pronunciations[i].prior for i in order], np.float64),
    )


def _starts(groups: Array, count: int) -> Array:
    """Where each group begins after sorting."""
    sizes = np.bincount(groups, minlength=count)
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


@dataclass(frozen=True)
class Margins:
    """The unit at the ends beside a recording.

    enter [steps]: log probability that a word begins at a frame, all before it being that unit;
    leave [steps + 1]: that the rest from a frame on is; lead [steps]: the best that is still in the
    first of them, which a beam is measured from.
    """

    enter: Array
    leave: Array
    lead: Array


# Operands: steps, rows, the first place of the unit and how many it has; scores; row, held, left,
# jump by place; the chance to take it; enter, leave, lead; room for its places and two more.
MARGINS = Kernel(
    "tree_margins",
    f"""def kernel(activation, parameter, gradient, operand):
    steps, rows, first, count = operand[0], operand[1], operand[2], operand[3]
    scores, row = address(operand[4]), integers(operand[5])
    held, left, jump = address(operand[6]), address(operand[7]), address(operand[8])
    chance = number(operand, 9)
    enter, leave, lead = address(operand[10]), address(operand[11]), address(operand[12])
    now = address(operand[13])
    for t in range(steps):
        top = {NEVER!r}
        for back in range(count):
            k = count - 1 - back
            p = first + k
            v = now[k] + held[p]
            if k > 0:
                v = max(v, now[k - 1] + left[p - 1])
            elif t == 0:
                v = chance
            if k > 1:
                v = max(v, now[k - 2] + jump[p - 2])
            now[k] = max(v, {NEVER!r}) + scores[t * rows + row[p]]
            top = max(top, now[k])
        lead[t] = top
        if t + 1 < steps:
            enter[t + 1] = max(now[count - 1] + left[first + count - 1], {NEVER!r})
    for k in range(count + 2):
        now[k] = {NEVER!r}
    for back in range(steps):
        t = steps - 1 - back
        for k in range(count):
            p = first + k
            v = now[k] + held[p]
            if k + 1 < count:
                v = max(v, now[k + 1] + left[p])
            elif t == steps - 1:
                v = left[p]
            if k + 2 < count:
                v = max(v, now[k + 2] + jump[p])
            now[k] = max(v, {NEVER!r}) + scores[t * rows + row[p]]
        leave[t] = max(chance + now[0], {NEVER!r})
""",
)


def margins(vocabulary: Vocabulary, moves: Moves, scores: Array) -> Margins:
    """scores: log densities [steps, rows]."""
    steps, count = len(scores), vocabulary.quiet
    enter, leave = np.full(steps, NEVER), np.full(steps + 1, NEVER)
    lead = np.full(steps, NEVER)
    chance = HALF if vocabulary.optional else 0.0
    if not count or vocabulary.optional:
        enter[0], leave[steps] = chance, chance
    if not count:
        return Margins(enter, leave, lead)
    run(
        MARGINS, steps, scores.shape[1], vocabulary.silence, count, scores, moves.rows, moves.held,
        moves.left, moves.jump, bits(chance), enter, leave, lead, np.full(count + 2, NEVER),
    )  # fmt: skip
    return Margins(enter, leave, lead)


# Operands: steps, rows, nodes, width, quiet; scores; row, held, left, jump by place; place of the
# nodes, children (first ones, child), ends (first ones, word, prior); enter, leave, lead; the first
# place of the unit at the ends and the chance to take it; the beam; likelihoods [nodes, width];
# what comes in [nodes]; the best of each node; lists of active nodes and whether one is; for the
# unit at the ends; the best of each word; and how many nodes were active in all.
SEARCH = Kernel(
    "tree_search",
    f"""def kernel(activation, parameter, gradient, operand):
    steps, rows, nodes, width, quiet = operand[0], operand[1], operand[2], operand[3], operand[4]
    scores, row = address(operand[5]), integers(operand[6])
    held, left, jump = address(operand[7]), address(operand[8]), address(operand[9])
    place = integers(operand[10])
    children, child = integers(operand[11]), integers(operand[12])
    ends, word, prior = integers(operand[13]), integers(operand[14]), address(operand[15])
    enter, leave, lead = address(operand[16]), address(operand[17]), address(operand[18])
    silence, chance = operand[19], number(operand, 20)
    beam, most = number(operand, 21), operand[22]
    likely, coming, peak = address(operand[23]), address(operand[24]), address(operand[25])
    active, marked = integers(operand[26]), integers(operand[27])
    after, best, bins = address(operand[28]), address(operand[29]), integers(operand[30])
    count, threshold, ended, total = 0, {IMPOSSIBLE!r}, {NEVER!r}, 0
    for t in range(steps):
        x = t * rows
        before = count
        for i in range(before):
            n = active[i]
            at = n * width + width - 1
            v = likely[at] + left[place[n] + width - 1]
            if v > threshold:
                for k in range(children[n], children[n + 1]):
                    c = child[k]
                    coming[c] = v
                    if marked[c] == 0:
                        marked[c] = 1
                        active[count] = c
                        count += 1
        if enter[t] > threshold:
            for k in range(children[nodes], children[nodes + 1]):
                c = child[k]
                coming[c] = enter[t]
                if marked[c] == 0:
                    marked[c] = 1
                    active[count] = c
                    count += 1
        top = lead[t]
        for k in range(quiet):
            p = silence + quiet - 1 - k
            v = after[p - silence] + held[p]
            if p > silence:
                v = max(v, after[p - 1 - silence] + left[p - 1])
            else:
                v = max(v, ended + chance)
            if p > silence + 1:
                v = max(v, after[p - 2 - silence] + jump[p - 2])
            v = max(v, {NEVER!r}) + scores[x + row[p]]
            after[p - silence] = v
            top = max(top, v)
        for i in range(count):
            n = active[i]
            first, at = place[n], n * width
            high = {NEVER!r}
            for back in range(width):
                k = width - 1 - back
                v = likely[at + k] + held[first + k]
                if k > 0:
                    v = max(v, likely[at + k - 1] + left[first + k - 1])
                else:
                    v = max(v, coming[n])
                if k > 1:
                    v = max(v, likely[at + k - 2] + jump[first + k - 2])
                v = max(v, {NEVER!r}) + scores[x + row[first + k]]
                likely[at + k] = v
                high = max(high, v)
            coming[n] = {NEVER!r}
            peak[n] = high
            top = max(top, high)
        total += count
        threshold = max(top - beam, {IMPOSSIBLE!r})
        if count > most:
            low = top
            for i in range(count):
                if peak[active[i]] >= threshold:
                    low = min(low, peak[active[i]])
            for k in range(256):
                bins[k] = 0
            scale = 255.0 / max(top - low, 1e-9)
            for i in range(count):
                v = peak[active[i]]
                if v >= threshold:
                    bins[min(int((top - v) * scale), 255)] += 1
            kept, k = bins[0], 0
            while k + 1 < 256 and kept + bins[k + 1] <= most:
                k += 1
                kept += bins[k]
            threshold = max(threshold, top - (k + 1) / scale)
        kept = 0
        ended = {NEVER!r}
        for i in range(count):
            n = active[i]
            if peak[n] >= threshold:
                active[kept] = n
                kept += 1
                if ends[n + 1] > ends[n]:
                    v = likely[n * width + width - 1] + left[place[n] + width - 1]
                    ended = max(ended, v)
                    v = v + leave[t + 1]
                    for k in range(ends[n], ends[n + 1]):
                        best[word[k]] = max(best[word[k]], v + prior[k])
            else:
                marked[n] = 0
                for k in range(width):
                    likely[n * width + k] = {NEVER!r}
        count = kept
    operand[31] = total
""",
)


def search(
    found: Tree,
    vocabulary: Vocabulary,
    moves: Moves,
    scores: Array,
    beam: float = inf,
    most: int = 2**62,
) -> tuple[Array, int]:
    """The log probability of the best way through each word; IMPOSSIBLE where the beam lost it or
    there is none. And how many nodes were computed.

    scores: float64 [steps, rows]. beam: ways are given up that are so much less likely than the
      best one. most: nodes that are kept after each frame.
    """
    steps, rows = scores.shape
    beside = margins(vocabulary, moves, scores)
    width, nodes = vocabulary.width, found.nodes
    best = np.full(len(vocabulary.words), NEVER)
    told = run(
        SEARCH, steps, rows, nodes, width, vocabulary.quiet, scores, moves.rows, moves.held,
        moves.left, moves.jump, found.place, found.children, found.child, found.ends, found.word,
        found.prior, beside.enter, beside.leave, beside.lead, vocabulary.silence,
        bits(HALF if vocabulary.optional else 0.0), bits(beam), most,
        np.full(nodes * width, NEVER), np.full(nodes, NEVER), np.empty(nodes),
        np.empty(nodes, np.int64), np.zeros(nodes, np.int64), np.full(vocabulary.quiet + 1, NEVER),
        best, np.zeros(256, np.int64), 0,
    )  # fmt: skip
    return np.maximum(best, NEVER), int(told[-1])
