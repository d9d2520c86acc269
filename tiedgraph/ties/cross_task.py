"""`tie shared h across a, b`: what several tasks call h is one thing.

Each task computes its own h, from its own data, with the same parameters: Caruana, Multitask
learning, Machine Learning 28 (1997). Parameters are tied as by `tie hard a.h, b.h`.
"""

from __future__ import annotations

from pathlib import Path

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.ir.graph import Graph, Tie
from tiedgraph.ties.edge import Edge
from tiedgraph.ties.hard import hard_edges


def shared_edges(graph: Graph, tie: Tie, diagnostics: Diagnostics, root: Path | None) -> list[Edge]:
    """The other tasks' parameters through the first one's."""
    return hard_edges(graph, tie, diagnostics, root)
