"""LeNet-5: a training step at several batch sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.harness import Case
from tests.benchmarks.peers import both_ways, contenders, jax_cross_entropy

MODEL = Path(__file__).parents[2] / "examples/lenet5/lenet5.tie"
TITLE = "LeNet-5 training step"
# Multiply-adds of a sample forwards; backwards twice that, without the gradient of the images.
FORWARD = 784 * 6 * 25 + 100 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10
FLOPS = 2 * (3 * FORWARD - 784 * 6 * 25)
TARGETS = {1: 8, 16: 6, 64: 5, 256: 4}


def cases(threads: int) -> list[Case]:
    return [Case(f"batch {n}", FLOPS * n, steps(n, threads), at_least=TARGETS[n]) for n in TARGETS]


def data(batch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.random((batch, 1, 28, 28), np.float32)
    return {"image": image, "label": rng.integers(0, 10, batch)}


def steps(batch: int, threads: int) -> dict[str, Any]:
    import tiedgraph as tg

    arrays = data(batch)
    model = tg.compile(MODEL, batch=batch, threads=threads)
    return contenders(model, arrays, threads, torch_loss, both_ways(jax_loss))


def torch_loss(p: Any, x: Any) -> Any:
    from torch.nn import functional as F

    return F.cross_entropy(torch_logits(p, x), x["label"])


def torch_logits(p: Any, x: Any) -> Any:
    from torch import tanh
    from torch.nn import functional as F

    def subsampled(v: Any, name: str) -> Any:
        weight, bias = p[f"{name}.weight"], p[f"{name}.bias"]
        return 4 * F.avg_pool2d(v, 2) * weight.view(-1, 1, 1) + bias.view(-1, 1, 1)

    h = tanh(F.conv2d(x["image"], p["c1.weight"], p["c1.bias"], padding=2))
    h = tanh(subsampled(h, "s2"))
    h = tanh(F.conv2d(h, p["c3.weight"], p["c3.bias"]))
    h = tanh(subsampled(h, "s4")).flatten(1)
    for name in ("f5", "f6"):
        h = tanh(F.linear(h, p[f"{name}.weight"], p[f"{name}.bias"]))
    return F.linear(h, p["logits.weight"], p["logits.bias"])


def jax_loss(conv: Any) -> Any:
    def loss(p: Any, x: Any) -> Any:
        from jax.numpy import tanh

        def subsampled(v: Any, name: str) -> Any:
            n, c, rows, columns = v.shape
            sums = v.reshape(n, c, rows // 2, 2, columns // 2, 2).sum((3, 5))
            weight, bias = p[f"{name}.weight"], p[f"{name}.bias"]
            return sums * weight.reshape(-1, 1, 1) + bias.reshape(-1, 1, 1)

        h = tanh(conv(x["image"], p["c1.weight"], pad=2) + p["c1.bias"][:, None, None])
        h = tanh(subsampled(h, "s2"))
        h = tanh(conv(h, p["c3.weight"]) + p["c3.bias"][:, None, None])
        h = tanh(subsampled(h, "s4"))
        h = h.reshape(h.shape[0], -1)
        for name in ("f5", "f6"):
            h = tanh(h @ p[f"{name}.weight"].T + p[f"{name}.bias"])
        return jax_cross_entropy(h @ p["logits.weight"].T + p["logits.bias"], x["label"])

    return loss
