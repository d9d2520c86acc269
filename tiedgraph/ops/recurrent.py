"""`rnn`, `gru` and `lstm`: the same parameters at every step of a sequence.

All three are one machine. The inputs of all steps are multiplied at once, as by a convolution of
window 1; then step by step the state before is multiplied and a *cell* makes the next state. What
the cells made is kept for the way back, where the gradients of the gates of all steps are
collected, so that the parameters' gradients are products over whole sequences again.

Beyond the last step of a sample its state stands still and no gradient flows. Read in reverse, a
sample so begins at its own last step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from tiedgraph.ir.graph import Init
from tiedgraph.ir.types import Extent, Type
from tiedgraph.ops.convolution import add_window_products, windows
from tiedgraph.ops.copying import FILL_ZERO, copy
from tiedgraph.ops.linear import ADD, BIAS, ZERO, add_sums
from tiedgraph.ops.pointwise import sigmoid
from tiedgraph.ops.rules import (
    Array,
    Buffer,
    Emitter,
    Implicit,
    Kernel,
    Op,
    OpError,
    ParamBuffer,
    ParamSpec,
    hidden,
    setting,
)

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


@dataclass(frozen=True)
class Cell:
    """What one step does.

    gates: rows of the parameters for each unit. apart: how many of them, the last ones, multiply
      the state by itself and keep that product (and its bias) to be used by the cell.
    memory: whether there is a state beside the output (the lstm's).
    step(attrs, gates, apart, state, memory): (gates, state, memory) after a step; arrays [units],
      gates in rows before and after their functions.
    back(attrs, gates, apart, before, memory, memory_before, d_state, d_memory): gradients
      (gates, apart, state before by another way than the gates, memory before).
    forward, backward: kernel text of the same at one unit; see `step_kernel` and `back_kernel`.
    """

    gates: int
    apart: int
    memory: bool
    step: Callable[..., tuple[Array, Array, Array]]
    back: Callable[..., tuple[Array, Array, Array, Array]]
    forward: Callable[[Any], tuple[str, ...]]
    backward: Callable[[Any], tuple[str, ...]]


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


def _order(attrs: Attrs, steps: int) -> range:
    return range(steps - 1, -1, -1) if attrs.reverse else range(steps)


def _walk(cell: Cell, attrs: Attrs, x: Array, params: Sequence[Array]) -> list[tuple[Array, ...]]:
    """For each step, in the order they are made: state before, memory before, and all it made."""
    weight, recurrent, bias, own = _split(cell, attrs, params)
    cut = (cell.gates - cell.apart) * attrs.units
    state = memory = np.zeros(attrs.units, x.dtype)
    made: list[tuple[Array, ...]] = []
    for t in _order(attrs, x.shape[1]):
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
        for t, row in zip(_order(attrs, x.shape[1]), made, strict=True):
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
        steps = list(zip(_order(attrs, x.shape[1]), made, strict=True))
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


# ---------------------------------------------------------------- kernels


@lru_cache
def step_kernel(name: str, lines: tuple[str, ...], gates: int, apart: int, memory: bool) -> Kernel:
    """One step: gates `g0`, `g1`, ... and products `a` of one unit, its state `h` and memory `c`.

    The lines make the gates' values of the same names, and the new `h` and `c`. Rows of gates are
    `units * stride` apart. Where the sample has ended, state and memory stay what they were.
    """
    loads = [f"g{k} = load(activation, at + {k} * units * stride)" for k in range(gates)]
    stores = [f"store(activation, at + {k} * units * stride, g{k})" for k in range(gates)]
    body = [
        "    gate, product, units, stride = operand[0], operand[1], operand[2], operand[3]",
        "    before, after, old, new = operand[4], operand[5], operand[6], operand[7]",
        "    length, step = operand[8], operand[9]",
        "    zero = broadcast(0.0)",
        "    for unit in range(units):",
        "        at = gate + unit * stride",
        *(f"        {line}" for line in loads),
        *(["        a = load(activation, product + unit * stride)"] if apart else []),
        "        h = zero",
        "        if before >= 0:",
        "            h = load(activation, before + unit * stride)",
        "        h_before = h",
    ]
    if memory:
        body += [
            "        c = zero",
            "        if before >= 0:",
            "            c = load(activation, old + unit * stride)",
            "        c_before = c",
        ]
    body += [*(f"        {line}" for line in lines), "        if length >= 0:"]
    body += ["            lasts = load(activation, length) > step"]
    body += ["            h = select(lasts, h, h_before)"]
    if memory:
        body += ["            c = select(lasts, c, c_before)"]
    body += [f"        {line}" for line in stores]
    body += ["        store(activation, after + unit * stride, h)"]
    if memory:
        body += ["        store(activation, new + unit * stride, c)"]
    head = "def kernel(activation, parameter, gradient, operand):\n"
    return Kernel(f"{name}_step", head + "\n".join(body) + "\n")


@lru_cache
def back_kernel(name: str, lines: tuple[str, ...], gates: int, apart: int, memory: bool) -> Kernel:
    """One step back: from `dh` and `dc` of a unit the gradients of all that made them.

    The lines make `d0`, `d1`, ... of the gates, `da` of the products, and the new `dh` and `dc` of
    state and memory before, as far as they do not go through the gates. They may use the gates'
    values, `a`, `h_before`, `c` and `c_before`. Where the sample has ended nothing is taken from
    the output's gradient and all of `dh` and `dc` goes on.
    """
    body = [
        "    gate, product, units, stride = operand[0], operand[1], operand[2], operand[3]",
        "    before, given, old, new = operand[4], operand[5], operand[6], operand[7]",
        "    length, step = operand[8], operand[9]",
        "    d_gate, d_product, d_state, d_memory = "
        "operand[10], operand[11], operand[12], operand[13]",
        "    zero = broadcast(0.0)",
        "    for unit in range(units):",
        "        at = gate + unit * stride",
        *(f"        g{k} = load(activation, at + {k} * units * stride)" for k in range(gates)),
        *(["        a = load(activation, product + unit * stride)"] if apart else []),
        "        h_before = zero",
        "        if before >= 0:",
        "            h_before = load(activation, before + unit * stride)",
        "        dh = load(activation, d_state + unit * LANES)",
        "        dh_after = dh",
        "        if given >= 0:",
        "            dh = dh + load(activation, given + unit * stride)",
    ]
    if memory:
        body += [
            "        c = load(activation, new + unit * stride)",
            "        c_before = zero",
            "        if before >= 0:",
            "            c_before = load(activation, old + unit * stride)",
            "        dc = load(activation, d_memory + unit * LANES)",
            "        dc_after = dc",
        ]
    made = [*(f"d{k}" for k in range(gates)), *(["da"] if apart else [])]
    body += [*(f"        {line}" for line in lines), "        if length >= 0:"]
    body += ["            lasts = load(activation, length) > step"]
    body += [f"            {one} = select(lasts, {one}, zero)" for one in made]
    body += ["            dh = select(lasts, dh, dh_after)"]
    if memory:
        body += ["            dc = select(lasts, dc, dc_after)"]
    body += ["        at = d_gate + unit * stride"]
    body += [f"        store(activation, at + {k} * units * stride, d{k})" for k in range(gates)]
    if apart:
        body += ["        store(activation, d_product + unit * stride, da)"]
    body += ["        store(activation, d_state + unit * LANES, dh)"]
    if memory:
        body += ["        store(activation, d_memory + unit * LANES, dc)"]
    head = "def kernel(activation, parameter, gradient, operand):\n"
    return Kernel(f"{name}_back", head + "\n".join(body) + "\n")


@dataclass(frozen=True)
class _Matrix:
    """Rows and columns of a parameter, or of its transpose."""

    offset: int
    rows: int
    columns: int
    strides: tuple[int, int]

    def turned(self) -> _Matrix:
        return _Matrix(self.offset, self.columns, self.rows, self.strides[::-1])


def _matrix(param: ParamBuffer, first: int, rows: int) -> _Matrix:
    r, c = param.strides
    return _Matrix(param.offset + first * r, rows, param.shape[1], (r, c))


def _multiply(
    emitter: Emitter,
    matrix: _Matrix,
    x: tuple[int, int],
    y: tuple[int, int],
    across: int,
    start: int,
    bias: tuple[int, int] = (0, 0),
) -> None:
    """y[:, t] = start + M x[:, t] for `across` steps side by side.

    x, y: where the first step is, and how far rows are apart.
    """
    windows(
        emitter,
        _sequence(emitter, x, matrix.columns),
        _sequence(emitter, y, matrix.rows),
        (matrix.rows, 1, across),
        matrix.columns,
        *((1, 1), (1, 1), (1, 1)),
        (matrix.offset, (*matrix.strides, 0, 0)),
        bias,
        start,
        (),
        (y[1], 0, emitter.lanes),
    )


def _sequence(emitter: Emitter, place: tuple[int, int], rows: int) -> Buffer:
    """Rows of steps as an image of height 1: where they begin, and how far they are apart."""
    return Buffer(place[0], (rows, 1, place[1] // emitter.lanes))


def _add_products(
    emitter: Emitter, matrix: _Matrix, d: tuple[int, int], x: tuple[int, int], across: int
) -> None:
    """G[o, i] += sum over steps of d[o, t] x[i, t]."""
    if not across:
        return
    add_window_products(
        emitter,
        _sequence(emitter, x, matrix.columns),
        _sequence(emitter, d, matrix.rows),
        (matrix.rows, 1, across),
        *((1, 1), (1, 1), (1, 1)),
        (matrix.offset, (*matrix.strides, 0, 0)),
    )


@dataclass(frozen=True)
class _Places:
    """Where everything lies; every sequence has its steps side by side, rows `stride` apart."""

    steps: int
    stride: int
    gates: int
    product: int
    memory: int
    states: int
    length: int


def keeps(cell: Cell) -> Callable[[Any, Sequence[tuple[int, ...]], tuple[int, ...]], int]:
    """Vectors that the way back needs: gates, products, memory, and states if not the output."""

    def count(attrs: Attrs, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
        rows = cell.gates + cell.apart + cell.memory + attrs.last
        return rows * attrs.units * inputs[0][1]

    return count


def _places(emitter: Emitter, cell: Cell) -> _Places:
    attrs, lanes = emitter.attrs, emitter.lanes
    x = emitter.input(0)
    steps = x.shape[1]
    plane = attrs.units * steps * lanes
    at = emitter.kept().offset
    product = at + cell.gates * plane
    memory = product + cell.apart * plane
    own = memory + cell.memory * plane
    return _Places(
        steps,
        steps * lanes,
        at,
        product,
        memory,
        own if attrs.last else emitter.output().offset,
        emitter.input(1).offset if attrs.timed else -1,
    )


def _emit(cell: Cell, name: str) -> Callable[[Emitter], None]:
    def emit(emitter: Emitter) -> None:
        attrs, lanes, units = emitter.attrs, emitter.lanes, emitter.attrs.units
        x, made = emitter.input(0), emitter.output()
        p = _places(emitter, cell)
        cut = (cell.gates - cell.apart) * units
        weight, recurrent = emitter.param(0), emitter.param(1)
        main, apart = _matrix(recurrent, 0, cut), _matrix(recurrent, cut, cell.apart * units)
        bias, own = _biases(emitter, cell)
        all_rows = _matrix(weight, 0, weight.shape[0])
        start = BIAS if attrs.bias else ZERO
        _multiply(
            emitter, all_rows, (x.offset, p.stride), (p.gates, p.stride), p.steps, start, bias
        )
        kernel = step_kernel(name, cell.forward(attrs), cell.gates, cell.apart, cell.memory)
        before = -1
        for t in _order(attrs, p.steps):
            here = t * lanes
            if before >= 0:
                state = (p.states + before * lanes, p.stride)
                _multiply(emitter, main, state, (p.gates + here, p.stride), 1, ADD)
            if cell.apart:
                state = (p.states + max(before, 0) * lanes, p.stride)
                known = (
                    apart if before >= 0 else _Matrix(apart.offset, apart.rows, 0, apart.strides)
                )
                _multiply(emitter, known, state, (p.product + here, p.stride), 1, start, own)
            emitter.call(
                kernel,
                *(p.gates + here, p.product + here, units, p.stride),
                p.states + before * lanes if before >= 0 else -1,
                p.states + here,
                p.memory + max(before, 0) * lanes,
                p.memory + here,
                *(p.length, t),
            )
            before = t
        if attrs.last:
            copy(emitter, p.states + before * lanes, made.offset, (units,), (p.stride,), (lanes,))

    return emit


def _biases(emitter: Emitter, cell: Cell) -> tuple[tuple[int, int], tuple[int, int]]:
    if not emitter.attrs.bias:
        return (0, 0), (0, 0)
    found = [emitter.param(i) for i in range(2, 4 if cell.apart else 3)]
    places = [(param.offset, param.strides[0]) for param in found]
    return places[0], places[-1]


def _emit_backward(cell: Cell, name: str) -> Callable[[Emitter], None]:
    def emit_backward(emitter: Emitter) -> None:
        attrs, lanes, units = emitter.attrs, emitter.lanes, emitter.attrs.units
        x, grad = emitter.input(0), emitter.grad_output()
        p = _places(emitter, cell)
        cut = (cell.gates - cell.apart) * units
        weight, recurrent = emitter.param(0), emitter.param(1)
        main, apart = _matrix(recurrent, 0, cut), _matrix(recurrent, cut, cell.apart * units)
        d_gates = emitter.scratch(cell.gates * units * p.steps).offset
        d_product = emitter.scratch(cell.apart * units * p.steps).offset
        d_state, d_memory = emitter.scratch(units).offset, emitter.scratch(units).offset
        if attrs.last:
            copy(emitter, grad.offset, d_state, (units,), (lanes,), (lanes,))
        else:
            emitter.call(FILL_ZERO, d_state, units)
        emitter.call(FILL_ZERO, d_memory, units)
        kernel = back_kernel(name, cell.backward(attrs), cell.gates, cell.apart, cell.memory)
        order = list(_order(attrs, p.steps))
        for index in reversed(range(p.steps)):
            t, before = order[index], order[index - 1] if index else -1
            here = t * lanes
            emitter.call(
                kernel,
                *(p.gates + here, p.product + here, units, p.stride),
                p.states + before * lanes if before >= 0 else -1,
                -1 if attrs.last else grad.offset + here,
                p.memory + max(before, 0) * lanes,
                p.memory + here,
                *(p.length, t),
                *(d_gates + here, d_product + here, d_state, d_memory),
            )
            if before >= 0:
                into = (d_state, lanes)
                _multiply(emitter, main.turned(), (d_gates + here, p.stride), into, 1, ADD)
                if cell.apart:
                    through = (d_product + here, p.stride)
                    _multiply(emitter, apart.turned(), through, into, 1, ADD)
        # Gradients of parameters and inputs, over all steps at once.
        later, earlier = (0, lanes) if attrs.reverse else (lanes, 0)
        states = (p.states + earlier, p.stride)
        if weight.trainable:
            every = _matrix(weight, 0, weight.shape[0])
            _add_products(emitter, every, (d_gates, p.stride), (x.offset, p.stride), p.steps)
        if recurrent.trainable:
            pairs = max(p.steps - 1, 0)
            if cut:
                _add_products(emitter, main, (d_gates + later, p.stride), states, pairs)
            if cell.apart:
                _add_products(emitter, apart, (d_product + later, p.stride), states, pairs)
        if attrs.bias and emitter.param(2).trainable:
            add_sums(emitter, Buffer(d_gates, (cell.gates * units, p.steps)), emitter.param(2))
        if attrs.bias and cell.apart and emitter.param(3).trainable:
            add_sums(emitter, Buffer(d_product, (cell.apart * units, p.steps)), emitter.param(3))
        wanted = emitter.grad_input(0)
        if wanted is not None:
            into_x, add = wanted
            turned = _matrix(weight, 0, weight.shape[0]).turned()
            goal = (into_x.offset, p.stride)
            start = ADD if add else ZERO
            _multiply(emitter, turned, (d_gates, p.stride), goal, p.steps, start)

    return emit_backward


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
        saves=frozenset({"inputs", "output"}),
        keeps=keeps(cell),
        emit=_emit(cell, name),
        emit_backward=_emit_backward(cell, name),
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
