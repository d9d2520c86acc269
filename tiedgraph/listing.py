"""Stages of the compiler as text, for `compile --emit`; each line names its place in the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from tiedgraph.codegen import kernels
from tiedgraph.codegen.tape import Tape, write_tape
from tiedgraph.diagnostics import Span
from tiedgraph.ir.graph import Graph, Node
from tiedgraph.ir.print import print_graph
from tiedgraph.ir.types import Extent, shape_text
from tiedgraph.model import some_lengths
from tiedgraph.passes.memory import Memory, plan_memory, plan_parameters
from tiedgraph.passes.schedule import Schedule
from tiedgraph.passes.ties import reached
from tiedgraph.syntax import ast


def stage_text(stage: str, state: Any, lengths: Mapping[str, int] | None = None) -> str:
    """A stage of `tiedgraph.compiler.STAGES`.

    state: what the compiler passed to its observer: a tree, a graph, or the schedule, from which
    memory, tape and kernels follow. lengths: of run-time sizes; a few steps more than are needed
    by default.
    """
    if stage == "ast":
        return "\n".join(_tree(state)) + "\n"
    if isinstance(state, Graph):
        return print_graph(state)
    bound = dict(lengths or some_lengths(state.graph))
    if stage == "schedule":
        return _schedule(state)
    if stage == "memory":
        return _memory(state, plan_memory(state, bound), bound)
    graph = state.graph
    tape = write_tape(state, plan_parameters(graph, frozenset(reached(graph))), bound)
    return _tape(state, tape, bound) if stage == "tape" else _kernels(state, tape)


# ---------------------------------------------------------------- tables


def _place(span: Span | None) -> str:
    return "" if span is None else f"{Path(span.source.path).name}:{span.line}"


def _table(rows: Iterable[Iterable[object]], indent: int = 2) -> list[str]:
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        return []
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return [
        " " * indent
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _at(lengths: Mapping[str, int]) -> str:
    told = ", ".join(f"{name} = {count}" for name, count in lengths.items())
    return f" at {told}" if told else ""


# ---------------------------------------------------------------- the tree


def _tree(node: Any, depth: int = 0, name: str = "") -> Iterable[str]:
    """One line a node: its kind, its plain fields, and its place."""
    pad = "  " * depth + (f"{name}: " if name else "")
    if not isinstance(node, ast.Node):
        yield f"{pad}{node!r}"
        return
    plain, inner = [], []
    for item in fields(node):
        value = getattr(node, item.name)
        if item.name == "span" or value in (None, ()):
            continue
        if is_dataclass(value) or isinstance(value, tuple):
            inner.append((item.name, value))
        else:
            plain.append(f"{item.name}={value!r}")
    words = " ".join([type(node).__name__, *plain])
    yield f"{pad}{words}  {_place(node.span)}"
    for field, value in inner:
        if not isinstance(value, tuple):
            yield from _tree(value, depth + 1, field)
        else:
            for part in value:
                yield from _tree(part, depth + 1, field if not isinstance(part, ast.Node) else "")


# ---------------------------------------------------------------- schedule, memory


def _what(node: Node) -> str:
    name = "+".join([node.op, *node.epilogue])
    return f"{name} backwards" if node.role == "backward" else name


def _schedule(plan: Schedule) -> str:
    graph = plan.graph
    head = (
        f"schedule of {graph.name}: {plan.dtype}, {plan.lanes} lanes along {plan.lane_axis}, "
        f"so {plan.lanes} samples a tile; {plan.registers.count} registers of "
        f"{plan.registers.width} numbers"
    )
    rows: list[list[object]] = [["step", "does", "reads", "makes", ""]]
    for step, name in enumerate(plan.order):
        node = graph.nodes[name]
        makes = [
            f"{value} {shape_text(graph.shape_of(value))}"
            + (f" onto {before}" if before is not None else "")
            for value, before in zip(
                node.outputs, node.accumulate or (None,) * len(node.outputs), strict=True
            )
        ]
        makes += [f"d({p})" for p in node.params if node.role == "backward"]
        reads = [*node.inputs, *node.params]
        rows.append([step, _what(node), ", ".join(reads), ", ".join(makes), _place(node.span)])
    return "\n".join([head, *_table(rows)]) + "\n"


def _memory(plan: Schedule, memory: Memory, lengths: Mapping[str, int]) -> str:
    graph = plan.graph
    head = (
        f"memory of one tile of {graph.name}{_at(lengths)}: {memory.size} vectors of "
        f"{plan.lanes} numbers"
    )
    rows: list[list[object]] = [["vectors", "from", "steps", "value", ""]]
    values = [value for value in graph.values if value in memory.values]
    for value in sorted(values, key=lambda v: (memory.values[v], v)):
        first, last = _life(plan, value)
        size = 1
        for n in memory.shapes[value]:
            size *= n
        rows.append(
            [size, memory.values[value], f"{first}-{last}", value, _place(graph.values[value].span)]
        )
    return "\n".join([head, *_table(rows)]) + "\n"


def _life(plan: Schedule, value: str) -> tuple[int, int]:
    used = [
        step
        for step, name in enumerate(plan.order)
        if value in (*plan.graph.nodes[name].inputs, *plan.graph.nodes[name].outputs)
    ]
    return (min(used), max(used)) if used else (0, 0)


# ---------------------------------------------------------------- tape, kernels


def _tape(plan: Schedule, tape: Tape, lengths: Mapping[str, int]) -> str:
    graph = plan.graph
    sizes = sorted(
        {
            size
            for value in graph.values.values()
            for size in (value.type.shape if value.type else ())
            if isinstance(size, Extent)
        },
        key=str,
    )
    told = ", ".join(f"{size} is {size.value(lengths[size.symbol])}" for size in sizes)
    lines = [
        f"tape of {graph.name}{_at(lengths)}: {len(tape.rows)} rows in {len(tape.stretches)} "
        f"stretches, {tape.arena} numbers of activations a tile" + (f"; {told}" if told else "")
    ]
    rows: list[list[object]] = [["row", "kernel", "for", "operands", ""]]
    for number, row in enumerate(tape.rows):
        node = graph.nodes[row.node]
        flags = " once" * row.once + " in training" * row.update
        operands = " ".join(_operand(o) for o in row.operands)
        rows.append([number, row.kernel.name + flags, row.node, operands, _place(node.span)])
    return "\n".join([*lines, *_table(rows)]) + "\n"


def _operand(operand: int) -> str:
    """Bit patterns of floats are long; they are shown as hexadecimal."""
    return str(operand) if abs(operand) < 2**40 else hex(operand)


def _kernels(plan: Schedule, tape: Tape) -> str:
    uses = Counter((row.kernel, row.lanes) for row in tape.rows)
    users: dict[Any, list[str]] = {}
    for row in tape.rows:
        place = _place(plan.graph.nodes[row.node].span)
        users.setdefault((row.kernel, row.lanes), []).append(place)
    parts = [f"kernels of {plan.graph.name}: {len(uses)}, {plan.dtype}"]
    for (kernel, lanes), count in uses.items():
        places = ", ".join(dict.fromkeys(filter(None, users[kernel, lanes])))
        key = kernels.key(kernel, plan.dtype, lanes)
        parts.append(f"\n# {kernel.name}: {count} rows, for {places}; {key}\n{kernel.source}")
    return "\n".join(parts)
