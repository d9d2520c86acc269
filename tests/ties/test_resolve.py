"""Ties resolved together, held to linear algebra: what numbers are left, in any order."""

from __future__ import annotations

import random

import numpy as np
import pytest
import tied
from hypothesis import given, settings
from hypothesis import strategies as st
from tied import PARTS, SIZES, VIEWS, Statement, by, view

from tiedgraph.compiler import check_text
from tiedgraph.ir.graph import Graph


def resolve(ties: list[Statement]) -> tuple[Graph | None, list[str]]:
    checked = check_text(tied.source(ties))
    return checked.graph, [item.code for item in checked.diagnostics]


@settings(max_examples=300)
@given(tied.statements)
def test_what_is_left_is_what_linear_algebra_leaves(ties: list[Statement]) -> None:
    graph, codes = resolve(ties)
    solved = tied.solutions(ties)
    zero = np.abs(solved).sum(axis=1) < 1e-9
    if graph is None:
        assert set(codes) & {"E0402", "E0403", "E0405", "E0406"}, codes
        if "E0406" in codes:
            assert zero.any()
        if "E0403" in codes:
            assert any(tie.itself for tie in ties)
        return
    assert not zero.any()
    read = tied.readings(graph)
    assert read.shape == solved.shape
    np.testing.assert_allclose(tied.projector(read), solved @ solved.T, atol=1e-9)
    declared = sum(int(np.prod(shape)) for shape in SIZES.values())
    assert sum(tie.saves for tie in graph.ties) == declared - solved.shape[1]
    if "W0004" not in codes:
        assert all(tie.saves in (0, 4, 6, 9, 12, 16, 32) for tie in graph.ties)


@settings(max_examples=150)
@given(tied.statements, st.randoms(use_true_random=False))
def test_order_does_not_matter(ties: list[Statement], rng: random.Random) -> None:
    graph, codes = resolve(ties)
    mixed = list(ties)
    rng.shuffle(mixed)
    other, other_codes = resolve(mixed)
    assert (graph is None) == (other is None), (codes, other_codes)
    if graph is not None and other is not None:
        first, second = tied.readings(graph), tied.readings(other)
        assert first.shape == second.shape
        np.testing.assert_allclose(tied.projector(first), tied.projector(second), atol=1e-9)


# ---------------------------------------------------------------- one by one


def equal(first: str, *others: str) -> list[Statement]:
    return [view(other, first, "{}", VIEWS["{}"]) for other in others]


def through(child: str, parent: str, text: str) -> Statement:
    return view(child, parent, text, {**VIEWS, **PARTS}[text])


