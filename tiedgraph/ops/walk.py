"""Kernels that walk over the axes that stay, then over those that go.

Sums, maxima and batch statistics are all this walk with other text inside. Along a run-time axis
that goes, a step counts where it is below the sample's length. Steps are met in the order of the
sample whatever the length, so a padded sample gives the same bits as alone. Where no axis that goes
is a run-time one, and all are one loop, kernels have a plain form without masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tiedgraph.ops.rules import Emitter, Kernel

KEPT, GONE = 3, 5  # loops over axes that stay and that go; five axes never need more
FIRST = 6  # operands before the walk's
EXTRA = FIRST + 2 * KEPT + 3 * GONE  # where a kernel's further operands begin


@dataclass(frozen=True)
class Walk:
    """Extents and strides (in numbers) of the loops, and where the lengths lie (-1: all valid)."""

    kept: tuple[tuple[int, int], ...]
    gone: tuple[tuple[int, int, int], ...]

    @property
    def plain(self) -> bool:
        """Whether one loop goes over all numbers that go, and all of them count."""
        return len(self.gone) == 1 and self.gone[0][2] < 0 and self.gone[0][0] > 0

    @property
    def operands(self) -> tuple[int, ...]:
        kept = ((1, 0),) * (KEPT - len(self.kept)) + self.kept
        gone = ((1, 0, -1),) * (GONE - len(self.gone)) + self.gone
        return (*(n for pair in kept for n in pair), *(n for row in gone for n in row))


def walk(
    emitter: Emitter,
    shape: tuple[int, ...],
    gone_axes: Sequence[int],
    timed: Sequence[int],
    declared: int,
) -> Walk:
    """The loops for a value of `shape`, of which `gone_axes` go.

    Neighbouring axes that stay, or that go without lengths, are one loop.
    timed: axes among those that go along which samples have lengths; these are the implicit inputs
      that follow the `declared` ones, in this order.
    """
    kept: list[tuple[int, int]] = []
    gone: list[tuple[int, int, int]] = []
    stride, last = emitter.lanes, ""
    for axis in reversed(range(len(shape))):
        size = shape[axis]
        if axis in timed:
            gone.append((size, stride, emitter.input(declared + timed.index(axis)).offset))
            last = ""
        elif axis in gone_axes:
            if last == "gone":
                gone[-1] = (size * gone[-1][0], *gone[-1][1:])
            else:
                gone.append((size, stride, -1))
            last = "gone"
        else:
            if last == "kept":
                kept[-1] = (size * kept[-1][0], kept[-1][1])
            else:
                kept.append((size, stride))
            last = "kept"
        stride *= size
    return Walk(tuple(reversed(kept)), tuple(reversed(gone)))


@dataclass(frozen=True)
class Nest:
    """Kernels that, for each number that stays, run `before`, `step` for each that goes, `after`.

    The text may use: x, y, z, target, add, choice: the first six operands; `at`: the place of the
    number that goes, relative to its value; `first`: that of the first of them; `o`: that of the
    number that stays; `valid`: which samples have this step; `steps`: how many each sample has;
    `count`: the same, but at least 1; `zero`. Further operands follow from `EXTRA` on.
    """

    name: str
    before: tuple[str, ...]
    step: tuple[str, ...]
    after: tuple[str, ...] = ()

    def kernel(self, loops: Walk) -> Kernel:
        """The form that does for these loops."""
        return _kernel(self, loops.plain)

    def call(self, emitter: Emitter, loops: Walk, places: Sequence[int], *rest: int) -> None:
        """One row; places: of x, y, z, target, add and choice, as far as they are used."""
        missing = (0,) * (FIRST - len(places))
        emitter.call(self.kernel(loops), *places, *missing, *loops.operands, *rest)


@lru_cache
def _kernel(nest: Nest, plain: bool) -> Kernel:
    names = ("x", "y", "z", "target", "add", "choice")
    text = [f"{name} = operand[{i}]" for i, name in enumerate(names)]
    text.append("zero = broadcast(0.0)")
    place = FIRST
    for k in range(KEPT):
        text.append(f"k{k}, ks{k} = operand[{place}], operand[{place + 1}]")
        place += 2
    gone = range(GONE - 1, GONE) if plain else range(GONE)
    for g in gone:
        own = place + 3 * g
        text += [f"g{g}, gs{g} = operand[{own}], operand[{own + 1}]"]
        text += [f"limit{g} = broadcast(g{g})"]
        if not plain:
            text += [
                f"if operand[{own + 2}] >= 0:",
                f"    limit{g} = load(activation, operand[{own + 2}])",
            ]
    text += [
        f"steps = {' * '.join(f'limit{g}' for g in gone)}",
        "count = maximum(steps, broadcast(1.0))",
        "o = 0",
    ]
    indent, at = "", "0"
    for k in range(KEPT):
        text += [f"{indent}for i{k} in range(k{k}):", f"{indent}    a{k} = {at} + i{k} * ks{k}"]
        indent += "    "
        at = f"a{k}"
    text += [f"{indent}{line}" for line in (f"first = {at}", *nest.before)]
    outer, mask = indent, ""
    for g in gone:
        within = "zero == zero" if plain else f"{mask}(limit{g} > j{g})"
        text += [
            f"{indent}for j{g} in range(g{g}):",
            f"{indent}    m{g} = {within}",
            f"{indent}    b{g} = {at} + j{g} * gs{g}",
        ]
        indent += "    "
        at, mask = f"b{g}", f"m{g} & "
    text += [f"{indent}{line}" for line in (f"valid = m{GONE - 1}", f"at = {at}", *nest.step)]
    text += [f"{outer}{line}" for line in (*nest.after, "o += LANES")]
    head = "def kernel(activation, parameter, gradient, operand):\n"
    return Kernel(nest.name, head + "".join(f"    {line}\n" for line in text))
