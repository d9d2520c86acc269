"""A folder of files that change together, or not at all.

`manifest.json` names every file with its SHA-256. A new state is first written beside the old one,
as `NAME.new`, then the manifest is renamed into its place, which is the moment of change, and only
then are the files. Whoever reads takes of `NAME` and `NAME.new` the one that the manifest tells of.
So a process may be killed, or a disk be full, at any moment: the old state or the new one is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tiedgraph.diagnostics import RunError

MANIFEST = "manifest.json"
NEW = ".new"
LOCK = ".lock"
FORMAT = 1
MANIFEST_SIZE = 2**24  # bytes
TRIES = 20  # readings of a folder that changes meanwhile


# ---------------------------------------------------------------- writing


def write_file(path: Path, content: bytes) -> None:
    """Replaces one file as a whole: written beside, fsynced, renamed, the folder fsynced.

    Raises OSError, which names the file; then the old one stands, and nothing is left beside it.
    """
    beside = path.with_name(path.name + NEW)
    try:
        _write(beside, content)
        os.replace(beside, path)
        _sync_folder(path.parent)
    except OSError as error:
        _remove([beside])
        # A full disk names no file, and a missing folder the one beside.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


def _write(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags, 0o666)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def commit(
    path: Path,
    about: Mapping[str, Any],
    files: Mapping[str, bytes],
    derived: Mapping[str, bytes],
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Makes `files` and `derived` the state of a folder; answers the new manifest.

    about: what else the manifest says. derived: files that nothing reads back; they may be deleted.
    before: the manifest that is there, None for a new folder. Only one process at a time may do
    this (`lock`). Raises RunError, and leaves the state before, when anything cannot be written.
    """
    contents = {**files, **derived}
    manifest = {
        "format": FORMAT,
        **about,
        "files": {name: _digest(content) for name, content in files.items()},
        "derived": {name: _digest(content) for name, content in derived.items()},
    }
    spelt = _manifest_bytes(manifest)
    known = _listed(before) if before is not None else {}
    changed = {
        name: content
        for name, content in contents.items()
        if known.get(name) != _digest(content) or not (path / name).is_file()
    }
    beside = [path / f"{name}{NEW}" for name in changed]
    try:
        if before is not None:
            _settle(path, known)
        try:
            for name, content in changed.items():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                _write(path / f"{name}{NEW}", content)
            for folder in {(path / name).parent for name in changed}:
                _sync_folder(folder)
            _write(path / f"{MANIFEST}{NEW}", spelt)
            os.replace(path / f"{MANIFEST}{NEW}", path / MANIFEST)
        except OSError:
            _remove([*beside, path / f"{MANIFEST}{NEW}"])
            raise
        # From here on the new state counts, whatever fails.
        _sync_folder(path)
        _settle(path, _listed(manifest))
        _remove(path / name for name in known if name not in contents)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RunError(f"{path} cannot be written: {reason}; its last state is whole") from None
    written: dict[str, Any] = json.loads(spelt)
    return written


def _settle(path: Path, known: Mapping[str, Any]) -> None:
    """Renames what a state has as NAME.new; a reader needs no such thing, the next writer does."""
    moved = set()
    for name, digest in known.items():
        beside = path / f"{name}{NEW}"
        if beside.is_file():
            if _digest(beside.read_bytes()) == digest:
                os.replace(beside, path / name)
                moved.add(beside.parent)
            else:
                beside.unlink()
    for folder in moved:
        _sync_folder(folder)


