"""Headers of `.npy` files, read by patterns alone.

NumPy's own reader hands the text to Python's parser; a header from elsewhere should not get so far.
Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import IO, Any

import numpy as np

MAGIC = b"\x93NUMPY"
LONGEST = 2**16  # bytes of a header
MOST_AXES = 32

_ENTRY = re.compile(
    r"""\s*(['"])(?P<key>\w+)\1\s*:\s*(
        (['"])(?P<type>[<>|=][biufcOSUVmM]\d{0,5}(\[\w{1,6}\])?)\4
        | (?P<flag>True|False)
        | \((?P<shape>[\d\sL,]*)\)
    )\s*(,|$)""",
    re.VERBOSE | re.ASCII,
)
_SIZES = re.compile(r"\s*(\d{1,20}L?\s*(,\s*\d{1,20}L?\s*)*,?\s*)?", re.ASCII)


@dataclass(frozen=True)
class Header:
    """What a header says. offset: where the numbers start."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    offset: int

    @property
    def bytes(self) -> int:
        """Length of the numbers."""
        return prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes]) -> Header:
    """The header at the start of a file, which is left behind it; raises ValueError."""
    start = file.read(8)
    if len(start) < 8 or start[:6] != MAGIC:
        raise ValueError("it is not a .npy file")
    wide = {1: 2, 2: 4, 3: 4}.get(start[6])
    if wide is None or start[7]:
        raise ValueError(f"version {start[6]}.{start[7]} of the .npy format is not known")
    length = int.from_bytes(file.read(wide), "little")
    content = file.read(length) if length <= LONGEST else b""
    if not content or len(content) != length:
        raise ValueError("its header is cut off or too long")
    found = _entries(content.decode("latin-1").strip())
    if found.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError("its header is not that of an array of numbers")
    try:
        dtype = np.dtype(found["descr"]["type"])
    except TypeError:
        raise ValueError(f"its type {found['descr']['type']} is not known") from None
    sizes = found["shape"]["shape"]
    if not _SIZES.fullmatch(sizes) or sizes.count(",") > MOST_AXES:
        raise ValueError(f"its shape ({sizes[:60]}) is none")
    shape = tuple(int(size) for size in re.findall(r"\d+", sizes))
    fortran = found["fortran_order"]["flag"] == "True"
    return Header(shape, dtype, fortran, 8 + wide + length)


def _entries(text: str) -> dict[str, dict[str, str]]:
    """The entries of a dictionary of one type, one flag and one shape; {} where it is none."""
    if not (text.startswith("{") and text.endswith("}")):
        return {}
    inner, at = text[1:-1].rstrip(), 0
    found: dict[str, dict[str, str]] = {}
    kinds = {"descr": "type", "fortran_order": "flag", "shape": "shape"}
    while at < len(inner):
        entry = _ENTRY.match(inner, at)
        if entry is None:
            return {}
        key = entry["key"]
        if key in found or key not in kinds or entry[kinds[key]] is None:
            return {}
        found[key] = entry.groupdict()
        at = entry.end()
    return found
