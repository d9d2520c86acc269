"""Cases of `dense`, `conv1d` and `conv2d`: sizes on and off their register tiles."""

from __future__ import annotations

from cases import TIME, WIDTH, Case, f, over_time


def _conv1d(**attrs: object) -> dict[str, object]:
    return {"window": (3,), **attrs}


def _conv2d(**attrs: object) -> dict[str, object]:
    return {"window": (3, 3), **attrs}


_AREAS = ({"time": 6, "width": 7}, {"time": 3, "width": 9}, {"time": 4, "width": 3})

CASES = {
    "gaussian": [
        Case((f(3, 5),)),
        Case((f(6, 9),), {"mixtures": 3}),
        over_time(f(5, TIME), attrs={"mixtures": 2}),
    ],
    "codebook": [
        Case((f(3, 5),), {"gaussians": 4}),
        over_time(f(6, TIME), attrs={"gaussians": 3}),
    ],
    "mixture": [
        Case((f(3, 5),), {"states": ("a", "b")}),
        over_time(f(5, TIME), attrs={"states": ("a", "b", "c", "d", "e", "f")}),
    ],
    "gaussians": [
        Case((f(3, 5),), {"members": ("a", "b", "c")}),
        over_time(f(4, TIME), attrs={"mixtures": 2, "members": ("a", "b")}),
    ],
    "dense": [
        Case((f(),), {"units": 1}),
        Case((f(1),), {"units": 13}),
        Case((f(17),), {"units": 1}),
        Case((f(7),), {"units": 12}),
        Case((f(2, 3, 5),), {"units": 29}),
        Case((f(33),), {"units": 7, "bias": False}),
    ],
    "conv1d": [
        Case((f(1, 3),), _conv1d(channels=1)),
        Case((f(3, 17),), _conv1d(channels=5)),
        Case((f(128, 18),), _conv1d(channels=128)),  # channels in blocks
        Case((f(2, 9),), _conv1d(channels=4, stride=(2,), pad=(2,))),
        Case((f(4, 11),), _conv1d(channels=6, dilation=(2,), groups=2)),
        over_time(f(3, TIME), attrs=_conv1d(channels=5, pad="same"), lengths=(5, 3, 17, 6)),
        over_time(f(3, TIME), attrs=_conv1d(channels=2, pad="causal", bias=False)),
        over_time(f(2, TIME), attrs=_conv1d(channels=3, stride=(2,)), lengths=(5, 3, 17, 6)),
        over_time(f(5, TIME), attrs={"channels": 7, "window": (1,)}),
    ],
    "rnn": [
        Case((f(3, 7),), {"units": 5}),
        over_time(f(2, TIME), attrs={"units": 4, "activation": "relu", "reverse": True}),
        over_time(f(3, TIME), attrs={"units": 6, "last": True, "bias": False}),
    ],
    "gru": [
        Case((f(3, 6),), {"units": 5}),
        over_time(f(2, TIME), attrs={"units": 4, "reverse": True}),
        over_time(f(3, TIME), attrs={"units": 6, "last": True}),
        over_time(f(4, TIME), attrs={"units": 3, "bias": False, "reverse": True, "last": True}),
    ],
    "lstm": [
        Case((f(3, 6),), {"units": 5}),
        over_time(f(2, TIME), attrs={"units": 4, "reverse": True}),
        over_time(f(3, TIME), attrs={"units": 6, "last": True}),
        over_time(f(4, TIME), attrs={"units": 3, "bias": False, "reverse": True, "last": True}),
    ],
    "conv2d": [
        Case((f(1, 3, 3),), _conv2d(channels=1)),
        Case((f(2, 7, 9),), _conv2d(channels=5)),
        Case((f(3, 4, 17),), _conv2d(channels=4, pad=(1, 1))),
        Case((f(2, 5, 6),), {"channels": 3, "window": (2, 3), "stride": (2, 1), "pad": "same"}),
        Case((f(4, 7, 6),), _conv2d(channels=6, groups=2, dilation=(1, 2), bias=False)),
        Case((f(3, 5, 5),), _conv2d(channels=3, groups=3)),
        Case((f(2, TIME, 6),), _conv2d(channels=3, pad=(1, 1)), (), _AREAS),
        Case((f(2, TIME, WIDTH),), _conv2d(channels=3), (), _AREAS),
    ],
}
