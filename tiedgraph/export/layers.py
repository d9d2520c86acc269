"""A layered drawing: rows by longest path, places by those of neighbours (Sugiyama et al. 1981)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Edge = tuple[str, str]
GAP, ROW_GAP, BEND = 28.0, 46.0, 14.0


@dataclass(frozen=True)
class Layout:
    """Centres of boxes, paths of edges as points, and the size of it all."""

    at: dict[str, tuple[float, float]]
    paths: dict[Edge, list[tuple[float, float]]]
    width: float
    height: float


def layered(
    sizes: Mapping[str, tuple[float, float]], edges: Sequence[Edge], frames: Mapping[str, str]
) -> Layout:
    """Places boxes so that edges point down and boxes keep clear of each other.

    sizes: width and height of each box, in the order of the file. frames: boxes of one frame stay
    side by side. Edges over several rows bend around the boxes between.
    """
    rank = _ranks(list(sizes), edges)
    wide = {name: size[0] for name, size in sizes.items()}
    inside = dict(frames)
    chains: dict[Edge, list[str]] = {}
    links: list[Edge] = []
    for a, b in edges:
        chain = [a]
        for row in range(rank[a] + 1, rank[b]):
            bend = f"{a}\0{b}\0{row}"
            rank[bend], wide[bend] = row, BEND
            inside[bend] = frames.get(a, "") if frames.get(a) == frames.get(b) else ""
            chain.append(bend)
        chain.append(b)
        chains[a, b] = chain
        links += pairwise(chain)
    rows: list[list[str]] = [[] for _ in range(max(rank.values(), default=0) + 1)]
    for name, row in rank.items():
        rows[row].append(name)
    up: dict[str, list[str]] = {name: [] for name in rank}
    down: dict[str, list[str]] = {name: [] for name in rank}
    for a, b in links:
        down[a].append(b)
        up[b].append(a)
    _order(rows, up, down, inside)
    x = _places(rows, up, down, wide, inside)
    at: dict[str, tuple[float, float]] = {}
    top = GAP
    for names in rows:
        tall = max((sizes[name][1] for name in names if name in sizes), default=0.0)
        for name in names:
            at[name] = (x[name], top + tall / 2)
        top += tall + ROW_GAP
    left = min((x[n] - wide[n] / 2 for n in x), default=0.0) - GAP
    at = {name: (cx - left, cy) for name, (cx, cy) in at.items()}
    right = max((at[n][0] + wide[n] / 2 for n in at), default=0.0) + GAP
    paths = {}
    for (a, b), chain in chains.items():
        start = (at[a][0], at[a][1] + sizes[a][1] / 2)
        end = (at[b][0], at[b][1] - sizes[b][1] / 2)
        paths[a, b] = [start, *(at[name] for name in chain[1:-1]), end]
    return Layout({n: at[n] for n in sizes}, paths, right, top - ROW_GAP + GAP)


def _ranks(names: list[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Longest path from the sources; sources then move down to just above their first reader."""
    rank = dict.fromkeys(names, 0)
    before: dict[str, list[str]] = {name: [] for name in names}
    after: dict[str, list[str]] = {name: [] for name in names}
    for a, b in edges:
        before[b].append(a)
        after[a].append(b)
    for name in names:  # the file's order is topological
        rank[name] = max((rank[a] + 1 for a in before[name]), default=0)
    for name in names:
        if not before[name] and after[name]:
            rank[name] = min(rank[b] for b in after[name]) - 1
    return rank


def _order(
    rows: list[list[str]],
    up: Mapping[str, list[str]],
    down: Mapping[str, list[str]],
    frames: Mapping[str, str],
) -> None:
    """Sorts rows by the mean place of neighbours, down and up a few times."""
    for sweep in range(8):
        neighbours = up if sweep % 2 == 0 else down
        sequence = rows[1:] if sweep % 2 == 0 else rows[-2::-1]
        place = {name: i / max(1, len(row) - 1) for row in rows for i, name in enumerate(row)}
        for row in sequence:
            mean = {
                name: sum(place[n] for n in neighbours[name]) / len(neighbours[name])
                if neighbours[name]
                else place[name]
                for name in row
            }
            groups: dict[str, list[float]] = {}
            for name in row:
                groups.setdefault(frames.get(name, "") or name, []).append(mean[name])
            middle = {group: sum(found) / len(found) for group, found in groups.items()}
            old = {name: i for i, name in enumerate(row)}
            row.sort(
                key=lambda n: (
                    middle[frames.get(n, "") or n],
                    frames.get(n, "") or "~",
                    mean[n],
                    old[n],
                )
            )
            place.update({name: i / max(1, len(row) - 1) for i, name in enumerate(row)})


def _places(
    rows: list[list[str]],
    up: Mapping[str, list[str]],
    down: Mapping[str, list[str]],
    wide: Mapping[str, float],
    frames: Mapping[str, str],
) -> dict[str, float]:
    """Horizontal centres: packed, then drawn towards neighbours without overtaking.

    What has neighbours in its own frame is drawn to those alone, so that frames stay apart.
    """
    x: dict[str, float] = {}
    for row in rows:
        edge = -sum(wide[n] + GAP for n in row) / 2
        for name in row:
            x[name] = edge + wide[name] / 2
            edge += wide[name] + GAP
    for sweep in range(12):
        sequence = rows if sweep % 2 == 0 else rows[::-1]
        for row in sequence:
            wish = {}
            for name in row:
                around = [*up[name], *down[name]]
                own = [n for n in around if frames.get(name) and frames.get(n) == frames[name]]
                near = [x[n] for n in own or around]
                wish[name] = sum(near) / len(near) if near else x[name]
            _settle(row, wish, x, wide)
    return x


def _settle(
    row: list[str], wish: Mapping[str, float], x: dict[str, float], wide: Mapping[str, float]
) -> None:
    """Least squares to the wishes under the gaps: pools of neighbours that touch move together."""
    pools: list[tuple[float, int, list[str]]] = []  # sum of (wish - own offset), count, names
    offset: dict[str, float] = {}
    run = 0.0
    for i, name in enumerate(row):
        if i:
            run += (wide[row[i - 1]] + wide[name]) / 2 + GAP
        offset[name] = run
        pools.append((wish[name] - run, 1, [name]))
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, count, names = pools.pop()
            before, number, earlier = pools.pop()
            pools.append((before + total, number + count, [*earlier, *names]))
    for total, count, names in pools:
        for name in names:
            x[name] = total / count + offset[name]
