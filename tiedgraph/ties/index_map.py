"""Index maps: ties inside one parameter, `tie hard w by ...`.

A map says for every entry which free number it is, and by what constant it is multiplied. Maps
over rows and columns act on the first two axes; every position of the others has free numbers of
its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from tiedgraph.diagnostics import Diagnostics, nearest
from tiedgraph.ir.graph import Graph, Param, Tie, TieMember
from tiedgraph.ir.types import shape_text
from tiedgraph.ties.edge import Edge
from tiedgraph.ties.layout import Array, Shape
from tiedgraph.ties.map_file import read_integers, read_several
from tiedgraph.ties.view import IndexMap, ViewError, map_step

MAX_ENTRIES = 2**26  # of a parameter under an index map; each takes 12 to 24 bytes


@dataclass(frozen=True)
class MapKind:
    """One index map.

    arguments: names with defaults, `...` for required ones. make: the maps of parameters by their
      shapes; one of each alone, or with `joint` all onto the same free numbers.
    """

    name: str
    doc: str
    arguments: tuple[tuple[str, Any], ...]
    make: Callable[[Shape, Mapping[str, Any], Path | None], IndexMap] | None = None
    joint: (
        Callable[[Mapping[str, Shape], Mapping[str, Any], Path | None], dict[str, IndexMap]] | None
    ) = None


def map_edges(graph: Graph, tie: Tie, diagnostics: Diagnostics, root: Path | None) -> list[Edge]:
    """`tie hard w by NAME(...)`: w through free numbers that no parameter declares."""
    settings = dict(tie.settings)
    name = str(settings.pop("map"))
    edges = []
    params: list[tuple[TieMember, Param]] = []
    for member in tie.members:
        if member.path not in graph.params:
            inside = graph.instances[member.path].params
            diagnostics.error(
                "E0408",
                f"an index map is for one parameter, and '{member.path}' is a layer or block",
                member.span,
                hint=f"name one of its parameters: {', '.join(inside[:4])}" if inside else "",
            )
            continue
        params.append((member, graph.params[member.path]))
    joint = is_joint(name)
    for group in [params] if joint and params else [[pair] for pair in params]:
        shapes = {param.id: param.shape for _, param in group}
        try:
            made = make_maps(name, shapes, settings, root)
        except ViewError as error:
            others = [(p.span, f"makes '{p.id}', {shape_text(p.shape)}") for _, p in group[:1]]
            diagnostics.error(error.code, error.message, tie.span, others=others, hint=error.hint)
            continue
        for member, param in group:
            steps = (map_step(made[param.id]),)
            shared = tie.id if joint else ""
            edges.append(Edge(param.id, "", steps, tie, member.span, tie.span, shared))
    return edges


def is_joint(name: object) -> bool:
    """Whether an index map gives all members of a tie the same free numbers."""
    kind = MAPS.get(str(name))
    return kind is not None and kind.joint is not None


def make_maps(
    name: str, shapes: Mapping[str, Shape], given: Mapping[str, Any], root: Path | None
) -> dict[str, IndexMap]:
    """The maps of a `by` clause by parameter: each alone, or all at once; raises ViewError."""
    if not is_joint(name):
        return {param: make_map(name, shape, given, root) for param, shape in shapes.items()}
    kind = MAPS[name]
    assert kind.joint is not None
    options, text = _options(kind, given)
    made = kind.joint(shapes, options, root)
    # An array of one shape must not fit both a parameter and its free numbers.
    clash = any(found.free == shapes[param] for param, found in made.items())
    return {
        param: replace(found, free=(*found.free, 1) if clash else found.free, text=text)
        for param, found in made.items()
    }


def make_map(name: str, shape: Shape, given: Mapping[str, Any], root: Path | None) -> IndexMap:
    """The map of a `by` clause for a parameter of this shape; raises ViewError.

    given: arguments by name, or by position under "0", "1", ... root: the compiled file's folder.
    """
    kind = MAPS.get(name)
    if kind is None:
        hint = nearest(name, MAPS) or f"index maps are {', '.join(MAPS)}"
        raise ViewError("E0408", f"there is no index map '{name}'", hint)
    options, text = _options(kind, given)
    if prod(shape) > MAX_ENTRIES:
        message = f"{name} lists {prod(shape):,} entries; the limit is {MAX_ENTRIES:,}"
        raise ViewError("E0501", message)
    assert kind.make is not None
    made = kind.make(shape, options, root)
    # An array of one shape must not fit both the parameter and its free numbers.
    free = (*made.free, 1) if made.free == shape else made.free
    return replace(made, free=free, text=text)


def _options(kind: MapKind, given: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """All arguments by name, and the clause as text; raises ViewError."""
    name = kind.name
    names = [argument for argument, _ in kind.arguments]
    hint = f"write {name}({', '.join(names)})" if names else f"write {name} alone"
    options: dict[str, Any] = {}
    for key, value in given.items():
        if key.isdigit():
            if int(key) >= len(names):
                raise ViewError("E0408", f"{name} takes no argument number {int(key) + 1}", hint)
            key = names[int(key)]
        if key not in names:
            raise ViewError("E0408", f"{name} has no argument '{key}'", hint)
        if key in options:
            raise ViewError("E0408", f"argument '{key}' of {name} is given twice", hint)
        options[key] = value
    for argument, default in kind.arguments:
        if argument not in options:
            if default is ...:
                raise ViewError("E0408", f"{name} needs its argument '{argument}'", hint)
            options[argument] = default
    shown = ", ".join(f"{key}={_quoted(options[key])}" for key in names)
    return options, f"{name}({shown})" if shown else name


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _matrix(name: str, shape: Shape, square: bool) -> tuple[int, int, int]:
    """Rows, columns, and entries of the remaining axes."""
    if len(shape) < 2 or (square and shape[0] != shape[1]):
        what = "as many rows as columns" if square else "rows and columns"
        raise ViewError("E0408", f"{name} needs {what}, but the parameter is {shape_text(shape)}")
    return shape[0], shape[1], prod(shape[2:])


def _spread(index: Array, free: int, shape: Shape, scale: Array | None = None) -> IndexMap:
    """A map of rows and columns for all positions of the other axes."""
    rest = prod(shape[2:])
    inside = index[:, :, None] >= 0
    full = np.where(inside, index[:, :, None] * rest + np.arange(rest), -1).reshape(shape)
    if scale is not None:
        scale = np.ascontiguousarray(np.broadcast_to(scale[:, :, None], (*scale.shape, rest)))
        scale = scale.reshape(shape)
    return IndexMap((free, *shape[2:]), full, scale)


def _mix(numbers: Array) -> Array:
    """A 64-bit mixing of integers, the same everywhere (the finaliser of splitmix64)."""
    with np.errstate(over="ignore"):
        x = numbers + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(x ^ (x >> np.uint64(31)))


def _hash(shape: Shape, options: Mapping[str, Any], root: Path | None) -> IndexMap:
    free, seed = options["free"], options["seed"]
    count = prod(shape)
    if not isinstance(free, int) or not 1 <= free <= count:
        raise ViewError(
            "E0408",
            f"hash needs 1 to {count} free numbers for {shape_text(shape)}, not {free}",
            f"such as hash(free={max(1, count // 4)})",
        )
    if not isinstance(seed, int) or seed < 0:
        raise ViewError("E0408", f"hash needs a seed of 0 or more, not {seed}")
    start = _mix(np.array([seed], np.uint64))[0]
    mixed = _mix(np.arange(count, dtype=np.uint64) ^ start)
    return IndexMap((free,), (mixed % np.uint64(free)).astype(np.int64).reshape(shape))


def _circulant(shape: Shape, options: Mapping[str, Any], root: Path | None) -> IndexMap:
    rows, columns, _ = _matrix("circulant", shape, square=True)
    index = (np.arange(rows)[:, None] - np.arange(columns)) % rows
    return _spread(index, rows, shape)


def _toeplitz(shape: Shape, options: Mapping[str, Any], root: Path | None) -> IndexMap:
    rows, columns, _ = _matrix("toeplitz", shape, square=False)
    index = np.arange(rows)[:, None] - np.arange(columns) + columns - 1
    return _spread(index, rows + columns - 1, shape)


def _symmetric(shape: Shape, options: Mapping[str, Any], root: Path | None) -> IndexMap:
    rows, columns, _ = _matrix("symmetric", shape, square=True)
    high = np.maximum(np.arange(rows)[:, None], np.arange(columns))
    low = np.minimum(np.arange(rows)[:, None], np.arange(columns))
    return _spread(high * (high + 1) // 2 + low, rows * (rows + 1) // 2, shape)


def _antisymmetric(shape: Shape, options: Mapping[str, Any], root: Path | None) -> IndexMap:
    rows, columns, _ = _matrix("antisymmetric", shape, square=True)
    if rows < 2:
        raise ViewError("E0406", "antisymmetric leaves nothing of a matrix of one row: it is zero")
    i, j = np.arange(rows)[:, None], np.arange(columns)
    high, low = np.maximum(i, j), np.minimum(i, j)
    index = np.where(i == j, -1, high * (high - 1) // 2 + low)
    return _spread(index, rows * (rows - 1) // 2, shape, np.where(i < j, -1.0, 1.0))


def _block_diagonal(shape: Shape, options: Mapping[str, Any], root: Path | None) -> IndexMap:
    rows, columns, _ = _matrix("block_diagonal", shape, square=False)
    blocks = options["blocks"]
    if not isinstance(blocks, int) or blocks < 1 or rows % blocks or columns % blocks:
        raise ViewError(
            "E0408",
            f"block_diagonal cannot cut {shape_text(shape)} into {blocks} equal blocks",
            f"the number must divide {rows} and {columns}",
        )
    high, wide = rows // blocks, columns // blocks
    i, j = np.arange(rows)[:, None], np.arange(columns)
    same = i // high == j // wide
    index = np.where(same, (i // high * high + i % high) * wide + j % wide, -1)
    return _spread(index, rows * wide, shape)


def _file(shape: Shape, options: Mapping[str, Any], root: Path | None) -> IndexMap:
    name = options["file"]
    if not isinstance(name, str):
        raise ViewError(
            "E0408", f'map needs the name of a file, such as map("groups.npy"), not {name}'
        )
    index = read_integers(name, shape, root)
    return IndexMap((_free(name, [index]),), index)


def _free(name: str, indices: Sequence[Array]) -> int:
    """How many free numbers the maps of a file have; raises ViewError."""
    size = sum(index.size for index in indices)
    free = max((int(index.max(initial=-1)) for index in indices), default=-1) + 1
    least = min((int(index.min(initial=0)) for index in indices), default=0)
    if size and (least < -1 or free > size):
        raise ViewError(
            "E0408",
            f"the map in '{name}' holds {least} to {free - 1}; entries are -1 (zero) "
            f"or 0 to {size - 1}",
        )
    if free == 0:
        raise ViewError("E0406", f"the map in '{name}' makes every entry zero")
    used = np.zeros(free, bool)
    for index in indices:
        used[index[index >= 0]] = True
    if not used.all():
        raise ViewError(
            "E0408",
            f"the map in '{name}' never uses free number {int(np.argmin(used))} of {free}",
            "number the groups without gaps",
        )
    return free


def _codebook(
    shapes: Mapping[str, Shape], options: Mapping[str, Any], root: Path | None
) -> dict[str, IndexMap]:
    name = options["file"]
    if not isinstance(name, str):
        raise ViewError(
            "E0408",
            f'codebook needs the name of a file, such as codebook("book.npz"), not {name}',
        )
    total = sum(prod(shape) for shape in shapes.values())
    if total > MAX_ENTRIES:
        raise ViewError("E0501", f"codebook lists {total:,} entries; the limit is {MAX_ENTRIES:,}")
    found = read_several(name, shapes, root)
    free = _free(name, list(found.values()))
    return {param: IndexMap((free,), index) for param, index in found.items()}


MAP_KINDS = (
    MapKind(
        "hash",
        "Entries share `free` numbers, drawn by a hash of their position: HashedNets (Chen et al. "
        "2015). Entry i in C order is number mix(i xor mix(seed)) mod free, where mix is the "
        "finaliser of splitmix64 (Steele, Lea and Flood 2014) on 64 bits.",
        (("free", ...), ("seed", 0)),
        _hash,
    ),
    MapKind(
        "circulant",
        "Each row is the one above moved on by one, w[i, j] = c[(i - j) mod n]: Cheng et al. 2015.",
        (),
        _circulant,
    ),
    MapKind(
        "toeplitz",
        "Constant along diagonals: w[i, j] = t[i - j + columns - 1].",
        (),
        _toeplitz,
    ),
    MapKind("symmetric", "w[i, j] = w[j, i]: n (n + 1) / 2 free numbers.", (), _symmetric),
    MapKind(
        "antisymmetric",
        "w[i, j] = -w[j, i], with zeros on the diagonal: n (n - 1) / 2 free numbers.",
        (),
        _antisymmetric,
    ),
    MapKind(
        "block_diagonal",
        "Zero but for `blocks` equal blocks along the diagonal.",
        (("blocks", ...),),
        _block_diagonal,
    ),
    MapKind(
        "map",
        "Any map from entries to free numbers, from a `.npy` file of integers in the parameter's "
        "shape; -1 is a fixed zero.",
        (("file", ...),),
        _file,
    ),
    MapKind(
        "codebook",
        "All members share one list of free numbers: a `.npz` file holds an array of integers for "
        "each parameter, under its name and in its shape; -1 is a fixed zero. What `tiedgraph "
        "harden` makes of a soft tie (Gong et al. 2014; Han, Mao and Dally 2016).",
        (("file", ...),),
        joint=_codebook,
    ),
)

MAPS: dict[str, MapKind] = {kind.name: kind for kind in MAP_KINDS}
