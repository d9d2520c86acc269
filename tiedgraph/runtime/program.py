"""A compiled program: memory, tapes for the lengths met so far, and the walk over them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from ctypes import addressof, c_char
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from operator import is_
from typing import Any, Protocol

import numpy as np

from tiedgraph.codegen import driver, kernels
from tiedgraph.codegen.tape import Stretch, Tape, write_tape
from tiedgraph.ir.types import bind, elements
from tiedgraph.ops.rules import Kernel
from tiedgraph.passes.memory import ALIGNMENT, Parameters
from tiedgraph.passes.schedule import Schedule
from tiedgraph.runtime import team
from tiedgraph.runtime.batch import Batch, Plain, in_range, plain_inputs, shares
from tiedgraph.runtime.maps import Maps
from tiedgraph.runtime.turned import turn

Array = np.ndarray[Any, np.dtype[Any]]
BLOCK = 4096  # numbers that one thread sums or updates at a time
LEAST = 8  # blocks that are worth a hand-out to another thread
TAPES_KEPT = 64  # sets of run-time lengths


def aligned(count: int, dtype: str) -> Array:
    """`count` zeros that start on a cache line."""
    item = np.dtype(dtype).itemsize
    raw = np.zeros(count * item + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count * item].view(dtype)


_from_buffer = c_char.from_buffer


def address_of(array: Array) -> int:
    """Where an array's numbers lie."""
    try:
        return addressof(_from_buffer(array))  # type: ignore[arg-type]  # five times quicker
    except (TypeError, ValueError):  # empty, or not to be written to
        address: int = array.__array_interface__["data"][0]
        return address


@dataclass(frozen=True)
class _Plan:
    """What a tape's threads are told for so many `samples`, with memory in these `arrays`.

    incoming, outgoing: rows of data that comes in and goes out, by `names` and `outputs`.
    walk: over the whole tape, with or without filling copies for index maps first; reduce: sums its
    shards into the last of the arrays; whole: all of it and a step of the optimiser, by what that
    moves. sums: where in that array those of a node lie. rows: keeps what jobs read.
    """

    tape: Tape
    samples: int
    arrays: tuple[Array, ...]
    names: list[str]
    incoming: Array
    outputs: list[tuple[str, tuple[int, ...]]]
    outgoing: Array
    fill_and_walk: team.Work
    walk: team.Work
    reduce: team.Work
    sums: list[tuple[str, slice]]
    rows: list[Array]
    whole: dict[Any, _Step]

    @cached_property
    def losses(self) -> list[int]:
        """Where in the sums each loss lies."""
        return [part.start for name, part in self.sums if name.startswith("total:")]


@dataclass(frozen=True)
class _Step:
    """A whole step.

    direct: how many gradients, from the first on, are moved out of the only shard.
    """

    work: team.Work
    direct: int


@dataclass(frozen=True)
class Answer:
    """What a step leaves: sums over the batch, which the next step overwrites.

    total: gradients and what nodes summed; sums: where in it those of a node lie; losses: of losses
    the first of these.
    """

    total: Array
    sums: list[tuple[str, slice]]
    losses: list[int]

    def loss(self) -> float:
        """All losses together."""
        return float(sum(self.total.item(place) for place in self.losses))


class _Alike:
    """Takes batches of the same names, shapes and dtypes as one before, without other conversions.

    Integers are written into arrays that are kept; other arrays are read where they lie.
    """

    def __init__(self, plain: Plain, plan: _Plan, arrays: Mapping[str, Array]) -> None:
        self._dtype = plain.dtype
        self._incoming = plan.incoming
        rows = {name: row for row, name in enumerate(plan.names)}
        even = shares(plan.samples, plain.dtype.name)
        self._shares = [(rows[n], even, address_of(even)) for n in plain.weights if n in rows]
        self._inputs: list[Any] = []
        for name, _, classes in plain.inputs:
            shape = arrays[name].shape
            kept = np.zeros(shape if classes else 0, plain.dtype)
            self._inputs.append((name, rows.get(name), shape, classes, kept, address_of(kept)))

    def take(self, arrays: Mapping[str, Any]) -> bool:
        """Tells the plan where a batch lies; False where it differs or is not as it must be."""
        if len(arrays) != len(self._inputs):
            return False
        incoming = self._incoming
        for name, row, shape, classes, kept, place in self._inputs:
            array = arrays.get(name)
            if type(array) is not np.ndarray or array.shape != shape:
                return False
            if classes:
                if not in_range(array, classes):
                    return False
                kept[...] = array
            elif array.dtype == self._dtype and array.flags.c_contiguous:
                place = address_of(array)
            else:
                return False
            if row is not None:
                incoming[row, 1] = place
        for row, _, place in self._shares:
            incoming[row, 1] = place
        return True


