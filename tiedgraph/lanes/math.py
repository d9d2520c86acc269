"""exp, log, tanh and their kin on lane vectors, built as straight LLVM code without any call.

Every function is right for all numbers there are: signed zeros, subnormals, infinities, NaN, and
arguments whose result overflows or underflows. The errors, in units in the last place, are at most

    1.1   exp, decay, log, log1p, erf
    2     sigmoid, softplus
    2.75  tanh

and that of log_add(a, b) = log(e^a + e^b) is at most 2e-7 (1e-15) beside the result's own rounding,
where multiply-adds are fused; `tests/lanes/test_math.py` keeps them. Without, exp and what is made
of it may have one more.

The coefficients are minimax polynomials of this project's own, weighted for the relative error of
the result, in the format's own numbers. Bounds in comments are those of the polynomial alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from llvmlite import ir

from tiedgraph.lanes.vector import call_intrinsic, constant


@dataclass(frozen=True)
class Format:
    """What the functions need to know about one kind of float.

    mantissa, bias: stored bits of the mantissa, and the bias of the exponent.
    high, low: log(2) in two parts; multiples of `high` by any exponent are exact.
    largest, smallest: arguments beyond which exp overflows, and is zero.
    exponential: q in exp(r) = 1 + r + r^2 q(r), for |r| <= log(2) / 2.
    logarithm: q in log((1 + s) / (1 - s)) = 2 s + s^3 q(s^2), for |s| <= 3 - sqrt(8); or, where
      division takes longer than a longer polynomial,
    direct: q in log(1 + x) = x - x^2 / 2 + x^3 q(x), for x from sqrt(1/2) - 1 to sqrt(2) - 1,
    unit: q in log(1 + x) = x + x^2 q(x), for x from 0 to 1.
    erf_near: q in erf(x) = x + x q(x^2), for |x| <= 1.
    erf_far: q in erf(x) = 1 - exp(-q(x)), from 1 to `erf_end`, where erf is 1.
    tanh_end: where |2 x| is larger, tanh is 1.
    decay_end: exp(-x) is a normal number up to there.
    addend_end: from there on log(1 + exp(-x)) is nothing beside a number of the size of 1.
    addend_exp, addend_log: exp(r) = q(r) for |r| <= log(2) / 2, and q in log(1 + x) = x q(x) for x
      from 0 to 1, for an absolute error; none where exp and log themselves serve.
    """

    bits: int
    mantissa: int
    bias: int
    high: float
    low: float
    largest: float
    smallest: float
    exponential: Sequence[float]
    logarithm: Sequence[float]
    erf_near: Sequence[float]
    erf_far: Sequence[float]
    erf_end: float
    tanh_end: float
    decay_end: float
    addend_end: float
    direct: Sequence[float] = ()
    unit: Sequence[float] = ()
    addend_exp: Sequence[float] = ()
    addend_log: Sequence[float] = ()


SINGLE = Format(
    bits=32,
    mantissa=23,
    bias=127,
    high=0.693145751953125,
    low=1.428606765330187e-06,
    largest=89.0,
    smallest=-104.0,
    exponential=(  # 2^-28.0 of exp
        0.4999999403953552,
        0.1666652113199234,
        0.041668396443128586,
        0.008368724025785923,
        0.0013813964324072003,
    ),
    logarithm=(),
    direct=(  # 2^-27.4 of log
        0.3333333134651184,
        -0.2500081956386566,
        0.20001226663589478,
        -0.16623356938362122,
        0.14201757311820984,
        -0.13160182535648346,
        0.1276157647371292,
        -0.07634496688842773,
    ),
    unit=(  # 2^-27.7 of log(1 + x)
        -0.4999990165233612,
        0.3332996368408203,
        -0.24954134225845337,
        0.1967593878507614,
        -0.15305592119693756,
        0.10603653639554977,
        -0.05695951730012894,
        0.019851453602313995,
        -0.0032440233044326305,
    ),
    erf_near=(  # 2^-29.5
        0.12837916612625122,
        -0.3761262893676758,
        0.11283618211746216,
        -0.02685512602329254,
        0.005190733820199966,
        -0.0008030761382542551,
        7.920368079794571e-05,
    ),
    erf_far=(  # 2^-29.6
        0.00034153120941482484,
        1.1270891427993774,
        0.6381449103355408,
        0.10310669988393784,
        -0.021838046610355377,
        0.002947656437754631,
        -0.0001863792713265866,
    ),
    erf_end=3.95,
    tanh_end=19.0,
    decay_end=87.0,
    addend_end=18.0,
    addend_exp=(  # 2^-23.7
        1.0000001192092896,
        0.9999997019767761,
        0.49998894333839417,
        0.16667574644088745,
        0.04191538318991661,
        0.008297654800117016,
    ),
    addend_log=(  # 2^-27.6
        0.9999993443489075,
        -0.499970942735672,
        0.3328966796398163,
        -0.2467268854379654,
        0.18569819629192352,
        -0.12690889835357666,
        0.0680847093462944,
        -0.02385546825826168,
        0.003930460195988417,
    ),
)

DOUBLE = Format(
    bits=64,
    mantissa=52,
    bias=1023,
    high=0.6931471805601177,
    low=-1.7239444525614835e-13,
    largest=710.0,
    smallest=-746.0,
    exponential=(  # 2^-56.3 of exp
        0.5000000000000011,
        0.1666666666666641,
        0.04166666666653011,
        0.008333333333495884,
        0.0013888888943649406,
        0.00019841269503208548,
        2.4801493074105734e-05,
        2.755758963079746e-06,
        2.7630258670564607e-07,
        2.499895527656927e-08,
    ),
    logarithm=(  # 2^-57.9
        0.6666666666666735,
        0.39999999999411917,
        0.2857142874306239,
        0.22222198498198736,
        0.181835685042005,
        0.15313936832193628,
        0.14797152798282245,
    ),
    erf_near=(  # 2^-55.8
        0.1283791670955126,
        -0.3761263890318375,
        0.11283791670954885,
        -0.026866170645077868,
        0.005223977624828383,
        -0.0008548326981423328,
        0.00012055331132892193,
        -1.4925595771004496e-05,
        1.646100846381724e-06,
        -1.6350396119632633e-07,
        1.4660328293105829e-08,
        -1.137495497337428e-09,
        5.960685386152412e-11,
    ),
    erf_far=(  # 2^-56.0
        1.7960136122505483e-07,
        1.1283773294490493,
        0.6366284880755482,
        0.1027472544836327,
        -0.019078159500455417,
        -0.0002804834581834141,
        0.001768995270278957,
        -0.0006411682903169183,
        4.4819622737864163e-05,
        7.036806269941627e-05,
        -4.503793422914229e-05,
        1.6514112368476508e-05,
        -4.327086582829138e-06,
        8.505838684243048e-07,
        -1.2570664878069383e-07,
        1.3626930098388094e-08,
        -1.0257217451333182e-09,
        4.796154929696535e-11,
        -1.049651360178542e-12,
    ),
    erf_end=5.95,
    tanh_end=40.0,
    decay_end=708.0,
    addend_end=40.0,
)

LOG_2 = 0.6931471805599453
LOG2_E = 1.4426950408889634
ROOT_HALF = 0.7071067811865476
INFINITY = float("inf")
NAN = float("nan")


class Value:
    """A lane vector in code under construction, with the operators of arithmetic."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder = builder
        self.ir = value

    @property
    def format(self) -> Format:
        return SINGLE if isinstance(self.ir.type.element, ir.FloatType) else DOUBLE

    def of(self, number: Value | float) -> Value:
        """`number` as a vector like this one."""
        if isinstance(number, Value):
            return number
        return Value(self.builder, constant(self.ir.type, number))

    def __add__(self, other: Value | float) -> Value:
        return Value(self.builder, self.builder.fadd(self.ir, self.of(other).ir))

    def __sub__(self, other: Value | float) -> Value:
        return Value(self.builder, self.builder.fsub(self.ir, self.of(other).ir))

    def __mul__(self, other: Value | float) -> Value:
        return Value(self.builder, self.builder.fmul(self.ir, self.of(other).ir))

    def __truediv__(self, other: Value | float) -> Value:
        return Value(self.builder, self.builder.fdiv(self.ir, self.of(other).ir))

    def __neg__(self) -> Value:
        return Value(self.builder, self.builder.fneg(self.ir))

    def __abs__(self) -> Value:
        return Value(self.builder, call_intrinsic(self.builder, "fabs", [self.ir]))

    def is_(self, relation: str, other: Value | float) -> Any:
        """A mask, false where either side is NaN."""
        return self.builder.fcmp_ordered(relation, self.ir, self.of(other).ir)

    def select(self, mask: Any, yes: Value | float, no: Value | float) -> Value:
        return Value(self.builder, self.builder.select(mask, self.of(yes).ir, self.of(no).ir))

    def at_most(self, bound: float) -> Value:
        return self.select(self.is_(">", bound), bound, self)

    def at_least(self, bound: float) -> Value:
        return self.select(self.is_("<", bound), bound, self)

    # Bits are plain vectors of integers.

    @property
    def whole(self) -> ir.VectorType:
        return ir.VectorType(ir.IntType(self.format.bits), self.ir.type.count)

    def bits(self) -> Any:
        return self.builder.bitcast(self.ir, self.whole)

    def from_bits(self, bits: Any) -> Value:
        return Value(self.builder, self.builder.bitcast(bits, self.ir.type))

    def integer(self, number: int) -> Any:
        return constant(self.whole, number)

    def with_sign_of(self, other: Value) -> Value:
        """This vector, which is not negative, with another's signs."""
        signs = self.builder.and_(other.bits(), self.integer(-1 << (self.format.bits - 1)))
        return self.from_bits(self.builder.or_(self.bits(), signs))


