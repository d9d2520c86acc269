"""Runs and saved models: the same bits after resuming, and nothing damaged or of another model."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import tiedgraph as tg
from tiedgraph.compiler import check, files_of
from tiedgraph.model import Model
from tiedgraph.passes.settings import train_settings
from tiedgraph.runtime import folder
from tiedgraph.runtime.checkpoint import new_run, read, resumed_run, save_model
from tiedgraph.runtime.data import load, mark
from tiedgraph.runtime.identity import (
    METADATA,
    Origin,
    fingerprint,
    metadata_of,
    pack_tensors,
    unpack_tensors,
)
from tiedgraph.runtime.train import Interrupted, Now, Watch, fit

MODEL = """
import "parts/blocks.tie"
const width = 6
input x: float[5]
target t: class[3]
a = pair(x, n=width)
b = dense(a, width) |> batch_norm: batch_norm() |> dropout(0.2)
c = dense(b, 3)
tie hard b.weight by map("groups.npy")
tie hard a.second.weight = transpose(a.first.weight)
output y = softmax(c)
loss cross_entropy(c, t)
metric accuracy(c, t)
train { optimizer = OPTIMIZER, batch = 8, epochs = 3, KEEP }
"""
BLOCKS = """
block pair(x, n=4) {
    first = dense(x, n) |> tanh
    second = dense(first, 5) |> tanh
    return dense(second, n)
}
"""
OPTIMIZERS = ["sgd(rate=0.1, momentum=0.9)", "adam(rate=0.01)", "rmsprop(rate=0.01, momentum=0.5)"]


def write_model(path: Path, optimizer: str = OPTIMIZERS[0], keep: str = "") -> Path:
    (path / "parts").mkdir(exist_ok=True)
    text = MODEL.replace("OPTIMIZER", optimizer).replace("KEEP", keep)
    (path / "net.tie").write_text(text)
    (path / "parts" / "blocks.tie").write_text(BLOCKS)
    rows = np.arange(36).reshape(6, 6) % 7
    rows[0, 0] = -1
    np.save(path / "groups.npy", rows)
    return path / "net.tie"


def samples(count: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((count, 5)), "t": rng.integers(0, 3, count)}


TRAIN, HELD_OUT = samples(30, 1), samples(11, 2)


class StopAt(Watch):
    """Sends a signal after some steps, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.left = step

    def step(self, now: Now) -> None:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGINT)


def train(
    file: Path,
    run: Path,
    resume: bool = False,
    watch: Watch | None = None,
    seed: int = 3,
    data: Mapping[str, Any] = TRAIN,
    every: float = 30.0,
    **changes: Any,
) -> tuple[Model, list[dict[str, float]]]:
    """As the command line does it."""
    graph = check(file).graph
    assert graph is not None
    settings = train_settings(graph)
    settings = replace(settings, seed=seed, **changes)
    origin = Origin(files_of(file, graph), {}, "float32", seed)
    model = Model(graph, origin, threads=2)
    ready, held_out = load(data, graph), load(HELD_OUT, graph)
    if resume:
        with resumed_run(run, graph, origin, settings, mark(ready)) as (store, saved):
            now, best = saved.snapshot(graph)
            model.restore(now)
            start = saved.position()
            history = fit(
                model,
                ready,
                held_out,
                settings,
                store=store,
                watch=watch,
                start=start,
                best=best,
                every=every,
            )
    else:
        with new_run(run, graph, origin, settings, mark(ready)) as store:
            history = fit(model, ready, held_out, settings, store=store, watch=watch, every=every)
    return model, history


def same(one: Model, other: Model) -> bool:
    first, second = one.snapshot(), other.snapshot()
    return (
        first.steps == second.steps
        and all(first.numbers[n].tobytes() == second.numbers[n].tobytes() for n in first.numbers)
        and all(first.slots[n].tobytes() == second.slots[n].tobytes() for n in first.slots)
    )


def without_seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


# ---------------------------------------------------------------- the same bits


