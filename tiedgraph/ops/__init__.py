"""All ops, listed by hand: a record is an op when its name stands in `OPS`."""

from tiedgraph.ops.contrast import CONTRASTING
from tiedgraph.ops.cross_entropy import CROSS_ENTROPY
from tiedgraph.ops.loss import COMPARING
from tiedgraph.ops.metric import METRICS
from tiedgraph.ops.pointwise import POINTWISE
from tiedgraph.ops.rules import Op

OPS: tuple[Op, ...] = (
    *POINTWISE,
    CROSS_ENTROPY,
    *COMPARING,
    *CONTRASTING,
    *METRICS,
)

BY_NAME: dict[str, Op] = {op.name: op for op in OPS}
