"""What all plots share: colours, files, and the library that may be missing."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tiedgraph.diagnostics import RunError

STRONG, CALM, OTHER = "#0072b2", "#999999", "#d55e00"  # of the palette of Okabe and Ito


def can_plot() -> bool:
    """Whether matplotlib is there, which the extra `plot` installs."""
    return find_spec("matplotlib") is not None


def figure_of(wide: float, tall: float) -> Any:
    """An empty figure of so many inches. Raises RunError where matplotlib is not installed."""
    if not can_plot():
        raise RunError("plots need matplotlib: pip install 'tiedgraph[plot]'")
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "tiedgraph"
    return Figure(figsize=(wide, tall), layout="constrained")


def content_of(figure: Any, path: Path) -> bytes:
    """A figure as the content of a file of the path's kind, the same from run to run."""
    kind = path.suffix.lstrip(".")
    about = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    content = io.BytesIO()
    figure.savefig(content, format=kind, dpi=120, metadata=about)
    return content.getvalue()
