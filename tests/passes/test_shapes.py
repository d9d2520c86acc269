"""Types, parameters, initialisers and implicit data."""

from __future__ import annotations

import pytest
from front import INPUTS, found, front, good

LENET = """
input  image: float[1, 28, 28]
target label: class[10]
c1 = conv2d(image, 6, window=5, pad=2) |> tanh
s2 = subsample(c1, 2, trainable=true) |> tanh
c3 = conv2d(s2, 16, window=5) |> tanh
s4 = subsample(c3, 2, trainable=true) |> tanh
f5 = dense(s4, 120) |> tanh
f6 = dense(f5, 84) |> tanh
logits = dense(f6, 10)
output digit = softmax(logits)
loss   cross_entropy(logits, label)
metric accuracy(logits, label)
"""


def test_lenet() -> None:
    graph = good(LENET)
    shapes = {
        name: str(graph.values[name].type) for name in ("c1", "s2", "c3", "s4", "f5", "digit")
    }
    assert shapes == {
        "c1": "float[6, 28, 28]", "s2": "float[6, 14, 14]", "c3": "float[16, 10, 10]",
        "s4": "float[16, 5, 5]", "f5": "float[120]", "digit": "float[10]",
    }  # fmt: skip
    numbers = sum(int(__import__("math").prod(param.shape)) for param in graph.params.values())
    assert numbers == 61_750
    assert set(graph.storages) == set(graph.params)
    assert graph.name == "text"


def test_run_time_sizes_and_their_lengths() -> None:
    graph = good(
        "input f: float[12, time]\ntarget tag: class[9, time]\n"
        "h = conv1d(f, 8, window=3) |> tanh |> subsample(2)\n"
        "g = conv1d(f, 9, window=3, pad=same)\nm = mean(h, over=time)\n"
        "output y = m\nloss cross_entropy(g, tag)\nmetric accuracy(g, tag)"
    )
    assert str(graph.values["h"].type) == "float[8, (time - 2) / 2]"
    assert str(graph.values["m"].type) == "float[8]"
    implicit = {
        name: (item.role, [str(extent) for extent in item.extents])
        for name, item in graph.data.items()
        if name.startswith("$")
    }
    assert implicit["$lengths:time-2/2"] == ("lengths", ["(time - 2) / 2"])
    assert implicit["$lengths:time+0/1"] == ("lengths", ["time"])
    assert implicit["$step_weight:time+0/1"][0] == "step_weight"
    mean = graph.nodes["m.mean"]
    assert mean.inputs == ("h", "$lengths:time-2/2")


def test_each_dropout_has_a_key_of_its_own() -> None:
    graph = good("input x: float[4]\na = dropout(x, 0.5)\nb = dropout(a, 0.5)\noutput y = b")
    assert [n for n in graph.data if n.startswith("$key")] == ["$key:a.dropout", "$key:b.dropout"]


@pytest.mark.parametrize(
    ("tail", "init"),
    [
        ("tanh", "glorot_uniform"),
        ("relu", "he_normal"),
        ("gelu", "he_normal"),
        ("sigmoid |> relu", "glorot_uniform"),
        ("batch_norm |> relu", "he_normal"),
        ("max_pool(2) |> relu", "he_normal"),
        ("reshape([8, 676]) |> relu", "he_normal"),
        ("softmax", "glorot_uniform"),
        ("c2: conv2d(3, 3) |> relu", "glorot_uniform"),
    ],
)
def test_initialisers_follow_the_function_behind(tail: str, init: str) -> None:
    if tail.startswith("batch_norm"):
        tail = "n: " + tail
    graph = good(
        f"input image: float[1, 28, 28]\nc = image |> c1: conv2d(8, 3) |> {tail}\noutput y = c"
    )
    assert graph.params["c1.weight"].init.name == init
    assert graph.params["c1.bias"].init.name == "zeros"


def test_initialisers_look_through_sums() -> None:
    graph = good(
        "input x: float[4]\na = dense(x, 4)\nb = dense(x, 4)\nh = relu(a + b * 2)\noutput y = h"
    )
    assert {graph.params[f"{n}.weight"].init.name for n in "ab"} == {"he_normal"}


