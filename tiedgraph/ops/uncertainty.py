"""The weight of a task's loss, learned from its noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tiedgraph.ir.graph import Init
from tiedgraph.ir.types import Type
from tiedgraph.ops.rules import Array, Emitter, Kernel, Op, ParamSpec, bits


@dataclass(frozen=True)
class Uncertainty:
    """half: for squared errors, whose likelihood has the factor 1/2."""

    half: bool = False

    @property
    def factor(self) -> float:
        return 0.5 if self.half else 1.0


# y = factor * exp(-s) * x + s / 2; backwards dx = factor * exp(-s) * g and, into s,
# g * (1/2 - factor * exp(-s) * x).
UNCERTAINTY = Kernel(
    "uncertainty",
    """def kernel(activation, parameter, gradient, operand):
    x, y, s = operand[0], operand[1], broadcast(parameter[operand[2]])
    weight = exp(-s) * number(operand, 3)
    store(activation, y, weight * load(activation, x) + 0.5 * s)
""",
)

BACKWARD = Kernel(
    "uncertainty_backward",
    """def kernel(activation, parameter, gradient, operand):
    x, g, s = operand[0], load(activation, operand[1]), broadcast(parameter[operand[2]])
    weight = exp(-s) * number(operand, 3)
    if operand[4]:
        v = g * weight
        if operand[6]:
            v = v + load(activation, operand[5])
        store(activation, operand[5], v)
    if operand[7]:
        gradient[operand[2]] += sum_lanes(g * (0.5 - weight * load(activation, x)))
""",
)


def _forward(attrs: Uncertainty, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    s = params[0].reshape(())
    return np.asarray(attrs.factor * np.exp(-s) * inputs[0] + 0.5 * s)


def _backward(
    attrs: Uncertainty, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    weight = attrs.factor * np.exp(-params[0].reshape(()))
    of_s = np.asarray(grad * (0.5 - weight * inputs[0])).reshape(params[0].shape)
    return [np.asarray(grad * weight)], [of_s]


def _emit(emitter: Emitter) -> None:
    emitter.call(
        UNCERTAINTY,
        emitter.input(0).offset,
        emitter.output().offset,
        emitter.param(0).offset,
        bits(emitter.attrs.factor),
    )


def _emit_backward(emitter: Emitter) -> None:
    wanted = emitter.grad_input(0)
    param = emitter.param(0)
    emitter.call(
        BACKWARD,
        emitter.input(0).offset,
        emitter.grad_output().offset,
        param.offset,
        bits(emitter.attrs.factor),
        int(wanted is not None),
        wanted[0].offset if wanted is not None else 0,
        int(wanted is not None and wanted[1]),
        int(param.trainable),
    )


LEARNED_WEIGHT = Op(
    name="uncertainty",
    doc="""A loss divided by a variance that is learned with it: y = exp(-s) x + s / 2.

    s is the logarithm of the variance of the task's noise, which starts at 0; squared errors have
    exp(-s) / 2 in place of exp(-s). Kendall, Gal and Cipolla, Multi-task learning using uncertainty
    to weigh losses for scene geometry and semantics, CVPR 2018, equations 7 and 10.""",
    category="internal",
    inputs=("x",),
    Attrs=Uncertainty,
    shape=lambda attrs, types: Type("float", ()),
    params=lambda attrs, types: (ParamSpec("log_variance", (1,), Init("zeros")),),
    forward=_forward,
    backward=_backward,
    saves=frozenset({"inputs"}),
    emit=_emit,
    emit_backward=_emit_backward,
)
