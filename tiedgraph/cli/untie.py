"""`tiedgraph untie`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiedgraph.cli.common import Format, Output, checked, load_run, say, show


def untie(
    model: Annotated[
        Path, typer.Argument(help="A run, a saved model or a .tie file.", show_default=False)
    ],
    selectors: Annotated[
        list[str],
        typer.Argument(
            help="Parameters or layers, such as right or layers[*].weight.", show_default=False
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The .tie file to write.", show_default=False)
    ],
    force: Annotated[bool, typer.Option("--force", help="Replaces files that are there.")] = False,
    format: Output = Format.text,
) -> None:
    """Gives each use of tied parameters its own numbers, and writes the model so.

    Training goes on with: tiedgraph train NEW.tie --start-from RUN. It starts from the same numbers
    under each name, and so from the same function; the optimiser begins anew.

    Example: tiedgraph untie runs/siamese right -o apart.tie
    """
    from tiedgraph.compiler import files_of
    from tiedgraph.rewrite.untie import untie as untied
    from tiedgraph.runtime.identity import Origin

    if model.suffix == ".tie" and not model.is_dir():
        graph = checked(model, {}, format)
        origin = Origin(files_of(model, graph), {}, "float32", 0)
    else:
        loaded = load_run(model, 1)
        graph, origin = loaded.checked, loaded.origin
    found = untied(graph, origin, selectors)
    written = found.text.write(output, force)
    text = f"untied {', '.join(found.parameters)}\n" + "\n".join(f"wrote {p}" for p in written)
    if model.suffix != ".tie":
        text += f"\ngo on with: tiedgraph train {output} --start-from {model}"
    say(text)
    data = {"untied": list(found.parameters), "files": [str(path) for path in written]}
    show(format, "", data)
