"""The disk cache of machine code: one object file a kernel, shared by all models of a user.

A file is named by the digest of all that its machine code depends on, and starts with the digest of
its own content, so that rot is a miss and never a crash. The folder belongs to the user alone
(mode 0700); one that others can write to, or that somebody else owns, is not used. Files appear by
atomic rename, so that any number of processes may fill the cache at once.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from functools import lru_cache
from pathlib import Path

import platformdirs

MAGIC = b"TIEDGRAPH-KERNEL-1\n"


def folder() -> Path:
    """Where kernels are kept: `TIEDGRAPH_CACHE_DIR`, or the user's cache folder."""
    given = os.environ.get("TIEDGRAPH_CACHE_DIR")
    return Path(given) if given else platformdirs.user_cache_path("tiedgraph") / "kernels"


@lru_cache
def _usable(path: Path) -> bool:
    """Makes the folder where needed; False when it cannot be trusted or written."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = path.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(about.st_mode):
        return False
    if not hasattr(os, "getuid"):
        return True
    return about.st_uid == os.getuid() and not about.st_mode & 0o022


def holds(prefix: str) -> bool:
    """Whether anything is stored under a key that begins so."""
    try:
        return any(name.startswith(prefix) for name in os.listdir(folder()))
    except OSError:
        return False


def read(key: str) -> bytes | None:
    """The object code stored under `key`, or None: absent, damaged or not ours."""
    place = folder()
    if not _usable(place):
        return None
    try:
        handle = os.open(place / f"{key}.o", os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    try:
        with os.fdopen(handle, "rb") as file:
            about = os.fstat(file.fileno())
            foreign = hasattr(os, "getuid") and about.st_uid != os.getuid()
            if foreign or about.st_mode & 0o022 or not stat.S_ISREG(about.st_mode):
                return None
            content = file.read()
    except OSError:
        return None
    head, payload = content[: len(MAGIC) + 32], content[len(MAGIC) + 32 :]
    if head != MAGIC + hashlib.sha256(payload).digest():
        return None
    return payload


def write(key: str, payload: bytes) -> None:
    """Stores object code; a full disk or a read-only home only costs the next process time."""
    place = folder()
    if not _usable(place):
        return
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=place, prefix=".new-")
        with os.fdopen(handle, "wb") as file:
            file.write(MAGIC + hashlib.sha256(payload).digest() + payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, place / f"{key}.o")
    except OSError:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
