"""The language of kernels: its statements do what Python's do, on numbers of the machine."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiedgraph.codegen import kernels
from tiedgraph.lanes.text import TextError, module_text
from tiedgraph.ops.rules import Kernel

HEAD = "def kernel(activation, parameter, gradient, operand):\n"
SMALL = st.integers(-40, 40)


def text_of(body: str) -> str:
    return HEAD + textwrap.indent(textwrap.dedent(body).strip("\n"), "    ") + "\n"


def compiled(body: str, numbers: Any, operands: Any, dtype: str = "float64") -> list[float]:
    """What the text leaves in `activation`, by machine code."""
    run = kernels.entry(Kernel("text", text_of(body)), dtype)
    memory, row = np.array(numbers, dtype), np.array(operands, np.int64)
    run(memory.ctypes.data, 0, 0, row.ctypes.data)
    return [float(x) for x in memory]


def by_python(body: str, numbers: Any, operands: Any) -> list[float]:
    scope: dict[str, Any] = {}
    exec(text_of(body), scope)  # noqa: S102
    memory = [float(x) for x in numbers]
    scope["kernel"](memory, None, None, list(operands))
    return [float(x) for x in memory]


WHOLE_NUMBERS = """
a, b = operand[0], operand[1]
activation[0] = a + b * 3 - 7
activation[1] = -a
activation[2] = (a & b) + (a | b) - (a ^ b)
activation[3] = (a << 2) + (a >> 1)
activation[4] = min(a, b) * 100 + max(a, b)
activation[5] = (a > b) + 2 * (a == b) + 4 * (a != b)
if b != 0:
    activation[6] = a // b
    activation[7] = a % b
    activation[8] = a / b
activation[9] = a // 8 + a % 8
"""

STATEMENTS = """
n = operand[0]
total, last = 0, -1
for i in range(n):
    i = i * 2
    if i == 6:
        continues = 1
    elif i > 9:
        break
    else:
        total += i
    last = i
activation[0], activation[1] = total, last
for i in range(3, n, 4):
    activation[2] += i
a, b = 1, n
a, b = b, a
activation[3] = a - b
while a > 0 and (a != 7 or b > 5):
    a -= 1
    b += a
    if b > 50:
        break
activation[4], activation[5] = a, b
activation[6] = activation[n] if n >= 0 and n < 6 else -1
for i in range(2):
    for j in range(n):
        if j > i:
            break
        activation[7] += 10 * i + j
if n > 10:
    activation[8] = 1
    return
activation[9] = int(2.5 * n)
"""


@given(a=SMALL, b=SMALL)
def test_whole_numbers(a: int, b: int) -> None:
    start = range(10)
    assert compiled(WHOLE_NUMBERS, start, [a, b]) == by_python(WHOLE_NUMBERS, start, [a, b])


@given(n=st.integers(-3, 20))
def test_statements(n: int) -> None:
    start = range(10)
    assert compiled(STATEMENTS, start, [n]) == by_python(STATEMENTS, start, [n])


def test_whole_numbers_wrap() -> None:
    body = "activation[0] = (operand[0] * 6364136223846793005 + 4611686018427387904 * 2) >> 32"
    product = np.int64(123456789123456789)
    with np.errstate(over="ignore"):
        right = (product * np.int64(6364136223846793005) + np.int64(-(2**63))) >> 32
    assert compiled(body, [0.0], [product]) == [float(right)]


def test_nothing_is_divided_by_zero() -> None:
    body = "activation[0], activation[1] = operand[0] // operand[1], operand[0] % operand[1]"
    assert compiled(body, [5.0, 5.0], [7, 0]) == [0.0, 0.0]


def test_arithmetic_of_scalars_follows_numpy() -> None:
    body = """
    x, n = activation[0], operand[0]
    activation[1] = x * 1.1
    activation[2] = x * x + x
    activation[3] = x + n
    activation[4] = n / 7
    activation[5] = max(x, 0.1)
    """
    x, n = np.float32(0.1), np.int64(16777217)
    right = [x, float(x) * 1.1, x * x + x, x + n, n / 7, max(float(x), 0.1)]
    assert compiled(body, [x] + [0] * 5, [n], "float32") == [float(np.float32(r)) for r in right]


def test_not_a_number_is_unlike_everything() -> None:
    body = """
    x = activation[0]
    activation[1] = x != x
    activation[2] = (x == x) + (x < 1.0) + (x >= 1.0)
    """
    assert compiled(body, [np.nan, 5, 5], [0])[1:] == [1.0, 0.0]


def test_vectors_take_scalars_and_masks() -> None:
    body = """
    v = load(activation, 0)
    inside = (v > 2) & (v <= operand[0])
    store(activation, 0, select(inside, 2 * v - 1.5, -v))
    """
    v = np.arange(8.0)
    right = np.where((v > 2) & (v <= 5), 2 * v - 1.5, -v)
    assert compiled(body, v, [5]) == right.tolist()


def test_what_is_behind_and_is_not_looked_at() -> None:
    body = "activation[0] = operand[0] != 0 and integers(operand[0])[0] == 1"
    assert compiled(body, [5.0], [0]) == [0.0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("a = 1\nif operand[0]:\n    a = 1.5", "line 4: a is i64, and cannot become double"),
        ("a = foo(1)", "line 2: 'foo'"),
        ("a = b", "line 2: 'b'"),
        ("a = load(activation)", "line 2: .*offset"),
        ("a = load(activation, 0) + gradient", "line 2: .* do not go together"),
        ("a = 1.5 & 2", "line 2: no bits of double and i64"),
        ("a = 1.5 // 2.0", "line 2: no FloorDiv of double"),
        ("a = [1]", "line 2: List is not part of the language"),
        ("import os", "line 2: Import is not part of the language"),
        ("operand.a = 1", "line 2: nothing is assigned to Attribute"),
        ("a, b = operand[0]", "line 2: nothing is assigned to Tuple"),
        ("for i in range(9, 0, -1):\n    a = i", "line 2: a range goes upwards"),
        ("for i in operand:\n    a = i", "line 2: For is not part of the language"),
        ("a = operand[0](1)", "line 2: Call is not part of the language"),
        ("a = 1 < 2 < 3", "line 2: Compare is not part of the language"),
    ],
)
def test_other_text_is_refused(body: str, message: str) -> None:
    with pytest.raises(TextError, match=message):
        module_text(text_of(body), "x", "float64", 8, "x86_64-unknown-linux-gnu")
