"""What `build` has made so far, and whom the expression at hand belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tiedgraph.diagnostics import Span
from tiedgraph.ir.graph import Chain, DataInput, Instance, Node, Value
from tiedgraph.passes.scope import Result

Statement = Literal["value", "loss", "metric"]


@dataclass
class Owner:
    """The statement that an expression stands in.

    stem: what names of intermediate values start with.
    path: path of the one instance without a label; None in `loss` and `metric`.
    claimed: the call that is that instance.
    """

    statement: Statement
    stem: str
    path: str | None
    claimed: Span | None = None


@dataclass
class Made:
    """The graph so far.

    named: every path that an expression can refer to, `enc.h`, `layers[2]`.
    repeats: path of a repeat -> how many instances.
    places: path of a value with a name -> that name and where it is defined.
    used: paths that an expression referred to.
    reserved: names inside blocks, which ids of values without a name avoid.
    """

    data: dict[str, DataInput] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    chains: dict[str, Chain] = field(default_factory=dict)
    named: dict[str, Result] = field(default_factory=dict)
    repeats: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    places: dict[str, tuple[str, Span]] = field(default_factory=dict)
    reserved: set[str] = field(default_factory=set)
    _next: dict[str, int] = field(default_factory=dict)

    def fresh(self, stem: str, word: str) -> str:
        """An id for something without a name, `c1.conv2d`, that no name of the file can have."""
        base = f"{stem}.{word}"
        while True:
            number = self._next.get(base, 1)
            self._next[base] = number + 1
            last = word if number == 1 else f"{word}_{number}"
            found = f"{stem}.{last}"
            if last not in self.reserved and found not in self.nodes:
                return found
