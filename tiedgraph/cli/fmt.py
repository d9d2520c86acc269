"""`tiedgraph fmt`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiedgraph.cli.common import INPUT_ERROR, Format, Output, print_diagnostics, say, show


def fmt(
    files: Annotated[list[Path], typer.Argument(help="The .tie files.", show_default=False)],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 where a file would change.")
    ] = False,
    format: Output = Format.text,
) -> None:
    """Writes files in the one canonical layout, comments kept.

    Example: tiedgraph fmt lenet5.tie
    """
    from tiedgraph.diagnostics import Diagnostics, TieError
    from tiedgraph.runtime.folder import write_file
    from tiedgraph.syntax.format import format_source
    from tiedgraph.syntax.parser import read_source

    changed: list[str] = []
    failed = False
    for path in files:
        diagnostics = Diagnostics()
        source = read_source(path, diagnostics)
        try:
            diagnostics.raise_if_errors()
            assert source is not None
            text = format_source(source)
        except TieError as error:
            print_diagnostics(error.diagnostics)
            failed = True
            continue
        if text.encode() == path.read_bytes():
            continue
        changed.append(str(path))
        if not check:
            write_file(path, text.encode())
    show(format, "", {"changed": changed, "written": not check})
    for name in changed:
        say(f"{name}: {'would change' if check else 'formatted'}")
    if failed or (check and changed):
        raise typer.Exit(INPUT_ERROR)
