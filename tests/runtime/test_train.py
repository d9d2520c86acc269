"""The training loop on a stand-in: averages, stopping early, keeping the best, interruption."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

import tiedgraph as tg
from tiedgraph.diagnostics import DataError, RunError
from tiedgraph.passes.settings import Sgd, Step, TrainSettings
from tiedgraph.runtime.data import Dataset
from tiedgraph.runtime.train import (
    Interrupted,
    Now,
    Position,
    Snapshot,
    Watch,
    evaluate,
    fit,
)


class Model:
    """One number that steps add the batch's mean to; its loss on validation data is a script."""

    def __init__(self, script: list[float] | None = None, dies: int | None = None) -> None:
        self.number = 0.0
        self.steps = 0
        self.script = script
        self.dies = dies
        self.measured = 0
        self.rates: list[float] = []
        self.seen: list[float] = []
        self.during: Callable[[Model], None] = lambda model: None

    def components(self) -> list[dict[str, object]]:
        return []

    def remarks(self) -> str:
        return ""

    def train_batch(
        self, arrays: Mapping[str, Any], rate: float, epoch: float, like: int
    ) -> dict[str, np.ndarray]:
        if self.steps == self.dies:
            raise RunError(f"the loss is nan in step {self.steps}")
        x = np.asarray(arrays["x"], np.float64)
        self.steps += 1
        self.number += rate * float(x.mean()) * self.steps
        self.rates.append(rate)
        self.seen += x.tolist()
        self.during(self)
        return {"total:loss": np.array([x.mean()]), "collect:right": np.array([(x > 2).sum()])}

    def evaluate_batch(self, arrays: Mapping[str, Any], like: int) -> dict[str, np.ndarray]:
        self.measured += 1
        self.during(self)
        value = self.number if self.script is None else self.script[self.measured - 1]
        return {"total:loss": np.array([value]), "collect:right": np.array([value])}

    def summarise(self, sums: Mapping[str, np.ndarray], samples: int) -> dict[str, float]:
        return {
            "loss": float(sums["total:loss"][0]) / samples,
            "right": float(sums["collect:right"][0]) / samples,
        }

    def larger_is_better(self, name: str) -> bool:
        return name == "right"

    def snapshot(self) -> Snapshot:
        return Snapshot({"w": np.array([self.number])}, {}, self.steps, self.steps)

    def restore(self, snapshot: Snapshot) -> None:
        self.number, self.steps = float(snapshot.numbers["w"][0]), snapshot.steps


class Store:
    """Keeps what is saved."""

    place = "a run"

    def __init__(self) -> None:
        self.saved: list[tuple[Snapshot, Snapshot | None, Position]] = []

    def save(self, now: Snapshot, best: Snapshot | None, position: Position) -> None:
        self.saved.append((now, best, deepcopy(position)))


def data(samples: int = 5) -> Dataset:
    return Dataset({"x": np.arange(samples, dtype=np.float64)}, samples)


def settings(**changes: Any) -> TrainSettings:
    return TrainSettings(**({"optimizer": Sgd(0.5), "batch": 2, "epochs": 3} | changes))


def test_a_row_holds_means_over_all_samples() -> None:
    model = Model(script=[4.0, 5.0, 6.0])
    history = fit(model, data(), data(1), settings())
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert [row["step"] for row in history] == [3, 6, 9]
    assert [row["loss"] for row in history] == [2.0] * 3  # not the mean of means over batches
    assert [row["right"] for row in history] == [0.4] * 3
    assert [row["validate_loss"] for row in history] == [4, 5, 6]
    assert all(row["rate"] == 0.5 and row["seconds"] >= 0 for row in history)


