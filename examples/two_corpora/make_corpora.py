"""Makes two corpora of vowels for the example: few recordings with a speaker, many without.

    python make_corpora.py [--labelled 3] [--seed 0]

`speaker` has so many recordings of each of the nine speakers, with their names. `ahead` has all
others, and is asked for the next frame of each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def main() -> None:
    """Writes speaker-train.npz and ahead-train.npz beside this file."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--labelled", type=int, default=3)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    with np.load(HERE.parent / "tdnn" / "vowels-train.npz") as vowels:
        frames, lengths, speaker = (vowels[name] for name in ("frames", "frames.length", "speaker"))
    rng = np.random.default_rng(given.seed)
    few = np.concatenate(
        [rng.permutation(np.flatnonzero(speaker == s))[: given.labelled] for s in range(9)]
    )
    rest = np.setdiff1d(np.arange(len(frames)), few)
    np.savez_compressed(
        HERE / "speaker-train.npz",
        **{"frames": frames[few], "frames.length": lengths[few], "speaker": speaker[few]},
    )
    known, steps = frames[rest][:, :, :-1], lengths[rest] - 1
    ahead = np.where(np.arange(known.shape[2]) < steps[:, None, None], frames[rest][:, :, 1:], 0)
    np.savez_compressed(
        HERE / "ahead-train.npz",
        **{"frames": known, "frames.length": steps, "ahead": ahead, "ahead.length": steps},
    )


if __name__ == "__main__":
    main()
