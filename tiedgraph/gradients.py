"""`check --gradients`: the user's own model, differentiated three ways.

For each owner of free numbers: finite differences of the loss against the compiled gradient, and
the untied twin, in which every parameter has numbers of its own: the tied gradient must be the sum
of the twin's gradients, pulled back through the views. Soft ties are
held to their reference in NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np

from tiedgraph.diagnostics import DataError
from tiedgraph.ir.graph import Graph, Storage, View
from tiedgraph.ir.types import Extent, Type
from tiedgraph.model import Model
from tiedgraph.passes.soft import without_mixtures
from tiedgraph.runtime.identity import Origin
from tiedgraph.runtime.reference import gather_gradients
from tiedgraph.ties.mixture import PARTS
from tiedgraph.ties.mixture import gradients as mixture_gradients

Array = np.ndarray[Any, np.dtype[Any]]

SAMPLES = 5
PROBES = 12  # numbers of each owner that are moved
TOLERANCE = 1e-6  # relative to the largest entry of the owner's gradient
EXACT = 1e-10  # the twin differs by the order of sums only
LEAST_LENGTH = 4  # steps more than the model needs, for run-time sizes


@dataclass(frozen=True)
class Verdict:
    """One owner. Errors are relative to the largest entry of its gradient.

    uses: how many parameters read it. probes: numbers moved. verdict: `right`, `wrong`, `kink` (the
    loss has a corner near some probe, as with relu or max, which finite differences cannot cross)
    or `zero` (no loss depends on it here).
    """

    owner: str
    uses: int
    numbers: int
    probes: int
    difference_error: float
    twin_error: float
    verdict: str


def check_gradients(graph: Graph, seed: int = 0) -> list[Verdict]:
    """Checks every trained owner of a checked graph on random data, in float64.

    Raises DataError when the model has no loss.
    """
    if not graph.losses:
        raise DataError("the model declares no loss, so there is nothing to differentiate")
    arrays = random_batch(graph, seed)
    model = Model(graph, Origin({}, {}, "float64", seed), threads=1)
    _move_off_zero(model, seed)
    _, gradients = model.value_and_grad(**arrays)
    twin = _twin_gradients(without_mixtures(graph), model, arrays)
    _add_complexity(graph, model, twin)
    return [
        _verdict(model, name, gradient, twin[name], arrays, seed)
        for name, gradient in gradients.items()
    ]


def random_batch(
    graph: Graph, seed: int, samples: int = SAMPLES, steps: int = LEAST_LENGTH
) -> dict[str, Array]:
    """Arrays that fit the declared types, with run-time lengths that differ between samples.

    steps: by which each is longer than the least at least. Those that only targets have, such as
    sequences of labels, stay short, so that they fit to inputs of any length.
    """
    rng = np.random.default_rng([seed, 1])
    lengths: dict[str, Array] = {}
    data = graph.data.values()
    given = {s for item in data if item.role == "input" for s in item.type.symbols}
    spelt = {s for item in data if item.role == "target" for s in item.type.symbols} - given
    for symbol in sorted(spelt):
        lengths[symbol] = rng.integers(1, 3, samples)
    for value in graph.values.values():
        for size in value.type.shape if value.type else ():
            if isinstance(size, Extent):
                least = size.smallest() + (0 if size.symbol in spelt else steps)
                known = lengths.get(size.symbol)
                if known is None or known.min() < least:
                    lengths[size.symbol] = least + rng.integers(0, 4, samples)
    arrays: dict[str, Array] = {}
    for name, item in graph.data.items():
        if item.role not in ("input", "target"):
            continue
        arrays[name] = _random(item.type, lengths, samples, rng)
        for axis in item.type.run_time_axes:
            size = item.type.shape[axis]
            assert isinstance(size, Extent)
            arrays[f"{name}.length"] = lengths[size.symbol]
    return arrays


def _random(
    kind: Type, lengths: Mapping[str, Array], samples: int, rng: np.random.Generator
) -> Array:
    shape = [
        int(lengths[size.symbol].max()) if isinstance(size, Extent) else size for size in kind.shape
    ]
    if kind.kind == "float":
        return rng.standard_normal((samples, *shape))
    return rng.integers(0, kind.bound, (samples, *shape))


def _move_off_zero(model: Model, seed: int) -> None:
    """Biases start at zero, where relu has its corner for a silent input; so all move a little."""
    rng = np.random.default_rng([seed, 2])
    for name, storage in model.checked.storages.items():
        if storage.trainable:
            numbers = model.numbers.storage(name)
            numbers += 0.05 * rng.standard_normal(numbers.shape)


def untie(graph: Graph) -> Graph:
    """The twin: every parameter owns its numbers, under its own id and without views."""
    params, storages = {}, {}
    for name, param in graph.params.items():
        owner = graph.storages[param.view.storage]
        storages[name] = Storage(
            name, param.shape, param.init, owner.trainable, param.fans, param.span
        )
        params[name] = replace(param, view=View(name))
    return graph.replace(params=params, storages=storages, ties=())


def _twin_gradients(graph: Graph, model: Model, arrays: Mapping[str, Array]) -> dict[str, Array]:
    twin = Model(untie(graph), Origin({}, {}, "float64", model.seed), threads=1)
    parameters = model.parameters
    for name in graph.params:
        twin.numbers.storage(name)[:] = parameters[name].reshape(-1)
    _, gradients = twin.value_and_grad(**arrays)
    return gather_gradients(graph, gradients)


def _add_complexity(graph: Graph, model: Model, gradients: dict[str, Array]) -> None:
    """What soft ties add, from their reference."""
    free = {name: array.reshape(-1) for name, array in model.free.items()}
    for mixture in graph.mixtures.values():
        parts = {part: free[f"{mixture.id}.{part}"] for part in PARTS}
        drawn = [(name, begin, end) for name, runs in mixture.numbers for begin, end in runs]
        w = np.concatenate([free[name][begin:end] for name, begin, end in drawn])
        of_numbers, of_parts = mixture_gradients(mixture.settings, w, parts)
        factor = mixture.settings.strength_at(inf) / model.samples
        for name, begin, end in drawn:
            flat = gradients.setdefault(name, np.zeros(graph.storages[name].shape)).reshape(-1)
            flat[begin:end] += factor * of_numbers[: end - begin]
            of_numbers = of_numbers[end - begin :]
        for part, array in of_parts.items():
            gradients[f"{mixture.id}.{part}"] = factor * array


def _verdict(
    model: Model,
    name: str,
    gradient: Array,
    twin: Array,
    arrays: Mapping[str, Array],
    seed: int,
) -> Verdict:
    uses = sum(param.view.storage == name for param in model.checked.params.values())
    scale = float(np.abs(gradient).max(initial=0.0))
    flat = gradient.reshape(-1)
    rng = np.random.default_rng([seed, 3, flat.size])
    count = min(PROBES, flat.size)
    probes = rng.choice(flat.size, count, replace=False)
    if scale == 0.0 and not np.any(twin):
        return Verdict(name, uses, flat.size, count, 0.0, 0.0, "zero")
    twin_error = float(np.abs(gradient - twin).max()) / scale
    errors, corners = [], 0
    for probe in probes:
        errors.append(abs(_slope(model, name, int(probe), arrays, 1e-5) - flat[probe]) / scale)
        if errors[-1] > TOLERANCE:
            # A corner shows as slopes that differ on both sides however small the step is.
            finer = abs(_slope(model, name, int(probe), arrays, 1e-7) - flat[probe]) / scale
            if finer <= 1e-4:
                corners += 1
                errors.pop()
    worst = max(errors, default=0.0)
    right = worst <= TOLERANCE and twin_error <= EXACT
    verdict = "wrong" if not right else "kink" if corners else "right"
    return Verdict(name, uses, flat.size, count, worst, twin_error, verdict)


def _slope(model: Model, name: str, probe: int, arrays: Mapping[str, Array], step: float) -> float:
    """Central difference of fourth order of the training loss in one free number."""
    numbers = model.numbers.storage(name)
    before = float(numbers[probe])
    values = []
    for move in (-2, -1, 1, 2):
        numbers[probe] = before + move * step
        values.append(model.value_and_grad(**arrays)[0])
    numbers[probe] = before
    far_below, below, above, far_above = values
    return (8 * (above - below) - (far_above - far_below)) / (12 * step)
