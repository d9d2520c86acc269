"""Cuts the yearly sunspot numbers into cases: twelve years, and the year after them.

    python make_years.py        writes sunspots-train.npz, sunspots-test.npz and sunspots-late.npz

Numbers are divided by 100. Training years end in 1920; the tests are 1921 to 1955 and 1956 to 1979.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
PAST = 12
SCALE = 100.0
SPANS = {"train": (1712, 1920), "test": (1921, 1955), "late": (1956, 1979)}


def span(first: int, last: int) -> dict[str, np.ndarray]:
    """Cases of the years from first to last: `past` [n, 12], oldest first, and `next` [n, 1]."""
    year, spots = np.loadtxt(HERE / "sunspots.csv", delimiter=",", skiprows=1).T
    begin = int(year[0])
    rows = np.arange(first - begin, last - begin + 1)
    past = np.stack([spots[row - PAST : row] for row in rows])
    return {
        "past": (past / SCALE).astype(np.float32),
        "next": (spots[rows, None] / SCALE).astype(np.float32),
    }


if __name__ == "__main__":
    for name, years in SPANS.items():
        arrays = span(*years)
        np.savez_compressed(HERE / f"sunspots-{name}.npz", **arrays)
        print(f"sunspots-{name}.npz: {len(arrays['next'])} years")
