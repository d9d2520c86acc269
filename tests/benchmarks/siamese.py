"""Siamese convolutional towers: a training step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.harness import Case
from tests.benchmarks.peers import both_ways, contenders

MODEL = Path(__file__).parents[2] / "examples/siamese/siamese.tie"
TITLE = "Siamese convolutional towers, training step"
FIRST = 14 * 14 * 8 * 25
FLOPS = 2 * 2 * (3 * (FIRST + 7 * 7 * 16 * 200 + 784 * 64 + 1024) - FIRST)
TARGETS = {1: 5, 64: 4}


def cases(threads: int) -> list[Case]:
    return [Case(f"batch {n}", FLOPS * n, steps(n, threads), at_least=TARGETS[n]) for n in TARGETS]


def steps(batch: int, threads: int) -> dict[str, Any]:
    import tiedgraph as tg

    rng = np.random.default_rng(0)
    arrays = {name: rng.random((batch, 1, 28, 28), np.float32) for name in "ab"}
    arrays["same"] = np.arange(batch) % 2
    text = (
        MODEL.read_text()
        .partition("data {")[0]
        .replace("adam(rate=0.002)", "sgd(rate=0.001, momentum=0.9)")
    )
    model = tg.compile_text(text, batch=batch, threads=threads)
    return contenders(model, arrays, threads, torch_loss, both_ways(jax_loss))


def _short(p: Any) -> Any:
    """Parameters of the tower by the names inside it."""
    return {".".join(name.split(".")[1:]): value for name, value in p.items()}


def torch_loss(p: Any, x: Any) -> Any:
    import torch
    from torch.nn import functional as F

    p = _short(p)
    last = next(n for n in p if n.endswith("weight") and p[n].shape[0] == 16 and p[n].ndim == 2)
    last = last.removesuffix("weight")
    h = torch.cat([x["a"], x["b"]])
    for name in ("c1", "c2"):
        h = F.conv2d(h, p[f"{name}.weight"], p[f"{name}.bias"], stride=2, padding=2).relu()
    h = F.linear(h.flatten(1), p["f3.weight"], p["f3.bias"]).relu()
    left, right = F.linear(h, p[f"{last}weight"], p[f"{last}bias"]).chunk(2)
    gap = (left - right).square().sum(1).sqrt()
    same = x["same"].float()
    return (same * gap**2 + (1 - same) * (2 - gap).clamp(min=0) ** 2).mean() / 2


def jax_loss(conv: Any) -> Any:
    def loss(p: Any, x: Any) -> Any:
        import jax.numpy as jnp
        from jax.nn import relu

        p = _short(p)
        last = next(n for n in p if n.endswith("weight") and p[n].shape[0] == 16 and p[n].ndim == 2)
        last = last.removesuffix("weight")
        h = jnp.concatenate([x["a"], x["b"]])
        for name in ("c1", "c2"):
            h = conv(h, p[f"{name}.weight"], stride=2, pad=2)
            h = relu(h + p[f"{name}.bias"][:, None, None])
        h = h.reshape(h.shape[0], -1)
        h = relu(h @ p["f3.weight"].T + p["f3.bias"])
        h = h @ p[f"{last}weight"].T + p[f"{last}bias"]
        left, right = jnp.split(h, 2)
        gap = jnp.sqrt(((left - right) ** 2).sum(1))
        far = jnp.maximum(2 - gap, 0)
        return (x["same"] * gap**2 + (1 - x["same"]) * far**2).mean() / 2

    return loss
