"""All ops, listed by hand: a record is an op when its name stands in `OPS`."""

from tiedgraph.ops.rules import Op

OPS: tuple[Op, ...] = ()

BY_NAME: dict[str, Op] = {op.name: op for op in OPS}
