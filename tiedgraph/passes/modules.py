"""Imports, constants and blocks: what a file knows before its first value."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

from tiedgraph.diagnostics import Diagnostics, Source, Span, nearest
from tiedgraph.passes import limits
from tiedgraph.passes.arguments import is_function
from tiedgraph.passes.constants import NotComputable, bounded, compute, is_number, lookup_in
from tiedgraph.passes.scope import BlockOf, Constant, Failed, Module, Scope, name_span, report_twice
from tiedgraph.syntax import ast
from tiedgraph.syntax.parser import parse, read_source


def load(
    file: ast.File, diagnostics: Diagnostics, define: Mapping[str, float], root: Path | None
) -> list[Module]:
    """The compiled file and, behind it, all that its imports reach; each is read once.

    root: the folder of the compiled file, which no import leaves; None for a text without one.
    """
    loader = _Loader(diagnostics, define, root)
    main = loader.load(file, _path_of(file, root))
    for name in define:
        if name not in loader.constants:
            hint = nearest(name, loader.constants)
            listed = ", ".join(sorted(loader.constants)[:8]) or "none"
            diagnostics.error(
                "E0201",
                f"there is no constant '{name}' to define",
                hint=hint or f"constants of this file: {listed}",
            )
    return [main, *(m for m in loader.modules.values() if m is not None and m is not main)]


def _path_of(file: ast.File, root: Path | None) -> Path | None:
    if root is None:
        return None
    return root.resolve() / Path(file.span.source.path).name


class _Loader:
    def __init__(
        self, diagnostics: Diagnostics, define: Mapping[str, float], root: Path | None
    ) -> None:
        self.diagnostics = diagnostics
        self.define = define
        self.root = root.resolve() if root is not None else None
        self.modules: dict[Path, Module | None] = {}
        self.active: list[Path] = []
        self.constants: set[str] = set()

    # ------------------------------------------------------------ one file

    def load(self, file: ast.File, path: Path | None) -> Module:
        module = Module(file, path)
        if path is not None:
            self.modules[path] = module
            self.active.append(path)
        for statement in file.statements:
            if isinstance(statement, ast.Import):
                self._import(module, statement)
        for statement in file.statements:
            if isinstance(statement, ast.Data | ast.Let | ast.Output | ast.Task | ast.Unit):
                module.later.setdefault(statement.name, name_span(statement, statement.name))
        declared = [s for s in file.statements if isinstance(s, ast.Const | ast.Block)]
        for statement in declared:
            place = name_span(statement, statement.name)
            if isinstance(statement, ast.Block) and is_function(statement.name):
                self.diagnostics.error(
                    "E0202",
                    f"'{statement.name}' is a function of the language",
                    place,
                    label="cannot be a block",
                    hint="give the block another name",
                )
            elif self._is_free(module, statement.name, place):
                module.places[statement.name] = place
                module.own.add(statement.name)
                if isinstance(statement, ast.Block):
                    self._check_body(statement)
                    module.names[statement.name] = BlockOf(statement, module)
        self._refuse_recursion(module)
        scope = Scope(module, constants=True)
        for statement in declared:
            if isinstance(statement, ast.Const):
                self.constants.add(statement.name)
                if statement.name not in module.names:
                    module.names[statement.name] = self._constant(statement, scope)
        if path is not None:
            self.active.pop()
        return module

    def _is_free(self, module: Module, name: str, place: Span) -> bool:
        first = module.places.get(name)
        if first is None:
            return True
        report_twice(name, first, place, self.diagnostics)
        return False

    def _check_body(self, block: ast.Block) -> None:
        """A block holds values and constants; everything else stands outside."""
        for statement in block.body:
            if isinstance(statement, ast.Let | ast.Const):
                continue
            hint = "a block holds values and constants, and ends with return"
            if isinstance(statement, ast.TieHard | ast.Freeze | ast.Initialise):
                hint = (
                    "write it outside, with the path of a use, such as tie hard left.h.weight, ..."
                )
            elif isinstance(statement, ast.Data):
                hint = f"make it an argument: block {block.name}(..., {statement.name})"
            elif isinstance(statement, ast.Loss | ast.Metric | ast.Output):
                hint = "return the value, and write the statement outside"
            self.diagnostics.error(
                "E0209",
                f"this statement cannot stand inside block '{block.name}'",
                statement.span,
                others=[(name_span(block, block.name), "the block")],
                hint=hint,
            )

    def _constant(self, statement: ast.Const, scope: Scope) -> Constant | Failed:
        if statement.name in self.define:
            number = self.define[statement.name]
            try:
                if not is_number(number):
                    raise NotComputable("the value is not a number")
                bounded(number)
            except NotComputable as error:
                self.diagnostics.error(
                    "E0208",
                    f"'{statement.name}' cannot be set from outside: {error}",
                    hint=f"write -D {statement.name}=12",
                )
                return Failed()
            whole = isinstance(number, float) and number.is_integer()
            return Constant(int(number) if whole else number, statement.span)
        lookup = lookup_in(scope, self.diagnostics)
        found = compute(statement.value, lookup, self.diagnostics)
        if isinstance(found, Constant) and not is_number(found.value):
            self.diagnostics.error(
                "E0208",
                f"constant '{statement.name}' is not a number",
                statement.value.span,
                label="not a number",
                hint="a constant holds one number, such as 12 or 0.5",
            )
            return Failed()
        return found

    def _refuse_recursion(self, module: Module) -> None:
        """Blocks that use themselves, directly or through others of the file."""
        blocks = {
            name: found.block
            for name, found in module.names.items()
            if isinstance(found, BlockOf) and found.module is module
        }
        if not blocks:
            return
        import networkx as nx

        uses = nx.DiGraph()
        uses.add_nodes_from(blocks)
        for name, block in blocks.items():
            called = set(called_names(block)) & blocks.keys()
            uses.add_edges_from((name, other) for other in sorted(called))
        for group in list(nx.strongly_connected_components(uses)):
            first = min(group, key=lambda name: blocks[name].span.start)
            if len(group) == 1 and not uses.has_edge(first, first):
                continue
            cycle = [first, first]
            if len(group) > 1:
                edges = nx.find_cycle(uses.subgraph(group), first)
                cycle = [edges[0][0], *(edge[1] for edge in edges)]
            self.diagnostics.error(
                "E0209",
                f"block '{first}' uses itself: {' -> '.join(cycle[:8])}",
                module.places[first],
                label="this block",
                others=[(module.places[name], "is part of it") for name in cycle[1:-1][:6]],
                hint="blocks are expanded when the file is compiled, so that none can hold itself; "
                "for a row of equal layers use repeat(x, 6, block)",
            )
            for name in group:
                module.names[name] = Failed()

    # ------------------------------------------------------------ imports

    def _import(self, module: Module, statement: ast.Import) -> None:
        path = self._inside(module, statement)
        if path is None:
            module.incomplete = True
            return
        if path in self.active:
            chain = [p.name for p in (*self.active[self.active.index(path) :], path)]
            self.diagnostics.error(
                "E0504",
                f"imports form a cycle: {' -> '.join(chain[:8])}",
                statement.span,
                label="imports a file that is being imported",
                hint="move what both need into a third file",
            )
            module.incomplete = True
            return
        if path not in self.modules:
            self.modules[path] = self._read(path, module, statement)
        imported = self.modules[path]
        if imported is None:
            module.incomplete = True
            return
        for name in sorted(imported.own, key=lambda name: imported.places[name].start):
            first, place = module.places.get(name), imported.places[name]
            if first is None:
                module.places[name] = place
                module.names[name] = imported.names[name]
            elif first != place:
                self.diagnostics.error(
                    "E0202",
                    f"'{name}' comes from two imported files",
                    statement.span,
                    label=f"brings in '{name}' again",
                    others=[(first, "first defined here"), (place, "defined again here")],
                    hint="give one of them another name",
                )

    def _read(self, path: Path, module: Module, statement: ast.Import) -> Module | None:
        limit = None
        if len(self.modules) >= limits.IMPORTS:
            limit = f"more than {limits.IMPORTS} files are imported"
        elif len(self.active) > limits.IMPORT_DEPTH:
            limit = f"imports nest more than {limits.IMPORT_DEPTH} deep"
        if limit is not None:
            self.diagnostics.error(
                "E0501", limit, statement.span, hint="put the blocks into fewer files"
            )
            return None
        source = read_source(path, self.diagnostics)
        if source is None:
            return None
        # Messages show the path as the importing file would write it.
        folder = os.path.dirname(module.file.span.source.path)
        shown = Source(os.path.normpath(os.path.join(folder, statement.path)), source.text)
        file = parse(shown, self.diagnostics)
        return self.load(file, path) if file is not None else None

    def _inside(self, module: Module, statement: ast.Import) -> Path | None:
        """The imported file's path, after links; None (and a report) unless it may be opened."""
        span, text = statement.span, statement.path

        def refuse(code: str, message: str, hint: str) -> None:
            self.diagnostics.error(code, message, span, label="imported here", hint=hint)

        stay = "an import is written relative to its own file and stays in the folder tree of the "
        stay += "compiled file"
        if self.root is None or module.path is None:
            refuse("E0502", "a text without a file has no folder to import from", "compile a file")
            return None
        if not text or "\0" in text or "\\" in text or Path(text).is_absolute():
            refuse("E0503", f"'{text[:80]!s}' is not a relative path", stay)
            return None
        plain = Path(os.path.normpath(module.path.parent / text))
        if not plain.is_relative_to(self.root):
            refuse("E0503", f"'{text}' leaves the folder of the compiled file", stay)
            return None
        try:
            path = plain.resolve(strict=True)
            about = path.stat()
        except (OSError, RuntimeError, ValueError):
            refuse("E0502", f"'{text}' cannot be read", self._similar(plain) or stay)
            return None
        if not path.is_relative_to(self.root):
            refuse("E0503", f"'{text}' is a link that leaves the folder of the compiled file", stay)
            return None
        if not stat.S_ISREG(about.st_mode):
            refuse("E0502", f"'{text}' is not an ordinary file", "import a .tie file")
            return None
        if about.st_nlink > 1:
            refuse(
                "E0503",
                f"'{text}' is a hard link: the same file also lies elsewhere",
                "put a copy of the file there",
            )
            return None
        return path

    def _similar(self, path: Path) -> str:
        try:
            names = [item.name for item in path.parent.iterdir() if item.suffix == ".tie"]
        except OSError:
            return ""
        return nearest(path.name, names)


def called_names(block: ast.Block) -> Iterator[str]:
    """Names of all functions and blocks that a block's text calls or hands to `repeat`."""
    for item in walk((*block.body, block.result)):
        if isinstance(item, ast.Call):
            yield item.function
        elif isinstance(item, ast.Name):
            yield item.path[0].name


def names_inside_blocks(file: ast.File) -> set[str]:
    """Every name and label that a block of the file defines."""
    found: set[str] = set()
    for item in walk(tuple(s for s in file.statements if isinstance(s, ast.Block))):
        if isinstance(item, ast.Let | ast.Const):
            found.add(item.name)
        elif isinstance(item, ast.Call) and item.label is not None:
            found.add(item.label)
    return found


def walk(start: object) -> Iterator[ast.Node]:
    """Every node of a tree, in no particular order."""
    waiting = [start]
    while waiting:
        item = waiting.pop()
        if isinstance(item, tuple):
            waiting.extend(item)
        elif isinstance(item, ast.Node):
            yield item
            waiting.extend(getattr(item, f.name) for f in fields(item) if f.name != "span")
