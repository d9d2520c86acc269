"""Planted ties are found, others are not; what is written checks and trains."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from math import exp
from pathlib import Path

import numpy as np
import pytest
from planted import PLANTS, Plant, network, not_planted
from typer.testing import CliRunner

import tiedgraph as tg
from tiedgraph.cli.main import app
from tiedgraph.model import Model
from tiedgraph.suggestions.chance import evidence, log_chance
from tiedgraph.suggestions.choose import Suggestions

PAIR = """# two towers, comments stay
model pair
input x: float[6]
target y: class[3]

left = dense(x, 8) |> tanh   # the first
right = dense(x, 8) |> tanh
logits = dense(left - right, 3)
loss cross_entropy(logits, y)
metric accuracy(logits, y)
train { epochs = 1, batch = 16 }
"""


def data(count: int = 64) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"x": rng.standard_normal((count, 6)), "y": rng.integers(0, 3, count)}


def pair(noise: float = 0.01) -> Model:
    model = tg.compile_text(PAIR, seed=3, threads=1)
    rng = np.random.default_rng(1)
    numbers = {n: rng.standard_normal(a.shape) for n, a in model.parameters.items()}
    numbers["right.weight"] = -numbers["left.weight"] + noise * rng.standard_normal((8, 6))
    numbers["logits.weight"][:, 4] = numbers["logits.weight"][:, 1]
    model.set(numbers)
    return model


# ---------------------------------------------------------------- what is found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("plant", PLANTS, ids=lambda p: p.name)
def test_each_planted_tie_is_found_and_no_other(plant: Plant, seed: int) -> None:
    found = tg.suggest(network(plant, seed, 0.01))
    assert [s[: len(plant.statement)] for s in found.statements()] == [plant.statement]
    assert not_planted(found, network(plant, seed, 0.0)) == 0
    assert found.together < found.free


@pytest.mark.parametrize("plant", PLANTS, ids=lambda p: p.name)
def test_noise_beyond_the_tolerance_hides_a_tie(plant: Plant) -> None:
    assert tg.suggest(network(plant, 0, 0.3)).statements() == []


@pytest.mark.parametrize("tolerance", [0.01, 0.05, 0.2, 0.4])
def test_random_numbers_have_no_ties(tolerance: float) -> None:
    for seed in range(10):
        assert tg.suggest(network(None, seed, 0.0), tolerance=tolerance).statements() == []


def test_many_small_parameters_do_not_match_by_chance() -> None:
    """Biases of three and matrices of two by two, hundreds of pairs of each."""
    layers = "\n".join(f"d{i} = dense(x, 3)\ne{i} = dense(d{i}, 2)\nf{i} = dense(e{i}, 2)"
                       for i in range(30))  # fmt: skip
    total = " + ".join(f"mean(f{i}, over=0)" for i in range(30))
    model = tg.compile_text(f"input x: float[2]\n{layers}\nloss {total}\n", dtype="float64")
    for seed in range(5):
        rng = np.random.default_rng(seed)
        model.set({n: rng.standard_normal(a.shape) for n, a in model.parameters.items()})
        assert tg.suggest(model).statements() == []


DRAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "cauchy": lambda rng, shape: rng.standard_cauchy(shape),
    "one sign": lambda rng, shape: rng.lognormal(0.0, 1.0, shape),
    "a common mean": lambda rng, shape: 1 + 0.1 * rng.standard_normal(shape),
    "half pruned": lambda rng, shape: rng.standard_normal(shape) * rng.integers(0, 2, shape),
    "pruned": lambda rng, shape: rng.standard_normal(shape) * (rng.random(shape) < 0.1),
    "rows of many sizes": lambda rng, shape: (
        (np.exp(rng.standard_normal((shape[0],))) * rng.standard_normal(shape).T).T
    ),
}


@pytest.mark.parametrize("tolerance", [0.05, 0.2, 0.45])
@pytest.mark.parametrize("name", DRAWS)
def test_numbers_far_from_normal_do_not_match_by_chance(name: str, tolerance: float) -> None:
    layers = "".join(f"d{i} = dense({'x' if i == 0 else f'd{i - 1}'}, {6 + 2 * (i % 2)})\n"
                     for i in range(8))  # fmt: skip
    model = tg.compile_text(f"input x: float[8]\n{layers}loss mean(d7, over=0)\n", dtype="float64")
    for seed in range(6):
        rng = np.random.default_rng(seed)
        model.set({n: DRAWS[name](rng, a.shape) for n, a in model.parameters.items()})
        assert tg.suggest(model, tolerance=tolerance).statements() == []


@pytest.mark.parametrize("tolerance", [0.05, 0.2, 0.4])
def test_smooth_densities_are_no_clusters(tolerance: float) -> None:
    model = tg.compile_text("input x: float[48]\na = dense(x, 48)\nloss mean(a, over=0)\n")
    rng = np.random.default_rng(0)
    draws = (rng.standard_normal, rng.standard_cauchy, lambda s: rng.uniform(-1, 1, s),
             lambda s: rng.laplace(size=s), lambda s: rng.lognormal(0, 2, s),
             lambda s: rng.standard_normal(s) * (rng.random(s) < 0.3))  # fmt: skip
    for draw in draws:
        model.set({"a.weight": draw((48, 48))})
        assert tg.suggest(model, tolerance=tolerance).statements() == []


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_values_with_a_spread_are_counted(count: int) -> None:
    model = tg.compile_text("input x: float[48]\na = dense(x, 48)\nloss mean(a, over=0)\n")
    rng = np.random.default_rng(count)
    numbers = rng.choice(np.linspace(-1, 1, count), (48, 48))
    model.set({"a.weight": numbers + 0.07 / count * rng.standard_normal((48, 48))})
    (tie,) = tg.suggest(model).ties
    assert tie.proposal.about == f"{count} values"


def test_pruned_matrices_that_are_equal_are_found() -> None:
    text = "input x: float[8]\na = dense(x, 8)\nb = dense(a, 8)\nloss mean(b, over=0)\n"
    model = tg.compile_text(text, dtype="float64")
    pruned = DRAWS["pruned"](np.random.default_rng(0), (8, 8))
    model.set({"a.weight": pruned, "b.weight": -pruned.T})
    assert tg.suggest(model).statements() == ["tie hard b.weight = negate(transpose(a.weight))"]


def test_what_is_still_as_it_began_is_not_suggested() -> None:
    text = "input x: float[9]\na = dense(x, 9)\nb = dense(a, 9)\nl = layer_norm(b)\n"
    model = tg.compile_text(
        text + "c = batch_norm(l)\nd = batch_norm(c)\nloss mean(flatten(d), over=0)\n"
    )
    assert not model.parameters["a.bias"].any()
    assert tg.suggest(model).statements() == []


def test_several_ties_at_once_and_in_a_chain() -> None:
    text = "input x: float[8]\n" + "".join(f"d{i} = dense(x, 8)\n" for i in range(5))
    total = " + ".join(f"mean(d{i}, over=0)" for i in range(5))
    model = tg.compile_text(f"{text}loss {total}\n", dtype="float64")
    rng = np.random.default_rng(0)
    numbers = {n: rng.standard_normal(a.shape) for n, a in model.parameters.items()}
    w = numbers["d0.weight"]
    numbers["d0.weight"] = w = w + w.T
    numbers["d1.weight"], numbers["d2.weight"] = w[::-1], -w[::-1]
    numbers["d4.weight"] = 3 * numbers["d3.weight"].T
    model.set({n: a + 1e-4 * rng.standard_normal(a.shape) for n, a in numbers.items()})
    found = tg.suggest(model)
    assert len(found.ties) == 4
    assert found.free - found.together == 3 * 64 + 28


def test_ties_that_contradict_are_not_both_taken() -> None:
    """b is near a and near its transpose, which together would make a symmetric."""
    model = network(PLANTS[0], 0, 0.0)
    rng = np.random.default_rng(5)
    a = rng.standard_normal((12, 12))
    symmetric = a + a.T
    skew = 0.06 * (a - a.T)
    model.set({"a.weight": symmetric + skew, "b.weight": symmetric})
    found = tg.suggest(model)
    tied = found.rewritten().compiled(model)
    tied.start_from(model)
    for name, before in model.parameters.items():
        moved = np.sqrt(((tied.parameters[name] - before) ** 2).mean())
        assert moved <= 0.0501 * before.std()


def test_runs_with_ties_keep_them() -> None:
    text = "input x: float[8]\na = dense(x, 8)\nb = dense(x, 8)\nc = dense(x, 8)\n"
    text += "tie hard a.weight, b.weight\nloss mean(a + b + c, over=0)\n"
    model = tg.compile_text(text, dtype="float64")
    rng = np.random.default_rng(0)
    numbers = {n: rng.standard_normal(a.shape) for n, a in model.free.items()}
    numbers["c.weight"] = numbers["a.weight"].T
    model.set(numbers)
    assert tg.suggest(model).statements() == ["tie hard c.weight = transpose(a.weight)"]


def test_hundreds_of_parameters_take_seconds() -> None:
    layers = "".join(f"d{i} = dense(x, 64)\n" for i in range(120))
    total = " + ".join(f"mean(d{i}, over=0)" for i in range(120))
    model = tg.compile_text(f"input x: float[64]\n{layers}loss {total}\n", threads=1)
    rng = np.random.default_rng(0)
    numbers = {n: rng.standard_normal(a.shape) for n, a in model.parameters.items()}
    for i in range(0, 120, 4):
        numbers[f"d{i + 1}.weight"] = numbers[f"d{i}.weight"].T
    model.set(numbers)
    start = time.monotonic()
    found = tg.suggest(model)
    assert len(found.ties) == 30
    assert time.monotonic() - start < 60


# ---------------------------------------------------------------- chance


@pytest.mark.parametrize(
    ("equations", "numbers", "distance"), [(2, 6, 0.3), (3, 8, 0.4), (6, 13, 0.5), (1, 5, 0.1)]
)
def test_the_bound_on_chance_holds_and_is_near(
    equations: int, numbers: int, distance: float
) -> None:
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((400_000, numbers))
    drawn -= drawn.mean(axis=1, keepdims=True)
    # Equations among differences: the first pairs are equal.
    basis = np.zeros((equations, numbers))
    for k in range(equations):
        basis[k, 2 * k : 2 * k + 2] = 1, -1
    basis /= 2**0.5
    outside = ((drawn @ basis.T) ** 2).sum(axis=1) / (drawn**2).sum(axis=1)
    measured = float((outside <= distance**2).mean())
    bound = exp(log_chance(distance, equations, numbers))
    assert measured * 0.9 <= bound <= 2.5 * measured + 1e-5


def test_a_few_large_numbers_are_little_evidence() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal(1000)
    assert evidence(numbers) > 0.9
    numbers[0] = 1000.0
    assert evidence(numbers) < 0.01


# ---------------------------------------------------------------- what is written


def test_cost_is_measured_and_the_model_is_as_before() -> None:
    model = pair()
    before, loss = model.free, model.evaluate(data())
    found: Suggestions = tg.suggest(model, data())
    assert [t.proposal.kind for t in found.ties] == ["view", "copies"]
    assert found.before == loss
    for tie in (*(t.measured for t in found.ties), found.after):
        assert tie.keys() == loss.keys()
        assert abs(tie["loss"] - loss["loss"]) < 0.05
    assert all(np.array_equal(model.free[n], a) for n, a in before.items())


def test_the_written_model_checks_and_goes_on_from_the_run(tmp_path: Path) -> None:
    pair().save(tmp_path / "run")
    np.savez(tmp_path / "data.npz", **data())
    run, new = str(tmp_path / "run"), str(tmp_path / "new.tie")
    told = command("suggest", run, "--data", str(tmp_path / "data.npz"), "-o", new,
                   "--format", "json")  # fmt: skip
    found = json.loads(told)
    text = Path(new).read_text()
    assert text.startswith(PAIR.rstrip())
    assert "# from tiedgraph suggest run --tolerance 5%" in text
    assert text.count("tie hard") == 2
    assert [tie["statement"] in text for tie in found["ties"]] == [True, True]
    assert (tmp_path / "new.logits.weight.npy").is_file()
    command("check", new)
    command("train", new, "--data", str(tmp_path / "data.npz"), "--start-from", run,
            "-o", str(tmp_path / "second"))  # fmt: skip
    trained = tg.load(tmp_path / "second", threads=1).parameters
    assert np.array_equal(trained["right.weight"], -trained["left.weight"])
    assert np.array_equal(trained["logits.weight"][:, 4], trained["logits.weight"][:, 1])
    assert (
        sum(a.size for a in tg.load(tmp_path / "second").free.values()) == (found["free_with_all"])
    )


def test_fitted_numbers_are_those_that_training_starts_from() -> None:
    model = pair(0.1)
    found = tg.suggest(model, data(), tolerance=0.1)
    tied = found.rewritten().compiled(model)
    tied.start_from(model)
    assert tied.evaluate(data())["loss"] == pytest.approx(found.after["loss"], rel=1e-5)


def test_constants_imports_and_brackets(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "blocks.tie").write_text("block step(x) {\n    return dense(x, 9)\n}\n")
    (tmp_path / "main.tie").write_text(
        'import "parts/blocks.tie"\nconst n = 4\ninput x: float[n]\nh = dense(x, 9)\n'
        "deep = repeat(h, 3, step)\nloss mean(deep, over=0)"
    )
    model = tg.compile(tmp_path / "main.tie", define={"n": 7}, dtype="float64")
    rng = np.random.default_rng(0)
    numbers = {n: rng.standard_normal(a.shape) for n, a in model.parameters.items()}
    names = [n for n in numbers if n.endswith("weight")]
    numbers[names[1]][3] = numbers[names[1]][5]
    numbers[names[2]] = numbers[names[3]]
    model.set(numbers)
    model.save(tmp_path / "run")
    new = tmp_path / "new" / "out.tie"
    done = CliRunner().invoke(app, ["suggest", str(tmp_path / "run"), "-o", str(new)])
    assert done.exit_code == 0, done.output
    assert "-D n=7" in done.output
    assert (new.parent / "parts" / "blocks.tie").is_file()
    command("check", str(new))
    tied = tg.compile(new, define={"n": 7})
    assert len(tg.suggest(model).ties) == 2
    tied.start_from(model)
    for name, array in tied.parameters.items():
        np.testing.assert_allclose(array, numbers[name], rtol=1e-6)
    assert tg.suggest(tied).statements() == []


TASKS = """model tasks
input x: float[6]
h = dense(x, 8) |> tanh
task first {
    target y: class[3]
    a = dense(h, 3)
    loss cross_entropy(a, y)
}
task second {
    target z: class[3]
    b = dense(h, 3)
    loss cross_entropy(b, z)
}
"""


def test_tasks_with_data_of_their_own(tmp_path: Path) -> None:
    model = tg.compile_text(TASKS, seed=1)
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((3, 8))
    model.set({"first.a.weight": weight, "second.b.weight": weight[::-1]})
    model.save(tmp_path / "run")
    for name, target in (("one", "y"), ("two", "z")):
        arrays = data(40 if name == "one" else 24)
        np.savez(tmp_path / f"{name}.npz", **{"x": arrays["x"], target: arrays["y"]})
    words = ["--data", f"first={tmp_path / 'one.npz'}", "--data", f"second={tmp_path / 'two.npz'}"]
    found = json.loads(command("suggest", str(tmp_path / "run"), *words, "--format", "json"))
    (tie,) = found["ties"]
    assert tie["statement"] == "tie hard second.b.weight = flip(first.a.weight, axis=0)"
    assert tie["measured"]["loss"] == pytest.approx(found["before"]["loss"], rel=1e-6)


def test_batches_that_come_once_are_refused() -> None:
    with pytest.raises(tg.DataError, match="once"):
        tg.suggest(pair(), iter([data()]))
    assert tg.suggest(pair(), [data(), data()]).before["loss"] > 0


def command(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["nowhere"], 1, "nowhere"),
        (["run", "--tolerance", "much"], 2, "5% or 0.05"),
        (["run", "--tolerance", "80%"], 2, "below 50%"),
        (["run", "-o", "new.txt"], 2, ".tie"),
        (["run", "-o", "there.tie"], 1, "--force"),
        (["run", "--data", "nothing.npz"], 1, "nothing.npz"),
        (["run", "--data", "empty.npz"], 1, "empty.npz"),
        (["there.tie"], 1, "there.tie"),
    ],
)
def test_mistakes_are_answered(
    words: list[str], code: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pair().save("run")
    Path("there.tie").write_text("mine")
    Path("empty.npz").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-m", "tiedgraph", "suggest", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert told in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert Path("there.tie").read_text() == "mine"
