"""Random models with random ties, and what linear algebra says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tiedgraph.ir.graph import Graph
from tiedgraph.ties.index_map import make_map
from tiedgraph.ties.layout import read
from tiedgraph.ties.view import layout

Array = np.ndarray[Any, np.dtype[Any]]

SQUARE = ("a", "b", "c", "d", "e")  # [4, 4]
WIDE = ("p", "q")  # [8, 4]
SIZES = {**dict.fromkeys(SQUARE, (4, 4)), **dict.fromkeys(WIDE, (8, 4))}


@dataclass(frozen=True)
class Statement:
    """A tie and the same as an equation: `left(numbers) == right(numbers)`."""

    text: str
    left: Callable[[dict[str, Array]], Array]
    right: Callable[[dict[str, Array]], Array]
    itself: bool = False


# Views of a square matrix as text and in NumPy.
VIEWS: dict[str, Callable[[Array], Array]] = {
    "{}": lambda w: w,
    "transpose({})": lambda w: np.swapaxes(w, 0, 1),
    "flip({}, axis=0)": lambda w: w[::-1],
    "flip({}, axis=1)": lambda w: w[:, ::-1],
    "rotate90({})": lambda w: np.rot90(w),
    "permute(flip({}, axis=0), [1, 0])": lambda w: np.swapaxes(w[::-1], 0, 1),
    "reshape(transpose(reshape({}, [2, 8])), [4, 4])": lambda w: np.swapaxes(
        w.reshape(2, 8, *w.shape[2:]), 0, 1
    ).reshape(w.shape),
    "negate({})": lambda w: -w,
    "scale({}, 2)": lambda w: 2 * w,
    "scale(transpose({}), -0.5)": lambda w: -0.5 * np.swapaxes(w, 0, 1),
}
PARTS: dict[str, Callable[[Array], Array]] = {
    "slice({}, 0, 4)": lambda w: w[:4],
    "slice({}, 2, 6)": lambda w: w[2:6],
    "transpose(slice({}, 4, 8))": lambda w: np.swapaxes(w[4:], 0, 1),
    "slice({}, step=2)": lambda w: w[::2],
}
MAPS: dict[str, Callable[[Array], tuple[Array, Array]]] = {
    "symmetric": lambda w: (w, np.swapaxes(w, 0, 1)),
    "circulant": lambda w: (w, np.roll(np.roll(w, 1, 0), 1, 1)),
    "toeplitz": lambda w: (w[1:, 1:], w[:-1, :-1]),
    "hash(free=7, seed=2)": lambda w: _hashed(w),
}


def _hashed(w: Array) -> tuple[Array, Array]:
    index = make_map("hash", (4, 4), {"free": 7, "seed": 2}, None).index.reshape(-1)
    first = np.array([np.flatnonzero(index == group)[0] for group in index])
    flat = w.reshape(16, *w.shape[2:])
    return flat, flat[first]


def view(child: str, parent: str, text: str, function: Callable[[Array], Array]) -> Statement:
    return Statement(
        f"tie hard {child}.weight = {text.format(f'{parent}.weight')}",
        lambda v: v[child],
        lambda v: function(v[parent]),
        child == parent,
    )


def by(name: str, text: str) -> Statement:
    return Statement(
        f"tie hard {name}.weight by {text}",
        lambda v: MAPS[text](v[name])[0],
        lambda v: MAPS[text](v[name])[1],
    )


_views = st.builds(
    lambda child, parent, item: view(child, parent, *item),
    st.sampled_from(SQUARE),
    st.sampled_from(SQUARE),
    st.sampled_from(list(VIEWS.items())),
)
_same = st.builds(
    lambda names: view(names[1], names[0], "{}", VIEWS["{}"]), st.permutations(SQUARE)
)
_parts = st.builds(
    lambda child, parent, item: view(child, parent, *item),
    st.sampled_from(SQUARE),
    st.sampled_from(WIDE),
    st.sampled_from(list(PARTS.items())),
)
_wide = st.builds(
    lambda text: view("q", "p", text, VIEWS[text]),
    st.sampled_from(["{}", "flip({}, axis=0)", "negate({})"]),
)
_maps = st.builds(by, st.sampled_from(SQUARE), st.sampled_from(list(MAPS)))

statements = st.lists(st.one_of(_views, _same, _same, _parts, _wide, _maps), max_size=5)


def source(ties: list[Statement], activation: str = "tanh") -> str:
    """A model whose layers have the parameters of `SIZES`, and the ties."""
    return "\n".join(
        [
            "input x: float[4]",
            "target t: float[4]",
            *(f"{name} = dense(x, 4, bias=false) |> {activation}" for name in ("a", "d")),
            *(f"{name} = dense(a, 4, bias=false) |> {activation}" for name in ("b", "e")),
            f"c = dense(b * d, 4, bias=false) |> {activation}",
            *(f"{name} = dense(c, 8, bias=false) |> {activation}" for name in WIDE),
            "loss mse(slice(p, 0, 4) + slice(q, 4, 8) * e, t)",
            *(tie.text for tie in ties),
        ]
    )


def basis() -> dict[str, Array]:
    """Every parameter as a linear function of all numbers: shape and a last axis over numbers."""
    total = sum(int(np.prod(shape)) for shape in SIZES.values())
    whole = np.eye(total)
    found, start = {}, 0
    for name, shape in SIZES.items():
        count = int(np.prod(shape))
        found[name] = whole[start : start + count].reshape(*shape, total)
        start += count
    return found


def solutions(ties: list[Statement]) -> Array:
    """An orthonormal basis of all numbers for which the ties hold, one column each."""
    numbers = basis()
    total = next(iter(numbers.values())).shape[-1]
    rows = [np.zeros((1, total))]
    rows += [(tie.left(numbers) - tie.right(numbers)).reshape(-1, total) for tie in ties]
    _, sizes, across = np.linalg.svd(np.concatenate(rows))
    rank = int(np.count_nonzero(sizes > 1e-9))
    return across[rank:].T


def readings(graph: Graph) -> Array:
    """All parameters as a matrix over all free numbers, one column each."""
    columns = []
    for storage in graph.storages.values():
        for i in range(int(np.prod(storage.shape))):
            one = np.zeros(storage.shape)
            one.reshape(-1)[i] = 1
            parts = []
            for name, shape in SIZES.items():
                param = graph.params[f"{name}.weight"]
                assert param.shape == shape
                zero = np.zeros(shape)
                found = layout(param.view.steps, graph.storages[param.view.storage].shape)
                here = param.view.storage == storage.id
                parts.append((read(found, one) if here else zero).reshape(-1))
            columns.append(np.concatenate(parts))
    return np.array(columns).T


def projector(matrix: Array) -> Array:
    """Onto the columns' span."""
    across, sizes, _ = np.linalg.svd(matrix, full_matrices=False)
    kept = across[:, sizes > 1e-9]
    return kept @ kept.T
