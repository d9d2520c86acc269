"""The training loop: epochs, averages, early stopping, checkpoints, interruption, resuming.

It works on anything that is `Trainable`, and its whole state beside the numbers is a `Position`.
The order of samples follows from seed and epoch alone, so that a run that was stopped anywhere and
resumed ends with the same bits as one that was not.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any, Protocol

import numpy as np

from tiedgraph.diagnostics import DataError, RunError
from tiedgraph.passes.settings import Em, TrainSettings
from tiedgraph.runtime.data import Data, Dataset, TaskData, by_length, order_of
from tiedgraph.runtime.optim import rate_at

Array = np.ndarray[Any, np.dtype[Any]]
Sums = Mapping[str, Array]
COUNT = "count:"  # before the names of sums, for how many samples they are over
VALIDATE = "validate_"  # before the names of what is measured on validation data


@dataclass(frozen=True)
class Snapshot:
    """All that a model learnt. numbers: by storage; slots: what the optimiser keeps, by storage.

    steps: made so far, from which dropout draws its keys; updates: those of the optimiser.
    samples: of the training data, which the cost of soft ties is divided by.
    heard: paths of phonemes of word models that were said in it.
    """

    numbers: Mapping[str, Array]
    slots: Mapping[str, Array]
    steps: int
    updates: int
    samples: int = 1
    heard: frozenset[str] = frozenset()


class Trainable(Protocol):
    """What is trained: `tiedgraph.model.Model`, and small stand-ins in tests."""

    def train_batch(self, arrays: Mapping[str, Any], rate: float, epoch: float, like: int) -> Sums:
        """One step; the sums of the batch before it. Raises RunError, with nothing changed.

        epoch: how many are done, with the part of this one, for what changes over epochs.
        like: samples of a whole batch, where this may be the last and smaller one.
        """

    def evaluate_batch(self, arrays: Mapping[str, Any], like: int) -> Sums:
        """The sums of a batch."""

    def summarise(self, sums: Sums, samples: int) -> dict[str, float]:
        """Loss and metrics from sums over `samples` samples."""

    def larger_is_better(self, name: str) -> bool:
        """Of one of the names that `summarise` answers."""

    def components(self) -> list[dict[str, Any]]:
        """A row for each component of each mixture; none without soft ties."""

    def gather_batch(self, arrays: Mapping[str, Any], like: int, first: bool, epoch: int) -> Sums:
        """The batch's part in a step of expectation-maximisation; the sums of the batch.

        first: of its epoch, the `epoch`-th, before which mixtures may split. Raises RunError.
        """

    def maximise(self) -> None:
        """The step itself, after the last batch."""

    def remarks(self) -> str:
        """What else there is to tell of the model after an epoch, in a few words."""

    def snapshot(self) -> Snapshot:
        """A copy of everything that training changes."""

    def restore(self, snapshot: Snapshot) -> None:
        """The inverse of `snapshot`."""


@dataclass
class Position:
    """How far training is. Losses and metrics of the unfinished epoch are summed up in `sums`.

    epoch: epochs done; batch: batches done of the next; step: of all. length: batches of an epoch,
    None until known. best: the monitored value of `best_epoch`; waited: epochs since then.
    mixtures: a row for each component of each soft tie and epoch, from epoch 0, before training.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    samples: int = 0
    sums: dict[str, Array] = field(default_factory=dict)
    length: int | None = None
    best: float | None = None
    best_epoch: int = 0
    waited: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    mixtures: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Now:
    """What a progress display is told after each step.

    epoch: from 1; batch: batches done of it, of `batches` (None if not known); samples: seen in it.
    averages: loss and metrics over the epoch so far, computed when called.
    """

    epoch: int
    epochs: int
    batch: int
    batches: int | None
    step: int
    samples: int
    rate: float
    seconds: float
    averages: Callable[[], dict[str, float]]


class Watch:
    """Told of what happens; this one shows nothing."""

    def begin(self, position: Position, settings: TrainSettings) -> None:
        """Training starts, or goes on from a position."""

    def step(self, now: Now) -> None:
        """A step was made."""

    def epoch(self, row: Mapping[str, float], remarks: str = "") -> None:
        """An epoch was closed; the row of the history, and what else the model has to tell."""

    def saved(self, position: Position) -> None:
        """A checkpoint was written."""

    def end(self, position: Position) -> None:
        """Training ended, in whatever way."""


class Store(Protocol):
    """Where checkpoints go: `tiedgraph.runtime.checkpoint.Run`."""

    @property
    def place(self) -> str:
        """For messages."""

    def save(self, now: Snapshot, best: Snapshot | None, position: Position) -> None:
        """Writes all of it, or leaves what was there. best: the numbers to use, if not `now`'s."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM: the step was finished and, with a store, saved.

    exit_code: 130 or 143. The message says where training stopped and how to go on.
    """

    def __init__(self, number: int, position: Position, place: str | None) -> None:
        done = f"stopped in epoch {position.epoch + 1}, after step {position.step}"
        kept = f"; saved in {place}: --resume goes on from here" if place else ""
        super().__init__(done + kept)
        self.exit_code = 128 + number
        self.position = position


