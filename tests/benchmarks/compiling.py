"""How long it takes until the first step: first on a machine, another model, the same again."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile

TITLE = "Seconds from text to a finished training step, without Python's imports"

LENET = """
input image: float[1, 28, 28]
target label: class[10]
c1 = conv2d(image, {a}, window=5, pad=2) |> tanh
s2 = subsample(c1, 2, trainable=true) |> tanh
c3 = conv2d(s2, {b}, window=5) |> tanh
s4 = subsample(c3, 2, trainable=true) |> tanh
f5 = dense(s4, {c}) |> tanh
f6 = dense(f5, {d}) |> tanh
logits = dense(f6, 10)
loss cross_entropy(logits, label)
train {{ optimizer = sgd(rate=0.05, momentum=0.9) }}
"""
FIRST = LENET.format(a=6, b=16, c=120, d=84)
# Of the same ops, but of other sizes, depth and sharing.
SECOND = LENET.format(a=9, b=14, c=100, d=100).replace(
    "logits = ", "f7 = dense(f6, 100) |> tanh\ntie hard f6.weight, f7.weight\nlogits = "
).replace("dense(f6, 10)", "dense(f7, 10)")  # fmt: skip

PROGRAM = """
import json, sys, time
import numpy as np
import tiedgraph.api, tiedgraph.codegen.kernels as kernels
text = sys.stdin.read()
started = time.perf_counter()
model = tiedgraph.api.compile_text(text)
model.step(image=np.zeros((64, 1, 28, 28), np.float32), label=np.zeros(64, np.int64))
print(json.dumps([time.perf_counter() - started, kernels.compiled_here]))
"""


def run(text: str, cache: str) -> tuple[float, int]:
    """Seconds and kernels compiled, in a process of its own."""
    import os

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TIEDGRAPH_CACHE_DIR": cache},
    )
    seconds, count = json.loads(done.stdout)
    return seconds, count


def report_all(rounds: int) -> None:
    """Prints medians of a few rounds, each with an empty cache of its own."""
    rows: dict[str, list[tuple[float, int]]] = {"first": [], "other model": [], "same again": []}
    for _ in range(max(3, rounds // 5)):
        with tempfile.TemporaryDirectory() as cache:
            rows["first"].append(run(FIRST, cache))
            rows["other model"].append(run(SECOND, cache))
            rows["same again"].append(run(FIRST, cache))
    print(f"\n{TITLE}\n| | median | kernels compiled |\n| --- | --- | --- |")
    for name, found in rows.items():
        seconds = statistics.median(s for s, _ in found)
        print(f"| {name} | {seconds:.2f} | {found[0][1]} |")