@pytest.mark.parametrize("keep", ["", "keep = best"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumed_runs_end_with_the_same_bits(optimizer: str, keep: str, tmp_path: Path) -> None:
    """Stopped within an epoch, at its end, and several times; also dropout and running means."""
    file = write_model(tmp_path, optimizer, keep)
    whole, expected = train(file, tmp_path / "whole")
    assert len(expected) == 3
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(file, run, watch=StopAt(3))
    for steps in (1, 4):  # the end of the first epoch, and of the second
        with pytest.raises(Interrupted):
            train(file, run, resume=True, watch=StopAt(steps))
    model, history = train(file, run, resume=True)
    assert same(model, whole)
    assert without_seconds(history) == without_seconds(expected)
    assert (run / "parameters.safetensors").read_bytes() == (
        tmp_path / "whole" / "parameters.safetensors"
    ).read_bytes()
    loaded = tg.load(run)
    assert all(np.array_equal(a, whole.free[n]) for n, a in loaded.free.items())


DRIVER = """
import sys
sys.path.insert(0, sys.argv[2])
import test_checkpoint as here
from pathlib import Path
from tiedgraph.runtime import folder
from tiedgraph.runtime.train import Watch

class Tell(Watch):
    def step(self, now):
        print(now.step, flush=True)

place = Path(sys.argv[1])
run = place / "run"
resume = folder.is_saved(run)
here.train(place / "net.tie", run, resume=resume, watch=Tell(), every=0.0, epochs=6)
print("done", flush=True)
"""


def test_killed_runs_end_with_the_same_bits(tmp_path: Path) -> None:
    """With a checkpoint after every step, kills fall into all stages of writing one."""
    file = write_model(tmp_path)
    whole, _ = train(file, tmp_path / "whole", epochs=6)
    command = [sys.executable, "-c", DRIVER, str(tmp_path), str(Path(__file__).parent)]
    rng = np.random.default_rng(0)
    kills = 0
    while True:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        line = ""
        for _ in range(rng.integers(1, 9)):
            line = child.stdout.readline()
        if kills < 4 and line != "done\n":
            time.sleep(rng.uniform(0, 0.005))
            child.kill()
            kills += 1
        rest = child.communicate()[0]
        assert child.returncode in (0, -signal.SIGKILL)
        if line == "done\n" or rest.endswith("done\n"):
            break
    assert kills >= 3
    assert same(tg.load(tmp_path / "run"), whole)


def test_more_epochs_go_on_where_fewer_ended(tmp_path: Path) -> None:
    file = write_model(tmp_path)
    whole, _ = train(file, tmp_path / "whole", epochs=4)
    train(file, tmp_path / "run", epochs=2)
    model, history = train(file, tmp_path / "run", resume=True, epochs=4)
    assert same(model, whole)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]


# ---------------------------------------------------------------- what a folder holds


@pytest.fixture
def run(tmp_path: Path) -> Path:
    train(write_model(tmp_path), tmp_path / "run", epochs=2)
    return tmp_path / "run"


def test_a_run_compiles_alone(run: Path, tmp_path: Path) -> None:
    for name in ("net.tie", "groups.npy", "parts/blocks.tie"):
        (tmp_path / name).unlink()
    moved = run.rename(tmp_path / "elsewhere")
    model = tg.load(moved)
    assert model.evaluate(HELD_OUT)["loss"] > 0
    assert model.predict(x=HELD_OUT["x"])["y"].shape == (11, 3)
    names = {p.relative_to(moved).as_posix() for p in moved.rglob("*") if p.is_file()}
    assert names == {
        "net.tie",
        "groups.npy",
        "parts/blocks.tie",
        "parameters.safetensors",
        "optimizer.safetensors",
        "state.json",
        "history.csv",
        "metrics.json",
        "manifest.json",
        ".lock",
    }
    assert {p.name for p in moved.rglob("*.py")} == set()


def test_tied_numbers_are_written_once_with_their_tie(run: Path) -> None:
    content = (run / "parameters.safetensors").read_bytes()
    found = unpack_tensors(content, "it")
    model = tg.load(run)
    assert {n: a.shape for n, a in found.items()} == {n: a.shape for n, a in model.free.items()}
    assert "a.second.weight" not in found
    ties = metadata_of(content)["ties"]
    assert set(ties) == set(model.parameters)
    assert ties["a.second.weight"] == {
        "storage": "a.first.weight",
        "steps": [["transpose", {}]],
    }
    assert ties["b.weight"]["steps"][0][0] == "map"
    assert metadata_of(content)["fingerprint"] == fingerprint(model.checked)


def test_the_history_is_a_table_and_the_metrics_are_the_last_rows(run: Path) -> None:
    lines = (run / "history.csv").read_text().splitlines()
    assert lines[0] == ("epoch,step,rate,seconds,loss,accuracy,validate_loss,validate_accuracy")
    assert len(lines) == 3
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["epoch"] == 2
    model = tg.load(run)
    assert model.evaluate(HELD_OUT, batch=8)["loss"] == metrics["validate_loss"]


def test_numbers_of_the_best_epoch_are_those_to_use(tmp_path: Path) -> None:
    file = write_model(tmp_path, "sgd(rate=3.0)", "keep = best, monitor = accuracy")
    model, history = train(file, tmp_path / "run", epochs=5)
    best = max(row["validate_accuracy"] for row in history)
    assert history[-1]["validate_accuracy"] < best, "the test needs a model that gets worse"
    assert model.evaluate(HELD_OUT)["accuracy"] == best
    assert tg.load(tmp_path / "run").evaluate(HELD_OUT)["accuracy"] == best
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["validate_accuracy"] == best


def test_saved_models_come_back(tmp_path: Path) -> None:
    text = "input x: float[3]\ntarget t: float[3]\nc = dense(x, 3)\noutput y = c\nloss mse(c, t)\n"
    model = tg.compile_text("const n = 2\n" + text, seed=5, define={"n": 4}, dtype="float64")
    arrays = {"x": np.ones((2, 3)), "t": np.zeros((2, 3))}
    model.step(**arrays)
    model.save(tmp_path / "saved")
    again = tg.load(tmp_path / "saved")
    assert (again.dtype, again.seed, again.steps) == ("float64", 5, 1)
    assert again.checked.constants == {"n": 4}
    assert again.step(**arrays) == model.step(**arrays)
    assert same(again, model)
    model.save(tmp_path / "saved")  # in place of the one before
    assert same(tg.load(tmp_path / "saved"), model)


# ---------------------------------------------------------------- what is refused


def test_every_truncation_and_bit_flip_is_refused(run: Path) -> None:
    rng = np.random.default_rng(0)
    files = sorted(p for p in run.rglob("*") if p.is_file() and p.name != ".lock")
    for file in files:
        good = file.read_bytes()
        for trial in range(30):
            bad = bytearray(good)
            if trial % 3 == 0:
                del bad[rng.integers(0, len(good)) :]
            else:
                bad[rng.integers(0, len(good))] ^= 1 << rng.integers(0, 8)
            file.write_bytes(bad)
            with pytest.raises(tg.RunError) as caught:
                tg.load(run)
            assert str(file) in str(caught.value)
        file.write_bytes(good)
    tg.load(run)


def rewrite(run: Path, name: str, content: bytes) -> None:
    """Changes a file of a run together with its manifest, as a careful hand would."""
    manifest, files = folder.read_state(run)
    about = {k: v for k, v in manifest.items() if k in ("kind", "model")}
    folder.commit(run, about, {**files, name: content}, {}, manifest)


def tensors(run: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    content = (run / "parameters.safetensors").read_bytes()
    return unpack_tensors(content, "it"), metadata_of(content)


def test_tied_copies_must_agree(run: Path) -> None:
    found, metadata = tensors(run)
    copy = found["a.first.weight"].T.copy()
    both = pack_tensors(found | {"a.second.weight": copy}, metadata)
    rewrite(run, "parameters.safetensors", both)
    tg.load(run)
    copy[0, 0] += 1
    other = pack_tensors(found | {"a.second.weight": copy}, metadata)
    rewrite(run, "parameters.safetensors", other)
    with pytest.raises(tg.RunError, match=r"does not fit the model: .*a\.second\.weight"):
        tg.load(run)


def changed(found: dict[str, np.ndarray], name: str, array: np.ndarray | None) -> Any:
    rest = {n: a for n, a in found.items() if n != name}
    return rest if array is None else rest | {name: array}


@pytest.mark.parametrize(
    ("name", "array", "told"),
    [
        ("c.bias", None, "it has no 'c.bias'"),
        ("c.bias", np.zeros(4, np.float32), "shape"),
        ("d.bias", np.zeros(3, np.float32), "no parameter 'd.bias'"),
        ("c.bias", np.zeros(3, np.int32), "does not hold finite real numbers"),
    ],
    ids=["missing", "shape", "unknown", "integers"],
)
def test_numbers_must_fit(run: Path, name: str, array: Any, told: str) -> None:
    found, metadata = tensors(run)
    rewrite(run, "parameters.safetensors", pack_tensors(changed(found, name, array), metadata))
    with pytest.raises(tg.RunError) as caught:
        tg.load(run)
    assert told in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_neither_save_nor_load(run: Path, value: float) -> None:
    found, metadata = tensors(run)
    found["c.bias"][1] = value
    with pytest.raises(tg.RunError, match=r"'c\.bias' holds numbers that are not finite"):
        pack_tensors(found, metadata)
    content = safetensors.numpy.save(found, metadata={METADATA: json.dumps(metadata)})
    rewrite(run, "parameters.safetensors", content)
    with pytest.raises(tg.RunError, match=r"'c\.bias' does not hold finite real numbers"):
        tg.load(run)


def test_another_model_is_refused_with_the_difference(run: Path, tmp_path: Path) -> None:
    text = (tmp_path / "net.tie").read_text()
    for before, after, told in [
        ("tie hard a.second", "# tie hard a.second", "'a.second.weight' is tied otherwise"),
        ("width = 6", "width = 6\nspare = 1", None),
        ("c = dense(b, 3)", "c = dense(b, 3, bias=false)", "it has 'c.bias', which this model has"),
    ]:
        (tmp_path / "net.tie").write_text(text.replace(before, after))
        if told is None:
            (tmp_path / "net.tie").write_text(text.replace("width = 6", "width = 3 + 3"))
            train(tmp_path / "net.tie", run, resume=True, epochs=2)
            continue
        with pytest.raises(tg.RunError, match="holds another model") as caught:
            train(tmp_path / "net.tie", run, resume=True)
        assert told in str(caught.value)


def test_resuming_refuses_what_would_give_other_bits(tmp_path: Path) -> None:
    file, run = write_model(tmp_path), tmp_path / "run"
    with pytest.raises(Interrupted):
        train(file, run, watch=StopAt(6))
    for told, options in [
        ("was trained with seed = 3; it cannot go on with seed = 4", {"seed": 4}),
        ("in the middle of an epoch with batch = 8", {"batch": 4}),
        ("in the middle of an epoch with shuffle = True", {"shuffle": False}),
        ("goes on with the same training data only", {"data": samples(30, 9)}),
    ]:
        with pytest.raises(tg.RunError) as caught:
            train(file, run, resume=True, **options)
        assert told in str(caught.value)
    write_model(tmp_path, OPTIMIZERS[1])
    with pytest.raises(tg.RunError, match="was trained by sgd; it cannot go on with adam"):
        train(file, run, resume=True)
    write_model(tmp_path, "sgd(rate=0.01, momentum=0.5)")  # a change that fits
    train(file, run, resume=True)


def test_a_folder_is_never_taken_from_somebody_else(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "net.tie"
    with pytest.raises(tg.RunError, match="holds a run already; --resume goes on with it"):
        train(file, run)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(tg.RunError, match="holds other files"):
        train(file, tmp_path / "full")
    with pytest.raises(tg.RunError, match="holds no run to resume"):
        train(file, tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(tg.RunError, match="cannot be made"):
        train(file, tmp_path / "file")
    with pytest.raises(tg.RunError, match="holds a saved run"):
        tg.load(run).save(run)


def test_a_run_that_is_replaced_starts_anew(run: Path, tmp_path: Path) -> None:
    graph = check(tmp_path / "net.tie").graph
    assert graph is not None
    model = tg.compile(tmp_path / "net.tie")
    with new_run(run, graph, model.origin, train_settings(graph), "", replace=True) as store:
        fit(model, load(TRAIN, graph), None, train_settings(graph), store=store)
    assert [row["epoch"] for row in read(run).position().history] == [1, 2, 3]


# ---------------------------------------------------------------- details that have gone wrong


@pytest.mark.parametrize("order", ["C", "F"])
def test_strided_arrays_are_written_as_they_read(order: Any) -> None:
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    views = [base, base.T, base[:, ::2], base[::-1], np.asarray(base, order=order), base[1:, 2]]
    for array, name in zip(views, itertools.count(), strict=False):
        content = pack_tensors({str(name): array}, {})
        assert np.array_equal(unpack_tensors(content, "it")[str(name)], array)


def test_loading_touches_nothing_but_the_run(run: Path) -> None:
    """No code is run and nothing outside opened; an audit hook stays, and so is switched off."""
    tg.load(run)  # kernels and imports are there now
    seen: list[str] = []
    watching = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not watching[0]:
            return
        if event in ("exec", "compile", "pickle.find_class", "subprocess.Popen", "socket.connect"):
            seen.append(f"{event} {arguments!r}")
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.fsdecode(arguments[0])
            if not Path(path).resolve().is_relative_to(run.resolve()):
                seen.append(f"open {path}")

    sys.addaudithook(hook)
    try:
        tg.load(run)
    finally:
        watching[0] = False
    assert seen == []


def test_a_model_without_its_text_cannot_be_saved(tmp_path: Path) -> None:
    model = tg.compile_text("input x: float[2]\noutput y = dense(x, 2)")
    with pytest.raises(tg.RunError, match="without its text"):
        save_model(tmp_path / "m", model.checked, Origin({}, {}, "float32", 0), model.snapshot())
    assert not (tmp_path / "m").exists()


def test_files_named_as_those_of_a_run_are_refused(tmp_path: Path) -> None:
    model = tg.compile_text("input x: float[2]\noutput y = dense(x, 2)")
    origin = Origin({"m.tie": b"", "state.json": b""}, {}, "float32", 0)
    with pytest.raises(tg.RunError, match=r"'state\.json' is named as a file of the run"):
        save_model(tmp_path / "m", model.checked, origin, model.snapshot())
