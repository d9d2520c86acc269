"""`+ - * /` between two values, with NumPy's broadcasting over the axes of a sample.

An operand that is repeated along an axis has stride 0 there. Neighbouring axes along which both
operands just go on are one axis to the kernels, so that most calls are a single straight loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import zip_longest
from math import prod

import numpy as np

from tiedgraph.ir.types import Dim, Type, shape_text
from tiedgraph.ops.copying import Axis, merged
from tiedgraph.ops.pointwise import apply, flops
from tiedgraph.ops.rules import Array, Buffer, Emitter, Kernel, NoAttrs, Op, OpError

MAXIMUM_RANK = 5


SYMBOLS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}

# Kernel text of both sides' gradients: `g` is that of y, `own` the side's own number and `other`
# the other side's.
SLOPES = {
    "add": ("g", "g"),
    "subtract": ("g", "-g"),
    "multiply": ("g * other", "g * other"),
    "divide": ("g / other", "-(g * other) / (own * own)"),
}


# ---------------------------------------------------------------- shapes and the oracle


def _size(left: Dim, right: Dim) -> Dim | None:
    if left == right or right == 1:
        return left
    return right if left == 1 else None


def broadcast_shape(name: str, types: Sequence[Type]) -> Type:
    """The common shape; an error where sizes differ and neither is 1."""
    a, b = types[0].shape, types[1].shape
    sizes: list[Dim] = []
    for left, right in zip_longest(reversed(a), reversed(b), fillvalue=1):
        size = _size(left, right)
        if size is None:
            raise OpError(
                "E0301",
                f"the shapes {shape_text(a)} and {shape_text(b)} do not fit together for "
                f"{name}: {left} against {right}",
                hint="axes are matched from the last one backwards; they must be equal, or 1, "
                "or missing in one of the two",
                argument=1,
            )
        sizes.append(size)
    if len(sizes) > MAXIMUM_RANK:
        raise OpError("E0301", f"{name} takes at most {MAXIMUM_RANK} axes, not {len(sizes)}")
    return Type("float", tuple(reversed(sizes)))


def reduce_to(array: Array, shape: tuple[int, ...]) -> Array:
    """The sum over the axes along which `shape` was repeated."""
    array = array.sum(axis=tuple(range(array.ndim - len(shape))))
    repeated = tuple(i for i, size in enumerate(shape) if size == 1 and array.shape[i] != 1)
    return np.asarray(array.sum(axis=repeated, keepdims=True))


# ---------------------------------------------------------------- strides


def strides(shape: Sequence[int], rank: int) -> list[int]:
    """Elements from one number to the next along `rank` axes, 0 where it is repeated."""
    padded = [1] * (rank - len(shape)) + list(shape)
    found = [prod(padded[axis + 1 :]) for axis in range(rank)]
    return [0 if size == 1 else step for size, step in zip(padded, found, strict=True)]


# ---------------------------------------------------------------- kernels

# Axes that remain of five when neighbours are merged among those that a gradient sums over.
SUMMED = 3


def _names(letter: str, count: int, first: int) -> str:
    """A line that reads operands from `first` on: `n0, n1 = operand[3], operand[4]`."""
    left = ", ".join(f"{letter}{k}" for k in range(count))
    return f"    {left} = " + ", ".join(f"operand[{first + k}]" for k in range(count))


def _loops(index: str, size: str, count: int, depth: int) -> list[str]:
    return [f"{'    ' * (depth + k)}for {index}{k} in range({size}{k}):" for k in range(count)]


def _place(start: str, index: str, step: str, count: int) -> str:
    return " + ".join([start, *(f"{index}{k} * {step}{k}" for k in range(count))])


def _indented(depth: int, lines: Sequence[str]) -> list[str]:
    return ["    " * depth + line for line in lines]


@lru_cache
def forward_kernel(name: str, epilogue: tuple[str, ...]) -> Kernel:
    """y = f(a, b) over five axes, and the epilogue. Steps of a and b are in numbers."""
    rank, last = MAXIMUM_RANK, MAXIMUM_RANK - 1
    text = [
        "def kernel(activation, parameter, gradient, operand):",
        "    a, b, y = operand[0], operand[1], operand[2]",
        _names("n", rank, 3),
        _names("s", rank, 3 + rank),
        _names("t", rank, 3 + 2 * rank),
        *_loops("i", "n", last, 1),
        *_indented(
            rank,
            [
                f"p = {_place('a', 'i', 's', last)}",
                f"q = {_place('b', 'i', 't', last)}",
                f"for i{last} in range(n{last}):",
            ],
        ),
        *_indented(
            rank + 1,
            [
                f"v = load(activation, p) {SYMBOLS[name]} load(activation, q)",
                *apply(epilogue, "v"),
                "store(activation, y, v)",
                f"p += s{last}",
                f"q += t{last}",
                "y += LANES",
            ],
        ),
    ]
    return Kernel(name, "\n".join(text) + "\n")


@lru_cache
def gradient_kernel(slope: str, summed: bool) -> Kernel:
    """One side's gradient: a walk over its own numbers, in their order.

    summed: whether each is a sum over axes along which it was repeated.
    """
    rank, last = MAXIMUM_RANK, SUMMED - 1
    first = 5 + 3 * rank
    term = ["g = load(activation, p)"]
    if "other" in slope:
        term.append("other = load(activation, q)")
    body = ["own = load(activation, mine)"] if "own" in slope else []
    p = _place("given", "i", "s", rank)
    q = _place("others", "i", "t", rank)
    if summed:
        body += [
            "v = broadcast(0.0)",
            *_loops("j", "m", last, 0),
            *_indented(
                last,
                [
                    f"p = {_place(p, 'j', 'h', last)}",
                    f"q = {_place(q, 'j', 'k', last)}",
                    f"for j{last} in range(m{last}):",
                ],
            ),
            *_indented(last + 1, [*term, f"v = v + {slope}", f"p += h{last}", f"q += k{last}"]),
        ]
    else:
        body += [f"p = {p}", f"q = {q}", *term, f"v = {slope}"]
    text = [
        "def kernel(activation, parameter, gradient, operand):",
        "    target, given, others, mine = operand[0], operand[1], operand[2], operand[3]",
        "    add = operand[4]",
        _names("n", rank, 5),
        _names("s", rank, 5 + rank),
        _names("t", rank, 5 + 2 * rank),
        _names("m", SUMMED, first),
        _names("h", SUMMED, first + SUMMED),
        _names("k", SUMMED, first + 2 * SUMMED),
        *_loops("i", "n", rank, 1),
        *_indented(
            rank + 1,
            [
                *body,
                "if add:",
                "    v = v + load(activation, target)",
                "store(activation, target, v)",
                "target += LANES",
                "mine += LANES",
            ],
        ),
    ]
    return Kernel("arithmetic_backward", "\n".join(text) + "\n")


def _operands(axes: Sequence[Axis], rank: int, lanes: int) -> list[int]:
    """Sizes, then the steps of the first operand, then those of the second."""
    padded = [(1, (0, 0))] * (rank - len(axes)) + list(axes)
    sizes = [size for size, _ in padded]
    return sizes + [steps[k] * lanes for k in range(2) for _, steps in padded]


def _emit(name: str, emitter: Emitter) -> None:
    a, b, y = emitter.input(0), emitter.input(1), emitter.output()
    rank = len(y.shape)
    pairs = zip(strides(a.shape, rank), strides(b.shape, rank), strict=True)
    axes = merged(list(zip(y.shape, pairs, strict=True)))
    kernel = forward_kernel(name, emitter.epilogue)
    operands = _operands(axes, MAXIMUM_RANK, emitter.lanes)
    emitter.call(kernel, a.offset, b.offset, y.offset, *operands)


def _emit_backward(name: str, emitter: Emitter) -> None:
    given = emitter.grad_output()
    for side, slope in enumerate(SLOPES[name]):
        wanted = emitter.grad_input(side)
        if wanted is not None:
            own, other = emitter.input(side), emitter.input(1 - side)
            _emit_side(slope, emitter, wanted, given, own, other)


def _emit_side(
    slope: str,
    emitter: Emitter,
    wanted: tuple[Buffer, bool],
    given: Buffer,
    own: Buffer,
    other: Buffer,
) -> None:
    rank = len(given.shape)
    reads = "other" in slope
    steps_own = strides(own.shape, rank)
    steps_given = strides(given.shape, rank)
    steps_other = strides(other.shape, rank) if reads else steps_given
    axes = list(zip(given.shape, zip(steps_given, steps_other, strict=True), strict=True))
    kept = [axis for axis, step in zip(axes, steps_own, strict=True) if step]
    summed = merged([axis for axis, step in zip(axes, steps_own, strict=True) if not step])
    emitter.call(
        gradient_kernel(slope, bool(summed)),
        wanted[0].offset,
        given.offset,
        other.offset if reads else given.offset,
        own.offset,
        int(wanted[1]),
        *_operands(merged(kept), MAXIMUM_RANK, emitter.lanes),
        *_operands(summed, SUMMED, emitter.lanes),
    )


# ---------------------------------------------------------------- the records

Forward = Callable[[Array, Array], Array]
Gradients = Callable[[Array, Array, Array], tuple[Array, Array]]


def _record(name: str, doc: str, formula: Forward, gradients: Gradients) -> Op:
    def backward(
        attrs: NoAttrs, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
    ) -> tuple[list[Array | None], list[Array | None]]:
        a, b = inputs
        left, right = gradients(grad, a, b)
        return [reduce_to(left, np.shape(a)), reduce_to(right, np.shape(b))], []

    return Op(
        name=name,
        doc=f"{doc}\n\n    Two float inputs, whose axes are matched from the last one backwards; "
        "sizes are equal, or 1 or\n    missing in one of them, which is repeated then. At most "
        f"{MAXIMUM_RANK} axes.",
        category="arithmetic",
        inputs=("a", "b"),
        shape=lambda attrs, types: broadcast_shape(name, types),
        forward=lambda attrs, inputs, params: np.asarray(formula(inputs[0], inputs[1])),
        backward=backward,
        saves=frozenset({"inputs"} if "other" in "".join(SLOPES[name]) else ()),
        emit=partial(_emit, name),
        emit_backward=partial(_emit_backward, name),
        epilogue=True,
        padding=1.0 if name == "divide" else None,
        flops=flops,
    )


ADD = _record(
    "add", "The sum of two values, y = a + b.", lambda a, b: a + b, lambda g, a, b: (g, g)
)
SUBTRACT = _record(
    "subtract",
    "The difference of two values, y = a - b.",
    lambda a, b: a - b,
    lambda g, a, b: (g, -g),
)
MULTIPLY = _record(
    "multiply",
    "The product of two values, number by number, y = a b.",
    lambda a, b: a * b,
    lambda g, a, b: (g * b, g * a),
)
DIVIDE = _record(
    "divide",
    "The quotient of two values, number by number, y = a / b.",
    lambda a, b: a / b,
    lambda g, a, b: (g / b, -g * a / (b * b)),
)

ARITHMETIC = (ADD, SUBTRACT, MULTIPLY, DIVIDE)
