"""One number for all along some axes: `sum`, `mean`, `max`, `dot` and `distance`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from tiedgraph.ir.types import Type, elements
from tiedgraph.ops.axes import find_axes, lengths, same_types, timed
from tiedgraph.ops.plain_sums import PLAIN_SPREAD, PLAIN_SUM
from tiedgraph.ops.rules import Array, Emitter, Implicit, Op, hidden, put, setting
from tiedgraph.ops.walk import KEPT, Nest, Walk, walk

# ---------------------------------------------------------------- settings and shapes


@dataclass(frozen=True)
class Reduce:
    over: int | str | tuple[int | str, ...] | None = setting(
        "axis", None, doc="axes to reduce, by number or by the name of a run-time size; all of them"
    )
    timed: tuple[int, ...] = hidden(())


@dataclass(frozen=True)
class Distance:
    over: int | str | tuple[int | str, ...] | None = setting(
        "axis", 0, doc="axes to sum over, by number or by the name of a run-time size"
    )
    timed: tuple[int, ...] = hidden(())


def _axes(attrs: Reduce | Distance) -> tuple[int, ...]:
    assert isinstance(attrs.over, tuple)
    return tuple(axis for axis in attrs.over if isinstance(axis, int))


def _settle(name: str) -> Callable[[Reduce, Sequence[Type]], Reduce]:
    def settle(attrs: Reduce, types: Sequence[Type]) -> Reduce:
        over = find_axes(name, types[0], attrs.over, "over")
        return replace(attrs, over=over, timed=timed(types[0], over))

    return settle


def _shape(name: str) -> Callable[[Reduce, Sequence[Type]], Type]:
    def shape(attrs: Reduce, types: Sequence[Type]) -> Type:
        same_types(name, types)
        gone = _axes(attrs)
        return Type("float", tuple(s for i, s in enumerate(types[0].shape) if i not in gone))

    return shape


def _implicit(attrs: Reduce, types: Sequence[Type]) -> tuple[Implicit, ...]:
    return lengths(types[0], attrs.timed)


# ---------------------------------------------------------------- kernels


def _loops(emitter: Emitter, shape: tuple[int, ...], declared: int) -> Walk:
    attrs = emitter.attrs
    return walk(emitter, shape, attrs.over, attrs.timed, declared)


TERMS = {
    "sum": ("v = load(activation, x + at)",),
    "dot": ("v = load(activation, x + at) * load(activation, z + at)",),
    "distance": ("v = load(activation, x + at) - load(activation, z + at)", "v = v * v"),
}


@lru_cache
def sum_nest(term: str) -> Nest:
    """y = the sum of a term over the valid steps, divided by their number where `choice`."""
    end = {"distance": ("s = sqrt(s)",), "sum": ("if choice:", "    s = s / count"), "dot": ()}
    return Nest(
        f"reduce_{term}",
        ("s = zero",),
        (*TERMS[term], "s = s + select(valid, v, zero)"),
        (*end[term], "store(activation, y + o, s)"),
    )


# The largest valid number; NaN wins, as in NumPy.
LARGEST = Nest(
    "reduce_max",
    ("best = load(activation, x + first)",),
    (
        "v = load(activation, x + at)",
        "v = select(best == best, maximum(best, v), best)",
        "best = select(valid, v, best)",
    ),
    ("store(activation, y + o, best)",),
)

# Here y is the output (or its gradient, where nothing else is read), and z the other input.
SPREAD = {
    "sum": (
        ("g = load(activation, y + o)", "if choice:", "    g = g / count"),
        ("v = select(valid, g, zero)",),
    ),
    "dot": (
        ("g = load(activation, y + o)",),
        ("v = select(valid, g * load(activation, z + at), zero)",),
    ),
    "distance": (
        # At distance 0 the gradient is 0: there x - z is.
        (
            "length = load(activation, y + o)",
            "length = select(length > 0.0, length, broadcast(1.0))",
            "g = load(activation, choice + o) / length",
        ),
        (
            "v = (load(activation, x + at) - load(activation, z + at)) * g",
            "v = select(valid, v, zero)",
        ),
    ),
    "max": (
        ("best = load(activation, y + o)", "rest = load(activation, choice + o)"),
        (
            "hit = valid & (load(activation, x + at) == best)",
            "v = select(hit, rest, zero)",
            "rest = select(hit, zero, rest)",
        ),
    ),
}


@lru_cache
def spread_nest(term: str) -> Nest:
    """Gradient of the input behind `target`; zero at steps that are not valid."""
    before, step = SPREAD[term]
    return Nest(f"spread_{term}", before, (*step, *put("v", "target")))


# ---------------------------------------------------------------- sum and mean


def _plain(emitter: Emitter, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Operands of the plain kernels' loops; None where there are lengths or several loops."""
    loops = walk(emitter, shape, emitter.attrs.over, (), 1)
    if emitter.attrs.timed or len(loops.gone) != 1 or not loops.gone[0][0]:
        return None
    kept = ((1, 0),) * (KEPT - len(loops.kept)) + loops.kept
    return (*(n for pair in kept for n in pair), *loops.gone[0][:2])


