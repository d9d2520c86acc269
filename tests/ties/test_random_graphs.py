"""Random models of many kinds of layer, with random ties, beside their untied twins."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tiedgraph as tg
from tiedgraph.compiler import check_text
from tiedgraph.gradients import check_gradients, random_batch
from tiedgraph.ir.graph import Graph
from tiedgraph.runtime.reference import gather_gradients

Array = np.ndarray[Any, np.dtype[Any]]

# Layers on float[2, 4, 4] and on float[4], by what they leave.
IMAGE = (
    "conv2d({}, 2, window=3, pad=same)",
    "conv2d({}, 2, window=3, pad=same, groups=2, bias=false)",
    "conv2d({}, 2, window=[1, 3], pad=same, dilation=2)",
    "scale({})",
    "tanh({})",
    "softplus({})",
)
VECTOR = (
    "dense({}, 4)",
    "dense({}, 4, bias=false)",
    "layer_norm({})",
    "scale({})",
    "sigmoid({})",
)


@st.composite
def layers(draw: st.DrawFn) -> list[str]:
    """A graph: each value of one or two before it."""
    lines = ["input x: float[2, 4, 4]", "input z: float[4]", "target t: float[4]"]
    values = ["x"]
    for i in range(draw(st.integers(1, 3))):
        operand = draw(st.sampled_from(values))
        lines.append(f"i{i} = " + draw(st.sampled_from(IMAGE)).format(operand))
        values.append(f"i{i}")
    lines.append(f"v = dense({' + '.join(values[-2:])}, 4)")
    flat = ["z", "v"]
    for i in range(draw(st.integers(1, 4))):
        one, other = draw(st.sampled_from(flat)), draw(st.sampled_from(flat))
        operand = one if one == other or draw(st.booleans()) else f"{one} * {other}"
        lines.append(f"f{i} = " + draw(st.sampled_from(VECTOR)).format(operand))
        flat.append(f"f{i}")
    return [*lines, f"loss mse({' + '.join(flat[1:])}, t)"]


@st.composite
def ties(draw: st.DrawFn, graph: Graph) -> list[str]:
    """Statements between parameters whose shapes allow it."""
    found = []
    names = list(graph.params)
    for _ in range(draw(st.integers(1, 4))):
        child = draw(st.sampled_from(names))
        shape = graph.params[child].shape
        alike = [name for name in names if sorted(graph.params[name].shape) == sorted(shape)]
        parent = draw(st.sampled_from(alike))
        view = parent
        for _ in range(draw(st.integers(0, 2))):
            view = draw(st.sampled_from(views(len(shape)))).format(view)
        by = ["hash(free=3)", "circulant", "symmetric", "antisymmetric", "toeplitz"]
        if draw(st.integers(0, 3)) == 0:
            found.append(f"tie hard {child} by {draw(st.sampled_from(by))}")
        elif parent != child:
            found.append(f"tie hard {child} = {view}")
    return found


def views(rank: int) -> list[str]:
    axis = f"flip({{}}, axis={rank - 1})"
    always = [axis, "flip({}, axis=0)", "negate({})", "scale({}, 0.5)"]
    turned = ["rotate90({})", "transpose({})", f"permute({{}}, {list(range(rank))[::-1]})"]
    return always + (turned if rank > 1 else [])


def fitting(text: list[str], statements: list[str]) -> str:
    """The model with those of the statements that say something possible together."""
    good: list[str] = []
    for statement in statements:
        if check_text("\n".join([*text, *good, statement])).graph is not None:
            good.append(statement)
    assume(good)
    return "\n".join([*text, *good])


@settings(max_examples=25)
@given(st.data(), layers())
def test_tied_gradients_are_sums_over_the_twin(data: st.DataObject, text: list[str]) -> None:
    plain = check_text("\n".join(text)).graph
    assert plain is not None
    source = fitting(text, data.draw(ties(plain)))
    one = tg.compile_text(source, dtype="float64", threads=1)
    twin = tg.compile_text("\n".join(text), dtype="float64", threads=1)
    rng = np.random.default_rng(0)
    one.set({name: rng.standard_normal(array.shape) for name, array in one.free.items()})
    twin.set(one.parameters)
    batch = random_batch(plain, seed=1)
    loss, gradients = one.value_and_grad(**batch)
    twin_loss, parts = twin.value_and_grad(**batch)
    assert loss == twin_loss
    summed = gather_gradients(one.checked, parts)
    largest = max(float(np.abs(g).max()) for g in summed.values())
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, summed[name], rtol=0, atol=1e-12 * largest)


@settings(max_examples=10)
@given(st.data(), layers())
def test_finite_differences_agree(data: st.DataObject, text: list[str]) -> None:
    plain = check_text("\n".join(text)).graph
    assert plain is not None
    found = check_text(fitting(text, data.draw(ties(plain)))).graph
    assert found is not None
    for verdict in check_gradients(found):
        assert verdict.verdict in ("right", "zero"), verdict
        assert verdict.difference_error < 1e-7, verdict
