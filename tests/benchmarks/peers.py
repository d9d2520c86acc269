"""A training step in PyTorch and in JAX, each in its best known forms.

A workload gives the loss as a function of parameters (by name) and arrays; here it becomes steps of
momentum SGD: eager, compiled, and with the update inside the compiled graph, buffers donated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tests.benchmarks.harness import OURS

Arrays = Mapping[str, np.ndarray]
Loss = Callable[[Any, Any], Any]
Step = Callable[[], float]
RATE, MOMENTUM = 0.001, 0.9


FORMS = ("PyTorch eager", "PyTorch compiled", "PyTorch compiled with its update")


def contenders(
    model: Any,
    arrays: Arrays,
    threads: int,
    torch_loss: Loss,
    jax_losses: Mapping[str, Loss],
    start: Arrays | None = None,
    forms: Sequence[str] = FORMS,
) -> dict[str, Any]:
    """Steps of a model and of all peers, from the model's numbers or those of `start`."""
    if start is None:
        start = {name: array.copy() for name, array in model.free.items()}
    return {
        OURS: lambda: model.step(**arrays),
        **torch_steps(torch_loss, start, arrays, threads, forms),
        **jax_steps(jax_losses, start, arrays),
    }


def torch_steps(
    loss: Loss | None,
    start: Arrays,
    data: Arrays,
    threads: int,
    forms: Sequence[str] = FORMS,
) -> dict[str, Any]:
    """Steps of PyTorch in some of its forms, None where it is not installed."""
    try:
        import torch
    except ImportError:
        return dict.fromkeys(forms)
    torch.set_num_threads(threads)
    torch._dynamo.config.cache_size_limit = 64
    made = dict(
        zip(FORMS, (_torch_step, partial(_torch_step, compiled=True), _torch_whole), strict=True)
    )
    return {form: made[form](loss, start, data) for form in forms}


def tensors(arrays: Arrays) -> dict[str, Any]:
    import torch

    return {name: torch.tensor(np.asarray(array)) for name, array in arrays.items()}


def _torch_step(loss: Any, start: Arrays, data: Arrays, compiled: bool = False) -> Step:
    import torch

    params, given = tensors(start), tensors(data)
    for param in params.values():
        param.requires_grad_(True)
    optimiser = torch.optim.SGD(params.values(), lr=RATE, momentum=MOMENTUM, foreach=True)
    called = torch.compile(loss) if compiled else loss

    def step() -> float:
        optimiser.zero_grad()
        found = called(params, given)
        found.backward()
        optimiser.step()
        return float(found.detach())

    return step


def _torch_whole(loss: Any, start: Arrays, data: Arrays) -> Step:
    import torch

    params, given = tensors(start), tensors(data)
    speeds = {name: torch.zeros_like(param) for name, param in params.items()}

    def whole(params: Any, speeds: Any, given: Any) -> Any:
        found, grads = _gradients(loss, params, given)
        for name, grad in grads.items():
            speeds[name].mul_(MOMENTUM).add_(grad)
            params[name].sub_(speeds[name], alpha=RATE)
        return found

    called = torch.compile(whole, fullgraph=True)

    def step() -> float:
        with torch.no_grad():
            return float(called(params, speeds, given))

    return step


def _gradients(loss: Any, params: Any, given: Any) -> Any:
    from torch.func import grad_and_value

    grads, found = grad_and_value(lambda p: loss(p, given))(params)
    return found, grads


def jax_steps(losses: Mapping[str, Loss], start: Arrays, data: Arrays) -> dict[str, Any]:
    """Steps of JAX, by the names of `losses`, None where it is not installed."""
    try:
        import jax
    except ImportError:
        return dict.fromkeys(losses)
    import jax.numpy as jnp

    def made(loss: Loss) -> Step:
        @partial(jax.jit, donate_argnums=(0, 1))
        def whole(params: Any, speeds: Any, given: Any) -> Any:
            found, grads = jax.value_and_grad(loss)(params, given)
            speeds = jax.tree.map(lambda s, g: MOMENTUM * s + g, speeds, grads)
            return jax.tree.map(lambda p, s: p - RATE * s, params, speeds), speeds, found

        given = {name: jnp.asarray(array) for name, array in data.items()}
        state = [{n: jnp.array(a) for n, a in start.items()}]
        state.append({n: jnp.zeros_like(a) for n, a in state[0].items()})

        def step() -> float:
            state[0], state[1], found = whole(state[0], state[1], given)
            return float(found)

        return step

    return {name: made(loss) for name, loss in losses.items()}


# ---------------------------------------------------------------- pieces of JAX


def both_ways(loss: Callable[[Any], Loss]) -> dict[str, Loss]:
    """A loss made of convolutions as JAX has them, and as columns laid out by hand."""
    return {"JAX": loss(jax_conv), "JAX, columns by hand": loss(jax_columns)}


def jax_conv(x: Any, w: Any, stride: int = 1, pad: int = 0, dilation: int = 1) -> Any:
    """Correlation as `lax` has it: x [n, c, ...], w [o, c, ...]."""
    from jax import lax

    rank = w.ndim - 2
    axes = ("NCH", "OIH", "NCH") if rank == 1 else ("NCHW", "OIHW", "NCHW")
    return lax.conv_general_dilated(
        *(x, w, (stride,) * rank, [(pad, pad)] * rank),
        rhs_dilation=(dilation,) * rank,
        dimension_numbers=axes,
    )


def jax_columns(x: Any, w: Any, stride: int = 1, pad: int = 0, dilation: int = 1) -> Any:
    """The same as a matrix product over windows that are laid out as columns."""
    import jax.numpy as jnp

    rank = w.ndim - 2
    x = jnp.pad(x, [(0, 0), (0, 0), *[(pad, pad)] * rank])
    reach = [(k - 1) * dilation for k in w.shape[2:]]
    sizes = [(n - r - 1) // stride + 1 for n, r in zip(x.shape[2:], reach, strict=True)]
    seen = []
    for entry in np.ndindex(*w.shape[2:]):
        cut = [
            slice(e * dilation, e * dilation + (n - 1) * stride + 1, stride)
            for e, n in zip(entry, sizes, strict=True)
        ]
        seen.append(x[(slice(None), slice(None), *cut)])
    columns = jnp.stack(seen, 2).reshape(x.shape[0], -1, int(np.prod(sizes)))
    return (w.reshape(w.shape[0], -1) @ columns).reshape(x.shape[0], w.shape[0], *sizes)


def jax_cross_entropy(logits: Any, label: Any) -> Any:
    """Mean over the batch; classes are the last axis."""
    import jax

    logs = jax.nn.log_softmax(logits)
    return -logs[jax.numpy.arange(label.shape[0]), label].mean()
