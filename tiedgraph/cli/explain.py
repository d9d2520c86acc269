"""`tiedgraph explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiedgraph.cli.common import (
    WRONG_USAGE,
    Define,
    Format,
    Output,
    checked,
    defined,
    load_run,
    say,
    show,
)


def explain(
    file: Annotated[
        Path,
        typer.Argument(
            help="A .tie file, or a run, whose mixtures are told too.", show_default=False
        ),
    ],
    name: Annotated[
        str | None,
        typer.Argument(help="One parameter, such as c1.weight; the whole model without it."),
    ] = None,
    define: Define = None,
    format: Output = Format.text,
) -> None:
    """Tells what is shared, what that saves, and what it does not shrink.

    Example: tiedgraph explain autoencoder.tie d2.weight
    """
    from tiedgraph.explain import explain as explain_graph
    from tiedgraph.explain import explain_text

    if file.is_dir() or file.suffix == ".tied":
        model = load_run(file, 1)
        found = explain_graph(model.checked, model.mixtures)
    else:
        found = explain_graph(checked(file, defined(define), format))
    try:
        text = explain_text(found, name)
    except ValueError as error:
        say(f"error: {error}")
        raise typer.Exit(WRONG_USAGE) from None
    data = found.data()
    if name is not None:
        inside = (f"{name}.", f"{name}[")
        data = {
            "mixtures": [m for m in data["mixtures"] if name.partition(".")[0] == m["name"]],
            "parameters": [
                p for p in data["parameters"] if p["name"] == name or p["name"].startswith(inside)
            ],
        }
    show(format, text.rstrip(), data)
