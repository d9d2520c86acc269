"""Ties: views, index maps, and the kinds of tie that a file may hold.

A kind of tie is one record here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.ir.graph import Graph, Tie
from tiedgraph.ties.cross_task import shared_edges
from tiedgraph.ties.edge import Edge
from tiedgraph.ties.hard import hard_edges
from tiedgraph.ties.index_map import map_edges
from tiedgraph.ties.mixture import MixtureSettings, soft_edges


@dataclass(frozen=True)
class TieKind:
    """One kind of tie.

    name: as in `Tie.kind`. statement: how it is written. doc: what it does, with its source.
    edges: what one statement says parameter by parameter; reports what is wrong with it and leaves
      that out. Given the folder that files may be read from.
    Attrs: frozen dataclass of the entries in braces, where it has any.
    """

    name: str
    statement: str
    doc: str
    edges: Callable[[Graph, Tie, Diagnostics, Path | None], list[Edge]]
    Attrs: type | None = None


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

SOFT = TieKind(
    "soft",
    "tie soft name = a, b { components = 17, ... }",
    """The numbers are drawn from one Gaussian mixture, which is trained at the same time.

    Each keeps its own value and is drawn to a few common ones. The loss gets strength / N times
    the complexity - sum_i log sum_j pi_j N(w_i | mu_j, sigma_j^2), where i goes over the free
    numbers of all members (a hard-tied number counts once) and N is the number of training
    samples: Nowlan and Hinton (1992), equation 3. A component at zero, priors and the default
    rates are those of Ullrich, Meeds and Welling (2017). With one component the numbers are drawn
    from the same Gaussian. The mixture is moved by Adam with rates of its own.""",
    soft_edges,
    MixtureSettings,
)

SHARED = TieKind(
    "shared",
    "tie shared h across a, b",
    """What several tasks call `h` has one set of parameters.

    Each task computes it from its own data; a gradient is the sum over the tasks (Caruana 1997).
    What is made outside of all tasks is shared without a word.""",
    shared_edges,
)

TIE_KINDS: tuple[TieKind, ...] = (HARD, INDEX_MAP, SOFT, SHARED)
KINDS_BY_NAME: dict[str, TieKind] = {kind.name: kind for kind in TIE_KINDS}
