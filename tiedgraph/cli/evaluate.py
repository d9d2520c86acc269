"""`tiedgraph evaluate`."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Annotated

import typer

from tiedgraph.cli.common import (
    CORES,
    Format,
    Lexicon,
    Output,
    Threads,
    data_of,
    finite,
    load_run,
    metrics_text,
    say,
    show,
)


def evaluate(
    run: Annotated[Path, typer.Argument(help="The folder of a run.", show_default=False)],
    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            metavar="[TASK=]PATH",
            help="Data to measure on, once for each task that has its own.",
            show_default=False,
        ),
    ],
    batch: Annotated[int, typer.Option(min=1, help="Samples at a time.")] = 256,
    lexicon: Lexicon = None,
    threads: Threads = CORES,
    format: Output = Format.text,
) -> None:
    """Measures loss and metrics of a trained run on data.

    Example: tiedgraph evaluate runs/lenet5 --data digits-test.npz
    """
    model = load_run(run, threads, lexicon)
    source = data_of(data, model.checked)
    found = model.evaluate(source, batch)
    if found.get("loss") == inf:
        from tiedgraph.runtime.data import load
        from tiedgraph.runtime.short import short

        if reason := short(model.checked, load(source, model.checked)):
            say(f"the loss is infinite: {reason}")
    show(format, metrics_text(found), finite(found))
