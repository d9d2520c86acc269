"""Arrays as few bits: adaptive binary models, coded by constriction's range coder.

The coder is that of R. Bamler, Understanding entropy coding with asymmetric numeral systems, 2022
(package `constriction`). Models count what was coded before, so that nothing of them is stored;
their probabilities are made by additions, multiplications and divisions of float64 alone, which
every machine rounds alike.

The same functions encode and decode: a coder's `bit` is given the bit and answers it, or is given
anything and answers the one that it reads.
"""

from __future__ import annotations

from math import frexp, ldexp, log2
from typing import Any, Protocol

import constriction
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_BERNOULLI = constriction.stream.model.Bernoulli
LEAST = 2.0**-14  # probability of a bit; more certain ones save nothing
OWN = 30.0  # how many entries the general density counts for beside a row's or column's own
MOST_BITS = 40  # of an integer


class Coder(Protocol):
    """What encoding and decoding have in common. part: what the next bits belong to."""

    part: str

    def bit(self, one: float, value: int) -> int:
        """One bit that is 1 with probability `one`."""


class Encoder:
    """Collects bits; `spent` is what those of each part cost, in bits."""

    def __init__(self) -> None:
        self._bits: list[int] = []
        self._ones: list[float] = []
        self.part = ""
        self.spent: dict[str, float] = {}

    def bit(self, one: float, value: int) -> int:
        one = min(max(one, LEAST), 1.0 - LEAST)
        self._bits.append(value)
        self._ones.append(one)
        cost = -log2(one if value else 1.0 - one)
        self.spent[self.part] = self.spent.get(self.part, 0.0) + cost
        return value

    def content(self) -> bytes:
        """All of it, coded."""
        coder = constriction.stream.queue.RangeEncoder()
        if self._bits:
            coder.encode(
                np.array(self._bits, np.int32), _BERNOULLI(perfect=False), np.array(self._ones)
            )
        return bytes(coder.get_compressed().astype("<u4").tobytes()).rstrip(b"\0")


class Decoder:
    """Reads what an `Encoder` made."""

    part = ""

    def __init__(self, content: bytes) -> None:
        padded = content + b"\0" * (-len(content) % 4)
        words = np.frombuffer(padded, "<u4").astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(words)
        self._model = _BERNOULLI(perfect=False)
        self._one = np.empty(1)

    def bit(self, one: float, value: int) -> int:
        self._one[0] = min(max(one, LEAST), 1.0 - LEAST)
        return int(self._coder.decode(self._model, self._one)[0])


class Counter:
    """The probability of a bit from those before it (Krichevsky and Trofimov 1981)."""

    __slots__ = ("all", "ones")

    def __init__(self) -> None:
        self.ones = 0.4
        self.all = 0.8

    def code(self, coder: Coder, value: int) -> int:
        """One more bit."""
        value = coder.bit(self.ones / self.all, value)
        self.ones += value
        self.all += 1.0
        return value


# ---------------------------------------------------------------- codebook indices


def code_indices(coder: Coder, codes: Array, clusters: int) -> Array:
    """Cluster numbers, -1 for zero, of a parameter as a matrix of its first axis by the rest.

    codes: int64 in the parameter's shape; when decoding only its shape counts. Rows and columns
    without any number are told first; the others' positions by the density of their row and column
    so far; then the numbers themselves.
    """
    shape = codes.shape
    given = codes.reshape(shape[0], -1) if codes.ndim > 1 else codes.reshape(1, -1)
    inside: Array = np.asarray(given >= 0)
    coder.part = "positions"
    rows = _flags(coder, np.any(inside, axis=1))
    columns = _flags(coder, np.any(inside, axis=0))
    found = np.full(given.shape, -1, np.int64)
    tree = [Counter() for _ in range(1 << max(1, (clusters - 1).bit_length()))]
    part = _significance(coder, inside[np.ix_(rows, columns)])
    values = given[np.ix_(rows, columns)][part] if part.size else np.zeros(0, np.int64)
    coder.part = "symbols"
    decoded = [_symbol(coder, tree, int(value), clusters) for value in values]
    block = np.full(part.shape, -1, np.int64)
    block[part] = decoded
    found[np.ix_(rows, columns)] = block
    return found.reshape(shape)


