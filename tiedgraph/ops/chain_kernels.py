"""Kernels of chains: all in logarithms; what cannot be is `NEVER`.

At each step the largest sum of the step before is taken off all, forwards and backwards the same,
and added at the end, so that single precision holds for long recordings.
"""

from __future__ import annotations

import textwrap

from tiedgraph.ops.lattice import HALF, NEVER, Chains
from tiedgraph.ops.rules import Kernel

# Rows of `room` beside `own` and `to`: states, their odds of skipping, log probabilities of the
# three moves, the way back's sums, and how often each move was made.
ROWS = ("state", "jump", "held", "left", "leap", "ahead", "stays", "leaves", "leaps")
LINES = ("count", "prior", "shift", "whole", "spare")


def room(attrs: Chains, steps: int) -> int:
    """Vectors that `PATHS` and `SLOPE` take for one pronunciation."""
    return (2 * steps + len(ROWS)) * attrs.longest + len(LINES) + 1 + steps


def _places() -> str:
    rows = [f"{name} = state + {i} * row" for i, name in enumerate(ROWS) if i]
    first = len(ROWS)
    lines = [f"{name} = state + {first} * row + {i} * LANES" for i, name in enumerate(LINES)]
    return "".join(f"    {line}\n" for line in [*rows, *lines])


# Operands of all: the scores, log odds, the label (-1: one pronunciation for all lanes), which
# variant of the label's word (or which pronunciation), both tables, words, variants, steps,
# longest, loose, over, lengths (-1: whole), and room.
# On the way back, the gradient of the word's log probability is at operand 16 (-1: on the way
# there); where it is zero for the whole tile, as for words that are out of the question, nothing is
# done.
_GIVEN = f"""def kernel(activation, parameter, gradient, operand):
    if operand[16] >= 0 and sum_lanes(absolute(load(activation, operand[16]))) == 0:
        return
    x, odds, label, which = operand[0], operand[1], operand[2], operand[3]
    table, kinds = integers(operand[4]), integers(operand[5])
    words, variants = operand[6], operand[7]
    steps, longest, loose, over = operand[8], operand[9], operand[10], operand[11]
    long = operand[12]
    row = longest * LANES
    entries = 2 + 2 * longest
    zero = broadcast(0.0)
    never = broadcast({NEVER!r})
    valid = broadcast(steps)
    if long >= 0:
        valid = load(activation, long)
"""
UNTIL = """    store(activation, spare, valid)
    until = 1
    for lane in range(LANES):
        until = max(until, int(activation[spare + lane]))
"""
_HEAD = f"""{_GIVEN}    own, to = operand[13], operand[13] + steps * row
    state = to + steps * row
{_places()}    peaks = spare + 2 * LANES
{UNTIL}"""

# How many positions the longest chain of this tile has; and the band of those that can be reached
# at step t and from which an end can be reached: from `lowest + t * hop` on, and below
# `loose + 1 + t * hop`.
_REACH = """    reach = 1
    for lane in range(LANES):
        reach = max(reach, int(activation[count + lane]))
    hop = max(1, over)
    lowest = reach
    for lane in range(LANES):
        positions = int(activation[count + lane])
        if positions > 0:
            steps_left = int(activation[spare + lane]) - 1
            lowest = min(lowest, positions - 1 - loose - steps_left * hop)
"""
# The steps at which position s is in the band.
_STEPS = """begin = max(0, (s - loose + hop - 1) // hop)
finish = min(until, (s - lowest) // hop + 1)
"""


def lines(indent: int, *parts: str) -> str:
    return "".join(textwrap.indent(part, " " * indent) for part in parts)


# Log probabilities of the moves from position s, of log odds v of staying and w of skipping; v is
# then that of going on to the next one.
MOVES = """small = log(1.0 + exp(minimum(v, -v)))
store(activation, held + s * LANES, minimum(v, zero) - small)
v = minimum(-v, zero) - small
if over > 0:
    small = log(1.0 + exp(minimum(w, -w)))
    store(activation, leap + s * LANES, v + minimum(w, zero) - small)
    v = v + minimum(-w, zero) - small
"""

