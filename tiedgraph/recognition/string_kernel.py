"""The kernel of `tiedgraph.recognition.strings`: all pronunciations step by step, the best few
histories in each position.

Its stages, for each frame: words that ended before it, each history once; at the end of the
recording, the answer; what comes into each word; one step of the rows that are active; rows that
begin; and what the beam leaves.
"""

from __future__ import annotations

import textwrap

from tiedgraph.ops.rules import Kernel
from tiedgraph.recognition.vocabulary import IMPOSSIBLE, NEVER


def _lines(indent: int, text: str) -> str:
    return textwrap.indent(text, " " * indent)


def _insert(values: str, names: str, at: str, count: str, value: str, name: str) -> str:
    """Text that puts a value among the best `keep` of a list, the largest first."""
    return f"""if {count} < keep or {value} > {values}[{at} + keep - 1]:
    j = min({count}, keep - 1)
    while j > 0 and {values}[{at} + j - 1] < {value}:
        {values}[{at} + j] = {values}[{at} + j - 1]
        {names}[{at} + j] = {names}[{at} + j - 1]
        j -= 1
    {values}[{at} + j] = {value}
    {names}[{at} + j] = {name}
    {count} = min({count} + 1, keep)
"""


# The names of what stands in the operands, each an integer (i), a float64 as bits (f), or the
# address of integers (I) or float64 (F).
_OPERANDS = """i steps, i states, i chains, i words, i keep, F scores, I row, F held, F left,
F jump, I first, I place, I spoken, I word, F prior, i bigram, F unigram, F backoff, F ending,
I named, I follow, F likely, f chance, i quiet, i optional, f beam, i reach, F token, I past,
I low, I high, I active, I marked, F fresh, I fresh_past, F end_value, I end_past, F key, I order,
F enter, I enter_past, I entering, I table, i mask, I before, I last, I slot, I stamp, i capacity,
F result, I result_past"""
_READ = {
    "i": "{name} = operand[{i}]",
    "f": "{name} = number(operand, {i})",
    "I": "{name} = integers(operand[{i}])",
    "F": "{name} = address(operand[{i}])",
}
_NAMES = [item.split() for item in _OPERANDS.replace("\n", " ").split(",")]
TOLD = len(_NAMES)  # behind them: whether histories had room, the number of results, and of steps
_HEAD = "".join(
    f"    {_READ[kind].format(name=name, i=i)}\n" for i, (kind, name) in enumerate(_NAMES)
)

# The history of a word behind another one: looked up, or made.
_NUMBERED = f"""w = word[p]
k = (h * 1000003 + w * 7919) & mask
k = (k ^ (k >> 7)) & mask
while table[k] > 0 and (before[table[k]] != h or last[table[k]] != w):
    k = (k + 1) & mask
if table[k] == 0:
    if histories == capacity:
        operand[{TOLD}] = 1
        return
    before[histories] = h
    last[histories] = w
    stamp[histories] = 0
    table[k] = histories
    histories += 1
h = table[k]
"""

# Words that end before step t, each history once. In a loop the best few of them are enough, and no
# other history is made.
_ENDS = (
    """ends = 0
if t == 0 and (quiet == 0 or optional):
    end_value[0] = chance
    end_past[0] = 0
    stamp[0] = 1
    slot[0] = 0
    ends = 1
if t == steps:
    threshold = impossible
got = 0
for i in range(count):
    p = active[i]
    for way in range(2):
        s, more = first[p] + spoken[p] - 1, chance
        open = spoken[p] > 0 and (quiet == 0 or optional)
        if way == 1:
            s, more = first[p + 1] - 1, 0.0
            open = quiet > 0
        if open and low[p] <= s and s < high[p]:
            for i_token in range(keep):
                v = token[s * keep + i_token] + left[place[s]] + more
                if v <= threshold or (got == keep and v <= result[keep - 1]):
                    break
                h = past[s * keep + i_token]
                if spoken[p] > 0:
"""
    + _lines(20, _NUMBERED)
    + """                if stamp[h] == t + 1:
                    end_value[slot[h]] = max(end_value[slot[h]], v)
                else:
                    stamp[h] = t + 1
                    slot[h] = ends
                    end_value[ends] = v
                    end_past[ends] = h
                    ends += 1
                if bigram == 0 and (t < steps or h > 0):
                    for k in range(got):
                        if result_past[k] == h:
                            v = max(v, result[k])
                            for q in range(k, got - 1):
                                result[q] = result[q + 1]
                                result_past[q] = result_past[q + 1]
                            got -= 1
                            break
"""
    + _lines(20, _insert("result", "result_past", "0", "got", "v", "h"))
)

_FINISH = (
    """if t == steps:
    got = 0
    for i in range(ends):
        h = end_past[i]
        v = end_value[i] + ending[last[h]]
        if h > 0 and v > impossible:
"""
    + _lines(12, _insert("result", "result_past", "0", "got", "v", "h"))
    + f"""    operand[{TOLD} + 1] = got
    operand[{TOLD} + 2] = total
    return
"""
)

