"""Threads for kernels."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from tiedgraph.codegen import kernels
from tiedgraph.ops.rules import Kernel
from tiedgraph.runtime import team

ADD = Kernel(
    "add",
    """def kernel(activation, parameter, gradient, operand):
    for i in range(operand[0]):
        store(activation, i * LANES, load(activation, i * LANES) + 1.0)
""",
)


SHUT = Kernel(
    "shut",
    """def kernel(activation, parameter, gradient, operand):
    operand[0] = 1
""",
)


# Adds one to a number and waits until it is large enough; tells whether that came about.
MEET = Kernel(
    "meet",
    """def kernel(activation, parameter, gradient, operand):
    number = integers(operand[0])
    fetch_add(number, 0, 1)
    looks = 0
    while load_acquire(number, 0) < operand[1] and looks < operand[2]:
        pause()
        looks += 1
    if load_acquire(number, 0) >= operand[1]:
        operand[3] = 1
""",
)
LONG = 200_000_000  # looks: some seconds

# Which thread ran it, where each has numbers of its own.
MARK = Kernel(
    "mark",
    """def kernel(activation, parameter, gradient, operand):
    activation[operand[0]] = 1
""",
)


class Meeting:
    """Jobs that each wait until so many of them have begun; see `MEET`."""

    def __init__(self, *counts: int, looks: int = LONG) -> None:
        self.number = np.zeros(1, np.int64)
        place = self.number.ctypes.data
        self.operands = np.array([[place, count, looks, 0] for count in counts], np.int64)
        entry = kernels.address(MEET, "float64")
        self.jobs = [team.Job(entry, 0, 0, 0, row.ctypes.data) for row in self.operands]

    def assert_met(self) -> None:
        assert self.operands[:, 3].all()


class Work:
    """Arrays, one a job, each of which a job adds one to."""

    def __init__(self, jobs: int) -> None:
        address = kernels.address(ADD, "float64")
        self.arrays = [np.zeros(64) for _ in range(jobs)]
        self.count = np.array([8])
        self.jobs = [
            team.Job(address, a.ctypes.data, 0, 0, self.count.ctypes.data) for a in self.arrays
        ]

    def assert_ran(self, times: int) -> None:
        for array in self.arrays:
            assert (array == times).all()


def run_alone(work: team.Work) -> None:
    """As it is run while another caller has the team."""
    with team._team.lock:
        team.run(work)


@pytest.mark.parametrize("jobs", [1, 2, 3, 5])
def test_every_job_runs_once(jobs: int) -> None:
    work = Work(jobs)
    for _ in range(50):
        team.run(work.jobs)
    work.assert_ran(50)


def test_a_phase_begins_when_the_one_before_is_done_and_the_gate_is_open() -> None:
    first, second, third = Work(3), Work(1), Work(2)
    gate = np.zeros(1, np.int64)
    phases = team.Work([first.jobs, second.jobs, third.jobs], gate)
    team.run(phases)
    run_alone(phases)
    for work in (first, second, third):
        work.assert_ran(2)
    shut = team.Job(kernels.address(SHUT, "float64"), 0, 0, 0, gate.ctypes.data)
    phases = team.Work([first.jobs, [shut], third.jobs], gate)
    for times, run in enumerate((team.run, run_alone), start=3):
        run(phases)
        assert gate[0] == 1
        first.assert_ran(times)
        third.assert_ran(2)


def test_workers_that_slept_are_woken() -> None:
    work = Work(2)
    for _ in range(5):
        team.run(work.jobs)
        time.sleep(0.05)
    work.assert_ran(5)


def test_workers_that_fell_asleep_in_a_long_phase_are_woken_for_the_next() -> None:
    alone, both = Meeting(2, looks=20 * team.PATIENCE), Meeting(2, 2)
    team.run(team.Work([both.jobs]))
    both.number[0] = both.operands[:, 3] = 0
    team.run(team.Work([alone.jobs, both.jobs]))
    both.assert_met()


@pytest.mark.parametrize("slow", [0, 7], ids=["leader", "worker"])
def test_jobs_are_taken_by_whoever_is_free(slow: int) -> None:
    counts = [0] * 8
    counts[slow] = 8  # done when all others are
    meeting = Meeting(*counts)
    team.run(team.Work([meeting.jobs], threads=2))
    meeting.assert_met()


def test_each_thread_has_memory_of_its_own_and_few_jobs_go_to_the_first_threads() -> None:
    threads, count = 3, 64
    team.run(Work(threads).jobs)
    for jobs in (2, count):
        ran = np.zeros((threads, count))
        operands = np.arange(jobs)
        entry, own = kernels.address(MARK, "float64"), ran.strides[0]
        for _ in range(20):
            places = (operands[i:].ctypes.data for i in range(jobs))
            marks = [team.Job(entry, ran.ctypes.data, 0, 0, place, own) for place in places]
            team.run(team.Work([marks], threads=threads))
        assert (ran[:, :jobs].sum(axis=0) >= 1).all()
        assert not ran[jobs:].any()


def test_a_worker_that_never_comes_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    stays_away = threading.Event()
    monkeypatch.setattr(team, "_work", lambda *told: stays_away.wait())
    monkeypatch.setattr(team, "_team", team.Team())
    work = Work(4)
    runner = threading.Thread(target=lambda: [team.run(work.jobs) for _ in range(3)], daemon=True)
    runner.start()
    runner.join(20)
    stays_away.set()
    assert not runner.is_alive()
    work.assert_ran(3)


def test_many_callers_at_once() -> None:
    works = [Work(3) for _ in range(8)]

    def caller(work: Work) -> None:
        for _ in range(300):
            team.run(work.jobs)

    callers = [threading.Thread(target=caller, args=(work,)) for work in works]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    for work in works:
        work.assert_ran(300)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_works_on() -> None:
    work = Work(2)
    team.run(work.jobs)
    child = os.fork()
    if child == 0:
        team.run(work.jobs)
        os._exit(0 if all((a == 2).all() for a in work.arrays) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    work.assert_ran(1)
