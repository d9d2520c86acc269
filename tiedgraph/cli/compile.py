"""`tiedgraph compile`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from tiedgraph.cli.common import (
    CORES,
    Define,
    Dtype,
    File,
    Format,
    Output,
    Precision,
    checked,
    defined,
    say,
    show,
)

STAGES = ("ast", "graph", "ties", "backward", "schedule", "memory", "tape", "kernels")


def compile(
    file: File,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Writes the untrained model as a run.", metavar="DIR"),
    ] = None,
    emit: Annotated[
        str | None,
        typer.Option("--emit", metavar="STAGE", help=f"Prints one stage: {', '.join(STAGES)}."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="A hint; any batch size runs.", show_default=False)
    ] = None,
    dtype: Precision = Dtype.float32,
    seed: Annotated[int, typer.Option(min=0, help="Of the initial numbers.")] = 0,
    define: Define = None,
    format: Output = Format.text,
) -> None:
    """Compiles a model, so that its kernels are ready, and tells what was made.

    Example: tiedgraph compile lenet5.tie --emit tape
    """
    if emit is not None and emit not in STAGES:
        from tiedgraph.diagnostics import nearest

        hint = nearest(emit, STAGES) or f"stages are {', '.join(STAGES)}"
        raise typer.BadParameter(f"there is no stage '{emit}'; {hint}")
    constants = defined(define)
    if emit in ("ast", "graph", "ties"):
        _emit_checked(file, constants, emit, format)
        return
    started = time.perf_counter()
    graph = checked(file, constants, format)
    if emit is not None:
        _emit_lowered(graph, emit, dtype.value, batch, format)
        return
    from tiedgraph.compiler import files_of
    from tiedgraph.model import Model
    from tiedgraph.runtime.identity import Origin

    origin = Origin(files_of(file, graph), constants, dtype.value, seed)
    model = Model(graph, origin, threads=CORES)
    programs = model.warm()
    seconds = time.perf_counter() - started
    data: dict[str, Any] = {
        "model": graph.name,
        "dtype": dtype.value,
        "free_numbers": sum(s.size for s in model.numbers.plan.storages.values()),
        "kernels": sum(p["kernels"] for p in programs.values()),
        "kernels_compiled": model.compiled_kernels,
        "seconds": round(seconds, 3),
        "programs": programs,
    }
    if output is not None:
        model.save(output)
        data["output"] = str(output)
        say(f"wrote {output}")
    lines = [
        f"{graph.name}: {data['free_numbers']:,} free numbers, {dtype.value}",
        f"{data['kernels']} kernels in {len(programs)} programs, "
        f"{data['kernels_compiled']} compiled now, in {seconds:.2f} s",
    ]
    lines += [
        f"  {name}: {p['rows']} rows, {p['arena_bytes'] / 1024:.0f} KiB for a tile of "
        f"{p['tile']} samples" + (f" at {p['lengths']}" if p["lengths"] else "")
        for name, p in programs.items()
    ]
    show(format, "\n".join(lines), data)


def _emit_checked(file: Path, constants: dict[str, float], emit: str, format: Format) -> None:
    states: dict[str, object] = {}
    checked(file, constants, format, observe=lambda stage, state: states.update({stage: state}))
    _print(emit, states[emit], format)


def _emit_lowered(graph: Any, emit: str, dtype: str, batch: int | None, format: Format) -> None:
    from tiedgraph import compiler

    states: dict[str, object] = {}
    mode: Any = "train" if graph.losses else "predict"
    plan = compiler.lower(
        graph, mode, dtype, observe=lambda stage, state: states.update({stage: state})
    )
    if emit == "backward" and emit not in states:
        raise typer.BadParameter("the model has no loss, and so nothing to differentiate")
    states["schedule"] = plan = plan.form(batch) if batch else plan
    _print(emit, states.get(emit, plan), format)


def _print(stage: str, state: object, format: Format) -> None:
    from tiedgraph.listing import stage_text

    text = stage_text(stage, state).rstrip()
    show(format, text, {"stage": stage, "text": text})
