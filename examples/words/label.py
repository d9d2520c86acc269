"""Tells of each frame which state of which phoneme it belongs to, as a trained model aligns it.

    python label.py runs/gaussian --data train.npz -o frames.npz

writes the frames with `state` [recordings, longest]: three states for each phoneme of the lexicon
in the order of their names, then three of silence, as `network.tie` has them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from pick import HERE

import tiedgraph as tg

STATES = 3


def units() -> list[str]:
    """Phonemes of `words.dict` by name, and silence."""
    lines = (HERE / "words.dict").read_text().splitlines()
    return [*sorted({p for x in lines if x[:1] != "#" for p in x.split()[1:]}), "silence"]


def label(model: tg.Model, part: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The recordings with the states on the most probable way through their own word."""
    number = {name: i for i, name in enumerate(units())}
    state = np.zeros((len(part["word"]), part["mfcc"].shape[2]), np.int64)
    for row, found in zip(state, tg.Recogniser(model).align(part), strict=True):
        for item in found.hypotheses[0].parts.states:
            unit, _, place = item.name.rpartition(".")
            row[item.begin : item.end] = STATES * number[unit] + int(place)
    return {"mfcc": part["mfcc"], "mfcc.length": part["mfcc.length"], "state": state}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=HERE / "train.npz")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "frames.npz")
    asked = parser.parse_args()
    labelled = label(tg.load(asked.run), dict(np.load(asked.data)))
    np.savez_compressed(asked.output, **labelled)
    print(f"{asked.output}: {int(labelled['mfcc.length'].sum())} frames")


if __name__ == "__main__":
    main()
