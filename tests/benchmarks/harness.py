"""Interleaved timing: every round runs each contender once, in turn, and medians are compared.

A workload is a module with `TITLE`, `FLOPS` (of one step) and `contenders(threads)`, which answers
for each name a function that makes one step and returns its loss, or None where the peer is not
installed. All are checked to start from the same loss.
"""

from __future__ import annotations

import gc
import statistics
import time
from types import ModuleType

import numpy as np

REST = 0.3  # seconds between two contenders


def machine_peak(threads: int) -> float:
    """GFLOP/s of a float32 matrix product, the best of several, as the machine's peak."""
    a = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
    best = 1e9
    for _ in range(12):
        started = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - started)
    return 2 * 1024**3 / best / 1e9


def report(workload: ModuleType, rounds: int, threads: int) -> None:
    """Prints one table: median, spread, ratio to ours and GFLOP/s of each contender."""
    found = workload.contenders(threads)
    absent = [name for name, step in found.items() if step is None]
    steps = {name: step for name, step in found.items() if step is not None}
    losses = {name: float(step()) for name, step in steps.items()}
    reference = losses["tiedgraph"]
    for name, loss in losses.items():
        if abs(loss - reference) > 1e-3 * abs(reference):
            raise SystemExit(f"{name} computes loss {loss}, not {reference}")
    repeats: dict[str, int] = {}
    for name, step in steps.items():
        for _ in range(3):
            step()
        started = time.perf_counter()
        step()
        repeats[name] = max(1, int(0.05 / max(time.perf_counter() - started, 1e-6)))
    times: dict[str, list[float]] = {name: [] for name in steps}
    gc.disable()
    for _ in range(rounds):
        for name, step in steps.items():
            # Threads of the contender before still wait busily for a while; then this one warms up.
            time.sleep(REST)
            step()
            step()
            started = time.perf_counter()
            for _ in range(repeats[name]):
                step()
            times[name].append((time.perf_counter() - started) / repeats[name])
    gc.enable()
    peak = machine_peak(threads)
    ours = statistics.median(times["tiedgraph"])
    print(f"\n{workload.TITLE}; {threads} threads, {rounds} rounds, sgemm {peak:.0f} GFLOP/s")
    print("| | time, tiedgraph = 1 | quartiles | share of sgemm |")
    print("| --- | --- | --- | --- |")
    for name, values in times.items():
        low, middle, high = statistics.quantiles(values, n=4)
        share = workload.FLOPS / middle / 1e9 / peak
        print(
            f"| {name} | {middle / ours:.2f} | {low / ours:.2f} to {high / ours:.2f} "
            f"| {share:.0%} |"
        )
    if absent:
        print(f"not installed here: {', '.join(absent)}")
