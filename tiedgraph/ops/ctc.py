"""Connectionist temporal classification: labels without their places in time.

Between and around the L labels stand blanks, 2 L + 1 *places* in all; a path goes through them, one
step of the input at a time, and may skip a blank between two labels that differ. All is in
logarithms; what cannot be is `NEVER`, which stays far below everything that can.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tiedgraph.ir.types import Extent, Type
from tiedgraph.ops.rules import Array, Emitter, Implicit, Kernel, Op, OpError, hidden
from tiedgraph.ops.steps import ONE_NUMBER, scalar

NEVER = -1e30


@dataclass(frozen=True)
class Ctc:
    """Which of the inputs, 0 and 1, have lengths of their own."""

    timed: tuple[bool, bool] = hidden((False, False))


def _settle(attrs: Ctc, types: Sequence[Type]) -> Ctc:
    scores, label = (bool(item.symbols) for item in types[:2])
    return replace(attrs, timed=(scores, label))


def _shape(attrs: Ctc, types: Sequence[Type]) -> Type:
    scores, label = types[:2]
    if len(scores.shape) != 2 or not isinstance(scores.shape[0], int):
        raise OpError(
            "E0301",
            f"ctc takes scores float[classes + 1, time], but these are {scores}",
            argument=0,
        )
    if len(label.shape) != 1:
        raise OpError(
            "E0301",
            f"ctc takes a sequence of labels, class[classes, labels], but the target is {label}",
            hint="a label for the whole sequence, or for each step, is for cross_entropy",
            argument=1,
        )
    if scores.shape[0] != label.bound + 1:
        raise OpError(
            "E0301",
            f"the scores have {scores.shape[0]} rows, but the labels are {label}: that is "
            f"{label.bound} classes and the blank",
            hint=f"give the last layer {label.bound + 1} channels; the last one is the blank",
            argument=0,
        )
    return ONE_NUMBER


def _implicit(attrs: Ctc, types: Sequence[Type]) -> tuple[Implicit, ...]:
    sizes = [item.shape[-1] for item in types[:2]]
    return tuple(Implicit("lengths", (size,)) for size in sizes if isinstance(size, Extent))


# ---------------------------------------------------------------- the oracle


def _log_softmax(scores: Array) -> Array:
    shifted = scores - scores.max(axis=0)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=0)))


def _lattice(scores: Array, label: Array) -> tuple[Array, Array, Array, Array]:
    """Log-softmax, the class of each place, and log sums of paths to and from [time, place]."""
    logs = _log_softmax(scores)
    places = np.full(2 * len(label) + 1, len(scores) - 1)
    places[1::2] = label.astype(int)
    count, steps = len(places), scores.shape[1]
    skips = np.zeros(count, bool)
    skips[2:] = (np.arange(2, count) % 2 == 1) & (places[2:] != places[:-2])
    to, rest = np.full((steps, count), -np.inf), np.full((steps, count), -np.inf)
    to[0, :2] = logs[places[:2], 0]
    rest[-1, -2:] = 0.0
    with np.errstate(invalid="ignore"):
        for t in range(1, steps):
            for s in range(count):
                ways = [to[t - 1, s], to[t - 1, s - 1] if s else -np.inf]
                ways.append(to[t - 1, s - 2] if skips[s] else -np.inf)
                to[t, s] = np.logaddexp.reduce(ways) + logs[places[s], t]
        for t in reversed(range(steps - 1)):
            ahead = rest[t + 1] + logs[places, t + 1]
            for s in range(count):
                ways = [ahead[s], ahead[s + 1] if s + 1 < count else -np.inf]
                ways.append(ahead[s + 2] if s + 2 < count and skips[s + 2] else -np.inf)
                rest[t, s] = np.logaddexp.reduce(ways)
    return logs, places, to, rest


def _forward(attrs: Ctc, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    _, _, to, _ = _lattice(inputs[0], inputs[1])
    return scalar(-np.logaddexp.reduce(to[-1, -2:]))


def _backward(
    attrs: Ctc, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    logs, places, to, rest = _lattice(inputs[0], inputs[1])
    total = np.logaddexp.reduce(to[-1, -2:])
    found: list[Array | None] = [None] * len(inputs)
    if not np.isfinite(total):
        found[0] = np.zeros_like(logs)
        return found, []
    slope = np.exp(logs)
    visits = np.exp(to + rest - total)
    for s, place in enumerate(places):
        slope[place] -= visits[:, s]
    found[0] = grad * slope
    return found, []


# ---------------------------------------------------------------- kernels

# Operands of all three: scores, label, steps, the blank's row, labels, lengths of both (-1: whole),
# and what is kept: at each step the labels' scores less the log of the sum [steps, labels], those
# of the blank [steps], the log of the sum [steps], and paths that lead to places [steps, places].
_HEAD = f"""def kernel(activation, parameter, gradient, operand):
    x, label, steps, blank, labels = operand[0], operand[1], operand[2], operand[3], operand[4]
    long, many = operand[5], operand[6]
    own, none, sums, to = operand[7], operand[8], operand[9], operand[10]
    zero = broadcast(0.0)
    never = broadcast({NEVER!r})
    row = steps * LANES
    places = 2 * labels + 1
    valid = broadcast(steps)
    if long >= 0:
        valid = load(activation, long)
    count = broadcast(labels)
    if many >= 0:
        count = load(activation, many)
