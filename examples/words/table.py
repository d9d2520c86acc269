"""The table and the picture of what `run.py` measured.

python table.py measured.csv -o accuracy.svg
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

NAMES = {
    "gaussian": "tied, 1 Gaussian",
    "mixture": "tied, 4 Gaussians",
    "codebook": "tied, codebook",
    "network": "tied, network",
    "whole": "whole words (hmmlearn)",
}
Found = dict[tuple[str, str], dict[int, list[float]]]


def read(path: Path) -> Found:
    """Accuracies over seeds, by model and set and then by recordings of each word."""
    found: Found = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name in ("known", "new"):
                if row[name]:
                    of = found.setdefault((row["model"], name), {})
                    of.setdefault(int(row["recordings"]), []).append(float(row[name]))
    return found


def cell(rights: list[float], seeds: int) -> str:
    """`83.3 ± 1.2`, and how many seeds that is over where it is not all of them."""
    told = f"{100 * np.mean(rights):.1f} ± {100 * np.std(rights):.1f}"
    return told if len(rights) == seeds else f"{told} ({len(rights)})"


def table(found: Found) -> str:
    """Mean and standard deviation over seeds, in percent; a row a model and set."""
    counts = sorted({n for rows in found.values() for n in rows})
    seeds = max(len(rights) for rows in found.values() for rights in rows.values())
    lines = ["| | words | " + " | ".join(f"{n} a word" for n in counts) + " |"]
    lines.append("| --- " * (2 + len(counts)) + "|")
    for name in ("known", "new"):
        for model, told in NAMES.items():
            rows = found.get((model, name))
            if rows:
                cells = [cell(rows[n], seeds) if n in rows else "" for n in counts]
                lines.append(f"| {told} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(found: Found, path: Path) -> None:
    """Accuracy against recordings of each word: words that were trained, and new ones."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "words"
    from matplotlib import pyplot

    figure, sides = pyplot.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
    titles = {"known": "68 words that were trained", "new": "41 words never heard"}
    for axes, (name, title) in zip(sides, titles.items(), strict=True):
        for i, (model, told) in enumerate(NAMES.items()):
            rows = found.get((model, name))
            if rows:
                counts = sorted(rows)
                means = [np.mean(rows[n]) for n in counts]
                spread = [np.std(rows[n]) for n in counts]
                style = "--" if model == "whole" else "-"
                axes.errorbar(
                    counts, means, spread, fmt="o" + style, capsize=3, color=f"C{i}", label=told
                )
        ticks = sorted({n for rows in found.values() for n in rows})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [str(n) for n in ticks])
        axes.minorticks_off()
        axes.set_xlabel("recordings of each word")
        axes.set_title(title)
        axes.grid(alpha=0.3)
    sides[0].set_ylabel("accuracy, unseen voices")
    sides[0].set_ylim(0, 1)
    sides[0].legend(loc="lower right")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("measured", type=Path)
    parser.add_argument("-o", "--output", type=Path, help="a picture: .svg, .png or .pdf")
    asked = parser.parse_args()
    found = read(asked.measured)
    print(table(found))
    if asked.output is not None:
        draw(found, asked.output)


if __name__ == "__main__":
    main()
