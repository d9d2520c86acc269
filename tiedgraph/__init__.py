"""tiedgraph: declare a network's layers and what they share; it checks, compiles and trains them.

    import tiedgraph as tg

    model = tg.compile("lenet5.tie")
    model.fit("digits-train.npz", validate="digits-test.npz")
    print(model.explain())

`compile` reads a `.tie` file, `compile_text` a string, `load` a saved run. All answer a `Model`.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

from tiedgraph.diagnostics import DataError, Diagnostic, RunError, TieError

if TYPE_CHECKING:
    from tiedgraph.api import compile, compile_text, compress, harden, load, suggest, untie
    from tiedgraph.model import Model
    from tiedgraph.recognition.recogniser import Recogniser

__version__ = metadata.version("tiedgraph")
__all__ = [
    "DataError",
    "Diagnostic",
    "Model",
    "Recogniser",
    "RunError",
    "TieError",
    "__version__",
    "compile",
    "compile_text",
    "compress",
    "harden",
    "load",
    "suggest",
    "untie",
]
_FUNCTIONS = ("compile", "compile_text", "compress", "harden", "load", "suggest", "untie")


def __getattr__(name: str) -> Any:
    """Loads the compiler only when it is asked for, so that checking a file stays quick."""
    if name in _FUNCTIONS:
        from tiedgraph import api

        return getattr(api, name)
    if name == "Model":
        from tiedgraph.model import Model

        return Model
    if name == "Recogniser":
        from tiedgraph.recognition.recogniser import Recogniser

        return Recogniser
    raise AttributeError(f"module 'tiedgraph' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
