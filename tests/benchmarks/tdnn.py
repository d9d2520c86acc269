"""Time-delay networks, a small and a large one: a training step."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.benchmarks.harness import Case
from tests.benchmarks.peers import both_ways, contenders, jax_cross_entropy

TITLE = "Time-delay network training step"
SMALL = """
input frames: float[16, 100]
target label: class[10]
a = conv1d(frames, 8, window=3) |> tanh
b = conv1d(subsample(a, 2), 16, window=5) |> tanh
c = conv1d(subsample(b, 2), 32, window=5) |> tanh
logits = dense(sum(c, over=1), 10)
loss cross_entropy(logits, label)
train { optimizer = sgd(rate=0.001, momentum=0.9) }
"""
DILATIONS = (1, 1, 3, 3, 3)
LARGE = """
input frames: float[40, 150]
target label: class[40, 128]
h0 = frames
"""
for _i, _d in enumerate(DILATIONS):
    _given = f"h{_i}" if _i else "frames"
    LARGE += f"h{_i + 1} = conv1d({_given}, 256, window=3, dilation={_d}) |> relu\n"
LARGE = (
    LARGE.replace("h0 = frames\n", "")
    + """
logits = conv1d(h5, 40, window=1)
loss cross_entropy(logits, label)
train { optimizer = sgd(rate=0.001, momentum=0.9) }
"""
)
FIRST_SMALL, FIRST_LARGE = 98 * 8 * 48, 148 * 256 * 120
FLOPS_SMALL = 2 * (3 * (FIRST_SMALL + 45 * 16 * 40 + 18 * 32 * 80 + 320) - FIRST_SMALL)
_LENGTHS = (146, 140, 134, 128)
FLOPS_LARGE = 2 * (3 * (FIRST_LARGE + sum(_LENGTHS) * 256 * 768 + 128 * 40 * 256) - FIRST_LARGE)
TARGETS = {("small", 1): 5, ("small", 16): 5, ("small", 64): 5, ("large", 8): 1.2,
           ("large", 32): 1.2}  # fmt: skip


def cases(threads: int) -> list[Case]:
    each = {"small": FLOPS_SMALL, "large": FLOPS_LARGE}
    return [
        Case(f"{size}, batch {n}", each[size] * n, steps(size, n, threads), at_least=target)
        for (size, n), target in TARGETS.items()
    ]


def data(size: str, batch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    if size == "small":
        frames = rng.standard_normal((batch, 16, 100), np.float32)
        return {"frames": frames, "label": rng.integers(0, 10, batch)}
    frames = rng.standard_normal((batch, 40, 150), np.float32)
    return {"frames": frames, "label": rng.integers(0, 40, (batch, 128))}


def steps(size: str, batch: int, threads: int) -> dict[str, Any]:
    import tiedgraph as tg

    arrays = data(size, batch)
    text = SMALL if size == "small" else LARGE
    model = tg.compile_text(text, batch=batch, threads=threads)
    torch_loss = torch_small if size == "small" else torch_large
    jax_loss = jax_small if size == "small" else jax_large
    return contenders(model, arrays, threads, torch_loss, both_ways(jax_loss))


def torch_small(p: Any, x: Any) -> Any:
    from torch.nn import functional as F

    return F.cross_entropy(torch_small_logits(p, x), x["label"])


def torch_small_logits(p: Any, x: Any) -> Any:
    from torch.nn import functional as F

    h = x["frames"]
    for name in "abc":
        h = F.avg_pool1d(h, 2) if name != "a" else h
        h = F.conv1d(h, p[f"{name}.weight"], p[f"{name}.bias"]).tanh()
    return F.linear(h.sum(2), p["logits.weight"], p["logits.bias"])


def torch_large(p: Any, x: Any) -> Any:
    from torch.nn import functional as F

    h = x["frames"]
    for i, dilation in enumerate(DILATIONS):
        h = F.conv1d(h, p[f"h{i + 1}.weight"], p[f"h{i + 1}.bias"], dilation=dilation).relu()
    return F.cross_entropy(F.conv1d(h, p["logits.weight"], p["logits.bias"]), x["label"])


def jax_small(conv: Any) -> Any:
    def loss(p: Any, x: Any) -> Any:
        from jax.numpy import tanh

        h = x["frames"]
        for name in "abc":
            if name != "a":
                n, c, time = h.shape
                h = h[:, :, : time // 2 * 2].reshape(n, c, time // 2, 2).mean(3)
            h = tanh(conv(h, p[f"{name}.weight"]) + p[f"{name}.bias"][:, None])
        logits = h.sum(2) @ p["logits.weight"].T + p["logits.bias"]
        return jax_cross_entropy(logits, x["label"])

    return loss


def jax_large(conv: Any) -> Any:
    def loss(p: Any, x: Any) -> Any:
        from jax.nn import relu

        h = x["frames"]
        for i, dilation in enumerate(DILATIONS):
            h = conv(h, p[f"h{i + 1}.weight"], dilation=dilation)
            h = relu(h + p[f"h{i + 1}.bias"][:, None])
        scores = conv(h, p["logits.weight"]) + p["logits.bias"][:, None]
        scores = scores.transpose(0, 2, 1).reshape(-1, 40)
        return jax_cross_entropy(scores, x["label"].reshape(-1))

    return loss
