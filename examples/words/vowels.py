"""Speakers of the Japanese vowels: one codebook for all of them, and hmmlearn's models of each.

    python vowels.py --seeds 5 --peer

trains `vowels.tie`, nine chains over one codebook, and with --peer nine models by hmmlearn, each
with mixtures of its own. `--validate` holds out the last ten training utterances of each speaker
and measures on them, to choose sizes by.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np

import tiedgraph as tg

HERE = Path(__file__).parent
DATA = HERE.parent / "tdnn"
Part = dict[str, np.ndarray]


def parts(validate: bool) -> tuple[Part, Part]:
    """What is trained on and what is measured on."""
    train, test = (dict(np.load(DATA / f"vowels-{name}.npz")) for name in ("train", "test"))
    if not validate:
        return train, test
    rank = np.zeros(len(train["speaker"]), int)
    for speaker in range(9):
        rows = train["speaker"] == speaker
        rank[rows] = np.arange(rows.sum())
    first = rank < 20
    return {k: v[first] for k, v in train.items()}, {k: v[~first] for k, v in train.items()}


def tied(train: Part, test: Part, seed: int, gaussians: int, epochs: int | None) -> float:
    model = tg.compile(HERE / "vowels.tie", seed=seed, define={"GAUSSIANS": gaussians})
    model.fit(train, epochs=epochs)
    return 1 - model.evaluate(test)["word_error"]


def frames(part: Part) -> list[np.ndarray]:
    """Each utterance as [steps, 12]."""
    both = zip(part["frames"], part["frames.length"], strict=True)
    return [x[:, :n].T.astype(np.float64) for x, n in both]


def untied(train: Part, test: Part, seed: int, mixtures: int, floor: float = 0.01) -> float:
    """Nine models of three states from left to right, by hmmlearn; floor: as in whole_words.py."""
    from hmmlearn import hmm

    logging.getLogger("hmmlearn").setLevel(logging.CRITICAL)
    every = frames(train)
    least = floor * np.concatenate(every).var(axis=0)
    models = []
    for speaker in range(9):
        own = [every[i] for i in np.flatnonzero(train["speaker"] == speaker)]
        model = hmm.GMMHMM(
            3, mixtures, params="tmcw", init_params="mcw", n_iter=20, tol=-np.inf, random_state=seed
        )
        # One frame more for each Gaussian, whose variance is the floor; without it some get none.
        model.covars_prior = np.full((3, mixtures, 12), -1.0)
        model.covars_weight = np.broadcast_to(least / 2, (3, mixtures, 12))
        model.startprob_ = np.array([1.0, 0.0, 0.0])
        model.transmat_ = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
        model.fit(np.concatenate(own), [len(x) for x in own])
        model.covars_ = np.maximum(model.covars_, least)
        models.append(model)
    scores = [[model.score(x) for model in models] for x in frames(test)]
    return float((np.argmax(np.nan_to_num(scores, nan=-np.inf), axis=1) == test["speaker"]).mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--gaussians", type=int, default=128, help="of the codebook")
    parser.add_argument("--mixtures", type=int, default=2, help="of each of hmmlearn's states")
    parser.add_argument("--epochs", type=int, help="other than the model says")
    parser.add_argument("--peer", action="store_true", help="hmmlearn too: pip install hmmlearn")
    parser.add_argument("--validate", action="store_true")
    asked = parser.parse_args()
    train, test = parts(asked.validate)
    found: dict[str, list[float]] = {}
    for seed in range(asked.seeds):
        right = tied(train, test, seed, asked.gaussians, asked.epochs)
        found.setdefault(f"one codebook of {asked.gaussians}", []).append(right)
        if asked.peer:
            right = untied(train, test, seed, asked.mixtures)
            found.setdefault(f"hmmlearn, {asked.mixtures} Gaussians a state", []).append(right)
    for name, rights in found.items():
        print(f"{name}: {100 * np.mean(rights):.1f} ± {100 * np.std(rights):.1f} %")


if __name__ == "__main__":
    main()
