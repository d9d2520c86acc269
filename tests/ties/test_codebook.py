"""`by codebook(...)`: several parameters read the same few numbers, entry by entry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiedgraph as tg
from tiedgraph.compiler import check
from tiedgraph.gradients import check_gradients

TEXT = """
model book
input x: float[4]
target y: float[4]
a = dense(x, 3) |> tanh
b = dense(a, 4)
c = dense(a, 3)
loss mse(b, y)
loss mse(sum(c), 0.5 * sum(y))
tie hard a.weight, b.weight, c.bias by codebook("book.npz")
tie hard c.weight = transpose(slice(a.weight, 0, 3, axis=1))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "book.tie").write_text(TEXT)
    return tmp_path


def write(place: Path, **changes: object) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, object] = {
        "a.weight": rng.integers(-1, 3, (3, 4)),
        "b.weight": rng.integers(-1, 3, (4, 3)),
        "c.bias": np.array([3, -1, 2], np.int16),
    }
    arrays |= {name.replace("_", "."): array for name, array in changes.items()}
    np.savez_compressed(place / "book.npz", **{n: a for n, a in arrays.items() if a is not None})  # type: ignore[arg-type]


def test_all_members_read_one_list(place: Path) -> None:
    write(place)
    found = check(place / "book.tie")
    graph = found.graph
    assert graph is not None
    assert graph.storages["a.weight"].shape == (4,)
    assert {p for p, param in graph.params.items() if param.view.storage == "a.weight"} == {
        "a.weight", "b.weight", "c.bias", "c.weight",
    }  # fmt: skip
    assert graph.ties[0].saves == 12 + 12 + 3 - 4
    assert all(v.verdict == "right" for v in check_gradients(graph))
    model = tg.compile(place / "book.tie")
    values = model.free["a.weight"]
    with np.load(place / "book.npz") as book:
        for name in ("a.weight", "b.weight", "c.bias"):
            assert np.array_equal(
                model.parameters[name], np.append(values, 0)[book[name]].astype(np.float32)
            )
    model.step(x=np.ones((2, 4)), y=np.ones((2, 4)))
    model.save(place / "saved")
    again = tg.load(place / "saved")
    assert np.array_equal(again.free["a.weight"], model.free["a.weight"])
    assert "codebook" in model.explain("b.weight")


MISTAKES = [
    ({"b_weight": None}, "no array 'b.weight'"),
    ({"b_weight": np.zeros((3, 4), int)}, "[3, 4], but the parameter is [4, 3]"),
    ({"b_weight": np.zeros((4, 3))}, "must hold integers"),
    ({"b_weight": np.full((4, 3), -2)}, "holds -2 to 3"),
    ({"b_weight": np.full((4, 3), 7)}, "never uses free number 4"),
    ({"b_weight": np.full((4, 3), 27)}, "0 to 26"),
]


@pytest.mark.parametrize(("changes", "told"), MISTAKES, ids=[told for _, told in MISTAKES])
def test_files_that_do_not_fit(place: Path, changes: dict[str, object], told: str) -> None:
    write(place, **changes)
    found = check(place / "book.tie")
    assert found.graph is None
    assert told in found.diagnostics.errors[0].message


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", None])
def test_damaged_files(place: Path, content: bytes | None) -> None:
    write(place)
    if content is None:
        content = (place / "book.npz").read_bytes()[:-30]
    (place / "book.npz").write_bytes(content)
    found = check(place / "book.tie")
    assert [error.code for error in found.diagnostics.errors] == ["E0502"]


def test_one_member_cannot_have_two_lists(place: Path) -> None:
    text = TEXT + "tie hard b.weight by hash(free=2)\n"
    (place / "book.tie").write_text(text)
    write(place)
    found = check(place / "book.tie")
    assert [error.code for error in found.diagnostics.errors] == ["E0402"]
