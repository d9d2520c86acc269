"""`rnn`, `gru` and `lstm`: the same parameters at every step of a sequence.

All three are one machine: at each step its inputs and the state before are multiplied, and a *cell*
makes the next state. What the cells made is kept for the way back, where the gradients of the
gates are collected, so that the parameters' gradients are products over many steps.

Beyond the last step of a sample its state stands still and no gradient flows. Read in reverse, a
sample so begins at its own last step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from tiedgraph.ir.graph import Init
from tiedgraph.ir.types import Extent, Type
from tiedgraph.ops.pointwise import sigmoid
from tiedgraph.ops.recurrent_rows import Cell, emit, emit_backward, keeps, steps_of
from tiedgraph.ops.rules import Array, Implicit, Op, OpError, ParamSpec, hidden, setting

_REVERSE = "whether the last step is read first"
_LAST = "whether only the state after all steps is the output"


@dataclass(frozen=True)
class Recurrent:
    units: int = setting("size", doc="size of the state")
    reverse: bool = setting("flag", False, doc=_REVERSE)
    last: bool = setting("flag", False, doc=_LAST)
    bias: bool = setting("flag", True, doc="whether biases are added")
    timed: bool = hidden(False)


@dataclass(frozen=True)
class Elman:
    units: int = setting("size", doc="size of the state")
    activation: str = setting("word", "tanh", words=("tanh", "relu"), doc="applied to the sum")
    reverse: bool = setting("flag", False, doc=_REVERSE)
    last: bool = setting("flag", False, doc=_LAST)
    bias: bool = setting("flag", True, doc="whether a bias is added")
    timed: bool = hidden(False)


Attrs = Recurrent | Elman


# ---------------------------------------------------------------- shapes


def settle(attrs: Attrs, types: Sequence[Type]) -> Attrs:
    """Notes whether samples have lengths of their own."""
    time = types[0].shape[-1:]
    return replace(attrs, timed=bool(time) and isinstance(time[0], Extent))


def shape(attrs: Attrs, types: Sequence[Type]) -> Type:
    (x,) = types
    if len(x.shape) != 2:
        raise OpError(
            "E0301", f"a recurrent layer takes float[channels, time], but this input is {x}",
            argument=0,
        )  # fmt: skip
    if isinstance(x.shape[0], Extent):
        raise OpError("E0304", f"its channels must be a fixed size, not {x.shape[0]}", argument=0)
    return Type("float", (attrs.units,) if attrs.last else (attrs.units, x.shape[1]))


def implicit(attrs: Attrs, types: Sequence[Type]) -> tuple[Implicit, ...]:
    time = types[0].shape[1]
    return (Implicit("lengths", (time,)),) if isinstance(time, Extent) else ()


def _params(cell: Cell) -> Callable[[Any, Sequence[Type]], tuple[ParamSpec, ...]]:
    def params(attrs: Attrs, types: Sequence[Type]) -> tuple[ParamSpec, ...]:
        channels, units = types[0].shape[0], attrs.units
        assert isinstance(channels, int)
        rows = cell.gates * units
        specs = [
            ParamSpec("weight", (rows, channels), fans=(channels, units)),
            ParamSpec("recurrent", (rows, units), fans=(units, units)),
        ]
        if attrs.bias:
            specs.append(ParamSpec("bias", (rows,), Init("zeros")))
        if attrs.bias and cell.apart:
            specs.append(ParamSpec("recurrent_bias", (cell.apart * units,), Init("zeros")))
        return tuple(specs)

    return params


# ---------------------------------------------------------------- the oracle


def _walk(cell: Cell, attrs: Attrs, x: Array, params: Sequence[Array]) -> list[tuple[Array, ...]]:
    """For each step, in the order they are made: state before, memory before, and all it made."""
    weight, recurrent, bias, own = _split(cell, attrs, params)
    cut = (cell.gates - cell.apart) * attrs.units
    state = memory = np.zeros(attrs.units, x.dtype)
    made: list[tuple[Array, ...]] = []
    for t in steps_of(attrs, x.shape[1]):
        gates = weight @ x[:, t] + bias
        gates[:cut] += recurrent[:cut] @ state
        apart = recurrent[cut:] @ state + own
        gates, after, memory_after = cell.step(attrs, gates, apart, state, memory)
        made.append((state, memory, gates, apart, after, memory_after))
        state, memory = after, memory_after
    return made


def _split(cell: Cell, attrs: Attrs, params: Sequence[Array]) -> tuple[Array, Array, Array, Array]:
    weight, recurrent = params[0], params[1]
    none = np.zeros(len(weight), weight.dtype)
    bias = params[2] if attrs.bias else none
    own = params[3] if attrs.bias and cell.apart else none[: cell.apart * attrs.units]
    return weight, recurrent, bias, own


def _forward(cell: Cell) -> Callable[[Any, Sequence[Array], Sequence[Array]], Array]:
    def forward(attrs: Attrs, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
        x = inputs[0]
        made = _walk(cell, attrs, x, params)
        states = np.zeros((attrs.units, x.shape[1]), x.dtype)
        for t, row in zip(steps_of(attrs, x.shape[1]), made, strict=True):
            states[:, t] = row[4]
        return np.asarray(made[-1][4]) if attrs.last else states

    return forward


def _backward(cell: Cell) -> Any:
    def backward(
        attrs: Attrs, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
    ) -> tuple[list[Array | None], list[Array | None]]:
        x = inputs[0]
        weight, recurrent, _, _ = _split(cell, attrs, params)
        cut = (cell.gates - cell.apart) * attrs.units
        grad_x, grad_weight = np.zeros_like(x), np.zeros_like(weight)
        grad_recurrent = np.zeros_like(recurrent)
        grad_bias, grad_own = np.zeros(len(weight)), np.zeros(len(weight) - cut)
        made = _walk(cell, attrs, x, params)
        d_state, d_memory = np.zeros(attrs.units), np.zeros(attrs.units)
        if attrs.last:
            d_state = d_state + grad
        steps = list(zip(steps_of(attrs, x.shape[1]), made, strict=True))
        for t, (state, memory, gates, apart, _, after) in reversed(steps):
            if not attrs.last:
                d_state = d_state + grad[:, t]
            d_gates, d_apart, d_state, d_memory = cell.back(
                attrs, gates, apart, state, after, memory, d_state, d_memory
            )
            through = np.concatenate([d_gates[:cut], d_apart])
            grad_x[:, t] = weight.T @ d_gates
            grad_weight += np.outer(d_gates, x[:, t])
            grad_recurrent += np.outer(through, state)
            grad_bias += d_gates
            grad_own += d_apart
            d_state = d_state + recurrent.T @ through
        grads: list[Array | None] = [grad_weight, grad_recurrent]
        if attrs.bias:
            grads += [grad_bias, grad_own] if cell.apart else [grad_bias]
        return [grad_x], grads

    return backward


def _flops(cell: Cell) -> Any:
    def flops(attrs: Attrs, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
        channels, steps = inputs[0]
        return 2 * cell.gates * attrs.units * (channels + attrs.units) * steps

    return flops


# ---------------------------------------------------------------- the three cells


def _elman(attrs: Any, gates: Array, apart: Array, h: Array, c: Array) -> Any:
    after = np.tanh(gates) if attrs.activation == "tanh" else np.maximum(gates, 0)
    return after, after, c


def _elman_back(
    attrs: Any, gates: Array, apart: Array, h: Array, c: Array, old: Array, dh: Array, dc: Array
) -> Any:
    slope = 1 - gates**2 if attrs.activation == "tanh" else (gates > 0) * 1.0
    return dh * slope, apart, np.zeros_like(dh), dc


def _elman_step_text(attrs: Any) -> tuple[str, ...]:
    value = "tanh(g0)" if attrs.activation == "tanh" else "maximum(g0, zero)"
    return (f"g0 = {value}", "h = g0")


def _elman_back_text(attrs: Any) -> tuple[str, ...]:
    if attrs.activation == "tanh":
        return ("d0 = dh * fma(-g0, g0, broadcast(1.0))", "dh = zero")
    return ("d0 = select(g0 > 0.0, dh, zero)", "dh = zero")


def _gru(attrs: Any, gates: Array, apart: Array, h: Array, c: Array) -> Any:
    r, z, n = np.split(gates, 3)
    r, z = sigmoid(r), sigmoid(z)
    n = np.tanh(n + r * apart)
    return np.concatenate([r, z, n]), (1 - z) * n + z * h, c


def _gru_back(
    attrs: Any, gates: Array, apart: Array, h: Array, c: Array, old: Array, dh: Array, dc: Array
) -> Any:
    r, z, n = np.split(gates, 3)
    dn = dh * (1 - z) * (1 - n**2)
    dz = dh * (h - n) * z * (1 - z)
    dr = dn * apart * r * (1 - r)
    return np.concatenate([dr, dz, dn]), dn * r, dh * z, dc


_GRU_STEP = (
    "g0 = sigmoid(g0)",
    "g1 = sigmoid(g1)",
    "g2 = tanh(fma(g0, a, g2))",
    "h = fma(g1, h_before - g2, g2)",
)
_GRU_BACK = (
    "d2 = dh * (1.0 - g1) * fma(-g2, g2, broadcast(1.0))",
    "d1 = dh * (h_before - g2) * g1 * (1.0 - g1)",
    "da = d2 * g0",
    "d0 = d2 * a * g0 * (1.0 - g0)",
    "dh = dh * g1",
)


def _lstm(attrs: Any, gates: Array, apart: Array, h: Array, c: Array) -> Any:
    i, f, g, o = np.split(gates, 4)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    after = f * c + i * g
    return np.concatenate([i, f, g, o]), o * np.tanh(after), after


def _lstm_back(
    attrs: Any, gates: Array, apart: Array, h: Array, c: Array, old: Array, dh: Array, dc: Array
) -> Any:
    i, f, g, o = np.split(gates, 4)
    bent = np.tanh(c)
    dc = dc + dh * o * (1 - bent**2)
    d_gates = [dc * g * i * (1 - i), dc * old * f * (1 - f), dc * i * (1 - g**2)]
    d_gates.append(dh * bent * o * (1 - o))
    return np.concatenate(d_gates), apart, np.zeros_like(dh), dc * f


_LSTM_STEP = (
    "g0 = sigmoid(g0)",
    "g1 = sigmoid(g1)",
    "g2 = tanh(g2)",
    "g3 = sigmoid(g3)",
    "c = fma(g1, c_before, g0 * g2)",
    "h = g3 * tanh(c)",
)
_LSTM_BACK = (
    "bent = tanh(c)",
    "dc = fma(dh * g3, fma(-bent, bent, broadcast(1.0)), dc)",
    "d0 = dc * g2 * g0 * (1.0 - g0)",
    "d1 = dc * c_before * g1 * (1.0 - g1)",
    "d2 = dc * g0 * fma(-g2, g2, broadcast(1.0))",
    "d3 = dh * bent * g3 * (1.0 - g3)",
    "dc = dc * g1",
    "dh = zero",
)

ELMAN = Cell(1, 0, False, _elman, _elman_back, _elman_step_text, _elman_back_text)
GATED = Cell(3, 1, False, _gru, _gru_back, lambda attrs: _GRU_STEP, lambda attrs: _GRU_BACK)
LONG = Cell(4, 0, True, _lstm, _lstm_back, lambda attrs: _LSTM_STEP, lambda attrs: _LSTM_BACK)


_DOC = """

    Input float[channels, time], output float[units, time], or float[units] with last=true: the
    state after each sample's own steps. The state is zero before the first step. The equations are
    those of PyTorch, whose weight_ih and weight_hh are weight and recurrent. """


def _record(name: str, cell: Cell, attrs: type, doc: str) -> Op:
    return Op(
        name=name,
        doc=doc,
        category="layer",
        inputs=("x",),
        Attrs=attrs,
        settle=settle,
        shape=shape,
        params=_params(cell),
        implicit=implicit,
        forward=_forward(cell),
        backward=_backward(cell),
        saves=frozenset({"inputs"}),
        keeps=keeps(cell),
        emit=emit(cell, name),
        emit_backward=emit_backward(cell, name),
        flops=_flops(cell),
        places=lambda inputs, output: prod(inputs[0][1:]),
    )


RNN = _record(
    "rnn",
    ELMAN,
    Elman,
    f"""A simple recurrent layer: h[t] = f(W x[t] + R h[t-1] + b), with f tanh or relu.{_DOC}

    Parameters: weight [units, channels], recurrent [units, units], bias [units].
    Elman, Finding structure in time (1990).""",
)

GRU = _record(
    "gru",
    GATED,
    Recurrent,
    f"""A gated recurrent layer: r, z = sigmoid(W x[t] + R h[t-1] + b), n = tanh(W x[t] + b +
    r (R h[t-1] + recurrent_bias)), h[t] = (1 - z) n + z h[t-1].{_DOC}

    Parameters: weight [3 units, channels] and recurrent [3 units, units] for r, z and n one below
    the other, bias [3 units], recurrent_bias [units] of n. PyTorch's two biases of r and z are one.
    Cho et al., Learning phrase representations using RNN encoder-decoder (2014).""",
)

LSTM = _record(
    "lstm",
    LONG,
    Recurrent,
    f"""Long short-term memory: i, f, o = sigmoid(W x[t] + R h[t-1] + b), g = tanh(the same),
    c[t] = f c[t-1] + i g, h[t] = o tanh(c[t]).{_DOC}

    Parameters: weight [4 units, channels] and recurrent [4 units, units] for i, f, g and o one
    below the other, bias [4 units]. Hochreiter and Schmidhuber, Long short-term memory (1997);
    with f: Gers, Schmidhuber and Cummins, Learning to forget (2000).""",
)

RECURRENT = (RNN, GRU, LSTM)
