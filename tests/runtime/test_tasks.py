"""Tasks: gradients, turns, data of their own, and what several share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiedgraph as tg
from tiedgraph.compiler import check_text
from tiedgraph.diagnostics import DataError
from tiedgraph.gradients import check_gradients
from tiedgraph.passes.settings import train_settings
from tiedgraph.runtime.data import arranged, load

Array = np.ndarray[Any, np.dtype[Any]]

TRUNK = """
model many
input x: float[6]
trunk = dense(x, 8) |> tanh
task parity {
    target y: class[2]
    logits = dense(trunk, 2)
    output odd = softmax(logits)
    loss cross_entropy(logits, y)
    metric accuracy(logits, y)
}
task size {
    target y: float[1]
    h = dense(trunk, 1)
    output guess = h
    loss mse(h, y) weight 0.5
    metric rmse(h, y)
}
"""
APART = """
model apart
block encoder(x) { a = dense(x, 5) |> tanh; return dense(a, 4) |> tanh }
task left {
    input x: float[6]
    target y: float[1]
    h = encoder(x)
    o = dense(h, 1)
    loss mse(o, y)
    metric rmse(o, y)
}
task right {
    input x: float[6]
    target y: class[3]
    h = encoder(x)
    o = dense(h, 3)
    loss cross_entropy(o, y)
    metric accuracy(o, y)
}
tie shared h across left, right
"""


def common(count: int = 40) -> dict[str, Array]:
    x = np.random.default_rng(0).normal(size=(count, 6))
    return {"x": x, "parity.y": (x[:, 0] > 0).astype(int), "size.y": x[:, 1:2]}


def apart(left: int = 40, right: int = 24) -> dict[str, dict[str, Array]]:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(left, 6)), rng.normal(size=(right, 6))
    return {
        "left": {"x": a, "y": a[:, :1]},
        "right": {"x": b, "y": b[:, :3].argmax(axis=1)},
    }


def compiled(text: str, train: str = "", **more: Any) -> tg.Model:
    return tg.compile_text(f"{text}\ntrain {{ {train} }}", dtype="float64", **more)


# ---------------------------------------------------------------- gradients


def test_the_joint_gradient_is_the_weighted_sum_of_the_tasks_own() -> None:
    model = compiled(TRUNK)
    data = common()
    loss, joint = model.value_and_grad(**data)
    parity = {"x": data["x"], "y": data["parity.y"]}
    size = {"x": data["x"], "y": data["size.y"]}
    first, of_parity = model.value_and_grad(parity=parity)
    second, of_size = model.value_and_grad(size=size)
    assert loss == pytest.approx(first + second, rel=1e-12)
    for name, gradient in joint.items():
        assert np.allclose(gradient, of_parity[name] + of_size[name], atol=1e-12)
    assert not of_parity["size.h.weight"].any()
    assert of_parity["trunk.weight"].any()
    both, again = model.value_and_grad(parity=parity, size=size)
    assert both == pytest.approx(loss, rel=1e-12)
    assert all(np.allclose(again[name], joint[name], atol=1e-12) for name in joint)
    # A given weight counts.
    heavy = compiled(TRUNK.replace("weight 0.5", "weight 5"))
    heavy.set(model.free)
    _, found = heavy.value_and_grad(size=size)
    assert np.allclose(found["trunk.weight"], 10 * of_size["trunk.weight"], atol=1e-11)


def test_shared_parameters_sum_over_data_of_different_sizes() -> None:
    model = compiled(APART)
    data = apart()
    _, left = model.value_and_grad(left=data["left"])
    _, right = model.value_and_grad(right=data["right"])
    _, both = model.value_and_grad(**data)
    assert set(model.free) == {
        f"left.{name}.{kind}" for name in ("h.a", "h", "o") for kind in ("weight", "bias")
    } | {"right.o.weight", "right.o.bias"}
    for name in both:
        assert np.allclose(both[name], left[name] + right[name], atol=1e-12)


def test_learned_weights_are_differentiated() -> None:
    found = check_text(TRUNK + "train { balance = uncertainty }")
    assert found.graph is not None
    verdicts = {v.owner: v.verdict for v in check_gradients(found.graph)}
    assert set(verdicts.values()) == {"right"}
    assert "size.mse.balance.log_variance" in verdicts
    model = compiled(TRUNK, "balance = uncertainty, optimizer = adam(rate=0.05)")
    data = common()
    data["size.y"] = 10 * data["size.y"]
    row = model.fit(data, epochs=60)[-1]
    # Kendall et al.: at the optimum the variance is the loss, halved for squared errors as given.
    assert row["size.mse.balance.log_variance"] > row["parity.cross_entropy.balance.log_variance"]


# ---------------------------------------------------------------- training


def test_alternating_on_one_task_is_training_that_task_alone() -> None:
    data = apart()
    text = APART.replace("tie shared h across left, right\n", "")
    alone = text[: text.index("task right")]
    for optimizer in ("sgd(rate=0.1, momentum=0.9)", "adam(rate=0.01)"):
        settings = f"optimizer = {optimizer}, decay = 0.01, batch = 8, epochs = 3"
        both = compiled(text, f"tasks = alternate, {settings}")
        single = compiled(alone, settings)
        before = both.free["right.o.weight"]
        both.fit({"left": data["left"]})
        single.fit({"left.x": data["left"]["x"], "left.y": data["left"]["y"]})
        for name, array in single.free.items():
            assert np.array_equal(array, both.free[name]), name
        assert np.array_equal(before, both.free["right.o.weight"])


@pytest.mark.parametrize(
    ("schedule", "steps"), [("joint", 5), ("alternate", 10), ("proportional(2)", 8)]
)
def test_an_epoch_has_so_many_steps(schedule: str, steps: int) -> None:
    model = compiled(APART, f"tasks = {schedule}, batch = 8, seed = 3")
    data = load(apart(), model.checked)
    turns = list(data.turns(train_settings(model.checked), 0))  # type: ignore[union-attr]
    assert len(turns) == steps
    history = model.fit(apart(), epochs=2)
    assert history[-1]["step"] == 2 * steps
    assert {"left.loss", "right.loss", "left.rmse", "right.accuracy"} <= set(history[0])
    # Stopped and taken up again, the same steps follow.
    settings = train_settings(model.checked)
    rest = list(data.turns(settings, 1, 3))  # type: ignore[union-attr]
    whole = list(data.turns(settings, 1))[3:]  # type: ignore[union-attr]
    for (one, n), (other, m) in zip(rest, whole, strict=True):
        assert n == m
        assert one.keys() == other.keys()
        for task in one:
            assert all(np.array_equal(one[task][k], other[task][k]) for k in one[task])


def test_proportional_draws_by_size() -> None:
    for temperature, low, high in ((1, 0.85, 0.95), (1000, 0.4, 0.6)):
        model = compiled(APART, f"tasks = proportional({temperature}), batch = 2")
        data = load(apart(900, 100), model.checked)
        turns = [t for t, _ in data.turns(train_settings(model.checked), 0)]  # type: ignore[union-attr]
        assert low < np.mean(["left" in turn for turn in turns]) < high


def test_turns_over_common_data() -> None:
    model = compiled(TRUNK, "tasks = alternate, batch = 10")
    data = arranged(load(common(), model.checked), model.checked, train_settings(model.checked))
    first, second = [t for t, _ in data.turns(train_settings(model.checked), 0)][:2]  # type: ignore[union-attr]
    assert set(first) == {"parity"}
    assert set(second["size"]) == {"x", "size.y"}
    row = model.fit(common(), validate=common(), epochs=1)[-1]
    assert row["step"] == 8
    assert row["validate_parity.accuracy"] == model.evaluate(common())["parity.accuracy"]


def test_losses_are_means_over_each_tasks_own_samples() -> None:
    model = compiled(APART)
    data = apart()
    found = model.evaluate(data)
    left = model.evaluate({"left": data["left"]})
    assert found["left.loss"] == pytest.approx(left["left.loss"])
    assert found["loss"] == pytest.approx(found["left.loss"] + found["right.loss"])
    assert found["right.accuracy"] == model.evaluate({"right": data["right"]})["right.accuracy"]
    assert "right.loss" not in left


def test_the_best_epoch_of_a_named_task_is_kept() -> None:
    text = "monitor = right.accuracy, keep = best, epochs = 6, optimizer = adam(rate=0.05)"
    model = compiled(APART, text)
    history = model.fit(apart(), validate=apart())
    best = max(row["validate_right.accuracy"] for row in history)
    assert model.evaluate(apart())["right.accuracy"] == best


def test_only_what_an_output_needs_is_asked_for() -> None:
    model = compiled(TRUNK)
    assert model.inputs_of(["parity.odd"]) == ["x"]
    found = model.predict(["parity.odd"], x=common()["x"])
    assert set(found) == {"parity.odd"}
    nodes = model.program("predict", ["parity.odd"]).schedule.graph.nodes
    assert not [name for name in nodes if name.startswith("size")]


def test_a_task_is_added_to_a_trained_model() -> None:
    one = compiled(TRUNK[: TRUNK.index("task size")])
    both = compiled(TRUNK + "freeze trunk")
    report = both.start_from(one)
    assert report.missing == ("size.h.weight", "size.h.bias")
    data = common()
    both.fit(data, epochs=2)
    assert np.array_equal(both.free["trunk.weight"], one.free["trunk.weight"])
    assert not np.array_equal(both.free["parity.logits.weight"], one.free["parity.logits.weight"])


def test_soft_ties_across_tasks() -> None:
    model = compiled(APART + "tie soft near = left.o.weight, right.o.weight { components = 1 }")
    model.fit(apart(), epochs=1)
    assert model.mixtures["near"].held.sum() == 16


def test_explained() -> None:
    text = compiled(TRUNK).explain()
    assert "shared by all tasks, being outside of each\n  trunk" in text
    assert "tie shared h across left, right" in compiled(APART).explain()


# ---------------------------------------------------------------- mistakes

DATA_MISTAKES = [
    ({"left": {"x": np.zeros((3, 6))}}, "task 'left': the arrays: target 'left.y'"),
    ({"left": "nothing.npz"}, "task 'left': nothing.npz"),
    ({"left": {"x": np.zeros((3, 5)), "y": np.zeros((3, 1))}}, "left.x"),
    ({"lfet": {"x": np.zeros((3, 6))}}, "missing"),
]


@pytest.mark.parametrize(("data", "told"), DATA_MISTAKES, ids=[t for _, t in DATA_MISTAKES])
def test_data_that_does_not_fit(data: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        compiled(APART).fit(data)


def test_from_the_command_line(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from tiedgraph.cli.main import app

    (tmp_path / "apart.tie").write_text(APART.replace(
        "metric rmse(o, y)", 'metric rmse(o, y)\n data { train = "left.npz" }\n output out = o'
    ).replace("tie shared", "train { epochs = 2 }\ntie shared"))  # fmt: skip
    for task, arrays in apart().items():
        np.savez(tmp_path / f"{task}.npz", **arrays)  # type: ignore[arg-type]

    def call(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, [w.replace("@", f"{tmp_path}/") for w in words])
        assert done.exit_code == code, done.output
        return done.output

    data = ["--data", "left=@left.npz", "--data", "right=@right.npz"]
    text = call("train", "@apart.tie", *data, "-o", "@run", "--holdout", "8")
    assert "left.rmse" in text
    assert "right.accuracy" in text
    call("train", "@apart.tie", "-o", "@own")  # with the data that the file names
    assert "right.loss" not in call("evaluate", "@run", "--data", "left=@left.npz")
    assert "right.loss" in call("evaluate", "@run", *data)
    call("predict", "@run", "--task", "left", "--data", "@left.npz", "-o", "@out.npz")
    with np.load(tmp_path / "out.npz") as made:
        assert made.files == ["left.out"]
    assert "tasks with outputs: left" in call(
        "predict", "@run", "--task", "none", "--data", "@left.npz", "-o", "@x.npz", code=2
    )
    wrong = ["--data", "lfet=@left.npz"]
    assert "did you mean 'left'" in call("train", "@apart.tie", *wrong, "-o", "@x", code=2)
    twice = ["--data", "@left.npz", "--data", "@right.npz"]
    assert "say which task" in call("train", "@apart.tie", *twice, "-o", "@x", code=2)
