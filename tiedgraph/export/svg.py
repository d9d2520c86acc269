"""A model as an SVG picture, and as a page that pans and zooms it; drawn here, without Graphviz."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from itertools import pairwise

from tiedgraph.export.layers import Layout, layered
from tiedgraph.export.picture import Box, Group, Picture, picture
from tiedgraph.ir.graph import Graph

# Okabe and Ito 2008, told apart by colour-blind eyes; letters tell groups apart as well.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")
FILL = {
    "input": "#eef2f7",
    "target": "#f7efe4",
    "layer": "#ffffff",
    "function": "#fafafa",
    "loss": "#fbe9e7",
    "metric": "#f1f8e9",
}
LETTER, LINE, TITLE, PAD, BADGE = 6.6, 15.0, 17.0, 12.0, 20.0
NAMED = 4  # members that the legend names
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def svg(graph: Graph, states: Mapping[str, str] | None = None) -> str:
    """The picture of a checked graph as SVG text; it needs nothing from outside.

    states: text to tell with each soft tie in the legend, such as its components.
    """
    return draw(picture(graph, states))


def draw(what: Picture) -> str:
    """A picture as SVG text."""
    sizes = {name: _size(box) for name, box in what.boxes.items()}
    frames = {name: box.frame for name, box in what.boxes.items() if box.frame}
    layout = layered(sizes, what.arrows, frames)
    legend, tall, wide = _legend(what.groups, layout.height)
    width, height = max(layout.width, wide, 320.0), layout.height + tall
    body = [
        *_frames(what, layout, sizes),
        *(_arrow(points) for points in layout.paths.values()),
        *(_box(box, layout.at[name], sizes[name], what.groups) for name, box in what.boxes.items()),
        *legend,
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" font-family="{FONT}" font-size="11">',
            f"<title>{escape(what.name)}</title>",
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#5f6b7a"/></marker>'
            "</defs>",
            f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
            *body,
            "</svg>\n",
        ]
    )


def _size(box: Box) -> tuple[float, float]:
    letters = max([len(box.title) * 1.12, *(len(line) for line in box.lines)])
    badges = len(box.badges) * (BADGE + 3)
    return max(96.0, letters * LETTER + 2 * PAD + badges), TITLE + LINE * len(box.lines) + PAD


def _box(
    box: Box, at: tuple[float, float], size: tuple[float, float], groups: tuple[Group, ...]
) -> str:
    (x, y), (wide, tall) = at, size
    left, top = x - wide / 2, y - tall / 2
    dash = ' stroke-dasharray="4 3"' if box.kind in ("input", "target") else ""
    heavy = 2.4 if box.output else 1.1
    parts = [
        f'<g><rect x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{tall:.1f}" rx="6" '
        f'fill="{FILL[box.kind]}" stroke="#3b4653" stroke-width="{heavy}"{dash}/>',
        f'<text x="{left + PAD:.1f}" y="{top + TITLE:.1f}" font-size="12" font-weight="bold" '
        f'fill="#17202a">{escape(box.title)}</text>',
    ]
    for i, line in enumerate(box.lines):
        parts.append(
            f'<text x="{left + PAD:.1f}" y="{top + TITLE + LINE * (i + 1):.1f}" fill="#3b4653">'
            f"{escape(line)}</text>"
        )
    letters = [group.letter for group in groups]
    for i, badge in enumerate(reversed(box.badges)):
        place = left + wide - 6 - BADGE - i * (BADGE + 3)
        index = letters.index(badge)
        parts.append(_badge(badge, index, place, top + 6, groups[index].soft))
    return "".join([*parts, "</g>"])


def _badge(letter: str, index: int, x: float, y: float, soft: bool) -> str:
    """The letter of a group; of a soft tie with a dashed edge."""
    edge = '1.6" stroke-dasharray="2 2"' if soft else '0.8"'
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{BADGE}" height="16" rx="8" '
        f'fill="{PALETTE[index % len(PALETTE)]}" stroke="#17202a" '
        f'stroke-width="{edge}/>'
        f'<text x="{x + BADGE / 2:.1f}" y="{y + 12:.1f}" text-anchor="middle" '
        f'font-weight="bold" fill="#000000">{escape(letter)}</text>'
    )


def _arrow(points: list[tuple[float, float]]) -> str:
    path = [f"M{points[0][0]:.1f},{points[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        half = (y0 + y1) / 2
        path.append(f"C{x0:.1f},{half:.1f} {x1:.1f},{half:.1f} {x1:.1f},{y1:.1f}")
    return (
        f'<path d="{" ".join(path)}" fill="none" stroke="#5f6b7a" stroke-width="1.2" '
        'marker-end="url(#arrow)"/>'
    )


def _frames(what: Picture, layout: Layout, sizes: dict[str, tuple[float, float]]) -> list[str]:
    """A dashed frame around each block's boxes, outer ones first."""
    members: dict[str, list[str]] = {}
    for name, box in what.boxes.items():
        parts = box.frame.split(".") if box.frame else []
        for i in range(len(parts)):
            members.setdefault(".".join(parts[: i + 1]), []).append(name)
    drawn = []
    for path in sorted(members, key=lambda p: p.count(".")):
        names = members[path]
        if len(names) < 2:
            continue
        deep = 12.0 - 3.0 * min(3, path.count("."))
        left = min(layout.at[n][0] - sizes[n][0] / 2 for n in names) - deep
        right = max(layout.at[n][0] + sizes[n][0] / 2 for n in names) + deep
        top = min(layout.at[n][1] - sizes[n][1] / 2 for n in names) - deep - 10
        low = max(layout.at[n][1] + sizes[n][1] / 2 for n in names) + deep
        drawn.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{low - top:.1f}" rx="10" fill="#7f8c9a" fill-opacity="0.07" '
            'stroke="#9aa5b1" stroke-dasharray="6 4"/>'
            f'<text x="{left + 8:.1f}" y="{top + 12:.1f}" fill="#5f6b7a">{escape(path)}</text>'
        )
    return drawn


