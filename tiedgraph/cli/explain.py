"""`tiedgraph explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tiedgraph.model import Model

from tiedgraph.cli.common import (
    WRONG_USAGE,
    Define,
    Format,
    Output,
    checked,
    data_of,
    defined,
    is_trained,
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
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="[TASK=]PATH",
            help="Of a run: measures on this data which uses of tied numbers, and which losses, "
            "pull against each other.",
        ),
    ] = None,
    define: Define = None,
    format: Output = Format.text,
) -> None:
    """Tells what is shared, what that saves, and what it does not shrink.

    Example: tiedgraph explain autoencoder.tie d2.weight
    """
    from tiedgraph.explain import explain as explain_graph
    from tiedgraph.explain import explain_text

    if is_trained(file):
        model = load_run(file, 1)
        if data:
            _conflicts(model, data, name, format)
            return
        found = explain_graph(model.checked, model.mixtures)
    elif data:
        raise typer.BadParameter("--data is for a run, whose numbers are trained; give its folder")
    else:
        found = explain_graph(checked(file, defined(define), format))
    try:
        text = explain_text(found, name)
    except ValueError as error:
        say(f"error: {error}")
        raise typer.Exit(WRONG_USAGE) from None
    told = found.data()
    if name is not None:
        inside = (f"{name}.", f"{name}[")
        told = {
            "mixtures": [m for m in told["mixtures"] if name.partition(".")[0] == m["name"]],
            "phonemes": [
                {"chain": c["name"], **p}
                for c in told["chains"]
                for p in c["phonemes"]
                if f"{name}.".startswith(f"{p['path']}.")
            ],
            "parameters": [
                p for p in told["parameters"] if p["name"] == name or p["name"].startswith(inside)
            ],
        }
    show(format, text.rstrip(), told)


def _conflicts(model: Model, data: list[str], name: str | None, format: Format) -> None:
    from dataclasses import asdict

    from tiedgraph.conflicts import conflicts_text, find_conflicts

    found = find_conflicts(model, data_of(data, model.checked))
    if name is not None:
        owners = {
            param.view.storage
            for param in model.checked.params.values()
            if param.id == name or param.id.startswith((f"{name}.", f"{name}["))
        }
        if not owners:
            say(f"error: there is no parameter or layer '{name}'")
            raise typer.Exit(WRONG_USAGE)
        found = [conflict for conflict in found if conflict.owner in owners]
    told = [{**asdict(conflict), "fights": conflict.fights} for conflict in found]
    show(format, conflicts_text(found), {"conflicts": told})
