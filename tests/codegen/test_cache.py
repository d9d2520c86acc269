"""The kernel cache: rot is a miss, strangers are not trusted, many may write at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiedgraph.codegen import cache

PAYLOAD = bytes(range(256)) * 8


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "kernels"
    monkeypatch.setenv("TIEDGRAPH_CACHE_DIR", str(folder))
    cache._usable.cache_clear()
    yield folder
    cache._usable.cache_clear()


def test_what_is_written_is_read(place: Path) -> None:
    assert cache.read("a") is None
    cache.write("a", PAYLOAD)
    assert cache.read("a") == PAYLOAD
    assert place.stat().st_mode & 0o777 == 0o700
    assert [p.name for p in place.iterdir()] == ["a.o"]


def test_any_damage_is_a_miss(place: Path) -> None:
    cache.write("a", PAYLOAD)
    file = place / "a.o"
    whole = file.read_bytes()
    for length in range(0, len(whole), 37):
        file.write_bytes(whole[:length])
        assert cache.read("a") is None
    for position in range(0, len(whole), 41):
        changed = bytearray(whole)
        changed[position] ^= 1
        file.write_bytes(bytes(changed))
        assert cache.read("a") is None
    file.write_bytes(whole)
    assert cache.read("a") == PAYLOAD


def test_what_others_can_write_is_not_used(place: Path) -> None:
    cache.write("a", PAYLOAD)
    os.chmod(place / "a.o", 0o666)
    assert cache.read("a") is None
    os.chmod(place / "a.o", 0o600)
    assert cache.read("a") == PAYLOAD
    os.chmod(place, 0o777)
    cache._usable.cache_clear()
    assert cache.read("a") is None


def test_links_are_not_followed(place: Path, tmp_path: Path) -> None:
    cache.write("a", PAYLOAD)
    (place / "a.o").rename(tmp_path / "elsewhere.o")
    (place / "a.o").symlink_to(tmp_path / "elsewhere.o")
    assert cache.read("a") is None


def test_a_full_disk_costs_nothing_but_time(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    cache.write("a", PAYLOAD)
    assert cache.read("a") is None
    assert list(place.iterdir()) == []


COLD_START = """
import numpy as np
from tiedgraph.codegen import kernels
from tiedgraph.ops.rules import Kernel

double = Kernel("double", '''def kernel(activation, parameter, gradient, operand):
    for i in range(operand[0]):
        store(activation, i * LANES, load(activation, i * LANES) * 2.0)
''')
numbers = np.arange(32, dtype=np.float32)
count = np.array([2])
kernels.entry(double, "float32")(numbers.ctypes.data, 0, 0, count.ctypes.data)
assert (numbers == 2 * np.arange(32)).all()
print(kernels.compiled_here)
"""


def test_processes_that_start_together_share_the_cache(place: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", COLD_START], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert all(process.wait() == 0 for process in running)
    for process in running:
        process.communicate()
    assert len(list(place.iterdir())) == 1
    again = subprocess.run(
        [sys.executable, "-c", COLD_START], capture_output=True, text=True, check=True
    )
    assert again.stdout.strip() == "0"
