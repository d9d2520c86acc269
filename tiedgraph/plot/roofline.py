"""The roofline of a model: each node's speed against how much it computes for each byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tiedgraph.measure import Speed
from tiedgraph.plot.figures import CALM, STRONG, content_of, figure_of

NAMED = 8  # nodes that are told by name


def plot_roofline(speed: Speed, path: Path) -> bytes:
    """A picture as the content of a file of the path's kind; nodes as large as their share of time.

    Source: Williams, Waterman and Patterson, Roofline (2009). Raises RunError without matplotlib.
    """
    figure = figure_of(8, 5)
    axes = figure.add_subplot()
    machine = speed.machine
    found = [node for node in speed.nodes if node.flops and node.bytes]
    total = sum(node.seconds for node in speed.nodes) or 1.0
    x = np.geomspace(0.02, 200, 200)
    for rate, style, name in ((machine.near, "-", "near cache"), (machine.far, "--", "memory")):
        axes.plot(x, np.minimum(machine.flops, rate * x) / 1e9, style, color=CALM, label=name)
    for index, node in enumerate(sorted(found, key=lambda n: -n.seconds)):
        at = node.flops / node.bytes, node.flops / node.seconds / 1e9
        size = 12 + 1500 * node.seconds / total
        axes.scatter([at[0]], [at[1]], s=size, color=STRONG, alpha=0.5, lw=0)
        if index < NAMED:
            axes.annotate(node.node, at, (6, -3), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations for each byte read or written")
    axes.set_ylabel("GFLOP/s of one thread")
    axes.set_title(f"{speed.mode}, batch {speed.batch}, {speed.tile} samples a tile")
    axes.legend(frameon=False)
    return content_of(figure, path)
