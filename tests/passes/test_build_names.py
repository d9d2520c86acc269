"""Names, constants and paths: what is found, and what is reported where."""

from __future__ import annotations

import pytest
from front import INPUTS, found, front, good

LINE = INPUTS.count("\n") + 1  # of the first line behind the inputs


def body(text: str) -> list[str]:
    """Findings in a text behind the inputs, lines counted from 1, unused inputs left out."""
    kept = []
    for item in found(INPUTS + text):
        code, _, rest = item.partition(" ")
        line, _, words = rest.partition(" ")
        if code == "W0002" and int(line) < LINE:
            continue
        kept.append(f"{code} {int(line) - LINE + 1} {words}" if line else code)
    return kept


BAD = {
    "undefined": ("output y = tanh(xx)", ["E0201 1 xx"]),
    "too early": ("output y = tanh(h)\nh = tanh(x)", ["E0201 1 h"]),
    "constant too early": ("const j = 2 * k\nconst k = 2\noutput y = x * j", ["E0201 1 k"]),
    "constant below its use": ("output y = x * k\nconst k = 2", []),
    "twice": ("h = tanh(x)\nh = abs(x)\noutput y = h", ["E0202 2 h"]),
    "input again": ("t = tanh(x)\noutput y = t", ["E0202 1 t", "E0207 2 output y = t"]),
    "label again": ("output y = x |> x: tanh", ["E0202 1 x"]),
    "block is a layer": ("block dense(a) { return a }\noutput y = x", ["E0202 1 dense"]),
    "unknown function": ("output y = tanhh(x)", ["E0203 1 tanhh"]),
    "arithmetic by name": ("output y = add(x, x)", ["E0203 1 add"]),
    "internal op": ("output y = mask(x)", ["E0203 1 mask"]),
    "value called": ("output y = x(3)", ["E0203 1 x"]),
    "number as value": ("output y = tanh(3)", ["E0302 1 3"]),
    "value as setting": ("h = dense(x, x)\noutput y = h", ["E0204 1 x"]),
    "number named as a value": ("h = 3\noutput y = x", ["E0302 1 3"]),
    "text in arithmetic": ('output y = x + "a"', ['E0302 1 "a"']),
    "inside unknown": ("h = dense(x, 3)\noutput y = h.weight", ["E0201 2 h.weight"]),
    "index of no repeat": ("h = dense(x, 3)\noutput y = h[0]", ["E0201 2 h[0]"]),
    "metric in a value": ("h = accuracy(x, label)\noutput y = x", ["E0207 1 accuracy"]),
    "metric inside": ("metric accuracy(x, label) + 1\noutput y = x", ["E0207 1 accuracy"]),
    "loss of a number": ("loss 3", ["E0302 1 3"]),
    "model twice": ("model a\nmodel b\noutput y = x", ["E0202 2 model b"]),
    "nothing to do": ("h = tanh(x)", ["E0305 1"]),
    "layer in a loss": ("loss mse(dense(x, 4), t)", ["E0205 1 dense(x, 4)"]),
    "two layers": ("h = dense(x, 4) |> dense(3)\noutput y = h", ["E0205 1 dense(3)"]),
    "division by zero": ("output y = x / 0", ["E0208 1 x / 0"]),
    "weight is a word": ("loss mse(x, t) weight true", ["E0204 1 true"]),
    "unused": ("h = tanh(x)\noutput y = x", ["W0002 1 h"]),
    "unused chain": ("h = tanh(x)\ng = tanh(h)\noutput y = x", ["W0002 2 g"]),
    "weight zero": ("loss mse(x, t) weight 0", ["W0003 1 0"]),
    "unreached": (
        "h = dense(x, 4)\ng = dense(x, 4)\noutput y = g\nloss mse(h, t)",
        ["W0001 2 dense(x, 4)"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_findings(name: str) -> None:
    text, expected = BAD[name]
    got = body(text)
    if expected == ["E0305 1"]:  # stands at the first statement, before the body
        got = [item for item in got if item.startswith("E0305")]
        assert len(got) == 1
    else:
        assert got == expected


def test_several_errors_in_one_run() -> None:
    text = "a = tanhh(x)\nb = dense(a, 3, bia=1)\nc = dense(xx, 0)\noutput y = a + b + c + d"
    assert body(text) == ["E0203 1 tanhh", "E0204 2 bia=1", "E0201 3 xx", "E0303 3 0", "E0201 4 d"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("6 / 2", 3),
        ("7 / 2", 3.5),
        ("2 + 3 * 4 - 1", 13),
        ("-(2 - 5)", 3),
        ("1 / 255", 1 / 255),
        ("m * 2", 8),
    ],
)
def test_constants(text: str, number: float) -> None:
    graph = good(f"const m = 4\nconst k = {text}\ninput x: float[4]\noutput y = x * k")
    assert graph.constants["k"] == number


def test_define_replaces_constants_and_what_follows_from_them() -> None:
    text = "const n = 4\nconst m = n * 2\ninput x: float[4]\nh = dense(x, m)\noutput y = h"
    assert str(good(text).values["h"].type) == "float[8]"
    assert str(good(text, define={"n": 3.0}).values["h"].type) == "float[6]"
    _, diagnostics = front(text, define={"nn": 3})
    (error,) = diagnostics.errors
    assert (error.code, error.hint) == ("E0201", "did you mean 'n'?")


@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_define_is_checked_where_it_is_used(value: float) -> None:
    text = "const n = 4\ninput x: float[4]\nh = dense(x, n)\noutput y = h"
    assert found(text, define={"n": value}) == ["E0303 3 n"]


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**30, True])
def test_define_takes_finite_numbers(value: float) -> None:
    assert found("const n = 4\ninput x: float[4]\noutput y = x * n", define={"n": value}) == [
        "E0208"
    ]


