"""Soft ties: kernels against the reference, the reference against differences, and hard cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import tiedgraph as tg
from tiedgraph.ties import mixture as reference
from tiedgraph.ties.mixture import Gamma, Learned, MixtureSettings, Ramp

Array = np.ndarray[Any, np.dtype[Any]]

SETTINGS = {
    "plain": MixtureSettings(components=4),
    "one": MixtureSettings(components=1),
    "pinned": MixtureSettings(components=5, zero=0.9, zero_precision=Gamma(5e3, 2.0)),
    "learned": MixtureSettings(
        components=3, zero=Learned(0.7, 2.0, 3.0), precision=Gamma(250, 0.1)
    ),
}


def draw(settings: MixtureSettings, count: int = 60) -> tuple[Array, dict[str, Array]]:
    rng = np.random.default_rng(count)
    w = rng.normal(size=count)
    parts = reference.start(settings, w)
    moved = {name: array + 0.3 * rng.normal(size=array.shape) for name, array in parts.items()}
    return w, reference.pinned(settings, moved)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_reference_is_the_derivative_of_the_cost(name: str) -> None:
    settings = SETTINGS[name]
    w, parts = draw(settings)
    of_numbers, of_parts = reference.gradients(settings, w, parts)
    step = 1e-6

    def slope(array: Array, i: int) -> float:
        before = array[i]
        array[i] = before + step
        above = reference.cost(settings, w, parts)
        array[i] = before - step
        below = reference.cost(settings, w, parts)
        array[i] = before
        return (above - below) / (2 * step)

    for i in range(0, w.size, 7):
        assert slope(w, i) == pytest.approx(of_numbers[i], rel=1e-6, abs=1e-6)
    for part, gradient in of_parts.items():
        for i in range(settings.components):
            assert slope(parts[part], i) == pytest.approx(gradient[i], rel=1e-5, abs=1e-4)


def model(settings: str, dtype: str = "float64", units: int = 6, **more: Any) -> tg.Model:
    text = f"""
        input x: float[5]
        target y: float[3]
        h = dense(x, {units}) |> tanh
        o = dense(h, 3)
        loss mse(o, y)
        tie soft book = h, o.weight {{ {settings} }}
        train {{ optimizer = adam(rate=0.01), batch = 20, epochs = 4 }}
    """
    return tg.compile_text(text, dtype=dtype, **more)


def batch(count: int = 20) -> dict[str, Array]:
    rng = np.random.default_rng(count)
    return {"x": rng.normal(size=(count, 5)), "y": rng.normal(size=(count, 3))}


def drawn(made: tg.Model) -> Array:
    free = made.free
    names = ("h.weight", "h.bias", "o.weight")
    return np.concatenate([free[name].reshape(-1) for name in names])


def parts_of(made: tg.Model) -> dict[str, Array]:
    return {part: made.free[f"book.{part}"].astype(np.float64) for part in reference.PARTS}


@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-12), ("float32", 3e-6)])
@pytest.mark.parametrize(
    "settings",
    ["components = 4", "components = 1", "components = 6, zero = 0.9, precision = gamma(20, 0.1)",
     "components = 3, zero = learned(0.7, 2, 3)"],
)  # fmt: skip
@pytest.mark.parametrize("units", [6, 700])  # less than a vector over, and several blocks
def test_kernels_are_the_reference(settings: str, dtype: str, error: float, units: int) -> None:
    made = model(f"{settings}, strength = 0.7, method = exact", dtype, units, samples=9)
    soft = made.checked.mixtures["book"].settings
    data = batch()
    before, plain = made.value_and_grad(**data)
    w, parts = drawn(made).astype(np.float64), parts_of(made)
    of_numbers, of_parts = reference.gradients(soft, w, parts)
    cost = reference.cost(soft, w, parts)
    for part, gradient in of_parts.items():
        scale = np.abs(gradient).max() + w.size  # of what is summed up
        assert np.abs(plain[f"book.{part}"] * 9 / 0.7 - gradient).max() < error * scale * 4
    made._mixtures["book"].settings = replace(soft, strength=0.0)
    without, rest = made.value_and_grad(**data)
    assert (before - without) * 9 / 0.7 == pytest.approx(cost, rel=error * 20, abs=error * 20)
    names = ("h.weight", "h.bias", "o.weight")
    found = np.concatenate([(plain[n] - rest[n]).reshape(-1) for n in names])
    scale = np.abs(of_numbers).max()
    assert np.abs(found * 9 / 0.7 - of_numbers).max() < error * scale * 20


def passes(made: tg.Model, method: str) -> tuple[float, dict[str, Array]]:
    drawing = made._mixtures["book"]
    drawing.settings = replace(drawing.settings, method=method)
    loss, gradients = made.value_and_grad(**batch())
    return loss, gradients


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_table_is_near_the_exact_pass(dtype: str) -> None:
    made = model("components = 17, zero = 0.9, strength = 1", dtype, 500, samples=50)
    for _ in range(5):
        made.step(**batch())
    exact, of_exact = passes(made, "exact")
    table, of_table = passes(made, "table")
    assert table == pytest.approx(exact, rel=1e-3)
    for name, gradient in of_exact.items():
        error = np.sqrt(np.mean((of_table[name] - gradient) ** 2))
        assert error <= 5e-3 * np.sqrt(np.mean(gradient**2)), name


def test_the_table_gives_the_gradients_of_its_own_cost() -> None:
    made = model("components = 3, strength = 1, method = table", "float64", 400)
    data = batch()
    # Off the start, where the number of nodes is about to change: it follows from the least width.
    made.numbers.storage("book.log_precision")[:] += [0.07, 0.03, 0.0]
    _, gradients = made.value_and_grad(**data)
    for part in reference.PARTS:
        numbers = made.numbers.storage(f"book.{part}")
        for i in range(3):
            before, values = float(numbers[i]), []
            # A step that leaves the number of nodes as it is: it follows from the least width.
            for move in (1e-7, -1e-7):
                numbers[i] = before + move
                values.append(made.value_and_grad(**data)[0])
            numbers[i] = before
            slope = (values[0] - values[1]) / 2e-7
            limit = 1e-4 * max(1.0, abs(gradients[f"book.{part}"]).max())
            assert slope == pytest.approx(gradients[f"book.{part}"][i], abs=limit)


def test_the_method_follows_from_sizes() -> None:
    many = model("components = 17, strength = 1", "float32", 4000)
    assert many._mixtures["book"]._table(many._mixtures["book"].parts()) is not None
    few = model("components = 17, strength = 1", "float32", 6)
    assert few._mixtures["book"]._table(few._mixtures["book"].parts()) is None
    narrow = many._mixtures["book"].parts()
    narrow["log_precision"][:] = 30.0
    assert many._mixtures["book"]._table(narrow) is None


@pytest.mark.parametrize("method", ["exact", "table"])
def test_threads_change_no_bit(method: str) -> None:
    found = []
    for threads in (1, 2, 3):
        made = model(f"components = 5, method = {method}", "float32", 4000, threads=threads)
        for _ in range(3):
            made.step(**batch())
        found.append(made.free)
    for other in found[1:]:
        assert all(np.array_equal(found[0][name], other[name]) for name in other)


def equal(w: Array) -> Array:
    return np.full_like(w, 0.25)


def outlier(w: Array) -> Array:
    w = 0.1 * np.sin(np.arange(w.size))
    w[3] = 1e4
    return w


def lost(w: Array) -> Array:
    """All numbers on one side, so that other components keep none."""
    return 2.0 + 0.01 * np.cos(np.arange(w.size))


@pytest.mark.parametrize("start", [equal, outlier, lost])
@pytest.mark.parametrize(
    ("method", "more"),
    [("exact", ""), ("exact", ", zero = 0.99"), ("exact", ", zero = learned, precision = gamma"),
     ("table", "")],
)  # fmt: skip
def test_hard_cases_stay_finite(start: Any, more: str, method: str) -> None:
    """Equal numbers drive widths to nothing, a far one underflows everywhere."""
    made = model(
        f"components = 4, strength = 1, range = [-1, 1], method = {method}, mean_rate = 0.02, "
        f"precision_rate = 0.1, proportion_rate = 0.1{more}",
        "float32",
    )
    w = start(drawn(made)).astype(np.float32)
    cuts = {"h.weight": (0, 30), "h.bias": (30, 36), "o.weight": (36, 54)}
    made.set({n: w[a:b].reshape(made.free[n].shape) for n, (a, b) in cuts.items()})
    total = np.zeros(made.numbers.plan.size + 64, np.float32)
    drawing, plan = made._mixtures["book"], made.numbers.plan
    for step in range(10_000):
        total[:] = 0
        cost = drawing.cost(1.0, total)
        made.optimiser.set(0.01)
        made.optimiser.step(total)
        drawing.bound()
        if step % 500 == 0:
            assert np.isfinite(cost)
    assert all(np.isfinite(array).all() for array in made.free.values())
    state = drawing.state()
    assert state.proportions.sum() == pytest.approx(1.0, abs=1e-6)
    assert (state.widths >= 0.99e-3).all()
    assert state.held.sum() == 54
    assert plan.weights < plan.trained


# ---------------------------------------------------------------- in a model


def test_a_number_that_is_tied_hard_is_drawn_once() -> None:
    made = tg.compile_text(
        """
        input x: float[4]
        target y: float[4]
        a = dense(x, 4) |> tanh
        b = dense(a, 4)
        loss mse(b, y)
        tie hard b.weight = transpose(a.weight)
        tie soft book = a.weight, b.weight
        """
    )
    assert made.checked.mixtures["book"].numbers == (("a.weight", ((0, 16),)),)
    assert made.mixtures["book"].held.sum() == 16


def test_part_of_a_storage() -> None:
    made = tg.compile_text(
        """
        input x: float[4]
        target y: float[2]
        a = dense(x, 4) |> tanh
        b = dense(a, 2)
        loss mse(b, y)
        tie hard b.weight = slice(a.weight, 1, 3, axis=0)
        tie soft book = b.weight { strength = 1 }
        """,
        dtype="float64",
    )
    assert made.checked.mixtures["book"].numbers == (("a.weight", ((4, 12),)),)
    _, gradients = made.value_and_grad(x=np.ones((1, 4)), y=np.ones((1, 2)))
    soft = made.checked.mixtures["book"].settings
    parts = {part: made.free[f"book.{part}"] for part in reference.PARTS}
    w = made.parameters["b.weight"].reshape(-1)
    _, of_parts = reference.gradients(soft, w, parts)
    assert np.allclose(gradients["book.mean"], of_parts["mean"])


def test_strength_over_epochs() -> None:
    ramp = MixtureSettings(strength=Ramp(0.0, 2.0, epochs=4, after=1))
    found = [ramp.strength_at(epoch) for epoch in (0, 1, 3, 5, 9, float("inf"))]
    assert found == [0.0, 0.0, 1.0, 2.0, 2.0, 2.0]
    made = model("components = 2, strength = ramp(0, 1, epochs=2)", samples=20)
    history = made.fit(batch(), epochs=4)
    assert history[0]["book"] == 0.0
    assert history[1]["book"] != 0.0
    assert {"loss", "mse", "book"} <= set(history[0])
    assert history[-1]["loss"] == pytest.approx(history[-1]["mse"] + history[-1]["book"])


def test_numbers_are_drawn_together() -> None:
    """With a strong tie few clusters are left, and the mixture tells where they are."""
    made = model("components = 3, strength = 3, mean_rate = 0.01, precision_rate = 0.03")
    made.samples = 20
    before = reference.cost(made.checked.mixtures["book"].settings, drawn(made), parts_of(made))
    made.fit(batch(), epochs=400)
    after = reference.cost(made.checked.mixtures["book"].settings, drawn(made), parts_of(made))
    assert after < before - 50
    state = made.mixtures["book"]
    nearest = np.abs(drawn(made)[:, None] - state.means).min(axis=1)
    assert np.median(nearest) < 0.05


def test_saved_and_resumed_with_its_mixture(tmp_path: Any) -> None:
    made = model("components = 3, strength = 1")
    made.fit(batch(), epochs=2)
    made.save(tmp_path / "m")
    again = tg.load(tmp_path / "m")
    assert again.samples == 20
    assert again.loss(**batch()) == made.loss(**batch())
    assert np.array_equal(again.mixtures["book"].means, made.mixtures["book"].means)
    assert again.step(**batch()) == made.step(**batch())
    assert np.array_equal(again.free["book.mean"], made.free["book.mean"])


def test_a_plain_model_is_where_a_soft_one_starts() -> None:
    plain = tg.compile_text(
        "input x: float[5]\ntarget y: float[3]\nh = dense(x, 6) |> tanh\no = dense(h, 3)\n"
        "loss mse(o, y)",
        seed=5,
    )
    soft = model("components = 4, width = 0.1", "float32")
    found = soft.start_from(plain)
    assert set(found.missing) == {f"book.{part}" for part in reference.PARTS}
    w = np.concatenate([plain.free[n].reshape(-1) for n in ("h.weight", "h.bias", "o.weight")])
    state = soft.mixtures["book"]
    assert np.allclose(state.means, np.linspace(w.min(), w.max(), 4))
    # And one with its mixture goes on with it.
    soft.step(**batch())
    other = model("components = 4, width = 0.1", "float32")
    assert not other.start_from(soft).missing
    assert np.array_equal(other.free["book.mean"], soft.free["book.mean"])


# ---------------------------------------------------------------- what is shown


def test_explained_with_its_components() -> None:
    made = model("components = 3, zero = 0.5, strength = ramp(0, 1)")
    text = made.explain()
    assert "57 numbers" not in text  # those of the mixture are not the model's
    assert "54 numbers drawn from 3 Gaussians, which have 9 of their own" in text
    assert "zero = 0.5, strength = ramp(0, 1, 10, 0)" in text
    assert text.count("zero ") >= 1
    found = made.explain("book")
    assert found == made.explain("book.mean")
    assert "proportion" in found
    assert "tie soft book = h, o.weight" in made.explain("h.weight")


def test_the_epochs_of_a_mixture_are_kept_and_plotted(tmp_path: Any) -> None:
    pytest.importorskip("matplotlib")
    from typer.testing import CliRunner

    from tiedgraph.cli.main import app

    text = """
        input x: float[5]
        target y: float[3]
        o = dense(x, 3)
        loss mse(o, y)
        tie soft book = o { components = 3, zero = 0.5 }
        train { epochs = 2 }
    """
    (tmp_path / "m.tie").write_text(text)
    np.savez(tmp_path / "d.npz", **batch())  # type: ignore[arg-type]

    def call(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, [w.replace("@", f"{tmp_path}/") for w in words])
        assert done.exit_code == code, done.output
        return done.output

    assert "% at zero" in call("train", "@m.tie", "--data", "@d.npz", "-o", "@run")
    rows = (tmp_path / "run" / "mixtures.csv").read_text().splitlines()
    assert rows[0] == "epoch,tie,component,proportion,mean,width,held"
    assert len(rows) == 1 + 3 * 3
    call("train", "@m.tie", "--data", "@d.npz", "-o", "@run", "--resume", "--epochs", "3")
    assert len((tmp_path / "run" / "mixtures.csv").read_text().splitlines()) == 1 + 4 * 3
    assert "holds" in call("explain", "@run")
    assert "means and widths over training" in (tmp_path / "run" / "mixtures.svg").read_text()
    call("graph", "@run", "-o", "@g.svg")
    call("graph", "@m.tie", "-o", "@m.svg")
    told = {name: (tmp_path / f"{name}.svg").read_text().count("proportion") for name in "gm"}
    assert told == {"g": 1, "m": 0}
    for kind in ("svg", "png", "pdf"):
        call("plot", "@run", "-o", f"@x.{kind}")
        assert (tmp_path / f"x.{kind}").stat().st_size > 2000
    first = (tmp_path / "x.svg").read_bytes()
    call("plot", "@run", "-o", "@x.svg")
    assert (tmp_path / "x.svg").read_bytes() == first
    assert "takes a .svg" in call("plot", "@run", "-o", "@x.gif", code=2)
