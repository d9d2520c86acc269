"""The functions on lane vectors against more digits: dense samples, ends of the range, specials."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

from tiedgraph.codegen import kernels
from tiedgraph.lanes import math
from tiedgraph.ops.rules import Kernel

Array = np.ndarray[Any, np.dtype[Any]]
LONG = np.longdouble

pytestmark = pytest.mark.skipif(
    np.finfo(LONG).nmant < 63, reason="long double has no more digits than float64 here"
)


def run(name: str, x: Array) -> Array:
    """The function of every number of `x`, whose length is a multiple of the lanes."""
    kernel = Kernel(
        f"test_{name}",
        f"""def kernel(activation, parameter, gradient, operand):
    for i in range(operand[0]):
        store(parameter, i * LANES, {name}(load(activation, i * LANES)))
""",
    )
    lanes = 64 // x.itemsize
    assert x.size % lanes == 0
    result, operand = np.full_like(x, 7.0), np.array([x.size // lanes], np.int64)
    entry = kernels.entry(kernel, x.dtype.name)
    entry(x.ctypes.data, result.ctypes.data, result.ctypes.data, operand.ctypes.data)
    return result


# ---------------------------------------------------------------- what is right


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, LONG(1), small) / (1 + small)


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _erf(x: Array) -> Array:
    return np.array([_erf_of(float(number)) for number in x], LONG)


def _erf_of(number: float) -> np.longdouble:
    """The power series in enough digits that its cancellation does not matter."""
    if abs(number) > 6.0:
        return LONG(np.sign(number))
    with localcontext() as context:
        context.prec = 50
        x = Decimal(number)
        total = term = x
        n = 0
        while n < 3 or abs(term) > abs(total) * Decimal(10) ** -25:
            n += 1
            term = -term * x * x / n
            total += term / (2 * n + 1)
        result = total * Decimal("1.1283791670955125738961589031215451716881012586580")
        head = float(result)
        return LONG(head) + LONG(float(result - Decimal(head)))


RIGHT: dict[str, Callable[[Array], Array]] = {
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "erf": _erf,
}
BOUND = {
    "exp": 1.1,
    "log": 1.1,
    "log1p": 1.1,
    "tanh": 2.75,
    "sigmoid": 2.0,
    "softplus": 2.0,
    "erf": 1.1,
}

# Where each function does something: ends of stretches that are sampled evenly.
STRETCHES = {
    "exp": ((-1.0, 1.0), (-90.0, 90.0), (-760.0, 720.0)),
    "log": ((0.25, 4.0), (0.99, 1.01), (0.0, 1e6)),
    "log1p": ((-0.5, 3.0), (-0.01, 0.01), (-1.0, 1e3)),
    "tanh": ((-0.7, 0.7), (-2.0, 2.0), (-25.0, 25.0)),
    "sigmoid": ((-1.0, 1.0), (-40.0, 40.0), (-760.0, 760.0)),
    "softplus": ((-2.0, 2.0), (-40.0, 40.0), (-760.0, 760.0)),
    "erf": ((-1.2, 1.2), (-4.5, 4.5), (-7.0, 7.0)),
}


def samples(name: str, dtype: type[np.floating[Any]]) -> Array:
    """Numbers of all sizes, of both signs where there are, and many where it matters."""
    random = np.random.default_rng(5)
    count = 1024 if name == "erf" else 32768
    about = np.finfo(dtype)
    exponents = random.uniform(about.minexp - about.nmant, about.maxexp, count)
    sizes = np.exp2(exponents.astype(LONG)).astype(dtype)
    parts = [sizes] if name == "log" else [sizes, -sizes]
    parts += [random.uniform(low, high, count).astype(dtype) for low, high in STRETCHES[name]]
    x = np.concatenate(parts)
    return x[x > -1] if name == "log1p" else x


def whole_vectors(x: Array) -> Array:
    return x[: x.size // 16 * 16]


def ulps(found: Array, right: Array) -> Array:
    """Errors in units of the last place of the right result, which subnormals have too."""
    about = np.finfo(found.dtype)
    exponent = np.maximum(np.frexp(right)[1] - 1, about.minexp)
    return np.abs(found.astype(LONG) - right) / np.ldexp(LONG(1), exponent - about.nmant)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", RIGHT)
def test_error(name: str, dtype: type[np.floating[Any]]) -> None:
    x = whole_vectors(samples(name, dtype))
    with np.errstate(all="ignore"):
        found, right = run(name, x), RIGHT[name](x.astype(LONG))
        about = np.finfo(dtype)
        half = np.ldexp(LONG(1), about.maxexp - about.nmant - 2)
        over = np.abs(right) >= LONG(about.max) + half  # rounds to infinity
        error = np.where(over, 0, ulps(found, right))
    assert np.isinf(found[over]).all()
    worst = int(np.argmax(error))
    assert error[worst] <= BOUND[name], f"{name}({x[worst]!r}) = {found[worst]!r}"


INF, NAN = float("inf"), float("nan")
SPECIALS: dict[str, dict[float | str, float | str]] = {
    "exp": {"0": 1.0, "-0": 1.0, INF: INF, -INF: 0.0, "largest": INF, "-largest": 0.0},
    "log": {"0": -INF, "-0": -INF, INF: INF, -INF: NAN, -1.0: NAN, 1.0: "0", "-least": NAN},
    "log1p": {"0": "0", "-0": "-0", INF: INF, -INF: NAN, -1.0: -INF, -2.0: NAN, "least": "least"},
    "tanh": {"0": "0", "-0": "-0", INF: 1.0, -INF: -1.0, "least": "least", "-least": "-least"},
    "sigmoid": {"0": 0.5, "-0": 0.5, INF: 1.0, -INF: 0.0, "largest": 1.0, "-largest": 0.0},
    "softplus": {INF: INF, -INF: 0.0, "largest": "largest", "-largest": 0.0},
    "erf": {"0": "0", "-0": "-0", INF: 1.0, -INF: -1.0, "largest": 1.0, "least": "least"},
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SPECIALS)
def test_special_numbers(name: str, dtype: type[np.floating[Any]]) -> None:
    about = np.finfo(dtype)
    words = {"0": 0.0, "largest": about.max, "least": about.smallest_subnormal}
    words |= {f"-{word}": -number for word, number in words.items()}
    table = {**SPECIALS[name], NAN: NAN}
    given = [words.get(x, x) for x in table]
    right = np.array([words.get(y, y) for y in table.values()], dtype)
    # Every number in every lane.
    for shift in range(16):
        x = np.zeros(16, dtype)
        x[: len(given)] = given
        found = np.roll(run(name, np.roll(x, shift)), -shift)[: len(given)]
        np.testing.assert_array_equal(found, right)
        numbers = ~np.isnan(right)
        np.testing.assert_array_equal(np.signbit(found)[numbers], np.signbit(right)[numbers])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", RIGHT)
def test_every_payload_of_nan_stays_nan(name: str, dtype: type[np.floating[Any]]) -> None:
    whole = np.uint32 if dtype is np.float32 else np.uint64
    about = np.finfo(dtype)
    top = (np.array([np.inf], dtype).view(whole)[0]).item()
    sign = 1 << (about.bits - 1)
    payloads = [1 << k for k in range(about.nmant)] + [(1 << about.nmant) - 1, 1954]
    patterns = [top | payload | s for payload in payloads for s in (0, sign)]
    patterns = whole_vectors(np.array(patterns * 16, whole))
    assert np.isnan(run(name, patterns.view(dtype))).all()


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 2e-7), (np.float64, 1e-15)])
def test_sums_of_logarithms(dtype: type[np.floating[Any]], bound: float) -> None:
    kernel = Kernel(
        "test_log_add",
        """def kernel(activation, parameter, gradient, operand):
    for i in range(operand[0]):
        v = log_add(load(activation, i * LANES), load(parameter, i * LANES))
        store(gradient, i * LANES, v)
""",
    )
    random = np.random.default_rng(6)
    near = random.uniform(-2, 2, (2, 8192))
    far = random.uniform(-60, 60, (2, 8192)) + random.uniform(-1e4, 1e4, 8192)
    never = np.array([[-1e30, -1e30, 3.0, -np.inf], [-1e30, 5.0, -1e30, -np.inf]]).repeat(4, 1)
    a, b = np.concatenate([near, far, never], axis=1).astype(dtype)
    found = np.empty_like(a)
    operand = np.array([a.nbytes // 64], np.int64)
    kernels.entry(kernel, a.dtype.name)(
        a.ctypes.data, b.ctypes.data, found.ctypes.data, operand.ctypes.data
    )
    right = np.logaddexp(a.astype(LONG), b.astype(LONG))
    ended = np.isneginf(right)
    assert np.isneginf(found[ended]).all()
    error = np.abs(found[~ended] - right[~ended]) - np.spacing(np.abs(found[~ended])) / 2
    assert error.max() <= bound


def test_all_functions_are_tested() -> None:
    assert set(math.names("float32")) == set(math.names("float64")) == {*RIGHT, "log_add"}
