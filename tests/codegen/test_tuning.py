"""What tuning keeps: found again for the same program, a miss when damaged, used by programs."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import numpy as np
import pytest

import tiedgraph as tg
from tiedgraph.codegen import cache, tuning

TEXT = """
input x: float[SIZE]
target y: class[4]
o = dense(x, 4)
output made = o
loss cross_entropy(o, y)
train { optimizer = sgd(rate=0.1) }
"""


@pytest.fixture
def prefix(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Entries of this test alone, beside the suite's kernels."""
    found = f"tuned-test-{uuid4().hex}-"
    monkeypatch.setattr(tuning, "PREFIX", found)
    yield found
    for file in cache.folder().glob(f"{found}*"):
        file.unlink()


def model(size: int = 5) -> tg.Model:
    return tg.compile_text(TEXT.replace("SIZE", str(size)), seed=1)


def test_a_choice_is_found_for_its_program_alone(prefix: str) -> None:
    plan = model().program("train").schedule
    assert not plan.tuned
    tuning.keep(plan, 20, 8)
    tuning.keep(plan, 3, 1)
    tuning.keep(plan, 20, 1)
    assert model().program("train").schedule.tuned == {3: 1, 20: 1}
    assert not model(6).program("train").schedule.tuned
    assert not model().program("predict").schedule.tuned


def test_what_is_damaged_or_unknown_is_a_miss(prefix: str) -> None:
    plan = model().program("train").schedule
    tuning.keep(plan, 20, 8)
    (file,) = cache.folder().glob(f"{prefix}*")
    file.write_bytes(file.read_bytes()[:-1] + b"]")
    assert not tuning.with_tuned(plan).tuned
    for payload in (
        b"{",
        b"[1]",
        b'{"20": 5}',
        b'{"x": 8}',
        b'{"20": [8]}',
        b'{"20": "8"}',
        b"\xff",
    ):
        cache.write(file.name.removesuffix(".o"), payload)
        assert not tuning.with_tuned(plan).tuned


def test_steps_use_it(prefix: str) -> None:
    rng = np.random.default_rng(0)
    batch = {"x": rng.random((20, 5), np.float32), "y": rng.integers(0, 4, 20)}
    losses = []
    for lanes in (16, 8, 1):
        tuning.keep(model().program("train").schedule, 20, lanes)
        made = model()
        losses.append(made.step(**batch))
        assert made.program("train").latest.lanes == lanes
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
