"""Words of a chain as rows of states, those of one phoneme in one colour; drawn as SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from tiedgraph.diagnostics import nearest
from tiedgraph.export.svg import FONT, LETTER, PALETTE
from tiedgraph.ir.graph import Chain, Graph

RADIUS, STEP, GAP, TALL, LEFT = 11.0, 34.0, 10.0, 92.0, 24.0
EDGE, INK = "#3b4653", "#17202a"


@dataclass(frozen=True)
class _Part:
    """A phoneme, or what stands at an end, in one pronunciation. keys: of each state, what its
    numbers are: states with the same are one."""

    name: str
    keys: tuple[tuple[str, ...], ...]
    optional: bool = False


class UnknownWord(ValueError):
    """No chain of the model knows a word."""


def words_svg(graph: Graph, words: Sequence[str]) -> str:
    """The words, a row for each pronunciation, as SVG text.

    Phonemes, and states tied across them, that stand at several places of the picture have a colour
    and are joined. Raises UnknownWord.
    """
    chain = _chain_of(graph, words)
    rows = [row for word in words for row in _rows(graph, chain, word)]
    times = Counter(key for _, parts in rows for part in parts for key in dict.fromkeys(part.keys))
    colours: dict[tuple[str, ...], str] = {}
    for _, parts in rows:
        for part in parts:
            shared = [key for key in part.keys if times[key] > 1]
            fresh = [key for key in shared if key not in colours]
            if fresh:
                colour = PALETTE[len(set(colours.values())) % len(PALETTE)]
                colours.update(dict.fromkeys(fresh, colour))
    first = LEFT + max(len(label) for label, _ in rows) * LETTER * 1.15 + 20
    body: list[str] = []
    above: dict[str, tuple[float, float, str]] = {}
    width = 0.0
    links: list[str] = []
    for i, (label, parts) in enumerate(rows):
        y = 52 + i * TALL
        body.append(_text(LEFT, y + 4, label, 'font-size="13" font-weight="bold"'))
        end, joined = _row(parts, colours, first, y, above, body)
        links += joined
        width = max(width, end)
    told = _told(rows, times)
    y = 52 + len(rows) * TALL - 18
    body += [_text(LEFT, y + 16 * i, line, 'fill="#3b4653"') for i, line in enumerate(told)]
    width = max(width + 28, LEFT * 2 + max(map(len, told)) * LETTER)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {y + 40:.0f}" '
            f'width="{width:.0f}" height="{y + 40:.0f}" font-family="{FONT}" font-size="11">',
            f"<title>{escape(', '.join(words))}</title>",
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
            f'markerHeight="6" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{EDGE}"/></marker>'
            "</defs>",
            f'<rect width="{width:.0f}" height="{y + 40:.0f}" fill="#ffffff"/>',
            *links,
            *body,
            "</svg>\n",
        ]
    )


def _chain_of(graph: Graph, words: Sequence[str]) -> Chain:
    """The first chain that knows all words."""
    if not graph.chains:
        raise UnknownWord("the model has no chain of words; --word draws words of one")
    for chain in graph.chains.values():
        if set(words) <= set(chain.lexicon.words):
            return chain
    known = {word: None for chain in graph.chains.values() for word in chain.lexicon.words}
    missing = next((word for word in words if word not in known), words[0])
    hint = nearest(missing, known)
    place = next(iter(graph.chains.values())).lexicon.pronunciations[0].span.source.path
    raise UnknownWord(f"'{missing}' is no word of {place}" + (f"; {hint}" if hint else ""))


def _rows(graph: Graph, chain: Chain, word: str) -> Iterator[tuple[str, list[_Part]]]:
    """Each pronunciation of a word, with a label."""
    number = 0
    for item in chain.lexicon.pronunciations:
        if chain.lexicon.words[item.word] != word:
            continue
        number += 1
        parts = [
            _Part(name, _keys(graph, chain.path_of(name), chain.states)) for name in item.phonemes
        ]
        if chain.ends_name:
            keys = _keys(graph, chain.ends_name, chain.ends)
            end = _Part(chain.ends_name, keys, chain.optional)
            parts = [end, *parts, end]
        yield (word if number == 1 else f"{word} ({number})"), parts


def _keys(graph: Graph, path: str, states: int) -> tuple[tuple[str, ...], ...]:
    """What the numbers of a unit's states are: their owners, or places in a value of scores."""
    found = []
    for i in range(states):
        instance = graph.instances.get(f"{path}.state[{i}]")
        names = instance.params if instance is not None else ()
        owners = tuple(graph.params[name].view.storage for name in names)
        found.append(owners or (f"{path}.state[{i}]",))
    return tuple(found)


def _row(
    parts: Sequence[_Part],
    colours: dict[tuple[str, ...], str],
    x: float,
    y: float,
    above: dict[str, tuple[float, float, str]],
    body: list[str],
) -> tuple[float, list[str]]:
    """Draws one pronunciation from x on; answers where it ends, and lines to the rows above."""
    links = []
    before: float | None = None
    here: dict[str, tuple[float, float, str]] = {}
    for part in parts:
        begin = x
        for key in part.keys:
            if before is not None:
                body.append(_line(before + RADIUS, x - RADIUS - 1, y))
            body += _state(x, y, colours.get(key, "#ffffff"), part.optional)
            before = x
            x += STEP
        middle, colour = (begin + x - STEP) / 2, colours.get(part.keys[0], "")
        body.append(_text(middle, y + 29, part.name, 'text-anchor="middle" font-weight="bold"'))
        if colour and part.name in above and part.name not in here:
            px, py, _ = above[part.name]
            links.append(_link(px, py + 34, middle, y - 27, colour))
        if colour:
            here.setdefault(part.name, (middle, y, colour))
        x += GAP
    above.update(here)
    return x, links


def _state(x: float, y: float, fill: str, optional: bool) -> list[str]:
    dash = ' stroke-dasharray="3 2"' if optional else ""
    top = y - RADIUS * 0.8
    return [
        f'<path d="M{x - 6:.1f},{top:.1f} C{x - 12:.1f},{y - 30:.1f} {x + 12:.1f},{y - 30:.1f} '
        f'{x + 6:.1f},{top:.1f}" fill="none" stroke="{EDGE}" marker-end="url(#arrow)"/>',
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS}" fill="{fill}" stroke="{EDGE}"{dash}/>',
    ]


def _line(left: float, right: float, y: float) -> str:
    return (
        f'<path d="M{left:.1f},{y:.1f} L{right:.1f},{y:.1f}" stroke="{EDGE}" '
        'marker-end="url(#arrow)"/>'
    )


def _link(x0: float, y0: float, x1: float, y1: float, colour: str) -> str:
    half = (y0 + y1) / 2
    return (
        f'<path d="M{x0:.1f},{y0:.1f} C{x0:.1f},{half:.1f} {x1:.1f},{half:.1f} {x1:.1f},{y1:.1f}" '
        f'fill="none" stroke="{colour}" stroke-width="3" stroke-opacity="0.45"/>'
    )


def _text(x: float, y: float, text: str, how: str) -> str:
    fill = "" if "fill=" in how else f' fill="{INK}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {how}{fill}>{escape(text)}</text>'


def _told(rows: Sequence[tuple[str, list[_Part]]], times: Counter[tuple[str, ...]]) -> list[str]:
    places = sum(len(part.keys) for _, parts in rows for part in parts)
    shared = sum(count > 1 for count in times.values())
    return [
        f"{places} places of states, which {len(times)} sets of numbers serve",
        f"coloured: {shared} that stand at several places of this picture",
    ]
