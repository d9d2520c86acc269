"""Writes the reference pages that follow from the source: ops, ties, errors, settings, commands.

python docs/generate.py             writes them
python docs/generate.py --check     exits 1 where one is not current
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from tiedgraph.cli.main import app
from tiedgraph.diagnostics import CODES
from tiedgraph.ops import OPS
from tiedgraph.passes.arguments import settings_of, signature
from tiedgraph.passes.settings import METHODS, OPTIMIZERS, SCHEDULES, TrainSettings
from tiedgraph.runtime.initialise import INITIALISERS
from tiedgraph.ties.document import ties_page

DOCS = Path(__file__).parent
BAD = DOCS.parent / "tests" / "golden" / "bad"
NOTE = "<!-- written by docs/generate.py -->\n"
TITLES = {
    "layer": "Layers",
    "function": "Functions",
    "arithmetic": "Arithmetic",
    "loss": "Losses",
    "metric": "Metrics",
}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in lines)


def default(item: Field[Any]) -> str:
    if item.default is MISSING:
        return "required"
    value = item.default
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        value = value[0] if len(set(value)) == 1 else list(value)
    return "none" if value is None else f"`{value}`"


def ops_page() -> str:
    """Every op that users may write."""
    parts = ["# Layers, functions, losses and metrics", NOTE]
    parts.append(
        "Shapes are those of one sample; the batch axis is implied. Axes are channels first.\n"
    )
    for category, title in TITLES.items():
        parts.append(f"## {title}\n")
        for op in OPS:
            if op.category != category or (category == "arithmetic" and "_number" in op.name):
                continue
            call = signature(op)
            if category == "arithmetic":
                signs = {"add": "a + b", "subtract": "a - b", "multiply": "a * b"}
                call = {**signs, "divide": "a / b", "negate": "-a"}[op.name]
            parts.append(f"### `{call}`\n\n{inspect.cleandoc(op.doc)}\n")
            rows = [
                (f"`{s.name}`", s.metadata["kind"], default(s), s.metadata["doc"])
                for s in settings_of(op)
            ]
            if rows:
                parts.append(table(("setting", "kind", "default", "meaning"), rows) + "\n")
    return "\n".join(parts)


def settings_page() -> str:
    """What may stand in `train { }`, and the initialisers."""
    parts = ["# Settings of training", NOTE]
    rows = []
    for item in fields(TrainSettings):
        about = item.metadata
        if "records" in about:
            rows.append((f"`{item.name}`", "see below", ""))
        elif "terms" in about:
            told = "loss or metric that `patience` and `keep = best` look at"
            rows.append((f"`{item.name}`", default(item), told))
        else:
            rows.append((f"`{item.name}`", default(item), about["doc"]))
    parts += ["## `train { }`\n", table(("setting", "default", "meaning"), rows) + "\n"]
    for title, records in (("method", METHODS), ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
        parts.append(f"## `{title} = ...`\n")
        for name, record in records.items():
            given = ", ".join(
                f"{f.name}={default(f).strip('`')}" if f.default is not MISSING else f.name
                for f in fields(record)
            )
            parts.append(f"- `{name}({given})`: {inspect.cleandoc(record.__doc__ or '')}")
        parts.append("")
    parts.append("## Initialisers, `init SELECTOR = ...`\n")
    parts.append(table(("name", "numbers"), [(f"`{n}`", d) for n, (d, _) in INITIALISERS.items()]))
    return "\n".join(parts) + "\n"


def errors_page() -> str:
    """Every code with what it stands for, and a file that has it."""
    parts = ["# Errors and warnings", NOTE]
    texts = {path.stem: path.read_text() for path in sorted(BAD.glob("*.txt"))}
    for code, meaning in CODES.items():
        parts.append(f"## {code}\n\n{meaning[0].upper()}{meaning[1:]}.\n")
        shown = _example(code, texts.values())
        if shown:
            parts.append(f"```text\n{shown}\n```\n")
    return "\n".join(parts)


def _example(code: str, texts: Iterable[str]) -> str:
    """The shortest diagnostic with this code among those that tests hold."""
    found = [
        block.strip()
        for text in texts
        for block in re.split(r"\n(?=(?:error|warning)\[)", text)
        if re.match(rf"(?:error|warning)\[{code}\]", block.strip())
    ]
    return min(found, key=len, default="")


def commands_page() -> str:
    """The help text of every command."""
    parts = ["# The command line", NOTE]
    parts.append(
        "Results go to standard output, diagnostics and progress to standard error. Exit codes: 0 "
        "done, 1 the input has errors, 2 wrong usage, 130 interrupted.\n"
    )
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        context = type(group.make_context("tiedgraph", [], resilient_parsing=True))(
            command, info_name=f"tiedgraph {name}", terminal_width=96, max_content_width=96
        )
        text = command.get_help(context)
        text = re.sub(r"(threads.*?\[default: )\d+", r"\1cores", text, flags=re.S)
        parts.append(f"## {name}\n\n```text\n{text.rstrip()}\n```\n")
    return "\n".join(parts)


def tour_page() -> str:
    """The tour with what its commands print today."""
    text = (DOCS / "tour.md").read_text()

    def rerun(found: re.Match[str]) -> str:
        done = CliRunner().invoke(app, found.group(1).split()[1:])
        if done.exit_code:
            raise SystemExit(f"{found.group(1)}: {done.output}")
        printed, before = done.stdout.rstrip(), found.group(2).rstrip()
        if _without_errors(printed) == _without_errors(before):
            printed = before
        return f"```sh\n{found.group(1)}\n```\n\n```text\n{printed}\n```"

    shown = r"```sh\n(tiedgraph [^\n]*)\n```\n\n```text\n(.*?)```"
    return re.sub(shown, rerun, text, flags=re.S)


def _without_errors(text: str) -> str:
    """Rounding errors and registers differ between machines; everything else must not."""
    return re.sub(r"\d\.\de[-+]\d\d|\d+ registers of \d+", "#", text)


PAGES = {
    "tour.md": tour_page,
    "ops.md": ops_page,
    "ties.md": lambda: ties_page().replace("\n", f"\n\n{NOTE.strip()}\n", 1),
    "errors.md": errors_page,
    "settings.md": settings_page,
    "cli.md": commands_page,
}


def main() -> int:
    """Writes or checks all pages."""
    os.chdir(DOCS.parent)
    stale = []
    for name, make in PAGES.items():
        text = make().rstrip() + "\n"
        path = DOCS / name
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text)
    if "--check" in sys.argv and stale:
        print(f"not current: {', '.join(stale)}; run python docs/generate.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