# Brings states, moves and scores of each lane's pronunciation into order.
GATHER = Kernel(
    "chain_gather",
    _HEAD
    + f"""    for lane in range(LANES):
        row_of = which
        if label >= 0:
            word = min(max(int(activation[label + lane]), 0), words - 1)
            row_of = kinds[word * variants + which]
        length = 0
        activation[prior + lane] = {NEVER!r}
        if row_of >= 0:
            length = table[row_of * entries]
            activation[prior + lane] = number(table, row_of * entries + 1)
        activation[count + lane] = length
        for s in range(longest):
            u, j = 0, -1
            if s < length:
                u = table[row_of * entries + 2 + s]
                j = table[row_of * entries + 2 + longest + s]
            activation[state + s * LANES + lane] = u
            activation[jump + s * LANES + lane] = j
            activation[held + s * LANES + lane] = activation[odds + u * LANES + lane]
            activation[leap + s * LANES + lane] = {NEVER!r}
            if j >= 0:
                activation[leap + s * LANES + lane] = activation[odds + j * LANES + lane]
    n = load(activation, count)
"""
    + _REACH
    + """    for s in range(reach):
        v = load(activation, held + s * LANES)
        w = load(activation, leap + s * LANES)
"""
    + lines(8, MOVES)
    + f"""        if loose > 0:
            v = select(n == s + loose + 1, v + {HALF!r}, v)
        store(activation, left + s * LANES, v)
    for s in range(reach):
"""
    + lines(8, _STEPS)
    + f"""        at = own + s * LANES
        if label >= 0:
            for lane in range(LANES):
                if s < int(activation[count + lane]):
                    u = int(activation[state + s * LANES + lane])
                    place = x + u * steps * LANES + lane
                    for t in range(begin, finish):
                        activation[at + t * row + lane] = activation[place + t * LANES]
                else:
                    for t in range(begin, finish):
                        activation[at + t * row + lane] = {NEVER!r}
        else:
            place = x + table[which * entries + 2 + s] * steps * LANES
            for t in range(begin, finish):
                store(activation, at + t * row, load(activation, place + t * LANES))
""",
)

# The sum over all ways; it goes to operand 14, added to what is there unless operand 15 is 0.
# The largest of the step before is taken off each step, forwards here and backwards in SLOPE; of
# those of a sample's own band, so that it does not matter what lies beside it.
PATHS = Kernel(
    "chain_paths",
    _HEAD
    + _REACH
    + f"""    total, part, top, peak = zero, zero, never, zero
    n = load(activation, count)
    for s in range(min(reach, loose + 1)):
        v = load(activation, own + s * LANES)
        if s == 0 or (loose > 0 and s == loose):
            if loose > 0:
                v = v + {HALF!r}
        else:
            v = never
        store(activation, to + s * LANES, v)
        top = maximum(top, v)
    for t in range(until):
        store(activation, peaks + t * LANES, peak)
        part = select(valid > t, part + peak, part)
        if t % 64 == 63:
            total = total + part
            part = zero
        now = to + t * row
        past = now - row
        before = never
        low, high = max(0, lowest + t * hop), min(reach, loose + 1 + t * hop)
        if t > 0:
            top = never
            for s in range(min(reach, loose + 1 + (t - 1) * hop), high):
                store(activation, past + s * LANES, never)
            if low > 0:
                at = (low - 1) * LANES
                before = load(activation, past + at) + load(activation, left + at)
            own_lowest = n - 1 - loose - (valid - 1 - t) * hop
            for s in range(low, high):
                w = before
                v = load(activation, past + s * LANES)
                before = v + load(activation, left + s * LANES)
                v = v + load(activation, held + s * LANES)
                v = log_add(v, w)
                if over > 0 and s >= over:
                    at = (s - over) * LANES
                    w = load(activation, past + at) + load(activation, leap + at)
                    v = log_add(v, w)
                v = v + (load(activation, own + t * row + s * LANES) - peak)
                v = maximum(v, never)
                store(activation, now + s * LANES, v)
                top = maximum(top, select(own_lowest <= s, v, never))
        peak = select(top > {NEVER / 10!r}, top, zero)
    store(activation, shift, total + part)
    for lane in range(LANES):
        t = max(int(activation[spare + lane]) - 1, 0)
        final = max(int(activation[count + lane]), 1) - 1
        high = loose + 1 + t * hop
        s = final * LANES + lane
        activation[spare + lane] = {NEVER!r}
        if final < high:
            activation[spare + lane] = activation[to + t * row + s] + activation[left + s]
        activation[whole + lane] = {NEVER!r}
        if loose > 0 and final >= loose and final - loose < high:
            s = s - loose * LANES
            activation[whole + lane] = activation[to + t * row + s] + activation[left + s]
    v = load(activation, spare)
    w = load(activation, whole)
    v = log_add(v, w)
    v = maximum(v, never)
    store(activation, whole, v)
    v = maximum(v + load(activation, shift) + load(activation, prior), never)
    store(activation, prior, v)
    w = never
    if operand[15]:
        w = load(activation, operand[14])
    v = log_add(v, w)
    store(activation, operand[14], v)
""",
)

# The loss from the log probability.
MINUS = Kernel(
    "chain_minus",
    f"""def kernel(activation, parameter, gradient, operand):
    v = load(activation, operand[0])
    store(activation, operand[1], select(v > {NEVER / 10!r}, -v, 1.0 / broadcast(0.0)))
""",
)

CLEAR = Kernel(
    "chain_clear",
    """def kernel(activation, parameter, gradient, operand):
    for i in range(operand[1]):
        store(activation, operand[0] + i * LANES, broadcast(0.0))
""",
)