def fma(a: Value | float, b: Value, c: Value | float) -> Value:
    values = [b.of(a).ir, b.ir, b.of(c).ir]
    return Value(b.builder, call_intrinsic(b.builder, "fmuladd", values))


def polynomial(coefficients: Sequence[float], x: Value) -> Value:
    """By Horner's rule, constant term first."""
    *rest, top = coefficients
    result = x.of(top)
    for coefficient in reversed(rest):
        result = fma(result, x, coefficient)
    return result


def _magic(x: Value) -> Value:
    """Added to a small number it leaves the nearest integer in the last bits."""
    return x.of(1.5 * 2.0**x.format.mantissa)


def _power(x: Value, k: Any) -> Value:
    """2^k for exponents of normal numbers; `k` are integers."""
    biased = x.builder.add(k, x.integer(x.format.bias))
    return x.from_bits(x.builder.shl(biased, x.integer(x.format.mantissa)))


def _scaled(p: Value, shifted: Value) -> Value:
    """2^k p, normal numbers both, with k in the last bits of `shifted`; may make NaN a number."""
    k = p.builder.shl(shifted.bits(), p.integer(p.format.mantissa))
    return p.from_bits(p.builder.add(p.bits(), k))


def _reduced(x: Value) -> tuple[Value, Value]:
    """r and k, as `_magic` left it, with x = r + k log(2) and |r| <= log(2) / 2."""
    magic = _magic(x)
    shifted = fma(LOG2_E, x, magic)
    k = shifted - magic
    return fma(-x.format.low, k, fma(-x.format.high, k, x)), shifted


