"""`tiedgraph plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiedgraph.cli.common import Format, Output, load_run, say, show

KINDS = (".svg", ".png", ".pdf")


def plot(
    run: Annotated[
        Path, typer.Argument(help="A run or saved model with soft ties.", show_default=False)
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="A .svg, .png or .pdf file.", show_default=False),
    ],
    format: Output = Format.text,
) -> None:
    """Draws the numbers and the mixture of each soft tie, and how it came there.

    Example: tiedgraph plot runs/soft -o mixture.svg
    """
    if output.suffix not in KINDS:
        raise typer.BadParameter(f"-o takes a {', '.join(KINDS)} file, not '{output}'")
    from tiedgraph.plot.mixture import plot_mixtures
    from tiedgraph.runtime.checkpoint import MIXTURES
    from tiedgraph.runtime.folder import write_file

    model = load_run(run, 1)
    history = run / MIXTURES
    content = plot_mixtures(model, history.read_bytes() if history.is_file() else b"", output)
    write_file(output, content)
    say(f"wrote {output}")
    show(format, "", {"output": str(output), "bytes": len(content)})