def _emit_sum(divide: bool) -> Callable[[Emitter], None]:
    def emit(emitter: Emitter) -> None:
        x, y = emitter.input(0), emitter.output()
        plain = _plain(emitter, x.shape)
        if plain is not None:
            emitter.call(PLAIN_SUM, x.offset, y.offset, int(divide), 0, *plain)
            return
        places = (x.offset, y.offset, 0, 0, 0, int(divide))
        sum_nest("sum").call(emitter, _loops(emitter, x.shape, 1), places)

    return emit


def _emit_sum_backward(divide: bool) -> Callable[[Emitter], None]:
    def emit(emitter: Emitter) -> None:
        wanted = emitter.grad_input(0)
        if wanted is not None:
            into, add = wanted
            given = emitter.grad_output().offset
            plain = _plain(emitter, into.shape)
            if plain is not None:
                emitter.call(PLAIN_SPREAD, into.offset, given, int(divide), int(add), *plain)
                return
            loops = _loops(emitter, into.shape, 1)
            places = (0, given, 0, into.offset, int(add), int(divide))
            spread_nest("sum").call(emitter, loops, places)

    return emit


def _spread_out(attrs: Reduce, grad: Array, shape: tuple[int, ...]) -> Array:
    """The output's gradient at every place of the input."""
    return np.broadcast_to(np.expand_dims(grad, _axes(attrs)), shape)


def _counted(attrs: Reduce, x: Array) -> int:
    return max(1, elements(x.shape[axis] for axis in _axes(attrs)))


