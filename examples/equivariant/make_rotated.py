"""Turns the digits of the lenet5 example by a quarter, a half or three quarters.

    python make_rotated.py      writes turned-train.npz and turned-test.npz beside this file

The training set has 2,000 digits, each turned at random; the test set has all 2,000 test digits,
turned at random. Sixes and nines stay as hard as they are.
"""

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
DIGITS = HERE.parent / "lenet5"


def turned(part: str, count: int, seed: int) -> dict[str, np.ndarray]:
    """The first `count` digits of a part, turned: image [count, 1, 28, 28] and label [count]."""
    rng = np.random.default_rng(seed)
    with np.load(DIGITS / f"digits-{part}.npz") as digits:
        image, label = digits["image"][:count], digits["label"][:count]
    quarters = rng.integers(0, 4, count)
    rotated = [np.rot90(x, k, axes=(1, 2)) for x, k in zip(image, quarters, strict=True)]
    return {"image": np.stack(rotated), "label": label}


if __name__ == "__main__":
    for part, seed in (("train", 3), ("test", 4)):
        arrays = turned(part, 2000, seed)
        np.savez_compressed(HERE / f"turned-{part}.npz", **arrays)
        print(f"turned-{part}.npz: {len(arrays['label'])} digits")
