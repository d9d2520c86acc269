"""`task NAME { ... }` and `tie shared ... across`: what belongs to a task, what several share."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from tiedgraph.diagnostics import Diagnostics, Span, nearest
from tiedgraph.ir.graph import Graph, Instance, Node, Term, Tie, TieMember, Value
from tiedgraph.ops.uncertainty import LEARNED_WEIGHT, Uncertainty
from tiedgraph.passes.made import Made
from tiedgraph.passes.scope import name_span, path_text
from tiedgraph.passes.settings import train_settings
from tiedgraph.syntax import ast

# What a task may hold; the rest stands outside, with `task.name` where it needs to.
INSIDE = (
    ast.Data | ast.Let | ast.Output | ast.Loss | ast.Metric | ast.Settings | ast.Initialise
    | ast.Freeze
)  # fmt: skip


def fits_inside(statement: ast.Statement, task: ast.Task, diagnostics: Diagnostics) -> bool:
    """Whether a statement may stand in a task; reports it otherwise."""
    if isinstance(statement, INSIDE) and not (
        isinstance(statement, ast.Settings) and statement.role == "train"
    ):
        return True
    hint = "a task holds inputs, targets, values, losses, metrics, outputs and data { }"
    if isinstance(statement, ast.TieHard | ast.TieSoft | ast.TieShared):
        hint = f"write it outside, with paths such as {task.name}.h.weight"
    elif isinstance(statement, ast.Const | ast.Block):
        hint = "write it outside: constants and blocks are visible in all tasks"
    elif isinstance(statement, ast.Settings):
        hint = "training is for all tasks together: write train { } outside"
    diagnostics.error(
        "E0209",
        f"this statement cannot stand inside task '{task.name}'",
        statement.span,
        others=[(name_span(task, task.name), "the task")],
        hint=hint,
    )
    return False


def claim_for_task(made: Made, before: Collection[str], task: str) -> None:
    """Marks the nodes and data that were made since as the task's."""
    for name, node in made.nodes.items():
        if name not in before:
            made.nodes[name] = replace(node, task=task)
    for name, item in made.data.items():
        if name not in before:
            made.data[name] = replace(item, task=task)


def read_shared(
    statement: ast.TieShared, number: int, tasks: Mapping[str, Span], diagnostics: Diagnostics
) -> list[Tie]:
    """A tie for each name, with one member in each task; none after a report."""
    good = True
    for i, task in enumerate(statement.tasks):
        if task not in tasks:
            hint = nearest(task, tasks) or f"there are: {', '.join(tasks) or 'no tasks'}"
            diagnostics.error(
                "E0201", f"there is no task '{task}'", statement.span, label="names it", hint=hint
            )
            good = False
        elif task in statement.tasks[:i]:
            diagnostics.error(
                "E0202", f"task '{task}' is named twice", statement.span, hint="once is enough"
            )
            good = False
    if not good:
        return []
    text = " ".join(statement.span.text.split())
    ties = []
    for i, selector in enumerate(statement.members):
        path = path_text(selector.parts)
        members = tuple(TieMember(f"{t}.{path}", span=selector.span) for t in statement.tasks)
        name = f"shared{number}.{i}" if len(statement.members) > 1 else f"shared{number}"
        ties.append(Tie(name, "shared", members, (), text, statement.span))
    return ties


def weigh_by_uncertainty(graph: Graph) -> Graph:
    """With `balance = uncertainty` each loss gets a weight that is learned; `infer_shapes` follows.

    The variance of a loss is the parameter `LOSS.balance.log_variance`.
    """
    if train_settings(graph).balance != "uncertainty":
        return graph
    nodes, values, instances = dict(graph.nodes), dict(graph.values), dict(graph.instances)
    losses = []
    for term in graph.losses:
        path = f"{term.name}.balance"
        producer = nodes.get(values[term.value].producer)
        half = producer is not None and producer.op == "mse"
        nodes[path] = Node(
            path,
            LEARNED_WEIGHT.name,
            Uncertainty(half),
            (term.value,),
            outputs=(path,),
            role="loss",
            task=term.task,
            instance=path,
            span=term.span,
        )
        values[path] = Value(path, None, path, term.span)
        instances[path] = Instance(path, LEARNED_WEIGHT.name, span=term.span)
        losses.append(replace(term, value=path))
    return graph.replace(nodes=nodes, values=values, instances=instances, losses=tuple(losses))


# ---------------------------------------------------------------- one task of several


def losing_tasks(graph: Graph) -> tuple[str, ...]:
    """Tasks with a loss, in the order of the file; "" is what stands outside of all."""
    return tuple(dict.fromkeys(term.task for term in graph.losses))


def only_tasks(graph: Graph, tasks: Collection[str]) -> Graph:
    """The graph with the losses and metrics of some tasks alone; `simplify` drops the rest."""

    def of_them(terms: Sequence[Term]) -> tuple[Term, ...]:
        return tuple(term for term in terms if term.task in tasks)

    return graph.replace(losses=of_them(graph.losses), metrics=of_them(graph.metrics))


def inputs_of_tasks(graph: Graph, tasks: Collection[str]) -> list[str]:
    """Names of the data that the losses and metrics of some tasks are computed from."""
    needed = {term.value for term in (*graph.losses, *graph.metrics) if term.task in tasks}
    for name, node in reversed(list(graph.nodes.items())):
        if name in needed or needed.intersection(node.outputs):
            needed.add(name)
            needed.update(node.inputs)
    return [
        name
        for name, item in graph.data.items()
        if name in needed and item.role in ("input", "target")
    ]
