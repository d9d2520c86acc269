"""LeNet-5: forward, backward and momentum SGD on a batch of 64, float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

BATCH = 64
TITLE = f"LeNet-5 training step, batch {BATCH}, float32"
MODEL = Path(__file__).parents[2] / "examples/lenet5/lenet5.tie"
# Multiply-adds of a sample forwards; backwards twice that, without the gradient of the images.
FORWARD = 2 * (784 * 6 * 25 + 100 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10)
FLOPS = BATCH * (3 * FORWARD - 2 * 784 * 6 * 25)

Step = Callable[[], float]


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.random((BATCH, 1, 28, 28), np.float32)
    return image, rng.integers(0, 10, BATCH)


def contenders(threads: int) -> dict[str, Step | None]:
    import tiedgraph as tg

    image, label = data()
    model = tg.compile(MODEL, batch=BATCH, threads=threads)
    start = model.parameters

    def ours() -> float:
        return model.step(image=image, label=label)

    return {
        "tiedgraph": ours,
        "PyTorch eager": torch_step(start, image, label, threads, compiled=False),
        "PyTorch compiled": torch_step(start, image, label, threads, compiled=True),
    }


def torch_step(
    start: dict[str, np.ndarray], image: np.ndarray, label: np.ndarray, threads: int, compiled: bool
) -> Step | None:
    try:
        import torch
        from torch import nn
        from torch.nn import functional as F
    except ImportError:
        return None
    torch.set_num_threads(threads)

    class Subsample(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(start[f"{name}.weight"]).reshape(-1, 1, 1))
            self.bias = nn.Parameter(torch.tensor(start[f"{name}.bias"]).reshape(-1, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 4 * F.avg_pool2d(x, 2) * self.weight + self.bias

    def filled(layer: nn.Module, name: str) -> nn.Module:
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(start[f"{name}.weight"]))
            layer.bias.copy_(torch.tensor(start[f"{name}.bias"]))
        return layer

    net = nn.Sequential(
        filled(nn.Conv2d(1, 6, 5, padding=2), "c1"),
        nn.Tanh(),
        Subsample("s2"),
        nn.Tanh(),
        filled(nn.Conv2d(6, 16, 5), "c3"),
        nn.Tanh(),
        Subsample("s4"),
        nn.Tanh(),
        nn.Flatten(),
        filled(nn.Linear(400, 120), "f5"),
        nn.Tanh(),
        filled(nn.Linear(120, 84), "f6"),
        nn.Tanh(),
        filled(nn.Linear(84, 10), "logits"),
    )
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, foreach=True)
    x, y = torch.tensor(image), torch.tensor(label)
    called = torch.compile(net) if compiled else net

    def step() -> float:
        optimiser.zero_grad()
        loss = F.cross_entropy(called(x), y)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step
