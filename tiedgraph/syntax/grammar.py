"""Where the grammar is: inside the package when installed, beside it in a checkout."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def grammar_text() -> str:
    """The text of `tie.lark`. Raises FileNotFoundError if the installation is incomplete."""
    packaged = files("tiedgraph").joinpath("grammar", "tie.lark")
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    beside = Path(__file__).resolve().parents[2] / "grammar" / "tie.lark"
    return beside.read_text(encoding="utf-8")
