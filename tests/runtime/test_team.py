"""Threads for kernels."""

from __future__ import annotations

import os
import threading

import pytest

from tiedgraph.runtime import team


def test_all_tasks_run_and_the_first_one_here() -> None:
    seen: dict[int, str] = {}

    def task(i: int) -> None:
        seen[i] = threading.current_thread().name

    team.run([lambda i=i: task(i) for i in range(5)])
    assert sorted(seen) == list(range(5))
    assert seen[0] == threading.current_thread().name


def test_an_error_reaches_the_caller_after_all_are_done() -> None:
    done = []

    def fail() -> None:
        raise ValueError("planted")

    with pytest.raises(ValueError, match="planted"):
        team.run([lambda: done.append(1), fail, lambda: done.append(2)])
    assert sorted(done) == [1, 2]


def test_many_callers_at_once() -> None:
    totals = []

    def caller() -> None:
        for _ in range(200):
            found: list[int] = []
            team.run([lambda: found.append(1), lambda: found.append(2)])
            totals.append(sum(found))

    callers = [threading.Thread(target=caller) for _ in range(8)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert totals == [3] * 1600


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_works_on() -> None:
    team.run([lambda: None, lambda: None])
    child = os.fork()
    if child == 0:
        found: list[int] = []
        team.run([lambda: found.append(1), lambda: found.append(2)])
        os._exit(0 if sorted(found) == [1, 2] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
