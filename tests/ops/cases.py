"""The table that every op is tested with: the oracle by finite differences, kernels by the oracle.

One file for each family has its cases; `CASES` is all of them. `prepare` binds a case to one set of
lengths and draws numbers for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tiedgraph.ir.types import Extent, Type, bind
from tiedgraph.ops import BY_NAME
from tiedgraph.ops.rules import Implicit, Op, ParamSpec

Array = np.ndarray[Any, np.dtype[Any]]
Lengths = Mapping[str, int]

TIME, WIDTH = Extent("time"), Extent("width")


def f(*shape: int | Extent) -> Type:
    """A float type."""
    return Type("float", shape)


def c(bound: int, *shape: int | Extent) -> Type:
    """A type of class labels."""
    return Type("class", shape, bound)


def i(bound: int, *shape: int | Extent) -> Type:
    """A type of indices."""
    return Type("index", shape, bound)


@dataclass(frozen=True)
class Case:
    """One use of an op.

    types: of its inputs as the file declares them.
    attrs: settings as they reach `Op.Attrs`.
    domains: what the numbers of each input are like; "any" where there are fewer than inputs:
      any: normally distributed; positive: above 0.1; apart: at least 0.05 away from 0;
      distinct: all at least 0.01 apart from each other; part: between 0.05 and 0.95;
      grid, between: multiples of 0.01, and halfway between two, which keeps differences of the
      two away from the kinks of a function.
    lengths: of the run-time sizes, one for each of a few samples of one batch.
    """

    types: tuple[Type, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    domains: tuple[str, ...] = ()
    lengths: tuple[Lengths, ...] = ({},)

    def __str__(self) -> str:
        settings = "".join(f",{name}={value}" for name, value in self.attrs.items())
        return ",".join(str(t) for t in self.types) + settings


def over_time(*types: Type, lengths: Sequence[int] = (5, 1, 17, 6), **rest: Any) -> Case:
    """A case whose one run-time size `time` has these lengths."""
    return Case(types, lengths=tuple({"time": n} for n in lengths), **rest)


@dataclass(frozen=True)
class Prepared:
    """A case with everything settled that does not depend on lengths."""

    op: Op
    case: Case
    attrs: Any
    output: Type
    specs: tuple[ParamSpec, ...]
    implicit: tuple[Implicit, ...]

    def draw(self, random: np.random.Generator, lengths: Lengths) -> list[Array]:
        """The declared inputs of one sample."""
        domains = (*self.case.domains, *["any"] * len(self.case.types))
        return [
            _draw(random, kind, bind(kind.shape, lengths), domain)
            for kind, domain in zip(self.case.types, domains, strict=False)
        ]

    def draw_params(self, random: np.random.Generator) -> list[Array]:
        return [
            random.uniform(0.5, 1.5, spec.shape)
            if spec.init.name in ("ones", "constant")
            else random.normal(0.0, 0.5, spec.shape)
            for spec in self.specs
        ]

    def draw_implicit(
        self, random: np.random.Generator, lengths: Lengths, samples: int
    ) -> list[Array]:
        """Implicit inputs of one sample of so many: its own lengths, and likely numbers."""
        found = []
        for item in self.implicit:
            if item.role == "lengths":
                (value,) = (extent.value(lengths[extent.symbol]) for extent in item.extents)
            elif item.role == "key":
                value = int(random.integers(2**24))
            else:
                value = 0.375 if item.role == "step_weight" else 1.0 / samples
            found.append(np.asarray(value, np.float64))
        return found

    def bound(self, lengths: Lengths) -> tuple[int, ...]:
        """The shape of the output."""
        return bind(self.output.shape, lengths)


def prepare(name: str, case: Case) -> Prepared:
    op = BY_NAME[name]
    attrs = op.Attrs(**case.attrs)
    types = list(case.types)
    if op.settle:
        attrs = op.settle(attrs, types)
    has_params = op.params and (op.parametric is None or op.parametric(attrs))
    return Prepared(
        op,
        case,
        attrs,
        op.shape(attrs, types),
        op.params(attrs, types) if op.params and has_params else (),
        op.implicit(attrs, types) if op.implicit else (),
    )


def _draw(random: np.random.Generator, kind: Type, shape: tuple[int, ...], domain: str) -> Array:
    if kind.kind != "float":
        return np.asarray(random.integers(0, kind.bound, shape), np.float64)
    x = np.asarray(random.normal(size=shape))
    if domain == "positive":
        return np.asarray(np.abs(x) + 0.1)
    if domain == "apart":
        return np.asarray(x + np.copysign(0.05, x))
    if domain == "distinct":
        return np.asarray(random.permutation(x.size).reshape(shape) * 0.02 - 0.01 * x.size)
    if domain == "part":
        return np.asarray(random.uniform(0.05, 0.95, shape))
    if domain in ("grid", "between"):
        return np.asarray(np.round(x, 2) + (0.005 if domain == "between" else 0.0))
    assert domain == "any", domain
    return x


def _collect() -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for path in sorted(Path(__file__).parent.glob("cases_*.py")):
        for name, cases in importlib.import_module(path.stem).CASES.items():
            found.setdefault(name, []).extend(cases)
    return found


CASES = _collect()


def each_case(*, backward: bool = False) -> list[Any]:
    """(op name, case) for `pytest.mark.parametrize`, with readable ids."""
    import pytest

    return [
        pytest.param(name, case, id=f"{name}-{case}")
        for name, cases in CASES.items()
        for case in cases
        if not backward or BY_NAME[name].backward is not None
    ]