# After GATHER and PATHS: the log probability of the word at operand 14, the sign of the gradient at
# 17; gradients of scores and of odds at 18 and 19 (-1: not wanted), statistics
# at 20: for each of the log odds, how often its move was made and how often it was not. All is
# added.
SLOPE = Kernel(
    "chain_slope",
    _HEAD
    + _REACH
    + f"""    of_scores, of_odds, moves = operand[18], operand[19], operand[20]
    total = load(activation, operand[14])
    likely = load(activation, whole)
    possible = (total > {NEVER / 10!r}) & (likely > {NEVER / 10!r})
    likely = select(possible, likely, zero)
    share = load(activation, operand[16]) * operand[17]
    share = share * exp(minimum(load(activation, prior) - total, zero))
    share = select(possible, share, zero)
    n = load(activation, count)
    for s in range(reach):
        store(activation, ahead + s * LANES, never)
        store(activation, stays + s * LANES, zero)
        store(activation, leaves + s * LANES, zero)
        store(activation, leaps + s * LANES, zero)
    for back in range(until):
        t = until - 1 - back
        goes_on, ends = valid > t + 1, valid == t + 1
        peak = load(activation, peaks + t * LANES)
        for s in range(max(0, lowest + t * hop), min(reach, loose + 1 + t * hop)):
            at = s * LANES
            past = load(activation, to + t * row + at) - likely
            leave = load(activation, left + at)
            last = select(n == s + 1, leave, never)
            if loose > 0:
                last = select(n == s + loose + 1, leave, last)
            v = load(activation, held + at) + load(activation, ahead + at)
            w = never
            if s + 1 < reach:
                w = leave + load(activation, ahead + at + LANES)
            v = select(goes_on, v, never)
            w = select(goes_on, w, select(ends, last, never))
            stay = select(possible, exp(minimum(past + v, zero)), zero)
            leave = select(possible, exp(minimum(past + w, zero)), zero)
            store(activation, stays + at, load(activation, stays + at) + stay)
            store(activation, leaves + at, load(activation, leaves + at) + leave)
            visits = stay + leave
            v = log_add(v, w)
            if over > 0 and s + over < reach:
                w = load(activation, leap + at) + load(activation, ahead + at + over * LANES)
                w = select(goes_on, w, never)
                leave = select(possible, exp(minimum(past + w, zero)), zero)
                store(activation, leaps + at, load(activation, leaps + at) + leave)
                visits = visits + leave
                v = log_add(v, w)
            v = v + (load(activation, own + t * row + at) - peak)
            store(activation, ahead + at, maximum(v, never))
            store(activation, own + t * row + at, share * visits)
    for s in range(reach):
        at = s * LANES
"""
    + lines(8, _STEPS)
    + f"""        if of_scores < 0:
            finish = begin
        if label >= 0:
            for lane in range(LANES):
                if s < int(activation[count + lane]):
                    u = int(activation[state + at + lane])
                    place = of_scores + u * steps * LANES + lane
                    for t in range(begin, finish):
                        activation[place + t * LANES] += activation[own + t * row + at + lane]
        else:
            place = of_scores + table[which * entries + 2 + s] * steps * LANES
            for t in range(begin, finish):
                v = load(activation, own + t * row + at)
                store(activation, place + t * LANES, load(activation, place + t * LANES) + v)
        stay = share * load(activation, stays + at)
        leave = share * load(activation, leaves + at)
        skip = share * load(activation, leaps + at)
        store(activation, stays + at, stay)
        store(activation, leaves + at, leave)
        store(activation, leaps + at, skip)
        for lane in range(LANES):
            if s < int(activation[count + lane]):
                u = int(activation[state + at + lane])
                j = int(activation[jump + at + lane])
                gradient[moves + 2 * u] += activation[stays + at + lane]
                gone = activation[leaves + at + lane] + activation[leaps + at + lane]
                gradient[moves + 2 * u + 1] += gone
                if j >= 0:
                    gradient[moves + 2 * j] += activation[leaps + at + lane]
                    gradient[moves + 2 * j + 1] += activation[leaves + at + lane]
        if of_odds >= 0:
            v = stay - exp(load(activation, held + at)) * (stay + leave + skip)
            store(activation, spare, v)
            w = zero
            if over > 0:
                w = load(activation, leap + at) - load(activation, left + at)
                if loose > 0:
                    w = select(n == s + loose + 1, w + {HALF!r}, w)
                w = skip - sigmoid(w) * (leave + skip)
            store(activation, spare + LANES, w)
            for lane in range(LANES):
                if s < int(activation[count + lane]):
                    u = int(activation[state + at + lane])
                    j = int(activation[jump + at + lane])
                    activation[of_odds + u * LANES + lane] += activation[spare + lane]
                    if j >= 0:
                        place = of_odds + j * LANES + lane
                        activation[place] += activation[spare + LANES + lane]
""",
)
