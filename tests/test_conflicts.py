"""Which tie fights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiedgraph as tg
from tiedgraph.conflicts import conflicts_text, find_conflicts
from tiedgraph.diagnostics import DataError

Array = np.ndarray[Any, np.dtype[Any]]


def model(view: str, second: str) -> tg.Model:
    """Two linear maps of one input, to two targets; `view` ties them."""
    return tg.compile_text(
        f"""
        input x: float[4]
        target y: float[4]
        target z: float[4]
        a = dense(x, 4, bias=false)
        b = dense(x, 4, bias=false)
        loss mse(a, y)
        loss mse({second}, z)
        tie hard b.weight = {view}
        init a.weight = zeros
        """,
        dtype="float64",
    )


def data(count: int = 200) -> dict[str, Array]:
    x = np.random.default_rng(0).normal(size=(count, 4))
    return {"x": x, "y": x, "z": x}


@pytest.mark.parametrize(
    ("view", "second", "cosine"),
    [("a.weight", "b", 1.0), ("a.weight", "-b", -1.0), ("negate(a.weight)", "b", -1.0),
     ("negate(a.weight)", "-b", 1.0), ("flip(a.weight, axis=0)", "b", 0.0)],
)  # fmt: skip
def test_uses_that_agree_and_uses_that_fight(view: str, second: str, cosine: float) -> None:
    made = model(view, second)
    before = made.free
    (found,) = find_conflicts(made, data())
    (pair,) = found.pairs
    assert pair.cosine == pytest.approx(cosine, abs=0.15)
    assert pair.fights == (cosine < -0.5)
    assert set(found.uses) == {"a.weight", "b.weight"}
    # Each loss has one use here, so that losses tell the same.
    (of_losses,) = found.loss_pairs
    assert of_losses.cosine == pytest.approx(pair.cosine)
    assert all(np.array_equal(before[name], made.free[name]) for name in before)
    text = conflicts_text([found])
    assert ("fights" in text) == pair.fights
    # The norm of the sum is that of the gradient itself.
    one = {name: array[:32] for name, array in data().items()}
    (first,) = find_conflicts(made, one, batch=32)
    _, gradient = made.value_and_grad(**one)
    assert first.total == pytest.approx(float(np.linalg.norm(gradient["a.weight"])))


def test_tasks_that_fight() -> None:
    made = tg.compile_text(
        """
        input x: float[3]
        h = dense(x, 3, bias=false)
        task up { target y: float[3]; loss mse(h, y) }
        task down { target y: float[3]; loss mse(-h, y) }
        init h = zeros
        """
    )
    x = np.random.default_rng(0).normal(size=(64, 3))
    (found,) = find_conflicts(made, {"x": x, "up.y": x, "down.y": x})
    assert found.loss_pairs[0].fights
    assert {found.loss_pairs[0].first, found.loss_pairs[0].second} == {"up.mse", "down.mse"}
    assert not found.pairs


def test_nothing_to_fight() -> None:
    plain = tg.compile_text(
        "input x: float[2]\ntarget y: float[2]\na = dense(x, 2)\nloss mse(a, y)"
    )
    x = np.zeros((4, 2))
    assert find_conflicts(plain, {"x": x, "y": x}) == []
    assert "nothing can fight" in conflicts_text([])
    silent = tg.compile_text("input x: float[2]\noutput y = dense(x, 2)")
    with pytest.raises(DataError, match="no loss"):
        find_conflicts(silent, {"x": x})


def test_from_the_command_line(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from tiedgraph.cli.main import app

    made = model("a.weight", "-b")
    made.save(tmp_path / "m")
    np.savez(tmp_path / "d.npz", **data())  # type: ignore[arg-type]

    def call(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, [w.replace("@", f"{tmp_path}/") for w in words])
        assert done.exit_code == code, done.output
        return done.output

    assert "fights" in call("explain", "@m", "--data", "@d.npz")
    assert '"fights": true' in call("explain", "@m", "b", "--data", "@d.npz", "--format", "json")
    assert "no parameter" in call("explain", "@m", "q", "--data", "@d.npz", code=2)
    (tmp_path / "m.tie").write_text("input x: float[2]\noutput y = dense(x, 2)")
    assert "give its folder" in call("explain", "@m.tie", "--data", "@d.npz", code=2)
