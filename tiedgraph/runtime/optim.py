"""Optimisers: one pass over storages, never over parameters, so that a tied number steps once.

Each optimiser is a kernel and the numbers it reads; formulas are those of PyTorch, so that settings
carry over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import cos, isfinite, pi, sqrt
from typing import Any

import numpy as np

from tiedgraph.codegen import kernels
from tiedgraph.diagnostics import RunError
from tiedgraph.ops.rules import Kernel, bits
from tiedgraph.passes.memory import ALIGNMENT
from tiedgraph.passes.settings import (
    Adam,
    AdamW,
    Cosine,
    Optimizer,
    RmsProp,
    Sgd,
    Step,
    TrainSettings,
)
from tiedgraph.runtime import team
from tiedgraph.runtime.program import BLOCK, Numbers, address_of, aligned, split_blocks

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Method:
    """One optimiser.

    slots(settings): how many numbers are kept beside each parameter.
    lines(settings): kernel text that turns w, g and slots s0, s1 into new ones.
    constants(settings, step, rate): vectors that the text reads, by name; step counts from 1. They
      are computed in float64, so that 1 - 0.999 is not the difference of two rounded numbers.
    """

    slots: Callable[[Any], int]
    lines: Callable[[Any], list[str]]
    constants: Callable[[Any, int, float], dict[str, float]]


def _sgd_lines(settings: Sgd) -> list[str]:
    if not settings.momentum:
        return ["w = w - rate * g"]
    ahead = "g + momentum * s0" if settings.nesterov else "s0"
    return ["s0 = momentum * s0 + g", f"w = w - rate * ({ahead})"]


def _sgd_constants(settings: Sgd, step: int, rate: float) -> dict[str, float]:
    return {"rate": rate, "momentum": settings.momentum}


def _adam_constants(settings: Adam, step: int, rate: float) -> dict[str, float]:
    return {
        "kept_mean": settings.beta1,
        "new_mean": 1.0 - settings.beta1,
        "kept_square": settings.beta2,
        "new_square": 1.0 - settings.beta2,
        "rate": rate / (1.0 - settings.beta1**step),
        "unbiased": 1.0 / sqrt(1.0 - settings.beta2**step),
        "epsilon": settings.epsilon,
    }


def _adamw_constants(settings: AdamW, step: int, rate: float) -> dict[str, float]:
    return {**_adam_constants(settings, step, rate), "left": 1.0 - rate * settings.decay}


ADAM_LINES = [
    "s0 = kept_mean * s0 + new_mean * g",
    "s1 = kept_square * s1 + new_square * (g * g)",
    "w = w - rate * s0 / (sqrt(s1) * unbiased + epsilon)",
]


def _rmsprop_lines(settings: RmsProp) -> list[str]:
    start = ["s0 = kept * s0 + new * (g * g)", "move = g / (sqrt(s0) + epsilon)"]
    if settings.momentum:
        return [*start, "s1 = momentum * s1 + move", "w = w - rate * s1"]
    return [*start, "w = w - rate * move"]


def _rmsprop_constants(settings: RmsProp, step: int, rate: float) -> dict[str, float]:
    return {
        "rate": rate,
        "kept": settings.rho,
        "new": 1.0 - settings.rho,
        "momentum": settings.momentum,
        "epsilon": settings.epsilon,
    }


METHODS: dict[type, Method] = {
    Sgd: Method(lambda s: int(bool(s.momentum)), _sgd_lines, _sgd_constants),
    Adam: Method(lambda s: 2, lambda s: ADAM_LINES, _adam_constants),
    AdamW: Method(lambda s: 2, lambda s: ["w = w * left", *ADAM_LINES], _adamw_constants),
    RmsProp: Method(lambda s: 1 + bool(s.momentum), _rmsprop_lines, _rmsprop_constants),
}

MIXTURES = Adam()  # moves the mixtures of soft ties, at rates of their own


@lru_cache
def update_kernel(slots: int, lines: tuple[str, ...], constants: tuple[str, ...]) -> Kernel:
    """One step over begin <= i < end: `parameter` from the summed `gradient` and the slots.

    operand: begin, end, numbers of a slot, then float64 bits: decay, what gradients are multiplied
    by, and the constants.
    """
    names = ("decay", "shrink", *constants)
    text = [
        "def kernel(activation, parameter, gradient, operand):",
        "    begin, end, stride = operand[0], operand[1], operand[2]",
        *(f"    {name} = broadcast(number(operand, {3 + i}))" for i, name in enumerate(names)),
        "    for i in range(begin, end, LANES):",
        "        w = load(parameter, i)",
        "        g = load(gradient, i) * shrink + decay * w",
        *(f"        s{k} = load(activation, {k} * stride + i)" for k in range(slots)),
        *(f"        {line}" for line in lines),
        *(f"        store(activation, {k} * stride + i, s{k})" for k in range(slots)),
        "        store(parameter, i, w)",
    ]
    return Kernel("update", "\n".join(text) + "\n")


# Sums of squares of begin <= i < end, one for each block, so that their sum has the same bits for
# any number of threads.
SQUARES = Kernel(
    "squares",
    f"""def kernel(activation, parameter, gradient, operand):
    begin, end = operand[0], operand[1]
    for block in range(begin, end, {BLOCK}):
        stop = min(block + {BLOCK}, end)
        total = broadcast(0.0)
        for i in range(block, stop, LANES):
            g = load(gradient, i)
            total = total + g * g
        activation[block // {BLOCK}] = sum_lanes(total)
""",
)


def slot_rows(optimizer: Optimizer, mixtures: bool) -> int:
    """How many numbers are kept beside each one; mixtures of soft ties are moved by Adam."""
    return max(1, METHODS[type(optimizer)].slots(optimizer), 2 if mixtures else 0)


class Optimiser:
    """The optimiser of one model and what it keeps: `slots` [slots, numbers], and its steps.

    own_rates: learning rates of the storages that mixtures of soft ties have. These are moved by
    Adam without decay, and their gradients do not count for `clip`.
    """

    def __init__(
        self,
        settings: TrainSettings,
        numbers: Numbers,
        threads: int,
        own_rates: Mapping[str, float] | None = None,
    ) -> None:
        self.settings = settings
        self.numbers = numbers
        self.threads = threads
        self.steps = 0
        self.own_rates = dict(own_rates or {})
        self.stride = numbers.plan.trained
        self.weights = numbers.plan.weights
        count = slot_rows(settings.optimizer, bool(self.own_rates))
        self.slots = aligned(count * self.stride, numbers.dtype).reshape(count, self.stride)
        self._squares = aligned(-(-self.weights // BLOCK), numbers.dtype)

    def step(self, gradient: Array, rate: float, only: Collection[str] | None = None) -> None:
        """Moves all trained storages, or some by name; `gradient` is summed over shards and uses.

        Storages that are frozen or that no loss reaches lie behind the trained ones and stay. The
        rates of mixtures follow the schedule of `rate`.
        Raises RunError, with nothing changed, where the gradient is not finite.
        """
        shrink = self._shrink(gradient)
        chosen = self.settings.optimizer
        for begin, end in self._runs(only):
            self._move(chosen, rate, shrink, self.settings.decay, gradient, begin, end)
        part = rate / chosen.rate if chosen.rate else 1.0
        for name, own in self.own_rates.items():
            region = self.numbers.plan.storages[name]
            end = region.offset + -(-region.size // ALIGNMENT) * ALIGNMENT
            self._move(MIXTURES, own * part, 1.0, 0.0, gradient, region.offset, end)
        self.steps += 1

    def _runs(self, only: Collection[str] | None) -> list[tuple[int, int]]:
        """Where the numbers lie that are to be moved, side by side ones together."""
        if only is None:
            return [(0, self.weights)]
        runs: list[tuple[int, int]] = []
        for name, region in self.numbers.plan.storages.items():
            if name in only and region.offset < self.weights:
                end = region.offset + -(-region.size // ALIGNMENT) * ALIGNMENT
                joins = runs and runs[-1][1] == region.offset
                runs[-1:] = [(runs[-1][0], end)] if joins else [*runs[-1:], (region.offset, end)]
        return runs

    def _move(
        self,
        chosen: Optimizer,
        rate: float,
        shrink: float,
        decay: float,
        gradient: Array,
        begin: int,
        end: int,
    ) -> None:
        method = METHODS[type(chosen)]
        constants = method.constants(chosen, self.steps + 1, rate)
        kernel = update_kernel(method.slots(chosen), tuple(method.lines(chosen)), tuple(constants))
        scalars = [bits(x) for x in (decay, shrink, *constants.values())]
        self._run(kernel, self.slots, gradient, [self.stride, *scalars], begin, end)

    def _run(
        self,
        kernel: Kernel,
        first: Array,
        gradient: Array,
        operands: list[int],
        begin: int,
        end: int,
    ) -> None:
        address = kernels.address(kernel, self.numbers.dtype)
        rows = np.array(
            [[start, stop, *operands] for start, stop in split_blocks(begin, end, self.threads)],
            np.int64,
        )
        places = (address_of(first), address_of(self.numbers.array), address_of(gradient))
        team.run([(address, *places, address_of(row)) for row in rows])

    def _shrink(self, gradient: Array) -> float:
        """What the gradient is multiplied by so that its norm over storages is at most `clip`."""
        self._run(SQUARES, self._squares, gradient, [], 0, self.weights)
        norm = sqrt(float(np.sum(self._squares, dtype=np.float64)))
        others = gradient[self.weights : self.stride]
        if not isfinite(norm) or (others.size and not np.isfinite(others).all()):
            raise RunError(self._not_finite(gradient))
        clip = self.settings.clip
        return clip / norm if clip is not None and norm > clip else 1.0

    def _not_finite(self, gradient: Array) -> str:
        worst = max(
            (
                (float(np.max(np.abs(gradient[r.offset : r.offset + r.size]))), name)
                for name, r in self.numbers.plan.storages.items()
                if r.offset < self.stride and r.size
            ),
            key=lambda found: (not isfinite(found[0]), found[0]),
        )
        return (
            f"the gradient of '{worst[1]}' is {worst[0]:.3g} in step {self.steps}; the parameters "
            "are as before this step. A lower rate or clip = 1 in train { } may help"
        )


def rate_at(
    settings: TrainSettings, step: int, steps_per_epoch: int | None, epochs: int | None = None
) -> float:
    """The learning rate of a step, counted from 0.

    steps_per_epoch: None for single calls, which know no end: then only warm-up changes the rate.
    """
    rate = settings.optimizer.rate
    if settings.warmup:
        rate *= min(1.0, (step + 1) / settings.warmup)
    if steps_per_epoch is None:
        return rate
    schedule = settings.schedule
    if isinstance(schedule, Step):
        return rate * schedule.factor ** (step // steps_per_epoch // schedule.every)
    if isinstance(schedule, Cosine):
        # Loshchilov and Hutter 2017, after the warm-up.
        last = steps_per_epoch * (epochs or settings.epochs) - 1 - settings.warmup
        part = min(1.0, max(0, step - settings.warmup) / max(1, last))
        return rate * (schedule.final + (1.0 - schedule.final) * 0.5 * (1.0 + cos(pi * part)))
    return rate
