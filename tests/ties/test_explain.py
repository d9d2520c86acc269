"""What `explain` tells, as data and as text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tiedgraph.compiler import check, check_text
from tiedgraph.explain import Explanation, explain, explain_parameter, explain_text
from tiedgraph.ir.graph import Graph

FILES = sorted((Path(__file__).parent / "explain").glob("*.tie"))
Golden = Callable[[Path, str], None]


def of(text: str) -> Explanation:
    graph = check_text(text).graph
    assert graph is not None
    return explain(graph)


def graph_of(path: Path) -> Graph:
    graph = check(path).graph
    assert graph is not None
    return graph


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_texts(path: Path, golden: Golden) -> None:
    graph = graph_of(path)
    names = list(graph.params)
    parts = [explain_text(explain(graph)), *(explain_parameter(graph, n) for n in names[:4])]
    golden(path.with_suffix(".txt"), "\n".join(parts))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_sums(path: Path) -> None:
    graph = graph_of(path)
    found = explain(graph)
    assert found.declared - found.free == sum(tie.saves for tie in found.ties)
    every = sum(p.numbers for p in found.parameters)
    assert every == sum(int(np.prod(p.shape)) for p in graph.params.values())
    assert found.free + found.statistics == sum(o.numbers for o in found.owners)
    assert sorted(n for o in found.owners for n in o.readers) == sorted(graph.params)
    assert json.loads(json.dumps(found.data()))["free"] == found.free


@pytest.mark.parametrize(
    ("optimizer", "slots"),
    [
        ("sgd", 0),
        ("sgd(momentum=0.9)", 1),
        ("adam", 2),
        ("adamw", 2),
        ("rmsprop", 1),
        ("rmsprop(momentum=0.5)", 2),
    ],
)
def test_bytes(optimizer: str, slots: int) -> None:
    found = of(f"""
        input x: float[6]
        target t: float[6]
        a = dense(x, 6, bias=false)
        b = dense(a, 6, bias=false)
        c = dense(b, 6, bias=false)
        tie hard b.weight = transpose(a.weight)
        tie hard c.weight by hash(free=9)
        loss mse(c, t)
        train {{ optimizer = {optimizer} }}
    """)
    numbers = 36 + 9
    assert found.memory.weights == 4 * numbers
    assert found.memory.gradients == 4 * numbers
    assert found.memory.optimiser == 4 * slots * numbers
    assert found.memory.copies == 4 * 36
    assert found.untied.weights == 4 * 3 * 36
    assert found.untied.optimiser == 4 * slots * 3 * 36
    assert found.memory.activations == found.untied.activations


def test_flops_and_activations_are_of_one_sample() -> None:
    found = of("""
        input x: float[6]
        a = dense(x, 5)
        b = tanh(a)
        output y = reshape(b, [5, 1])
    """)
    assert found.activations == 5 + 5
    assert 2 * 6 * 5 <= found.flops <= 2 * 6 * 5 + 20


STRUCTURES = [
    ("tie hard a.weight by symmetric", ("symmetric", "10 free numbers, each in 1 to 2 entries")),
    ("tie hard a.weight by circulant", ("circulant", "4 free numbers, each in 4 entries")),
    ("tie hard a.weight by toeplitz", ("toeplitz", "7 free numbers, each in 1 to 4 entries")),
    (
        "tie hard a.weight by antisymmetric",
        (
            "antisymmetric",
            "4 of 16 entries are fixed at zero",
            "6 free numbers, each in 2 entries",
        ),
    ),
    (
        "tie hard a.weight by block_diagonal(2)",
        ("8 of 16 entries are fixed at zero",),
    ),
    ("tie hard a.weight = transpose(b.weight)\ntie hard a.weight, b.weight", ("symmetric",)),
    (
        "tie hard a.weight = flip(b.weight, axis=0)\ntie hard a.weight, b.weight",
        ("the same when axis 0 is flipped", "8 free numbers, each in 2 entries"),
    ),
]


@pytest.mark.parametrize(("ties", "facts"), STRUCTURES, ids=[case[0] for case in STRUCTURES])
def test_what_ties_imply(ties: str, facts: tuple[str, ...]) -> None:
    found = of(f"""
        input x: float[4]
        a = dense(x, 4)
        b = dense(a, 4)
        output y = b
        {ties}
    """)
    structure = next(p.structure for p in found.parameters if p.name == "a.weight")
    assert structure[: len(facts)] == facts
    assert any("a.weight" in line and facts[0] in line for line in found.together)


def test_unreached_and_frozen() -> None:
    found = of("""
        input x: float[4]
        target t: float[4]
        a = dense(x, 4)
        spare = dense(x, 4)
        freeze a.bias
        loss mse(a, t)
    """)
    training = {p.name: p.training for p in found.parameters}
    assert training == {
        "a.weight": "trained",
        "a.bias": "frozen",
        "spare.weight": "unreached",
        "spare.bias": "unreached",
    }
    assert found.trained == 16


def test_names() -> None:
    found = explain(graph_of(FILES[0]))
    with pytest.raises(ValueError, match=r"no parameter or layer 'h1.wieght'; did you mean 'h1"):
        explain_text(found, "h1.wieght")
    both = explain_text(found, "h1")
    assert "h1.weight" in both
    assert "h1.bias" in both
