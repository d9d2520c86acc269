"""What a whole process costs: memory, imports, deep models, a busy machine, and ties."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

TITLE = "Whole processes"

MEMORY = {
    "tiedgraph": """
import tiedgraph as tg
from tests.benchmarks import lenet5
arrays = lenet5.data(256)
model = tg.compile(lenet5.MODEL, batch=256)
for _ in range(5): model.step(**arrays)
""",
    "PyTorch eager": """
from tests.benchmarks import lenet5, peers
import numpy as np
shapes = {"c1.weight": (6, 1, 5, 5), "c1.bias": (6,), "s2.weight": (6,), "s2.bias": (6,),
    "c3.weight": (16, 6, 5, 5), "c3.bias": (16,), "s4.weight": (16,), "s4.bias": (16,),
    "f5.weight": (120, 400), "f5.bias": (120,), "f6.weight": (84, 120), "f6.bias": (84,),
    "logits.weight": (10, 84), "logits.bias": (10,)}
start = {name: np.full(shape, 0.01, np.float32) for name, shape in shapes.items()}
forms = peers.FORMS[:1]
step = peers.torch_steps(lenet5.torch_loss, start, lenet5.data(256), 2, forms)[forms[0]]
for _ in range(5): step()
""",
}
# The peak since the program began; what `getrusage` tells includes the parent's.
PEAK = """
line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(line.split()[1]) / 1024)"""
IMPORT = "import time; t = time.perf_counter(); import tiedgraph; tiedgraph.compile; "
IMPORT += "print(time.perf_counter() - t)"
LAYERS = """
import time, numpy as np, tiedgraph.api as tg
def text(count):
    lines = ["input x: float[32]", "target t: class[10]", "h0 = dense(x, 32) |> tanh"]
    lines += [f"h{i} = dense(h{i - 1}, 32) |> tanh" for i in range(1, count)]
    lines.append(f"y = dense(h{count - 1}, 10)\\nloss cross_entropy(y, t)\\n")
    lines.append("train { optimizer = sgd(rate=0.01) }")
    return "\\n".join(lines)
x, t = np.zeros((16, 32), np.float32), np.zeros(16, np.int64)
tg.compile_text(text(2)).step(x=x, t=t)
for count in (250, 500, 1000):
    started = time.perf_counter()
    tg.compile_text(text(count)).step(x=x, t=t)
    print(time.perf_counter() - started)
"""
# A strided view and an index map, and the same layers without them.
TIES = {
    "transposed": ("tie hard b.weight = transpose(a.weight)\n", 784, 256, 784),
    "index map": ("tie hard a.weight by circulant\n", 512, 512, 512),
}
STEPS = """
import json, sys, time, numpy as np, tiedgraph as tg
texts, size = json.loads(sys.argv[1]), int(sys.argv[2])
x = np.random.default_rng(0).random((64, size), np.float32)
models = [tg.compile_text(text, batch=64) for text in texts]
times = []
for _ in range(9):
    for model in models:
        for _ in range(3): model.step(x=x)
        started = time.perf_counter()
        for _ in range(30): model.step(x=x)
        times.append((time.perf_counter() - started) / 30)
print(json.dumps(times))
"""
BUSY = "while True: pass"


def _run(program: str, *arguments: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return done.stdout.split("\n")[:-1]


def _seconds_to_import(repeats: int) -> float:
    """With byte code, as an installed package has it; an empty variable allows to write it."""
    with tempfile.TemporaryDirectory() as place:
        kept = {"PYTHONPYCACHEPREFIX": place, "PYTHONDONTWRITEBYTECODE": ""}
        _run(IMPORT, **kept)
        return statistics.median(float(_run(IMPORT, **kept)[0]) for _ in range(repeats))


def _steps(text: str, size: int) -> list[float]:
    found: list[float] = json.loads(_run(STEPS, json.dumps([text]), str(size))[0])
    return found


def _model(tie: str, first: int, inner: int, last: int) -> str:
    return (
        f"input x: float[{first}]\na = dense(x, {inner}) |> tanh\nb = dense(a, {last})\n{tie}"
        "loss mse(b, x)\ntrain { optimizer = sgd(rate=0.001, momentum=0.9) }\n"
    )


def report_all(rounds: int) -> None:
    """Prints medians of a few rounds."""
    repeats = max(3, rounds // 3)
    print(f"\n{TITLE}\n| | measured |\n| --- | --- |")
    megabytes = {}
    for name, program in MEMORY.items():
        try:
            megabytes[name] = float(_run(program + PEAK)[-1])
        except subprocess.CalledProcessError:
            print(f"| not installed here: {name} | |")
    told = "; ".join(f"{name} {found:.0f}" for name, found in megabytes.items())
    print(f"| peak memory in MB, LeNet-5 at batch 256 | {told} |")
    print(f"| seconds to import | {_seconds_to_import(repeats):.2f} |", flush=True)
    layers: list[Any] = [[float(s) for s in _run(LAYERS)] for _ in range(repeats)]
    middle = [statistics.median(found) for found in zip(*layers, strict=True)]
    told = ", ".join(f"{found:.2f}" for found in middle)
    print(f"| seconds to compile 250, 500 and 1,000 layers and make a step | {told} |", flush=True)
    for name, (tie, *sizes) in TIES.items():
        texts = [_model(part, *sizes) for part in ("", tie)]
        times = json.loads(_run(STEPS, json.dumps(texts), str(sizes[0]))[0])
        ratios = [tied / free for free, tied in zip(times[::2], times[1::2], strict=True)]
        print(f"| tied over untied, {name} | {statistics.median(ratios):.2f} |", flush=True)
    text = _model("", 784, 256, 784)
    quiet = statistics.median(_steps(text, 784))
    cores = len(os.sched_getaffinity(0))
    other = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        busy = statistics.median(_steps(text, 784))
    finally:
        other.kill()
        other.wait()
    print(f"| a step beside one busy process on {cores} cores, over a quiet one | "
          f"{busy / quiet:.2f} |")  # fmt: skip
