"""Cases of losses and metrics: one number, many, steps, and two run-time axes."""

from __future__ import annotations

from cases import TIME, WIDTH, Case, Type, c, f, over_time

_AREAS = ({"time": 4, "width": 3}, {"time": 1, "width": 5}, {"time": 3, "width": 1})


def _numbers(count: int, **attrs: object) -> list[Case]:
    domains = ("grid", "between")
    return [
        Case((f(),) * count, attrs, domains),
        Case((f(1),) * count, attrs, domains),
        Case((f(17),) * count, attrs, domains),
        Case((f(2, 1, 3),) * count, attrs, domains),
        over_time(*(f(3, TIME),) * count, attrs=attrs, domains=domains),
        over_time(*(f(2, TIME, 3),) * count, attrs=attrs, domains=domains),
        Case((f(2, TIME, 3, WIDTH),) * count, attrs, domains, _AREAS),
    ]


_CLASSES = [
    Case((f(10), c(10))),
    Case((f(1), c(1))),
    Case((f(3, 17), c(3, 17))),
    Case((f(2, 3, 5), c(2, 3, 5))),
    over_time(f(4, TIME), c(4, TIME)),
    over_time(f(4, 3, TIME), c(4, 3, TIME)),
    Case((f(3, TIME, WIDTH), c(3, TIME, WIDTH)), {}, (), _AREAS),
]
_SOFT = [
    Case((f(10), f(10)), {}, ("any", "part")),
    over_time(f(4, TIME), f(4, TIME), domains=("any", "part")),
]
_BINARY = [
    Case((f(), c(2))),
    Case((f(1), c(2))),
    Case((f(17), c(2, 17))),
    Case((f(1, 3), c(2, 3))),
    over_time(f(TIME), c(2, TIME)),
    over_time(f(1, TIME), c(2, TIME)),
]


def _embeddings(count: int, *label: Type, margin: float) -> list[Case]:
    attrs = {"margin": margin}

    def labels(*shape: object) -> list[Type]:
        return [Type("class", (*kind.shape, *shape), 2) for kind in label]  # type: ignore[arg-type]

    return [
        Case((*[f(5)] * count, *labels()), attrs),
        Case((*[f(1)] * count, *labels()), attrs),
        Case((*[f(3, 17)] * count, *labels(17)), attrs),
        over_time(*[f(3, TIME)] * count, *labels(TIME), attrs=attrs),
    ]


_SPELT = (
    {"time": 7, "width": 3},
    {"time": 1, "width": 1},
    {"time": 3, "width": 1},
    {"time": 9, "width": 4},
)
# Two words: one with two pronunciations, a state that occurs twice, and ends that may be left out.
_CHAINS = {"states": ((0, 1, 2, 0), (0, 3, 0), (0, 3, 1, 0)), "word": (0, 1, 0), "words": 2}
_WAYS = [
    _CHAINS | {"prior": (-0.4, 0.0, -1.1), "loose": loose, "timed": timed}
    for loose in (0, 1)
    for timed in (False, True)
]
_WAYS += [_WAYS[3] | {"skips": (4, -1, 5, -1), "over": over} for over in (2, 3)]
_SPOKEN = ({"time": 7}, {"time": 4}, {"time": 9})
_CHAINED = {
    name: [
        Case(
            (f(4, TIME if ways["timed"] else 6), f(6 if "skips" in ways else 4), *label),
            ways,
            (),
            _SPOKEN if ways["timed"] else ({}, {}),
        )
        for ways in _WAYS
    ]
    for name, label in (("word_scores", ()), ("likelihood", (c(2),)))
}
CASES = {
    **_CHAINED,
    "ctc": [
        Case((f(4, 6), c(3, 2))),
        Case((f(2, 7), c(1, 3))),
        over_time(f(5, TIME), c(4, 1)),
        Case((f(6, TIME), c(5, WIDTH)), {}, (), _SPELT),
    ],
    "mse": _numbers(2),
    "mae": _numbers(2),
    "huber": [*_numbers(2), *_numbers(2, delta=0.4)],
    "gaussian_nll": [*_numbers(3), *_numbers(3, full=True)],
    "binary_cross_entropy": [*_BINARY, *_numbers(2)],
    "cross_entropy": [*_CLASSES, *_SOFT],
    "contrastive": _embeddings(2, c(2), margin=2.5),
    "triplet": [*_embeddings(3, margin=1.0), *_embeddings(3, margin=0.0)],
    "accuracy": [*_CLASSES, *_SOFT, *_BINARY],
    "error": [*_CLASSES, *_SOFT, *_BINARY],
    "mse_metric": _numbers(2),
    "rmse": _numbers(2),
    "mae_metric": _numbers(2),
    "arv": _numbers(2),
}
