"""Blocks and repeats: instances, their paths, what they see, and how much they may hold."""

from __future__ import annotations

import pytest
from front import found, front, good

from tiedgraph.passes import limits
from tiedgraph.passes.counting import Counter
from tiedgraph.passes.scope import BlockOf, Module, Scope
from tiedgraph.syntax import ast

X = "input x: float[4]\n"
TOWER = "block tower(a, n=4) {\n h = dense(a, n) |> tanh\n return dense(h, n)\n}\n"


def test_each_use_is_an_instance() -> None:
    graph = good(X + TOWER + "p = tower(x)\nq = tower(x, n=2)\noutput y = concat(p, q)")
    assert {name: param.shape for name, param in graph.params.items()} == {
        "p.h.weight": (4, 4), "p.h.bias": (4,), "p.weight": (4, 4), "p.bias": (4,),
        "q.h.weight": (2, 4), "q.h.bias": (2,), "q.weight": (2, 2), "q.bias": (2,),
    }  # fmt: skip
    assert graph.instances["p"].params == ("p.h.weight", "p.h.bias", "p.weight", "p.bias")
    assert graph.instances["p.h"].op == "dense"


def test_repeat_feeds_each_the_one_before() -> None:
    graph = good(X + TOWER + "r = repeat(x, 3, tower(n=4)) |> tanh\noutput y = r + r[0].h - r[1]")
    assert [i for i in graph.instances if "." not in i] == ["r", "r[0]", "r[1]", "r[2]"]
    assert graph.nodes["r[1].h.dense"].inputs == ("r[0]",)
    assert graph.nodes["r.tanh"].inputs == ("r[2]",)
    assert len(graph.instances["r"].params) == 12


def test_repeat_of_a_layer_behind_a_pipe() -> None:
    graph = good(X + "h = dense(x, 8) |> layers: repeat(2, dense(8)) |> tanh\noutput y = h")
    assert [p for p in graph.params if p.endswith("weight")] == [
        "h.weight", "layers[0].weight", "layers[1].weight",
    ]  # fmt: skip


def test_blocks_see_arguments_constants_and_blocks_in_any_order() -> None:
    graph = good(
        X + "y1 = outer(x)\noutput y = y1\n"
        "block outer(a, m=n, k=m*2, p=same) { const z = k + 1\n"
        " s = reshape(a, [1, 4]) |> conv1d(z, 3, pad=p)\n return inner(s) }\n"
        "block inner(a) { return mean(a, over=0) }\nconst n = 3\n"
    )
    assert str(graph.values["y1.s"].type) == "float[7, 4]"


def test_words_and_run_time_sizes_pass_through_arguments() -> None:
    graph = good(
        "input f: float[3, time]\n"
        "block pool(a, p, axis) { c = conv1d(a, 3, 5, pad=p)\n return mean(c, over=axis) }\n"
        "h = pool(f, causal, time)\noutput y = h"
    )
    assert graph.nodes["h.c.conv1d"].attrs.pad == "causal"
    assert str(graph.values["h"].type) == "float[3]"


def test_a_block_without_parameters_needs_no_name() -> None:
    graph = good(
        X + "target t: float[4]\nblock rms(a, b) { d = a - b\n return sqrt(mean(square(d))) }\n"
        "h = dense(x, 4)\nloss rms(h, t) + 0.1 * rms(h, x)\nmetric rms(h, t)\noutput y = h"
    )
    assert [term.name for term in graph.losses] == ["rms"]
    assert "loss.rms.d" in graph.values
    assert "loss.rms_2.d" in graph.values


def test_a_fixed_subsample_is_no_layer_but_a_trained_one_is() -> None:
    start = "input s: float[2, 8]\n"
    good(start + "h = conv1d(s, 3, 3) |> subsample(2)\noutput y = h")
    text = start + "h = conv1d(s, 3, 3) |> subsample(2, trainable=true)\noutput y = h"
    assert found(text) == ["E0205 2 subsample(2, trainable=true)"]


