"""tiedgraph: declare a network's layers and what they share; it checks, compiles and trains them.

    import tiedgraph as tg

    model = tg.compile("lenet5.tie")
    model.fit("digits-train.npz", validate="digits-test.npz")
    print(model.explain())

`compile` reads a `.tie` file, `compile_text` a string, `load` a saved run. All answer a `Model`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tiedgraph.diagnostics import DataError, Diagnostic, RunError, TieError

if TYPE_CHECKING:
    from tiedgraph.api import compile, compile_text, harden, load, untie
    from tiedgraph.compression.search import compress
    from tiedgraph.model import Model
    from tiedgraph.recognition.recogniser import Recogniser
    from tiedgraph.suggestions import suggest

    __version__: str

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
_HOMES = {
    "Model": "model",
    "Recogniser": "recognition.recogniser",
    "compress": "compression.search",
    "suggest": "suggestions",
    **dict.fromkeys(("compile", "compile_text", "harden", "load", "untie"), "api"),
}


def __getattr__(name: str) -> Any:
    """Loads the compiler only when it is asked for, so that checking a file stays quick."""
    if name == "__version__":
        from importlib import metadata

        return metadata.version("tiedgraph")
    if name not in _HOMES:
        raise AttributeError(f"module 'tiedgraph' has no attribute '{name}'")
    return getattr(import_module(f"tiedgraph.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
