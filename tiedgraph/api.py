"""`compile`, `compile_text` and `load`: three ways to a `Model`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tiedgraph import compiler
from tiedgraph.diagnostics import TieError
from tiedgraph.model import Model


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
    return _model(found, batch, dtype, seed, threads, samples)


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
    return _model(found, batch, dtype, seed, threads, samples)


def _model(
    found: compiler.Checked, batch: int | None, dtype: str, seed: int, threads: int, samples: int
) -> Model:
    if found.graph is None:
        raise TieError(found.diagnostics)
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be at least 1, not {batch}")
    model = Model(found.graph, dtype=dtype, seed=seed, threads=threads, samples=samples)
    mode = "train" if found.graph.losses else "predict"
    # Kernels are needed soon; those without run-time sizes can be had ready now.
    if not any(item.type.symbols for item in found.graph.data.values()):
        model.program(mode).tape({})  # type: ignore[arg-type]
    return model


def load(path: str | Path, *, threads: int = 2) -> Model:
    """A saved model: a run of `tiedgraph train`, or what `Model.save` wrote.

    Raises RunError where it is damaged or its numbers are not of its model.
    """
    from tiedgraph.runtime.checkpoint import load as read_run

    return read_run(Path(path), threads=threads)
