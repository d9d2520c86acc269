"""Cases of softmax, normalisation, dropout and embedding."""

from __future__ import annotations

from cases import TIME, WIDTH, Case, f, i, over_time

_AREAS = ({"time": 4, "width": 3}, {"time": 1, "width": 5}, {"time": 3, "width": 1})


def _along(**attrs: object) -> list[Case]:
    """Functions along one axis."""
    return [
        Case((f(5),), attrs),
        Case((f(1),), attrs),
        Case((f(17, 2),), attrs),
        Case((f(2, 3, 4),), {"over": 1, **attrs}),
        over_time(f(3, TIME), attrs=attrs),
        over_time(f(3, TIME), attrs={"over": "time", **attrs}),
        over_time(f(2, TIME, 3), attrs={"over": "time", **attrs}),
        Case((f(TIME, 2, WIDTH),), {"over": "width", **attrs}, (), _AREAS),
    ]


def _by_channel(**attrs: object) -> list[Case]:
    """Layers with numbers of each channel."""
    return [
        Case((f(5),), attrs),
        Case((f(17, 2),), attrs),
        Case((f(3, 1, 4),), attrs),
        over_time(f(3, TIME), attrs=attrs),
        Case((f(2, TIME, WIDTH),), attrs, (), _AREAS),
    ]


_BATCH = [
    Case((f(5),), {}, (), ({}, {}, {})),
    Case((f(1, 17),), {"epsilon": 0.1}, (), ({},)),
    Case((f(3, 2, 4),), {}, (), ({}, {})),
    over_time(f(3, TIME)),
    Case((f(2, TIME, 2, WIDTH),), {}, (), _AREAS),
]

CASES = {
    "softmax": _along(),
    "log_softmax": _along(),
    "normalize": [*_along(), Case((f(3, 4),), {"epsilon": 0.5})],
    "layer_norm": [*_by_channel(), Case((f(2, 3),), {"epsilon": 0.1}), Case((f(1, 3),))],
    "scale": [*_by_channel(), *_by_channel(bias=True), Case((f(),)), Case((f(),), {"bias": True})],
    "batch_norm": [*_BATCH, Case((f(3, 4),), {"training": False}, (), ({}, {}))],
    "dropout": [
        Case((f(),)),
        Case((f(17),)),
        Case((f(3, 5),), {"rate": 0.0}),
        Case((f(3, 1, 5),), {"rate": 0.9}),
        Case((f(5),), {"active": False}),
        over_time(f(3, TIME), attrs={"rate": 0.25}),
        Case((f(2, TIME, 2, WIDTH, 1),), {"rate": 0.25}, (), _AREAS),
    ],
    "embedding": [
        Case((i(7),), {"size": 5}),
        Case((i(1, 3),), {"size": 1}),
        Case((i(3, 17),), {"size": 2}),
        Case((i(7, 2, 3),), {"size": 4}),
        over_time(i(7, TIME), attrs={"size": 3}),
        Case((i(5, TIME, 2, WIDTH),), {"size": 2}, (), _AREAS),
    ],
}
