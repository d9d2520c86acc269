"""`gaussian`: how likely each step is under a mixture of Gaussians with diagonal covariance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tiedgraph.ir.graph import Init
from tiedgraph.ir.types import Type
from tiedgraph.ops.chain_kernels import CLEAR
from tiedgraph.ops.gaussian_kernels import DENSITIES, NUMBERS, SLOPE
from tiedgraph.ops.rules import Array, Emitter, Op, OpError, ParamSpec, hidden, setting

MEAN, LOG_VARIANCE, WEIGHT = range(3)
STATISTICS = "counts"  # name of the statistic: see `statistics_of`


@dataclass(frozen=True)
class Gaussian:
    mixtures: int = setting("size", 1, doc="Gaussians of the mixture")


def rows(name: str, count: int, types: Sequence[Type]) -> Type:
    """So many densities of each frame; an OpError where the input has none."""
    x = types[0]
    if len(x.shape) != 2 or not isinstance(x.shape[0], int):
        raise OpError(
            "E0301",
            f"{name} takes frames float[size, time], but its input is {x}",
            hint="give a sequence another axis: reshape(x, [1, time])",
            argument=0,
        )
    return Type("float", (count, x.shape[1]))


def specs(count: int, types: Sequence[Type]) -> tuple[ParamSpec, ParamSpec]:
    """Means and log variances of so many Gaussians."""
    size = types[0].shape[0]
    assert isinstance(size, int)
    return (
        ParamSpec("mean", (count, size), Init("normal", (0.0, 1.0))),
        ParamSpec("log_variance", (count, size), Init("zeros")),
    )


def _params(attrs: Gaussian, types: Sequence[Type]) -> tuple[ParamSpec, ...]:
    both = specs(attrs.mixtures, types)
    if attrs.mixtures == 1:
        return both
    return (*both, ParamSpec("weight", (attrs.mixtures,), Init("zeros")))


# ---------------------------------------------------------------- the oracle


def _weights(params: Sequence[Array]) -> Array:
    """Log weights of the mixture."""
    if len(params) <= WEIGHT:
        return np.zeros(len(params[MEAN]))
    shifted = params[WEIGHT] - params[WEIGHT].max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def log_densities(x: Array, params: Sequence[Array]) -> Array:
    """log(weight) + log density of each component at each step, [mixtures, time]."""
    v = x[None] - params[MEAN][:, :, None]
    squares = (v * v * np.exp(-params[LOG_VARIANCE])[:, :, None]).sum(axis=1)
    scale = params[LOG_VARIANCE].sum(axis=1) + len(x) * np.log(2 * np.pi)
    return np.asarray(_weights(params)[:, None] - 0.5 * (scale[:, None] + squares))


def _forward(attrs: Gaussian, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    return np.asarray(np.logaddexp.reduce(log_densities(inputs[0], params), axis=0)[None])


def _backward(
    attrs: Gaussian, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    r = grad * np.exp(log_densities(inputs[0], params) - output)
    of_frames, slopes = pull(inputs[0], params, r)
    if attrs.mixtures > 1:
        counts = r.sum(axis=1)
        slopes.append(counts - np.exp(_weights(params)) * counts.sum())
    return [of_frames], slopes


def pull(x: Array, params: Sequence[Array], r: Array) -> tuple[Array, list[Array | None]]:
    """Gradients of frames, and of means and log variances, from those of each component's log
    density, r [components, time]."""
    v = x[None] - params[MEAN][:, :, None]
    pulled = r[:, None] * v * np.exp(-params[LOG_VARIANCE])[:, :, None]
    of_variance = 0.5 * ((pulled * v).sum(axis=2) - r.sum(axis=1)[:, None])
    return -pulled.sum(axis=0), [pulled.sum(axis=2), of_variance]


# ---------------------------------------------------------------- rows of the tape


def statistics_of(mixtures: int, size: int) -> int:
    """How many numbers a state's statistics are: N [mixtures], then sums of r v and of r v v
    [mixtures, size], where r is a component's share in the gradient of a step and v = x - mean."""
    return mixtures * (1 + 2 * size)


def _keeps(
    attrs: Gaussian | Gaussians, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]
) -> int:
    """Densities of the components, which for one Gaussian are the output."""
    return attrs.mixtures * output[0] * output[1] if attrs.mixtures > 1 else 0


def _given(emitter: Emitter, room: int) -> list[int]:
    """Operands of all kernels, see `gaussian_kernels.GIVEN`."""
    x, y, mixtures = emitter.input(0), emitter.output(), emitter.attrs.mixtures
    (size, steps), states = x.shape, y.shape[0]
    parts = emitter.kept().offset if mixtures > 1 else y.offset
    found = [x.offset, y.offset, steps, size, mixtures, states, steps * emitter.lanes, room, parts]
    each = 2 + (mixtures > 1)
    for u in range(states):
        params = [emitter.param(u * each + i) for i in range(each)]
        for param in params[:2]:
            found += [param.offset, *param.strides]
        found += [params[2].offset, *params[2].strides] if each > 2 else [-1, 0]
        found.append(sum(param.trainable << i for i, param in enumerate(params)))
    return found


