"""The rules of the house that can be read off the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tiedgraph"
FILES = sorted(PACKAGE.rglob("*.py"))

# Which packages stand on which floor; a file imports its own package and lower floors only.
FLOORS = {
    "diagnostics": 0,
    "render": 0.5,
    "npy": 0.5,
    "audio": 0.5,
    "grammar": 0.5,
    "syntax": 1,
    "ir": 1,
    "lanes": 1,
    "ops": 2,
    "ties": 3,
    "passes": 4,
    "codegen": 5,
    "export": 5,
    "runtime": 5.5,  # programs run tapes, so it stands on codegen
    "compiler": 6,
    "explain": 6,
    "model": 6.5,
    "rewrite": 6.6,
    "gradients": 6.7,
    "conflicts": 6.75,
    "listing": 6.7,
    "measure": 6.75,
    "compression": 6.8,
    "plot": 6.8,
    "suggestions": 6.8,
    "recognition": 6.8,
    "api": 7,
    "cli": 8,
    "__init__": 7.5,
    "__main__": 9,
}


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, int, bool]]:
    """Modules of the project that a file imports: first part, line, whether at module level."""
    found = []
    tree = ast.parse(path.read_text())
    checked_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in checked_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module]
            if node.module == "tiedgraph":
                names = [f"tiedgraph.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found += [(name, node.lineno) for name in names if name.split(".")[0] == "tiedgraph"]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    own = package_of(path)
    if own == "__init__":
        return
    for name, line in imports(path):
        parts = name.split(".")
        target = parts[1] if len(parts) > 1 else "__init__"
        if target not in FLOORS:  # a public name of the package itself
            target = "__init__"
        if target == own:
            continue
        assert FLOORS[target] < FLOORS[own], f"{path.name}:{line} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_runs_generated_python(path: Path) -> None:
    banned = {"eval", "exec", "compile", "__import__"}
    for node in ast.walk(ast.parse(path.read_text())):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Name):
            assert called.id not in banned, f"{path.name}:{called.lineno}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            assert not {"pickle", "marshal", "shelve", "dill"} & set(names), path


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_public_things_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if path.stat().st_size:
        assert ast.get_docstring(tree), f"{path} has no docstring"


@pytest.mark.parametrize(
    "module",
    ["tiedgraph", "tiedgraph.cli.main", "tiedgraph.explain", "tiedgraph.passes.build"],
)
def test_light_modules_do_without_llvm(module: str) -> None:
    code = f"import sys, {module}; print('llvmlite' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_model_is_compiled_without_what_it_does_not_need() -> None:
    code = (
        "import sys, numpy, tiedgraph as tg\n"
        "model = tg.compile_text('input x: float[3]\\ny = dense(x, 3)\\nloss mse(y, x)')\n"
        "model.step(x=numpy.ones((2, 3)))\n"
        "print({'networkx', 'filelock', 'typer', 'rich', 'tiedgraph.suggestions'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_no_machine_paths() -> None:
    root = PACKAGE.parent
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = root / name
        if path.suffix in (".npz", ".npy", ".png") or not path.is_file():
            continue
        text = path.read_text(errors="replace")
        assert not re.search(r"/(work|root|home)/\w", text), name


@pytest.mark.parametrize(
    "command", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=" ".join
)
def test_lint_and_types(command: list[str]) -> None:
    pytest.importorskip(command[0])
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=PACKAGE.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