@dataclass(frozen=True)
class _Known:
    """The last step: for what it was made, and what takes batches like its own."""

    like: int
    moved: Any
    plan: _Plan
    step: _Step
    alike: _Alike
    answer: Answer


class Numbers:
    """The parameters of a model, as kernels see them: storages, copies for index maps, statistics.

    array: `plan.size` numbers and room for statistics; `plan` tells where what lies. Before it, at
      negative offsets, is room for copies in another order.
    """

    def __init__(self, plan: Parameters, dtype: str) -> None:
        self.plan = plan
        self.dtype = dtype
        self._before = 0
        self._whole = self.array = aligned(plan.size + ALIGNMENT, dtype)
        self.maps = Maps(plan, dtype)

    def reserve(self, count: int, before: int = 0) -> None:
        """Makes room for `count` numbers in all, and for so many before them."""
        known = self.array
        if len(known) < count or self._before < before:
            self._before = max(before, self._before)
            self._whole = aligned(self._before + max(count, len(known)), self.dtype)
            self.array = self._whole[self._before :]
            self.array[: len(known)] = known

    def copy(self) -> Array:
        """A copy of the array, with what lies before it."""
        return self._whole.copy()[self._before :]

    def storage(self, name: str) -> Array:
        """The numbers of one storage, flat; writing to it changes the model."""
        region = self.plan.storages[name]
        return self.array[region.offset : region.offset + region.size]


class Phases(Protocol):
    """What moves the numbers behind a walk; `Program.step` runs it in the same call.

    key: tells what is moved. reach: how many numbers, from the first on, are moved without a gap.
    phases: the jobs, from the sums and where losses lie; arrays that they read are added to `kept`.
    With a `shard` the gradients of the first `reach` numbers lie there, and are cleared.
    gate: not 0 after a phase that forbids the next ones.
    """

    key: Any
    gate: Array

    @property
    def reach(self) -> int: ...

    def phases(
        self,
        total: Array,
        losses: Sequence[int],
        kept: list[Array],
        shard: Array | None = None,
    ) -> list[list[team.Job]]: ...


