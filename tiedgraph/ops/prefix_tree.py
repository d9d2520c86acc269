"""Scores of all words at once: pronunciations that begin alike are one until they part.

A node of the tree is a position of all pronunciations that came to it by the same states and moves,
so that its sums are those of each of them, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tiedgraph.ops.chain_kernels import MOVES, UNTIL, lines
from tiedgraph.ops.lattice import HALF, NEVER, Chains
from tiedgraph.ops.rules import Array, Kernel, bits

NODE, WAY, END = 6, 3, 6  # numbers in a row of each table
BLOCK = 4  # frames whose scores are put side by side, less the largest sum before them


@dataclass(frozen=True)
class Tree:
    """What `TREE` reads; of each table rows of integers.

    nodes: row of the scores, the node before and the way from there, the node that is left over
      the one before and the way from there (-1: none), and a way that has its log odds of staying.
      Nodes lie by depth.
    ways: row of the log odds of staying, place of those of skipping or -1, and 1 where the move
      leads from the word's last state to states that may be left out.
    ends: of each pronunciation its last node and the way out, the last node before what may be
      left out at the end and the way out (-1: none), its word, and the bits of its prior.
    reached: for each depth how many nodes there are up to it.
    """

    nodes: Array
    ways: Array
    ends: Array
    reached: Array


@lru_cache(64)
def tree(attrs: Chains) -> Tree:
    """The tree of all pronunciations; kept here, since tapes hold the addresses of its tables."""
    ways: dict[tuple[int, int, bool], int] = {}
    nodes: dict[tuple[int, int, int], int] = {}
    rows: list[tuple[int, ...]] = []
    depths: list[int] = []
    ends: list[tuple[int, ...]] = []

    def way(u: int, jump: int, half: bool = False) -> int:
        return ways.setdefault((u, jump, half), len(ways))

    for i, states in enumerate(attrs.states):
        jumps, path = attrs.skips_of(i), [-1]
        before_end = len(states) - attrs.loose - 1 if attrs.loose else -1
        for s, u in enumerate(states):
            came = way(states[s - 1], jumps[s - 1], s - 1 == before_end) if s else -1
            key = (path[-1], u, came)
            if key not in nodes:
                nodes[key] = len(rows)
                far, leap = -1, -1
                if 0 < attrs.over <= s and jumps[s - attrs.over] >= 0:
                    far = path[s + 1 - attrs.over]
                    leap = way(states[s - attrs.over], jumps[s - attrs.over])
                rows.append((u, path[-1], came, far, leap, way(u, -1)))
                depths.append(s)
            path.append(nodes[key])
        out, early = way(states[-1], -1), -1
        if attrs.loose:
            early = way(states[before_end], jumps[before_end], True)
        last = path[before_end + 1] if attrs.loose else -1
        ends.append((path[-1], out, last, early, attrs.word[i], bits(attrs.prior[i])))
    order = np.argsort(depths, kind="stable")
    place = np.append(np.argsort(order), -1)  # of node -1 the last, which is -1
    table = np.array(rows, np.int64)[order]
    table[:, [1, 3]] = place[table[:, [1, 3]]]
    finals = np.array(ends, np.int64)
    finals[:, [0, 2]] = place[finals[:, [0, 2]]]
    reached = np.cumsum(np.bincount(depths)).astype(np.int64)
    kinds = np.array([(u, jump, int(half)) for u, jump, half in ways], np.int64)
    return Tree(table, kinds, finals, reached)


def room(attrs: Chains, states: int) -> int:
    """Vectors that `TREE` takes."""
    found = tree(attrs)
    return len(found.nodes) + 3 * len(found.ways) + len(found.ends) + BLOCK * states + 1


# Operands: scores, log odds, lengths (-1: whole), steps, room, the output, words, loose and over;
# the four tables and how many rows they have; states. The scores of a few frames are put side by
# side; then nodes are computed from the last to the first, in place. At step t none is reached that
# is too deep. The largest sum before a block is taken off its first step.
TREE = Kernel(
    "chain_tree",
    f"""def kernel(activation, parameter, gradient, operand):
    x, odds, long, steps, to = operand[0], operand[1], operand[2], operand[3], operand[4]
    y, words, loose, over = operand[5], operand[6], operand[7], operand[8]
    node, way = integers(operand[9]), integers(operand[11])
    end, reached = integers(operand[13]), integers(operand[15])
    nodes, ways, ends, depths = operand[10], operand[12], operand[14], operand[16]
    states = operand[17]
    held = to + nodes * LANES
    left, leap = held + ways * LANES, held + 2 * ways * LANES
    ended = held + 3 * ways * LANES
    now = ended + ends * LANES
    spare = now + {BLOCK} * states * LANES
    zero = broadcast(0.0)
    never = broadcast({NEVER!r})
    valid = broadcast(steps)
    if long >= 0:
        valid = load(activation, long)
{UNTIL}    for s in range(ways):
        v = load(activation, odds + way[{WAY} * s] * LANES)
        w = never
        if way[{WAY} * s + 1] >= 0:
            w = load(activation, odds + way[{WAY} * s + 1] * LANES)
{lines(8, MOVES)}        if way[{WAY} * s + 2]:
            v = v + {HALF!r}
        store(activation, left + s * LANES, v)
    for i in range(nodes):
        store(activation, to + i * LANES, never)
    for i in range(ends):
        store(activation, ended + i * LANES, never)
    total, part, top = zero, zero, zero
    for t in range(until):
        if t % {BLOCK} == 0:
            peak = select(top > {NEVER / 10!r}, top, zero)
            part = select(valid > t, part + peak, part)
            wide = min({BLOCK}, steps - t)
            for u in range(states):
                for i in range(wide):
                    v = load(activation, x + (u * steps + t + i) * LANES)
                    if i == 0:
                        v = v - peak
                    store(activation, now + (i * states + u) * LANES, v)
        if t % 64 == 63:
            total = total + part
            part = zero
        marked = t % {BLOCK} == {BLOCK - 1}
        top = never
        frame = now + t % {BLOCK} * states * LANES
        if t == 0:
            for i in range(reached[loose]):
                begins = node[{NODE} * i + 1] < 0
                if loose > 0 and i >= reached[loose - 1]:
                    begins = True
                if begins:
                    v = load(activation, frame + node[{NODE} * i] * LANES)
                    if loose > 0:
                        v = v + {HALF!r}
                    store(activation, to + i * LANES, v)
        else:
            deep = loose + t
            if over > 1:
                deep = loose + t * over
            active = reached[min(deep, depths - 1)]
            for back in range(active):
                i = active - 1 - back
                at = {NODE} * i
                v = load(activation, to + i * LANES)
                v = v + load(activation, held + node[at + 5] * LANES)
                if node[at + 1] >= 0:
                    w = load(activation, to + node[at + 1] * LANES)
                    v = log_add(v, w + load(activation, left + node[at + 2] * LANES))
                if node[at + 3] >= 0:
                    w = load(activation, to + node[at + 3] * LANES)
                    v = log_add(v, w + load(activation, leap + node[at + 4] * LANES))
                v = v + load(activation, frame + node[at] * LANES)
                store(activation, to + i * LANES, v)
                if marked:
                    top = maximum(top, v)
        some = t + 1 == until
        for lane in range(LANES):
            if int(activation[spare + lane]) == t + 1:
                some = True
        if some:
            for i in range(ends):
                at = {END} * i
                v = load(activation, to + end[at] * LANES)
                v = v + load(activation, left + end[at + 1] * LANES)
                if end[at + 2] >= 0:
                    w = load(activation, to + end[at + 2] * LANES)
                    v = log_add(v, w + load(activation, left + end[at + 3] * LANES))
                v = v + (total + part) + number(end, at + 5)
                v = select(valid == t + 1, maximum(v, never), load(activation, ended + i * LANES))
                store(activation, ended + i * LANES, v)
    for word in range(words):
        store(activation, y + word * LANES, never)
    for i in range(ends):
        at = y + end[{END} * i + 4] * LANES
        v = log_add(load(activation, at), load(activation, ended + i * LANES))
        store(activation, at, v)
""",
)
