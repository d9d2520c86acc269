"""Whatever the text, the checker's front answers with a graph and diagnostics."""

from __future__ import annotations

import re
from pathlib import Path

from front import INPUTS, front
from hypothesis import given, settings
from hypothesis import strategies as st
from test_shapes import LENET

from tiedgraph.diagnostics import Diagnostics, Source
from tiedgraph.ir.verify import verify
from tiedgraph.passes.build import build
from tiedgraph.passes.shapes import infer_shapes
from tiedgraph.syntax.parser import parse

GOLDEN = Path(__file__).parent.parent / "golden"
BLOCKS = (
    INPUTS + "const n = 3\nblock tower(a, m=n*2, p=same) { h = conv2d(a, m, window=3, pad=p)\n"
    " return relu(h) |> flatten |> dense(4) }\n"
    "a1 = tower(image)\na2 = tower(image, m=n)\nr = repeat(a1 + a2 / 2, n, dense(4))\n"
    "s = mean(frames, over=time)\ne = embedding(words, 5) |> mean(over=time)\n"
    "output y = r[0] - r[2] * 3\nloss mse(r, t) weight 1/2\nloss mean(square(s)) + mean(e)\n"
    "metric rmse(r, t)\ninit r[*] = normal(0, 0.1)\nfreeze a1.h\n"
    "tie hard a1.h, a2.h\ntie hard r[0..1].weight = transpose(r[2].weight)\n"
    "train { optimizer = sgd(0.1, momentum=0.9), schedule = cosine, keep = best }\n"
    'data { train = "a.npz", x = scale(1/255) }\n'
)
TEXTS = [LENET, BLOCKS, *(path.read_text() for path in sorted(GOLDEN.glob("*/*.tie")))]
TOKEN = re.compile(r"\w+|\s+|\|>|\.\.|.", re.DOTALL)
WORDS = sorted({token for text in TEXTS for token in TOKEN.findall(text)} | {"0", "-1", "1e300"})


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.sampled_from(TEXTS),
    st.lists(
        st.tuples(
            st.sampled_from(("drop", "put", "swap", "again")),
            st.floats(0, 1, exclude_max=True),
            st.sampled_from(WORDS),
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_mutants(text: str, changes: list[tuple[str, float, str]]) -> None:
    tokens = TOKEN.findall(text)
    for kind, where, word in changes:
        at = int(where * len(tokens))
        if kind == "drop":
            del tokens[at : at + 1]
        elif kind == "put":
            tokens.insert(at, word)
        elif kind == "swap":
            tokens[at : at + 1] = [word]
        else:
            tokens[at:at] = tokens[at : at + 12]
    diagnostics = Diagnostics()
    file = parse(Source("<text>", "".join(tokens)), diagnostics)
    if file is None:
        assert diagnostics.errors
        return
    graph = infer_shapes(build(file, diagnostics, {}, None), diagnostics)
    if not diagnostics.errors:
        verify(graph, "shapes")
    for item in diagnostics:
        assert item.message
        assert item.span is None or 0 <= item.span.start <= item.span.end <= len("".join(tokens))


def test_the_texts_have_no_errors() -> None:
    assert [front(text)[1].errors for text in (LENET, BLOCKS)] == [[], []]


def test_every_error_has_a_way_out() -> None:
    """Golden bad files: each error of names, shapes, limits and settings carries a hint."""
    for path in sorted((GOLDEN / "bad").glob("*.tie")):
        diagnostics = Diagnostics()
        file = parse(Source(path.name, path.read_text()), diagnostics)
        if file is None or diagnostics.errors:
            continue  # what the parser says is its own
        infer_shapes(build(file, diagnostics, {}, path.parent), diagnostics)
        for item in diagnostics:
            assert item.hint, f"{path.name}: {item.code} {item.message}"
