"""What one file may ask for. Checked on Python integers, before any memory is taken."""

from __future__ import annotations

# Layers, functions, block uses and repeats after all blocks are expanded.
INSTANCES = 10_000
# Blocks used inside blocks, and expressions nested through them.
BLOCK_DEPTH = 64
EXPRESSION_DEPTH = 100
# Numbers in one value or parameter (run-time sizes count as 1), and in all parameters together.
ELEMENTS = 2**31
PARAMETERS = 2**33
# Any single size, window, stride, bound of labels.
SIZE = 2**31 - 1
# Names of run-time sizes.
SYMBOLS = 16
# Files that are imported, and how deep imports nest.
IMPORTS = 256
IMPORT_DEPTH = 64
# Parameters and instances that all ties, inits and freezes of a file select together.
SELECTED = 100_000
# Whole numbers in constants.
INTEGER = 2**63
