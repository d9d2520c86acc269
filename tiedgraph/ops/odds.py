"""Log odds of the moves from state to state, parameters of a unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tiedgraph.ir.graph import Init
from tiedgraph.ir.types import Type
from tiedgraph.ops.rules import Emitter, Kernel, Op, ParamSpec, hidden, setting

SKIPPING = -2.0  # where log odds of skipping begin: about one time in eight


@dataclass(frozen=True)
class Stay:
    states: int = setting("size", doc="how many there are")


@dataclass(frozen=True)
class Odds:
    """sizes: how many each unit has."""

    sizes: tuple[int, ...] = hidden(())


# Operands: where the values lie; 1 on the way back; of how many parameters; and of each offset,
# stride, size, and whether it learns.
COPY = Kernel(
    "odds",
    """def kernel(activation, parameter, gradient, operand):
    place, back = operand[0], operand[1]
    for k in range(operand[2]):
        at = 3 + 4 * k
        for i in range(operand[at + 2]):
            own = operand[at] + i * operand[at + 1]
            if back == 0:
                store(activation, place, broadcast(parameter[own]))
            elif operand[at + 3]:
                gradient[own] += sum_lanes(load(activation, place))
            place += LANES
""",
)


def _emit(emitter: Emitter, count: int, place: int, back: bool) -> None:
    rows: list[int] = []
    for k in range(count):
        odds = emitter.param(k)
        rows += [odds.offset, odds.strides[0], odds.shape[0], odds.trainable]
    emitter.call(COPY, place, int(back), count, *rows)


def _op(name: str, start: float, doc: str) -> Op:
    init = Init("constant", (start,)) if start else Init("zeros")
    return Op(
        name=name,
        doc=doc,
        category="internal",
        inputs=(),
        Attrs=Stay,
        shape=lambda attrs, types: Type("float", (attrs.states,)),
        params=lambda attrs, types: (ParamSpec(name, (attrs.states,), init),),
        forward=lambda attrs, inputs, params: np.asarray(params[0]),
        backward=lambda attrs, inputs, params, output, grad: ([], [grad]),
        emit=lambda emitter: _emit(emitter, 1, emitter.output().offset, False),
        emit_backward=lambda emitter: _emit(emitter, 1, emitter.grad_output().offset, True),
        flops=lambda attrs, inputs, output: 0,
    )


STAY = _op(
    "stay",
    0.0,
    """The log odds of staying in each state of a unit, a parameter: p = sigmoid(stay).""",
)
SKIP = _op(
    "skip",
    SKIPPING,
    """The log odds of leaving a state over the next one, of all times it is left, a parameter.

    Of each state of a unit but the last two.""",
)
JOINED = Op(
    name="odds",
    doc="""Several `stay` and `skip`, one below the other; the pass `join` makes it.""",
    category="internal",
    inputs=(),
    Attrs=Odds,
    shape=lambda attrs, types: Type("float", (sum(attrs.sizes),)),
    params=lambda attrs, types: tuple(ParamSpec("stay", (size,)) for size in attrs.sizes),
    forward=lambda attrs, inputs, params: np.concatenate(params),
    backward=lambda attrs, inputs, params, output, grad: (
        [],
        np.split(grad, np.cumsum(attrs.sizes)[:-1]),
    ),
    emit=lambda emitter: _emit(emitter, len(emitter.attrs.sizes), emitter.output().offset, False),
    emit_backward=lambda emitter: _emit(
        emitter, len(emitter.attrs.sizes), emitter.grad_output().offset, True
    ),
    flops=lambda attrs, inputs, output: 0,
)
ODDS = (STAY, SKIP, JOINED)
