"""What saved numbers belong to: the text of a model, its parameters and ties; tensors as bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from tiedgraph.diagnostics import RunError
from tiedgraph.ir.graph import Graph, View
from tiedgraph.ties.assign import assign

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Origin:
    """What a model was made from: everything that is needed to compile it again.

    files: contents by path, relative to the folder of the first, which is the `.tie` file itself.
    define: values given to its constants from outside.
    """

    files: Mapping[str, bytes]
    define: Mapping[str, float]
    dtype: str
    seed: int

    @property
    def main(self) -> str:
        """Name of the `.tie` file."""
        return next(iter(self.files))


# ---------------------------------------------------------------- what a model is


def ties_of(graph: Graph) -> dict[str, dict[str, Any]]:
    """For every parameter its storage and the views that read it, as data."""
    return {name: _view(param.view) for name, param in graph.params.items()}


def _view(view: View) -> dict[str, Any]:
    return {
        "storage": view.storage,
        "steps": _plain([[s.name, dict(s.arguments)] for s in view.steps]),
    }


def _plain(value: Any) -> Any:
    """As JSON; arrays (index maps) by their digest."""
    if isinstance(value, np.ndarray):
        content = np.ascontiguousarray(value)
        digest = hashlib.sha256(content.tobytes()).hexdigest()
        return {"shape": list(content.shape), "type": content.dtype.str, "sha256": digest}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, np.generic):
        return value.item()
    return value


def fingerprint(graph: Graph) -> str:
    """Digest of all parameters, their shapes and ties: what saved numbers must fit."""
    storages = [[s.id, list(s.shape), s.trainable] for s in graph.storages.values()]
    params = [[p.id, list(p.shape), _view(p.view)] for p in graph.params.values()]
    text = json.dumps([sorted(storages), sorted(params, key=lambda p: str(p[0]))], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


# ---------------------------------------------------------------- tensors as bytes


# The one key of the metadata: the library writes several in any order, and the same model shall
# give the same bytes.
METADATA = "tiedgraph"


def pack_tensors(tensors: Mapping[str, Array], metadata: Mapping[str, Any]) -> bytes:
    """A safetensors file, read back and compared; RunError for numbers that are not finite.

    Arrays are copied in C order first: the library writes strided ones wrongly without a word.
    """
    ready = {name: np.array(array, order="C", copy=True) for name, array in tensors.items()}
    for name, array in ready.items():
        if not np.isfinite(array).all():
            raise RunError(f"'{name}' holds numbers that are not finite, which are not saved")
    text = json.dumps(metadata, sort_keys=True)
    content: bytes = safetensors.numpy.save(ready, metadata={METADATA: text})
    again = safetensors.numpy.load(content)
    for name, array in ready.items():
        if again[name].tobytes() != array.tobytes() or again[name].shape != array.shape:
            raise RunError(f"'{name}' did not come back as it was written: the library is broken")
    return content


def unpack_tensors(content: bytes, name: str) -> dict[str, Array]:
    """The tensors of a file; RunError, with the file's name, where it is damaged."""
    try:
        found: dict[str, Array] = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise RunError(f"{name} is damaged: {error}") from None
    for tensor, array in found.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise RunError(f"{name} is refused: '{tensor}' does not hold finite real numbers")
    return found


def metadata_of(content: bytes) -> dict[str, Any]:
    """What `pack_tensors` was given; KeyError, TypeError or ValueError where there is none.

    A safetensors header is its length in 8 bytes, then JSON.
    """
    length = int.from_bytes(content[:8], "little")
    texts = json.loads(content[8 : 8 + length])["__metadata__"]
    return dict(json.loads(texts[METADATA]))


def fit_numbers(
    graph: Graph, tensors: Mapping[str, Array], dtype: str, origin: str
) -> dict[str, Array]:
    """Tensors by storage or parameter as numbers of all storages.

    Raises RunError for names that the model does not have, storages without numbers, shapes that
    differ, and tied copies that disagree.
    """
    free = {name: np.zeros(storage.shape) for name, storage in graph.storages.items()}
    try:
        found = assign(graph, free, tensors)
    except ValueError as error:
        raise RunError(f"{origin} does not fit the model: {error}") from None
    missing = [name for name in free if name not in found]
    if missing:
        raise RunError(f"{origin} does not fit the model: it has no '{missing[0]}'")
    return {name: np.asarray(array, dtype) for name, array in found.items()}
