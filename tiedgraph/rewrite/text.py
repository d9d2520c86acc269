"""A model's text with some statements replaced; comments and layout of the rest stay."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tiedgraph import compiler
from tiedgraph.diagnostics import Diagnostics, RunError, Source, Span, TieError
from tiedgraph.model import Model
from tiedgraph.runtime.folder import write_file
from tiedgraph.runtime.identity import Origin
from tiedgraph.syntax import ast
from tiedgraph.syntax.parser import parse


@dataclass(frozen=True)
class Rewritten:
    """A model's text after a change, and the files that it reads, by their names in it."""

    text: str
    files: Mapping[str, bytes]

    def write(self, path: Path, replace: bool = False) -> list[Path]:
        """Writes the text as `path` and the files beside it; answers all that was written.

        Files are written before the text that names them. Raises RunError where something else is
        there, or it cannot be written.
        """
        if path.suffix != ".tie":
            raise RunError(f"a model's text is a .tie file, and not '{path}'")
        contents = {path.parent / name: content for name, content in self.files.items()}
        contents[path] = self.text.encode()
        if not replace:
            for place, content in contents.items():
                if place.exists() and (place == path or place.read_bytes() != content):
                    raise RunError(f"{place} is there already; --force replaces it")
        try:
            for place, content in contents.items():
                place.parent.mkdir(parents=True, exist_ok=True)
                write_file(place, content)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise RunError(f"{path} cannot be written: {reason}") from None
        return list(contents)

    def compiled(self, model: Model) -> Model:
        """A model of the changed text, with the type, constants and samples of another."""
        name = model.origin.main
        with tempfile.TemporaryDirectory() as folder:
            self.write(Path(folder) / name)
            found = compiler.check(Path(folder) / name, model.origin.define)
        if found.graph is None:
            raise TieError(found.diagnostics)
        files = {name: self.text.encode(), **self.files}
        origin = Origin(files, model.origin.define, model.dtype, model.seed)
        return Model(found.graph, origin, threads=model.threads, samples=model.samples)


def statements_of(origin: Origin) -> tuple[str, tuple[ast.Statement, ...]]:
    """The text of a model's own file, and its statements."""
    text = origin.files[origin.main].decode("utf-8-sig")
    file = parse(Source(origin.main, text), Diagnostics())
    assert file is not None  # it was compiled
    return text, file.statements


def replaced(text: str, changes: Mapping[Span, str]) -> str:
    """The text with spans replaced; one that becomes nothing takes its line with it."""
    for span, new in sorted(changes.items(), key=lambda item: -item[0].start):
        start, end = span.start, span.end
        if not new:
            line = text.rfind("\n", 0, start) + 1
            rest = text.find("\n", end)
            rest = len(text) if rest < 0 else rest + 1
            if not text[line:start].strip() and not text[end:rest].strip():
                start, end = line, rest
        text = text[:start] + new + text[end:]
    return text
