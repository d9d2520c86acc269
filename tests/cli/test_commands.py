"""The command line as its users meet it: results, exit codes, and what is said of mistakes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tiedgraph.cli.compile import STAGES
from tiedgraph.cli.main import app
from tiedgraph.codegen import cache

ROOT = Path(__file__).parents[2]
LENET = ROOT / "examples/lenet5/lenet5.tie"
SMALL = """
model small
input x: float[4]
target y: class[3]
h = dense(x, 8) |> tanh
g = dense(h, 8) |> tanh
logits = dense(g, 3)
output who = softmax(logits)
loss cross_entropy(logits, y)
metric accuracy(logits, y)
train { optimizer = adam(rate=0.01), batch = 16, epochs = 3 }
data { train = "train.npz", validate = "test.npz" }
"""
COMMANDS = [
    "check",
    "compile",
    "train",
    "evaluate",
    "predict",
    "explain",
    "graph",
    "fmt",
    "new",
    "harden",
    "untie",
    "compress",
    "plot",
]
COMMANDS += ["suggest", "bench", "tune", "decode", "align"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small model and data, and the present folder meanwhile."""
    (tmp_path / "small.tie").write_text(SMALL)
    rng = np.random.default_rng(0)
    for name, count in (("train", 100), ("test", 40)):
        x = rng.standard_normal((count, 4)).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", x=x, y=(x[:, 0] > 0).astype(np.uint8))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words: str, code: int = 0) -> tuple[str, str]:
    """Standard output and error of a command that ends with `code`."""
    done = subprocess.run(
        [sys.executable, "-m", "tiedgraph", *words],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def quick(*words: str, code: int = 0) -> str:
    """Standard output in this process; for commands that report through exit codes alone."""
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, done.output
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    text = quick(command, "--help")
    assert "Example: tiedgraph " in text
    assert "--format" in text


def test_no_llvm_for_what_only_reads(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom tiedgraph.cli.main import app\n"
        f"for words in (['--help'], ['check', {str(LENET)!r}], ['explain', {str(LENET)!r}],"
        f" ['fmt', '--check', {str(LENET)!r}], ['graph', {str(LENET)!r}, '-o', sys.argv[1]]):\n"
        "    assert CliRunner().invoke(app, words).exit_code == 0, words\n"
        "    assert 'llvmlite' not in sys.modules, words\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.svg")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_run_from_training_to_prediction(place: Path) -> None:
    out, err = call("train", "small.tie", "-o", "run", "--format", "json")
    result = json.loads(out)
    assert result["epochs"] == 3
    assert set(result["validate"]) == {"loss", "accuracy"}
    assert err.count("epoch ") == 3
    for name in ("small.tie", "parameters.safetensors", "history.csv", "metrics.json"):
        assert (place / "run" / name).is_file()
    found = json.loads(quick("evaluate", "run", "--data", "test.npz", "--format", "json"))
    assert found["loss"] == pytest.approx(result["validate"]["loss"], rel=1e-5)
    quick("predict", "run", "--data", "test.npz", "-o", "out.npz")
    with np.load("out.npz") as made:
        assert made["who"].shape == (40, 3)
        assert np.allclose(made["who"].sum(axis=1), 1, atol=1e-5)
    quick("predict", "run", "--data", "test.npz", "-o", "out.csv", "--only", "who")
    assert Path("out.csv").read_text().splitlines()[0] == "who[0],who[1],who[2]"


def test_training_starts_from_another_run(place: Path) -> None:
    call("train", "small.tie", "-o", "first")
    soft = (place / "small.tie").read_text().replace("model small", "model soft")
    soft += "tie soft book = h.weight { components = 3 }\nnew = dense(x, 2)\nloss mse(new, new)\n"
    (place / "soft.tie").write_text(soft)
    words = ["soft.tie", "--start-from", "first", "--holdout", "30", "--format", "json"]
    out, err = call("train", *words, "-o", "second", "--epochs", "1")
    assert "book.mean" in err
    assert "new here: new.weight" in err
    result = json.loads(out)
    assert set(result["validate"]) == {"loss", "accuracy"}
    _, err = call("train", "small.tie", "-o", "third", "--start-from", "second")
    assert "not in this model: new.weight" in err


def test_stopped_and_resumed_gives_the_same_bits(place: Path) -> None:
    epochs = ["--epochs", "400"]
    call("train", "small.tie", "-o", "whole", *epochs, "--format", "json")
    process = subprocess.Popen(
        [sys.executable, "-m", "tiedgraph", "train", "small.tie", "-o", "parts", *epochs],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 20/"):
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 130
    assert "--resume" in rest
    call("train", "small.tie", "-o", "parts", *epochs, "--resume", "--format", "json")
    whole, parts = (place / run / "parameters.safetensors" for run in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()


def test_two_trainers_on_one_run(place: Path) -> None:
    first = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tiedgraph",
            "train",
            "small.tie",
            "-o",
            "run",
            "--epochs",
            "100000",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert first.stderr is not None
    first.stderr.readline()
    _, err = call("train", "small.tie", "-o", "run", "--force", code=1)
    assert "run" in err
    first.send_signal(signal.SIGTERM)
    first.stderr.read()
    first.stderr.close()
    assert first.wait() == 143


CARELESS: list[tuple[list[str], int, str]] = [
    (["check", "nothing.tie"], 1, "nothing.tie"),
    (["check", "."], 1, "."),
    (["check", "empty.tie"], 1, "E0305"),
    (["check", "train.npz"], 1, "train.npz"),
    (["chekc", "small.tie"], 2, "check"),
    (["check", "small.tie", "--gradient"], 2, "--gradients"),
    (["check", "small.tie", "-D", "n"], 2, "NAME=NUMBER"),
    (["check", "small.tie", "-D", "n=3"], 1, "n"),
    (["train", "small.tie", "--epochs", "0"], 2, "epochs"),
    (["train", "small.tie", "--data", "nothing.npz"], 1, "nothing.npz"),
    (["train", "small.tie", "--data", "wrong.npz"], 1, "'y'"),
    (["train", "small.tie", "--data", "nan.npz"], 1, "nan"),
    (["train", "small.tie", "--data", "small.tie"], 1, "small.tie"),
    (["train", "small.tie", "-o", "train.npz"], 1, "train.npz"),
    (["train", "small.tie", "-o", "."], 1, "other files"),
    (["train", "small.tie", "-o", "new", "--resume"], 1, "no run"),
    (["train", ".", "--resume"], 2, "MODEL.tie -o . --resume"),
    (["train", "small.tie", "--start-from", "nothing"], 1, "nothing"),
    (["train", "small.tie", "--start-from", "x", "--resume"], 2, "--start-from"),
    (["train", "small.tie", "--holdout", "100"], 1, "100"),
    (["train", "small.tie", "--holdout", "5", "--validate", "test.npz"], 2, "--holdout"),
    (["evaluate", "nothing", "--data", "test.npz"], 1, "nothing"),
    (["predict", "nothing", "--data", "test.npz", "-o", "x.txt"], 2, ".npz"),
    (["explain", "small.tie", "h.wieght"], 2, "h.weight"),
    (["graph", "small.tie", "-o", "x.png"], 2, ".svg"),
    (["graph", "small.tie", "-o", "nowhere/x.svg"], 1, "nowhere"),
    (["compile", "small.tie", "--emit", "tap"], 2, "tape"),
    (["new", "a-b"], 2, "a-b"),
    (["new", "x", "--from", "lenet"], 2, "lenet5"),
    (["fmt", "nothing.tie"], 1, "nothing.tie"),
]


@pytest.mark.parametrize(
    ("words", "code", "told"), CARELESS, ids=[" ".join(c[0]) for c in CARELESS]
)
def test_mistakes_are_told(place: Path, words: list[str], code: int, told: str) -> None:
    (place / "empty.tie").write_text("")
    np.savez(place / "wrong.npz", x=np.zeros((3, 4), np.float32))
    x = np.zeros((3, 4), np.float32)
    x[1, 2] = np.nan
    np.savez(place / "nan.npz", x=x, y=np.zeros(3, int))
    before = sorted(path.name for path in place.iterdir())
    out, err = call(*words, code=code)
    assert told in err
    assert not out
    assert sorted(path.name for path in place.iterdir()) == before


@pytest.mark.parametrize("command", ["check", "compile", "explain"])
def test_json_is_one_document_also_when_the_file_is_wrong(place: Path, command: str) -> None:
    assert json.loads(quick(command, "small.tie", "--format", "json"))
    (place / "bad.tie").write_text("input x: float[3]\ny = dens(x, 3)\noutput o = y\n")
    done = CliRunner().invoke(app, [command, "bad.tie", "--format", "json"])
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    told = told[0] if isinstance(told, list) else told
    assert told["diagnostics"][0]["code"] == "E0203"


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_names_its_places(place: Path, stage: str) -> None:
    text = quick("compile", "small.tie", "--emit", stage)
    assert "small.tie:5" in text


def test_fmt_writes_only_what_changes(place: Path) -> None:
    assert quick("fmt", "small.tie", "--check", "--format", "json", code=1)
    quick("fmt", "small.tie")
    quick("fmt", "small.tie", "--check")
    assert "dense(x, 8) |> tanh" in Path("small.tie").read_text()


@pytest.mark.parametrize(
    "example", ["lenet5", "tdnn", "siamese", "autoencoder", "equivariant", "words"]
)
def test_new_starts_from_every_example(place: Path, example: str) -> None:
    made = json.loads(quick("new", "mine", "--from", example, "--format", "json"))
    assert "mine.tie" in made["files"]
    assert ".." not in Path("mine/mine.tie").read_text()
    quick("check", "mine/mine.tie")
    for script in Path("mine").glob("*.py"):
        subprocess.run([sys.executable, str(script)], check=True, capture_output=True)
    quick("train", "mine/mine.tie", "--epochs", "1", "-o", "mine/run")


def test_a_closed_pipe_is_quiet(place: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tiedgraph", "compile", "small.tie", "--emit", "kernels"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    time.sleep(0.1)
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait()


def test_bench(place: Path) -> None:
    out, _ = call("bench", "small.tie", "--batch", "8", "--plot", "roof.svg")
    assert "GFLOP/s" in out
    assert "hidden.dense" in out or "h.dense" in out
    assert (place / "roof.svg").stat().st_size > 2000
    told = json.loads(call("bench", "small.tie", "--predict", "--format", "json")[0])
    assert told["mode"] == "predict"
    assert all(node["seconds"] > 0 for node in told["nodes"])
    assert "takes a .svg" in call("bench", "small.tie", "--plot", "x.gif", code=2)[1]


def test_tune(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiedgraph.measure.ROUNDS", 2)
    monkeypatch.setattr("tiedgraph.measure.ROUND", 0.001)
    prefix = f"tuned-test-{time.time_ns()}-"
    monkeypatch.setattr("tiedgraph.codegen.tuning.PREFIX", prefix)
    told = json.loads(quick("tune", "small.tie", "--batch", "5", "--format", "json"))
    assert [trial["tile"] for trial in told["trials"]] == [16, 8, 1]
    text = quick("compile", "small.tie", "--batch", "5", "--emit", "schedule")
    assert f"so {told['chosen']} samples a tile, tuned" in text
    assert "tuned" not in quick("compile", "small.tie", "--batch", "6", "--emit", "schedule")
    assert "a tile" in quick("tune", "small.tie", "--batch", "5", "--predict")
    kept = list(cache.folder().glob(f"{prefix}*"))
    assert len(kept) == 2
    for file in kept:
        file.unlink()
