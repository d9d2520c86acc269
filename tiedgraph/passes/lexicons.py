"""The lexicons that a file names, and classes that are their words."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tiedgraph.diagnostics import Diagnostics, Source, Span, nearest
from tiedgraph.ir import lexicon
from tiedgraph.ir.lexicon import Lexicon
from tiedgraph.ir.types import Type
from tiedgraph.syntax import ast
from tiedgraph.syntax.parser import read_source


class Lexicons:
    """The lexicons of a file, each read once. replaced: what stands for those of chains."""

    def __init__(
        self, root: Path | None, diagnostics: Diagnostics, replaced: Source | None = None
    ) -> None:
        self.root = root
        self.diagnostics = diagnostics
        self.replaced = replaced
        self._read: dict[str, Lexicon | None] = {}

    def of_chain(self, name: str, span: Span) -> Lexicon | None:
        """The words that a chain knows: those of the file, or what was given in its place."""
        if self.replaced is None:
            return self.of_unit(name, span)
        if "" not in self._read:
            self._read[""] = lexicon.read(self.replaced, self.diagnostics)
        return self._read[""]

    def of_unit(self, name: str, span: Span) -> Lexicon | None:
        if name not in self._read:
            self._read[name] = self._open(name, span)
        return self._read[name]

    def _open(self, name: str, span: Span) -> Lexicon | None:
        def refuse(code: str, message: str, hint: str) -> None:
            self.diagnostics.error(code, message, span, hint=hint)

        if self.root is None:
            refuse("E0502", "a text without a file has no folder to read from", "compile a file")
            return None
        stay = "a lexicon lies in the folder of the compiled file or below"
        if not name or "\0" in name or "\\" in name or Path(name).is_absolute():
            refuse("E0503", f"'{name[:80]}' is not a relative path", stay)
            return None
        root = self.root.resolve()
        plain = Path(os.path.normpath(root / name))
        try:
            path = plain.resolve(strict=True)
            about = path.stat()
        except (OSError, RuntimeError, ValueError):
            near = nearest(plain.name, [p.name for p in root.glob("*.dict")])
            refuse("E0502", f"the lexicon '{name}' cannot be read", near or stay)
            return None
        if not path.is_relative_to(root):
            refuse("E0503", f"'{name}' leaves the folder of the compiled file", stay)
            return None
        if not stat.S_ISREG(about.st_mode):
            refuse("E0502", f"'{name}' is not an ordinary file", stay)
            return None
        source = read_source(path, self.diagnostics)
        if source is None:
            return None
        return lexicon.read(Source(name, source.text), self.diagnostics)


def read_lexicon_type(
    statement: ast.Data, known: Lexicons, diagnostics: Diagnostics
) -> Type | None:
    """`class from "words.dict"`: one class a word; None after a report."""
    written = statement.type
    assert written.lexicon is not None
    if written.kind != "class":
        diagnostics.error(
            "E0302",
            f"the words of a lexicon are classes, not '{written.kind}'",
            written.span,
            hint=f'write class from "{written.lexicon}"',
        )
        return None
    found = known.of_chain(written.lexicon, written.span)
    return Type("class", (), len(found.words)) if found is not None else None