"""

# What place s scores at step t.
_SCORE = """e = load(activation, none + t * LANES)
if s % 2 == 1:
    e = load(activation, own + (t * labels + s // 2) * LANES)
"""

# Adds w to v, both in logarithms.
_ADD = """most = maximum(v, w)
v = most + log(exp(v - most) + exp(w - most))
"""

# Whether the labels at the places s and s - 2 are the same, so that the blank must stand.
_SAME = """last = load(activation, label + (s // 2 - 1) * LANES)
same = load(activation, label + s // 2 * LANES) == last
"""


def _lines(indent: int, *parts: str) -> str:
    return "".join(textwrap.indent(part, " " * indent) for part in parts)


SCORES = Kernel(
    "ctc_scores",
    _HEAD
    + """    for t in range(steps):
        most = load(activation, x + t * LANES)
        for c in range(1, blank + 1):
            most = maximum(most, load(activation, x + c * row + t * LANES))
        sum = zero
        for c in range(blank + 1):
            sum = sum + exp(load(activation, x + c * row + t * LANES) - most)
        sum = most + log(sum)
        store(activation, sums + t * LANES, sum)
        store(activation, none + t * LANES, load(activation, x + blank * row + t * LANES) - sum)
        for j in range(labels):
            at = own + (t * labels + j) * LANES
            for lane in range(LANES):
                c = min(max(int(activation[label + j * LANES + lane]), 0), blank)
                activation[at + lane] = activation[x + c * row + t * LANES + lane]
            store(activation, at, load(activation, at) - sum)
""",
)

# The loss goes to operand 11, the log of the sum of all paths to 12, room for one more vector.
PATHS = Kernel(
    "ctc_paths",
    _HEAD
    + """    result, spare = operand[11], operand[12]
    t = 0
    for s in range(places):
"""
    + _lines(8, _SCORE)
    + """        if s > 1:
            e = never
        store(activation, to + s * LANES, e)
    for t in range(1, steps):
        now = to + t * places * LANES
        past = now - places * LANES
        for s in range(places):
            v = load(activation, past + s * LANES)
            if s > 0:
                w = load(activation, past + (s - 1) * LANES)
"""
    + _lines(16, _ADD)
    + """            if s > 1 and s % 2 == 1:
"""
    + _lines(16, _SAME)
    + """                w = select(same, never, load(activation, past + (s - 2) * LANES))
"""
    + _lines(16, _ADD)
    + _lines(12, _SCORE)
    + f"""            store(activation, now + s * LANES, v + e)
    store(activation, spare, valid)
    store(activation, spare + LANES, count)
    for lane in range(LANES):
        end = max(int(activation[spare + lane]) - 1, 0)
        n = int(activation[spare + LANES + lane])
        at = to + (end * places + 2 * n) * LANES + lane
        activation[spare + lane] = activation[at]
        activation[spare + LANES + lane] = activation[at - LANES] if n > 0 else {NEVER!r}
    v = load(activation, spare)
    w = load(activation, spare + LANES)
"""
    + _lines(4, _ADD)
    + f"""    store(activation, spare, v)
    store(activation, result, select(v > {NEVER / 10!r}, -v, 1.0 / zero))
""",
)

# The gradient of the loss at operand 11, the log of the sum of all paths at 12, then the gradient
# of the scores, whether to add to it, and room for two rows of places and a vector.
SLOPE = Kernel(
    "ctc_slope",
    _HEAD
    + f"""    given, total, target, add = operand[11], operand[12], operand[13], operand[14]
    ahead = operand[15]
    rest = ahead + places * LANES
    spare = rest + places * LANES
    whole = load(activation, total)
    possible = whole > {NEVER / 10!r}
    whole = select(possible, whole, zero)
    scale = select(possible, load(activation, given), zero)
    for s in range(places):
        v = select(count * 2.0 == s, zero, never)
        v = select(count * 2.0 == s + 1, zero, v)
        store(activation, rest + s * LANES, v)
        store(activation, ahead + s * LANES, never)
    for back in range(steps):
        t = steps - 1 - back
        inside = valid > t
        share = select(inside, scale, zero)
        sum = load(activation, sums + t * LANES)
        for c in range(blank + 1):
            at = target + c * row + t * LANES
            v = share * exp(load(activation, x + c * row + t * LANES) - sum)
            v = select(inside, v, zero)
            if add:
                v = v + load(activation, at)
            store(activation, at, v)
        goes_on = valid > t + 1
        if back > 0:
            for s in range(places):
                v = load(activation, ahead + s * LANES)
                if s + 1 < places:
                    w = load(activation, ahead + (s + 1) * LANES)
"""
    + _lines(20, _ADD)
    + """                if s + 2 < places and s % 2 == 1:
"""
    + _lines(20, _SAME.replace("s //", "(s + 2) //"))
    + """                    w = select(same, never, load(activation, ahead + (s + 2) * LANES))
"""
    + _lines(20, _ADD)
    + """                v = select(goes_on, v, load(activation, rest + s * LANES))
                store(activation, rest + s * LANES, v)
        for s in range(places):
            v = load(activation, rest + s * LANES)
            visits = exp(v + load(activation, to + (t * places + s) * LANES) - whole)
            visits = select(inside, visits * share, zero)
"""
    + _lines(12, _SCORE)
    + """            store(activation, ahead + s * LANES, v + e)
            if s % 2 == 0:
                at = target + blank * row + t * LANES
                store(activation, at, load(activation, at) - visits)
            else:
                store(activation, spare, visits)
                for lane in range(LANES):
                    c = min(max(int(activation[label + s // 2 * LANES + lane]), 0), blank)
                    at = target + c * row + t * LANES + lane
                    activation[at] -= activation[spare + lane]
""",
)


def _keeps(attrs: Ctc, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    steps, labels = inputs[0][1], inputs[1][0]
    return steps * (labels + 2 + 2 * labels + 1) + 2


def _common(emitter: Emitter) -> tuple[list[int], int]:
    """Operands of all kernels, and where the log of the sum of all paths is kept."""
    scores, label = emitter.input(0), emitter.input(1)
    (rows, steps), (labels,) = scores.shape, label.shape
    timed = emitter.attrs.timed
    long = emitter.input(2).offset if timed[0] else -1
    many = emitter.input(2 + timed[0]).offset if timed[1] else -1
    own = emitter.kept().offset
    none = own + steps * labels * emitter.lanes
    sums = none + steps * emitter.lanes
    to = sums + steps * emitter.lanes
    total = to + steps * (2 * labels + 1) * emitter.lanes
    head = [scores.offset, label.offset, steps, rows - 1, labels, long, many, own, none, sums, to]
    return head, total


def _emit(emitter: Emitter) -> None:
    head, total = _common(emitter)
    emitter.call(SCORES, *head)
    emitter.call(PATHS, *head, emitter.output().offset, total)


def _emit_backward(emitter: Emitter) -> None:
    wanted = emitter.grad_input(0)
    if wanted is None:
        return
    head, total = _common(emitter)
    spare = emitter.scratch(2 * (2 * head[4] + 1) + 1).offset
    given = emitter.grad_output().offset
    emitter.call(SLOPE, *head, given, total, wanted[0].offset, int(wanted[1]), spare)


CTC = Op(
    name="ctc",
    doc="""Connectionist temporal classification: -log of the probability that the scores' softmax,
    step by step, spells the labels, with blanks between them and every symbol held as long as it
    likes (Graves et al. 2006, equation 3 and following).

    Scores float[classes + 1, time], of which the last row is the blank; label class[classes,
    labels], a sequence that may be shorter than time. The loss of a sample is not divided by its
    labels; losses are averaged over the batch. Labels that do not fit into the steps (equal
    neighbours need a blank between them) have an infinite loss.""",
    category="loss",
    inputs=("scores", "label"),
    kinds=(("float",), ("class",)),
    Attrs=Ctc,
    settle=_settle,
    shape=_shape,
    implicit=_implicit,
    forward=_forward,
    backward=_backward,
    saves=frozenset({"inputs"}),
    keeps=_keeps,
    emit=_emit,
    emit_backward=_emit_backward,
    flops=lambda attrs, inputs, output: 30 * inputs[0][1] * (inputs[1][0] + inputs[0][0]),
)
