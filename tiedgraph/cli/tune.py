"""`tiedgraph tune`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiedgraph.cli.common import (
    CORES,
    Define,
    Dtype,
    File,
    Format,
    LeastSteps,
    Output,
    Precision,
    Samples,
    Threads,
    checked,
    defined,
    show,
)

if TYPE_CHECKING:
    from tiedgraph.model import Model


def tune(
    file: File,
    batch: Samples = None,
    predict: Annotated[
        bool, typer.Option("--predict", help="For predictions in place of training steps.")
    ] = False,
    steps: LeastSteps = 100,
    threads: Threads = CORES,
    dtype: Precision = Dtype.float32,
    define: Define = None,
    format: Output = Format.text,
) -> None:
    """Measures how many samples of a batch should make a tile, and keeps the fastest choice.

    All commands use it from then on for this model, batch and kind of processor; results may
    differ in their last bits. It lies beside the kernels, in the cache folder.

    Example: tiedgraph tune lenet5.tie --batch 64
    """
    constants = defined(define)
    graph = checked(file, constants, format)
    from tiedgraph.compiler import files_of
    from tiedgraph.measure import tune as measure
    from tiedgraph.model import Model
    from tiedgraph.render import table
    from tiedgraph.runtime.identity import Origin

    if predict and not graph.outputs:
        raise typer.BadParameter(f"{file} declares no output to predict")
    if not predict and not graph.losses:
        raise typer.BadParameter(f"{file} declares no loss; --predict tunes predictions")
    origin = Origin(files_of(file, graph), constants, dtype.value, 0)

    def make() -> Model:
        return Model(graph, origin, threads=threads)

    mode: Any = "predict" if predict else "train"
    samples = batch or make().settings.batch
    trials, chosen = measure(make, samples, mode, steps)
    rows = [["samples a tile", "ms", "quartiles", ""]]
    for trial in trials:
        low, high = trial.quartiles
        told = [f"{1e3 * trial.seconds:.3g}", f"{1e3 * low:.3g} to {1e3 * high:.3g}"]
        rows.append([str(trial.tile), *told, "kept" if trial.tile == chosen else ""])
    what = "prediction" if predict else "training step"
    head = f"a {what} of {samples} samples on {threads} threads"
    data = {
        "mode": mode,
        "batch": samples,
        "threads": threads,
        "trials": [
            {"tile": t.tile, "seconds": t.seconds, "quartiles": t.quartiles} for t in trials
        ],
        "chosen": chosen,
    }
    show(format, f"{head}\n{table(rows, {0, 1})}", data)
