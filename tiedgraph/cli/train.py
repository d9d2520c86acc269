"""`tiedgraph train`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tiedgraph.model import Model
    from tiedgraph.passes.settings import LoadSettings

from tiedgraph.cli.common import (
    CORES,
    Define,
    Dtype,
    File,
    Format,
    Output,
    Precision,
    Threads,
    checked,
    data_of,
    defined,
    finite,
    metrics_text,
    print_diagnostics,
    say,
    show,
)


def train(
    file: File,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="[TASK=]PATH",
            help="Training data, once for each task that has its own; the file's own by default.",
        ),
    ] = None,
    validate: Annotated[
        list[str] | None,
        typer.Option(
            "--validate", metavar="[TASK=]PATH", help="Data to measure on after each epoch."
        ),
    ] = None,
    holdout: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Keeps the last so many samples of the training data to measure "
            "on after each epoch.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="RUN", help="Folder of the run: runs/NAME."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="In place of the file's.", show_default=False)
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="In place of the file's.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="In place of the file's.", show_default=False)
    ] = None,
    threads: Threads = CORES,
    dtype: Precision = Dtype.float32,
    resume: Annotated[
        bool, typer.Option("--resume", help="Goes on where the run in RUN stopped.")
    ] = False,
    start_from: Annotated[
        Path | None,
        typer.Option(
            "--start-from",
            metavar="RUN",
            help="Takes the parameters of another run or saved model by name to begin with.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replaces a run that is there.")] = False,
    define: Define = None,
    format: Output = Format.text,
) -> None:
    """Trains a model, keeps it in a run, and tells how good it is and what its sharing saves.

    Example: tiedgraph train lenet5.tie --data train.npz --validate test.npz -o runs/lenet5
    """
    if resume and file.is_dir():
        raise typer.BadParameter(f"train takes a model and its run: MODEL.tie -o {file} --resume")
    constants = defined(define)
    graph = checked(file, constants, format)
    from contextlib import ExitStack
    from dataclasses import replace

    from tiedgraph.api import load as load_model
    from tiedgraph.cli.progress import projection_text, watch_for
    from tiedgraph.compiler import files_of
    from tiedgraph.diagnostics import Diagnostics
    from tiedgraph.model import Model
    from tiedgraph.passes.settings import load_settings, train_settings
    from tiedgraph.passes.spoken import warn_of_data
    from tiedgraph.runtime.checkpoint import new_run, resumed_run
    from tiedgraph.runtime.data import Data, arranged, hold_out, load, mark
    from tiedgraph.runtime.identity import Origin
    from tiedgraph.runtime.short import refuse_short
    from tiedgraph.runtime.train import Interrupted, Position, fit

    settings = train_settings(graph)
    settings = replace(
        settings,
        epochs=settings.epochs if epochs is None else epochs,
        batch=settings.batch if batch is None else batch,
        seed=settings.seed if seed is None else seed,
    )
    if not graph.losses:
        say(f"error: {file} declares no loss, and so cannot be trained; add `loss ...`")
        raise typer.Exit(1)
    loading = load_settings(graph)
    train_source = data_of(data, graph) or _own(file, loading, 0)
    validate_source = data_of(validate, graph) or _own(file, loading, 1)
    if train_source is None:
        raise typer.BadParameter(
            'no training data: give --data, or train = "..." in the file\'s data { }'
        )
    place = output or Path("runs") / graph.name
    if resume and force:
        raise typer.BadParameter("--resume goes on with a run and --force replaces it: choose one")

    if holdout is not None and validate is not None:
        raise typer.BadParameter("--holdout and --validate both say what to measure on: choose one")
    if resume and start_from is not None:
        raise typer.BadParameter("--resume goes on with a run's own numbers: omit --start-from")

    other = None if start_from is None else load_model(start_from)
    train_data = load(train_source, graph, dtype.value)
    held_out: Data | None = None
    measured_on = ""
    if holdout is not None:
        train_data, held_out = hold_out(train_data, holdout)
        measured_on = f"the last {holdout} samples"
    elif validate_source is not None:
        held_out = load(validate_source, graph, dtype.value)
        files = validate_source.values() if isinstance(validate_source, dict) else [validate_source]
        measured_on = ", ".join(path.name for path in files)
    for part in (train_data, held_out):
        if part is not None:
            refuse_short(graph, part)
    train_data = arranged(train_data, graph, settings)
    origin = Origin(files_of(file, graph), constants, dtype.value, settings.seed)
    samples = getattr(train_data, "samples", 1)
    watch = watch_for(format)
    with ExitStack() as stack:
        if resume:
            opened = resumed_run(place, graph, origin, settings, mark(train_data))
            run, saved = stack.enter_context(opened)
            now, best = saved.snapshot(graph)
            start: Position | None = saved.position()
        else:
            opened_new = new_run(place, graph, origin, settings, mark(train_data), force)
            run = stack.enter_context(opened_new)
            best, start, now = None, None, None
        model = Model(graph, origin, threads=threads, samples=samples)
        if now is not None:
            model.restore(now)
        if other is not None:
            say(projection_text(model.start_from(other), str(start_from)))
        stack.callback(watch.close)
        try:
            history = fit(
                model,
                train_data,
                held_out,
                settings,
                store=run,
                watch=watch,
                start=start,
                best=best,
            )
        except Interrupted as error:
            watch.close()
            say(str(error))
            raise typer.Exit(error.exit_code) from None
        _plot(model, place)
    found = Diagnostics()
    warn_of_data(graph, model.heard, found)
    print_diagnostics(found.warnings)
    _report(graph, place, history, measured_on, format)


def _own(file: Path, loading: LoadSettings, use: int) -> Any:
    """The data that the model's file names, relative to it: for training (0) or measuring (1)."""
    by_task = {
        task: file.parent / str(names[use])
        for task, names in loading.tasks.items()
        if names[use] is not None
    }
    name = (loading.train, loading.validate)[use]
    return by_task or (None if name is None else file.parent / name)


def _plot(model: Model, place: Path) -> None:
    """The mixtures of soft ties over training as a picture in the run, if there is matplotlib."""
    from tiedgraph.plot.figures import can_plot
    from tiedgraph.plot.mixture import plot_mixtures
    from tiedgraph.runtime.checkpoint import MIXTURES, PLOT
    from tiedgraph.runtime.folder import write_file

    if model.checked.mixtures and can_plot():
        path = place / PLOT
        write_file(path, plot_mixtures(model, (place / MIXTURES).read_bytes(), path))


def _report(
    graph: Any,
    place: Path,
    history: list[dict[str, float]],
    measured_on: str,
    format: Format,
) -> None:
    from tiedgraph.explain import explain, explain_text

    last: Mapping[str, float] = history[-1] if history else {}
    tasks = [f"{task.name}.loss" for task in graph.tasks if task.name]
    names = ["loss", *tasks, *(term.name for term in graph.metrics)]
    trained = {name: last[name] for name in names if name in last}
    result: dict[str, Any] = {
        "run": str(place),
        "epochs": len(history),
        "train": finite(trained),
    }
    lines = [f"in training: {metrics_text(trained)}"]
    if measured_on:
        validated = {n: last[f"validate_{n}"] for n in names if f"validate_{n}" in last}
        result["validate"] = finite(validated)
        lines.append(f"on {measured_on}: {metrics_text(validated)}")
    found = explain(graph)
    result["sharing"] = {"declared": found.declared, "free": found.free}
    lines += ["", explain_text(found).rstrip(), "", f"saved in {place}"]
    show(format, "\n".join(lines), result)
