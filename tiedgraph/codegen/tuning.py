"""What `tiedgraph tune` found to be fastest, kept beside the kernels.

An entry belongs to one program (its ops, settings, shapes and dtype, wherever its file lies) on one
kind of processor, as machine code does. It tells for numbers of samples how many of them make a
tile. What cannot be read, or names a tile that does not exist, counts as not there.
"""

from __future__ import annotations

import json
from dataclasses import replace

from tiedgraph.codegen import cache
from tiedgraph.ir.types import shape_text
from tiedgraph.ops.rules import Kernel
from tiedgraph.passes.schedule import Schedule

PREFIX = "tuned-"


def with_tuned(schedule: Schedule) -> Schedule:
    """The schedule with what is known of it; the same where nothing is."""
    if not cache.holds(PREFIX):
        return schedule
    return replace(schedule, tuned=_read(schedule))


def keep(schedule: Schedule, samples: int, lanes: int) -> None:
    """Keeps a choice, beside those for other numbers of samples."""
    found = {**_read(schedule), samples: lanes}
    text = json.dumps({str(n): found[n] for n in sorted(found)})
    cache.write(_key(schedule), text.encode())


def _read(schedule: Schedule) -> dict[int, int]:
    payload = cache.read(_key(schedule))
    if payload is None:
        return {}
    try:
        found = {int(n): lanes for n, lanes in json.loads(payload).items()}
    except (ValueError, AttributeError):
        return {}
    return {n: lanes for n, lanes in found.items() if lanes in schedule.tiles}


def _key(schedule: Schedule) -> str:
    from tiedgraph.codegen import kernels

    graph = schedule.graph
    text = [str(schedule.lanes)]
    for name in schedule.order:
        node = graph.nodes[name]
        shapes = [shape_text(graph.shape_of(value)) for value in (*node.inputs, *node.outputs)]
        params = [shape_text(graph.params[param].shape) for param in node.params]
        text.append(f"{node.role} {node.op} {node.attrs} {node.epilogue} {shapes} {params}")
    return PREFIX + kernels.key(Kernel("tuned", "\n".join(text)), schedule.dtype)
