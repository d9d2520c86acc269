"""Soft ties: numbers drawn from one Gaussian mixture that is trained at the same time.

Nowlan and Hinton, Simplifying neural networks by soft weight-sharing, Neural Computation 4 (1992),
equations 2 to 6; priors on precisions and a pinned component at zero as in Ullrich, Meeds and
Welling, Soft weight-sharing for neural network compression, ICLR 2017. A mixture of K components
has three vectors of K numbers: `mean`, `log_precision` (precision = 1 / width^2) and `logit`, whose
softmax gives the proportions. With a zero component that is number 0: its mean stays 0.

This is the reference, in float64 NumPy; `tiedgraph.runtime.mixture` runs the same as kernels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, log, pi
from pathlib import Path
from typing import Any

import numpy as np

from tiedgraph.diagnostics import Diagnostics
from tiedgraph.ir.graph import Graph, Tie
from tiedgraph.ops.rules import setting
from tiedgraph.ties.edge import Edge

Array = np.ndarray[Any, np.dtype[Any]]

MEAN, LOG_PRECISION, LOGIT = "mean", "log_precision", "logit"
PARTS = (MEAN, LOG_PRECISION, LOGIT)
WIDEST = 1e6
LEAST_LOGIT = -40.0  # below the largest; e^-40 of the numbers is none
LOG_ROOT_TWO_PI = 0.5 * log(2 * pi)


# ---------------------------------------------------------------- settings


@dataclass(frozen=True)
class Learned:
    """A proportion of the zero component that is trained, under a Beta(alpha, beta) prior."""

    start: float = setting("number", 0.9, minimum=1e-6, maximum=0.999999, doc="first proportion")
    alpha: float = setting("number", 1.0, minimum=1e-6, doc="of the Beta prior; 1 and 1 is none")
    beta: float = setting("number", 1.0, minimum=1e-6, doc="of the Beta prior")


@dataclass(frozen=True)
class Gamma:
    """A Gamma(alpha, beta) prior on a precision, which is drawn to about alpha / beta."""

    alpha: float = setting("number", 250.0, minimum=1e-6, doc="shape")
    beta: float = setting("number", 0.1, minimum=1e-12, doc="rate")


@dataclass(frozen=True)
class Ramp:
    """From `first` to `last` in a straight line over `epochs` epochs, from epoch `after` on."""

    first: float = setting("number", doc="strength up to then")
    last: float = setting("number", doc="strength from the end on")
    epochs: float = setting("number", 10.0, minimum=1e-9, doc="how long it takes")
    after: float = setting("number", 0.0, minimum=0, doc="when it starts, in epochs")


LEARNED: dict[str, type] = {"learned": Learned}
GAMMA: dict[str, type] = {"gamma": Gamma}
RAMP: dict[str, type] = {"ramp": Ramp}


@dataclass(frozen=True)
class MixtureSettings:
    """The entries of `tie soft NAME = ... { }`."""

    components: int = setting("size", 16, doc="Gaussians, the zero component among them")
    zero: float | Learned | None = setting(  # noqa: RUF009
        "number", None, records=LEARNED, minimum=1e-6, maximum=0.999999,
        doc="proportion of a component whose mean stays 0: pinned, or learned(...); none without",
    )  # fmt: skip
    strength: float | Ramp = setting(  # noqa: RUF009
        "number", 0.005, records=RAMP, minimum=0,
        doc="weight of the complexity cost in the loss, or ramp(...) over epochs",
    )  # fmt: skip
    range: tuple[float, float] | None = setting(
        "interval", None, doc="where the means start, evenly; by default from least to largest"
    )
    width: float | None = setting(
        "number", None, minimum=1e-9, doc="first width (standard deviation); range / 5 by default"
    )
    precision: Gamma | None = field(
        default=None, metadata={"records": GAMMA, "doc": "prior on precisions; none by default"}
    )
    zero_precision: Gamma | None = field(
        default=None,
        metadata={"records": GAMMA, "doc": "the zero component's prior; `precision` by default"},
    )
    mean_rate: float = setting("number", 1e-4, minimum=0, doc="learning rate of means (Adam)")
    precision_rate: float = setting("number", 3e-3, minimum=0, doc="of log-precisions")
    proportion_rate: float = setting("number", 3e-3, minimum=0, doc="of mixing logits")
    narrowest: float = setting("number", 1e-3, minimum=1e-6, doc="least width of a component")
    method: str = setting(
        "word", "auto", words=("auto", "exact", "table"), doc="how the cost is computed"
    )

    def rates(self) -> dict[str, float]:
        """Learning rates by part."""
        return {
            MEAN: self.mean_rate,
            LOG_PRECISION: self.precision_rate,
            LOGIT: self.proportion_rate,
        }

    def strength_at(self, epoch: float) -> float:
        """The strength after so many epochs; `inf` answers the last."""
        if not isinstance(self.strength, Ramp):
            return self.strength
        ramp = self.strength
        part = min(1.0, max(0.0, (epoch - ramp.after) / ramp.epochs))
        return ramp.last if part == 1.0 else ramp.first + part * (ramp.last - ramp.first)

    def prior(self, component: int) -> Gamma | None:
        """The prior on one component's precision."""
        if self.zero is not None and component == 0:
            return self.zero_precision or self.precision
        return self.precision


