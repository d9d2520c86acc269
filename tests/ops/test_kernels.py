"""Every op's kernels against the oracle, forwards and backwards, in both dtypes.

Each case is a small model in which the op stands between a layer with parameters, so that the
gradient of its inputs shows, and a loss. Sizes are odd on purpose; batches are smaller than, equal
to and larger than a tile, and samples with a run-time size differ in length.
"""

from __future__ import annotations

import numpy as np
import pytest

import tiedgraph as tg
from tiedgraph.diagnostics import Diagnostics
from tiedgraph.gradients import random_batch
from tiedgraph.ir.types import bind
from tiedgraph.ops import OPS
from tiedgraph.passes.simplify import simplify
from tiedgraph.runtime.batch import prepare
from tiedgraph.runtime.reference import interpret

# What stands before and after the op: `x` goes in, the value `y` is compared with a constant.
FRAME = """
input x: {type}
{more}
h = {layer}
y = {op}
output made = y
loss {loss}
"""
SQUARE = "mean(square(y - 0.3))"

# name: (type of x, expression for y in terms of h, further options)
CASES: dict[str, tuple[str, str, dict[str, str]]] = {
    "dense": ("float[7]", "dense(h, 5)", {}),
    "dense of an image, one output": ("float[2, 3, 5]", "dense(h, 1, bias=false)", {}),
    "dense of many": ("float[33]", "dense(h, 29)", {}),
    "dense of one": ("float[1]", "dense(h, 13)", {}),
    "conv1d": ("float[3, time]", "conv1d(h, 5, window=3)", {}),
    "conv1d same": ("float[3, time]", "conv1d(h, 4, window=4, pad=same)", {}),
    "conv1d causal": ("float[2, time]", "conv1d(h, 3, window=3, dilation=2, pad=causal)", {}),
    "conv1d padded": ("float[2, time]", "conv1d(h, 3, window=3, pad=2, stride=2)", {}),
    "conv1d window 1": ("float[5, time]", "conv1d(h, 9, window=1)", {}),
    "conv1d strided": ("float[2, 17]", "conv1d(h, 3, window=2, stride=3)", {}),
    "conv2d": ("float[2, 7, 9]", "conv2d(h, 5, window=3)", {}),
    "conv2d padded": ("float[3, 6, 11]", "conv2d(h, 4, window=5, pad=2)", {}),
    "conv2d same": ("float[2, 5, 4]", "conv2d(h, 3, window=[2, 3], pad=same, stride=2)", {}),
    "conv2d grouped": ("float[4, 9, 11]", "conv2d(h, 6, window=[3, 2], stride=2, pad=1, dilation=[2, 1], groups=2)", {}),  # noqa: E501
    "conv2d each channel": ("float[3, 5, 5]", "conv2d(h, 3, window=3, groups=3, bias=false)", {}),
    "conv2d one pixel": ("float[1, 5, 5]", "conv2d(h, 1, window=5)", {}),
    "conv2d of unknown height": ("float[1, rows, 6]", "conv2d(h, 2, window=3, pad=1)", {}),
    "dense beside its input": ("float[13]", "dense(h, 13) + h", {}),
    "conv1d beside its input": ("float[3, time]", "conv1d(h, 3, window=3, pad=same) + h", {}),
    "conv2d beside its input": ("float[5, 7, 9]", "conv2d(h, 5, window=3, pad=1) + h", {}),
    "rnn": ("float[3, time]", "rnn(h, 5)", {}),
    "rnn beside its input": ("float[3, time]", "rnn(h, 3, activation=relu) + h", {}),
    "gru": ("float[3, time]", "gru(h, 5, reverse=true)", {}),
    "gru, the last state": ("float[3, time]", "gru(h, 4, last=true)", {}),
    "lstm": ("float[3, time]", "lstm(h, 5)", {}),
    "lstm, the last state": ("float[3, time]", "lstm(h, 4, reverse=true, last=true)", {}),
    "lstm upon another": ("float[3, time]", "lstm(h, 4) |> upper: lstm(3)", {}),
    "tanh": ("float[3, time]", "tanh(h)", {}),
    "sigmoid": ("float[5]", "sigmoid(h)", {}),
    "relu": ("float[5]", "relu(h)", {}),
    "gelu": ("float[5]", "gelu(h)", {}),
    "softplus": ("float[5]", "softplus(h)", {}),
    "exp": ("float[2, time]", "exp(h)", {}),
    "log": ("float[2, time]", "log(square(h) + 0.5)", {}),
    "log of zeros in padding": ("float[2, time]", "log(square(h))", {}),
    "abs": ("float[5]", "abs(h)", {}),
    "square": ("float[5]", "square(h)", {}),
    "sqrt": ("float[2, time]", "sqrt(square(h) + 0.5)", {}),
    "negate": ("float[5]", "-h", {}),
    "add": ("float[3, 4]", "h + dense(x, 1)", {}),
    "subtract": ("float[3, time]", "h - mean(h, over=time)", {"reshape": ""}),
    "multiply": ("float[3, 4]", "h * h", {}),
    "divide": ("float[2, time]", "h / (square(h) + 0.5)", {}),
    "add_number": ("float[5]", "h + 2", {}),
    "multiply_number": ("float[5]", "3 * h", {}),
    "divide_number": ("float[2, time]", "1 / (square(h) + 0.5)", {}),
    "subsample": ("float[3, time]", "subsample(h, 2)", {}),
    "subsample trainable": ("float[3, time]", "subsample(h, 3, trainable=true)", {}),
    "subsample image": ("float[3, 6, 7]", "subsample(h, 2, trainable=true)", {}),
    "subsample uneven": ("float[2, 6, 9]", "subsample(h, [2, 3])", {}),
    "max_pool": ("float[3, 6, 7]", "max_pool(h, 2)", {}),
    "max_pool over time": ("float[3, time]", "max_pool(h, 3, stride=2)", {}),
    "mean": ("float[3, 4]", "mean(h)", {}),
    "mean over time": ("float[3, time]", "mean(h, over=time)", {}),
    "mean of all": ("float[3, time]", "mean(h)", {}),
    "sum": ("float[3, 4]", "sum(h, over=0)", {}),
    "sum over time": ("float[3, time]", "sum(h, over=time)", {}),
    "max": ("float[3, 4]", "max(h, over=1)", {}),
    "max over time": ("float[3, time]", "max(h, over=time)", {}),
    "concat": ("float[3, time]", "concat(h, 2 * h, square(h))", {}),
    "slice": ("float[5, 4]", "slice(h, 1, 4)", {}),
    "reshape": ("float[3, 4]", "reshape(h, [2, 6])", {}),
    "flatten": ("float[3, 4]", "flatten(h)", {}),
    "transpose": ("float[3, 4]", "transpose(h)", {}),
    "flip": ("float[3, 4]", "flip(h, 1)", {}),
    "flip over time": ("float[3, time]", "flip(h, time)", {}),
    "softmax": ("float[5]", "softmax(h)", {}),
    "softmax at each step": ("float[5, time]", "softmax(h)", {}),
    "softmax over time": ("float[2, time]", "softmax(h, over=time)", {}),
    "log_softmax": ("float[5]", "log_softmax(h)", {}),
    "layer_norm": ("float[6]", "layer_norm(h)", {}),
    "layer_norm at each step": ("float[6, time]", "layer_norm(h)", {}),
    "batch_norm": ("float[3, 4]", "batch_norm(h)", {}),
    "batch_norm over time": ("float[3, time]", "batch_norm(h)", {}),
    "scale": ("float[3, time]", "scale(h)", {}),
    "dropout": ("float[3, 7]", "dropout(h, 0.4)", {}),
    "normalize": ("float[5]", "normalize(h)", {}),
    "dot": ("float[5]", "dot(h, square(h))", {}),
    "distance": ("float[5]", "distance(h, 2 * h + 1)", {}),
    "embedding": ("index[7, time]", "embedding(x, 4)", {"layer": "embedding(x, 1)"}),
    "cross_entropy": ("float[4]", "dense(h, 6)", {"more": "target t: class[6]", "loss": "cross_entropy(y, t)"}),  # noqa: E501
    "cross_entropy of each step": ("float[4, time]", "conv1d(h, 6, window=1)", {"more": "target t: class[6, time]", "loss": "cross_entropy(y, t)"}),  # noqa: E501
    "mse": ("float[3, time]", "h", {"more": "target t: float[3, time]", "loss": "mse(tanh(y), t)"}),
    "mae": ("float[3]", "tanh(h)", {"more": "target t: float[3]", "loss": "mae(y, t)"}),
    "huber": ("float[3, time]", "tanh(h)", {"more": "target t: float[3, time]", "loss": "huber(y, t)"}),  # noqa: E501
    "binary_cross_entropy": ("float[3]", "2 * h", {"more": "target t: class[2, 3]", "loss": "binary_cross_entropy(y, t)"}),  # noqa: E501
    "contrastive": ("float[3]", "tanh(h)", {"more": "target t: class[2]", "loss": "contrastive(y, square(h), t)"}),  # noqa: E501
    "triplet": ("float[3]", "tanh(h)", {"loss": "triplet(y, square(h), 2 * h)"}),
    "gaussian_nll": ("float[3]", "tanh(h)", {"more": "target t: float[3]", "loss": "gaussian_nll(y, 0.3 * h, t)"}),  # noqa: E501
    "gaussian": ("float[3, time]", "gaussian(h)", {"layer": "scale(x)"}),
    "gaussian, several": ("float[6, time]", "gaussian(h, mixtures=3)", {}),
    "codebook": ("float[6, time]", "codebook(h, 5)", {}),
    "ctc": ("float[4, 9]", "conv1d(h, 6, window=1)", {"more": "target t: class[5, 3]", "loss": "ctc(y, t)"}),  # noqa: E501
    "two losses and a value used twice": ("float[3]", "tanh(h) * h", {"loss": "mean(y) weight 0.5\nloss mean(square(h))"}),  # noqa: E501
    "metrics": ("float[4, time]", "conv1d(h, 6, window=1)", {"more": "target t: class[6, time]\ntarget u: float[6, time]", "loss": "cross_entropy(y, t)\nmetric accuracy(y, t)\nmetric error(y, t)\nmetric mse(y, u)\nmetric rmse(y, u)\nmetric mae(y, u)\nmetric arv(y, u)"}),  # noqa: E501
}  # fmt: skip

