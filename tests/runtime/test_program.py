"""Compiled programs: the same bits whatever the threads, the padding and the place in the batch."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import tiedgraph as tg
from tiedgraph.gradients import random_batch

SEQUENCES = """
input frames: float[3, time]
target speaker: class[4]
target each: class[5, time]
h1 = conv1d(frames, 6, window=3, pad=same) |> tanh
h2 = subsample(h1, 2, trainable=true) |> tanh
h3 = layer_norm(h2) |> relu
attention = conv1d(h3, 6, window=3, pad=same) |> softmax(over=time)
pooled = concat(mean(h3, over=time), sum(h3, over=time), max(h3, over=time), sum(h3 * attention, over=time))
logits = dense(pooled, 4)
steps = conv1d(h1, 5, window=1)
output who = softmax(logits)
output all = mean(log(square(h3) + 0.1))
output tags = softmax(steps)
output back = flip(h1, time)
loss cross_entropy(logits, speaker)
loss cross_entropy(steps, each) weight 0.5
metric accuracy(logits, speaker)
metric accuracy(steps, each)
train { optimizer = adam(rate=0.01) }
"""  # noqa: E501

IMAGES = """
input image: float[1, 9, 9]
target label: class[4]
c1 = conv2d(image, 5, window=3, pad=1) |> tanh
n1 = batch_norm(c1)
p1 = max_pool(n1, 2)
d1 = dropout(p1, 0.3)
f1 = dense(d1, 30) |> relu
f2 = dense(f1, 30) |> relu
tie hard f2.bias, f1.bias
tie hard f2.weight by hash(free=100)
logits = dense(f2, 4)
loss cross_entropy(logits, label)
metric accuracy(logits, label)
train { optimizer = sgd(rate=0.05, momentum=0.9), decay = 0.001, clip = 1 }
"""


@pytest.fixture(scope="module")
def sequences() -> tg.Model:
    return tg.compile_text(SEQUENCES, dtype="float64", seed=1)


def test_a_padded_sample_gives_the_bits_of_one_that_is_not(sequences: tg.Model) -> None:
    batch = random_batch(sequences.checked, seed=5, samples=21)
    frames, lengths = batch["frames"], batch["frames.length"]
    assert len(set(lengths)) > 2
    # What stands in the padding must not matter at all.
    for n, length in enumerate(lengths):
        frames[n, :, length:] = 1e3 * (n + 1)
    whole = sequences.predict(**{"frames": frames, "frames.length": lengths})
    for n, length in enumerate(lengths):
        # As many samples, so that they lie in tiles of the same kind.
        alone = sequences.predict(frames=np.repeat(frames[n : n + 1, :, :length], 21, axis=0))
        for name in ("who", "all", "tags", "back"):
            array = alone[name][0]
            cut = tuple(slice(0, size) for size in array.shape)
            assert np.array_equal(whole[name][n][cut], array), (name, n)
            if f"{name}.length" in whole:
                assert whole[f"{name}.length"][n] == array.shape[-1]
                assert not whole[name][n][..., array.shape[-1] :].any()


def test_losses_metrics_and_gradients_do_not_see_padding(sequences: tg.Model) -> None:
    batch = random_batch(sequences.checked, seed=6, samples=9)
    steps = batch["frames.length"]
    sums = sequences.evaluate_batch(batch)
    loss, gradients = sequences.value_and_grad(**batch)
    # The mean over the batch of the first loss, and over all valid steps of the second.
    each: dict[str, list[float]] = {"a": [], "b": [], "right": [], "steps right": []}
    for n, length in enumerate(steps):
        one = {
            "frames": batch["frames"][n : n + 1, :, :length],
            "speaker": batch["speaker"][n : n + 1],
            "each": batch["each"][n : n + 1, :length],
        }
        found = sequences.evaluate_batch(one)
        names = [name for name in found if name.startswith("total:")]
        each["a"].append(found[names[0]][0] / len(steps))
        each["b"].append(found[names[1]][0] * length / steps.sum())
        collected = [found[name] for name in found if name.startswith("collect:")]
        each["right"].append(collected[0][0])
        each["steps right"].append(collected[1][0])
    assert loss == pytest.approx(sum(each["a"]) + sum(each["b"]), rel=1e-12)
    collected = [sums[name] for name in sums if name.startswith("collect:")]
    assert collected[0].tolist() == [sum(each["right"]), 9]
    assert collected[1].tolist() == [sum(each["steps right"]), steps.sum()]
    again, same = sequences.value_and_grad(**_padded_with_rubbish(batch))
    assert again == loss
    for name, gradient in gradients.items():
        assert np.array_equal(gradient, same[name]), name


def _padded_with_rubbish(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    frames = batch["frames"].copy()
    for n, length in enumerate(batch["frames.length"]):
        frames[n, :, length:] = -77.0
    return {**batch, "frames": frames}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_for_any_number_of_threads(dtype: str) -> None:
    results = []
    for threads in (1, 2, 4):
        model = tg.compile_text(IMAGES, dtype=dtype, seed=2, threads=threads)
        for step in range(4):
            batch = random_batch(model.checked, seed=step, samples=150)
            model.step(**batch)
        results.append(model.free)
    for other in results[1:]:
        for name, array in results[0].items():
            assert np.array_equal(array, other[name]), name


def test_a_seed_fixes_everything_and_another_changes_it() -> None:
    def after(seed: int) -> dict[str, np.ndarray]:
        model = tg.compile_text(IMAGES, seed=seed)
        for step in range(3):
            model.step(**random_batch(model.checked, seed=step, samples=20))
        return model.free

    first, second, other = after(1), after(1), after(2)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["c1.weight"], other["c1.weight"])


def test_several_python_threads_may_call_one_model() -> None:
    model = tg.compile_text(IMAGES, seed=1)
    batch = random_batch(model.checked, seed=1, samples=40)
    expected = model.evaluate_batch(batch)
    wrong: list[object] = []

    def call() -> None:
        for _ in range(30):
            found = model.evaluate_batch(batch)
            if any(not np.array_equal(found[name], expected[name]) for name in expected):
                wrong.append(found)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_arrays_given_are_not_changed_and_results_are_owned() -> None:
    model = tg.compile_text(IMAGES, seed=1)
    batch = random_batch(model.checked, seed=1, samples=10)
    kept = {name: array.copy() for name, array in batch.items()}
    _, gradients = model.value_and_grad(**batch)
    held = {name: array.copy() for name, array in gradients.items()}
    before = model.free
    model.value_and_grad(**random_batch(model.checked, seed=2, samples=10))
    assert all(np.array_equal(gradients[name], held[name]) for name in held)
    model.step(**batch)
    assert all(np.array_equal(batch[name], kept[name]) for name in kept)
    assert not np.array_equal(before["c1.weight"], model.free["c1.weight"])


def test_value_and_grad_leaves_running_statistics_alone() -> None:
    model = tg.compile_text(IMAGES, seed=1)
    before = model.free
    model.value_and_grad(**random_batch(model.checked, seed=2, samples=10))
    assert all(np.array_equal(before[name], array) for name, array in model.free.items())


BAD_BATCHES = [
    ({"image": np.zeros((2, 1, 9, 9))}, "'label'"),
    ({"imagee": np.zeros((2, 1, 9, 9)), "label": np.zeros(2, int)}, "'image'"),
    ({"image": np.zeros((2, 1, 9, 8)), "label": np.zeros(2, int)}, r"\[2, 1, 9, 8\]"),
    ({"image": np.zeros((2, 9, 9)), "label": np.zeros(2, int)}, r"\[2, 9, 9\]"),
    ({"image": np.zeros((2, 1, 9, 9)), "label": np.zeros(3, int)}, "number of samples"),
    ({"image": np.zeros((0, 1, 9, 9)), "label": np.zeros(0, int)}, "at least one"),
    ({"image": np.zeros((2, 1, 9, 9)), "label": np.array([1, 4])}, "holds 4 in sample 1"),
    ({"image": np.zeros((2, 1, 9, 9)), "label": np.array([1, -1])}, "holds -1 in sample 1"),
    ({"image": np.zeros((2, 1, 9, 9)), "label": np.array([1, 0.5])}, "not integers"),
    ({"image": np.full((2, 1, 9, 9), "a"), "label": np.array([1, 0])}, "not numbers"),
    ({"image": np.zeros((2, 1, 9, 9)), "label": np.zeros(2, int), "lable": 1}, "'lable'"),
]


@pytest.mark.parametrize(("arrays", "told"), BAD_BATCHES, ids=[told for _, told in BAD_BATCHES])
def test_arrays_that_do_not_fit_are_named(arrays: dict[str, np.ndarray], told: str) -> None:
    model = tg.compile_text(IMAGES, seed=1)
    with pytest.raises(tg.DataError, match=told):
        model.step(**arrays)


def test_lengths_that_do_not_fit_are_named(sequences: tg.Model) -> None:
    frames = np.zeros((2, 3, 10))
    for lengths, told in (
        ([3, 11], "sample 1 is 11"),
        ([0, 4], "sample 0 is 0"),
        ([1, 9], "needs at least 2"),
        ([1.5, 9], "one integer"),
    ):
        with pytest.raises(tg.DataError, match=told):
            sequences.predict(**{"frames": frames, "frames.length": np.array(lengths)})
