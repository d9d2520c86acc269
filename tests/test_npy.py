"""Headers of .npy files: those that NumPy writes, and those that nobody should."""

from __future__ import annotations

import io
import struct
import sys
from typing import Any

import numpy as np
import pytest

from tiedgraph.npy import read_header


def header_of(array: np.ndarray, version: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)
    return file.getvalue()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "|u1", "|b1", "<i8", "<f2", "<M8[ns]", "<U3"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4), (2, 1, 3, 1)])
def test_what_numpy_writes(
    shape: tuple[int, ...], dtype: str, order: Any, version: tuple[int, int]
) -> None:
    array = np.zeros(shape, dtype, order)
    content = header_of(array, version)
    file = io.BytesIO(content)
    found = read_header(file)
    assert (found.shape, found.dtype) == (shape, np.dtype(dtype))
    assert found.fortran_order == np.isfortran(array)
    assert found.offset == file.tell() == len(content) - array.nbytes
    assert found.bytes == array.nbytes


def written(text: str, version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    "text",
    [
        "{'shape':(2,3),'fortran_order':False,'descr':'<f4'}",
        '{"descr": "<f4", "fortran_order": False, "shape": (2L, 3L)}   \n',
        "{ 'descr' : '<f4' , 'fortran_order' : False , 'shape' : ( 2 , 3, ) , }\n",
    ],
)
def test_what_others_write(text: str) -> None:
    found = read_header(io.BytesIO(written(text)))
    assert (found.shape, found.dtype, found.fortran_order) == ((2, 3), np.dtype("<f4"), False)


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"PK\x03\x04" + bytes(20),
        written(GOOD, b"\x04\x00"),
        written(GOOD, b"\x01\x01"),
        written(GOOD)[:-1],
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + GOOD.encode(),
        written(""),
        written("(" * 60_000),
        written("{}"),
        written("[]"),
        written(GOOD.replace("(2, 3)", "(2, -3)")),
        written(GOOD.replace("(2, 3)", "(2 3)")),
        written(GOOD.replace("(2, 3)", "(,)")),
        written(GOOD.replace("(2, 3)", "(2, 3.0)")),
        written(GOOD.replace("(2, 3)", f"({'9' * 5000},)")),
        written(GOOD.replace("(2, 3)", f"({'1,' * 40})")),
        written(GOOD.replace("(2, 3)", "__import__('os').system('true')")),
        written(GOOD.replace("False", "0")),
        written(GOOD.replace("'<f4'", "[('a', '<f4')]")),
        written(GOOD.replace("<f4", "<f3")),
        written(GOOD.replace("<f4", "<M8[xyz]")),
        written(GOOD.replace("<f4", "f4,f4")),
        written(GOOD.replace("'shape'", "'shop'")),
        written(GOOD.replace("'shape'", "'descr'")),
        written(GOOD[:-1] + "'more': True}"),
    ],
    ids=lambda content: repr(content[:70]),
)
def test_what_is_none(content: bytes) -> None:
    with pytest.raises(ValueError):
        read_header(io.BytesIO(content))


def test_python_does_not_see_the_text() -> None:
    seen: list[str] = []
    watching = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching[0] and event in ("compile", "exec"):
            seen.append(event)

    content = header_of(np.zeros((2, 3)), (1, 0))
    sys.addaudithook(hook)
    try:
        read_header(io.BytesIO(content))
    finally:
        watching[0] = False
    assert not seen
