"""What an op is: one record that the checker, the oracle, the kernels and the docs all read."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import MISSING, dataclass, field
from struct import Struct
from typing import Any, Literal

import numpy as np

from tiedgraph.ir.graph import Init
from tiedgraph.ir.types import Extent, Type
from tiedgraph.lanes.machine import Registers

Array = np.ndarray[Any, np.dtype[Any]]
Category = Literal["layer", "function", "arithmetic", "loss", "metric", "internal"]
SettingKind = Literal[
    "size",
    "sizes",
    "integer",
    "number",
    "interval",
    "flag",
    "word",
    "pad",
    "axis",
    "shape",
    "string",
]


# ---------------------------------------------------------------- settings of an op


def setting(
    kind: SettingKind,
    default: Any = MISSING,
    *,
    rank: int = 0,
    words: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    records: Mapping[str, type] | None = None,
    doc: str = "",
) -> Any:
    """A field of an op's `Attrs` that users may write, by position or by name.

    kind: what is accepted, and what the field then holds:
      size: a positive integer; sizes: `rank` positive integers, or one for all -> tuple;
      integer: any integer; number: a float; flag: true or false; string: a text;
      interval: a list of two numbers, the lower first -> tuple;
      word: one of `words`;
      pad: a non-negative integer, `rank` of them, `same` or `causal` -> tuple or word;
      axis: an integer or the name of a run-time size, or a list of them -> int | str | tuple;
      shape: a list of integers and names of run-time sizes -> tuple.
    minimum, maximum: inclusive bounds of numbers.
    records: what may stand in its place, such as `ramp(0, 1)`: classes like `Attrs`, by name.
    """
    about = {
        "kind": kind,
        "rank": rank,
        "words": words,
        "minimum": minimum,
        "maximum": maximum,
        "records": records or {},
        "doc": doc,
    }
    if default is MISSING:
        return field(metadata=about)
    return field(default=default, metadata=about)


def hidden(default: Any) -> Any:
    """A field of `Attrs` that users cannot write; passes fill it in."""
    return field(default=default, metadata={"kind": None})


@dataclass(frozen=True)
class NoAttrs:
    """For ops without settings."""


class OpError(Exception):
    """Raised by `settle`, `shape` and `params` of an op; the pass makes a diagnostic of it.

    code: E0301 (shapes), E0302 (types), E0303 (sizes), E0304 (run-time lengths), E0204 (settings).
    argument: which input (int) or setting (str) is at fault, for the underline; None for the call.
    """

    def __init__(
        self, code: str, message: str, *, hint: str = "", argument: int | str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.argument = argument


# ---------------------------------------------------------------- what an op declares


DEFAULT_INIT = Init("default")


@dataclass(frozen=True)
class ParamSpec:
    """A parameter of a layer. `init.name == "default"` lets the following function decide:

    Glorot uniform before tanh, sigmoid and softmax or nothing, He normal before relu and gelu.
    instance: path of the instance that it belongs to, where that is not the node's.
    """

    name: str
    shape: tuple[int, ...]
    init: Init = DEFAULT_INIT
    trainable: bool = True
    fans: tuple[int, int] = (1, 1)
    instance: str = ""


@dataclass(frozen=True)
class Implicit:
    """Data that the runtime makes for an op; appended to the node's inputs in this order.

    lengths: valid extent of each sample along `extent`, a number a sample.
    step_weight: N / (valid steps of the whole batch, multiplied over `extents`), for losses per
      step, so that the mean over the batch of the summed losses is the mean over valid steps.
    weight: 1 / N for each real sample, 0 for the padding samples of the last tile.
    key: a random integer below 2**24 a sample, new in each step; distinct for each node.
    """

    role: Literal["lengths", "step_weight", "weight", "key"]
    extents: tuple[Extent, ...] = ()


@dataclass(frozen=True)
class Kernel:
    """Text of one kernel, `def kernel(activation, parameter, gradient, operand): ...`.

    The text is of the language of `tiedgraph.lanes.text` and may use the names that `vector.names`
    and `math.names` there give; it does not depend on the dtype, which the names hide. `operand` is
    a row of 64-bit integers: offsets (in numbers, lanes included) and extents.
    """

    name: str
    source: str


@dataclass(frozen=True)
class Buffer:
    """Where a tile's value lies: `activation[offset + (row-major index) * LANES + lane]`."""

    offset: int
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class ParamBuffer:
    """Where a parameter lies, in `parameter` and at the same place in `gradient`.

    strides are in numbers and may be negative or zero-free of order: a tied parameter is read
    through its view. `trainable` is False where no gradient is wanted (frozen).
    """

    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    trainable: bool = True