def _flags(coder: Coder, given: Array) -> Array:
    counter = Counter()
    return np.flatnonzero([counter.code(coder, int(flag)) for flag in given])


def _significance(coder: Coder, given: Array) -> Array:
    """Which entries are not zero: the odds of the row times those of the column."""
    height, width = given.shape
    found = np.zeros(given.shape, bool)
    in_column = [0] * width
    ones, seen = 0.4, 0.8
    for r in range(height):
        in_row = 0
        row = given[r].tolist()
        for c in range(width):
            overall = ones / seen
            by_row = (in_row + OWN * overall) / (c + OWN)
            by_column = (in_column[c] + OWN * overall) / (r + OWN)
            for_one = by_row * by_column * (1.0 - overall)
            against = (1.0 - by_row) * (1.0 - by_column) * overall
            value = coder.bit(for_one / (for_one + against), row[c])
            if value:
                found[r, c] = True
                in_row += 1
                in_column[c] += 1
                ones += 1.0
            seen += 1.0
    return found


def _symbol(coder: Coder, tree: list[Counter], value: int, clusters: int) -> int:
    """A number below `clusters`, its highest bit first, each bit after those before it."""
    node = 1
    for place in reversed(range(max(1, (clusters - 1).bit_length()))):
        node = 2 * node + tree[node].code(coder, value >> place & 1)
    return node - len(tree)


# ---------------------------------------------------------------- plain numbers


def code_numbers(coder: Coder, given: Array, part: str) -> Array:
    """Numbers of one type, exactly. Multiples of a common power of two take few bits."""
    coder.part = part
    dtype = given.dtype
    flat = given.reshape(-1)
    exponent = grid_of(flat)
    on_grid = Counter().code(coder, int(exponent is not None))
    if not on_grid:
        kind = np.uint32 if dtype == np.float32 else np.uint64
        patterns = [code_plain(coder, int(x), kind(0).itemsize * 8) for x in flat.view(kind)]
        return np.array(patterns, kind).view(dtype).reshape(given.shape)
    place = code_plain(coder, (exponent or 0) + 2**11, 12) - 2**11
    lengths = [Counter() for _ in range(MOST_BITS + 1)]
    scale = ldexp(1.0, place) if -1075 < place < 1000 else 0.0
    if not scale:
        raise ValueError(f"numbers on a grid of 2**{place}")
    whole = [_integer(coder, lengths, round(float(x) / scale)) for x in flat]
    with np.errstate(over="ignore"):
        found = (np.array(whole, np.float64) * scale).astype(dtype)
    if not np.isfinite(found).all():
        raise ValueError("numbers that are too large for their type")
    return np.asarray(found.reshape(given.shape))


def grid_of(numbers: Array) -> int | None:
    """The largest e so that all numbers are below 2**20 times 2**e and multiples of it."""
    values = [float(x) for x in numbers if x != 0]
    if not np.isfinite(numbers).all() or np.signbit(numbers[numbers == 0]).any():
        return None
    if not values:
        return 0
    least = None
    for x in values:
        part, power = frexp(x)
        whole = int(part * 2**53)
        low = power - 53 + (whole & -whole).bit_length() - 1
        least = low if least is None else min(least, low)
    assert least is not None
    largest = max(abs(x) for x in values)
    return least if largest < ldexp(1.0, least + 20) and least < 900 else None


def _integer(coder: Coder, lengths: list[Counter], value: int) -> int:
    """Sign and magnitude: its length in unary, then the bits below the highest."""
    size = abs(value).bit_length()
    length = 0
    while length < MOST_BITS and lengths[length].code(coder, int(length < size)):
        length += 1
    if not length:
        return 0
    low = code_plain(coder, abs(value) & ((1 << (length - 1)) - 1), length - 1)
    negative = coder.bit(0.5, int(value < 0))
    return -((1 << (length - 1)) + low) if negative else (1 << (length - 1)) + low


def code_plain(coder: Coder, value: int, bits: int) -> int:
    """An unsigned integer of so many bits, all alike."""
    found = 0
    for place in reversed(range(bits)):
        found = 2 * found + coder.bit(0.5, value >> place & 1)
    return found
