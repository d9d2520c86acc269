"""The peer: a model of its own for each word, trained by hmmlearn on the same recordings."""

from __future__ import annotations

import numpy as np
from hmmlearn import hmm
from pick import HERE

# Least variance, of that of all frames. Trained on ten of the training voices and measured on the
# other four, 0.1, 0.3, 0.6 gave 72, 76, 74 % at 2 recordings, 0.1 and 0.3 gave 95, 94 % at 10; two
# states for each phoneme and two at either end were as good, one and one worse.
FLOOR = 0.3


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
        model.covars_ = np.maximum(np.stack([np.diag(c) for c in model.covars_]), floor * spread)
        models.append(model)
    return models


class Scorer:
    """What `model.score` answers, of all models at once: their states side by side, and the sum
    over all ways from left to right, in logarithms."""

    def __init__(self, models: list[hmm.GaussianHMM]) -> None:
        longest = max(model.n_components for model in models)
        size = models[0].means_.shape[1]
        self.held, self.left = np.full((2, len(models), longest), -np.inf)
        means, precisions = np.zeros((2, len(models), longest, size))
        self.constant = np.full((len(models), longest), -np.inf)
        for i, model in enumerate(models):
            n = model.n_components
            variances = np.stack([np.diag(c) for c in model.covars_])
            means[i, :n], precisions[i, :n] = model.means_, 1 / variances
            self.constant[i, :n] = -0.5 * np.log(2 * np.pi * variances).sum(axis=1)
            with np.errstate(divide="ignore"):
                self.held[i, :n] = np.log(np.diag(model.transmat_))
                self.left[i, : n - 1] = np.log(np.diag(model.transmat_, 1))
        self.constant -= 0.5 * (means * means * precisions).sum(axis=2)
        self.squares = -0.5 * precisions.reshape(-1, size).T
        self.slopes = (means * precisions).reshape(-1, size).T

    def scores(self, frames: np.ndarray) -> np.ndarray:
        """Log probability of frames [steps, size] under each model."""
        dense = (frames * frames) @ self.squares + frames @ self.slopes
        found = dense.reshape(len(frames), *self.constant.shape) + self.constant
        to = np.full(self.constant.shape, -np.inf)
        to[:, 0] = found[0, :, 0]
        for now in found[1:]:
            moved = to[:, :-1] + self.left[:, :-1]
            to = to + self.held
            to[:, 1:] = np.logaddexp(to[:, 1:], moved)
            to = to + now
        return np.logaddexp.reduce(to, axis=1)


def accuracy(models: list[hmm.GaussianHMM], part: dict[str, np.ndarray]) -> float:
    """Part of the recordings whose own word's model finds them the most probable."""
    scorer, right = Scorer(models), 0
    for x, length, word in zip(part["mfcc"], part["mfcc.length"], part["word"], strict=True):
        right += int(np.argmax(scorer.scores(x[:, :length].T.astype(np.float64)))) == word
    return right / len(part["word"])
