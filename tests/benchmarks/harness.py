"""Interleaved timing: every round runs each contender once, in turn, and medians are compared.

A workload is a module with `TITLE` and `cases(threads)`. All contenders of a case are checked to
start from the same loss.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

REST = 0.3  # seconds between two contenders, whose threads may wait busily for a while
SLICE = 0.05  # seconds that one contender runs in a round, at least a step
OURS = "tiedgraph"


@dataclass(frozen=True)
class Case:
    """One row of the table.

    flops: of one step. steps: for each contender a function that makes a step and answers its
    loss, or None where it is not installed. at_least: how many times faster than the best peer we
    mean to be.
    """

    name: str
    flops: float
    steps: Mapping[str, Callable[[], Any] | None]
    at_least: float


@dataclass(frozen=True)
class Measured:
    """Seconds a step in each round, by contender."""

    case: Case
    times: Mapping[str, list[float]]
    absent: tuple[str, ...]

    def best_peer(self) -> str:
        return min(
            (name for name in self.times if name != OURS),
            key=lambda name: statistics.median(self.times[name]),
            default=OURS,
        )

    def ratios(self, name: str) -> list[float]:
        """How many times longer than ours, round by round."""
        return [
            theirs / ours for theirs, ours in zip(self.times[name], self.times[OURS], strict=True)
        ]


def machine_peak() -> float:
    """GFLOP/s of a float32 matrix product, the best of several, as the machine's peak."""
    a = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
    best = 1e9
    for _ in range(12):
        started = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - started)
    return 2 * 1024**3 / best / 1e9


def measure(case: Case, rounds: int, only: Iterable[str] = ()) -> Measured:
    """Runs all contenders of a case in turn, those named by `only` where it names any."""
    wanted = {n: s for n, s in case.steps.items() if not only or n == OURS or n in only}
    absent = tuple(name for name, step in wanted.items() if step is None)
    steps = {name: step for name, step in wanted.items() if step is not None}
    losses = {name: float(np.sum(step())) for name, step in steps.items()}
    for name, loss in losses.items():
        if abs(loss - losses[OURS]) > 1e-3 * abs(losses[OURS]):
            raise SystemExit(f"{case.name}: {name} computes {loss}, not {losses[OURS]}")
    repeats: dict[str, int] = {}
    for name, step in steps.items():
        for _ in range(3):
            step()
        started = time.perf_counter()
        step()
        repeats[name] = max(1, int(SLICE / max(time.perf_counter() - started, 1e-6)))
    times: dict[str, list[float]] = {name: [] for name in steps}
    gc.disable()
    for _ in range(rounds):
        for name, step in steps.items():
            time.sleep(REST)
            step()
            step()
            started = time.perf_counter()
            for _ in range(repeats[name]):
                step()
            times[name].append((time.perf_counter() - started) / repeats[name])
    gc.enable()
    return Measured(case, times, absent)


def report(workload: ModuleType, rounds: int, threads: int, only: Iterable[str] = ()) -> None:
    """Prints one table: for each case the best peer's time over ours, and our share of the peak."""
    peak = machine_peak()
    print(f"\n{workload.TITLE}; {threads} threads, {rounds} rounds, sgemm {peak:.0f} GFLOP/s")
    print("| | best peer | times ours | quartiles | aim | share of sgemm |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    absent: set[str] = set()
    for case in workload.cases(threads):
        found = measure(case, rounds, only)
        absent |= set(found.absent)
        ours = statistics.median(found.times[OURS])
        best = found.best_peer()
        low, middle, high = statistics.quantiles(found.ratios(best), n=4)
        print(
            f"| {case.name} | {best} | {middle:.2f} | {low:.2f} to {high:.2f} | {case.at_least:g} "
            f"| {case.flops / ours / 1e9 / peak:.0%} |"
        )
        rest = [
            f"{name} {statistics.median(found.ratios(name)):.2f}"
            for name in found.times
            if name not in (OURS, best)
        ]
        print(f"| | {'; '.join(rest)} | | | | |", flush=True)
    if absent:
        print(f"not installed here: {', '.join(sorted(absent))}")
