"""Ways to a `Model`, and what is done with its ties; what that needs is imported when it is."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tiedgraph import compiler
from tiedgraph.diagnostics import Diagnostics, RunError, TieError
from tiedgraph.model import Model
from tiedgraph.passes.spoken import warn_of_words
from tiedgraph.render import render_text
from tiedgraph.runtime.checkpoint import read
from tiedgraph.runtime.identity import Origin

if TYPE_CHECKING:
    from tiedgraph.rewrite.text import Rewritten

__all__ = ["compile", "compile_text", "harden", "load", "untie"]


def compile(
    path: str | Path,
    *,
    batch: int | None = None,
    dtype: str = "float32",
    seed: int = 0,
    threads: int = 2,
    define: Mapping[str, float] | None = None,
    samples: int = 1,
) -> Model:
    """Reads, checks and compiles a `.tie` file.

    batch: a hint for scheduling; any batch size may be given to any call.
    dtype: `float32` or `float64`. seed: of the initial numbers. threads: used at most.
    define: values for constants of the file. samples: training samples, for soft ties.
    Raises TieError, which carries all diagnostics.
    """
    found = compiler.check(path, define)
    if found.graph is None:
        raise TieError(found.diagnostics)
    origin = Origin(compiler.files_of(Path(path), found.graph), dict(define or {}), dtype, seed)
    return _model(found, origin, batch, threads, samples)


def compile_text(
    source: str,
    *,
    batch: int | None = None,
    dtype: str = "float32",
    seed: int = 0,
    threads: int = 2,
    define: Mapping[str, float] | None = None,
    samples: int = 1,
) -> Model:
    """The same from the text itself, which cannot import or read other files."""
    found = compiler.check_text(source, define)
    if found.graph is None:
        raise TieError(found.diagnostics)
    files = {f"{found.graph.name}.tie": source.encode()}
    origin = Origin(files, dict(define or {}), dtype, seed)
    return _model(found, origin, batch, threads, samples)


def _model(
    found: compiler.Checked, origin: Origin, batch: int | None, threads: int, samples: int
) -> Model:
    assert found.graph is not None
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be at least 1, not {batch}")
    model = Model(found.graph, origin, threads=threads, samples=samples)
    # Kernels are needed soon; those without run-time sizes can be had ready now.
    if not any(item.type.symbols for item in found.graph.data.values()):
        program = model.program("train" if found.graph.losses else "predict")
        program.tape(batch or model.settings.batch, {})
    return model


def load(path: str | Path, *, threads: int = 2, lexicon: str | Path | None = None) -> Model:
    """A saved model: a run of `tiedgraph train`, what `Model.save` wrote, or a `.tied` file.

    lexicon: a file of other words over the same phonemes, which chains know instead; the words of
    a lexicon need no training.
    A word with a phoneme that had no training data is a warning (`warnings.warn`).
    Raises RunError where it is damaged or its numbers are not of its model, and TieError where its
    text cannot be compiled by this version.
    """
    model = loaded(Path(path), threads, lexicon)
    if model.warnings:
        warnings.warn(render_text(model.warnings), stacklevel=2)
    return model


def loaded(path: Path, threads: int, lexicon: str | Path | None = None) -> Model:
    """The same, with what there is to warn of in `Model.warnings`."""
    from tiedgraph.compression.file import SUFFIX
    from tiedgraph.compression.file import load as load_tied

    if Path(path).suffix == SUFFIX and not Path(path).is_dir():
        if lexicon is not None:
            raise RunError(f"{path} keeps the words it was compressed with; give the run instead")
        return load_tied(Path(path), threads)
    saved = read(Path(path))
    found = compiler.check(saved.main, saved.define, lexicon=lexicon)
    if found.graph is None:
        raise TieError(found.diagnostics)
    saved.check(found.graph)
    files = {name: saved.files[name] for name in saved.names}
    origin = Origin(files, saved.define, saved.dtype, saved.seed)
    model = Model(found.graph, origin, threads=threads)
    now, best = saved.snapshot(found.graph)
    model.restore(now if best is None else replace(now, numbers=best.numbers))
    if lexicon is not None and model.heard:
        told = Diagnostics()
        warn_of_words(found.graph, model.heard, told)
        model.warnings = tuple(told.warnings)
    return model


def harden(model: Model, tie: str | None = None) -> Rewritten:
    """The model's text with the clusters of a soft tie as a hard one; `write(path)` keeps it.

    tie: its name, where there are several. Raises RunError where there is none.
    """
    from tiedgraph.rewrite.harden import find_clusters
    from tiedgraph.rewrite.harden import harden as hardened

    return hardened(model, find_clusters(model, tie))


def untie(model: Model, *selectors: str) -> Rewritten:
    """The model's text with parameters or layers taken out of its hard ties.

    `write(path)` keeps it.
    Raises RunError where a selector names nothing that is tied.
    """
    from tiedgraph.rewrite.untie import untie as untied

    return untied(model.checked, model.origin, selectors).text
