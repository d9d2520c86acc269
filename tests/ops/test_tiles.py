"""Kernels of every op on bare tiles against the oracle, over the whole table of cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from cases import Array, Case, Lengths, Prepared, each_case, prepare
from tile import cut, fill_of, outside, run

from tiedgraph.ir.types import bind
from tiedgraph.ops import convolution, linear

# Samples, and whether each has a tile of its own.
BATCHES = ((1, False), (3, False), (16, False), (17, False), (3, True))
TOLERANCE = {"float32": 3e-5, "float64": 1e-12}


def _batch(
    prepared: Prepared, dtype: str, samples: int
) -> tuple[list[list[Array]], list[Lengths], list[Array], list[Array]]:
    """Samples, their lengths, parameters and gradients of the output; all exact in `dtype`."""
    random = np.random.default_rng(samples)
    given = prepared.case.lengths
    lengths = [given[n % len(given)] for n in range(samples)]
    drawn = [
        [*prepared.draw(random, n), *prepared.draw_implicit(random, n, samples)] for n in lengths
    ]
    params = prepared.draw_params(random)
    grads = [np.asarray(random.normal(size=prepared.bound(n))) for n in lengths]

    def exact(arrays: Sequence[Array]) -> list[Array]:
        return [np.asarray(x.astype(dtype), np.float64) for x in arrays]

    return [exact(sample) for sample in drawn], lengths, exact(params), exact(grads)


def _expected(
    prepared: Prepared,
    samples: list[list[Array]],
    params: list[Array],
    given: list[Array],
) -> tuple[list[Array], list[list[Array] | None], list[Array | None]]:
    op, attrs = prepared.op, prepared.attrs
    if op.batch:
        columns = [list(x) for x in zip(*samples, strict=True)]
        outputs = list(op.forward(attrs, columns, params))
        if op.backward is None:
            return outputs, [], []
        by_input, by_param = op.backward(attrs, columns, params, outputs, given)
        return outputs, [x if x is None else list(x) for x in by_input], list(by_param)
    outputs = [np.asarray(op.forward(attrs, sample, params)) for sample in samples]
    if op.backward is None:
        return outputs, [], []
    parts = [
        op.backward(attrs, sample, params, output, grad)
        for sample, output, grad in zip(samples, outputs, given, strict=True)
    ]
    by_input = [
        None if column[0] is None else list(column)
        for column in zip(*(part[0] for part in parts), strict=True)
    ]
    by_param = [
        None if column[0] is None else sum(column)
        for column in zip(*(part[1] for part in parts), strict=True)
    ]
    return outputs, by_input, by_param


def _close(found: Array, expected: Array, dtype: str, scale: float, what: str) -> None:
    error = np.abs(np.asarray(found, np.float64) - expected).max(initial=0.0)
    assert error <= TOLERANCE[dtype] * scale, f"{what}: off by {error:.1e}, scale {scale:.1e}"
    assert np.isfinite(found).all(), what


def _scale(arrays: Sequence[Array]) -> float:
    return max(1.0, *(float(np.abs(x).max(initial=0.0)) for x in arrays))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "case"), each_case())
def test_kernels(name: str, case: Case, dtype: str) -> None:
    prepared = prepare(name, case)
    if prepared.op.emit is None:
        pytest.skip("no kernels: its output is its input")
    masked = fill_of(prepared) is not None
    for count, single in BATCHES:
        if single and dtype == "float32":
            continue  # the same text; compiling it once more would tell nothing new
        samples, lengths, params, given = _batch(prepared, dtype, count)
        outputs, by_input, by_param = _expected(prepared, samples, params, given)
        backward = given if prepared.op.backward else None
        for accumulate in (False, True) if backward and count in (17, 3) else (False,):
            found = run(
                prepared, dtype, samples, lengths, params, backward, accumulate, single=single
            )
            if not accumulate:
                scale = _scale(outputs)
                for output, expected in zip(found.output, outputs, strict=True):
                    _close(cut(output, expected.shape), expected, dtype, scale, "output")
            for i, gradients in found.grad_inputs.items() if backward else ():
                column = by_input[i]
                assert column is not None
                scale = _scale(column)
                for gradient, expected in zip(gradients, column, strict=True):
                    before = float(accumulate * (i + 1))
                    inner = cut(gradient, expected.shape) - before
                    _close(inner, expected, dtype, scale + before, f"gradient of input {i}")
                    beyond = outside(gradient, expected.shape)
                    # What reads through a mask may leave anything: the mask takes it out again.
                    assert masked or (beyond == before).all(), f"input {i} beyond the end"
            if backward:
                for gradient, expected in zip(found.grad_params, by_param, strict=True):
                    if gradient is not None:
                        assert expected is not None
                        _close(gradient, expected, dtype, _scale([expected]), "parameter")


@pytest.mark.parametrize(
    ("name", "case"), [c for c in each_case() if c.values[0] in ("dense", "conv1d", "conv2d")]
)
def test_turned_weights_change_no_bit(
    name: str, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, asked = prepare(name, case), []
    monkeypatch.setattr(convolution, "TURNING", 0)
    for count, single in ((17, False), (3, True)):
        samples, lengths, params, given = _batch(prepared, "float64", count)
        found = []
        for turned in (False, True):
            for module in (linear, convolution):
                monkeypatch.setattr(
                    module, "crowded", lambda *told, t=turned: asked.append(told) or t
                )
            made = run(prepared, "float64", samples, lengths, params, given, single=single)
            found.append([x.tobytes() for x in made.grad_inputs[0]])
        assert found[0] == found[1]
    assert asked


@pytest.mark.parametrize(("name", "case"), each_case())
def test_a_sample_does_not_see_its_batch(name: str, case: Case) -> None:
    """The same bits alone, and in a batch of mixed lengths that is padded further still."""
    prepared, dtype = prepare(name, case), "float64"
    if prepared.op.emit is None or prepared.op.batch:
        pytest.skip("no kernels, or statistics of the batch")
    samples, lengths, params, given = _batch(prepared, dtype, len(case.lengths) + 1)
    backward = given if prepared.op.backward else None
    longest = {symbol: max(n[symbol] for n in lengths) + 2 for symbol in lengths[0]}
    whole = run(prepared, dtype, samples, lengths, params, backward, longest=longest)
    for n, own in enumerate(lengths):
        alone = run(prepared, dtype, [samples[n]], [own], params, [given[n]] if backward else None)
        np.testing.assert_array_equal(
            cut(whole.output[n], prepared.bound(own)), alone.output[0], "output"
        )
        for i in whole.grad_inputs if backward else ():
            shape = bind(case.types[i].shape, own)
            np.testing.assert_array_equal(
                cut(whole.grad_inputs[i][n], shape), alone.grad_inputs[i][0], f"input {i}"
            )