# One sample a tile, and whole tiles; half ones are the same text (`test_half_tiles`).
SAMPLES = {"float32": (17,), "float64": (1, 19)}
HALVES = ("dense", "conv2d", "conv1d same", "max_pool", "batch_norm over time", "lstm", "ctc")
RELATIVE = {"float32": 2e-4, "float64": 1e-10}


def text_of(case: str) -> str:
    kind, op, options = CASES[case]
    filled = {"layer": "scale(x)", "more": "", "loss": SQUARE, **options}
    filled.pop("reshape", None)
    if case == "subtract":
        filled["more"] = "w = conv1d(x, 3, window=1)"
        op = "h - tanh(w)"
    return FRAME.format(type=kind, op=op, **filled)


def one_by_one(graph, arrays, dtype, key):
    """The oracle's batch: each sample with its own lengths; implicit inputs of the whole batch."""
    batch = prepare(graph, arrays, "float64", key)
    samples: dict[str, list[np.ndarray]] = {}
    for name, item in graph.data.items():
        whole = batch.arrays[name]
        samples[name] = []
        for n in range(batch.samples):
            lengths = {symbol: int(valid[n]) for symbol, valid in batch.valid.items()}
            cut = tuple(slice(0, size) for size in bind(item.type.shape, lengths))
            samples[name].append(whole[n][cut].copy())
    return samples


