"""Ties: views, index maps, and the kinds of tie that a file may hold.

A kind of tie is one record here. Soft ties belong into `mixture.py` and ties across tasks into
`cross_task.py`; `build` answers E0901 for both until they exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.ir.graph import Graph, Tie
from tiedgraph.ties.edge import Edge
from tiedgraph.ties.hard import hard_edges
from tiedgraph.ties.index_map import map_edges


@dataclass(frozen=True)
class TieKind:
    """One kind of tie.

    name: as in `Tie.kind`. statement: how it is written. doc: what it does, with its source.
    edges: what one statement says parameter by parameter; reports what is wrong with it and leaves
      that out. Given the folder that files may be read from.
    """

    name: str
    statement: str
    doc: str
    edges: Callable[[Graph, Tie, Diagnostics, Path | None], list[Edge]]


HARD = TieKind(
    "hard",
    "tie hard a, b    or    tie hard a = view(b)",
    """The same numbers under several names: one storage, one gradient, one optimiser step.

    Members are parameters, or instances, which are tied member by member. A view reads the
    numbers of another parameter. A gradient is the sum over all uses, as Rumelhart, Hinton and
    Williams (1986) have it for weights that are constrained to be equal.""",
    hard_edges,
)

INDEX_MAP = TieKind(
    "index_map",
    "tie hard a by map(...)",
    """Entries of one parameter share free numbers: entry e is number `index[e]` times a constant.

    The map may be drawn by a hash, follow from a structure of matrices, or stand in a file.""",
    map_edges,
)

TIE_KINDS: tuple[TieKind, ...] = (HARD, INDEX_MAP)
KINDS_BY_NAME: dict[str, TieKind] = {kind.name: kind for kind in TIE_KINDS}
