"""What commands share: options, diagnostics, results, and where each of them is printed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiedgraph.diagnostics import Diagnostic, nearest

if TYPE_CHECKING:
    from tiedgraph.compiler import Checked
    from tiedgraph.ir.graph import Graph
    from tiedgraph.model import Model

INPUT_ERROR = 1
WRONG_USAGE = 2


class Format(StrEnum):
    """How results are printed."""

    text = "text"
    json = "json"


class Dtype(StrEnum):
    """Precision of all numbers of a model."""

    float32 = "float32"
    float64 = "float64"


File = Annotated[Path, typer.Argument(help="A .tie file.", show_default=False)]
Define = Annotated[
    list[str] | None,
    typer.Option(
        "-D", "--define", metavar="NAME=VALUE", help="Sets a constant of the file; repeatable."
    ),
]
Output = Annotated[
    Format, typer.Option("--format", help="Text for people, or JSON on standard output.")
]
Threads = Annotated[
    int, typer.Option("--threads", min=1, help="Threads to use; as many as there are cores.")
]
Lexicon = Annotated[
    Path | None,
    typer.Option("--lexicon", help="Other words over the same phonemes, which need no training."),
]
Samples = Annotated[
    int | None,
    typer.Option(
        "--batch", min=1, help="Samples; the file's batch by default.", show_default=False
    ),
]
LeastSteps = Annotated[
    int,
    typer.Option("--steps", min=1, help="How many steps, at least, sizes known at run time have."),
]
Precision = Annotated[Dtype, typer.Option("--dtype", help="Precision of all numbers.")]


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


CORES = _cores()


def live(stream: Any = sys.stderr) -> bool:
    """Whether progress and colour make sense there."""
    return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"


def coloured(stream: Any = sys.stderr) -> bool:
    return live(stream) and not os.environ.get("NO_COLOR")


def say(text: str) -> None:
    """A line for people, on standard error."""
    typer.echo(text, err=True)


def show(format: Format, text: str, data: Any) -> None:
    """A result on standard output, in the form asked for."""
    if format is Format.json:
        typer.echo(json.dumps(data, indent=2, allow_nan=False, default=_plain))
    elif text:
        typer.echo(text)


def write_json(path: Path, data: Any) -> None:
    """A result as a file."""
    from tiedgraph.runtime.folder import write_file

    write_file(path, (json.dumps(data, indent=1, allow_nan=False) + "\n").encode())


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Numbers as JSON can hold them: NaN and infinities become null."""
    return {name: v if abs(v) < float("inf") else None for name, v in values.items()}


def print_diagnostics(items: Iterable[Diagnostic]) -> None:
    """Diagnostics as text on standard error."""
    from tiedgraph.render import render_text

    found = list(items)
    if found:
        say(render_text(found, coloured()))


def defined(pairs: list[str] | None) -> dict[str, float]:
    """`-D N=12` options as numbers; wrong ones are wrong usage."""
    result: dict[str, float] = {}
    for pair in pairs or []:
        name, sign, text = pair.partition("=")
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not sign or not name or number != number:
            raise typer.BadParameter(f"-D takes NAME=NUMBER, such as -D channels=12, not '{pair}'")
        result[name] = int(number) if number == int(number) else number
    return result


def checked(path: Path, define: Mapping[str, float], format: Format, **options: Any) -> Graph:
    """The graph of a file; after errors prints them and ends with exit code 1."""
    from tiedgraph.compiler import check

    found = check(path, define, **options)
    if found.graph is None:
        stop_with(found, format)
    print_diagnostics(found.diagnostics.warnings)
    assert found.graph is not None
    return found.graph


def stop_with(found: Checked, format: Format) -> None:
    """Prints what is wrong with a file and ends with exit code 1."""
    from tiedgraph.render import render_json

    if format is Format.json:
        show(format, "", {"diagnostics": render_json(found.diagnostics)})
    else:
        print_diagnostics(found.diagnostics)
        say(counted(len(found.diagnostics.errors), "error"))
    raise typer.Exit(INPUT_ERROR)


def counted(count: int, what: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def metrics_text(values: Mapping[str, float]) -> str:
    """`loss 0.0912, accuracy 0.9805`."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def data_of(given: list[str] | None, graph: Graph) -> Any:
    """`--data FILE`, or `--data TASK=FILE` once for each task, as `load` takes it; None if absent.

    A second file without a task, or a task that is not there, is wrong usage.
    """
    if not given:
        return None
    tasks = [task.name for task in graph.tasks if task.name]
    parts: dict[str, Path] = {}
    for text in given:
        name, sign, path = text.partition("=")
        if not sign or (name not in tasks and Path(text).exists()):
            if len(given) > 1:
                raise typer.BadParameter(
                    f"'{text}' is one of {len(given)} files; say which task's: TASK={text}"
                )
            return Path(text)
        if name not in tasks:
            hint = nearest(name, tasks) or f"tasks are: {', '.join(tasks) or 'none'}"
            raise typer.BadParameter(f"the model has no task '{name}'; {hint}")
        if name in parts:
            raise typer.BadParameter(f"data of task '{name}' is given twice")
        parts[name] = Path(path)
    return parts


def is_trained(path: Path) -> bool:
    """Whether a path is a run, saved model or compressed one, where a .tie file may stand too."""
    return path.is_dir() or path.suffix == ".tied"


def load_run(path: Path, threads: int, lexicon: Path | None = None) -> Model:
    """A saved run as a model; `lexicon`: other words for its chains."""
    from tiedgraph.api import loaded

    model = loaded(path, threads, lexicon)
    print_diagnostics(model.warnings)
    return model
