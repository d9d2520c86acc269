"""The lecture's equations of a time-delay network, written from the formulas.

Time counts from 0. Convolution: y_t = b + sum_k W_k x_{t-k}, with x = 0 before the beginning.
Subsampling by r: only steps with t mod r = 0 are kept, each the mean of the r steps from t on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tiedgraph.ir.types import Type
from tiedgraph.ops import BY_NAME

Array = np.ndarray

CHANNELS, OUTPUTS, STEPS, WINDOW = 3, 4, 11, 5


@pytest.fixture
def draw() -> Callable[..., Array]:
    random = np.random.default_rng(7)
    return lambda *shape: random.normal(size=shape)


def settled(name: str, *types: Type, **settings: object) -> tuple[object, object]:
    op = BY_NAME[name]
    attrs = op.Attrs(**settings)
    return op, op.settle(attrs, types) if op.settle else attrs


def test_convolution_over_the_past(draw: Callable[..., Array]) -> None:
    x, given = draw(CHANNELS, STEPS), draw(OUTPUTS, STEPS)
    w, b = draw(WINDOW, OUTPUTS, CHANNELS), draw(OUTPUTS)  # w[k] is the lecture's W_k

    y = np.zeros((OUTPUTS, STEPS))
    grad_w, grad_x = np.zeros_like(w), np.zeros_like(x)
    grad_b = np.zeros_like(b)
    for t in range(STEPS):
        y[:, t] = b
        grad_b += given[:, t]
        for k in range(WINDOW):
            if t - k >= 0:
                y[:, t] += w[k] @ x[:, t - k]
                grad_w[k] += np.outer(given[:, t], x[:, t - k])
                grad_x[:, t - k] += w[k].T @ given[:, t]

    op, attrs = settled(
        "conv1d", Type("float", x.shape), channels=OUTPUTS, window=(WINDOW,), pad="causal"
    )
    weight = np.moveaxis(w[::-1], 0, 2)  # the layer reads the window forwards
    output = op.forward(attrs, [x], [weight, b])
    np.testing.assert_allclose(output, y, rtol=1e-13, atol=1e-13)
    (found_x,), (found_w, found_b) = op.backward(attrs, [x], [weight, b], output, given)
    np.testing.assert_allclose(found_x, grad_x, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(np.moveaxis(found_w, 2, 0)[::-1], grad_w, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(found_b, grad_b, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("r", [1, 2, 3, 5, 11])
def test_subsampling_is_the_mean_of_r_steps(draw: Callable[..., Array], r: int) -> None:
    x = draw(CHANNELS, STEPS)
    kept = [t for t in range(STEPS) if t % r == 0 and t + r <= STEPS]
    given = draw(CHANNELS, len(kept))

    y, grad_x = np.zeros((CHANNELS, len(kept))), np.zeros_like(x)
    for n, t in enumerate(kept):
        for k in range(r):
            y[:, n] += x[:, t + k] / r
            grad_x[:, t + k] += given[:, n] / r

    op, attrs = settled("subsample", Type("float", x.shape), r=(r,))
    output = op.forward(attrs, [x], [])
    np.testing.assert_allclose(output, y, rtol=1e-13, atol=1e-13)
    (found,), rest = op.backward(attrs, [x], [], output, given)
    np.testing.assert_allclose(found, grad_x, rtol=1e-13, atol=1e-13)
    assert list(rest) == []


@pytest.mark.parametrize("r", [1, 2, 3])
def test_trained_subsampling_scales_the_sum(draw: Callable[..., Array], r: int) -> None:
    """LeCun 1998: y_t = w_c (sum of r steps) + b_c."""
    x = draw(CHANNELS, STEPS)
    w, b = draw(CHANNELS), draw(CHANNELS)
    kept = [t for t in range(STEPS) if t % r == 0 and t + r <= STEPS]
    given = draw(CHANNELS, len(kept))

    y, grad_x = np.zeros((CHANNELS, len(kept))), np.zeros_like(x)
    grad_w, grad_b = np.zeros(CHANNELS), np.zeros(CHANNELS)
    for c in range(CHANNELS):
        for n, t in enumerate(kept):
            block = sum(x[c, t + k] for k in range(r))
            y[c, n] = w[c] * block + b[c]
            grad_w[c] += given[c, n] * block
            grad_b[c] += given[c, n]
            for k in range(r):
                grad_x[c, t + k] += w[c] * given[c, n]

    op, attrs = settled("subsample", Type("float", x.shape), r=(r,), trainable=True)
    output = op.forward(attrs, [x], [w, b])
    np.testing.assert_allclose(output, y, rtol=1e-13, atol=1e-13)
    (found,), (found_w, found_b) = op.backward(attrs, [x], [w, b], output, given)
    np.testing.assert_allclose(found, grad_x, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(found_w, grad_w, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(found_b, grad_b, rtol=1e-13, atol=1e-13)
