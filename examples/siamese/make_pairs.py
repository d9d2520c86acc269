"""Draws pairs of digits, half of them equal, from the digits of the lenet5 example.

    python make_pairs.py        writes pairs-train.npz and pairs-test.npz beside this file

Training pairs are drawn from training digits and held-out pairs from test digits only.
"""

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
DIGITS = HERE.parent / "lenet5"


def pairs(part: str, count: int, seed: int) -> dict[str, np.ndarray]:
    """`count` pairs as arrays a, b [count, 1, 28, 28] and same [count]."""
    rng = np.random.default_rng(seed)
    with np.load(DIGITS / f"digits-{part}.npz") as digits:
        image, label = digits["image"], digits["label"]
    members = [np.flatnonzero(label == digit) for digit in range(10)]
    first = rng.integers(0, len(label), count)
    same = np.arange(count) % 2
    second = np.empty(count, np.int64)
    for row, index in enumerate(first):
        digit = label[index]
        if not same[row]:
            digit = (digit + rng.integers(1, 10)) % 10
        second[row] = rng.choice(members[digit])
    return {"a": image[first], "b": image[second], "same": same.astype(np.uint8)}


if __name__ == "__main__":
    for part, count, seed in (("train", 8000, 1), ("test", 2000, 2)):
        np.savez_compressed(HERE / f"pairs-{part}.npz", **pairs(part, count, seed))
        print(f"pairs-{part}.npz: {count} pairs")
