"""Folders that change as a whole: whatever fails, and whenever, a whole state is there."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiedgraph.diagnostics import RunError
from tiedgraph.runtime import folder
from tiedgraph.runtime.folder import commit, lock, read_manifest, read_state, write_file

OLD = {"a.bin": b"old a" * 50, "lib/b.tie": b"old b", "gone.bin": b"goes"}
NEW = {"a.bin": b"new a" * 70, "lib/b.tie": b"old b", "c.bin": b"comes"}
OLD_DERIVED = {"history.csv": b"1\n"}
NEW_DERIVED = {"history.csv": b"1\n2\n"}


def first(path: Path) -> dict[str, Any]:
    path.mkdir()
    return commit(path, {"kind": "run"}, OLD, OLD_DERIVED)


def second(path: Path) -> dict[str, Any]:
    return commit(path, {"kind": "run"}, NEW, NEW_DERIVED, read_manifest(path))


def test_a_state_is_what_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert first(path) == read_manifest(path)
    assert read_state(path)[1] == OLD
    second(path)
    manifest, files = read_state(path)
    assert files == NEW
    assert manifest["kind"] == "run"
    assert (path / "history.csv").read_bytes() == b"1\n2\n"
    left = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
    assert left == {*NEW, "history.csv", "manifest.json"}


# ---------------------------------------------------------------- failures at every call


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


class Faults:
    """Lets the n-th call that touches the disk fail; with `torn`, a write leaves half of itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.at = -1
        self.error: Callable[[], BaseException] = Killed
        for name in ("open", "fsync", "replace", "unlink"):
            self.wrap(monkeypatch, name, getattr(os, name))
        self.write = folder._write
        monkeypatch.setattr(folder, "_write", self.torn)

    def wrap(self, monkeypatch: pytest.MonkeyPatch, name: str, real: Callable[..., Any]) -> None:
        def call(*arguments: Any, **named: Any) -> Any:
            self.count()
            return real(*arguments, **named)

        monkeypatch.setattr(folder.os, name, call)

    def count(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise self.error()

    def torn(self, path: Path, content: bytes) -> None:
        self.calls += 1
        if self.calls == self.at:
            path.write_bytes(content[: len(content) // 2])
            raise self.error()
        self.write(path, content)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    return Faults(monkeypatch)


def calls_of_a_commit(faults: Faults, path: Path) -> int:
    first(path)
    faults.calls = 0
    second(path)
    return faults.calls


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def broken() -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("error", [Killed, full, broken])
def test_old_or_new_is_whole_whatever_call_fails(
    error: Callable[[], BaseException], tmp_path: Path, faults: Faults
) -> None:
    total = calls_of_a_commit(faults, tmp_path / "probe")
    assert total > 15
    seen = set()
    for k in range(1, total + 1):
        path = tmp_path / f"run{k}"
        faults.at = -1
        first(path)
        before = read_manifest(path)
        faults.calls, faults.at, faults.error = 0, k, error
        told = ""
        try:
            commit(path, {"kind": "run"}, NEW, NEW_DERIVED, before)
        except (Killed, RunError) as problem:
            told = str(problem) if isinstance(problem, RunError) else "killed"
        faults.at = -1
        files = read_state(path)[1]
        assert files in (OLD, NEW), k
        # Without a word: an old file could not be deleted.
        assert told or files == NEW
        if error is not Killed and told:
            assert os.strerror(error().errno).lower() in told  # type: ignore[attr-defined]
        seen.add(files == NEW)
        second(path)
        assert read_state(path)[1] == NEW
        assert not list(path.rglob("*.new"))
    assert seen == {False, True}


@pytest.mark.parametrize("error", [Killed, full])
def test_a_first_state_is_there_or_not(
    error: Callable[[], BaseException], tmp_path: Path, faults: Faults
) -> None:
    first(tmp_path / "probe")
    for k in range(1, faults.calls + 1):
        path = tmp_path / f"run{k}"
        faults.calls, faults.at, faults.error = 0, k, error
        with contextlib.suppress(Killed, RunError):
            first(path)
        faults.at = -1
        if folder.is_saved(path):
            assert read_state(path)[1] == OLD
        else:
            with pytest.raises(RunError, match="holds no run"):
                read_state(path)


@pytest.mark.parametrize("error", [Killed, full, broken])
def test_one_file_is_replaced_as_a_whole(
    error: Callable[[], BaseException], tmp_path: Path, faults: Faults
) -> None:
    path = tmp_path / "out.npz"
    write_file(path, b"old")
    calls, faults.calls = faults.calls, 0
    write_file(path, b"old")
    calls = faults.calls
    for k in range(1, calls + 1):
        faults.at = -1
        write_file(path, b"old")
        faults.calls, faults.at, faults.error = 0, k, error
        with pytest.raises((Killed, OSError)) as raised:
            write_file(path, b"new and longer")
        assert path.read_bytes() in (b"old", b"new and longer")
        if isinstance(raised.value, OSError):
            assert raised.value.filename == str(path)


# ---------------------------------------------------------------- damage


def saved_files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file())


def test_every_truncation_and_bit_flip_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "run"
    first(path)
    rng = np.random.default_rng(0)
    for file in saved_files(path):
        good = file.read_bytes()
        cuts = [good[:n] for n in rng.integers(0, len(good), 8)]
        flips = []
        for _ in range(60):
            content = bytearray(good)
            content[rng.integers(0, len(good))] ^= 1 << rng.integers(0, 8)
            flips.append(bytes(content))
        for bad in [b"", *cuts, *flips, good + b"\0", good + b"\n"]:
            file.write_bytes(bad)
            with pytest.raises(RunError) as caught:
                read_state(path)
            assert str(file) in str(caught.value)
            assert "damaged" in str(caught.value)
        file.write_bytes(good)
    read_state(path)


def test_missing_files_are_named_and_those_for_reading_may_go(tmp_path: Path) -> None:
    path = tmp_path / "run"
    first(path)
    (path / "history.csv").write_bytes(b"1\r\n")
    with pytest.raises(RunError, match=r"history\.csv is damaged.*delete it to go on"):
        read_state(path)
    (path / "history.csv").unlink()
    read_state(path)
    (path / "a.bin").unlink()
    with pytest.raises(RunError, match=r"a\.bin is missing"):
        read_state(path)


def test_other_folders_are_told_apart(tmp_path: Path) -> None:
    for place, told in [
        (tmp_path / "none", "does not exist"),
        (tmp_path, "holds no run"),
        (Path(__file__), "is not a folder"),
    ]:
        with pytest.raises(RunError, match=told):
            read_state(place)


def manifest_with(path: Path, **changes: Any) -> None:
    manifest = read_manifest(path) | changes
    (path / "manifest.json").write_bytes(folder._manifest_bytes(manifest))


SIZE = {"bytes": 5, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {"../outside": SIZE}},
        {"files": {"/etc/hostname": SIZE}},
        {"files": {"lib/../../outside": SIZE}},
        {"files": {"./a.bin": SIZE}},
        {"files": {"a\0.bin": SIZE}},
        {"files": {"": SIZE}},
        {"files": {"manifest.json": SIZE}},
        {"files": {"a.bin": {"bytes": "many", "sha256": ""}}},
        {"files": {"a.bin": {}}},
        {"files": [1]},
        {"files": None},
        {"derived": 3},
        {"format": 2},
        {"format": None},
    ],
    ids=str,
)
def test_manifests_made_by_others_lead_nowhere(changes: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"12345")
    path = tmp_path / "run"
    first(path)
    manifest_with(path, **changes)
    with pytest.raises(RunError, match=r"manifest\.json is damaged|of format"):
        read_state(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"3", b"\xff", b"[" * 100_000, b'{"a": 1'])
