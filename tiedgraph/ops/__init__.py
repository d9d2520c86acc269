"""All ops, listed by hand: a record is an op when its name stands in `OPS`."""

from tiedgraph.ops.arithmetic import ARITHMETIC
from tiedgraph.ops.batch_norm import BATCH_NORM
from tiedgraph.ops.chain import CHAINS
from tiedgraph.ops.codebook import CODEBOOK
from tiedgraph.ops.contrast import CONTRASTING
from tiedgraph.ops.convolution import CONV1D, CONV2D
from tiedgraph.ops.cross_entropy import CROSS_ENTROPY
from tiedgraph.ops.ctc import CTC
from tiedgraph.ops.dropout import DROPOUT
from tiedgraph.ops.gaussian import GAUSSIAN, GAUSSIANS
from tiedgraph.ops.internal import COLLECT, MASK, TOTAL
from tiedgraph.ops.linear import DENSE
from tiedgraph.ops.lookup import EMBEDDING
from tiedgraph.ops.loss import COMPARING
from tiedgraph.ops.metric import METRICS
from tiedgraph.ops.normalisation import NORMALISING
from tiedgraph.ops.pointwise import POINTWISE
from tiedgraph.ops.pooling import POOLING
from tiedgraph.ops.recurrent import RECURRENT
from tiedgraph.ops.reduction import REDUCTIONS
from tiedgraph.ops.rules import Op
from tiedgraph.ops.shape import SHAPES
from tiedgraph.ops.slicing import SLICING
from tiedgraph.ops.softmax import SOFTMAXES
from tiedgraph.ops.uncertainty import LEARNED_WEIGHT
from tiedgraph.ops.unit_length import NORMALIZE
from tiedgraph.ops.weighted import MIXTURE

OPS: tuple[Op, ...] = (
    DENSE,
    CONV1D,
    CONV2D,
    *RECURRENT,
    *POINTWISE,
    *ARITHMETIC,
    CROSS_ENTROPY,
    CTC,
    *COMPARING,
    *CONTRASTING,
    *METRICS,
    *POOLING,
    *REDUCTIONS,
    *SHAPES,
    *SLICING,
    *SOFTMAXES,
    *NORMALISING,
    NORMALIZE,
    BATCH_NORM,
    DROPOUT,
    EMBEDDING,
    MASK,
    TOTAL,
    COLLECT,
    LEARNED_WEIGHT,
    GAUSSIAN,
    CODEBOOK,
    MIXTURE,
    GAUSSIANS,
    *CHAINS,
)

BY_NAME: dict[str, Op] = {op.name: op for op in OPS}