def _exp_minus_1(r: Value) -> Value:
    """exp(r) - 1 on the reduced range."""
    return fma(polynomial(r.format.exponential, r), r * r, r)


def _halves(x: Value, shifted: Value) -> tuple[Any, Any]:
    """k in two parts that are exponents of normal numbers, where k itself may not be."""
    k = x.builder.sub(shifted.bits(), _magic(x).bits())
    half = x.builder.ashr(k, x.integer(1))
    return half, x.builder.sub(k, half)


def _exp(x: Value) -> Value:
    """For arguments below the overflow."""
    r, shifted = _reduced(x.at_least(x.format.smallest))
    half, rest = _halves(x, shifted)
    power = _power(x, half)
    return fma(_exp_minus_1(r), power, power) * _power(x, rest)


def _log_sum(k: Value, f: Value, low: Value | None = None) -> Value:
    """k log(2) + log(1 + f) + low, for f from sqrt(1/2) - 1 to sqrt(2) - 1."""
    square = f * f
    half = square * 0.5
    if f.format.direct:
        tail = f * square * polynomial(f.format.direct, f)
    else:
        s = f / (f + 2.0)
        tail = s * fma(polynomial(f.format.logarithm, s * s), s * s, half)
    tail = fma(f.format.low, k, tail)
    if low is not None:
        tail = tail + low
    return fma(f.format.high, k, f - (half - tail))