def test_manifests_that_are_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(RunError, match=r"manifest\.json is damaged"):
        read_state(tmp_path)


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    first(path)
    target = tmp_path / "target"
    target.write_bytes(OLD["a.bin"])
    (path / "a.bin").unlink()
    (path / "a.bin").symlink_to(target)
    with pytest.raises(RunError, match=r"a\.bin cannot be read"):
        read_state(path)
    (path / "a.bin").unlink()
    os.mkfifo(path / "a.bin")
    with pytest.raises(RunError, match=r"a\.bin cannot be read: it is not an ordinary file"):
        read_state(path)
    (path / "a.bin").unlink()
    (path / "a.bin").write_bytes(OLD["a.bin"])
    (path / "lib").rename(tmp_path / "lib")
    (path / "lib").symlink_to(tmp_path / "lib")
    with pytest.raises(RunError, match=r"b\.tie cannot be read: 'lib' is a link"):
        read_state(path)


# ---------------------------------------------------------------- several processes


def test_a_second_writer_is_refused_and_a_dead_one_forgotten(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from tiedgraph.runtime.folder import lock\n"
        "with lock(pathlib.Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="is in use: another process"), lock(tmp_path):
            pass
    finally:
        other.kill()
        other.communicate()
    with lock(tmp_path):
        pass


def test_a_reader_beside_a_writer_gets_one_state(tmp_path: Path) -> None:
    path = tmp_path / "run"
    first(path)
    code = (
        "import sys, pathlib; from tiedgraph.runtime.folder import commit, read_manifest\n"
        "path = pathlib.Path(sys.argv[1]); n = 0\n"
        "while True:\n"
        "    n += 1; text = str(n).encode() * 1000\n"
        "    commit(path, {'kind': 'run'}, {'a': text, 'b': text}, {}, read_manifest(path))\n"
        "    print(n, flush=True)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        for _ in range(100):
            files = read_state(path)[1]
            assert files["a"] == files["b"]
    finally:
        writer.kill()
        writer.communicate()
    files = read_state(path)[1]
    assert files["a"] == files["b"]


def test_the_manifest_is_plain_json(tmp_path: Path) -> None:
    path = tmp_path / "run"
    first(path)
    found = json.loads((path / "manifest.json").read_text())
    assert set(found) == {"format", "kind", "files", "derived", "digest"}
    assert set(found["files"]) == set(OLD)