def test_ids_are_paths_that_users_wrote() -> None:
    graph = good(
        INPUTS + "c1 = conv2d(image, 6, window=5) |> tanh\n"
        "h = flatten(c1) |> a: dense(8) |> tanh |> b: dense(4)\n"
        "output y = h\nloss mse(h, t)"
    )
    assert list(graph.nodes) == [
        "c1.conv2d", "c1.tanh", "h.flatten", "a.dense", "h.tanh", "b.dense", "loss.mse",
    ]  # fmt: skip
    assert list(graph.params) == [
        "c1.weight", "c1.bias", "a.weight", "a.bias", "b.weight", "b.bias",
    ]  # fmt: skip
    assert graph.nodes["c1.tanh"].outputs == ("c1",)
    assert graph.outputs[0].value == "b"  # `h` is what `b` is
    assert graph.nodes["loss.mse"].role == "loss"


def test_ids_of_nameless_values_avoid_names_inside_blocks() -> None:
    graph = good(
        "input x: float[4]\nblock f(a) { tanh = sigmoid(a)\n return tanh }\n"
        "h = f(tanh(x))\noutput y = h"
    )
    assert set(graph.values) == {"x", "h.tanh", "h.tanh_2"}


@pytest.mark.parametrize(
    ("expression", "nodes"),
    [
        ("x + 3", [("add_number", 3.0)]),
        ("x - 3", [("add_number", -3.0)]),
        ("3 - x", [("multiply_number", -1.0), ("add_number", 3.0)]),
        ("x * 4", [("multiply_number", 4.0)]),
        ("x / 4", [("multiply_number", 0.25)]),
        ("4 / x", [("divide_number", 4.0)]),
        ("2 * 3 * x", [("multiply_number", 6.0)]),
        ("-x", [("negate", None)]),
        ("--x", []),
        ("x - x", [("subtract", None)]),
    ],
)
def test_arithmetic(expression: str, nodes: list[tuple[str, float | None]]) -> None:
    graph = good(f"input x: float[4]\nh = {expression}\noutput y = h")
    made = [(node.op, getattr(node.attrs, "number", None)) for node in graph.nodes.values()]
    assert made == nodes


def test_terms_have_names_of_their_own() -> None:
    graph = good(
        INPUTS + "h = dense(x, 4)\npenalty = mean(square(h))\n"
        "loss mse(h, t)\nloss mse(h, x) weight 1/4\nloss penalty\nloss 0.1 * mean(h)\n"
        "metric mse(h, t)\nmetric mse(h, x)\nmetric penalty\noutput h = h\n"
    )
    assert [(term.name, term.weight) for term in graph.losses] == [
        ("mse", 1.0), ("mse_2", 0.25), ("penalty", 1.0), ("mean", 1.0),
    ]  # fmt: skip
    assert [term.name for term in graph.metrics] == ["mse", "mse_2", "penalty"]
    ops = [graph.nodes[graph.values[term.value].producer].op for term in graph.metrics]
    assert ops[0] != "mse"  # the metric of this name, not the loss
    assert [(term.name, term.value) for term in graph.outputs] == [("h", "h")]


def test_a_lexicon_that_cannot_be_read_is_said_and_nothing_else() -> None:
    text = INPUTS + (
        'target word: class from "words.dict"\n'
        'unit phone from "words.dict" { states = 3 }\n'
        'chained = chain phone by "words.dict"\n'
        "loss likelihood(chained, word)\noutput spoken = decode(chained)\n"
        "metric word_error(chained, word)\n"
        "tie hard phone[aa].emission, phone[t].emission\nfreeze phone\n"
    )
    assert [item.split()[0] for item in found(text)] == ["E0502"]


def test_findings_are_kept_up_to_a_limit() -> None:
    """A text of nothing but mistakes is answered quickly, and not with a page for each."""
    lines = [f"h{i} = tanh(q{i})" for i in range(1000)]
    _, diagnostics = front("input x: float[4]\n" + "\n".join(lines) + "\noutput y = x")
    assert len(diagnostics) == diagnostics.LIMIT
    assert diagnostics.full
