"""Machine code for processors without AVX-512: right results, and no instruction they lack."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import json, os, sys
import numpy as np
import tiedgraph as tg
from tiedgraph.codegen import kernels
from tiedgraph.lanes import machine
model = tg.compile_text('''
input x: float[2, 9, 11]
target y: class[5]
c = conv2d(x, 6, window=3, pad=1) |> tanh
p = max_pool(c, 2)
d = dense(p, 12) |> relu
o = dense(d, 5)
loss cross_entropy(o, y)
train { optimizer = sgd(rate=0.1, momentum=0.9) }
''', seed=3)
rng = np.random.default_rng(0)
batch = {"x": rng.normal(size=(33, 2, 9, 11)), "y": rng.integers(0, 5, 33)}
losses = [model.step(**batch) for _ in range(4)]
tape = model.program("train").latest
rows = {(row.kernel, row.lanes) for row in tape.rows}
used = set()
if os.environ.get("TIEDGRAPH_CPU"):
    for kernel, lanes in sorted(rows, key=lambda pair: pair[0].name)[::3]:
        module = kernels.module_of(kernel, "float32", lanes, "x")
        text = machine.target().emit_assembly(module)
        used |= {word for word in ("zmm", "ymm", "vfmadd") if word in text}
print(json.dumps([losses, sorted(used)]))
"""
LACKS = {"x86-64-v2": {"zmm", "ymm", "vfmadd"}, "x86-64-v3": {"zmm"}}


def run(cpu: str, cache: Path) -> tuple[list[float], list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "TIEDGRAPH_CPU": cpu, "TIEDGRAPH_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: Any = json.loads(done.stdout)
    return found[0], found[1]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of x86-64 processors")
@pytest.mark.parametrize("cpu", LACKS)
def test_plain_processors(cpu: str, tmp_path: Path) -> None:
    here, _ = run("", Path(os.environ.get("TIEDGRAPH_CACHE_DIR", tmp_path / "here")))
    there, used = run(cpu, tmp_path / "there")
    assert there == pytest.approx(here, rel=1e-5)
    assert not LACKS[cpu] & set(used)