class Emitter(ABC):
    """Given to `emit` and `emit_backward`: addresses of this node's data, and the tape to write.

    All shapes are numbers here: run-time sizes are bound before emission.
    lanes: samples of a tile. Where it is 1, a value is a plain array, and kernels may be called
      with wider vectors along an axis that lies in order: of `widths` numbers, the widest first.
    registers: the processor's, which the sums of a kernel should fit.
    parts: 2 where a tile may be alone and two threads could share its rows (`branch`); else, and
      within a branch, 1.
    """

    attrs: Any
    lanes: int
    widths: tuple[int, ...]
    registers: Registers
    parts: int
    epilogue: tuple[str, ...]

    @abstractmethod
    def input(self, i: int) -> Buffer:
        """The i-th input, implicit ones after the declared."""

    @abstractmethod
    def output(self) -> Buffer: ...

    @abstractmethod
    def grad_output(self) -> Buffer: ...

    @abstractmethod
    def grad_input(self, i: int) -> tuple[Buffer, bool] | None:
        """Gradient of the i-th declared input and whether to add to it (else write all of it).

        None where nobody needs it.
        """

    @abstractmethod
    def param(self, i: int) -> ParamBuffer: ...

    @abstractmethod
    def turned(self, i: int, order: tuple[int, ...]) -> ParamBuffer:
        """A copy of the i-th parameter whose axes lie in this order, the last one side by side.

        All tiles read the same one, made anew before each walk over the tape. No gradient goes to
        it; shape and strides name the axes as the parameter does.
        """

    @abstractmethod
    def scratch(self, elements: int) -> Buffer:
        """Memory of this tile for `elements` lane vectors, valid until this node's last row."""

    @abstractmethod
    def kept(self) -> Buffer:
        """Memory of this tile for as many lane vectors as the op `keeps`; forwards and backwards
        the same."""

    @abstractmethod
    def statistic(self, name: str, count: int) -> int:
        """Offset of `count` numbers of this node, in `gradient` (each shard adds to its own) and in
        `parameter` (where a `once` row leaves the total). The same name gives the same place,
        forwards and backwards. Zero at the start of each step."""

    @abstractmethod
    def sum_statistic(self, name: str, count: int) -> None:
        """A barrier: all tiles reach this row, then the shards' sums go to `parameter`."""

    @abstractmethod
    def branch(self, number: int) -> AbstractContextManager[None]:
        """Rows written inside, of branch 1 or 2, do not depend on those of the other branch.

        Both follow each other, with no row between. A branch within another is part of it.
        """

    @abstractmethod
    def call(
        self,
        kernel: Kernel,
        *operands: int,
        once: bool = False,
        update: bool = False,
        lanes: int | None = None,
    ) -> None:
        """One row of the tape.

        once: run by one thread after all tiles came here (a barrier; no `activation`).
        update: only in training steps (such as running means), not in `value_and_grad`.
        lanes: of the kernel's vectors, where they are not samples (`widths`).
        """


def split(count: int, tiles: Sequence[int]) -> list[tuple[int, int, int]]:
    """Cuts `count` into stretches (first, length, tile), each length a multiple of its tile.

    Larger tiles come first; the last of `tiles` must be 1.
    """
    stretches, first = [], 0
    for tile in tiles:
        length = (count - first) // tile * tile
        if length:
            stretches.append((first, length, tile))
            first += length
    return stretches


