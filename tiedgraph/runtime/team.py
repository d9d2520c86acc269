"""Threads for kernels: a few that stand ready, and hand-outs to them.

A worker is a Python thread inside a kernel that looks into its box for a job, without the
interpreter lock. A hand-out between two busy threads so takes about a microsecond. A worker that
found nothing for a while goes to sleep, which leaves the machine to others, and is woken when it is
needed. There is one team in a process: who finds it at work runs all its jobs alone, with the same
result. A forked child starts its own.

On a busy machine a worker may lose its core in the middle of a job, and all wait. Where a run took
much longer than usual, the next ones are made alone while that is faster (`Pace`).
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from tiedgraph.codegen import driver, kernels

Array = np.ndarray[Any, np.dtype[Any]]
Job = tuple[int, int, int, int, int]  # address of a kernel and its four arguments

PATIENCE = 20_000  # looks of a worker before it sleeps: some hundred microseconds
WAIT = 4_000  # looks of the leader before it lets others run
_DONE, _POSTED, _ASLEEP = (driver.BOX.index(name) for name in ("done", "posted", "asleep"))
_BOXES, _PHASE, _WAITING = (driver.LEADING.index(n) for n in ("boxes", "phase", "waiting"))


class Work:
    """Phases of jobs for the team; may be run again and again.

    All jobs of a phase are done before the next one begins; a phase's first job is for the thread
    that leads. gate: an array whose first number, where it is not 0 after a phase, ends the work.
    """

    def __init__(self, phases: Sequence[Sequence[Job]], gate: Array | None = None) -> None:
        self.phases = [list(jobs) for jobs in phases if jobs]
        self.gate = np.zeros(1, np.int64) if gate is None else gate
        self.workers = max((len(jobs) for jobs in self.phases), default=1) - 1
        self.pace = Pace()
        rows = [job for jobs in self.phases for job in jobs]
        self._rows = np.array(rows, np.int64)
        self._counts = np.array([len(jobs) for jobs in self.phases], np.int64)
        told = {
            "jobs": self._rows.ctypes.data,
            "counts": self._counts.ctypes.data,
            "phases": len(self.phases),
            "patience": WAIT,
            "gate": self.gate.ctypes.data,
        }
        self.operand = np.array([told.get(name, 0) for name in driver.LEADING], np.int64)
        self.place = self.operand.ctypes.data

    def run_alone(self) -> None:
        """All jobs on this thread, with the same result."""
        self.gate[0] = 0
        for jobs in self.phases:
            for entry, *arguments in jobs:
                kernels.at(entry)(*arguments)
            if self.gate[0]:
                return


class Pace:
    """Whether a work is better run by the team or alone, judged from the seconds its runs took."""

    SLOW = 2.0  # a run by the team that takes so many times the usual one is slow
    SHARE = 0.125  # of each run in what is usual: a few quick ones must not make the rest slow
    FIRST, LONGEST = 4, 64  # runs made alone after a slow one; doubled while the team stays slow

    def __init__(self) -> None:
        self.usual = math.inf  # seconds of a run by the team
        self.slow = 0.0  # of its last slow one
        self.stay = self.FIRST
        self.alone = 0  # runs to be made alone

    def by_team(self, seconds: float) -> None:
        if seconds > self.SLOW * self.usual:
            self.slow = seconds
            self.alone = self.stay
            self.stay = min(2 * self.stay, self.LONGEST)
        else:
            known = self.usual < math.inf
            self.usual = self.usual + self.SHARE * (seconds - self.usual) if known else seconds
            self.stay = self.FIRST

    def by_one(self, seconds: float) -> None:
        self.alone -= 1
        if seconds >= self.slow:
            self.usual = self.slow
            self.alone = 0


class Team:
    """The workers of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._boxes = np.zeros((0, driver.BOX_SIZE), np.int64)
        self._bells: list[threading.Semaphore] = []
        self._old: list[Any] = []
        self._at = 0  # where the boxes lie
        self._lead: Any = None

    def run(self, work: Work) -> None:
        """Runs all jobs, phase by phase; returns when all are done."""
        pace = work.pace
        began = time.perf_counter()
        if pace.alone:
            work.run_alone()
            pace.by_one(time.perf_counter() - began)
            return
        alone = len(work.phases) == 1 and not work.workers
        if alone or not self.lock.acquire(blocking=False):
            work.run_alone()
            return
        operand = work.operand
        try:
            if work.workers > len(self._bells) or self._lead is None:
                self._hire(work.workers)
            operand[_BOXES] = self._at
            operand[_PHASE:] = 0
            work.gate[0] = 0
            self._wake(work.workers)
            self._lead(0, 0, 0, work.place)
            while operand[_WAITING]:
                self._wake(work.workers)
                time.sleep(2e-5)
                self._lead(0, 0, 0, work.place)
            if work.workers:
                pace.by_team(time.perf_counter() - began)
        finally:
            # An interrupt leaves no work half done.
            while operand[_WAITING]:
                self._wake(work.workers)
                self._lead(0, 0, 0, work.place)
            self.lock.release()

    def _wake(self, workers: int) -> None:
        for w in range(workers):
            if self._boxes[w, _ASLEEP]:
                self._boxes[w, _ASLEEP] = 0
                self._bells[w].release()

    def _hire(self, workers: int) -> None:
        """A larger team; the former one is sent to sleep for good with its own boxes."""
        boxes = np.zeros((workers + 1, driver.BOX_SIZE), np.int64)
        start = -boxes.ctypes.data % 64 // 8
        self._old.append((self._boxes, self._bells))
        self._boxes = boxes.reshape(-1)[start : start + workers * driver.BOX_SIZE]
        self._boxes = self._boxes.reshape(workers, driver.BOX_SIZE)
        self._at = self._boxes.ctypes.data
        self._lead = kernels.entry(driver.LEAD, "float32")
        self._bells = [threading.Semaphore(0) for _ in range(workers)]
        stand = kernels.entry(driver.STAND, "float32")
        for w in range(workers):
            threading.Thread(
                target=_work,
                args=(stand, self._boxes, w, self._bells[w]),
                daemon=True,
                name=f"tiedgraph-{w + 1}",
            ).start()


def _work(stand: Any, boxes: Any, index: int, bell: threading.Semaphore) -> None:
    box = boxes[index]
    operand = np.array([box.ctypes.data, PATIENCE], np.int64)
    while True:
        stand(0, 0, 0, operand.ctypes.data)
        # The leader holds the interpreter lock when it looks whether we sleep, as we do now.
        box[_ASLEEP] = 1
        if box[_POSTED] != box[_DONE]:
            box[_ASLEEP] = 0
            continue
        bell.acquire()


_team = Team()


def _forget() -> None:
    """In a forked child no worker lives on."""
    global _team
    _team = Team()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def run(jobs: Work | Sequence[Job]) -> None:
    """Runs work, or the jobs of one phase, on the process's team; returns when all are done."""
    _team.run(jobs if isinstance(jobs, Work) else Work([jobs]))