def test_init_and_freeze() -> None:
    graph = good(
        INPUTS + "h = dense(x, 4)\nlayers = repeat(h, 3, dense(4))\noutput y = layers\n"
        "loss mse(layers, t)\n"
        "init layers = normal(0, 0.5)\ninit layers[1..2].bias = constant(2)\n"
        "init h.bias = uniform(low=-1, high=1)\nfreeze layers[0], h.weight\n"
    )
    inits = {name: (p.init.name, *p.init.arguments) for name, p in graph.params.items()}
    assert inits["layers[0].weight"] == inits["layers[2].weight"] == ("normal", 0.0, 0.5)
    assert inits["layers[0].bias"] == ("zeros",)
    assert inits["layers[1].bias"] == ("constant", 2.0)
    assert inits["h.bias"] == ("uniform", -1.0, 1.0)
    frozen = {name for name, param in graph.params.items() if not param.trainable}
    assert frozen == {"layers[0].weight", "layers[0].bias", "h.weight"}
    assert graph.overrides == ()


def test_ties_get_exact_members() -> None:
    graph = good(
        INPUTS + "a = dense(x, 4)\nr = repeat(a, 3, dense(4))\noutput y = r\n"
        "tie hard r[*]\n"
        "tie hard r[*].weight, a.weight\n"
        "tie hard r[1..2].weight = transpose(flip(a.weight, axis=-1))\n"
        "tie hard a.*, r[0].bias\n"
        "tie hard r[*].weight by hash(free=4, seed=7)\n"
        "tie hard a.weight by block_diagonal(2)\n"
    )
    ties = [(t.id, t.kind, [m.path for m in t.members], t.settings) for t in graph.ties]
    assert ties[0] == ("tie0", "hard", ["r[0]", "r[1]", "r[2]"], ())
    assert ties[1][2] == ["r[0].weight", "r[1].weight", "r[2].weight", "a.weight"]
    assert [tie[:3] for tie in ties[2:4]] == [
        ("tie2.0", "hard", ["r[1].weight", "a.weight"]),
        ("tie2.1", "hard", ["r[2].weight", "a.weight"]),
    ]
    steps = graph.ties[2].members[1].steps
    assert [(s.name, s.arguments) for s in steps] == [("flip", (("axis", -1),)), ("transpose", ())]
    assert ties[4][2] == ["a.weight", "a.bias", "r[0].bias"]
    assert [tie[0] for tie in ties[5:8]] == ["tie4.0", "tie4.1", "tie4.2"]
    assert ties[5][3] == (("map", "hash"), ("free", 4), ("seed", 7))
    assert ties[8][3] == (("map", "block_diagonal"), ("0", 2))
    assert graph.ties[0].text == "tie hard r[*]"


SELECTORS = {
    "tie hard h.wieght, g.weight": ("E0206", "did you mean 'h.weight'?"),
    "freeze r[5]": ("E0206", "r has 2 instances, [0] to [1]"),
    "freeze r[0..2]": ("E0206", "r has 2 instances"),
    "init q[*] = zeros()": ("E0206", ""),
    "tie hard h.weight = transpose(r[*].weight)": ("E0206", "select one of them"),
    "init h = norml(0, 1)": ("E0203", "did you mean 'normal'?"),
    "init h = normal(0, 1, 2)": ("E0204", "write normal(mean, deviation)"),
    "init h = uniform(2, 1)": ("E0204", ""),
    "init h = constant()": ("E0204", ""),
    "init h.bias = normal(x, 1)": ("E0204", ""),
    "tie hard h.weight = flip(g.weight, axis=x)": ("E0204", ""),
}


@pytest.mark.parametrize("statement", SELECTORS)
def test_selectors(statement: str) -> None:
    start = "input x: float[4]\nh = dense(x, 4)\ng = dense(h, 4)\n"
    start += "r = repeat(g, 2, dense(4))\noutput y = r\n"
    _, diagnostics = front(start + statement)
    (error,) = diagnostics.errors
    code, hint = SELECTORS[statement]
    assert error.code == code
    assert hint in error.hint


def test_no_selector_error_follows_an_error_in_its_layer() -> None:
    text = (
        "input x: float[4]\nh = conv2d(x, 3, 3)\ng = dense(nothing, 3)\nb = blk(x)\noutput y = x\n"
    )
    text += "block blk(a) { u = dense(a, 0)\n return tanh(u) }\n"
    text += "tie hard h.weight, g.weight, b.u.weight\nfreeze h, g, b\n"
    assert [item.split()[0] for item in found(text)] == ["E0201", "E0303", "E0301"]