def _room(emitter: Emitter) -> int:
    """Numbers of all states by themselves, and a few vectors behind them."""
    states, mixtures = emitter.output().shape[0], emitter.attrs.mixtures
    numbers = states * mixtures * (2 * emitter.input(0).shape[0] + 2)
    return emitter.scratch(-(-numbers // emitter.lanes) + 2 * emitter.widths[0]).offset


def emit_densities(emitter: Emitter) -> None:
    given = _given(emitter, _room(emitter))
    steps = given[2]
    emitter.call(NUMBERS, *given)
    if emitter.lanes > 1:
        emitter.call(DENSITIES, *given, 0, steps)
        return
    # Vectors along time; the last one may do again what the one before did.
    wide = emitter.widths[0]
    if steps < wide:
        emitter.call(DENSITIES, *given, 0, steps)
        return
    emitter.call(DENSITIES, *given, 0, steps // wide, lanes=wide)
    if steps % wide:
        emitter.call(DENSITIES, *given, steps - wide, 1, lanes=wide)


def emit_slopes(emitter: Emitter, statistics: Sequence[int]) -> None:
    """statistics: where those of each state lie, one behind the other."""
    attrs, steps = emitter.attrs, emitter.input(0).shape[1]
    wanted = emitter.grad_input(0)
    given = _given(emitter, _room(emitter))
    share = emitter.scratch(2 * steps).offset
    emitter.call(NUMBERS, *given)
    if wanted is not None and not wanted[1]:
        emitter.call(CLEAR, wanted[0].offset, wanted[0].elements)
    count = statistics_of(attrs.mixtures, emitter.input(0).shape[0])
    assert [place - statistics[0] for place in statistics] == [
        u * count for u in range(len(statistics))
    ]
    emitter.call(
        SLOPE, *given, emitter.grad_output().offset, share, statistics[0],
        wanted[0].offset if wanted is not None else -1,
    )  # fmt: skip


def _emit_backward(emitter: Emitter) -> None:
    count = statistics_of(emitter.attrs.mixtures, emitter.input(0).shape[0])
    emit_slopes(emitter, [emitter.statistic(STATISTICS, count)])


def _flops(
    attrs: Gaussian | Gaussians, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]
) -> int:
    size, steps = inputs[0]
    return output[0] * attrs.mixtures * steps * (4 * size + 10)


GAUSSIAN = Op(
    name="gaussian",
    doc="""The log density of each step under a mixture of Gaussians with diagonal covariance.

    y[t] = log sum_m w[m] prod_d N(x[d, t]; mean[m, d], exp(log_variance[m, d])), where w is the
    softmax of weight. Input float[size, time], output float[1, time]. Parameters: mean and
    log_variance [mixtures, size] and, for several Gaussians, weight [mixtures].
    Juang, Maximum-likelihood estimation for mixture multivariate stochastic observations of Markov
    chains (1985).""",
    category="layer",
    inputs=("x",),
    Attrs=Gaussian,
    shape=lambda attrs, types: rows("gaussian", 1, types),
    params=_params,
    forward=_forward,
    backward=_backward,
    saves=frozenset({"inputs", "output"}),
    keeps=_keeps,
    emit=emit_densities,
    emit_backward=_emit_backward,
    flops=_flops,
    places=lambda inputs, output: output[1],
)


# ---------------------------------------------------------------- all states of a chain


@dataclass(frozen=True)
class Gaussians:
    """mixtures: of each; members: the nodes that are joined, whose statistics have their names."""

    mixtures: int = hidden(1)
    members: tuple[str, ...] = hidden(())

    @property
    def each(self) -> int:
        """Parameters of one member."""
        return 2 + (self.mixtures > 1)


def _of_each(attrs: Gaussians, params: Sequence[Array]) -> list[Sequence[Array]]:
    return [params[i : i + attrs.each] for i in range(0, len(params), attrs.each)]


def _joined_shape(attrs: Gaussians, types: Sequence[Type]) -> Type:
    return Type("float", (len(attrs.members), types[0].shape[1]))


def _joined_params(attrs: Gaussians, types: Sequence[Type]) -> tuple[ParamSpec, ...]:
    return _params(Gaussian(attrs.mixtures), types) * len(attrs.members)


def _joined_forward(attrs: Gaussians, inputs: Sequence[Array], params: Sequence[Array]) -> Array:
    one = Gaussian(attrs.mixtures)
    return np.concatenate([_forward(one, inputs, own) for own in _of_each(attrs, params)])


def _joined_backward(
    attrs: Gaussians, inputs: Sequence[Array], params: Sequence[Array], output: Array, grad: Array
) -> tuple[list[Array | None], list[Array | None]]:
    whole, slopes = np.zeros_like(inputs[0]), []
    for u, own in enumerate(_of_each(attrs, params)):
        row = slice(u, u + 1)
        found = _backward(Gaussian(attrs.mixtures), inputs, own, output[row], grad[row])
        whole += found[0][0]
        slopes += found[1]
    return [whole], slopes


def _emit_joined_backward(emitter: Emitter) -> None:
    attrs: Gaussians = emitter.attrs
    count = statistics_of(attrs.mixtures, emitter.input(0).shape[0])
    emit_slopes(emitter, [emitter.statistic(member, count) for member in attrs.members])


GAUSSIANS = Op(
    name="gaussians",
    doc="""Several `gaussian` of the same frames, one below the other; the pass `join` makes it.""",
    category="internal",
    inputs=("x",),
    Attrs=Gaussians,
    shape=_joined_shape,
    params=_joined_params,
    forward=_joined_forward,
    backward=_joined_backward,
    saves=frozenset({"inputs", "output"}),
    keeps=_keeps,
    emit=emit_densities,
    emit_backward=_emit_joined_backward,
    flops=_flops,
    places=lambda inputs, output: output[1],
)
