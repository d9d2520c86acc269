"""Functions of one number, applied to every number of a value.

Each is a row of one table: its formula in NumPy for the oracle, and its text for kernels. The text
is used twice, in a kernel of its own and as the epilogue of the kernel that makes its input.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from tiedgraph.ir.types import Type, elements
from tiedgraph.ops.rules import Array, Emitter, Kernel, Op, bits, called, each_number, hidden


@dataclass(frozen=True)
class Pointwise:
    """Kernel text of y = f(x): of the value, and of the derivative written in x or in y.

    uses: which of the two the derivative reads; "" for neither.
    """

    value: str
    derivative: str
    uses: Literal["x", "y", ""]


def apply(names: Sequence[str], variable: str) -> list[str]:
    """Lines of kernel text that put the functions `names`, first one first, upon `variable`."""
    return [f"{variable} = {_about(BY_NAME[name].value, x=variable)}" for name in names]


def _about(text: str, **variables: str) -> str:
    return re.sub(r"\b[xy]\b", lambda found: variables.get(found.group(), found.group()), text)


# ---------------------------------------------------------------- the functions in NumPy

_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)

erf: Callable[[Array], Array] = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow on either side."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, small) / (1.0 + small))


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), without overflow."""
    return np.asarray(np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))))


def _gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1.0 + erf(_ROOT_HALF * x)))


def _gelu_derivative(x: Array) -> Array:
    density = _DENSITY * np.exp(-0.5 * x * x)
    return np.asarray(0.5 * (1.0 + erf(_ROOT_HALF * x)) + x * density)


# ---------------------------------------------------------------- kernels


@lru_cache
def forward_kernel(names: tuple[str, ...]) -> Kernel:
    """y = f(x) over `count` vectors, for the functions `names` one after the other."""
    lines = "\n".join(f"        {line}" for line in apply(names, "v"))
    return Kernel(
        names[0],
        f"""def kernel(activation, parameter, gradient, operand):
    x, y, count = operand[0], operand[1], operand[2]
    for i in range(count):
        v = load(activation, x + i * LANES)
{lines}
        store(activation, y + i * LANES, v)
""",
    )


@lru_cache
def backward_kernel(name: str) -> Kernel:
    """dx = dy f', or added to what stands there; `at` is x or y, whichever f' is written in."""
    function = BY_NAME[name]
    read = "        v = load(activation, at + i * LANES)\n" if function.uses else ""
    derivative = _about(function.derivative, x="v", y="v")
    return Kernel(
        f"{name}_backward",
        f"""def kernel(activation, parameter, gradient, operand):
    at, given, target, count, add = operand[0], operand[1], operand[2], operand[3], operand[4]
    for i in range(count):
{read}        d = load(activation, given + i * LANES) * ({derivative})
        if add:
            d = d + load(activation, target + i * LANES)
        store(activation, target + i * LANES, d)
""",
    )


def _emitters(
    name: str, function: Pointwise
) -> tuple[Callable[[Emitter], None], Callable[[Emitter], None]]:
    def emit(emitter: Emitter) -> None:
        x, y = emitter.input(0), emitter.output()
        kernel = forward_kernel((name, *emitter.epilogue))
        each_number(emitter, kernel, (x.offset, y.offset), y.elements)

    def emit_backward(emitter: Emitter) -> None:
        wanted = emitter.grad_input(0)
        if wanted is None:
            return
        target, add = wanted
        read = {"x": lambda: emitter.input(0).offset, "y": lambda: emitter.output().offset}
        at = read[function.uses]() if function.uses else 0
        given = emitter.grad_output().offset
        places = (at, given, target.offset)
        each_number(emitter, backward_kernel(name), places, target.elements, int(add))

    return emit, emit_backward


# ---------------------------------------------------------------- the records

Formula = Callable[[Array], Array]
Derivative = Callable[[Array, Array], Array]


def same_shape(attrs: object, types: Sequence[Type]) -> Type:
    return types[0]


