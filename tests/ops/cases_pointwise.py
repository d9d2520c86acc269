"""Cases of the functions of one number and of arithmetic."""

from __future__ import annotations

from cases import TIME, WIDTH, Case, f, over_time

_UNARY = {
    "tanh": "any",
    "sigmoid": "any",
    "relu": "apart",
    "gelu": "any",
    "softplus": "any",
    "exp": "any",
    "log": "positive",
    "abs": "apart",
    "square": "any",
    "sqrt": "positive",
    "negate": "any",
}
_NUMBERS = {"add_number": "any", "multiply_number": "any", "divide_number": "apart"}


def _shapes(domain: str, **attrs: float) -> list[Case]:
    return [
        Case((f(),), attrs, (domain,)),
        Case((f(1),), attrs, (domain,)),
        Case((f(17),), attrs, (domain,)),
        Case((f(3, 1, 5),), attrs, (domain,)),
        over_time(f(3, TIME), attrs=attrs, domains=(domain,)),
    ]


def _both(domains: tuple[str, ...]) -> list[Case]:
    both_times = ({"time": 4, "width": 3}, {"time": 1, "width": 5}, {"time": 3, "width": 1})
    return [
        Case((f(), f()), {}, domains),
        Case((f(17), f(17)), {}, domains),
        Case((f(2, 3, 5), f(2, 3, 5)), {}, domains),
        Case((f(2, 3, 5), f(5)), {}, domains),
        Case((f(5), f(2, 3, 5)), {}, domains),
        Case((f(2, 3, 5), f()), {}, domains),
        Case((f(1), f(17)), {}, domains),
        Case((f(2, 1, 5), f(3, 1)), {}, domains),
        Case((f(2, 1, 3, 1, 2), f(1, 4, 1, 3, 1)), {}, domains),
        Case((f(1, 2, 1, 2, 1), f(3, 1, 2, 1, 3)), {}, domains),
        Case((f(2, 1, 2), f(2, 3, 2)), {}, domains),
        over_time(f(3, TIME), f(3, TIME), domains=domains),
        over_time(f(3, TIME), f(3, 1), domains=domains),
        over_time(f(TIME), f(3, TIME), domains=domains),
        over_time(f(2, TIME, 3), f(2, 1, 1), domains=domains),
        Case((f(2, TIME, WIDTH), f(TIME, 1)), {}, domains, both_times),
        Case((f(TIME, WIDTH), f(2, 1, WIDTH)), {}, domains, both_times),
    ]


CASES = {
    **{name: _shapes(domain) for name, domain in _UNARY.items()},
    **{name: _shapes(domain, number=-1.75) for name, domain in _NUMBERS.items()},
    **{name: _both(()) for name in ("add", "subtract", "multiply")},
    "divide": _both(("any", "apart")),
}