def _legend(groups: tuple[Group, ...], top: float) -> tuple[list[str], float, float]:
    """Every tie group with its members and what it saves; its height and width."""
    if not groups:
        return [], 0.0, 0.0
    lines, y, wide = [], top + 8, 0.0
    lines.append(
        f'<text x="28" y="{y:.1f}" font-size="12" font-weight="bold" fill="#17202a">ties</text>'
    )
    for i, group in enumerate(groups):
        y += 22
        rest = [member for member in group.members if member != group.owner]
        more = f" and {len(rest) - NAMED} more" if len(rest) > NAMED else ""
        told = f"{group.owner} = {', '.join(rest[:NAMED])}{more}"
        if not rest:
            told = f"{group.owner}, by an index map"
        told += f"  saves {group.saved:,}"
        if group.soft:
            more = f" and {len(group.members) - NAMED} more" if len(group.members) > NAMED else ""
            told = f"{group.owner} draws {', '.join(group.members[:NAMED])}{more}: {group.told}"
        lines.append(_badge(group.letter, i, 28, y - 12, group.soft))
        lines.append(f'<text x="56" y="{y:.1f}" fill="#3b4653">{escape(told)}</text>')
        for line in group.state:
            y += LINE
            lines.append(
                f'<text x="56" y="{y:.1f}" fill="#3b4653" xml:space="preserve">'
                f"{escape(line)}</text>"
            )
        wide = max(wide, 56 + max(map(len, [told, *group.state])) * LETTER + 28)
    return lines, y + 20 - top, wide


def html(graph: Graph, states: Mapping[str, str] | None = None) -> str:
    """The same picture in a page of its own that drags and zooms; it loads nothing."""
    return page(graph.name, svg(graph, states))


def page(title: str, picture: str) -> str:
    """An SVG picture in a page of its own."""
    name = escape(title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>\n'
        "<style>body{margin:0;background:#fff;overflow:hidden}"
        "@media(prefers-color-scheme:dark){body{background:#1b1f24}}"
        "svg{transform-origin:0 0;cursor:grab}</style></head>\n<body>\n"
        + picture
        + "<script>\nconst s=document.querySelector('svg');let x=0,y=0,k=1,d=null;\n"
        "const p=()=>s.style.transform=`translate(${x}px,${y}px) scale(${k})`;\n"
        "addEventListener('wheel',e=>{e.preventDefault();const f=Math.exp(-e.deltaY/500);"
        "x=e.clientX-(e.clientX-x)*f;y=e.clientY-(e.clientY-y)*f;k*=f;p()},{passive:false});\n"
        "addEventListener('pointerdown',e=>d=[e.clientX-x,e.clientY-y]);\n"
        "addEventListener('pointermove',e=>{if(d){x=e.clientX-d[0];y=e.clientY-d[1];p()}});\n"
        "addEventListener('pointerup',()=>d=null);\n</script>\n</body></html>\n"
    )
