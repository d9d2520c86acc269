"""Data files and arrays: what is read, and what is said of those that do not fit."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiedgraph.compiler import check_text
from tiedgraph.diagnostics import DataError
from tiedgraph.ir.graph import Graph
from tiedgraph.runtime.data import Dataset, Stream, load, mark, order_of

IMAGES = """
input image: float[1, 2, 2]
target label: class[3]
y = dense(image, 3)
output scores = softmax(y)
loss cross_entropy(y, label)
data { image = scale(1/255, offset=-1) }
"""
SERIES = """
input frames: float[2, time]
target tag: class[4, time]
y = conv1d(frames, 4, window=1)
output scores = y
loss cross_entropy(y, tag)
"""
NUMBERS = """
input x: float[3]
target t: float[1]
y = dense(x, 1)
loss mse(y, t)
"""


def graph_of(text: str) -> Graph:
    found = check_text(text).graph
    assert found is not None
    return found


@pytest.fixture(scope="module")
def images() -> Graph:
    return graph_of(IMAGES)


@pytest.fixture(scope="module")
def series() -> Graph:
    return graph_of(SERIES)


def pictures(samples: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (samples, 1, 2, 2), np.uint8),
        "label": np.arange(samples, dtype=np.uint8) % 3,
    }


def sequences() -> dict[str, np.ndarray]:
    frames = np.ones((3, 2, 5), np.float32)
    frames[1, :, 3:] = 0
    return {
        "frames": frames,
        "frames.length": np.array([5, 3, 4], np.int32),
        "tag": np.zeros((3, 5), np.uint8),
    }


def read(source: Any, graph: Graph, **options: Any) -> Dataset:
    found = load(source, graph, **options)
    assert isinstance(found, Dataset)
    return found


def whole(data: Dataset) -> dict[str, np.ndarray]:
    ((arrays, samples),) = data.batches(10**6)
    assert samples == data.samples
    return arrays


# ---------------------------------------------------------------- what is read


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez_compressed(path / "data.npz", **arrays)
    return path / "data.npz"


def write_folder(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
    return path


def write_csv(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    columns: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        flat = array.reshape(len(array), -1)
        for i in range(flat.shape[1]):
            columns[name if array.ndim == 1 else f"{name}[{i}]"] = flat[:, i]
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
    (path / "data.csv").write_text("\n".join(lines) + "\n")
    return path / "data.csv"


def write_parquet(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = {n: a if a.ndim == 1 else list(a.reshape(len(a), -1)) for n, a in arrays.items()}
    parquet.write_table(arrow.table(table), path / "data.parquet")
    return path / "data.parquet"


@pytest.mark.parametrize("write", [write_npz, write_folder, write_csv, write_parquet])
def test_every_format_gives_the_same_numbers(
    write: Callable[..., Path], tmp_path: Path, images: Graph
) -> None:
    given = pictures()
    data = read(write(tmp_path, given | {"more": np.zeros(5)}), images)
    found = whole(data)
    assert set(found) == {"image", "label"}
    expected = given["image"].astype(np.float32) * np.float32(1 / 255) - np.float32(1)
    assert found["image"].dtype == np.float32
    assert np.array_equal(found["image"], expected)
    assert np.array_equal(found["label"], given["label"])


@pytest.mark.parametrize("write", [write_npz, write_folder, write_csv, write_parquet])
def test_lengths_stand_beside_their_arrays(
    write: Callable[..., Path], tmp_path: Path, series: Graph
) -> None:
    given = sequences()
    found = whole(read(write(tmp_path, given), series))
    assert all(np.array_equal(found[name], array) for name, array in given.items())
    assert set(found) == set(given)


def test_folders_are_mapped_and_images_stay_small(tmp_path: Path, images: Graph) -> None:
    data = read(write_folder(tmp_path, pictures()), images)
    assert isinstance(data.arrays["image"], np.memmap)
    assert data.arrays["image"].dtype == np.uint8


def test_one_npy_is_the_one_input_that_is_needed(tmp_path: Path, images: Graph) -> None:
    np.save(tmp_path / "anything.npy", pictures()["image"])
    data = read(tmp_path / "anything.npy", images, needed=["image"])
    assert set(data.arrays) == {"image"}
    with pytest.raises(DataError, match=r"input 'image' .* is missing; there are: anything"):
        load(tmp_path / "anything.npy", images)


def test_lists_of_parquet_may_differ_in_length(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    graph = graph_of("input x: float[time]\noutput y = mean(x)")
    parquet.write_table(arrow.table({"x": [[1.0, 2.0], [3.0], [4, 5, 6]]}), tmp_path / "d.parquet")
    found = whole(read(tmp_path / "d.parquet", graph))
    assert np.array_equal(found["x"], [[1, 2, 0], [3, 0, 0], [4, 5, 6]])
    assert np.array_equal(found["x.length"], [2, 1, 3])


def test_cells_beyond_a_samples_end_may_be_empty(tmp_path: Path) -> None:
    graph = graph_of("input x: float[time]\noutput y = mean(x)")
    (tmp_path / "d.csv").write_text("x[0];x[1];x.length\n1;2;2\n3;;1\n")
    found = whole(read(tmp_path / "d.csv", graph))
    assert np.array_equal(found["x"], [[1, 2], [3, 0]])


def test_only_integers_in_memory_are_scaled(images: Graph) -> None:
    given = pictures()
    ready = given["image"].astype(np.float32) / 255
    assert np.array_equal(whole(read(given | {"image": ready}, images))["image"], ready)
    assert whole(read(given, images))["image"].max() < 0.01


def test_a_dataset_is_data_too(tmp_path: Path, images: Graph) -> None:
    first = read(write_npz(tmp_path, pictures()), images)
    again = read(first, images)
    assert np.array_equal(whole(first)["image"], whole(again)["image"])


# ---------------------------------------------------------------- order


def test_batches_cover_all_samples_once_in_a_seeded_order(images: Graph) -> None:
    data = read(pictures(23), images)
    order = order_of(23, seed=7, epoch=2)
    assert sorted(order) == list(range(23))
    assert not np.array_equal(order, order_of(23, 7, 3))
    assert not np.array_equal(order, order_of(23, 8, 2))
    parts = list(data.batches(5, order))
    assert [n for _, n in parts] == [5, 5, 5, 5, 3]
    assert data.steps(5) == 5
    labels = np.concatenate([arrays["label"] for arrays, _ in parts])
    assert np.array_equal(labels, data.arrays["label"][order])
    later = [arrays["label"] for arrays, _ in data.batches(5, order, first=3)]
    assert np.array_equal(np.concatenate(later), labels[15:])


def test_the_order_stays_what_it_was() -> None:
    """Saved runs rely on it."""
    assert order_of(8, 0, 0).tolist() == [2, 1, 0, 7, 6, 3, 5, 4]


def test_a_mark_tells_data_apart(images: Graph) -> None:
    given = pictures()
    other = given | {"label": given["label"][::-1].copy()}
    assert mark(read(given, images)) == mark(read(given, images))
    assert mark(read(given, images)) != mark(read(other, images))


def test_batches_may_come_from_an_iterable(images: Graph) -> None:
    parts = [pictures(4), pictures(2)]
    data = load(parts, images)
    assert isinstance(data, Stream)
    assert [n for _, n in data.batches(99)] == [4, 2]
    assert [n for _, n in data.batches(99, first=1)] == [2]
    bad = load([pictures(4), {"image": pictures(2)["image"]}], images)
    with pytest.raises(DataError, match="batch 1: target 'label'"):
        list(bad.batches(1))
    with pytest.raises(DataError, match="batch 0 is a int"):
        list(load([3], images).batches(1))


# ---------------------------------------------------------------- what does not fit


def changed(**changes: Any) -> dict[str, Any]:
    return {k: v for k, v in (pictures() | changes).items() if v is not None}


def at(name: str, place: tuple[int, ...], value: float) -> dict[str, Any]:
    given: dict[str, Any] = {n: a.astype(np.float64) for n, a in pictures().items()}
    given[name][place] = value
    return given


BAD = {
    "missing": (changed(label=None), "target 'label' (class[3]) is missing; there are: image"),
    "near name": (
        changed(label=None, labels=np.zeros(5, int)),
        "target 'label' (class[3]) is missing; did you mean 'labels'?",
    ),
    "shape": (
        changed(image=np.zeros((5, 2, 2))),
        "array 'image' has shape [5, 2, 2], but float[1, 2, 2] is declared, which is "
        "[samples, 1, 2, 2]; reshape(-1, 1, 2, 2) makes it fit",
    ),
    "other shape": (changed(image=np.zeros((5, 1, 2, 3))), "has shape [5, 1, 2, 3], but"),
    "no samples": (changed(image=np.zeros((0, 1, 2, 2)), label=np.zeros(0)), "no samples"),
    "one number": (changed(label=np.array(1)), "array 'label' is one number"),
    "counts": (
        changed(label=np.zeros(4)),
        "arrays differ in their number of samples: 'image' has 5, 'label' has 4",
    ),
    "label": (at("label", (3,), 3), "array 'label' holds 3.0 in sample 3; class[3] takes 0 to 2"),
    "negative": (
        changed(label=np.array([0, 0, -1, 0, 0])),
        "array 'label' holds -1 in sample 2; class[3] takes 0 to 2",
    ),
    "fraction": (at("label", (1,), 0.5), "holds 0.5 in sample 1, which is not an integer"),
    "label nan": (at("label", (1,), np.nan), "array 'label' holds nan in sample 1; class[3] takes"),
    "nan": (
        at("image", (4, 0, 1, 0), np.nan),
        "array 'image' holds nan in sample 4, entry [0, 1, 0]; only finite numbers can be used",
    ),
    "infinite": (at("image", (0, 0, 0, 1), -np.inf), "array 'image' holds -inf in sample 0"),
    "too large": (at("image", (2, 0, 0, 0), 1e39), "holds 1e+39 in sample 2, entry [0, 0, 0]"),
    "objects": (changed(label=np.array([None] * 5)), "array 'label' holds objects, not real"),
    "texts": (changed(label=np.array(list("abcde"))), "array 'label' holds texts, not real"),
    "complex": (changed(image=np.zeros((5, 1, 2, 2), complex)), "'image' holds complex numbers"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("write", [None, write_npz, write_folder])
def test_what_does_not_fit_is_named(
    kind: str, write: Callable[..., Path] | None, tmp_path: Path, images: Graph
) -> None:
    given, told = BAD[kind]
    source: Any = given
    if write is not None:
        if kind == "objects":
            return  # needs pickles to be written; see below
        source = write(tmp_path, given)
    with pytest.raises(DataError) as caught:
        load(source, images)
    assert told in str(caught.value)
    assert str(caught.value).startswith("the arrays: " if write is None else str(source))


def lengths(**changes: Any) -> dict[str, Any]:
    return {k: v for k, v in (sequences() | changes).items() if v is not None}


BAD_LENGTHS = {
    "zero": (lengths(**{"frames.length": np.array([5, 0, 4])}), "of sample 1 is 0"),
    "negative": (lengths(**{"frames.length": np.array([5, 3, -4])}), "of sample 2 is -4"),
    "long": (lengths(**{"frames.length": np.array([6, 3, 4])}), "of sample 0 is 6"),
    "floats": (lengths(**{"frames.length": np.ones(3)}), "must hold one integer for each sample"),
    "count": (lengths(**{"frames.length": np.array([5, 3])}), "'frames.length' has 2"),
    "misspelt": (
        lengths(**{"frames.length": None, "frames_len": np.array([5, 3, 4])}),
        "array 'frames_len' looks like the lengths of 'frames', which are named 'frames.length'",
    ),
    "padding differs": (
        lengths(tag=np.zeros((3, 6), int)),
        "'frames' and 'tag' have the same run-time size time, but 5 and 6 steps",
    ),
    "lengths differ": (
        lengths(**{"tag.length": np.array([5, 3, 5])}),
        "'frames.length' and 'tag.length' differ",
    ),
}


@pytest.mark.parametrize("kind", BAD_LENGTHS)
def test_lengths_that_do_not_fit_are_named(kind: str, tmp_path: Path, series: Graph) -> None:
    given, told = BAD_LENGTHS[kind]
    for source in (given, write_npz(tmp_path, given)):
        with pytest.raises(DataError) as caught:
            load(source, series)
        assert told in str(caught.value)


BAD_TABLES = {
    "empty": ("", "it is empty"),
    "header only": ("x[0],x[1],x[2],t\n", "there are no samples"),
    "word": ("x[0],x[1],x[2],t\n1,2,3,4\n1,two,3,4\n", "line 3, column 'x[1]': 'two' is not a"),
    "hole": ("x[0],x[1],x[2],t\n1,2,,4\n", "line 2, column 'x[2]': the cell is empty"),
    "short row": ("x[0],x[1],x[2],t\n1,2,3,4\n1,2,3\n", "line 3 has 3 cells"),
    "columns": ("x[0],x[1],t\n1,2,4\n", "array 'x' has 2 columns, but float[3] is declared"),
    "gap": ("x[0],x[2],t\n1,2,4\n", "array 'x' has 1 columns"),
    "missing": ("x[0],x[1],x[2]\n1,2,3\n", "target 't' (float[1]) is missing; there are: x"),
    "twice": ("t,x[0],x[1],x[2],t\n", "two columns are named 't'"),
    "nan": ("x[0],x[1],x[2],t\n1,2,3,4\n1,2,nan,4\n", "array 'x' holds nan in sample 1, entry [2]"),
    "latin": (b"x[0],x[1],x[2],t\n1,2,3,\xe9\n", "not UTF-8"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_tables_that_do_not_fit_are_named(kind: str, tmp_path: Path) -> None:
    content, told = BAD_TABLES[kind]
    path = tmp_path / "data.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        load(path, graph_of(NUMBERS))
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


# ---------------------------------------------------------------- damaged and hostile files


def npy(shape: tuple[int, ...] | str, dtype: str = "|u1", data: bytes = b"") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(10 + len(text) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


class Touched:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (self.path, "w"))


HOSTILE = {
    "4 TiB header": (npy((2**40, 1, 2, 2)), "its header tells of 4398046511104"),
    "negative": (npy((-1, 1, 2, 2)), "damaged"),
    "huge": (npy((10**30, 1, 2, 2)), "damaged"),
    "short": (npy((5, 1, 2, 2), data=bytes(19)), "tells of 20 bytes, and 19 follow"),
    "long": (npy((5, 1, 2, 2), data=bytes(21)), "tells of 20 bytes, and 21 follow"),
    "not npy": (b"hello", "damaged"),
    "nothing": (b"", "damaged"),
    "not a shape": (npy("(5, 'a')"), "damaged"),
    "code": (npy("__import__('os').system('true')"), "damaged"),
    "objects": (npy((5, 1, 2, 2), "|O", bytes(20)), "holds objects"),
    "records": (npy((5, 1, 2, 2), "|V3", bytes(60)), "not real numbers"),
    "long doubles": (npy((5, 1, 2, 2), "<f16", bytes(320)), "at most 64 bits"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_headers_are_checked_before_anything_is_unpacked(
    kind: str, tmp_path: Path, images: Graph
) -> None:
    content, told = HOSTILE[kind]
    label = io.BytesIO()
    np.save(label, np.zeros(5, np.uint8))
    packed = archive(tmp_path / "a.npz", image=content, label=label.getvalue())
    mapped = tmp_path / "folder"
    mapped.mkdir()
    (mapped / "image.npy").write_bytes(content)
    (mapped / "label.npy").write_bytes(label.getvalue())
    for source in (packed, mapped):
        with pytest.raises(DataError) as caught:
            load(source, images)
        assert told in str(caught.value)
        assert "'image'" in str(caught.value)


def test_pickles_are_never_opened(tmp_path: Path, images: Graph) -> None:
    trap = tmp_path / "opened"
    objects = np.array([Touched(str(trap))] * 5, object)
    np.savez(tmp_path / "a.npz", image=objects, label=np.zeros(5))
    with pytest.raises(DataError, match="array 'image' holds objects"):
        load(tmp_path / "a.npz", images)
    assert not trap.exists()


def test_truncations_and_bit_flips_of_archives_never_escape(tmp_path: Path, images: Graph) -> None:
    good = write_npz(tmp_path, pictures()).read_bytes()
    expected = pictures()
    rng = np.random.default_rng(1)
    path = tmp_path / "bad.npz"
    refused = 0
    for trial in range(300):
        content = bytearray(good)
        if trial % 2:
            del content[rng.integers(0, len(content)) :]
        else:
            content[rng.integers(0, len(content))] ^= 1 << rng.integers(0, 8)
        path.write_bytes(bytes(content))
        try:
            found = read(path, images)
        except DataError:
            refused += 1
        else:  # a flip in a date or an attribute changes no number
            assert all(np.array_equal(found.arrays[n], a) for n, a in expected.items())
    assert refused > 200


def test_more_than_there_is_memory_for_is_refused_unread(
    tmp_path: Path, images: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiedgraph.runtime.datafile.memory_available", lambda: 10)
    path = write_npz(tmp_path, pictures())
    with pytest.raises(DataError, match=r"take .* GB in memory, and .* a folder of \.npy files"):
        load(path, images)


PLACES = {
    "nothing there": (lambda p: p / "digits.npz", "there is no such file"),
    "near name": (lambda p: write_npz(p, pictures()).with_name("date.npz"), "mean 'data.npz'?"),
    "empty folder": (lambda p: p, "the folder holds no .npy files"),
    "sound": (lambda p: _made(p / "data.wav"), "tiedgraph features makes frames"),
    "other kind": (lambda p: _made(p / "data.txt"), "'.txt' files are not read; give one of .npz"),
    "no kind": (lambda p: _made(p / "data"), "its name has no ending"),
    "not an archive": (lambda p: _made(p / "data.npz"), "it is no .npz file"),
    "not parquet": (lambda p: _made(p / "data.parquet"), "it is no .parquet file"),
    "empty npy": (lambda p: _made(p / "image.npy"), "damaged"),
    "device": (lambda p: Path("/dev/zero"), "it is not an ordinary file"),
    "NUL": (lambda p: p / "a\0b.npz", "null"),
}


def _made(path: Path) -> Path:
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize("kind", PLACES)
def test_files_that_cannot_be_read_are_named(kind: str, tmp_path: Path, images: Graph) -> None:
    make, told = PLACES[kind]
    if kind == "not parquet":
        pytest.importorskip("pyarrow")
    source = make(tmp_path)
    with pytest.raises(DataError) as caught:
        load(source, images, needed=["image"])
    assert told in str(caught.value)


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, images: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"needs pyarrow: pip install 'tiedgraph\[data\]'"):
        load(_made(tmp_path / "data.parquet"), images)


def test_other_things_are_no_data(images: Graph) -> None:
    for source in (3, None, np.zeros(3), b"data.npz"):
        with pytest.raises(DataError, match="data is a path, a mapping of arrays or an iterable"):
            load(source, images)
