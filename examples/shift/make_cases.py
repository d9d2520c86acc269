"""Draws the cases of shift detection: was a string of bits turned one place left, or right?

    python make_cases.py [SEED]     writes shift-train.npz, shift-validate.npz and shift-test.npz

A case is a string of 10 bits and the same string turned. Strings that look alike turned either way
are left out; of the other 2,040 cases each is in one of the three sets only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
BITS = 10
SIZES = {"train": 100, "test": 1300, "validate": 640}


def cases(seed: int) -> dict[str, dict[str, np.ndarray]]:
    """The three sets: `bits` [n, 20] of -1 and 1, `right` [n, 1] of 0 and 1."""
    strings = np.arange(2**BITS)[:, None] >> np.arange(BITS) & 1
    left, right = np.roll(strings, -1, axis=1), np.roll(strings, 1, axis=1)
    told = (left != right).any(axis=1)
    bits = np.concatenate([np.hstack([strings, turned])[told] for turned in (left, right)])
    side = np.repeat([0.0, 1.0], int(told.sum()))
    order = np.random.default_rng(seed).permutation(len(bits))
    found, begin = {}, 0
    for name, size in SIZES.items():
        rows = order[begin : begin + size]
        begin += size
        found[name] = {
            "bits": (2 * bits[rows] - 1).astype(np.float32),
            "right": side[rows, None].astype(np.float32),
        }
    return found


def fields() -> np.ndarray:
    """Index of the 80 weights [10, 20]: each unit sees four neighbours in both strings; -1 is none.

    Two units share each of five fields, which begin at every second place and go round the end.
    """
    index = np.full((BITS, 2 * BITS), -1, np.int16)
    for unit in range(BITS):
        places = (unit // 2 * 2 + np.arange(4)) % BITS
        index[unit, places] = 8 * unit + np.arange(4)
        index[unit, BITS + places] = 8 * unit + 4 + np.arange(4)
    return index


if __name__ == "__main__":
    chosen = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    for name, arrays in cases(chosen).items():
        np.savez_compressed(HERE / f"shift-{name}.npz", **arrays)
        print(f"shift-{name}.npz: {len(arrays['right'])} cases")
