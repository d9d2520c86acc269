"""Cases of subsampling, pooling and sums over axes: blocks that leave a rest, extents of 1, 17."""

from __future__ import annotations

from cases import TIME, WIDTH, Case, f, over_time

_AREAS = ({"time": 4, "width": 3}, {"time": 2, "width": 5}, {"time": 7, "width": 2})
_DISTINCT = ("distinct",)


def _subsample(**attrs: object) -> list[Case]:
    return [
        Case((f(3, 7),), {"r": (2,), **attrs}),
        Case((f(1, 1),), {"r": (1,), **attrs}),
        Case((f(2, 17),), {"r": (5,), **attrs}),
        Case((f(2, 17),), {"r": (17,), **attrs}),
        Case((f(3, 6, 5),), {"r": (2,), **attrs}),
        Case((f(2, 6, 23),), {"r": (3, 2), **attrs}),
        Case((f(2, 7, 17),), {"r": (3, 5), **attrs}),
        Case((f(2, 1, 4),), {"r": (1, 4), **attrs}),
        over_time(f(3, TIME), attrs={"r": (2,), **attrs}, lengths=(5, 2, 17, 6)),
        over_time(f(1, TIME, 4), attrs={"r": (3, 2), **attrs}, lengths=(5, 3, 17)),
        Case((f(2, TIME, WIDTH),), {"r": (2,), **attrs}, (), _AREAS),
    ]


_POOL = [
    Case((f(3, 7),), {"window": (2,)}, _DISTINCT),
    Case((f(1, 1),), {"window": (1,)}, _DISTINCT),
    Case((f(2, 17),), {"window": (3,), "stride": (2,)}, _DISTINCT),
    Case((f(2, 17),), {"window": (2,), "stride": (3,)}, _DISTINCT),
    Case((f(3, 6, 5),), {"window": (2,)}, _DISTINCT),
    Case((f(2, 8, 23),), {"window": (3, 2), "stride": (2, 2)}, _DISTINCT),
    Case((f(2, 5, 9),), {"window": (3, 4), "stride": (1, 2)}, _DISTINCT),
    over_time(
        f(3, TIME),
        attrs={"window": (3,), "stride": (1,)},
        domains=_DISTINCT,
        lengths=(5, 3, 17),
    ),
    Case((f(2, TIME, WIDTH),), {"window": (2,)}, _DISTINCT, _AREAS),
]


def _reduce(count: int, *domains: str, **attrs: object) -> list[Case]:
    """Every way in which axes stay and go, of one value or several alike."""
    return [
        Case((f(5),) * count, {"over": 0, **attrs}, domains),
        Case((f(1),) * count, {"over": 0, **attrs}, domains),
        Case((f(17, 3),) * count, {"over": 0, **attrs}, domains),
        Case((f(3, 17),) * count, {"over": -1, **attrs}, domains),
        Case((f(2, 3, 4),) * count, {"over": (0, 2), **attrs}, domains),
        Case((f(2, 3, 2, 1, 3),) * count, {"over": (1, 3), **attrs}, domains),
        Case((f(2, 1, 2, 3, 2),) * count, {"over": (0, 2, 4), **attrs}, domains),
        over_time(*(f(3, TIME),) * count, attrs={"over": "time", **attrs}, domains=domains),
        over_time(*(f(3, TIME),) * count, attrs={"over": 0, **attrs}, domains=domains),
        over_time(*(f(TIME, 2),) * count, attrs={"over": (0, 1), **attrs}, domains=domains),
        Case((f(2, TIME, 3, WIDTH),) * count, {"over": (1, 3), **attrs}, domains, _AREAS),
        Case((f(2, TIME, 3, WIDTH),) * count, {"over": ("width",), **attrs}, domains, _AREAS),
        Case((f(2, TIME, 2, WIDTH, 2),) * count, {"over": (0, 1, 2, 3, 4)}, domains, _AREAS),
    ]


def _all(count: int, *domains: str) -> list[Case]:
    return [
        Case((f(),) * count, {}, domains),
        Case((f(2, 3),) * count, {}, domains),
        over_time(*(f(3, TIME),) * count, domains=domains),
    ]


CASES = {
    "subsample": _subsample() + _subsample(trainable=True),
    "max_pool": _POOL,
    "sum": _reduce(1) + _all(1),
    "mean": _reduce(1) + _all(1),
    "max": _reduce(1, "distinct") + _all(1, "distinct"),
    "dot": _reduce(2) + _all(2),
    # Away from equal inputs, where the distance has a corner.
    "distance": _reduce(2, "positive", "any")[1:]
    + [Case((f(5), f(5))), over_time(f(3, TIME), f(3, TIME))],
}
