"""Selectors such as `layers[*].c1.weight`: which parameters and instances they name.

Paths lie in a tree by their parts, so that a plain path is found at once however many there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tiedgraph.diagnostics import nearest

_TOKEN = re.compile(r"\[([^\]]*)\]|([^.\[\]]+)")
_SUGGESTIONS = 400  # paths that are compared for `did you mean`
_LENGTHS = 6  # by how much the lengths of these differ
STATES = "state"  # what the states of a unit are called

Token = str | int


@dataclass
class _Place:
    path: str | None = None
    inside: dict[Token, _Place] = field(default_factory=dict)


class Paths:
    """All parameters and instances of a graph, in the order of the file.

    unknown: paths of instances with an error, about whose inside nothing is said.
    """

    def __init__(self, paths: Iterable[str], unknown: Iterable[str] = ()) -> None:
        self._root = _Place()
        self._all: list[str] = []
        self._unknown = set(unknown)
        self.visits = 0  # how many places all selectors have looked at
        for path in paths:
            self._all.append(path)
            place = self._root
            for token in _tokens(path):
                place = place.inside.setdefault(token, _Place())
            place.path = path

    def match(self, selector: str) -> list[str]:
        """The paths that a selector names; both ends of a range must exist."""
        places = [self._root]
        for token in _tokens(selector):
            places = [inner for place in places for inner in _step(place, token)]
            self.visits += len(places)
        return [place.path for place in places if place.path is not None]

    def is_unknown(self, selector: str) -> bool:
        """Whether the selector points into an instance that has an error of its own."""
        place: _Place | None = self._root
        for token in _tokens(selector):
            place = place.inside.get(token) if place is not None else None
            if place is not None and place.path in self._unknown:
                return True
            if isinstance(token, str) and ("*" in token or ".." in token):
                return bool(self._unknown)
        return False

    def hint(self, selector: str) -> str:
        """The nearest path, or what there is."""
        places, plain, stars = [self._root], "", []
        for token in _tokens(selector):
            inner = [found for place in places for found in _step(place, token)]
            counted = [key for key in places[0].inside if isinstance(key, int)] if places else []
            if counted and not inner:
                return f"{plain} has {len(counted)} instances, [0] to [{max(counted)}]"
            text = f"[{token}]" if isinstance(token, int) else token
            if token == "[*]":  # stands for the first, so that something is near
                keys = [
                    k for p in places[:1] for k in p.inside if isinstance(k, int) or k[0] == "["
                ]
                key = keys[0] if keys else 0
                text = f"[{key}]" if isinstance(key, int) else key
                stars.append(text)
            plain += text if text[0] == "[" or not plain else f".{text}"
            places = inner
        about = [path for path in self._all if abs(len(path) - len(plain)) < _LENGTHS]
        found = nearest(plain, about[:_SUGGESTIONS])
        for star in stars:
            found = found.replace(star, "[*]", 1)
        if found:
            return found
        listed = ", ".join(self._all[:6])
        return f"there are: {listed}{', ...' * (len(self._all) > 6)}" if listed else ""


def _tokens(text: str) -> Iterator[Token]:
    for index, name in _TOKEN.findall(text):
        if name:
            yield name
        elif index.isdigit():
            yield int(index)
        else:
            yield f"[{index}]"


def _step(place: _Place, token: Token) -> list[_Place]:
    inside = place.inside
    if token == "*":
        return [inner for key, inner in inside.items() if isinstance(key, str) and key[0] != "["]
    if token == "[*]":
        return [inner for key, inner in inside.items() if isinstance(key, int) or key[0] == "["]
    if isinstance(token, str) and ".." in token:
        first, last = (int(end) for end in token[1:-1].split(".."))
        if first not in inside or last not in inside:
            return []
        return [
            inner for key, inner in inside.items() if isinstance(key, int) and first <= key <= last
        ]
    if token in inside:
        return [inside[token]]
    # `phone[aa].mean` is that of each of the phoneme's states.
    states = inside[STATES].inside.values() if STATES in inside else ()
    return [state.inside[token] for state in states if token in state.inside]
