"""Optimisers: one pass over storages, never over parameters, so that a tied number steps once.

Each optimiser is a kernel and the numbers it reads; formulas are those of PyTorch, so that settings
carry over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import cos, pi, sqrt
from typing import Any

import numpy as np

from tiedgraph.codegen import kernels
from tiedgraph.ops.rules import Kernel, bits
from tiedgraph.passes.settings import (
    Adam,
    AdamW,
    Cosine,
    RmsProp,
    Sgd,
    Step,
    TrainSettings,
)
from tiedgraph.runtime import team
from tiedgraph.runtime.program import Numbers, aligned, split_blocks

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Method:
    """One optimiser.

    slots(settings): numbers kept beside each parameter.
    lines: kernel text that turns w, g and slots s0, s1 into new ones; constants are a, b, c, d and
      rate, as vectors.
    constants(settings, step, rate, decay): a, b, c, d; step counts from 1.
    coupled: whether `decay` is added to the gradient (else the text does it).
    """

    slots: Callable[[Any], int]
    lines: Callable[[Any], list[str]]
    constants: Callable[[Any, int, float], tuple[float, ...]]


def _sgd_lines(settings: Sgd) -> list[str]:
    if not settings.momentum:
        return ["w = w - rate * g"]
    ahead = "g + a * s0" if settings.nesterov else "s0"
    return ["s0 = a * s0 + g", f"w = w - rate * ({ahead})"]


def _adam_constants(settings: Adam, step: int, rate: float) -> tuple[float, ...]:
    first = rate / (1.0 - settings.beta1**step)
    second = 1.0 / sqrt(1.0 - settings.beta2**step)
    return settings.beta1, settings.beta2, first, second, settings.epsilon


ADAM_LINES = [
    "s0 = a * s0 + (1.0 - a) * g",
    "s1 = b * s1 + (1.0 - b) * (g * g)",
    "w = w - c * s0 / (sqrt(s1) * d + e)",
]


def _rmsprop_lines(settings: RmsProp) -> list[str]:
    start = ["s0 = a * s0 + (1.0 - a) * (g * g)"]
    if settings.momentum:
        return [*start, "s1 = b * s1 + g / (sqrt(s0) + c)", "w = w - rate * s1"]
    return [*start, "w = w - rate * (g / (sqrt(s0) + c))"]


METHODS: dict[type, Method] = {
    Sgd: Method(
        lambda s: int(bool(s.momentum)), _sgd_lines, lambda s, step, rate: (s.momentum,)
    ),
    Adam: Method(lambda s: 2, lambda s: ADAM_LINES, _adam_constants),
    AdamW: Method(
        lambda s: 2,
        lambda s: ["w = w * f", *ADAM_LINES],
        lambda s, step, rate: (*_adam_constants(s, step, rate), 1.0 - rate * s.decay),
    ),
    RmsProp: Method(
        lambda s: 1 + bool(s.momentum),
        _rmsprop_lines,
        lambda s, step, rate: (s.rho, s.momentum, s.epsilon),
    ),
}

CONSTANTS = "abcdef"


@lru_cache
def update_kernel(slots: int, lines: tuple[str, ...], constants: int) -> Kernel:
    """One step over begin <= i < end: `parameter` from the summed `gradient` and the slots."""
    text = [
        "def kernel(activation, parameter, gradient, operand):",
        "    begin, end, stride = operand[0], operand[1], operand[2]",
        "    rate = broadcast(number(operand, 3))",
        "    decay = broadcast(number(operand, 4))",
        "    shrink = broadcast(number(operand, 5))",
        *(f"    {CONSTANTS[i]} = broadcast(number(operand, {6 + i}))" for i in range(constants)),
        "    for i in range(begin, end, LANES):",
        "        w = load(parameter, i)",
        "        g = load(gradient, i) * shrink + decay * w",
        *(f"        s{k} = load(activation, {k} * stride + i)" for k in range(slots)),
        *(f"        {line}" for line in lines),
        *(f"        store(activation, {k} * stride + i, s{k})" for k in range(slots)),
        "        store(parameter, i, w)",
    ]
    return Kernel("update", "\n".join(text) + "\n")


class Optimiser:
    """The optimiser of one model with what it keeps: `slots` [slots, numbers] and its step count."""

    def __init__(self, settings: TrainSettings, numbers: Numbers, threads: int) -> None:
        self.settings = settings
        self.numbers = numbers
        self.threads = threads
        self.steps = 0
        self.method = METHODS[type(settings.optimizer)]
        count = self.method.slots(settings.optimizer)
        self.stride = numbers.plan.trained
        self.slots = aligned(max(1, count) * self.stride, numbers.dtype).reshape(-1, self.stride)

    def step(self, gradient: Array, rate: float) -> None:
        """Moves all trained storages; `gradient` is summed over shards and uses.

        Storages that are frozen or that no loss reaches lie behind the trained ones and stay.
        """
        self.steps += 1
        chosen = self.settings.optimizer
        constants = self.method.constants(chosen, self.steps, rate)
        kernel = update_kernel(
            self.method.slots(chosen), tuple(self.method.lines(chosen)), len(constants)
        )
        (address,) = kernels.addresses([kernel], self.numbers.dtype)
        operands = [
            np.array(
                [first, last, self.stride]
                + [bits(x) for x in (rate, self.settings.decay, self._shrink(gradient), *constants)],
                np.int64,
            )
            for first, last in split_blocks(0, self.stride, self.threads)
        ]
        team.run(
            [
                (
                    address,
                    self.slots.ctypes.data,
                    self.numbers.array.ctypes.data,
                    gradient.ctypes.data,
                    operand.ctypes.data,
                )
                for operand in operands
            ]
        )

    def _shrink(self, gradient: Array) -> float:
        """What the gradient is multiplied by so that its norm over storages is at most `clip`."""
        clip = self.settings.clip
        if clip is None:
            return 1.0
        norm = float(np.sqrt(np.sum(np.square(gradient[: self.stride], dtype=np.float64))))
        return clip / norm if norm > clip else 1.0


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
        total = steps_per_epoch * (epochs or settings.epochs)
        part = min(1.0, step / max(1, total - 1))
        return rate * (schedule.final + (1.0 - schedule.final) * 0.5 * (1.0 + cos(pi * part)))
    return rate
