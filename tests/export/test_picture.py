"""Pictures of models: whole, legible, the same each time, and without a way in for odd names."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tiedgraph.compiler import check, check_text
from tiedgraph.export.dot import dot, quote
from tiedgraph.export.layers import layered
from tiedgraph.export.picture import Box, Picture, picture
from tiedgraph.export.svg import _size, draw, html, svg
from tiedgraph.ir.graph import Graph

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/*.tie"))
DEEP = """
input x: float[16]
target y: class[3]
block layer(v, n=16) {
    a = dense(v, n) |> tanh
    return v + a
}
deep = repeat(x, 25, layer)
tie hard deep[*]
logits = dense(deep, 3)
output who = softmax(logits)
loss cross_entropy(logits, y)
"""


def graph_of(path: Path) -> Graph:
    found = check(path).graph
    assert found is not None
    return found


def deep() -> Graph:
    found = check_text(DEEP).graph
    assert found is not None
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_svg_is_well_formed_and_names_everything(path: Path) -> None:
    graph = graph_of(path)
    text = svg(graph)
    root = ElementTree.fromstring(text)
    words = " ".join(root.itertext())
    for name, instance in graph.instances.items():
        whole = name.partition("[")[0].removesuffix(".state")  # a unit is one box
        if instance.params and instance.op:
            assert name in words or f"unit {whole}" in words
    for item in graph.data.values():
        if item.role in ("input", "target"):
            assert item.value in words
    for group in picture(graph).groups:
        assert f"{group.owner}" in words
        assert (group.told if group.soft else f"saves {group.saved:,}") in words
    assert svg(graph_of(path)) == text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("graph", [deep(), *map(graph_of, EXAMPLES)], ids=lambda g: g.name)
def test_boxes_keep_clear_of_each_other_and_arrows_point_down(graph: Graph) -> None:
    what = picture(graph)
    sizes = {name: _size(box) for name, box in what.boxes.items()}
    layout = layered(sizes, what.arrows, {n: b.frame for n, b in what.boxes.items() if b.frame})
    names = list(sizes)
    for i, a in enumerate(names):
        (ax, ay), (aw, ah) = layout.at[a], sizes[a]
        assert aw / 2 <= ax <= layout.width - aw / 2
        assert ah / 2 <= ay <= layout.height - ah / 2
        for b in names[i + 1 :]:
            (bx, by), (bw, bh) = layout.at[b], sizes[b]
            assert abs(ax - bx) >= (aw + bw) / 2 or abs(ay - by) >= (ah + bh) / 2, (a, b)
    for a, b in what.arrows:
        assert layout.at[a][1] < layout.at[b][1]


def test_ties_are_marked_by_letter_and_saved_numbers_add_up() -> None:
    what = picture(deep())
    assert [group.letter for group in what.groups] == ["A", "B"]
    assert sum(group.saved for group in what.groups) == 24 * (16 * 16 + 16)
    marked = [box for box in what.boxes.values() if box.badges == ["A", "B"]]
    assert len(marked) == 25
    assert "and 20 more" in svg(deep())


HOSTILE = "</svg><script>alert(1)</script>\"'&\\ \n]]>"


def test_hostile_words_stay_words() -> None:
    box = Box(HOSTILE, "layer", HOSTILE, [HOSTILE], HOSTILE)
    other = Box("b", "function", HOSTILE, [HOSTILE], HOSTILE)
    text = draw(Picture(HOSTILE, {HOSTILE: box, "b": other}, ((HOSTILE, "b"),), ()))
    root = ElementTree.fromstring(text)
    assert not [e for e in root.iter() if e.tag.endswith("script")]
    assert re.fullmatch(r'"(?:[^"\\]|\\.)*"', quote(HOSTILE))


def test_the_page_has_one_script_and_loads_nothing() -> None:
    page = html(deep())
    assert page.count("<script>") == 1
    assert not re.search(r"(?:src|href|url)\s*=", page)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_dot_has_a_node_for_each_box_and_an_edge_for_each_arrow(path: Path) -> None:
    graph = graph_of(path)
    what, text = picture(graph), dot(graph)
    assert text.count(" -> ") == len(what.arrows)
    assert text.count("penwidth=") == len(what.boxes)
    assert text.count("{") == text.count("}")


def test_soft_ties_are_groups_of_their_own() -> None:
    found = check_text(
        "input x: float[4]\na = dense(x, 4)\nb = dense(a, 4)\noutput y = b\n"
        "tie hard a.bias, b.bias\ntie soft book = a.weight, b.weight { components = 3 }"
    )
    assert found.graph is not None
    groups = picture(found.graph).groups
    assert [(group.letter, group.soft) for group in groups] == [("A", False), ("B", True)]
    assert groups[1].members == ("a.weight", "b.weight")
    text = svg(found.graph)
    assert "book draws a.weight, b.weight: 32 numbers from 3 Gaussians" in text
    assert text.count('stroke-dasharray="2 2"') == 3
    assert "B softly" in dot(found.graph)
