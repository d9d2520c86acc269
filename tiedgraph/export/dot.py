"""A model in Graphviz's DOT language."""

from __future__ import annotations

from collections.abc import Mapping

from tiedgraph.export.picture import picture
from tiedgraph.export.svg import FILL, PALETTE
from tiedgraph.ir.graph import Graph


def quote(text: str) -> str:
    """A DOT string; line breaks stay inside it."""
    inner = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{inner}"'


def dot(graph: Graph, states: Mapping[str, str] | None = None) -> str:
    """The picture of a checked graph as DOT text; states as for `svg`."""
    what = picture(graph, states)
    colours = {g.letter: PALETTE[i % len(PALETTE)] for i, g in enumerate(what.groups)}
    lines = [
        f"digraph {quote(what.name)} {{",
        '  node [shape=box, style="rounded,filled", fontname="monospace", fontsize=10];',
    ]
    frames: dict[str, list[str]] = {}
    for name, box in what.boxes.items():
        ties = f"\nties {' '.join(box.badges)}" if box.badges else ""
        label = quote("\n".join([box.title, *box.lines]) + ties)
        edge = colours[box.badges[0]] if box.badges else "#3b4653"
        wide = 3 if box.badges else 1
        lines.append(
            f"  {quote(name)} [label={label}, fillcolor={quote(FILL[box.kind])}, "
            f"color={quote(edge)}, penwidth={wide}];"
        )
        if box.frame:
            frames.setdefault(box.frame, []).append(name)
    for i, (frame, names) in enumerate(frames.items()):
        inner = " ".join(f"{quote(name)};" for name in names)
        lines.append(f"  subgraph cluster_{i} {{ label={quote(frame)}; {inner} }}")
    lines += [f"  {quote(a)} -> {quote(b)};" for a, b in what.arrows]
    for group in what.groups:
        told = f"{group.letter}: {', '.join(group.members)}, saves {group.saved}"
        if group.soft:
            told = f"{group.letter} softly: {', '.join(group.members)}, {group.told}"
            told = "\n".join([told, *group.state])
        lines.append(
            f"  {quote('tie ' + group.letter)} [shape=plaintext, style=filled, "
            f"fillcolor={quote(colours[group.letter])}, label={quote(told)}];"
        )
    return "\n".join([*lines, "}"]) + "\n"
