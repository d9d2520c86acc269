"""The files that a model was made from, so that a saved one compiles alone."""

from __future__ import annotations

import os
from pathlib import Path

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.ir.graph import Graph, Tie
from tiedgraph.passes.modules import load
from tiedgraph.syntax import ast

UNNAMED = "model.tie"  # for a text that came from no file


def bundle(file: ast.File, graph: Graph, root: Path | None) -> dict[str, bytes]:
    """Contents by path, relative to the folder of the file itself, which comes first.

    file, graph: as they were checked, without errors. root: the folder of the file, None for a text
    alone. Imported files and those of `by map(...)` are read again; raises OSError where they went.
    """
    main = file.span.source
    if root is None:
        return {UNNAMED: main.text.encode()}
    found = {os.path.basename(main.path): main.text.encode()}
    home = os.path.dirname(main.path)
    for module in load(file, Diagnostics(), {}, root)[1:]:
        source = module.file.span.source
        # The path as the text has it, which may lead over links.
        found[os.path.normpath(os.path.relpath(source.path, home or "."))] = source.text.encode()
    for tie in graph.ties:
        name = _map_file(tie)
        if name is not None:
            found[os.path.normpath(name)] = (root / name).read_bytes()
    return found


def _map_file(tie: Tie) -> str | None:
    settings = dict(tie.settings)
    if settings.get("map") != "map":
        return None
    name = settings.get("file", settings.get("0"))
    return name if isinstance(name, str) else None