def _log_normal(x: Value, low: Value | None = None, lift: Value | None = None) -> Value:
    """log(x) of positive normal numbers, plus `low`; `lift` is added to the exponent."""
    builder, format = x.builder, x.format
    bits = x.bits()
    above = builder.sub(bits, x.of(ROOT_HALF).bits())
    k = builder.ashr(above, x.integer(format.mantissa))
    m = x.from_bits(builder.sub(bits, builder.shl(k, x.integer(format.mantissa))))
    magic = _magic(x)
    exponent = x.from_bits(builder.add(k, magic.bits())) - magic
    if lift is not None:
        exponent = exponent + lift
    return _log_sum(exponent, m - 1.0, low)


def _log_special(x: Value, result: Value) -> Value:
    """`result`, and what the logarithm is of zero, negative numbers, infinity and NaN."""
    # Each choice by one comparison: masks of several are slow where there are no mask registers.
    result = x.select(x.is_("<", INFINITY), result, x)
    result = x.select(x.is_("<", 0.0), NAN, result)
    return x.select(x.is_("==", 0.0), -INFINITY, result)


def _log1p_unit(x: Value) -> Value:
    """log(1 + x) for x from 0 to 1, where 1 + x need not be rounded."""
    if x.format.unit:
        return fma(polynomial(x.format.unit, x), x * x, x)
    upper = x.is_(">", 2.0 * ROOT_HALF - 1.0)
    f = x.select(upper, fma(0.5, x, -0.5), x)
    return _log_sum(x.select(upper, 1.0, 0.0), f)


# ---------------------------------------------------------------- the functions


def _make_exp(x: Value) -> Value:
    return _exp(x.at_most(x.format.largest))


def _make_decay(x: Value) -> Value:
    end = -x.format.decay_end
    r, shifted = _reduced(x.at_least(end))
    power = _power(x, x.builder.sub(shifted.bits(), _magic(x).bits()))
    return x.select(x.is_("<", end), 0.0, fma(_exp_minus_1(r), power, power))


def _make_log(x: Value) -> Value:
    tiny = x.is_("<", 2.0 ** (1 - x.format.bias))
    lift = x.format.mantissa + 1
    normal = x.select(tiny, x * 2.0**lift, x)
    return _log_special(x, _log_normal(normal, lift=x.select(tiny, -float(lift), 0.0)))


def _make_log1p(x: Value) -> Value:
    u = x + 1.0
    lost = x.select(x.is_(">", 1.0), x.of(1.0) - (u - x), x - (u - 1.0))
    result = _log_special(u, _log_normal(u, lost / u))
    return x.select(u.is_("==", 1.0), x, result)


def _make_tanh(x: Value) -> Value:
    """e / (e + 2) with e = exp(2 |x|) - 1."""
    twice = (abs(x) * 2.0).at_most(x.format.tanh_end)
    magic = _magic(x)
    shifted = fma(LOG2_E, twice, magic)
    # One part of log(2) does: where k is so large that its rounding counts, tanh is 1.
    r = fma(-LOG_2, shifted - magic, twice)
    power = _scaled(x.of(1.0), shifted)
    e = fma(power, _exp_minus_1(r), power - 1.0)
    return (e / (e + 2.0)).with_sign_of(x)


