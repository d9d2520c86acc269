"""How fast a model runs, whole and node by node, beside what the machine can do.

Peaks are measured with kernels of the same make: multiply-adds that need no memory, and a sum of
two arrays of a size that fits a near cache, or none.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from tiedgraph.codegen import kernels, tuning
from tiedgraph.codegen.tape import Tape, bound_shapes, operations
from tiedgraph.gradients import random_batch
from tiedgraph.ir.graph import Graph, Node
from tiedgraph.ir.types import elements
from tiedgraph.lanes.machine import registers
from tiedgraph.model import Model
from tiedgraph.ops import BY_NAME
from tiedgraph.ops.rules import Kernel
from tiedgraph.passes.memory import shares_memory
from tiedgraph.passes.simplify import Mode
from tiedgraph.runtime.program import Program, address_of, aligned

Array = np.ndarray[Any, np.dtype[Any]]
CHAINS = 12  # sums that do not wait for each other
NEAR, FAR = 1 << 15, 1 << 24  # numbers: within a near cache, and beyond all
STEADY = 0.2  # seconds over which a whole step is repeated
LOOK = 0.002  # seconds over which one row is
ROUNDS, ROUND = 9, 0.05  # of tuning: how many, and seconds of each


@dataclass(frozen=True)
class Machine:
    """Of one thread, a second. flops: operations; near, far: bytes read and written."""

    flops: float
    near: float
    far: float


@dataclass(frozen=True)
class NodeSpeed:
    """One node of the program on one tile.

    seconds: the median of one thread. flops: operations of a tile, those of its real work; 0 where
    none are counted. bytes: of all it reads and writes.
    """

    node: str
    op: str
    line: int
    rows: int
    seconds: float
    flops: int
    bytes: int


@dataclass(frozen=True)
class Speed:
    """A step, or a prediction, of `batch` samples.

    seconds: the median whole, with Python's part; quartiles beside it. flops: of the whole batch.
    tile: samples of one; lengths: of run-time sizes.
    """

    mode: str
    batch: int
    threads: int
    tile: int
    seconds: float
    quartiles: tuple[float, float]
    flops: int
    lengths: Mapping[str, int]
    nodes: tuple[NodeSpeed, ...]
    machine: Machine


@lru_cache
def _multiply_adds() -> Kernel:
    chains = range(CHAINS)
    text = [
        "def kernel(activation, parameter, gradient, operand):",
        *(f"    s{k} = load(activation, {k} * LANES)" for k in chains),
        f"    a = load(activation, {CHAINS} * LANES)",
        "    for i in range(operand[0]):",
        *(f"        s{k} = fma(a, s{k}, a)" for k in chains),
        *(f"    store(activation, {k} * LANES, s{k})" for k in chains),
    ]
    return Kernel("multiply_adds", "\n".join(text) + "\n")


_STREAM = Kernel(
    "stream",
    """def kernel(activation, parameter, gradient, operand):
    for i in range(0, operand[0], LANES):
        store(activation, i, load(parameter, i) + load(gradient, i))
""",
)


def measure_machine(dtype: str) -> Machine:
    """The peaks of one thread."""
    lanes = registers(np.dtype(dtype).itemsize).width
    work = aligned((CHAINS + 1) * lanes, dtype)
    work += np.asarray(0.5, dtype)
    count = np.array([200_000], np.int64)
    run = kernels.entry(_multiply_adds(), dtype, lanes)
    spent = _median(lambda: run(address_of(work), 0, 0, address_of(count)), STEADY)
    rates = []
    for size in (NEAR, FAR):
        a, b, c = (aligned(size, dtype) for _ in range(3))
        many = np.array([size], np.int64)
        stream = kernels.entry(_STREAM, dtype)
        places = [address_of(x) for x in (a, b, c, many)]
        moved = 3 * size * a.itemsize
        rates.append(moved / _median(partial(stream, *places), STEADY))
    return Machine(2 * CHAINS * lanes * int(count[0]) / spent, rates[0], rates[1])


def measure(model: Model, batch: int, mode: Mode = "train", steps: int = 100) -> Speed:
    """The speed of training steps or predictions on random data; the model's numbers stay.

    steps: by which run-time sizes are longer than the least that the model takes.
    """
    run = _runner(model, batch, mode, steps)
    saved = model.snapshot()
    run()
    times = _times(run, STEADY)
    model.restore(saved)
    low, middle, high = statistics.quantiles(times, n=4)
    program = model.program(mode)
    tape = program.latest
    found = tuple(_nodes(program, tape))
    whole = sum(node.flops for node in found) * batch // tape.lanes
    return Speed(
        mode,
        batch,
        model.threads,
        tape.lanes,
        middle,
        (low, high),
        whole,
        tape.lengths,
        found,
        measure_machine(model.dtype),
    )


def node_speeds(
    model: Model, batch: int, mode: Mode = "train", steps: int = 100
) -> list[NodeSpeed]:
    """The nodes alone, after one step or prediction; the model's numbers stay."""
    saved = model.snapshot()
    _runner(model, batch, mode, steps)()
    model.restore(saved)
    program = model.program(mode)
    return _nodes(program, program.latest)