def close(found, expected, dtype, what) -> None:
    scale = max(1e-3, float(np.abs(expected).max(initial=0.0)))
    error = float(np.abs(np.asarray(found, np.float64) - expected).max(initial=0.0)) / scale
    assert error < RELATIVE[dtype], f"{what}: {error:.1e} of the largest entry"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_kernels_match_the_oracle(case: str, dtype: str) -> None:
    compare(case, dtype, SAMPLES[dtype])


@pytest.mark.parametrize("case", HALVES)
def test_half_tiles(case: str) -> None:
    compare(case, "float32", (3, 9))


def compare(case: str, dtype: str, batches: tuple[int, ...]) -> None:
    compare_model(tg.compile_text(text_of(case), dtype=dtype, seed=3), dtype, batches)


def compare_model(model, dtype: str, batches: tuple[int, ...], least: int = 1) -> None:
    """Loss, gradients, outputs and metrics of a model beside the oracle's; its input is x, of at
    least so many steps."""
    rng = np.random.default_rng(1)
    for name, storage in model.checked.storages.items():
        if storage.trainable:
            model.numbers.storage(name)[:] += 0.3 * rng.standard_normal(storage.shape).reshape(-1)
    storages = {name: array.astype(np.float64) for name, array in model.free.items()}
    graph = simplify(model.checked, Diagnostics(), "train")
    for samples in batches:
        arrays = random_batch(model.checked, samples, samples)
        if "x.length" in arrays:
            arrays["x.length"] = np.maximum(arrays["x.length"], least)
        arrays = {
            n: a.astype(dtype).astype(np.float64) if a.dtype.kind == "f" else a
            for n, a in arrays.items()
        }
        singles = one_by_one(graph, arrays, dtype, (model.seed, model.steps))
        expected = interpret(graph, storages, singles, differentiate=True)
        loss, gradients = model.value_and_grad(**arrays)
        close(loss, expected.loss, dtype, "loss")
        for name, gradient in gradients.items():
            close(gradient, expected.gradients[name], dtype, f"gradient of {name}")

        names = [term.name for term in model.checked.outputs]
        inputs = {n: a for n, a in arrays.items() if n.removesuffix(".length") == "x"}
        made = model.predict(**inputs)
        plain = simplify(model.checked, Diagnostics(), "predict")
        singles = one_by_one(plain, inputs, dtype, (0, 0))
        told = interpret(plain, storages, singles)
        for name in names:
            for n, sample in enumerate(told.outputs[name]):
                cut = tuple(slice(0, size) for size in sample.shape)
                close(made[name][n][cut], sample, dtype, f"output {name}")

        evaluated = simplify(model.checked, Diagnostics(), "evaluate")
        singles = one_by_one(evaluated, arrays, dtype, (0, 0))
        sums = interpret(evaluated, storages, singles).sums
        for name, found in model.evaluate_batch(arrays).items():
            close(found, sums[name].reshape(-1), dtype, name)


def test_every_op_has_a_case() -> None:
    used = set()
    for case in CASES:
        model = tg.compile_text(text_of(case))
        used |= {node.op for node in model.checked.nodes.values()}
    internal = {op.name for op in OPS if op.category == "internal"}
    assert {op.name for op in OPS} - internal <= used