def soft_edges(graph: Graph, tie: Tie, diagnostics: Diagnostics, root: Path | None) -> list[Edge]:
    """None: numbers that are drawn from one mixture stay numbers of their own."""
    return []


# ---------------------------------------------------------------- the mixture's own numbers


def start(settings: MixtureSettings, numbers: Array) -> dict[str, Array]:
    """The first `mean`, `log_precision` and `logit` [K], for numbers [N] as they are now."""
    low, high = settings.range or (float(numbers.min()), float(numbers.max()))
    pinned = int(settings.zero is not None)
    free = settings.components - pinned
    width = settings.width or (high - low) / 5
    mean = np.zeros(settings.components)
    if free > 1:
        mean[pinned:] = np.linspace(low, high, free)
    elif settings.range is None:
        mean[pinned:] = numbers.mean()
        width = settings.width or float(numbers.std())
    else:
        mean[pinned:] = (low + high) / 2
    width = min(max(width, settings.narrowest), WIDEST)
    logit = np.zeros(settings.components)
    if isinstance(settings.zero, Learned):
        logit[0] = log(settings.zero.start / (1 - settings.zero.start)) + log(max(1, free))
    return {
        MEAN: mean,
        LOG_PRECISION: np.full(settings.components, -2 * log(width)),
        LOGIT: logit,
    }


def clipped(settings: MixtureSettings, log_precision: Array, logit: Array) -> tuple[Array, Array]:
    """Both within their bounds: no width below `narrowest`, no proportion that underflows."""
    bounded = np.clip(log_precision, -2 * log(WIDEST), -2 * log(settings.narrowest))
    return bounded, np.maximum(logit, logit.max() + LEAST_LOGIT)


def pinned(settings: MixtureSettings, parts: dict[str, Array]) -> dict[str, Array]:
    """The parts with the mean of the zero component, if there is one, at 0."""
    if settings.zero is None:
        return parts
    mean = np.array(parts[MEAN])
    mean[0] = 0.0
    return {**parts, MEAN: mean}


def log_proportions(settings: MixtureSettings, logit: Array) -> Array:
    """Logarithms of the mixing proportions [K]."""
    if settings.zero is None or isinstance(settings.zero, Learned):
        return _log_softmax(logit)
    rest = _log_softmax(logit[1:]) + log(1 - settings.zero)
    return np.concatenate([[log(settings.zero)], rest])


def _log_softmax(x: Array) -> Array:
    top = x.max()
    return np.asarray(x - top - np.log(np.exp(x - top).sum()), np.float64)


# ---------------------------------------------------------------- the density


def log_terms(w: Array, mean: Array, log_precision: Array, log_proportion: Array) -> Array:
    """log pi_j N(w_i | mu_j, 1 / lambda_j), [N, K]."""
    away = np.asarray(w, np.float64).reshape(-1, 1) - mean
    level = log_proportion + 0.5 * log_precision - LOG_ROOT_TWO_PI
    return np.asarray(level - 0.5 * np.exp(log_precision) * away**2)


def log_density(w: Array, mean: Array, log_precision: Array, log_proportion: Array) -> Array:
    """log sum_j pi_j N(w_i | mu_j, 1 / lambda_j), [N]."""
    terms = log_terms(w, mean, log_precision, log_proportion)
    top = terms.max(axis=1)
    return np.asarray(top + np.log(np.exp(terms - top[:, None]).sum(axis=1)))


