"""The kernels that serve every program: the walk over a tape, data in and out, sums over shards.

Tiles are dealt to at most `SHARDS` shards, whatever the number of threads, and each shard has its
own gradient buffer; a *walk* takes the tiles of one shard through a tape, in their order (`SHARD`
names what it is told). Shards are summed by a fixed pairwise tree. So no bit of a result depends on
threads, nor on which of them takes which shard.
"""

from __future__ import annotations

from functools import lru_cache
from textwrap import indent

from tiedgraph.ops.rules import Kernel

SHARDS = 8

SHARD = (
    "shard",  # the first of its tiles; the others are shard + shards, ...
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

_FIELDS = "\n".join(f"    {name} = operand[{i}]" for i, name in enumerate(SHARD))


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
    mine = address(addressed(gradient) + shard * gradient_stride * ITEM)
    tile = shard
    while tile < tiles:
        arena = address(addressed(activation) + tile * arena_stride * ITEM)
{_moves("coming", "incoming_count")}
        for i in range(first_row, last_row):
            call(row[2 * i], arena, parameter, mine, integers(operands + 8 * row[2 * i + 1]))
{_moves("going", "outgoing_count")}
        tile += shards
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


VECTOR = "load(gradient, i + {} * stride)"


def _tree(first: int, count: int, number: str = "gradient[i + {} * stride]") -> str:
    """The sum of shards `first` .. `first + count - 1`, pairwise."""
    if count == 1:
        return number.format(first)
    half = count // 2
    return f"({_tree(first, half, number)} + {_tree(first + half, half, number)})"


@lru_cache
def reduce(count: int) -> Kernel:
    """Sums the first `count` shards over begin <= i < end, whole vectors, into `activation`.

    Leaves them zero for the next step. Shards beyond `count` got no tile and hold zeros.
    """
    total = _tree(0, count, VECTOR)
    clear = "\n".join(f"        store(gradient, i + {k} * stride, zero)" for k in range(count))
    return Kernel(
        "reduce",
        f"""def kernel(activation, parameter, gradient, operand):
    begin = operand[0]
    end = operand[1]
    stride = operand[2]
    zero = broadcast(0.0)
    for i in range(begin, end, LANES):
        store(activation, i, {total})
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

_MAPPED = """\
        segments, starts = integers(operand[at]), integers(operand[at + 1])
        index, coefficient = halves(operand[at + 2]), address(operand[at + 3])
        scaled = operand[at + 3] != 0
"""
_SEGMENT = """\
first, count = segments[4 * s], segments[4 * s + 1]
free, step = segments[4 * s + 2], segments[4 * s + 3]
whole = 0
"""


def _looked_up(put: str, found: str) -> str:
    """Text for the entries of a segment that no vector moved: what is put for free number k."""
    loop = f"""
    for i in range(first + whole, first + count):
        k = index[i]
        if k >= 0:
            {put} """
    return f"if scaled:{loop}coefficient[i] * {found}\nelse:{loop}{found}\n"


# Copies of storages through index maps: parameter[target + i] = c[i] * parameter[source + k(i)].
# Operands are how many rows there are, and rows: addresses of segments, of their starts by block,
# of the index and of coefficients (or 0), source, target, and blocks from begin to end. See
# `tiedgraph.runtime.maps` for segments. Entries in none of them are zero and stay it.
EXPAND = Kernel(
    "expand",
    f"""def kernel(activation, parameter, gradient, operand):
    for r in range(operand[0]):
        at = 1 + 8 * r
{_MAPPED}
        source, target = operand[at + 4], operand[at + 5]
        for s in range(starts[operand[at + 6]], starts[operand[at + 7]]):
{indent(_SEGMENT, " " * 12)}
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
{indent(_looked_up("parameter[target + i] =", "parameter[source + k]"), " " * 12)}
""",
)

# Copies of parameters in another order. Operands are how many rows there are, and rows (source,
# target, rows, columns, how far these are apart in the source): each copies one matrix, whose
# columns then lie side by side.
REORDER = Kernel(
    "reorder",
    """def kernel(activation, parameter, gradient, operand):
    for r in range(operand[0]):
        at = 1 + 6 * r
        source, target = operand[at], operand[at + 1]
        rows, columns = operand[at + 2], operand[at + 3]
        down, right = operand[at + 4], operand[at + 5]
        for first in range(0, columns, LANES):
            last = min(first + LANES, columns)
            known = 0
            if down == 1 and first + LANES <= columns:
                known = rows // LANES * LANES
                for row in range(0, known, LANES):
                    begin = source + row + first * right
                    into = target + row * columns + first
                    transpose(parameter, begin, right, parameter, into, columns)
            for row in range(known, rows):
                for c in range(first, last):
                    found = parameter[source + row * down + c * right]
                    parameter[target + row * columns + c] = found
""",
)


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
{_MAPPED}
        numbers, target = operand[at + 4], operand[at + 5]
        sums, stride = address(operand[at + 8]), operand[at + 9]
        for block in range(operand[at + 6], operand[at + 7]):
            place = target + block * {ENTRIES}
            end = min(place + {ENTRIES}, target + numbers)
            for i in range(place, end, LANES):
                store(gradient, i, {_tree(0, count, VECTOR)})
            for s in range(starts[block], starts[block + 1]):
{indent(_SEGMENT, " " * 16)}
                if step != 0:
                    whole = count // LANES * LANES
                    for i in range(0, whole, LANES):
                        v = load(gradient, target + first + i)
                        if scaled:
                            v = v * load(coefficient, first + i)
                        to = free + i
                        if step < 0:
                            to = free - i - LANES + 1
                            v = backwards(v, v)
                        store(sums, to, load(sums, to) + v)
{indent(_looked_up("sums[k] +=", "gradient[target + i]"), " " * 16)}
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

# Work is cut into phases of jobs, and a job is taken by whichever thread comes first. What threads
# share, 64-bit integers; see `tiedgraph.runtime.team`.
SHARED = (
    "open",  # the jobs to be had: helpers << 48 | first << 24 | end
    "jobs",  # address of the phase's rows; read after one was taken, when it cannot change
    "left",  # jobs of the phase that are not done
)
SHARED_SIZE = 24  # three cache lines: one for each of them, so that none waits for another
LINE = 8
OPEN, JOBS, LEFT = (LINE * SHARED.index(name) for name in SHARED)
MOST = (1 << 24) - 1  # jobs of a phase

# A job's row. Kernels that need memory of their own find it at activation + own * thread.
JOB = ("entry", "activation", "parameter", "gradient", "operand", "own")


def _run_job(row: str, thread: str, deep: int) -> str:
    """Text that runs the job at `row` of the table `jobs`."""
    return f"""at = {len(JOB)} * ({row})
call(
    jobs[at], address(jobs[at + 1] + {thread} * jobs[at + 5]), address(jobs[at + 2]),
    address(jobs[at + 3]), integers(jobs[at + 4]),
)""".replace("\n", "\n" + " " * deep)


# Takes jobs, from the end, as they are opened; returns when there was none for `patience` looks.
# Operands are the addresses of what is shared and of whether this thread sleeps, its number, from
# 1, and its patience.
STAND = Kernel(
    "stand",
    f"""def kernel(activation, parameter, gradient, operand):
    shared = integers(operand[0])
    asleep = integers(operand[1])
    thread = operand[2]
    patience = operand[3]
    store_release(asleep, 0, 0)
    looks = 0
    while looks <= patience:
        state = load_acquire(shared, {OPEN})
        end = state & {MOST}
        if thread <= state >> 48 and (state >> 24) & {MOST} < end:
            if looks == patience:
                store_release(asleep, 0, 0)
            if compare_and_swap(shared, {OPEN}, state, state - 1):
                jobs = integers(shared[{JOBS}])
                {_run_job("end - 1", "thread", 16)}
                fetch_add(shared, {LEFT}, -1)
            looks = 0
        else:
            pause()
            looks += 1
            if looks == patience:
                # Whoever opens jobs from here on sees it; one more look for those before.
                fetch_add(asleep, 0, 1)
""",
)

# Leads through phases of jobs, each of which begins when the one before is done. Jobs are taken
# from the start here, and by the helpers from the end, so that in each run a thread meets much the
# same memory. `operand` has, by name:
LEADING = (
    "jobs",  # address of the rows of all phases
    "counts",  # address of the number of jobs of each phase, at least one
    "phases",
    "helpers",  # other threads that may take jobs, the first of them where jobs are few
    "shared",
    "asleep",  # address of whether each helper sleeps
    "patience",  # looks at jobs of others before it returns, to be called again
    "gate",  # address of a number, first 0; no further phase begins where it is not
    "phase",  # where to go on; these three are 0 before a work and after it
    "row",
    "waiting",  # whether the phase is begun and not done
)

LEAD = Kernel(
    "lead",
    f"""def kernel(activation, parameter, gradient, operand):
    jobs = integers(operand[0])
    counts = integers(operand[1])
    most = operand[3]
    shared = integers(operand[4])
    asleep = integers(operand[5])
    gate = integers(operand[7])
    phase = operand[8]
    row = operand[9]
    waiting = operand[10]
    if phase == 0 and waiting == 0:
        gate[0] = 0
    while phase < operand[2]:
        count = counts[phase]
        helpers = min(most, count - 1)
        if helpers == 0:
            for i in range(count):
                {_run_job("row + i", "0", 16)}
        else:
            sleepers = 0
            if waiting == 0:
                shared[{JOBS}] = operand[0] + {8 * len(JOB)} * row
                store_release(shared, {LEFT}, count)
                fetch_add(shared, {OPEN}, (helpers << 48 | count) - load_acquire(shared, {OPEN}))
                for w in range(helpers):
                    sleepers += load_acquire(asleep, w)
                waiting = 1
            if sleepers != 0:
                break
            done = 0
            state = load_acquire(shared, {OPEN})
            while (state >> 24) & {MOST} < state & {MOST}:
                if compare_and_swap(shared, {OPEN}, state, state + {1 << 24}):
                    {_run_job(f"row + ((state >> 24) & {MOST})", "0", 20)}
                    done += 1
                state = load_acquire(shared, {OPEN})
            if done != 0:
                fetch_add(shared, {LEFT}, -done)
            looks = 0
            while load_acquire(shared, {LEFT}) != 0 and looks < operand[6]:
                pause()
                looks += 1
            if load_acquire(shared, {LEFT}) != 0:
                break
            waiting = 0
        row += count
        phase += 1
        if gate[0] != 0:
            phase = operand[2]
    if phase == operand[2]:
        phase = 0
        row = 0
    operand[8] = phase
    operand[9] = row
    operand[10] = waiting
""",
)
