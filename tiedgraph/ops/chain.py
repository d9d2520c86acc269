"""Words as chains of states: the sum over all ways through a word's states.

At each step a state is held with probability p or left for the next one with 1 - p. All is in
logarithms; at each step the largest sum is taken off all, forwards and backwards the same, and
added at the end, so that single precision holds for long recordings. What cannot be is `NEVER`.

A chain may have states at both ends that are taken or left out, each with probability 1/2.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log

import numpy as np

from tiedgraph.ir.graph import Init
from tiedgraph.ir.types import Extent, Type
from tiedgraph.ops.rules import (
    Array,
    Emitter,
    Implicit,
    Kernel,
    Op,
    OpError,
    ParamSpec,
    bits,
    hidden,
    setting,
)
from tiedgraph.ops.steps import ONE_NUMBER, scalar

NEVER = -1e30
HALF = log(0.5)
KEPT = 4  # variants of a word whose sums are kept for the way back
STATISTICS = "moves"  # name of the statistic: for each state how often it was held and left


@dataclass(frozen=True)
class Chains:
    """states: of each pronunciation in order, as rows of the scores; word: which word it is of.

    prior: log probability of a pronunciation among those of its word. loose: how many states at
    either end may be left out.
    """

    states: tuple[tuple[int, ...], ...] = hidden(())
    word: tuple[int, ...] = hidden(())
    prior: tuple[float, ...] = hidden(())
    words: int = hidden(0)
    loose: int = hidden(0)
    timed: bool = hidden(False)

    @property
    def longest(self) -> int:
        return max(map(len, self.states))

    @property
    def variants(self) -> int:
        """Pronunciations of the word that has most."""
        return int(np.bincount(self.word).max())


def _settle(attrs: Chains, types: Sequence[Type]) -> Chains:
    return replace(attrs, timed=bool(types[0].symbols))


def _check(name: str, types: Sequence[Type]) -> None:
    scores, stay = types[:2]
    if len(scores.shape) != 2 or not isinstance(scores.shape[0], int):
        raise OpError(
            "E0301", f"{name} takes scores float[states, time], but these are {scores}", argument=0
        )
    if stay.shape != (scores.shape[0],):
        raise OpError(
            "E0301",
            f"there are scores of {scores.shape[0]} states, but {stay} of staying in one",
            argument=1,
        )


def _implicit(attrs: Chains, types: Sequence[Type]) -> tuple[Implicit, ...]:
    size = types[0].shape[1]
    return (Implicit("lengths", (size,)),) if isinstance(size, Extent) else ()


# ---------------------------------------------------------------- the oracle


@dataclass(frozen=True)
class Lattice:
    """One pronunciation beside one recording.

    total: log probability; visits [time, positions]; held, left: expected moves [positions].
    """

    total: float
    visits: Array
    held: Array
    left: Array


def lattice(scores: Array, stay: Array, states: Sequence[int], loose: int) -> Lattice:
    """Forward and backward in logarithms (Rabiner 1989, equations 19 to 37).

    scores: [states, time], log density of each state at each step; stay: log odds of staying.
    """
    u = np.asarray(states)
    count, steps = len(u), scores.shape[1]
    e = scores[u].T
    held = -np.logaddexp(0, -stay[u])
    left = -np.logaddexp(0, stay[u])
    begin, end = np.full(count, -np.inf), np.full(count, -np.inf)
    begin[0], end[-1] = 0.0, left[-1]
    if loose:
        begin[[0, loose]] = HALF
        left[count - loose - 1] += HALF
        end[count - loose - 1] = left[count - loose - 1]
    to, rest = np.empty((steps, count)), np.empty((steps, count))
    to[0], rest[-1] = begin + e[0], end
    for t in range(1, steps):
        to[t] = to[t - 1] + held
        to[t, 1:] = np.logaddexp(to[t, 1:], to[t - 1, :-1] + left[:-1])
        to[t] += e[t]
    for t in reversed(range(steps - 1)):
        ahead = rest[t + 1] + e[t + 1]
        rest[t] = held + ahead
        rest[t, :-1] = np.logaddexp(rest[t, :-1], left[:-1] + ahead[1:])
    total = float(np.logaddexp.reduce(to[-1] + end))
    if not np.isfinite(total):
        nothing = np.zeros(count)
        return Lattice(-np.inf, np.zeros((steps, count)), nothing, nothing)
    stays, leaves = np.zeros(count), np.exp(to[-1] + end - total)
    for t in range(steps - 1):
        ahead = rest[t + 1] + e[t + 1] - total
        stays += np.exp(to[t] + held + ahead)
        leaves[:-1] += np.exp(to[t, :-1] + left[:-1] + ahead[1:])
    return Lattice(total, np.exp(to + rest - total), stays, leaves)


def _of_word(attrs: Chains, word: int) -> list[int]:
    return [i for i, found in enumerate(attrs.word) if found == word]


def _word(attrs: Chains, inputs: Sequence[Array], word: int) -> float:
    totals = [
        lattice(inputs[0], inputs[1], attrs.states[i], attrs.loose).total + attrs.prior[i]
        for i in _of_word(attrs, word)
    ]
    return float(np.logaddexp.reduce(totals))


def _word_slopes(
    attrs: Chains, inputs: Sequence[Array], word: int, grad: float, slopes: list[Array]
) -> None:
    """Adds the gradients of one word's log probability."""
    whole = _word(attrs, inputs, word)
    if not np.isfinite(whole):
        return
    for i in _of_word(attrs, word):
        states = attrs.states[i]
        found = lattice(inputs[0], inputs[1], states, attrs.loose)
        share = grad * np.exp(found.total + attrs.prior[i] - whole)
        p = 1 / (1 + np.exp(-inputs[1][list(states)]))
        np.add.at(slopes[0], list(states), share * found.visits.T)
        moves = found.held - p * (found.held + found.left)
        np.add.at(slopes[1], list(states), share * moves)


