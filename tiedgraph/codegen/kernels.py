"""From kernel text to machine code.

The text becomes LLVM code (`tiedgraph.lanes.text`), is optimised, and the object code is kept on
disk (`tiedgraph.codegen.cache`). A process that finds all its kernels there only links the objects,
by LLVM's own loader.

Kernel text holds no user text: names, messages and paths of a model never reach it.
"""

from __future__ import annotations

import ctypes
import hashlib
import threading
from functools import cache as cache_forever
from functools import lru_cache
from importlib import resources
from typing import Any

from tiedgraph.codegen import cache
from tiedgraph.lanes import machine
from tiedgraph.ops.rules import Kernel
from tiedgraph.passes.schedule import LANES

# void kernel(T* activation, T* parameter, T* gradient, int64* operand)
ENTRY = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)

_lock = threading.RLock()
_addresses: dict[str, int] = {}
compiled_here = 0  # kernels that this process had to compile, for reports and tests


@lru_cache
def _toolchain() -> str:
    """Everything but the text that machine code depends on."""
    import llvmlite

    lanes = resources.files("tiedgraph.lanes")
    texts = [lanes.joinpath(name).read_text() for name in ("vector.py", "math.py", "text.py")]
    parts = (llvmlite.__version__, machine.processor(), texts, _PIPELINE)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


_PIPELINE = 2  # counts up when this file changes what comes out of the same text


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
    return ENTRY(address)


def _address(kernel: Kernel, dtype: str, lanes: int) -> int:
    name = key(kernel, dtype, lanes)
    if name not in _addresses:
        payload = cache.read(name)
        if payload is None:
            payload = _compile(kernel, dtype, lanes, name)
            cache.write(name, payload)
        _addresses[name] = _link(name, payload)
    return _addresses[name]


def _link(name: str, payload: bytes) -> int:
    import llvmlite.binding as llvm

    engine = _engine()
    engine.add_object_file(llvm.ObjectFileRef.from_data(payload))
    engine.finalize_object()
    found: int = engine.get_function_address(f"tiedgraph_{name}")
    return found


@lru_cache
def _engine() -> Any:
    """One loader for all kernels of the process."""
    import llvmlite.binding as llvm

    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine.target())


def _compile(kernel: Kernel, dtype: str, lanes: int, name: str) -> bytes:
    global compiled_here
    module = module_of(kernel, dtype, lanes, name)
    compiled_here += 1
    return bytes(machine.target().emit_object(module))


def module_of(kernel: Kernel, dtype: str, lanes: int, name: str) -> Any:
    """A kernel as an optimised LLVM module with one function `tiedgraph_NAME`."""
    import llvmlite.binding as llvm

    from tiedgraph.lanes.text import module_text

    target = machine.target()
    text = module_text(kernel.source, f"tiedgraph_{name}", dtype, lanes, target.triple)
    module = llvm.parse_assembly(text)
    module.verify()
    module.data_layout = str(target.target_data)
    _optimise(module, target)
    return module


def _optimise(module: Any, target: Any) -> None:
    """LLVM's own passes but for unrolling: kernels are unrolled as far as registers reach."""
    import llvmlite.binding as llvm

    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    options.loop_unrolling = False
    builder = llvm.create_pass_builder(target, options)
    for function in module.functions:
        if not function.is_declaration:
            builder.getFunctionPassManager().run(function, builder)
    builder.getModulePassManager().run(module, builder)
