"""Word models beside hmmlearn: a step of expectation-maximisation, and decoding; and what they cost
by time, states and words."""

from __future__ import annotations

import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.harness import REST

TITLE = "Word models: 68 words, 10 recordings of each, 3 states a phoneme, one Gaussian; 1 thread"
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "words"
ITERATIONS = 4  # of expectation-maximisation in one call
FEW = 4  # recordings that hmmlearn decodes in a round
PEERS = ("scaling", "log")
AIMS = {"EM": 3, "EM with its metric": 3, "decoding many": 10, "decoding one": 10}

MODEL = """
input mfcc: float[26, time]
target word: class from "words.dict"
unit phone from "words.dict" { states = STATES, emission = gaussian(mfcc) }
unit silence optional { states = STATES, emission = gaussian(mfcc) }
words = chain phone by "words.dict" between silence
loss likelihood(words, word)
output spoken = decode(words)
train { method = em(floor=0.1), batch = 64 }
"""
METRIC = "metric word_error(words, word)\n"


def report_all(rounds: int) -> None:
    """Prints both tables, from one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        print(f"\n{TITLE}", flush=True)
        _beside_hmmlearn(rounds)
        _by_size(rounds)
    finally:
        os.sched_setaffinity(0, before)


def model_of(lexicon: str, states: int = 3, metric: bool = False) -> Any:
    import tiedgraph as tg

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "words.dict").write_text(lexicon)
        file = Path(folder) / "words.tie"
        file.write_text(MODEL.replace("STATES", str(states)) + METRIC * metric)
        return tg.compile(file, threads=1)


def interleaved(
    steps: Mapping[str, Callable[[], object]],
    rounds: int,
    rest: float = REST,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each step in each round, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            time.sleep(rest)
            started = clock()
            step()
            if turn:
                times[name].append(clock() - started)
    return times


# ---------------------------------------------------------------- beside hmmlearn


@dataclass(frozen=True)
class Spoken:
    """train, test: arrays as a model takes them; lexicon: the text; states: of each whole word."""

    train: dict[str, np.ndarray]
    test: dict[str, np.ndarray]
    lexicon: str
    states: list[int]


def spoken() -> Spoken:
    sys.path.insert(0, str(EXAMPLE))
    try:
        from pick import pick
        from whole_words import lengths
    finally:
        sys.path.remove(str(EXAMPLE))
    parts = pick(10, 0)
    return Spoken(parts["train"], parts["test"], (EXAMPLE / "words.dict").read_text(), lengths())


def frames(part: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Each recording as hmmlearn takes it, [time, 26]."""
    both = zip(part["mfcc"], part["mfcc.length"], strict=True)
    return [np.ascontiguousarray(x[:, :n].T, np.float64) for x, n in both]