def _make_sigmoid(x: Value) -> Value:
    end = -x.format.smallest
    r, shifted = _reduced(-x.at_most(end).at_least(-end))
    half, rest = _halves(x, shifted)
    # 1 / (1 + exp(-x)) with both sides of the fraction times 2^-half, so that none overflows.
    one, power = _power(x, x.builder.neg(half)), _power(x, rest)
    return one / (fma(_exp_minus_1(r), power, one) + power)


def _make_softplus(x: Value) -> Value:
    return _log1p_unit(_exp(-abs(x))) + x.at_least(0.0)


def _make_log_add(a: Value, b: Value) -> Value:
    """In single precision by polynomials for an absolute error, with no division."""
    most = a.select(a.is_(">", b), a, b)
    apart = -abs(a - b)
    apart = a.select(apart.is_(">", -a.format.addend_end), apart, -a.format.addend_end)
    if not a.format.addend_log:
        return most + _log1p_unit(_exp(apart))
    magic = _magic(a)
    shifted = fma(LOG2_E, apart, magic)
    r = fma(-LOG_2, shifted - magic, apart)
    x = _scaled(polynomial(a.format.addend_exp, r), shifted)
    return fma(polynomial(a.format.addend_log, x), x, most)


def _make_erf(x: Value) -> Value:
    a = abs(x)
    near = fma(polynomial(x.format.erf_near, x * x), x, x)
    r, shifted = _reduced(-polynomial(x.format.erf_far, a.at_most(x.format.erf_end)))
    far = x.of(1.0) - _scaled(_exp_minus_1(r) + 1.0, shifted)
    return x.select(a.is_(">", 1.0), far.with_sign_of(x), near)


def _function(make: Callable[..., Value], doc: str) -> Any:
    def function(builder: Any, *vectors: Any) -> Any:
        return make(*(Value(builder, x) for x in vectors)).ir

    function.__doc__ = doc
    return function


FORMULAS: tuple[tuple[str, Callable[..., Value], str], ...] = (
    ("exp", _make_exp, "e^x; infinite above 88.7 (709.8), 0 below -104 (-745.2)."),
    ("decay", _make_decay, "e^x for x up to 0, quicker than exp; 0 below -87 (-708)."),
    ("log", _make_log, "Natural logarithm; -inf at 0, NaN below."),
    ("log1p", _make_log1p, "log(1 + x), accurate near 0; -inf at -1, NaN below."),
    ("tanh", _make_tanh, "Hyperbolic tangent."),
    ("sigmoid", _make_sigmoid, "1 / (1 + e^-x)."),
    ("softplus", _make_softplus, "log(1 + e^x)."),
    (
        "erf",
        _make_erf,
        "Error function, the integral of 2 / sqrt(pi) e^-t^2 from 0 to x.",
    ),
    (
        "log_add",
        _make_log_add,
        "log(e^a + e^b) of numbers that are finite or -inf; faster than log and exp.",
    ),
)

FUNCTIONS = {name: _function(make, doc) for name, make, doc in FORMULAS}


@lru_cache
def operations(name: str) -> int:
    """What a function costs for one number in single precision, 0 for names of others.

    A multiply-add counts twice, as in peaks; all else once, whole numbers and choices too.
    """
    make = {known: make for known, make, _ in FORMULAS}.get(name)
    if make is None:
        return 0
    kind = ir.VectorType(ir.FloatType(), 16)
    function = ir.Function(ir.Module(), ir.FunctionType(kind, [kind]), name)
    block = function.append_basic_block()
    make(Value(ir.IRBuilder(block), function.args[0]))
    made = [instruction for instruction in block.instructions if instruction.opname != "bitcast"]
    return len(made) + sum("fmuladd" in str(instruction) for instruction in made)


def names(dtype: str) -> dict[str, Any]:
    """The functions that kernel text may use, by name; the same for both dtypes."""
    return FUNCTIONS
