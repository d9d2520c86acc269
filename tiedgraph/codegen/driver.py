"""The kernels that serve every program: the walk over a tape, data in and out, sums over shards.

A *job* is a row of 64-bit integers that tells one thread what to do (`JOB` names its fields). Tiles
are dealt to at most `SHARDS` shards, whatever the number of threads, and each shard has its own
gradient buffer; shards are summed by a fixed pairwise tree. So no bit of a result depends on
threads.
"""

from __future__ import annotations

from functools import lru_cache

from tiedgraph.ops.rules import Kernel

SHARDS = 8

JOB = (
    "first_shard",  # this thread's shards: first, first + step, ...
    "shard_step",
    "shards",
    "tiles",
    "samples",
    "gradient_stride",  # numbers between two shards' buffers
    "arena_stride",  # numbers between two tiles' activations; 0: one arena, used again
    "rows",  # address of pairs (kernel address, offset of the operand row)
    "first_row",
    "last_row",
    "operands",  # address of the operand table
    "incoming",  # address of rows (kernel address, source, destination, elements, fill)
    "incoming_count",  # 0 for all but the first stretch of a tape
    "outgoing",
    "outgoing_count",
)

_FIELDS = "\n".join(f"    {name} = operand[{i}]" for i, name in enumerate(JOB))


def _moves(rows: str, count: str) -> str:
    """Text that runs one pack or unpack kernel for each row of a table, for the present tile."""
    return f"""
            for i in range({count}):
                moved[0] = {rows}[5 * i + 1]
                moved[1] = {rows}[5 * i + 2]
                moved[2] = {rows}[5 * i + 3]
                moved[3] = {rows}[5 * i + 4]
                moved[4] = tile * LANES
                moved[5] = samples
                call({rows}[5 * i], arena, parameter, mine, moved)"""


WALK = Kernel(
    "walk",
    f"""def kernel(activation, parameter, gradient, operand):
{_FIELDS}
    row = integers(rows)
    coming = integers(incoming)
    going = integers(outgoing)
    moved = words(8)
    shard = first_shard
    while shard < shards:
        tile = shard
        mine = address(addressed(gradient) + shard * gradient_stride * ITEM)
        while tile < tiles:
            arena = address(addressed(activation) + tile * arena_stride * ITEM)
{_moves("coming", "incoming_count")}
            for i in range(first_row, last_row):
                call(row[2 * i], arena, parameter, mine, integers(operands + 8 * row[2 * i + 1]))
{_moves("going", "outgoing_count")}
            tile += shards
        shard += shard_step
""",
)

# One array's samples into lanes. Lanes without a sample repeat the last one, so that their numbers
# are as harmless as its own; with `fill` they hold zero (weights).
PACK = Kernel(
    "pack",
    """def kernel(activation, parameter, gradient, operand):
    source = address(operand[0])
    target = operand[1]
    elements = operand[2]
    fill = operand[3]
    first = operand[4]
    samples = operand[5]
    whole = 0
    if first + LANES <= samples:
        whole = elements // LANES * LANES
        for i in range(0, whole, LANES):
            transpose(source, first * elements + i, elements, activation, target + i * LANES, LANES)
    for lane in range(LANES):
        sample = first + lane
        if sample < samples:
            for i in range(whole, elements):
                activation[target + i * LANES + lane] = source[sample * elements + i]
        elif fill:
            for i in range(elements):
                activation[target + i * LANES + lane] = 0
        else:
            for i in range(elements):
                activation[target + i * LANES + lane] = source[(samples - 1) * elements + i]
""",
)

UNPACK = Kernel(
    "unpack",
    """def kernel(activation, parameter, gradient, operand):
    result = address(operand[0])
    source = operand[1]
    elements = operand[2]
    first = operand[4]
    samples = operand[5]
    whole = 0
    if first + LANES <= samples:
        whole = elements // LANES * LANES
        for i in range(0, whole, LANES):
            transpose(activation, source + i * LANES, LANES, result, first * elements + i, elements)
    for lane in range(LANES):
        sample = first + lane
        if sample < samples:
            for i in range(whole, elements):
                result[sample * elements + i] = activation[source + i * LANES + lane]
""",
)


def _tree(first: int, count: int) -> str:
    """The sum of shards `first` .. `first + count - 1`, pairwise."""
    if count == 1:
        return f"gradient[i + {first} * stride]"
    half = count // 2
    return f"({_tree(first, half)} + {_tree(first + half, half)})"