TURN = "rotate90({})"
CASES = {
    "a chain of equals": ([*equal("a", "b"), *equal("b", "c")], 2, []),
    "four quarters are none": (
        [through("b", "a", TURN), through("c", "b", TURN), through("d", "c", TURN),
         through("a", "d", TURN)], 3, []),
    "three quarters are not": (
        [through("b", "a", TURN), through("c", "b", TURN), through("a", "c", TURN)], 0,
        ["W0004"]),
    "transposed and equal": ([through("b", "a", "transpose({})"), *equal("a", "b")], 0, ["W0004"]),
    "and said so": (
        [through("b", "a", "transpose({})"), *equal("a", "b"), by("b", "symmetric")], 0, []),
    "a view of itself": ([through("a", "a", "transpose({})")], 0, ["E0403"]),
    "and said so, too": ([by("a", "symmetric"), through("a", "a", "transpose({})")], 0, []),
    "minus itself": ([through("a", "a", "negate({})")], 0, ["E0406"]),
    "minus and plus": ([through("a", "b", "negate({})"), *equal("a", "b")], 0, ["E0406"]),
    "twice and once": ([through("a", "b", "scale({}, 2)"), *equal("b", "a")], 0, ["E0406"]),
    "a part": ([through("a", "p", "slice({}, 0, 4)")], 1, []),
    "parts that overlap": (
        [through("a", "p", "slice({}, 0, 4)"), through("b", "p", "slice({}, 2, 6)")], 2, []),
    "parts of parts": (
        [through("b", "p", "slice({}, 2, 6)"), *equal("b", "c"), through("q", "p", "{}")], 3, []),
    "the same part twice": (
        [through("a", "p", "slice({}, 0, 4)"), through("a", "q", "slice({}, 0, 4)"),
         through("q", "p", "{}")], 2, []),
    "parts made equal": (
        [through("a", "p", "slice({}, 0, 4)"), through("a", "p", "slice({}, 2, 6)")], 1,
        ["W0004"]),
    "parts of two": (
        [through("a", "p", "slice({}, 0, 4)"), through("a", "q", "slice({}, 0, 4)")], 0,
        ["E0402"]),
    "two maps": ([by("a", "circulant"), by("a", "symmetric")], 0, ["E0402"]),
    "the same map twice": ([by("a", "circulant"), by("b", "circulant"), *equal("a", "b")], 0, []),
    "a map, transposed to itself": (
        [by("a", "circulant"), by("b", "circulant"), through("b", "a", "transpose({})")], 0, []),
    "a map of a part": ([by("a", "symmetric"), through("a", "p", "slice({}, 0, 4)")], 0, ["E0402"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    ties, merged, codes = CASES[name]
    graph, found = resolve(ties)
    assert found == codes
    if graph is not None and merged:
        owners = {graph.params[f"{name}.weight"].view.storage for name in SIZES}
        assert len(owners) == len(SIZES) - merged


def test_owner_is_what_others_are_views_of() -> None:
    graph, _ = resolve([through("a", "b", TURN), through("c", "b", "negate({})")])
    assert graph is not None
    assert {graph.params[f"{name}.weight"].view.storage for name in "abc"} == {"b.weight"}
    graph, _ = resolve([Statement("tie hard c.weight, a.weight, b.weight", len, len)])
    assert graph is not None
    assert {graph.params[f"{name}.weight"].view.storage for name in "abc"} == {"c.weight"}


def test_owner_keeps_init_and_fans_and_freezing_spreads() -> None:
    text = tied.source([through("a", "b", TURN)])
    text += "\ninit b.weight = normal(0, 2)\nfreeze a.weight\n"
    checked = check_text(text)
    assert checked.graph is not None
    storage = checked.graph.storages["b.weight"]
    assert (storage.init.name, storage.trainable) == ("normal", False)
    assert "a.weight" not in checked.graph.storages


def test_long_chains_stay_short() -> None:
    count = 300
    lines = ["input x: float[4]", "w0 = dense(x, 4)"]
    for i in range(1, count):
        lines += [f"w{i} = dense(w{i - 1}, 4)"]
        word = ("rotate90", "transpose", "flip", "negate")[i % 4]
        lines += [f"tie hard w{i}.weight = {word}(w{i - 1}.weight)"]
    lines += [f"output y = w{count - 1}"]
    checked = check_text("\n".join(lines))
    assert checked.graph is not None
    views = [param.view for param in checked.graph.params.values() if param.name == "weight"]
    assert {view.storage for view in views} == {"w0.weight"}
    assert max(len(view.steps) for view in views) <= 9


def test_instances_member_by_member() -> None:
    text = """
        input x: float[4]
        block cell(v) { h = dense(v, 4) |> tanh
            return dense(h, 4) }
        layers = repeat(x, 3, cell)
        other = cell(layers)
        tie hard layers[*], other
        output y = other
    """
    checked = check_text(text)
    assert checked.graph is not None
    assert list(checked.graph.storages) == [
        f"layers[0].{name}" for name in ("h.weight", "h.bias", "weight", "bias")
    ]
    assert checked.graph.params["other.h.bias"].view.storage == "layers[0].h.bias"
    assert [tie.saves for tie in checked.graph.ties] == [3 * 40]


def test_large_strided_ties_are_cheap() -> None:
    text = """
        input x: float[20000]
        a = dense(x, 20000, bias=false)
        b = dense(a, 20000, bias=false)
        tie hard b.weight = transpose(a.weight)
        output y = b
    """
    checked = check_text(text)
    assert checked.graph is not None
    assert checked.graph.storages.keys() == {"a.weight"}


@pytest.mark.parametrize("tie", ["b.weight = negate(a.weight)", "b.weight by hash(free=9)"])
def test_large_indices_are_refused(tie: str) -> None:
    text = f"""
        input x: float[20000]
        a = dense(x, 20000, bias=false)
        b = dense(a, 20000, bias=false)
        tie hard {tie}
        output y = b
    """
    checked = check_text(text)
    assert [item.code for item in checked.diagnostics.errors] == ["E0501"]