# The best few that come into each word (into any, of a loop, at 0).
_ENTER = (
    """for w in range(words):
    entering[w] = 0
entering[words] = 0
if t == 0 and quiet > 0:
    entering[words] = 1
    enter[words * keep] = 0.0
    enter_past[words * keep] = 0
if bigram == 0:
    got = 0
    for i in range(ends):
        v, h = end_value[i], end_past[i]
"""
    + _lines(8, _insert("enter", "enter_past", "0", "got", "v", "h"))
    + """    entering[0] = got
else:
    for i in range(ends):
        h = end_past[i]
        key[i] = end_value[i] + backoff[last[h]]
        order[i] = i
        for k in range(named[last[h]], named[last[h] + 1]):
            w = follow[k]
            v = end_value[i] + likely[k]
            if v > threshold:
                got, at = entering[w], w * keep
"""
    + _lines(16, _insert("enter", "enter_past", "at", "got", "v", "h"))
    + """                entering[w] = got
    gap = ends // 2
    while gap > 0:
        for i in range(gap, ends):
            o = order[i]
            j = i
            while j >= gap and key[order[j - gap]] < key[o]:
                order[j] = order[j - gap]
                j -= gap
            order[j] = o
        gap = gap // 2
    for w in range(words):
        got, at = entering[w], w * keep
        for q in range(ends):
            h = end_past[order[q]]
            v = key[order[q]] + unigram[w]
            if v <= threshold or (got == keep and v <= enter[at + keep - 1]):
                break
            least, most = named[last[h]], named[last[h] + 1]
            while least < most:
                m = (least + most) // 2
                if follow[m] < w:
                    least = m + 1
                else:
                    most = m
            if least == named[last[h] + 1] or follow[least] != w:
"""
    + _lines(16, _insert("enter", "enter_past", "at", "got", "v", "h"))
    + """        entering[w] = got
"""
)

# One step of all positions of a row, the last first, in place.
_STEP = """top = never
for i in range(count):
    p = active[i]
    w = word[p]
    c, more = w, prior[p]
    if bigram == 0 and w < words:
        c, more = 0, prior[p] + unigram[w]
    bottom = low[p]
    if entering[c] > 0:
        bottom = first[p]
    above = min(high[p] + reach, first[p + 1])
    low[p] = bottom
    high[p] = above
    total += above - bottom
    for back in range(above - bottom):
        s = above - 1 - back
        stays = held[place[s]]
        leaves, jumps = 0.0, never
        x, y, z = s * keep, (s - 1) * keep, (s - reach) * keep
        i_own, i_one, i_two = 0, 0, 0
        of_one, of_two = keep, 0
        if s == first[p]:
            leaves = more
            of_one = entering[c]
            y = c * keep
        else:
            leaves = left[place[s - 1]]
            if spoken[p] > 0 and s == first[p] + spoken[p]:
                leaves += chance
            if reach > 1 and s >= first[p] + reach:
                jumps = jump[place[s - reach]]
                of_two = keep
        e = scores[t * states + row[place[s]]]
        if keep == 1:
            v, h = token[s] + stays, past[s]
            if of_one > 0:
                if s == first[p]:
                    b, g = enter[y] + leaves, enter_past[y]
                else:
                    b, g = token[y] + leaves, past[y]
                if b > v:
                    v, h = b, g
            if of_two > 0 and token[z] + jumps > v:
                v, h = token[z] + jumps, past[z]
            token[s] = never
            if v > impossible:
                token[s] = v + e
                past[s] = h
                top = max(top, v + e)
        else:
            got = 0
            while got < keep:
                a, b, d = never, never, never
                if i_own < keep:
                    a = token[x + i_own] + stays
                if i_one < of_one:
                    if s == first[p]:
                        b = enter[y + i_one] + leaves
                    else:
                        b = token[y + i_one] + leaves
                if i_two < of_two:
                    d = token[z + i_two] + jumps
                v = max(a, max(b, d))
                if v < impossible:
                    break
                if v == a:
                    h = past[x + i_own]
                    i_own += 1
                elif v == b:
                    if s == first[p]:
                        h = enter_past[y + i_one]
                    else:
                        h = past[y + i_one]
                    i_one += 1
                else:
                    h = past[z + i_two]
                    i_two += 1
                new = 1
                for j in range(got):
                    if fresh_past[j] == h:
                        new = 0
                if new == 1:
                    fresh[got] = v
                    fresh_past[got] = h
                    got += 1
            for j in range(got):
                token[x + j] = fresh[j] + e
                past[x + j] = fresh_past[j]
            for j in range(got, keep):
                token[x + j] = never
            if got > 0:
                top = max(top, token[x])
"""

# Rows that were not active begin where what comes in is likely enough beside the others.
_BEGIN = """for p in range(chains):
    if marked[p] == 0:
        w = word[p]
        c, more = w, prior[p] + scores[t * states + row[place[first[p]]]]
        if bigram == 0 and w < words:
            c, more = 0, more + unigram[w]
        if entering[c] > 0 and enter[c * keep] + more >= top - beam:
            top = max(top, enter[c * keep] + more)
            s = first[p]
            for j in range(keep):
                if j < entering[c]:
                    token[s * keep + j] = enter[c * keep + j] + more
                    past[s * keep + j] = enter_past[c * keep + j]
                else:
                    token[s * keep + j] = never
            marked[p] = 1
            low[p] = s
            high[p] = s + 1
            active[count] = p
            count += 1
            total += 1
"""

_PRUNE = """threshold = max(top - beam, impossible)
kept = 0
for i in range(count):
    p = active[i]
    bottom, above = first[p + 1], first[p]
    for s in range(low[p], high[p]):
        for j in range(keep):
            if token[s * keep + j] < threshold:
                token[s * keep + j] = never
        if token[s * keep] > impossible:
            bottom = min(bottom, s)
            above = s + 1
    low[p] = bottom
    high[p] = above
    if above > bottom:
        active[kept] = p
        kept += 1
    else:
        marked[p] = 0
count = kept
"""

SEARCH = Kernel(
    "string_search",
    f"""def kernel(activation, parameter, gradient, operand):
{_HEAD}    never, impossible = {NEVER!r}, {IMPOSSIBLE!r}
    count, histories, threshold, total = 0, 1, impossible, 0
    last[0] = words
    for t in range(steps + 1):
"""
    + _lines(8, _ENDS + _FINISH + _ENTER + _STEP + _BEGIN + _PRUNE),
)
