"""Reads the files of `by map("groups.npy")` and `by codebook("book.npz")`, trusting nothing."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tiedgraph.diagnostics import nearest
from tiedgraph.ir.types import shape_text
from tiedgraph.npy import read_header
from tiedgraph.ties.layout import Array, Shape
from tiedgraph.ties.view import ViewError

MAX_FILE = 2**30  # bytes


def read_integers(name: str, shape: Shape, root: Path | None) -> Array:
    """Integers of the given shape from a `.npy` file inside the folder tree of the compiled file.

    Raises ViewError: E0503 for a path that leads out of the tree, E0502 for what cannot be read,
    E0501 for a file that is too large, E0408 for other shapes or types.
    """
    return _integers(_content(name, root), name, shape)


def read_several(name: str, shapes: Mapping[str, Shape], root: Path | None) -> dict[str, Array]:
    """For each parameter its array of a `.npz` file; raises ViewError as `read_integers` does."""
    content = _content(name, root)
    found: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = {item.filename: item for item in archive.infolist()}
            for param, shape in shapes.items():
                item = entries.get(f"{param}.npy")
                if item is None:
                    names = [key.removesuffix(".npy") for key in entries]
                    hint = nearest(param, names) or f"it has {', '.join(names[:8]) or 'none'}"
                    raise ViewError("E0408", f"'{name}' has no array '{param}'", hint)
                if item.file_size > MAX_FILE:
                    raise ViewError("E0501", f"'{param}' in '{name}' is larger than {MAX_FILE:,}")
                found[param] = _integers(archive.read(item), f"{name}: {param}", shape)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ViewError("E0502", f"'{name}' cannot be read: {_first_line(error)}") from None
    return found


def _integers(content: bytes, name: str, shape: Shape) -> Array:
    try:
        header = read_header(io.BytesIO(content))
    except ValueError as error:
        raise ViewError("E0502", f"'{name}' cannot be read: {error}") from None
    found, dtype = header.shape, header.dtype
    if dtype.kind not in "iu":
        raise ViewError("E0408", f"'{name}' must hold integers, not {dtype}")
    if found != shape:
        raise ViewError(
            "E0408",
            f"the map in '{name}' is {shape_text(found)}, but the parameter is {shape_text(shape)}",
        )
    if len(content) - header.offset != header.bytes:
        raise ViewError("E0502", f"'{name}' is damaged: its length is not that of {list(found)}")
    flat = np.frombuffer(content, dtype, offset=header.offset)
    if flat.size and flat.max() >= 2**62:
        raise ViewError("E0408", f"'{name}' holds {flat.max()}, which is no index")
    return flat.reshape(found, order="F" if header.fortran_order else "C").astype(
        np.int64, order="C"
    )


def _content(name: str, root: Path | None) -> bytes:
    if root is None:
        raise ViewError(
            "E0503",
            f"a model that comes as text has no folder to read '{name}' from",
            "put the model in a file beside it",
        )
    inside = "the path is relative to the model's file and stays inside its folder"
    if not name or "\0" in name or Path(name).is_absolute():
        raise ViewError("E0503", f"'{name}' is no relative path", inside)
    try:
        place = (root / name).resolve()
        if not place.is_relative_to(root.resolve()):
            raise ViewError("E0503", f"'{name}' leaves the folder of the model's file", inside)
        about = place.stat()
        if not stat.S_ISREG(about.st_mode):
            raise ViewError("E0502", f"'{name}' is not a file")
        if about.st_nlink > 1:
            raise ViewError("E0503", f"'{name}' is a hard link, which may lead elsewhere")
        if about.st_size > MAX_FILE:
            raise ViewError(
                "E0501", f"'{name}' has {about.st_size:,} bytes of {MAX_FILE:,} allowed"
            )
        return place.read_bytes()
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else _first_line(error)
        raise ViewError("E0502", f"'{name}' cannot be read: {reason}") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
