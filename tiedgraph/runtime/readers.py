"""Data files by their suffix: `.npz`, `.npy`, folders of `.npy`, `.csv`, `.parquet`.

None of the readers runs code from a file: no pickles.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from tiedgraph.diagnostics import DataError, nearest
from tiedgraph.runtime.datafile import File, reason
from tiedgraph.runtime.npy import open_folder, open_npy, open_npz
from tiedgraph.runtime.tables import open_csv, open_parquet

READERS: dict[str, Callable[[Path], File]] = {
    ".npz": open_npz,
    ".npy": open_npy,
    ".csv": open_csv,
    ".parquet": open_parquet,
}
SOUND = (".wav", ".flac", ".ogg", ".mp3")


def open_file(path: Path, only: str | None = None) -> File:
    """Looks into a data file without reading its arrays; raises DataError.

    only: the name that a single `.npy` file's array gets, None where a model wants several.
    """
    try:
        about = path.stat()
        if stat.S_ISDIR(about.st_mode):
            return open_folder(path)
        if not stat.S_ISREG(about.st_mode):
            raise DataError("it is not an ordinary file")
        kind = path.suffix.lower()
        if kind not in READERS:
            told = f"'{kind}' files are not read" if kind else "its name has no ending"
            listed = ", ".join(READERS)
            sound = "; tiedgraph features makes frames of recordings" * (kind in SOUND)
            raise DataError(f"{told}; give one of {listed}, or a folder of .npy files{sound}")
        return open_npy(path, only) if kind == ".npy" else READERS[kind](path)
    except FileNotFoundError:
        raise DataError(f"there is no such file{_similar(path)}") from None
    except (OSError, ValueError) as error:
        raise DataError(reason(error)) from None


def _similar(path: Path) -> str:
    try:
        names = [item.name for item in path.parent.iterdir()]
    except (OSError, ValueError):
        return ""
    hint = nearest(path.name, names)
    return f"; {hint}" if hint else ""
