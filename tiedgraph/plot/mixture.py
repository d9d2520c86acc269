"""The numbers of a soft tie and their mixture: at the end, and over training."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tiedgraph.diagnostics import RunError
from tiedgraph.model import Model
from tiedgraph.plot.figures import CALM, OTHER, STRONG, content_of, figure_of
from tiedgraph.ties.mixture import log_terms

Array = np.ndarray[Any, np.dtype[Any]]
BINS = 160
LINE, FILL, ZERO = STRONG, CALM, OTHER


def plot_mixtures(model: Model, history: bytes, path: Path) -> bytes:
    """A picture as the content of a file of the path's kind: svg, png or pdf.

    For each soft tie on the left its numbers and the mixture's density; on the right the
    components' means over training, as wide as two widths, and as dark as they hold numbers.
    history: `mixtures.csv` of a run. Raises RunError where matplotlib is not installed.
    """
    if not model.checked.mixtures:
        raise RunError("the model has no soft tie to plot")
    rows = list(csv.DictReader(io.StringIO(history.decode())))
    names = list(model.checked.mixtures)
    figure = figure_of(11, 3.6 * len(names))
    axes = figure.subplots(len(names), 2, squeeze=False)
    for name, (left, right) in zip(names, axes, strict=True):
        _numbers(left, model, name)
        _traces(right, name, [row for row in rows if row["tie"] == name])
    return content_of(figure, path)


def _numbers(axes: Any, model: Model, name: str) -> None:
    drawn = model.drawn(name).astype(np.float64)
    state = model.mixtures[name]
    low, high = float(drawn.min()), float(drawn.max())
    counts, edges = np.histogram(drawn, BINS, (low, high if high > low else low + 1))
    wide = edges[1] - edges[0]
    axes.bar(edges[:-1], counts, wide, align="edge", color=FILL, label=f"{drawn.size:,} numbers")
    places = np.linspace(edges[0], edges[-1], 4 * BINS)
    logs = np.log(np.maximum(state.proportions, 1e-300))
    terms = np.exp(log_terms(places, state.means, -2 * np.log(state.widths), logs))
    axes.plot(places, terms.sum(axis=1) * drawn.size * wide, color=LINE, label="mixture")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, 2 * counts.max())
    axes.set_xlabel("number")
    axes.set_ylabel(f"how many, in bins of {wide:.2g}")
    axes.set_title(f"{name}: numbers and mixture")
    axes.legend(frameon=False)


def _traces(axes: Any, name: str, rows: Sequence[dict[str, str]]) -> None:
    axes.set_title(f"{name}: means and widths over training")
    axes.set_xlabel("epoch")
    axes.set_ylabel("number")
    if not rows:
        axes.text(0.5, 0.5, "not trained in a run", ha="center", transform=axes.transAxes)
        return
    components = sorted({int(row["component"]) for row in rows})
    total = max(1, sum(int(r["held"]) for r in rows if r["epoch"] == rows[-1]["epoch"]))
    for component in components:
        own = [row for row in rows if int(row["component"]) == component]
        epoch = np.array([float(row["epoch"]) for row in own])
        mean = np.array([float(row["mean"]) for row in own])
        width = np.array([float(row["width"]) for row in own])
        share = int(own[-1]["held"]) / total
        zero = bool((mean == 0).all())
        colour, dark = ZERO if zero else LINE, 0.25 + 0.75 * min(1.0, share * 4)
        axes.plot(epoch, mean, color=colour, alpha=dark, label="zero component" if zero else None)
        axes.fill_between(epoch, mean - width, mean + width, color=colour, alpha=0.15 * dark, lw=0)
    if any(line.get_label() == "zero component" for line in axes.get_lines()):
        axes.legend(frameon=False)
