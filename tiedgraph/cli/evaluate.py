"""`tiedgraph evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiedgraph.cli.common import (
    CORES,
    Format,
    Output,
    Threads,
    finite,
    load_run,
    metrics_text,
    show,
)


def evaluate(
    run: Annotated[Path, typer.Argument(help="The folder of a run.", show_default=False)],
    data: Annotated[Path, typer.Option("--data", help="Data to measure on.", show_default=False)],
    batch: Annotated[int, typer.Option(min=1, help="Samples at a time.")] = 256,
    threads: Threads = CORES,
    format: Output = Format.text,
) -> None:
    """Measures loss and metrics of a trained run on data.

    Example: tiedgraph evaluate runs/lenet5 --data digits-test.npz
    """
    found = load_run(run, threads).evaluate(data, batch)
    show(format, metrics_text(found), finite(found))
