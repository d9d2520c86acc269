"""Threads for kernels: a few that wait, and hand-outs to them.

Kernels run without the interpreter lock, so plain Python threads serve. They block while idle,
which leaves the machine to others; any number of Python threads may hand out work at once; and a
forked child starts its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

Task = Callable[[], object]


class _Ticket:
    __slots__ = ("done", "error", "task")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.done = threading.Lock()
        self.done.acquire()
        self.error: BaseException | None = None


_tasks: SimpleQueue[_Ticket] = SimpleQueue()
_workers = 0
_starting = threading.Lock()


def _forget() -> None:
    """In a forked child no worker lives on."""
    global _tasks, _workers, _starting
    _tasks, _workers, _starting = SimpleQueue(), 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _work(tasks: SimpleQueue[_Ticket]) -> None:
    while True:
        ticket = tasks.get()
        try:
            ticket.task()
        except BaseException as error:
            ticket.error = error
        ticket.done.release()


def run(tasks: Sequence[Task]) -> None:
    """Runs all tasks, the first one here; returns when all are done. Raises what one raised."""
    global _workers
    tickets = [_Ticket(task) for task in tasks[1:]]
    if len(tickets) > _workers:
        with _starting:
            while _workers < len(tickets):
                threading.Thread(
                    target=_work, args=(_tasks,), daemon=True, name="tiedgraph"
                ).start()
                _workers += 1
    for ticket in tickets:
        _tasks.put(ticket)
    try:
        tasks[0]()
    finally:
        for ticket in tickets:
            ticket.done.acquire()
    for ticket in tickets:
        if ticket.error is not None:
            raise ticket.error