def _flops(attrs: Reduce, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    return elements(inputs[0])


_SHAPES = """

    Input float of any shape, output the same without the axes reduced; with no `over`, float[].
    Along a run-time axis each sample's own steps count and no others."""

SUM = Op(
    name="sum",
    doc=f"""The sum over axes: y = sum_i x_i.{_SHAPES}""",
    category="function",
    inputs=("x",),
    Attrs=Reduce,
    settle=_settle("sum"),
    shape=_shape("sum"),
    implicit=_implicit,
    forward=lambda attrs, inputs, params: np.asarray(inputs[0].sum(axis=_axes(attrs))),
    backward=lambda attrs, inputs, params, output, grad: (
        [_spread_out(attrs, grad, inputs[0].shape).copy()],
        [],
    ),
    emit=_emit_sum(False),
    emit_backward=_emit_sum_backward(False),
    flops=_flops,
)

MEAN = Op(
    name="mean",
    doc=f"""The mean over axes: y = (sum_i x_i) / n.{_SHAPES}""",
    category="function",
    inputs=("x",),
    Attrs=Reduce,
    settle=_settle("mean"),
    shape=_shape("mean"),
    implicit=_implicit,
    forward=lambda attrs, inputs, params: np.asarray(
        inputs[0].sum(axis=_axes(attrs)) / _counted(attrs, inputs[0])
    ),
    backward=lambda attrs, inputs, params, output, grad: (
        [_spread_out(attrs, grad, inputs[0].shape) / _counted(attrs, inputs[0])],
        [],
    ),
    emit=_emit_sum(True),
    emit_backward=_emit_sum_backward(True),
    flops=_flops,
)

# ---------------------------------------------------------------- max


def _max_backward(
    attrs: Reduce, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    x, gone = inputs[0], _axes(attrs)
    kept = [axis for axis in range(x.ndim) if axis not in gone]
    rows = x.transpose(*kept, *gone).reshape(output.size, -1)
    result = np.zeros_like(rows)
    result[np.arange(len(rows)), rows.argmax(axis=1)] = grad.reshape(-1)
    turned = result.reshape([x.shape[axis] for axis in (*kept, *gone)])
    return [turned.transpose(np.argsort([*kept, *gone]))], []


def _emit_max(emitter: Emitter) -> None:
    x, y = emitter.input(0), emitter.output()
    LARGEST.call(emitter, _loops(emitter, x.shape, 1), (x.offset, y.offset))


def _emit_max_backward(emitter: Emitter) -> None:
    wanted = emitter.grad_input(0)
    if wanted is not None:
        into, add = wanted
        places = (
            emitter.input(0).offset,
            emitter.output().offset,
            0,
            into.offset,
            int(add),
            emitter.grad_output().offset,
        )
        spread_nest("max").call(emitter, _loops(emitter, into.shape, 1), places)


MAX = Op(
    name="max",
    doc=f"""The largest number over axes: y = max_i x_i.

    Its gradient goes to the largest, where several are equal to the first of them.{_SHAPES}""",
    category="function",
    inputs=("x",),
    Attrs=Reduce,
    settle=_settle("max"),
    shape=_shape("max"),
    implicit=_implicit,
    forward=lambda attrs, inputs, params: np.asarray(inputs[0].max(axis=_axes(attrs))),
    backward=_max_backward,
    saves=frozenset({"inputs", "output"}),
    emit=_emit_max,
    emit_backward=_emit_max_backward,
    flops=_flops,
)

# ---------------------------------------------------------------- of two values


def _emit_pair(term: str) -> Callable[[Emitter], None]:
    def emit(emitter: Emitter) -> None:
        a, b, y = emitter.input(0), emitter.input(1), emitter.output()
        loops = _loops(emitter, a.shape, 2)
        sum_nest(term).call(emitter, loops, (a.offset, y.offset, b.offset))

    return emit


def _emit_dot_backward(emitter: Emitter) -> None:
    for i in range(2):
        wanted = emitter.grad_input(i)
        if wanted is not None:
            into, add = wanted
            places = (
                0,
                emitter.grad_output().offset,
                emitter.input(1 - i).offset,
                into.offset,
                int(add),
            )
            spread_nest("dot").call(emitter, _loops(emitter, into.shape, 2), places)


def _emit_distance_backward(emitter: Emitter) -> None:
    for i in range(2):
        wanted = emitter.grad_input(i)
        if wanted is not None:
            into, add = wanted
            places = (
                emitter.input(i).offset,
                emitter.output().offset,
                emitter.input(1 - i).offset,
                into.offset,
                int(add),
                emitter.grad_output().offset,
            )
            spread_nest("distance").call(emitter, _loops(emitter, into.shape, 2), places)


DOT = Op(
    name="dot",
    doc="""The inner product of two values: y = sum_i a_i b_i.

    Inputs float of one shape, output the same without the axes summed over; with no `over`,
    float[]. Along a run-time axis each sample's own steps count.""",
    category="function",
    inputs=("a", "b"),
    Attrs=Reduce,
    settle=_settle("dot"),
    shape=_shape("dot"),
    implicit=_implicit,
    forward=lambda attrs, inputs, params: np.asarray(
        (inputs[0] * inputs[1]).sum(axis=_axes(attrs))
    ),
    backward=lambda attrs, inputs, params, output, grad: (
        [
            _spread_out(attrs, grad, inputs[0].shape) * inputs[1],
            _spread_out(attrs, grad, inputs[0].shape) * inputs[0],
        ],
        [],
    ),
    saves=frozenset({"inputs"}),
    emit=_emit_pair("dot"),
    emit_backward=_emit_dot_backward,
    flops=lambda attrs, inputs, output: 2 * elements(inputs[0]),
)


def _distance(attrs: Distance, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    return np.asarray(np.sqrt(np.square(inputs[0] - inputs[1]).sum(axis=_axes(attrs))))


def _distance_backward(
    attrs: Distance, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    share = np.expand_dims(grad / np.where(output > 0, output, 1.0), _axes(attrs))
    found = (inputs[0] - inputs[1]) * share
    return [found, -found], []


DISTANCE = Op(
    name="distance",
    doc="""The Euclidean distance of two values: y = sqrt(sum_i (a_i - b_i)^2).

    Inputs float of one shape, output the same without the axes summed over, by default the first.
    Its gradient at distance 0 is 0.""",
    category="function",
    inputs=("a", "b"),
    Attrs=Distance,
    settle=_settle("distance"),
    shape=_shape("distance"),
    implicit=_implicit,
    forward=_distance,
    backward=_distance_backward,
    saves=frozenset({"inputs", "output"}),
    emit=_emit_pair("distance"),
    emit_backward=_emit_distance_backward,
    flops=lambda attrs, inputs, output: 3 * elements(inputs[0]),
)

REDUCTIONS: tuple[Op, ...] = (SUM, MEAN, MAX, DOT, DISTANCE)
