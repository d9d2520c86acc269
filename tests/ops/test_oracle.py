"""Every op's oracle: its shapes, and its gradients against central differences in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from cases import CASES, Array, Case, each_case, prepare

from tiedgraph.ops import OPS

STEP = 2e-4
MOST = 150  # numbers of one array that are moved; of larger arrays, as many spread over it


def test_every_op_has_cases() -> None:
    missing = [op.name for op in OPS if op.category != "internal" and op.name not in CASES]
    assert not missing


def test_every_case_has_an_op() -> None:
    assert not [name for name in CASES if name not in {op.name for op in OPS}]


@pytest.mark.parametrize(("name", "case"), each_case())
def test_shape(name: str, case: Case) -> None:
    prepared, random = prepare(name, case), np.random.default_rng(1)
    params = prepared.draw_params(random)
    samples = [
        [*prepared.draw(random, n), *prepared.draw_implicit(random, n, len(case.lengths))]
        for n in case.lengths
    ]
    forward = prepared.op.forward
    if prepared.op.batch:
        outputs = forward(prepared.attrs, [list(x) for x in zip(*samples, strict=True)], params)
    else:
        outputs = [forward(prepared.attrs, sample, params) for sample in samples]
    for output, lengths in zip(outputs, case.lengths, strict=True):
        assert np.shape(output) == prepared.bound(lengths)
        assert np.isfinite(output).all()


@pytest.mark.parametrize(("name", "case"), each_case(backward=True))
def test_gradient(name: str, case: Case) -> None:
    """dL/dx for L = sum of the outputs times random numbers, for every input and parameter."""
    prepared, random = prepare(name, case), np.random.default_rng(2)
    op, attrs = prepared.op, prepared.attrs
    assert op.backward is not None
    params = prepared.draw_params(random)
    samples = [
        [*prepared.draw(random, n), *prepared.draw_implicit(random, n, len(case.lengths))]
        for n in case.lengths
    ]
    given = [np.asarray(random.normal(size=prepared.bound(n))) for n in case.lengths]
    batches = [list(x) for x in zip(*samples, strict=True)]

    def objective() -> float:
        if op.batch:
            outputs = op.forward(attrs, batches, params)
        else:
            outputs = [op.forward(attrs, sample, params) for sample in samples]
        return float(sum(np.sum(y * g) for y, g in zip(outputs, given, strict=True)))

    if op.batch:
        output = op.forward(attrs, batches, params)
        by_input, by_param = op.backward(attrs, batches, params, output, given)
        found = [None if column is None else list(column) for column in by_input]
        grad_params = list(by_param)
    else:
        parts = [
            op.backward(attrs, sample, params, op.forward(attrs, sample, params), g)
            for sample, g in zip(samples, given, strict=True)
        ]
        found = [
            None if column[0] is None else list(column)
            for column in zip(*(part[0] for part in parts), strict=True)
        ]
        grad_params = [
            None if column[0] is None else sum(column)
            for column in zip(*(part[1] for part in parts), strict=True)
        ]
    for index, kind in enumerate(case.types):
        column = found[index]
        if kind.kind != "float":
            continue
        assert column is not None, f"no gradient of input {index}"
        for sample, gradient in zip(samples, column, strict=True):
            _compare(objective, sample[index], gradient, f"input {index}")
    for spec, param, gradient in zip(prepared.specs, params, grad_params, strict=True):
        if spec.trainable:
            assert gradient is not None, f"no gradient of {spec.name}"
            _compare(objective, param, gradient, spec.name)


def _compare(objective: Callable[[], float], x: Array, gradient: Array, what: str) -> None:
    assert gradient.shape == x.shape, what
    places = list(np.ndindex(*x.shape))
    chosen = places[:: -(-len(places) // MOST)] if places else []
    numeric = np.array([_slope(objective, x, place) for place in chosen])
    analytic = np.array([gradient[place] for place in chosen])
    scale = max(1.0, *np.abs(analytic)) if chosen else 1.0
    np.testing.assert_allclose(numeric, analytic, rtol=1e-7, atol=1e-9 * scale, err_msg=what)


def _slope(objective: Callable[[], float], x: Array, place: tuple[int, ...]) -> float:
    """Fourth order: (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h."""
    before, values = x[place], []
    for factor in (1, -1, 2, -2):
        x[place] = before + factor * STEP
        values.append(objective())
    x[place] = before
    near, far = values[0] - values[1], values[2] - values[3]
    return (8.0 * near - far) / (12.0 * STEP)