def _runner(model: Model, batch: int, mode: Mode, steps: int) -> Callable[[], object]:
    """What makes one step, which moves nothing, or one prediction, on random data."""
    arrays = random_batch(model.checked, 0, batch, steps)
    if mode == "predict":
        wanted = set(model.inputs_of())
        arrays = {n: a for n, a in arrays.items() if n.removesuffix(".length") in wanted}
        return lambda: model.predict(**arrays)
    return lambda: model.train_batch(arrays, 0.0)  # costs the same at a rate of 0


@dataclass(frozen=True)
class Trial:
    """One way to lay samples in tiles. seconds: the median and the quartiles of its rounds."""

    tile: int
    seconds: float
    quartiles: tuple[float, float]


def tune(
    make: Callable[[], Model], batch: int, mode: Mode = "train", steps: int = 100
) -> tuple[list[Trial], int]:
    """Measures all tiles in turn, keeps the fastest for this many samples, and answers both.

    make: a new model, the same each time. One that is within a fiftieth of the usual tile does not
    replace it.
    """
    plan = make().program(mode).schedule
    usual = replace(plan, tuned={}).lanes_for(batch)
    runs: dict[int, Callable[[], object]] = {}
    for tile in plan.tiles:
        model = make()
        program = model.program(mode)
        program.schedule = replace(plan, tuned={batch: tile})
        runs[tile] = _runner(model, batch, mode, steps)
        runs[tile]()
    rounds: dict[int, list[float]] = {tile: [] for tile in runs}
    for _ in range(ROUNDS):
        for tile, run in runs.items():
            run()
            rounds[tile].append(statistics.median(_times(run, ROUND)))
    trials = []
    for tile, times in rounds.items():
        low, middle, high = statistics.quantiles(times, n=4)
        trials.append(Trial(tile, middle, (low, high)))
    best = min(trials, key=lambda trial: trial.seconds * (1.0 if trial.tile != usual else 0.98))
    tuning.keep(plan, batch, best.tile)
    return trials, best.tile


def _nodes(program: Program, tape: Tape) -> list[NodeSpeed]:
    """Each node's rows on one tile, in a memory of their own."""
    graph = program.schedule.graph
    arena = program.arena_of(tape)
    numbers, gradient = program.numbers.copy(), aligned(tape.stride + 64, tape.dtype)
    spent: dict[str, float] = {}
    rows: dict[str, int] = {}
    for row, (entry, first) in zip(tape.rows, tape.table, strict=True):
        if row.once:
            continue
        run = kernels.at(int(entry))
        operands = tape.operands[first : first + max(1, len(row.operands))]
        places = [address_of(x) for x in (arena, numbers, gradient, operands)]
        own = _median(partial(run, *places), LOOK)
        spent[row.node] = spent.get(row.node, 0.0) + own
        rows[row.node] = rows.get(row.node, 0) + 1
    item = arena.itemsize
    found = []
    for name in program.schedule.order:
        node = graph.nodes[name]
        if name not in spent or shares_memory(node):
            continue
        found.append(
            NodeSpeed(
                name,
                "+".join([node.op, *node.epilogue]),
                node.span.line if node.span is not None else 0,
                rows[name],
                spent[name],
                _flops(graph, tape, node) * tape.lanes,
                _bytes(graph, tape, node, item),
            )
        )
    return found


def _flops(graph: Graph, tape: Tape, node: Node) -> int:
    """Of one sample; functions such as exp, in epilogues too, count as what they are made of."""
    op, shapes = BY_NAME[node.op], tape.memory.shapes
    counted = operations(graph, node, shapes)
    if op.flops is None:
        return counted
    given, made = bound_shapes(node, shapes)
    if node.role == "backward":
        return counted + _called(op.functions[1], given)
    behind = [name for after in node.epilogue for name in BY_NAME[after].functions[0]]
    return counted + _called(op.functions[0], given) + _called(behind, [made])


def _called(functions: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> int:
    """Operations of functions of all numbers of the first shape."""
    from tiedgraph.lanes import math

    return sum(math.operations(name) for name in functions) * elements(shapes[0])


def _bytes(graph: Graph, tape: Tape, node: Node, item: int) -> int:
    shapes = tape.memory.shapes
    values = sum(elements(shapes[v]) for v in (*node.inputs, *node.outputs) if v in shapes)
    numbers = sum(elements(graph.params[p].shape) for p in node.params)
    return item * (values * tape.lanes + numbers)


def _times(run: Callable[[], object], seconds: float) -> list[float]:
    """At least five times, over about so many seconds."""
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - started < seconds:
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return times


def _median(run: Callable[[], object], seconds: float) -> float:
    run()
    return statistics.median(_times(run, seconds))


def speed_text(speed: Speed, most: int = 12) -> list[list[str]]:
    """Rows of a table: the nodes that take longest, with their share of a thread's peak."""
    total = sum(node.seconds for node in speed.nodes) or 1.0
    rows = [["node", "op", "time", "flops/byte", "of peak"]]
    for node in sorted(speed.nodes, key=lambda n: -n.seconds)[:most]:
        peak = node.flops / node.seconds / speed.machine.flops
        dense = node.flops / node.bytes if node.bytes else 0.0
        share = f"{100 * node.seconds / total:.0f} %"
        told = [f"{dense:.1f}", f"{100 * peak:.0f} %"] if node.flops else ["", ""]
        rows.append([node.node, node.op, share, *told])
    return rows


def bound(node: NodeSpeed, machine: Machine) -> float:
    """Operations a second that the roofline of one thread allows (Williams et al. 2009)."""
    return min(machine.flops, machine.near * node.flops / max(1, node.bytes))
