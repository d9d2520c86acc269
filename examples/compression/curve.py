"""Draws ratio against error of candidates that `tiedgraph compress` tried.

    python curve.py measured.csv -o curve.svg
    python curve.py measured.csv --add lenet5 1 0.2 lenet5.json     appends a report to the table

A report is what `tiedgraph compress ... --format json` prints.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

FIELDS = ("net", "seed", "strength", "round", "bytes", "ratio", "numbers_left", "error")
NETS = {
    "lenet300": ("LeNet-300-100", "#0072b2", "o"),
    "lenet5": ("LeNet-5 (Caffe)", "#d55e00", "s"),
}
# (ratio, error in percent on the official test images, whose)
PUBLISHED = (
    (64, 1.94, "Ullrich et al. 2017, LeNet-300-100"),
    (162, 0.97, "Ullrich et al. 2017, LeNet-5"),
)


def add(table: Path, net: str, seed: int, strength: float, report: Path) -> None:
    """Appends the candidates of a report."""
    found = json.loads(report.read_text())["candidates"]
    new = not table.exists()
    with table.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(FIELDS)
        for number, c in enumerate(found, 1):
            ratio, error = f"{c['ratio']:.1f}", f"{c['error']:.4f}"
            writer.writerow([net, seed, strength, number, c["bytes"], ratio, c["kept"], error])


def draw(table: Path, picture: Path) -> None:
    """One point for each candidate."""
    import matplotlib
    from matplotlib.figure import Figure

    rows = list(csv.DictReader(table.open()))
    matplotlib.rcParams["svg.hashsalt"] = "tiedgraph"
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for net, (title, colour, marker) in NETS.items():
        own = [row for row in rows if row["net"] == net]
        ratio = [float(row["ratio"]) for row in own]
        error = [100 * float(row["error"]) for row in own]
        axes.plot(ratio, error, marker, color=colour, label=title, ls="", alpha=0.8)
    for ratio, error, whose in PUBLISHED:
        axes.plot(ratio, error, "x", color="#000000")
        axes.annotate(whose, (ratio, error), (5, 5), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    ticks = [50, 100, 200, 400, 800]
    axes.set_xticks(ticks, [f"{tick}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("bytes as float32 over bytes of the file")
    axes.set_ylabel("error on 5,000 held out images, %")
    axes.set_ylim(0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(picture, metadata={"Date": None} if picture.suffix == ".svg" else None)


def main() -> None:
    """Reads the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("table", type=Path)
    options.add_argument("-o", "--output", type=Path)
    options.add_argument("--add", nargs=4, metavar=("NET", "SEED", "STRENGTH", "REPORT"))
    given = options.parse_args()
    if given.add:
        net, seed, strength, report = given.add
        add(given.table, net, int(seed), float(strength), Path(report))
    if given.output:
        draw(given.table, given.output)


if __name__ == "__main__":
    main()