@lru_cache
def reduce(count: int) -> Kernel:
    """Sums the first `count` shards over begin <= i < end into `activation`.

    Leaves them zero for the next step. Shards beyond `count` got no tile and hold zeros.
    """
    clear = "\n".join(f"        gradient[i + {shard} * stride] = 0" for shard in range(count))
    return Kernel(
        "reduce",
        f"""def kernel(activation, parameter, gradient, operand):
    begin = operand[0]
    end = operand[1]
    stride = operand[2]
    for i in range(begin, end):
        activation[i] = {_tree(0, count)}
    for i in range(begin, end):
{clear}
""",
    )


# Sums all shards of `count` numbers from `offset` on into the parameter array, and clears them.
# For rows that run once.
SUM_SHARDS = Kernel(
    "sum_shards",
    f"""def kernel(activation, parameter, gradient, operand):
    stride = operand[2]
    for i in range(operand[0], operand[0] + operand[1]):
        parameter[i] = {_tree(0, SHARDS)}
"""
    + "\n".join(f"        gradient[i + {shard} * stride] = 0" for shard in range(SHARDS))
    + "\n",
)


# ---------------------------------------------------------------- index maps

ENTRIES = 1024  # of a copy, in a block

# Copies of storages through index maps: parameter[target + i] = c[i] * parameter[source + k(i)].
# Operands are how many rows there are, and rows: addresses of segments, of their starts by block,
# of the index and of coefficients (or 0), source, target, and blocks from begin to end. See
# `tiedgraph.runtime.maps` for segments. Entries in none of them are zero and stay it.
EXPAND = Kernel(
    "expand",
    """def kernel(activation, parameter, gradient, operand):
    for r in range(operand[0]):
        at = 1 + 8 * r
        segments, starts = integers(operand[at]), integers(operand[at + 1])
        index, coefficient = halves(operand[at + 2]), address(operand[at + 3])
        scaled = operand[at + 3] != 0
        source, target = operand[at + 4], operand[at + 5]
        for s in range(starts[operand[at + 6]], starts[operand[at + 7]]):
            first, count = segments[4 * s], segments[4 * s + 1]
            free, step = segments[4 * s + 2], segments[4 * s + 3]
            whole = 0
            if step != 0:
                whole = count // LANES * LANES
                for i in range(0, whole, LANES):
                    if step > 0:
                        v = load(parameter, source + free + i)
                    else:
                        v = load(parameter, source + free - i - LANES + 1)
                        v = backwards(v, v)
                    if scaled:
                        v = v * load(coefficient, first + i)
                    store(parameter, target + first + i, v)
            if scaled:
                for i in range(first + whole, first + count):
                    k = index[i]
                    if k >= 0:
                        parameter[target + i] = coefficient[i] * parameter[source + k]
            else:
                for i in range(first + whole, first + count):
                    k = index[i]
                    if k >= 0:
                        parameter[target + i] = parameter[source + k]
""",
)


def _shards(first: int, count: int) -> str:
    """The sum of vectors of shards `first` .. `first + count - 1`, pairwise."""
    if count == 1:
        return f"load(gradient, i + {first} * stride)"
    half = count // 2
    return f"({_shards(first, half)} + {_shards(first + half, half)})"


@lru_cache
def contract(count: int) -> Kernel:
    """The adjoint: sums[k(i)] += c[i] * g[i], with g the sum of the first `count` shards.

    Leaves these zero. Rows are those of `EXPAND`, with the numbers of a copy, in whole vectors, in
    place of the source; then the address of sums and the numbers between two shards.
    """
    clear = "\n".join(
        f"                store(gradient, i + {shard} * stride, zero)" for shard in range(count)
    )
    return Kernel(
        "contract",
        f"""def kernel(activation, parameter, gradient, operand):
    zero = broadcast(0.0)
    for r in range(operand[0]):
        at = 1 + 10 * r
        segments, starts = integers(operand[at]), integers(operand[at + 1])
        index, coefficient = halves(operand[at + 2]), address(operand[at + 3])
        scaled = operand[at + 3] != 0
        numbers, target = operand[at + 4], operand[at + 5]
        sums, stride = address(operand[at + 8]), operand[at + 9]
        for block in range(operand[at + 6], operand[at + 7]):
            place = target + block * {ENTRIES}
            end = min(place + {ENTRIES}, target + numbers)
            for i in range(place, end, LANES):
                store(gradient, i, {_shards(0, count)})
            for s in range(starts[block], starts[block + 1]):
                first, many = segments[4 * s], segments[4 * s + 1]
                free, step = segments[4 * s + 2], segments[4 * s + 3]
                whole = 0
                if step != 0:
                    whole = many // LANES * LANES
                    for i in range(0, whole, LANES):
                        v = load(gradient, target + first + i)
                        if scaled:
                            v = v * load(coefficient, first + i)
                        to = free + i
                        if step < 0:
                            to = free - i - LANES + 1
                            v = backwards(v, v)
                        store(sums, to, load(sums, to) + v)
                if scaled:
                    for i in range(first + whole, first + many):
                        k = index[i]
                        if k >= 0:
                            sums[k] += coefficient[i] * gradient[target + i]
                else:
                    for i in range(first + whole, first + many):
                        k = index[i]
                        if k >= 0:
                            sums[k] += gradient[target + i]
            for i in range(place, end, LANES):
{clear}
""",
    )


