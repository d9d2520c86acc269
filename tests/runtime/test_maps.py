"""Copies for index maps, filled and summed back by threads, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tiedgraph as tg
from tiedgraph.codegen import kernels
from tiedgraph.runtime.program import address_of, aligned

# Runs down (many accumulators), no runs (two), coefficients, runs up and down, zeros; few entries.
TIES = ("circulant", "hash(free=9000)", "antisymmetric", "toeplitz", "block_diagonal(2)")
SIZES = (182, 8)


def model(tie: str, size: int, threads: int) -> tg.Model:
    return tg.compile_text(
        f"input x: float[{size}]\ny = dense(x, {size})\noutput y = y\n"
        f"tie hard y.weight by {tie}\n"
        "loss mse(y, x)\ntrain { optimizer = sgd(rate=0.1) }\n",
        threads=threads,
        seed=1,
    )


def run(phases: Any) -> None:
    for jobs in phases:
        for entry, *arguments in reversed(jobs):
            kernels.at(entry)(*arguments)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tie", TIES)
def test_copies_there_and_back(tie: str, size: int) -> None:
    tie = tie.replace("9000", str(min(9000, size * size)))
    found = []
    for threads in (1, 2, 3):
        made = model(tie, size, threads)
        plan, maps = made.numbers.plan, made.numbers.maps
        (name,) = plan.maps
        storage, where = plan.maps[name]
        source, target = plan.storages[storage], plan.expanded[name]
        index, scale = where.index.reshape(-1), where.coefficient
        factor = np.where(index < 0, 0, 1.0 if scale is None else np.reshape(scale, -1))
        numbers, kept = made.numbers.array, []
        run(maps.expand(address_of(numbers), threads, kept))
        copy = numbers[target.offset : target.offset + target.size]
        free = numbers[source.offset : source.offset + source.size]
        np.testing.assert_array_equal(copy, (factor * free[index]).astype(np.float32))
        stride = len(numbers)
        shards = aligned(2 * stride, "float32").reshape(2, stride)
        total = aligned(stride, "float32")
        behind = slice(target.offset, target.offset + target.size)
        for _ in range(2):  # accumulators are left as they were found
            rng = np.random.default_rng(2)
            shards[:, behind] = rng.standard_normal((2, target.size))
            total[:] = rng.standard_normal(stride)
            wanted = total[source.offset : source.offset + source.size].astype(np.float64)
            given = factor * shards[:, behind].sum(axis=0)
            np.add.at(wanted, index[index >= 0], given[index >= 0])
            places = (address_of(total), address_of(shards), stride, 2)
            run(maps.contract(*places, threads, kept))
            own = total[source.offset : source.offset + source.size]
            np.testing.assert_allclose(own, wanted, rtol=1e-4, atol=1e-4)
            assert not shards.any()
        found.append(own.tobytes())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("tie", ["circulant", "hash(free=9000)"])
def test_steps_have_the_same_bits_for_any_number_of_threads(tie: str) -> None:
    x = np.random.default_rng(0).random((40, 182), np.float32)
    found = []
    for threads in (1, 2, 3):
        made = model(tie, 182, threads)
        for _ in range(3):
            made.step(x=x)
        found.append(made.numbers.array.tobytes())
    assert found[0] == found[1] == found[2]


def test_predictions_read_what_the_storage_holds_now() -> None:
    x = np.random.default_rng(0).random((3, 182), np.float32)
    made = model("hash(free=9000)", 182, 1)
    (name,) = (storage for storage, _ in made.numbers.plan.maps.values())
    snapshot = made.snapshot()
    found = [made.predict(x=x)["y"]]
    made.numbers.storage(name)[:] *= 2
    found.append(made.predict(x=x)["y"])
    made.step(x=x)
    found.append(made.predict(x=x)["y"])
    made.restore(snapshot)
    found += [made.predict(x=x)["y"], made.predict(x=x)["y"]]
    doubled = made.parameters["y.weight"] * 2
    np.testing.assert_allclose(found[1], x @ doubled.T, rtol=1e-4, atol=1e-5)
    assert not np.array_equal(found[1], found[2])
    for again in found[3:]:
        np.testing.assert_array_equal(again, found[0])
