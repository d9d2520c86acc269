"""The experiment: accuracy against recordings of each word, with phonemes shared and without.

    python run.py --seeds 5 --recordings 1 2 5 10 --peer --plot accuracy.svg

For each number of recordings and each seed it trains `gaussian.tie` (phonemes shared by all words)
on so many recordings of 68 words, and measures it on the same words by other voices and on 41 words
that were never trained; with --peer also hmmlearn's models of whole words.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import numpy as np
from pick import HERE, pick

import tiedgraph as tg

MODELS = {
    "1 Gaussian": ("gaussian.tie", {"MIXTURES": 1}),
    "2 Gaussians": ("gaussian.tie", {"MIXTURES": 2}),
}


def tied(name: str, parts: dict, seed: int, folder: Path) -> tuple[float, float, float]:
    """Accuracy on test voices, on new words, and seconds of training."""
    file, constants = MODELS[name]
    model = tg.compile(HERE / file, define=constants, seed=seed)
    begun = time.perf_counter()
    model.fit(parts["train"])
    seconds = time.perf_counter() - begun
    model.save(folder / "run")
    new = tg.load(folder / "run", lexicon=HERE / "new.dict")
    errors = [m.evaluate(parts[p])["word_error"] for m, p in ((model, "test"), (new, "new"))]
    return 1 - errors[0], 1 - errors[1], seconds


def lengths() -> list[int]:
    """States of a whole word: three for each phoneme, and three at either end."""
    words: dict[str, int] = {}
    for line in (HERE / "words.dict").read_text().splitlines():
        if line[:1] != "#":
            words.setdefault(line.split()[0].partition("(")[0], 3 * len(line.split()[1:]) + 6)
    return list(words.values())


def whole(parts: dict, epochs: int = 10) -> tuple[float, float]:
    from whole_words import accuracy, train

    logging.getLogger("hmmlearn").setLevel(logging.ERROR)
    begun = time.perf_counter()
    models = train(parts["train"], lengths(), epochs)
    seconds = time.perf_counter() - begun
    return accuracy(models, parts["test"]), seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--recordings", type=int, nargs="+", default=[1, 2, 5, 10])
    parser.add_argument("--peer", action="store_true", help="hmmlearn too, which takes long")
    parser.add_argument("--plot", type=Path, help="a picture of the table")
    asked = parser.parse_args()
    import tempfile

    columns = [f"{name}, {what}" for name in MODELS for what in ("known", "new")]
    columns += ["whole words (hmmlearn)"] if asked.peer else []
    print("| recordings | " + " | ".join(columns) + " |")
    print("| --- " * (1 + len(columns)) + "|")
    table = {}
    for recordings in asked.recordings:
        rows = []
        for seed in range(asked.seeds):
            parts = pick(recordings, seed)
            row: list[float] = []
            with tempfile.TemporaryDirectory() as folder:
                for name in MODELS:
                    row += tied(name, parts, seed, Path(folder))[:2]
            if asked.peer:
                row.append(whole(parts)[0])
            rows.append(row)
        table[recordings] = np.array(rows)
        means, spread = table[recordings].mean(axis=0), table[recordings].std(axis=0)
        cells = " | ".join(f"{m:.3f} ± {s:.3f}" for m, s in zip(means, spread, strict=True))
        print(f"| {recordings} | {cells} |", flush=True)
    if asked.plot is not None:
        draw(table, columns, asked.plot)


def draw(table: dict[int, np.ndarray], columns: list[str], path: Path) -> None:
    """Accuracy against recordings of each word, one line a column."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for i, column in enumerate(columns):
        means = [rows[:, i].mean() for rows in table.values()]
        spread = [rows[:, i].std() for rows in table.values()]
        axes.errorbar(list(table), means, spread, marker="o", capsize=3, label=column)
    axes.set_xscale("log")
    axes.set_xticks(list(table), [str(n) for n in table])
    axes.minorticks_off()
    axes.set_xlabel("recordings of each word")
    axes.set_ylabel("accuracy, unseen voices")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    main()
