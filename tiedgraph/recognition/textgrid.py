"""Alignments as Praat's TextGrids; praatio writes them (`pip install 'tiedgraph[audio]'`)."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tiedgraph.diagnostics import DataError
from tiedgraph.recognition.parts import Clock, Parts

TIERS = ("word", "phone", "state")


def package() -> Any:
    """praatio. Raises DataError where it is not installed."""
    try:
        from praatio import textgrid
    except ImportError:
        raise DataError("TextGrids need praatio: pip install 'tiedgraph[audio]'") from None
    return textgrid


def textgrid(parts: Parts, frames: int, clock: Clock) -> bytes:
    """A file of the tiers word, phone and state, in seconds."""
    praat = package()
    whole = clock.whole(frames)
    made = praat.Textgrid(0.0, whole)
    for name, items in zip(TIERS, (parts.words, parts.phones, parts.states), strict=True):
        rows = [
            (clock.at(item.begin, frames), clock.at(item.end, frames), item.name) for item in items
        ]
        made.addTier(praat.IntervalTier(name, rows, 0.0, whole))
    # It writes to paths alone; what it wrote is put in its place as a whole by others.
    with TemporaryDirectory() as folder:
        path = Path(folder) / "one.TextGrid"
        made.save(str(path), format="long_textgrid", includeBlankSpaces=True)
        return path.read_bytes()
