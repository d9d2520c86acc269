"""The processor that kernels are compiled for, and its vector registers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

PROBE = """
define <16 x float> @probe(<16 x float> %a, <16 x float> %b) {
  %c = fadd <16 x float> %a, %b
  ret <16 x float> %c
}
"""
# What the code of a vector addition mentions, widest first: how many registers of how many bytes.
MENTIONED = (("zmm", 32, 64), ("ymm", 16, 32), ("xmm", 16, 16))
OTHERWISE = (32, 16)  # as AArch64 has them


@dataclass(frozen=True)
class Registers:
    """count: how many vector registers there are. width: numbers of a tile's kind in each."""

    count: int
    width: int

    def each(self, lanes: int) -> int:
        """Registers that a vector of so many numbers takes."""
        return -(-lanes // self.width)

    def hold(self, vectors: int, lanes: int, more: int = 1) -> bool:
        """Whether so many vectors of so many numbers fit, and `more` registers besides."""
        return vectors * self.each(lanes) + more <= self.count


@lru_cache
def processor() -> tuple[str, str]:
    """LLVM's name of the processor and its features; `TIEDGRAPH_CPU` names another, plainer one."""
    import llvmlite.binding as llvm

    if other := os.environ.get("TIEDGRAPH_CPU"):
        return other, ""
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def target() -> Any:
    """LLVM's machine for the processor."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    name, features = processor()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=name, features=features, opt=3, reloc="default", codemodel="jitdefault", jit=True
    )


@lru_cache
def registers(item: int) -> Registers:
    """The vector registers, for numbers of so many bytes: those that LLVM itself would take."""
    import llvmlite.binding as llvm

    made = target()
    text = made.emit_assembly(llvm.parse_assembly(PROBE))
    count, size = next((told[1:] for told in MENTIONED if told[0] in text), OTHERWISE)
    return Registers(count, size // item)
