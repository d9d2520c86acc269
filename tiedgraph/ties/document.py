"""The page on ties, made from the records of kinds, views and index maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any

from tiedgraph.ties import TIE_KINDS
from tiedgraph.ties.index_map import MAP_KINDS
from tiedgraph.ties.view import VIEW_KINDS

HEAD = """# Ties

Made from the records in `tiedgraph/ties`; do not edit.

A parameter is a view of a storage, and a tie says which parameters read the same one. Gradients
add up in the storage, and an optimiser walks storages: a shared number has one gradient, one
momentum, one term in weight decay and in the gradient's norm, however often it is read. All ties of
a file are resolved together, so their order does not matter.
"""

RULES = """## Together

- The owner of the numbers is the parameter that is read, right of `=`; in a list it is the first
  one. The owner's initialiser and its fans fill the storage. An `init` of another member has no
  effect, and a warning says so.
- Freezing one member freezes the numbers, and so all members.
- Statistics that a layer keeps, such as the running mean of `batch_norm`, are tied to statistics
  only.
- `a = slice(b)` makes `a` a part of `b`. Views that lose numbers lead one way, so a parameter
  cannot be a part of two things of which neither is part of the other (E0402).
- Ties may go in a circle as long as their views agree, as four turns by a quarter do. Where they
  agree only if some numbers are equal, `tiedgraph check` warns (W0004) and `explain` tells what
  the ties imply together, such as that a matrix is symmetric. Where they agree only at zero it is
  an error (E0406), and so is a parameter that is tied to a differing view of itself (E0403): say
  `by symmetric` or what else is meant.
- Views that only change strides cost nothing. What no strides read (negate, scale, a reshape of a
  transpose, every index map) is copied before each step and its gradient summed back after it.
"""


def ties_page() -> str:
    """Markdown of all kinds of tie, views and index maps."""
    parts = [HEAD]
    for kind in TIE_KINDS:
        parts.append(f"## {kind.name.replace('_', ' ').capitalize()}\n")
        parts.append(f"```text\n{kind.statement}\n```\n")
        parts.append(_text(kind.doc))
        if kind.Attrs is not None:
            parts.append(_entries(kind.Attrs))
    parts.append("## Views\n")
    parts.append("`tie hard a = VIEW(b, ...)`; views may stand inside views.\n")
    parts.append(_table("view", ((v.name, v.arguments, v.doc) for v in VIEW_KINDS), "b"))
    parts.append("## Index maps\n")
    parts.append("`tie hard a by MAP(...)`.\n")
    parts.append(_table("map", ((m.name, m.arguments, m.doc) for m in MAP_KINDS), ""))
    parts.append(RULES)
    return "\n".join(parts)


def _table(
    title: str, rows: Iterable[tuple[str, tuple[tuple[str, Any], ...], str]], operand: str
) -> str:
    lines = [f"| {title} | what it does |", "| --- | --- |"]
    for name, arguments, doc in rows:
        inside = [operand] if operand else []
        inside += [
            key if default is ... else f"{key}={_value(default)}" for key, default in arguments
        ]
        call = f"{name}({', '.join(inside)})" if inside else name
        lines.append(f"| `{call}` | {' '.join(doc.split())} |")
    return "\n".join(lines) + "\n"


def _entries(attrs: type) -> str:
    """A table of the entries in braces, and what may stand in them."""
    lines = ["| entry | default | meaning |", "| --- | --- | --- |"]
    records: dict[str, type] = {}
    for item in fields(attrs):
        about = item.metadata
        records |= about.get("records", {})
        shown = "none" if item.default is None else item.default
        lines.append(f"| `{item.name}` | {shown} | {about['doc']} |")
    lines += ["", "| in place of a number | entries | meaning |", "| --- | --- | --- |"]
    for name, record in records.items():
        inside = ", ".join(
            item.name if item.default is MISSING else f"{item.name}={item.default:g}"
            for item in fields(record)
        )
        told = "; ".join(f"{item.name}: {item.metadata['doc']}" for item in fields(record))
        lines.append(f"| `{name}({inside})` | {told} | {(record.__doc__ or '').strip()} |")
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    return "end" if value is None else str(value)


def _text(doc: str) -> str:
    paragraphs = doc.split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in paragraphs) + "\n"
