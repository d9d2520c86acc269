"""Log odds of the moves from state to state, parameters of a unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tiedgraph.ir.graph import Init
from tiedgraph.ir.types import Type
from tiedgraph.ops.rules import Emitter, Kernel, Op, ParamSpec, setting

SKIPPING = -2.0  # where log odds of skipping begin: about one time in eight


@dataclass(frozen=True)
class Stay:
    states: int = setting("size", doc="how many there are")


COPY = Kernel(
    "odds",
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
    odds = emitter.param(0)
    if odds.trainable or not back:
        emitter.call(COPY, odds.offset, odds.strides[0], odds.shape[0], place, int(back))


def _op(name: str, start: float, doc: str) -> Op:
    return Op(
        name=name,
        doc=doc,
        category="internal",
        inputs=(),
        Attrs=Stay,
        shape=lambda attrs, types: Type("float", (attrs.states,)),
        params=lambda attrs, types: (
            ParamSpec(
                name, (attrs.states,), Init("constant", (start,)) if start else Init("zeros")
            ),
        ),
        forward=lambda attrs, inputs, params: np.asarray(params[0]),
        backward=lambda attrs, inputs, params, output, grad: ([], [grad]),
        emit=lambda emitter: _copy(emitter, emitter.output().offset, False),
        emit_backward=lambda emitter: _copy(emitter, emitter.grad_output().offset, True),
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
ODDS = (STAY, SKIP)