def _scores(attrs: Chains, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    found = np.array([_word(attrs, inputs, word) for word in range(attrs.words)])
    return np.asarray(np.maximum(found, NEVER))


def _scores_backward(
    attrs: Chains, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    slopes = [np.zeros_like(inputs[0]), np.zeros_like(inputs[1])]
    for word in range(attrs.words):
        _word_slopes(attrs, inputs, word, grad[word], slopes)
    return [*slopes, *[None] * (len(inputs) - 2)], []


def _loss(attrs: Chains, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    return scalar(-_word(attrs, inputs, int(inputs[2])))


def _loss_backward(
    attrs: Chains, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    slopes = [np.zeros_like(inputs[0]), np.zeros_like(inputs[1])]
    _word_slopes(attrs, inputs, int(inputs[2]), -float(grad), slopes)
    return [*slopes, *[None] * (len(inputs) - 2)], []


# ---------------------------------------------------------------- tables


@lru_cache(256)
def tables(attrs: Chains) -> tuple[Array, Array]:
    """What kernels read; kept here, since tapes hold their addresses.

    Of each pronunciation a row of its number of states, the bits of its prior, and its states; and
    for each word the rows of its pronunciations [words, variants], -1 where there are no more.
    """
    rows = np.zeros((len(attrs.states), 2 + attrs.longest), np.int64)
    variants = np.full((attrs.words, attrs.variants), -1, np.int64)
    for i, (states, word, prior) in enumerate(
        zip(attrs.states, attrs.word, attrs.prior, strict=True)
    ):
        rows[i, 0], rows[i, 1] = len(states), bits(prior)
        rows[i, 2 : 2 + len(states)] = states
        variants[word, np.flatnonzero(variants[word] < 0)[0]] = i
    return rows, variants


# ---------------------------------------------------------------- kernels

# Operands of all: the scores, log odds of staying, the label (-1: one pronunciation for all lanes),
# which variant of the label's word (or which pronunciation), both tables, words, variants, steps,
# longest, loose, lengths (-1: whole), and room, see `_room`.
_HEAD = f"""def kernel(activation, parameter, gradient, operand):
    x, odds, label, which = operand[0], operand[1], operand[2], operand[3]
    table, kinds = integers(operand[4]), integers(operand[5])
    words, variants = operand[6], operand[7]
    steps, longest, loose, long = operand[8], operand[9], operand[10], operand[11]
    row = longest * LANES
    own, to = operand[12], operand[12] + steps * row
    state = to + steps * row
    held, left = state + row, state + 2 * row
    ahead, stays, leaves = state + 3 * row, state + 4 * row, state + 5 * row
    count = state + 6 * row
    prior, shift = count + LANES, count + 2 * LANES
    whole, spare, peaks = count + 3 * LANES, count + 4 * LANES, count + 5 * LANES
    zero = broadcast(0.0)
    never = broadcast({NEVER!r})
    valid = broadcast(steps)
    if long >= 0:
        valid = load(activation, long)
    entries = 2 + longest
    store(activation, spare, valid)
    until = 1
    for lane in range(LANES):
        until = max(until, int(activation[spare + lane]))
"""

# How many positions the longest chain of this tile has.
_REACH = """    reach = 1
    for lane in range(LANES):
        reach = max(reach, int(activation[count + lane]))
"""


def _room(attrs: Chains, steps: int) -> int:
    return (2 * steps + 6) * attrs.longest + 6 + steps


_ADD = """most = maximum(v, w)
v = most + log(1.0 + exp(v + w - most - most))
"""


def _lines(indent: int, *parts: str) -> str:
    return "".join(textwrap.indent(part, " " * indent) for part in parts)


# Log probabilities of holding and leaving the state at position s, of log odds v in n positions.
_MOVES = f"""small = log(1.0 + exp(minimum(v, -v)))
store(activation, held + s * LANES, minimum(v, zero) - small)
v = minimum(-v, zero) - small
if loose > 0:
    v = select(n == s + loose + 1, v + {HALF!r}, v)
store(activation, left + s * LANES, v)
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
        n = 0
        activation[prior + lane] = {NEVER!r}
        if row_of >= 0:
            n = table[row_of * entries]
            activation[prior + lane] = number(table, row_of * entries + 1)
        activation[count + lane] = n
        for s in range(longest):
            u = 0
            if s < n:
                u = table[row_of * entries + 2 + s]
            activation[state + s * LANES + lane] = u
            activation[held + s * LANES + lane] = activation[odds + u * LANES + lane]
    n = load(activation, count)
"""
    + _REACH
    + """    for s in range(reach):
        v = load(activation, held + s * LANES)
"""
    + _lines(8, _MOVES)
    + """    for t in range(until):
        for s in range(reach):
            at = own + t * row + s * LANES
            if label >= 0:
                for lane in range(LANES):
                    u = int(activation[state + s * LANES + lane])
                    activation[at + lane] = activation[x + (u * steps + t) * LANES + lane]
                v = select(n > s, load(activation, at), never)
            else:
                u = table[which * entries + 2 + s]
                v = load(activation, x + (u * steps + t) * LANES)
            store(activation, at, v)
""",
)

# The sum over all ways; it goes to operand 13, added to what is there unless operand 14 is 0.
# The largest of the step before is taken off each step, forwards here and backwards in SLOPE.
PATHS = Kernel(
    "chain_paths",
    _HEAD
    + _REACH
    + f"""    total, part, top, peak = zero, zero, never, zero
    for s in range(reach):
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
        if t > 0:
            top = never
            for s in range(reach):
                w = before
                v = load(activation, past + s * LANES)
                before = v + load(activation, left + s * LANES)
                v = v + load(activation, held + s * LANES)
"""
    + _lines(16, _ADD)
    + f"""                v = v + (load(activation, own + t * row + s * LANES) - peak)
                v = maximum(v, never)
                store(activation, now + s * LANES, v)
                top = maximum(top, v)
        peak = select(top > {NEVER / 10!r}, top, zero)
    store(activation, shift, total + part)
    for lane in range(LANES):
        t = max(int(activation[spare + lane]) - 1, 0)
        n = max(int(activation[count + lane]), 1)
        s = (n - 1) * LANES + lane
        activation[spare + lane] = activation[to + t * row + s] + activation[left + s]
        activation[whole + lane] = {NEVER!r}
        if loose > 0 and n > loose:
            s = s - loose * LANES
            activation[whole + lane] = activation[to + t * row + s] + activation[left + s]
    v = load(activation, spare)
    w = load(activation, whole)
"""
    + _lines(4, _ADD)
    + """    v = maximum(v, never)
    store(activation, whole, v)
    v = maximum(v + load(activation, shift) + load(activation, prior), never)
    store(activation, prior, v)
    w = never
    if operand[14]:
        w = load(activation, operand[13])
"""
    + _lines(4, _ADD)
    + """    store(activation, operand[13], v)
""",
)

# The same for one pronunciation of all lanes, which keeps nothing: positions from the last to the
# first, in place.
SUM = Kernel(
    "chain_sum",
    _HEAD
    + """    at = which * entries
    positions = table[at]
    n = broadcast(positions)
    for s in range(positions):
        v = load(activation, odds + table[at + 2 + s] * LANES)
"""
    + _lines(8, _MOVES)
    + f"""        store(activation, to + s * LANES, never)
    total, part, top, ended = zero, zero, zero, never
    for t in range(until):
        peak = select(top > {NEVER / 10!r}, top, zero)
        part = select(valid > t, part + peak, part)
        if t % 64 == 63:
            total = total + part
            part = zero
        top = never
        for back in range(positions):
            s = positions - 1 - back
            e = load(activation, x + (table[at + 2 + s] * steps + t) * LANES) - peak
            if t == 0:
                v = never
                if s == 0 or (loose > 0 and s == loose):
                    v = e
                    if loose > 0:
                        v = v + {HALF!r}
            else:
                v = load(activation, to + s * LANES) + load(activation, held + s * LANES)
                if s > 0:
                    w = load(activation, to + (s - 1) * LANES)
                    w = w + load(activation, left + (s - 1) * LANES)
"""
    + _lines(20, _ADD)
    + """                v = maximum(v + e, never)
            store(activation, to + s * LANES, v)
            top = maximum(top, v)
        if t + 1 == until or long >= 0:
            s = positions - 1
            v = load(activation, to + s * LANES) + load(activation, left + s * LANES)
            if loose > 0:
                s = s - loose
                w = load(activation, to + s * LANES) + load(activation, left + s * LANES)
"""
    + _lines(16, _ADD)
    + """            ended = select(valid == t + 1, v, ended)
    v = ended + (total + part) + number(table, at + 1)
    v = maximum(v, never)
    if operand[14]:
        w = load(activation, operand[13])
"""
    + _lines(8, _ADD)
    + """    store(activation, operand[13], v)
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

# After GATHER and PATHS: the log probability of the word at operand 13, the gradient of the output
# at 15, its sign at 16; gradients of scores and of odds at 17 and 18 (-1: not wanted), statistics
# at 19. All is added.
SLOPE = Kernel(
    "chain_slope",
    _HEAD
    + _REACH
    + f"""    of_scores, of_odds, moves = operand[17], operand[18], operand[19]
    total = load(activation, operand[13])
    likely = load(activation, whole)
    possible = (total > {NEVER / 10!r}) & (likely > {NEVER / 10!r})
    likely = select(possible, likely, zero)
    share = load(activation, operand[15]) * operand[16]
    share = share * exp(minimum(load(activation, prior) - total, zero))
    share = select(possible, share, zero)
    n = load(activation, count)
    for s in range(reach):
        store(activation, ahead + s * LANES, never)
        store(activation, stays + s * LANES, zero)
        store(activation, leaves + s * LANES, zero)
    for back in range(until):
        t = until - 1 - back
        goes_on, ends = valid > t + 1, valid == t + 1
        peak = load(activation, peaks + t * LANES)
        for s in range(reach):
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
"""
    + _lines(12, _ADD)
    + """            v = v + (load(activation, own + t * row + at) - peak)
            store(activation, ahead + at, maximum(v, never))
            if of_scores >= 0:
                visits = share * (stay + leave)
                if label >= 0:
                    store(activation, spare, visits)
                    for lane in range(LANES):
                        u = int(activation[state + at + lane])
                        place = of_scores + (u * steps + t) * LANES + lane
                        activation[place] += activation[spare + lane]
                elif s < table[which * entries]:
                    u = table[which * entries + 2 + s]
                    place = of_scores + (u * steps + t) * LANES
                    store(activation, place, load(activation, place) + visits)
    for s in range(reach):
        at = s * LANES
        stay = share * load(activation, stays + at)
        leave = share * load(activation, leaves + at)
        store(activation, stays + at, stay)
        store(activation, leaves + at, leave)
        v = stay - exp(load(activation, held + at)) * (stay + leave)
        store(activation, spare, v)
        for lane in range(LANES):
            if s < int(activation[count + lane]):
                u = int(activation[state + at + lane])
                gradient[moves + 2 * u] += activation[stays + at + lane]
                gradient[moves + 2 * u + 1] += activation[leaves + at + lane]
                if of_odds >= 0:
                    activation[of_odds + u * LANES + lane] += activation[spare + lane]
""",
)


def _operands(emitter: Emitter, which: int, label: int, room: int) -> list[int]:
    attrs: Chains = emitter.attrs
    scores, stay = emitter.input(0), emitter.input(1)
    rows, variants = tables(attrs)
    inputs = 2 + (label >= 0)
    long = emitter.input(inputs).offset if attrs.timed else -1
    return [
        scores.offset, stay.offset, label, which, rows.ctypes.data, variants.ctypes.data,
        attrs.words, attrs.variants, scores.shape[1], attrs.longest, attrs.loose, long, room,
    ]  # fmt: skip


def _runs(emitter: Emitter, label: int, total: int) -> list[tuple[int, int, bool]]:
    """For each run over a chain: which it is, where its sum goes, and whether there is one yet."""
    attrs: Chains = emitter.attrs
    if label >= 0:
        return [(i, total, i > 0) for i in range(attrs.variants)]
    seen: set[int] = set()
    runs = []
    for i, word in enumerate(attrs.word):
        runs.append((i, total + word * emitter.lanes, word in seen))
        seen.add(word)
    return runs


def _kept(attrs: Chains, steps: int) -> int:
    """What `likelihood` keeps: the sum, and the room of each variant where these are few."""
    return 1 + (attrs.variants * _room(attrs, steps) if attrs.variants <= KEPT else 0)


def _rooms(emitter: Emitter) -> list[int]:
    """Where the rooms of the variants are kept."""
    attrs: Chains = emitter.attrs
    size = _room(attrs, emitter.input(0).shape[1])
    first = emitter.kept().offset + emitter.lanes
    return [first + i * size * emitter.lanes for i in range(attrs.variants)]


def _sums(emitter: Emitter, total: int) -> None:
    room = emitter.scratch(_room(emitter.attrs, emitter.input(0).shape[1])).offset
    for which, place, more in _runs(emitter, -1, total):
        emitter.call(SUM, *_operands(emitter, which, -1, room), place, int(more))


def _slopes(emitter: Emitter, label: int, total: int, sign: int) -> None:
    scores, attrs = emitter.input(0), emitter.attrs
    keeps = label >= 0 and attrs.variants <= KEPT
    places = []
    for i in range(2):
        wanted = emitter.grad_input(i)
        if wanted is not None and not wanted[1]:
            emitter.call(CLEAR, wanted[0].offset, wanted[0].elements)
        places.append(wanted[0].offset if wanted is not None else -1)
    size = 0 if keeps else _room(attrs, scores.shape[1])
    room = emitter.scratch(size + 1).offset
    last = room + size * emitter.lanes
    moves = emitter.statistic(STATISTICS, 2 * scores.shape[0])
    given = emitter.grad_output().offset
    for which, place, _ in _runs(emitter, label, total):
        operands = _operands(emitter, which, label, _rooms(emitter)[which] if keeps else room)
        if not keeps:
            emitter.call(GATHER, *operands)
            emitter.call(PATHS, *operands, last, 0)
        slope = given + (0 if label >= 0 else place - total)
        emitter.call(SLOPE, *operands, place, 0, slope, sign, *places, moves)


def _emit_scores(emitter: Emitter) -> None:
    _sums(emitter, emitter.output().offset)


def _emit_scores_backward(emitter: Emitter) -> None:
    _slopes(emitter, -1, emitter.output().offset, 1)


def _emit_loss(emitter: Emitter) -> None:
    total, label = emitter.kept().offset, emitter.input(2).offset
    few = emitter.attrs.variants <= KEPT
    spare = 0 if few else emitter.scratch(_room(emitter.attrs, emitter.input(0).shape[1])).offset
    for which, place, more in _runs(emitter, label, total):
        operands = _operands(emitter, which, label, _rooms(emitter)[which] if few else spare)
        emitter.call(GATHER, *operands)
        emitter.call(PATHS, *operands, place, int(more))
    emitter.call(MINUS, total, emitter.output().offset)


def _emit_loss_backward(emitter: Emitter) -> None:
    _slopes(emitter, emitter.input(2).offset, emitter.kept().offset, -1)


def _scores_shape(attrs: Chains, types: Sequence[Type]) -> Type:
    _check("a chain", types)
    return Type("float", (attrs.words,))


def _loss_shape(attrs: Chains, types: Sequence[Type]) -> Type:
    _check("likelihood", types)
    label = types[2]
    if label.shape or label.bound != attrs.words:
        raise OpError(
            "E0301",
            f"the chain has {attrs.words} words, but the target is {label}",
            hint='declare it with the chain\'s lexicon: target word: class from "words.dict"',
            argument=2,
        )
    return ONE_NUMBER


def _cells(attrs: Chains, steps: int, chains: int) -> int:
    return 20 * chains * attrs.longest * steps


WORD_SCORES = Op(
    name="word_scores",
    doc="""The log probability of the frames under each word, a chain of states.

    The sum over all ways through the states of a word's pronunciations, each weighted by its
    prior (Rabiner, A tutorial on hidden Markov models, 1989, equation 21).
    Inputs: scores float[states, time], log odds of staying in each state float[states]. Output
    float[words].""",
    category="internal",
    inputs=("scores", "stay"),
    Attrs=Chains,
    settle=_settle,
    shape=_scores_shape,
    implicit=_implicit,
    forward=_scores,
    backward=_scores_backward,
    saves=frozenset({"inputs", "output"}),
    emit=_emit_scores,
    emit_backward=_emit_scores_backward,
    flops=lambda attrs, inputs, output: _cells(attrs, inputs[0][1], len(attrs.states)),
)

LIKELIHOOD = Op(
    name="likelihood",
    doc="""Minus the log probability of the frames under the chain of their own word, summed over
    all ways through its states and over its pronunciations (Rabiner 1989, equation 21).

    A recording that is shorter than every way has an infinite loss.""",
    category="internal",
    inputs=("scores", "stay", "label"),
    kinds=(("float",), ("float",), ("class",)),
    Attrs=Chains,
    settle=_settle,
    shape=_loss_shape,
    implicit=_implicit,
    forward=_loss,
    backward=_loss_backward,
    saves=frozenset({"inputs"}),
    keeps=lambda attrs, inputs, output: _kept(attrs, inputs[0][1]),
    emit=_emit_loss,
    emit_backward=_emit_loss_backward,
    flops=lambda attrs, inputs, output: _cells(attrs, inputs[0][1], attrs.variants),
)


# ---------------------------------------------------------------- log odds of staying


@dataclass(frozen=True)
class Stay:
    states: int = setting("size", doc="how many there are")


COPY = Kernel(
    "stay",
    """def kernel(activation, parameter, gradient, operand):
    for i in range(operand[2]):
        at = operand[0] + i * operand[1]
        if operand[4]:
            gradient[at] += sum_lanes(load(activation, operand[3] + i * LANES))
        else:
            store(activation, operand[3] + i * LANES, broadcast(parameter[at]))
""",
)


def _copy(emitter: Emitter, place: int, back: bool) -> None:
    stay = emitter.param(0)
    if stay.trainable or not back:
        emitter.call(COPY, stay.offset, stay.strides[0], stay.shape[0], place, int(back))


STAY = Op(
    name="stay",
    doc="""The log odds of staying in each state of a unit, a parameter: p = sigmoid(stay).""",
    category="internal",
    inputs=(),
    Attrs=Stay,
    shape=lambda attrs, types: Type("float", (attrs.states,)),
    params=lambda attrs, types: (ParamSpec("stay", (attrs.states,), Init("zeros")),),
    forward=lambda attrs, inputs, params: np.asarray(params[0]),
    backward=lambda attrs, inputs, params, output, grad: ([], [grad]),
    emit=lambda emitter: _copy(emitter, emitter.output().offset, False),
    emit_backward=lambda emitter: _copy(emitter, emitter.grad_output().offset, True),
    flops=lambda attrs, inputs, output: 0,
)

# ---------------------------------------------------------------- the best word

LARGEST = Kernel(
    "chain_best",
    """def kernel(activation, parameter, gradient, operand):
    most = load(activation, operand[0])
    best = broadcast(0.0)
    for i in range(1, operand[2]):
        v = load(activation, operand[0] + i * LANES)
        best = select(v > most, broadcast(i), best)
        most = maximum(most, v)
    store(activation, operand[1], best)
""",
)


def _emit_best(emitter: Emitter) -> None:
    scores = emitter.input(0)
    emitter.call(LARGEST, scores.offset, emitter.output().offset, scores.elements)


def _emit_best_backward(emitter: Emitter) -> None:
    wanted = emitter.grad_input(0)
    if wanted is not None and not wanted[1]:
        emitter.call(CLEAR, wanted[0].offset, wanted[0].elements)


BEST = Op(
    name="best",
    doc="""The place of the largest of float[classes], the first of equal ones. Has no slope.""",
    category="internal",
    inputs=("scores",),
    shape=lambda attrs, types: ONE_NUMBER,
    forward=lambda attrs, inputs, params: scalar(float(np.argmax(inputs[0]))),
    backward=lambda attrs, inputs, params, output, grad: ([np.zeros_like(inputs[0])], []),
    emit=_emit_best,
    emit_backward=_emit_best_backward,
    flops=lambda attrs, inputs, output: inputs[0][0],
)

CHAINS = (WORD_SCORES, LIKELIHOOD, STAY, BEST)
