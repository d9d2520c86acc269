"""Threads for kernels: a few that stand ready, and jobs that they take.

A worker is a Python thread inside a kernel that looks for open jobs, without the interpreter lock.
A job so gets from one busy thread to another in less than a microsecond. A worker that found none
for a while goes to sleep, which leaves the machine to others, and is woken when it is needed. There
is one team in a process: who finds it at work runs all its jobs alone, with the same result. A
forked child starts its own.

Who leads a work takes jobs as its workers do, and waits only for those that a worker has begun. So
a worker that sleeps, or that a busy machine gives no core, costs no more than its help.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tiedgraph.codegen import driver, kernels

Array = np.ndarray[Any, np.dtype[Any]]

PATIENCE = 20_000  # looks of a worker before it sleeps: some hundred microseconds
WAIT = 4_000  # looks of the leader before it lets others run
_SHARED, _ASLEEP, _HELPERS = (driver.LEADING.index(n) for n in ("shared", "asleep", "helpers"))
_PHASE, _WAITING = (driver.LEADING.index(n) for n in ("phase", "waiting"))


class Job(NamedTuple):
    """One call of a kernel, by addresses.

    own: bytes between the activations of one thread and the next, where each has its own.
    """

    entry: int
    activation: int
    parameter: int
    gradient: int
    operand: int
    own: int = 0


class Work:
    """Phases of jobs for the team; may be run again and again.

    All jobs of a phase are done before the next one begins. The n jobs of a phase may run in any
    order and on any of the first n of `threads` threads, by default as many as a phase has jobs.
    gate: an array whose first number, where it is not 0 after a phase, ends the work.
    """

    def __init__(
        self,
        phases: Sequence[Sequence[Job]],
        gate: Array | None = None,
        threads: int | None = None,
    ) -> None:
        self.phases = [list(jobs) for jobs in phases if jobs]
        self.gate = np.zeros(1, np.int64) if gate is None else gate
        most = max((len(jobs) for jobs in self.phases), default=1)
        assert most <= driver.MOST
        self.helpers = min(most, threads or most) - 1
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


class Team:
    """The workers of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._lead: Any = None
        self._shared = np.zeros(0, np.int64)
        self._asleep = np.zeros(0, np.int64)
        self._bells: list[threading.Semaphore] = []
        self._old: list[Any] = []  # what former workers may still look at

    def run(self, work: Work) -> None:
        """Runs all jobs, phase by phase; returns when all are done."""
        if self._lead is None:
            self._lead = kernels.entry(driver.LEAD, "float32")
        operand = work.operand
        operand[_PHASE:] = 0
        work.gate[0] = 0
        if not work.helpers or not self.lock.acquire(blocking=False):
            operand[_HELPERS] = 0
            self._lead(0, 0, 0, work.place)
            return
        try:
            if work.helpers > len(self._bells):
                self._hire(work.helpers)
            operand[_HELPERS] = work.helpers
            operand[_SHARED] = self._shared.ctypes.data
            operand[_ASLEEP] = self._asleep.ctypes.data
            self._lead(0, 0, 0, work.place)
            while operand[_WAITING]:
                if not self._wake(work.helpers):
                    time.sleep(2e-5)
                self._lead(0, 0, 0, work.place)
        finally:
            # An interrupt leaves no work half done.
            while operand[_WAITING]:
                self._wake(work.helpers)
                self._lead(0, 0, 0, work.place)
            self.lock.release()

    def _wake(self, helpers: int) -> bool:
        """Wakes those of the first so many workers that sleep; answers whether any did."""
        sleepers = np.flatnonzero(self._asleep[:helpers])
        for w in sleepers:
            self._asleep[w] = 0
            self._bells[w].release()
        return bool(sleepers.size)

    def _hire(self, helpers: int) -> None:
        """A larger team; the former one finds no more jobs and sleeps for good."""
        self._old.append((self._shared, self._asleep, self._bells))
        room = np.zeros(driver.SHARED_SIZE + driver.LINE, np.int64)
        start = -room.ctypes.data % 64 // 8
        self._shared = room[start : start + driver.SHARED_SIZE]
        self._asleep = np.zeros(helpers, np.int64)
        self._bells = [threading.Semaphore(0) for _ in range(helpers)]
        stand = kernels.entry(driver.STAND, "float32")
        for w, bell in enumerate(self._bells):
            places = (self._shared.ctypes.data, self._asleep[w:].ctypes.data)
            threading.Thread(
                target=_work,
                args=(stand, np.array([*places, w + 1, PATIENCE], np.int64), bell),
                daemon=True,
                name=f"tiedgraph-{w + 1}",
            ).start()


def _work(stand: Any, operand: Array, bell: threading.Semaphore) -> None:
    place = operand.ctypes.data
    while True:
        stand(0, 0, 0, place)
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
