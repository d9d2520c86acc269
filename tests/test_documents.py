"""Commands and Python blocks of the README and of the examples' pages run as they stand there.

Training is cut to one epoch, and spoken words to one recording of each; installing is what
continuous integration does.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.syntax.format import format_source
from tiedgraph.syntax.parser import read_source

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*/README.md"))
MODELS = sorted((ROOT / "examples").glob("*/*.tie"))
# Commands that other tests or continuous integration run, and that would run this test again.
ELSEWHERE = ("python3 -m venv", ".venv/bin/", "python -m tests.benchmarks", "python docs/")


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.S | re.M)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_python_blocks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    for block in blocks(path, "python"):
        exec(compile(block, str(path), "exec"), scope)  # noqa: S102


def run(command: str, folder: Path) -> None:
    """One line of a page, with this interpreter's `tiedgraph` and one epoch of training.

    What goes on from another run has something to show only after a few.
    """
    words = command.split()
    assert words[0] in ("tiedgraph", "python"), command
    if words[:2] == ["tiedgraph", "train"]:
        words += ["--epochs", "20" if "--start-from" in words else "1"]
    if words[:2] == ["python", "pick.py"]:
        words[words.index("--recordings") + 1] = "1"
    if words[:2] == ["tiedgraph", "compress"]:
        words += ["--loss-budget", "100%"]  # so little training keeps no smaller one
    first = [sys.executable, "-m", "tiedgraph"] if words[0] == "tiedgraph" else [sys.executable]
    done = subprocess.run(
        [*first, *words[1:]], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.parent.name)
def test_commands_of_the_examples(path: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    lines = [line for block in blocks(path, "sh") for line in block.splitlines() if line]
    assert lines, f"{path} shows no command"
    for line in lines:
        run(line, tmp_path / "examples" / path.parent.name)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_commands_of_the_pages(path: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for block in blocks(path, "sh"):
        for line in block.splitlines():
            if line and not line.startswith(ELSEWHERE) and path.name != "tour.md":
                run(line, tmp_path)


def test_the_readmes_first_command_trains(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    command = blocks(ROOT / "README.md", "sh")[0].strip().split(" && ")[-1]
    assert command.startswith(".venv/bin/tiedgraph train ")
    run(command.removeprefix(".venv/bin/"), tmp_path)
    assert (tmp_path / "runs/lenet5/parameters.safetensors").is_file()


@pytest.mark.parametrize("path", MODELS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_models_are_in_canonical_layout(path: Path) -> None:
    source = read_source(path, Diagnostics())
    assert source is not None
    assert format_source(source) == source.text


@pytest.mark.parametrize("path", [*PAGES, *EXAMPLES], ids=lambda p: f"{p.parent.name}/{p.name}")
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_generated_pages_are_current() -> None:
    """Reference pages and the tour, whose commands are run again and their output compared."""
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
