"""Ties: views, index maps, and the kinds of tie that a file may hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TieKind:
    """One kind of tie: how it is written, and what it does."""

    name: str
    statement: str
    doc: str


TIE_KINDS: tuple[TieKind, ...] = (
    TieKind(
        "hard",
        "tie hard a, b    or    tie hard a = view(b)",
        "The same numbers: one storage, one gradient, one optimiser step, read through views.",
    ),
    TieKind(
        "index_map",
        "tie hard a by map(...)",
        "Entries of one parameter share free numbers through an index map.",
    ),
)
