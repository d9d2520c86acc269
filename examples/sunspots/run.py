"""Trains the sunspot series with and without priors on the weights, over many seeds.

    python run.py [--seeds 20] [--epochs 2000] [--first 0]

Prints mean and standard deviation of ARV, the mean squared error over 1535, for both test spans.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from make_years import SCALE, SPANS, span

import tiedgraph as tg

HERE = Path(__file__).parent
VARIANCE = 1535.0  # of the series, as in the papers
WAYS: dict[str, tuple[str, dict[str, float]]] = {
    "no regularisation": ("plain.tie", {}),
    "weight decay": ("plain.tie", {"decay": 0.002}),
    "soft, 3 components": ("soft.tie", {"components": 3}),
    "soft, 8 components": ("soft.tie", {"components": 8}),
}


def measure(way: str, seed: int, epochs: int) -> dict[str, float]:
    """ARV of each span after training on the years to 1920."""
    file, define = WAYS[way]
    model = tg.compile(HERE / file, seed=seed, threads=1, define=define)
    model.fit(span(*SPANS["train"]), epochs=epochs)
    found = {}
    for name, years in SPANS.items():
        cases = span(*years)
        off = SCALE * (model.predict(past=cases["past"])["spots"] - cases["next"])
        found[name] = float((off.astype(np.float64) ** 2).mean() / VARIANCE)
    return found


def main() -> None:
    """Prints one line for each way."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=20)
    options.add_argument("--epochs", type=int, default=2000)
    options.add_argument("--first", type=int, default=0, help="the first seed")
    given = options.parse_args()
    for way in WAYS:
        rows = [
            measure(way, seed, given.epochs)
            for seed in range(given.first, given.first + given.seeds)
        ]
        told = [f"{way:20}"]
        for name, (first, last) in SPANS.items():
            arv = np.array([row[name] for row in rows])
            told.append(f"{first}-{last} {arv.mean():.4f} +- {arv.std():.4f}")
        print("   ".join(told), flush=True)


if __name__ == "__main__":
    main()