BAD = {
    "output y = image + x": "E0301 x",
    "h = conv2d(image, 6, window=29)\noutput y = h": "E0301 29",
    "h = conv2d(x, 6, 3)\noutput y = h": "E0301 x",
    "h = dense(frames, 3)\noutput y = h": "E0304 frames",
    "h = dense(x, time)\noutput y = h": "E0304 time",
    "h = dense(words, 3)\noutput y = h": "E0302 words",
    "h = tanh(label)\noutput y = x": "E0302 label",
    "loss mse(label, t)\noutput y = x": "E0302 label",
    "h = embedding(x, 3)\noutput y = h": "E0302 x",
    "output y = mean(x, over=4)": "E0301 4",
    "output y = mean(x, over=time)": "E0301 time",
    "loss square(x)": "E0301 loss square(x)",
    "metric x\noutput y = x": "E0301 metric x",
    "output y = x - t": "E0207 output y = x - t",
}


@pytest.mark.parametrize("text", BAD)
def test_findings(text: str) -> None:
    got = [item for item in found(INPUTS + text) if not item.startswith("W0002")]
    code, _, rest = got[0].partition(" ")
    assert f"{code} {rest.partition(' ')[2]}" == BAD[text]
    assert len(got) == 1


def test_a_shape_error_shows_where_each_input_comes_from() -> None:
    _, diagnostics = front("input a: float[3]\ninput b: float[4]\noutput y = tanh(a) + b")
    (error,) = diagnostics.errors
    assert error.code == "E0301"
    assert {words for _, words in error.others} == {"this is float[3]", "'b' is float[4]"}
    assert error.hint


SIZES = (0, -1, 2**31 - 1, 2**31, 2**31 + 1, 2**32, 2**63, 10**30)
SLOTS = (
    "input x: float[{}, {}]\noutput y = x",
    "input x: index[{}, {}]\nh = embedding(x, 4)\noutput y = h",
    "input x: index[{}, 3]\nh = embedding(x, {})\noutput y = h",
    "input x: class[{}, {}]\ninput z: float[2]\noutput y = z",
    "input x: float[3, 8]\nh = conv1d(x, {}, window={})\noutput y = h",
    "input x: float[3, 8]\nh = conv1d(x, 2, window=3, stride={}, pad={})\noutput y = h",
    "input x: float[3, 8]\nh = conv1d(x, 2, window=3, dilation={}, groups={})\noutput y = h",
    "input x: float[4]\nh = dense(x, {}) |> g: dense({})\noutput y = h",
    "input x: float[2, 4]\noutput y = subsample(x, {}) |> max_pool({})",
    "input x: float[4]\noutput y = reshape(x, [{}, {}])",
    "input x: float[4]\noutput y = repeat(x, {}, tanh) |> reshape([{}])",
    "input x: float[4]\noutput y = slice(x, {}, {})",
    "input x: float[4]\noutput y = x\nfreeze q[{}..{}]",
    "input x: float[4]\noutput y = x\ntrain {{ batch = {}, epochs = {} }}",
)


@pytest.mark.parametrize("slot", SLOTS)
def test_every_size_is_checked_before_memory_is_taken(slot: str) -> None:
    """Pairs of awkward sizes in every place where one can stand: diagnostics, never more."""
    fine = 0
    for first in SIZES:
        for second in SIZES:
            text = slot.format(first, second)
            if f"{first}..{second}" in text and first < 0:
                continue
            try:
                _, diagnostics = front(text)
            except AssertionError:
                continue  # the parser gave up, with a diagnostic
            fine += not diagnostics.errors
    assert fine <= 12  # 2**31 - 1 and the like fit in some places


def test_the_number_of_all_parameters_is_limited() -> None:
    text = "input x: float[32768]\n" + "".join(
        f"h{i} = dense({'x' if not i else f'h{i - 1}'}, 32768)\n" for i in range(9)
    )
    got = [item for item in found(text + "output y = h8") if not item.startswith("W")]
    assert got == ["E0501 9 dense(h6, 32768)"]


def test_what_all_selectors_name_is_limited() -> None:
    text = (
        "input x: float[4]\nr = repeat(x, 300, scale)\noutput y = r\n" + "tie hard r[*].*\n" * 400
    )
    assert [item.split()[0] for item in found(text)] == ["E0501"]


def test_every_initialiser_can_be_drawn() -> None:
    from tiedgraph.passes.sharing import INITS
    from tiedgraph.runtime.initialise import INITIALISERS

    assert set(INITS) == set(INITIALISERS)