# activation[target + i] += all accumulators, which are left zero. Operands are how many rows there
# are, and rows: address of accumulators, how many, numbers of each, begin, end, target.
COLLECT = Kernel(
    "collect",
    """def kernel(activation, parameter, gradient, operand):
    zero = broadcast(0.0)
    for r in range(operand[0]):
        at = 1 + 6 * r
        sums, count, free = address(operand[at]), operand[at + 1], operand[at + 2]
        target = operand[at + 5]
        for i in range(operand[at + 3], operand[at + 4], LANES):
            v = load(activation, target + i)
            for k in range(i, i + count * free, free):
                v = v + load(sums, k)
                store(sums, k, zero)
            store(activation, target + i, v)
""",
)


# ---------------------------------------------------------------- threads that stand ready

# A worker's box of 64-bit integers; see `tiedgraph.runtime.team`.
BOX = ("posted", "done", "entry", "activation", "parameter", "gradient", "operand", "asleep")
BOX_SIZE = 16  # two cache lines, so that workers do not share any

# Runs jobs as they are posted; returns when none came for `patience` looks.
STAND = Kernel(
    "stand",
    """def kernel(activation, parameter, gradient, operand):
    box = integers(operand[0])
    patience = operand[1]
    done = load_acquire(box, 1)
    looks = 0
    while looks < patience:
        if load_acquire(box, 0) == done:
            pause()
            looks += 1
        else:
            call(box[2], address(box[3]), address(box[4]), address(box[5]), integers(box[6]))
            done += 1
            store_release(box, 1, done)
            looks = 0
""",
)

# Leads the workers through phases: in each, the first job is run here and the others are posted,
# and all are done before the next phase begins. `operand` has, by name:
LEADING = (
    "jobs",  # address of rows of entry, activation, parameter, gradient and operand
    "counts",  # address of the number of jobs of each phase, at least one
    "phases",
    "boxes",
    "patience",  # looks at the workers before it returns, to be called again
    "gate",  # address of a number; no further phase begins where it is not 0
    "phase",  # where to go on; 0 for a new start
    "row",
    "waiting",  # how many workers are not done with jobs posted before; 0 at the start and the end
)

LEAD = Kernel(
    "lead",
    f"""def kernel(activation, parameter, gradient, operand):
    jobs = integers(operand[0])
    counts = integers(operand[1])
    gate = integers(operand[5])
    phase = operand[6]
    row = operand[7]
    waiting = operand[8]
    while phase < operand[2]:
        workers = counts[phase] - 1
        if waiting == 0:
            for w in range(workers):
                box = integers(operand[3] + w * {8 * BOX_SIZE})
                for i in range(5):
                    box[2 + i] = jobs[5 * (row + w + 1) + i]
                store_release(box, 0, load_acquire(box, 0) + 1)
            at = 5 * row
            call(
                jobs[at], address(jobs[at + 1]), address(jobs[at + 2]), address(jobs[at + 3]),
                integers(jobs[at + 4]),
            )
        looks = 0
        waiting = workers
        while waiting > 0 and looks < operand[4]:
            waiting = 0
            for w in range(workers):
                box = integers(operand[3] + w * {8 * BOX_SIZE})
                if load_acquire(box, 1) != load_acquire(box, 0):
                    waiting += 1
            if waiting > 0:
                pause()
                looks += 1
        if waiting > 0:
            break
        row += counts[phase]
        phase += 1
        if gate[0] != 0:
            phase = operand[2]
    operand[6] = phase
    operand[7] = row
    operand[8] = waiting
""",
)
