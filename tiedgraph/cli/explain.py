"""`tiedgraph explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiedgraph.cli.common import (
    WRONG_USAGE,
    Define,
    File,
    Format,
    Output,
    checked,
    defined,
    say,
    show,
)


def explain(
    file: File,
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
            "parameters": [
                p for p in data["parameters"] if p["name"] == name or p["name"].startswith(inside)
            ]
        }
    show(format, text.rstrip(), data)
