"""Kernels that go along one axis of a value, seen as [outer, steps, inner], several times.

All numbers of a step lie side by side, so loops go over steps and, inside, over the positions of a
block; what is known of each position so far (its maximum, its sum) waits in scratch memory in the
nearest cache. Going position by position would jump by whole rows, which often share few places in
that cache. Where there is only one position, what is known of it waits in registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tiedgraph.ops.rules import Emitter

BLOCK = 32  # positions of a block
NAMES = 4  # that wait for each position, at most
EXTRA = 4  # where a kernel's own operands begin

SIZES = ("outer, steps, inner, waiting = operand[0], operand[1], operand[2], operand[3]",)
_BLOCKS = (
    "    for o in range(outer):",
    f"        for block in range(0, inner, {BLOCK}):",
    f"            width = min(inner - block, {BLOCK}) * LANES",
)


@dataclass
class Columns:
    """The text of a kernel, written by calls of `once` and `along` in turn.

    single: whether it is for one position only.
    Lines may use `place`, where the position's number lies in a value without the axis, and in
    `along` also `k`, the step, and `at`, where the number lies in its value.
    """

    single: bool
    names: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def once(
        self, lines: Sequence[str], read: Sequence[str] = (), made: Sequence[str] = ()
    ) -> None:
        """Lines for each position; they read and make what waits under these names."""
        at = "at = (o * steps * inner + block) * LANES + i"
        self._positions(" " * 12, [at, *lines], read, made)

    def along(
        self,
        lines: Sequence[str],
        read: Sequence[str] = (),
        carried: Sequence[str] = (),
        first: int = 0,
        before: Sequence[str] = (),
        after: Sequence[str] = (),
    ) -> None:
        """Lines for each step from `first` on of each position; `carried` names are changed.

        before, after: lines for the whole block in each step.
        """
        indent = " " * 12
        self.text.append(f"{indent}for k in range({first}, steps):")
        indent += "    "
        at = "at = ((o * steps + k) * inner + block) * LANES + i"
        self.text += [f"{indent}{line}" for line in before]
        self._positions(indent, [at, *lines], [*read, *carried], carried)
        self.text += [f"{indent}{line}" for line in after]

    def _positions(
        self, indent: str, lines: Sequence[str], read: Sequence[str], made: Sequence[str]
    ) -> None:
        self.names += [name for name in made if name not in self.names]
        body = ["place = (o * inner + block) * LANES + i", *lines]
        if self.single:
            self.text += [f"{indent}{line}" for line in ["i = 0", *body]]
            return
        body = [f"{name} = load(activation, {name}_at + i)" for name in read] + body
        body += [f"store(activation, {name}_at + i, {name})" for name in made]
        self.text.append(f"{indent}for i in range(0, width, LANES):")
        self.text += [f"{indent}    {line}" for line in body]

    def source(self, head: Sequence[str], after: Sequence[str] = ()) -> str:
        """The whole text; `head` makes outer, steps, inner and waiting, as `SIZES` does.

        after: lines behind all loops.
        """
        assert len(self.names) <= NAMES
        lines = [*head, "zero = broadcast(0.0)"]
        if not self.single:
            lines.append(f"room = min(inner, {BLOCK}) * LANES")
            lines += [f"{name}_at = waiting + {i} * room" for i, name in enumerate(self.names)]
        text = [*(f"    {line}" for line in lines), *_BLOCKS, *self.text]
        text += [f"    {line}" for line in after]
        return "def kernel(activation, parameter, gradient, operand):\n" + "\n".join(text) + "\n"


def columns(emitter: Emitter, outer: int, steps: int, inner: int) -> tuple[int, int, int, int]:
    """The operands that `SIZES` reads."""
    return outer, steps, inner, room(emitter, inner)


def room(emitter: Emitter, inner: int) -> int:
    """Scratch memory for what waits."""
    return emitter.scratch(NAMES * min(inner, BLOCK)).offset if inner > 1 else 0
