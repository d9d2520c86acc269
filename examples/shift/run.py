"""Trains shift detection with and without priors on the weights, over many seeds.

    python run.py [--seeds 20] [--epochs 3000] [--first 0]

Each seed draws its own cases and first weights. Means and standard deviations of the percentage of
cases told right, on the validation set and on the test set; and by how much it is more than with
weight decay, seed by seed, with its standard error.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from make_cases import cases

import tiedgraph as tg

HERE = Path(__file__).parent
EVERY = 50  # epochs between two looks at the validation set
WAYS: dict[str, tuple[str, dict[str, float]]] = {
    "no regularisation": ("plain.tie", {}),
    "weight decay": ("plain.tie", {"decay": 0.002}),
    "soft, 5 components": ("soft.tie", {"components": 5}),
    "soft, 10 components": ("soft.tie", {"components": 10}),
}


def right(model: Any, part: dict[str, np.ndarray]) -> float:
    """Percentage of cases that the model tells right."""
    side = model.predict(bits=part["bits"])["side"]
    return float(100 * ((side > 0.5) == (part["right"] > 0.5)).mean())


def measure(way: str, seed: int, epochs: int) -> dict[str, tuple[float, float]]:
    """(validation, test) after all epochs, and at the best look if nothing regularises."""
    file, define = WAYS[way]
    sets = cases(seed)
    model = tg.compile(HERE / file, seed=seed, threads=1, define=define)
    looks = []
    step = EVERY if way == "no regularisation" else epochs
    for begin in range(0, epochs, step):
        model.fit(sets["train"], epochs=min(step, epochs - begin))
        looks.append((right(model, sets["validate"]), right(model, sets["test"])))
    found = {way: looks[-1]}
    if step != epochs:
        found["early stopping"] = max(looks, key=lambda look: look[0])
    return found


def main() -> None:
    """Prints one line for each way."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=20)
    options.add_argument("--epochs", type=int, default=3000)
    options.add_argument("--first", type=int, default=0, help="the first seed")
    given = options.parse_args()
    decayed: list[float] = []
    for way in WAYS:
        rows: dict[str, list[tuple[float, float]]] = {}
        for seed in range(given.first, given.first + given.seeds):
            for name, pair in measure(way, seed, given.epochs).items():
                rows.setdefault(name, []).append(pair)
        for name, pairs in rows.items():
            mean, spread = np.mean(pairs, axis=0), np.std(pairs, axis=0)
            told = (
                f"{name:20} validation {mean[0]:5.1f} +- {spread[0]:4.1f}   "
                f"test {mean[1]:5.1f} +- {spread[1]:4.1f}"
            )
            tests = [test for _, test in pairs]
            if name == "weight decay":
                decayed = tests
            elif decayed:
                more = np.subtract(tests, decayed)
                error = np.std(more) / max(1, len(more) - 1) ** 0.5
                told += f"   over weight decay {more.mean():+.2f} +- {error:.2f}"
            print(told, flush=True)


if __name__ == "__main__":
    main()
