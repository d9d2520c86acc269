"""Numbers from outside: refused where they do not fit the ties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tiedgraph.compiler import check_text
from tiedgraph.ir.graph import Graph
from tiedgraph.ties.assign import assign

Array = np.ndarray[Any, np.dtype[Any]]

TEXT = """
    input x: float[4]
    a = dense(x, 4)
    b = dense(a, 4)
    c = dense(b, 4)
    d = dense(c, 8)
    e = dense(c, 4)
    tie hard b.weight = scale(transpose(a.weight), 0.5)
    tie hard c.weight by antisymmetric
    tie hard e.weight = slice(d.weight, 2, 6)
    output y = d
"""


@pytest.fixture
def graph() -> Graph:
    found = check_text(TEXT).graph
    assert found is not None
    return found


@pytest.fixture
def free(graph: Graph) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(s.shape) for name, s in graph.storages.items()}


W = np.arange(16.0).reshape(4, 4)
SKEW = W - W.T


def test_owner_and_view(graph: Graph, free: dict[str, Array]) -> None:
    assert set(assign(graph, free, {"a.bias": np.ones(4)})) == {"a.bias"}
    through = assign(graph, free, {"b.weight": W})["a.weight"]
    np.testing.assert_array_equal(through, 2 * W.T)
    both = assign(graph, free, {"a.weight": W, "b.weight": 0.5 * W.T})
    np.testing.assert_array_equal(both["a.weight"], W)


def test_index_map(graph: Graph, free: dict[str, Array]) -> None:
    found = assign(graph, free, {"c.weight": SKEW})["c.weight"]
    assert found.shape == (6,)
    np.testing.assert_array_equal(found, SKEW[np.tril_indices(4, -1)])
    own = assign(graph, free, {"c.weight": np.arange(6.0)})["c.weight"]
    np.testing.assert_array_equal(own, np.arange(6.0))


def test_owner_and_parameter_never_have_one_shape() -> None:
    graph = check_text(
        """
        input x: float[4]
        a = dense(x, 4)
        tie hard a.bias by hash(free=4, seed=1)
        output y = a
        """
    ).graph
    assert graph is not None
    free = {name: np.arange(s.shape[0] * 1.0).reshape(-1, 1) for name, s in graph.storages.items()
            if name == "a.bias"}  # fmt: skip
    own = assign(graph, free, {"a.bias": 2 * free["a.bias"]})["a.bias"]
    np.testing.assert_array_equal(own, 2 * free["a.bias"])
    read = np.full(4, 5.0)
    assert 5.0 in assign(graph, free, {"a.bias": read})["a.bias"]


def test_part_leaves_the_rest(graph: Graph, free: dict[str, Array]) -> None:
    before = free["d.weight"].copy()
    found = assign(graph, free, {"e.weight": W})["d.weight"]
    np.testing.assert_array_equal(found[2:6], W)
    np.testing.assert_array_equal(found[:2], before[:2])
    np.testing.assert_array_equal(free["d.weight"], before)


BAD = [
    ({"b.wieght": W}, "no parameter 'b.wieght'; did you mean 'b.weight'"),
    ({"a.weight": W[:3]}, r"'a.weight' is \[4, 4\], but the array given is \[3, 4\]"),
    ({"a.weight": np.where(W == 3, np.nan, W)}, "not finite"),
    ({"a.weight": W, "b.weight": W}, "'b.weight' and 'a.weight' are tied"),
    ({"d.weight": np.zeros((8, 4)), "e.weight": W}, "'e.weight' and 'd.weight' are tied"),
    ({"c.weight": W + 1}, "tied to zero"),
    ({"c.weight": np.triu(W, 1)}, "tied to each other"),
]


@pytest.mark.parametrize(("given", "words"), BAD, ids=[case[1] for case in BAD])
def test_refused(given: dict[str, Array], words: str, graph: Graph, free: dict[str, Array]) -> None:
    before = {name: array.copy() for name, array in free.items()}
    with pytest.raises(ValueError, match=words):
        assign(graph, free, given)
    for name, array in free.items():
        np.testing.assert_array_equal(array, before[name])
