"""How searches call their kernels: arrays in, one call without the interpreter lock."""

from __future__ import annotations

from typing import Any

import numpy as np

from tiedgraph.codegen import kernels
from tiedgraph.ops.rules import Kernel

Array = np.ndarray[Any, np.dtype[Any]]


def run(kernel: Kernel, *operands: int | Array) -> Array:
    """Calls a kernel of float64 on integers and addresses of arrays; answers its operands.

    Arrays are float64 or int64 and C-contiguous, which is checked, since the kernel cannot.
    """
    row = np.empty(len(operands), np.int64)
    for i, item in enumerate(operands):
        if isinstance(item, np.ndarray):
            if item.dtype.name not in ("float64", "int64") or not item.flags.c_contiguous:
                raise ValueError(f"operand {i} of {kernel.name} is {item.dtype}, or has gaps")
            row[i] = item.ctypes.data
        else:
            row[i] = item
    kernels.entry(kernel, "float64")(0, 0, 0, row.ctypes.data)
    return row
