"""Index maps against their definitions, and the files that hold maps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiedgraph.ties.index_map import MAPS, is_joint, make_map
from tiedgraph.ties.layout import Indexed, pull_back, read
from tiedgraph.ties.view import IndexMap, ViewError, layout, map_step

Array = np.ndarray[Any, np.dtype[Any]]
GIVEN: dict[str, dict[str, Any]] = {
    "hash": {"free": 5, "seed": 3},
    "block_diagonal": {"0": 2},
    "map": {"0": "groups.npy"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    root.mkdir()
    return root


def made(name: str, shape: tuple[int, ...], root: Path) -> tuple[IndexMap, Array, Array]:
    """A map, random free numbers and the parameter that it makes of them."""
    np.save(root / "groups.npy", np.arange(np.prod(shape)).reshape(shape) % 3 - 1)
    found = make_map(name, shape, GIVEN.get(name, {}), root)
    free = np.random.default_rng(1).standard_normal(found.free)
    return found, free, read(layout((map_step(found),), found.free), free)


@pytest.mark.parametrize("name", [name for name in MAPS if not is_joint(name)])
@pytest.mark.parametrize("shape", [(4, 4), (6, 6, 3)])
def test_every_number_is_used_and_pulled_back(
    name: str, shape: tuple[int, ...], folder: Path
) -> None:
    found, free, array = made(name, shape, folder)
    assert array.shape == shape
    used = np.unique(found.index[found.index >= 0])
    if name != "hash":
        np.testing.assert_array_equal(used, np.arange(free.size))
    where = layout((map_step(found),), found.free)
    assert isinstance(where, Indexed)
    gradient = np.random.default_rng(2).standard_normal(shape)
    back = pull_back(where, gradient, found.free)
    assert np.vdot(back, free) == pytest.approx(np.vdot(gradient, array))


def test_circulant(folder: Path) -> None:
    _, free, array = made("circulant", (4, 4), folder)
    np.testing.assert_array_equal(array[:, 0], free)
    for i in range(3):
        np.testing.assert_array_equal(array[i + 1], np.roll(array[i], 1))


def test_toeplitz(folder: Path) -> None:
    found = make_map("toeplitz", (3, 5), {}, None)
    array = read(layout((map_step(found),), found.free), np.arange(7.0))
    assert found.free == (7,)
    np.testing.assert_array_equal(array, [[4, 3, 2, 1, 0], [5, 4, 3, 2, 1], [6, 5, 4, 3, 2]])


@pytest.mark.parametrize(("name", "sign", "free"), [("symmetric", 1, 10), ("antisymmetric", -1, 6)])
def test_symmetry(name: str, sign: int, free: int, folder: Path) -> None:
    found, _, array = made(name, (4, 4), folder)
    np.testing.assert_array_equal(array, sign * array.T)
    assert found.free == (free,)
    assert len(np.unique(np.abs(array))) == free + (sign < 0)


def test_block_diagonal() -> None:
    found = make_map("block_diagonal", (4, 6), {"blocks": 2}, None)
    array = read(layout((map_step(found),), found.free), np.arange(1.0, 13))
    expected = np.zeros((4, 6))
    expected[:2, :3] = [[1, 2, 3], [4, 5, 6]]
    expected[2:, 3:] = [[7, 8, 9], [10, 11, 12]]
    np.testing.assert_array_equal(array, expected)


def test_other_axes_have_numbers_of_their_own(folder: Path) -> None:
    found, _, array = made("circulant", (3, 3, 2), folder)
    assert found.free == (3, 2)
    for k in range(2):
        np.testing.assert_array_equal(array[1, :, k], np.roll(array[0, :, k], 1))
    assert len(np.unique(array)) == 6


def _splitmix(x: int) -> int:
    """The finaliser as its author gives it, on Python integers."""
    mask = 2**64 - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


@pytest.mark.parametrize("seed", [0, 7, 2**40])
def test_hash_is_the_documented_one(seed: int) -> None:
    found = make_map("hash", (7, 9), {"free": 13, "seed": seed}, None)
    expected = [_splitmix(i ^ _splitmix(seed)) % 13 for i in range(63)]
    np.testing.assert_array_equal(found.index.reshape(-1), expected)


def test_hash_spreads() -> None:
    counts = np.bincount(make_map("hash", (256, 256), {"free": 64}, None).index.reshape(-1))
    assert counts.min() > 900
    assert counts.max() < 1150


# ---------------------------------------------------------------- files


def _load(name: str, root: Path | None, shape: tuple[int, ...] = (2, 3)) -> IndexMap:
    return make_map("map", shape, {"0": name}, root)


@pytest.mark.parametrize("kind", ["int8", "uint16", ">i4", "int64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_integers_in_any_order(kind: str, order: str, folder: Path) -> None:
    groups = np.array([[0, 1, 2], [2, 1, 0]], kind, order=order)  # type: ignore[call-overload]
    np.save(folder / "g.npy", groups)
    found = _load("g.npy", folder)
    np.testing.assert_array_equal(found.index, groups)
    assert found.free == (3,)


def _bytes(folder: Path) -> bytes:
    np.save(folder / "g.npy", np.array([[0, 1, 2], [2, 1, 0]]))
    return (folder / "g.npy").read_bytes()


@pytest.mark.parametrize("cut", [0, 3, 8, 40, -8, -1])
def test_damaged_files(cut: int, folder: Path) -> None:
    (folder / "g.npy").write_bytes(_bytes(folder)[:cut])
    with pytest.raises(ViewError) as caught:
        _load("g.npy", folder)
    assert caught.value.code == "E0502"


def test_header_that_promises_too_much(folder: Path) -> None:
    content = _bytes(folder).replace(b"(2, 3), }" + b" " * 10, b"(99999999, 99999999), }"[:19])
    huge = _bytes(folder).replace(b"'shape': (2, 3), }          ", b"'shape': (2, 999999999), }  ")
    for text in (content, huge):
        (folder / "g.npy").write_bytes(text)
        with pytest.raises(ViewError):
            _load("g.npy", folder)
        with pytest.raises(ViewError):
            _load("g.npy", folder, (2, 999999999))


def test_objects_are_never_loaded(folder: Path) -> None:
    np.save(folder / "g.npy", np.array([[{}]], object), allow_pickle=True)
    with pytest.raises(ViewError, match="integers"):
        _load("g.npy", folder, (1, 1))


def test_paths_stay_inside(folder: Path) -> None:
    np.save(folder.parent / "outside.npy", np.zeros((2, 3), int))
    (folder / "link.npy").symlink_to(folder.parent / "outside.npy")
    os.link(folder.parent / "outside.npy", folder / "hard.npy")
    for name in ("../outside.npy", "link.npy", "hard.npy", str(folder.parent / "outside.npy"), ""):
        with pytest.raises(ViewError) as caught:
            _load(name, folder)
        assert caught.value.code == "E0503", name
    with pytest.raises(ViewError, match="comes as text"):
        _load("g.npy", None)


def test_pipes_are_not_opened(folder: Path) -> None:
    os.mkfifo(folder / "g.npy")
    with pytest.raises(ViewError, match="not a file"):
        _load("g.npy", folder)


def test_links_in_a_ring(folder: Path) -> None:
    (folder / "g.npy").symlink_to(folder / "g.npy")
    with pytest.raises(ViewError) as caught:
        _load("g.npy", folder)
    assert caught.value.code in ("E0502", "E0503")
