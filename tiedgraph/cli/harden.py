"""`tiedgraph harden`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiedgraph.cli.common import Format, Output, counted, load_run, say, show


def harden(
    run: Annotated[
        Path, typer.Argument(help="A run or saved model with a soft tie.", show_default=False)
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The .tie file to write.", show_default=False),
    ],
    tie: Annotated[
        str | None, typer.Option("--tie", help="The soft tie, where there are several.")
    ] = None,
    merge: Annotated[
        float, typer.Option(min=0, help="Divergence below which two components become one.")
    ] = 1e-10,
    force: Annotated[bool, typer.Option("--force", help="Replaces files that are there.")] = False,
    format: Output = Format.text,
) -> None:
    """Snaps the clusters of a soft tie into a hard one, and writes the model with it.

    Training goes on with: tiedgraph train NEW.tie --start-from RUN. The optimiser begins anew.

    Example: tiedgraph harden runs/soft -o hard.tie
    """
    from tiedgraph.rewrite.harden import find_clusters
    from tiedgraph.rewrite.harden import harden as hardened

    model = load_run(run, 1)
    clusters = find_clusters(model, tie, merge)
    written = hardened(model, clusters).write(output, force)
    count = sum(code.size for code in clusters.codes.values())
    values = len(clusters.values)
    text = (
        f"{clusters.tie}: {count:,} numbers, {clusters.kept:,} of them not zero, in "
        f"{counted(values, 'cluster')}\n"
        + "\n".join(f"wrote {path}" for path in written)
        + f"\ngo on with: tiedgraph train {output} --start-from {run}"
    )
    say(text)
    data = {
        "tie": clusters.tie,
        "numbers": count,
        "not_zero": clusters.kept,
        "values": clusters.values,
        "files": [str(path) for path in written],
    }
    show(format, "", data)