def test_every_epoch_has_its_order_or_the_files() -> None:
    model = Model()
    fit(model, data(), None, settings())
    epochs = [model.seen[i : i + 5] for i in (0, 5, 10)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    again, other, plain = Model(), Model(), Model()
    fit(again, data(), None, settings())
    fit(other, data(), None, settings(seed=1))
    fit(plain, data(), None, settings(shuffle=False))
    assert again.seen == model.seen != other.seen
    assert plain.seen == [0, 1, 2, 3, 4] * 3


def test_the_schedule_counts_epochs() -> None:
    model = Model()
    fit(model, data(), None, settings(schedule=Step(1, 0.5)))
    assert model.rates == [0.5] * 3 + [0.25] * 3 + [0.125] * 3


@pytest.mark.parametrize(
    ("monitor", "script", "epochs"),
    [
        ("loss", [3, 2, 2, 2, 1], 4),  # equal is no improvement
        ("loss", [3, 4, 2, 3, 3], 5),
        ("right", [1, 2, 1, 0, 9], 4),
        ("right", [1, float("nan"), float("nan"), 5, 6], 3),
    ],
)
def test_patience(monitor: str, script: list[float], epochs: int) -> None:
    model = Model([float(x) for x in script])
    if monitor == "right":  # the loss must stay finite
        summarise = model.summarise
        model.summarise = lambda sums, samples: summarise(sums, samples) | {"loss": 1.0}  # type: ignore[method-assign]
    history = fit(model, data(), data(1), settings(epochs=5, patience=2, monitor=monitor))
    assert len(history) == epochs


def test_the_best_epoch_is_kept_and_training_could_go_on() -> None:
    script = [3.0, 1.0, 2.0]
    model, plain, store = Model(script), Model(script), Store()
    fit(model, data(), data(1), settings(keep="best"), store=store)
    fit(plain, data(), data(1), settings(epochs=2))
    assert model.number == plain.number
    fit(whole := Model(script), data(), data(1), settings())
    now, best, position = store.saved[-1]
    assert best is not None
    assert now.numbers["w"] == whole.number != plain.number == best.numbers["w"]
    assert (position.epoch, position.best, position.best_epoch) == (3, 1.0, 2)


# ---------------------------------------------------------------- interruption


def stop_at(step: int, number: int) -> Callable[[Model], None]:
    def during(model: Model) -> None:
        if model.steps == step and model.measured == 0:
            os.kill(os.getpid(), number)

    return during


@pytest.mark.parametrize("step", range(1, 10))
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_was_stopped_goes_on_to_the_same_end(step: int, number: int) -> None:
    whole = Model()
    expected = fit(whole, data(), None, settings(keep="best"))
    model, store = Model(), Store()
    model.during = stop_at(step, number)
    with pytest.raises(Interrupted) as caught:
        fit(model, data(), None, settings(keep="best"), store=store)
    assert caught.value.exit_code == 128 + number
    assert model.steps == step
    assert f"after step {step}" in str(caught.value)
    assert "saved in a run: --resume goes on" in str(caught.value)
    now, best, position = store.saved[-1]
    other = Model()
    other.restore(now)
    found = fit(other, data(), None, settings(keep="best"), store=store, start=position, best=best)
    assert other.number == whole.number
    assert model.seen + other.seen == whole.seen
    assert model.rates + other.rates == whole.rates
    for ours, theirs in zip(found, expected, strict=True):
        assert {k: v for k, v in ours.items() if k != "seconds"} == {
            k: v for k, v in theirs.items() if k != "seconds"
        }


def test_interruption_while_measuring_repeats_the_measurement_only() -> None:
    whole = Model()
    expected = fit(whole, data(), data(4), settings())
    model, store = Model(), Store()

    def during(model: Model) -> None:
        if model.measured == 3:  # the first batch of the second measurement
            os.kill(os.getpid(), signal.SIGINT)
            model.during = lambda model: None

    model.during = during
    with pytest.raises(Interrupted):
        fit(model, data(), data(4), settings(), store=store)
    now, best, position = store.saved[-1]
    assert (position.epoch, position.batch) == (1, 3)
    other = Model()
    other.restore(now)
    found = fit(other, data(), data(4), settings(), start=position, best=best)
    assert [row["validate_loss"] for row in found] == [row["validate_loss"] for row in expected]
    assert other.number == whole.number


def test_without_a_run_the_step_is_finished_all_the_same() -> None:
    model = Model()
    model.during = stop_at(4, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(model, data(), None, settings())
    assert "saved" not in str(caught.value)
    assert model.steps == 4


def test_handlers_come_back_and_the_second_signal_acts_at_once() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    model = Model()

    def twice(model: Model) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    model.during = twice
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(model, data(), None, settings(), store=Store())
    assert not isinstance(caught.value, Interrupted)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_in_another_thread_signals_are_left_alone() -> None:
    found: list[Any] = []
    thread = threading.Thread(
        target=lambda: found.append(fit(Model(), data(), None, settings(), store=Store()))
    )
    thread.start()
    thread.join()
    assert len(found[0]) == 3


# ---------------------------------------------------------------- failures


def test_a_loss_that_is_not_finite_leaves_the_last_checkpoint() -> None:
    store = Store()
    with pytest.raises(RunError) as caught:
        fit(Model(dies=5), data(), None, settings(), store=store, every=0.0)
    assert str(caught.value) == (
        "the loss is nan in step 5. The checkpoint of step 5 stays in a run"
    )
    assert store.saved[-1][2].step == 5


def test_a_validation_loss_that_is_not_finite_stops() -> None:
    with pytest.raises(RunError, match="loss on the validation data is inf after epoch 2"):
        fit(Model([1.0, float("inf")]), data(), data(1), settings())


def test_an_iterable_must_start_again_for_each_epoch() -> None:
    parts = [{"x": np.array([1.0, 2.0])}, {"x": np.array([3.0])}]

    class Batches:
        def __init__(self, source: Any) -> None:
            self.source = source

        def batches(self, size: int, order: Any = None, first: int = 0) -> Any:
            assert order is None
            yield from ((part, len(part["x"])) for part in list(self.source)[first:])

    history = fit(Model(), Batches(parts), None, settings())  # type: ignore[arg-type]
    assert [row["loss"] for row in history] == [2.0] * 3
    with pytest.raises(DataError, match="the data gave no batches in epoch 2; an iterable must"):
        fit(Model(), Batches(iter(parts)), None, settings())  # type: ignore[arg-type]


def test_nothing_to_evaluate_on() -> None:
    with pytest.raises(DataError, match="no samples"):
        evaluate(Model(), data(0), 3)


# ---------------------------------------------------------------- what is told


def test_a_watch_is_told_of_everything() -> None:
    class Told(Watch):
        def __init__(self) -> None:
            self.events: list[str] = []
            self.last: Now | None = None

        def begin(self, position: Position, settings: TrainSettings) -> None:
            self.events.append("begin")

        def step(self, now: Now) -> None:
            self.events.append(f"step {now.epoch}.{now.batch}/{now.batches}")
            self.last = now
            assert now.averages()["loss"] >= 0

        def epoch(self, row: Mapping[str, float], remarks: str = "") -> None:
            self.events.append(f"epoch {row['epoch']}")

        def saved(self, position: Position) -> None:
            self.events.append("saved")

        def end(self, position: Position) -> None:
            self.events.append("end")

    watch, store = Told(), Store()
    fit(Model(), data(3), None, settings(epochs=2), store=store, watch=watch)
    assert watch.events == [
        "begin",
        "saved",
        "step 1.1/2",
        "step 1.2/2",
        "epoch 1",
        "step 2.1/2",
        "step 2.2/2",
        "epoch 2",
        "saved",
        "end",
    ]
    assert watch.last is not None
    assert (watch.last.samples, watch.last.step, watch.last.epochs) == (3, 4, 2)


def test_a_finished_run_that_goes_on_does_nothing() -> None:
    store = Store()
    fit(Model(), data(), None, settings(), store=store)
    now, _, position = store.saved[-1]
    model = Model()
    model.restore(now)
    history = fit(model, data(), None, settings(), start=position)
    assert len(history) == 3
    assert not model.seen


def test_losses_have_names_where_there_are_several() -> None:
    text = """
        input x: float[3]
        target t: float[3]
        a = dense(x, 3)
        loss mse(a, t)
        LOSS
        metric rmse(a, t)
        train { optimizer = sgd(0.01), monitor = mse, keep = best, epochs = 2 }
    """
    arrays = {"x": np.ones((4, 3)), "t": np.zeros((4, 3))}
    one = tg.compile_text(text.replace("LOSS", ""), dtype="float64")
    assert set(one.evaluate(arrays)) == {"loss", "rmse"}
    first, second = one.fit(arrays)
    assert second["loss"] < first["loss"]
    several = tg.compile_text(text.replace("LOSS", "loss mae(a, t) weight 0.5"), dtype="float64")
    found = several.evaluate(arrays)
    assert set(found) == {"loss", "mse", "mae", "rmse"}
    assert found["loss"] == pytest.approx(found["mse"] + found["mae"])
    assert found["mse"] == pytest.approx(found["rmse"] ** 2)
    assert len(several.fit(arrays, arrays)) == 2
