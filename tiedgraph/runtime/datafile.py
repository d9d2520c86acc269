"""What every reader of data files answers, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tiedgraph.diagnostics import DataError
from tiedgraph.ir.types import Type

Array = np.ndarray[Any, np.dtype[Any]]
# What to read: arrays by name with their types; None for `NAME.length`.
Wanted = Mapping[str, Type | None]
LENGTH = ".length"
LARGEST_TEXT = 2**28  # bytes of a file of text


@dataclass(frozen=True)
class File:
    """An open data file. names: the arrays it holds; read: those that are wanted."""

    names: tuple[str, ...]
    read: Callable[[Wanted], dict[str, Array]]


def reason(error: Exception) -> str:
    """What an exception of the system or of a library says, to stand behind a colon."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def read_text(path: Path) -> str:
    """The text of a file in UTF-8. Raises DataError."""
    try:
        if path.stat().st_size > LARGEST_TEXT:
            raise DataError(f"{path} is larger than {LARGEST_TEXT >> 20} MiB")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason(error)}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8: byte {error.start}") from None
    if "\0" in text:
        raise DataError(f"{path} is no text: it has a byte 0")
    return text


def memory_available() -> int | None:
    """Bytes that can be taken without swapping, in this control group; None if nobody tells."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            found.append(int(limit) - int((group / "memory.current").read_text()))
    except (OSError, ValueError, IndexError):
        pass
    return min(found, default=None)


def check_room(needed: int) -> None:
    """Raises DataError where `needed` bytes are more than there are."""
    room = memory_available()
    if room is not None and needed > room:
        raise DataError(
            f"its arrays take {needed / 1e9:.1f} GB in memory, and {max(0, room) / 1e9:.1f} GB are "
            "free; a folder of .npy files is mapped instead"
        )
