"""Every kind of tie, view and index map is a record, and the page tells of each."""

from __future__ import annotations

import pytest

from tiedgraph.compiler import check_text
from tiedgraph.ties import KINDS_BY_NAME, TIE_KINDS, TieKind
from tiedgraph.ties.document import ties_page
from tiedgraph.ties.index_map import MAPS
from tiedgraph.ties.view import VIEWS

STATEMENTS = {
    "hard": "tie hard a.weight = transpose(b.weight)",
    "index_map": "tie hard a.weight by symmetric",
    "soft": "tie soft book = a.weight, b.weight",
    "shared": "task s { h = dense(x, 3) }\ntask t { h = dense(x, 3) }\ntie shared h across s, t",
}


@pytest.mark.parametrize("kind", TIE_KINDS, ids=lambda kind: kind.name)
def test_every_kind_is_built_and_saves(kind: TieKind) -> None:
    text = f"""
        input x: float[4]
        a = dense(x, 4)
        b = dense(a, 4)
        {STATEMENTS[kind.name]}
        output y = b
    """
    graph = check_text(text).graph
    assert graph is not None
    (tie,) = graph.ties
    assert tie.kind == kind.name
    assert KINDS_BY_NAME[tie.kind] is kind
    assert (tie.saves > 0) == (kind.name != "soft")
    assert kind.doc.split("\n")[0].endswith(".")


@pytest.mark.parametrize("name", [*VIEWS, *MAPS])
def test_the_page_tells_of_it(name: str) -> None:
    assert f"| `{name}" in ties_page()


def test_lines_of_the_page_are_whole() -> None:
    rows = [line for line in ties_page().splitlines() if line.startswith("|")]
    assert all(line.endswith("|") and line.count("|") in (3, 4) for line in rows)