def whole_words(data: Spoken, implementation: str) -> tuple[list[Any], list[Any]]:
    """hmmlearn's models, one a word, trained like ours, and what each one's `fit` takes."""
    from hmmlearn import hmm

    logging.getLogger("hmmlearn").setLevel(logging.ERROR)
    every = frames(data.train)
    spread = np.concatenate(every).var(axis=0)
    models, given = [], []
    for word, count in enumerate(data.states):
        own = [every[row] for row in np.flatnonzero(data.train["word"] == word)]
        x = np.concatenate(own)
        place = np.concatenate([np.arange(len(one)) * count // len(one) for one in own])
        model = hmm.GaussianHMM(
            count, "diag", n_iter=ITERATIONS, tol=-np.inf, params="tmc", init_params="",
            covars_prior=0.1 * spread, covars_weight=1, implementation=implementation,
        )  # fmt: skip
        model.startprob_ = np.eye(count)[0]
        model.transmat_ = 0.5 * (np.eye(count) + np.eye(count, k=1))
        model.transmat_[-1, -1] = 1.0
        stretches = [x[place == s] if (place == s).any() else x for s in range(count)]
        model.means_ = np.stack([one.mean(axis=0) for one in stretches])
        model.covars_ = np.stack([np.maximum(one.var(axis=0), 0.1 * spread) for one in stretches])
        models.append(model)
        given.append((x, [len(one) for one in own]))
    return models, given


def fit_all(models: list[Any], given: list[Any]) -> None:
    for model, (x, lengths) in zip(models, given, strict=True):
        model.fit(x, lengths)


def best_word(models: list[Any], x: np.ndarray) -> int:
    return int(np.argmax([model.score(x) for model in models]))


def _beside_hmmlearn(rounds: int) -> None:
    """Both train on the same frames with as many states, and choose among the same words."""
    try:
        import hmmlearn  # noqa: F401
    except ImportError:
        print("not installed here: hmmlearn")
        return
    data = spoken()
    test = frames(data.test)
    plain, measured = (model_of(data.lexicon, metric=metric) for metric in (False, True))
    peers = {name: whole_words(data, name) for name in PEERS}
    asked = {name: data.test[name] for name in ("mfcc", "mfcc.length")}
    single = [{name: array[i : i + 1] for name, array in asked.items()} for i in range(8 * FEW)]

    def train(model: Any) -> Callable[[], object]:
        return lambda: model.fit(data.train, epochs=ITERATIONS)

    ours = {
        "EM": train(plain),
        "EM with its metric": train(measured),
        "decoding many": lambda: plain.predict(**asked),
        "decoding one": lambda: [plain.predict(**one) for one in single],
    }
    steps: dict[str, Callable[[], object]] = dict(ours)
    for name, (models, given) in peers.items():
        steps[f"EM, {name}"] = lambda models=models, given=given: fit_all(models, given)
    for name, (models, _) in peers.items():
        steps[f"decoding, {name}"] = lambda models=models: [
            best_word(models, x) for x in test[:FEW]
        ]
    times = interleaved(steps, rounds)
    counts = {"EM": ITERATIONS, "decoding": FEW, "decoding many": len(test)}
    counts |= {"EM with its metric": ITERATIONS, "decoding one": len(single)}
    print("| | ours, ms | hmmlearn's best | times ours | quartiles | the other | aim |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in ours:
        kind = name.split()[0]
        ratios = {
            peer: [
                (theirs / counts[kind]) / (own / counts[name])
                for theirs, own in zip(times[f"{kind}, {peer}"], times[name], strict=True)
            ]
            for peer in PEERS
        }
        best, other = sorted(PEERS, key=lambda peer: statistics.median(ratios[peer]))
        low, middle, high = statistics.quantiles(ratios[best], n=4)
        own = statistics.median(times[name]) / counts[name] * 1e3
        print(
            f"| {name} | {own:.2f} | {best} | {middle:.1f} | {low:.1f} to {high:.1f} "
            f"| {statistics.median(ratios[other]):.1f} | {AIMS[name]} |"
        )
    print(f"({_accuracies(data, measured, peers['log'][0], test)})", flush=True)


def _accuracies(data: Spoken, ours: Any, models: list[Any], test: list[np.ndarray]) -> str:
    """That both have learnt the words: right answers for a few recordings."""
    ours.fit(data.train, epochs=10)
    right = 1 - ours.evaluate(data.test)["word_error"]
    some = range(0, len(test), 8)
    theirs = np.mean([best_word(models, test[i]) == data.test["word"][i] for i in some])
    return f"right of {len(test)}: {right:.2f}; hmmlearn's of {len(some)}: {theirs:.2f}"


# ---------------------------------------------------------------- by size

SIZES = {
    "frames": [{"steps": n} for n in (50, 100, 200, 400)],
    "states a phoneme": [{"states": n} for n in (2, 4, 8, 16)],
    "words": [{"words": n} for n in (50, 100, 200, 400)],
}


def lexicon_of(words: int) -> str:
    """Words of five phonemes out of forty, each drawn by itself."""
    rng = np.random.default_rng(0)
    phones = [f"P{i}" for i in range(40)]
    return "".join(f"w{i}  {' '.join(rng.permutation(phones)[:5])}\n" for i in range(words))


def _by_size(rounds: int) -> None:
    """Processor time of decoding and of a batch's statistics, 32 recordings, by size.

    Batches are not the first of an epoch, which also makes all states alike.
    """
    print("\n| doubled: | decoding, times the first | a batch of EM, times the first |")
    print("| --- | --- | --- |")
    rng = np.random.default_rng(1)
    for name, sizes in SIZES.items():
        steps: dict[str, Callable[[], object]] = {}
        for i, size in enumerate(sizes):
            words, length = size.get("words", 100), size.get("steps", 200)
            model = model_of(lexicon_of(words), size.get("states", 3))
            x = rng.standard_normal((32, 26, length)).astype(np.float32)
            arrays = {"mfcc": x, "word": rng.integers(0, words, 32)}
            steps[f"decode {i}"] = lambda model=model, x=x: model.predict(mfcc=x)
            model.gather_batch(arrays)
            steps[f"train {i}"] = lambda model=model, arrays=arrays: model.gather_batch(
                arrays, first=False
            )
        times = interleaved(steps, rounds, rest=0.0, clock=time.process_time)
        cells = []
        for kind in ("decode", "train"):
            own = [
                statistics.median(
                    later / first
                    for later, first in zip(times[f"{kind} {i}"], times[f"{kind} 0"], strict=True)
                )
                for i in range(len(sizes))
            ]
            cells.append(", ".join(f"{ratio:.2f}" for ratio in own))
        listed = ", ".join(str(next(iter(size.values()))) for size in sizes)
        print(f"| {name}: {listed} | {' | '.join(cells)} |", flush=True)
