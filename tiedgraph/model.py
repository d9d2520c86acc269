"""A compiled model: what `tiedgraph.compile` answers and users call."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tiedgraph import compiler
from tiedgraph.codegen import kernels
from tiedgraph.diagnostics import DataError, Diagnostic, RunError, nearest
from tiedgraph.ir.graph import Graph, Term
from tiedgraph.ir.types import Extent
from tiedgraph.ops import BY_NAME
from tiedgraph.passes.memory import plan_parameters
from tiedgraph.passes.settings import Em, TrainSettings, train_settings
from tiedgraph.passes.simplify import Mode
from tiedgraph.passes.tasks import only_tasks
from tiedgraph.passes.ties import reached, statistics
from tiedgraph.runtime import optim
from tiedgraph.runtime.batch import Batch, full_names, prepare, quick
from tiedgraph.runtime.checkpoint import save_model
from tiedgraph.runtime.clusters import Frames
from tiedgraph.runtime.data import arranged, is_by_task, load
from tiedgraph.runtime.em import Estimator
from tiedgraph.runtime.heard import Heard
from tiedgraph.runtime.identity import Origin
from tiedgraph.runtime.initialise import initial
from tiedgraph.runtime.mixture import MixturePass, MixtureState
from tiedgraph.runtime.program import Answer, Numbers, Program
from tiedgraph.runtime.short import refuse_short
from tiedgraph.runtime.train import COUNT, Snapshot, Watch, evaluate, fit
from tiedgraph.ties.assign import Projection, assign, project
from tiedgraph.ties.layout import read
from tiedgraph.ties.mixture import PARTS
from tiedgraph.ties.view import layout

if TYPE_CHECKING:
    import networkx as nx

Array = np.ndarray[Any, np.dtype[Any]]


class Model:
    """One model with its numbers. Calls from several Python threads are serialised.

    graph: a checked graph (`tiedgraph.compiler.check`). origin: what it was read from, its dtype
    (float32 or float64), and the seed of initial numbers and dropout; a saved model keeps it.
    threads: at most so many are used. samples: number of training samples, which the cost of soft
    ties is divided by. warnings: what there is to say of it since it was loaded.
    """

    def __init__(self, graph: Graph, origin: Origin, *, threads: int = 2, samples: int = 1) -> None:
        dtype, seed = origin.dtype, origin.seed
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be float32 or float64, not {dtype}")
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self.checked = graph
        self.dtype = dtype
        self.seed = seed
        self.threads = threads
        self.samples = samples
        self.origin = origin
        self.settings: TrainSettings = train_settings(graph)
        self.reached = frozenset(reached(graph))
        self.numbers = Numbers(plan_parameters(graph, self.reached), dtype)
        self.steps = 0
        self._lock = threading.RLock()
        self._programs: dict[tuple[Any, ...], Program] = {}
        for storage in graph.storages.values():
            self.numbers.storage(storage.id)[:] = initial(storage, seed).reshape(-1)
        self._mixtures = {
            name: MixturePass(mixture, self.numbers, threads)
            for name, mixture in graph.mixtures.items()
        }
        for drawn in self._mixtures.values():
            drawn.start()
        self._declared = tuple(
            name for name, item in graph.data.items() if item.role in ("input", "target")
        )
        self._tasks = {term.task for term in graph.losses if term.task}
        self._reached_by: dict[tuple[str, ...], frozenset[str]] = {}
        self._estimator: Estimator | None = None
        self._frames: dict[str, Frames] = {}  # of codebooks that have no place yet
        self._heard = Heard(graph, self._declared)
        self.warnings: tuple[Diagnostic, ...] = ()
        self._epoch = inf  # before and after training, soft ties have their last strength
        rates = {
            f"{name}.{part}": rate
            for name, mixture in graph.mixtures.items()
            for part, rate in mixture.settings.rates().items()
        }
        self.optimiser = optim.Optimiser(self.settings, self.numbers, threads, rates)
        # Where running means and the like lie, which a step moves before its loss is known.
        regions = [
            self.numbers.plan.storages[name]
            for name in {graph.params[param].view.storage for param in statistics(graph)}
        ]
        self._statistics = np.array(
            [i for r in regions for i in range(r.offset, r.offset + r.size)], np.int64
        )
        # Whether there is nothing to do around a step that `Program.step` does not.
        tasks = any(task.name for task in graph.tasks)
        more = (self._heard, self._mixtures, tasks, self._statistics.size)
        self._only_steps = not any(more)

    # ------------------------------------------------------------ programs

    def program(
        self, mode: Mode, outputs: Iterable[str] | None = None, task: str | None = None
    ) -> Program:
        """The program for one use, of all tasks or one, compiled when first asked for."""
        key = _key(mode, outputs, task)
        with self._lock:
            if key not in self._programs:
                graph = self.checked if task is None else only_tasks(self.checked, [task])
                schedule = compiler.lower(graph, mode, self.dtype, outputs)
                self._programs[key] = Program(schedule, self.numbers, self.threads)
            return self._programs[key]

    def program_of(self, values: Mapping[str, str]) -> Program:
        """The program that computes values of the checked graph; see `values_of`."""
        key = ("values", *sorted(values.items()))
        with self._lock:
            if key not in self._programs:
                outputs = tuple(Term(name, value) for name, value in values.items())
                graph = self.checked.replace(losses=(), metrics=(), outputs=outputs)
                schedule = compiler.lower(graph, "predict", self.dtype)
                self._programs[key] = Program(schedule, self.numbers, self.threads)
            return self._programs[key]

    def _train(
        self, arrays: Mapping[str, Any], update: bool, like: int = 0
    ) -> tuple[dict[str, Array], Array]:
        """The sums of a batch, and the gradient, which the next call overwrites."""
        key = (self.seed, self.steps)
        sums: dict[str, Array] = {}
        total: Array | None = None
        for program, batch in self._batches("train", arrays, key):
            tape, _ = program.run(batch.arrays, batch.samples, batch.lengths, update, like)
            found, places = program.reduce(tape, batch.samples)
            sums |= self._sums(places, found, batch.samples)
            if total is None:
                total = found
            else:
                total[: self.numbers.plan.size] += found[: self.numbers.plan.size]
        assert total is not None
        return sums | self._complexity(total), total

    def _batches(
        self, mode: Mode, arrays: Mapping[str, Any], key: tuple[int, int] = (0, 0)
    ) -> list[tuple[Program, Batch]]:
        """What to run for a batch: of all tasks, or by task, which runs these tasks only."""
        if not is_by_task(arrays, self.checked):
            program = self.program(mode)
            return [(program, self._prepare(program, arrays, key))]
        found = []
        for task, own in arrays.items():
            if not any(term.task == task for term in self.checked.losses):
                raise DataError(f"task '{task}' declares no loss; add `loss ...` to it")
            program = self.program(mode, None, task)
            found.append((program, self._prepare(program, own, key)))
        return found

    def _complexity(self, gradient: Array | None) -> dict[str, Array]:
        """What each soft tie adds to the loss; its gradients are added to `gradient`."""
        return {
            f"total:{name}": np.array(
                [drawn.cost(drawn.settings.strength_at(self._epoch) / self.samples, gradient)]
            )
            for name, drawn in self._mixtures.items()
        }

    def _prepare(
        self, program: Program, arrays: Mapping[str, Any], key: tuple[int, int] = (0, 0)
    ) -> Batch:
        if program.plain is not None:
            batch = quick(program.plain, arrays)
            if batch is not None:
                return batch
        arrays = full_names(arrays, self._declared)
        return prepare(program.schedule.graph, arrays, self.dtype, key, self._declared)

    def _sums(
        self, places: Iterable[tuple[str, slice]], total: Array, samples: int
    ) -> dict[str, Array]:
        """What `total` and `collect` nodes summed, by node; with tasks, over how many samples."""
        sums: dict[str, Array] = {}
        for node, place in places:
            sums[node] = total[place].astype(np.float64)
            if self._tasks:
                sums[f"{COUNT}{node}"] = np.array([float(samples)])
        return sums

    # ------------------------------------------------------------ training and evaluation

    def train_batch(
        self, arrays: Mapping[str, Any], rate: float, epoch: float = inf, like: int = 0
    ) -> dict[str, Array]:
        """One step of the optimiser at the given rate; answers the batch's sums before it.

        epoch: epochs done, for the strength of soft ties. like: samples of the other batches, where
          this is the last one and may be smaller; it then runs in the same way.
        """
        with self._lock:
            found = self._again(arrays, rate, like)
            if found is not None:
                return self._sums(found.sums, found.total, 0)
            return self._train_batch(arrays, rate, epoch, like)

    def _train_batch(
        self, arrays: Mapping[str, Any], rate: float, epoch: float, like: int
    ) -> dict[str, Array]:
        """The same, whatever the step before was like; the lock is held."""
        self._needs_loss()
        if self._heard:
            self._heard.listen(arrays)
        self._epoch = epoch
        before = self.numbers.array[self._statistics] if self._statistics.size else None
        self.optimiser.set(rate, self._moved(arrays))
        try:
            if self._mixtures or is_by_task(arrays, self.checked):
                sums, total = self._train(arrays, update=True, like=like)
                self._needs_finite(_loss(sums))
                self.optimiser.step(total)
                for drawn in self._mixtures.values():
                    drawn.bound()
            else:
                sums = self._step(arrays, like)
        except RunError:
            if before is not None:
                self.numbers.array[self._statistics] = before
            raise
        self.steps += 1
        return sums

    def gather_batch(
        self, arrays: Mapping[str, Any], like: int = 0, first: bool = True, epoch: int = 0
    ) -> dict[str, Array]:
        """A batch's part in a step of expectation-maximisation; answers its sums.

        first: of its epoch, the `epoch`-th from 0, before which states are made alike and mixtures
          split as `method = em(...)` has it. Raises RunError where the model cannot be trained so.
        """
        with self._lock:
            self._needs_loss()
            self._heard.listen(arrays)
            method = self.settings.method
            assert isinstance(method, Em)
            if self._estimator is None:
                alone = not method.epochs
                self._estimator = Estimator(self.checked, self.numbers, alone)
            if first:
                self._estimator.clear()
                if epoch == 0 and method.flat:
                    self._estimator.flatten()
                    self._frames = {book: Frames() for book in self._estimator.books}
                stage, rest = divmod(epoch - (method.split - 1), method.every)
                if not rest and stage >= 0:
                    self._estimator.split(self.seed, stage)
            for book, frames in self._frames.items():
                frames.add(*self._frames_of(self._estimator.books[book], arrays))
            sums, total = self._train(arrays, update=False, like=like)
            self._needs_finite(_loss(sums))
            tape = self.program("train").latest
            samples = next(len(x) for x in full_names(arrays, self._declared).values())
            self._estimator.gather(total, tape.statistics, samples)
            return sums

    def maximise(self) -> None:
        """The step of expectation-maximisation after the last batch of an epoch."""
        with self._lock:
            assert self._estimator is not None
            assert isinstance(self.settings.method, Em)
            floor = self.settings.method.floor
            self._heard.pass_over(self._estimator.maximise(floor))
            for book, frames in self._frames.items():
                self._estimator.place(book, frames.all(), self.seed, floor)
            self._frames = {}
            self.steps += 1

    def _frames_of(self, value: str, arrays: Mapping[str, Any]) -> tuple[Array, Array]:
        """What a codebook is given, [samples, size, time], and the steps of each sample."""
        found = self.values_of({"frames": value}, arrays)
        x = found["frames"]
        return x, found.get("frames.length", np.full(len(x), x.shape[2]))

    def _step(self, arrays: Mapping[str, Any], like: int) -> dict[str, Array]:
        """The whole step of one program in one call; answers the batch's sums."""
        program = self.program("train")
        batch = self._prepare(program, arrays, (self.seed, self.steps))
        again = arrays if batch.plain and self._only_steps else None
        found = program.step(batch, like, self.optimiser, again)
        sums = self._sums(found.sums, found.total, batch.samples)
        self._finish(found)
        return sums

    def _again(self, arrays: Mapping[str, Any], rate: float, like: int) -> Answer | None:
        """The whole step, where it is like the one before; None, with nothing done, otherwise."""
        program = self._programs.get(_TRAIN)
        if program is None or not self._only_steps:
            return None
        self.optimiser.set(rate)
        found = program.again(arrays, like, self.optimiser)
        if found is not None:
            self._finish(found)
            self.steps += 1
        return found

    def _finish(self, found: Answer) -> None:
        """After a step ran. Raises RunError where it moved nothing, as something was not finite."""
        if self.optimiser.gate[0]:
            self._needs_finite(found.loss())
        self.optimiser.finish(found.total)

    def _needs_finite(self, loss: float) -> None:
        if not isfinite(loss):
            way_out = "A lower rate or clip = 1 in train { } may help"
            if self._heard and loss == inf:
                way_out = "Is a recording shorter than the chain of its word?"
            raise RunError(
                f"the loss is {loss} in step {self.steps}; the parameters are as "
                f"before this step. {way_out}"
            )

    def _moved(self, arrays: Mapping[str, Any]) -> frozenset[str] | None:
        """Owners that a step on these arrays moves, where that is not all."""
        if not is_by_task(arrays, self.checked) or self._tasks <= set(arrays):
            return None
        key = tuple(sorted(arrays))
        if key not in self._reached_by:
            self._reached_by[key] = frozenset(reached(only_tasks(self.checked, key)))
        return self._reached_by[key]

    def evaluate_batch(self, arrays: Mapping[str, Any], like: int = 0) -> dict[str, Array]:
        """The sums of one batch with dropout off and running statistics in use.

        like: as for `train_batch`.
        """
        with self._lock:
            sums: dict[str, Array] = {}
            for program, batch in self._batches("evaluate", arrays):
                tape, _ = program.run(batch.arrays, batch.samples, batch.lengths, like=like)
                found, places = program.reduce(tape, batch.samples)
                sums |= self._sums(places, found, batch.samples)
            return sums | self._complexity(None)

    def step(self, **arrays: Any) -> float:
        """One training step with the file's optimiser; answers the loss before it.

        Arrays are given by input name, batch first; see `prepare`. Raises DataError.
        """
        rate = optim.rate_at(self.settings, self.steps, None)
        with self._lock:
            found = self._again(arrays, rate, 0)
            if found is not None:
                return found.loss()
            return _loss(self._train_batch(arrays, rate, inf, 0))

    def loss(self, **arrays: Any) -> float:
        """The loss of a batch, as `evaluate` computes it (dropout off)."""
        self._needs_loss()
        return _loss(self.evaluate_batch(arrays))

    def value_and_grad(self, **arrays: Any) -> tuple[float, dict[str, Array]]:
        """The training loss and its gradient by owner, in the shapes of `free`.

        For numbers that are tied, the sum over all their uses. Changes nothing.
        """
        with self._lock:
            self._needs_loss()
            sums, total = self._train(arrays, update=False)
            gradients = {}
            for name in self.trained:
                region = self.numbers.plan.storages[name]
                part = total[region.offset : region.offset + region.size]
                gradients[name] = part.reshape(self.checked.storages[name].shape).copy()
            return _loss(sums), gradients

    def predict(self, outputs: Iterable[str] | None = None, **arrays: Any) -> dict[str, Array]:
        """The named outputs (all by default), each [batch, *shape].

        Only what they need is given and run. An output with a run-time size is zero beyond a
        sample's steps, and `NAME.length` beside it tells how many it has. Raises DataError.
        """
        with self._lock:
            if outputs is not None or not self.checked.outputs:
                self._needs_outputs(outputs or ())
            return self._predict(self.program("predict", outputs), arrays)

    def values_of(self, values: Mapping[str, str], arrays: Mapping[str, Any]) -> dict[str, Array]:
        """Values inside the model, as `predict` answers outputs. Raises DataError.

        values: by names that the answer has, their ids in the checked graph.
        """
        with self._lock:
            return self._predict(self.program_of(values), arrays)

    def _predict(self, program: Program, arrays: Mapping[str, Any]) -> dict[str, Array]:
        graph = program.schedule.graph
        batch = self._prepare(program, arrays)
        _, found = program.run(batch.arrays, batch.samples, batch.lengths)
        for term in graph.outputs if batch.lengths else ():
            if term.name in found:
                found.update(_trim(term.name, graph.type_of(term.value), found, batch))
        return found

    def _needs_outputs(self, outputs: Iterable[str]) -> None:
        known = [term.name for term in self.checked.outputs]
        if not known:
            raise DataError("the model declares no output; add `output NAME = ...` to it")
        for name in outputs:
            if name not in known:
                hint = nearest(name, known) or f"it has {', '.join(known)}"
                raise DataError(f"the model has no output '{name}'; {hint}")

    def _needs_loss(self) -> None:
        if not self.checked.losses:
            raise DataError("the model declares no loss; add `loss ...` to it")

    def summarise(self, sums: Mapping[str, Array], samples: int) -> dict[str, float]:
        """Loss and metrics from sums over `samples` samples (loss sums weighted by batch sizes).

        Where several losses add up, each is told by its name, too, times its weight.
        """
        terms = [term for term in self.checked.losses if f"total:{term.name}" in sums]
        losses = {term.name: _mean(sums, f"total:{term.name}", samples) for term in terms}
        losses |= {name: _mean(sums, f"total:{name}", samples) for name in self.checked.mixtures}
        result = {"loss": float(sum(losses.values()))}
        for task in dict.fromkeys(term.task for term in terms if term.task):
            own = [losses[term.name] for term in terms if term.task == task]
            result[f"{task}.loss"] = sum(own)
        if len(self.checked.losses) + len(self.checked.mixtures) > 1:
            result |= losses
        for term in self.checked.metrics:
            if f"collect:{term.name}" not in sums:
                continue
            node = self.checked.nodes[self.checked.values[term.value].producer]
            finish = BY_NAME[node.op].finish
            counted = f"collect:{term.name}"
            result[term.name] = finish(sums[counted]) if finish else _mean(sums, counted, samples)
        for term in terms:
            variance = f"{term.name}.balance.log_variance"
            if variance in self.checked.storages:
                result[variance] = float(self.numbers.storage(variance)[0])
        return result

    def larger_is_better(self, name: str) -> bool:
        """Of the loss or one of the metrics, by its name in the history."""
        for term in self.checked.metrics:
            if term.name == name:
                node = self.checked.nodes[self.checked.values[term.value].producer]
                return BY_NAME[node.op].larger_is_better
        return False

    def fit(
        self,
        train: Any,
        validate: Any = None,
        *,
        epochs: int | None = None,
        batch: int | None = None,
        watch: Watch | None = None,
    ) -> list[dict[str, float]]:
        """Trains with the settings of the file; answers one row of the history an epoch.

        train, validate: a path, a mapping of arrays, or an iterable of batches. epochs, batch: in
        place of the file's. Call it again to go on with `epochs` more. Raises DataError, RunError.
        """
        self._needs_loss()
        settings = replace(
            self.settings,
            epochs=epochs or self.settings.epochs,
            batch=batch or self.settings.batch,
            seed=self.seed,
        )
        data = load(train, self.checked, self.dtype)
        held_out = None if validate is None else load(validate, self.checked, self.dtype)
        for part in (data, held_out):
            if part is not None:
                refuse_short(self.checked, part)
        self.samples = getattr(data, "samples", self.samples)
        data = arranged(data, self.checked, settings)
        return fit(self, data, held_out, settings, watch=watch)

    def evaluate(self, data: Any, batch: int = 256) -> dict[str, float]:
        """Loss and metrics over all samples of a path, a mapping or an iterable of batches."""
        return evaluate(self, load(data, self.checked, self.dtype), batch)

    def snapshot(self) -> Snapshot:
        """A copy of everything that training changes."""
        with self._lock:
            plan = self.numbers.plan
            kept = self.optimiser.slots
            slots = {}
            for name in self.trained:
                region = plan.storages[name]
                slots[name] = kept[:, region.offset : region.offset + region.size].copy()
            counts = (self.steps, self.optimiser.steps, self.samples)
            return Snapshot(self.free, slots, *counts, self.heard)

    def restore(self, snapshot: Snapshot) -> None:
        """Puts a snapshot of this model back."""
        with self._lock:
            for name, array in snapshot.numbers.items():
                self.numbers.storage(name)[:] = np.asarray(array).reshape(-1)
            for name, array in snapshot.slots.items():
                region = self.numbers.plan.storages[name]
                part = slice(region.offset, region.offset + region.size)
                self.optimiser.slots[:, part] = np.asarray(array).reshape(-1, region.size)
            self.steps, self.optimiser.steps = snapshot.steps, snapshot.updates
            self.samples = snapshot.samples
            self._heard.start_from(snapshot.heard)

    @property
    def heard(self) -> frozenset[str]:
        """Paths of phonemes that were said in what the model was trained on."""
        return self._heard.paths

    @property
    def trained(self) -> list[str]:
        """Owners that the optimiser moves: trainable, and reached by a loss."""
        return [
            name
            for name, storage in self.checked.storages.items()
            if storage.trainable and name in self.reached
        ]

    # ------------------------------------------------------------ numbers

    @property
    def free(self) -> dict[str, Array]:
        """The free numbers behind the parameters, by owner; copies."""
        with self._lock:
            return {
                name: self.numbers.storage(name).reshape(storage.shape).copy()
                for name, storage in self.checked.storages.items()
            }

    @property
    def parameters(self) -> dict[str, Array]:
        """Every declared parameter as its layer sees it; copies."""
        free = self.free
        return {
            name: np.ascontiguousarray(
                read(layout(param.view.steps, free[param.view.storage].shape),
                     free[param.view.storage])
            )
            for name, param in self.checked.params.items()
        }  # fmt: skip

    @property
    def mixtures(self) -> dict[str, MixtureState]:
        """The mixture of each soft tie as it stands, by the tie's name."""
        with self._lock:
            return {name: drawn.state() for name, drawn in self._mixtures.items()}

    def drawn(self, tie: str) -> Array:
        """The numbers that a soft tie draws, [N]; a copy. Raises KeyError."""
        with self._lock:
            return self._mixtures[tie].drawn()

    def components(self) -> list[dict[str, Any]]:
        """The components of all mixtures as rows: tie, number, proportion, mean, width, held."""
        return [
            {
                "tie": name,
                "component": i,
                "proportion": float(state.proportions[i]),
                "mean": float(state.means[i]),
                "width": float(state.widths[i]),
                "held": int(state.held[i]),
            }
            for name, state in self.mixtures.items()
            for i in range(len(state.means))
        ]

    def remarks(self) -> str:
        """How far each mixture has come, in a few words."""
        from tiedgraph.explain.mixtures import brief

        return "; ".join(
            f"{name}: {brief(self._mixtures[name].settings, state)}"
            for name, state in self.mixtures.items()
        )

    def set(self, parameters: Mapping[str, Any]) -> None:
        """Sets parameters or owners by name; the rest stays.

        All is checked before anything changes: unknown names, shapes, numbers that are not finite,
        and members of one tie that disagree are ValueErrors.
        """
        with self._lock:
            found = assign(self.checked, self.free, parameters)
            for name, array in found.items():
                self.numbers.storage(name)[:] = array.reshape(-1)

    def start_from(self, other: Model | Mapping[str, Any]) -> Projection:
        """Takes another model's parameters by name, and begins anew from there.

        other: a model, or arrays by parameter. Parameters that it does not have stay; where ties
        here bind what differs there, numbers become the mean. A mixture that the other does not
        have starts from the new numbers. Optimiser and step count begin anew. Answers what was
        taken and what was not. Raises ValueError for numbers that are not finite.
        """
        given = other.parameters if isinstance(other, Model) else other
        for name, array in given.items():
            if not np.isfinite(np.asarray(array, np.float64)).all():
                raise ValueError(f"'{name}' holds numbers that are not finite")
        with self._lock:
            found = project(self.checked, self.free, given)
            for name, array in found.storages.items():
                self.numbers.storage(name)[:] = np.asarray(array).reshape(-1)
            if isinstance(other, Model):
                self._heard.add(other.heard)
            for name, drawn in self._mixtures.items():
                if any(f"{name}.{part}" not in found.taken for part in PARTS):
                    drawn.start()
            self.optimiser.slots[:] = 0
            self.steps = self.optimiser.steps = 0
            return found

    def save(self, path: str | Path) -> None:
        """Writes the model as a folder that `tiedgraph.load` answers; all of it or nothing.

        Raises RunError where something else is there, or it cannot be written.
        """
        save_model(Path(path), self.checked, self.origin, self.snapshot())

    # ------------------------------------------------------------ about the model

    def inputs_of(self, outputs: Iterable[str] | None = None) -> list[str]:
        """Names of the inputs that the named outputs (all by default) are computed from."""
        graph = self.program("predict", outputs).schedule.graph
        return [name for name, item in graph.data.items() if item.role == "input"]

    def warm(self) -> dict[str, dict[str, Any]]:
        """Compiles every program that the model has a use for; tells what each is made of.

        Run-time sizes are set to a few steps more than the model needs.
        """
        modes: list[Mode] = ["train", "evaluate"] if self.checked.losses else []
        modes += ["predict"] if self.checked.outputs else []
        told: dict[str, dict[str, Any]] = {}
        for mode in modes:
            program = self.program(mode)
            lengths = some_lengths(program.schedule.graph)
            tape = program.tape(self.settings.batch, lengths)
            told[mode] = {
                "rows": len(tape.rows),
                "kernels": len({row.kernel for row in tape.rows}),
                "tile": tape.lanes,
                "arena_bytes": tape.arena * np.dtype(self.dtype).itemsize,
                "lengths": lengths,
            }
        return told

    @cached_property
    def graph(self) -> nx.DiGraph:
        """The checked model as a frozen `networkx.DiGraph`."""
        return self.checked.digraph

    def explain(self, name: str | None = None) -> str:
        """What is shared and what it saves, as text; of one parameter with `name`."""
        from tiedgraph.explain import explain, explain_text

        return explain_text(explain(self.checked, self.mixtures), name)

    @property
    def compiled_kernels(self) -> int:
        """Kernels that this process had to compile so far, rather than load."""
        return kernels.compiled_here


