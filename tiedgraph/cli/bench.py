"""`tiedgraph bench`."""

from __future__ import annotations

from pathlib import Path
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
    say,
    show,
)
from tiedgraph.cli.plot import KINDS

if TYPE_CHECKING:
    from tiedgraph.measure import Speed


def bench(
    file: File,
    batch: Samples = None,
    predict: Annotated[
        bool, typer.Option("--predict", help="Measures predictions in place of training steps.")
    ] = False,
    steps: LeastSteps = 100,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Draws the roofline as a .svg, .png or .pdf file."),
    ] = None,
    threads: Threads = CORES,
    dtype: Precision = Dtype.float32,
    define: Define = None,
    format: Output = Format.text,
) -> None:
    """Measures how fast a model runs, whole and node by node, beside the machine's peak.

    The data is random and the model untrained. Other work on the machine shows in the figures.

    Example: tiedgraph bench lenet5.tie --batch 64
    """
    if plot is not None and plot.suffix not in KINDS:
        raise typer.BadParameter(f"--plot takes a {', '.join(KINDS)} file, not '{plot}'")
    constants = defined(define)
    graph = checked(file, constants, format)
    from tiedgraph.compiler import files_of
    from tiedgraph.measure import measure
    from tiedgraph.model import Model
    from tiedgraph.runtime.folder import write_file
    from tiedgraph.runtime.identity import Origin

    model = Model(graph, Origin(files_of(file, graph), constants, dtype.value, 0), threads=threads)
    if predict and not graph.outputs:
        raise typer.BadParameter(f"{file} declares no output to predict")
    if not predict and not graph.losses:
        raise typer.BadParameter(f"{file} declares no loss; --predict measures predictions")
    mode: Any = "predict" if predict else "train"
    speed = measure(model, batch or model.settings.batch, mode, steps)
    if plot is not None:
        from tiedgraph.plot.roofline import plot_roofline

        write_file(plot, plot_roofline(speed, plot))
        say(f"wrote {plot}")
    show(format, _text(speed), _data(speed))


def _text(speed: Speed) -> str:
    from tiedgraph.measure import speed_text
    from tiedgraph.render import table

    machine, low, high = speed.machine, *speed.quartiles
    achieved = speed.flops / speed.seconds
    what = "a training step" if speed.mode == "train" else "a prediction"
    rows = [
        [what, f"{1e3 * speed.seconds:.3g} ms", f"quartiles {1e3 * low:.3g} to {1e3 * high:.3g}"],
        ["samples", f"{speed.batch / speed.seconds:,.0f}/s", f"batch {speed.batch}, "
         f"{speed.tile} a tile, {speed.threads} threads"],
        ["operations", f"{achieved / 1e9:.1f} GFLOP/s",
         f"{100 * achieved / machine.flops / speed.threads:.0f} % of {speed.threads} times "
         f"{machine.flops / 1e9:.0f}, this machine's peak"],
        ["bytes", f"{machine.near / 1e9:.0f} GB/s", f"a near cache's, {machine.far / 1e9:.0f} of "
         "memory, one thread"],
    ]  # fmt: skip
    lengths = ", ".join(f"{name} = {steps}" for name, steps in speed.lengths.items())
    parts = [table(rows, {1})] + ([f"  with {lengths}"] if lengths else [])
    parts += ["", "nodes on one tile, one thread", table(speed_text(speed), {2, 3, 4})]
    return "\n".join(parts)


def _data(speed: Speed) -> dict[str, Any]:
    from dataclasses import asdict

    from tiedgraph.measure import bound

    found = asdict(speed)
    for told, node in zip(found["nodes"], speed.nodes, strict=True):
        if node.flops:
            told["of_roofline"] = node.flops / node.seconds / bound(node, speed.machine)
    return found
