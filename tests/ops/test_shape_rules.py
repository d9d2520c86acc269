"""What shapes ops answer, and what they refuse, in a table."""

from __future__ import annotations

import pytest

from tiedgraph.ir.types import Extent, Type
from tiedgraph.ops import BY_NAME
from tiedgraph.ops.rules import OpError

TIME = Extent("time")
WIDTH = Extent("width")


def f(*shape: int | Extent) -> Type:
    return Type("float", shape)


def answer(name: str, settings: dict[str, object], types: list[Type]) -> Type:
    op = BY_NAME[name]
    attrs = op.Attrs(**settings)
    if op.settle is not None:
        attrs = op.settle(attrs, types)
    return op.shape(attrs, types)


@pytest.mark.parametrize(
    ("name", "settings", "types", "expected"),
    [
        ("subsample", {"r": (2,)}, [f(3, 7)], "float[3, 3]"),
        ("subsample", {"r": (2,)}, [f(3, 6, 5)], "float[3, 3, 2]"),
        ("subsample", {"r": (3,)}, [f(3, TIME)], "float[3, time / 3]"),
        ("subsample", {"r": (2,)}, [f(3, TIME.plus(-4).over(2))], "float[3, (time - 4) / 4]"),
        ("max_pool", {"window": (3,)}, [f(3, 10)], "float[3, 3]"),
        ("max_pool", {"window": (3,), "stride": (1,)}, [f(3, TIME)], "float[3, time - 2]"),
        ("max_pool", {"window": (3,), "stride": (2,)}, [f(3, TIME)], "float[3, (time - 1) / 2]"),
        ("mean", {}, [f(3, TIME)], "float"),
        ("mean", {"over": "time"}, [f(3, TIME)], "float[3]"),
        ("mean", {"over": (0, "time")}, [f(3, TIME, 2)], "float[2]"),
        ("max", {"over": (0, -1)}, [f(2, 3, 4)], "float[3]"),
        ("dot", {"over": 0}, [f(2, TIME), f(2, TIME)], "float[time]"),
        ("distance", {}, [f(2, 3), f(2, 3)], "float[3]"),
        ("concat", {}, [f(2, TIME), f(1, TIME)], "float[3, time]"),
        ("concat", {"axis": -1}, [f(2, 3), f(2, 1)], "float[2, 4]"),
        ("slice", {"start": 1}, [f(5)], "float[4]"),
        ("slice", {"start": -3, "stop": -1, "axis": 1}, [f(5, 4)], "float[5, 2]"),
        ("slice", {"start": 2, "axis": "time"}, [f(5, TIME)], "float[5, time - 2]"),
        ("slice", {"start": 1, "stop": -2, "axis": 1}, [f(5, TIME)], "float[5, time - 3]"),
        ("slice", {"start": -1, "axis": "time"}, [f(5, TIME)], "float[5, 1]"),
        ("slice", {"start": 2, "stop": 6, "axis": "time"}, [f(5, TIME)], "float[5, 4]"),
        ("reshape", {"shape": (3, -1)}, [f(2, 6)], "float[3, 4]"),
        ("reshape", {"shape": (-1, 2, 3)}, [f(6, 1)], "float[1, 2, 3]"),
        ("reshape", {"shape": (2, 3, -1)}, [f(6, TIME)], "float[2, 3, time]"),
        ("reshape", {"shape": ("time", 6)}, [f(TIME, 2, 3)], "float[time, 6]"),
        ("flatten", {}, [f(2, 3, 4)], "float[24]"),
        ("flatten", {}, [f()], "float[1]"),
        ("transpose", {}, [f(2, TIME)], "float[time, 2]"),
        ("transpose", {"axes": (1, -1, 0)}, [f(2, 3, 4)], "float[3, 4, 2]"),
        ("flip", {"axis": "time"}, [f(2, TIME)], "float[2, time]"),
        ("softmax", {"over": "time"}, [f(2, TIME)], "float[2, time]"),
        ("layer_norm", {}, [f(2, TIME)], "float[2, time]"),
        ("batch_norm", {}, [f(2, TIME, WIDTH)], "float[2, time, width]"),
        ("scale", {}, [f()], "float"),
        ("embedding", {"size": 5}, [Type("index", (TIME,), 9)], "float[5, time]"),
        ("embedding", {"size": 5}, [Type("index", (), 9)], "float[5]"),
    ],
)
def test_shape(name: str, settings: dict[str, object], types: list[Type], expected: str) -> None:
    assert str(answer(name, settings, types)) == expected


