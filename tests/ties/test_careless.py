"""Arguments of every wrong kind are told, never raised."""

from __future__ import annotations

import itertools

import pytest

from tiedgraph.compiler import check_text
from tiedgraph.ties.index_map import MAP_KINDS
from tiedgraph.ties.view import VIEW_KINDS

VALUES = (
    "0", "-1", "3", "2.5", "1e300", "-0.0", "true", '"text"', "[]", "[1, 0]", "[0, 0]", "[4, 4]",
    "[2.5, 2]", "[true, false]", '["a", "b"]', "[16]", "1000000000000000000", "1 / 3",
)  # fmt: skip
TEXT = """
    input x: float[4]
    a = dense(x, 4)
    b = dense(a, 4)
    output y = b
    tie hard a.weight {}
"""
CALLS = [
    *(f"= {kind.name}(b.weight{{}})" for kind in VIEW_KINDS),
    *(f"by {kind.name}({{}})" for kind in MAP_KINDS),
]


@pytest.mark.parametrize("call", CALLS)
def test_no_argument_raises(call: str) -> None:
    for first, second in itertools.product(VALUES, VALUES[::6]):
        for given in (first, f"{first}, {second}"):
            text = call.format(f", {given}" if call.startswith("=") else given)
            checked = check_text(TEXT.format(text))
            codes = {item.code for item in checked.diagnostics.errors}
            known = {"E0204", "E0208", "E0401", "E0402", "E0404", "E0406", "E0408", "E0503"}
            assert codes <= known, (text, codes)
            assert bool(codes) == (checked.graph is None)


@pytest.mark.parametrize("tie", ["= b.weight by symmetric", "= a.weight", "by a.weight", "= by"])
def test_other_slips(tie: str) -> None:
    assert check_text(TEXT.format(tie)).graph is None
