"""LeNet-5 as Caffe has it: a training step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.benchmarks.harness import Case
from tests.benchmarks.lenet5 import data
from tests.benchmarks.peers import both_ways, contenders, jax_cross_entropy

MODEL = Path(__file__).parents[2] / "examples/compression/lenet5.tie"
TITLE = "LeNet-5-Caffe training step"
FIRST = 24 * 24 * 20 * 25
FLOPS = 2 * (3 * (FIRST + 8 * 8 * 50 * 500 + 800 * 500 + 5000) - FIRST)
TARGETS = {64: 2.5, 256: 1.8}


def cases(threads: int) -> list[Case]:
    return [Case(f"batch {n}", FLOPS * n, steps(n, threads), at_least=TARGETS[n]) for n in TARGETS]


def steps(batch: int, threads: int) -> dict[str, Any]:
    import tiedgraph as tg

    arrays = data(batch)
    text = MODEL.read_text().partition("data {")[0]
    text = text.replace("d1 = dropout(f1, 0.3)\n", "").replace("dense(d1", "dense(f1")
    text += "train { optimizer = sgd(rate=0.001, momentum=0.9) }\n"
    model = tg.compile_text(text, batch=batch, threads=threads)
    return contenders(model, arrays, threads, torch_loss, both_ways(jax_loss))


def torch_loss(p: Any, x: Any) -> Any:
    from torch.nn import functional as F

    h = F.max_pool2d(F.conv2d(x["image"], p["c1.weight"], p["c1.bias"]), 2)
    h = F.max_pool2d(F.conv2d(h, p["c2.weight"], p["c2.bias"]), 2).flatten(1)
    h = F.linear(h, p["f1.weight"], p["f1.bias"]).relu()
    return F.cross_entropy(F.linear(h, p["f2.weight"], p["f2.bias"]), x["label"])


def jax_loss(conv: Any) -> Any:
    def loss(p: Any, x: Any) -> Any:
        from jax.nn import relu

        h = x["image"]
        for name in ("c1", "c2"):
            h = conv(h, p[f"{name}.weight"]) + p[f"{name}.bias"][:, None, None]
            n, c, rows, columns = h.shape
            h = h.reshape(n, c, rows // 2, 2, columns // 2, 2).max((3, 5))
        h = h.reshape(h.shape[0], -1)
        h = relu(h @ p["f1.weight"].T + p["f1.bias"])
        return jax_cross_entropy(h @ p["f2.weight"].T + p["f2.bias"], x["label"])

    return loss