@pytest.mark.parametrize(
    ("name", "settings", "types", "code", "argument"),
    [
        ("subsample", {"r": (2,)}, [f(7)], "E0301", 0),
        ("subsample", {"r": (8,)}, [f(3, 7)], "E0301", "r"),
        ("subsample", {"r": (2, 2)}, [f(3, 7)], "E0204", "r"),
        ("subsample", {"r": (2,)}, [f(TIME, 7)], "E0304", 0),
        ("max_pool", {"window": (8,)}, [f(3, 7)], "E0301", "window"),
        ("max_pool", {"window": (2,), "stride": (1, 1)}, [f(3, 7)], "E0204", "stride"),
        ("mean", {"over": "tim"}, [f(3, TIME)], "E0301", "over"),
        ("mean", {"over": 2}, [f(3, TIME)], "E0301", "over"),
        ("mean", {"over": "time"}, [f(TIME, TIME)], "E0204", "over"),
        ("mean", {"over": (0, 0)}, [f(3, 2)], "E0204", "over"),
        ("mean", {"over": (1, "time")}, [f(3, TIME)], "E0204", "over"),
        ("mean", {}, [f(1, 1, 1, 1, 1, 1)], "E0301", 0),
        ("mean", {"over": 0}, [f()], "E0301", "over"),
        ("dot", {}, [f(3), f(4)], "E0301", 1),
        ("distance", {}, [f(3, TIME), f(3, WIDTH)], "E0301", 1),
        ("concat", {}, [f(TIME), f(TIME)], "E0304", 0),
        ("concat", {}, [f(2, 3), f(2, 4)], "E0301", 1),
        ("concat", {}, [f(2, 3), f(2)], "E0301", 1),
        ("slice", {"start": 3, "stop": 3}, [f(5)], "E0301", "stop"),
        ("slice", {"start": 5}, [f(5)], "E0301", "start"),
        ("slice", {"start": 0, "stop": 6}, [f(5)], "E0301", "stop"),
        ("slice", {"start": -2, "stop": 3, "axis": 0}, [f(TIME)], "E0304", "stop"),
        ("slice", {"start": 3, "stop": 3, "axis": 0}, [f(TIME)], "E0301", "stop"),
        ("slice", {"start": 0, "axis": (0, 1)}, [f(5, 5)], "E0204", "axis"),
        ("reshape", {"shape": (5, -1)}, [f(2, 6)], "E0301", "shape"),
        ("reshape", {"shape": (-1, -1)}, [f(2, 6)], "E0204", "shape"),
        ("reshape", {"shape": (0,)}, [f(2, 6)], "E0303", "shape"),
        ("reshape", {"shape": (6,)}, [f(6, TIME)], "E0304", "shape"),
        ("reshape", {"shape": (-1, 6)}, [f(6, TIME)], "E0304", "shape"),
        ("reshape", {"shape": ("width", 6)}, [f(6, TIME)], "E0301", "shape"),
        ("reshape", {"shape": (1, 1, 1, 1, 1, 6)}, [f(6)], "E0301", "shape"),
        ("flatten", {}, [f(2, TIME)], "E0304", 0),
        ("transpose", {"axes": (0, 0)}, [f(2, TIME)], "E0204", "axes"),
        ("transpose", {"axes": (0,)}, [f(2, TIME)], "E0204", "axes"),
        ("flip", {"axis": 2}, [f(2, TIME)], "E0301", "axis"),
        ("layer_norm", {}, [f()], "E0301", 0),
        ("layer_norm", {}, [f(TIME, 2)], "E0304", 0),
        ("batch_norm", {}, [f()], "E0301", 0),
        ("batch_norm", {}, [f(TIME, 2)], "E0304", 0),
        ("dropout", {"rate": 1.0}, [f(2)], "E0204", "rate"),
        ("embedding", {"size": 5}, [Type("index", (2,), 2**24 + 1)], "E0501", 0),
        ("embedding", {"size": 5}, [Type("index", (1, 1, 1, 1, 1), 9)], "E0301", 0),
    ],
)
def test_refused(
    name: str, settings: dict[str, object], types: list[Type], code: str, argument: int | str
) -> None:
    with pytest.raises(OpError) as caught:
        answer(name, settings, types)
    assert caught.value.code == code
    assert caught.value.argument == argument
