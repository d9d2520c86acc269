"""How training shows itself: a live line on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tiedgraph.cli.common import Format, coloured, counted, live, metrics_text, say
from tiedgraph.explain.data import listed
from tiedgraph.passes.settings import TrainSettings
from tiedgraph.runtime.train import Now, Position, Watch
from tiedgraph.ties.assign import Projection

REFRESH = 0.1  # seconds between two drawings


def watch_for(format: Format) -> Lines:
    """The display for this standard error."""
    return Live() if live() else Lines()


def _row_text(row: Mapping[str, float]) -> str:
    skipped = {"epoch", "step", "rate", "seconds"}
    train = {n: v for n, v in row.items() if n not in skipped and not n.startswith("validate_")}
    held_out = {n[9:]: v for n, v in row.items() if n.startswith("validate_")}
    text = metrics_text(train)
    return f"{text} | validation {metrics_text(held_out)}" if held_out else text


def projection_text(found: Projection, place: str) -> str:
    """What training starts from: a line of what was taken, and one for each kind of exception."""
    lines = [f"from {place}: {counted(len(found.taken), 'parameter')} of {_all(found)} taken"]
    if found.missing:
        lines.append(f"  new here: {listed(found.missing)}")
    if found.unlike:
        shapes = [f"{n} is {list(there)} there, {list(here)} here"
                  for n, (there, here) in found.unlike.items()]  # fmt: skip
        lines.append(f"  of another shape, not taken: {listed(shapes)}")
    if found.averaged:
        worst = [f"{name} by up to {most:.3g}" for name, most in found.averaged.items()]
        lines.append(f"  tied here and unlike there, averaged: {listed(worst)}")
    if found.unused:
        lines.append(f"  not in this model: {listed(found.unused)}")
    return "\n".join(lines)


def _all(found: Projection) -> int:
    return len(found.taken) + len(found.missing) + len(found.unlike)


class Lines(Watch):
    """One line an epoch."""

    epochs = 0

    def begin(self, position: Position, settings: TrainSettings) -> None:
        self.epochs = settings.epochs
        if position.step:
            say(f"going on in epoch {position.epoch + 1}, after step {position.step}")

    def epoch(self, row: Mapping[str, float], remarks: str = "") -> None:
        say(self.line(row, remarks))

    def line(self, row: Mapping[str, float], remarks: str) -> str:
        """What is told of an epoch."""
        text = f"epoch {int(row['epoch'])}/{self.epochs}  {_row_text(row)}"
        return f"{text} | {remarks}" if remarks else text

    def close(self) -> None:
        """Training is over, or was interrupted."""


class Live(Lines):
    """A bar with loss, metrics, samples a second and the time left; closed epochs stay above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True, no_color=not coloured(), highlight=False)
        self.progress: Any = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self.task: Any = None
        self.drawn = 0.0
        self.started = time.monotonic()
        self.samples = 0
        self.seen = (0, 0)

    def begin(self, position: Position, settings: TrainSettings) -> None:
        super().begin(position, settings)
        total = None if position.length is None else position.length * settings.epochs
        self.progress.start()
        self.task = self.progress.add_task("", total=total, epoch="", told="")
        self.progress.update(self.task, completed=position.step)

    def step(self, now: Now) -> None:
        epoch, samples = self.seen
        self.samples += now.samples - (samples if epoch == now.epoch else 0)
        self.seen = (now.epoch, now.samples)
        at = time.monotonic()
        if at - self.drawn < REFRESH:
            return
        self.drawn = at
        speed = self.samples / max(1e-9, at - self.started)
        told = f"{metrics_text(now.averages())}, {speed:,.0f} samples/s"
        total = None if now.batches is None else now.batches * now.epochs
        self.progress.update(
            self.task, completed=now.step, total=total, epoch=f"{now.epoch}/{now.epochs}", told=told
        )
        self.progress.refresh()

    def epoch(self, row: Mapping[str, float], remarks: str = "") -> None:
        self.progress.print(self.line(row, remarks), markup=False)

    def close(self) -> None:
        self.progress.stop()
