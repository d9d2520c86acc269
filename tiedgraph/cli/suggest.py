"""`tiedgraph suggest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiedgraph.cli.common import (
    CORES,
    Format,
    Output,
    Threads,
    data_of,
    finite,
    load_run,
    say,
    show,
)


def suggest(
    run: Annotated[Path, typer.Argument(help="A run or saved model.", show_default=False)],
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="[TASK=]PATH",
            help="Data to measure each tie on, once for each task that has its own.",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[
        str,
        typer.Option(
            "--tolerance", help="How far a tie may move numbers, of their spread: 5% or 0.05."
        ),
    ] = "5%",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="The .tie file to write with the ties.", show_default=False
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples at a time.")] = 256,
    threads: Threads = CORES,
    force: Annotated[bool, typer.Option("--force", help="Replaces files that are there.")] = False,
    format: Output = Format.text,
) -> None:
    """Proposes hard ties that nearly hold in trained numbers, and tells what each would cost.

    Training goes on with: tiedgraph train NEW.tie --start-from RUN

    Example: tiedgraph suggest runs/lenet5 --data digits-test.npz -o tied.tie
    """
    share = _share(tolerance)
    if output is not None and output.suffix != ".tie":
        raise typer.BadParameter(f"-o takes the name of a .tie file, not '{output}'")
    if output is not None and output.exists() and not force:
        say(f"error: {output} is there already; --force replaces it")
        raise typer.Exit(1)
    from tiedgraph.suggestions import suggest as suggest_ties
    from tiedgraph.suggestions import suggestions_text

    model = load_run(run, threads)
    measured_on = data_of(data, model.checked)
    found = suggest_ties(model, measured_on, tolerance=share, batch=batch)
    stem = None if output is None else output.stem
    told = found.data(stem)
    for values in (told["before"], told["with_all"], *(tie["measured"] for tie in told["ties"])):
        values.update(finite(values))
    if output is not None and found.ties:
        note = f"from tiedgraph suggest {run.resolve().name} --tolerance {tolerance}"
        told["files"] = [str(path) for path in found.write(output, replace=force, note=note)]
        for path in told["files"]:
            say(f"wrote {path}")
        define = "".join(f" -D {n}={v:g}" for n, v in found.source.origin.define.items())
        say(f"go on with: tiedgraph train {output}{define} --start-from {run}")
    elif output is not None:
        say(f"nothing to write: {output} would be as the model is")
    show(format, suggestions_text(found, stem), told)


def _share(text: str) -> float:
    """`5%` or `0.05` as 0.05; anything else is wrong usage."""
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = float("nan")
    share = number / 100 if text.endswith("%") else number
    if not 0.0 < share < 0.5:
        raise typer.BadParameter(
            f"--tolerance takes a share above 0 and below 50%, such as 5% or 0.05, not '{text}'"
        )
    return share
