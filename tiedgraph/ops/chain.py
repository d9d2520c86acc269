"""What is asked of a chain of states: how likely its words are, and which is the best.

Chains are told of in `tiedgraph.ops.lattice`, kernels in `tiedgraph.ops.chain_kernels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from tiedgraph.ir.types import Extent, Type
from tiedgraph.ops.chain_kernels import CLEAR, GATHER, MINUS, PATHS, SLOPE, SUM, room, sum_room
from tiedgraph.ops.lattice import NEVER, Chains, add_word_slopes, word_sum
from tiedgraph.ops.odds import ODDS
from tiedgraph.ops.rules import Array, Emitter, Implicit, Kernel, Op, OpError, bits
from tiedgraph.ops.steps import ONE_NUMBER, scalar

KEPT = 4  # variants of a word whose sums are kept for the way back
STATISTICS = "moves"  # name of the statistic: for each of the log odds how often it was yes and no


def _settle(attrs: Chains, types: Sequence[Type]) -> Chains:
    return replace(attrs, timed=bool(types[0].symbols))


def _check(name: str, attrs: Chains, types: Sequence[Type]) -> None:
    scores, odds = types[:2]
    if len(scores.shape) != 2 or not isinstance(scores.shape[0], int):
        raise OpError(
            "E0301", f"{name} takes scores float[states, time], but these are {scores}", argument=0
        )
    needed = attrs.moves if attrs.skips else scores.shape[0]
    if odds.shape != (needed,) or (attrs.skips and len(attrs.skips) != scores.shape[0]):
        raise OpError(
            "E0301",
            f"there are scores of {scores.shape[0]} states, but {odds} of moving on from one",
            argument=1,
        )


def _implicit(attrs: Chains, types: Sequence[Type]) -> tuple[Implicit, ...]:
    size = types[0].shape[1]
    return (Implicit("lengths", (size,)),) if isinstance(size, Extent) else ()


# ---------------------------------------------------------------- the oracle


def _scores(attrs: Chains, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    found = np.array([word_sum(attrs, inputs, word) for word in range(attrs.words)])
    return np.asarray(np.maximum(found, NEVER))


def _scores_backward(
    attrs: Chains, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    slopes = [np.zeros_like(inputs[0]), np.zeros_like(inputs[1])]
    for word in range(attrs.words):
        add_word_slopes(attrs, inputs, word, grad[word], slopes)
    return [*slopes, *[None] * (len(inputs) - 2)], []


def _loss(attrs: Chains, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    return scalar(-word_sum(attrs, inputs, int(inputs[2])))


def _loss_backward(
    attrs: Chains, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    slopes = [np.zeros_like(inputs[0]), np.zeros_like(inputs[1])]
    add_word_slopes(attrs, inputs, int(inputs[2]), -float(grad), slopes)
    return [*slopes, *[None] * (len(inputs) - 2)], []


# ---------------------------------------------------------------- tables


@lru_cache(256)
def tables(attrs: Chains) -> tuple[Array, Array]:
    """What kernels read; kept here, since tapes hold their addresses.

    Of each pronunciation a row of its number of states, the bits of its prior, its states, and
    where their odds of skipping stand; and for each word the rows of its pronunciations
    [words, variants], -1 where there are no more.
    """
    rows = np.zeros((len(attrs.states), 2 + 2 * attrs.longest), np.int64)
    variants = np.full((attrs.words, attrs.variants), -1, np.int64)
    for i, (states, word, prior) in enumerate(
        zip(attrs.states, attrs.word, attrs.prior, strict=True)
    ):
        rows[i, 0], rows[i, 1] = len(states), bits(prior)
        rows[i, 2 : 2 + len(states)] = states
        rows[i, 2 + attrs.longest : 2 + attrs.longest + len(states)] = attrs.skips_of(i)
        variants[word, np.flatnonzero(variants[word] < 0)[0]] = i
    return rows, variants


# ---------------------------------------------------------------- rows of the tape


def _operands(emitter: Emitter, which: int, label: int, place: int) -> list[int]:
    attrs: Chains = emitter.attrs
    scores, odds = emitter.input(0), emitter.input(1)
    rows, variants = tables(attrs)
    inputs = 2 + (label >= 0)
    long = emitter.input(inputs).offset if attrs.timed else -1
    return [
        scores.offset, odds.offset, label, which, rows.ctypes.data, variants.ctypes.data,
        attrs.words, attrs.variants, scores.shape[1], attrs.longest, attrs.loose, attrs.over, long,
        place,
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
    return 1 + (attrs.variants * room(attrs, steps) if attrs.variants <= KEPT else 0)


def _rooms(emitter: Emitter) -> list[int]:
    """Where the rooms of the variants are kept."""
    attrs: Chains = emitter.attrs
    size = room(attrs, emitter.input(0).shape[1])
    first = emitter.kept().offset + emitter.lanes
    return [first + i * size * emitter.lanes for i in range(attrs.variants)]


def _sums(emitter: Emitter, total: int) -> None:
    spare = emitter.scratch(sum_room(emitter.attrs)).offset
    for which, place, more in _runs(emitter, -1, total):
        emitter.call(SUM, *_operands(emitter, which, -1, spare), place, int(more))


def _slopes(emitter: Emitter, label: int, total: int, sign: int) -> None:
    scores, attrs = emitter.input(0), emitter.attrs
    keeps = label >= 0 and attrs.variants <= KEPT
    places = []
    for i in range(2):
        wanted = emitter.grad_input(i)
        if wanted is not None and not wanted[1]:
            emitter.call(CLEAR, wanted[0].offset, wanted[0].elements)
        places.append(wanted[0].offset if wanted is not None else -1)
    size = 0 if keeps else room(attrs, scores.shape[1])
    spare = emitter.scratch(size + 1).offset
    last = spare + size * emitter.lanes
    moves = emitter.statistic(STATISTICS, 2 * emitter.input(1).shape[0])
    given = emitter.grad_output().offset
    for which, place, _ in _runs(emitter, label, total):
        operands = _operands(emitter, which, label, _rooms(emitter)[which] if keeps else spare)
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
    spare = 0 if few else emitter.scratch(room(emitter.attrs, emitter.input(0).shape[1])).offset
    for which, place, more in _runs(emitter, label, total):
        operands = _operands(emitter, which, label, _rooms(emitter)[which] if few else spare)
        emitter.call(GATHER, *operands)
        emitter.call(PATHS, *operands, place, int(more))
    emitter.call(MINUS, total, emitter.output().offset)


def _emit_loss_backward(emitter: Emitter) -> None:
    _slopes(emitter, emitter.input(2).offset, emitter.kept().offset, -1)


def _scores_shape(attrs: Chains, types: Sequence[Type]) -> Type:
    _check("a chain", attrs, types)
    return Type("float", (attrs.words,))


def _loss_shape(attrs: Chains, types: Sequence[Type]) -> Type:
    _check("likelihood", attrs, types)
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
    Inputs: scores float[states, time], log odds of staying in each state float[states], and behind
    them those of skipping the next one where that may be. Output float[words].""",
    category="internal",
    inputs=("scores", "odds"),
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
    inputs=("scores", "odds", "label"),
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

CHAINS = (WORD_SCORES, LIKELIHOOD, *ODDS, BEST)