# ---------------------------------------------------------------- evaluation


class Averages:
    """Sums over batches. Losses are means over a batch, so they count by its samples.

    A step may be of some tasks only; then sums tell beside each loss how many samples it had.
    """

    def __init__(self, sums: Mapping[str, Array] | None = None, samples: int = 0) -> None:
        self.sums = dict(sums or {})
        self.samples = samples

    def add(self, sums: Sums, samples: int) -> None:
        """Adds one batch."""
        for name, found in sums.items():
            factor = sums.get(f"{COUNT}{name}", samples) if name.startswith("total:") else 1
            part = np.asarray(found, np.float64) * factor
            self.sums[name] = self.sums[name] + part if name in self.sums else part
        self.samples += samples


def evaluate(
    model: Trainable,
    data: Data,
    size: int,
    stopped: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Loss and metrics over all samples; `stopped` is called between batches and may raise."""
    averages = Averages()
    for arrays, samples in data.batches(size):
        averages.add(model.evaluate_batch(arrays, size), samples)
        stopped()
    if not averages.samples:
        raise DataError("there are no samples to evaluate on")
    return model.summarise(averages.sums, averages.samples)


# ---------------------------------------------------------------- the loop


def fit(
    model: Trainable,
    train: Data,
    validate: Data | None,
    settings: TrainSettings,
    *,
    store: Store | None = None,
    watch: Watch | None = None,
    start: Position | None = None,
    best: Snapshot | None = None,
    every: float = 30.0,
) -> list[dict[str, float]]:
    """Trains up to `settings.epochs` epochs; answers the history, one row an epoch.

    A row has epoch (from 1), step, rate, seconds, loss and metrics over the epoch's training
    batches, and with validation data the same measured on them, named `validate_...`.
    start, best: what a store gave back, with the model restored to it. every: seconds between two
    checkpoints within an epoch. With `keep = best` the model ends with the numbers of the epoch
    whose monitored value was best (on validation data where there are any).

    Raises RunError when the loss or a gradient is not finite, Interrupted on Ctrl-C and, with a
    store, on SIGTERM; DataError for batches that do not fit.
    """
    with _signals(store is not None) as stop:
        loop = _Loop(model, train, validate, settings, store, watch or Watch(), stop, every)
        loop.position = start or Position()
        loop.best = best
        loop.run()
    return loop.position.history


class _Loop:
    def __init__(
        self,
        model: Trainable,
        train: Data,
        validate: Data | None,
        settings: TrainSettings,
        store: Store | None,
        watch: Watch,
        stop: _Stop,
        every: float,
    ) -> None:
        self.model = model
        self.train = train
        self.validate = validate
        self.settings = settings
        self.store = store
        self.watch = watch
        self.stop = stop
        self.every = every
        self.position = Position()
        self.best: Snapshot | None = None
        self.before: Snapshot | None = None  # an epoch that is made of one step
        self.saved_at = self.clock = time.monotonic()
        self.saved_step = -1

    def run(self) -> None:
        position = self.position
        if isinstance(self.train, Dataset):
            position.length = self.train.steps(self.settings.batch)
        elif isinstance(self.train, TaskData):
            position.length = self.train.steps(self.settings.batch, self.settings.tasks)
        self.watch.begin(position, self.settings)
        try:
            if not position.step:
                self._note_mixtures()
                self._save()  # a place that cannot be written shows now, not after an epoch
            while position.epoch < self.settings.epochs and not self._patience_is_over():
                self._epoch()
            if self.settings.keep == "best" and self.best is not None:
                last = self.model.snapshot()
                self._save(last)
                self.model.restore(_with_numbers(last, self.best))
            else:
                self._save()
        except RunError as error:
            raise self._told_where(error) from None
        finally:
            self.watch.end(position)

    def _told_where(self, error: RunError) -> RunError:
        if self.store is None or self.saved_step < 0:
            return error
        return RunError(
            f"{error}. The checkpoint of step {self.saved_step} stays in {self.store.place}"
        )

    def _epoch(self) -> None:
        position, settings = self.position, self.settings
        by_em = _is_by_em(settings, position.epoch)
        self.before = self.model.snapshot() if by_em else None
        order = None
        if by_em and isinstance(self.train, Dataset):
            order = by_length(self.train)
        elif settings.shuffle and isinstance(self.train, Dataset):
            order = order_of(self.train.samples, settings.seed, position.epoch)
        averages = Averages(position.sums, position.samples)
        if isinstance(self.train, TaskData):
            batches = self.train.turns(settings, position.epoch, position.batch)
        else:
            batches = self.train.batches(settings.batch, order, position.batch)
        for arrays, samples in batches:
            rate = rate_at(settings, position.step, position.length, settings.epochs)
            part = position.batch / position.length if position.length else 0.0
            if by_em:
                first = not position.batch
                found = self.model.gather_batch(arrays, settings.batch, first, position.epoch)
            else:
                found = self.model.train_batch(arrays, rate, position.epoch + part, settings.batch)
            averages.add(found, samples)
            position.sums, position.samples = averages.sums, averages.samples
            position.batch += 1
            position.step += 1
            self._tick()
            self.watch.step(self._now(rate, averages))
            self._stop_if_asked()
            if time.monotonic() - self.saved_at > self.every and not by_em:
                self._save()
        if not position.batch:
            raise DataError(
                f"the data gave no batches in epoch {position.epoch + 1}; an iterable must start "
                "again for each epoch: give a list, or an object with __iter__"
            )
        if by_em:
            self.model.maximise()
        self._close(averages)
        if time.monotonic() - self.saved_at > min(2.0, self.every):
            self._save()

    def _close(self, averages: Averages) -> None:
        """Ends an epoch. Until it is through, the position stays at the last batch."""
        position = self.position
        measured = self.model.summarise(averages.sums, averages.samples)
        if self.validate is not None:
            found = evaluate(
                self.model, self.validate, self.settings.batch, lambda: self._stop_if_asked()
            )
            if not math.isfinite(found["loss"]):
                raise RunError(
                    f"the loss on the validation data is {found['loss']} after epoch "
                    f"{position.epoch + 1}"
                )
            measured |= {f"{VALIDATE}{name}": value for name, value in found.items()}
        self._tick()
        last = position.step - 1
        row = {
            "epoch": position.epoch + 1,
            "step": position.step,
            "rate": rate_at(self.settings, last, position.length, self.settings.epochs),
            "seconds": round(position.seconds, 3),
            **measured,
        }
        position.history.append(row)
        position.length = position.batch
        position.epoch += 1
        position.batch = position.samples = 0
        position.sums = {}
        self._compare(measured)
        self._note_mixtures()
        self.watch.epoch(row, self.model.remarks())

    def _note_mixtures(self) -> None:
        rows = self.model.components()
        self.position.mixtures += [{"epoch": self.position.epoch, **row} for row in rows]

    def _compare(self, measured: Mapping[str, float]) -> None:
        """Keeps the numbers if the monitored value is the best so far."""
        name, position = self.settings.monitor, self.position
        if name not in measured:  # the only loss, which is told as `loss`
            name = "loss"
        value = measured.get(f"{VALIDATE}{name}", measured[name])
        sign = -1.0 if self.model.larger_is_better(name) else 1.0
        better = position.best is None or sign * value < sign * position.best
        if not better or not math.isfinite(value):
            position.waited += 1
            return
        position.best, position.best_epoch, position.waited = value, position.epoch, 0
        if self.settings.keep == "best":
            self.best = self.model.snapshot()

    def _patience_is_over(self) -> bool:
        patience = self.settings.patience
        return patience is not None and self.position.waited >= patience

    def _now(self, rate: float, averages: Averages) -> Now:
        position = self.position
        return Now(
            position.epoch + 1,
            self.settings.epochs,
            position.batch,
            position.length,
            position.step,
            position.samples,
            rate,
            position.seconds,
            lambda: self.model.summarise(averages.sums, averages.samples),
        )

    def _tick(self) -> None:
        now = time.monotonic()
        self.position.seconds += now - self.clock
        self.clock = now

    def _stop_if_asked(self) -> None:
        if self.stop.signal is None:
            return
        if self.before is not None:
            self._back_to_the_epoch(self.before)
        self._save()
        place = self.store.place if self.store is not None else None
        raise Interrupted(self.stop.signal, self.position, place)

    def _back_to_the_epoch(self, before: Snapshot) -> None:
        """What a part of an epoch gathered is not kept, so its splits and its step are undone."""
        self.model.restore(before)
        position = self.position
        position.step -= position.batch
        position.batch = position.samples = 0
        position.sums = {}

    def _save(self, now: Snapshot | None = None) -> None:
        if self.store is None:
            return
        self.store.save(now or self.model.snapshot(), self.best, self.position)
        self.saved_at, self.saved_step = time.monotonic(), self.position.step
        self.watch.saved(self.position)


def _is_by_em(settings: TrainSettings, epoch: int) -> bool:
    method = settings.method
    return isinstance(method, Em) and (not method.epochs or epoch < method.epochs)


def _with_numbers(last: Snapshot, best: Snapshot) -> Snapshot:
    return replace(last, numbers=best.numbers)


# ---------------------------------------------------------------- signals


class _Stop:
    """Which signal asked to stop, if one did."""

    def __init__(self) -> None:
        self.signal: int | None = None


@contextmanager
def _signals(terminate: bool) -> Iterator[_Stop]:
    """Ctrl-C (and SIGTERM) only leave a note the first time; the second time they act as before."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        signal.signal(number, before[number])

    numbers: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM) if terminate else (signal.SIGINT,)
    for number in numbers:
        handler = signal.getsignal(number)
        # An ignored signal stays ignored (nohup), and one that C code handles stays with it.
        if handler not in (signal.SIG_IGN, None):
            before[number] = handler
            signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
