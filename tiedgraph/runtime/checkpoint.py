"""Runs and saved models: numbers, the model's text, the optimiser, and where training stood.

A folder holds the `.tie` file with what it imports, so that it compiles alone;
`parameters.safetensors`, one tensor a storage, with the ties and a fingerprint of the model in its
metadata; `optimizer.safetensors` and `state.json`, from which training goes on; and for readers
only `history.csv`, `metrics.json` and, with soft ties, `mixtures.csv`. `tiedgraph.runtime.folder`
keeps them whole.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tiedgraph.diagnostics import RunError
from tiedgraph.ir.graph import Graph
from tiedgraph.ir.types import elements
from tiedgraph.passes.settings import TrainSettings, train_settings
from tiedgraph.passes.ties import reached
from tiedgraph.runtime import folder
from tiedgraph.runtime.identity import (
    Origin,
    fingerprint,
    fit_numbers,
    metadata_of,
    pack_tensors,
    ties_of,
    unpack_tensors,
)
from tiedgraph.runtime.optim import slot_rows
from tiedgraph.runtime.train import Position, Snapshot

Array = np.ndarray[Any, np.dtype[Any]]
PARAMETERS, OPTIMIZER, STATE = "parameters.safetensors", "optimizer.safetensors", "state.json"
HISTORY, METRICS, MIXTURES = "history.csv", "metrics.json", "mixtures.csv"
PLOT = "mixtures.svg"
RESERVED = (
    *(PARAMETERS, OPTIMIZER, STATE, HISTORY, METRICS, MIXTURES, PLOT),
    *(folder.MANIFEST, folder.LOCK),
)
NOW = "now/"  # before names of numbers that training goes on from, where others are the best


# ---------------------------------------------------------------- reading


@dataclass(frozen=True)
class Saved:
    """A run or model as it was read, every file checked.

    main: the `.tie` file to compile, with `define`. state: how training stood, as JSON has it.
    """

    path: Path
    kind: str
    define: Mapping[str, float]
    dtype: str
    seed: int
    fingerprint: str
    files: Mapping[str, bytes]
    names: tuple[str, ...]
    state: Mapping[str, Any]
    manifest: Mapping[str, Any]

    @property
    def main(self) -> Path:
        return self.path / self.names[0]

    def check(self, graph: Graph) -> None:
        """Raises RunError unless the numbers are those of this model."""
        if fingerprint(graph) != self.fingerprint:
            raise RunError(
                f"{self.path} holds another model: parameters, shapes or ties differ"
                + _difference(graph, self._ties())
            )

    def _ties(self) -> dict[str, Any]:
        try:
            return dict(metadata_of(self.files[PARAMETERS])["ties"])
        except (ValueError, KeyError, TypeError):
            raise RunError(f"{self.path / PARAMETERS} is damaged: it has no ties") from None

    def numbers(self, graph: Graph) -> dict[str, Array]:
        """The numbers to use, by storage; raises RunError where tied copies disagree."""
        tensors = unpack_tensors(self.files[PARAMETERS], str(self.path / PARAMETERS))
        return fit_numbers(graph, tensors, self.dtype, str(self.path / PARAMETERS))

    def snapshot(self, graph: Graph) -> tuple[Snapshot, Snapshot | None]:
        """What training goes on from, and the best numbers where those are others.

        Raises RunError where it does not fit the model or its optimiser.
        """
        best = self.numbers(graph)
        kept = unpack_tensors(self.files[OPTIMIZER], str(self.path / OPTIMIZER))
        slots = {name: array for name, array in kept.items() if not name.startswith(NOW)}
        if {name: array.shape for name, array in slots.items()} != _slot_shapes(graph):
            raise RunError(
                f"{self.path / OPTIMIZER} does not fit the model: another optimiser wrote it, or "
                "other parameters were trained"
            )
        others = {n.removeprefix(NOW): a for n, a in kept.items() if n.startswith(NOW)}
        counts = (
            int(self.state["steps"]),
            int(self.state["updates"]),
            int(self.state.get("training_samples", 1)),
            frozenset(map(str, self.state.get("heard", ()))),
        )
        if not others:
            return Snapshot(best, slots, *counts), None
        now = fit_numbers(graph, others, self.dtype, str(self.path / OPTIMIZER))
        return Snapshot(now, slots, *counts), Snapshot(best, {}, *counts)

    def position(self) -> Position:
        """Where training stood."""
        return _position(self.state["position"])


def read(path: Path) -> Saved:
    """Reads a run or saved model; raises RunError, which names what is missing or damaged."""
    manifest, files = folder.read_state(path)
    try:
        about = manifest["model"]
        names = tuple(about["files"])
        state = json.loads(files[STATE])
        saved = Saved(
            path,
            str(manifest["kind"]),
            {str(name): float(number) for name, number in about["define"].items()},
            str(about["dtype"]),
            int(about["seed"]),
            str(about["fingerprint"]),
            files,
            names,
            state,
            manifest,
        )
        missing = [name for name in (*names, PARAMETERS, OPTIMIZER) if name not in files]
        if missing or not names or saved.dtype not in ("float32", "float64"):
            raise KeyError
        saved.position()
        for name in (PARAMETERS, OPTIMIZER):
            if metadata_of(files[name]).get("fingerprint") != saved.fingerprint:
                raise RunError(f"{path / name} belongs to another model than {folder.MANIFEST}")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise RunError(f"{path / folder.MANIFEST} does not describe a run") from None
    return saved


def _slot_shapes(graph: Graph) -> dict[str, tuple[int, int]]:
    """What the optimiser of a model keeps for each storage that it moves."""
    chosen = train_settings(graph).optimizer
    rows = slot_rows(chosen, bool(graph.mixtures))
    moved = reached(graph)
    return {
        name: (rows, elements(storage.shape))
        for name, storage in graph.storages.items()
        if storage.trainable and name in moved
    }


def _difference(graph: Graph, before: Mapping[str, Any]) -> str:
    """The first parameter that is not alike, for the message."""
    now = ties_of(graph)
    for name in now:
        if name not in before:
            return f"; '{name}' is not in it"
        if now[name] != before[name]:
            return f"; '{name}' is tied otherwise there"
    for name in before:
        if name not in now:
            return f"; it has '{name}', which this model has not"
    return "; some shape differs"


# ---------------------------------------------------------------- writing


def save_model(path: Path, graph: Graph, origin: Origin, now: Snapshot) -> None:
    """Writes a model that `read` answers; a model that was saved there before is replaced.

    Raises RunError where something else is there, or it cannot be written.
    """
    with _claimed(path, "model", replace=True) as before:
        run = Run(path, graph, origin, before, "model")
        run.save(now, None, Position())


class Run:
    """A folder that training writes checkpoints to; made by `new_run` and `resumed_run`."""

    def __init__(
        self,
        path: Path,
        graph: Graph,
        origin: Origin,
        before: Mapping[str, Any] | None,
        kind: str = "run",
        settings: TrainSettings | None = None,
        mark: str = "",
    ) -> None:
        if not origin.files:
            raise RunError("a model that was made without its text cannot be saved")
        clash = [name for name in origin.files if _clashes(name)]
        if clash:
            raise RunError(f"'{clash[0]}' is named as a file of the run itself; rename it")
        self.path = path
        self.graph = graph
        self.origin = origin
        self.kind = kind
        self.settings = settings
        self.mark = mark
        self._before = before
        self._fingerprint = fingerprint(graph)

    @property
    def place(self) -> str:
        return str(self.path)

    def save(self, now: Snapshot, best: Snapshot | None, position: Position) -> None:
        """One checkpoint, written as a whole or not at all; raises RunError."""
        about = {
            "kind": self.kind,
            "model": {
                "files": list(self.origin.files),
                "define": dict(self.origin.define),
                "dtype": self.origin.dtype,
                "seed": self.origin.seed,
                "fingerprint": self._fingerprint,
            },
        }
        metadata = {"fingerprint": self._fingerprint, "ties": ties_of(self.graph)}
        numbers = now.numbers if best is None else best.numbers
        kept = dict(now.slots)
        if best is not None:
            kept |= {f"{NOW}{name}": array for name, array in now.numbers.items()}
        state = {
            "steps": now.steps,
            "updates": now.updates,
            "training_samples": now.samples,
            **({"heard": sorted(now.heard)} if now.heard else {}),
            "position": _encode(asdict(position)),
            "settings": _settings(self.settings),
            "data": self.mark,
        }
        files = {
            **self.origin.files,
            PARAMETERS: pack_tensors(numbers, metadata),
            OPTIMIZER: pack_tensors(kept, {"fingerprint": self._fingerprint}),
            STATE: _json(state),
        }
        derived = {}
        if self.kind == "run":
            derived = {HISTORY: _table(position.history), METRICS: _json(_metrics(position, best))}
            if position.mixtures:
                derived[MIXTURES] = _table(position.mixtures)
        self._before = folder.commit(self.path, about, files, derived, self._before)


def _clashes(name: str) -> bool:
    return name in RESERVED or name.endswith(folder.NEW)


@contextmanager
def new_run(
    path: Path,
    graph: Graph,
    origin: Origin,
    settings: TrainSettings,
    mark: str = "",
    replace: bool = False,
) -> Iterator[Run]:
    """A folder for a new run, held while the block runs.

    mark: of the training data (`tiedgraph.runtime.data.mark`). replace: give up a run that is
    there already.
    Raises RunError where another process trains, or something is there already.
    """
    with _claimed(path, "run", replace) as before:
        yield Run(path, graph, origin, before, "run", settings, mark)


@contextmanager
def resumed_run(
    path: Path, graph: Graph, origin: Origin, settings: TrainSettings, mark: str = ""
) -> Iterator[tuple[Run, Saved]]:
    """A run that training goes on in, and what it holds.

    Settings are those given now. Raises RunError where the model is another, the optimiser is
    another, or in the middle of an epoch the data or its order would be another.
    """
    if not folder.is_saved(path):
        raise RunError(f"{path} holds no run to resume")
    with folder.lock(path):
        saved = read(path)
        if saved.kind != "run":
            raise RunError(f"{path} holds a saved model, not a run")
        saved.check(graph)
        _check_settings(saved, origin, settings, mark)
        yield Run(path, graph, origin, saved.manifest, "run", settings, mark), saved


def _check_settings(saved: Saved, origin: Origin, settings: TrainSettings, mark: str) -> None:
    before, now = saved.state["settings"], _settings(settings)
    if saved.dtype != origin.dtype:
        raise RunError(f"{saved.path} is of {saved.dtype}; it cannot go on in {origin.dtype}")
    if before["optimizer"]["name"] != now["optimizer"]["name"]:
        raise RunError(
            f"{saved.path} was trained by {before['optimizer']['name']}; it cannot go on with "
            f"{now['optimizer']['name']}"
        )
    if before["seed"] != now["seed"]:
        raise RunError(
            f"{saved.path} was trained with seed = {before['seed']}; it cannot go on with seed = "
            f"{now['seed']}"
        )
    if not saved.position().batch:
        return
    for name in ("batch", "shuffle"):
        if before[name] != now[name]:
            raise RunError(
                f"{saved.path} stopped in the middle of an epoch with {name} = {before[name]}; "
                f"it cannot go on with {name} = {now[name]}"
            )
    if saved.state["data"] != mark:
        raise RunError(
            f"{saved.path} stopped in the middle of an epoch; it goes on with the same training "
            "data only"
        )


@contextmanager
def _claimed(path: Path, kind: str, replace: bool) -> Iterator[Mapping[str, Any] | None]:
    """Makes and locks a folder; what it holds, if that may be replaced."""
    try:
        made = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        # What a first checkpoint left that was never finished is nobody's.
        foreign = not folder.is_saved(path) and any(
            item.name != folder.LOCK and not item.name.endswith(folder.NEW) and not item.is_dir()
            for item in path.rglob("*")
        )
    except OSError as error:
        raise RunError(f"{path} cannot be made: {(error.strerror or str(error)).lower()}") from None
    if foreign:
        raise RunError(f"{path} holds other files; name a new or an empty folder")
    try:
        with folder.lock(path):
            before = None
            if folder.is_saved(path):
                before = folder.read_manifest(path)
                if before.get("kind") != kind:
                    raise RunError(
                        f"{path} holds a saved {before.get('kind')}; name another folder"
                    )
                if not replace:
                    raise RunError(
                        f"{path} holds a run already; --resume goes on with it, --force replaces it"
                    )
            yield before
    finally:
        if made and not folder.is_saved(path):
            shutil.rmtree(path, ignore_errors=True)


# ---------------------------------------------------------------- texts


def _settings(settings: TrainSettings | None) -> dict[str, Any]:
    if settings is None:
        return {}
    result = asdict(settings)
    for name in ("optimizer", "schedule"):
        result[name] = {"name": type(getattr(settings, name)).__name__.lower(), **result[name]}
    return result


def _encode(value: Any) -> Any:
    """As JSON, with numbers that are not finite as texts."""
    if isinstance(value, Mapping):
        return {name: _encode(item) for name, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_encode(item) for item in value]
    if isinstance(value, float | np.floating):
        number = float(value)
        return number if math.isfinite(number) else repr(number)
    return value


def _position(state: Mapping[str, Any]) -> Position:
    rows = [{name: _number(x) for name, x in row.items()} for row in state["history"]]
    sums = {
        name: np.array([_number(x) for x in np.ravel(found)], np.float64)
        for name, found in state["sums"].items()
    }
    best = state["best"]
    return Position(
        int(state["epoch"]),
        int(state["batch"]),
        int(state["step"]),
        int(state["samples"]),
        sums,
        None if state["length"] is None else int(state["length"]),
        None if best is None else float(best),
        int(state["best_epoch"]),
        int(state["waited"]),
        float(state["seconds"]),
        rows,
        [dict(row) for row in state.get("mixtures", [])],
    )


def _number(value: Any) -> float:
    """Integers stay integers."""
    return value if isinstance(value, int) else float(value)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def _table(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as CSV, such as `history.csv`: a line an epoch."""
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = csv.DictWriter(text, columns or ["epoch"], restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()


def _metrics(position: Position, best: Snapshot | None) -> dict[str, Any]:
    """`metrics.json`: what the numbers in `parameters.safetensors` reached."""
    if not position.history:
        return {}
    epoch = position.best_epoch if best is not None else position.epoch
    row = position.history[epoch - 1]
    return {name: x if math.isfinite(x) else None for name, x in row.items()}
