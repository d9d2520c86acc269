"""`tiedgraph graph`."""

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
    is_trained,
    load_run,
    say,
    show,
)


def graph(
    file: Annotated[
        Path,
        typer.Argument(
            help="A .tie file, or a run, whose mixtures are told too.", show_default=False
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="A .svg, .html or .dot file.", show_default=False),
    ],
    word: Annotated[
        list[str] | None,
        typer.Option(
            "--word", help="Draws this word of a chain as its states instead; repeatable."
        ),
    ] = None,
    define: Define = None,
    format: Output = Format.text,
) -> None:
    """Draws a model with its tie groups marked by colour and letter.

    Example: tiedgraph graph lenet5.tie -o lenet5.svg, or of a word model
    tiedgraph graph gaussian.tie --word seven --word zero -o words.svg
    """
    from tiedgraph.explain.mixtures import components_text, mixtures
    from tiedgraph.export.dot import dot
    from tiedgraph.export.svg import html, page, svg
    from tiedgraph.export.words import UnknownWord, words_svg
    from tiedgraph.runtime.folder import write_file

    writers = {".svg": svg, ".html": html, ".dot": dot}
    if output.suffix not in writers:
        raise typer.BadParameter(f"-o takes a {', '.join(writers)} file, not '{output}'")
    if word and output.suffix == ".dot":
        raise typer.BadParameter("--word draws a .svg or .html file")
    if word:
        checked_graph = (
            load_run(file, 1).checked
            if is_trained(file)
            else checked(file, defined(define), format)
        )
        try:
            text = words_svg(checked_graph, word)
        except UnknownWord as error:
            say(f"error: {error}")
            raise typer.Exit(WRONG_USAGE) from None
        text = page(checked_graph.name, text) if output.suffix == ".html" else text
    elif is_trained(file):
        model = load_run(file, 1)
        states = {
            report.name: components_text(report, indent="")
            for report in mixtures(model.checked, model.mixtures)
        }
        text = writers[output.suffix](model.checked, states)
    else:
        text = writers[output.suffix](checked(file, defined(define), format))
    write_file(output, text.encode())
    say(f"wrote {output}")
    show(format, "", {"output": str(output), "bytes": len(text.encode())})
