"""`.npz` archives, and `.npy` files alone or in a folder, which are mapped.

Headers are read and checked before anything is unpacked; pickled objects are refused.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Literal

import numpy as np

from tiedgraph.diagnostics import DataError
from tiedgraph.ir.types import Type
from tiedgraph.npy import Header, read_header
from tiedgraph.runtime.checks import check_form
from tiedgraph.runtime.datafile import Array, File, Wanted, check_room, reason

CHUNK = 2**22  # bytes that are unpacked together


def _header(file: IO[bytes], name: str) -> Header:
    try:
        return read_header(file)
    except ValueError as error:
        raise DataError(f"array '{name}' is damaged: {error}") from None


def open_npz(path: Path) -> File:
    """Members by name; raises DataError."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
    except (zipfile.BadZipFile, NotImplementedError, struct.error, UnicodeDecodeError) as error:
        raise DataError(f"it is no .npz file: {reason(error)}") from None

    def read(wanted: Wanted) -> dict[str, Array]:
        with zipfile.ZipFile(path) as archive:
            # All headers before any array.
            needed = sum(_npz_header(archive, name, kind).bytes for name, kind in wanted.items())
            check_room(needed)
            return {name: _npz_array(archive, name) for name in wanted}

    return File(tuple(names), read)


_UNZIP = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
    struct.error,
)


def _npz_header(archive: zipfile.ZipFile, name: str, kind: Type | None) -> Header:
    info = archive.getinfo(f"{name}.npy")
    try:
        with archive.open(info) as file:
            found = _header(io.BytesIO(file.read(2**16)), name)
    except _UNZIP as error:
        raise DataError(f"array '{name}' is damaged: {reason(error)}") from None
    check_form(name, kind, found.shape, found.dtype)
    if info.file_size != found.offset + found.bytes:
        raise DataError(
            f"array '{name}' is damaged: its header tells of {found.bytes} bytes, "
            f"and {info.file_size - found.offset} follow"
        )
    return found


def _npz_array(archive: zipfile.ZipFile, name: str) -> Array:
    try:
        with archive.open(f"{name}.npy") as file:
            found = _header(file, name)
            content = np.empty(found.bytes, np.uint8)
            filled = 0
            while part := file.read(CHUNK):
                content[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
                filled += len(part)
            if filled != found.bytes:
                raise EOFError("it is cut off")
    except _UNZIP as error:
        raise DataError(f"array '{name}' is damaged: {reason(error)}") from None
    flat = content.view(found.dtype)
    return flat.reshape(found.shape, order="F" if found.fortran_order else "C")


def _map_npy(path: Path, name: str, kind: Type | None) -> Array:
    """The array as it lies in the file; pages are read as they are needed."""
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise DataError(f"'{path.name}' is not an ordinary file")
            found = _header(file, name)
            check_form(name, kind, found.shape, found.dtype)
            length = os.fstat(file.fileno()).st_size
        if length != found.offset + found.bytes:
            raise DataError(
                f"array '{name}' is damaged: its header tells of {found.bytes} bytes, "
                f"and {length - found.offset} follow"
            )
        if not found.bytes:
            return np.zeros(found.shape, found.dtype)
        order: Literal["C", "F"] = "F" if found.fortran_order else "C"
        return np.memmap(path, found.dtype, "r", found.offset, found.shape, order)
    except (OSError, ValueError) as error:
        raise DataError(f"'{path.name}' cannot be read: {reason(error)}") from None


def open_folder(path: Path) -> File:
    """Members by name; raises DataError."""
    files = {item.stem: item for item in sorted(path.iterdir()) if item.suffix == ".npy"}
    if not files:
        raise DataError("the folder holds no .npy files")
    return File(
        tuple(files),
        lambda wanted: {name: _map_npy(files[name], name, kind) for name, kind in wanted.items()},
    )


def open_npy(path: Path, only: str | None = None) -> File:
    """One array, named by the file; `only`: by the model that wants but one."""
    name = path.stem if only is None else only
    return File(
        (name,),
        lambda wanted: {item: _map_npy(path, item, kind) for item, kind in wanted.items()},
    )
