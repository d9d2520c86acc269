"""Soft ties made hard, and small files."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import tiedgraph as tg
from tiedgraph.compression.coder import Decoder, Encoder, code_indices, code_numbers
from tiedgraph.compression.file import pack, save, unpack
from tiedgraph.compression.search import compress
from tiedgraph.diagnostics import RunError
from tiedgraph.rewrite.harden import find_clusters, harden, merged, thin

Array = np.ndarray[Any, np.dtype[Any]]

TEXT = """# A small net; its soft tie is below.
model small
input x: float[8]
target y: class[3]
h = dense(x, 12) |> tanh  # hidden
o = dense(h, 3)
output who = softmax(o)
loss cross_entropy(o, y)
metric error(o, y)
tie soft book = h, o.weight {
    components = 5
    zero = 0.5
    strength = 0.3
    range = [-0.8, 0.8]
    mean_rate = 0.01
    precision_rate = 0.03
}
init o.bias = constant(0.1)  # kept
train { optimizer = adam(rate=0.02), batch = 32, epochs = 60 }
"""


def data(seed: int = 0, count: int = 200) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 8)).astype(np.float32)
    return {"x": x, "y": (x[:, :3].argmax(axis=1)).astype(np.uint8)}


@pytest.fixture(scope="module")
def soft(tmp_path_factory: pytest.TempPathFactory) -> tg.Model:
    place = tmp_path_factory.mktemp("soft") / "small.tie"
    place.write_text(TEXT)
    model = tg.compile(place)
    model.fit(data())
    return model


# ---------------------------------------------------------------- harden


def test_hardened_text_and_numbers(soft: tg.Model, tmp_path: Path) -> None:
    clusters = find_clusters(soft)
    assert set(clusters.codes) == {"h.weight", "h.bias", "o.weight"}
    made = harden(soft, clusters)
    line = 'tie hard h.weight, h.bias, o.weight by codebook("book.npz")'
    begin, end = TEXT.index("tie soft"), TEXT.index("}\ninit") + 1
    assert made.text == TEXT[:begin] + line + TEXT[end:]
    made.write(tmp_path / "hard.tie")
    hard = tg.compile(tmp_path / "hard.tie")
    report = hard.start_from(soft)
    # Started from the soft run, each value is the mean of its cluster.
    assert set(report.averaged) <= set(clusters.codes)
    weights = soft.parameters["h.weight"]
    code = clusters.codes["h.weight"]
    assert ((hard.parameters["h.weight"] == 0) == (code < 0)).all()
    nearest = np.abs(weights[..., None] - np.append(clusters.values, 0)).min(axis=-1)
    assert np.abs(weights - clusters.numbers("h.weight")).max() < nearest.max() + 0.3
    assert hard.explain().count("codebook") >= 1
    with pytest.raises(RunError, match="is there already; --force"):
        made.write(tmp_path / "hard.tie")
    made.write(tmp_path / "hard.tie", replace=True)


def test_thinned_model_keeps_its_zeros(soft: tg.Model) -> None:
    clusters = find_clusters(soft)
    thinner = thin(soft, clusters, "components = 3, strength = 0.01").compiled(soft)
    thinner.start_from(soft)
    thinner.fit(data(), epochs=2)
    for name, code in clusters.codes.items():
        assert ((thinner.parameters[name] == 0) == (code < 0)).all()
    again = harden(thinner, find_clusters(thinner))
    assert "by map" not in again.text
    hard = again.compiled(thinner)
    for name, code in clusters.codes.items():
        assert (hard.parameters[name][code < 0] == 0).all()


def test_components_that_lie_upon_each_other_are_merged() -> None:
    mean = np.array([0.0, 1.0, 1.0 + 1e-7, 2.0])
    gamma, weight = np.full(4, 4.0), np.array([0.1, 0.2, 0.6, 0.1])
    found, precision, logs = merged(mean, gamma, np.log(weight), 1e-10)
    assert np.allclose(found, [0.0, 1.0 + 0.75e-7, 2.0], atol=1e-12)
    assert np.allclose(precision, 4.0)
    assert np.allclose(np.exp(logs), [0.1, 0.8, 0.1])
    assert merged(mean, gamma, np.log(weight), 0.0)[0].size == 4


def test_what_cannot_be_hardened(soft: tg.Model) -> None:
    plain = tg.compile_text("input x: float[2]\noutput y = dense(x, 2)")
    with pytest.raises(RunError, match="no soft tie"):
        find_clusters(plain)
    with pytest.raises(RunError, match="did you mean 'book'"):
        find_clusters(soft, "bok")


# ---------------------------------------------------------------- the coder


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.int64,
        arrays.array_shapes(min_dims=1, max_dims=4, max_side=7),
        elements=st.integers(-1, 5),
    )
)
def test_indices_come_back(codes: Array) -> None:
    encoder = Encoder()
    code_indices(encoder, codes, 6)
    decoder = Decoder(encoder.content())
    assert np.array_equal(code_indices(decoder, np.zeros(codes.shape, int), 6), codes)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([np.float32, np.float64]).flatmap(
        lambda kind: arrays.arrays(
            kind, st.integers(0, 9), elements=arrays.from_dtype(np.dtype(kind), allow_nan=False)
        )
    )
)
def test_numbers_come_back_to_the_bit(numbers: Array) -> None:
    encoder = Encoder()
    code_numbers(encoder, numbers, "x")
    found = code_numbers(Decoder(encoder.content()), np.zeros_like(numbers), "x")
    assert found.tobytes() == numbers.tobytes()


def test_numbers_on_a_grid_are_short() -> None:
    numbers = np.round(np.random.default_rng(0).normal(size=400) * 16).astype(np.float32) / 16 + 0
    encoder = Encoder()
    code_numbers(encoder, numbers, "x")
    assert len(encoder.content()) < 400 * 6.4 / 8


def test_positions_cost_what_entropy_allows() -> None:
    rng = np.random.default_rng(0)
    codes = np.where(rng.random((300, 400)) < 0.02, rng.integers(0, 4, (300, 400)), -1)
    encoder = Encoder()
    code_indices(encoder, codes, 4)
    kept, all_of_it = int((codes >= 0).sum()), codes.size
    p = kept / all_of_it
    entropy = -all_of_it * (p * np.log2(p) + (1 - p) * np.log2(1 - p)) + 2 * kept
    assert len(encoder.content()) * 8 < 1.05 * entropy


# ---------------------------------------------------------------- files


def test_a_packed_model_is_the_same_model(soft: tg.Model, tmp_path: Path) -> None:
    hard = harden(soft, find_clusters(soft)).compiled(soft)
    hard.start_from(soft)
    packed = save(hard, tmp_path / "small.tied")
    assert sum(packed.parts.values()) == len(packed.content)
    assert (tmp_path / "small.tied").read_bytes() == packed.content == pack(hard).content
    again = tg.load(tmp_path / "small.tied")
    for name, array in hard.free.items():
        assert again.free[name].tobytes() == array.tobytes()
    batch = data(1, 50)
    assert np.array_equal(again.predict(x=batch["x"])["who"], hard.predict(x=batch["x"])["who"])
    assert again.evaluate(batch) == hard.evaluate(batch)
    again.save(tmp_path / "folder")
    assert tg.load(tmp_path / "folder").evaluate(batch) == hard.evaluate(batch)
    # A model without clusters, too, with its constants and type.
    plain = tg.compile_text(
        "const n = 2\ninput x: float[n]\noutput y = dense(x, 2)", dtype="float64", define={"n": 3}
    )
    other = unpack(pack(plain).content, "x")
    assert other.dtype == "float64"
    assert other.free["y.weight"].tobytes() == plain.free["y.weight"].tobytes()


def test_damaged_files_are_told(soft: tg.Model, tmp_path: Path) -> None:
    hard = harden(soft, find_clusters(soft)).compiled(soft)
    content = pack(hard).content
    place = tmp_path / "x.tied"
    for bad in (b"", b"tied", b"tie", content[:-1], content[:40], b"PK" + content):
        place.write_bytes(bad)
        with pytest.raises(RunError, match=r"x\.tied"):
            tg.load(place)
    rng = np.random.default_rng(0)
    for _ in range(30):  # a right checksum over wrong content
        wrong = bytearray(content)
        wrong[int(rng.integers(9, len(wrong)))] ^= int(rng.integers(1, 256))
        wrong[5:9] = zlib.crc32(bytes(wrong[9:])).to_bytes(4, "little")
        place.write_bytes(bytes(wrong))
        with contextlib.suppress(RunError, tg.TieError):
            tg.load(place)
    with pytest.raises(RunError, match="no such file"):
        tg.load(tmp_path / "none.tied")


# ---------------------------------------------------------------- the whole way


def test_compress_keeps_its_budget_or_says_so(soft: tg.Model) -> None:
    told: list[Any] = []
    found = compress(
        soft, data(), data(1), budget=20, rounds=2, epochs=4, retune=3, told=told.append
    )
    assert found.within
    assert len(told) == len(found.candidates) >= 2
    assert found.numbers == 8 * 12 + 12 + 36 + 3
    assert found.chosen.bytes == len(found.packed.content)
    assert found.chosen.ratio == pytest.approx(4 * found.numbers / found.chosen.bytes)
    assert found.chosen.bytes == min(c.bytes for c in found.candidates if c.worse <= 20)
    again = unpack(found.packed.content, "x").evaluate(data(1))
    assert again["error"] == found.chosen.measured["error"]
    kept = [candidate.kept for candidate in found.candidates]
    assert kept == sorted(kept, reverse=True)
    nothing = compress(soft, data(), data(1), budget=-100, rounds=0, retune=0)
    assert not nothing.within


def test_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "small.tie").write_text(TEXT)
    for name, seed in (("train", 0), ("test", 1)):
        np.savez(tmp_path / f"{name}.npz", **data(seed))  # type: ignore[arg-type]

    def call(*words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tiedgraph", *words],
            capture_output=True, text=True, cwd=tmp_path, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    call("train", "small.tie", "--data", "train.npz", "-o", "soft")
    assert "go on with: tiedgraph train hard.tie" in call("harden", "soft", "-o", "hard.tie")
    call("train", "hard.tie", "--data", "train.npz", "--start-from", "soft", "--epochs", "1")
    words = ["compress", "soft", "--data", "train.npz", "-o", "small.tied", "--rounds", "1"]
    text = call(*words, "--validate", "test.npz", "--epochs", "2", "--loss-budget", "30%")
    assert "times smaller" in text
    assert "positions" in text
    assert "error" in call("evaluate", "small.tied", "--data", "test.npz")
    call("predict", "small.tied", "--data", "test.npz", "-o", "out.npz")
    assert "is there already" in call(*words, "--validate", "test.npz", code=2)
    assert "--holdout" in call(*words[:-4], "-o", "other.tied", code=2)
    assert "percentage" in call(
        *words[:-4], "-o", "x.tied", "--holdout", "9", "--loss-budget", "much", code=2
    )
    assert ".tied" in call("compress", "soft", "--data", "train.npz", "-o", "x.npz", code=2)
    assert "no soft tie" in call("harden", "runs/small", "-o", "again.tie", code=1)
