"""A trained model as a recogniser: its frames are scored once, and searches run on the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from tiedgraph.diagnostics import DataError, nearest
from tiedgraph.ir.graph import Chain
from tiedgraph.ir.types import Extent
from tiedgraph.model import Model
from tiedgraph.recognition import arpa, grammar, strings, transcripts, tree
from tiedgraph.recognition.alignment import align, network
from tiedgraph.recognition.parts import Clock, Parts, parts_of
from tiedgraph.recognition.transcripts import Transcripts, WordErrors, word_errors
from tiedgraph.recognition.vocabulary import IMPOSSIBLE, Array, Moves, vocabulary
from tiedgraph.runtime.data import Dataset, load

SCORES, ODDS = "scores", "odds"
WIDEST = 3  # times that a beam that lost all ways is doubled before there is none


@dataclass(frozen=True)
class Hypothesis:
    """words: in the order in which they are said. score: log probability of the best way to say
    them, language included. parts: where they lie."""

    words: tuple[str, ...]
    score: float
    parts: Parts


@dataclass(frozen=True)
class Recognised:
    """One recording. hypotheses: the best first, none where `problem` tells why.

    beam: which was needed in the end. language: words that its language model does not have.
    """

    frames: int
    hypotheses: tuple[Hypothesis, ...]
    beam: float = inf
    problem: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """What was most probably said."""
        return self.hypotheses[0].words if self.hypotheses else ()


_Found = list[tuple[tuple[int, ...], float]]  # words by number, and their score


class Recogniser:
    """Words and strings of words in recordings, by a chain of a model.

    model: trained; with another lexicon (`tiedgraph.load(run, lexicon=...)`) it knows other words.
    chain: its name, where the model has several. Raises DataError where there is none.
    """

    def __init__(self, model: Model, chain: str | None = None) -> None:
        self.model = model
        self.chain = _chosen(model, chain)
        self.vocabulary = vocabulary(self.chain)
        self._values = {SCORES: self.chain.scores, ODDS: self.chain.odds}
        used = model.program_of(self._values).schedule.graph.data.items()
        self.inputs = [name for name, item in used if item.role == "input"]
        # Of the last language model: words that it did not have, and how long its n-grams are.
        self.unknown: tuple[str, ...] = ()
        self.order = 0

    def clock(self, step: float = 0.010, window: float = 0.025) -> Clock:
        """Seconds from the frames that are recognised. step, window: of the input's frames."""
        size = self.model.checked.shape_of(self.chain.scores)[1]
        if isinstance(size, Extent):
            return Clock(step, window, size.divisor, (size.divisor - 1 - size.offset) / 2)
        return Clock(step, window)

    # ------------------------------------------------------------ what is asked

    def decode(
        self,
        data: Any,
        *,
        best: int = 1,
        beam: float = inf,
        loop: bool = False,
        bigram: str | Path | None = None,
        lm_weight: float = 1.0,
        insertion_penalty: float = 0.0,
        batch: int = 64,
        reference: Transcripts | None = None,
    ) -> list[Recognised]:
        """The most probable words of each recording: one word each, or with `loop` or `bigram`
        strings of words.

        data: a path or a mapping of arrays, as `Model.predict` takes them. best: how many answers.
        beam: ways are given up that are so much less likely than the best one, as a difference of
          natural logarithms; where all are lost, it is widened.
        loop: any word behind any other. bigram: a file in the ARPA format, whose log probabilities
          are multiplied by `lm_weight`; of n-grams longer than two words nothing is used (`order`
          tells of them). insertion_penalty: taken off for each word.
        reference: what was said; its length is checked before anything is recognised.
        Raises DataError.
        """
        if best < 1 or not beam > 0 or batch < 1:
            raise ValueError(f"best, beam and batch are positive, not {best}, {beam}, {batch}")
        if loop and bigram is not None:
            raise ValueError("either loop or bigram: a bigram tells what may follow what")
        if not (0 <= lm_weight < inf and abs(insertion_penalty) < inf):
            raise ValueError("lm_weight and insertion_penalty are finite, lm_weight not negative")
        if loop or bigram is not None:
            rules = self._rules(bigram, lm_weight, insertion_penalty)
            self.unknown, self.order = rules.unknown, rules.order
            search = self._strings_by(rules, best)
        else:
            search = self._words_by(best)

        source = self._load(data)
        if reference is not None:
            reference.check_count(source.samples)

        def one(moves: Moves, scores: Array) -> Recognised:
            return self._widened(search, moves, scores, beam)

        return list(self._over(source, batch, one))

    def align(
        self,
        data: Any,
        words: str | Path | Sequence[str | Sequence[str]] | None = None,
        *,
        batch: int = 64,
    ) -> list[Recognised]:
        """Where in each recording its words, their phonemes and states lie.

        words: a file of one line a recording, or the words of each; by default the target of the
          data, which numbers the words of the lexicon.
        The one hypothesis of each has them all. Raises DataError.
        """
        if words is None:
            target = self._target()
            source = self._load(data, [target])
            said: list[tuple[int, ...]] = [
                (int(word),) for word in np.asarray(source.arrays[target])
            ]
        else:
            found = transcripts.read(Path(words)) if isinstance(words, str | Path) else None
            told = found or transcripts.given(words)  # type: ignore[arg-type]
            source = self._load(data)
            told.check_count(source.samples)
            said = told.numbers(self.vocabulary)
        waiting = iter(said)

        def one(moves: Moves, scores: Array, these: tuple[int, ...]) -> Recognised:
            parts, score = self._parts(moves, scores, these)
            if parts is None:
                return Recognised(len(scores), (), problem=self._too_short(len(scores), these))
            names = tuple(self.vocabulary.words[word] for word in these)
            return Recognised(len(scores), (Hypothesis(names, score, parts),))

        return list(self._over(source, batch, one, waiting))

    def reference(self, path: str | Path) -> Transcripts:
        """What was said, from a file of one line a recording. Raises DataError."""
        return transcripts.read(Path(path))

    def errors(self, found: Sequence[Recognised], reference: Transcripts) -> WordErrors:
        """How wrong the best answers are, over all recordings."""
        reference.check_count(len(found))
        pairs = zip(reference.lines, found, strict=True)
        return sum((word_errors(said, item.words) for said, item in pairs), WordErrors())

    # ------------------------------------------------------------ searches

    @cached_property
    def _tree(self) -> tree.Tree:
        return tree.tree(self.vocabulary)

    @cached_property
    def _rows(self) -> strings.Rows:
        return strings.rows(self.vocabulary)

    def _rules(self, bigram: str | Path | None, weight: float, penalty: float) -> grammar.Grammar:
        words = self.vocabulary.words
        if bigram is None:
            return grammar.loop(len(words), penalty)
        return grammar.bigram(arpa.read(Path(bigram)), words, weight, penalty)

    def _words_by(self, best: int) -> Callable[[Moves, Array, float], _Found]:
        def search(moves: Moves, scores: Array, beam: float) -> _Found:
            found, _ = tree.search(self._tree, self.vocabulary, moves, scores, beam)
            first = np.argsort(-found, kind="stable")[:best]
            return [((int(i),), float(found[i])) for i in first if found[i] > IMPOSSIBLE]

        return search

    def _strings_by(
        self, rules: grammar.Grammar, best: int
    ) -> Callable[[Moves, Array, float], _Found]:
        def search(moves: Moves, scores: Array, beam: float) -> _Found:
            found, _ = strings.search(self._rows, self.vocabulary, moves, rules, scores, best, beam)
            return [(item.words, item.score) for item in found]

        return search

    def _widened(
        self,
        search: Callable[[Moves, Array, float], _Found],
        moves: Moves,
        scores: Array,
        beam: float,
    ) -> Recognised:
        """With a beam that loses nobody."""
        found = search(moves, scores, beam)
        for i in range(WIDEST):
            if found or beam == inf:
                break
            beam = inf if i + 1 == WIDEST else 2 * beam
            found = search(moves, scores, beam)
        if not found:
            return Recognised(len(scores), (), beam, self._too_short(len(scores)))
        hypotheses = []
        for words, score in found:
            parts, _ = self._parts(moves, scores, words)
            assert parts is not None
            names = tuple(self.vocabulary.words[word] for word in words)
            hypotheses.append(Hypothesis(names, score, parts))
        return Recognised(len(scores), tuple(hypotheses), beam)

    def _parts(
        self, moves: Moves, scores: Array, words: tuple[int, ...]
    ) -> tuple[Parts | None, float]:
        """Where words lie, None where they do not fit; and their log probability."""
        net = network(self.vocabulary, moves, words)
        found = align(net, scores)
        if found.way is None:
            return None, found.score
        return parts_of(self.vocabulary, net, found.way, words), found.score

    def _too_short(self, frames: int, words: tuple[int, ...] | None = None) -> str:
        found = self.vocabulary
        if words is None:
            least = min(found.shortest([word]) for word in range(len(found.words)))
            return f"too few frames, {frames}: the shortest word needs {least}"
        return f"too few frames, {frames}: these words need {found.shortest(words)}"

    # ------------------------------------------------------------ frames

    def _load(self, data: Any, more: Iterable[str] = ()) -> Dataset:
        needed = [*self.inputs, *more]
        checked = self.model.checked
        # Targets that are not needed may number words of another lexicon.
        graph = checked.replace(data={name: checked.data[name] for name in needed})
        source = load(data, graph, self.model.dtype, needed)
        if not isinstance(source, Dataset):
            raise DataError("recordings come from one file or one mapping of arrays")
        return source

    def _target(self) -> str:
        """The target that numbers the words of the chain."""
        words = len(self.vocabulary.words)
        found = [
            name
            for name, item in self.model.checked.data.items()
            if item.role == "target" and item.type.kind == "class" and item.type.bound == words
            if not item.type.shape
        ]
        if len(found) != 1:
            which = f"several targets, {', '.join(found)}," if found else "no target"
            raise DataError(
                f"the model has {which} of the {words} words of '{self.chain.name}'; tell the "
                "words of each recording in a file, a line a recording"
            )
        return found[0]

    def _over(
        self, source: Dataset, batch: int, one: Callable[..., Recognised], *more: Iterator[Any]
    ) -> Iterator[Recognised]:
        """One search for each recording, as many at once as the model has threads."""
        with ThreadPoolExecutor(self.model.threads) as pool:
            for arrays, count in source.batches(batch):
                named = {
                    name: array
                    for name, array in arrays.items()
                    if name.removesuffix(".length") in self.inputs
                }
                moves, scores = self.score(named)
                others = [[next(items) for _ in range(count)] for items in more]
                yield from pool.map(one, [moves] * count, scores, *others)

    def score(self, arrays: Any) -> tuple[Moves, list[Array]]:
        """The odds of moving, and for each recording of a batch the log densities of all states,
        float64 [frames, rows]. Raises DataError where some are not finite."""
        found = self.model.values_of(self._values, arrays)
        odds = np.asarray(found[ODDS], np.float64).reshape(len(found[ODDS]), -1)[0]
        samples, _, longest = found[SCORES].shape
        steps = found.get(f"{SCORES}.length", np.full(samples, longest))
        scores = []
        for row, count in zip(found[SCORES], steps.tolist(), strict=True):
            scores.append(np.ascontiguousarray(row[:, :count].T, np.float64))
            if not np.isfinite(scores[-1]).all():
                raise DataError(
                    f"scores of the states of '{self.chain.unit}' are not finite; was it trained?"
                )
        return self.vocabulary.moves(odds), scores


def _chosen(model: Model, name: str | None) -> Chain:
    chains = model.checked.chains
    if not chains:
        raise DataError("the model has no chain of words, such as: words = chain phone by ...")
    if name is None:
        if len(chains) > 1:
            raise DataError(f"the model has several chains; choose one of: {', '.join(chains)}")
        return next(iter(chains.values()))
    if name not in chains:
        hint = nearest(name, chains) or f"there are: {', '.join(chains)}"
        raise DataError(f"the model has no chain '{name}'; {hint}")
    return chains[name]
