"""From a soft-tied model to a small file: clusters, re-tuning, and rounds of fewer numbers.

Each round makes a candidate of what the soft tie has become: its clusters as a codebook, re-tuned
with the ties held, plain numbers rounded. Then the numbers that are not zero are drawn softly
again, to new clusters and a zero component that is wider and stronger each time, so that the next
candidate has fewer. The smallest one within the budget is the result. A soft tie of few components,
which only tells zeros from the rest, gets its clusters in the first round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import frexp, ldexp
from typing import Any

import numpy as np

from tiedgraph.compression.file import Packed, pack
from tiedgraph.diagnostics import DataError, RunError
from tiedgraph.model import Model
from tiedgraph.rewrite.harden import Clusters, find_clusters, harden, thin
from tiedgraph.runtime.data import Data, Stream, load
from tiedgraph.ties.mixture import MixtureSettings

Array = np.ndarray[Any, np.dtype[Any]]

FULL = 4  # bytes of a number that is not compressed, float32
VALUE_BITS = 8  # of a codebook's values
FIRST, GROWTH = 0.25, 2.0  # strength of the first round, as a part of the tie's; and its growth
WIDER = 1.2  # the zero component likewise
FEWEST = 4  # components below which a soft tie has no clusters yet, but a spike and a slab
COMPONENTS = 9
ZERO = 0.3  # proportion of the zero component in a round
PRIOR = 1e5  # alpha of the prior that holds its width
CLUSTERS = (250.0, 30.0)  # alpha of the clusters' prior, and how many widths from 0 to the farthest
FAR = 4.0  # budgets beyond which further rounds are not tried
GOING_ON = 0.3  # part of a round over which the strength stays


@dataclass(frozen=True)
class Candidate:
    """One model that was tried.

    kept: numbers of the soft tie that are not zero. measured: loss and metrics on validation data.
    worse: by how much the metric is worse than before: percentage points, or for a loss percent.
    """

    round: int
    bytes: int
    ratio: float
    kept: int
    clusters: int
    measured: Mapping[str, float]
    worse: float


@dataclass(frozen=True)
class Compression:
    """What came of it.

    model, packed: the smallest candidate within the budget, or the best one where none is.
    numbers: parameters of the model, which the ratio counts with 4 bytes each.
    metric: by which the budget is measured. within: whether the budget was kept.
    """

    model: Model
    packed: Packed
    chosen: Candidate
    candidates: tuple[Candidate, ...]
    before: Mapping[str, float]
    metric: str
    numbers: int
    within: bool


def compress(
    model: Model,
    train: Any,
    validate: Any,
    *,
    tie: str | None = None,
    budget: float = 0.1,
    rounds: int = 4,
    epochs: int = 10,
    retune: int = 5,
    bits: int = 5,
    told: Callable[[Candidate], None] = lambda candidate: None,
) -> Compression:
    """Compresses a model that was trained with a soft tie.

    train, validate: data as `Model.fit` takes it. tie: the soft tie, where there are several.
    budget: how much worse the first metric may get on the validation data, in percentage points;
    for a model without metrics the loss, in percent. rounds: of fewer numbers, with `epochs` epochs
    each; 0 for clusters as they are. retune: epochs with the ties held. bits: plain numbers become
    multiples of 2**-bits. told: called with each candidate.
    Raises RunError where there is no soft tie, DataError for data that does not fit.
    """
    train_data = load(train, model.checked, model.dtype)
    held_out = load(validate, model.checked, model.dtype)
    metric = next((term.name for term in model.checked.metrics), "loss")
    before = model.evaluate(held_out)
    numbers = sum(
        int(np.prod(param.shape))
        for param in model.checked.params.values()
        if param.instance not in model.checked.mixtures
    )
    settings = model.checked.mixtures[find_clusters(model, tie).tie].settings
    found: list[tuple[Candidate, Model, Packed]] = []
    current = model
    first = int(settings.components < FEWEST)
    if first > rounds:
        raise RunError(
            f"soft tie '{find_clusters(model, tie).tie}' has {settings.components} components, too "
            "few for clusters; give it a round to find some"
        )
    for number in range(rounds + 1):
        clusters = find_clusters(current, tie)
        if number < first:
            current = _thinned(current, clusters, settings, 1, train_data, epochs)
            continue
        hard = _hardened(current, clusters, train_data, retune)
        _round(hard, clusters, bits)
        packed, measured = pack(hard), hard.evaluate(held_out)
        size = len(packed.content)
        candidate = Candidate(
            number,
            size,
            FULL * numbers / size,
            clusters.kept,
            int(clusters.values.size),
            measured,
            _worse(model, metric, before, measured),
        )
        found.append((candidate, hard, packed))
        told(candidate)
        if number == rounds or candidate.worse > FAR * max(budget, 0.05):
            break
        current = _thinned(current, clusters, settings, number + 1, train_data, epochs)
    good = [item for item in found if item[0].worse <= budget]
    chosen = (
        min(good, key=lambda item: item[0].bytes)
        if good
        else min(found, key=lambda item: item[0].worse)
    )
    return Compression(
        chosen[1],
        chosen[2],
        chosen[0],
        tuple(item[0] for item in found),
        before,
        metric,
        numbers,
        bool(good),
    )


def _worse(
    model: Model, metric: str, before: Mapping[str, float], after: Mapping[str, float]
) -> float:
    change = 100 * (after[metric] - before[metric])
    if model.larger_is_better(metric):
        change = -change
    return change / abs(before[metric] or 1.0) if metric == "loss" else change


def _hardened(model: Model, clusters: Clusters, data: Data, epochs: int) -> Model:
    """The clusters as a codebook, re-tuned."""
    hard = harden(model, clusters).compiled(model)
    hard.start_from(model.parameters | {name: clusters.numbers(name) for name in clusters.codes})
    if epochs:
        hard.fit(data, epochs=epochs)
    return hard


def _round(model: Model, clusters: Clusters, bits: int) -> None:
    """Few bits for what the file holds as it is: codebook values, and numbers outside the tie."""
    book = next(iter(clusters.codes))
    changed = {}
    for name, array in model.free.items():
        if name == model.checked.params[book].view.storage:
            short = [ldexp(round(ldexp(m, VALUE_BITS)), e - VALUE_BITS)
                     for m, e in map(frexp, array.reshape(-1).tolist())]  # fmt: skip
            changed[name] = np.reshape(short, array.shape)
        elif model.checked.storages[name].trainable:
            # Adding 0 makes -0 a plain zero.
            changed[name] = np.round(array.astype(np.float64) * 2**bits) / 2**bits + 0.0
    model.set(changed)


def _thinned(
    model: Model,
    clusters: Clusters,
    settings: MixtureSettings,
    number: int,
    data: Data,
    epochs: int,
) -> Model:
    """What is not zero, drawn softly again with more strength; trained."""
    parameters = model.parameters
    sizes = np.concatenate(
        [np.abs(parameters[name][code >= 0]) for name, code in clusters.codes.items()]
    )
    far = float(np.quantile(sizes, 0.99))
    reach = min(_reach(model, clusters.tie, settings, far), far / 3) * WIDER ** (number - 1)
    last = settings.strength_at(float("inf")) * FIRST * GROWTH ** (number - 1)
    alpha, widths = CLUSTERS
    entries = {
        "components": COMPONENTS,
        "zero": ZERO,
        "strength": f"ramp({last / 10!r}, {last!r}, epochs={epochs * (1 - GOING_ON)!r})",
        "range": f"[{-far!r}, {far!r}]",
        "zero_precision": f"gamma({PRIOR!r}, {PRIOR * reach**2!r})",
        "precision": f"gamma({alpha!r}, {alpha * (far / widths) ** 2!r})",
        "narrowest": settings.narrowest,
        "mean_rate": settings.mean_rate,
        "precision_rate": settings.precision_rate,
        "proportion_rate": settings.proportion_rate,
    }
    text = ", ".join(f"{name} = {value}" for name, value in entries.items())
    soft = thin(model, clusters, text).compiled(model)
    kept = {n: np.where(code >= 0, parameters[n], 0.0) for n, code in clusters.codes.items()}
    others = {n: a for n, a in parameters.items() if not n.startswith(f"{clusters.tie}.")}
    soft.start_from(others | kept)
    if isinstance(data, Stream):
        raise DataError("rounds need data that can be read again and again; give a file")
    soft.fit(data, epochs=epochs)
    return soft


def _reach(model: Model, tie: str, settings: MixtureSettings, far: float) -> float:
    """The width of the zero component at the start: the one it was held at, or has come to."""
    prior = settings.prior(0)
    if settings.zero is None:
        return far / 20
    if prior is not None:
        return float(np.sqrt(prior.beta / prior.alpha))
    return float(model.mixtures[tie].widths[0])
