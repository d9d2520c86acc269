"""Runs all benchmarks, or those named: `python -m tests.benchmarks [lenet5 ...] [--rounds 15]`."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil

from tests import benchmarks

TOOLS = ("__main__", "harness", "peers")


def main() -> None:
    names = [m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in TOOLS]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*names, []], help="which; all by default")
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--peer", action="append", default=[], help="only these, and ourselves")
    options = parser.parse_args()
    # Peers that take their number of threads from the machine see no more than these cores.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    from tests.benchmarks.harness import report

    for name in options.names or names:
        module = importlib.import_module(f"tests.benchmarks.{name}")
        if hasattr(module, "report_all"):
            module.report_all(options.rounds)
        else:
            report(module, options.rounds, options.threads, options.peer)


if __name__ == "__main__":
    main()
