"""From kernel text to machine code.

The text is compiled by Numba as a function of four pointers, its LLVM module is made free of
Python, and the object code is kept on disk (`tiedgraph.codegen.cache`). A process that finds all
its kernels there never imports Numba: the objects are linked by LLVM's own loader.

This is the only module that runs generated code. Kernel text holds no user text: names, messages
and paths of a model never reach it (`_checked`).
"""

from __future__ import annotations

import ctypes
import hashlib
import threading
from functools import cache as cache_forever
from functools import lru_cache, partial
from importlib import metadata, resources
from typing import Any

import llvmlite.binding as llvm

from tiedgraph.codegen import cache
from tiedgraph.lanes import machine
from tiedgraph.ops.rules import Kernel
from tiedgraph.passes.schedule import LANES

# int32 kernel(void* result, void** exception, T* activation, T* parameter, T* gradient, int64*)
ENTRY = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 6)
_ignored = ctypes.create_string_buffer(64)  # where kernels write the result and exception
_IGNORED = ctypes.addressof(_ignored)

_lock = threading.RLock()
_addresses: dict[str, int] = {}
compiled_here = 0  # kernels that this process had to compile, for reports and tests


@lru_cache
def _toolchain() -> str:
    """Everything but the text that machine code depends on."""
    lanes = resources.files("tiedgraph.lanes")
    texts = [lanes.joinpath(name).read_text() for name in ("vector.py", "math.py")]
    versions = [metadata.version(name) for name in ("numba", "llvmlite")]
    return hashlib.sha256(repr((versions, machine.processor(), texts, _PIPELINE)).encode()).hexdigest()


_PIPELINE = 1  # counts up when this file changes what comes out of the same text


def key(kernel: Kernel, dtype: str, lanes: int = 0) -> str:
    """The name of a kernel's machine code in the cache."""
    kind = f"{dtype}x{lanes or LANES[dtype]}"
    return hashlib.sha256(f"{_toolchain()}\n{kind}\n{kernel.source}".encode()).hexdigest()[:40]


@cache_forever
def address(kernel: Kernel, dtype: str, lanes: int = 0) -> int:
    """The machine address of a kernel, compiled or loaded as needed; valid for the process's life.

    lanes: numbers in a vector; as many as fit into 64 bytes by default.
    """
    with _lock:
        return _address(kernel, dtype, lanes or LANES[dtype])


def entry(kernel: Kernel, dtype: str, lanes: int = 0) -> Any:
    """A kernel as a function of four addresses, which runs without the interpreter lock."""
    return at(address(kernel, dtype, lanes))


@cache_forever
def at(address: int) -> Any:
    """The kernel at a machine address, in the same form."""
    return partial(ENTRY(address), _IGNORED, _IGNORED)


def _address(kernel: Kernel, dtype: str, lanes: int) -> int:
    name = key(kernel, dtype, lanes)
    if name not in _addresses:
        payload = cache.read(name)
        if payload is None:
            payload = _compile(kernel, dtype, lanes, name)
            cache.write(name, payload)
        engine = _engine()
        engine.add_object_file(llvm.ObjectFileRef.from_data(payload))
        engine.finalize_object()
        _addresses[name] = engine.get_function_address(f"tiedgraph_{name}")
    return _addresses[name]


@lru_cache
def _engine() -> Any:
    """One loader for all kernels of the process."""
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine.target())


def _checked(kernel: Kernel) -> str:
    if not kernel.source.isascii() or "\r" in kernel.source or "\f" in kernel.source:
        raise ValueError(f"text of kernel {kernel.name} must be plain ASCII")
    return kernel.source


def _compile(kernel: Kernel, dtype: str, lanes: int, name: str) -> bytes:
    global compiled_here
    module = module_of(kernel, dtype, lanes, name)
    compiled_here += 1
    return bytes(machine.target().emit_object(module))


def module_of(kernel: Kernel, dtype: str, lanes: int, name: str) -> llvm.ModuleRef:
    """A kernel as an LLVM module free of Python, with one function `tiedgraph_NAME`."""
    from numba import njit, types

    from tiedgraph.lanes import math, vector

    scope: dict[str, Any] = {**vector.names(dtype, lanes), **math.names(dtype)}
    exec(compile(_checked(kernel), f"<kernel {kernel.name}>", "exec"), scope)  # noqa: S102
    pointer = vector.pointer_to(dtype)
    arguments = (pointer, pointer, pointer, vector.INT64_POINTER)
    options: dict[str, Any] = {
        "_nrt": False,
        "no_cpython_wrapper": True,
        "no_cfunc_wrapper": True,
        "error_model": "numpy",
    }
    function: Any = njit(types.void(*arguments), **options)(scope["kernel"])
    overload = function.overloads[arguments]
    text = overload.library.get_llvm_str()
    text = text.replace(overload.fndesc.llvm_func_name, f"tiedgraph_{name}")
    text = text.replace(" = common local_unnamed_addr global", " = internal global")
    text = text.replace(" = common global", " = internal global")
    return llvm.parse_assembly(text)