def flops(attrs: object, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    """One for each number made, whatever the function."""
    return elements(output)


def _record(
    name: str,
    doc: str,
    formula: Formula,
    slope: Derivative,
    text: Pointwise,
    padding: float | None = None,
) -> Op:
    emit, emit_backward = _emitters(name, text)
    return Op(
        name=name,
        doc=f"{doc}\n\n    Input float of any shape, output of the same shape.",
        category="arithmetic" if name == "negate" else "function",
        inputs=("x",),
        shape=same_shape,
        forward=lambda attrs, inputs, params: np.asarray(formula(inputs[0])),
        backward=lambda attrs, inputs, params, output, grad: (
            [grad * slope(inputs[0], output)],
            [],
        ),
        saves=frozenset({"x": {"inputs"}, "y": {"output"}, "": set[str]()}[text.uses]),
        emit=emit,
        emit_backward=emit_backward,
        epilogue=True,
        pointwise=text,
        padding=padding,
        flops=flops,
        functions=(called(text.value), called(text.derivative)),
    )


TANH = _record(
    "tanh",
    "The hyperbolic tangent, y = tanh(x).",
    np.tanh,
    lambda x, y: 1.0 - y * y,
    Pointwise("tanh(x)", "fma(-y, y, broadcast(1.0))", "y"),
)
SIGMOID = _record(
    "sigmoid",
    "The logistic function, y = 1 / (1 + exp(-x)).",
    sigmoid,
    lambda x, y: y * (1.0 - y),
    Pointwise("sigmoid(x)", "y * (1.0 - y)", "y"),
)
RELU = _record(
    "relu",
    "The rectifier, y = max(x, 0); its derivative at 0 is 0.",
    lambda x: np.maximum(x, 0.0),
    lambda x, y: np.asarray(y > 0, x.dtype),
    # The order of the arguments lets NaN through.
    Pointwise(
        "maximum(broadcast(0.0), x)",
        "select(y > 0.0, broadcast(1.0), broadcast(0.0))",
        "y",
    ),
)
GELU = _record(
    "gelu",
    "The Gaussian error linear unit, y = x (1 + erf(x / sqrt(2))) / 2, exact, not by tanh "
    "(Hendrycks and Gimpel 2016).",
    _gelu,
    lambda x, y: _gelu_derivative(x),
    Pointwise(
        f"0.5 * x * (1.0 + erf({_ROOT_HALF!r} * x))",
        f"fma({_DENSITY!r} * x, exp(-0.5 * x * x), 0.5 * (1.0 + erf({_ROOT_HALF!r} * x)))",
        "x",
    ),
)
SOFTPLUS = _record(
    "softplus",
    "A smooth rectifier, y = log(1 + exp(x)) (Dugas et al. 2001).",
    softplus,
    lambda x, y: sigmoid(x),
    Pointwise("softplus(x)", "sigmoid(x)", "x"),
)
EXP = _record(
    "exp",
    "The exponential function, y = exp(x).",
    np.exp,
    lambda x, y: y,
    Pointwise("exp(x)", "y", "y"),
    padding=0.0,
)
LOG = _record(
    "log",
    "The natural logarithm, y = log(x); -inf at 0, NaN below.",
    np.log,
    lambda x, y: 1.0 / x,
    Pointwise("log(x)", "1.0 / x", "x"),
    padding=1.0,
)
ABS = _record(
    "abs",
    "The absolute value, y = |x|; its derivative at 0 is 0.",
    np.abs,
    lambda x, y: np.sign(x),
    Pointwise(
        "absolute(x)",
        "select(x > 0.0, broadcast(1.0), select(x < 0.0, broadcast(-1.0), broadcast(0.0)))",
        "x",
    ),
)
SQUARE = _record(
    "square",
    "The square, y = x x.",
    np.square,
    lambda x, y: 2.0 * x,
    Pointwise("x * x", "x + x", "x"),
)
SQRT = _record(
    "sqrt",
    "The square root, y = sqrt(x); NaN below 0, and no finite derivative at 0.",
    np.sqrt,
    lambda x, y: 0.5 / y,
    Pointwise("sqrt(x)", "0.5 / y", "y"),
    padding=1.0,
)
NEGATE = _record(
    "negate",
    "The negative, y = -x.",
    np.negative,
    lambda x, y: np.full_like(x, -1.0),
    Pointwise("-x", "broadcast(-1.0)", ""),
)

FUNCTIONS = (TANH, SIGMOID, RELU, GELU, SOFTPLUS, EXP, LOG, ABS, SQUARE, SQRT, NEGATE)

BY_NAME: dict[str, Pointwise] = {op.name: op.pointwise for op in FUNCTIONS}


# ---------------------------------------------------------------- with one constant


@dataclass(frozen=True)
class Number:
    number: float = hidden(0.0)


@lru_cache
def number_kernel(name: str, epilogue: tuple[str, ...]) -> Kernel:
    """y = x + c, c x or c / x, then the epilogue."""
    value = {"add_number": "v + c", "multiply_number": "v * c", "divide_number": "c / v"}[name]
    lines = "\n".join(f"        {line}" for line in apply(epilogue, "v"))
    return Kernel(
        name,
        f"""def kernel(activation, parameter, gradient, operand):
    x, y, count = operand[0], operand[1], operand[2]
    c = broadcast(number(operand, 3))
    for i in range(count):
        v = load(activation, x + i * LANES)
        v = {value}
{lines}
        store(activation, y + i * LANES, v)
""",
    )


@lru_cache
def number_backward_kernel(name: str) -> Kernel:
    """dx = dy times the derivative, which is 1, c, or -c / x^2; or added."""
    value = {"add_number": "d", "multiply_number": "d * c", "divide_number": "-(d * c) / (v * v)"}
    read = "        v = load(activation, x + i * LANES)\n" if name == "divide_number" else ""
    return Kernel(
        f"{name}_backward",
        f"""def kernel(activation, parameter, gradient, operand):
    x, given, target, count, add = operand[0], operand[1], operand[2], operand[3], operand[4]
    c = broadcast(number(operand, 5))
    for i in range(count):
{read}        d = load(activation, given + i * LANES)
        d = {value[name]}
        if add:
            d = d + load(activation, target + i * LANES)
        store(activation, target + i * LANES, d)
""",
    )


def _with_number(
    name: str,
    doc: str,
    formula: Callable[[Array, float], Array],
    slope: Callable[[Array, float], Array],
    padding: float | None = None,
) -> Op:
    def emit(emitter: Emitter) -> None:
        x, y = emitter.input(0), emitter.output()
        kernel = number_kernel(name, emitter.epilogue)
        emitter.call(kernel, x.offset, y.offset, y.elements, bits(emitter.attrs.number))

    def emit_backward(emitter: Emitter) -> None:
        wanted = emitter.grad_input(0)
        if wanted is not None:
            target, add = wanted
            emitter.call(
                number_backward_kernel(name),
                emitter.input(0).offset,
                emitter.grad_output().offset,
                target.offset,
                target.elements,
                int(add),
                bits(emitter.attrs.number),
            )

    return Op(
        name=name,
        doc=doc,
        category="arithmetic",
        inputs=("x",),
        Attrs=Number,
        shape=same_shape,
        forward=lambda attrs, inputs, params: np.asarray(formula(inputs[0], attrs.number)),
        backward=lambda attrs, inputs, params, output, grad: (
            [grad * slope(inputs[0], attrs.number)],
            [],
        ),
        saves=frozenset({"inputs"} if name == "divide_number" else ()),
        emit=emit,
        emit_backward=emit_backward,
        epilogue=True,
        padding=padding,
        flops=flops,
    )


ADD_NUMBER = _with_number(
    "add_number",
    "A value and a constant, y = x + c.",
    lambda x, c: x + c,
    lambda x, c: np.ones_like(x),
)
MULTIPLY_NUMBER = _with_number(
    "multiply_number",
    "A value times a constant, y = c x.",
    lambda x, c: x * c,
    lambda x, c: np.full_like(x, c),
)
DIVIDE_NUMBER = _with_number(
    "divide_number",
    "A constant divided by a value, y = c / x.",
    lambda x, c: c / x,
    lambda x, c: -c / (x * x),
    padding=1.0,
)

NUMBERS = (ADD_NUMBER, MULTIPLY_NUMBER, DIVIDE_NUMBER)
POINTWISE: tuple[Op, ...] = (*FUNCTIONS, *NUMBERS)