class Program:
    """One schedule (training, evaluation or prediction), ready to run batches of any size.

    How samples lie in tiles depends on how many there are (`Schedule.form`).

    Not safe for several threads at once; `tiedgraph.model` holds a lock.
    """

    def __init__(self, schedule: Schedule, numbers: Numbers, threads: int) -> None:
        self.schedule = schedule
        self.numbers = numbers
        self.threads = threads
        self.dtype = schedule.dtype
        self._tapes: OrderedDict[tuple[Any, ...], Tape] = OrderedDict()
        self._plans: dict[int, _Plan] = {}
        self._shards = aligned(0, self.dtype)
        self._arenas = aligned(0, self.dtype)
        self.total = aligned(0, self.dtype)
        nodes = schedule.graph.nodes.values()
        self._differentiates = any(node.role == "backward" for node in nodes)
        self.plain = plain_inputs(schedule.graph, schedule.dtype)
        self._last: tuple[Any, _Plan | None] = ((), None)
        self._known: _Known | None = None

    def tape(self, samples: int, lengths: Mapping[str, int], update: bool = True) -> Tape:
        """The tape for so many samples of these run-time lengths, made on first use."""
        key = (self.schedule.lanes_for(samples), update, *sorted(lengths.items()))
        tape = self._tapes.get(key)
        if tape is None:
            schedule = self.schedule.form(samples)
            tape = write_tape(schedule, self.numbers.plan, lengths, update)
            self._tapes[key] = tape
            if len(self._tapes) > TAPES_KEPT:
                self._tapes.popitem(last=False)
        else:
            self._tapes.move_to_end(key)
        return tape

    def run(
        self,
        batch: Mapping[str, Array],
        samples: int,
        lengths: Mapping[str, int],
        update: bool = True,
        like: int = 0,
    ) -> tuple[Tape, dict[str, Array]]:
        """Runs all tiles of a batch; sums stay in the shards until `reduce`.

        batch: for each data input of the graph, implicit ones too, a C-contiguous array
          [samples, *shape] of the program's dtype.
        lengths: length of each run-time size in this batch.
        like: samples of the batches of which this is a smaller one, at the end.
        Returns the tape and the outputs by name, [samples, *shape].
        """
        plan = self._ready(batch, samples, lengths, update, like)
        outputs: dict[str, Array] = {}
        for row, (name, shape) in enumerate(plan.outputs):
            outputs[name] = np.empty((samples, *shape), self.dtype)
            plan.outgoing[row, 1] = address_of(outputs[name])
        changed = self.numbers.maps.changed(self.numbers.array)
        team.run(plan.fill_and_walk if changed else plan.walk)
        return plan.tape, outputs

    def step(
        self,
        batch: Batch,
        like: int,
        optimiser: Phases,
        again: Mapping[str, Array] | None,
    ) -> Answer:
        """Runs all tiles, sums the shards and lets the optimiser move, in one call.

        again: the arrays of a plain batch, where `again` may be asked for others like them. The
        optimiser's gate tells whether it moved.
        """
        plan = self._ready(batch.arrays, batch.samples, batch.lengths, True, like)
        step = plan.whole.get(optimiser.key)
        if step is None:
            step = plan.whole[optimiser.key] = self._whole(plan, optimiser)
        answer = Answer(self.total, plan.sums, plan.losses)
        self._known = None
        if self.plain is not None and again is not None:
            alike = _Alike(self.plain, plan, again)
            self._known = _Known(like, optimiser.key, plan, step, alike, answer)
        self._run(step, optimiser.gate)
        return answer

    def again(self, given: Mapping[str, Any], like: int, optimiser: Phases) -> Answer | None:
        """A step on a batch that needs no conversion and is like that of the step before.

        None, with nothing done, where it is not.
        """
        known = self._known
        if known is None or known.like != like or known.moved != optimiser.key:
            return None
        held = (self._arenas, self.numbers.array, self._shards, self.total)
        if not all(map(is_, known.plan.arrays, held)) or not known.alike.take(given):
            return None
        self._run(known.step, optimiser.gate)
        return known.answer

    def _whole(self, plan: _Plan, optimiser: Phases) -> _Step:
        """All that a step does. The gradients of one shard need no sum before they are moved."""
        tiles = -(-plan.samples // plan.tape.lanes)
        alone = min(tiles, plan.tape.shards) == 1 and not self.numbers.plan.maps
        direct = optimiser.reach if alone else 0
        phases = list(plan.fill_and_walk.phases)
        if direct:
            bases = tuple(map(address_of, plan.arrays))
            phases += self._reduction(plan.tape, tiles, bases, plan.rows, direct)
            phases += optimiser.phases(self.total, plan.losses, plan.rows, self._shards)
        else:
            phases += plan.reduce.phases
            phases += optimiser.phases(self.total, plan.losses, plan.rows)
        return _Step(team.Work(phases, optimiser.gate, self.threads), direct)

    def _run(self, step: _Step, gate: Array) -> None:
        """Runs a whole step; what it did not move for the gate is summed and cleared here."""
        self.numbers.maps.forget()
        team.run(step.work)
        if gate[0] and step.direct:
            self.total[: step.direct] = self._shards[: step.direct]
            self._shards[: step.direct] = 0

    def _ready(
        self,
        batch: Mapping[str, Array],
        samples: int,
        lengths: Mapping[str, int],
        update: bool,
        like: int,
    ) -> _Plan:
        """The plan for a batch, told where its arrays lie."""
        key = (samples, like, update, *lengths.items())
        known, plan = self._last
        held = (self._arenas, self.numbers.array, self._shards, self.total)
        if plan is None or known != key or not all(map(is_, plan.arrays, held)):
            plan = self._plan(self.tape(max(samples, like), lengths, update), samples)
            self._last = (key, plan)
        for row, name in enumerate(plan.names):
            plan.incoming[row, 1] = address_of(batch[name])
        return plan

    def _plan(self, tape: Tape, samples: int) -> _Plan:
        """What the threads are told for so many samples; all but the data's addresses."""
        lanes = tape.lanes
        tiles = -(-samples // lanes)
        self.numbers.reserve(tape.stride, tape.before)
        if len(self._shards) < driver.SHARDS * tape.stride:
            self._shards = aligned(driver.SHARDS * tape.stride, self.dtype)
        if len(self.total) < tape.stride:
            self.total = aligned(tape.stride, self.dtype)
        workers = max(1, min(self.threads, tiles, tape.shards))
        whole = len(tape.stretches) > 1  # activations live on across barriers
        arena = -(-tape.arena // ALIGNMENT) * ALIGNMENT
        needed = arena * (tiles if whole else workers)
        if len(self._arenas) < needed:
            self._arenas = aligned(needed, self.dtype)
        arrays = (self._arenas, self.numbers.array, self._shards, self.total)
        known = self._plans.get(id(tape))
        same = known is not None and known.tape is tape and known.samples == samples
        if known and same and all(map(is_, known.arrays, arrays)):
            return known

        bases = tuple(map(address_of, arrays))
        names, incoming = self._incoming(tape)
        told, outgoing = self._outgoing(tape)
        walk = _mover(driver.WALK, tape)
        parallel = [s for s in tape.stretches if not s.once]
        rows: list[Array] = []
        fill = self.numbers.maps.expand(bases[1], self.threads, rows)
        phases = turn(tape.copies, self.dtype, bases[1], self.threads, rows)
        for stretch in tape.stretches or (Stretch(0, 0),):
            if stretch.once:
                phases += self._once(tape, stretch, bases)
                continue
            comes = len(incoming) if not parallel or stretch == parallel[0] else 0
            goes = len(outgoing) if not parallel or stretch == parallel[-1] else 0
            cuts = _cuts(tape, stretch) if tiles == 1 < self.threads else [[stretch]]
            own = 0 if whole or tiles == 1 else arena * self._arenas.itemsize
            for parts in cuts:
                shards = [
                    (
                        *(shard, tape.shards, tiles, samples, tape.stride, arena if whole else 0),
                        *(address_of(tape.table), part.first, part.last),
                        *(address_of(tape.operands), address_of(incoming)),
                        *(comes if parts is cuts[0] else 0, address_of(outgoing)),
                        goes if parts is cuts[-1] else 0,
                    )
                    for part in parts
                    for shard in range(min(tiles, tape.shards))
                ]
                rows.append(np.array(shards, np.int64))
                phases.append(
                    [
                        team.Job(walk, bases[0], bases[1], bases[2], address_of(row), own)
                        for row in rows[-1]
                    ]
                )
        reduction = self._reduction(tape, tiles, bases, rows)
        sums = [
            (node, slice(offset, offset + count))
            for (node, name), (offset, count) in tape.statistics.items()
            if name in ("total", "collect")
        ]
        run = team.Work(phases, threads=self.threads)
        summed = team.Work(reduction, threads=self.threads)
        plan = _Plan(
            *(tape, samples, arrays, names, incoming, told, outgoing),
            *(team.Work([*fill, *phases], threads=self.threads), run, summed),
            *(sums, rows, {}),
        )
        self._plans[id(tape)] = plan
        while len(self._plans) > TAPES_KEPT:
            del self._plans[next(iter(self._plans))]
        return plan

    def _once(self, tape: Tape, stretch: Stretch, bases: tuple[int, ...]) -> list[list[team.Job]]:
        """Rows between two walks, one after another."""
        phases = []
        for row in range(stretch.first, stretch.last):
            kernel = kernels.address(tape.rows[row].kernel, self.dtype, tape.rows[row].lanes)
            operands = address_of(tape.operands) + 8 * int(tape.table[row, 1])
            phases.append([team.Job(kernel, 0, bases[1], bases[2], operands)])
        return phases

    def _reduction(
        self, tape: Tape, tiles: int, bases: tuple[int, ...], kept: list[Array], begin: int = 0
    ) -> list[list[team.Job]]:
        """Sums the shards into `total` and clears them; copies' gradients go to their storages.

        begin: the first number to sum.
        """
        used = 1
        while used < min(tiles, tape.shards):
            used *= 2
        begin = begin if self._differentiates else self.numbers.plan.size
        kernel = kernels.address(driver.reduce(used), self.dtype)
        maps = self.numbers.maps
        parts = [(begin, tape.stride)]
        if self._differentiates and maps.begin < maps.end:
            parts = [(begin, maps.begin), (maps.end, tape.stride)]
        phases: list[list[team.Job]] = []
        for first, last in parts:
            blocks = split_blocks(first, last, self.threads)
            rows = np.array([[*block, tape.stride] for block in blocks], np.int64)
            kept.append(rows)
            jobs = [team.Job(kernel, bases[3], 0, bases[2], address_of(row)) for row in rows]
            phases.append(jobs)
        if self._differentiates:
            found = (bases[3], bases[2], tape.stride, used)
            phases += maps.contract(*found, self.threads, kept)
        return phases

    def arena_of(self, tape: Tape) -> Array:
        """A copy of the activations of the last tile that one thread ran on this tape."""
        found = self._arenas[: tape.arena + ALIGNMENT]
        place = aligned(found.size, self.dtype)
        place[:] = found
        return place

    @property
    def latest(self) -> Tape:
        """The tape that was used last."""
        return next(reversed(self._tapes.values()))

    def _incoming(self, tape: Tape) -> tuple[list[str], Array]:
        """Which arrays come in, and rows that tell how; their addresses are filled in later."""
        names, rows = [], []
        pack = _mover(driver.PACK, tape)
        for name, item in self.schedule.graph.data.items():
            if name in tape.memory.values:
                count = elements(tape.memory.shapes[name])
                place = tape.memory.values[name] * tape.lanes
                names.append(name)
                rows.append((pack, 0, place, count, int(item.role == "weight")))
        return names, np.array(rows, np.int64).reshape(-1, 5)

    def _outgoing(self, tape: Tape) -> tuple[list[tuple[str, tuple[int, ...]]], Array]:
        """Names and shapes of what goes out, and rows that tell how; in training nothing does."""
        told: list[tuple[str, tuple[int, ...]]] = []
        rows: list[tuple[int, ...]] = []
        graph = self.schedule.graph
        unpack = _mover(driver.UNPACK, tape)
        for term in () if self._differentiates else graph.outputs:
            if term.value in tape.memory.values:
                shape = bind(graph.shape_of(term.value), tape.lengths)
                place = tape.memory.values[term.value] * tape.lanes
                told.append((term.name, shape))
                rows.append((unpack, 0, place, elements(shape), 0))
        return told, np.array(rows, np.int64).reshape(-1, 5)

    def reduce(self, tape: Tape, samples: int) -> tuple[Array, list[tuple[str, slice]]]:
        """Sums the shards, clears them, and answers [parameters and statistics] of the batch.

        Gradients of copies are added to their storages'. Also answers where in it the sums of each
        `total` and `collect` node lie. The array is overwritten by the next call.
        """
        plan = self._plan(tape, samples)
        team.run(plan.reduce)
        return self.total, plan.sums


def _cuts(tape: Tape, stretch: Stretch) -> list[list[Stretch]]:
    """A stretch in pieces, one after another, some of them two that may run at once.

    The first and the last one, where data comes in and goes out, are single, and may be empty.
    """
    cuts: list[list[Stretch]] = []
    at = stretch.first
    for fork in tape.forks:
        if stretch.first <= fork.first < stretch.last:
            if at < fork.first or not cuts:
                cuts.append([Stretch(at, fork.first)])
            cuts.append([Stretch(fork.first, fork.cut), Stretch(fork.cut, fork.last)])
            at = fork.last
    cuts.append([Stretch(at, stretch.last)])
    return cuts


def _mover(kernel: Kernel, tape: Tape) -> int:
    return kernels.address(kernel, tape.dtype, tape.lanes)


@lru_cache(4096)
def split_blocks(begin: int, end: int, parts: int) -> list[tuple[int, int]]:
    """At most `parts` stretches of whole blocks; small arrays stay whole."""
    count = -(-(end - begin) // BLOCK)
    parts = max(1, min(parts, count // LEAST))
    cuts = [begin + (count * i // parts) * BLOCK for i in range(parts)] + [end]
    return list(pairwise(cuts))