def responsibilities(w: Array, mean: Array, log_precision: Array, log_proportion: Array) -> Array:
    """How far each component accounts for each number, [N, K]; rows sum to 1."""
    terms = log_terms(w, mean, log_precision, log_proportion)
    parts = np.exp(terms - terms.max(axis=1, keepdims=True))
    return np.asarray(parts / parts.sum(axis=1, keepdims=True))


def assigned(w: Array, mean: Array, log_precision: Array, log_proportion: Array) -> Array:
    """The component most responsible for each number, [N]; found in logarithms."""
    return np.asarray(log_terms(w, mean, log_precision, log_proportion).argmax(axis=1))


# ---------------------------------------------------------------- cost and gradients


@dataclass(frozen=True)
class Sums:
    """What one pass over the numbers leaves, each [K]; r are responsibilities.

    held: sum of r; away: sum of r (w - mu); spread: sum of r (w - mu)^2. Centred, so that nothing
    cancels where a component is narrow and far from 0.
    """

    held: Array
    away: Array
    spread: Array


def cost(settings: MixtureSettings, w: Array, parts: dict[str, Array]) -> float:
    """The complexity of the numbers under the mixture, and its priors."""
    parts = pinned(settings, parts)
    logs = log_proportions(settings, parts[LOGIT])
    density = log_density(w, parts[MEAN], parts[LOG_PRECISION], logs)
    return float(-density.sum()) + prior_cost(settings, parts)


def prior_cost(settings: MixtureSettings, parts: dict[str, Array]) -> float:
    """Gamma priors on precisions and the Beta prior on a learned proportion, without constants."""
    total = 0.0
    for component, gamma in enumerate(parts[LOG_PRECISION]):
        prior = settings.prior(component)
        if prior is not None:
            total += (1 - prior.alpha) * float(gamma) + prior.beta * exp(float(gamma))
    if isinstance(settings.zero, Learned):
        share = float(log_proportions(settings, parts[LOGIT])[0])
        total -= (settings.zero.alpha - 1) * share
        total -= (settings.zero.beta - 1) * log(max(-np.expm1(share), 1e-300))
    return total


def gradients(
    settings: MixtureSettings, w: Array, parts: dict[str, Array]
) -> tuple[Array, dict[str, Array]]:
    """Gradients of `cost`: of the numbers [N], and of the mixture's parts."""
    mean, gamma = pinned(settings, parts)[MEAN], parts[LOG_PRECISION]
    r = responsibilities(w, mean, gamma, log_proportions(settings, parts[LOGIT]))
    away = np.asarray(w, np.float64).reshape(-1, 1) - mean
    sums = Sums(r.sum(axis=0), (r * away).sum(axis=0), (r * away**2).sum(axis=0))
    return (r * np.exp(gamma) * away).sum(axis=1), part_gradients(settings, sums, parts)


def part_gradients(
    settings: MixtureSettings, sums: Sums, parts: dict[str, Array]
) -> dict[str, Array]:
    """Gradients of `cost` with respect to the mixture's parts, from sums over the numbers."""
    precision = np.exp(parts[LOG_PRECISION])
    mean = -precision * sums.away
    gamma = 0.5 * (precision * sums.spread - sums.held)
    for component in range(settings.components):
        prior = settings.prior(component)
        if prior is not None:
            gamma[component] += (1 - prior.alpha) + prior.beta * precision[component]
    proportion = np.exp(log_proportions(settings, parts[LOGIT]))
    if settings.zero is None or isinstance(settings.zero, Learned):
        logit = proportion * sums.held.sum() - sums.held
    else:
        rest = proportion[1:] / (1 - settings.zero)
        logit = np.concatenate([[0.0], rest * sums.held[1:].sum() - sums.held[1:]])
    if isinstance(settings.zero, Learned):
        share = proportion[0]
        pull = (settings.zero.alpha - 1) - (settings.zero.beta - 1) * share / max(1 - share, 1e-12)
        logit = logit - pull * ((np.arange(settings.components) == 0) - proportion)
    if settings.zero is not None:
        mean[0] = 0.0
    return {MEAN: mean, LOG_PRECISION: gamma, LOGIT: logit}
