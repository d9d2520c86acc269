"""`verify` notices what passes can break, and `print_graph` says where each line is from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from front import good
from test_shapes import LENET

from tiedgraph.ir.graph import Graph, Value
from tiedgraph.ir.print import print_graph
from tiedgraph.ir.verify import InternalError, verify


def node(graph: Graph, name: str, **changes: Any) -> Graph:
    return graph.replace(nodes={**graph.nodes, name: replace(graph.nodes[name], **changes)})


def without(table: Any, name: str) -> dict[str, Any]:
    return {key: item for key, item in table.items() if key != name}


DAMAGE = {
    "reads 'nothing'": lambda g: node(g, "c1.tanh", inputs=("nothing",)),
    "before it is made": lambda g: node(g, "c1.conv2d", inputs=("f5",)),
    "made twice": lambda g: node(g, "c1.tanh", outputs=("c1.conv2d",)),
    "is filed under": lambda g: node(g, "c1.tanh", id="other"),
    "has parameter 'c9.weight'": lambda g: node(g, "c1.conv2d", params=("c9.weight",)),
    "belongs to": lambda g: node(g, "c3.conv2d", params=g.nodes["c1.conv2d"].params),
    "has no type": lambda g: g.replace(values={**g.values, "c1": Value("c1", None, "c1.tanh")}),
    "views 'c1.weight'": lambda g: g.replace(storages=without(g.storages, "c1.weight")),
    "has no value": lambda g: g.replace(values=without(g.values, "image")),
    "which does not exist": lambda g: g.replace(losses=(replace(g.losses[0], value="gone"),)),
    "instance 'c1'": lambda g: g.replace(params=without(g.params, "c1.bias")),
}


@pytest.mark.parametrize("text", DAMAGE)
def test_damage_is_noticed(text: str) -> None:
    graph = good(LENET)
    verify(graph, "shapes")
    with pytest.raises(InternalError, match=text):
        verify(DAMAGE[text](graph), "shapes")


def test_the_text_of_a_graph() -> None:
    lines = print_graph(good(LENET + "tie hard f6.bias by symmetric\ninit c1 = normal(0, 0.1)\n"))
    rows = [" ".join(line.split()) for line in lines.splitlines()]
    assert rows[0] == "model text"
    for expected in (
        "image : float[1, 28, 28] input <text>:2",
        "c1.conv2d : float[6, 28, 28] = conv2d(image) {channels=6, window=[5, 5], pad=[2, 2]} "
        "[c1.weight, c1.bias] <text>:4",
        "c1 : float[6, 28, 28] = tanh(c1.conv2d) <text>:4",
        "c1.weight : [6, 1, 5, 5] starts normal(0, 0.1) <text>:4",
        "tie0 index_map f6.bias by map=symmetric <text>:14",
        "loss cross_entropy loss.cross_entropy <text>:12",
        "output digit digit <text>:11",
    ):
        assert expected in rows
