"""Where words, phonemes and states lie in a recording: frames, and seconds from frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tiedgraph.recognition.alignment import Network, Position
from tiedgraph.recognition.vocabulary import Array, Vocabulary


@dataclass(frozen=True)
class Part:
    """A word, phoneme or state from its first frame to the one behind its last."""

    name: str
    begin: int
    end: int


@dataclass(frozen=True)
class Parts:
    """What one recording is made of. The unit at the ends is a phoneme and no word; states are
    named by their phoneme and number, `AH.0`."""

    words: tuple[Part, ...]
    phones: tuple[Part, ...]
    states: tuple[Part, ...]


def parts_of(vocabulary: Vocabulary, network: Network, way: Array, words: tuple[int, ...]) -> Parts:
    """way: the position of each frame. words: those of the network, by number."""
    chain = vocabulary.chain
    found = [network.positions[at] for at in way.tolist()]

    def phone(position: Position) -> str:
        return chain.phonemes[position.phone] if position.phone >= 0 else chain.ends_name

    def state(position: Position) -> tuple[int, int]:
        first = position.phone * vocabulary.width
        duration = chain.duration
        if position.phone < 0:
            first, duration = vocabulary.silence, chain.ends_duration
        return position.segment, (position.place - first) // duration

    return Parts(
        tuple(
            Part(vocabulary.words[words[found[begin].word]], begin, end)
            for begin, end in _runs(position.word for position in found)
            if found[begin].word >= 0
        ),
        tuple(
            Part(phone(found[begin]), begin, end)
            for begin, end in _runs(position.segment for position in found)
        ),
        tuple(
            Part(f"{phone(found[begin])}.{state(found[begin])[1]}", begin, end)
            for begin, end in _runs(state(position) for position in found)
        ),
    )


def _runs(keys: Iterable[object]) -> list[tuple[int, int]]:
    """Stretches of equal keys, from their first to behind their last."""
    items = list(keys)
    starts = [i for i, key in enumerate(items) if i == 0 or key != items[i - 1]]
    return list(zip(starts, [*starts[1:], len(items)], strict=True))


@dataclass(frozen=True)
class Clock:
    """Seconds from frames: `window` long, one each `step`.

    A border between two frames is midway between their middles; a recording begins at 0 and ends
    with the window of its last frame. every, ahead: of the rows that are recognised, input frames a
    row, and how many lie before the first.
    """

    step: float = 0.010
    window: float = 0.025
    every: int = 1
    ahead: float = 0.0

    def at(self, border: int, frames: int) -> float:
        """Where the frame `border` of so many begins, in seconds."""
        if border <= 0:
            return 0.0
        if border >= frames:
            return self.whole(frames)
        first = (self.window - self.step) / 2 + self.ahead * self.step
        return round(max(0.0, first + border * self.every * self.step), 6)

    def whole(self, frames: int) -> float:
        """Seconds of a recording of so many frames."""
        inputs = frames * self.every + 2 * self.ahead
        return round(self.window + (inputs - 1) * self.step, 6)

    def told(self, parts: Iterable[Part], frames: int, what: str) -> list[dict[str, Any]]:
        """Parts as rows of a name, a start and an end."""
        return [
            {
                what: part.name,
                "start": self.at(part.begin, frames),
                "end": self.at(part.end, frames),
            }
            for part in parts
        ]