BAD = {
    "outside value": (
        "z = tanh(x)\nblock f(a) { return a + z }\noutput y = f(x)",
        ["E0201 3 z"],
    ),
    "recursion": ("block f(a) { return f(a) }\noutput y = f(x)", ["E0209 2 f"]),
    "recursion through repeat": (
        "block f(a) { return repeat(a, 2, f) }\noutput y = f(x)",
        ["E0209 2 f"],
    ),
    "returns a number": ("block f(a) { return 3 }\noutput y = f(x)", ["E0209 2 3"]),
    "not a value": ("block f(a) { return a }\noutput y = f", ["E0209 3 f"]),
    "missing argument": ("block f(a, n) { return dense(a, n) }\noutput y = f(x)", ["E0204 3 f(x)"]),
    "too many": ("block f(a) { return tanh(a) }\noutput y = f(x, 3)", ["E0204 3 3"]),
    "unknown keyword": ("block f(a) { return tanh(a) }\noutput y = f(x, n=3)", ["E0204 3 n=3"]),
    "loss inside": ("block f(a) { loss mean(a)\n return tanh(a) }\noutput y = f(x)",
                    ["E0209 2 loss mean(a)"]),
    "layer and block": (
        "block f(a) { return dense(a, 4) }\nh = dense(x, 4) |> f\noutput y = h",
        ["E0205 3 f"],
    ),
    "no repeats": ("output y = repeat(x, 0, tanh)", ["E0303 2 0"]),
    "half repeats": ("output y = repeat(x, 2.5, tanh)", ["E0303 2 2.5"]),
    "repeat of nothing": ("output y = repeat(x, 2)", ["E0204 2 repeat(x, 2)"]),
    "shapes inside": (
        "block f(a) { return a + a |> reshape([5]) }\noutput y = f(x)",
        ["E0301 2 [5]"],
    ),
    "parameter and value of one path": (
        "block f(a) { weight = tanh(a)\n return dense(weight, 4) }\nh = f(x)\noutput y = h",
        ["E0202 2 tanh(a)"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_findings(name: str) -> None:
    text, expected = BAD[name]
    assert [item for item in found(X + text) if not item.startswith("W")] == expected


def test_unused_inside_a_block_is_said_once_and_only_if_no_use_needs_it() -> None:
    block = "block f(a) { h = tanh(a)\n g = abs(a)\n return h }\n"
    text = X + block + "p = f(x)\nq = f(x)\noutput y = p + q"
    assert found(text) == ["W0002 3 g"]
    assert found(text + " + p.g") == []


# ---------------------------------------------------------------- sizes before expansion


def chain(length: int, text: str, last: str = "block b{0}(a) {{ return tanh(a) }}\n") -> str:
    """Blocks b0 ... of which each uses the next, as `text` says."""
    blocks = [text.format(i, i + 1) for i in range(length)]
    return X + "\n".join([*blocks, last.format(length)]) + "output y = b0(x)\n"


BOMBS = {
    "40 doubling blocks": chain(40, "block b{0}(a) {{ return b{1}(b{1}(a)) }}"),
    "doubling through values": chain(40, "block b{0}(a) {{ c = b{1}(a)\n return b{1}(c) }}"),
    "10 deep repeats of 10": chain(10, "block b{0}(a) {{ return repeat(a, 10, b{1}) }}"),
    "different settings": chain(
        30, "block b{0}(a, n=1) {{ return b{1}(a, n*2) + b{1}(a, n*2+1) }}",
        "block b{0}(a, n) {{ return tanh(a) }}\n",
    ),
    "one long repeat": X + "output y = repeat(x, 2147483647, tanh)",
    "70 blocks deep": chain(70, "block b{0}(a) {{ return b{1}(a) }}"),
    "deep through blocks": chain(60, "block b{0}(a) {{ return tanh(b{1}(tanh(a))) }}"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_small_text_cannot_grow_large(name: str) -> None:
    graph, diagnostics = front(BOMBS[name])
    (error,) = diagnostics.errors
    assert error.code == "E0501"
    assert str(limits.INSTANCES) in error.hint
    assert len(graph.nodes) == 0  # nothing was expanded


def test_the_limit_is_for_the_whole_file() -> None:
    half = limits.INSTANCES // 3
    text = X + f"a = repeat(x, {half // 2}, tanh)\nb = repeat(x, {half // 2}, tanh)\n"
    good(text + "output y = a + b")
    more = text + f"c = repeat(x, {half}, tanh)\noutput y = a + b + c"
    assert [item.split()[0] for item in found(more)] == ["E0501"]


def test_measuring_looks_at_each_block_once() -> None:
    """Forty blocks of which each uses the next one twice are measured in forty steps."""
    from tiedgraph.diagnostics import Diagnostics, Source
    from tiedgraph.passes.modules import load
    from tiedgraph.syntax.parser import parse

    diagnostics = Diagnostics()
    file = parse(Source("<text>", BOMBS["40 doubling blocks"]), diagnostics)
    assert file is not None
    module = load(file, diagnostics, {}, None)[0]
    output = file.statements[-1]
    assert isinstance(output, ast.Output)
    counter = Counter()
    size = counter.measure(output.value, Scope(module))
    assert size.instances > 2**40
    assert counter.visits < 200
    assert isinstance(module, Module)
    assert isinstance(module.names["b0"], BlockOf)


def test_sixty_blocks_deep_is_fine() -> None:
    graph = good(chain(62, "block b{0}(a) {{ return b{1}(a) }}"))
    assert len(graph.nodes) == 1


@pytest.mark.parametrize(
    "expression",
    ["x" + " + x" * 150, "x" + " |> tanh" * 150, "tanh(" * 60 + "x" + ")" * 60, "-" * 50 + "x"],
)
def test_long_expressions(expression: str) -> None:
    good(X + f"output y = {expression}")
