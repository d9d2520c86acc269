"""What may follow what in a string of words, by number: anything, or as a bigram has it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tiedgraph.diagnostics import DataError, nearest
from tiedgraph.recognition.arpa import END, START, UNKNOWN, Arpa
from tiedgraph.recognition.vocabulary import IMPOSSIBLE, NEVER, Array

FEW = 5  # words that a message names


@dataclass(frozen=True)
class Grammar:
    """Log probabilities, weighted, each word with its penalty.

    unigram [words + 1] is added to what comes in, for the last, the begin, nothing.
    Of a bigram: backoff [words + 1] behind each word, the last behind the begin; what is named
    behind each, as first ones [words + 2], following words in order and their log probability; and
    end [words + 1], that the string ends there.
    unknown: words that the language model does not have. order: of its file; of n-grams longer than
    two words nothing is used.
    """

    unigram: Array
    backoff: Array
    end: Array
    first: Array
    follow: Array
    likely: Array
    bigram: bool
    unknown: tuple[str, ...] = ()
    order: int = 2


def loop(words: int, penalty: float = 0.0) -> Grammar:
    """Any word behind any other. penalty: taken off for each word."""
    unigram = np.full(words + 1, -float(penalty))
    unigram[-1] = 0.0
    nothing = np.zeros(words + 1)
    empty = np.zeros(0, np.int64)
    return Grammar(
        unigram, nothing, nothing, np.zeros(words + 2, np.int64), empty, np.zeros(0), False
    )


def bigram(found: Arpa, words: tuple[str, ...], weight: float, penalty: float = 0.0) -> Grammar:
    """A bigram over the words of a lexicon. Raises DataError where it has none of them.

    Words that it does not have are its `<unk>`, or cannot be said where it has none.
    """
    unknown = tuple(word for word in words if word not in found.words)
    if len(unknown) == len(words) and UNKNOWN not in found.words:
        near = next((hint for word in words[:100] if (hint := nearest(word, found.words))), "")
        raise DataError(
            f"{found.path} has none of the {len(words)} words of the lexicon, such as "
            f"'{words[0]}'{'; ' + near if near else ''}"
        )
    names = [word if word in found.words else UNKNOWN for word in words] + [START]
    nothing = (NEVER, 0.0)
    unigram = np.array([found.words.get(name, nothing)[0] for name in names])
    backoff = np.array([found.words.get(name, (0.0, 0.0))[1] for name in names])
    stops = found.words.get(END, (0.0, 0.0))[0]
    end = np.array(
        [found.pairs.get((name, END), stops + backoff[i]) for i, name in enumerate(names)]
    )
    if END not in found.words:
        end[:] = 0.0
    numbers: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        numbers.setdefault(name, []).append(i)
    start = len(words)
    named = sorted(
        (before, after, likely)
        for (one, other), likely in found.pairs.items()
        for before in numbers.get(one, ())
        for after in numbers.get(other, ())
        if after != start
    )
    counts = np.bincount([before for before, _, _ in named], minlength=start + 1)

    def weighted(logs: Array) -> Array:
        return np.where(logs > IMPOSSIBLE, weight * logs, NEVER)

    unigram = weighted(unigram) - penalty
    unigram[-1] = 0.0
    return Grammar(
        unigram,
        weighted(backoff),
        weighted(end),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.array([after for _, after, _ in named], np.int64),
        weighted(np.array([likely for *_, likely in named], np.float64)) - penalty,
        True,
        () if UNKNOWN in found.words else unknown,
        found.order,
    )
