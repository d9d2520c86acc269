"""The compiler on one page: from a file to a tape.

parse, build, weigh_by_uncertainty, infer_shapes,
resolve_ties, resolve_mixtures                  what the file says, checked     `check`
simplify, join, differentiate, fuse, schedule   one program of it               `lower`
plan_memory, emit                               addresses, for given lengths    `write_tape`
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tiedgraph.diagnostics import Diagnostics, Source
from tiedgraph.ir.graph import Graph
from tiedgraph.ir.verify import verify
from tiedgraph.passes.build import build
from tiedgraph.passes.differentiate import differentiate
from tiedgraph.passes.fuse import fuse
from tiedgraph.passes.join import join
from tiedgraph.passes.modules import walk
from tiedgraph.passes.schedule import Schedule, schedule
from tiedgraph.passes.shapes import infer_shapes
from tiedgraph.passes.simplify import Mode, simplify
from tiedgraph.passes.soft import resolve_mixtures
from tiedgraph.passes.tasks import weigh_by_uncertainty
from tiedgraph.passes.ties import resolve_ties
from tiedgraph.syntax import ast
from tiedgraph.syntax.parser import parse, read_source

Observer = Callable[[str, object], None]
STAGES = ("ast", "graph", "ties", "backward", "schedule", "memory", "tape", "kernels")


@dataclass(frozen=True)
class Checked:
    """A file that was read: its graph, None after errors, and everything there is to say."""

    source: Source | None
    graph: Graph | None
    diagnostics: Diagnostics


def _nothing(stage: str, state: object) -> None:
    pass


def check(
    path: str | Path,
    define: Mapping[str, float] | None = None,
    observe: Observer = _nothing,
    lexicon: str | Path | None = None,
) -> Checked:
    """Reads a `.tie` file as far as it can be checked without compiling; never raises on bad text.

    define: values for constants of the file, as `-D` gives them.
    observe: called with each stage's name and state.
    lexicon: a file that stands for the lexicons of chains and targets; units keep theirs.
    """
    diagnostics = Diagnostics()
    source = read_source(path, diagnostics)
    words = read_source(lexicon, diagnostics) if lexicon is not None else None
    if source is None or (lexicon is not None and words is None):
        return Checked(None, None, diagnostics)
    return _check(source, Path(path).resolve().parent, define or {}, diagnostics, observe, words)


def check_text(
    text: str,
    define: Mapping[str, float] | None = None,
    root: Path | None = None,
    observe: Observer = _nothing,
) -> Checked:
    """The same from a string; without `root` it cannot import or read files."""
    return _check(Source("<text>", text), root, define or {}, Diagnostics(), observe)


def _check(
    source: Source,
    root: Path | None,
    define: Mapping[str, float],
    diagnostics: Diagnostics,
    observe: Observer,
    lexicon: Source | None = None,
) -> Checked:
    file = parse(source, diagnostics)
    if file is None or diagnostics.errors:
        return Checked(source, None, diagnostics)
    observe("ast", file)
    graph = build(file, diagnostics, define, root, lexicon)
    graph = weigh_by_uncertainty(graph)
    graph = infer_shapes(graph, diagnostics)
    if diagnostics.errors:
        return Checked(source, None, diagnostics)
    verify(graph, "shapes")
    observe("graph", graph)
    graph = resolve_ties(graph, diagnostics, root)
    if not diagnostics.errors:
        graph = resolve_mixtures(graph, diagnostics)
    if diagnostics.errors:
        return Checked(source, None, diagnostics)
    verify(graph, "ties")
    observe("ties", graph)
    return Checked(source, graph, diagnostics)


def files_of(path: Path, graph: Graph) -> dict[str, bytes]:
    """Everything that a checked file was read from, by path relative to its folder, itself first.

    Imports of imports too, lexicons, and the index maps of `map("file")`. Raises OSError.
    """
    root = path.resolve().parent
    waiting, found = [path.resolve()], {}
    while waiting:
        place = waiting.pop(0)
        name = place.relative_to(root).as_posix()
        if name in found:
            continue
        found[name] = place.read_bytes()
        file = parse(Source(name, found[name].decode("utf-8-sig")), Diagnostics())
        for statement in file.statements if file is not None else ():
            if isinstance(statement, ast.Import):
                # As the text has it, which may lead over links.
                waiting.append(Path(os.path.normpath(place.parent / statement.path)))
        for item in walk(file.statements) if file is not None else ():
            lexicon = getattr(item, "lexicon", None)
            if lexicon is not None:
                found[Path(lexicon).as_posix()] = (root / lexicon).read_bytes()
    for tie in graph.ties:
        settings = dict(tie.settings)
        if tie.kind == "index_map" and settings["map"] in ("map", "codebook"):
            name = str(settings.get("file", settings.get("0")))
            found[Path(name).as_posix()] = (root / name).read_bytes()
    return found


def lower(
    graph: Graph,
    mode: Mode,
    dtype: str,
    outputs: Iterable[str] | None = None,
    observe: Observer = _nothing,
) -> Schedule:
    """One program of a checked graph: training, evaluation, or prediction of some outputs."""
    diagnostics = Diagnostics()
    graph = join(simplify(graph, diagnostics, mode, outputs), diagnostics)
    if mode == "train":
        graph = differentiate(graph, diagnostics)
        observe("backward", graph)
    graph = fuse(graph, diagnostics)
    verify(graph, "program")
    plan = schedule(graph, diagnostics, dtype)
    observe("schedule", plan)
    return plan
