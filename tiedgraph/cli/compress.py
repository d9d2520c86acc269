"""`tiedgraph compress`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiedgraph.cli.common import (
    CORES,
    Format,
    Output,
    Threads,
    finite,
    load_run,
    metrics_text,
    say,
    show,
)

if TYPE_CHECKING:
    from tiedgraph.compression.search import Candidate, Compression


def compress(
    run: Annotated[
        Path, typer.Argument(help="A run or saved model with a soft tie.", show_default=False)
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The .tied file to write.", show_default=False),
    ],
    data: Annotated[
        Path, typer.Option("--data", help="Training data, for re-tuning.", show_default=False)
    ],
    validate: Annotated[
        Path | None, typer.Option("--validate", help="Data that the budget is measured on.")
    ] = None,
    holdout: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Measures on the last so many samples of the training data.",
            show_default=False,
        ),
    ] = None,
    loss_budget: Annotated[
        str,
        typer.Option(
            metavar="PERCENT",
            help="How much worse the first metric may get, in "
            "percentage points; for a model without metrics the loss, in percent.",
        ),
    ] = "0.1%",
    rounds: Annotated[int, typer.Option(min=0, help="How often to try with fewer numbers.")] = 4,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of a round.")] = 10,
    retune: Annotated[int, typer.Option(min=0, help="Epochs with the ties held.")] = 5,
    bits: Annotated[
        int, typer.Option(min=0, max=20, help="Numbers outside the tie are rounded to 1/2**BITS.")
    ] = 5,
    tie: Annotated[
        str | None, typer.Option("--tie", help="The soft tie, where there are several.")
    ] = None,
    threads: Threads = CORES,
    force: Annotated[bool, typer.Option("--force", help="Replaces a file that is there.")] = False,
    format: Output = Format.text,
) -> None:
    """Makes a soft-tied model small: clusters, re-tuning, entropy coding.

    Where no candidate keeps the budget the best one is written, and the exit code is 1.

    Example: tiedgraph compress runs/soft -o small.tied --data train.npz --validate test.npz
    """
    from tiedgraph.compression.file import SUFFIX, save
    from tiedgraph.compression.search import compress as compressed
    from tiedgraph.runtime.data import hold_out, load

    budget = _percent(loss_budget)
    if output.suffix != SUFFIX:
        raise typer.BadParameter(f"-o takes a {SUFFIX} file, not '{output}'")
    if output.exists() and not force:
        raise typer.BadParameter(f"{output} is there already; --force replaces it")
    if not output.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {output.parent}")
    if (validate is None) == (holdout is None):
        raise typer.BadParameter("say what the budget is measured on: --validate or --holdout")
    model = load_run(run, threads)
    held_out: Any = validate
    training: Any = load(data, model.checked, model.dtype)
    if holdout is not None:
        training, held_out = hold_out(training, holdout)

    def told(candidate: Candidate) -> None:
        say(
            f"round {candidate.round}/{rounds}: {candidate.bytes:,} bytes, "
            f"{candidate.ratio:.1f} times smaller, {candidate.kept:,} numbers in "
            f"{candidate.clusters} clusters; {metrics_text(candidate.measured)}"
        )

    found = compressed(
        model,
        training,
        held_out,
        tie=tie,
        budget=budget,
        rounds=rounds,
        epochs=epochs,
        retune=retune,
        bits=bits,
        told=told,
    )
    save(found.model, output)
    _report(found, output, budget, format)
    if not found.within:
        raise typer.Exit(1)


def _percent(text: str) -> float:
    try:
        number = float(text.strip().removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        raise typer.BadParameter(f"--loss-budget is a percentage such as 0.1%, not '{text}'")
    return number


def _report(found: Compression, output: Path, budget: float, format: Format) -> None:
    chosen = found.chosen
    wide = max(len(name) for name in found.packed.parts)
    lines = [
        f"{found.numbers:,} numbers, {4 * found.numbers:,} bytes as float32",
        f"{chosen.bytes:,} bytes in {output}, {chosen.ratio:.1f} times smaller:",
        *(f"  {name:<{wide}}  {size:>9,}" for name, size in found.packed.parts.items()),
        f"before: {metrics_text(found.before)}",
        f"after:  {metrics_text(chosen.measured)}",
    ]
    if not found.within:
        lines.append(
            f"no candidate kept the budget of {budget:g} % of {found.metric}; this is the best one "
            f"({chosen.worse:.2f} worse). Train the soft tie with less strength, or re-tune longer"
        )
    result = {
        "file": str(output),
        "bytes": chosen.bytes,
        "ratio": chosen.ratio,
        "numbers": found.numbers,
        "kept": chosen.kept,
        "clusters": chosen.clusters,
        "parts": found.packed.parts,
        "before": finite(found.before),
        "after": finite(chosen.measured),
        "within_budget": found.within,
        "candidates": [
            {"bytes": c.bytes, "ratio": c.ratio, "kept": c.kept, **finite(c.measured)}
            for c in found.candidates
        ],
    }
    show(format, "\n".join(lines), result)
