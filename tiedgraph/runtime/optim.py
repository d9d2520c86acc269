"""Optimisers: one pass over storages, never over parameters, so that a tied number steps once.

Each optimiser is a kernel and the numbers it reads; formulas are those of PyTorch, so that settings
carry over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import cos, inf, isfinite, pi, sqrt
from typing import Any

import numpy as np

from tiedgraph.codegen import kernels
from tiedgraph.diagnostics import RunError
from tiedgraph.ops.rules import Kernel
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
    steady: whether these are the same in every step of one rate.
    """

    slots: Callable[[Any], int]
    lines: Callable[[Any], list[str]]
    constants: Callable[[Any, int, float], dict[str, float]]
    steady: bool = False


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
    Sgd: Method(lambda s: int(bool(s.momentum)), _sgd_lines, _sgd_constants, steady=True),
    Adam: Method(lambda s: 2, lambda s: ADAM_LINES, _adam_constants),
    AdamW: Method(lambda s: 2, lambda s: ["w = w * left", *ADAM_LINES], _adamw_constants),
    RmsProp: Method(lambda s: 1 + bool(s.momentum), _rmsprop_lines, _rmsprop_constants),
}

MIXTURES = Adam()  # moves the mixtures of soft ties, at rates of their own


@lru_cache
def update_kernel(slots: int, lines: tuple[str, ...], constants: tuple[str, ...]) -> Kernel:
    """One step over begin <= i < end: `parameter` from the summed `gradient` and the slots.

    operand: begin, end, numbers of a slot, and where these lie: decay, what gradients are
    multiplied by, and the constants.
    """
    names = ("decay", "shrink", *constants)
    text = [
        "def kernel(activation, parameter, gradient, operand):",
        "    begin, end, stride = operand[0], operand[1], operand[2]",
        "    constants = address(operand[3])",
        *(f"    {name} = broadcast(constants[{i}])" for i, name in enumerate(names)),
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


# Whether the optimiser may move, and how far: the norm from the sums of squares in `activation`,
# and whether all of `gradient` is finite where it must be.
JUDGING = (
    "blocks",  # sums of squares
    "begin",  # of gradients that count for no norm
    "end",
    "losses",  # address of where losses lie
    "loss_count",
    "limit",  # address of the largest norm
    "shrink",  # address of where to write what gradients are multiplied by
    "gate",  # address of a number that is 1 afterwards where something is not finite
)
JUDGE = Kernel(
    "judge",
    """def kernel(activation, parameter, gradient, operand):
    total = 0.0
    for i in range(operand[0]):
        total += activation[i]
    norm = square_root(total)
    odd = total - total
    for i in range(operand[1], operand[2]):
        odd += gradient[i] - gradient[i]
    losses = integers(operand[3])
    for i in range(operand[4]):
        odd += gradient[losses[i]] - gradient[losses[i]]
    limit = address(operand[5])
    shrink = address(operand[6])
    shrink[0] = 1.0
    if norm > limit[0]:
        shrink[0] = limit[0] / norm
    gate = integers(operand[7])
    gate[0] = 0
    if odd != 0.0:
        gate[0] = 1
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
        self.gate = np.zeros(1, np.int64)
        # What kernels read: the largest norm; of each optimiser decay, factor and constants.
        self._limit = np.array([inf if settings.clip is None else settings.clip], numbers.dtype)
        self._constants = {
            name: np.ones(2 + len(method.constants(chosen, 1, 1.0)), numbers.dtype)
            for name, chosen, method in self._movers()
        }
        self.key: Any = None
        # What the constants were made of; some do not change from step to step.
        self._told: tuple[float, int] | None = None
        self._steady = all(method.steady for _, _, method in self._movers())
        self._only: Collection[str] | None = None

    def _movers(self) -> list[tuple[str, Optimizer, Method]]:
        """The optimiser of the model's numbers, by no name, and those of mixtures' storages."""
        chosen = self.settings.optimizer
        own = [(name, MIXTURES, METHODS[Adam]) for name in self.own_rates]
        return [("", chosen, METHODS[type(chosen)]), *own]

    def set(self, rate: float, only: Collection[str] | None = None) -> None:
        """Readies the next step: its rate, and the storages that it moves, or all.

        Storages that are frozen or that no loss reaches lie behind the trained ones and stay. The
        rates of mixtures follow the schedule of `rate`.
        """
        self._only = only
        self.key = None if only is None else frozenset(only)
        told = (rate, 0 if self._steady else self.steps)
        if told == self._told:
            return
        self._told = told
        base = self.settings.optimizer.rate
        part = rate / base if base else 1.0
        for name, chosen, method in self._movers():
            own = self.own_rates[name] * part if name else rate
            constants = method.constants(chosen, self.steps + 1, own)
            decay = 0.0 if name else self.settings.decay
            self._constants[name][:] = (decay, 1.0, *constants.values())

    def phases(
        self, total: Array, losses: Sequence[int], kept: list[Array]
    ) -> list[list[team.Job]]:
        """The jobs of a step: `total` holds the summed gradients, and losses at some places.

        The arrays that the jobs read are added to `kept`.
        """
        places = np.array(losses, np.int64)
        told = {
            "blocks": len(self._squares),
            "begin": self.weights,
            "end": self.stride,
            "losses": address_of(places),
            "loss_count": len(places),
            "limit": address_of(self._limit),
            "shrink": address_of(self._constants[""][1:]),
            "gate": address_of(self.gate),
        }
        row = np.array([told[name] for name in JUDGING], np.int64)
        squares, gradient = address_of(self._squares), address_of(total)
        kept += [places, row]
        judge = kernels.address(JUDGE, self.numbers.dtype)
        found = [
            self._split(SQUARES, squares, gradient, [], 0, self.weights, kept),
            [team.Job(judge, squares, 0, gradient, address_of(row))],
        ]
        slots = address_of(self.slots)
        for name, chosen, method in self._movers():
            constants = self._constants[name]
            kernel = update_kernel(
                method.slots(chosen),
                tuple(method.lines(chosen)),
                tuple(method.constants(chosen, 1, 1.0)),
            )
            operands = [self.stride, address_of(constants)]
            for begin, end in [self._region(name)] if name else self._runs(self._only):
                found.append(self._split(kernel, slots, gradient, operands, begin, end, kept))
        return found

    def step(self, gradient: Array) -> None:
        """Moves what `set` told; `gradient` is summed over shards and uses.

        Raises RunError, with nothing changed, where the gradient is not finite.
        """
        kept: list[Array] = []
        team.run(team.Work(self.phases(gradient, (), kept), self.gate, self.threads))
        self.finish(gradient)

    def finish(self, gradient: Array) -> None:
        """After the jobs ran: counts the step. Raises RunError where the gate forbade it."""
        if self.gate[0]:
            raise RunError(self._not_finite(gradient))
        self.steps += 1

    def _runs(self, only: Collection[str] | None) -> list[tuple[int, int]]:
        """Where the numbers lie that are to be moved, side by side ones together."""
        if only is None:
            return [(0, self.weights)]
        runs: list[tuple[int, int]] = []
        for name, region in self.numbers.plan.storages.items():
            if name in only and region.offset < self.weights:
                begin, end = self._region(name)
                joins = runs and runs[-1][1] == begin
                runs[-1:] = [(runs[-1][0], end)] if joins else [*runs[-1:], (begin, end)]
        return runs

    def _region(self, name: str) -> tuple[int, int]:
        """Where a storage lies, in whole vectors."""
        region = self.numbers.plan.storages[name]
        return region.offset, region.offset + -(-region.size // ALIGNMENT) * ALIGNMENT

    def _split(
        self,
        kernel: Kernel,
        first: int,
        gradient: int,
        operands: list[int],
        begin: int,
        end: int,
        kept: list[Array],
    ) -> list[team.Job]:
        """One kernel over a stretch of numbers, by the threads."""
        entry = kernels.address(kernel, self.numbers.dtype)
        cuts = split_blocks(begin, end, self.threads)
        rows = np.array([[start, stop, *operands] for start, stop in cuts], np.int64)
        kept.append(rows)
        numbers = address_of(self.numbers.array)
        return [team.Job(entry, first, numbers, gradient, address_of(row)) for row in rows]

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
