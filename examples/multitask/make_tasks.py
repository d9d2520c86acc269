"""Makes four tasks from the digits of the LeNet-5 example, with few labels for one of them.

    python make_tasks.py [--labels 100] [--seed 0]

`digit` has the class of a hundred images only; `parity`, `large` (more than four) and `ink` (how
much of the image is black, in standard deviations) have all 8,000. Test files have all 2,000 each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
DIGITS = HERE.parent / "lenet5"


def tasks(image: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
    """What each task is asked of the same images."""
    ink = image.reshape(len(image), -1).mean(axis=1) / 255
    return {
        "digit": label,
        "parity": label % 2,
        "large": (label > 4).astype(np.uint8),
        "ink": ((ink - 0.131) / 0.043)[:, None].astype(np.float32),
    }


def main() -> None:
    """Writes TASK-train.npz and TASK-test.npz beside this file."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--labels", type=int, default=100)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    for use in ("train", "test"):
        with np.load(DIGITS / f"digits-{use}.npz") as digits:
            image, label = digits["image"], digits["label"]
        few = np.random.default_rng(given.seed).permutation(len(image))[: given.labels]
        for task, target in tasks(image, label).items():
            rows = few if task == "digit" and use == "train" else np.arange(len(image))
            np.savez_compressed(HERE / f"{task}-{use}.npz", image=image[rows], label=target[rows])


if __name__ == "__main__":
    main()
