"""Ties taken away from a model's text, and what it computes then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiedgraph as tg
from tiedgraph.diagnostics import RunError
from tiedgraph.rewrite.untie import untie

TEXT = """# Before
model ties
block tower(x) {{ a = dense(x, 4) |> tanh; return dense(a, 4) }}
input x: float[4]
target y: float[4]
p = tower(x)
q = tower(x)
r = tower(x)
d = dense(x, 4)
loss mse(p + q + r + d, y)
{ties}  # a comment
# After
"""

CASES = [
    ("tie hard p, q, r", "q", "tie hard p, r", {"p.a.weight", "r.a.weight"}),
    ("tie hard p, q", "q", "", set()),
    ("tie hard p, q", "q.a.weight", "tie hard p.a.bias, q.a.bias\ntie hard p.weight, q.weight\n"
     "tie hard p.bias, q.bias", {"p.a.bias", "q.a.bias"}),
    ("tie hard p.weight, q.weight, r.weight, d.weight", "p", "tie hard q.weight, r.weight, "
     "d.weight", {"q.weight", "d.weight"}),
    ("tie hard d.weight = transpose(p.weight)", "d", "", set()),
    ("tie hard d.weight = transpose(p.weight)", "p.weight", "", set()),
    ("tie hard d.weight, p.weight by symmetric", "d.weight", "tie hard p.weight by symmetric",
     set()),
    ("tie hard d.weight by hash(free=3)", "d", "", set()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("ties", "selector", "rest", "still"), CASES, ids=[f"{c[0]} - {c[1]}" for c in CASES]
)
def test_statements_lose_their_members(
    ties: str, selector: str, rest: str, still: set[str]
) -> None:
    model = tg.compile_text(TEXT.format(ties=ties), dtype="float64")
    found = untie(model.checked, model.origin, [selector])
    begin = TEXT.index("{ties}") - 2  # two braces are written double
    made = found.text.text
    assert made[:begin].rstrip() == TEXT.format(ties="")[:begin].rstrip()
    assert made.endswith("  # a comment\n# After\n")
    left = made[begin:].replace("  # a comment\n# After\n", "")
    told, _, lines = left.strip().partition("\n")
    assert told == f"# untied: {', '.join(found.parameters)}"
    assert lines == rest
    apart = tg.compile_text(made, dtype="float64")
    assert not apart.start_from(model).averaged
    rng = np.random.default_rng(0)
    batch = {"x": rng.normal(size=(8, 4)), "y": rng.normal(size=(8, 4))}
    assert apart.loss(**batch) == pytest.approx(model.loss(**batch), rel=1e-14)
    for name in found.parameters:
        assert apart.checked.params[name].view.storage == name
    owners = {apart.checked.params[name].view.storage for name in still}
    assert len(owners) <= 1


def test_what_cannot_be_untied() -> None:
    model = tg.compile_text(TEXT.format(ties="tie hard p, q"))
    for selector, told in (("d", "nothing to untie"), ("pp", "did you mean 'p'")):
        with pytest.raises(RunError, match=told):
            untie(model.checked, model.origin, [selector])


def test_tasks(tmp_path: Path) -> None:
    model = tg.compile_text(
        """
        input x: float[2]
        task a { target y: float[2]; h = dense(x, 2); loss mse(h, y) }
        task b { target y: float[2]; h = dense(x, 2); loss mse(h, y) }
        task c { target y: float[2]; h = dense(x, 2); loss mse(h, y) }
        tie shared h across a, b, c
        """
    )
    found = untie(model.checked, model.origin, ["b.h"])
    assert "tie hard a.h, c.h" in found.text.text


def test_from_the_command_line(tmp_path: Path, capsys: Any) -> None:
    from typer.testing import CliRunner

    from tiedgraph.cli.main import app

    (tmp_path / "m.tie").write_text(TEXT.format(ties="tie hard p, q, r"))
    tg.compile(tmp_path / "m.tie").save(tmp_path / "m")

    def call(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, [w.replace("@", f"{tmp_path}/") for w in words])
        assert done.exit_code == code, f"{done.output} {done.exception}"
        return done.output

    assert "untied q.a.weight" in call("untie", "@m.tie", "q", "-o", "@one.tie")
    assert "--start-from" in call("untie", "@m", "q", "-o", "@two.tie")
    assert (tmp_path / "one.tie").read_text() == (tmp_path / "two.tie").read_text()
    assert CliRunner().invoke(app, ["check", str(tmp_path / "one.tie")]).exit_code == 0
