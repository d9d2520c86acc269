"""The peer: a model of its own for each word, trained by hmmlearn on the same recordings."""

from __future__ import annotations

import numpy as np
from hmmlearn import hmm
from pick import HERE

FLOOR = 0.3  # least variance, of that of all frames: the best of 0.01, 0.03, 0.1, 0.3 with seed 0


def lengths() -> list[int]:
    """States of each word: three for each phoneme, and three at either end."""
    found: dict[str, int] = {}
    for line in (HERE / "words.dict").read_text().splitlines():
        if line[:1] != "#":
            word, *phonemes = line.split()
            found.setdefault(word.partition("(")[0], 3 * len(phonemes) + 6)
    return list(found.values())


def train(
    part: dict[str, np.ndarray], states: list[int], epochs: int, floor: float = FLOOR
) -> list[hmm.GaussianHMM]:
    """One model a word: so many states from left to right, begun with equal stretches of time."""
    lengths = part["mfcc.length"]
    every = [x[:, :n].T for x, n in zip(part["mfcc"], lengths, strict=True)]
    spread = np.concatenate(every).var(axis=0)
    models = []
    for word, count in enumerate(states):
        rows = np.flatnonzero(part["word"] == word)
        own = [every[row] for row in rows]
        x = np.concatenate(own).astype(np.float64)
        place = np.concatenate([np.arange(len(one)) * count // len(one) for one in own])
        model = hmm.GaussianHMM(
            count,
            "diag",
            n_iter=epochs,
            tol=-np.inf,
            params="tmc",
            init_params="",
            covars_prior=floor * spread,
            covars_weight=1,
            implementation="scaling",
        )
        model.startprob_ = np.eye(count)[0]
        model.transmat_ = 0.5 * (np.eye(count) + np.eye(count, k=1))
        model.transmat_[-1, -1] = 1.0
        stretches = [x[place == s] if (place == s).any() else x for s in range(count)]
        model.means_ = np.stack([one.mean(axis=0) for one in stretches])
        model.covars_ = np.stack([np.maximum(one.var(axis=0), floor * spread) for one in stretches])
        model.fit(x, [len(one) for one in own])
        model.implementation = "log"  # long recordings of other words underflow
        model.covars_ = np.maximum(np.stack([np.diag(c) for c in model.covars_]), floor * spread)
        models.append(model)
    return models


def accuracy(models: list[hmm.GaussianHMM], part: dict[str, np.ndarray]) -> float:
    """Part of the recordings whose own word's model finds them the most probable."""
    right = 0
    for x, length, word in zip(part["mfcc"], part["mfcc.length"], part["word"], strict=True):
        frames = x[:, :length].T.astype(np.float64)
        right += int(np.argmax([model.score(frames) for model in models])) == word
    return right / len(part["word"])
