"""`tiedgraph predict`."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiedgraph.cli.common import CORES, Format, Lexicon, Output, Threads, load_run, say, show
from tiedgraph.diagnostics import nearest

if TYPE_CHECKING:
    from tiedgraph.ir.graph import Graph


def predict(
    run: Annotated[Path, typer.Argument(help="The folder of a run.", show_default=False)],
    data: Annotated[Path, typer.Option("--data", help="Inputs.", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .npz or .csv file.", show_default=False)
    ],
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Names of outputs; all by default.")
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="The outputs of one task, whose inputs suffice.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples at a time.")] = 256,
    lexicon: Lexicon = None,
    threads: Threads = CORES,
    format: Output = Format.text,
) -> None:
    """Writes the outputs of a trained run for data; targets are not needed.

    Example: tiedgraph predict runs/lenet5 --data digits-test.npz -o guesses.npz
    """
    if output.suffix not in (".npz", ".csv"):
        raise typer.BadParameter(f"-o takes a .npz or .csv file, not '{output}'")
    import numpy as np

    from tiedgraph.runtime.data import Dataset, load
    from tiedgraph.runtime.folder import write_file

    model = load_run(run, threads, lexicon)
    if task is not None:
        only = [*(only or []), *_of_task(model.checked, task)]
    needed = model.inputs_of(only)
    source = load(data, model.checked, model.dtype, needed)
    assert isinstance(source, Dataset)
    parts = [model.predict(only, **arrays) for arrays, _ in source.batches(batch)]
    found = {name: _joined([part[name] for part in parts]) for name in parts[0]}
    if output.suffix == ".npz":
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **found)
        write_file(output, content.getvalue())
    else:
        write_file(output, _table(found).encode())
    shapes = {name: list(array.shape) for name, array in found.items()}
    told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    say(f"wrote {output}: {told}")
    show(format, "", {"output": str(output), "shapes": shapes})


def _of_task(graph: Graph, task: str) -> list[str]:
    """Names of a task's outputs; one that is not there is wrong usage."""
    found = [term.name for term in graph.outputs if term.task == task]
    if not found:
        names = list(dict.fromkeys(term.task for term in graph.outputs if term.task))
        hint = nearest(task, names) or f"tasks with outputs: {', '.join(names) or 'none'}"
        raise typer.BadParameter(f"no task '{task}' has an output; {hint}")
    return found


def _joined(parts: list[Any]) -> Any:
    """Batches one after the other; run-time axes are padded with zeros to the longest."""
    import numpy as np

    longest = tuple(max(sizes) for sizes in zip(*(p.shape[1:] for p in parts), strict=True))
    padded = [
        np.pad(
            p, [(0, 0), *((0, to - size) for size, to in zip(p.shape[1:], longest, strict=True))]
        )
        for p in parts
    ]
    return np.concatenate(padded)


def _table(found: dict[str, Any]) -> str:
    """A row a sample; arrays become columns `name[0]`, `name[1]`, ..."""
    columns: list[tuple[str, Any]] = []
    for name, array in found.items():
        flat = array.reshape(len(array), -1)
        if array.ndim == 1:
            columns.append((name, flat[:, 0]))
        else:
            columns += [(f"{name}[{i}]", flat[:, i]) for i in range(flat.shape[1])]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _ in columns])
    writer.writerows(zip(*(values.tolist() for _, values in columns), strict=True))
    return text.getvalue()
