"""Picks recordings for one experiment from `speech.npz`.

    python pick.py --recordings 2 --seed 0 -o data

writes train.npz (so many recordings of each word, each by another voice), test.npz (the same words
by other voices) and new.npz (words that were never trained, by those voices).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tiedgraph import audio

HERE = Path(__file__).parent


def words(name: str) -> list[str]:
    """The words of a lexicon, in its order."""
    lines = (HERE / name).read_text().splitlines()
    return list(dict.fromkeys(x.split()[0].partition("(")[0] for x in lines if x[:1] != "#"))


def pick(recordings: int, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """The three parts, each with mfcc [samples, 26, longest], mfcc.length and word."""
    found = dict(np.load(HERE / "speech.npz"))  # each array is unpacked once
    ends = np.cumsum(found["length"])
    voice, word, voices = found["voice"], found["word"].astype(int), int(found["test"])
    known = len(words("words.dict"))
    rng = np.random.default_rng(seed)
    own = np.stack([rng.permutation(voices)[:recordings] for _ in range(known)])
    learnt = (voice < voices) & (voice[:, None] == own[np.minimum(word, known - 1)]).any(axis=1)
    chosen = {
        "train": (learnt, 0),
        "test": ((voice >= voices) & (word < known), 0),
        "new": ((voice >= voices) & (word >= known), known),
    }
    parts = {}
    for name, (which, first) in chosen.items():
        rows = np.flatnonzero(which)
        cut = [
            audio.finish(found["frames"][end - n : end].T * found["scale"][:, None])
            for end, n in zip(ends[rows], found["length"][rows].astype(int), strict=True)
        ]
        lengths = np.array([x.shape[1] for x in cut])
        mfcc = np.zeros((len(cut), len(cut[0]), lengths.max()), np.float32)
        for row, x in zip(mfcc, cut, strict=True):
            row[:, : x.shape[1]] = x
        parts[name] = {"mfcc": mfcc, "mfcc.length": lengths, "word": word[rows] - first}
    return parts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--recordings", type=int, default=2, help="of each word, 1 to 14")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=HERE)
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    for name, arrays in pick(asked.recordings, asked.seed).items():
        np.savez_compressed(asked.output / f"{name}.npz", **arrays)
        print(f"{name}.npz: {len(arrays['word'])} recordings")


if __name__ == "__main__":
    main()
