"""Threads for kernels."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

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


class Work:
    """Arrays, one a job, each of which a job adds one to."""

    def __init__(self, jobs: int) -> None:
        address = kernels.address(ADD, "float64")
        self.arrays = [np.zeros(64) for _ in range(jobs)]
        self.count = np.array([8])
        self.jobs = [(address, a.ctypes.data, 0, 0, self.count.ctypes.data) for a in self.arrays]

    def assert_ran(self, times: int) -> None:
        for array in self.arrays:
            assert (array == times).all()


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
    phases.run_alone()
    for work in (first, second, third):
        work.assert_ran(2)
    shut = (kernels.address(SHUT, "float64"), 0, 0, 0, gate.ctypes.data)
    phases = team.Work([first.jobs, [shut], third.jobs], gate)
    for times, run in enumerate((team.run, team.Work.run_alone), start=3):
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


# Each machine: what a run by the team (t) or alone (1) takes; expected: how runs are made.
@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        # On a quiet machine the team makes every run.
        (lambda run, way: 1.0 + 0.1 * (run % 3), "t" * 20),
        # Nor where runs differ by what a shared machine makes them differ.
        (lambda run, way: 1.7 if run % 2 else 1.0, "t" * 20),
        # One slow run: a few alone, then the team again.
        (lambda run, way: 9.0 if run == 3 else {"t": 1.0, "1": 2.0}[way], "tttt1111tttttttttttt"),
        # While the team stays slow it is tried ever less often.
        (lambda run, way: 2.0 if way == "1" else 1.0 if run < 2 else 5.0, "ttt1111t11111111t111"),
        # Where one thread is no faster, the team's time is the new usual one.
        (lambda run, way: 9.0 if way == "1" else 1.0 if run < 2 else 5.0, "ttt1tttttttttttttttt"),
    ],
    ids=["quiet", "uneven", "hiccup", "busy", "slower for good"],
)
def test_runs_are_made_alone_while_the_team_is_slow(machine: Any, expected: str) -> None:
    pace = team.Pace()
    ways = ""
    for run in range(20):
        way = "1" if pace.alone else "t"
        (pace.by_one if pace.alone else pace.by_team)(machine(run, way))
        ways += way
    assert ways == expected