def pieces(count: int, widths: Sequence[int]) -> list[tuple[int, int, int]]:
    """Cuts `count` numbers that lie in order into (first, vectors, width), as `split` does."""
    return [(first, length // width, width) for first, length, width in split(count, widths)]


def along(emitter: Emitter, count: int) -> list[tuple[int, int, int]]:
    """The vectors of `count` numbers of a value: (first, vectors, width)."""
    if emitter.lanes > 1:
        return [(0, count, emitter.lanes)]
    return pieces(count, (emitter.widths[0], 1))


def each_number(
    emitter: Emitter, kernel: Kernel, places: Sequence[int], count: int, *rest: int
) -> None:
    """Rows of a kernel that does the same to each of `count` vectors at the places.

    Its operands are the places, the count and the rest.
    """
    for first, vectors, width in along(emitter, count):
        emitter.call(kernel, *(at + first for at in places), vectors, *rest, lanes=width)


_FLOAT, _INTEGER = Struct("d"), Struct("q")


def bits(number: float) -> int:
    """The 64 bits of a float as an integer operand; kernels read it with `number(operand, i)`."""
    found: int = _INTEGER.unpack(_FLOAT.pack(number))[0]
    return found


def put(value: str, target: str) -> tuple[str, ...]:
    """Lines of kernel text that write a variable at `target + at`, or add it, as `add` says."""
    return (
        "if add:",
        f"    {value} = {value} + load(activation, {target} + at)",
        f"store(activation, {target} + at, {value})",
    )


def called(text: str) -> tuple[str, ...]:
    """Names that kernel text calls, as often as it does."""
    return tuple(re.findall(r"\b(\w+)\(", text))


Shape = Callable[[Any, Sequence[Type]], Type]
Forward = Callable[[Any, Sequence[Array], Sequence[Array]], Array]
Backward = Callable[
    [Any, Sequence[Array], Sequence[Array], Array, Array],
    tuple[Sequence[Array | None], Sequence[Array | None]],
]


@dataclass(frozen=True)
class Op:
    """One op.

    name: as users write it (`spelling` where two records share a word, such as metric mse).
    doc: what it computes, with its equation and source; the first line is a summary.
    inputs: names of its inputs; a last one ending in `*` takes any number of values.
    kinds: for each input the accepted kinds of `Type` ("float", "index", "class"), default float.
    Attrs: frozen dataclass of settings, in the order they may be given by position.
    settle(attrs, types): attrs made definite (axes as integers >= 0); may raise OpError.
    shape(attrs, types): the output's type; may raise OpError.
    params(attrs, types): the parameters; members of node.params in this order.
    parametric(attrs): whether there are any, where that depends on the settings; None if always.
    implicit(attrs, types): data the runtime must make.
    forward(attrs, inputs, params): the oracle, in NumPy, for ONE sample without padding: every
      array has the sample's own shape; implicit inputs come as 0-d arrays.
    backward(attrs, inputs, params, output, grad_output): gradients of inputs and of params, None
      where there is none (labels). The oracle's; checked by finite differences.
    batch: forward and backward take lists over the samples instead: inputs[i][n], grad_output[n],
      and forward returns a list (for batch statistics).
    saves: what the backward kernels read again: "inputs", "output".
    emit, emit_backward: write rows on the tape.
    alias: the output is the input's memory under another shape (no rows at all).
    epilogue: emit honours `Emitter.epilogue` (pointwise functions applied before the store).
    pointwise: for a unary pointwise op, kernel text of value and derivative, see pointwise.py.
    padding: what invalid steps of its inputs must hold: None if it does not matter (nothing of an
      invalid step reaches a valid one, and zero gradients stay zero), 0.0 for layers that read
      past the end, 1.0 where zeros or garbage could make NaN (log, division). A pass masks.
    inference(attrs): attrs for evaluation and prediction (dropout off); None if the same.
    larger_is_better: for metrics, such as accuracy.
    finish(sums): for metrics, from the sums over all samples of the op's output vector.
    flops(attrs, inputs, output): operations of one sample forwards, given bound shapes; a function
      such as exp counts as one.
    functions: those of `tiedgraph.lanes.math` that kernels compute for each number of the first
      input, forwards and backwards.
    places(inputs, output): for layers that read the same parameters again and again, how many times
      in one sample: once for each place of a window, or for each step.
    keeps(attrs, inputs, output): lane vectors that the forward rows leave to the backward ones
      besides inputs and output (`Emitter.kept`), given bound shapes.
    """

    name: str
    doc: str
    category: Category
    inputs: tuple[str, ...]
    shape: Shape
    forward: Forward
    Attrs: type = NoAttrs
    backward: Backward | None = None
    kinds: tuple[tuple[str, ...], ...] = ()
    settle: Callable[[Any, Sequence[Type]], Any] | None = None
    params: Callable[[Any, Sequence[Type]], tuple[ParamSpec, ...]] | None = None
    parametric: Callable[[Any], bool] | None = None
    implicit: Callable[[Any, Sequence[Type]], tuple[Implicit, ...]] | None = None
    batch: bool = False
    saves: frozenset[str] = frozenset()
    emit: Callable[[Emitter], None] | None = None
    emit_backward: Callable[[Emitter], None] | None = None
    alias: bool = False
    epilogue: bool = False
    pointwise: Any = None
    padding: float | Callable[[Any], float | None] | None = None
    inference: Callable[[Any], Any] | None = None
    finish: Callable[[Array], float] | None = None
    larger_is_better: bool = False
    flops: Callable[[Any, Sequence[tuple[int, ...]], tuple[int, ...]], int] | None = None
    functions: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    places: Callable[[Sequence[tuple[int, ...]], tuple[int, ...]], int] | None = None
    keeps: Callable[[Any, Sequence[tuple[int, ...]], tuple[int, ...]], int] | None = None
    spelling: str = ""
