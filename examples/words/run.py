"""The experiment: accuracy against recordings of each word, with phonemes shared and without.

    python run.py --seeds 5 --recordings 1 2 5 10 -o measured.csv
    python run.py --seeds 5 --recordings 1 2 5 10 --models whole -o measured.csv

trains each model on so many recordings of 68 words and measures it on the same words by other
voices and, where phonemes are shared, on 41 words that were never trained. `whole` are hmmlearn's
models of whole words, which need `pip install hmmlearn`. Rows are added to the file as they are
measured, and what stands there is not measured again; `table.py` makes a table and a picture of it.
"""

from __future__ import annotations

import argparse
import csv
import logging
import tempfile
import time
from pathlib import Path

from label import label
from pick import HERE, pick

import tiedgraph as tg

TIED = {
    "gaussian": ("gaussian.tie", {"MIXTURES": 1}),
    "mixture": ("gaussian.tie", {"MIXTURES": 4}),
    "codebook": ("codebook.tie", {}),
    "network": ("network.tie", {}),
}
COLUMNS = ("model", "recordings", "seed", "known", "new", "seconds")


def trained(name: str, part: dict, seed: int, epochs: int | None) -> tg.Model:
    """A model of phonemes. The network starts from one that learnt which state each frame is of."""
    file, constants = TIED[name]
    model = tg.compile(HERE / file, define=constants, seed=seed)
    if name == "network":
        frames = tg.compile(HERE / "frames.tie", seed=seed)
        frames.fit(label(trained("gaussian", part, seed, epochs), part), epochs=epochs)
        model.start_from(frames)
    model.fit(part, epochs=epochs)
    return model


def tied(name: str, parts: dict, seed: int, epochs: int | None) -> tuple[float, float, float]:
    """Accuracy on test voices, on new words, and seconds of training."""
    begun = time.perf_counter()
    model = trained(name, parts["train"], seed, epochs)
    seconds = time.perf_counter() - begun
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "run")
        new = tg.load(Path(folder) / "run", lexicon=HERE / "new.dict")
    errors = [m.evaluate(parts[p])["word_error"] for m, p in ((model, "test"), (new, "new"))]
    return 1 - errors[0], 1 - errors[1], seconds


def whole(parts: dict, epochs: int | None) -> tuple[float, None, float]:
    """The same of whole words, which know no new ones."""
    from whole_words import accuracy, lengths, train

    logging.getLogger("hmmlearn").setLevel(logging.ERROR)
    begun = time.perf_counter()
    models = train(parts["train"], lengths(), epochs or 10)
    seconds = time.perf_counter() - begun
    return accuracy(models, parts["test"]), None, seconds


def measured(path: Path) -> set[tuple[str, str, str]]:
    """Model, recordings and seed of the rows that are there."""
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {(row["model"], row["recordings"], row["seed"]) for row in csv.DictReader(file)}


def add(path: Path, row: tuple) -> None:
    """One more row, and the head of a new file."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, row] if new else [row])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--recordings", type=int, nargs="+", default=[1, 2, 5, 10])
    parser.add_argument("--models", nargs="+", choices=[*TIED, "whole"], default=list(TIED))
    parser.add_argument("--epochs", type=int, help="other than the models say")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "measured.csv")
    asked = parser.parse_args()
    there = measured(asked.output)
    for recordings in asked.recordings:
        for seed in range(asked.seeds):
            parts = pick(recordings, seed)
            for name in asked.models:
                if (name, str(recordings), str(seed)) in there:
                    continue
                if name == "whole":
                    known, new, seconds = whole(parts, asked.epochs)
                else:
                    known, new, seconds = tied(name, parts, seed, asked.epochs)
                told = "" if new is None else f"{new:.4f}"
                row = (name, recordings, seed, f"{known:.4f}", told, f"{seconds:.1f}")
                add(asked.output, row)
                print(*row, flush=True)


if __name__ == "__main__":
    main()
