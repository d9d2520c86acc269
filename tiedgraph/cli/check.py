"""`tiedgraph check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tiedgraph.cli.common import (
    INPUT_ERROR,
    Define,
    Format,
    Output,
    counted,
    defined,
    print_diagnostics,
    say,
    show,
)


def check(
    files: Annotated[list[Path], typer.Argument(help="The .tie files.", show_default=False)],
    gradients: Annotated[
        bool,
        typer.Option(
            "--gradients",
            help="Also differentiate each model three ways: compiled, by finite differences, and "
            "through its untied twin.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the random data for --gradients.")] = 0,
    define: Define = None,
    format: Output = Format.text,
) -> None:
    """Reads files, infers shapes and resolves ties; one line a file, or what is wrong.

    Example: tiedgraph check lenet5.tie
    """
    from tiedgraph.compiler import check as check_file
    from tiedgraph.passes.soft import without_mixtures
    from tiedgraph.render import render_json

    constants = defined(define)
    results: list[dict[str, Any]] = []
    failed = False
    for path in files:
        found = check_file(path, constants)
        result: dict[str, Any] = {"file": str(path), "ok": found.graph is not None}
        result["diagnostics"] = render_json(found.diagnostics)
        print_diagnostics(found.diagnostics)
        line = f"{path}: {counted(len(found.diagnostics.errors), 'error')}"
        if found.graph is not None:
            free = sum(_count(s.shape) for s in without_mixtures(found.graph).storages.values())
            line = f"{path}: fine, {len(found.graph.nodes)} operations, {free:,} free numbers"
            if gradients:
                line, result["gradients"] = _gradients(path, found.graph, seed)
                result["ok"] = all(v["verdict"] != "wrong" for v in result["gradients"])
        failed = failed or not result["ok"]
        results.append(result)
        if format is Format.text and result["ok"]:
            typer.echo(line)
        elif format is Format.text:
            say(line)
    if format is Format.json:
        show(format, "", results)
    if failed:
        raise typer.Exit(INPUT_ERROR)


def _count(shape: tuple[int, ...]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result


def _gradients(path: Path, graph: Any, seed: int) -> tuple[str, list[dict[str, Any]]]:
    from dataclasses import asdict

    from tiedgraph.gradients import check_gradients

    verdicts = check_gradients(graph, seed)
    width = max((len(v.owner) for v in verdicts), default=5)
    lines = [
        f"{path}: gradients in float64; errors relative to each owner's largest entry",
        f"  {'owner':<{width}}  verdict  uses  probes  differences  untied twin",
    ]
    lines += [
        f"  {v.owner:<{width}}  {v.verdict:<7}  {v.uses:>4}  {v.probes:>6}  "
        f"{v.difference_error:>11.1e}  {v.twin_error:>11.1e}"
        for v in verdicts
    ]
    return "\n".join(lines), [asdict(v) for v in verdicts]
