"""What a value is: its kind and its shape, where a size may be known only at run time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

Kind = Literal["float", "index", "class"]


@dataclass(frozen=True)
class Extent:
    """A run-time size: `(symbol + offset) // divisor`, never below zero.

    Every layer over time maps such a size to such a size, since nested floors of integers
    collapse: `((s + a) // b + c) // d == (s + a + b * c) // (b * d)`.
    """

    symbol: str
    offset: int = 0
    divisor: int = 1

    def plus(self, number: int) -> Extent:
        return Extent(self.symbol, self.offset + number * self.divisor, self.divisor)

    def over(self, number: int) -> Extent:
        """This size divided by `number`, rounded down."""
        return Extent(self.symbol, self.offset, self.divisor * number)

    def value(self, length: int) -> int:
        """The size for one length of the symbol."""
        return max(0, (length + self.offset) // self.divisor)

    def smallest(self) -> int:
        """The least length of the symbol for which this size is at least one."""
        return max(1, self.divisor - self.offset)

    def __str__(self) -> str:
        inner = self.symbol
        if self.offset:
            inner += f" {'+' if self.offset > 0 else '-'} {abs(self.offset)}"
        if self.divisor == 1:
            return inner
        return f"({inner}) / {self.divisor}" if self.offset else f"{inner} / {self.divisor}"


Dim = int | Extent
Shape = tuple[Dim, ...]


@dataclass(frozen=True)
class Type:
    """The type of one sample of a value; the batch axis is implied.

    kind: `float`, `index` (integers below `bound`) or `class` (labels below `bound`).
    shape: sizes without the batch, channels first; () is one number.
    """

    kind: Kind
    shape: Shape
    bound: int = 0

    @property
    def symbols(self) -> frozenset[str]:
        return frozenset(size.symbol for size in self.shape if isinstance(size, Extent))

    @property
    def run_time_axes(self) -> tuple[int, ...]:
        return tuple(i for i, size in enumerate(self.shape) if isinstance(size, Extent))

    def __str__(self) -> str:
        sizes = [str(self.bound)] if self.kind != "float" else []
        sizes += [str(size) for size in self.shape]
        return f"{self.kind}[{', '.join(sizes)}]" if sizes else self.kind


def bind(shape: Shape, lengths: Mapping[str, int]) -> tuple[int, ...]:
    """The shape in numbers, given the length of each symbol."""
    return tuple(
        size.value(lengths[size.symbol]) if isinstance(size, Extent) else size for size in shape
    )


def elements(shape: Iterable[int]) -> int:
    """Number of entries, in Python integers (cannot overflow)."""
    return prod(shape)


def shape_text(shape: Shape) -> str:
    return f"[{', '.join(str(size) for size in shape)}]"
