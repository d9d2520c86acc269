"""Cases of functions that rearrange numbers."""

from __future__ import annotations

from cases import TIME, WIDTH, Case, f, over_time

_AREAS = ({"time": 4, "width": 3}, {"time": 1, "width": 5}, {"time": 3, "width": 1})

CASES = {
    "concat": [
        Case((f(5),)),
        Case((f(5), f(1), f(17))),
        Case((f(2, 3), f(2, 1)), {"axis": -1}),
        Case((f(2, 1, 3), f(2, 4, 3), f(2, 2, 3)), {"axis": 1}),
        over_time(f(2, TIME), f(1, TIME)),
        over_time(f(TIME, 2), f(TIME, 17), attrs={"axis": 1}),
        Case((f(TIME, 1, WIDTH), f(TIME, 2, WIDTH)), {"axis": 1}, (), _AREAS),
    ],
    "slice": [
        Case((f(5),), {"start": 1}),
        Case((f(17),), {"start": 0, "stop": 17}),
        Case((f(1),), {"start": -1}),
        Case((f(5, 3),), {"start": 1, "stop": 2, "axis": -1}),
        Case((f(2, 5, 3),), {"start": -3, "stop": -1, "axis": 1}),
        over_time(f(3, TIME), attrs={"start": 1, "stop": 3}),
        over_time(f(3, TIME), attrs={"start": 2, "axis": "time"}, lengths=(5, 3, 17)),
        over_time(f(TIME, 2), attrs={"start": 1, "stop": -2, "axis": 0}, lengths=(5, 4, 17)),
        over_time(f(3, TIME), attrs={"start": -1, "axis": "time"}),
        # Fixed numbers of steps, more than some samples have.
        over_time(f(3, TIME), attrs={"start": 2, "stop": 7, "axis": "time"}),
        over_time(f(2, TIME, 3), attrs={"start": -6, "stop": -2, "axis": "time"}),
        Case((f(TIME, 2, WIDTH),), {"start": -2, "axis": "width"}, (), _AREAS),
    ],
    "reshape": [
        Case((f(6),), {"shape": (2, 3)}),
        Case((f(2, 6),), {"shape": (3, -1)}),
        Case((f(),), {"shape": (1, 1)}),
        over_time(f(6, TIME), attrs={"shape": (2, 3, "time")}),
        over_time(f(2, TIME, 2, 3), attrs={"shape": (2, -1, 6)}),
        Case((f(4, TIME, 1, WIDTH),), {"shape": (2, 2, "time", "width", 1)}, (), _AREAS),
    ],
    "flatten": [Case((f(),)), Case((f(17),)), Case((f(2, 1, 3),))],
    "transpose": [
        Case((f(5),)),
        Case((f(2, 17),)),
        Case((f(2, 3, 4),), {"axes": (1, -1, 0)}),
        Case((f(2, 1, 3, 2, 2),), {"axes": (4, 2, 0, 3, 1)}),
        over_time(f(2, TIME)),
        Case((f(2, TIME, 3, WIDTH),), {"axes": (3, 0, 1, 2)}, (), _AREAS),
    ],
    "flip": [
        Case((f(17),), {"axis": 0}),
        Case((f(2, 5),), {"axis": -1}),
        Case((f(2, 1, 3),), {"axis": 0}),
        over_time(f(2, TIME), attrs={"axis": "time"}),
        over_time(f(2, TIME, 3), attrs={"axis": "time"}),
        over_time(f(2, TIME), attrs={"axis": 0}),
        Case((f(TIME, 2, WIDTH),), {"axis": "width"}, (), _AREAS),
    ],
}