def some_lengths(graph: Graph) -> dict[str, int]:
    """A length for each run-time size: twelve steps more than leave every value one."""
    lengths: dict[str, int] = {}
    for value in graph.values.values():
        for size in value.type.shape if value.type is not None else ():
            if isinstance(size, Extent):
                least = size.smallest() + 12
                lengths[size.symbol] = max(least, lengths.get(size.symbol, 0))
    return lengths


def _key(
    mode: Mode, outputs: Iterable[str] | None = None, task: str | None = None
) -> tuple[Any, ...]:
    """The name of a program among those of a model."""
    return (mode, None if outputs is None else tuple(sorted(outputs)), task)


_TRAIN = _key("train")


def _loss(sums: Mapping[str, Array]) -> float:
    return float(sum(float(v[0]) for name, v in sums.items() if name.startswith("total:")))


def _mean(sums: Mapping[str, Array], name: str, samples: int) -> float:
    """The first of a node's sums over the samples that it was measured on."""
    found = sums.get(f"{COUNT}{name}")
    over = float(samples) if found is None else float(found[0])
    return float(sums[name].reshape(-1)[0]) / max(1.0, over)


def _trim(name: str, kind: Any, found: Mapping[str, Array], batch: Batch) -> dict[str, Array]:
    """Zeros beyond each sample's steps, and the number of steps."""
    extra: dict[str, Array] = {}
    array = found[name]
    for axis in kind.run_time_axes:
        size = kind.shape[axis]
        steps = np.maximum(0, (batch.valid[size.symbol] + size.offset) // size.divisor)
        inside = np.arange(array.shape[axis + 1]) < steps[:, None]
        shape = [len(array)] + [1] * (array.ndim - 1)
        shape[axis + 1] = array.shape[axis + 1]
        array[~np.broadcast_to(inside.reshape(shape), array.shape)] = 0
        extra.setdefault(f"{name}.length", steps)
    return extra