def _digest(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """One spelling only, with its own digest, so that every changed byte shows."""
    body = {key: value for key, value in manifest.items() if key != "digest"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    body["digest"] = hashlib.sha256(text.encode()).hexdigest()
    return (json.dumps(body, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def _listed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {**manifest["files"], **manifest["derived"]}


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Holds a folder for one writer; RunError if another process has it."""
    from filelock import FileLock, Timeout

    held = FileLock(path / LOCK, timeout=0)
    try:
        held.acquire()
    except Timeout:
        raise RunError(f"{path} is in use: another process is training this run") from None
    except OSError as error:
        raise RunError(f"{path} cannot be written: {(error.strerror or '').lower()}") from None
    try:
        yield
    finally:
        held.release()


# ---------------------------------------------------------------- reading


def is_saved(path: Path) -> bool:
    """Whether there is a manifest, good or not."""
    return os.path.lexists(path / MANIFEST)


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest, checked against its own digest; raises RunError."""
    if not path.is_dir():
        there = "is not a folder" if path.exists() else "does not exist"
        raise RunError(f"{path} {there}; name the folder of a run or of a saved model")
    if not is_saved(path):
        raise RunError(f"{path} holds no run: it has no {MANIFEST}")
    try:
        content = _read(path / MANIFEST, MANIFEST_SIZE)
        manifest = json.loads(content)
        if content == _manifest_bytes(manifest):
            if manifest["format"] != FORMAT:
                raise RunError(
                    f"{path} is of format {manifest['format']}, and this version reads format "
                    f"{FORMAT}: use the version that wrote it"
                )
            for name, digest in _listed(manifest).items():
                _check_entry(name, digest)
            return dict(manifest)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RunError(f"{path / MANIFEST} cannot be read: {reason}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise RunError(f"{path / MANIFEST} is damaged: it is not as it was written")


def _check_entry(name: str, digest: Mapping[str, Any]) -> None:
    """Names stay in the folder; ValueError otherwise."""
    pure = PurePosixPath(name)
    plain = pure.as_posix() == name and not pure.is_absolute() and "\0" not in name
    if not plain or ".." in pure.parts or name in (MANIFEST, LOCK, "."):
        raise ValueError(name)
    if not isinstance(digest["bytes"], int) or not isinstance(digest["sha256"], str):
        raise ValueError(digest)


def read_state(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest and the content of every file, each checked by its SHA-256.

    Derived files are checked where they are, and not answered. Safe beside a process that writes.
    Raises RunError, which names the file.
    """
    manifest = read_manifest(path)
    for _ in range(TRIES):
        try:
            files = {name: _checked(path, name, d) for name, d in manifest["files"].items()}
            for name, digest in manifest["derived"].items():
                _check_derived(path, name, digest)
            return manifest, files
        except RunError:
            again = read_manifest(path)
            if again == manifest:
                raise
            manifest = again
    raise RunError(f"{path} changes all the time: another process writes it")


def _checked(path: Path, name: str, digest: Mapping[str, Any]) -> bytes:
    found = "is missing"
    # The name once more: a writer may have renamed the new file between the two looks.
    for candidate in (name, f"{name}{NEW}", name):
        try:
            _refuse_links(path, candidate)
            content = _read(path / candidate, digest["bytes"])
        except FileNotFoundError:
            continue
        except OSError as error:
            found = f"cannot be read: {(error.strerror or str(error)).lower()}"
            continue
        if _digest(content) == digest:
            return content
        if candidate == name:
            found = "is damaged: it is not as it was written"
    raise RunError(f"{path / name} {found}; use a copy of the run")


def _check_derived(path: Path, name: str, digest: Mapping[str, Any]) -> None:
    if not any(os.path.lexists(path / f"{name}{end}") for end in ("", NEW)):
        return
    try:
        _checked(path, name, digest)
    except RunError as error:
        told = str(error).removesuffix("; use a copy of the run")
        raise RunError(f"{told}; nothing depends on it: delete it to go on") from None


def _refuse_links(path: Path, name: str) -> None:
    """No folder on the way may be a link, which could lead out."""
    inner = path
    for part in PurePosixPath(name).parts[:-1]:
        inner /= part
        if inner.is_symlink():
            raise OSError(f"'{part}' is a link")


def _read(path: Path, most: int) -> bytes:
    """The content, or its start where there is more; ordinary files only, links not followed."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise OSError("it is not an ordinary file")
        return file.read(min(most, about.st_size) + 1)
